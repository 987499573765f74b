//! The change feed: every change of a binding in one order, for whoever replicates, bills or pushes.
//!
//! A [`Save`](crate::Save) carries its changes, and they are committed with it: what was acknowledged is in the feed. They
//! have no position then. A counter that every REGISTER of the cluster takes a number from would make them wait for each other;
//! and numbers given before the commit become visible out of order, so that a reader steps over the late ones. Positions are
//! given afterwards ([`ChangeFeed::sequence`]), to what is visible in one snapshot, in one transaction that
//! compares and sets the head: of two cores that do so at once, one has done nothing.
//!
//! - Positions are gap-free, and whoever sees one sees all before it.
//! - The changes of one address-of-record stand in the order of their versions: a version that is visible was saved over
//!   the one before, which is visible, too.
//! - A core that dies after the commit leaves its changes to the others.
//!
//! An interruption ([`ChangeFeed::interrupt`]) takes one position and gives it to nobody. A reader who comes to this gap, or to
//! what was deleted in the meantime, has missed something ([`ChangeFeed::changes`] gives `None`) and needs a new snapshot.

use std::future::Future;

use registrar::UnixTime;
use registrar::change::{BindingChange, BindingEvent};
use sip::Aor;

use crate::dialect::{NewRow, bigint, unsigned};
use crate::{Error, stored};

/// A change with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the feed.
    pub position: u64,
    /// Whose binding.
    pub aor: Aor,
    /// The version of the record that it has led to.
    pub version: u64,
    /// What happened to which binding.
    pub change: BindingChange,
}

/// What one round of giving positions has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// The newest position.
    pub head: u64,
    /// How many changes have got one by this round.
    pub count: u64,
}

/// Where somebody who reads the feed has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Who.
    pub name: String,
    /// The last position that needs not be read again.
    pub position: u64,
    /// When he said so.
    pub updated_at: UnixTime,
}

