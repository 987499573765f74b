//! Registrars of others behind this edge: SIP next hops instead of cores, RFC 3261 §16.6 and §16.7, RFC 3327, RFC 5626 §5.
//!
//! ```text
//! UA ──flow──► edge ──UDP, TCP, TLS──► registrar       upwards: to one of the next hops
//! UA ◄──flow── edge ◄──any listener─── registrar       downwards: the flow that our Route entry names
//! ```
//!
//! Nothing is asked of a registrar but Path. What passes has two entries of ours in Record-Route (RFC 5658 §5), one for either side, since the
//! two sides seldom have address and transport in common; both carry the token of the UA's flow. The mark [`INSIDE`] tells the one for the registrar's side, which is also what Path
//! holds: who follows it wants to get to the UA, whoever follows the other one wants away from it (RFC 5626 §5.3).
//!
//! | file | |
//! |---|---|
//! | `next_hop/address.rs` | what an operator writes |
//! | `next_hop/table.rs` | the servers, who of them lives, and who is asked first for a Call-ID |
//! | `next_hop/watch.rs` | looking them up, reaching them, asking them by OPTIONS |
//!
//! # Who may go downwards
//!
//! The next hops and trusted peers with any token of ours, everybody else with one inside a dialog: elements beside the registrar talk to the UAs that they
//! have a dialog with. A token is not a licence for strangers to begin one past the registrar, neither here nor by a Route that leads from the
//! registrar to another edge: what strangers begin goes up without a Route.
//!
//! The address of a next hop is believed together with a token. Without one a request from there may be that of a phone behind the same address, or
//! have come by a forged datagram: it goes up as a stranger's, unless it came from the very place where a next hop is, to which it does not return.
//!
//! How one server after the other is tried for a request is the business of [`crate::egress`].

mod address;
mod table;
mod watch;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use proxy::context::{BranchId, Failure, Options, ResponseContext};
use proxy::target::{Target as Uri, TargetSet};
use proxy::{branch, record_route, route};
use sip::{Method, Name, Reject, Request, Response, Scheme, StatusCode};
use transaction::ServerId;
use transport::resolve::Target;
use transport::{Flow, Protocol};

use crate::access::{self, INSIDE};
use crate::context::Context;
use crate::egress::{self, Exit, Leaving};
use crate::engine::Edge;
use crate::hop::{Hop, Next};
use crate::registration;

pub use address::{CoreAddress, NextHop};
pub(crate) use table::NextHops;

/// Which of our two entries a Route has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The one for the registrar.
    Inner,
    /// The one for the UA.
    Outer,
}

impl Edge {
    /// §16.3 and §16.4 for what comes over a flow, where there are next hops.
    pub(crate) fn admit_beside(&self, request: &mut Request, source: Flow) -> Result<Next, Reject> {
        let ip = source.remote.ip();
        let (is_trusted, is_next_hop) = (self.settings.trusts(ip), self.next_hops.is_from(ip));
        let is_believed = is_trusted || is_next_hop && access::has_token(&request.headers, &self.settings);
        if !is_believed {
            access::strip(request, ip, &self.settings)?;
        }
        if let Some(flow) = self.take_direction(request)? {
            if !is_believed && request.to_tag().is_none() {
                return Err(Reject::new(access::FORBIDDEN).because("Not Past The Registrar"));
            }
            return self.admit_downwards(request, &source, flow);
        }
        if is_next_hop && request.method == Method::Options {
            // RFC 3261 §11: whether this edge is there. Over whatever connection of the next hop.
            let is_for_us = request.request_uri().is_ok_and(|uri| self.settings.names_us(&uri));
            if is_for_us {
                return Ok(Next::Here);
            }
        }
        if self.next_hops.is_at(&source) {
            return Err(Reject::new(access::FORBIDDEN).because("No Flow Token"));
        }
        if !is_trusted {
            if is_believed {
                access::strip_claims(&mut request.headers);
            }
            if request.to_tag().is_none() {
                request.headers.remove(Name::Route);
            }
        }
        if request.method == Method::Register {
            registration::accept_keep(request, &source, &self.settings);
        } else if record_route::wants(request) {
            record_route::insert(request, access::record_route(request, &source, &self.settings));
            registration::accept_keep(request, &source, &self.settings);
        }
        Ok(Next::Upwards)
    }

