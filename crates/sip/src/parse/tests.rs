use super::*;

const REST: &str = "Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
    To: <sip:b@example.com>\r\nCall-ID: c1\r\nCSeq: 7 OPTIONS\r\n";

fn parse(text: impl AsRef<[u8]>) -> Result<Message, Malformed> {
    message(Bytes::copy_from_slice(text.as_ref()), &Limits::default())
}

fn accepted(text: impl AsRef<[u8]>) -> Request {
    match parse(&text) {
        Ok(Message::Request(request)) => request,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text.as_ref())),
    }
}

/// Status and whether there is a request to answer.
fn refused(text: impl AsRef<[u8]>) -> (u16, bool) {
    let malformed = parse(&text).expect_err(&String::from_utf8_lossy(text.as_ref()));
    (malformed.error.status.code(), malformed.request.is_some())
}

/// An OPTIONS with this start line.
fn started(line: &str) -> String {
    format!("{line}\r\n{REST}\r\n")
}

/// An OPTIONS in which the line that starts with `name` is replaced by `with`.
fn changed(name: &str, with: &str) -> String {
    let lines: String =
        REST.split_inclusive('\n').map(|line| if line.starts_with(name) { with } else { line }).collect();
    assert_ne!(lines, REST);
    format!("OPTIONS sip:b@example.com SIP/2.0\r\n{lines}\r\n")
}

/// An OPTIONS with more below the mandatory headers.
fn with(more: &str) -> String {
    format!("OPTIONS sip:b@example.com SIP/2.0\r\n{REST}{more}")
}

#[test]
fn a_request() {
    let request = accepted(with("Content-Length: 2\r\n\r\nhi"));
    assert_eq!(request.method, Method::Options);
    assert_eq!(request.uri, "sip:b@example.com");
    assert_eq!(request.body, "hi");
    assert_eq!(request.call_id(), b"c1");
    assert_eq!(request.cseq().unwrap().number, 7);
    assert_eq!(request.encode(), with("Content-Length: 2\r\n\r\nhi"));
}

#[test]
fn a_response_with_any_phrase() {
    for line in ["SIP/2.0 200 OK", "SIP/2.0 699 ", "SIP/2.0 100", "sip/2.0 486 \u{411}\u{443}"] {
        let text = format!("{line}\r\n{REST}Content-Length: 0\r\n\r\n");
        let response = parse(&text).unwrap();
        assert!(matches!(response, Message::Response(_)));
        assert_eq!(response.encode(), text);
    }
}

#[test]
fn a_response_line_that_is_none_is_dropped() {
    for line in [
        "SIP/2.0 700 x",
        "SIP/2.0 099 x",
        "SIP/2.0 4294967301 x",
        "SIP/2.0 20 x",
        "SIP/2.0 2x0 x",
        "SIP/2.0  200 OK",
        "SIP/7.0 200 OK",
        "SIP/2.0",
        "SIP/2.0 200OK",
        "SIP/2.0 200 O\r\n K",
    ] {
        assert!(!refused(started(line)).1, "{line}");
    }
}

#[test]
fn unknown_methods_and_schemes_are_values() {
    let text = started("NEWMETHOD nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0")
        .replace("OPTIONS", "NEWMETHOD");
    let request = accepted(&text);
    assert_eq!(request.method.as_str(), "NEWMETHOD");
    assert_eq!(request.uri, "nobodyKnowsThisScheme:totallyopaquecontent");
}

#[test]
fn empty_lines_before_the_start_line_are_ignored() {
    assert_eq!(accepted(format!("\r\n\r\n{}", with("\r\n"))).method, Method::Options);
}

