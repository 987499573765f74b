//! Bindings and records: what the location service keeps for one address-of-record (RFC 3261 §10, RFC 5626 §6).

use sip::Uri;

use crate::{UnixTime, Watcher};

/// One contact of an address-of-record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The contact URI as the UA wrote it: it becomes the Request-URI of a forwarded request.
    pub contact: String,
    /// The other header parameters of the Contact as written, each with its `;`; without `expires` and `q`.
    pub params: String,
    /// Preference in thousandths, 1000 when the UA gave none (RFC 3261 §20.10).
    pub q: u16,
    /// The first second in which the binding no longer counts.
    pub expires_at: UnixTime,
    /// Call-ID of the last REGISTER that touched it (RFC 3261 §10.3 step 7).
    pub call_id: String,
    /// CSeq number of that REGISTER.
    pub cseq: u32,
    /// The Path vector: the elements of the Path header field byte for byte, top to bottom (RFC 3327 §5.3).
    pub path: Vec<String>,
    /// Instance-id, `+sip.instance` without its `<>` (RFC 5626 §4.1); UUID URNs in lower case.
    pub instance: Option<String>,
    /// Names the flow among those of the instance; only where Outbound applies to the registration (RFC 5626 §6).
    pub reg_id: Option<u32>,
    /// Names the time in which the temporary GRUUs of its instance hold; the same in all bindings of an instance. It
    /// grows whenever those given out so far are invalid from now on (RFC 5627 §5.1). 0 without an instance.
    pub gruu_epoch: u64,
    /// User-Agent of the REGISTER, or empty.
    pub user_agent: String,
    /// Name of the edge that it came through.
    pub edge: String,
    /// Transport and address of the UA as the edge saw it.
    pub source: String,
    /// Since when the contact is reached this way: a refresh with the same contact, Path and edge leaves it as it is.
    /// Whenever a REGISTER creates the binding or moves it to another edge, it is equal to `updated_at`.
    pub registered_at: UnixTime,
    /// When the last REGISTER touched it.
    pub updated_at: UnixTime,
    /// Name of the core that wrote it.
    pub written_by: String,
}

impl Binding {
    /// True until `expires_at`.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.expires_at > now
    }

    /// What this binding is compared by.
    pub fn key(&self) -> BindingKey {
        BindingKey::of(&self.contact, self.instance.as_deref(), self.reg_id)
    }

    /// True if both have the same [`key`](Self::key).
    pub(crate) fn has_key_of(&self, other: &Self) -> bool {
        match (self.flow(), other.flow()) {
            (Some(own), Some(other)) => own == other,
            (None, None) => self.contact == other.contact,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn flow(&self) -> Option<(&str, u32)> {
        self.instance.as_deref().zip(self.reg_id)
    }

    /// True if both are one contact to a watcher: the same URI, instance and flow.
    pub(crate) fn is_same_contact(&self, other: &Self) -> bool {
        self.contact == other.contact && self.instance == other.instance && self.reg_id == other.reg_id
    }

    /// True if the contact URI is equivalent to `uri` by RFC 3261 §19.1.4.
    pub fn reaches(&self, uri: &Uri<'_>) -> bool {
        Uri::parse(self.contact.as_bytes()).is_ok_and(|own| own.equivalent(uri))
    }
}

/// What makes a binding the same binding (RFC 5626 §6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingKey {
    /// With Outbound: one flow of one UA instance, whatever the contact URI is.
    Instance {
        /// The instance-id.
        instance: String,
        /// The flow among those of the instance.
        reg_id: u32,
    },
    /// Without: the contact URI, compared by RFC 3261 §19.1.4. Two values that differ as text may mean the same.
    Contact {
        /// The URI as written.
        contact: String,
    },
}

impl BindingKey {
    pub(crate) fn of(contact: &str, instance: Option<&str>, reg_id: Option<u32>) -> Self {
        match (instance, reg_id) {
            (Some(instance), Some(reg_id)) => Self::Instance { instance: instance.to_owned(), reg_id },
            (Some(_), None) | (None, _) => Self::Contact { contact: contact.to_owned() },
        }
    }
}

/// All bindings of one address-of-record and who watches them, as they were at one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Grows with every write; 0 where nothing is stored yet.
    pub version: u64,
    /// In the order in which they were first registered. No two have the same key.
    pub bindings: Vec<Binding>,
    /// Subscriptions to the registration state (RFC 3680), in the order in which they were made.
    pub watchers: Vec<Watcher>,
}

impl Record {
    /// The bindings that have not expired.
    pub fn live(&self, now: UnixTime) -> impl Iterator<Item = &Binding> + Clone {
        self.bindings.iter().filter(move |binding| binding.is_live(now))
    }

    /// True when nobody is bound and nobody watches.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.watchers.is_empty()
    }

    /// When the record has to be looked at next: a binding or a watcher is over, or a watcher is to be told something.
    pub fn due_at(&self) -> Option<UnixTime> {
        let bindings = self.bindings.iter().map(|binding| binding.expires_at);
        bindings.chain(self.watchers.iter().map(Watcher::due_at)).min()
    }
}
