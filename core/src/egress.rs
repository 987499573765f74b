//! Requests that leave the cluster: who may send them, by which edge, and how the dialogs that they make find the way again.
//! RFC 3261 §16.5, §16.6 step 6, §16.12; RFC 3263 is the edge's part.
//!
//! - **Who.** A request for a domain that is not ours, or for a number of the operator's [`crate::routes`], comes from a user of
//!   ours, proven by 407. Everybody else is refused with 403: this is no open relay. A To tag proves nothing.
//! - **By which edge.** Any can do it: rendezvous by Call-ID over those with a link, so that all cores choose alike; when it is lost
//!   before a final, the next one.
//! - **The order.** The copy gets the Route `<sip:out.PROOF@EDGE;lr>`. The proof is signed with the cluster's keys over the Call-ID
//!   and the tag of the user of ours, so it is worth nothing in another call or in the other direction. Only cores read it,
//!   and an edge obeys only cores.
//! - **Inside the dialog.** The edge record-routes the same element. So it stands in the Route of every request that the user of
//!   ours sends later: the proof shows that the cluster has let the dialog out, and any core and any edge can
//!   carry on, also when the edge that the Route names is dead. In requests of the other side it has done its service and is
//!   passed over.

use std::time::Instant;

use bytes::Bytes;
use link::PeerId;
use location::{Answer, Query};
use proxy::target::Target;
use sip::{Aor, Name, NameAddr, Reject, Request, Response, StatusCode, Uri};
use transaction::ServerId;

use crate::auth::{Claim, Role};
use crate::callee;
use crate::edges::{Edges, Way};
use crate::engine::Core;
use crate::in_dialog::{Detour, drop_routes};
use crate::keys::ClusterKeys;
use crate::pending::Pending;

/// What the user part of an egress element begins with; no flow token does.
pub const MARK: &str = "out.";
const PURPOSE: &str = "egress";

/// What an egress element in a Route says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is on its way out.
    Outwards,
    /// It comes from outside: the element has done its service.
    Inwards,
    /// The cluster did not write it for this dialog.
    Forged,
}

/// A request to another domain that waits for the proof of its sender.
#[derive(Debug)]
pub(crate) struct Leaving {
    id: ServerId,
    caller: Aor,
    claim: Claim,
}

/// The user part of an egress element for a request from a user of ours.
fn element_user(request: &Request, keys: &ClusterKeys) -> String {
    let tag = request.from_tag().unwrap_or_default();
    format!("{MARK}{}", keys.sign(PURPOSE, &[request.call_id(), tag.as_bytes()]))
}

/// True for an egress element, whatever its proof is worth.
pub fn is_marked(uri: &Uri<'_>) -> bool {
    uri.user.is_some_and(|user| user.starts_with(MARK))
}

/// What a URI in a Route of `request` proves; `None` when it is no egress element.
pub fn proof(uri: &Uri<'_>, request: &Request, keys: &ClusterKeys) -> Option<Proof> {
    let proof = uri.user?.strip_prefix(MARK)?;
    let is_of = |tag: Option<&str>| {
        tag.is_some_and(|tag| keys.verify(PURPOSE, &[request.call_id(), tag.as_bytes()], proof))
    };
    Some(if is_of(request.from_tag()) {
        Proof::Outwards
    } else if is_of(request.to_tag()) {
        Proof::Inwards
    } else {
        Proof::Forged
    })
}