#[test]
fn request_lines_that_are_none() {
    for line in [
        "OPTIONS  sip:b@example.com SIP/2.0",
        "OPTIONS sip:b@example.com  SIP/2.0",
        "OPTIONS sip:b@example.com SIP/2.0 ",
        "OPTIONS sip:b@example.com; lr SIP/2.0",
        "OPTIONS <sip:b@example.com> SIP/2.0",
        "OPTIONS sip:b@example.com",
        "OPTIONS sip:b@example.com SIP/2",
        "OPTIONS sip:b@example.com HTTP/1.1",
        "OPTIONS * SIP/2.0",
        "OPTIONS sip:b\u{e9}@example.com SIP/2.0",
        "OPTIONS sip:b@example.com\r\n  SIP/2.0",
    ] {
        assert_eq!(refused(started(line)), (400, true), "{line}");
    }
    assert_eq!(refused(started("OP/TIONS sip:b@example.com SIP/2.0")), (400, false));
    assert_eq!(refused(started(" OPTIONS sip:b@example.com SIP/2.0")), (400, false));
    assert_eq!(refused(started("OPTIONS")), (400, false));
}

#[test]
fn another_version_is_505() {
    assert_eq!(refused(started("OPTIONS sip:b@example.com SIP/7.0")), (505, true));
    assert_eq!(refused(started("OPTIONS sip:b@example.com sip/2.10")), (505, true));
    assert_eq!(accepted(started("OPTIONS sip:b@example.com sip/2.0")).method, Method::Options);
}

#[test]
fn mandatory_headers_occur_once() {
    for name in ["From", "To", "Call-ID", "CSeq"] {
        assert_eq!(refused(changed(name, "")), (400, true), "no {name}");
        let line = REST.split_inclusive('\n').find(|line| line.starts_with(name)).unwrap();
        assert_eq!(refused(changed(name, &line.repeat(2))), (400, true), "two {name}");
    }
    assert_eq!(refused(changed("Call-ID", "Call-ID: \r\n")), (400, true));
    assert_eq!(refused(with("Max-Forwards: 70\r\nMax-Forwards: 70\r\n\r\n")), (400, true));
    assert_eq!(refused(changed("Via", "")), (400, false));
}

#[test]
fn unreadable_mandatory_headers() {
    for (name, line) in [
        ("CSeq", "CSeq: 2147483648 OPTIONS\r\n"),
        ("CSeq", "CSeq: 36893488147419103232 OPTIONS\r\n"),
        ("CSeq", "CSeq: 7 INVITE\r\n"),
        ("CSeq", "CSeq: 7 options\r\n"),
        ("CSeq", "CSeq: 7OPTIONS\r\n"),
        ("CSeq", "CSeq: OPTIONS\r\n"),
        ("To", "To: \"Mr. J. User <sip:j.user@example.com>\r\n"),
        ("From", "From: <sip:a@example.com\r\n"),
        ("Via", "Via: nonsense\r\n"),
    ] {
        assert_eq!(refused(changed(name, line)), (400, true), "{line}");
    }
    assert!(parse(changed("CSeq", "CSeq: 2147483647\r\n\tOPTIONS\r\n")).is_ok());
}

#[test]
fn an_ack_is_never_answered() {
    let text = started("ACK sip:b@example.com SIP/7.0").replace("OPTIONS", "ACK");
    assert_eq!(refused(text), (505, false));
}

#[test]
fn content_length_cuts_a_datagram() {
    assert_eq!(accepted(with("Content-Length: 5\r\n\r\nhello-EXTRA")).body, "hello");
    assert_eq!(accepted(with("\r\nhello-EXTRA")).body, "hello-EXTRA");
    assert_eq!(accepted(with("l: 2\r\nContent-Length: 2\r\n\r\nhi")).body, "hi");
    for length in ["3", "-2", "x", "", "99999999999999999999999", "0x2", "+2"] {
        assert_eq!(refused(with(&format!("Content-Length: {length}\r\n\r\nhi"))), (400, true), "{length}");
    }
    assert_eq!(refused(with("Content-Length: 2\r\nl: 1\r\n\r\nhi")), (400, true));
}

/// §18.3: a response whose body is cut is for nobody.
#[test]
fn a_response_that_is_cut_is_dropped() {
    let of = |body: &str| format!("SIP/2.0 200 OK\r\n{REST}Content-Length: 3\r\n\r\n{body}");
    assert_eq!(refused(of("hi")), (400, false));
    assert!(parse(of("hi!")).is_ok());
}

