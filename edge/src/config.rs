//! The settings of an edge: the variables `EDGE_…`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use node::config::{ConfigError, Secret, Span, host_name};
use transport::token::Keys;
use transport::{CertificateFiles, Listen, Roots};

use crate::keeper::Pings;
use crate::network::Network;
use crate::next_hop::{CoreAddress, NextHop};
use crate::ping::NatPing;
use crate::rates::Limits;
use crate::registration::KeepAlive;

/// Prefix of the variables.
pub const PREFIX: &str = "EDGE_";

node::settings! {
    /// Settings of an edge.
    pub struct Config {
        /// Unique name of this edge, also the host in Path unless `EDGE_ADVERTISE` is set.
        name: String = host_name() => "host name",
        /// Sockets towards the user agents: `udp:ADDRESS:PORT`, `tcp:…`, `tls:…`, `ws:…`, `wss:…`, IPv4 or `[IPv6]`.
        listen: Vec<Socket> = vec![socket("udp:0.0.0.0:5060"), socket("tcp:0.0.0.0:5060")],
        /// Public `host` or `host:port` put into Path, Record-Route and Via.
        advertise: Option<String> = None => "derived from the socket",
        /// Cores to link with, `host:port`; names are looked up again and again. Or registrars of others:
        /// `sip:host:port;transport=tcp`, with Path.
        cores: Vec<CoreAddress> = vec![CoreAddress::Core("127.0.0.1:7443".to_owned())],
        /// `host` or `host:port` of this edge for the registrars of others, in Path, Record-Route and Via.
        inside: Option<String> = None => "derived from the socket",
        /// PEM file with the certificates of the cluster CA.
        link_ca: Option<PathBuf> = None => "development certificates, loopback only",
        /// PEM file with this node's certificate.
        link_cert: Option<PathBuf> = None => "as above",
        /// PEM file with the private key of the certificate.
        link_key: Option<PathBuf> = None => "as above",
        /// Keys of the flow tokens, the same on all edges: `current[,previous]`, base64 of at least 32 bytes each. SIGHUP reads
        /// them again from a file.
        flow_keys: Secret = Secret::default() => "random, with a warning: flows do not survive a restart",
        /// PEM files with the certificates of `tls:` and `wss:`, each with its chain. The name that the UA asks for chooses;
        /// the first is for all others. SIGHUP reads them again.
        tls_cert: Vec<PathBuf> = Vec::new(),
        /// PEM files with their private keys, in the same order.
        tls_key: Vec<PathBuf> = Vec::new(),
        /// PEM file of who signs for those who connect by TLS: they are asked for a certificate, need not have one, and are refused
        /// when theirs is no good.
        tls_client_ca: Option<PathBuf> = None => "no certificate is asked for",
        /// Pages that may open a WebSocket, as browsers name them in `Origin`: `https://phone.example.com`.
        ws_origins: Vec<String> = Vec::new() => "every page",
        /// Networks and addresses whose Path and identity headers are kept.
        trusted_peers: Vec<Network> = Vec::new(),
        /// Networks that requests may leave to, when a core says that they leave. A test on one host needs `127.0.0.0/8`.
        egress_networks: Vec<Network> = Vec::new() => "all but loopback, link-local and multicast",
        /// PEM file with the authorities that sign for servers outside.
        egress_ca: Option<PathBuf> = None => "those of the system",
        /// Name servers, `ADDRESS:PORT`.
        dns: Vec<SocketAddr> = Vec::new() => "those of the system",
        /// Largest number of streams.
        max_connections: usize = 100_000,
        /// Largest number of streams from one source address.
        max_connections_per_source: usize = 1_000,
        /// REGISTERs a second that one source address may begin, ten times as many at once; 0: no limit. An office behind one NAT is one
        /// source. Beyond it 503; trusted peers, repetitions and what belongs to a dialog pass.
        registers_per_source: u32 = 0,
        /// The same for INVITEs.
        invites_per_source: u32 = 0,
        /// The same for all other requests together.
        others_per_source: u32 = 0,
        /// How long a stream may be idle. Longer than the keep-alive of any user agent (RFC 5626 §4.4.1: 120 s).
        idle_timeout: Span = Span::from_secs(600),
        /// How flows over UDP with registrations are pinged: `options` (answered, so that a lost flow is noticed), `udp` (four
        /// octets; a lost flow is noticed by the first call), or `off`. Streams are pinged with CRLF or by WebSocket unless it is `off`.
        nat_ping: NatPing = NatPing::Options,
        /// How often. Shorter than the shortest life of a pinhole, which is 30 s in many NATs.
        nat_ping_interval: Span = Span::from_secs(25),
        /// Pings without an answer, in a row, after which a flow is lost and the cores are told; 0: never. Only of a phone that
        /// has answered one before.
        nat_ping_lost: u8 = 3,
        /// How long a phone on a stream may be silent, as it is told by Flow-Timer or `keep` if it asks; a quarter more and
        /// its stream is closed. `0s`: it is not told.
        flow_timer: Span = Span::from_secs(120),
        /// Messages that may wait for the engine; beyond it requests are answered with 503.
        queue: usize = 8_192,
        /// Threads: 1 runs everything on one, more share the work by Call-ID.
        workers: usize = 1,
        /// How long a stopping edge finishes what has begun.
        drain_grace: Span = Span::from_secs(20),
        /// Address of `/health`, `/ready` and `/metrics`.
        admin: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9460)),
    }
}

