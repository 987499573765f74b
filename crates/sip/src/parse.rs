//! Bytes → message: RFC 3261 §7, §25, with limits.
//!
//! A header section whose lines end in a bare LF is accepted and repaired: it leaves with CRLF, so that no later hop
//! sees other lines than we did. For the same reason a CR without LF is refused.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};

use crate::line::{self, Lines, Next};
use crate::{
    Headers, Message, Method, Name, NameAddr, ParseError, Request, Response, StatusCode, Via, message,
};

/// Limits of one message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole message.
    pub message: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of one line, its continuations included.
    pub line: usize,
}

impl Default for Limits {
    /// What a UDP datagram can hold.
    fn default() -> Self {
        Self { message: 65_535, headers: 128, line: 8_192 }
    }
}

/// Why bytes are no acceptable message, and what can still be answered.
#[derive(Debug, Clone)]
pub struct Malformed {
    /// What is wrong, and the status that says so.
    pub error: ParseError,
    /// A request that can be given a stateless answer with `error.status`: it has a method other than ACK and a Via.
    /// Any other header may be missing or unreadable; [`Response::to`] repeats what is there.
    pub request: Option<Box<Request>>,
}

/// One whole message (a datagram, or what [`crate::frame`] cut out). A datagram's body ends at Content-Length; extra
/// bytes are ignored (§18.3); a missing Content-Length on a datagram means "to the end".
pub fn message(bytes: Bytes, limits: &Limits) -> Result<Message, Malformed> {
    // §7.5: empty lines before the start line are ignored.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = if blank == 0 { bytes } else { bytes.slice(blank..) };
    if bytes.len() > LARGEST {
        return Err(Malformed { error: TOO_LARGE, request: None });
    }
    let head = Head::read(&bytes, limits);
    if head.bare_lf {
        let repaired = repair(&bytes, head.end);
        read(&repaired, Head::read(&repaired, limits), limits)
    } else {
        read(&bytes, head, limits)
    }
}

fn read(wire: &Bytes, mut head: Head, limits: &Limits) -> Result<Message, Malformed> {
    if wire.len() > limits.message {
        head.fail(TOO_LARGE);
    }
    if wire.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        // A malformed response is dropped; there is nobody to tell.
        response(wire, head).map(Message::Response).map_err(|error| Malformed { error, request: None })
    } else {
        request(wire, head).map(Message::Request)
    }
}

/// A start line and the header lines below it, read as far as they can be.
struct Head {
    headers: Headers,
    /// One past the text of the start line.
    start_line: usize,
    /// First byte of the body.
    end: usize,
    /// Some line ends without CR.
    bare_lf: bool,
    seen: Seen,
    /// The first thing found wrong with the lines as such.
    error: Option<ParseError>,
}

/// How often the headers occur that may occur once.
#[derive(Debug, Default)]
struct Seen {
    from: u32,
    to: u32,
    call_id: u32,
    cseq: u32,
    max_forwards: u32,
}

impl Head {
    fn read(wire: &Bytes, limits: &Limits) -> Self {
        let mut head = Self {
            headers: Headers::over(wire.clone()),
            start_line: 0,
            end: wire.len(),
            bare_lf: false,
            seen: Seen::default(),
            error: None,
        };
        let mut lines = Lines::new(wire);
        match lines.next() {
            Next::Line(start) => {
                head.start_line = start.end;
                head.headers.set_start_line(start.next);
                if start.end > limits.line {
                    head.fail(ParseError::with_status("start line", StatusCode::URI_TOO_LONG));
                }
            }
            Next::Body(_) | Next::Open => {
                head.fail(ParseError::new("start line"));
                return head;
            }
        }
        loop {
            match lines.next() {
                Next::Line(_) if head.headers.len() >= limits.headers => {
                    head.fail(ParseError::new("number of header lines"));
                    break;
                }
                Next::Line(line) => head.header(wire, line, limits),
                Next::Body(at) => {
                    head.end = at;
                    break;
                }
                Next::Open => {
                    head.fail(ParseError::new("header section"));
                    break;
                }
            }
        }
        head.bare_lf = lines.bare_lf;
        let section = wire.get(..head.end).unwrap_or_default();
        if memchr_iter(b'\r', section).count() != lines.crlf {
            head.fail(ParseError::new("line end"));
        }
        head
    }

