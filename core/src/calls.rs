//! The life of every request but REGISTER in a core: who asks, where the callee is, one branch for each
//! UA of his.

use std::time::Instant;

use bytes::Bytes;
use location::{Answer, Query, User};
use proxy::context::{Options, ResponseContext};
use proxy::target::{Target, TargetSet};
use registrar::Record;
use sip::{Aor, Name, Reject, Request, Response, StatusCode, Uri};
use transaction::ServerId;

use crate::auth::{Claim, Role};
use crate::callee::{self, Callee, Who};
use crate::edges::Way;
use crate::egress;
use crate::engine::Core;
use crate::in_dialog::Detour;
use crate::pending::Pending;
use crate::signature;
use crate::ways::{Found, Ways};

/// A request between two answers of the store. The request itself waits in its response context, where a CANCEL
/// finds it.
#[derive(Debug)]
pub(crate) struct Call {
    id: ServerId,
    callee: Callee,
    /// Who must be proven to be the caller, if anybody, and by what.
    caller: Option<(Aor, Claim)>,
    /// The caller has not proven to be one of ours, although this method is challenged.
    is_stranger: bool,
    /// Inside a dialog: the way that the Route still offers when the store does not answer.
    by_route: Option<Target>,
    /// The callee has no binding; is there such a user at all?
    looking_for_user: bool,
}

impl Core {
    /// A request for an address of ours.
    pub(crate) fn call(
        &mut self,
        id: ServerId,
        request: Request,
        callee: Callee,
        loop_hash: u64,
        now: Instant,
    ) {
        let claimed = self.caller(&request, &callee).and_then(|caller| match caller {
            Some(caller) => {
                let at = self.moment(now);
                let claim = self.auth.claim(&request, Role::Proxy, &caller, at)?;
                Ok(Some((caller, claim)))
            }
            None => Ok(None),
        });
        let caller = match claimed {
            Ok(caller) => caller,
            Err(reject) => {
                self.counters.challenge(reject.status);
                return self.reject(id, &request, &reject, now);
            }
        };
        let is_stranger = caller.is_none() && self.settings.challenged.includes(&request.method);
        let mut request = request;
        let by_route = self.by_route(&request);
        // A Route that an outsider composed for a new request is not ours to follow, nor is its proof (§22.3).
        request.headers.remove(Name::Route);
        let response = self.context(request);
        self.open(id, response, loop_hash, Detour::None);
        let user = caller.as_ref().map(|(_, claim)| claim.user.clone());
        let query = Query::Lookup { aor: callee.aor.clone(), user };
        let call = Call { id, callee, caller, is_stranger, by_route, looking_for_user: false };
        self.ask(query, Pending::Call(Box::new(call)));
    }

    /// The way of a request inside a dialog by its Route, if that names an edge with a link.
    fn by_route(&self, request: &Request) -> Option<Target> {
        request.to_tag()?;
        let is_spent = |uri: &Uri<'_>| egress::proof(uri, request, &self.settings.keys).is_some();
        let (Way::Edge(_), dead) = self.edges.past_the_dead(request, is_spent) else { return None };
        let route = request.headers.values(Name::Route).skip(dead).map(Bytes::copy_from_slice).collect();
        Some(Target { route, ..Target::new(request.uri.clone(), 0) })
    }

    /// Who must prove to be the caller: the owner of a From address in one of our domains.
    ///
    /// Inside a dialog nobody is asked again: the tokens in its Route are ours. A To tag alone is easily written, so
    /// without a Route, or towards an address-of-record (no dialog has it for its remote target), it counts for nothing.
    fn caller(&self, request: &Request, callee: &Callee) -> Result<Option<Aor>, Reject> {
        let is_inside =
            request.to_tag().is_some() && callee.who != Who::Everybody && request.top_route().is_some();
        if is_inside || !self.settings.challenged.includes(&request.method) {
            return Ok(None);
        }
        let from = request.from()?.parsed_uri()?;
        if !from.is_sip() || !self.settings.serves(&from) {
            return Ok(None);
        }
        Ok(Some(Aor::of(&from)?))
    }

    pub(crate) fn context(&mut self, request: Request) -> ResponseContext {
        let to_tag = self.layer.ids().tag();
        Self::context_with_tag(request, to_tag)
    }

    pub(crate) fn context_with_tag(request: Request, to_tag: String) -> ResponseContext {
        ResponseContext::new(request, to_tag, Options::default())
    }

    /// RFC 3261 §16.10. Before the store has answered there is no branch: the request ends here (§9.2: 487).
    pub(crate) fn on_cancel(&mut self, invite: ServerId, reason: Option<&Bytes>, now: Instant) {
        self.step(invite, now, |context, now, out| context.on_cancel(reason, now, out));
    }

    /// A CANCEL that matches no INVITE here: the core that forwarded it is gone. The cores' branches are computed, so the
    /// phones that ring can be cancelled all the same (§16.10 has a proxy without a context forward it statelessly, §16.11).
    pub(crate) fn cancel_for_another(
        &mut self,
        id: ServerId,
        request: Request,
        callee: Callee,
        now: Instant,
    ) {
        let tag = self.layer.ids().tag();
        self.respond(id, Response::to(&request, StatusCode::OK, Some(&tag)), now);
        let query = Query::Lookup { aor: callee.aor.clone(), user: None };
        self.ask(query, Pending::Cancel(Box::new((request, callee))));
    }

