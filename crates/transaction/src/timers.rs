//! T1, T2, T4 and the timers made of them, RFC 3261 §17 table 4 and RFC 6026 §8.11.
//!
//! | timer | value | section | what it bounds |
//! |---|---|---|---|
//! | – | 200 ms | §17.2.1 | silence of the TU before a 100 to an INVITE |
//! | A | T1, doubling; unreliable only | §17.1.1.2 | repetition of an INVITE |
//! | B | 64·T1 | §17.1.1.2 | INVITE without any answer; also a cancelled INVITE without a final (§9.1) |
//! | D | ≥ 32 s; 0 when reliable | §17.1.1.2 | repeated finals of an INVITE |
//! | E | T1, doubling up to T2; unreliable only | §17.1.2.2 | repetition of another request |
//! | F | 64·T1 | §17.1.2.2 | another request without a final |
//! | G | T1, doubling up to T2; unreliable only | §17.2.1 | repetition of a non-2xx final |
//! | H | 64·T1 | §17.2.1 | wait for the ACK |
//! | I | T4; 0 when reliable | §17.2.1 | repeated ACKs |
//! | J | 64·T1; 0 when reliable | §17.2.2 | repeated non-INVITE requests |
//! | K | T4; 0 when reliable | §17.1.2.2 | repeated finals of a non-INVITE request |
//! | L | 64·T1 | RFC 6026 §7.1 | an accepted INVITE on the server's side |
//! | M | 64·T1 | RFC 6026 §7.2 | further 2xx on the client's side |
//!
//! Timer C belongs to the proxy (§16.6 step 11).

use std::time::{Duration, Instant};

/// The three base values, none of them zero; [`Timers::default`] is the RFC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round-trip time, 500 ms.
    pub t1: Duration,
    /// Longest interval between repetitions of a non-INVITE request or a final of an INVITE, 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network, 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// §17.2.1: the TU's silence that a 100 breaks.
pub(crate) const TRYING: Duration = Duration::from_millis(200);

/// §17.1.1.2: the least value of Timer D, because the other side's T1 is unknown.
const LEAST_D: Duration = Duration::from_secs(32);

impl Timers {
    /// 64·T1: Timers B, F, H, L and M.
    pub(crate) fn lifetime(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D.
    pub(crate) fn d(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.lifetime().max(LEAST_D) }
    }

    /// Timer I.
    pub(crate) fn i(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }

    /// Timer J.
    pub(crate) fn j(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.lifetime() }
    }

    /// Timer K.
    pub(crate) fn k(&self, reliable: bool) -> Duration {
        self.i(reliable)
    }

    /// The time after which a client's Timer E is reset to T2 (RFC 4320 §4.1): 3.5 s with the default values.
    pub(crate) fn e_reaches_t2(&self) -> Duration {
        let (mut elapsed, mut interval) = (self.t1, self.t1);
        while interval * 2 < self.t2 {
            interval *= 2;
            elapsed += interval;
        }
        elapsed
    }
}

/// Timers A, E and G: an interval that doubles each time it fires.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// When it fires next.
    pub(crate) at: Instant,
    interval: Duration,
}

impl Backoff {
    /// Fires first after `t1`.
    pub(crate) fn start(t1: Duration, now: Instant) -> Self {
        Self { at: now + t1, interval: t1 }
    }

    /// Has fired: the next interval is twice as long, but not longer than `cap`.
    pub(crate) fn double(&mut self, cap: Duration, now: Instant) {
        self.interval = (self.interval * 2).min(cap);
        self.at = now + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_e_reaches_t2_with_its_third_firing() {
        assert_eq!(Timers::default().e_reaches_t2(), Duration::from_millis(3500));
    }

    #[test]
    fn timer_e_of_a_slow_network_is_t2_at_once() {
        let timers = Timers { t1: Duration::from_secs(5), ..Timers::default() };
        assert_eq!(timers.e_reaches_t2(), Duration::from_secs(5));
    }

    #[test]
    fn timer_d_never_falls_below_32_seconds() {
        let timers = Timers { t1: Duration::from_millis(50), ..Timers::default() };
        assert_eq!(timers.d(false), Duration::from_secs(32));
        assert_eq!(timers.d(true), Duration::ZERO);
    }
}
