//! The cluster's keys: what one core signs, every core believes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Signs with the current key, believes the current and the previous one.
///
/// Shapes: a list of one or two keys, base64 of at least 32 bytes each, the current one first.
#[derive(Clone)]
pub struct ClusterKeys {
    keys: Vec<Vec<u8>>,
}

/// Length of a signature in characters: 72 bits, base64url.
pub const SIGNATURE: usize = 12;

/// Fewest bytes of a key.
const MIN_KEY: usize = 32;

impl ClusterKeys {
    /// Reads the keys of `CORE_CLUSTER_KEYS`.
    ///
    /// # Errors
    ///
    /// Says which key is not base64, or too short, or that there are too many.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (at, text) in list.into_iter().enumerate() {
            let key = STANDARD.decode(text.trim()).map_err(|_| format!("key {} is not base64", at + 1))?;
            if key.len() < MIN_KEY {
                return Err(format!("key {} has {} bytes, {MIN_KEY} are the least", at + 1, key.len()));
            }
            keys.push(key);
        }
        match keys.len() {
            1 | 2 => Ok(Self { keys }),
            0 => Err("no key".into()),
            more => Err(format!("{more} keys; current and previous are the most")),
        }
    }

    /// One key from a seed, for a cluster of one process.
    pub fn random(seed: [u8; 32]) -> Self {
        Self { keys: vec![seed.to_vec()] }
    }

    /// [`SIGNATURE`] characters over the parts, which are told apart by their lengths.
    pub fn sign(&self, purpose: &str, parts: &[&[u8]]) -> String {
        let current = self.keys.first().expect("the constructors put at least one key in");
        URL_SAFE_NO_PAD.encode(mac(current, purpose, parts))
    }

    /// A key of its own for another purpose, from the current key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let current = self.keys.first().expect("the constructors put at least one key in");
        derived(current, purpose)
    }

    /// As [`Self::derive`], from every key, the current one first: for what an earlier key may have sealed.
    pub fn derive_all(&self, purpose: &str) -> impl Iterator<Item = [u8; 32]> {
        self.keys.iter().map(move |key| derived(key, purpose))
    }

    /// True when one of the keys made this signature. Takes the same time for every signature of the right length.
    pub fn verify(&self, purpose: &str, parts: &[&[u8]], signature: &str) -> bool {
        let Ok(claimed) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.keys.iter().any(|key| bool::from(mac(key, purpose, parts).as_slice().ct_eq(&claimed)))
    }
}

fn derived(key: &[u8], purpose: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(b"derive ");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

fn mac(key: &[u8], purpose: &str, parts: &[&[u8]]) -> [u8; SIGNATURE * 6 / 8] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(purpose.as_bytes());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let full = mac.finalize().into_bytes();
    let mut short = [0; SIGNATURE * 6 / 8];
    short.copy_from_slice(full.get(..SIGNATURE * 6 / 8).expect("SHA-256 has 32 bytes"));
    short
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKeys(***; {})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const B: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";

    #[test]
    fn a_rotated_key_is_still_believed() {
        let old = ClusterKeys::parse([A]).unwrap();
        let both = ClusterKeys::parse([B, A]).unwrap();
        let new = ClusterKeys::parse([B]).unwrap();
        let by_old = old.sign("nonce", &[b"x", b"y"]);
        assert!(both.verify("nonce", &[b"x", b"y"], &by_old));
        assert!(!new.verify("nonce", &[b"x", b"y"], &by_old));
        assert!(new.verify("nonce", &[b"x"], &both.sign("nonce", &[b"x"])));
    }

    #[test]
    fn parts_and_purposes_are_told_apart() {
        let keys = ClusterKeys::parse([A]).unwrap();
        let signature = keys.sign("nonce", &[b"ab", b"c"]);
        assert_eq!(signature.len(), SIGNATURE);
        assert!(!keys.verify("nonce", &[b"a", b"bc"], &signature));
        assert!(!keys.verify("branch", &[b"ab", b"c"], &signature));
        assert!(!keys.verify("nonce", &[b"ab", b"c"], ""));
    }

    #[test]
    fn weak_keys_are_refused() {
        assert!(ClusterKeys::parse(["c2hvcnQ="]).unwrap_err().contains("32"));
        assert!(ClusterKeys::parse(["%%%"]).unwrap_err().contains("base64"));
        assert!(ClusterKeys::parse([A, B, A]).is_err());
        assert!(ClusterKeys::parse([]).is_err());
    }

    #[test]
    fn a_key_does_not_reach_the_log() {
        assert!(!format!("{:?}", ClusterKeys::parse([A]).unwrap()).contains("0123"));
    }
}
