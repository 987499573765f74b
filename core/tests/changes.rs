//! The change feed as those who follow it see it: over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod fixture;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use core_registrar::admin::{self, Api};
use core_registrar::feed::Feed;
use core_registrar::inquiries::Inquiries;
use location::{ChangeFeed, Database, LocationStore, Save, Saved};
use node::admin::axum;
use node::config::Secret;
use node::metrics::Registry;
use registrar::change::{BindingEvent, between};
use registrar::{Binding, Record, UnixTime};
use serde_json::{Value, json};
use sip::Aor;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A core's API on loopback with a database of its own, and its feed.
struct Host {
    address: SocketAddr,
    database: Arc<Database>,
}

impl Host {
    async fn start() -> Self {
        let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
        database.begin().await.unwrap();
        let feed = Arc::new(Feed::new(Arc::clone(&database), &Registry::new("core")));
        let running = Arc::clone(&feed);
        tokio::spawn(async move { running.run(Duration::from_secs(1 << 40)).await });
        Self::serve(database, Some(feed)).await
    }

    async fn serve(database: Arc<Database>, feed: Option<Arc<Feed>>) -> Self {
        let domains = ["example.com".to_owned()].into();
        let inquiries = Arc::new(Inquiries::new(Vec::new()));
        let api = Api { database: Arc::clone(&database), domains, inquiries, feed };
        let routes = admin::routes(Arc::new(api), &Secret::new("secret"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, database }
    }

    /// Saves the bindings of a user as the next ones after `before`.
    async fn save(&self, user: &str, before: &Record, bindings: Vec<Binding>) -> Record {
        let changes = between(&before.bindings, &bindings, BindingEvent::Unregistered, UnixTime(1_000));
        let record = Record { bindings, ..Record::default() };
        let save = Save { aor: aor(user), expected: before.version, record: record.clone(), changes };
        match self.database.save(&[save]).await.unwrap()[..] {
            [Saved::Version(version)] => Record { version, ..record },
            ref other => panic!("{other:?}"),
        }
    }

    /// Asks until it is no longer 503: the feed begins when it has found the database.
    async fn open(&self, query: &str, headers: &str) -> Stream {
        loop {
            let stream = Stream::open(self.address, query, headers).await;
            if stream.status != 503 {
                return stream;
            }
        }
    }

    async fn status(&self, query: &str, headers: &str) -> u16 {
        self.open(query, headers).await.status
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nAuthorization: Bearer secret\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// An answer that goes on. HTTP/1.0 has no chunks, so what comes is what was written.
struct Stream {
    reader: BufReader<TcpStream>,
    status: u16,
    kind: String,
}

impl Stream {
    async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /v1/changes{query} HTTP/1.0\r\nAuthorization: Bearer secret\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut this = Self { reader: BufReader::new(stream), status: 0, kind: String::new() };
        this.status = this.line().await.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        loop {
            let line = this.line().await.unwrap();
            if line.is_empty() {
                return this;
            }
            if let Some(kind) = line.to_lowercase().strip_prefix("content-type: ") {
                this.kind = kind.to_owned();
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).await.unwrap();
        (count > 0).then(|| line.trim_end().to_owned())
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await.unwrap()).unwrap()
    }

    /// To its end.
    async fn rest(mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        rest
    }
}

fn aor(user: &str) -> Aor {
    Aor::parse(&format!("{user}@example.com")).unwrap()
}

fn binding(contact: &str) -> Binding {
    let at = UnixTime(1_000);
    Binding { expires_at: UnixTime(1 << 40), ..fixture::binding(contact, &["<sip:t@edge-1;lr;ob>"], at) }
}

fn flow(contact: &str) -> Binding {
    Binding { instance: Some("<urn:uuid:1>".to_owned()), reg_id: Some(2), ..binding(contact) }
}

/// Event and position.
fn told(line: &Value) -> (&str, Option<u64>) {
    (line["event"].as_str().unwrap(), line["position"].as_u64())
}

#[tokio::test]
async fn a_feed_that_is_off_says_so() {
    let database = Arc::new(Database::open("sqlite::memory:").await.unwrap());
    let host = Host::serve(database, None).await;
    let mut stream = host.open("", "").await;
    assert_eq!((stream.status, stream.kind.as_str()), (409, "application/problem+json"));
    assert!(stream.line().await.unwrap().contains("CORE_CHANGE_FEED"));
}

#[tokio::test]
async fn a_newcomer_has_everything_first_and_then_what_happens() {
    let host = Host::start().await;
    let over = Binding { expires_at: UnixTime(1_000), ..binding("sip:over@192.0.2.1") };
    let alice = host.save("alice", &Record::default(), vec![flow("sip:a@192.0.2.1"), over]).await;
    host.save("bob", &Record::default(), vec![binding("sip:b@192.0.2.1")]).await;
    // They are in the feed before the newcomer comes.
    while host.database.head().await.unwrap() < 4 {
        tokio::task::yield_now().await;
    }
    let mut stream = host.open("", "").await;
    assert_eq!((stream.status, stream.kind.as_str()), (200, "application/x-ndjson"));
    let first = stream.json().await;
    assert_eq!(told(&first), ("bound", None));
    assert_eq!(
        (&first["address"], &first["key"]),
        (&json!("alice@example.com"), &json!("<urn:uuid:1>;reg-id=2"))
    );
    assert_eq!(first["version"], alice.version);
    assert_eq!(first["contact"]["contact"], "sip:a@192.0.2.1");
    assert_eq!(first["contact"]["path"], json!(["<sip:t@edge-1;lr;ob>"]));
    assert_eq!(first["contact"]["expires_at"], json!(1_u64 << 40));
    let second = stream.json().await;
    assert_eq!((&second["address"], &second["key"]), (&json!("bob@example.com"), &json!("sip:b@192.0.2.1")));
    assert_eq!(told(&stream.json().await), ("live", Some(4)));

    let moved = Binding { edge: "edge-2".to_owned(), ..flow("sip:a@192.0.2.2") };
    let next = host.save("alice", &alice, vec![moved]).await;
    host.save("alice", &next, vec![]).await;
    let events = [stream.json().await, stream.json().await, stream.json().await];
    assert_eq!(
        [told(&events[0]), told(&events[1]), told(&events[2])],
        [("expired", Some(5)), ("moved", Some(6)), ("unregistered", Some(7))]
    );
    assert_eq!((&events[1]["at"], &events[1]["version"]), (&json!(1_000), &json!(next.version)));
    assert_eq!(events[1]["contact"]["edge"], "edge-2");
    assert_eq!(events[1]["key"], events[2]["key"]);
}

#[tokio::test]
async fn who_was_cut_off_goes_on_from_his_position() {
    let host = Host::start().await;
    let mut record = Record::default();
    for n in 0..600 {
        record = host.save("alice", &record, vec![flow(&format!("sip:{n}@192.0.2.1"))]).await;
    }
    let mut stream = host.open("?after=1", "").await;
    for position in 2..=601 {
        assert_eq!(stream.json().await["position"], position);
    }
    drop(stream);
    let rest = host.open("?after=599&follow=false", "").await.rest().await;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), [("moved", Some(600)), ("moved", Some(601))]);
    assert_eq!(host.open("?after=601&follow=false", "").await.rest().await, [Value::Null; 0]);
    assert_eq!(host.open("?snapshot=false&follow=false", "").await.rest().await, [Value::Null; 0]);
    let snapshot = host.open("?snapshot=true&follow=false", "").await.rest().await;
    assert_eq!(snapshot.iter().map(told).collect::<Vec<_>>(), [("bound", None), ("live", Some(601))]);
}

