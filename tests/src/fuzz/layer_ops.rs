//! The transaction layer under any sequence of messages, orders and failures: RFC 3261 §17, RFC 6026, RFC 4320.
//!
//! Every transaction ends once and says nothing after its end; a client transaction has one outcome; time repeats nothing on a
//! reliable hop; after 64·T1 of silence nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use sip::{Message, Method, Name, Request, Response, StatusCode, parse};
use transaction::{ClientId, Event, Ids, Layer, Output, Peer, ServerId, Timers};

/// Reads a sequence of operations and carries them out.
pub fn check(data: &[u8]) {
    _ = play(&mut Unstructured::new(data));
}

fn play(data: &mut Unstructured<'_>) -> Result<()> {
    let mut judge = Judge::new();
    for _ in 0..MOST_OPERATIONS {
        if data.is_empty() {
            break;
        }
        judge.step(data)?;
    }
    judge.finish();
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Hop {
    Udp(u8),
    Tcp(u8),
}

impl Peer for Hop {
    fn is_reliable(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

/// What the judge knows of a client transaction.
struct Client {
    id: ClientId,
    request: Request,
    hop: Hop,
    ended: bool,
    abandoned: bool,
    /// Finals, and one for a time-out or a failed hop.
    outcomes: Vec<Option<StatusCode>>,
}

struct Server {
    request: Request,
    ended: bool,
}

struct Judge {
    layer: Layer<Hop>,
    now: Instant,
    clients: Vec<Client>,
    servers: Vec<ServerId>,
    known: BTreeMap<ServerId, Server>,
    /// Requests that left over a reliable hop.
    sent: BTreeSet<(String, String)>,
    last: Vec<Bytes>,
}

impl Judge {
    fn new() -> Self {
        Self {
            layer: Layer::new(Timers::default(), Ids::new([1; 32])),
            now: super::origin(),
            clients: Vec::new(),
            servers: Vec::new(),
            known: BTreeMap::new(),
            sent: BTreeSet::new(),
            last: Vec::new(),
        }
    }

    fn step(&mut self, data: &mut Unstructured<'_>) -> Result<()> {
        let now = self.now;
        match data.int_in_range(0..=15)? {
            0 => self.wait(Duration::from_millis(data.int_in_range(0..=600)?)),
            1 => self.wait(Duration::from_millis(data.int_in_range(0..=40_000)?)),
            2..=5 => {
                let (method, branch) = (data.choose(&INCOMING)?, data.choose(&BRANCHES)?);
                self.layer.receive(request(method, branch).into(), hop(data)?, now);
            }
            6 | 7 if !self.servers.is_empty() => {
                self.respond(*data.choose(&self.servers)?, *data.choose(&CODES)?);
            }
            8 => self.launch(data.choose(&OUTGOING)?, hop(data)?),
            9..=11 if !self.clients.is_empty() => self.answer(data)?,
            12 if !self.clients.is_empty() => self.layer.cancel(data.choose(&self.clients)?.id, now),
            13 if !self.clients.is_empty() => {
                let at = data.choose_index(self.clients.len())?;
                self.clients[at].abandoned |= !self.clients[at].ended;
                self.layer.abandon(self.clients[at].id);
            }
            14 if !self.last.is_empty() => {
                let bytes = data.choose(&self.last)?.clone();
                self.layer.not_sent(&bytes, now);
            }
            15 => self.fail_or_redirect(data)?,
            _ => {}
        }
        self.drain(false);
        Ok(())
    }

    fn respond(&mut self, id: ServerId, code: u16) {
        let response = Response::to(&self.known[&id].request, StatusCode::new(code), Some("uas"));
        self.layer.respond(id, response, self.now);
    }

    fn launch(&mut self, method: &Method, hop: Hop) {
        let request = request(method, &format!("z9hG4bKc{}", self.clients.len()));
        let id = self.layer.request(request.clone(), hop, self.now);
        self.clients.push(Client { id, request, hop, ended: false, abandoned: false, outcomes: Vec::new() });
    }

    fn answer(&mut self, data: &mut Unstructured<'_>) -> Result<()> {
        let client = data.choose(&self.clients)?;
        let mut response = Response::to(&client.request, StatusCode::new(*data.choose(&CODES)?), Some("uas"));
        if data.ratio(1, 8)? {
            response.headers.set(Name::CSeq, "1 CANCEL");
        }
        self.layer.receive(response.into(), client.hop, self.now);
        Ok(())
    }

    fn fail_or_redirect(&mut self, data: &mut Unstructured<'_>) -> Result<()> {
        if data.arbitrary()? {
            self.layer.transport_error(hop(data)?, self.now);
        } else if let (Some(client), false) = (self.clients.last(), self.servers.is_empty()) {
            // To another link, which is as reliable as the first.
            if let Some(Hop::Tcp(link)) = self.layer.client_peer(client.id) {
                self.layer.redirect_client(client.id, Hop::Tcp(link ^ 1));
            }
            let server = *data.choose(&self.servers)?;
            if let Some(Hop::Tcp(link)) = self.layer.peer_of(server) {
                self.layer.redirect_server(server, Hop::Tcp(link ^ 1));
            }
        }
        Ok(())
    }

    /// Lets time pass; timers fire when they are due.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.layer.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.layer.handle_timeout(self.now);
            assert!(
                self.layer.poll_timeout().is_none_or(|next| next > self.now),
                "a timer that was due has fired"
            );
            self.drain(true);
        }
        self.now = until;
    }

    /// The TU does its duty: every request gets a final, no phone rings for ever.
    fn finish(&mut self) {
        for id in self.servers.clone() {
            self.respond(id, 500);
        }
        for at in 0..self.clients.len() {
            self.layer.cancel(self.clients[at].id, self.now);
            if self.clients[at].request.method == Method::Invite {
                let ringing = Response::to(&self.clients[at].request, StatusCode::RINGING, Some("uas"));
                self.layer.receive(ringing.into(), self.clients[at].hop, self.now);
            }
        }
        self.drain(false);
        self.wait(LIFETIME);
        assert_eq!((self.layer.counts().total(), self.layer.poll_timeout()), (0, None), "nothing is left");
        assert!(self.known.values().all(|server| server.ended), "every server transaction ends");
        for client in &self.clients {
            assert!(client.ended != client.abandoned, "every client transaction ends, unless it was dropped");
            assert!(client.abandoned || !client.outcomes.is_empty(), "with an outcome");
        }
    }

    fn drain(&mut self, by_time: bool) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Send { to, bytes, lane } => self.sent(to, &bytes, lane, by_time),
                Output::Event(event) => self.told(event),
            }
        }
    }

    fn sent(&mut self, to: Hop, bytes: &Bytes, lane: u64, by_time: bool) {
        let message = read(bytes);
        assert_eq!(message.encode(), bytes);
        assert_eq!(lane, transaction::lane(message.call_id()));
        match &message {
            Message::Request(request) => {
                let branch = request.top_via().expect("a Via").branch().expect("a branch").to_owned();
                let first = self.sent.insert((branch, request.method.to_string())) || !to.is_reliable();
                assert!(first, "a reliable hop sees no request twice");
            }
            Message::Response(response) => {
                let (code, cseq) = (response.status.code(), response.cseq().expect("a CSeq"));
                assert!(
                    !by_time || !to.is_reliable() || code == 100,
                    "time repeats nothing on a reliable hop"
                );
                if cseq.method != Method::Invite {
                    assert!(code == 100 || (code >= 200 && code != 408), "RFC 4320 §4");
                }
            }
        }
        self.last.truncate(7);
        self.last.insert(0, bytes.clone());
    }

    fn told(&mut self, event: Event<Hop>) {
        match event {
            Event::Request { id, request, .. } => {
                assert!(request.method != Method::Ack);
                self.servers.push(id);
                assert!(
                    self.known.insert(id, Server { request, ended: false }).is_none(),
                    "an id is never used again"
                );
            }
            Event::Cancel { invite, .. } => {
                let server = &self.known[&invite];
                assert!(server.request.method == Method::Invite && !server.ended);
            }
            Event::Ack { request, .. } => assert_eq!(request.method, Method::Ack),
            Event::StrayResponse { .. } => {}
            Event::Response { id, response } => {
                let client = self.living(id);
                let is_final = response.status.is_final();
                assert!(is_final || client.outcomes.is_empty(), "a provisional response after a final");
                if is_final {
                    client.outcome(Some(response.status));
                }
            }
            Event::Timeout { id } | Event::TransportError { id } => self.living(id).outcome(None),
            Event::ClientEnded { id } => self.living(id).ended = true,
            Event::ServerEnded { id } => {
                let server = self.known.get_mut(&id).expect("a transaction that was told of");
                assert!(!std::mem::replace(&mut server.ended, true), "it ends once");
            }
        }
    }

    fn living(&mut self, id: ClientId) -> &mut Client {
        let client = self.clients.iter_mut().find(|client| client.id == id).expect("one of ours");
        assert!(!client.ended && !client.abandoned, "nothing after its end");
        client
    }
}

