//! What an operator is told about a call is what becomes of one: the same engine is asked first and called then.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;
mod fixture;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::{Core, Input, Output};
use core_registrar::routes::{Route, Routes};
use core_registrar::settings::{Challenged, Settings};
use core_registrar::why::{self, Flow, Group, Question, Skip, Store, Way, Why};
use link::PeerId;
use location::{Answer, Credentials, Query};
use node::Engine as _;
use proptest::prelude::*;
use registrar::{Binding, Record, UnixTime};
use sip::{Aor, Message, Method, Name, Request, Response, StatusCode, parse};
use transaction::Timers;

const NOW: Duration = Duration::from_secs(1_000_000);
/// The caller's edge; it has a link, and so has the second one. The third had one, the fourth never.
const EDGES: [&str; 4] = ["edge-1", "edge-2", "edge-3", "edge-4"];

/// A cluster at one moment.
#[derive(Debug, Clone)]
struct World {
    answer: Answer,
    /// Whether the user that is called exists.
    exists: bool,
    /// Flow tokens that edges have reported as lost.
    lost: Vec<String>,
    routes: Vec<Route>,
    challenged: Challenged,
}

impl World {
    fn new(bindings: Vec<Binding>) -> Self {
        let record = Record { version: 1, bindings, ..Record::default() };
        Self {
            answer: Answer::Loaded { record, credentials: None, is_last_known: false },
            exists: true,
            lost: Vec::new(),
            routes: Vec::new(),
            challenged: Challenged::NONE,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            challenged: self.challenged.clone(),
            routes: Routes::new(&self.routes).unwrap(),
            ..common::settings()
        }
    }

    fn core(&self, now: Instant) -> Core {
        let mut core = Core::new(self.settings(), Timers::default(), [2; 32], now, NOW);
        for (peer, name) in (1..=3).zip(EDGES) {
            let advertised = vec![format!("{name}.example.net:5060")];
            core.handle(Input::EdgeUp { edge: PeerId(peer), name: name.to_owned(), advertised }, now);
        }
        core.handle(Input::EdgeDown(PeerId(3)), now);
        for token in &self.lost {
            let tokens = vec![Bytes::from(token.clone())];
            core.handle(Input::FlowsDown { edge: PeerId(1), tokens }, now);
        }
        core
    }

    /// What the store says to a question of a core.
    fn says(&self, query: &Query) -> Answer {
        let none = Credentials { ha1_md5: String::new(), ha1_sha256: String::new() };
        let known = self.exists.then_some(none);
        match (query, &self.answer) {
            (Query::Lookup { user, .. }, Answer::Loaded { record, is_last_known, .. }) => Answer::Loaded {
                record: record.clone(),
                credentials: user.as_ref().map(|_| known),
                is_last_known: *is_last_known,
            },
            (Query::Credentials(_), Answer::Loaded { .. }) => Answer::Credentials(known),
            (_, other) => other.clone(),
        }
    }

    /// Lets the core work until it has nothing left to do.
    fn run(&self, core: &mut Core, input: Input, now: Instant) -> Vec<Output> {
        core.handle(input, now);
        let mut outputs = Vec::new();
        while let Some(output) = core.poll_output() {
            match output {
                Output::Ask(id, query) => core.handle(Input::Answer(id, self.says(&query)), now),
                other => outputs.push(other),
            }
        }
        outputs
    }

    fn why(&self, core: &mut Core, address: &str, now: Instant) -> Why {
        let aor = Aor::parse(address).unwrap();
        let outputs = self.run(core, Input::Why(Question { id: 7, aor }), now);
        let [Output::Why(7, why)] = &outputs[..] else { panic!("{outputs:?}") };
        assert!(core.is_idle() || core.counters().contexts > 0, "a question leaves nothing behind");
        (**why).clone()
    }

    /// An INVITE from this address through the first edge. What leaves then, and the final answer.
    fn call(&self, core: &mut Core, from: &str, to: &str, now: Instant) -> Wire {
        let text = format!(
            "INVITE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS edge-1;branch=z9hG4bKcall\r\nFrom: <sip:{from}>;tag=a\r\n\
             To: <sip:{to}>\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
             Contact: <sip:caller@192.0.2.77>\r\nContent-Length: 0\r\n\r\n"
        );
        self.feed(core, PeerId(1), message(Bytes::from(text)), now)
    }

    fn feed(&self, core: &mut Core, edge: PeerId, message: Message, now: Instant) -> Wire {
        let input = Input::FromEdge { edge, message, source: String::new(), local: String::new() };
        let mut wire = Wire::default();
        for output in self.run(core, input, now) {
            let Output::ToEdge { edge, bytes, .. } = output else { continue };
            match message_of(bytes) {
                Message::Request(request) if request.method == Method::Invite => {
                    wire.sent.push_back((edge, request));
                }
                Message::Response(response) if response.status.is_final() => {
                    wire.answer = Some(response.status);
                }
                Message::Request(_) | Message::Response(_) => {}
            }
        }
        wire
    }
}

