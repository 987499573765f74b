//! Calls between two phones, RFC 3261 §13 to §16: set-up, dialog, end, and who is turned away.

use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::oracle::Node;
use cluster_tests::sim::{CallRef, DOMAIN, EP1, EP2, Sim, Topology};
use cluster_tests::ua::message::{elements, first, header, lines, request};
use cluster_tests::ua::{Answer, CallOptions, Register};
use rsip::Method;
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);

/// Bob answers at once and Alice has the call.
fn answered(sim: &mut Sim, alice: usize, bob: usize) -> CallRef {
    sim.order(bob, |bob| bob.answer = Answer::after_ms(100));
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    assert_eq!(sim.call_of(call).last, Some(200));
    call
}

#[test]
fn a_call_over_two_edges_rings_is_answered_and_ended() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(1);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(2_000));
    let call = sim.call(alice, "bob");
    sim.run(3 * SECOND);
    assert_eq!(sim.statuses(call), [180, 200]);
    assert!(sim.ua(bob).dialogs[0].is_acknowledged, "the ACK arrives");
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.ua(bob).dialogs[0].is_over);
}

#[test]
fn both_phones_may_be_behind_one_edge() {
    for (caller, callee) in
        [(Protocol::Udp, Protocol::Udp), (Protocol::Tcp, Protocol::Udp), (Protocol::Udp, Protocol::Tcp)]
    {
        let mut sim = Sim::new(2);
        let alice = sim.phone_with("alice", EP1, caller, |_| {});
        let bob = sim.phone_with("bob", EP1, callee, |_| {});
        sim.register(alice);
        sim.register(bob);
        let call = answered(&mut sim, alice, bob);
        assert_eq!(sim.hang_up(call), Some(200), "{caller} to {callee}");
        assert!(sim.ua(bob).dialogs[0].is_over);
    }
}

#[test]
fn the_callee_may_hang_up() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(3);
    answered(&mut sim, alice, bob);
    assert_eq!(sim.hang_up_dialog(bob, 0), Some(200));
    assert!(sim.ua(alice).dialogs[0].is_over);
}

#[test]
fn both_sides_may_reinvite() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(4);
    answered(&mut sim, alice, bob);
    for phone in [alice, bob] {
        sim.order(phone, |phone| phone.reinvite(0));
        sim.run(SECOND);
        assert_eq!(sim.ua(phone).dialogs[0].reinvite, Some(200));
    }
    assert_eq!(sim.ua(alice).requests("ACK").len(), 1, "Bob's ACK arrives");
    assert_eq!(sim.ua(bob).requests("ACK").len(), 2, "Alice's two ACKs arrive");
    assert_eq!(sim.hang_up_dialog(bob, 0), Some(200));
}

#[test]
fn the_route_set_names_both_edges_with_a_flow_token_each() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(5);
    answered(&mut sim, alice, bob);
    let (near, far) = (sim.edge_address(EP1).to_string(), sim.edge_address(EP2).to_string());
    for (phone, order) in [(alice, [&near, &far]), (bob, [&far, &near])] {
        let route = &sim.ua(phone).dialogs[0].route;
        assert_eq!(route.len(), 2, "{route:?}");
        for (route, edge) in route.iter().zip(order) {
            assert!(route.contains(&format!("@{edge}")) && route.contains(";lr"), "{route}");
        }
    }
}

#[test]
fn a_caller_hears_100_within_200_ms_while_the_cluster_thinks() {
    let slow = Duration::from_millis(600);
    let weather = Weather { store_delay: (slow, slow), ..Weather::fair() };
    let mut sim = Sim::with(6, Topology { call_auth: false, ..Topology::default() }, weather);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(bob);
    let call = sim.call(alice, "bob");
    sim.run_ms(250);
    assert_eq!(sim.ua(alice).responses(100).len(), 1, "§17.2.1");
    sim.run(4 * SECOND);
    assert_eq!(sim.ua(alice).responses(100).len(), 1, "100 is not forwarded: §16.7 step 5");
    assert_eq!(sim.call_of(call).last, Some(200));
}

