//! Whether Outbound applies to a registration, RFC 5626 §6.

use sip::{Name, NameAddr, Request};

/// Option tag of RFC 5626.
pub(crate) const OPTION: &str = "outbound";

/// True if the first hop of the UA supports Outbound, so that a `reg-id` means something.
///
/// With a single Via the registrar is that hop itself. Otherwise the first hop has put its own URI into Path and
/// marked it with `ob`. Every later proxy adds its URI on top (RFC 3327 §5.2), so the first hop's is the last one.
pub(crate) fn first_hop_supports_it(request: &Request) -> bool {
    if request.headers.values(Name::Via).nth(1).is_none() {
        return true;
    }
    let Some(first_hop) = request.headers.values(Name::Path).last() else { return false };
    NameAddr::parse(first_hop)
        .and_then(|hop| hop.parsed_uri().map(|uri| uri.params.has("ob")))
        .unwrap_or(false)
}

/// True if the UA lists `outbound` in Supported.
pub(crate) fn ua_supports_it(request: &Request) -> bool {
    request.headers.has_token(Name::Supported, OPTION)
}

/// The instance-id in the form in which two of them are compared as strings.
///
/// RFC 5626 §4.1: by the rules of the URN's scheme where it is known, and UUID URNs ignore case; otherwise by
/// RFC 2141, where only `urn:` and the name-space identifier do.
pub(crate) fn canonical_instance(instance: &str) -> String {
    let mut canonical = instance.to_owned();
    let mut parts = instance.splitn(3, ':');
    if let (Some(urn), Some(space), Some(_)) = (parts.next(), parts.next(), parts.next())
        && urn.eq_ignore_ascii_case("urn")
    {
        if space.eq_ignore_ascii_case("uuid") {
            canonical.make_ascii_lowercase();
        } else if let Some(head) = canonical.get_mut(..urn.len() + 1 + space.len()) {
            head.make_ascii_lowercase();
        }
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::request;

    #[test]
    fn instances_compare_by_the_rules_of_their_urn() {
        assert_eq!(
            canonical_instance("URN:UUID:00000000-0000-1000-8000-000A95A0E128"),
            "urn:uuid:00000000-0000-1000-8000-000a95a0e128"
        );
        assert_eq!(canonical_instance("URN:IMEI:Ab-1"), "urn:imei:Ab-1");
        assert_eq!(canonical_instance("Serial-7"), "Serial-7");
    }

    #[test]
    fn the_first_hop_is_the_lowest_path() {
        let via2 = "Via: SIP/2.0/TLS e;branch=z9hG4bKe\r\n";
        for (headers, applies) in [
            (String::new(), true),
            (via2.to_owned(), false),
            (format!("{via2}Path: <sip:t@edge;lr;ob>\r\n"), true),
            (format!("{via2}Path: <sip:t@edge;lr>\r\n"), false),
            (format!("{via2}Path: <sip:t@edge;lr>;ob\r\n"), false), // a parameter of the header, not of the URI
            (format!("{via2}Path: <sip:b@inner;lr>, <sip:a@first;lr;ob>\r\n"), true),
            (format!("{via2}Path: <sip:b@inner;lr;ob>\r\nPath: <sip:a@first;lr>\r\n"), false),
        ] {
            assert_eq!(first_hop_supports_it(&request(&headers)), applies, "{headers}");
        }
    }
}
