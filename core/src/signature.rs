//! The core's Via branch: the same on every core, and signed.
//!
//! A core that dies takes its response contexts along. Two properties of its branches keep its calls alive:
//!
//! - **Signed.** The phone's answer arrives at some core that knows nothing of the call. It may leave towards the next
//!   Via, statelessly, when the branch on top proves that the cluster itself sent the request along this way. Without
//!   the proof RFC 6026 §6 and §7.3 have it dropped.
//! - **Computed**, from the edge's branch and the target, not drawn. When the edge asks another core instead of the
//!   dead one, the phone's edge sees a retransmission and not a second call (which the phone would refuse as merged,
//!   RFC 3261 §8.2.2.2); and a CANCEL finds the branch of a core that is gone.
//!
//! The edge sends each attempt with a branch of its own, as RFC 3263 §4.3 wants it, but all begin alike: up to the first
//! `-` or `.` stands their common origin.

use sip::{Request, Via};

use crate::keys::{ClusterKeys, SIGNATURE};

/// The sent-by of every core's Via: cores are one element, and nobody resolves it (RFC 2606: `.invalid` never
/// exists).
pub const SENT_BY: &str = "core.invalid";

const TARGET: &str = "target";
const WAY: &str = "way";
/// RFC 3261 §8.1.1.7.
const COOKIE: &str = "z9hG4bK";

/// The token of the branch on which `copy`, whose top Via is still the edge's, goes to its target.
pub fn token(copy: &Request, below: &Via<'_>, keys: &ClusterKeys) -> String {
    let mut route = copy.headers.values(sip::Name::Route);
    let top = route.next().unwrap_or_default();
    let target = [origin(below).as_bytes(), below.sent_by.as_bytes(), &copy.uri, top];
    // Two phones that call themselves the same may differ only in the hop behind the edge. Mostly there is none.
    let rest: Vec<&[u8]> = route.collect();
    let stem = match rest[..] {
        [] => keys.sign(TARGET, &target),
        _ => keys.sign(TARGET, &[&target, &rest[..]].concat()),
    };
    let proof = keys.sign(WAY, &[stem.as_bytes(), origin(below).as_bytes()]);
    format!("{COOKIE}{stem}{proof}")
}

/// True when the cluster signed `branch` (token and loop hash, as in a Via) above the Via `below`.
pub fn is_ours(branch: &str, below: &Via<'_>, keys: &ClusterKeys) -> bool {
    let token = branch.split_once('.').map_or(branch, |(token, _)| token);
    let Some(token) = token.strip_prefix(COOKIE) else { return false };
    let (Some(stem), Some(proof)) = (token.get(..SIGNATURE), token.get(SIGNATURE..)) else { return false };
    keys.verify(WAY, &[stem.as_bytes(), origin(below).as_bytes()], proof)
}

/// What all attempts of an edge for one request have in common.
fn origin<'a>(via: &Via<'a>) -> &'a str {
    let branch = via.branch().unwrap_or("");
    branch.find(['-', '.']).and_then(|end| branch.get(..end)).unwrap_or(branch)
}

/// The loop hash of a request from an edge: the one that the edge has put into its branch, so that INVITE and CANCEL have
/// the same; computed when the previous hop is no edge of ours.
pub fn loop_hash(request: &Request) -> u64 {
    let top = request.top_via().ok().and_then(|via| via.branch());
    let hash = top.and_then(|branch| branch.rsplit_once('.')).map(|(_, hash)| hash);
    hash.filter(|hash| hash.len() == 16)
        .and_then(|hash| u64::from_str_radix(hash, 16).ok())
        .unwrap_or_else(|| proxy::branch::loop_hash(request))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sip::{Message, parse};

    use super::*;

    fn copy(branch: &str, uri: &str) -> Request {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS edge-a;branch={branch}\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:b@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        match parse::message(Bytes::from(text), &parse::Limits::default()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!("a request was written"),
        }
    }

    fn of(request: &Request, keys: &ClusterKeys) -> String {
        token(request, &request.top_via().unwrap(), keys)
    }

    #[test]
    fn attempts_of_one_request_share_the_branch_and_targets_do_not() {
        let keys = ClusterKeys::random([1; 32]);
        let first = of(&copy("z9hG4bKabc.0123456789abcdef", "sip:b@192.0.2.1"), &keys);
        assert_eq!(first, of(&copy("z9hG4bKabc-1.0123456789abcdef", "sip:b@192.0.2.1"), &keys));
        assert_ne!(first, of(&copy("z9hG4bKabc.0123456789abcdef", "sip:b@192.0.2.2"), &keys));
        assert_ne!(first, of(&copy("z9hG4bKabd.0123456789abcdef", "sip:b@192.0.2.1"), &keys));
    }

    /// RFC 3261 §16.6 step 8: the branch of every copy is its own. Behind an outer proxy, which is one flow of an edge, two
    /// phones may have the same private address.
    #[test]
    fn targets_that_differ_behind_the_edge_have_branches_of_their_own() {
        let keys = ClusterKeys::random([1; 32]);
        let by = |route: &[&'static str]| {
            let mut copy = copy("z9hG4bKabc.0123456789abcdef", "sip:b@10.0.0.1");
            route.iter().for_each(|&hop| copy.headers.append(sip::Name::Route, hop));
            of(&copy, &keys)
        };
        let ways = [
            by(&["<sip:t@edge;lr>"]),
            by(&["<sip:t@edge;lr>", "<sip:one@outer;lr>"]),
            by(&["<sip:t@edge;lr>", "<sip:two@outer;lr>"]),
            by(&["<sip:t@edge;lr>", "<sip:one@outer;lr>", "<sip:two@outer;lr>"]),
        ];
        assert_eq!(std::collections::BTreeSet::from(ways.clone()).len(), ways.len());
    }

    #[test]
    fn the_signature_holds_for_one_way_only() {
        let keys = ClusterKeys::random([1; 32]);
        let request = copy("z9hG4bKabc.0123456789abcdef", "sip:b@192.0.2.1");
        let branch = format!("{}.00ff00ff00ff00ff", of(&request, &keys));
        let below = request.top_via().unwrap();
        assert!(is_ours(&branch, &below, &keys));
        let retried = copy("z9hG4bKabc-2.0123456789abcdef", "sip:b@192.0.2.1");
        assert!(is_ours(&branch, &retried.top_via().unwrap(), &keys));
        let other = copy("z9hG4bKabd.0123456789abcdef", "sip:b@192.0.2.1");
        assert!(!is_ours(&branch, &other.top_via().unwrap(), &keys));
        assert!(!is_ours(&branch, &below, &ClusterKeys::random([2; 32])));
        assert!(!is_ours("z9hG4bK", &below, &keys));
        assert!(!is_ours("", &below, &keys));
    }

    #[test]
    fn the_loop_hash_is_the_edges() {
        assert_eq!(loop_hash(&copy("z9hG4bKabc-1.00000000000000ff", "sip:b@192.0.2.1")), 255);
        let foreign = copy("z9hG4bKabc", "sip:b@192.0.2.1");
        assert_eq!(loop_hash(&foreign), proxy::branch::loop_hash(&foreign));
    }
}
