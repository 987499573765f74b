//! The timing wheel of NAT pings: which flows are due. Pure.
//!
//! ```text
//! one turn = one interval = 1 024 slots        a flow keeps its slot for life
//!          ┌──┬──┬──┬──┬──┬── …                tick k looks into slot k mod 1 024, at start + k · interval / 1 024
//!          └──┴──┴──┴──┴──┴── …                what lies there is due, all of it, once in each turn
//! ```
//!
//! A flow that stays in its slot is due once in every interval, never twice and never late by more than its tick;
//! nothing is inserted again, so a tick costs what is due and nothing else. Where a flow lies is drawn at random, the
//! emptier of two slots: so the flows of a thousand phones that come back at one moment, after a power cut, are spread over
//! the whole interval (the purpose of the jitter in RFC 5626 §4.4.2), and the first ping comes within one interval.

use std::time::{Duration, Instant};

/// Slots of one turn.
const SLOTS: usize = 1_024;
/// Slots of one word of the map.
const WORD: usize = 64;

/// The wheel. Flows are small numbers that the caller gives: indices of its table.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    /// The time between two slots.
    tick: Duration,
    /// The last tick that was looked at.
    done: u64,
    slots: Vec<Vec<u32>>,
    /// One bit for each slot that holds something.
    occupied: [u64; SLOTS / WORD],
    /// Where each number lies.
    places: Vec<Option<Place>>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u16,
    at: u32,
}

impl Wheel {
    /// An empty wheel that turns once in `interval`, from `start` on.
    pub fn new(interval: Duration, start: Instant) -> Self {
        let slots = u32::try_from(SLOTS).expect("a small number");
        let tick = (interval / slots).max(Duration::from_micros(1));
        Self {
            start,
            tick,
            done: 0,
            slots: vec![Vec::new(); SLOTS],
            occupied: [0; SLOTS / WORD],
            places: Vec::new(),
            len: 0,
        }
    }

    /// How many flows are on it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a flow on the wheel, unless it is there. `random` chooses its slot.
    pub fn insert(&mut self, flow: u32, random: u64, now: Instant) {
        if self.place(flow).is_some() {
            return;
        }
        if self.is_empty() {
            // It stood still: the ticks that nobody waited for are over.
            self.done = self.tick_at(now);
        }
        let slot = self.emptier(random);
        let place = usize::try_from(flow).expect("an index of a table");
        if self.places.len() <= place {
            self.places.resize(place + 1, None);
        }
        let Some(list) = self.slots.get_mut(usize::from(slot)) else { return };
        self.places[place] = Some(Place { slot, at: u32::try_from(list.len()).unwrap_or(u32::MAX) });
        list.push(flow);
        self.len += 1;
        self.mark(slot);
    }

    /// Takes a flow off the wheel.
    pub fn remove(&mut self, flow: u32) {
        let Some(Place { slot, at }) = self.place(flow) else { return };
        self.set_place(flow, None);
        let Some(list) = self.slots.get_mut(usize::from(slot)) else { return };
        let index = usize::try_from(at).expect("an index of a list");
        list.swap_remove(index);
        let moved = list.get(index).copied();
        if list.is_empty() {
            *list = Vec::new();
        }
        self.len -= 1;
        self.mark(slot);
        if let Some(moved) = moved {
            self.set_place(moved, Some(Place { slot, at }));
        }
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| self.start + self.time_of(self.done + self.distance()))
    }

    /// Puts the flows of the next slot that is due at `now` at the end of `due`; false when there is none. A wheel that was
    /// not looked at for longer than a turn gives every flow once.
    pub fn due(&mut self, now: Instant, due: &mut Vec<u32>) -> bool {
        let current = self.tick_at(now);
        if self.is_empty() {
            return false;
        }
        self.done = self.done.max(current.saturating_sub(SLOTS as u64));
        let next = self.done + self.distance();
        if next > current {
            return false;
        }
        self.done = next;
        due.extend_from_slice(self.slots.get(slot_of(next)).map_or(&[], Vec::as_slice));
        true
    }

    /// Ticks from the last one to the next occupied slot, 1 to a whole turn. The wheel is not empty.
    fn distance(&self) -> u64 {
        let first = slot_of(self.done + 1);
        let words = SLOTS / WORD;
        for step in 0..=words {
            let index = (first / WORD + step) % words;
            let mut word = self.occupied.get(index).copied().unwrap_or(0);
            if step == 0 {
                word &= u64::MAX << (first % WORD);
            }
            if word != 0 {
                let slot = index * WORD + word.trailing_zeros() as usize;
                return ((slot + SLOTS - first) % SLOTS) as u64 + 1;
            }
        }
        SLOTS as u64
    }

    /// The last tick at or before `now`.
    fn tick_at(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(passed / self.tick.as_nanos()).unwrap_or(u64::MAX)
    }

    fn time_of(&self, tick: u64) -> Duration {
        let nanos = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos.saturating_mul(tick))
    }

    /// The emptier of two slots: with one drawn at random the fullest would hold twice the mean of a small table.
    fn emptier(&self, random: u64) -> u16 {
        let slots = SLOTS as u64;
        let [one, other] =
            [random % slots, (random >> 32) % slots].map(|slot| u16::try_from(slot).expect("below 1 024"));
        let len = |slot: u16| self.slots.get(usize::from(slot)).map_or(0, Vec::len);
        if len(other) < len(one) { other } else { one }
    }

    fn place(&self, flow: u32) -> Option<Place> {
        self.places.get(usize::try_from(flow).ok()?).copied().flatten()
    }

    fn set_place(&mut self, flow: u32, place: Option<Place>) {
        if let Some(slot) = usize::try_from(flow).ok().and_then(|flow| self.places.get_mut(flow)) {
            *slot = place;
        }
    }

    /// Notes whether a slot holds something.
    fn mark(&mut self, slot: u16) {
        let slot = usize::from(slot);
        let holds = self.slots.get(slot).is_some_and(|list| !list.is_empty());
        if let Some(word) = self.occupied.get_mut(slot / WORD) {
            let bit = 1 << (slot % WORD);
            if holds {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).expect("below 1 024")
}

#[cfg(test)]
mod tests;
