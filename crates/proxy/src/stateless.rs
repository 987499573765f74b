//! Forwarding without a response context, RFC 3261 §16.11: the ACK to a 2xx, and responses that another
//! node's context waits for.

use std::ops::Range;

use sip::{Message, Method, Name, Request, Response, StatusCode, Via};

use crate::hash::Stable;

/// A branch that is the same for every retransmission of `r`, on every node (§16.11): from the received
/// branch, or, when that is not an RFC 3261 one, from the fields that differ between any two transactions.
/// The method does not count.
pub fn branch_of(r: &Request) -> String {
    let mut low = Stable::new(1);
    let mut high = Stable::new(2);
    let mut write = |piece: Option<&[u8]>| {
        low.write_optional(piece);
        high.write_optional(piece);
    };
    match r.top_via() {
        Ok(top) if top.is_rfc3261() => {
            write(top.branch().map(str::as_bytes));
            write(Some(top.sent_by.as_bytes()));
        }
        _ => {
            write(r.headers.top(Name::Via));
            write(r.to_tag().map(str::as_bytes));
            write(r.from_tag().map(str::as_bytes));
            write(Some(r.call_id()));
            write(r.cseq().ok().map(|cseq| cseq.number.to_be_bytes()).as_ref().map(<[u8; 4]>::as_slice));
            write(Some(&r.uri));
        }
    }
    format!("z9hG4bK{:016x}{:016x}", low.finish(), high.finish())
}

/// Takes our Via off a response and says where the next one leads; None when the top Via is not ours or
/// nobody is left behind it, and then the response is dropped. `is_ours` decides: for a cluster also whether
/// the branch carries its signature (RFC 6026 §7.3 forbids to forward what no transaction of ours can have
/// asked for).
pub fn forward_response<'a>(r: &'a mut Response, is_ours: &dyn Fn(&Via<'_>) -> bool) -> Option<Via<'a>> {
    let Some(Ok(top)) = r.top_via() else {
        return None;
    };
    if !is_ours(&top) {
        return None;
    }
    r.headers.pop_top(Name::Via);
    r.top_via()?.ok()
}

/// The 503 of a node that cannot even look at a message (RFC 3261 §21.5.4). The time to come back lies within
/// `seconds` and depends on the call, so that not all come back together. None for what is not answered: an
/// ACK, a response.
pub fn overloaded(message: &Message, seconds: Range<u64>) -> Option<Response> {
    let Message::Request(request) = message else { return None };
    if request.method == Method::Ack {
        return None;
    }
    let mut spread = Stable::new(3);
    spread.write_optional(Some(request.call_id()));
    let wait = seconds.start + spread.finish() % (seconds.end - seconds.start).max(1);
    let to_tag = format!("{:016x}", spread.finish());
    let mut response = Response::to(request, StatusCode::new(503), Some(&to_tag));
    response.headers.append(Name::RetryAfter, wait.to_string());
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{request, response};

    #[test]
    fn a_branch_is_repeated_for_a_retransmission_and_new_for_another_transaction() {
        let ack = request("ACK", "sip:b@example.com", "");
        assert_eq!(branch_of(&ack), branch_of(&ack.clone()));
        assert!(branch_of(&ack).starts_with("z9hG4bK"));
        let mut other = ack.clone();
        other.headers.replace_top(Name::Via, "SIP/2.0/UDP ua.example.org;branch=z9hG4bKub");
        assert_ne!(branch_of(&ack), branch_of(&other));
    }

    #[test]
    fn the_method_does_not_count() {
        assert_eq!(
            branch_of(&request("INVITE", "sip:b@example.com", "")),
            branch_of(&request("CANCEL", "sip:b@example.com", ""))
        );
    }

    #[test]
    fn without_the_cookie_the_transaction_is_told_by_its_fields() {
        let old = |uri| {
            let mut r = request("INVITE", uri, "");
            r.headers.replace_top(Name::Via, "SIP/2.0/UDP ua.example.org");
            r
        };
        assert_eq!(branch_of(&old("sip:b@example.com")), branch_of(&old("sip:b@example.com")));
        assert_ne!(branch_of(&old("sip:b@example.com")), branch_of(&old("sip:c@example.com")));
    }

    #[test]
    fn a_response_loses_our_via_and_goes_to_the_next() {
        let mut r = response(&request("INVITE", "sip:b@example.com", ""), 200);
        let next = forward_response(&mut r, &|via| via.sent_by == "proxy.example.com").unwrap();
        assert_eq!(next.sent_by, "ua.example.org");
        assert_eq!(r.headers.values(Name::Via).count(), 1);
    }

    #[test]
    fn a_response_that_is_not_ours_or_for_nobody_is_dropped_unchanged() {
        let mut foreign = response(&request("INVITE", "sip:b@example.com", ""), 200);
        assert!(forward_response(&mut foreign, &|_| false).is_none());
        assert_eq!(foreign.headers.values(Name::Via).count(), 2);
        let mut last = foreign;
        last.headers.pop_top(Name::Via);
        assert!(forward_response(&mut last, &|_| true).is_none());
    }

    #[test]
    fn overload_says_when_to_come_back_and_answers_no_ack() {
        let invite = Message::Request(request("INVITE", "sip:b@example.com", ""));
        let answer = overloaded(&invite, 2..10).unwrap();
        let wait: u64 =
            std::str::from_utf8(answer.headers.get(Name::RetryAfter).unwrap()).unwrap().parse().unwrap();
        assert_eq!(answer.status.code(), 503);
        assert!((2..10).contains(&wait));
        assert!(overloaded(&Message::Request(request("ACK", "sip:b@example.com", "")), 2..10).is_none());
    }
}
