//! The transport layer of one process, RFC 3261 §18: its listeners and the way out to every flow.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    CertificateError, Config, Error, Flow, Listen, Protocol, SendError, Sink, Stats,
    connection::{Shared, millis},
    flow::Table,
    keepalive,
    outbound::Outbound,
    outbox::{Outbox, Phase},
    tcp,
    tls::Tls,
    udp,
};

/// How long the last words on a stream may take when the process ends.
const GRACE: Duration = Duration::from_millis(500);

/// The way to every flow. Copies share everything; when the last one is dropped, all sockets are closed.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    listeners: Vec<Listen>,
    udp: Vec<Arc<udp::Listener>>,
    shared: Arc<Shared>,
    outbound: Outbound,
    /// Every task holds a receiver: it tells them to stop, and knows when they have.
    stop: watch::Sender<bool>,
}

/// Opens every listener and starts to receive, on the runtime that this is called from.
///
/// `now` is the monotonic clock. `epoch` is the upper half of all connection numbers: drawn at random, it makes sure that a
/// token from an earlier process does not name a connection of this one.
pub async fn bind(
    config: Config,
    sink: Arc<impl Sink>,
    now: fn() -> Instant,
    epoch: u32,
) -> Result<Transport, Error> {
    let sockets = Sockets::open(&config, epoch)?;
    let limits = config.limits;
    let shared = Arc::new(Shared {
        config,
        tls: sockets.tls,
        table: Arc::new(Table::new(epoch)),
        sink,
        stats: sockets.stats,
        now,
        started: now(),
    });
    let (stop, stopped) = watch::channel(false);
    for listener in &sockets.udp {
        let sink = Arc::clone(&shared.sink);
        tokio::spawn(udp::read(Arc::clone(listener), limits, sink, stopped.clone()));
        tokio::spawn(udp::write(Arc::clone(listener), stopped.clone()));
    }
    tokio::spawn(keepalive::sweep(Arc::clone(&shared), stopped.clone()));
    for (protocol, listener) in sockets.tcp {
        tokio::spawn(tcp::accept(protocol, listener, Arc::clone(&shared), stopped.clone()));
    }
    Ok(Transport(Arc::new(Inner {
        listeners: sockets.listeners,
        udp: sockets.udp,
        shared,
        outbound: Outbound::default(),
        stop,
    })))
}

impl Transport {
    /// Queues bytes on a flow and returns at once. A datagram leaves with the next [`flush`](Self::flush), a stream's
    /// bytes as soon as its peer takes them.
    pub fn send(&self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        let shared = &self.0.shared;
        if flow.protocol.is_reliable() {
            let outbox = shared.table.get(flow).ok_or(SendError::Gone)?;
            outbox.push(bytes).inspect_err(|error| {
                if *error == SendError::Full {
                    shared.stats.stream_queue_full.add(1);
                }
            })?;
        } else {
            self.socket(flow).ok_or(SendError::Gone)?.push(flow, bytes)?;
        }
        shared.stats.messages_out.add(1);
        Ok(())
    }

    /// Sends the datagrams that are queued, as many as possible in one system call. It does not wait: what the kernel does not
    /// take now, it is given when it can.
    pub fn flush(&self) {
        for listener in &self.0.udp {
            listener.flush();
        }
    }

    /// The listeners with the addresses that they are bound to, in the order of the configuration.
    pub fn listeners(&self) -> Vec<Listen> {
        self.0.listeners.clone()
    }

    /// True when something can be sent on this flow: its stream is open, or this process has a socket for its
    /// local address.
    pub fn is_open(&self, flow: &Flow) -> bool {
        if flow.protocol.is_reliable() {
            let outbox = self.0.shared.table.get(flow);
            outbox.is_some_and(|outbox| outbox.is_open())
        } else {
            self.socket(flow).is_some()
        }
    }

