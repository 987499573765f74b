//! The oracle complains about what it is there for, and about nothing else.

use super::*;

const UA: Node = Node::Ua(0);
const CALLEE: Node = Node::Ua(1);
const EDGE: Node = Node::Edge(0);
const CORE: Node = Node::Core(0);
const OTHER: Node = Node::Core(1);

/// A call as it should be, message by message: who sends what to whom.
fn call() -> Vec<(Node, Node, String)> {
    let ua = "Via: SIP/2.0/UDP 172.16.0.1:5060;branch=z9hG4bKua\r\n";
    let seen = "Via: SIP/2.0/UDP 172.16.0.1:5060;branch=z9hG4bKua;received=203.0.113.1;rport=4\r\n";
    let edge = format!("Via: SIP/2.0/TLS edge-1;branch=z9hG4bKe1\r\n{seen}");
    let core = format!("Via: SIP/2.0/TLS core.invalid;branch=z9hG4bKc1\r\n{edge}");
    let last = format!("Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKe2\r\n{core}");
    let path = "Route: <sip:token@edge-1;lr;ob>\r\n";
    let binding = "sip:bob@172.16.0.2:5060";
    let mut messages = vec![
        (UA, EDGE, invite("sip:bob@example.com", ua, 70)),
        (EDGE, CORE, invite("sip:bob@example.com", &edge, 69)),
        (CORE, EDGE, invite(binding, &format!("{core}{path}"), 68)),
        (EDGE, CALLEE, invite(binding, &last, 67)),
    ];
    for status in [180, 200] {
        messages.extend([
            (CALLEE, EDGE, response(status, &last)),
            (EDGE, CORE, response(status, &core)),
            (CORE, EDGE, response(status, &edge)),
            (EDGE, UA, response(status, seen)),
        ]);
    }
    messages
}

fn invite(uri: &str, headers: &str, hops: u32) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\n{headers}Max-Forwards: {hops}\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\n\r\n"
    )
}

fn response(status: u16, vias: &str) -> String {
    format!(
        "SIP/2.0 {status} X\r\n{vias}From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\n\
         Call-ID: call\r\nCSeq: 1 INVITE\r\n\r\n"
    )
}

/// Plays messages and gives the complaints; everything arrives at once.
fn complaints(messages: &[(Node, Node, String)]) -> Vec<String> {
    let mut oracle = Oracle::default();
    oracle.add_ua("172.16.0.1:5060");
    oracle.add_ua("172.16.0.2:5060");
    oracle.stored([("sip:bob@172.16.0.2:5060".to_owned(), vec!["<sip:token@edge-1;lr;ob>".to_owned()])]);
    for (at, (from, to, text)) in (0..).zip(messages) {
        let wire = Wire::new(*from, *to, Bytes::from(text.clone()));
        oracle.sent(Duration::from_millis(at), &wire);
        oracle.arrived(Duration::from_millis(at), &wire);
    }
    oracle.finish();
    oracle.complaints
}

/// The call with one message changed.
fn with(index: usize, change: impl Fn(&str) -> String) -> Vec<(Node, Node, String)> {
    let mut messages = call();
    messages[index].2 = change(&messages[index].2);
    messages
}

fn expect(messages: &[(Node, Node, String)], complaint: &str) {
    let found = complaints(messages);
    assert!(found.iter().any(|text| text.contains(complaint)), "no `{complaint}` in {found:#?}");
}

#[test]
fn a_call_as_it_should_be_gives_no_complaint() {
    assert_eq!(complaints(&call()), [""; 0]);
}

#[test]
fn repetitions_give_no_complaint() {
    let twice: Vec<_> = call().into_iter().flat_map(|message| [message.clone(), message]).collect();
    assert_eq!(complaints(&twice), [""; 0]);
}

#[test]
fn a_response_to_nobody() {
    expect(&with(7, |text| text.replace("z9hG4bKua", "z9hG4bKother")), "a response to nobody");
    let mut astray = call();
    astray[7].1 = CALLEE;
    expect(&astray, "the request was sent by UA0");
}

#[test]
fn vias_that_are_not_restored() {
    expect(&with(5, |text| text.replace("rport=4", "rport=5")), "not restored");
    expect(&with(6, |text| text.replace("Via: SIP/2.0/UDP", "Via: SIP/2.0/TCP")), "not restored");
}

#[test]
fn vias_below_that_were_touched() {
    expect(
        &with(2, |text| text.replace("edge-1;branch=z9hG4bKe1", "edge-2;branch=z9hG4bKe1")),
        "not as they were",
    );
    expect(&with(1, |text| text.replace("z9hG4bKua", "z9hG4bKub")), "nobody has sent it");
}

