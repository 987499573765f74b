use super::*;
use crate::Method;

fn via(text: &str) -> Via<'_> {
    Via::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn stamp(value: &'static str, source: &str, force: bool) -> String {
    let mut request = Request::new(Method::Options, "sip:a@b");
    request.headers.push_top(Name::Via, value);
    stamp_received(&mut request, source.parse().unwrap(), force);
    String::from_utf8(request.headers.get(Name::Via).unwrap().to_vec()).unwrap()
}

#[test]
fn plain() {
    let it =
        via("SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7;rport;received=192.0.2.207");
    assert_eq!(it.transport, Transport::Udp);
    assert_eq!((it.host, it.port), (Host::Name("erlang.bell-telephone.com"), Some(5060)));
    assert_eq!(it.sent_by, "erlang.bell-telephone.com:5060");
    assert_eq!(it.branch(), Some("z9hG4bK87asdks7"));
    assert_eq!(it.received(), Some([192, 0, 2, 207].into()));
    assert_eq!(it.rport(), Some(None));
    assert!(it.is_rfc3261());
}

#[test]
fn white_space_wherever_the_grammar_has_it() {
    // RFC 4475 §3.1.1.1.
    let it = via("SIP  / 2.0\r\n  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ");
    assert_eq!((it.transport, it.sent_by), (Transport::Tcp, "spindle.example.com"));
    assert_eq!(it.branch(), Some("z9hG4bK9ikj8"));
    let it =
        via("SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1");
    assert_eq!((it.host, it.port), (Host::Name("first.example.com"), Some(4000)));
    assert_eq!(it.params.value("maddr"), Some("224.2.0.1"));
}

#[test]
fn addresses() {
    let it = via("SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255];branch=z9hG4bKas3-111");
    assert_eq!((it.host, it.port), (Host::V6("2001:db8::9:1".parse().unwrap()), Some(6050)));
    assert_eq!(it.sent_by, "[2001:db8::9:1]:6050");
    assert_eq!(it.received(), Some("2001:db8::9:255".parse().unwrap()));
    let it = via("SIP/2.0/UDP 192.0.2.1;received=2001:db8::9:255");
    assert_eq!(it.received(), Some("2001:db8::9:255".parse().unwrap()));
}

#[test]
fn transports_are_values() {
    for (text, transport) in [
        ("udp", Transport::Udp),
        ("TLS", Transport::Tls),
        ("WS", Transport::Ws),
        ("WSS", Transport::Wss),
        ("SCTP", Transport::Other("SCTP")),
        ("UNKNOWN", Transport::Other("UNKNOWN")),
    ] {
        let value = format!("SIP/2.0/{text} t.example.com;branch=z9hG4bKx");
        assert_eq!(via(&value).transport, transport);
    }
}

#[test]
fn cookie_needs_an_identifier_behind_it() {
    assert!(!via("SIP/2.0/UDP a;branch=z9hG4bK").is_rfc3261());
    assert!(!via("SIP/2.0/UDP a;branch=390skdjuw").is_rfc3261());
    assert!(!via("SIP/2.0/UDP a").is_rfc3261());
    assert!(via("SIP/2.0/UDP a;branch=\"z9hG4bKq\"").is_rfc3261());
}

#[test]
fn what_is_no_via_is_refused() {
    for text in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0 a",
        "SIP/2.0/UDPa",
        "SIP/2.0//UDP a",
        "SIP/2.0/UDP a:b",
        "SIP/2.0/UDP a:99999",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP 2001:db8::9:1;branch=x",
        "SIP/2.0/UDP 192.0.2.15;;",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
        "SIP/2.0/UDP a;x=\"open",
    ] {
        assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_true_sent_by_is_left_alone() {
    let value = "SIP/2.0/UDP 192.0.2.1:5060 ;branch=z9hG4bKx";
    assert_eq!(stamp(value, "192.0.2.1:5062", false), value);
    assert_eq!(
        stamp("SIP/2.0/UDP [2001:DB8::1];branch=z9hG4bKx", "[2001:db8::1]:5060", false),
        "SIP/2.0/UDP [2001:DB8::1];branch=z9hG4bKx"
    );
}

#[test]
fn a_name_or_a_foreign_address_gets_received() {
    assert_eq!(
        stamp("SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKx", "192.0.2.4:5060", false),
        "SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKx;received=192.0.2.4"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 10.1.1.1", "192.0.2.1:9988", false),
        "SIP/2.0/UDP 10.1.1.1;received=192.0.2.1"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP [2001:db8::9:1];branch=x", "[2001:db8::9:255]:5060", false),
        "SIP/2.0/UDP [2001:db8::9:1];branch=x;received=2001:db8::9:255"
    );
}

#[test]
fn rport_asked_for_is_filled_and_received_added_even_when_equal() {
    // RFC 3581 §4 and its example in §6.1.
    let it = stamp("SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff", "192.0.2.1:9988", false);
    let it = via(&it);
    assert_eq!((it.rport(), it.received()), (Some(Some(9988)), Some([192, 0, 2, 1].into())));
    assert_eq!((it.sent_by, it.branch()), ("10.1.1.1:4540", Some("z9hG4bKkjshdyff")));
    let it = stamp("SIP/2.0/UDP 192.0.2.1:9988;RPORT", "192.0.2.1:9988", false);
    assert_eq!(it, "SIP/2.0/UDP 192.0.2.1:9988;received=192.0.2.1;rport=9988");
}

#[test]
fn force_fills_both_unasked() {
    let it = stamp("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx", "192.0.2.1:5060", true);
    assert_eq!(it, "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx;received=192.0.2.1;rport=5060");
}

#[test]
fn what_the_sender_claimed_is_replaced() {
    assert_eq!(
        stamp(
            "SIP/2.0/UDP a;received=203.0.113.7;branch=z9hG4bKx;rport=1;received=203.0.113.8",
            "192.0.2.1:5060",
            false
        ),
        "SIP/2.0/UDP a;branch=z9hG4bKx;received=192.0.2.1;rport=5060"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.1;received=203.0.113.7;branch=z9hG4bKx", "192.0.2.1:5060", false),
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"
    );
}

#[test]
fn a_mapped_address_is_shown_as_ipv4() {
    assert_eq!(stamp("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:5060", false), "SIP/2.0/UDP 192.0.2.1");
    assert_eq!(stamp("SIP/2.0/UDP a", "[::ffff:192.0.2.1]:5060", false), "SIP/2.0/UDP a;received=192.0.2.1");
}

#[test]
fn only_the_top_element_of_a_list_is_stamped() {
    assert_eq!(
        stamp("SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK2", "192.0.2.1:5060", false),
        "SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1, SIP/2.0/UDP b;branch=z9hG4bK2"
    );
}

#[test]
fn unreadable_is_left_alone() {
    assert_eq!(stamp("SIP/2.0/UDP 192.0.2.15;;", "192.0.2.1:5060", true), "SIP/2.0/UDP 192.0.2.15;;");
}

#[test]
fn composed_via_reads_back() {
    let value = compose("TLS", "[2001:db8::1]:5061", "z9hG4bK1");
    assert_eq!(&value[..], b"SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK1");
    assert_eq!(Via::parse(&value).unwrap().transport, Transport::Tls);
}