impl Client {
    /// One, or any number of 2xx to an INVITE (RFC 6026 §7.2).
    fn outcome(&mut self, outcome: Option<StatusCode>) {
        self.outcomes.push(outcome);
        let accepted = self.request.method == Method::Invite
            && self.outcomes.iter().all(|outcome| outcome.is_some_and(StatusCode::is_success));
        assert!(self.outcomes.len() == 1 || accepted, "{:?}", self.outcomes);
    }
}

fn hop(data: &mut Unstructured<'_>) -> Result<Hop> {
    Ok(*data.choose(&[Hop::Udp(0), Hop::Udp(1), Hop::Tcp(0), Hop::Tcp(1)])?)
}

fn read(bytes: &Bytes) -> Message {
    parse::message(bytes.clone(), &parse::Limits::default()).expect("what is sent can be read")
}

fn request(method: &Method, branch: &str) -> Request {
    let text = format!(
        "{method} sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33.atlanta.com:5062;branch={branch}\r\n\
         Max-Forwards: 70\r\nFrom: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\nTo: Bob <sip:bob@biloxi.com>\r\n\
         Call-ID: 987asjd97y7atg\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    match read(&text.into()) {
        Message::Request(request) => request,
        Message::Response(_) => panic!("it starts with a method"),
    }
}

const INCOMING: [Method; 6] =
    [Method::Invite, Method::Invite, Method::Ack, Method::Cancel, Method::Options, Method::Register];

const OUTGOING: [Method; 2] = [Method::Invite, Method::Options];

/// The last is that of an RFC 2543 client.
const BRANCHES: [&str; 4] = ["z9hG4bKs0", "z9hG4bKs1", "z9hG4bKs2", "1"];

const CODES: [u16; 12] = [100, 180, 183, 200, 202, 302, 404, 408, 486, 487, 500, 603];

/// 64·T1: the longest that any transaction lives when nothing comes in.
const LIFETIME: Duration = Duration::from_secs(32);

const MOST_OPERATIONS: usize = 100;
