//! The operator's commands, run as the operator runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod fixture;
mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};

use location::{Credentials, Database, Directory, LocationStore, Save, User};
use registrar::{Binding, Record, UnixTime};
use sip::Aor;
use tempfile::TempDir;

use self::program::{Ended, run};

/// A host with a database that nobody has used yet.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn database_url(&self) -> String {
        format!("sqlite:{}", self.path("signalbox.db").display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let domains = "example.com,example.net";
        program::command(self.folder.path(), &self.database_url(), domains, arguments)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ended {
        run(&mut self.command(arguments), input)
    }

    fn credentials(&self, user: &str, realm: &str) -> Option<Credentials> {
        let user = User { name: user.to_owned(), realm: realm.to_owned() };
        let database_url = self.database_url();
        with_runtime(async move {
            let database = Database::open(&database_url).await.unwrap();
            let found = database.credentials(&[user]).await.unwrap().remove(0);
            database.close().await;
            found
        })
    }
}

impl Ended {
    /// It did what it was asked to and had nothing else to say.
    #[track_caller]
    fn prints(&self, out: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (Some(0), out, ""));
    }

    /// It said why not, in one line, and nothing on standard output.
    #[track_caller]
    fn fails(&self, code: i32, why: &str) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.err.contains(why), "{self:?}");
        assert_eq!((self.err.lines().count(), self.err.ends_with('\n')), (1, true), "{self:?}");
    }
}

fn with_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// H("alice:example.com:secret"), computed by md5sum and sha256sum.
const MD5: &str = "b1726872c344b6dc8365b774f8fd6412";
const SHA256: &str = "ed8925b20f9a77b8f8f8d5f8e4467fe32b866f7208ab9e4b20595e9821a0fdee";

#[test]
fn a_user_is_added_listed_changed_and_removed() {
    let host = Host::new();
    host.run(&["user", "add", "alice@example.com", "--password", "-"], "secret\n")
        .prints("added alice@example.com\n");
    let proof = host.credentials("alice", "example.com").unwrap();
    assert_eq!((proof.ha1_md5.as_str(), proof.ha1_sha256.as_str()), (MD5, SHA256));

    fs::write(host.path("password"), "other\n").unwrap();
    host.run(&["user", "add", "sip:bob@EXAMPLE.net", "--password-file", "password"], "")
        .prints("added bob@example.net\n");
    host.run(&["user", "list"], "").prints("alice@example.com\nbob@example.net\n");
    host.run(&["user", "list", "--domain", "Example.NET"], "").prints("bob@example.net\n");

    host.run(&["user", "passwd", "alice@example.com", "--password-file", "password"], "")
        .prints("changed the password of alice@example.com\n");
    assert_ne!(host.credentials("alice", "example.com").unwrap().ha1_md5, MD5);

    host.run(&["user", "remove", "alice@example.com"], "").prints("removed alice@example.com\n");
    assert_eq!(host.credentials("alice", "example.com"), None);
    host.run(&["user", "list"], "").prints("bob@example.net\n");
}

#[test]
fn a_user_who_is_there_is_not_replaced_and_one_who_is_not_is_not_found() {
    let host = Host::new();
    host.run(&["user", "add", "alice@example.com", "--password", "-"], "secret");
    host.run(&["user", "add", "alice@example.com", "--password", "-"], "other").fails(1, "there already");
    assert_eq!(host.credentials("alice", "example.com").unwrap().ha1_md5, MD5);
    host.run(&["user", "passwd", "bob@example.com", "--password", "-"], "other").fails(1, "not there");
    host.run(&["user", "remove", "bob@example.com"], "").fails(1, "not there");
}

#[test]
fn a_user_of_a_domain_that_is_not_served_is_refused() {
    let host = Host::new();
    host.run(&["user", "add", "alice@example.org", "--password", "-"], "secret\n").fails(1, "CORE_DOMAINS");
    host.run(&["user", "import", "-"], "alice@example.org,secret\n").fails(1, "CORE_DOMAINS");
    host.run(&["user", "list"], "").prints("");
    host.run(&["user", "add", "example.com", "--password", "-"], "secret\n").fails(1, "NAME@DOMAIN");
}

#[test]
fn a_domain_is_added_listed_and_removed() {
    let host = Host::new();
    host.run(&["domain", "list"], "").prints("example.com\nexample.net\n");
    host.run(&["domain", "add", "Example.ORG"], "").prints("added example.org\n");
    host.run(&["domain", "add", "example.org"], "").prints("example.org is there already\n");
    host.run(&["domain", "list"], "").prints("example.com\nexample.net\nexample.org\n");
    host.run(&["user", "add", "alice@example.org", "--password", "-"], "secret\n")
        .prints("added alice@example.org\n");
    host.run(&["domain", "remove", "example.org"], "").prints("removed example.org\n");
    host.run(&["domain", "remove", "example.org"], "").prints("example.org is not there\n");
    host.run(&["user", "list"], "").prints("alice@example.org\n");
    host.run(&["domain", "remove", "example.com"], "").fails(1, "CORE_DOMAINS");
    host.run(&["domain", "add", "two words"], "").fails(1, "two words");
}

