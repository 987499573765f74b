use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn equivalent(a: &str, b: &str) -> bool {
    let forth = uri(a).equivalent(&uri(b));
    assert_eq!(forth, uri(b).equivalent(&uri(a)), "not symmetric: {a} {b}");
    for text in [a, b] {
        assert!(uri(text).equivalent(&uri(text)), "not reflexive: {text}");
    }
    forth
}

#[test]
fn all_parts() {
    let it =
        uri("sips:alice:secretword@Atlanta.com:5061;transport=tcp;lr?subject=project%20x&priority=urgent");
    assert_eq!(it.scheme, Scheme::Sips);
    assert_eq!((it.user, it.password), (Some("alice"), Some("secretword")));
    assert_eq!((it.host, it.port), (Host::Name("Atlanta.com"), Some(5061)));
    assert_eq!(it.host_port(), "Atlanta.com:5061");
    assert_eq!(it.params.value("transport"), Some("tcp"));
    assert!(it.is_loose_router());
    assert_eq!(it.headers, "subject=project%20x&priority=urgent");
    assert!(it.is_sip());
}

#[test]
fn examples_of_section_19_1_3() {
    assert_eq!(uri("sip:+1-212-555-1212:1234@gateway.com;user=phone").password, Some("1234"));
    assert_eq!(uri("sip:alice@192.0.2.4").host, Host::V4([192, 0, 2, 4].into()));
    let it = uri("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com");
    assert_eq!((it.user, it.host), (None, Host::Name("atlanta.com")));
    assert_eq!(uri("sip:alice;day=tuesday@atlanta.com").user, Some("alice;day=tuesday"));
}

#[test]
fn wide_range_of_characters() {
    // RFC 4475 §3.1.1.2 and §3.1.1.9.
    let it = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(it.user, Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(it.password, Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(it.host_port(), "example.com");
    assert_eq!(uri("sip:user;par=u%40example.net@example.com").user, Some("user;par=u%40example.net"));
    assert_eq!(uri("sip:a:@b").password, Some(""));
}

#[test]
fn addresses() {
    let v6 = |text: &str| Host::V6(text.parse().unwrap());
    let it = uri("sip:bob@[2001:db8::10]:5070;maddr=[2001:db8::1]");
    assert_eq!((it.host, it.port, it.host_port()), (v6("2001:db8::10"), Some(5070), "[2001:db8::10]:5070"));
    assert_eq!(it.params.value("maddr"), Some("[2001:db8::1]"));
    assert_eq!(uri("sip:[2001:db8::10:5070]").host, v6("2001:db8::10:5070"));
    assert_eq!(uri("sip:[::ffff:192.0.2.2]").host, v6("::ffff:192.0.2.2"));
    // RFC 5118 §4.10.
    assert_eq!(uri("sip:u@[2001:db8:::192.0.2.1]").host, v6("2001:db8::192.0.2.1"));
    assert_eq!(uri("sip:3com.example").host, Host::Name("3com.example"));
}

/// §25.1: `hostname = *( domainlabel "." ) toplabel [ "." ]`, a label is not empty.
#[test]
fn labels_of_a_name_are_not_empty() {
    for name in ["a", "a.b", "a.b.", "example.com.", "localhost.", "3com.example", "a-b.c_d"] {
        assert_eq!(Host::parse(name), Some(Host::Name(name)));
    }
    for name in ["", ".", "..", ".a", ".a.b", "a..", "a..b", "a.b..", "..a"] {
        assert_eq!(Host::parse(name), None, "{name}");
    }
}

#[test]
fn other_schemes_are_text() {
    let it = uri("TEL:+1-201-555-0123;phone-context=example.com");
    assert_eq!((it.scheme, it.rest), (Scheme::Tel, "+1-201-555-0123;phone-context=example.com"));
    assert_eq!((it.host, it.host_port(), it.is_sip()), (Host::Name(""), "", false));
    assert_eq!(
        uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme,
        Scheme::Other("nobodyKnowsThisScheme")
    );
    assert_eq!(uri("soap.beep://192.0.2.103:3002").rest, "//192.0.2.103:3002");
    assert_eq!(uri("urn:service:sos").rest, "service:sos");
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "sip",
        "sip:",
        "tel:",
        ":a",
        "1sip:a",
        "s ip:a",
        "sip:@host",
        "sip:.",
        "sip:a@.example.com",
        "sip:a@example..com:5060",
        "sip:a@example.com..;lr",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:",
        "sip:a@b:port",
        "sip:a@b:65536",
        "sip:a@b:+1",
        "sip:2001:db8::10",
        "sip:[2001:db8::10",
        "sip:[2001:db8::10]x",
        "sip:[2001:db8:::1:::2]",
        "sip:[192.0.2.1]",
        "sip:a@exa mple.com",
        "sip:a@b; lr",
        "sip:a@b;;lr",
        "sip:a@b;x=y,z",
        "sip:a@b%20c",
        "sip:a%4@b",
        "sip:a%zz@b",
        "<sip:a@b>",
        "sip:a\0@b",
        "sip:a\x7f@b",
        "sip:\"a\"@b",
        "sip:a@b/c",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(Uri::parse(b"sip:caf\xe9@b").is_err());
}

#[test]
fn equivalent_by_section_19_1_4() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:DB8::0:1]", "sip:a@[2001:db8::1]"),
        ("sip:a@b;%6Cr", "sip:a@b;lr"),
        ("sip:a%c3%a4@b", "sip:a%C3%A4@b"),
        ("sip:cal%6Cer@b;n%61me=v%61lue%25%34%31", "sip:caller@b;name=value%2541"),
        ("sip:a@b;x=1;x=2", "sip:a@b;x=1"),
        ("SIP:a@b", "sip:a@b"),
    ] {
        assert!(equivalent(a, b), "{a} {b}");
    }
}

