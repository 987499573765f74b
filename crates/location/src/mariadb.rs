//! MariaDB 10.6 or newer: one server, or a Galera cluster of several that all take writes.
//!
//! A batch is one statement whatever its size: it travels as one JSON parameter, which `JSON_TABLE` makes rows of.
//! `INSERT … SELECT … ON DUPLICATE KEY UPDATE` takes the rows whose version is as expected, and its `RETURNING` shows
//! what is stored then. Between the select and the write another transaction may be faster; the update leaves such a row
//! alone, and what is returned shows it. On Galera a transaction of another node in the way undoes this one
//! (error 1213), and it is tried again.
//!
//! Sessions read what every node has committed before (`wsrep_sync_wait`): without it a call right after the 200 to a
//! REGISTER may not find the binding on another node.
//!
//! Migrations lock nothing, since the locks of a Galera node are its own. Every step can be repeated, and changes of the
//! schema have one order on all nodes.

use std::str::FromStr;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::clustered::{Clustered, FoundRow, Statements};
use crate::dialect::{NewRow, StoredRow, edge_pairs, json};
use crate::nodes::{Dialect, Fault, Standing};
use crate::{Credentials, Error, User};

mod feed;

/// A MariaDB database.
pub(crate) type MariaDb = Clustered<MariaDbDialect>;

/// The SQL of MariaDB.
#[derive(Debug)]
pub(crate) struct MariaDbDialect;

/// Begins to look for a node that can be used.
pub(crate) fn open(urls: &[&str]) -> Result<MariaDb, Error> {
    Ok(MariaDb::new(nodes(urls)?))
}

/// Name and options of each node.
pub(crate) fn nodes(urls: &[&str]) -> Result<Vec<(String, MySqlConnectOptions)>, Error> {
    let node = |url: &&str| {
        let options = MySqlConnectOptions::from_str(url)
            .map_err(|_| Error::Url("`mysql://USER:PASSWORD@HOST:PORT/DATABASE` is expected"))?
            .disable_statement_logging();
        Ok((format!("{}:{}", options.get_host(), options.get_port()), options))
    };
    urls.iter().map(node).collect()
}

impl Dialect for MariaDbDialect {
    type Connection = MySqlConnection;
    type Options = MySqlConnectOptions;

    async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
        let mut connection = options.connect().await?;
        connection.execute(SESSION).await?;
        let galera: Option<(String, String)> =
            sqlx::query_as(IS_GALERA).fetch_optional(&mut connection).await?;
        if galera.is_some_and(|(_, value)| value == "ON") {
            connection.execute("SET SESSION wsrep_sync_wait = 1").await?;
        }
        Ok(connection)
    }

    async fn probe(c: &mut MySqlConnection) -> Result<Standing, sqlx::Error> {
        let (is_read_only, version): (i64, String) = sqlx::query_as(PROBE).fetch_one(&mut *c).await?;
        if !version.contains("MariaDB") {
            return Ok(Standing::Unfit(format!("{version} is not MariaDB, whose SQL is needed")));
        }
        if is_read_only != 0 {
            return Ok(Standing::Unfit("it is read-only".to_owned()));
        }
        let status: Vec<(String, String)> = sqlx::query_as(PROBE_GALERA).fetch_all(c).await?;
        Ok(standing(&status))
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let Some(error) = error.as_database_error() else { return Fault::of_driver(error) };
        match error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number) {
            // changed since read, lock wait, deadlock (also certification), interrupted, took too long
            1020 | 1205 | 1213 | 1317 | 1969 => Fault::Conflict,
            // Not ready, no quorum at commit, read-only, shutting down, too many connections, killed, disk full: the
            // node is the trouble. A statement that has to be prepared again is so on a new connection.
            1021
            | 1030
            | 1040
            | 1041
            | 1047
            | 1053
            | 1105
            | 1129
            | 1152
            | 1158..=1161
            | 1180
            | 1184
            | 1203
            | 1226
            | 1243
            | 1290
            | 1615
            | 1792
            | 1836
            | 1927
            | 4031 => Fault::Node,
            _ => Fault::Fatal,
        }
    }
}

/// A server without Galera has no such status.
fn standing(status: &[(String, String)]) -> Standing {
    let value = |name: &str| status.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let writable = |is_busy| Standing::Writable { term: 0, is_busy };
    match (value("wsrep_cluster_status"), value("wsrep_ready"), value("wsrep_local_state")) {
        // No provider is loaded: it is called Disconnected.
        (None | Some("Disconnected"), None | Some("OFF"), None | Some("0")) => writable(false),
        (Some("Primary"), Some("ON"), Some("4")) => writable(false),
        // It gives its data to a node that joins, and still works if that is done in the right way.
        (Some("Primary"), Some("ON"), Some("2")) => writable(true),
        (cluster, _, state) => Standing::Unfit(format!(
            "Galera says {}, state {}",
            cluster.unwrap_or("nothing"),
            state.unwrap_or("unknown")
        )),
    }
}