#[test]
fn a_password_is_no_argument() {
    let host = Host::new();
    for command in ["add", "passwd"] {
        let ended = host.run(&["user", command, "alice@example.com", "--password", "geheim"], "");
        ended.fails(1, "--password-file");
        assert!(!ended.err.contains("geheim"), "{ended:?}");
    }
    assert_eq!(host.run(&["user", "add", "alice@example.com"], "").code, Some(2));
    host.run(&["user", "add", "alice@example.com", "--password", "-"], "\n").fails(1, "empty");
    host.run(&["user", "list"], "").prints("");
}

#[test]
fn users_are_imported_and_importing_them_again_changes_nothing() {
    let host = Host::new();
    let mut lines: String =
        (0..2_500).map(|number| format!("user{number}@example.com,p{number}\n")).collect();
    lines.push_str("alice@example.com,\"sec\"\"ret,\"\n\nalice@example.com,secret");
    for _ in 0..2 {
        host.run(&["user", "import", "-"], &lines).prints("imported 2502 users\n");
    }
    assert_eq!(host.credentials("alice", "example.com").unwrap().ha1_sha256, SHA256);
    let listed = host.run(&["user", "list"], "");
    assert_eq!(listed.out.lines().count(), 2_501);
    assert!(listed.out.contains("user2499@example.com\n"));

    // Who has seen enough may go.
    let mut child = host.command(&["user", "list"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_file_with_a_mistake_changes_nothing() {
    let host = Host::new();
    fs::write(host.path("users.csv"), "alice@example.com,secret\nbob@example.com\n").unwrap();
    host.run(&["user", "import", "users.csv"], "").fails(1, "users.csv: line 2");
    host.run(&["user", "list"], "").prints("");
    host.run(&["user", "import", "missing.csv"], "").fails(1, "missing.csv");
}

#[test]
fn contacts_are_listed_and_removed() {
    let host = Host::new();
    host.run(&["contacts", "list", "alice@example.com"], "").fails(1, "no contacts");
    host.run(&["contacts", "remove", "alice@example.com"], "").prints("alice@example.com has no contacts\n");

    register(&host, "alice@example.com");
    let listed = host.run(&["contacts", "list", "sip:alice@example.com"], "");
    assert_eq!((listed.code, listed.out.lines().count()), (Some(0), 1), "{listed:?}");
    let fields: Vec<_> = listed.out.trim_end().split('\t').collect();
    for field in [
        "sip:alice@192.0.2.1:5060",
        "path=<sip:token@edge-1;lr;ob>",
        "edge=edge-1",
        "source=udp:192.0.2.1:5060",
        "written-by=core-1",
        "call-id=call",
        "cseq=7",
    ] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
    let json = host.run(&["contacts", "list", "alice@example.com", "--json"], "").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["contact"], "sip:alice@192.0.2.1:5060");
    assert!(json[0]["expires_in"].as_u64().is_some_and(|seconds| (3_000..=3_600).contains(&seconds)));
    assert_eq!(json.as_array().map(Vec::len), Some(1), "what has expired is no contact");

    host.run(&["contacts", "remove", "alice@example.com"], "")
        .prints("removed the contacts of alice@example.com\n");
    host.run(&["contacts", "list", "alice@example.com"], "").fails(1, "no contacts");
}

#[test]
fn one_contact_is_removed_as_often_as_one_likes() {
    let host = Host::new();
    register(&host, "alice@example.com");
    let remove = |contact: &str| host.run(&["contacts", "remove", "alice@example.com", contact], "");
    remove("sip:bob@192.0.2.1").prints("alice@example.com has no contact sip:bob@192.0.2.1\n");
    remove("bob").fails(1, "no URI of a contact");
    assert_eq!(host.run(&["contacts", "list", "alice@example.com"], "").code, Some(0));
    remove("<sip:alice@192.0.2.1:5060>").prints("removed <sip:alice@192.0.2.1:5060> of alice@example.com\n");
    remove("sip:alice@192.0.2.1:5060").prints("alice@example.com has no contact sip:alice@192.0.2.1:5060\n");
    host.run(&["contacts", "list", "alice@example.com"], "").fails(1, "no contacts");
}

/// A core that runs on the host until it is dropped.
struct Running(Child);

impl Running {
    /// Waits until it says that it is up.
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("core is up")), "it ended");
        // What it says later has somewhere to go.
        std::thread::spawn(move || log.for_each(drop));
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `why` of alice, with these settings beside those of the host.
fn why(host: &Host, settings: &[(&str, &str)], more: &[&str]) -> Ended {
    let mut command = host.command(&[&["why", "alice@example.com"], more].concat());
    run(command.envs(settings.iter().copied()), "")
}

#[test]
fn without_a_core_why_says_what_the_database_knows_and_that_it_does() {
    let host = Host::new();
    host.run(&["user", "add", "alice@example.com", "--password", "-"], "secret\n");
    register(&host, "alice@example.com");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = why(&host, &[("CORE_ADMIN_TOKEN", "secret"), ("CORE_ADMIN", &nobody)], &[]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    for text in [
        "the database alone",
        &format!("no core was asked: {nobody}: "),
        "user         exists\n",
        "contact 1    sip:alice@192.0.2.1:5060\n",
        "flow       not known: no core was asked\n",
        "Path       <sip:token@edge-1;lr;ob>\n",
        "by core-1\n",
        "contact 1 by edge-1: INVITE sip:alice@192.0.2.1:5060\n               Route: <sip:token@edge-1;lr;ob>\n",
    ] {
        assert!(ended.out.contains(text), "{text}\n{}", ended.out);
    }
    let ended = why(&host, &[], &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&json["core"], &json["contacts"][0]["flow"]),
        (&serde_json::Value::Null, &"not-known".into())
    );
    assert!(why(&host, &[], &[]).out.contains("CORE_ADMIN_TOKEN is not set"));
    host.run(&["why", "alice"], "").fails(1, "NAME@DOMAIN");
}

#[test]
fn a_running_core_is_asked_why_with_its_token_and_its_certificate() {
    let host = Host::new();
    host.run(&["certs", "--dir", "pki", "core-1", "other"], "");
    register(&host, "alice@example.com");
    for is_secured in [false, true] {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut settings = vec![("CORE_ADMIN_TOKEN", "secret,older"), ("CORE_ADMIN", admin.as_str())];
        if is_secured {
            settings.extend([
                ("CORE_ADMIN_TLS_CERT", "pki/core-1.pem"),
                ("CORE_ADMIN_TLS_KEY", "pki/core-1-key.pem"),
            ]);
        }
        let mut serve = host.command(&["serve"]);
        serve
            .envs(settings.iter().copied())
            .env("CORE_NAME", "core-7")
            .env("CORE_LINK_LISTEN", "127.0.0.1:0");
        let _core = Running::start(serve);
        let ended = why(&host, &settings, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!((&json["core"], &json["user"]), (&"core-7".into(), &false.into()));
        assert_eq!(json["contacts"][0]["flow"], "unknown-edge");
        assert_eq!(json["call"]["answer"]["status"], 480, "no edge has a link to this core");
        let page = why(&host, &settings, &[]).out;
        assert!(page.contains("answered by  core-7, ") && page.contains("FAILS AT ONCE"), "{page}");

        settings[0].1 = "wrong";
        let page = why(&host, &settings, &[]).out;
        assert!(page.contains("the core refuses the CORE_ADMIN_TOKEN"), "{page}");
        settings[0].1 = "secret";
        if is_secured {
            settings[2].1 = "pki/other.pem";
            let page = why(&host, &settings, &[]).out;
            assert!(page.contains("the database alone"), "no other certificate is believed: {page}");
        }
    }
}

/// Stores a binding for an hour and one that is over.
fn register(host: &Host, aor: &str) {
    let now = UnixTime(node::clock::unix_now().as_secs());
    let path = ["<sip:token@edge-1;lr;ob>"];
    let binding = fixture::binding("sip:alice@192.0.2.1:5060", &path, now);
    let over = Binding { contact: "sip:alice@192.0.2.9".to_owned(), expires_at: now, ..binding.clone() };
    let record = Record { bindings: vec![binding, over], ..Record::default() };
    let save = Save { aor: Aor::parse(aor).unwrap(), expected: 0, record, changes: Vec::new() };
    with_runtime(async {
        let database = Database::open(&host.database_url()).await.unwrap();
        database.save(&[save]).await.unwrap();
        database.close().await;
    });
}

#[test]
fn the_schema_is_brought_up_to_date_once() {
    let host = Host::new();
    host.run(&["migrate", "--check"], "").fails(1, "pending");
    assert!(!host.path("signalbox.db").exists(), "a check changes nothing");
    let ended = host.run(&["migrate"], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with("the schema went from 0 to "), "{ended:?}");
    for arguments in [&["migrate", "--check"][..], &["migrate"]] {
        let ended = host.run(arguments, "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.starts_with("the schema is up to date at "), "{ended:?}");
    }
}

#[test]
fn certificates_are_made_once_and_kept() {
    let host = Host::new();
    let made = "made pki/edge-1.pem pki/edge-1-key.pem\nmade pki/core-1.pem pki/core-1-key.pem\n";
    host.run(&["certs", "--dir", "pki", "edge-1", "core-1", "edge-1"], "").prints(made);
    let [authority, edge] =
        ["pki/ca.pem", "pki/edge-1.pem"].map(|file| fs::read_to_string(host.path(file)).unwrap());

    let more = "kept pki/edge-1.pem pki/edge-1-key.pem\nmade pki/edge-2.pem pki/edge-2-key.pem\n";
    host.run(&["certs", "--dir", "pki", "edge-1", "edge-2"], "").prints(more);
    assert_eq!(fs::read_to_string(host.path("pki/ca.pem")).unwrap(), authority);
    assert_eq!(fs::read_to_string(host.path("pki/edge-1.pem")).unwrap(), edge);

    host.run(&["certs", "--dir", "pki", "../edge"], "").fails(1, "../edge");
    fs::rename(host.path("pki/ca-key.pem"), host.path("ca-key.pem")).unwrap();
    host.run(&["certs", "--dir", "pki", "edge-3"], "").fails(1, "ca-key.pem is not");
    assert!(!host.path("pki/ca-key.pem").exists(), "no CA that no node believes");
    host.run(&["certs", "--dir", "pki", "edge-1"], "").prints("kept pki/edge-1.pem pki/edge-1-key.pem\n");
}

#[test]
fn a_key_is_fresh_and_long_enough_for_a_cluster() {
    let host = Host::new();
    let [one, two] = [(); 2].map(|()| host.run(&["keys"], "").out);
    assert_ne!(one, two);
    let keys = format!("{},{}", one.trim_end(), two.trim_end());
    assert_eq!(run(host.command(&["check"]).env("CORE_CLUSTER_KEYS", keys), "").code, Some(0));
    // A key is what a configuration may be missing.
    let without = run(host.command(&["keys"]).env("CORE_CLUSTER_KEYS", "none yet"), "");
    assert_eq!(without.code, Some(0), "{without:?}");
}

#[test]
fn the_check_prints_every_setting_and_hides_secrets() {
    let host = Host::new();
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let [flag, command] = [&["--check"], &["check"]]
        .map(|arguments| run(host.command(arguments).env("CORE_CLUSTER_KEYS", key), ""));
    assert_eq!((flag.code, flag.err.as_str()), (Some(0), ""));
    assert_eq!(flag.out, command.out);
    assert!(flag.out.contains("CORE_CLUSTER_KEYS=***\n") && !flag.out.contains(key), "{}", flag.out);
    assert!(flag.out.contains("CORE_DOMAINS=example.com,example.net\n"), "{}", flag.out);
    assert!(!host.path("signalbox.db").exists(), "a check opens nothing");
}

#[test]
fn a_wrong_configuration_names_its_variable() {
    let host = Host::new();
    for (name, value, why) in [
        ("CORE_DOMAIN", "example.com", "CORE_DOMAINS"),
        ("CORE_LINK_LISTEN", "localhost", "localhost"),
        ("CORE_DATABASE_URL", "oracle://signalbox:geheim@db/signalbox", "sqlite"),
        ("CORE_DATABASE_URL", "mysql://signalbox:geheim@db:port/signalbox", "mysql"),
        ("CORE_CLUSTER_KEYS", "c2hvcnQ=", "bytes"),
        ("CORE_AUTH_NONCE_LIFETIME", "5", "5m"),
    ] {
        for arguments in [&["--check"][..], &["user", "list"], &[]] {
            let ended = run(host.command(arguments).env(name, value), "");
            ended.fails(78, &format!("{name}: "));
            assert!(ended.err.contains(why) && !ended.err.contains("geheim"), "{ended:?}");
        }
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_a_missing_dependency() {
    let host = Host::new();
    let url = format!("sqlite:{}", host.path("no/such/folder/signalbox.db").display());
    for arguments in [&["user", "list"][..], &["contacts", "list", "alice@example.com"], &["migrate"]] {
        run(host.command(arguments).env("CORE_DATABASE_URL", &url), "").fails(69, "CORE_DATABASE_URL");
    }
    // Nobody listens there.
    let url =
        "postgres://signalbox:geheim@127.0.0.1:1/signalbox,postgres://signalbox:geheim@127.0.0.1:2/signalbox";
    let ended = run(host.command(&["user", "list"]).env("CORE_DATABASE_URL", url), "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""), "{ended:?}");
    let last = ended.err.lines().last().unwrap();
    assert!(last.starts_with("CORE_DATABASE_URL: ") && last.contains("127.0.0.1:2"), "{ended:?}");
    assert!(!ended.err.contains("geheim"), "{ended:?}");
}
