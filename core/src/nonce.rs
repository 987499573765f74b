//! Stateless nonces (RFC 7616 §5.4): every core believes what another one handed out, without asking it.
//!
//! A nonce is `time.random.signature`; it says when it was made and is signed by the cluster. Each core remembers which
//! counts it has seen with a nonce (RFC 7616 §3.4: "if the same nc value is seen twice, then the request is a replay"; §5.12).
//! Counts may overtake each other, as requests over UDP do, within a window of [`WINDOW`].
//!
//! # What is guaranteed
//!
//! - A nonce ends after its lifetime, everywhere.
//! - A request that is repeated to the same core is refused. A Call-ID has one home, so this is every copy that leaves the
//!   Call-ID as it was, as long as the cores are the same.
//! - A copy with another Call-ID, which the digest does not cover, may reach a core that has not seen the count: each core
//!   can be told a thing once. So can a core that has started since. Whoever can listen can do that; TLS is against it.
//! - A REGISTER that is copied byte by byte changes nothing on any core: the binding that it made has its Call-ID and CSeq
//!   (RFC 3261 §10.3 step 7).

use std::collections::HashMap;

use crate::keys::{ClusterKeys, SIGNATURE};

const PURPOSE: &str = "nonce";

/// Seconds that the clocks of two cores may be apart. What is further in the future is a clock gone wrong.
const SKEW: u64 = 60;

/// How far a count may be behind the highest one that was seen.
pub const WINDOW: u32 = 64;

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Not ours.
    Foreign,
    /// Ours, but too old, or its count was used before: challenge with `stale=true` (RFC 7616 §3.3).
    Stale,
    /// Ours and young enough.
    Fresh,
}

/// Makes and judges nonces.
#[derive(Debug)]
pub struct Nonces {
    keys: ClusterKeys,
    /// Seconds.
    lifetime: u64,
    young: HashMap<u64, Counts, ahash::RandomState>,
    old: HashMap<u64, Counts, ahash::RandomState>,
    turned: u64,
}

/// The counts that were seen with one nonce.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

/// Most nonces whose count is remembered in one lifetime; beyond it the oldest half is forgotten early.
const MAX_REMEMBERED: usize = 1 << 20;

impl Nonces {
    /// `lifetime` in seconds.
    pub fn new(keys: ClusterKeys, lifetime: u64, hasher: ahash::RandomState) -> Self {
        Self {
            keys,
            lifetime,
            young: HashMap::with_hasher(hasher.clone()),
            old: HashMap::with_hasher(hasher),
            turned: 0,
        }
    }

    /// A new nonce. `random` makes two of one second different.
    pub fn make(&self, now: u64, random: u64) -> String {
        let stem = format!("{now:x}.{random:016x}.");
        let signature = self.keys.sign(PURPOSE, &[stem.as_bytes()]);
        stem + &signature
    }

    /// Judges a nonce and its count. `None` is a client of RFC 2069 without counts: for it a nonce serves once.
    pub fn judge(&self, nonce: &str, count: Option<u32>, now: u64) -> Freshness {
        let Some((made, random)) = self.open(nonce) else { return Freshness::Foreign };
        if now.saturating_sub(made) > self.lifetime || made > now.saturating_add(SKEW) {
            return Freshness::Stale;
        }
        let is_new = match (self.counts(random), count) {
            (counts, Some(count)) => counts.unwrap_or_default().allow(count),
            (counts, None) => counts.is_none(),
        };
        if is_new { Freshness::Fresh } else { Freshness::Stale }
    }

    /// As [`Self::judge`], and takes note of the count: for credentials that have proven to be right, so that nobody else
    /// can use up what is remembered.
    pub fn spend(&mut self, nonce: &str, count: Option<u32>, now: u64) -> Freshness {
        let freshness = self.judge(nonce, count, now);
        if freshness == Freshness::Fresh
            && let Some((_, random)) = self.open(nonce)
        {
            self.turn(now);
            let mut counts = self.counts(random).unwrap_or_default();
            counts.note(count.unwrap_or(u32::MAX));
            self.young.insert(random, counts);
        }
        freshness
    }

    /// True in the second half of a nonce's life: the next one is due (RFC 7616 §3.5).
    pub fn is_ageing(&self, nonce: &str, now: u64) -> bool {
        let made = nonce.split('.').next().and_then(|made| u64::from_str_radix(made, 16).ok());
        made.is_some_and(|made| now.saturating_sub(made) > self.lifetime / 2)
    }

    fn open(&self, nonce: &str) -> Option<(u64, u64)> {
        let cut = nonce.len().checked_sub(SIGNATURE)?;
        let (stem, signature) = (nonce.get(..cut)?, nonce.get(cut..)?);
        if !self.keys.verify(PURPOSE, &[stem.as_bytes()], signature) {
            return None;
        }
        let mut parts = stem.split('.');
        let made = u64::from_str_radix(parts.next()?, 16).ok()?;
        let random = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some((made, random))
    }

    fn counts(&self, random: u64) -> Option<Counts> {
        self.young.get(&random).or_else(|| self.old.get(&random)).copied()
    }

    /// Two generations, each as long as a nonce lives: what is forgotten with the older one belongs to dead nonces.
    fn turn(&mut self, now: u64) {
        if now.saturating_sub(self.turned) > self.lifetime + SKEW || self.young.len() >= MAX_REMEMBERED {
            self.old = std::mem::replace(&mut self.young, HashMap::with_hasher(self.old.hasher().clone()));
            self.turned = now;
        }
    }
}