    /// RFC 5626 §5.3.1.
    fn admit_downwards(&self, request: &mut Request, source: &Flow, flow: Flow) -> Result<Next, Reject> {
        if self.next_hops.is_lost(&flow) {
            return Err(Reject::new(access::FLOW_FAILED));
        }
        if !self.has_flow(&flow) {
            return self.without_flow(request, &flow, Some(*source));
        }
        access::check_sips(request, &flow)?;
        if record_route::wants(request) {
            self.insert_inner(request, &flow, source);
            record_route::insert(request, access::record_route(request, &flow, &self.settings));
        }
        Ok(Next::Hop(Hop::Ua(flow)))
    }

    /// Takes our entries off the Route, and gives the flow when they lead to a UA. A dialog between two UAs of this edge that no registrar stays in
    /// has the entries of both, one pair after the other.
    fn take_direction(&self, request: &mut Request) -> Result<Option<Flow>, Reject> {
        let names_us = |uri: &sip::Uri<'_>| self.settings.names_us(uri);
        let own = route::preprocess(request, &names_us)?;
        match own.map(|own| self.side(&own.user)).transpose()?.flatten() {
            None => Ok(None),
            Some((Side::Inner, flow)) => {
                self.take(request, Side::Outer, Some(&flow))?;
                Ok(Some(flow))
            }
            Some((Side::Outer, own)) => {
                self.take(request, Side::Inner, Some(&own))?;
                let Some(flow) = self.take(request, Side::Inner, None)? else { return Ok(None) };
                self.take(request, Side::Outer, Some(&flow))?;
                Ok(Some(flow))
            }
        }
    }

    /// Takes the top entry if it is ours, of that side, and (if that is asked for) of that flow.
    fn take(&self, request: &mut Request, side: Side, flow: Option<&Flow>) -> Result<Option<Flow>, Reject> {
        let Some(top) = request.top_route() else { return Ok(None) };
        let uri = top?.parsed_uri()?;
        if !self.settings.names_us(&uri) {
            return Ok(None);
        }
        let user = Bytes::copy_from_slice(uri.user.unwrap_or_default().as_bytes());
        match self.side(&user)? {
            Some((is, found)) if is == side && flow.is_none_or(|flow| *flow == found) => {
                request.headers.pop_top(Name::Route);
                Ok(Some(found))
            }
            _ => Ok(None),
        }
    }

    fn side(&self, user: &Bytes) -> Result<Option<(Side, Flow)>, Reject> {
        let (side, token) = match user.strip_prefix(INSIDE.as_bytes()) {
            Some(token) => (Side::Inner, user.slice_ref(token)),
            None => (Side::Outer, user.clone()),
        };
        match access::token_of(&token, &self.settings.keys)? {
            Some(access::Token::Flow(flow)) => Ok(Some((side, flow))),
            // What only cores order.
            Some(access::Token::Outside(_)) | None => Ok(None),
        }
    }

    /// A request of a UA, to one of the next hops.
    pub(crate) fn climb(&mut self, id: ServerId, request: Request, from: Hop, loop_hash: u64, now: Instant) {
        let (Hop::Ua(flow), to_tag) = (from, self.layer.ids().tag()) else { return };
        let leaving = match self.ways_upwards(&request, now) {
            Ok(ways) if self.next_hops.living() == 0 => Leaving::in_doubt(Exit::NextHop(flow), ways),
            Ok(ways) => Leaving::new(Exit::NextHop(flow), ways),
            Err(reject) => return self.respond(id, reject.response(&request, &to_tag), now),
        };
        let target = Uri::new(request.uri.clone(), 0);
        let options = Options { keep_503: true, ..Options::default() };
        let response = ResponseContext::new(request, to_tag, options);
        let context = Context {
            leaving: Some(Box::new(leaving)),
            ..Context::new(response, from, loop_hash, self.layer.ids().branch(), now)
        };
        self.contexts.insert(id, context);
        self.step(id, now, |context, now, out| context.response.start(TargetSet::one(target), now, out));
    }

    /// An ACK to a 2xx, the same way.
    pub(crate) fn climb_with_ack(
        &mut self,
        request: &Request,
        source: Flow,
        token: String,
        loop_hash: u64,
        now: Instant,
    ) {
        let copy = branch::copy(request, &Uri::new(request.uri.clone(), 0));
        match (self.ways_upwards(request, now), copy) {
            (Ok(ways), Ok(copy)) => self.send_ack_by(copy, Exit::NextHop(source), token, loop_hash, ways),
            _ => self.counters.dropped_acks += 1,
        }
    }

