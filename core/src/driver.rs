//! The hands of a core's shard: outputs of the engine become frames on links and questions to the store.

use std::sync::Arc;

use bytes::Bytes;
use link::{Links, PeerId, SendError};
use location::{Answer, Handle, Query};
use node::shard::{self, Inbox};
use proto::{Sip, frame::Kind};
use sip::{Summary, parse};

use crate::engine::{Input, Output, QueryId};
use crate::events;
use crate::inquiries::Inquiries;
use crate::metrics::Meter;
use crate::notify::Notify;

/// What one shard does with its outputs.
pub(crate) struct Driver {
    pub(crate) links: Links,
    pub(crate) store: Handle,
    /// Of all shards.
    pub(crate) inboxes: Vec<Inbox<Input>>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) inquiries: Arc<Inquiries>,
    pub(crate) shard: usize,
}

impl shard::Driver<Output> for Driver {
    fn perform(&mut self, output: Output) {
        match output {
            Output::ToEdge { edge, lane, bytes } => self.to_edge(edge, lane, bytes),
            Output::Ask(id, query) => self.ask(id, query),
            Output::Notify(notify) => self.notify(notify),
            Output::Report(counters) => self.meter.reports.publish(self.shard, *counters),
            Output::Why(id, why) => self.inquiries.answer(id, why),
        }
    }
}

impl Driver {
    fn to_edge(&self, edge: PeerId, lane: u64, bytes: Bytes) {
        self.trace(&bytes, edge);
        let frame = Sip { message: bytes.clone(), ..Sip::default() };
        match self.links.send(edge, lane, Kind::Sip(frame)) {
            Ok(()) => {}
            // The loss of the link comes as an event of its own.
            Err(SendError::Down) => {
                self.meter.unsent.inc();
            }
            Err(_) => {
                self.meter.unsent.inc();
                // Nobody repeats it on a reliable hop, so the engine has to know.
                self.tell(|inbox| _ = inbox.try_send(Input::NotSent(bytes)));
            }
        }
    }

    /// Tells the log what leaves: target `wire`, level `trace`. Nothing is read or formatted unless it listens.
    fn trace(&self, bytes: &Bytes, edge: PeerId) {
        if !tracing::enabled!(target: "wire", tracing::Level::TRACE) {
            return;
        }
        if let Ok(message) = parse::message(bytes.clone(), &parse::Limits::default()) {
            let Summary { start, cseq, call_id, via, route, path } = Summary::of(&message);
            let peers = self.links.peers();
            let to = peers.iter().find(|info| info.peer == edge).map(|info| info.name.as_str());
            tracing::trace!(target: "wire", to, call_id, cseq, via, route, path, "{start}");
        }
    }

    /// Tells this shard something.
    fn tell(&self, what: impl FnOnce(&Inbox<Input>)) {
        if let Some(inbox) = self.inboxes.get(self.shard) {
            what(inbox);
        }
    }

    /// To the shard of the watcher's Call-ID. A full one has more urgent things; the watcher sees by the version that it
    /// has missed something.
    fn notify(&self, notify: Box<Notify>) {
        let shard = shard::of(notify.news.watcher.call_id.as_bytes(), self.inboxes.len());
        if let Some(inbox) = self.inboxes.get(shard) {
            let _ = inbox.try_send(Input::Notify(notify));
        }
    }

    /// A queue that is full is a store that cannot answer: the engine says 503.
    fn ask(&self, id: QueryId, query: Query) {
        if self.store.ask(events::question(self.shard, id), query).is_err() {
            self.meter.store_overload.inc();
            self.tell(|inbox| inbox.deliver(Input::Answer(id, Answer::Unavailable)));
        }
    }
}
