//! Where a SIP or SIPS URI leads: RFC 3263 §4 with RFC 2782. What decides is pure, [`Resolver`] asks the DNS.
//!
//! | file | what |
//! |---|---|
//! | `resolve/question.rs` | a URI → its TARGET, port and transport, RFC 3263 §4 |
//! | `resolve/walk.rs` | NAPTR → SRV → A and AAAA, which of them and in which order, §4.1 and §4.2 |
//! | `resolve/srv.rs` | the order of SRV records by priority and weight, RFC 2782 |
//! | `resolve/cache.rs` | what is remembered of the DNS, and for how long |
//! | `resolve/dns.rs` | the resolver: hickory behind the cache |
//!
//! The URI itself is never changed (§4): a [`Target`] says only where to send. Trying one target after the other (§4.3) is the
//! caller's business.

mod cache;
mod dns;
mod question;
mod records;
mod srv;
mod walk;

use std::net::SocketAddr;
use std::sync::Arc;

pub use cache::{Cache, Known, Ttl};
pub use dns::{Resolver, ResolverError, ResolverStats};
pub use question::{Place, Question, Unusable};
pub use records::{Answer, Kind, Lookup, Naptr, Record, Srv};
pub use srv::{Chance, in_order};
pub use walk::{Families, Step, Walk};

use crate::Protocol;

/// One place to send a request to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// The domain of the URI: whose certificate a TLS peer must show, whatever the DNS says (RFC 3263 §4.1, RFC 5922 §7.3).
    pub domain: Arc<str>,
}

/// Why there is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unresolved {
    /// The DNS says so: there is no such domain, or it offers no SIP.
    #[error("the domain has no SIP service")]
    Nowhere,
    /// The DNS did not answer. It may do so later, and nothing is concluded from it.
    #[error("the DNS does not answer")]
    Unknown,
    /// Too many questions are under way.
    #[error("too many questions wait for the DNS")]
    Busy,
}
