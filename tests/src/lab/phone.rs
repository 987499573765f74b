//! A phone of the lab: registers with digest, calls, answers. One UDP socket, one dialog at a time.
//!
//! It is written against RFC 3261 with text alone, so what it accepts is not what the cluster's own grammar accepts.

use std::net::SocketAddr;
use std::time::Duration;

use node::clock;
use rsip::headers::auth::{Algorithm, AuthQop};
use rsip::services::DigestGenerator;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::message::{Message, between};
use super::wire::Hop;
use crate::cluster::Problem;

/// A phone.
#[derive(Debug)]
pub struct Phone {
    user: String,
    password: String,
    domain: String,
    socket: UdpSocket,
    address: SocketAddr,
    edge: SocketAddr,
    edge_name: String,
    numbers: u32,
    sent: Vec<Hop>,
}

/// A dialog as one of its ends needs it.
#[derive(Debug)]
struct Dialog {
    call_id: String,
    from: String,
    to: String,
    target: String,
    routes: Vec<String>,
}

/// Longest wait for an answer: Timer B of a UA that is in a hurry.
const LIMIT: Duration = Duration::from_secs(5);
/// T1, RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// A session without media: the lab carries signalling only.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";

impl Phone {
    /// A phone of `user` behind the edge of this name and address.
    ///
    /// # Errors
    ///
    /// No socket.
    pub async fn new(
        user: &str,
        password: &str,
        domain: &str,
        edge: (&str, SocketAddr),
    ) -> Result<Self, Problem> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let address = socket.local_addr()?;
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
            domain: domain.to_owned(),
            socket,
            address,
            edge: edge.1,
            edge_name: edge.0.to_owned(),
            numbers: 0,
            sent: Vec::new(),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the messages of a call that it has sent.
    pub fn take_sent(&mut self, call_id: &str) -> Vec<Hop> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().filter(|hop| hop.call_id == call_id).collect()
    }

    /// Registers with digest (RFC 3261 §10.2, RFC 7616); returns the Call-ID.
    ///
    /// # Errors
    ///
    /// Refused, or no answer.
    pub async fn register(&mut self) -> Result<String, Problem> {
        let uri = format!("sip:{}", self.domain);
        let aor = self.aor();
        let dialog = self.dialog(uri, aor);
        let extra = format!("Contact: {};expires=3600\r\nSupported: path\r\n", self.contact());
        let challenge = self.transact("REGISTER", 1, &dialog, &extra).await?.expect_status(401)?;
        let proof = self.proof(&challenge, "REGISTER", &dialog.target)?;
        let ok = self.transact("REGISTER", 2, &dialog, &format!("{extra}{proof}")).await?;
        ok.expect_status(200)?;
        Ok(dialog.call_id)
    }

    /// Calls `callee` and hangs up as soon as it has answered; returns the Call-ID.
    ///
    /// # Errors
    ///
    /// What did not happen of 180, 200 and the 200 to BYE.
    pub async fn call(&mut self, callee: &str) -> Result<String, Problem> {
        let uri = format!("sip:{callee}@{}", self.domain);
        let mut dialog = self.dialog(uri.clone(), format!("<{uri}>"));
        let challenge = self.transact("INVITE", 1, &dialog, "").await?.expect_status(407)?;
        let proof = self.proof(&challenge, "INVITE", &uri)?;
        let answered = self.transact("INVITE", 2, &dialog, &proof).await?;
        let has_rung = answered.provisional.contains(&180);
        let ok = answered.expect_status(200)?;
        if !has_rung {
            return Err(Problem::new("no 180 before the answer"));
        }
        // §12.1.2: the route set is Record-Route turned round, the remote target is Contact.
        dialog.routes = ok.list("Record-Route").into_iter().rev().map(str::to_owned).collect();
        dialog.target = ok.uri("Contact").to_owned();
        dialog.to = ok.get("To").to_owned();
        let ack = self.request("ACK", 2, &dialog, "");
        self.send(&ack).await?;
        self.transact("BYE", 3, &dialog, "").await?.expect_status(200)?;
        Ok(dialog.call_id)
    }

    /// Answers one call: 180, 200, and 200 to the BYE; returns the Call-ID once it has seen ACK and BYE.
    ///
    /// # Errors
    ///
    /// What did not happen.
    pub async fn answer(&mut self) -> Result<String, Problem> {
        let invite = self.wait_for("INVITE", None).await?;
        let tag = self.number();
        let ringing = self.response(&invite, "180 Ringing", Some(&tag), "");
        self.send(&ringing).await?;
        let ok = self.response(&invite, "200 OK", Some(&tag), SDP);
        self.send(&ok).await?;
        self.wait_for("ACK", Some(&ok)).await?;
        let bye = self.wait_for("BYE", None).await?;
        let ok = self.response(&bye, "200 OK", None, "");
        self.send(&ok).await?;
        Ok(invite.get("Call-ID").to_owned())
    }

    /// The next request of this method; other requests are answered (OPTIONS) or retransmissions. `again` is sent
    /// once more whenever T1 is over (§13.3.1.4).
    async fn wait_for(&mut self, method: &str, again: Option<&str>) -> Result<Message, Problem> {
        let arrives = async {
            loop {
                match (timeout(T1, self.receive()).await, again) {
                    (Ok(message), _) => {
                        let message = message?;
                        if message.method() == Some(method) {
                            return Ok(message);
                        }
                    }
                    (Err(_), Some(again)) => self.send(again).await?,
                    (Err(_), None) => {}
                }
            }
        };
        let missing = Problem::new(format!("no {method} within {LIMIT:?}"));
        timeout(LIMIT, arrives).await.unwrap_or(Err(missing))
    }

    /// Sends a request and waits for its final answer, repeating it until there is any; acknowledges a refused
    /// INVITE (§17.1.1.3).
    async fn transact(
        &mut self,
        method: &str,
        cseq: u32,
        dialog: &Dialog,
        extra: &str,
    ) -> Result<Answer, Problem> {
        let request = self.request(method, cseq, dialog, extra);
        self.send(&request).await?;
        let answered = async {
            let mut provisional = Vec::new();
            loop {
                let Ok(message) = timeout(T1, self.receive()).await else {
                    if provisional.is_empty() {
                        self.send(&request).await?;
                    }
                    continue;
                };
                let message = message?;
                let ours = message.get("CSeq") == format!("{cseq} {method}")
                    && message.get("Call-ID") == dialog.call_id;
                match message.status().filter(|_| ours) {
                    Some(status @ 100..200) => provisional.push(status),
                    Some(_) => return Ok(Answer { provisional, last: message }),
                    None => {}
                }
            }
        };
        let silent = Problem::new(format!("no answer to {method} within {LIMIT:?}"));
        let answer: Answer = timeout(LIMIT, answered).await.unwrap_or(Err(silent))?;
        if method == "INVITE" && answer.last.status().is_some_and(|status| status >= 300) {
            let ack = ack_to_refusal(&request, answer.last.get("To"));
            self.send(&ack).await?;
        }
        Ok(answer)
    }

    /// The next message; pings of the edge are answered.
    async fn receive(&mut self) -> Result<Message, Problem> {
        let mut datagram = vec![0; 65_535];
        loop {
            let (length, _) = self.socket.recv_from(&mut datagram).await?;
            let Some(message) = datagram.get(..length).and_then(Message::read) else { continue };
            if message.method() == Some("OPTIONS") {
                let tag = self.number();
                let ok = self.response(&message, "200 OK", Some(&tag), "");
                self.send(&ok).await?;
                continue;
            }
            return Ok(message);
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), Problem> {
        let at = clock::unix_now();
        if let Some(message) = Message::read(text.as_bytes()) {
            let host = |name: &'static str| between(message.get(name), "@", ";").map(str::to_owned);
            self.sent.push(Hop {
                at,
                from: self.address.to_string(),
                to: self.edge_name.clone(),
                start: message.start().to_owned(),
                cseq: message.get("CSeq").to_owned(),
                call_id: message.get("Call-ID").to_owned(),
                via: between(message.get("Via"), " ", ";").map(str::to_owned),
                route: host("Route"),
                path: host("Path"),
            });
        }
        self.socket.send_to(text.as_bytes(), self.edge).await?;
        Ok(())
    }

    fn request(&mut self, method: &str, cseq: u32, dialog: &Dialog, extra: &str) -> String {
        let (address, branch) = (self.address, self.number());
        let routes: String = dialog.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let Dialog { call_id, from, to, target, .. } = dialog;
        let contact =
            if method == "INVITE" { format!("Contact: {}\r\n", self.contact()) } else { String::new() };
        let sdp = if method == "INVITE" { SDP } else { "" };
        format!(
            "{method} {target} SIP/2.0\r\n\
            Via: SIP/2.0/UDP {address};branch=z9hG4bK{branch};rport\r\n{routes}\
            Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
            CSeq: {cseq} {method}\r\n{contact}{extra}{}",
            ending(sdp)
        )
    }

    fn response(&self, request: &Message, status: &str, tag: Option<&str>, sdp: &str) -> String {
        let lines = |name: &'static str| -> String {
            request.all(name).map(|value| format!("{name}: {value}\r\n")).collect()
        };
        let tag = if request.to_tag().is_empty() {
            tag.map_or_else(String::new, |tag| format!(";tag={tag}"))
        } else {
            String::new()
        };
        format!(
            "SIP/2.0 {status}\r\n{}{}From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {}\r\n{}",
            lines("Via"),
            lines("Record-Route"),
            request.get("From"),
            request.get("To"),
            request.get("Call-ID"),
            request.get("CSeq"),
            self.contact(),
            ending(sdp),
        )
    }

    fn dialog(&mut self, target: String, to: String) -> Dialog {
        let from = format!("{};tag={}", self.aor(), self.number());
        Dialog { call_id: self.number(), from, to, target, routes: Vec::new() }
    }

    /// The header that answers the first challenge, the one that the cluster prefers (RFC 8760 §2.4).
    fn proof(&mut self, challenge: &Message, method: &str, uri: &str) -> Result<String, Problem> {
        let (header, value) = match challenge.get("WWW-Authenticate") {
            "" => ("Proxy-Authorization", challenge.get("Proxy-Authenticate")),
            value => ("Authorization", value),
        };
        let quoted = |name: &str| between(value, &format!("{name}=\""), "\"").unwrap_or_default();
        let (realm, nonce) = (quoted("realm"), quoted("nonce"));
        let sha256 = value.to_ascii_uppercase().contains("SHA-256");
        let (name, algorithm) = if sha256 { ("SHA-256", Algorithm::Sha256) } else { ("MD5", Algorithm::Md5) };
        let cnonce = self.number();
        let parsed = rsip::Uri::try_from(uri).map_err(|error| Problem::new(format!("{uri}: {error}")))?;
        let method = if method == "INVITE" { rsip::Method::Invite } else { rsip::Method::Register };
        let response = DigestGenerator {
            username: &self.user,
            password: &self.password,
            nonce,
            uri: &parsed,
            realm,
            method: &method,
            qop: Some(&AuthQop::Auth { cnonce: cnonce.clone(), nc: 1 }),
            algorithm,
        }
        .compute();
        let user = &self.user;
        Ok(format!(
            "{header}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
            response=\"{response}\", algorithm={name}, qop=auth, nc=00000001, cnonce=\"{cnonce}\"\r\n"
        ))
    }

    fn aor(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.domain)
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.address)
    }

    /// A token that nobody else uses: branch, tag, Call-ID.
    fn number(&mut self) -> String {
        self.numbers += 1;
        format!("{}-{:x}-{}", self.user, clock::unix_millis(), self.numbers)
    }
}

