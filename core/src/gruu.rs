//! Tokens of temporary GRUUs, RFC 5627 §3.1.2 and Appendix A.2: what a cluster without memory remembers by.
//!
//! A token is `base64url(nonce ‖ ciphertext ‖ tag)`. The ciphertext hides whose it is: the epoch of the registration,
//! a keyed digest of the instance-id, and the user part of the address-of-record, filled up to a multiple of
//! a block so that its length says little. Every core can open it, nobody else can, or tell whether two are of one
//! user (§5.1). It holds no secret of its own: what it allows is decided by the record that it leads to.
//!
//! # The cipher
//!
//! HMAC-SHA-256 in counter mode over a random nonce of 80 bits makes the key stream, a second key authenticates
//! domain, nonce and ciphertext with 80 bits (encrypt-then-MAC), both derived from `CORE_CLUSTER_KEYS`. So no cipher
//! is needed that the cluster does not have anyway. A token survives one change of keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sip::Aor;
use subtle::ConstantTimeEq;

use crate::keys::ClusterKeys;

/// Whom a temporary GRUU stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    /// The address-of-record.
    pub aor: Aor,
    epoch: u64,
    instance: [u8; DIGEST],
    key: [u8; 32],
}

/// A new token for an instance. `random` makes any two of them different.
pub fn mint(keys: &ClusterKeys, aor: &Aor, instance: &str, epoch: u64, random: [u64; 2]) -> String {
    let secrets = Secrets { seal: keys.derive(SEAL), check: keys.derive(CHECK) };
    let mut plain = Vec::with_capacity(HEAD + aor.user().len() + BLOCK);
    plain.extend_from_slice(&epoch.to_be_bytes());
    plain.extend_from_slice(&digest(&secrets.seal, instance));
    plain.extend_from_slice(aor.user().as_bytes());
    // A user part has no NUL: it would be escaped.
    let length = HEAD + (aor.user().len() + 1).next_multiple_of(BLOCK);
    plain.resize(length, 0);

    let mut token: Vec<u8> = random.iter().flat_map(|random| random.to_be_bytes()).take(NONCE).collect();
    stream(&secrets.seal, &token.clone(), &mut plain);
    token.extend_from_slice(&plain);
    token.extend_from_slice(&tag(&secrets.check, aor.domain(), &token));
    URL_SAFE_NO_PAD.encode(token)
}

/// Opens a token that stands in a URI of `domain`. `None`: the cluster has not made it, or with keys that it has
/// forgotten.
pub fn open(keys: &ClusterKeys, domain: &str, token: &str) -> Option<Temporary> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (sealed, claimed) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
    let key = keys
        .derive_all(CHECK)
        .zip(keys.derive_all(SEAL))
        .find(|(check, _)| bool::from(tag(check, domain, sealed).as_slice().ct_eq(claimed)))
        .map(|(_, seal)| seal)?;
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE)?;
    let mut plain = ciphertext.to_vec();
    stream(&key, nonce, &mut plain);
    let (epoch, rest) = plain.split_first_chunk()?;
    let (instance, user) = rest.split_first_chunk()?;
    let user = user.split(|byte| *byte == 0).next()?;
    let aor = Aor::parse(&format!("{}@{domain}", std::str::from_utf8(user).ok()?)).ok()?;
    Some(Temporary { aor, epoch: u64::from_be_bytes(*epoch), instance: *instance, key })
}

impl Temporary {
    /// True if it is valid for this instance in this epoch (§5.4).
    pub fn holds(&self, instance: &str, epoch: u64) -> bool {
        self.epoch == epoch && self.instance == digest(&self.key, instance)
    }
}

struct Secrets {
    seal: [u8; 32],
    check: [u8; 32],
}

/// Adds the key stream of a nonce: seals and opens.
fn stream(key: &[u8; 32], nonce: &[u8], text: &mut [u8]) {
    for (counter, chunk) in text.chunks_mut(32).enumerate() {
        let block = hmac(key, &[b"stream", nonce, &(counter as u64).to_be_bytes()]);
        for (byte, key) in chunk.iter_mut().zip(block) {
            *byte ^= key;
        }
    }
}

