//! The whole cluster in virtual time: edges, cores, the store and UAs, joined by a seeded network and watched by the oracle.
//!
//! The engines are the real ones, driven through [`node::Engine`]; sockets, links and databases are not there. Events
//! happen in the order of (time, sequence), so a seed replays byte for byte. A simulation that is dropped without
//! [`Sim::finish`] finishes itself: no test can forget what must hold at the end.
//!
//! `sim/cluster.rs` holds nodes and links and how they die, `sim/phones.rs` what a script tells its phones, `sim/log.rs` the
//! record of what was on the wire.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_registrar::engine::QueryId;
use core_registrar::routes::Routes;
use edge_proxy::engine::Edge;
use edge_proxy::keeper::Pings;
use location::{Answer, Memory, Query};
use node::Engine as _;
use transport::token::Keys;

use crate::net::{Dice, Network, Weather};
use crate::oracle::{Node, Oracle, Wire};

mod cluster;
mod keepers;
mod links;
mod log;
mod outside;
mod phones;

use cluster::{CoreNode, EdgeNode};
use links::{Frame, Link};
use log::Log;

pub use cluster::Topology;
pub use outside::Dns;
pub use phones::{CallRef, Phone};

/// Domain of the cluster, and realm of its users.
pub const DOMAIN: &str = "example.com";

/// The first edge.
pub const EP1: usize = 0;
/// The second edge.
pub const EP2: usize = 1;

/// Wall clock at the start, in seconds since 1970.
const EPOCH: u64 = 1_800_000_000;

/// How long everything may take to end: Timer C for three groups of targets, and the life of a transaction before and after.
const SILENCE: Duration = Duration::from_secs(3 * 190 + 4 * 32);

/// Something that happens at its time.
enum Event {
    /// A message between a UA and an edge arrives.
    Packet { wire: Wire, line: Option<(usize, usize)>, flow: transport::Flow },
    /// A frame arrives at the end of its link.
    Frame(Frame),
    /// What is no SIP message arrives at the end of its link.
    Notice(keepers::Notice),
    /// The link between an edge and a core comes up.
    LinkUp { edge: usize, core: usize, number: u64 },
    /// The edge notices that the link is lost.
    LostAtEdge { edge: usize, core: usize, watch: u64 },
    /// The core notices that the link is lost.
    LostAtCore { edge: usize, core: usize, watch: u64 },
    /// The store does what a core has asked for.
    StoreRuns { core: usize, life: u64, id: QueryId, query: Query },
    /// The store's answer arrives.
    StoreAnswers { core: usize, life: u64, id: QueryId, answer: Answer },
    /// A phone notices that the stream of a line is gone.
    LineLost { phone: usize, line: usize, connection: u64 },
    /// An edge notices that a stream is gone.
    FlowLost { edge: usize, life: u64, flow: transport::Flow },
    /// An edge hears that a link was full.
    EdgeNotSent { edge: usize, life: u64, bytes: Bytes },
    /// A core hears that a link was full.
    CoreNotSent { core: usize, life: u64, bytes: Bytes },
    /// A core looks for what is due.
    Look { core: usize, life: u64 },
    /// An edge hears what it has asked about the outside.
    OutsideAnswers { edge: usize, life: u64, answer: edge_proxy::egress::Answer },
    /// A step of the script.
    Script(Box<dyn FnOnce(&mut Sim)>),
}

/// The simulation.
pub struct Sim {
    /// The network between phones and edges.
    pub net: Network,
    /// The judge.
    pub oracle: Oracle,
    /// What the store holds.
    pub store: Memory,
    /// The DNS.
    pub dns: Dns,
    seed: u64,
    base: Instant,
    now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    dice: Dice,
    keys: Keys,
    routes: Routes,
    edges: Vec<EdgeNode>,
    cores: Vec<CoreNode>,
    links: BTreeMap<(usize, usize), Link>,
    phones: Vec<Phone>,
    store_is_up: bool,
    store_is_flaky: bool,
    connections: u64,
    log: Log,
    finished: bool,
    min_expires: u32,
    pings: Pings,
}

