//! RFC 3261 §16.3 to §16.7 for one callee: what is refused, what is added and what is taken away.

use cluster_tests::cluster::DOMAIN;
use cluster_tests::phone::Transport::Udp;
use cluster_tests::phone::{Dialog, Message, Phone, assert_passed, parameter, scenario};
use cluster_tests::ua::message::{host_of, uri_of};

/// §16.6 steps 2 to 8, §16.7 step 3, RFC 3581 §4: each element's part, and nothing else.
#[test]
fn a_call_leaves_with_exactly_what_proxies_add() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (ep1, ep2) = (exchange.edge(1).to_string(), exchange.edge(2).to_string());
        let invite = alice.request("INVITE", &bob.aor()).line("X-Odd:  as it is ").line("X-None:");
        alice.send(&invite).await;
        let heard = bob.hears("INVITE").await;
        assert_passed(&invite, &heard);
        assert_eq!(heard.uri(), bob.contact(), "§16.6 step 2: the registered contact as it was registered");
        assert_eq!(heard.all("Max-Forwards"), ["67"], "§16.6 step 3: one for each of the three hops");
        assert!(heard.list("Route").is_empty(), "§16.4: each edge takes its own entry");
        let vias = heard.list("Via");
        assert_eq!(vias.len(), 4, "§16.6 step 8: {vias:?}");
        assert!(vias[0].starts_with(&format!("SIP/2.0/UDP {ep2};")), "{vias:?}");
        assert!(
            vias[..3].iter().all(|via| parameter(via, "branch").is_some_and(|b| b.starts_with("z9hG4bK")))
        );
        let (sent_by, port) = (alice.local.to_string(), alice.local.port().to_string());
        assert!(vias[3].starts_with(&format!("SIP/2.0/UDP {sent_by};")), "{vias:?}");
        assert_eq!(parameter(&vias[3], "rport"), Some(&*port));
        assert_eq!(parameter(&vias[3], "received"), Some("127.0.0.1"), "RFC 3581 §4: even if it is the same");
        assert_eq!(parameter(&vias[3], "branch"), Some(&*invite.branch()));
        let routes = heard.list("Record-Route");
        assert_eq!(routes.iter().map(|route| host_of(uri_of(route))).collect::<Vec<_>>(), [&*ep2, &*ep1]);
        assert!(routes.iter().all(|route| uri_of(route).contains(";lr")), "{routes:?}");

        bob.reply(&heard, 180).await;
        let ringing = alice.gets(&invite, 180).await;
        assert_eq!(ringing.list("Record-Route"), routes);
        let said = bob.response(&heard, 200).line("X-Odd:  as it is ").body("v=0\r\n");
        bob.send(&said).await;
        let ok = alice.gets(&invite, 200).await;
        assert_passed(&said, &ok);
        assert_eq!(ok.list("Via"), vias[3..], "§16.7 step 3");
        assert_eq!(ok.list("Record-Route"), routes);

        let mut dialog = Dialog::of_caller(&invite, &ok);
        let ack = alice.within(&mut dialog, "ACK");
        alice.send(&ack).await;
        let acked = bob.hears("ACK").await;
        assert_passed(&ack, &acked);
        assert_eq!((acked.uri(), acked.list("Route").len()), (&*bob.contact(), 0));
        assert_eq!(acked.all("Max-Forwards"), ["67"]);
        alice.hangs_up(&mut dialog, &mut bob).await;
    });
}

/// §16.3 step 3, §16.6 step 3.
#[test]
fn hops_run_out() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        for method in ["MESSAGE", "INVITE"] {
            // The third hop is the last one that takes a request with one left.
            for left in ["0", "1", "2"] {
                let request = alice.request(method, &bob.aor()).with("Max-Forwards", left);
                alice.send(&request).await;
                let refused = alice.gets(&request, 483).await;
                if method == "INVITE" {
                    alice.send(&Phone::ack(&request, &refused)).await;
                }
                bob.hears_nothing_else(&request).await;
            }
        }
        for (given, heard) in [(Some("3"), "0"), (Some("255"), "252"), (None, "68")] {
            let request = alice.request("MESSAGE", &bob.aor()).without("Max-Forwards");
            let request = given.map_or(request.clone(), |given| request.with("Max-Forwards", given));
            alice.send(&request).await;
            let message = bob.hears("MESSAGE").await;
            assert_eq!(message.all("Max-Forwards"), [heard], "{given:?}");
            bob.reply(&message, 200).await;
            alice.gets(&request, 200).await;
        }
    });
}

