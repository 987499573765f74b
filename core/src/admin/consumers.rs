//! Who reads the change feed, and how far each has come.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use location::ChangeFeed;
use location::feed::Consumer;
use node::admin::{Problem, axum};
use serde::{Deserialize, Serialize};

use super::{Api, away, body, now};

/// Longest name.
const MAX_NAME: usize = 64;

/// All of them.
#[derive(Debug, Serialize)]
pub struct Consumers {
    /// The newest position of the feed.
    head: u64,
    consumers: Vec<Shown>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct Shown {
    consumer: String,
    position: u64,
    /// Positions between this one and the head.
    lag: u64,
    /// In seconds since 1970.
    updated_at: u64,
}

/// How far a consumer has come.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    position: u64,
}

/// `GET /v1/consumers`
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Consumers>, Problem> {
    let consumers = api.database.consumers().await.map_err(away)?;
    let head = api.database.head().await.map_err(away)?;
    let shown = |it: Consumer| Shown {
        lag: head.saturating_sub(it.position),
        consumer: it.name,
        position: it.position,
        updated_at: it.updated_at.0,
    };
    Ok(Json(Consumers { head, consumers: consumers.into_iter().map(shown).collect() }))
}

/// `PUT /v1/consumers/{consumer}`: everything up to this position has been worked on. A lower one than before is a wish to read
/// again.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    path: Path<String>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let name = name(path)?;
    let Reached { position } = body(&bytes)?;
    if position > api.database.head().await.map_err(away)? {
        return Err(Problem::bad_request("the feed has not come to this position"));
    }
    let consumer = Consumer { name, position, updated_at: now() };
    api.database.put_consumer(&consumer).await.map_err(away)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/consumers/{consumer}`
pub(super) async fn remove(State(api): State<Arc<Api>>, path: Path<String>) -> Result<StatusCode, Problem> {
    api.database.remove_consumer(&name(path)?).await.map_err(away)?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    /// Where a consumer has come to, if it ever said so.
    pub(super) async fn position_of(&self, consumer: String) -> Result<Option<u64>, Problem> {
        let name = name(Path(consumer))?;
        let consumers = self.database.consumers().await.map_err(away)?;
        Ok(consumers.into_iter().find(|it| it.name == name).map(|it| it.position))
    }
}

fn name(Path(text): Path<String>) -> Result<String, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(is_plain) {
        return Err(Problem::bad_request(
            "the name of a consumer has letters, digits, dots, hyphens and underscores, 64 at most",
        ));
    }
    Ok(text)
}
