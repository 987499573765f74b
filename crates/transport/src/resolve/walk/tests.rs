//! RFC 3263 §4.1 and §4.2 as tables: a zone, a URI, the targets in their order and what was asked for them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sip::Uri;

use super::*;

const V4: Families = Families { v4: true, v6: false };
const BOTH: Families = Families { v4: true, v6: true };

/// A zone in lines: `NAME NAPTR order pref flags service replacement`, `NAME SRV priority weight port target`, `NAME A address`,
/// `NAME KIND fails`.
fn zone(text: &str) -> BTreeMap<Lookup, Answer> {
    let mut zone: BTreeMap<Lookup, Vec<Record>> = BTreeMap::new();
    let mut failing = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = match words[1] {
            "NAPTR" => Kind::Naptr,
            "SRV" => Kind::Srv,
            "A" => Kind::A,
            _ => Kind::Aaaa,
        };
        let lookup = Lookup { name: words[0].to_owned(), kind };
        let number = |at: usize| words[at].parse::<u16>().unwrap();
        let name = |at: usize| words[at].trim_end_matches('.').to_owned();
        let record = match words[1..] {
            [_, "fails"] => {
                failing.push(lookup);
                continue;
            }
            ["NAPTR", ..] => Record::Naptr(Naptr {
                order: number(2),
                preference: number(3),
                flags: words[4].to_owned(),
                service: words[5].to_owned(),
                regexp: String::new(),
                replacement: name(6),
            }),
            ["SRV", ..] => {
                Record::Srv(Srv { priority: number(2), weight: number(3), port: number(4), target: name(5) })
            }
            _ => Record::Address(words[2].parse().unwrap()),
        };
        zone.entry(lookup).or_default().push(record);
    }
    let found = zone.into_iter().map(|(lookup, records)| (lookup, Answer::Found(records.into())));
    found.chain(failing.into_iter().map(|lookup| (lookup, Answer::Failed))).collect()
}

/// The targets as `udp:192.0.2.1:5060`, and what was asked.
fn resolve(text: &str, uri: &str, families: Families) -> (Result<Vec<String>, Unresolved>, Vec<String>) {
    let zone = zone(text);
    let question = Question::of(&Uri::parse(uri.as_bytes()).unwrap()).unwrap();
    let mut asked = Vec::new();
    let (mut walk, mut step) = Walk::new(question, families, 7);
    loop {
        match step {
            Step::Done(result) => {
                let shown = |target: Target| format!("{}:{}", target.protocol, target.address);
                return (result.map(|targets| targets.into_iter().map(shown).collect()), asked);
            }
            Step::Ask(lookups) => {
                asked.extend(lookups.iter().map(|it| format!("{} {:?}", it.name, it.kind)));
                let answers: Vec<_> =
                    lookups.iter().map(|it| zone.get(it).cloned().unwrap_or(Answer::Nothing)).collect();
                step = walk.answer(&answers);
            }
        }
    }
}

fn targets(text: &str, uri: &str) -> Vec<String> {
    resolve(text, uri, V4).0.unwrap()
}

/// The zone of RFC 3263 §4.1.
const EXAMPLE: &str = "
    example.com NAPTR 50 50 s SIPS+D2T _sips._tcp.example.com.
    example.com NAPTR 90 50 s SIP+D2T _sip._tcp.example.com.
    example.com NAPTR 100 50 s SIP+D2U _sip._udp.example.com.
    _sips._tcp.example.com SRV 0 0 5061 server1.example.com.
    _sip._tcp.example.com SRV 0 1 5060 server1.example.com.
    _sip._tcp.example.com SRV 1 2 5060 server2.example.com.
    _sip._udp.example.com SRV 0 0 5060 server2.example.com.
    server1.example.com A 192.0.2.1
    server2.example.com A 192.0.2.2";

