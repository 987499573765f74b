//! The servers behind the next hops: who lives, and who is asked first. RFC 3263 §4.2, §4.3.
//!
//! Requests are spread by the Call-ID over all that live, so that a dialog and a challenge stay with one of them. Where the DNS
//! puts one server of a name before another (SRV), that order stands: the name counts once, by its first living server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use link::PeerId;
use link::choose::{self, Candidate};
use sip::{Host, Uri};
use transaction::ClientId;
use transport::resolve::Target;
use transport::{Flow, Protocol};

use super::NextHop;

/// The least time between two questions to a server.
const GAP: Duration = Duration::from_millis(500);
/// How long a server that was found silent is tried all the same when nobody else lives: it may only have paused.
const DOUBT: Duration = Duration::from_secs(10);
/// Such servers that one request tries: its sender waits for all of them.
const MOST_DOUBTFUL: usize = 2;

/// All next hops of an edge, as one shard knows them.
#[derive(Debug, Default)]
pub(crate) struct NextHops {
    pub(super) groups: Vec<Group>,
    /// What requests are spread over: renewed when somebody comes or goes.
    units: Vec<Unit>,
    /// Flows whose phones do not answer pings any more.
    lost: BTreeSet<Flow>,
    /// Call-ID and number of the last OPTIONS.
    pub(super) call_id: String,
    pub(super) number: u32,
    /// How many live, as the driver was told.
    pub(super) told: Option<usize>,
}

/// One element of `EDGE_CORES`.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) next_hop: NextHop,
    /// Decides among servers of one priority, as long as the process lives.
    pub(super) seed: u64,
    /// When the DNS is asked; `None` while it is being asked.
    pub(super) resolve_at: Option<Instant>,
    pub(super) servers: Vec<Server>,
}

/// One place where requests can go to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) target: Target,
    pub(super) is_alive: bool,
    /// When it was found silent or out of reach, after it had lived.
    pub(super) silent_since: Option<Instant>,
    /// The flow to it, while it is open.
    pub(super) flow: Option<Flow>,
    /// The OPTIONS that waits for an answer.
    pub(super) ping: Option<ClientId>,
    /// When it was asked last.
    pub(super) asked: Option<Instant>,
    /// When it is asked, or given up if a ping waits; `None` while it is being reached.
    pub(super) due: Option<Instant>,
}

/// What one Call-ID in so many goes to.
#[derive(Debug)]
struct Unit {
    name: u64,
    servers: Vec<Target>,
}

impl NextHops {
    pub(crate) fn new(next_hops: &[NextHop]) -> Self {
        let group = |next_hop: &NextHop| Group {
            next_hop: next_hop.clone(),
            seed: 0,
            resolve_at: None,
            servers: Vec::new(),
        };
        Self { groups: next_hops.iter().map(group).collect(), ..Self::default() }
    }

