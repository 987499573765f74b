//! The registrations whose flows end at this edge, learned from the answers that passed it (RFC 5626 §5). Pure.
//!
//! A 200 to a REGISTER lists every binding of the address (RFC 3261 §10.3 step 8), those of other flows and of other
//! edges, too. The contacts that the REGISTER itself named belong to its flow; one of ours that the list leaves out is
//! gone. An answer that was asked for before a binding was made says nothing about it, so two answers that overtake each
//! other take nothing away.
//!
//! One million phones are one million entries: a flow, the URI of one contact and the addresses, which flows share.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::shard;
use sip::{Aor, Contact};
use smallvec::SmallVec;
use transport::{Flow, Protocol};

/// What a 200 to a REGISTER says.
#[derive(Debug)]
pub struct Registration {
    /// The flow that the REGISTER came on.
    pub flow: Flow,
    /// For which address.
    pub aor: Aor,
    /// When it was sent to a core.
    pub asked: Instant,
    /// Every binding of the address.
    pub contacts: Vec<Listed>,
    /// Whether the UA was told to be heard in time (Flow-Timer).
    pub supervised: bool,
}

/// A binding in the list of a 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is compared by: [`key`].
    pub key: u64,
    /// Seconds that it has left.
    pub expires: u32,
    /// The URI of its contact, if the REGISTER has named it.
    pub own: Option<Bytes>,
}

/// What a binding of one address is compared by: URI as written, instance and reg-id, all of which the registrar repeats.
pub fn key(contact: &Contact<'_>) -> u64 {
    let instance = contact.instance().map_or(0, |instance| shard::hash(instance.as_bytes()));
    let reg_id = contact.reg_id().map_or(0, u64::from);
    shard::hash(contact.addr.uri.as_bytes()) ^ instance.rotate_left(17) ^ reg_id.wrapping_mul(ODD)
}

/// A number without pattern.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A flow with registrations.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) flow: Flow,
    /// Request-URI of a ping.
    pub(crate) contact: Box<[u8]>,
    aors: SmallVec<[Aor; 1]>,
    /// Nothing of it expires before this second.
    soonest: u32,
    /// The number of the last ping.
    pub(crate) round: u32,
    /// When that was, on the table's [`clock`](Registered::clock).
    pub(crate) sent: u32,
    /// How many milliseconds the slowest ping of late has taken.
    pub(crate) slowest: u16,
    /// Pings in a row that were not answered.
    pub(crate) unanswered: u8,
    pub(crate) health: Health,
    /// The last ping waits for its answer.
    pub(crate) waiting: bool,
}

/// What is known of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has answered no ping, and maybe never will.
    Unknown,
    /// It answers pings.
    Answers,
    /// It used to.
    Lost,
}

/// A binding of an address that lies on a flow of ours.
#[derive(Debug, Clone, Copy)]
struct Binding {
    key: u64,
    /// When it was learned, in milliseconds.
    learned: u64,
    flow: u32,
    /// In seconds.
    expires: u32,
}

type Bindings = SmallVec<[Binding; 1]>;

/// The table.
#[derive(Debug)]
pub(crate) struct Registered {
    start: Instant,
    flows: Vec<Option<Entry>>,
    free: Vec<u32>,
    numbers: HashMap<Flow, u32, ahash::RandomState>,
    aors: HashMap<Aor, Bindings, ahash::RandomState>,
    by_protocol: [u64; PROTOCOLS.len()],
    /// Lost flows that are not in the table any more: for the keeper to take.
    pub(crate) forgotten: Vec<Flow>,
}

/// In the order of their gauges.
pub(crate) const PROTOCOLS: [Protocol; 5] =
    [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];

/// What came of a registration.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Its flow, if it has one now, and whether that is new.
    pub(crate) flow: Option<(u32, bool)>,
    /// Flows that have no binding any more: they are out of the table.
    pub(crate) ended: SmallVec<[u32; 1]>,
}

