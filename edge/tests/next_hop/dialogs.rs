//! Before registrars of others: requests within dialogs, dialogs with a proxy in front that has closed its stream, and servers that have failed or pause.
//! RFC 3261 §12.2, RFC 3263 §4.3, RFC 5658 §5.

use super::*;

/// RFC 3261 §12.2, §16.4: whoever of the two begins.
#[test]
fn requests_within_a_dialog_find_their_way_in_both_directions() {
    let mut stage = Stage::new();
    let call_id = call_for(one());
    stage.asks(alice(), "INVITE", "sip:bob@example.com", &call_id, "");
    let (up, invite) = stage.next_up();
    let token = keys().mint(&alice());
    let recorded = values(&invite, Name::RecordRoute);
    assert_eq!(
        recorded,
        [format!("<sip:in.{token}@{EDGE};lr>"), format!("<sip:{token}@sip.example.com;transport=tcp;lr>"),]
    );
    stage.answer(up, &invite, 200);
    stage.settle();
    assert_eq!(stage.statuses(alice()), [200]);
    // The registrar has record-routed itself; the caller has the list turned round.
    let mut list = vec!["<sip:10.0.0.1;lr>".to_owned()];
    list.extend(recorded.clone());
    list.reverse();
    for method in ["ACK", "BYE"] {
        let text = request(method, "sip:bob@10.9.9.9", &call_id, "z9hG4bKua2", ";tag=b", &routes(&list));
        stage.says(alice(), &text);
        let (to, request) = stage.next_up();
        assert_eq!((to.remote, request.method.as_str()), (one(), method));
        assert_eq!(values(&request, Name::Route), ["<sip:10.0.0.1;lr>"], "{method}");
        assert_eq!(request.uri, "sip:bob@10.9.9.9");
    }
    // The callee's requests come from the registrar, which has taken itself off.
    let text = request("BYE", "sip:alice@10.1.1.1", &call_id, "z9hG4bKr", ";tag=a2", &routes(&recorded));
    stage.says(registrar(), &text);
    let (to, bye) = stage.next_down();
    assert_eq!(to, alice());
    assert!(values(&bye, Name::Route).is_empty());
}

/// A registrar that stays out of the dialog leaves the entries of both UAs side by side.
#[test]
fn two_phones_of_this_edge_without_anybody_between() {
    let (a, b) = (keys().mint(&alice()), keys().mint(&bob()));
    let pair = |token: &str, transport: &str| {
        [format!("<sip:{token}@sip.example.com{transport};lr>"), format!("<sip:in.{token}@{EDGE};lr>")]
    };
    let (out, back) = (pair(&a, ";transport=tcp"), pair(&b, ""));
    let list = [out[0].clone(), out[1].clone(), back[1].clone(), back[0].clone()];
    let mut stage = Stage::new();
    stage.says(alice(), &request("BYE", "sip:bob@10.2.2.2", "c", "z9hG4bKua2", ";tag=b", &routes(&list)));
    let (to, bye) = stage.next_down();
    assert_eq!(to, bob());
    assert!(values(&bye, Name::Route).is_empty());
    assert!(stage.up.is_empty());
}

/// The proxy in front is reached where its Route says, and the dialog that begins so has both our entries, as any other has.
#[test]
fn a_dialog_to_a_peer_that_has_closed_its_stream_goes_on() {
    for (source, inner) in [(registrar(), ""), (flow(Protocol::Tcp, "10.0.0.2:61234"), ";transport=tcp")] {
        let mut stage = Stage::new();
        let front = address("203.0.113.5:5070");
        stage.servers.insert(front, Server::Fine);
        let gone = keys().mint(&flow(Protocol::Tcp, "203.0.113.5:40001"));
        let peer = "<sip:203.0.113.5:5070;transport=tcp;lr>".to_owned();
        let path = [format!("<sip:in.{gone}@{EDGE};lr>"), peer.clone()];
        stage.asks(source, "INVITE", "sip:bob@10.2.2.2", "c", &routes(&path));
        let (opened, invite) = stage.next_up();
        assert_eq!(opened.remote, front);
        let token = keys().mint(&opened);
        let recorded = values(&invite, Name::RecordRoute);
        let pair = [
            format!("<sip:{token}@sip.example.com;transport=tcp;lr>"),
            format!("<sip:in.{token}@{EDGE}{inner};lr>"),
        ];
        assert_eq!(recorded, pair);
        stage.answer(opened, &invite, 200);
        stage.settle();
        assert_eq!(stage.statuses(source), [200]);
        // The caller's requests come from the registrar.
        let down = [pair[1].clone(), pair[0].clone(), peer.clone()];
        for method in ["ACK", "INVITE", "BYE"] {
            let branch = format!("z9hG4bK{method}");
            let text = request(method, "sip:bob@10.2.2.2", "c", &branch, ";tag=b", &routes(&down));
            stage.says(source, &text);
            let (to, request) = stage.next_up();
            assert_eq!((to, request.method.as_str()), (opened, method));
            assert_eq!(values(&request, Name::Route), std::slice::from_ref(&peer), "{method}");
        }
        // The callee's go up.
        let up = [pair[0].clone(), pair[1].clone(), "<sip:10.0.0.1;lr>".to_owned()];
        stage.says(opened, &request("BYE", "sip:a@10.3.3.3", "c", "z9hG4bKb", ";tag=a2", &routes(&up)));
        let (to, bye) = stage.next_up();
        assert_eq!((to.remote, values(&bye, Name::Route)), (one(), up[2..].to_vec()));
    }
}

