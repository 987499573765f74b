//! The life of every request but REGISTER in a core: who asks, where the callee is, one branch for each binding.

use std::time::Instant;

use location::{Answer, Query, User};
use proxy::context::{Options, ResponseContext};
use proxy::target::{Target, TargetSet};
use registrar::Record;
use sip::{Aor, Reject, Request, Response, StatusCode};
use transaction::ServerId;

use crate::auth::Role;
use crate::engine::Core;
use crate::pending::Pending;
use crate::routing;
use crate::signature;

/// A request between two answers of the store. The request itself waits in its response context, where a CANCEL
/// finds it.
#[derive(Debug)]
pub(crate) struct Call {
    id: ServerId,
    callee: Aor,
    /// Who must be proven to be the caller, if anybody.
    caller: Option<Aor>,
    /// The callee has no binding; is there such a user at all?
    looking_for_user: bool,
}

impl Core {
    /// Inside a dialog the Route set says it all (§16.5, first rule).
    pub(crate) fn forward_in_dialog(&mut self, id: ServerId, request: Request, loop_hash: u64, now: Instant) {
        let target = Target::new(request.uri.clone(), 0);
        let response = self.context(request);
        self.open(id, response, loop_hash);
        self.step(id, now, |context, now, out| context.start(TargetSet::one(target), now, out));
    }

    /// A request for an address of ours.
    pub(crate) fn call(&mut self, id: ServerId, request: Request, callee: Aor, loop_hash: u64, now: Instant) {
        let claimed = self.caller(&request).and_then(|caller| match caller {
            Some(caller) => {
                let at = self.moment(now);
                let claim = self.auth.claim(&request, Role::Proxy, &caller, at)?;
                Ok(Some((caller, claim)))
            }
            None => Ok(None),
        });
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(reject) => {
                self.counters.challenge(reject.status);
                return self.reject(id, &request, &reject, now);
            }
        };
        let mut request = request;
        // A Route that an outsider composed for a new request is not ours to follow, nor is its proof (§22.3).
        request.headers.remove(sip::Name::Route);
        let response = self.context(request);
        self.open(id, response, loop_hash);
        let (caller, user) = match claimed {
            Some((caller, user)) => (Some(caller), Some(user)),
            None => (None, None),
        };
        let query = Query::Load { aor: callee.clone(), user };
        self.ask(query, Pending::Call(Box::new(Call { id, callee, caller, looking_for_user: false })));
    }

    /// Who must prove to be the caller: the owner of a From address in one of our domains.
    fn caller(&self, request: &Request) -> Result<Option<Aor>, Reject> {
        if !self.settings.call_auth || request.to_tag().is_some() {
            return Ok(None);
        }
        let from = request.from()?.parsed_uri()?;
        if !from.is_sip() || !self.settings.serves(&from) {
            return Ok(None);
        }
        Ok(Some(Aor::of(&from)?))
    }

    fn context(&mut self, request: Request) -> ResponseContext {
        let to_tag = self.layer.ids().tag();
        ResponseContext::new(request, to_tag, Options::default())
    }

    /// §16.10. Before the store has answered there is no branch: the request ends here (§9.2: 487).
    pub(crate) fn on_cancel(&mut self, invite: ServerId, now: Instant) {
        self.step(invite, now, ResponseContext::on_cancel);
    }

    /// A CANCEL that matches no INVITE here: the core that forwarded it is gone. The cores' branches are computed, so the
    /// phones that ring can be cancelled all the same (§16.10 has a proxy without a context forward it statelessly).
    pub(crate) fn cancel_for_another(&mut self, id: ServerId, request: Request, callee: Aor, now: Instant) {
        let tag = self.layer.ids().tag();
        self.respond(id, Response::to(&request, StatusCode::OK, Some(&tag)), now);
        self.ask(Query::Load { aor: callee, user: None }, Pending::Cancel(Box::new(request)));
    }

    /// Where the INVITE may have gone: to every binding.
    pub(crate) fn on_cancel_answer(&mut self, request: &Request, answer: Answer, now: Instant) {
        let Answer::Loaded { record, .. } = answer else { return };
        let loop_hash = signature::loop_hash(request);
        let mut request = request.clone();
        request.headers.remove(sip::Name::Route);
        for target in routing::every_target(&record, self.unix(now)) {
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
            Answer::Loaded { record, credentials } => {
                match self.prove(&call, credentials.flatten().as_ref(), now) {
                    Ok(()) => self.fork(call, &record, now),
                    Err(reject) => self.refuse(call.id, &reject, now),
                }
            }
            Answer::Credentials(known) if call.looking_for_user => {
                let status = if known.is_some() { routing::UNAVAILABLE } else { routing::NOT_FOUND };
                self.refuse(call.id, &Reject::new(status), now);
            }
            Answer::Credentials(_) | Answer::Saved { .. } | Answer::Conflict | Answer::Unavailable => {
                let reject = self.unavailable();
                self.refuse(call.id, &reject, now);
            }
        }
    }

    fn prove(
        &mut self,
        call: &Call,
        known: Option<&location::Credentials>,
        now: Instant,
    ) -> Result<(), Reject> {
        let (Some(caller), Some(context)) = (&call.caller, self.contexts.get(&call.id)) else {
            return Ok(());
        };
        if self.auth.proves(context.response.request(), Role::Proxy, caller, known) {
            return Ok(());
        }
        self.counters.auth_failures += 1;
        let at = self.moment(now);
        Err(self.auth.challenge(Role::Proxy, caller.domain(), at, false))
    }

    /// §16.5 and §16.6: the target set, and a branch for each of the first group.
    fn fork(&mut self, mut call: Box<Call>, record: &Record, now: Instant) {
        let targets = routing::targets(record, self.unix(now));
        if targets.is_empty() {
            call.looking_for_user = true;
            let callee = User { name: call.callee.user().to_owned(), realm: call.callee.domain().to_owned() };
            return self.ask(Query::Credentials(callee), Pending::Call(call));
        }
        self.step(call.id, now, |context, now, out| context.start(targets, now, out));
    }

    fn refuse(&mut self, id: ServerId, reject: &Reject, now: Instant) {
        self.step(id, now, |context, _, out| context.reject(reject, out));
    }
}
