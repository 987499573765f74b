use super::*;
use crate::fixture::{self, NOW, ORIGIN, register};

const EDGE: &str =
    "Via: SIP/2.0/TLS e;branch=z9hG4bKe\r\nPath: <sip:t@edge;lr;ob>\r\nSupported: path, outbound\r\n";

fn apply(record: &Record, call_id: &str, cseq: u32, headers: &str) -> Change {
    fixture::apply(record, &register(call_id, cseq, headers), NOW).expect(headers)
}

fn refused(record: &Record, call_id: &str, cseq: u32, headers: &str) -> u16 {
    fixture::apply(record, &register(call_id, cseq, headers), NOW).expect_err(headers).status.code()
}

fn contacts(change: &Change) -> Vec<&str> {
    change.record.bindings.iter().map(|binding| binding.contact.as_str()).collect()
}

fn contact_key(contact: &str) -> BindingKey {
    BindingKey::Contact { contact: contact.to_owned() }
}

fn flow(contact: &str, reg_id: u32) -> String {
    format!("{EDGE}Contact: <{contact}>;reg-id={reg_id};+sip.instance=\"<urn:uuid:AB>\"\r\n")
}

#[test]
fn a_new_contact_is_bound_with_all_that_is_known() {
    let headers = "Path: <sip:t@edge;lr>\r\nUser-Agent: Phone\r\nContact: <sip:a@192.0.2.4>;q=0.5;audio\r\n";
    let change = apply(&Record::default(), "call-7", 9, headers);
    assert_eq!(change.kind, ChangeKind::Changed);
    assert_eq!(change.events, [Event::Inserted(contact_key("sip:a@192.0.2.4"))]);
    let expected = Binding {
        params: ";audio".to_owned(),
        q: 500,
        call_id: "call-7".to_owned(),
        cseq: 9,
        path: vec!["<sip:t@edge;lr>".to_owned()],
        user_agent: "Phone".to_owned(),
        ..fixture::binding("sip:a@192.0.2.4")
    };
    assert_eq!(change.record, Record { bindings: vec![expected], ..Record::default() });
}

#[test]
fn a_refresh_moves_only_the_times() {
    let headers = "Contact: <sip:a@192.0.2.4>;expires=600\r\n";
    let before = apply(&Record::default(), "call", 1, headers).record;
    let later = NOW.after(300);
    let change = fixture::apply(&before, &register("call", 2, headers), later).unwrap();
    assert_eq!(change.kind, ChangeKind::Refresh);
    assert_eq!(change.events, [Event::Updated(contact_key("sip:a@192.0.2.4"))]);
    let mut expected = before;
    expected.bindings[0].cseq = 2;
    expected.bindings[0].expires_at = later.after(600);
    expected.bindings[0].updated_at = later;
    assert_eq!(change.record, expected);
}

#[test]
fn another_way_to_the_same_contact_is_a_change() {
    let before = apply(&Record::default(), "call", 1, "Contact: <sip:a@192.0.2.4>\r\n").record;
    let later = NOW.after(300);
    for headers in [
        "Contact: <sip:a@192.0.2.4>\r\nPath: <sip:t@edge;lr>\r\n",
        "Contact: <sip:a@192.0.2.4;x=1>\r\n",
        "Contact: <sip:a@192.0.2.4>;q=0.5\r\n",
        "Contact: <sip:a@192.0.2.4>;audio\r\n",
    ] {
        let change = fixture::apply(&before, &register("call", 2, headers), later).unwrap();
        assert_eq!(change.kind, ChangeKind::Changed, "{headers}");
        assert_eq!(change.record.bindings.len(), 1, "{headers}");
    }
    let moved = Origin { edge: "edge-b", ..ORIGIN };
    let request = register("call", 2, "Contact: <sip:a@192.0.2.4>\r\n");
    let update = crate::update::read(&request, &Policy::default()).unwrap();
    let change = changes(&before, &update, &Policy::default(), &moved, later).unwrap();
    assert_eq!(change.kind, ChangeKind::Changed);
    assert_eq!(change.record.bindings[0].registered_at, later);
}

