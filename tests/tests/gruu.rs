//! One UA instance and no other: GRUUs (RFC 5627), and dialogs that outlive the edge or flow they began on.

use std::time::Duration;

use cluster_tests::sim::{DOMAIN, EP1, EP2, Sim};
use cluster_tests::ua::message::{header, request};
use cluster_tests::ua::{CallOptions, Register, Registration};
use rsip::Method;
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const DESK: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
const MOBILE: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";

/// A REGISTER of a UA that supports GRUUs.
fn with_gruu(line: usize) -> Register {
    Register { extra: vec![("Supported".to_owned(), "gruu".to_owned())], ..Register::on(line) }
}

/// The value of a quoted parameter of the Contact with this instance.
fn gruu(registration: &Registration, name: &str, instance: &str) -> String {
    let contact = registration.contacts.iter().find(|contact| contact.contains(instance));
    let contact = contact.unwrap_or_else(|| panic!("no {instance} in {:?}", registration.contacts));
    let (_, rest) =
        contact.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {contact}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Alice, and Bob with a desk phone and a mobile behind the second edge; what the desk phone was told at last.
fn bob_with_two_phones(seed: u64) -> (Sim, usize, [usize; 2], Registration) {
    let mut sim = Sim::new(seed);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let phones = [DESK, MOBILE].map(|instance| {
        sim.phone_with("bob", EP2, Protocol::Udp, |profile| profile.instance = Some(instance.to_owned()))
    });
    let told = phones.map(|phone| sim.register_as(phone, with_gruu(0)));
    assert!(told.iter().all(|told| told.status == Some(200)));
    let [desk, _] = told;
    (sim, alice, phones, desk)
}

fn final_of(sim: &mut Sim, caller: usize, target: &str) -> Option<u16> {
    let call = sim.call_as(caller, target, CallOptions::default());
    let last = sim.final_of(call, 3 * SECOND);
    if last == Some(200) {
        assert_eq!(sim.hang_up(call), Some(200));
    }
    last
}

#[test]
fn a_registration_brings_both_gruus() {
    let (mut sim, _, [desk, _], first) = bob_with_two_phones(1);
    assert_eq!(gruu(&first, "pub-gruu", DESK), format!("sip:bob@{DOMAIN};gr={DESK}"));
    let temporary = gruu(&first, "temp-gruu", DESK);
    assert!(
        temporary.starts_with("sip:tgruu.") && temporary.ends_with(&format!("@{DOMAIN};gr")),
        "{temporary}"
    );
    let second = sim.register_as(desk, with_gruu(0));
    assert_eq!(gruu(&second, "pub-gruu", DESK), gruu(&first, "pub-gruu", DESK), "§3.2: stays");
    assert_ne!(gruu(&second, "temp-gruu", DESK), temporary, "§3.2: a new one each time");
    let plain = sim.register_as(desk, Register::on(0));
    assert!(plain.contacts.iter().all(|contact| !contact.contains("gruu")), "§5.2: only for who supports it");
    assert!(!second.header("Supported").contains("gruu"), "§5.2: SHOULD NOT");
}

#[test]
fn a_gruu_rings_one_phone_only() {
    let (mut sim, alice, [desk, mobile], told) = bob_with_two_phones(2);
    for name in ["pub-gruu", "temp-gruu"] {
        let rang = sim.ua(desk).transactions("INVITE").len();
        assert_eq!(final_of(&mut sim, alice, &gruu(&told, name, DESK)), Some(200), "{name}");
        assert_eq!(sim.ua(desk).transactions("INVITE").len(), rang + 1);
        let invite = sim.ua(desk).transactions("INVITE")[rang].uri.to_string();
        assert_eq!(invite, sim.ua(desk).contact(), "§6.1: the contact takes the place of the GRUU");
    }
    assert!(sim.ua(mobile).requests("INVITE").is_empty());
}

#[test]
fn temporary_gruus_accumulate_until_the_call_id_changes() {
    let (mut sim, alice, [desk, _], first) = bob_with_two_phones(3);
    let second = sim.register_as(desk, with_gruu(0));
    for told in [&first, &second] {
        assert_eq!(final_of(&mut sim, alice, &gruu(told, "temp-gruu", DESK)), Some(200), "§3.2");
    }
    // Another line is another registration with another Call-ID, here for the same contact.
    let line = sim.add_line(desk, EP2, Protocol::Udp);
    sim.run(SECOND);
    let third = sim.register_as(desk, with_gruu(line));
    assert_eq!(third.status, Some(200));
    for told in [&first, &second] {
        assert_eq!(final_of(&mut sim, alice, &gruu(told, "temp-gruu", DESK)), Some(404), "§5.1");
    }
    assert_eq!(final_of(&mut sim, alice, &gruu(&third, "temp-gruu", DESK)), Some(200));
    assert_eq!(final_of(&mut sim, alice, &gruu(&first, "pub-gruu", DESK)), Some(200), "the public one stays");
}

#[test]
fn a_gruu_without_a_contact_is_480_or_404() {
    let (mut sim, alice, [desk, _], told) = bob_with_two_phones(4);
    sim.register_as(desk, Register { expires: Some(0), ..with_gruu(0) });
    assert_eq!(final_of(&mut sim, alice, &gruu(&told, "pub-gruu", DESK)), Some(480), "§5.3");
    assert_eq!(final_of(&mut sim, alice, &gruu(&told, "temp-gruu", DESK)), Some(404), "§5.3");
    assert_eq!(final_of(&mut sim, alice, &format!("sip:tgruu.AAAA@{DOMAIN};gr")), Some(404), "§6.1");
    assert_eq!(final_of(&mut sim, alice, &format!("sip:nobody@{DOMAIN};gr={DESK}")), Some(404));
}

#[test]
fn a_dialog_with_a_gruu_outlives_its_edge() {
    let mut sim = Sim::new(5);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let bob = sim.phone_with("bob", EP2, Protocol::Udp, |profile| profile.instance = Some(DESK.to_owned()));
    let told = sim.register_as(bob, with_gruu(0));
    sim.order(bob, |bob| bob.gruu = Some(gruu(&told, "temp-gruu", DESK)));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.order(alice, |alice| alice.reinvite(0));
    sim.run(2 * SECOND);
    assert_eq!(sim.ua(alice).dialogs[0].reinvite, Some(200), "§6.1: in the dialog, by the GRUU");

    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    let line = sim.add_line(bob, EP1, Protocol::Udp);
    // The same Call-ID, or the temporary GRUU would be over (§5.1).
    let known = Register { line, ..with_gruu(0) };
    sim.order(bob, |bob| bob.move_registration(0, known));
    sim.run(2 * SECOND);
    assert_eq!(sim.ua(bob).registrations[0].status, Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.ua(bob).dialogs[0].is_over);
}

/// A call from Alice to Bob behind the second edge, which then dies; Bob registers through the first.
fn moved(seed: u64) -> (Sim, cluster_tests::sim::CallRef, usize) {
    let (mut sim, alice, bob) = Sim::alice_and_bob(seed);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    sim.kill_edge(EP2);
    sim.run(2 * SECOND);
    let line = sim.add_line(bob, EP1, Protocol::Udp);
    assert_eq!(sim.register_as(bob, Register::on(line)).status, Some(200));
    (sim, call, bob)
}

#[test]
fn a_bye_finds_the_phone_behind_another_edge() {
    let (mut sim, call, bob) = moved(6);
    let start = sim.now();
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.now() - start < SECOND, "{:?}", sim.now() - start);
    assert!(sim.ua(bob).dialogs[0].is_over);
}