/// A request of Alice's dialog that a server stays in.
fn within(stage: &mut Stage, method: &str, call_id: &str, server: SocketAddr) {
    let token = keys().mint(&alice());
    let list = [
        format!("<sip:{token}@sip.example.com;transport=tcp;lr>"),
        format!("<sip:in.{token}@{EDGE};lr>"),
        format!("<sip:{server};lr>"),
    ];
    let branch = format!("z9hG4bK{method}");
    stage.says(alice(), &request(method, "sip:bob@10.9.9.9", call_id, &branch, ";tag=b", &routes(&list)));
}

/// RFC 3261 §12.2: nobody else knows the dialog, so one refusal to somebody else does not move it.
#[test]
fn a_dialog_stays_with_a_server_that_has_failed() {
    for server in [one(), two()] {
        for method in ["ACK", "INVITE", "BYE"] {
            let mut stage = Stage::new();
            let call_id = call_for(server);
            stage.servers.insert(server, Server::Busy);
            stage.asks(bob(), "MESSAGE", "sip:x@example.com", &call_id, "");
            stage.servers.insert(server, Server::Fine);
            let tried: Vec<SocketAddr> = stage.up.drain(..).map(|(flow, _)| flow.remote).collect();
            assert_eq!((tried.len(), tried[0]), (2, server), "the 503 was heard");
            within(&mut stage, method, &call_id, server);
            assert_eq!(stage.next_up().0.remote, server, "{method}");
        }
    }
}

/// Nor does its death, of which the edge may be mistaken. Another server is asked afterwards; an ACK is for one only.
#[test]
fn a_dialog_asks_a_server_that_does_not_live() {
    for method in ["ACK", "INVITE", "BYE"] {
        let mut stage = Stage::new();
        stage.servers.insert(one(), Server::Silent);
        stage.wait(8 * SECOND);
        assert_eq!(stage.living, 1);
        within(&mut stage, method, &call_for(two()), one());
        stage.wait(5 * SECOND);
        let mut tried: Vec<SocketAddr> = stage.up.drain(..).map(|(flow, _)| flow.remote).collect();
        tried.dedup();
        let expected = if method == "ACK" { vec![one()] } else { vec![one(), two()] };
        assert_eq!(tried, expected, "{method}");
    }
    let mut stage = Stage::new();
    let connection = stage.flow_of(two());
    stage.servers.insert(two(), Server::Closed);
    stage.give(Input::FlowDown(connection));
    within(&mut stage, "ACK", &call_for(two()), two());
    assert!(stage.up.is_empty(), "{:?}", stage.up);
}

