//! The edge's engine: from flow to core, from core to flow. Pure.
//!
//! Transaction-stateful (RFC 3261 §16.1, §16.2), dialog-stateless, never forks: every request has exactly one place to go. From a user
//! agent it goes to the core that is home to its Call-ID; from a core it goes to the flow that the token in our own
//! Route entry names. What may enter is decided in [`crate::access`], how a request is copied and which answer
//! counts in the `proxy` crate (§16.3 to §16.10, responses §16.7), retransmissions and timers in the `transaction` crate (§17).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use link::PeerId;
use proxy::context::{Action, BranchId, Failure, Options, ResponseContext};
use proxy::target::{Target, TargetSet};
use proxy::{branch, record_route, route, validate};
use sip::{Message, Method, Reject, Request, Response, StatusCode};
use transaction::{ClientId, Deadlines, Event, Ids, Layer, ServerId, Timers};
use transport::Flow;
use transport::token::Keys;

use crate::access::{self, Token};
use crate::context::{Context, Core};
use crate::counters::Counters;
use crate::direction;
use crate::egress::{self, Exit, Exits};
use crate::hop::{Hop, Next};
use crate::next_hop::NextHops;
use crate::rates::Rates;
use crate::registered::Registration;
use crate::registration;
use crate::settings::Settings;
use crate::silence::Silence;

/// What happens to an edge.
#[derive(Debug)]
pub enum Input {
    /// A message on a flow.
    FromUa {
        /// Where it came in.
        flow: Flow,
        /// What came.
        message: Message,
    },
    /// A message over a link.
    FromCore {
        /// Which core sent it.
        core: PeerId,
        /// What it sent.
        message: Message,
    },
    /// A stream was opened.
    FlowUp(Flow),
    /// A stream is closed, or could not be written.
    FlowDown(Flow),
    /// A phone answers no pings any more.
    FlowSilent(Flow),
    /// It does again, or is registered no longer.
    FlowBack(Flow),
    /// The link to a core stands.
    CoreUp {
        /// The core.
        core: PeerId,
        /// Its unique name: what the choice by Call-ID hashes, so that every edge chooses alike.
        name: String,
        /// Its share relative to the others.
        weight: u32,
    },
    /// The link to a core is lost.
    CoreDown(PeerId),
    /// The core finishes what it has and takes no new work.
    CoreDrains(PeerId),
    /// The link did not take a message of ours: its queue is full.
    NotSent(Bytes),
    /// The answer to [`Output::Egress`].
    Egress(egress::Answer),
    /// Tokens are made with these keys from now on.
    Keys(Box<Keys>),
    /// The sockets are open: next hops can be looked for.
    Begin,
    /// Asks for [`Output::Report`].
    Report,
}

/// What an edge wants done.
#[derive(Debug)]
pub enum Output {
    /// Bytes for a flow.
    ToUa {
        /// Where to.
        flow: Flow,
        /// One message.
        bytes: Bytes,
    },
    /// A message for a core.
    ToCore {
        /// Which core.
        core: PeerId,
        /// Hash of the Call-ID: chooses the stream.
        lane: u64,
        /// One message.
        bytes: Bytes,
        /// The flow on which it entered; `None` for what the edge itself sends.
        source: Option<Flow>,
    },
    /// A REGISTER was answered with 200: for the keeper of flows.
    Registered(Box<Registration>),
    /// A question about the outside; comes back as [`Input::Egress`].
    Egress(egress::Ask),
    /// An INVITE has had no answer for a while: for the keeper of flows.
    Silent(Flow),
    /// A phone that answered no pings has spoken: for the keeper of flows.
    Heard(Flow),
    /// So many servers of next hops live.
    NextHops(usize),
    /// What was counted so far.
    Report(Box<Counters>),
}

/// The state of an edge.
#[derive(Debug)]
pub struct Edge {
    pub(crate) settings: Settings,
    pub(crate) layer: Layer<Hop>,
    pub(crate) contexts: HashMap<ServerId, Context, ahash::RandomState>,
    pub(crate) branches: HashMap<ClientId, (ServerId, BranchId), ahash::RandomState>,
    deadlines: Deadlines<ServerId>,
    pub(crate) cores: BTreeMap<PeerId, Core>,
    pub(crate) streams: HashSet<Flow, ahash::RandomState>,
    pub(crate) exits: Exits,
    pub(crate) next_hops: NextHops,
    pub(crate) rates: Rates,
    pub(crate) out: VecDeque<Output>,
    actions: Vec<Action>,
    pub(crate) silence: Silence,
    pub(crate) source: Option<Flow>,
    pub(crate) counters: Counters,
}

