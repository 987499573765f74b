//! The world outside of a simulated cluster: its DNS, and the way to its phones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use edge_proxy::egress::{Answer, Ask};
use edge_proxy::engine::Input;
use transport::resolve::{
    self, Families, Kind, Lookup, Question, Record, Srv, Step, Target, Unresolved, Walk,
};
use transport::{Flow, Protocol};

use super::{Event, Sim};

/// What the simulated DNS says, and how long it takes.
#[derive(Debug)]
pub struct Dns {
    records: BTreeMap<Lookup, Vec<Record>>,
    failing: BTreeSet<Lookup>,
    /// Time that one resolution takes.
    pub delay: Duration,
    /// How many URIs were looked up.
    pub asked: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            failing: BTreeSet::new(),
            delay: Duration::from_millis(20),
            asked: 0,
        }
    }
}

impl Dns {
    /// One more address of a host.
    pub fn address(&mut self, name: &str, address: SocketAddr) {
        self.add(name, Kind::A, Record::Address(address.ip()));
    }

    /// One more server of a service, as `_sip._udp.example.net`.
    pub fn server(&mut self, service: &str, priority: u16, port: u16, target: &str) {
        let srv = Srv { priority, weight: 0, port, target: target.to_owned() };
        self.add(service, Kind::Srv, Record::Srv(srv));
    }

    /// Nothing is heard of the records of a service.
    pub fn fail(&mut self, service: &str) {
        self.failing.insert(Lookup { name: service.to_owned(), kind: Kind::Srv });
    }

    fn add(&mut self, name: &str, kind: Kind, record: Record) {
        self.records.entry(Lookup { name: name.to_owned(), kind }).or_default().push(record);
    }

    fn resolve(&mut self, question: Question, seed: u64) -> Result<Vec<Target>, Unresolved> {
        self.asked += 1;
        let (mut walk, mut step) = Walk::new(question, Families { v4: true, v6: false }, seed);
        loop {
            match step {
                Step::Done(found) => return found,
                Step::Ask(lookups) => {
                    let answers: Vec<_> = lookups.iter().map(|lookup| self.look_up(lookup)).collect();
                    step = walk.answer(&answers);
                }
            }
        }
    }

    fn look_up(&self, lookup: &Lookup) -> resolve::Answer {
        if self.failing.contains(lookup) {
            return resolve::Answer::Failed;
        }
        let found = self.records.get(lookup).map(|records| resolve::Answer::Found(records.as_slice().into()));
        found.unwrap_or(resolve::Answer::Nothing)
    }
}

impl Sim {
    /// An edge asks about the outside.
    pub(super) fn edge_asks(&mut self, edge: usize, ask: Ask) {
        let life = self.edges.get(edge).map_or(0, |node| node.life);
        let (delay, answer) = match ask {
            Ask::Resolve { ticket, question, seed } => {
                (self.dns.delay, Answer::Targets(ticket, self.dns.resolve(question, seed)))
            }
            Ask::Reach { ticket, target } => {
                (Duration::from_millis(1), Answer::Flow(ticket, self.reach(edge, &target)))
            }
        };
        self.schedule(self.now + delay, Event::OutsideAnswers { edge, life, answer });
    }

    /// Datagrams go anywhere; streams only to phones that listen, on a line of theirs that is one.
    fn reach(&self, edge: usize, target: &Target) -> Option<Flow> {
        match target.protocol {
            Protocol::Udp => Some(Flow::udp(self.edge_address(edge), target.address)),
            _ => self.stream_to(edge, target.address),
        }
    }

    pub(super) fn outside_answers(&mut self, edge: usize, life: u64, answer: Answer) {
        if self.edges.get(edge).is_some_and(|node| node.life == life) {
            self.tell_edge(edge, Input::Egress(answer));
        }
    }
}
