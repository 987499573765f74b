//! Phones that vanish, restart and break rules of their own: what the others hear, and how soon.

use cluster_tests::phone::Transport::{Tcp, Tls, Udp, Wss};
use cluster_tests::phone::{Dialog, Phone, parameter, scenario};

/// RFC 5626 §5.3.1, §11.5: who hangs up on a caller that has gone is told at once, and not with 430.
#[test]
fn the_caller_is_gone() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (_, mut callee) = alice.calls(&mut bob, |invite| invite).await;
        drop(alice);
        let bye = bob.within(&mut callee, "BYE");
        bob.send(&bye).await;
        bob.gets(&bye, 480).await;
    });
}

/// RFC 3261 §16.9: a connection that breaks while the phone rings is the end of that branch.
#[test]
fn a_phone_dies_while_it_rings() {
    scenario(async |exchange| {
        for transport in [Tcp, Tls, Wss] {
            let mut alice = exchange.outsider(1, Udp).await;
            let mut bob = exchange.registered(2, transport).await;
            let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
            bob.reply(&heard, 180).await;
            alice.gets(&invite, 180).await;
            drop(bob);
            let answer = alice.answer(&invite).await;
            assert!(matches!(answer.status(), Some(480 | 500 | 503)), "{transport:?}: {answer}");
            alice.send(&Phone::ack(&invite, &answer)).await;
        }
    });
}

/// RFC 5626 §7: what is left of an earlier connection is no hindrance, and no second phone either.
#[test]
fn a_phone_that_comes_back_rings() {
    scenario(async |exchange| {
        let before = exchange.registered(2, Tcp).await;
        let mut bob = exchange.another(&before, 2, Tcp).await;
        drop(before);
        bob.register().await;
        let mut alice = exchange.outsider(1, Udp).await;
        let (mut dialog, _) = alice.calls(&mut bob, |invite| invite).await;
        alice.hangs_up(&mut dialog, &mut bob).await;
    });
}

/// RFC 3261 §16.7 step 4 and §8.2.6.1: a 100 is for the next hop only.
#[test]
fn a_100_goes_one_hop() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        let trying = bob.response(&heard, 100).line("X-From: Bob");
        bob.send(&trying).await;
        let trying = alice.trying(&invite).await;
        assert!(trying.get("X-From").is_empty() && trying.tag("To").is_empty(), "its own: {trying}");
        bob.reply(&heard, 486).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 486).await;
        assert_eq!(alice.count("SIP/2.0 100"), 1);
    });
}

/// RFC 4320 §4.1, §4.2: a phone that answers a MESSAGE with 183 or 408 breaks a rule, and the cluster does not.
#[test]
fn forbidden_answers_go_no_further() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (message, heard) = alice.reaches(&mut bob, "MESSAGE").await;
        bob.reply(&heard, 183).await;
        bob.reply(&heard, 200).await;
        alice.gets(&message, 200).await;

        let (message, heard) = alice.reaches(&mut bob, "MESSAGE").await;
        bob.reply(&heard, 408).await;
        bob.hears_nothing_else(&message).await;
        alice.hears_nothing_else(&message).await;
    });
}

/// RFC 3261 §17.2.2, §10.3: a REGISTER that is repeated has one answer.
#[test]
fn a_repeated_register_has_one_answer() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration();
        phone.send(&register).await;
        let answer = phone.gets(&register, 401).await;
        phone.send(&register).await;
        phone.hears_again(&answer).await;
    });
}

/// RFC 3261 §8.1.2, §16.4: a phone that names its edge in a Route means nothing by it.
#[test]
fn the_edge_is_named_as_outbound_proxy() {
    scenario(async |exchange| {
        let mut bob = exchange.registered(2, Udp).await;
        for transport in [Udp, Tcp] {
            let mut alice = exchange.outsider(1, transport).await;
            let edge = exchange.edge(1);
            let message = alice.request("MESSAGE", &bob.aor()).line(format!("Route: <sip:{edge};lr>"));
            alice.send(&message).await;
            let heard = bob.hears("MESSAGE").await;
            assert!(heard.list("Route").is_empty(), "{heard}");
            bob.reply(&heard, 200).await;
            alice.gets(&message, 200).await;
        }
    });
}

/// RFC 3261 §15: both hang up at the same time; each BYE has its answer.
#[test]
fn both_hang_up_at_once() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Wss).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut caller, mut callee) = alice.calls(&mut bob, |invite| invite).await;
        let (one, other) = (alice.within(&mut caller, "BYE"), bob.within(&mut callee, "BYE"));
        alice.send(&one).await;
        bob.send(&other).await;
        let (at_bob, at_alice) = (bob.hears("BYE").await, alice.hears("BYE").await);
        bob.reply(&at_bob, 481).await;
        alice.reply(&at_alice, 200).await;
        alice.gets(&one, 481).await;
        bob.gets(&other, 200).await;
    });
}

/// RFC 3261 §15.1.1, §13.2.2.4: a BYE inside an early dialog ends one of several, and the INVITE goes on.
#[test]
fn an_early_dialog_ends_by_bye() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Tcp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        bob.reply(&heard, 183).await;
        let early = alice.gets(&invite, 183).await;
        let mut dialog = Dialog::of_caller(&invite, &early);
        let bye = alice.within(&mut dialog, "BYE");
        alice.send(&bye).await;
        let ended = bob.hears("BYE").await;
        bob.reply(&ended, 200).await;
        alice.gets(&bye, 200).await;
        bob.reply(&heard, 487).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 487).await;
    });
}

/// RFC 3581 §4: a phone that writes another address than it has, and no `rport`, is answered where it is.
#[test]
fn a_phone_behind_a_nat_is_answered() {
    scenario(async |exchange| {
        let mut bob = exchange.registered(2, Udp).await;
        for transport in [Udp, Tcp] {
            let mut alice = exchange.outsider(1, transport).await;
            let message = alice.request("MESSAGE", &bob.aor());
            let via = format!("SIP/2.0/{} 192.168.1.9:5099;branch={}", transport.via(), message.branch());
            let message = message.with("Via", &via);
            alice.send(&message).await;
            let heard = bob.hears("MESSAGE").await;
            let last = heard.list("Via").pop().expect("Alice's");
            assert_eq!(parameter(&last, "received"), Some("127.0.0.1"));
            bob.reply(&heard, 200).await;
            let answer = alice.gets(&message, 200).await;
            assert!(answer.get("Via").starts_with(&via), "{answer}");
        }
    });
}

/// RFC 3261 §17.1.3, §18.1.2: answers that nobody has asked for.
#[test]
fn stray_answers_are_dropped() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (message, heard) = alice.reaches(&mut bob, "MESSAGE").await;
        // Another branch, another method, no Via of the cluster at all.
        let ok = bob.response(&heard, 200);
        let top = heard.list("Via").into_iter().next().expect("the edge's");
        bob.send(&ok.clone().with_top("Via", &format!("{top}x"))).await;
        bob.send(&ok.clone().with("CSeq", "1 INFO")).await;
        bob.send(&ok.clone().without("Via").line("Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx")).await;
        bob.hears_nothing_else(&message).await;
        bob.reply(&heard, 404).await;
        alice.gets(&message, 404).await;
    });
}