/// How many Route entries lead to the outside: those of the cluster down to the egress element. `None`: the Route does not.
///
/// # Errors
///
/// 403 for an egress element that the cluster has not written for this dialog.
pub fn way_out(request: &Request, edges: &Edges, keys: &ClusterKeys) -> Result<Option<usize>, Reject> {
    for (above, element) in request.headers.values(Name::Route).enumerate() {
        let uri = NameAddr::parse(element)?.parsed_uri()?;
        let way = edges.by_host(uri.host_port());
        if matches!(way, Way::Foreign | Way::None) {
            return Ok(None);
        }
        match proof(&uri, request, keys) {
            Some(Proof::Outwards) => return Ok(Some(above + 1)),
            Some(Proof::Forged) => return Err(forbidden("Forged Egress Route")),
            Some(Proof::Inwards) => {}
            None if way == Way::Dead => {}
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn forbidden(reason: &'static str) -> Reject {
    Reject::new(StatusCode::new(403)).because(reason)
}

impl Core {
    /// A request for another domain: its sender must be one of ours, and prove it.
    pub(crate) fn call_outside(&mut self, id: ServerId, mut request: Request, loop_hash: u64, now: Instant) {
        let at = self.moment(now);
        let claimed = match self.sender(&request) {
            Ok(caller) => self.auth.claim(&request, Role::Proxy, &caller, at).map(|claim| (caller, claim)),
            Err(reject) => {
                self.counters.relays_refused += 1;
                Err(reject)
            }
        };
        let (caller, claim) = match claimed {
            Ok(claimed) => claimed,
            Err(reject) => {
                self.counters.challenge(reject.status);
                return self.reject(id, &request, &reject, now);
            }
        };
        // What an outsider has composed is not ours to follow.
        request.headers.remove(Name::Route);
        let response = self.context(request);
        self.open(id, response, loop_hash, Detour::None);
        let query = Query::Credentials(claim.user.clone());
        self.ask(query, Pending::Leaving(Box::new(Leaving { id, caller, claim })));
    }

    /// The user of ours that a request says it comes from.
    pub(crate) fn sender(&self, request: &Request) -> Result<Aor, Reject> {
        let from = request.from()?.parsed_uri()?;
        if !from.is_sip() || !self.settings.serves(&from) {
            return Err(forbidden("Domain Not Served"));
        }
        Ok(Aor::of(&from)?)
    }

    /// The store has said what is known of the sender.
    pub(crate) fn on_leaving_answer(&mut self, leaving: &Leaving, answer: Answer, now: Instant) {
        let at = self.moment(now);
        let Some(context) = self.contexts.get(&leaving.id) else { return }; // cancelled meanwhile
        let Answer::Credentials(known) = answer else {
            let reject = self.unavailable();
            return self.refuse(leaving.id, &reject, now);
        };
        let request = context.response.request();
        let Leaving { id, caller, claim } = leaving;
        let proven = self.auth.prove(request, Role::Proxy, caller, claim, known.as_ref(), at);
        if let Err(reject) = proven {
            self.counters.auth_failures += 1;
            return self.refuse(*id, &reject, now);
        }
        if let Err(reject) = callee::check_contact(request, caller, &self.settings) {
            return self.refuse(*id, &reject, now);
        }
        let (uri, beyond) = (request.uri.clone(), self.next_hop(request));
        self.leave(leaving.id, &uri, beyond.as_ref(), now);
    }

    /// The operator's next hop for the domain of a request.
    pub(crate) fn next_hop(&self, request: &Request) -> Option<Bytes> {
        let uri = request.request_uri().ok()?;
        let host = uri.host_port();
        let name = uri.port.map_or(host, |_| host.rsplit_once(':').map_or(host, |(name, _)| name));
        self.settings.routes.of_domain(name)
    }

    /// Nobody of that name in our domain: to the Request-URI that the operator's routes have for him.
    pub(crate) fn by_routes(&mut self, id: ServerId, uri: &Bytes, is_proven: bool, now: Instant) {
        let Some(context) = self.contexts.get(&id) else { return };
        match self.check_leaving(context.response.request(), is_proven) {
            Ok(()) => self.leave(id, uri, None, now),
            Err(reject) => {
                self.counters.relays_refused += 1;
                self.refuse(id, &reject, now);
            }
        }
    }

    /// Only who is one of ours may take the operator's routes: proven, or believed where nobody has to prove it.
    pub(crate) fn check_leaving(&self, request: &Request, is_proven: bool) -> Result<(), Reject> {
        let is_ours = || !self.settings.challenged.includes(&request.method) && self.sender(request).is_ok();
        if is_proven || is_ours() { Ok(()) } else { Err(forbidden("Route Not For Strangers")) }
    }

    /// §16.6: out by one edge, and by the next one when that is lost.
    fn leave(&mut self, id: ServerId, uri: &Bytes, beyond: Option<&Bytes>, now: Instant) {
        let Some(context) = self.contexts.get(&id) else { return };
        let mut ways = self.exits(context.response.request(), uri, beyond, None);
        ways.reverse();
        self.start_outside(id, ways, now);
    }

    /// A request inside a dialog whose Route leads out after `spent` entries of ours; what stands below them is the other side's.
    pub(crate) fn forward_outside(
        &mut self,
        id: ServerId,
        mut request: Request,
        spent: usize,
        loop_hash: u64,
        now: Instant,
    ) {
        let (uri, named) = (request.uri.clone(), self.named(&request, spent));
        drop_routes(&mut request, spent);
        let mut ways = self.exits(&request, &uri, None, named);
        ways.reverse();
        let response = self.context(request);
        self.open(id, response, loop_hash, Detour::None);
        self.start_outside(id, ways, now);
    }

    /// `ways`, the best last.
    fn start_outside(&mut self, id: ServerId, mut ways: Vec<Target>, now: Instant) {
        self.counters.egress += 1;
        let first = ways.pop();
        if let Some(context) = self.contexts.get_mut(&id) {
            context.detour = Detour::Exits(ways);
        }
        self.step(id, now, |context, now, out| context.start(first.into_iter().collect(), now, out));
    }

    /// The edge that the egress element of a Route names, if it lives: it may have a connection to the other side.
    fn named(&self, request: &Request, spent: usize) -> Option<PeerId> {
        let element = request.headers.values(Name::Route).nth(spent.checked_sub(1)?)?;
        let uri = NameAddr::parse(element).ok()?.parsed_uri().ok()?;
        match self.edges.by_host(uri.host_port()) {
            Way::Edge(edge) => Some(edge),
            Way::None | Way::Dead | Way::Foreign => None,
        }
    }

    /// The ways out, the best first: `named` if given, then every other edge as the Call-ID ranks them.
    pub(crate) fn exits(
        &self,
        request: &Request,
        uri: &Bytes,
        beyond: Option<&Bytes>,
        named: Option<PeerId>,
    ) -> Vec<Target> {
        let user = element_user(request, &self.settings.keys);
        let ranked = self.edges.ranked(request.call_id()).into_iter().filter(|edge| Some(*edge) != named);
        let names = named.into_iter().chain(ranked).filter_map(|edge| self.edges.name(edge));
        names
            .map(|name| {
                let element = Bytes::from(format!("<sip:{user}@{name};lr>"));
                let route = [element].into_iter().chain(beyond.cloned()).collect();
                Target { route, ..Target::new(uri.clone(), 0) }
            })
            .collect()
    }

    /// The way of an ACK to a 2xx that leaves, and the ACK without the entries of the cluster.
    pub(crate) fn ack_outside(&mut self, mut request: Request, spent: usize) {
        let (uri, named) = (request.uri.clone(), self.named(&request, spent));
        drop_routes(&mut request, spent);
        match self.exits(&request, &uri, None, named).first() {
            Some(way) => self.forward_ack(&request, way),
            None => self.counters.dropped_acks += 1,
        }
    }

    /// A CANCEL for what a dead core has sent outside: by the same edge, in the same branch (see [`crate::signature`]).
    pub(crate) fn cancel_outside(
        &mut self,
        id: ServerId,
        mut request: Request,
        loop_hash: u64,
        now: Instant,
    ) {
        let tag = self.layer.ids().tag();
        self.respond(id, Response::to(&request, StatusCode::OK, Some(&tag)), now);
        request.headers.remove(Name::Route);
        let (uri, beyond) = (request.uri.clone(), self.next_hop(&request));
        self.cancel_exit(&request, &uri, beyond.as_ref(), loop_hash);
    }

    /// As [`Self::cancel_outside`] for a number of the operator's routes.
    pub(crate) fn cancel_by_routes(&mut self, request: &Request, user: &str, loop_hash: u64) {
        if let Some(uri) = self.settings.routes.of_user(user) {
            self.cancel_exit(request, &uri, None, loop_hash);
        }
    }

    fn cancel_exit(&mut self, request: &Request, uri: &Bytes, beyond: Option<&Bytes>, loop_hash: u64) {
        let ways = self.exits(request, uri, beyond, None);
        let copy = ways.first().and_then(|way| proxy::branch::copy(request, way).ok());
        if let Some(copy) = copy {
            self.send_stateless(copy, loop_hash);
        }
    }
}