impl Counts {
    /// True when this count was not seen and is not too far behind to know.
    fn allow(self, count: u32) -> bool {
        if count > self.highest {
            return true;
        }
        let behind = self.highest - count;
        count > 0 && behind < WINDOW && self.seen >> behind & 1 == 0
    }

    fn note(&mut self, count: u32) {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
        } else if let Some(bit) = 1_u64.checked_shl(self.highest - count) {
            self.seen |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(key: u8) -> Nonces {
        of(ClusterKeys::random([key; 32]))
    }

    fn of(keys: ClusterKeys) -> Nonces {
        Nonces::new(keys, 300, ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn any_core_of_the_cluster_believes_it() {
        let nonce = nonces(1).make(1_000, 7);
        assert_eq!(nonces(1).judge(&nonce, Some(1), 1_010), Freshness::Fresh);
        assert_eq!(nonces(2).judge(&nonce, Some(1), 1_010), Freshness::Foreign);
    }

    #[test]
    fn a_rotated_key_leaves_its_nonces() {
        let key = |byte: char| -> String { base64_of(byte) };
        let (old, new) = (key('a'), key('b'));
        let nonce = of(ClusterKeys::parse([old.as_str()]).unwrap()).make(1_000, 7);
        let both = of(ClusterKeys::parse([new.as_str(), old.as_str()]).unwrap());
        assert_eq!(both.judge(&nonce, Some(1), 1_010), Freshness::Fresh);
        let new = of(ClusterKeys::parse([new.as_str()]).unwrap());
        assert_eq!(new.judge(&nonce, Some(1), 1_010), Freshness::Foreign);
        assert_eq!(new.judge(&both.make(1_000, 8), Some(1), 1_010), Freshness::Fresh);
    }

    fn base64_of(byte: char) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(byte.to_string().repeat(32))
    }

    #[test]
    fn it_grows_stale() {
        let core = nonces(1);
        let nonce = core.make(1_000, 7);
        assert_eq!(core.judge(&nonce, Some(1), 1_300), Freshness::Fresh);
        assert_eq!(core.judge(&nonce, Some(1), 1_301), Freshness::Stale);
        assert!(!core.is_ageing(&nonce, 1_150));
        assert!(core.is_ageing(&nonce, 1_151));
    }

    #[test]
    fn a_clock_may_be_a_little_ahead() {
        let core = nonces(1);
        assert_eq!(core.judge(&core.make(1_060, 7), Some(1), 1_000), Freshness::Fresh);
        assert_eq!(core.judge(&core.make(1_061, 7), Some(1), 1_000), Freshness::Stale);
    }

    #[test]
    fn a_count_works_once() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        assert_eq!(core.spend(&nonce, Some(1), 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&nonce, Some(1), 1_000), Freshness::Stale);
        assert_eq!(core.spend(&nonce, Some(2), 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&nonce, Some(0), 1_000), Freshness::Stale, "the first request has 1");
    }

    #[test]
    fn counts_may_overtake_each_other_within_the_window() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        for count in [3, 1, 2, WINDOW + 3, WINDOW] {
            assert_eq!(core.spend(&nonce, Some(count), 1_000), Freshness::Fresh, "{count}");
            assert_eq!(core.spend(&nonce, Some(count), 1_000), Freshness::Stale, "{count} again");
        }
        // 3 is too far behind to know, and 4 was never seen.
        assert_eq!(core.judge(&nonce, Some(3), 1_000), Freshness::Stale);
        assert_eq!(core.judge(&nonce, Some(4), 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&nonce, Some(u32::MAX), 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&nonce, Some(u32::MAX), 1_000), Freshness::Stale);
        assert_eq!(core.spend(&nonce, Some(4), 1_000), Freshness::Stale);
    }

    #[test]
    fn counts_are_remembered_as_long_as_the_nonce_lives() {
        let mut core = nonces(1);
        for (random, made) in (0..40).map(|n| (n, 1_000 + 37 * n)) {
            let nonce = core.make(made, random);
            assert_eq!(core.spend(&nonce, Some(5), made), Freshness::Fresh);
            for later in [1, 150, 300] {
                assert_eq!(core.judge(&nonce, Some(5), made + later), Freshness::Stale, "{random} {later}");
            }
            if let Some(before) = random.checked_sub(8) {
                let nonce = core.make(1_000 + 37 * before, before);
                assert_eq!(core.judge(&nonce, Some(5), made), Freshness::Stale, "{before} at {made}");
            }
        }
    }

    #[test]
    fn without_counts_a_nonce_works_once() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        assert_eq!(core.spend(&nonce, None, 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&nonce, None, 1_000), Freshness::Stale);
        assert_eq!(core.spend(&nonce, Some(1), 1_000), Freshness::Stale);
        let counted = core.make(1_000, 8);
        assert_eq!(core.spend(&counted, Some(1), 1_000), Freshness::Fresh);
        assert_eq!(core.spend(&counted, None, 1_000), Freshness::Stale);
    }

    #[test]
    fn judging_uses_nothing_up() {
        let core = nonces(1);
        let nonce = core.make(1_000, 7);
        for _ in 0..3 {
            assert_eq!(core.judge(&nonce, Some(1), 1_000), Freshness::Fresh);
        }
    }

    #[test]
    fn a_touched_nonce_is_foreign() {
        let core = nonces(1);
        let nonce = core.make(1_000, 7);
        for at in 0..nonce.len() {
            let mut bytes = nonce.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert_eq!(core.judge(&text, Some(1), 1_000), Freshness::Foreign, "{text}");
            }
        }
        assert_eq!(core.judge("", None, 1_000), Freshness::Foreign);
    }
}
