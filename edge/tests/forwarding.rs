//! What an edge does to a request of the cluster on its way to a flow, RFC 3261 §16.6 and §16.11, RFC 5630 §5.3.

use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_proxy::engine::{Edge, Input, Output};
use edge_proxy::settings::Settings;
use link::PeerId;
use node::Engine as _;
use sip::{Message, Name, Request, Response, parse};
use transaction::Timers;
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

const CORE: PeerId = PeerId(1);

/// An edge with a stream and a UDP socket, and its keys.
struct Stage {
    edge: Edge,
    now: Instant,
    /// Max-Forwards of what comes.
    hops: u8,
}

impl Stage {
    fn new() -> Self {
        let listen = |protocol| Listen { protocol, addr: "192.0.2.1:5060".parse().expect("an address") };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tls)];
        let settings = Settings::new("edge-1".to_owned(), None, listeners, &[], Vec::new(), keys());
        let now = node::clock::now();
        let mut edge = Edge::new(settings, Timers::default(), [3; 32]);
        edge.handle(Input::CoreUp { core: CORE, name: "core-1".to_owned(), weight: 1 }, now);
        edge.handle(Input::FlowUp(flow(Protocol::Tls)), now);
        Self { edge, now, hops: 70 }
    }

    fn passes(&mut self, method: &str, uri: &str, branch: &str, protocol: Protocol, route: &str) {
        let token = keys().mint(&flow(protocol));
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS core;branch={branch}\r\nRoute: <sip:{token}@edge-1;lr>\r\n{route}\
             From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: {}\r\nContent-Length: 0\r\n\r\n",
            self.hops
        );
        let message = read(text.into());
        self.edge.handle(Input::FromCore { core: CORE, message }, self.now);
    }

    /// The requests that went to flows.
    fn sent(&mut self) -> Vec<Request> {
        let outputs = std::iter::from_fn(|| self.edge.poll_output());
        let messages = outputs.filter_map(|output| match output {
            Output::ToUa { bytes, .. } => Some(read(bytes)),
            _ => None,
        });
        messages
            .filter_map(|message| match message {
                Message::Request(request) => Some(request),
                Message::Response(_) => None,
            })
            .collect()
    }

    /// The answers that the core got.
    fn answers(&mut self) -> Vec<Response> {
        let outputs = std::iter::from_fn(|| self.edge.poll_output());
        let messages = outputs.filter_map(|output| match output {
            Output::ToCore { bytes, .. } => Some(read(bytes)),
            _ => None,
        });
        messages
            .filter_map(|message| match message {
                Message::Response(response) => Some(response),
                Message::Request(_) => None,
            })
            .collect()
    }
}

fn keys() -> Keys {
    Keys::random([7; 32])
}

fn flow(protocol: Protocol) -> Flow {
    Flow {
        protocol,
        local: "192.0.2.1:5060".parse().expect("an address"),
        remote: "198.51.100.1:40000".parse().expect("an address"),
        connection: u64::from(protocol.is_reliable()),
    }
}

fn read(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).expect("the test writes it right")
}

fn values(request: &Request, name: Name) -> Vec<String> {
    request.headers.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// §16.6 step 6, as in §16.12.1.2.
#[test]
fn a_strict_router_beyond_the_flow_gets_what_it_expects() {
    let mut stage = Stage::new();
    let route = "Route: <sip:strict.example.net>, <sip:p.example.net;lr>\r\n";
    stage.passes("INVITE", "sip:bob@198.51.100.1", "z9hG4bK1", Protocol::Udp, route);
    let sent = stage.sent();
    assert_eq!(sent[0].uri, "sip:strict.example.net");
    assert_eq!(values(&sent[0], Name::Route), ["<sip:p.example.net;lr>", "<sip:bob@198.51.100.1>"]);
}

/// §16.11: what is forwarded without a transaction has one branch however often it comes.
#[test]
fn a_repeated_ack_has_the_branch_it_had() {
    let mut stage = Stage::new();
    for branch in ["z9hG4bK1", "z9hG4bK1", "z9hG4bK2"] {
        stage.now += Duration::from_millis(500);
        stage.passes("ACK", "sip:bob@198.51.100.1", branch, Protocol::Udp, "");
    }
    let sent = stage.sent();
    let branches: Vec<_> =
        sent.iter().map(|ack| ack.top_via().unwrap().branch().unwrap().to_owned()).collect();
    assert_eq!(branches.len(), 3);
    assert_eq!(branches[0], branches[1]);
    assert_ne!(branches[1], branches[2]);
}

/// §16.11 has it validated as any request: §16.3 step 3.
#[test]
fn an_ack_without_hops_goes_nowhere() {
    let mut stage = Stage::new();
    stage.hops = 0;
    stage.passes("ACK", "sip:bob@198.51.100.1", "z9hG4bK1", Protocol::Udp, "");
    assert!(stage.sent().is_empty());
    stage.hops = 1;
    stage.passes("ACK", "sip:bob@198.51.100.1", "z9hG4bK2", Protocol::Udp, "");
    assert_eq!(stage.sent().len(), 1);
}

/// RFC 5630 §5.3, RFC 3261 §26.2.2.
#[test]
fn a_sips_request_leaves_over_tls_or_not_at_all() {
    let mut stage = Stage::new();
    stage.passes("INVITE", "sips:bob@198.51.100.1", "z9hG4bK1", Protocol::Udp, "");
    let answers = stage.answers();
    assert_eq!(answers[0].status.code(), 480);
    let warning = answers[0].headers.get(Name::Warning).unwrap();
    assert!(warning.starts_with(b"380 "), "{warning:?}");
    stage.passes("INVITE", "sips:bob@198.51.100.1", "z9hG4bK2", Protocol::Tls, "");
    let sent = stage.sent();
    assert_eq!(sent[0].uri, "sips:bob@198.51.100.1");
    assert!(values(&sent[0], Name::RecordRoute)[0].starts_with("<sips:"), "RFC 3261 §16.6 step 4");
}
