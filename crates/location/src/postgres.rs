//! PostgreSQL 12 or newer: a primary, and standbys that may become one.
//!
//! A batch is one statement whatever its size: its columns travel as arrays. `UPDATE … WHERE version = expected` waits
//! for a transaction that holds the row and then looks again (READ COMMITTED), so it is a compare-and-set, and its
//! `RETURNING` names the rows that were as expected. Rows are written in the order of their keys, so that two batches
//! do not wait for each other.
//!
//! All statements find their rows by key. So the session forbids plans that read whole tables, which the planner likes
//! while a table is new and small, and which would stay with a prepared statement while it grows.
//!
//! # Why no statement is ever cancelled
//!
//! A commit that waits for a standby and is cancelled counts as done, although it may be lost with this node. A
//! connection that takes too long is closed instead, and the outcome is not known. `statement_timeout` does not
//! apply to the commit.

use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Executor};

use crate::clustered::{Clustered, FoundRow, Statements};
use crate::dialect::{NewRow, StoredRow, edge_pairs};
use crate::feed::{NewChange, new_changes};
use crate::nodes::{Dialect, Fault, Standing};
use crate::{Credentials, Error, User};

mod feed;

/// A PostgreSQL database.
pub(crate) type Postgres = Clustered<PostgresDialect>;

/// The SQL of PostgreSQL.
#[derive(Debug)]
pub(crate) struct PostgresDialect;

/// Begins to look for a node that can be used.
pub(crate) fn open(urls: &[&str]) -> Result<Postgres, Error> {
    Ok(Postgres::new(nodes(urls)?))
}

/// Name and options of each node.
pub(crate) fn nodes(urls: &[&str]) -> Result<Vec<(String, PgConnectOptions)>, Error> {
    let node = |url: &&str| {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Url("`postgres://USER:PASSWORD@HOST:PORT/DATABASE` is expected"))?
            .application_name("signalbox")
            .disable_statement_logging();
        Ok((format!("{}:{}", options.get_host(), options.get_port()), options))
    };
    urls.iter().map(node).collect()
}

impl Dialect for PostgresDialect {
    type Connection = PgConnection;
    type Options = PgConnectOptions;

    async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        let mut connection = options.connect().await?;
        connection.execute(SESSION).await?;
        Ok(connection)
    }

    async fn probe(c: &mut PgConnection) -> Result<Standing, sqlx::Error> {
        let (is_standby, read_only, timeline): (bool, String, i32) =
            sqlx::query_as(PROBE).fetch_one(c).await?;
        if is_standby {
            return Ok(Standing::Standby);
        }
        if read_only != "off" {
            return Ok(Standing::Unfit("it is read-only".to_owned()));
        }
        Ok(Standing::Writable { term: u32::try_from(timeline).unwrap_or(0), is_busy: false })
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let Some(error) = error.as_database_error() else { return Fault::of_driver(error) };
        // The classes of Appendix A of the manual.
        match error.code().as_deref().unwrap_or("") {
            // serialization failure, deadlock, a lock or the statement took too long
            "40001" | "40P01" | "55P03" | "57014" => Fault::Conflict,
            // read-only transaction, idle in transaction, a prepared statement that is gone or has to be another
            "25006" | "25P03" | "26000" | "0A000" => Fault::Node,
            code if NODE_CLASSES.contains(&code.get(..2).unwrap_or("")) => Fault::Node,
            _ => Fault::Fatal,
        }
    }
}

/// Connection, resources (disk, connections), operator's intervention, system, internal error; 40 besides the above is
/// an outcome that is not known.
const NODE_CLASSES: [&str; 6] = ["08", "40", "53", "57", "58", "XX"];

impl Statements for PostgresDialect {
    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn applied(c: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let has_history: bool = sqlx::query_scalar(HAS_HISTORY).fetch_one(&mut *c).await?;
        if has_history { sqlx::query_scalar(APPLIED).fetch_one(c).await } else { Ok(0) }
    }

    /// Under an advisory lock: a second one waits and finds everything done.
    async fn migrate(c: &mut PgConnection) -> Result<(), Error> {
        c.execute(MIGRATION_SESSION).await?;
        MIGRATIONS.run_direct(None, c, false).await?;
        Ok(())
    }

    async fn lookup(
        c: &mut PgConnection,
        aors: &[&str],
        users: &[&User],
    ) -> Result<Vec<FoundRow>, sqlx::Error> {
        let names = users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>();
        let realms = users.iter().map(|user| user.realm.as_str()).collect::<Vec<_>>();
        match (aors.is_empty(), users.is_empty()) {
            (_, true) => sqlx::query_as(LOAD).bind(aors).fetch_all(c).await,
            (true, false) => sqlx::query_as(CREDENTIALS).bind(names).bind(realms).fetch_all(c).await,
            (false, false) => sqlx::query_as(LOOKUP).bind(aors).bind(names).bind(realms).fetch_all(c).await,
        }
    }

