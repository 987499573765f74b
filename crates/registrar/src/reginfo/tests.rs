use proptest::prelude::{any, prop_assert_eq, proptest};
use roxmltree::{Document, Node};

use super::*;
use crate::fixture::{NOW, binding};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:reginfo";

fn aor() -> Aor {
    Aor::parse("user@example.com").unwrap()
}

fn full(bindings: &[Binding], notices: &[Notice]) -> String {
    document(&aor(), bindings, notices, Scope::Full, 0, NOW.after(100))
}

/// The registration element, after what RFC 3680 §5.4 says about every document was checked.
fn registration<'a>(document: &'a Document<'_>) -> Node<'a, 'a> {
    let root = document.root_element();
    assert!(root.has_tag_name((NAMESPACE, "reginfo")));
    root.attribute("version").unwrap().parse::<u32>().unwrap();
    assert!(["full", "partial"].contains(&root.attribute("state").unwrap()));
    let [registration] = elements(root)[..] else { panic!("§5.1: one element for one address") };
    assert!(registration.has_tag_name((NAMESPACE, "registration")));
    assert!(["init", "active", "terminated"].contains(&registration.attribute("state").unwrap()));
    assert!(!registration.attribute("id").unwrap().is_empty());
    for contact in elements(registration) {
        assert!(contact.has_tag_name((NAMESPACE, "contact")));
        assert!(["active", "terminated"].contains(&contact.attribute("state").unwrap()));
        assert!(ContactEvent::parse(contact.attribute("event").unwrap()).is_some());
        for number in ["duration-registered", "expires", "cseq"] {
            assert!(contact.attribute(number).is_none_or(|text| text.parse::<u64>().is_ok()), "{number}");
        }
        let parts = elements(contact);
        assert!(parts[0].has_tag_name((NAMESPACE, "uri")));
        for param in &parts[1..] {
            assert!(param.has_tag_name((NAMESPACE, "unknown-param")) && param.attribute("name").is_some());
        }
    }
    registration
}

fn elements<'a>(node: Node<'a, 'a>) -> Vec<Node<'a, 'a>> {
    node.children().filter(Node::is_element).collect()
}

/// The document of RFC 3680 §5.3, written our way.
#[test]
fn a_document_like_the_example_of_the_rfc() {
    let active = Binding {
        q: 800,
        registered_at: UnixTime(NOW.0 + 100 - 7_322),
        updated_at: NOW,
        ..binding("sip:user@pc887.example.com")
    };
    let over = Binding { q: 500, expires_at: NOW, ..binding("sip:user@university.edu") };
    let over = Binding { registered_at: UnixTime(NOW.0 - 3_600), ..over };
    let notices = [Notice { event: ContactEvent::Expired, binding: over.clone() }];
    let text = full(&[active, over], &notices);
    let parsed = Document::parse(&text).unwrap();
    assert_eq!(parsed.root_element().attribute("state"), Some("full"));
    assert_eq!(parsed.root_element().attribute("version"), Some("0"));
    let registration = registration(&parsed);
    assert_eq!(registration.attribute("aor"), Some("sip:user@example.com"));
    assert_eq!(registration.attribute("state"), Some("active"));
    let shown: Vec<_> = elements(registration)
        .iter()
        .map(|contact| {
            let of = |name| contact.attribute(name).unwrap_or("").to_owned();
            (of("state"), of("event"), of("duration-registered"), of("q"), of("expires"))
        })
        .collect();
    let row = |texts: [&str; 5]| {
        let [a, b, c, d, e] = texts.map(str::to_owned);
        (a, b, c, d, e)
    };
    assert_eq!(
        shown,
        [
            row(["active", "refreshed", "7322", "0.8", "3500"]),
            row(["terminated", "expired", "3600", "0.5", ""]),
        ]
    );
    assert_eq!(elements(elements(registration)[0])[0].text(), Some("sip:user@pc887.example.com"));
}

