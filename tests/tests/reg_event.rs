//! Who watches a registration is told of it: RFC 3680 over RFC 6665, with subscriptions that any core serves.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cluster_tests::net::Weather;
use cluster_tests::sim::{DOMAIN, EP1, EP2, Sim, Topology};
use cluster_tests::ua::message::first;
use cluster_tests::ua::{CallOptions, Notified, Register, Subscribe, Subscription};
use location::LocationStore;
use registrar::Record;
use rsip::Method;
use sip::Aor;
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);

fn aor(user: &str) -> String {
    format!("sip:{user}@{DOMAIN}")
}

fn record(sim: &Sim, user: &str) -> Record {
    sim.store.record(&Aor::parse(&aor(user)).expect("an address"))
}

fn of(sim: &Sim, phone: usize, number: usize) -> &Subscription {
    &sim.ua(phone).subscriptions[number]
}

/// Subscribes and waits for the answer and what follows it; gives the number of the subscription.
fn subscribe(sim: &mut Sim, phone: usize, wanted: Subscribe) -> usize {
    let number = sim.order(phone, |ua| ua.subscribe(wanted));
    sim.run_until(40 * SECOND, |sim| of(sim, phone, number).status.is_some());
    sim.run_ms(300);
    number
}

/// Refreshes a subscription, or ends it, and waits as [`subscribe`] does.
fn resubscribe(sim: &mut Sim, phone: usize, line: usize, expires: Option<u32>) {
    sim.order(phone, |ua| ua.resubscribe(0, line, expires));
    sim.run_until(40 * SECOND, |sim| of(sim, phone, 0).status.is_some());
    sim.run_ms(300);
}

/// Alice behind the first edge, registered and subscribed to herself; she has just been told the full state.
fn alice_watches(seed: u64) -> (Sim, usize) {
    let mut sim = Sim::new(seed);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let number = subscribe(&mut sim, alice, Subscribe::to(aor("alice")));
    assert_eq!((number, of(&sim, alice, 0).status), (0, Some(200)));
    sim.run(6 * SECOND);
    (sim, alice)
}

/// The last thing that somebody was told.
fn last(sim: &Sim, phone: usize) -> &Notified {
    of(sim, phone, 0).notified.last().expect("he was told something")
}

fn version(notified: &Notified) -> u32 {
    attribute(&notified.body, "version").parse().expect("a number")
}

/// The first attribute of this name behind the XML declaration.
fn attribute<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, body) = body.split_once("<reginfo").expect("a document");
    let (_, rest) = body.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name}: {body}"));
    rest.split('"').next().expect("split gives one")
}

/// The contacts of a document: URI, state, event.
fn contacts(body: &str) -> Vec<(String, String, String)> {
    let contact = |text: &str| {
        let of = |name: &str| {
            let (_, rest) = text.split_once(&format!(" {name}=\"")).expect("§5.1: MUST");
            rest.split('"').next().expect("split gives one").to_owned()
        };
        let (_, uri) = text.split_once("<uri>").expect("§5.1");
        (uri.split("</uri>").next().expect("split gives one").to_owned(), of("state"), of("event"))
    };
    body.split("<contact").skip(1).map(contact).collect()
}

fn one(uri: &str, state: &str, event: &str) -> Vec<(String, String, String)> {
    vec![(uri.to_owned(), state.to_owned(), event.to_owned())]
}

/// What a store that is in memory answers.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory never waits"),
    }
}

#[test]
fn a_subscription_begins_with_the_full_state() {
    let (sim, alice) = alice_watches(1);
    let it = of(&sim, alice, 0);
    assert_eq!(first(&it.headers, "Expires"), "3761", "RFC 3680 §4.4");
    assert_eq!(first(&it.headers, "Contact"), format!("<{}>", aor("alice")));
    let [told] = &it.notified[..] else { panic!("{:?}", it.notified) };
    assert_eq!((told.event.as_str(), told.state.as_str()), ("reg", "active;expires=3761"));
    assert_eq!((version(told), attribute(&told.body, "state")), (0, "full"));
    assert_eq!(contacts(&told.body), one(&sim.ua(alice).contact(), "active", "registered"));
    let notify = sim.ua(alice).requests("NOTIFY")[0];
    assert_eq!(first(&notify.headers, "Content-Type"), "application/reginfo+xml");
}