/// Where changes are kept, beside the records.
pub trait ChangeFeed: Send + Sync + 'static {
    /// Gives positions to up to `limit` changes that have none.
    fn sequence(&self, limit: u32) -> impl Future<Output = Result<Sequenced, Error>> + Send;

    /// The newest position; 0 before the feed was ever on.
    fn head(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Up to `limit` changes in order, those after a position. There may be a gap in front of them or between them.
    fn stored_changes(
        &self,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Change>, Error>> + Send;

    /// Up to `limit` changes that follow a position without a gap; `None` when the next one is not there any more, or
    /// the position was never given.
    fn changes(
        &self,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Vec<Change>>, Error>> + Send {
        async move {
            let found = self.stored_changes(after, limit).await?;
            if !found.is_empty() {
                return Ok(following(after, found));
            }
            if self.head().await? == after {
                return Ok(Some(found));
            }
            // Perhaps they came in between.
            Ok(following(after, self.stored_changes(after, limit).await?))
        }
    }

    /// Deletes the oldest up to `limit` changes as far as they are not younger than `until`; how many.
    fn trim(&self, until: UnixTime, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send;

    /// From now on changes are noted: the first position is never given to one.
    fn begin(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Changes were not noted for a while: nobody can go on from a position given so far. Nothing happens where the feed
    /// was never on.
    fn interrupt(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// All consumers, by name.
    fn consumers(&self) -> impl Future<Output = Result<Vec<Consumer>, Error>> + Send;

    /// Adds a consumer or moves one, also back.
    fn put_consumer(&self, consumer: &Consumer) -> impl Future<Output = Result<(), Error>> + Send;

    /// Forgets a consumer; true if there was one.
    fn remove_consumer(&self, name: &str) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// The changes as far as they follow `after` one by one.
fn following(after: u64, mut found: Vec<Change>) -> Option<Vec<Change>> {
    let is_next = |(change, position): &(&Change, u64)| change.position == *position;
    let count = found.iter().zip(after.saturating_add(1)..).take_while(is_next).count();
    found.truncate(count);
    (count > 0).then_some(found)
}

/// A change that is about to be written with its record.
pub(crate) struct NewChange<'a> {
    pub(crate) aor: &'a str,
    pub(crate) version: i64,
    /// Its place among the changes of the version.
    pub(crate) place: i64,
    pub(crate) changed_at: i64,
    pub(crate) event: &'static str,
    pub(crate) binding: String,
}

/// The changes that come with rows.
pub(crate) fn new_changes<'r, 'a: 'r>(
    rows: impl Iterator<Item = &'r NewRow<'a>>,
) -> impl Iterator<Item = NewChange<'a>> {
    rows.flat_map(|row| {
        row.changes.iter().zip(0..).map(|(change, place)| NewChange {
            aor: row.aor,
            version: row.version,
            place,
            changed_at: bigint(change.at.0),
            event: change.event.as_str(),
            binding: stored::encode_one(&change.binding),
        })
    })
}

/// What names a change that has no position: address-of-record, version, place.
pub(crate) type ChangeKey = (String, i64, i64);

/// A stored change: position, address-of-record, version, time, event, binding.
pub(crate) type ChangeRow = (i64, String, i64, i64, String, String);

/// A stored consumer: name, position, time.
pub(crate) type ConsumerRow = (String, i64, i64);

/// A row that cannot be read is an error: to leave it out would be a gap.
pub(crate) fn change((position, key, version, at, event, binding): ChangeRow) -> Result<Change, Error> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("change {position}: {what}").into());
    let binding = stored::decode_one(&binding).map_err(|_| unreadable("its binding cannot be read"))?;
    let event = BindingEvent::parse(&event).ok_or_else(|| unreadable("its event is not known"))?;
    let change = BindingChange { event, at: UnixTime(unsigned(at)), binding };
    let aor = Aor::parse(&key).map_err(|_| unreadable("its address-of-record is none"))?;
    Ok(Change { position: unsigned(position), aor, version: unsigned(version), change })
}

pub(crate) fn consumer((name, position, at): ConsumerRow) -> Consumer {
    Consumer { name, position: unsigned(position), updated_at: UnixTime(unsigned(at)) }
}

/// Of the oldest changes, each its position and its time, the last position that can go: none that is younger than
/// `until` goes, and none after it.
pub(crate) fn last_to_go(oldest: &[(i64, i64)], until: UnixTime) -> Option<i64> {
    oldest.iter().take_while(|(_, at)| *at <= bigint(until.0)).last().map(|(position, _)| *position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::binding;

    fn at(position: u64) -> Change {
        let event = BindingEvent::Refreshed;
        let change = BindingChange { event, at: UnixTime(1), binding: binding("edge", 1, 1) };
        Change { position, aor: Aor::parse("alice@example.com").unwrap(), version: 7, change }
    }

    fn positions(after: u64, found: &[u64]) -> Option<Vec<u64>> {
        let found = found.iter().copied().map(at).collect();
        following(after, found).map(|left| left.iter().map(|change| change.position).collect())
    }

    #[test]
    fn a_reader_stops_before_a_gap() {
        assert_eq!(positions(4, &[5, 6, 7]), Some(vec![5, 6, 7]));
        assert_eq!(positions(4, &[5, 7]), Some(vec![5]));
        assert_eq!(positions(4, &[6, 7]), None);
        assert_eq!(positions(4, &[]), None);
    }

    #[test]
    fn what_is_younger_stays_with_all_that_follow() {
        let oldest = [(1, 10), (2, 30), (3, 20), (4, 40), (5, 10)];
        assert_eq!(last_to_go(&oldest, UnixTime(9)), None);
        assert_eq!(last_to_go(&oldest, UnixTime(10)), Some(1));
        assert_eq!(last_to_go(&oldest, UnixTime(30)), Some(3));
        assert_eq!(last_to_go(&oldest, UnixTime(40)), Some(5));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_no_gap() {
        let row = |event: &str, binding: &str| {
            (1, "sip:a@b".to_owned(), 7, 9, event.to_owned(), binding.to_owned())
        };
        assert!(change(row("moved", "{}")).is_ok());
        assert!(change(row("later", "{}")).is_err());
        assert!(change(row("moved", "{")).is_err());
    }
}