    fn header(&mut self, wire: &[u8], at: line::Logical, limits: &Limits) {
        let text = wire.get(at.start..at.end).unwrap_or_default();
        if text.len() > limits.line {
            self.fail(ParseError::new("length of a header line"));
        }
        let Some(parts) = line::split(text) else { return self.fail(ParseError::new("header field")) };
        let count = match self.headers.push_wire(at.start, parts, at.next) {
            Name::From => &mut self.seen.from,
            Name::To => &mut self.seen.to,
            Name::CallId => &mut self.seen.call_id,
            Name::CSeq => &mut self.seen.cseq,
            Name::MaxForwards => &mut self.seen.max_forwards,
            _ => return,
        };
        *count += 1;
    }

    fn fail(&mut self, error: ParseError) {
        self.error.get_or_insert(error);
    }

    fn sound(&self) -> Result<(), ParseError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// §8.1.1, §16.3 step 1: the headers that every hop reads.
    fn check(&self, method: Option<&Method>) -> Result<(), ParseError> {
        let once = |count: u32, what| if count == 1 { Ok(()) } else { Err(ParseError::new(what)) };
        let value = |name| self.headers.get(name).unwrap_or_default();
        let via = self.headers.top(Name::Via).ok_or(ParseError::new("Via"))?;
        Via::parse(via)?;
        once(self.seen.from, "From")?;
        NameAddr::parse(value(Name::From))?;
        once(self.seen.to, "To")?;
        NameAddr::parse(value(Name::To))?;
        once(self.seen.call_id, "Call-ID")?;
        if value(Name::CallId).is_empty() {
            return Err(ParseError::new("Call-ID"));
        }
        once(self.seen.cseq, "CSeq")?;
        let cseq = message::cseq(&self.headers)?;
        if method.is_some_and(|method| *method != cseq.method) {
            return Err(ParseError::new("CSeq"));
        }
        if self.seen.max_forwards > 1 {
            return Err(ParseError::new("Max-Forwards"));
        }
        Ok(())
    }

    /// §18.3: what Content-Length says of the bytes below the header section.
    fn body(&self, wire: &Bytes) -> Result<Bytes, ParseError> {
        let there = wire.len().saturating_sub(self.end);
        let mut length = None;
        for value in self.headers.lines(Name::ContentLength) {
            let said = line::decimal(value).and_then(|said| usize::try_from(said).ok());
            let said = said.filter(|said| *said <= there && length.is_none_or(|other| other == *said));
            length = Some(said.ok_or(ParseError::new("Content-Length"))?);
        }
        Ok(wire.slice(self.end..self.end + length.unwrap_or(there)))
    }
}

fn request(wire: &Bytes, head: Head) -> Result<Request, Malformed> {
    let line = wire.get(..head.start_line).unwrap_or_default();
    let parsed = RequestLine::read(line);
    let Some(method) = parsed.as_ref().and_then(|parts| Method::parse_in(wire, parts.method)) else {
        let error = head.error.unwrap_or(ParseError::new("Request-Line"));
        return Err(Malformed { error, request: None });
    };
    let parts = parsed.expect("its method was just read");
    let checked = parts.check().and_then(|()| head.sound()).and_then(|()| head.check(Some(&method)));
    let body = checked.and_then(|()| head.body(wire));
    let uri = if parts.uri.is_empty() { Bytes::new() } else { wire.slice_ref(parts.uri) };
    match body {
        Ok(body) => Ok(Request { method, uri, headers: head.headers, body }),
        Err(error) => {
            // §17.1.1.3: nothing answers an ACK; without a Via there is no way back (§18.2.2).
            let answerable = method != Method::Ack && head.headers.get(Name::Via).is_some();
            let request = Request { method, uri, headers: head.headers, body: Bytes::new() };
            Err(Malformed { error, request: answerable.then(|| Box::new(request)) })
        }
    }
}

