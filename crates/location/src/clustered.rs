//! The store over the nodes of a clustered database; the SQL is that of a dialect.
//!
//! # Saves whose outcome is not known
//!
//! A connection may break, or a node fall silent, while a commit is on its way. The save is repeated then, and whatever
//! the first attempt has stored is a conflict for the second. So a conflict after a doubt is looked at again: a row
//! that is exactly what was to be stored is stored. If another core has replaced it since, the conflict stands, and
//! whoever asked reads the record that it left.

use std::future::Future;

use registrar::{Binding, Record, UnixTime};
use sip::Aor;
use sqlx::migrate::Migrator;

use crate::dialect::{NewRow, StoredRow, bigint, page_of, record, records_of, rounds};
use crate::nodes::{Dialect, Nodes, attempt};
use crate::{Credentials, Directory, Error, LocationStore, NodeStatus, Page, Save, Saved, Schema, User};

pub(crate) use feed::FeedStatements;

mod feed;

/// What each dialect says in its own words. Keys are distinct, and [storable](is_storable).
pub(crate) trait Statements: Dialect {
    /// The schema, step by step.
    fn migrations() -> &'static Migrator;

    /// The newest migration that the database has had, 0 before the first.
    fn applied(c: &mut Self::Connection) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    /// Brings the schema up to date. Several may do so at once; one that another's changes have undone is begun again.
    fn migrate(c: &mut Self::Connection) -> impl Future<Output = Result<(), Error>> + Send;

    /// Records and credentials by key, in any order.
    fn lookup(
        c: &mut Self::Connection,
        aors: &[&str],
        users: &[&User],
    ) -> impl Future<Output = Result<Vec<FoundRow>, sqlx::Error>> + Send;

