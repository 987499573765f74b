use node::Engine as _;
use proto::FlowEntry;
use sip::{Aor, Contact};
use transport::token::Keys;
use transport::{Listen, Protocol};

use super::*;
use crate::registered::{Health, Listed, key};

mod probes;

const INTERVAL: Duration = Duration::from_secs(25);
const EPOCH: u32 = 7;
const CORE: PeerId = PeerId(1);

fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(node::clock::now)
}

/// A keeper, its outputs and its time.
struct Bench {
    keeper: Keeper,
    now: Instant,
    keys: Keys,
}

impl Bench {
    fn new(mode: NatPing) -> Self {
        let keys = Keys::new(&[1; 32], Some(&[2; 32])).unwrap();
        let listen = |protocol| Listen { protocol, addr: ([192, 0, 2, 1], 5060).into() };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
        let settings = Settings::new("edge-1".into(), None, listeners, &[], Vec::new(), keys.clone());
        let pings = Pings { mode, interval: INTERVAL, lost: 3 };
        Self { keeper: Keeper::new(settings, pings, EPOCH, [9; 32], start()), now: start(), keys }
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.keeper.handle(input, self.now);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.keeper.poll_output()).collect()
    }

    /// Lets time pass, from deadline to deadline.
    fn run(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(due) = self.keeper.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.keeper.handle_timeout(due);
            outputs.extend(self.outputs());
            assert!(self.keeper.poll_timeout().is_none_or(|next| next > due), "all that is due is done");
        }
        self.now = end;
        outputs
    }

    fn register(&mut self, flow: Flow, user: &str, expires: u32) -> Vec<Output> {
        let uri = format!("sip:{user}@10.0.0.1:5060");
        let text = format!("<{uri}>");
        let contact = Contact::parse(text.as_bytes()).unwrap();
        let listed = Listed { key: key(&contact), expires, own: Some(uri.into()) };
        self.handle(Input::Registered(Box::new(Registration {
            flow,
            aor: Aor::parse(&format!("{user}@example.com")).unwrap(),
            asked: self.now,
            contacts: vec![listed],
            supervised: true,
        })))
    }

    /// The next ping on the only flow; answers it when wanted. What the core is told meanwhile.
    fn ping(&mut self, answer: bool) -> Vec<Output> {
        let mut outputs = self.run(INTERVAL);
        let pings: Vec<_> = pings(&outputs);
        let [(flow, bytes)] = &pings[..] else { panic!("one ping in every interval: {outputs:?}") };
        if answer {
            let ping = id_of(bytes);
            outputs.extend(self.handle(Input::Answered { flow: *flow, ping }));
        }
        outputs.retain(|it| matches!(it, Output::ToCore(_, Kind::FlowDown(_) | Kind::FlowUp(_))));
        outputs
    }
}

fn pings(outputs: &[Output]) -> Vec<(Flow, Bytes)> {
    let ping = |output: &Output| match output {
        Output::Ping { flow, bytes } => Some((*flow, bytes.clone())),
        Output::ToCore(..) | Output::Lost(_) | Output::Back(_) | Output::Supervise(_) | Output::Report(_) => {
            None
        }
    };
    outputs.iter().filter_map(ping).collect()
}

/// What a UA's answer would say.
fn id_of(ping: &Bytes) -> PingId {
    let Ok(sip::Message::Request(request)) = sip::parse::message(ping.clone(), &Default::default()) else {
        panic!("{ping:?}")
    };
    let answer = sip::Response::to(&request, sip::StatusCode::new(404), Some("x")).encode();
    transport::pong::answered(&answer, EPOCH).expect("our own")
}

fn udp(port: u16) -> Flow {
    Flow::udp(([192, 0, 2, 1], 5060).into(), ([198, 51, 100, 1], port).into())
}

fn stream(protocol: Protocol, epoch: u32) -> Flow {
    Flow { protocol, connection: u64::from(epoch) << 32 | 1, ..udp(40_000) }
}

