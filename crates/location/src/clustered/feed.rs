//! The change feed over the nodes of a clustered database.
//!
//! Positions are given in two steps. The first reads the head, and after it, in one snapshot, which changes have no
//! position: plain reads, which wait for nobody. The second moves the head from where it was found and gives the positions, all or
//! nothing. If the head has moved meanwhile, another core was faster and nothing is done. If it has not, no position was
//! given since it was read, so none of the changes that were read after it has one.

use std::future::Future;

use registrar::UnixTime;

use super::{Clustered, Statements};
use crate::dialect::{bigint, unsigned};
use crate::feed::{
    Change, ChangeKey, ChangeRow, Consumer, ConsumerRow, Sequenced, change, consumer, last_to_go,
};
use crate::nodes::{Dialect, attempt};
use crate::{ChangeFeed, Error};

/// What each dialect says in its own words about the feed.
pub(crate) trait FeedStatements: Dialect {
    /// The head.
    fn head(c: &mut Self::Connection) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    /// Up to `limit` changes without a position, those of the lowest versions, in order. A snapshot.
    fn unplaced(
        c: &mut Self::Connection,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ChangeKey>, sqlx::Error>> + Send;

    /// Moves the head from `head` on and gives the positions after it to these changes; false if it was elsewhere.
    fn place(
        c: &mut Self::Connection,
        head: i64,
        keys: &[ChangeKey],
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Up to `limit` changes in order, those after a position.
    fn changes(
        c: &mut Self::Connection,
        after: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ChangeRow>, sqlx::Error>> + Send;

    /// Position and time of the first `limit` changes.
    fn oldest(
        c: &mut Self::Connection,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(i64, i64)>, sqlx::Error>> + Send;

    /// Deletes the changes up to a position.
    fn trim(c: &mut Self::Connection, last: i64) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Moves the head by one if it is 0, or if it is not.
    fn step(
        c: &mut Self::Connection,
        if_at_zero: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// All consumers, by name.
    fn consumers(
        c: &mut Self::Connection,
    ) -> impl Future<Output = Result<Vec<ConsumerRow>, sqlx::Error>> + Send;

    /// Adds or moves a consumer.
    fn put_consumer(
        c: &mut Self::Connection,
        consumer: &Consumer,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Removes a consumer; true if there was one.
    fn remove_consumer(
        c: &mut Self::Connection,
        name: &str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
}

impl<D: Statements + FeedStatements> ChangeFeed for Clustered<D> {
    async fn sequence(&self, limit: u32) -> Result<Sequenced, Error> {
        // The head comes first: positions that are given in between make the second step do nothing.
        let head = attempt!(self.nodes, |c| D::head(c));
        let keys = attempt!(self.nodes, |c| D::unplaced(c, limit));
        // Where an attempt has succeeded without an answer, the next one finds the head moved: the next round tells.
        let count = if !keys.is_empty() && attempt!(self.nodes, |c| D::place(c, head, &keys)) {
            keys.len() as u64
        } else {
            0
        };
        Ok(Sequenced { head: unsigned(head).saturating_add(count), count })
    }

    async fn head(&self) -> Result<u64, Error> {
        Ok(unsigned(attempt!(self.nodes, |c| D::head(c))))
    }

    async fn stored_changes(&self, after: u64, limit: u32) -> Result<Vec<Change>, Error> {
        let rows = attempt!(self.nodes, |c| D::changes(c, bigint(after), limit));
        rows.into_iter().map(change).collect()
    }

    async fn trim(&self, until: UnixTime, limit: u32) -> Result<u64, Error> {
        let oldest = attempt!(self.nodes, |c| D::oldest(c, limit));
        let Some(last) = last_to_go(&oldest, until) else { return Ok(0) };
        Ok(attempt!(self.nodes, |c| D::trim(c, last)))
    }

    async fn begin(&self) -> Result<(), Error> {
        attempt!(self.nodes, |c| D::step(c, true));
        Ok(())
    }

    async fn interrupt(&self) -> Result<(), Error> {
        attempt!(self.nodes, |c| D::step(c, false));
        Ok(())
    }

    async fn consumers(&self) -> Result<Vec<Consumer>, Error> {
        let rows = attempt!(self.nodes, |c| D::consumers(c));
        Ok(rows.into_iter().map(consumer).collect())
    }

    async fn put_consumer(&self, consumer: &Consumer) -> Result<(), Error> {
        attempt!(self.nodes, |c| D::put_consumer(c, consumer));
        Ok(())
    }

    async fn remove_consumer(&self, name: &str) -> Result<bool, Error> {
        Ok(attempt!(self.nodes, |c| D::remove_consumer(c, name)))
    }
}
