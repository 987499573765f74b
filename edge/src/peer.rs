//! Trusted proxies in front of this edge, when their stream is gone. RFC 3261 §16.6 step 7, RFC 5626 §5.1.
//!
//! What came over a proxy bears a token of the stream to that proxy, not of one to a UA. A UA's stream can only be opened by the UA,
//! so without it there is 430; a proxy closes idle streams as it likes, and its own entry, below ours in Path and
//! Record-Route, says where it listens. So the Route is followed, as any proxy does, and to trusted peers only.

use std::net::SocketAddr;

use proxy::record_route;
use sip::{Reject, Request};
use transport::Flow;

use crate::access;
use crate::engine::Edge;
use crate::hop::Next;

impl Edge {
    /// Nothing can be sent on the flow of a token.
    pub(crate) fn without_flow(&self, request: &Request, flow: &Flow) -> Result<Next, Reject> {
        let is_stream = flow.protocol.is_reliable();
        if is_stream && self.is_peer(flow.remote) && request.top_route().is_some() {
            return Ok(Next::Peer);
        }
        Err(Reject::new(access::FLOW_FAILED))
    }

    /// True for the address of a trusted peer.
    pub(crate) fn is_peer(&self, address: SocketAddr) -> bool {
        self.settings.trusts(address.ip()) && !self.settings.is_own_socket(address)
    }

    /// §16.6 step 4, with the token of the flow that there is by then. Gives what the peer reaches us by.
    pub(crate) fn sign_for_peer(&self, request: &mut Request, flow: &Flow) -> String {
        let (host, _) = self.settings.contact(flow);
        if record_route::wants(request) {
            record_route::insert(request, access::record_route_at(request, flow, &host, &self.settings));
        }
        host
    }
}