/// Tokens of all FlowDown frames.
fn down(outputs: &[Output]) -> Vec<Bytes> {
    let tokens = |output: &Output| match output {
        Output::ToCore(CORE, Kind::FlowDown(down)) => {
            [std::slice::from_ref(&down.token), &down.more].concat()
        }
        _ => Vec::new(),
    };
    outputs.iter().flat_map(tokens).collect()
}

fn up(outputs: &[Output]) -> Vec<Bytes> {
    let tokens = |output: &Output| match output {
        Output::ToCore(CORE, Kind::FlowUp(up)) => up.tokens.clone(),
        _ => Vec::new(),
    };
    outputs.iter().flat_map(tokens).collect()
}

#[test]
fn a_registered_flow_is_pinged_once_an_interval_and_not_after_its_end() {
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 100);
    let outputs = bench.run(Duration::from_secs(1_000));
    let pings = pings(&outputs);
    assert_eq!(pings.len(), 4, "100 s of 25");
    assert!(
        pings
            .iter()
            .all(|(flow, bytes)| *flow == udp(1) && bytes.starts_with(b"OPTIONS sip:alice@10.0.0.1:5060 "))
    );
    let rounds: Vec<u32> = pings.iter().map(|(_, bytes)| id_of(bytes).round).collect();
    assert_eq!(rounds, [1, 2, 3, 4]);
    assert!(bench.keeper.registered.is_empty() && bench.keeper.wheel.is_empty());
    assert_eq!(bench.keeper.poll_timeout(), None, "an idle edge sleeps");
}

#[test]
fn each_transport_has_its_ping() {
    for (mode, flow, expected) in [
        (NatPing::Udp, stream(Protocol::Tcp, EPOCH), DOUBLE_CRLF),
        (NatPing::Options, stream(Protocol::Tls, EPOCH), DOUBLE_CRLF),
        (NatPing::Options, stream(Protocol::Wss, EPOCH), DOUBLE_CRLF),
    ] {
        let mut bench = Bench::new(mode);
        bench.register(flow, "alice", 3600);
        let outputs = bench.run(INTERVAL);
        assert_eq!(pings(&outputs), [(flow, Bytes::from_static(expected))]);
    }
    let mut bench = Bench::new(NatPing::Off);
    bench.register(udp(1), "alice", 100);
    assert!(pings(&bench.run(Duration::from_secs(200))).is_empty());
    assert!(bench.keeper.registered.is_empty(), "what expires is forgotten without pings, too");
}

/// Four octets are answered by nobody, so a phone is asked first whether it answers at all.
#[test]
fn a_phone_that_gets_four_octets_is_asked_at_first() {
    let kinds = |answer: bool| {
        let mut bench = Bench::new(NatPing::Udp);
        bench.register(udp(1), "alice", 3600);
        let turn = |_| {
            let outputs = bench.run(INTERVAL);
            let [(flow, bytes)] = &pings(&outputs)[..] else { panic!("{outputs:?}") };
            let is_asked = bytes.starts_with(b"OPTIONS");
            assert!(is_asked || bytes == ZEROS);
            if is_asked && answer {
                bench.handle(Input::Answered { flow: *flow, ping: id_of(bytes) });
            }
            is_asked
        };
        (0..6).map(turn).collect::<Vec<_>>()
    };
    assert_eq!(kinds(true), [true, false, false, false, false, false]);
    assert_eq!(kinds(false), [true, true, true, false, false, false]);
}

