//! SIP over one stream, TCP or TLS: framing (RFC 3261 §18.3), the CRLF pong (RFC 5626 §4.4.1, §5.4), answers to what
//! is malformed. What is not particular to framing is [`crate::connection`]'s.
//!
//! A peer whose first bytes are those of an HTTP request wants a WebSocket (RFC 7118 §4.1) and is handed over to
//! [`crate::handshake`], so that one port serves phones and browsers. No SIP request begins so: its URI has a scheme.
//!
//! One task owns the stream. It holds no buffer while nothing is under way: bytes are read into a buffer of the thread and
//! copied to the stream's own in their exact size, which the messages then share.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    Event, Flow, answer,
    connection::{Connection, Shared, State},
    flow::Admission,
    handshake,
    outbox::Phase,
    rewound::Rewound,
};

/// Bytes of one read.
const READ: usize = 64 * 1024;
/// Messages in one write.
const WRITE: usize = 32;
/// What a request to open a WebSocket begins with (RFC 6455 §4.1).
const HTTP: &[u8] = b"GET /";

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Serves one stream until it is closed from either side. `stop` is held to the end, so that its sender knows when all
/// streams have ended.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: S,
    flow: Flow,
    shared: Arc<Shared>,
    admission: Admission,
    stop: watch::Receiver<bool>,
) {
    let connection = Connection::open(flow, shared, &stop);
    serve(socket, connection, admission, stop).await;
}

/// As [`run`] for a flow that is up already.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: S,
    connection: Connection,
    admission: Admission,
    stop: watch::Receiver<bool>,
) {
    let flow = *connection.outbox.flow();
    let mut stream = Stream {
        socket,
        connection,
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
        pending: VecDeque::new(),
        written: 0,
    };
    let ended = poll_fn(|cx| stream.poll(cx)).await;
    let Stream { socket, connection, buffer, .. } = stream;
    if let Ok(Ended::Http) = ended {
        let shared = Arc::clone(&connection.shared);
        connection.end();
        let socket = Rewound::new(buffer.freeze(), socket);
        tokio::spawn(handshake::take_over(socket, flow, shared, admission, stop));
        return;
    }
    tracing::debug!(?flow, ?ended, "stream closed");
    connection.end();
    drop((admission, stop));
}

/// Why a stream is served no more.
#[derive(Debug)]
enum Ended {
    /// One side has closed it.
    Closed,
    /// It is HTTP; nothing was taken from what is read.
    Http,
}

struct Stream<S> {
    socket: S,
    connection: Connection,
    decoder: Decoder,
    /// Bytes that are not yet a whole frame.
    buffer: BytesMut,
    pending: VecDeque<Bytes>,
    /// Bytes of the first of `pending` that are written.
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ended>> {
        loop {
            match self.connection.outbox.take(&mut self.pending, cx) {
                Phase::Open => {}
                Phase::Closing => self.connection.finish(),
                Phase::Aborted => return Poll::Ready(Ok(Ended::Closed)),
            }
            let written = self.poll_write(cx)?;
            match self.connection.state {
                State::Open => {
                    let count = ready!(self.poll_read(cx))?;
                    if count == 0 {
                        return Poll::Ready(Ok(Ended::Closed));
                    }
                    if self.connection.is_new() && self.buffer.starts_with(HTTP) {
                        return Poll::Ready(Ok(Ended::Http));
                    }
                    self.on_bytes(count);
                }
                State::Finishing => {
                    ready!(written);
                    ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
                    self.connection.state = State::Lingering;
                }
                State::Lingering => {
                    let count = ready!(self.poll_read(cx))?;
                    self.buffer.clear();
                    if count == 0 {
                        return Poll::Ready(Ok(Ended::Closed));
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
        self.connection.shared.stats.bytes_out.add(count);
        self.connection.outbox.touch(self.connection.shared.clock());
        self.written += count;
        while let Some(first) = self.pending.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.connection.outbox.written(first);
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
        self.connection.shared.stats.bytes_in.add(count);
        let mut batch = Vec::new();
        loop {
            match self.decoder.next(&mut self.buffer, &self.connection.shared.config.limits) {
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
        self.connection.watch(!self.buffer.is_empty(), !batch.is_empty());
        if !batch.is_empty() {
            self.connection.shared.sink.deliver(&mut batch);
        }
    }

    fn on_frame(&mut self, frame: Frame, batch: &mut Vec<Event>) {
        match frame {
            Frame::Message(bytes) => self.connection.on_message(bytes, batch),
            Frame::Ping => self.connection.on_ping(),
            Frame::Pong => self.connection.on_pong(),
        }
    }

    /// Where the next message begins cannot be known: answer what can be read of this one, and close.
    fn on_unframeable(&mut self, error: &ParseError) {
        let flow = *self.connection.outbox.flow();
        tracing::debug!(?flow, %error, "stream cannot be framed");
        self.connection.shared.stats.malformed.add(1);
        let request =
            match sip::parse::message(self.buffer.split().freeze(), &self.connection.shared.config.limits) {
                Ok(Message::Request(request)) => Some(request),
                Err(Malformed { request, .. }) => request.map(|request| *request),
                Ok(Message::Response(_)) => None,
            };
        self.connection.answer(request.and_then(|request| answer::to_request(request, error, flow.remote)));
        self.connection.outbox.advance(Phase::Closing);
    }
}
