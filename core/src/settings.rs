//! What the engine of a core must know: its name, the domains, the policies.

use std::collections::BTreeSet;

use registrar::Policy;
use sip::digest::Algorithm;
use sip::{Aor, Host, Method, Uri};

use crate::keys::ClusterKeys;
use crate::routes::Routes;

/// Identity and policy of a core; all but the domains are fixed while it runs.
#[derive(Debug)]
pub struct Settings {
    /// Unique name, noted with every binding that this core writes.
    pub name: String,
    /// Domains served, lower case.
    pub domains: BTreeSet<String>,
    /// Keys of nonces, signed branches and temporary GRUUs, the same on all cores.
    pub keys: ClusterKeys,
    /// Seconds a nonce is good for.
    pub nonce_lifetime: u64,
    /// Digest algorithms that are offered and accepted, the preferred one first.
    pub algorithms: Vec<Algorithm>,
    /// Which requests from our own domains are challenged (407).
    pub challenged: Challenged,
    /// Expiry and contact limits of the registrar.
    pub policy: Policy,
    /// Whether a UA is told to send its requests through the edge that it registered through (RFC 3608).
    pub service_route: bool,
    /// Users who may watch the registration state of everybody (RFC 3680 §4.6).
    pub reg_watchers: BTreeSet<Aor>,
    /// Whether every change of a binding is noted for the change feed.
    pub change_feed: bool,
    /// Where numbers lead that are nobody's, and foreign domains that the DNS does not know.
    pub routes: Routes,
}

impl Settings {
    /// True when the URI's host is a domain that this cluster serves.
    pub fn serves(&self, uri: &Uri<'_>) -> bool {
        serves(&self.domains, uri)
    }

    /// True when the address-of-record lies in one of our domains.
    pub fn owns(&self, aor: &Aor) -> bool {
        self.domains.contains(aor.domain())
    }
}

/// True when the URI's host is one of `domains`, which are in lower case.
pub(crate) fn serves(domains: &BTreeSet<String>, uri: &Uri<'_>) -> bool {
    match uri.host {
        Host::Name(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
            domains.contains(&name.to_ascii_lowercase())
        }
        Host::Name(name) => domains.contains(name),
        Host::V4(ip) => domains.contains(&ip.to_string()),
        Host::V6(ip) => domains.contains(&format!("[{ip}]")),
    }
}

/// Which methods a user of ours has to prove to be himself for. REGISTER is always one of them, ACK and CANCEL never are
/// (RFC 3261 §22.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenged {
    /// Whatever the method.
    All,
    /// These, and no other.
    Only(Vec<Method>),
}

impl Challenged {
    /// No method.
    pub const NONE: Self = Self::Only(Vec::new());

    /// True when requests with this method are challenged.
    pub fn includes(&self, method: &Method) -> bool {
        match (self, method) {
            (_, Method::Ack | Method::Cancel) => false,
            (Self::All, _) => true,
            (Self::Only(methods), _) => methods.contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_and_cancel_are_never_challenged() {
        for challenged in [Challenged::All, Challenged::Only(vec![Method::Ack, Method::Cancel])] {
            assert!(!challenged.includes(&Method::Ack));
            assert!(!challenged.includes(&Method::Cancel));
        }
        assert!(Challenged::All.includes(&Method::Options));
        assert!(!Challenged::NONE.includes(&Method::Invite));
        let only = Challenged::Only(vec![Method::Invite]);
        assert!(only.includes(&Method::Invite) && !only.includes(&Method::Message));
    }
}
