//! How two ends get to know each other on a fresh connection.
//!
//! ```text
//! edge  ── empty frame on every stream ──►  core      the streams exist on both ends
//! edge  ◄──────────── Hello ──────────────  core      the edge may find that it knows this core already
//! edge  ───────────── Hello ─────────────►  core
//! edge  ◄────────── empty frame ──────────  core      taken in: both ends report the peer as up
//! ```
//!
//! The core speaks first, so that an edge that reaches one core by two addresses can leave before the core has
//! replaced the connection that works by the one that nobody wants.

use bytes::BytesMut;
use proto::{Hello, frame::Kind};
use quinn::{Connection, ConnectionError, SendStream, VarInt, WriteError};

use crate::{
    codec,
    wire::{LANES, Reader, Streams, WireError},
};

/// Application error codes of CONNECTION_CLOSE. The reason phrase says more.
pub(crate) mod code {
    use quinn::VarInt;

    /// The sender leaves or was told to close.
    pub(crate) const CLOSED: VarInt = VarInt::from_u32(0);
    /// The same node has connected again.
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(1);
    /// The Hello is not acceptable.
    pub(crate) const REFUSED: VarInt = VarInt::from_u32(2);
    /// The edge is connected to this core already.
    pub(crate) const DUPLICATE: VarInt = VarInt::from_u32(3);
    /// What was received is not the protocol.
    pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(4);
    /// The peer's host says that nobody listens.
    pub(crate) const CRASHED: VarInt = VarInt::from_u32(5);
}

/// The connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the first frame is not Hello")]
    NoHello,
    #[error("nobody listens")]
    Unreachable,
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error("already connected to {0} by another address")]
    Duplicate(String),
}

impl HandshakeError {
    /// How to tell the peer.
    pub(crate) fn code(&self) -> VarInt {
        match self {
            Self::Refused(_) => code::REFUSED,
            Self::Duplicate(_) => code::DUPLICATE,
            Self::NoHello | Self::Wire(_) => code::PROTOCOL,
            Self::Connect(_) | Self::Connection(_) | Self::Write(_) | Self::Unreachable | Self::Timeout => {
                code::CLOSED
            }
        }
    }
}

/// The part of the edge. `known` says whether there is a connection to this core already.
pub(crate) async fn offer(
    connection: &Connection,
    ours: &Hello,
    known: impl FnOnce(&Hello) -> bool,
) -> Result<(Hello, Streams), HandshakeError> {
    let mut streams = Streams::with_capacity(1 + LANES);
    for _ in 0..=LANES {
        let (mut send, receive) = connection.open_bi().await?;
        send.write_chunk(codec::EMPTY).await?;
        streams.push((send, Reader::new(receive)));
    }
    let (send, reader) = control(&mut streams);
    let theirs = hello(reader).await?;
    check(ours, &theirs)?;
    if known(&theirs) {
        return Err(HandshakeError::Duplicate(theirs.name));
    }
    write_hello(send, ours).await?;
    reader.frame().await?.ok_or(HandshakeError::NoHello)?;
    Ok((theirs, streams))
}

/// The part of the core. The peer waits for [`welcome`].
pub(crate) async fn answer(
    connection: &Connection,
    ours: &Hello,
) -> Result<(Hello, Streams), HandshakeError> {
    let mut streams = Streams::with_capacity(1 + LANES);
    for _ in 0..=LANES {
        let (send, receive) = connection.accept_bi().await?;
        streams.push((send, Reader::new(receive)));
    }
    let (send, reader) = control(&mut streams);
    write_hello(send, ours).await?;
    reader.frame().await?.ok_or(HandshakeError::NoHello)?;
    let theirs = hello(reader).await?;
    check(ours, &theirs)?;
    Ok((theirs, streams))
}

/// Tells the edge that it was taken in.
pub(crate) async fn welcome(streams: &mut Streams) -> Result<(), WriteError> {
    control(streams).0.write_chunk(codec::EMPTY).await
}

/// Whether two nodes can work together: an edge and a core, with the same major version.
fn check(ours: &Hello, theirs: &Hello) -> Result<(), HandshakeError> {
    let refuse = |why: String| Err(HandshakeError::Refused(why));
    if theirs.name.is_empty() {
        return refuse("the peer has no name".to_owned());
    }
    if !matches!((ours.role.as_str(), theirs.role.as_str()), ("edge", "core") | ("core", "edge")) {
        return refuse(format!("{} {} connects to {} {}", theirs.role, theirs.name, ours.role, ours.name));
    }
    if major(&ours.version) != major(&theirs.version) {
        return refuse(format!(
            "version {} of {} does not work with version {} of {}",
            theirs.version, theirs.name, ours.version, ours.name
        ));
    }
    Ok(())
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

async fn hello(reader: &mut Reader) -> Result<Hello, HandshakeError> {
    match reader.frame().await?.and_then(|frame| frame.kind) {
        Some(Kind::Hello(hello)) => Ok(hello),
        _ => Err(HandshakeError::NoHello),
    }
}

async fn write_hello(stream: &mut SendStream, hello: &Hello) -> Result<(), HandshakeError> {
    let mut buffer = BytesMut::new();
    if !codec::encode(Kind::Hello(hello.clone()), &mut buffer) {
        return Err(HandshakeError::Refused("our own Hello is too large".to_owned()));
    }
    Ok(stream.write_chunk(buffer.freeze()).await?)
}

fn control(streams: &mut Streams) -> (&mut SendStream, &mut Reader) {
    let (send, reader) = streams.first_mut().expect("the control stream is opened first");
    (send, reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: &str, version: &str) -> Hello {
        Hello { name: format!("{role}-1"), role: role.into(), version: version.into(), ..Hello::default() }
    }

    #[test]
    fn neighbouring_versions_work_together() {
        for version in ["1.4.0", "1.5.0", "1.4.7-rc.1"] {
            assert!(check(&node("edge", "1.4.0"), &node("core", version)).is_ok(), "{version}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let reason = |ours: &Hello, theirs: &Hello| check(ours, theirs).unwrap_err().to_string();
        let version = reason(&node("edge", "1.4.0"), &node("core", "2.0.0"));
        assert!(version.contains("2.0.0") && version.contains("1.4.0"), "{version}");
        let role = reason(&node("core", "1.0.0"), &node("core", "1.0.0"));
        assert!(role.contains("core core-1"), "{role}");
        let nameless = Hello { name: String::new(), ..node("edge", "1.0.0") };
        assert!(reason(&node("core", "1.0.0"), &nameless).contains("no name"));
    }
}
