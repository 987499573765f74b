//! What comes out of the layer: messages for the transport, events for the TU.

use std::collections::VecDeque;

use bytes::Bytes;
use sip::{Request, Response};

use crate::{ClientId, Peer, ServerId};

/// One thing to do, in the order given.
#[derive(Debug)]
pub enum Output<P> {
    /// Put a message on the wire.
    Send {
        /// The hop it leaves over.
        to: P,
        /// The whole message.
        bytes: Bytes,
        /// [`lane`] of its Call-ID: messages of one Call-ID keep their order when they share a stream.
        lane: u64,
    },
    /// Tell the TU.
    Event(Event<P>),
}

/// What the TU has to know.
#[derive(Debug)]
pub enum Event<P> {
    /// A new server transaction: any method but ACK; also a CANCEL that matches no transaction (to be answered with 481, §9.2).
    Request {
        /// Answer with this.
        id: ServerId,
        /// The request as received.
        request: Request,
        /// The hop it came over.
        from: P,
    },
    /// A CANCEL matched an INVITE that has no final yet. The CANCEL itself is answered (§9.2).
    Cancel {
        /// The INVITE to be cancelled.
        invite: ServerId,
        /// The CANCEL's Reason values (RFC 3326), for the CANCELs of the branches.
        reason: Option<Bytes>,
    },
    /// An ACK that acknowledges no non-2xx final of ours: it belongs to a 2xx and is forwarded (§16.11, RFC 6026 §7.1).
    Ack {
        /// The ACK as received.
        request: Request,
        /// The hop it came over.
        from: P,
    },
    /// A response of a client transaction: every provisional one, the first final, every 2xx of an INVITE (RFC 6026 §7.2).
    Response {
        /// The transaction it answers.
        id: ClientId,
        /// The response as received, our Via still on top.
        response: Response,
    },
    /// A response to nothing. A proxy drops it (RFC 6026 §7.3) unless it knows better.
    StrayResponse {
        /// The response as received.
        response: Response,
        /// The hop it came over.
        from: P,
    },
    /// Timer B or F; or a cancelled INVITE stayed without a final for 64·T1 (§9.1).
    Timeout {
        /// The transaction that waits no more.
        id: ClientId,
    },
    /// The hop failed before a final came (§17.1.4).
    TransportError {
        /// The transaction that has lost its hop.
        id: ClientId,
    },
    /// Terminated: the id means nothing any more.
    ClientEnded {
        /// The transaction.
        id: ClientId,
    },
    /// Terminated: the id means nothing any more.
    ServerEnded {
        /// The transaction.
        id: ServerId,
    },
}

/// A hash of a Call-ID that is the same in every process and every release.
#[must_use]
pub fn lane(call_id: &[u8]) -> u64 {
    // Eight bytes at a time; folded after each multiplication, so that the low bits depend on all of them.
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = PRIME ^ call_id.len() as u64;
    for chunk in call_id.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
        hash ^= hash >> 29;
    }
    hash.wrapping_mul(PRIME) ^ (hash >> 32)
}

/// Where a transaction's messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<P> {
    pub(crate) peer: P,
    pub(crate) lane: u64,
}

impl<P: Peer> Hop<P> {
    pub(crate) fn is_reliable(&self) -> bool {
        self.peer.is_reliable()
    }
}

/// Outputs waiting to be polled.
#[derive(Debug)]
pub(crate) struct Outbox<P> {
    queue: VecDeque<Output<P>>,
}

impl<P: Peer> Outbox<P> {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, hop: Hop<P>, bytes: Bytes) {
        self.queue.push_back(Output::Send { to: hop.peer, bytes, lane: hop.lane });
    }

    pub(crate) fn event(&mut self, event: Event<P>) {
        self.queue.push_back(Output::Event(event));
    }

    pub(crate) fn pop(&mut self) -> Option<Output<P>> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn lanes_are_even_and_depend_on_every_byte() {
        let mut lanes = BTreeMap::new();
        for n in 0..16_000 {
            *lanes.entry(lane(format!("{n}-4711@192.0.2.1").as_bytes()) % 16).or_insert(0) += 1;
        }
        assert_eq!(lanes.len(), 16);
        assert!(lanes.values().all(|count| (800..1200).contains(count)), "{lanes:?}");
        assert_ne!(lane(b"a"), lane(b"a\0"));
        assert_ne!(lane(b"12345678a"), lane(b"12345678b"));
    }
}
