//! What waits to be written to one stream, and the two ways to end it. Every flow over a stream has one.
//!
//! Open → Closing (write what waits, then close) → Aborted (close now)
//!
//! Anybody may push; the one task that owns the stream takes. Nothing is allocated while nothing waits.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use bytes::Bytes;

use crate::{Flow, SendError};

/// How far the life of a stream has come; it only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Open,
    Closing,
    Aborted,
}

/// The sending side of one stream.
#[derive(Debug)]
pub(crate) struct Outbox {
    flow: Flow,
    limit: usize,
    state: Mutex<State>,
    /// Bytes pushed and not yet written.
    waiting: AtomicUsize,
    /// Milliseconds of the transport's clock when something was last read or written.
    active: AtomicU64,
    /// The same for reading alone.
    heard: AtomicU64,
    /// Milliseconds for which the peer may be silent; 0: as long as it likes.
    silence: AtomicU64,
    /// Until when a message must be complete, on the same clock; 0 when none is awaited.
    deadline: AtomicU64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    queue: VecDeque<Bytes>,
    waker: Option<Waker>,
}

impl Outbox {
    pub(crate) fn new(flow: Flow, limit: usize) -> Self {
        Self {
            flow,
            limit,
            state: Mutex::new(State { phase: Phase::Open, queue: VecDeque::new(), waker: None }),
            waiting: AtomicUsize::new(0),
            active: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            silence: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
        }
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state().phase == Phase::Open
    }

    /// Queues bytes for the stream's task, and wakes it.
    pub(crate) fn push(&self, bytes: Bytes) -> Result<(), SendError> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(SendError::Gone);
        }
        let cost = cost(&bytes);
        if self.waiting.load(Ordering::Relaxed) + cost > self.limit {
            return Err(SendError::Full);
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        state.queue.push_back(bytes);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Moves the stream to `phase` unless it is there already, and wakes its task.
    pub(crate) fn advance(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = state.phase.max(phase);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts what waits at the end of `pending` and says how far the stream's life has come. The task of `cx` is woken by
    /// the next push or change.
    pub(crate) fn take(&self, pending: &mut VecDeque<Bytes>, cx: &Context<'_>) -> Phase {
        let mut state = self.state();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if pending.is_empty() {
            std::mem::swap(pending, &mut state.queue);
        } else {
            pending.append(&mut state.queue);
        }
        state.phase
    }

    /// Makes room: these bytes have been written.
    pub(crate) fn written(&self, bytes: &Bytes) {
        self.waiting.fetch_sub(cost(bytes), Ordering::Relaxed);
    }

    /// Something was read or written at `now`.
    pub(crate) fn touch(&self, now: u64) {
        self.active.store(now, Ordering::Relaxed);
    }

    /// Something was read at `now`.
    pub(crate) fn hear(&self, now: u64) {
        self.heard.store(now, Ordering::Relaxed);
        self.touch(now);
    }

    /// From now on the peer must not be silent for longer than this many milliseconds.
    pub(crate) fn supervise(&self, silence: u64) {
        self.silence.store(silence, Ordering::Relaxed);
    }

    /// From now on a message is awaited until `deadline`; 0: none is.
    pub(crate) fn expect_by(&self, deadline: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    /// True when the awaited message did not come, nothing happened for `idle` milliseconds, or a peer that has promised
    /// to be heard was not.
    pub(crate) fn is_expired(&self, now: u64, idle: u64) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let active = self.active.load(Ordering::Relaxed);
        let (heard, silence) = (self.heard.load(Ordering::Relaxed), self.silence.load(Ordering::Relaxed));
        (deadline != 0 && now >= deadline)
            || now.saturating_sub(active) >= idle
            || (silence != 0 && now.saturating_sub(heard) >= silence)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a queued message costs: its bytes and its place in the queue, so that a million pings are not free.
fn cost(bytes: &Bytes) -> usize {
    bytes.len() + size_of::<Bytes>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limit: usize) -> Outbox {
        let any = "192.0.2.1:5060".parse().unwrap();
        Outbox::new(Flow::udp(any, any), limit)
    }

    fn take(outbox: &Outbox) -> (Vec<Bytes>, Phase) {
        let mut pending = VecDeque::new();
        let phase = outbox.take(&mut pending, &Context::from_waker(Waker::noop()));
        (pending.into(), phase)
    }

    #[test]
    fn a_full_queue_refuses_until_something_is_written() {
        let outbox = outbox(200);
        let message = Bytes::from_static(&[b'x'; 100]);
        assert_eq!(outbox.push(message.clone()), Ok(()));
        assert_eq!(outbox.push(message.clone()), Err(SendError::Full));
        assert_eq!(take(&outbox), (vec![message.clone()], Phase::Open));
        assert_eq!(outbox.push(message.clone()), Err(SendError::Full));
        outbox.written(&message);
        assert_eq!(outbox.push(message), Ok(()));
    }

    #[test]
    fn closing_keeps_what_waits_and_takes_no_more() {
        let outbox = outbox(200);
        outbox.push(Bytes::from_static(b"last")).unwrap();
        outbox.advance(Phase::Closing);
        assert_eq!(outbox.push(Bytes::from_static(b"late")), Err(SendError::Gone));
        assert_eq!(take(&outbox), (vec![Bytes::from_static(b"last")], Phase::Closing));
        outbox.advance(Phase::Aborted);
        outbox.advance(Phase::Closing);
        assert_eq!(take(&outbox).1, Phase::Aborted);
    }

    #[test]
    fn a_supervised_peer_must_be_heard() {
        let outbox = outbox(200);
        outbox.hear(1_000);
        outbox.supervise(500);
        outbox.touch(1_400);
        assert!(!outbox.is_expired(1_499, 10_000));
        assert!(outbox.is_expired(1_500, 10_000), "what we write is no sign of life");
        outbox.hear(1_500);
        assert!(!outbox.is_expired(1_999, 10_000));
    }

    #[test]
    fn expires_by_deadline_or_by_silence() {
        let outbox = outbox(200);
        outbox.touch(1_000);
        assert!(!outbox.is_expired(1_999, 1_000));
        assert!(outbox.is_expired(2_000, 1_000));
        outbox.expect_by(1_500);
        assert!(!outbox.is_expired(1_499, 1_000));
        assert!(outbox.is_expired(1_500, 1_000));
        outbox.expect_by(0);
        outbox.touch(1_500);
        assert!(!outbox.is_expired(2_000, 1_000));
    }
}