#[test]
fn lower_cseq_of_the_same_call_id_fails() {
    let contact = "Contact: <sip:a@192.0.2.4>\r\n";
    let before = apply(&Record::default(), "call", 5, contact).record;
    assert_eq!(refused(&before, "call", 4, contact), 500);
    assert_eq!(refused(&before, "call", 4, "Contact: <sip:a@192.0.2.4>;expires=0\r\n"), 500);
    assert_eq!(refused(&before, "call", 4, "Contact: *\r\nExpires: 0\r\n"), 500);
    assert_eq!(refused(&before, "call", 5, "Contact: *\r\nExpires: 0\r\n"), 500);
    // Another Call-ID has an order of its own.
    assert_eq!(apply(&before, "other", 1, contact).record.bindings[0].cseq, 1);
    assert!(apply(&before, "other", 1, "Contact: *\r\nExpires: 0\r\n").record.bindings.is_empty());
    assert!(apply(&before, "call", 6, "Contact: *\r\nExpires: 0\r\n").record.bindings.is_empty());
}

#[test]
fn one_contact_out_of_order_stops_all() {
    let before = apply(&Record::default(), "call", 5, "Contact: <sip:a@192.0.2.4>\r\n").record;
    assert_eq!(refused(&before, "call", 4, "Contact: <sip:new@192.0.2.5>, <sip:a@192.0.2.4>\r\n"), 500);
}

#[test]
fn the_same_request_again_is_done_already() {
    let headers =
        "Path: <sip:t@edge;lr>\r\nContact: <sip:a@192.0.2.4>;expires=600;audio, <sip:b@192.0.2.4>\r\n";
    let before = apply(&Record::default(), "call", 5, headers).record;
    let again = fixture::apply(&before, &register("call", 5, headers), NOW.after(1)).unwrap();
    assert_eq!((again.kind, &again.record, again.events.len()), (ChangeKind::None, &before, 0));
    // The same number on any other request is out of order.
    for other in [
        "Path: <sip:u@edge;lr>\r\nContact: <sip:a@192.0.2.4>;expires=600;audio\r\n",
        "Path: <sip:t@edge;lr>\r\nContact: <sip:a@192.0.2.4>;expires=601;audio\r\n",
        "Path: <sip:t@edge;lr>\r\nContact: <sip:a@192.0.2.4>;expires=600;video\r\n",
        "Path: <sip:t@edge;lr>\r\nContact: <sip:a@192.0.2.4>;expires=0\r\n",
    ] {
        assert_eq!(refused(&before, "call", 5, other), 500, "{other}");
    }
}