#[test]
fn a_repeated_invite_is_absorbed_by_the_first_edge() {
    let weather = Weather { duplication: 1_000, ..Weather::fair() };
    let mut sim = Sim::with(7, Topology::default(), weather);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    let call = answered(&mut sim, alice, bob);
    let at_core = sim.count("INVITE", |from| from == Node::Edge(EP1), |to| matches!(to, Node::Core(_)));
    assert_eq!(at_core, 2, "one without and one with credentials");
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1);
    let mut statuses = sim.statuses(call);
    statuses.dedup();
    assert_eq!(statuses, [180, 200]);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_call_survives_loss() {
    for seed in 0..10 {
        let weather = Weather { loss: 150, ..Weather::fair() };
        let mut sim = Sim::with(seed, Topology::default(), weather);
        let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
        sim.register(alice);
        sim.register(bob);
        sim.order(bob, |bob| bob.answer = Answer::after_ms(500));
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, 32 * SECOND), Some(200), "seed {seed}");
        assert!(sim.run_until(32 * SECOND, |sim| sim.ua(bob).dialogs[0].is_acknowledged), "seed {seed}: ACK");
        assert_eq!(sim.hang_up(call), Some(200), "seed {seed}: BYE");
    }
}

#[test]
fn refusals_reach_the_caller() {
    for status in [480, 486, 488, 600, 603] {
        let (mut sim, alice, bob) = Sim::alice_and_bob(8);
        sim.order(bob, |bob| bob.answer = Answer::refuse(status, 300));
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, SECOND), Some(status));
    }
}

#[test]
fn nobody_and_nobody_there_are_told_apart() {
    let mut sim = Sim::new(9);
    let alice = sim.phone("alice", EP1);
    sim.phone("bob", EP2);
    sim.register(alice);
    let unknown = sim.call(alice, "nobody");
    assert_eq!(sim.final_of(unknown, SECOND), Some(404));
    let absent = sim.call(alice, "bob");
    assert_eq!(sim.final_of(absent, SECOND), Some(480));
}

#[test]
fn a_foreign_domain_is_refused() {
    let (mut sim, alice, _) = Sim::alice_and_bob(10);
    let stranger = CallOptions { from: Some("sip:mallory@example.org".to_owned()), ..CallOptions::default() };
    let call = sim.call_as(alice, "sip:bob@example.net", stranger);
    assert_eq!(sim.final_of(call, SECOND), Some(403), "no open relay");
}

#[test]
fn a_caller_is_who_he_says_or_is_challenged() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(11);
    let options = CallOptions { from: Some(format!("sip:bob@{DOMAIN}")), ..CallOptions::default() };
    let call = sim.call_as(alice, &format!("sip:bob@{DOMAIN}"), options);
    assert_eq!(sim.final_of(call, SECOND), Some(403), "Alice's credentials do not make her Bob");
    assert!(sim.ua(bob).requests("INVITE").is_empty());
}

#[test]
fn a_wrong_password_places_no_call() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(12);
    sim.order(alice, |alice| alice.profile.password = "guess".to_owned());
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, SECOND), Some(407));
    assert!(sim.ua(bob).requests("INVITE").is_empty());
}

#[test]
fn credentials_for_the_cluster_do_not_reach_the_callee() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(13);
    answered(&mut sim, alice, bob);
    let invite = sim.ua(bob).requests("INVITE")[0];
    assert!(lines(&invite.headers, "Proxy-Authorization").is_empty(), "§22.3: consumed by the realm's proxy");
}

