//! What the users see when something dies: the table of promises, line by line.

use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::oracle::Node;
use cluster_tests::sim::{CallRef, EP1, EP2, Sim, Topology};
use cluster_tests::ua::{Answer, Register};
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);

/// The core that is home to a call.
fn home(sim: &Sim, call: CallRef) -> usize {
    sim.home_of(&sim.call_of(call).call_id)
}

fn ringing(seed: u64, answer: Answer) -> (Sim, CallRef, usize) {
    let (mut sim, alice, bob) = Sim::alice_and_bob(seed);
    sim.order(bob, |bob| bob.answer = answer);
    let call = sim.call(alice, "bob");
    sim.run_ms(300);
    (sim, call, bob)
}

#[test]
fn a_core_that_dies_over_a_register_is_not_noticed() {
    for ms in [2, 6, 8, 10, 12] {
        let mut sim = Sim::new(1);
        let alice = sim.phone("alice", EP1);
        sim.register(alice);
        let core = sim.home_of(&sim.ua(alice).registrations[0].call_id);
        let number =
            sim.order(alice, |alice| alice.register(Register { expires: Some(600), ..Register::on(0) }));
        sim.run_ms(ms);
        sim.kill_core(core);
        sim.run(3 * SECOND);
        let registration = &sim.ua(alice).registrations[number];
        assert_eq!(registration.status, Some(200), "killed after {ms} ms");
        assert!(
            registration.contacts[0].contains("expires=600")
                || registration.contacts[0].contains("expires=59")
        );
    }
}

#[test]
fn a_core_that_dies_before_it_has_answered_a_call_is_not_noticed() {
    let slow = Duration::from_millis(100);
    let topology = Topology { call_auth: false, ..Topology::default() };
    let mut sim = Sim::with(2, topology, Weather { store_delay: (slow, slow), ..Weather::fair() });
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(bob);
    let call = sim.call(alice, "bob");
    sim.run_ms(50);
    let core = home(&sim, call);
    sim.kill_core(core);
    assert_eq!(sim.final_of(call, 4 * SECOND), Some(200));
    assert_eq!(sim.statuses(call), [180, 200]);
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1, "Bob's phone rings once");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_core_that_dies_when_the_phone_rings_and_nobody_knows_it_yet() {
    // Every millisecond between the INVITE at the core and the 180 at the caller.
    for ms in 1..40 {
        let topology = Topology { call_auth: false, ..Topology::default() };
        let mut sim = Sim::with(3, topology, Weather::fair());
        let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
        sim.register(bob);
        sim.order(bob, |bob| bob.answer = Answer::after_ms(4_000));
        let call = sim.call(alice, "bob");
        sim.run_ms(ms);
        let core = home(&sim, call);
        sim.kill_core(core);
        assert_eq!(sim.final_of(call, 7 * SECOND), Some(200), "killed after {ms} ms");
        assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1, "killed after {ms} ms: rings once");
        assert_eq!(sim.hang_up(call), Some(200), "killed after {ms} ms");
    }
}

