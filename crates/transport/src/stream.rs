//! SIP over one stream: framing (RFC 3261 §18.3), the CRLF pong (RFC 5626 §4.4.1), answers to what is malformed, and
//! the end of a flow.
//!
//! Open → Finishing (write what waits, shut the sending side) → Lingering (read until the peer has closed) → gone
//!
//! One task owns the stream. It holds no buffer while nothing is under way: bytes are read into a buffer of the thread and
//! copied to the stream's own in their exact size, which the messages then share.
//!
//! Closing politely matters: a socket that is closed with unread bytes is reset, and the reset may overtake the answer
//! that says why.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use sip::{
    Message, ParseError,
    frame::{Decoder, Frame},
    parse::Malformed,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use crate::{
    Config, Event, Flow, Sink, Stats, answer,
    flow::{Admission, Table},
    outbox::{Outbox, Phase},
};

/// Bytes of one read.
const READ: usize = 64 * 1024;
/// Messages in one write.
const WRITE: usize = 32;
/// How long a closed stream waits for its peer to close, too.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// What all streams have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) table: Arc<Table>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) now: fn() -> Instant,
    pub(crate) started: Instant,
}

impl Shared {
    /// Milliseconds since the transport was started: what deadlines of streams are told in.
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

/// Serves one stream until it is closed from either side. `stop` is held to the end, so that its sender knows when all
/// streams have ended.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    flow: Flow,
    shared: Arc<Shared>,
    admission: Admission,
    stop: watch::Receiver<bool>,
) {
    let outbox = Arc::new(Outbox::new(flow, shared.config.send_queue));
    let now = shared.clock();
    outbox.touch(now);
    outbox.expect_by(now + millis(shared.config.first_message_timeout));
    shared.table.insert(Arc::clone(&outbox));
    shared.stats.connections_accepted.add(1);
    shared.stats.connections_open.add(1);
    shared.sink.deliver(&mut vec![Event::FlowUp(flow)]);
    if *stop.borrow() {
        // It was accepted at the last moment, after the others were closed.
        outbox.advance(Phase::Closing);
    }
    let mut stream = Stream {
        socket,
        outbox,
        shared,
        state: State::Open,
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
        greeted: false,
        partial: false,
        pending: VecDeque::new(),
        written: 0,
    };
    let ended = poll_fn(|cx| stream.poll(cx)).await;
    tracing::debug!(?flow, ?ended, "stream closed");
    stream.finish();
    stream.shared.table.remove(flow.connection);
    drop(admission);
    stream.shared.stats.connections_open.sub(1);
    drop(stop);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Finishing,
    Lingering,
}

struct Stream<S> {
    socket: S,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    state: State,
    decoder: Decoder,
    /// Bytes that are not yet a whole frame.
    buffer: BytesMut,
    /// True when the first message has come.
    greeted: bool,
    /// True while a message has begun and is not complete.
    partial: bool,
    pending: VecDeque<Bytes>,
    /// Bytes of the first of `pending` that are written.
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.outbox.take(&mut self.pending, cx) {
                Phase::Open => {}
                Phase::Closing => self.finish(),
                Phase::Aborted => return Poll::Ready(Ok(())),
            }
            let written = self.poll_write(cx)?;
            match self.state {
                State::Open => {
                    let count = ready!(self.poll_read(cx))?;
                    if count == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    self.on_bytes(count);
                }
                State::Finishing => {
                    ready!(written);
                    ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
                    self.state = State::Lingering;
                }
                State::Lingering => {
                    let count = ready!(self.poll_read(cx))?;
                    self.buffer.clear();
                    if count == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Ready when everything that waited is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); WRITE];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.pending) {
                let skip = if count == 0 { self.written } else { 0 };
                *slice = io::IoSlice::new(bytes.get(skip..).unwrap_or_default());
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.on_written(written);
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn on_written(&mut self, count: usize) {
        self.shared.stats.bytes_out.add(count);
        self.outbox.touch(self.shared.clock());
        self.written += count;
        while let Some(first) = self.pending.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.outbox.written(first);
            self.pending.pop_front();
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// Reads to the end of `buffer`; 0 is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
            let filled = room.filled();
            self.buffer.extend_from_slice(filled);
            Poll::Ready(Ok(filled.len()))
        })
    }

    fn on_bytes(&mut self, count: usize) {
        self.shared.stats.bytes_in.add(count);
        let mut batch = Vec::new();
        loop {
            match self.decoder.next(&mut self.buffer, &self.shared.config.limits) {
                Ok(Some(frame)) => self.on_frame(frame, &mut batch),
                Ok(None) => break,
                Err(error) => {
                    self.on_unframeable(&error);
                    break;
                }
            }
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        self.watch(batch.is_empty());
        if !batch.is_empty() {
            self.shared.sink.deliver(&mut batch);
        }
    }

    fn on_frame(&mut self, frame: Frame, batch: &mut Vec<Event>) {
        let flow = *self.outbox.flow();
        match frame {
            Frame::Message(bytes) => match sip::parse::message(bytes, &self.shared.config.limits) {
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
            },
            Frame::Ping => {
                self.shared.stats.keepalives.add(1);
                // RFC 5626 §4.4.1. A peer that does not read its pongs needs none.
                let _ = self.outbox.push(Bytes::from_static(b"\r\n"));
            }
            Frame::Pong => self.shared.stats.keepalives.add(1),
        }
    }

    /// Where the next message begins cannot be known: answer what can be read of this one, and close.
    fn on_unframeable(&mut self, error: &ParseError) {
        let flow = *self.outbox.flow();
        tracing::debug!(?flow, %error, "stream cannot be framed");
        self.shared.stats.malformed.add(1);
        let request = match sip::parse::message(self.buffer.split().freeze(), &self.shared.config.limits) {
            Ok(Message::Request(request)) => Some(request),
            Err(Malformed { request, .. }) => request.map(|request| *request),
            Ok(Message::Response(_)) => None,
        };
        self.answer(request.and_then(|request| answer::to_request(request, error, flow.remote)));
        self.outbox.advance(Phase::Closing);
    }

    fn answer(&self, answer: Option<Bytes>) {
        if let Some(answer) = answer
            && self.outbox.push(answer).is_ok()
        {
            self.shared.stats.malformed_answered.add(1);
        }
    }

    /// Sets the time until when a message must be complete: bytes that trickle in do not put it off.
    fn watch(&mut self, idle: bool) {
        let now = self.shared.clock();
        self.outbox.touch(now);
        if !self.greeted {
            return;
        }
        if self.buffer.is_empty() {
            self.partial = false;
            self.outbox.expect_by(0);
        } else if !self.partial || !idle {
            self.partial = true;
            self.outbox.expect_by(now + millis(self.shared.config.first_message_timeout));
        }
    }

    /// The flow is over: nobody can send on it any more, and everybody hears of it once.
    fn finish(&mut self) {
        if self.state != State::Open {
            return;
        }
        self.state = State::Finishing;
        self.outbox.advance(Phase::Closing);
        self.outbox.expect_by(self.shared.clock() + millis(LINGER));
        self.shared.sink.deliver(&mut vec![Event::FlowDown(*self.outbox.flow())]);
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
