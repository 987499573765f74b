//! The change feed in memory.

use std::collections::BTreeMap;
use std::future::{Future, ready};

use registrar::UnixTime;
use registrar::change::BindingChange;
use sip::Aor;

use super::{Memory, count};
use crate::feed::{Change, Consumer, Sequenced, last_to_go};
use crate::{ChangeFeed, Error};

/// The tables of the feed.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// By version, address-of-record and place.
    new: BTreeMap<(u64, Aor, usize), BindingChange>,
    placed: BTreeMap<u64, Change>,
    head: u64,
    consumers: BTreeMap<String, Consumer>,
}

impl Feed {
    /// The changes that come with a record.
    pub(super) fn note(&mut self, aor: &Aor, version: u64, changes: &[BindingChange]) {
        for (place, change) in changes.iter().enumerate() {
            self.new.insert((version, aor.clone(), place), change.clone());
        }
    }

    fn sequence(&mut self, limit: u32) -> Sequenced {
        let before = self.head;
        for _ in 0..limit {
            let Some(((version, aor, _), change)) = self.new.pop_first() else { break };
            self.head += 1;
            self.placed.insert(self.head, Change { position: self.head, aor, version, change });
        }
        Sequenced { head: self.head, count: self.head - before }
    }

    fn trim(&mut self, until: UnixTime, limit: u32) -> u64 {
        let time = |change: &Change| i64::try_from(change.change.at.0).unwrap_or(i64::MAX);
        let position = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
        let oldest: Vec<_> =
            self.placed.iter().take(count(limit)).map(|(at, change)| (position(*at), time(change))).collect();
        let before = self.placed.len();
        if let Some(last) = last_to_go(&oldest, until) {
            self.placed.retain(|at, _| position(*at) > last);
        }
        (before - self.placed.len()) as u64
    }
}

impl ChangeFeed for Memory {
    fn sequence(&self, limit: u32) -> impl Future<Output = Result<Sequenced, Error>> + Send {
        ready(Ok(self.tables().feed.sequence(limit)))
    }

    fn head(&self) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(self.tables().feed.head))
    }

    fn stored_changes(
        &self,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Change>, Error>> + Send {
        let tables = self.tables();
        let found = tables.feed.placed.range(after.saturating_add(1)..).map(|(_, change)| change.clone());
        ready(Ok(found.take(count(limit)).collect()))
    }

    fn trim(&self, until: UnixTime, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(self.tables().feed.trim(until, limit)))
    }

    fn begin(&self) -> impl Future<Output = Result<(), Error>> + Send {
        let mut tables = self.tables();
        tables.feed.head = tables.feed.head.max(1);
        ready(Ok(()))
    }

    fn interrupt(&self) -> impl Future<Output = Result<(), Error>> + Send {
        let mut tables = self.tables();
        tables.feed.head += u64::from(tables.feed.head > 0);
        ready(Ok(()))
    }

    fn consumers(&self) -> impl Future<Output = Result<Vec<Consumer>, Error>> + Send {
        ready(Ok(self.tables().feed.consumers.values().cloned().collect()))
    }

    fn put_consumer(&self, consumer: &Consumer) -> impl Future<Output = Result<(), Error>> + Send {
        self.tables().feed.consumers.insert(consumer.name.clone(), consumer.clone());
        ready(Ok(()))
    }

    fn remove_consumer(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(self.tables().feed.consumers.remove(name).is_some()))
    }
}
