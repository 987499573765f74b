//! The API of a core, asked as an operator asks it: over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;
mod fixture;

use std::net::SocketAddr;
use std::sync::Arc;

use core_registrar::admin::{self, Api, PATHS, openapi};
use core_registrar::engine::{Core, Input, Output};
use core_registrar::inquiries::Inquiries;
use link::PeerId;
use location::{Answer, ChangeFeed, Database, Directory, LocationStore, Query, Save, User};
use node::admin::axum;
use node::config::Secret;
use node::{clock, shard};
use registrar::{Binding, Record, UnixTime};
use serde_json::{Value, json};
use sip::Aor;
use sip::digest::{Algorithm, ha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transaction::Timers;

/// An API on loopback with a database of its own.
struct Host {
    address: SocketAddr,
    database: Arc<Database>,
}

/// An engine with one edge, and the way to it.
fn engine(database: Arc<Database>) -> Arc<Inquiries> {
    let (inbox, receiver) = shard::inbox(64);
    let engine = Core::new(common::settings(), Timers::default(), [2; 32], clock::now(), clock::unix_now());
    let inquiries = Arc::new(Inquiries::new(vec![inbox.clone()]));
    let answers = Arc::clone(&inquiries);
    inbox.deliver(Input::EdgeUp { edge: PeerId(1), name: "edge-1".to_owned(), advertised: Vec::new() });
    let perform = move |output| match output {
        Output::Ask(id, Query::Lookup { aor, user: Some(user) }) => {
            let (database, inbox) = (Arc::clone(&database), inbox.clone());
            tokio::spawn(async move {
                let (mut records, mut users) = database.lookup(&[aor], &[user]).await.unwrap();
                let (record, credentials) = (records.remove(0), Some(users.remove(0)));
                inbox
                    .deliver(Input::Answer(id, Answer::Loaded { record, credentials, is_last_known: false }));
            });
        }
        Output::Why(id, why) => answers.answer(id, why),
        other => panic!("nobody has called: {other:?}"),
    };
    tokio::spawn(shard::run(engine, receiver, perform, std::future::pending()));
    inquiries
}

/// Status, head in lower case, and body.
type Answered = (u16, String, String);

impl Host {
    async fn start(tokens: &str) -> Self {
        let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
        database.begin().await.unwrap();
        let inquiries = engine(Arc::clone(&database));
        let domains = ["example.com".to_owned()].into();
        let api = Api { database: Arc::clone(&database), domains, inquiries, feed: None };
        let routes = admin::routes(Arc::new(api), &Secret::new(tokens));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, database }
    }

    async fn send(&self, token: &str, method: &str, path: &str, kind: &str, body: &str) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let token =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: core\r\nConnection: close\r\n{token}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.send("secret", method, path, "application/json", body).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn users(&self) -> Vec<String> {
        let users = self.database.users(None, 1_000).await.unwrap();
        users.into_iter().map(|user| user.name).collect()
    }
}

#[tokio::test]
async fn only_a_token_opens_it() {
    let host = Host::start("secret, older").await;
    for (token, status) in [("", 401), ("wrong", 401), ("secret", 200), ("older", 200)] {
        let (found, head, body) = host.send(token, "GET", "/v1/users", "", "").await;
        assert_eq!(found, status, "{token}");
        if status == 401 {
            assert!(head.contains("\r\nwww-authenticate: bearer"), "{head}");
            assert!(head.contains("\r\ncontent-type: application/problem+json"), "{head}");
            assert!(!body.contains("secret"), "{body}");
        }
    }
    let closed = Host::start("").await;
    let (status, _, body) = closed.send("secret", "GET", "/v1/users", "", "").await;
    assert_eq!(status, 403);
    assert!(body.contains("CORE_ADMIN_TOKEN"), "{body}");
}

