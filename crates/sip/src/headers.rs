//! Header lines in order, RFC 3261 §7.3.
//!
//! A line is a span: of the received bytes, or of the bytes that were added since. So nothing is copied that nobody
//! touches, a clone for another branch is three short copies, and neighbouring lines leave in one piece.

mod elements;
mod name;

use bytes::Bytes;
use memchr::memchr2;

use crate::lex::{is_lws, trim};

use elements::{Element, Elements, element};

pub use name::Name;

/// Ordered header lines.
///
/// Values are given without surrounding white space; a folded value keeps its CRLF WSP inside (RFC 3261 §7.3.1: LWS),
/// which every typed view skips. A value that is put in cannot leave its line: a CR or LF that folds nothing becomes
/// a space. [`Name::Other`] names no header: a line of that name is a mistake of the caller and is not added.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The message as it was received; empty for one that was made here.
    wire: Bytes,
    /// One past the start line in `wire`, its line end included.
    start_line: u32,
    lines: Vec<Line>,
    /// Lines made here, each whole; what was replaced stays behind as waste.
    added: Vec<u8>,
}

/// Where one line stands in [`Headers::wire`] or [`Headers::added`].
#[derive(Debug, Clone, Copy)]
struct Line {
    name: Name,
    added: bool,
    start: u32,
    /// One past the spelled name.
    name_end: u32,
    value: u32,
    value_end: u32,
    /// One past the line end.
    end: u32,
}

