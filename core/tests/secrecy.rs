//! Whether a user exists is not to be seen from outside: not by an answer, not by the questions to the store, not by the
//! digests that are computed (RFC 3261 §22.1 has nothing against a challenge for everybody).

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::{Core, Input, Output};
use link::PeerId;
use location::{Answer, Credentials, Query};
use node::Engine as _;
use registrar::Record;
use sip::digest::{Algorithm, ha1};
use sip::{Message, Name, Response, parse};
use transaction::Timers;

const EDGE: PeerId = PeerId(1);
const ALGORITHM: Algorithm = Algorithm::Sha256;

fn core(now: Instant) -> Core {
    let mut core = Core::new(common::settings(), Timers::default(), [2; 32], now, Duration::from_secs(1_000));
    core.handle(Input::EdgeUp { edge: EDGE, name: "edge-1".to_owned(), advertised: Vec::new() }, now);
    core
}

/// A request of `user` with credentials for `nonce`, when there is one, made with a guessed password.
fn request(method: &str, user: &str, nonce: Option<&str>) -> Message {
    let (uri, to, header) = match method {
        "REGISTER" => ("sip:example.com", user, "Authorization"),
        _ => ("sip:bob@example.com", "bob", "Proxy-Authorization"),
    };
    let line = nonce.map_or_else(String::new, |nonce| {
        let own = ha1(ALGORITHM, user, "example.com", "guess");
        let ha2 = ha1(ALGORITHM, method, "sip", uri.trim_start_matches("sip:"));
        let response = ha1(ALGORITHM, &own, &format!("{nonce}:00000001:c:auth"), &ha2);
        format!(
            "{header}: Digest username=\"{user}\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=SHA-256, cnonce=\"c\", qop=auth, nc=00000001\r\n"
        )
    });
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS edge-1;branch=z9hG4bK{}\r\nFrom: <sip:{user}@example.com>;tag=a\r\n\
         To: <sip:{to}@example.com>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{line}\
         Contact: <sip:x@192.0.2.4>\r\nContent-Length: 0\r\n\r\n",
        nonce.is_some()
    );
    parse::message(Bytes::from(text), &parse::Limits::default()).expect("the test writes it right")
}

/// What the core does about a request: the kinds of its questions, and its final answer. The store knows alice.
fn deed(core: &mut Core, request: Message, now: Instant) -> (Vec<&'static str>, Response) {
    core.handle(
        Input::FromEdge { edge: EDGE, message: request, source: String::new(), local: String::new() },
        now,
    );
    let mut asked = Vec::new();
    loop {
        match core.poll_output().expect("it is answered") {
            Output::Ask(id, query) => {
                let (kind, answer) = answer(&query);
                asked.push(kind);
                core.handle(Input::Answer(id, answer), now);
            }
            Output::ToEdge { bytes, .. } => {
                if let Ok(Message::Response(response)) = parse::message(bytes, &parse::Limits::default()) {
                    return (asked, response);
                }
            }
            Output::Report(_) | Output::Notify(_) | Output::Why(..) => {}
        }
    }
}

fn answer(query: &Query) -> (&'static str, Answer) {
    let (Query::Load { user: Some(user), .. } | Query::Lookup { user: Some(user), .. }) = query else {
        panic!("{query:?}")
    };
    let known = (user.name == "alice").then(|| Credentials {
        ha1_md5: "1".repeat(32),
        ha1_sha256: ha1(ALGORITHM, "alice", "example.com", "secret"),
    });
    (
        "a record and a user",
        Answer::Loaded { record: Record::default(), credentials: Some(known), is_last_known: false },
    )
}

fn nonce(response: &Response, name: Name) -> String {
    let line = String::from_utf8_lossy(response.headers.get(name).expect("it is a challenge")).into_owned();
    line.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has one").to_owned()
}

#[test]
fn an_unknown_user_is_asked_and_answered_as_any_other() {
    let now = node::clock::now();
    for (method, name, status) in
        [("REGISTER", Name::WwwAuthenticate, 401), ("INVITE", Name::ProxyAuthenticate, 407)]
    {
        let looks = ["alice", "nobody"].map(|user| {
            let mut core = core(now);
            let (asked, first) = deed(&mut core, request(method, user, None), now);
            assert!(asked.is_empty(), "nothing is looked up for who shows nothing");
            let shown = nonce(&first, name);
            let (asked, second) = deed(&mut core, request(method, user, Some(&shown)), now);
            assert_eq!((first.status.code(), second.status.code()), (status, status));
            let own = |text: &[u8]| String::from_utf8_lossy(text).replace(user, "USER");
            let headers: Vec<_> =
                second.headers.iter().map(|(_, name, value)| (own(name), own(value))).collect();
            (asked, headers, core.counters().verifications)
        });
        assert_eq!(looks[0], looks[1], "{method}");
        assert_eq!(looks[0].2, 1, "one digest is verified");
    }
}
