//! The best response, RFC 3261 §16.7 steps 6 and 7, with RFC 4320 §4.2 and RFC 5626 §11.5.

use sip::{Name, Request, Response, StatusCode};

/// How the chosen response is shaped for the element upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// A 503 goes upstream: a received one when it carries Retry-After, and our own. Otherwise it becomes
    /// 500, since a 503 would say that this proxy as a whole cannot serve (§16.7 step 6).
    pub keep_503: bool,
    /// A 430 goes upstream. Otherwise it becomes 480: endpoints should never receive a 430 (RFC 5626 §11.5).
    pub keep_430: bool,
}

/// The final responses of a response context that are candidates for the best one.
#[derive(Debug)]
pub struct Finals {
    invite: bool,
    best: Option<Response>,
    /// 401 and 407 that were not best: their challenges are still needed (step 7).
    challenges: Vec<Response>,
    /// What our own failures amount to; any received response is better.
    own: Option<StatusCode>,
}

impl Finals {
    /// No finals yet for a request that is an INVITE or not.
    pub fn new(invite: bool) -> Self {
        Self { invite, best: None, challenges: Vec::new(), own: None }
    }

    /// Adds a non-2xx final that a branch has received.
    pub fn add(&mut self, response: Response) {
        // RFC 4320 §4.2: it could not be sent, so it must not stand in the way of one that can.
        if response.status == REQUEST_TIMEOUT && !self.invite {
            return self.add_own(REQUEST_TIMEOUT);
        }
        let loser = match &self.best {
            Some(best) if rank(best.status) <= rank(response.status) => Some(response),
            _ => self.best.replace(response),
        };
        self.challenges.extend(loser.filter(|loser| is_challenge(loser.status)));
    }

    /// Adds a failure that nobody sent: 408 for a time-out (§16.8), 430 or 503 (§16.9) for a hop that could
    /// not be used.
    pub fn add_own(&mut self, status: StatusCode) {
        if self.own.is_none_or(|own| self.rank_own(status) < self.rank_own(own)) {
            self.own = Some(status);
        }
    }

    /// True when there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.best.is_none() && self.own.is_none()
    }

    /// The response for upstream. None when nothing may be said: a non-INVITE request is never answered with
    /// 408 (RFC 4320 §4.2).
    pub fn choose(
        &mut self,
        request: &Request,
        to_tag: &str,
        shape: Shape,
        cancelled: bool,
    ) -> Option<Response> {
        let own = |status| Some(Response::to(request, status, Some(to_tag)));
        let Some(mut best) = self.best.take() else {
            return match self.own.unwrap_or(REQUEST_TIMEOUT) {
                _ if cancelled && self.invite => own(REQUEST_TERMINATED),
                REQUEST_TIMEOUT if !self.invite => None,
                FLOW_FAILED if !shape.keep_430 => own(TEMPORARILY_UNAVAILABLE),
                SERVICE_UNAVAILABLE if !shape.keep_503 => own(SERVER_INTERNAL_ERROR),
                status => own(status),
            };
        };
        match best.status {
            status if is_challenge(status) => {
                for other in &self.challenges {
                    best.headers.copy(&other.headers, Name::WwwAuthenticate);
                    best.headers.copy(&other.headers, Name::ProxyAuthenticate);
                }
                Some(best)
            }
            FLOW_FAILED if !shape.keep_430 => own(TEMPORARILY_UNAVAILABLE),
            SERVICE_UNAVAILABLE if !(shape.keep_503 && best.headers.get(Name::RetryAfter).is_some()) => {
                own(SERVER_INTERNAL_ERROR)
            }
            _ => Some(best),
        }
    }

    /// A target that was silent tells more than one that could not be reached, where it can be told.
    fn rank_own(&self, status: StatusCode) -> u8 {
        match status {
            REQUEST_TIMEOUT if self.invite => 0,
            FLOW_FAILED => 1,
            REQUEST_TIMEOUT => 3,
            _ => 2,
        }
    }
}

/// Step 6, lower is better: 6xx before all; else the lowest class; in it first what helps the caller to ask
/// again, last what says nothing about the callee.
fn rank(status: StatusCode) -> (u16, u8) {
    let class = if status.class() == 6 { 0 } else { status.class() };
    let preference = match status.code() {
        401 | 407 => 0,
        415 | 420 | 484 => 1,
        408 | 430 | 503 => 3,
        _ => 2,
    };
    (class, preference)
}

fn is_challenge(status: StatusCode) -> bool {
    matches!(status.code(), 401 | 407)
}

