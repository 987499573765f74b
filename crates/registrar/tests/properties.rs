//! The registrar against a model of RFC 3261 §10.3 that fits on a page.
//!
//! The model knows contacts by letter and flows by number, so it needs no URI comparison, and keeps what was last said
//! about each.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::subsequence;
use registrar::apply::{self, Change, ChangeKind};
use registrar::{Origin, Policy, Record, UnixTime, answer, select, update};
use sip::parse::{self, Limits};
use sip::{Contacts, Message, Name, Request};

const POLICY: Policy = Policy { min_expires: 60, default_expires: 600, max_expires: 1_000, max_contacts: 3 };
const ORIGIN: Origin<'_> = Origin { edge: "edge", source: "udp:192.0.2.4:5060", core: "core" };

/// What a UA can be: a plain contact, or a flow of an instance whose contact URI changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Contact(char),
    Flow(u32),
}

#[derive(Debug, Clone)]
enum Ask {
    Query,
    All,
    /// Contacts and the interval of each; `None` says nothing.
    Set(Vec<(Who, Option<u32>)>),
}

#[derive(Debug, Clone)]
struct Step {
    call: u8,
    cseq: u32,
    ask: Ask,
    later: u64,
}

/// One binding of the model: Call-ID, CSeq, interval, and when it is over.
type Said = (u8, u32, u32, u64);

#[derive(Debug, Default)]
struct Model {
    said: BTreeMap<Who, Said>,
}

impl Model {
    /// The status, and the bindings afterwards.
    fn register(&mut self, step: &Step, now: u64) -> u16 {
        self.said.retain(|_, said| said.3 > now);
        let mut next = self.said.clone();
        match &step.ask {
            Ask::Query => {}
            Ask::All if next.values().any(|said| said.0 == step.call && said.1 >= step.cseq) => return 500,
            Ask::All => next.clear(),
            Ask::Set(contacts) => {
                let granted: Vec<_> =
                    contacts.iter().map(|(who, asked)| (*who, asked.unwrap_or(600))).collect();
                if granted.iter().any(|(_, asked)| (1..60).contains(asked)) {
                    return 423;
                }
                let kept = granted.iter().filter(|(_, asked)| *asked > 0);
                if kept.clone().count() > 1 && kept.clone().any(|(who, _)| matches!(who, Who::Flow(_))) {
                    return 400;
                }
                for (who, asked) in granted {
                    let interval = asked.min(1_000);
                    let said = (step.call, step.cseq, interval, now + u64::from(interval));
                    match next.get(&who) {
                        // Exactly this request once more, or one that is out of order.
                        Some(old) if old.0 == step.call && old.1 == step.cseq && old.2 == interval => {
                            continue;
                        }
                        Some(old) if old.0 == step.call && old.1 >= step.cseq => return 500,
                        _ => next.insert(who, said),
                    };
                    next.retain(|_, said| said.2 > 0);
                }
                if next.len() > 3 && next.len() > self.said.len() {
                    return 403;
                }
            }
        }
        self.said = next;
        200
    }
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![Just('a'), Just('b'), Just('c'), Just('d')].prop_map(Who::Contact)
}

