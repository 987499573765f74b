use super::*;
use crate::fixture::{NOW, apply, register};

const INSTANCE: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

fn aor() -> Aor {
    Aor::parse("alice@example.com").unwrap()
}

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap()
}

/// One REGISTER of one contact of the instance.
fn step(
    record: &Record,
    call_id: &str,
    cseq: u32,
    reg_id: Option<u32>,
    expires: u32,
    now: UnixTime,
) -> Record {
    let flow = reg_id.map(|id| format!(";reg-id={id}")).unwrap_or_default();
    let port = 5060 + reg_id.unwrap_or(0);
    let contact = format!(
        "Contact: <sip:a@192.0.2.4:{port}>;+sip.instance=\"<{INSTANCE}>\"{flow};expires={expires}\r\n"
    );
    apply(record, &register(call_id, cseq, &contact), now).unwrap().record
}

fn epoch_of(record: &Record, now: UnixTime) -> u64 {
    epoch(record, INSTANCE, now).unwrap()
}

#[test]
fn a_public_gruu_is_the_address_with_the_instance() {
    let text = public(&aor(), INSTANCE);
    assert_eq!(text, format!("sip:alice@example.com;gr={INSTANCE}"));
    assert_eq!(Gruu::of(&uri(&text)), Some(Gruu::Public(INSTANCE.to_owned())));
    let shouted = text.replace("urn:uuid", "URN:UUID");
    assert_eq!(Gruu::of(&uri(&shouted)), Some(Gruu::Public(INSTANCE.to_owned())), "UUID URNs ignore case");
    assert!(uri(&text).equivalent(&uri("sip:alice@example.com")), "§5.4");
}

#[test]
fn an_instance_of_whatever_characters_survives_the_uri() {
    for instance in ["serial;7=a,b?\"<>", "käse", "%41"] {
        let text = public(&aor(), instance);
        assert_eq!(Gruu::of(&uri(&text)), Some(Gruu::Public(instance.to_owned())), "{text}");
    }
}

#[test]
fn a_temporary_gruu_shows_its_token_only() {
    let text = temporary(&aor(), "x-1_");
    assert_eq!(text, "sip:tgruu.x-1_@example.com;gr");
    assert_eq!(Gruu::of(&uri(&text)), Some(Gruu::Temporary("x-1_")));
    assert_eq!(Gruu::of(&uri("sip:alice@example.com;gr")), Some(Gruu::Unknown));
    assert_eq!(Gruu::of(&uri("sip:alice@example.com;gr=%ff")), Some(Gruu::Unknown));
    assert_eq!(Gruu::of(&uri("sip:alice@example.com")), None);
}

#[test]
fn a_refresh_keeps_the_epoch() {
    let first = step(&Record::default(), "one", 1, None, 600, NOW);
    let second = step(&first, "one", 2, None, 600, NOW.after(500));
    assert_eq!(epoch_of(&first, NOW), epoch_of(&second, NOW.after(500)));
}

#[test]
fn another_call_id_begins_a_new_epoch() {
    let first = step(&Record::default(), "one", 1, None, 600, NOW);
    let second = step(&first, "two", 1, None, 600, NOW);
    assert!(epoch_of(&first, NOW) < epoch_of(&second, NOW), "§5.1, in the same second, too");
}

#[test]
fn a_registration_that_ended_takes_its_epoch_along() {
    let first = step(&Record::default(), "one", 1, None, 60, NOW);
    let later = NOW.after(61);
    assert_eq!(epoch(&first, INSTANCE, later), None, "§5.3: nothing holds any more");
    let again = step(&first, "one", 2, None, 60, later);
    assert_ne!(epoch_of(&first, NOW), epoch_of(&again, later), "the same Call-ID does not bring it back");

    let removed = step(&first, "one", 2, None, 0, NOW);
    let again = step(&removed, "one", 3, None, 60, NOW);
    assert_ne!(epoch_of(&first, NOW), epoch_of(&again, NOW));
}

#[test]
fn flows_share_an_epoch_and_end_it_together() {
    let one = step(&Record::default(), "one", 1, Some(1), 600, NOW);
    let two = step(&one, "two", 1, Some(2), 600, NOW.after(1));
    assert_eq!(epoch_of(&one, NOW), epoch_of(&two, NOW), "one more flow invalidates nothing");
    // §4.1: a new Call-ID on one reg-id is the end of all temporary GRUUs of the instance.
    let changed = step(&two, "three", 1, Some(2), 600, NOW.after(2));
    assert!(changed.bindings.iter().all(|binding| binding.gruu_epoch > epoch_of(&two, NOW)));
    // … and stays it when the flow that did it is gone.
    let left = step(&changed, "three", 2, Some(2), 0, NOW.after(3));
    assert_eq!(epoch_of(&left, NOW), epoch_of(&changed, NOW));
    // One flow lives on: so do the GRUUs.
    let back = step(&left, "four", 1, Some(2), 600, NOW.after(4));
    assert_eq!(epoch_of(&back, NOW), epoch_of(&changed, NOW));
}

#[test]
fn an_epoch_can_be_counted_to_by_every_reader_of_json() {
    let late = step(&Record::default(), "one", 1, None, 600, UnixTime(u64::from(u32::MAX)));
    assert!(late.bindings[0].gruu_epoch < 1 << 53);
}

#[test]
fn a_contact_that_leads_back_is_refused() {
    let status = |contact: &str, expires: u32| {
        let line = format!("Contact: <{contact}>;+sip.instance=\"<{INSTANCE}>\";expires={expires}\r\n");
        apply(&Record::default(), &register("one", 1, &line), NOW)
            .map_err(|reject| reject.status.code())
            .err()
    };
    for contact in [
        "sip:alice@example.com",
        "sip:ALICE@example.com;gr=x", // another user: fine
        &public(&aor(), INSTANCE),
        &temporary(&aor(), "token"),
        "tel:+15551234",
    ] {
        let expected = (!contact.starts_with("sip:ALICE")).then_some(403);
        assert_eq!(status(contact, 60), expected, "{contact}");
    }
    assert_eq!(status("sip:alice@example.com", 0), None, "§5.1 speaks of expirations other than zero");
}

#[test]
fn a_ua_cannot_suggest_a_gruu() {
    let contact = format!(
        "Contact: <sip:a@192.0.2.4>;pub-gruu=\"sip:x@example.com;gr=1\";+sip.instance=\"<{INSTANCE}>\";temp-gruu=\"sip:y\"\r\n"
    );
    let record = apply(&Record::default(), &register("one", 1, &contact), NOW).unwrap().record;
    assert_eq!(record.bindings[0].params, format!(";+sip.instance=\"<{INSTANCE}>\""));
}
