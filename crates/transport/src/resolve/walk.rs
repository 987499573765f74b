//! From a question to targets, RFC 3263 §4.1 and §4.2. Pure: lookups come out, their answers go in.
//!
//! NAPTR (neither transport nor port) → SRV (no port) → A and AAAA → targets, the most preferred first
//!
//! A lookup that fails is not one that finds nothing (a time-out is no proof that there are no SRV records, and without them
//! the request would go to whatever host has the domain's own address): where records may exist that nobody could read, the
//! walk ends with [`Unresolved::Unknown`]. The exception is NAPTR. A domain "MUST maintain SRV records for the domain of the
//! original query" all the same (§4.1), and many resolvers never answer it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::question::{Place, Question, default_port};
use super::records::{Answer, Kind, Lookup, Naptr, Record, Srv};
use super::srv::{Chance, in_order};
use super::{Target, Unresolved};
use crate::Protocol;

/// Which addresses can be reached: those of the families that this node has sockets for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What a walk wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The answers to these, in this order.
    Ask(Vec<Lookup>),
    /// It is over.
    Done(Result<Vec<Target>, Unresolved>),
}

/// One resolution under way.
#[derive(Debug)]
pub struct Walk {
    question: Question,
    families: Families,
    chance: Chance,
    domain: Arc<str>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// NAPTR records of the domain are asked for.
    Naptr,
    /// SRV records of these services are asked for.
    Srv(Vec<Service>),
    /// Addresses of the hosts of these servers are asked for.
    Addresses(Vec<Server>),
}

/// SRV records by name, and what their servers speak.
#[derive(Debug, Clone)]
struct Service {
    name: String,
    protocol: Protocol,
}

#[derive(Debug, Clone)]
struct Server {
    host: String,
    port: u16,
    protocol: Protocol,
}

/// Hosts whose addresses are asked for, the most preferred ones. A domain that has more does not get more out of us.
const MOST_SERVERS: usize = 8;
/// Targets in all.
const MOST_TARGETS: usize = 16;

impl Walk {
    /// Begins. `seed` decides among servers of one priority.
    pub fn new(question: Question, families: Families, seed: u64) -> (Self, Step) {
        let domain = question.domain().into();
        let mut walk = Self { question, families, chance: Chance::new(seed), domain, stage: Stage::Naptr };
        let step = walk.begin();
        (walk, step)
    }

    fn begin(&mut self) -> Step {
        let protocol = self.question.default_protocol();
        match (&self.question.place, self.question.port, self.question.protocol) {
            // §4.2: a numeric address is used as it is.
            (Place::Address(address), port, _) => {
                let port = port.unwrap_or(default_port(protocol));
                let target = self.target(protocol, SocketAddr::new(*address, port));
                Step::Done(Ok(vec![target]))
            }
            // §4.2: with a port no SRV records are looked for.
            (Place::Name(host), Some(port), _) => {
                let server = Server { host: host.clone(), port, protocol };
                self.ask_addresses(vec![server])
            }
            // §4.1: "that transport protocol SHOULD be used", and no NAPTR.
            (Place::Name(host), None, Some(protocol)) => {
                let service = service(host, protocol);
                self.ask_services(vec![service])
            }
            (Place::Name(host), None, None) => {
                Step::Ask(vec![Lookup { name: host.clone(), kind: Kind::Naptr }])
            }
        }
    }

