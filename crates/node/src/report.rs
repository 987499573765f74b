//! What the engines of a process count, added up for the metrics.
//!
//! An engine is pure: it counts in plain numbers and gives a copy away when asked. [`Reports`] turns the copies of all
//! shards into counters and gauges.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::metrics::{Counter, Gauge, Registry};

/// Name, help and value of one figure.
pub type Figure<C> = (&'static str, &'static str, fn(&C) -> u64);

/// One figure of a report.
type Read<C> = Box<dyn Fn(&C) -> u64 + Send + Sync>;

/// The last report `C` of every shard, and the metrics that are made of them.
pub struct Reports<C> {
    totals: Vec<(Counter, Read<C>)>,
    gauges: Vec<(Gauge, Read<C>)>,
    last: Mutex<Vec<C>>,
}

impl<C: Default + Clone> Reports<C> {
    /// For this many shards, none of which has reported.
    pub fn new(shards: usize) -> Self {
        Self { totals: Vec::new(), gauges: Vec::new(), last: Mutex::new(vec![C::default(); shards]) }
    }

    /// A figure that only grows, for instance of a family of counters.
    pub fn total(&mut self, counter: Counter, read: impl Fn(&C) -> u64 + Send + Sync + 'static) {
        self.totals.push((counter, Box::new(read)));
    }

    /// Figures that only grow: name, help, value.
    pub fn totals<const N: usize>(&mut self, registry: &Registry, all: [Figure<C>; N])
    where
        C: 'static,
    {
        for (name, help, read) in all {
            self.total(registry.counter(name, help), read);
        }
    }

    /// A figure of the moment, for instance of a family of gauges.
    pub fn gauge(&mut self, gauge: Gauge, read: impl Fn(&C) -> u64 + Send + Sync + 'static) {
        self.gauges.push((gauge, Box::new(read)));
    }

    /// Figures of the moment: name, help, value.
    pub fn gauges<const N: usize>(&mut self, registry: &Registry, all: [Figure<C>; N])
    where
        C: 'static,
    {
        for (name, help, read) in all {
            self.gauge(registry.gauge(name, help), read);
        }
    }

    /// Takes over what a shard's engine has counted since its start.
    pub fn publish(&self, shard: usize, report: C) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = last.get_mut(shard) else { return };
        for (total, read) in &self.totals {
            total.inc_by(read(&report).saturating_sub(read(before)));
        }
        *before = report;
        for (gauge, read) in &self.gauges {
            gauge.set(last.iter().map(read).sum::<u64>().cast_signed());
        }
    }

    /// A figure of all shards together, as last reported.
    pub fn sum(&self, read: impl Fn(&C) -> u64) -> u64 {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().map(read).sum()
    }

    /// True when it holds for the last report of every shard.
    pub fn all(&self, holds: impl FnMut(&C) -> bool) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().all(holds)
    }
}

impl<C> fmt::Debug for Reports<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Clone)]
    struct Report {
        done: u64,
        open: u64,
    }

    #[test]
    fn shards_add_up() {
        let registry = Registry::new("node");
        let mut reports: Reports<Report> = Reports::new(2);
        reports.totals(&registry, [("done", "What is done", |r| r.done)]);
        reports.gauges(&registry, [("open", "What is open", |r| r.open)]);
        reports.publish(0, Report { done: 5, open: 1 });
        reports.publish(1, Report { done: 2, open: 4 });
        reports.publish(0, Report { done: 9, open: 0 });
        let page = registry.encode();
        assert!(page.contains("node_done_total 11"), "{page}");
        assert!(page.contains("node_open 4"), "{page}");
        assert!(!reports.all(|r| r.open == 0));
        reports.publish(1, Report { done: 2, open: 0 });
        assert!(reports.all(|r| r.open == 0));
    }

    #[test]
    fn an_unknown_shard_is_nobody() {
        Reports::<Report>::new(1).publish(7, Report::default());
    }
}
