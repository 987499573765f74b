//! What sockets and links report becomes inputs of the shards.

use std::sync::{Arc, OnceLock};

use link::{Links, PeerId};
use node::admin::Condition;
use node::shard::{self, Inbox};
use proto::{Sip, frame::Kind};
use proxy::stateless::overloaded;
use sip::{Message, parse};
use transport::{Event, Flow, Transport};

use crate::engine::Input;
use crate::keeper;
use crate::metrics::Meter;

/// Fewest and most seconds after which an overloaded node wants to be asked again.
const RETRY_AFTER: std::ops::Range<u64> = 2..10;

/// The way into the shards, shared by everything that reads.
pub(crate) struct Intake {
    pub(crate) inboxes: Vec<Inbox<Input>>,
    pub(crate) keeper: Inbox<keeper::Input>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) limits: parse::Limits,
    /// Holds while a core has a link.
    pub(crate) linked: Condition,
    /// Set once both are up; overload is answered through them.
    pub(crate) transport: OnceLock<Transport>,
    pub(crate) links: OnceLock<Links>,
}

impl Intake {
    fn inbox(&self, call_id: &[u8]) -> Option<&Inbox<Input>> {
        self.inboxes.get(shard::of(call_id, self.inboxes.len()))
    }

    fn to_all(&self, input: impl Fn() -> Input) {
        for inbox in &self.inboxes {
            inbox.deliver(input());
        }
    }

    /// A message on a flow; beyond what the inbox holds, a request is answered with 503 at once.
    fn message(&self, flow: Flow, message: Message) {
        let Some(inbox) = self.inbox(message.call_id()) else { return };
        if let Err(Input::FromUa { message, .. }) = inbox.try_send(Input::FromUa { flow, message }) {
            self.meter.overload.inc();
            if let (Some(answer), Some(transport)) = (overloaded(&message, RETRY_AFTER), self.transport.get())
            {
                let _ = transport.send(&flow, answer.encode());
            }
        }
    }

    /// What the link reports. Says whether a frame was taken.
    pub(crate) fn link(&self, event: link::Event) -> Result<(), link::Full> {
        match event {
            link::Event::Up { peer, hello, .. } => {
                self.meter.links.inc();
                self.linked.ready();
                let weight = hello.capacity.max(1);
                self.to_all(|| Input::CoreUp { core: peer, name: hello.name.clone(), weight });
                self.keeper.deliver(keeper::Input::CoreUp(peer));
                Ok(())
            }
            link::Event::Down { peer, .. } => {
                if self.meter.links.dec() <= 1 {
                    self.linked.unready("no core has a link");
                }
                self.to_all(|| Input::CoreDown(peer));
                self.keeper.deliver(keeper::Input::CoreDown(peer));
                Ok(())
            }
            link::Event::Frame { peer, frame: Kind::Sip(sip) } => self.frame(peer, &sip),
            link::Event::Frame { peer, frame: Kind::Drain(_) } => {
                tracing::info!(core = peer.0, "core drains");
                self.to_all(|| Input::CoreDrains(peer));
                Ok(())
            }
            link::Event::Frame { peer, frame: Kind::Flows(flows) } => {
                self.keeper.try_send(keeper::Input::Flows(peer, flows)).map_err(|_| link::Full)
            }
            // Frames of a newer version are none of ours.
            link::Event::Frame { .. } => Ok(()),
        }
    }

    fn frame(&self, core: PeerId, sip: &Sip) -> Result<(), link::Full> {
        // A copy of its own: the frame is a slice of everything that the link read at once.
        let bytes = bytes::Bytes::copy_from_slice(&sip.message);
        let Ok(message) = parse::message(bytes, &self.limits) else {
            self.meter.malformed_frames.inc();
            return Ok(());
        };
        let Some(inbox) = self.inbox(message.call_id()) else { return Ok(()) };
        if let Err(Input::FromCore { message, .. }) = inbox.try_send(Input::FromCore { core, message }) {
            self.meter.overload.inc();
            if let (Some(answer), Some(links)) = (overloaded(&message, RETRY_AFTER), self.links.get()) {
                let lane = transaction::lane(answer.call_id());
                let frame = Sip { message: answer.encode(), ..Sip::default() };
                let _ = links.send(core, lane, Kind::Sip(frame));
            }
            return Err(link::Full);
        }
        Ok(())
    }
}

impl transport::Sink for Intake {
    fn deliver(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            match event {
                Event::Message { flow, message } => self.message(flow, message),
                Event::FlowUp(flow) => self.to_all(|| Input::FlowUp(flow)),
                Event::FlowDown(flow) => {
                    self.to_all(|| Input::FlowDown(flow));
                    self.keeper.deliver(keeper::Input::FlowDown(flow));
                }
                // One that finds no room counts as not answered, as if the network had lost it.
                Event::Pong { flow, ping } => {
                    let _ = self.keeper.try_send(keeper::Input::Answered { flow, ping });
                }
            }
        }
    }
}
