//! The process: sockets, links, shards, administration, and the way they end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use link::Links;
use node::admin::{Admin, Readiness, Router};
use node::config::ConfigError;
use node::exit::Failure;
use node::metrics::Registry;
use node::shard::{self, Inbox};
use node::shutdown::{self, Shutdown};
use node::{clock, runtime};
use proto::Hello;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use transaction::Timers;
use transport::Transport;
use transport::resolve::{Families, Resolver};
use transport::token::Keys;

use crate::config::{Config, PREFIX};
use crate::driver::{Driver, KeeperDriver};
use crate::engine::{Edge, Input};
use crate::events::Intake;
use crate::keeper::{self, Keeper};
use crate::metrics::{self, Meter};
use crate::reload::{Reload, variable_of};
use crate::settings::Settings;

/// How often the engines report what they counted.
const REPORT: Duration = Duration::from_secs(1);

/// Runs an edge until `shutdown` is over.
///
/// # Errors
///
/// A setting that cannot work, or a socket that cannot be opened, named by its variable.
pub async fn serve(config: Config, shutdown: Shutdown) -> Result<(), Failure> {
    let reloads = shutdown::reloads().map_err(|error| Failure::unavailable(&error))?;
    let seed = clock::seed();
    let keys = config.keys(clock::seed())?;
    let registry = Registry::new("edge");
    let readiness = Readiness::new();
    let linked = readiness.condition(if config.next_hops().is_empty() { "link" } else { "next hops" });
    let admin = Admin::bind("EDGE_ADMIN", config.admin).await?;
    let workers = runtime::workers_or_cpus(config.workers);
    let meter = Meter::new(&registry, workers);

    let (inboxes, receivers): (Vec<Inbox<Input>>, Vec<_>) =
        (0..workers).map(|_| shard::inbox(config.queue)).unzip();
    let (keeper, kept) = shard::inbox(config.queue);
    let intake = Arc::new(Intake {
        inboxes,
        keeper: keeper.clone(),
        meter: Arc::clone(&meter),
        limits: sip::parse::Limits::default(),
        linked,
        transport: OnceLock::new(),
        links: OnceLock::new(),
    });
    let epoch = epoch();
    let transport = bind(&config, &intake, epoch).await?;
    metrics::observe(&registry, &transport);
    let resolver = resolver(&config, &transport, &registry);
    let links = dial(&config, &settings(&config, &keys, &transport), &intake)?;

    let hands = (transport.clone(), links.clone(), resolver);
    let engines = |shard| {
        let own = Settings { shard: (shard, workers), ..settings(&config, &keys, &transport) };
        Edge::new(own, Timers::default(), shard::seed(seed, shard))
    };
    let mut shards = start(engines, receivers, &intake, &hands, &shutdown);
    let settings = settings(&config, &keys, &transport);
    let engine = Keeper::new(settings, config.pings(), epoch, clock::seed(), clock::now());
    let hands = (transport.clone(), links.clone());
    shards.push(keep(engine, config.silence(), &intake, kept, hands, shutdown.clone()));
    tokio::spawn(report(intake.inboxes.clone(), keeper));
    let (flow_keys, intake) = (config.flow_keys.clone(), Arc::clone(&intake));
    tokio::spawn(Reload { transport: transport.clone(), intake, flow_keys }.run(reloads, shutdown.clone()));
    tracing::info!(edge = config.name, admin = %admin.address(), "edge is up");

    let stopped = shutdown.clone();
    let administration = tokio::spawn(
        admin.serve(readiness.clone(), registry, Router::new(), async move { stopped.stopped().await }),
    );
    shutdown.drain_until(&readiness, || {}, || meter.is_idle()).await;
    for shard in shards {
        let _ = shard.await;
    }
    if let Some(links) = links {
        links.shutdown("the node stops", Duration::from_secs(1)).await;
    }
    transport.shutdown().await;
    let _ = administration.await;
    tracing::info!("edge has ended");
    Ok(())
}

/// Starts every shard.
fn start(
    engine: impl Fn(usize) -> Edge,
    receivers: Vec<Receiver<Input>>,
    intake: &Intake,
    (transport, links, resolver): &(Transport, Option<Links>, Option<Resolver>),
    shutdown: &Shutdown,
) -> Vec<JoinHandle<()>> {
    let inboxes = receivers.into_iter().zip(&intake.inboxes).enumerate();
    let started = inboxes.map(|(shard, (receiver, inbox))| {
        let driver = Driver {
            transport: transport.clone(),
            links: links.clone(),
            resolver: resolver.clone(),
            inbox: inbox.clone(),
            keeper: intake.keeper.clone(),
            meter: Arc::clone(&intake.meter),
            linked: intake.linked.clone(),
            shard,
        };
        tokio::spawn(run(engine(shard), receiver, driver, shutdown.clone()))
    });
    started.collect()
}