#[test]
fn every_change_is_told() {
    let (mut sim, alice) = alice_watches(2);
    let other = sim.phone("alice", EP2);
    let contact = sim.ua(other).contact();
    for (expires, state, event) in
        [(3_600, "active", "registered"), (3_600, "active", "refreshed"), (0, "terminated", "unregistered")]
    {
        let done = sim.register_as(other, Register { expires: Some(expires), ..Register::on(0) });
        assert_eq!(done.status, Some(200));
        sim.run_ms(300);
        let told = last(&sim, alice);
        assert_eq!(contacts(&told.body), one(&contact, state, event));
        assert_eq!(attribute(&told.body, "state"), "partial");
        sim.run(6 * SECOND);
    }
    let told = &of(&sim, alice, 0).notified;
    assert_eq!(told.iter().map(version).collect::<Vec<_>>(), [0, 1, 2, 3], "§5.1");
    assert!(told.is_sorted_by_key(|told| told.cseq));
}

#[test]
fn changes_within_five_seconds_are_told_as_one() {
    let (mut sim, alice) = alice_watches(3);
    let others = [sim.phone("alice", EP2), sim.phone("alice", EP1), sim.phone("alice", EP2)];
    others.iter().for_each(|phone| sim.register(*phone));
    sim.run_ms(300);
    let first_at = last(&sim, alice).at;
    assert_eq!(of(&sim, alice, 0).notified.len(), 2);
    sim.run(8 * SECOND);
    let told = last(&sim, alice);
    assert_eq!(of(&sim, alice, 0).notified.len(), 3);
    assert_eq!(contacts(&told.body).len(), 2);
    let after = told.at - first_at;
    assert!((4 * SECOND..8 * SECOND).contains(&after), "§4.10, and the clock is one of seconds: {after:?}");
}

#[test]
fn a_contact_that_is_over_is_told_within_two_seconds() {
    let (mut sim, alice) = alice_watches(4);
    let other = sim.phone("alice", EP2);
    sim.register_as(other, Register { expires: Some(60), ..Register::on(0) });
    let registered = sim.now();
    sim.run(70 * SECOND);
    let told = last(&sim, alice);
    assert_eq!(contacts(&told.body), one(&sim.ua(other).contact(), "terminated", "expired"));
    let after = told.at - registered;
    assert!((59 * SECOND..63 * SECOND).contains(&after), "{after:?}");
    assert_eq!(of(&sim, alice, 0).notified.len(), 3, "only one of the cores tells");
    assert_eq!(record(&sim, "alice").bindings.len(), 1);
}

#[test]
fn what_nobody_watches_expires_too() {
    let mut sim = Sim::new(5);
    let alice = sim.phone("alice", EP1);
    sim.register_as(alice, Register { expires: Some(60), ..Register::on(0) });
    sim.run(58 * SECOND);
    assert_eq!(record(&sim, "alice").bindings.len(), 1);
    sim.run(5 * SECOND);
    assert!(record(&sim, "alice").is_empty());
}

#[test]
fn what_an_operator_removes_is_told_as_deactivated() {
    let (mut sim, alice) = alice_watches(6);
    assert!(now(sim.store.remove(&Aor::parse(&aor("alice")).unwrap(), None, None)).unwrap());
    let start = sim.now();
    sim.run(3 * SECOND);
    let told = last(&sim, alice);
    assert_eq!(contacts(&told.body), one(&sim.ua(alice).contact(), "terminated", "deactivated"));
    assert_eq!(attribute(&told.body.replace("<registration", "<reginfo"), "version"), "1");
    assert!(told.body.contains("\" state=\"terminated\">\n<contact"), "the registration, too: {}", told.body);
    assert!(told.at - start < 2 * SECOND, "{:?}", told.at - start);
}

#[test]
fn another_core_goes_on_with_a_subscription() {
    let (mut sim, alice) = alice_watches(7);
    let home = sim.home_of(&of(&sim, alice, 0).call_id.clone());
    sim.kill_core(home);
    sim.run(2 * SECOND);
    resubscribe(&mut sim, alice, 0, Some(600));
    assert_eq!(of(&sim, alice, 0).status, Some(200));
    let told = last(&sim, alice);
    assert_eq!((version(told), told.state.as_str()), (1, "active;expires=600"));
    assert_eq!(attribute(&told.body, "state"), "full");
    sim.run(6 * SECOND);
    sim.register(alice);
    sim.run_ms(300);
    assert_eq!(version(last(&sim, alice)), 2);
}

