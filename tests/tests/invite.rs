//! Calls between two phones, RFC 3261 §13 to §16, over two edges and two cores.

use std::time::Duration;

use cluster_tests::sim::Sim;
use cluster_tests::ua::Answer;

const EP1: usize = 0;
const EP2: usize = 1;

/// Alice behind EP1, Bob behind EP2, both registered.
fn two_phones(seed: u64) -> (Sim, usize, usize) {
    let mut sim = Sim::new(seed);
    let alice = sim.phone("alice", EP1);
    let bob = sim.phone("bob", EP2);
    sim.register(alice);
    sim.register(bob);
    (sim, alice, bob)
}

#[test]
fn a_call_over_two_edges_rings_is_answered_and_ended() {
    let (mut sim, alice, bob) = two_phones(1);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(2_000));
    let call = sim.call(alice, "bob");
    sim.run_ms(3_000);
    assert_eq!(sim.statuses(call), [180, 200]);
    assert!(sim.ua(bob).dialogs[0].is_acknowledged, "the ACK arrives");
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.ua(bob).dialogs[0].is_over);
    sim.run(Duration::from_secs(1));
}
