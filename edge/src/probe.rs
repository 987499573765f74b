//! Pings in quick succession where an INVITE was not answered: is the phone only slow, or has its NAT forgotten it? Pure.
//!
//! They count like the pings of the wheel: as many in a row unanswered, and the flow is lost. So a caller waits two seconds for
//! a phone behind a gateway that has restarted, and not the 32 s of Timer B. RFC 5626 §4.4.2 leaves the interval to whoever pings.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use transport::Flow;

use crate::keeper::Keeper;
use crate::ping::NatPing;
use crate::registered::Health;
use crate::silence::PATIENCE;

/// Flows that are asked, in the order of their next times.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    due: VecDeque<(Instant, u32)>,
    /// Those in `due`: a second INVITE asks nothing more.
    asked: BTreeSet<u32>,
}

impl Probes {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(due, _)| *due)
    }
}

impl Keeper {
    /// An INVITE was not answered in time. Says something only of a phone that answers pings.
    pub(crate) fn on_silent(&mut self, flow: &Flow, now: Instant) {
        if self.pings.mode != NatPing::Options || self.pings.lost == 0 {
            return;
        }
        let Some(number) = self.registered.number(flow) else { return };
        let answers = self.registered.get_mut(number).is_some_and(|entry| entry.health == Health::Answers);
        if answers && self.probes.asked.insert(number) {
            self.probe(number, now);
        }
    }

    /// Asks on until there is an answer or the flow is lost.
    pub(crate) fn on_probes_due(&mut self, now: Instant) {
        while self.probes.next().is_some_and(|due| due <= now) {
            let Some((_, number)) = self.probes.due.pop_front() else { return };
            let open = self.registered.get_mut(number).is_some_and(|entry| entry.waiting);
            if open {
                self.probe(number, now);
            } else {
                self.probes.asked.remove(&number);
            }
        }
    }

    fn probe(&mut self, number: u32, now: Instant) {
        self.on_due(number, now);
        let watched = self.registered.get_mut(number).is_some_and(|entry| entry.health == Health::Answers);
        if watched {
            self.probes.due.push_back((now + PATIENCE, number));
        } else {
            self.probes.asked.remove(&number);
        }
    }
}
