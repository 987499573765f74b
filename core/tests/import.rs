//! Users straight from the `subscriber` table of a Kamailio or an OpenSIPS, whichever database that has: on SQLite, and on
//! PostgreSQL and MariaDB where the environment names servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod program;

use std::io::Write;
use std::time::Duration;

use location::{Credentials, Database, Directory, User};
use node::clock;
use sip::digest::{Algorithm, ha1};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

use self::program::Ended;

/// Where the other system's tables are, and where users go to.
struct Host {
    source: String,
    target: String,
    folder: TempDir,
}

impl Host {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        Self { source: format!("{}?mode=rwc", url("other.db")), target: url("signalbox.db"), folder }
    }

    /// Two new databases of the server that the environment names; `None` without one.
    async fn on(variable: &str, name: &str) -> Option<Self> {
        let Ok(urls) = std::env::var(variable) else {
            let _ = writeln!(std::io::stderr(), "without databases: {variable} is not set");
            return None;
        };
        let server = urls.split(',').next()?.trim_end_matches('/').to_owned();
        let [source, target] =
            ["source", "target"].map(|kind| format!("{name}_{kind}_{}", std::process::id()));
        let maintenance = if server.starts_with("postgres") { "postgres" } else { "" };
        for database in [&source, &target] {
            execute(&format!("{server}/{maintenance}"), &format!("CREATE DATABASE {database}")).await;
        }
        let [source, target] = [source, target].map(|database| format!("{server}/{database}"));
        let host = Self { source, target, folder: tempfile::tempdir().unwrap() };
        host.run(&["migrate"], "").done();
        Some(host)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = program::command(self.folder.path(), &self.target, "example.com", arguments);
        program::run(command.env("RUST_LOG", "off"), input)
    }

    async fn credentials(&self, name: &str, realm: &str) -> Option<Credentials> {
        let database = Database::open(&self.target).await.unwrap();
        let user = User { name: name.to_owned(), realm: realm.to_owned() };
        let found = database.credentials(&[user]).await.unwrap().remove(0);
        database.close().await;
        found
    }
}

impl Ended {
    #[track_caller]
    fn done(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}

async fn execute(url: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite:") {
        let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
        c.execute(sql).await.unwrap();
        c.close().await.unwrap();
    } else if url.starts_with("postgres") {
        sqlx::PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    } else {
        sqlx::MySqlConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    }
}

/// The columns of Kamailio 5.6.
const KAMAILIO: &str = "CREATE TABLE subscriber (id INTEGER PRIMARY KEY, username VARCHAR(64) DEFAULT '' NOT NULL, \
    domain VARCHAR(64) DEFAULT '' NOT NULL, password VARCHAR(64) DEFAULT '' NOT NULL, \
    ha1 VARCHAR(128) DEFAULT '' NOT NULL, ha1b VARCHAR(128) DEFAULT '' NOT NULL, \
    CONSTRAINT account_idx UNIQUE (username, domain))";

/// The columns of OpenSIPS 3.x, of a fixed length.
const OPENSIPS: &str = "CREATE TABLE opensips_users (id INTEGER PRIMARY KEY, username CHAR(64) DEFAULT '' NOT NULL, \
    domain CHAR(64) DEFAULT '' NOT NULL, password CHAR(25) DEFAULT '' NOT NULL, \
    email_address CHAR(64) DEFAULT '' NOT NULL, ha1 CHAR(64) DEFAULT '' NOT NULL, \
    ha1_sha256 CHAR(64) DEFAULT '' NOT NULL, ha1_sha512t256 CHAR(64) DEFAULT '' NOT NULL, \
    rpid CHAR(64) DEFAULT NULL, CONSTRAINT opensips_account_idx UNIQUE (username, domain))";

/// Users of the large table: their passwords are `pN`.
const USERS: usize = 12_000;
/// What an import has to write at least in a second.
const RATE: f64 = 1_000.0;

fn md5(name: &str, realm: &str, password: &str) -> String {
    ha1(Algorithm::Md5, name, realm, password)
}

async fn fill(source: &str) {
    execute(source, KAMAILIO).await;
    let rows: Vec<_> = (0..USERS)
        .map(|n| {
            let ha1 = md5(&format!("u{n}"), "example.com", &format!("p{n}"));
            format!("({n}, 'u{n}', 'example.com', 'p{n}', '{ha1}', '{ha1}')")
        })
        .collect();
    for rows in rows.chunks(1_000) {
        let columns = "id, username, domain, password, ha1, ha1b";
        execute(source, &format!("INSERT INTO subscriber ({columns}) VALUES {}", rows.join(","))).await;
    }
    execute(source, OPENSIPS).await;
    let (md5, sha256) =
        (md5("alice", "example.com", "secret"), ha1(Algorithm::Sha256, "alice", "example.com", "secret"));
    let rows = [
        format!("(1, 'alice', 'Example.COM', '', '{}', '{sha256}')", md5.to_uppercase()),
        format!("(2, 'bob', 'example.com', '', '{md5}', '')"),
        "(3, 'carol', 'example.com', 'secret', '', '')".to_owned(),
        format!("(4, 'dave', 'example.org', '', '{md5}', '')"),
    ];
    let columns = "id, username, domain, password, ha1, ha1_sha256";
    execute(source, &format!("INSERT INTO opensips_users ({columns}) VALUES {}", rows.join(","))).await;
}