impl Headers {
    /// Value of the first line of this name.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// Values of every line of this name, top to bottom.
    pub fn lines(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.name == name).map(|line| self.value(line))
    }

    /// Comma-separated elements over all lines of this name (quotes and <> respected), trimmed, top to bottom.
    /// A line of a header that is no list (RFC 3261 §7.3.1: Authorization and its like, From, Date …) is one element.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.lines(name).flat_map(move |value| Elements::new(value, name.is_list()))
    }

    /// The first element of [`Self::values`], which is what Via, Route, Path processing looks at.
    pub fn top(&self, name: Name) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// A new line above the first line of this name; when there is none, above all lines (keeps Via first: other
    /// names go below the last Via).
    pub fn push_top(&mut self, name: Name, value: impl Into<Bytes>) {
        let above = self.lines.iter().position(|line| line.name == name);
        let below_via =
            || self.lines.iter().rposition(|line| line.name == Name::Via).map_or(0, |via| via + 1);
        let index = above.unwrap_or_else(below_via);
        if let Some(line) = self.compose(name, name.as_str(), &value.into()) {
            self.lines.insert(index, line);
        }
    }

    /// Removes the first element (the whole line if it was the only one); true if there was one.
    pub fn pop_top(&mut self, name: Name) -> bool {
        let Some((index, first)) = self.first_element(name) else { return false };
        let Some(line) = self.lines.get(index).copied() else { return false };
        if element(self.value(&line), first.next).is_some() {
            let rest = self.rewrite(line, &[], first.next);
            self.put(index, rest);
        } else {
            self.lines.remove(index);
        }
        true
    }

    /// Replaces the first element; where there is none, as [`Self::push_top`].
    pub fn replace_top(&mut self, name: Name, value: impl Into<Bytes>) {
        let Some((index, first)) = self.first_element(name) else { return self.push_top(name, value) };
        let Some(line) = self.lines.get(index).copied() else { return };
        let value = value.into();
        let rest = if element(self.value(&line), first.next).is_some() { first.next } else { usize::MAX };
        let line = self.rewrite(line, &value, rest);
        self.put(index, line);
    }

    /// Makes this the only line of its name (in place of the first, else at the end).
    pub fn set(&mut self, name: Name, value: impl Into<Bytes>) {
        let Some(line) = self.compose(name, name.as_str(), &value.into()) else { return };
        let Some(index) = self.lines.iter().position(|line| line.name == name) else {
            self.lines.push(line);
            return;
        };
        self.put(index, line);
        let mut at = 0;
        self.lines.retain(|line| {
            at += 1;
            line.name != name || at - 1 == index
        });
    }

    /// A new line after all others.
    pub fn append(&mut self, name: Name, value: impl Into<Bytes>) {
        if let Some(line) = self.compose(name, name.as_str(), &value.into()) {
            self.lines.push(line);
        }
    }

    /// As [`Self::append`] for a header without a [`Name`].
    pub fn append_named(&mut self, name: &'static str, value: impl Into<Bytes>) {
        if let Some(line) = self.compose(Name::of(name.as_bytes()), name, &value.into()) {
            self.lines.push(line);
        }
    }

    /// Removes all lines of this name, says how many.
    pub fn remove(&mut self, name: Name) -> usize {
        let before = self.lines.len();
        self.lines.retain(|line| line.name != name);
        before - self.lines.len()
    }

    /// Removes all lines whose name matches, ignoring case; the compact form matches too.
    pub fn remove_named(&mut self, name: &str) -> usize {
        let known = Name::of(name.as_bytes());
        if known != Name::Other {
            return self.remove(known);
        }
        let before = self.lines.len();
        let (wire, added) = (&self.wire, &self.added);
        self.lines.retain(|line| {
            line.name != Name::Other
                || !name::same(part(line.source(wire, added), line.start, line.name_end), name)
        });
        before - self.lines.len()
    }

    /// First value of a header without a [`Name`], ignoring case; the compact form matches too.
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        let known = Name::of(name.as_bytes());
        let same = |line: &&Line| {
            line.name == known && (known != Name::Other || name::same(self.spelling(line), name))
        };
        self.lines.iter().find(same).map(|line| self.value(line))
    }

    /// Every line: name, spelling, value.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.lines.iter().map(|line| (line.name, self.spelling(line), self.value(line)))
    }

    /// True if an option tag / token stands in a comma list of this name, ignoring case (Supported, Require …).
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Copies all lines of `name` from another block, in order, to the end (cheap: shares bytes).
    pub fn copy(&mut self, from: &Self, name: Name) {
        for line in from.lines.iter().filter(|line| line.name == name) {
            self.copy_line(from, line);
        }
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// No line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// As [`Self::copy`], the first line only: what a request has twice is not repeated in its answer.
    pub(crate) fn copy_first(&mut self, from: &Self, name: Name) {
        if let Some(line) = from.lines.iter().find(|line| line.name == name) {
            self.copy_line(from, line);
        }
    }

    /// As [`Self::copy_first`] for a header without a [`Name`].
    pub(crate) fn copy_named(&mut self, from: &Self, name: &str) {
        let same = |line: &&Line| line.name == Name::Other && name::same(from.spelling(line), name);
        if let Some(line) = from.lines.iter().find(same) {
            self.copy_line(from, line);
        }
    }

    /// An empty block into which lines of `other` are copied by reference.
    pub(crate) fn beside(other: &Self) -> Self {
        Self { wire: other.wire.clone(), start_line: 0, lines: Vec::with_capacity(12), added: Vec::new() }
    }

    /// An empty block over received bytes.
    pub(crate) fn over(wire: Bytes) -> Self {
        Self { wire, start_line: 0, lines: Vec::with_capacity(24), added: Vec::new() }
    }

    /// Says where the start line of the received bytes ends.
    pub(crate) fn set_start_line(&mut self, end: usize) {
        self.start_line = offset(end);
    }

    /// The start line as received, its line end included; empty for a message that was made here.
    pub(crate) fn start_line(&self) -> &[u8] {
        part(&self.wire, 0, self.start_line)
    }

    /// Takes up a received line: its first byte, the parts that [`crate::line::split`] found, one past its end.
    pub(crate) fn push_wire(&mut self, start: usize, parts: (usize, usize, usize), end: usize) -> Name {
        let (name_end, value, value_end) = parts;
        let name = Name::of(self.wire.get(start..start + name_end).unwrap_or_default());
        self.lines.push(Line {
            name,
            added: false,
            start: offset(start),
            name_end: offset(start + name_end),
            value: offset(start + value),
            value_end: offset(start + value_end),
            end: offset(end),
        });
        name
    }

    /// The block as bytes: pieces as long as possible. Lines for which `skip` answers true are left out.
    pub(crate) fn pieces(&self, skip: impl Fn(Name) -> bool, mut write: impl FnMut(&[u8])) {
        let (mut added, mut start, mut end) = (false, 0, 0);
        for line in self.lines.iter().filter(|line| !skip(line.name)) {
            if (line.added, line.start) != (added, end) {
                write(part(self.source(added), start, end));
                (added, start) = (line.added, line.start);
            }
            end = line.end;
        }
        write(part(self.source(added), start, end));
    }

    fn copy_line(&mut self, from: &Self, line: &Line) {
        if !line.added && self.wire.as_ptr() == from.wire.as_ptr() && self.wire.len() == from.wire.len() {
            self.lines.push(*line);
            return;
        }
        let start = offset(self.added.len());
        self.added.extend_from_slice(part(from.source(line.added), line.start, line.end));
        let moved = |at: u32| at - line.start + start;
        self.lines.push(Line {
            name: line.name,
            added: true,
            start,
            name_end: moved(line.name_end),
            value: moved(line.value),
            value_end: moved(line.value_end),
            end: moved(line.end),
        });
    }

    /// Makes a line at the end of `added`.
    fn compose(&mut self, name: Name, spelling: &str, value: &[u8]) -> Option<Line> {
        debug_assert!(!spelling.is_empty(), "Name::Other names no header");
        if spelling.is_empty() {
            return None;
        }
        if self.added.capacity() == 0 {
            self.added.reserve(ADDED);
        }
        let start = self.added.len();
        self.added.extend_from_slice(spelling.as_bytes());
        let name_end = self.added.len();
        self.added.extend_from_slice(b": ");
        let from = self.added.len();
        contain(&mut self.added, trim(value));
        Some(self.close(name, start, name_end, from))
    }

    /// Makes a line of the name and spelling of `line`: `value`, then what `line` has from `rest` of its value on.
    fn rewrite(&mut self, line: Line, value: &[u8], rest: usize) -> Line {
        let start = self.added.len();
        self.carry(line.added, line.start, line.value);
        let from = self.added.len();
        contain(&mut self.added, trim(value));
        let length = (line.value_end - line.value) as usize;
        if rest < length {
            if !value.is_empty() {
                self.added.push(b',');
            }
            let kept =
                part(self.source(line.added), line.value, line.value_end).get(rest..).unwrap_or_default();
            let blank =
                if value.is_empty() { kept.iter().take_while(|byte| is_lws(**byte)).count() } else { 0 };
            self.carry(line.added, line.value + offset(rest + blank), line.value_end);
        }
        let name_end = start + (line.name_end - line.start) as usize;
        self.close(line.name, start, name_end, from)
    }

    fn close(&mut self, name: Name, start: usize, name_end: usize, value: usize) -> Line {
        let value_end = self.added.len();
        self.added.extend_from_slice(b"\r\n");
        Line {
            name,
            added: true,
            start: offset(start),
            name_end: offset(name_end),
            value: offset(value),
            value_end: offset(value_end),
            end: offset(self.added.len()),
        }
    }

    /// Appends a span of an existing line to `added`.
    fn carry(&mut self, added: bool, from: u32, to: u32) {
        if added {
            self.added.extend_from_within(from as usize..to as usize);
        } else {
            self.added.extend_from_slice(part(&self.wire, from, to));
        }
    }

    fn put(&mut self, index: usize, line: Line) {
        if let Some(place) = self.lines.get_mut(index) {
            *place = line;
        }
    }

    /// Index of the line that holds the first element of a name, and that element.
    fn first_element(&self, name: Name) -> Option<(usize, Element)> {
        self.lines.iter().enumerate().filter(|(_, line)| line.name == name).find_map(|(index, line)| {
            let value = self.value(line);
            let whole = Element { start: 0, end: value.len(), next: value.len() };
            let first = if name.is_list() { element(value, 0) } else { Some(whole) };
            first.map(|first| (index, first))
        })
    }

    fn source(&self, added: bool) -> &[u8] {
        if added { &self.added } else { &self.wire }
    }

    fn value(&self, line: &Line) -> &[u8] {
        part(self.source(line.added), line.value, line.value_end)
    }

    fn spelling(&self, line: &Line) -> &[u8] {
        part(self.source(line.added), line.start, line.name_end)
    }
}

impl Line {
    fn source<'a>(&self, wire: &'a [u8], added: &'a [u8]) -> &'a [u8] {
        if self.added { added } else { wire }
    }
}

/// Appends a value that stays in its line: of CR and LF only a proper fold is kept.
fn contain(out: &mut Vec<u8>, value: &[u8]) {
    if memchr2(b'\r', b'\n', value).is_none() {
        out.extend_from_slice(value);
        return;
    }
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        match rest {
            [b'\r', b'\n', blank @ (b' ' | b'\t'), behind @ ..] => {
                out.extend_from_slice(&[b'\r', b'\n', *blank]);
                rest = behind;
                continue;
            }
            [b'\r' | b'\n', ..] => out.push(b' '),
            _ => out.push(byte),
        }
        rest = behind;
    }
}

/// A span that this module made of the bytes it belongs to.
fn part(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("the parser takes no message of 4 GiB, and no hop adds as much")
}

/// Room for what one hop adds: a Via, a Record-Route, a Route and two short lines.
const ADDED: usize = 512;

#[cfg(test)]
mod tests;