/// The final response to a request and the statuses before it.
#[derive(Debug)]
struct Answer {
    provisional: Vec<u16>,
    last: Message,
}

impl Answer {
    fn expect_status(self, expected: u16) -> Result<Message, Problem> {
        if self.last.status() == Some(expected) {
            return Ok(self.last);
        }
        let (start, cseq) = (self.last.start(), self.last.get("CSeq"));
        Err(Problem::new(format!("{start} to {cseq}, expected {expected}")))
    }
}

/// §17.1.1.3: the ACK of a refusal is a copy of the INVITE with the To of the answer, and without a body.
fn ack_to_refusal(invite: &str, to: &str) -> String {
    let kept = |line: &&str| {
        ["Via:", "Max-Forwards:", "From:", "Call-ID:"].iter().any(|name| line.starts_with(name))
    };
    let head = invite.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().replacen("INVITE", "ACK", 1);
    let cseq = head.split("\r\n").find(|line| line.starts_with("CSeq:")).unwrap_or_default();
    let cseq = cseq.replacen("INVITE", "ACK", 1);
    let copied: String = lines.filter(kept).map(|line| format!("{line}\r\n")).collect();
    format!("{start}\r\n{copied}To: {to}\r\n{cseq}\r\nContent-Length: 0\r\n\r\n")
}

/// The end of a message, with or without a session description.
fn ending(sdp: &str) -> String {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}
