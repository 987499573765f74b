//! SQLite: one file, shared by the processes of one host.
//!
//! Write-ahead log, so that a lookup never waits for a commit; `synchronous=FULL`, so that a commit has reached the
//! disk before a 200 says so: with `NORMAL` a power cut loses the last commits. SQLite has one writer at a time, so each
//! process has one writing connection; what other processes write meanwhile is waited for by the busy time-out.
//!
//! Batches of keys travel as one JSON parameter and batches of rows in fixed sizes, filled up with rows of NULL:
//! so there are few statements, and every one of them is prepared once per connection.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use registrar::{Binding, Record, UnixTime};
use sip::Aor;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::dialect::{NewRow, Round, StoredRow, bigint, json, page_of, record, records_of, rounds};
use crate::{Credentials, Directory, Error, LocationStore, Page, Save, Saved, Schema, User};

mod feed;

/// A SQLite database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    reader: SqlitePool,
    writer: SqlitePool,
}

impl Sqlite {
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false);
        let writer = open_writer(&options).await?;
        migrate(&writer).await?;
        // A database in memory is private to its connection.
        let reader = if is_in_memory(url) {
            writer.clone()
        } else {
            pool(READERS).connect_with(options.pragma("query_only", "ON")).await?
        };
        Ok(Self { reader, writer })
    }

    /// Reads how far the schema has come, and makes no file.
    pub(crate) async fn schema(url: &str) -> Result<Schema, Error> {
        let options = SqliteConnectOptions::from_str(url)?.busy_timeout(BUSY_TIMEOUT);
        if is_in_memory(url) || !options.get_filename().exists() {
            return Ok(Schema::of(&MIGRATIONS, 0));
        }
        let mut connection = options.connect().await?;
        let has_history: bool = sqlx::query_scalar(HAS_HISTORY).fetch_one(&mut connection).await?;
        let applied =
            if has_history { sqlx::query_scalar(APPLIED).fetch_one(&mut connection).await? } else { 0 };
        connection.close().await?;
        Ok(Schema::of(&MIGRATIONS, applied))
    }

    /// How far the schema has come; it was brought up to date when the file was opened.
    pub(crate) async fn applied(&self) -> Result<Schema, Error> {
        let applied = sqlx::query_scalar(APPLIED).fetch_one(&self.reader).await?;
        Ok(Schema::of(&MIGRATIONS, applied))
    }

    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn rows_after(
        &self,
        statement: &'static str,
        edge: Option<&str>,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Record)>, Error> {
        let after = after.map_or("", Aor::as_str);
        let rows: Vec<StoredRow> =
            sqlx::query_as(statement).bind(edge).bind(after).bind(limit).fetch_all(&self.reader).await?;
        Ok(page_of(&rows, limit))
    }
}

impl LocationStore for Sqlite {
    async fn load(&self, aors: &[Aor]) -> Result<Vec<Record>, Error> {
        let keys = json(&aors.iter().map(Aor::as_str).collect::<Vec<_>>());
        let rows: Vec<(i64, i64, String, String)> =
            sqlx::query_as(LOAD).bind(keys).fetch_all(&self.reader).await?;
        let mut records = vec![Record::default(); aors.len()];
        for (index, version, bindings, watchers) in rows {
            let found =
                usize::try_from(index).ok().and_then(|index| records.get_mut(index).zip(aors.get(index)));
            if let Some((slot, aor)) = found {
                *slot = record(aor.as_str(), version, &bindings, &watchers);
            }
        }
        Ok(records)
    }

