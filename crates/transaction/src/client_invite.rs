//! INVITE client transaction, RFC 3261 §17.1.1 as amended by RFC 6026 §6 and §7.2.
//!
//! Calling → Proceeding → Accepted | Completed → Terminated
//!
//! Retransmits on unreliable peers (Timer A), gives up by Timer B while Calling only — a ringing phone is not
//! a timeout —, acknowledges non-2xx finals itself and hands every 2xx up.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Request, Response};

use crate::output::{Event, Hop, Outbox};
use crate::timers::{Backoff, Timers};
use crate::{ClientId, Peer, ack};

/// The machine of figure 5.
#[derive(Debug)]
pub(crate) struct ClientInvite<P> {
    id: ClientId,
    pub(crate) hop: Hop<P>,
    state: State,
}

#[derive(Debug)]
enum State {
    Calling {
        invite: Bytes,
        /// Timer A.
        retransmit: Option<Backoff>,
        timer_b: Instant,
        /// §9.1: asked for before any response, goes out with the first provisional one.
        cancel: Option<Cancel>,
    },
    Proceeding {
        invite: Bytes,
        /// §9.1: its CANCEL has gone out.
        cancelled: Option<Cancelled>,
    },
    Completed {
        ack: Option<Bytes>,
        timer_d: Instant,
    },
    Accepted {
        timer_m: Instant,
    },
    Terminated,
}

/// A CANCEL that waits for its moment.
#[derive(Debug)]
struct Cancel {
    reason: Option<Bytes>,
}

/// A CANCEL that has gone out.
#[derive(Debug)]
struct Cancelled {
    /// Without a final until then the INVITE counts as ended.
    until: Instant,
    reason: Option<Bytes>,
}

impl<P: Peer> ClientInvite<P> {
    /// Sends the INVITE.
    pub(crate) fn start(
        id: ClientId,
        hop: Hop<P>,
        request: &Request,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> Self {
        let invite = request.encode();
        out.send(hop, invite.clone());
        let retransmit = (!hop.is_reliable()).then(|| Backoff::start(timers.t1, now));
        let timer_b = now + timers.lifetime();
        Self { id, hop, state: State::Calling { invite, retransmit, timer_b, cancel: None } }
    }

    /// Gives the CANCEL that may go out now, if one has waited for this response.
    pub(crate) fn on_response(
        &mut self,
        response: Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> Option<Request> {
        let mut due = None;
        let status = response.status;
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Calling { invite, cancel, .. } if status.is_provisional() => {
                self.tell(response, out);
                let cancelled =
                    cancel.map(|cancel| Cancelled { until: now + timers.lifetime(), reason: cancel.reason });
                due = cancelled.as_ref().and_then(|cancelled| ack::cancel(&invite, cancelled.reason.clone()));
                State::Proceeding { invite, cancelled }
            }
            state @ State::Proceeding { .. } if status.is_provisional() => {
                self.tell(response, out);
                state
            }
            State::Calling { .. } | State::Proceeding { .. } if status.is_success() => {
                self.tell(response, out);
                State::Accepted { timer_m: now + timers.lifetime() }
            }
            State::Calling { invite, .. } | State::Proceeding { invite, .. } => {
                let ack = ack::ack(&invite, &response).map(|ack| ack.encode());
                if let Some(ack) = &ack {
                    out.send(self.hop, ack.clone());
                }
                self.tell(response, out);
                match timers.d(self.hop.is_reliable()) {
                    Duration::ZERO => State::Terminated,
                    d => State::Completed { ack, timer_d: now + d },
                }
            }
            State::Completed { ack, timer_d } => {
                // §17.1.1.2: a repeated final is acknowledged again and goes no further.
                if let Some(ack) = ack.as_ref().filter(|_| status.is_final() && !status.is_success()) {
                    out.send(self.hop, ack.clone());
                }
                State::Completed { ack, timer_d }
            }
            state @ State::Accepted { .. } => {
                if status.is_success() {
                    self.tell(response, out);
                }
                state
            }
            State::Terminated => State::Terminated,
        };
        due
    }

    /// §9.1: gives the CANCEL when it may go out now; remembers the wish when it may not yet.
    pub(crate) fn cancel(&mut self, reason: Option<Bytes>, timers: &Timers, now: Instant) -> Option<Request> {
        match &mut self.state {
            State::Calling { cancel, .. } => {
                cancel.get_or_insert(Cancel { reason });
                None
            }
            State::Proceeding { invite, cancelled } if cancelled.is_none() => {
                let cancel = ack::cancel(invite, reason.clone())?;
                *cancelled = Some(Cancelled { until: now + timers.lifetime(), reason });
                Some(cancel)
            }
            State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => None,
        }
    }

    /// Nobody waits for it: it is repeated no more, and an answer that comes all the same is cancelled. False when one has come.
    pub(crate) fn give_up(&mut self) -> bool {
        let State::Calling { retransmit, cancel, .. } = &mut self.state else { return false };
        *retransmit = None;
        cancel.get_or_insert(Cancel { reason: None });
        true
    }

    /// The CANCEL that has gone out, while it is not known to have had an effect.
    pub(crate) fn cancel_sent(&self) -> Option<Request> {
        match &self.state {
            State::Proceeding { invite, cancelled: Some(cancelled) } => {
                ack::cancel(invite, cancelled.reason.clone())
            }
            State::Proceeding { cancelled: None, .. }
            | State::Calling { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => None,
        }
    }

    pub(crate) fn on_timeout(&mut self, timers: &Timers, now: Instant, out: &mut Outbox<P>) {
        match &mut self.state {
            State::Calling { timer_b: end, .. }
            | State::Proceeding { cancelled: Some(Cancelled { until: end, .. }), .. }
                if *end <= now =>
            {
                out.event(Event::Timeout { id: self.id });
                self.state = State::Terminated;
            }
            State::Calling { invite, retransmit: Some(timer_a), .. } if timer_a.at <= now => {
                out.send(self.hop, invite.clone());
                timer_a.double(timers.lifetime(), now);
            }
            State::Completed { timer_d: end, .. } | State::Accepted { timer_m: end } if *end <= now => {
                self.state = State::Terminated;
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// §17.1.4: only what still waits for a final is lost with its hop.
    pub(crate) fn on_transport_error(&mut self, out: &mut Outbox<P>) {
        if self.is_in_flight() {
            out.event(Event::TransportError { id: self.id });
            self.state = State::Terminated;
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { retransmit: Some(timer_a), timer_b, .. } => Some(timer_a.at.min(*timer_b)),
            State::Calling { retransmit: None, timer_b: end, .. }
            | State::Completed { timer_d: end, .. }
            | State::Accepted { timer_m: end } => Some(*end),
            State::Proceeding { cancelled, .. } => cancelled.as_ref().map(|cancelled| cancelled.until),
            State::Terminated => None,
        }
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. })
    }

    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    fn tell(&self, response: Response, out: &mut Outbox<P>) {
        out.event(Event::Response { id: self.id, response });
    }
}
