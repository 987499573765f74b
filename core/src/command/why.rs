//! `why`: what a call to an address would come to now, and why.
//!
//! Only a running core knows links and lost flows, so the one with these settings is asked on its administration address. When it
//! cannot be, the database is, and what is missing then is said.

use std::path::Path;

use location::{LocationStore, User};
use node::admin::client::{self, Answer};
use node::clock;
use node::exit::Failure;
use sip::Aor;

use super::{open, shown, store};
use crate::Config;
use crate::config::PREFIX;
use crate::domains::Served;
use crate::why::{self, Why};

mod text;

pub(super) async fn run(aor: &Aor, json: bool, config: &Config) -> Result<String, Failure> {
    let (why, missing) = match from_core(aor, config).await {
        Ok(why) => (why, None),
        Err(missing) => (from_database(aor, config).await?, Some(missing)),
    };
    if json {
        let mut text =
            serde_json::to_string_pretty(&why).expect("strings and numbers always have a JSON form");
        text.push('\n');
        return Ok(text);
    }
    Ok(text::of(&why, missing.as_deref()))
}

/// Asks the core that runs with these settings.
///
/// # Errors
///
/// Why it was not asked, for the operator.
async fn from_core(aor: &Aor, config: &Config) -> Result<Why, String> {
    let token = config.admin_token.expose().split(',').map(str::trim).find(|token| !token.is_empty());
    let token = token.ok_or_else(|| format!("{PREFIX}ADMIN_TOKEN is not set"))?;
    let path = format!("/v1/why/{}", in_path(&shown(aor)));
    let certificate = config.admin_tls_cert.as_deref().map(Path::new);
    let Answer { status, body } = client::ask(config.admin, certificate, token, &path).await?;
    let said = |what: &str| format!("{PREFIX}ADMIN={}: {what}", config.admin);
    match status {
        200 => serde_json::from_slice(&body)
            .map_err(|error| said(&format!("its answer is another one: {error}"))),
        401 => Err(said(&format!("the core refuses the {PREFIX}ADMIN_TOKEN that is set here"))),
        _ => {
            let detail = serde_json::from_slice::<serde_json::Value>(&body).ok();
            let detail = detail.as_ref().and_then(|it| it["detail"].as_str()).unwrap_or("it cannot tell");
            Err(said(&format!("{status}, {detail}")))
        }
    }
}

async fn from_database(aor: &Aor, config: &Config) -> Result<Why, Failure> {
    let database = open(config).await?;
    let user = User::of(aor);
    let served = Served::read(&config.domains(), &database).await.map_err(store)?;
    let (records, users) =
        database.lookup(std::slice::from_ref(aor), std::slice::from_ref(&user)).await.map_err(store)?;
    database.close().await;
    let record = records.into_iter().next().unwrap_or_default();
    let exists = matches!(users[..], [Some(_)]);
    let mut settings = config.settings(config.keys(clock::seed())?);
    settings.domains = served.all().cloned().collect();
    why::alone(settings, aor.clone(), &record, exists, clock::now(), clock::unix_now())
        .ok_or_else(|| Failure::Refused("a call to this address ends nowhere".to_owned()))
}

/// Text as one segment of the path of a URL.
fn in_path(text: &str) -> String {
    use std::fmt::Write;
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                segment.push(char::from(byte));
            }
            _ => write!(segment, "%{byte:02X}").expect("a string takes anything"),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_segment() {
        assert_eq!(in_path("a/b?c%20d;x@[::1]"), "a%2Fb%3Fc%2520d%3Bx@%5B%3A%3A1%5D");
    }
}
