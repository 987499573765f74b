//! Servers that have failed lately, RFC 3263 §4.3: whoever has just been silent or refused is asked last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip::{Name, Response};
use transaction::ServerId;
use transport::Protocol;
use transport::resolve::Target;

use crate::engine::Edge;

/// How long a failure counts, unless the server says so itself.
const MEMORY: Duration = Duration::from_secs(30);
/// The longest that a server can ask for (Retry-After in its 503).
const LONGEST: Duration = Duration::from_secs(300);
/// Servers that are remembered.
const MOST: usize = 1_024;

/// Until when servers are asked last.
#[derive(Debug, Default)]
pub(crate) struct Failed(BTreeMap<(Protocol, SocketAddr), Instant>);

impl Failed {
    /// A server has failed; with a 503 it may have said when to come back.
    pub(crate) fn insert(&mut self, target: &Target, retry_after: Option<Duration>, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= MOST
            && let Some(first) = self.0.iter().min_by_key(|(_, until)| **until).map(|(server, _)| *server)
        {
            self.0.remove(&first);
        }
        let until = now + retry_after.unwrap_or(MEMORY).min(LONGEST);
        self.0.insert((target.protocol, target.address), until);
    }

    /// It has answered.
    pub(crate) fn forget(&mut self, target: &Target) {
        self.0.remove(&(target.protocol, target.address));
    }

    /// The same targets, those that have failed behind the others.
    pub(crate) fn last(&self, mut targets: Vec<Target>, now: Instant) -> Vec<Target> {
        let failed = |target: &Target| {
            self.0.get(&(target.protocol, target.address)).is_some_and(|until| *until > now)
        };
        targets.sort_by_key(failed);
        targets
    }
}

impl Edge {
    /// It is asked last for a while.
    pub(super) fn on_target_failed(&mut self, target: &Target, retry_after: Option<Duration>, now: Instant) {
        self.exits.failed.insert(target, retry_after, now);
        self.next_hops.suspect(target, now);
    }

    /// The target in hand has been silent for too long: the next one is tried beside it.
    pub(crate) fn on_impatience(&mut self, id: ServerId, now: Instant) {
        let leaving = self.contexts.get(&id).and_then(|context| context.leaving.as_ref());
        let Some(attempt) = leaving.and_then(|leaving| leaving.attempt.as_ref()) else { return };
        let branch = attempt.branch;
        let is_last = leaving.is_some_and(|leaving| leaving.ways.is_empty());
        if attempt.patience.is_some_and(|at| at <= now) {
            self.pass_over(id, branch, None, now);
            if is_last {
                return self.give_up_branch(id, branch, now);
            }
            self.step(id, now, |context, now, out| context.response.orphan(branch, now, out));
        }
    }
}

/// RFC 3261 §20.33, the seconds.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = std::str::from_utf8(response.headers.get(Name::RetryAfter)?).ok()?.trim_ascii();
    let end = value.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end)?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the start")]
mod tests {
    use super::*;

    fn target(last: u8) -> Target {
        let address = SocketAddr::from(([192, 0, 2, last], 5060));
        Target { protocol: Protocol::Udp, address, domain: "example.net".into() }
    }

    #[test]
    fn what_has_failed_is_last_for_a_while() {
        let (mut failed, now) = (Failed::default(), Instant::now());
        let all = vec![target(1), target(2), target(3)];
        failed.insert(&target(1), None, now);
        assert_eq!(failed.last(all.clone(), now), [target(2), target(3), target(1)]);
        assert_eq!(failed.last(all.clone(), now + MEMORY), all);
        failed.insert(&target(2), Some(Duration::from_secs(100_000)), now);
        assert_eq!(failed.last(all.clone(), now + LONGEST - Duration::from_secs(1))[2], target(2));
        assert_eq!(failed.last(all.clone(), now + LONGEST), all);
        failed.forget(&target(2));
        assert_eq!(failed.last(all, now), [target(2), target(3), target(1)]);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut failed, now) = (Failed::default(), Instant::now());
        for port in 1..=2_000_u16 {
            let target = Target { address: SocketAddr::from(([192, 0, 2, 1], port)), ..target(1) };
            failed.insert(&target, None, now + Duration::from_millis(port.into()));
        }
        assert_eq!(failed.0.len(), MOST);
    }
}
