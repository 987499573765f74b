//! What an edge does with the answer to a REGISTER and with the keep-alives that a UA offers: RFC 5626 §5.4, RFC 6223.
//!
//! The answer tells the keeper what is registered on the flow. A UA that does Outbound is told by Flow-Timer how often to
//! be heard, one that offers `keep` by the value of that parameter; both say the same (RFC 6223 §5). Over UDP it is the
//! interval of the NAT pings, since it is the NAT that has to be kept; over a stream it is `EDGE_FLOW_TIMER`.

use bytes::Bytes;
use sip::{Contact, Contacts, Method, Name, Request, Response, via};
use transaction::ServerId;
use transport::Flow;

use crate::engine::{Edge, Output};
use crate::hop::Hop;
use crate::registered::{Listed, Registration, key};
use crate::settings::Settings;

/// Lifetime of a binding whose answer does not name one (RFC 3261 §10.2.1.1 leaves it open; §20.10 reads nonsense so).
const LIFETIME: u32 = 3600;

/// Seconds within which UAs are to be heard; 0: they are not told.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAlive {
    /// On a stream.
    pub stream: u32,
    /// Over UDP.
    pub datagram: u32,
}

impl KeepAlive {
    fn on(self, flow: &Flow) -> Option<u32> {
        let seconds = if flow.protocol.is_reliable() { self.stream } else { self.datagram };
        (seconds > 0).then_some(seconds)
    }
}

impl Edge {
    /// A 2xx to a REGISTER passes on its way to a UA that stands right behind this edge: RFC 5626 §5.4, and the keeper
    /// learns what is registered on the flow.
    pub(crate) fn on_answer_to_register(&mut self, id: ServerId, response: &mut Response) {
        let Some(context) = self.contexts.get(&id).filter(|_| response.status.is_success()) else { return };
        let request = context.response.request();
        let Hop::Ua(flow) = context.from else { return };
        // What came over another proxy is that one's flow.
        if request.method != Method::Register || response.headers.values(Name::Via).nth(1).is_some() {
            return;
        }
        let Some(contacts) = listed(request, response) else { return };
        let Ok(aor) = request.to().and_then(|to| to.parsed_uri()).and_then(|uri| sip::Aor::of(&uri)) else {
            return;
        };
        let timer = self.settings.keep_alive.on(&flow);
        let timer = timer.filter(|_| response.headers.has_token(Name::Require, "outbound"));
        if let Some(seconds) = timer {
            response.headers.set(Name::FlowTimer, seconds.to_string());
        }
        let asked = context.since;
        let registration = Registration { flow, aor, asked, contacts, supervised: timer.is_some() };
        self.out.push_back(Output::Registered(Box::new(registration)));
    }
}

/// Every binding of the answer, those that the request has named marked.
fn listed(request: &Request, response: &Response) -> Option<Vec<Listed>> {
    let asked = match request.contacts().ok()? {
        Contacts::List(contacts) => contacts,
        Contacts::None | Contacts::Star => Vec::new(),
    };
    let all = match response.contacts().ok()? {
        Contacts::List(contacts) => contacts,
        Contacts::None | Contacts::Star => Vec::new(),
    };
    let expires = response.headers.get(Name::Expires).and_then(|value| std::str::from_utf8(value).ok());
    let expires = expires.and_then(|text| text.trim().parse().ok()).unwrap_or(LIFETIME);
    let list = all.iter().map(|contact| Listed {
        key: key(contact),
        expires: contact.expires().unwrap_or(expires),
        own: asked
            .iter()
            .any(|own| is_same(own, contact))
            .then(|| Bytes::copy_from_slice(contact.addr.uri.as_bytes())),
    });
    Some(list.collect())
}

/// A registrar repeats a contact as it was, or as what is equivalent (RFC 3261 §19.1.4). One that does not know Outbound repeats no `reg-id`.
fn is_same(own: &Contact<'_>, listed: &Contact<'_>) -> bool {
    let equivalent = || match (own.addr.parsed_uri(), listed.addr.parsed_uri()) {
        (Ok(own), Ok(listed)) => own.equivalent(&listed),
        _ => false,
    };
    let is_flow = listed.reg_id().is_none_or(|listed| own.reg_id() == Some(listed));
    is_flow && (own.addr.uri == listed.addr.uri || equivalent())
}

/// RFC 6223 §4.4: the `keep` of the UA in front of us gets its value on the way in, and so every answer has it that
/// repeats the Via. Whoever calls has checked that the edge stays on the route (§4.4, last paragraph), and that it is no ACK, which
/// has no answer (§4.3).
pub(crate) fn accept_keep(request: &mut Request, flow: &Flow, settings: &Settings) {
    if let Some(seconds) = settings.keep_alive.on(flow) {
        via::answer_keep(request, seconds);
    }
}

#[cfg(test)]
mod tests;
