//! Record + update + now → the next record, RFC 3261 §10.3 steps 6 and 7, RFC 5626 §6 and RFC 5627 §5.1.
//!
//! All or nothing: either every contact of the request can be processed, or the record stays as it is. Expired
//! bindings are dropped on the way.
//!
//! # Repeated requests
//!
//! The cluster may process one REGISTER twice: its core dies after the commit and before the answer, and the edge asks
//! another core. The second time the CSeq is equal to the stored one, and §10.3 would let the request fail although
//! it was done. So a contact whose binding says that exactly this request has made it counts as processed, and is
//! left as it is. Anything else with an equal or lower CSeq is out of order and fails.

use sip::{Reject, StatusCode};

use crate::update::{Set, Update, Wanted, too_many_contacts};
use crate::{Binding, BindingKey, Origin, Policy, Record, UnixTime, Watcher, gruu};

/// What a REGISTER does to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record afterwards, without expired bindings; `version` is still that of the record it was made from.
    pub record: Record,
    /// Whether and what there is to store.
    pub kind: ChangeKind,
    /// What happened to which binding, in the order of the record and then of the request.
    pub events: Vec<Event>,
}

/// How much of the record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Nothing to store.
    None,
    /// Bindings live longer; where and how they are reached stays the same.
    Refresh,
    /// Bindings were added, removed or moved.
    Changed,
}

/// What happened to one binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is new.
    Inserted(BindingKey),
    /// It was refreshed or moved. The key is the new one.
    Updated(BindingKey),
    /// The UA removed it, or another contact took its place.
    Removed(BindingKey),
    /// Its time was over.
    Expired(BindingKey),
}

/// Applies `update` to `record` at `now`.
///
/// # Errors
/// 500 when the request is out of order (§10.3: "the update MUST be aborted and the request fails"), 403 when the
/// address-of-record would get more than [`Policy::max_contacts`] bindings.
pub fn changes(
    record: &Record,
    update: &Update,
    policy: &Policy,
    origin: &Origin<'_>,
    now: UnixTime,
) -> Result<Change, Reject> {
    match update {
        Update::Query => Ok(unchanged(record, now)),
        Update::RemoveAll { call_id, cseq } => remove_all(record, call_id, *cseq, now),
        Update::Set(set) => Draft::of(record, now).process(set, origin, now, policy),
    }
}

fn unchanged(record: &Record, now: UnixTime) -> Change {
    let bindings = record.live(now).cloned().collect();
    Change {
        record: Record { version: record.version, bindings, watchers: record.watchers.clone() },
        kind: ChangeKind::None,
        events: Vec::new(),
    }
}

/// §10.3 step 6.
fn remove_all(record: &Record, call_id: &str, cseq: u32, now: UnixTime) -> Result<Change, Reject> {
    if record.live(now).any(|binding| binding.call_id == call_id && binding.cseq >= cseq) {
        return Err(out_of_order());
    }
    let mut events = expired(record, now);
    events.extend(record.live(now).map(|binding| Event::Removed(binding.key())));
    let kind = if record.live(now).next().is_none() { ChangeKind::None } else { ChangeKind::Changed };
    let record = Record { version: record.version, bindings: Vec::new(), watchers: record.watchers.clone() };
    Ok(Change { record, kind, events })
}

/// The next record while the contacts of a request are taken in turn.
///
/// Every contact is compared with the bindings *before* the request: so the order of the contacts does not count,
/// although the comparison of §19.1.4 is not transitive.
struct Draft<'a> {
    version: u64,
    watchers: &'a [Watcher],
    slots: Vec<Slot<'a>>,
    added: Vec<Binding>,
    expired: Vec<Event>,
}

/// A live binding of the record and what becomes of it.
struct Slot<'a> {
    before: &'a Binding,
    after: After,
}

enum After {
    Same,
    Refreshed(Box<Binding>),
    Moved(Box<Binding>),
    Gone,
}

impl<'a> Draft<'a> {
    fn of(record: &'a Record, now: UnixTime) -> Self {
        let slots = record.live(now).map(|before| Slot { before, after: After::Same }).collect();
        Self {
            version: record.version,
            watchers: &record.watchers,
            slots,
            added: Vec::new(),
            expired: expired(record, now),
        }
    }

    /// §10.3 step 7.
    fn process(
        mut self,
        set: &Set,
        origin: &Origin<'_>,
        now: UnixTime,
        policy: &Policy,
    ) -> Result<Change, Reject> {
        let count_before = self.slots.len();
        for wanted in &set.contacts {
            self.take(wanted, set, origin, now)?;
        }
        let change = self.finish();
        // A limit that was lowered meanwhile does not stop anybody from refreshing what he has.
        let count = change.record.bindings.len();
        if count > policy.max_contacts && count > count_before {
            return Err(too_many_contacts());
        }
        Ok(change)
    }

