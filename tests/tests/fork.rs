//! Forking, RFC 3261 §16.5 to §16.7: several phones of one address, each by its own route.

use std::time::Duration;

use cluster_tests::oracle::{Node, Seen};
use cluster_tests::sim::{EP1, EP2, Sim};
use cluster_tests::ua::message::first;
use cluster_tests::ua::{Answer, Register};

const SECOND: Duration = Duration::from_secs(1);

/// Alice, and two phones of Bob behind different edges.
fn alice_and_two_bobs(seed: u64, q: [&'static str; 2]) -> (Sim, usize, [usize; 2]) {
    let mut sim = Sim::new(seed);
    let alice = sim.phone("alice", EP1);
    let bobs = [sim.phone("bob", EP1), sim.phone("bob", EP2)];
    sim.register(alice);
    for (bob, q) in bobs.into_iter().zip(q) {
        let registration = sim.register_as(bob, Register { q: Some(q), ..Register::on(0) });
        assert_eq!(registration.status, Some(200));
    }
    (sim, alice, bobs)
}

/// The INVITEs that cores have sent to an edge.
fn branches(sim: &Sim, edge: usize) -> Vec<Seen> {
    let to_edge =
        sim.wires().filter(|wire| matches!(wire.from, Node::Core(_)) && wire.to == Node::Edge(edge));
    to_edge
        .filter(|wire| wire.seen.is_request() && wire.seen.method == "INVITE")
        .map(|wire| (*wire.seen).clone())
        .collect()
}

#[test]
fn two_contacts_behind_two_edges_are_two_branches_each_with_its_own_route() {
    let (mut sim, alice, [near, far]) = alice_and_two_bobs(1, ["1.0", "1.0"]);
    sim.order(near, |bob| bob.answer = Answer::never());
    sim.order(far, |bob| bob.answer = Answer::after_ms(2_000));
    let call = sim.call(alice, "bob");
    sim.run(SECOND);
    for (bob, edge, name) in [(near, EP1, "@edge-1"), (far, EP2, "@edge-2")] {
        let branches = branches(&sim, edge);
        assert_eq!(branches.len(), 1, "one branch to {name}");
        assert_eq!(branches[0].uri, sim.ua(bob).contact());
        assert_eq!(branches[0].routes.len(), 1, "{:?}", branches[0].routes);
        assert!(branches[0].routes[0].contains(name), "{:?}", branches[0].routes);
        assert!(sim.ua(bob).is_ringing());
    }
    sim.run(2 * SECOND);
    assert_eq!(sim.call_of(call).last, Some(200));
    assert!(!sim.ua(near).is_ringing(), "the other one is cancelled");
    let cancels = sim.ua(near).transactions("CANCEL");
    assert_eq!(cancels.len(), 1);
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
    assert_eq!(first(&cancels[0].headers, "Reason"), reason, "RFC 3326 §2: no call was missed here");
    assert!(sim.ua(far).requests("CANCEL").is_empty());
    assert!(sim.ua(far).dialogs[0].is_acknowledged);
    assert_eq!(sim.hang_up(call), Some(200));
    // ACK and BYE take the way of the branch that was answered, and no other.
    for method in ["ACK", "BYE"] {
        assert_eq!(sim.ua(far).transactions(method).len(), 1, "{method}");
        let to_far = |from: Node| from == Node::Edge(EP2);
        assert_eq!(sim.count(method, to_far, |to| to == Node::Ua(far)), 1, "{method}");
    }
    assert!(sim.ua(near).requests("BYE").is_empty());
    assert_eq!(sim.statuses(call), [180, 180, 200], "§16.7 step 5: the 180 of each");
}

#[test]
fn the_lower_q_is_tried_when_the_higher_one_refuses() {
    let (mut sim, alice, [first, second]) = alice_and_two_bobs(2, ["0.9", "0.3"]);
    sim.order(first, |bob| bob.answer = Answer::refuse(486, 2_000));
    let call = sim.call(alice, "bob");
    sim.run_ms(1_900);
    assert!(sim.ua(second).requests("INVITE").is_empty(), "one after the other");
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(200));
    sim.run(SECOND);
    assert!(sim.ua(second).dialogs[0].is_acknowledged);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn the_lower_q_is_left_alone_when_the_higher_one_answers() {
    let (mut sim, alice, [first, second]) = alice_and_two_bobs(3, ["0.9", "0.3"]);
    sim.order(first, |bob| bob.answer = Answer::after_ms(2_000));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(200));
    sim.run(SECOND);
    assert!(sim.ua(second).requests("INVITE").is_empty());
    sim.hang_up(call);
}

