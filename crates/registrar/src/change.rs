//! What has become of the bindings of a record, one by one: RFC 3261 §10.3 step 7 for those who follow it from outside.
//!
//! A watcher (RFC 3680) is told the newest state of a contact. Who bills, pushes or replicates needs every step:
//! [`between`] names all of them, in an order in which they can be applied to a copy of the record.

use crate::{Binding, UnixTime};

/// One step of one binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingChange {
    /// What it was.
    pub event: BindingEvent,
    /// When.
    pub at: UnixTime,
    /// The binding afterwards, or the last one before it ended.
    pub binding: Binding,
}

/// What can become of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindingEvent {
    /// A REGISTER has added it.
    Registered,
    /// It is reached as before: it was prolonged, or a detail of it is another one.
    Refreshed,
    /// It is reached another way: by another contact URI, Path or edge.
    Moved,
    /// A REGISTER has removed it, or put another one in its place.
    Unregistered,
    /// Its time was over.
    Expired,
    /// An operator has removed it.
    Deactivated,
}

impl BindingEvent {
    const ALL: [Self; 6] = [
        Self::Registered,
        Self::Refreshed,
        Self::Moved,
        Self::Unregistered,
        Self::Expired,
        Self::Deactivated,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Refreshed => "refreshed",
            Self::Moved => "moved",
            Self::Unregistered => "unregistered",
            Self::Expired => "expired",
            Self::Deactivated => "deactivated",
        }
    }

    /// The event with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }

    /// True when the binding is there afterwards.
    pub const fn is_bound(self) -> bool {
        match self {
            Self::Registered | Self::Refreshed | Self::Moved => true,
            Self::Unregistered | Self::Expired | Self::Deactivated => false,
        }
    }
}

/// The steps from one state of a record's bindings to the next: first what ended, then what was added or has changed. A
/// binding that is gone although its time was not over has met with `gone`.
///
/// Whoever applies them to a copy of `before`, by the [key](Binding::key) of the binding, has `after`.
pub fn between(
    before: &[Binding],
    after: &[Binding],
    gone: BindingEvent,
    now: UnixTime,
) -> Vec<BindingChange> {
    let step = |event, binding: &Binding| BindingChange { event, at: now, binding: binding.clone() };
    let ended = before.iter().filter_map(|old| {
        if !old.is_live(now) {
            // What comes under the same key is a new binding.
            return (!after.contains(old)).then(|| step(BindingEvent::Expired, old));
        }
        let is_left = after.iter().any(|new| new.has_key_of(old));
        (!is_left).then(|| step(gone, old))
    });
    let begun = after.iter().filter_map(|new| {
        let old = before.iter().find(|old| old.has_key_of(new) && (old.is_live(now) || *old == new));
        match old {
            None => Some(step(BindingEvent::Registered, new)),
            Some(old) if old == new => None,
            Some(old) if is_reached_alike(old, new) => Some(step(BindingEvent::Refreshed, new)),
            Some(_) => Some(step(BindingEvent::Moved, new)),
        }
    });
    ended.chain(begun).collect()
}

fn is_reached_alike(old: &Binding, new: &Binding) -> bool {
    old.contact == new.contact && old.path == new.path && old.edge == new.edge
}

#[cfg(test)]
mod tests {
    use super::BindingEvent::{Deactivated, Expired, Moved, Refreshed, Registered, Unregistered};
    use super::*;
    use crate::fixture::{NOW, apply, binding, register};
    use crate::{Record, expire};
    use sip::Aor;

    fn steps(before: &[Binding], after: &[Binding]) -> Vec<(BindingEvent, String)> {
        let steps = between(before, after, Unregistered, NOW);
        assert!(steps.iter().all(|step| step.at == NOW));
        steps.into_iter().map(|step| (step.event, step.binding.contact)).collect()
    }

    fn flow(contact: &str, reg_id: u32) -> Binding {
        Binding { instance: Some("urn:uuid:1".to_owned()), reg_id: Some(reg_id), ..binding(contact) }
    }

    #[test]
    fn events_have_names() {
        for event in BindingEvent::ALL {
            assert_eq!(BindingEvent::parse(event.as_str()), Some(event));
        }
        assert_eq!(BindingEvent::parse("Registered"), None);
    }

    #[test]
    fn what_is_the_same_is_no_step() {
        let two = [binding("sip:a@192.0.2.1"), flow("sip:b@192.0.2.1", 1)];
        assert_eq!(steps(&two, &two), []);
        let over = Binding { expires_at: NOW, ..binding("sip:a@192.0.2.1") };
        assert_eq!(steps(std::slice::from_ref(&over), std::slice::from_ref(&over)), []);
    }