    async fn save(c: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<Vec<String>, sqlx::Error> {
        let column = |value: fn(&NewRow<'_>) -> i64| rows.iter().map(value).collect::<Vec<_>>();
        let (aors, edges): (Vec<_>, Vec<_>) = edge_pairs(rows).unzip();
        let changes: Vec<_> = new_changes(rows.iter()).collect();
        let statement = match (aors.is_empty(), changes.is_empty()) {
            (true, true) => SAVE,
            (false, true) => SAVE_AND_NOTE,
            (_, false) => SAVE_AND_TELL,
        };
        let query = sqlx::query_scalar(statement)
            .bind(rows.iter().map(|row| row.aor).collect::<Vec<_>>())
            .bind(column(|row| row.expected))
            .bind(column(|row| row.version))
            .bind(column(|row| row.due_at))
            .bind(rows.iter().map(|row| row.bindings.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.watchers.as_str()).collect::<Vec<_>>());
        if changes.is_empty() {
            return if aors.is_empty() { query } else { query.bind(aors).bind(edges) }.fetch_all(c).await;
        }
        let column = |value: fn(&NewChange<'_>) -> i64| changes.iter().map(value).collect::<Vec<_>>();
        let query = query
            .bind(aors)
            .bind(edges)
            .bind(changes.iter().map(|it| it.aor).collect::<Vec<_>>())
            .bind(column(|it| it.version))
            .bind(column(|it| it.place))
            .bind(column(|it| it.changed_at))
            .bind(changes.iter().map(|it| it.event).collect::<Vec<_>>())
            .bind(changes.iter().map(|it| it.binding.as_str()).collect::<Vec<_>>());
        query.fetch_all(c).await
    }

    async fn sweep(c: &mut PgConnection, now: i64, limit: u32) -> Result<u64, sqlx::Error> {
        let gone: i64 = sqlx::query_scalar(SWEEP).bind(now).bind(i64::from(limit)).fetch_one(c).await?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }

    async fn due(c: &mut PgConnection, now: i64, limit: u32) -> Result<Vec<StoredRow>, sqlx::Error> {
        sqlx::query_as(DUE).bind(now).bind(i64::from(limit)).fetch_all(c).await
    }

    async fn records(
        c: &mut PgConnection,
        edge: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<StoredRow>, sqlx::Error> {
        let query = sqlx::query_as(if edge.is_some() { FLOWS_OF } else { LIST });
        let query = query.bind(after).bind(i64::from(limit));
        match edge {
            Some(edge) => query.bind(edge).fetch_all(c).await,
            None => query.fetch_all(c).await,
        }
    }

    async fn put(c: &mut PgConnection, users: &[(&User, &Credentials)]) -> Result<(), sqlx::Error> {
        let column = |text: fn(&User, &Credentials) -> String| {
            users.iter().map(|(user, credentials)| text(user, credentials)).collect::<Vec<_>>()
        };
        sqlx::query(PUT)
            .bind(column(|user, _| user.name.clone()))
            .bind(column(|user, _| user.realm.clone()))
            .bind(column(|_, credentials| credentials.ha1_md5.clone()))
            .bind(column(|_, credentials| credentials.ha1_sha256.clone()))
            .execute(c)
            .await?;
        Ok(())
    }

    async fn remove_user(c: &mut PgConnection, user: &User) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(REMOVE_USER).bind(&user.name).bind(&user.realm).execute(c).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn users(
        c: &mut PgConnection,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<(String, String)>, sqlx::Error> {
        sqlx::query_as(USERS).bind(after.0).bind(after.1).bind(i64::from(limit)).fetch_all(c).await
    }

    async fn domains(c: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(DOMAINS).fetch_all(c).await
    }

    async fn has_domain(c: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(HAS_DOMAIN).bind(name).fetch_one(c).await
    }

    async fn set_domain(c: &mut PgConnection, name: &str, is_served: bool) -> Result<bool, sqlx::Error> {
        let statement = if is_served { PUT_DOMAIN } else { REMOVE_DOMAIN };
        Ok(sqlx::query(statement).bind(name).execute(c).await?.rows_affected() > 0)
    }
}

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Plans by key only, made once; and nothing of ours holds a lock when this end is gone.
const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET statement_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '5s'";

/// Changes of the schema take their time.
const MIGRATION_SESSION: &str = "SET statement_timeout = 0; SET enable_seqscan = on; \
    SET idle_in_transaction_session_timeout = 0";

/// The name of a WAL file begins with the timeline, which grows with every promotion.
const PROBE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), \
    CASE WHEN pg_is_in_recovery() THEN 0 \
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END";

const LOAD: &str = "SELECT wanted.place, location.version, location.bindings, location.watchers \
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (aor, place) JOIN location USING (aor)";

const CREDENTIALS: &str = "SELECT wanted.place, -1::bigint, subscriber.ha1_md5, subscriber.ha1_sha256 \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (username, realm, place) \
    JOIN subscriber USING (username, realm)";

const LOOKUP: &str = "SELECT wanted.place, location.version, location.bindings, location.watchers \
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (aor, place) JOIN location USING (aor) \
    UNION ALL SELECT wanted.place, -1::bigint, subscriber.ha1_md5, subscriber.ha1_sha256 \
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (username, realm, place) \
    JOIN subscriber USING (username, realm)";

macro_rules! save {
    ($($more:expr),*) => {
        concat!(
            "WITH new AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) \
                AS new (aor, expected, version, due_at, bindings, watchers)), \
            updated AS (UPDATE location \
                SET version = new.version, due_at = new.due_at, bindings = new.bindings, watchers = new.watchers \
                FROM new WHERE location.aor = new.aor AND location.version = new.expected AND new.expected > 0 \
                RETURNING location.aor), \
            inserted AS (INSERT INTO location (aor, version, due_at, bindings, watchers) \
                SELECT aor, version, due_at, bindings, watchers FROM new WHERE expected = 0 \
                ON CONFLICT (aor) DO NOTHING RETURNING aor), \
            written AS (SELECT aor FROM updated UNION ALL SELECT aor FROM inserted)",
            $($more,)*
            " SELECT aor FROM written"
        )
    };
}

const SAVE: &str = save!();

macro_rules! note {
    () => {
        ", pair AS (SELECT pair.aor, pair.edge FROM unnest($7::text[], $8::text[]) AS pair (aor, edge) \
            JOIN written USING (aor)), \
        forgotten AS (DELETE FROM location_edge USING (SELECT DISTINCT aor FROM pair) AS noted \
            WHERE location_edge.aor = noted.aor AND NOT EXISTS (SELECT FROM pair \
                WHERE pair.aor = location_edge.aor AND pair.edge = location_edge.edge)), \
        noted AS (INSERT INTO location_edge (aor, edge) SELECT aor, edge FROM pair ON CONFLICT DO NOTHING)"
    };
}

const SAVE_AND_NOTE: &str = save!(note!());

/// With the changes for the feed.
const SAVE_AND_TELL: &str = save!(
    note!(),
    ", told AS (INSERT INTO location_change (aor, version, place, changed_at, event, binding) \
        SELECT change.aor, change.version, change.place, change.changed_at, change.event, change.binding \
        FROM unnest($9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[]) \
            AS change (aor, version, place, changed_at, event, binding) JOIN written USING (aor) \
        ON CONFLICT DO NOTHING)"
);

const SWEEP: &str = "WITH old AS (SELECT aor FROM location WHERE due_at <= $1 \
        AND bindings = '[]' AND watchers = '[]' ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
    gone AS (DELETE FROM location USING old WHERE location.aor = old.aor RETURNING location.aor), \
    forgotten AS (DELETE FROM location_edge USING gone WHERE location_edge.aor = gone.aor) \
    SELECT count(*) FROM gone";

const DUE: &str = "SELECT aor, version, bindings, watchers FROM location \
    WHERE due_at <= $1 AND NOT (bindings = '[]' AND watchers = '[]') ORDER BY due_at LIMIT $2";

const FLOWS_OF: &str = "SELECT location.aor, location.version, location.bindings, location.watchers \
    FROM location_edge JOIN location USING (aor) \
    WHERE location_edge.edge = $3 AND location_edge.aor > $1 ORDER BY location_edge.aor LIMIT $2";

const LIST: &str =
    "SELECT aor, version, bindings, watchers FROM location WHERE aor > $1 ORDER BY aor LIMIT $2";

const PUT: &str = "INSERT INTO subscriber (username, realm, ha1_md5, ha1_sha256) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) \
    ON CONFLICT (username, realm) DO UPDATE SET ha1_md5 = excluded.ha1_md5, ha1_sha256 = excluded.ha1_sha256";

const REMOVE_USER: &str = "DELETE FROM subscriber WHERE username = $1 AND realm = $2";

const USERS: &str = "SELECT username, realm FROM subscriber WHERE (username, realm) > ($1, $2) \
    ORDER BY username, realm LIMIT $3";

const DOMAINS: &str = "SELECT name FROM domain ORDER BY name";

const HAS_DOMAIN: &str = "SELECT EXISTS (SELECT 1 FROM domain WHERE name = $1)";

const PUT_DOMAIN: &str = "INSERT INTO domain (name) VALUES ($1) ON CONFLICT DO NOTHING";

const REMOVE_DOMAIN: &str = "DELETE FROM domain WHERE name = $1";

const HAS_HISTORY: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
