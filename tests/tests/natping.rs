//! Flows that are lost, suspended and found again: RFC 5626 §4.4, §5.3 and §7, with the keeper of each edge.

use std::time::Duration;

use cluster_tests::oracle::Node;
use cluster_tests::sim::{EP1, EP2, Sim};
use cluster_tests::ua::{Answer, Register};
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_secs(25);

/// Alice behind EP1; Bob with a UDP flow to each edge, the one to EP2 newer. Bob has answered a ping on both.
fn bob_with_two_flows(seed: u64) -> (Sim, usize, usize) {
    let mut sim = Sim::pinging(seed);
    let alice = sim.phone("alice", EP1);
    let bob = sim.phone_with("bob", EP1, Protocol::Udp, |profile| {
        profile.instance = Some("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned());
        profile.supports_path = true;
    });
    sim.add_line(bob, EP2, Protocol::Udp);
    sim.register(alice);
    for (line, reg_id) in [(0, 1), (1, 2)] {
        let registration = sim.register_as(bob, Register { reg_id: Some(reg_id), ..Register::on(line) });
        assert_eq!(registration.status, Some(200));
        sim.run(2 * SECOND);
    }
    sim.run(INTERVAL);
    (sim, alice, bob)
}

/// How many INVITEs each edge has sent to a phone.
fn rung(sim: &Sim, phone: usize) -> [usize; 2] {
    [EP1, EP2].map(|edge| sim.count("INVITE", |from| from == Node::Edge(edge), |to| to == Node::Ua(phone)))
}

#[test]
fn a_registered_phone_is_pinged_by_its_own_edge_as_long_as_it_is_registered() {
    let mut sim = Sim::pinging(1);
    let bob = sim.phone("bob", EP2);
    let registration = sim.register_as(bob, Register { expires: Some(100), ..Register::on(0) });
    assert_eq!(registration.status, Some(200));
    sim.run(300 * SECOND);
    let pings = |edge| sim.count("OPTIONS", |from| from == Node::Edge(edge), |to| to == Node::Ua(bob));
    assert_eq!((pings(EP1), pings(EP2)), (0, 4));
    assert_eq!(sim.kept(EP2).answered, 4);
}

#[test]
fn a_phone_that_says_goodbye_is_not_pinged() {
    let mut sim = Sim::pinging(2);
    let bob = sim.phone("bob", EP2);
    sim.register(bob);
    sim.register_as(bob, Register { expires: Some(0), ..Register::on(0) });
    sim.run(100 * SECOND);
    assert_eq!((sim.kept(EP2).pings, sim.kept(EP2).registered[0]), (0, 0));
}

#[test]
fn a_flow_that_falls_silent_is_passed_over_and_the_next_one_rings() {
    let (mut sim, alice, bob) = bob_with_two_flows(3);
    sim.net.cut(bob, EP2);
    sim.run(5 * INTERVAL);
    assert_eq!(sim.kept(EP2).lost, 1);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
    let (call, start) = (sim.call(alice, "bob"), sim.now());
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert!(sim.now() - start < SECOND, "not after Timer B: {:?}", sim.now() - start);
    assert_eq!(rung(&sim, bob), [1, 0], "§7: the other flow of the instance, and it alone");
    assert_eq!(sim.hang_up(call), Some(200));
    sim.net.heal(bob, EP2);
}

#[test]
fn a_flow_that_answers_again_is_used_again() {
    let (mut sim, alice, bob) = bob_with_two_flows(4);
    sim.net.cut(bob, EP2);
    sim.run(5 * INTERVAL);
    sim.net.heal(bob, EP2);
    sim.run(2 * INTERVAL);
    assert_eq!((sim.kept(EP2).lost, sim.kept(EP2).returned), (1, 1));
    assert_eq!(sim.cores_counted(|counters| counters.lost_flows), 0);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(rung(&sim, bob), [0, 1], "the newest flow first");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn the_only_flow_lost_is_480_at_once_and_no_deregistration() {
    let mut sim = Sim::pinging(5);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.run(INTERVAL);
    sim.net.cut(bob, EP2);
    let now = sim.now();
    sim.oracle.unreachable(now, bob);
    sim.run(5 * INTERVAL);
    let (call, start) = (sim.call(alice, "bob"), sim.now());
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(480));
    assert!(sim.now() - start < SECOND, "{:?}", sim.now() - start);
    assert_eq!(rung(&sim, bob), [0, 0]);
    // The next REGISTER on the flow says that it is there.
    sim.net.heal(bob, EP2);
    sim.register(bob);
    sim.run(SECOND);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
}

/// A gateway has restarted a moment ago: no ping was due since.
#[test]
fn a_call_that_nobody_hears_is_answered_within_a_second() {
    let mut sim = Sim::pinging(11);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.run(2 * INTERVAL);
    sim.net.cut(bob, EP2);
    let now = sim.now();
    sim.oracle.unreachable(now, bob);
    let (call, start) = (sim.call(alice, "bob"), sim.now());
    assert_eq!(sim.final_of(call, 4 * SECOND), Some(480));
    assert!(sim.now() - start < SECOND, "{:?}", sim.now() - start);
    assert_eq!(sim.kept(EP2).lost, 1);
    sim.net.heal(bob, EP2);
}

/// A link of 800 ms there and back, and a phone that does not hurry: 100 comes after a second and more.
#[test]
fn a_phone_on_a_slow_link_is_waited_for() {
    let mut sim = Sim::pinging(14);
    sim.net.weather.delay = (400 * MS, 400 * MS);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.run(2 * INTERVAL);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 12 * SECOND), Some(200));
    assert!(sim.kept(EP2).pings > 2, "the edge has asked");
    assert_eq!(sim.kept(EP2).lost, 0);
    assert_eq!(sim.hang_up(call), Some(200));
    // And when it is gone in the end, that costs more time.
    sim.net.cut(bob, EP2);
    let now = sim.now();
    sim.oracle.unreachable(now, bob);
    let (call, start) = (sim.call(alice, "bob"), sim.now());
    assert_eq!(sim.final_of(call, 10 * SECOND), Some(480));
    let waited = sim.now() - start;
    assert!(waited > 3 * SECOND && waited < 6 * SECOND, "{waited:?}");
    sim.net.heal(bob, EP2);
}

