//! Non-INVITE client transaction, RFC 3261 §17.1.2.
//!
//! Trying → Proceeding → Completed → Terminated
//!
//! Retransmits on unreliable peers (Timer E, at T2 after a provisional response) until a final or Timer F.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Request, Response};

use crate::output::{Event, Hop, Outbox};
use crate::timers::{Backoff, Timers};
use crate::{ClientId, Peer};

/// The machine of figure 6.
#[derive(Debug)]
pub(crate) struct ClientRequest<P> {
    id: ClientId,
    pub(crate) hop: Hop<P>,
    /// The layer's own (a CANCEL): the TU has never heard of it and hears nothing.
    pub(crate) is_quiet: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Trying { retransmit: Option<Retransmit>, timer_f: Instant },
    Proceeding { retransmit: Option<Retransmit>, timer_f: Instant },
    Completed { timer_k: Instant },
    Terminated,
}

/// What Timer E repeats.
#[derive(Debug)]
struct Retransmit {
    request: Bytes,
    timer_e: Backoff,
}

impl<P: Peer> ClientRequest<P> {
    /// Sends the request.
    pub(crate) fn start(
        id: ClientId,
        hop: Hop<P>,
        request: &Request,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> Self {
        let request = request.encode();
        let timer_f = now + timers.lifetime();
        let retransmit = if hop.is_reliable() {
            out.send(hop, request);
            None
        } else {
            out.send(hop, request.clone());
            Some(Retransmit { request, timer_e: Backoff::start(timers.t1, now) })
        };
        Self { id, hop, is_quiet: false, state: State::Trying { retransmit, timer_f } }
    }

    pub(crate) fn on_response(
        &mut self,
        response: Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) {
        match &mut self.state {
            State::Trying { retransmit, timer_f } if response.status.is_provisional() => {
                // §17.1.2.2: Timer E as set goes on; from its next firing the interval is T2.
                self.state = State::Proceeding { retransmit: retransmit.take(), timer_f: *timer_f };
                self.tell(Event::Response { id: self.id, response }, out);
            }
            State::Proceeding { .. } if response.status.is_provisional() => {
                self.tell(Event::Response { id: self.id, response }, out);
            }
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = match timers.k(self.hop.is_reliable()) {
                    Duration::ZERO => State::Terminated,
                    k => State::Completed { timer_k: now + k },
                };
                self.tell(Event::Response { id: self.id, response }, out);
            }
            State::Completed { .. } | State::Terminated => {}
        }
    }

    pub(crate) fn on_timeout(&mut self, timers: &Timers, now: Instant, out: &mut Outbox<P>) {
        match &mut self.state {
            State::Trying { timer_f, .. } | State::Proceeding { timer_f, .. } if *timer_f <= now => {
                self.state = State::Terminated;
                self.tell(Event::Timeout { id: self.id }, out);
            }
            State::Trying { retransmit: Some(retransmit), .. } if retransmit.timer_e.at <= now => {
                out.send(self.hop, retransmit.request.clone());
                retransmit.timer_e.double(timers.t2, now);
            }
            State::Proceeding { retransmit: Some(retransmit), .. } if retransmit.timer_e.at <= now => {
                out.send(self.hop, retransmit.request.clone());
                retransmit.timer_e = Backoff::start(timers.t2, now);
            }
            State::Completed { timer_k } if *timer_k <= now => self.state = State::Terminated,
            State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {
            }
        }
    }

    /// §17.1.4: only what still waits for a final is lost with its hop.
    pub(crate) fn on_transport_error(&mut self, out: &mut Outbox<P>) {
        if self.is_in_flight() {
            self.state = State::Terminated;
            self.tell(Event::TransportError { id: self.id }, out);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { retransmit, timer_f } | State::Proceeding { retransmit, timer_f } => {
                Some(retransmit.as_ref().map_or(*timer_f, |retransmit| retransmit.timer_e.at.min(*timer_f)))
            }
            State::Completed { timer_k } => Some(*timer_k),
            State::Terminated => None,
        }
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    fn tell(&self, event: Event<P>, out: &mut Outbox<P>) {
        if !self.is_quiet {
            out.event(event);
        }
    }
}
