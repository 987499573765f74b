//! A scripted user agent: RFC 3261 §8, §10.2, §12 to §15, §17 and §22, RFC 5626 §4 as far as a test phone needs them.
//!
//! It parses and builds with rsip alone, never with the cluster's own parser, so that no mistake can hide on both sides.
//! It is stepped like an engine: messages, orders and the time come in, [`Packet`]s go out. It keeps its promises to the
//! network (retransmission, absorption, ACK) and does what its script says where a person would decide.
//!
//! A UA has *lines*, numbered from 0: each is one flow to one edge. Its driver knows which.

use std::collections::VecDeque;
use std::time::Duration;

use rsip::SipMessage;

mod client;
mod dialog;
pub mod digest;
pub mod message;
mod register;
mod server;
mod watch;

use client::Client;
use digest::{Algorithm, Challenge};
use server::Server;

pub use dialog::Dialog;
pub use register::{Contacts, Register, Registration};
pub use watch::{Notified, Subscribe, Subscription};

/// Who the UA is and what it can do.
#[derive(Debug, Clone)]
pub struct Profile {
    /// User part of its address-of-record and of its credentials.
    pub user: String,
    /// Its domain, which is its realm, too.
    pub domain: String,
    /// Its password.
    pub password: String,
    /// The digest algorithm that it knows.
    pub algorithm: Algorithm,
    /// `host:port` that it believes to have; a NAT shows another one to the world.
    pub host: String,
    /// Instance-id (RFC 5626 §4.1), a URN.
    pub instance: Option<String>,
    /// Whether it says `Supported: path`, and `outbound` as well when it has an instance.
    pub supports_path: bool,
    /// Whether it sends its requests the way that a Service-Route tells (RFC 3608 §6.1).
    pub follows_service_route: bool,
}

/// What a UA does with an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// When it rings.
    pub ring: Option<Duration>,
    /// When it answers, and with what.
    pub last: Option<(Duration, u16)>,
}

impl Answer {
    /// Rings at once, and answers with 200 after `ms`.
    pub fn after_ms(ms: u64) -> Self {
        Self { ring: Some(Duration::ZERO), last: Some((Duration::from_millis(ms), 200)) }
    }

    /// Rings at once and for ever.
    pub fn never() -> Self {
        Self { ring: Some(Duration::ZERO), last: None }
    }

    /// Refuses with `status` after `ms`, without ringing.
    pub fn refuse(status: u16, ms: u64) -> Self {
        Self { ring: None, last: Some((Duration::from_millis(ms), status)) }
    }

    /// Says nothing at all, not even that it rings.
    pub fn silent() -> Self {
        Self { ring: None, last: None }
    }
}

/// One message for the network.
#[derive(Debug)]
pub struct Packet {
    /// The line that it leaves on.
    pub line: usize,
    /// The message.
    pub text: String,
}

/// One message that came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When.
    pub at: Duration,
    /// On which line.
    pub line: usize,
    /// What.
    pub message: SipMessage,
}

/// A call that the UA has placed.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its Call-ID.
    pub call_id: String,
    /// Who was called, as a URI.
    pub target: String,
    /// Every response but 100, in the order of arrival, repetitions of a final left out.
    pub statuses: Vec<u16>,
    /// The first final that is not a challenge which was then answered.
    pub last: Option<u16>,
    /// When that came.
    pub ended_at: Option<Duration>,
    /// The dialog that the first 2xx made.
    pub dialog: Option<usize>,
    /// True when the final is the UA's own: nobody answered within 64·T1.
    pub timed_out: bool,
    cancel: Cancel,
    line: usize,
    from_tag: String,
    cseq: u32,
    attempts: u32,
    options: CallOptions,
}

/// How far the wish to cancel has come (RFC 3261 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    Wanted,
    Sent,
}

/// What a test may change about an INVITE (or another request outside of a dialog).
#[derive(Debug, Clone)]
pub struct CallOptions {
    /// From URI instead of the own address-of-record.
    pub from: Option<String>,
    /// Max-Forwards.
    pub max_forwards: u32,
    /// Whole header lines to add.
    pub extra: Vec<(String, String)>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { from: None, max_forwards: 70, extra: Vec::new() }
    }
}

/// The final answer to a request that is neither INVITE nor REGISTER, by the number that the order gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The final; 408 when nobody answered.
    pub status: Option<u16>,
    /// When.
    pub at: Duration,
}

/// The UA.
#[derive(Debug)]
pub struct Ua {
    /// Who it is.
    pub profile: Profile,
    /// What it does with calls from now on.
    pub answer: Answer,
    /// The GRUU that it gives as its contact in dialogs, if any (RFC 5627 §3.3).
    pub gruu: Option<String>,
    /// The Service-Route of its last registration.
    pub service_route: Vec<String>,
    /// False: it hears and says nothing, like a phone without power.
    pub is_on: bool,
    /// Everything that came.
    pub heard: Vec<Heard>,
    /// The calls that it has placed.
    pub calls: Vec<Call>,
    /// Every dialog there ever was, in the order of its making.
    pub dialogs: Vec<Dialog>,
    /// Its registrations, one for each Call-ID.
    pub registrations: Vec<Registration>,
    /// Its subscriptions, one for each dialog.
    pub subscriptions: Vec<Subscription>,
    /// The answers to its other requests.
    pub outcomes: Vec<Outcome>,
    /// Host of each line's edge as URIs name it.
    pub(crate) edges: Vec<String>,
    pub(crate) reliable: Vec<bool>,
    now: Duration,
    last_id: u64,
    www: Option<Challenge>,
    proxy: Option<Challenge>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    out: VecDeque<Packet>,
}