#[test]
fn nobody_is_init_and_the_last_one_gone_is_terminated() {
    let text = full(&[], &[]);
    assert_eq!(registration(&Document::parse(&text).unwrap()).attribute("state"), Some("init"));
    let gone = Notice { event: ContactEvent::Deactivated, binding: binding("sip:a@192.0.2.1") };
    for scope in [Scope::Full, Scope::Partial] {
        let text = document(&aor(), &[], std::slice::from_ref(&gone), scope, 7, NOW);
        let parsed = Document::parse(&text).unwrap();
        let registration = registration(&parsed);
        assert_eq!(registration.attribute("state"), Some("terminated"), "{scope:?}");
        assert_eq!(elements(registration)[0].attribute("event"), Some("deactivated"));
        assert_eq!(elements(registration)[0].attribute("expires"), None);
    }
}

#[test]
fn a_partial_document_tells_only_what_has_changed() {
    let bindings = [binding("sip:a@192.0.2.1"), binding("sip:b@192.0.2.1")];
    let notice = Notice { event: ContactEvent::Registered, binding: bindings[1].clone() };
    let text = document(&aor(), &bindings, &[notice], Scope::Partial, 3, NOW);
    let parsed = Document::parse(&text).unwrap();
    assert_eq!(parsed.root_element().attribute("state"), Some("partial"));
    assert_eq!(parsed.root_element().attribute("version"), Some("3"));
    let [contact] = elements(registration(&parsed))[..] else { panic!("{text}") };
    assert_eq!(contact.attribute("event"), Some("registered"));
    assert_eq!(elements(contact)[0].text(), Some("sip:b@192.0.2.1"));
}

#[test]
fn parameters_that_rfc_3261_does_not_know_are_told_as_they_were_written() {
    let mut it = binding("sip:a@192.0.2.1");
    it.params = ";audio;+sip.instance=\"<urn:uuid:1;x>\";reg-id=1".to_owned();
    let text = full(&[it], &[]);
    let parsed = Document::parse(&text).unwrap();
    let contact = elements(registration(&parsed))[0];
    let params: Vec<_> = elements(contact)[1..]
        .iter()
        .map(|param| (param.attribute("name").unwrap(), param.text().unwrap_or("")))
        .collect();
    assert_eq!(params, [("audio", ""), ("+sip.instance", "\"<urn:uuid:1;x>\""), ("reg-id", "1")]);
}

/// RFC 3680 §5.1: ids MUST differ where URIs do; two flows of one UA are two contacts with one URI.
#[test]
fn every_contact_has_an_id_of_its_own_that_stays() {
    let flow = |uri, reg_id| Binding {
        instance: Some("urn:uuid:1".to_owned()),
        reg_id: Some(reg_id),
        ..binding(uri)
    };
    let all = [
        binding("sip:a@192.0.2.1"),
        binding("sip:a@192.0.2.1;x=1"),
        binding("sip:b@192.0.2.1"),
        flow("sip:a@192.0.2.1", 1),
        flow("sip:a@192.0.2.1", 2),
    ];
    let ids: std::collections::BTreeSet<_> = all.iter().map(id).collect();
    assert_eq!(ids.len(), all.len());
    let refreshed = Binding { cseq: 9, expires_at: NOW.after(9_999), q: 1, ..all[0].clone() };
    assert_eq!(id(&refreshed), id(&all[0]));
}

proptest! {
    /// Whatever strangers write: the document is well-formed, and a reader gets what they wrote.
    #[test]
    fn any_text_comes_back(contact in any::<String>(), call_id in any::<String>(), value in "[^;\"]*") {
        let mut it = binding(&contact);
        it.call_id.clone_from(&call_id);
        it.params = format!(";p={value}");
        let text = full(&[it], &[]);
        let parsed = Document::parse(&text).expect("well-formed");
        let element = elements(registration(&parsed))[0];
        let readable = |text: &str| text.replace(|c: char| {
            matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
        }, "\u{fffd}");
        prop_assert_eq!(elements(element)[0].text().unwrap_or(""), readable(&contact));
        prop_assert_eq!(element.attribute("callid").unwrap(), readable(&call_id));
        prop_assert_eq!(elements(element)[1].text().unwrap_or(""), readable(value.trim()));
    }
}
