//! What the engine of an edge must know about itself: names, addresses, keys.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sip::Uri;
use transport::resolve::Target;
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

use crate::network::Network;
use crate::next_hop::NextHop;
use crate::rates::Limits;
use crate::registration::KeepAlive;

/// Identity and policy of one edge, fixed while it runs but for the keys.
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
    /// Networks that requests may leave to; none: see [`is_outside`].
    pub egress: Vec<Network>,
    /// Registrars of others, instead of cores.
    pub next_hops: Vec<NextHop>,
    /// What they reach this edge by, when the operator said so.
    pub inside: Option<String>,
    /// What one source may ask for.
    pub limits: Limits,
    /// Which shard of how many: what a shard asks next hops has to be answered to it.
    pub shard: (usize, usize),
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
        Self {
            name,
            advertise,
            listeners,
            hosts,
            trusted,
            keys,
            keep_alive,
            egress: Vec::new(),
            next_hops: Vec::new(),
            inside: None,
            limits: Limits::default(),
            shard: (0, 1),
        }
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

    /// With the networks that requests may leave to.
    #[must_use]
    pub fn with_egress(self, egress: Vec<Network>) -> Self {
        Self { egress, ..self }
    }

    /// With registrars of others instead of cores, and what they reach this edge by.
    #[must_use]
    pub fn with_next_hops(mut self, next_hops: Vec<NextHop>, inside: Option<String>) -> Self {
        self.hosts.extend(inside.as_deref().map(str::to_ascii_lowercase));
        Self { next_hops, inside, ..self }
    }

    /// True for a socket of this edge.
    pub fn is_own_socket(&self, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.hosts.contains(&address.to_string())
    }

    /// True when a request may leave to that address. Never to a socket of ours: what comes in there is hostile and what leaves is
    /// trusted, and one must not become the other.
    pub fn may_leave_to(&self, target: &Target) -> bool {
        let ip = target.address.ip().to_canonical();
        let is_own = self.is_own_socket(target.address);
        let is_listed = self.egress.iter().any(|network| network.contains(ip));
        !is_own && target.address.port() != 0 && (is_listed || self.egress.is_empty() && is_outside(ip))
    }

    /// True when there is a socket for it: datagrams leave from those that are listened on.
    pub fn can_send_to(&self, target: &Target) -> bool {
        target.protocol.is_reliable()
            || self.listeners.iter().any(|listen| {
                listen.protocol == target.protocol && listen.addr.is_ipv4() == target.address.is_ipv4()
            })
    }

    /// `host[:port]` and transport under which the peer of a flow that we have opened reaches this edge: RFC 3261 §18.1.1
    /// has the listener's port in Via, not the one that the connection happens to have.
    pub fn contact(&self, flow: &Flow) -> (String, Protocol) {
        self.reached_by(flow, self.advertise.as_deref())
    }

    /// The same for a next hop: the public name is for the other side.
    pub fn contact_inside(&self, flow: &Flow) -> (String, Protocol) {
        self.reached_by(flow, self.inside.as_deref())
    }

    fn reached_by(&self, flow: &Flow, name: Option<&str>) -> (String, Protocol) {
        let fits = |listen: &&Listen| listen.addr.is_ipv4() == flow.local.is_ipv4();
        let mut listeners = self.listeners.iter().filter(fits);
        let mut same = listeners.clone().filter(|listen| listen.protocol == flow.protocol);
        let here =
            |listen: &&Listen| listen.addr.ip().is_unspecified() || listen.addr.ip() == flow.local.ip();
        let same = same.clone().find(here).or_else(|| same.next());
        let plain = |listen: &&Listen| matches!(listen.protocol, Protocol::Udp | Protocol::Tcp);
        let Some(listen) = same.or_else(|| listeners.find(plain)) else {
            return (name.map_or_else(|| flow.local.to_string(), str::to_owned), flow.protocol);
        };
        let ip = if listen.addr.ip().is_unspecified() { flow.local.ip() } else { listen.addr.ip() };
        let own = || SocketAddr::new(ip, listen.addr.port()).to_string();
        (name.map_or_else(own, str::to_owned), listen.protocol)
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

/// True for an address of somebody else: neither this host's own, nor one of its link, nor one of many. The services of a cloud
/// that know everything about a host (169.254.169.254) are on its link.
pub fn is_outside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets().first() == Some(&0))
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &[&str], advertise: Option<&str>) -> Settings {
        let listeners = listen.iter().map(|text| text.parse().unwrap()).collect();
        let interfaces = ["198.51.100.7".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let keys = Keys::random([7; 32]);
        Settings::new(
            "edge-1".to_owned(),
            advertise.map(str::to_owned),
            listeners,
            &interfaces,
            Vec::new(),
            keys,
        )
    }

    fn target(address: &str) -> Target {
        Target { protocol: Protocol::Udp, address: address.parse().unwrap(), domain: "example.net".into() }
    }

    #[test]
    fn requests_leave_to_addresses_of_others_only() {
        let settings = settings(&["udp:0.0.0.0:5060"], None);
        for (address, may) in [
            ("203.0.113.9:5060", true),
            ("10.0.0.9:5060", true),
            ("198.51.100.7:5070", true),
            ("198.51.100.7:5060", false), // our own socket
            ("127.0.0.1:5070", false),
            ("0.0.0.0:5060", false),
            ("0.1.2.3:5060", false),
            ("169.254.169.254:80", false),
            ("224.0.1.75:5060", false),
            ("255.255.255.255:5060", false),
            ("203.0.113.9:0", false),
            ("[::ffff:127.0.0.1]:5060", false),
            ("[::ffff:198.51.100.7]:5060", false),
            ("[2001:db8::9]:5060", true),
            ("[::1]:5060", false),
            ("[::]:5060", false),
            ("[fe80::1]:5060", false),
            ("[ff02::1]:5060", false),
        ] {
            assert_eq!(settings.may_leave_to(&target(address)), may, "{address}");
        }
        let limited = settings.with_egress(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(limited.may_leave_to(&target("127.0.0.1:5070")));
        assert!(!limited.may_leave_to(&target("127.0.0.1:5060")), "our own socket");
        assert!(!limited.may_leave_to(&target("203.0.113.9:5060")));
    }

    #[test]
    fn datagrams_leave_from_a_listener_of_their_family() {
        let settings = settings(&["udp:0.0.0.0:5060", "tcp:[::]:5060"], None);
        assert!(settings.can_send_to(&target("203.0.113.9:5060")));
        assert!(!settings.can_send_to(&target("[2001:db8::9]:5060")));
        let stream = Target { protocol: Protocol::Tls, ..target("[2001:db8::9]:5060") };
        assert!(settings.can_send_to(&stream));
    }

    /// RFC 3261 §18.1.1: the port of Via is one that is listened on.
    #[test]
    fn a_peer_outside_is_told_where_we_listen() {
        let flow = |protocol| Flow {
            protocol,
            local: "198.51.100.7:45678".parse().unwrap(),
            remote: "203.0.113.9:5060".parse().unwrap(),
            connection: u64::from(protocol.is_reliable()),
        };
        let listen = ["ws:0.0.0.0:80", "udp:0.0.0.0:5060", "tcp:198.51.100.8:5062"];
        let (plain, named) = (settings(&listen, None), settings(&listen, Some("sip.example.com")));
        let told = |settings: &Settings, protocol| settings.contact(&flow(protocol));
        assert_eq!(told(&plain, Protocol::Udp), ("198.51.100.7:5060".to_owned(), Protocol::Udp));
        assert_eq!(told(&plain, Protocol::Tcp), ("198.51.100.8:5062".to_owned(), Protocol::Tcp));
        assert_eq!(
            told(&plain, Protocol::Tls),
            ("198.51.100.7:5060".to_owned(), Protocol::Udp),
            "no TLS listener"
        );
        assert_eq!(told(&named, Protocol::Tcp), ("sip.example.com".to_owned(), Protocol::Tcp));
    }
}