#[test]
fn a_reinvite_and_its_ack_find_the_phone_behind_another_edge() {
    let (mut sim, call, bob) = moved(7);
    let acks = sim.ua(bob).requests("ACK").len();
    sim.order(call.phone, |alice| alice.reinvite(0));
    sim.run(SECOND);
    assert_eq!(sim.ua(call.phone).dialogs[0].reinvite, Some(200));
    assert_eq!(
        sim.ua(bob).requests("ACK").len(),
        acks + 1,
        "a route set never changes, so the ACK needs it, too"
    );
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_phone_that_has_moved_hangs_up() {
    let (mut sim, call, bob) = moved(8);
    let dialog = sim.ua(bob).dialogs[0].clone();
    let mut headers = vec![
        header("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bKmoved", sim.ua(bob).profile.host)),
        header("Max-Forwards", "70"),
        header("From", format!("<sip:bob@{DOMAIN}>;tag={}", dialog.local_tag)),
        header("To", format!("<sip:alice@{DOMAIN}>;tag={}", dialog.remote_tag)),
        header("Call-ID", dialog.call_id.clone()),
        header("CSeq", "1 BYE"),
    ];
    assert!(dialog.route[0].contains(&sim.edge_address(EP2).to_string()), "the edge that has died");
    headers.extend(dialog.route.iter().map(|route| header("Route", route.clone())));
    headers.push(header("Content-Length", "0"));
    let text = request(Method::Bye, &dialog.remote_target, headers);
    sim.order(bob, |bob| bob.say(1, text));
    sim.run(SECOND);
    assert!(sim.ua(call.phone).dialogs[0].is_over, "the live edge below the dead one is in the Route");
}

#[test]
fn a_bye_finds_the_other_flow_of_the_phone() {
    let (mut sim, alice, bob) = Sim::bob_with_two_flows(9, Protocol::Tcp);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
    sim.run(SECOND);
    // The edge lives and says 430; the newest binding is that very flow.
    sim.close_line(bob, 1);
    sim.run_ms(100);
    let start = sim.now();
    assert_eq!(sim.hang_up(call), Some(200));
    assert!(sim.now() - start < SECOND, "{:?}", sim.now() - start);
    assert!(sim.ua(bob).dialogs[0].is_over);
}

#[test]
fn a_bye_finds_the_other_flow_when_its_edge_dies() {
    for wait in [0, 500, 1_500] {
        let (mut sim, alice, bob) = Sim::bob_with_two_flows(11, Protocol::Udp);
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(200));
        sim.run(SECOND);
        sim.kill_edge(EP2);
        sim.run_ms(wait);
        let start = sim.now();
        assert_eq!(sim.hang_up(call), Some(200), "noticed or not: {wait} ms");
        assert!(sim.now() - start <= SECOND + Duration::from_millis(100), "{wait}: {:?}", sim.now() - start);
        assert!(sim.ua(bob).dialogs[0].is_over);
    }
}