#[test]
fn a_request_without_hops_left_ends() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(14);
    // One hop reaches the core, two the second edge; the phone itself would be the third.
    for hops in 0..3 {
        let options = CallOptions { max_forwards: hops, ..CallOptions::default() };
        let call = sim.call_as(alice, &format!("sip:bob@{DOMAIN}"), options);
        assert_eq!(sim.final_of(call, SECOND), Some(483), "{hops} hops");
    }
    assert!(sim.ua(bob).requests("INVITE").is_empty());
}

#[test]
fn a_loop_is_detected() {
    let mut sim = Sim::with(15, Topology { call_auth: false, ..Topology::default() }, Weather::fair());
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP1));
    sim.register(alice);
    sim.register(bob);
    sim.order(bob, |bob| bob.answer = Answer::silent());
    sim.call(alice, "bob");
    sim.run_ms(300);
    // Bob is no phone but a proxy that sends the call back to where it came from.
    let invite = sim.ua(bob).requests("INVITE")[0].clone();
    let mut headers =
        vec![header("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bKloop", sim.ua(bob).profile.host))];
    headers.extend(invite.headers.iter().cloned());
    let text = request(Method::Invite, &format!("sip:bob@{DOMAIN}"), headers);
    sim.order(bob, |bob| bob.say(0, text));
    sim.run_ms(300);
    let answers = sim.ua(bob).responses(482);
    assert_eq!(answers.len(), 1, "§16.3 step 4");
    assert_eq!(cluster_tests::ua::message::branch(&answers[0].headers), "z9hG4bKloop");
}

#[test]
fn a_phone_without_power_is_408_after_timer_b() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(16);
    sim.order(bob, |bob| bob.is_on = false);
    let call = sim.call(alice, "bob");
    let start = sim.now();
    assert_eq!(sim.final_of(call, 40 * SECOND), Some(408));
    let took = sim.now() - start;
    assert!((32 * SECOND..34 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn a_phone_that_rings_for_ever_is_cancelled_by_timer_c() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(17);
    sim.order(bob, |bob| bob.answer = Answer::never());
    let call = sim.call(alice, "bob");
    sim.run(180 * SECOND);
    assert_eq!(sim.call_of(call).last, None, "§16.6 step 11: Timer C is longer than three minutes");
    let last = sim.final_of(call, 60 * SECOND);
    assert!(matches!(last, Some(408 | 487)), "{last:?}");
    assert_eq!(sim.ua(bob).transactions("CANCEL").len(), 1);
    assert!(!sim.ua(bob).is_ringing());
}

#[test]
fn a_message_is_delivered_and_answered() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(18);
    // The challenge of a first call is remembered.
    answered(&mut sim, alice, bob);
    let target = format!("sip:bob@{DOMAIN}");
    let number = sim.order(alice, |alice| alice.ask(0, Method::Message, &target, CallOptions::default()));
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).outcomes[number].status, Some(200));
    assert_eq!(sim.ua(bob).requests("MESSAGE").len(), 1);
}

#[test]
fn a_message_to_a_dead_phone_gets_no_408() {
    let topology = Topology { call_auth: false, ..Topology::default() };
    let mut sim = Sim::with(19, topology, Weather::fair());
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(bob);
    sim.order(bob, |bob| bob.is_on = false);
    let target = format!("sip:bob@{DOMAIN}");
    sim.order(alice, |alice| alice.ask(0, Method::Message, &target, CallOptions::default()));
    sim.run(60 * SECOND);
    assert!(sim.ua(alice).responses(408).is_empty(), "RFC 4320 §4.2");
}

#[test]
fn the_domain_itself_answers_options() {
    let topology = Topology { call_auth: false, ..Topology::default() };
    let mut sim = Sim::with(20, topology, Weather::fair());
    let alice = sim.phone("alice", EP1);
    let target = format!("sip:{DOMAIN}");
    let number = sim.order(alice, |alice| alice.ask(0, Method::Options, &target, CallOptions::default()));
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).outcomes[number].status, Some(200));
    let answer = sim.ua(alice).responses(200)[0];
    assert!(first(&answer.headers, "Allow").contains("INVITE"));
    assert!(elements(&answer.headers, "Supported").contains(&"path".to_owned()));
}

