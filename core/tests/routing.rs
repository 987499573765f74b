//! Which way a request goes by its Request-URI alone, RFC 3261 §16.3 and §16.5.

mod common;

use core_registrar::edges::Edges;
use core_registrar::routing::{Destination, destination};
use sip::{Method, Request};

/// The status of a refusal.
fn refused(uri: &'static str) -> Option<u16> {
    match destination(&Request::new(Method::Invite, uri), &Edges::default(), &common::settings()) {
        Ok(Destination::Registered(_)) => None,
        Ok(other) => panic!("{uri}: {other:?}"),
        Err(reject) => Some(reject.status.code()),
    }
}

/// §16.3 step 2.
#[test]
fn a_scheme_that_cannot_be_routed_is_416() {
    assert_eq!(refused("http://example.com/bob"), Some(416));
    assert_eq!(refused("sip:bob@example.com"), None);
    assert_eq!(refused("sips:bob@example.com"), None);
}

/// §16.5: a request with a `maddr` goes there, whatever its domain; so it is nothing for our location service.
#[test]
fn a_maddr_is_another_host() {
    for uri in ["sip:bob@example.com;maddr=192.0.2.9", "sip:bob@example.net"] {
        let initial = Request::new(Method::Invite, uri);
        let destination = destination(&initial, &Edges::default(), &common::settings());
        assert!(matches!(destination, Ok(Destination::Foreign)), "{uri}");
    }
}