/// RFC 3680 §5.2: the subscriber sees that a version is missing and asks for the full state.
#[test]
fn a_core_that_dies_before_it_tells_leaves_a_gap() {
    let (mut sim, alice) = alice_watches(8);
    let other = sim.phone("alice", EP2);
    sim.order(other, |ua| ua.register(Register::on(0)));
    let is_stored = |sim: &Sim| record(sim, "alice").watchers[0].version == 2;
    assert!(sim.run_until(3 * SECOND, is_stored));
    let home = sim.home_of(&sim.ua(other).registrations[0].call_id.clone());
    sim.kill_core(home);
    sim.run(8 * SECOND);
    assert_eq!(sim.ua(other).registrations[0].status, Some(200), "nothing acknowledged is lost");
    assert_eq!(version(last(&sim, alice)), 0, "the news died with the core");
    assert_eq!(sim.register_as(other, Register { expires: Some(0), ..Register::on(0) }).status, Some(200));
    sim.run_ms(300);
    assert_eq!(version(last(&sim, alice)), 2);
    resubscribe(&mut sim, alice, 0, None);
    let told = last(&sim, alice);
    assert_eq!((version(told), attribute(&told.body, "state")), (3, "full"));
}

#[test]
fn a_subscriber_that_has_moved_is_told_there() {
    let (mut sim, alice) = alice_watches(9);
    sim.kill_edge(EP1);
    sim.run(2 * SECOND);
    let line = sim.add_line(alice, EP2, Protocol::Udp);
    assert_eq!(sim.register_as(alice, Register::on(line)).status, Some(200));
    sim.run_ms(500);
    let told = last(&sim, alice);
    assert_eq!(version(told), 1, "the very REGISTER by which it has moved");
    resubscribe(&mut sim, alice, line, None);
    assert_eq!(of(&sim, alice, 0).status, Some(200), "though its Route names the edge that has died");
    assert_eq!(version(last(&sim, alice)), 2);
}

/// RFC 5626 §5.3 takes the refresh for a request to the flow of the token, which is his own of before.
#[test]
fn a_subscriber_whose_flow_has_changed_goes_on() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut sim = Sim::new(25);
        let alice = sim.phone_with("alice", EP1, protocol, |_| {});
        assert_eq!(sim.register_as(alice, Register::on(0)).status, Some(200));
        subscribe(&mut sim, alice, Subscribe::to(aor("alice")));
        assert_eq!(of(&sim, alice, 0).status, Some(200));
        sim.run(6 * SECOND);
        sim.rebind(alice, 0);
        // RFC 5626 §4.4: on a new flow a UA registers first.
        assert_eq!(sim.register_as(alice, Register::on(0)).status, Some(200));
        sim.run(6 * SECOND);
        resubscribe(&mut sim, alice, 0, Some(600));
        assert_eq!(of(&sim, alice, 0).status, Some(200), "{protocol}");
        assert_eq!(record(&sim, "alice").watchers[0].remote_cseq, 2, "it is refreshed");
        assert!(sim.ua(alice).requests("SUBSCRIBE").is_empty(), "it is for the notifier");
        if protocol.is_reliable() {
            let told = last(&sim, alice);
            assert_eq!((attribute(&told.body, "state"), told.state.as_str()), ("full", "active;expires=600"));
        }
    }
}

