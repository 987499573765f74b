//! The contract of the API, OpenAPI 3.1. It needs no token: it says nothing about this cluster.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use node::admin::axum;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /v1/openapi.json`
pub(super) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}