/// A phone that was quick so far and sleeps deeper than the edge waits: it must not ring when the caller has had his answer.
#[test]
fn a_phone_that_wakes_too_late_is_cancelled_as_soon_as_it_rings() {
    let mut sim = Sim::pinging(15);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.run(2 * INTERVAL);
    sim.order(bob, |bob| bob.answer = Answer::never());
    // 1.5 s there and back.
    sim.net.weather.delay = (750 * MS, 750 * MS);
    let call = sim.call(alice, "bob");
    let sent =
        |sim: &Sim, method: &str| sim.count(method, |from| from == Node::Edge(EP2), |to| to == Node::Ua(bob));
    assert!(sim.run_until(3 * SECOND, |sim| sent(sim, "INVITE") == 1));
    let start = sim.now();
    // 200 ms of silence and three pings, 600 ms together: the INVITE has been repeated once by then.
    assert!(sim.run_until(3 * SECOND, |sim| sim.kept(EP2).lost == 1));
    assert_eq!(sim.now() - start, 800 * MS);
    assert_eq!((sent(&sim, "INVITE"), sent(&sim, "CANCEL")), (2, 0), "RFC 3261 §9.1: nothing to cancel yet");
    assert!(sim.run_until(3 * SECOND, |sim| sent(sim, "CANCEL") == 1));
    assert_eq!(sim.now() - start, 1_500 * MS, "at the first provisional response");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(480));
    assert!(sim.run_until(3 * SECOND, |sim| !sim.ua(bob).requests("CANCEL").is_empty()));
    assert!(!sim.ua(bob).is_ringing());
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1);
    assert_eq!(rung(&sim, bob), [0, 2], "it is repeated no more");
    // It has answered the pings by now, late as they were: its next call is waited for.
    assert_eq!((sim.kept(EP2).lost, sim.kept(EP2).returned), (1, 1));
    sim.run(5 * SECOND);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 12 * SECOND), Some(200));
    assert_eq!(sim.kept(EP2).lost, 1);
    assert_eq!(sim.hang_up(call), Some(200));
}

