//! Requests that leave the cluster, RFC 3263 and RFC 3261 §16.6 steps 6 to 10. Pure.
//!
//! A core orders it, by a Route element with the mark `out.` above whatever follows; without that order no request goes
//! anywhere but to a flow of ours. The next hop is then the topmost Route that is left, or else the Request-URI.
//!
//! Resolving → for one target after the other: Reaching (a flow to it) → Sent → answered, or the next target
//!
//! Both questions are outputs ([`Ask`]), their answers inputs ([`Answer`]): a CANCEL that comes before the DNS has answered ends the
//! request, and nothing waits for anybody.
//!
//! # When a target is passed over
//!
//! §4.3 counts a 503, a failure of the transport and the time-out of a transaction that has heard nothing. The latter takes 32 s, which no
//! caller waits for: a target that has said nothing for [`PATIENCE`] is passed over while another is left. It is not given up: if it
//! answers after all, that counts (its branch is an orphan, see [`ResponseContext::orphan`]). Each attempt has a branch of its own.
//! A 100 ends that wait and nothing else: when the target dies with no more said, the next one is tried.

mod ack;
mod failed;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proxy::context::{BranchId, Failure, Options, ResponseContext};
use proxy::target::{Target as Uri, TargetSet};
use proxy::{branch, record_route, route};
use sip::{Name, Reject, Request, Response, Scheme, StatusCode};
use transaction::ServerId;
use transport::resolve::{Question, Target, Unresolved};
use transport::{Flow, Protocol};

use crate::context::Context;
use crate::engine::{Edge, Output};
use crate::hop::Hop;
use crate::peer::Peer;
use ack::Ack;
use failed::{Failed, retry_after};

/// Names one question.
pub type Ticket = u64;

/// What the engine asks for.
#[derive(Debug)]
pub enum Ask {
    /// Where a URI leads.
    Resolve {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What of the URI counts.
        question: Question,
        /// Decides among servers of one priority.
        seed: u64,
    },
    /// A flow to a target.
    Reach {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Where to.
        target: Target,
    },
}

/// What it gets.
#[derive(Debug)]
pub enum Answer {
    /// To [`Ask::Resolve`]: the targets, the most preferred first.
    Targets(Ticket, Result<Vec<Target>, Unresolved>),
    /// To [`Ask::Reach`]; `None`: it cannot be reached.
    Flow(Ticket, Option<Flow>),
}

/// What is asked and not answered, and what is remembered of servers.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    last: Ticket,
    waiting: BTreeMap<Ticket, Waiting>,
    failed: Failed,
}

/// What goes on when a question is answered.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// The targets of a request.
    Targets(ServerId),
    /// The flow for a branch of it.
    Flow { id: ServerId, branch: BranchId, request: Request },
    /// The targets of an ACK to a 2xx.
    AckTargets(Ack),
    /// The flow for it; further targets.
    AckFlow { ack: Ack, target: Target, ways: VecDeque<Target> },
    /// The servers of a next hop, by its place.
    NextHop(usize),
    /// A flow to one of them.
    Server(Target),
}

/// Where a request leaves to, which decides what its copies bear.
#[derive(Debug, Clone)]
pub(crate) enum Exit {
    /// To somebody outside. The mark is the user part of the element by which the cores know the dialog again.
    Outside(Bytes),
    /// To a next hop, from the UA on this flow.
    NextHop(Flow),
    /// To a trusted peer in front.
    Peer(Peer),
}

/// What a context knows when its request leaves.
#[derive(Debug)]
pub(crate) struct Leaving {
    exit: Exit,
    /// Targets that were not tried, the next first.
    ways: VecDeque<Target>,
    attempt: Option<Attempt>,
    /// None of the targets is known to live: the last one, too, is given up when it is silent.
    pub(crate) in_doubt: bool,
}

/// The target that is being tried.
#[derive(Debug)]
struct Attempt {
    branch: BranchId,
    target: Target,
    ticket: Ticket,
    /// It has answered with more than 100, which says nothing but that the request has arrived (RFC 3261 §21.1.1).
    heard: bool,
    /// When it is passed over.
    patience: Option<Instant>,
}

/// How long a silent target is waited for while another is left.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Targets that one request tries.
pub(crate) const MOST_ATTEMPTS: usize = 8;
/// Questions that may wait.
const MOST_WAITING: usize = 10_000;
/// RFC 3261 §18.1.1: a request that is longer must not leave over UDP when the path MTU is unknown.
const LARGEST_DATAGRAM: usize = 1_300;
/// What our Via and Record-Route add.
const ADDED: usize = 250;

