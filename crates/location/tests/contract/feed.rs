//! The change feed: what is committed is in it, once, in order, whoever writes and whoever gives the positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{self, Cluster, MARIADB, NOW, POSTGRES, aor, binding, loaded, open, saved};
use location::feed::{Change, Consumer};
use location::{ChangeFeed, LocationStore, Save, Saved};
use registrar::change::{BindingEvent, between};
use registrar::{Binding, BindingKey, Record, UnixTime};
use sip::Aor;

mod following;

contract!(
    a_save_brings_its_changes,
    what_is_refused_is_not_in_the_feed,
    positions_follow_each_other_in_the_order_of_versions,
    large_batches_have_all_their_changes,
    every_field_of_a_binding_comes_back,
    a_position_that_is_not_there_is_no_place_to_go_on_from,
    an_interruption_is_a_gap,
    only_what_is_old_enough_goes,
    removing_is_in_the_feed,
    consumers_are_remembered,
);

/// A save that takes the record from `before` on.
fn step(user: &str, before: &Record, bindings: Vec<Binding>, now: UnixTime) -> Save {
    let changes = between(&before.bindings, &bindings, BindingEvent::Unregistered, now);
    Save {
        aor: aor(user),
        expected: before.version,
        record: Record { bindings, ..Record::default() },
        changes,
    }
}

/// Saves and gives the new record.
async fn stepped(store: &impl LocationStore, user: &str, before: &Record, bindings: Vec<Binding>) -> Record {
    let save = step(user, before, bindings, NOW);
    match store.save(std::slice::from_ref(&save)).await.unwrap()[..] {
        [Saved::Version(version)] => Record { version, ..save.record },
        ref other => panic!("{user}: {other:?}"),
    }
}

fn contact(n: usize) -> Binding {
    let reg_id = u32::try_from(n).unwrap();
    Binding { reg_id: Some(reg_id), ..binding(&format!("sip:{n}@192.0.2.1"), "edge", NOW) }
}

async fn begun<S: ChangeFeed>(store: &S) -> u64 {
    store.begin().await.unwrap();
    store.head().await.unwrap()
}

/// Gives all positions there are to give, and the head.
async fn sequenced(store: &impl ChangeFeed) -> u64 {
    loop {
        let done = store.sequence(1_000).await.unwrap();
        if done.count == 0 {
            assert_eq!(done.head, store.head().await.unwrap());
            return done.head;
        }
    }
}

async fn changes(store: &impl ChangeFeed, after: u64) -> Vec<Change> {
    store.changes(after, 1_000).await.unwrap().expect("it follows")
}

fn events(changes: &[Change]) -> Vec<(u64, BindingEvent, &str)> {
    changes.iter().map(|it| (it.position, it.change.event, it.change.binding.contact.as_str())).collect()
}

/// What somebody who follows the feed holds: bindings by their keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Copy(BTreeMap<(Aor, BindingKey), String>);

impl Copy {
    fn of(records: &[(Aor, Record)]) -> Self {
        let mut copy = Self::default();
        for (aor, record) in records {
            for binding in &record.bindings {
                copy.0.insert((aor.clone(), binding.key()), format!("{binding:?}"));
            }
        }
        copy
    }

    fn apply(&mut self, changes: &[Change]) {
        for Change { aor, change, .. } in changes {
            let key = (aor.clone(), change.binding.key());
            if change.event.is_bound() {
                self.0.insert(key, format!("{:?}", change.binding));
            } else {
                self.0.remove(&key);
            }
        }
    }
}

async fn a_save_brings_its_changes<S: LocationStore + ChangeFeed>(store: &S) {
    assert_eq!(store.head().await.unwrap(), 0);
    let head = begun(store).await;
    assert_eq!((head, begun(store).await), (1, 1));
    let first = stepped(store, "alice", &Record::default(), vec![contact(1), contact(2)]).await;
    assert_eq!(store.changes(head, 10).await.unwrap(), Some(vec![]), "it has no position yet");
    assert_eq!(sequenced(store).await, 3);
    let mut longer = contact(2);
    longer.expires_at = NOW.after(7_200);
    let second = stepped(store, "alice", &first, vec![longer]).await;
    stepped(store, "alice", &second, vec![]).await;
    assert_eq!(sequenced(store).await, 6);
    let found = changes(store, head).await;
    use BindingEvent::{Refreshed, Registered, Unregistered};
    assert_eq!(
        events(&found),
        [
            (2, Registered, "sip:1@192.0.2.1"),
            (3, Registered, "sip:2@192.0.2.1"),
            (4, Unregistered, "sip:1@192.0.2.1"),
            (5, Refreshed, "sip:2@192.0.2.1"),
            (6, Unregistered, "sip:2@192.0.2.1"),
        ]
    );
    assert_eq!((found[0].version, found[2].version), (first.version, second.version));
    assert_eq!(changes(store, 4).await, found[3..]);
    assert_eq!(store.changes(4, 1).await.unwrap().unwrap(), found[3..4]);
}

