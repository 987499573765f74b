//! Everything inside a dialog, both ways and between transports: RFC 3261 §12 to §15, RFC 3262, RFC 3311, RFC 3515, RFC 4028,
//! RFC 6665. A proxy has no part in them but to follow the route set.

use cluster_tests::phone::Transport::{Tcp, Tls, Udp, Ws, Wss};
use cluster_tests::phone::{Dialog, Message, Phone, assert_passed, scenario};

/// A request inside a dialog with these lines, and its answer: both arrive as they left.
async fn passes(
    from: &mut Phone,
    dialog: &mut Dialog,
    to: &mut Phone,
    method: &str,
    lines: &[&str],
    status: u16,
) -> Message {
    let request = from.within(dialog, method);
    let request = lines.iter().fold(request, |request, line| request.line(line)).body("body\0");
    from.send(&request).await;
    let heard = to.hears(method).await;
    assert_passed(&request, &heard);
    assert_eq!((heard.uri(), heard.list("Route").len()), (&*dialog.target, 0));
    let answer = to.response(&heard, status).line("X-Answer: yes").body("\0answer");
    to.send(&answer).await;
    let got = from.gets(&request, status).await;
    assert_passed(&answer, &got);
    heard
}

#[test]
fn a_call_with_everything() {
    for (from, to) in [(Udp, Udp), (Udp, Tcp), (Tcp, Udp), (Wss, Udp), (Udp, Wss), (Tls, Ws)] {
        scenario(async |exchange| {
            let mut alice = exchange.outsider(1, from).await;
            let mut bob = exchange.registered(2, to).await;
            let invite = alice.request("INVITE", &bob.aor());
            let invite = invite
                .line("Supported: 100rel, timer")
                .line("Session-Expires: 120;refresher=uac")
                .line("Min-SE: 90");
            let invite = invite.line("Content-Type: application/sdp").body("v=0\r\n");
            alice.send(&invite).await;
            let heard = bob.hears("INVITE").await;
            assert_passed(&invite, &heard);
            let early =
                bob.response(&heard, 183).line("Require: 100rel").line("RSeq: 988789").body("v=0\r\n");
            bob.send(&early).await;
            let got = alice.gets(&invite, 183).await;
            assert_passed(&early, &got);
            let mut caller = Dialog::of_caller(&invite, &got);
            let mut callee = Dialog::of_callee(&heard, &early);
            assert_eq!((caller.routes.len(), callee.routes.len()), (2, 2));

            passes(&mut alice, &mut caller, &mut bob, "PRACK", &["RAck: 988789 1 INVITE"], 200).await;
            passes(
                &mut alice,
                &mut caller,
                &mut bob,
                "UPDATE",
                &["Session-Expires: 1800;refresher=uac"],
                422,
            )
            .await;
            passes(&mut bob, &mut callee, &mut alice, "UPDATE", &["Min-SE: 90"], 200).await;
            let ok = bob.response(&heard, 200).line("Session-Expires: 120;refresher=uas").body("v=0\r\n");
            bob.send(&ok).await;
            assert_passed(&ok, &alice.gets(&invite, 200).await);
            let ack = alice.within(&mut Dialog { number: 1, ..caller.clone() }, "ACK").body("v=0\r\n");
            alice.send(&ack).await;
            assert_passed(&ack, &bob.hears("ACK").await);

            passes(&mut alice, &mut caller, &mut bob, "INFO", &["Info-Package: dtmf"], 200).await;
            passes(&mut bob, &mut callee, &mut alice, "INFO", &["Info-Package: dtmf"], 469).await;
            passes(&mut alice, &mut caller, &mut bob, "MESSAGE", &["Content-Type: text/plain"], 200).await;
            passes(&mut bob, &mut callee, &mut alice, "OPTIONS", &["Accept: application/sdp"], 200).await;
            passes(&mut alice, &mut caller, &mut bob, "X-UNHEARD-OF", &["X-Odd: 1"], 501).await;
            passes(&mut bob, &mut callee, &mut alice, "BYE", &["Reason: Q.850;cause=16"], 200).await;
        });
    }
}

/// §14: both ends invite again; what fails leaves the call as it is, and a new Contact is the new target.
#[test]
fn a_call_is_changed_from_both_ends() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut caller, mut callee) = alice.calls(&mut bob, |invite| invite).await;
        for from_bob in [false, true] {
            let (from, dialog, to) = if from_bob {
                (&mut bob, &mut callee, &mut alice)
            } else {
                (&mut alice, &mut caller, &mut bob)
            };
            let again = from.within(dialog, "INVITE").body("v=0\r\n");
            from.send(&again).await;
            let heard = to.hears("INVITE").await;
            assert_passed(&again, &heard);
            to.reply(&heard, 491).await;
            to.hears("ACK").await;
            from.is_refused(&again, 491).await;

            let again = from.within(dialog, "INVITE").body("v=0\r\n");
            from.send(&again).await;
            let heard = to.hears("INVITE").await;
            to.reply(&heard, 200).await;
            from.gets(&again, 200).await;
            let ack = from.within(dialog, "ACK").body("v=1\r\n");
            from.send(&ack).await;
            assert_passed(&ack, &to.hears("ACK").await);
        }
        // §12.2.1.2: Bob has moved to another port, and says so.
        let moved = "<sip:bob@10.9.8.7:5066;ob>";
        let again = bob.within(&mut callee, "INVITE").with("Contact", moved);
        bob.send(&again).await;
        let heard = alice.hears("INVITE").await;
        assert_eq!(heard.get("Contact"), moved);
        alice.reply(&heard, 200).await;
        bob.gets(&again, 200).await;
        let ack = bob.within(&mut callee, "ACK");
        bob.send(&ack).await;
        alice.hears("ACK").await;
        caller.target = heard.contact();
        let bye = alice.within(&mut caller, "BYE");
        alice.send(&bye).await;
        let heard = bob.hears("BYE").await;
        assert_eq!(
            heard.uri(),
            "sip:bob@10.9.8.7:5066;ob",
            "the flow is found by the route, not by the target"
        );
        bob.reply(&heard, 200).await;
        alice.gets(&bye, 200).await;
    });
}

