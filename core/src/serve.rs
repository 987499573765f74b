//! The process: links, store, shards, administration, and the way they end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use link::Links;
use location::{Database, Handle, Service};
use node::admin::{Admin, Condition, Readiness, Router};
use node::config::ConfigError;
use node::exit::Failure;
use node::metrics::Registry;
use node::shard::{self, Inbox};
use node::shutdown::Shutdown;
use node::{clock, runtime};
use proto::{Drain, Hello, frame::Kind};
use tokio::time::timeout;
use transaction::Timers;

use crate::admin::{self, Api};
use crate::config::{Config, PREFIX};
use crate::database;
use crate::domains;
use crate::driver::Driver;
use crate::due;
use crate::engine::{Core, Input};
use crate::events::Intake;
use crate::feed::{self, Feed};
use crate::inquiries::Inquiries;
use crate::keys::ClusterKeys;
use crate::metrics::Meter;
use crate::snapshot::Snapshots;

/// How often the engines report what they counted.
const REPORT: Duration = Duration::from_secs(1);
/// How often the engines hear the wall clock.
const CLOCK: u32 = 30;

/// How long the answers on the administration address may take when all else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs a core until `shutdown` is over.
///
/// # Errors
///
/// A setting that cannot work, or a socket or store that cannot be opened.
pub async fn serve(config: Config, shutdown: Shutdown) -> Result<(), Failure> {
    let seed = clock::seed();
    if config.cluster_keys.is_empty() {
        tracing::warn!(
            "CORE_CLUSTER_KEYS is not set: a random key is used, other cores will not know this core's nonces"
        );
    }
    let keys = config.keys(clock::seed())?;
    let registry = Registry::new("core");
    let readiness = Readiness::new();
    let linked = readiness.condition("link");
    let admin = bind_admin(&config).await?;
    let workers = runtime::workers_or_cpus(config.workers);
    let meter = Meter::new(&registry, workers);

    let (inboxes, receivers): (Vec<Inbox<Input>>, Vec<_>) =
        (0..workers).map(|_| shard::inbox(config.queue)).unzip();
    let intake = intake(inboxes, &meter, linked);
    let (database, store) = open(&config, &intake).await?;
    watch(&config, &database, &intake, &readiness).await;
    let _ = intake.snapshots.set(Snapshots::new(Arc::clone(&database)));
    let links = accept(&config, &keys, &intake)?;
    let inquiries = Arc::new(Inquiries::new(intake.inboxes.clone()));
    let _ = intake.links.set(links.clone());

    let mut shards = Vec::new();
    for (shard, receiver) in receivers.into_iter().enumerate() {
        let settings = config.settings(keys.clone());
        let seed = shard::seed(seed, shard);
        let engine = Core::new(settings, Timers::default(), seed, clock::now(), clock::unix_now());
        let (links, store, meter) = (links.clone(), store.clone(), Arc::clone(&meter));
        let (inboxes, inquiries) = (intake.inboxes.clone(), Arc::clone(&inquiries));
        let driver = Driver { links, store, inboxes, meter, inquiries, shard };
        let stop = shutdown.clone();
        let run =
            async move { shard::run(engine, receiver, driver, async move { stop.stopped().await }).await };
        shards.push(tokio::spawn(async move { drop(run.await) }));
    }
    tokio::spawn(report(intake.inboxes.clone()));
    tracing::info!(core = config.name, admin = %admin.address(), "core is up");

    let feed = feed::start(&config, &database, &meter, &registry, &shutdown);
    let (routes, stopped) = (api(&config, &database, inquiries, feed), shutdown.clone());
    let mut administration = tokio::spawn(
        admin.serve(readiness.clone(), registry, routes, async move { stopped.stopped().await }),
    );
    shutdown.drain_until(&readiness, || say_drain(&links, &shutdown), || meter.is_idle()).await;
    for shard in shards {
        let _ = shard.await;
    }
    links.shutdown("the node stops", Duration::from_secs(1)).await;
    drop(store);
    database.close().await;
    // Whoever takes nothing of his answer must not keep the process.
    if timeout(LAST_ANSWERS, &mut administration).await.is_err() {
        tracing::warn!("a client of the administration address takes nothing, its answer is left");
        administration.abort();
    }
    tracing::info!("core has ended");
    Ok(())
}

