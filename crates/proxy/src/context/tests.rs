//! The response context by scripts. Longer than other files: one table of cases over one harness, which the sections of
//! §16.7 share.

use sip::Name;

use super::*;
use crate::testing::{self, values};

/// A context with its clock; what it does is written down as words, one turn per call.
struct Run {
    context: ResponseContext,
    now: Instant,
    copies: Vec<Request>,
    responses: Vec<Response>,
    /// Of every CANCEL.
    reasons: Vec<Option<Bytes>>,
}

impl Run {
    fn new(request: Request, options: Options) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin of virtual time")]
        let now = Instant::now();
        let context = ResponseContext::new(request, "own".into(), options);
        Self { context, now, copies: Vec::new(), responses: Vec::new(), reasons: Vec::new() }
    }

    /// An INVITE that has been forked to the targets, and what that did.
    fn invite(targets: &[Target]) -> Self {
        Self::of("INVITE", "", targets).0
    }

    fn of(method: &str, extra: &str, targets: &[Target]) -> (Self, String) {
        let mut run = Self::new(testing::request(method, "sip:bob@example.com", extra), Options::default());
        let did = run.start(targets);
        (run, did)
    }

    fn turn(&mut self, step: impl FnOnce(&mut ResponseContext, Instant, &mut Vec<Action>)) -> String {
        let mut out = Vec::new();
        step(&mut self.context, self.now, &mut out);
        let words = out.into_iter().map(|action| match action {
            Action::Forward { branch, request, tag } => {
                assert_eq!(branch.index(), self.copies.len());
                self.copies.push(request);
                format!("forward {tag}")
            }
            Action::Cancel { branch, reason } => {
                self.reasons.push(reason);
                format!("cancel {}", branch.index())
            }
            Action::Abandon { branch } => format!("abandon {}", branch.index()),
            Action::Respond(response) => {
                let vias = values(&response.headers, Name::Via);
                assert_eq!(vias, ["SIP/2.0/UDP ua.example.org;branch=z9hG4bKua"], "the Vias of the request");
                let code = response.status.code();
                self.responses.push(response);
                format!("respond {code}")
            }
            Action::Done => "done".to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn start(&mut self, targets: &[Target]) -> String {
        let targets = targets.iter().cloned().collect();
        self.turn(|context, now, out| context.start(targets, now, out))
    }

    fn receive(&mut self, branch: usize, code: u16) -> String {
        let response = testing::response(&self.copies[branch], code);
        self.turn(|context, now, out| context.on_response(BranchId::at(branch), response, now, out))
    }

    fn fail(&mut self, branch: usize, failure: Failure) -> String {
        self.turn(|context, now, out| context.on_failure(BranchId::at(branch), failure, now, out))
    }

    fn orphan(&mut self, branch: usize) -> String {
        self.turn(|context, now, out| context.orphan(BranchId::at(branch), now, out))
    }

    fn cancel(&mut self) -> String {
        self.turn(|context, now, out| context.on_cancel(None, now, out))
    }

    fn wait(&mut self, seconds: u64) -> String {
        self.now += Duration::from_secs(seconds);
        self.turn(ResponseContext::on_timeout)
    }
}

fn target(tag: u64) -> Target {
    Target::new(format!("sip:bob@192.0.2.{tag}"), tag)
}

fn ranked(tag: u64, q: u16) -> Target {
    Target { q, ..target(tag) }
}

fn of_instance(tag: u64, instance: &'static str) -> Target {
    Target { instance: Some(instance.into()), ..target(tag) }
}

mod responses {
    use super::*;

    #[test]
    fn ringing_and_answer_pass_at_once_and_100_does_not() {
        let mut run = Run::invite(&[target(1)]);
        assert_eq!(run.receive(0, 100), "");
        assert_eq!(run.receive(0, 180), "respond 180");
        assert_eq!(run.receive(0, 183), "respond 183");
        assert_eq!(run.receive(0, 200), "respond 200");
        assert_eq!(run.receive(0, 180), "", "no provisional after a final");
    }

    /// RFC 3261 §16.7 step 5, RFC 6026 §7.2.
    #[test]
    fn every_2xx_of_an_invite_passes() {
        let mut run = Run::invite(&[target(1), target(2)]);
        assert_eq!(run.receive(0, 200), "respond 200, cancel 1");
        assert_eq!(run.receive(0, 200), "respond 200", "a retransmission");
        assert_eq!(run.receive(1, 200), "respond 200", "it crossed the CANCEL");
        assert_eq!(run.wait(32), "done");
        assert_eq!(run.receive(0, 200), "");
    }

    #[test]
    fn an_accepted_branch_ends_with_its_transaction() {
        let mut run = Run::invite(&[target(1)]);
        run.receive(0, 200);
        assert!(run.context.next_timeout().is_some());
        assert_eq!(run.turn(|context, now, out| context.on_ended(BranchId::at(0), now, out)), "done");
        assert_eq!(run.context.next_timeout(), None);
    }

    #[test]
    fn finals_wait_for_the_last_branch_and_the_best_is_given_once() {
        let mut run = Run::invite(&[target(1), target(2), target(3)]);
        assert_eq!(run.receive(0, 404), "");
        assert_eq!(run.receive(2, 486), "");
        assert_eq!(run.receive(1, 302), "respond 302, done");
        assert!(run.context.is_done());
        assert_eq!(run.receive(1, 302), "");
    }

    #[test]
    fn a_2xx_wins_over_earlier_finals() {
        let mut run = Run::invite(&[target(1), target(2)]);
        assert_eq!(run.receive(0, 404), "");
        assert_eq!(run.receive(1, 200), "respond 200");
    }

    /// RFC 3261 §16.7 step 5: it cancels at once and is forwarded when the rest has ended.
    #[test]
    fn a_6xx_cancels_the_others_and_waits_for_them() {
        let mut run = Run::invite(&[target(1), target(2), ranked(3, 1)]);
        run.receive(1, 180);
        assert_eq!(run.receive(0, 603), "cancel 1");
        assert_eq!(run.receive(1, 487), "respond 603, done");
        assert_eq!(run.copies.len(), 2, "no new branches");
    }

    #[test]
    fn a_2xx_that_crosses_the_cancel_of_a_6xx_is_the_answer() {
        let mut run = Run::invite(&[target(1), target(2)]);
        assert_eq!(run.receive(0, 600), "cancel 1");
        assert_eq!(run.receive(1, 200), "respond 200");
        assert_eq!(run.wait(32), "done");
    }

    /// RFC 3261 §16.7 step 3.
    #[test]
    fn a_response_without_a_via_for_upstream_is_not_forwarded() {
        let mut run = Run::invite(&[target(1)]);
        let mut bare = testing::response(&run.copies[0], 200);
        bare.headers.remove(Name::Via);
        bare.headers.append(Name::Via, "SIP/2.0/TLS proxy.example.com;branch=z9hG4bKus");
        let did = run.turn(|context, now, out| context.on_response(BranchId::at(0), bare, now, out));
        assert_eq!(did, "respond 500, done");
    }

    #[test]
    fn a_forwarded_response_is_otherwise_untouched() {
        let mut run = Run::invite(&[target(1)]);
        let mut response = testing::response(&run.copies[0], 200);
        response.headers.append(Name::RecordRoute, "<sip:e2;lr>");
        response.body = "v=0".into();
        let mut expected = response.clone();
        expected.headers.pop_top(Name::Via);
        run.turn(|context, now, out| context.on_response(BranchId::at(0), response, now, out));
        assert_eq!(run.responses[0].encode(), expected.encode());
    }

    #[test]
    fn own_answers_carry_the_own_tag() {
        let mut run = Run::invite(&[target(1)]);
        assert_eq!(run.fail(0, Failure::Timeout), "respond 408, done");
        assert_eq!(run.responses[0].to_tag(), Some("own"));
    }
}

mod forking {
    use super::*;

    #[test]
    fn an_empty_set_is_480() {
        let (run, did) = Run::of("INVITE", "", &[]);
        assert_eq!(did, "respond 480, done");
        assert!(run.context.is_done());
    }

    #[test]
    fn a_refusal_comes_instead_of_branches() {
        let mut run = Run::new(testing::request("INVITE", "sip:bob@example.com", ""), Options::default());
        assert_eq!(
            run.turn(|context, _, out| context.reject(&Reject::new(StatusCode::new(404)), out)),
            "respond 404, done"
        );
        assert_eq!(run.start(&[target(1)]), "");
    }

    #[test]
    fn groups_are_tried_one_after_another() {
        let (mut run, did) = Run::of("INVITE", "", &[ranked(1, 500), ranked(2, 900), ranked(3, 500)]);
        assert_eq!(did, "forward 2");
        run.receive(0, 180);
        assert_eq!(run.receive(0, 486), "forward 1, forward 3");
        assert_eq!(run.receive(1, 404), "");
        assert_eq!(run.fail(2, Failure::Timeout), "respond 486, done", "the first of the lowest class");
    }

    #[test]
    fn a_2xx_ends_the_search() {
        let mut run = Run::invite(&[ranked(1, 900), ranked(2, 500)]);
        assert_eq!(run.receive(0, 200), "respond 200");
        assert_eq!(run.wait(32), "done");
        assert_eq!(run.copies.len(), 1);
    }

    #[test]
    fn every_branch_has_its_own_route() {
        let with = |tag, route: &[&'static str]| Target {
            route: route.iter().map(|value| (*value).into()).collect(),
            ..target(tag)
        };
        let targets = [
            with(1, &["<sip:t1@ep1;lr>"]),
            with(2, &[]),
            ranked(4, 10),
            with(3, &["<sip:t3@ep3;lr>", "<sip:x;lr>"]),
        ];
        let (mut run, did) = Run::of("INVITE", "Route: <sip:rest;lr>\r\n", &targets);
        assert_eq!(did, "forward 1, forward 2, forward 3");
        run.receive(0, 486);
        run.receive(1, 486);
        assert_eq!(run.receive(2, 486), "forward 4");
        let routes: Vec<_> = run.copies.iter().map(|copy| values(&copy.headers, Name::Route)).collect();
        assert_eq!(
            routes,
            [
                vec!["<sip:t1@ep1;lr>", "<sip:rest;lr>"],
                vec!["<sip:rest;lr>"],
                vec!["<sip:t3@ep3;lr>", "<sip:x;lr>", "<sip:rest;lr>"],
                vec!["<sip:rest;lr>"],
            ]
        );
    }

    #[test]
    fn a_late_target_starts_beside_the_others() {
        let mut run = Run::invite(&[target(1)]);
        let did = run.turn(|context, now, out| {
            assert_eq!(context.add_target(target(7), now, out), Some(BranchId::at(1)));
        });
        assert_eq!(did, "forward 7");
        assert_eq!(run.fail(0, Failure::Transport), "");
        assert_eq!(run.receive(1, 200), "respond 200");
        let did = run.turn(|context, now, out| assert_eq!(context.add_target(target(8), now, out), None));
        assert_eq!(did, "");
    }
}

/// RFC 5626 §7.
mod instances {
    use super::*;

    fn two_and_one() -> (Run, String) {
        Run::of("INVITE", "", &[of_instance(1, "a"), of_instance(2, "a"), of_instance(3, "b")])
    }

    #[test]
    fn one_branch_at_a_time() {
        let (mut run, did) = two_and_one();
        assert_eq!(did, "forward 1, forward 3");
        assert_eq!(run.receive(0, 430), "forward 2", "while the other UA still rings");
        assert_eq!(run.receive(1, 486), "");
        assert_eq!(run.receive(2, 480), "respond 486, done");
    }

    #[test]
    fn what_breaks_a_way_leads_to_the_next() {
        for failure in [Failure::Timeout, Failure::Transport, Failure::NoRoute] {
            assert_eq!(two_and_one().0.fail(0, failure), "forward 2", "{failure:?}");
        }
        assert_eq!(two_and_one().0.receive(0, 408), "forward 2", "the next hop timed out");
    }

    #[test]
    fn an_answer_of_the_ua_is_its_answer() {
        for code in [302, 404, 486, 500, 503] {
            assert_eq!(two_and_one().0.receive(0, code), "", "{code}");
        }
    }

    #[test]
    fn a_ua_that_has_rung_is_not_rung_again() {
        let (mut run, _) = two_and_one();
        run.receive(0, 180);
        assert_eq!(run.receive(0, 408), "");
    }

    #[test]
    fn a_replaced_branch_is_no_candidate() {
        let mut run = Run::invite(&[of_instance(1, "a"), of_instance(2, "a")]);
        assert_eq!(run.receive(0, 430), "forward 2");
        assert_eq!(run.receive(1, 500), "respond 500, done");
    }

    #[test]
    fn no_alternative_is_left() {
        let mut run = Run::invite(&[of_instance(1, "a"), of_instance(2, "a")]);
        assert_eq!(run.receive(0, 430), "forward 2");
        assert_eq!(run.receive(1, 430), "respond 480, done", "§11.5: no endpoint sees a 430");
    }

    #[test]
    fn the_next_group_waits_for_the_alternatives() {
        let mut run = Run::invite(&[of_instance(1, "a"), of_instance(2, "a"), ranked(3, 1)]);
        assert_eq!(run.fail(0, Failure::NoRoute), "forward 2");
        assert_eq!(run.fail(1, Failure::NoRoute), "forward 3");
    }

    #[test]
    fn no_alternative_after_a_final_a_6xx_or_a_cancel() {
        let (mut run, _) = two_and_one();
        run.receive(1, 200);
        assert_eq!(run.receive(0, 430), "");
        let (mut run, _) = two_and_one();
        run.receive(1, 603);
        assert_eq!(run.receive(0, 430), "respond 603, done");
        let (mut run, _) = two_and_one();
        run.cancel();
        assert_eq!(run.receive(0, 430), "");
    }
}

mod timer_c {
    use super::*;

    #[test]
    fn is_longer_than_three_minutes() {
        assert!(Options::default().timer_c > Duration::from_secs(180));
        let run = Run::invite(&[target(1)]);
        assert_eq!(run.context.next_timeout(), Some(run.now + Options::default().timer_c));
    }

    #[test]
    fn a_silent_branch_counts_as_408() {
        let mut run = Run::invite(&[target(1)]);
        assert_eq!(run.wait(189), "");
        assert_eq!(run.wait(1), "abandon 0, respond 408, done");
    }

    #[test]
    fn every_provisional_but_100_starts_it_again() {
        let mut run = Run::invite(&[target(1)]);
        run.wait(100);
        run.receive(0, 180);
        assert_eq!(run.wait(189), "");
        run.receive(0, 183);
        assert_eq!(run.wait(189), "");
        run.receive(0, 100);
        assert_eq!(run.wait(1), "cancel 0");
        assert_eq!(run.receive(0, 487), "respond 487, done");
    }

    #[test]
    fn a_branch_that_ignores_its_cancel_is_given_up_after_64_t1() {
        let mut run = Run::invite(&[target(1)]);
        run.receive(0, 100);
        assert_eq!(run.wait(190), "cancel 0");
        run.receive(0, 180);
        assert_eq!(run.wait(31), "");
        assert_eq!(run.wait(1), "abandon 0, respond 408, done");
    }

    #[test]
    fn belongs_to_invite() {
        assert_eq!(Run::of("MESSAGE", "", &[target(1)]).0.context.next_timeout(), None);
    }
}

mod cancel {
    use super::*;

    #[test]
    fn before_the_first_branch_the_answer_is_487() {
        let mut run = Run::new(testing::request("INVITE", "sip:bob@example.com", ""), Options::default());
        assert_eq!(run.cancel(), "respond 487, done");
        assert_eq!(run.start(&[target(1)]), "", "the lookup comes too late");
    }

    #[test]
    fn every_pending_branch_is_cancelled_and_their_answers_decide() {
        let mut run = Run::invite(&[target(1), target(2), ranked(3, 1)]);
        run.receive(0, 180);
        assert_eq!(run.cancel(), "cancel 0, cancel 1");
        assert_eq!(run.cancel(), "", "once");
        assert_eq!(run.receive(0, 487), "");
        assert_eq!(run.receive(1, 487), "respond 487, done");
    }

    #[test]
    fn a_2xx_that_crosses_it_still_wins() {
        let mut run = Run::invite(&[target(1)]);
        run.cancel();
        assert_eq!(run.receive(0, 200), "respond 200");
    }

    #[test]
    fn a_branch_that_stays_silent_ends_and_the_answer_is_487() {
        let mut run = Run::invite(&[target(1), target(2)]);
        run.receive(0, 180);
        run.cancel();
        assert_eq!(run.fail(1, Failure::Timeout), "");
        assert_eq!(run.wait(32), "abandon 0, respond 487, done");
    }

    /// The CANCEL waits for the first provisional response (RFC 3261 §9.1), so does the patience after it.
    #[test]
    fn patience_starts_when_the_cancel_can_leave() {
        let mut run = Run::invite(&[target(1)]);
        run.cancel();
        assert_eq!(run.wait(40), "");
        assert_eq!(run.receive(0, 100), "");
        assert_eq!(run.wait(31), "");
        assert_eq!(run.wait(1), "abandon 0, respond 487, done");
    }

    /// RFC 3261 §9.2.
    #[test]
    fn has_no_effect_on_other_methods() {
        let (mut run, _) = Run::of("MESSAGE", "", &[target(1)]);
        assert_eq!(run.cancel(), "");
        assert_eq!(run.receive(0, 200), "respond 200, done");
    }

    /// RFC 3326 §2.
    #[test]
    fn its_reason_goes_on_and_other_branches_give_one() {
        let mut run = Run::invite(&[target(1), target(2)]);
        let reason = Bytes::from_static(b"Q.850;cause=16, SIP;cause=487");
        run.turn(|context, now, out| context.on_cancel(Some(&reason), now, out));
        assert_eq!(run.reasons, [Some(reason.clone()), Some(reason)]);
        for (code, reason) in [
            (200, "SIP;cause=200;text=\"Call completed elsewhere\""),
            (603, "SIP;cause=603;text=\"Decline\""),
        ] {
            let mut run = Run::invite(&[target(1), target(2)]);
            run.receive(0, code);
            assert_eq!(run.reasons, [Some(Bytes::from(reason))]);
        }
    }

    #[test]
    fn has_no_effect_after_a_final() {
        let mut run = Run::invite(&[target(1)]);
        run.receive(0, 200);
        assert_eq!(run.cancel(), "");
    }
}

/// RFC 4320 and RFC 3261 §9.1.
mod other_methods {
    use super::*;

    #[test]
    fn silence_is_not_answered() {
        let (mut run, _) = Run::of("MESSAGE", "", &[target(1), target(2)]);
        assert_eq!(run.fail(0, Failure::Timeout), "");
        assert_eq!(run.receive(1, 408), "done");
    }

    #[test]
    fn exactly_one_final_and_no_cancel() {
        let (mut run, _) = Run::of("MESSAGE", "", &[target(1), target(2)]);
        assert_eq!(run.receive(0, 200), "respond 200");
        assert_eq!(run.receive(1, 200), "done");
    }

    #[test]
    fn no_provisional_is_forwarded() {
        let (mut run, _) = Run::of("MESSAGE", "", &[target(1)]);
        assert_eq!(run.receive(0, 100), "");
        assert_eq!(run.receive(0, 183), "");
        assert_eq!(run.fail(0, Failure::Transport), "respond 500, done");
    }
}

/// The next hop of a branch died.
mod orphans {
    use super::*;

    #[test]
    fn alone_it_is_waited_for() {
        let mut run = Run::invite(&[target(1)]);
        run.receive(0, 180);
        assert_eq!(run.orphan(0), "");
        assert_eq!(run.receive(0, 200), "respond 200", "over another way");
        assert_eq!(run.wait(32), "done");
    }

    #[test]
    fn others_do_not_wait_for_it() {
        let mut run = Run::invite(&[target(1), target(2), ranked(3, 1)]);
        run.receive(0, 100);
        assert_eq!(run.orphan(0), "");
        assert_eq!(run.receive(1, 404), "forward 3");
        assert_eq!(run.receive(2, 486), "respond 404, cancel 0, done");
        assert_eq!(run.receive(0, 200), "", "a final has been given");
    }

    #[test]
    fn heard_of_again_it_counts_as_any_other() {
        let mut run = Run::invite(&[target(1), target(2)]);
        run.orphan(0);
        assert_eq!(run.receive(0, 180), "respond 180");
        assert_eq!(run.receive(1, 404), "");
        assert_eq!(run.receive(0, 200), "respond 200");
    }

    #[test]
    fn its_final_counts() {
        let mut run = Run::invite(&[target(1), target(2)]);
        run.orphan(0);
        assert_eq!(run.receive(0, 486), "");
        assert_eq!(run.receive(1, 603), "respond 603, done");
    }

    /// RFC 3261 §8.2.2.2: the UA has got the request already, over the branch that seemed lost.
    #[test]
    fn a_merged_request_proves_that_it_arrived() {
        let mut run = Run::invite(&[target(1)]);
        run.turn(|context, now, out| {
            context.add_target(target(1), now, out);
        });
        assert_eq!(run.orphan(0), "");
        assert_eq!(run.receive(1, 482), "");
        assert_eq!(run.receive(0, 180), "respond 180");
        assert_eq!(run.receive(0, 200), "respond 200");
    }

    #[test]
    fn the_next_alternative_starts_unless_the_ua_was_reached() {
        let mut run = Run::invite(&[of_instance(1, "a"), of_instance(2, "a")]);
        assert_eq!(run.orphan(0), "forward 2");
        assert_eq!(run.orphan(0), "", "once");
        let mut run = Run::invite(&[of_instance(1, "a"), of_instance(2, "a")]);
        run.receive(0, 180);
        assert_eq!(run.orphan(0), "");
    }

    #[test]
    fn a_cancel_reaches_it() {
        let mut run = Run::invite(&[target(1)]);
        run.receive(0, 180);
        run.orphan(0);
        assert_eq!(run.cancel(), "cancel 0");
        assert_eq!(run.receive(0, 487), "respond 487, done");
    }

    #[test]
    fn timer_c_ends_it() {
        let mut run = Run::invite(&[target(1)]);
        run.orphan(0);
        assert_eq!(run.wait(190), "abandon 0, respond 408, done");
    }
}

/// RFC 5393 §5.3.3.
mod max_breadth {
    use super::*;

    fn shares(run: &Run) -> Vec<String> {
        run.copies.iter().map(|copy| values(&copy.headers, Name::MaxBreadth).concat()).collect()
    }

    #[test]
    fn is_split_over_parallel_branches() {
        assert_eq!(shares(&Run::invite(&[target(1), target(2)])), ["30", "30"]);
        let (run, _) = Run::of("INVITE", "Max-Breadth: 7\r\n", &[target(1), target(2), target(3)]);
        assert_eq!(shares(&run), ["3", "2", "2"]);
    }

    #[test]
    fn goes_on_as_it_came_on_a_single_branch() {
        let (run, _) = Run::of("INVITE", "Max-Breadth: 7\r\n", &[target(1)]);
        assert_eq!(shares(&run), ["7"]);
        let (run, _) = Run::of("INVITE", "Max-Breadth: 1000\r\n", &[target(1)]);
        assert_eq!(shares(&run), ["60"]);
    }

    #[test]
    fn is_in_every_forwarded_request_once() {
        for extra in ["", "Max-Breadth: many\r\n", "Max-Breadth: 60\r\nMax-Breadth: 60\r\n"] {
            for method in ["INVITE", "BYE", "FROB"] {
                let (run, _) = Run::of(method, extra, &[target(1)]);
                let lines: Vec<_> =
                    run.copies.iter().map(|copy| copy.headers.lines(Name::MaxBreadth).count()).collect();
                assert_eq!((shares(&run), lines), (vec!["60".to_owned()], vec![1]), "{method} {extra}");
            }
        }
    }

    #[test]
    fn comes_back_for_the_next_group_and_the_next_alternative() {
        let targets = [of_instance(1, "a"), of_instance(2, "a"), target(3), ranked(4, 1)];
        let (mut run, _) = Run::of("INVITE", "Max-Breadth: 4\r\n", &targets);
        run.receive(0, 430);
        run.receive(1, 486);
        run.receive(2, 486);
        assert_eq!(shares(&run), ["2", "2", "2", "4"]);
    }

    #[test]
    fn too_little_is_440() {
        let (_, did) = Run::of("INVITE", "Max-Breadth: 1\r\n", &[target(1), target(2)]);
        assert_eq!(did, "respond 440, done");
        let (_, did) = Run::of("INVITE", "Max-Breadth: 1\r\n", &[ranked(1, 2), ranked(2, 1)]);
        assert_eq!(did, "forward 1", "one after the other needs no more");
    }

    #[test]
    fn a_retry_takes_over_the_share_of_what_it_replaces() {
        let (mut run, _) = Run::of("INVITE", "Max-Breadth: 9\r\n", &[target(1)]);
        run.turn(|context, now, out| {
            context.add_target(target(2), now, out);
        });
        assert_eq!(shares(&run), ["9", "9"]);
    }
}
