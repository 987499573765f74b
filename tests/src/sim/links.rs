//! The links of a simulation: what the real one promises.
//!
//! For each peer `Up`, then frames in order per lane, then `Down`. What was on its way to a node when that died is lost,
//! and so is everything sent until the loss is noticed. A node that comes back is known at once: `Down` comes before the
//! new `Up`.

use core_registrar::engine as core_engine;
use edge_proxy::{engine as edge_engine, keeper};
use transport::Flow;

use super::cluster::peer;
use super::{Event, Sim, parse};
use crate::net::Channel;
use crate::oracle::{Node, Wire};

/// The link between one edge and one core.
#[derive(Default)]
pub(super) struct Link {
    /// Whether the edge believes in it.
    pub(super) edge_up: bool,
    pub(super) core_up: bool,
    /// Of the connection that stands, and of the last one that was begun.
    pub(super) number: u64,
    pub(super) last: u64,
    /// Changes when a pending notice of loss has become void.
    pub(super) watch: u64,
    pub(super) is_cut: bool,
    /// Sent while it is cut: arrives if it heals before anybody has noticed.
    pub(super) parked: Vec<Frame>,
}

impl Link {
    /// Whether the edge can send.
    pub(super) fn is_up_at_edge(&self) -> bool {
        self.edge_up
    }
}

/// A SIP message on a link.
pub(super) struct Frame {
    pub(super) edge: usize,
    pub(super) core: usize,
    pub(super) number: u64,
    pub(super) upwards: bool,
    pub(super) lane: u64,
    pub(super) wire: Wire,
    pub(super) source: Option<Flow>,
}

impl Sim {
    /// Cuts a link: nothing passes, and both ends notice in their time.
    pub fn cut_link(&mut self, edge: usize, core: usize) {
        let (at_edge, at_core) = (self.now + self.net.detection(), self.now + self.net.detection());
        let Some(link) = self.links.get_mut(&(edge, core)).filter(|link| !link.is_cut) else { return };
        link.is_cut = true;
        let watch = link.watch;
        self.log.note(self.now, format!("the link EP{} – core{} is cut", edge + 1, core + 1));
        self.oracle.broke(self.now, Some(Node::Core(core)));
        self.schedule(at_edge, Event::LostAtEdge { edge, core, watch });
        self.schedule(at_core, Event::LostAtCore { edge, core, watch });
    }

    /// Heals a link: what was sent meanwhile arrives unless an end has given up.
    pub fn heal_link(&mut self, edge: usize, core: usize) {
        let Some(link) = self.links.get_mut(&(edge, core)).filter(|link| link.is_cut) else { return };
        link.is_cut = false;
        let parked = std::mem::take(&mut link.parked);
        self.log.note(self.now, format!("the link EP{} – core{} is healed", edge + 1, core + 1));
        self.oracle.mended(self.now);
        if link.edge_up && link.core_up {
            link.watch += 1;
            for frame in parked {
                self.schedule(self.now, Event::Frame(frame));
            }
        } else {
            self.connect(edge, core);
        }
    }

    /// One end of a link has died; the other notices in its time.
    pub(super) fn end_dies(&mut self, edge: usize, core: usize, dead: Node) {
        let at = self.now + self.net.detection();
        let Some(link) = self.links.get_mut(&(edge, core)) else { return };
        let watch = link.watch;
        if matches!(dead, Node::Edge(_)) {
            link.edge_up = false;
            self.schedule(at, Event::LostAtCore { edge, core, watch });
        } else {
            link.core_up = false;
            self.schedule(at, Event::LostAtEdge { edge, core, watch });
        }
    }

    /// The edge dials.
    pub(super) fn connect(&mut self, edge: usize, core: usize) {
        let at = self.now + self.net.connection();
        let Some(link) = self.links.get_mut(&(edge, core)) else { return };
        link.last += 1;
        let number = link.last;
        self.schedule(at, Event::LinkUp { edge, core, number });
    }