/// RFC 3261 §21.1.1: 100 says that the request has arrived, and nothing of what becomes of it.
#[test]
fn another_server_takes_a_call_when_one_dies_after_100() {
    for (home, status) in [(one(), 100), (two(), 100), (one(), 180), (two(), 180)] {
        let other = if home == one() { two() } else { one() };
        let mut stage = Stage::new();
        let call_id = call_for(home);
        stage.asks(alice(), "INVITE", "sip:bob@example.com", &call_id, "");
        let (flow, invite) = stage.next_up();
        assert_eq!(flow.remote, home);
        stage.answer(flow, &invite, status);
        stage.wait(5 * SECOND);
        assert!(stage.up.is_empty(), "it lives, and may take its time");
        if flow.protocol.is_reliable() {
            stage.servers.insert(home, Server::Closed);
            stage.give(Input::FlowDown(flow));
        } else {
            stage.servers.insert(home, Server::Silent);
        }
        stage.wait(12 * SECOND);
        stage.up.retain(|(_, request)| request.method == Method::Invite);
        let tried: Vec<SocketAddr> = stage.up.iter().map(|(flow, _)| flow.remote).collect();
        if status == 180 {
            assert!(tried.is_empty(), "it rings: {tried:?}");
            continue;
        }
        assert_eq!(tried, [other], "{home}");
        let (flow, again) = stage.next_up();
        stage.answer(flow, &again, 200);
        stage.settle();
        assert_eq!(stage.statuses(alice()), [200]);
    }
}

/// RFC 3263 §4.3, for what has no transaction.
#[test]
fn a_server_that_an_ack_has_not_reached_is_asked_last() {
    let mut stage = Stage::new();
    let (connection, call_id) = (stage.flow_of(two()), call_for(two()));
    stage.servers.insert(two(), Server::Closed);
    stage.give(Input::FlowDown(connection));
    stage.says(alice(), &request("ACK", "sip:bob@10.9.9.9", &call_id, "z9hG4bKack", ";tag=b", ""));
    assert_eq!(stage.next_up().0.remote, one());
    stage.servers.insert(two(), Server::Fine);
    stage.says(alice(), &request("MESSAGE", "sip:bob@example.com", &call_id, "z9hG4bKnext", "", ""));
    assert_eq!(stage.next_up().0.remote, one());
}

/// RFC 3261 §21.5.4: one pause is no reason to refuse everybody, but nobody waits for long, and a server that says 503 means it.
#[test]
fn a_server_that_pauses_is_tried_for_a_moment_if_nobody_else_lives() {
    for (next_hop, server) in [("sip:10.0.0.1", one()), ("sip:10.0.0.2:5070;transport=tcp", two())] {
        let mut stage = Stage::with(&[next_hop]);
        let asks = |stage: &mut Stage, branch: &str| {
            stage.says(alice(), &request("MESSAGE", "sip:bob@example.com", branch, branch, "", ""));
        };
        stage.servers.insert(server, Server::Silent);
        stage.wait(8 * SECOND);
        assert_eq!(stage.living, 0);
        asks(&mut stage, "z9hG4bK1");
        let (flow, message) = stage.next_up();
        stage.answer(flow, &message, 200);
        stage.settle();
        assert_eq!(stage.statuses(alice()), [200]);
        asks(&mut stage, "z9hG4bK2");
        assert_eq!(stage.next_up().0.remote, server);
        stage.wait(5 * SECOND);
        assert_eq!(stage.statuses(alice()), [200, 503]);
        let Some((_, Message::Response(refusal))) = stage.down.pop() else { panic!("no answer") };
        assert!(refusal.headers.get(Name::RetryAfter).is_some());
        stage.wait(5 * SECOND);
        stage.up.clear();
        asks(&mut stage, "z9hG4bK3");
        assert_eq!((stage.up.len(), stage.statuses(alice())), (0, vec![200, 503]), "it was no pause");

        let mut stage = Stage::with(&[next_hop]);
        stage.servers.insert(server, Server::Busy);
        stage.wait(8 * SECOND);
        asks(&mut stage, "z9hG4bK1");
        assert_eq!((stage.up.len(), stage.statuses(alice())), (0, vec![503]));
    }
}

/// RFC 3261 §9.1: nobody waits for it any more.
#[test]
fn a_call_that_such_a_server_lets_ring_too_late_is_cancelled() {
    let mut stage = Stage::with(&["sip:10.0.0.1"]);
    stage.servers.insert(one(), Server::Silent);
    stage.wait(8 * SECOND);
    stage.asks(alice(), "INVITE", "sip:bob@example.com", "c", "");
    let (flow, invite) = stage.next_up();
    stage.wait(5 * SECOND);
    assert_eq!(stage.statuses(alice()), [503]);
    stage.up.clear();
    stage.answer(flow, &invite, 180);
    stage.settle();
    let (to, cancel) = stage.next_up();
    assert_eq!((to, cancel.method.as_str()), (flow, "CANCEL"));
    assert_eq!(cancel.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    assert_eq!(stage.statuses(alice()), [503]);
}
