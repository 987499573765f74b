//! The canonical address-of-record, RFC 3261 §10.3 step 5.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{Host, ParseError, Uri, uri::decode};

/// `sip:user@host`, the index of the location service. Parameters, headers, password and port are removed, the user
/// is unescaped where that needs no escape (and escaped where it does, so that one user has one spelling), the host is
/// lower-cased; sips counts as sip. Compares byte by byte. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor(Arc<str>);

impl Aor {
    /// `Err` for anything but sip and sips with a user.
    pub fn of(uri: &Uri<'_>) -> Result<Self, ParseError> {
        let user = uri.user.filter(|_| uri.is_sip()).ok_or(WRONG)?;
        let mut text = String::with_capacity(PREFIX.len() + user.len() + 1 + uri.host_port().len());
        text.push_str(PREFIX);
        for (byte, _) in decode(user) {
            if is_user(byte) {
                text.push(char::from(byte));
            } else {
                text.push('%');
                text.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
            }
        }
        text.push('@');
        match uri.host {
            Host::Name(name) => {
                // `example.com.` is the same domain, written absolute (RFC 1034 §3.1).
                let name = name.strip_suffix('.').unwrap_or(name);
                text.extend(name.chars().map(|c| c.to_ascii_lowercase()));
            }
            Host::V4(address) => text.push_str(&address.to_string()),
            Host::V6(address) => text.push_str(&format!("[{address}]")),
        }
        Ok(Self(text.into()))
    }

    /// From `user@domain` or `sip:user@domain` (command line, storage).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let has_scheme =
            |prefix: &str| text.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
        if has_scheme(PREFIX) || has_scheme("sips:") {
            Self::of(&Uri::parse(text.as_bytes())?)
        } else {
            Self::of(&Uri::parse(format!("{PREFIX}{text}").as_bytes())?)
        }
    }

    /// `sip:user@domain`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user part, escaped where it has to be.
    pub fn user(&self) -> &str {
        self.parts().0
    }

    /// The user's name as people and credentials write it (RFC 7616 §3.4 `username`): without escapes. What is no text
    /// without them keeps them.
    pub fn user_name(&self) -> Cow<'_, str> {
        let user = self.user();
        if !user.contains('%') {
            return Cow::Borrowed(user);
        }
        let bytes = decode(user).map(|(byte, _)| byte).collect();
        String::from_utf8(bytes).map_or(Cow::Borrowed(user), Cow::Owned)
    }

    /// The domain, lower-cased; an IPv6 address keeps its brackets.
    pub fn domain(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix(PREFIX).and_then(|text| text.split_once('@')).unwrap_or_default()
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// §25.1 `unreserved / user-unreserved`: what stands in a user part without an escape.
const fn is_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
        || matches!(byte, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/')
}

const PREFIX: &str = "sip:";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

const WRONG: ParseError = ParseError::new("address-of-record");

#[cfg(test)]
mod tests {
    use super::*;

    fn aor(text: &str) -> Aor {
        Aor::parse(text).unwrap()
    }

    #[test]
    fn parameters_headers_port_and_case_of_the_domain_are_removed() {
        let it = aor("sips:alice:secret@EXAMPLE.com:5061;user=phone;transport=tls?Subject=x");
        assert_eq!(it.as_str(), "sip:alice@example.com");
        assert_eq!((it.user(), it.domain()), ("alice", "example.com"));
        assert_eq!(it, aor("alice@example.com."));
    }

    #[test]
    fn user_is_case_sensitive() {
        assert_ne!(aor("Alice@example.com"), aor("alice@example.com"));
    }

    #[test]
    fn escapes_that_are_not_needed_go_others_stay() {
        assert_eq!(aor("%61lice@example.com"), aor("alice@example.com"));
        assert_eq!(aor("%2b4930123@example.com").as_str(), "sip:+4930123@example.com");
        assert_eq!(aor("a%40b@example.com").as_str(), "sip:a%40b@example.com");
        assert_eq!(aor("a%3ab@example.com").user(), "a%3Ab");
        // What should have been escaped is, so that both spellings are one user.
        assert_eq!(aor("*55#@example.com"), aor("*55%23@example.com"));
    }

    #[test]
    fn escaped_nulls_do_not_end_a_user() {
        // RFC 4475 §3.1.1.4.
        assert_eq!(aor("null-%00-null@example.com").user(), "null-%00-null");
        assert_ne!(aor("%00@host5.example.com"), aor("%00%00@host5.example.com"));
    }

    #[test]
    fn a_name_has_no_escapes() {
        for (text, name) in [
            ("alice@example.com", "alice"),
            ("bj\u{f8}rn@example.com", "bj\u{f8}rn"),
            ("*55%23@example.com", "*55#"),
            ("a%FFb@example.com", "a%FFb"),
        ] {
            assert_eq!(aor(text).user_name(), name, "{text}");
        }
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(aor("a@[2001:DB8:0::10]").as_str(), "sip:a@[2001:db8::10]");
        assert_eq!(aor("a@[2001:db8::10]:5070").domain(), "[2001:db8::10]");
        assert_eq!(aor("a@192.0.2.1:5070").domain(), "192.0.2.1");
    }

    #[test]
    fn what_names_no_user_is_refused() {
        for text in ["example.com", "sip:example.com", "", "@example.com", "a@", "a@b@c", "a b@c"] {
            assert!(Aor::parse(text).is_err(), "{text}");
        }
        assert!(Aor::of(&Uri::parse(b"tel:+4930123").unwrap()).is_err());
        assert!(Aor::of(&Uri::parse(b"isbn:2983792873").unwrap()).is_err());
    }

    #[test]
    fn a_user_may_be_called_like_a_scheme() {
        assert_eq!(aor("sip@example.com").user(), "sip");
        assert_eq!(aor("sip:sip@example.com").user(), "sip");
    }
}
