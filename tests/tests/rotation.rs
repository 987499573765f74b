//! Flow keys that are replaced while phones are registered and talk: RFC 5626 §5.2, edge after edge.

use std::time::Duration;

use cluster_tests::oracle::Node;
use cluster_tests::sim::{CallRef, EP1, EP2, Sim};
use transport::Protocol;
use transport::token::Keys;

const SECOND: Duration = Duration::from_secs(1);
/// Phones behind each edge, half of them on streams.
const PHONES: usize = 4;

fn keys(current: u8, previous: Option<u8>) -> Keys {
    Keys::new(&[current; 32], previous.map(|fill| [fill; 32]).as_ref().map(<[u8; 32]>::as_slice))
        .expect("32 bytes")
}

/// Phones behind both edges, registered under key 1, with pings.
fn exchange(seed: u64) -> (Sim, Vec<usize>) {
    let mut sim = Sim::pinging(seed);
    for edge in [EP1, EP2] {
        sim.change_keys(edge, &keys(1, None));
    }
    let phones: Vec<usize> = (0..2 * PHONES)
        .map(|number| {
            let protocol = if number % 4 < 2 { Protocol::Udp } else { Protocol::Tcp };
            sim.phone_with(&format!("u{number}"), number % 2, protocol, |_| {})
        })
        .collect();
    for phone in &phones {
        sim.register(*phone);
    }
    (sim, phones)
}

/// Both sides' dialogs of a call that stands.
fn ends(sim: &Sim, call: CallRef, callee: usize) -> [(usize, usize); 2] {
    let call_id = &sim.call_of(call).call_id;
    let own = sim.call_of(call).dialog.expect("it was answered");
    let other = sim.ua(callee).dialogs.iter().position(|dialog| dialog.call_id == *call_id);
    [(call.phone, own), (callee, other.expect("it was answered"))]
}

/// A re-INVITE from each side.
fn talk(sim: &mut Sim, ends: [(usize, usize); 2], when: &str) {
    for (phone, dialog) in ends {
        sim.order(phone, |ua| ua.reinvite(dialog));
        let answer = move |sim: &Sim| sim.ua(phone).dialogs.get(dialog).and_then(|dialog| dialog.reinvite);
        sim.run_until(3 * SECOND, |sim| answer(sim).is_some());
        assert_eq!(answer(sim), Some(200), "re-INVITE of UA{phone} {when}");
    }
}

/// Every phone calls its neighbour, which is behind the other edge, and every second the one after, behind the same; some
/// calls of the round before are still up, and both sides say something inside of them.
fn round(sim: &mut Sim, phones: &[usize], standing: &mut Vec<(CallRef, usize)>, when: &str) {
    for (call, callee) in standing.clone() {
        let ends = ends(sim, call, callee);
        talk(sim, ends, when);
    }
    let mut begun = Vec::new();
    for (at, phone) in phones.iter().enumerate() {
        let to = (at + 1 + at % 2) % phones.len();
        let call = sim.call(*phone, &format!("u{to}"));
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(200), "u{at} calls u{to} {when}");
        begun.push((call, phones[to]));
    }
    for (call, _) in standing.drain(..) {
        assert_eq!(sim.hang_up(call), Some(200), "{when}");
    }
    for (call, callee) in begun {
        let ends = ends(sim, call, callee);
        if standing.len() < 2 {
            standing.push((call, callee));
        } else {
            let (phone, dialog) = ends[1];
            assert_eq!(sim.hang_up_dialog(phone, dialog), Some(200), "the callee hangs up {when}");
        }
    }
}

/// Answers of an edge that say 403 or 430.
fn refusals(sim: &Sim) -> usize {
    let refused = |status| matches!(status, 403 | 430);
    sim.wires().filter(|wire| matches!(wire.from, Node::Edge(_)) && refused(wire.seen.status)).count()
}

#[test]
fn a_key_is_replaced_edge_by_edge_and_nobody_notices() {
    let (mut sim, phones) = exchange(1);
    let mut standing = Vec::new();
    round(&mut sim, &phones, &mut standing, "before");
    // Known to both before one uses it; in use before the old one goes.
    for (current, previous) in [(1, Some(2)), (2, Some(1))] {
        for edge in [EP1, EP2] {
            sim.change_keys(edge, &keys(current, previous));
            round(&mut sim, &phones, &mut standing, &format!("with {current} on EP{}", edge + 1));
            sim.run(10 * SECOND);
        }
    }
    // The registrations and the dialogs of before are over when the old one goes.
    for phone in &phones {
        sim.register(*phone);
    }
    for (call, _) in standing.drain(..) {
        assert_eq!(sim.hang_up(call), Some(200));
    }
    for edge in [EP1, EP2] {
        sim.change_keys(edge, &keys(2, None));
        round(&mut sim, &phones, &mut standing, &format!("without 1 on EP{}", edge + 1));
    }
    sim.run(60 * SECOND);
    round(&mut sim, &phones, &mut standing, "after");
    for (call, _) in standing {
        assert_eq!(sim.hang_up(call), Some(200));
    }
    assert_eq!(refusals(&sim), 0);
    assert_eq!((sim.kept(EP1).lost, sim.kept(EP2).lost), (0, 0));
}

/// §5.3.1: 403 for what carries the old key; the next REGISTER brings tokens of the new one.
#[test]
fn without_the_old_key_its_tokens_are_403_until_the_next_register() {
    let (mut sim, phones) = exchange(2);
    let call = sim.call(phones[0], "u1");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    for edge in [EP1, EP2] {
        sim.change_keys(edge, &keys(2, None));
    }
    let dialog = sim.call_of(call).dialog.expect("it was answered");
    sim.order(phones[0], |ua| ua.reinvite(dialog));
    sim.run(SECOND);
    assert_eq!(sim.ua(phones[0]).dialogs[dialog].reinvite, Some(403));
    let now = sim.now();
    sim.oracle.unreachable(now, phones[3]);
    let rung = sim.ua(phones[3]).transactions("INVITE").len();
    let refused = sim.call(phones[0], "u3");
    assert_eq!(sim.final_of(refused, SECOND), Some(403));
    assert_eq!(sim.ua(phones[3]).transactions("INVITE").len(), rung, "nothing is sent on an unproven flow");
    assert!(refusals(&sim) >= 2);
    sim.register(phones[3]);
    let again = sim.call(phones[0], "u3");
    assert_eq!(sim.final_of(again, 3 * SECOND), Some(200));
    assert_eq!(sim.hang_up(again), Some(200));
}
