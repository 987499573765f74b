//! A subscriber that follows RFC 3680 §5.2 knows what is registered, whatever happens and whenever it is told.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use registrar::apply::{self, ChangeKind};
use registrar::expire::expire;
use registrar::notify::{self, News, SubscriptionState};
use registrar::update::{Set, Update, Wanted};
use registrar::watcher::{ContactEvent, NOTIFY_INTERVAL, Watcher};
use registrar::{Origin, Policy, Record, UnixTime};
use sip::Aor;

const POLICY: Policy = Policy { min_expires: 60, default_expires: 600, max_expires: 1_000, max_contacts: 40 };
const ORIGIN: Origin<'_> = Origin { edge: "edge", source: "udp:192.0.2.4:5060", core: "core" };
const START: UnixTime = UnixTime(1_000_000);

#[derive(Debug, Clone)]
enum Step {
    /// A REGISTER of these contacts with their intervals.
    Register(Vec<(u8, u32)>),
    /// `Contact: *`.
    RemoveAll,
    /// An operator removes everything.
    Deactivate,
}

fn step() -> impl Strategy<Value = (Step, u32)> {
    let interval = prop_oneof![1 => 0..1_u32, 3 => 1..40_u32];
    let several = vec((0..40_u8, interval), 1..6);
    let what = prop_oneof![
        8 => several.prop_map(|contacts| Step::Register(contacts.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())),
        1 => (0..1_u8).prop_map(|_| Step::RemoveAll),
        1 => (0..1_u8).prop_map(|_| Step::Deactivate),
    ];
    (what, 0..12_u32)
}

/// The table of a subscriber.
#[derive(Debug, Default)]
struct Subscriber {
    version: Option<u32>,
    last_at: Option<UnixTime>,
    /// The URI and when it is over, by the id of the contact.
    rows: BTreeMap<String, (String, u64)>,
    is_active: bool,
}

impl Subscriber {
    fn read(&mut self, news: &News, now: UnixTime) {
        let body = news.body.as_deref().expect("a subscription that goes on is told something");
        let document = roxmltree::Document::parse(body).expect("well-formed");
        let root = document.root_element();
        let version: u32 = root.attribute("version").expect("§5.1").parse().expect("a number");
        assert_eq!(version, self.version.map_or(0, |last| last + 1), "§5.1: increments by one");
        self.version = Some(version);
        if let Some(last) = self.last_at.replace(now) {
            assert!(now.0 - last.0 >= u64::from(NOTIFY_INTERVAL), "§4.10");
        }
        if root.attribute("state") == Some("full") {
            self.rows.clear();
        }
        let registration = root.first_element_child().expect("§5.1");
        self.is_active = registration.attribute("state") == Some("active");
        for contact in registration.children().filter(roxmltree::Node::is_element) {
            let id = contact.attribute("id").expect("§5.1").to_owned();
            if contact.attribute("state") == Some("active") {
                let uri = contact.first_element_child().and_then(|uri| uri.text()).expect("§5.1");
                let expires: u64 =
                    contact.attribute("expires").expect("ours says so").parse().expect("a number");
                self.rows.insert(id, (uri.to_owned(), now.0 + expires));
            } else {
                self.rows.remove(&id);
            }
        }
    }
}

fn update(contacts: &[(u8, u32)], cseq: u32) -> Update {
    let wanted = |(name, expires): &(u8, u32)| Wanted {
        contact: format!("sip:{name}@192.0.2.1"),
        params: ";audio".to_owned(),
        q: 1_000,
        expires: *expires,
        instance: None,
        reg_id: None,
    };
    Update::Set(Set {
        call_id: "call".to_owned(),
        cseq,
        path: Vec::new(),
        user_agent: String::new(),
        contacts: contacts.iter().map(wanted).collect(),
    })
}

/// One step at its time: what is told at once.
fn take(record: &mut Record, step: &Step, cseq: u32, aor: &Aor, now: UnixTime) -> Vec<News> {
    let update = match step {
        Step::Register(contacts) => update(contacts, cseq),
        Step::RemoveAll => Update::RemoveAll { call_id: "call".to_owned(), cseq },
        Step::Deactivate => {
            for binding in std::mem::take(&mut record.bindings) {
                record
                    .watchers
                    .iter_mut()
                    .for_each(|watcher| watcher.note(ContactEvent::Deactivated, &binding));
            }
            return Vec::new();
        }
    };
    let Ok(mut change) = apply::changes(record, &update, &POLICY, &ORIGIN, now) else { return Vec::new() };
    if change.kind == ChangeKind::None {
        return Vec::new();
    }
    let news = notify::follow(record, &mut change.record, aor, now);
    *record = change.record;
    news
}

proptest! {
    #[test]
    fn a_subscriber_knows_what_is_registered(steps in vec(step(), 1..40)) {
        let aor = Aor::parse("alice@example.com").expect("an address");
        let watcher = Watcher { expires_at: START.after(100_000), is_behind: true, ..Watcher::default() };
        let mut record = Record { watchers: vec![watcher], ..Record::default() };
        let (mut subscriber, mut now, mut cseq) = (Subscriber::default(), START, 0);
        for (step, wait) in steps.iter().chain(&[(Step::Register(vec![(99, 0)]), 60)]) {
            cseq += 1;
            for news in take(&mut record, step, cseq, &aor, now) {
                subscriber.read(&news, now);
            }
            // Second by second, as a core looks.
            for _ in 0..*wait {
                now = now.after(1);
                if let Some(expiry) = expire(&record, &aor, now) {
                    record = expiry.record;
                    for news in expiry.news {
                        prop_assert!(matches!(news.state, SubscriptionState::Active(_)));
                        subscriber.read(&news, now);
                    }
                }
                prop_assert!(record.due_at().is_none_or(|due| due > now), "it was taken out and told");
                if !record.watchers[0].has_news() {
                    let known: BTreeMap<_, _> = subscriber.rows.values().cloned().collect();
                    let real: BTreeMap<_, _> =
                        record.bindings.iter().map(|b| (b.contact.clone(), b.expires_at.0)).collect();
                    prop_assert_eq!(&known, &real);
                    prop_assert_eq!(subscriber.is_active, !real.is_empty());
                }
            }
        }
        prop_assert!(record.bindings.is_empty() && subscriber.rows.is_empty());
    }
}
