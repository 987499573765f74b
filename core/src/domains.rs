//! The domains that the cluster is responsible for (RFC 3261 §10.3 step 1, §16.5): those of the configuration, and those of the
//! database, which come and go while cores run.
//!
//! Every core reads the table again and again. What it has read last holds while the database is away. A domain that is
//! gone is a foreign one: its users and their bindings are kept, nobody can register or be reached there, and when it comes
//! back they are there as before.
//!
//! A core that has never seen the table cannot know what is foreign. So it does not say 403 to what may be its own: until
//! then a request outside a dialog that names a domain which is not configured is answered with 503.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use location::{Database, Directory, Error};
use node::admin::Condition;
use node::shard::Inbox;
use sip::{Aor, Host, Method, ParseError, Request, Uri};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::engine::{Core, Input};
use crate::metrics::Meter;

/// The one spelling of a domain: lower case, no dot at the end, an IPv6 address in brackets.
///
/// # Errors
///
/// For what is no host of a SIP URI.
pub fn name(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    match Host::parse(text.strip_suffix('.').unwrap_or(text)) {
        Some(Host::Name(name)) if name.len() <= LONGEST => Ok(name.to_ascii_lowercase()),
        Some(Host::V4(address)) => Ok(address.to_string()),
        Some(Host::V6(address)) => Ok(format!("[{address}]")),
        Some(Host::Name(_)) | None => Err("a domain is expected: a host name or an address"),
    }
}

/// Characters of a name in the DNS.
const LONGEST: usize = 253;

/// The domains of the configuration and of the database, as they are at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Those of `CORE_DOMAINS`.
    pub configured: BTreeSet<String>,
    /// Those that were added.
    pub stored: BTreeSet<String>,
}

impl Served {
    /// Asks the database.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub async fn read(configured: &BTreeSet<String>, database: &impl Directory) -> Result<Self, Error> {
        let stored = database.domains().await?.into_iter().collect();
        Ok(Self { configured: configured.clone(), stored })
    }

    /// Whether a domain is one of them; it is in lower case.
    pub fn has(&self, domain: &str) -> bool {
        self.configured.contains(domain) || self.stored.contains(domain)
    }

    /// All of them, each once, in order.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.configured.union(&self.stored)
    }

    /// A user of another domain could never log in.
    ///
    /// # Errors
    ///
    /// What to do about it.
    pub fn check(&self, aor: &Aor) -> Result<(), String> {
        if self.has(aor.domain()) {
            return Ok(());
        }
        Err(foreign(aor.domain()))
    }
}

/// What to do about a domain that is not served.
pub(crate) fn foreign(domain: &str) -> String {
    format!(
        "{domain} is not a domain of this cluster: CORE_DOMAINS does not name it, and nobody has added it"
    )
}

impl Core {
    /// Which domains are ours from here on; `None` while only those of the configuration are known.
    pub(crate) fn serve(&mut self, domains: Option<BTreeSet<String>>) {
        self.knows_domains = domains.is_some();
        if let Some(domains) = domains {
            self.auth.serve(domains.clone());
            self.settings.domains = domains;
        }
    }

    /// Whether it is open if this request is for us, or from one of us. Inside a dialog the signed tokens of its Route say all
    /// that has to be known.
    pub(crate) fn is_open(&self, request: &Request) -> bool {
        if self.knows_domains || request.method == Method::Cancel {
            return false;
        }
        let is_inside = request.to_tag().is_some() && request.top_route().is_some();
        let serves = |uri: Result<Uri<'_>, ParseError>| uri.is_ok_and(|uri| self.settings.serves(&uri));
        let is_known = serves(request.request_uri())
            && serves(request.from().and_then(|from| from.parsed_uri()))
            // §10.2: whom a third party registers stands in To alone.
            && (request.method != Method::Register
                || serves(request.to().and_then(|to| to.parsed_uri())));
        !is_inside && !is_known
    }
}

/// How often a core looks: no domain is known later than this and [`PATIENCE`] after it was added.
const LOOK: Duration = Duration::from_secs(2);
/// A store that takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the engines informed.
pub(crate) struct Watch {
    pub(crate) database: Arc<Database>,
    pub(crate) configured: BTreeSet<String>,
    pub(crate) inboxes: Vec<Inbox<Input>>,
    pub(crate) condition: Condition,
    pub(crate) meter: Arc<Meter>,
}

impl Watch {
    /// The first look, before there is a link: the engines begin with what is known by then. Goes on by itself.
    pub(crate) async fn begin(self) {
        let known = self.look(None).await;
        if known.is_none() {
            self.meter.domains.set(count(self.configured.len()));
            self.tell(None).await;
        }
        tokio::spawn(self.go_on(known));
    }

    async fn go_on(self, mut known: Option<BTreeSet<String>>) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and that look has been.
        tick.tick().await;
        loop {
            tick.tick().await;
            known = self.look(known).await;
        }
    }

    /// Reads the table and tells the engines when it is another one than `known`. Gives what is known then.
    async fn look(&self, known: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let served = match timeout(PATIENCE, Served::read(&self.configured, &*self.database)).await {
            Ok(Ok(served)) => served,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot look which domains are served");
                return known;
            }
            Err(_) => return known,
        };
        let domains: BTreeSet<_> = served.all().cloned().collect();
        if known.as_ref() != Some(&domains) {
            tracing::info!(domains = domains.len(), "which domains are served has been read");
            self.meter.domains.set(count(domains.len()));
            self.tell(Some(&domains)).await;
            self.condition.ready();
        }
        Some(domains)
    }

    /// One after the other, so that none is overtaken by an older one.
    async fn tell(&self, domains: Option<&BTreeSet<String>>) {
        for inbox in &self.inboxes {
            // One that has ended needs no domains.
            let _ = inbox.send(Input::Domains(domains.cloned())).await;
        }
    }
}

fn count(domains: usize) -> i64 {
    i64::try_from(domains).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_spelling() {
        for (text, expected) in [
            ("example.com", Some("example.com")),
            (" Example.COM. ", Some("example.com")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:DB8:0::1]", Some("[2001:db8::1]")),
            ("", None),
            (".", None),
            ("two words", None),
            ("example.com:5060", None),
            ("alice@example.com", None),
            ("sip:example.com", None),
            ("2001:db8::1", None),
            (&"a.".repeat(128), None),
        ] {
            assert_eq!(name(text).ok().as_deref(), expected, "{text}");
        }
    }
}
