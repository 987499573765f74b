//! The core's engine: requests in, queries out, answers in. Pure.
//!
//! A request gets its server transaction first (RFC 3261 §16.2); then come the questions, each as an output, each answer as an input.
//! So a CANCEL that overtakes a lookup and a store that never answers are ordinary inputs. The journey of a REGISTER
//! continues in `register`, that of requests inside a dialog in `in_dialog`, that of every other one in `calls`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::PeerId;
use location::{Answer, Query};
use proxy::context::{Action, BranchId, Failure, ResponseContext};
use proxy::{branch, validate};
use registrar::{Record, UnixTime};
use sip::{Aor, Message, Method, Name, Reject, Request, Response, StatusCode};
use transaction::{ClientId, Deadlines, Event, Ids, Layer, ServerId, Timers};

use crate::auth::{self, Auth, Moment};
use crate::counters::Counters;
use crate::edges::{Edges, Way};
use crate::flows::Flows;
use crate::in_dialog::{self, Detour, End, FLOW_FAILED};
use crate::nonce::Nonces;
use crate::notify::{Notification, Notify};
use crate::pending::Pending;
use crate::routing::{self, Destination};
use crate::settings::Settings;
use crate::signature;
use crate::why::{Question, Why};

/// An edge as the transaction layer sees it: the link is reliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeHop(pub PeerId);

impl transaction::Peer for EdgeHop {
    fn is_reliable(&self) -> bool {
        true
    }
}

/// Names one question to the store.
pub type QueryId = u64;

/// What happens to a core.
#[derive(Debug)]
pub enum Input {
    /// A message over a link.
    FromEdge {
        /// Which edge sent it.
        edge: PeerId,
        /// What it sent.
        message: Message,
        /// Where it entered the cluster, as text for the binding: `udp:192.0.2.1:5060`; empty when the edge made it.
        source: String,
        /// On which address of the edge, `udp:198.51.100.1:5060`; told for a REGISTER.
        local: String,
    },
    /// The store answers.
    Answer(QueryId, Answer),
    /// The store has found that something in these records is over, or to be told.
    Due(Vec<(Aor, Record)>),
    /// A watcher is to be told something; this shard has the transactions of its Call-ID.
    Notify(Box<Notify>),
    /// The link to an edge stands.
    EdgeUp {
        /// The edge.
        edge: PeerId,
        /// Its unique name.
        name: String,
        /// The hosts that name it in Path, Route and Via.
        advertised: Vec<String>,
    },
    /// The link is lost.
    EdgeDown(PeerId),
    /// An edge has lost flows: their tokens.
    FlowsDown {
        /// The edge.
        edge: PeerId,
        /// As in Path vectors.
        tokens: Vec<Bytes>,
    },
    /// Lost flows are back.
    FlowsUp(Vec<Bytes>),
    /// Which domains are ours; `None` while only those of the configuration are known.
    Domains(Option<BTreeSet<String>>),
    /// The wall clock, since the epoch: sent now and then, so that a corrected clock is noticed.
    Clock(Duration),
    /// The link did not take a message of ours: its queue is full.
    NotSent(Bytes),
    /// Asks for [`Output::Report`].
    Report,
    /// Asks for [`Output::Why`].
    Why(Question),
}

/// What a core wants done.
#[derive(Debug)]
pub enum Output {
    /// A message for an edge.
    ToEdge {
        /// Which edge.
        edge: PeerId,
        /// Hash of the Call-ID: chooses the stream.
        lane: u64,
        /// One message.
        bytes: Bytes,
    },
    /// A question to the store; comes back as [`Input::Answer`].
    Ask(QueryId, Query),
    /// For the shard that has the transactions of the watcher's Call-ID: comes back as [`Input::Notify`].
    Notify(Box<Notify>),
    /// What was counted so far.
    Report(Box<Counters>),
    /// What a call would come to, and the number of the question.
    Why(u64, Box<Why>),
}

/// The state of a core: transactions and questions under way, nothing else.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) knows_domains: bool,
    pub(crate) layer: Layer<EdgeHop>,
    pub(crate) contexts: HashMap<ServerId, Context, ahash::RandomState>,
    branches: HashMap<ClientId, (ServerId, BranchId), ahash::RandomState>,
    pub(crate) notifications: HashMap<ClientId, Notification, ahash::RandomState>,
    deadlines: Deadlines<ServerId>,
    pending: HashMap<QueryId, Pending, ahash::RandomState>,
    last_query: QueryId,
    pub(crate) edges: Edges,
    pub(crate) flows: Flows,
    pub(crate) auth: Auth,
    pub(crate) out: VecDeque<Output>,
    pub(crate) actions: Vec<Action>,
    pub(crate) counters: Counters,
    /// where the request in hand entered the cluster, and on which address of its edge
    pub(crate) source: String,
    pub(crate) local: String,
    clock: Clock,
}

