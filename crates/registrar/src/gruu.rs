//! GRUUs, RFC 5627: URIs that lead to one UA instance, as a domain gives them out and reads them.
//!
//! - The *public* one is the address-of-record with the instance-id in its `gr` parameter (§3.1.1, Appendix A.1). It
//!   needs no memory: it is the same for ever, and names its instance to everybody.
//! - The *temporary* one has a user part `tgruu.TOKEN` that says nothing to outsiders (§3.1.2). What the token is made
//!   of is the business of whoever has the keys. It holds as long as the *epoch* of its instance is the one in which it
//!   was given out (§5.1, §5.3): see [`crate::Binding::gruu_epoch`].

use std::fmt::Write;

use sip::{Aor, Reject, StatusCode, Uri};

use crate::outbound::canonical_instance;
use crate::update::Set;
use crate::{Binding, Record, UnixTime};

/// Option tag of RFC 5627.
pub(crate) const OPTION: &str = "gruu";

/// What the user part of a temporary GRUU begins with.
pub const TEMPORARY: &str = "tgruu.";

/// A URI with a `gr` parameter, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gruu<'a> {
    /// Of the address-of-record that the URI is without its parameters, for this instance-id.
    Public(String),
    /// What follows [`TEMPORARY`].
    Temporary(&'a str),
    /// It has a `gr` parameter, but nobody here gives out such a one.
    Unknown,
}

impl<'a> Gruu<'a> {
    /// `None` without a `gr` parameter (§3.1). Whether the domain is ours is not asked here.
    pub fn of(uri: &Uri<'a>) -> Option<Self> {
        let value = uri.param("gr")?;
        if let Some(token) = uri.user.and_then(|user| user.strip_prefix(TEMPORARY)) {
            return Some(Self::Temporary(token));
        }
        let instance = value.and_then(unescaped).filter(|instance| !instance.is_empty());
        Some(instance.map_or(Self::Unknown, |instance| Self::Public(canonical_instance(&instance))))
    }
}

/// The public GRUU of an instance: `sip:alice@example.com;gr=urn:uuid:…` (§5.4).
pub fn public(aor: &Aor, instance: &str) -> String {
    let mut uri = String::with_capacity(aor.as_str().len() + instance.len() + 4);
    uri.push_str(aor.as_str());
    uri.push_str(";gr=");
    for byte in instance.bytes() {
        if is_paramchar(byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("a string takes whatever is written to it");
        }
    }
    uri
}

/// The temporary GRUU with this token: `sip:tgruu.TOKEN@example.com;gr`.
pub fn temporary(aor: &Aor, token: &str) -> String {
    format!("sip:{TEMPORARY}{token}@{};gr", aor.domain())
}

/// The epoch in which the temporary GRUUs of an instance are given out now.
pub fn epoch(record: &Record, instance: &str, now: UnixTime) -> Option<u64> {
    of_instance(record.live(now), instance).map(|binding| binding.gruu_epoch).max()
}

/// §5.1: what a contact with an instance-id may not be, because a request to it would come back: the
/// address-of-record or one of its GRUUs. A public GRUU is equivalent to the address-of-record (§5.4).
pub(crate) fn check_contact(contact: &Uri<'_>, aor: &Aor) -> Result<(), Reject> {
    let is_own = || match Aor::of(contact) {
        Ok(own) if own.domain() == aor.domain() && own.user().starts_with(TEMPORARY) => true,
        Ok(_) | Err(_) => Uri::parse(aor.as_str().as_bytes()).is_ok_and(|aor| aor.equivalent(contact)),
    };
    if !contact.is_sip() || is_own() {
        return Err(Reject::new(StatusCode::new(403)).because("Contact Not Allowed"));
    }
    Ok(())
}

/// §5.1: the epoch of a contact that is registered now, next to the live bindings before the request.
///
/// It goes on where the newest binding of the instance (and flow) has the same Call-ID, and where an instance gets one
/// more flow. A new one begins with another Call-ID, and when the instance had no binding.
pub(crate) fn next_epoch<'a>(
    live: impl Iterator<Item = &'a Binding> + Clone,
    instance: &str,
    reg_id: Option<u32>,
    set: &Set,
    now: UnixTime,
) -> u64 {
    let own = of_instance(live, instance);
    let last = own.clone().map(|binding| binding.gruu_epoch).max().unwrap_or(0);
    let newest = own
        .filter(|binding| reg_id.is_none() || binding.reg_id == reg_id)
        .max_by_key(|binding| binding.updated_at);
    if last > 0 && newest.is_none_or(|binding| binding.call_id == set.call_id) {
        return last;
    }
    begun(set, now).max(last + 1)
}

/// Gives every binding of an instance the newest of their epochs: what one flow invalidates is invalid (§4.1).
pub(crate) fn agree(bindings: &mut [Binding]) {
    let newest: Vec<_> = bindings
        .iter()
        .map(|binding| {
            let instance = binding.instance.as_deref()?;
            of_instance(bindings.iter(), instance).map(|own| own.gruu_epoch).max()
        })
        .collect();
    for (binding, epoch) in bindings.iter_mut().zip(newest) {
        binding.gruu_epoch = epoch.unwrap_or(0);
    }
}

fn of_instance<'a>(
    bindings: impl Iterator<Item = &'a Binding> + Clone,
    instance: &str,
) -> impl Iterator<Item = &'a Binding> + Clone {
    bindings.filter(move |binding| binding.instance.as_deref() == Some(instance))
}

/// An epoch that begins now: seconds, and what tells two of one second apart. It stays below 2^53, which every reader
/// of JSON can count to.
fn begun(set: &Set, now: UnixTime) -> u64 {
    // FNV-1a: nobody gains from a collision but the UA that makes it, and that an old GRUU of its own.
    let hash =
        set.call_id.bytes().chain(set.cseq.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    ((now.0 & 0xffff_ffff) << 16) | (hash & 0xffff)
}

/// RFC 3261 §25.1 `paramchar` without its escapes.
const fn is_paramchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
        || matches!(byte, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$')
}

/// The text behind `%` escapes; `None` when that is no text.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
