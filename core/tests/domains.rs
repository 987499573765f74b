//! Which domains are ours while the list changes (RFC 3261 §10.3 step 1, §16.5), and before it has been read for the first time.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::{Core, Input, Output};
use link::PeerId;
use node::Engine as _;
use sip::{Message, Name, parse};
use transaction::Timers;

const EDGE: PeerId = PeerId(1);

fn core(now: Instant) -> Core {
    let mut core = Core::new(common::settings(), Timers::default(), [2; 32], now, Duration::from_secs(1_000));
    core.handle(Input::EdgeUp { edge: EDGE, name: "edge-1".to_owned(), advertised: Vec::new() }, now);
    core
}

/// The status of the answer to a request, and whether it says when to come again; `None` when it is forwarded or the store
/// is asked.
fn status(
    core: &mut Core,
    number: u32,
    method: &str,
    uri: &str,
    from: &str,
    more: &str,
) -> Option<(u16, bool)> {
    send(core, number, method, uri, from, if method == "REGISTER" { from } else { uri }, more)
}

/// As [`status`], with any To.
fn send(
    core: &mut Core,
    number: u32,
    method: &str,
    uri: &str,
    from: &str,
    to: &str,
    more: &str,
) -> Option<(u16, bool)> {
    let now = node::clock::now();
    let contact = if method == "REGISTER" { "Contact: <sip:a@192.0.2.4>\r\n" } else { "" };
    let to = if more.is_empty() { format!("<{to}>") } else { format!("<{to}>;tag=b") };
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS edge-1;branch=z9hG4bK{number}\r\n{more}From: <{from}>;tag=a\r\n\
         To: {to}\r\nCall-ID: c{number}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{contact}Content-Length: 0\r\n\r\n"
    );
    let message = parse::message(Bytes::from(text), &parse::Limits::default()).expect("written right");
    core.handle(Input::FromEdge { edge: EDGE, message, source: String::new(), local: String::new() }, now);
    let mut found = None;
    while let Some(output) = core.poll_output() {
        if let Output::ToEdge { bytes, .. } = output
            && let Ok(Message::Response(response)) = parse::message(bytes, &parse::Limits::default())
            && response.status.code() >= 200
        {
            let code = response.status.code();
            found = Some((code, response.headers.get(Name::RetryAfter).is_some()));
        }
    }
    found
}

fn domains(names: &[&str]) -> Input {
    Input::Domains(Some(names.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn a_domain_is_ours_from_the_moment_it_is_told_to_the_moment_it_is_gone() {
    let now = node::clock::now();
    let mut core = core(now);
    let register = |core: &mut Core, number| {
        status(core, number, "REGISTER", "sip:example.org", "sip:alice@EXAMPLE.org", "")
    };
    // A stranger's, as any other.
    assert_eq!(register(&mut core, 1), Some((403, false)));
    core.handle(domains(&["example.com", "example.org"]), now);
    assert_eq!(register(&mut core, 2), Some((401, false)), "its users are asked for their passwords");
    let call = |core: &mut Core, number| {
        status(core, number, "INVITE", "sip:bob@example.com", "sip:alice@example.org", "")
    };
    assert_eq!(call(&mut core, 3), Some((407, false)), "and nobody else can claim to be one");
    core.handle(domains(&["example.com"]), now);
    assert_eq!(register(&mut core, 4), Some((403, false)));
    assert_eq!(call(&mut core, 5), None, "somebody from outside: the callee is looked up");
}

/// Never 401, 403 or 404 for what may be ours: the store has not been seen yet.
#[test]
fn before_the_list_is_known_nothing_is_foreign() {
    let now = node::clock::now();
    let mut core = core(now);
    core.handle(Input::Domains(None), now);
    let (here, there) = ("sip:example.com", "sip:example.org");
    let (alice, carol) = ("sip:alice@example.com", "sip:carol@example.org");
    assert_eq!(status(&mut core, 1, "REGISTER", here, alice, ""), Some((401, false)), "configured");
    assert_eq!(status(&mut core, 2, "REGISTER", there, carol, ""), Some((503, true)));
    assert_eq!(
        status(&mut core, 3, "INVITE", carol, alice, ""),
        Some((503, true)),
        "perhaps no call outside"
    );
    assert_eq!(
        status(&mut core, 4, "MESSAGE", alice, carol, ""),
        Some((503, true)),
        "perhaps to be challenged"
    );
    // RFC 3261 §10.2: a third party registers whom To names, and may be configured while that one is not.
    assert_eq!(send(&mut core, 7, "REGISTER", here, alice, carol, ""), Some((503, true)));
    let route = "Route: <sip:token@edge-1;lr>\r\n";
    let inside = status(&mut core, 5, "BYE", "sip:carol@192.0.2.9", carol, route);
    assert_eq!(inside, None, "a dialog goes on");
    core.handle(domains(&["example.com"]), now);
    assert_eq!(status(&mut core, 6, "REGISTER", there, carol, ""), Some((403, false)));
}