async fn what_is_refused_is_not_in_the_feed<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    let none = Record::default();
    let first = stepped(store, "alice", &none, vec![contact(1)]).await;
    let stale = Record { version: first.version + 7, ..first.clone() };
    let batch = [
        step("alice", &stale, vec![contact(2)], NOW),
        step("bob", &none, vec![contact(3)], NOW),
        step("alice", &none, vec![contact(4)], NOW),
        step("bob", &none, vec![contact(5)], NOW),
        step("alice", &first, vec![], NOW),
    ];
    let saved = store.save(&batch).await.unwrap();
    let is_stored: Vec<_> = saved.iter().map(|saved| matches!(saved, Saved::Version(_))).collect();
    assert_eq!(is_stored, [false, true, false, false, true]);
    sequenced(store).await;
    let found: Vec<_> = changes(store, head).await.into_iter().map(|it| (it.aor, it.change.event)).collect();
    let of_alice: Vec<_> = found.iter().filter(|(who, _)| *who == aor("alice")).map(|it| it.1).collect();
    assert_eq!(of_alice, [BindingEvent::Registered, BindingEvent::Unregistered]);
    assert_eq!(found.len(), 3);
    // A save that says no changes leaves none.
    self::saved(store, "carol", 0, vec![contact(1)]).await;
    assert_eq!(store.sequence(10).await.unwrap().count, 0);
}

async fn positions_follow_each_other_in_the_order_of_versions<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    let mut record = Record::default();
    for n in 1..=5 {
        record = stepped(store, "alice", &record, vec![contact(n), contact(n + 1)]).await;
    }
    // Smaller rounds than there are changes, and than one version has.
    let mut counts = Vec::new();
    loop {
        let done = store.sequence(3).await.unwrap();
        counts.push(done.count);
        if done.count == 0 {
            break;
        }
    }
    assert_eq!(counts, [3, 3, 3, 1, 0], "two for the first, then one goes and one comes");
    let found = changes(store, head).await;
    assert!(found.is_sorted_by_key(|it| it.version), "{found:?}");
    assert_eq!(found.iter().map(|it| it.position).collect::<Vec<_>>(), (2..=11).collect::<Vec<_>>());
    let mut copy = Copy::default();
    copy.apply(&found);
    assert_eq!(copy.0, Copy::of(&[(aor("alice"), record)]).0);
}

async fn large_batches_have_all_their_changes<S: LocationStore + ChangeFeed>(store: &S) {
    let mut head = begun(store).await;
    for count in [2, 9, 129, 300] {
        let name = |n: usize| format!("u{count}-{n}");
        let none = Record::default();
        let inserts: Vec<_> = (0..count).map(|n| step(&name(n), &none, vec![contact(n)], NOW)).collect();
        let saved = store.save(&inserts).await.unwrap();
        let updates = inserts.iter().zip(saved).enumerate().map(|(n, (insert, saved))| match saved {
            Saved::Version(version) => {
                let before = Record { version, ..insert.record.clone() };
                let longer = Binding { expires_at: NOW.after(7_200), ..contact(n) };
                step(&name(n), &before, vec![longer], NOW)
            }
            Saved::Conflict => panic!("{n} of {count} was there"),
        });
        store.save(&updates.collect::<Vec<_>>()).await.unwrap();
        let next = sequenced(store).await;
        assert_eq!(next - head, 2 * count as u64);
        let found = changes(store, head).await;
        let of_each = found.chunk_by(|one, other| one.aor == other.aor).count();
        assert!(found.len() == 2 * count && of_each >= count);
        let registered: BTreeSet<_> =
            found.iter().filter(|it| it.change.event == BindingEvent::Registered).map(|it| &it.aor).collect();
        assert_eq!(registered.len(), count);
        head = next;
    }
}

async fn every_field_of_a_binding_comes_back<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    let odd = Binding {
        contact: "sip:\u{e9}'\"%00\\@192.0.2.1;x=\"\u{1f4de}\"".to_owned(),
        user_agent: "Phone\t'1\"".to_owned(),
        ..contact(1)
    };
    let record = stepped(store, "alice", &Record::default(), vec![odd.clone()]).await;
    sequenced(store).await;
    let found = changes(store, head).await;
    assert_eq!(found[0].change.binding, odd);
    assert_eq!((&found[0].aor, found[0].version, found[0].change.at), (&aor("alice"), record.version, NOW));
}