#[tokio::test]
async fn a_position_that_is_not_there_is_gone() {
    let host = Host::start().await;
    let mut record = Record::default();
    for n in 0..5 {
        record = host.save("alice", &record, vec![flow(&format!("sip:{n}@192.0.2.1"))]).await;
    }
    while host.database.head().await.unwrap() < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.status("?after=7", "").await, 410, "nobody was given that");
    assert_eq!(host.status("?after=1", "").await, 200);
    host.database.trim(UnixTime(1_000), 2).await.unwrap();
    assert_eq!(host.status("?after=1", "").await, 410);
    assert_eq!(host.status("?after=3", "").await, 200);
    host.database
        .put_consumer(&location::feed::Consumer {
            name: "late".to_owned(),
            position: 2,
            updated_at: UnixTime(1),
        })
        .await
        .unwrap();
    assert_eq!(host.status("?consumer=late", "").await, 410);
    assert_eq!(host.status("?consumer=late&snapshot=true", "").await, 200, "the way out");
}

#[tokio::test]
async fn events_have_ids_and_a_browser_goes_on_from_the_last_one() {
    let host = Host::start().await;
    let record = host.save("alice", &Record::default(), vec![flow("sip:a@192.0.2.1")]).await;
    while host.database.head().await.unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    let accept = "Accept: text/event-stream\r\n";
    let mut stream = host.open("", accept).await;
    assert_eq!(stream.kind, "text/event-stream");
    let bound = stream.line().await.unwrap();
    assert!(bound.starts_with("data: {\"event\":\"bound\"") && !bound.contains('\n'), "no id: {bound}");
    assert_eq!(stream.line().await.unwrap(), "");
    assert_eq!(stream.line().await.unwrap(), "id: 2");
    assert_eq!(stream.line().await.unwrap(), "data: {\"event\":\"live\",\"position\":2}");
    assert_eq!(stream.line().await.unwrap(), "");
    drop(stream);
    host.save("alice", &record, vec![]).await;
    // The URL is that of the first time.
    let mut again = host.open("?snapshot=true", &format!("{accept}Last-Event-ID: 2\r\n")).await;
    assert_eq!(again.line().await.unwrap(), "id: 3");
    assert!(again.line().await.unwrap().starts_with("data: {\"event\":\"unregistered\",\"position\":3"));
}

