//! Flows that this node opens, RFC 3261 §18.1.1: towards servers outside, found by [`crate::resolve`].
//!
//! Over UDP the node's own sockets are used, so there is nothing to open: a flow is two addresses. A stream is opened once
//! and shared by all requests to the same server (§18: "connections should be reused"); for TLS the server is the address *and* the
//! domain that its certificate was checked for, so that nobody's connection serves another domain (RFC 5922 §7.3). An open stream
//! is a flow as any other: its peer may send requests on it, and it counts among the connections of its address.
//! What cannot be opened is told to whoever wants to send (§18.4), who has other servers to try.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Mutex as AsyncMutex, OnceCell, watch},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Flow, Listen, Protocol, Transport,
    connection::{Connection, Shared},
    flow::canonical,
    resolve::Target,
    stream, tcp,
    udp::Listener,
};

/// Who is believed to sign for the servers outside.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Roots {
    /// Whom the system believes.
    #[default]
    System,
    /// Those in a PEM file, and nobody else.
    File(PathBuf),
}

/// Why there is no flow to a server.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// No listener speaks this transport and address family, or it is none that is opened from here.
    #[error("no socket for it")]
    NoSocket,
    /// As many connections as allowed are open, in all or to this address.
    #[error("too many connections")]
    Limit,
    /// It did not come up in time.
    #[error("it took too long")]
    TimedOut,
    /// The network, or the TLS handshake.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The streams that were opened, by server.
#[derive(Default)]
pub(crate) struct Outbound {
    peers: Mutex<BTreeMap<Peer, Arc<AsyncMutex<Option<Flow>>>>>,
    tls: OnceCell<Arc<ClientConfig>>,
}

/// A server: its address, and for TLS the domain that it has proven.
type Peer = (Protocol, SocketAddr, Option<Arc<str>>);

impl Transport {
    /// The flow to a server: over UDP from the socket that the system would send from, else an open stream or a new one.
    ///
    /// # Errors
    ///
    /// Why there is none, in [`crate::Config::connect_timeout`] at the latest.
    pub async fn reach(&self, target: &Target) -> Result<Flow, Unreachable> {
        match target.protocol {
            Protocol::Udp => self.udp_to(canonical(target.address)),
            Protocol::Tcp | Protocol::Tls => {
                let limit = self.shared().config.connect_timeout;
                timeout(limit, self.stream_to(target)).await.unwrap_or(Err(Unreachable::TimedOut))
            }
            Protocol::Ws | Protocol::Wss => Err(Unreachable::NoSocket),
        }
    }

    fn udp_to(&self, remote: SocketAddr) -> Result<Flow, Unreachable> {
        let sockets: Vec<&Listener> =
            self.sockets().filter(|socket| socket.local().is_ipv6() == remote.is_ipv6()).collect();
        let from = source(remote)?;
        let socket =
            sockets.iter().find(|socket| socket.serves(SocketAddr::new(from, socket.local().port())));
        let socket = socket.or(sockets.first()).ok_or(Unreachable::NoSocket)?;
        let mut local = socket.local();
        if local.ip().is_unspecified() {
            local.set_ip(from);
        }
        Ok(Flow::udp(canonical(local), remote))
    }

    /// One at a time for each server, so that requests which come together share one connection.
    async fn stream_to(&self, target: &Target) -> Result<Flow, Unreachable> {
        let remote = canonical(target.address);
        let domain = (target.protocol == Protocol::Tls).then(|| Arc::clone(&target.domain));
        let peer = self.outbound().peer((target.protocol, remote, domain), |flow| self.is_open(flow));
        let mut known = peer.lock().await;
        if let Some(flow) = known.filter(|flow| self.is_open(flow)) {
            return Ok(flow);
        }
        let flow = self.open(target, remote).await?;
        *known = Some(flow);
        Ok(flow)
    }

