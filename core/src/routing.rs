//! Which way a request goes, RFC 3261 §16.5: registered, in-dialog by Route, ourselves, or refused.

use bytes::Bytes;
use link::PeerId;
use proxy::target::{Target, TargetSet};
use registrar::{Record, UnixTime, select};
use sip::{Aor, Method, Name, Reject, Request, Response, StatusCode};

use crate::edges::{Edges, Way};
use crate::settings::Settings;

/// 480 Temporarily Unavailable: known, but nobody is there now.
pub const UNAVAILABLE: StatusCode = StatusCode::new(480);
/// 404 Not Found: nobody of that name.
pub const NOT_FOUND: StatusCode = StatusCode::new(404);

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// Inside a dialog: the edge that the Route set names next.
    Edge(PeerId),
    /// To whatever is registered under this address.
    Registered(Aor),
    /// To the registrar.
    Registrar,
    /// To the domain itself.
    Ourselves,
}

/// §16.5 for a request that passed §16.3 and §16.4.
///
/// # Errors
///
/// 403 for a domain that is not ours: this is no open relay. 404 for one of ours without a usable address. 480 when
/// the Route names an edge without a link (RFC 5626 §11.5: the 430 between proxies is never shown to a UA).
pub fn destination(request: &Request, edges: &Edges, settings: &Settings) -> Result<Destination, Reject> {
    if request.to_tag().is_some() {
        match edges.by_route(request) {
            Way::Edge(edge) => return Ok(Destination::Edge(edge)),
            Way::Dead => return Err(Reject::new(UNAVAILABLE)),
            Way::Foreign => return Err(Reject::new(StatusCode::new(403)).because("Foreign Route")),
            Way::None => {}
        }
    }
    let uri = request.request_uri()?;
    if !uri.is_sip() {
        // §16.3 step 2: a scheme that cannot be routed
        return Err(Reject::new(StatusCode::new(416)));
    }
    if !settings.serves(&uri) {
        return Err(Reject::new(StatusCode::new(403)).because("Domain Not Served"));
    }
    if request.method == Method::Register {
        return Ok(Destination::Registrar);
    }
    if uri.user.is_none() {
        return Ok(Destination::Ourselves);
    }
    Ok(Destination::Registered(Aor::of(&uri).map_err(|_| Reject::new(NOT_FOUND))?))
}

/// The answer to a request for the domain itself (§11.2 for OPTIONS).
pub fn answer(request: &Request, to_tag: &str) -> Response {
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
    response
}

/// The target set of an address: each binding with its own Path vector as its own route (RFC 3327 §5.4).
pub fn targets(record: &Record, now: UnixTime) -> TargetSet {
    every_target(record, now).collect()
}

/// As [`targets`], one by one: alternatives of one UA, too.
pub fn every_target(record: &Record, now: UnixTime) -> impl Iterator<Item = Target> {
    select::candidates(record, now).into_iter().enumerate().map(|(mark, candidate)| Target {
        uri: Bytes::copy_from_slice(candidate.binding.contact.as_bytes()),
        route: candidate.binding.path.iter().map(|hop| Bytes::copy_from_slice(hop.as_bytes())).collect(),
        q: candidate.binding.q,
        instance: candidate.instance.map(|instance| Bytes::copy_from_slice(instance.as_bytes())),
        tag: mark as u64,
    })
}
