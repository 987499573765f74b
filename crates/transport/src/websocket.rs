//! SIP over one WebSocket, RFC 7118 §4 and §5: a message per WebSocket message, text or binary, and two kinds of keep-alive,
//! that of WebSocket and that of RFC 5626 §4.4.1.
//!
//! A ping that we send as CRLF goes out as a ping of WebSocket: browsers answer it without asking the page (RFC 7118 §6).

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    Flow,
    connection::{Connection, Shared, State},
    flow::Admission,
    metered::Metered,
    outbox::Phase,
};

/// RFC 5626 §4.4.1.
const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";

/// Serves one WebSocket until it is closed from either side. `stop` is held to the end, so that its sender knows when all
/// connections have ended.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<Metered<S>>,
    flow: Flow,
    shared: Arc<Shared>,
    admission: Admission,
    stop: watch::Receiver<bool>,
) {
    let mut websocket = WebSocket {
        socket,
        connection: Connection::open(flow, shared, &stop),
        pending: VecDeque::new(),
        goodbye: Some(CloseCode::Away),
    };
    let ended = poll_fn(|cx| websocket.poll(cx)).await;
    tracing::debug!(?flow, ?ended, "websocket closed");
    websocket.connection.end();
    drop((admission, stop));
}

struct WebSocket<S> {
    socket: WebSocketStream<Metered<S>>,
    connection: Connection,
    pending: VecDeque<Bytes>,
    /// What the peer is told at the end; None when it has said so first.
    goodbye: Option<CloseCode>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match self.connection.outbox.take(&mut self.pending, cx) {
                Phase::Open => {}
                Phase::Closing => self.connection.finish(),
                Phase::Aborted => return Poll::Ready(Ok(())),
            }
            match self.connection.state {
                State::Open => {
                    // What cannot be written now does not keep us from reading.
                    let _ = self.poll_write(cx)?;
                    let read = self.socket.poll_next_unpin(cx);
                    self.count(read.is_pending());
                    match ready!(read) {
                        Some(Ok(message)) => self.on_message(message),
                        Some(Err(error)) => self.on_error(error)?,
                        None => return Poll::Ready(Ok(())),
                    }
                }
                State::Finishing => {
                    if self.goodbye.is_none() {
                        // Nothing may follow a close frame, ours or the answer to the peer's.
                        self.pending.clear();
                    }
                    ready!(self.poll_write(cx))?;
                    if let Some(code) = self.goodbye.take() {
                        let frame = CloseFrame { code, reason: Utf8Bytes::default() };
                        self.socket.start_send_unpin(Message::Close(Some(frame)))?;
                    }
                    ready!(self.socket.poll_flush_unpin(cx))?;
                    ready!(Pin::new(self.socket.get_mut()).poll_shutdown(cx))?;
                    self.connection.state = State::Lingering;
                }
                State::Lingering => {
                    let mut room = [0; 1024];
                    let mut room = ReadBuf::new(&mut room);
                    ready!(Pin::new(self.socket.get_mut()).poll_read(cx, &mut room))?;
                    if room.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Ready when everything that waited is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.pending.is_empty() {
            ready!(self.socket.poll_ready_unpin(cx))?;
            if let Some(bytes) = self.pending.pop_front() {
                self.connection.outbox.written(&bytes);
                self.connection.outbox.touch(self.connection.shared.clock());
                self.socket.start_send_unpin(framed(bytes))?;
            }
        }
        self.pending = VecDeque::new();
        self.socket.poll_flush_unpin(cx)
    }

    /// Notes what went through the socket, and when no whole message came of it (`rest`), that one has begun.
    fn count(&mut self, rest: bool) {
        let (read, written) = self.socket.get_mut().take();
        self.connection.shared.stats.bytes_in.add(read);
        self.connection.shared.stats.bytes_out.add(written);
        if rest && read > 0 {
            self.connection.watch(true, false);
        }
    }

    fn on_message(&mut self, message: Message) {
        let bytes = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            // The library has queued the answer already.
            Message::Ping(_) | Message::Pong(_) => {
                self.connection.on_pong();
                return self.connection.watch(false, true);
            }
            Message::Close(_) => {
                self.goodbye = None;
                return self.connection.finish();
            }
            Message::Frame(_) => return,
        };
        let mut batch = Vec::new();
        match bytes.as_ref() {
            PING => self.connection.on_ping(),
            PONG | b"" => self.connection.on_pong(),
            _ => self.connection.on_message(bytes, &mut batch),
        }
        self.connection.watch(false, true);
        if !batch.is_empty() {
            self.connection.shared.sink.deliver(&mut batch);
        }
    }

    /// RFC 6455 §7.4.1: what the peer did wrong is said in the close frame; an error of the socket ends it at once.
    fn on_error(&mut self, error: Error) -> Result<(), Error> {
        let code = match &error {
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Err(error),
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return Err(error),
        };
        tracing::debug!(flow = ?self.connection.outbox.flow(), %error, "websocket cannot go on");
        self.connection.shared.stats.malformed.add(1);
        self.goodbye = Some(code);
        self.connection.finish();
        Ok(())
    }
}

/// RFC 7118 §4.2: text unless the message is not UTF-8.
fn framed(bytes: Bytes) -> Message {
    if bytes == PING {
        return Message::Ping(Bytes::new());
    }
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}
