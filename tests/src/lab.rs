//! What `cargo lab` is made of: two phones, what the nodes tell about the wire, and the ladder of a call.

pub mod ladder;
pub(crate) mod message;
pub mod phone;
pub mod wire;