/// One shard, until the process stops.
async fn run(engine: Edge, inbox: Receiver<Input>, driver: Driver, stop: Shutdown) {
    driver.inbox.deliver(Input::Begin);
    drop(shard::run(engine, inbox, driver, async move { stop.stopped().await }).await);
}

/// Starts the keeper of flows, beside the shards.
fn keep(
    engine: Keeper,
    silence: Duration,
    intake: &Intake,
    inbox: Receiver<keeper::Input>,
    (transport, links): (Transport, Option<Links>),
    shutdown: Shutdown,
) -> JoinHandle<()> {
    let meter = Arc::clone(&intake.meter);
    let (inbox_of_ours, shards) = (intake.keeper.clone(), intake.inboxes.clone());
    let driver = KeeperDriver { transport, links, inbox: inbox_of_ours, shards, meter, silence };
    tokio::spawn(async move {
        drop(shard::run(engine, inbox, driver, async move { shutdown.stopped().await }).await);
    })
}

/// What the engine is told about this edge.
fn settings(config: &Config, keys: &Keys, transport: &Transport) -> Settings {
    let settings = Settings::new(
        config.name.clone(),
        config.advertise.clone(),
        transport.listeners(),
        &transport::interfaces(),
        config.trusted_peers.clone(),
        keys.clone(),
    );
    Settings { keep_alive: config.keep_alive(), limits: config.limits(), ..settings }
        .with_egress(config.egress_networks.clone())
        .with_next_hops(config.next_hops(), config.inside.clone())
}

async fn bind(config: &Config, intake: &Arc<Intake>, epoch: u32) -> Result<Transport, Failure> {
    config.roots().check().map_err(|error| ConfigError::new(format!("{PREFIX}EGRESS_CA"), error))?;
    let sockets = transport::Config {
        listen: config.listen.iter().map(|socket| socket.0).collect(),
        max_connections: config.max_connections,
        max_connections_per_source: config.max_connections_per_source,
        idle_timeout: config.idle_timeout.duration(),
        certificates: config.certificates(),
        client_authority: config.tls_client_ca.clone(),
        roots: config.roots(),
        ws_origins: config.ws_origins.clone(),
        ..transport::Config::default()
    };
    let transport =
        transport::bind(sockets, Arc::clone(intake), clock::now, epoch).await.map_err(in_setting)?;
    for listener in transport.listeners() {
        tracing::info!(%listener, "listening");
    }
    let _ = intake.transport.set(transport.clone());
    Ok(transport)
}

/// The way to the DNS for what leaves. Without it this edge reaches addresses and no names.
fn resolver(config: &Config, transport: &Transport, registry: &Registry) -> Option<Resolver> {
    let servers: Vec<SocketAddr> = config.dns.clone();
    let has = |v4| transport.listeners().iter().any(|listen| listen.addr.is_ipv4() == v4);
    let families = Families { v4: has(true), v6: has(false) };
    let resolver = Resolver::new(&servers, families, clock::now)
        .inspect_err(|error| tracing::warn!(%error, "names of other domains cannot be resolved"))
        .ok();
    metrics::observe_resolver(registry, resolver.as_ref());
    resolver
}

/// Which variable an error of the transport is about.
fn in_setting(error: transport::Error) -> ConfigError {
    let variable = match &error {
        transport::Error::Bind { .. } => "LISTEN",
        transport::Error::NoCertificate { .. } => "TLS_CERT",
        transport::Error::Certificate(error) => variable_of(error.part),
    };
    ConfigError::new(format!("{PREFIX}{variable}"), error)
}

/// Links with the cores, if it is cores that are behind this edge.
fn dial(config: &Config, settings: &Settings, intake: &Arc<Intake>) -> Result<Option<Links>, Failure> {
    let cores = config.links();
    if cores.is_empty() {
        return Ok(None);
    }
    let link = link::Config {
        ca: config.link_ca.clone(),
        cert: config.link_cert.clone(),
        key: config.link_key.clone(),
        ..link::Config::default()
    };
    let hello = Hello {
        name: config.name.clone(),
        advertised: settings.hosts.iter().cloned().collect(),
        capacity: 1,
        ..Hello::default()
    };
    let sink = Arc::clone(intake);
    let links = link::dial(&link, cores, hello, Box::new(move |event| sink.link(event)))
        .map_err(|error| ConfigError::new(format!("{PREFIX}CORES"), error))?;
    let _ = intake.links.set(links.clone());
    Ok(Some(links))
}

/// What tells the streams of this start from those of earlier ones.
fn epoch() -> u32 {
    let [a, b, c, d, ..] = clock::seed();
    u32::from_be_bytes([a, b, c, d])
}

/// Asks every engine for its counters, again and again.
async fn report(inboxes: Vec<Inbox<Input>>, keeper: Inbox<keeper::Input>) {
    let mut tick = tokio::time::interval(REPORT);
    loop {
        tick.tick().await;
        for inbox in &inboxes {
            // A full inbox has more urgent things; the next tick comes.
            let _ = inbox.try_send(Input::Report);
        }
        let _ = keeper.try_send(keeper::Input::Report);
    }
}
