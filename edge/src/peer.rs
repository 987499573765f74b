//! Trusted proxies in front of this edge, when their stream is gone. RFC 3261 §16.6 step 7, RFC 5626 §5.1.
//!
//! What came over a proxy bears a token of the stream to that proxy, not of one to a UA. A UA's stream can only be opened by the UA,
//! so without it there is 430; a proxy closes idle streams as it likes, and its own entry, below ours in Path and
//! Record-Route, says where it listens. So the Route is followed, as any proxy does, but to the address of that stream only.

use std::net::{IpAddr, SocketAddr};

use proxy::record_route;
use sip::{Reject, Request};
use transport::Flow;

use crate::access;
use crate::engine::Edge;
use crate::hop::Next;

/// A trusted peer whose stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address that its stream had.
    ip: IpAddr,
    /// Where the request comes from, if next hops stand behind this edge: that side needs an entry of its own in Record-Route.
    beside: Option<Flow>,
}

impl Edge {
    /// Nothing can be sent on the flow of a token. `beside` is where the request comes from when there are next hops.
    pub(crate) fn without_flow(
        &self,
        request: &Request,
        flow: &Flow,
        beside: Option<Flow>,
    ) -> Result<Next, Reject> {
        let ip = flow.remote.ip();
        if flow.protocol.is_reliable() && self.settings.trusts(ip) && request.top_route().is_some() {
            return Ok(Next::Peer(Peer { ip, beside }));
        }
        Err(Reject::new(access::FLOW_FAILED))
    }

    /// True for an address of that peer. What comes in at a socket of ours is hostile, so none of them is one.
    pub(crate) fn is_of_peer(&self, peer: &Peer, address: SocketAddr) -> bool {
        address.ip().to_canonical() == peer.ip.to_canonical() && !self.settings.is_own_socket(address)
    }

    /// §16.6 step 4, with the token of the flow that there is by then: before next hops the pair that every dialog has there
    /// ([`crate::next_hop`]). Gives what the peer reaches us by.
    pub(crate) fn sign_for_peer(&self, request: &mut Request, peer: &Peer, flow: &Flow) -> String {
        let (host, protocol) = self.settings.contact(flow);
        if record_route::wants(request) {
            if let Some(source) = &peer.beside {
                self.insert_inner(request, flow, source);
            }
            let entry = access::record_route_at(request, flow, &host, protocol, &self.settings);
            record_route::insert(request, entry);
        }
        host
    }
}
