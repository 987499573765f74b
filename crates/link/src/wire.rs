//! The streams of a connection: one for control and [`LANES`] for calls, each with one reader and one writer.
//!
//! Lanes keep calls apart: a lost packet holds up one eighth of them. All frames of a Call-ID use the same lane and
//! arrive in order.

use std::{ops::Range, pin::pin};

use bytes::{Bytes, BytesMut};
use proto::{Frame, frame::Kind};
use quinn::{ReadError, RecvStream, SendStream};
use tokio::sync::{mpsc, watch};

use crate::codec::{self, DecodeError, Decoder};

/// Streams for calls on each connection, besides the one for control.
pub const LANES: usize = 8;

/// The queue that a frame waits in: 0 is control, the others are lanes.
pub(crate) fn stream_of(kind: &Kind, lane: u64) -> usize {
    match kind {
        Kind::Sip(_) | Kind::FlowsOf(_) | Kind::Flows(_) => {
            1 + usize::try_from(lane % LANES as u64).expect("less than the number of lanes")
        }
        Kind::Hello(_)
        | Kind::FlowDown(_)
        | Kind::FlowUp(_)
        | Kind::Load(_)
        | Kind::Drain(_)
        | Kind::Ping(_)
        | Kind::Pong(_) => 0,
    }
}

/// Both directions of every stream, control first.
pub(crate) type Streams = Vec<(SendStream, Reader)>;

/// A stream did not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("protocol error: {0}")]
    Decode(#[from] DecodeError),
}

/// The receiving direction of a stream.
pub(crate) struct Reader {
    stream: RecvStream,
    decoder: Decoder,
    chunks: [Bytes; CHUNKS],
    unread: Range<usize>,
}

impl Reader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, decoder: Decoder::default(), chunks: [const { Bytes::new() }; CHUNKS], unread: 0..0 }
    }

    /// The next frame; none when the peer has finished the stream.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            if let Some(chunk) = self.unread.next().and_then(|next| self.chunks.get_mut(next)) {
                self.decoder.push(std::mem::take(chunk));
                continue;
            }
            match self.stream.read_chunks(&mut self.chunks).await? {
                Some(count) => self.unread = 0..count,
                None => return Ok(None),
            }
        }
    }
}

/// Writes what comes through `queue` until the queue is closed or `drain` becomes true; then sends the rest and
/// waits until the peer has it. Says how many frames were too large to be sent.
///
/// Whatever waits is encoded into one buffer and written at once: a write for each frame costs six times as much.
pub(crate) async fn write(
    mut queue: mpsc::Receiver<Kind>,
    mut stream: SendStream,
    mut drain: watch::Receiver<bool>,
    oversized: impl Fn(),
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut buffer = BytesMut::with_capacity(BUFFER);
    let mut draining = pin!(drain.wait_for(|drain| *drain));
    let mut open = true;
    loop {
        let count = tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => count,
            _ = &mut draining, if open => {
                open = false;
                queue.close();
                continue;
            }
        };
        if count == 0 {
            break;
        }
        buffer.reserve(BUFFER);
        for kind in batch.drain(..) {
            if !codec::encode(kind, &mut buffer) {
                oversized();
            }
        }
        // The connection is lost: whoever watches it ends this task.
        if stream.write_chunk(buffer.split().freeze()).await.is_err() {
            return;
        }
    }
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

/// Frames that are written at once.
const BATCH: usize = 256;

/// Room for a usual batch. Used again when the peer has acknowledged what was in it.
const BUFFER: usize = 16 * 1024;

/// Packets that are taken from QUIC at once.
const CHUNKS: usize = 16;
