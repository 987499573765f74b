//! Flows that edges have reported as lost: their bindings are suspended, not removed. RFC 5626 §7, last paragraph. Pure.
//!
//! A hint, and kept like one: in memory, at most [`MOST`] of them, gone with the link of the edge that gave it, with the time
//! of the longest registration, and with the next REGISTER over the flow. Where it is missing the edge's 430 says the
//! same, or the silence of a phone; where it is wrong the edge takes it back with the next ping that is answered.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::PeerId;
use proxy::target::Target;
use sip::{Name, NameAddr, Request};

use crate::engine::Core;

/// Hints of one shard: with all of them it takes some 20 MB.
const MOST: usize = 100_000;

/// The tokens of lost flows, as they stand in Path vectors.
#[derive(Debug)]
pub(crate) struct Flows {
    lost: HashMap<Bytes, Hint, ahash::RandomState>,
    /// In the order of their times; some are not in `lost` any more, or there with a later time.
    order: VecDeque<(Instant, Bytes)>,
    lifetime: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Hint {
    edge: PeerId,
    until: Instant,
}

impl Flows {
    /// `lifetime` is that of the longest registration.
    pub(crate) fn new(hasher: ahash::RandomState, lifetime: Duration) -> Self {
        Self { lost: HashMap::with_hasher(hasher), order: VecDeque::new(), lifetime }
    }

    pub(crate) fn len(&self) -> usize {
        self.lost.len()
    }

    /// An edge has lost a flow.
    pub(crate) fn down(&mut self, edge: PeerId, token: Bytes, now: Instant) {
        self.expire(now);
        let until = now + self.lifetime;
        self.order.push_back((until, token.clone()));
        self.lost.insert(token, Hint { edge, until });
    }

    /// The flow is there.
    pub(crate) fn up(&mut self, token: &[u8]) {
        self.lost.remove(token);
    }

    /// Nobody takes back what this edge has said.
    pub(crate) fn edge_down(&mut self, edge: PeerId) {
        self.lost.retain(|_, hint| hint.edge != edge);
        let lost = &self.lost;
        self.order.retain(|(until, token)| lost.get(token).is_some_and(|hint| hint.until == *until));
    }

    pub(crate) fn is_lost(&self, token: &[u8], now: Instant) -> bool {
        self.lost.get(token).is_some_and(|hint| hint.until > now)
    }

    /// Takes the targets whose flow is lost out of these.
    pub(crate) fn take_lost(&self, targets: &mut Vec<Target>, now: Instant) -> Vec<Target> {
        if self.lost.is_empty() {
            return Vec::new();
        }
        let is_lost = |hop: &Bytes| token(hop).is_some_and(|token| self.is_lost(token, now));
        targets.extract_if(.., |target| target.route.first().is_some_and(is_lost)).collect()
    }

    /// Forgets what is too old, and the oldest when there is too much.
    fn expire(&mut self, now: Instant) {
        while let Some((until, token)) = self.order.front()
            && (*until <= now || self.order.len() >= MOST)
        {
            if self.lost.get(token).is_some_and(|hint| hint.until == *until) {
                self.lost.remove(token);
            }
            self.order.pop_front();
        }
    }
}

impl Core {
    /// The targets but those whose flow is lost; with the next reg-id of an instance, a caller does not wait for the dead
    /// one first.
    pub(crate) fn awake(&mut self, mut targets: Vec<Target>, now: Instant) -> Vec<Target> {
        self.counters.suspended += self.flows.take_lost(&mut targets, now).len() as u64;
        targets
    }

    /// A REGISTER was acknowledged: its flow carries messages.
    pub(crate) fn flow_is_used(&mut self, request: &Request) {
        if self.flows.len() > 0
            && let Some(token) = request.headers.top(Name::Path).and_then(token)
        {
            self.flows.up(token);
        }
    }
}

/// The flow token in an element of a Path vector: the user part of an edge's URI.
pub(crate) fn token(element: &[u8]) -> Option<&[u8]> {
    NameAddr::parse(element).ok()?.parsed_uri().ok()?.user.map(str::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);
    const HOUR: Duration = Duration::from_secs(3600);

    fn flows() -> (Flows, Instant) {
        (Flows::new(ahash::RandomState::with_seeds(1, 2, 3, 4), HOUR), node::clock::now())
    }

    #[test]
    fn a_hint_lasts_until_it_is_taken_back_or_too_old() {
        let (mut flows, now) = flows();
        for token in ["one", "two"] {
            flows.down(A, Bytes::from(token), now);
        }
        flows.up(b"one");
        assert!(!flows.is_lost(b"one", now) && flows.is_lost(b"two", now));
        assert!(!flows.is_lost(b"two", now + HOUR));
        flows.down(A, Bytes::from("three"), now + HOUR);
        assert_eq!(flows.len(), 1, "the old ones are forgotten");
    }

    #[test]
    fn a_repeated_hint_lasts_from_the_last_time() {
        let (mut flows, now) = flows();
        flows.down(A, Bytes::from("one"), now);
        flows.down(A, Bytes::from("one"), now + HOUR / 2);
        flows.down(A, Bytes::from("two"), now + HOUR);
        assert!(flows.is_lost(b"one", now + HOUR));
    }

    #[test]
    fn hints_go_with_the_link_of_their_edge() {
        let (mut flows, now) = flows();
        flows.down(A, Bytes::from("one"), now);
        flows.down(B, Bytes::from("two"), now);
        flows.edge_down(A);
        assert!(!flows.is_lost(b"one", now) && flows.is_lost(b"two", now));
        assert_eq!(flows.order.len(), 1);
    }

    #[test]
    fn there_are_never_too_many() {
        let (mut flows, now) = flows();
        for number in 0..MOST + 10 {
            flows.down(A, Bytes::from(number.to_string()), now);
        }
        assert!(flows.len() <= MOST && flows.order.len() <= MOST);
        assert!(!flows.is_lost(b"0", now), "the oldest goes first");
        assert!(flows.is_lost((MOST + 9).to_string().as_bytes(), now));
    }

    #[test]
    fn the_token_is_the_user_of_the_edges_uri() {
        assert_eq!(token(b"<sip:abc_-1@edge-1;lr;ob>"), Some(&b"abc_-1"[..]));
        assert_eq!(token(b"<sip:edge-1;lr>"), None);
        assert_eq!(token(b"nonsense"), None);
    }
}
