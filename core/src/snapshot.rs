//! Answers an edge that asks which flows it had before it was started again: `FlowsOf` and `Flows` of the link.
//!
//! It goes by the engines, which have calls to serve: a task reads one portion from the store and sends it. The edge asks
//! for the next one when it has worked on this one, so nothing piles up anywhere; the place in the list stands in the
//! question, so any core can go on.

use std::sync::Arc;

use bytes::Bytes;
use link::{Links, PeerId};
use location::{LocationStore, Page};
use node::clock;
use proto::frame::Kind;
use proto::{FlowEntry, Flows, FlowsOf};
use registrar::{Binding, UnixTime};
use sip::Aor;
use tokio::sync::Semaphore;

use crate::flows::token;

/// Addresses in one portion: it fits a frame with ten contacts each of several hundred bytes only now and then, so
/// [`LARGEST`] cuts it.
const PORTION: u32 = 200;
/// Bytes of the entries of one portion, within what a frame of the link may hold.
const LARGEST: usize = 64 * 1024;
/// Edges that are answered at one time: each answer is a query of its own.
const AT_ONCE: usize = 2;

/// Reads portions and sends them.
pub(crate) struct Snapshots<S> {
    store: Arc<S>,
    permits: Arc<Semaphore>,
}

impl<S: LocationStore> Snapshots<S> {
    pub(crate) fn new(store: Arc<S>) -> Self {
        Self { store, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers a question on a task of its own. One that comes while others are answered is dropped: the edge asks again.
    pub(crate) fn answer(&self, edge: PeerId, question: FlowsOf, links: Links) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let now = UnixTime(clock::unix_now().as_secs());
            let after = Aor::parse(&question.after).ok();
            match store.flows_of(&question.edge, now, after.as_ref(), PORTION).await {
                Ok(page) => {
                    let flows = portion(question.request, page, now);
                    if let Err(error) = links.send(edge, 0, Kind::Flows(flows)) {
                        tracing::debug!(%error, "a portion of flows was not sent");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, edge = question.edge, "cannot read the flows of an edge");
                }
            }
            drop(permit);
        });
    }
}

/// What an edge is told of a page. A page that is too large ends early, at the border of an address.
pub fn portion(request: u64, page: Page<(Aor, Binding)>, now: UnixTime) -> Flows {
    let mut flows = Flows { request, last: page.next.is_none(), ..Flows::default() };
    let mut size = 0;
    let mut done: Option<Aor> = None;
    for (aor, binding) in page.items {
        if size > LARGEST && done.as_ref().is_some_and(|done| *done != aor) {
            (flows.last, flows.next) = (false, done.map_or_else(String::new, |aor| aor.to_string()));
            return flows;
        }
        let entry = entry(&aor, &binding, now);
        size += entry.as_ref().map_or(0, |it| it.token.len() + it.aor.len() + it.contact.len() + 32);
        flows.entries.extend(entry);
        done = Some(aor);
    }
    flows.next = page.next.map_or_else(String::new, |aor| aor.to_string());
    flows
}

/// `None` for a binding whose Path names no flow.
fn entry(aor: &Aor, binding: &Binding, now: UnixTime) -> Option<FlowEntry> {
    let token = token(binding.path.first()?.as_bytes())?;
    Some(FlowEntry {
        token: Bytes::copy_from_slice(token),
        aor: aor.to_string(),
        expires_at: binding.expires_at.0,
        expires_in: u32::try_from(binding.expires_at.0.saturating_sub(now.0)).unwrap_or(u32::MAX),
        contact: format!("<{}>{}", binding.contact, binding.params),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const NOW: UnixTime = UnixTime(1_000);

    fn binding(number: u32, path: &str) -> Binding {
        let path = [path, "<sip:below@proxy;lr>"];
        let binding = fixture::binding(&format!("sip:u{number}@10.0.0.1"), &path, NOW);
        Binding { params: ";reg-id=1".to_owned(), reg_id: Some(1), expires_at: NOW.after(60), ..binding }
    }

    fn aor(number: u32) -> Aor {
        Aor::parse(&format!("u{number:04}@example.com")).unwrap()
    }

    #[test]
    fn an_entry_is_what_the_edge_needs_to_ping() {
        let items =
            vec![(aor(1), binding(1, "<sip:token@edge-1;lr;ob>")), (aor(2), binding(2, "<sip:edge-1;lr>"))];
        let flows = portion(7, Page { items, next: None }, NOW);
        assert!(flows.last && flows.request == 7 && flows.next.is_empty());
        let [entry] = &flows.entries[..] else { panic!("{flows:?}") };
        assert_eq!(&entry.token[..], b"token");
        assert_eq!(
            (entry.aor.as_str(), entry.expires_at, entry.expires_in),
            ("sip:u0001@example.com", 1_060, 60)
        );
        assert_eq!(entry.contact, "<sip:u1@10.0.0.1>;reg-id=1");
    }

    #[test]
    fn a_portion_that_is_too_large_ends_early_and_loses_nobody() {
        let long = "x".repeat(1_000);
        let all: Vec<_> = (0..200)
            .flat_map(|number| {
                let binding = Binding { params: format!(";p={long}"), ..binding(number, "<sip:t@e;lr>") };
                [(aor(number), binding.clone()), (aor(number), binding)]
            })
            .collect();
        let (mut seen, mut after) = (0, None);
        loop {
            let items = all.iter().filter(|(aor, _)| Some(aor) > after.as_ref()).cloned().collect();
            let flows = portion(1, Page { items, next: None }, NOW);
            seen += flows.entries.len();
            let size: usize =
                flows.entries.iter().map(|it| it.contact.len() + it.token.len() + it.aor.len()).sum();
            assert!(size < 96 * 1024, "a frame holds it: {size}");
            if flows.last {
                break;
            }
            after = Some(Aor::parse(&flows.next).unwrap());
        }
        assert_eq!(seen, all.len());
    }
}