/// The other flow of the phone rings as soon as the first one is known to be dead.
#[test]
fn a_call_that_nobody_hears_goes_to_the_next_flow() {
    let (mut sim, alice, bob) = bob_with_two_flows(12);
    sim.run(2 * INTERVAL);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
    sim.net.cut(bob, EP2);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 4 * SECOND), Some(200));
    // RFC 3261 §17.1.1.2: at 0 and 500 ms into the void. RFC 5626 §7: then the other flow of the instance.
    assert_eq!(rung(&sim, bob), [1, 2]);
    assert_eq!(sim.hang_up(call), Some(200));
    sim.net.heal(bob, EP2);
}

#[test]
fn a_phone_that_is_slow_to_answer_a_call_is_waited_for() {
    let mut sim = Sim::pinging(13);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.run(2 * INTERVAL);
    sim.order(bob, |bob| bob.answer = Answer { ring: None, last: Some((10 * SECOND, 200)) });
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 12 * SECOND), Some(200));
    assert_eq!(sim.kept(EP2).lost, 0, "it has answered the pings");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_stream_that_closes_is_passed_over_by_every_core() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(6, Protocol::Tcp);
    sim.close_line(bob, 1);
    sim.run_ms(100);
    assert_eq!(sim.cores_counted(|counters| counters.lost_flows), 2, "one flow at two cores");
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    let asked = sim.count("INVITE", |from| matches!(from, Node::Core(_)), |to| to == Node::Edge(EP2));
    assert_eq!(asked, 0, "the edge does not even have to say 430");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_core_that_was_away_hears_what_is_lost() {
    let (mut sim, alice, bob) = bob_with_two_flows(7);
    sim.kill_core(0);
    sim.kill_core(1);
    sim.net.cut(bob, EP2);
    sim.run(5 * INTERVAL);
    sim.restart_core(0);
    sim.run(3 * SECOND);
    assert_eq!(sim.cores_counted(|counters| counters.lost_flows), 1);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(rung(&sim, bob), [1, 0]);
    assert_eq!(sim.hang_up(call), Some(200));
    sim.net.heal(bob, EP2);
}

#[test]
fn an_edge_that_comes_back_pings_the_flows_that_it_had() {
    let mut sim = Sim::pinging(8);
    let phones: Vec<usize> = (0..5).map(|number| sim.phone(&format!("u{number}"), EP2)).collect();
    let stream = sim.phone_with("streamer", EP2, Protocol::Tcp, |_| {});
    for phone in phones.iter().chain([&stream]) {
        sim.register(*phone);
    }
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    sim.restart_edge(EP2);
    sim.run(2 * SECOND);
    let before = sim.kept(EP2);
    assert_eq!((before.recovered, before.registered[0], before.registered[1]), (5, 5, 0));
    assert_eq!(sim.cores_counted(|counters| counters.lost_flows), 2, "the stream is gone, both cores know");
    sim.run(INTERVAL);
    let kept = sim.kept(EP2);
    assert_eq!(
        (kept.pings - before.pings, kept.answered - before.answered),
        (5, 5),
        "nobody has registered again"
    );
}

#[test]
fn a_core_that_dies_while_it_lists_the_flows_is_replaced() {
    let mut sim = Sim::pinging(9);
    let phones: Vec<usize> = (0..8).map(|number| sim.phone(&format!("u{number}"), EP2)).collect();
    for phone in &phones {
        sim.register(*phone);
    }
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    sim.restart_edge(EP2);
    // Portions of two: somewhere in the middle.
    sim.run_until(5 * SECOND, |sim| sim.kept(EP2).recovered >= 2);
    sim.kill_core(0);
    sim.run(2 * SECOND);
    sim.restart_core(0);
    sim.kill_core(1);
    sim.run(10 * SECOND);
    assert_eq!(sim.kept(EP2).recovered, 8);
}

/// RFC 5626 §4.4.2: a phone that does not answer OPTIONS may be there all the same.
#[test]
fn a_phone_that_never_answers_pings_is_still_called() {
    let mut sim = Sim::pinging(10);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    sim.net.cut(bob, EP2);
    sim.run(10 * INTERVAL);
    sim.net.heal(bob, EP2);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
}
