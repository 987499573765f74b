//! Where the nodes of a cluster run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Namespace;

/// Places for nodes, in the order of the nodes; a node without one is on loopback.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// For the edges.
    pub edges: Vec<Spot>,
    /// For the cores.
    pub cores: Vec<Spot>,
}

/// The place of one node.
#[derive(Debug, Clone)]
pub struct Spot {
    /// Its network; without it that of the test.
    pub space: Option<Namespace>,
    /// Its address towards the other tier, and that of its administration socket.
    pub address: IpAddr,
    /// The SIP socket of an edge; without it a free port of its address.
    pub sip: Option<SocketAddr>,
    /// Settings of this node alone, stronger than those of the plan.
    pub settings: Vec<(String, String)>,
}

impl Default for Spot {
    fn default() -> Self {
        Self { space: None, address: Ipv4Addr::LOCALHOST.into(), sip: None, settings: Vec::new() }
    }
}

impl Site {
    pub(super) fn edge(&self, at: usize) -> Spot {
        self.edges.get(at).cloned().unwrap_or_default()
    }

    pub(super) fn core(&self, at: usize) -> Spot {
        self.cores.get(at).cloned().unwrap_or_default()
    }
}
