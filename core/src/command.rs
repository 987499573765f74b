//! The operator's commands: what `core-registrar` does besides being a node.
//!
//! A command prints its result on standard output and nothing else there. What goes wrong is one line on standard
//! error and the exit code: 1 when the command is refused or finds nothing, 69 when the database is missing, 78 when
//! the configuration is wrong.

use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use location::Database;
use node::config::{ConfigError, check_text};
use node::exit::Failure;
use node::{clock, shutdown};
use sip::Aor;

use crate::Config;
use crate::config::PREFIX;
use crate::contact::shown;
use crate::database::outdated;

pub mod certificates;
pub mod contacts;
pub mod domains;
pub mod import;
pub mod migrate;
pub mod password;
mod subscribers;
pub mod users;
pub mod why;

/// What `core-registrar` can be asked to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the node; the same as no command.
    Serve,
    /// Bring the schema of the database up to date.
    Migrate {
        /// Change nothing: say what is pending, and exit with 1 when something is.
        #[arg(long)]
        check: bool,
    },
    /// Users: who may register and call.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Domains: which ones are served besides those of `CORE_DOMAINS`.
    #[command(subcommand)]
    Domain(domains::DomainCommand),
    /// Contacts: where a user is reached.
    #[command(subcommand)]
    Contacts(contacts::ContactsCommand),
    /// Why a call to an address goes where it goes: its contacts, their flows, and what a call would come to now. Asks the core that
    /// runs with these settings, or else the database alone.
    Why {
        /// NAME@DOMAIN
        #[arg(value_name = "AOR")]
        aor: String,
        /// One JSON object, as the API tells it.
        #[arg(long)]
        json: bool,
    },
    /// Make the cluster's CA, unless it is there, and a certificate for each node that has none.
    Certs {
        /// Folder of the certificates. It holds the key of the CA: keep it off the nodes.
        #[arg(long)]
        dir: PathBuf,
        /// Names of nodes: NAME.pem is for `…_LINK_CERT`, NAME-key.pem for `…_LINK_KEY`, ca.pem for `…_LINK_CA`.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Print a fresh key for `EDGE_FLOW_KEYS` or `CORE_CLUSTER_KEYS`.
    Keys,
    /// Print the effective configuration, secrets hidden.
    Check,
}

impl Command {
    /// False for the commands that make what a configuration is made of.
    pub fn needs_configuration(&self) -> bool {
        match self {
            Self::Certs { .. } | Self::Keys => false,
            Self::Serve
            | Self::Migrate { .. }
            | Self::User(_)
            | Self::Domain(_)
            | Self::Contacts(_)
            | Self::Why { .. }
            | Self::Check => true,
        }
    }
}

/// Carries out a command.
///
/// # Errors
///
/// Why it was not carried out, with the exit code.
pub async fn run(command: Command, config: Config) -> Result<(), Failure> {
    let result = match command {
        Command::Serve => return serve(config).await,
        Command::Migrate { check } => migrate::run(check, &config).await?,
        Command::User(command) => users::run(command, &config).await?,
        Command::Domain(command) => domains::run(command, &config).await?,
        Command::Contacts(command) => contacts::run(command, &config).await?,
        Command::Why { aor, json } => why::run(&address(&aor)?, json, &config).await?,
        Command::Certs { dir, names } => certificates::run(&dir, &names)?,
        Command::Keys => format!("{}\n", STANDARD.encode(clock::seed())),
        Command::Check => check_text(PREFIX, &config),
    };
    print(&result)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let shutdown = shutdown::Shutdown::new(config.drain_grace.duration());
    let signals = shutdown::signals().map_err(|error| Failure::unavailable(&error))?;
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move { shutdown.supervise(signals).await }
    });
    crate::serve(config, shutdown).await
}

/// A reader that has seen enough, as `head` has, is no failure.
fn print(result: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(result.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

async fn open(config: &Config) -> Result<Database, Failure> {
    let database = Database::open(config.database_url.expose()).await.map_err(store)?;
    match database.applied().await.map_err(store)? {
        schema if schema.is_enough() => Ok(database),
        schema => Err(Failure::Unavailable(format!("{PREFIX}DATABASE_URL: {}", outdated(schema)))),
    }
}

fn store(error: location::Error) -> Failure {
    let name = format!("{PREFIX}DATABASE_URL");
    match error {
        location::Error::Url(_) => ConfigError::new(name, error).into(),
        location::Error::Database(_)
        | location::Error::Down(_)
        | location::Error::Migration(_)
        | location::Error::TimedOut(_) => Failure::Unavailable(format!("{name}: {error}")),
    }
}

/// An address-of-record as operators write it: `alice@example.com`, with or without `sip:`.
fn address(text: &str) -> Result<Aor, Failure> {
    Aor::parse(text).map_err(|_| Failure::Refused(format!("{text:?} is no address: NAME@DOMAIN expected")))
}

/// A stranger chose the text: what would move the operator's cursor or end the line is escaped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