#[test]
fn hops_that_are_not_counted() {
    expect(&with(2, |text| text.replace("Max-Forwards: 68", "Max-Forwards: 69")), "Max-Forwards was");
    expect(&with(1, |text| text.replace("Max-Forwards: 69\r\n", "")), "Max-Forwards was");
}

#[test]
fn a_branch_that_is_used_twice() {
    let mut messages = call();
    let (from, to, text) = messages[3].clone();
    messages.push((from, to, text.replace("CSeq: 1", "CSeq: 2")));
    expect(&messages, "its branch stood for");
    let mut messages = call();
    messages.push((CALLEE, EDGE, messages[0].2.clone()));
    expect(&messages, "also used by UA0");
}

#[test]
fn the_path_of_another_binding() {
    expect(&with(2, |text| text.replace("token@edge-1", "other@edge-1")), "Path vector");
    let two = |text: &str| text.replace("Route: ", "Route: <sip:x@edge-2;lr>\r\nRoute: ");
    expect(&with(2, two), "Path vector");
}

#[test]
fn a_request_for_somebody_else() {
    expect(&with(3, |text| text.replace("172.16.0.2:5060 SIP", "172.16.0.9:5060 SIP")), "not meant for");
    expect(
        &with(3, |text| text.replace("Max-Forwards", "Route: <sip:x@h;lr>\r\nMax-Forwards")),
        "gets a Route",
    );
}

#[test]
fn a_phone_that_is_rung_twice() {
    let mut messages = call();
    let (from, to, text) = messages[3].clone();
    messages.insert(4, (from, to, text.replace("z9hG4bKe2", "z9hG4bKe3")));
    expect(&messages, "at the same time");
}

#[test]
fn a_call_without_an_end() {
    let call = call();
    expect(&call[..4], "never got a final");
    expect(&call[..11], "was lost");
}

#[test]
fn a_second_final() {
    let mut messages = call();
    let last = messages[11].2.clone();
    messages.push((EDGE, UA, last.replace("200", "486")));
    expect(&messages, "a refusal after 200");
    messages[11].2 = last.replace("200", "480");
    expect(&messages, "differs from the first");
}

#[test]
fn a_430_for_a_ua() {
    expect(&with(11, |text| text.replace("200", "430")), "gets a 430");
}

#[test]
fn a_cancel_for_nothing() {
    let mut messages = call();
    let cancel = messages[3].2.replace("INVITE", "CANCEL").replace("z9hG4bKe2", "z9hG4bKnone");
    let cancel = cancel.replacen(
        &cancel[cancel.find("Via: SIP/2.0/TLS core").unwrap()..cancel.find("Max").unwrap()],
        "",
        1,
    );
    messages.push((EDGE, CALLEE, cancel));
    expect(&messages, "a CANCEL for nothing");
}

#[test]
fn cores_are_one_element() {
    let mut messages = call();
    // The edge asks another core, on a branch of its own; that goes on with the branch of the first.
    let again = messages[1].2.replace("z9hG4bKe1", "z9hG4bKe1-1");
    let on = messages[2].2.replace("z9hG4bKe1", "z9hG4bKe1-1");
    messages.insert(4, (EDGE, OTHER, again));
    messages.insert(5, (OTHER, EDGE, on));
    // The answers come through the other one.
    for message in &mut messages {
        for node in [&mut message.0, &mut message.1] {
            if *node == CORE && message.2.starts_with("SIP/2.0") {
                *node = OTHER;
            }
        }
    }
    assert_eq!(complaints(&messages), [""; 0]);
}

/// A registration of Bob that was acknowledged.
fn registered() -> Vec<(Node, Node, String)> {
    let contact = "Contact: <sip:bob@172.16.0.2:5060>";
    let head = "Via: SIP/2.0/UDP 172.16.0.2:5060;branch=z9hG4bKreg\r\nFrom: <sip:bob@example.com>;tag=r\r\n\
                To: <sip:bob@example.com>\r\nCall-ID: reg\r\nCSeq: 1 REGISTER\r\n";
    vec![
        (CALLEE, EDGE, format!("REGISTER sip:example.com SIP/2.0\r\n{head}{contact}\r\n\r\n")),
        (EDGE, CALLEE, format!("SIP/2.0 200 OK\r\n{head}{contact};expires=3600\r\n\r\n")),
    ]
}

#[test]
fn an_acknowledged_binding_that_is_not_tried() {
    let mut messages = registered();
    messages.extend(call().into_iter().take(2));
    let (from, to, text) = call()[11].clone();
    messages.push((from, to, text.replace("200 X", "480 X")));
    expect(&messages, "acknowledged, but not tried");
    let mut tried = registered();
    tried.extend(call());
    assert_eq!(complaints(&tried), [""; 0]);
}