/// A request that is being forwarded, or will be when the store has answered.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) response: ResponseContext,
    pub(crate) detour: Detour,
    loop_hash: u64,
    clients: Vec<(BranchId, ClientId)>,
}

/// Wall clock by the engine's own instants.
#[derive(Debug, Clone, Copy)]
struct Clock {
    at: Instant,
    unix: Duration,
}

impl Core {
    /// A core without links. `unix` is the wall clock at `now`; `seed` makes branches, tags and nonces.
    pub fn new(settings: Settings, timers: Timers, seed: [u8; 32], now: Instant, unix: Duration) -> Self {
        let mut ids = Ids::new(seed);
        let hasher = ahash::RandomState::with_seeds(ids.u64(), ids.u64(), ids.u64(), ids.u64());
        let nonces = Nonces::new(settings.keys.clone(), settings.nonce_lifetime, hasher.clone());
        let auth = Auth::new(nonces, settings.algorithms.clone(), settings.domains.clone());
        let longest = Duration::from_secs(settings.policy.max_expires.into());
        Self {
            settings,
            knows_domains: true,
            layer: Layer::new(timers, ids),
            contexts: HashMap::with_hasher(hasher.clone()),
            branches: HashMap::with_hasher(hasher.clone()),
            notifications: HashMap::with_hasher(hasher.clone()),
            deadlines: Deadlines::new(),
            pending: HashMap::with_hasher(hasher.clone()),
            last_query: 0,
            edges: Edges::default(),
            flows: Flows::new(hasher, longest),
            auth,
            out: VecDeque::new(),
            actions: Vec::new(),
            counters: Counters::default(),
            source: String::new(),
            local: String::new(),
            clock: Clock { at: now, unix },
        }
    }

