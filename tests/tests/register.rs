//! Registration through an edge and a core: RFC 3261 §10.3 and §22, RFC 3327, RFC 5626 §6.

use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::oracle::Node;
use cluster_tests::sim::{DOMAIN, EP1, EP2, Sim, Topology};
use cluster_tests::ua::digest::Algorithm;
use cluster_tests::ua::{Contacts, Register, Registration};
use registrar::Record;
use sip::Aor;
use transport::Protocol;

fn record(sim: &Sim, user: &str) -> Record {
    let uri = format!("sip:{user}@{DOMAIN}");
    sim.store.record(&Aor::parse(&uri).expect("the test names an address"))
}

fn contacts(sim: &Sim, user: &str) -> Vec<String> {
    record(sim, user).bindings.into_iter().map(|binding| binding.contact).collect()
}

#[test]
fn an_edge_adds_its_path_and_only_a_ua_that_knows_path_sees_it() {
    let mut sim = Sim::new(1);
    let modern = sim.phone_with("alice", EP1, Protocol::Udp, |profile| profile.supports_path = true);
    let plain = sim.phone("bob", EP1);
    let modern = sim.register_as(modern, Register::on(0));
    let plain = sim.register_as(plain, Register::on(0));
    // RFC 3327 §5.3: echoed to who supports it; stored for both, or nobody could call the others.
    for user in ["alice", "bob"] {
        let path = &record(&sim, user).bindings[0].path;
        assert_eq!(path.len(), 1, "{path:?}");
        assert!(path[0].starts_with("<sip:") && path[0].contains("@edge-1"), "{path:?}");
        assert!(path[0].contains(";lr") && path[0].contains(";ob"), "RFC 5626 §5.1: {path:?}");
    }
    assert_eq!(modern.path, record(&sim, "alice").bindings[0].path);
    assert!(plain.path.is_empty());
}

#[test]
fn a_path_that_an_outsider_brings_is_removed() {
    let mut sim = Sim::new(2);
    let alice = sim.phone("alice", EP1);
    let extra = vec![("Path".to_owned(), "<sip:evil.example.net;lr>".to_owned())];
    let registration = sim.register_as(alice, Register { extra, ..Register::on(0) });
    assert_eq!(registration.status, Some(200));
    let path = &record(&sim, "alice").bindings[0].path;
    assert!(path.len() == 1 && path[0].contains("@edge-1"), "{path:?}");
}

#[test]
fn a_challenge_is_answered_with_either_algorithm() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut sim = Sim::new(3);
        let alice = sim.phone_with("alice", EP1, Protocol::Udp, |profile| profile.algorithm = algorithm);
        let registration = sim.register_as(alice, Register::on(0));
        assert_eq!(registration.statuses, [401, 200], "{algorithm:?}");
        assert_eq!(registration.contacts.len(), 1);
        assert!(registration.contacts[0].contains(";expires=3600"));
    }
}

