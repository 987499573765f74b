//! What comes before the first message on TLS (RFC 3261 §26.2.1) and WebSocket (RFC 7118 §4.1, RFC 6455 §4.2).
//!
//! A connection has its place among the limits before the handshake begins, so strangers who never finish it cannot have more
//! of them than anybody else, nor for longer than the time-out. A flow is up only when the handshake is done.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        self,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderMap, HeaderValue, StatusCode, header},
        protocol::WebSocketConfig,
    },
};

use crate::{
    Flow, Protocol, connection::Shared, flow::Admission, metered::Metered, rewound::Rewound, stream,
    tls::fingerprint, websocket,
};

/// RFC 7118 §4.1: the name of the subprotocol.
const SUBPROTOCOL: &str = "sip";
/// Enough for one message of a phone; it is kept for as long as the flow, and longer messages make it grow.
const READ: usize = 4 * 1024;

/// A connection on which messages can be exchanged.
enum Opened {
    Tls(Box<TlsStream<TcpStream>>),
    Ws(Box<WebSocketStream<Metered<TcpStream>>>),
    Wss(Box<WebSocketStream<Metered<TlsStream<TcpStream>>>>),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Tls(#[from] io::Error),
    #[error(transparent)]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("it took too long")]
    TimedOut,
}

/// Brings a connection to where its protocol begins, and starts the task that serves it from then on: that one has no room for
/// handshakes.
pub(crate) async fn run(
    socket: TcpStream,
    flow: Flow,
    shared: Arc<Shared>,
    admission: Admission,
    mut stop: watch::Receiver<bool>,
) {
    let opened = tokio::select! {
        opened = timeout(shared.config.handshake_timeout, open(socket, flow.protocol, &shared)) => opened,
        _ = stop.changed() => return,
    };
    match opened.unwrap_or(Err(Failure::TimedOut)) {
        Ok(Opened::Tls(socket)) => {
            tokio::spawn(stream::run(socket, flow, shared, admission, stop));
        }
        Ok(Opened::Ws(socket)) => {
            tokio::spawn(websocket::run(*socket, flow, shared, admission, stop));
        }
        Ok(Opened::Wss(socket)) => {
            tokio::spawn(websocket::run(*socket, flow, shared, admission, stop));
        }
        Err(error) => failed(&flow, &error, &shared),
    }
}

/// Makes a WebSocket of a stream whose peer asks for one on a port of phones. It is another flow.
pub(crate) async fn take_over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: Rewound<S>,
    flow: Flow,
    shared: Arc<Shared>,
    admission: Admission,
    mut stop: watch::Receiver<bool>,
) {
    let protocol = if flow.protocol.is_secure() { Protocol::Wss } else { Protocol::Ws };
    let flow = Flow { protocol, connection: shared.table.number(), ..flow };
    let opened = tokio::select! {
        opened = timeout(shared.config.handshake_timeout, upgrade(socket, &shared)) => opened,
        _ = stop.changed() => return,
    };
    match opened.unwrap_or(Err(Failure::TimedOut)) {
        Ok(socket) => {
            tokio::spawn(websocket::run(socket, flow, shared, admission, stop));
        }
        Err(error) => failed(&flow, &error, &shared),
    }
}

fn failed(flow: &Flow, error: &Failure, shared: &Shared) {
    tracing::debug!(?flow, %error, "handshake failed");
    shared.stats.handshakes_failed.add(1);
}

async fn open(socket: TcpStream, protocol: Protocol, shared: &Shared) -> Result<Opened, Failure> {
    Ok(match protocol {
        Protocol::Ws => Opened::Ws(Box::new(upgrade(socket, shared).await?)),
        Protocol::Wss => {
            let socket = secure(socket, shared).await?;
            Opened::Wss(Box::new(upgrade(socket, shared).await?))
        }
        Protocol::Tls | Protocol::Tcp | Protocol::Udp => Opened::Tls(Box::new(secure(socket, shared).await?)),
    })
}

async fn secure(socket: TcpStream, shared: &Shared) -> Result<TlsStream<TcpStream>, Failure> {
    let tls = shared.tls.as_ref().expect("no secure listener is opened without certificates");
    let socket = tls.acceptor().accept(socket).await?;
    if let Some([certificate, ..]) = socket.get_ref().1.peer_certificates() {
        shared.stats.client_certificates.add(1);
        let remote = socket.get_ref().0.peer_addr().ok();
        tracing::info!(?remote, sha256 = fingerprint(certificate), "client certificate is good");
    }
    Ok(socket)
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    shared: &Shared,
) -> Result<WebSocketStream<Metered<S>>, Failure> {
    #[expect(clippy::result_large_err, reason = "the type of the callback is tungstenite's")]
    let answer = |request: &Request, response| admit(request, response, &shared.config.ws_origins);
    let limit = shared.config.limits.message;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    accept_hdr_async_with_config(Metered::new(socket), answer, Some(config))
        .await
        .map_err(|error| Box::new(error).into())
}

/// RFC 7118 §4.1: whoever does not offer SIP is not meant for us. RFC 6455 §10.2: a page of another site than ours may not
/// use a browser's place in the network.
#[expect(clippy::result_large_err, reason = "the type of the callback is tungstenite's")]
fn admit(request: &Request, mut response: Response, origins: &[String]) -> Result<Response, ErrorResponse> {
    if !offers_sip(request.headers()) {
        return Err(refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Protocol: sip is required"));
    }
    if !is_welcome(request.headers().get(header::ORIGIN), origins) {
        return Err(refusal(StatusCode::FORBIDDEN, "this Origin is not allowed"));
    }
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn offers_sip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let mut offers = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    offers.any(|offer| offer.trim() == SUBPROTOCOL)
}

/// No list lets everybody in; with one, also what names no origin is refused, since browsers always do.
fn is_welcome(origin: Option<&HeaderValue>, origins: &[String]) -> bool {
    let listed = |origin: &HeaderValue| {
        origins.iter().any(|listed| origin.as_bytes().eq_ignore_ascii_case(listed.as_bytes()))
    };
    origins.is_empty() || origin.is_some_and(listed)
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why.to_owned()));
    *refusal.status_mut() = status;
    refusal
}
