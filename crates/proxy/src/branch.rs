//! The forwarded copy, RFC 3261 §16.6 steps 1 to 3, 6 and 8, and loop detection as RFC 5393 §4.1 and §4.2 have it.

use bytes::Bytes;
use sip::{Method, Name, Reject, Request, StatusCode, Via, via};
use smallvec::SmallVec;

use crate::breadth;
use crate::hash::Stable;
use crate::rewrite::{as_request_uri, decimal};
use crate::target::Target;

/// The copy of `r` for one target: its Request-URI, one hop less, and its own route set above what is left of
/// the received Route.
///
/// Starts from the received request every time (§16.6 step 1), so no branch can inherit another one's route. Its
/// Max-Breadth is the received one: for a request that has no other copy, such as an ACK.
pub fn copy(r: &Request, target: &Target) -> Result<Request, Reject> {
    copy_with_breadth(r, target, breadth::incoming(r, breadth::RECOMMENDED))
}

/// The same with a share of Max-Breadth.
pub(crate) fn copy_with_breadth(r: &Request, target: &Target, share: u32) -> Result<Request, Reject> {
    let hops = match r.max_forwards()? {
        None => 70,
        Some(0) => return Err(Reject::new(StatusCode::new(483))),
        Some(hops) => hops - 1,
    };
    let mut copy = r.clone();
    copy.uri = as_request_uri(&target.uri);
    copy.headers.set(Name::MaxForwards, decimal(u32::from(hops)));
    // RFC 5393 §5.4.1: it means nothing in a CANCEL.
    if r.method != Method::Cancel {
        set_max_breadth(&mut copy, share);
    }
    for value in target.route.iter().rev() {
        copy.headers.push_top(Name::Route, value.clone());
    }
    Ok(copy)
}

/// §16.6 step 8: puts our Via on top. `token` is a fresh branch with the magic cookie; `loop_hash` makes the
/// second part of the branch (RFC 5393 §4.2.1).
pub fn push_via(r: &mut Request, transport: &str, sent_by: &str, token: &str, loop_hash: u64) {
    let mut branch: SmallVec<[u8; 96]> = SmallVec::new();
    branch.extend_from_slice(token.as_bytes());
    branch.push(b'.');
    branch.extend((0..16).rev().map(|digit| hex_digit(loop_hash >> (4 * digit))));
    let branch = std::str::from_utf8(&branch).expect("made of text");
    r.headers.push_top(Name::Via, via::compose(transport, sent_by, branch));
}

/// The second part of a branch: everything that decides where this request goes and that a spiral changes.
/// Equal on every node; the method and the Via do not count.
pub fn loop_hash(received: &Request) -> u64 {
    let mut hash = Stable::new(0);
    hash.write_optional(received.to_tag().map(str::as_bytes));
    hash.write_optional(received.from_tag().map(str::as_bytes));
    hash.write(received.call_id());
    hash.mix(received.cseq().map_or(0, |cseq| u64::from(cseq.number)));
    hash.write(&received.uri);
    for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
        let mut count = 0;
        for value in received.headers.values(name) {
            hash.write(value);
            count += 1;
        }
        hash.mix(count);
    }
    hash.finish()
}

/// True when a Via of ours (by `is_ours(sent_by)`) shows that this request has been here with the same
/// `hash`: a loop, to be answered 482. With another hash it is a spiral, and a request that comes over two ways is none
/// (RFC 3261 §16.3). Other elements' Vias may hold
/// anything (RFC 5393 §4.2.2, §4.2.4).
pub fn is_loop(r: &Request, is_ours: &dyn Fn(&str) -> bool, hash: u64) -> bool {
    r.headers.values(Name::Via).filter_map(|value| Via::parse(value).ok()).any(|via| {
        let second_part = via.branch().and_then(|branch| branch.rsplit_once('.')).map(|(_, part)| part);
        second_part.is_some_and(|part| part.len() == 16 && u64::from_str_radix(part, 16) == Ok(hash))
            && is_ours(via.sent_by)
    })
}

/// The lowest four bits in lower case.
fn hex_digit(value: u64) -> u8 {
    b"0123456789abcdef".iter().copied().nth(usize::from(value.to_le_bytes()[0] & 15)).expect("sixteen digits")
}