    /// Where the INVITE may have gone: to every binding of the callee.
    pub(crate) fn on_cancel_answer(
        &mut self,
        request: &Request,
        callee: &Callee,
        answer: Answer,
        now: Instant,
    ) {
        let Answer::Loaded { record, .. } = answer else { return };
        let loop_hash = signature::loop_hash(request);
        let mut request = request.clone();
        request.headers.remove(Name::Route);
        let targets = callee.targets(&record, &request, self.unix(now));
        if targets.is_empty() && callee.who == Who::Everybody {
            self.cancel_by_routes(&request, callee.aor.user(), loop_hash);
        }
        for target in targets {
            if let Ok(copy) = proxy::branch::copy(&request, &target) {
                self.send_stateless(copy, loop_hash);
            }
        }
    }

    /// The store has answered one of a call's questions.
    pub(crate) fn on_call_answer(&mut self, call: Box<Call>, answer: Answer, now: Instant) {
        if !self.contexts.contains_key(&call.id) {
            return; // cancelled meanwhile
        }
        match answer {
            Answer::Loaded { record, credentials, is_last_known } => {
                match self.prove(&call, credentials.flatten().as_ref(), now) {
                    Ok(()) => self.fork(call, &record, is_last_known, now),
                    // The password may be another one by now.
                    Err(_) if is_last_known => self.refuse_for_now(call.id, now),
                    Err(reject) => self.refuse(call.id, &reject, now),
                }
            }
            Answer::Credentials(known) if call.looking_for_user => {
                self.nobody_there(&call, known.is_some(), now);
            }
            Answer::Unavailable if call.by_route.is_some() => {
                let targets = call.by_route.into_iter().collect();
                self.step(call.id, now, |context, now, out| context.start(targets, now, out));
            }
            Answer::Credentials(_) | Answer::Saved { .. } | Answer::Conflict | Answer::Unavailable => {
                self.refuse_for_now(call.id, now);
            }
        }
    }

    fn refuse_for_now(&mut self, id: ServerId, now: Instant) {
        let reject = self.unavailable();
        self.refuse(id, &reject, now);
    }

    /// The callee has no binding.
    fn nobody_there(&mut self, call: &Call, exists: bool, now: Instant) {
        let Some(context) = self.contexts.get(&call.id) else { return };
        match self.without_binding(&call.callee, context.response.request(), exists) {
            Ok(uri) => self.by_routes(call.id, &uri, call.caller.is_some(), now),
            Err(reject) => self.refuse(call.id, &reject, now),
        }
    }

    fn prove(
        &mut self,
        call: &Call,
        known: Option<&location::Credentials>,
        now: Instant,
    ) -> Result<(), Reject> {
        let at = self.moment(now);
        let (Some((caller, claim)), Some(context)) = (&call.caller, self.contexts.get(&call.id)) else {
            return Ok(());
        };
        let request = context.response.request();
        let proven = self.auth.prove(request, Role::Proxy, caller, claim, known, at);
        if let Err(reject) = proven {
            self.counters.auth_failures += 1;
            return Err(reject);
        }
        callee::check_contact(request, caller, &self.settings)
    }

    /// §16.5 and §16.6: the target set, and a branch for each of the first group. Statefully: §16.1.
    fn fork(&mut self, mut call: Box<Call>, record: &Record, is_last_known: bool, now: Instant) {
        let Some(context) = self.contexts.get(&call.id) else { return };
        let found = Found { record, is_last_known };
        let ways = self.ways(&call.callee, context.response.request(), found, call.is_stranger, now);
        let mut targets = match ways {
            Ways::Targets { targets, suspended } => {
                self.counters.suspended += suspended.len() as u64;
                targets
            }
            Ways::Refused(reject) => return self.refuse(call.id, &reject, now),
            Ways::NotNow => return self.refuse_for_now(call.id, now),
            Ways::Nobody => {
                call.looking_for_user = true;
                let query = Query::Credentials(User::of(&call.callee.aor));
                return self.ask(query, Pending::Call(call));
            }
        };
        if let Some(Target { route, .. }) = call.by_route.take().filter(|way| way.route.len() > 1) {
            // RFC 5627 §6.1: inside a dialog the Route beyond the cluster counts, and not the Path.
            targets.iter_mut().for_each(|target| target.route.clone_from(&route));
        }
        if call.callee.who == Who::RemoteTarget && !targets.is_empty() {
            self.counters.detours += 1;
        }
        let targets: TargetSet = targets.into_iter().collect();
        self.step(call.id, now, |context, now, out| context.start(targets, now, out));
    }

    pub(crate) fn refuse(&mut self, id: ServerId, reject: &Reject, now: Instant) {
        self.step(id, now, |context, _, out| context.reject(reject, out));
    }
}
