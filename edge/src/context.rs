//! What the engine remembers of a request on its way, and of a core.

use std::time::Instant;

use link::PeerId;
use link::choose::Candidate;
use proxy::context::{BranchId, ResponseContext};
use transaction::ClientId;

use crate::egress::Leaving;
use crate::hop::Hop;

/// One request on its way: the response context with one branch (a second one when a core dies).
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) response: ResponseContext,
    pub(crate) from: Hop,
    /// Where all attempts go; `None` when the request leaves, each attempt on a flow of its own.
    pub(crate) hop: Option<Hop>,
    pub(crate) loop_hash: u64,
    /// When it was forwarded first.
    pub(crate) since: Instant,
    /// What the branches of all attempts start with: by it cores know them as one request.
    pub(crate) origin: String,
    pub(crate) clients: Vec<(BranchId, ClientId)>,
    pub(crate) answered: bool,
    pub(crate) cancelled: bool,
    /// There when the request leaves the cluster.
    pub(crate) leaving: Option<Box<Leaving>>,
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
    /// A request that came just now and has no attempt yet. Where attempts go is its `hop` or what is `leaving`.
    pub(crate) fn new(
        response: ResponseContext,
        from: Hop,
        loop_hash: u64,
        origin: String,
        now: Instant,
    ) -> Self {
        Self {
            response,
            from,
            hop: None,
            loop_hash,
            since: now,
            origin,
            clients: Vec::new(),
            answered: false,
            cancelled: false,
            leaving: None,
        }
    }

    /// The branch of the next attempt. RFC 3263 §4.3: every attempt has one of its own.
    pub(crate) fn branch_token(&self) -> String {
        match self.clients.len() {
            0 => self.origin.clone(),
            retries => format!("{}-{retries}", self.origin),
        }
    }

    /// When something is to be done about it.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.next_timeout());
        self.response.next_timeout().into_iter().chain(leaving).min()
    }

    pub(crate) fn client(&self, branch: BranchId) -> Option<ClientId> {
        self.clients.iter().find(|(b, _)| *b == branch).map(|(_, client)| *client)
    }
}
