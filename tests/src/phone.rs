//! Phones that follow a script, in front of real edges: what they say is made of bytes and what they hear is shown as it
//! came, so nothing is smoothed by a SIP stack and a script may break any rule.
//!
//! A phone waits for a message, never for time. What it has heard before and hears again (RFC 3261 §17: retransmissions on
//! a busy machine) counts as heard once, unless the script asks for [`Phone::hears_again`]. OPTIONS by which an edge keeps a
//! flow open are answered without a word to the script.

mod dialog;
mod exchange;
mod message;
mod register;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

pub use self::dialog::Dialog;
pub use self::exchange::{Exchange, PASSWORD, scenario};
pub use self::message::{Message, assert_passed, parameter};
pub use self::wire::Transport;

use self::wire::{Access, Wire};
use crate::cluster::DOMAIN;

/// How long a message may take that the script waits for. Long: a machine may be busy, and nobody waits in vain in a test
/// that passes.
const LIMIT: Duration = Duration::from_secs(20);

/// Where those are at home who are no users of the cluster.
pub const ELSEWHERE: &str = "elsewhere.test";

/// A phone.
#[derive(Debug)]
pub struct Phone {
    /// Its user.
    pub user: String,
    /// Where its user is at home: [`DOMAIN`] or [`ELSEWHERE`].
    pub domain: &'static str,
    /// What it speaks.
    pub transport: Transport,
    /// Its own address.
    pub local: SocketAddr,
    /// How long it waits for a message.
    pub patience: Duration,
    wire: Wire,
    /// Makes branches, Call-IDs and tags its own.
    mark: String,
    numbers: u32,
    registers: u32,
    waiting: VecDeque<Message>,
    heard: Vec<(Message, u32)>,
    trace: Vec<String>,
}

