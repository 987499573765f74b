//! What an edge counts. Plain numbers: the engine is pure; the driver publishes them.

use sip::{Method, StatusCode};
use transaction::Counts;

/// Counters since start, and gauges of this moment.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Requests from user agents by [`METHODS`], the last for every other method.
    pub from_ua: [u64; METHODS.len() + 1],
    /// Requests from cores, in the same order.
    pub from_core: [u64; METHODS.len() + 1],
    /// Answers sent to either side by class, 1xx first.
    pub responses: [u64; 6],
    /// Responses that matched no transaction and were dropped (RFC 6026 §7.3).
    pub stray_responses: u64,
    /// INVITEs that were answered after they had been given up: their phones were cancelled.
    pub late_answers: u64,
    /// Requests refused because their source sent too many.
    pub limited: u64,
    /// ACKs without a way.
    pub dropped_acks: u64,
    /// Requests sent once more because their core died or their next hop failed.
    pub retried: u64,
    /// Requests sent outside.
    pub egress: u64,
    /// Targets outside that were passed over: silent, unreachable, or 503.
    pub egress_failed: u64,
    /// Gauge: transactions.
    pub transactions: Counts,
    /// Gauge: requests on their way.
    pub contexts: u64,
    /// Gauge: open streams.
    pub streams: u64,
}

/// The classes of answers, in the order of their counters.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// The methods that are counted by name.
pub const METHODS: [&str; 8] =
    ["REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "SUBSCRIBE"];

impl Counters {
    /// Counts a request.
    pub fn request(&mut self, method: &Method, from_ua: bool) {
        let at = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len());
        let side = if from_ua { &mut self.from_ua } else { &mut self.from_core };
        if let Some(count) = side.get_mut(at) {
            *count += 1;
        }
    }

    /// Counts an answer.
    pub fn response(&mut self, status: StatusCode) {
        if let Some(count) = self.responses.get_mut(usize::from(status.class()).saturating_sub(1)) {
            *count += 1;
        }
    }

    /// Requests from user agents, all methods.
    pub fn requests_in(&self) -> u64 {
        self.from_ua.iter().sum()
    }
}
