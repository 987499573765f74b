//! Digest challenge and verification: RFC 7616, RFC 8760, RFC 3261 §22. Random values and time are the caller's.
//!
//! Spoken here: MD5 and SHA-256, `qop=auth` and none at all (RFC 2069, which RFC 3261 §22.4 item 8 wants heard). Never
//! offered, and refused by another challenge that says what is:
//!
//! - the `-sess` variants: a session key of its own is for servers that hold no HA1;
//! - `auth-int`: proxies may change bodies on the way (RFC 3261 §16.6 step 2 forbids it, ALGs do it all the same), and
//!   the rest of the message, its Contact first of all, would not be covered either; TLS covers everything;
//! - hashed user names (RFC 7616 §3.4.4): From and To of the same request say the name in clear;
//! - `username*`: a quoted string of SIP is UTF-8 and holds every name.

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256};

mod credentials;

pub use credentials::{Credentials, Unusable, Why};

/// A hash that digests are made with, in the order of preference (RFC 8760 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256
    Sha256,
    /// MD5, for phones that know nothing better.
    Md5,
}

impl Algorithm {
    /// The token of the `algorithm` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// The token, ignoring case; `None` for what is not spoken here.
    pub fn parse(token: &str) -> Option<Self> {
        [Self::Sha256, Self::Md5].into_iter().find(|it| token.eq_ignore_ascii_case(it.as_str()))
    }

    /// The hash of the parts with a colon between each two, in lower-case hex.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Self::Sha256 => Hex::new(joined::<Sha256>(parts).as_slice()),
            Self::Md5 => Hex::new(joined::<Md5>(parts).as_slice()),
        }
    }
}

/// HA1 = H(user:realm:password) in lower-case hex, what is stored instead of the password.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    let hash = algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]);
    hash.as_bytes().iter().copied().map(char::from).collect()
}

/// One challenge's header value, RFC 7616 §3.3: `Digest realm="…", nonce="…", algorithm=SHA-256, qop="auth"[, stale=true]`.
pub fn challenge(algorithm: Algorithm, realm: &str, nonce: &str, stale: bool) -> Bytes {
    let mut value = String::with_capacity(64 + realm.len() + nonce.len());
    value.push_str("Digest realm=\"");
    escape_into(&mut value, realm);
    value.extend(["\", nonce=\"", nonce, "\", algorithm=", algorithm.as_str(), ", qop=\"auth\""]);
    value.push_str(if stale { ", stale=true" } else { "" });
    value.into()
}

/// The inside of a quoted string.
fn escape_into(value: &mut String, text: &str) {
    for c in text.chars() {
        value.extend(matches!(c, '"' | '\\').then_some('\\'));
        value.push(c);
    }
}

fn joined<D: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hasher = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    hasher.finalize()
}

/// A hash in lower-case hex without an allocation.
struct Hex {
    digits: [u8; LONGEST],
    len: usize,
}

impl Hex {
    fn new(hash: &[u8]) -> Self {
        let mut digits = [0; LONGEST];
        let mut len = 0;
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            pair.copy_from_slice(&[byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
            len += 2;
        }
        Self { digits, len }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// SHA-256 in hex.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests;
