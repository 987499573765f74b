//! Which way a request goes, RFC 3261 §16.5: registered, in-dialog by Route, ourselves, or refused.

use bytes::Bytes;
use link::PeerId;
use registrar::gruu::Gruu;
use registrar::subscribe;
use sip::{Aor, Method, Name, NameAddr, Reject, Request, Response, StatusCode, Uri};

use crate::callee::{Callee, Who};
use crate::edges::{Edges, Way};
use crate::egress;
use crate::settings::Settings;

/// 480 Temporarily Unavailable: known, but nobody is there now.
pub const UNAVAILABLE: StatusCode = StatusCode::new(480);
/// 404 Not Found: nobody of that name.
pub const NOT_FOUND: StatusCode = StatusCode::new(404);

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// Inside a dialog: the edge that the Route set names next.
    Edge {
        /// The edge.
        edge: PeerId,
        /// Entries above its own that name edges which have died.
        dead: usize,
    },
    /// Inside a dialog with somebody outside: the Route leads out.
    Outside {
        /// Entries of the cluster that have done their service.
        spent: usize,
    },
    /// To a domain that is not ours.
    Foreign,
    /// To what is registered under an address.
    Registered(Callee),
    /// To the registrar.
    Registrar,
    /// To the notifier of the registration state of an address (RFC 3680).
    Watched(Aor),
    /// To the domain itself.
    Ourselves,
}

/// §16.5 for a request that passed §16.3 and §16.4.
///
/// # Errors
///
/// 403 for a domain that is not ours when the request is inside a dialog that the cluster has not let out, or a
/// REGISTER. 404 for one of ours without a usable address, and for a GRUU that is none. 480 when the Route names an edge without a link and the UA is none of ours (RFC 5626 §11.5: the 430
/// between proxies is never shown to a UA).
pub fn destination(request: &Request, edges: &Edges, settings: &Settings) -> Result<Destination, Reject> {
    let uri = request.request_uri()?;
    if let Some(aor) = watched(request, &uri, edges, settings) {
        return Ok(Destination::Watched(aor));
    }
    if request.to_tag().is_some()
        && let Some(destination) = in_dialog(request, &uri, edges, settings)?
    {
        return Ok(destination);
    }
    if !uri.is_sip() {
        // §16.3 step 2: a scheme that cannot be routed
        return Err(Reject::new(StatusCode::new(416)));
    }
    // §16.5: a `maddr` says where the request goes, whatever the domain; one that is ours the edge has resolved (§16.4).
    if !settings.serves(&uri) || uri.params.has("maddr") {
        if request.to_tag().is_none() && !matches!(request.method, Method::Register | Method::Ack) {
            return Ok(Destination::Foreign);
        }
        return Err(Reject::new(StatusCode::new(403)).because("Domain Not Served"));
    }
    if request.method == Method::Register {
        return Ok(Destination::Registrar);
    }
    if uri.user.is_none() {
        return Ok(Destination::Ourselves);
    }
    if let Some(callee) = Callee::of_gruu(&uri, &settings.keys)? {
        return Ok(Destination::Registered(callee));
    }
    let aor = Aor::of(&uri).map_err(|_| Reject::new(NOT_FOUND))?;
    Ok(Destination::Registered(Callee::everybody(aor)))
}

/// Whose registration state a SUBSCRIBE is for: an address of ours, which is also the Contact of the notifier. `None` for
/// other packages and for one that a UA of ours notifies: they are forwarded.
fn watched(request: &Request, uri: &Uri<'_>, edges: &Edges, settings: &Settings) -> Option<Aor> {
    if request.method != Method::Subscribe || !subscribe::is_meant(request) {
        return None;
    }
    if !uri.is_sip() || !settings.serves(uri) || Gruu::of(uri).is_some() {
        return None;
    }
    let leads_on = || matches!(edges.past_the_dead(request, |_| false).0, Way::Edge(_) | Way::Foreign);
    if request.to_tag().is_some() && leads_on() && !is_from_elsewhere(request, edges) {
        return None;
    }
    Aor::of(uri).ok()
}