impl Phone {
    async fn open(
        user: &str,
        domain: &'static str,
        transport: Transport,
        edge: &Access,
        mark: String,
    ) -> Self {
        let wire = Wire::open(transport, edge).await.expect("a socket on loopback");
        let local = wire.local();
        Self {
            user: user.to_owned(),
            domain,
            transport,
            local,
            patience: LIMIT,
            wire,
            mark,
            numbers: 0,
            registers: 0,
            waiting: VecDeque::new(),
            heard: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// The address-of-record.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// The URI of its Contact.
    pub fn contact(&self) -> String {
        let (user, host) = (&self.user, self.host());
        match self.transport {
            Transport::Udp => format!("sip:{user}@{host}"),
            Transport::Tcp => format!("sip:{user}@{host};transport=tcp"),
            Transport::Tls => format!("sip:{user}@{host};transport=tls"),
            Transport::Wss | Transport::Ws => format!("sip:{user}@{host};transport=ws"),
        }
    }

    /// What it writes where its address belongs. A browser does not know its own (RFC 7118 §5).
    pub fn host(&self) -> String {
        match self.transport {
            Transport::Udp | Transport::Tcp | Transport::Tls => self.local.to_string(),
            Transport::Wss | Transport::Ws => format!("{}.invalid", self.mark),
        }
    }

    /// Something that nobody has used before.
    pub fn fresh(&mut self) -> String {
        self.numbers += 1;
        format!("{}-{}", self.mark, self.numbers)
    }

    /// The value of a Via with a new branch.
    pub fn via(&mut self) -> String {
        let branch = self.fresh();
        format!("SIP/2.0/{} {};rport;branch=z9hG4bK{branch}", self.transport.via(), self.host())
    }

    /// A request outside of any dialog, RFC 3261 §8.1.1.
    pub fn request(&mut self, method: &str, uri: &str) -> Message {
        let (via, call_id, tag) = (self.via(), self.fresh(), self.fresh());
        Message::request(method, uri)
            .with("Via", &via)
            .with("Max-Forwards", "70")
            .with("From", &format!("<{}>;tag={tag}", self.aor()))
            .with("To", &format!("<{uri}>"))
            .with("Call-ID", &call_id)
            .with("CSeq", &format!("1 {method}"))
            .with("Contact", &format!("<{}>", self.contact()))
            .with("Content-Length", "0")
    }

    /// A request inside a dialog, §12.2.1.1. An ACK has the number of its INVITE (§13.2.2.4).
    pub fn within(&mut self, dialog: &mut Dialog, method: &str) -> Message {
        if method != "ACK" {
            dialog.number += 1;
        }
        let via = self.via();
        let mut request =
            Message::request(method, &dialog.target).with("Via", &via).with("Max-Forwards", "70");
        for route in &dialog.routes {
            request = request.line(format!("Route: {route}"));
        }
        request
            .with("From", &dialog.local)
            .with("To", &dialog.remote)
            .with("Call-ID", &dialog.call_id)
            .with("CSeq", &format!("{} {method}", dialog.number))
            .with("Contact", &format!("<{}>", self.contact()))
            .with("Content-Length", "0")
    }

    /// The CANCEL of a request, §9.1.
    pub fn cancel(request: &Message) -> Message {
        Self::beside(request, "CANCEL").with("To", &request.get("To"))
    }

    /// The ACK to a final answer other than 2xx, §17.1.1.3.
    pub fn ack(request: &Message, answer: &Message) -> Message {
        Self::beside(request, "ACK").with("To", &answer.get("To"))
    }

    fn beside(request: &Message, method: &str) -> Message {
        let mut message = Message::request(method, request.uri())
            .with("Via", &request.list("Via").into_iter().next().unwrap_or_default())
            .with("Max-Forwards", "70");
        for route in request.list("Route") {
            message = message.line(format!("Route: {route}"));
        }
        message
            .with("From", &request.get("From"))
            .with("To", &request.get("To"))
            .with("Call-ID", &request.get("Call-ID"))
            .with("CSeq", &format!("{} {method}", request.number()))
            .with("Content-Length", "0")
    }

    /// A response of this phone, with its Contact.
    pub fn response(&self, request: &Message, status: u16) -> Message {
        let tag = format!("t{}", self.mark);
        let response = Message::response(request, status, "As Scripted", &tag);
        if (101..300).contains(&status) {
            response.with("Contact", &format!("<{}>", self.contact()))
        } else {
            response
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    ///
    /// The socket does not take it.
    pub async fn send(&mut self, message: &Message) {
        self.trace.push(format!("sends\n{message}"));
        self.wire.send(&message.bytes()).await.expect("the socket is open");
    }

    /// Sends bytes that are not just one message.
    ///
    /// # Panics
    ///
    /// The socket does not take them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.wire.send(bytes).await.expect("the socket is open");
    }

    /// Sends a response and gives it.
    pub async fn reply(&mut self, request: &Message, status: u16) -> Message {
        let response = self.response(request, status);
        self.send(&response).await;
        response
    }

    /// The next request that has come, and not yet been given to the script; it must be of this method.
    ///
    /// # Panics
    ///
    /// It is of another one, or there is none.
    pub async fn hears(&mut self, method: &str) -> Message {
        let request = self.take(&format!("hears {method}"), |message| message.status().is_none()).await;
        if request.method() != method {
            self.fail(&format!("{method} was expected, and this came:\n{request}"));
        }
        request
    }

    /// The next request, of one of two methods: where the order is a matter of luck.
    ///
    /// # Panics
    ///
    /// It is of another one, or there is none.
    pub async fn hears_either(&mut self, one: &str, other: &str) -> Message {
        let request =
            self.take(&format!("hears {one} or {other}"), |message| message.status().is_none()).await;
        if ![one, other].contains(&request.method()) {
            self.fail(&format!("{one} or {other} was expected, and this came:\n{request}"));
        }
        request
    }

    /// The next answer to `request` other than 100; it must have this status.
    ///
    /// # Panics
    ///
    /// It has another one, or there is none.
    pub async fn gets(&mut self, request: &Message, status: u16) -> Message {
        let answer = self.answer(request).await;
        if answer.status() != Some(status) {
            self.fail(&format!("{status} was expected, and this came:\n{answer}"));
        }
        answer
    }

    /// The next answer to `request` other than 100.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn answer(&mut self, request: &Message) -> Message {
        let what = format!("an answer to {}", request.start());
        self.take(&what, |answer| answer.status() != Some(100) && answers(answer, request)).await
    }

    /// The 100 to `request`.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn trying(&mut self, request: &Message) -> Message {
        self.take("100", |answer| answer.status() == Some(100) && answers(answer, request)).await
    }

    /// The final answer to `request`; provisional ones are passed over.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn final_answer(&mut self, request: &Message) -> Message {
        loop {
            let answer = self.answer(request).await;
            if answer.status() >= Some(200) {
                return answer;
            }
        }
    }

    /// Waits until the very same bytes have come once more.
    ///
    /// # Panics
    ///
    /// They do not come again.
    pub async fn hears_again(&mut self, message: &Message) {
        let before = self.copies(message);
        while self.copies(message) == before {
            self.pull("a retransmission").await;
        }
    }

    /// How often a message has come.
    pub fn copies(&self, message: &Message) -> u32 {
        self.heard.iter().find(|(heard, _)| heard == message).map_or(0, |(_, copies)| *copies)
    }

    /// How often a message with this start line has come, in whatever copies.
    pub fn count(&self, start: &str) -> u32 {
        let alike = self.heard.iter().filter(|(heard, _)| heard.start().starts_with(start));
        alike.map(|(_, copies)| copies).sum()
    }

