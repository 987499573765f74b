//! The transport on loopback, seen from both sides. Here: a node, and messages to send to it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod outbound;
mod pki;
mod tcp;
mod tls;
mod udp;
mod websocket;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use transport::{Config, Event, Flow, Protocol, Sink, Transport};

/// Nothing on loopback takes so long: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running transport and what it reports.
struct Node {
    transport: Transport,
    events: UnboundedReceiver<Event>,
    /// Sizes of the batches that were delivered.
    batches: UnboundedReceiver<usize>,
}

struct Forward {
    events: UnboundedSender<Event>,
    batches: UnboundedSender<usize>,
}

impl Sink for Forward {
    fn deliver(&self, batch: &mut Vec<Event>) {
        let _ = self.batches.send(batch.len());
        for event in batch.drain(..) {
            let _ = self.events.send(event);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the test process")]
fn now() -> Instant {
    Instant::now()
}

/// A configuration with these listeners.
fn config(listen: &[&str]) -> Config {
    Config { listen: listen.iter().map(|text| text.parse().unwrap()).collect(), ..Config::default() }
}

impl Node {
    async fn start(config: Config) -> Self {
        let (events_in, events) = unbounded_channel();
        let (batches_in, batches) = unbounded_channel();
        let sink = Arc::new(Forward { events: events_in, batches: batches_in });
        let transport = transport::bind(config, sink, now, 0xE70C).await.unwrap();
        Self { transport, events, batches }
    }

    fn port(&self) -> u16 {
        self.transport.listeners()[0].addr.port()
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("an event").unwrap()
    }

    async fn message(&mut self) -> (Flow, sip::Message) {
        match self.event().await {
            Event::Message { flow, message } => (flow, message),
            other => panic!("{other:?} instead of a message"),
        }
    }

    async fn up(&mut self) -> Flow {
        match self.event().await {
            Event::FlowUp(flow) => flow,
            other => panic!("{other:?} instead of FlowUp"),
        }
    }

    async fn down(&mut self) -> Flow {
        match self.event().await {
            Event::FlowDown(flow) => flow,
            other => panic!("{other:?} instead of FlowDown"),
        }
    }
}

/// An OPTIONS request; `number` is its Call-ID.
fn options(protocol: Protocol, number: usize) -> Vec<u8> {
    request("OPTIONS", "OPTIONS", protocol, number)
}

/// A request whose CSeq may name another method, which is malformed (RFC 3261 §8.1.1.5).
fn request(method: &str, cseq: &str, protocol: Protocol, number: usize) -> Vec<u8> {
    format!(
        "{method} sip:bob@example.com SIP/2.0\r\n\
         Via: SIP/2.0/{} 192.0.2.1:5060;rport;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\n\
         Call-ID: {number}\r\n\
         CSeq: 1 {cseq}\r\n\
         Content-Length: 0\r\n\r\n",
        protocol.via()
    )
    .into_bytes()
}

fn number(message: &sip::Message) -> usize {
    std::str::from_utf8(message.call_id()).unwrap().parse().unwrap()
}
