//! The location service (RFC 3261 §10) and the subscriber directory (RFC 3261 §22).
//!
//! This crate loads and saves; it decides nothing. A [`registrar::Record`] holds all bindings of one
//! address-of-record and is replaced as a whole by compare-and-set on its version, so that two cores that process
//! two REGISTERs for one user at a time cannot lose either.
//!
//! - [`LocationStore`] and [`Directory`] are what a database has to offer, always for a whole batch.
//! - [`ChangeFeed`] keeps what has become of every binding in one order, for others to follow.
//! - [`Database`] is a database of the operator's choice, by URL; [`Memory`] is the reference implementation for one
//!   process and for simulations.
//! - [`Service`] stands between the protocol engines, which must not wait, and a store, which takes time: it collects
//!   what is asked while a statement is on its way into the next one (group commit). While the store is away it answers
//!   for calls what was known last.
//!
//! # Versions never come back
//!
//! A row that has long been empty is deleted, and the same address-of-record may register again later. If its
//! version then started at 1, a save that was read before the deletion could find its expected version again and
//! undo what it has never seen. So a version is never below the milliseconds of the newest registration in the record
//! ([`next_version`]), and [`SWEEP_GRACE`] keeps a row longer than any two clocks of the cluster are apart.

use std::fmt;
use std::future::Future;

use registrar::change::{self, BindingChange, BindingEvent};
use registrar::watcher::ContactEvent;
use registrar::{Binding, Record, UnixTime};
use sip::{Aor, Uri};

mod batch;
mod clustered;
mod dialect;
mod error;
pub mod feed;
mod known;
mod mariadb;
mod memory;
mod nodes;
mod postgres;
mod schema;
mod sql;
mod sqlite;
mod stored;
mod subscribers;

pub use batch::{Full, Handle, Limits, Operation, Service};
pub use error::Error;
pub use feed::ChangeFeed;
pub use known::Remember;
pub use memory::Memory;
pub use schema::Schema;
pub use sql::Database;
pub use stored::{SWEEP_GRACE, next_version};
pub use subscribers::{Subscriber, Subscribers, Table};

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The record of an address-of-record and, when the same request has to be authenticated, the credentials of a user.
    Load {
        /// Whose record.
        aor: Aor,
        /// Whose credentials.
        user: Option<User>,
    },
    /// The same for a request that changes nothing: while the store is away, the answer may be what was known last.
    Lookup {
        /// Whose record.
        aor: Aor,
        /// Whose credentials.
        user: Option<User>,
    },
    /// The credentials of a user; while the store is away perhaps those that were known last.
    Credentials(User),
    /// Replace a record.
    Save(Save),
}

/// A record and the version that it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// Whose record.
    pub aor: Aor,
    /// The version that the change was made from; 0 when there was no row.
    pub expected: u64,
    /// What is to be stored; its `version` is not looked at.
    pub record: Record,
    /// What has become of the bindings, for the change feed; empty where it is off.
    pub changes: Vec<BindingChange>,
}

/// What an engine gets. Nothing else is ever answered: a question that the store cannot answer is `Unavailable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Load`] and [`Query::Lookup`].
    Loaded {
        /// Version 0 and empty when nothing is stored.
        record: Record,
        /// `None` when no user was asked for, `Some(None)` for a user that does not exist.
        credentials: Option<Option<Credentials>>,
        /// The store is away: this was right some time ago.
        is_last_known: bool,
    },
    /// To [`Query::Credentials`]: `None` for a user that does not exist.
    Credentials(Option<Credentials>),
    /// To [`Query::Save`]: it is durable.
    Saved {
        /// Of the record now.
        version: u64,
    },
    /// To [`Query::Save`]: the record is not at the expected version any more. Nothing was stored.
    Conflict,
    /// The store is down or too slow. A save may or may not have happened.
    Unavailable,
}

/// What became of one [`Save`] of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Stored, with this version.
    Version(u64),
    /// The record was at another version than the expected one.
    Conflict,
}

/// A user in a realm, the key of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// The user name of the credentials.
    pub name: String,
    /// The protection domain, RFC 3261 §22.1.
    pub realm: String,
}

impl User {
    /// The user of an address-of-record: the name without its escapes, in the realm that is named as the domain.
    pub fn of(aor: &Aor) -> Self {
        Self { name: aor.user_name().into_owned(), realm: aor.domain().to_owned() }
    }
}

/// What proves a user's password without being it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `MD5(user:realm:password)`, lower-case hex.
    pub ha1_md5: String,
    /// `SHA-256(user:realm:password)`, lower-case hex (RFC 8760).
    pub ha1_sha256: String,
}

/// Whoever has the HA1 can log in with it, so it is not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the addresses-of-record.
    pub items: Vec<T>,
    /// Where the next part starts after; `None` when this was the last one.
    pub next: Option<Aor>,
}