#[tokio::test]
async fn a_consumer_goes_on_where_it_has_said_to_be() {
    let host = Host::start().await;
    let mut record = Record::default();
    for n in 0..3 {
        record = host.save("alice", &record, vec![flow(&format!("sip:{n}@192.0.2.1"))]).await;
    }
    while host.database.head().await.unwrap() < 4 {
        tokio::task::yield_now().await;
    }
    let snapshot = host.open("?consumer=billing&follow=false", "").await.rest().await;
    assert_eq!(snapshot.iter().map(told).collect::<Vec<_>>(), [("bound", None), ("live", Some(4))]);
    let billing = "/v1/consumers/billing";
    assert_eq!(host.ask("PUT", billing, r#"{"position":4}"#).await.0, 204);
    assert_eq!(host.open("?consumer=billing&follow=false", "").await.rest().await, [Value::Null; 0]);
    assert_eq!(host.ask("PUT", billing, r#"{"position":3}"#).await.0, 204);
    let rest = host.open("?consumer=billing&follow=false", "").await.rest().await;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), [("moved", Some(4))]);
    let (_, all) = host.ask("GET", "/v1/consumers", "").await;
    let own = &all["consumers"][0];
    assert_eq!(
        (&all["head"], &own["consumer"], &own["position"], &own["lag"]),
        (&json!(4), &json!("billing"), &json!(3), &json!(1))
    );
    assert_eq!(host.ask("DELETE", billing, "").await.0, 204);
    assert_eq!(host.ask("GET", "/v1/consumers", "").await.1["consumers"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let host = Host::start().await;
    for query in [
        "?after=x",
        "?after=-1",
        "?later=1",
        "?after=1&snapshot=true",
        "?after=1&consumer=a",
        "?consumer=a%20b",
    ] {
        assert_eq!(host.status(query, "").await, 400, "{query}");
    }
    assert_eq!(host.status("", "Last-Event-ID: x\r\n").await, 400);
    for (path, body) in [
        ("/v1/consumers/billing", r#"{"position":99}"#),
        ("/v1/consumers/billing", r#"{"position":"1"}"#),
        ("/v1/consumers/billing", "{}"),
        ("/v1/consumers/two%20words", r#"{"position":1}"#),
    ] {
        assert_eq!(host.ask("PUT", path, body).await.0, 400, "{path} {body}");
    }
}

#[tokio::test]
async fn removing_contacts_is_told() {
    let host = Host::start().await;
    host.save("alice", &Record::default(), vec![flow("sip:a@192.0.2.1")]).await;
    let mut stream = host.open("?after=1", "").await;
    assert_eq!(told(&stream.json().await), ("registered", Some(2)));
    assert_eq!(host.ask("DELETE", "/v1/contacts/alice@example.com", "").await.0, 204);
    assert_eq!(told(&stream.json().await), ("deactivated", Some(3)));
}

/// Whoever keeps the newest of each address, by version, has what the database has, also with a snapshot taken in the midst of changes.
#[tokio::test]
async fn a_copy_that_follows_from_a_snapshot_is_the_database() {
    let host = Arc::new(Host::start().await);
    let writing = tokio::spawn({
        let host = Arc::clone(&host);
        async move {
            let mut records: BTreeMap<usize, Record> = BTreeMap::new();
            for n in 0..400_usize {
                let user = n * 7 % 11;
                let before = records.remove(&user).unwrap_or_default();
                let contacts = (0..n % 3).map(|c| binding(&format!("sip:{}@192.0.2.{c}", n / 50))).collect();
                let after = host.save(&format!("u{user}"), &before, contacts).await;
                records.insert(user, after);
            }
        }
    });
    while host.database.head().await.unwrap() < 50 {
        tokio::task::yield_now().await;
    }
    let mut stream = host.open("", "").await;
    let mut copy = BTreeMap::new();
    let mut at = 0;
    let mut writing = Some(writing);
    loop {
        let line = stream.json().await;
        let key = (line["address"].to_string(), line["key"].to_string());
        match line["event"].as_str().unwrap() {
            "bound" | "registered" | "refreshed" | "moved" => {
                copy.insert(key, line["contact"]["contact"].clone());
            }
            "unregistered" | "expired" => drop(copy.remove(&key)),
            "live" => writing.take().unwrap().await.unwrap(),
            other => panic!("{other}"),
        }
        at = line["position"].as_u64().unwrap_or(at);
        if writing.is_none()
            && at == host.database.head().await.unwrap()
            && host.database.sequence(1).await.unwrap().count == 0
        {
            break;
        }
    }
    let mut truth = BTreeMap::new();
    for (aor, record) in host.database.list(None, 100).await.unwrap().items {
        for own in record.bindings {
            let address = json!(format!("{}@{}", aor.user(), aor.domain())).to_string();
            truth.insert((address, json!(own.contact).to_string()), json!(own.contact));
        }
    }
    assert_eq!(copy, truth);
}
