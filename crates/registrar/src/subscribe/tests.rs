use bytes::Bytes;
use sip::{Message, parse};

use super::*;
use crate::fixture::{NOW, binding};
use crate::watcher::{ContactEvent, Notice};

fn aor() -> Aor {
    Aor::parse("alice@example.com").unwrap()
}

fn request(to_tag: &str, cseq: u32, headers: &str) -> Request {
    let text = format!(
        "SUBSCRIBE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/TLS e;branch=z9hG4bK1\r\n\
         Record-Route: <sip:t1@edge;lr>, <sip:t2@outer;lr>\r\nMax-Forwards: 70\r\n\
         From: \"A\" <sip:alice@example.com>;tag=f\r\nTo: Alice <sip:alice@example.com>{to_tag}\r\nCall-ID: c\r\n\
         CSeq: {cseq} SUBSCRIBE\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    match parse::message(Bytes::from(text), &parse::Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("the test wrote no request: {other:?}"),
    }
}

const PLAIN: &str = "Event: reg\r\nContact: <sip:a@192.0.2.1:5070>\r\n";

fn read_of(headers: &str) -> Result<Subscribe, Reject> {
    read(&request("", 1, headers), &Policy::default())
}

/// Applies a SUBSCRIBE of alice at a time.
fn step(record: &Record, to_tag: &str, cseq: u32, headers: &str, now: UnixTime) -> Result<Outcome, Reject> {
    let asked = read(&request(to_tag, cseq, &format!("{PLAIN}{headers}")), &Policy::default())?;
    apply(record, &asked, &aor(), &aor(), "ours", now)
}

fn status<T: std::fmt::Debug>(result: Result<T, Reject>) -> u16 {
    result.unwrap_err().status.code()
}

fn with_contact() -> Record {
    Record { bindings: vec![binding("sip:a@192.0.2.1")], ..Record::default() }
}

#[test]
fn the_dialog_is_that_of_the_request() {
    let outcome = step(&with_contact(), "", 7, "", NOW).unwrap();
    let record = outcome.record.unwrap();
    let watcher = &record.watchers[0];
    assert_eq!(watcher.local, "<sip:alice@example.com>");
    assert_eq!((watcher.local_tag.as_str(), watcher.remote_tag.as_str()), ("ours", "f"));
    assert_eq!(watcher.target, "sip:a@192.0.2.1:5070");
    assert_eq!(
        watcher.route,
        ["<sip:t1@edge;lr>", "<sip:t2@outer;lr>"],
        "RFC 3261 §12.1.1: the order of the UAS"
    );
    assert_eq!((watcher.cseq, watcher.remote_cseq, watcher.version), (1, 7, 1));
    assert_eq!(outcome.expires, 3_761, "RFC 3680 §4.4");
    assert_eq!(watcher.expires_at, NOW.after(3_761));
    assert_eq!(outcome.news.state, SubscriptionState::Active(3_761));
    let body = outcome.news.body.unwrap();
    assert!(body.contains("version=\"0\" state=\"full\"") && body.contains("sip:a@192.0.2.1<"), "{body}");
}

#[test]
fn what_cannot_be_served_has_the_status_of_the_rfc() {
    for (headers, code) in [
        ("Contact: <sip:a@b>\r\n", 489),
        ("Event: presence\r\nContact: <sip:a@b>\r\n", 489),
        ("Event: Reg\r\nContact: <sip:a@b>\r\n", 489),
        ("Event: reg.winfo\r\nContact: <sip:a@b>\r\n", 489),
        ("Event: reg\r\nContact: <sip:a@b>\r\nAccept: application/pidf+xml\r\n", 406),
        ("Event: reg\r\nContact: <sip:a@b>\r\nRequire: eventlist\r\n", 420),
        ("Event: reg\r\nContact: <sip:a@b>\r\nExpires: 59\r\n", 423),
        ("Event: reg\r\n", 400),
        ("Event: reg\r\nContact: *\r\n", 400),
        ("Event: reg\r\nContact: <sip:a@b>, <sip:c@d>\r\n", 400),
    ] {
        assert_eq!(status(read_of(headers)), code, "{headers}");
    }
    let refusal = read_of("Event: dialog\r\n").unwrap_err();
    assert!(refusal.headers.contains(&(Name::AllowEvents, Bytes::from("reg"))));
    let refusal = read_of(&format!("{PLAIN}Expires: 1\r\n")).unwrap_err();
    assert!(refusal.headers.contains(&(Name::MinExpires, Bytes::from("60"))));
}

#[test]
fn accept_names_our_documents_or_is_not_there() {
    for accept in
        ["application/reginfo+xml", "text/plain, application/reginfo+xml;q=0.5", "*/*", "Application/*"]
    {
        assert!(read_of(&format!("{PLAIN}Accept: {accept}\r\n")).is_ok(), "{accept}");
    }
}

