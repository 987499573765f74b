//! CANCEL at every moment of a call, RFC 3261 §9 and §16.10.

use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::oracle::Node;
use cluster_tests::sim::{EP1, EP2, Sim, Topology};
use cluster_tests::ua::Answer;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn before_the_lookup_is_answered() {
    let slow = Duration::from_secs(1);
    let topology = Topology { call_auth: false, ..Topology::default() };
    let mut sim = Sim::with(1, topology, Weather { store_delay: (slow, slow), ..Weather::fair() });
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(bob);
    let call = sim.call(alice, "bob");
    sim.run_ms(300);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, SECOND), Some(487), "§9.2, at once");
    sim.run(10 * SECOND);
    assert!(sim.ua(bob).requests("INVITE").is_empty(), "the late answer of the store starts nothing");
}

#[test]
fn before_the_phone_has_said_anything_it_waits() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(2);
    sim.order(bob, |bob| {
        bob.answer = Answer { ring: Some(3 * SECOND), last: Some((20 * SECOND, 200)) };
    });
    let call = sim.call(alice, "bob");
    sim.run_ms(500);
    sim.cancel(call);
    sim.run(2 * SECOND);
    assert!(sim.ua(bob).requests("CANCEL").is_empty(), "§9.1: not before a provisional response");
    assert_eq!(sim.final_of(call, 2 * SECOND), Some(487));
    assert_eq!(sim.ua(bob).transactions("CANCEL").len(), 1);
    assert!(!sim.ua(bob).is_ringing());
}

#[test]
fn while_it_rings() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(3);
    sim.order(bob, |bob| bob.answer = Answer::never());
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, SECOND), Some(487));
    assert_eq!(
        sim.ua(alice).responses(200).iter().filter(|ok| ok.headers.to_string().contains("CANCEL")).count(),
        1
    );
    assert!(!sim.ua(bob).is_ringing());
    assert_eq!(sim.statuses(call), [180, 487]);
}

#[test]
fn crossing_the_answer() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(4);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(1_000));
    let call = sim.call(alice, "bob");
    // The 200 is on its way when Alice gives up.
    assert!(sim.run_until(3 * SECOND, |sim| !sim.ua(bob).dialogs.is_empty()));
    sim.cancel(call);
    sim.run(3 * SECOND);
    assert_eq!(sim.call_of(call).last, Some(200), "the answer wins");
    assert!(sim.ua(bob).dialogs[0].is_acknowledged);
    assert!(sim.ua(bob).dialogs[0].is_over, "and Alice hangs up");
}

#[test]
fn every_branch_of_a_fork() {
    let mut sim = Sim::new(5);
    let alice = sim.phone("alice", EP1);
    let bobs = [sim.phone("bob", EP1), sim.phone("bob", EP2), sim.phone("bob", EP2)];
    sim.register(alice);
    for bob in bobs {
        sim.register(bob);
        sim.order(bob, |bob| bob.answer = Answer::never());
    }
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, SECOND), Some(487));
    for bob in bobs {
        assert!(!sim.ua(bob).is_ringing());
        assert_eq!(sim.ua(bob).transactions("CANCEL").len(), 1);
    }
}

#[test]
fn a_cancelled_call_tries_no_further_group() {
    let mut sim = Sim::new(6);
    let alice = sim.phone("alice", EP1);
    let (first, second) = (sim.phone("bob", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    for (bob, q) in [(first, "1.0"), (second, "0.5")] {
        let wanted = cluster_tests::ua::Register { q: Some(q), ..cluster_tests::ua::Register::on(0) };
        assert_eq!(sim.register_as(bob, wanted).status, Some(200));
        sim.order(bob, |bob| bob.answer = Answer::never());
    }
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, SECOND), Some(487));
    sim.run(10 * SECOND);
    assert!(sim.ua(second).requests("INVITE").is_empty(), "§16.7 step 5");
}

#[test]
fn a_lost_cancel_is_sent_again() {
    for seed in 0..10 {
        let mut sim = Sim::with(seed, Topology::default(), Weather { loss: 200, ..Weather::fair() });
        let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
        sim.register(alice);
        sim.register(bob);
        sim.order(bob, |bob| bob.answer = Answer::never());
        let call = sim.call(alice, "bob");
        assert!(sim.run_until(32 * SECOND, |sim| sim.ua(bob).is_ringing()), "seed {seed}");
        sim.cancel(call);
        assert_eq!(sim.final_of(call, 40 * SECOND), Some(487), "seed {seed}");
        assert!(!sim.ua(bob).is_ringing());
    }
}

#[test]
fn a_cancel_ends_at_each_hop() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(7);
    sim.order(bob, |bob| bob.answer = Answer::never());
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    sim.cancel(call);
    sim.run(SECOND);
    let hops = [(Node::Ua(alice), Node::Edge(EP1)), (Node::Edge(EP2), Node::Ua(bob))];
    for (from, to) in hops {
        assert_eq!(sim.count("CANCEL", |node| node == from, |node| node == to), 1, "{from} → {to}");
    }
    let single = sim.wires().filter(|wire| wire.seen.is_request() && wire.seen.method == "CANCEL");
    for wire in single {
        assert_eq!(wire.seen.vias.len(), 1, "§9.1: a single Via, for CANCEL goes hop by hop");
    }
}
