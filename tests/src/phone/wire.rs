//! The socket of a phone: datagrams, or a connection of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Message, head_length};

/// What a phone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// One connection, opened by the phone.
    Tcp,
}

impl Transport {
    /// As a Via writes it.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// An open socket.
#[derive(Debug)]
pub(super) enum Wire {
    Datagrams(UdpSocket),
    Stream { stream: TcpStream, heard: Vec<u8> },
}

impl Wire {
    pub(super) async fn open(transport: Transport, edge: SocketAddr) -> std::io::Result<Self> {
        Ok(match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
                socket.connect(edge).await?;
                Self::Datagrams(socket)
            }
            Transport::Tcp => Self::Stream { stream: TcpStream::connect(edge).await?, heard: Vec::new() },
        })
    }

    pub(super) fn local(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Datagrams(socket) => socket.local_addr(),
            Self::Stream { stream, .. } => stream.local_addr(),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(bytes).await.map(drop),
            Self::Stream { stream, .. } => stream.write_all(bytes).await,
        }
    }

    /// The next message. What was read of one that is not complete stays, when nobody waits for it any more.
    pub(super) async fn receive(&mut self) -> std::io::Result<Message> {
        match self {
            Self::Datagrams(socket) => {
                let mut buffer = vec![0; 65_536];
                loop {
                    let length = socket.recv(&mut buffer).await?;
                    // A keep-alive is no message.
                    if let Some(message) = buffer.get(..length).and_then(Message::read) {
                        return Ok(message);
                    }
                }
            }
            Self::Stream { stream, heard } => loop {
                if let Some(message) = take(heard) {
                    return Ok(message);
                }
                if stream.read_buf(heard).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

/// Cuts one message off a stream, RFC 3261 §18.3.
fn take(heard: &mut Vec<u8>) -> Option<Message> {
    let breaks = heard.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    heard.drain(..breaks);
    let head = head_length(heard)? + 4;
    let message = Message::read(heard.get(..head)?)?;
    let length: usize =
        message.get("Content-Length").parse().expect("every message on a stream says its length");
    let whole = Message::read(heard.get(..head + length)?)?;
    heard.drain(..head + length);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_off_a_stream() {
        let one = b"\r\n\r\nMESSAGE sip:a SIP/2.0\r\nl: 5\r\n\r\n\r\n\r\n!";
        let mut heard = [&one[..], one, b"BYE"].concat();
        for _ in 0..2 {
            assert_eq!(take(&mut heard).unwrap().content(), b"\r\n\r\n!");
        }
        assert_eq!(take(&mut heard), None);
        assert_eq!(heard, b"BYE");
    }
}
