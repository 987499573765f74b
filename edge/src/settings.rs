//! What the engine of an edge must know about itself: names, addresses, keys.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sip::Uri;
use transport::token::Keys;
use transport::{Flow, Listen};

use crate::network::Network;
use crate::registration::KeepAlive;

/// Identity and policy of one edge, fixed while it runs.
#[derive(Debug)]
pub struct Settings {
    /// Unique name of the edge; the sent-by of its Via on links.
    pub name: String,
    /// Public `host` or `host:port`, when the operator gave one.
    pub advertise: Option<String>,
    /// The sockets in use.
    pub listeners: Vec<Listen>,
    /// Every `host` and `host:port` that names this edge in a URI, lower case: where its listeners are (RFC 3261 §18.2.1).
    pub hosts: BTreeSet<String>,
    /// Sources whose Path and identity headers are kept.
    pub trusted: Vec<Network>,
    /// Keys of the flow tokens, the same on all edges.
    pub keys: Keys,
    /// How often UAs are told to be heard; at first they are not.
    pub keep_alive: KeepAlive,
}

impl Settings {
    /// Settings of an edge whose sockets are bound. `interfaces` are the host's own addresses: they stand for a
    /// listener on a wildcard address.
    pub fn new(
        name: String,
        advertise: Option<String>,
        listeners: Vec<Listen>,
        interfaces: &[IpAddr],
        trusted: Vec<Network>,
        keys: Keys,
    ) -> Self {
        let mut hosts = BTreeSet::from([name.to_ascii_lowercase()]);
        hosts.extend(advertise.as_deref().map(str::to_ascii_lowercase));
        for listen in &listeners {
            let port = listen.addr.port();
            for ip in addresses(listen.addr, interfaces) {
                hosts.insert(SocketAddr::new(ip, port).to_string());
                if port == 5060 {
                    hosts.insert(host_text(ip));
                }
            }
        }
        let keep_alive = KeepAlive::default();
        Self { name, advertise, listeners, hosts, trusted, keys, keep_alive }
    }

    /// True for a URI whose host names this edge.
    pub fn names_us(&self, uri: &Uri<'_>) -> bool {
        uri.is_sip() && self.is_our_host(uri.host_port())
    }

    /// True for a `host` or `host:port` that names this edge.
    pub fn is_our_host(&self, host_port: &str) -> bool {
        if self.hosts.contains(host_port) {
            return true;
        }
        host_port.bytes().any(|b| b.is_ascii_uppercase())
            && self.hosts.contains(&host_port.to_ascii_lowercase())
    }

    /// True when a header from `source` is believed.
    pub fn trusts(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(source))
    }

    /// True when a datagram can leave from the flow's local address: the socket is ours, or the wildcard covers it.
    pub fn serves(&self, flow: &Flow) -> bool {
        self.listeners.iter().any(|listen| {
            listen.protocol == flow.protocol
                && listen.addr.port() == flow.local.port()
                && (listen.addr.ip() == flow.local.ip()
                    || (listen.addr.ip().is_unspecified() && listen.addr.is_ipv4() == flow.local.is_ipv4()))
        })
    }

    /// Host of our Path URI: the public name, else the edge's own, which cores know from the link.
    pub fn path_host(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.name)
    }

    /// `host[:port]` under which a UA on `flow` reaches this edge.
    pub fn public_host(&self, flow: &Flow) -> String {
        self.advertise.clone().unwrap_or_else(|| flow.local.to_string())
    }
}

/// The addresses that a bound socket answers on.
fn addresses(bound: SocketAddr, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound.ip()];
    }
    interfaces.iter().copied().filter(|ip| ip.is_ipv4() == bound.is_ipv4()).collect()
}

/// An address as the host part of a URI: IPv6 in brackets.
fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