    async fn save(&self, saves: &[Save]) -> Result<Vec<Saved>, Error> {
        let mut saved = vec![Saved::Conflict; saves.len()];
        let rounds = rounds(saves);
        if let [round] = &rounds[..]
            && round.is_single_update()
            && round.updates.len() <= MAX_ROWS
        {
            // A statement is a transaction of its own.
            let mut connection = self.writer.acquire().await?;
            write(&mut connection, &UPDATE, &round.updates, &mut saved).await?;
            return Ok(saved);
        }
        // IMMEDIATE: a transaction that reads first and cannot write later would have to be repeated as a whole.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for Round { inserts, updates } in &rounds {
            for rows in inserts.chunks(MAX_ROWS) {
                write(&mut transaction, &INSERT, rows, &mut saved).await?;
            }
            for rows in updates.chunks(MAX_ROWS) {
                write(&mut transaction, &UPDATE, rows, &mut saved).await?;
            }
            note_edges(&mut transaction, inserts.iter().chain(updates), &saved).await?;
            feed::note_changes(&mut transaction, inserts.iter().chain(updates), &saved).await?;
        }
        transaction.commit().await?;
        Ok(saved)
    }

    async fn sweep(&self, now: UnixTime, limit: u32) -> Result<u64, Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let gone: Vec<String> =
            sqlx::query_scalar(SWEEP).bind(bigint(now.0)).bind(limit).fetch_all(&mut *transaction).await?;
        if !gone.is_empty() {
            sqlx::query(FORGET_EDGES).bind(json(&gone)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(gone.len() as u64)
    }

    async fn due(&self, now: UnixTime, limit: u32) -> Result<Vec<(Aor, Record)>, Error> {
        let rows: Vec<StoredRow> =
            sqlx::query_as(DUE).bind(bigint(now.0)).bind(limit).fetch_all(&self.reader).await?;
        Ok(records_of(&rows))
    }

    async fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Binding)>, Error> {
        Ok(self.rows_after(FLOWS_OF, Some(edge), after, limit).await?.flows(edge, now))
    }

    async fn list(&self, after: Option<&Aor>, limit: u32) -> Result<Page<(Aor, Record)>, Error> {
        self.rows_after(LIST, None, after, limit).await
    }
}

impl Directory for Sqlite {
    async fn credentials(&self, users: &[User]) -> Result<Vec<Option<Credentials>>, Error> {
        let keys = json(&users.iter().map(|user| [&user.name, &user.realm]).collect::<Vec<_>>());
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as(CREDENTIALS).bind(keys).fetch_all(&self.reader).await?;
        let mut found = vec![None; users.len()];
        for (index, ha1_md5, ha1_sha256) in rows {
            if let Some(slot) = usize::try_from(index).ok().and_then(|index| found.get_mut(index)) {
                *slot = Some(Credentials { ha1_md5, ha1_sha256 });
            }
        }
        Ok(found)
    }

    async fn put(&self, user: &User, credentials: &Credentials) -> Result<(), Error> {
        sqlx::query(PUT)
            .bind(&user.name)
            .bind(&user.realm)
            .bind(&credentials.ha1_md5)
            .bind(&credentials.ha1_sha256)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn put_all(&self, users: &[(User, Credentials)]) -> Result<(), Error> {
        let rows: Vec<_> = users
            .iter()
            .map(|(user, proof)| [&user.name, &user.realm, &proof.ha1_md5, &proof.ha1_sha256])
            .collect();
        sqlx::query(PUT_ALL).bind(json(&rows)).execute(&self.writer).await?;
        Ok(())
    }

    async fn remove_user(&self, user: &User) -> Result<bool, Error> {
        let done = sqlx::query(REMOVE_USER).bind(&user.name).bind(&user.realm).execute(&self.writer).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn users(&self, after: Option<&User>, limit: u32) -> Result<Vec<User>, Error> {
        let (name, realm) = after.map_or(("", ""), |user| (&user.name, &user.realm));
        let rows: Vec<(String, String)> =
            sqlx::query_as(USERS).bind(name).bind(realm).bind(limit).fetch_all(&self.reader).await?;
        Ok(rows.into_iter().map(|(name, realm)| User { name, realm }).collect())
    }

    async fn domains(&self) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar(DOMAINS).fetch_all(&self.reader).await?)
    }

    async fn has_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(sqlx::query_scalar(HAS_DOMAIN).bind(name).fetch_one(&self.reader).await?)
    }

    async fn put_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(sqlx::query(PUT_DOMAIN).bind(name).execute(&self.writer).await?.rows_affected() > 0)
    }

    async fn remove_domain(&self, name: &str) -> Result<bool, Error> {
        Ok(sqlx::query(REMOVE_DOMAIN).bind(name).execute(&self.writer).await?.rows_affected() > 0)
    }
}

