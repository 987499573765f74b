//! What stands before the API of a tier: a bearer token (RFC 6750 §2.1), and limits of number, size and time.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::{sync::Semaphore, time::timeout};

use super::Problem;
use crate::config::Secret;

/// Requests that are worked on at a time; more are told to come back.
const ROOM: usize = 64;
/// Largest body: some hundred thousand users.
const BODY: usize = 64 * 1024 * 1024;
/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(120);

/// Puts the guard before these routes. `tokens` are the tokens that open it, `current[,previous]`; without one, nobody is let in and
/// the answer says which `variable` to set.
pub fn guarded(api: Router, variable: &'static str, tokens: &Secret) -> Router {
    let tokens = tokens.expose().split(',').map(str::trim).filter(|token| !token.is_empty());
    let guard =
        Arc::new(Guard { tokens: tokens.map(digest).collect(), variable, room: Semaphore::new(ROOM) });
    api.layer(DefaultBodyLimit::max(BODY)).layer(middleware::from_fn_with_state(guard, pass))
}

struct Guard {
    /// Digests have one length, so comparing them tells nothing about that of a token.
    tokens: Vec<[u8; 32]>,
    variable: &'static str,
    room: Semaphore,
}

async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.tokens.is_empty() {
        let detail = format!("the API is closed: {} is not set", guard.variable);
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if !guard.knows(request.headers().get(header::AUTHORIZATION)) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed");
        return ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response();
    }
    let Ok(_place) = guard.room.try_acquire() else {
        let problem = Problem::unavailable("too many requests are being worked on");
        return ([(header::RETRY_AFTER, "1")], problem).into_response();
    };
    match timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "it took too long").into_response(),
    }
}

impl Guard {
    /// Compares with every token, so that the time does not tell which one was nearly right.
    fn knows(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some((scheme, token)) =
            authorization.and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        let shown = digest(token.trim());
        let known = self.tokens.iter().fold(Choice::from(0), |known, token| known | token.ct_eq(&shown));
        scheme.eq_ignore_ascii_case("bearer") && bool::from(known)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(tokens: &[&str]) -> Guard {
        Guard {
            tokens: tokens.iter().map(|token| digest(token)).collect(),
            variable: "CORE_ADMIN_TOKEN",
            room: Semaphore::new(1),
        }
    }

    #[test]
    fn every_token_of_the_list_opens_and_nothing_else() {
        let guard = guard(&["current", "previous"]);
        for (value, opens) in [
            ("Bearer current", true),
            ("bearer previous", true),
            ("Bearer  current ", true),
            ("Bearer currenT", false),
            ("Bearer curren", false),
            ("Bearer current,previous", false),
            ("Bearer", false),
            ("Basic current", false),
            ("current", false),
        ] {
            assert_eq!(guard.knows(Some(&HeaderValue::from_static(value))), opens, "{value}");
        }
        assert!(!guard.knows(None));
    }
}
