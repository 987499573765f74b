//! What links and the store report becomes inputs of the shards.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use link::{Links, PeerId};
use location::{Answer, Database};
use node::admin::Condition;
use node::shard::{self, Inbox};
use proto::{Sip, Source, frame::Kind};
use proxy::stateless::overloaded;
use sip::parse;

use crate::engine::{Input, QueryId};
use crate::metrics::Meter;
use crate::snapshot::Snapshots;

/// Fewest and most seconds after which an overloaded node wants to be asked again.
const RETRY_AFTER: std::ops::Range<u64> = 2..10;

/// The way into the shards, shared by everything that reads.
pub(crate) struct Intake {
    pub(crate) inboxes: Vec<Inbox<Input>>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) limits: parse::Limits,
    /// Holds while an edge has a link.
    pub(crate) linked: Condition,
    /// Set once the link is up; overload is answered through it.
    pub(crate) links: OnceLock<Links>,
    /// Set once the store is open.
    pub(crate) snapshots: OnceLock<Snapshots<Database>>,
}

/// Bits of a question's number that the engine uses; the shard stands above.
const SHARD_SHIFT: u32 = 48;

/// The number under which the store knows a question of a shard.
pub(crate) fn question(shard: usize, id: QueryId) -> u64 {
    (shard as u64) << SHARD_SHIFT | (id & ((1 << SHARD_SHIFT) - 1))
}

impl Intake {
    fn to_all(&self, input: impl Fn() -> Input) {
        for inbox in &self.inboxes {
            inbox.deliver(input());
        }
    }

    /// The store has answered; as many answers wait as questions were asked, so this is bounded.
    pub(crate) fn answer(&self, question: u64, answer: Answer) {
        let shard = usize::try_from(question >> SHARD_SHIFT).unwrap_or(0);
        if let Some(inbox) = self.inboxes.get(shard) {
            inbox.deliver(Input::Answer(question & ((1 << SHARD_SHIFT) - 1), answer));
        }
    }

    /// What the link reports. Says whether a frame was taken.
    pub(crate) fn link(&self, event: link::Event) -> Result<(), link::Full> {
        match event {
            link::Event::Up { peer, hello, .. } => {
                self.meter.links.inc();
                self.linked.ready();
                self.to_all(|| Input::EdgeUp {
                    edge: peer,
                    name: hello.name.clone(),
                    advertised: hello.advertised.clone(),
                });
                Ok(())
            }
            link::Event::Down { peer, .. } => {
                if self.meter.links.dec() <= 1 {
                    self.linked.unready("no edge has a link");
                }
                self.to_all(|| Input::EdgeDown(peer));
                Ok(())
            }
            link::Event::Frame { peer, frame: Kind::Sip(sip) } => self.frame(peer, &sip),
            link::Event::Frame { peer, frame: Kind::FlowDown(down) } => {
                let tokens: Vec<Bytes> = own(std::iter::once(&down.token).chain(&down.more));
                tracing::debug!(edge = peer.0, reason = down.reason, tokens = tokens.len(), "flows lost");
                self.to_all(|| Input::FlowsDown { edge: peer, tokens: tokens.clone() });
                Ok(())
            }
            link::Event::Frame { frame: Kind::FlowUp(up), .. } => {
                let tokens: Vec<Bytes> = own(&up.tokens);
                self.to_all(|| Input::FlowsUp(tokens.clone()));
                Ok(())
            }
            link::Event::Frame { peer, frame: Kind::FlowsOf(question) } => {
                if let (Some(snapshots), Some(links)) = (self.snapshots.get(), self.links.get()) {
                    snapshots.answer(peer, question, links.clone());
                }
                Ok(())
            }
            // Frames of a newer version are none of ours.
            link::Event::Frame { .. } => Ok(()),
        }
    }

    fn frame(&self, edge: PeerId, sip: &Sip) -> Result<(), link::Full> {
        // A copy of its own: the frame is a slice of everything that the link read at once.
        let bytes = Bytes::copy_from_slice(&sip.message);
        let Ok(message) = parse::message(bytes, &self.limits) else {
            self.meter.malformed_frames.inc();
            return Ok(());
        };
        let Some(inbox) = self.inboxes.get(shard::of(message.call_id(), self.inboxes.len())) else {
            return Ok(());
        };
        let source = sip.source.as_ref().map(source).unwrap_or_default();
        let local = sip.source.as_ref().map(|source| source.local.clone()).unwrap_or_default();
        if let Err(Input::FromEdge { message, .. }) =
            inbox.try_send(Input::FromEdge { edge, message, source, local })
        {
            self.meter.overload.inc();
            if let (Some(answer), Some(links)) = (overloaded(&message, RETRY_AFTER), self.links.get()) {
                let lane = transaction::lane(answer.call_id());
                let frame = Sip { message: answer.encode(), ..Sip::default() };
                let _ = links.send(edge, lane, Kind::Sip(frame));
            }
            return Err(link::Full);
        }
        Ok(())
    }
}

/// Copies of their own: the originals are slices of everything that the link read at once.
fn own<'a>(tokens: impl IntoIterator<Item = &'a Bytes>) -> Vec<Bytes> {
    tokens.into_iter().map(|token| Bytes::copy_from_slice(token)).collect()
}

/// Where a message entered the cluster: `udp:192.0.2.1:5060`.
fn source(source: &Source) -> String {
    match source.remote() {
        Some(remote) => format!("{}:{remote}", source.transport),
        None => source.transport.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_a_listener_is() {
        let v4 = Source {
            transport: "udp".into(),
            address: Bytes::from_static(&[192, 0, 2, 1]),
            port: 5060,
            ..Source::default()
        };
        assert_eq!(source(&v4), "udp:192.0.2.1:5060");
        let mut octets = [0; 16];
        octets[15] = 1;
        let v6 = Source { address: Bytes::copy_from_slice(&octets), transport: "tcp".into(), ..v4 };
        assert_eq!(source(&v6), "tcp:[::1]:5060");
    }

    #[test]
    fn a_question_finds_its_shard() {
        assert_eq!(question(3, 7) >> SHARD_SHIFT, 3);
        assert_eq!(question(3, 7) & 0xffff, 7);
    }
}