#[test]
fn three_unanswered_pings_of_a_phone_that_answers_are_a_lost_flow() {
    let mut bench = Bench::new(NatPing::Options);
    bench.handle(Input::CoreUp(CORE));
    bench.register(udp(1), "alice", 3600);
    assert!(bench.ping(true).is_empty());
    for _ in 0..2 {
        assert!(down(&bench.ping(false)).is_empty());
    }
    assert!(down(&bench.ping(true)).is_empty(), "the second in a row is known by then");
    for _ in 0..3 {
        assert!(down(&bench.ping(false)).is_empty(), "an answer begins a new row");
    }
    // The third is known to be unanswered when the fourth is due.
    let lost = bench.ping(false);
    let tokens: Vec<Bytes> = bench.keys.mint_all(udp(1)).map(Bytes::from).collect();
    let mut told = down(&lost);
    told.sort();
    let mut expected = tokens.clone();
    expected.sort();
    assert_eq!(told, expected, "by both keys");
    assert!(down(&bench.ping(false)).is_empty(), "once");
    let back = bench.ping(true);
    assert!(up(&back).is_empty());
    assert_eq!(up(&bench.run(Duration::from_millis(10))), tokens);
    let counters = bench.keeper.counters();
    assert_eq!((counters.lost, counters.returned, counters.registered[0]), (1, 1, 1));
}

#[test]
fn a_phone_that_never_answers_is_never_lost() {
    let mut bench = Bench::new(NatPing::Options);
    bench.handle(Input::CoreUp(CORE));
    bench.register(udp(1), "alice", 3600);
    for _ in 0..20 {
        assert!(bench.ping(false).is_empty());
    }
    assert_eq!(bench.keeper.counters().unanswered, 0);
}

#[test]
fn a_refresh_brings_a_lost_flow_back() {
    let mut bench = Bench::new(NatPing::Options);
    bench.handle(Input::CoreUp(CORE));
    bench.register(udp(1), "alice", 3600);
    bench.ping(true);
    let mut told = Vec::new();
    (0..4).for_each(|_| told.extend(bench.ping(false)));
    assert_eq!(down(&told).len(), 2);
    bench.register(udp(1), "alice", 3600);
    assert_eq!(up(&bench.run(Duration::from_millis(10))).len(), 2);
}

/// A phone may be there and answer no OPTIONS any more: it is out of reach until its next REGISTER, once, and pinged all the time.
#[test]
fn a_phone_that_stops_answering_and_registers_is_not_lost_again() {
    for mode in [NatPing::Options, NatPing::Udp] {
        let mut bench = Bench::new(mode);
        bench.handle(Input::CoreUp(CORE));
        bench.register(udp(1), "alice", 3600);
        bench.ping(true);
        if mode == NatPing::Udp {
            bench.handle(Input::Silent(udp(1)));
            assert!(bench.given_up(INTERVAL / 4).1.is_some());
        } else {
            (0..4).for_each(|_| _ = bench.ping(false));
        }
        assert_eq!(bench.keeper.counters().lost, 1);
        bench.register(udp(1), "alice", 3600);
        assert_eq!(bench.keeper.counters().returned, 1);
        (0..10).for_each(|_| _ = bench.ping(false));
        bench.register(udp(1), "alice", 3600);
        assert!(bench.handle(Input::Silent(udp(1))).is_empty(), "its silence says nothing");
        (0..10).for_each(|_| _ = bench.ping(false));
        assert_eq!(bench.keeper.counters().lost, 1, "{mode}");
    }
    // Answering again makes it one that answers.
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 3600);
    bench.ping(true);
    (0..4).for_each(|_| _ = bench.ping(false));
    bench.register(udp(1), "alice", 3600);
    bench.ping(true);
    (0..4).for_each(|_| _ = bench.ping(false));
    assert_eq!(bench.keeper.counters().lost, 2);
}

/// Where there are next hops, it is enough that it says something: every shard hears of it.
#[test]
fn a_lost_phone_that_speaks_is_back() {
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 3600);
    let is_back = |output: &Output| matches!(output, Output::Back(flow) if *flow == udp(1));
    bench.ping(true);
    assert!(!bench.handle(Input::Heard(udp(1))).iter().any(is_back), "it was not lost");
    (0..4).for_each(|_| _ = bench.ping(false));
    assert_eq!(bench.keeper.counters().lost, 1);
    assert!(bench.handle(Input::Heard(udp(2))).is_empty(), "nobody's");
    assert_eq!(bench.handle(Input::Heard(udp(1))).iter().filter(|output| is_back(output)).count(), 1);
    assert_eq!(bench.keeper.counters().returned, 1);
}

