//! Non-INVITE server transaction, RFC 3261 §17.2.2 with RFC 4320 §4, which also says when §8.2.6.1 and §16.2 let a 100 out.
//!
//! Trying → Proceeding → Completed → Terminated
//!
//! Discards a repeated request until there is something to answer it with, then answers with the last response
//! until Timer J. RFC 4320: no 408, no provisional but 100, and that one not before a client's Timer E has reached T2 on an
//! unreliable hop; then, on any hop, it is sent if the TU has been silent. A request without a final is forgotten after
//! 64·T1, when the client has given up by Timer F: a final could only be too late.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Request, Response, StatusCode};

use crate::Peer;
use crate::output::{Hop, Outbox};
use crate::timers::Timers;
use crate::trying::Trying;

/// The answer that RFC 4320 §4.2 forbids.
const REQUEST_TIMEOUT: StatusCode = StatusCode::new(408);

/// The machine of figure 8.
#[derive(Debug)]
pub(crate) struct ServerRequest<P> {
    pub(crate) hop: Hop<P>,
    /// The layer's own (a CANCEL that it has answered): the TU has never heard of it and hears nothing.
    pub(crate) is_quiet: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Trying {
        /// RFC 4320 §4.1: the 100 that goes out when the TU takes long.
        trying: Trying,
        expires: Instant,
    },
    Proceeding {
        last: Bytes,
        expires: Instant,
    },
    Completed {
        /// None when the TU's final was one that may not be sent.
        last: Option<Bytes>,
        timer_j: Instant,
    },
    Terminated,
}

impl<P: Peer> ServerRequest<P> {
    pub(crate) fn start(hop: Hop<P>, request: &Request, timers: &Timers, now: Instant) -> Self {
        let trying = Trying::new(request, now, timers.e_reaches_t2());
        Self { hop, is_quiet: false, state: State::Trying { trying, expires: now + timers.lifetime() } }
    }

    /// One that is answered from the start.
    pub(crate) fn answered(
        hop: Hop<P>,
        response: &Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> Self {
        let last = response.encode();
        out.send(hop, last.clone());
        Self { hop, is_quiet: true, state: completed(Some(last), hop.is_reliable(), timers, now) }
    }

    /// The request again.
    pub(crate) fn on_request(&mut self, out: &mut Outbox<P>) {
        match &self.state {
            State::Proceeding { last, .. } | State::Completed { last: Some(last), .. } => {
                out.send(self.hop, last.clone());
            }
            State::Trying { .. } | State::Completed { last: None, .. } | State::Terminated => {}
        }
    }

    /// A response of the TU; false when it may not be sent (any more).
    pub(crate) fn respond(
        &mut self,
        response: &Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> bool {
        let status = response.status;
        let (may_try, expires) = match &self.state {
            State::Trying { trying, expires } => (self.hop.is_reliable() || trying.at <= now, *expires),
            State::Proceeding { expires, .. } => (true, *expires),
            State::Completed { .. } | State::Terminated => return false,
        };
        if status.is_provisional() {
            if status != StatusCode::TRYING || !may_try {
                return false;
            }
            let last = response.encode();
            out.send(self.hop, last.clone());
            self.state = State::Proceeding { last, expires };
            return true;
        }
        let last = (status != REQUEST_TIMEOUT).then(|| response.encode());
        if let Some(last) = &last {
            out.send(self.hop, last.clone());
        }
        let is_sent = last.is_some();
        self.state = completed(last, self.hop.is_reliable(), timers, now);
        is_sent
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Outbox<P>) {
        match &self.state {
            State::Trying { expires: end, .. }
            | State::Proceeding { expires: end, .. }
            | State::Completed { timer_j: end, .. }
                if *end <= now =>
            {
                self.state = State::Terminated;
            }
            State::Trying { trying, expires } if trying.at <= now => {
                let last = trying.encode(now);
                out.send(self.hop, last.clone());
                self.state = State::Proceeding { last, expires: *expires };
            }
            State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { trying, expires } => Some(trying.at.min(*expires)),
            State::Proceeding { expires: end, .. } | State::Completed { timer_j: end, .. } => Some(*end),
            State::Terminated => None,
        }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

fn completed(last: Option<Bytes>, reliable: bool, timers: &Timers, now: Instant) -> State {
    match timers.j(reliable) {
        Duration::ZERO => State::Terminated,
        j => State::Completed { last, timer_j: now + j },
    }
}
