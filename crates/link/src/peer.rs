//! One connection to one peer, from the Hello to the end.
//!
//! Up → frames → Down, in this order and once each: the readers have ended before the end is reported, and a
//! connection that replaces another waits until the other's end was reported.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{Hello, Pong, frame::Kind};
use quinn::{Connection, ConnectionError, Side};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    Event, PeerId, PeerInfo, SendError,
    codec::MAX_MESSAGE,
    handshake::{self, code},
    links::Inner,
    probe,
    wire::{self, LANES, Reader, Streams, WireError},
};

/// A connected peer.
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    pub(crate) hello: Hello,
    pub(crate) connection: Connection,
    queues: Vec<mpsc::Sender<Kind>>,
    since: Instant,
    counters: Counters,
    /// Why this end closed the connection.
    reason: OnceLock<String>,
    drain: watch::Sender<bool>,
    writers: watch::Sender<usize>,
    pub(crate) ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    full: AtomicU64,
    refused: AtomicU64,
    oversized: AtomicU64,
}

impl Session {
    pub(crate) fn send(&self, lane: u64, frame: Kind) -> Result<(), SendError> {
        if let Kind::Sip(sip) = &frame
            && sip.message.len() > MAX_MESSAGE
        {
            add(&self.counters.oversized);
            return Err(SendError::TooLarge);
        }
        let queue = self.queues.get(wire::stream_of(&frame, lane)).expect("a queue for every stream");
        match queue.try_send(frame) {
            Ok(()) => {
                add(&self.counters.sent);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                add(&self.counters.full);
                Err(SendError::Full)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SendError::Down),
        }
    }

    /// Closes the connection at once; what waits is lost.
    pub(crate) fn close(&self, code: quinn::VarInt, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.connection.close(code, reason.as_bytes());
    }

    /// Takes no more frames.
    pub(crate) fn begin_drain(&self) {
        self.drain.send_replace(true);
    }

