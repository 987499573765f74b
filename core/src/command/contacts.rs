//! `contacts`: what the location service (RFC 3261 §10) holds for one address-of-record.

use std::fmt::Write;

use location::LocationStore;
use node::clock;
use node::exit::Failure;
use registrar::UnixTime;
use sip::Aor;

use super::{address, open, plain, shown, store};
use crate::Config;
use crate::contact::{Contact, uri};
use crate::feed;

/// What can be done with contacts.
#[derive(Debug, clap::Subcommand)]
pub enum ContactsCommand {
    /// List the contacts of a user, one in a line. Exits with 1 when there are none.
    List {
        /// NAME@DOMAIN
        #[arg(value_name = "AOR")]
        aor: String,
        /// One JSON array, with everything that is known.
        #[arg(long)]
        json: bool,
    },
    /// Remove contacts of a user: no call reaches them until they register again. It may be repeated.
    Remove {
        /// NAME@DOMAIN
        #[arg(value_name = "AOR")]
        aor: String,
        /// Only the one with this URI, as `contacts list` shows it; all without it.
        #[arg(value_name = "CONTACT")]
        contact: Option<String>,
    },
}

pub(super) async fn run(command: ContactsCommand, config: &Config) -> Result<String, Failure> {
    match command {
        ContactsCommand::List { aor, json } => list(&address(&aor)?, json, config).await,
        ContactsCommand::Remove { aor, contact } => remove(&address(&aor)?, contact.as_deref(), config).await,
    }
}

async fn list(aor: &Aor, json: bool, config: &Config) -> Result<String, Failure> {
    let database = open(config).await?;
    let records = database.load(std::slice::from_ref(aor)).await.map_err(store)?;
    database.close().await;
    let now = UnixTime(clock::unix_now().as_secs());
    let contacts: Vec<_> =
        records.iter().flat_map(|record| record.live(now)).map(|binding| Contact::of(binding, now)).collect();
    if contacts.is_empty() {
        return Err(none(aor));
    }
    Ok(if json { as_json(&contacts) } else { as_lines(&contacts) })
}

/// The same removal as that of the API: watchers are told by the cores (RFC 3680), because the record is due.
async fn remove(aor: &Aor, contact: Option<&str>, config: &Config) -> Result<String, Failure> {
    let meant = contact.map(uri).transpose().map_err(Failure::Refused)?;
    let database = open(config).await?;
    // Whatever this environment says, the cores may have the feed on.
    let noted_at = feed::noted_at(config.change_feed, &database).await.map_err(store)?;
    let had_some = database.remove(aor, meant.as_ref(), noted_at).await.map_err(store)?;
    database.close().await;
    let aor = shown(aor);
    Ok(match (had_some, contact) {
        (true, None) => format!("removed the contacts of {aor}\n"),
        (true, Some(contact)) => format!("removed {} of {aor}\n", plain(contact)),
        (false, None) => format!("{aor} has no contacts\n"),
        (false, Some(contact)) => format!("{aor} has no contact {}\n", plain(contact)),
    })
}

fn none(aor: &Aor) -> Failure {
    Failure::Refused(format!("{} has no contacts", shown(aor)))
}

fn as_json(contacts: &[Contact]) -> String {
    let mut text =
        serde_json::to_string_pretty(contacts).expect("strings and numbers always have a JSON form");
    text.push('\n');
    text
}

/// One line for each: the contact and, with a tab before each, what is most asked for.
fn as_lines(contacts: &[Contact]) -> String {
    let mut text = String::new();
    for it in contacts {
        let line = format!(
            "{}\texpires-in={}s\tedge={}\tsource={}\tpath={}\twritten-by={}\tcall-id={}\tcseq={}",
            plain(&it.contact),
            it.expires_in,
            plain(&it.edge),
            plain(&it.source),
            plain(&it.path.join(",")),
            plain(&it.written_by),
            plain(&it.call_id),
            it.cseq,
        );
        writeln!(text, "{line}").expect("a string takes anything");
    }
    text
}

#[cfg(test)]
mod tests {
    use registrar::Binding;

    use super::*;
    use crate::fixture;

    fn binding() -> Binding {
        let path = ["<sip:t@edge-1;lr;ob>", "<sip:proxy.example;lr>"];
        let binding = fixture::binding("sip:alice@192.0.2.1:5060", &path, UnixTime(1_000));
        Binding { call_id: "a\u{1b}[2J\tb\n".to_owned(), ..binding }
    }

    #[test]
    fn a_contact_is_one_line_whatever_a_stranger_wrote() {
        let binding = binding();
        let text = as_lines(&[Contact::of(&binding, UnixTime(4_550))]);
        let fields: Vec<_> = text.strip_suffix('\n').unwrap().split('\t').collect();
        let expected = [
            "sip:alice@192.0.2.1:5060",
            "expires-in=50s",
            "edge=edge-1",
            "source=udp:192.0.2.1:5060",
            "path=<sip:t@edge-1;lr;ob>,<sip:proxy.example;lr>",
            "written-by=core-1",
            r"call-id=a\u{1b}[2J\tb\n",
            "cseq=7",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn json_is_an_array_with_the_text_as_it_is() {
        let binding = binding();
        let text = as_json(&[Contact::of(&binding, UnixTime(4_550))]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json[0]["expires_in"], 50);
        assert_eq!(json[0]["path"][1], "<sip:proxy.example;lr>");
        assert_eq!(json[0]["call_id"], binding.call_id.as_str());
    }
}