/// RFC 5393 §5.3.3: one value, whatever the request came with.
fn set_max_breadth(copy: &mut Request, share: u32) {
    let value: Bytes = decimal(share);
    let mut received = copy.headers.lines(Name::MaxBreadth);
    if received.next() != Some(&*value) || received.next().is_some() {
        drop(received);
        copy.headers.set(Name::MaxBreadth, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{request, values};

    fn target(uri: &'static str, route: &[&'static str]) -> Target {
        Target {
            route: route.iter().map(|value| Bytes::from_static(value.as_bytes())).collect(),
            ..Target::new(uri, 0)
        }
    }

    /// RFC 3327 §5.4 and the reason for this file: every branch has its own Path vector before what the
    /// request still had, and nothing of another branch.
    #[test]
    fn no_branch_inherits_the_route_of_another() {
        let r =
            request("INVITE", "sip:bob@example.com", "Route: <sip:rest1;lr>\r\nRoute: <sip:rest2;lr>\r\n");
        let targets = [
            target("sip:bob@192.0.2.1", &["<sip:t1@ep1;lr>"]),
            target("sip:bob@192.0.2.2", &[]),
            target("sip:bob@192.0.2.3", &["<sip:t3@ep3;lr;ob>", "<sip:far3;lr>"]),
        ];
        let rest = ["<sip:rest1;lr>", "<sip:rest2;lr>"];
        for _ in 0..2 {
            for target in &targets {
                let copy = copy(&r, target).unwrap();
                let own = target.route.iter().map(|value| std::str::from_utf8(value).unwrap());
                assert_eq!(values(&copy.headers, Name::Route), own.chain(rest).collect::<Vec<_>>());
                assert_eq!(copy.uri, target.uri);
            }
            assert_eq!(values(&r.headers, Name::Route), rest, "the received request stays as it is");
        }
    }

    /// RFC 5393 §5.3.3: "All proxied requests MUST contain a single Max-Breadth header field value"; §5.4.1 for CANCEL.
    #[test]
    fn every_copy_but_a_cancel_says_its_breadth() {
        let of = |method: &str, extra: &str| {
            let copy = copy(&request(method, "sip:bob@example.com", extra), &target("sip:b@h", &[])).unwrap();
            copy.headers.lines(Name::MaxBreadth).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        for (extra, value) in [
            ("", "60"),
            ("Max-Breadth: 7\r\n", "7"),
            ("Max-Breadth: 61\r\n", "60"),
            ("Max-Breadth: 7\r\nMax-Breadth: 9\r\n", "7"),
        ] {
            for method in ["ACK", "INVITE", "FROB"] {
                assert_eq!(of(method, extra), [value.as_bytes()], "{method} {extra}");
            }
        }
        assert_eq!(of("CANCEL", ""), [b""; 0]);
    }

    #[test]
    fn a_path_vector_stands_below_the_vias_when_there_was_no_route() {
        let copy = copy(
            &request("INVITE", "sip:bob@example.com", ""),
            &target("sip:b@h", &["<sip:e1;lr>", "<sip:e2;lr>"]),
        )
        .unwrap();
        let text = String::from_utf8(copy.encode().to_vec()).unwrap();
        assert!(text.starts_with("INVITE sip:b@h SIP/2.0\r\nVia: "), "{text}");
        assert_eq!(values(&copy.headers, Name::Route), ["<sip:e1;lr>", "<sip:e2;lr>"]);
    }

    /// §16.6 step 2.
    #[test]
    fn what_no_request_uri_may_have_stays_behind() {
        let contact = target("sip:bob@192.0.2.4;transport=tcp;method=INVITE?Subject=x", &[]);
        let copy = copy(&request("INVITE", "sip:bob@example.com", ""), &contact).unwrap();
        assert_eq!(copy.uri, "sip:bob@192.0.2.4;transport=tcp");
    }

    #[test]
    fn max_forwards_goes_down_by_one_and_starts_at_70() {
        for (extra, expected) in [
            ("", "70"),
            ("Max-Forwards: 70\r\n", "69"),
            ("Max-Forwards: 1\r\n", "0"),
            ("Max-Forwards: 255\r\n", "254"),
        ] {
            let copy =
                copy(&request("INVITE", "sip:bob@example.com", extra), &target("sip:b@h", &[])).unwrap();
            assert_eq!(values(&copy.headers, Name::MaxForwards), [expected]);
        }
        let spent = request("INVITE", "sip:bob@example.com", "Max-Forwards: 0\r\n");
        assert_eq!(copy(&spent, &target("sip:b@h", &[])).unwrap_err().status.code(), 483);
    }

    #[test]
    fn everything_else_leaves_as_it_came() {
        let r =
            request("INVITE", "sip:bob@example.com", "X-Odd:  spaced \r\ns: compact\r\nMax-Forwards: 9\r\n");
        let text = String::from_utf8(copy(&r, &target("sip:b@h", &[])).unwrap().encode().to_vec()).unwrap();
        let before = String::from_utf8(r.encode().to_vec()).unwrap();
        assert_eq!(
            text,
            before
                .replace("INVITE sip:bob@example.com ", "INVITE sip:b@h ")
                .replace("Max-Forwards: 9", "Max-Forwards: 8")
                .replace("\r\n\r\n", "\r\nMax-Breadth: 60\r\n\r\n")
        );
    }

    #[test]
    fn our_via_is_on_top_and_shows_a_loop() {
        let received = request("INVITE", "sip:bob@example.com", "");
        let hash = loop_hash(&received);
        let mut back = copy(&received, &target("sip:bob@example.com", &[])).unwrap();
        push_via(&mut back, "TLS", "core1.example.com", "z9hG4bKfresh", hash);
        assert_eq!(
            values(&back.headers, Name::Via)[0],
            format!("SIP/2.0/TLS core1.example.com;branch=z9hG4bKfresh.{hash:016x}")
        );
        back.headers.push_top(Name::Via, "SIP/2.0/UDP other.example.net;branch=z9hG4bKother.x;a=\"b;c\"");
        back.headers.push_top(Name::Via, "SIP / 2.0 / FOO odd.example.net");
        let ours = |sent_by: &str| sent_by == "core1.example.com";
        assert!(is_loop(&back, &ours, loop_hash(&back)));
        assert!(!is_loop(&back, &|_| false, loop_hash(&back)), "a Via of others proves nothing");
        back.uri = Bytes::from_static(b"sip:bob@192.0.2.4");
        assert!(!is_loop(&back, &ours, loop_hash(&back)), "another Request-URI is a spiral");
    }

    #[test]
    fn the_hash_depends_on_what_routes_and_on_nothing_else() {
        let base = loop_hash(&request("INVITE", "sip:bob@example.com", ""));
        assert_eq!(
            base,
            loop_hash(&request("CANCEL", "sip:bob@example.com", "Max-Forwards: 3\r\nVia: SIP/2.0/UDP x\r\n"))
        );
        for extra in [
            "Route: <sip:p;lr>\r\n",
            "Proxy-Require: x\r\n",
            "Proxy-Authorization: Digest username=\"a\"\r\n",
        ] {
            assert_ne!(base, loop_hash(&request("INVITE", "sip:bob@example.com", extra)), "{extra}");
        }
        assert_ne!(base, loop_hash(&request("INVITE", "sip:bob@example.net", "")));
        let mut later = request("INVITE", "sip:bob@example.com", "");
        later.headers.set(Name::CSeq, "2 INVITE");
        assert_ne!(base, loop_hash(&later));
        later.headers.set(Name::CSeq, "1 INVITE");
        assert_eq!(base, loop_hash(&later));
        later.headers.set(Name::To, "<sip:bob@example.com>;tag=b");
        assert_ne!(base, loop_hash(&later));
    }

    /// Another node may run another build: the value is part of the protocol between them.
    #[test]
    fn the_hash_is_the_same_everywhere() {
        assert_eq!(
            loop_hash(&request("INVITE", "sip:bob@example.com", "Route: <sip:p;lr>\r\n")),
            0xa4ad90a6f36c08f8
        );
    }
}
