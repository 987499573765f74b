//! Messages as a phone reads and writes them: with rsip alone, through its untyped headers.

use rsip::headers::UntypedHeader;
use rsip::{Header, Headers, Method, SipMessage, StatusCode, Uri, Version};

/// A request as text.
///
/// # Panics
///
/// When rsip cannot write the URI: a mistake of the script.
pub fn request(method: Method, uri: &str, headers: Vec<Header>) -> String {
    let (known, gr) = without_gr(uri);
    let read = Uri::try_from(known).unwrap_or_else(|error| panic!("rsip cannot read `{known}`: {error}"));
    let headers = headers.into();
    let text =
        rsip::Request { method, uri: read, version: Version::V2, headers, body: Vec::new() }.to_string();
    if gr.is_empty() { text } else { text.replacen(" SIP/2.0\r\n", &format!("{gr} SIP/2.0\r\n"), 1) }
}

/// A URI before its `gr` parameter, and from there on. rsip knows no colon in a parameter's value, as a public GRUU has
/// it (RFC 3261 §25.1 paramchar).
pub(crate) fn without_gr(uri: &str) -> (&str, &str) {
    uri.find(";gr=").map_or((uri, ""), |at| uri.split_at(at))
}

/// A response as text.
pub fn response(status: u16, headers: Vec<Header>) -> String {
    let status_code = StatusCode::from(status);
    rsip::Response { status_code, version: Version::V2, headers: headers.into(), body: Vec::new() }
        .to_string()
}

/// A header by name.
pub fn header(name: &str, value: impl Into<String>) -> Header {
    let value = value.into();
    match name {
        "Via" => Header::Via(value.into()),
        "From" => Header::From(value.into()),
        "To" => Header::To(value.into()),
        "Call-ID" => Header::CallId(value.into()),
        "CSeq" => Header::CSeq(value.into()),
        "Contact" => Header::Contact(value.into()),
        "Route" => Header::Route(value.into()),
        "Record-Route" => Header::RecordRoute(value.into()),
        "Max-Forwards" => Header::MaxForwards(value.into()),
        "Expires" => Header::Expires(value.into()),
        "Supported" => Header::Supported(value.into()),
        "Authorization" => Header::Authorization(value.into()),
        "Proxy-Authorization" => Header::ProxyAuthorization(value.into()),
        "Content-Length" => Header::ContentLength(value.into()),
        "User-Agent" => Header::UserAgent(value.into()),
        other => Header::Other(other.to_owned(), value),
    }
}

/// The header lines of a message.
pub fn headers(message: &SipMessage) -> &Headers {
    match message {
        SipMessage::Request(request) => &request.headers,
        SipMessage::Response(response) => &response.headers,
    }
}

/// The values of a header, line by line.
pub fn lines<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers
        .iter()
        .map(parts)
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// The first line of a header; empty when there is none.
pub fn first<'a>(headers: &'a Headers, name: &str) -> &'a str {
    lines(headers, name).first().copied().unwrap_or("")
}

/// The elements of a header that is a list, over all lines.
pub fn elements(headers: &Headers, name: &str) -> Vec<String> {
    lines(headers, name).into_iter().flat_map(split).collect()
}

/// Splits a line at the commas that stand neither in quotes nor in angle brackets.
fn split(line: &str) -> Vec<String> {
    let (mut quoted, mut bracketed) = (false, false);
    let pieces = line.split(move |c| {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' => return !quoted && !bracketed,
            _ => {}
        }
        false
    });
    pieces.map(|piece| piece.trim().to_owned()).collect()
}

/// The URI of a name-addr.
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// `host[:port]` of a SIP URI.
pub fn host_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split([';', '?', '>']).next().unwrap_or(rest)
}

