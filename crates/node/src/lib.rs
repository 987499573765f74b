//! What every process of the cluster has: shards, configuration, telemetry, admin.
//!
//! A process is a configuration ([`config`]), a runtime ([`runtime`]), some shards that each step one
//! [`Engine`] ([`shard`]), an administration socket ([`admin`]) and an orderly end ([`shutdown`], [`exit`]).
//! Nothing here knows what the engines speak: this crate never looks into a message.

#[cfg(test)]
extern crate self as node; // the macros of `config` name this crate from outside

use std::time::Instant;

pub mod admin;
pub mod clock;
pub mod config;
pub mod exit;
pub mod metrics;
pub mod report;
mod rest;
pub mod runtime;
pub mod shard;
pub mod shutdown;
pub mod telemetry;

/// A protocol engine: fed with inputs and the time, drained of outputs. Never waits.
///
/// The contract between an engine and whoever drives it ([`shard::run`] or a simulation):
///
/// - `now` never goes backwards from one call to the next, and is the only clock the engine has.
/// - After every [`handle`](Self::handle) and every [`handle_timeout`](Self::handle_timeout) the driver takes all
///   outputs by [`poll_output`](Self::poll_output) until it is empty, in order, before it feeds anything else.
/// - The driver calls `handle_timeout` once [`poll_timeout`](Self::poll_timeout) is reached, at that time or
///   later, never earlier. A call that is late, or that finds nothing due, does no harm.
/// - `handle_timeout` does everything that is due at `now`: afterwards `poll_timeout` is later than `now`, or `None`.
/// - What cannot be answered at once leaves as an output and comes back as an input.
///
/// An engine that obeys this replays byte for byte from the same inputs at the same times.
pub trait Engine {
    /// What happens to the engine.
    type Input;
    /// What the engine wants done.
    type Output;

    /// Takes one input that happened at `now`.
    fn handle(&mut self, input: Self::Input, now: Instant);

    /// Does everything whose deadline is `now` or earlier.
    fn handle_timeout(&mut self, now: Instant);

    /// The earliest deadline, if there is one.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next thing to do, if there is one.
    fn poll_output(&mut self) -> Option<Self::Output>;
}
