//! Why a call goes where it goes: what the cluster would do with an INVITE to an address of this moment, told to its operator.
//!
//! The answer is what a call itself goes through: [`crate::routing`] says where it belongs, `ways.rs` makes targets of the
//! record, the flows and links are those of the engine that is asked, and a response context forks (`why/plan.rs`). Only nothing
//! leaves. The caller is taken for a user of ours who has proven it; what others are answered is told where it differs.

use std::time::Instant;

use bytes::Bytes;
use location::{Answer, Query, User};
use proxy::target::Target;
use registrar::{Binding, Record, UnixTime, gruu, select};
use sip::{Aor, Method, Name, NameAddr, Reject, Request};

use crate::callee::Callee;
use crate::contact::{Contact, shown};
use crate::edges::Way as Hop;
use crate::engine::{Core, Output};
use crate::flows::token;
use crate::pending::Pending;
use crate::routing::Destination;
use crate::signature;
use crate::ways::{Found, Ways};

mod alone;
mod plan;
mod told;

pub use alone::alone;
pub use told::{Bound, Branch, Call, Exit, Flow, Group, PassedOver, Refusal, Skip, Store, Way, Why};

/// A question of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Names it in [`Output::Why`].
    pub id: u64,
    /// The address that a call would be for.
    pub aor: Aor,
}

/// A question that waits for the store.
#[derive(Debug)]
pub(crate) struct Asked {
    question: Question,
    callee: Callee,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Ours,
    Stranger,
}

/// What becomes of a call, before it is put into words.
enum Outcome {
    Targets { targets: Vec<Target>, suspended: Vec<Target> },
    Exit { uri: Bytes, next_hop: Option<Bytes> },
    Refused(Refusal),
}

impl Core {
    /// Answers at once where the domain decides, else when the store has answered.
    pub(crate) fn why(&mut self, question: Question, now: Instant) {
        let request = self.sample(&question.aor, Caller::Ours);
        if self.is_open(&request) {
            let mut why = self.blank(&question.aor, now);
            (why.store, why.call.answer) = (Store::Away, Some(away()));
            return self.tell(question.id, why);
        }
        match self.admit(&request, signature::loop_hash(&request)) {
            Ok(Destination::Registered(callee)) => {
                let user = Some(User::of(&question.aor));
                let query = Query::Lookup { aor: callee.aor.clone(), user };
                self.ask(query, Pending::Why(Box::new(Asked { question, callee })));
            }
            Ok(Destination::Foreign) => {
                let exit = Outcome::Exit { uri: request.uri.clone(), next_hop: self.next_hop(&request) };
                let stranger = self.sample(&question.aor, Caller::Stranger);
                let refused = self.sender(&stranger).err();
                let strangers = refused.map(|reject| {
                    refusal(&reject, "a call to another domain comes from a user of ours only")
                });
                let mut why = self.blank(&question.aor, now);
                (why.served, why.store) = (false, Store::NotAsked);
                self.describe(&mut why, request, exit, now);
                why.call.strangers = strangers;
                self.tell(question.id, why);
            }
            Ok(_) => self.refuse_to_say(&question, &Reject::new(crate::routing::NOT_FOUND), now),
            Err(reject) => self.refuse_to_say(&question, &reject, now),
        }
    }

    /// The store has said what it knows of the address.
    pub(crate) fn on_why_answer(&mut self, asked: Asked, answer: Answer, now: Instant) {
        let Asked { question, callee } = asked;
        let mut why = self.blank(&question.aor, now);
        let (record, exists) = match answer {
            Answer::Loaded { record, credentials, is_last_known } => {
                why.store = if is_last_known { Store::LastKnown } else { Store::Database };
                (record, credentials.map(|known| known.is_some()))
            }
            Answer::Credentials(_) | Answer::Saved { .. } | Answer::Conflict | Answer::Unavailable => {
                why.store = Store::Away;
                why.call.answer = Some(away());
                return self.tell(question.id, why);
            }
        };
        why.user = exists;
        why.contacts = self.contacts(&question.aor, &record, now);
        let found = Found { record: &record, is_last_known: why.store == Store::LastKnown };
        let exists = exists.unwrap_or_default();
        let [ours, strangers] = [Caller::Ours, Caller::Stranger].map(|caller| {
            let request = self.sample(&question.aor, caller);
            (self.outcome(&callee, &request, found, exists, caller, now), request)
        });
        if let (Outcome::Refused(refused), _) = strangers {
            why.call.strangers = Some(refused);
        }
        self.describe(&mut why, ours.1, ours.0, now);
        if why.call.answer.as_ref().map(|own| own.status) == why.call.strangers.as_ref().map(|it| it.status) {
            why.call.strangers = None;
        }
        self.tell(question.id, why);
    }