    /// Nothing has come that the script has not seen. An OPTIONS of the same Call-ID goes the same way through the same
    /// core and back, so what was sent to this phone before comes before its answer.
    ///
    /// # Panics
    ///
    /// Something came.
    pub async fn hears_nothing_else(&mut self, call: &Message) {
        let from = format!("<sip:probe@{ELSEWHERE}>;tag={}", self.fresh());
        let uri = format!("sip:{DOMAIN}");
        let probe = self.request("OPTIONS", &uri).with("Call-ID", &call.get("Call-ID")).with("From", &from);
        self.send(&probe).await;
        self.gets(&probe, 200).await;
        if let Some(more) = self.waiting.iter().find(|message| message.status() != Some(100)) {
            self.fail(&format!("nothing was expected, and this came:\n{more}"));
        }
    }

    /// A request to the address-of-record of another phone, as it was sent and as that one hears it.
    pub async fn reaches(&mut self, callee: &mut Self, method: &str) -> (Message, Message) {
        let request = self.request(method, &callee.aor());
        self.send(&request).await;
        let heard = callee.hears(method).await;
        (request, heard)
    }

    /// The ACK to a 2xx, which the callee hears. Gives the caller's end of the dialog.
    pub async fn acknowledges(&mut self, invite: &Message, ok: &Message, callee: &mut Self) -> Dialog {
        let mut dialog = Dialog::of_caller(invite, ok);
        let ack = self.within(&mut dialog, "ACK");
        self.send(&ack).await;
        callee.hears("ACK").await;
        dialog
    }

    /// CANCEL and its 200.
    pub async fn gives_up(&mut self, invite: &Message) {
        let cancel = Self::cancel(invite);
        self.send(&cancel).await;
        self.gets(&cancel, 200).await;
    }

    /// The final answer to an INVITE, other than 2xx, which is acknowledged.
    pub async fn is_refused(&mut self, invite: &Message, status: u16) -> Message {
        let answer = self.gets(invite, status).await;
        self.send(&Self::ack(invite, &answer)).await;
        answer
    }

    /// Calls: INVITE, 180, 200, ACK, with what `change` makes of the INVITE. Gives both ends of the dialog.
    pub async fn calls(
        &mut self,
        callee: &mut Self,
        change: impl FnOnce(Message) -> Message,
    ) -> (Dialog, Dialog) {
        let invite = self.request("INVITE", &callee.aor());
        let invite = change(invite);
        self.send(&invite).await;
        let heard = callee.hears("INVITE").await;
        callee.reply(&heard, 180).await;
        self.gets(&invite, 180).await;
        let said = callee.reply(&heard, 200).await;
        let ok = self.gets(&invite, 200).await;
        let caller = self.acknowledges(&invite, &ok, callee).await;
        (caller, Dialog::of_callee(&heard, &said))
    }

    /// Hangs up: BYE and its 200.
    pub async fn hangs_up(&mut self, dialog: &mut Dialog, other: &mut Self) {
        let bye = self.within(dialog, "BYE");
        self.send(&bye).await;
        let heard = other.hears("BYE").await;
        other.reply(&heard, 200).await;
        self.gets(&bye, 200).await;
    }

    /// The next message that `wanted` takes; others wait for those who ask for them.
    async fn take(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            if let Some(at) = self.waiting.iter().position(&wanted) {
                return self.waiting.remove(at).expect("it was found there");
            }
            self.pull(what).await;
        }
    }

    /// Takes one message from the wire.
    async fn pull(&mut self, what: &str) {
        let received = timeout(self.patience, self.wire.receive()).await;
        let message = match received {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => self.fail(&format!("waits for {what}: {error}")),
            Err(_) => self.fail(&format!("waits for {what} in vain")),
        };
        // An edge that keeps a flow open is the only element before this one.
        if message.method() == "OPTIONS" && message.list("Via").len() == 1 {
            let pong = Message::response(&message, 200, "OK", &self.mark);
            return self.wire.send(&pong.bytes()).await.expect("the socket is open");
        }
        if let Some((_, copies)) = self.heard.iter_mut().find(|(heard, _)| *heard == message) {
            *copies += 1;
            self.trace.push(format!("hears again {}", message.start()));
            return;
        }
        self.trace.push(format!("hears\n{message}"));
        self.heard.push((message.clone(), 1));
        self.waiting.push_back(message);
    }

    /// # Panics
    ///
    /// Always: with all that the phone has said and heard.
    fn fail(&self, problem: &str) -> ! {
        panic!(
            "{} ({}) {problem}\n--- what it said and heard:\n{}",
            self.user,
            self.local,
            self.trace.join("\n")
        )
    }
}

/// RFC 3261 §17.1.3.
fn answers(answer: &Message, request: &Message) -> bool {
    answer.status().is_some()
        && answer.branch() == request.branch()
        && answer.cseq_method() == request.cseq_method()
}