#[test]
fn naptr_names_the_transport_and_its_srv_records_the_servers() {
    assert_eq!(targets(EXAMPLE, "sip:user@example.com"), ["tls:192.0.2.1:5061"]);
    assert_eq!(targets(EXAMPLE, "sips:user@example.com"), ["tls:192.0.2.1:5061"]);
    let without_tls = EXAMPLE.replace("SIPS+D2T", "SIPS+D2X");
    assert_eq!(
        targets(&without_tls, "sip:user@example.com"),
        ["tcp:192.0.2.1:5060", "tcp:192.0.2.2:5060"],
        "the RFC's client, which supports TCP and UDP"
    );
}

/// §4.1: numeric hosts and explicit ports: "the client SHOULD use UDP for a SIP URI, and TCP for a SIPS URI", without NAPTR.
/// §4.2: no SRV with a port; the default port without one.
#[test]
fn numbers_and_ports_need_no_naptr_and_no_srv() {
    let zone = "gw.example.net A 192.0.2.9";
    for (uri, target, asked) in [
        ("sip:192.0.2.5", "udp:192.0.2.5:5060", &[][..]),
        ("sips:192.0.2.5", "tls:192.0.2.5:5061", &[]),
        ("sip:192.0.2.5:5080;transport=tcp", "tcp:192.0.2.5:5080", &[]),
        ("sip:[2001:db8::5]:5080", "udp:[2001:db8::5]:5080", &[]),
        ("sip:example.com;maddr=192.0.2.5", "udp:192.0.2.5:5060", &[]),
        ("sip:gw.example.net:5070", "udp:192.0.2.9:5070", &["gw.example.net A"]),
        ("sip:gw.example.net:5060", "udp:192.0.2.9:5060", &["gw.example.net A"]),
        ("sips:gw.example.net:5070", "tls:192.0.2.9:5070", &["gw.example.net A"]),
        ("sip:gw.example.net:5070;transport=tcp", "tcp:192.0.2.9:5070", &["gw.example.net A"]),
        ("sip:example.com:5070;maddr=gw.example.net", "udp:192.0.2.9:5070", &["gw.example.net A"]),
    ] {
        let (found, questions) = resolve(zone, uri, V4);
        assert_eq!(found.unwrap(), [target], "{uri}");
        assert_eq!(questions, asked, "{uri}");
    }
}

/// §4.1, §4.2: a transport in the URI: no NAPTR, SRV for that transport, `_sips` for TLS.
#[test]
fn a_transport_in_the_uri_chooses_the_srv_records() {
    let (found, asked) = resolve(EXAMPLE, "sip:example.com;transport=udp", V4);
    assert_eq!(found.unwrap(), ["udp:192.0.2.2:5060"]);
    assert_eq!(asked, ["_sip._udp.example.com Srv", "server2.example.com A"]);
    for uri in ["sip:example.com;transport=tls", "sips:example.com;transport=tcp"] {
        assert_eq!(resolve(EXAMPLE, uri, V4).1[0], "_sips._tcp.example.com Srv", "{uri}");
    }
}

/// §4.1: "If no NAPTR records are found, the client constructs SRV queries for those transport protocols it supports".
#[test]
fn without_naptr_every_transport_is_asked_for() {
    let without: String =
        EXAMPLE.lines().filter(|line| !line.contains("NAPTR")).collect::<Vec<_>>().join("\n");
    let (found, asked) = resolve(&without, "sip:example.com", V4);
    assert_eq!(found.unwrap(), ["udp:192.0.2.2:5060", "tcp:192.0.2.1:5060", "tcp:192.0.2.2:5060"]);
    assert_eq!(asked[..3], ["example.com Naptr", "_sip._udp.example.com Srv", "_sip._tcp.example.com Srv"]);
    let (found, asked) = resolve(&without, "sips:example.com", V4);
    assert_eq!(found.unwrap(), ["tls:192.0.2.1:5061"]);
    assert_eq!(asked[..2], ["example.com Naptr", "_sips._tcp.example.com Srv"], "\"_sips\" for SIPS URIs");
}