    fn tell(&mut self, id: u64, why: Why) {
        self.out.push_back(Output::Why(id, Box::new(why)));
    }

    fn refuse_to_say(&mut self, question: &Question, reject: &Reject, now: Instant) {
        let mut why = self.blank(&question.aor, now);
        why.store = Store::NotAsked;
        why.call.answer = Some(refusal(reject, "no call to this address gets as far as the contacts"));
        self.tell(question.id, why);
    }

    /// An INVITE as it comes from an edge.
    fn sample(&self, aor: &Aor, caller: Caller) -> Request {
        let domain = match caller {
            Caller::Ours => self.settings.domains.first().map_or(aor.domain(), String::as_str),
            Caller::Stranger => "anonymous.invalid",
        };
        let mut request = Request::new(Method::Invite, Bytes::copy_from_slice(aor.as_str().as_bytes()));
        let headers = &mut request.headers;
        headers.append(Name::Via, "SIP/2.0/TLS why.invalid;branch=z9hG4bKwhy");
        headers.append(Name::From, format!("<sip:anonymous@{domain}>;tag=why"));
        headers.append(Name::To, format!("<{aor}>"));
        headers.append(Name::CallId, "why");
        headers.append(Name::CSeq, "1 INVITE");
        headers.append(Name::MaxForwards, "70");
        request
    }

    /// The decisions of a call by what the store has said.
    fn outcome(
        &self,
        callee: &Callee,
        request: &Request,
        found: Found<'_>,
        exists: bool,
        caller: Caller,
        now: Instant,
    ) -> Outcome {
        let is_challenged = self.settings.challenged.includes(&request.method);
        let is_stranger = is_challenged && caller == Caller::Stranger;
        match self.ways(callee, request, found, is_stranger, now) {
            Ways::Targets { targets, suspended } => Outcome::Targets { targets, suspended },
            Ways::Refused(reject) => Outcome::Refused(refusal(&reject, "no contact is registered")),
            Ways::NotNow => Outcome::Refused(away()),
            Ways::Nobody => match self.without_binding(callee, request, exists) {
                Ok(uri) => match self.check_leaving(request, is_challenged && caller == Caller::Ours) {
                    Ok(()) => Outcome::Exit { uri, next_hop: None },
                    Err(reject) => {
                        Outcome::Refused(refusal(&reject, "CORE_ROUTES is for users of ours only"))
                    }
                },
                Err(reject) if exists => {
                    Outcome::Refused(refusal(&reject, "the user exists, but no contact is registered"))
                }
                Err(reject) => Outcome::Refused(refusal(
                    &reject,
                    "no contact is registered, there is no such user, and nothing in CORE_ROUTES fits",
                )),
            },
        }
    }

