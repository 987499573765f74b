//! What has to be looked at when.
//!
//! A heap of *early* deadlines: an entry is never later than the real deadline of what it stands for. A deadline that moves
//! later costs nothing; its entry comes up, the owner finds nothing due and puts it back. Entries of what has ended
//! are dropped when they come up, or all at once when they outnumber the living.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::time::Instant;

use ahash::RandomState;

/// As many dead entries are not worth a sweep.
const SLACK: usize = 64;

/// Deadlines of a TU: `T` names what has to be looked at, such as a response context with its Timer C.
///
/// When [`Self::due`] names something, the owner looks for its real deadline and either acts or [sets](Self::set) it again.
#[derive(Debug)]
pub struct Deadlines<T> {
    heap: Heap<T>,
    armed: HashMap<T, Instant, RandomState>,
}

impl<T: Copy + Ord + Hash> Deadlines<T> {
    /// None set.
    #[must_use]
    pub fn new() -> Self {
        // The keys are our own numbers, so the seed need not be a secret.
        Self { heap: Heap::new(), armed: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)) }
    }

    /// `of` comes up at `at`, or at an earlier time that was set before and has not come yet.
    pub fn set(&mut self, of: T, at: Instant) {
        let mut armed = self.armed.get(&of).copied();
        self.heap.arm(of, at, &mut armed);
        if let Some(armed) = armed {
            self.armed.insert(of, armed);
        }
    }

    /// `of` comes up no more.
    pub fn clear(&mut self, of: T) {
        self.armed.remove(&of);
        self.heap.sweep(self.armed.len(), |at, of| self.armed.get(&of) == Some(&at));
    }

    /// Takes out the next one whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        while let Some((at, of)) = self.heap.pop(now) {
            if self.armed.get(&of) == Some(&at) {
                self.armed.remove(&of);
                return Some(of);
            }
        }
        None
    }

    /// When [`Self::due`] may have something.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.heap.next()
    }
}

impl<T: Copy + Ord + Hash> Default for Deadlines<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A transaction of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Server(u64),
    Client(u64),
}

/// The entries. The owner keeps the time of the one valid entry of each thing and passes it to [`Self::arm`].
#[derive(Debug)]
pub(crate) struct Heap<T> {
    entries: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Copy + Ord> Heap<T> {
    pub(crate) fn new() -> Self {
        Self { entries: BinaryHeap::new() }
    }

    /// Makes sure that `of` comes up at `at` or before; `armed` is the time of its valid entry.
    pub(crate) fn arm(&mut self, of: T, at: Instant, armed: &mut Option<Instant>) {
        if armed.is_none_or(|entry| at < entry) {
            self.entries.push(Reverse((at, of)));
            *armed = Some(at);
        }
    }

    /// The next entry that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.next()? > now {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| entry)
    }

    /// The time of the earliest entry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }

    /// Drops the entries that `is_valid` denies, once they outnumber those of the `living`.
    pub(crate) fn sweep(&mut self, living: usize, is_valid: impl Fn(Instant, T) -> bool) {
        if living == 0 {
            self.entries.clear();
        } else if self.entries.len() > 2 * living + SLACK {
            self.entries.retain(|Reverse((at, of))| is_valid(*at, *of));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(base: Instant, ms: u64) -> Instant {
        base + Duration::from_millis(ms)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn they_come_up_in_order_and_once() {
        let (t, mut deadlines) = (origin(), Deadlines::new());
        deadlines.set('b', at(t, 20));
        deadlines.set('a', at(t, 10));
        deadlines.set('c', at(t, 30));
        assert_eq!(deadlines.next(), Some(at(t, 10)));
        assert_eq!(deadlines.due(at(t, 9)), None);
        assert_eq!(deadlines.due(at(t, 20)), Some('a'));
        assert_eq!(deadlines.due(at(t, 20)), Some('b'));
        assert_eq!(deadlines.due(at(t, 20)), None);
    }

    #[test]
    fn a_later_deadline_keeps_the_earlier_look_and_an_earlier_one_replaces_it() {
        let (t, mut deadlines) = (origin(), Deadlines::new());
        deadlines.set('a', at(t, 20));
        deadlines.set('a', at(t, 30));
        assert_eq!(deadlines.due(at(t, 20)), Some('a'));
        deadlines.set('a', at(t, 60));
        deadlines.set('a', at(t, 40));
        assert_eq!(deadlines.due(at(t, 100)), Some('a'));
        assert_eq!(deadlines.due(at(t, 100)), None);
    }

    #[test]
    fn what_is_cleared_leaves_nothing_behind() {
        let (t, mut deadlines) = (origin(), Deadlines::new());
        for n in 0..10_000_u64 {
            deadlines.set(n, at(t, n));
        }
        for n in 0..9_999 {
            deadlines.clear(n);
        }
        assert!(deadlines.heap.entries.len() <= SLACK + 2);
        assert_eq!(deadlines.due(at(t, 20_000)), Some(9_999));
        assert_eq!(deadlines.next(), None);
    }
}
