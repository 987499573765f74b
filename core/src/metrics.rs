//! What a core tells Prometheus.

use std::sync::Arc;
use std::time::Duration;

use location::{NodeState, NodeStatus, Operation};
use node::metrics::{Counter, Gauge, Gauges, Histogram, Registry};
use node::report::Reports;

use crate::counters::{CLASSES, Counters, METHODS};

/// Counters of the driver, the store's latency, and what the shards' engines report.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) links: Gauge,
    pub(crate) overload: Counter,
    pub(crate) malformed_frames: Counter,
    pub(crate) unsent: Counter,
    pub(crate) store_overload: Counter,
    store_read: Histogram,
    store_write: Histogram,
    store_batch: Histogram,
    last_known: Counter,
    pub(crate) domains: Gauge,
    database_nodes: Gauge,
    database_nodes_usable: Gauge,
    pub(crate) reports: Reports<Counters>,
}

/// Upper ends of the batch sizes.
const BATCHES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

impl Meter {
    pub(crate) fn new(registry: &Registry, shards: usize) -> Arc<Self> {
        Arc::new(Self {
            links: registry.gauge("links", "Edges with a link"),
            overload: registry.counter("overload", "Messages refused because the engine's inbox was full"),
            malformed_frames: registry
                .counter("malformed_frames", "Frames from edges that were no SIP message"),
            unsent: registry.counter("unsent", "Messages that a link did not take"),
            store_overload: registry
                .counter("store_overload", "Questions that the store's queue did not take"),
            store_read: registry.latency("store_read_seconds", "Time of one round of lookups"),
            store_write: registry.latency("store_write_seconds", "Time of one commit"),
            store_batch: registry.histogram("store_batch", "Questions in one round to the store", &BATCHES),
            last_known: registry.counter("last_known", "Questions of calls answered without the store"),
            domains: registry.gauge("domains", "Domains served"),
            database_nodes: registry.gauge("database_nodes", "Nodes of a clustered database"),
            database_nodes_usable: registry.gauge("database_nodes_usable", "Nodes of it that take writes"),
            reports: reports(registry, shards),
        })
    }

    /// Takes note of one round to the store.
    pub(crate) fn observe(&self, operation: Operation, took: Duration, batch: usize) {
        let latency = match operation {
            Operation::Load => &self.store_read,
            Operation::Save => &self.store_write,
            Operation::Remember => {
                self.last_known.inc_by(batch as u64);
                return;
            }
        };
        latency.observe(took.as_secs_f64());
        self.store_batch.observe(u32::try_from(batch).map_or(f64::MAX, f64::from));
    }

    /// Takes note of how the nodes of the database are.
    pub(crate) fn nodes(&self, nodes: &[NodeStatus]) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.database_nodes.set(count(nodes.len()));
        let is_usable = |node: &&NodeStatus| node.state != NodeState::Unfit;
        self.database_nodes_usable.set(count(nodes.iter().filter(is_usable).count()));
    }

    /// Changes of bindings that no feed was told of.
    pub(crate) fn unnoted(&self) -> u64 {
        self.reports.sum(|report| report.unnoted)
    }

    /// True when no shard has a request under way, as far as reported.
    pub(crate) fn is_idle(&self) -> bool {
        self.reports.all(|report| report.contexts == 0 && report.queries == 0)
    }
}

/// What is measured of the change feed.
#[derive(Debug)]
pub(crate) struct FeedMeter {
    pub(crate) head: Gauge,
    pub(crate) placed: Counter,
    pub(crate) failures: Counter,
    pub(crate) trimmed: Counter,
    pub(crate) readers: Gauge,
    pub(crate) lag: Gauges,
}

impl FeedMeter {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            head: registry.gauge("feed_head", "Newest position of the change feed"),
            placed: registry.counter("feed_placed", "Changes given a position by this core"),
            failures: registry
                .counter("feed_failures", "Rounds in which this core could not give positions to changes"),
            trimmed: registry.counter("feed_trimmed", "Changes deleted by this core because of their age"),
            readers: registry.gauge("feed_readers", "Readers of the change feed at this core"),
            lag: registry.gauges("feed_lag", "Positions between a consumer of the change feed and its head"),
        }
    }
}

fn reports(registry: &Registry, shards: usize) -> Reports<Counters> {
    let mut reports = Reports::new(shards);
    let requests = registry.counters("requests", "Requests, by method");
    for (at, method) in METHODS.iter().copied().chain(["other"]).enumerate() {
        let total = requests.with(&[("method", method)]);
        reports.total(total, move |c: &Counters| c.requests.get(at).copied().unwrap_or(0));
    }
    let responses = registry.counters("responses", "Answers given, by class");
    for (at, class) in CLASSES.into_iter().enumerate() {
        let total = responses.with(&[("class", class)]);
        reports.total(total, move |c: &Counters| c.responses.get(at).copied().unwrap_or(0));
    }
    reports.totals(
        registry,
        [
            ("challenges", "Requests challenged for credentials", |c| c.challenges),
            ("auth_failures", "Credentials that did not fit", |c| c.auth_failures),
            ("verifications", "Digests computed to verify credentials", |c| c.verifications),
            ("registered", "REGISTERs acknowledged", |c| c.registered),
            ("conflicts", "Saves that another core overtook", |c| c.conflicts),
            ("subscribed", "SUBSCRIBEs to the registration state accepted", |c| c.subscribed),
            ("unsubscribed", "Subscriptions whose subscriber was gone", |c| c.unsubscribed),
            ("notified", "NOTIFYs sent", |c| c.notified),
            ("lost_notifies", "NOTIFYs that did not reach their subscriber", |c| c.lost_notifies),
            ("expired", "Bindings taken out because their time was over", |c| c.expired),
            ("no_edge", "Branches whose edge has no link", |c| c.no_edge),
            ("egress", "Requests sent outside", |c| c.egress),
            ("relays_refused", "Requests for the outside from strangers", |c| c.relays_refused),
            ("detours", "Requests inside dialogs led past a dead Route", |c| c.detours),
            ("passed_responses", "Responses passed on for a core that died", |c| c.passed_responses),
            ("stray_responses", "Responses that matched nothing", |c| c.stray_responses),
            ("dropped_acks", "ACKs without a way", |c| c.dropped_acks),
            ("suspended", "Bindings passed over because their flow is lost", |c| c.suspended),
        ],
    );
    reports.gauges(
        registry,
        [
            ("contexts", "Requests being forwarded", |c| c.contexts),
            ("queries", "Questions that wait for the store", |c| c.queries),
            ("lost_flows", "Flows that edges have reported as lost", |c| c.lost_flows),
            ("transactions", "Transactions", |c| c.transactions.total() as u64),
        ],
    );
    reports
}
