//! An edge before registrars of others: Path and Record-Route towards them, the flow of the token towards the UAs, and who of
//! several takes a request. RFC 3261 §16, RFC 3263 §4.3, RFC 3327, RFC 5626 §5, RFC 5658 §5.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_proxy::egress::{Answer, Ask};
use edge_proxy::engine::{Edge, Input, Output};
use edge_proxy::next_hop::CoreAddress;
use edge_proxy::rates::Limits;
use edge_proxy::registered::Registration;
use edge_proxy::registration::KeepAlive;
use edge_proxy::settings::Settings;
use node::Engine as _;
use sip::{Message, Method, Name, Request, Response, StatusCode, parse};
use transaction::Timers;
use transport::resolve::{Families, Step, Target, Unresolved, Walk};
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

#[path = "next_hop/believing.rs"]
mod believing;
#[path = "next_hop/dialogs.rs"]
mod dialogs;
#[path = "next_hop/servers.rs"]
mod servers;

const SECOND: Duration = Duration::from_secs(1);
const EDGE: &str = "192.0.2.1:5060";

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Fine,
    /// 503 to everything.
    Busy,
    /// Nothing.
    Silent,
    /// No connection.
    Closed,
}

/// Two registrars, one over UDP and one over TCP, and phones.
struct Stage {
    edge: Edge,
    now: Instant,
    servers: BTreeMap<SocketAddr, Server>,
    /// Where names lead; the DNS does not answer for any other.
    names: BTreeMap<&'static str, Vec<SocketAddr>>,
    registered: Vec<Registration>,
    /// Requests that have reached servers, with their flows, and what has reached phones.
    up: Vec<(Flow, Request)>,
    down: Vec<(Flow, Message)>,
    living: usize,
    /// Servers that were asked by OPTIONS.
    pings: Vec<SocketAddr>,
    /// Lost flows that are found again.
    heard: Vec<Flow>,
    connections: u64,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn one() -> SocketAddr {
    address("10.0.0.1:5060")
}

fn two() -> SocketAddr {
    address("10.0.0.2:5070")
}

fn keys() -> Keys {
    Keys::random([7; 32])
}

fn flow(protocol: Protocol, remote: &str) -> Flow {
    let connection = u64::from(protocol.is_reliable());
    Flow { protocol, local: address(EDGE), remote: address(remote), connection }
}

fn alice() -> Flow {
    flow(Protocol::Tcp, "198.51.100.1:40001")
}

fn bob() -> Flow {
    flow(Protocol::Udp, "198.51.100.2:40002")
}

fn registrar() -> Flow {
    flow(Protocol::Udp, "10.0.0.1:5060")
}

impl Stage {
    fn new() -> Self {
        Self::with(&["sip:10.0.0.1", "sip:10.0.0.2:5070;transport=tcp"])
    }

    fn with(next_hops: &[&str]) -> Self {
        Self::limited(next_hops, Limits::default())
    }

    fn limited(next_hops: &[&str], limits: Limits) -> Self {
        let listen = |protocol| Listen { protocol, addr: address(EDGE) };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
        let trusted = vec!["203.0.113.0/24".parse().expect("a network")];
        let next_hops = next_hops.iter().map(|text| match text.parse() {
            Ok(CoreAddress::NextHop(next_hop)) => next_hop,
            other => panic!("{other:?}"),
        });
        let public = Some("sip.example.com".to_owned());
        let settings = Settings::new("edge-1".to_owned(), public, listeners, &[], trusted, keys())
            .with_next_hops(next_hops.collect(), None);
        let keep_alive = KeepAlive { stream: 120, datagram: 25 };
        let settings = Settings { keep_alive, limits, ..settings };
        let edge = Edge::new(settings, Timers::default(), [3; 32]);
        let servers = BTreeMap::from([(one(), Server::Fine), (two(), Server::Fine)]);
        let (up, down) = (Vec::new(), Vec::new());
        let now = node::clock::now();
        let names = BTreeMap::from([("two.example.net", vec![one(), two()])]);
        let (registered, pings, heard) = (Vec::new(), Vec::new(), Vec::new());
        let (living, connections) = (0, 100);
        let mut stage =
            Self { edge, now, servers, names, registered, up, down, living, pings, heard, connections };
        stage.give(Input::Begin);
        stage.give(Input::FlowUp(alice()));
        stage
    }

