//! RFC 3261 §17, RFC 6026, RFC 4320: datagrams that are lost. The script loses them by not answering, or by saying once more
//! what it has said.

use std::time::Duration;

use cluster_tests::phone::Transport::{Tcp, Udp};
use cluster_tests::phone::{Dialog, Phone, scenario};
use node::clock;

/// §17.1.1.2 (Timer A): the edge repeats an INVITE until the phone says something.
#[test]
fn an_invite_is_repeated_until_the_phone_answers() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        bob.hears_again(&heard).await;
        bob.hears_again(&heard).await;
        bob.reply(&heard, 200).await;
        let ok = alice.gets(&invite, 200).await;
        alice.acknowledges(&invite, &ok, &mut bob).await;
        bob.hears_nothing_else(&invite).await;
    });
}

/// §17.2.1: a repeated INVITE is answered with what was said last, and is not forwarded again; RFC 6026 §7.1: not even when
/// it has been accepted.
#[test]
fn a_repeated_invite_goes_nowhere() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        let trying = alice.trying(&invite).await;
        assert_eq!(trying.tag("To"), "", "§17.2.1: no tag in a 100");
        alice.send(&invite).await;
        alice.hears_again(&trying).await;
        bob.reply(&heard, 180).await;
        let ringing = alice.gets(&invite, 180).await;
        alice.send(&invite).await;
        alice.hears_again(&ringing).await;
        bob.reply(&heard, 200).await;
        let ok = alice.gets(&invite, 200).await;
        alice.send(&invite).await;
        alice.acknowledges(&invite, &ok, &mut bob).await;
        bob.hears_nothing_else(&invite).await;
        alice.hears_nothing_else(&invite).await;
    });
}

/// §13.3.1.4, §16.7 step 5 and RFC 6026 §7.2: every 2xx goes up, every ACK goes down.
#[test]
fn a_repeated_200_and_its_ack_arrive_each_time() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        let said = bob.reply(&heard, 200).await;
        let ok = alice.gets(&invite, 200).await;
        for _ in 0..2 {
            bob.send(&said).await;
            alice.hears_again(&ok).await;
        }
        let mut dialog = Dialog::of_caller(&invite, &ok);
        let ack = alice.within(&mut dialog, "ACK");
        alice.send(&ack).await;
        let heard = bob.hears("ACK").await;
        // §16.11: forwarded without a transaction, it is the same each time.
        alice.send(&ack).await;
        bob.hears_again(&heard).await;
        alice.hangs_up(&mut dialog, &mut bob).await;
    });
}

/// §17.1.2.2 (Timer E) and §17.2.2: a BYE is repeated to the phone, its 200 to who repeats it.
#[test]
fn a_bye_and_its_answer_are_lost() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut caller, _) = alice.calls(&mut bob, |invite| invite).await;
        let bye = alice.within(&mut caller, "BYE");
        alice.send(&bye).await;
        let heard = bob.hears("BYE").await;
        bob.hears_again(&heard).await;
        bob.reply(&heard, 200).await;
        let ok = alice.gets(&bye, 200).await;
        alice.send(&bye).await;
        alice.hears_again(&ok).await;
        bob.hears_nothing_else(&bye).await;
    });
}

/// §17.1.1.2, §17.1.2.2: a stream loses nothing. The phone on UDP is the clock: it hears the INVITE three times.
#[test]
fn nothing_is_repeated_over_tcp() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let mut clock = exchange.registered(2, Udp).await;
        let mut bob = exchange.another(&clock, 2, Tcp).await;
        bob.register().await;
        let invite = alice.request("INVITE", &bob.aor());
        alice.send(&invite).await;
        let (at_bob, ticking) = (bob.hears("INVITE").await, clock.hears("INVITE").await);
        clock.hears_again(&ticking).await;
        clock.hears_again(&ticking).await;
        bob.reply(&at_bob, 486).await;
        bob.hears("ACK").await;
        bob.hears_nothing_else(&invite).await;
        assert_eq!((bob.count("INVITE "), bob.count("ACK ")), (1, 1));
        clock.reply(&ticking, 486).await;
        clock.hears("ACK").await;
        // Alice's ACK is late: an edge repeats a refusal on UDP only (§17.2.1, Timer G).
        alice.is_refused(&invite, 486).await;
        alice.hears_nothing_else(&invite).await;
        assert_eq!(alice.count("SIP/2.0 486"), 1);
    });
}

/// RFC 4320 §4: no 408 and no early 100 to a request that is no INVITE; RFC 3261 §17.1.1.2 (Timer B): 408 to an INVITE.
/// Takes 64·T1, as it is real time.
#[test]
fn phones_that_never_answer() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let mut carol = exchange.registered(2, Udp).await;
        alice.patience = Duration::from_secs(60);
        let message = alice.request("MESSAGE", &bob.aor());
        let begun = clock::now();
        alice.send(&message).await;
        bob.hears("MESSAGE").await;
        let invite = alice.request("INVITE", &carol.aor());
        alice.send(&invite).await;
        carol.hears("INVITE").await;

        alice.trying(&message).await;
        // T1 + 2·T1 + 4·T1: the time until a client's Timer E is T2.
        let silent = clock::now() - begun;
        assert!(silent >= Duration::from_millis(3_500), "RFC 4320 §4.1: a 100 after {silent:?}");
        alice.trying(&invite).await;
        let timed_out = alice.gets(&invite, 408).await;
        let waited = clock::now() - begun;
        assert!(waited >= Duration::from_secs(32), "RFC 3261 §17.1.1.2: 408 after {waited:?}");
        alice.send(&Phone::ack(&invite, &timed_out)).await;
        // The MESSAGE is older than the INVITE, so its time is over, too.
        alice.hears_nothing_else(&invite).await;
        alice.hears_nothing_else(&message).await;
    });
}
