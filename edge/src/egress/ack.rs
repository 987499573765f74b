//! ACKs to a 2xx that leave: no transaction, the way as any request's, RFC 3261 §13.2.2.4.

use std::collections::VecDeque;

use proxy::branch;
use proxy::target::Target as Uri;
use sip::Request;
use transport::Flow;
use transport::resolve::Target;

use super::{Ask, Exit, MOST_WAITING, Waiting, next_hop};
use crate::engine::{Edge, Output};
use crate::hop::Hop;

/// An ACK to a 2xx on its way: the copy, and what its branch is made of.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(super) copy: Request,
    pub(super) exit: Exit,
    token: String,
    loop_hash: u64,
}

impl Edge {
    /// To somebody who has to be looked up.
    pub(crate) fn leave_with_ack(&mut self, request: &Request, exit: Exit, token: String, loop_hash: u64) {
        let question = next_hop(request);
        let copy = branch::copy(request, &Uri::new(request.uri.clone(), 0));
        match (question, copy) {
            (Ok(question), Ok(copy)) if self.exits.waiting.len() < MOST_WAITING => {
                self.resolve(Waiting::AckTargets(Ack { copy, exit, token, loop_hash }), question);
            }
            _ => self.counters.dropped_acks += 1,
        }
    }

    /// An ACK to a 2xx for whom is known already.
    pub(crate) fn send_ack_by(
        &mut self,
        copy: Request,
        exit: Exit,
        token: String,
        loop_hash: u64,
        ways: VecDeque<Target>,
    ) {
        self.try_ack(Ack { copy, exit, token, loop_hash }, ways);
    }

    pub(super) fn try_ack(&mut self, ack: Ack, mut ways: VecDeque<Target>) {
        let Some(target) = ways.pop_front() else {
            self.counters.dropped_acks += 1;
            return;
        };
        if let Some(flow) = self.next_hops.flow_to(&target) {
            return self.send_ack(ack, flow);
        }
        if self.exits.waiting.len() >= MOST_WAITING {
            self.counters.dropped_acks += 1;
            return;
        }
        let ticket = self.exits.wait(Waiting::AckFlow { ack, target: target.clone(), ways });
        self.out.push_back(Output::Egress(Ask::Reach { ticket, target }));
    }

    pub(super) fn send_ack(&mut self, ack: Ack, flow: Flow) {
        let Ack { copy, exit, token, loop_hash } = ack;
        let lane = transaction::lane(copy.call_id());
        match self.outfit(copy, &exit, &flow, &token, loop_hash) {
            Some(copy) => self.layer.send(copy.encode(), Hop::Ua(flow), lane),
            None => self.counters.dropped_acks += 1,
        }
    }
}
