//! Nodes on loopback and what happens to them.
#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of this one")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use link::{Config, Event, EventSink, Full, Links, PeerId};
use proto::{Hello, Sip, frame::Kind};
use tempfile::TempDir;
use tokio::{net::UdpSocket, sync::mpsc, time};

/// Longer than anything takes that does happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Certificates of one cluster.
pub struct Cluster {
    pub dir: TempDir,
}

impl Cluster {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        link::make_certificates(dir.path(), &["edge", "core"]).expect("certificates");
        Self { dir }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Configuration of a node whose role is `edge` or `core`.
    pub fn config(&self, role: &str) -> Config {
        Config {
            ca: Some(self.path("ca.pem")),
            cert: Some(self.path(&format!("{role}.pem"))),
            key: Some(self.path(&format!("{role}-key.pem"))),
            cluster_key: Some([7; 32]),
            ..Config::default()
        }
    }

    pub fn core(&self, name: &str, listen: SocketAddr) -> Node {
        Node::accept(&self.config("core"), name, listen)
    }

    /// A core on the address of one that has just left, as soon as its socket is closed.
    pub async fn successor(&self, name: &str, listen: SocketAddr) -> Node {
        let bind = async {
            while let Err(error) = UdpSocket::bind(listen).await {
                assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
                tokio::task::yield_now().await;
            }
        };
        time::timeout(PATIENCE, bind).await.expect("the address is free");
        self.core(name, listen)
    }

    pub fn edge(&self, name: &str, cores: &[SocketAddr]) -> Node {
        Node::dial(&self.config("edge"), name, cores)
    }
}

pub fn development(dir: &Path) -> Config {
    Config { dev_dir: dir.to_owned(), ..Config::default() }
}

pub fn hello(name: &str) -> Hello {
    Hello { name: name.to_owned(), ..Hello::default() }
}

pub fn sip(text: String) -> Kind {
    Kind::Sip(Sip { message: Bytes::from(text), ..Sip::default() })
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// One end of the link with the events that nobody has looked at.
pub struct Node {
    pub links: Links,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Node {
    pub fn accept(config: &Config, name: &str, listen: SocketAddr) -> Self {
        let (sink, events) = sink();
        Self { links: link::accept(config, listen, hello(name), sink).expect("accepts"), events }
    }

    pub fn dial(config: &Config, name: &str, cores: &[SocketAddr]) -> Self {
        Self::dial_names(config, name, cores.iter().map(ToString::to_string).collect())
    }

    pub fn dial_names(config: &Config, name: &str, cores: Vec<String>) -> Self {
        let (sink, events) = sink();
        Self { links: link::dial(config, cores, hello(name), sink).expect("dials"), events }
    }

    pub fn address(&self) -> SocketAddr {
        self.links.local_addr().expect("bound")
    }

    pub async fn event(&mut self) -> Event {
        self.event_within(PATIENCE).await.expect("an event in time")
    }

    pub async fn event_within(&mut self, patience: Duration) -> Option<Event> {
        time::timeout(patience, self.events.recv()).await.ok().map(|event| event.expect("the sink lives"))
    }

    pub async fn up(&mut self) -> (PeerId, Hello) {
        match self.event().await {
            Event::Up { peer, hello, .. } => (peer, hello),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub async fn down(&mut self) -> (PeerId, String) {
        self.down_within(PATIENCE).await
    }

    pub async fn down_within(&mut self, patience: Duration) -> (PeerId, String) {
        match self.event_within(patience).await {
            Some(Event::Down { peer, reason }) => (peer, reason),
            other => panic!("expected Down, got {other:?}"),
        }
    }

    pub async fn frame(&mut self) -> Kind {
        match self.event().await {
            Event::Frame { frame, .. } => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    pub async fn message(&mut self) -> String {
        match self.frame().await {
            Kind::Sip(sip) => String::from_utf8(sip.message.to_vec()).expect("text"),
            other => panic!("expected a SIP frame, got {other:?}"),
        }
    }
}

fn sink() -> (EventSink, mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = mpsc::unbounded_channel();
    (Box::new(move |event| sender.send(event).map_err(|_| Full)), events)
}

/// A node in a runtime of its own, which can die like a process.
pub struct Process {
    runtime: tokio::runtime::Runtime,
    node: Node,
}

impl Process {
    pub fn start(cluster: &Cluster, name: &str, listen: SocketAddr) -> Self {
        Self::start_with(|| cluster.core(name, listen))
    }

    pub fn start_with(start: impl FnOnce() -> Node) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let node = {
            let _inside = runtime.enter();
            start()
        };
        Self { runtime, node }
    }

    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// No good-byes: all tasks vanish and the port is closed.
    pub fn kill(self) {
        let Self { runtime, node } = self;
        drop(node);
        std::thread::spawn(move || drop(runtime)).join().expect("the runtime ends");
    }
}

/// Passes packets between one edge and a core until it is told to swallow them.
pub struct Relay {
    pub address: SocketAddr,
    swallow: Arc<AtomicBool>,
}

impl Relay {
    pub async fn new(core: SocketAddr) -> Self {
        let front = UdpSocket::bind(loopback()).await.expect("a socket");
        let back = UdpSocket::bind(loopback()).await.expect("a socket");
        let address = front.local_addr().expect("bound");
        let swallow = Arc::new(AtomicBool::new(false));
        tokio::spawn(pass(front, back, core, Arc::clone(&swallow)));
        Self { address, swallow }
    }

    pub fn swallow(&self, swallow: bool) {
        self.swallow.store(swallow, Ordering::Relaxed);
    }
}

async fn pass(front: UdpSocket, back: UdpSocket, core: SocketAddr, swallow: Arc<AtomicBool>) {
    let mut edge = None;
    let (mut out, mut home) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            received = front.recv_from(&mut out) => {
                let Ok((length, from)) = received else { continue };
                // A probe is one byte; the edge is who sends QUIC.
                if length > 1 {
                    edge = Some(from);
                }
                if !swallow.load(Ordering::Relaxed) {
                    let _ = back.send_to(&out[..length], core).await;
                }
            }
            received = back.recv(&mut home) => {
                if let (Ok(length), Some(edge)) = (received, edge) && !swallow.load(Ordering::Relaxed) {
                    let _ = front.send_to(&home[..length], edge).await;
                }
            }
        }
    }
}