#[test]
fn the_best_refusal_is_of_the_lowest_class() {
    for (refusals, best) in [
        ([486, 503], vec![486]),
        ([500, 404], vec![404]),
        ([486, 480], vec![480, 486]),
        ([302, 404], vec![302]),
    ] {
        let (mut sim, alice, bobs) = alice_and_two_bobs(4, ["1.0", "1.0"]);
        for (bob, status) in bobs.into_iter().zip(refusals) {
            sim.order(bob, |bob| bob.answer = Answer::refuse(status, 500));
        }
        let call = sim.call(alice, "bob");
        let last = sim.final_of(call, 3 * SECOND).expect("a final");
        assert!(best.contains(&last), "§16.7 step 6: {refusals:?} give {last}");
    }
}

#[test]
fn one_refusal_waits_for_the_other_phone() {
    let (mut sim, alice, [busy, slow]) = alice_and_two_bobs(5, ["1.0", "1.0"]);
    sim.order(busy, |bob| bob.answer = Answer::refuse(486, 100));
    sim.order(slow, |bob| bob.answer = Answer::after_ms(4_000));
    let call = sim.call(alice, "bob");
    sim.run(3 * SECOND);
    assert_eq!(sim.call_of(call).last, None);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.hang_up(call);
}

#[test]
fn a_6xx_speaks_for_all_phones() {
    let (mut sim, alice, [firm, other]) = alice_and_two_bobs(6, ["1.0", "1.0"]);
    sim.order(firm, |bob| bob.answer = Answer::refuse(603, 1_000));
    sim.order(other, |bob| bob.answer = Answer::never());
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(603), "§16.7 step 5");
    assert!(!sim.ua(other).is_ringing());
    assert_eq!(sim.ua(other).transactions("CANCEL").len(), 1);
}

#[test]
fn a_6xx_ends_the_search() {
    let (mut sim, alice, [first, second]) = alice_and_two_bobs(7, ["0.9", "0.3"]);
    sim.order(first, |bob| bob.answer = Answer::refuse(600, 100));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(600));
    assert!(sim.ua(second).requests("INVITE").is_empty());
}

#[test]
fn two_answers_at_one_time_both_reach_the_caller() {
    let (mut sim, alice, bobs) = alice_and_two_bobs(8, ["1.0", "1.0"]);
    for bob in bobs {
        sim.order(bob, |bob| bob.answer = Answer::after_ms(1_000));
    }
    let call = sim.call(alice, "bob");
    sim.run(5 * SECOND);
    assert_eq!(sim.call_of(call).last, Some(200));
    assert_eq!(sim.ua(alice).dialogs.len(), 2, "§16.7 step 5: every 2xx");
    for bob in bobs {
        assert!(sim.ua(bob).dialogs[0].is_acknowledged, "each gets its ACK");
    }
    let kept = bobs.iter().filter(|bob| !sim.ua(**bob).dialogs[0].is_over).count();
    assert_eq!(kept, 1, "§13.2.2.4: the caller has hung up one of them");
    sim.hang_up(call);
}

#[test]
fn a_caller_is_among_the_phones_of_the_address_it_calls() {
    let (mut sim, _, [one, other]) = alice_and_two_bobs(9, ["1.0", "1.0"]);
    sim.order(one, |bob| bob.answer = Answer::refuse(486, 100));
    sim.order(other, |bob| bob.answer = Answer::after_ms(500));
    let call = sim.call(one, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    assert!(sim.ua(other).dialogs[0].is_acknowledged);
    sim.hang_up(call);
}
