//! As much of an HTTP client as an administration socket needs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Namespace;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(2);

/// The status and the body of `GET path`; `None` when there is no usable answer.
pub(super) async fn get(from: SocketAddr, space: Option<&Namespace>, path: &str) -> Option<(u16, String)> {
    timeout(LIMIT, ask(from, space, path)).await.ok()?
}

async fn ask(from: SocketAddr, space: Option<&Namespace>, path: &str) -> Option<(u16, String)> {
    let mut stream = match space {
        Some(space) => space.connect(from).ok()?,
        None => TcpStream::connect(from).await.ok()?,
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