    /// The answers to what was asked last, in that order.
    pub fn answer(&mut self, answers: &[Answer]) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Naptr) {
            Stage::Naptr => self.on_naptr(answers),
            Stage::Srv(services) => self.on_services(&services, answers),
            Stage::Addresses(servers) => self.on_addresses(&servers, answers),
        }
    }

    /// §4.1: the services that we can use, the most preferred first; without any "the client constructs SRV queries for those
    /// transport protocols it supports", in the order in which we would use them.
    fn on_naptr(&mut self, answers: &[Answer]) -> Step {
        let records = answers.iter().flat_map(Answer::records).filter_map(|record| match record {
            Record::Naptr(naptr) => self.usable(naptr).map(|protocol| (naptr, protocol)),
            Record::Srv(_) | Record::Address(_) => None,
        });
        let mut usable: Vec<_> = records.collect();
        // RFC 3403 §4.1: once there is a match, records of another order are not considered.
        let order = usable.iter().map(|(naptr, _)| naptr.order).min();
        usable.retain(|(naptr, _)| Some(naptr.order) == order);
        usable.sort_by_key(|(naptr, _)| naptr.preference);
        let mut services: Vec<_> = usable
            .into_iter()
            .map(|(naptr, protocol)| Service { name: naptr.replacement.clone(), protocol })
            .collect();
        services.truncate(MOST_SERVERS);
        if services.is_empty() {
            let protocols: &[Protocol] =
                if self.question.secure { &[Protocol::Tls] } else { &[Protocol::Udp, Protocol::Tcp] };
            services = protocols.iter().map(|protocol| service(&self.domain, *protocol)).collect();
        }
        self.ask_services(services)
    }

    /// What a NAPTR record offers to us. §4.1: for a SIPS URI services without SIPS do not count; others are kept, TLS too.
    fn usable(&self, naptr: &Naptr) -> Option<Protocol> {
        let is = |service: &str| naptr.service.eq_ignore_ascii_case(service);
        let protocol = match () {
            () if is("SIPS+D2T") => Protocol::Tls,
            () if is("SIP+D2T") && !self.question.secure => Protocol::Tcp,
            () if is("SIP+D2U") && !self.question.secure => Protocol::Udp,
            () => return None,
        };
        let leads_to_srv = naptr.flags.eq_ignore_ascii_case("s") && naptr.regexp.is_empty();
        (leads_to_srv && !naptr.replacement.is_empty()).then_some(protocol)
    }

    fn ask_services(&mut self, services: Vec<Service>) -> Step {
        let lookups = services.iter().map(|it| Lookup { name: it.name.clone(), kind: Kind::Srv }).collect();
        self.stage = Stage::Srv(services);
        Step::Ask(lookups)
    }

    /// §4.2: RFC 2782 for each service; without any SRV record the domain's own addresses, at the default port.
    fn on_services(&mut self, services: &[Service], answers: &[Answer]) -> Step {
        let mut servers = Vec::new();
        let mut exist = false;
        for (service, answer) in services.iter().zip(answers) {
            let records: Vec<Srv> = answer.records().iter().filter_map(srv).collect();
            exist |= !records.is_empty();
            // A single record with the root as its target: "the service is decidedly not available at this domain".
            let offered = in_order(records, &mut self.chance).into_iter();
            servers.extend(
                offered.filter(|record| !record.target.is_empty() && record.port != 0).map(|record| Server {
                    host: record.target,
                    port: record.port,
                    protocol: service.protocol,
                }),
            );
        }
        if !servers.is_empty() {
            return self.ask_addresses(servers);
        }
        if exist {
            return Step::Done(Err(Unresolved::Nowhere));
        }
        if answers.contains(&Answer::Failed) {
            return Step::Done(Err(Unresolved::Unknown));
        }
        let protocol = services.first().map_or(self.question.default_protocol(), |service| service.protocol);
        let host = self.domain.to_string();
        self.ask_addresses(vec![Server { host, port: default_port(protocol), protocol }])
    }

    fn ask_addresses(&mut self, mut servers: Vec<Server>) -> Step {
        servers.truncate(MOST_SERVERS);
        let kinds = self.kinds();
        let hosts: BTreeSet<&String> = servers.iter().map(|server| &server.host).collect();
        let lookups = hosts
            .into_iter()
            .flat_map(|host| kinds.iter().map(|kind| Lookup { name: host.clone(), kind: *kind }))
            .collect();
        self.stage = Stage::Addresses(servers);
        Step::Ask(lookups)
    }

    /// IPv6 first where we speak it, as the default policy of addresses has it (RFC 7984 §4).
    fn kinds(&self) -> Vec<Kind> {
        let kinds = [(self.families.v6, Kind::Aaaa), (self.families.v4, Kind::A)];
        kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }

    /// §4.2: "The result will be a list of IP addresses", in the order of the servers.
    fn on_addresses(&mut self, servers: &[Server], answers: &[Answer]) -> Step {
        let hosts: BTreeSet<&String> = servers.iter().map(|server| &server.host).collect();
        let hosts: Vec<_> = hosts.into_iter().collect();
        let each = self.kinds().len().max(1);
        let mut targets: Vec<Target> = Vec::new();
        for server in servers {
            let at = hosts.binary_search(&&server.host).unwrap_or(hosts.len());
            let own = answers.chunks(each).nth(at).unwrap_or_default();
            let addresses = own.iter().flat_map(Answer::records).filter_map(address);
            for address in addresses {
                let target = self.target(server.protocol, SocketAddr::new(address, server.port));
                if targets.len() < MOST_TARGETS && !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        let unknown = answers.contains(&Answer::Failed);
        Step::Done(match targets.is_empty() {
            false => Ok(targets),
            true if unknown => Err(Unresolved::Unknown),
            true => Err(Unresolved::Nowhere),
        })
    }

    fn target(&self, protocol: Protocol, address: SocketAddr) -> Target {
        Target { protocol, address, domain: Arc::clone(&self.domain) }
    }
}

/// §4.2: "using the service identifier "_sips" for SIPS URIs. For a SIP URI, if the client wishes to use TLS, it also uses the
/// service identifier "_sips"".
fn service(domain: &str, protocol: Protocol) -> Service {
    let prefix = match protocol {
        Protocol::Udp => "_sip._udp",
        Protocol::Tls => "_sips._tcp",
        Protocol::Tcp | Protocol::Ws | Protocol::Wss => "_sip._tcp",
    };
    Service { name: format!("{prefix}.{domain}"), protocol }
}

fn srv(record: &Record) -> Option<Srv> {
    match record {
        Record::Srv(srv) => Some(srv.clone()),
        Record::Naptr(_) | Record::Address(_) => None,
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match record {
        // A mapped address is the IPv4 address, whatever kind of record it stands in.
        Record::Address(address) => Some(address.to_canonical()),
        Record::Naptr(_) | Record::Srv(_) => None,
    }
}

#[cfg(test)]
mod tests;
