//! What is known of the other end of a flow, by the pings that it answers. Pure.
//!
//! ```text
//!           answered                 n in a row unanswered
//! Unknown ────────────► Answers ◄──────────────────────────► Lost      the core hears of it when a flow is lost, and when it is back
//!    ▲                                   answered             │
//!    └──────────── REGISTER; with next hops, any message ─────┘
//! ```
//!
//! A phone that never answers OPTIONS stays Unknown for ever: its silence says nothing, and it is pinged like any other.
//! A lost flow is asked on, since its phone may be back from where there was no network; its binding stays until it
//! expires (it is the registrar's). One that registers on a flow that was thought lost is there, and may have stopped
//! answering for reasons of its own: it is not lost again before it has answered again.

use std::time::{Duration, Instant};

use transport::Flow;
use transport::pong::PingId;

use crate::keeper::{Keeper, Output};
use crate::news::What;
use crate::ping::NatPing;
use crate::registered::{Entry, Health};

/// What a phone is asked at first where pings are four octets: so it is known whether it answers, for when it has to be asked.
const FIRST: u8 = 3;

impl Keeper {
    pub(crate) fn on_answered(&mut self, flow: &Flow, ping: PingId, now: Instant) {
        let millis = self.registered.clock(now);
        let Some(entry) = self.registered.get_mut(ping.flow).filter(|entry| entry.flow == *flow) else {
            return;
        };
        if entry.round == ping.round && std::mem::take(&mut entry.waiting) {
            self.counters.answered += 1;
            entry.measure(millis);
        }
        if entry.health == Health::Unknown {
            entry.health = Health::Answers;
        }
        self.is_heard(ping.flow, now);
    }

    /// A message has come on a lost flow. Another one says nothing new.
    pub(crate) fn on_heard(&mut self, flow: &Flow, now: Instant) {
        if let Some(number) = self.registered.number(flow) {
            self.is_used(number, now);
        }
    }

    /// RFC 5626 §4.2: the UA itself has used the flow.
    pub(crate) fn is_used(&mut self, number: u32, now: Instant) {
        let was_lost = self.registered.get(number).is_some_and(|entry| entry.health == Health::Lost);
        self.is_heard(number, now);
        if let Some(entry) = self.registered.get_mut(number).filter(|_| was_lost) {
            entry.health = Health::Unknown;
            entry.waiting = false;
        }
    }

    /// There is life on a flow.
    fn is_heard(&mut self, number: u32, now: Instant) {
        self.probes.forget(number);
        let Some(entry) = self.registered.get_mut(number) else { return };
        if entry.health != Health::Unknown {
            entry.unanswered = 0;
        }
        if entry.health == Health::Lost {
            entry.health = Health::Answers;
            let flow = entry.flow;
            self.counters.returned += 1;
            self.tell(What::Back, &flow, &[], now);
            self.out.push_back(Output::Back(flow));
        }
    }

    /// Sends a ping that is answered.
    pub(crate) fn ask_phone(&mut self, number: u32, now: Instant) {
        let millis = self.registered.clock(now);
        let Some(entry) = self.registered.get_mut(number) else { return };
        entry.round = entry.round.wrapping_add(1);
        entry.waiting = true;
        entry.sent = millis;
        let id = PingId { flow: number, round: entry.round };
        let flow = entry.flow;
        let bytes = self.composer.options(&flow, &entry.contact, id, &self.settings);
        self.send(flow, bytes);
    }

    /// Counts the last ping as unanswered if it is; how many there are in a row.
    pub(crate) fn miss(&mut self, number: u32) -> u8 {
        let Some(entry) = self.registered.get_mut(number) else { return 0 };
        if entry.waiting {
            entry.unanswered = entry.unanswered.saturating_add(1);
            self.counters.unanswered += u64::from(entry.health != Health::Unknown);
        }
        entry.unanswered
    }

    /// A phone that answers has not answered often enough.
    pub(crate) fn lose(&mut self, number: u32, now: Instant) {
        let Some(entry) = self.registered.get_mut(number).filter(|entry| entry.health == Health::Answers)
        else {
            return;
        };
        entry.health = Health::Lost;
        let flow = entry.flow;
        self.counters.lost += 1;
        let aors = self.registered.aors(number).to_vec();
        self.tell(What::Unanswered, &flow, &aors, now);
        self.out.push_back(Output::Lost(flow));
    }
}

/// Whether a datagram flow is pinged with a request, and not with four octets.
pub(crate) fn is_asked(entry: &Entry, mode: NatPing) -> bool {
    match (mode, entry.health) {
        (NatPing::Options, _) | (NatPing::Udp, Health::Lost) => true,
        (NatPing::Udp, Health::Unknown) => entry.unanswered + 1 < FIRST,
        (NatPing::Udp, Health::Answers) | (NatPing::Off, _) => false,
    }
}

impl Entry {
    /// How long the slowest ping of late has taken.
    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest.into())
    }

    /// The last ping is answered at `millis`. What is slow is forgotten slowly.
    fn measure(&mut self, millis: u32) {
        let took = u16::try_from(millis.wrapping_sub(self.sent)).unwrap_or(u16::MAX);
        self.slowest = took.max(self.slowest - self.slowest / 8);
    }
}
