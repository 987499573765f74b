use std::time::Instant;

use bytes::Bytes;
use link::PeerId;
use node::Engine as _;
use sip::{Message, NameAddr, Response, StatusCode, parse};
use transaction::Timers;
use transport::token::Keys;
use transport::{Listen, Protocol};

use super::*;
use crate::engine::{Edge, Input, Output};

const CORE: PeerId = PeerId(1);

/// An edge with a core and an open stream.
struct Bench {
    edge: Edge,
    keys: Keys,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let keys = Keys::new(&[1; 32], None).unwrap();
        let listen = |protocol| Listen { protocol, addr: ([192, 0, 2, 1], 5060).into() };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
        let settings = Settings::new("edge-1".into(), None, listeners, &[], Vec::new(), keys.clone());
        let now = node::clock::now();
        let mut edge = Edge::new(settings, Timers::default(), [3; 32]);
        edge.handle(Input::CoreUp { core: CORE, name: "core-1".into(), weight: 1 }, now);
        edge.handle(Input::FlowUp(stream(1)), now);
        Self { edge, keys, now }
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.edge.handle(input, self.now);
        std::iter::from_fn(|| self.edge.poll_output()).collect()
    }

    /// The edge's entry in a Route, with the token of a flow.
    fn route(&self, flow: &Flow) -> String {
        route(&self.keys.mint(flow))
    }

    /// What the core is told about a request of its own that ends here.
    fn refused(&mut self, route: &str) -> StatusCode {
        let outputs = self.handle(Input::FromCore { core: CORE, message: invite(route) });
        let [Output::ToCore { bytes, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        let Message::Response(Response { status, .. }) = read(bytes) else { panic!("{bytes:?}") };
        status
    }

    /// A request from the border, as the core gets it.
    fn forwarded(&mut self, flow: Flow, request: &str) -> Request {
        let message = read(&Bytes::copy_from_slice(request.as_bytes()));
        let outputs = self.handle(Input::FromUa { flow, message });
        let [Output::ToCore { bytes, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        let Message::Request(request) = read(bytes) else { panic!("{bytes:?}") };
        request
    }
}

fn read(bytes: &Bytes) -> Message {
    parse::message(bytes.clone(), &Default::default()).unwrap()
}

fn route(token: &str) -> String {
    format!("Route: <sip:{token}@192.0.2.1:5060;lr;ob>\r\n")
}

fn udp(port: u16) -> Flow {
    Flow::udp(([192, 0, 2, 1], 5060).into(), ([198, 51, 100, 1], port).into())
}

fn stream(connection: u64) -> Flow {
    Flow { protocol: Protocol::Tcp, connection, ..udp(40_000) }
}

fn text(method: &str, tag: &str, more: &str) -> String {
    format!(
        "{method} sip:bob@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/TLS core;branch=z9hG4bKa\r\n{more}Max-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>{tag}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@10.0.0.2>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn invite(route: &str) -> Message {
    read(&Bytes::from(text("INVITE", "", route)))
}

/// The flow that a Route or Record-Route value names, and its parameters.
fn named(bench: &Bench, value: &[u8]) -> (Flow, String) {
    let uri = NameAddr::parse(value).unwrap().parsed_uri().unwrap();
    (bench.keys.verify(uri.user.unwrap().as_bytes()).unwrap(), uri.params.as_str().to_owned())
}

/// §5.3.1: forwarded over the flow, without the Route value; a dialog that begins finds the same flow later.
#[test]
fn an_incoming_request_goes_over_the_flow_of_its_token() {
    for flow in [udp(1), stream(1)] {
        let mut bench = Bench::new();
        let message = invite(&bench.route(&flow));
        let outputs = bench.handle(Input::FromCore { core: CORE, message });
        let sent = outputs.iter().find_map(|output| match output {
            Output::ToUa { flow, bytes } => Some((*flow, read(bytes))),
            _ => None,
        });
        let Some((on, Message::Request(copy))) = sent else { panic!("{outputs:?}") };
        assert_eq!(on, flow);
        assert!(copy.headers.get(Name::Route).is_none(), "§5.3.1: it removes the Route value");
        let record_route: Vec<_> = copy.headers.values(Name::RecordRoute).collect();
        let (named, params) = named(&bench, record_route[0]);
        assert_eq!((record_route.len(), named), (1, flow));
        assert!(params.contains("lr") && !params.contains("ob"), "§5.3.1, the note: minus ob: {params}");
    }
}

/// §5.3.1: 403 for a token that was tampered with.
#[test]
fn a_token_that_nobody_of_us_has_made_is_403() {
    let mut bench = Bench::new();
    let foreign = Keys::new(&[2; 32], None).unwrap().mint(&udp(1));
    let genuine = bench.keys.mint(&udp(1));
    let changed: String = genuine.chars().rev().collect();
    for token in [foreign.as_str(), &changed, &genuine[1..], "x"] {
        assert_eq!(bench.refused(&route(token)), StatusCode::new(403), "{token}");
    }
    assert_eq!(bench.refused(""), StatusCode::new(403), "a core names a flow");
}

/// §5.3.1: 430 when the flow no longer exists.
#[test]
fn a_genuine_token_of_a_flow_that_is_gone_is_430() {
    let elsewhere = Flow { local: ([192, 0, 2, 9], 5060).into(), ..udp(1) };
    let mut bench = Bench::new();
    for flow in [stream(2), elsewhere] {
        let route = bench.route(&flow);
        assert_eq!(bench.refused(&route), StatusCode::new(430), "{flow:?}");
    }
    bench.handle(Input::FlowDown(stream(1)));
    let route = bench.route(&stream(1));
    assert_eq!(bench.refused(&route), StatusCode::new(430), "it has ended");
}

/// §5.3: the source of a request is what its token is compared with.
#[test]
fn the_flow_of_the_token_says_the_direction() {
    let below = "Route: <sip:token@edge-2;lr>\r\n";
    for (method, tag, source, more, expected) in [
        ("BYE", ";tag=2", udp(1), "", None),
        ("BYE", ";tag=2", udp(2), "", Some(udp(1))),
        ("BYE", ";tag=2", stream(1), "", Some(udp(1))),
        ("BYE", ";tag=2", udp(2), below, None), // it has moved
        ("INVITE", "", udp(2), "", None),       // whom it reaches is the core's to say
    ] {
        let mut bench = Bench::new();
        let routes = format!("{}{more}", bench.route(&udp(1)));
        let copy = bench.forwarded(source, &text(method, tag, &routes));
        let values: Vec<_> = copy.headers.values(Name::Route).collect();
        match expected {
            Some(flow) => {
                assert_eq!((values.len(), named(&bench, values[0]).0), (1, flow), "{method} {source:?}");
            }
            None if more.is_empty() => assert!(values.is_empty(), "{method} {source:?}"),
            None => assert_eq!(values, [b"<sip:token@edge-2;lr>"], "{method} {source:?}"),
        }
    }
}

/// RFC 5393 §4.2.2: what comes back from the core is no loop.
#[test]
fn an_incoming_request_from_the_border_comes_back_and_passes() {
    let mut bench = Bench::new();
    let bye = text("BYE", ";tag=2", &bench.route(&udp(1)));
    let copy = bench.forwarded(udp(2), &bye);
    let outputs = bench.handle(Input::FromCore { core: CORE, message: read(&copy.encode()) });
    let sent = outputs.iter().filter(|output| matches!(output, Output::ToUa { flow, .. } if *flow == udp(1)));
    assert_eq!(sent.count(), 1, "{outputs:?}");
}
