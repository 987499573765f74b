//! §17.1: both client machines.

use sip::{Message, Method, Name};

use crate::support::{Hop, Stage, answer, read, request};
use crate::{expect, expect_empty, repeated};

const UDP: Hop = Hop::Udp(1);
const TCP: Hop = Hop::Tcp(1);

fn invite() -> sip::Request {
    request(&Method::Invite, "z9hG4bKkjshdyff")
}

fn options() -> sip::Request {
    request(&Method::Options, "z9hG4bKkjshdyff")
}

#[test]
fn invite_unanswered_on_an_unreliable_hop() {
    // §17.1.1.2: intervals double from T1; Timer B after 64·T1; no ACK.
    let mut stage = Stage::new();
    stage.request(invite(), UDP);
    stage.at(100_000);
    let mut lines = repeated("> INVITE", &[0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    lines.extend([(32_000, "timeout"), (32_000, "client ended")]);
    expect(&stage, &lines);
    expect_empty(&stage);
}

#[test]
fn invite_unanswered_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.request(invite(), TCP);
    stage.at(100_000);
    expect(&stage, &[(0, "> INVITE"), (32_000, "timeout"), (32_000, "client ended")]);
    expect_empty(&stage);
}

#[test]
fn a_phone_may_ring_ten_minutes() {
    // §17.1.1.2: Timer B counts in Calling only; a provisional response ends the retransmissions.
    let mut stage = Stage::new();
    stage.request(invite(), UDP);
    stage.at(700).receive(answer(&invite(), 100), UDP);
    stage.at(900).receive(answer(&invite(), 180), UDP);
    stage.at(60_900).receive(answer(&invite(), 180), UDP);
    stage.at(600_000).receive(answer(&invite(), 200), UDP);
    stage.at(700_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (500, "> INVITE"),
            (700, "response 100"),
            (900, "response 180"),
            (60_900, "response 180"),
            (600_000, "response 200"),
            (632_000, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn a_refused_invite_is_acknowledged_each_time_on_an_unreliable_hop() {
    // §17.1.1.2: a repeated final is acknowledged and not passed up; Timer D is 32 s.
    let mut stage = Stage::new();
    stage.request(invite(), UDP);
    stage.at(400).receive(answer(&invite(), 486), UDP);
    stage.at(900).receive(answer(&invite(), 486), UDP);
    stage.at(1900).receive(answer(&invite(), 486), UDP);
    stage.at(2000).receive(answer(&invite(), 180), UDP);
    stage.at(2100).receive(answer(&invite(), 200), UDP);
    stage.at(100_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (400, "> ACK"),
            (400, "response 486"),
            (900, "> ACK"),
            (1900, "> ACK"),
            (32_400, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn a_refused_invite_is_over_at_once_on_a_reliable_hop() {
    // §17.1.1.2: Timer D is zero; RFC 6026 §7.2: what comes later is stray.
    let mut stage = Stage::new();
    stage.request(invite(), TCP);
    stage.at(400).receive(answer(&invite(), 180), TCP);
    stage.at(500).receive(answer(&invite(), 603), TCP);
    stage.at(600).receive(answer(&invite(), 603), TCP);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (400, "response 180"),
            (500, "> ACK"),
            (500, "response 603"),
            (500, "client ended"),
            (600, "stray 603"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn every_2xx_goes_up_until_timer_m() {
    // RFC 6026 §7.2: repetitions and those of other branches; no ACK; nothing else.
    for hop in [UDP, TCP] {
        let mut stage = Stage::new();
        stage.request(invite(), hop);
        stage.at(100).receive(answer(&invite(), 200), hop);
        stage.at(600).receive(answer(&invite(), 200), hop);
        stage.at(700).receive(answer(&invite(), 180), hop);
        stage.at(800).receive(answer(&invite(), 486), hop);
        stage.at(32_099).receive(answer(&invite(), 202), hop);
        stage.at(32_101).receive(answer(&invite(), 200), hop);
        expect(
            &stage,
            &[
                (0, "> INVITE"),
                (100, "response 200"),
                (600, "response 200"),
                (32_099, "response 202"),
                (32_100, "client ended"),
                (32_101, "stray 200"),
            ],
        );
        expect_empty(&stage);
    }
}

#[test]
fn request_unanswered_on_an_unreliable_hop() {
    // §17.1.2.2: intervals double from T1 up to T2; Timer F after 64·T1.
    let mut stage = Stage::new();
    stage.request(options(), UDP);
    stage.at(100_000);
    let times = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    let mut lines = repeated("> OPTIONS", &times);
    lines.extend([(32_000, "timeout"), (32_000, "client ended")]);
    expect(&stage, &lines);
    expect_empty(&stage);
}

#[test]
fn request_unanswered_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.request(options(), TCP);
    stage.at(100_000);
    expect(&stage, &[(0, "> OPTIONS"), (32_000, "timeout"), (32_000, "client ended")]);
    expect_empty(&stage);
}

#[test]
fn a_provisional_response_slows_a_request_to_t2_but_keeps_timer_f() {
    // §17.1.2.2: Timer E fires as it was set, then every T2; Timer F still ends it.
    let mut stage = Stage::new();
    stage.request(options(), UDP);
    stage.at(700).receive(answer(&options(), 100), UDP);
    stage.at(100_000);
    let mut lines = vec![(0, "> OPTIONS"), (500, "> OPTIONS"), (700, "response 100")];
    lines.extend(repeated("> OPTIONS", &[1500, 5500, 9500, 13_500, 17_500, 21_500, 25_500, 29_500]));
    lines.extend([(32_000, "timeout"), (32_000, "client ended")]);
    expect(&stage, &lines);
    expect_empty(&stage);
}

#[test]
fn one_final_of_a_request_goes_up_and_timer_k_swallows_the_rest() {
    let mut stage = Stage::new();
    stage.request(options(), UDP);
    stage.at(100).receive(answer(&options(), 200), UDP);
    stage.at(600).receive(answer(&options(), 200), UDP);
    stage.at(700).receive(answer(&options(), 500), UDP);
    stage.at(5_101).receive(answer(&options(), 200), UDP);
    expect(&stage, &[(0, "> OPTIONS"), (100, "response 200"), (5_100, "client ended"), (5_101, "stray 200")]);
    expect_empty(&stage);
}

#[test]
fn a_final_of_a_request_ends_it_at_once_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.request(options(), TCP);
    stage.at(50).receive(answer(&options(), 100), TCP);
    stage.at(100).receive(answer(&options(), 404), TCP);
    expect(&stage, &[(0, "> OPTIONS"), (50, "response 100"), (100, "response 404"), (100, "client ended")]);
    expect_empty(&stage);
}

#[test]
fn an_abandoned_transaction_is_silent() {
    let mut stage = Stage::new();
    let id = stage.request(invite(), UDP);
    stage.layer.abandon(id);
    stage.at(100_000);
    stage.receive(answer(&invite(), 200), UDP);
    expect(&stage, &[(0, "> INVITE"), (100_000, "stray 200")]);
    expect_empty(&stage);
}

#[test]
fn the_ack_of_a_refusal_is_that_of_the_rfc() {
    // §17.1.1.3 and its example, with Route and a second Via that the ACK has not.
    let text = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff, SIP/2.0/UDP old.example;branch=z9hG4bKold\r\n\
        Route: <sip:p1.example;lr>\r\n\
        Route: <sip:p2.example;lr>, <sip:p3.example;lr>\r\n\
        To: Bob <sip:bob@biloxi.com>\r\n\
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
        Require: 100rel\r\n\
        Max-Forwards: 12\r\n\
        Call-ID: 987asjd97y7atg\r\n\
        CSeq: 986759 INVITE\r\n\
        Content-Length: 4\r\n\r\nbody";
    let Message::Request(invite) = read(text) else { panic!("a request") };
    let mut stage = Stage::new();
    stage.request(invite.clone(), TCP);
    stage.receive(answer(&invite, 486), TCP);
    let (to, Message::Request(ack)) = &stage.sent[1] else { panic!("an ACK") };
    assert_eq!(*to, TCP);
    assert_eq!((ack.method.clone(), &ack.uri[..]), (Method::Ack, &b"sip:bob@biloxi.com"[..]));
    let values =
        |name| ack.headers.values(name).map(|value| str::from_utf8(value).unwrap()).collect::<Vec<_>>();
    assert_eq!(values(Name::Via), ["SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff"]);
    assert_eq!(values(Name::Route), ["<sip:p1.example;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"]);
    assert_eq!(values(Name::To), ["Bob <sip:bob@biloxi.com>;tag=99sa0xk"]);
    assert_eq!(values(Name::From), ["Alice <sip:alice@atlanta.com>;tag=88sja8x"]);
    assert_eq!(values(Name::CallId), ["987asjd97y7atg"]);
    assert_eq!(values(Name::CSeq), ["986759 ACK"]);
    assert_eq!(values(Name::MaxForwards).len(), 1, "§8.1.1: every request has one");
    assert_eq!(values(Name::Require), [""; 0]);
    assert!(ack.body.is_empty());
}
