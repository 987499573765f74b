//! The end that accepts: cores.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use proto::Hello;
use quinn::Incoming;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use crate::{
    Config, Error, EventSink, Links, endpoint,
    handshake::{self, HandshakeError},
    links::Inner,
    peer,
};

/// Accepts edges on `listen`. Has to be called within a tokio runtime, whose tasks then serve the link.
///
/// `hello.role` becomes `core`; a missing version or boot number is filled in.
pub fn accept(config: &Config, listen: SocketAddr, hello: Hello, events: EventSink) -> Result<Links, Error> {
    if config.is_development() && !listen.ip().to_canonical().is_loopback() {
        return Err(Error::NotLoopback(listen.to_string()));
    }
    let hello = crate::complete(hello, "core")?;
    let endpoint = endpoint::server(config, &hello.name, listen)?;
    let inner = Inner::new(endpoint, hello, config.queue, events);
    tokio::spawn(listen_on(Arc::clone(&inner)));
    Ok(Links { inner })
}

async fn listen_on(inner: Arc<Inner>) {
    let mut stop = inner.stop.subscribe();
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let incoming = tokio::select! {
            incoming = inner.endpoint.accept() => incoming,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(incoming) = incoming else { return };
        let Ok(permit) = Arc::clone(&strangers).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Many at once: first prove that the address is yours (RFC 9000 §8.1.2), which costs us nothing.
        if strangers.available_permits() < STRANGERS / 2 && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(serve(Arc::clone(&inner), incoming, permit));
    }
}

async fn serve(inner: Arc<Inner>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let deadline = time::timeout(HANDSHAKE, greet(&inner, incoming));
    match deadline.await.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok((connection, hello, streams)) => {
            drop(permit);
            Box::pin(peer::run(&inner, connection, hello, streams)).await;
        }
        Err(error) => tracing::warn!(%address, %error, "link: peer not taken in"),
    }
}

async fn greet(
    inner: &Inner,
    incoming: Incoming,
) -> Result<(quinn::Connection, Hello, crate::wire::Streams), HandshakeError> {
    let connection = incoming.await?;
    match handshake::answer(&connection, &inner.hello).await {
        Ok((hello, streams)) => Ok((connection, hello, streams)),
        Err(error) => {
            connection.close(error.code(), error.to_string().as_bytes());
            Err(error)
        }
    }
}

/// Peers that may be in the middle of their handshake, all of them unproven.
const STRANGERS: usize = 256;

/// Time for the handshake of QUIC and the Hello.
const HANDSHAKE: Duration = Duration::from_secs(5);
