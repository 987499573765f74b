//! Nodes and the store of a simulation, and how they die and come back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use core_registrar::engine::{Core, QueryId};
use core_registrar::keys::ClusterKeys;
use core_registrar::settings::Challenged;
use core_registrar::{engine as core_engine, settings as core_settings};
use edge_proxy::keeper::{self, Keeper};
use edge_proxy::{engine as edge_engine, settings as edge_settings};
use link::PeerId;
use location::{Answer, Query, Save};
use node::Engine as _;
use registrar::{Binding, Policy, UnixTime};
use sip::Aor;
use transaction::Timers;
use transport::token::Keys;
use transport::{Flow, Listen, Protocol};

use super::links::{Frame, Link};
use super::{DOMAIN, EPOCH, EdgeEngine, Event, Sim, parse};
use crate::oracle::{Node, Wire};

/// How many nodes there are.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    /// Edges.
    pub edges: usize,
    /// Cores.
    pub cores: usize,
    /// Whether callers of the own domain have to prove who they are.
    pub call_auth: bool,
    /// Whether phones are told to send their requests through the edge that they registered through (RFC 3608).
    pub service_route: bool,
}

impl Default for Topology {
    fn default() -> Self {
        Self { edges: 2, cores: 2, call_auth: true, service_route: false }
    }
}

pub(super) struct EdgeNode {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) engine: Option<EdgeEngine>,
    pub(super) keeper: Option<Keeper>,
    pub(super) life: u64,
}

pub(super) struct CoreNode {
    pub(super) name: String,
    pub(super) engine: Option<Core>,
    pub(super) life: u64,
    call_auth: bool,
    service_route: bool,
}

