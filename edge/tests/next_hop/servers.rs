//! Which of several registrars takes a request, and which one nothing: RFC 3261 §18.1.1, §26.2.2, RFC 3263 §4.2, §4.3.

use super::*;

/// RFC 3263 §4.2: a name with a port has addresses and no order; without one its servers have the order of SRV.
#[test]
fn servers_of_one_name_share_the_load_or_stand_in_for_each_other() {
    for (next_hop, shared) in [("sip:two.example.net:5060", true), ("sip:two.example.net", false)] {
        let mut stage = Stage::with(&[next_hop]);
        assert_eq!(stage.living, 2, "both are watched");
        let mut seen = BTreeMap::<SocketAddr, usize>::new();
        for number in 0..40 {
            stage.message(number);
            *seen.entry(stage.next_up().0.remote).or_default() += 1;
        }
        assert_eq!(seen.len(), if shared { 2 } else { 1 }, "{seen:?}");
        assert!(seen.contains_key(&one()));
        stage.servers.insert(one(), Server::Silent);
        stage.wait(8 * SECOND);
        stage.up.clear();
        stage.asks(alice(), "MESSAGE", "sip:x@example.com", "other", "");
        assert_eq!(stage.next_up().0.remote, two(), "{next_hop}");
    }
}

/// What the DNS says is looked up again; while it says nothing, everything stays as it is.
#[test]
fn a_name_may_move() {
    let mut stage = Stage::with(&["sip:two.example.net:5060"]);
    stage.names.clear();
    stage.wait(40 * SECOND);
    assert_eq!(stage.living, 2);
    stage.names.insert("two.example.net", vec![two()]);
    stage.wait(40 * SECOND);
    assert_eq!(stage.living, 1);
    for number in 0..10 {
        stage.message(number);
        assert_eq!(stage.next_up().0.remote, two());
    }
}

/// The registrar of the dialog is asked, whatever the Call-ID says: by its Record-Route, or as the end of the dialog.
#[test]
fn the_server_of_the_dialog_goes_first() {
    let token = keys().mint(&alice());
    let own = format!(
        "Route: <sip:{token}@sip.example.com;transport=tcp;lr>\r\nRoute: <sip:in.{token}@{EDGE};lr>\r\n"
    );
    for other in [one(), two()] {
        let home = if other == one() { two() } else { one() };
        for (uri, route) in [
            ("sip:bob@10.9.9.9".to_owned(), format!("Route: <sip:{other};lr>\r\n")),
            (format!("sip:asterisk@{other}"), String::new()),
        ] {
            let mut stage = Stage::new();
            let text =
                request("BYE", &uri, &call_for(home), "z9hG4bKua2", ";tag=b", &format!("{own}{route}"));
            stage.says(alice(), &text);
            assert_eq!(stage.next_up().0.remote, other, "{uri} {route}");
        }
    }
}

/// RFC 3263 §4.3: a 503, a failed transport, silence. Every attempt has a branch of its own.
#[test]
fn another_server_takes_what_one_does_not() {
    for home in [one(), two()] {
        let other = if home == one() { two() } else { one() };
        let call_id = call_for(home);
        for fault in [Server::Busy, Server::Silent, Server::Closed] {
            let mut stage = Stage::new();
            stage.servers.insert(home, fault);
            if fault == Server::Closed {
                let flow = stage.flow_of(home);
                stage.asks(alice(), "INVITE", "sip:bob@example.com", &call_id, "");
                stage.give(Input::FlowDown(flow));
            } else {
                stage.asks(alice(), "INVITE", "sip:bob@example.com", &call_id, "");
            }
            stage.wait(5 * SECOND);
            stage.up.retain(|(_, request)| request.method == Method::Invite);
            let attempts: Vec<SocketAddr> = stage.up.iter().map(|(flow, _)| flow.remote).collect();
            assert_eq!(attempts, [home, other], "{fault:?}");
            let branch = |at: usize| stage.up[at].1.top_via().unwrap().branch().unwrap().to_owned();
            assert_ne!(branch(0), branch(1));
            let (flow, invite) = stage.up.remove(1);
            assert_eq!(values(&invite, Name::RecordRoute).len(), 2, "each copy has one pair");
            stage.answer(flow, &invite, 200);
            stage.settle();
            assert_eq!(stage.statuses(alice()), [200], "{fault:?}");
        }
    }
}