#[test]
fn a_subscriber_that_has_lost_its_flow_is_told_by_the_other() {
    let mut sim = Sim::new(10);
    let alice = sim.phone_with("alice", EP1, Protocol::Tcp, |profile| {
        profile.instance = Some("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned());
        profile.supports_path = true;
    });
    sim.add_line(alice, EP2, Protocol::Tcp);
    for line in [0, 1] {
        let flow = Register { reg_id: Some(u32::try_from(line).unwrap() + 1), ..Register::on(line) };
        assert_eq!(sim.register_as(alice, flow).status, Some(200));
    }
    subscribe(&mut sim, alice, Subscribe::to(aor("alice")));
    sim.run(6 * SECOND);
    sim.close_line(alice, 0);
    sim.run_ms(200);
    let refresh = Register { reg_id: Some(2), ..Register::on(1) };
    assert_eq!(sim.register_as(alice, refresh).status, Some(200));
    sim.run_ms(500);
    assert_eq!(version(last(&sim, alice)), 1, "RFC 5626 §5.3.1: a 430 leads to the other flow");
    assert_eq!(record(&sim, "alice").watchers.len(), 1);
}

#[test]
fn who_may_watch() {
    let mut sim = Sim::new(11);
    let [alice, bob, app] = ["alice", "bob", "app"].map(|user| sim.phone(user, EP1));
    sim.register(alice);
    let mut status = |phone, wanted: Subscribe| {
        let number = subscribe(&mut sim, phone, wanted);
        (of(&sim, phone, number).status, of(&sim, phone, number).notified.len())
    };
    assert_eq!(status(bob, Subscribe::to(aor("alice"))), (Some(403), 0));
    assert_eq!(status(bob, Subscribe::to(aor("nobody"))), (Some(403), 0), "no word on who there is");
    assert_eq!(status(app, Subscribe::to(aor("alice"))), (Some(200), 1), "the settings name it");
    assert_eq!(status(app, Subscribe::to(aor("bob"))), (Some(200), 1), "a user without a contact");
    assert_eq!(status(app, Subscribe::to(aor("nobody"))), (Some(404), 0));
    let wrong = Subscribe { password: Some("wrong".to_owned()), ..Subscribe::to(aor("alice")) };
    assert_eq!(status(alice, wrong), (Some(401), 0), "RFC 6665 §4.2.1.3: never 407");
    assert_eq!(record(&sim, "alice").watchers.len(), 1);
}

#[test]
fn an_application_is_told_of_who_comes_and_goes() {
    let mut sim = Sim::new(12);
    let (bob, app) = (sim.phone("bob", EP2), sim.phone("app", EP1));
    subscribe(&mut sim, app, Subscribe::to(aor("bob")));
    assert!(
        last(&sim, app).body.contains("state=\"init\""),
        "RFC 3680 §4.7.1: known before it is registered"
    );
    sim.run(6 * SECOND);
    sim.register(bob);
    sim.run_ms(300);
    assert_eq!(contacts(&last(&sim, app).body), one(&sim.ua(bob).contact(), "active", "registered"));
}

#[test]
fn a_subscription_that_is_not_refreshed_ends_with_timeout() {
    let (mut sim, alice) = alice_watches(13);
    resubscribe(&mut sim, alice, 0, Some(60));
    sim.run(70 * SECOND);
    let told = last(&sim, alice);
    assert_eq!((told.state.as_str(), told.body.as_str()), ("terminated;reason=timeout", ""));
    assert_eq!(record(&sim, "alice").watchers, []);
    sim.register(alice);
    sim.run(8 * SECOND);
    assert_eq!(of(&sim, alice, 0).notified.len(), 3, "nobody is told any more");
    resubscribe(&mut sim, alice, 0, None);
    assert_eq!(of(&sim, alice, 0).status, Some(481));
}

#[test]
fn a_subscriber_ends_its_subscription() {
    let (mut sim, alice) = alice_watches(14);
    resubscribe(&mut sim, alice, 0, Some(0));
    assert_eq!((of(&sim, alice, 0).status, first(&of(&sim, alice, 0).headers, "Expires")), (Some(200), "0"));
    let told = last(&sim, alice);
    assert_eq!((told.state.as_str(), contacts(&told.body).len()), ("terminated;reason=timeout", 1));
    assert_eq!(record(&sim, "alice").watchers, []);
}

#[test]
fn a_poll_is_answered_and_leaves_nothing() {
    let mut sim = Sim::new(15);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    subscribe(&mut sim, alice, Subscribe { expires: Some(0), ..Subscribe::to(aor("alice")) });
    let told = last(&sim, alice);
    assert_eq!((told.state.as_str(), contacts(&told.body).len()), ("terminated;reason=timeout", 1));
    assert_eq!(record(&sim, "alice").watchers, []);
}

/// RFC 6665 §4.2.2.
#[test]
fn a_subscriber_that_is_gone_loses_its_subscription() {
    for answer in [Some(481), None] {
        let (mut sim, alice) = alice_watches(16);
        let other = sim.phone("alice", EP2);
        sim.order(alice, |ua| ua.subscriptions[0].answer = answer);
        sim.register(other);
        sim.run(SECOND);
        assert_eq!(record(&sim, "alice").watchers.len(), usize::from(answer.is_none()), "{answer:?}");
        sim.run(35 * SECOND);
        assert_eq!(record(&sim, "alice").watchers, [], "{answer:?}");
        assert_eq!(record(&sim, "alice").bindings.len(), 2);
    }
}

/// RFC 6665 §4.2.2 removes it for no other status.
#[test]
fn a_subscriber_with_a_trouble_of_its_own_stays() {
    let (mut sim, alice) = alice_watches(17);
    let other = sim.phone("alice", EP2);
    sim.order(alice, |ua| ua.subscriptions[0].answer = Some(500));
    sim.register(other);
    sim.run(8 * SECOND);
    sim.order(alice, |ua| ua.subscriptions[0].answer = Some(200));
    sim.register(other);
    sim.run(SECOND);
    assert_eq!(of(&sim, alice, 0).notified.len(), 3);
}

#[test]
fn a_subscription_that_cannot_be_served_is_refused_by_the_rfc() {
    let mut sim = Sim::new(18);
    let alice = sim.phone("alice", EP1);
    let extra = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let own = || Subscribe::to(aor("alice"));
    for (wanted, status) in [
        (Subscribe { expires: Some(10), ..own() }, 423),
        (Subscribe { extra: extra("Accept", "application/pidf+xml"), ..own() }, 406),
        (Subscribe { extra: extra("Require", "eventlist"), ..own() }, 420),
        (Subscribe { event: "presence".to_owned(), ..Subscribe::to(format!("sip:{DOMAIN}")) }, 489),
    ] {
        let number = subscribe(&mut sim, alice, wanted);
        let it = of(&sim, alice, number);
        assert_eq!(it.status, Some(status));
        match status {
            423 => assert_eq!(first(&it.headers, "Min-Expires"), "60"),
            489 => assert_eq!(first(&it.headers, "Allow-Events"), "reg"),
            _ => {}
        }
    }
}

#[test]
fn other_packages_are_none_of_the_clusters() {
    let topology = Topology { call_auth: false, ..Topology::default() };
    let mut sim = Sim::with(19, topology, Weather::fair());
    let (alice, bob) = (sim.phone("alice", EP1), sim.phone("bob", EP2));
    sim.register(bob);
    let extra = vec![
        ("Event".to_owned(), "presence".to_owned()),
        ("Contact".to_owned(), format!("<{}>", sim.ua(alice).contact())),
    ];
    let options = CallOptions { extra, ..CallOptions::default() };
    sim.order(alice, |ua| ua.ask(0, Method::Subscribe, &aor("bob"), options));
    sim.run(SECOND);
    assert_eq!(sim.ua(bob).requests("SUBSCRIBE").len(), 1);
    sim.order(alice, |ua| ua.ask(0, Method::Options, &format!("sip:{DOMAIN}"), CallOptions::default()));
    sim.run(SECOND);
    let answers = sim.ua(alice).responses(200);
    let events = answers.iter().filter(|answer| first(&answer.headers, "Allow-Events") == "reg");
    assert_eq!(events.count(), 1, "RFC 6665 §4.4.4");
}

#[test]
fn a_subscription_that_two_cores_see_is_one() {
    let mut sim = Sim::new(20);
    let alice = sim.phone("alice", EP1);
    sim.register(alice);
    let number = sim.order(alice, |ua| ua.subscribe(Subscribe::to(aor("alice"))));
    assert!(sim.run_until(3 * SECOND, |sim| record(sim, "alice").watchers.len() == 1));
    let home = sim.home_of(&of(&sim, alice, number).call_id.clone());
    sim.kill_core(home);
    sim.run(10 * SECOND);
    assert_eq!(of(&sim, alice, number).status, Some(200));
    assert_eq!(record(&sim, "alice").watchers.len(), 1);
    assert_eq!(version(last(&sim, alice)), 1, "the first one died with its core");
}

#[test]
fn without_the_store_a_subscriber_is_told_to_come_back() {
    let (mut sim, alice) = alice_watches(21);
    let other = sim.phone("alice", EP2);
    sim.register_as(other, Register { expires: Some(60), ..Register::on(0) });
    sim.run(10 * SECOND);
    sim.store_down();
    resubscribe(&mut sim, alice, 0, None);
    let it = of(&sim, alice, 0);
    assert_eq!(it.status, Some(503));
    assert!(!first(&it.headers, "Retry-After").is_empty());
    let told = it.notified.len();
    sim.run(60 * SECOND);
    assert_eq!(of(&sim, alice, 0).notified.len(), told, "nobody can say what is over");
    sim.store_up();
    sim.run(3 * SECOND);
    assert_eq!(contacts(&last(&sim, alice).body), one(&sim.ua(other).contact(), "terminated", "expired"));
}