/// The user of a SIP URI.
pub fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// A parameter behind the URI; quotes are taken off.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
    params.split(';').skip(1).find_map(|param| {
        let (own, value) = param.split_once('=').unwrap_or((param, ""));
        own.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Number and method of a CSeq.
pub fn cseq(headers: &Headers) -> (u32, String) {
    let mut words = first(headers, "CSeq").split_whitespace();
    let number = words.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (number, words.next().unwrap_or("").to_owned())
}

/// The branch of the top Via.
pub fn branch(headers: &Headers) -> &str {
    param(first(headers, "Via"), "branch").unwrap_or("")
}

fn parts(header: &Header) -> (&str, &str) {
    match header {
        Header::AuthenticationInfo(h) => ("Authentication-Info", h.value()),
        Header::Via(h) => ("Via", h.value()),
        Header::From(h) => ("From", h.value()),
        Header::To(h) => ("To", h.value()),
        Header::CallId(h) => ("Call-ID", h.value()),
        Header::CSeq(h) => ("CSeq", h.value()),
        Header::Contact(h) => ("Contact", h.value()),
        Header::Route(h) => ("Route", h.value()),
        Header::RecordRoute(h) => ("Record-Route", h.value()),
        Header::MaxForwards(h) => ("Max-Forwards", h.value()),
        Header::Expires(h) => ("Expires", h.value()),
        Header::MinExpires(h) => ("Min-Expires", h.value()),
        Header::RetryAfter(h) => ("Retry-After", h.value()),
        Header::Supported(h) => ("Supported", h.value()),
        Header::Require(h) => ("Require", h.value()),
        Header::Unsupported(h) => ("Unsupported", h.value()),
        Header::Allow(h) => ("Allow", h.value()),
        Header::Event(h) => ("Event", h.value()),
        Header::SubscriptionState(h) => ("Subscription-State", h.value()),
        Header::ContentType(h) => ("Content-Type", h.value()),
        Header::Date(h) => ("Date", h.value()),
        Header::WwwAuthenticate(h) => ("WWW-Authenticate", h.value()),
        Header::ProxyAuthenticate(h) => ("Proxy-Authenticate", h.value()),
        Header::Authorization(h) => ("Authorization", h.value()),
        Header::ProxyAuthorization(h) => ("Proxy-Authorization", h.value()),
        Header::Other(name, value) => (name, value),
        _ => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_outside_of_quotes_and_brackets() {
        let headers = Headers::from(vec![
            header("Record-Route", "<sip:a,b@p1;lr>, \"x, y\" <sip:p2;lr>"),
            header("Record-Route", "<sip:p3;lr>;z=1"),
        ]);
        let elements = elements(&headers, "record-route");
        assert_eq!(elements, ["<sip:a,b@p1;lr>", "\"x, y\" <sip:p2;lr>", "<sip:p3;lr>;z=1"]);
        assert_eq!(uri_of(&elements[1]), "sip:p2;lr");
        assert_eq!(host_of(uri_of(&elements[0])), "p1");
    }

    #[test]
    fn parameters_are_those_behind_the_uri() {
        let value = "<sip:a@h;tag=no>;tag=yes;+sip.instance=\"<urn:uuid:1>\"";
        assert_eq!(param("<sip:a@h;tag=no>;tag=yes", "tag"), Some("yes"));
        assert_eq!(param("<sip:a@h;tag=no>", "tag"), None);
        assert_eq!(user_of(uri_of(value)), "a");
        assert_eq!(param("SIP/2.0/UDP h:5060;rport;branch=z9hG4bK1", "branch"), Some("z9hG4bK1"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = request(
            Method::Invite,
            "sip:bob@example.com",
            vec![
                header("Via", "SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bKa"),
                header("CSeq", "7 INVITE"),
                header("Path", "<sip:x@edge;lr>"),
            ],
        );
        let message = SipMessage::try_from(text.as_bytes()).unwrap();
        let headers = headers(&message);
        assert_eq!(branch(headers), "z9hG4bKa");
        assert_eq!(cseq(headers), (7, "INVITE".to_owned()));
        assert_eq!(first(headers, "path"), "<sip:x@edge;lr>");
    }
}