/// Writes up to [`MAX_ROWS`] rows by one statement, and notes which of them were as expected.
async fn write(
    connection: &mut SqliteConnection,
    statements: &'static Sized,
    rows: &[NewRow<'_>],
    saved: &mut [Saved],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (size, statement) = statements.for_rows(rows.len());
    let mut query = sqlx::query_scalar::<_, String>(statement);
    for row in rows {
        query = query
            .bind(row.aor)
            .bind(row.expected)
            .bind(row.version)
            .bind(row.due_at)
            .bind(row.bindings.as_str())
            .bind(row.watchers.as_str());
    }
    for _ in rows.len()..size {
        query = query.bind(None::<&str>).bind(0).bind(0).bind(0).bind("").bind("");
    }
    let written = query.fetch_all(connection).await?;
    let by_aor: BTreeMap<_, _> = rows.iter().map(|row| (row.aor, row)).collect();
    for row in written.iter().filter_map(|aor| by_aor.get(aor.as_str())) {
        if let Some(slot) = saved.get_mut(row.index) {
            *slot = row.saved();
        }
    }
    Ok(())
}

/// Replaces what is noted about the edges of the rows that were written.
async fn note_edges<'r, 'a: 'r>(
    connection: &mut SqliteConnection,
    rows: impl Iterator<Item = &'r NewRow<'a>>,
    saved: &[Saved],
) -> Result<(), Error> {
    let is_written = |row: &NewRow<'_>| matches!(saved.get(row.index), Some(Saved::Version(_)));
    let changed: Vec<_> = rows
        .filter(|row| is_written(row))
        .filter_map(|row| row.edges.as_ref().map(|edges| (row.aor, edges)))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let aors: Vec<_> = changed.iter().map(|(aor, _)| *aor).collect();
    let pairs: Vec<_> =
        changed.iter().flat_map(|(aor, edges)| edges.iter().map(move |edge| [*aor, *edge])).collect();
    sqlx::query(FORGET_EDGES).bind(json(&aors)).execute(&mut *connection).await?;
    sqlx::query(NOTE_EDGES).bind(json(&pairs)).execute(connection).await?;
    Ok(())
}

/// The connection that creates the file. Two processes that start at once may both try to switch a new file to
/// write-ahead logging, and SQLite refuses one of them without waiting for the busy time-out.
async fn open_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, Error> {
    let mut pause = tokio::time::interval(OPEN_PAUSE);
    let mut attempts_left = OPEN_ATTEMPTS;
    loop {
        pause.tick().await;
        match pool(1).connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && attempts_left > 0 => attempts_left -= 1,
            opened => return Ok(opened?),
        }
    }
}

/// Under the write lock: of two processes that start at once the second one finds everything done.
async fn migrate(writer: &SqlitePool) -> Result<(), Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

fn is_busy(error: &sqlx::Error) -> bool {
    // The primary code of SQLITE_BUSY and of its extended codes.
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xFF == 5)
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

/// A statement over rows `(aor, expected, version, due_at, bindings, watchers)`, in the sizes of [`SIZES`].
struct Sized([String; SIZES.len()]);

impl Sized {
    fn new(write: &str) -> Self {
        Self(SIZES.map(|size| {
            let rows = vec!["(?,?,?,?,?,?)"; size].join(",");
            format!("WITH new(aor, expected, version, due_at, bindings, watchers) AS (VALUES {rows}) {write}")
        }))
    }

    /// The smallest size that these rows fit in.
    fn for_rows(&'static self, count: usize) -> (usize, &'static str) {
        let fits = SIZES.iter().zip(&self.0).find(|(size, _)| **size >= count);
        let (size, statement) = fits.expect("a chunk has at most MAX_ROWS rows");
        (*size, statement)
    }
}

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

const LOAD: &str = "SELECT wanted.key, location.version, location.bindings, location.watchers \
    FROM json_each(?1) AS wanted CROSS JOIN location ON location.aor = wanted.value";

static INSERT: LazyLock<Sized> = LazyLock::new(|| {
    Sized::new(
        "INSERT INTO location (aor, version, due_at, bindings, watchers) \
         SELECT aor, version, due_at, bindings, watchers FROM new WHERE aor IS NOT NULL \
         ON CONFLICT (aor) DO NOTHING RETURNING aor",
    )
});

static UPDATE: LazyLock<Sized> = LazyLock::new(|| {
    Sized::new(
        "UPDATE location SET version = new.version, due_at = new.due_at, bindings = new.bindings, \
         watchers = new.watchers FROM new WHERE location.aor = new.aor AND location.version = new.expected RETURNING location.aor",
    )
});

