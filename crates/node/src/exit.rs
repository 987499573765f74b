//! How a process ends when it cannot go on: one line on standard error and a code that says whose turn it is.
//!
//! The codes are those of `sysexits.h`, so a supervisor can tell "fix the configuration" from "try again".

use std::{
    fmt::Display,
    panic::PanicHookInfo,
    process::{self, ExitCode},
};

use crate::config::ConfigError;

/// The configuration is wrong: starting again will not help.
pub const CONFIG: u8 = 78;

/// Something that this process needs is missing: starting again later may help.
pub const UNAVAILABLE: u8 = 69;

/// The process found itself to be wrong.
pub const BUG: u8 = 70;

/// Says why the process ends, in one line, and returns the code to end with.
pub fn because(code: u8, why: impl Display) -> ExitCode {
    let why = why.to_string().replace(['\n', '\r'], " ");
    eprintln!("{why}");
    ExitCode::from(code)
}

/// Why a process, or a command of an operator, could not do what it was started for.
#[derive(Debug)]
pub enum Failure {
    /// A setting is wrong: exit code 78.
    Config(ConfigError),
    /// Something that is needed is missing: exit code 69.
    Unavailable(String),
    /// The command was understood, and refused or in vain: exit code 1.
    Refused(String),
}

impl Failure {
    /// Something that is needed is missing.
    pub fn unavailable(why: &dyn Display) -> Self {
        Self::Unavailable(why.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Config(error) => error.into(),
            Failure::Unavailable(why) => because(UNAVAILABLE, why),
            Failure::Refused(why) => because(1, why),
        }
    }
}

impl From<ConfigError> for ExitCode {
    fn from(error: ConfigError) -> Self {
        because(CONFIG, error)
    }
}

/// From now on a panic anywhere is logged and ends the process with [`BUG`].
///
/// # Why
///
/// A panic means that a belief of the program is false. A process that lost one task to it would go on half dead,
/// holding flows and work that nobody serves any more; the cluster is built for nodes that are all dead.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| {
        report(info);
        process::exit(BUG.into());
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("panic");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, "bug: {message}");
    } else {
        eprintln!("bug: {message} at {place}");
    }
}
