//! A response from a request, RFC 3261 §8.2.6.

use bytes::Bytes;

use crate::{Headers, Name, NameAddr, Request, Response, StatusCode};

impl Response {
    /// §8.2.6.2: Via, From, To (with `to_tag` added when the request's To has none and `status` is not 100), Call-ID,
    /// CSeq copied, Content-Length 0. A 100 carries the request's Timestamp (§8.2.6.1).
    pub fn to(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let asked = &request.headers;
        let mut headers = Headers::beside(asked);
        headers.copy(asked, Name::Via);
        headers.copy_first(asked, Name::From);
        headers.copy_first(asked, Name::To);
        headers.copy_first(asked, Name::CallId);
        headers.copy_first(asked, Name::CSeq);
        if status == StatusCode::TRYING {
            headers.copy_named(asked, "Timestamp");
        } else if let Some(tag) = to_tag {
            add_tag(&mut headers, tag);
        }
        headers.append(Name::ContentLength, Bytes::from_static(b"0"));
        let reason = Bytes::from_static(status.reason().as_bytes());
        Self { status, reason, headers, body: Bytes::new() }
    }
}

/// An unreadable To is answered as it stands.
fn add_tag(headers: &mut Headers, tag: &str) {
    let Some(to) = headers.get(Name::To) else { return };
    if NameAddr::parse(to).map_or(true, |to| to.tag().is_some()) {
        return;
    }
    let mut tagged = Vec::with_capacity(to.len() + TAG.len() + tag.len());
    tagged.extend_from_slice(to);
    tagged.extend_from_slice(TAG);
    tagged.extend_from_slice(tag.as_bytes());
    headers.replace_top(Name::To, tagged);
}

const TAG: &[u8] = b";tag=";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{self, Limits};
    use crate::{Message, Method};

    fn request(to: &str) -> Request {
        let text = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/UDP p.example.com;branch=z9hG4bK2\r\n\
             Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nTimestamp: 54\r\n\
             From: <sip:a@example.com>;tag=1\r\nTo: {to}\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\
             Record-Route: <sip:p.example.com;lr>\r\nContent-Length: 0\r\n\r\n"
        );
        match parse::message(text.into(), &Limits::default()) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_final_answer_repeats_five_headers_and_tags_to() {
        let answer = Response::to(&request("Bob <sip:bob@example.com>"), StatusCode::new(486), Some("t1"));
        assert_eq!(
            answer.encode(),
            "SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP p.example.com;branch=z9hG4bK2\r\n\
             Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: Bob <sip:bob@example.com>;tag=t1\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(answer.to_tag(), Some("t1"));
    }

    #[test]
    fn a_tag_that_is_there_stays() {
        let answer = Response::to(&request("<sip:bob@example.com>;tag=b"), StatusCode::OK, Some("t1"));
        assert_eq!(answer.to_tag(), Some("b"));
    }

    #[test]
    fn a_100_has_the_timestamp_and_no_tag() {
        let answer = Response::to(&request("<sip:bob@example.com>"), StatusCode::TRYING, Some("t1"));
        assert_eq!(answer.to_tag(), None);
        assert_eq!(answer.headers.get_named("Timestamp"), Some(&b"54"[..]));
        assert_eq!(answer.cseq().unwrap().method, Method::Invite);
    }

    #[test]
    fn a_request_made_here_is_answered_too() {
        let mut options = Request::new(Method::Options, "sip:a@b");
        options.headers.append(Name::Via, "SIP/2.0/UDP a;branch=z9hG4bK1");
        options.headers.append(Name::To, "sip:a@b");
        let answer = Response::to(&options, StatusCode::OK, Some("t"));
        assert_eq!(answer.headers.get(Name::To), Some(&b"sip:a@b;tag=t"[..]));
        assert!(answer.top_via().is_some());
    }
}
