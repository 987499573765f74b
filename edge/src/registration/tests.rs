use std::time::Duration;

use bytes::Bytes;
use link::PeerId;
use node::Engine as _;
use sip::{Message, parse};
use transaction::Timers;
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

use super::*;
use crate::engine::Input;

/// An edge with one core, and the time.
struct Bench {
    edge: Edge,
    now: std::time::Instant,
}

impl Bench {
    fn new() -> Self {
        let listen = |protocol| Listen { protocol, addr: ([192, 0, 2, 1], 5060).into() };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
        let settings =
            Settings::new("edge-1".into(), None, listeners, &[], Vec::new(), Keys::random([7; 32]));
        let settings = Settings { keep_alive: KeepAlive { stream: 120, datagram: 25 }, ..settings };
        let now = node::clock::now();
        let mut edge = Edge::new(settings, Timers::default(), [3; 32]);
        edge.handle(Input::CoreUp { core: PeerId(1), name: "core-1".into(), weight: 1 }, now);
        Self { edge, now }
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.now += Duration::from_millis(10);
        self.edge.handle(input, self.now);
        std::iter::from_fn(|| self.edge.poll_output()).collect()
    }

    /// A request goes to the core; its copy there.
    fn forwarded(&mut self, flow: Flow, text: &str) -> Request {
        let outputs = self.handle(Input::FromUa { flow, message: message(text) });
        let bytes = outputs.iter().find_map(|output| match output {
            Output::ToCore { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        let Some(Ok(Message::Request(copy))) = bytes.map(|it| parse::message(it, &Default::default())) else {
            panic!("{outputs:?}")
        };
        copy
    }

    /// The core answers; what the UA gets and what the keeper learns.
    fn answered(
        &mut self,
        copy: &Request,
        status: u16,
        headers: &[(Name, &str)],
    ) -> (Response, Option<Registration>) {
        let mut response = Response::to(copy, sip::StatusCode::new(status), Some("core"));
        for (name, value) in headers {
            response.headers.append(*name, Bytes::copy_from_slice(value.as_bytes()));
        }
        let outputs =
            self.handle(Input::FromCore { core: PeerId(1), message: message_of(&response.encode()) });
        let (mut to_ua, mut learned) = (None, None);
        for output in outputs {
            match output {
                Output::ToUa { bytes, .. } => to_ua = Some(bytes),
                Output::Registered(registration) => learned = Some(*registration),
                other => panic!("{other:?}"),
            }
        }
        let Message::Response(response) = message_of(&to_ua.expect("the UA is answered")) else { panic!() };
        (response, learned)
    }
}

fn message(text: &str) -> Message {
    message_of(&Bytes::copy_from_slice(text.replace('\n', "\r\n").as_bytes()))
}

fn message_of(bytes: &Bytes) -> Message {
    parse::message(bytes.clone(), &Default::default()).unwrap()
}

fn flow(protocol: Protocol) -> Flow {
    Flow {
        protocol,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([198, 51, 100, 1], 40_000).into(),
        connection: u64::from(protocol.is_reliable()),
    }
}

fn request(method: &str, via: &str, contact: &str) -> String {
    format!(
        "{method} sip:example.com SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:alice@example.com>;tag=1\n\
         To: <sip:alice@example.com>\nCall-ID: c\nCSeq: 1 {method}\nSupported: path, outbound\n{contact}Content-Length: 0\n\n"
    )
}

const VIA: &str = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;rport";
const CONTACT: &str = "Contact: <sip:alice@10.0.0.1:5060>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\n";

#[test]
fn a_200_says_what_is_registered_on_the_flow() {
    let mut bench = Bench::new();
    let copy = bench.forwarded(flow(Protocol::Udp), &request("REGISTER", VIA, CONTACT));
    let (_, learned) = bench.answered(
        &copy,
        200,
        &[
            (Name::Contact, "<sip:alice@10.0.0.1:5060>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=600"),
            (Name::Contact, "<sip:alice@10.0.0.1:5060>;+sip.instance=\"<urn:uuid:1>\";reg-id=2;expires=60"),
            (Name::Contact, "<sip:alice@203.0.113.9>;expires=30"),
        ],
    );
    let learned = learned.expect("a 200 teaches");
    assert_eq!((learned.flow, learned.aor.as_str()), (flow(Protocol::Udp), "sip:alice@example.com"));
    assert!(learned.asked < bench.now);
    let own: Vec<_> = learned.contacts.iter().map(|it| (it.own.is_some(), it.expires)).collect();
    assert_eq!(own, [(true, 600), (false, 60), (false, 30)]);
}

/// RFC 3261 §10.3 step 8 has a registrar list contacts; one that does not know Outbound lists them without its parameters.
#[test]
fn a_contact_is_known_again_without_its_reg_id() {
    for (listed, own) in [("", true), (";reg-id=1", true), (";reg-id=2", false)] {
        let mut bench = Bench::new();
        let asked = request("REGISTER", VIA, CONTACT);
        let copy = bench.forwarded(flow(Protocol::Udp), &asked);
        let listed = format!("<sip:alice@10.0.0.1:5060>{listed};expires=600");
        let (_, learned) = bench.answered(&copy, 200, &[(Name::Contact, &listed)]);
        let learned = learned.expect("a registration");
        assert_eq!(learned.contacts.iter().any(|contact| contact.own.is_some()), own, "{listed}");
    }
}

#[test]
fn a_refusal_teaches_nothing() {
    let mut bench = Bench::new();
    let copy = bench.forwarded(flow(Protocol::Udp), &request("REGISTER", VIA, CONTACT));
    assert!(bench.answered(&copy, 423, &[]).1.is_none());
}

#[test]
fn what_came_over_another_proxy_is_not_our_flow() {
    let mut bench = Bench::new();
    let via = format!("SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKp\nVia: {VIA}");
    let copy = bench.forwarded(flow(Protocol::Udp), &request("REGISTER", &via, CONTACT));
    let (response, learned) =
        bench.answered(&copy, 200, &[(Name::Require, "outbound"), (Name::Contact, &CONTACT[9..])]);
    assert!(learned.is_none());
    assert!(response.headers.get(Name::FlowTimer).is_none(), "RFC 5626 §5.4: the last proxy adds it");
}

#[test]
fn flow_timer_is_for_outbound_and_by_transport() {
    for (protocol, require, expected) in [
        (Protocol::Tcp, true, Some(&b"120"[..])),
        (Protocol::Udp, true, Some(b"25")),
        (Protocol::Tcp, false, None),
    ] {
        let mut bench = Bench::new();
        let via = VIA.replace("UDP", protocol.via());
        let copy = bench.forwarded(flow(protocol), &request("REGISTER", &via, CONTACT));
        let mut headers = vec![(Name::Contact, CONTACT[9..].trim())];
        if require {
            headers.push((Name::Require, "outbound"));
        }
        let (response, learned) = bench.answered(&copy, 200, &headers);
        assert_eq!(response.headers.get(Name::FlowTimer), expected);
        assert_eq!(learned.unwrap().supervised, expected.is_some());
    }
}

#[test]
fn a_keep_that_is_offered_is_accepted_where_the_edge_stays() {
    for (method, protocol, offer, expected) in [
        ("REGISTER", Protocol::Tcp, ";keep", Some("120")),
        ("REGISTER", Protocol::Udp, ";keep", Some("25")),
        ("INVITE", Protocol::Udp, ";KEEP;x=\"a;b\"", Some("25")),
        ("INVITE", Protocol::Udp, "", None),
        ("OPTIONS", Protocol::Udp, ";keep", None),
        ("REGISTER", Protocol::Udp, ";keep=7", Some("7")),
    ] {
        let mut bench = Bench::new();
        let via = format!("{}{offer}", VIA.replace("UDP", protocol.via()));
        let copy = bench.forwarded(flow(protocol), &request(method, &via, CONTACT));
        let (response, _) = bench.answered(&copy, 200, &[]);
        let via = response.top_via().unwrap().unwrap();
        assert_eq!(via.params.value("keep"), expected, "{method} {protocol:?} {offer}");
        assert_eq!(via.params.as_str().contains("x=\"a;b\""), offer.contains("x="));
        assert_eq!(via.branch(), Some("z9hG4bKa"));
    }
}

/// RFC 6223 §5: both in one answer say the same.
#[test]
fn keep_and_flow_timer_agree() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut bench = Bench::new();
        let via = format!("{};keep", VIA.replace("UDP", protocol.via()));
        let copy = bench.forwarded(flow(protocol), &request("REGISTER", &via, CONTACT));
        let (response, _) =
            bench.answered(&copy, 200, &[(Name::Contact, CONTACT[9..].trim()), (Name::Require, "outbound")]);
        let timer =
            response.headers.get(Name::FlowTimer).map(|value| String::from_utf8_lossy(value).into_owned());
        let via = response.top_via().unwrap().unwrap();
        assert!(timer.is_some());
        assert_eq!(via.params.value("keep"), timer.as_deref(), "{protocol:?}");
    }
}

/// RFC 6223 §4.4: every answer has the same value, the first one already.
#[test]
fn every_answer_accepts_the_keep_alike() {
    let mut bench = Bench::new();
    let via = format!("{VIA};keep");
    let copy = bench.forwarded(flow(Protocol::Udp), &request("INVITE", &via, CONTACT));
    for status in [180, 183, 200] {
        let (response, _) = bench.answered(&copy, status, &[]);
        assert_eq!(response.top_via().unwrap().unwrap().params.value("keep"), Some("25"), "{status}");
    }
}

/// RFC 6223 §4.3: an ACK has no answer in which it could be accepted.
#[test]
fn a_keep_of_an_ack_is_ignored() {
    let mut bench = Bench::new();
    let via = format!("{VIA};keep");
    let ack = bench.forwarded(flow(Protocol::Udp), &request("ACK", &via, CONTACT));
    let vias: Vec<_> =
        ack.headers.values(Name::Via).filter_map(|value| via::Via::parse(value).ok()).collect();
    let keeps: Vec<_> = vias.iter().map(|via| via.params.value("keep")).collect();
    assert_eq!(keeps, [None, None], "neither the UA's nor one of ours has a value");
}