async fn imported(host: &Host, what: &str) {
    fill(&host.source).await;
    let begin = clock::now();
    let ended = host.run(&["user", "import", "--from", &host.source], "");
    let took = clock::now().saturating_duration_since(begin);
    assert_eq!((ended.code, ended.out), (Some(0), format!("imported {USERS} users\n")), "{}", ended.err);
    assert_eq!(ended.err, "10000 users so far\n");
    let rate = USERS as f64 / took.max(Duration::from_millis(1)).as_secs_f64();
    let _ = writeln!(std::io::stderr(), "{what}: {rate:.0} users a second from one table into another");
    assert!(rate > RATE, "{what}: {rate:.0} users a second");
    let last = host.credentials("u11999", "example.com").await.unwrap();
    assert_eq!((last.ha1_md5, last.ha1_sha256), (md5("u11999", "example.com", "p11999"), String::new()));

    // Twice is as once, and the URL may come by standard input.
    for _ in 0..2 {
        let from = ["user", "import", "--from", "-", "--table", "opensips_users"];
        let ended = host.run(&from, &format!("{}\n", host.source));
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "imported 4 users\n"), "{}", ended.err);
        assert_eq!(ended.err, "1 users are of example.org, which is not served: see `domain add`\n");
    }
    let (md5_of_alice, sha256) =
        (md5("alice", "example.com", "secret"), ha1(Algorithm::Sha256, "alice", "example.com", "secret"));
    let alice = host.credentials("alice", "example.com").await.unwrap();
    assert_eq!((alice.ha1_md5.clone(), alice.ha1_sha256.clone()), (md5_of_alice, sha256));
    assert_eq!(host.credentials("bob", "example.com").await.unwrap().ha1_sha256, "", "MD5 is all there is");
    let carol = host.credentials("carol", "example.com").await.unwrap();
    assert_eq!(carol.ha1_sha256, ha1(Algorithm::Sha256, "carol", "example.com", "secret"));
    assert!(host.credentials("dave", "example.org").await.is_some(), "for when his domain is added");

    // What is no good is named, whatever is in it, and the others come.
    let bad = "INSERT INTO opensips_users (id, username, domain, ha1) VALUES (5, '', 'example.com', 'x'), \
        (6, 'erin', '', 'x'), (7, 'frank', 'example.com', 'geheim'), (8, 'grace', 'example.com', '')";
    execute(&host.source, bad).await;
    let ended = host.run(&["user", "import", "--from", &host.source, "--table", "opensips_users"], "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    for name in ["\"@example.com\"", "\"erin@\"", "\"frank@example.com\"", "\"grace@example.com\""] {
        assert!(ended.err.contains(name), "{name}: {}", ended.err);
    }
    assert!(ended.err.contains("imported 4 users, passed over 4 rows"), "{}", ended.err);
    assert!(!ended.err.contains("geheim"), "{}", ended.err);

    // From one database of ours into another: who moves takes the users along.
    let moved = Host { source: host.target.clone(), ..Host::sqlite() };
    let ended = moved.run(&["user", "import", "--from", &moved.source], "");
    assert_eq!(
        (ended.code, ended.out),
        (Some(0), format!("imported {} users\n", USERS + 4)),
        "{}",
        ended.err
    );
    assert_eq!(moved.credentials("alice", "example.com").await, Some(alice));

    let missing = host.run(&["user", "import", "--from", &host.source, "--table", "nobody"], "");
    assert_eq!((missing.code, missing.out.as_str()), (Some(69), ""), "{missing:?}");
    assert!(missing.err.contains("--from: "), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_from_a_table_of_sqlite() {
    let host = Host::sqlite();
    imported(&host, "SQLite").await;
    for (arguments, code, why) in [
        (&["--from", "oracle://u:geheim@h/d"][..], 1, "--from: "),
        (&["--from", "mysql://u:geheim@a/d,mysql://u:geheim@b/d"], 1, "one `mysql"),
        (&["--from", "mysql://u:geheim@127.0.0.1:1/d"], 69, "--from: "),
        (&["--from", "sqlite:missing.db"], 69, "--from: "),
        (&["--from", "sqlite:x.db", "--table", "a;b"], 2, "TABLE"),
        (&["users.csv", "--from", "sqlite:x.db"], 2, "--from"),
        (&["users.csv", "--table", "x"], 2, "--table"),
        (&[], 2, "FILE"),
    ] {
        let ended = host.run(&[&["user", "import"], arguments].concat(), "");
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?} {ended:?}");
        assert!(ended.err.contains(why) && !ended.err.contains("geheim"), "{arguments:?} {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_from_a_table_of_postgresql() {
    if let Some(host) = Host::on("SIGNALBOX_POSTGRES", "import").await {
        imported(&host, "PostgreSQL").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_from_a_table_of_mariadb() {
    if let Some(host) = Host::on("SIGNALBOX_MARIADB", "import").await {
        imported(&host, "MariaDB").await;
    }
}