/// The Route of a dialog that ends here has the subscriber's own entry and no other. When he has another flow by now, his edge
/// takes the request for an incoming one (RFC 5626 §5.3.1) and gives that entry back, marked as such.
fn is_from_elsewhere(request: &Request, edges: &Edges) -> bool {
    let mut entries = request.headers.values(Name::Route);
    let (Some(only), None) = (entries.next(), entries.next()) else { return false };
    let uri = NameAddr::parse(only).and_then(|addr| addr.parsed_uri());
    uri.is_ok_and(|uri| uri.params.has("incoming") && matches!(edges.by_host(uri.host_port()), Way::Edge(_)))
}

/// A request inside a dialog: by the GRUU that its remote target is (RFC 5627 §6.1), by its Route, or by whose contact
/// its remote target is. `None`: it names an address of ours, as any request outside may.
fn in_dialog(
    request: &Request,
    uri: &Uri<'_>,
    edges: &Edges,
    settings: &Settings,
) -> Result<Option<Destination>, Reject> {
    if let Some(spent) = egress::way_out(request, edges, &settings.keys)? {
        return Ok(Some(Destination::Outside { spent }));
    }
    let is_spent = |uri: &Uri<'_>| egress::proof(uri, request, &settings.keys).is_some();
    let (way, dead) = edges.past_the_dead(request, is_spent);
    if way == Way::Foreign {
        return Err(Reject::new(StatusCode::new(403)).because("Foreign Route"));
    }
    let is_here = uri.is_sip() && settings.serves(uri) && !uri.params.has("maddr");
    if is_here && let Some(callee) = Callee::of_gruu(uri, &settings.keys)? {
        return Ok(Some(Destination::Registered(callee)));
    }
    match way {
        Way::Edge(edge) => Ok(Some(Destination::Edge { edge, dead })),
        Way::Dead => match remote_target(request, settings) {
            Some(callee) => Ok(Some(Destination::Registered(callee))),
            None => Err(Reject::new(UNAVAILABLE)),
        },
        Way::None | Way::Foreign if is_here => Ok(None),
        Way::None | Way::Foreign => Ok(remote_target(request, settings).map(Destination::Registered)),
    }
}

/// Whose contact the Request-URI may be: the remote party's, which To names in both directions (RFC 3261 §12.2.1.1).
pub fn remote_target(request: &Request, settings: &Settings) -> Option<Callee> {
    let aor = Aor::of(&request.to().ok()?.parsed_uri().ok()?).ok()?;
    settings.owns(&aor).then_some(Callee { aor, who: Who::RemoteTarget })
}

/// The answer to a request for the domain itself (§11.2 for OPTIONS).
pub fn answer(request: &Request, to_tag: &str) -> Response {
    if request.method == Method::Subscribe && !subscribe::is_meant(request) {
        // RFC 6665 §4.2.1.1
        let reject = Reject::new(StatusCode::new(489)).with(Name::AllowEvents, subscribe::PACKAGE);
        return reject.response(request, to_tag);
    }
    if request.method != Method::Options {
        return Reject::new(NOT_FOUND).response(request, to_tag);
    }
    let mut response = Response::to(request, StatusCode::OK, Some(to_tag));
    response.headers.append(Name::Accept, Bytes::from_static(b"application/sdp, text/plain"));
    response.headers.append(
        Name::Allow,
        Bytes::from_static(
            b"INVITE, ACK, CANCEL, BYE, REGISTER, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH, REFER, INFO, UPDATE, PRACK",
        ),
    );
    response.headers.append(Name::Supported, Bytes::from_static(b"path, outbound"));
    // RFC 6665 §4.4.4
    response.headers.append(Name::AllowEvents, subscribe::PACKAGE);
    response
}