fn response(wire: &Bytes, head: Head) -> Result<Response, ParseError> {
    let (status, reason) = status_line(wire.get(..head.start_line).unwrap_or_default())?;
    head.sound()?;
    head.check(None)?;
    let body = head.body(wire)?;
    let reason = if reason.is_empty() { Bytes::new() } else { wire.slice_ref(reason) };
    Ok(Response { status, reason, headers: head.headers, body })
}

/// §7.1, §25.1: `Method SP Request-URI SP SIP-Version`, cut but not yet checked.
struct RequestLine<'a> {
    method: &'a [u8],
    uri: &'a [u8],
    version: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let (method, rest) = cut(line, memchr(b' ', line)?)?;
        let (uri, version) = memrchr(b' ', rest).and_then(|at| cut(rest, at)).unwrap_or((rest, b""));
        Some(Self { method, uri, version })
    }

    /// The Request-URI must be one absolute URI without white space; what it says is for those who use it.
    fn check(&self) -> Result<(), ParseError> {
        let clean =
            self.uri.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
        let scheme = self.uri.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_scheme = scheme.len() < self.uri.len()
            && scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if self.version.is_empty() || !clean {
            return Err(ParseError::new("Request-Line"));
        }
        version(self.version)?;
        if is_scheme { Ok(()) } else { Err(ParseError::new("Request-URI")) }
    }
}

/// §7.2: `SIP-Version SP Status-Code SP Reason-Phrase`; a missing last SP is forgiven.
pub(crate) fn status_line(line: &[u8]) -> Result<(StatusCode, &[u8]), ParseError> {
    let wrong = ParseError::new("Status-Line");
    let (first, rest) = memchr(b' ', line).and_then(|at| cut(line, at)).ok_or(wrong.clone())?;
    version(first)?;
    let (code, reason) = rest.split_at_checked(3).ok_or(wrong.clone())?;
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] if !reason.iter().any(|byte| matches!(byte, b'\r' | b'\n')) => reason,
        _ => return Err(wrong),
    };
    let code = line::decimal(code).and_then(|code| u16::try_from(code).ok()).and_then(StatusCode::from_wire);
    Ok((code.ok_or(wrong)?, reason))
}

/// §7.1: the version is compared without regard to case; another one of SIP is answered with 505 (§21.5.6).
fn version(text: &[u8]) -> Result<(), ParseError> {
    if text.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let name = text.get(..4).unwrap_or_default();
    let mut numbers = text.get(4..).unwrap_or_default().splitn(2, |byte| *byte == b'.');
    let mut is_number = || numbers.next().and_then(line::decimal).is_some();
    if name.eq_ignore_ascii_case(b"SIP/") && is_number() && is_number() {
        return Err(ParseError::with_status("SIP-Version", StatusCode::VERSION_NOT_SUPPORTED));
    }
    Err(ParseError::new("SIP-Version"))
}

/// What stands before and behind one byte.
fn cut(text: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The same message with CRLF wherever its header section had a bare LF.
fn repair(wire: &[u8], end: usize) -> Bytes {
    let (section, body) = wire.split_at_checked(end).unwrap_or((wire, b""));
    let mut out = Vec::with_capacity(wire.len() + memchr_iter(b'\n', section).count());
    let mut last = 0;
    for &byte in section {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out.extend_from_slice(body);
    out.into()
}

/// Positions in a message are kept in 32 bits; what hops add must fit as well.
const LARGEST: usize = 1 << 30;

const TOO_LARGE: ParseError = ParseError::with_status("message", StatusCode::ENTITY_TOO_LARGE);

#[cfg(test)]
mod tests;
