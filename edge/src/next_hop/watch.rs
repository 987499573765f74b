//! Who of the next hops lives: OPTIONS (RFC 3261 §11), the failures of requests (RFC 3263 §4.3), and the DNS.
//!
//! ```text
//!          look up            reach              OPTIONS
//! name ───────────► servers ────────► a flow ───────────► lives: any answer but 503
//!                      ▲        │ none        │ no answer for 2 s, 503, the stream has ended
//!                      └────────┴─────────────┴─────────► does not: nothing is sent there
//! ```
//!
//! What a server that dies so has answered with no more than 100 goes to the next one.
//!
//! While nobody lives, those are tried for a moment that have fallen silent, since they may only have paused; whoever says 503 is not.
//!
//! Every shard watches for itself: nothing is shared, and what an answer is waited for is known where it arrives (the
//! Call-ID is drawn so that it is at home here). A server that a request has found silent is asked at once and goes to the end of the list
//! for a while ([`crate::egress`]).

use std::time::{Duration, Instant};

use node::shard;
use proxy::branch;
use sip::{Method, Name, Request, StatusCode};
use transaction::{ClientId, ServerId};
use transport::Flow;
use transport::resolve::{Target, Unresolved};

use super::table::Server;
use crate::access::transport_param;
use crate::context::Context;
use crate::egress::{Ask, Waiting};
use crate::engine::{Edge, Output};
use crate::hop::Hop;

/// How often a living server is asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often one that does not live is asked.
const AGAIN: Duration = Duration::from_secs(2);
/// How long an answer may take: over UDP the question leaves three times meanwhile (RFC 3261 §17.1.2.2, Timer E).
const PATIENCE: Duration = Duration::from_secs(2);
/// How often names are looked up; the resolver knows how long its answers are good.
const LOOK_UP: Duration = Duration::from_secs(30);

