//! SIP, SIPS and tel URIs, RFC 3261 §19.1, RFC 3966; any other scheme is kept as text.
//!
//! The bytes that may never stand in a URI (white space, controls, `<`, `>`, `"`) and broken escapes are refused.
//! Beyond that the reader is liberal where that is unambiguous: `#` or UTF-8 in a user part, `_` in a host name.

use std::net::{Ipv4Addr, Ipv6Addr};

use memchr::memchr;

use crate::{
    Params, ParseError,
    lex::{Cursor, cut, may_be_uri, trim_end},
};

/// The scheme of a URI, which compares ignoring case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`, RFC 3966
    Tel,
    /// Anything else, as written.
    Other(&'a str),
}

/// A host, RFC 3261 §25.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, as written.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

/// A borrowed URI. For schemes other than sip and sips, `rest` holds what follows the colon and host is empty.
#[derive(Debug, Clone, Copy)]
pub struct Uri<'a> {
    /// What stands before the first colon.
    pub scheme: Scheme<'a>,
    /// The user part, still escaped.
    pub user: Option<&'a str>,
    /// The password, still escaped; §19.1.1 recommends against it.
    pub password: Option<&'a str>,
    /// The host.
    pub host: Host<'a>,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The URI parameters, still escaped; see also [`Uri::param`].
    pub params: Params<'a>,
    /// What follows `?`, still escaped, or empty.
    pub headers: &'a str,
    /// What follows the colon of a scheme that is neither sip nor sips.
    pub rest: &'a str,
    host_port: &'a str,
}

impl<'a> Host<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']')?;
            // RFC 5118 §4.10: the old grammar could yield `[2001:db8:::192.0.2.1]`, which has to be tolerated.
            let address = inner.parse().or_else(|e| match inner.contains(":::") {
                true => inner.replacen(":::", "::", 1).parse(),
                false => Err(e),
            });
            return address.ok().map(Self::V6);
        }
        // A name that begins like an address is still a name (`3com.example`), so a failure here says nothing.
        if text.as_bytes().first()?.is_ascii_digit()
            && let Ok(address) = text.parse()
        {
            return Some(Self::V4(address));
        }
        is_name(text).then_some(Self::Name(text))
    }

    /// `host[:port]`, with white space around the colon as Via allows it (§25.1 COLON).
    pub(crate) fn parse_with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        let colon = match text.strip_prefix('[') {
            Some(inner) => inner.find(']').map(|at| at + 2),
            None => text.bytes().position(|byte| byte == b':'),
        };
        let (host, rest) = text.split_at_checked(colon.unwrap_or(text.len()))?;
        let host = Self::parse(trim_end(host))?;
        if rest.is_empty() {
            return Some((host, None));
        }
        let mut cursor = Cursor::new(rest);
        let port = if cursor.separator(b':') { trim_end(cursor.rest()) } else { return None };
        // `parse` alone would take a plus sign.
        let port =
            if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok()? } else { return None };
        Some((host, Some(port)))
    }

    /// True if both name the same host without asking the DNS: names ignore case, addresses compare by value.
    pub fn matches(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::V4(a), Host::V4(b)) => a == b,
            (Self::V6(a), Host::V6(b)) => a == b,
            (Self::Name(_) | Self::V4(_) | Self::V6(_), _) => false,
        }
    }
}

