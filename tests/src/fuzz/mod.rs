//! What must hold for any bytes: the bodies of the fuzz targets.
//!
//! Each module has one function `check`, which panics when something does not hold. `tests/fuzz` runs them under
//! libFuzzer; `cargo test` replays the committed corpora and mutations of them.

use std::time::Instant;

pub mod context_ops;
pub mod frame;
pub mod layer_ops;
pub mod link_frame;
pub mod message;
pub mod token;
pub mod uri;

/// A fuzz target: its name, which is that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every fuzz target.
pub const TARGETS: [Target; 7] = [
    ("message", message::check),
    ("frame", frame::check),
    ("uri", uri::check),
    ("token", token::check),
    ("link_frame", link_frame::check),
    ("context_ops", context_ops::check),
    ("layer_ops", layer_ops::check),
];

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
fn origin() -> Instant {
    Instant::now()
}
