//! What a client shows, RFC 7616 §3.4: read, verified, and confirmed (§3.5).

use std::borrow::Cow;

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::{Algorithm, Hex, LONGEST, escape_into};
use crate::{
    Method,
    lex::{Cursor, ends_value, text, unescape},
};

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
    /// MD5 when absent (RFC 7616 §3.3).
    pub algorithm: Algorithm,
    /// The client's nonce, without escapes; there whenever `qop` is.
    pub cnonce: Option<Cow<'a, str>>,
    /// The nonce count; there whenever `qop` is.
    pub nc: Option<u32>,
    /// The nonce count as written.
    pub nc_text: Option<&'a str>,
    /// `auth`, or absent.
    pub qop: Option<&'a str>,
    /// `opaque` as it came back.
    pub opaque: Option<&'a str>,
}

/// Why a line holds no credentials that can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another scheme than Digest (Basic above all, RFC 3261 §22.4), an algorithm, a `qop` or a kind of user name that is
    /// not spoken here: a challenge tells what is.
    NotOffered,
    /// A parameter is improper, missing, or stands twice (two readers might pick different ones): "the proper response
    /// is a 4xx error code" (RFC 7616 §3.4).
    Improper,
}

/// A line that holds no credentials that can be verified.
#[derive(Debug, Clone)]
pub struct Unusable<'a> {
    /// What is wrong with it.
    pub why: Why,
    /// Whose business it is, as far as it says so (RFC 3261 §22.3).
    pub realm: Option<Cow<'a, str>>,
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
    extended_username: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads the value of one line.
    ///
    /// # Errors
    ///
    /// Says what is wrong, and with whose credentials.
    pub fn parse(value: &'a [u8]) -> Result<Self, Unusable<'a>> {
        let nobodys = |why| Unusable { why, realm: None };
        let text = text(value, "credentials").map_err(|_| nobodys(Why::Improper))?;
        let mut cursor = Cursor::new(text);
        let scheme = cursor.token();
        let before = cursor.rest().len();
        cursor.lws();
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(nobodys(Why::NotOffered));
        }
        if cursor.rest().len() == before {
            return Err(nobodys(Why::Improper));
        }
        let mut found = Directives::default();
        let is_list = found.read(cursor).is_some();
        let unusable = |why| Unusable { why, realm: found.realm.map(unescape) };
        if !is_list {
            return Err(unusable(Why::Improper));
        }
        found.check().map_err(unusable)?;
        found.credentials().ok_or_else(|| unusable(Why::Improper))
    }

    /// Recomputes the response from HA1 (lower-case hex) and compares in constant time (RFC 7616 §3.6).
    pub fn verify(&self, ha1: &str, method: &Method) -> bool {
        let Some(expected) = self.digest(ha1, method.as_str()) else { return false };
        let mut claimed = [0; LONGEST];
        let Some(claimed) = claimed.get_mut(..self.response.len()) else { return false };
        claimed.copy_from_slice(self.response.as_bytes());
        claimed.make_ascii_lowercase();
        // Who has no HA1 by this algorithm has an empty one: everybody knows it, so it proves nothing.
        let is_one = ha1.len() == expected.as_bytes().len();
        is_one & bool::from(expected.as_bytes().ct_eq(claimed))
    }

    /// The value of Authentication-Info that names the next nonce and proves that the server knows the password, too
    /// (RFC 7616 §3.5). `None` for a client that speaks RFC 2069 (RFC 3261 §22.4: it would not know the header) or does
    /// not write its count with eight digits.
    pub fn confirmation(&self, ha1: &str, next_nonce: &str) -> Option<Bytes> {
        let (qop, cnonce) = (self.qop?, self.cnonce.as_deref()?);
        let nc = self.nc_text.filter(|nc| nc.len() == 8)?;
        // §3.5: A2 has no method.
        let digest = self.digest(ha1, "")?;
        let mut value = String::with_capacity(160 + next_nonce.len() + cnonce.len());
        value.extend(["nextnonce=\"", next_nonce, "\", qop=", qop, ", rspauth=\""]);
        value.extend(digest.as_bytes().iter().copied().map(char::from));
        value.push_str("\", cnonce=\"");
        escape_into(&mut value, cnonce);
        value.extend(["\", nc=", nc]);
        Some(value.into())
    }

    /// RFC 7616 §3.4.1. Without `qop` as RFC 2069 had it, unless count and cnonce are there: then RFC 8760 §2.6 item 8
    /// takes it for `auth`.
    fn digest(&self, ha1: &str, method: &str) -> Option<Hex> {
        let ha2 = self.algorithm.hash(&[method.as_bytes(), self.uri.as_bytes()]);
        let (ha1, nonce) = (ha1.as_bytes(), self.nonce.as_bytes());
        match (self.qop, self.nc_text, self.cnonce.as_deref()) {
            (qop, Some(nc), Some(cnonce)) => {
                let qop = qop.unwrap_or("auth").as_bytes();
                let parts = [ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), qop, ha2.as_bytes()];
                Some(self.algorithm.hash(&parts))
            }
            (Some(_), _, _) => None,
            (None, _, _) => Some(self.algorithm.hash(&[ha1, nonce, ha2.as_bytes()])),
        }
    }
}

