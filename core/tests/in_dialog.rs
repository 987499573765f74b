//! A request inside a dialog whose remote target is a GRUU (RFC 5627 §6.1), between the edge and the store.

mod common;
mod fixture;

use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::{Core, Input, Output, QueryId};
use link::PeerId;
use location::Answer;
use node::Engine as _;
use registrar::{Binding, Record, UnixTime};
use sip::{Message, Name, Request, parse};
use transaction::Timers;

const EDGE: PeerId = PeerId(1);
const INSTANCE: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

fn core(now: Instant) -> Core {
    let mut core = Core::new(common::settings(), Timers::default(), [2; 32], now, Duration::from_secs(1_000));
    let up = Input::EdgeUp { edge: EDGE, name: "edge-1".to_owned(), advertised: Vec::new() };
    core.handle(up, now);
    core
}

fn message(text: String) -> Message {
    parse::message(Bytes::from(text), &parse::Limits::default()).expect("the test writes it right")
}

/// A BYE to Bob's GRUU with this Route, and the question that the core has about it.
fn bye(core: &mut Core, route: &str, now: Instant) -> QueryId {
    let text = format!(
        "BYE sip:bob@example.com;gr={INSTANCE} SIP/2.0\r\nVia: SIP/2.0/TLS edge-1;branch=z9hG4bKx\r\n{route}\
         From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    core.handle(
        Input::FromEdge { edge: EDGE, message: message(text), source: String::new(), local: String::new() },
        now,
    );
    loop {
        match core.poll_output().expect("the core asks the store") {
            Output::Ask(id, _) => return id,
            Output::ToEdge { .. } | Output::Notify(_) | Output::Report(_) | Output::Why(..) => {}
        }
    }
}

/// The request that goes to the edge after an answer of the store.
fn forwarded(core: &mut Core, id: QueryId, answer: Answer, now: Instant) -> Request {
    core.handle(Input::Answer(id, answer), now);
    loop {
        if let Output::ToEdge { bytes, .. } = core.poll_output().expect("it is forwarded")
            && let Message::Request(request) = message(String::from_utf8_lossy(&bytes).into_owned())
        {
            return request;
        }
    }
}

fn bound() -> Answer {
    let path = ["<sip:current@edge-1;lr>"];
    let binding = Binding {
        instance: Some(INSTANCE.to_owned()),
        gruu_epoch: 1,
        ..fixture::binding("sip:bob@192.0.2.4:5060", &path, UnixTime(900))
    };
    Answer::Loaded {
        record: Record { version: 1, bindings: vec![binding], ..Record::default() },
        credentials: None,
        is_last_known: false,
    }
}

fn route(request: &Request) -> Vec<String> {
    request.headers.values(Name::Route).map(|hop| String::from_utf8_lossy(hop).into_owned()).collect()
}

#[test]
fn it_goes_to_the_contact_by_its_path() {
    let now = node::clock::now();
    let mut core = core(now);
    let id = bye(&mut core, "Route: <sip:dialog@edge-1;lr>\r\n", now);
    let request = forwarded(&mut core, id, bound(), now);
    assert_eq!(&request.uri[..], b"sip:bob@192.0.2.4:5060");
    assert_eq!(route(&request), ["<sip:current@edge-1;lr>"]);
}

#[test]
fn a_route_beyond_the_cluster_counts_and_not_the_path() {
    let now = node::clock::now();
    let mut core = core(now);
    let id = bye(&mut core, "Route: <sip:dialog@edge-1;lr>, <sip:sbc.example.net;lr>\r\n", now);
    let request = forwarded(&mut core, id, bound(), now);
    assert_eq!(&request.uri[..], b"sip:bob@192.0.2.4:5060");
    assert_eq!(route(&request), ["<sip:dialog@edge-1;lr>", "<sip:sbc.example.net;lr>"]);
}

#[test]
fn without_the_store_it_goes_by_its_route() {
    let now = node::clock::now();
    let mut core = core(now);
    let id = bye(&mut core, "Route: <sip:dialog@edge-1;lr>\r\n", now);
    let request = forwarded(&mut core, id, Answer::Unavailable, now);
    assert_eq!(request.uri, format!("sip:bob@example.com;gr={INSTANCE}"), "what the UA gave as its contact");
    assert_eq!(route(&request), ["<sip:dialog@edge-1;lr>"]);
}