    pub(super) fn link_up(&mut self, edge: usize, core: usize, number: u64) {
        let (Some(edge_node), Some(core_node)) = (self.edges.get(edge), self.cores.get(core)) else { return };
        let Some(link) = self.links.get(&(edge, core)) else { return };
        let alive = edge_node.engine.is_some() && core_node.engine.is_some();
        if !alive || link.is_cut || link.last != number {
            return;
        }
        let (edge_up, core_up) = (link.edge_up, link.core_up);
        let (name, edge_name) = (core_node.name.clone(), edge_node.name.clone());
        let advertised = vec![edge_node.address.to_string(), edge_node.address.ip().to_string()];
        if edge_up {
            let input = edge_engine::Input::CoreDown(peer(core));
            self.tell_both(edge, input, keeper::Input::CoreDown(peer(core)));
        }
        if core_up {
            self.tell_core(core, core_engine::Input::EdgeDown(peer(edge)));
        }
        if let Some(link) = self.links.get_mut(&(edge, core)) {
            (link.edge_up, link.core_up, link.number) = (true, true, number);
            link.watch += 1;
        }
        self.tell_core(core, core_engine::Input::EdgeUp { edge: peer(edge), name: edge_name, advertised });
        let input = edge_engine::Input::CoreUp { core: peer(core), name, weight: 1 };
        self.tell_both(edge, input, keeper::Input::CoreUp(peer(core)));
    }

    pub(super) fn lost_at_edge(&mut self, edge: usize, core: usize, watch: u64) {
        let Some(link) = self.links.get_mut(&(edge, core)) else { return };
        if link.watch == watch && link.edge_up {
            link.edge_up = false;
            self.log.note(self.now, format!("EP{} notices that core{} is lost", edge + 1, core + 1));
            let input = edge_engine::Input::CoreDown(peer(core));
            self.tell_both(edge, input, keeper::Input::CoreDown(peer(core)));
        }
    }

    pub(super) fn lost_at_core(&mut self, edge: usize, core: usize, watch: u64) {
        let Some(link) = self.links.get_mut(&(edge, core)) else { return };
        if link.watch == watch && link.core_up {
            link.core_up = false;
            self.log.note(self.now, format!("core{} notices that EP{} is lost", core + 1, edge + 1));
            self.tell_core(core, core_engine::Input::EdgeDown(peer(edge)));
        }
    }

    pub(super) fn send_frame(&mut self, mut frame: Frame) {
        let Some(link) = self.links.get(&(frame.edge, frame.core)) else { return };
        let is_up = if frame.upwards { link.edge_up } else { link.core_up };
        frame.number = link.number;
        if !is_up {
            // The sender's link refuses it: the loss has been told already.
            self.log.message(self.now, &frame.wire, &[]);
            return;
        }
        if self.net.refuses() {
            return self.refuse(&frame);
        }
        self.oracle.sent(self.now, &frame.wire);
        let channel = Channel::Lane(
            frame.edge,
            frame.core,
            frame.lane % (link::LANES as u64),
            frame.upwards,
            frame.number,
        );
        let at = self.net.ordered(channel, self.now);
        self.log.message(self.now, &frame.wire, &[at]);
        self.schedule(at, Event::Frame(frame));
    }

    /// The queue is full: the sender hears of it, for nobody repeats anything on a link.
    fn refuse(&mut self, frame: &Frame) {
        self.log.note(self.now, "a link is full".to_owned());
        self.log.message(self.now, &frame.wire, &[]);
        self.oracle.broke(self.now, None);
        self.oracle.mended(self.now);
        let bytes = frame.wire.bytes.clone();
        let event = if frame.upwards {
            let life = self.edges.get(frame.edge).map_or(0, |node| node.life);
            Event::EdgeNotSent { edge: frame.edge, life, bytes }
        } else {
            let life = self.cores.get(frame.core).map_or(0, |node| node.life);
            Event::CoreNotSent { core: frame.core, life, bytes }
        };
        self.schedule(self.now, event);
    }

    pub(super) fn frame_arrives(&mut self, frame: Frame) {
        let Some(link) = self.links.get_mut(&(frame.edge, frame.core)) else { return };
        let is_up = if frame.upwards { link.core_up } else { link.edge_up };
        if frame.number != link.number || !is_up {
            return;
        }
        if link.is_cut {
            return link.parked.push(frame);
        }
        self.oracle.arrived(self.now, &frame.wire);
        let message = parse(&frame.wire.bytes);
        if frame.upwards {
            let source =
                frame.source.map(|flow| format!("{}:{}", flow.protocol, flow.remote)).unwrap_or_default();
            let local =
                frame.source.map(|flow| format!("{}:{}", flow.protocol, flow.local)).unwrap_or_default();
            self.tell_core(
                frame.core,
                core_engine::Input::FromEdge { edge: peer(frame.edge), message, source, local },
            );
        } else {
            self.tell_edge(frame.edge, edge_engine::Input::FromCore { core: peer(frame.core), message });
        }
    }
}
