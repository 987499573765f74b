//! What an operator may choose: listeners and limits.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{CertificateFiles, Protocol, Roots};

/// One socket to open: `udp:0.0.0.0:5060`, `tls:[::]:5061`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Listen {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where; port 0 lets the system choose.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.addr)
    }
}

/// Text that is no listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no listener: {why}; expected for example udp:0.0.0.0:5060 or tcp:[::]:5060")]
pub struct InvalidListen {
    text: String,
    why: String,
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: String| InvalidListen { text: text.to_owned(), why };
        let (protocol, addr) =
            text.trim().split_once(':').ok_or_else(|| invalid("the transport is missing".to_owned()))?;
        Ok(Self {
            protocol: protocol.parse().map_err(|error: crate::UnknownProtocol| invalid(error.to_string()))?,
            addr: addr.parse().map_err(|_| invalid(format!("`{addr}` is no address with a port")))?,
        })
    }
}

/// Listeners and what a stranger may use of this node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sockets to open.
    pub listen: Vec<Listen>,
    /// For `tls:` and `wss:`. The first is for whoever asks for no name that one of them is valid for.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file of who signs for those who connect. They are asked for a certificate then and need not have one.
    pub client_authority: Option<PathBuf>,
    /// Who signs for the servers that this node opens TLS connections to.
    pub roots: Roots,
    /// A connection to a server must be open, TLS included, within this time.
    pub connect_timeout: Duration,
    /// Pages that may open a WebSocket, as `Origin` names them: `https://phone.example.com`. None: every page.
    pub ws_origins: Vec<String>,
    /// TLS and WebSocket must be negotiated within this time.
    pub handshake_timeout: Duration,
    /// Limits of one message, on every transport.
    pub limits: sip::parse::Limits,
    /// Streams open at one time, over all listeners.
    pub max_connections: usize,
    /// Streams open at one time from one source: an IPv4 address, or an IPv6 /64, which is what one
    /// subscriber is given. An office behind one NAT is one source.
    pub max_connections_per_source: usize,
    /// A stream on which nothing was sent or received for so long is closed. Longer than the
    /// longest keep-alive interval that RFC 5626 §4.4.1 proposes (14 minutes).
    pub idle_timeout: Duration,
    /// A new stream must bring its first message within this time, and any message that has begun
    /// must be complete within it.
    pub first_message_timeout: Duration,
    /// Bytes that may wait for one stream whose peer reads slowly.
    pub send_queue: usize,
    /// Datagrams that may wait for one socket.
    pub datagram_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificates: Vec::new(),
            client_authority: None,
            roots: Roots::System,
            connect_timeout: Duration::from_secs(4),
            ws_origins: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            limits: sip::parse::Limits::default(),
            max_connections: 100_000,
            max_connections_per_source: 1_000,
            idle_timeout: Duration::from_secs(15 * 60),
            first_message_timeout: Duration::from_secs(10),
            send_queue: 256 * 1024,
            datagram_queue: 8_192,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_shown() {
        for text in [
            "udp:0.0.0.0:5060",
            "tcp:[::]:5060",
            "tls:192.0.2.1:5061",
            "ws:[2001:db8::1]:80",
            "wss:0.0.0.0:443",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, why) in [
            ("0.0.0.0", "the transport is missing"),
            ("sctp:0.0.0.0:5060", "unknown transport `sctp`"),
            ("udp:0.0.0.0", "`0.0.0.0` is no address with a port"),
            ("udp:example.com:5060", "`example.com:5060` is no address with a port"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
