//! What may enter at the border, and what the edge adds to it.
//!
//! Input from a user agent is hostile until a core says otherwise (RFC 3261 §26, RFC 3327 §6): headers that only
//! the cluster may write are removed, a Route that names this edge must carry a flow token that the cluster minted
//! (RFC 5626 §5.3.1), and what goes inside leaves with the flow's token in Path (RFC 5626 §5.1) or Record-Route
//! (RFC 5626 §5.3).

use std::net::IpAddr;

use bytes::Bytes;
use sip::{Headers, Name, NameAddr, Reject, Request, Scheme, StatusCode, Uri};
use transport::token::Keys;
use transport::{Flow, Protocol};

use crate::settings::Settings;

/// 430 Flow Failed, RFC 5626 §11.5: the flow of a genuine token is gone.
pub const FLOW_FAILED: StatusCode = StatusCode::new(430);
/// 480 Temporarily Unavailable: not over TLS.
const UNAVAILABLE: StatusCode = StatusCode::new(480);
/// What the cores' mark for requests that leave begins with. No flow token does: its alphabet has no dot.
pub const MARK: &str = "out.";

/// What our Route entries for next hops begin with, before the token.
pub const INSIDE: &str = "in.";

/// What our own Route entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// On this flow.
    Flow(Flow),
    /// Out of the cluster: an order when a core sends it, and nothing when anybody else does.
    Outside(Bytes),
}

/// 403 Forbidden: the token is not the cluster's.
pub const FORBIDDEN: StatusCode = StatusCode::new(403);

/// Takes from a request what an outsider may not claim. A trusted peer keeps all of it: its Path stays below ours.
///
/// Route entries below our own are kept when the cluster minted their token, or inside a dialog, where one of them at
/// least is what the cluster itself record-routed; a route that an outsider composes is dropped, since it would choose the
/// way past the core's decisions, the question who is calling among them.
///
/// # Errors
///
/// 403 for tokens inside a dialog of which the cluster minted none (RFC 5626 §5.3.1).
pub fn strip(request: &mut Request, source: IpAddr, settings: &Settings) -> Result<(), Reject> {
    if settings.trusts(source) {
        return Ok(());
    }
    strip_claims(&mut request.headers);
    let is_ours = match request.to_tag() {
        None => genuine_routes(&request.headers, settings),
        Some(_) => has_genuine_route(&request.headers, settings)?,
    };
    if !is_ours {
        request.headers.remove(Name::Route);
    }
    Ok(())
}

/// Takes out who somebody claims to be, and the way to it.
pub(crate) fn strip_claims(headers: &mut Headers) {
    headers.remove(Name::Path);
    headers.remove(Name::PAssertedIdentity);
    for name in ["Remote-Party-ID", "P-Served-User", "P-Access-Network-Info", "X-Signalbox-Identity"] {
        headers.remove_named(name);
    }
}

/// True when every Route entry names this edge or carries a token of the cluster.
fn genuine_routes(headers: &Headers, settings: &Settings) -> bool {
    headers.values(Name::Route).all(|value| {
        let Ok(uri) = NameAddr::parse(value).and_then(|addr| addr.parsed_uri()) else { return false };
        settings.names_us(&uri) || is_minted(&uri, settings)
    })
}

/// True when a Route entry carries a token of the cluster: the dialog came about through it. Tokens of which none is are
/// forged.
fn has_genuine_route(headers: &Headers, settings: &Settings) -> Result<bool, Reject> {
    let mut tokens = 0_usize;
    for value in headers.values(Name::Route) {
        let Ok(uri) = NameAddr::parse(value).and_then(|addr| addr.parsed_uri()) else { continue };
        if is_minted(&uri, settings) {
            return Ok(true);
        }
        tokens += usize::from(uri.user.is_some());
    }
    if tokens > 0 { Err(Reject::new(FORBIDDEN).because("Forged Flow Token")) } else { Ok(false) }
}

