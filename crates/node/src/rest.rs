//! Rests of a thread that is woken too often.
//!
//! Waking a thread costs the kernel several microseconds, more than most messages cost the program. On a busy node
//! datagrams come one by one, some hundred microseconds apart, and each wakes the thread for itself. So a thread that
//! has been about to wait [`PARKS`] times within [`SPAN`] sleeps for [`REST`] before it waits again, and finds together what has
//! come meanwhile. A node with little to do never rests; one with too much to do never waits, so it does not rest either. What
//! it costs is [`REST`] of latency, as the interrupt moderation of a network card does.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;

/// How often a thread waits within [`SPAN`] before it rests.
const PARKS: usize = 8;
/// Longer than [`PARKS`] rests, so that whoever has to rest goes on resting.
const SPAN: Duration = Duration::from_millis(6);
/// One rest. Less than the millisecond that timers of the runtime are exact to.
const REST: Duration = Duration::from_micros(500);

/// When a thread has waited last, over and over.
#[derive(Debug, Clone, Copy)]
struct Parks {
    times: [Option<Instant>; PARKS],
    next: usize,
}

impl Parks {
    const fn new() -> Self {
        Self { times: [None; PARKS], next: 0 }
    }

    /// The thread is about to wait; true when it should rest.
    fn is_tired(&mut self, now: Instant) -> bool {
        let Some(oldest) = self.times.get_mut(self.next) else { return false };
        let before = oldest.replace(now);
        self.next = (self.next + 1) % PARKS;
        before.is_some_and(|before| now.saturating_duration_since(before) < SPAN)
    }
}

thread_local! {
    static RECENT: Cell<Parks> = const { Cell::new(Parks::new()) };
}

/// Called by a thread that is about to wait.
#[expect(clippy::disallowed_methods, reason = "a rest: what comes meanwhile is found after it")]
pub(crate) fn before_park() {
    let mut parks = RECENT.get();
    let is_tired = parks.is_tired(clock::now());
    RECENT.set(parks);
    if is_tired {
        thread::sleep(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it rests when it would wait after these many microseconds again and again; a rest adds its own.
    fn rests(gap: u64, parks: usize) -> usize {
        let (mut recent, mut now) = (Parks::new(), clock::now());
        let mut count = 0;
        for _ in 0..parks {
            now += Duration::from_micros(gap);
            if recent.is_tired(now) {
                now += REST;
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_thread_that_is_woken_often_rests() {
        assert_eq!(rests(20, 1_000), 1_000 - PARKS, "and goes on resting");
        assert_eq!(rests(200, 1_000), 1_000 - PARKS);
    }

    #[test]
    fn a_thread_that_is_woken_seldom_does_not() {
        assert_eq!(rests(1_000, 1_000), 0);
        assert_eq!(rests(20, PARKS), 0, "a request and its answers are no load");
    }
}