#[test]
fn a_phone_that_rings_when_the_core_dies_can_be_answered() {
    let (mut sim, call, bob) = ringing(4, Answer::after_ms(5_000));
    let core = home(&sim, call);
    sim.kill_core(core);
    assert_eq!(sim.final_of(call, 6 * SECOND), Some(200), "the 200 comes through the other core");
    sim.run(SECOND);
    assert!(sim.ua(bob).dialogs[0].is_acknowledged);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn an_answer_into_the_arms_of_a_dying_core_arrives_within_2_s() {
    let (mut sim, call, _) = ringing(5, Answer::after_ms(1_000));
    sim.run_ms(600);
    let core = home(&sim, call);
    sim.kill_core(core);
    // Bob answers 100 ms later, before anybody has noticed.
    assert_eq!(sim.final_of(call, 2_100 * SECOND / 1_000), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_phone_that_rings_when_the_core_dies_can_be_cancelled() {
    let (mut sim, call, bob) = ringing(7, Answer::never());
    let core = home(&sim, call);
    sim.kill_core(core);
    sim.run(SECOND + Duration::from_millis(100));
    sim.cancel(call);
    sim.run(SECOND);
    assert!(!sim.ua(bob).is_ringing(), "the CANCEL goes through the other core");
    assert_eq!(sim.final_of(call, SECOND), Some(487));
}

#[test]
fn a_call_goes_on_when_its_core_dies() {
    let (mut sim, call, bob) = ringing(9, Answer::after_ms(400));
    sim.run(SECOND);
    assert_eq!(sim.call_of(call).last, Some(200));
    let core = home(&sim, call);
    sim.kill_core(core);
    sim.run(SECOND);
    sim.order(call.phone, |alice| alice.reinvite(0));
    sim.run(SECOND);
    assert_eq!(sim.ua(call.phone).dialogs[0].reinvite, Some(200));
    assert_eq!(sim.hang_up_dialog(bob, 0), Some(200));
    assert!(sim.ua(call.phone).dialogs[0].is_over);
}

#[test]
fn a_bye_into_the_arms_of_a_dying_core_arrives() {
    let (mut sim, call, bob) = ringing(10, Answer::after_ms(400));
    sim.run(SECOND);
    let core = home(&sim, call);
    sim.kill_core(core);
    let start = sim.now();
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.now() - start < 2 * SECOND, "{:?}", sim.now() - start);
    assert!(sim.ua(bob).dialogs[0].is_over);
}

#[test]
fn new_calls_take_another_core_within_1_s() {
    let (mut sim, alice, _) = Sim::alice_and_bob(11);
    sim.kill_core(0);
    sim.run(SECOND);
    for _ in 0..8 {
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, 1_100 * SECOND / 1_000), Some(200));
        sim.hang_up(call);
    }
}

#[test]
fn everything_restarts_and_earlier_registrations_can_be_called() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(12);
    for node in 0..2 {
        sim.kill_core(node);
        sim.kill_edge(node);
    }
    sim.run(5 * SECOND);
    for node in 0..2 {
        sim.restart_core(node);
        sim.restart_edge(node);
    }
    sim.run(2 * SECOND);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
    assert_eq!(sim.ua(bob).registrations[0].statuses, [401, 200], "nobody has registered again");
}

#[test]
fn a_dead_edge_costs_the_caller_no_time() {
    let (mut sim, alice, _) = Sim::alice_and_bob(13);
    sim.kill_edge(EP2);
    // Not noticed yet: the answer comes with the notice.
    let early = sim.call(alice, "bob");
    let start = sim.now();
    assert_eq!(sim.final_of(early, 40 * SECOND), Some(480));
    assert!(sim.now() - start <= SECOND + Duration::from_millis(100), "{:?}", sim.now() - start);
    // Noticed: the answer comes at once.
    sim.run(SECOND);
    let late = sim.call(alice, "bob");
    let start = sim.now();
    assert_eq!(sim.final_of(late, 40 * SECOND), Some(480));
    assert!(sim.now() - start < Duration::from_millis(100), "{:?}", sim.now() - start);
}

#[test]
fn an_edge_that_dies_while_the_phone_rings_costs_the_caller_no_time() {
    let (mut sim, call, _) = ringing(14, Answer::never());
    sim.kill_edge(EP2);
    let start = sim.now();
    assert_eq!(sim.final_of(call, 40 * SECOND), Some(480));
    assert!(sim.now() - start <= SECOND + Duration::from_millis(100), "{:?}", sim.now() - start);
}

#[test]
fn a_phone_with_two_flows_is_reached_within_1_s_when_an_edge_dies() {
    for wait in [0, 500, 1_500] {
        let (mut sim, alice, bob) = Sim::bob_with_two_flows(15, Protocol::Udp);
        sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
        sim.kill_edge(EP2);
        sim.run_ms(wait);
        let call = sim.call(alice, "bob");
        let start = sim.now();
        assert_eq!(sim.final_of(call, 40 * SECOND), Some(200));
        assert!(sim.now() - start <= SECOND + Duration::from_millis(100), "{wait}: {:?}", sim.now() - start);
        assert_eq!(sim.hang_up(call), Some(200));
    }
}

#[test]
fn without_any_core_the_caller_is_told_to_come_back() {
    let (mut sim, alice, _) = Sim::alice_and_bob(17);
    sim.kill_core(0);
    sim.kill_core(1);
    sim.run(2 * SECOND);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, SECOND), Some(503));
    let refusal = sim.ua(alice).responses(503)[0];
    let wait = cluster_tests::ua::message::first(&refusal.headers, "Retry-After");
    assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{wait}");
}