impl Edge {
    /// An edge without links and flows. `seed` makes its branches and tags.
    pub fn new(settings: Settings, timers: Timers, seed: [u8; 32]) -> Self {
        let mut ids = Ids::new(seed);
        let hasher = ahash::RandomState::with_seeds(ids.u64(), ids.u64(), ids.u64(), ids.u64());
        Self {
            next_hops: NextHops::new(&settings.next_hops),
            rates: Rates::new(settings.limits, settings.shard.1, hasher.clone()),
            settings,
            layer: Layer::new(timers, ids),
            contexts: HashMap::with_hasher(hasher.clone()),
            branches: HashMap::with_hasher(hasher.clone()),
            deadlines: Deadlines::new(),
            cores: BTreeMap::new(),
            streams: HashSet::with_hasher(hasher),
            exits: Exits::default(),
            out: VecDeque::new(),
            actions: Vec::new(),
            silence: Silence::default(),
            source: None,
            counters: Counters::default(),
        }
    }

    /// What was counted so far, with the gauges of this moment.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.transactions = self.layer.counts();
        counters.contexts = self.contexts.len() as u64;
        counters.streams = self.streams.len() as u64;
        counters
    }

    /// True when no transaction and no context is left: a drained edge may end.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_empty() && self.exits.is_idle() && self.layer.counts().total() == 0
    }

    /// Takes what the layer has to say: messages leave, events are worked on.
    pub(crate) fn pump(&mut self, now: Instant) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                transaction::Output::Send { to, bytes, lane } => self.send(to, bytes, lane),
                transaction::Output::Event(event) => self.on_event(event, now),
            }
        }
    }

    pub(crate) fn send(&mut self, to: Hop, bytes: Bytes, lane: u64) {
        self.out.push_back(match to {
            Hop::Ua(flow) => Output::ToUa { flow, bytes },
            Hop::Core(core) => Output::ToCore { core, lane, bytes, source: self.source },
        });
    }

    fn on_event(&mut self, event: Event<Hop>, now: Instant) {
        match event {
            Event::Request { id, request, from } => self.on_request(id, request, from, now),
            Event::Cancel { invite, reason } => {
                self.step(invite, now, |context, now, out| {
                    context.cancelled = true;
                    context.response.on_cancel(reason.as_ref(), now, out);
                });
            }
            Event::Ack { request, from } => self.on_ack(request, from, now),
            Event::Response { id, response } => self.on_response(id, response, now),
            // RFC 6026 §6, §7.3: goes nowhere.
            Event::StrayResponse { .. } => self.counters.stray_responses += 1,
            Event::Timeout { id } => self.on_failure(id, Failure::Timeout, now),
            Event::TransportError { id } => self.on_transport_error(id, now),
            Event::ClientEnded { id } => {
                self.branches.remove(&id);
                self.silence.forget(id);
            }
            Event::ServerEnded { .. } => {}
        }
    }

    /// RFC 3261 §16.3 to §16.6 for a new request.
    fn on_request(&mut self, id: ServerId, mut request: Request, from: Hop, now: Instant) {
        self.counters.request(&request.method, matches!(from, Hop::Ua(_)));
        let loop_hash = branch::loop_hash(&request);
        match self.admit(&mut request, from, loop_hash) {
            Ok(Next::Outside(mark)) => self.leave(id, request, from, Exit::Outside(mark), loop_hash, now),
            Ok(Next::Peer(peer)) => self.leave(id, request, from, Exit::Peer(peer), loop_hash, now),
            Ok(Next::Upwards) => self.climb(id, request, from, loop_hash, now),
            Ok(Next::Here) => self.answer_here(id, &request, now),
            Ok(Next::Hop(hop)) => self.forward(id, request, from, hop, loop_hash, now),
            Err(reject) => {
                let tag = self.layer.ids().tag();
                let response = reject.response(&request, &tag);
                self.respond(id, response, now);
            }
        }
    }

    /// Checks a request and says where it goes: §16.3, §16.4, and the edge's own rules.
    pub(crate) fn admit(&self, request: &mut Request, from: Hop, loop_hash: u64) -> Result<Next, Reject> {
        validate::request(request, &validate::Rules { supported: &[] })?;
        // RFC 5393 §4.2.2
        if branch::is_loop(request, &|sent_by| self.settings.is_our_host(sent_by), loop_hash) {
            return Err(Reject::new(StatusCode::new(482)));
        }
        if request.method == Method::Cancel {
            // §9.2: a CANCEL that matches no transaction
            return Err(Reject::new(StatusCode::new(481)));
        }
        match from {
            Hop::Ua(flow) if !self.next_hops.is_empty() => self.admit_beside(request, flow),
            Hop::Ua(flow) => self.admit_from_ua(request, flow).map(Next::Hop),
            Hop::Core(_) => self.admit_from_core(request),
        }
    }

    fn admit_from_ua(&self, request: &mut Request, flow: Flow) -> Result<Hop, Reject> {
        access::strip(request, flow.remote.ip(), &self.settings)?;
        let token = self.take_own_route(request)?;
        direction::keep_incoming(request, &flow, token.as_ref(), &self.settings);
        if request.method == Method::Register {
            access::add_path(request, &flow, &self.settings);
            registration::accept_keep(request, &flow, &self.settings);
        } else if record_route::wants(request) {
            record_route::insert(request, access::record_route(request, &flow, &self.settings));
            registration::accept_keep(request, &flow, &self.settings);
        }
        self.home(request.call_id(), None).map(Hop::Core).ok_or_else(|| self.no_core())
    }

    /// RFC 5626 §5.3.1: what comes from inside follows the token of our own Route entry.
    fn admit_from_core(&self, request: &mut Request) -> Result<Next, Reject> {
        let flow = match self.take_own_route(request)? {
            Some(Token::Flow(flow)) => flow,
            Some(Token::Outside(mark)) => return Ok(Next::Outside(mark)),
            None => return Err(Reject::new(access::FORBIDDEN).because("No Flow Token")),
        };
        if !self.has_flow(&flow) {
            return self.without_flow(request, &flow, None);
        }
        access::check_sips(request, &flow)?;
        if record_route::wants(request) {
            record_route::insert(request, access::record_route(request, &flow, &self.settings));
        }
        Ok(Next::Hop(Hop::Ua(flow)))
    }

    /// True when something can be sent on the flow of a token.
    pub(crate) fn has_flow(&self, flow: &Flow) -> bool {
        if flow.protocol.is_reliable() { self.streams.contains(flow) } else { self.settings.serves(flow) }
    }

    /// §16.4, and what the removed entry says.
    fn take_own_route(&self, request: &mut Request) -> Result<Option<Token>, Reject> {
        let own = route::preprocess(request, &|uri| self.settings.names_us(uri))?;
        match own {
            Some(own) => access::token_of(&own.user, &self.settings.keys),
            None => Ok(None),
        }
    }

    fn forward(&mut self, id: ServerId, request: Request, from: Hop, hop: Hop, loop_hash: u64, now: Instant) {
        let target = Target::new(request.uri.clone(), 0);
        let to_tag = self.layer.ids().tag();
        // RFC 5626 §11.5: a 430 is for the proxy that knows the other flows, not for a UA.
        let keep_430 = matches!(hop, Hop::Ua(_));
        let options = Options { keep_503: true, keep_430, ..Options::default() };
        let mut response = ResponseContext::new(request, to_tag, options);
        response.start(TargetSet::one(target), now, &mut self.actions);
        let context = Context {
            hop: Some(hop),
            ..Context::new(response, from, loop_hash, self.layer.ids().branch(), now)
        };
        self.contexts.insert(id, context);
        self.source = match from {
            Hop::Ua(flow) => Some(flow),
            Hop::Core(_) => None,
        };
        self.perform(id, now);
        self.pump(now);
        self.source = None;
    }

    /// Steps one context and does what it asks for.
    pub(crate) fn step(
        &mut self,
        id: ServerId,
        now: Instant,
        step: impl FnOnce(&mut Context, Instant, &mut Vec<Action>),
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        step(context, now, &mut self.actions);
        self.perform(id, now);
    }

    /// Makes sure that Timer C of a context is looked at in time.
    pub(crate) fn arm(&mut self, id: ServerId) {
        if let Some(due) = self.contexts.get(&id).and_then(Context::next_timeout) {
            self.deadlines.set(id, due);
        }
    }

    /// Does what a context asked for.
    fn perform(&mut self, id: ServerId, now: Instant) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Forward { branch, request, .. } => self.launch(id, branch, request, now),
                Action::Cancel { branch, reason } => {
                    match self.contexts.get(&id).and_then(|context| context.client(branch)) {
                        Some(client) => self.layer.cancel_because(client, reason, now),
                        None => self.stay(id, now),
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
        self.actions = actions;
        self.arm(id);
    }

    /// §16.6 steps 7 to 10: our Via on the copy, and off it goes.
    fn launch(&mut self, id: ServerId, branch: BranchId, mut request: Request, now: Instant) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let Some(hop) = context.hop else { return self.depart(id, branch, request, now) };
        let token = &context.branch_token();
        match hop {
            Hop::Core(_) => {
                branch::push_via(&mut request, "TLS", &self.settings.name, token, context.loop_hash);
            }
            Hop::Ua(flow) => {
                // §16.6 step 6: the element at the other end may route strictly.
                let _ = route::postprocess(&mut request); // what cannot be read is for that element to judge
                let host = self.settings.public_host(&flow);
                branch::push_via(&mut request, flow.protocol.via(), &host, token, context.loop_hash);
            }
        }
        let is_invite = request.method == Method::Invite;
        let client = self.layer.request(request, hop, now);
        if is_invite {
            self.silence.watch(client, hop, now);
        }
        context.clients.push((branch, client));
        self.branches.insert(client, (id, branch));
    }

    /// §18.2.2 with RFC 3581 §4: on the flow of the request.
    pub(crate) fn respond(&mut self, id: ServerId, mut response: Response, now: Instant) {
        self.on_answer_to_register(id, &mut response);
        self.say_when_to_return(id, &mut response);
        self.counters.response(response.status);
        if let Some(context) = self.contexts.get_mut(&id)
            && response.status != StatusCode::TRYING
        {
            context.answered = true;
        }
        self.layer.respond(id, response, now);
    }

    fn on_response(&mut self, client: ClientId, response: Response, now: Instant) {
        let Some(&(id, branch)) = self.branches.get(&client) else {
            return self.on_late_answer(client, response.status, now);
        };
        self.on_heard(id, branch, &response, now);
        self.step(id, now, |context, now, out| context.response.on_response(branch, response, now, out));
    }

    pub(crate) fn on_failure(&mut self, client: ClientId, failure: Failure, now: Instant) {
        let Some(&(id, branch)) = self.branches.get(&client) else {
            return self.on_next_hop_failure(client, now);
        };
        self.pass_over(id, branch, None, now);
        self.step(id, now, |context, now, out| context.response.on_failure(branch, failure, now, out));
    }
}

