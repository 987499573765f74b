//! The change feed in PostgreSQL. Giving positions is one statement, as a save is.

use sqlx::postgres::PgConnection;

use super::PostgresDialect;
use crate::clustered::FeedStatements;
use crate::dialect::bigint;
use crate::feed::{ChangeKey, ChangeRow, Consumer, ConsumerRow};

impl FeedStatements for PostgresDialect {
    async fn head(c: &mut PgConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(HEAD).fetch_one(c).await
    }

    async fn unplaced(c: &mut PgConnection, limit: u32) -> Result<Vec<ChangeKey>, sqlx::Error> {
        sqlx::query_as(UNPLACED).bind(i64::from(limit)).fetch_all(c).await
    }

    async fn place(c: &mut PgConnection, head: i64, keys: &[ChangeKey]) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(PLACE)
            .bind(head)
            .bind(i64::try_from(keys.len()).unwrap_or(i64::MAX))
            .bind(keys.iter().map(|(aor, ..)| aor.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
            .bind(keys.iter().map(|(.., place)| *place).collect::<Vec<_>>())
            .execute(c)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn changes(c: &mut PgConnection, after: i64, limit: u32) -> Result<Vec<ChangeRow>, sqlx::Error> {
        sqlx::query_as(CHANGES).bind(after).bind(i64::from(limit)).fetch_all(c).await
    }

    async fn oldest(c: &mut PgConnection, limit: u32) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        sqlx::query_as(OLDEST).bind(i64::from(limit)).fetch_all(c).await
    }

    async fn trim(c: &mut PgConnection, last: i64) -> Result<u64, sqlx::Error> {
        Ok(sqlx::query(TRIM).bind(last).execute(c).await?.rows_affected())
    }

    async fn step(c: &mut PgConnection, if_at_zero: bool) -> Result<(), sqlx::Error> {
        sqlx::query(STEP).bind(if_at_zero).execute(c).await?;
        Ok(())
    }

    async fn consumers(c: &mut PgConnection) -> Result<Vec<ConsumerRow>, sqlx::Error> {
        sqlx::query_as(CONSUMERS).fetch_all(c).await
    }

    async fn put_consumer(c: &mut PgConnection, consumer: &Consumer) -> Result<(), sqlx::Error> {
        sqlx::query(PUT_CONSUMER)
            .bind(&consumer.name)
            .bind(bigint(consumer.position))
            .bind(bigint(consumer.updated_at.0))
            .execute(c)
            .await?;
        Ok(())
    }

    async fn remove_consumer(c: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
        Ok(sqlx::query(REMOVE_CONSUMER).bind(name).execute(c).await?.rows_affected() > 0)
    }
}

const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";

const UNPLACED: &str = "SELECT aor, version, place FROM location_change WHERE position IS NULL \
    ORDER BY version, aor, place LIMIT $1";

/// Whoever comes second waits for the row of the head, looks at it again and finds it moved.
const PLACE: &str = "WITH head AS (UPDATE feed_head SET position = $1 + $2 WHERE id = 1 AND position = $1 \
        RETURNING id), \
    next AS (SELECT * FROM unnest($3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY \
        AS next (aor, version, place, number)) \
    UPDATE location_change SET position = $1 + next.number FROM head, next \
    WHERE location_change.aor = next.aor AND location_change.version = next.version \
        AND location_change.place = next.place";

const CHANGES: &str = "SELECT position, aor, version, changed_at, event, binding FROM location_change \
    WHERE position > $1 ORDER BY position LIMIT $2";

const OLDEST: &str = "SELECT position, changed_at FROM location_change \
    WHERE position > 0 ORDER BY position LIMIT $1";

const TRIM: &str = "DELETE FROM location_change WHERE position <= $1";

const STEP: &str = "UPDATE feed_head SET position = position + 1 WHERE id = 1 AND (position = 0) = $1";

const CONSUMERS: &str = "SELECT name, position, updated_at FROM feed_consumer ORDER BY name";

const PUT_CONSUMER: &str = "INSERT INTO feed_consumer (name, position, updated_at) VALUES ($1, $2, $3) \
    ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at";

const REMOVE_CONSUMER: &str = "DELETE FROM feed_consumer WHERE name = $1";