#[test]
fn removals_of_what_is_not_there_change_nothing() {
    let before = apply(&Record::default(), "call", 1, "Contact: <sip:a@192.0.2.4>\r\n").record;
    let change = apply(&before, "call", 2, "Contact: <sip:b@192.0.2.4>;expires=0\r\n");
    assert_eq!((change.kind, &change.record), (ChangeKind::None, &before));
    let change = apply(&Record::default(), "call", 2, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(change.kind, ChangeKind::None);
}

#[test]
fn add_refresh_and_remove_in_one_request() {
    let before =
        apply(&Record::default(), "call", 1, "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>\r\n").record;
    let change = apply(
        &before,
        "call",
        2,
        "Contact: <sip:c@192.0.2.1>, <sip:a@192.0.2.1>;expires=0, <sip:b@192.0.2.1>\r\n",
    );
    assert_eq!(contacts(&change), ["sip:b@192.0.2.1", "sip:c@192.0.2.1"]);
    assert_eq!(
        change.events,
        [
            Event::Removed(contact_key("sip:a@192.0.2.1")),
            Event::Updated(contact_key("sip:b@192.0.2.1")),
            Event::Inserted(contact_key("sip:c@192.0.2.1")),
        ]
    );
}

#[test]
fn contacts_are_compared_as_uris() {
    let before = apply(&Record::default(), "call", 1, "Contact: <sip:%61@EXAMPLE.com>\r\n").record;
    let change = apply(&before, "call", 2, "Contact: <sip:a@example.com>\r\n");
    assert_eq!(contacts(&change), ["sip:a@example.com"]);
    let change = apply(&before, "call", 2, "Contact: <sip:a@example.com:5060>\r\n");
    assert_eq!(change.record.bindings.len(), 2);
}

#[test]
fn equality_that_is_not_transitive_leaves_no_pair_of_equals() {
    let (on, off, neither) = ("sip:c@x.org;security=on", "sip:c@x.org;security=off", "sip:c@x.org");
    let two = apply(&Record::default(), "1", 1, &format!("Contact: <{on}>, <{off}>\r\n")).record;
    let change = apply(&two, "2", 1, &format!("Contact: <{neither}>\r\n"));
    assert_eq!(contacts(&change), [neither]);
    let back = apply(&change.record, "3", 1, &format!("Contact: <{on}>, <{off}>\r\n"));
    assert_eq!(contacts(&back), [on, off]);
}

#[test]
fn a_flow_replaces_the_earlier_binding_of_its_reg_id() {
    let before = apply(&Record::default(), "1", 1, &flow("sip:a@192.0.2.4:1000", 1)).record;
    let key = BindingKey::Instance { instance: "urn:uuid:ab".to_owned(), reg_id: 1 };
    assert_eq!(before.bindings[0].key(), key);
    let rebooted = apply(&before, "2", 1, &flow("sip:a@192.0.2.4:2000", 1));
    assert_eq!(contacts(&rebooted), ["sip:a@192.0.2.4:2000"]);
    assert_eq!(rebooted.events, [Event::Updated(key)]);
    let second = apply(&before, "2", 1, &flow("sip:a@192.0.2.4:1000", 2));
    assert_eq!(second.record.bindings.len(), 2);
}

#[test]
fn a_flow_and_a_plain_contact_are_different_bindings() {
    let before = apply(&Record::default(), "1", 1, &flow("sip:a@192.0.2.4", 1)).record;
    let plain =
        apply(&before, "1", 2, "Contact: <sip:a@192.0.2.4>;+sip.instance=\"<urn:uuid:AB>\";expires=0\r\n");
    assert_eq!(plain.record.bindings.len(), 1);
    let flow_removed = apply(&before, "1", 2, &(flow("sip:a@192.0.2.4", 1) + "Expires: 0\r\n"));
    assert!(flow_removed.record.bindings.is_empty());
}

#[test]
fn expired_bindings_are_not_there() {
    let mut over = fixture::binding("sip:old@192.0.2.4");
    over.expires_at = NOW;
    over.cseq = 100;
    let before = Record { version: 3, bindings: vec![over], ..Record::default() };
    let query = apply(&before, "call", 1, "");
    assert_eq!((query.kind, query.record), (ChangeKind::None, Record { version: 3, ..Record::default() }));
    // Not even its CSeq counts any more.
    let change = apply(&before, "call", 1, "Contact: <sip:old@192.0.2.4>\r\n");
    let key = contact_key("sip:old@192.0.2.4");
    assert_eq!(change.events, [Event::Expired(key.clone()), Event::Inserted(key)]);
    assert_eq!(change.record.version, 3);
}

#[test]
fn the_contact_limit_counts_what_there_would_be() {
    let many: Vec<_> = (0..10).map(|n| format!("<sip:{n}@192.0.2.4>")).collect();
    let full = apply(&Record::default(), "1", 1, &format!("Contact: {}\r\n", many.join(", "))).record;
    assert_eq!(full.bindings.len(), 10);
    assert_eq!(refused(&full, "1", 2, "Contact: <sip:one-more@192.0.2.4>\r\n"), 403);
    let swap = "Contact: <sip:0@192.0.2.4>;expires=0, <sip:one-more@192.0.2.4>\r\n";
    assert_eq!(apply(&full, "1", 2, swap).record.bindings.len(), 10);
    // A record above a lowered limit can still be refreshed.
    let policy = Policy { max_contacts: 5, ..Policy::default() };
    let request = register("1", 2, "Contact: <sip:0@192.0.2.4>\r\n");
    let update = crate::update::read(&request, &policy).unwrap();
    assert!(changes(&full, &update, &policy, &ORIGIN, NOW).is_ok());
}