impl node::Engine for Edge {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::FromUa { flow, message } => self.on_message(flow, message, now),
            Input::FromCore { core, message } => self.layer.receive(message, Hop::Core(core), now),
            Input::FlowUp(flow) => _ = self.streams.insert(flow),
            Input::FlowDown(flow) => {
                self.streams.remove(&flow);
                self.next_hops.on_flow_down(&flow, now);
                self.layer.transport_error(Hop::Ua(flow), now);
            }
            Input::FlowSilent(flow) => self.on_flow_silent(flow, now),
            Input::FlowBack(flow) => _ = self.next_hops.find(&flow),
            Input::Begin => self.begin(now),
            Input::CoreUp { core, name, weight } => {
                self.cores.insert(core, Core { name: link::choose::hash(name.as_bytes()), weight });
            }
            Input::CoreDown(core) => self.on_core_down(core, now),
            Input::CoreDrains(core) => _ = self.cores.remove(&core),
            Input::Egress(answer) => self.on_egress(answer, now),
            Input::NotSent(bytes) => self.layer.not_sent(&bytes, now),
            Input::Keys(keys) => self.settings.keys = *keys,
            Input::Report => self.out.push_back(Output::Report(Box::new(self.counters()))),
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.pump(now);
        self.on_silence_due(now);
        self.on_next_hops_due(now);
        self.pump(now);
        while let Some(id) = self.deadlines.due(now) {
            let due = self.contexts.get(&id).and_then(Context::next_timeout);
            if due.is_some_and(|due| due <= now) {
                self.on_impatience(id, now);
                self.step(id, now, |context, now, out| context.response.on_timeout(now, out));
            } else {
                self.arm(id);
            }
            self.pump(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let next =
            [self.layer.poll_timeout(), self.deadlines.next(), self.silence.next(), self.next_hops.next()];
        next.into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
