use super::*;
use crate::fixture::{register, request};

const EDGE: &str = "Via: SIP/2.0/TLS e;branch=z9hG4bKe\r\nPath: <sip:t@edge;lr;ob>\r\n";
const BARE_EDGE: &str = "Via: SIP/2.0/TLS e;branch=z9hG4bKe\r\n";
const INSTANCE: &str = "+sip.instance=\"<urn:uuid:0>\"";

fn update(headers: &str) -> Result<Update, Reject> {
    read(&request(headers), &Policy::default())
}

fn set(headers: &str) -> Set {
    match update(headers) {
        Ok(Update::Set(set)) => set,
        other => panic!("{headers} gave {other:?}"),
    }
}

fn only(headers: &str) -> Wanted {
    let mut contacts = set(headers).contacts;
    assert_eq!(contacts.len(), 1);
    contacts.remove(0)
}

fn status(headers: &str) -> u16 {
    update(headers).expect_err(headers).status.code()
}

fn header(reject: &Reject, name: Name) -> Option<String> {
    let found = reject.headers.iter().find(|(n, _)| *n == name)?;
    Some(String::from_utf8_lossy(&found.1).into_owned())
}

#[test]
fn no_contact_is_a_query() {
    assert_eq!(update("").unwrap(), Update::Query);
    assert_eq!(update("Expires: 0\r\n").unwrap(), Update::Query);
}

#[test]
fn star_needs_expires_zero_and_no_company() {
    let all = Update::RemoveAll { call_id: "call".to_owned(), cseq: 1 };
    assert_eq!(update("Contact: *\r\nExpires: 0\r\n").unwrap(), all);
    assert_eq!(status("Contact: *\r\n"), 400);
    assert_eq!(status("Contact: *\r\nExpires: 60\r\n"), 400);
    assert_eq!(status("Contact: *, <sip:a@192.0.2.4>\r\nExpires: 0\r\n"), 400);
    assert_eq!(status("Contact: <sip:a@192.0.2.4>\r\nContact: *\r\nExpires: 0\r\n"), 400);
}

#[test]
fn interval_comes_from_the_contact_then_the_header_then_the_default() {
    for (headers, granted) in [
        ("Contact: <sip:a@192.0.2.4>;expires=120\r\nExpires: 600\r\n", 120),
        ("Contact: <sip:a@192.0.2.4>\r\nExpires: 600\r\n", 600),
        ("Contact: <sip:a@192.0.2.4>\r\n", 3600),
        ("Contact: <sip:a@192.0.2.4>;expires=0\r\nExpires: 600\r\n", 0),
        ("Contact: <sip:a@192.0.2.4>;expires=99999\r\n", 7200),
        ("Contact: <sip:a@192.0.2.4>;expires=99999999999999\r\n", 7200),
        ("Contact: <sip:a@192.0.2.4>;expires=60\r\n", 60),
        ("Contact: <sip:a@192.0.2.4>;expires=soon\r\n", 3600), // §20.10: malformed counts as 3600
    ] {
        assert_eq!(only(headers).expires, granted, "{headers}");
    }
}

#[test]
fn too_brief_is_423_with_the_minimum() {
    let reject = update("Contact: <sip:a@192.0.2.4>;expires=59\r\n").unwrap_err();
    assert_eq!(reject.status.code(), 423);
    assert_eq!(header(&reject, Name::MinExpires).as_deref(), Some("60"));
    // One of several is enough: the request is processed completely or not at all.
    assert_eq!(status("Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.4>;expires=1\r\n"), 423);
}

#[test]
fn an_hour_is_never_too_brief() {
    let policy = Policy { min_expires: 5_000, ..Policy::default() };
    let ask = |seconds| read(&request(&format!("Contact: <sip:a@192.0.2.4>;expires={seconds}\r\n")), &policy);
    assert_eq!(ask(3_599).unwrap_err().status.code(), 423);
    assert!(ask(3_600).is_ok());
}

#[test]
fn unknown_extensions_are_420() {
    let check = |headers: &str| check_require(&request(headers));
    let reject = check("Require: path, Gruu, bar\r\nRequire: Outbound, foo\r\n").unwrap_err();
    assert_eq!(reject.status.code(), 420);
    assert_eq!(header(&reject, Name::Unsupported).as_deref(), Some("bar, foo"));
    assert!(check("Require: path\r\nRequire: outbound\r\n").is_ok());
    assert!(check("").is_ok());
}

#[test]
fn contact_is_kept_as_written_without_expires_and_q() {
    let wanted = only(
        "Contact: \"Al; <x>\" <sip:a@192.0.2.4;transport=TCP> ; Q=0.25;+sip.x=\"a;expires=9\\\";q=1\" ;EXPIRES=90;\r\n \
         audio ;m=\"A,B\"\r\n",
    );
    assert_eq!(wanted.contact, "sip:a@192.0.2.4;transport=TCP");
    assert_eq!(wanted.params, ";+sip.x=\"a;expires=9\\\";q=1\";audio;m=\"A,B\"");
    assert_eq!((wanted.q, wanted.expires), (250, 90));
}

#[test]
fn without_brackets_the_parameters_are_the_header_s() {
    let wanted = only("Contact: sip:a@192.0.2.4;transport=tcp;expires=70\r\n");
    assert_eq!((wanted.contact.as_str(), wanted.params.as_str()), ("sip:a@192.0.2.4", ";transport=tcp"));
}

