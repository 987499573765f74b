//! Request validation, RFC 3261 §16.3.
//!
//! What is not looked at here is not judged: an unknown method, a broken Date header or a foreign extension
//! passes. Loops are [`crate::branch::is_loop`]'s, credentials the caller's.

use sip::{Method, Name, Reject, Request, StatusCode};

/// What this proxy understands.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Option tags understood in Proxy-Require.
    pub supported: &'a [&'a str],
}

/// §16.3 items 1, 3 and 5: readable where a proxy reads (400), hops left (483), no unknown Proxy-Require
/// (420).
///
/// The refusal of an ACK can be told to nobody: its caller drops the message.
pub fn request(r: &Request, rules: &Rules<'_>) -> Result<(), Reject> {
    syntax(r)?;
    if r.max_forwards()? == Some(0) {
        return Err(Reject::new(StatusCode::new(483)));
    }
    // §8.2.2.3, §20.29: CANCEL and ACK belong to a request that has already been accepted.
    if matches!(r.method, Method::Cancel | Method::Ack) {
        return Ok(());
    }
    proxy_require(r, rules)
}

/// §16.3 item 2: 416 for a Request-URI whose scheme is neither sip nor sips. Only for a request that is
/// routed by its Request-URI: a Route or a rule of the caller may know the way where the scheme does not.
pub fn check_scheme(r: &Request) -> Result<(), Reject> {
    if r.request_uri()?.is_sip() { Ok(()) } else { Err(Reject::new(StatusCode::new(416))) }
}

/// §16.3 item 1: the parts that routing, matching and answering read.
fn syntax(r: &Request) -> Result<(), Reject> {
    r.request_uri()?;
    r.top_via()?;
    r.from()?;
    r.to()?;
    if r.cseq()?.method != r.method || r.call_id().is_empty() {
        return Err(Reject::new(StatusCode::new(400)));
    }
    if let Some(route) = r.top_route() {
        route?.parsed_uri()?;
    }
    Ok(())
}

fn proxy_require(r: &Request, rules: &Rules<'_>) -> Result<(), Reject> {
    if r.headers.get(Name::ProxyRequire).is_none() {
        return Ok(());
    }
    let mut unsupported = Vec::new();
    for tag in r.headers.values(Name::ProxyRequire) {
        if !rules.supported.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(tag)) {
            if !unsupported.is_empty() {
                unsupported.extend_from_slice(b", ");
            }
            unsupported.extend_from_slice(tag);
        }
    }
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Reject::new(StatusCode::new(420)).with(Name::Unsupported, unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn refused(method: &str, uri: &str, extra: &str) -> Option<Reject> {
        request(&testing::request(method, uri, extra), &Rules { supported: &["path"] }).err()
    }

    #[test]
    fn unknown_things_pass() {
        assert!(refused("FROB", "foo:bar", "Date: never\r\nX-Y: z\r\nMax-Forwards: 1\r\n").is_none());
        assert!(refused("INVITE", "sip:bob@example.com", "").is_none(), "no Max-Forwards is fine");
    }

    #[test]
    fn no_hop_left_is_483() {
        let reject = refused("INVITE", "sip:bob@example.com", "Max-Forwards: 0\r\n").unwrap();
        assert_eq!(reject.status.code(), 483);
    }

    #[test]
    fn an_unreadable_max_forwards_or_route_is_400() {
        for extra in ["Max-Forwards: many\r\n", "Route: <sip:[\r\n"] {
            assert_eq!(
                refused("INVITE", "sip:bob@example.com", extra).unwrap().status.code(),
                400,
                "{extra}"
            );
        }
    }

    #[test]
    fn unknown_proxy_require_is_420_and_listed() {
        let reject =
            refused("INVITE", "sip:b@example.com", "Proxy-Require: foo, Path\r\nProxy-Require: bar\r\n")
                .unwrap();
        assert_eq!(reject.status.code(), 420);
        assert_eq!(reject.headers, [(Name::Unsupported, "foo, bar".into())]);
        assert!(refused("INVITE", "sip:b@example.com", "Proxy-Require: path\r\n").is_none());
    }

    #[test]
    fn proxy_require_does_not_stop_cancel_or_ack() {
        for method in ["CANCEL", "ACK"] {
            assert!(refused(method, "sip:b@example.com", "Proxy-Require: foo\r\n").is_none(), "{method}");
        }
    }

    #[test]
    fn only_sip_schemes_can_be_resolved() {
        for (uri, fine) in [("sip:a@b", true), ("SIPS:a@b", true), ("tel:+1555", false), ("foo:bar", false)] {
            let status =
                check_scheme(&testing::request("INVITE", uri, "")).err().map(|reject| reject.status.code());
            assert_eq!(status, (!fine).then_some(416), "{uri}");
        }
    }
}