/// §4.1, §4.2: neither NAPTR nor SRV: the domain's own addresses, UDP for SIP and TLS over TCP for SIPS.
#[test]
fn without_srv_the_domain_itself_is_the_server() {
    let zone = "example.com A 192.0.2.1\nexample.com A 192.0.2.3";
    assert_eq!(targets(zone, "sip:example.com"), ["udp:192.0.2.1:5060", "udp:192.0.2.3:5060"]);
    assert_eq!(targets(zone, "sips:example.com"), ["tls:192.0.2.1:5061", "tls:192.0.2.3:5061"]);
    assert_eq!(targets(zone, "sip:example.com;transport=tcp")[0], "tcp:192.0.2.1:5060");
}

/// RFC 3403 §4.1: of one order by preference; RFC 3263 §4.1: what is not for us, or leads to no SRV record, is discarded.
#[test]
fn naptr_of_the_lowest_usable_order_count() {
    let zone = "
        example.com NAPTR 10 10 u E2U+sip ignored.example.com
        example.com NAPTR 10 10 a SIP+D2U ignored.example.com
        example.com NAPTR 20 20 S sip+d2u udp.example.com
        example.com NAPTR 20 10 s SIP+D2T tcp.example.com
        example.com NAPTR 30 10 s SIPS+D2T tls.example.com
        udp.example.com SRV 0 0 5060 a.example.com
        tcp.example.com SRV 0 0 5070 a.example.com
        a.example.com A 192.0.2.1";
    let (found, asked) = resolve(zone, "sip:example.com", V4);
    assert_eq!(found.unwrap(), ["tcp:192.0.2.1:5070", "udp:192.0.2.1:5060"]);
    assert_eq!(asked[1..3], ["tcp.example.com Srv", "udp.example.com Srv"]);
}

/// RFC 2782: lower priority numbers first, and a target of "." means that the service is not offered.
#[test]
fn a_service_can_be_decidedly_not_available() {
    let zone = "
        example.com A 192.0.2.1
        _sip._udp.example.com SRV 0 0 0 .
        _sip._tcp.example.com SRV 10 0 5060 b.example.com
        _sip._tcp.example.com SRV 5 0 5060 a.example.com
        a.example.com A 192.0.2.2
        b.example.com A 192.0.2.3";
    assert_eq!(targets(zone, "sip:example.com"), ["tcp:192.0.2.2:5060", "tcp:192.0.2.3:5060"]);
    let nowhere = resolve(zone, "sip:example.com;transport=udp", V4).0;
    assert_eq!(nowhere, Err(Unresolved::Nowhere), "not the domain's own address");
}

/// RFC 7984 §4: addresses of one server stay together; those of IPv6 first, where there is any.
#[test]
fn both_families_of_one_server_come_before_the_next_server() {
    let zone = "
        _sip._tcp.example.com SRV 10 1 5060 z.example.com
        _sip._tcp.example.com SRV 20 1 5060 b.example.com
        z.example.com A 192.0.2.45
        z.example.com AAAA 2001:db8:58::1
        b.example.com A 192.0.2.75
        b.example.com AAAA 2001:db8:58::2";
    let all = [
        "tcp:[2001:db8:58::1]:5060",
        "tcp:192.0.2.45:5060",
        "tcp:[2001:db8:58::2]:5060",
        "tcp:192.0.2.75:5060",
    ];
    assert_eq!(resolve(zone, "sip:example.com;transport=tcp", BOTH).0.unwrap(), all);
    assert_eq!(targets(zone, "sip:example.com;transport=tcp"), [all[1], all[3]]);
}

