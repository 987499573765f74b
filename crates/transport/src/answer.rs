//! The stateless answer to a request that is no acceptable message, RFC 3261 §8.2.7 and §21.4.1. Pure.

use std::net::SocketAddr;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use sip::{Method, Name, ParseError, Request, Response, StatusCode, parse::Malformed};

/// The answer to what could not be read, if enough of it could be read to answer.
pub(crate) fn to_malformed(malformed: Malformed, source: SocketAddr) -> Option<Bytes> {
    let request = *malformed.request?;
    to_request(request, &malformed.error, source)
}

/// The answer to a request in which `error` was found; None for an ACK, which is never answered (RFC 3261 §17.1.1.3).
pub(crate) fn to_request(mut request: Request, error: &ParseError, source: SocketAddr) -> Option<Bytes> {
    if request.method == Method::Ack {
        return None;
    }
    // Retransmissions get the same tag: it is made of what stays the same in them (RFC 3261 §8.2.7).
    let tag = tag(&request);
    sip::via::stamp_received(&mut request, source, false);
    let mut response = Response::to(&request, error.status, Some(&tag));
    if error.status == BAD_REQUEST {
        // RFC 3261 §21.4.1: the phrase should say which part of the syntax is wrong.
        response.reason = Bytes::from(format!("Malformed {}", error.what));
    }
    Some(response.encode())
}

const BAD_REQUEST: StatusCode = StatusCode::new(400);

fn tag(request: &Request) -> String {
    let mut hash = Sha256::new();
    for name in [Name::CallId, Name::CSeq, Name::From] {
        hash.update(request.headers.get(name).unwrap_or_default());
        hash.update([0]);
    }
    hash.update(request.headers.top(Name::Via).unwrap_or_default());
    hash.finalize().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SocketAddr {
        "192.0.2.7:40000".parse().unwrap()
    }

    fn malformed(method: &str, branch: &str) -> Malformed {
        let text = format!(
            "{method} sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;rport;branch={branch}\r\n\
             From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 INFO\r\n\
             Content-Length: 0\r\n\r\n"
        );
        sip::parse::message(Bytes::from(text), &sip::parse::Limits::default()).unwrap_err()
    }

    fn answer(method: &str, branch: &str) -> Option<String> {
        to_malformed(malformed(method, branch), source())
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn the_answer_names_the_source_and_has_a_tag() {
        let answer = answer("MESSAGE", "z9hG4bK1").unwrap();
        assert!(answer.starts_with("SIP/2.0 400 Malformed "), "{answer}");
        assert!(answer.contains("received=192.0.2.7"), "{answer}");
        assert!(answer.contains("rport=40000"), "{answer}");
        assert!(answer.contains("To: <sip:b@example.com>;tag="), "{answer}");
    }

    #[test]
    fn a_retransmission_gets_the_same_answer() {
        assert_eq!(answer("MESSAGE", "z9hG4bK1"), answer("MESSAGE", "z9hG4bK1"));
        assert_ne!(answer("MESSAGE", "z9hG4bK1"), answer("MESSAGE", "z9hG4bK2"));
    }

    #[test]
    fn an_ack_is_never_answered() {
        assert_eq!(answer("ACK", "z9hG4bK1"), None);
    }
}
