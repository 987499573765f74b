//! Methods, RFC 3261 §7.1: case-sensitive tokens.

use std::fmt;

use bytes::Bytes;

use crate::line::is_token;

/// A method. Every token is one (RFC 3261 §7.1): what is not known by name is an [`Method::Extension`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the registered methods")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Message,
    Subscribe,
    Notify,
    Publish,
    Refer,
    Info,
    Update,
    Prack,
    /// Any other token, as written.
    Extension(Bytes),
}

impl Method {
    /// As it stands in a request line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Message => "MESSAGE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Publish => "PUBLISH",
            Self::Refer => "REFER",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Extension(token) => std::str::from_utf8(token).unwrap_or_default(),
        }
    }

    /// `None` when `text` is not a token.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::known(text).or_else(|| is_token(text).then(|| Self::Extension(Bytes::copy_from_slice(text))))
    }

    /// As [`Self::parse`], for a `text` that is a part of `buf`: an extension method shares it.
    pub fn parse_in(buf: &Bytes, text: &[u8]) -> Option<Self> {
        Self::known(text).or_else(|| is_token(text).then(|| Self::Extension(share(buf, text))))
    }

    fn known(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"MESSAGE" => Self::Message,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"PUBLISH" => Self::Publish,
            b"REFER" => Self::Refer,
            b"INFO" => Self::Info,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            _ => return None,
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `text` without a copy when it lies inside `buf`.
fn share(buf: &Bytes, text: &[u8]) -> Bytes {
    if buf.as_ptr_range().contains(&text.as_ptr()) && text.as_ptr_range().end <= buf.as_ptr_range().end {
        buf.slice_ref(text)
    } else {
        Bytes::copy_from_slice(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::parse(b"INVITE"), Some(Method::Invite));
        assert_eq!(Method::parse(b"invite"), Some(Method::Extension(Bytes::from_static(b"invite"))));
        assert_eq!(Method::parse(b"RE%47IST%45R").map(|m| m.to_string()).as_deref(), Some("RE%47IST%45R"));
        assert_eq!(Method::parse(b""), None);
        assert_eq!(Method::parse(b"IN VITE"), None);
        assert_eq!(Method::parse(b"IN/VITE"), None);
    }

    #[test]
    fn an_extension_shares_the_buffer() {
        let buf = Bytes::from_static(b"NEWMETHOD sip:a SIP/2.0");
        let Some(Method::Extension(token)) = Method::parse_in(&buf, &buf[..9]) else { panic!("a token") };
        assert_eq!(token.as_ptr(), buf.as_ptr());
        let elsewhere = b"OTHER".to_vec();
        assert_eq!(Method::parse_in(&buf, &elsewhere), Method::parse(b"OTHER"));
    }
}
