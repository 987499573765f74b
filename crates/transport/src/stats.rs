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

/// The struct and the table of its counters, from one list.
macro_rules! stats {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// What went through the sockets of this process since it started.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $help])+ pub $name: Counter,)*
        }

        impl Stats {
            /// Every counter: its name, what it counts, and how to read it.
            pub const TABLE: &[(&str, &str, fn(&Self) -> u64)] = &[
                $((stringify!($name), concat!($($help),+).trim_ascii(), |stats| stats.$name.get()),)*
            ];
        }
    };
}

stats! {
    /// Datagrams received, keep-alives included
    datagrams_in,
    /// Datagrams that the kernel has taken
    datagrams_out,
    /// Bytes received over all transports
    bytes_in,
    /// Bytes sent over all transports
    bytes_out,
    /// Well-formed messages received
    messages_in,
    /// Messages queued for sending
    messages_out,
    /// Answers to our pings over UDP
    pongs,
    /// What came in and was no acceptable message
    malformed,
    /// Malformed requests that were answered
    malformed_answered,
    /// Datagrams that were not sent: the queue was full or the kernel refused them
    datagrams_dropped,
    /// Messages refused because the queue of their stream was full
    stream_queue_full,
    /// Keep-alives received: CRLF and WebSocket pings and pongs, empty and zero datagrams
    keepalives,
    /// STUN binding requests answered
    stun,
    /// Streams accepted
    connections_accepted,
    /// Streams opened towards servers outside
    connections_dialled,
    /// Streams refused because of a limit
    connections_refused,
    /// Streams on which TLS or WebSocket could not be negotiated, or not in time
    handshakes_failed,
    /// Streams whose peer has shown a good certificate
    client_certificates,
    /// Streams closed because nothing happened on them, or a message did not become complete
    connections_expired,
    /// Streams open now
    connections_open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_every_counter() {
        let stats = Stats::default();
        stats.datagrams_in.add(3);
        stats.connections_open.add(2);
        stats.connections_open.sub(1);
        let read = |wanted: &str| {
            let (_, help, value) = Stats::TABLE.iter().find(|(name, ..)| *name == wanted).unwrap();
            (*help, value(&stats))
        };
        assert_eq!(read("datagrams_in"), ("Datagrams received, keep-alives included", 3));
        assert_eq!(read("connections_open"), ("Streams open now", 1));
    }
}
