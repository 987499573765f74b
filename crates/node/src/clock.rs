//! The clocks and the randomness of the process: the only file that reads either.
//!
//! Everything else takes `now` as an argument and a seed at construction, so it can be stepped and replayed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, for deadlines inside this process.
///
/// This is the clock of the runtime, so a test that pauses the runtime's time pauses this one too.
#[expect(clippy::disallowed_methods, reason = "the clock of the process")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock as time since 1970, for what must survive a restart and be equal on two nodes.
///
/// A clock set before 1970 reads as zero.
#[expect(clippy::disallowed_methods, reason = "the clock of the process")]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in milliseconds since 1970, as frames and records carry it.
pub fn unix_millis() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}

/// Fresh randomness from the operating system, to seed a generator or to make a key.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes after boot");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_does_not_go_back() {
        let earlier = now();
        assert!(now() >= earlier);
    }

    #[test]
    fn wall_clock_counts_from_1970() {
        // 2020-01-01 and 2100-01-01: any machine that runs this test lies between.
        assert!((1_577_836_800_000..4_102_444_800_000).contains(&unix_millis()));
        assert!(unix_now().as_secs() >= 1_577_836_800);
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(seed(), seed());
        assert_ne!(seed(), [0; 32]);
    }
}