/// RFC 3261 §17.1.1.1.
pub(crate) const T1: Duration = Duration::from_millis(500);
pub(crate) const T2: Duration = Duration::from_secs(4);
pub(crate) const T4: Duration = Duration::from_secs(5);
/// 64·T1.
pub(crate) const LIFETIME: Duration = Duration::from_secs(32);

impl Ua {
    /// A UA without lines that has nothing to do.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            answer: Answer::after_ms(1_000),
            gruu: None,
            service_route: Vec::new(),
            is_on: true,
            heard: Vec::new(),
            calls: Vec::new(),
            dialogs: Vec::new(),
            registrations: Vec::new(),
            subscriptions: Vec::new(),
            outcomes: Vec::new(),
            edges: Vec::new(),
            reliable: Vec::new(),
            now: Duration::ZERO,
            last_id: 0,
            www: None,
            proxy: None,
            clients: Vec::new(),
            servers: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// One more line, to the edge that URIs name `edge`; gives its number.
    pub fn add_line(&mut self, edge: String, reliable: bool) -> usize {
        self.edges.push(edge);
        self.reliable.push(reliable);
        self.edges.len() - 1
    }

    /// Its address-of-record.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.profile.user, self.profile.domain)
    }

    /// The URI of its Contact.
    pub fn contact(&self) -> String {
        format!("sip:{}@{}", self.profile.user, self.profile.host)
    }

    /// The URI of its Contact inside dialogs.
    pub(crate) fn target(&self) -> String {
        self.gruu.clone().unwrap_or_else(|| self.contact())
    }

    /// Time goes on.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
    }

    /// The next packet for the network.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        let packet = self.out.pop_front()?;
        self.is_on.then_some(packet)
    }

    /// Takes a message.
    ///
    /// # Panics
    ///
    /// When rsip cannot read it: what the cluster writes can be read by everybody.
    pub fn receive(&mut self, line: usize, bytes: &[u8]) {
        if !self.is_on {
            return;
        }
        let message = SipMessage::try_from(bytes).unwrap_or_else(|error| {
            panic!("{} cannot read ({error}):\n{}", self.profile.user, String::from_utf8_lossy(bytes))
        });
        self.heard.push(Heard { at: self.now, line, message: message.clone() });
        match message {
            SipMessage::Request(request) => self.on_request(line, &request),
            SipMessage::Response(response) => self.on_response(&response),
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Duration> {
        let clients = self.clients.iter().filter_map(Client::next_timeout);
        clients.chain(self.servers.iter().filter_map(Server::next_timeout)).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self) {
        self.time_clients();
        self.time_servers();
        self.clients.retain(|client| !client.is_over());
        self.servers.retain(|server| !server.is_over());
    }

    /// True when it waits for nothing and nobody waits for it.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty()
    }

    /// True while an incoming INVITE has no final.
    pub fn is_ringing(&self) -> bool {
        self.servers.iter().any(Server::is_pending)
    }

    /// The requests with this method that came, in their order.
    pub fn requests(&self, method: &str) -> Vec<&rsip::Request> {
        let requests = self.heard.iter().filter_map(|heard| match &heard.message {
            SipMessage::Request(request) => Some(request),
            SipMessage::Response(_) => None,
        });
        requests.filter(|request| request.method.to_string() == method).collect()
    }

    /// The requests with this method that came, without repetitions: the first of each branch.
    pub fn transactions(&self, method: &str) -> Vec<&rsip::Request> {
        let mut seen: Vec<&rsip::Request> = Vec::new();
        for request in self.requests(method) {
            let branch = message::branch(&request.headers);
            if seen.iter().all(|other| message::branch(&other.headers) != branch) {
                seen.push(request);
            }
        }
        seen
    }

    /// The responses with this status that came.
    pub fn responses(&self, status: u16) -> Vec<&rsip::Response> {
        let responses = self.heard.iter().filter_map(|heard| match &heard.message {
            SipMessage::Response(response) => Some(response),
            SipMessage::Request(_) => None,
        });
        responses.filter(|response| response.status_code.code() == status).collect()
    }

    /// Sends a text as it is.
    pub fn say(&mut self, line: usize, text: String) {
        self.out.push_back(Packet { line, text });
    }

    /// A number that this UA has not used yet.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn fresh_branch(&mut self) -> String {
        let host = self.profile.host.replace([':', '.'], "x");
        let number = self.fresh();
        format!("z9hG4bK{}x{host}x{number}", self.profile.user)
    }

    pub(crate) fn fresh_tag(&mut self) -> String {
        let host = self.profile.host.replace([':', '.'], "x");
        let number = self.fresh();
        format!("{}x{host}t{number}", self.profile.user)
    }

    pub(crate) fn via(&self, line: usize, branch: &str) -> String {
        let transport = if self.reliable.get(line).copied().unwrap_or(false) { "TCP" } else { "UDP" };
        format!("SIP/2.0/{transport} {};rport;branch={branch}", self.profile.host)
    }

    /// The line to the edge that a URI names; `otherwise` when there is none.
    pub(crate) fn line_to(&self, uri: &str, otherwise: usize) -> usize {
        let host = message::host_of(uri);
        self.edges.iter().position(|edge| edge == host).unwrap_or(otherwise)
    }
}