    async fn open(&self, target: &Target, remote: SocketAddr) -> Result<Flow, Unreachable> {
        let shared = self.shared();
        let admission = shared.admit(remote.ip()).ok_or(Unreachable::Limit)?;
        let socket = connect(remote, &self.listeners()).await?;
        let local = canonical(tcp::prepare(&socket)?);
        let flow = Flow { protocol: target.protocol, local, remote, connection: shared.table.number() };
        let stop = self.stop();
        if target.protocol == Protocol::Tls {
            let socket = self.outbound().secure(socket, target, shared).await.inspect_err(|error| {
                shared.stats.handshakes_failed.add(1);
                tracing::debug!(%remote, domain = &*target.domain, %error, "TLS handshake failed");
            })?;
            let connection = dialled(flow, shared, &stop);
            tokio::spawn(stream::serve(socket, connection, admission, stop));
        } else {
            let connection = dialled(flow, shared, &stop);
            tokio::spawn(stream::serve(socket, connection, admission, stop));
        }
        Ok(flow)
    }
}

fn dialled(flow: Flow, shared: &Arc<Shared>, stop: &watch::Receiver<bool>) -> Connection {
    shared.stats.connections_dialled.add(1);
    Connection::dialled(flow, Arc::clone(shared), stop)
}

impl Outbound {
    /// The place of a server; those whose streams have ended go.
    fn peer(&self, peer: Peer, is_open: impl Fn(&Flow) -> bool) -> Arc<AsyncMutex<Option<Flow>>> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if !peers.contains_key(&peer) {
            let in_use = |place: &Arc<AsyncMutex<Option<Flow>>>| {
                Arc::strong_count(place) > 1
                    || place.try_lock().is_ok_and(|known| known.is_some_and(|flow| is_open(&flow)))
            };
            peers.retain(|_, place| in_use(place));
        }
        Arc::clone(peers.entry(peer).or_default())
    }

    /// RFC 3261 §26.3.2.1: the certificate must be valid for the domain of the URI and signed by whom we believe.
    async fn secure(
        &self,
        socket: TcpStream,
        target: &Target,
        shared: &Shared,
    ) -> Result<TlsStream<TcpStream>, io::Error> {
        let roots = shared.config.roots.clone();
        let client = self.tls.get_or_try_init(|| async {
            tokio::task::spawn_blocking(move || client(&roots)).await.map_err(io::Error::other)?
        });
        let name = ServerName::try_from(target.domain.to_string()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(client.await?)).connect(name, socket).await
    }
}

impl Roots {
    /// Reads the file, if there is one, so that a wrong one is found at start.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds no certificate.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::System => Ok(()),
            Self::File(path) => read(path).map(drop),
        }
    }
}

/// The connection; from the address of a listener, if none of them is on a wildcard: from the one that the system would take, or else the
/// first.
async fn connect(remote: SocketAddr, listeners: &[Listen]) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    let own: Vec<IpAddr> = listeners
        .iter()
        .map(|listen| listen.addr.ip())
        .filter(|ip| ip.is_ipv6() == remote.is_ipv6())
        .collect();
    let any = own.iter().any(IpAddr::is_unspecified);
    if !any {
        let likely = source(remote)?;
        let from = own.iter().find(|ip| **ip == likely).or(own.first());
        if let Some(ip) = from.filter(|ip| ip.is_loopback() == remote.ip().is_loopback()) {
            socket.bind(SocketAddr::new(*ip, 0))?;
        }
    }
    socket.connect(remote).await
}

/// The address that the system would send from.
fn source(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv6() { [0_u16; 8].into() } else { [0_u8; 4].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Nothing is sent: the system only looks for a route.
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn client(roots: &Roots) -> io::Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::File(path) => {
            for certificate in read(path)? {
                store.add(certificate).map_err(io::Error::other)?;
            }
        }
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err(io::Error::other("the system has no certificates of authorities"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(io::Error::other(format!("{}: no certificate in it", path.display())));
    }
    Ok(certificates)
}
