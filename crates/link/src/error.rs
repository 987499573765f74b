//! Why a link cannot be made, and why a frame cannot be sent.

use std::{io, path::PathBuf};

/// The link cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some of the three certificate files are given, this one is not.
    #[error("{0} is missing: set LINK_CA, LINK_CERT and LINK_KEY, or none of them")]
    Incomplete(&'static str),
    /// Development certificates are known to every user of the host and must not leave it.
    #[error(
        "{0} is not a loopback address and development certificates work on loopback only: \
         set LINK_CA, LINK_CERT and LINK_KEY"
    )]
    NotLoopback(String),
    /// Not `host:port`.
    #[error("{0} is not host:port")]
    Address(String),
    /// Hello without a name.
    #[error("the node has no name")]
    Nameless,
    /// A file of a certificate or key cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A name that cannot be part of a file name.
    #[error("{0} is not a name for a certificate: use letters, digits, '.', '-' and '_'")]
    CertificateName(String),
    /// Certificates cannot be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Certificate, key or CA are unusable.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The CA is unusable.
    #[error("LINK_CA: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The UDP socket cannot be opened.
    #[error("{address}: {source}")]
    Socket {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Called outside of a tokio runtime.
    #[error("a link needs a tokio runtime")]
    NoRuntime,
}

/// The frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection to the peer.
    #[error("the peer is down")]
    Down,
    /// The queue to the peer is full: overload.
    #[error("the queue is full")]
    Full,
    /// The message is larger than any frame may be.
    #[error("the message is too large")]
    TooLarge,
}

/// The receiver of events has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver is full")]
pub struct Full;
