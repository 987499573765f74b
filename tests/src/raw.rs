//! Bytes to and from a running edge, over UDP and TCP. No SIP stack has made them, so they may be wrong in any way, and
//! no SIP stack has read what comes back, so nothing about it is hidden.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::cluster::Problem;

/// How long an answer may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A UDP socket that talks to one edge.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// A socket of its own on loopback.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn to(edge: SocketAddr) -> Result<Self, Problem> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(edge).await?;
        Ok(Self(socket))
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// The socket has none.
    pub fn local(&self) -> Result<SocketAddr, Problem> {
        Ok(self.0.local_addr()?)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// It cannot be sent.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Problem> {
        self.0.send(bytes).await?;
        Ok(())
    }

    /// The next message that `wanted` takes; others are dropped. `None` when none comes within [`LIMIT`].
    pub async fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let message = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let length = self.0.recv(&mut buffer).await.ok()?;
                if let Some(message) = buffer.get(..length)
                    && wanted(message)
                {
                    return Some(message.to_vec());
                }
            }
        };
        timeout(LIMIT, message).await.ok()?
    }

    /// True when something has come that nobody has received yet.
    pub fn has_more(&self) -> bool {
        self.0.try_recv(&mut [0; 1]).is_ok()
    }
}

/// Sends bytes on a connection of their own; gives everything that came back up to the first final status, or up to the
/// end of the connection.
///
/// # Errors
///
/// The edge does not take the connection, or says nothing within [`LIMIT`].
pub async fn over_stream(edge: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut stream = TcpStream::connect(edge).await?;
    // An edge that closes at once may break the pipe: what it said is still there to read.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    let answer = async {
        while final_status(&heard).is_none()
            && stream.read_buf(&mut heard).await.is_ok_and(|length| length > 0)
        {}
    };
    timeout(LIMIT, answer)
        .await
        .map_err(|_| Problem::new("neither an answer nor the end of the connection"))?;
    Ok(heard)
}

/// The first final status among the responses in `heard`.
pub fn final_status(heard: &[u8]) -> Option<u16> {
    let lines = heard.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"SIP/2.0 "));
    let statuses = lines.filter_map(|line| std::str::from_utf8(line.get(..3)?).ok()?.parse::<u16>().ok());
    statuses.into_iter().find(|status| *status >= 200)
}
