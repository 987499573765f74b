//! Lines of a message: line ends, folding, names (RFC 3261 §7.3.1, §25.1).
//!
//! A line ends with CRLF or with a bare LF; a CR alone ends nothing. A line that starts with a space or a tab
//! continues the one above.

use memchr::memchr;

use crate::lex::{self, is_lws, trim};

/// One logical line: its continuation lines are part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Logical {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte of its text.
    pub(crate) end: usize,
    /// First byte of the next line.
    pub(crate) next: usize,
}

/// What stands at a position of the header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line.
    Line(Logical),
    /// The empty line that ends the section; the body starts here.
    Body(usize),
    /// The bytes end before the line does.
    Open,
}

/// Walks over the logical lines of a header section.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    buf: &'a [u8],
    at: usize,
    /// Line ends seen so far that are CRLF.
    pub(crate) crlf: usize,
    /// A line end without CR was seen.
    pub(crate) bare_lf: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0, crlf: 0, bare_lf: false }
    }

    pub(crate) fn next(&mut self) -> Next {
        let start = self.at;
        match self.buf.get(start..) {
            Some([b'\n', ..]) => {
                self.bare_lf = true;
                return Next::Body(start + 1);
            }
            Some([b'\r', b'\n', ..]) => {
                self.crlf += 1;
                return Next::Body(start + 2);
            }
            _ => {}
        }
        let mut from = start;
        loop {
            let Some(lf) = self.buf.get(from..).and_then(|rest| memchr(b'\n', rest)).map(|at| from + at)
            else {
                return Next::Open;
            };
            let with_cr = lf > start && self.buf.get(lf - 1) == Some(&b'\r');
            if with_cr {
                self.crlf += 1;
            } else {
                self.bare_lf = true;
            }
            from = lf + 1;
            if !matches!(self.buf.get(from), Some(b' ' | b'\t')) {
                self.at = from;
                return Next::Line(Logical { start, end: lf - usize::from(with_cr), next: from });
            }
        }
    }
}

/// Where name and value of a header line stand: `name_end`, `value`, `value_end`, counted from the line's start.
/// White space may stand before the colon (§25.1 HCOLON). `None` when there is no colon or the name is no token.
pub(crate) fn split(line: &[u8]) -> Option<(usize, usize, usize)> {
    let colon = memchr(b':', line)?;
    let name = line.get(..colon)?;
    let name_end = name.len() - name.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if !is_token(name.get(..name_end)?) {
        return None;
    }
    let rest = line.get(colon + 1..)?;
    let blank = rest.iter().take_while(|byte| is_lws(**byte)).count();
    let value = colon + 1 + blank;
    Some((name_end, value, value + trim(rest).len()))
}

/// A token, not just its beginning (§25.1).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| lex::is_token(*byte))
}

/// A number of digits only; `Some(u64::MAX)` when it does not fit.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_one() {
        let text = b"Subject: I know\r\n you\r\n\tthere\r\nTo: x\n\r\nbody";
        let mut lines = Lines::new(text);
        assert_eq!(lines.next(), Next::Line(Logical { start: 0, end: 29, next: 31 }));
        assert_eq!(lines.next(), Next::Line(Logical { start: 31, end: 36, next: 37 }));
        assert_eq!(lines.next(), Next::Body(39));
        assert!(lines.bare_lf);
        assert_eq!(lines.crlf, 4);
    }

    #[test]
    fn a_section_without_its_empty_line_is_open() {
        let mut lines = Lines::new(b"A: b\r\n");
        assert!(matches!(lines.next(), Next::Line(_)));
        assert_eq!(lines.next(), Next::Open);
        assert_eq!(Lines::new(b"A: b").next(), Next::Open);
    }

    #[test]
    fn a_carriage_return_alone_ends_nothing() {
        assert_eq!(Lines::new(b"A: b\rB: c").next(), Next::Open);
    }

    #[test]
    fn names_and_values() {
        let cut = |line: &'static [u8]| split(line).map(|(name, from, to)| (&line[..name], &line[from..to]));
        assert_eq!(cut(b"Via  : x "), Some((&b"Via"[..], &b"x"[..])));
        assert_eq!(cut(b"t:x"), Some((&b"t"[..], &b"x"[..])));
        assert_eq!(cut(b"Subject:"), Some((&b"Subject"[..], &b""[..])));
        assert_eq!(cut(b"Subject:\r\n  a"), Some((&b"Subject"[..], &b"a"[..])));
        assert_eq!(cut(b"No colon"), None);
        assert_eq!(cut(b"No token: x"), None);
        assert_eq!(cut(b": x"), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(decimal(b"0070"), Some(70));
        assert_eq!(decimal(b"99999999999999999999999"), Some(u64::MAX));
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"-1"), None);
        assert_eq!(decimal(b"+1"), None);
    }
}
