//! The change feed in MariaDB.
//!
//! What has no position is read by a plain select, which sees one snapshot; a select inside of the update would be a
//! locking one, which sees rows that are committed while it is on its way, and could find a version without the one before
//! it. On Galera of two cores that move the head on two nodes one is undone, and does nothing the second time.

use sqlx::Connection;
use sqlx::mysql::MySqlConnection;

use super::MariaDbDialect;
use crate::clustered::FeedStatements;
use crate::dialect::{NewRow, bigint, json};
use crate::feed::{ChangeKey, ChangeRow, Consumer, ConsumerRow, new_changes};

/// Writes the changes of the rows that were written.
pub(super) async fn note_changes(
    c: &mut MySqlConnection,
    rows: &[NewRow<'_>],
    written: &[String],
) -> Result<(), sqlx::Error> {
    let is_written = |row: &&NewRow<'_>| written.iter().any(|key| key == row.aor);
    let changes: Vec<_> = new_changes(rows.iter().filter(is_written))
        .map(|it| (it.aor, it.version, it.place, it.changed_at, it.event, it.binding))
        .collect();
    if !changes.is_empty() {
        sqlx::query(NOTE_CHANGES).bind(json(&changes)).execute(c).await?;
    }
    Ok(())
}

impl FeedStatements for MariaDbDialect {
    async fn head(c: &mut MySqlConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(HEAD).fetch_one(c).await
    }

    async fn unplaced(c: &mut MySqlConnection, limit: u32) -> Result<Vec<ChangeKey>, sqlx::Error> {
        sqlx::query_as(UNPLACED).bind(limit).fetch_all(c).await
    }

    async fn place(c: &mut MySqlConnection, head: i64, keys: &[ChangeKey]) -> Result<bool, sqlx::Error> {
        let next = head.saturating_add(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let mut transaction = c.begin().await?;
        let moved = sqlx::query(MOVE_HEAD).bind(next).bind(head).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        sqlx::query(PLACE).bind(json(&keys)).bind(head).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn changes(c: &mut MySqlConnection, after: i64, limit: u32) -> Result<Vec<ChangeRow>, sqlx::Error> {
        sqlx::query_as(CHANGES).bind(after).bind(limit).fetch_all(c).await
    }

    async fn oldest(c: &mut MySqlConnection, limit: u32) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        sqlx::query_as(OLDEST).bind(limit).fetch_all(c).await
    }

    async fn trim(c: &mut MySqlConnection, last: i64) -> Result<u64, sqlx::Error> {
        Ok(sqlx::query(TRIM).bind(last).execute(c).await?.rows_affected())
    }

    async fn step(c: &mut MySqlConnection, if_at_zero: bool) -> Result<(), sqlx::Error> {
        sqlx::query(STEP).bind(if_at_zero).execute(c).await?;
        Ok(())
    }

    async fn consumers(c: &mut MySqlConnection) -> Result<Vec<ConsumerRow>, sqlx::Error> {
        sqlx::query_as(CONSUMERS).fetch_all(c).await
    }

    async fn put_consumer(c: &mut MySqlConnection, consumer: &Consumer) -> Result<(), sqlx::Error> {
        sqlx::query(PUT_CONSUMER)
            .bind(&consumer.name)
            .bind(bigint(consumer.position))
            .bind(bigint(consumer.updated_at.0))
            .execute(c)
            .await?;
        Ok(())
    }

    async fn remove_consumer(c: &mut MySqlConnection, name: &str) -> Result<bool, sqlx::Error> {
        Ok(sqlx::query(REMOVE_CONSUMER).bind(name).execute(c).await?.rows_affected() > 0)
    }
}

/// A row that is there already is the same one.
const NOTE_CHANGES: &str = "INSERT INTO location_change (aor, version, place, changed_at, event, binding) \
    SELECT new.aor, new.version, new.place, new.changed_at, new.event, new.binding \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
        aor VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]' ERROR ON ERROR, \
        version BIGINT PATH '$[1]', place BIGINT PATH '$[2]', changed_at BIGINT PATH '$[3]', \
        event VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[4]' ERROR ON ERROR, \
        binding MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[5]' ERROR ON ERROR)) AS new \
    ON DUPLICATE KEY UPDATE place = new.place";

const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";

const UNPLACED: &str = "SELECT aor, version, place FROM location_change WHERE position IS NULL \
    ORDER BY version, aor, place LIMIT ?";

const MOVE_HEAD: &str = "UPDATE feed_head SET position = ? WHERE id = 1 AND position = ?";

const PLACE: &str = "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (number FOR ORDINALITY, \
        aor VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', \
        version BIGINT PATH '$[1]', place BIGINT PATH '$[2]')) AS next \
    STRAIGHT_JOIN location_change ON location_change.aor = next.aor \
        AND location_change.version = next.version AND location_change.place = next.place \
    SET location_change.position = ? + next.number";

const CHANGES: &str = "SELECT position, aor, version, changed_at, event, binding FROM location_change \
    WHERE position > ? ORDER BY position LIMIT ?";

const OLDEST: &str = "SELECT position, changed_at FROM location_change \
    WHERE position > 0 ORDER BY position LIMIT ?";

const TRIM: &str = "DELETE FROM location_change WHERE position <= ?";

const STEP: &str = "UPDATE feed_head SET position = position + 1 WHERE id = 1 AND (position = 0) = ?";

const CONSUMERS: &str = "SELECT name, position, updated_at FROM feed_consumer ORDER BY name";

const PUT_CONSUMER: &str = "INSERT INTO feed_consumer (name, position, updated_at) VALUES (?, ?, ?) \
    ON DUPLICATE KEY UPDATE position = VALUE(position), updated_at = VALUE(updated_at)";

const REMOVE_CONSUMER: &str = "DELETE FROM feed_consumer WHERE name = ?";
