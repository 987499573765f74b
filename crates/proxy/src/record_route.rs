//! Record-Route, RFC 3261 §16.6 step 4.
//!
//! A proxy between two transports or two address families inserts two values (RFC 5658 §5): first the one for
//! the side the request came from, then, on top of it, the one for the side it leaves to. Here two passes do that: one
//! from the flow to a core, one from the core to a flow.

use bytes::Bytes;
use sip::{Method, Name, Request};

/// True for requests whose Record-Route can become a route set: those that create a dialog or refresh its
/// target, and methods this program does not know, since they may do so too (§16.6 step 4). Inside a dialog
/// the value has no effect on a healthy peer and keeps this proxy on the path of one that has lost its state.
pub fn wants(r: &Request) -> bool {
    match r.method {
        Method::Invite
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Update
        | Method::Extension(_) => true,
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Options
        | Method::Message
        | Method::Publish
        | Method::Info
        | Method::Prack => false,
    }
}

/// Puts `uri`, a whole name-addr such as `<sip:token@host;lr>`, above all other Record-Route values.
pub fn insert(r: &mut Request, uri: impl Into<Bytes>) {
    r.headers.push_top(Name::RecordRoute, uri);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{request, values};

    #[test]
    fn methods_that_can_make_a_route_set() {
        for method in ["INVITE", "SUBSCRIBE", "NOTIFY", "REFER", "UPDATE", "FROB"] {
            assert!(wants(&request(method, "sip:b@example.com", "")), "{method}");
        }
        for method in ["REGISTER", "BYE", "ACK", "CANCEL", "MESSAGE", "OPTIONS", "PUBLISH", "INFO", "PRACK"] {
            assert!(!wants(&request(method, "sip:b@example.com", "")), "{method}");
        }
    }

    #[test]
    fn our_value_is_above_the_others() {
        let mut r = request("INVITE", "sip:b@example.com", "Record-Route: <sip:p1;lr>\r\n");
        insert(&mut r, "<sip:t@p2;lr>");
        assert_eq!(values(&r.headers, Name::RecordRoute), ["<sip:t@p2;lr>", "<sip:p1;lr>"]);
        assert_eq!(values(&r.headers, Name::Via).len(), 1);
    }
}
