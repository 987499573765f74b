//! Messages for the tests of this crate.

use sip::{Message, Request, Response, StatusCode, parse, via};

/// A request from its start line and extra header lines (each with its line end); everything else is filled
/// in.
pub(crate) fn request(method: &str, uri: &str, extra: &str) -> Request {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP ua.example.org;branch=z9hG4bKua\r\nFrom: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n{extra}Content-Length: 4\r\n\r\nbody"
    );
    match parse::message(text.into(), &parse::Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// What comes back for a forwarded copy: our Via is on top again.
pub(crate) fn response(copy: &Request, code: u16) -> Response {
    let mut response = Response::to(copy, StatusCode::new(code), Some("callee"));
    response.headers.push_top(sip::Name::Via, via::compose("TLS", "proxy.example.com", "z9hG4bKus.0"));
    response
}

/// All values of a header, as text.
pub(crate) fn values(headers: &sip::Headers, name: sip::Name) -> Vec<String> {
    headers.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