    /// True when there are cores instead.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        self.groups.iter().flat_map(|group| &group.servers)
    }

    pub(super) fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        self.groups.iter_mut().flat_map(|group| &mut group.servers)
    }

    /// True for the address of one of them.
    pub(crate) fn is_from(&self, ip: IpAddr) -> bool {
        self.servers().any(|server| server.target.address.ip() == ip)
    }

    /// True when one of them is at the other end, and nobody else can be.
    pub(crate) fn is_at(&self, flow: &Flow) -> bool {
        self.servers().any(|server| {
            server.flow.as_ref() == Some(flow)
                || flow.protocol == Protocol::Udp && server.target.address == flow.remote
        })
    }

    /// The open flow to a server.
    pub(crate) fn flow_to(&self, target: &Target) -> Option<Flow> {
        self.servers().find(|server| server.target == *target)?.flow
    }

    /// How many live.
    pub(crate) fn living(&self) -> usize {
        self.servers().filter(|server| server.is_alive).count()
    }

    /// Those that live, in the order in which a Call-ID tries them.
    pub(crate) fn ranked(&self, call_id: &[u8]) -> Vec<Target> {
        let candidates = self.units.iter().zip(0..);
        let candidates =
            candidates.map(|(unit, place)| Candidate { peer: PeerId(place), name: unit.name, weight: 1 });
        let places = choose::ranked(call_id, candidates);
        let unit = |place: PeerId| self.units.get(usize::try_from(place.0).ok()?);
        places.into_iter().filter_map(unit).flat_map(|unit| unit.servers.iter().cloned()).collect()
    }

    /// Those that lived a moment ago, in the order in which a Call-ID tries them.
    pub(super) fn doubtful(&self, call_id: &[u8], now: Instant) -> Vec<Target> {
        let lately = |server: &&Server| server.silent_since.is_some_and(|since| now < since + DOUBT);
        let targets: Vec<&Target> = self.servers().filter(lately).map(|server| &server.target).collect();
        let candidates = targets.iter().zip(0..);
        let candidates = candidates.map(|(target, place)| Candidate {
            peer: PeerId(place),
            name: name_of(target),
            weight: 1,
        });
        let places = choose::ranked(call_id, candidates);
        let target = |place: PeerId| targets.get(usize::try_from(place.0).ok()?);
        places.into_iter().filter_map(target).map(|target| (*target).clone()).take(MOST_DOUBTFUL).collect()
    }

    /// Those that a URI leads to, the living first.
    pub(super) fn named(&self, uri: &Uri<'_>) -> Vec<Target> {
        let named = |server: &&Server| is_named(&server.target, uri);
        let living = self.servers().filter(|server| server.is_alive).filter(named);
        let others = self.servers().filter(|server| !server.is_alive).filter(named);
        living.chain(others).map(|server| server.target.clone()).collect()
    }

    /// Somebody has come or gone.
    pub(super) fn renew(&mut self) {
        self.units.clear();
        for group in &self.groups {
            let living =
                group.servers.iter().filter(|server| server.is_alive).map(|server| server.target.clone());
            if group.next_hop.is_level() {
                let units = living.map(|target| Unit { name: name_of(&target), servers: vec![target] });
                self.units.extend(units);
            } else {
                let servers: Vec<Target> = living.collect();
                let name = choose::hash(group.next_hop.to_string().as_bytes());
                if !servers.is_empty() {
                    self.units.push(Unit { name, servers });
                }
            }
        }
    }

    /// When somebody has to be asked.
    pub(crate) fn next(&self) -> Option<Instant> {
        let lookups = self.groups.iter().filter_map(|group| group.resolve_at);
        lookups.chain(self.servers().filter_map(|server| server.due)).min()
    }

    /// A stream has ended: if one of them was at its other end, it is asked whether it is still there.
    pub(crate) fn on_flow_down(&mut self, flow: &Flow, now: Instant) {
        if !self.is_empty() {
            self.lost.remove(flow);
        }
        for server in self.servers_mut().filter(|server| server.flow.as_ref() == Some(flow)) {
            server.flow = None;
            if server.ping.is_none() && server.due.is_some() {
                server.due = Some(now);
            }
        }
    }

    /// A request to that server has failed: it is asked soon. One that refuses all that it gets is not asked for each of them.
    pub(crate) fn suspect(&mut self, target: &Target, now: Instant) {
        for server in self.servers_mut().filter(|server| server.target == *target) {
            if server.ping.is_none()
                && let Some(due) = server.due
            {
                let soonest = server.asked.map_or(now, |asked| now.max(asked + GAP));
                server.due = Some(due.min(soonest));
            }
        }
    }

    /// The phone on a flow does not answer pings. With cores it is they who know.
    pub(crate) fn lose(&mut self, flow: Flow) {
        if !self.is_empty() {
            self.lost.insert(flow);
        }
    }

    /// There is life on a flow; true if that is news.
    pub(crate) fn find(&mut self, flow: &Flow) -> bool {
        !self.lost.is_empty() && self.lost.remove(flow)
    }

    pub(crate) fn is_lost(&self, flow: &Flow) -> bool {
        self.lost.contains(flow)
    }
}

/// The same on every edge, so that a Call-ID goes to the same server from all of them.
fn name_of(target: &Target) -> u64 {
    choose::hash(format!("{}:{}", target.protocol, target.address).as_bytes())
}

/// True when a URI leads to that server.
fn is_named(target: &Target, uri: &Uri<'_>) -> bool {
    let port = match uri.port {
        Some(port) => Some(port),
        None => match uri.host {
            Host::Name(_) => None,
            Host::V4(_) | Host::V6(_) => Some(if target.protocol == Protocol::Tls { 5061 } else { 5060 }),
        },
    };
    let is_host = match uri.host {
        Host::Name(name) => name.eq_ignore_ascii_case(&target.domain),
        Host::V4(ip) => target.address.ip() == IpAddr::V4(ip),
        Host::V6(ip) => target.address.ip() == IpAddr::V6(ip),
    };
    is_host && port.is_none_or(|port| port == target.address.port())
}

impl Server {
    /// It does not answer, or cannot be reached. Gives whether that is news.
    pub(super) fn fall_silent(&mut self, now: Instant) -> bool {
        let is_news = std::mem::take(&mut self.is_alive);
        if is_news {
            self.silent_since = Some(now);
        }
        is_news
    }

    pub(super) fn new(target: Target, now: Instant) -> Self {
        let due = Some(now);
        Self { target, is_alive: false, silent_since: None, flow: None, ping: None, asked: None, due }
    }
}