fn tag(key: &[u8; 32], domain: &str, sealed: &[u8]) -> [u8; TAG] {
    shortened(hmac(key, &[&(domain.len() as u64).to_be_bytes(), domain.as_bytes(), sealed]))
}

fn digest(key: &[u8; 32], instance: &str) -> [u8; DIGEST] {
    shortened(hmac(key, &[b"instance", instance.as_bytes()]))
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn shortened<const LENGTH: usize>(full: [u8; 32]) -> [u8; LENGTH] {
    *full.first_chunk().expect("SHA-256 has 32 bytes, more than any part of a token")
}

const SEAL: &str = "gruu seal";
const CHECK: &str = "gruu check";
/// Bytes of the nonce, the tag and the digest of the instance: 80 bits each, as in Appendix A.2.
const NONCE: usize = 10;
const TAG: usize = 10;
const DIGEST: usize = 10;
/// Epoch and digest.
const HEAD: usize = 8 + DIGEST;
/// The user part is filled up to a multiple of this.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

    fn keys(seed: u8) -> ClusterKeys {
        ClusterKeys::random([seed; 32])
    }

    fn alice() -> Aor {
        Aor::parse("alice@example.com").unwrap()
    }

    #[test]
    fn every_core_opens_it() {
        let token = mint(&keys(1), &alice(), INSTANCE, 7, [1, 2]);
        let found = open(&keys(1), "example.com", &token).unwrap();
        assert_eq!(found.aor, alice());
        assert!(found.holds(INSTANCE, 7));
        assert!(!found.holds(INSTANCE, 8), "§5.1: another Call-ID");
        assert!(!found.holds("urn:uuid:other", 7));
        assert_eq!(open(&keys(2), "example.com", &token), None);
        assert_eq!(open(&keys(1), "example.org", &token), None, "of another domain");
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = mint(&keys(1), &alice(), INSTANCE, 7, [1, 2]);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(open(&keys(1), "example.com", &text), None, "{text}");
        }
        for short in ["", "AAAA", "%%", &token[1..]] {
            assert_eq!(open(&keys(1), "example.com", short), None);
        }
    }

    #[test]
    fn it_survives_one_change_of_keys() {
        let (a, b) =
            ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=");
        let token = mint(&ClusterKeys::parse([a]).unwrap(), &alice(), INSTANCE, 7, [1, 2]);
        let found = open(&ClusterKeys::parse([b, a]).unwrap(), "example.com", &token).unwrap();
        assert!(found.holds(INSTANCE, 7));
        assert_eq!(open(&ClusterKeys::parse([b]).unwrap(), "example.com", &token), None);
    }

    #[test]
    fn two_of_one_user_have_nothing_in_common() {
        let one = mint(&keys(1), &alice(), INSTANCE, 7, [1, 2]);
        let two = mint(&keys(1), &alice(), INSTANCE, 7, [3, 4]);
        let bob = mint(&keys(1), &Aor::parse("bob@example.com").unwrap(), "x", 9, [5, 6]);
        assert_eq!(one.len(), bob.len(), "§5.1: the length tells them apart no more than the rest");
        let same = |a: &str, b: &str| a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        assert!(same(&one, &two) < one.len() / 4, "{one} {two}");
        assert!(!one.contains("alice"));
    }

    #[test]
    fn users_of_every_length_and_spelling_come_back() {
        for user in ["a", "a%40b", &"x".repeat(31), &"x".repeat(32), &"x".repeat(200)] {
            let aor = Aor::parse(&format!("{user}@example.com")).unwrap();
            let token = mint(&keys(1), &aor, INSTANCE, u64::MAX, [1, 2]);
            let found = open(&keys(1), "example.com", &token).unwrap();
            assert_eq!(found.aor, aor);
            assert!(found.holds(INSTANCE, u64::MAX));
        }
    }
}
