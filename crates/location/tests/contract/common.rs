//! Records and stores for the tests of this crate.

use std::io::Write;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use location::{Credentials, Database, LocationStore, Memory, Save, Saved, User};
use registrar::{Binding, Record, UnixTime, Watcher};
use sip::Aor;
use sqlx::Connection;
use tempfile::TempDir;

/// Names the nodes of a PostgreSQL cluster, the primary first.
pub(crate) const POSTGRES: &str = "SIGNALBOX_POSTGRES";
/// Names the nodes of a MariaDB or a Galera cluster.
pub(crate) const MARIADB: &str = "SIGNALBOX_MARIADB";

pub(crate) const NOW: UnixTime = UnixTime(1_700_000_000);

pub(crate) fn aor(user: &str) -> Aor {
    Aor::parse(&format!("{user}@example.com")).unwrap()
}

pub(crate) fn user(name: &str) -> User {
    User { name: name.to_owned(), realm: "example.com".to_owned() }
}

pub(crate) fn credentials(text: &str) -> Credentials {
    Credentials { ha1_md5: format!("md5 {text}"), ha1_sha256: format!("sha {text}") }
}

/// A binding that was made at `at` for an hour through `edge`.
pub(crate) fn binding(contact: &str, edge: &str, at: UnixTime) -> Binding {
    Binding {
        contact: contact.to_owned(),
        params: ";audio;+sip.instance=\"<urn:uuid:1>\"".to_owned(),
        q: 500,
        expires_at: at.after(3_600),
        call_id: "call".to_owned(),
        cseq: 1,
        path: vec![format!("<sip:token@{edge};lr;ob>"), "<sip:\u{e9}'\"%00@b;lr>".to_owned()],
        instance: Some("urn:uuid:1".to_owned()),
        reg_id: Some(1),
        gruu_epoch: 7,
        user_agent: "Phone".to_owned(),
        edge: edge.to_owned(),
        source: "udp:192.0.2.1:5060".to_owned(),
        registered_at: at,
        updated_at: at,
        written_by: "core-1".to_owned(),
    }
}

/// A subscription of an hour that was made at `at`.
pub(crate) fn watcher(call_id: &str, at: UnixTime) -> Watcher {
    Watcher {
        call_id: call_id.to_owned(),
        local_tag: "l".to_owned(),
        remote_tag: "r".to_owned(),
        local: "<sip:alice@example.com>".to_owned(),
        remote: "\"A\" <sip:app@example.com>".to_owned(),
        target: "sip:app@192.0.2.7".to_owned(),
        route: vec!["<sip:token@edge;lr>".to_owned()],
        cseq: 1,
        remote_cseq: 7,
        event_id: Some("x".to_owned()),
        version: 1,
        expires_at: at.after(3_600),
        updated_at: at,
        notified_at: at,
        subscriber: "sip:app@example.com".to_owned(),
        ..Watcher::default()
    }
}

pub(crate) fn save(user: &str, expected: u64, bindings: Vec<Binding>) -> Save {
    Save { aor: aor(user), expected, record: Record { bindings, ..Record::default() }, changes: Vec::new() }
}

/// Saves one record from version `expected` on and gives its new version.
pub(crate) async fn saved(
    store: &impl LocationStore,
    user: &str,
    expected: u64,
    bindings: Vec<Binding>,
) -> u64 {
    match store.save(&[save(user, expected, bindings)]).await.unwrap()[..] {
        [Saved::Version(version)] => version,
        ref other => panic!("{user} at {expected}: {other:?}"),
    }
}

pub(crate) async fn loaded(store: &impl LocationStore, user: &str) -> Record {
    store.load(&[aor(user)]).await.unwrap().remove(0)
}

pub(crate) fn memory() -> Memory {
    Memory::default()
}

/// A new database file and its folder, which lives as long as the test.
pub(crate) async fn sqlite() -> (Database, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()).await, folder)
}

/// The nodes of a cluster that somebody has started for these tests: URLs without a database, of a user who may make one.
pub(crate) struct Cluster {
    nodes: Vec<String>,
    database: String,
}

impl Cluster {
    /// A new database with the schema of this program; `None`, and a word about it, when the environment names no cluster.
    pub(crate) async fn new(variable: &str) -> Option<(Self, Database)> {
        let cluster = Self::empty(variable).await?;
        let store = cluster.open().await;
        store.migrate().await.unwrap();
        Some((cluster, store))
    }

    /// A new database without a schema.
    pub(crate) async fn empty(variable: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(urls) = std::env::var(variable) else {
            static SAID: Once = Once::new();
            // Past the test harness, which keeps to itself what a test that passes says.
            SAID.call_once(|| {
                let _ = writeln!(
                    std::io::stderr(),
                    "without databases: {POSTGRES} and {MARIADB} are not both set"
                );
            });
            return None;
        };
        let nodes: Vec<_> = urls.split(',').map(|url| url.trim_end_matches('/').to_owned()).collect();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let database = format!("contract_{}_{count}", std::process::id());
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
        if urls.starts_with("postgres") {
            let mut c = sqlx::PgConnection::connect(&format!("{}/postgres", nodes[0])).await.unwrap();
            sqlx::query(create).execute(&mut c).await.unwrap();
        } else {
            let mut c = sqlx::MySqlConnection::connect(&nodes[0]).await.unwrap();
            sqlx::query(create).execute(&mut c).await.unwrap();
        }
        Some(Self { nodes, database })
    }

    /// The database by its first node; the others take over.
    pub(crate) fn url(&self) -> String {
        self.from(0)
    }

    /// The database by a node of its own for each caller, as far as there are nodes.
    pub(crate) fn from(&self, first: usize) -> String {
        let (after, before) = self.nodes.split_at(first % self.nodes.len());
        let urls = before.iter().chain(after).map(|url| format!("{url}/{}", self.database));
        urls.collect::<Vec<_>>().join(",")
    }

    pub(crate) async fn open(&self) -> Database {
        Database::open(&self.url()).await.unwrap()
    }
}

pub(crate) async fn open(folder: &Path) -> Database {
    Database::open(&url(folder)).await.unwrap()
}

pub(crate) fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("signalbox.db").display())
}

/// Reads, adds and saves until no other task was faster.
pub(crate) async fn add_contact(store: &Database, contact: &str) {
    loop {
        let mut record = loaded(store, "alice").await;
        record.bindings.push(binding(contact, "edge", NOW));
        let done = store.save(&[save("alice", record.version, record.bindings)]).await.unwrap();
        if matches!(done[..], [Saved::Version(_)]) {
            return;
        }
    }
}