#[test]
fn a_forged_answer_counts_for_nothing() {
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 3600);
    let outputs = bench.run(INTERVAL);
    let ping = id_of(&pings(&outputs)[0].1);
    for (flow, ping) in [(udp(2), ping), (udp(1), PingId { flow: 99, ..ping })] {
        bench.handle(Input::Answered { flow, ping });
    }
    assert_eq!(bench.keeper.counters().answered, 0);
    assert_eq!(bench.keeper.registered.get(0).unwrap().health, Health::Unknown);
    bench.handle(Input::Answered { flow: udp(1), ping });
    bench.handle(Input::Answered { flow: udp(1), ping });
    assert_eq!(bench.keeper.counters().answered, 1, "a repeated answer is one answer");
}

#[test]
fn a_closed_stream_is_told_at_once_and_forgotten() {
    let mut bench = Bench::new(NatPing::Options);
    bench.handle(Input::CoreUp(CORE));
    let flow = stream(Protocol::Tcp, EPOCH);
    let outputs = bench.register(flow, "alice", 3600);
    assert!(matches!(outputs[..], [Output::Supervise(it)] if it == flow));
    bench.handle(Input::FlowDown(flow));
    let told = bench.run(Duration::from_millis(10));
    assert_eq!(down(&told).len(), 2);
    assert!(told.iter().any(|it| {
        matches!(it, Output::ToCore(_, Kind::FlowDown(it)) if it.aors == ["sip:alice@example.com"] && it.reason == "closed")
    }));
    assert!(bench.keeper.registered.is_empty() && bench.keeper.wheel.is_empty());
    assert!(bench.handle(Input::FlowDown(flow)).is_empty());
}

#[test]
fn a_thousand_streams_that_end_together_are_a_few_frames() {
    let mut bench = Bench::new(NatPing::Options);
    bench.handle(Input::CoreUp(CORE));
    let flow = |number: u32| Flow {
        connection: u64::from(EPOCH) << 32 | u64::from(number),
        ..stream(Protocol::Tcp, EPOCH)
    };
    (1..=1_000).for_each(|number| _ = bench.register(flow(number), &format!("u{number}"), 3600));
    let mut told = Vec::new();
    (1..=1_000).for_each(|number| told.extend(bench.handle(Input::FlowDown(flow(number)))));
    told.extend(bench.run(Duration::from_millis(10)));
    assert_eq!(down(&told).len(), 2_000);
    let frames = told.iter().filter(|it| matches!(it, Output::ToCore(_, Kind::FlowDown(_)))).count();
    assert!(frames <= 10, "{frames}");
}

#[test]
fn a_core_with_a_new_link_hears_what_is_lost() {
    let mut bench = Bench::new(NatPing::Options);
    bench.register(udp(1), "alice", 3600);
    bench.register(udp(2), "bob", 3600);
    let outputs = bench.run(INTERVAL);
    for (flow, bytes) in pings(&outputs).into_iter().filter(|(flow, _)| *flow == udp(1)) {
        bench.handle(Input::Answered { flow, ping: id_of(&bytes) });
    }
    bench.run(4 * INTERVAL);
    let told = down(&bench.handle(Input::CoreUp(CORE)));
    assert_eq!(
        told,
        bench
            .keys
            .mint_all(udp(1))
            .collect::<Vec<_>>()
            .into_iter()
            .map(Bytes::from)
            .rev()
            .collect::<Vec<_>>()
    );
}

/// Request number and place of the FlowsOf in these outputs, with whom it goes to.
fn asked(outputs: &[Output]) -> Option<(PeerId, u64, String)> {
    outputs.iter().find_map(|output| match output {
        Output::ToCore(core, Kind::FlowsOf(it)) => Some((*core, it.request, it.after.clone())),
        _ => None,
    })
}

fn entry(keys: &Keys, flow: &Flow, user: &str) -> FlowEntry {
    FlowEntry {
        token: Bytes::from(keys.mint(flow)),
        aor: format!("sip:{user}@example.com"),
        expires_in: 100,
        contact: format!("<sip:{user}@10.0.0.1:5060>;reg-id=1"),
        ..FlowEntry::default()
    }
}