    /// Writes rows in the order of their keys, all or none, and gives those that are stored: [`StoredRow`] tells
    /// what it has to look like.
    fn save(
        c: &mut Self::Connection,
        rows: &[NewRow<'_>],
    ) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send;

    /// Deletes up to `limit` rows that hold nothing and are due, oldest first.
    fn sweep(
        c: &mut Self::Connection,
        now: i64,
        limit: u32,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Up to `limit` rows that hold something and are due, oldest first.
    fn due(
        c: &mut Self::Connection,
        now: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<StoredRow>, sqlx::Error>> + Send;

    /// Records in order, those after `after`; with an edge those that it is noted for.
    fn records(
        c: &mut Self::Connection,
        edge: Option<&str>,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<StoredRow>, sqlx::Error>> + Send;

    /// Adds users or replaces their credentials. No user is there twice.
    fn put(
        c: &mut Self::Connection,
        users: &[(&User, &Credentials)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Removes a user; true if there was one.
    fn remove_user(
        c: &mut Self::Connection,
        user: &User,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Users in order, those after `after`.
    fn users(
        c: &mut Self::Connection,
        after: (&str, &str),
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(String, String)>, sqlx::Error>> + Send;

    /// All domains, in order.
    fn domains(c: &mut Self::Connection) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send;

    /// Whether a domain is there.
    fn has_domain(
        c: &mut Self::Connection,
        name: &str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Adds a domain or removes it; true if that has changed something.
    fn set_domain(
        c: &mut Self::Connection,
        name: &str,
        is_served: bool,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
}

/// What was found for one key: its place among the wanted ones, counted from 1, and then version, bindings and watchers
/// for an address-of-record, [`CREDENTIALS`] and both HA1 for a user.
pub(crate) type FoundRow = (i64, i64, String, String);

/// No record has this version.
pub(crate) const CREDENTIALS: i64 = -1;

/// A database of one or more nodes.
#[derive(Debug)]
pub(crate) struct Clustered<D: Dialect> {
    nodes: Nodes<D>,
}

impl<D: Statements> Clustered<D> {
    /// Begins to look for a node that can be used; waits for none.
    pub(crate) fn new(nodes: Vec<(String, D::Options)>) -> Self {
        Self { nodes: Nodes::new(nodes) }
    }

    pub(crate) async fn applied(&self) -> Result<Schema, Error> {
        let applied = attempt!(self.nodes, |c| D::applied(c));
        Ok(Schema::of(D::migrations(), applied))
    }

    pub(crate) async fn migrate(&self) -> Result<(), Error> {
        let mut attempts = self.nodes.attempts();
        loop {
            // Not given back: its session may have been set up for this.
            let mut lease = attempts.lease().await?;
            match D::migrate(lease.connection()).await {
                Err(error) => attempts.again_after_conflict(error).await?,
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        self.nodes.status()
    }

    /// Writes rows with different keys.
    async fn write(&self, mut rows: Vec<NewRow<'_>>, saved: &mut [Saved]) -> Result<(), Error> {
        rows.sort_unstable_by_key(|row| row.aor);
        let in_doubt;
        let written = attempt!(self.nodes, |c| D::save(c, &rows), in_doubt);
        let is_written = |row: &NewRow<'_>| written.iter().any(|aor| aor == row.aor);
        // Nearly always all of them.
        let is_all = written.len() == rows.len();
        let (done, refused): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| is_all || is_written(row));
        let before = if in_doubt && !refused.is_empty() {
            let keys: Vec<_> = refused.iter().map(|row| row.aor).collect();
            attempt!(self.nodes, |c| D::lookup(c, &keys, &[]))
        } else {
            Vec::new()
        };
        let is_done_before = |place: usize, row: &NewRow<'_>| {
            before.iter().any(|(at, version, bindings, watchers)| {
                index(*at) == Some(place) && row.is_stored(*version, bindings, watchers)
            })
        };
        let done_before = refused.iter().enumerate().filter(|(place, row)| is_done_before(*place, row));
        for row in done.iter().chain(done_before.map(|(_, row)| row)) {
            if let Some(slot) = saved.get_mut(row.index) {
                *slot = row.saved();
            }
        }
        Ok(())
    }

    async fn rows_after(
        &self,
        edge: Option<&str>,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Record)>, Error> {
        let after = after.map_or("", Aor::as_str);
        let rows = attempt!(self.nodes, |c| D::records(c, edge, after, limit));
        Ok(page_of(&rows, limit))
    }
}

impl<D: Statements> LocationStore for Clustered<D> {
    async fn load(&self, aors: &[Aor]) -> Result<Vec<Record>, Error> {
        Ok(self.lookup(aors, &[]).await?.0)
    }

    async fn lookup(
        &self,
        aors: &[Aor],
        users: &[User],
    ) -> Result<(Vec<Record>, Vec<Option<Credentials>>), Error> {
        let keys: Vec<_> = aors.iter().map(Aor::as_str).filter(|key| is_storable(key)).collect();
        let names: Vec<_> = users.iter().filter(|user| is_user(user)).collect();
        let found = if keys.is_empty() && names.is_empty() {
            Vec::new()
        } else {
            attempt!(self.nodes, |c| D::lookup(c, &keys, &names))
        };
        let mut records = vec![None; keys.len()];
        let mut credentials = vec![None; names.len()];
        for (place, version, first, second) in found {
            let Some(place) = index(place) else { continue };
            if version == CREDENTIALS {
                if let Some(slot) = credentials.get_mut(place) {
                    *slot = Some(Credentials { ha1_md5: first, ha1_sha256: second });
                }
            } else if let Some((slot, key)) = records.get_mut(place).zip(keys.get(place)) {
                *slot = Some(record(key, version, &first, &second));
            }
        }
        // What could not be asked for is not there.
        let (mut records, mut credentials) = (records.into_iter(), credentials.into_iter());
        let record = |aor: &Aor| records.next_if(is_storable(aor.as_str())).unwrap_or_default();
        let proof = |user: &User| credentials.next_if(is_user(user));
        Ok((aors.iter().map(record).collect(), users.iter().map(proof).collect()))
    }

    async fn save(&self, saves: &[Save]) -> Result<Vec<Saved>, Error> {
        let mut saved = vec![Saved::Conflict; saves.len()];
        for round in rounds(saves) {
            let mut rows = round.inserts;
            rows.extend(round.updates);
            rows.retain(|row| is_storable(row.aor));
            if !rows.is_empty() {
                self.write(rows, &mut saved).await?;
            }
        }
        Ok(saved)
    }

    async fn sweep(&self, now: UnixTime, limit: u32) -> Result<u64, Error> {
        Ok(attempt!(self.nodes, |c| D::sweep(c, bigint(now.0), limit)))
    }

    async fn due(&self, now: UnixTime, limit: u32) -> Result<Vec<(Aor, Record)>, Error> {
        let rows = attempt!(self.nodes, |c| D::due(c, bigint(now.0), limit));
        Ok(records_of(&rows))
    }

    async fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Binding)>, Error> {
        Ok(self.rows_after(Some(edge), after, limit).await?.flows(edge, now))
    }

    async fn list(&self, after: Option<&Aor>, limit: u32) -> Result<Page<(Aor, Record)>, Error> {
        self.rows_after(None, after, limit).await
    }
}

impl<D: Statements> Directory for Clustered<D> {
    async fn credentials(&self, users: &[User]) -> Result<Vec<Option<Credentials>>, Error> {
        Ok(self.lookup(&[], users).await?.1)
    }

    async fn put(&self, user: &User, credentials: &Credentials) -> Result<(), Error> {
        attempt!(self.nodes, |c| D::put(c, &[(user, credentials)]));
        Ok(())
    }

    async fn put_all(&self, users: &[(User, Credentials)]) -> Result<(), Error> {
        let last: std::collections::BTreeMap<_, _> =
            users.iter().map(|(user, credentials)| (user, credentials)).collect();
        let rows: Vec<_> = last.into_iter().collect();
        for rows in rows.chunks(MAX_USERS) {
            attempt!(self.nodes, |c| D::put(c, rows));
        }
        Ok(())
    }

    async fn remove_user(&self, user: &User) -> Result<bool, Error> {
        Ok(is_user(user) && attempt!(self.nodes, |c| D::remove_user(c, user)))
    }

    async fn users(&self, after: Option<&User>, limit: u32) -> Result<Vec<User>, Error> {
        let after = after.map_or(("", ""), |user| (user.name.as_str(), user.realm.as_str()));
        let rows = attempt!(self.nodes, |c| D::users(c, after, limit));
        Ok(rows.into_iter().map(|(name, realm)| User { name, realm }).collect())
    }

    async fn domains(&self) -> Result<Vec<String>, Error> {
        Ok(attempt!(self.nodes, |c| D::domains(c)))
    }

    async fn has_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(attempt!(self.nodes, |c| D::has_domain(c, name)))
    }

    async fn put_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(attempt!(self.nodes, |c| D::set_domain(c, name, true)))
    }

    async fn remove_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(attempt!(self.nodes, |c| D::set_domain(c, name, false)))
    }
}

/// What a database counts from 1.
fn index(place: i64) -> Option<usize> {
    usize::try_from(place).ok()?.checked_sub(1)
}

/// Whether a text can be a key: a database refuses one that is longer, or has a NUL, together with the whole batch
/// that it is in.
fn is_storable(key: &str) -> bool {
    key.len() <= MAX_KEY && !key.as_bytes().contains(&0)
}

fn is_user(user: &User) -> bool {
    is_storable(&user.name) && is_storable(&user.realm)
}

/// Takes the next item when there is to be one.
trait NextIf {
    type Found;
    fn next_if(&mut self, is_wanted: bool) -> Option<Self::Found>;
}

impl<T> NextIf for std::vec::IntoIter<Option<T>> {
    type Found = T;

    fn next_if(&mut self, is_wanted: bool) -> Option<T> {
        if is_wanted { self.next().flatten() } else { None }
    }
}

/// Bytes of a key.
const MAX_KEY: usize = 512;
/// Users of one statement.
const MAX_USERS: usize = 1_000;