    /// The servers to try, the best first: the one that the dialog is with, whatever is known of it, since nobody else knows the
    /// dialog; then those that live, by the Call-ID, and of them those that have just failed at the end. An ACK has no answer that
    /// would say whether it was of use, so it goes to the server of the dialog and to nobody else.
    fn ways_upwards(&self, request: &Request, now: Instant) -> Result<VecDeque<Target>, Reject> {
        let mut named = self.servers_of_dialog(request);
        let mut others = match self.next_hops.living() {
            0 => self.next_hops.doubtful(request.call_id(), now),
            _ => self.next_hops.ranked(request.call_id()),
        };
        if named.is_empty() && others.is_empty() {
            return Err(self.no_core());
        }
        others.retain(|target| !named.contains(target));
        if request.method == Method::Ack && !named.is_empty() {
            others.clear();
        }
        if request.request_uri()?.scheme == Scheme::Sips {
            // RFC 3261 §26.2.2: every hop is TLS.
            named.retain(|target| target.protocol.is_secure());
            others.retain(|target| target.protocol.is_secure());
            if named.is_empty() && others.is_empty() {
                return Err(access::no_sips());
            }
        }
        let mut ways = self.in_turn(named, request, now);
        ways.extend(self.in_turn(others, request, now));
        ways.truncate(egress::MOST_ATTEMPTS);
        Ok(ways)
    }

    /// RFC 3261 §21.5.4: a server in doubt has not answered in time. What rings there after all is cancelled.
    pub(crate) fn give_up_branch(&mut self, id: ServerId, branch: BranchId, now: Instant) {
        if let Some(client) = self.contexts.get(&id).and_then(|context| context.client(branch)) {
            self.branches.remove(&client);
            self.give_up(client);
        }
        self.step(id, now, |context, now, out| {
            context.response.on_failure(branch, Failure::Transport, now, out);
        });
    }

    /// A 503 of ours when nobody lives says when to come back.
    pub(crate) fn say_when_to_return(&self, id: ServerId, response: &mut Response) {
        let leaving = self.contexts.get(&id).and_then(|context| context.leaving.as_ref());
        let is_ours = response.status.code() == 503 && response.headers.get(Name::RetryAfter).is_none();
        if is_ours && leaving.is_some_and(|leaving| leaving.in_doubt) {
            response.headers.append(Name::RetryAfter, self.spread());
        }
    }

    /// Those that a Route leads to, or, inside a dialog, the Request-URI: one that has not record-routed itself is the end of the dialog.
    fn servers_of_dialog(&self, request: &Request) -> Vec<Target> {
        let route = request.top_route().and_then(Result::ok);
        let named = match &route {
            Some(route) => route.parsed_uri().ok(),
            None => request.to_tag().and_then(|_| request.request_uri().ok()),
        };
        named.map(|uri| self.next_hops.named(&uri)).unwrap_or_default()
    }

    /// What a copy for a registrar has besides Via: Path (RFC 3327 §5.2) or the inner one of our two Record-Routes. Gives what it
    /// reaches us by.
    pub(crate) fn sign(&self, request: &mut Request, ua: &Flow, flow: &Flow) -> String {
        let (host, protocol) = self.settings.contact_inside(flow);
        if request.method == Method::Register {
            let ob = if request.headers.values(Name::Via).count() == 1 { ";ob" } else { "" };
            let entry = self.inner_entry(request, ua, &host, protocol, ob);
            request.headers.push_top(Name::Path, entry);
        } else if record_route::wants(request) {
            record_route::insert(request, self.inner_entry(request, ua, &host, protocol, ""));
        }
        host
    }

    /// The Record-Route for the side that a request comes from.
    pub(crate) fn insert_inner(&self, request: &mut Request, ua: &Flow, source: &Flow) {
        let (host, protocol) = self.settings.contact_inside(source);
        record_route::insert(request, self.inner_entry(request, ua, &host, protocol, ""));
    }

    fn inner_entry(&self, request: &Request, ua: &Flow, host: &str, protocol: Protocol, ob: &str) -> Bytes {
        let token = self.settings.keys.mint(ua);
        let is_secure =
            protocol.is_secure() && request.request_uri().is_ok_and(|uri| uri.scheme == Scheme::Sips);
        let (scheme, transport) =
            if is_secure { ("sips", "") } else { ("sip", access::transport_param(protocol)) };
        Bytes::from(format!("<{scheme}:{INSIDE}{token}@{host}{transport};lr{ob}>"))
    }

    /// This edge is there, RFC 3261 §11.2.
    pub(crate) fn answer_here(&mut self, id: ServerId, request: &Request, now: Instant) {
        let tag = self.layer.ids().tag();
        let answer = Response::to(request, StatusCode::OK, Some(&tag));
        self.respond(id, answer, now);
    }
}
