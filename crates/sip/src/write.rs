//! Message → bytes.
//!
//! Untouched lines leave as they came, in one piece with their neighbours. What does not agree with the body is the
//! one thing put right: a missing or wrong Content-Length (RFC 3261 §18.3, §20.14).

use bytes::Bytes;

use crate::{Headers, Name, Request, Response, line, parse};

/// The bytes of a request.
pub(crate) fn request(request: &Request) -> Bytes {
    let method = request.method.as_str().as_bytes();
    let version = received_version(request.headers.start_line(), method, &request.uri).unwrap_or(VERSION_END);
    assemble(&[method, b" ", &request.uri, b" ", version], &request.headers, &request.body)
}

/// The bytes of a response.
pub(crate) fn response(response: &Response) -> Bytes {
    let received = response.headers.start_line();
    let (headers, body) = (&response.headers, &response.body);
    let unchanged = received
        .strip_suffix(b"\r\n")
        .and_then(|line| parse::status_line(line).ok())
        .is_some_and(|(status, reason)| status == response.status && reason == response.reason);
    if unchanged {
        return assemble(&[received], headers, body);
    }
    let mut room = [0; DIGITS];
    let code = digits(response.status.code().into(), &mut room);
    assemble(&[b"SIP/2.0 ", code, b" ", &response.reason, b"\r\n"], headers, body)
}

/// `SIP/2.0` as the peer spelled it, with the line end, if method and Request-URI are still the peer's.
fn received_version<'a>(line: &'a [u8], method: &[u8], uri: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(method)?.strip_prefix(b" ")?.strip_prefix(uri)?.strip_prefix(b" ")?;
    (rest.len() == VERSION_END.len()).then_some(rest)
}

fn assemble(start: &[&[u8]], headers: &Headers, body: &[u8]) -> Bytes {
    let mut room = [0; DIGITS];
    let length: [&[u8]; 3] = if says_length(headers, body.len()) {
        [b"", b"", b""]
    } else {
        [b"Content-Length: ", digits(body.len(), &mut room), b"\r\n"]
    };
    let skip = |name| name == Name::ContentLength && !length[0].is_empty();
    let mut size = body.len() + 2;
    start.iter().chain(&length).for_each(|piece| size += piece.len());
    headers.pieces(skip, |piece| size += piece.len());

    let mut out = Vec::with_capacity(size);
    start.iter().for_each(|piece| out.extend_from_slice(piece));
    headers.pieces(skip, |piece| out.extend_from_slice(piece));
    length.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.into()
}

/// There is a Content-Length, and every one of them is `length`.
fn says_length(headers: &Headers, length: usize) -> bool {
    let mut found = false;
    for value in headers.lines(Name::ContentLength) {
        found = line::decimal(value).and_then(|said| usize::try_from(said).ok()) == Some(length);
        if !found {
            break;
        }
    }
    found
}

/// A number in decimal digits, without an allocation.
fn digits(mut number: usize, room: &mut [u8; DIGITS]) -> &[u8] {
    let mut start = room.len();
    for place in room.iter_mut().rev() {
        *place = b"0123456789"[number % 10];
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    &room[start..]
}

const VERSION_END: &[u8] = b"SIP/2.0\r\n";

/// Digits of the largest `usize`.
const DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, StatusCode};

    #[test]
    fn content_length_is_added_and_put_right() {
        let mut options = Request::new(Method::Options, "sip:a@b");
        assert_eq!(options.encode(), "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n");
        options.headers.append(Name::ContentLength, "0");
        options.headers.append(Name::To, "x");
        options.body = Bytes::from_static(b"hello, hello");
        assert_eq!(
            options.encode(),
            "OPTIONS sip:a@b SIP/2.0\r\nTo: x\r\nContent-Length: 12\r\n\r\nhello, hello"
        );
    }

    #[test]
    fn a_response_line() {
        let mut response = Response::new(StatusCode::new(404));
        assert_eq!(response.encode(), "SIP/2.0 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        response.reason = Bytes::new();
        assert_eq!(response.encode(), "SIP/2.0 404 \r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn numbers() {
        let mut room = [0; DIGITS];
        assert_eq!(digits(0, &mut room), b"0");
        assert_eq!(digits(907, &mut room), b"907");
        assert_eq!(digits(usize::MAX, &mut room), usize::MAX.to_string().as_bytes());
    }
}