/// Every refusal makes its server suspect: it is asked twice a second, and not once for each.
#[test]
fn a_server_that_refuses_everything_is_not_asked_all_the_time() {
    let mut stage = Stage::new();
    stage.wait(7 * SECOND);
    let before = stage.pings.len();
    let mut refused = 0;
    for number in 0..40 {
        let branch = format!("z9hG4bKua{number}");
        stage.says(alice(), &request("INVITE", "sip:bob@example.com", "c", &branch, "", ""));
        while let Some((flow, invite)) = stage.up.pop() {
            if invite.method == Method::Ack {
                continue;
            }
            refused += 1;
            stage.answer(flow, &invite, 503);
            stage.settle();
        }
        stage.wait(SECOND / 20);
    }
    assert_eq!((refused, stage.living), (80, 2), "each of them refuses every call, and answers OPTIONS well");
    let asked = |server| stage.pings[before..].iter().filter(|to| **to == server).count();
    for server in [one(), two()] {
        assert!((3..=5).contains(&asked(server)), "{} in two seconds", asked(server));
    }
}

/// What does not live is not asked, and what lives again is.
#[test]
fn who_does_not_answer_options_gets_nothing() {
    let mut stage = Stage::new();
    assert_eq!(stage.living, 2);
    for fault in [Server::Silent, Server::Busy, Server::Closed] {
        stage.servers = BTreeMap::from([(one(), fault), (two(), fault)]);
        stage.wait(8 * SECOND);
        assert_eq!(stage.living, 0, "{fault:?}");
        stage.wait(10 * SECOND);
        stage.asks(bob(), "REGISTER", "sip:example.com", "c", "");
        assert!(stage.up.is_empty());
        let Some((_, Message::Response(refusal))) = stage.down.pop() else { panic!("no answer") };
        assert_eq!(refusal.status.code(), 503);
        assert!(refusal.headers.get(Name::RetryAfter).is_some());
        stage.wait(40 * SECOND);
        stage.down.clear();
        stage.servers = BTreeMap::from([(one(), Server::Fine), (two(), fault)]);
        stage.wait(5 * SECOND);
        assert_eq!(stage.living, 1, "{fault:?}");
        stage.asks(bob(), "REGISTER", "sip:example.com", &call_for(two()), "");
        let (flow, register) = stage.next_up();
        assert_eq!(flow.remote, one());
        stage.answer(flow, &register, 200);
        stage.wait(40 * SECOND);
        stage.down.clear();
        stage.servers = BTreeMap::from([(one(), Server::Fine), (two(), Server::Fine)]);
        stage.wait(5 * SECOND);
        assert_eq!(stage.living, 2);
        stage.wait(40 * SECOND);
    }
}

/// RFC 3261 §26.2.2.
#[test]
fn a_sips_request_needs_tls_up_there() {
    let mut stage = Stage::new();
    stage.asks(alice(), "INVITE", "sips:bob@example.com", "c", "");
    assert_eq!(stage.statuses(alice()), [480]);
    let mut stage = Stage::with(&["sip:10.0.0.1", "sips:10.0.0.2:5070"]);
    stage.asks(alice(), "INVITE", "sips:bob@example.com", "c", "");
    let (flow, _) = stage.next_up();
    assert_eq!((flow.protocol, flow.remote), (Protocol::Tls, two()));
}

/// RFC 3261 §18.1.1.
#[test]
fn what_is_large_goes_over_tcp_where_there_is_tcp() {
    for has_tcp in [true, false] {
        let mut stage = Stage::with(&["sip:10.0.0.1"]);
        if !has_tcp {
            stage.servers.insert(one(), Server::Closed);
        }
        let extra = format!("X-Long: {}\r\n", "x".repeat(1_200));
        stage.asks(alice(), "MESSAGE", "sip:bob@example.com", "c", &extra);
        let (flow, _) = stage.next_up();
        assert_eq!(flow.protocol == Protocol::Tcp, has_tcp);
    }
}

/// An edge that names itself would send everything to itself.
#[test]
fn this_edge_is_no_next_hop_of_its_own() {
    let stage = Stage::with(&["sip:192.0.2.1:5060;transport=tcp"]);
    assert_eq!(stage.living, 0);
}

/// Requests are shared by Call-ID, and each Call-ID stays where it is (a challenge is answered to who made it).
#[test]
fn a_call_id_has_one_server() {
    let mut stage = Stage::new();
    let mut seen = BTreeMap::<IpAddr, usize>::new();
    for number in 0..100 {
        let call_id = format!("call-{number}");
        let mut servers = Vec::new();
        for turn in 0..2 {
            let branch = format!("z9hG4bK{number}-{turn}");
            stage.says(bob(), &request("REGISTER", "sip:example.com", &call_id, &branch, "", ""));
            servers.push(stage.next_up().0.remote.ip());
        }
        assert_eq!(servers[0], servers[1]);
        *seen.entry(servers[0]).or_default() += 1;
    }
    assert!(seen.len() == 2 && seen.values().all(|share| (30..=70).contains(share)), "{seen:?}");
}
