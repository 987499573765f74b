//! The keepers of flows in a simulation: what they ping, and what edges and cores tell each other of flows.

use std::time::Duration;

use bytes::Bytes;
use core_registrar::engine as core_engine;
use core_registrar::snapshot;
use edge_proxy::engine as edge_engine;
use edge_proxy::keeper::{self, Keeper, Pings};
use edge_proxy::ping::NatPing;
use node::Engine as _;
use proto::frame::Kind;
use registrar::UnixTime;
use sip::Aor;
use transport::Flow;

use super::cluster::{index, peer};
use super::{EPOCH, Event, Sim};
use crate::net::Channel;

/// A frame on a link that is no SIP message.
pub(super) struct Notice {
    edge: usize,
    core: usize,
    /// Of the link that it was sent on.
    number: u64,
    upwards: bool,
    kind: Kind,
}

/// Addresses in a portion of flows: few, so that there are several.
const PORTION: u32 = 2;
/// A frame on a link that is cut waits for what becomes of it.
const AGAIN: Duration = Duration::from_millis(100);

impl Sim {
    /// From the next start of an edge on, flows over UDP are pinged with OPTIONS every 25 seconds; three unanswered ones are a
    /// lost flow.
    pub fn ping_flows(&mut self) {
        self.pings.mode = NatPing::Options;
    }

    /// Two edges, two cores and fair weather, with pings.
    pub fn pinging(seed: u64) -> Self {
        let mut sim = Self::new(seed);
        sim.ping_flows();
        for edge in 0..sim.edges.len() {
            sim.kill_edge(edge);
        }
        sim.run(Duration::from_secs(2));
        for edge in 0..sim.edges.len() {
            sim.restart_edge(edge);
        }
        sim.run(Duration::from_secs(2));
        sim
    }

    /// What the keeper of an edge has counted.
    pub fn kept(&self, edge: usize) -> keeper::Counters {
        let keeper = self.edges.get(edge).and_then(|node| node.keeper.as_ref());
        keeper.map(Keeper::counters).unwrap_or_default()
    }

    /// What the cores have counted, added up by `read`.
    pub fn cores_counted(&self, read: impl Fn(&core_registrar::counters::Counters) -> u64) -> u64 {
        self.cores.iter().filter_map(|node| node.engine.as_ref()).map(|engine| read(&engine.counters())).sum()
    }

    pub(super) fn tell_keeper(&mut self, edge: usize, input: keeper::Input) {
        let now = self.instant();
        let Some(keeper) = self.edges.get_mut(edge).and_then(|node| node.keeper.as_mut()) else { return };
        keeper.handle(input, now);
        self.drain_keeper(edge);
    }

    pub(super) fn time_keeper(&mut self, edge: usize) {
        let now = self.instant();
        let Some(keeper) = self.edges.get_mut(edge).and_then(|node| node.keeper.as_mut()) else { return };
        if keeper.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        keeper.handle_timeout(now);
        let is_late = keeper.poll_timeout().is_some_and(|due| due <= now);
        self.drain_keeper(edge);
        if is_late {
            self.fail(&format!("the keeper of EP{} has a deadline in the past", edge + 1));
        }
    }

    fn drain_keeper(&mut self, edge: usize) {
        let mut outputs = Vec::new();
        if let Some(keeper) = self.edges.get_mut(edge).and_then(|node| node.keeper.as_mut()) {
            outputs.extend(std::iter::from_fn(|| keeper.poll_output()));
        }
        for output in outputs {
            match output {
                // Line ends are no message; nobody here answers them.
                keeper::Output::Ping { flow, bytes } if bytes.starts_with(b"OPTIONS") => {
                    self.edge_sends(edge, flow, bytes);
                }
                keeper::Output::Lost(flow) => self.tell_edge(edge, edge_engine::Input::FlowSilent(flow)),
                keeper::Output::Back(flow) => self.tell_edge(edge, edge_engine::Input::FlowBack(flow)),
                keeper::Output::ToCore(core, kind) => self.notice(edge, index(core), true, kind),
                keeper::Output::Ping { .. } | keeper::Output::Supervise(_) | keeper::Output::Report(_) => {}
            }
        }
    }

    /// An answer to a ping is the keeper's; true when it was one.
    pub(super) fn is_pong(&mut self, edge: usize, flow: Flow, bytes: &Bytes) -> bool {
        let epoch = self.epoch(edge);
        let Some(ping) = transport::pong::answered(bytes, epoch) else { return false };
        self.tell_keeper(edge, keeper::Input::Answered { flow, ping });
        true
    }

    /// Tells this start of an edge from the others, and from those of other edges.
    pub(super) fn epoch(&self, edge: usize) -> u32 {
        let life = self.edges.get(edge).map_or(0, |node| node.life);
        u32::try_from(life << 8 | edge as u64).expect("an edge starts seldom")
    }

    fn notice(&mut self, edge: usize, core: usize, upwards: bool, kind: Kind) {
        let Some(link) = self.links.get(&(edge, core)) else { return };
        let is_up = if upwards { link.edge_up } else { link.core_up };
        if !is_up {
            return;
        }
        let number = link.number;
        // A stream of its own beside the lanes.
        let channel = Channel::Lane(edge, core, u64::MAX, upwards, number);
        let at = self.net.ordered(channel, self.now);
        self.schedule(at, Event::Notice(Notice { edge, core, number, upwards, kind }));
    }

    pub(super) fn notice_arrives(&mut self, notice: Notice) {
        let Some(link) = self.links.get(&(notice.edge, notice.core)) else { return };
        let is_up = if notice.upwards { link.core_up } else { link.edge_up };
        if notice.number != link.number || !is_up {
            return;
        }
        if link.is_cut {
            return self.schedule(self.now + AGAIN, Event::Notice(notice));
        }
        let Notice { edge, core, kind, .. } = notice;
        match kind {
            Kind::FlowDown(down) => {
                let tokens = [&[down.token][..], &down.more].concat();
                self.log.note(self.now, format!("EP{} has lost {} flows", edge + 1, tokens.len()));
                self.tell_core(core, core_engine::Input::FlowsDown { edge: peer(edge), tokens });
            }
            Kind::FlowUp(up) => self.tell_core(core, core_engine::Input::FlowsUp(up.tokens)),
            Kind::FlowsOf(question) if self.store_is_up => {
                let now = UnixTime(EPOCH + self.now.as_secs());
                let after = Aor::parse(&question.after).ok();
                let page = self.store.flows(&question.edge, now, after.as_ref(), PORTION);
                let flows = snapshot::portion(question.request, page, now);
                self.notice(edge, core, false, Kind::Flows(flows));
            }
            Kind::Flows(flows) => self.tell_keeper(edge, keeper::Input::Flows(peer(core), flows)),
            _ => {}
        }
    }

    /// An edge starts with its keeper.
    pub(super) fn start_keeper(&mut self, edge: usize, settings: edge_proxy::settings::Settings) {
        let (seed, now, epoch, pings) = (self.dice.seed(), self.instant(), self.epoch(edge), self.pings);
        if let Some(node) = self.edges.get_mut(edge) {
            node.keeper = Some(Keeper::new(settings, pings, epoch, seed, now));
        }
    }

    /// What an edge and its keeper hear both.
    pub(super) fn tell_both(&mut self, edge: usize, input: edge_engine::Input, kept: keeper::Input) {
        self.tell_edge(edge, input);
        self.tell_keeper(edge, kept);
    }
}

/// No pings, as most simulations want it.
pub(super) fn no_pings() -> Pings {
    Pings { mode: NatPing::Off, interval: Duration::from_secs(25), lost: 3 }
}
