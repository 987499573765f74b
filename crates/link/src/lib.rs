//! The link between the tiers: QUIC, frames, membership.
//!
//! Edges [`dial()`] every core, cores [`accept()`]; both get a [`Links`] to send on and [`Event`]s through a sink. A SIP
//! message is opaque bytes here.
//!
//! | file | |
//! |---|---|
//! | `endpoint`, `tls`, `certificates` | one UDP socket, TLS 1.3 with both ends proven by the cluster CA |
//! | `dial`, `accept` | how connections come to be: names, back-off, strangers |
//! | `handshake` | Hello in both directions |
//! | `peer` | one connection: up, frames, down; `links` holds all of them |
//! | `wire`, `codec` | streams and the frames on them |
//! | `probe` | a crash is known before QUIC's idle time-out |
//! | `choose` | rendezvous hashing over peers, pure |
//!
//! What a user can rely on:
//!
//! - A peer is known by its name: one that comes back has the [`PeerId`] it had before.
//! - For every peer: `Up`, then frames, then `Down`; never two of a kind in a row.
//! - Frames of one Call-ID to one peer arrive in order, or not at all when the connection ends.
//! - [`Links::send`] never waits, and memory is bounded by [`Config::queue`].
//! - A crashed peer is down within a second, a silent one within two, a restarted one at once.

mod accept;
mod certificates;
pub mod choose;
mod codec;
mod config;
mod dial;
mod endpoint;
mod error;
mod handshake;
mod links;
mod peer;
mod probe;
mod tls;
mod wire;

use std::net::SocketAddr;

use proto::{Hello, frame::Kind};
use ring::rand::{SecureRandom, SystemRandom};

pub use accept::accept;
pub use certificates::{NODE, make_certificates};
pub use config::Config;
pub use dial::dial;
pub use error::{Error, Full, SendError};
pub use links::{Links, PeerInfo};
pub use wire::LANES;

/// A node at the other end of the link. Stands for the name of the node for as long as this process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerId(pub u32);

/// What happens on the link.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer can be sent to.
    Up {
        /// The peer.
        peer: PeerId,
        /// Who it says it is.
        hello: Hello,
        /// Where it is.
        addr: SocketAddr,
    },
    /// A peer has sent a frame. Never `Hello` or `Ping`, which the link answers itself.
    ///
    /// The bytes in it are slices of received packets: who keeps a small part for long copies it.
    Frame {
        /// The peer.
        peer: PeerId,
        /// What it says.
        frame: Kind,
    },
    /// A peer cannot be sent to any more.
    Down {
        /// The peer.
        peer: PeerId,
        /// For logs.
        reason: String,
    },
}

/// Receives the events, on the task that reads from the peer: it must not wait.
///
/// It may refuse a `Frame`, which is then lost and counted: the receiver knows best how to answer overload. A refused
/// `Up` or `Down` is lost too, so those always need room.
pub type EventSink = Box<dyn Fn(Event) -> Result<(), Full> + Send + Sync>;

/// Fills in what the caller left to the link.
fn complete(mut hello: Hello, role: &str) -> Result<Hello, Error> {
    if hello.name.is_empty() {
        return Err(Error::Nameless);
    }
    role.clone_into(&mut hello.role);
    if hello.version.is_empty() {
        env!("CARGO_PKG_VERSION").clone_into(&mut hello.version);
    }
    if hello.boot == 0 {
        hello.boot = random();
    }
    Ok(hello)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    u64::from_ne_bytes(bytes)
}
