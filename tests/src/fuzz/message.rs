//! A datagram: RFC 3261 §7 and §18.3, whatever it holds.
//!
//! What is accepted leaves as it came, is accepted by the next hop as the same lines, and can be answered; what is refused
//! can be answered when it says so. No view of any header panics.

use bytes::Bytes;
use sip::parse::{self, Limits, Malformed};
use sip::{
    Aor, CSeq, Contact, Contacts, Headers, Message, Method, Name, NameAddr, Params, Request, Response,
    StatusCode, Summary, Uri, Via, digest, via,
};

/// Reads a datagram and does to it what hops do.
pub fn check(data: &[u8]) {
    match read(data) {
        Ok(message) => {
            leaves_as_it_came(data, &message);
            is_accepted_again(&message);
            is_restored(&message);
            look(message.headers());
            _ = Summary::of(&message);
            if let Message::Request(request) = &message {
                look_at(request);
                is_answered(request);
            }
        }
        Err(Malformed { request: Some(request), .. }) => {
            // RFC 3261 §17.1.1.3, §18.2.2: an ACK has no answer, and without a Via there is no way back.
            assert!(request.method != Method::Ack && request.headers.get(Name::Via).is_some());
            look(&request.headers);
            look_at(&request);
            _ = Response::to(&request, StatusCode::BAD_REQUEST, Some("tag")).encode();
        }
        Err(Malformed { request: None, .. }) => {}
    }
}

fn read(data: &[u8]) -> Result<Message, Malformed> {
    parse::message(Bytes::copy_from_slice(data), &Limits::default())
}

fn body(message: &Message) -> &Bytes {
    match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    }
}

/// Byte for byte, unless something had to be put right: a bare LF, or a Content-Length that is missing or short.
fn leaves_as_it_came(data: &[u8], message: &Message) {
    let blank = data.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (came, leaves, body) = (&data[blank..], message.encode(), body(message));
    assert!(leaves.ends_with(body), "the body is never touched");
    let length = body.len().to_string();
    let mut lengths = message.headers().lines(Name::ContentLength).peekable();
    let says_length = lengths.peek().is_some() && lengths.all(|value| value == length.as_bytes());
    let has_bare_lf = came.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
    if says_length && !has_bare_lf {
        assert!(came.starts_with(&leaves), "an untouched message leaves as it came");
    }
}

fn is_accepted_again(message: &Message) {
    let bytes = message.encode();
    let again = read(&bytes).expect("what one hop accepts, the next accepts");
    assert_eq!(lines(message), lines(&again));
    assert_eq!(body(message), body(&again));
    assert_eq!(again.encode(), bytes);
    match (message, &again) {
        (Message::Request(one), Message::Request(two)) => {
            assert_eq!((&one.method, &one.uri), (&two.method, &two.uri));
        }
        (Message::Response(one), Message::Response(two)) => {
            assert_eq!((one.status, &one.reason), (two.status, &two.reason));
        }
        _ => panic!("a request stays a request"),
    }
}

/// All header lines but those that a hop may put right.
fn lines(message: &Message) -> Vec<(Name, &[u8], &[u8])> {
    message.headers().iter().filter(|(name, ..)| *name != Name::ContentLength).collect()
}

/// A hop that puts something on top and takes it off again leaves no trace; popping takes one element at a time.
fn is_restored(message: &Message) {
    let before = message.encode();
    let mut hop = message.clone();
    for (name, value) in [
        (Name::Via, via::compose("TLS", "[2001:db8::1]:5061", "z9hG4bKx")),
        (Name::Route, "<sip:here;lr>".into()),
        (Name::Path, "<sip:token@here;lr;ob>".into()),
    ] {
        hop.headers_mut().push_top(name, value);
        assert!(hop.headers_mut().pop_top(name));
    }
    assert_eq!(hop.encode(), before);
    for name in [Name::Via, Name::Route, Name::RecordRoute, Name::Path, Name::Contact] {
        let mut expected: Vec<Vec<u8>> = message.headers().values(name).map(<[u8]>::to_vec).collect();
        while !expected.is_empty() {
            assert!(hop.headers_mut().pop_top(name));
            expected.remove(0);
            let left: Vec<&[u8]> = hop.headers().values(name).collect();
            assert_eq!(left, expected);
        }
    }
}

/// Reads every header field as everything that it might be.
fn look(headers: &Headers) {
    for (name, spelling, value) in headers.iter() {
        assert!(headers.get_named(std::str::from_utf8(spelling).expect("a token")).is_some());
        if let Ok(via) = Via::parse(value) {
            _ = (via.branch(), via.is_rfc3261(), via.received(), via.rport());
        }
        if let Ok(addr) = NameAddr::parse(value) {
            _ = (addr.tag(), addr.params.iter().count(), addr.parsed_uri().is_ok());
        }
        if let Ok(uri) = Uri::parse(value) {
            _ = (uri.equivalent(&uri), uri.host_port(), uri.is_loose_router(), Aor::of(&uri).is_ok());
        }
        if let Ok(contact) = Contact::parse(value) {
            _ = (contact.expires(), contact.q(), contact.instance(), contact.reg_id());
        }
        _ = CSeq::parse(value);
        _ = std::str::from_utf8(value).map(Params::parse);
        _ = digest::Credentials::parse(value).map(|credentials| credentials.verify("00", &Method::Register));
        _ = (headers.values(name).count(), headers.has_token(name, "path"));
    }
    _ = Contacts::parse(headers.values(Name::Contact));
}

fn look_at(request: &Request) {
    _ = (request.cseq().is_ok(), request.max_forwards().is_ok(), request.expires());
    _ = (request.to_tag(), request.from_tag(), request.contacts().is_ok());
    _ = (request.request_uri().is_ok(), request.top_route().is_some_and(|route| route.is_ok()));
}

/// RFC 3261 §8.2.6: an accepted request can be answered, and its sender understands the answer.
fn is_answered(request: &Request) {
    if request.method == Method::Ack {
        return;
    }
    let mut request = request.clone();
    via::stamp_received(&mut request, "[2001:db8::2]:5060".parse().expect("an address"), true);
    let answer = Response::to(&request, StatusCode::OK, Some("tag"));
    match read(&answer.encode()).expect("an answer to an accepted request is acceptable") {
        Message::Response(read) => {
            assert_eq!((read.call_id(), read.cseq()), (request.call_id(), request.cseq()));
            let via = read.top_via().expect("a Via").expect("the one of the request");
            assert_eq!(via.branch(), request.top_via().expect("a Via").branch());
        }
        Message::Request(_) => panic!("an answer is a response"),
    }
}