#[derive(Debug, Default)]
struct Wire {
    sent: VecDeque<(PeerId, Request)>,
    answer: Option<StatusCode>,
}

fn message(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).unwrap()
}

fn message_of(bytes: Bytes) -> Message {
    message(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Request-URI, Route and edge, as a copy shows them on the wire.
fn shown((edge, request): &(PeerId, Request)) -> (String, Vec<String>, String) {
    let route = request.headers.values(Name::Route).map(text).collect();
    let edge = EDGES[usize::try_from(edge.0).unwrap() - 1];
    (text(&request.uri), route, edge.to_owned())
}

/// The same as it was told.
fn told(way: &Way) -> Option<(String, Vec<String>, String)> {
    Some((way.request_uri.clone(), way.route.clone(), way.edge.clone()?))
}

/// The copies that leave at once, each with those that follow when an edge has said 430 to it.
fn openings(group: &Group) -> Vec<VecDeque<(String, Vec<String>, String)>> {
    let ways = group.branches.iter().map(|branch| branch.ways.iter().filter_map(told).collect());
    ways.filter(|ways: &VecDeque<_>| !ways.is_empty()).collect()
}

/// Calls and answers every copy with 430, in the order in which they leave: each must be the one that was told.
fn check(world: &World, address: &str, from: &str) -> Result<(), TestCaseError> {
    let now = node::clock::now();
    let mut core = world.core(now);
    let why = world.why(&mut core, address, now);
    let is_ours = from.ends_with("@example.com");
    let answer = if is_ours {
        &why.call.answer
    } else {
        why.call.strangers.as_ref().map_or(&why.call.answer, |_| &why.call.strangers)
    };
    let mut wire = world.call(&mut core, from, address, now);
    if let Some(answer) = answer {
        prop_assert_eq!(wire.answer.map(StatusCode::code), Some(answer.status), "{:#?}", why);
        prop_assert!(wire.sent.is_empty(), "{:?} {:#?}", wire, why);
        return Ok(());
    }
    if let Some(exit) = &why.call.exit {
        let (uri, mut route, edge) = shown(wire.sent.front().expect("it leaves"));
        prop_assert_eq!(&uri, &exit.request_uri);
        prop_assert!(exit.edges.contains(&edge), "{:?} {:?}", edge, exit);
        route.remove(0);
        prop_assert_eq!(route, exit.next_hop.clone().into_iter().collect::<Vec<_>>());
        return Ok(());
    }
    for group in &why.call.groups {
        let mut open: VecDeque<_> = openings(group).into();
        while let Some(mut ways) = open.pop_front() {
            let sent = wire.sent.pop_front();
            prop_assert_eq!(sent.as_ref().map(shown), ways.pop_front(), "{:#?}", why);
            prop_assert_eq!(wire.answer, None, "it is answered while a way is left: {:#?}", why);
            let (edge, request) = sent.unwrap();
            let mut failed = Response::to(&request, StatusCode::new(430), Some("t"));
            failed.reason = Bytes::from_static(b"Flow Failed");
            let next = world.feed(&mut core, edge, message(failed.encode()), now);
            wire.sent.extend(next.sent);
            wire.answer = wire.answer.or(next.answer);
            if !ways.is_empty() {
                open.push_back(ways);
            }
        }
    }
    prop_assert!(wire.sent.is_empty(), "more than was told: {:?} {:#?}", wire, why);
    prop_assert_eq!(wire.answer.map(StatusCode::code), Some(480));
    Ok(())
}

fn binding(contact: &str, path: &[&str]) -> Binding {
    Binding {
        call_id: "register".to_owned(),
        registered_at: UnixTime(NOW.as_secs() - 600),
        updated_at: UnixTime(NOW.as_secs() - 60),
        written_by: "core-2".to_owned(),
        ..fixture::binding(contact, path, UnixTime(NOW.as_secs()))
    }
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let path = proptest::option::weighted(0.95, (0..4_usize, 0..6_u8, any::<bool>()));
    let flow = proptest::option::of((0..3_u8, 1..4_u32));
    let q = proptest::sample::select(&[1000_u16, 1000, 700, 300][..]);
    (0..6_u8, path, flow, q, 0..100_u64, proptest::bool::weighted(0.9)).prop_map(
        |(user, path, flow, q, age, is_live)| {
            let mut hops = Vec::new();
            if let Some((edge, token, is_longer)) = path {
                let host = if token % 2 == 0 { "" } else { ".example.net:5060" };
                let host = if edge == 3 { "" } else { host };
                hops.push(format!("<sip:t{token}@{}{host};lr;ob>", EDGES[edge]));
                hops.extend(is_longer.then(|| "<sip:inner.example.net;lr>".to_owned()));
            }
            let hops: Vec<_> = hops.iter().map(String::as_str).collect();
            let scheme = if user == 5 { "sips" } else { "sip" };
            let expires_at = UnixTime(if is_live { NOW.as_secs() + 60 } else { NOW.as_secs() });
            Binding {
                q,
                instance: flow.map(|(instance, _)| format!("urn:uuid:{instance}")),
                reg_id: flow.map(|(_, reg_id)| reg_id),
                updated_at: UnixTime(NOW.as_secs() - age),
                expires_at,
                ..binding(&format!("{scheme}:u{user}@192.0.2.{user}"), &hops)
            }
        },
    )
}

fn any_world() -> impl Strategy<Value = World> {
    let bindings = proptest::collection::vec(any_binding(), 0..8);
    let lost = proptest::collection::vec((0..6_u8).prop_map(|token| format!("t{token}")), 0..3);
    let routes = proptest::sample::select(&["alice=sip:gw.example.org", "0*=sip:gw.example.org"][..]);
    let challenged = any::<bool>();
    (bindings, any::<bool>(), lost, routes, challenged, 0..8_u8).prop_map(
        |(bindings, exists, lost, routes, is_challenged, store)| {
            let mut world = World::new(bindings);
            match (store, &mut world.answer) {
                (0, answer) => *answer = Answer::Unavailable,
                (1, Answer::Loaded { is_last_known, .. }) => *is_last_known = true,
                _ => {}
            }
            let challenged = if is_challenged { Challenged::All } else { Challenged::NONE };
            World { exists, lost, routes: vec![routes.parse().unwrap()], challenged, ..world }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn a_call_is_what_was_told(world in any_world()) {
        // With a challenge, a caller of ours would have to prove who he is.
        if world.challenged == Challenged::NONE {
            check(&world, "alice@example.com", "bob@example.com")?;
        }
        check(&world, "alice@example.com", "carol@example.org")?;
    }
}

fn instance(reg_id: u32, edge: usize, token: &str) -> Binding {
    Binding {
        instance: Some("urn:uuid:1".to_owned()),
        reg_id: Some(reg_id),
        updated_at: UnixTime(NOW.as_secs() - u64::from(reg_id)),
        edge: EDGES[edge].to_owned(),
        ..binding("sip:alice@192.0.2.1", &[&format!("<sip:{token}@{};lr;ob>", EDGES[edge])])
    }
}

#[test]
fn contacts_are_shown_with_their_flow_and_who_wrote_them() {
    let now = node::clock::now();
    let bindings = vec![
        instance(1, 0, "open"),
        instance(2, 0, "gone"),
        instance(3, 2, "open"),
        instance(4, 3, "open"),
        Binding { q: 500, ..binding("sip:alice@192.0.2.9", &[]) },
    ];
    let world = World { lost: vec!["gone".to_owned()], ..World::new(bindings) };
    let why = world.why(&mut world.core(now), "alice@example.com", now);
    assert_eq!(
        (why.core.as_deref(), why.at, why.served, why.user),
        (Some("core-1"), NOW.as_secs(), true, Some(true))
    );
    assert_eq!(why.store, Store::Database);
    let flows: Vec<_> = why.contacts.iter().map(|bound| (bound.number, bound.flow)).collect();
    assert_eq!(
        flows,
        [(1, Flow::Open), (2, Flow::Lost), (3, Flow::NoLink), (4, Flow::UnknownEdge), (5, Flow::NoPath)]
    );
    let first = &why.contacts[0];
    assert_eq!(first.gruu.as_deref(), Some("sip:alice@example.com;gr=urn:uuid:1"));
    let it = &first.contact;
    assert_eq!((it.written_by.as_str(), it.call_id.as_str(), it.cseq), ("core-2", "register", 7));
    assert_eq!((it.expires_in, it.user_agent.as_str()), (3_600, "Phone"));
    assert_eq!((it.registered_at, it.updated_at), (NOW.as_secs() - 600, NOW.as_secs() - 1));

    let skipped: Vec<_> = why.call.passed_over.iter().map(|it| (it.contact, it.why)).collect();
    assert_eq!(skipped, [(2, Skip::FlowLost)]);
    let ways = |group: usize| -> Vec<_> {
        let branch = &why.call.groups[group].branches[0];
        branch.ways.iter().map(|way| (way.contact, way.edge.as_deref())).collect()
    };
    assert_eq!(ways(0), [(1, Some("edge-1")), (3, None), (4, None)]);
    assert_eq!(ways(1), [(5, None)]);
    assert_eq!(why.call.answer, None);
}

#[test]
fn the_same_contact_by_the_same_way_is_one_target() {
    let now = node::clock::now();
    let path = ["<sip:t@edge-1;lr>"];
    let world = World::new(vec![binding("sip:a@192.0.2.1", &path), binding("sip:a@192.0.2.1;x=y", &path)]);
    let why = world.why(&mut world.core(now), "alice@example.com", now);
    let skipped: Vec<_> = why.call.passed_over.iter().map(|it| (it.contact, it.why)).collect();
    assert_eq!(skipped, [(2, Skip::SameWay)]);
}

/// RFC 5393 §5.3.3: more branches at a time than a request may have are refused before the first one.
#[test]
fn too_many_contacts_are_told_as_they_are_answered() -> Result<(), TestCaseError> {
    let many = (0..61).map(|n| binding(&format!("sip:u{n}@192.0.2.1"), &["<sip:t@edge-1;lr>"]));
    let world = World::new(many.collect());
    let now = node::clock::now();
    let why = world.why(&mut world.core(now), "alice@example.com", now);
    assert_eq!(why.call.answer.map(|it| it.status), Some(440));
    check(&world, "alice@example.com", "bob@example.com")
}

/// The status told for nobody there, and that for strangers.
fn answers(world: &World, address: &str) -> (Option<u16>, Option<u16>) {
    let now = node::clock::now();
    let why = world.why(&mut world.core(now), address, now);
    assert!(why.call.groups.is_empty());
    (why.call.answer.map(|it| it.status), why.call.strangers.map(|it| it.status))
}

/// RFC 3261 §16.5; strangers are not told who exists.
#[test]
fn without_a_way_the_answer_is_told() {
    let nobody = World { challenged: Challenged::All, exists: false, ..World::new(Vec::new()) };
    assert_eq!(answers(&nobody, "alice@example.com"), (Some(404), Some(480)));
    let away = World { exists: true, ..nobody.clone() };
    assert_eq!(answers(&away, "alice@example.com"), (Some(480), None));
    let no_store = World { answer: Answer::Unavailable, ..nobody.clone() };
    assert_eq!(answers(&no_store, "alice@example.com"), (Some(503), None));
    let routes = vec!["0*=sip:+49*@gw.example.org".parse().unwrap()];
    assert_eq!(answers(&World { routes, ..nobody }, "089@example.com"), (None, Some(480)));
}

#[test]
fn what_leaves_the_cluster_is_told_with_its_next_hop() {
    let now = node::clock::now();
    let routes =
        vec!["0*=sip:+49*@gw.example.org".parse().unwrap(), "@example.org=sip:192.0.2.7".parse().unwrap()];
    let world = World { exists: false, routes, ..World::new(Vec::new()) };
    for (address, uri, next_hop, served) in [
        ("089@example.com", "sip:+4989@gw.example.org", None, true),
        ("carol@example.org", "sip:carol@example.org", Some("<sip:192.0.2.7;lr>"), false),
        ("carol@example.net", "sip:carol@example.net", None, false),
    ] {
        let why = world.why(&mut world.core(now), address, now);
        let exit = why.call.exit.clone().expect("it leaves");
        assert_eq!((exit.request_uri.as_str(), exit.next_hop.as_deref()), (uri, next_hop));
        assert_eq!((exit.edges, why.served), (vec!["edge-1".to_owned(), "edge-2".to_owned()], served));
        assert_eq!(why.call.strangers.as_ref().map(|it| it.status), Some(403));
        let shown = serde_json::to_string(&why).unwrap();
        assert!(!shown.contains("out."), "the proof that lets a request out is nobody's business: {shown}");
    }
}

/// As far as nobody knows better: the same plan as with every link.
#[test]
fn without_a_core_the_database_tells_what_it_can() {
    let now = node::clock::now();
    let bindings = vec![instance(1, 0, "a"), instance(2, 1, "b"), binding("sip:alice@192.0.2.9", &[])];
    let world = World::new(bindings.clone());
    let running = world.why(&mut world.core(now), "alice@example.com", now);
    let record = Record { version: 1, bindings, ..Record::default() };
    let aor = Aor::parse("alice@example.com").unwrap();
    let alone = why::alone(world.settings(), aor, &record, true, now, NOW).unwrap();
    assert_eq!((alone.core, &alone.call.groups), (None, &running.call.groups));
    let flows: Vec<_> = alone.contacts.iter().map(|bound| bound.flow).collect();
    assert_eq!(flows, [Flow::NotKnown, Flow::NotKnown, Flow::NoPath]);
}