impl Exits {
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) -> Ticket {
        self.last += 1;
        self.waiting.insert(self.last, waiting);
        self.last
    }
}

impl Leaving {
    pub(crate) fn new(exit: Exit, ways: VecDeque<Target>) -> Self {
        Self { exit, ways, attempt: None, in_doubt: false }
    }

    pub(crate) fn in_doubt(exit: Exit, ways: VecDeque<Target>) -> Self {
        Self { in_doubt: true, ..Self::new(exit, ways) }
    }

    /// When the target in hand is passed over.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.attempt.as_ref().and_then(|attempt| attempt.patience)
    }

    /// The branch at a target which has answered with no more than 100, while another is left.
    pub(crate) fn unheard(&self, target: &Target) -> Option<BranchId> {
        let attempt = self.attempt.as_ref().filter(|attempt| !attempt.heard && attempt.target == *target)?;
        (!self.ways.is_empty()).then_some(attempt.branch)
    }

    fn is_trying(&mut self, branch: BranchId) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| attempt.branch == branch)
    }
}

impl Edge {
    /// A request that a core has ordered to leave, or one for a trusted peer, without our own Route entry.
    pub(crate) fn leave(
        &mut self,
        id: ServerId,
        request: Request,
        from: Hop,
        exit: Exit,
        loop_hash: u64,
        now: Instant,
    ) {
        let question = match next_hop(&request) {
            Ok(question) if self.exits.waiting.len() < MOST_WAITING => question,
            refused => {
                let reject = refused.err().unwrap_or_else(|| status(503).with(Name::RetryAfter, "5"));
                let tag = self.layer.ids().tag();
                return self.respond(id, reject.response(&request, &tag), now);
            }
        };
        let to_tag = self.layer.ids().tag();
        let options = Options { keep_503: true, keep_430: true, ..Options::default() };
        let response = ResponseContext::new(request, to_tag, options);
        let context = Context {
            leaving: Some(Box::new(Leaving::new(exit, VecDeque::new()))),
            ..Context::new(response, from, loop_hash, self.layer.ids().branch(), now)
        };
        self.contexts.insert(id, context);
        self.counters.egress += 1;
        self.resolve(Waiting::Targets(id), question);
    }

    fn resolve(&mut self, then: Waiting, question: Question) {
        let (ticket, seed) = (self.exits.wait(then), self.layer.ids().u64());
        self.out.push_back(Output::Egress(Ask::Resolve { ticket, question, seed }));
    }