    /// What was counted so far, with the gauges of this moment.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.verifications = self.auth.verifications();
        counters.transactions = self.layer.counts();
        counters.contexts = self.contexts.len() as u64;
        counters.queries = self.pending.len() as u64;
        counters.edges = self.edges.len() as u64;
        counters.lost_flows = self.flows.len() as u64;
        counters
    }

    /// True when no transaction, context or question is left: a drained core may end.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_empty() && self.pending.is_empty() && self.layer.counts().total() == 0
    }

    /// The wall clock at `now`.
    pub(crate) fn unix(&self, now: Instant) -> UnixTime {
        UnixTime((self.clock.unix + now.saturating_duration_since(self.clock.at)).as_secs())
    }

    /// What a challenge given now is made of.
    pub(crate) fn moment(&mut self, now: Instant) -> Moment {
        Moment { unix: self.unix(now).0, random: self.layer.ids().u64() }
    }

    /// Asks the store; the answer finds its way back by `then`.
    pub(crate) fn ask(&mut self, query: Query, then: Pending) {
        self.last_query += 1;
        self.pending.insert(self.last_query, then);
        self.out.push_back(Output::Ask(self.last_query, query));
    }

    fn pump(&mut self, now: Instant) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                transaction::Output::Send { to, bytes, lane } => {
                    self.out.push_back(Output::ToEdge { edge: to.0, lane, bytes });
                }
                transaction::Output::Event(event) => self.on_event(event, now),
            }
        }
    }

    fn on_event(&mut self, event: Event<EdgeHop>, now: Instant) {
        match event {
            Event::Request { id, request, from } => self.on_request(id, request, from, now),
            Event::Cancel { invite, reason } => self.on_cancel(invite, reason.as_ref(), now),
            Event::Ack { request, .. } => self.on_ack(request),
            Event::Response { id, response } => self.on_response(id, response, now),
            Event::StrayResponse { response, .. } => self.on_stray(response),
            Event::Timeout { id } => self.on_failure(id, Failure::Timeout, now),
            Event::TransportError { id } => self.on_failure(id, Failure::NoRoute, now),
            Event::ClientEnded { id } => {
                self.branches.remove(&id);
                self.notifications.remove(&id);
            }
            Event::ServerEnded { .. } => {}
        }
    }

    /// RFC 3261 §16.3 to §16.5 for a new request.
    fn on_request(&mut self, id: ServerId, request: Request, from: EdgeHop, now: Instant) {
        self.counters.request(&request.method);
        if self.is_open(&request) {
            let reject = self.unavailable();
            return self.reject(id, &request, &reject, now);
        }
        let loop_hash = signature::loop_hash(&request);
        match self.admit(&request, loop_hash) {
            Ok(Destination::Registered(callee)) if request.method == Method::Cancel => {
                self.cancel_for_another(id, request, callee, now);
            }
            Ok(Destination::Foreign) if request.method == Method::Cancel => {
                self.cancel_outside(id, request, loop_hash, now);
            }
            Ok(_) if request.method == Method::Cancel => {
                // §9.2: nothing of ours that it could mean
                self.reject(id, &request, &Reject::new(StatusCode::new(481)), now);
            }
            Ok(Destination::Registrar) => self.register(id, request, from, now),
            Ok(Destination::Watched(aor)) => self.subscribe(id, request, aor, now),
            Ok(Destination::Ourselves) => {
                let tag = self.layer.ids().tag();
                self.respond(id, routing::answer(&request, &tag), now);
            }
            Ok(Destination::Edge { dead, .. }) => self.forward_in_dialog(id, request, dead, loop_hash, now),
            Ok(Destination::Outside { spent }) => self.forward_outside(id, request, spent, loop_hash, now),
            Ok(Destination::Foreign) => self.call_outside(id, request, loop_hash, now),
            Ok(Destination::Registered(callee)) => self.call(id, request, callee, loop_hash, now),
            Err(reject) => self.reject(id, &request, &reject, now),
        }
    }

    pub(crate) fn admit(&self, request: &Request, loop_hash: u64) -> Result<Destination, Reject> {
        validate::request(request, &validate::Rules { supported: &[] })?;
        if branch::is_loop(request, &|sent_by| sent_by == signature::SENT_BY, loop_hash) {
            return Err(Reject::new(StatusCode::new(482)));
        }
        routing::destination(request, &self.edges, &self.settings)
    }

    /// At once, whatever the method (§8.2.6.1).
    pub(crate) fn reject(&mut self, id: ServerId, request: &Request, reject: &Reject, now: Instant) {
        let tag = self.layer.ids().tag();
        self.respond(id, reject.response(request, &tag), now);
    }

    pub(crate) fn respond(&mut self, id: ServerId, response: Response, now: Instant) {
        self.counters.response(response.status);
        self.layer.respond(id, response, now);
    }

    /// 503 with a spread Retry-After: the store is away or too much waits for it (never 401, 403 or 404 instead).
    pub(crate) fn unavailable(&mut self) -> Reject {
        let spread = self.layer.ids().u64() % 16;
        Reject::new(StatusCode::new(503)).with(Name::RetryAfter, (5 + spread).to_string())
    }

    /// Remembers a request as being forwarded.
    pub(crate) fn open(&mut self, id: ServerId, response: ResponseContext, loop_hash: u64, detour: Detour) {
        self.contexts.insert(id, Context { response, detour, loop_hash, clients: Vec::new() });
    }

    /// Steps one context and does what it asks for.
    pub(crate) fn step(
        &mut self,
        id: ServerId,
        now: Instant,
        step: impl FnOnce(&mut ResponseContext, Instant, &mut Vec<Action>),
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        step(&mut context.response, now, &mut actions);
        for action in actions.drain(..) {
            self.perform(id, action, now);
        }
        self.actions = actions;
        self.arm(id);
    }

    /// Makes sure that Timer C of a context is looked at in time.
    fn arm(&mut self, id: ServerId) {
        if let Some(due) = self.contexts.get(&id).and_then(|context| context.response.next_timeout()) {
            self.deadlines.set(id, due);
        }
    }

    fn perform(&mut self, id: ServerId, action: Action, now: Instant) {
        match action {
            Action::Forward { branch, request, .. } => self.launch(id, branch, request, now),
            Action::Cancel { branch, reason } => {
                let client = self.contexts.get(&id).and_then(|context| context.client(branch));
                if let Some(client) = client {
                    self.layer.cancel_because(client, reason, now);
                }
            }
            Action::Abandon { branch } => {
                let client = self.contexts.get(&id).and_then(|context| context.client(branch));
                if let Some(client) = client {
                    self.branches.remove(&client);
                    self.layer.abandon(client);
                }
            }
            Action::Respond(response) => self.respond(id, response, now),
            Action::Done => {
                self.contexts.remove(&id);
                self.deadlines.clear(id);
            }
        }
    }

    /// §16.6 steps 7 to 10: the edge that the copy's own Route names, our signed Via, and off it goes. Without a
    /// link the branch fails at once: the caller does not wait for a dead edge.
    fn launch(&mut self, id: ServerId, branch: BranchId, mut request: Request, now: Instant) {
        if let Some(Context { detour: Detour::Ways(_), response, .. }) = self.contexts.get(&id) {
            in_dialog::forget_route(&mut request, response.request());
        }
        let Way::Edge(edge) = self.edges.by_route(&request) else {
            self.counters.no_edge += 1;
            return self.on_broken(id, branch, End::Failed(Failure::NoRoute), now);
        };
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let token = match request.top_via() {
            Ok(below) => signature::token(&request, &below, &self.settings.keys),
            Err(_) => self.layer.ids().branch(),
        };
        branch::push_via(&mut request, "TLS", signature::SENT_BY, &token, context.loop_hash);
        auth::forget(&mut request, |realm| self.settings.domains.contains(realm));
        let client = self.layer.request(request, EdgeHop(edge), now);
        context.clients.push((branch, client));
        self.branches.insert(client, (id, branch));
    }

    /// §16.7: the context knows what becomes of it.
    fn on_response(&mut self, client: ClientId, response: Response, now: Instant) {
        let Some(&(id, branch)) = self.branches.get(&client) else {
            return self.on_notify_response(client, &response, now);
        };
        if response.status == FLOW_FAILED {
            return self.on_broken(id, branch, End::Answered(response), now);
        }
        self.step(id, now, |context, now, out| context.on_response(branch, response, now, out));
    }

    fn on_failure(&mut self, client: ClientId, failure: Failure, now: Instant) {
        let Some(&(id, branch)) = self.branches.get(&client) else {
            return self.on_notify_failure(client, failure, now);
        };
        if failure == Failure::NoRoute {
            return self.on_broken(id, branch, End::Failed(failure), now);
        }
        self.step(id, now, |context, now, out| context.on_failure(branch, failure, now, out));
    }

    /// Sends a copy on the branch that this cluster's cores have for the target, without a transaction (§16.11).
    pub(crate) fn send_stateless(&mut self, mut copy: Request, loop_hash: u64) {
        let Way::Edge(edge) = self.edges.by_route(&copy) else {
            self.counters.no_edge += 1;
            return;
        };
        let token = match copy.top_via() {
            Ok(below) => signature::token(&copy, &below, &self.settings.keys),
            Err(_) => return,
        };
        branch::push_via(&mut copy, "TLS", signature::SENT_BY, &token, loop_hash);
        let lane = transaction::lane(copy.call_id());
        self.layer.send(copy.encode(), EdgeHop(edge), lane);
    }

    fn on_answer(&mut self, query: QueryId, answer: Answer, now: Instant) {
        match self.pending.remove(&query) {
            Some(Pending::Register(register)) => self.on_register_answer(register, answer, now),
            Some(Pending::Subscribe(subscription)) => self.on_subscribe_answer(subscription, answer, now),
            Some(Pending::Notify(it)) => self.on_notify_answer(it.0, &it.1, answer, now),
            Some(Pending::Unsubscribe(it)) => self.on_unsubscribe_answer(*it, answer),
            Some(Pending::Expire(saving)) => self.on_expire_answer(*saving, &answer),
            Some(Pending::Call(call)) => self.on_call_answer(call, answer, now),
            Some(Pending::Leaving(leaving)) => self.on_leaving_answer(&leaving, answer, now),
            Some(Pending::Cancel(cancel)) => self.on_cancel_answer(&cancel.0, &cancel.1, answer, now),
            Some(Pending::Broken(broken)) => self.on_broken_answer(*broken, answer, now),
            Some(Pending::Ack(ack)) => self.on_ack_answer(*ack, answer, now),
            Some(Pending::Why(asked)) => self.on_why_answer(*asked, answer, now),
            None => {}
        }
    }
}

