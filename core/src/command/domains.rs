//! `domain`: the domains that are served besides those of `CORE_DOMAINS`. Every core reads them again and again.

use location::Directory;
use node::exit::Failure;

use super::{open, store};
use crate::Config;
use crate::domains::{self, Served};

/// What can be done with domains.
#[derive(Debug, clap::Subcommand)]
pub enum DomainCommand {
    /// Serve a domain. Running cores do so a few seconds later.
    Add {
        /// The domain.
        #[arg(value_name = "DOMAIN")]
        domain: String,
    },
    /// Serve a domain no more. Its users and contacts stay, for the case that it comes back.
    Remove {
        /// The domain.
        #[arg(value_name = "DOMAIN")]
        domain: String,
    },
    /// List the domains that are served, one in a line.
    List,
}

pub(super) async fn run(command: DomainCommand, config: &Config) -> Result<String, Failure> {
    let name = |text: &str| domains::name(text).map_err(|why| Failure::Refused(format!("{text:?}: {why}")));
    let configured = config.domains();
    match command {
        DomainCommand::Add { domain } => {
            let name = name(&domain)?;
            let database = open(config).await?;
            let is_new = database.put_domain(&name).await.map_err(store)?;
            database.close().await;
            Ok(if is_new { format!("added {name}\n") } else { format!("{name} is there already\n") })
        }
        DomainCommand::Remove { domain } => {
            let name = name(&domain)?;
            let database = open(config).await?;
            let was_there = database.remove_domain(&name).await.map_err(store)?;
            database.close().await;
            if configured.contains(&name) {
                return Err(Failure::Refused(format!("CORE_DOMAINS names {name}: it is served on")));
            }
            Ok(if was_there { format!("removed {name}\n") } else { format!("{name} is not there\n") })
        }
        DomainCommand::List => {
            let database = open(config).await?;
            let served = Served::read(&configured, &database).await.map_err(store)?;
            database.close().await;
            Ok(served.all().map(|domain| format!("{domain}\n")).collect())
        }
    }
}
