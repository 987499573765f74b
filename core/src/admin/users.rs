//! Users over the API: RFC 3261 §22.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use location::{Credentials, Directory, User};
use node::admin::{Problem, axum};
use serde::{Deserialize, Serialize};
use sip::Aor;

use super::{Api, address, away, body, place};
use crate::command::import;
use crate::contact::shown;
use crate::domains::Served;
use crate::provision::{self, Proof};

/// Users of one page at most, and unless asked otherwise.
const PAGE: u32 = 1_000;

/// What is asked of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only users of this domain.
    domain: Option<String>,
    /// The cursor of the page before.
    after: Option<String>,
    /// Largest number of users.
    limit: Option<u32>,
}

/// A page of users.
#[derive(Debug, Serialize)]
pub struct Users {
    users: Vec<String>,
    /// Where the next page begins; null when this was the last.
    next: Option<String>,
}

/// What is known of a user.
#[derive(Debug, Serialize)]
pub struct Shown {
    address: String,
    /// What the user can prove himself by.
    algorithms: Vec<&'static str>,
}

/// What is to be stored of a user.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Subscriber {
    address: Option<String>,
    password: Option<String>,
    ha1_md5: Option<String>,
    ha1_sha256: Option<String>,
}

impl Subscriber {
    fn proof(self) -> Proof {
        Proof { password: self.password, ha1_md5: self.ha1_md5, ha1_sha256: self.ha1_sha256 }
    }
}

/// `GET /v1/users`
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Users>, Problem> {
    let Query(which) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = which.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let mut after = which.after.as_deref().map(|text| address(Path(text.to_owned()))).transpose()?;
    let domain = which.domain.map(|domain| domain.to_ascii_lowercase());
    let mut users = Vec::new();
    loop {
        let key = after.as_ref().map(User::of);
        let page = api.database.users(key.as_ref(), PAGE).await.map_err(away)?;
        let is_last = page.len() < PAGE as usize;
        for user in page {
            let shown = format!("{}@{}", user.name, user.realm);
            after = Aor::parse(&shown).ok();
            if domain.as_ref().is_none_or(|domain| *domain == user.realm) {
                users.push(shown);
            }
            if users.len() == limit as usize {
                let next = users.last().cloned();
                return Ok(Json(Users { users, next }));
            }
        }
        if is_last || after.is_none() {
            return Ok(Json(Users { users, next: None }));
        }
    }
}

/// `GET /v1/users/{address}`
pub(super) async fn show(State(api): State<Arc<Api>>, path: Path<String>) -> Result<Json<Shown>, Problem> {
    let aor = address(path)?;
    let found = api.database.credentials(&[User::of(&aor)]).await.map_err(away)?;
    let Some(Some(Credentials { ha1_md5, ha1_sha256 })) = found.into_iter().next() else {
        return Err(Problem::not_found(format!("{} is not there", shown(&aor))));
    };
    let algorithms = [("SHA-256", ha1_sha256), ("MD5", ha1_md5)];
    let algorithms =
        algorithms.into_iter().filter(|(_, ha1)| !ha1.is_empty()).map(|(name, _)| name).collect();
    Ok(Json(Shown { address: shown(&aor), algorithms }))
}

/// `PUT /v1/users/{address}`: adds a user or replaces what proves him.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    path: Path<String>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let aor = address(path)?;
    let subscriber: Subscriber = body(&bytes)?;
    if subscriber.address.as_deref().is_some_and(|other| Aor::parse(other).ok().as_ref() != Some(&aor)) {
        return Err(Problem::bad_request("the address of the body is not that of the path"));
    }
    api.serves(&aor).await?;
    let (user, credentials) = subscriber.proof().credentials(&aor).map_err(Problem::bad_request)?;
    let found = api.database.credentials(std::slice::from_ref(&user)).await.map_err(away)?;
    api.database.put(&user, &credentials).await.map_err(away)?;
    Ok(if matches!(found[..], [Some(_)]) { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
}

/// `DELETE /v1/users/{address}`. Contacts stay until they expire or are removed.
pub(super) async fn remove(State(api): State<Arc<Api>>, path: Path<String>) -> Result<StatusCode, Problem> {
    let aor = address(path)?;
    api.database.remove_user(&User::of(&aor)).await.map_err(away)?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many users were written.
#[derive(Debug, Serialize)]
pub struct Imported {
    imported: usize,
}

/// `POST /v1/users/import`: many users, as CSV (`text/csv`, the form of the command) or as JSON lines. All lines are
/// read before the first user is written: a body with a mistake changes nothing.
pub(super) async fn import(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Imported>, Problem> {
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_csv = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"));
    let served = api.served().await?;
    let users: Result<Vec<_>, _> = if is_csv {
        import::rows(text, |aor| served.check(aor)).collect()
    } else {
        json_lines(text, &served).collect()
    };
    let users = users.map_err(|(line, why)| Problem::bad_request(format!("line {line}: {why}")))?;
    provision::put_all(&*api.database, &users).await.map_err(away)?;
    Ok(Json(Imported { imported: users.len() }))
}

fn json_lines<'a>(
    text: &'a str,
    served: &'a Served,
) -> impl Iterator<Item = Result<(User, Credentials), (usize, String)>> + 'a {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(move |(line, number)| json_line(line, served).map_err(|why| (number, why)))
}

fn json_line(line: &str, served: &Served) -> Result<(User, Credentials), String> {
    let subscriber: Subscriber = serde_json::from_str(line).map_err(|error| place(&error))?;
    let text = subscriber.address.as_deref().ok_or("the address is missing")?;
    let aor = Aor::parse(text).map_err(|_| "the address is none: NAME@DOMAIN expected")?;
    served.check(&aor)?;
    Ok(subscriber.proof().credentials(&aor)?)
}