#[tokio::test]
async fn a_user_comes_changes_and_goes() {
    let host = Host::start("secret").await;
    let alice = "/v1/users/alice@example.com";
    assert_eq!(host.ask("GET", alice, "").await.0, 404);
    assert_eq!(host.ask("PUT", alice, r#"{"password":"one"}"#).await.0, 201);
    assert_eq!(host.ask("PUT", alice, r#"{"password":"two"}"#).await.0, 204);
    assert_eq!(host.ask("PUT", alice, r#"{"password":"two"}"#).await.0, 204);
    let key = User { name: "alice".to_owned(), realm: "example.com".to_owned() };
    let stored = host.database.credentials(&[key]).await.unwrap().remove(0).unwrap();
    assert_eq!(stored.ha1_sha256, ha1(Algorithm::Sha256, "alice", "example.com", "two"));
    let (status, shown) = host.ask("GET", alice, "").await;
    assert_eq!(status, 200);
    assert_eq!(shown, json!({ "address": "alice@example.com", "algorithms": ["SHA-256", "MD5"] }));
    let md5_only = format!(r#"{{"ha1_md5":"{}"}}"#, stored.ha1_md5);
    assert_eq!(host.ask("PUT", alice, &md5_only).await.0, 204);
    assert_eq!(host.ask("GET", alice, "").await.1["algorithms"], json!(["MD5"]));
    assert_eq!(host.ask("DELETE", alice, "").await.0, 204);
    assert_eq!(host.ask("DELETE", alice, "").await.0, 204);
    assert_eq!(host.ask("GET", alice, "").await.0, 404);
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_shows_no_secret() {
    let host = Host::start("secret").await;
    for (path, body) in [
        ("/v1/users/alice", r#"{"password":"geheim"}"#),
        ("/v1/users/alice@example.org", r#"{"password":"geheim"}"#),
        ("/v1/users/alice@example.com", r#"{"password":"geheim""#),
        ("/v1/users/alice@example.com", r#"{"passwort":"geheim"}"#),
        ("/v1/users/alice@example.com", r#"{"geheim":1}"#),
        ("/v1/users/alice@example.com", r#"{"password":""}"#),
        ("/v1/users/alice@example.com", r#"{"ha1_md5":"geheim"}"#),
        ("/v1/users/alice@example.com", r#"{"address":"bob@example.com","password":"geheim"}"#),
    ] {
        let (status, problem) = host.ask("PUT", path, body).await;
        assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{path} {body}");
        assert!(!problem.to_string().contains("geheim"), "{problem}");
    }
    assert!(host.users().await.is_empty());
}

#[tokio::test]
async fn many_users_come_at_once_or_not_at_all() {
    let host = Host::start("secret").await;
    let lines: String = (0..2_500)
        .map(|n| format!("{{\"address\":\"u{n:05}@example.com\",\"password\":\"p{n}\"}}\n"))
        .collect();
    let bad = format!("{lines}{{\"address\":\"u@example.org\",\"password\":\"geheim\"}}\n");
    let (status, problem) = host.ask("POST", "/v1/users/import", &bad).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().starts_with("line 2501: "), "{problem}");
    assert!(host.users().await.is_empty());
    for _ in 0..2 {
        let (status, answer) = host.ask("POST", "/v1/users/import", &lines).await;
        assert_eq!((status, answer), (200, json!({ "imported": 2_500 })));
    }
    let csv = "username,domain,ha1\nzoe,example.com,00000000000000000000000000000000\n";
    let (status, ..) = host.send("secret", "POST", "/v1/users/import", "text/csv; charset=utf-8", csv).await;
    assert_eq!(status, 200);

    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let (status, page) = host.ask("GET", &format!("/v1/users?limit=700{after}"), "").await;
        assert_eq!(status, 200);
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 700);
        found.extend(users.iter().map(|user| user.as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let mut sorted = found.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((found.len(), found), (2_501, sorted));
    let (_, none) = host.ask("GET", "/v1/users?domain=example.net", "").await;
    assert_eq!(none, json!({ "users": [], "next": null }));
    assert_eq!(host.ask("GET", "/v1/users?limit=x", "").await.0, 400);
}

#[tokio::test]
async fn a_domain_comes_and_goes_with_its_users() {
    let host = Host::start("secret").await;
    let carol = ("/v1/users/carol@example.org", r#"{"password":"one"}"#);
    assert_eq!(host.ask("PUT", carol.0, carol.1).await.0, 400, "not ours yet");
    assert_eq!(host.ask("GET", "/v1/domains/example.org", "").await.0, 404);
    assert_eq!(host.ask("PUT", "/v1/domains/Example.ORG", "").await.0, 201);
    assert_eq!(host.ask("PUT", "/v1/domains/example.org", "").await.0, 204);
    let (_, shown) = host.ask("GET", "/v1/domains/example.org.", "").await;
    assert_eq!(shown, json!({ "domain": "example.org", "configured": false, "stored": true }));
    let (_, all) = host.ask("GET", "/v1/domains", "").await;
    let names: Vec<_> = all["domains"].as_array().unwrap().iter().map(|it| &it["domain"]).collect();
    assert_eq!(names, ["example.com", "example.org"]);
    assert_eq!(host.ask("PUT", carol.0, carol.1).await.0, 201);
    for _ in 0..2 {
        assert_eq!(host.ask("DELETE", "/v1/domains/example.org", "").await.0, 204);
    }
    assert_eq!(host.users().await, ["carol"], "she is there when the domain comes back");
    assert_eq!(host.ask("PUT", carol.0, carol.1).await.0, 400);
    assert_eq!(host.ask("DELETE", "/v1/domains/example.com", "").await.0, 409, "CORE_DOMAINS has it");
    for path in ["/v1/domains/two%20words", "/v1/domains/example.com:5060", "/v1/domains/a@b"] {
        assert_eq!(host.ask("PUT", path, "").await.0, 400, "{path}");
    }
}

fn binding() -> Binding {
    let now = UnixTime(clock::unix_now().as_secs());
    fixture::binding("sip:alice@192.0.2.1:5060", &["<sip:t@edge-1;lr;ob>"], now)
}

#[tokio::test]
async fn contacts_are_shown_and_removed() {
    let host = Host::start("secret").await;
    let record = Record { bindings: vec![binding()], ..Record::default() };
    let aor = Aor::parse("alice@example.com").unwrap();
    let save = Save { aor: aor.clone(), expected: 0, record, changes: Vec::new() };
    host.database.save(&[save]).await.unwrap();
    let (status, shown) = host.ask("GET", "/v1/contacts/alice@example.com", "").await;
    assert_eq!(status, 200);
    assert_eq!(shown["contacts"][0]["contact"], "sip:alice@192.0.2.1:5060");
    assert_eq!(shown["contacts"][0]["path"], json!(["<sip:t@edge-1;lr;ob>"]));
    for (contact, status, left) in [
        ("sip%3Aalice%40192.0.2.1%3A5061", 204, 1),
        ("alice", 400, 1),
        ("sip:alice@192.0.2.1:5060;transport=udp", 204, 1),
        ("SIP%3Aalice@192.0.2.1:5060", 204, 0),
        ("sip:alice@192.0.2.1:5060", 204, 0),
    ] {
        let path = format!("/v1/contacts/alice@example.com?contact={contact}");
        assert_eq!(host.ask("DELETE", &path, "").await.0, status, "{contact}");
        let (_, shown) = host.ask("GET", "/v1/contacts/alice@example.com", "").await;
        assert_eq!(shown["contacts"].as_array().map(Vec::len), Some(left), "{contact}");
    }
    assert_eq!(host.ask("DELETE", "/v1/contacts/alice@example.com?contakt=x", "").await.0, 400);
    for _ in 0..2 {
        assert_eq!(host.ask("DELETE", "/v1/contacts/alice@example.com", "").await.0, 204);
        let (status, shown) = host.ask("GET", "/v1/contacts/alice@example.com", "").await;
        assert_eq!((status, shown), (200, json!({ "contacts": [] })));
    }
}

#[tokio::test]
async fn why_is_told_by_the_engine_with_its_links() {
    let host = Host::start("secret").await;
    let elsewhere = Binding {
        contact: "sip:alice@192.0.2.2".to_owned(),
        path: vec!["<sip:t@edge-2;lr;ob>".to_owned()],
        q: 500,
        ..binding()
    };
    let record = Record { bindings: vec![elsewhere, binding()], ..Record::default() };
    let aor = Aor::parse("alice@example.com").unwrap();
    host.database.save(&[Save { aor, expected: 0, record, changes: vec![] }]).await.unwrap();
    let (status, why) = host.ask("GET", "/v1/why/alice@example.com", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&why["core"], &why["user"], &why["store"]),
        (&json!("core-1"), &json!(false), &json!("database"))
    );
    let contacts: Vec<_> =
        why["contacts"].as_array().unwrap().iter().map(|it| (&it["contact"], &it["flow"])).collect();
    assert_eq!(
        contacts,
        [
            (&json!("sip:alice@192.0.2.1:5060"), &json!("open")),
            (&json!("sip:alice@192.0.2.2"), &json!("unknown-edge")),
        ]
    );
    let way = json!({
        "contact": 1,
        "request_uri": "sip:alice@192.0.2.1:5060",
        "route": ["<sip:t@edge-1;lr;ob>"],
        "edge": "edge-1",
    });
    assert_eq!(why["call"]["groups"][0], json!({ "q": 1000, "branches": [{ "ways": [way] }] }));
    assert_eq!(why["call"]["groups"][1]["branches"][0]["ways"][0]["edge"], Value::Null);
    assert_eq!(why["call"]["answer"], Value::Null);
    assert_eq!(host.ask("GET", "/v1/why/alice", "").await.0, 400);
    let (status, why) = host.ask("GET", "/v1/why/zoe%2Dx@example.com", "").await;
    assert_eq!((status, &why["call"]["answer"]["status"]), (200, &json!(404)));
}

/// The document says of everything that is told that it is there.
#[tokio::test]
async fn what_is_told_is_what_the_contract_requires() {
    let host = Host::start("secret").await;
    let record = Record { bindings: vec![binding()], ..Record::default() };
    let aor = Aor::parse("alice@example.com").unwrap();
    host.database.save(&[Save { aor, expected: 0, record, changes: vec![] }]).await.unwrap();
    let (_, why) = host.ask("GET", "/v1/why/alice@example.com", "").await;
    let schemas = &serde_json::from_str::<Value>(openapi::DOCUMENT).unwrap()["components"]["schemas"];
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let required = |schema: &Value| -> Vec<String> {
        let mut names: Vec<_> = schema["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let bound = &schemas["Why"]["properties"]["contacts"]["items"];
    let mut of_bound = [required(&schemas["Contact"]), required(bound)].concat();
    of_bound.sort_unstable();
    assert_eq!(keys(&why), required(&schemas["Why"]));
    assert_eq!(keys(&why["contacts"][0]), of_bound);
    assert_eq!(keys(&why["call"]), required(&schemas["Call"]));
    let (_, nobody) = host.ask("GET", "/v1/why/zoe@example.com", "").await;
    assert_eq!(keys(&nobody["call"]["answer"]), required(&schemas["Refusal"]));
}

/// The document has every route and no other; its examples are accepted and its required fields are there.
#[tokio::test]
async fn the_contract_is_what_is_served() {
    let host = Host::start("secret").await;
    let (status, _, served) = host.send("", "GET", "/v1/openapi.json", "", "").await;
    assert_eq!((status, served.as_str()), (200, openapi::DOCUMENT));
    let document: Value = serde_json::from_str(&served).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut routes = PATHS.to_vec();
    routes.sort_unstable();
    assert_eq!(paths.keys().map(String::as_str).collect::<Vec<_>>(), routes);

    for (path, item) in paths {
        let path = path
            .replace("{address}", "alice@example.com")
            .replace("{domain}", "example.net")
            .replace("{consumer}", "billing");
        for method in ["get", "put", "post", "delete"] {
            let operation = &item[method];
            let (status, head, _) =
                host.send("secret", &method.to_uppercase(), &path, "application/json", "").await;
            assert_eq!(operation.is_null(), status == 405, "{method} {path}: {status}");
            assert!(
                status < 400 || status == 405 || head.contains("problem+json"),
                "{method} {path}: {head}"
            );
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            for (kind, media) in content {
                let example = match &media["example"] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let (status, _, body) =
                    host.send("secret", &method.to_uppercase(), &path, kind, &example).await;
                assert!((200..300).contains(&status), "{method} {path} {kind}: {status} {body}");
            }
        }
    }
}