    #[test]
    fn a_binding_comes_is_refreshed_moves_and_goes() {
        let first = flow("sip:a@192.0.2.1", 1);
        let text = |contact: &str| contact.to_owned();
        assert_eq!(steps(&[], std::slice::from_ref(&first)), [(Registered, text("sip:a@192.0.2.1"))]);
        let longer = Binding { expires_at: NOW.after(7_200), cseq: 2, ..first.clone() };
        let both = [first, longer.clone()];
        assert_eq!(steps(&both[..1], &both[1..]), [(Refreshed, text("sip:a@192.0.2.1"))]);
        for moved in [
            Binding { edge: "edge-b".to_owned(), ..longer.clone() },
            Binding { path: vec!["<sip:t@edge-b;lr>".to_owned()], ..longer.clone() },
            Binding { contact: text("sip:a@192.0.2.2"), ..longer },
        ] {
            let contact = moved.contact.clone();
            assert_eq!(steps(&both[1..], &[moved]), [(Moved, contact)], "RFC 5626 §6: the flow is the key");
        }
        assert_eq!(steps(&both[1..], &[]), [(Unregistered, text("sip:a@192.0.2.1"))]);
        assert_eq!(between(&both[1..], &[], Deactivated, NOW)[0].event, Deactivated);
        assert_eq!(
            steps(&both[1..], &[flow("sip:a@192.0.2.1", 2)]),
            [(Unregistered, text("sip:a@192.0.2.1")), (Registered, text("sip:a@192.0.2.1"))]
        );
    }

    #[test]
    fn what_was_over_has_expired_even_if_it_comes_again() {
        let over = Binding { expires_at: NOW, ..binding("sip:a@192.0.2.1") };
        let again = binding("sip:a@192.0.2.1");
        let contact = || "sip:a@192.0.2.1".to_owned();
        assert_eq!(steps(std::slice::from_ref(&over), &[]), [(Expired, contact())]);
        assert_eq!(steps(&[over], &[again]), [(Expired, contact()), (Registered, contact())]);
    }

    /// Applies steps as the rustdoc says.
    fn follow(copy: &mut Vec<Binding>, steps: Vec<BindingChange>) {
        for step in steps {
            copy.retain(|own| own.key() != step.binding.key());
            if step.event.is_bound() {
                copy.push(step.binding);
            }
        }
    }

    #[test]
    fn a_copy_that_follows_is_the_record() {
        let mut record = Record::default();
        let mut copy = Vec::new();
        let mut now = NOW;
        let uuid = "+sip.instance=\"<urn:uuid:1>\"";
        for (n, contacts) in [
            "<sip:a@192.0.2.1>;expires=100, <sip:b@192.0.2.1>;expires=200".to_owned(),
            "<sip:a@192.0.2.1>;expires=300".to_owned(),
            format!("<sip:c@192.0.2.1>;reg-id=1;{uuid}"),
            format!("<sip:c@192.0.2.2>;reg-id=1;{uuid}"),
            "<sip:A@192.0.2.1>, <sip:d@192.0.2.1>".to_owned(),
            format!("<sip:c@192.0.2.3>;{uuid}"),
            "<sip:b@192.0.2.1>;expires=0".to_owned(),
            "*\r\nExpires: 0".to_owned(),
        ]
        .into_iter()
        .enumerate()
        {
            let cseq = u32::try_from(n).unwrap() + 1;
            let headers =
                format!("Supported: path, outbound\r\nPath: <sip:t@edge-a;lr;ob>\r\nContact: {contacts}\r\n");
            let change = apply(&record, &register("call", cseq, &headers), now).unwrap();
            follow(&mut copy, between(&record.bindings, &change.record.bindings, Unregistered, now));
            record = change.record;
            let sorted = |bindings: &[Binding]| {
                let mut all = bindings.to_vec();
                all.sort_by_key(Binding::key);
                all
            };
            assert_eq!(sorted(&copy), sorted(&record.bindings), "after {contacts}");
            now = now.after(90);
            let aor = Aor::parse("alice@example.com").unwrap();
            if let Some(expiry) = expire::expire(&record, &aor, now) {
                follow(&mut copy, between(&record.bindings, &expiry.record.bindings, Unregistered, now));
                record = expiry.record;
                assert_eq!(sorted(&copy), sorted(&record.bindings), "after the end of {contacts}");
            }
        }
        assert_eq!(copy, []);
    }
}