impl Sim {
    /// Two edges, two cores and fair weather.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Topology::default(), Weather::fair())
    }

    /// Any cluster in any weather.
    pub fn with(seed: u64, topology: Topology, weather: Weather) -> Self {
        Self::with_routes(seed, topology, weather, Routes::default())
    }

    /// As [`Self::with`], with the operator's routes.
    pub fn with_routes(seed: u64, topology: Topology, weather: Weather, routes: Routes) -> Self {
        let mut dice = Dice::new(seed, 0);
        let keys = Keys::random(dice.seed());
        let mut sim = Self {
            net: Network::new(seed, weather),
            oracle: Oracle::default(),
            store: Memory::default(),
            dns: Dns::default(),
            routes,
            seed,
            base: node::clock::now(),
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            dice,
            keys,
            edges: Vec::new(),
            cores: Vec::new(),
            links: BTreeMap::new(),
            phones: Vec::new(),
            store_is_up: true,
            store_is_flaky: false,
            connections: 0,
            log: Log::default(),
            finished: false,
            min_expires: 60,
            pings: keepers::no_pings(),
        };
        sim.build(topology);
        sim
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Goes on for that long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            self.step(at);
        }
        self.now = end;
        self.check();
    }

    /// Goes on for that many milliseconds.
    pub fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// Goes on until `reached`, at most for that long; says whether it was.
    pub fn run_until(&mut self, most: Duration, reached: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + most;
        while !reached(self) {
            let Some(at) = self.next_time().filter(|at| *at <= end) else {
                self.now = end;
                break;
            };
            self.step(at);
        }
        self.check();
        reached(self)
    }

    /// Does something when that much time has passed.
    pub fn after(&mut self, time: Duration, what: impl FnOnce(&mut Self) + 'static) {
        self.schedule(self.now + time, Event::Script(Box::new(what)));
    }

    /// Lets everything end and judges: no node keeps anything, no rule was broken.
    pub fn finish(&mut self) {
        self.finished = true;
        self.mend();
        self.run(SILENCE);
        self.oracle.finish();
        self.check();
        self.check_idle();
    }

    fn check_idle(&self) {
        let mut busy = Vec::new();
        for edge in &self.edges {
            busy.extend(edge.engine.as_ref().filter(|engine| !engine.is_idle()).map(|engine| {
                let counters = engine.counters();
                format!("{}: {:?}, {} contexts", edge.name, counters.transactions, counters.contexts)
            }));
        }
        for core in &self.cores {
            busy.extend(core.engine.as_ref().filter(|engine| !engine.is_idle()).map(|engine| {
                let counters = engine.counters();
                let (contexts, queries) = (counters.contexts, counters.queries);
                format!("{}: {:?}, {contexts} contexts, {queries} queries", core.name, counters.transactions)
            }));
        }
        if !busy.is_empty() {
            self.fail(&format!("after all is over these still wait for something: {busy:?}"));
        }
    }

    /// Fails when the oracle has something to say.
    fn check(&self) {
        if let Some(complaint) = self.oracle.complaints.first() {
            self.fail(complaint);
        }
    }

    fn fail(&self, complaint: &str) -> ! {
        panic!("seed {}: {complaint}", self.seed);
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    /// When something happens next.
    fn next_time(&self) -> Option<Duration> {
        let queue = self.queue.keys().next().map(|(at, _)| *at);
        let since = |due: Instant| due.saturating_duration_since(self.base);
        let edges = self.edges.iter().filter_map(|edge| edge.engine.as_ref()?.poll_timeout()).map(since);
        let keepers = self.edges.iter().filter_map(|edge| edge.keeper.as_ref()?.poll_timeout()).map(since);
        let cores = self.cores.iter().filter_map(|core| core.engine.as_ref()?.poll_timeout()).map(since);
        let phones = self.phones.iter().filter_map(|phone| phone.ua.next_timeout());
        queue.into_iter().chain(edges).chain(keepers).chain(cores).chain(phones).min()
    }

    /// One event, and every deadline of that time.
    fn step(&mut self, at: Duration) {
        self.now = self.now.max(at);
        let due = self.queue.first_entry().filter(|entry| entry.key().0 <= at);
        if let Some(entry) = due {
            let event = entry.remove();
            return self.happen(event);
        }
        for edge in 0..self.edges.len() {
            self.time_edge(edge);
            self.time_keeper(edge);
        }
        for core in 0..self.cores.len() {
            self.time_core(core);
        }
        for phone in 0..self.phones.len() {
            if self
                .phones
                .get(phone)
                .and_then(|phone| phone.ua.next_timeout())
                .is_some_and(|due| due <= self.now)
            {
                self.order(phone, |ua| ua.handle_timeout());
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Packet { wire, line, flow } => self.packet_arrives(&wire, line, flow),
            Event::Frame(frame) => self.frame_arrives(frame),
            Event::Notice(notice) => self.notice_arrives(notice),
            Event::LinkUp { edge, core, number } => self.link_up(edge, core, number),
            Event::LostAtEdge { edge, core, watch } => self.lost_at_edge(edge, core, watch),
            Event::LostAtCore { edge, core, watch } => self.lost_at_core(edge, core, watch),
            Event::StoreRuns { core, life, id, query } => self.store_runs(core, life, id, query),
            Event::StoreAnswers { core, life, id, answer } => self.store_answers(core, life, id, answer),
            Event::LineLost { phone, line, connection } => self.line_lost(phone, line, connection),
            Event::FlowLost { edge, life, flow } => self.flow_lost(edge, life, flow),
            Event::EdgeNotSent { edge, life, bytes } => self.edge_not_sent(edge, life, bytes),
            Event::CoreNotSent { core, life, bytes } => self.core_not_sent(core, life, bytes),
            Event::Look { core, life } => self.core_looks(core, life),
            Event::OutsideAnswers { edge, life, answer } => self.outside_answers(edge, life, answer),
            Event::Script(what) => what(self),
        }
    }

    /// A message is put on the wire between a UA and an edge.
    fn transmit(&mut self, wire: &Wire, line: Option<(usize, usize)>, flow: transport::Flow) {
        self.oracle.sent(self.now, wire);
        let arrivals = match (wire.from, wire.to) {
            _ if flow.protocol.is_reliable() => {
                let upwards = matches!(wire.from, Node::Ua(_));
                let channel = crate::net::Channel::Stream(flow.connection, upwards);
                vec![self.net.ordered(channel, self.now)]
            }
            (Node::Ua(ua), Node::Edge(edge)) | (Node::Edge(edge), Node::Ua(ua)) => {
                self.net.datagram(ua, edge).into_iter().map(|delay| self.now + delay).collect()
            }
            _ => Vec::new(),
        };
        self.log.message(self.now, wire, &arrivals);
        for at in arrivals {
            self.schedule(at, Event::Packet { wire: wire.clone(), line, flow });
        }
    }

    fn packet_arrives(&mut self, wire: &Wire, line: Option<(usize, usize)>, flow: transport::Flow) {
        match wire.to {
            Node::Edge(edge) => self.edge_receives(edge, wire, flow),
            Node::Ua(_) => {
                if let Some((phone, line)) = line {
                    self.phone_receives(phone, line, wire, flow);
                }
            }
            Node::Core(_) => {}
        }
    }

    /// Every message that was put on the wire, lost ones included.
    pub fn wires(&self) -> impl Iterator<Item = &Wire> {
        self.log.wires()
    }

    /// How many requests of a method were sent by nodes of one kind to nodes of another.
    pub fn count(&self, method: &str, from: impl Fn(Node) -> bool, to: impl Fn(Node) -> bool) -> usize {
        let wanted = |wire: &&Wire| {
            wire.seen.is_request() && wire.seen.method == method && from(wire.from) && to(wire.to)
        };
        self.wires().filter(wanted).count()
    }

    /// The record of the wire, one line for each message.
    pub fn ladder(&self) -> String {
        self.log.ladder()
    }
}

impl Drop for Sim {
    #[expect(clippy::print_stderr, reason = "the record of a failed simulation")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIM_SEED={} replays what has failed", self.seed);
            if !self.log.is_quiet() {
                eprintln!("{}", self.log.ladder());
            }
        } else if !self.finished {
            self.finish();
        }
    }
}

/// The edge's or core's idea of a message.
fn parse(bytes: &Bytes) -> sip::Message {
    sip::parse::message(bytes.clone(), &sip::parse::Limits::default())
        .unwrap_or_else(|error| panic!("{error:?}:\n{}", String::from_utf8_lossy(bytes)))
}

type EdgeEngine = Edge;