#[test]
fn a_nonce_serves_until_it_is_stale_on_every_core() {
    let mut sim = Sim::new(4);
    let alice = sim.phone("alice", EP1);
    sim.add_line(alice, EP2, Protocol::Udp);
    sim.register(alice);
    // another Call-ID: another core may be its home
    let other = sim.register_as(alice, Register::on(1));
    assert_eq!(other.statuses, [200], "the nonce of one core is good on all");
    sim.run(Duration::from_secs(301));
    let again = sim.register_as(alice, Register::on(0));
    assert_eq!(again.statuses, [401, 200, 401, 200]);
    let stale = sim.ua(alice).responses(401);
    let challenges = cluster_tests::ua::message::lines(&stale[1].headers, "WWW-Authenticate");
    assert!(challenges.iter().all(|line| line.contains("stale=true")), "RFC 7616 §3.3: {challenges:?}");
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_alike() {
    let mut sim = Sim::new(5);
    let alice = sim.phone("alice", EP1);
    let wrong = Register { password: Some("guess".to_owned()), ..Register::on(0) };
    let nobody = Some(format!("sip:nobody@{DOMAIN}"));
    let unknown =
        Register { to: nobody.clone(), from: nobody, username: Some("nobody".to_owned()), ..Register::on(0) };
    let mut looks = Vec::new();
    for wanted in [wrong, unknown] {
        let registration = sim.register_as(alice, Register { preemptive: false, ..wanted });
        assert_eq!(registration.status, Some(401));
        looks.push(look(&registration));
    }
    assert_eq!(looks[0], looks[1]);
    for user in ["alice", "nobody"] {
        assert!(contacts(&sim, user).is_empty(), "{user}");
    }
}

#[test]
fn nobody_registers_for_somebody_else() {
    let mut sim = Sim::new(25);
    let alice = sim.phone("alice", EP1);
    sim.add_user("bob", "secret of bob");
    let mut looks = Vec::new();
    // Whether there is such a user is no business of Alice's, either.
    for stranger in ["bob", "nobody"] {
        let to = Some(format!("sip:{stranger}@{DOMAIN}"));
        for from in [None, to.clone()] {
            let wanted = Register { to: to.clone(), from, preemptive: false, ..Register::on(0) };
            let registration = sim.register_as(alice, wanted);
            assert_eq!(registration.statuses.last(), Some(&403), "RFC 3261 §10.3 step 4");
            looks.push(look(&registration));
        }
        assert!(contacts(&sim, stranger).is_empty());
    }
    assert!(looks.iter().all(|look| *look == looks[0]), "{looks:?}");
    // And nobody else registers Alice, whatever he knows.
    let from = Some(format!("sip:bob@{DOMAIN}"));
    assert_eq!(sim.register_as(alice, Register { from, ..Register::on(0) }).status, Some(403));
    assert!(contacts(&sim, "alice").is_empty());
}

#[test]
fn a_phone_that_refreshes_often_is_challenged_once() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut sim = Sim::new(26);
        let alice = sim.phone_with("alice", EP1, Protocol::Udp, |profile| profile.algorithm = algorithm);
        sim.register(alice);
        for _ in 0..20 {
            sim.run(Duration::from_secs(100));
            let registration = sim.register_as(alice, Register::on(0));
            assert_eq!(registration.statuses[..2], [401, 200]);
            assert!(registration.statuses[2..].iter().all(|status| *status == 200), "RFC 7616 §3.5");
        }
    }
}

#[test]
fn an_extension_that_is_not_understood_is_told_before_anything_is_asked() {
    let mut sim = Sim::new(27);
    let alice = sim.phone("alice", EP1);
    let extra = vec![("Require".to_owned(), "path, teleport".to_owned())];
    let registration = sim.register_as(alice, Register { extra, ..Register::on(0) });
    assert_eq!(registration.statuses, [420], "RFC 3261 §10.3: step 2 comes before step 3");
    assert_eq!(registration.header("Unsupported"), "teleport");
}

/// The headers of an answer without what differs between any two.
fn look(registration: &Registration) -> Vec<String> {
    let lines = registration.headers.iter().map(ToString::to_string);
    let lines = lines
        .filter(|line| !["Via", "From", "To", "CSeq", "Call-ID"].iter().any(|name| line.starts_with(name)));
    let masked = lines.map(|line| match line.split_once("nonce=\"") {
        Some((head, tail)) => format!("{head}{}", tail.split_once('"').map_or("", |(_, rest)| rest)),
        None => line,
    });
    masked.collect()
}

#[test]
fn an_interval_that_is_too_brief_is_refused_with_the_least_one() {
    let mut sim = Sim::new(6);
    let alice = sim.phone("alice", EP1);
    let brief = sim.register_as(alice, Register { expires: Some(10), ..Register::on(0) });
    assert_eq!(brief.status, Some(423));
    assert_eq!(brief.header("Min-Expires"), "60");
    assert!(contacts(&sim, "alice").is_empty());
    let enough = sim.register_as(alice, Register { expires: Some(60), ..Register::on(0) });
    assert_eq!(enough.status, Some(200));
}

#[test]
fn a_star_removes_every_binding_and_only_with_expires_0() {
    let mut sim = Sim::new(7);
    let (desk, mobile) = (sim.phone("alice", EP1), sim.phone("alice", EP2));
    sim.register(desk);
    sim.register(mobile);
    assert_eq!(contacts(&sim, "alice").len(), 2);
    let wrong = sim.register_as(desk, Register { contacts: Contacts::Star, ..Register::on(0) });
    assert_eq!(wrong.status, Some(400), "§10.3 step 6");
    assert_eq!(contacts(&sim, "alice").len(), 2);
    let right = Register { contacts: Contacts::Star, expires: Some(0), ..Register::on(0) };
    let right = sim.register_as(desk, right);
    assert_eq!((right.status, right.contacts.len()), (Some(200), 0));
    assert!(contacts(&sim, "alice").is_empty());
}

