//! What a TU may ask about transactions.

use sip::{Method, Request};

use super::Layer;
use crate::{ClientId, Peer, key};

impl<P: Peer> Layer<P> {
    /// A provisional response has come and no final yet.
    #[must_use]
    pub fn is_proceeding(&self, id: ClientId) -> bool {
        self.clients.get(id.0).is_some_and(|entry| entry.machine.is_proceeding())
    }

    /// No response at all has come yet.
    pub fn is_unheard(&self, id: ClientId) -> bool {
        self.clients.get(id.0).is_some_and(|entry| entry.machine.is_unheard())
    }

    /// The request belongs to a transaction that there is (§17.2.3): it is a repetition, or the ACK to a refusal.
    pub fn knows(&mut self, request: &Request) -> bool {
        match request.method {
            Method::Ack => key::ack(request, &mut self.key),
            _ => key::server(request, &request.method, &mut self.key),
        }
        self.servers.find(&self.key).is_some()
    }
}