#[test]
fn an_interval_is_shortened_and_never_prolonged() {
    for (asked, granted) in [("60", 60), ("3600", 3_600), ("4294967295", 7_200)] {
        let outcome = step(&Record::default(), "", 1, &format!("Expires: {asked}\r\n"), NOW).unwrap();
        assert_eq!(outcome.expires, granted);
    }
}

#[test]
fn a_refresh_goes_on_with_the_dialog() {
    let first = step(&with_contact(), "", 1, "", NOW).unwrap().record.unwrap();
    let later = NOW.after(1_000);
    let second = step(&first, ";tag=ours", 2, "Expires: 600\r\n", later).unwrap();
    let record = second.record.unwrap();
    assert_eq!(record.watchers.len(), 1);
    assert_eq!((record.watchers[0].cseq, record.watchers[0].version), (2, 2));
    assert_eq!(record.watchers[0].expires_at, later.after(600));
    assert!(second.news.body.unwrap().contains("version=\"1\" state=\"full\""), "RFC 3680 §4.3");

    assert_eq!(status(step(&record, ";tag=ours", 1, "", later)), 500, "RFC 3261 §12.2.2");
    assert_eq!(status(step(&record, ";tag=other", 3, "", later)), 481);
    assert_eq!(status(step(&record, ";tag=ours", 3, "", later.after(600))), 481, "it is over");
    assert_eq!(status(step(&Record::default(), ";tag=ours", 2, "", NOW)), 481);
    let stranger = Aor::parse("bob@example.com").unwrap();
    let asked = read(&request(";tag=ours", 3, PLAIN), &Policy::default()).unwrap();
    assert_eq!(status(apply(&record, &asked, &stranger, &aor(), "x", later)), 481);
}

#[test]
fn a_request_that_is_processed_twice_makes_one_subscription() {
    let first = step(&with_contact(), "", 1, "", NOW).unwrap().record.unwrap();
    let asked = read(&request("", 1, PLAIN), &Policy::default()).unwrap();
    let again = apply(&first, &asked, &aor(), &aor(), "theirs", NOW.after(1)).unwrap();
    assert_eq!(again.news.watcher.local_tag, "ours");
    assert_eq!(again.record.unwrap().watchers.len(), 1);
}

#[test]
fn expires_zero_ends_it_with_the_full_state() {
    let first = step(&with_contact(), "", 1, "", NOW).unwrap().record.unwrap();
    let last = step(&first, ";tag=ours", 2, "Expires: 0\r\n", NOW.after(1)).unwrap();
    assert_eq!(last.record.unwrap().watchers, []);
    assert_eq!((last.news.state, last.expires), (SubscriptionState::Terminated, 0));
    assert_eq!((last.news.watcher.cseq, last.news.watcher.local_tag.as_str()), (2, "ours"));
    assert!(last.news.body.unwrap().contains("state=\"full\""));
}

#[test]
fn a_poll_stores_nothing() {
    let poll = step(&with_contact(), "", 1, "Expires: 0\r\n", NOW).unwrap();
    assert_eq!(poll.record, None);
    assert_eq!(poll.news.state, SubscriptionState::Terminated);
    let body = poll.news.body.unwrap();
    assert!(body.contains("sip:a@192.0.2.1<"), "RFC 3680 §4.7.2: the full state");
}

#[test]
fn the_id_of_the_event_tells_subscriptions_apart() {
    let asked =
        read(&request("", 1, "Event: reg;x=y; id=7\r\nContact: <sip:a@b>\r\n"), &Policy::default()).unwrap();
    let record = apply(&Record::default(), &asked, &aor(), &aor(), "ours", NOW).unwrap().record.unwrap();
    assert_eq!(record.watchers[0].event_id.as_deref(), Some("7"));
    assert_eq!(
        status(step(&record, ";tag=ours", 2, "", NOW)),
        481,
        "RFC 6665 §8.2.1: no id never matches one"
    );
}

#[test]
fn there_are_no_more_watchers_than_can_be_told() {
    let mut record = Record::default();
    for n in 0..MAX_WATCHERS {
        let mut asked = read(&request("", 1, PLAIN), &Policy::default()).unwrap();
        asked.call_id = format!("call {n}");
        record = apply(&record, &asked, &aor(), &aor(), "t", NOW).unwrap().record.unwrap();
    }
    assert_eq!(status(step(&record, "", 1, "", NOW)), 403);
    assert!(step(&record, "", 1, "Expires: 0\r\n", NOW).is_ok(), "a poll stays nowhere");
}

#[test]
fn news_that_wait_are_told_with_the_full_state() {
    let mut record = step(&Record::default(), "", 1, "", NOW).unwrap().record.unwrap();
    let gone = Notice { event: ContactEvent::Expired, binding: binding("sip:gone@192.0.2.1") };
    record.watchers[0].notices.push(gone);
    let next = step(&record, ";tag=ours", 2, "", NOW.after(1)).unwrap();
    let body = next.news.body.unwrap();
    assert!(body.contains("event=\"expired\"") && body.contains("state=\"terminated\""), "{body}");
    assert!(!next.record.unwrap().watchers[0].has_news());
}
