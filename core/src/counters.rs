//! What a core counts. Plain numbers: the engine is pure; the driver publishes them.

use sip::{Method, StatusCode};
use transaction::Counts;

/// Counters since start, and gauges of this moment.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Requests by [`METHODS`], the last for every other method.
    pub requests: [u64; METHODS.len() + 1],
    /// Answers given by class, 1xx first.
    pub responses: [u64; 6],
    /// 401 and 407 for want of credentials.
    pub challenges: u64,
    /// Credentials that did not fit.
    pub auth_failures: u64,
    /// Digests computed to verify credentials: one for each claim, also of users that do not exist.
    pub verifications: u64,
    /// REGISTERs acknowledged.
    pub registered: u64,
    /// Saves that another core overtook.
    pub conflicts: u64,
    /// SUBSCRIBEs to the registration state accepted.
    pub subscribed: u64,
    /// Subscriptions that ended because their subscriber is gone (RFC 6665 §4.2.2).
    pub unsubscribed: u64,
    /// NOTIFYs sent.
    pub notified: u64,
    /// NOTIFYs that did not reach their subscriber.
    pub lost_notifies: u64,
    /// Bindings taken out because their time was over.
    pub expired: u64,
    /// Changes of bindings that the store may have taken without a note for the change feed, which is off.
    pub unnoted: u64,
    /// Branches whose edge has no link.
    pub no_edge: u64,
    /// Requests sent outside.
    pub egress: u64,
    /// Requests refused because this is no open relay.
    pub relays_refused: u64,
    /// Requests inside a dialog whose Route led nowhere, sent where the UA has registered since.
    pub detours: u64,
    /// Responses of a dead core's calls, passed on.
    pub passed_responses: u64,
    /// Responses that matched nothing and were dropped (RFC 6026 §7.3).
    pub stray_responses: u64,
    /// ACKs without a way.
    pub dropped_acks: u64,
    /// Bindings passed over because their flow is lost.
    pub suspended: u64,
    /// Gauge: flows that edges have reported as lost.
    pub lost_flows: u64,
    /// Gauge: transactions.
    pub transactions: Counts,
    /// Gauge: requests being forwarded.
    pub contexts: u64,
    /// Gauge: questions that wait for the store.
    pub queries: u64,
    /// Gauge: edges with a link.
    pub edges: u64,
}

/// The classes of answers, in the order of their counters.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// The methods that are counted by name.
pub const METHODS: [&str; 8] =
    ["REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "SUBSCRIBE"];

impl Counters {
    pub(crate) fn request(&mut self, method: &Method) {
        let at = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len());
        if let Some(count) = self.requests.get_mut(at) {
            *count += 1;
        }
    }

    pub(crate) fn response(&mut self, status: StatusCode) {
        if let Some(count) = self.responses.get_mut(usize::from(status.class()).saturating_sub(1)) {
            *count += 1;
        }
    }

    pub(crate) fn challenge(&mut self, status: StatusCode) {
        if matches!(status.code(), 401 | 407) {
            self.challenges += 1;
        }
    }
}
