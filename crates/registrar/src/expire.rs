//! The end of what nobody has refreshed: RFC 3261 §10.3 ("an expired binding is removed"), RFC 3680 §4.7.1 (expired),
//! RFC 6665 §4.2.1.4 (a subscription that is not refreshed is removed).

use sip::Aor;

use crate::notify::{self, News};
use crate::watcher::ContactEvent;
use crate::{Record, UnixTime};

/// A record without what was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// To be stored in place of the version that it was made from.
    pub record: Record,
    /// What the watchers are to be told, once it is stored.
    pub news: Vec<News>,
    /// Bindings that were taken out.
    pub expired: usize,
}

/// What a record that is due at `now` becomes; `None` when nothing in it is.
///
/// A record that is empty although the store has found it due is one that could not be read: it is stored as it is seen.
pub fn expire(record: &Record, aor: &Aor, now: UnixTime) -> Option<Expiry> {
    if record.due_at().is_some_and(|due| due > now) {
        return None;
    }
    let mut next = record.clone();
    next.bindings.retain(|binding| binding.is_live(now));
    let expired = record.bindings.len() - next.bindings.len();
    if expired > 0 && !next.watchers.is_empty() {
        // What is live is not touched, so nothing but the end of the others has happened.
        let notices = notify::changes(&record.bindings, &next.bindings, ContactEvent::Expired, now);
        notify::note(&mut next, &notices);
    }
    let news = notify::tell(&mut next, aor, now);
    Some(Expiry { record: next, news, expired })
}
