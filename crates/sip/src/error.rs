//! What is wrong with bytes that claim to be SIP.

use crate::StatusCode;

/// A malformed element: what it was and the status that answers it (RFC 3261 §21.4.1: 400 unless said otherwise).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct ParseError {
    /// The element, in the RFC's words, e.g. `Via` or `Request-URI`.
    pub what: &'static str,
    /// 400, 413, 416, 505 …
    pub status: StatusCode,
}

impl ParseError {
    /// An element that is answered with 400 (Bad Request).
    pub const fn new(what: &'static str) -> Self {
        Self { what, status: StatusCode::BAD_REQUEST }
    }

    /// An element that has a status of its own.
    pub const fn with_status(what: &'static str, status: StatusCode) -> Self {
        Self { what, status }
    }
}