    /// Waits until the peer has every frame that was taken before [`Self::begin_drain`].
    pub(crate) async fn flush(&self) {
        let (mut writers, mut ended) = (self.writers.subscribe(), self.ended.subscribe());
        tokio::select! {
            _ = writers.wait_for(|writers| *writers == 0) => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }

    pub(crate) fn info(&self) -> PeerInfo {
        let stats = self.connection.stats();
        PeerInfo {
            peer: self.peer,
            name: self.hello.name.clone(),
            role: self.hello.role.clone(),
            version: self.hello.version.clone(),
            addr: canonical(self.connection.remote_address()),
            since: self.since,
            rtt: stats.path.rtt,
            queued: self.queues.iter().map(|queue| queue.max_capacity() - queue.capacity()).collect(),
            sent: self.counters.sent.load(Ordering::Relaxed),
            received: self.counters.received.load(Ordering::Relaxed),
            full: self.counters.full.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
            oversized: self.counters.oversized.load(Ordering::Relaxed),
            lost_packets: stats.path.lost_packets,
        }
    }
}

/// Serves a connection until it ends. Returns how long the peer was up, none if it never was.
pub(crate) async fn run(
    inner: &Arc<Inner>,
    connection: Connection,
    hello: Hello,
    mut streams: Streams,
) -> Option<Duration> {
    let (queues, receivers): (Vec<_>, Vec<_>) = (0..=LANES).map(|_| mpsc::channel(inner.queue)).unzip();
    let session = Arc::new(Session {
        peer: inner.identify(&hello.name),
        hello: hello.clone(),
        connection: connection.clone(),
        queues,
        since: now(),
        counters: Counters::default(),
        reason: OnceLock::new(),
        drain: watch::Sender::new(false),
        writers: watch::Sender::new(receivers.len()),
        ended: watch::Sender::new(false),
    });
    inner.register(&session).await;
    let up = connection.side() == Side::Client || handshake::welcome(&mut streams).await.is_ok();
    if up {
        let addr = canonical(connection.remote_address());
        tracing::info!(peer = %hello.name, version = %hello.version, %addr, "link is up");
        inner.report(Event::Up { peer: session.peer, hello, addr });
        let reason = serve(inner, &session, streams, receivers).await;
        tracing::info!(peer = %session.hello.name, %reason, "link is down");
        inner.report(Event::Down { peer: session.peer, reason });
    }
    inner.unregister(&session);
    session.ended.send_replace(true);
    up.then(|| now().saturating_duration_since(session.since))
}

/// Moves frames until the connection ends. Says why it did.
async fn serve(
    inner: &Arc<Inner>,
    session: &Arc<Session>,
    streams: Streams,
    receivers: Vec<mpsc::Receiver<Kind>>,
) -> String {
    let mut readers = JoinSet::new();
    let mut writers = JoinSet::new();
    for ((send, reader), queue) in streams.into_iter().zip(receivers) {
        readers.spawn(read(Arc::clone(inner), Arc::clone(session), reader));
        let session = Arc::clone(session);
        writers.spawn(async move {
            let oversized = || add(&session.counters.oversized);
            wire::write(queue, send, session.drain.subscribe(), oversized).await;
            session.writers.send_modify(|writers| *writers -= 1);
        });
    }
    let patience = match session.connection.side() {
        Side::Client => PATIENCE,
        Side::Server => FIREWALL_PATIENCE,
    };
    let reason = tokio::select! {
        error = session.connection.closed() => describe(session, &error),
        () = probe::crashed(&session.connection, patience) => {
            let reason = "crashed: nobody listens on its port";
            session.close(code::CRASHED, reason);
            reason.to_owned()
        }
        error = failed(&mut readers) => {
            let reason = error.to_string();
            session.close(code::PROTOCOL, &reason);
            reason
        }
    };
    writers.shutdown().await;
    // The connection is closed, so every reader ends, and no frame is delivered after this.
    while readers.join_next().await.is_some() {}
    reason
}

/// Delivers the frames of one stream.
async fn read(inner: Arc<Inner>, session: Arc<Session>, mut reader: Reader) -> Result<(), WireError> {
    loop {
        let frame = match reader.frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(WireError::Read(quinn::ReadError::ConnectionLost(_))) => return Ok(()),
            Err(error) => return Err(error),
        };
        match frame.kind {
            // A kind that this version does not know, or a Hello that comes too late to matter.
            None | Some(Kind::Hello(_)) => {}
            Some(Kind::Ping(ping)) => {
                // No room for the answer: the peer learns that this node is overloaded.
                let _ = session.send(0, Kind::Pong(Pong { id: ping.id }));
            }
            Some(kind) => {
                add(&session.counters.received);
                if !inner.report(Event::Frame { peer: session.peer, frame: kind }) {
                    add(&session.counters.refused);
                }
            }
        }
    }
}

/// The first reader that met something else than the end of its stream.
async fn failed(readers: &mut JoinSet<Result<(), WireError>>) -> WireError {
    while let Some(ended) = readers.join_next().await {
        if let Ok(Err(error)) = ended {
            return error;
        }
    }
    std::future::pending().await
}

fn describe(session: &Session, error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("closed by the peer: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::LocallyClosed => {
            session.reason.get().cloned().unwrap_or_else(|| "closed".to_owned())
        }
        ConnectionError::TimedOut => "silent".to_owned(),
        ConnectionError::Reset => "restarted".to_owned(),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// IPv4 addresses look like IPv6 on a socket that serves both.
fn canonical(address: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[expect(clippy::disallowed_methods, reason = "how long a connection lasts is measured where it is made")]
fn now() -> Instant {
    Instant::now()
}

/// Silence after which a core is asked whether it is there: more than the 300 ms between two keep-alives, and little
/// enough that a crash is known within a second.
const PATIENCE: Duration = Duration::from_millis(400);

/// The same for edges. Their port is open for answers only, and a firewall that rejects anything else would say
/// "unreachable" for an edge that lives: they get more time to be heard after lost packets.
const FIREWALL_PATIENCE: Duration = Duration::from_millis(500);
