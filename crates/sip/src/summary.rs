//! A message in one line, for logs: what it is and where it goes, and nothing about who talks to whom.

use crate::{Message, Name, NameAddr, Scheme, Uri, Via};

/// What a log may say about a message. User parts, display names and bodies are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The start line: `INVITE sip:***@example.com` or `200 OK`.
    pub start: String,
    /// CSeq, which says what a response answers.
    pub cseq: String,
    /// Call-ID.
    pub call_id: String,
    /// The sent-by of the top Via: who sent the request, or gets the response.
    pub via: Option<String>,
    /// The host of the top Route: where a request goes next.
    pub route: Option<String>,
    /// The host of the top Path: the way back to the UA that registers (RFC 3327).
    pub path: Option<String>,
}

impl Summary {
    /// Of this message.
    pub fn of(message: &Message) -> Self {
        let headers = message.headers();
        let text = |name| String::from_utf8_lossy(headers.get(name).unwrap_or_default()).into_owned();
        let host = |name| {
            let addr = NameAddr::parse(headers.top(name)?).ok()?;
            Some(addr.parsed_uri().ok()?.host_port().to_owned())
        };
        let start = match message {
            Message::Request(request) => {
                let uri = request.request_uri().map_or_else(|_| "?".to_owned(), |uri| without_user(&uri));
                format!("{} {uri}", request.method)
            }
            Message::Response(response) => {
                format!("{} {}", response.status, String::from_utf8_lossy(&response.reason))
            }
        };
        let via = headers.top(Name::Via).and_then(|via| Via::parse(via).ok());
        Self {
            start,
            cseq: text(Name::CSeq),
            call_id: text(Name::CallId),
            via: via.map(|via| via.sent_by.to_owned()),
            route: host(Name::Route),
            path: host(Name::Path),
        }
    }
}

/// The URI with three stars for its user, and without parameters.
fn without_user(uri: &Uri<'_>) -> String {
    let mut text = match uri.scheme {
        Scheme::Sip => "sip:".to_owned(),
        Scheme::Sips => "sips:".to_owned(),
        Scheme::Tel => return "tel:***".to_owned(),
        Scheme::Other(scheme) => return format!("{scheme}:***"),
    };
    if uri.user.is_some() {
        text.push_str("***@");
    }
    text.push_str(uri.host_port());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    const INVITE: &str = "INVITE sip:bob:geheim@example.com;x=geheim SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP ua;branch=z9hG4bKb\r\n\
        Route: <sip:token@ep2;lr>, <sip:next;lr>\r\nFrom: \"Geheim\" <sip:alice@example.com>;tag=1\r\n\
        To: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn summary(text: &str) -> Summary {
        let message = parse::message(text.to_owned().into(), &parse::Limits::default());
        Summary::of(&message.unwrap())
    }

    #[test]
    fn a_request_says_where_it_goes() {
        let expected = Summary {
            start: "INVITE sip:***@example.com".into(),
            cseq: "7 INVITE".into(),
            call_id: "c1".into(),
            via: Some("192.0.2.1:5070".into()),
            route: Some("ep2".into()),
            path: None,
        };
        assert_eq!(summary(INVITE), expected);
    }

    #[test]
    fn no_user_shows() {
        let shown = format!("{:?}", summary(INVITE)).to_lowercase();
        for secret in ["alice", "bob", "geheim", "token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let tel = INVITE.replacen("sip:bob:geheim@example.com;x=geheim", "tel:+15551234", 1);
        assert_eq!(summary(&tel).start, "INVITE tel:***");
    }

    #[test]
    fn a_response_says_what_it_answers() {
        let text = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa\r\n\
            From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=2\r\nCall-ID: c1\r\n\
            CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n";
        let summary = summary(text);
        assert_eq!((summary.start.as_str(), summary.cseq.as_str()), ("180 Ringing", "7 INVITE"));
        assert_eq!(summary.route, None);
    }
}
