//! The API of a core on its administration socket: users, domains, contacts, their changes, and why a call goes where it goes.
//!
//! JSON in and out, problems as RFC 9457 says, behind a bearer token. What can be done here can be done by command, too, and with
//! the same code. Every write may be repeated: it leaves things as once. [`openapi`] is the contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::{get, post, put};
use location::{Database, Directory};
use node::admin::{Problem, axum, guarded};
use node::clock;
use node::config::Secret;
use registrar::UnixTime;
use serde::de::DeserializeOwned;
use sip::Aor;

use crate::domains::{Served, foreign};
use crate::feed::{self, Feed};
use crate::inquiries::Inquiries;

pub mod changes;
pub mod consumers;
pub mod contacts;
pub mod domains;
pub mod openapi;
pub mod users;
pub mod why;

/// The variable of the token.
pub const TOKEN: &str = "CORE_ADMIN_TOKEN";

/// What the handlers share.
pub struct Api {
    /// Where users and contacts are kept.
    pub database: Arc<Database>,
    /// The domains of the configuration.
    pub domains: BTreeSet<String>,
    /// The way to the engines.
    pub inquiries: Arc<Inquiries>,
    /// The change feed, where it is on.
    pub feed: Option<Arc<Feed>>,
}

/// The routes under `/v1/`; the contract itself is open to all.
pub fn routes(api: Arc<Api>, tokens: &Secret) -> Router {
    let guarded = guarded(paths().with_state(api), TOKEN, tokens);
    Router::new().route("/v1/openapi.json", get(openapi::document)).merge(guarded)
}

/// Every path behind the token.
pub const PATHS: [&str; 10] = [
    "/v1/users",
    "/v1/users/import",
    "/v1/users/{address}",
    "/v1/domains",
    "/v1/domains/{domain}",
    "/v1/contacts/{address}",
    "/v1/why/{address}",
    "/v1/changes",
    "/v1/consumers",
    "/v1/consumers/{consumer}",
];

fn paths() -> Router<Arc<Api>> {
    let [users, import, user, domains, domain, contacts, why, changes, consumers, consumer] = PATHS;
    Router::new()
        .route(users, get(users::list))
        .route(import, post(users::import))
        .route(user, get(users::show).put(users::put).delete(users::remove))
        .route(domains, get(domains::list))
        .route(domain, get(domains::show).put(domains::put).delete(domains::remove))
        .route(contacts, get(contacts::list).delete(contacts::remove))
        .route(why, get(why::show))
        .route(changes, get(changes::follow))
        .route(consumers, get(consumers::list))
        .route(consumer, put(consumers::put).delete(consumers::remove))
}

impl Api {
    /// The domains as they are at the moment: one that another core has just added is among them.
    async fn served(&self) -> Result<Served, Problem> {
        Served::read(&self.domains, &*self.database).await.map_err(away)
    }

    /// Whether one of them is that of this user.
    async fn serves(&self, aor: &Aor) -> Result<(), Problem> {
        let domain = aor.domain();
        if self.domains.contains(domain) || self.database.has_domain(domain).await.map_err(away)? {
            return Ok(());
        }
        Err(Problem::bad_request(foreign(domain)))
    }

    /// When something is removed, if the change feed is to be told.
    async fn noted_at(&self) -> Result<Option<UnixTime>, Problem> {
        feed::noted_at(self.feed.is_some(), &self.database).await.map_err(away)
    }
}

fn now() -> UnixTime {
    UnixTime(clock::unix_now().as_secs())
}

/// `alice@example.com` in a path.
fn address(Path(text): Path<String>) -> Result<Aor, Problem> {
    Aor::parse(&text)
        .map_err(|_| Problem::bad_request(format!("{text:?} is no address: NAME@DOMAIN expected")))
}

fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body: {}", place(&error))))
}

/// Where a mistake is and of what kind. The text of the error itself may show a password that is in the wrong place.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "it is not of the expected form",
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => "it is no JSON",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

/// The database cannot be asked: why stays in the log.
fn away(error: location::Error) -> Problem {
    tracing::warn!(%error, "the API cannot reach the database");
    drop(error);
    Problem::unavailable("the database is away")
}
