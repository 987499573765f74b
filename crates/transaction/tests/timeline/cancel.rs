//! §9: CANCEL from both ends.

use sip::{Message, Method, Name};

use crate::support::{Hop, Stage, answer, read, request};
use crate::{expect, expect_empty, repeated};

const UDP: Hop = Hop::Udp(1);
const TCP: Hop = Hop::Tcp(1);

fn invite() -> sip::Request {
    request(&Method::Invite, "z9hG4bKkjshdyff")
}

fn cancel() -> sip::Request {
    request(&Method::Cancel, "z9hG4bKkjshdyff")
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    // §9.1: MUST NOT be sent before one.
    let mut stage = Stage::new();
    let id = stage.request(invite(), TCP);
    stage.at(100).cancel(id);
    stage.at(200).receive(answer(&invite(), 100), TCP);
    stage.at(300).receive(answer(&cancel(), 200), TCP);
    stage.at(400).receive(answer(&invite(), 487), TCP);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (200, "response 100"),
            (200, "> CANCEL"),
            (400, "> ACK"),
            (400, "response 487"),
            (400, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn cancel_after_a_provisional_response_goes_at_once_and_is_retransmitted() {
    // §9.1: a transaction of its own (Timers E and K); the TU hears of the INVITE only.
    let mut stage = Stage::new();
    let id = stage.request(invite(), UDP);
    stage.at(100).receive(answer(&invite(), 180), UDP);
    stage.at(1000).cancel(id).cancel(id);
    stage.at(2000).receive(answer(&cancel(), 200), UDP);
    stage.at(2100).receive(answer(&invite(), 487), UDP);
    stage.at(100_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (100, "response 180"),
            (1000, "> CANCEL"),
            (1500, "> CANCEL"),
            (2100, "> ACK"),
            (2100, "response 487"),
            (34_100, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn cancel_after_a_final_has_no_effect() {
    for status in [200, 404] {
        let mut stage = Stage::new();
        let id = stage.request(invite(), UDP);
        stage.receive(answer(&invite(), 180), UDP).receive(answer(&invite(), status), UDP);
        stage.at(100).cancel(id);
        stage.at(100_000);
        assert!(stage.log.iter().all(|(_, line)| line != "> CANCEL"), "{:?}", stage.log);
        expect_empty(&stage);
    }
}

#[test]
fn a_final_overtakes_the_waiting_cancel() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), TCP);
    stage.cancel(id);
    stage.at(100).receive(answer(&invite(), 486), TCP);
    expect(&stage, &[(0, "> INVITE"), (100, "> ACK"), (100, "response 486"), (100, "client ended")]);
}

#[test]
fn a_waiting_cancel_does_not_stop_timers_a_and_b() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), UDP);
    stage.cancel(id).at(100_000);
    let mut lines = repeated("> INVITE", &[0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    lines.extend([(32_000, "timeout"), (32_000, "client ended")]);
    expect(&stage, &lines);
    expect_empty(&stage);
}

#[test]
fn a_cancelled_invite_without_a_final_is_given_up() {
    // §9.1: an RFC 2543 server answers no 487; 64·T1 after the CANCEL the transaction counts as cancelled.
    let mut stage = Stage::new();
    let id = stage.request(invite(), TCP);
    stage.at(100).receive(answer(&invite(), 180), TCP);
    stage.at(60_000).cancel(id);
    stage.at(60_100).receive(answer(&cancel(), 200), TCP);
    stage.at(200_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (100, "response 180"),
            (60_000, "> CANCEL"),
            (92_000, "timeout"),
            (92_000, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn a_cancel_that_had_to_wait_gives_up_too() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), TCP);
    stage.cancel(id);
    stage.at(20_000).receive(answer(&invite(), 100), TCP);
    stage.at(20_100).receive(answer(&cancel(), 200), TCP);
    stage.at(200_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (20_000, "response 100"),
            (20_000, "> CANCEL"),
            (52_000, "timeout"),
            (52_000, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn the_cancel_is_that_of_the_rfc() {
    // §9.1: Request-URI, Call-ID, To, CSeq number, From identical; the top Via alone; Route; no Require.
    let text = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff\r\n\
        Via: SIP/2.0/UDP old.example;branch=z9hG4bKold\r\n\
        Route: <sip:p1.example;lr>\r\n\
        To: Bob <sip:bob@biloxi.com>\r\n\
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
        Require: 100rel\r\n\
        Proxy-Require: privacy\r\n\
        Max-Forwards: 12\r\n\
        Call-ID: 987asjd97y7atg\r\n\
        CSeq: 986759 INVITE\r\n\
        Content-Length: 0\r\n\r\n";
    let Message::Request(invite) = read(text) else { panic!("a request") };
    let mut stage = Stage::new();
    let id = stage.request(invite.clone(), TCP);
    stage.receive(answer(&invite, 180), TCP);
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
    stage.layer.cancel_because(id, Some(reason.into()), stage.instant());
    stage.drain();
    let (to, Message::Request(cancel)) = &stage.sent[1] else { panic!("a CANCEL") };
    assert_eq!(*to, TCP);
    assert_eq!((cancel.method.clone(), &cancel.uri[..]), (Method::Cancel, &b"sip:bob@biloxi.com"[..]));
    let values =
        |name| cancel.headers.values(name).map(|value| str::from_utf8(value).unwrap()).collect::<Vec<_>>();
    assert_eq!(values(Name::Via), ["SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff"]);
    assert_eq!(values(Name::Route), ["<sip:p1.example;lr>"]);
    assert_eq!(values(Name::To), ["Bob <sip:bob@biloxi.com>"]);
    assert_eq!(values(Name::From), ["Alice <sip:alice@atlanta.com>;tag=88sja8x"]);
    assert_eq!(values(Name::CallId), ["987asjd97y7atg"]);
    assert_eq!(values(Name::CSeq), ["986759 CANCEL"]);
    assert_eq!(values(Name::Reason), [reason]);
    assert_eq!(values(Name::Require), [""; 0]);
    assert_eq!(values(Name::ProxyRequire), [""; 0]);
}

#[test]
fn a_cancel_of_a_pending_invite_is_answered_and_told() {
    // §9.2: the 200 at once, repetitions too; To tag as in the answers to the INVITE.
    let mut stage = Stage::new();
    stage.receive(invite(), UDP).respond(0, 180);
    stage.at(1000).receive(cancel(), UDP);
    stage.at(1500).receive(cancel(), UDP);
    stage.at(1600).respond(0, 487);
    stage.at(1700).receive(request(&Method::Ack, "z9hG4bKkjshdyff"), UDP);
    stage.at(100_000);
    expect(
        &stage,
        &[
            (0, "request INVITE"),
            (0, "> 180"),
            (1000, "> 200"),
            (1000, "cancel"),
            (1500, "> 200"),
            (1600, "> 487"),
            (6700, "server ended"),
        ],
    );
    let (_, Message::Response(ok)) = &stage.sent[1] else { panic!("a response") };
    assert_eq!((ok.cseq().unwrap().method, ok.to_tag()), (Method::Cancel, Some("uas")));
    expect_empty(&stage);
}

#[test]
fn a_cancel_before_any_answer_gets_a_tag_of_ours() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).receive(cancel(), TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 200"), (0, "cancel")]);
    let (_, Message::Response(ok)) = &stage.sent[0] else { panic!("a response") };
    assert!(ok.to_tag().is_some_and(|tag| !tag.is_empty()));
}

#[test]
fn a_cancel_after_the_final_is_answered_without_effect() {
    // §9.2: no effect on the processing of the original request.
    for status in [200, 486] {
        let mut stage = Stage::new();
        stage.receive(invite(), TCP).respond(0, status);
        stage.at(100).receive(cancel(), TCP);
        assert_eq!(stage.log[2..], [(100, "> 200".to_owned())]);
    }
}

#[test]
fn a_cancel_of_another_request_is_answered_without_effect() {
    // §9.2: regardless of the method of the original request.
    let mut stage = Stage::new();
    stage.receive(request(&Method::Register, "z9hG4bKkjshdyff"), TCP).receive(cancel(), TCP);
    expect(&stage, &[(0, "request REGISTER"), (0, "> 200")]);
}

#[test]
fn a_cancel_of_nothing_is_the_tus() {
    // §9.2: it answers 481.
    let mut stage = Stage::new();
    stage.receive(cancel(), UDP).respond(0, 481);
    stage.at(500).receive(cancel(), UDP);
    expect(&stage, &[(0, "request CANCEL"), (0, "> 481"), (500, "> 481")]);
}

/// A phone that nobody waits for may ring all the same: its 180 is the first moment at which §9.1 allows the CANCEL.
#[test]
fn an_invite_that_is_given_up_is_not_repeated_and_cancelled_when_it_rings() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), UDP);
    stage.at(700);
    assert!(stage.layer.give_up(id));
    stage.at(2300).receive(answer(&invite(), 180), UDP);
    stage.at(2400).receive(answer(&cancel(), 200), UDP);
    stage.at(2500).receive(answer(&invite(), 487), UDP);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (500, "> INVITE"),
            (2300, "response 180"),
            (2300, "> CANCEL"),
            (2500, "> ACK"),
            (2500, "response 487"),
        ],
    );
    stage.at(100_000);
    expect_empty(&stage);
}

