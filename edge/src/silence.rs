//! INVITEs that a datagram flow swallows: a NAT that has lost its mapping says nothing, and Timer B is 32 s. Pure.
//!
//! ```text
//! INVITE ──200 ms, no answer──► Silent, for the keeper ──pings, none answered──► FlowSilent ──► 430 (RFC 5626 §5.3.1)
//! ```
//!
//! A phone that is only slow answers the pings, and nothing happens. One that never answers OPTIONS has Timer B, as
//! everywhere. Only what has had no answer at all is given up: a phone that has rung may still be picked up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use transaction::ClientId;
use transport::Flow;

use crate::engine::{Edge, Output};
use crate::hop::Hop;
use crate::ping::is_datagram;

/// RFC 3261 §17.2.1: by then a UA has sent a 100 if it has nothing better.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// INVITEs on datagram flows that have just left, in the order of their times.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    sent: VecDeque<(Instant, ClientId, Flow)>,
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
            if self.layer.is_unheard(client) {
                self.on_transport_error(client, now);
                self.branches.remove(&client);
                self.layer.abandon(client);
            }
        }
    }
}
