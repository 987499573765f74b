//! From every earlier schema to that of this program: what older cores have written is found, and while both are there the
//! older ones go on. The schemas are those of the migration files.

use location::{Credentials, Database, Directory, Error, LocationStore, Schema};
use registrar::{Binding, UnixTime};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, SqliteConnection, raw_sql};

use crate::common::{self, Cluster, MARIADB, POSTGRES, binding, loaded, saved, user};

/// A connection past the store.
enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Raw {
    async fn connect(urls: &str) -> Self {
        let url = urls.split(',').next().unwrap();
        match url.split_once(':').unwrap().0 {
            "sqlite" => Self::Sqlite(SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap()),
            "postgres" => Self::Postgres(PgConnection::connect(url).await.unwrap()),
            _ => Self::MariaDb(MySqlConnection::connect(url).await.unwrap()),
        }
    }

    async fn execute(&mut self, sql: &str) {
        let sql = raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(c) => drop(sql.execute(c).await.unwrap()),
            Self::Postgres(c) => drop(sql.execute(c).await.unwrap()),
            Self::MariaDb(c) => drop(sql.execute(c).await.unwrap()),
        }
    }

    /// The only column of the only row, a number.
    async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(c) => sqlx::query_scalar(sql).fetch_one(c).await.unwrap(),
            Self::Postgres(c) => sqlx::query_scalar(sql).fetch_one(c).await.unwrap(),
            Self::MariaDb(c) => sqlx::query_scalar(sql).fetch_one(c).await.unwrap(),
        }
    }

    fn migrations(&self) -> Vec<Migration> {
        let all = match self {
            Self::Sqlite(_) => sqlx::migrate!("migrations/sqlite"),
            Self::Postgres(_) => sqlx::migrate!("migrations/postgres"),
            Self::MariaDb(_) => sqlx::migrate!("migrations/mariadb"),
        };
        all.iter().cloned().collect()
    }

    /// The schema as it was at a version.
    async fn build(&mut self, version: i64) {
        let all = self.migrations();
        let old: Vec<_> = all.into_iter().filter(|migration| migration.version <= version).collect();
        match self {
            Self::Sqlite(c) => Migrator::with_migrations(old).run_direct(None, c, false).await.unwrap(),
            Self::Postgres(c) => Migrator::with_migrations(old).run_direct(None, c, false).await.unwrap(),
            Self::MariaDb(_) => {
                self.execute(
                    "CREATE TABLE signalbox_migrations (version BIGINT NOT NULL PRIMARY KEY, \
                     applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
                )
                .await;
                for migration in old {
                    self.execute(migration.sql.as_str()).await;
                    let version = migration.version;
                    self.execute(&format!("INSERT INTO signalbox_migrations (version) VALUES ({version})"))
                        .await;
                }
            }
        }
    }
}

/// A binding as the first cores have written it: without what was added to bindings since.
const OLD: &str = concat!(
    r#"[{"contact":"sip:alice@192.0.2.1:5060","expires_at":1700003600,"call_id":"call","cseq":7,"#,
    r#""path":["<sip:token@edge-1;lr;ob>"],"edge":"edge-1","source":"udp:192.0.2.1:5060","#,
    r#""registered_at":1700000000,"updated_at":1700000000,"written_by":"core-1"}]"#
);

const VERSION: u64 = 1_700_000_000_000;

/// Which columns `location` had: those of the time before subscriptions are SQLite's only.
fn has_watchers(raw: &Raw, version: i64) -> bool {
    version > 1 || !matches!(raw, Raw::Sqlite(_))
}

/// What a core of that version has written, by columns that it knew.
async fn fill(raw: &mut Raw, version: i64) {
    let (columns, values) = match has_watchers(raw, version) {
        true => ("due_at, bindings, watchers", format!("1700003600, '{OLD}', '[]'")),
        false => ("expires_at, bindings", format!("1700003600, '{OLD}'")),
    };
    let location = format!(
        "INSERT INTO location (aor, version, {columns}) VALUES ('sip:alice@example.com', {VERSION}, {values})"
    );
    raw.execute(&location).await;
    raw.execute("INSERT INTO location_edge (aor, edge) VALUES ('sip:alice@example.com', 'edge-1')").await;
    raw.execute(
        "INSERT INTO subscriber (username, realm, ha1_md5, ha1_sha256) VALUES ('alice', 'example.com', 'm', 's')",
    )
    .await;
}

/// All that is there is as it was, and can be changed.
async fn is_found(store: &Database) {
    let alice = loaded(store, "alice").await;
    let [found] = &alice.bindings[..] else { panic!("{alice:?}") };
    let expected = Binding {
        contact: "sip:alice@192.0.2.1:5060".to_owned(),
        params: String::new(),
        q: 1_000,
        cseq: 7,
        path: vec!["<sip:token@edge-1;lr;ob>".to_owned()],
        instance: None,
        reg_id: None,
        gruu_epoch: 0,
        user_agent: String::new(),
        ..binding("", "edge-1", UnixTime(1_700_000_000))
    };
    assert_eq!((found, alice.version, alice.watchers.len()), (&expected, VERSION, 0));
    let proof = Credentials { ha1_md5: "m".to_owned(), ha1_sha256: "s".to_owned() };
    assert_eq!(store.credentials(&[user("alice")]).await.unwrap(), [Some(proof)]);
    assert_eq!(store.users(None, 10).await.unwrap(), [user("alice")]);
    assert_eq!(store.flows_of("edge-1", common::NOW, None, 10).await.unwrap().items.len(), 1);
    assert_eq!(store.due(UnixTime(1_700_003_599), 10).await.unwrap(), []);
    assert_eq!(store.due(UnixTime(1_700_003_600), 10).await.unwrap().len(), 1);

    let moved = vec![binding("sip:alice@192.0.2.2", "edge-2", UnixTime(1_700_000_100))];
    let version = saved(store, "alice", VERSION, moved.clone()).await;
    assert!(version > VERSION);
    assert_eq!(loaded(store, "alice").await.bindings, moved);
    assert_eq!(store.flows_of("edge-1", common::NOW, None, 10).await.unwrap().items, []);
    assert!(store.put_domain("example.org").await.unwrap());
}

