//! Why a call goes where it goes, over the API: the engines of this very core are asked.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use node::admin::{Problem, axum};
use tokio::time::timeout;

use super::{Api, address};
use crate::why::Why;

/// A store that takes longer is as good as down, and an engine, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// `GET /v1/why/{address}`
pub(super) async fn show(State(api): State<Arc<Api>>, path: Path<String>) -> Result<Json<Why>, Problem> {
    let aor = address(path)?;
    match timeout(PATIENCE, api.inquiries.why(aor)).await {
        Ok(Some(why)) => Ok(Json(*why)),
        Ok(None) | Err(_) => Err(Problem::unavailable("the core has too much to do to answer")),
    }
}
