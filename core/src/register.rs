//! The life of a REGISTER in a core, RFC 3261 §10.3: challenge, load, check, apply, save, answer.
//!
//! Only a saved binding is acknowledged. A conflicting save of another core sends the request back to the load,
//! so no update is lost; the rounds are bounded. Every core reads and writes one location service (§10.1).

use std::time::Instant;

use location::{Answer, Credentials, Query, Save};
use registrar::notify::{self, News};
use registrar::{Origin, Record, answer, apply, update};
use sip::{Aor, Name, Reject, Request};
use transaction::ServerId;

use crate::auth::{Claim, Moment, Proof, Role};
use crate::engine::{Core, EdgeHop};
use crate::gruu;
use crate::pending::Pending;
use crate::service_route::{self, Entry};

/// A REGISTER between two answers of the store.
#[derive(Debug)]
pub(crate) struct Register {
    id: ServerId,
    request: Request,
    aor: Aor,
    claim: Claim,
    /// Set once the claim has proven to be right: a nonce count is used up only once, however often the record is read.
    proof: Option<Proof>,
    entry: Entry,
    source: String,
    /// The next state, once it was sent to the store.
    saving: Option<Record>,
    /// What the watchers are to be told then.
    news: Vec<News>,
    rounds: u32,
}

/// Most loads for one REGISTER; beyond it other cores write the record faster than this one can read it.
const MAX_ROUNDS: u32 = 8;

impl Core {
    /// §10.3 steps 1 to 4, up to the first question.
    pub(crate) fn register(&mut self, id: ServerId, request: Request, from: EdgeHop, now: Instant) {
        let at = self.moment(now);
        let claimed = self.examine(&request, at);
        let (aor, claim) = match claimed {
            Ok(claimed) => claimed,
            Err(reject) => {
                self.counters.challenge(reject.status);
                return self.reject(id, &request, &reject, now);
            }
        };
        let edge = self.edges.name(from.0).unwrap_or("").to_owned();
        let entry = Entry { edge, local: std::mem::take(&mut self.local) };
        let source = std::mem::take(&mut self.source);
        let register = Register {
            id,
            request,
            aor,
            claim,
            proof: None,
            entry,
            source,
            saving: None,
            news: Vec::new(),
            rounds: 0,
        };
        self.load(Box::new(register));
    }

    /// §10.3 steps 1, 2, 5 and the half of step 3 that needs no password. Step 5 has to come before step 3: the domain in
    /// To is the realm.
    fn examine(&self, request: &Request, at: Moment) -> Result<(Aor, Claim), Reject> {
        let aor = update::address_of_record(request, |domain| self.settings.domains.contains(domain))?;
        update::check_require(request)?;
        let claim = self.auth.claim(request, Role::Registrar, &aor, at)?;
        Ok((aor, claim))
    }

    fn load(&mut self, mut register: Box<Register>) {
        register.rounds += 1;
        let user = register.proof.is_none().then(|| register.claim.user.clone());
        let query = Query::Load { aor: register.aor.clone(), user };
        self.ask(query, Pending::Register(register));
    }

    /// The store has answered one of a REGISTER's questions.
    pub(crate) fn on_register_answer(&mut self, mut register: Box<Register>, answer: Answer, now: Instant) {
        self.was_saved(register.saving.is_some(), &answer);
        match answer {
            Answer::Loaded { record, credentials, .. } => {
                match self.prove_owner(&mut register, credentials.flatten().as_ref(), now) {
                    Ok(()) => self.apply(register, &record, now),
                    Err(reject) => {
                        self.counters.auth_failures += 1;
                        self.reject(register.id, &register.request, &reject, now);
                    }
                }
            }
            Answer::Saved { version } => {
                let mut record = register.saving.take().unwrap_or_default();
                record.version = version;
                self.acknowledge(&register, &record, now);
                self.publish(&register.aor, register.news);
            }
            Answer::Conflict if register.rounds < MAX_ROUNDS => {
                self.counters.conflicts += 1;
                self.load(register);
            }
            Answer::Conflict | Answer::Unavailable | Answer::Credentials(_) => {
                let reject = self.unavailable();
                self.reject(register.id, &register.request, &reject, now);
            }
        }
    }

    /// §10.3 steps 3 and 4.
    fn prove_owner(
        &mut self,
        register: &mut Register,
        known: Option<&Credentials>,
        now: Instant,
    ) -> Result<(), Reject> {
        if register.proof.is_none() {
            let at = self.moment(now);
            let Register { request, aor, claim, .. } = register;
            register.proof = Some(self.auth.prove(request, Role::Registrar, aor, claim, known, at)?);
        }
        Ok(())
    }

    /// §10.3 steps 6 and 7.
    fn apply(&mut self, mut register: Box<Register>, record: &Record, now: Instant) {
        let unix = self.unix(now);
        let origin =
            Origin { edge: &register.entry.edge, source: &register.source, core: &self.settings.name };
        let policy = &self.settings.policy;
        let change = update::read(&register.request, policy)
            .and_then(|update| apply::changes(record, &update, policy, &origin, unix));
        match change {
            Err(reject) => self.reject(register.id, &register.request, &reject, now),
            Ok(change) if change.kind == apply::ChangeKind::None => {
                self.acknowledge(&register, &change.record, now);
            }
            Ok(mut change) => {
                register.news = notify::follow(record, &mut change.record, &register.aor, unix);
                let save = Save {
                    aor: register.aor.clone(),
                    expected: record.version,
                    changes: self.changes(record, &change.record, unix),
                    record: change.record.clone(),
                };
                register.saving = Some(change.record);
                self.ask(Query::Save(save), Pending::Register(register));
            }
        }
    }

    /// §10.3 step 8.
    fn acknowledge(&mut self, register: &Register, record: &Record, now: Instant) {
        self.counters.registered += 1;
        self.flow_is_used(&register.request);
        let (tag, unix) = (self.layer.ids().tag(), self.unix(now));
        let (keys, ids) = (&self.settings.keys, self.layer.ids());
        let mint = |instance: &str, epoch: u64| {
            let random = [ids.u64(), ids.u64()];
            gruu::mint(keys, &register.aor, instance, epoch, random)
        };
        let mut response = answer::ok(&register.request, record, &register.aor, mint, &tag, unix);
        if self.settings.service_route
            && record.live(unix).next().is_some()
            && let Some(route) = service_route::value(&register.request, &register.entry)
        {
            response.headers.append(Name::ServiceRoute, route);
        }
        if let Some(info) = register.proof.as_ref().and_then(|proof| proof.info.clone()) {
            response.headers.append_named("Authentication-Info", info);
        }
        self.respond(register.id, response, now);
    }
}
