//! `user`: the subscriber directory (RFC 3261 §22). A user is stored as HA1, from which no password is read back.

use std::fmt::Write;

use location::{Database, Directory, Table, User};
use node::exit::Failure;
use sip::Aor;

use super::password::PasswordSource;
use super::{address, import, open, shown, store, subscribers};
use crate::Config;
use crate::domains::Served;
use crate::provision::Proof;

/// What can be done with users.
#[derive(Debug, clap::Subcommand)]
pub enum UserCommand {
    /// Add a user.
    Add {
        /// NAME@DOMAIN; the domain is one that is served: see `domain list`.
        #[arg(value_name = "NAME@DOMAIN")]
        user: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Change the password of a user.
    Passwd {
        /// NAME@DOMAIN
        #[arg(value_name = "NAME@DOMAIN")]
        user: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Remove a user. Contacts stay until they expire: see `contacts remove`.
    Remove {
        /// NAME@DOMAIN
        #[arg(value_name = "NAME@DOMAIN")]
        user: String,
    },
    /// List users, one in a line.
    List {
        /// Only users of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Add users, or change their passwords, from CSV (RFC 4180): lines `NAME@DOMAIN,PASSWORD`, or whatever columns a first
    /// line names: `username`, `domain`, `password`, `ha1`, `ha1_sha256`. Or straight from the database of another proxy.
    Import {
        /// The file, or `-` for standard input.
        #[arg(value_name = "FILE|-", required_unless_present = "from", conflicts_with_all = ["from", "table"])]
        file: Option<String>,
        /// The database of a Kamailio, an OpenSIPS or another Signalbox: `mysql://…`, `postgres://…`, `sqlite:PATH`; `-` reads the URL from
        /// standard input, so that its password is not seen in the list of processes.
        #[arg(long, value_name = "URL|-")]
        from: Option<String>,
        /// Its table of subscribers.
        #[arg(long, requires = "from", default_value = "subscriber")]
        table: Table,
    },
}

pub(super) async fn run(command: UserCommand, config: &Config) -> Result<String, Failure> {
    match command {
        UserCommand::Add { user, password } => {
            let aor = address(&user)?;
            put(&aor, &password, config, Expected::Nobody).await?;
            Ok(format!("added {}\n", shown(&aor)))
        }
        UserCommand::Passwd { user, password } => {
            let aor = address(&user)?;
            put(&aor, &password, config, Expected::Somebody).await?;
            Ok(format!("changed the password of {}\n", shown(&aor)))
        }
        UserCommand::Remove { user } => remove(&address(&user)?, config).await,
        UserCommand::List { domain } => list(domain.as_deref(), config).await,
        UserCommand::Import { from: Some(url), table, .. } => subscribers::run(&url, &table, config).await,
        UserCommand::Import { file, .. } => import::run(file.as_deref().unwrap_or("-"), config).await,
    }
}

/// Who has to be there before a password is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nobody,
    Somebody,
}

async fn put(
    aor: &Aor,
    password: &PasswordSource,
    config: &Config,
    expected: Expected,
) -> Result<(), Failure> {
    let database = open(config).await?;
    let served = Served::read(&config.domains(), &database).await.map_err(store)?;
    served.check(aor).map_err(Failure::Refused)?;
    let proof = Proof::password(password.read()?.expose());
    let (user, credentials) =
        proof.credentials(aor).map_err(|why| Failure::Refused(format!("{}: {why}", shown(aor))))?;
    let found = database.credentials(std::slice::from_ref(&user)).await.map_err(store)?;
    let is_there = matches!(found[..], [Some(_)]);
    let refused = match expected {
        Expected::Nobody if is_there => Some("is there already; `user passwd` changes the password"),
        Expected::Somebody if !is_there => Some("is not there; `user add` adds a user"),
        Expected::Nobody | Expected::Somebody => None,
    };
    if let Some(why) = refused {
        return Err(Failure::Refused(format!("{} {why}", shown(aor))));
    }
    database.put(&user, &credentials).await.map_err(store)?;
    database.close().await;
    Ok(())
}

async fn remove(aor: &Aor, config: &Config) -> Result<String, Failure> {
    let database = open(config).await?;
    let was_there = database.remove_user(&User::of(aor)).await.map_err(store)?;
    database.close().await;
    if was_there {
        Ok(format!("removed {}\n", shown(aor)))
    } else {
        Err(Failure::Refused(format!("{} is not there", shown(aor))))
    }
}

async fn list(domain: Option<&str>, config: &Config) -> Result<String, Failure> {
    let domain = domain.map(str::to_ascii_lowercase);
    let database = open(config).await?;
    let mut text = String::new();
    let mut last: Option<User> = None;
    loop {
        let users = page(&database, last.as_ref()).await?;
        for user in &users {
            if domain.as_ref().is_none_or(|domain| *domain == user.realm) {
                writeln!(text, "{}@{}", user.name, user.realm).expect("a string takes anything");
            }
        }
        last = users.into_iter().last();
        if last.is_none() {
            break;
        }
    }
    database.close().await;
    Ok(text)
}

async fn page(database: &Database, after: Option<&User>) -> Result<Vec<User>, Failure> {
    database.users(after, PAGE).await.map_err(store)
}

/// Users that are read at a time.
const PAGE: u32 = 1_000;