fn socket(text: &str) -> Socket {
    text.parse().expect("the default is well-formed")
}

impl Config {
    /// Reads `EDGE_FLOW_KEYS`; without it a random key from `seed`.
    ///
    /// # Errors
    ///
    /// A key that is not base64 or too short.
    pub fn keys(&self, seed: [u8; 32]) -> Result<Keys, ConfigError> {
        if self.flow_keys.is_empty() {
            tracing::warn!(
                "EDGE_FLOW_KEYS is not set: a random key is used, flows will not survive a restart"
            );
            return Ok(Keys::random(seed));
        }
        self.flow_keys
            .expose()
            .parse()
            .map_err(|problem| ConfigError::new(format!("{PREFIX}FLOW_KEYS"), problem))
    }

    /// What no single field can check.
    ///
    /// # Errors
    ///
    /// Names the variable.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |name: &str, problem: &str| Err(ConfigError::new(format!("{PREFIX}{name}"), problem));
        if !is_host(&self.name) {
            return wrong("NAME", "it stands in SIP URIs: letters, digits, dots and hyphens only");
        }
        if self.advertise.as_deref().is_some_and(|text| !is_host_port(text)) {
            return wrong("ADVERTISE", "a host or host:port is expected");
        }
        if self.listen.is_empty() {
            return wrong("LISTEN", "at least one socket is needed");
        }
        if self.inside.as_deref().is_some_and(|text| !is_host_port(text)) {
            return wrong("INSIDE", "a host or host:port is expected");
        }
        if self.cores.is_empty() {
            return wrong("CORES", "at least one core is needed");
        }
        if !self.next_hops().is_empty() && !self.links().is_empty() {
            return wrong("CORES", "cores and SIP next hops cannot be mixed");
        }
        if !self.flow_keys.is_empty() {
            self.keys([0; 32])?;
        }
        if self.nat_ping_interval < Span::from_secs(1) {
            return wrong("NAT_PING_INTERVAL", "at least 1s");
        }
        if self.flow_timer.millis() > 0 && self.flow_timer < Span::from_secs(1) {
            return wrong("FLOW_TIMER", "at least 1s, or 0s");
        }
        if self.flow_timer >= self.idle_timeout {
            return wrong("FLOW_TIMER", "EDGE_IDLE_TIMEOUT has to be longer");
        }
        self.check_certificates()
    }

    /// The cores to link with.
    pub fn links(&self) -> Vec<String> {
        let cores = self.cores.iter();
        cores
            .filter_map(|core| match core {
                CoreAddress::Core(address) => Some(address.clone()),
                CoreAddress::NextHop(_) => None,
            })
            .collect()
    }

    /// The registrars of others, instead of cores.
    pub fn next_hops(&self) -> Vec<NextHop> {
        let cores = self.cores.iter();
        cores
            .filter_map(|core| match core {
                CoreAddress::NextHop(next_hop) => Some(next_hop.clone()),
                CoreAddress::Core(_) => None,
            })
            .collect()
    }

    /// A secure listener needs certificates, and each of them its key.
    fn check_certificates(&self) -> Result<(), ConfigError> {
        let Some(socket) = self.listen.iter().find(|socket| socket.0.protocol.is_secure()) else {
            return Ok(());
        };
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        let (name, problem) = if certificates == 0 {
            ("TLS_CERT", format!("needed by {socket} in {PREFIX}LISTEN"))
        } else if certificates != keys {
            let problem =
                format!("{keys} of them, but {PREFIX}TLS_CERT names {certificates}: one for each is needed");
            ("TLS_KEY", problem)
        } else {
            return Ok(());
        };
        Err(ConfigError::new(format!("{PREFIX}{name}"), problem))
    }

    /// What one source may ask for.
    pub fn limits(&self) -> Limits {
        Limits {
            registrations: self.registers_per_source,
            calls: self.invites_per_source,
            others: self.others_per_source,
        }
    }

    /// How flows are kept.
    pub fn pings(&self) -> Pings {
        Pings { mode: self.nat_ping, interval: self.nat_ping_interval.duration(), lost: self.nat_ping_lost }
    }

    /// How often UAs are told to be heard: over UDP it is the NAT that has to be kept.
    pub fn keep_alive(&self) -> KeepAlive {
        let seconds = |span: Span| u32::try_from(span.secs()).unwrap_or(u32::MAX);
        KeepAlive { stream: seconds(self.flow_timer), datagram: seconds(self.nat_ping_interval) }
    }

    /// How long a stream may be silent whose UA has been told the Flow-Timer: the grace of RFC 5626 §5.4 is a quarter.
    pub fn silence(&self) -> Duration {
        let timer = self.flow_timer.duration();
        timer + timer / 4
    }

    /// Who signs for servers outside.
    pub fn roots(&self) -> Roots {
        self.egress_ca.clone().map_or(Roots::System, Roots::File)
    }

    /// The certificates of `tls:` and `wss:`.
    pub fn certificates(&self) -> Vec<CertificateFiles> {
        let pairs = self.tls_cert.iter().zip(&self.tls_key);
        pairs
            .map(|(certificate, key)| CertificateFiles { certificate: certificate.clone(), key: key.clone() })
            .collect()
    }
}

/// A socket towards the user agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket(pub Listen);

impl FromStr for Socket {
    type Err = <Listen as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

node::setting!(CoreAddress, NatPing, Network, Socket);

/// RFC 3261 §25.1 `hostname` or `IPv4address`.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// `hostport`: an IPv6 address stands in brackets.
pub(crate) fn is_host_port(text: &str) -> bool {
    if text.starts_with('[') {
        let Some((host, port)) = text.rsplit_once(']') else { return false };
        let inner = host.trim_start_matches('[');
        return inner.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok(),
        None => is_host(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5626 §5.4: a server waits longer than what it has told the UA.
    #[test]
    fn a_stream_may_be_silent_for_longer_than_the_flow_timer() {
        for seconds in [1, 120, 840] {
            let config = Config { flow_timer: Span::from_secs(seconds), ..Config::default() };
            assert!(config.silence() > Duration::from_secs(u64::from(config.keep_alive().stream)));
        }
    }
}
