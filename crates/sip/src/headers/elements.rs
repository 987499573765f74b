//! Comma-separated elements of a header line, RFC 3261 §7.3.1.

use memchr::{memchr, memchr2, memchr3};

use crate::lex::{is_lws, trim};

/// The elements of one line.
pub(super) struct Elements<'a> {
    value: &'a [u8],
    at: usize,
    list: bool,
}

impl<'a> Elements<'a> {
    /// `list` is false for a header whose line is one element.
    pub(super) fn new(value: &'a [u8], list: bool) -> Self {
        Self { value, at: 0, list }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if !self.list {
            let whole = (self.at == 0).then_some(self.value);
            self.at = 1;
            return whole;
        }
        let found = element(self.value, self.at)?;
        self.at = found.next;
        self.value.get(found.start..found.end)
    }
}

/// An element of a comma list: where it stands and where the next one may start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) next: usize,
}

/// The first element at or behind `at`; empty ones are passed over.
pub(super) fn element(value: &[u8], mut at: usize) -> Option<Element> {
    while let Some(rest) = value.get(at..).filter(|rest| !rest.is_empty()) {
        let cut = comma(rest).unwrap_or(rest.len());
        let next = (at + cut + 1).min(value.len());
        let text = rest.get(..cut)?;
        let blank = text.iter().take_while(|byte| is_lws(**byte)).count();
        let length = trim(text).len();
        if length > 0 {
            return Some(Element { start: at + blank, end: at + blank + length, next });
        }
        at = next;
    }
    None
}

/// The first comma outside quotes and angle brackets.
fn comma(text: &[u8]) -> Option<usize> {
    memchr(b',', text)?;
    let mut at = 0;
    loop {
        let here = at + memchr3(b',', b'"', b'<', text.get(at..)?)?;
        let inside = text.get(here + 1..)?;
        at = here
            + 2
            + match text.get(here)? {
                b',' => return Some(here),
                b'"' => closing_quote(inside)?,
                _ => memchr(b'>', inside)?,
            };
    }
}

/// Where a quoted string ends (RFC 3261 §25.1: a backslash escapes the next byte).
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let here = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(here) == Some(&b'"') {
            return Some(here);
        }
        at = here + 2;
    }
}
