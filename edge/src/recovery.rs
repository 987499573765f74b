//! How an edge gets back the flows that it had before a restart. Pure.
//!
//! A flow over UDP is nothing but two addresses, so it is as good as before, and its NAT must not forget it: the edge asks a
//! core which bindings came through it, portion by portion, and pings those whose token is genuine and whose socket it
//! still has. The streams of before are gone; the cores are told, and need not find out call by call. A core that does not
//! answer, or dies, is replaced by another one: the place in the list is in the question.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::PeerId;
use proto::frame::Kind;
use proto::{FlowEntry, Flows, FlowsOf};
use sip::{Aor, Contact};

use crate::keeper::{Keeper, Output};

/// How far it has come.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Tells answers to this question from others.
    request: u64,
    after: String,
    asked: Option<Asked>,
    is_over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    core: PeerId,
    /// When another core is asked.
    until: Instant,
}

/// Longer than a store that is slow; it is no hurry, NATs wait half a minute.
const PATIENCE: Duration = Duration::from_secs(5);

impl Recovery {
    pub(crate) fn new(request: u64) -> Self {
        Self { request, after: String::new(), asked: None, is_over: false }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.asked.map(|asked| asked.until)
    }
}

impl Keeper {
    pub(crate) fn on_core_up(&mut self, core: PeerId, now: Instant) {
        self.cores.insert(core);
        self.tell_lost(core);
        if self.recovery.asked.is_none() {
            self.ask(core, now);
        }
    }

    pub(crate) fn on_core_down(&mut self, core: PeerId, now: Instant) {
        self.cores.remove(&core);
        if self.recovery.asked.is_some_and(|asked| asked.core == core) {
            self.ask_another(core, now);
        }
    }

    pub(crate) fn on_recovery_due(&mut self, now: Instant) {
        if let Some(asked) = self.recovery.asked.filter(|asked| asked.until <= now) {
            self.ask_another(asked.core, now);
        }
    }

    /// A portion has come.
    pub(crate) fn on_flows(&mut self, core: PeerId, flows: &Flows, now: Instant) {
        if flows.request != self.recovery.request || self.recovery.is_over {
            return;
        }
        for entry in &flows.entries {
            // Foreign or forged, or of a phone that is gone: nothing to keep.
            let _ = self.recover(entry, now);
        }
        self.recovery.request = self.recovery.request.wrapping_add(1);
        self.recovery.is_over = flows.last;
        self.recovery.asked = None;
        if flows.last {
            tracing::info!(flows = self.counters.recovered, "flows of before are kept again");
            return;
        }
        self.recovery.after.clone_from(&flows.next);
        self.ask(core, now);
    }

    fn recover(&mut self, entry: &FlowEntry, now: Instant) -> Option<()> {
        let flow = self.settings.keys.verify(&entry.token).ok()?;
        if flow.protocol.is_reliable() {
            // A connection of this start lives, or was reported when it ended.
            if flow.connection >> 32 != u64::from(self.epoch) {
                self.tell_closed(Bytes::copy_from_slice(&entry.token), entry.aor.clone(), now);
            }
            return None;
        }
        if !self.settings.serves(&flow) {
            return None;
        }
        let aor = Aor::parse(&entry.aor).ok()?;
        let contact = Contact::parse(entry.contact.as_bytes()).ok()?;
        let (number, new) = self.registered.recover(&flow, &aor, &contact, entry.expires_in, now)?;
        if new {
            self.counters.recovered += 1;
            self.keep(number, now);
        }
        Some(())
    }

    /// Asks the next core in order, which may be the same.
    fn ask_another(&mut self, core: PeerId, now: Instant) {
        self.recovery.asked = None;
        let after = self.cores.range(PeerId(core.0.saturating_add(1))..).next();
        if let Some(next) = after.or_else(|| self.cores.first()).copied() {
            self.ask(next, now);
        }
    }

    fn ask(&mut self, core: PeerId, now: Instant) {
        if self.recovery.is_over {
            return;
        }
        self.recovery.asked = Some(Asked { core, until: now + PATIENCE });
        let question = FlowsOf {
            request: self.recovery.request,
            edge: self.settings.name.clone(),
            after: self.recovery.after.clone(),
        };
        self.out.push_back(Output::ToCore(core, Kind::FlowsOf(question)));
    }
}
