//! The two requests that the layer makes itself: ACK for a non-2xx final (RFC 3261 §17.1.1.3) and CANCEL (§9.1).
//!
//! Both are made from the INVITE as it was sent. They are rare beside the INVITEs, so the INVITE's bytes are kept and read
//! again here rather than its headers kept apart for every call.

use bytes::{Bytes, BytesMut};
use sip::{Headers, Message, Method, Name, Request, Response, parse};

/// Of a request made here; it crosses one hop (§8.1.1.6 recommends 70).
const MAX_FORWARDS: &[u8] = b"70";

/// The ACK for `response`, a non-2xx final of `invite`. None when `invite` cannot be read, which no INVITE of a TU causes
/// that got it from [`parse::message`].
pub(crate) fn ack(invite: &Bytes, response: &Response) -> Option<Request> {
    let invite = request(invite)?;
    let mut ack = same_hop(&invite, Method::Ack)?;
    // §17.1.1.3: To as in the response, which has the tag.
    match response.headers.get(Name::To) {
        Some(to) => ack.headers.append(Name::To, Bytes::copy_from_slice(to)),
        None => ack.headers.copy(&invite.headers, Name::To),
    }
    Some(ack)
}

/// The CANCEL for `invite`; carries no Require or Proxy-Require (§9.1).
pub(crate) fn cancel(invite: &Bytes, reason: Option<Bytes>) -> Option<Request> {
    let invite = request(invite)?;
    let mut cancel = same_hop(&invite, Method::Cancel)?;
    cancel.headers.copy(&invite.headers, Name::To);
    if let Some(reason) = reason {
        cancel.headers.append(Name::Reason, reason);
    }
    Some(cancel)
}

/// All Reason values of a CANCEL as one line (RFC 3326 §2).
pub(crate) fn reason(headers: &Headers) -> Option<Bytes> {
    let mut lines = headers.lines(Name::Reason);
    let mut all = BytesMut::from(lines.next()?);
    for line in lines {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line);
    }
    Some(all.freeze())
}

/// A message of ours as it was sent.
pub(crate) fn reread(bytes: &Bytes) -> Option<Message> {
    // The limits guard against strangers.
    let limits = parse::Limits { message: usize::MAX, headers: usize::MAX, line: usize::MAX };
    parse::message(bytes.clone(), &limits).ok()
}

fn request(bytes: &Bytes) -> Option<Request> {
    match reread(bytes)? {
        Message::Request(request) => Some(request),
        Message::Response(_) => None,
    }
}

/// What ACK and CANCEL share: Request-URI, the top Via alone, Route, From, Call-ID and the CSeq number of the INVITE.
fn same_hop(invite: &Request, method: Method) -> Option<Request> {
    let via = Bytes::copy_from_slice(invite.headers.top(Name::Via)?);
    let cseq = format!("{} {}", invite.cseq().ok()?.number, method);
    let mut request = Request::new(method, invite.uri.clone());
    let headers = &mut request.headers;
    headers.append(Name::Via, via);
    headers.append(Name::MaxForwards, MAX_FORWARDS);
    headers.copy(&invite.headers, Name::Route);
    headers.copy(&invite.headers, Name::From);
    headers.copy(&invite.headers, Name::CallId);
    headers.append(Name::CSeq, cseq);
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_several_lines_are_one_value() {
        let mut headers = Headers::default();
        assert_eq!(reason(&headers), None);
        headers.append(Name::Reason, "SIP;cause=200");
        assert_eq!(reason(&headers).unwrap(), "SIP;cause=200");
        headers.append(Name::Reason, "Q.850;cause=16");
        assert_eq!(reason(&headers).unwrap(), "SIP;cause=200, Q.850;cause=16");
    }

    #[test]
    fn what_is_no_invite_makes_nothing() {
        assert!(cancel(&Bytes::from_static(b"nonsense"), None).is_none());
        assert!(ack(&Bytes::new(), &Response::new(sip::StatusCode::new(486))).is_none());
    }
}
