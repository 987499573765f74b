//! What the engine gives the store for the change feed: every step of a binding has its name (RFC 3261 §10.3 step 7), and is saved
//! with the record.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::{Core, Input, Output};
use core_registrar::settings::Settings;
use link::PeerId;
use location::{Credentials, Memory, Query, User};
use node::Engine as _;
use registrar::UnixTime;
use registrar::change::BindingChange;
use registrar::change::BindingEvent::{self, Expired, Moved, Refreshed, Registered, Unregistered};
use sip::digest::{Algorithm, ha1};
use sip::{Message, Name, parse};
use transaction::Timers;

const BEGIN: u64 = 1_000;

/// An engine, the store, and what alice's phone knows.
struct Host {
    core: Core,
    store: Memory,
    at: Instant,
    unix: u64,
    cseq: u32,
    nonce: String,
    /// What the store was given for the feed.
    told: Vec<BindingChange>,
}

impl Host {
    fn new(change_feed: bool) -> Self {
        let at = node::clock::now();
        let settings = Settings { change_feed, ..common::settings() };
        let mut core = Core::new(settings, Timers::default(), [2; 32], at, Duration::from_secs(BEGIN));
        for number in [1, 2] {
            let (edge, name) = (PeerId(number), format!("edge-{number}"));
            core.handle(Input::EdgeUp { edge, name, advertised: Vec::new() }, at);
        }
        let store = Memory::default();
        let user = User { name: "alice".to_owned(), realm: "example.com".to_owned() };
        let ha1_sha256 = ha1(Algorithm::Sha256, "alice", "example.com", "secret");
        store.put_user(user, Credentials { ha1_md5: String::new(), ha1_sha256 });
        Self { core, store, at, unix: BEGIN, cseq: 0, nonce: "none".to_owned(), told: Vec::new() }
    }

    /// Does what the engine wants done, and gives the status that it has answered.
    fn work(&mut self) -> Option<u16> {
        let mut status = None;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Ask(id, query) => {
                    if let Query::Save(save) = &query {
                        self.told.extend(save.changes.iter().cloned());
                    }
                    let answer = self.store.answer(query);
                    self.core.handle(Input::Answer(id, answer), self.at);
                }
                Output::ToEdge { bytes, .. } => {
                    let Ok(Message::Response(response)) = parse::message(bytes, &parse::Limits::default())
                    else {
                        continue;
                    };
                    if let Some(line) = response.headers.get(Name::WwwAuthenticate) {
                        let line = String::from_utf8_lossy(line).into_owned();
                        let nonce = line.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
                        self.nonce = nonce.unwrap().to_owned();
                    }
                    status = Some(response.status.code());
                }
                Output::Report(_) | Output::Notify(_) | Output::Why(..) => {}
            }
        }
        status
    }

    /// alice registers so through this edge.
    fn register(&mut self, edge: u32, contact: &str) -> Vec<Told> {
        if self.send(edge, contact) == Some(401) {
            assert_eq!(self.send(edge, contact), Some(200), "{contact}");
        }
        self.news()
    }

    fn send(&mut self, edge: u32, contact: &str) -> Option<u16> {
        self.cseq += 1;
        let Self { cseq, nonce, .. } = &*self;
        let own = ha1(Algorithm::Sha256, "alice", "example.com", "secret");
        let ha2 = ha1(Algorithm::Sha256, "REGISTER", "sip", "example.com");
        let response = ha1(Algorithm::Sha256, &own, &format!("{nonce}:{cseq:08x}:c:auth"), &ha2);
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS edge-{edge};branch=z9hG4bK{cseq}\r\n\
             From: <sip:alice@example.com>;tag=a\r\nTo: <sip:alice@example.com>\r\nCall-ID: c\r\n\
             CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\nSupported: path, outbound\r\n\
             Path: <sip:t@edge-{edge};lr;ob>\r\nAuthorization: Digest username=\"alice\", \
             realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:example.com\", response=\"{response}\", \
             algorithm=SHA-256, cnonce=\"c\", qop=auth, nc={cseq:08x}\r\n\
             Contact: {contact}\r\nContent-Length: 0\r\n\r\n"
        );
        let message = parse::message(Bytes::from(text), &parse::Limits::default()).unwrap();
        let (source, local) = (String::new(), String::new());
        self.core.handle(Input::FromEdge { edge: PeerId(edge), message, source, local }, self.at);
        self.work()
    }

    /// So many seconds later the store has found the record due.
    fn is_due_after(&mut self, seconds: u64) -> Vec<Told> {
        self.wait(seconds);
        let due = self.store.due_records(UnixTime(self.unix), 10);
        assert_eq!(due.len(), 1);
        self.core.handle(Input::Due(due), self.at);
        self.work();
        self.news()
    }

    fn wait(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
        self.unix += seconds;
        self.core.handle_timeout(self.at);
        self.work();
    }

    /// What was told since the last time.
    fn news(&mut self) -> Vec<Told> {
        let now = UnixTime(self.unix);
        let changes = self.told.drain(..);
        changes
            .map(|change| {
                assert_eq!(change.at, now);
                (change.event, change.binding.contact, change.binding.edge)
            })
            .collect()
    }
}

