use super::*;
use crate::apply;
use crate::expire::expire;
use crate::fixture::{NOW, apply as register_at, binding, register};

fn aor() -> Aor {
    Aor::parse("alice@example.com").unwrap()
}

/// Somebody who was told everything at [`NOW`].
fn watcher() -> Watcher {
    Watcher {
        call_id: "c".to_owned(),
        cseq: 1,
        version: 1,
        expires_at: NOW.after(3_761),
        notified_at: NOW,
        updated_at: NOW,
        ..Watcher::default()
    }
}

fn watched(bindings: Vec<Binding>) -> Record {
    Record { bindings, watchers: vec![watcher()], ..Record::default() }
}

/// A REGISTER at a time: the record afterwards, and what is to be told.
fn step(record: &Record, cseq: u32, contact: &str, now: UnixTime) -> (Record, Vec<News>) {
    let headers = format!("Contact: {contact}\r\n");
    let change = register_at(record, &register("call", cseq, &headers), now).unwrap();
    assert_ne!(change.kind, apply::ChangeKind::None);
    let mut next = change.record;
    let news = follow(record, &mut next, &aor(), now);
    (next, news)
}

fn events(notices: &[Notice]) -> Vec<(&str, &str)> {
    notices.iter().map(|notice| (notice.event.as_str(), notice.binding.contact.as_str())).collect()
}

fn body(news: &News) -> &str {
    news.body.as_deref().unwrap()
}

#[test]
fn each_transition_has_the_event_of_the_rfc() {
    let old = vec![
        binding("sip:same@192.0.2.1"),
        binding("sip:refreshed@192.0.2.1"),
        binding("sip:gone@192.0.2.1"),
        Binding { expires_at: NOW, ..binding("sip:over@192.0.2.1") },
        Binding { expires_at: NOW, ..binding("sip:back@192.0.2.1") },
    ];
    let new = vec![
        old[0].clone(),
        Binding { cseq: 2, updated_at: NOW.after(5), ..old[1].clone() },
        binding("sip:back@192.0.2.1"),
        binding("sip:new@192.0.2.1"),
    ];
    assert_eq!(
        events(&changes(&old, &new, ContactEvent::Unregistered, NOW)),
        [
            ("unregistered", "sip:gone@192.0.2.1"),
            ("expired", "sip:over@192.0.2.1"),
            ("refreshed", "sip:refreshed@192.0.2.1"),
            ("registered", "sip:back@192.0.2.1"),
            ("registered", "sip:new@192.0.2.1"),
        ]
    );
}

#[test]
fn a_change_is_told_at_once_to_who_was_told_nothing_for_five_seconds() {
    let (record, news) = step(&watched(vec![]), 1, "<sip:a@192.0.2.4>", NOW.after(5));
    assert!(body(&news[0]).contains("version=\"1\" state=\"partial\""));
    assert!(body(&news[0]).contains("event=\"registered\""));
    assert_eq!(news[0].state, SubscriptionState::Active(3_756));
    let watcher = &record.watchers[0];
    assert_eq!((news[0].watcher.cseq, watcher.cseq, watcher.version), (2, 2, 2));
    assert_eq!((watcher.notified_at, watcher.has_news()), (NOW.after(5), false));
}

#[test]
fn more_within_five_seconds_waits_and_is_told_as_one() {
    let (record, news) = step(&watched(vec![]), 1, "<sip:a@192.0.2.4>", NOW.after(1));
    assert_eq!(news, []);
    let (record, news) = step(&record, 2, "<sip:b@192.0.2.4>, <sip:a@192.0.2.4>;expires=0", NOW.after(2));
    assert_eq!(news, []);
    assert_eq!(record.due_at(), Some(NOW.after(5)));
    assert_eq!(expire(&record, &aor(), NOW.after(4)), None);
    let told = expire(&record, &aor(), NOW.after(5)).unwrap();
    let [news] = &told.news[..] else { panic!("one NOTIFY") };
    assert!(body(news).contains("event=\"unregistered\"") && body(news).contains("event=\"registered\""));
    assert_eq!(body(news).matches("<contact ").count(), 2, "the last event of each contact");
    assert_eq!(told.expired, 0);
    assert!(told.record.due_at().unwrap() > NOW.after(5));
}

#[test]
fn what_is_over_is_told_as_expired() {
    let mut over = binding("sip:a@192.0.2.4");
    over.expires_at = NOW.after(60);
    let record = watched(vec![over, binding("sip:b@192.0.2.4")]);
    assert_eq!(expire(&record, &aor(), NOW.after(59)), None);
    let end = expire(&record, &aor(), NOW.after(60)).unwrap();
    assert_eq!((end.expired, end.record.bindings.len()), (1, 1));
    let text = body(&end.news[0]);
    assert!(text.contains("event=\"expired\"") && text.contains("<registration") && !text.contains("sip:b@"));
    assert!(text.contains("duration-registered=\"60\""), "{text}");
    // A REGISTER that comes first tells it instead.
    let (record, news) = step(&record, 9, "<sip:b@192.0.2.4>", NOW.after(61));
    assert!(body(&news[0]).contains("event=\"expired\"") && body(&news[0]).contains("event=\"refreshed\""));
    assert_eq!(expire(&record, &aor(), NOW.after(62)), None);
}

#[test]
fn a_subscription_that_is_over_ends_with_a_last_notify() {
    let mut record = watched(vec![binding("sip:a@192.0.2.4")]);
    record.watchers[0].expires_at = NOW.after(30);
    let end = expire(&record, &aor(), NOW.after(30)).unwrap();
    assert_eq!((end.record.watchers.len(), end.record.bindings.len(), end.expired), (0, 1, 0));
    let [News { state: SubscriptionState::Terminated, body: None, .. }] = &end.news[..] else {
        panic!("{:?}", end.news)
    };
}

#[test]
fn a_record_without_watchers_only_loses_what_is_over() {
    let over = Binding { expires_at: NOW, ..binding("sip:a@192.0.2.4") };
    let end = expire(&Record { version: 7, bindings: vec![over], ..Record::default() }, &aor(), NOW).unwrap();
    assert_eq!((end.record, end.news, end.expired), (Record { version: 7, ..Record::default() }, vec![], 1));
    assert!(expire(&Record::default(), &aor(), NOW).is_some(), "what could not be read is written anew");
}

#[test]
fn too_many_events_become_a_full_document() {
    let mut record = watched(vec![binding("sip:here@192.0.2.4")]);
    let gone: Vec<_> = (0..40)
        .map(|n| Notice {
            event: ContactEvent::Unregistered,
            binding: binding(&format!("sip:{n}@192.0.2.4")),
        })
        .collect();
    note(&mut record, &gone);
    let told = expire(&record, &aor(), NOW.after(5)).unwrap();
    assert!(body(&told.news[0]).contains("state=\"full\"") && body(&told.news[0]).contains("sip:here@"));
    assert!(!told.record.watchers[0].has_news());
}
