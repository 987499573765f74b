//! The listener of everything that runs over TCP, RFC 3261 §18. What happens on a connection is [`crate::handshake`]'s and then
//! [`crate::stream`]'s or [`crate::websocket`]'s.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{Flow, Protocol, connection::Shared, flow::canonical, handshake, stream};

/// Connections that the kernel completes while this process does something else.
const BACKLOG: i32 = 4_096;
/// A peer that acknowledges nothing for so long is gone: less than the interval of NAT pings, so that a ping finds it.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to let be when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the socket.
pub(crate) fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the process before this one may still be in TIME_WAIT; it does not let two processes listen.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until `stop` changes.
pub(crate) async fn accept(
    protocol: Protocol,
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((socket, remote)) => open(protocol, socket, remote, &shared, &stop),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting failed");
                // The connection stays in the kernel's queue, so asking again at once would be a busy loop.
                if tokio::time::timeout(ACCEPT_PAUSE, stop.changed()).await.is_ok() {
                    return;
                }
            }
        }
    }
}

fn open(
    protocol: Protocol,
    socket: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    stop: &watch::Receiver<bool>,
) {
    let remote = canonical(remote);
    let Some(admission) = shared.admit(remote.ip()) else {
        return;
    };
    let Ok(local) = prepare(&socket) else {
        return; // it was reset before it was accepted
    };
    let flow = Flow { protocol, local: canonical(local), remote, connection: shared.table.number() };
    let (shared, stop) = (Arc::clone(shared), stop.clone());
    if protocol == Protocol::Tcp {
        tokio::spawn(stream::run(socket, flow, shared, admission, stop));
    } else {
        tokio::spawn(handshake::run(socket, flow, shared, admission, stop));
    }
}

pub(crate) fn prepare(socket: &TcpStream) -> io::Result<SocketAddr> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.local_addr()
}

/// Errors of `accept(2)` that say something about one connection and not about the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
    )
}