    /// A question is answered.
    pub(crate) fn on_egress(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Targets(ticket, found) => match self.exits.waiting.remove(&ticket) {
                Some(Waiting::Targets(id)) => self.on_targets(id, found, now),
                Some(Waiting::AckTargets(ack)) => {
                    let ways = self.ways(found, &ack.exit, &ack.copy, now).unwrap_or_default();
                    self.try_ack(ack, ways);
                }
                Some(Waiting::NextHop(place)) => self.on_next_hop(place, found, now),
                Some(Waiting::Flow { .. } | Waiting::AckFlow { .. } | Waiting::Server(_)) | None => {}
            },
            Answer::Flow(ticket, flow) => match self.exits.waiting.remove(&ticket) {
                Some(Waiting::Flow { id, branch, request }) => {
                    self.on_flow(id, branch, request, flow, now);
                }
                Some(Waiting::AckFlow { ack, target, ways }) => match flow {
                    Some(flow) => self.send_ack(ack, flow),
                    None => {
                        self.on_target_failed(&target, None, now);
                        self.try_ack(ack, ways);
                    }
                },
                Some(Waiting::Server(target)) => self.on_next_hop_reached(&target, flow, now),
                Some(Waiting::Targets(_) | Waiting::AckTargets(_) | Waiting::NextHop(_)) | None => {}
            },
        }
    }

    /// §4.3: the list of targets is what one attempt after the other is made from.
    fn on_targets(&mut self, id: ServerId, found: Result<Vec<Target>, Unresolved>, now: Instant) {
        let Some(context) = self.contexts.get(&id) else { return }; // cancelled meanwhile
        let Some(leaving) = &context.leaving else { return };
        let ways = self.ways(found, &leaving.exit, context.response.request(), now);
        self.step(id, now, |context, now, out| match ways {
            Ok(ways) => {
                let target = Uri::new(context.response.request().uri.clone(), 0);
                if let Some(leaving) = &mut context.leaving {
                    leaving.ways = ways;
                }
                context.response.start(TargetSet::one(target), now, out);
            }
            Err(reject) => context.response.reject(&reject, out),
        });
    }

    /// The targets that may be tried.
    fn ways(
        &self,
        found: Result<Vec<Target>, Unresolved>,
        exit: &Exit,
        request: &Request,
        now: Instant,
    ) -> Result<VecDeque<Target>, Reject> {
        let found = found.map_err(|why| match why {
            Unresolved::Nowhere => status(404).because("No SIP Service At That Domain"),
            Unresolved::Unknown => status(504).because("DNS Time-out"),
            Unresolved::Busy => status(503).with(Name::RetryAfter, "5"),
        })?;
        let may = |target: &Target| match exit {
            Exit::Outside(_) | Exit::NextHop(_) => self.settings.may_leave_to(target),
            Exit::Peer(peer) => self.is_of_peer(peer, target.address),
        };
        let allowed: Vec<Target> = found.into_iter().filter(may).collect();
        if allowed.is_empty() {
            return Err(status(403).because("Target Not Allowed"));
        }
        let usable: Vec<Target> =
            allowed.into_iter().filter(|target| self.settings.can_send_to(target)).collect();
        if usable.is_empty() {
            return Err(status(503).because("No Socket For The Target"));
        }
        Ok(self.in_turn(usable, request, now))
    }

    /// The order in which targets are tried, those that have failed lately at the end.
    pub(crate) fn in_turn(&self, targets: Vec<Target>, request: &Request, now: Instant) -> VecDeque<Target> {
        let has_datagrams = targets.iter().any(|target| target.protocol == Protocol::Udp);
        let is_large = has_datagrams && request.encode().len() + ADDED > LARGEST_DATAGRAM;
        let transports = |target: Target| {
            // §18.1.1: "MUST be sent using an RFC 2914 congestion controlled transport protocol, such as TCP", and when there is none
            // over there, "the element SHOULD retry the request, using UDP".
            let stream = (is_large && target.protocol == Protocol::Udp)
                .then(|| Target { protocol: Protocol::Tcp, ..target.clone() });
            stream.into_iter().chain([target])
        };
        let all = self.exits.failed.last(targets.into_iter().flat_map(transports).collect(), now);
        all.into_iter().take(MOST_ATTEMPTS).collect()
    }

    /// A branch begins: a flow for its copy.
    pub(crate) fn depart(&mut self, id: ServerId, branch: BranchId, request: Request, now: Instant) {
        let mut leaving = self.contexts.get_mut(&id).and_then(|context| context.leaving.as_mut());
        let target = leaving.as_mut().and_then(|leaving| leaving.ways.pop_front());
        let (Some(leaving), Some(target)) = (leaving, target) else {
            return self.step(id, now, |context, now, out| {
                context.response.on_failure(branch, Failure::Transport, now, out);
            });
        };
        let attempt = Attempt { branch, target: target.clone(), ticket: 0, heard: false, patience: None };
        leaving.attempt = Some(attempt);
        if let Some(flow) = self.next_hops.flow_to(&target) {
            return self.on_flow(id, branch, request, Some(flow), now);
        }
        let ticket = self.exits.wait(Waiting::Flow { id, branch, request });
        if let Some(leaving) = self.contexts.get_mut(&id).and_then(|context| context.leaving.as_mut())
            && let Some(attempt) = leaving.is_trying(branch)
        {
            attempt.ticket = ticket;
        }
        self.out.push_back(Output::Egress(Ask::Reach { ticket, target }));
    }

    fn on_flow(
        &mut self,
        id: ServerId,
        branch: BranchId,
        request: Request,
        flow: Option<Flow>,
        now: Instant,
    ) {
        let Some(flow) = flow else {
            self.pass_over(id, branch, None, now);
            return self.step(id, now, |context, now, out| {
                context.response.on_failure(branch, Failure::Transport, now, out);
            });
        };
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let Some(leaving) = &mut context.leaving else { return };
        let has_end = leaving.in_doubt || !leaving.ways.is_empty();
        let exit = leaving.exit.clone();
        if let Some(attempt) = leaving.is_trying(branch) {
            attempt.patience = has_end.then(|| now + PATIENCE);
        }
        let (token, loop_hash) = (context.branch_token(), context.loop_hash);
        let Some(request) = self.outfit(request, &exit, &flow, &token, loop_hash) else {
            return self.step(id, now, |context, now, out| {
                context.response.on_failure(branch, Failure::Transport, now, out);
            });
        };
        let client = self.layer.request(request, Hop::Ua(flow), now);
        if let Some(context) = self.contexts.get_mut(&id) {
            context.clients.push((branch, client));
        }
        self.branches.insert(client, (id, branch));
        self.arm(id);
    }

    /// §16.6 steps 4, 6 and 8 for a copy that leaves on `flow`.
    fn outfit(
        &self,
        mut request: Request,
        exit: &Exit,
        flow: &Flow,
        token: &str,
        loop_hash: u64,
    ) -> Option<Request> {
        let host = match exit {
            Exit::Outside(mark) => self.mark(&mut request, mark, flow)?,
            Exit::NextHop(ua) => self.sign(&mut request, ua, flow),
            Exit::Peer(peer) => self.sign_for_peer(&mut request, peer, flow),
        };
        route::postprocess(&mut request).ok()?;
        // RFC 3581 §3: the answer comes back through whatever NAT is on the way.
        let sent_by = if flow.protocol.is_reliable() { host } else { format!("{host};rport") };
        branch::push_via(&mut request, flow.protocol.via(), &sent_by, token, loop_hash);
        Some(request)
    }

    /// The Record-Route is that of a proxy which anybody outside can resolve, with the mark of the cores; requests that follow
    /// it come here, and to any other edge as well.
    fn mark(&self, request: &mut Request, mark: &Bytes, flow: &Flow) -> Option<String> {
        let (host, protocol) = self.settings.contact(flow);
        if record_route::wants(request) {
            let scheme = if request.uri.get(..5).is_some_and(|it| it.eq_ignore_ascii_case(b"sips:")) {
                "sips"
            } else {
                "sip"
            };
            let parameter = crate::access::transport_param(protocol);
            let mark = std::str::from_utf8(mark).ok()?;
            record_route::insert(request, format!("<{scheme}:{mark}@{host}{parameter};lr>"));
        }
        Some(host)
    }

    /// The target in hand of a branch has failed before it was heard of: it is remembered, and the next one is tried.
    pub(crate) fn pass_over(
        &mut self,
        id: ServerId,
        branch: BranchId,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let Some(leaving) = self.contexts.get_mut(&id).and_then(|context| context.leaving.as_mut()) else {
            return;
        };
        let Some(attempt) = leaving.is_trying(branch) else { return };
        if attempt.heard {
            return;
        }
        attempt.patience = None;
        let target = attempt.target.clone();
        let has_more = !leaving.ways.is_empty();
        match leaving.exit {
            Exit::Outside(_) | Exit::Peer(_) => self.counters.egress_failed += 1,
            Exit::NextHop(_) => self.counters.retried += u64::from(has_more),
        }
        self.on_target_failed(&target, retry_after, now);
        tracing::debug!(?target, has_more, "target passed over");
        if has_more {
            self.step(id, now, |context, now, out| {
                let again = Uri::new(context.response.request().uri.clone(), 0);
                let _ = context.response.add_target(again, now, out); // none after a CANCEL
            });
        }
    }

    /// A branch has answered. A 503 is a failure all the same (§4.3).
    pub(crate) fn on_heard(&mut self, id: ServerId, branch: BranchId, response: &Response, now: Instant) {
        let Some(leaving) = self.contexts.get_mut(&id).and_then(|context| context.leaving.as_mut()) else {
            return;
        };
        let Some(attempt) = leaving.is_trying(branch) else { return };
        if response.status.code() == 503 {
            attempt.heard = false;
            return self.pass_over(id, branch, retry_after(response), now);
        }
        attempt.patience = None;
        if !attempt.heard {
            attempt.heard = response.status != StatusCode::TRYING;
            self.exits.failed.forget(&attempt.target);
        }
    }

    /// The attempt in hand is to be cancelled and has no flow yet: it is not sent at all.
    pub(crate) fn stay(&mut self, id: ServerId, now: Instant) {
        let leaving = self.contexts.get(&id).and_then(|context| context.leaving.as_ref());
        let Some(attempt) = leaving.and_then(|leaving| leaving.attempt.as_ref()) else { return };
        let branch = attempt.branch;
        if self.exits.waiting.remove(&attempt.ticket).is_some() {
            self.step(id, now, |context, now, out| {
                context.response.on_failure(branch, Failure::Transport, now, out);
            });
        }
    }
}

/// RFC 3263 §4: what is asked of the DNS for the topmost Route, or else for the Request-URI.
fn next_hop(request: &Request) -> Result<Question, Reject> {
    let uri = match request.top_route() {
        Some(route) => route?.parsed_uri()?,
        None => request.request_uri()?,
    };
    let is_secure = request.request_uri()?.scheme == Scheme::Sips;
    // §16.3 step 2 for a scheme or transport that cannot be followed; §16.6 step 7: SIPS stays SIPS by whatever Route.
    let question =
        Question::of(&uri).and_then(|question| if is_secure { question.secured() } else { Ok(question) });
    question.map_err(|_| status(416))
}

const fn status(code: u16) -> Reject {
    Reject { status: StatusCode::new(code), reason: None, headers: Vec::new() }
}
