//! The forwarded copy, RFC 3261 §16.6 steps 1 to 3, 6 and 8, and loop detection as RFC 5393 §4.2 has it.

use bytes::Bytes;
use sip::{Name, Reject, Request, StatusCode, Via, via};
use smallvec::SmallVec;

use crate::hash::Stable;
use crate::rewrite::{as_request_uri, decimal};
use crate::target::Target;

/// The copy of `r` for one target: its Request-URI, one hop less, and its own route set above what is left of the received Route.
///
/// Starts from the received request every time (§16.6 step 1), so no branch can inherit another one's route.
pub fn copy(r: &Request, target: &Target) -> Result<Request, Reject> {
    let hops = match r.max_forwards()? {
        None => 70,
        Some(0) => return Err(Reject::new(StatusCode::new(483))),
        Some(hops) => hops - 1,
    };
    let mut copy = r.clone();
    copy.uri = as_request_uri(&target.uri);
    copy.headers.set(Name::MaxForwards, decimal(u32::from(hops)));
    for value in target.route.iter().rev() {
        copy.headers.push_top(Name::Route, value.clone());
    }
    Ok(copy)
}

/// §16.6 step 8: puts our Via on top. `token` is a fresh branch with the magic cookie; `loop_hash` makes the second part of the branch
/// (RFC 5393 §4.2.1).
pub fn push_via(r: &mut Request, transport: &str, sent_by: &str, token: &str, loop_hash: u64) {
    let mut branch: SmallVec<[u8; 96]> = SmallVec::new();
    branch.extend_from_slice(token.as_bytes());
    branch.push(b'.');
    branch.extend((0..16).rev().map(|digit| hex_digit(loop_hash >> (4 * digit))));
    let branch = std::str::from_utf8(&branch).expect("made of text");
    r.headers.push_top(Name::Via, via::compose(transport, sent_by, branch));
}

/// The second part of a branch: everything that decides where this request goes and that a spiral changes. Equal on every node; the
/// method and the Via do not count.
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

/// True when a Via of ours (by `is_ours(sent_by)`) shows that this request has been here with the same `hash`: a loop, to be answered
/// 482. With another hash it is a spiral. Other elements' Vias may hold anything (RFC 5393 §4.2.4).
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

/// The Max-Breadth of one copy (RFC 5393 §5.3.3).
pub(crate) fn set_max_breadth(copy: &mut Request, breadth: u32) {
    let value: Bytes = decimal(breadth);
    if copy.headers.get(Name::MaxBreadth) != Some(&*value) {
        copy.headers.set(Name::MaxBreadth, value);
    }
}
