//! What every store has to do, run on each of them.

use crate::common::{NOW, aor, binding, credentials, loaded, save, saved, user, watcher};
use location::{Directory, LocationStore, SWEEP_GRACE, Save, Saved};
use registrar::watcher::{ContactEvent, Notice};
use registrar::{Binding, Record, UnixTime};
use sip::Uri;

contract!(
    what_is_saved_is_loaded,
    a_batch_keeps_its_order,
    only_the_expected_version_is_replaced,
    a_batch_is_its_saves_one_after_the_other,
    large_batches_are_like_small_ones,
    watchers_are_saved_and_loaded_with_the_bindings,
    only_what_has_long_been_empty_is_swept,
    the_sweeper_takes_the_oldest_first,
    what_is_over_is_due_until_it_is_taken_out,
    a_watcher_that_is_over_or_has_news_makes_its_record_due,
    removing_tells_the_watchers,
    a_version_never_comes_back,
    flows_are_found_by_edge,
    flows_come_in_pages,
    flows_of_a_moved_binding_are_at_its_new_edge,
    records_are_listed_in_pages,
    one_contact_is_removed_and_the_others_stay,
    removing_keeps_the_version,
    credentials_are_per_user_and_realm,
    users_are_listed_in_pages,
    many_users_are_put_at_once,
    a_domain_comes_and_goes_once,
    a_key_that_no_database_takes_is_nobody,
);

async fn what_is_saved_is_loaded(store: &impl LocationStore) {
    assert_eq!(loaded(store, "alice").await, Record::default());
    let mut bindings = vec![binding("sip:a@192.0.2.1", "edge-a", NOW), binding("sip:b@[::1]", "edge-b", NOW)];
    bindings[1].instance = None;
    bindings[1].reg_id = None;
    bindings[1].path.clear();
    let version = saved(store, "alice", 0, bindings.clone()).await;
    assert_eq!(
        loaded(store, "alice").await,
        Record { version, bindings: bindings.clone(), ..Record::default() }
    );
    bindings.pop();
    let next = saved(store, "alice", version, bindings.clone()).await;
    assert!(next > version);
    assert_eq!(loaded(store, "alice").await, Record { version: next, bindings, ..Record::default() });
}

