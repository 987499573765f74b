//! Which edge a Route or Via names. A core knows an edge by what its `Hello` said; it resolves nothing.

use std::collections::{BTreeMap, BTreeSet};

use link::PeerId;
use link::choose::Candidate;
use sip::{Name, NameAddr, Request, Uri};

/// The edges with a link to this core, and the names of those that had one.
#[derive(Debug, Default)]
pub struct Edges {
    live: BTreeMap<PeerId, Edge>,
    hosts: BTreeMap<String, Vec<PeerId>>,
    known: BTreeSet<String>,
}

#[derive(Debug)]
struct Edge {
    name: String,
    /// Of its name, as every core computes it.
    hash: u64,
    hosts: Vec<String>,
}

/// Where the top Route entry of a request leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// There is no Route.
    None,
    /// To an edge with a link.
    Edge(PeerId),
    /// To an edge that is known, but has no link now.
    Dead,
    /// To somebody else.
    Foreign,
}

impl Edges {
    /// A link to an edge stands. `advertised` are the `host` and `host:port` texts that name it.
    pub fn up(&mut self, peer: PeerId, name: &str, advertised: &[String]) {
        self.down(peer);
        let mut hosts: Vec<String> = advertised.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.push(name.to_ascii_lowercase());
        hosts.sort_unstable();
        hosts.dedup();
        for host in &hosts {
            self.known.insert(host.clone());
            self.hosts.entry(host.clone()).or_default().push(peer);
        }
        self.live
            .insert(peer, Edge { name: name.to_owned(), hash: link::choose::hash(name.as_bytes()), hosts });
    }

    /// The link is lost. The names stay known: a route to them is dead, not foreign.
    pub fn down(&mut self, peer: PeerId) {
        let Some(edge) = self.live.remove(&peer) else { return };
        for host in edge.hosts {
            if let Some(peers) = self.hosts.get_mut(&host) {
                peers.retain(|p| *p != peer);
                if peers.is_empty() {
                    self.hosts.remove(&host);
                }
            }
        }
    }

    /// Where the top Route entry leads (RFC 3261 §16.6 step 6).
    pub fn by_route(&self, request: &Request) -> Way {
        let Some(route) = request.top_route() else { return Way::None };
        match route.and_then(|addr: NameAddr<'_>| addr.parsed_uri()) {
            Ok(uri) => self.by_host(uri.host_port()),
            Err(_) => Way::Foreign,
        }
    }

    /// True when the edge that a Path or Route element names has a link.
    pub fn lives(&self, element: &[u8]) -> bool {
        let uri = NameAddr::parse(element).and_then(|addr| addr.parsed_uri());
        uri.is_ok_and(|uri| matches!(self.by_host(uri.host_port()), Way::Edge(_)))
    }

    /// Where the Route leads when the edges that have died are left out, and how many of them stand above. Their
    /// entries name flows that are gone. So are entries left out that have done their service (`is_spent`).
    pub fn past_the_dead(&self, request: &Request, is_spent: impl Fn(&Uri<'_>) -> bool) -> (Way, usize) {
        let mut dead = 0;
        for element in request.headers.values(Name::Route) {
            let uri = NameAddr::parse(element).and_then(|addr| addr.parsed_uri());
            let spent = uri.as_ref().is_ok_and(&is_spent);
            match uri.map_or(Way::Foreign, |uri| self.by_host(uri.host_port())) {
                Way::Dead => dead += 1,
                Way::Edge(_) if spent => dead += 1,
                way @ (Way::None | Way::Edge(_) | Way::Foreign) => return (way, dead),
            }
        }
        (if dead > 0 { Way::Dead } else { Way::None }, dead)
    }

    /// Which edge a `host` or `host:port` names. Siblings that share an address are equal: the first will do.
    pub fn by_host(&self, host: &str) -> Way {
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        match self.hosts.get(host).and_then(|peers| peers.first()) {
            Some(peer) => Way::Edge(*peer),
            None if self.known.contains(host) => Way::Dead,
            None => Way::Foreign,
        }
    }

    /// Name of an edge with a link.
    pub fn name(&self, peer: PeerId) -> Option<&str> {
        self.live.get(&peer).map(|edge| edge.name.as_str())
    }

    /// Every edge with a link: the one that a Call-ID prefers first, then whom to ask when that is lost.
    pub fn ranked(&self, call_id: &[u8]) -> Vec<PeerId> {
        let live = self.live.iter().map(|(peer, edge)| Candidate { peer: *peer, name: edge.hash, weight: 1 });
        link::choose::ranked(call_id, live)
    }

    /// How many edges have a link.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// True when no edge has a link.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_edge_is_dead_and_not_foreign() {
        let mut edges = Edges::default();
        edges.up(PeerId(1), "edge-a", &["198.51.100.1:5060".into(), "SIP.example.com".into()]);
        assert_eq!(edges.by_host("Edge-A"), Way::Edge(PeerId(1)));
        assert_eq!(edges.by_host("sip.example.com"), Way::Edge(PeerId(1)));
        edges.down(PeerId(1));
        assert_eq!(edges.by_host("198.51.100.1:5060"), Way::Dead);
        assert_eq!(edges.by_host("203.0.113.1:5060"), Way::Foreign);
    }

    #[test]
    fn a_shared_address_survives_one_of_its_edges() {
        let mut edges = Edges::default();
        edges.up(PeerId(1), "edge-a", &["vip.example.com".into()]);
        edges.up(PeerId(2), "edge-b", &["vip.example.com".into()]);
        edges.down(PeerId(1));
        assert_eq!(edges.by_host("vip.example.com"), Way::Edge(PeerId(2)));
        assert_eq!(edges.by_host("edge-a"), Way::Dead);
    }

    #[test]
    fn a_new_hello_replaces_the_old_names() {
        let mut edges = Edges::default();
        edges.up(PeerId(1), "edge-a", &["old.example.com".into()]);
        edges.up(PeerId(1), "edge-a", &["new.example.com".into()]);
        assert_eq!(edges.by_host("old.example.com"), Way::Dead);
        assert_eq!(edges.len(), 1);
    }
}
