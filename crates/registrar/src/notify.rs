//! What the watchers of a record are to be told, and when: RFC 3680 §4.7, §4.10, RFC 6665 §4.2.2.
//!
//! A change of the bindings is noted for every watcher ([`note`]). Whoever was told nothing for
//! [`NOTIFY_INTERVAL`] seconds is told at once, the others when that time is over ([`tell`]): until then it is kept in
//! the record, which says by its [`due_at`](Record::due_at) when to look again.
//!
//! The record is stored first, the NOTIFY is sent then. Who dies in between has used up a version of the document, and
//! the subscriber sees the gap (RFC 3680 §5.2).

use sip::Aor;

use crate::reginfo::{self, Scope};
use crate::watcher::{ContactEvent, NOTIFY_INTERVAL, Notice, Watcher};
use crate::{Binding, Record, UnixTime};

/// One NOTIFY, to be sent once the record is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The dialog; its CSeq is that of this NOTIFY.
    pub watcher: Watcher,
    /// Of the subscription, after this NOTIFY.
    pub state: SubscriptionState,
    /// The document, if there is something to tell.
    pub body: Option<String>,
}

/// The value of Subscription-State, RFC 6665 §4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// It goes on for that many seconds.
    Active(u32),
    /// It has ended, because its time is over or the subscriber wanted it (§4.2.1.4: both are `timeout`).
    Terminated,
}

/// What has happened between two states of the bindings of a record, contact by contact (RFC 3680 §4.7.2). A binding that is `gone` without being over has met
/// with that event.
pub fn changes(before: &[Binding], after: &[Binding], gone: ContactEvent, now: UnixTime) -> Vec<Notice> {
    let ended = before.iter().filter(|old| after.iter().all(|new| !new.is_same_contact(old)));
    let ended = ended.map(|old| {
        let event = if old.is_live(now) { gone } else { ContactEvent::Expired };
        Notice { event, binding: old.clone() }
    });
    let begun = after.iter().filter_map(|new| {
        let old = before.iter().find(|old| old.is_live(now) && old.is_same_contact(new));
        let event = match old {
            None => ContactEvent::Registered,
            Some(old) if is_same_registration(old, new) => return None,
            Some(_) => ContactEvent::Refreshed,
        };
        Some(Notice { event, binding: new.clone() })
    });
    ended.chain(begun).collect()
}

/// True when no REGISTER has touched the binding in between.
fn is_same_registration(old: &Binding, new: &Binding) -> bool {
    old.updated_at == new.updated_at && old.cseq == new.cseq && old.call_id == new.call_id
}

/// Keeps for every watcher what has happened.
pub fn note(record: &mut Record, notices: &[Notice]) {
    for watcher in &mut record.watchers {
        for notice in notices {
            watcher.note(notice.event, &notice.binding);
        }
    }
}

/// Takes from the record what may be told now, and the watchers whose time is over.
pub fn tell(record: &mut Record, aor: &Aor, now: UnixTime) -> Vec<News> {
    let mut news = Vec::new();
    let bindings = &record.bindings;
    record.watchers.retain_mut(|watcher| {
        if !watcher.is_live(now) {
            let scope = watcher.has_news().then(|| scope_of(watcher));
            news.push(one(watcher, bindings, aor, scope, SubscriptionState::Terminated, now));
            return false;
        }
        if watcher.has_news() && watcher.notified_at.after(NOTIFY_INTERVAL) <= now {
            let state = SubscriptionState::Active(watcher.expires_at.remaining(now));
            news.push(one(watcher, bindings, aor, Some(scope_of(watcher)), state, now));
        }
        true
    });
    news
}

/// What is to be told when a record has become another: [`note`] and [`tell`] for a REGISTER that was applied.
pub fn follow(before: &Record, after: &mut Record, aor: &Aor, now: UnixTime) -> Vec<News> {
    if after.watchers.is_empty() {
        return Vec::new();
    }
    let notices = changes(&before.bindings, &after.bindings, ContactEvent::Unregistered, now);
    note(after, &notices);
    tell(after, aor, now)
}

/// Makes one NOTIFY and counts it.
pub(crate) fn one(
    watcher: &mut Watcher,
    bindings: &[Binding],
    aor: &Aor,
    scope: Option<Scope>,
    state: SubscriptionState,
    now: UnixTime,
) -> News {
    let notices = std::mem::take(&mut watcher.notices);
    let body = scope.map(|scope| reginfo::document(aor, bindings, &notices, scope, watcher.version, now));
    watcher.version = watcher.version.saturating_add(u32::from(body.is_some()));
    watcher.cseq = watcher.cseq.saturating_add(1);
    watcher.notified_at = now;
    watcher.is_behind = false;
    News { watcher: watcher.clone(), state, body }
}

fn scope_of(watcher: &Watcher) -> Scope {
    if watcher.is_behind { Scope::Full } else { Scope::Partial }
}

#[cfg(test)]
mod tests;