#[test]
fn flows_of_before_a_restart_are_pinged_again() {
    let mut bench = Bench::new(NatPing::Options);
    let (core, request, after) = asked(&bench.handle(Input::CoreUp(CORE))).expect("the first core is asked");
    assert_eq!((core, after.as_str()), (CORE, ""));
    let foreign = Keys::new(&[3; 32], None).unwrap();
    let elsewhere = Flow { local: ([192, 0, 2, 9], 5060).into(), ..udp(4) };
    let old = stream(Protocol::Tcp, EPOCH - 1);
    let keys = bench.keys.clone();
    let entries = vec![
        entry(&keys, &udp(1), "alice"),
        entry(&foreign, &udp(2), "mallory"),
        entry(&keys, &elsewhere, "carol"),
        entry(&keys, &old, "bob"),
        entry(&keys, &stream(Protocol::Tcp, EPOCH), "dave"),
    ];
    let flows = Flows { request, entries, last: false, next: "sip:m@example.com".into() };
    let next = bench.handle(Input::Flows(CORE, flows.clone()));
    let (_, second, after) = asked(&next).expect("the next portion");
    assert_eq!(after, "sip:m@example.com");
    assert!(bench.handle(Input::Flows(CORE, flows)).is_empty(), "an answer counts once");
    let entries = vec![entry(&keys, &udp(3), "zoe")];
    bench.handle(Input::Flows(CORE, Flows { request: second, entries, last: true, next: String::new() }));
    let outputs = bench.run(INTERVAL);
    let pinged: BTreeSet<Flow> = pings(&outputs).into_iter().map(|(flow, _)| flow).collect();
    assert_eq!(pinged, [udp(1), udp(3)].into(), "genuine, over UDP, by a socket of ours");
    assert_eq!(
        down(&outputs),
        [Bytes::from(keys.mint(&old))],
        "a stream of before is gone, one of this start is not"
    );
    assert_eq!(bench.keeper.counters().recovered, 2);
    assert!(asked(&bench.handle(Input::CoreUp(PeerId(2)))).is_none(), "it is over");
}

#[test]
fn a_core_that_does_not_answer_is_replaced() {
    let mut bench = Bench::new(NatPing::Options);
    let (_, request, _) = asked(&bench.handle(Input::CoreUp(CORE))).unwrap();
    assert!(asked(&bench.handle(Input::CoreUp(PeerId(2)))).is_none(), "one at a time");
    let (core, same, _) =
        asked(&bench.run(Duration::from_secs(6))).expect("after a while another one is asked");
    assert_eq!((core, same), (PeerId(2), request));
    let (core, ..) = asked(&bench.handle(Input::CoreDown(PeerId(2)))).expect("and when it dies the next");
    assert_eq!(core, CORE);
    assert!(asked(&bench.handle(Input::CoreDown(CORE))).is_none(), "there is none");
    assert_eq!(bench.keeper.poll_timeout(), None);
    assert!(asked(&bench.handle(Input::CoreUp(CORE))).is_some());
}

/// Whoever has been told that a flow is lost is told that it is not: it answers, or no registration is on it any more.
#[test]
fn a_lost_flow_is_not_remembered_for_ever() {
    let is_back = |output: &Output| matches!(output, Output::Back(flow) if *flow == udp(1));
    for speaks in [true, false] {
        let mut bench = Bench::new(NatPing::Options);
        bench.register(udp(1), "alice", 150);
        assert!(bench.ping(true).is_empty());
        let lost = bench.run(5 * INTERVAL - Duration::from_secs(1));
        assert!(lost.iter().any(|output| matches!(output, Output::Lost(flow) if *flow == udp(1))));
        assert!(!lost.iter().any(is_back));
        let after = if speaks { bench.register(udp(1), "alice", 3600) } else { bench.run(3 * INTERVAL) };
        assert!(after.iter().any(is_back), "{speaks}");
    }
}
