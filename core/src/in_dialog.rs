//! Requests inside a dialog, RFC 3261 §12.2.1.1: by their Route, and when that leads nowhere any more by the location
//! service.
//!
//! The route set of a dialog is fixed when it begins, and its last entry names one flow of the UA. A UA that lost that
//! flow, or whose edge died, has registered again meanwhile: its contact (or its instance, or the GRUU that it gave as
//! its contact) is still known, and so is its new Path. To is the remote party of every request inside a dialog, so its
//! address says whose record to look into. Nothing is remembered for this: any core can do it.

use std::time::Instant;

use bytes::Bytes;
use location::{Answer, Query};
use proxy::context::{BranchId, Failure};
use proxy::target::{Target, TargetSet};
use proxy::{branch, stateless};
use sip::{Method, Name, Request, Response, StatusCode};
use transaction::ServerId;

use crate::callee::{Callee, Who};
use crate::edges::Way;
use crate::engine::{Core, EdgeHop};
use crate::pending::Pending;
use crate::routing::{self, Destination};
use crate::signature;

/// What is left to try for a request that its Route has led to a broken flow.
#[derive(Debug, Default)]
pub(crate) enum Detour {
    /// Nothing.
    #[default]
    None,
    /// The location service.
    Ask,
    /// These ways, the best last.
    Ways(Vec<Target>),
    /// These ways out of the cluster, the best last; what is left of the Route is for whoever is outside.
    Exits(Vec<Target>),
}

/// The end of a branch that was broken on its way.
#[derive(Debug)]
pub(crate) enum End {
    /// An edge said so.
    Answered(Response),
    /// There was nobody to send it to.
    Failed(Failure),
}

/// A branch that has come to its end while the store is asked for another way.
#[derive(Debug)]
pub(crate) struct Broken {
    id: ServerId,
    branch: BranchId,
    end: End,
    callee: Callee,
}

/// An ACK to a 2xx that waits for the way to the callee.
#[derive(Debug)]
pub(crate) struct Ack {
    request: Request,
    callee: Callee,
}

impl Core {
    /// §16.5, first rule: the Route set says it all. Its first `dead` entries name edges that are gone.
    pub(crate) fn forward_in_dialog(
        &mut self,
        id: ServerId,
        mut request: Request,
        dead: usize,
        loop_hash: u64,
        now: Instant,
    ) {
        drop_routes(&mut request, dead);
        let target = Target::new(request.uri.clone(), 0);
        let response = self.context(request);
        self.open(id, response, loop_hash, Detour::Ask);
        self.step(id, now, |context, now, out| context.start(TargetSet::one(target), now, out));
    }

