//! SIP on the wire: sockets, flows, flow tokens and the DNS. RFC 3261 §18, RFC 3263, RFC 3581, RFC 5626, RFC 7118.
//!
//! [`bind`] opens the listeners; what they receive comes as [`Event`]s in batches, on the task that reads, to whoever
//! implements [`Sink`]. What is to be sent goes to a [`Flow`], which is a value: it can be copied, stored, put into a
//! [`token`] and taken out of one. For UDP it stays good for ever; for a stream, until [`Event::FlowDown`].
//!
//! Answers go back to the flow that the request came in on, which is what RFC 3581 §4 and RFC 3261 §18.2.2 come to for every
//! user agent that is behind a NAT or on a stream; `received` and `rport` are written by whoever handles the request.
//!
//! [`Transport::reach`] makes a flow to a server that [`resolve`] has found.
//!
//! Nothing here waits: a queue that is full is an error ([`SendError::Full`]) and never memory.

mod answer;
mod config;
mod connection;
mod flow;
mod handshake;
mod interfaces;
mod keepalive;
mod layer;
mod metered;
mod mmsg;
mod outbound;
mod outbox;
pub mod ping;
pub mod pong;
mod protocol;
pub mod resolve;
mod rewound;
mod stats;
mod stream;
mod stun;
mod tcp;
mod tls;
pub mod token;
mod udp;
mod websocket;

use std::io;

pub use config::{Config, InvalidListen, Listen};
pub use flow::Flow;
pub use interfaces::interfaces;
pub use layer::{Transport, bind};
pub use outbound::{Roots, Unreachable};
pub use protocol::{Protocol, UnknownProtocol};
pub use stats::{Counter, Stats};
pub use tls::{CertificateError, CertificateFiles, CertificatePart};

/// What happened on the wire.
#[derive(Debug)]
pub enum Event {
    /// A well-formed message came in.
    Message {
        /// Where it came from, and where answers go.
        flow: Flow,
        /// As it came: nothing is added to it.
        message: sip::Message,
    },
    /// A flow over UDP has answered one of our pings ([`pong`]).
    Pong {
        /// Which flow.
        flow: Flow,
        /// Which ping.
        ping: pong::PingId,
    },
    /// A stream was accepted. It comes before any message of the flow.
    FlowUp(Flow),
    /// A stream has ended. It comes once, after the last message of the flow; nothing can be sent any more.
    FlowDown(Flow),
}

/// Whoever takes what comes in.
pub trait Sink: Send + Sync + 'static {
    /// Takes the events of one read, in their order. It runs on the reading task and must not wait; what it leaves in the
    /// batch is dropped.
    fn deliver(&self, batch: &mut Vec<Event>);
}

/// Why nothing can be sent on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The stream is closed, or no listener has the flow's local address: RFC 5626 §5.3.1 answers 430.
    #[error("the flow is gone")]
    Gone,
    /// Too much waits for the flow already.
    #[error("the flow's queue is full")]
    Full,
    /// More than a datagram can hold.
    #[error("the message does not fit a datagram")]
    TooLarge,
}

/// Why the transport layer does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened.
    #[error("cannot listen on {listen}: {source}")]
    Bind {
        /// Which one.
        listen: Listen,
        /// What the system says.
        source: io::Error,
    },
    /// The listener is secure, and there is nothing to secure it with.
    #[error("{listen} needs a certificate")]
    NoCertificate {
        /// Which one.
        listen: Listen,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}
