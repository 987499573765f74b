//! Calls to other domains and to gateways, RFC 3263 and RFC 3261 §16: who may, by which edge, what when something fails, and
//! the dialog in both directions.

use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::oracle::Node;
use cluster_tests::sim::{CallRef, DOMAIN, EP1, EP2, Sim, Topology};
use cluster_tests::ua::message::{elements, first, header, lines, request};
use cluster_tests::ua::{Answer, CallOptions};
use core_registrar::routes::{Route, Routes};
use rsip::Method;
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const GATEWAY: &str = "gw.example.net";

/// Alice behind the first edge, and a gateway outside: the domain `gw.example.net`, by an SRV record.
fn alice_and_gateway(seed: u64) -> (Sim, usize, usize) {
    with(seed, Topology::default(), "")
}

fn with(seed: u64, topology: Topology, routes: &str) -> (Sim, usize, usize) {
    let mut sim = Sim::with_routes(seed, topology, Weather::fair(), of(routes));
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let gateway = gateway(&mut sim, "a.example.net", 10);
    (sim, alice, gateway)
}

fn of(routes: &str) -> Routes {
    let routes: Vec<Route> =
        routes.split_terminator(',').map(|route| route.parse().expect("a route")).collect();
    Routes::new(&routes).expect("routes that differ")
}

/// One more server of the gateway's domain.
fn gateway(sim: &mut Sim, name: &str, priority: u16) -> usize {
    let phone = sim.gateway("gateway", GATEWAY, Protocol::Udp);
    let address = sim.public_address(phone);
    sim.dns.server("_sip._udp.gw.example.net", priority, address.port(), name);
    sim.dns.address(name, address);
    sim.order(phone, |phone| phone.answer = Answer::after_ms(100));
    phone
}

fn call(sim: &mut Sim, alice: usize) -> CallRef {
    sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), CallOptions::default())
}

/// The edge that sent the first INVITE outside.
fn exit(sim: &Sim, gateway: usize) -> usize {
    let left = |wire: &&cluster_tests::oracle::Wire| {
        wire.seen.is_request() && wire.seen.method == "INVITE" && wire.to == Node::Ua(gateway)
    };
    match sim.wires().find(left).map(|wire| wire.from) {
        Some(Node::Edge(edge)) => edge,
        other => panic!("no edge has sent an INVITE outside: {other:?}"),
    }
}

#[test]
fn a_call_to_another_domain_leaves_and_both_sides_can_end_it() {
    for gateway_ends in [false, true] {
        let (mut sim, alice, gateway) = alice_and_gateway(1);
        let call = call(&mut sim, alice);
        sim.run(3 * SECOND);
        assert_eq!(sim.statuses(call), [180, 200]);
        assert!(sim.ua(gateway).dialogs[0].is_acknowledged, "the ACK to the 2xx leaves, too");
        let invite = sim.ua(gateway).requests("INVITE")[0].clone();
        assert_eq!(invite.uri.to_string(), format!("sip:bob@{GATEWAY}"), "§4: the URI is not rewritten");
        assert!(lines(&invite.headers, "Route").is_empty());
        assert!(lines(&invite.headers, "Proxy-Authorization").is_empty(), "the proof stays here");
        let edge = sim.edge_address(exit(&sim, gateway)).to_string();
        let via = first(&invite.headers, "Via");
        assert!(via.starts_with(&format!("SIP/2.0/UDP {edge};rport")), "{via}");
        for phone in [alice, gateway] {
            sim.order(phone, |phone| phone.reinvite(0));
            sim.run(SECOND);
            assert_eq!(sim.ua(phone).dialogs[0].reinvite, Some(200), "re-INVITE of {phone}");
        }
        let (ends, hears) = if gateway_ends { (gateway, alice) } else { (alice, gateway) };
        assert_eq!(sim.hang_up_dialog(ends, 0), Some(200));
        assert!(sim.ua(hears).dialogs[0].is_over);
    }
}

#[test]
fn other_requests_leave_as_well() {
    let (mut sim, alice, gateway) = alice_and_gateway(2);
    // The first is challenged; a phone remembers the challenge.
    let first_try = call(&mut sim, alice);
    assert_eq!(sim.final_of(first_try, 3 * SECOND), Some(200));
    let number = sim.order(alice, |alice| {
        alice.ask(0, Method::Message, &format!("sip:bob@{GATEWAY}"), CallOptions::default())
    });
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).outcomes[number].status, Some(200));
    assert_eq!(sim.ua(gateway).transactions("MESSAGE").len(), 1);
}