impl Page<(Aor, Record)> {
    /// The live bindings of these records that came through `edge`.
    pub(crate) fn flows(self, edge: &str, now: UnixTime) -> Page<(Aor, Binding)> {
        let flows = |(aor, record): (Aor, Record)| {
            let live = record.bindings.into_iter();
            let here: Vec<_> = live.filter(|binding| binding.edge == edge && binding.is_live(now)).collect();
            here.into_iter().map(move |binding| (aor.clone(), binding))
        };
        Page { items: self.items.into_iter().flat_map(flows).collect(), next: self.next }
    }
}

/// One node of a database, for whoever operates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Host and port.
    pub name: String,
    /// What it is good for at present.
    pub state: NodeState,
}

/// What a node is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Statements go to it.
    InUse,
    /// It could take over.
    Ready,
    /// It does not answer, or takes no writes.
    Unfit,
}

/// Where records are kept.
pub trait LocationStore: Send + Sync + 'static {
    /// The records of these addresses-of-record, in their order; version 0 and empty where nothing is stored.
    fn load(&self, aors: &[Aor]) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Records and credentials, each in the order asked for. One round where the store can do that.
    fn lookup(
        &self,
        aors: &[Aor],
        users: &[User],
    ) -> impl Future<Output = Result<(Vec<Record>, Vec<Option<Credentials>>), Error>> + Send
    where
        Self: Directory + Sized,
    {
        let records = async { if aors.is_empty() { Ok(Vec::new()) } else { self.load(aors).await } };
        let credentials =
            async { if users.is_empty() { Ok(Vec::new()) } else { self.credentials(users).await } };
        async move { tokio::try_join!(records, credentials) }
    }

    /// Compare-and-set of these records, in their order, as if one after the other: of two saves of one record that
    /// expect the same version the second is a conflict. When it returns, the stored ones are durable.
    fn save(&self, saves: &[Save]) -> impl Future<Output = Result<Vec<Saved>, Error>> + Send;

    /// Deletes up to `limit` records that have been empty for long enough (see [`SWEEP_GRACE`]), oldest first, and says how
    /// many.
    fn sweep(&self, now: UnixTime, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Up to `limit` records in which something is over, or some watcher is to be told something, oldest first.
    fn due(
        &self,
        now: UnixTime,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Aor, Record)>, Error>> + Send;

    /// The live bindings that came through `edge`, of up to `limit` addresses-of-record.
    fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Binding)>, Error>> + Send;

    /// Up to `limit` records.
    fn list(
        &self,
        after: Option<&Aor>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<(Aor, Record)>, Error>> + Send;

    /// Removes the bindings of `aor`, all of them or those of one `contact`; true if there were any. The version goes on, and the
    /// watchers stay: they are to be told (RFC 3680 §4.7.1: deactivated), so the record is due. The change feed is told when `at`
    /// says the time.
    fn remove(
        &self,
        aor: &Aor,
        contact: Option<&Uri<'_>>,
        at: Option<UnixTime>,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        async move {
            let is_meant = |binding: &Binding| contact.is_none_or(|contact| binding.reaches(contact));
            loop {
                let record = self.load(std::slice::from_ref(aor)).await?.pop().unwrap_or_default();
                if !record.bindings.iter().any(is_meant) {
                    return Ok(false);
                }
                let expected = record.version;
                let before = record.bindings.clone();
                let record = deactivated(record, is_meant);
                let changes = at.map_or_else(Vec::new, |at| {
                    change::between(&before, &record.bindings, BindingEvent::Deactivated, at)
                });
                let save = Save { aor: aor.clone(), expected, record, changes };
                if let [Saved::Version(_)] = self.save(&[save]).await?[..] {
                    return Ok(true);
                }
            }
        }
    }
}

/// A record without these of its bindings.
fn deactivated(mut record: Record, is_meant: impl Fn(&Binding) -> bool) -> Record {
    for binding in record.bindings.extract_if(.., |binding| is_meant(binding)) {
        for watcher in &mut record.watchers {
            watcher.note(ContactEvent::Deactivated, &binding);
        }
    }
    record
}

/// Where credentials are kept, and which domains there are for them.
pub trait Directory: Send + Sync + 'static {
    /// The credentials of these users, in their order.
    fn credentials(
        &self,
        users: &[User],
    ) -> impl Future<Output = Result<Vec<Option<Credentials>>, Error>> + Send;

    /// Adds a user or replaces the credentials of one.
    fn put(&self, user: &User, credentials: &Credentials) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`put`](Self::put) for many users; of two with one name the later counts. Stops at the first failure.
    fn put_all(&self, users: &[(User, Credentials)]) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            for (user, credentials) in users {
                self.put(user, credentials).await?;
            }
            Ok(())
        }
    }

    /// Removes a user; true if there was one.
    fn remove_user(&self, user: &User) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Up to `limit` users in order, those after `after`.
    fn users(
        &self,
        after: Option<&User>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, Error>> + Send;

    /// The domains that were added, in order.
    fn domains(&self) -> impl Future<Output = Result<Vec<String>, Error>> + Send;

    /// Whether a domain was added: a look at one row, however many there are.
    fn has_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Adds a domain; true if it is new.
    fn put_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Removes a domain; true if it was there. Its users and contacts stay.
    fn remove_domain(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send;
}
