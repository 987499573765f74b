//! Incoming or outgoing: what the flow token in our own Route entry says of a request, RFC 5626 §5.3. Pure.
//!
//! A request whose token names the flow that it came on is outgoing (§5.3.2): its UA goes through us to somebody else, so
//! it goes to a core. Any other is incoming (§5.3.1), for the UA of the token's flow. Those come from the cores, and the token is
//! followed. One that somebody at the border sends is the core's to pass on, like every request: it gets its Route back, and the
//! core, which finds the UA's next flow when this one is gone, leads it here again.
//!
//! More Route entries below ours make a request outgoing, whatever its source is: the UA has moved since its dialog
//! began, and by the letter of §5.3 its own request would come back to it.

use sip::{Name, Request};
use transport::Flow;

use crate::access::Token;
use crate::settings::Settings;

/// Puts the entry back that was just taken from the Route of a request on `source`, if the request is an incoming one.
///
/// Outside of dialogs it stays away: who is called, the core decides.
pub(crate) fn keep_incoming(
    request: &mut Request,
    source: &Flow,
    token: Option<&Token>,
    settings: &Settings,
) {
    let Some(Token::Flow(flow)) = token else { return };
    if is_same(flow, source) || request.to_tag().is_none() || request.headers.top(Name::Route).is_some() {
        return;
    }
    // Not as it was written: the same request with the same Route would be a loop (RFC 5393 §4.2.2).
    let (token, host) = (settings.keys.mint(flow), settings.path_host());
    request.headers.push_top(Name::Route, format!("<sip:{token}@{host};lr;incoming>"));
}

/// §5.3: by source address and port.
fn is_same(flow: &Flow, source: &Flow) -> bool {
    flow.protocol == source.protocol && flow.remote == source.remote
}

#[cfg(test)]
mod tests;