/// Not an open relay: From of our domain, proven, and nothing else.
#[test]
fn strangers_and_the_unproven_do_not_get_out() {
    for call_auth in [true, false] {
        let (mut sim, alice, gateway) = with(3, Topology { call_auth, ..Topology::default() }, "");
        let foreign =
            CallOptions { from: Some("sip:mallory@example.org".to_owned()), ..CallOptions::default() };
        let stranger = sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), foreign);
        assert_eq!(sim.final_of(stranger, SECOND), Some(403), "a foreign From");
        let other = CallOptions { from: Some(format!("sip:carol@{DOMAIN}")), ..CallOptions::default() };
        let other = sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), other);
        assert_eq!(sim.final_of(other, SECOND), Some(403), "somebody else's From");
        sim.order(alice, |alice| alice.profile.password = "guess".to_owned());
        let unproven = call(&mut sim, alice);
        assert_eq!(sim.final_of(unproven, SECOND), Some(407), "a wrong password, call_auth {call_auth}");
        assert!(sim.ua(gateway).heard.is_empty());
        assert_eq!(sim.dns.asked, 0, "nobody makes us ask the DNS without proof");
    }
}

/// A To tag is no proof, and neither is a Route that anybody can write.
#[test]
fn a_dialog_that_never_was_does_not_get_out() {
    let (mut sim, alice, gateway) = alice_and_gateway(4);
    let edge = sim.edge_address(EP1).to_string();
    for (n, route) in [
        String::new(),
        format!("<sip:out.AAAAAAAAAAAA@{edge};lr>"),
        format!("<sip:{edge};lr>, <sip:out.AAAAAAAAAAAA@{edge};lr>"),
        format!("<sip:{edge};lr>, <sip:out.AAAAAAAAAAAA@edge-2;lr>"),
        format!("<sip:{edge};lr>, <sip:out.@edge-2;lr>"),
        format!("<sip:{edge};lr>, <sip:{GATEWAY};lr>"),
    ]
    .into_iter()
    .enumerate()
    {
        for (method, tag) in [(Method::Bye, ";tag=x"), (Method::Message, ";tag=x"), (Method::Message, "")] {
            let before = sim.ua(alice).heard.len();
            let mut headers = vec![
                header(
                    "Via",
                    format!("SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bKforged{n}{method}{}", tag.len()),
                ),
                header("Max-Forwards", "70"),
                header("From", format!("<sip:alice@{DOMAIN}>;tag=a")),
                header("To", format!("<sip:bob@{GATEWAY}>{tag}")),
                header("Call-ID", format!("forged{n}{}", tag.len())),
                header("CSeq", format!("1 {method}")),
                header("Content-Length", "0"),
            ];
            if !route.is_empty() {
                headers.push(header("Route", route.clone()));
            }
            let text = request(method, &format!("sip:bob@{GATEWAY}"), headers);
            sim.order(alice, |alice| alice.say(0, text));
            sim.run(SECOND);
            let answered = sim.ua(alice).heard.len() - before;
            assert_eq!(answered, 1, "{route} {method}{tag}");
        }
    }
    assert!(sim.ua(gateway).heard.is_empty());
    assert_eq!(sim.dns.asked, 0);
    assert!(sim.ua(alice).responses(200).len() < 3, "only the registration was accepted");
}

/// The mark of one dialog is worth nothing in another.
#[test]
fn a_route_of_another_dialog_does_not_get_out() {
    let (mut sim, alice, gateway) = alice_and_gateway(5);
    let call = call(&mut sim, alice);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    let route = sim.ua(alice).dialogs[0].route.join(", ");
    assert!(route.contains("<sip:out."), "{route}");
    let heard = sim.ua(gateway).heard.len();
    let own_tag = sim.ua(alice).dialogs[0].local_tag.clone();
    let own_id = sim.ua(alice).dialogs[0].call_id.clone();
    for (call_id, tag) in [("another", &*own_tag), (&*own_id, "another")] {
        let text = request(
            Method::Bye,
            &format!("sip:victim@{GATEWAY}"),
            vec![
                header("Via", format!("SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bKstolen{call_id}")),
                header("Max-Forwards", "70"),
                header("From", format!("<sip:alice@{DOMAIN}>;tag={tag}")),
                header("To", "<sip:victim@example.org>;tag=v"),
                header("Call-ID", call_id),
                header("CSeq", "7 BYE"),
                header("Route", route.clone()),
                header("Content-Length", "0"),
            ],
        );
        sim.order(alice, |alice| alice.say(0, text));
        sim.run(SECOND);
    }
    assert_eq!(sim.ua(alice).responses(403).len(), 2);
    assert_eq!(sim.ua(gateway).heard.len(), heard);
    assert_eq!(sim.hang_up(call), Some(200), "in its own it is");
}