    /// Closes a stream after what is queued on it has been written. A flow over UDP has nothing to close.
    pub fn close(&self, flow: &Flow) {
        if flow.protocol.is_reliable()
            && let Some(outbox) = self.0.shared.table.get(flow)
        {
            outbox.advance(Phase::Closing);
        }
    }

    /// Reads the certificates again, for the handshakes to come; open flows go on with what they have.
    ///
    /// # Errors
    ///
    /// The first file that is no good; then the old certificates stay in use.
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        self.0.shared.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// From now on a stream is closed when its peer has said nothing for so long, whatever we send ourselves: what
    /// Flow-Timer promises (RFC 5626 §5.4). A flow over UDP has nothing to close.
    pub fn supervise(&self, flow: &Flow, silence: Duration) {
        if flow.protocol.is_reliable()
            && let Some(outbox) = self.0.shared.table.get(flow)
        {
            outbox.supervise(millis(silence));
        }
    }

    /// What went through the sockets.
    pub fn stats(&self) -> &Stats {
        &self.0.shared.stats
    }

    /// Stops to listen and to read datagrams, and closes every stream: politely for a moment, then at once. When it returns, all
    /// tasks have ended and every open flow has been reported down.
    pub async fn shutdown(&self) {
        self.flush();
        self.0.stop.send_replace(true);
        self.0.advance_all(Phase::Closing);
        if timeout(GRACE, self.0.stop.closed()).await.is_err() {
            self.0.advance_all(Phase::Aborted);
            self.0.stop.closed().await;
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &udp::Listener> {
        self.0.udp.iter().map(AsRef::as_ref)
    }

    /// Tells a task when to stop; as long as it is held, [`Self::shutdown`] waits for the task.
    pub(crate) fn stop(&self) -> watch::Receiver<bool> {
        self.0.stop.subscribe()
    }

    fn socket(&self, flow: &Flow) -> Option<&udp::Listener> {
        self.sockets().find(|listener| listener.serves(flow.local))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("listeners", &self.0.listeners).finish_non_exhaustive()
    }
}

impl Inner {
    fn advance_all(&self, phase: Phase) {
        for outbox in self.shared.table.select(|_| true) {
            Outbox::advance(&outbox, phase);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.advance_all(Phase::Closing);
    }
}

/// The sockets of a configuration, open.
struct Sockets {
    listeners: Vec<Listen>,
    udp: Vec<Arc<udp::Listener>>,
    tcp: Vec<(Protocol, TcpListener)>,
    tls: Option<Tls>,
    stats: Arc<Stats>,
}

impl Sockets {
    fn open(config: &Config, epoch: u32) -> Result<Self, Error> {
        let mut sockets = Self {
            listeners: Vec::new(),
            udp: Vec::new(),
            tcp: Vec::new(),
            tls: certificates(config)?,
            stats: Arc::default(),
        };
        for &listen in &config.listen {
            let failed = |source| Error::Bind { listen, source };
            let addr = match listen.protocol {
                Protocol::Udp => {
                    let stats = Arc::clone(&sockets.stats);
                    let listener = udp::Listener::bind(listen.addr, config.datagram_queue, epoch, stats)
                        .map_err(failed)?;
                    let addr = listener.local();
                    sockets.udp.push(Arc::new(listener));
                    addr
                }
                protocol => {
                    let listener = tcp::bind(listen.addr).map_err(failed)?;
                    let addr = listener.local_addr().map_err(failed)?;
                    sockets.tcp.push((protocol, listener));
                    addr
                }
            };
            sockets.listeners.push(Listen { addr, ..listen });
        }
        Ok(sockets)
    }
}

/// The certificates, when a listener needs them.
fn certificates(config: &Config) -> Result<Option<Tls>, Error> {
    let Some(&listen) = config.listen.iter().find(|listen| listen.protocol.is_secure()) else {
        return Ok(None);
    };
    if config.certificates.is_empty() {
        return Err(Error::NoCertificate { listen });
    }
    Ok(Some(Tls::load(config.certificates.clone(), config.client_authority.clone())?))
}
