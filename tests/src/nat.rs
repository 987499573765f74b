//! A cluster in a network of its own: an internet, homes behind real NATs, phones in them.
//!
//! Wants root, iproute2, nftables and conntrack, the phones of `tests/nat/install`, and minutes; so [`run`] does nothing
//! unless `SIGNALBOX_NAT=1`, as `tests/run` sets it.

mod client;
mod network;
mod phone;
mod program;
mod tone;

use std::env;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::{Problem, poll};

pub use self::client::{Client, Flows, Media, Model, Seat, Way};
pub use self::network::{Network, folder, make_certificate};
pub use self::phone::{PASSWORD, Phone, Wire};
pub use self::program::Program;

/// One test at a time: the machine is small.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test when these tests are asked for.
///
/// # Panics
///
/// The test has failed.
pub fn run(test: impl AsyncFnOnce() -> Result<(), Problem>) {
    if env::var_os("SIGNALBOX_NAT").is_none_or(|wanted| wanted != "1") {
        say("not run: tests with NATs and other people's phones want SIGNALBOX_NAT=1");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = node::runtime::build(1).expect("a runtime");
    if let Err(problem) = runtime.block_on(test()) {
        panic!("{problem}");
    }
}

/// A line that is seen though the test passes.
pub fn say(line: &str) {
    // Not by a macro: a passed test's print would not be seen.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Waits until the gateway of a home has forgotten what a filter of conntrack finds.
///
/// # Errors
///
/// It does not.
pub async fn mapping_ends(network: &Network, home: &str, filter: &[&str]) -> Result<(), Problem> {
    let command: Vec<&str> = ["mappings", home].iter().chain(filter).copied().collect();
    let ended = poll(Duration::from_secs(60), async || {
        let mappings = network.run(&command).ok()?;
        mappings.trim().is_empty().then_some(())
    });
    ended.await.ok_or_else(|| Problem::new(format!("{home}: the mapping of {filter:?} does not end")))
}