#[test]
fn path_is_taken_byte_for_byte() {
    let set = set("Path: <sip:2@b;lr>;x=\"a,b\" ,  <sip:1@[2001:db8::1]:5060;lr;ob>\r\n\
                   Path: <sip:%41@a;LR>\r\nUser-Agent: Phone/1.0\r\nContact: <sip:a@192.0.2.4>\r\n");
    assert_eq!(set.path, ["<sip:2@b;lr>;x=\"a,b\"", "<sip:1@[2001:db8::1]:5060;lr;ob>", "<sip:%41@a;LR>"]);
    assert_eq!(set.user_agent, "Phone/1.0");
    assert_eq!(status("Path: <sip:2@b\r\nContact: <sip:a@192.0.2.4>\r\n"), 400);
}

#[test]
fn equal_contacts_in_one_request_are_refused() {
    for contacts in [
        "<sip:a@192.0.2.4>, <sip:a@192.0.2.4;x=1>",
        "<sip:%61@EXAMPLE.com>, <sip:b@192.0.2.4>, <sip:a@example.com>;expires=0",
    ] {
        assert_eq!(status(&format!("Contact: {contacts}\r\n")), 400, "{contacts}");
    }
    assert_eq!(set("Contact: <sip:a@192.0.2.4>, <sip:a@192.0.2.4:5060>\r\n").contacts.len(), 2);
}

#[test]
fn a_flow_carries_one_contact() {
    let flow = format!("<sip:a@192.0.2.4>;reg-id=1;{INSTANCE}");
    assert_eq!(status(&format!("{EDGE}Contact: {flow}, <sip:b@192.0.2.4>\r\n")), 400);
    let removes = set(&format!("{EDGE}Contact: {flow}, <sip:b@192.0.2.4>;expires=0\r\n"));
    assert_eq!(removes.contacts.len(), 2);
    // Ignored reg-ids do not count.
    assert_eq!(
        set(&format!("{EDGE}Contact: <sip:a@192.0.2.4>;reg-id=1, <sip:b@192.0.2.4>\r\n")).contacts.len(),
        2
    );
}

#[test]
fn reg_id_counts_with_instance_and_outbound_first_hop_only() {
    let flow = format!("Contact: <sip:a@192.0.2.4>;reg-id=3;{INSTANCE}\r\n");
    for (headers, reg_id) in [
        (flow.clone(), Some(3)), // a single Via: the registrar is the first hop
        (format!("{EDGE}{flow}"), Some(3)),
        (format!("{BARE_EDGE}{flow}"), None),
        (format!("{BARE_EDGE}Path: <sip:t@edge;lr>\r\n{flow}"), None),
        (format!("{EDGE}Contact: <sip:a@192.0.2.4>;reg-id=3\r\n"), None),
        (format!("{EDGE}Contact: <sip:a@192.0.2.4>;{INSTANCE}\r\n"), None),
    ] {
        assert_eq!(only(&headers).reg_id, reg_id, "{headers}");
    }
}

#[test]
fn first_hop_without_outbound_is_439_when_the_ua_wants_it() {
    let wants = "Supported: path, outbound\r\n";
    let flow = format!("Contact: <sip:a@192.0.2.4>;reg-id=3;{INSTANCE}\r\n");
    assert_eq!(status(&format!("{wants}{BARE_EDGE}{flow}")), 439);
    assert_eq!(status(&format!("{wants}{BARE_EDGE}Path: <sip:t@edge;lr>\r\n{flow}")), 439);
    assert!(update(&format!("{wants}{EDGE}{flow}")).is_ok());
    assert!(update(&format!("{wants}{BARE_EDGE}Contact: <sip:a@192.0.2.4>;{INSTANCE}\r\n")).is_ok());
}

#[test]
fn a_flood_of_contacts_is_refused_before_they_are_compared() {
    let contacts: Vec<_> = (0..21).map(|n| format!("<sip:{n}@192.0.2.4>;expires=0")).collect();
    assert_eq!(status(&format!("Contact: {}\r\n", contacts.join(", "))), 403);
    assert!(update(&format!("Contact: {}\r\n", contacts[..20].join(", "))).is_ok());
}

#[test]
fn any_uri_that_can_be_read_is_a_contact() {
    for uri in ["sips:a@192.0.2.4", "tel:+15551234", "sip:[2001:db8::1]", "urn:service:test"] {
        assert_eq!(only(&format!("Contact: <{uri}>\r\n")).contact, uri);
    }
    assert_eq!(status("Contact: <sip:>\r\n"), 400);
}

#[test]
fn address_of_record_is_in_a_domain_of_ours() {
    let serves = |domain: &str| domain == "example.com" || domain == "[2001:db8::1]";
    let with = |uri: &str, to: &str| {
        let mut request = register("call", 1, "");
        request.uri = uri.to_owned().into();
        request.headers.set(Name::To, to.to_owned());
        address_of_record(&request, serves).map_err(|reject| reject.status.code())
    };
    let alice = Aor::parse("alice@example.com").unwrap();
    assert_eq!(with("sip:EXAMPLE.com:5060", "<sip:%61lice@Example.COM;user=phone>"), Ok(alice.clone()));
    assert_eq!(with("sip:[2001:db8:0::1]", "Alice <sips:alice@example.com>"), Ok(alice));
    assert_eq!(with("sip:other.org", "<sip:alice@example.com>"), Err(404));
    assert_eq!(with("sip:example.com", "<sip:alice@other.org>"), Err(404));
    assert_eq!(with("tel:+1555", "<sip:alice@example.com>"), Err(404));
    assert_eq!(with("sip:example.com", "<tel:+1555>"), Err(400));
    assert_eq!(with("sip:example.com", "<sip:example.com>"), Err(400));
}
