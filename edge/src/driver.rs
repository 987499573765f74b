//! The hands of an edge's shard: outputs of the engine become bytes on flows and frames on links.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use link::{Links, PeerId, SendError};
use node::admin::Condition;
use node::shard::Inbox;
use proto::{Sip, Source, frame::Kind};
use sip::{Summary, parse};
use transport::resolve::{Families, Question, Resolver, Step, Target, Unresolved, Walk};
use transport::{Flow, SendError as Unsent, Transport};

use crate::egress::{Answer, Ask};
use crate::engine::{Input, Output};
use crate::keeper;
use crate::metrics::Meter;

/// What one shard does with its outputs.
pub(crate) struct Driver {
    pub(crate) transport: Transport,
    /// None where there are next hops instead of cores.
    pub(crate) links: Option<Links>,
    /// None when the system knows no name server.
    pub(crate) resolver: Option<Resolver>,
    pub(crate) inbox: Inbox<Input>,
    pub(crate) keeper: Inbox<keeper::Input>,
    pub(crate) meter: Arc<Meter>,
    /// Holds while somebody takes requests.
    pub(crate) linked: Condition,
    pub(crate) shard: usize,
}

impl node::shard::Driver<Output> for Driver {
    fn perform(&mut self, output: Output) {
        match output {
            Output::ToUa { flow, bytes } => self.to_ua(flow, bytes),
            Output::ToCore { core, lane, bytes, source } => self.to_core(core, lane, bytes, source),
            Output::Registered(registration) => self.keeper.deliver(keeper::Input::Registered(registration)),
            Output::Egress(ask) => self.egress(ask),
            // A hint: with a full inbox the wheel notices later.
            Output::Silent(flow) => _ = self.keeper.try_send(keeper::Input::Silent(flow)),
            // A hint: with a full inbox the next pong or REGISTER says it again.
            Output::Heard(flow) => _ = self.keeper.try_send(keeper::Input::Heard(flow)),
            Output::NextHops(living) => self.next_hops(living),
            Output::Report(counters) => self.meter.reports.publish(self.shard, *counters),
        }
    }

    fn flush(&mut self) {
        self.transport.flush();
    }
}

/// What the keeper of flows does with its outputs.
pub(crate) struct KeeperDriver {
    pub(crate) transport: Transport,
    pub(crate) links: Option<Links>,
    pub(crate) inbox: Inbox<keeper::Input>,
    pub(crate) shards: Vec<Inbox<Input>>,
    pub(crate) meter: Arc<Meter>,
    /// How long a supervised stream may be silent.
    pub(crate) silence: Duration,
}

impl node::shard::Driver<keeper::Output> for KeeperDriver {
    fn perform(&mut self, output: keeper::Output) {
        match output {
            keeper::Output::Ping { flow, bytes } => self.ping(flow, bytes),
            keeper::Output::ToCore(core, frame) => {
                // A hint, or a question that is asked again.
                if self.links.as_ref().is_none_or(|links| links.send(core, 0, frame).is_err()) {
                    self.meter.unsent_to_core.inc();
                }
            }
            keeper::Output::Lost(flow) => self.tell(|| Input::FlowSilent(flow)),
            keeper::Output::Back(flow) => self.tell(|| Input::FlowBack(flow)),
            keeper::Output::Supervise(flow) => self.transport.supervise(&flow, self.silence),
            keeper::Output::Report(counters) => self.meter.keeper.publish(0, *counters),
        }
    }

    fn flush(&mut self) {
        self.transport.flush();
    }
}

impl KeeperDriver {
    fn tell(&self, input: impl Fn() -> Input) {
        for shard in &self.shards {
            shard.deliver(input());
        }
    }

    fn ping(&self, flow: Flow, bytes: Bytes) {
        match self.transport.send(&flow, bytes) {
            Ok(()) => {}
            // Its end may have come before its registration was learned.
            Err(transport::SendError::Gone) => self.inbox.deliver(keeper::Input::FlowDown(flow)),
            Err(_) => {
                self.meter.unsent_to_ua.inc();
            }
        }
    }
}

