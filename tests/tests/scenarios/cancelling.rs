//! RFC 3261 §9 and §16.10: calls that are given up.

use cluster_tests::phone::Transport::{Tcp, Udp};
use cluster_tests::phone::{Exchange, Message, Phone, scenario};

/// Alice, who is calling, and Bob's phone, which has heard it.
async fn ringing(exchange: &Exchange) -> (Phone, Message, Phone, Message) {
    let mut alice = exchange.outsider(1, Udp).await;
    let mut bob = exchange.registered(2, Udp).await;
    let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
    (alice, invite, bob, heard)
}

/// §9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent".
#[test]
fn a_cancel_waits_until_the_phone_has_said_something() {
    scenario(async |exchange| {
        let (mut alice, invite, mut bob, heard) = ringing(exchange).await;
        alice.gives_up(&invite).await;
        bob.hears_nothing_else(&invite).await;
        bob.reply(&heard, 100).await;
        let cancelled = bob.hears("CANCEL").await;
        bob.reply(&cancelled, 200).await;
        bob.reply(&heard, 487).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 487).await;
        bob.hears_nothing_else(&invite).await;
    });
}

/// §9.1: a CANCEL looks like the INVITE that it means, hop by hop; §16.10.
#[test]
fn a_cancel_stops_the_ringing() {
    scenario(async |exchange| {
        let (mut alice, invite, mut bob, heard) = ringing(exchange).await;
        bob.reply(&heard, 180).await;
        alice.gets(&invite, 180).await;
        let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
        let cancel = Phone::cancel(&invite).line(format!("Reason: {reason}"));
        alice.send(&cancel).await;
        let answer = alice.gets(&cancel, 200).await;
        assert_eq!(answer.tag("From"), invite.tag("From"));
        let cancelled = bob.hears("CANCEL").await;
        assert_eq!(cancelled.uri(), heard.uri(), "§9.1");
        assert_eq!(cancelled.list("Via"), heard.list("Via")[..1], "§9.1: a single Via, that of the INVITE");
        for name in ["From", "To", "Call-ID", "Route"] {
            assert_eq!(cancelled.get(name), heard.get(name), "{name}");
        }
        assert_eq!(cancelled.get("CSeq"), format!("{} CANCEL", heard.number()));
        assert_eq!(cancelled.all("Reason"), [reason], "RFC 3326 §2");
        for name in ["Require", "Proxy-Require"] {
            assert!(cancelled.all(name).is_empty(), "§9.1: {name}");
        }
        bob.reply(&cancelled, 200).await;
        bob.reply(&heard, 487).await;
        let ack = bob.hears("ACK").await;
        assert_eq!((ack.uri(), ack.list("Via")), (heard.uri(), heard.list("Via")[..1].to_vec()), "§17.1.1.3");
        alice.is_refused(&invite, 487).await;
        bob.hears_nothing_else(&invite).await;
        alice.hears_nothing_else(&invite).await;
    });
}

/// §9.1: "the UAC MUST be prepared" that the phone has answered before the CANCEL came.
#[test]
fn an_answer_that_meets_the_cancel_is_a_call() {
    scenario(async |exchange| {
        let (mut alice, invite, mut bob, heard) = ringing(exchange).await;
        bob.reply(&heard, 180).await;
        alice.gets(&invite, 180).await;
        alice.gives_up(&invite).await;
        // The CANCEL has arrived, but the user has picked up before.
        let cancelled = bob.hears("CANCEL").await;
        bob.reply(&heard, 200).await;
        bob.reply(&cancelled, 200).await;
        let ok = alice.gets(&invite, 200).await;
        let mut dialog = alice.acknowledges(&invite, &ok, &mut bob).await;
        alice.hangs_up(&mut dialog, &mut bob).await;
        bob.hears_nothing_else(&invite).await;
    });
}

/// §9.2: a CANCEL after the final answer is answered, and does nothing.
#[test]
fn a_cancel_after_the_answer_does_nothing() {
    scenario(async |exchange| {
        let (mut alice, invite, mut bob, heard) = ringing(exchange).await;
        bob.reply(&heard, 200).await;
        let ok = alice.gets(&invite, 200).await;
        alice.gives_up(&invite).await;
        let mut dialog = alice.acknowledges(&invite, &ok, &mut bob).await;
        alice.hangs_up(&mut dialog, &mut bob).await;
        bob.hears_nothing_else(&invite).await;
    });
}

/// §9.2.
#[test]
fn a_cancel_of_nothing_is_481() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let invite = alice.request("INVITE", &bob.aor());
        let cancel = Phone::cancel(&invite);
        alice.send(&cancel).await;
        alice.gets(&cancel, 481).await;
        bob.hears_nothing_else(&invite).await;
    });
}

/// §9.1: only an INVITE can be cancelled; the rest goes on (§16.10).
#[test]
fn a_cancel_of_a_message_changes_nothing() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (message, heard) = alice.reaches(&mut bob, "MESSAGE").await;
        let cancel = Phone::cancel(&message);
        alice.send(&cancel).await;
        alice.final_answer(&cancel).await;
        bob.hears_nothing_else(&message).await;
        bob.reply(&heard, 200).await;
        alice.gets(&message, 200).await;
    });
}

/// §17.1.1.3, §17.2.1: the ACK to a refusal goes one hop; each hop makes its own.
#[test]
fn the_ack_to_a_refusal_goes_one_hop() {
    scenario(async |exchange| {
        let (mut alice, invite, mut bob, heard) = ringing(exchange).await;
        let busy = bob.reply(&heard, 486).await;
        let ack = bob.hears("ACK").await;
        assert_eq!(ack.list("Via"), heard.list("Via")[..1]);
        assert_eq!((ack.get("To"), ack.get("CSeq")), (busy.get("To"), format!("{} ACK", heard.number())));
        // The ACK was lost: Bob repeats, and is acknowledged again (§17.1.1.2).
        bob.send(&busy).await;
        bob.hears_again(&ack).await;
        // Alice's was, too: the edge repeats until it comes (§17.2.1, Timer G).
        let refused = alice.gets(&invite, 486).await;
        alice.hears_again(&refused).await;
        alice.send(&Phone::ack(&invite, &refused)).await;
        bob.hears_nothing_else(&invite).await;
        assert_eq!(bob.count("ACK "), 2);
    });
}

/// The same where nothing is lost: no repetition, no second ACK.
#[test]
fn a_call_over_tcp_is_given_up() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let mut bob = exchange.registered(2, Tcp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        bob.reply(&heard, 180).await;
        alice.gets(&invite, 180).await;
        alice.gives_up(&invite).await;
        let cancelled = bob.hears("CANCEL").await;
        bob.reply(&cancelled, 200).await;
        bob.reply(&heard, 487).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 487).await;
        bob.hears_nothing_else(&invite).await;
        assert_eq!((bob.count("CANCEL "), bob.count("ACK "), bob.count("INVITE ")), (1, 1, 1));
    });
}
