//! The transports of SIP: RFC 3261 §18, §26.2 and RFC 7118.

use std::{fmt, str::FromStr};

/// How messages travel between a user agent and this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 3261 §18, one message per datagram.
    Udp,
    /// RFC 3261 §18.3, messages framed by Content-Length.
    Tcp,
    /// RFC 3261 §26.2.1, TLS over TCP.
    Tls,
    /// RFC 7118, SIP over WebSocket.
    Ws,
    /// RFC 7118, SIP over secure WebSocket.
    Wss,
}

impl Protocol {
    /// The token in the `sent-protocol` of a Via (RFC 3261 §20.42, RFC 7118 §5.2.1).
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The token in configuration and in the `transport` parameter of a SIP URI.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// True when a lower layer retransmits, so that transactions do not (RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// True when what is sent cannot be read on the way.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A word that names no transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown transport `{0}`: expected udp, tcp, tls, ws or wss")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Ignores case, as every token of SIP does (RFC 3261 §7.3.1).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|protocol| protocol.token().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_is_unreliable() {
        assert!(!Protocol::Udp.is_reliable());
        for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss] {
            assert!(protocol.is_reliable());
        }
    }

    #[test]
    fn tokens_ignore_case() {
        assert_eq!("WSS".parse(), Ok(Protocol::Wss));
        assert_eq!(
            "sctp".parse::<Protocol>().unwrap_err().to_string(),
            "unknown transport `sctp`: expected udp, tcp, tls, ws or wss"
        );
    }
}
