//! The database as an operator sees it: where it is, and whether it can be used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use location::{Database, Schema};
use node::admin::Condition;
use node::config::Setting;

use crate::metrics::Meter;

/// URLs of the location service, whose passwords are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URLs themselves, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Default for DatabaseUrl {
    fn default() -> Self {
        Self("sqlite:signalbox.db".to_owned())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, url) in self.0.split(',').enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            // USER:PASSWORD stands before the last @ of the authority, which ends before the path.
            let hidden = url.split_once("://").and_then(|(scheme, rest)| {
                let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
                let (userinfo, _) = authority.rsplit_once('@')?;
                let (user, _) = userinfo.split_once(':')?;
                Some((scheme, user, &rest[userinfo.len()..]))
            });
            match hidden {
                Some((scheme, user, rest)) => write!(f, "{scheme}://{user}:***{rest}")?,
                None => f.write_str(url)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// May be read from a file, since it may hold a password; and says what is wrong without showing it.
impl Setting for DatabaseUrl {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        Database::check(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }

    fn parse_list(items: &[String]) -> Result<Self, String> {
        Self::parse(&items.join(","))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// What to do about a schema that lacks something.
pub(crate) fn outdated(schema: Schema) -> String {
    let Schema { applied, newest } = schema;
    format!("the schema is at {applied}, {newest} is needed: `core-registrar migrate` brings it up to date")
}

/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Says when the database can be used for the first time, and then goes on telling how its nodes are. A core that has
/// been ready stays ready when the database goes: it still has calls to lead.
pub(crate) async fn watch(database: Arc<Database>, condition: Condition, meter: Arc<Meter>) {
    let mut tick = tokio::time::interval(LOOK);
    let (mut is_ready, mut said) = (false, String::new());
    loop {
        tick.tick().await;
        meter.nodes(&database.nodes());
        if is_ready {
            continue;
        }
        let why = match database.applied().await {
            Ok(schema) if schema.is_enough() => {
                condition.ready();
                is_ready = true;
                continue;
            }
            Ok(schema) => outdated(schema),
            Err(error) => error.to_string(),
        };
        if why != said {
            tracing::error!("the core is not ready: {why}");
            condition.unready(&why);
            said = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (url, shown) in [
            ("sqlite:a,b.db", "sqlite:a,b.db"),
            ("postgres://u:se:cr@et@h:1/d?sslmode=verify-full", "postgres://u:***@h:1/d?sslmode=verify-full"),
            (
                "mysql://u:secret@h1/d,mysql://u@h2/d,mysql://h3/d",
                "mysql://u:***@h1/d,mysql://u@h2/d,mysql://h3/d",
            ),
        ] {
            assert_eq!(DatabaseUrl(url.to_owned()).to_string(), shown);
            assert_eq!(format!("{:?}", DatabaseUrl(url.to_owned())), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for url in ["oracle://u:secret@h/d", "postgres://u:secret@h:port/d", "mysql://u:secret@h/d,sqlite:x"]
        {
            let error = DatabaseUrl::parse(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(DatabaseUrl::parse(" postgres://h1/d, postgres://h2/d ").is_ok());
    }
}
