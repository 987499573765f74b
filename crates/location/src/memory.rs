//! The reference implementation for one process: what a store means, without a database.
//!
//! Deterministic and synchronous: a simulation calls [`Memory::answer`] and decides itself when the answer arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, ready};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use registrar::{Binding, Record, UnixTime};
use sip::Aor;

use crate::stored::{due_at, next_version};
use crate::{Answer, Credentials, Directory, Error, LocationStore, Page, Query, Save, Saved, User};

mod feed;

/// Records and credentials in memory.
#[derive(Debug, Default)]
pub struct Memory {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    location: BTreeMap<Aor, Record>,
    subscriber: BTreeMap<User, Credentials>,
    domain: BTreeSet<String>,
    feed: feed::Feed,
}

impl Memory {
    /// What a [`crate::Service`] over this store answers.
    pub fn answer(&self, query: Query) -> Answer {
        let mut tables = self.tables();
        match query {
            Query::Load { aor, user } | Query::Lookup { aor, user } => Answer::Loaded {
                record: tables.record(&aor),
                credentials: user.map(|user| tables.subscriber.get(&user).cloned()),
                is_last_known: false,
            },
            Query::Credentials(user) => Answer::Credentials(tables.subscriber.get(&user).cloned()),
            Query::Save(save) => match tables.save(&save) {
                Saved::Version(version) => Answer::Saved { version },
                Saved::Conflict => Answer::Conflict,
            },
        }
    }

    /// The record of `aor`; version 0 and empty when nothing is stored.
    pub fn record(&self, aor: &Aor) -> Record {
        self.tables().record(aor)
    }

    /// Adds a user or replaces his credentials.
    pub fn put_user(&self, user: User, credentials: Credentials) {
        self.tables().subscriber.insert(user, credentials);
    }

    /// As [`LocationStore::sweep`].
    pub fn swept(&self, now: UnixTime, limit: u32) -> u64 {
        let mut tables = self.tables();
        let old = tables.due(now, limit, Record::is_empty);
        for aor in &old {
            tables.location.remove(aor);
        }
        old.len() as u64
    }

    /// As [`LocationStore::due`].
    pub fn due_records(&self, now: UnixTime, limit: u32) -> Vec<(Aor, Record)> {
        let tables = self.tables();
        let due = tables.due(now, limit, |record| !record.is_empty());
        due.into_iter()
            .map(|aor| {
                let record = tables.record(&aor);
                (aor, record)
            })
            .collect()
    }

    /// As [`LocationStore::flows_of`].
    pub fn flows(&self, edge: &str, now: UnixTime, after: Option<&Aor>, limit: u32) -> Page<(Aor, Binding)> {
        let is_here = |binding: &&Binding| binding.edge == edge;
        let tables = self.tables();
        let there = tables.from(after).filter(|(_, record)| record.bindings.iter().any(|b| is_here(&b)));
        let (records, next) = page(there, limit);
        let flows = |(aor, record): (Aor, Record)| {
            let live: Vec<_> = record.live(now).filter(is_here).cloned().collect();
            live.into_iter().map(move |binding| (aor.clone(), binding))
        };
        Page { items: records.into_iter().flat_map(flows).collect(), next }
    }

    /// A panic in another thread leaves no half-made change behind, so its lock is taken over.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn record(&self, aor: &Aor) -> Record {
        self.location.get(aor).cloned().unwrap_or_default()
    }

    /// The records that are due, the oldest first.
    fn due(&self, now: UnixTime, limit: u32, is_meant: impl Fn(&Record) -> bool) -> Vec<Aor> {
        let mut due: Vec<_> = self
            .location
            .iter()
            .filter(|(_, record)| is_meant(record))
            .map(|(aor, record)| (due_at(record.version, record), aor))
            .filter(|(due, _)| *due <= now)
            .collect();
        due.sort();
        due.into_iter().take(count(limit)).map(|(_, aor)| aor.clone()).collect()
    }

    fn save(&mut self, save: &Save) -> Saved {
        let current = self.location.get(&save.aor).map_or(0, |record| record.version);
        if current != save.expected {
            return Saved::Conflict;
        }
        let version = next_version(save.expected, &save.record);
        let record = Record { version, ..save.record.clone() };
        self.location.insert(save.aor.clone(), record);
        self.feed.note(&save.aor, version, &save.changes);
        Saved::Version(version)
    }

    fn from(&self, after: Option<&Aor>) -> impl Iterator<Item = (&Aor, &Record)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.location.range((start, Bound::Unbounded))
    }
}

impl LocationStore for Memory {
    fn load(&self, aors: &[Aor]) -> impl Future<Output = Result<Vec<Record>, Error>> + Send {
        let tables = self.tables();
        ready(Ok(aors.iter().map(|aor| tables.record(aor)).collect()))
    }

    fn save(&self, saves: &[Save]) -> impl Future<Output = Result<Vec<Saved>, Error>> + Send {
        let mut tables = self.tables();
        ready(Ok(saves.iter().map(|save| tables.save(save)).collect()))
    }

    fn sweep(&self, now: UnixTime, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(self.swept(now, limit)))
    }

    fn due(
        &self,
        now: UnixTime,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Aor, Record)>, Error>> + Send {
        ready(Ok(self.due_records(now, limit)))
    }

    fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Binding)>, Error>> + Send {
        ready(Ok(self.flows(edge, now, after, limit)))
    }

    fn list(
        &self,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Record)>, Error>> + Send {
        let (items, next) = page(self.tables().from(after), limit);
        ready(Ok(Page { items, next }))
    }
}

impl Directory for Memory {
    fn credentials(
        &self,
        users: &[User],
    ) -> impl Future<Output = Result<Vec<Option<Credentials>>, Error>> + Send {
        let tables = self.tables();
        ready(Ok(users.iter().map(|user| tables.subscriber.get(user).cloned()).collect()))
    }

    fn put(&self, user: &User, credentials: &Credentials) -> impl Future<Output = Result<(), Error>> + Send {
        self.put_user(user.clone(), credentials.clone());
        ready(Ok(()))
    }

    fn remove_user(&self, user: &User) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(self.tables().subscriber.remove(user).is_some()))
    }

    fn users(
        &self,
        after: Option<&User>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, Error>> + Send {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.tables();
        let users = tables.subscriber.range((start, Bound::Unbounded)).map(|(user, _)| user.clone());
        ready(Ok(users.take(count(limit)).collect()))
    }

    fn domains(&self) -> impl Future<Output = Result<Vec<String>, Error>> + Send {
        ready(Ok(self.tables().domain.iter().cloned().collect()))
    }

    fn has_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(self.tables().domain.contains(name)))
    }

    fn put_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(self.tables().domain.insert(name.to_owned())))
    }

    fn remove_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(self.tables().domain.remove(name)))
    }
}

/// The first `limit` rows and, when they are that many, where the next ones start after.
fn page<'a>(
    rows: impl Iterator<Item = (&'a Aor, &'a Record)>,
    limit: u32,
) -> (Vec<(Aor, Record)>, Option<Aor>) {
    let rows: Vec<_> = rows.take(count(limit)).map(|(aor, record)| (aor.clone(), record.clone())).collect();
    let next = rows.last().filter(|_| rows.len() == count(limit)).map(|(aor, _)| aor.clone());
    (rows, next)
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
