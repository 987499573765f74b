//! What the engine of a core must know: its name, the domains, the policies.

use std::collections::BTreeSet;

use registrar::Policy;
use sip::digest::Algorithm;
use sip::{Aor, Host, Uri};

use crate::keys::ClusterKeys;

/// Identity and policy of a core, fixed while it runs.
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
    /// Whether requests from our own domains are challenged (407).
    pub call_auth: bool,
    /// Expiry and contact limits of the registrar.
    pub policy: Policy,
    /// Users who may watch the registration state of everybody (RFC 3680 §4.6).
    pub reg_watchers: BTreeSet<Aor>,
}

impl Settings {
    /// True when the URI's host is a domain that this cluster serves.
    pub fn serves(&self, uri: &Uri<'_>) -> bool {
        match uri.host {
            Host::Name(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                self.domains.contains(&name.to_ascii_lowercase())
            }
            Host::Name(name) => self.domains.contains(name),
            Host::V4(ip) => self.domains.contains(&ip.to_string()),
            Host::V6(ip) => self.domains.contains(&format!("[{ip}]")),
        }
    }

    /// True when the address-of-record lies in one of our domains.
    pub fn owns(&self, aor: &Aor) -> bool {
        self.domains.contains(aor.domain())
    }
}