#[test]
fn folded_and_spaced_headers() {
    let request = accepted(with("Subject  : I know\r\n you're\r\n\tthere \r\n\r\n"));
    assert_eq!(request.headers.get_named("subject"), Some(&b"I know\r\n you're\r\n\tthere"[..]));
}

#[test]
fn lines_that_are_no_headers() {
    for line in ["no colon", ": no name", "no token: x", "\u{e9}: x"] {
        assert_eq!(refused(with(&format!("{line}\r\n\r\n"))), (400, true), "{line}");
    }
}

#[test]
fn a_section_that_does_not_end() {
    assert_eq!(refused(with("")), (400, true));
    assert_eq!(refused(with("Subject: x")), (400, true));
    for nothing in ["", "\r\n", "\r\n\r\n", "OPTIONS sip:b@example.com SIP/2.0"] {
        assert_eq!(refused(nothing), (400, false));
    }
}

#[test]
fn a_bare_line_feed_leaves_as_crlf() {
    let clean = with("Content-Length: 3\r\nSubject: a\r\n b\r\n\r\nx\ny");
    let bare = clean.replace("\r\n", "\n");
    assert_eq!(accepted(&bare).encode(), clean);
    // Only one line end of many is bare, and the body is not touched.
    let mixed = clean.replacen("tag=1\r\n", "tag=1\n", 1);
    assert_eq!(accepted(&mixed).encode(), clean);
}

#[test]
fn a_bare_carriage_return_is_refused() {
    assert_eq!(refused(with("Subject: x\rP-Asserted-Identity: <sip:boss@example.com>\r\n\r\n")), (400, true));
    assert_eq!(refused(with("Subject: x\r\r\n\r\n")), (400, true));
    assert_eq!(accepted(with("\r\nin the body\ris fine")).body, "in the body\ris fine");
}

#[test]
fn any_other_byte_passes() {
    let mut text = with("Subject: ").into_bytes();
    text.extend_from_slice(b"\xc3\xa9 \xff\xfe\r\n\r\n\x00\x01");
    let request = accepted(&text);
    assert_eq!(request.headers.get_named("Subject"), Some(&b"\xc3\xa9 \xff\xfe"[..]));
    assert_eq!(request.body, &b"\x00\x01"[..]);
}

#[test]
fn limits() {
    let limits = Limits { message: 400, headers: 6, line: 60 };
    let status = |text: String| {
        let malformed = message(text.into(), &limits).unwrap_err();
        (malformed.error.status.code(), malformed.request.is_some())
    };
    assert!(message(with("Subject: x\r\n\r\n").into(), &limits).is_ok());
    assert_eq!(status(with(&format!("\r\n{}", "x".repeat(400)))), (413, true));
    assert_eq!(status(with("A: 1\r\nB: 2\r\n\r\n")), (400, true));
    assert_eq!(status(with(&format!("Subject: {}\r\n\r\n", "x".repeat(60)))), (400, true));
    assert_eq!(status(started(&format!("OPTIONS sip:{}@b SIP/2.0", "x".repeat(60)))), (414, true));
}

#[test]
fn what_cannot_be_read_is_answered_with_what_is_there() {
    let text = changed("CSeq", "CSeq: 7 INVITE\r\nFrom: <sip:second@example.com>\r\n");
    let request = parse(text).unwrap_err().request.unwrap();
    let answer = Response::to(&request, StatusCode::BAD_REQUEST, Some("t"));
    assert_eq!(
        answer.encode(),
        "SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=t\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_changed_start_line_is_written_anew() {
    let mut request = accepted(started("OPTIONS sip:b@example.com sip/2.0"));
    request.uri = Bytes::from_static(b"sip:b");
    let encoded = request.encode();
    assert!(encoded.starts_with(b"OPTIONS sip:b SIP/2.0\r\nVia: "), "{encoded:?}");
}