async fn a_position_that_is_not_there_is_no_place_to_go_on_from<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    let mut record = Record::default();
    for n in 0..4 {
        record = stepped(store, "alice", &record, vec![contact(n)]).await;
    }
    let newest = sequenced(store).await;
    assert_eq!(store.changes(newest, 10).await.unwrap(), Some(vec![]));
    assert_eq!(store.changes(newest + 1, 10).await.unwrap(), None, "nobody was given that");
    assert_eq!(store.changes(u64::MAX, 10).await.unwrap(), None);
    assert!(store.changes(head, 10).await.unwrap().is_some());
    assert_eq!(store.changes(head - 1, 10).await.unwrap(), None);
    assert!(store.trim(NOW, 2).await.unwrap() > 0);
    assert_eq!(store.changes(head, 10).await.unwrap(), None);
    assert_eq!(changes(store, head + 2).await.first().map(|it| it.position), Some(head + 3));
}

async fn an_interruption_is_a_gap<S: LocationStore + ChangeFeed>(store: &S) {
    store.interrupt().await.unwrap();
    assert_eq!(store.head().await.unwrap(), 0, "the feed was never on");
    let head = begun(store).await;
    let record = stepped(store, "alice", &Record::default(), vec![contact(1)]).await;
    let before = sequenced(store).await;
    store.interrupt().await.unwrap();
    assert_eq!(store.changes(before, 10).await.unwrap(), None);
    let again = begun(store).await;
    assert_eq!((store.head().await.unwrap(), again), (before + 1, before + 1));
    assert_eq!(store.changes(again, 10).await.unwrap(), Some(vec![]));
    stepped(store, "alice", &record, vec![]).await;
    sequenced(store).await;
    assert_eq!(changes(store, head).await.len(), 1, "as far as the gap");
    assert_eq!(store.changes(before, 10).await.unwrap(), None);
    assert_eq!(changes(store, again).await.len(), 1);
}

async fn only_what_is_old_enough_goes<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    let mut record = Record::default();
    for n in 0..6_u32 {
        let now = NOW.after(n * 10);
        let save = step("alice", &record, vec![Binding { cseq: n, updated_at: now, ..contact(1) }], now);
        let Saved::Version(version) = store.save(std::slice::from_ref(&save)).await.unwrap()[0] else {
            panic!("nobody else writes")
        };
        record = Record { version, ..save.record };
    }
    assert_eq!(store.trim(NOW.after(100), 10).await.unwrap(), 0, "what has no position stays");
    let newest = sequenced(store).await;
    assert_eq!(store.trim(UnixTime(NOW.0 - 1), 10).await.unwrap(), 0);
    assert_eq!(store.trim(NOW.after(30), 3).await.unwrap(), 3);
    assert_eq!(store.trim(NOW.after(30), 3).await.unwrap(), 1);
    assert_eq!(store.trim(NOW.after(30), 3).await.unwrap(), 0);
    assert_eq!(changes(store, head + 4).await.len(), 2);
    assert_eq!(store.trim(NOW.after(100), 10).await.unwrap(), 2);
    assert_eq!(store.changes(newest, 10).await.unwrap(), Some(vec![]), "the head stays");
    assert_eq!(store.changes(newest - 1, 10).await.unwrap(), None);
}

async fn removing_is_in_the_feed<S: LocationStore + ChangeFeed>(store: &S) {
    let head = begun(store).await;
    saved(store, "alice", 0, vec![contact(1), contact(2)]).await;
    assert!(store.remove(&aor("alice"), None, Some(NOW.after(9))).await.unwrap());
    assert!(!store.remove(&aor("alice"), None, Some(NOW.after(9))).await.unwrap());
    sequenced(store).await;
    let found = changes(store, head).await;
    assert_eq!(found.len(), 2);
    assert!(
        found.iter().all(|it| it.change.event == BindingEvent::Deactivated && it.change.at == NOW.after(9))
    );
}

async fn consumers_are_remembered<S: ChangeFeed>(store: &S) {
    assert_eq!(store.consumers().await.unwrap(), []);
    let consumer =
        |name: &str, position, at| Consumer { name: name.to_owned(), position, updated_at: UnixTime(at) };
    for put in
        [consumer("push", 5, 1), consumer("billing", 7, 2), consumer("push", 9, 3), consumer("push", 8, 4)]
    {
        store.put_consumer(&put).await.unwrap();
    }
    assert_eq!(store.consumers().await.unwrap(), [consumer("billing", 7, 2), consumer("push", 8, 4)]);
    assert!(store.remove_consumer("billing").await.unwrap());
    assert!(!store.remove_consumer("billing").await.unwrap());
    assert_eq!(store.consumers().await.unwrap(), [consumer("push", 8, 4)]);
}

/// A core that dies between the commit and the position leaves its changes to the others.
#[tokio::test]
async fn what_a_core_has_committed_another_one_places() {
    let (one, folder) = common::sqlite().await;
    let head = begun(&one).await;
    stepped(&one, "alice", &Record::default(), vec![contact(1)]).await;
    drop(one);
    let two = open(folder.path()).await;
    assert_eq!(sequenced(&two).await, head + 1);
    assert_eq!(changes(&two, head).await.len(), 1);
}
