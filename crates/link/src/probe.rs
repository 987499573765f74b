//! Is anybody there? A crashed process leaves a closed UDP port, and the kernel of its host says so.
//!
//! QUIC ignores ICMP, since anybody could forge it. A connected socket of our own gets "port unreachable" as an
//! error of the socket, and is asked only when a peer is silent: a forger would have to silence the peer first.

use std::{io, net::SocketAddr, time::Duration};

use quinn::Connection;
use tokio::{
    net::UdpSocket,
    time::{self, MissedTickBehavior},
};

/// Waits until the kernel of the host at `address` says that nobody has the port open. Never ends otherwise.
pub(crate) async fn refused(address: SocketAddr) {
    let mut ticks = time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(probe) = Probe::new(address).await
            && probe.is_refused().await
        {
            return;
        }
    }
}

/// Waits until the peer of `connection`, silent for `patience`, is known to have crashed.
///
/// Counts ticks instead of reading the clock: a process that was itself suspended must not blame its peer.
pub(crate) async fn crashed(connection: &Connection, patience: Duration) {
    let mut ticks = time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = 0;
    let mut silence = Duration::ZERO;
    loop {
        ticks.tick().await;
        let packets = connection.stats().udp_rx.datagrams;
        if packets != heard {
            heard = packets;
            silence = Duration::ZERO;
            continue;
        }
        silence += TICK;
        // A distant peer answers a keep-alive one round trip later.
        if silence >= patience + connection.rtt()
            && let Ok(probe) = Probe::new(connection.remote_address()).await
            && probe.is_refused().await
        {
            return;
        }
    }
}

struct Probe {
    socket: UdpSocket,
}

impl Probe {
    async fn new(address: SocketAddr) -> io::Result<Self> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        Ok(Self { socket })
    }

    /// Asks once and waits a tick for the answer.
    async fn is_refused(&self) -> bool {
        // One byte without QUIC's fixed bit: an open port drops it (RFC 9000 §17.2).
        let asked = self.socket.send(&[0]).await;
        let answer = match asked {
            Ok(_) => time::timeout(TICK, self.socket.recv(&mut [0; 1])).await,
            Err(error) => Ok(Err(error)),
        };
        matches!(answer, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_refuses_and_an_open_one_does_not() {
        let open = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = open.local_addr().unwrap();
        let probe = Probe::new(address).await.unwrap();
        assert!(!probe.is_refused().await);
        drop(open);
        time::timeout(Duration::from_secs(5), refused(address)).await.expect("the port is closed");
    }
}
