//! Metrics: counters, gauges and histograms whose handles are made once and cost a few nanoseconds afterwards.
//!
//! Names are without the prefix of the tier and without the `_total` that a counter gets when it is written. A label value is a
//! handle of its own ([`Counters::with`]): take it at construction, not per message.

use std::{
    fmt::{self, Debug, Formatter},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, text},
    metrics::{MetricType, family::Family},
    registry,
};

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

mod process;

/// All metrics of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Arc<Mutex<registry::Registry>>,
    prefix: Arc<str>,
}

impl Registry {
    /// A registry whose names all start with this word and `_`, and in which there is so far only what the operating
    /// system knows: `process_cpu_seconds_total` and the like.
    pub fn new(prefix: &str) -> Self {
        let mut metrics = registry::Registry::default();
        metrics.register_collector(Box::new(process::Process));
        Self { metrics: Arc::new(Mutex::new(metrics)), prefix: prefix.into() }
    }

    /// Something that only grows.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// Something that only grows, apart by labels.
    pub fn counters(&self, name: &str, help: &str) -> Counters {
        let family = Family::default();
        self.register(name, help, family.clone());
        Counters(family)
    }

    /// Something that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// Something that goes up and down, apart by labels.
    pub fn gauges(&self, name: &str, help: &str) -> Gauges {
        let family = Family::default();
        self.register(name, help, family.clone());
        Gauges(family)
    }

    /// Something that is looked up only when somebody reads the metrics, like the length of a queue.
    pub fn observed(&self, name: &str, help: &str, value: impl Fn() -> i64 + Send + Sync + 'static) {
        self.register(name, help, Observed(Box::new(value)));
    }

    /// How long something takes, in seconds, in the buckets of [`LATENCY`].
    pub fn latency(&self, name: &str, help: &str) -> Histogram {
        self.histogram(name, help, &LATENCY)
    }

    /// How large something is, in buckets with these upper ends.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let histogram = Histogram::new(buckets.iter().copied());
        self.register(name, help, histogram.clone());
        histogram
    }

    /// Everything in the text format of Prometheus.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.open()).expect("a string takes anything");
        page
    }

    fn register(&self, name: &str, help: &str, metric: impl registry::Metric) {
        let name = format!("{}_{name}", self.prefix);
        self.open().register(name, help, metric);
    }

    fn open(&self) -> MutexGuard<'_, registry::Registry> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters apart by labels.
#[derive(Clone, Debug)]
pub struct Counters(Family<Labels, Counter>);

impl Counters {
    /// The counter with these labels, to be kept.
    pub fn with(&self, labels: &[(&'static str, &str)]) -> Counter {
        self.0.get_or_create_owned(&owned(labels))
    }
}

/// Gauges apart by labels.
#[derive(Clone, Debug)]
pub struct Gauges(Family<Labels, Gauge>);

impl Gauges {
    /// The gauge with these labels, to be kept.
    pub fn with(&self, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.get_or_create_owned(&owned(labels))
    }

    /// Forgets the gauge with these labels, when what it measured is gone.
    pub fn remove(&self, labels: &[(&'static str, &str)]) {
        self.0.remove(&owned(labels));
    }
}

type Labels = Vec<(&'static str, String)>;

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A gauge that is a function.
struct Observed(Box<dyn Fn() -> i64 + Send + Sync>);

impl Debug for Observed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl EncodeMetric for Observed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&(self.0)())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The upper ends of the buckets for a latency in seconds: from a hop inside the cluster to the longest time that a
/// request may go unanswered.
pub const LATENCY: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 32.0];

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(registry: &Registry) -> Vec<String> {
        registry.encode().lines().map(str::to_owned).collect()
    }

    #[test]
    fn handles_write_into_the_page() {
        let registry = Registry::new("edge");
        let requests = registry.counters("requests", "Requests by method");
        let invites = requests.with(&[("method", "INVITE")]);
        invites.inc();
        requests.with(&[("method", "INVITE")]).inc();
        registry.counter("dropped", "Dropped").inc();
        registry.gauge("flows", "Flows").set(7);
        let page = lines(&registry);
        for line in [
            r#"edge_requests_total{method="INVITE"} 2"#,
            "edge_dropped_total 1",
            "edge_flows 7",
            "# TYPE edge_flows gauge",
            "# TYPE edge_dropped counter",
            "# EOF",
        ] {
            assert!(page.iter().any(|written| written == line), "{line}: {page:?}");
        }
    }

    #[test]
    fn a_gauge_that_is_removed_is_not_written() {
        let registry = Registry::new("edge");
        let links = registry.gauges("links", "Links by core");
        links.with(&[("core", "one")]).set(1);
        links.with(&[("core", "two")]).set(1);
        links.remove(&[("core", "one")]);
        let page = registry.encode();
        assert!(!page.contains("one") && page.contains(r#"edge_links{core="two"} 1"#));
    }

    #[test]
    fn observed_is_asked_on_each_reading() {
        let registry = Registry::new("core");
        let depth = Gauge::<i64>::default();
        let seen = depth.clone();
        registry.observed("inbox", "Inputs that wait", move || seen.get());
        assert!(registry.encode().contains("core_inbox 0"));
        depth.set(3);
        assert!(registry.encode().contains("core_inbox 3"));
    }

    #[test]
    fn latencies_fall_into_their_buckets() {
        let registry = Registry::new("core");
        registry.latency("answer_seconds", "Time to answer").observe(0.003);
        let page = registry.encode();
        assert!(page.contains(r#"core_answer_seconds_bucket{le="0.0025"} 0"#), "{page}");
        assert!(page.contains(r#"core_answer_seconds_bucket{le="0.005"} 1"#), "{page}");
        assert!(LATENCY.is_sorted());
    }
}
