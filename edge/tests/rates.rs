//! What one source may ask an edge for: RFC 3261 §21.5.4, and whom it does not concern.

use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_proxy::engine::{Edge, Input, Output};
use edge_proxy::rates::Limits;
use edge_proxy::settings::Settings;
use link::PeerId;
use node::Engine as _;
use sip::{Message, Name, Response, parse};
use transaction::Timers;
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

/// An edge with a core, where a source has two calls and one of everything else a second.
struct Stage {
    edge: Edge,
    now: Instant,
    numbers: u32,
}

/// What a source may begin at once: ten seconds' worth, and one.
const CALLS: usize = 21;

fn keys() -> Keys {
    Keys::random([7; 32])
}

fn flow(remote: &str) -> Flow {
    Flow::udp("192.0.2.1:5060".parse().expect("an address"), remote.parse().expect("an address"))
}

fn mallory() -> Flow {
    flow("198.51.100.66:5060")
}

impl Stage {
    fn new() -> Self {
        let listen = Listen { protocol: Protocol::Udp, addr: "192.0.2.1:5060".parse().expect("an address") };
        let trusted = vec!["203.0.113.0/24".parse().expect("a network")];
        let settings = Settings::new("edge-1".to_owned(), None, vec![listen], &[], trusted, keys());
        let limits = Limits { registrations: 1, calls: 2, others: 1 };
        let now = node::clock::now();
        let mut edge = Edge::new(Settings { limits, ..settings }, Timers::default(), [3; 32]);
        edge.handle(Input::CoreUp { core: PeerId(1), name: "core-1".to_owned(), weight: 1 }, now);
        Self { edge, now, numbers: 0 }
    }

    fn fresh(&mut self, method: &str, to_tag: &str, extra: &str) -> String {
        self.numbers += 1;
        let number = self.numbers;
        format!(
            "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP ua.invalid;branch=z9hG4bK{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>{to_tag}\r\n\
             Call-ID: c{number}\r\nCSeq: 1 {method}\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    /// What a message comes to: how many messages reach a core, and the answers to its sender other than 100.
    fn says(&mut self, flow: Flow, text: &str) -> (usize, Vec<Response>) {
        let message = read(text.to_owned().into());
        self.edge.handle(Input::FromUa { flow, message }, self.now);
        let (mut passed, mut answers) = (0, Vec::new());
        while let Some(output) = self.edge.poll_output() {
            match output {
                Output::ToCore { .. } => passed += 1,
                Output::ToUa { bytes, .. } => match read(bytes) {
                    Message::Response(answer) if answer.status.code() > 100 => answers.push(answer),
                    Message::Response(_) | Message::Request(_) => {}
                },
                _ => {}
            }
        }
        (passed, answers)
    }

    /// How many of so many new requests pass.
    fn passed(&mut self, flow: Flow, method: &str, count: usize) -> usize {
        let mut passed = 0;
        for _ in 0..count {
            let text = self.fresh(method, "", "");
            passed += self.says(flow, &text).0;
        }
        passed
    }
}

fn read(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).expect("well-formed")
}

#[test]
fn who_asks_for_too_much_is_told_when_to_come_back() {
    let mut stage = Stage::new();
    assert_eq!(stage.passed(mallory(), "INVITE", 100), CALLS);
    let before = stage.edge.counters();
    let text = stage.fresh("INVITE", "", "");
    let (passed, answers) = stage.says(mallory(), &text);
    assert_eq!((passed, answers.len()), (0, 1));
    assert_eq!(answers[0].status.code(), 503);
    let wait = answers[0].headers.get(Name::RetryAfter).expect("when to come back");
    assert!((2..10).contains(&String::from_utf8_lossy(wait).parse::<u32>().expect("seconds")));
    let after = stage.edge.counters();
    assert_eq!(after.transactions.total(), before.transactions.total(), "a refusal costs no memory");
    assert_eq!(after.limited, before.limited + 1);
    // Other classes and other sources have their own.
    assert_eq!(stage.passed(mallory(), "REGISTER", 100), 11);
    assert_eq!(stage.passed(mallory(), "OPTIONS", 50) + stage.passed(mallory(), "MESSAGE", 50), 11);
    assert_eq!(stage.passed(flow("198.51.100.67:5060"), "INVITE", 1), 1);
    assert_eq!(stage.passed(flow("198.51.100.66:6000"), "INVITE", 1), 0, "the port makes no other source");
    stage.now += Duration::from_secs(1);
    assert_eq!(stage.passed(mallory(), "INVITE", 100), 2);
}

#[test]
fn who_talks_already_goes_on() {
    let mut stage = Stage::new();
    let first = stage.fresh("INVITE", "", "");
    assert_eq!(stage.says(mallory(), &first).0, 1);
    stage.passed(mallory(), "INVITE", 100);
    stage.passed(mallory(), "BYE", 100);
    // A repetition is no new request, and a CANCEL ends one.
    assert!(stage.says(mallory(), &first).1.is_empty());
    let cancel = first.replace("INVITE", "CANCEL");
    assert_eq!(stage.says(mallory(), &cancel).1[0].status.code(), 200);
    let token = keys().mint(&mallory());
    let ours = format!("Route: <sip:{token}@192.0.2.1:5060;lr>\r\n");
    let forged = format!("Route: <sip:{}@192.0.2.1:5060;lr>\r\n", Keys::random([8; 32]).mint(&mallory()));
    for method in ["INVITE", "BYE", "ACK"] {
        let within = stage.fresh(method, ";tag=b", &ours);
        assert_eq!(stage.says(mallory(), &within).0, 1, "{method} in a dialog of ours");
        for route in ["", &forged] {
            let beside = stage.fresh(method, ";tag=b", route);
            let (passed, answers) = stage.says(mallory(), &beside);
            assert_eq!((passed, answers.len()), (0, usize::from(method != "ACK")), "{method} {route}");
        }
    }
}

#[test]
fn trusted_peers_are_not_counted() {
    let mut stage = Stage::new();
    assert_eq!(stage.passed(flow("203.0.113.5:5060"), "INVITE", 100), 100);
}