#[test]
fn routes_lead_numbers_that_are_nobodys_to_the_gateway() {
    let routes = "0*=sip:+49*@gw.example.net,900=sip:gw.example.net";
    for call_auth in [true, false] {
        let (mut sim, alice, gateway) = with(6, Topology { call_auth, ..Topology::default() }, routes);
        sim.phone("0123", EP2);
        for (dialled, status, there) in [
            ("089", 200, Some("sip:+4989@gw.example.net")),
            ("900", 200, Some("sip:900@gw.example.net")),
            ("9001", 404, None),
            ("0123", 480, None), // a subscriber of ours, who is away
        ] {
            let call = sim.call(alice, dialled);
            assert_eq!(sim.final_of(call, 3 * SECOND), Some(status), "{dialled}");
            if let Some(uri) = there {
                let invites = sim.ua(gateway).transactions("INVITE");
                assert_eq!(invites.last().unwrap().uri.to_string(), uri);
                assert_eq!(sim.hang_up(call), Some(200));
            }
        }
        let foreign =
            CallOptions { from: Some("sip:mallory@example.org".to_owned()), ..CallOptions::default() };
        let stranger = sim.call_as(alice, &format!("sip:089@{DOMAIN}"), foreign);
        let status = if call_auth { 480 } else { 403 };
        assert_eq!(sim.final_of(stranger, SECOND), Some(status), "a gateway is for users of ours");
        assert_eq!(sim.ua(gateway).transactions("INVITE").len(), 2);
    }
}

#[test]
fn a_foreign_domain_may_have_a_next_hop() {
    let mut sim =
        Sim::with_routes(7, Topology::default(), Weather::fair(), of("@example.org=sip:gw.example.net"));
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let server = gateway(&mut sim, "a.example.net", 10);
    sim.oracle.set_relay(server);
    let call = sim.call_as(alice, "sip:bob@example.org", CallOptions::default());
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    let invite = sim.ua(server).requests("INVITE")[0];
    assert_eq!(invite.uri.to_string(), "sip:bob@example.org");
    assert_eq!(elements(&invite.headers, "Route"), ["<sip:gw.example.net;lr>"], "§16.6 step 6");
}

/// RFC 3263 §4.3: the next target, with another branch.
#[test]
fn a_silent_or_refusing_server_is_passed_over() {
    for silent in [true, false] {
        // One edge: what it remembers counts for the next call, too.
        let (mut sim, alice, first_gateway) = with(8, Topology { edges: 1, ..Topology::default() }, "");
        let second_gateway = gateway(&mut sim, "b.example.net", 20);
        sim.order(first_gateway, |phone| {
            phone.is_on = !silent;
            phone.answer = Answer::refuse(503, 10);
        });
        let call = call(&mut sim, alice);
        let start = sim.now();
        assert_eq!(sim.final_of(call, 10 * SECOND), Some(200), "silent {silent}");
        let took = sim.now() - start;
        assert!(took < if silent { 6 * SECOND } else { SECOND }, "{took:?}");
        let branches: Vec<_> = sim
            .wires()
            .filter(|wire| wire.seen.method == "INVITE" && wire.seen.is_request())
            .filter(|wire| wire.to == Node::Ua(first_gateway) || wire.to == Node::Ua(second_gateway))
            .map(|wire| (wire.to, wire.seen.branch(0).to_owned()))
            .collect();
        let of =
            |phone| branches.iter().find(|(to, _)| *to == Node::Ua(phone)).map(|(_, branch)| branch.clone());
        assert_ne!(of(first_gateway), of(second_gateway));
        sim.run(SECOND);
        assert_eq!(sim.hang_up(call), Some(200));
        // It is remembered: the next call does not wait.
        let start = sim.now();
        let again = sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), CallOptions::default());
        assert_eq!(sim.final_of(again, 10 * SECOND), Some(200));
        assert!(sim.now() - start < SECOND, "silent {silent}: {:?}", sim.now() - start);
    }
}