#[test]
fn a_removal_takes_one_binding_and_leaves_the_others() {
    let mut sim = Sim::new(8);
    let (desk, mobile) = (sim.phone("alice", EP1), sim.phone("alice", EP2));
    sim.register(desk);
    sim.register(mobile);
    let gone = sim.register_as(desk, Register { expires: Some(0), ..Register::on(0) });
    assert_eq!(gone.status, Some(200));
    assert_eq!(contacts(&sim, "alice"), [sim.ua(mobile).contact()]);
    assert!(gone.contacts.iter().all(|contact| !contact.contains(&sim.ua(desk).contact())));
}

#[test]
fn a_query_lists_all_bindings_with_the_time_they_have_left() {
    let mut sim = Sim::new(9);
    let (desk, mobile) = (sim.phone("alice", EP1), sim.phone("alice", EP2));
    sim.register(desk);
    sim.run(Duration::from_secs(100));
    sim.register(mobile);
    let query =
        sim.register_as(desk, Register { contacts: Contacts::None, expires: None, ..Register::on(0) });
    assert_eq!(query.status, Some(200));
    let left = |phone| {
        let own = sim.ua(phone).contact();
        let contact = query.contacts.iter().find(|contact| contact.contains(&own)).expect("it is listed");
        contact.rsplit_once("expires=").unwrap().1.parse::<u64>().unwrap()
    };
    assert!((3_498..=3_501).contains(&left(desk)), "{}", left(desk));
    assert!((3_598..=3_600).contains(&left(mobile)), "{}", left(mobile));
}

#[test]
fn a_request_out_of_order_changes_nothing() {
    let mut sim = Sim::new(10);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    sim.register(alice);
    let before = record(&sim, "alice");
    let late = sim.register_as(alice, Register { cseq: Some(2), expires: Some(600), ..Register::on(0) });
    assert!(
        late.status.is_some_and(|status| status >= 400),
        "§10.3 step 7: the request fails: {:?}",
        late.status
    );
    assert_eq!(record(&sim, "alice"), before);
}

#[test]
fn an_expired_binding_is_gone() {
    let mut sim = Sim::new(11);
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(alice);
    sim.register_as(bob, Register { expires: Some(60), ..Register::on(0) });
    sim.run(Duration::from_secs(61));
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, Duration::from_secs(2)), Some(480));
}

#[test]
fn nobody_registers_in_a_foreign_domain() {
    let mut sim = Sim::new(12);
    let alice = sim.phone("alice", EP1);
    let foreign = Register { to: Some("sip:alice@example.net".to_owned()), ..Register::on(0) };
    let registration = sim.register_as(alice, foreign);
    assert_eq!(registration.status, Some(404), "§10.3 step 5");
}

#[test]
fn an_address_has_no_more_contacts_than_allowed() {
    let mut sim = Sim::new(13);
    let alice = sim.phone("alice", EP1);
    let many = |count: u32| (1..=count).map(|n| format!("<sip:alice@192.0.2.{n}>")).collect();
    let list = |count| Register { contacts: Contacts::List(many(count)), ..Register::on(0) };
    assert_eq!(sim.register_as(alice, list(11)).status, Some(403));
    assert!(contacts(&sim, "alice").is_empty(), "all or nothing");
    assert_eq!(sim.register_as(alice, list(10)).status, Some(200));
}

#[test]
fn an_answer_comes_after_the_save() {
    let slow = Duration::from_millis(400);
    let weather = Weather { store_delay: (slow, slow), ..Weather::fair() };
    let mut sim = Sim::with(14, Topology::default(), weather);
    let alice = sim.phone("alice", EP1);
    let number = sim.order(alice, |alice| alice.register(Register::on(0)));
    assert!(sim.run_until(Duration::from_secs(5), |sim| !contacts(sim, "alice").is_empty()));
    assert!(sim.ua(alice).registrations[number].is_pending(), "stored, but the store has not said so yet");
    sim.run_ms(500);
    assert_eq!(sim.ua(alice).registrations[number].status, Some(200));
}

#[test]
fn a_repeated_register_reaches_the_core_once() {
    let weather = Weather { duplication: 1_000, ..Weather::fair() };
    let mut sim = Sim::with(15, Topology::default(), weather);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let to_core = sim.count("REGISTER", |from| from == Node::Edge(EP1), |to| matches!(to, Node::Core(_)));
    assert_eq!(to_core, 2, "one without and one with credentials");
}