impl Driver {
    /// Every shard watches the same servers; one of them speaks for all.
    fn next_hops(&self, living: usize) {
        if self.shard != 0 {
            return;
        }
        self.meter.next_hops.set(i64::try_from(living).unwrap_or(i64::MAX));
        if living > 0 {
            tracing::info!(living, "next hops that live");
            self.linked.ready();
        } else {
            tracing::warn!("no next hop lives");
            self.linked.unready("no next hop lives");
        }
    }

    fn to_ua(&self, flow: Flow, bytes: Bytes) {
        trace(&bytes, || flow.remote.to_string());
        let Err(error) = self.transport.send(&flow, bytes.clone()) else { return };
        self.meter.unsent_to_ua.inc();
        // A stream that takes nothing is a failed flow; a datagram is sent again by its transaction.
        if flow.protocol.is_reliable() {
            self.transport.close(&flow);
            if error == Unsent::Gone {
                // Its end was told before this was to leave.
                let _ = self.inbox.try_send(Input::NotSent(bytes));
            }
        }
    }

    /// Asks beside the engine; every question is answered, in bounded time.
    fn egress(&self, ask: Ask) {
        let inbox = self.inbox.clone();
        match ask {
            Ask::Resolve { ticket, question, seed } => {
                let resolver = self.resolver.clone();
                tokio::spawn(async move {
                    let found = match &resolver {
                        Some(resolver) => resolver.resolve(question, seed).await,
                        None => without_dns(question, seed),
                    };
                    inbox.deliver(Input::Egress(Answer::Targets(ticket, found)));
                });
            }
            Ask::Reach { ticket, target } => {
                let transport = self.transport.clone();
                tokio::spawn(async move {
                    let flow = transport.reach(&target).await.inspect_err(|error| {
                        tracing::debug!(?target, %error, "egress target cannot be reached");
                    });
                    inbox.deliver(Input::Egress(Answer::Flow(ticket, flow.ok())));
                });
            }
        }
    }

    fn to_core(&self, core: PeerId, lane: u64, bytes: Bytes, source: Option<Flow>) {
        trace(&bytes, || self.core_name(core));
        let frame = Sip {
            message: bytes.clone(),
            source: source.map(|flow| source_of(&flow, &bytes)),
            received_at: if source.is_some() { node::clock::unix_millis() } else { 0 },
            ..Sip::default()
        };
        let Some(links) = &self.links else { return };
        match links.send(core, lane, Kind::Sip(frame)) {
            Ok(()) => {}
            // The loss of the link comes as an event of its own.
            Err(SendError::Down) => {
                self.meter.unsent_to_core.inc();
            }
            Err(SendError::Full | SendError::TooLarge) => {
                self.meter.unsent_to_core.inc();
                // Nobody repeats it on a reliable hop, so the engine has to know.
                let _ = self.inbox.try_send(Input::NotSent(bytes));
            }
        }
    }

    fn core_name(&self, core: PeerId) -> String {
        let peers = self.links.as_ref().map(Links::peers).unwrap_or_default();
        peers.into_iter().find(|info| info.peer == core).map_or_else(String::new, |info| info.name)
    }
}

/// Tells the log what leaves: target `wire`, level `trace`. Nothing is read or formatted unless it listens.
fn trace(bytes: &Bytes, to: impl FnOnce() -> String) {
    if !tracing::enabled!(target: "wire", tracing::Level::TRACE) {
        return;
    }
    if let Ok(message) = parse::message(bytes.clone(), &parse::Limits::default()) {
        let Summary { start, cseq, call_id, via, route, path } = Summary::of(&message);
        tracing::trace!(target: "wire", to = to(), call_id, cseq, via, route, path, "{start}");
    }
}

/// Only what needs no DNS.
fn without_dns(question: Question, seed: u64) -> Result<Vec<Target>, Unresolved> {
    match Walk::new(question, Families { v4: true, v6: true }, seed).1 {
        Step::Done(found) => found,
        Step::Ask(_) => Err(Unresolved::Unknown),
    }
}

/// A flow as the link tells it to a core. Its own end is told with a REGISTER only: the core may have to say it to the UA.
fn source_of(flow: &Flow, message: &[u8]) -> Source {
    let protocol = flow.protocol.token();
    let local =
        if message.starts_with(b"REGISTER ") { format!("{protocol}:{}", flow.local) } else { String::new() };
    Source::new(protocol, flow.remote, &local, false)
}