    fn describe(&self, why: &mut Why, request: Request, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Refused(refused) => why.call.answer = Some(refused),
            Outcome::Targets { targets, suspended } => {
                let plan = plan::rehearse(&self.edges, request, &targets, now);
                why.call.passed_over = passed_over(&targets, &suspended, &plan.groups);
                why.call.answer = plan.answer.map(|status| {
                    let why = match (&targets[..], &plan.groups[..]) {
                        ([], _) => "the flow of every contact is lost",
                        (_, []) => "it cannot be forked to so many contacts at a time",
                        _ => "no edge of a contact has a link to this core",
                    };
                    refusal(&Reject::new(status), why)
                });
                why.call.groups = plan.groups;
            }
            Outcome::Exit { uri, next_hop } => {
                let exits = self.exits(&request, &uri, next_hop.as_ref(), None);
                let edges = exits.iter().flat_map(|exit| {
                    plan::rehearse(&self.edges, request.clone(), std::slice::from_ref(exit), now).groups
                });
                let ways = edges.flat_map(|group| group.branches).flat_map(|branch| branch.ways);
                let mut edges: Vec<_> = ways.filter_map(|way| way.edge).collect();
                edges.sort_unstable();
                if edges.is_empty() {
                    let reject = Reject::new(crate::routing::UNAVAILABLE);
                    why.call.answer =
                        Some(refusal(&reject, "it leaves the cluster, and no edge has a link to this core"));
                }
                let next_hop = next_hop.as_deref().map(text);
                why.call.exit = Some(Exit { request_uri: text(&uri), next_hop, edges });
            }
        }
    }

    /// In the order in which a call takes them.
    fn contacts(&self, aor: &Aor, record: &Record, now: Instant) -> Vec<Bound> {
        let unix = self.unix(now);
        let bound = |(mark, candidate): (usize, select::Candidate<'_>)| {
            let binding = candidate.binding;
            Bound {
                number: number(mark as u64),
                contact: Contact::of(binding, unix),
                gruu: binding.instance.as_deref().map(|instance| gruu::public(aor, instance)),
                flow: self.flow(binding, now),
            }
        };
        select::candidates(record, unix).into_iter().enumerate().map(bound).collect()
    }

    fn flow(&self, binding: &Binding, now: Instant) -> Flow {
        let Some(top) = binding.path.first() else { return Flow::NoPath };
        let uri = NameAddr::parse(top.as_bytes()).and_then(|addr| addr.parsed_uri());
        match uri.map_or(Hop::Foreign, |uri| self.edges.by_host(uri.host_port())) {
            Hop::Edge(_) => match token(top.as_bytes()) {
                Some(token) if self.flows.is_lost(token, now) => Flow::Lost,
                Some(_) | None => Flow::Open,
            },
            Hop::Dead => Flow::NoLink,
            Hop::Foreign | Hop::None => Flow::UnknownEdge,
        }
    }

    fn blank(&self, aor: &Aor, now: Instant) -> Why {
        let UnixTime(at) = self.unix(now);
        let (groups, passed_over) = (Vec::new(), Vec::new());
        let request_uri = aor.as_str().to_owned();
        Why {
            address: shown(aor),
            core: Some(self.settings.name.clone()),
            at,
            served: true,
            user: None,
            store: Store::Database,
            contacts: Vec::new(),
            call: Call { request_uri, groups, passed_over, exit: None, answer: None, strangers: None },
        }
    }
}

/// The targets without a branch.
fn passed_over(targets: &[Target], suspended: &[Target], groups: &[Group]) -> Vec<PassedOver> {
    let ways = || groups.iter().flat_map(|group| &group.branches).flat_map(|branch| &branch.ways);
    let is_tried = |target: &&Target| ways().any(|way| way.contact == number(target.tag));
    let skip = |why| move |target: &Target| PassedOver { contact: number(target.tag), why };
    // Where nothing is tried at all, the answer says why.
    let same =
        targets.iter().filter(|target| !groups.is_empty() && !is_tried(target)).map(skip(Skip::SameWay));
    let mut all: Vec<_> = suspended.iter().map(skip(Skip::FlowLost)).chain(same).collect();
    all.sort_unstable_by_key(|it| it.contact);
    all
}

/// Operators count from 1.
fn number(mark: u64) -> u64 {
    mark + 1
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refusal(reject: &Reject, why: &str) -> Refusal {
    let reason = reject.reason.unwrap_or_else(|| reject.status.reason()).to_owned();
    Refusal { status: reject.status.code(), reason, why: why.to_owned() }
}

fn away() -> Refusal {
    let reject = Reject::new(sip::StatusCode::new(503));
    refusal(&reject, "the database is away, and nothing is known of this address from before")
}