impl Statements for MariaDbDialect {
    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn applied(c: &mut MySqlConnection) -> Result<i64, sqlx::Error> {
        let has_history: i64 = sqlx::query_scalar(HAS_HISTORY).fetch_one(&mut *c).await?;
        if has_history > 0 { sqlx::query_scalar(APPLIED).fetch_one(c).await } else { Ok(0) }
    }

    async fn migrate(c: &mut MySqlConnection) -> Result<(), Error> {
        c.execute(MIGRATION_SESSION).await?;
        c.execute(HISTORY).await?;
        let applied = Self::applied(c).await?;
        for migration in MIGRATIONS.iter().filter(|migration| migration.version > applied) {
            for statement in migration.sql.as_str().split(";\n").filter(|text| is_statement(text)) {
                match c.execute(AssertSqlSafe(statement.to_owned())).await {
                    Err(error) if !is_done_already(&error) => {
                        return Err(MigrateError::ExecuteMigration(error, migration.version).into());
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            sqlx::query(NOTE_MIGRATION).bind(migration.version).execute(&mut *c).await?;
        }
        Ok(())
    }

    async fn lookup(
        c: &mut MySqlConnection,
        aors: &[&str],
        users: &[&User],
    ) -> Result<Vec<FoundRow>, sqlx::Error> {
        let names = || json(&users.iter().map(|user| [&user.name, &user.realm]).collect::<Vec<_>>());
        match (aors.is_empty(), users.is_empty()) {
            (_, true) => sqlx::query_as(LOAD).bind(json(&aors)).fetch_all(c).await,
            (true, false) => sqlx::query_as(CREDENTIALS).bind(names()).fetch_all(c).await,
            (false, false) => sqlx::query_as(LOOKUP).bind(json(&aors)).bind(names()).fetch_all(c).await,
        }
    }

    async fn save(c: &mut MySqlConnection, rows: &[NewRow<'_>]) -> Result<Vec<String>, sqlx::Error> {
        let new: Vec<_> = rows
            .iter()
            .map(|row| (row.aor, row.expected, row.version, row.due_at, &row.bindings, &row.watchers))
            .collect();
        let pairs: Vec<_> = edge_pairs(rows).collect();
        let save = sqlx::query_as::<_, StoredRow>(SAVE).bind(json(&new));
        if pairs.is_empty() && rows.iter().all(|row| row.changes.is_empty()) {
            return Ok(written(rows, save.fetch_all(c).await?));
        }
        let mut transaction = c.begin().await?;
        let written = written(rows, save.fetch_all(&mut *transaction).await?);
        // Whoever was refused has noted nothing.
        let noted: Vec<_> = pairs.iter().filter(|(aor, _)| written.iter().any(|key| key == aor)).collect();
        if !noted.is_empty() {
            let aors: Vec<_> = noted.iter().map(|(aor, _)| aor).collect();
            sqlx::query(FORGET_EDGES).bind(json(&aors)).execute(&mut *transaction).await?;
            sqlx::query(NOTE_EDGES).bind(json(&noted)).execute(&mut *transaction).await?;
        }
        feed::note_changes(&mut transaction, rows, &written).await?;
        transaction.commit().await?;
        Ok(written)
    }

    async fn sweep(c: &mut MySqlConnection, now: i64, limit: u32) -> Result<u64, sqlx::Error> {
        let mut transaction = c.begin().await?;
        let gone: Vec<String> =
            sqlx::query_scalar(SWEEP).bind(now).bind(limit).fetch_all(&mut *transaction).await?;
        if !gone.is_empty() {
            sqlx::query(FORGET_EDGES).bind(json(&gone)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(gone.len() as u64)
    }

    async fn due(c: &mut MySqlConnection, now: i64, limit: u32) -> Result<Vec<StoredRow>, sqlx::Error> {
        sqlx::query_as(DUE).bind(now).bind(limit).fetch_all(c).await
    }

    async fn records(
        c: &mut MySqlConnection,
        edge: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<StoredRow>, sqlx::Error> {
        match edge {
            Some(edge) => sqlx::query_as(FLOWS_OF).bind(edge).bind(after).bind(limit).fetch_all(c).await,
            None => sqlx::query_as(LIST).bind(after).bind(limit).fetch_all(c).await,
        }
    }

    async fn put(c: &mut MySqlConnection, users: &[(&User, &Credentials)]) -> Result<(), sqlx::Error> {
        let rows: Vec<_> = users
            .iter()
            .map(|(user, proof)| [&user.name, &user.realm, &proof.ha1_md5, &proof.ha1_sha256])
            .collect();
        sqlx::query(PUT).bind(json(&rows)).execute(c).await?;
        Ok(())
    }

    async fn remove_user(c: &mut MySqlConnection, user: &User) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(REMOVE_USER).bind(&user.name).bind(&user.realm).execute(c).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn users(
        c: &mut MySqlConnection,
        (name, realm): (&str, &str),
        limit: u32,
    ) -> Result<Vec<(String, String)>, sqlx::Error> {
        sqlx::query_as(USERS).bind(name).bind(name).bind(realm).bind(limit).fetch_all(c).await
    }

    async fn domains(c: &mut MySqlConnection) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(DOMAINS).fetch_all(c).await
    }

    async fn has_domain(c: &mut MySqlConnection, name: &str) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(HAS_DOMAIN).bind(name).fetch_one(c).await
    }

    async fn set_domain(c: &mut MySqlConnection, name: &str, is_served: bool) -> Result<bool, sqlx::Error> {
        let statement = if is_served { PUT_DOMAIN } else { REMOVE_DOMAIN };
        Ok(sqlx::query(statement).bind(name).execute(c).await?.rows_affected() > 0)
    }
}

/// The keys of the rows that are what they were to become.
fn written(rows: &[NewRow<'_>], stored: Vec<StoredRow>) -> Vec<String> {
    let is_new = |(aor, version, bindings, watchers): &StoredRow| {
        let row = rows.binary_search_by_key(&aor.as_str(), |row| row.aor).ok().and_then(|at| rows.get(at));
        row.is_some_and(|row| row.is_stored(*version, bindings, watchers))
    };
    stored.into_iter().filter(is_new).map(|(aor, ..)| aor).collect()
}

/// A table, a column or an index that is there, or a column or an index that is gone: what another one who brings the schema up to
/// date has done, or an attempt that did not come to its end.
fn is_done_already(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    error.is_some_and(|error| matches!(error.number(), 1050 | 1060 | 1061 | 1091))
}

fn is_statement(text: &str) -> bool {
    text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
}

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mariadb");

/// A wait for a lock ends before the statement counts as lost, and nothing of ours holds a lock when this end is gone.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION \
    innodb_lock_wait_timeout = 1, max_statement_time = 5, idle_transaction_timeout = 5, net_write_timeout = 5";

const MIGRATION_SESSION: &str = "SET SESSION max_statement_time = 0, lock_wait_timeout = 60";

const IS_GALERA: &str = "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'";

const PROBE: &str = "SELECT CAST(@@global.read_only AS SIGNED), VERSION()";

const PROBE_GALERA: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_ready', 'wsrep_local_state')";

macro_rules! wanted_aors {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY, \
            aor VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$')) AS wanted"
    };
}

macro_rules! load {
    () => {
        concat!(
            "SELECT CAST(wanted.place AS SIGNED), location.version, location.bindings, location.watchers FROM ",
            wanted_aors!(),
            " STRAIGHT_JOIN location ON location.aor = wanted.aor"
        )
    };
}

macro_rules! credentials {
    () => {
        "SELECT CAST(wanted.place AS SIGNED), -1, subscriber.ha1_md5, subscriber.ha1_sha256 \
            FROM JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY, \
                username VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', \
                realm VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[1]')) AS wanted \
            STRAIGHT_JOIN subscriber \
            ON subscriber.username = wanted.username AND subscriber.realm = wanted.realm"
    };
}

const LOAD: &str = load!();

const CREDENTIALS: &str = credentials!();

const LOOKUP: &str = concat!(load!(), " UNION ALL ", credentials!());

/// The columns that the condition reads are assigned last: assignments take place from left to right.
const SAVE: &str = "INSERT INTO location (aor, version, due_at, bindings, watchers) \
    SELECT new.aor, new.version, new.due_at, new.bindings, new.watchers \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
        aor VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', \
        expected BIGINT PATH '$[1]', version BIGINT PATH '$[2]', due_at BIGINT PATH '$[3]', \
        bindings MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[4]', \
        watchers MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[5]')) AS new \
    LEFT JOIN location AS old ON old.aor = new.aor \
    WHERE new.aor IS NOT NULL AND COALESCE(old.version, 0) = new.expected \
    ON DUPLICATE KEY UPDATE \
        due_at = IF(location.version = new.expected, new.due_at, location.due_at), \
        bindings = IF(location.version = new.expected, new.bindings, location.bindings), \
        watchers = IF(location.version = new.expected, new.watchers, location.watchers), \
        version = IF(location.version = new.expected, new.version, location.version) \
    RETURNING aor, version, bindings, watchers";

const SWEEP: &str = "DELETE FROM location WHERE due_at <= ? AND bindings = '[]' AND watchers = '[]' \
    ORDER BY due_at LIMIT ? RETURNING aor";

const DUE: &str = "SELECT aor, version, bindings, watchers FROM location \
    WHERE due_at <= ? AND NOT (bindings = '[]' AND watchers = '[]') ORDER BY due_at LIMIT ?";

const FORGET_EDGES: &str = concat!(
    "DELETE location_edge FROM ",
    wanted_aors!(),
    " STRAIGHT_JOIN location_edge ON location_edge.aor = wanted.aor"
);

const NOTE_EDGES: &str = "INSERT IGNORE INTO location_edge (aor, edge) SELECT new.aor, new.edge \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
        aor VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', \
        edge VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[1]')) AS new";

const FLOWS_OF: &str = "SELECT location.aor, location.version, location.bindings, location.watchers \
    FROM location_edge STRAIGHT_JOIN location ON location.aor = location_edge.aor \
    WHERE location_edge.edge = ? AND location_edge.aor > ? ORDER BY location_edge.aor LIMIT ?";

const LIST: &str = "SELECT aor, version, bindings, watchers FROM location WHERE aor > ? ORDER BY aor LIMIT ?";

const PUT: &str = "INSERT INTO subscriber (username, realm, ha1_md5, ha1_sha256) \
    SELECT new.username, new.realm, new.ha1_md5, new.ha1_sha256 \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
        username VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]' ERROR ON ERROR, \
        realm VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[1]' ERROR ON ERROR, \
        ha1_md5 VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[2]' ERROR ON ERROR, \
        ha1_sha256 VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]' ERROR ON ERROR)) AS new \
    ON DUPLICATE KEY UPDATE ha1_md5 = new.ha1_md5, ha1_sha256 = new.ha1_sha256";

