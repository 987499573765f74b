//! A layer in virtual time, with everything that comes out of it written down.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Message, Method, Request, Response, StatusCode, parse};
use transaction::{ClientId, Event, Ids, Layer, Output, Peer, ServerId, Timers};

/// A hop of a test: its number, and whether messages may get lost on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hop {
    Udp(u8),
    Tcp(u8),
}

impl Peer for Hop {
    fn is_reliable(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

/// The layer, the time in milliseconds, and what came out: (ms, text).
///
/// `> INVITE`, `> 180` was sent; `request INVITE`, `response 180`, `cancel`, `ack`, `stray 200`, `timeout`, `error`,
/// `client ended`, `server ended` was told to the TU.
pub(crate) struct Stage {
    pub(crate) layer: Layer<Hop>,
    start: Instant,
    now: u64,
    pub(crate) log: Vec<(u64, String)>,
    /// What was sent, in full.
    pub(crate) sent: Vec<(Hop, Message)>,
    /// The server transactions that the TU was told of, oldest first.
    pub(crate) servers: Vec<(ServerId, Request)>,
    /// What the TU was told of transactions it knows, in order.
    pub(crate) told: Vec<Told>,
}

/// An event without its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Request(ServerId),
    Cancel(ServerId),
    Response(ClientId, StatusCode),
    Timeout(ClientId),
    Error(ClientId),
    ClientEnded(ClientId),
    ServerEnded(ServerId),
}

impl Stage {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    pub(crate) fn new() -> Self {
        let layer = Layer::new(Timers::default(), Ids::new([1; 32]));
        Self {
            layer,
            start: Instant::now(),
            now: 0,
            log: Vec::new(),
            sent: Vec::new(),
            servers: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Lets time pass until `ms`, timers firing exactly when they are due.
    pub(crate) fn at(&mut self, ms: u64) -> &mut Self {
        while let Some(due) = self.layer.poll_timeout() {
            let due = u64::try_from(due.duration_since(self.start).as_millis())
                .expect("a test of less than an aeon");
            if due > ms {
                break;
            }
            self.now = self.now.max(due);
            self.layer.handle_timeout(self.instant());
            self.drain();
        }
        self.now = ms;
        self
    }

    pub(crate) fn receive(&mut self, message: impl Into<Message>, from: Hop) -> &mut Self {
        let now = self.instant();
        self.layer.receive(message.into(), from, now);
        self.drain()
    }

    pub(crate) fn request(&mut self, request: Request, to: Hop) -> ClientId {
        let now = self.instant();
        let id = self.layer.request(request, to, now);
        self.drain();
        id
    }

    /// Answers the `nth` request with `status`.
    pub(crate) fn respond(&mut self, nth: usize, status: u16) -> &mut Self {
        let (id, request) = &self.servers[nth];
        let response = Response::to(request, StatusCode::new(status), Some("uas"));
        let (id, now) = (*id, self.instant());
        self.layer.respond(id, response, now);
        self.drain()
    }

    pub(crate) fn cancel(&mut self, id: ClientId) -> &mut Self {
        let now = self.instant();
        self.layer.cancel(id, now);
        self.drain()
    }

    pub(crate) fn transport_error(&mut self, peer: Hop) -> &mut Self {
        let now = self.instant();
        self.layer.transport_error(peer, now);
        self.drain()
    }

    pub(crate) fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    pub(crate) fn drain(&mut self) -> &mut Self {
        while let Some(output) = self.layer.poll_output() {
            let line = match output {
                Output::Send { to, bytes, .. } => {
                    let message = read(bytes);
                    let line = match &message {
                        Message::Request(request) => format!("> {}", request.method),
                        Message::Response(response) => format!("> {}", response.status.code()),
                    };
                    self.sent.push((to, message));
                    line
                }
                Output::Event(event) => {
                    let (line, told) = self.note(event);
                    self.told.extend(told);
                    line
                }
            };
            self.log.push((self.now, line));
        }
        self
    }

    fn note(&mut self, event: Event<Hop>) -> (String, Option<Told>) {
        match event {
            Event::Request { id, request, .. } => {
                let line = format!("request {}", request.method);
                self.servers.push((id, request));
                (line, Some(Told::Request(id)))
            }
            Event::Cancel { invite, .. } => ("cancel".into(), Some(Told::Cancel(invite))),
            Event::Ack { .. } => ("ack".into(), None),
            Event::Response { id, response } => {
                (format!("response {}", response.status.code()), Some(Told::Response(id, response.status)))
            }
            Event::StrayResponse { response, .. } => (format!("stray {}", response.status.code()), None),
            Event::Timeout { id } => ("timeout".into(), Some(Told::Timeout(id))),
            Event::TransportError { id } => ("error".into(), Some(Told::Error(id))),
            Event::ClientEnded { id } => ("client ended".into(), Some(Told::ClientEnded(id))),
            Event::ServerEnded { id } => ("server ended".into(), Some(Told::ServerEnded(id))),
        }
    }
}

/// The message in these bytes.
pub(crate) fn read(bytes: impl Into<Bytes>) -> Message {
    parse::message(bytes.into(), &parse::Limits::default()).expect("a readable message")
}

/// A request with what §8.1.1 demands; `branch` with or without the cookie.
pub(crate) fn request(method: &Method, branch: &str) -> Request {
    let text = format!(
        "{method} sip:bob@biloxi.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP pc33.atlanta.com:5062;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
         To: Bob <sip:bob@biloxi.com>\r\n\
         Call-ID: 987asjd97y7atg\r\n\
         CSeq: 986759 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    match read(text) {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("it starts with a method"),
    }
}

/// The answer of the other side to `request`.
pub(crate) fn answer(request: &Request, status: u16) -> Response {
    Response::to(request, StatusCode::new(status), Some("99sa0xk"))
}
