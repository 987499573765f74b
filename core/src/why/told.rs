//! What an operator is told. The JSON of the API and of the command; fields are only added.

use serde::{Deserialize, Serialize};

use crate::contact::Contact;

/// Why a call to an address goes where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The address, `alice@example.com`.
    pub address: String,
    /// The core that was asked. `None`: no core was, and the plan is what the database alone tells, as if every edge had its
    /// link and every flow carried messages.
    pub core: Option<String>,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Whether the domain is one of the cluster's.
    pub served: bool,
    /// Whether there is such a user; `None` where that is not known.
    pub user: Option<bool>,
    /// Where the contacts are known from.
    pub store: Store,
    /// The contacts that have not expired, the one that is tried first at the top.
    pub contacts: Vec<Bound>,
    /// What becomes of a call.
    pub call: Call,
}

/// Where the contacts are known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// The database.
    Database,
    /// The database is away: this is what the core has seen last.
    LastKnown,
    /// The database is away, and nothing is known from before.
    Away,
    /// Nobody was asked: the domain is somebody else's.
    NotAsked,
}

/// A contact, and whether it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Counts from 1; [`Way::contact`] and [`PassedOver::contact`] name it.
    pub number: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub contact: Contact,
    /// Its public GRUU (RFC 5627), when the UA has an instance-id.
    pub gruu: Option<String>,
    /// The state of the flow that its Path begins with.
    pub flow: Flow,
}

/// Whether a core can send something over the flow of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// The edge has a link to the core, and has not said that the flow is lost.
    Open,
    /// The edge has a link and says that the flow is lost (RFC 5626 §7): the contact is suspended.
    Lost,
    /// The edge had a link to the core, and has none now.
    NoLink,
    /// No edge of that name ever had a link to the core since that was started.
    UnknownEdge,
    /// The contact has no Path: no edge has its flow.
    NoPath,
    /// No core was asked.
    NotKnown,
}

/// What becomes of an INVITE to the address, outside of any dialog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its Request-URI.
    pub request_uri: String,
    /// The target set: one group after the other, each only when the one before has come to nothing (RFC 3261 §16.6).
    pub groups: Vec<Group>,
    /// Contacts that are not tried.
    pub passed_over: Vec<PassedOver>,
    /// The way out of the cluster.
    pub exit: Option<Exit>,
    /// The answer of the core itself, when there is no way.
    pub answer: Option<Refusal>,
    /// The answer to callers who are none of ours, where it is another one.
    pub strangers: Option<Refusal>,
}

/// Branches that are tried at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// In thousandths.
    pub q: u16,
    /// One for each UA.
    pub branches: Vec<Branch>,
}

/// The ways to one UA, one after the other: the next one when an edge says 430, stays silent or has no link (RFC 5626 §7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// In the order in which they are tried.
    pub ways: Vec<Way>,
}

/// One copy of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Number of the contact.
    pub contact: u64,
    /// Request-URI of the copy.
    pub request_uri: String,
    /// Its Route: the Path vector of the contact (RFC 3327 §5.4).
    pub route: Vec<String>,
    /// The edge that it leaves by. `None`: none that has a link, so this way fails at once.
    pub edge: Option<String>,
}

/// A contact that is not tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its number.
    pub contact: u64,
    /// Why not.
    pub why: Skip,
}

/// Why a contact is not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// Its edge says that the flow is lost.
    FlowLost,
    /// Another contact has the same URI and Path: a target is in the set once (RFC 3261 §16.5).
    SameWay,
}

/// The way to a gateway or to another domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Request-URI of the copy.
    pub request_uri: String,
    /// The operator's next hop; without it the edge asks the DNS (RFC 3263).
    pub next_hop: Option<String>,
    /// Edges that it may leave by, by name; the Call-ID chooses. Empty when no core was asked.
    pub edges: Vec<String>,
}

/// An answer of the core itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// What the operator should know.
    pub why: String,
}
