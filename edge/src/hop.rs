//! The two sides of an edge, as its transaction layer sees them.

use bytes::Bytes;
use link::PeerId;
use transport::Flow;

use crate::peer::Peer;

/// The other end of one hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// A user agent (or a peer proxy) on its flow.
    Ua(Flow),
    /// A core, over its link.
    Core(PeerId),
}

/// Where a request goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Over this hop.
    Hop(Hop),
    /// Out of the cluster, with the cores' mark.
    Outside(Bytes),
    /// To a trusted peer, by the Route that is left: the stream that it had is gone.
    Peer(Peer),
    /// To one of the next hops that stand where cores would.
    Upwards,
    /// Nowhere: it is for this edge itself.
    Here,
}

impl transaction::Peer for Hop {
    fn is_reliable(&self) -> bool {
        match self {
            Self::Ua(flow) => flow.protocol.is_reliable(),
            Self::Core(_) => true,
        }
    }
}
