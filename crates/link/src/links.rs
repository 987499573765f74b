//! The peers of this node: who is connected, and how to send to them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use proto::{Hello, frame::Kind};
use quinn::Endpoint;
use tokio::{sync::watch, time};

use crate::{Event, EventSink, PeerId, SendError, handshake::code, peer::Session};

/// Handle of the link: sends to peers, lists them, ends them.
///
/// The link lives until [`Links::shutdown`], with or without a handle.
#[derive(Clone)]
pub struct Links {
    pub(crate) inner: Arc<Inner>,
}

/// A connected peer as an operator wants to see it.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The peer.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// `edge` or `core`.
    pub role: String,
    /// Its version.
    pub version: String,
    /// Where it is.
    pub addr: SocketAddr,
    /// When it came up.
    pub since: Instant,
    /// Round-trip time.
    pub rtt: Duration,
    /// Frames that wait to be written: the control stream, then each lane.
    pub queued: Vec<usize>,
    /// Frames taken for sending.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Frames not taken because a queue was full.
    pub full: u64,
    /// Frames received that nobody had room for.
    pub refused: u64,
    /// Frames not sent because they were too large.
    pub oversized: u64,
    /// QUIC packets that were lost on the way to the peer.
    pub lost_packets: u64,
}

impl Links {
    /// Sends a frame. Never waits: a full queue is overload and the caller's answer to it is 503.
    ///
    /// `lane` is the hash of the Call-ID: frames of one Call-ID arrive in order. Frames that belong to no call
    /// (`FlowDown`, `FlowUp`, `Load`, `Drain`, `Ping`) have a stream of their own and ignore it.
    pub fn send(&self, peer: PeerId, lane: u64, frame: Kind) -> Result<(), SendError> {
        let table = self.inner.read();
        table.session(peer).ok_or(SendError::Down)?.send(lane, frame)
    }

    /// Ends the connection to a peer. An edge dials again, after a pause.
    pub fn close(&self, peer: PeerId, reason: &str) {
        let session = self.inner.read().session(peer).cloned();
        if let Some(session) = session {
            session.close(code::CLOSED, reason);
        }
    }

    /// The peers that are up, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner.sessions().iter().map(|session| session.info()).collect()
    }

    /// The UDP address of this end.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    /// Ends the link: no new peers, what waits is sent, the peers are told `reason`, every end is reported.
    ///
    /// Takes at most `within` for what waits and half a second for the good-byes.
    pub async fn shutdown(&self, reason: &str, within: Duration) {
        self.inner.stop.send_replace(true);
        let sessions = self.inner.sessions();
        let flush = async {
            // All of them drain at once, however long the first one takes.
            for session in &sessions {
                session.begin_drain();
            }
            for session in &sessions {
                session.flush().await;
            }
        };
        if time::timeout(within, flush).await.is_err() {
            tracing::warn!("link: not everything that waited could be sent");
        }
        for session in &sessions {
            session.close(code::CLOSED, reason);
        }
        self.inner.endpoint.close(code::CLOSED, reason.as_bytes());
        let good_byes = async {
            for session in &sessions {
                let _ = session.ended.subscribe().wait_for(|ended| *ended).await;
            }
            self.inner.endpoint.wait_idle().await;
        };
        // A peer that does not answer the good-bye has heard it or never will.
        let _ = time::timeout(Duration::from_millis(500), good_byes).await;
    }
}

/// What the tasks of the link share.
pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) hello: Hello,
    pub(crate) queue: usize,
    pub(crate) stop: watch::Sender<bool>,
    events: EventSink,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    ids: HashMap<String, PeerId>,
    /// Indexed by [`PeerId`].
    sessions: Vec<Option<Arc<Session>>>,
}

impl Table {
    fn session(&self, peer: PeerId) -> Option<&Arc<Session>> {
        self.sessions.get(index(peer))?.as_ref()
    }
}

impl Inner {
    pub(crate) fn new(endpoint: Endpoint, hello: Hello, queue: usize, events: EventSink) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            hello,
            queue: queue.max(1),
            stop: watch::Sender::new(false),
            events,
            table: RwLock::default(),
        })
    }

    /// Gives an event to the receiver; false when it had no room.
    pub(crate) fn report(&self, event: Event) -> bool {
        (self.events)(event).is_ok()
    }

    /// The id of a name, the same as long as this process lives.
    pub(crate) fn identify(&self, name: &str) -> PeerId {
        let mut table = self.write();
        if let Some(id) = table.ids.get(name) {
            return *id;
        }
        let id = PeerId(u32::try_from(table.sessions.len()).expect("fewer names than a cluster could have"));
        table.ids.insert(name.to_owned(), id);
        table.sessions.push(None);
        id
    }

    /// Makes `session` the one that its peer is reached by, after the one it replaces has ended.
    pub(crate) async fn register(&self, session: &Arc<Session>) {
        loop {
            let Some(former) = self.try_register(session) else { return };
            former.close(code::REPLACED, "the same node has connected again");
            let _ = former.ended.subscribe().wait_for(|ended| *ended).await;
        }
    }

    /// Registers `session` unless there is another, which is returned.
    fn try_register(&self, session: &Arc<Session>) -> Option<Arc<Session>> {
        let mut table = self.write();
        let place = table.sessions.get_mut(index(session.peer)).expect("identified before");
        if place.is_none() {
            *place = Some(Arc::clone(session));
            return None;
        }
        place.clone()
    }

    pub(crate) fn unregister(&self, session: &Arc<Session>) {
        if let Some(place) = self.write().sessions.get_mut(index(session.peer)) {
            *place = None;
        }
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.read().sessions.iter().flatten().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Every change of the table is one assignment: a panic cannot leave it half done.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(peer: PeerId) -> usize {
    usize::try_from(peer.0).expect("32 bits fit")
}