/// A time-out or SERVFAIL proves nothing: the domain's own address is not taken for its SIP server.
#[test]
fn a_failed_lookup_is_not_an_empty_one() {
    let address = "example.com A 192.0.2.1\n";
    for (failing, uri, expected) in [
        ("_sip._udp.example.com SRV fails", "sip:example.com", Err(Unresolved::Unknown)),
        ("_sips._tcp.example.com SRV fails", "sips:example.com", Err(Unresolved::Unknown)),
        ("example.com NAPTR fails", "sip:example.com", Ok(vec!["udp:192.0.2.1:5060".to_owned()])),
        ("gw.example.com A fails", "sip:gw.example.com:5060", Err(Unresolved::Unknown)),
        ("", "sip:nobody.example.com", Err(Unresolved::Nowhere)),
    ] {
        let zone = format!("{address}{failing}");
        assert_eq!(resolve(&zone, uri, V4).0, expected, "{failing}");
    }
    let partly = "_sip._udp.example.com SRV fails\n_sip._tcp.example.com SRV 0 0 5060 a.example.com\na.example.com A 192.0.2.2";
    assert_eq!(targets(partly, "sip:example.com"), ["tcp:192.0.2.2:5060"], "what is known can be used");
    let partly = "_sip._udp.example.com SRV 0 0 5060 a.example.com\n_sip._udp.example.com SRV 1 0 5060 b.example.com\n\
                  a.example.com A fails\nb.example.com A 192.0.2.3";
    assert_eq!(targets(partly, "sip:example.com"), ["udp:192.0.2.3:5060"]);
}

#[test]
fn the_domain_of_the_uri_is_whom_a_certificate_must_name() {
    let question = Question::of(&Uri::parse(b"sips:example.com").unwrap()).unwrap();
    let zone = zone("_sips._tcp.example.com SRV 0 0 5061 host.example.org\nhost.example.org A 192.0.2.1");
    let (mut walk, mut step) = Walk::new(question, V4, 1);
    while let Step::Ask(lookups) = &step {
        let answers: Vec<_> =
            lookups.iter().map(|it| zone.get(it).cloned().unwrap_or(Answer::Nothing)).collect();
        step = walk.answer(&answers);
    }
    let Step::Done(Ok(targets)) = step else { panic!("{step:?}") };
    assert_eq!(&*targets[0].domain, "example.com", "RFC 3263 §4.1: not what the DNS says");
}

proptest! {
    /// Whatever the DNS says, a walk ends after three rounds with few lookups and few targets.
    #[test]
    fn a_walk_is_bounded(
        names in prop::collection::vec((0_u16..3, 0_u16..3, "[a-z]{1,3}"), 0..40),
        failures in prop::collection::vec(any::<bool>(), 64),
        seed in any::<u64>(),
    ) {
        let question = Question::of(&Uri::parse(b"sip:example.com").unwrap()).unwrap();
        let (mut walk, mut step) = Walk::new(question, BOTH, seed);
        let mut rounds = 0;
        while let Step::Ask(lookups) = &step {
            rounds += 1;
            prop_assert!(rounds <= 3 && lookups.len() <= 16);
            let answers: Vec<_> = lookups.iter().zip(&failures).map(|(lookup, fails)| {
                let records: Vec<Record> = names.iter().map(|(a, b, name)| match lookup.kind {
                    Kind::Naptr => Record::Naptr(Naptr {
                        order: *a, preference: *b, flags: "s".into(), service: "SIP+D2U".into(),
                        regexp: String::new(), replacement: name.clone(),
                    }),
                    Kind::Srv => Record::Srv(Srv { priority: *a, weight: *b, port: 5060, target: name.clone() }),
                    Kind::A | Kind::Aaaa => Record::Address([192, 0, 2, u8::try_from(*a).unwrap()].into()),
                }).collect();
                if *fails { Answer::Failed } else { Answer::Found(records.into()) }
            }).collect();
            step = walk.answer(&answers);
        }
        if let Step::Done(Ok(targets)) = step {
            prop_assert!((1..=16).contains(&targets.len()));
        }
    }
}
