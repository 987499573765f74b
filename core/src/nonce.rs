//! Stateless nonces (RFC 7616 §5.4): every core believes what another one handed out, without asking it.
//!
//! A nonce is `time.random.signature`; it says when it was made and is signed by the cluster. The nonce count of
//! each nonce is remembered by the core that saw it, so that a captured request cannot be played again there
//! (RFC 7616 §5.12); a request that reaches another core meets the registrar's CSeq rule instead.

use std::collections::HashMap;

use crate::keys::{ClusterKeys, SIGNATURE};

const PURPOSE: &str = "nonce";

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Ours and young enough.
    Fresh,
    /// Ours, but too old, or its count was used before: challenge with `stale=true` (RFC 7616 §3.3).
    Stale,
    /// Not ours.
    Foreign,
}

/// Makes and judges nonces.
#[derive(Debug)]
pub struct Nonces {
    keys: ClusterKeys,
    /// Seconds.
    lifetime: u64,
    young: HashMap<u64, u32, ahash::RandomState>,
    old: HashMap<u64, u32, ahash::RandomState>,
    turned: u64,
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

    /// Judges a nonce and takes note of its count (`None`: a client of RFC 2069 without `nc`).
    pub fn check(&mut self, nonce: &str, count: Option<u32>, now: u64) -> Freshness {
        let Some((made, random)) = self.open(nonce) else { return Freshness::Foreign };
        // A core whose clock is a little ahead made it: not a reason to refuse.
        if now.saturating_sub(made) > self.lifetime || made > now + self.lifetime {
            return Freshness::Stale;
        }
        match count {
            Some(count) if !self.advance(random, count, now) => Freshness::Stale,
            Some(_) | None => Freshness::Fresh,
        }
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

    /// True when the count is higher than any seen with this nonce.
    fn advance(&mut self, random: u64, count: u32, now: u64) -> bool {
        if now.saturating_sub(self.turned) > self.lifetime || self.young.len() >= MAX_REMEMBERED {
            self.old = std::mem::replace(&mut self.young, HashMap::with_hasher(self.old.hasher().clone()));
            self.turned = now;
        }
        let seen = self.young.get(&random).or_else(|| self.old.get(&random)).copied().unwrap_or(0);
        if count <= seen {
            return false;
        }
        self.young.insert(random, count);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(key: u8) -> Nonces {
        Nonces::new(ClusterKeys::random([key; 32]), 300, ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn any_core_of_the_cluster_believes_it() {
        let nonce = nonces(1).make(1_000, 7);
        assert_eq!(nonces(1).check(&nonce, Some(1), 1_010), Freshness::Fresh);
        assert_eq!(nonces(2).check(&nonce, Some(1), 1_010), Freshness::Foreign);
    }

    #[test]
    fn it_grows_stale() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        assert_eq!(core.check(&nonce, Some(1), 1_300), Freshness::Fresh);
        assert_eq!(core.check(&nonce, Some(2), 1_301), Freshness::Stale);
    }

    #[test]
    fn a_count_works_once() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        assert_eq!(core.check(&nonce, Some(1), 1_000), Freshness::Fresh);
        assert_eq!(core.check(&nonce, Some(1), 1_000), Freshness::Stale);
        assert_eq!(core.check(&nonce, Some(2), 1_000), Freshness::Fresh);
        // remembered over a change of generation
        let later = core.make(1_301, 8);
        assert_eq!(core.check(&later, Some(1), 1_301), Freshness::Fresh);
        let nonce = core.make(1_290, 9);
        assert_eq!(core.check(&nonce, Some(5), 1_300), Freshness::Fresh);
        assert_eq!(core.check(&nonce, Some(5), 1_590), Freshness::Stale);
    }

    #[test]
    fn a_touched_nonce_is_foreign() {
        let mut core = nonces(1);
        let nonce = core.make(1_000, 7);
        for at in 0..nonce.len() {
            let mut bytes = nonce.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert_eq!(core.check(&text, Some(1), 1_000), Freshness::Foreign, "{text}");
            }
        }
        assert_eq!(core.check("", None, 1_000), Freshness::Foreign);
    }
}