async fn a_batch_keeps_its_order(store: &impl LocationStore) {
    assert_eq!(store.load(&[]).await.unwrap(), []);
    assert_eq!(store.save(&[]).await.unwrap(), []);
    let bob = saved(store, "bob", 0, vec![binding("sip:b@192.0.2.1", "edge", NOW)]).await;
    let saves = [
        save("carol", 0, vec![binding("sip:c@192.0.2.1", "edge", NOW)]),
        save("bob", bob + 1, vec![]),
        save("alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]),
    ];
    let done = store.save(&saves).await.unwrap();
    assert!(matches!(done[..], [Saved::Version(_), Saved::Conflict, Saved::Version(_)]), "{done:?}");
    let found =
        store.load(&[aor("bob"), aor("nobody"), aor("alice"), aor("carol"), aor("bob")]).await.unwrap();
    let contacts: Vec<_> =
        found.iter().map(|record| record.bindings.first().map(|binding| binding.contact.as_str())).collect();
    let expected = [
        Some("sip:b@192.0.2.1"),
        None,
        Some("sip:a@192.0.2.1"),
        Some("sip:c@192.0.2.1"),
        Some("sip:b@192.0.2.1"),
    ];
    assert_eq!(contacts, expected);
}

async fn only_the_expected_version_is_replaced(store: &impl LocationStore) {
    let first = saved(store, "alice", 0, vec![binding("sip:1@192.0.2.1", "edge", NOW)]).await;
    for stale in [0, first - 1, first + 1, u64::MAX] {
        let done = store.save(&[save("alice", stale, vec![])]).await.unwrap();
        assert_eq!(done, [Saved::Conflict], "{stale}");
    }
    // Nothing to replace either.
    assert_eq!(store.save(&[save("bob", 5, vec![])]).await.unwrap(), [Saved::Conflict]);
    assert_eq!(loaded(store, "bob").await, Record::default());
    assert_eq!(loaded(store, "alice").await.bindings[0].contact, "sip:1@192.0.2.1");
}

async fn a_batch_is_its_saves_one_after_the_other(store: &impl LocationStore) {
    let contact = |text: &str| vec![binding(text, "edge", NOW)];
    let first = saved(store, "alice", 0, contact("sip:0@192.0.2.1")).await;
    let next =
        location::next_version(first, &Record { bindings: contact("sip:1@192.0.2.1"), ..Record::default() });
    let done = store
        .save(&[
            save("alice", first + 7, contact("sip:stale@192.0.2.1")),
            save("alice", first, contact("sip:1@192.0.2.1")),
            save("alice", first, contact("sip:late@192.0.2.1")),
            save("alice", next, contact("sip:2@192.0.2.1")),
            save("bob", 0, contact("sip:b@192.0.2.1")),
            save("bob", 0, contact("sip:late@192.0.2.1")),
        ])
        .await
        .unwrap();
    let is_stored: Vec<_> = done.iter().map(|saved| matches!(saved, Saved::Version(_))).collect();
    assert_eq!(is_stored, [false, true, false, true, true, false]);
    let alice = loaded(store, "alice").await;
    assert_eq!(alice.bindings[0].contact, "sip:2@192.0.2.1");
    assert_eq!(done[3], Saved::Version(alice.version));
    assert_eq!(loaded(store, "bob").await.bindings[0].contact, "sip:b@192.0.2.1");
}

async fn large_batches_are_like_small_ones(store: &impl LocationStore) {
    for count in [2, 8, 9, 128, 129, 300] {
        let name = |n: usize| format!("u{count}-{n}");
        let bindings = |n: usize| vec![binding(&format!("sip:{n}@192.0.2.1"), "edge", NOW)];
        let inserts: Vec<_> = (0..count).map(|n| save(&name(n), 0, bindings(n))).collect();
        let versions = store.save(&inserts).await.unwrap();
        let updates: Vec<_> = versions
            .iter()
            .enumerate()
            .map(|(n, saved)| match saved {
                Saved::Version(version) => save(&name(n), *version, bindings(n + 1)),
                Saved::Conflict => panic!("{n} of {count} was not there"),
            })
            .collect();
        let versions = store.save(&updates).await.unwrap();
        let aors: Vec<_> = (0..count).map(|n| aor(&name(n))).collect();
        for (n, record) in store.load(&aors).await.unwrap().into_iter().enumerate() {
            assert_eq!(record.bindings, bindings(n + 1));
            assert_eq!(versions[n], Saved::Version(record.version));
        }
    }
}

async fn watchers_are_saved_and_loaded_with_the_bindings(store: &impl LocationStore) {
    let mut record = Record {
        bindings: vec![binding("sip:a@192.0.2.1", "edge", NOW)],
        watchers: vec![watcher("1", NOW), watcher("2", NOW)],
        ..Record::default()
    };
    let notice =
        Notice { event: ContactEvent::Refreshed, binding: binding("sip:\u{e9}@192.0.2.1", "edge", NOW) };
    record.watchers[1].notices.push(notice);
    let mut save = Save { aor: aor("alice"), expected: 0, record, changes: vec![] };
    for _ in 0..2 {
        let [Saved::Version(version)] = store.save(std::slice::from_ref(&save)).await.unwrap()[..] else {
            panic!("nobody else writes");
        };
        save.record.version = version;
        assert_eq!(loaded(store, "alice").await, save.record);
        assert_eq!(store.list(None, 1).await.unwrap().items, [(aor("alice"), save.record.clone())]);
        save.expected = version;
        save.record.watchers.pop();
    }
}

async fn only_what_has_long_been_empty_is_swept(store: &impl LocationStore) {
    let version = saved(store, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    let late = NOW.after(100_000);
    assert_eq!(store.sweep(late, 10).await.unwrap(), 0, "what is over has to be taken out first");
    saved(store, "alice", version, vec![]).await;
    assert_eq!(store.sweep(NOW.after(SWEEP_GRACE), 10).await.unwrap(), 0);
    assert!(loaded(store, "alice").await.version > version);
    assert_eq!(store.sweep(NOW.after(SWEEP_GRACE + 1), 10).await.unwrap(), 1);
    assert_eq!(loaded(store, "alice").await, Record::default());
    assert_eq!(store.flows_of("edge", NOW, None, 10).await.unwrap().items, []);
    // Somebody who watches keeps the record.
    let watched = Record { watchers: vec![watcher("1", NOW)], ..Record::default() };
    store.save(&[Save { aor: aor("bob"), expected: 0, record: watched, changes: vec![] }]).await.unwrap();
    assert_eq!(store.sweep(late, 10).await.unwrap(), 0);
}

async fn the_sweeper_takes_the_oldest_first(store: &impl LocationStore) {
    for (user, at) in [("alice", 30), ("bob", 10), ("carol", 20)] {
        let version = saved(store, user, 0, vec![binding("sip:a@192.0.2.1", "edge", NOW.after(at))]).await;
        saved(store, user, version, vec![]).await;
    }
    let late = NOW.after(100_000);
    assert_eq!(store.sweep(late, 2).await.unwrap(), 2);
    let left = store.list(None, 10).await.unwrap();
    assert_eq!(left.items.iter().map(|(aor, _)| aor.clone()).collect::<Vec<_>>(), [aor("alice")]);
    assert_eq!(store.sweep(late, 2).await.unwrap(), 1);
    assert_eq!(store.sweep(late, 2).await.unwrap(), 0);
}

/// Whose records are due.
async fn due(store: &impl LocationStore, now: UnixTime, limit: u32) -> Vec<sip::Aor> {
    store.due(now, limit).await.unwrap().into_iter().map(|(aor, _)| aor).collect()
}

async fn what_is_over_is_due_until_it_is_taken_out(store: &impl LocationStore) {
    let mut two = vec![
        binding("sip:a@192.0.2.1", "edge", NOW.after(60)),
        binding("sip:b@192.0.2.1", "edge", NOW.after(10)),
    ];
    let version = saved(store, "alice", 0, two.clone()).await;
    saved(store, "bob", 0, vec![binding("sip:b@192.0.2.1", "edge", NOW)]).await;
    saved(store, "carol", 0, vec![binding("sip:c@192.0.2.1", "edge", NOW.after(20))]).await;
    let over = NOW.after(3_600);
    assert_eq!(due(store, NOW.after(3_599), 10).await, []);
    assert_eq!(due(store, over, 10).await, [aor("bob")], "the first second in which it no longer counts");
    assert_eq!(due(store, over.after(20), 10).await, [aor("bob"), aor("alice"), aor("carol")]);
    assert_eq!(due(store, over.after(20), 2).await, [aor("bob"), aor("alice")]);
    let found = store.due(over.after(10), 10).await.unwrap();
    assert_eq!(found[1], (aor("alice"), loaded(store, "alice").await));

    two.pop();
    let version = saved(store, "alice", version, two).await;
    assert_eq!(due(store, over.after(20), 10).await, [aor("bob"), aor("carol")]);
    assert_eq!(due(store, over.after(60), 10).await, [aor("bob"), aor("carol"), aor("alice")]);
    saved(store, "alice", version, vec![]).await;
    assert_eq!(
        due(store, over.after(9_999), 10).await,
        [aor("bob"), aor("carol")],
        "that is for the sweeper"
    );
}

async fn a_watcher_that_is_over_or_has_news_makes_its_record_due(store: &impl LocationStore) {
    let mut record = Record { watchers: vec![watcher("1", NOW)], ..Record::default() };
    record.watchers[0].expires_at = NOW.after(60);
    store
        .save(&[Save { aor: aor("alice"), expected: 0, record: record.clone(), changes: vec![] }])
        .await
        .unwrap();
    record.watchers[0].note(ContactEvent::Expired, &binding("sip:a@192.0.2.1", "edge", NOW));
    store.save(&[Save { aor: aor("bob"), expected: 0, record, changes: vec![] }]).await.unwrap();
    assert_eq!(due(store, NOW.after(4), 10).await, []);
    assert_eq!(due(store, NOW.after(5), 10).await, [aor("bob")], "RFC 3680 §4.10");
    assert_eq!(due(store, NOW.after(60), 10).await, [aor("bob"), aor("alice")]);
}

async fn removing_tells_the_watchers(store: &impl LocationStore) {
    let bindings = vec![binding("sip:a@192.0.2.1", "edge", NOW)];
    let record =
        Record { bindings: bindings.clone(), watchers: vec![watcher("1", NOW)], ..Record::default() };
    store.save(&[Save { aor: aor("alice"), expected: 0, record, changes: vec![] }]).await.unwrap();
    let other = Uri::parse(b"sip:A@192.0.2.1").unwrap();
    assert!(!store.remove(&aor("alice"), Some(&other), None).await.unwrap());
    assert!(store.remove(&aor("alice"), None, None).await.unwrap());
    let left = loaded(store, "alice").await;
    let told = Notice { event: ContactEvent::Deactivated, binding: bindings[0].clone() };
    assert_eq!((left.bindings.len(), &left.watchers[0].notices), (0, &vec![told]));
    assert_eq!(due(store, NOW.after(5), 10).await, [aor("alice")]);
    assert!(!store.remove(&aor("alice"), None, None).await.unwrap());
}

async fn a_version_never_comes_back(store: &impl LocationStore) {
    // Registered and removed within a second, swept, and registered again: a save that has seen the first
    // registration must not pass for one that has seen the last.
    let first = saved(store, "alice", 0, vec![binding("sip:1@192.0.2.1", "edge", NOW)]).await;
    let emptied = saved(store, "alice", first, vec![]).await;
    assert_eq!(store.sweep(NOW.after(SWEEP_GRACE), 10).await.unwrap(), 0);
    let swept_at = NOW.after(SWEEP_GRACE + 1);
    assert_eq!(store.sweep(swept_at, 10).await.unwrap(), 1);
    let again = saved(store, "alice", 0, vec![binding("sip:2@192.0.2.1", "edge", swept_at)]).await;
    assert!(again > emptied && emptied > first, "{first} {emptied} {again}");
    assert_eq!(store.save(&[save("alice", first, vec![])]).await.unwrap(), [Saved::Conflict]);
}

async fn flows_are_found_by_edge(store: &impl LocationStore) {
    let two = vec![binding("sip:a@192.0.2.1", "edge-a", NOW), binding("sip:a@192.0.2.2", "edge-b", NOW)];
    saved(store, "alice", 0, two.clone()).await;
    let mut over = binding("sip:b@192.0.2.1", "edge-a", NOW);
    over.expires_at = NOW;
    saved(store, "bob", 0, vec![over]).await;
    let page = store.flows_of("edge-b", NOW, None, 10).await.unwrap();
    assert_eq!((page.items, page.next), (vec![(aor("alice"), two[1].clone())], None));
    let page = store.flows_of("edge-a", NOW, None, 10).await.unwrap();
    assert_eq!(page.items, [(aor("alice"), two[0].clone())]);
    assert_eq!(store.flows_of("edge-c", NOW, None, 10).await.unwrap().items, []);
}

async fn flows_come_in_pages(store: &impl LocationStore) {
    for n in 0..5 {
        saved(store, &format!("u{n}"), 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    }
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.flows_of("edge", NOW, after.as_ref(), 2).await.unwrap();
        pages += 1;
        found.extend(page.items.into_iter().map(|(aor, _)| aor));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..5).map(|n| aor(&format!("u{n}"))).collect::<Vec<_>>());
    assert_eq!(pages, 3);
}

async fn flows_of_a_moved_binding_are_at_its_new_edge(store: &impl LocationStore) {
    let first = saved(store, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge-a", NOW)]).await;
    let moved = binding("sip:a@192.0.2.1", "edge-b", NOW.after(10));
    let second = saved(store, "alice", first, vec![moved.clone()]).await;
    assert_eq!(store.flows_of("edge-a", NOW, None, 10).await.unwrap().items, []);
    let mut refreshed = moved;
    refreshed.updated_at = NOW.after(20);
    saved(store, "alice", second, vec![refreshed.clone()]).await;
    let page = store.flows_of("edge-b", NOW, None, 10).await.unwrap();
    assert_eq!(page.items, [(aor("alice"), refreshed)]);
}

async fn records_are_listed_in_pages(store: &impl LocationStore) {
    for user in ["carol", "alice", "bob"] {
        saved(store, user, 0, vec![]).await;
    }
    let first = store.list(None, 2).await.unwrap();
    assert_eq!(
        first.items.iter().map(|(aor, _)| aor.clone()).collect::<Vec<_>>(),
        [aor("alice"), aor("bob")]
    );
    let second = store.list(first.next.as_ref(), 2).await.unwrap();
    assert_eq!(second.items.iter().map(|(aor, _)| aor.clone()).collect::<Vec<_>>(), [aor("carol")]);
    assert_eq!(second.next, None);
}

/// Equivalent is what RFC 3261 §19.1.4 says, whatever the flow.
async fn one_contact_is_removed_and_the_others_stay(store: &impl LocationStore) {
    let of = |contact, reg_id| Binding { reg_id: Some(reg_id), ..binding(contact, "edge", NOW) };
    let [one, again] = [of("sip:a@192.0.2.1;x=y", 1), of("sip:a@192.0.2.1", 2)];
    let other = of("sip:b@192.0.2.1", 3);
    let bindings = vec![one.clone(), other.clone(), again.clone()];
    let record = Record { bindings, watchers: vec![watcher("1", NOW)], ..Record::default() };
    store.save(&[Save { aor: aor("alice"), expected: 0, record, changes: vec![] }]).await.unwrap();
    let meant = Uri::parse(b"SIP:a@192.0.2.1").unwrap();
    assert!(store.remove(&aor("alice"), Some(&meant), None).await.unwrap());
    let left = loaded(store, "alice").await;
    assert_eq!(left.bindings, [other]);
    let told: Vec<_> = left.watchers[0].notices.iter().map(|notice| notice.binding.clone()).collect();
    assert_eq!(told, [one, again]);
    assert!(!store.remove(&aor("alice"), Some(&meant), None).await.unwrap());
}

async fn removing_keeps_the_version(store: &impl LocationStore) {
    assert!(!store.remove(&aor("alice"), None, None).await.unwrap());
    let version = saved(store, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    assert!(store.remove(&aor("alice"), None, None).await.unwrap());
    let left = loaded(store, "alice").await;
    assert!(left.version > version && left.bindings.is_empty());
    assert!(!store.remove(&aor("alice"), None, None).await.unwrap());
}

async fn credentials_are_per_user_and_realm(store: &impl Directory) {
    let elsewhere = location::User { realm: "example.org".to_owned(), ..user("alice") };
    store.put(&user("alice"), &credentials("1")).await.unwrap();
    store.put(&elsewhere, &credentials("2")).await.unwrap();
    store.put(&user("alice"), &credentials("3")).await.unwrap();
    let asked = [user("bob"), user("alice"), elsewhere.clone(), user("Alice")];
    let found = store.credentials(&asked).await.unwrap();
    assert_eq!(found, [None, Some(credentials("3")), Some(credentials("2")), None]);
    assert_eq!(store.credentials(&[]).await.unwrap(), []);
    assert!(store.remove_user(&user("alice")).await.unwrap());
    assert!(!store.remove_user(&user("alice")).await.unwrap());
    assert_eq!(store.credentials(&asked).await.unwrap(), [None, None, Some(credentials("2")), None]);
}

async fn users_are_listed_in_pages(store: &impl Directory) {
    for name in ["carol", "alice", "bob"] {
        store.put(&user(name), &credentials(name)).await.unwrap();
    }
    let first = store.users(None, 2).await.unwrap();
    assert_eq!(first, [user("alice"), user("bob")]);
    assert_eq!(store.users(first.last(), 2).await.unwrap(), [user("carol")]);
}

#[test]
fn time_zero_sweeps_nothing() {
    let store = crate::common::memory();
    assert_eq!(store.swept(UnixTime(0), 10), 0);
}

async fn many_users_are_put_at_once(store: &impl Directory) {
    store.put(&user("alice"), &credentials("old")).await.unwrap();
    let named = |name: &str, text: &str| (user(name), credentials(text));
    let users = [named("alice", "new"), named("b'\"\u{e9}", "1"), named("carol", "1"), named("carol", "2")];
    store.put_all(&users).await.unwrap();
    store.put_all(&[]).await.unwrap();
    let found = store.credentials(&[user("alice"), user("b'\"\u{e9}"), user("carol")]).await.unwrap();
    assert_eq!(found, [Some(credentials("new")), Some(credentials("1")), Some(credentials("2"))]);
    assert_eq!(store.users(None, 10).await.unwrap().len(), 3);
}

/// One such question must not fail the others of its batch.
async fn a_domain_comes_and_goes_once(store: &impl Directory) {
    assert_eq!(store.domains().await.unwrap(), [""; 0]);
    for (name, is_new) in
        [("b.example", true), ("a.example", true), ("b.example", false), ("[2001:db8::1]", true)]
    {
        assert_eq!(store.put_domain(name).await.unwrap(), is_new, "{name}");
    }
    assert_eq!(store.domains().await.unwrap(), ["[2001:db8::1]", "a.example", "b.example"]);
    for (name, is_there) in [("b.example", true), ("c.example", false), ("", false), ("[2001:db8::1]", true)]
    {
        assert_eq!(store.has_domain(name).await.unwrap(), is_there, "{name}");
    }
    for was_there in [true, false] {
        assert_eq!(store.remove_domain("b.example").await.unwrap(), was_there);
    }
    assert_eq!(store.domains().await.unwrap(), ["[2001:db8::1]", "a.example"]);
}

async fn a_key_that_no_database_takes_is_nobody<S: LocationStore + Directory>(store: &S) {
    let long = "x".repeat(4_000);
    saved(store, "alice", 0, vec![binding("sip:a@192.0.2.1", "edge", NOW)]).await;
    store.put(&user("alice"), &credentials("1")).await.unwrap();
    let asked =
        [user(&long), user("al\0ice"), user("alice"), location::User { realm: long.clone(), ..user("x") }];
    let (records, found) = store.lookup(&[aor(&long), aor("alice")], &asked).await.unwrap();
    assert_eq!(records.iter().map(|record| record.bindings.len()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(found, [None, None, Some(credentials("1")), None]);
}
