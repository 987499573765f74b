//! INVITE server transaction, RFC 3261 §17.2.1 as amended by RFC 6026 §6 and §7.1.
//!
//! Proceeding → Accepted | Completed → Confirmed → Terminated
//!
//! Answers a repeated INVITE with the last response, sends 100 when the TU is silent for 200 ms, retransmits a non-2xx
//! final (Timer G) until the ACK or Timer H. After a 2xx it only absorbs INVITEs and lets further 2xx and ACKs through:
//! their reliability is end to end. A transport error changes no state (RFC 6026 §7.1).

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Request, Response};

use crate::Peer;
use crate::output::{Hop, Outbox};
use crate::timers::{Backoff, TRYING, Timers};
use crate::trying::Trying;

/// The machine of figure 7.
#[derive(Debug)]
pub(crate) struct ServerInvite<P> {
    pub(crate) hop: Hop<P>,
    state: State,
}

#[derive(Debug)]
enum State {
    Proceeding {
        /// The 100 that goes out unless the TU is faster.
        trying: Option<Trying>,
        /// The most recent provisional response.
        last: Option<Bytes>,
    },
    Completed {
        last: Bytes,
        /// Timer G.
        retransmit: Option<Backoff>,
        timer_h: Instant,
    },
    Confirmed {
        timer_i: Instant,
    },
    Accepted {
        timer_l: Instant,
    },
    Terminated,
}

/// What becomes of an ACK that matches the transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// It acknowledges a final of ours.
    Absorbed,
    /// It acknowledges a 2xx: the TU's.
    Passed,
}

impl<P: Peer> ServerInvite<P> {
    pub(crate) fn start(hop: Hop<P>, request: &Request, now: Instant) -> Self {
        Self { hop, state: State::Proceeding { trying: Some(Trying::new(request, now, TRYING)), last: None } }
    }

    /// The INVITE again.
    pub(crate) fn on_request(&mut self, now: Instant, out: &mut Outbox<P>) {
        match &mut self.state {
            State::Proceeding { trying, last } => {
                if let Some(trying) = trying.take() {
                    last.replace(trying.encode(now));
                }
                if let Some(last) = last {
                    out.send(self.hop, last.clone());
                }
            }
            State::Completed { last, .. } => out.send(self.hop, last.clone()),
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => {}
        }
    }

    pub(crate) fn on_ack(&mut self, timers: &Timers, now: Instant) -> Ack {
        match self.state {
            State::Accepted { .. } => return Ack::Passed,
            State::Completed { .. } => {
                self.state = match timers.i(self.hop.is_reliable()) {
                    Duration::ZERO => State::Terminated,
                    i => State::Confirmed { timer_i: now + i },
                };
            }
            State::Proceeding { .. } | State::Confirmed { .. } | State::Terminated => {}
        }
        Ack::Absorbed
    }

    /// A response of the TU; false when it comes too late to be sent.
    pub(crate) fn respond(
        &mut self,
        response: &Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> bool {
        let status = response.status;
        match &mut self.state {
            State::Proceeding { trying, last } if status.is_provisional() => {
                let bytes = response.encode();
                *trying = None;
                *last = Some(bytes.clone());
                out.send(self.hop, bytes);
            }
            State::Proceeding { .. } if status.is_success() => {
                out.send(self.hop, response.encode());
                self.state = State::Accepted { timer_l: now + timers.lifetime() };
            }
            State::Proceeding { .. } => {
                let last = response.encode();
                out.send(self.hop, last.clone());
                let retransmit = (!self.hop.is_reliable()).then(|| Backoff::start(timers.t1, now));
                self.state = State::Completed { last, retransmit, timer_h: now + timers.lifetime() };
            }
            State::Accepted { .. } if status.is_success() => out.send(self.hop, response.encode()),
            State::Accepted { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Terminated => {
                return false;
            }
        }
        true
    }

    pub(crate) fn on_timeout(&mut self, timers: &Timers, now: Instant, out: &mut Outbox<P>) {
        match &mut self.state {
            State::Proceeding { trying, last } => {
                if let Some(trying) = trying.take_if(|trying| trying.at <= now) {
                    let bytes = trying.encode(now);
                    *last = Some(bytes.clone());
                    out.send(self.hop, bytes);
                }
            }
            State::Completed { timer_h: end, .. }
            | State::Confirmed { timer_i: end }
            | State::Accepted { timer_l: end }
                if *end <= now =>
            {
                self.state = State::Terminated;
            }
            State::Completed { last, retransmit: Some(timer_g), .. } if timer_g.at <= now => {
                out.send(self.hop, last.clone());
                timer_g.double(timers.t2, now);
            }
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// Sends a non-2xx final again that is not acknowledged yet.
    pub(crate) fn repeat_final(&self, out: &mut Outbox<P>) {
        if let State::Completed { last, .. } = &self.state {
            out.send(self.hop, last.clone());
        }
    }

    /// RFC 6026 §7.1: the state stays, so that a repeated INVITE is still absorbed; only sending into the void ends.
    pub(crate) fn on_transport_error(&mut self) {
        if let State::Completed { retransmit, .. } = &mut self.state {
            *retransmit = None;
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { trying, .. } => trying.as_ref().map(|trying| trying.at),
            State::Completed { retransmit: Some(timer_g), timer_h, .. } => Some(timer_g.at.min(*timer_h)),
            State::Completed { retransmit: None, timer_h: end, .. }
            | State::Confirmed { timer_i: end }
            | State::Accepted { timer_l: end } => Some(*end),
            State::Terminated => None,
        }
    }

    /// No final has been sent: a CANCEL still has an effect (§9.2).
    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The last response, if one is kept.
    pub(crate) fn last(&self) -> Option<&Bytes> {
        match &self.state {
            State::Proceeding { last, .. } => last.as_ref(),
            State::Completed { last, .. } => Some(last),
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }
}
