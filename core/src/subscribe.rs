//! The life of a SUBSCRIBE to the registration state (RFC 3680) in a core: challenge, load, apply, save, answer, notify.
//!
//! A core is the notifier of this package and of no other (RFC 6665 §4.2); the subscription stands in the record that it
//! watches, so any core goes on with it. Who may watch: the user himself (RFC 3680 §4.6), and the applications that the
//! settings name; both prove who they are, with 401 (RFC 6665 §4.2.1.3).

use std::time::Instant;

use location::{Answer, Query, Save, User};
use registrar::Record;
use registrar::subscribe::{self, Outcome, PACKAGE, Subscribe};
use sip::{Aor, Name, Reject, Request, Response, StatusCode};
use transaction::ServerId;

use crate::auth::{Claim, Proof, Role};
use crate::engine::Core;
use crate::notify::contact;
use crate::pending::Pending;
use crate::routing::NOT_FOUND;

/// A SUBSCRIBE between two answers of the store.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: ServerId,
    request: Request,
    asked: Subscribe,
    /// Who is watched.
    aor: Aor,
    /// Who has proven, or will have, to be the watcher.
    subscriber: Aor,
    claim: Claim,
    /// Set once the claim has proven to be right.
    proof: Option<Proof>,
    /// What the save that is under way leads to, or what waits until it is known that there is such a user.
    outcome: Option<Outcome>,
    rounds: u32,
}

/// Most loads for one SUBSCRIBE, as for a REGISTER.
const MAX_ROUNDS: u32 = 8;
const FORBIDDEN: StatusCode = StatusCode::new(403);

impl Core {
    /// RFC 6665 §4.2.1.1, up to the first question.
    pub(crate) fn subscribe(&mut self, id: ServerId, request: Request, aor: Aor, now: Instant) {
        match self.asked(&request, now) {
            Ok((asked, subscriber, claim)) => {
                let (proof, outcome) = (None, None);
                let subscription =
                    Subscription { id, request, asked, aor, subscriber, claim, proof, outcome, rounds: 0 };
                self.load_watched(Box::new(subscription));
            }
            Err(reject) => {
                self.counters.challenge(reject.status);
                self.reject(id, &request, &reject, now);
            }
        }
    }

    fn asked(&mut self, request: &Request, now: Instant) -> Result<(Subscribe, Aor, Claim), Reject> {
        let asked = subscribe::read(request, &self.settings.policy)?;
        let subscriber = Aor::of(&request.from()?.parsed_uri()?)?;
        if !self.settings.owns(&subscriber) {
            // Nobody here can prove who that is.
            return Err(Reject::new(FORBIDDEN).because("Not Authorized"));
        }
        let at = self.moment(now);
        let claim = self.auth.claim(request, Role::Registrar, &subscriber, at)?;
        Ok((asked, subscriber, claim))
    }

    fn load_watched(&mut self, mut subscription: Box<Subscription>) {
        subscription.rounds += 1;
        let user = subscription.proof.is_none().then(|| subscription.claim.user.clone());
        let query = Query::Load { aor: subscription.aor.clone(), user };
        self.ask(query, Pending::Subscribe(subscription));
    }

    /// The store has answered one of a SUBSCRIBE's questions.
    pub(crate) fn on_subscribe_answer(&mut self, mut it: Box<Subscription>, answer: Answer, now: Instant) {
        match answer {
            Answer::Loaded { record, credentials, is_last_known: false } => {
                match self.authorize(&mut it, credentials.flatten().as_ref(), now) {
                    Ok(()) => self.install(it, &record, now),
                    Err(reject) => self.reject(it.id, &it.request, &reject, now),
                }
            }
            Answer::Saved { .. } => self.confirm(*it, now),
            Answer::Credentials(Some(_)) => self.store_subscription(it, now),
            Answer::Credentials(None) => {
                self.reject(it.id, &it.request, &Reject::new(NOT_FOUND), now);
            }
            Answer::Conflict if it.rounds < MAX_ROUNDS => {
                self.counters.conflicts += 1;
                it.outcome = None;
                self.load_watched(it);
            }
            // What was known last is not the state that a document has to tell.
            Answer::Loaded { is_last_known: true, .. } | Answer::Conflict | Answer::Unavailable => {
                let reject = self.unavailable();
                self.reject(it.id, &it.request, &reject, now);
            }
        }
    }

    /// RFC 3680 §4.6: whoever is who he says, and may watch.
    fn authorize(
        &mut self,
        it: &mut Subscription,
        known: Option<&location::Credentials>,
        now: Instant,
    ) -> Result<(), Reject> {
        if it.proof.is_none() {
            let at = self.moment(now);
            let Subscription { request, subscriber, claim, .. } = it;
            let proven = self.auth.prove(request, Role::Registrar, subscriber, claim, known, at);
            it.proof = Some(proven.inspect_err(|_| self.counters.auth_failures += 1)?);
        }
        if it.subscriber == it.aor || self.settings.reg_watchers.contains(&it.subscriber) {
            return Ok(());
        }
        Err(Reject::new(FORBIDDEN).because("Not Authorized"))
    }

    fn install(&mut self, mut it: Box<Subscription>, record: &Record, now: Instant) {
        let tag = self.layer.ids().tag();
        let unix = self.unix(now);
        match subscribe::apply(record, &it.asked, &it.subscriber, &it.aor, &tag, unix) {
            Err(reject) => self.reject(it.id, &it.request, &reject, now),
            Ok(outcome) => {
                it.outcome = Some(outcome);
                if it.subscriber != it.aor && record.is_empty() {
                    // RFC 6665 §4.2.1.1: a known resource. One with a record, and the subscriber's own, is.
                    let query = Query::Credentials(User::of(&it.aor));
                    return self.ask(query, Pending::Subscribe(it));
                }
                self.store_subscription(it, now);
            }
        }
    }

    fn store_subscription(&mut self, mut it: Box<Subscription>, now: Instant) {
        let record = it.outcome.as_mut().and_then(|outcome| outcome.record.take());
        match record {
            Some(record) => {
                let save =
                    Save { aor: it.aor.clone(), expected: record.version, record, changes: Vec::new() };
                self.ask(Query::Save(save), Pending::Subscribe(it));
            }
            None => self.confirm(*it, now),
        }
    }

    /// RFC 6665 §4.2.1.2: the 200, and the NOTIFY right behind it.
    fn confirm(&mut self, it: Subscription, now: Instant) {
        let Some(Outcome { news, expires, .. }) = it.outcome else { return };
        let mut response = Response::to(&it.request, StatusCode::OK, Some(&news.watcher.local_tag));
        let headers = &mut response.headers;
        headers.copy(&it.request.headers, Name::RecordRoute);
        headers.append(Name::Contact, contact(&it.aor, &news.watcher));
        headers.append(Name::Expires, expires.to_string());
        headers.append(Name::AllowEvents, PACKAGE);
        if let Some(info) = it.proof.and_then(|proof| proof.info) {
            headers.append_named("Authentication-Info", info);
        }
        self.respond(it.id, response, now);
        self.counters.subscribed += 1;
        self.notify(&it.aor, news, now);
    }
}