impl Edge {
    /// The sockets are open.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.next_hops.is_empty() {
            return;
        }
        let (own, all) = self.settings.shard;
        let name = &self.settings.name;
        let ids = self.layer.ids();
        // One in `all` is at home here.
        self.next_hops.call_id = std::iter::repeat_with(|| format!("{:016x}@{name}", ids.u64()))
            .take(10_000)
            .find(|call_id| shard::of(call_id.as_bytes(), all) == own)
            .unwrap_or_default();
        for group in &mut self.next_hops.groups {
            group.seed = self.layer.ids().u64();
            group.resolve_at = Some(now);
        }
        self.on_next_hops_due(now);
    }

    /// Asks whoever is due.
    pub(crate) fn on_next_hops_due(&mut self, now: Instant) {
        if self.next_hops.next().is_none_or(|due| due > now) {
            return;
        }
        for place in 0..self.next_hops.groups.len() {
            let Some(group) = self.next_hops.groups.get_mut(place) else { return };
            if group.resolve_at.is_some_and(|at| at <= now) {
                group.resolve_at = None;
                let (question, seed) = (group.next_hop.question().clone(), group.seed);
                let ticket = self.exits.wait(Waiting::NextHop(place));
                self.out.push_back(Output::Egress(Ask::Resolve { ticket, question, seed }));
            }
        }
        let due = |server: &&mut Server| server.due.is_some_and(|due| due <= now);
        let (mut reach, mut lost) = (Vec::new(), Vec::new());
        for server in self.next_hops.servers_mut().filter(due) {
            match server.ping.take() {
                Some(silent) => {
                    self.layer.abandon(silent);
                    if server.fall_silent(now) {
                        lost.push(server.target.clone());
                    }
                    server.due = Some(now + AGAIN);
                }
                None => {
                    server.due = None;
                    reach.push(server.target.clone());
                }
            }
        }
        for target in reach {
            let ticket = self.exits.wait(Waiting::Server(target.clone()));
            self.out.push_back(Output::Egress(Ask::Reach { ticket, target }));
        }
        self.on_next_hops_changed();
        for target in lost {
            self.on_next_hop_lost(&target, now);
        }
    }

    /// A server has died in silence: what it has answered with no more than 100 goes to the next one, which no time-out would see to
    /// before Timer C. Where a stream has ended, its transactions have failed already.
    fn on_next_hop_lost(&mut self, target: &Target, now: Instant) {
        let unheard = |(id, context): (&ServerId, &Context)| {
            let branch = context.leaving.as_ref()?.unheard(target)?;
            context.client(branch).map(|_| (*id, branch))
        };
        let mut hit: Vec<_> = self.contexts.iter().filter_map(unheard).collect();
        hit.sort_unstable_by_key(|(id, _)| *id);
        for (id, branch) in hit {
            self.pass_over(id, branch, None, now);
            self.step(id, now, |context, now, out| context.response.orphan(branch, now, out));
        }
    }

    /// The DNS has answered. Without an answer the servers stay as they are.
    pub(crate) fn on_next_hop(&mut self, place: usize, found: Result<Vec<Target>, Unresolved>, now: Instant) {
        let Some(group) = self.next_hops.groups.get_mut(place) else { return };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(next_hop = %group.next_hop, %error, "next hop is not found");
                group.resolve_at = Some(now + AGAIN);
                return;
            }
        };
        group.resolve_at = Some(now + LOOK_UP);
        let mut before = std::mem::take(&mut group.servers);
        for target in found {
            if self.settings.is_own_socket(target.address) || !self.settings.can_send_to(&target) {
                tracing::warn!(?target, "next hop is this edge itself, or there is no socket for it");
                continue;
            }
            let known = before.iter().position(|server| server.target == target);
            let server = known.map_or_else(|| Server::new(target, now), |known| before.swap_remove(known));
            group.servers.push(server);
        }
        for ping in before.into_iter().filter_map(|server| server.ping) {
            self.layer.abandon(ping);
        }
        self.on_next_hops_due(now);
        self.on_next_hops_changed();
    }

    /// There is a flow to a server, or not.
    pub(crate) fn on_next_hop_reached(&mut self, target: &Target, flow: Option<Flow>, now: Instant) {
        let options = flow.map(|flow| self.options(target, &flow));
        let Some(server) = self.next_hops.servers_mut().find(|server| server.target == *target) else {
            return;
        };
        server.flow = flow;
        match (options, flow) {
            (Some(options), Some(flow)) => {
                server.ping = Some(self.layer.request(options, Hop::Ua(flow), now));
                server.asked = Some(now);
                server.due = Some(now + PATIENCE);
            }
            _ => {
                server.fall_silent(now);
                server.due = Some(now + AGAIN);
            }
        }
        self.on_next_hops_changed();
    }

    /// A final answer to OPTIONS: §11.2 has it be that to an INVITE, so it says whether one would be served (RFC 3261 §21.5.4).
    pub(crate) fn on_next_hop_answer(&mut self, ping: ClientId, status: StatusCode, now: Instant) {
        if status.is_provisional() {
            return;
        }
        self.on_ping_over(ping, Some(status), now);
    }

    /// No answer to OPTIONS will come.
    pub(crate) fn on_next_hop_failure(&mut self, ping: ClientId, now: Instant) {
        self.on_ping_over(ping, None, now);
    }

    fn on_ping_over(&mut self, ping: ClientId, answer: Option<StatusCode>, now: Instant) {
        let Some(server) = self.next_hops.servers_mut().find(|server| server.ping == Some(ping)) else {
            return;
        };
        server.ping = None;
        match answer {
            Some(status) => (server.is_alive, server.silent_since) = (status.code() != 503, None),
            None => _ = server.fall_silent(now),
        }
        server.due = Some(now + if server.is_alive { INTERVAL } else { AGAIN });
        self.on_next_hops_changed();
    }

    /// Tells how many live, when that is news.
    fn on_next_hops_changed(&mut self) {
        self.next_hops.renew();
        let living = self.next_hops.living();
        if self.next_hops.told != Some(living) {
            self.next_hops.told = Some(living);
            self.out.push_back(Output::NextHops(living));
        }
    }

    /// Max-Forwards is 0: the server itself answers, whatever it is called (RFC 3261 §11).
    fn options(&mut self, target: &Target, flow: &Flow) -> Request {
        let (host, _) = self.settings.contact_inside(flow);
        let uri = format!("sip:{}{}", target.address, transport_param(target.protocol));
        let (tag, token) = (self.layer.ids().tag(), self.layer.ids().branch());
        self.next_hops.number = self.next_hops.number % 0x7fff_ffff + 1;
        let mut options = Request::new(Method::Options, uri.clone());
        let headers = &mut options.headers;
        headers.append(Name::MaxForwards, "0");
        headers.append(Name::From, format!("<sip:ping@{host}>;tag={tag}"));
        headers.append(Name::To, format!("<{uri}>"));
        headers.append(Name::CallId, self.next_hops.call_id.clone());
        headers.append(Name::CSeq, format!("{} OPTIONS", self.next_hops.number));
        headers.append(Name::ContentLength, "0");
        let sent_by = if flow.protocol.is_reliable() { host } else { format!("{host};rport") };
        let hash = branch::loop_hash(&options);
        branch::push_via(&mut options, flow.protocol.via(), &sent_by, &token, hash);
        options
    }
}
