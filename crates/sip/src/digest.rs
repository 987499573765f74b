//! Digest challenge and verification: RFC 7616, RFC 8760, RFC 3261 §22. Random values and time are the caller's.
//!
//! Spoken here: MD5 and SHA-256, `qop=auth` and none at all (RFC 2069). Refused because they are never offered: the
//! `-sess` variants, `auth-int`, hashed user names and `username*`.

use std::borrow::Cow;

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    Method, ParseError,
    lex::{Cursor, ends_value, text, unescape},
};

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

/// One challenge's header value: `Digest realm="…", nonce="…", algorithm=SHA-256, qop="auth"[, stale=true]`.
pub fn challenge(algorithm: Algorithm, realm: &str, nonce: &str, stale: bool) -> Bytes {
    let mut value = String::with_capacity(64 + realm.len() + nonce.len());
    value.push_str("Digest realm=\"");
    for c in realm.chars() {
        value.extend(matches!(c, '"' | '\\').then_some('\\'));
        value.push(c);
    }
    value.extend(["\", nonce=\"", nonce, "\", algorithm=", algorithm.as_str(), ", qop=\"auth\""]);
    value.push_str(if stale { ", stale=true" } else { "" });
    value.into()
}

/// The credentials of one (Proxy-)Authorization line.
#[derive(Debug, Clone)]
pub struct Credentials<'a> {
    /// The user, without escapes.
    pub username: Cow<'a, str>,
    /// The realm, without escapes.
    pub realm: Cow<'a, str>,
    /// The nonce of the challenge that is answered.
    pub nonce: &'a str,
    /// `digest-uri`, as written: the hash covers the bytes.
    pub uri: &'a str,
    /// The digest, hex.
    pub response: &'a str,
    /// MD5 when absent (RFC 7616 §3.4).
    pub algorithm: Algorithm,
    /// The client's nonce; there whenever `qop` is.
    pub cnonce: Option<&'a str>,
    /// The nonce count; there whenever `qop` is.
    pub nc: Option<u32>,
    /// The nonce count as written.
    pub nc_text: Option<&'a str>,
    /// `auth`, or absent.
    pub qop: Option<&'a str>,
    /// `opaque` as it came back.
    pub opaque: Option<&'a str>,
}

/// The directives as they are found, in any order.
#[derive(Default)]
struct Directives<'a> {
    username: Option<&'a str>,
    realm: Option<&'a str>,
    nonce: Option<&'a str>,
    uri: Option<&'a str>,
    response: Option<&'a str>,
    algorithm: Option<&'a str>,
    cnonce: Option<&'a str>,
    nc: Option<&'a str>,
    qop: Option<&'a str>,
    opaque: Option<&'a str>,
    userhash: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// `Err` when the scheme is not Digest, the algorithm or `qop` is not spoken here, a directive stands twice (two
    /// readers might pick different ones), or one that is needed is missing.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(text(value, "credentials")?);
        let scheme = cursor.token();
        let before = cursor.rest().len();
        cursor.lws();
        if !scheme.eq_ignore_ascii_case("Digest") || cursor.rest().len() == before {
            return Err(WRONG);
        }
        let found = Directives::read(cursor).ok_or(WRONG)?;
        if found.userhash.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Err(WRONG);
        }
        let algorithm = found.algorithm.map_or(Some(Algorithm::Md5), Algorithm::parse).ok_or(WRONG)?;
        let nc = found.nc.map(|nc| nonce_count(nc).ok_or(WRONG)).transpose()?;
        if let Some(qop) = found.qop
            && (!qop.eq_ignore_ascii_case("auth") || nc.is_none() || found.cnonce.is_none())
        {
            return Err(WRONG);
        }
        Ok(Self {
            username: unescape(found.username.ok_or(WRONG)?),
            realm: unescape(found.realm.ok_or(WRONG)?),
            nonce: found.nonce.ok_or(WRONG)?,
            uri: found.uri.ok_or(WRONG)?,
            response: found.response.ok_or(WRONG)?,
            algorithm,
            cnonce: found.cnonce,
            nc,
            nc_text: found.nc,
            qop: found.qop,
            opaque: found.opaque,
        })
    }

    /// Recomputes the response from HA1 (lower-case hex) and compares in constant time.
    pub fn verify(&self, ha1: &str, method: &Method) -> bool {
        let ha2 = self.algorithm.hash(&[method.as_str().as_bytes(), self.uri.as_bytes()]);
        let (ha1, nonce) = (ha1.as_bytes(), self.nonce.as_bytes());
        let expected = match (self.qop, self.nc_text, self.cnonce) {
            (Some(qop), Some(nc), Some(cnonce)) => {
                let parts = [ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), qop.as_bytes(), ha2.as_bytes()];
                self.algorithm.hash(&parts)
            }
            (Some(_), _, _) => return false,
            (None, _, _) => self.algorithm.hash(&[ha1, nonce, ha2.as_bytes()]),
        };
        let mut claimed = [0; LONGEST];
        let Some(claimed) = claimed.get_mut(..self.response.len()) else { return false };
        claimed.copy_from_slice(self.response.as_bytes());
        claimed.make_ascii_lowercase();
        expected.as_bytes().ct_eq(claimed).into()
    }
}

impl<'a> Directives<'a> {
    /// `name = value` with commas between; `None` when there is anything else, something twice, or something refused.
    fn read(mut cursor: Cursor<'a>) -> Option<Self> {
        let mut found = Self::default();
        loop {
            let name = cursor.token();
            if name.is_empty() || !cursor.separator(b'=') {
                return None;
            }
            let value = match cursor.peek() {
                Some(b'"') => cursor.quoted()?,
                _ => cursor.take_while(|byte| !ends_value(byte)),
            };
            if let Some(slot) = found.slot(name)?
                && slot.replace(value).is_some()
            {
                return None;
            }
            if !cursor.separator(b',') {
                return cursor.is_empty().then_some(found);
            }
            // Empty list elements are legal in HTTP's `#rule`, from which this list comes.
            while cursor.separator(b',') {}
            if cursor.is_empty() {
                return Some(found);
            }
        }
    }

    /// Where a directive goes. The outer `None` refuses it, the inner one ignores it.
    fn slot(&mut self, name: &str) -> Option<Option<&mut Option<&'a str>>> {
        // RFC 7616 §3.4: it would replace `username`, whose HA1 is the one that is stored.
        if name.eq_ignore_ascii_case("username*") {
            return None;
        }
        let slots = [
            ("username", &mut self.username),
            ("realm", &mut self.realm),
            ("nonce", &mut self.nonce),
            ("uri", &mut self.uri),
            ("response", &mut self.response),
            ("algorithm", &mut self.algorithm),
            ("cnonce", &mut self.cnonce),
            ("nc", &mut self.nc),
            ("qop", &mut self.qop),
            ("opaque", &mut self.opaque),
            ("userhash", &mut self.userhash),
        ];
        Some(slots.into_iter().find(|(it, _)| name.eq_ignore_ascii_case(it)).map(|(_, slot)| slot))
    }
}

/// 8LHEX (RFC 7616 §3.4); shorter ones are read too.
fn nonce_count(text: &str) -> Option<u32> {
    let hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
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

const WRONG: ParseError = ParseError::new("credentials");

#[cfg(test)]
mod tests;
