//! The 100 (Trying) that a server transaction sends when its TU is silent, RFC 3261 §8.2.6.1, §16.2 and §17.2.1.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Request, Response, StatusCode};

/// A request header that a 100 copies.
const TIMESTAMP: &str = "Timestamp";

/// Ready to be sent, but encoded only if it is.
#[derive(Debug)]
pub(crate) struct Trying {
    /// When it is due.
    pub(crate) at: Instant,
    received: Instant,
    response: Box<Response>,
}

impl Trying {
    /// For a request that came at `now`; due when the TU has been silent for `delay`.
    pub(crate) fn new(request: &Request, now: Instant, delay: Duration) -> Self {
        // §17.2.1: without a To tag.
        let response = Response::to(request, StatusCode::TRYING, None);
        Self { at: now + delay, received: now, response: Box::new(response) }
    }

    /// The message as sent at `now`.
    pub(crate) fn encode(&self, now: Instant) -> Bytes {
        let Some(timestamp) = self.response.headers.get_named(TIMESTAMP) else {
            return self.response.encode();
        };
        // §8.2.6.1: the delay since the request came, unless somebody has put one there already.
        if timestamp.iter().any(u8::is_ascii_whitespace) {
            return self.response.encode();
        }
        let delay = now.duration_since(self.received).as_secs_f32();
        let value = [timestamp, format!(" {delay:.3}").as_bytes()].concat();
        let mut response = (*self.response).clone();
        response.headers.remove_named(TIMESTAMP);
        response.headers.append_named(TIMESTAMP, value);
        response.encode()
    }
}
