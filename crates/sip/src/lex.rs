//! The basic rules of the grammar, RFC 3261 §25.1: LWS, token, quoted-string.
//!
//! Everything here steps forward over text that came from the network; nothing indexes, nothing can panic.

use std::borrow::Cow;

use crate::ParseError;

/// The bytes of LWS. A folded value keeps its CRLF, so both count (§7.3.1).
pub(crate) const fn is_lws(byte: u8) -> bool {
    is(LWS, byte)
}

/// §25.1 `token`.
pub(crate) const fn is_token(byte: u8) -> bool {
    is(TOKEN, byte)
}

/// What may end the name of a parameter.
pub(crate) const fn ends_name(byte: u8) -> bool {
    is(LWS | LIST, byte) || byte == b'='
}

/// What may end the unquoted value of a parameter.
pub(crate) const fn ends_value(byte: u8) -> bool {
    is(LWS | LIST, byte)
}

/// True if all of the text is what may stand in a URI: no white space, no controls, none of the delimiters of RFC
/// 2396 §2.4.3 that SIP writes around one.
pub(crate) fn may_be_uri(text: &str) -> bool {
    // Without an early exit the compiler looks at sixteen bytes at once.
    !text.bytes().fold(false, |found, byte| {
        found | (byte <= b' ') | (byte == 0x7f) | (byte == b'<') | (byte == b'>') | (byte == b'"')
    })
}

/// Classes of bytes, one bit each: one load tells them, where a chain of comparisons would mispredict.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let mut class = 0;
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            class |= LWS;
        }
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        {
            class |= TOKEN;
        }
        if matches!(byte, b';' | b',' | b'"') {
            class |= LIST;
        }
        classes[byte as usize] = class;
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const LWS: u8 = 1;
const TOKEN: u8 = 1 << 1;
const LIST: u8 = 1 << 2;

const fn is(class: u8, byte: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The value without LWS on either side.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

/// What stands before and behind the first such byte of ASCII. The texts are short: a plain loop beats a search that
/// has to get going.
pub(crate) fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|it| it == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The text without LWS behind it.
pub(crate) fn trim_end(text: &str) -> &str {
    text.trim_end_matches([' ', '\t', '\r', '\n'])
}

/// The text of a value that has to be UTF-8 (§7.3.1), without LWS on either side.
pub(crate) fn text<'a>(value: &'a [u8], what: &'static str) -> Result<&'a str, ParseError> {
    std::str::from_utf8(trim(value)).map_err(|_| ParseError::new(what))
}

/// Length of the quoted-string at the start of `text`, both quotes counted; `None` when it does not end.
pub(crate) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate();
    if bytes.next()?.1 != &b'"' {
        return None;
    }
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a quoted-string means: without its backslashes (`quoted-pair`). `inner` stands without the quotes.
pub(crate) fn unescape(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(plain)
}

/// Reads one element after the other from the front of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte, left in place.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Reads past LWS, if there is any.
    pub(crate) fn lws(&mut self) {
        if self.peek().is_some_and(is_lws) {
            self.take_while(is_lws);
        }
    }

    /// Reads one byte of ASCII if it is the next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.advance(1);
        }
        found
    }

    /// Reads a separator with LWS around it: SLASH, COLON, EQUAL, SEMI, COMMA of §25.1.
    pub(crate) fn separator(&mut self, byte: u8) -> bool {
        self.lws();
        let found = self.eat(byte);
        if found {
            self.lws();
        }
        found
    }

    /// The longest run of bytes that `wanted` accepts. `wanted` must treat all bytes from 0x80 alike.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let len = self.rest.bytes().position(|byte| !wanted(byte)).unwrap_or(self.rest.len());
        self.advance(len)
    }

    /// A token; empty when there is none.
    pub(crate) fn token(&mut self) -> &'a str {
        self.take_while(is_token)
    }

    /// A quoted-string, given without its quotes and still escaped; `None` when there is none or it does not end.
    pub(crate) fn quoted(&mut self) -> Option<&'a str> {
        let len = quoted_len(self.rest.as_bytes())?;
        self.advance(len).get(1..len.checked_sub(1)?)
    }

    fn advance(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_string_ends_at_an_unescaped_quote() {
        assert_eq!(quoted_len(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_len(br#""a\\" c""#), Some(5));
        assert_eq!(quoted_len(br#""open"#), None);
        assert_eq!(quoted_len(br#""open\""#), None);
        assert_eq!(quoted_len(b"a"), None);
    }

    #[test]
    fn quoted_pair_is_taken_literally() {
        assert_eq!(unescape(r#"J Rosenberg \\\""#), r#"J Rosenberg \""#);
        assert_eq!(unescape("plain"), "plain");
    }

    #[test]
    fn separators_have_white_space_on_both_sides() {
        let mut cursor = Cursor::new("SIP \r\n / 2.0");
        assert_eq!(cursor.token(), "SIP");
        assert!(cursor.separator(b'/'));
        assert_eq!(cursor.token(), "2.0");
        assert!(cursor.is_empty());
    }

    #[test]
    fn trim_removes_folds_too() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" "), b"");
    }
}