impl Context {
    fn client(&self, branch: BranchId) -> Option<ClientId> {
        self.clients.iter().find(|(b, _)| *b == branch).map(|(_, client)| *client)
    }
}

impl node::Engine for Core {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::FromEdge { edge, message, source, local } => {
                (self.source, self.local) = (source, local);
                self.layer.receive(message, EdgeHop(edge), now);
            }
            Input::Answer(query, answer) => self.on_answer(query, answer, now),
            Input::Due(due) => self.expire(due, now),
            Input::Notify(it) => self.notify(&it.aor, it.news, now),
            Input::EdgeUp { edge, name, advertised } => self.edges.up(edge, &name, &advertised),
            Input::EdgeDown(edge) => {
                self.edges.down(edge);
                self.flows.edge_down(edge);
                self.layer.transport_error(EdgeHop(edge), now);
            }
            Input::FlowsDown { edge, tokens } => {
                tokens.into_iter().for_each(|token| self.flows.down(edge, token, now));
            }
            Input::FlowsUp(tokens) => tokens.iter().for_each(|token| self.flows.up(token)),
            Input::Domains(domains) => self.serve(domains),
            Input::Clock(unix) => self.clock = Clock { at: now, unix },
            Input::NotSent(bytes) => self.layer.not_sent(&bytes, now),
            Input::Why(question) => self.why(question, now),
            Input::Report => self.out.push_back(Output::Report(Box::new(self.counters()))),
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.pump(now);
        while let Some(id) = self.deadlines.due(now) {
            let due = self.contexts.get(&id).and_then(|context| context.response.next_timeout());
            if due.is_some_and(|due| due <= now) {
                self.step(id, now, |context, now, out| context.on_timeout(now, out));
            } else {
                self.arm(id);
            }
            self.pump(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.layer.poll_timeout(), self.deadlines.next()].into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