impl<'a> Uri<'a> {
    /// Reads a whole URI; `text` holds nothing else.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        check(text)?;
        let (scheme, rest) = cut(text, b':').ok_or(WRONG)?;
        let scheme = Scheme::parse(scheme).ok_or(WRONG)?;
        if rest.is_empty() {
            return Err(WRONG);
        }
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::parse_sip(scheme, rest),
            Scheme::Tel | Scheme::Other(_) => Ok(Self {
                scheme,
                user: None,
                password: None,
                host: Host::Name(""),
                port: None,
                params: Params::default(),
                headers: "",
                rest,
                host_port: "",
            }),
        }
    }

    fn parse_sip(scheme: Scheme<'a>, rest: &'a str) -> Result<Self, ParseError> {
        // `;`, `?` and `/` are legal in a user part, `@` is legal nowhere but at its end.
        let (userinfo, rest) = match cut(rest, b'@') {
            Some((_, rest)) if rest.bytes().any(|byte| byte == b'@') => return Err(WRONG),
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|text| (text, cut(text, b':'))) {
            Some(("", _) | (_, Some(("", _)))) => return Err(WRONG),
            Some((_, Some((user, password)))) => (Some(user), Some(password)),
            Some((user, None)) => (Some(user), None),
            None => (None, None),
        };
        let (rest, headers) = cut(rest, b'?').unwrap_or((rest, ""));
        let (host_port, params) = rest
            .split_at_checked(rest.bytes().position(|byte| byte == b';').unwrap_or(rest.len()))
            .ok_or(WRONG)?;
        let (host, port) = Host::parse_with_port(host_port).ok_or(WRONG)?;
        let params = Params::parse_in(params, "URI")?;
        Ok(Self { scheme, user, password, host, port, params, headers, rest: "", host_port })
    }

    /// RFC 3261 §19.1.4 comparison. Reflexive and symmetric, but not transitive: a parameter that only one of two
    /// URIs has is ignored, so both `;a=1` and `;a=2` are equivalent to a URI without it, yet not to each other.
    /// tel URIs compare by RFC 3966 §4, other schemes by their text.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => self.equivalent_sip(other),
            (Scheme::Tel, Scheme::Tel) => equivalent_tel(self.rest, other.rest),
            (Scheme::Other(a), Scheme::Other(b)) => a.eq_ignore_ascii_case(b) && self.rest == other.rest,
            (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other(_), _) => false,
        }
    }

    fn equivalent_sip(&self, other: &Uri<'_>) -> bool {
        // A port that is absent differs from the default port: the two can resolve to different ones.
        self.host.matches(&other.host)
            && self.port == other.port
            && same_optional(self.user, other.user, same)
            && same_optional(self.password, other.password, same)
            && (self.params.as_str() == other.params.as_str()
                || self.params_match(other) && other.params_match(self))
            && headers_match(self.headers, other.headers)
    }

    /// One direction of the parameter rule; both are needed.
    fn params_match(&self, other: &Uri<'_>) -> bool {
        self.params.iter().all(|(name, _)| match (self.param(name), other.param(name)) {
            (Some(ours), Some(theirs)) => same_optional(ours, theirs, same_ignoring_case),
            _ => !COUNT_ALONE.iter().any(|alone| same_ignoring_case(name, alone)),
        })
    }

    /// A URI parameter. Unlike [`Params::get`] it knows that in a URI `%6Cr` is `lr`.
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params.iter().find(|(n, _)| same_ignoring_case(n, name)).map(|(_, value)| value)
    }

    /// `;lr` is present (§19.1.1), also written `lr=on` as old proxies do.
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    /// `host[:port]` as written, brackets kept; empty for schemes other than sip and sips.
    pub fn host_port(&self) -> &'a str {
        self.host_port
    }

    /// True for sip and sips.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }
}

impl<'a> Scheme<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text.len() {
            3 if text.eq_ignore_ascii_case("sip") => Some(Self::Sip),
            4 if text.eq_ignore_ascii_case("sips") => Some(Self::Sips),
            3 if text.eq_ignore_ascii_case("tel") => Some(Self::Tel),
            _ => is_scheme(text).then_some(Self::Other(text)),
        }
    }
}

/// §25.1 `scheme`.
pub(crate) fn is_scheme(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) && text.bytes().all(legal)
}

/// The bytes of a host name, and no empty label but the one that a final dot ends (§25.1 hostname).
fn is_name(text: &str) -> bool {
    let (fine, _) = text.bytes().fold((true, b'.'), |(fine, before), byte| {
        let named = byte.is_ascii_alphanumeric()
            | (byte == b'-')
            | (byte == b'_')
            | ((byte == b'.') & (before != b'.'));
        (fine & named, byte)
    });
    fine
}