impl Sim {
    pub(super) fn build(&mut self, topology: Topology) {
        for n in 0..topology.edges {
            let octet = u8::try_from(n + 1).unwrap_or(u8::MAX);
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, octet)), 5060);
            let name = format!("edge-{}", n + 1);
            self.edges.push(EdgeNode { name, address, engine: None, keeper: None, life: 0 });
        }
        for n in 0..topology.cores {
            let name = format!("core-{}", n + 1);
            self.cores.push(CoreNode {
                name,
                engine: None,
                life: 0,
                call_auth: topology.call_auth,
                service_route: topology.service_route,
            });
        }
        for edge in 0..topology.edges {
            for core in 0..topology.cores {
                self.links.insert((edge, core), Link::default());
            }
        }
        (0..topology.edges).for_each(|edge| self.start_edge(edge));
        (0..topology.cores).for_each(|core| self.start_core(core));
        self.run(Duration::from_millis(500));
    }

    fn start_edge(&mut self, number: usize) {
        let seed = self.dice.seed();
        let Some(node) = self.edges.get_mut(number) else { return };
        let listen = |protocol| Listen { protocol, addr: node.address };
        let listeners = vec![listen(Protocol::Udp), listen(Protocol::Tcp)];
        let (name, keys) = (node.name.clone(), self.keys.clone());
        let settings = || {
            edge_settings::Settings::new(name.clone(), None, listeners.clone(), &[], Vec::new(), keys.clone())
        };
        node.engine = Some(EdgeEngine::new(settings(), Timers::default(), seed));
        node.life += 1;
        self.start_keeper(number, settings());
        (0..self.cores.len()).for_each(|core| self.connect(number, core));
    }

    fn start_core(&mut self, number: usize) {
        let (seed, now, unix) = (self.dice.seed(), self.instant(), Duration::from_secs(EPOCH) + self.now);
        let min_expires = self.min_expires;
        let Some(node) = self.cores.get_mut(number) else { return };
        let settings = core_settings::Settings {
            name: node.name.clone(),
            domains: [DOMAIN.to_owned()].into(),
            keys: ClusterKeys::random([7; 32]),
            nonce_lifetime: 300,
            algorithms: vec![sip::digest::Algorithm::Sha256, sip::digest::Algorithm::Md5],
            service_route: node.service_route,
            change_feed: true,
            challenged: if node.call_auth { Challenged::All } else { Challenged::NONE },
            policy: Policy { min_expires, ..Policy::default() },
            reg_watchers: [Aor::parse(&format!("app@{DOMAIN}")).expect("an address")].into(),
            routes: self.routes.clone(),
        };
        node.engine = Some(Core::new(settings, Timers::default(), seed, now, unix));
        node.life += 1;
        let life = node.life;
        (0..self.edges.len()).for_each(|edge| self.connect(edge, number));
        // Cores begin to look at different moments.
        let offset = Duration::from_millis(100 + 137 * (number as u64 % 7));
        self.schedule(self.now + offset, Event::Look { core: number, life });
    }

    /// A core looks for what is due, and again in a second.
    pub(super) fn core_looks(&mut self, core: usize, life: u64) {
        if self.cores.get(core).is_none_or(|node| node.life != life || node.engine.is_none()) {
            return;
        }
        self.schedule(self.now + Duration::from_secs(1), Event::Look { core, life });
        let unix = UnixTime((Duration::from_secs(EPOCH) + self.now).as_secs());
        if self.store_is_up {
            let due = self.store.due_records(unix, 100);
            if !due.is_empty() {
                self.tell_core(core, core_engine::Input::Due(due));
            }
        }
    }

    /// Where an edge is; the host of its URIs.
    pub fn edge_address(&self, edge: usize) -> SocketAddr {
        self.edges.get(edge).expect("the script knows how many edges it has").address
    }

    /// Kills an edge (-9): its transactions and streams are gone, its UDP flows wait for its return.
    pub fn kill_edge(&mut self, edge: usize) {
        let Some(node) = self.edges.get_mut(edge).filter(|node| node.engine.is_some()) else { return };
        (node.engine, node.keeper) = (None, None);
        self.log.note(self.now, format!("EP{} dies", edge + 1));
        self.oracle.broke(self.now, Some(Node::Edge(edge)));
        self.streams_die(edge);
        for core in 0..self.cores.len() {
            self.end_dies(edge, core, Node::Edge(edge));
        }
    }

    /// Starts an edge that was killed.
    pub fn restart_edge(&mut self, edge: usize) {
        if self.edges.get(edge).is_some_and(|node| node.engine.is_none()) {
            self.log.note(self.now, format!("EP{} is back", edge + 1));
            self.oracle.mended(self.now);
            self.start_edge(edge);
        }
    }

    /// An edge is given other flow keys while it runs, and so is every edge that starts later.
    pub fn change_keys(&mut self, edge: usize, keys: &Keys) {
        self.log.note(self.now, format!("EP{} has new keys", edge + 1));
        self.keys = keys.clone();
        let boxed = || Box::new(keys.clone());
        self.tell_both(edge, edge_engine::Input::Keys(boxed()), keeper::Input::Keys(boxed()));
    }

    /// Kills a core (-9): its transactions and questions are gone.
    pub fn kill_core(&mut self, core: usize) {
        let Some(node) = self.cores.get_mut(core).filter(|node| node.engine.is_some()) else { return };
        node.engine = None;
        self.log.note(self.now, format!("core{} dies", core + 1));
        self.oracle.broke(self.now, Some(Node::Core(core)));
        for edge in 0..self.edges.len() {
            self.end_dies(edge, core, Node::Core(core));
        }
    }

    /// Starts a core that was killed.
    pub fn restart_core(&mut self, core: usize) {
        if self.cores.get(core).is_some_and(|node| node.engine.is_none()) {
            self.log.note(self.now, format!("core{} is back", core + 1));
            self.oracle.mended(self.now);
            self.start_core(core);
        }
    }

    /// The core that has the transactions of a call.
    pub fn home_of(&self, call_id: &str) -> usize {
        let live = self.cores.iter().zip(0_u32..).filter(|(node, _)| node.engine.is_some());
        let candidates = live.map(|(node, n)| link::choose::Candidate {
            peer: PeerId(n),
            name: link::choose::hash(node.name.as_bytes()),
            weight: 1,
        });
        let home = link::choose::peer(call_id.as_bytes(), candidates).expect("a core is alive");
        usize::try_from(home.0).expect("made from an index")
    }

    /// The whole store is away: every question is answered so.
    pub fn store_down(&mut self) {
        if std::mem::replace(&mut self.store_is_up, false) {
            self.log.note(self.now, "the store is away".to_owned());
            self.oracle.broke(self.now, None);
        }
    }

    /// The store does what it is asked and often does not say so.
    pub fn store_flaky(&mut self) {
        if !std::mem::replace(&mut self.store_is_flaky, true) {
            self.log.note(self.now, "the store forgets to answer".to_owned());
            self.oracle.broke(self.now, None);
        }
    }

    /// A core takes no new work from now on and ends in five seconds.
    pub fn retire_core(&mut self, core: usize) {
        self.log.note(self.now, format!("core{} drains", core + 1));
        for edge in 0..self.edges.len() {
            if self.links.get(&(edge, core)).is_some_and(Link::is_up_at_edge) {
                self.tell_edge(edge, edge_engine::Input::CoreDrains(peer(core)));
            }
        }
        let life = self.cores.get(core).map_or(0, |node| node.life);
        self.after(Duration::from_secs(5), move |sim| {
            if sim.cores.get(core).is_some_and(|node| node.life == life) {
                sim.kill_core(core);
            }
        });
    }

    /// The store is back.
    pub fn store_up(&mut self) {
        if !self.store_is_up || self.store_is_flaky {
            self.log.note(self.now, "the store is back".to_owned());
            for was_broken in
                [!std::mem::replace(&mut self.store_is_up, true), std::mem::take(&mut self.store_is_flaky)]
            {
                if was_broken {
                    self.oracle.mended(self.now);
                }
            }
        }
    }

    /// Everything that is broken works again.
    pub(super) fn mend(&mut self) {
        (0..self.edges.len()).for_each(|edge| self.restart_edge(edge));
        (0..self.cores.len()).for_each(|core| self.restart_core(core));
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|(edge, core)| self.heal_link(edge, core));
        self.store_up();
    }

    pub(super) fn edge_receives(&mut self, edge: usize, wire: &Wire, flow: Flow) {
        if self.edges.get(edge).is_none_or(|node| node.engine.is_none()) || !self.is_open(&flow) {
            return;
        }
        self.oracle.arrived(self.now, wire);
        if self.is_pong(edge, flow, &wire.bytes) {
            return;
        }
        self.tell_edge(edge, edge_engine::Input::FromUa { flow, message: parse(&wire.bytes) });
    }

    /// Feeds an edge and does what it wants done.
    pub(super) fn tell_edge(&mut self, edge: usize, input: edge_engine::Input) {
        let now = self.instant();
        let Some(engine) = self.edges.get_mut(edge).and_then(|node| node.engine.as_mut()) else { return };
        engine.handle(input, now);
        self.drain_edge(edge);
    }

    pub(super) fn time_edge(&mut self, edge: usize) {
        let now = self.instant();
        let Some(engine) = self.edges.get_mut(edge).and_then(|node| node.engine.as_mut()) else { return };
        if engine.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        let was_idle = engine.is_idle();
        engine.handle_timeout(now);
        let is_late = engine.poll_timeout().is_some_and(|due| due <= now);
        let spoke = self.drain_edge(edge);
        if is_late || (was_idle && spoke) {
            self.fail(&format!(
                "EP{}: a deadline in the past, or a message after the last transaction",
                edge + 1
            ));
        }
    }

    fn drain_edge(&mut self, edge: usize) -> bool {
        let mut outputs = Vec::new();
        if let Some(engine) = self.edges.get_mut(edge).and_then(|node| node.engine.as_mut()) {
            while let Some(output) = engine.poll_output() {
                outputs.push(output);
            }
        }
        let spoke = !outputs.is_empty();
        for output in outputs {
            match output {
                edge_engine::Output::ToUa { flow, bytes } => self.edge_sends(edge, flow, bytes),
                edge_engine::Output::ToCore { core, lane, bytes, source } => {
                    let core = index(core);
                    let wire = Wire::new(Node::Edge(edge), Node::Core(core), bytes);
                    self.send_frame(Frame { edge, core, number: 0, upwards: true, lane, wire, source });
                }
                edge_engine::Output::Registered(it) => {
                    self.tell_keeper(edge, keeper::Input::Registered(it));
                }
                edge_engine::Output::Egress(ask) => self.edge_asks(edge, ask),
                edge_engine::Output::Silent(flow) => self.tell_keeper(edge, keeper::Input::Silent(flow)),
                edge_engine::Output::Heard(flow) => self.tell_keeper(edge, keeper::Input::Heard(flow)),
                edge_engine::Output::NextHops(_) | edge_engine::Output::Report(_) => {}
            }
        }
        spoke
    }

    pub(super) fn tell_core(&mut self, core: usize, input: core_engine::Input) {
        let now = self.instant();
        let Some(engine) = self.cores.get_mut(core).and_then(|node| node.engine.as_mut()) else { return };
        engine.handle(input, now);
        self.drain_core(core);
    }

    pub(super) fn time_core(&mut self, core: usize) {
        let now = self.instant();
        let Some(engine) = self.cores.get_mut(core).and_then(|node| node.engine.as_mut()) else { return };
        if engine.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        let was_idle = engine.is_idle();
        engine.handle_timeout(now);
        let is_late = engine.poll_timeout().is_some_and(|due| due <= now);
        let spoke = self.drain_core(core);
        if is_late || (was_idle && spoke) {
            self.fail(&format!(
                "core{}: a deadline in the past, or a message after the last transaction",
                core + 1
            ));
        }
    }

    fn drain_core(&mut self, core: usize) -> bool {
        let mut outputs = Vec::new();
        if let Some(engine) = self.cores.get_mut(core).and_then(|node| node.engine.as_mut()) {
            while let Some(output) = engine.poll_output() {
                outputs.push(output);
            }
        }
        let spoke = !outputs.is_empty();
        for output in outputs {
            match output {
                core_engine::Output::ToEdge { edge, lane, bytes } => {
                    let edge = index(edge);
                    let wire = Wire::new(Node::Core(core), Node::Edge(edge), bytes);
                    self.send_frame(Frame {
                        edge,
                        core,
                        number: 0,
                        upwards: false,
                        lane,
                        wire,
                        source: None,
                    });
                }
                core_engine::Output::Ask(id, query) => self.ask_store(core, id, query),
                core_engine::Output::Notify(notify) => {
                    self.tell_core(core, core_engine::Input::Notify(notify));
                }
                core_engine::Output::Report(_) | core_engine::Output::Why(..) => {}
            }
        }
        spoke
    }

    fn ask_store(&mut self, core: usize, id: QueryId, query: Query) {
        let life = self.cores.get(core).map_or(0, |node| node.life);
        let at = self.now + self.net.store();
        self.schedule(at, Event::StoreRuns { core, life, id, query });
    }

    pub(super) fn store_runs(&mut self, core: usize, life: u64, id: QueryId, query: Query) {
        let answer = if self.store_is_up {
            let bindings: Vec<_> = match &query {
                Query::Save(save) => {
                    save.record.bindings.iter().map(|b| (b.contact.clone(), b.path.clone())).collect()
                }
                Query::Load { .. } | Query::Lookup { .. } | Query::Credentials(_) => Vec::new(),
            };
            let step = match &query {
                Query::Save(save) => Some((self.store.record(&save.aor).bindings, save.clone())),
                Query::Load { .. } | Query::Lookup { .. } | Query::Credentials(_) => None,
            };
            let answer = self.store.answer(query);
            if let (Answer::Saved { .. }, Some((before, save))) = (&answer, step) {
                self.oracle.stored(bindings);
                if !leads_to(before, &save) {
                    self.fail(&format!(
                        "core{}: a copy that follows the changes is another one: {save:?}",
                        core + 1
                    ));
                }
            }
            if self.store_is_flaky && self.dice.chance(300) {
                // Done or not, nobody says so.
                Answer::Unavailable
            } else {
                answer
            }
        } else {
            Answer::Unavailable
        };
        let at = self.now + self.net.store();
        self.schedule(at, Event::StoreAnswers { core, life, id, answer });
    }

    pub(super) fn edge_not_sent(&mut self, edge: usize, life: u64, bytes: Bytes) {
        if self.edges.get(edge).is_some_and(|node| node.life == life) {
            self.tell_edge(edge, edge_engine::Input::NotSent(bytes));
        }
    }

    pub(super) fn core_not_sent(&mut self, core: usize, life: u64, bytes: Bytes) {
        if self.cores.get(core).is_some_and(|node| node.life == life) {
            self.tell_core(core, core_engine::Input::NotSent(bytes));
        }
    }

    pub(super) fn store_answers(&mut self, core: usize, life: u64, id: QueryId, answer: Answer) {
        if self.cores.get(core).is_some_and(|node| node.life == life) {
            self.tell_core(core, core_engine::Input::Answer(id, answer));
        }
    }

    pub(super) fn edge_sends(&mut self, edge: usize, flow: Flow, bytes: Bytes) {
        let Some((phone, line)) = self.line_of(edge, &flow) else {
            if self.is_nowhere(&flow) {
                return;
            }
            self.fail(&format!("EP{} sends to nobody on {flow:?}", edge + 1));
        };
        let wire = Wire::new(Node::Edge(edge), Node::Ua(phone), bytes);
        if self.is_open(&flow) {
            self.transmit(&wire, Some((phone, line)), flow);
        } else {
            self.oracle.sent(self.now, &wire);
            self.log.message(self.now, &wire, &[]);
        }
    }
}

pub(super) fn peer(node: usize) -> PeerId {
    PeerId(u32::try_from(node).expect("a simulation has few nodes"))
}

pub(super) fn index(peer: PeerId) -> usize {
    usize::try_from(peer.0).expect("made from an index")
}

/// Whether whoever has a copy of a record, and is told the changes of a save, has what was saved.
fn leads_to(mut copy: Vec<Binding>, save: &Save) -> bool {
    for change in &save.changes {
        copy.retain(|binding| binding.key() != change.binding.key());
        if change.event.is_bound() {
            copy.push(change.binding.clone());
        }
    }
    let mut saved = save.record.bindings.clone();
    copy.sort_by_key(Binding::key);
    saved.sort_by_key(Binding::key);
    copy == saved
}