#[test]
fn without_a_server_that_answers_the_caller_hears_so() {
    let (mut sim, alice, first_gateway) = alice_and_gateway(9);
    let second_gateway = gateway(&mut sim, "b.example.net", 20);
    for phone in [first_gateway, second_gateway] {
        sim.order(phone, |phone| phone.answer = Answer::refuse(503, 10));
    }
    let refused = call(&mut sim, alice);
    assert_eq!(sim.final_of(refused, 5 * SECOND), Some(500), "§16.7 step 6: 503 is not passed on");
    for (target, status) in [
        ("sip:bob@nowhere.example.net", 404),
        ("sip:bob@broken.example.net", 504),
        ("sip:bob@127.0.0.1:5060", 403),
        ("sip:bob@169.254.169.254", 403),
        ("sip:bob@198.51.100.1:5060", 403),
        ("sip:bob@gw.example.net;transport=sctp", 416),
    ] {
        sim.dns.fail("_sip._udp.broken.example.net");
        let call = sim.call_as(alice, target, CallOptions::default());
        assert_eq!(sim.final_of(call, 5 * SECOND), Some(status), "{target}");
    }
}

/// A refusal by the callee is an answer: nobody else is asked.
#[test]
fn a_refusal_is_no_failure() {
    let (mut sim, alice, first_gateway) = alice_and_gateway(10);
    let second_gateway = gateway(&mut sim, "b.example.net", 20);
    sim.order(first_gateway, |phone| phone.answer = Answer::refuse(486, 10));
    let call = call(&mut sim, alice);
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(486));
    sim.run(10 * SECOND);
    assert!(sim.ua(second_gateway).heard.is_empty());
}

#[test]
fn a_call_is_cancelled_while_it_rings_outside() {
    let (mut sim, alice, gateway) = alice_and_gateway(11);
    sim.order(gateway, |phone| phone.answer = Answer::never());
    let call = call(&mut sim, alice);
    sim.run(SECOND);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, 2 * SECOND), Some(487));
    assert_eq!(sim.ua(gateway).transactions("CANCEL").len(), 1);
    assert!(!sim.ua(gateway).is_ringing());
}

#[test]
fn a_call_is_cancelled_before_the_dns_has_answered() {
    let (mut sim, alice, gateway) = alice_and_gateway(12);
    sim.dns.delay = 5 * SECOND;
    let call = call(&mut sim, alice);
    sim.run(SECOND);
    assert_eq!(sim.dns.asked, 1);
    sim.cancel(call);
    assert_eq!(sim.final_of(call, SECOND), Some(487), "§9.2");
    sim.run(10 * SECOND);
    assert!(sim.ua(gateway).heard.is_empty(), "nothing leaves any more");
}

/// The edge by which a call leaves dies before anybody has answered: the next one carries it.
#[test]
fn an_edge_that_dies_before_the_answer_is_replaced() {
    // The caller's own edge must live: a seed whose call leaves by the other one.
    let (mut sim, alice, gateway) = alice_and_gateway(13);
    sim.dns.delay = 2 * SECOND;
    let mut call = call(&mut sim, alice);
    let mut tries = 0;
    while asked_by(&mut sim) == EP1 {
        tries += 1;
        assert!(tries < 20, "some call leaves by the other edge");
        sim.cancel(call);
        sim.run(SECOND);
        call = sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), CallOptions::default());
    }
    sim.kill_edge(EP2);
    assert_eq!(sim.final_of(call, 10 * SECOND), Some(200));
    assert_eq!(exit(&sim, gateway), EP1);
    sim.run(SECOND);
    assert_eq!(sim.hang_up(call), Some(200));
}

/// Which edge has got the order to let the last INVITE out.
fn asked_by(sim: &mut Sim) -> usize {
    sim.run(SECOND);
    let ordered = |wire: &&cluster_tests::oracle::Wire| {
        wire.seen.is_request()
            && wire.seen.method == "INVITE"
            && wire.seen.routes.first().is_some_and(|route| route.starts_with("<sip:out."))
            && matches!((wire.from, wire.to), (Node::Core(_), Node::Edge(_)))
    };
    match sim.wires().filter(ordered).last().map(|wire| wire.to) {
        Some(Node::Edge(edge)) => edge,
        other => panic!("nobody has: {other:?}"),
    }
}

/// Design C9: a BYE arrives although the edge that let the call out is gone.
#[test]
fn a_call_can_be_ended_when_its_edge_is_dead() {
    let (mut sim, alice, gateway) = alice_and_gateway(14);
    let call = loop {
        let call = call(&mut sim, alice);
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
        sim.run(SECOND);
        if asked_by(&mut sim) == EP2 {
            break call;
        }
        assert_eq!(sim.hang_up(call), Some(200));
    };
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.ua(gateway).dialogs.last().unwrap().is_over);
}