/// §16.3 step 1, §7.1, §8.1.1, §20: what routing, matching and answering need, and its absence.
#[test]
fn what_cannot_be_read_is_refused_and_goes_nowhere() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let aor = bob.aor();
        let mut good = || alice.request("MESSAGE", &aor);
        let bad = [
            ("no From", 400, good().without("From")),
            ("no To", 400, good().without("To")),
            ("no Call-ID", 400, good().without("Call-ID")),
            ("an empty Call-ID", 400, good().with("Call-ID", "")),
            ("no CSeq", 400, good().without("CSeq")),
            ("another method in CSeq", 400, good().with("CSeq", "1 INFO")),
            ("a number beyond 2^32", 400, good().with("CSeq", "4294967296 MESSAGE")),
            ("a CSeq without number", 400, good().with("CSeq", "MESSAGE")),
            ("two CSeqs", 400, good().line("CSeq: 2 MESSAGE")),
            ("two Call-IDs", 400, good().line("Call-ID: another")),
            ("two Froms", 400, good().line("From: <sip:mallory@elsewhere.test>;tag=m")),
            ("no end of To", 400, good().with("To", "<sip:bob@")),
            ("no end of a quote", 400, good().with("From", "\"Alice <sip:a@elsewhere.test>;tag=1")),
            ("hops that are no number", 400, good().with("Max-Forwards", "many")),
            ("a length below zero", 400, good().with("Content-Length", "-1")),
            ("more length than there is", 400, good().with("Content-Length", "10")),
            ("a Request-URI in brackets", 400, good().at(&format!("<{aor}>"))),
            ("a scheme that nobody knows", 416, good().at("nobody-knows:this")),
            ("a Route that is none", 400, good().with("Route", "<sip:[::1;lr>")),
            ("a later version", 505, good()),
        ];
        for (what, status, request) in bad {
            let mut bytes = request.bytes();
            if status == 505 {
                let text = String::from_utf8(bytes).unwrap();
                bytes = text.replacen(" SIP/2.0\r\n", " SIP/3.0\r\n", 1).into_bytes();
            }
            alice.send(&Message::read(&bytes).unwrap()).await;
            let answer = alice.answer(&request).await;
            assert_eq!(answer.status(), Some(status), "{what}: {answer}");
        }
        let last = alice.request("MESSAGE", &aor);
        alice.send(&last).await;
        let heard = bob.hears("MESSAGE").await;
        assert_eq!(heard.get("Call-ID"), last.get("Call-ID"), "the first one that arrives");
        bob.reply(&heard, 200).await;
        alice.gets(&last, 200).await;
    });
}

/// §16.3 step 5.
#[test]
fn every_unknown_proxy_require_is_named() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let request = alice.request("INVITE", &bob.aor());
        let request =
            request.line("Require: 100rel").line("Proxy-Require: one, two").line("Proxy-Require: three");
        alice.send(&request).await;
        let refused = alice.gets(&request, 420).await;
        assert_eq!(refused.list("Unsupported"), ["one", "two", "three"]);
        alice.send(&Phone::ack(&request, &refused)).await;
        bob.hears_nothing_else(&request).await;
    });
}

/// §16.4: an element before ours that routes strictly has put our entry into the Request-URI and the target at the end of
/// the Route.
#[test]
fn what_a_strict_router_has_done_is_undone() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut caller, _) = alice.calls(&mut bob, |invite| invite).await;
        let bye = alice.within(&mut caller, "BYE");
        let [ep1, ep2] = &caller.routes[..] else { panic!("two edges: {:?}", caller.routes) };
        let strict = bye.without("Route").at(uri_of(ep1));
        let strict = strict.line(format!("Route: {ep2}, <{}>", caller.target));
        alice.send(&strict).await;
        let heard = bob.hears("BYE").await;
        assert_eq!((heard.uri(), heard.list("Route").len()), (&*bob.contact(), 0));
        bob.reply(&heard, 200).await;
        alice.gets(&strict, 200).await;
    });
}

