//! The administration socket: is it alive, is it ready, what does it count.
//!
//! - `GET /health` is 200 as long as the process answers. A supervisor restarts on anything else.
//! - `GET /ready` is 200 when every condition holds, else 503 with the reasons. A load balancer looks here.
//! - `GET /metrics` is the text format of Prometheus.
//!
//! These need no authentication: the socket belongs on loopback or on a network of the operator. What a tier adds stands
//! behind a token ([`guarded`]); with a certificate ([`Admin::secured`]) all of it is TLS.

use std::{fmt, future, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use socket2::SockRef;
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;

use crate::{config::ConfigError, metrics::Registry};

pub mod client;
mod guard;
mod problem;
mod tls;

/// For the routes that a tier adds.
pub use axum::{self, Router};
pub use guard::guarded;
pub use problem::Problem;

/// How long a client may take nothing of an answer, or not acknowledge it, before the connection is closed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bound administration socket.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Admin {
    /// Binds the address that this variable gives.
    ///
    /// # Errors
    ///
    /// The address cannot be bound; the error names the variable.
    pub async fn bind(variable: &str, address: SocketAddr) -> Result<Self, ConfigError> {
        let refused = |error| ConfigError::new(variable, format!("cannot listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        // Whatever is accepted has it from the listener.
        SockRef::from(&listener).set_tcp_user_timeout(Some(PATIENCE)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, tls: None })
    }

    /// Speaks TLS with the certificate and key of these PEM files.
    ///
    /// # Errors
    ///
    /// What is wrong with a file, under the name of this variable.
    pub fn secured(mut self, variable: &str, certificate: &Path, key: &Path) -> Result<Self, ConfigError> {
        let acceptor = tls::acceptor(certificate, key).map_err(|why| ConfigError::new(variable, why))?;
        self.tls = Some(acceptor);
        Ok(self)
    }

    /// The address, with the port that a configured port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then finishes the requests that are open. `more` are the routes of the tier.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn serve(
        self,
        readiness: Readiness,
        metrics: Registry,
        more: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let routes = routes(readiness, metrics).merge(more);
        match self.tls {
            None => axum::serve(self.listener, routes).with_graceful_shutdown(stop).await,
            Some(acceptor) => {
                let listener = tls::TlsListener::start(self.listener, self.address, acceptor);
                axum::serve(listener, routes).with_graceful_shutdown(stop).await
            }
        }
    }
}

fn routes(readiness: Readiness, metrics: Registry) -> Router {
    Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(move || future::ready(ready(&readiness))))
        .route("/metrics", get(move || future::ready(page(&metrics))))
}

fn ready(readiness: &Readiness) -> impl IntoResponse + use<> {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let lines = reasons.iter().map(|reason| format!("{reason}\n")).collect();
        (StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

fn page(metrics: &Registry) -> impl IntoResponse + use<> {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, format)], metrics.encode())
}

/// Whether the process is ready: all its named conditions hold. Every clone speaks of the same conditions.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<watch::Sender<Vec<State>>>);

/// The name of a condition and, as long as it does not hold, why.
type State = (String, Option<String>);

impl Readiness {
    /// Nothing to wait for yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that does not hold yet.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let mut place = 0;
        self.0.send_modify(|states| {
            place = states.len();
            states.push((name.into(), Some("starting".to_owned())));
        });
        Condition { readiness: self.clone(), place }
    }

    /// Whether all conditions hold.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().iter().all(holds)
    }

    /// What does not hold and why, in the order of the conditions: `database: connection refused`.
    pub fn reasons(&self) -> Vec<String> {
        let states = self.0.borrow();
        let reason = |(name, why): &State| Some(format!("{name}: {}", why.as_ref()?));
        states.iter().filter_map(reason).collect()
    }

    /// Waits until all conditions hold.
    pub async fn ready(&self) {
        self.0.subscribe().wait_for(|states| states.iter().all(holds)).await.expect("self holds the sender");
    }
}

fn holds((_, why): &State) -> bool {
    why.is_none()
}

/// One condition of a [`Readiness`], in the hands of the one who knows.
#[derive(Clone, Debug)]
pub struct Condition {
    readiness: Readiness,
    place: usize,
}

impl Condition {
    /// The condition holds.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The condition does not hold, and why.
    pub fn unready(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    fn set(&self, why: Option<String>) {
        self.readiness.0.send_if_modified(|states| {
            let Some(state) = states.get_mut(self.place) else {
                return false;
            };
            let news = state.1 != why;
            state.1 = why;
            news
        });
    }
}

#[cfg(test)]
mod tests;