#[test]
fn an_instance_has_one_binding_for_each_flow_whatever_its_contact() {
    let mut sim = Sim::new(16);
    let alice = sim.phone_with("alice", EP1, Protocol::Udp, |profile| {
        profile.instance = Some("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned());
        profile.supports_path = true;
    });
    sim.add_line(alice, EP2, Protocol::Udp);
    for line in [0, 1] {
        let reg_id = Some(u32::try_from(line).unwrap() + 1);
        let registration = sim.register_as(alice, Register { reg_id, ..Register::on(line) });
        assert_eq!(registration.status, Some(200));
        assert!(registration.header("Require").contains("outbound"), "RFC 5626 §6");
    }
    let bindings = record(&sim, "alice").bindings;
    assert_eq!(bindings.len(), 2);
    assert_ne!(bindings[0].path, bindings[1].path);
    assert_eq!(bindings[0].contact, bindings[1].contact);
    // The phone restarts with another address, and says so over its first flow.
    let moved = "<sip:alice@172.16.0.77:5060>;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";reg-id=1";
    let contacts_ = Contacts::List(vec![moved.to_owned()]);
    sim.register_as(alice, Register { contacts: contacts_, ..Register::on(0) });
    assert_eq!(contacts(&sim, "alice").len(), 2, "replaced, not added: {:?}", contacts(&sim, "alice"));
    assert!(contacts(&sim, "alice").contains(&"sip:alice@172.16.0.77:5060".to_owned()));
}

#[test]
fn without_the_store_a_register_is_told_to_come_back() {
    let mut sim = Sim::new(17);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    sim.store_down();
    let refused = sim.register_as(alice, Register::on(0));
    assert_eq!(refused.status, Some(503), "never 401, 403 or 404");
    assert!(refused.header("Retry-After").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    sim.store_up();
    sim.register(alice);
}

#[test]
fn two_phones_that_register_at_once_are_both_stored() {
    let mut sim = Sim::new(18);
    let phones = [sim.phone("alice", EP1), sim.phone("alice", EP2), sim.phone("alice", EP1)];
    for phone in phones {
        sim.order(phone, |phone| phone.register(Register::on(0)));
    }
    sim.run_ms(1_000);
    assert_eq!(contacts(&sim, "alice").len(), 3);
    assert!(phones.iter().all(|phone| sim.ua(*phone).registrations[0].status == Some(200)));
}

/// Alice and Bob, who are told the way of their requests, and Alice goes it (RFC 3608).
fn with_service_routes(seed: u64, protocol: Protocol) -> (Sim, usize, usize) {
    let topology = Topology { service_route: true, ..Topology::default() };
    let mut sim = Sim::with(seed, topology, Weather::fair());
    let alice = sim.phone_with("alice", EP1, protocol, |profile| profile.follows_service_route = true);
    let bob = sim.phone("bob", EP2);
    sim.register(alice);
    sim.register(bob);
    (sim, alice, bob)
}

#[test]
fn a_phone_calls_by_its_service_route() {
    for (protocol, parameter) in [(Protocol::Udp, ""), (Protocol::Tcp, ";transport=tcp")] {
        let (mut sim, alice, bob) = with_service_routes(28, protocol);
        let expected = [format!("<sip:{}{parameter};lr>", sim.edge_address(EP1))];
        assert_eq!(sim.ua(alice).service_route, expected);
        // RFC 3608 §6.3: a query is told the same.
        sim.register_as(alice, Register { contacts: Contacts::None, expires: None, ..Register::on(0) });
        assert_eq!(sim.ua(alice).service_route, expected);
        let call = sim.call(alice, "bob");
        assert_eq!(sim.final_of(call, Duration::from_secs(3)), Some(200));
        let invites = sim.ua(bob).requests("INVITE");
        assert!(
            cluster_tests::ua::message::lines(&invites[0].headers, "Route").is_empty(),
            "all of it was used"
        );
        sim.run(Duration::from_secs(1));
        assert_eq!(sim.ua(bob).requests("ACK").len(), 1);
        assert_eq!(sim.hang_up(call), Some(200));
        // Nothing is registered any more, so there is no way to be told.
        sim.register_as(alice, Register { expires: Some(0), ..Register::on(0) });
        assert!(sim.ua(alice).service_route.is_empty());
    }
}

#[test]
fn a_service_route_of_another_edge_does_no_harm() {
    let (mut sim, alice, bob) = with_service_routes(29, Protocol::Udp);
    let other = sim.edge_address(EP2);
    sim.order(alice, |alice| alice.service_route = vec![format!("<sip:{other};lr>")]);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, Duration::from_secs(3)), Some(200));
    assert_eq!(sim.hang_up(call), Some(200));
    assert_eq!(sim.ua(bob).transactions("INVITE").len(), 1);
}

#[test]
fn nobody_is_told_a_way_unless_it_is_wanted() {
    let mut sim = Sim::new(30);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    assert!(sim.ua(alice).service_route.is_empty());
}
