//! Real databases, started for a test and gone with it: a Galera cluster, and a PostgreSQL primary with a standby.
//!
//! They run with the settings of `deploy/` on ports of their own in a folder of their own, as an unprivileged user when the
//! tests run as root, from where Debian installs them. No service of the system is touched.

mod galera;
mod load;
mod postgres;
mod server;
mod switch;

pub use galera::Galera;
pub use load::{Ledger, Load};
pub use postgres::Postgres;
pub use switch::{Cut, Place, Switch, apart};

/// Whether tests with databases are wanted. `tests/run` says so by `SIGNALBOX_DB=1`; without it this says on the terminal
/// that they are not run.
pub fn is_wanted() -> bool {
    let is_wanted = std::env::var_os("SIGNALBOX_DB").is_some_and(|value| value == "1");
    if !is_wanted {
        use std::io::Write;
        // Not `eprintln!`, which a test that passes keeps to itself.
        let _ = writeln!(std::io::stderr(), "not run: databases, these tests want SIGNALBOX_DB=1");
    }
    is_wanted
}

/// What a node may take for its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffers {
    /// Enough for tests, next to several others.
    Small,
    /// What the settings of `deploy/` say.
    Deployed,
}

/// User, password and database of the cores.
const NAME: &str = "signalbox";
