//! What a NAT ping is made of, RFC 5626 §4.4 from the other side, RFC 3261 §11.
//!
//! | flow | ping |
//! |---|---|
//! | UDP, `udp` | four zero octets: shorter than any message or STUN header (RFC 8489 §5), so nobody takes it for one, and not empty, which some NATs do not count as traffic |
//! | UDP, `options` | OPTIONS to the contact: the one request that every UA answers and that changes nothing |
//! | TCP, TLS | double CRLF (RFC 5626 §4.4.1), which RFC 6223 §4.1 expects everybody to bear |
//! | WS, WSS | a ping of WebSocket, which browsers answer without asking the page |
//!
//! Max-Forwards is 0: who stands at the other end of the flow answers, and nobody behind it (RFC 3261 §11).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use transport::pong::{self, PingId};
use transport::{Flow, Protocol};

use crate::settings::Settings;

/// How flows over UDP are pinged, and whether any are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatPing {
    /// No flow is.
    Off,
    /// With four octets that nobody answers.
    Udp,
    /// With a request that is answered, so that a lost flow is noticed.
    Options,
}

impl FromStr for NatPing {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "udp" => Ok(Self::Udp),
            "options" => Ok(Self::Options),
            _ => Err("off, udp or options expected"),
        }
    }
}

impl fmt::Display for NatPing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Udp => "udp",
            Self::Options => "options",
        })
    }
}

/// A ping that no UA answers with a message.
pub(crate) const ZEROS: &[u8] = &[0; 4];
/// RFC 5626 §4.4.1; the transport makes a ping of WebSocket of it where there is one.
pub(crate) const DOUBLE_CRLF: &[u8] = b"\r\n\r\n";

/// Writes OPTIONS pings: what all pings from one address share is prepared.
#[derive(Debug)]
pub(crate) struct Composer {
    epoch: u32,
    /// From and its tag, which needs to differ between nothing: no dialog begins here.
    from: String,
    /// The lines that depend on the local address, which are few.
    heads: Vec<(SocketAddr, String)>,
}

impl Composer {
    pub(crate) fn new(settings: &Settings, epoch: u32) -> Self {
        let from = format!(
            "\r\nMax-Forwards: 0\r\nFrom: <sip:ping@{}>;tag={epoch:08x}\r\nTo: <",
            settings.path_host()
        );
        Self { epoch, from, heads: Vec::new() }
    }

    /// OPTIONS to `contact`, on a flow over UDP.
    pub(crate) fn options(&mut self, flow: &Flow, contact: &[u8], id: PingId, settings: &Settings) -> Bytes {
        let branch = pong::branch(self.epoch, id);
        let number = branch.get(MARK..).unwrap_or_default();
        let at = self.head(flow, settings);
        let via = self.heads.get(at).map_or("", |(_, via)| via);
        let (digits, used) = decimal(id.round);
        let parts: [&[u8]; 11] = [
            b"OPTIONS ",
            contact,
            via.as_bytes(),
            &branch,
            self.from.as_bytes(),
            contact,
            b">\r\nCall-ID: ",
            number,
            b"\r\nCSeq: ",
            digits.get(digits.len() - used..).unwrap_or_default(),
            b" OPTIONS\r\nContent-Length: 0\r\n\r\n",
        ];
        // As long as it has to be: so it is allocated once.
        Bytes::from(parts.concat())
    }

    /// Where the line from the version to the branch is.
    fn head(&mut self, flow: &Flow, settings: &Settings) -> usize {
        let known = self.heads.iter().position(|(local, _)| *local == flow.local);
        known.unwrap_or_else(|| {
            // Every address has a socket or an interface of its own; more than these are made again and again.
            self.heads.truncate(MOST_HEADS - 1);
            let via = format!(" SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=", settings.public_host(flow));
            self.heads.push((flow.local, via));
            self.heads.len() - 1
        })
    }
}

/// The digits of a number, at the end of the array, and how many there are.
fn decimal(mut number: u32) -> ([u8; 10], usize) {
    let mut digits = [b'0'; 10];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    (digits, used)
}

/// The numbers of a branch follow its mark.
const MARK: usize = pong::BRANCH - 24;
const MOST_HEADS: usize = 64;

/// True where a ping is a datagram.
pub(crate) fn is_datagram(flow: &Flow) -> bool {
    flow.protocol == Protocol::Udp
}

#[cfg(test)]
mod tests {
    use transport::token::Keys;

    use super::*;

    fn settings() -> Settings {
        Settings::new("edge-1".to_owned(), None, Vec::new(), &[], Vec::new(), Keys::random([7; 32]))
    }

    #[test]
    fn an_options_ping_is_a_request_that_its_answer_leads_back_from() {
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "198.51.100.1:40000".parse().unwrap());
        let mut composer = Composer::new(&settings(), 0xbeef);
        let id = PingId { flow: 7, round: 2_147_483_647 };
        let bytes = composer.options(&flow, b"sip:alice@10.0.0.1:5060;transport=udp", id, &settings());
        let Ok(sip::Message::Request(request)) = sip::parse::message(bytes.clone(), &Default::default())
        else {
            panic!("{}", String::from_utf8_lossy(&bytes));
        };
        assert_eq!(request.method, sip::Method::Options);
        assert_eq!(&*request.uri, b"sip:alice@10.0.0.1:5060;transport=udp");
        assert_eq!(request.max_forwards().unwrap(), Some(0));
        assert_eq!(request.to().unwrap().uri, "sip:alice@10.0.0.1:5060;transport=udp");
        assert_eq!(request.to_tag(), None);
        assert_eq!(request.from().unwrap().uri, "sip:ping@edge-1");
        assert_eq!(request.cseq().unwrap().number, 2_147_483_647);
        let via = request.top_via().unwrap();
        assert_eq!((via.sent_by, via.rport()), ("192.0.2.1:5060", Some(None)));
        let answer = sip::Response::to(&request, sip::StatusCode::new(405), Some("x")).encode();
        assert_eq!(pong::answered(&answer, 0xbeef), Some(id));
    }

    #[test]
    fn the_mode_is_read_as_it_is_shown() {
        for mode in [NatPing::Off, NatPing::Udp, NatPing::Options] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("icmp".parse::<NatPing>().is_err());
    }
}
