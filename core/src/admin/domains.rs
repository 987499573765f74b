//! Domains over the API: which ones the cluster is responsible for (RFC 3261 §10.3 step 1).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use location::Directory;
use node::admin::{Problem, axum};
use serde::Serialize;

use super::{Api, away};
use crate::domains::{self, Served};

/// A domain, and who says that it is served.
#[derive(Debug, Serialize)]
pub struct Shown {
    domain: String,
    configured: bool,
    stored: bool,
}

impl Shown {
    fn of(domain: String, served: &Served) -> Self {
        let (configured, stored) = (served.configured.contains(&domain), served.stored.contains(&domain));
        Self { domain, configured, stored }
    }
}

/// All of them.
#[derive(Debug, Serialize)]
pub struct Domains {
    domains: Vec<Shown>,
}

/// `GET /v1/domains`
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Domains>, Problem> {
    let served = api.served().await?;
    Ok(Json(Domains { domains: served.all().map(|domain| Shown::of(domain.clone(), &served)).collect() }))
}

/// `GET /v1/domains/{domain}`
pub(super) async fn show(State(api): State<Arc<Api>>, path: Path<String>) -> Result<Json<Shown>, Problem> {
    let name = name(&path)?;
    let served = api.served().await?;
    if !served.has(&name) {
        return Err(Problem::not_found(format!("{name} is not there")));
    }
    Ok(Json(Shown::of(name, &served)))
}

/// `PUT /v1/domains/{domain}`: every core serves it a few seconds later.
pub(super) async fn put(State(api): State<Arc<Api>>, path: Path<String>) -> Result<StatusCode, Problem> {
    let is_new = api.database.put_domain(&name(&path)?).await.map_err(away)?;
    Ok(if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// `DELETE /v1/domains/{domain}`. Users and contacts stay.
pub(super) async fn remove(State(api): State<Arc<Api>>, path: Path<String>) -> Result<StatusCode, Problem> {
    let name = name(&path)?;
    api.database.remove_domain(&name).await.map_err(away)?;
    if api.domains.contains(&name) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("CORE_DOMAINS names {name}: it is served on"),
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}

fn name(Path(text): &Path<String>) -> Result<String, Problem> {
    domains::name(text).map_err(Problem::bad_request)
}