    fn give(&mut self, input: Input) {
        self.edge.handle(input, self.now);
        self.settle();
    }

    /// Performs what the edge wants, servers and all, until nothing is left.
    fn settle(&mut self) {
        while let Some(output) = self.edge.poll_output() {
            match output {
                Output::ToUa { flow, bytes } => self.sent(flow, bytes),
                Output::Egress(ask) => self.asked(ask),
                Output::NextHops(living) => self.living = living,
                Output::Registered(registration) => self.registered.push(*registration),
                Output::Heard(flow) => self.heard.push(flow),
                other => assert!(!matches!(other, Output::ToCore { .. }), "there are no cores"),
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        let answer = match ask {
            Ask::Resolve { ticket, question, seed } => {
                let families = Families { v4: true, v6: false };
                let protocol = question.default_protocol();
                let name = question.domain();
                let target = |address: &SocketAddr| Target {
                    protocol,
                    address: *address,
                    domain: name.as_str().into(),
                };
                let found = match Walk::new(question, families, seed).1 {
                    Step::Done(found) => found,
                    Step::Ask(_) => {
                        let known = self.names.get(&*name).ok_or(Unresolved::Unknown);
                        known.map(|known| known.iter().map(target).collect())
                    }
                };
                Answer::Targets(ticket, found)
            }
            Ask::Reach { ticket, target } => {
                let remote = target.address;
                let is_open = self.servers.get(&remote).is_some_and(|server| *server != Server::Closed);
                let protocol = target.protocol;
                self.connections += u64::from(protocol.is_reliable() && is_open);
                let connection = if protocol.is_reliable() { self.connections } else { 0 };
                let local = if protocol.is_reliable() { address("192.0.2.1:50000") } else { address(EDGE) };
                let flow = Flow { protocol, local, remote, connection };
                if is_open && protocol.is_reliable() {
                    self.edge.handle(Input::FlowUp(flow), self.now);
                }
                Answer::Flow(ticket, is_open.then_some(flow))
            }
        };
        self.edge.handle(Input::Egress(answer), self.now);
    }

    fn sent(&mut self, flow: Flow, bytes: Bytes) {
        let message = read(bytes);
        let Some(server) = self.servers.get(&flow.remote).copied() else {
            return self.down.push((flow, message));
        };
        let Message::Request(request) = message else { return self.down.push((flow, message)) };
        let is_ping = request.method == Method::Options && matches!(request.max_forwards(), Ok(Some(0)));
        self.pings.extend(is_ping.then_some(flow.remote));
        match server {
            Server::Silent | Server::Closed => {}
            Server::Busy => self.answer(flow, &request, 503),
            Server::Fine if is_ping => self.answer(flow, &request, 200),
            Server::Fine => {}
        }
        if !is_ping && !self.up.iter().any(|(_, known)| known.encode() == request.encode()) {
            self.up.push((flow, request));
        }
    }

    fn answer(&mut self, flow: Flow, request: &Request, status: u16) {
        let mut response = Response::to(request, StatusCode::new(status), Some("b"));
        for value in request.headers.lines(Name::RecordRoute) {
            response.headers.append(Name::RecordRoute, Bytes::copy_from_slice(value));
        }
        self.edge.handle(Input::FromUa { flow, message: Message::Response(response) }, self.now);
    }

    /// Time goes by.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.edge.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.edge.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn says(&mut self, flow: Flow, text: &str) {
        let message = read(text.to_owned().into());
        self.give(Input::FromUa { flow, message });
    }

    fn asks(&mut self, flow: Flow, method: &str, uri: &str, call_id: &str, extra: &str) {
        self.says(flow, &request(method, uri, call_id, "z9hG4bKua1", "", extra));
    }

    /// Bob's message of this number: its Call-ID and branch are its own.
    fn message(&mut self, number: u32) {
        let (call_id, branch) = (format!("c{number}"), format!("z9hG4bK{number}"));
        self.says(bob(), &request("MESSAGE", "sip:x@example.com", &call_id, &branch, "", ""));
    }

    fn next_up(&mut self) -> (Flow, Request) {
        assert!(!self.up.is_empty(), "nothing has reached a server; phones: {:?}", self.down);
        self.up.remove(0)
    }

    fn next_down(&mut self) -> (Flow, Request) {
        let at = self.down.iter().position(|(_, message)| matches!(message, Message::Request(_)));
        match at.map(|at| self.down.remove(at)) {
            Some((flow, Message::Request(request))) => (flow, request),
            _ => panic!("no request has gone down: {:?}", self.down),
        }
    }

    /// The statuses that have gone to a flow.
    fn statuses(&self, to: Flow) -> Vec<u16> {
        let all = self.down.iter().filter(|(flow, _)| *flow == to);
        let responses = all.filter_map(|(_, message)| match message {
            Message::Response(response) => Some(response.status.code()),
            Message::Request(_) => None,
        });
        responses.filter(|status| *status != 100).collect()
    }

    /// The flow on which the edge talks to a server.
    fn flow_of(&mut self, server: SocketAddr) -> Flow {
        let call_id = call_for(server);
        self.asks(bob(), "MESSAGE", "sip:x@example.com", &call_id, "");
        let (flow, request) = self.next_up();
        self.answer(flow, &request, 200);
        self.settle();
        self.down.clear();
        flow
    }
}

fn read(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).expect("well-formed")
}

fn request(method: &str, uri: &str, call_id: &str, branch: &str, to_tag: &str, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP ua.invalid;branch={branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>{to_tag}\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

fn values(request: &Request, name: Name) -> Vec<String> {
    request.headers.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// A Call-ID that is at home with this server.
fn call_for(server: SocketAddr) -> String {
    for number in 0..100 {
        let mut stage = Stage::new();
        let call_id = format!("call-{number}");
        stage.asks(bob(), "MESSAGE", "sip:x@example.com", &call_id, "");
        if stage.next_up().0.remote == server {
            return call_id;
        }
    }
    panic!("nobody's home is {server}")
}

fn routes(values: &[String]) -> String {
    values.iter().map(|value| format!("Route: {value}\r\n")).collect()
}

/// RFC 3327 §5.2, RFC 5626 §5.1: with the address towards that side, not the public one.
#[test]
fn a_registration_bears_a_path_that_leads_back_to_the_flow() {
    for (server, transport) in [(one(), ""), (two(), ";transport=tcp")] {
        let mut stage = Stage::new();
        let extra = "Path: <sip:evil@example.net;lr>\r\nContact: <sip:alice@10.1.1.1>\r\n";
        stage.asks(alice(), "REGISTER", "sip:example.com", &call_for(server), extra);
        let (flow, register) = stage.next_up();
        assert_eq!(flow.remote, server);
        let token = keys().mint(&alice());
        assert_eq!(
            values(&register, Name::Path),
            [format!("<sip:in.{token}@{EDGE}{transport};lr;ob>")],
            "what an outsider claims is gone"
        );
        let via = register.top_via().unwrap();
        assert_eq!(via.sent_by, EDGE);
        assert!(values(&register, Name::Route).is_empty());
        assert_eq!(register.uri, "sip:example.com");
        stage.answer(flow, &register, 200);
        stage.settle();
        assert_eq!(stage.statuses(alice()), [200]);
    }
}

/// As with cores: the pings are for what the registrar has accepted, and who offers to keep its flow is told how (RFC 6223 §4.4).
#[test]
fn the_flow_of_a_registration_is_kept() {
    let mut stage = Stage::new();
    let text =
        request("REGISTER", "sip:example.com", "c", "z9hG4bKua1;keep", "", "Contact: <sip:a@10.1.1.1>\r\n");
    stage.says(alice(), &text);
    let (flow, register) = stage.next_up();
    let vias = values(&register, Name::Via);
    assert!(vias[1].contains("keep=120"), "{vias:?}");
    let mut ok = Response::to(&register, StatusCode::OK, Some("r"));
    ok.headers.append(Name::Contact, "<sip:a@10.1.1.1>;expires=600");
    stage.give(Input::FromUa { flow, message: Message::Response(ok) });
    let [registration] = &stage.registered[..] else { panic!("{:?}", stage.registered) };
    assert_eq!((registration.flow, registration.contacts[0].expires), (alice(), 600));
}

/// RFC 3327 §5.2: the Path of a proxy in front stays below ours, and the UA is not behind us (RFC 5626 §5.1: no `ob`).
#[test]
fn the_path_of_a_trusted_peer_stays_below_ours() {
    let mut stage = Stage::new();
    let peer = flow(Protocol::Udp, "203.0.113.5:5060");
    let extra = "Via: SIP/2.0/UDP phone.invalid;branch=z9hG4bKphone\r\nPath: <sip:peer@203.0.113.5;lr>\r\n";
    stage.asks(peer, "REGISTER", "sip:example.com", "c", extra);
    let path = values(&stage.next_up().1, Name::Path);
    assert_eq!(path.len(), 2);
    assert!(path[0].starts_with("<sip:in.") && path[0].ends_with(";lr>"), "{path:?}");
    assert_eq!(path[1], "<sip:peer@203.0.113.5;lr>");
}

/// RFC 5626 §5.3: by the Path that the registrar stored, whoever of its addresses it sends from.
#[test]
fn a_request_with_our_path_goes_down_its_flow() {
    let token = keys().mint(&alice());
    for source in
        [registrar(), flow(Protocol::Tcp, "10.0.0.2:61234"), flow(Protocol::Udp, "203.0.113.9:5080")]
    {
        let mut stage = Stage::new();
        let extra =
            format!("Route: <sip:in.{token}@{EDGE};lr;ob>\r\nP-Asserted-Identity: <sip:b@example.com>\r\n");
        stage.asks(source, "INVITE", "sip:alice@10.1.1.1", "c", &extra);
        let (flow, invite) = stage.next_down();
        assert_eq!(flow, alice());
        assert!(values(&invite, Name::Route).is_empty());
        assert_eq!(values(&invite, Name::PAssertedIdentity), ["<sip:b@example.com>"]);
        assert_eq!(invite.uri, "sip:alice@10.1.1.1");
        // RFC 5658 §5: the side that it leaves to on top.
        let inner = if source.protocol == Protocol::Tcp { ";transport=tcp" } else { "" };
        assert_eq!(
            values(&invite, Name::RecordRoute),
            [
                format!("<sip:{token}@sip.example.com;transport=tcp;lr>"),
                format!("<sip:in.{token}@{EDGE}{inner};lr>"),
            ]
        );
        stage.answer(flow, &invite, 486);
        stage.settle();
        assert_eq!(stage.statuses(source), [486]);
    }
}

/// A token is no licence to get past the registrar, except for whom the UA has a dialog with.
#[test]
fn strangers_do_not_begin_anything_past_the_registrar() {
    let stranger = flow(Protocol::Udp, "198.51.100.66:5060");
    let token = keys().mint(&bob());
    let route =
        format!("Route: <sip:in.{token}@{EDGE};lr>\r\nP-Asserted-Identity: <sip:ceo@example.com>\r\n");
    let mut stage = Stage::new();
    stage.asks(stranger, "INVITE", "sip:bob@10.1.1.1", "c", &route);
    assert_eq!(stage.statuses(stranger), [403]);
    assert!(stage.up.is_empty());
    let text = request("BYE", "sip:bob@10.1.1.1", "c", "z9hG4bKs2", ";tag=b", &route);
    stage.says(stranger, &text);
    let (to, bye) = stage.next_down();
    assert_eq!(to, bob());
    assert!(values(&bye, Name::PAssertedIdentity).is_empty(), "believed of nobody");
    // RFC 5626 §5.3.1: a forged token is 403, from whomever.
    let forged = format!("Route: <sip:in.{}@{EDGE};lr>\r\n", Keys::random([8; 32]).mint(&bob()));
    stage.says(registrar(), &request("INVITE", "sip:bob@x", "d", "z9hG4bKs3", "", &forged));
    assert_eq!(stage.statuses(registrar()), [403]);
}

/// RFC 5626 §5.3.1, and what the pings have found out: no INVITE waits 32 s for a phone that is gone.
#[test]
fn a_flow_that_is_gone_is_430() {
    let route = |flow: &Flow| format!("Route: <sip:in.{}@{EDGE};lr;ob>\r\n", keys().mint(flow));
    let mut stage = Stage::new();
    stage.give(Input::FlowDown(alice()));
    stage.asks(registrar(), "INVITE", "sip:alice@10.1.1.1", "c", &route(&alice()));
    assert_eq!(stage.statuses(registrar()), [430]);
    stage.down.clear();
    stage.give(Input::FlowSilent(bob()));
    let mut number = 0;
    let mut call = |stage: &mut Stage| {
        number += 1;
        let branch = format!("z9hG4bKr{number}");
        let text = request("INVITE", "sip:bob@10.2.2.2", "c", &branch, "", &route(&bob()));
        stage.says(registrar(), &text);
    };
    call(&mut stage);
    assert_eq!(stage.statuses(registrar()), [430]);
    stage.give(Input::FlowBack(bob()));
    call(&mut stage);
    assert_eq!(stage.next_down().0, bob());
    stage.give(Input::FlowSilent(bob()));
    stage.asks(bob(), "MESSAGE", "sip:x@example.com", "m", "");
    call(&mut stage);
    assert_eq!(stage.next_down().0, bob(), "who speaks is there");
    assert_eq!(stage.heard, [bob()], "the other shards hear of it, once");
}

/// RFC 3261 §9.1, §16.10: by the way of the INVITE; and one that is cancelled is not tried again.
#[test]
fn a_call_that_is_given_up_is_given_up_at_the_registrar() {
    let mut stage = Stage::new();
    stage.asks(alice(), "INVITE", "sip:bob@example.com", "c", "");
    let (flow, invite) = stage.next_up();
    stage.answer(flow, &invite, 180);
    stage.settle();
    stage.asks(alice(), "CANCEL", "sip:bob@example.com", "c", "");
    let (to, cancel) = stage.next_up();
    assert_eq!((to, cancel.method.as_str()), (flow, "CANCEL"));
    assert_eq!(cancel.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    stage.answer(flow, &invite, 487);
    stage.settle();
    assert_eq!(stage.statuses(alice()), [180, 200, 487]);
    assert!(stage.up.iter().all(|(_, request)| request.method == Method::Ack));
}

/// RFC 3261 §11: a registrar asks whether the edge is there.
#[test]
fn options_of_a_registrar_are_answered_here() {
    let mut stage = Stage::new();
    stage.asks(registrar(), "OPTIONS", &format!("sip:{EDGE}"), "c", "");
    assert_eq!(stage.statuses(registrar()), [200]);
    let text = request("INVITE", "sip:bob@example.com", "d", "z9hG4bKr2", "", "");
    stage.says(registrar(), &text);
    assert_eq!(stage.statuses(registrar()), [200, 403], "it must not come back to where it came from");
}
