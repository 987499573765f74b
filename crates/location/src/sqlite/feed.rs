//! The change feed in SQLite.
//!
//! There is one writer at a time, so positions are given under the write lock. It is only taken when there is something to do.

use registrar::UnixTime;
use sqlx::SqliteConnection;

use super::Sqlite;
use crate::dialect::{NewRow, bigint, json, unsigned};
use crate::feed::{
    Change, ChangeRow, Consumer, ConsumerRow, Sequenced, change, consumer, last_to_go, new_changes,
};
use crate::{ChangeFeed, Error, Saved};

/// Writes the changes of the rows that were written.
pub(super) async fn note_changes<'r, 'a: 'r>(
    connection: &mut SqliteConnection,
    rows: impl Iterator<Item = &'r NewRow<'a>>,
    saved: &[Saved],
) -> Result<(), Error> {
    let is_written = |row: &&NewRow<'_>| matches!(saved.get(row.index), Some(Saved::Version(_)));
    let changes: Vec<_> = new_changes(rows.filter(is_written))
        .map(|it| (it.aor, it.version, it.place, it.changed_at, it.event, it.binding))
        .collect();
    if !changes.is_empty() {
        sqlx::query(NOTE_CHANGES).bind(json(&changes)).execute(connection).await?;
    }
    Ok(())
}

impl ChangeFeed for Sqlite {
    async fn sequence(&self, limit: u32) -> Result<Sequenced, Error> {
        let (head, has_new): (i64, bool) = sqlx::query_as(HAS_NEW).fetch_one(&self.reader).await?;
        if !has_new {
            return Ok(Sequenced { head: unsigned(head), count: 0 });
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let count = sqlx::query(SEQUENCE).bind(limit).execute(&mut *transaction).await?.rows_affected();
        let head: i64 =
            sqlx::query_scalar(MOVE_HEAD).bind(bigint(count)).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Sequenced { head: unsigned(head), count })
    }

    async fn head(&self) -> Result<u64, Error> {
        let head: i64 = sqlx::query_scalar(HEAD).fetch_one(&self.reader).await?;
        Ok(unsigned(head))
    }

    async fn stored_changes(&self, after: u64, limit: u32) -> Result<Vec<Change>, Error> {
        let rows: Vec<ChangeRow> =
            sqlx::query_as(CHANGES).bind(bigint(after)).bind(limit).fetch_all(&self.reader).await?;
        rows.into_iter().map(change).collect()
    }

    async fn trim(&self, until: UnixTime, limit: u32) -> Result<u64, Error> {
        let oldest: Vec<(i64, i64)> = sqlx::query_as(OLDEST).bind(limit).fetch_all(&self.reader).await?;
        let Some(last) = last_to_go(&oldest, until) else { return Ok(0) };
        Ok(sqlx::query(TRIM).bind(last).execute(&self.writer).await?.rows_affected())
    }

    async fn begin(&self) -> Result<(), Error> {
        sqlx::query(BEGIN).execute(&self.writer).await?;
        Ok(())
    }

    async fn interrupt(&self) -> Result<(), Error> {
        sqlx::query(INTERRUPT).execute(&self.writer).await?;
        Ok(())
    }

    async fn consumers(&self) -> Result<Vec<Consumer>, Error> {
        let rows: Vec<ConsumerRow> = sqlx::query_as(CONSUMERS).fetch_all(&self.reader).await?;
        Ok(rows.into_iter().map(consumer).collect())
    }

    async fn put_consumer(&self, consumer: &Consumer) -> Result<(), Error> {
        sqlx::query(PUT_CONSUMER)
            .bind(&consumer.name)
            .bind(bigint(consumer.position))
            .bind(bigint(consumer.updated_at.0))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn remove_consumer(&self, name: &str) -> Result<bool, Error> {
        let done = sqlx::query(REMOVE_CONSUMER).bind(name).execute(&self.writer).await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Every statement, for the test of their plans.
#[cfg(test)]
pub(super) const ALL: [&str; 12] = [
    NOTE_CHANGES,
    HAS_NEW,
    SEQUENCE,
    MOVE_HEAD,
    HEAD,
    CHANGES,
    OLDEST,
    TRIM,
    BEGIN,
    INTERRUPT,
    PUT_CONSUMER,
    REMOVE_CONSUMER,
];

/// A row that is there already is the same one.
const NOTE_CHANGES: &str = "INSERT INTO location_change (aor, version, place, changed_at, event, binding) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 \
    FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";

const HAS_NEW: &str = "SELECT position, EXISTS (SELECT 1 FROM location_change WHERE position IS NULL) \
    FROM feed_head WHERE id = 1";

const SEQUENCE: &str = "UPDATE location_change \
    SET position = (SELECT position FROM feed_head WHERE id = 1) + next.number \
    FROM (SELECT rowid AS row, row_number() OVER (ORDER BY version, aor, place) AS number \
        FROM location_change WHERE position IS NULL ORDER BY version, aor, place LIMIT ?1) AS next \
    WHERE location_change.rowid = next.row";

const MOVE_HEAD: &str = "UPDATE feed_head SET position = position + ?1 WHERE id = 1 RETURNING position";

const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";

const CHANGES: &str = "SELECT position, aor, version, changed_at, event, binding FROM location_change \
    WHERE position > ?1 ORDER BY position LIMIT ?2";

const OLDEST: &str = "SELECT position, changed_at FROM location_change \
    WHERE position > 0 ORDER BY position LIMIT ?1";

const TRIM: &str = "DELETE FROM location_change WHERE position <= ?1";

const BEGIN: &str = "UPDATE feed_head SET position = 1 WHERE id = 1 AND position = 0";

const INTERRUPT: &str = "UPDATE feed_head SET position = position + 1 WHERE id = 1 AND position > 0";

const CONSUMERS: &str = "SELECT name, position, updated_at FROM feed_consumer ORDER BY name";

const PUT_CONSUMER: &str = "INSERT INTO feed_consumer (name, position, updated_at) VALUES (?1, ?2, ?3) \
    ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at";

const REMOVE_CONSUMER: &str = "DELETE FROM feed_consumer WHERE name = ?1";
