//! Branches (RFC 3261 §8.1.1.7), tags (§19.3) and other numbers nobody can guess, all from one seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Every branch made by an RFC 3261 element starts so (§8.1.1.7).
const COOKIE: &str = "z9hG4bK";

/// Lower case only: branches and tags are tokens, which compare ignoring case (§7.3.1), so mixed case adds length but no strength.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The source of everything random in protocol code: the same seed gives the same sequence.
#[derive(Debug, Clone)]
pub struct Ids {
    random: ChaCha8Rng,
}

impl Ids {
    /// A process seeds it from the operating system, a simulation with a number.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { random: ChaCha8Rng::from_seed(seed) }
    }

    /// The magic cookie and 100 random bits in 20 characters.
    pub fn branch(&mut self) -> String {
        let mut branch = String::with_capacity(COOKIE.len() + 20);
        branch.push_str(COOKIE);
        self.letters(&mut branch, 12);
        self.letters(&mut branch, 8);
        branch
    }

    /// 60 random bits in 12 characters; §19.3 asks for 32.
    pub fn tag(&mut self) -> String {
        let mut tag = String::with_capacity(12);
        self.letters(&mut tag, 12);
        tag
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Up to 12 letters of 5 bits each out of one draw.
    fn letters(&mut self, text: &mut String, count: usize) {
        let mut bits = self.random.next_u64();
        for _ in 0..count {
            text.push(char::from(ALPHABET[(bits % 32) as usize]));
            bits /= 32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn same_seed_same_sequence() {
        let (mut a, mut b) = (Ids::new([7; 32]), Ids::new([7; 32]));
        assert_eq!((a.branch(), a.tag(), a.u64()), (b.branch(), b.tag(), b.u64()));
        assert_ne!(Ids::new([8; 32]).branch(), Ids::new([7; 32]).branch());
    }

    #[test]
    fn branches_are_tokens_with_the_cookie_and_differ_even_without_case() {
        let mut ids = Ids::new([1; 32]);
        let mut seen = BTreeSet::new();
        for _ in 0..10_000 {
            let branch = ids.branch();
            let unique = branch.strip_prefix("z9hG4bK").expect("§8.1.1.7: starts with the cookie");
            assert!(unique.len() >= 16 && unique.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(seen.insert(branch.to_ascii_lowercase()));
        }
    }

    #[test]
    fn tags_carry_32_bits_or_more() {
        let tag = Ids::new([1; 32]).tag();
        assert!(tag.len() * 5 >= 32);
    }
}
