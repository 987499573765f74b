//! The ACK to a 2xx: no transaction, forwarded by its Route, RFC 3261 §13.2.2.4 and §16.11.

use std::time::Instant;

use proxy::target::Target;
use proxy::{branch, route, stateless};
use sip::{Method, Request};

use crate::egress::Exit;
use crate::engine::Edge;
use crate::hop::{Hop, Next};

impl Edge {
    pub(crate) fn on_ack(&mut self, mut request: Request, from: Hop, now: Instant) {
        self.counters.request(&Method::Ack, matches!(from, Hop::Ua(_)));
        let loop_hash = branch::loop_hash(&request);
        // §16.11: the same for every repetition.
        let token = stateless::branch_of(&request);
        let hop = match (self.admit(&mut request, from, loop_hash), from) {
            (Ok(Next::Hop(hop)), _) => hop,
            (Ok(Next::Outside(mark)), _) => {
                return self.leave_with_ack(&request, Exit::Outside(mark), token, loop_hash);
            }
            (Ok(Next::Peer(peer)), _) => {
                return self.leave_with_ack(&request, Exit::Peer(peer), token, loop_hash);
            }
            (Ok(Next::Upwards), Hop::Ua(source)) => {
                return self.climb_with_ack(&request, source, token, loop_hash, now);
            }
            (Ok(Next::Upwards | Next::Here) | Err(_), _) => {
                self.counters.dropped_acks += 1;
                return;
            }
        };
        let target = Target::new(request.uri.clone(), 0);
        let Ok(mut copy) = branch::copy(&request, &target) else {
            self.counters.dropped_acks += 1;
            return;
        };
        let lane = transaction::lane(copy.call_id());
        match hop {
            Hop::Core(_) => branch::push_via(&mut copy, "TLS", &self.settings.name, &token, loop_hash),
            Hop::Ua(flow) => {
                let _ = route::postprocess(&mut copy); // as in `launch`
                let host = self.settings.public_host(&flow);
                branch::push_via(&mut copy, flow.protocol.via(), &host, &token, loop_hash);
            }
        }
        self.send(hop, copy.encode(), lane);
    }
}
