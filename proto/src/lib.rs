//! Protobuf messages between the tiers.
//!
//! `cluster.proto` is the definition, `cluster.rs` is generated from it and committed, so that a build needs no
//! protobuf compiler; `tests/generated.rs` keeps the two equal and rewrites the code when run with `UPDATE=1`.
//!
//! Byte fields are [`bytes::Bytes`]: a decoded SIP message is a slice of the buffer that it was received in.

#[rustfmt::skip]
mod cluster;
mod source;

pub use cluster::*;

impl From<frame::Kind> for Frame {
    fn from(kind: frame::Kind) -> Self {
        Self { kind: Some(kind) }
    }
}