const REMOVE_USER: &str = "DELETE FROM subscriber WHERE username = ? AND realm = ?";

const USERS: &str = "SELECT username, realm FROM subscriber \
    WHERE username > ? OR (username = ? AND realm > ?) ORDER BY username, realm LIMIT ?";

const DOMAINS: &str = "SELECT name FROM domain ORDER BY name";

const HAS_DOMAIN: &str = "SELECT EXISTS (SELECT 1 FROM domain WHERE name = ?)";

const PUT_DOMAIN: &str = "INSERT IGNORE INTO domain (name) VALUES (?)";

const REMOVE_DOMAIN: &str = "DELETE FROM domain WHERE name = ?";

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS signalbox_migrations ( \
    version BIGINT NOT NULL PRIMARY KEY, applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB";

const NOTE_MIGRATION: &str = "INSERT IGNORE INTO signalbox_migrations (version) VALUES (?)";

const HAS_HISTORY: &str = "SELECT COUNT(*) FROM information_schema.tables \
    WHERE table_schema = DATABASE() AND table_name = 'signalbox_migrations'";

const APPLIED: &str = "SELECT COALESCE(MAX(version), 0) FROM signalbox_migrations";

#[cfg(test)]
mod tests {
    use super::*;

    fn says(status: &[(&str, &str)]) -> Standing {
        let status: Vec<_> =
            status.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        standing(&status)
    }

    #[test]
    fn only_a_synced_node_of_the_primary_component_is_used() {
        let writable = |is_busy| Standing::Writable { term: 0, is_busy };
        let galera = |cluster, ready, state| {
            says(&[("wsrep_cluster_status", cluster), ("wsrep_ready", ready), ("wsrep_local_state", state)])
        };
        assert_eq!(galera("Primary", "ON", "4"), writable(false));
        assert_eq!(galera("Primary", "ON", "2"), writable(true));
        for (cluster, ready, state) in
            [("non-Primary", "OFF", "0"), ("Primary", "OFF", "1"), ("Primary", "ON", "3")]
        {
            assert!(matches!(galera(cluster, ready, state), Standing::Unfit(_)), "{cluster} {ready} {state}");
        }
        assert_eq!(says(&[]), writable(false));
        assert_eq!(galera("Disconnected", "OFF", "0"), writable(false));
    }

    #[test]
    fn a_script_is_split_into_its_statements() {
        let script = "-- about\nCREATE TABLE a (b INT -- c\n);\n\n-- end\n";
        assert_eq!(script.split(";\n").filter(|text| is_statement(text)).count(), 1);
    }
}
