//! What an edge does when a core dies, so that the user agents do not notice.
//!
//! A request that nobody has answered goes to another core, as a further branch of the same response context. What
//! already rings stays: its answer comes through any core, because every core knows the cluster's Via branches, and a
//! CANCEL goes to any core for the same reason.

use std::time::Instant;

use link::PeerId;
use proxy::context::{BranchId, Failure};
use proxy::target::Target;
use sip::{Name, Reject, StatusCode};
use transaction::{ClientId, ServerId};

use crate::engine::Edge;
use crate::hop::Hop;

impl Edge {
    /// A flow that cannot be written is a failed flow: 430 tells the core to try the next one (RFC 5626 §5.3.1). A link
    /// whose queue is full is overload: 503.
    pub(crate) fn on_transport_error(&mut self, client: ClientId, now: Instant) {
        let context = self.branches.get(&client).and_then(|(id, _)| self.contexts.get(id));
        let failure = match context.and_then(|context| context.hop) {
            Some(Hop::Core(_)) | None => Failure::Transport,
            Some(Hop::Ua(_)) => Failure::NoRoute,
        };
        self.on_failure(client, failure, now);
    }

    /// The core that is home to a Call-ID among those with a link, `except` one that has just failed.
    pub(crate) fn home(&self, call_id: &[u8], except: Option<PeerId>) -> Option<PeerId> {
        let live = self.cores.iter().filter(|(core, _)| Some(**core) != except);
        link::choose::peer(call_id, live.map(|(peer, core)| core.candidate(*peer)))
    }

    /// 503 while no core is reachable; the spread keeps the user agents from coming back as one.
    pub(crate) fn no_core(&self) -> Reject {
        Reject::new(StatusCode::new(503)).with(Name::RetryAfter, self.spread())
    }

    /// Seconds after which who was refused may come again.
    pub(crate) fn spread(&self) -> String {
        (2 + self.counters.requests_in() % 8).to_string()
    }

    /// A core is gone. What it never answered goes to another core; what already rings may still be answered
    /// through any core, so its branch stays (design: a core keeps no state that a call needs).
    pub(crate) fn on_core_down(&mut self, core: PeerId, now: Instant) {
        self.cores.remove(&core);
        let mut hit: Vec<ServerId> = self.waiting_for(core);
        hit.sort_unstable();
        for id in hit {
            self.retry_elsewhere(id, core, now);
        }
        self.redirect_answers(core);
        self.pump(now);
    }

    #[expect(clippy::iter_over_hash_type, reason = "the caller sorts")]
    fn waiting_for(&self, core: PeerId) -> Vec<ServerId> {
        let mut hit = Vec::new();
        for (id, context) in &self.contexts {
            if context.hop == Some(Hop::Core(core)) {
                hit.push(*id);
            }
        }
        hit
    }

    fn retry_elsewhere(&mut self, id: ServerId, core: PeerId, now: Instant) {
        let Some(context) = self.contexts.get(&id) else { return };
        let next = self.home(context.response.request().call_id(), Some(core));
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered || context.cancelled {
            // It rings: the answer comes through any core, and so a CANCEL must go. What is cancelled is not tried again.
            if let Some(next) = next {
                context.hop = Some(Hop::Core(next));
                for (_, client) in &context.clients {
                    self.layer.redirect_client(*client, Hop::Core(next));
                    self.layer.repeat_cancel(*client, now);
                }
            }
            return;
        }
        let Some(next) = next else {
            for (branch, client) in context.clients.clone() {
                // Its 100 may have come; without this it would wait for a final for ever.
                self.branches.remove(&client);
                self.layer.abandon(client);
                self.step(id, now, |context, now, out| {
                    context.response.on_failure(branch, Failure::Transport, now, out);
                });
            }
            return;
        };
        self.counters.retried += 1;
        context.hop = Some(Hop::Core(next));
        let orphans: Vec<BranchId> = context.clients.iter().map(|(branch, _)| *branch).collect();
        let target = Target::new(context.response.request().uri.clone(), 0);
        self.source = match context.from {
            Hop::Ua(flow) => Some(flow),
            Hop::Core(_) => None,
        };
        self.step(id, now, |context, now, out| {
            context.response.add_target(target, now, out);
            for branch in orphans {
                context.response.orphan(branch, now, out);
            }
        });
        self.pump(now);
        self.source = None;
    }

    /// Answers to requests that came from the lost core leave through another one: the signed Via of the cluster
    /// lets any core pass them on.
    #[expect(clippy::iter_over_hash_type, reason = "each context is changed by itself; nothing is sent")]
    fn redirect_answers(&mut self, core: PeerId) {
        let live: Vec<_> = self.cores.iter().map(|(peer, core)| core.candidate(*peer)).collect();
        for (id, context) in &mut self.contexts {
            if context.from != Hop::Core(core) {
                continue;
            }
            let call_id = context.response.request().call_id();
            if let Some(next) = link::choose::peer(call_id, live.iter().copied()) {
                context.from = Hop::Core(next);
                self.layer.redirect_server(*id, Hop::Core(next));
            }
        }
        // What was answered already and not acknowledged: any core passes it on.
        self.layer.redirect_servers(Hop::Core(core), |lane| {
            link::choose::peer(&lane.to_be_bytes(), live.iter().copied()).map(Hop::Core)
        });
    }
}
