//! The socket of a phone: datagrams, a connection of its own, or a WebSocket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};

use super::message::{Message, head_length};

/// What a phone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// One connection, opened by the phone.
    Tcp,
    /// The same, encrypted.
    Tls,
    /// A browser.
    Wss,
    /// A browser without encryption.
    Ws,
}

impl Transport {
    /// As a Via writes it.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Wss => "WSS",
            Self::Ws => "WS",
        }
    }
}

/// Where a phone connects to.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) address: SocketAddr,
    /// PEM file of whom the phone believes.
    pub(super) authority: PathBuf,
}

/// What all certificates of a cluster's nodes are made for.
const NAME: &str = "signalbox-node";

/// What bytes go over in their order.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

/// An open socket.
pub(super) struct Wire {
    local: SocketAddr,
    kind: Kind,
}

enum Kind {
    Datagrams(UdpSocket),
    Stream { pipe: Box<dyn Pipe>, heard: Vec<u8> },
    WebSocket(Box<WebSocketStream<Box<dyn Pipe>>>),
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.local).finish()
    }
}

impl Wire {
    pub(super) async fn open(transport: Transport, edge: &Access) -> io::Result<Self> {
        if transport == Transport::Udp {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
            socket.connect(edge.address).await?;
            return Ok(Self { local: socket.local_addr()?, kind: Kind::Datagrams(socket) });
        }
        let stream = TcpStream::connect(edge.address).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let pipe: Box<dyn Pipe> = match transport {
            Transport::Tls | Transport::Wss => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                Box::new(connector(edge)?.connect(name, stream).await?)
            }
            Transport::Udp | Transport::Tcp | Transport::Ws => Box::new(stream),
        };
        let kind = match transport {
            Transport::Wss | Transport::Ws => Kind::WebSocket(Box::new(upgrade(pipe).await?)),
            Transport::Udp | Transport::Tcp | Transport::Tls => Kind::Stream { pipe, heard: Vec::new() },
        };
        Ok(Self { local, kind })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Datagrams(socket) => socket.send(bytes).await.map(drop),
            Kind::Stream { pipe, .. } => {
                pipe.write_all(bytes).await?;
                pipe.flush().await
            }
            Kind::WebSocket(socket) => {
                // RFC 7118 §4.2: text where it is text.
                let message = match std::str::from_utf8(bytes) {
                    Ok(text) => tungstenite::Message::text(text),
                    Err(_) => tungstenite::Message::binary(bytes.to_vec()),
                };
                socket.send(message).await.map_err(io::Error::other)
            }
        }
    }

    /// The next message. What was read of one that is not complete stays, when nobody waits for it any more.
    pub(super) async fn receive(&mut self) -> io::Result<Message> {
        match &mut self.kind {
            Kind::Datagrams(socket) => {
                let mut buffer = vec![0; 65_536];
                loop {
                    let length = socket.recv(&mut buffer).await?;
                    // A keep-alive is no message.
                    if let Some(message) = buffer.get(..length).and_then(Message::read) {
                        return Ok(message);
                    }
                }
            }
            Kind::Stream { pipe, heard } => loop {
                if let Some(message) = take(heard) {
                    return Ok(message);
                }
                if pipe.read_buf(heard).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
            Kind::WebSocket(socket) => loop {
                let frame = socket.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
                if let Some(message) = Message::read(&frame.map_err(io::Error::other)?.into_data()) {
                    return Ok(message);
                }
            },
        }
    }
}

/// TLS for a phone that believes the cluster's authority.
fn connector(edge: &Access) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&edge.authority).map_err(io::Error::other)?;
    roots.add(authority).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// RFC 7118 §4.1.
async fn upgrade(pipe: Box<dyn Pipe>) -> io::Result<WebSocketStream<Box<dyn Pipe>>> {
    let mut request = "ws://edge/".into_client_request().map_err(io::Error::other)?;
    request.headers_mut().append("sec-websocket-protocol", HeaderValue::from_static("sip"));
    let (socket, _) = client_async(request, pipe).await.map_err(io::Error::other)?;
    Ok(socket)
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