/// §16.6 step 6 and §16.12.1.2: an element behind ours routes strictly.
#[test]
fn a_strict_router_gets_what_it_expects() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        // A proxy in front of Bob has recorded itself without `lr`.
        let proxy = format!("sip:strict@{}", bob.local);
        let behind = heard.clone().on_top(format!("Record-Route: <{proxy}>"));
        let ok = bob.response(&behind, 200).with("Contact", "<sip:bob@10.1.2.3:5099>");
        bob.send(&ok).await;
        let ok = alice.gets(&invite, 200).await;
        let mut dialog = Dialog::of_caller(&invite, &ok);
        assert_eq!(dialog.routes.len(), 3);
        for method in ["ACK", "BYE"] {
            let request = alice.within(&mut dialog, method);
            alice.send(&request).await;
            let heard = bob.hears(method).await;
            assert_eq!(heard.uri(), proxy, "{method}");
            assert_eq!(heard.list("Route"), ["<sip:bob@10.1.2.3:5099>"], "{method}");
            if method == "BYE" {
                bob.reply(&heard, 200).await;
                alice.gets(&request, 200).await;
            }
        }
    });
}

/// §16.4: a `maddr` that is ours stands for us, and goes.
#[test]
fn a_maddr_of_ours_is_resolved() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let edge = exchange.edge(1);
        let uri = format!("{}:{};maddr={}", bob.aor(), edge.port(), edge.ip());
        let request = alice.request("MESSAGE", &uri);
        alice.send(&request).await;
        let heard = bob.hears("MESSAGE").await;
        assert_eq!(heard.uri(), bob.contact());
        bob.reply(&heard, 200).await;
        alice.gets(&request, 200).await;
    });
}

/// §16.3 step 4, RFC 5393 §4.2: what comes back as it was is a loop, wherever it comes back; with another Request-URI it
/// is a spiral.
#[test]
fn a_loop_ends_and_a_spiral_goes_on() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let mut carol = exchange.registered(1, Udp).await;
        let mut back = exchange.outsider(1, Udp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;

        // Bob forwards as a proxy does: to where it came from, over the other edge, ...
        for (edge, phone) in [("EP1", &mut back), ("EP2", &mut bob)] {
            let aor = invite.uri();
            let looping = heard.clone().at(aor).with("Max-Forwards", "66");
            let looping = looping.on_top(format!("Via: {}", phone.via()));
            phone.send(&looping).await;
            let ended = phone.answer(&looping).await;
            assert_eq!(ended.status(), Some(482), "over {edge}: {ended}");
            phone.send(&Phone::ack(&looping, &ended)).await;
        }
        // ... and to somebody else.
        let via = bob.via();
        let spiral = heard.clone().at(&carol.aor()).with("Max-Forwards", "66").on_top(format!("Via: {via}"));
        bob.send(&spiral).await;
        let arrived = carol.hears("INVITE").await;
        assert_eq!((arrived.list("Via").len(), arrived.list("Record-Route").len()), (8, 4));
        carol.reply(&arrived, 486).await;
        carol.hears("ACK").await;
        bob.is_refused(&spiral, 486).await;
        bob.reply(&heard, 486).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 486).await;
    });
}

/// §16.5: nobody there, which a stranger is told of users that do not exist, too; nobody's domain.
#[test]
fn who_is_not_there_is_told_at_once() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let away = exchange.phone(2, Udp).await;
        let foreign = "sip:bob@foreign.test".to_owned();
        let unknown = format!("sip:no-such-user@{DOMAIN}");
        for (uri, status) in [(away.aor(), 480), (unknown, 480), (foreign, 403)] {
            for method in ["INVITE", "MESSAGE"] {
                let request = alice.request(method, &uri);
                alice.send(&request).await;
                let refused = alice.gets(&request, status).await;
                if method == "INVITE" {
                    alice.send(&Phone::ack(&request, &refused)).await;
                }
            }
        }
    });
}
