//! Counters of the transport layer.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that several tasks change and anybody may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }
}

/// What went through the sockets of this process since it started.
#[derive(Debug, Default)]
pub struct Stats {
    /// Datagrams received, keep-alives included.
    pub datagrams_in: Counter,
    /// Datagrams that the kernel has taken.
    pub datagrams_out: Counter,
    /// Bytes received over all transports.
    pub bytes_in: Counter,
    /// Bytes sent over all transports.
    pub bytes_out: Counter,
    /// Well-formed messages received.
    pub messages_in: Counter,
    /// Messages queued for sending, keep-alives not included.
    pub messages_out: Counter,
    /// What came in and was no acceptable message.
    pub malformed: Counter,
    /// Malformed requests that were answered.
    pub malformed_answered: Counter,
    /// Datagrams that were not sent: the queue was full or the kernel refused them.
    pub datagrams_dropped: Counter,
    /// Messages refused because the queue of their stream was full.
    pub stream_queue_full: Counter,
    /// Keep-alives received: CRLF pings and pongs, empty and zero datagrams.
    pub keepalives: Counter,
    /// STUN binding requests answered.
    pub stun: Counter,
    /// Streams accepted.
    pub connections_accepted: Counter,
    /// Streams refused because of a limit.
    pub connections_refused: Counter,
    /// Streams closed because nothing happened on them, or a message did not become complete.
    pub connections_expired: Counter,
    /// Streams open now.
    pub connections_open: Counter,
}