/// True when a Route entry says that a request came about through the cluster: by Record-Route, or by Path.
pub(crate) fn has_token(headers: &Headers, settings: &Settings) -> bool {
    has_genuine_route(headers, settings).unwrap_or(false)
}

fn is_minted(uri: &Uri<'_>, settings: &Settings) -> bool {
    let token = uri.user.map(|user| user.strip_prefix(INSIDE).unwrap_or(user));
    token.is_some_and(|token| settings.keys.verify(token.as_bytes()).is_ok())
}

/// What the user part of our own Route entry means. `None`: the entry has no user part, so it names the
/// edge as a plain outbound proxy. A token that is not the cluster's is refused with 403 (RFC 5626 §5.3.1).
pub fn token_of(user: &Bytes, keys: &Keys) -> Result<Option<Token>, Reject> {
    if user.is_empty() {
        return Ok(None);
    }
    if user.starts_with(MARK.as_bytes()) {
        return Ok(Some(Token::Outside(user.clone())));
    }
    match keys.verify(user) {
        Ok(flow) => Ok(Some(Token::Flow(flow))),
        Err(_) => Err(Reject::new(FORBIDDEN).because("Forged Flow Token")),
    }
}

/// Adds our Path URI on top (RFC 3327 §5.2). `ob` says that the flow can be used for requests towards the UA
/// (RFC 5626 §5.1), which holds when the UA itself is the previous hop.
pub fn add_path(request: &mut Request, flow: &Flow, settings: &Settings) {
    let first_hop = request.headers.values(Name::Via).count() == 1;
    let ob = if first_hop { ";ob" } else { "" };
    let uri = format!("<sip:{}@{};lr{ob}>", settings.keys.mint(flow), settings.path_host());
    request.headers.push_top(Name::Path, Bytes::from(uri));
}

/// A request for a SIPS URI goes over TLS or not at all (RFC 5630 §5.3): 480 with Warning 380.
pub fn check_sips(request: &Request, flow: &Flow) -> Result<(), Reject> {
    if request.request_uri()?.scheme != Scheme::Sips || flow.protocol.is_secure() {
        return Ok(());
    }
    Err(no_sips())
}

pub(crate) fn no_sips() -> Reject {
    Reject::new(UNAVAILABLE).with(Name::Warning, "380 signalbox \"SIPS Not Allowed\"")
}

/// The Record-Route value that brings in-dialog requests back to `flow` (RFC 5626 §5.3.2). The transport is the
/// flow's own, so that a UA which resolves the URI reaches us the way it came; the other edge of the call adds its own, and if that is us, so do
/// we (RFC 5658 §5, §6.2, §7). SIPS where the
/// Request-URI or the next Route entry is (RFC 3261 §16.6 step 4). With a GRUU in the dialog it is the same
/// (RFC 5627 §6.2).
pub fn record_route(request: &Request, flow: &Flow, settings: &Settings) -> Bytes {
    record_route_at(request, flow, &settings.public_host(flow), flow.protocol, settings)
}

/// The same where the flow is one that we have opened, so that its own address and transport are not those that we listen on.
pub(crate) fn record_route_at(
    request: &Request,
    flow: &Flow,
    host: &str,
    protocol: Protocol,
    settings: &Settings,
) -> Bytes {
    let token = settings.keys.mint(flow);
    let next = || request.top_route()?.ok()?.parsed_uri().ok().map(|uri| uri.scheme);
    let scheme = request.request_uri().ok().map(|uri| uri.scheme);
    if [scheme, next()].contains(&Some(Scheme::Sips)) {
        // A SIPS URI is TLS; only WebSocket has to be told (RFC 7118 §5.2).
        let transport = match protocol {
            Protocol::Ws | Protocol::Wss => transport_param(protocol),
            Protocol::Udp | Protocol::Tcp | Protocol::Tls => "",
        };
        return Bytes::from(format!("<sips:{token}@{host}{transport};lr>"));
    }
    Bytes::from(format!("<sip:{token}@{host}{};lr>", transport_param(protocol)))
}

