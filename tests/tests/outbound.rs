//! Flows, flow tokens and phones with two of them: RFC 5626 §4 to §7.

use std::time::Duration;

use cluster_tests::oracle::Node;
use cluster_tests::sim::{DOMAIN, EP1, EP2, Sim};
use cluster_tests::ua::message::{header, request};
use cluster_tests::ua::{Answer, CallOptions};
use rsip::Method;
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);

/// Over which edge the INVITEs have come to a phone.
fn came_over(sim: &Sim, phone: usize) -> Vec<usize> {
    let mut edges = Vec::new();
    for wire in sim.wires() {
        if let (Node::Edge(edge), Node::Ua(ua)) = (wire.from, wire.to)
            && ua == phone
            && wire.seen.is_request()
            && wire.seen.method == "INVITE"
            && edges.last() != Some(&edge)
        {
            edges.push(edge);
        }
    }
    edges
}

#[test]
fn two_flows_are_one_phone_and_ring_once() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(1, Protocol::Udp);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1, "§7: one flow of an instance at a time");
    assert_eq!(came_over(&sim, bob), [EP2], "the newest flow first");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_flow_that_is_gone_leads_to_the_next_one_at_once() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(2, Protocol::Tcp);
    sim.close_line(bob, 1);
    sim.run_ms(100);
    sim.order(bob, |bob| bob.answer = Answer::after_ms(0));
    let call = sim.call(alice, "bob");
    let start = sim.now();
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    assert!(sim.now() - start < SECOND, "{:?}", sim.now() - start);
    assert_eq!(came_over(&sim, bob), [EP1]);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_refusal_of_the_phone_is_no_reason_to_try_its_other_flow() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(3, Protocol::Udp);
    sim.order(bob, |bob| bob.answer = Answer::refuse(486, 100));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(486));
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1);
}

#[test]
fn the_only_flow_gone_is_480() {
    let mut sim = Sim::new(4);
    let alice = sim.phone("alice", EP1);
    let bob = sim.phone_with("bob", EP2, Protocol::Tcp, |_| {});
    sim.register(alice);
    sim.register(bob);
    sim.close_line(bob, 0);
    sim.run_ms(100);
    let call = sim.call(alice, "bob");
    let start = sim.now();
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(480), "§11.5: a caller never sees a 430");
    assert!(sim.now() - start < SECOND);
    // The binding was not removed: the phone comes back and is reachable by a REGISTER.
    sim.reconnect(bob, 0);
    sim.register(bob);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.hang_up(call);
}

#[test]
fn a_flow_that_breaks_while_it_rings_leads_to_the_next_one() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(5, Protocol::Tcp);
    sim.order(bob, |bob| bob.answer = Answer::silent());
    let call = sim.call(alice, "bob");
    sim.run_ms(200);
    sim.close_line(bob, 1);
    sim.run_ms(500);
    assert_eq!(came_over(&sim, bob), [EP2, EP1]);
    sim.cancel(call);
    sim.run(40 * SECOND);
}

#[test]
fn a_forged_flow_token_is_403_and_goes_nowhere() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(6);
    let edge = sim.edge_address(EP1);
    for token in ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "x"] {
        let extra = vec![("Route".to_owned(), format!("<sip:{token}@{edge};lr>"))];
        let options = CallOptions { extra, ..CallOptions::default() };
        let call = sim.call_as(alice, &format!("sip:bob@{DOMAIN}"), options);
        assert_eq!(sim.final_of(call, SECOND), Some(403), "§5.3.1: {token}");
    }
    assert!(sim.ua(bob).requests("INVITE").is_empty());
    let forwarded = sim.count("INVITE", |from| from == Node::Edge(EP1), |to| matches!(to, Node::Core(_)));
    assert_eq!(forwarded, 0, "it ends at the border");
}

#[test]
fn a_forged_flow_token_inside_a_dialog_is_403() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(7);
    let (near, far) = (sim.edge_address(EP1), sim.edge_address(EP2));
    let headers = vec![
        header("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bKforged", sim.ua(alice).profile.host)),
        header("Max-Forwards", "70"),
        header("Route", format!("<sip:{near};lr>, <sip:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@{far};lr>")),
        header("From", format!("<sip:alice@{DOMAIN}>;tag=a")),
        header("To", format!("<sip:bob@{DOMAIN}>;tag=b")),
        header("Call-ID", "forged"),
        header("CSeq", "1 BYE"),
        header("Content-Length", "0"),
    ];
    let text = request(Method::Bye, &sim.ua(bob).contact(), headers);
    sim.order(alice, |alice| alice.say(0, text));
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).responses(403).len(), 1);
    assert!(sim.ua(bob).requests("BYE").is_empty());
}

#[test]
fn a_udp_flow_survives_the_restart_of_its_edge() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(8);
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    sim.restart_edge(EP2);
    sim.run(2 * SECOND);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200), "the token says it all: §5.2");
    assert_eq!(sim.ua(bob).registrations[0].statuses, [401, 200], "nobody has registered again");
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_stream_carries_both_directions() {
    let mut sim = Sim::new(9);
    let alice = sim.phone_with("alice", EP1, Protocol::Tcp, |_| {});
    let bob = sim.phone_with("bob", EP2, Protocol::Tcp, |_| {});
    sim.register(alice);
    sim.register(bob);
    for (caller, callee) in [(alice, "bob"), (bob, "alice")] {
        let call = sim.call(caller, callee);
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
        assert_eq!(sim.hang_up(call), Some(200));
    }
}