#[test]
fn without_the_store_an_unknown_address_is_503() {
    let (mut sim, alice, _) = Sim::alice_and_bob(19);
    sim.store_down();
    let call = sim.call(alice, "carol");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(503), "never 404: nobody knows");
    let refusal = sim.ua(alice).responses(503)[0];
    let wait = cluster_tests::ua::message::first(&refusal.headers, "Retry-After");
    assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{wait}");
}

#[test]
fn a_link_that_is_cut_for_a_moment_loses_nothing() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(20);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(100));
    let call = sim.call(alice, "bob");
    sim.run_ms(3);
    let core = home(&sim, call);
    sim.cut_link(EP1, core);
    sim.run_ms(200);
    sim.heal_link(EP1, core);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_link_that_is_cut_for_good_moves_the_calls() {
    let (mut sim, alice, _) = Sim::alice_and_bob(21);
    for core in 0..2 {
        sim.cut_link(EP1, core);
        sim.run(2 * SECOND);
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
        assert_eq!(sim.hang_up(call), Some(200));
        sim.heal_link(EP1, core);
        sim.run(SECOND);
    }
    assert!(sim.count("INVITE", |from| from == Node::Edge(EP1), |to| to == Node::Core(0)) > 0);
    assert!(sim.count("INVITE", |from| from == Node::Edge(EP1), |to| to == Node::Core(1)) > 0);
}
#[test]
fn a_cancel_into_the_arms_of_a_dying_core_stops_the_ringing_within_2_s() {
    let (mut sim, call, bob) = ringing(8, Answer::never());
    let core = home(&sim, call);
    sim.kill_core(core);
    sim.run_ms(50);
    sim.cancel(call);
    sim.run(2 * SECOND);
    assert!(!sim.ua(bob).is_ringing());
    assert_eq!(sim.call_of(call).last, Some(487));
}

#[test]
fn a_refusal_into_the_arms_of_a_dying_core_arrives_within_2_s() {
    let (mut sim, call, _) = ringing(6, Answer { ring: Some(Duration::ZERO), last: Some((SECOND, 486)) });
    sim.run_ms(600);
    let core = home(&sim, call);
    sim.kill_core(core);
    assert_eq!(sim.final_of(call, 2_100 * SECOND / 1_000), Some(486));
}

#[test]
fn a_request_inside_a_dialog_to_a_dead_edge_is_answered_at_once() {
    let (mut sim, call, _) = ringing(22, Answer::after_ms(400));
    sim.run(SECOND);
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    let start = sim.now();
    assert_eq!(sim.hang_up(call), Some(480), "RFC 5626 §11.5: a UA never sees a 430");
    assert!(sim.now() - start < Duration::from_millis(100), "{:?}", sim.now() - start);
}

#[test]
fn a_core_that_drains_finishes_what_it_has_and_gets_nothing_new() {
    let (mut sim, call, _) = ringing(23, Answer::after_ms(2_000));
    let core = home(&sim, call);
    sim.retire_core(core);
    let to_core = |sim: &Sim| sim.count("INVITE", |_| true, |to| to == Node::Core(core));
    let before = to_core(&sim);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    for _ in 0..8 {
        let call = sim.call(call.phone, "bob");
        sim.run_ms(300);
        sim.cancel(call);
        assert_eq!(sim.final_of(call, SECOND), Some(487));
    }
    assert_eq!(to_core(&sim), before, "no new call");
    sim.run(3 * SECOND);
    assert_eq!(sim.hang_up(call), Some(200), "the drained core has ended, the call has not");
}

#[test]
fn a_link_that_is_full_is_an_answer_and_no_silence() {
    let (mut sim, alice, _) = Sim::alice_and_bob(24);
    sim.net.weather.refusal = 1_000;
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, SECOND), Some(503));
    sim.net.weather.refusal = 0;
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.hang_up(call);
}

#[test]
fn a_bye_finds_the_phone_though_the_edge_of_the_call_is_dead() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(16, Protocol::Udp);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    assert_eq!(sim.hang_up(call), Some(200), "over Bob's other flow");
    assert!(sim.ua(bob).dialogs[0].is_over);
}