/// Statements of cores of an earlier version on the schema of this one: the columns that they do not know have defaults, and those
/// that they know are there.
async fn goes_on(raw: &mut Raw, store: &Database, version: i64) {
    raw.execute("DELETE FROM location WHERE aor = 'sip:alice@example.com'").await;
    raw.execute("DELETE FROM location_edge").await;
    raw.execute("DELETE FROM subscriber").await;
    fill(raw, version).await;
    raw.execute(&format!(
        "UPDATE location SET version = {VERSION} + 1, due_at = 1700003700, bindings = '[]', watchers = '[]' \
         WHERE aor = 'sip:alice@example.com' AND version = {VERSION}"
    ))
    .await;
    let alice = loaded(store, "alice").await;
    assert_eq!((alice.version, alice.bindings.len()), (VERSION + 1, 0));
    let read = "SELECT version FROM location WHERE aor = 'sip:alice@example.com' AND bindings = '[]' \
        AND watchers = '[]' AND due_at = 1700003700";
    assert_eq!(raw.number(read).await, i64::try_from(VERSION).unwrap() + 1);
    let read = "SELECT COUNT(*) FROM subscriber WHERE username = 'alice' AND ha1_md5 = 'm'";
    assert_eq!(raw.number(read).await, 1);
}

/// One upgrade; `url` is that of a database without a schema.
async fn upgrade(url: &str, from: i64) {
    let mut raw = Raw::connect(url).await;
    raw.build(from).await;
    fill(&mut raw, from).await;
    let Schema { applied, newest } = Database::schema(url).await.unwrap();
    assert!(applied == from && newest > from, "{applied} {newest}");
    let store = Database::open(url).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.applied().await.unwrap().is_current());
    is_found(&store).await;
    if has_watchers(&raw, from) {
        goes_on(&mut raw, &store, from).await;
    }
    store.close().await;
}

/// The versions before the newest.
fn earlier(migrator: &Migrator) -> std::ops::Range<i64> {
    let newest = migrator.iter().map(|migration| migration.version).max().unwrap();
    assert_eq!(migrator.iter().count(), usize::try_from(newest).unwrap(), "numbered from 1 without a gap");
    1..newest
}

#[tokio::test]
async fn sqlite_from_every_earlier_version() {
    for version in earlier(&sqlx::migrate!("migrations/sqlite")) {
        let folder = tempfile::tempdir().unwrap();
        upgrade(&common::url(folder.path()), version).await;
    }
}

#[tokio::test]
async fn postgresql_from_every_earlier_version() {
    for version in earlier(&sqlx::migrate!("migrations/postgres")) {
        let Some(cluster) = Cluster::empty(POSTGRES).await else { return };
        upgrade(&cluster.url(), version).await;
    }
}

#[tokio::test]
async fn mariadb_from_every_earlier_version() {
    for version in earlier(&sqlx::migrate!("migrations/mariadb")) {
        let Some(cluster) = Cluster::empty(MARIADB).await else { return };
        upgrade(&cluster.url(), version).await;
    }
}

/// MariaDB has no transactions for a schema: whoever was interrupted between two statements is followed by somebody who finds
/// some of it done.
#[tokio::test]
async fn mariadb_from_the_middle_of_every_migration() {
    for version in earlier(&sqlx::migrate!("migrations/mariadb")) {
        let Some(cluster) = Cluster::empty(MARIADB).await else { return };
        let mut raw = Raw::connect(&cluster.url()).await;
        raw.build(version).await;
        fill(&mut raw, version).await;
        let next = raw.migrations().into_iter().find(|migration| migration.version == version + 1).unwrap();
        let statements: Vec<_> = next.sql.as_str().split_inclusive(";\n").collect();
        for done in statements.iter().take(statements.len().div_ceil(2)) {
            raw.execute(done).await;
        }
        let store = cluster.open().await;
        store.migrate().await.unwrap();
        assert!(store.applied().await.unwrap().is_current());
        is_found(&store).await;
    }
}

/// A file that a newer program has changed is left alone.
#[tokio::test]
async fn sqlite_of_a_later_version_is_refused() {
    let (store, folder) = common::sqlite().await;
    store.close().await;
    let url = common::url(folder.path());
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (1000, 'later', 1, x'00', 0)";
    Raw::connect(&url).await.execute(later).await;
    assert!(matches!(Database::open(&url).await, Err(Error::Migration(_))));
    assert!(!Database::schema(&url).await.unwrap().is_current());
}
