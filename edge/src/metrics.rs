//! What an edge tells Prometheus.

use std::sync::Arc;

use node::metrics::{Counter, Gauge, Registry};
use node::report::Reports;
use transport::resolve::{Resolver, ResolverStats};
use transport::{Stats, Transport};

use crate::counters::{CLASSES, Counters, METHODS};
use crate::keeper;
use crate::registered::PROTOCOLS;

/// Counters of the driver, and what the shards' engines report.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) links: Gauge,
    pub(crate) next_hops: Gauge,
    pub(crate) overload: Counter,
    pub(crate) malformed_frames: Counter,
    pub(crate) unsent_to_ua: Counter,
    pub(crate) unsent_to_core: Counter,
    pub(crate) reports: Reports<Counters>,
    pub(crate) keeper: Reports<keeper::Counters>,
}

impl Meter {
    pub(crate) fn new(registry: &Registry, shards: usize) -> Arc<Self> {
        Arc::new(Self {
            links: registry.gauge("links", "Cores with a link"),
            next_hops: registry.gauge("next_hops", "Servers of SIP next hops that live"),
            overload: registry.counter("overload", "Messages refused because the engine's inbox was full"),
            malformed_frames: registry
                .counter("malformed_frames", "Frames from cores that were no SIP message"),
            unsent_to_ua: registry.counter("unsent_to_ua", "Messages that a flow did not take"),
            unsent_to_core: registry.counter("unsent_to_core", "Messages that a link did not take"),
            reports: reports(registry, shards),
            keeper: kept(registry),
        })
    }

    /// True when no shard has a request under way, as far as reported.
    pub(crate) fn is_idle(&self) -> bool {
        self.reports.all(|report| report.contexts == 0)
    }
}

fn reports(registry: &Registry, shards: usize) -> Reports<Counters> {
    let mut reports = Reports::new(shards);
    let requests = registry.counters("requests", "Requests, by side and method");
    for (at, method) in METHODS.iter().copied().chain(["other"]).enumerate() {
        let from_ua = requests.with(&[("from", "ua"), ("method", method)]);
        reports.total(from_ua, move |c: &Counters| c.from_ua.get(at).copied().unwrap_or(0));
        let from_core = requests.with(&[("from", "core"), ("method", method)]);
        reports.total(from_core, move |c: &Counters| c.from_core.get(at).copied().unwrap_or(0));
    }
    let responses = registry.counters("responses", "Answers sent, by class");
    for (at, class) in CLASSES.into_iter().enumerate() {
        let total = responses.with(&[("class", class)]);
        reports.total(total, move |c: &Counters| c.responses.get(at).copied().unwrap_or(0));
    }
    reports.totals(
        registry,
        [
            ("stray_responses", "Responses that matched no transaction", |c| c.stray_responses),
            ("late_answers", "INVITEs answered after they were given up", |c| c.late_answers),
            ("limited", "Requests refused because their source sent too many", |c| c.limited),
            ("dropped_acks", "ACKs without a way", |c| c.dropped_acks),
            ("egress", "Requests sent outside", |c| c.egress),
            ("egress_failed", "Targets outside that were passed over", |c| c.egress_failed),
            ("retried", "Requests sent again because their core or next hop failed", |c| c.retried),
        ],
    );
    reports.gauges(
        registry,
        [
            ("contexts", "Requests on their way", |c| c.contexts),
            ("flows", "Open stream flows", |c| c.streams),
            ("transactions", "Transactions", |c| c.transactions.total() as u64),
        ],
    );
    reports
}

/// What the keeper of flows reports.
fn kept(registry: &Registry) -> Reports<keeper::Counters> {
    let mut reports = Reports::new(1);
    let flows = registry.gauges("registered_flows", "Flows with registrations, by transport");
    for (at, protocol) in PROTOCOLS.into_iter().enumerate() {
        let gauge = flows.with(&[("transport", protocol.token())]);
        reports.gauge(gauge, move |c: &keeper::Counters| c.registered.get(at).copied().unwrap_or(0));
    }
    reports.totals(
        registry,
        [
            ("pings", "NAT pings sent", |c| c.pings),
            ("pings_answered", "NAT pings answered with a message", |c| c.answered),
            ("pings_unanswered", "NAT pings not answered by phones that do answer", |c| c.unanswered),
            ("flows_lost", "Flows with registrations reported as lost", |c| c.lost),
            ("flows_returned", "Lost flows that were heard of again", |c| c.returned),
            ("flows_recovered", "Flows of the time before a restart", |c| c.recovered),
        ],
    );
    reports
}

/// The resolver's own figures.
pub(crate) fn observe_resolver(registry: &Registry, resolver: Option<&Resolver>) {
    type Figure = (&'static str, &'static str, fn(&ResolverStats) -> u64);
    let figures: [Figure; 5] = [
        ("dns_resolutions", "URIs looked up for what leaves", |stats| stats.resolutions.get()),
        ("dns_failures", "URIs without a target", |stats| stats.failures.get()),
        ("dns_cache_hits", "Lookups answered from the cache", |stats| stats.cache_hits.get()),
        ("dns_lookups", "Lookups that went to the DNS", |stats| stats.lookups.get()),
        ("dns_lookup_failures", "Lookups that the DNS did not answer", |stats| stats.lookup_failures.get()),
    ];
    for (name, help, value) in figures {
        let resolver = resolver.cloned();
        registry.observed(name, help, move || {
            resolver.as_ref().map_or(0, |resolver| value(resolver.stats())).cast_signed()
        });
    }
}

/// The sockets' own figures.
pub(crate) fn observe(registry: &Registry, transport: &Transport) {
    for (name, help, value) in Stats::TABLE {
        let transport = transport.clone();
        registry.observed(name, help, move || value(transport.stats()).cast_signed());
    }
}