    /// 430, or nobody to send it to (RFC 5626 §5.3.1): the UA may be reached by another flow.
    pub(crate) fn on_broken(&mut self, id: ServerId, branch: BranchId, end: End, now: Instant) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        match std::mem::take(&mut context.detour) {
            Detour::None => self.end(id, branch, end, now),
            Detour::Ask => {
                let Some(callee) = routing::remote_target(context.response.request(), &self.settings) else {
                    return self.end(id, branch, end, now);
                };
                let query = Query::Lookup { aor: callee.aor.clone(), user: None };
                self.ask(query, Pending::Broken(Box::new(Broken { id, branch, end, callee })));
            }
            Detour::Ways(ways) => self.try_next(id, branch, end, ways, Detour::Ways, now),
            Detour::Exits(ways) => self.try_next(id, branch, end, ways, Detour::Exits, now),
        }
    }

    /// The store has said where the UA is now.
    pub(crate) fn on_broken_answer(&mut self, broken: Broken, answer: Answer, now: Instant) {
        let Broken { id, branch, end, callee } = broken;
        let Some(context) = self.contexts.get(&id) else { return }; // answered meanwhile
        let mut ways = match answer {
            Answer::Loaded { record, .. } => {
                let ways = callee.targets(&record, context.response.request(), self.unix(now));
                self.awake(ways, now)
            }
            Answer::Saved { .. } | Answer::Credentials(_) | Answer::Conflict | Answer::Unavailable => {
                Vec::new()
            }
        };
        ways.reverse();
        self.counters.detours += u64::from(!ways.is_empty());
        self.try_next(id, branch, end, ways, Detour::Ways, now);
    }

    /// The next way first, the end of the last one then: so the caller hears of no end while a way is left.
    fn try_next(
        &mut self,
        id: ServerId,
        branch: BranchId,
        end: End,
        mut ways: Vec<Target>,
        rest: fn(Vec<Target>) -> Detour,
        now: Instant,
    ) {
        if let (Some(next), Some(context)) = (ways.pop(), self.contexts.get_mut(&id)) {
            context.detour = rest(ways);
            self.step(id, now, |context, now, out| {
                let _ = context.add_target(next, now, out); // none after a CANCEL
            });
        }
        self.end(id, branch, end, now);
    }

    fn end(&mut self, id: ServerId, branch: BranchId, end: End, now: Instant) {
        self.step(id, now, |context, now, out| match end {
            End::Answered(response) => context.on_response(branch, response, now, out),
            End::Failed(failure) => context.on_failure(branch, failure, now, out),
        });
    }

    /// ACK to a 2xx: no transaction, forwarded as the INVITE was (§13.2.2.4, §16.11).
    pub(crate) fn on_ack(&mut self, mut request: Request) {
        self.counters.request(&Method::Ack);
        match routing::destination(&request, &self.edges, &self.settings) {
            Ok(Destination::Edge { dead, .. }) => {
                drop_routes(&mut request, dead);
                let target = Target::new(request.uri.clone(), 0);
                self.forward_ack(&request, &target);
            }
            Ok(Destination::Outside { spent }) => self.ack_outside(request, spent),
            Ok(Destination::Registered(callee)) if callee.who != Who::Everybody => {
                let query = Query::Lookup { aor: callee.aor.clone(), user: None };
                self.ask(query, Pending::Ack(Box::new(Ack { request, callee })));
            }
            Ok(
                Destination::Registered(_)
                | Destination::Registrar
                | Destination::Watched(_)
                | Destination::Ourselves
                | Destination::Foreign,
            )
            | Err(_) => {
                self.counters.dropped_acks += 1;
            }
        }
    }

    /// The store has said where the ACK goes: to the first way whose edge lives.
    pub(crate) fn on_ack_answer(&mut self, ack: Ack, answer: Answer, now: Instant) {
        let Ack { mut request, callee } = ack;
        let way = match answer {
            Answer::Loaded { record, .. } => {
                let ways = callee.targets(&record, &request, self.unix(now));
                let lives = |way: &Target| way.route.first().is_some_and(|hop| self.edges.lives(hop));
                let way = ways.into_iter().find(lives);
                request.headers.remove(Name::Route);
                way
            }
            // The store is away: the Route may still be right.
            Answer::Saved { .. } | Answer::Credentials(_) | Answer::Conflict | Answer::Unavailable => {
                Some(Target::new(request.uri.clone(), 0))
            }
        };
        match way {
            Some(way) => self.forward_ack(&request, &way),
            None => self.counters.dropped_acks += 1,
        }
    }

    pub(crate) fn forward_ack(&mut self, request: &Request, target: &Target) {
        let copy = branch::copy(request, target);
        let Some((edge, mut copy)) = copy.ok().and_then(|copy| match self.edges.by_route(&copy) {
            Way::Edge(edge) => Some((edge, copy)),
            Way::None | Way::Dead | Way::Foreign => None,
        }) else {
            self.counters.dropped_acks += 1;
            return;
        };
        // §16.11: the same for every repetition.
        let token = stateless::branch_of(request);
        branch::push_via(&mut copy, "TLS", signature::SENT_BY, &token, branch::loop_hash(request));
        let lane = transaction::lane(copy.call_id());
        self.layer.send(copy.encode(), EdgeHop(edge), lane);
    }
}

/// Takes the first entries of the Route away.
pub(crate) fn drop_routes(request: &mut Request, count: usize) {
    for _ in 0..count {
        request.headers.pop_top(Name::Route);
    }
}

/// Takes from a copy what is left of the Route that was received, below the way's own.
pub(crate) fn forget_route(copy: &mut Request, received: &Request) {
    let below = received.headers.values(Name::Route).count();
    if below == 0 {
        return;
    }
    let all: Vec<Bytes> = copy.headers.values(Name::Route).map(Bytes::copy_from_slice).collect();
    copy.headers.remove(Name::Route);
    for own in all.iter().take(all.len().saturating_sub(below)).rev() {
        copy.headers.push_top(Name::Route, own.clone());
    }
}

/// 430 Flow Failed (RFC 5626 §11.5).
pub(crate) const FLOW_FAILED: StatusCode = StatusCode::new(430);