#[test]
fn different_by_section_19_1_4() {
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a:x@b", "sip:a@b"),
        ("sip:a:x@b", "sip:a:X@b"),
        ("sip:a@b", "sip:a@b;user=phone"),
        ("sip:a@b", "sip:a@b;ttl=1"),
        ("sip:a@b", "sip:a@b;method=INVITE"),
        ("sip:a@b", "sip:a@b;MADDR=192.0.2.1"),
        ("sip:a@b", "sip:a@b;maddr=b"),
        ("sip:a@b?x=1&x=1", "sip:a@b?x=1&x=2"),
        // A reserved character is not equivalent to its escape, and nothing is unescaped twice.
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:a@b;x=value%2541", "sip:a@b;x=valueA"),
        ("sip:null-%00-null@b", "sip:null-@b"),
        ("sip:%00@b", "sip:%00%00@b"),
    ] {
        assert!(!equivalent(a, b), "{a} {b}");
    }
}

#[test]
fn tel_compares_by_rfc_3966() {
    assert!(equivalent("tel:+1-201-555-0123", "tel:+1(201)555.0123"));
    assert!(equivalent(
        "tel:7042;phone-context=example.com;ext=1-2",
        "TEL:7042;EXT=12;phone-context=Example.COM"
    ));
    assert!(!equivalent("tel:7042;phone-context=example.com", "tel:7042"));
    assert!(!equivalent("tel:+12015550123", "tel:12015550123"));
    assert!(!equivalent("tel:1;a=1;a=1", "tel:1;a=1;a=2"));
    assert!(!equivalent("tel:112", "sip:112"));
    assert!(equivalent("urn:service:sos", "URN:service:sos"));
    assert!(!equivalent("urn:service:sos", "urn:service:sos.fire"));
}

#[test]
fn loose_router() {
    assert!(uri("sip:p;lr").is_loose_router());
    assert!(uri("sip:p;LR=on").is_loose_router());
    assert!(uri("sip:p;%6C%72").is_loose_router());
    assert!(!uri("sip:lr@p").is_loose_router());
    assert!(!uri("sip:p;lrx").is_loose_router());
}