/// Refuses what stands in no URI at all, and escapes that are none.
fn check(text: &str) -> Result<(), ParseError> {
    if !may_be_uri(text) {
        return Err(WRONG);
    }
    let mut rest = text.as_bytes();
    while let Some(at) = memchr(b'%', rest) {
        rest = match rest.get(at..) {
            Some([_, high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            _ => return Err(WRONG),
        };
    }
    Ok(())
}

/// One character of a component as §19.1.4 compares it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The byte, escaped or not.
    Plain(u8),
    /// A reserved character that was escaped, which is not the same as the character itself.
    Escaped(u8),
}

/// The bytes of an escaped text with `true` where one was escaped.
pub(crate) fn decode(text: &str) -> impl Iterator<Item = (u8, bool)> + '_ {
    let mut bytes = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, rest) = bytes.split_first()?;
        if *byte == b'%'
            && let [high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes = tail;
            return Some((high << 4 | low, true));
        }
        bytes = rest;
        Some((*byte, false))
    })
}

fn units(text: &str) -> impl Iterator<Item = Unit> + '_ {
    decode(text).map(
        |(byte, escaped)| if escaped && is_reserved(byte) { Unit::Escaped(byte) } else { Unit::Plain(byte) },
    )
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The reserved set of RFC 2396 §2.2, whose members differ from their escaped form.
const fn is_reserved(byte: u8) -> bool {
    matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',')
}

fn same(a: &str, b: &str) -> bool {
    a == b || (has_escapes(a, b) && units(a).eq(units(b)))
}

fn same_ignoring_case(a: &str, b: &str) -> bool {
    if !has_escapes(a, b) {
        return a.eq_ignore_ascii_case(b);
    }
    let lower = |unit| match unit {
        Unit::Plain(byte) => Unit::Plain(byte.to_ascii_lowercase()),
        Unit::Escaped(_) => unit,
    };
    units(a).map(lower).eq(units(b).map(lower))
}

/// Without an escape on either side the texts can be compared as they are.
fn has_escapes(a: &str, b: &str) -> bool {
    memchr(b'%', a.as_bytes()).is_some() || memchr(b'%', b.as_bytes()).is_some()
}

fn same_optional(a: Option<&str>, b: Option<&str>, same: impl Fn(&str, &str) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// URI headers are never ignored: the same set on both sides, in any order. Names ignore case; values do not,
/// because some of them are free text.
fn headers_match(a: &str, b: &str) -> bool {
    let fields = |text| -> Vec<(&str, &str)> {
        str::split(text, '&')
            .filter(|field| !field.is_empty())
            .map(|field| field.split_once('=').unwrap_or((field, "")))
            .collect()
    };
    if a.is_empty() && b.is_empty() {
        return true;
    }
    let (ours, mut theirs) = (fields(a), fields(b));
    ours.len() == theirs.len()
        && ours.iter().all(|(name, value)| {
            let twin = theirs.iter().position(|(n, v)| same_ignoring_case(name, n) && same(value, v));
            twin.map(|at| theirs.swap_remove(at)).is_some()
        })
}

/// RFC 3966 §4: visual separators do not count, nor does the order of parameters; all of them must be on both sides.
fn equivalent_tel(a: &str, b: &str) -> bool {
    fn digits(text: &str) -> impl Iterator<Item = u8> + '_ {
        text.bytes()
            .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'))
            .map(|byte| byte.to_ascii_lowercase())
    }
    let (a_number, a_params) = a.split_once(';').unwrap_or((a, ""));
    let (b_number, b_params) = b.split_once(';').unwrap_or((b, ""));
    let split = |text| -> Vec<(&str, &str)> {
        str::split(text, ';')
            .filter(|p| !p.is_empty())
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .collect()
    };
    let (ours, theirs) = (split(a_params), split(b_params));
    let value = |name: &str, value: &str, other: &str| {
        // `ext` and a global-number context are numbers too.
        let number = name.eq_ignore_ascii_case("ext") || value.starts_with('+');
        if number { digits(value).eq(digits(other)) } else { same_ignoring_case(value, other) }
    };
    digits(a_number).eq(digits(b_number))
        && ours.len() == theirs.len()
        && ours
            .iter()
            .all(|(name, v)| theirs.iter().any(|(n, w)| same_ignoring_case(name, n) && value(name, v, w)))
        && theirs
            .iter()
            .all(|(name, v)| ours.iter().any(|(n, w)| same_ignoring_case(name, n) && value(name, v, w)))
}

/// Parameters that make two URIs different when only one of them has it (§19.1.4).
const COUNT_ALONE: [&str; 5] = ["transport", "user", "ttl", "method", "maddr"];

const WRONG: ParseError = ParseError::new("URI");

#[cfg(test)]
mod tests;
