//! The SIPS scheme in the target set, RFC 5630 §5.3.
//!
//! A request for a SIPS URI goes to SIPS contacts only, one for a SIP URI leaves with a SIP URI: a SIPS contact stands
//! for both. That a SIPS request leaves over TLS is seen to by the edge that has the flow.

use bytes::Bytes;
use proxy::target::Target;
use sip::{Name, Reject, Request, Scheme, Uri};

use crate::routing::UNAVAILABLE;

/// Whether a request is for a SIPS URI.
pub(crate) fn is_asked(request: &Request) -> bool {
    request.request_uri().is_ok_and(|uri| uri.scheme == Scheme::Sips)
}

/// Leaves the targets that a request may go to, with the scheme that it may go with.
pub(crate) fn fit(targets: &mut Vec<Target>, request: &Request) {
    if is_asked(request) {
        targets.retain(|target| is_sips(&target.uri));
        return;
    }
    for target in targets {
        if is_sips(&target.uri) {
            let rest = target.uri.get("sips".len()..).unwrap_or_default();
            target.uri = Bytes::from([b"sip".as_slice(), rest].concat());
        }
    }
}

/// The answer when no contact is a SIPS one.
pub(crate) fn not_allowed() -> Reject {
    Reject::new(UNAVAILABLE).with(Name::Warning, "380 signalbox \"SIPS Not Allowed\"")
}

fn is_sips(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.scheme == Scheme::Sips)
}

#[cfg(test)]
mod tests {
    use sip::Method;

    use super::*;

    fn fitted(uri: &'static str) -> Vec<Bytes> {
        let mut targets: Vec<Target> = ["sip:bob@192.0.2.1", "SIPS:bob@192.0.2.2:5061;x=y", "tel:+1555"]
            .map(|uri| Target::new(uri, 0))
            .into();
        fit(&mut targets, &Request::new(Method::Invite, uri));
        targets.into_iter().map(|target| target.uri).collect()
    }

    #[test]
    fn a_sips_request_goes_to_sips_contacts_only() {
        assert_eq!(fitted("sips:bob@example.com"), ["SIPS:bob@192.0.2.2:5061;x=y"]);
    }

    #[test]
    fn a_sip_request_leaves_with_a_sip_uri() {
        let uris = ["sip:bob@192.0.2.1", "sip:bob@192.0.2.2:5061;x=y", "tel:+1555"];
        assert_eq!(fitted("sip:bob@example.com"), uris);
    }
}