#[test]
fn who_knows_a_contact_only_reaches_nobody_elses() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(10);
    let text = |from: &str, to: &str, branch: &str| {
        let headers = vec![
            header("Via", format!("SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bK{branch}")),
            header("Max-Forwards", "70"),
            header("From", format!("<{from}>;tag=a")),
            header("To", format!("<{to}>;tag=b")),
            header("Call-ID", branch),
            header("CSeq", "1 BYE"),
            header("Content-Length", "0"),
        ];
        request(Method::Bye, &format!("sip:bob@{}", "198.51.100.99:5060"), headers)
    };
    let (own, bobs) = (format!("sip:alice@{DOMAIN}"), format!("sip:bob@{DOMAIN}"));
    let strangers = text("sip:alice@example.org", &bobs, "ours");
    let foreign = text(&own, "sip:bob@example.org", "foreign");
    // A tag in To is no proof of a dialog, and without a Route there is no other.
    let without_route = text(&own, &bobs, "tag");
    for text in [strangers, foreign, without_route] {
        sim.order(alice, |alice| alice.say(0, text));
    }
    sim.run(SECOND);
    assert_eq!(sim.ua(alice).responses(407).len(), 1, "Alice has to prove that she is Alice");
    assert_eq!(sim.ua(alice).responses(480).len(), 1, "no such contact of Bob's");
    assert_eq!(sim.ua(alice).responses(403).len(), 1, "no relay");
    assert!(sim.ua(bob).requests("BYE").is_empty());
}

#[test]
fn a_tag_in_to_is_no_way_around_the_challenge() {
    let (mut sim, alice, bob) = Sim::alice_and_bob(11);
    let target = format!("sip:bob@{DOMAIN}");
    let forged = Some(format!("<sip:x@{};lr>", sim.edge_address(EP2)));
    for (route, id) in [(None, "spam1"), (forged, "spam2")] {
        let mut headers = vec![
            header("Via", format!("SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bK{id}")),
            header("Max-Forwards", "70"),
            header("From", format!("<sip:alice@{DOMAIN}>;tag=a")),
            header("To", format!("<{target}>;tag=b")),
            header("Call-ID", id),
            header("CSeq", "1 MESSAGE"),
            header("Content-Length", "0"),
        ];
        headers.extend(route.map(|route| header("Route", route)));
        let text = request(Method::Message, &target, headers);
        sim.order(alice, |alice| alice.say(0, text));
        sim.run(SECOND);
    }
    assert_eq!(sim.ua(alice).responses(407).len(), 1, "without a Route");
    assert_eq!(sim.ua(alice).responses(403).len(), 1, "with a forged one, by the edge that it names");
    assert!(sim.ua(bob).requests("MESSAGE").is_empty());
}

/// RFC 5627 §6.1 routes a GRUU by the location service whatever the Route says, so a Route that the cluster never wrote must
/// not make an unknown caller look like a party of a dialog.
#[test]
fn a_composed_route_to_a_gruu_is_no_way_around_the_challenge() {
    let (mut sim, _, [desk, mobile], registered) = bob_with_two_phones(13);
    let target = gruu(&registered, "pub-gruu", DESK);
    let stranger = sim.phone("carol", EP1);
    let far = sim.edge_address(EP2);
    let routes = [format!("<sip:{far};lr>"), format!("<sip:x@{far};lr>")];
    for (number, route) in routes.into_iter().enumerate() {
        let headers = vec![
            header("Via", format!("SIP/2.0/UDP 172.16.0.1:5060;rport;branch=z9hG4bK{number}")),
            header("Max-Forwards", "70"),
            header("Route", route),
            header("From", format!("<sip:carol@{DOMAIN}>;tag=a")),
            header("To", format!("<{target}>;tag=b")),
            header("Call-ID", format!("composed-{number}")),
            header("CSeq", "1 MESSAGE"),
            header("Content-Length", "0"),
        ];
        let text = request(Method::Message, &target, headers);
        sim.order(stranger, |stranger| stranger.say(0, text));
        sim.run(SECOND);
    }
    assert_eq!(sim.ua(stranger).responses(407).len(), 1, "a Route without a token says nothing");
    assert_eq!(sim.ua(stranger).responses(403).len(), 1, "a forged token");
    for phone in [desk, mobile] {
        assert!(sim.ua(phone).requests("MESSAGE").is_empty());
    }
}

/// RFC 5627 §6.2.
#[test]
fn nobody_calls_with_the_gruu_of_another() {
    let mut sim = Sim::new(12);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register(bob);
    for (owner, status) in [("bob", 403), ("alice", 200)] {
        let gruu = format!("sip:{owner}@{DOMAIN};gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
        sim.order(alice, |alice| alice.gruu = Some(gruu));
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, 3 * SECOND), Some(status), "{owner}");
    }
}