fn ask() -> impl Strategy<Value = Ask> {
    let everybody = [Who::Contact('a'), Who::Contact('b'), Who::Contact('c'), Who::Flow(1), Who::Flow(2)];
    let interval =
        prop_oneof![Just(None), Just(Some(0)), Just(Some(0)), Just(Some(30)), (60..1_200_u32).prop_map(Some)];
    let several = subsequence(everybody.to_vec(), 1..=4).prop_shuffle();
    let set = (several, vec(interval.clone(), 4));
    let one = (prop_oneof![who(), (1..3_u32).prop_map(Who::Flow)], interval);
    prop_oneof![
        1 => Just(Ask::Query),
        1 => Just(Ask::All),
        4 => one.prop_map(|contact| Ask::Set(vec![contact])),
        4 => set.prop_map(|(whose, intervals)| Ask::Set(whose.into_iter().zip(intervals).collect())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (0..2_u8, 1..30_u32, ask(), 0..400_u64).prop_map(|(call, cseq, ask, later)| Step {
        call,
        cseq,
        ask,
        later,
    })
}

fn request(step: &Step) -> Request {
    let mut text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS edge;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nPath: <sip:token@edge;lr;ob>\r\n\
         From: <sip:alice@example.com>;tag=f\r\nTo: <sip:alice@example.com>\r\nCall-ID: call-{}\r\n\
         CSeq: {} REGISTER\r\nMax-Forwards: 70\r\nSupported: path, outbound\r\nContent-Length: 0\r\n",
        step.call, step.cseq
    );
    match &step.ask {
        Ask::Query => {}
        Ask::All => text.push_str("Contact: *\r\nExpires: 0\r\n"),
        Ask::Set(contacts) => {
            for (who, expires) in contacts {
                let expires = expires.map(|seconds| format!(";expires={seconds}")).unwrap_or_default();
                match who {
                    Who::Contact(letter) => text.push_str(&format!("Contact: <sip:{letter}@192.0.2.4>{expires}\r\n")),
                    Who::Flow(id) => text.push_str(&format!(
                        "Contact: <sip:flow@192.0.2.{}>;reg-id={id};+sip.instance=\"<urn:uuid:1>\"{expires}\r\n",
                        step.call
                    )),
                }
            }
        }
    }
    text.push_str("\r\n");
    match parse::message(Bytes::from(text), &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("the test wrote no request: {other:?}"),
    }
}

fn register(record: &Record, request: &Request, now: u64) -> Result<Change, u16> {
    let status = |reject: sip::Reject| reject.status.code();
    let update = update::read(request, &POLICY).map_err(status)?;
    apply::changes(record, &update, &POLICY, &ORIGIN, UnixTime(now)).map_err(status)
}

fn said(record: &Record) -> BTreeMap<Who, Said> {
    let entry = |binding: &registrar::Binding| {
        let who = match binding.reg_id {
            Some(id) => Who::Flow(id),
            None => Who::Contact(binding.contact.chars().nth(4).expect("sip: and a letter")),
        };
        let call = binding.call_id.trim_start_matches("call-").parse().expect("a number");
        let interval = binding.expires_at.remaining(binding.updated_at);
        (who, (call, binding.cseq, interval, binding.expires_at.0))
    };
    record.bindings.iter().map(entry).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in vec(step(), 1..20)) {
        let (mut model, mut record, mut now) = (Model::default(), Record::default(), 1_000);
        for step in &steps {
            now += step.later;
            let request = request(step);
            let result = register(&record, &request, now);
            let expected = model.register(step, now);
            prop_assert_eq!(result.as_ref().map_or_else(|status| *status, |_| 200), expected, "{:?}", step);
            if let Ok(change) = result {
                prop_assert_eq!(change.record.bindings.len(), said(&change.record).len());
                record = change.record;
            }
            record.bindings.retain(|binding| binding.is_live(UnixTime(now)));
            prop_assert_eq!(said(&record), model.said.clone(), "{:?}", step);
        }
    }

    #[test]
    fn a_repeated_request_changes_nothing(steps in vec(step(), 1..10), wait in 0..50_u64) {
        let (mut record, mut now) = (Record::default(), 1_000);
        for step in &steps {
            now += step.later;
            let request = request(step);
            if let Ok(change) = register(&record, &request, now) {
                let again = register(&change.record, &request, now + wait).expect("it was good once");
                prop_assert_eq!(again.kind, ChangeKind::None);
                prop_assert!(again.events.is_empty() || wait > 0);
                record = change.record;
            }
        }
    }

    #[test]
    fn the_next_request_of_the_same_kind_moves_only_times(start in step(), wait in 0..50_u64) {
        let Ok(before) = register(&Record::default(), &request(&start), 1_000) else { return Ok(()) };
        let next = Step { cseq: start.cseq + 1, ..start };
        let after = register(&before.record, &request(&next), 1_000 + wait).expect("it was good once");
        prop_assert!(after.kind != ChangeKind::Changed || matches!(next.ask, Ask::All));
        let ways = |record: &Record| {
            record.bindings.iter().map(|b| (b.key(), b.path.clone(), b.registered_at)).collect::<Vec<_>>()
        };
        if !matches!(next.ask, Ask::All) {
            prop_assert_eq!(ways(&before.record), ways(&after.record));
        }
    }

    #[test]
    fn the_order_of_contacts_is_irrelevant(before in vec(step(), 0..4), last in step(), turn in any::<bool>()) {
        let Ask::Set(mut contacts) = last.ask.clone() else { return Ok(()) };
        if turn { contacts.reverse() } else { contacts.rotate_left(1) }
        let mut record = Record::default();
        for (at, step) in before.iter().enumerate() {
            if let Ok(change) = register(&record, &request(step), 1_000 + at as u64) {
                record = change.record;
            }
        }
        let turned = request(&Step { ask: Ask::Set(contacts), ..last });
        let as_it_is = register(&record, &request(&last), 2_000).map(|change| (said(&change.record), change.kind));
        let as_turned = register(&record, &turned, 2_000).map(|change| (said(&change.record), change.kind));
        prop_assert_eq!(as_it_is, as_turned);
    }

    #[test]
    fn the_answer_and_the_selection_show_every_live_binding(steps in vec(step(), 1..10)) {
        let (mut record, mut now) = (Record::default(), 1_000);
        for step in &steps {
            now += step.later;
            let request = request(step);
            let Ok(change) = register(&record, &request, now) else { continue };
            record = change.record;
            let aor = sip::Aor::parse("alice@example.com").expect("an address");
            let response = answer::ok(&request, &record, &aor, |_, _| String::new(), "tag", UnixTime(now));
            let Ok(listed) = Contacts::parse(response.headers.values(Name::Contact)) else {
                return Err(proptest::test_runner::TestCaseError::fail("unreadable Contact"));
            };
            let shown: Vec<_> = match &listed {
                Contacts::List(list) => list.iter().map(|c| (c.addr.uri, c.expires())).collect(),
                Contacts::None | Contacts::Star => Vec::new(),
            };
            let live: Vec<_> = record
                .live(UnixTime(now))
                .map(|b| (b.contact.as_str(), Some(b.expires_at.remaining(UnixTime(now)))))
                .collect();
            prop_assert_eq!(&shown, &live);
            prop_assert!(shown.iter().all(|(_, expires)| expires.is_some_and(|seconds| seconds > 0)));
            prop_assert_eq!(select::candidates(&record, UnixTime(now)).len(), live.len());
        }
    }
}