#[test]
fn an_invite_that_is_given_up_ends_by_timer_b_or_with_its_final() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), UDP);
    assert!(stage.layer.give_up(id));
    stage.at(31_999);
    expect(&stage, &[(0, "> INVITE")]);
    stage.at(32_000);
    expect(&stage, &[(0, "> INVITE"), (32_000, "timeout"), (32_000, "client ended")]);
    expect_empty(&stage);

    // §17.1.1.3: a refusal wants its ACK; a 2xx is the TU's.
    for (status, expected) in [(486, Some((1_000, "> ACK"))), (200, None)] {
        let mut stage = Stage::new();
        let id = stage.request(invite(), TCP);
        assert!(stage.layer.give_up(id));
        stage.at(1_000).receive(answer(&invite(), status), TCP);
        let told = format!("response {status}");
        let mut all = vec![(0, "> INVITE")];
        all.extend(expected);
        all.push((1_000, told.as_str()));
        all.extend(expected.map(|_| (1_000, "client ended")));
        expect(&stage, &all);
        assert!(!stage.layer.give_up(id), "it has had an answer");
    }
    let mut stage = Stage::new();
    let id = stage.request(request(&Method::Options, "z9hG4bKo"), UDP);
    assert!(!stage.layer.give_up(id), "there is nothing to cancel");
}
