use super::*;

fn block(lines: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.append_named(name, *value);
    }
    headers
}

fn text(headers: &Headers) -> String {
    let mut out = Vec::new();
    headers.pieces(|_| false, |piece| out.extend_from_slice(piece));
    String::from_utf8(out).unwrap()
}

fn values(headers: &Headers, name: Name) -> Vec<&str> {
    headers.values(name).map(|value| std::str::from_utf8(value).unwrap()).collect()
}

#[test]
fn names_in_any_case_and_compact() {
    for (spelling, name) in [
        ("v", Name::Via),
        ("VIA", Name::Via),
        ("f", Name::From),
        ("T", Name::To),
        ("i", Name::CallId),
        ("call-id", Name::CallId),
        ("m", Name::Contact),
        ("CONTACT", Name::Contact),
        ("l", Name::ContentLength),
        ("c", Name::ContentType),
        ("k", Name::Supported),
        ("o", Name::Event),
        ("cseq", Name::CSeq),
        ("max-breadth", Name::MaxBreadth),
        ("min-expires", Name::MinExpires),
        ("Viaa", Name::Other),
        ("Subject", Name::Other),
    ] {
        assert_eq!(Name::of(spelling.as_bytes()), name, "{spelling}");
    }
}

#[test]
fn every_name_is_read_as_itself() {
    use Name::*;
    for name in [
        Via,
        From,
        To,
        CallId,
        CSeq,
        MaxForwards,
        Contact,
        Route,
        RecordRoute,
        Path,
        ServiceRoute,
        ContentLength,
        ContentType,
        Expires,
        MinExpires,
        Require,
        ProxyRequire,
        Supported,
        Unsupported,
        Allow,
        Authorization,
        ProxyAuthorization,
        WwwAuthenticate,
        ProxyAuthenticate,
        RetryAfter,
        Date,
        Event,
        SubscriptionState,
        FlowTimer,
        MaxBreadth,
        PAssertedIdentity,
        PPreferredIdentity,
        Privacy,
        Warning,
        Server,
        UserAgent,
        Reason,
        Accept,
    ] {
        assert_eq!(Name::of(name.as_str().as_bytes()), name);
    }
}

#[test]
fn elements_respect_quotes_and_brackets() {
    let headers = block(&[("Contact", "\"A, \\\"B\" <sip:a@x;p=1,2>;q=1 , sip:b@y,"), ("m", ",<sip:c@z>")]);
    assert_eq!(values(&headers, Name::Contact), ["\"A, \\\"B\" <sip:a@x;p=1,2>;q=1", "sip:b@y", "<sip:c@z>"]);
}

#[test]
fn a_header_that_is_no_list_is_one_element() {
    let headers = block(&[("Authorization", "Digest a=\"b\", c=d"), ("Authorization", "Digest e=f")]);
    assert_eq!(values(&headers, Name::Authorization), ["Digest a=\"b\", c=d", "Digest e=f"]);
}

#[test]
fn popping_takes_one_element() {
    let mut headers = block(&[("v", "a , b,\r\n c"), ("Via", "d")]);
    assert!(headers.pop_top(Name::Via));
    assert_eq!(text(&headers), "v: b,\r\n c\r\nVia: d\r\n");
    assert!(headers.pop_top(Name::Via));
    assert!(headers.pop_top(Name::Via));
    assert_eq!(text(&headers), "Via: d\r\n");
    assert!(headers.pop_top(Name::Via));
    assert!(!headers.pop_top(Name::Via));
    assert_eq!(text(&headers), "");
}

#[test]
fn replacing_keeps_the_other_elements() {
    let mut headers = block(&[("v", "a, b"), ("To", "x")]);
    headers.replace_top(Name::Via, "c");
    headers.replace_top(Name::To, "y");
    headers.replace_top(Name::Route, "r");
    assert_eq!(text(&headers), "v: c, b\r\nRoute: r\r\nTo: y\r\n");
}

#[test]
fn a_new_line_stands_above_its_kind_and_below_via() {
    let mut headers = block(&[("Via", "1"), ("Via", "2"), ("To", "x"), ("Route", "r")]);
    headers.push_top(Name::Route, "q");
    headers.push_top(Name::Via, "0");
    headers.push_top(Name::RecordRoute, "e");
    assert_eq!(
        text(&headers),
        "Via: 0\r\nVia: 1\r\nVia: 2\r\nRecord-Route: e\r\nTo: x\r\nRoute: q\r\nRoute: r\r\n"
    );
    let mut empty = Headers::default();
    empty.push_top(Name::To, "x");
    empty.push_top(Name::Via, "1");
    assert_eq!(text(&empty), "Via: 1\r\nTo: x\r\n");
}

#[test]
fn set_leaves_one_line() {
    let mut headers = block(&[("Expires", "1"), ("To", "x"), ("Expires", "2")]);
    headers.set(Name::Expires, "3");
    headers.set(Name::Date, "now");
    assert_eq!(text(&headers), "Expires: 3\r\nTo: x\r\nDate: now\r\n");
}

#[test]
fn removing_by_name_and_by_spelling() {
    let mut headers = block(&[("s", "a"), ("SUBJECT", "b"), ("To", "x"), ("X-Mine", "c"), ("t", "y")]);
    assert_eq!(headers.get_named("subject"), Some(&b"a"[..]));
    assert_eq!(headers.get_named("to"), Some(&b"x"[..]));
    assert_eq!(headers.get_named("X-Yours"), None);
    assert_eq!(headers.remove_named("Subject"), 2);
    assert_eq!(headers.remove_named("x-mine"), 1);
    assert_eq!(headers.remove(Name::To), 2);
    assert_eq!(headers.iter().count(), 0);
}

#[test]
fn tokens_ignore_case() {
    let headers = block(&[("Supported", "path, Outbound"), ("k", "gruu")]);
    assert!(headers.has_token(Name::Supported, "outbound"));
    assert!(headers.has_token(Name::Supported, "GRUU"));
    assert!(!headers.has_token(Name::Supported, "out"));
    assert!(!headers.has_token(Name::Require, "path"));
}

#[test]
fn copies_keep_order_and_spelling() {
    let from = block(&[("v", "1"), ("To", "x"), ("Via", "2")]);
    let mut to = block(&[("From", "y")]);
    to.copy(&from, Name::Via);
    assert_eq!(text(&to), "From: y\r\nv: 1\r\nVia: 2\r\n");
    assert_eq!(values(&to, Name::Via), ["1", "2"]);
}

#[test]
fn a_value_cannot_leave_its_line() {
    let mut headers = Headers::default();
    headers.append(Name::Reason, "a\r\nRoute: x\nb\rc\r\n folded\r\n");
    assert_eq!(text(&headers), "Reason: a  Route: x b c\r\n folded\r\n");
    headers.replace_top(Name::Reason, "a\nb");
    assert_eq!(headers.get(Name::Reason), Some(&b"a b"[..]));
}