#[test]
fn what_nobody_waits_for_is_refused_or_dropped() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(21);
    let branch = "z9hG4bKstray";
    let via = format!("SIP/2.0/UDP {};rport;branch={branch}", sim.ua(alice).profile.host);
    let headers = vec![
        header("Via", via),
        header("Max-Forwards", "70"),
        header("From", format!("<sip:alice@{DOMAIN}>;tag=a")),
        header("To", format!("<sip:bob@{DOMAIN}>")),
        header("Call-ID", "stray"),
        header("CSeq", "1 OPTIONS"),
        header("Content-Length", "0"),
    ];
    // A response to nothing: RFC 6026 §7.3.
    let response = cluster_tests::ua::message::response(200, headers);
    let text = response.replace(
        "Via: ",
        &format!("Via: SIP/2.0/UDP {};branch=z9hG4bKnever\r\nVia: ", sim.edge_address(EP1)),
    );
    sim.oracle.ignore_next();
    sim.order(alice, |alice| alice.say(0, text));
    sim.run(SECOND);
    // Not to the phone of the second Via, nor to anybody else.
    for phone in [alice, bob] {
        let heard = sim.ua(phone).heard.iter();
        let mut calls =
            heard.map(|heard| first(cluster_tests::ua::message::headers(&heard.message), "Call-ID"));
        assert!(calls.all(|call| call != "stray"));
    }
}

#[test]
fn a_cancel_for_nothing_is_481() {
    let (mut sim, alice, _) = Sim::alice_and_bob(22);
    let headers = vec![
        header("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bKnothing", sim.ua(alice).profile.host)),
        header("Max-Forwards", "70"),
        header("From", format!("<sip:alice@{DOMAIN}>;tag=a")),
        header("To", format!("<sip:bob@{DOMAIN}>")),
        header("Call-ID", "nothing"),
        header("CSeq", "1 CANCEL"),
        header("Content-Length", "0"),
    ];
    sim.oracle.ignore_next();
    let text = request(Method::Cancel, &format!("sip:bob@{DOMAIN}"), headers);
    sim.order(alice, |alice| alice.say(0, text));
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).responses(481).len(), 1, "§9.2");
}

#[test]
fn a_route_that_an_outsider_composes_is_not_followed() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(23);
    let extra = vec![("Route".to_owned(), "<sip:192.0.2.66;lr>".to_owned())];
    let options = CallOptions { extra, ..CallOptions::default() };
    let call = sim.call_as(alice, &format!("sip:bob@{DOMAIN}"), options);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1);
}

#[test]
fn a_binding_refreshed_in_a_call_changes_nothing_for_the_call() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(24);
    let call = answered(&mut sim, alice, bob);
    sim.register_as(bob, Register { expires: Some(0), ..Register::on(0) });
    assert_eq!(sim.hang_up(call), Some(200), "the route set knows the flow");
}

/// RFC 3261 §16.5 wants 480 for who is not there; who does not exist is told to users of ours only.
#[test]
fn a_stranger_does_not_learn_who_exists() {
    let mut sim = Sim::new(30);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    let own = format!("sip:alice@{DOMAIN}");
    for (from, absent, unknown) in [("sip:alice@example.net", 480, 480), (own.as_str(), 480, 404)] {
        for (callee, status) in [("bob", absent), ("nobody", unknown)] {
            let options = CallOptions { from: Some(from.to_owned()), ..CallOptions::default() };
            let call = sim.call_as(alice, &format!("sip:{callee}@{DOMAIN}"), options);
            assert_eq!(sim.final_of(call, SECOND), Some(status), "{from} calls {callee}");
        }
    }
    assert!(sim.ua(bob).requests("INVITE").is_empty());
}