const SWEEP: &str = "DELETE FROM location WHERE aor IN \
    (SELECT aor FROM location WHERE due_at <= ?1 AND bindings = '[]' AND watchers = '[]' \
    ORDER BY due_at LIMIT ?2) RETURNING aor";

const DUE: &str = "SELECT aor, version, bindings, watchers FROM location \
    WHERE due_at <= ?1 AND NOT (bindings = '[]' AND watchers = '[]') ORDER BY due_at LIMIT ?2";

const FORGET_EDGES: &str = "DELETE FROM location_edge WHERE aor IN (SELECT value FROM json_each(?1))";

const NOTE_EDGES: &str = "INSERT INTO location_edge (aor, edge) \
    SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";

const FLOWS_OF: &str = "SELECT location.aor, location.version, location.bindings, location.watchers \
    FROM location_edge CROSS JOIN location ON location.aor = location_edge.aor \
    WHERE location_edge.edge = ?1 AND location_edge.aor > ?2 ORDER BY location_edge.aor LIMIT ?3";

const LIST: &str = "SELECT aor, version, bindings, watchers FROM location WHERE ?1 IS NULL AND aor > ?2 ORDER BY aor LIMIT ?3";

const CREDENTIALS: &str = "SELECT wanted.key, subscriber.ha1_md5, subscriber.ha1_sha256 \
    FROM json_each(?1) AS wanted CROSS JOIN subscriber \
    ON subscriber.username = wanted.value ->> 0 AND subscriber.realm = wanted.value ->> 1";

const PUT: &str = "INSERT INTO subscriber (username, realm, ha1_md5, ha1_sha256) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (username, realm) DO UPDATE SET ha1_md5 = excluded.ha1_md5, ha1_sha256 = excluded.ha1_sha256";

const PUT_ALL: &str = "INSERT INTO subscriber (username, realm, ha1_md5, ha1_sha256) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true \
    ON CONFLICT (username, realm) DO UPDATE SET ha1_md5 = excluded.ha1_md5, ha1_sha256 = excluded.ha1_sha256";

const REMOVE_USER: &str = "DELETE FROM subscriber WHERE username = ?1 AND realm = ?2";

const USERS: &str = "SELECT username, realm FROM subscriber WHERE (username, realm) > (?1, ?2) \
    ORDER BY username, realm LIMIT ?3";

const DOMAINS: &str = "SELECT name FROM domain ORDER BY name";

const HAS_DOMAIN: &str = "SELECT EXISTS (SELECT 1 FROM domain WHERE name = ?1)";

const PUT_DOMAIN: &str = "INSERT INTO domain (name) VALUES (?1) ON CONFLICT DO NOTHING";

const REMOVE_DOMAIN: &str = "DELETE FROM domain WHERE name = ?1";

const HAS_HISTORY: &str = "SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'";

const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

/// Rows of one statement: alone, a light and a heavy load.
const SIZES: [usize; 4] = [1, 8, 32, 128];
const MAX_ROWS: usize = SIZES[SIZES.len() - 1];
/// Lookups may run beside each other; more connections than CPUs gain nothing.
const READERS: u32 = 2;
/// How long another process may hold the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every statement on the path of a request finds its rows by key and in their order, however many rows there are.
    #[tokio::test]
    async fn no_statement_walks_a_table() {
        let store = Sqlite::open("sqlite::memory:").await.unwrap();
        let sized = INSERT.0.iter().chain(&UPDATE.0).map(String::as_str);
        let others = [
            LOAD,
            SWEEP,
            DUE,
            FORGET_EDGES,
            NOTE_EDGES,
            FLOWS_OF,
            CREDENTIALS,
            PUT,
            PUT_ALL,
            REMOVE_USER,
            USERS,
        ];
        for statement in sized.chain(others).chain(feed::ALL) {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&store.reader).await.unwrap();
            for (.., step) in &plan {
                let walks =
                    ["location", "location_edge", "subscriber", "location_change"].iter().any(|table| {
                        *step == format!("SCAN {table}") || step.starts_with(&format!("SCAN {table} "))
                    });
                // That index holds what waits for its position.
                let walks = walks && !step.contains("INDEX location_change_new");
                assert!(!walks, "{step}\n{statement}");
                assert!(!step.contains("AUTOMATIC"), "{step}\n{statement}");
                assert!(!step.contains("TEMP B-TREE"), "sorts: {step}\n{statement}");
            }
        }
    }
}
