//! What every flow over a connection has, however its messages are framed: its life, its messages, its time limits.
//! RFC 3261 §18.3, RFC 5626 §4.4.1.
//!
//! Open → Finishing (write what waits, end the sending side) → Lingering (read until the peer has closed) → gone
//!
//! Closing politely matters: a socket that is closed with unread bytes is reset, and the reset may overtake the answer
//! that says why.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Config, Event, Flow, Sink, Stats, answer,
    flow::{Admission, Table},
    outbox::{Outbox, Phase},
    tls::Tls,
};

/// How long a closed connection waits for its peer to close, too.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// There for `tls:` and `wss:` listeners.
    pub(crate) tls: Option<Tls>,
    pub(crate) table: Arc<Table>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) now: fn() -> Instant,
    pub(crate) started: Instant,
}

impl Shared {
    /// Milliseconds since the transport was started: what deadlines of connections are told in.
    pub(crate) fn clock(&self) -> u64 {
        millis((self.now)().saturating_duration_since(self.started))
    }

    /// Room for a connection, or None when it is to be refused.
    pub(crate) fn admit(&self, remote: IpAddr) -> Option<Admission> {
        let config = &self.config;
        let admission = self.table.admit(remote, config.max_connections, config.max_connections_per_source);
        if admission.is_none() {
            self.stats.connections_refused.add(1);
            tracing::debug!(%remote, "connection refused: limit reached");
        }
        admission
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Finishing,
    Lingering,
}

/// One flow; the task that owns its socket has it.
pub(crate) struct Connection {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: State,
    /// True when the first message has come.
    greeted: bool,
    /// True while a message has begun and is not complete.
    partial: bool,
}

impl Connection {
    /// The flow is up: it can be sent to, and its first message is awaited.
    pub(crate) fn open(flow: Flow, shared: Arc<Shared>, stop: &watch::Receiver<bool>) -> Self {
        shared.stats.connections_accepted.add(1);
        Self::begin(flow, shared, stop, false)
    }

    /// As [`Self::open`] for a connection that this node has opened: the peer owes no message.
    pub(crate) fn dialled(flow: Flow, shared: Arc<Shared>, stop: &watch::Receiver<bool>) -> Self {
        Self::begin(flow, shared, stop, true)
    }

    fn begin(flow: Flow, shared: Arc<Shared>, stop: &watch::Receiver<bool>, greeted: bool) -> Self {
        let outbox = Arc::new(Outbox::new(flow, shared.config.send_queue));
        let now = shared.clock();
        outbox.hear(now);
        if !greeted {
            outbox.expect_by(now + millis(shared.config.first_message_timeout));
        }
        shared.table.insert(Arc::clone(&outbox));
        shared.stats.connections_open.add(1);
        shared.sink.deliver(&mut vec![Event::FlowUp(flow)]);
        if *stop.borrow() {
            // It was accepted at the last moment, after the others were closed.
            outbox.advance(Phase::Closing);
        }
        Self { outbox, shared, state: State::Open, greeted, partial: false }
    }

    /// The bytes of one whole message.
    pub(crate) fn on_message(&mut self, bytes: Bytes, batch: &mut Vec<Event>) {
        let flow = *self.outbox.flow();
        match sip::parse::message(bytes, &self.shared.config.limits) {
            Ok(message) => {
                self.shared.stats.messages_in.add(1);
                self.greeted = true;
                batch.push(Event::Message { flow, message });
            }
            Err(malformed) => {
                tracing::debug!(?flow, error = %malformed.error, "malformed message");
                self.shared.stats.malformed.add(1);
                self.answer(answer::to_malformed(malformed, flow.remote));
            }
        }
    }

    /// RFC 5626 §4.4.1: a CRLF ping is answered. A peer that does not read its pongs needs none.
    pub(crate) fn on_ping(&self) {
        self.shared.stats.keepalives.add(1);
        let _ = self.outbox.push(Bytes::from_static(b"\r\n"));
    }

    /// The answer to a ping, or a keep-alive that wants none.
    pub(crate) fn on_pong(&self) {
        self.shared.stats.keepalives.add(1);
    }

    /// Sends the answer to what was malformed, if there is one.
    pub(crate) fn answer(&self, answer: Option<Bytes>) {
        if let Some(answer) = answer
            && self.outbox.push(answer).is_ok()
        {
            self.shared.stats.malformed_answered.add(1);
        }
    }

    /// Sets the time until when a message must be complete: bytes that trickle in do not put it off. `rest` says that one has
    /// begun, `progress` that another was completed since the last call.
    pub(crate) fn watch(&mut self, rest: bool, progress: bool) {
        let now = self.shared.clock();
        self.outbox.hear(now);
        if !self.greeted {
            return;
        }
        if !rest {
            self.partial = false;
            self.outbox.expect_by(0);
        } else if !self.partial || progress {
            self.partial = true;
            self.outbox.expect_by(now + millis(self.shared.config.first_message_timeout));
        }
    }

    /// The flow is over: nobody can send on it any more, and everybody hears of it once.
    pub(crate) fn finish(&mut self) {
        if self.state != State::Open {
            return;
        }
        self.state = State::Finishing;
        self.outbox.advance(Phase::Closing);
        self.outbox.expect_by(self.shared.clock() + millis(LINGER));
        self.shared.sink.deliver(&mut vec![Event::FlowDown(*self.outbox.flow())]);
    }

    /// True while no message has come.
    pub(crate) const fn is_new(&self) -> bool {
        !self.greeted
    }

    /// The flow is done with; its place among the limits is still the caller's.
    pub(crate) fn end(mut self) {
        self.finish();
        self.shared.table.remove(self.outbox.flow().connection);
        self.shared.stats.connections_open.sub(1);
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
