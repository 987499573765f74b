//! `user import --from`: users straight from the `subscriber` table of another proxy, by their HA1 (RFC 7616 §3.4.2).
//!
//! Rows are read and written by thousands. A row that is no good is named and passed over, the others are imported, and
//! the command ends with 1: what it has said can be mended there and the import repeated, as often as wanted. A user of a
//! domain that is not served is imported, too: the domain may be added later.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use location::{Credentials, Subscriber, Subscribers, Table, User};
use node::exit::Failure;
use sip::Aor;

use super::{open, store};
use crate::Config;
use crate::domains::Served;
use crate::provision::{self, Proof};

pub(super) async fn run(from: &str, table: &Table, config: &Config) -> Result<String, Failure> {
    let url = url(from)?;
    let database = open(config).await?;
    let served = Served::read(&config.domains(), &database).await.map_err(store)?;
    let mut source = Subscribers::open(&url, table).await.map_err(away)?;
    let mut import = Import::default();
    while let Some(rows) = source.page().await.map_err(away)? {
        let users = import.read(&rows, &served);
        provision::put_all(&database, &users).await.map_err(store)?;
        import.wrote(users.len());
    }
    database.close().await;
    import.end()
}

/// The URL, or with `-` the first line of standard input: one that holds a password need not stand in the list of
/// processes.
fn url(from: &str) -> Result<String, Failure> {
    if from != "-" {
        return Ok(from.to_owned());
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| Failure::Refused(format!("standard input: {error}")))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn away(error: location::Error) -> Failure {
    match error {
        location::Error::Url(why) => Failure::Refused(format!("--from: {why}")),
        error => Failure::Unavailable(format!("--from: {error}")),
    }
}

/// How far it has come.
#[derive(Debug, Default)]
struct Import {
    written: usize,
    passed_over: usize,
    /// Domains that are not served, and how many users they have.
    unserved: BTreeMap<String, usize>,
}

impl Import {
    fn read(&mut self, rows: &[Subscriber], served: &Served) -> Vec<(User, Credentials)> {
        rows.iter().filter_map(|row| self.user(row, served)).collect()
    }

    fn user(&mut self, row: &Subscriber, served: &Served) -> Option<(User, Credentials)> {
        // Columns of a fixed length are filled up.
        let [username, domain, ha1, ha1_sha256] =
            [&row.username, &row.domain, &row.ha1, &row.ha1_sha256].map(|text| text.trim_end());
        let address = format!("{username}@{domain}");
        let proof =
            Proof::of_row(Some(row.password.clone()), Some(ha1.to_owned()), Some(ha1_sha256.to_owned()));
        let read = match Aor::parse(&address) {
            Ok(aor) if !username.is_empty() => proof.credentials(&aor).map(|user| (aor, user)),
            Ok(_) | Err(_) => Err("it is no address"),
        };
        match read {
            Ok((aor, user)) => {
                if !served.has(aor.domain()) {
                    *self.unserved.entry(aor.domain().to_owned()).or_default() += 1;
                }
                Some(user)
            }
            Err(why) => {
                self.passed_over += 1;
                if self.passed_over <= NAMED {
                    say(&format!("{address:?} is passed over: {why}"));
                }
                None
            }
        }
    }

    fn wrote(&mut self, users: usize) {
        let before = self.written;
        self.written += users;
        if before / PROGRESS < self.written / PROGRESS {
            say(&format!("{} users so far", self.written));
        }
    }

    fn end(self) -> Result<String, Failure> {
        for (domain, users) in self.unserved.iter().take(NAMED) {
            say(&format!("{users} users are of {domain}, which is not served: see `domain add`"));
        }
        if self.unserved.len() > NAMED {
            say(&format!("{} more domains are not served", self.unserved.len() - NAMED));
        }
        if self.passed_over > 0 {
            let Self { written, passed_over, .. } = self;
            return Err(Failure::Refused(format!(
                "imported {written} users, passed over {passed_over} rows"
            )));
        }
        Ok(format!("imported {} users\n", self.written))
    }
}

/// On standard error: what the command gives is on standard output.
fn say(line: &str) {
    // An operator who does not listen is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows that are named, and domains; a table that is quite another one would fill the terminal.
const NAMED: usize = 20;
/// Users between two words about progress.
const PROGRESS: usize = 10_000;