impl<'a> Directives<'a> {
    /// `name = value` with commas between; `None` when there is anything else, or something twice. What was read until
    /// then stays.
    fn read(&mut self, mut cursor: Cursor<'a>) -> Option<()> {
        loop {
            let name = cursor.token();
            if name.is_empty() || !cursor.separator(b'=') {
                return None;
            }
            let value = match cursor.peek() {
                Some(b'"') => cursor.quoted()?,
                _ => cursor.take_while(|byte| !ends_value(byte)),
            };
            if let Some(slot) = self.slot(name) {
                if slot.is_some() {
                    return None;
                }
                *slot = Some(value);
            }
            if !cursor.separator(b',') {
                return cursor.is_empty().then_some(());
            }
            // Empty list elements are legal in HTTP's `#rule`, from which this list comes.
            while cursor.separator(b',') {}
            if cursor.is_empty() {
                return Some(());
            }
        }
    }

    /// Where a directive goes; `None` for one that is ignored.
    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
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
            ("username*", &mut self.extended_username),
        ];
        slots.into_iter().find(|(it, _)| name.eq_ignore_ascii_case(it)).map(|(_, slot)| slot)
    }

    /// What the values have to be, but for those that must be there in any case.
    fn check(&self) -> Result<(), Why> {
        if self.extended_username.is_some() {
            // RFC 7616 §3.4: both "MUST be treated as an error".
            return Err(if self.username.is_some() { Why::Improper } else { Why::NotOffered });
        }
        if self.nc.is_some_and(|nc| nonce_count(nc).is_none()) {
            return Err(Why::Improper);
        }
        if self.userhash.is_some_and(|it| it.eq_ignore_ascii_case("true"))
            || self.algorithm.is_some_and(|token| Algorithm::parse(token).is_none())
        {
            return Err(Why::NotOffered);
        }
        match self.qop {
            Some(qop) if !qop.eq_ignore_ascii_case("auth") => Err(Why::NotOffered),
            Some(_) if self.nc.is_none() || self.cnonce.is_none() => Err(Why::Improper),
            Some(_) | None => Ok(()),
        }
    }

    fn credentials(&self) -> Option<Credentials<'a>> {
        Some(Credentials {
            username: unescape(self.username?),
            realm: unescape(self.realm?),
            nonce: self.nonce?,
            uri: self.uri?,
            response: self.response?,
            algorithm: self.algorithm.map_or(Some(Algorithm::Md5), Algorithm::parse)?,
            cnonce: self.cnonce.map(unescape),
            nc: self.nc.and_then(nonce_count),
            nc_text: self.nc,
            qop: self.qop,
            opaque: self.opaque,
        })
    }
}

/// 8LHEX (RFC 7616 §3.4); shorter ones are read too.
fn nonce_count(text: &str) -> Option<u32> {
    let hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
