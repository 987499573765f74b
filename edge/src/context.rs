//! What the engine remembers of a request on its way, and of a core.

use std::time::Instant;

use link::PeerId;
use link::choose::Candidate;
use proxy::context::{BranchId, ResponseContext};
use transaction::ClientId;

use crate::hop::Hop;

/// One request on its way: the response context with one branch (a second one when a core dies).
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) response: ResponseContext,
    pub(crate) from: Hop,
    pub(crate) hop: Hop,
    pub(crate) loop_hash: u64,
    /// When it was forwarded first.
    pub(crate) since: Instant,
    /// What the branches of all attempts start with: by it cores know them as one request.
    pub(crate) origin: String,
    pub(crate) clients: Vec<(BranchId, ClientId)>,
    pub(crate) answered: bool,
    pub(crate) cancelled: bool,
}

/// A core with a link.
#[derive(Debug)]
pub(crate) struct Core {
    /// Hash of its name, which every edge computes alike.
    pub(crate) name: u64,
    pub(crate) weight: u32,
}

impl Core {
    pub(crate) fn candidate(&self, peer: PeerId) -> Candidate {
        Candidate { peer, name: self.name, weight: self.weight }
    }
}

impl Context {
    pub(crate) fn client(&self, branch: BranchId) -> Option<ClientId> {
        self.clients.iter().find(|(b, _)| *b == branch).map(|(_, client)| *client)
    }
}