pub(crate) const REQUEST_TIMEOUT: StatusCode = StatusCode::new(408);
pub(crate) const FLOW_FAILED: StatusCode = StatusCode::new(430);
pub(crate) const MAX_BREADTH_EXCEEDED: StatusCode = StatusCode::new(440);
pub(crate) const TEMPORARILY_UNAVAILABLE: StatusCode = StatusCode::new(480);
pub(crate) const LOOP_DETECTED: StatusCode = StatusCode::new(482);
pub(crate) const REQUEST_TERMINATED: StatusCode = StatusCode::new(487);
pub(crate) const SERVER_INTERNAL_ERROR: StatusCode = StatusCode::new(500);
pub(crate) const SERVICE_UNAVAILABLE: StatusCode = StatusCode::new(503);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{request, response, values};

    /// Status of the choice among received finals and failures of our own.
    fn choice(method: &str, received: &[u16], own: &[u16], shape: Shape) -> Option<u16> {
        let r = request(method, "sip:bob@example.com", "");
        let mut finals = Finals::new(method == "INVITE");
        for code in own {
            finals.add_own(StatusCode::new(*code));
        }
        for code in received {
            finals.add(response(&r, *code));
        }
        finals.choose(&r, "t", shape, false).map(|response| response.status.code())
    }

    #[test]
    fn six_hundreds_first_then_the_lowest_class() {
        let cases: [(&[u16], u16); 6] = [
            (&[404, 603, 302], 603),
            (&[503, 407, 501, 404], 407),
            (&[500, 302, 404], 302),
            (&[500, 486], 486),
            (&[604, 600], 604),
            (&[503, 502], 502),
        ];
        for (received, best) in cases {
            assert_eq!(choice("INVITE", received, &[], Shape::default()), Some(best), "{received:?}");
        }
    }

    #[test]
    fn what_helps_to_ask_again_is_preferred() {
        for better in [401, 407, 415, 420, 484] {
            assert_eq!(choice("INVITE", &[404, better, 480], &[], Shape::default()), Some(better));
        }
        assert_eq!(choice("INVITE", &[430, 408, 486], &[], Shape::default()), Some(486));
    }

    #[test]
    fn our_own_failures_never_outrank_an_answer() {
        for own in [408, 430, 503] {
            assert_eq!(choice("INVITE", &[500], &[own], Shape::default()), Some(500), "{own}");
        }
        assert_eq!(choice("INVITE", &[], &[503, 408, 430], Shape::default()), Some(408));
        assert_eq!(choice("INVITE", &[], &[], Shape::default()), Some(408), "§16.7 step 6: no final at all");
    }

    #[test]
    fn a_non_invite_is_never_answered_408() {
        assert_eq!(choice("MESSAGE", &[], &[408], Shape::default()), None);
        assert_eq!(choice("MESSAGE", &[408], &[], Shape::default()), None);
        assert_eq!(choice("MESSAGE", &[408, 500], &[408], Shape::default()), Some(500));
        assert_eq!(choice("MESSAGE", &[], &[408, 430], Shape::default()), Some(480));
    }

    #[test]
    fn a_503_becomes_500_and_a_430_becomes_480_for_an_endpoint() {
        for (code, expected) in [(503, 500), (430, 480)] {
            assert_eq!(choice("INVITE", &[code], &[], Shape::default()), Some(expected));
            assert_eq!(choice("INVITE", &[], &[code], Shape::default()), Some(expected));
        }
    }

    #[test]
    fn a_503_is_kept_when_it_says_how_long_to_wait() {
        let keep = Shape { keep_503: true, keep_430: true };
        assert_eq!(
            choice("INVITE", &[503], &[], keep),
            Some(500),
            "§21.5.4: without Retry-After it is a 500"
        );
        assert_eq!(choice("INVITE", &[], &[503], keep), Some(503));
        assert_eq!(choice("INVITE", &[430], &[], keep), Some(430));
        let r = request("INVITE", "sip:bob@example.com", "");
        let mut busy = response(&r, 503);
        busy.headers.append(Name::RetryAfter, "7");
        let mut finals = Finals::new(true);
        finals.add(busy);
        let best = finals.choose(&r, "t", keep, false).unwrap();
        assert_eq!(
            (best.status.code(), values(&best.headers, Name::RetryAfter)),
            (503, vec!["7".to_owned()])
        );
    }

    #[test]
    fn all_challenges_come_with_the_chosen_one() {
        let r = request("INVITE", "sip:bob@example.com", "");
        let mut finals = Finals::new(true);
        for (code, name, value) in [
            (407, Name::ProxyAuthenticate, "Digest realm=\"p1\""),
            (404, Name::WwwAuthenticate, "Digest realm=\"not a challenge\""),
            (401, Name::WwwAuthenticate, "Digest realm=\"u2\", nonce=\"1,2\""),
            (407, Name::ProxyAuthenticate, "Digest realm=\"p3\""),
        ] {
            let mut response = response(&r, code);
            response.headers.append(name, value);
            finals.add(response);
        }
        let best = finals.choose(&r, "t", Shape::default(), false).unwrap();
        assert_eq!(best.status.code(), 407);
        assert_eq!(
            values(&best.headers, Name::ProxyAuthenticate),
            ["Digest realm=\"p1\"", "Digest realm=\"p3\""]
        );
        assert_eq!(values(&best.headers, Name::WwwAuthenticate), ["Digest realm=\"u2\", nonce=\"1,2\""]);
    }

    #[test]
    fn our_own_answer_to_a_cancelled_invite_is_487() {
        let r = request("INVITE", "sip:bob@example.com", "");
        let mut finals = Finals::new(true);
        finals.add_own(REQUEST_TIMEOUT);
        assert_eq!(finals.choose(&r, "t", Shape::default(), true).unwrap().status.code(), 487);
    }
}
