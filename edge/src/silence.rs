//! INVITEs that a datagram flow swallows: a NAT that has lost its mapping says nothing, and Timer B is 32 s. Pure.
//!
//! ```text
//! INVITE ──200 ms, no answer──► Silent, for the keeper ──pings, none answered──► FlowSilent ──► 430 (RFC 5626 §5.3.1)
//!                                      any answered: Timer B                          └─ 1xx after all ──► CANCEL
//! ```
//!
//! A phone that is only slow answers the pings, and nothing happens. One that never answers OPTIONS has Timer B, as
//! everywhere. Only what has had no answer at all is given up: a phone that has rung may still be picked up.
//!
//! A phone that is slower than its pings have ever been is taken for a dead one, and rings when the caller has had his
//! answer. So the INVITE keeps its transaction until Timer B, and the first provisional response is answered with CANCEL
//! (RFC 3261 §9.1). What remains is a 2xx without one before, or in the round trip of the CANCEL: the server transaction has sent its
//! final response and takes no other (§17.2.1), so that 2xx goes nowhere, and the phone, which gets no ACK, ends the call itself (§13.3.1.4).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sip::StatusCode;
use transaction::ClientId;
use transport::Flow;

use crate::engine::{Edge, Output};
use crate::hop::Hop;
use crate::ping::is_datagram;

/// RFC 3261 §17.2.1: by then a UA has sent a 100 if it has nothing better.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);
/// INVITEs that are given up and may be answered yet. Of more than these nothing is remembered: a late answer is dropped.
const MOST: usize = 4_096;

/// INVITEs on datagram flows that have had no answer.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// Those that have just left, in the order of their times.
    sent: VecDeque<(Instant, ClientId, Flow)>,
    /// Those that are given up, until they are answered or Timer B ends them.
    given_up: BTreeSet<ClientId>,
}

impl Silence {
    /// An INVITE leaves.
    pub(crate) fn watch(&mut self, client: ClientId, hop: Hop, now: Instant) {
        if let Hop::Ua(flow) = hop
            && is_datagram(&flow)
        {
            self.sent.push_back((now + PATIENCE, client, flow));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.sent.front().map(|(due, ..)| *due)
    }

    /// A client transaction has ended, or is heard of; true for one that was given up.
    pub(crate) fn forget(&mut self, client: ClientId) -> bool {
        !self.given_up.is_empty() && self.given_up.remove(&client)
    }
}

impl Edge {
    /// Asks the keeper about the flows whose phones have not answered yet.
    pub(crate) fn on_silence_due(&mut self, now: Instant) {
        while self.silence.next().is_some_and(|due| due <= now) {
            let Some((_, client, flow)) = self.silence.sent.pop_front() else { return };
            if self.layer.is_unheard(client) {
                self.out.push_back(Output::Silent(flow));
            }
        }
    }

    /// The flow is lost: what has had no answer on it gets none.
    pub(crate) fn on_flow_silent(&mut self, flow: Flow, now: Instant) {
        self.next_hops.lose(flow);
        for client in self.layer.clients_of(Hop::Ua(flow)) {
            if self.layer.is_unheard(client) && self.branches.contains_key(&client) {
                self.on_transport_error(client, now);
                self.branches.remove(&client);
                self.give_up(client);
            }
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn give_up(&mut self, client: ClientId) {
        if self.silence.given_up.len() < MOST && self.layer.give_up(client) {
            self.silence.given_up.insert(client);
        } else {
            self.layer.abandon(client);
        }
    }

    /// A response that no request waits for: it is late, or that of a next hop to OPTIONS.
    pub(crate) fn on_late_answer(&mut self, client: ClientId, status: StatusCode, now: Instant) {
        if self.silence.forget(client) {
            self.counters.late_answers += 1;
        } else {
            self.on_next_hop_answer(client, status, now);
        }
    }

    /// There is life on a flow.
    pub(crate) fn heard(&mut self, flow: Flow) {
        if flow.protocol.is_reliable() {
            // What arrives proves that the stream is open, even if its opening went unheard.
            self.streams.insert(flow);
        }
        if self.next_hops.find(&flow) {
            // The other shards have it as lost, too.
            self.out.push_back(Output::Heard(flow));
        }
    }
}