    fn take(&mut self, wanted: &Wanted, set: &Set, origin: &Origin<'_>, now: UnixTime) -> Result<(), Reject> {
        let mut next = (wanted.expires > 0).then(|| bind(wanted, set, origin, now));
        if let Some((next, instance)) = next.as_mut().zip(wanted.instance.as_deref()) {
            let before = self.slots.iter().map(|slot| slot.before);
            next.gruu_epoch = gruu::next_epoch(before, instance, wanted.reg_id, set, now);
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.is_meant_by(wanted)) {
            if slot.before.call_id == set.call_id && slot.before.cseq >= set.cseq {
                if next.as_ref().is_some_and(|next| is_made_by(slot.before, next)) {
                    return Ok(());
                }
                return Err(out_of_order());
            }
            match (&slot.after, next.take()) {
                (After::Same, Some(next)) => slot.after = follow(slot.before, next),
                (After::Same, None) => slot.after = After::Gone,
                // Taken by an earlier contact of this request that is equivalent to the binding, but not to us.
                (After::Refreshed(_) | After::Moved(_) | After::Gone, left) => next = left,
            }
        }
        self.added.extend(next);
        Ok(())
    }

    fn finish(self) -> Change {
        let mut events = self.expired;
        let mut bindings = Vec::with_capacity(self.slots.len() + self.added.len());
        let (mut is_refreshed, mut is_changed) = (false, !self.added.is_empty());
        for slot in self.slots {
            match slot.after {
                After::Same => bindings.push(slot.before.clone()),
                After::Gone => {
                    is_changed = true;
                    events.push(Event::Removed(slot.before.key()));
                }
                After::Refreshed(after) => {
                    is_refreshed = true;
                    events.push(Event::Updated(after.key()));
                    bindings.push(*after);
                }
                After::Moved(after) => {
                    is_changed = true;
                    events.push(Event::Updated(after.key()));
                    bindings.push(*after);
                }
            }
        }
        events.extend(self.added.iter().map(|binding| Event::Inserted(binding.key())));
        bindings.extend(self.added);
        gruu::agree(&mut bindings);
        let kind = match (is_changed, is_refreshed) {
            (true, _) => ChangeKind::Changed,
            (false, true) => ChangeKind::Refresh,
            (false, false) => ChangeKind::None,
        };
        let record = Record { version: self.version, bindings, watchers: self.watchers.to_vec() };
        Change { record, kind, events }
    }
}

impl Slot<'_> {
    fn is_meant_by(&self, wanted: &Wanted) -> bool {
        wanted.means(&self.before.contact, self.before.instance.as_deref(), self.before.reg_id)
    }
}

/// The binding that a contact asks for.
fn bind(wanted: &Wanted, set: &Set, origin: &Origin<'_>, now: UnixTime) -> Binding {
    Binding {
        contact: wanted.contact.clone(),
        params: wanted.params.clone(),
        q: wanted.q,
        expires_at: now.after(wanted.expires),
        call_id: set.call_id.clone(),
        cseq: set.cseq,
        path: set.path.clone(),
        instance: wanted.instance.clone(),
        reg_id: wanted.reg_id,
        gruu_epoch: 0,
        user_agent: set.user_agent.clone(),
        edge: origin.edge.to_owned(),
        source: origin.source.to_owned(),
        registered_at: now,
        updated_at: now,
        written_by: origin.core.to_owned(),
    }
}

/// `after` in the place of `before`.
fn follow(before: &Binding, mut after: Binding) -> After {
    let is_same_way =
        before.contact == after.contact && before.path == after.path && before.edge == after.edge;
    if !is_same_way {
        return After::Moved(Box::new(after));
    }
    after.registered_at = before.registered_at;
    let is_same_ua = before.params == after.params
        && before.q == after.q
        && before.call_id == after.call_id
        && before.instance == after.instance
        && before.user_agent == after.user_agent
        && before.source == after.source;
    if is_same_ua { After::Refreshed(Box::new(after)) } else { After::Moved(Box::new(after)) }
}

/// True if the request that asks for `next` is the one that has made `before`.
fn is_made_by(before: &Binding, next: &Binding) -> bool {
    let interval = |b: &Binding| b.expires_at.0.saturating_sub(b.updated_at.0);
    before.cseq == next.cseq
        && before.contact == next.contact
        && before.params == next.params
        && before.q == next.q
        && before.path == next.path
        && interval(before) == interval(next)
}

fn expired(record: &Record, now: UnixTime) -> Vec<Event> {
    let over = record.bindings.iter().filter(|binding| !binding.is_live(now));
    over.map(|binding| Event::Expired(binding.key())).collect()
}

fn out_of_order() -> Reject {
    Reject::new(StatusCode::new(500)).because("CSeq Out of Order")
}

#[cfg(test)]
mod tests;