/// Begins to look at the database for what no request asks for.
async fn watch(config: &Config, database: &Arc<Database>, intake: &Intake, readiness: &Readiness) {
    let (usable, meter) = (readiness.condition("database"), Arc::clone(&intake.meter));
    tokio::spawn(database::watch(Arc::clone(database), usable, Arc::clone(&meter)));
    tokio::spawn(due::watch(Arc::clone(database), intake.inboxes.clone()));
    let watch = domains::Watch {
        database: Arc::clone(database),
        configured: config.domains(),
        inboxes: intake.inboxes.clone(),
        condition: readiness.condition("domains"),
        meter,
    };
    watch.begin().await;
}

fn intake(inboxes: Vec<Inbox<Input>>, meter: &Arc<Meter>, linked: Condition) -> Arc<Intake> {
    Arc::new(Intake {
        inboxes,
        meter: Arc::clone(meter),
        limits: sip::parse::Limits::default(),
        linked,
        links: OnceLock::new(),
        snapshots: OnceLock::new(),
    })
}

async fn bind_admin(config: &Config) -> Result<Admin, ConfigError> {
    let admin = Admin::bind("CORE_ADMIN", config.admin).await?;
    match (&config.admin_tls_cert, &config.admin_tls_key) {
        (Some(certificate), Some(key)) => admin.secured("CORE_ADMIN_TLS_CERT", certificate, key),
        _ => Ok(admin),
    }
}

fn api(
    config: &Config,
    database: &Arc<Database>,
    inquiries: Arc<Inquiries>,
    feed: Option<Arc<Feed>>,
) -> Router {
    let api = Arc::new(Api { database: Arc::clone(database), domains: config.domains(), inquiries, feed });
    admin::routes(api, &config.admin_token)
}

/// Opens the location service; its answers go to the shard that asked.
async fn open(config: &Config, intake: &Arc<Intake>) -> Result<(Arc<Database>, Handle), Failure> {
    let store = Database::open(config.database_url.expose())
        .await
        .map_err(|error| Failure::Unavailable(format!("{PREFIX}DATABASE_URL: {error}")))?;
    let store = Arc::new(store);
    let answers = Arc::clone(intake);
    let meter = Arc::clone(&intake.meter);
    let service = Service {
        store: Arc::clone(&store),
        limits: location::Limits {
            remember: location::Remember { size: config.last_known, age: config.last_known_age.duration() },
            ..location::Limits::default()
        },
        now: clock::now,
        answer: move |question, answer| answers.answer(question, answer),
        observe: move |operation, took, batch| meter.observe(operation, took, batch),
    };
    Ok((store, service.start()))
}

/// Development certificates are for loopback: there, the wildcard of the default means loopback, too.
fn link_listen(config: &Config, link: &link::Config) -> SocketAddr {
    let listen = config.link_listen;
    if link.is_development() && listen.ip().is_unspecified() {
        tracing::warn!(
            "CORE_LINK_CA is not set: development certificates are used and the link listens on loopback only"
        );
        return SocketAddr::from(([127, 0, 0, 1], listen.port()));
    }
    listen
}

fn accept(config: &Config, keys: &ClusterKeys, intake: &Arc<Intake>) -> Result<Links, Failure> {
    let link = link::Config {
        ca: config.link_ca.clone(),
        cert: config.link_cert.clone(),
        key: config.link_key.clone(),
        cluster_key: (!config.cluster_keys.is_empty()).then(|| keys.derive("link")),
        ..link::Config::default()
    };
    let hello = Hello { name: config.name.clone(), capacity: 1, ..Hello::default() };
    let sink = Arc::clone(intake);
    link::accept(&link, link_listen(config, &link), hello, Box::new(move |event| sink.link(event)))
        .map_err(|error| ConfigError::new(format!("{PREFIX}LINK_LISTEN"), error).into())
}

/// Asks every engine for its counters and tells it the time, again and again.
async fn report(inboxes: Vec<Inbox<Input>>) {
    let mut tick = tokio::time::interval(REPORT);
    let mut count = 0_u32;
    loop {
        tick.tick().await;
        count = count.wrapping_add(1);
        for inbox in &inboxes {
            // A full inbox has more urgent things; the next tick comes.
            let _ = inbox.try_send(Input::Report);
            if count.is_multiple_of(CLOCK) {
                let _ = inbox.try_send(Input::Clock(clock::unix_now()));
            }
        }
    }
}

/// Tells the edges to send new work elsewhere.
fn say_drain(links: &Links, shutdown: &Shutdown) {
    let grace_seconds = u32::try_from(shutdown.grace().as_secs()).unwrap_or(u32::MAX);
    for peer in links.peers() {
        let _ = links.send(peer.peer, 0, Kind::Drain(Drain { grace_seconds }));
    }
}
