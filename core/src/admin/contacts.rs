//! Contacts over the API: what the location service (RFC 3261 §10) holds for one address-of-record.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use location::LocationStore;
use node::admin::{Problem, axum};
use node::clock;
use registrar::UnixTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, address, away};
use crate::contact::{Contact, uri};

/// `GET /v1/contacts/{address}`: an address without contacts has an empty list.
pub(super) async fn list(State(api): State<Arc<Api>>, path: Path<String>) -> Result<Json<Value>, Problem> {
    let aor = address(path)?;
    let records = api.database.load(std::slice::from_ref(&aor)).await.map_err(away)?;
    let now = UnixTime(clock::unix_now().as_secs());
    let contacts: Vec<_> =
        records.iter().flat_map(|record| record.live(now)).map(|binding| Contact::of(binding, now)).collect();
    Ok(Json(json!({ "contacts": contacts })))
}

/// Which contacts are to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only those with an equivalent URI (RFC 3261 §19.1.4), by whatever flow; without it, all of the address.
    contact: Option<String>,
}

/// `DELETE /v1/contacts/{address}`: no call reaches them until they register again.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    path: Path<String>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, Problem> {
    let aor = address(path)?;
    let Query(Which { contact }) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let contact = contact.as_deref().map(uri).transpose().map_err(Problem::bad_request)?;
    api.database.remove(&aor, contact.as_ref(), api.noted_at().await?).await.map_err(away)?;
    Ok(StatusCode::NO_CONTENT)
}