/// The other side may know the cluster by another edge than the one that its Route names: that element has done its service.
#[test]
fn the_other_side_may_come_in_by_any_edge() {
    let (mut sim, alice, gateway) = alice_and_gateway(19);
    let call = call(&mut sim, alice);
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    let dialog = sim.ua(gateway).dialogs[0].clone();
    let other = 1 - exit(&sim, gateway);
    let (tag, remote) = (&dialog.local_tag, &dialog.remote_tag);
    let text = request(
        Method::Bye,
        &dialog.remote_target,
        vec![
            header("Via", format!("SIP/2.0/UDP {GATEWAY};rport;branch=z9hG4bKelsewhere")),
            header("Max-Forwards", "70"),
            header("From", format!("<sip:bob@{GATEWAY}>;tag={tag}")),
            header("To", format!("<sip:alice@{DOMAIN}>;tag={remote}")),
            header("Call-ID", dialog.call_id.clone()),
            header("CSeq", "7 BYE"),
            header("Route", dialog.route.join(", ")),
            header("Content-Length", "0"),
        ],
    );
    sim.order(gateway, |gateway| gateway.say(other, text));
    sim.run(SECOND);
    assert!(sim.ua(alice).dialogs[0].is_over);
    assert_eq!(sim.ua(gateway).responses(200).len(), 1);
}

#[test]
fn a_core_that_dies_in_the_middle_is_not_noticed() {
    let (mut sim, alice, gateway) = alice_and_gateway(15);
    sim.order(gateway, |phone| phone.answer = Answer::after_ms(5_000));
    let call = call(&mut sim, alice);
    sim.run(SECOND);
    let home = sim.home_of(&sim.call_of(call).call_id.clone());
    sim.kill_core(home);
    assert_eq!(sim.final_of(call, 10 * SECOND), Some(200));
    sim.run(SECOND);
    assert_eq!(sim.ua(gateway).transactions("INVITE").len(), 1);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_call_whose_core_has_died_can_be_cancelled() {
    for routed in [false, true] {
        let (mut sim, alice, gateway) = with(16, Topology::default(), "0*=sip:gw.example.net");
        sim.order(gateway, |phone| phone.answer = Answer::never());
        let target = if routed { format!("sip:089@{DOMAIN}") } else { format!("sip:bob@{GATEWAY}") };
        let call = sim.call_as(alice, &target, CallOptions::default());
        sim.run(SECOND);
        let home = sim.home_of(&sim.call_of(call).call_id.clone());
        sim.kill_core(home);
        sim.run(2 * SECOND);
        sim.cancel(call);
        assert_eq!(sim.final_of(call, 5 * SECOND), Some(487), "routed {routed}");
        assert!(!sim.ua(gateway).is_ringing());
    }
}

/// RFC 3261 §18.1.1: more than a datagram can safely hold leaves over a stream, and over UDP when there is none.
#[test]
fn a_long_request_leaves_over_tcp_where_there_is_any() {
    for has_tcp in [true, false] {
        let mut sim = Sim::new(17);
        let alice = sim.phone("alice", EP1);
        sim.register(alice);
        let protocol = if has_tcp { Protocol::Tcp } else { Protocol::Udp };
        let server = sim.gateway("gateway", GATEWAY, protocol);
        let address = sim.public_address(server);
        sim.dns.server("_sip._udp.gw.example.net", 0, address.port(), "a.example.net");
        sim.dns.address("a.example.net", address);
        let long = vec![("X-Long".to_owned(), "x".repeat(1_300))];
        let options = CallOptions { extra: long, ..CallOptions::default() };
        let call = sim.call_as(alice, &format!("sip:bob@{GATEWAY}"), options);
        assert_eq!(sim.final_of(call, 5 * SECOND), Some(200), "TCP {has_tcp}");
        let via = first(&sim.ua(server).requests("INVITE")[0].headers, "Via").to_owned();
        assert!(via.starts_with(if has_tcp { "SIP/2.0/TCP" } else { "SIP/2.0/UDP" }), "{via}");
    }
}

/// Calls from a gateway to users of ours need no proof, as any call from outside.
#[test]
fn a_gateway_calls_users_of_ours() {
    let (mut sim, alice, gateway) = alice_and_gateway(18);
    let call = sim.call_as(gateway, &format!("sip:alice@{DOMAIN}"), CallOptions::default());
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    assert_eq!(sim.hang_up_dialog(alice, 0), Some(200));
    assert!(sim.ua(gateway).dialogs[0].is_over);
}
