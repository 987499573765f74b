//! Route processing on the way in (RFC 3261 §16.4) and on the way out (§16.6 step 6).

use bytes::Bytes;
use sip::{Name, NameAddr, Reject, Request, Scheme, Uri};

use crate::rewrite::rebuild;

/// The removed Route entry that named this proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its user part, escaped as written; empty when there is none.
    pub user: Bytes,
    /// Its whole URI as written.
    pub uri: Bytes,
}

/// §16.4: undoes what a strict router did to the Request-URI, resolves a `maddr` that is ours, then takes our
/// entry off the Route.
///
/// At most one entry is taken. One that comes next, as after double record-routing, is for the next pass;
/// [`pop_own`] takes it at once. An entry that a strict router has moved into the Request-URI is the one
/// returned.
pub fn preprocess(r: &mut Request, is_ours: &dyn Fn(&Uri<'_>) -> bool) -> Result<Option<Own>, Reject> {
    let uri = r.request_uri()?;
    // What this proxy puts into Record-Route carries `lr`. A request *to* this proxy does not, and keeps its
    // Request-URI.
    if uri.is_loose_router() && is_ours(&uri) && r.headers.top(Name::Route).is_some() {
        let own = own(&r.uri, uri.user);
        last_route_into_request_uri(r)?;
        strip_maddr(r, is_ours)?;
        return Ok(Some(own));
    }
    if uri.params.has("maddr") {
        strip_maddr(r, is_ours)?;
    }
    pop_own(r, is_ours)
}

/// Takes the top Route entry when it is ours.
pub fn pop_own(r: &mut Request, is_ours: &dyn Fn(&Uri<'_>) -> bool) -> Result<Option<Own>, Reject> {
    let Some(top) = r.top_route() else {
        return Ok(None);
    };
    let top = top?;
    let uri = top.parsed_uri()?;
    if !is_ours(&uri) {
        return Ok(None);
    }
    let text = Bytes::copy_from_slice(top.uri.as_bytes());
    let own = match uri.user {
        // One copy for both: the user part is a slice of the URI it was read from.
        Some(user) => {
            let start = (user.as_ptr() as usize).saturating_sub(top.uri.as_ptr() as usize);
            Own { user: text.slice(start..start + user.len()), uri: text }
        }
        None => Own { user: Bytes::new(), uri: text },
    };
    r.headers.pop_top(Name::Route);
    Ok(Some(own))
}

/// §16.6 step 6, for the outgoing copy: when the top Route is a strict router, the Request-URI goes to the
/// end of the Route and the top Route becomes the Request-URI.
pub fn postprocess(r: &mut Request) -> Result<(), Reject> {
    let Some(top) = r.top_route() else {
        return Ok(());
    };
    let top = top?;
    if top.parsed_uri()?.is_loose_router() {
        return Ok(());
    }
    let next = Bytes::copy_from_slice(top.uri.as_bytes());
    let last = bracketed(&r.uri);
    r.headers.pop_top(Name::Route);
    r.headers.append(Name::Route, last);
    r.uri = next;
    Ok(())
}

/// §16.4, first paragraph.
fn last_route_into_request_uri(r: &mut Request) -> Result<(), Reject> {
    let values: Vec<&[u8]> = r.headers.values(Name::Route).collect();
    let Some((last, rest)) = values.split_last() else {
        return Ok(());
    };
    let uri = Bytes::copy_from_slice(NameAddr::parse(last)?.uri.as_bytes());
    let rest = rest.join(b", ".as_slice());
    if rest.is_empty() {
        r.headers.remove(Name::Route);
    } else {
        r.headers.set(Name::Route, rest);
    }
    r.uri = uri;
    Ok(())
}

/// §16.4, second paragraph: a `maddr` that we are responsible for goes, with a port and transport other than
/// the default. Whether these are ours is the question `is_ours` answers for the URI that `maddr` stands for.
fn strip_maddr(r: &mut Request, is_ours: &dyn Fn(&Uri<'_>) -> bool) -> Result<(), Reject> {
    let uri = r.request_uri()?;
    let Some(maddr) = uri.params.value("maddr").filter(|_| uri.is_sip()) else {
        return Ok(());
    };
    let mut named = String::from(maddr);
    if let Some(port) = uri.port {
        named.push(':');
        named.push_str(&port.to_string());
    }
    let named = rebuild(&uri, &named, |name| !name.eq_ignore_ascii_case("maddr"), false);
    if !Uri::parse(&named).is_ok_and(|named| is_ours(&named)) {
        return Ok(());
    }
    let default_port = if uri.scheme == Scheme::Sips { 5061 } else { 5060 };
    let host = match uri.port {
        Some(port) if port != default_port => {
            uri.host_port().rsplit_once(':').map_or(uri.host_port(), |(host, _)| host)
        }
        _ => uri.host_port(),
    };
    let default_transport =
        uri.params.value("transport").is_some_and(|transport| transport.eq_ignore_ascii_case("udp"));
    let kept = |name: &str| {
        !name.eq_ignore_ascii_case("maddr") && (default_transport || !name.eq_ignore_ascii_case("transport"))
    };
    let stripped = rebuild(&uri, host, kept, true);
    r.uri = stripped;
    Ok(())
}

fn own(uri: &Bytes, user: Option<&str>) -> Own {
    Own { user: user.map_or_else(Bytes::new, |user| uri.slice_ref(user.as_bytes())), uri: uri.clone() }
}

fn bracketed(uri: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(uri.len() + 2);
    value.push(b'<');
    value.extend_from_slice(uri);
    value.push(b'>');
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{request, values};

    fn is_ours(uri: &Uri<'_>) -> bool {
        uri.host_port() == "p1.example.com" || uri.host_port() == "192.0.2.1:5070"
    }

    fn routes(r: &Request) -> Vec<String> {
        values(&r.headers, Name::Route)
    }

    #[test]
    fn our_entry_is_taken_and_its_user_given() {
        let mut r =
            request("BYE", "sip:u@192.0.2.9", "Route: <sip:to%2Fken@p1.example.com;lr;ob>, <sip:p2;lr>\r\n");
        let own = preprocess(&mut r, &is_ours).unwrap().unwrap();
        assert_eq!(own, Own { user: "to%2Fken".into(), uri: "sip:to%2Fken@p1.example.com;lr;ob".into() });
        assert_eq!((&*r.uri, routes(&r)), (&b"sip:u@192.0.2.9"[..], vec!["<sip:p2;lr>".to_owned()]));
    }

    #[test]
    fn an_entry_without_user_has_an_empty_one() {
        let mut r = request("BYE", "sip:u@192.0.2.9", "Route: \"me\" <sip:p1.example.com;lr>\r\n");
        assert_eq!(preprocess(&mut r, &is_ours).unwrap().unwrap().user, "");
        assert!(r.headers.get(Name::Route).is_none());
    }

    #[test]
    fn a_foreign_entry_stays() {
        let mut r =
            request("BYE", "sip:u@192.0.2.9", "Route: <sip:p2;lr>\r\nRoute: <sip:p1.example.com;lr>\r\n");
        assert_eq!(preprocess(&mut r, &is_ours).unwrap(), None);
        assert_eq!(routes(&r), ["<sip:p2;lr>", "<sip:p1.example.com;lr>"]);
    }

    #[test]
    fn one_entry_is_taken_at_a_time() {
        let mut r =
            request("BYE", "sip:u@h", "Route: <sip:a@p1.example.com;lr>,<sip:b@p1.example.com;lr>\r\n");
        assert_eq!(preprocess(&mut r, &is_ours).unwrap().unwrap().user, "a");
        assert_eq!(pop_own(&mut r, &is_ours).unwrap().unwrap().user, "b");
        assert_eq!(pop_own(&mut r, &is_ours).unwrap(), None);
    }

    /// The example of RFC 3261 §16.12.1.2: P3 is a strict router before us.
    #[test]
    fn what_a_strict_router_did_is_undone() {
        let mut r = request(
            "BYE",
            "sip:tok@p1.example.com;lr",
            "Route: <sip:p0.example.com;lr>\r\nRoute: <sip:caller@u1.example.com>\r\n",
        );
        let own = preprocess(&mut r, &is_ours).unwrap().unwrap();
        assert_eq!(own, Own { user: "tok".into(), uri: "sip:tok@p1.example.com;lr".into() });
        assert_eq!(
            (&*r.uri, routes(&r)),
            (&b"sip:caller@u1.example.com"[..], vec!["<sip:p0.example.com;lr>".to_owned()])
        );
    }

    #[test]
    fn a_request_to_this_proxy_itself_keeps_its_request_uri() {
        let mut r = request("OPTIONS", "sip:p1.example.com", "Route: <sip:p1.example.com;lr>\r\n");
        assert!(preprocess(&mut r, &is_ours).unwrap().is_some());
        assert_eq!((&*r.uri, routes(&r)), (&b"sip:p1.example.com"[..], vec![]));
    }

    /// RFC 3261 §16.12.1.2: P4 before the strict router P3.
    #[test]
    fn a_strict_router_gets_what_it_expects() {
        let mut r = request(
            "BYE",
            "sip:caller@u1.example.com",
            "Route: <sip:p3.middle.com>\r\nRoute: <sip:p2.example.com;lr>, <sip:p1.example.com;lr>\r\n",
        );
        postprocess(&mut r).unwrap();
        assert_eq!(r.uri, "sip:p3.middle.com");
        assert_eq!(
            routes(&r),
            ["<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>", "<sip:caller@u1.example.com>"]
        );
    }

    #[test]
    fn a_loose_router_or_none_changes_nothing() {
        for extra in ["Route: <sip:p3.middle.com;lr>\r\n", "Route: <sip:p3.middle.com;lr=on>\r\n", ""] {
            let mut r = request("BYE", "sip:u@h", extra);
            let before = r.encode();
            postprocess(&mut r).unwrap();
            assert_eq!(r.encode(), before);
        }
    }

    #[test]
    fn a_maddr_of_ours_is_resolved_here() {
        let cases = [
            ("sip:bob@example.com:5070;maddr=192.0.2.1;x=y", "sip:bob@example.com;x=y"),
            ("sip:bob@example.com:5070;maddr=192.0.2.1;transport=tcp", "sip:bob@example.com"),
            ("sip:bob@example.com;maddr=p1.example.com", "sip:bob@example.com"),
            ("sip:bob@example.com;maddr=192.0.2.77", "sip:bob@example.com;maddr=192.0.2.77"),
            ("sip:bob@example.com:5071;maddr=192.0.2.1", "sip:bob@example.com:5071;maddr=192.0.2.1"),
        ];
        for (uri, expected) in cases {
            let mut r = request("INVITE", uri, "");
            assert_eq!(preprocess(&mut r, &is_ours).unwrap(), None);
            assert_eq!(r.uri, expected, "{uri}");
        }
    }

    #[test]
    fn an_unreadable_route_is_refused() {
        let mut r = request("INVITE", "sip:bob@example.com", "Route: <sip:\r\n");
        assert_eq!(preprocess(&mut r, &is_ours).unwrap_err().status.code(), 400);
    }
}
