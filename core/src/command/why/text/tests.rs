use super::*;
use crate::contact::Contact;
use crate::why::{Group, PassedOver};

fn bound(number: u64, flow: Flow) -> Bound {
    let contact = Contact {
        contact: format!("sip:alice@192.0.2.{number}:5060"),
        params: String::new(),
        q: 1000,
        expires_in: 3_552,
        expires_at: 1_003_552,
        edge: "edge-1".to_owned(),
        source: format!("udp:192.0.2.{number}:5060"),
        path: vec![format!("<sip:token{number}@edge-1;lr;ob>")],
        instance: Some("urn:uuid:1".to_owned()),
        reg_id: Some(1),
        user_agent: "Phone\u{1b}[2J".to_owned(),
        written_by: "core-2".to_owned(),
        call_id: "call".to_owned(),
        cseq: 7,
        registered_at: 1_000_000 - 90_061,
        updated_at: 1_000_000 - 48,
    };
    Bound { number, contact, gruu: Some("sip:alice@example.com;gr=urn:uuid:1".to_owned()), flow }
}

fn way(contact: u64, edge: Option<&str>) -> Way {
    Way {
        contact,
        request_uri: format!("sip:alice@192.0.2.{contact}:5060"),
        route: vec![format!("<sip:token{contact}@edge-1;lr;ob>")],
        edge: edge.map(str::to_owned),
    }
}

fn why() -> Why {
    Why {
        address: "alice@example.com".to_owned(),
        core: Some("core-1".to_owned()),
        at: 1_000_000,
        served: true,
        user: Some(true),
        store: Store::Database,
        contacts: vec![bound(1, Flow::Open)],
        call: Call {
            request_uri: "sip:alice@example.com".to_owned(),
            groups: vec![
                Group {
                    q: 1000,
                    branches: vec![
                        Branch { ways: vec![way(1, Some("edge-1")), way(2, None)] },
                        Branch { ways: vec![way(3, Some("edge-2"))] },
                    ],
                },
                Group { q: 300, branches: vec![Branch { ways: vec![way(4, Some("edge-1"))] }] },
            ],
            passed_over: vec![PassedOver { contact: 5, why: Skip::FlowLost }],
            exit: None,
            answer: None,
            strangers: None,
        },
    }
}

#[test]
fn a_page_has_everything_and_no_escape_of_a_stranger() {
    let expected = "\
address      alice@example.com
answered by  core-1, Mon, 12 Jan 1970 13:46:40 GMT
user         exists
contacts     1

contact 1    sip:alice@192.0.2.1:5060
  flow       open: the edge has a link to this core
  edge       edge-1, from udp:192.0.2.1:5060
  Path       <sip:token1@edge-1;lr;ob>
  q          1.0
  instance   urn:uuid:1, reg-id 1
  GRUU       sip:alice@example.com;gr=urn:uuid:1
  expires    in 59 min 12 s
  written    48 s ago by core-2
             Call-ID call, CSeq 7
  registered 1 d 1 h ago with this Path
  User-Agent Phone\\u{1b}[2J

a call now   INVITE sip:alice@example.com
  at once    2 branches at the same time, q 1.0
             contact 1 by edge-1: INVITE sip:alice@192.0.2.1:5060
               Route: <sip:token1@edge-1;lr;ob>
    or else  contact 2 FAILS AT ONCE, no edge with a link has it: INVITE sip:alice@192.0.2.2:5060
               Route: <sip:token2@edge-1;lr;ob>
             contact 3 by edge-2: INVITE sip:alice@192.0.2.3:5060
               Route: <sip:token3@edge-1;lr;ob>
  then       one branch, q 0.3, when all before have come to nothing
             contact 4 by edge-1: INVITE sip:alice@192.0.2.4:5060
               Route: <sip:token4@edge-1;lr;ob>
  not tried  contact 5: its edge says that the flow is lost
";
    assert_eq!(of(&why(), None), expected);
}

#[test]
fn without_a_core_it_is_said_what_is_missing() {
    let why = Why { core: None, ..why() };
    let text = of(&why, Some("127.0.0.1:9470: Connection refused"));
    assert!(text.contains("the database alone"), "{text}");
    assert!(text.contains("no core was asked: 127.0.0.1:9470: Connection refused"), "{text}");
    assert!(text.contains("links and lost flows are not known"), "{text}");
}

#[test]
fn an_answer_and_a_way_out_are_shown() {
    let refusal = |status| Refusal { status, reason: "Reason".to_owned(), why: "of this".to_owned() };
    let none = Call { groups: Vec::new(), passed_over: Vec::new(), ..why().call };
    let refused = Call { answer: Some(refusal(404)), strangers: Some(refusal(480)), ..none.clone() };
    let text = of(&Why { contacts: Vec::new(), user: Some(false), call: refused, ..why() }, None);
    for line in [
        "user         there is no such user\n",
        "contacts     none is registered\n",
        "  answer     404 Reason at once\n             because of this\n",
        "  strangers  callers who are none of ours get 480 Reason\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let edges = vec!["edge-1".to_owned(), "edge-2".to_owned()];
    let exit = Exit { request_uri: "sip:1@gw".to_owned(), next_hop: None, edges };
    let text = of(&Why { call: Call { exit: Some(exit), ..none }, ..why() }, None);
    let lines = "  leaves     INVITE sip:1@gw\n  next hop   what the DNS says (RFC 3263)\n  edge       edge-1 or edge-2, by the Call-ID\n";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn spans_and_preferences_are_short() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_600, "1 h"),
        (3_661, "1 h 1 min"),
        (90_061, "1 d 1 h"),
        (86_401, "1 d"),
    ] {
        assert_eq!(span(seconds), text);
    }
    assert_eq!([q(1000), q(500), q(0), q(725)], ["1.0", "0.5", "0.0", "0.725"]);
}