impl Registered {
    pub(crate) fn new(hasher: ahash::RandomState, start: Instant) -> Self {
        Self {
            start,
            flows: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::with_hasher(hasher.clone()),
            aors: HashMap::with_hasher(hasher),
            by_protocol: [0; PROTOCOLS.len()],
            forgotten: Vec::new(),
        }
    }

    /// How many flows there are, by protocol.
    pub(crate) fn by_protocol(&self) -> [u64; PROTOCOLS.len()] {
        self.by_protocol
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Entry> {
        self.flows.get(index(number))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.flows.get_mut(index(number))?.as_mut()
    }

    pub(crate) fn number(&self, flow: &Flow) -> Option<u32> {
        self.numbers.get(flow).copied()
    }

    /// The flows that are lost.
    pub(crate) fn lost(&self) -> impl Iterator<Item = Flow> {
        self.flows.iter().flatten().filter(|entry| entry.health == Health::Lost).map(|entry| entry.flow)
    }

    /// The addresses on a flow.
    pub(crate) fn aors(&self, number: u32) -> &[Aor] {
        self.get(number).map_or(&[], |entry| &entry.aors)
    }

    /// Takes over what a 200 says.
    pub(crate) fn learn(&mut self, registration: &Registration, now: Instant) -> Learned {
        let Registration { flow, aor, contacts, .. } = registration;
        let own = contacts.iter().filter(|contact| contact.own.is_some() && contact.expires > 0);
        let number = own.clone().next().map(|_| self.open(flow));
        let (seconds, millis, asked) = (self.seconds(now), self.millis(now), self.millis(registration.asked));
        let mut before = self.aors.remove(aor).unwrap_or_default();
        let held: SmallVec<[u32; 4]> = before.iter().map(|binding| binding.flow).collect();
        before.retain(|binding| {
            binding.expires > seconds
                && match contacts.iter().find(|contact| contact.key == binding.key) {
                    Some(contact) => contact.own.is_none(),
                    None => binding.learned > asked,
                }
        });
        for contact in own {
            let Some((number, _)) = number else { break };
            let expires = seconds.saturating_add(contact.expires);
            before.push(Binding { key: contact.key, learned: millis, flow: number, expires });
            if let (Some(uri), Some(entry)) = (&contact.own, self.get_mut(number)) {
                entry.soonest = entry.soonest.min(expires);
                if *entry.contact != **uri {
                    entry.contact = uri.as_ref().into();
                }
            }
        }
        let mut learned = Learned { flow: number, ended: SmallVec::new() };
        if let Some((number, _)) = number
            && !held.contains(&number)
        {
            self.note(number, aor);
        }
        for number in held {
            if before.iter().all(|binding| binding.flow != number) && self.forsake(number, aor) {
                learned.ended.push(number);
            }
        }
        if !before.is_empty() {
            self.aors.insert(aor.clone(), before);
        }
        learned
    }

    /// A binding that a core remembers from before this process began; `None` when it is known better already.
    pub(crate) fn recover(
        &mut self,
        flow: &Flow,
        aor: &Aor,
        contact: &Contact<'_>,
        expires: u32,
        now: Instant,
    ) -> Option<(u32, bool)> {
        let key = key(contact);
        let known = self.aors.get(aor).is_some_and(|bindings| bindings.iter().any(|it| it.key == key));
        if known || expires == 0 {
            return None;
        }
        let (number, new) = self.open(flow);
        let expires = self.seconds(now).saturating_add(expires);
        // Learned at the beginning: every answer knows it better.
        let binding = Binding { key, learned: 0, flow: number, expires };
        let bindings = self.aors.entry(aor.clone()).or_default();
        let held = bindings.iter().any(|binding| binding.flow == number);
        bindings.push(binding);
        if !held {
            self.note(number, aor);
        }
        if let Some(entry) = self.get_mut(number) {
            entry.soonest = entry.soonest.min(expires);
            if entry.contact.is_empty() {
                entry.contact = contact.addr.uri.as_bytes().into();
            }
        }
        Some((number, new))
    }

    /// Lets go of what has expired on a flow; true when nothing is left and the flow is out of the table.
    pub(crate) fn expire(&mut self, number: u32, now: Instant) -> bool {
        let seconds = self.seconds(now);
        let Some(entry) = self.get_mut(number).filter(|entry| entry.soonest <= seconds) else { return false };
        let aors = std::mem::take(&mut entry.aors);
        let (mut left, mut soonest) = (SmallVec::new(), u32::MAX);
        for aor in aors {
            let Some(bindings) = self.aors.get_mut(&aor) else { continue };
            bindings.retain(|binding| binding.flow != number || binding.expires > seconds);
            let next = bindings.iter().filter(|binding| binding.flow == number).map(|it| it.expires).min();
            if bindings.is_empty() {
                self.aors.remove(&aor);
            }
            if let Some(next) = next {
                soonest = soonest.min(next);
                left.push(aor);
            }
        }
        let is_over = left.is_empty();
        if let Some(entry) = self.get_mut(number) {
            (entry.aors, entry.soonest) = (left, soonest);
        }
        if is_over {
            self.close(number);
        }
        is_over
    }

    /// A flow is no more, and with it what was registered on it; gives the addresses.
    pub(crate) fn remove(&mut self, number: u32) -> SmallVec<[Aor; 1]> {
        let Some(entry) = self.close(number) else { return SmallVec::new() };
        for aor in &entry.aors {
            if let Some(bindings) = self.aors.get_mut(aor) {
                bindings.retain(|binding| binding.flow != number);
                if bindings.is_empty() {
                    self.aors.remove(aor);
                }
            }
        }
        entry.aors
    }

    /// True when nothing is remembered at all.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
            && self.aors.is_empty()
            && self.flows.iter().all(Option::is_none)
            && self.by_protocol == [0; 5]
    }