/// What happened to which contact, and the edge it has, or had last.
type Told = (BindingEvent, String, String);

fn told(event: BindingEvent, contact: &str, edge: &str) -> Told {
    (event, contact.to_owned(), edge.to_owned())
}

const FLOW: &str = "+sip.instance=\"<urn:uuid:1>\";reg-id=1";

#[test]
fn a_contact_is_registered_refreshed_and_removed() {
    let mut host = Host::new(true);
    let contact = "<sip:a@192.0.2.1>";
    assert_eq!(host.register(1, contact), [told(Registered, "sip:a@192.0.2.1", "edge-1")]);
    host.wait(10);
    assert_eq!(host.register(1, contact), [told(Refreshed, "sip:a@192.0.2.1", "edge-1")]);
    let gone = host.register(1, "<sip:a@192.0.2.1>;expires=0");
    assert_eq!(gone, [told(Unregistered, "sip:a@192.0.2.1", "edge-1")]);
    assert_eq!(host.register(1, "<sip:a@192.0.2.1>;expires=0"), [], "it was gone");
}

#[test]
fn a_contact_that_is_reached_another_way_has_moved() {
    let mut host = Host::new(true);
    host.register(1, &format!("<sip:a@192.0.2.1>;{FLOW}"));
    // RFC 5626 §6: the same instance and reg-id is the same binding.
    let moved = host.register(1, &format!("<sip:a@192.0.2.2>;{FLOW}"));
    assert_eq!(moved, [told(Moved, "sip:a@192.0.2.2", "edge-1")]);
    let moved = host.register(2, &format!("<sip:a@192.0.2.2>;{FLOW}"));
    assert_eq!(moved, [told(Moved, "sip:a@192.0.2.2", "edge-2")]);
}

#[test]
fn all_contacts_that_go_are_told_one_by_one() {
    let mut host = Host::new(true);
    let both = "<sip:a@192.0.2.1>;expires=100, <sip:b@192.0.2.1>;expires=200";
    let [a, b] = ["sip:a@192.0.2.1", "sip:b@192.0.2.1"];
    let mut all = host.register(1, both);
    all.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(all, [told(Registered, a, "edge-1"), told(Registered, b, "edge-1")]);
    let mut gone = host.register(1, "*\r\nExpires: 0");
    gone.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(gone, [told(Unregistered, a, "edge-1"), told(Unregistered, b, "edge-1")]);
}

#[test]
fn a_contact_whose_time_is_over_has_expired() {
    let mut host = Host::new(true);
    host.register(1, "<sip:a@192.0.2.1>;expires=100, <sip:b@192.0.2.1>;expires=200");
    assert_eq!(host.is_due_after(100), [told(Expired, "sip:a@192.0.2.1", "edge-1")]);
    // Nobody has looked when it was over; a REGISTER for another contact finds it.
    host.wait(100);
    assert_eq!(
        host.register(1, "<sip:c@192.0.2.1>"),
        [told(Expired, "sip:b@192.0.2.1", "edge-1"), told(Registered, "sip:c@192.0.2.1", "edge-1")]
    );
}

/// What has changed without a word is counted, because whoever reads at another core has to hear of it.
#[test]
fn where_it_is_off_nothing_is_told_and_what_was_missed_is_counted() {
    let mut host = Host::new(false);
    let mut is_counted = |step: &dyn Fn(&mut Host) -> Vec<Told>, expected: u64| {
        let before = host.core.counters().unnoted;
        assert_eq!(step(&mut host), []);
        assert_eq!(host.core.counters().unnoted - before, expected);
    };
    is_counted(&|host| host.register(1, "<sip:a@192.0.2.1>;expires=100"), 1);
    is_counted(&|host| host.register(1, "<sip:b@192.0.2.1>;expires=0"), 0);
    is_counted(&|host| host.is_due_after(100), 1);
    let mut host = Host::new(true);
    host.register(1, "<sip:a@192.0.2.1>");
    assert_eq!(host.core.counters().unnoted, 0);
}