/// RFC 6665 §4: a subscription is a dialog from its first NOTIFY on, and both sides use it.
#[test]
fn a_subscription_lives_and_ends() {
    for (from, to) in [(Udp, Udp), (Tcp, Udp), (Udp, Tcp)] {
        scenario(async |exchange| {
            let mut watcher = exchange.outsider(1, from).await;
            let mut bob = exchange.registered(2, to).await;
            let subscribe = watcher.request("SUBSCRIBE", &bob.aor());
            let subscribe = subscribe
                .line("Event: dialog;id=3")
                .line("Expires: 600")
                .line("Accept: application/dialog-info+xml");
            watcher.send(&subscribe).await;
            let heard = bob.hears("SUBSCRIBE").await;
            assert_passed(&subscribe, &heard);
            let ok = bob.response(&heard, 202).line("Expires: 600");
            let mut notifier = Dialog::of_callee(&heard, &ok);
            // §4.4.1: the NOTIFY may come first.
            let state = [
                "Event: dialog;id=3",
                "Subscription-State: active;expires=600",
                "Content-Type: application/dialog-info+xml",
            ];
            passes(&mut bob, &mut notifier, &mut watcher, "NOTIFY", &state, 200).await;
            bob.send(&ok).await;
            let accepted = watcher.gets(&subscribe, 202).await;
            let mut subscriber = Dialog::of_caller(&subscribe, &accepted);
            passes(
                &mut watcher,
                &mut subscriber,
                &mut bob,
                "SUBSCRIBE",
                &["Event: dialog;id=3", "Expires: 60"],
                200,
            )
            .await;
            passes(&mut bob, &mut notifier, &mut watcher, "NOTIFY", &state, 200).await;
            passes(
                &mut watcher,
                &mut subscriber,
                &mut bob,
                "SUBSCRIBE",
                &["Event: dialog;id=3", "Expires: 0"],
                200,
            )
            .await;
            let over = ["Event: dialog;id=3", "Subscription-State: terminated;reason=timeout"];
            passes(&mut bob, &mut notifier, &mut watcher, "NOTIFY", &over, 481).await;
        });
    }
}

/// RFC 3515: a transfer inside a call and one outside of any.
#[test]
fn a_transfer_is_reported() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Tcp).await;
        let (mut caller, mut callee) = alice.calls(&mut bob, |invite| invite).await;
        let refer = [
            "Refer-To: <sip:carol@elsewhere.test?Replaces=a%40b%3Bto-tag%3D1>",
            "Referred-By: <sip:alice@elsewhere.test>",
        ];
        passes(&mut alice, &mut caller, &mut bob, "REFER", &refer, 202).await;
        for (state, sipfrag) in
            [("active;expires=60", "SIP/2.0 100 Trying"), ("terminated;reason=noresource", "SIP/2.0 200 OK")]
        {
            let state = format!("Subscription-State: {state}");
            let lines = [
                "Event: refer",
                &*state,
                "Content-Type: message/sipfrag;version=2.0",
                &*format!("X: {sipfrag}"),
            ];
            passes(&mut bob, &mut callee, &mut alice, "NOTIFY", &lines, 200).await;
        }
        alice.hangs_up(&mut caller, &mut bob).await;

        let refer = alice.request("REFER", &bob.aor()).line("Refer-To: <sip:carol@elsewhere.test>");
        alice.send(&refer).await;
        let heard = bob.hears("REFER").await;
        let accepted = bob.reply(&heard, 202).await;
        alice.gets(&refer, 202).await;
        let mut referred = Dialog::of_callee(&heard, &accepted);
        let over = ["Event: refer", "Subscription-State: terminated;reason=noresource"];
        passes(&mut bob, &mut referred, &mut alice, "NOTIFY", &over, 200).await;
    });
}

/// §12.2.2: a phone that has forgotten says so, and its word arrives.
#[test]
fn a_dialog_that_nobody_knows_is_481() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut caller, _) = alice.calls(&mut bob, |invite| invite).await;
        passes(&mut alice, &mut caller, &mut bob, "BYE", &[], 481).await;
    });
}

/// §16.4, §12.2.1.1: both phones behind one edge, and the caller a user behind the other edge as well.
#[test]
fn two_phones_behind_one_edge() {
    scenario(async |exchange| {
        for edge in [1, 2] {
            let mut alice = exchange.outsider(edge, Udp).await;
            let mut bob = exchange.registered(edge, Tcp).await;
            let (mut caller, mut callee) = alice.calls(&mut bob, |invite| invite).await;
            assert_eq!(caller.routes.len(), 2, "one for each flow: {:?}", caller.routes);
            passes(&mut alice, &mut caller, &mut bob, "INFO", &[], 200).await;
            passes(&mut bob, &mut callee, &mut alice, "BYE", &[], 200).await;
        }
    });
}