    /// The entry of a flow, and whether it is new.
    fn open(&mut self, flow: &Flow) -> (u32, bool) {
        if let Some(number) = self.number(flow) {
            return (number, false);
        }
        let entry = Entry {
            flow: *flow,
            contact: Box::default(),
            aors: SmallVec::new(),
            soonest: u32::MAX,
            round: 0,
            sent: 0,
            slowest: 0,
            unanswered: 0,
            health: Health::Unknown,
            waiting: false,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            u32::try_from(self.flows.len() - 1).expect("memory ends before the numbers do")
        });
        if let Some(place) = self.flows.get_mut(index(number)) {
            *place = Some(entry);
        }
        self.numbers.insert(*flow, number);
        self.count(flow.protocol, 1);
        (number, true)
    }

    fn close(&mut self, number: u32) -> Option<Entry> {
        let entry = self.flows.get_mut(index(number))?.take()?;
        self.numbers.remove(&entry.flow);
        self.free.push(number);
        self.count(entry.flow.protocol, -1);
        if entry.health == Health::Lost {
            self.forgotten.push(entry.flow);
        }
        Some(entry)
    }

    /// An address has its first binding on this flow. Looks for nothing: a trunk has thousands of addresses on one flow.
    fn note(&mut self, number: u32, aor: &Aor) {
        if let Some(entry) = self.get_mut(number) {
            entry.aors.push(aor.clone());
        }
    }

    /// An address has no binding on this flow any more; true when that was the last one and the flow is out of the table.
    fn forsake(&mut self, number: u32, aor: &Aor) -> bool {
        let Some(entry) = self.get_mut(number) else { return false };
        entry.aors.retain(|other| other != aor);
        entry.aors.is_empty() && self.close(number).is_some()
    }

    fn count(&mut self, protocol: Protocol, change: i64) {
        let place = PROTOCOLS.iter().position(|other| *other == protocol);
        if let Some(count) = place.and_then(|place| self.by_protocol.get_mut(place)) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Milliseconds, over and over: enough to tell how long a ping takes.
    pub(crate) fn clock(&self, now: Instant) -> u32 {
        u32::try_from(self.millis(now) & u64::from(u32::MAX)).expect("the upper half is gone")
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(self.since(now).as_secs()).unwrap_or(u32::MAX)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(self.since(now).as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
