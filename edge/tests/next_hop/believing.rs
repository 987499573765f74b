//! Whom an edge before registrars of others believes, and what it takes from the rest: RFC 3261 §16.4, §26, RFC 5626 §5.3.1.

use super::*;

/// What only somebody believed may say.
const CLAIMS: &str = "Path: <sip:evil@example.net;lr>\r\nP-Asserted-Identity: <sip:ceo@example.com>\r\n\
                      Remote-Party-ID: <sip:ceo@example.com>;party=calling\r\n";

/// The address of a registrar, and not the registrar: another program there, a phone behind the same NAT, a forged datagram.
fn beside() -> [Flow; 2] {
    [flow(Protocol::Udp, "10.0.0.1:5099"), flow(Protocol::Tcp, "10.0.0.1:40000")]
}

fn claims(request: &Request) -> usize {
    let text = String::from_utf8_lossy(&request.encode()).into_owned();
    // Our own Path is one of ours.
    let names = ["evil@", "P-Asserted-Identity", "Remote-Party-ID", "ceo@"];
    names.iter().filter(|name| text.contains(**name)).count()
}

#[test]
fn the_address_of_a_next_hop_alone_is_no_proof() {
    for source in beside() {
        for method in ["INVITE", "REGISTER", "MESSAGE"] {
            let mut stage = Stage::new();
            let extra = format!("{CLAIMS}Route: <sip:192.0.2.200;lr>\r\n");
            stage.asks(source, method, "sip:x@example.com", "c", &extra);
            let (_, request) = stage.next_up();
            assert_eq!(claims(&request), 0, "{method}: {request:?}");
            assert!(values(&request, Name::Route).is_empty(), "{method}");
        }
    }
}

/// The token of one's own flow proves that one is there, not who one is; the Route of the dialog is kept.
#[test]
fn nor_is_it_for_what_goes_up_with_a_token() {
    for source in beside() {
        let token = keys().mint(&source);
        let list = [
            format!("<sip:{token}@sip.example.com;lr>"),
            format!("<sip:in.{token}@{EDGE};lr>"),
            "<sip:10.0.0.2:5070;transport=tcp;lr>".to_owned(),
        ];
        let mut stage = Stage::new();
        let extra = format!("{CLAIMS}{}", routes(&list));
        stage.says(source, &request("BYE", "sip:bob@10.9.9.9", "c", "z9hG4bKs", ";tag=b", &extra));
        let (to, bye) = stage.next_up();
        assert_eq!((to.remote, claims(&bye)), (two(), 0));
        assert_eq!(values(&bye, Name::Route), list[2..]);
    }
}

/// RFC 3261 §11, over the registrar's own connection, too.
#[test]
fn options_of_a_registrar_are_answered_wherever_they_come_from() {
    for source in beside() {
        let mut stage = Stage::new();
        stage.asks(source, "OPTIONS", &format!("sip:{EDGE}"), "c", "");
        assert_eq!(stage.statuses(source), [200]);
        assert!(stage.up.is_empty());
    }
}

/// RFC 3261 §16.4 has a registrar follow a Route: what strangers begin has none when it gets there.
#[test]
fn strangers_do_not_lead_the_registrar_to_a_phone() {
    let stranger = flow(Protocol::Udp, "198.51.100.66:5060");
    let token = keys().mint(&bob());
    for own in [String::new(), format!("Route: <sip:{EDGE};lr>\r\n")] {
        for entry in [format!("in.{token}@{EDGE}"), format!("{token}@{EDGE}"), format!("in.{token}@edge-2")] {
            let mut stage = Stage::new();
            let route = format!("{own}Route: <sip:{entry};lr>\r\n");
            stage.asks(stranger, "INVITE", "sip:bob@10.1.1.1", "c", &route);
            match stage.statuses(stranger).as_slice() {
                [] => assert!(values(&stage.next_up().1, Name::Route).is_empty(), "{route}"),
                [403] => assert!(stage.up.is_empty()),
                other => panic!("{other:?}"),
            }
            assert!(stage.down.iter().all(|(flow, _)| *flow != bob()));
        }
    }
}

/// RFC 3261 §21.5.4: the limits per source are for those who only have a registrar's address, and not for the registrar.
#[test]
fn the_limits_per_source_are_not_for_next_hops() {
    let limits = Limits { registrations: 1, calls: 1, others: 1 };
    let next_hops = ["sip:10.0.0.1", "sip:10.0.0.2:5070;transport=tcp"];
    let [other, _] = beside();
    let route = format!("Route: <sip:in.{}@{EDGE};lr>\r\n", keys().mint(&alice()));
    let passes = |source: Flow, extra: &str| {
        let mut stage = Stage::limited(&next_hops, limits);
        for number in 0..40 {
            let branch = format!("z9hG4bKs{number}");
            stage.says(source, &request("MESSAGE", "sip:alice@10.1.1.1", &branch, &branch, "", extra));
        }
        stage.up.len() + stage.down.iter().filter(|(flow, _)| *flow == alice()).count()
    };
    assert_eq!(passes(other, ""), 11, "ten seconds' worth and one");
    assert_eq!(passes(other, &route), 40);
    let mut stage = Stage::limited(&next_hops, limits);
    for number in 0..40 {
        let branch = format!("z9hG4bKs{number}");
        let options = request("OPTIONS", &format!("sip:{EDGE}"), &branch, &branch, "", "");
        stage.says(registrar(), &options);
    }
    assert_eq!(stage.statuses(registrar()), [200; 40]);
}