/// The URI parameter for a transport; none for UDP, the default.
pub(crate) const fn transport_param(protocol: Protocol) -> &'static str {
    use Protocol::{Tcp, Tls, Udp, Ws, Wss};
    match protocol {
        Udp => "",
        Tcp => ";transport=tcp",
        Tls => ";transport=tls",
        // RFC 7118 §5.2 knows one value for both.
        Ws | Wss => ";transport=ws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Method;
    use transport::Protocol::{Tcp, Tls, Udp, Ws, Wss};

    /// RFC 5626 §5.1: the flow's token always, `ob` for the first hop after the UA and for nobody else.
    #[test]
    fn ob_says_that_the_ua_is_the_previous_hop() {
        let settings =
            Settings::new("edge-1".to_owned(), None, Vec::new(), &[], Vec::new(), Keys::random([7; 32]));
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "198.51.100.1:40000".parse().unwrap());
        for (vias, ob) in [
            (&["SIP/2.0/UDP ua;branch=z9hG4bKa"][..], true),
            (&["SIP/2.0/UDP edge-0;branch=z9hG4bKb", "SIP/2.0/UDP ua;branch=z9hG4bKa"], false),
            (&["SIP/2.0/UDP edge-0;branch=z9hG4bKb, SIP/2.0/UDP ua;branch=z9hG4bKa"], false),
        ] {
            let mut request = Request::new(Method::Register, "sip:example.com");
            for via in vias {
                request.headers.append(Name::Via, *via);
            }
            if !ob {
                request.headers.append(Name::Path, "<sip:edge-0;lr>");
            }
            add_path(&mut request, &flow, &settings);
            let paths: Vec<_> = request.headers.values(Name::Path).collect();
            assert_eq!(paths.len(), if ob { 1 } else { 2 }, "above the other edge's");
            let uri = NameAddr::parse(paths[0]).unwrap().parsed_uri().unwrap();
            assert_eq!(settings.keys.verify(uri.user.unwrap().as_bytes()), Ok(flow));
            assert_eq!((uri.params.has("ob"), uri.params.has("lr")), (ob, true), "{vias:?}");
        }
    }

    /// RFC 7118 §5.2: `ws` is the value for plain and secure WebSocket.
    #[test]
    fn a_record_route_names_the_transport_of_its_flow() {
        let keys = Keys::random([7; 32]);
        let settings = Settings::new("edge-1".to_owned(), None, Vec::new(), &[], Vec::new(), keys);
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.1:40000".parse().unwrap());
        for (protocol, parameter, secure) in [
            (Udp, "", ""),
            (Tcp, ";transport=tcp", ""),
            (Tls, ";transport=tls", ""),
            (Ws, ";transport=ws", ";transport=ws"),
            (Wss, ";transport=ws", ";transport=ws"),
        ] {
            let flow = Flow { protocol, local, remote, connection: u64::from(protocol.is_reliable()) };
            let of = |uri: &'static str, route: Option<&'static str>| {
                let mut request = Request::new(Method::Invite, uri);
                if let Some(route) = route {
                    request.headers.append(Name::Route, route);
                }
                String::from_utf8(record_route(&request, &flow, &settings).to_vec()).unwrap()
            };
            let value = of("sip:bob@example.com", None);
            assert!(value.starts_with("<sip:"), "{value}");
            assert!(value.ends_with(&format!("@192.0.2.1:5060{parameter};lr>")), "{value}");
            // RFC 3261 §16.6 step 4: SIPS when the Request-URI or the next Route entry is.
            for (uri, route) in
                [("sips:bob@example.com", None), ("sip:bob@example.com", Some("<sips:p.example.com;lr>"))]
            {
                let value = of(uri, route);
                assert!(value.starts_with("<sips:"), "{value}");
                assert!(value.ends_with(&format!("@192.0.2.1:5060{secure};lr>")), "{value}");
            }
        }
    }
}
