//! Pings in quick succession where an INVITE was not answered: is the phone only slow, or has its NAT forgotten it? Pure.
//!
//! ```text
//! INVITE ── 200 ms, no answer ──► OPTIONS ── gap ──► OPTIONS ── gap ──► OPTIONS ── gap ──► lost
//!                                    any answer to any of them: it lives, and the INVITE has its Timer B
//! ```
//!
//! There are as many as make a flow lost on the wheel, ten a second at most. All of them together take four times as long as
//! the slowest ping of late, and at least [`SHORTEST`]: who calls a phone behind a gateway that has restarted hears of it within
//! a second, and a phone on a link of 800 ms has more than three seconds. The wheel finds a phone as a call does, with its radio
//! asleep, so its pings say how long that takes; where they are four octets nothing does, and the phone has two seconds. RFC 5626
//! §4.4.2 leaves the interval to whoever pings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use transport::Flow;

use crate::keeper::Keeper;
use crate::ping::NatPing;
use crate::registered::Health;

/// What a phone has at least after the first of them. With [`crate::silence::PATIENCE`] it is less than a second, and the INVITE has been
/// repeated once (RFC 3261 §17.1.1.2).
pub(crate) const SHORTEST: Duration = Duration::from_millis(600);
/// The same where pings are four octets: how long an answer takes was measured once, just after a REGISTER, with the radio awake. An LTE
/// phone that sleeps is paged every 1.28 or 2.56 s.
const SHORTEST_UNMEASURED: Duration = Duration::from_secs(2);
/// What it has at most.
const LONGEST: Duration = Duration::from_secs(4);
/// What lies between two of them at least, however many are to be lost.
const SHORTEST_GAP: Duration = Duration::from_millis(100);
/// How many times the slowest ping.
const TIMES: u32 = 4;

/// Flows that are asked.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// In the order of their next times.
    due: BTreeSet<(Instant, u32)>,
    asked: BTreeMap<u32, Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    next: Instant,
    gap: Duration,
    left: u8,
}

impl Probes {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// True while a flow is asked.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.asked.contains_key(&number)
    }

    /// It lives, or it is no more.
    pub(crate) fn forget(&mut self, number: u32) {
        if let Some(probe) = self.asked.remove(&number) {
            self.due.remove(&(probe.next, number));
        }
    }

    fn put(&mut self, number: u32, probe: Probe) {
        self.due.insert((probe.next, number));
        self.asked.insert(number, probe);
    }

    fn take_due(&mut self, now: Instant) -> Option<(u32, Probe)> {
        let (_, number) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        let probe = self.asked.get(&number).copied()?;
        self.forget(number);
        Some((number, probe))
    }
}

/// How long all of them take together.
fn span(slowest: Duration, mode: NatPing) -> Duration {
    let shortest = if mode == NatPing::Options { SHORTEST } else { SHORTEST_UNMEASURED };
    (slowest * TIMES).clamp(shortest, LONGEST)
}

impl Keeper {
    /// An INVITE was not answered in time. Says something only of a phone that answers pings.
    pub(crate) fn on_silent(&mut self, flow: &Flow, now: Instant) {
        let most = self.pings.lost;
        if self.pings.mode == NatPing::Off || most == 0 {
            return;
        }
        let Some(number) = self.registered.number(flow).filter(|number| !self.probes.has(*number)) else {
            return; // asked already: a second INVITE asks nothing more
        };
        let Some(entry) = self.registered.get(number).filter(|entry| entry.health == Health::Answers) else {
            return;
        };
        let gap = (span(entry.slowest(), self.pings.mode) / u32::from(most)).max(SHORTEST_GAP);
        self.ask_phone(number, now);
        self.probes.put(number, Probe { next: now + gap, gap, left: most - 1 });
    }

    /// Asks on until there is an answer or the flow is lost.
    pub(crate) fn on_probes_due(&mut self, now: Instant) {
        while let Some((number, probe)) = self.probes.take_due(now) {
            self.miss(number);
            if probe.left == 0 {
                self.lose(number, now);
            } else {
                self.ask_phone(number, now);
                self.probes.put(number, Probe { next: now + probe.gap, left: probe.left - 1, ..probe });
            }
        }
    }
}
