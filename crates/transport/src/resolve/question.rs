//! What is asked of the DNS for a URI, RFC 3263 §4: its TARGET, its port and its transport.

use std::net::IpAddr;

use sip::{Host, Scheme, Uri};

use crate::Protocol;

/// The TARGET of a URI: "the value of the maddr parameter of the URI, if present, otherwise, the host value".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A name, in lower case and without the final dot.
    Name(String),
    /// A numeric address: the DNS is not asked.
    Address(IpAddr),
}

/// What a URI says about the next hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Whom to contact.
    pub place: Place,
    /// The port, if the URI has one.
    pub port: Option<u16>,
    /// The transport, if the URI names one. TLS is here a transport of its own.
    pub protocol: Option<Protocol>,
    /// The URI is a SIPS one: TLS and nothing else.
    pub secure: bool,
}

/// Why a URI cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Neither sip nor sips.
    #[error("its scheme is neither sip nor sips")]
    Scheme,
    /// A transport that this program does not send requests by, or one that a SIPS URI cannot have.
    #[error("its transport cannot be used")]
    Transport,
    /// No host name and no address.
    #[error("its host cannot be used")]
    Host,
}

impl Question {
    /// Reads a URI.
    ///
    /// # Errors
    ///
    /// What makes it unusable.
    pub fn of(uri: &Uri<'_>) -> Result<Self, Unusable> {
        if !uri.is_sip() {
            return Err(Unusable::Scheme);
        }
        let secure = uri.scheme == Scheme::Sips;
        let host = match uri.param("maddr") {
            Some(maddr) => maddr.and_then(Host::parse).ok_or(Unusable::Host)?,
            None => uri.host,
        };
        let place = match host {
            Host::Name(name) => Place::Name(name.trim_end_matches('.').to_ascii_lowercase()),
            Host::V4(address) => Place::Address(address.into()),
            Host::V6(address) => Place::Address(address.to_canonical()),
        };
        if uri.port == Some(0) || matches!(&place, Place::Name(name) if !is_host_name(name)) {
            return Err(Unusable::Host);
        }
        let protocol = match uri.param("transport") {
            Some(token) => Some(transport(token.unwrap_or_default(), secure)?),
            None => None,
        };
        Ok(Self { place, port: uri.port, protocol, secure })
    }

    /// The same over TLS and nothing else.
    ///
    /// # Errors
    ///
    /// The URI asks for a transport without TLS.
    pub fn secured(self) -> Result<Self, Unusable> {
        let protocol = match self.protocol {
            None => None,
            Some(Protocol::Tcp | Protocol::Tls) => Some(Protocol::Tls),
            Some(Protocol::Udp | Protocol::Ws | Protocol::Wss) => return Err(Unusable::Transport),
        };
        Ok(Self { protocol, secure: true, ..self })
    }

    /// The transport when nobody says which: "UDP for a SIP URI, and TCP for a SIPS URI", the latter with TLS.
    pub fn default_protocol(&self) -> Protocol {
        self.protocol.unwrap_or(if self.secure { Protocol::Tls } else { Protocol::Udp })
    }

    /// The name as certificates have it.
    pub fn domain(&self) -> String {
        match &self.place {
            Place::Name(name) => name.clone(),
            Place::Address(address) => address.to_string(),
        }
    }
}

/// The default port of a transport, RFC 3261 §19.1.2.
pub(super) const fn default_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Udp | Protocol::Tcp => 5060,
        Protocol::Tls => 5061,
        Protocol::Ws => 80,
        Protocol::Wss => 443,
    }
}

/// RFC 3261 §26.2.2: with SIPS every hop is TLS, and its URI says `transport=tcp` for TLS over TCP. The value `tls` is
/// deprecated and understood. Nobody is reached by WebSocket: RFC 7118 §5.2 knows no way to open one towards a client.
fn transport(token: &str, secure: bool) -> Result<Protocol, Unusable> {
    match token.parse() {
        Ok(Protocol::Tcp) if secure => Ok(Protocol::Tls),
        Ok(Protocol::Udp) if secure => Err(Unusable::Transport),
        Ok(protocol @ (Protocol::Udp | Protocol::Tcp | Protocol::Tls)) => Ok(protocol),
        Ok(Protocol::Ws | Protocol::Wss) | Err(_) => Err(Unusable::Transport),
    }
}

/// Labels of 1 to 63 bytes, together at most 253 (RFC 1034 §3.1).
fn is_host_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Question, Unusable> {
        Question::of(&Uri::parse(uri.as_bytes()).unwrap())
    }

    fn name(name: &str) -> Place {
        Place::Name(name.to_owned())
    }

    #[test]
    fn the_target_is_maddr_or_the_host() {
        for (uri, place, port) in [
            ("sip:bob@Example.COM.", name("example.com"), None),
            ("sip:bob@example.com:5070", name("example.com"), Some(5070)),
            ("sip:bob@example.com;maddr=Gw.example.net", name("gw.example.net"), None),
            ("sip:bob@example.com:5080;maddr=192.0.2.7", Place::Address([192, 0, 2, 7].into()), Some(5080)),
            ("sip:192.0.2.1", Place::Address([192, 0, 2, 1].into()), None),
            ("sip:[::ffff:127.0.0.1]", Place::Address([127, 0, 0, 1].into()), None),
        ] {
            let question = of(uri).unwrap();
            assert_eq!((question.place, question.port), (place, port), "{uri}");
        }
    }

    #[test]
    fn the_transport_is_the_parameter_and_sips_is_tls() {
        use Protocol::{Tcp, Tls, Udp};
        for (uri, named, default) in [
            ("sip:example.com", None, Udp),
            ("sips:example.com", None, Tls),
            ("sip:example.com;transport=TCP", Some(Tcp), Tcp),
            ("sip:example.com;transport=tls", Some(Tls), Tls),
            ("sips:example.com;transport=tcp", Some(Tls), Tls),
            ("sips:example.com;transport=tls", Some(Tls), Tls),
        ] {
            let question = of(uri).unwrap();
            assert_eq!((question.protocol, question.default_protocol()), (named, default), "{uri}");
        }
    }

    #[test]
    fn a_sip_uri_can_be_followed_securely() {
        let secured = |uri| of(uri).unwrap().secured().map(|question| question.default_protocol());
        assert_eq!(secured("sip:192.0.2.7;lr"), Ok(Protocol::Tls));
        assert_eq!(secured("sip:192.0.2.7;transport=tcp;lr"), Ok(Protocol::Tls));
        assert_eq!(secured("sip:192.0.2.7;transport=udp;lr"), Err(Unusable::Transport));
    }

    #[test]
    fn what_cannot_be_followed_says_why() {
        for (uri, why) in [
            ("tel:+15551234", Unusable::Scheme),
            ("sip:example.com;transport=sctp", Unusable::Transport),
            ("sip:example.com;transport=ws", Unusable::Transport),
            ("sip:example.com;transport", Unusable::Transport),
            ("sips:example.com;transport=udp", Unusable::Transport),
            ("sip:example.com;maddr", Unusable::Host),
            ("sip:example.com:0", Unusable::Host),
        ] {
            assert_eq!(of(uri), Err(why), "{uri}");
        }
        let long = format!("sip:{}.example.com", "x".repeat(64));
        assert_eq!(of(&long), Err(Unusable::Host));
    }
}
