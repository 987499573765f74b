//! Watchers: subscriptions to the registration state of one address-of-record (RFC 3680, RFC 6665).
//!
//! A watcher holds all that its dialog needs (RFC 3261 §12) and what it has still to be told. It is part of the
//! [`Record`](crate::Record) that it watches and stored with it, so whoever holds the record can go on with the
//! subscription, and a change and the news of it are one write.

use crate::{Binding, UnixTime};

/// RFC 3680 §4.10: a watcher is told no more often than once in this many seconds.
pub const NOTIFY_INTERVAL: u32 = 5;

/// Contacts whose events are kept for one NOTIFY. A record has fewer; only those that come and go reach it.
const MAX_NOTICES: usize = 32;

/// One subscription, the notifier's side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watcher {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// The notifier's tag.
    pub local_tag: String,
    /// The subscriber's tag.
    pub remote_tag: String,
    /// To of the SUBSCRIBE without its tag: From of every NOTIFY.
    pub local: String,
    /// From of the SUBSCRIBE without its tag: To of every NOTIFY.
    pub remote: String,
    /// The remote target: the URI in the subscriber's Contact.
    pub target: String,
    /// The route set, the first hop on top: Record-Route of the SUBSCRIBE (RFC 3261 §12.1.1).
    pub route: Vec<String>,
    /// CSeq of the last NOTIFY; 0 before the first.
    pub cseq: u32,
    /// CSeq of the last SUBSCRIBE.
    pub remote_cseq: u32,
    /// The `id` parameter of Event, which every NOTIFY repeats.
    pub event_id: Option<String>,
    /// Documents sent so far, which is the version of the next one (RFC 3680 §5.1).
    pub version: u32,
    /// The first second in which the subscription no longer counts.
    pub expires_at: UnixTime,
    /// When the last SUBSCRIBE came.
    pub updated_at: UnixTime,
    /// When the last NOTIFY was made.
    pub notified_at: UnixTime,
    /// Who has proven to be the subscriber: an address-of-record.
    pub subscriber: String,
    /// What has happened since the last NOTIFY, the last event of each contact.
    pub notices: Vec<Notice>,
    /// More has happened than is kept: the next document has to tell the full state.
    pub is_behind: bool,
}

/// What has happened to one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Why it is in its state.
    pub event: ContactEvent,
    /// The binding after the event, or the last one before it ended.
    pub binding: Binding,
}

/// The transitions of a contact, RFC 3680 §4.7.1, as far as this registrar makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContactEvent {
    /// A REGISTER has added it.
    Registered,
    /// A REGISTER has prolonged it.
    Refreshed,
    /// Its time was over.
    Expired,
    /// An operator has removed it; the UA may register again.
    Deactivated,
    /// A REGISTER has removed or replaced it.
    Unregistered,
}

impl ContactEvent {
    /// The value of the `event` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Refreshed => "refreshed",
            Self::Expired => "expired",
            Self::Deactivated => "deactivated",
            Self::Unregistered => "unregistered",
        }
    }

    /// The event with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Registered, Self::Refreshed, Self::Expired, Self::Deactivated, Self::Unregistered]
            .into_iter()
            .find(|event| event.as_str() == name)
    }

    /// True when the contact is bound afterwards.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Registered | Self::Refreshed => true,
            Self::Expired | Self::Deactivated | Self::Unregistered => false,
        }
    }
}

impl Watcher {
    /// True until `expires_at`.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.expires_at > now
    }

    /// True if both are one subscription, whatever has become of it.
    pub fn is_same_dialog(&self, other: &Self) -> bool {
        self.call_id == other.call_id
            && self.local_tag == other.local_tag
            && self.remote_tag == other.remote_tag
            && self.event_id == other.event_id
    }

    /// When the next NOTIFY is due: at the end of the subscription, or when what has happened may be told.
    pub fn due_at(&self) -> UnixTime {
        if !self.has_news() {
            return self.expires_at;
        }
        self.expires_at.min(self.notified_at.after(NOTIFY_INTERVAL))
    }

    /// True when something has happened since the last NOTIFY.
    pub fn has_news(&self) -> bool {
        self.is_behind || !self.notices.is_empty()
    }

    /// Keeps for the next NOTIFY what has happened to a contact. What was kept about it before is over.
    pub fn note(&mut self, event: ContactEvent, binding: &Binding) {
        let is_it = |notice: &Notice| notice.binding.is_same_contact(binding);
        if let Some(notice) = self.notices.iter_mut().find(|notice| is_it(notice)) {
            *notice = Notice { event, binding: binding.clone() };
        } else if self.notices.len() < MAX_NOTICES {
            self.notices.push(Notice { event, binding: binding.clone() });
        } else {
            self.notices.clear();
            self.is_behind = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, binding};

    #[test]
    fn events_have_the_names_of_rfc_3680() {
        for name in ["registered", "refreshed", "expired", "deactivated", "unregistered"] {
            assert_eq!(ContactEvent::parse(name).map(ContactEvent::as_str), Some(name));
        }
        assert_eq!(ContactEvent::parse("Registered"), None);
    }

    #[test]
    fn news_are_due_five_seconds_after_the_last_ones() {
        let mut watcher = Watcher { expires_at: NOW.after(100), notified_at: NOW, ..Watcher::default() };
        assert_eq!(watcher.due_at(), NOW.after(100));
        watcher.notices.push(Notice { event: ContactEvent::Registered, binding: binding("sip:a@192.0.2.1") });
        assert_eq!(watcher.due_at(), NOW.after(5), "RFC 3680 §4.10");
        watcher.expires_at = NOW.after(3);
        assert_eq!(watcher.due_at(), NOW.after(3));
    }
}
