//! Stream framing, RFC 3261 §18.3, and the CRLF keep-alive of RFC 5626 §3.5.1. No I/O.
//!
//! Line ends and folding are read by the same rules as in [`crate::parse`], so framer and parser agree on where a
//! message ends.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::line::{self, Lines, Next};
use crate::parse::Limits;
use crate::{Name, ParseError, StatusCode};

/// What a stream holds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One message, ready for [`crate::parse::message`].
    Message(Bytes),
    /// CRLFCRLF between messages.
    Ping,
    /// A single CRLF. It is given out as soon as it is complete, since a pong has nothing behind it to wait for; so a
    /// ping that the network cuts between its two CRLF counts as two of them.
    Pong,
}

/// Cuts a byte stream into frames; remembers how far it has looked.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the header section in which no end was found.
    looked: usize,
    /// Length of the message at the front, once its header section is complete.
    length: Option<usize>,
}

impl Decoder {
    /// `buf` is the caller's read buffer; consumed bytes are split off it. `Ok(None)`: needs more. `Err`: the stream
    /// can't be framed any more (no or bad Content-Length, over a limit, not SIP); close it.
    pub fn next(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<Frame>, ParseError> {
        if self.looked == 0 && self.length.is_none() {
            match keep_alive(buf)? {
                Front::Frame(frame) => return Ok(Some(frame)),
                Front::Open => return Ok(None),
                Front::Message => {}
            }
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.message_length(buf, limits)? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if buf.len() < length {
            self.length = Some(length);
            buf.reserve(length - buf.len());
            return Ok(None);
        }
        *self = Self::default();
        Ok(Some(Frame::Message(buf.split_to(length).freeze())))
    }

    fn message_length(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ParseError> {
        let too_large = ParseError::with_status("message", StatusCode::ENTITY_TOO_LARGE);
        let Some(head) = self.head(buf) else {
            return if buf.len() > limits.message { Err(too_large) } else { Ok(None) };
        };
        let body = content_length(buf.get(..head).unwrap_or_default())?;
        let length = head.checked_add(body).filter(|length| *length <= limits.message);
        length.map(Some).ok_or(too_large)
    }

    /// Length of the header section with its empty line.
    fn head(&mut self, buf: &[u8]) -> Option<usize> {
        loop {
            let Some(found) = memchr(b'\n', buf.get(self.looked..)?) else {
                self.looked = buf.len();
                return None;
            };
            let behind = self.looked + found + 1;
            match buf.get(behind..)? {
                [b'\n', ..] => return Some(behind + 1),
                [b'\r', b'\n', ..] => return Some(behind + 2),
                [] | [b'\r'] => {
                    // The next byte decides; this line end is looked at again.
                    self.looked = behind - 1;
                    return None;
                }
                _ => self.looked = behind,
            }
        }
    }
}

enum Front {
    Frame(Frame),
    Message,
    Open,
}

/// RFC 5626 §3.5.1; RFC 3261 §7.5 for any other line end before a start line.
fn keep_alive(buf: &mut BytesMut) -> Result<Front, ParseError> {
    loop {
        let (consumed, frame) = match &buf[..] {
            [] | [b'\r'] | [b'\r', b'\n', b'\r'] => return Ok(Front::Open),
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Some(Frame::Ping)),
            [b'\r', b'\n', ..] => (2, Some(Frame::Pong)),
            [b'\n', ..] => (1, None),
            [first, ..] if line::is_token(&[*first]) => return Ok(Front::Message),
            // A TLS hello, a STUN header, noise: there is no next start line to look for.
            _ => return Err(ParseError::new("start line")),
        };
        buf.advance(consumed);
        if let Some(frame) = frame {
            return Ok(Front::Frame(frame));
        }
    }
}

/// §18.3: Content-Length is mandatory on a stream; several must agree.
fn content_length(head: &[u8]) -> Result<usize, ParseError> {
    let wrong = ParseError::new("Content-Length");
    let mut lines = Lines::new(head);
    lines.next(); // the start line
    let mut length = None;
    while let Next::Line(at) = lines.next() {
        let text = head.get(at.start..at.end).unwrap_or_default();
        if !matches!(text.first(), Some(b'c' | b'C' | b'l' | b'L')) {
            continue;
        }
        let Some((name_end, value, value_end)) = line::split(text) else { continue };
        if Name::of(text.get(..name_end).unwrap_or_default()) != Name::ContentLength {
            continue;
        }
        let said =
            text.get(value..value_end).and_then(line::decimal).and_then(|said| usize::try_from(said).ok());
        let said = said.filter(|said| length.is_none_or(|other| other == *said));
        length = Some(said.ok_or(wrong.clone())?);
    }
    length.ok_or(wrong)
}

#[cfg(test)]
mod tests;
