//! A Request-URI made from another URI, and decimal header values.

use std::fmt::Write as _;

use bytes::Bytes;
use sip::{Scheme, Uri};

/// The URI without what §19.1.1 forbids in a Request-URI: the `method` parameter and headers. Shares the
/// bytes when there is nothing to remove; a URI that cannot be read stays as it is, its next hop will say
/// what it thinks of it.
pub(crate) fn as_request_uri(uri: &Bytes) -> Bytes {
    if !may_need_removal(uri) {
        return uri.clone();
    }
    match Uri::parse(uri) {
        Ok(parsed) if parsed.is_sip() && (!parsed.headers.is_empty() || parsed.params.has("method")) => {
            rebuild(&parsed, parsed.host_port(), |name| !name.eq_ignore_ascii_case("method"), false)
        }
        _ => uri.clone(),
    }
}

fn may_need_removal(uri: &[u8]) -> bool {
    uri.iter().enumerate().any(|(at, byte)| match byte {
        b'?' => true,
        b';' => uri.get(at + 1..at + 7).is_some_and(|name| name.eq_ignore_ascii_case(b"method")),
        _ => false,
    })
}

/// The SIP or SIPS URI again with another host and only the parameters that `keep` names.
pub(crate) fn rebuild(uri: &Uri<'_>, host_port: &str, keep: impl Fn(&str) -> bool, headers: bool) -> Bytes {
    let mut text = String::with_capacity(128);
    text.push_str(if uri.scheme == Scheme::Sips { "sips:" } else { "sip:" });
    if let Some(user) = uri.user {
        text.push_str(user);
        if let Some(password) = uri.password {
            text.push(':');
            text.push_str(password);
        }
        text.push('@');
    }
    text.push_str(host_port);
    for (name, value) in uri.params.iter().filter(|(name, _)| keep(name)) {
        text.push(';');
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    }
    if headers && !uri.headers.is_empty() {
        text.push('?');
        text.push_str(uri.headers);
    }
    Bytes::from(text)
}

/// A number as a header value; what Max-Forwards and Max-Breadth usually carry costs no allocation.
pub(crate) fn decimal(number: u32) -> Bytes {
    let Ok(small @ 0..100) = usize::try_from(number) else {
        let mut text = String::new();
        let _ = write!(text, "{number}");
        return Bytes::from(text);
    };
    let digits: &'static [u8] = &DIGITS;
    Bytes::from_static(&digits[2 * small + usize::from(small < 10)..2 * small + 2])
}

/// `00` to `99`, one after another.
static DIGITS: [u8; 200] = digits();

const fn digits() -> [u8; 200] {
    let mut table = [b'0'; 200];
    let mut number = 0u8;
    while number < 100 {
        table[2 * number as usize] = b'0' + number / 10;
        table[2 * number as usize + 1] = b'0' + number % 10;
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_without_leading_zeros() {
        for number in [0, 1, 9, 10, 60, 69, 99, 100, 255, u32::MAX] {
            assert_eq!(decimal(number), number.to_string());
        }
    }

    #[test]
    fn a_request_uri_has_neither_method_nor_headers() {
        let cases = [
            ("sip:bob@192.0.2.4;transport=tcp", "sip:bob@192.0.2.4;transport=tcp"),
            ("sip:bob@192.0.2.4;method=INVITE;ob?Subject=x", "sip:bob@192.0.2.4;ob"),
            ("sips:bob:pw@[2001:db8::1]:5071;METHOD=BYE;x=1", "sips:bob:pw@[2001:db8::1]:5071;x=1"),
            ("tel:+15551234;phone-context=+1?x", "tel:+15551234;phone-context=+1?x"),
        ];
        for (contact, expected) in cases {
            assert_eq!(as_request_uri(&Bytes::from_static(contact.as_bytes())), expected, "{contact}");
        }
    }
}
