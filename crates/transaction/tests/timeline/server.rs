//! §17.2: both server machines.

use sip::{Message, Method, Response};

use crate::support::{Hop, Stage, read, request};
use crate::{expect, expect_empty, repeated};

const UDP: Hop = Hop::Udp(1);
const TCP: Hop = Hop::Tcp(1);

fn invite() -> sip::Request {
    request(&Method::Invite, "z9hG4bKkjshdyff")
}

fn ack() -> sip::Request {
    request(&Method::Ack, "z9hG4bKkjshdyff")
}

fn options() -> sip::Request {
    request(&Method::Options, "z9hG4bKkjshdyff")
}

#[test]
fn a_silent_tu_makes_a_100_after_200_ms() {
    // §17.2.1, §8.2.6.1: no To tag.
    for hop in [UDP, TCP] {
        let mut stage = Stage::new();
        stage.receive(invite(), hop).at(10_000);
        expect(&stage, &[(0, "request INVITE"), (200, "> 100")]);
        let (to, Message::Response(trying)) = &stage.sent[0] else { panic!("a response") };
        assert_eq!((*to, trying.to_tag()), (hop, None));
        assert_eq!(trying.encode(), Response::to(&invite(), trying.status, None).encode());
    }
}

#[test]
fn a_100_carries_the_timestamp_and_the_delay() {
    // §8.2.6.1: copied, with the delay since the request in seconds.
    let text = invite().encode();
    let text = String::from_utf8(text.to_vec()).unwrap().replacen(
        "Max-Forwards",
        "Timestamp: 54\r\nMax-Forwards",
        1,
    );
    let mut stage = Stage::new();
    stage.receive(read(text), UDP).at(1000);
    let (_, Message::Response(trying)) = &stage.sent[0] else { panic!("a response") };
    assert_eq!(trying.headers.get_named("Timestamp"), Some(&b"54 0.200"[..]));
}

#[test]
fn a_quick_tu_makes_no_100_and_its_last_provisional_answers_repetitions() {
    let mut stage = Stage::new();
    stage.receive(invite(), UDP);
    stage.at(100).respond(0, 180);
    stage.at(500).receive(invite(), UDP);
    stage.at(600).respond(0, 183);
    stage.at(1500).receive(invite(), UDP);
    stage.at(20_000);
    expect(&stage, &[(0, "request INVITE"), (100, "> 180"), (500, "> 180"), (600, "> 183"), (1500, "> 183")]);
}

#[test]
fn the_100_answers_repetitions_too() {
    let mut stage = Stage::new();
    stage.receive(invite(), UDP);
    stage.at(500).receive(invite(), UDP);
    expect(&stage, &[(0, "request INVITE"), (200, "> 100"), (500, "> 100")]);
}

#[test]
fn a_refusal_is_repeated_until_timer_h_on_an_unreliable_hop() {
    // §17.2.1: Timer G doubles from T1 up to T2; Timer H after 64·T1.
    let mut stage = Stage::new();
    stage.receive(invite(), UDP).respond(0, 486);
    stage.at(100_000);
    let mut lines = vec![(0, "request INVITE")];
    let times = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    lines.extend(repeated("> 486", &times));
    lines.push((32_000, "server ended"));
    expect(&stage, &lines);
    expect_empty(&stage);
}

#[test]
fn a_refusal_is_sent_once_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 486);
    stage.at(100_000);
    expect(&stage, &[(0, "request INVITE"), (0, "> 486"), (32_000, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn the_ack_ends_the_repetition_and_timer_i_absorbs_others() {
    let mut stage = Stage::new();
    stage.receive(invite(), UDP);
    stage.at(100).respond(0, 404);
    stage.at(200).receive(invite(), UDP);
    stage.at(700).receive(ack(), UDP);
    stage.at(900).receive(ack(), UDP);
    stage.at(1000).receive(invite(), UDP);
    stage.at(100_000);
    expect(
        &stage,
        &[(0, "request INVITE"), (100, "> 404"), (200, "> 404"), (600, "> 404"), (5700, "server ended")],
    );
    expect_empty(&stage);
}

#[test]
fn the_ack_ends_it_at_once_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 404);
    stage.at(100).receive(ack(), TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 404"), (100, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn an_accepted_invite_absorbs_invites_and_lets_2xx_and_ack_through() {
    // RFC 6026 §7.1: Timer L 64·T1; the layer repeats nothing by itself.
    for hop in [UDP, TCP] {
        let mut stage = Stage::new();
        stage.receive(invite(), hop);
        stage.at(100).respond(0, 200);
        stage.at(500).receive(invite(), hop);
        stage.at(600).respond(0, 200);
        stage.at(700).receive(ack(), hop);
        stage.at(800).respond(0, 486).respond(0, 180);
        stage.at(900).receive(ack(), hop);
        stage.at(100_000).respond(0, 200);
        expect(
            &stage,
            &[
                (0, "request INVITE"),
                (100, "> 200"),
                (600, "> 200"),
                (700, "ack"),
                (900, "ack"),
                (32_100, "server ended"),
            ],
        );
        assert_eq!(stage.layer.counts().withheld, 3);
        expect_empty(&stage);
    }
}

#[test]
fn a_second_final_of_an_invite_is_withheld() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 404).respond(0, 200).respond(0, 500).respond(0, 180);
    expect(&stage, &[(0, "request INVITE"), (0, "> 404")]);
}

#[test]
fn a_repeated_request_is_discarded_until_there_is_an_answer() {
    // §17.2.2: Trying discards, Completed repeats its final until Timer J.
    let mut stage = Stage::new();
    stage.receive(options(), UDP);
    stage.at(500).receive(options(), UDP);
    stage.at(600).respond(0, 200);
    stage.at(1500).receive(options(), UDP);
    stage.at(1600).respond(0, 500);
    stage.at(1700).receive(options(), UDP);
    stage.at(100_000);
    expect(
        &stage,
        &[(0, "request OPTIONS"), (600, "> 200"), (1500, "> 200"), (1700, "> 200"), (32_600, "server ended")],
    );
    expect_empty(&stage);
}

#[test]
fn a_final_ends_a_request_at_once_on_a_reliable_hop() {
    let mut stage = Stage::new();
    stage.receive(options(), TCP).respond(0, 200).respond(0, 200);
    expect(&stage, &[(0, "request OPTIONS"), (0, "> 200"), (0, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn a_slow_tu_makes_a_100_when_timer_e_has_reached_t2() {
    // RFC 4320 §4.1: without regard to transport; a repetition is answered with it (§17.2.2).
    for hop in [UDP, TCP] {
        let mut stage = Stage::new();
        stage.receive(options(), hop);
        stage.at(7500).receive(options(), hop);
        stage.at(8000).respond(0, 200);
        assert_eq!(
            stage.log[..4],
            [(0, "request OPTIONS"), (3500, "> 100"), (7500, "> 100"), (8000, "> 200")]
                .map(|(ms, line)| (ms, line.to_owned()))
        );
    }
}

#[test]
fn a_100_is_sent_whenever_the_tu_says_so() {
    // §17.2.2: in Proceeding, too; RFC 4320 §4.1: on a reliable hop at any time.
    let mut stage = Stage::new();
    stage.receive(options(), TCP);
    stage.at(100).respond(0, 100);
    stage.at(200).respond(0, 100);
    expect(&stage, &[(0, "request OPTIONS"), (100, "> 100"), (200, "> 100")]);
}

#[test]
fn rfc_4320_withholds_what_may_not_answer_a_non_invite_request() {
    // §4.1: no provisional but 100, and that not early on an unreliable hop; §4.2: no 408.
    let mut stage = Stage::new();
    stage.receive(options(), UDP);
    stage.at(100).respond(0, 183).respond(0, 100);
    stage.at(200).respond(0, 408);
    stage.at(500).receive(options(), UDP);
    stage.at(600).respond(0, 200);
    stage.at(100_000);
    expect(&stage, &[(0, "request OPTIONS"), (32_200, "server ended")]);
    assert_eq!(stage.layer.counts().withheld, 4);

    let mut stage = Stage::new();
    stage.receive(options(), TCP);
    stage.at(100).respond(0, 100);
    stage.at(200).respond(0, 408);
    expect(&stage, &[(0, "request OPTIONS"), (100, "> 100"), (200, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn a_request_that_is_never_answered_is_forgotten_with_timer_f() {
    // RFC 4320 §4.2: after the client's 64·T1 no response may be sent.
    let mut stage = Stage::new();
    stage.receive(options(), TCP);
    stage.at(100_000).respond(0, 200);
    expect(&stage, &[(0, "request OPTIONS"), (3500, "> 100"), (32_000, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn answers_leave_over_the_hop_the_tu_has_chosen_last() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 180);
    let (id, _) = stage.servers[0];
    stage.layer.redirect_server(id, Hop::Tcp(2));
    assert_eq!(stage.layer.peer_of(id), Some(Hop::Tcp(2)));
    stage.respond(0, 200);
    let hops: Vec<Hop> = stage.sent.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(hops, [TCP, Hop::Tcp(2)]);
}

#[test]
fn a_refusal_that_was_lost_with_its_hop_is_sent_again() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 486);
    let (id, _) = stage.servers[0];
    stage.layer.redirect_servers(Hop::Tcp(3), |_| Some(Hop::Tcp(4)));
    stage.layer.redirect_servers(TCP, |_| Some(Hop::Tcp(2)));
    assert_eq!(stage.layer.peer_of(id), Some(Hop::Tcp(2)));
    let hops: Vec<Hop> = stage.drain().sent.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(hops, [TCP, Hop::Tcp(2)]);
    expect(&stage, &[(0, "request INVITE"), (0, "> 486"), (0, "> 486")]);
}

#[test]
fn a_repetition_over_another_hop_is_answered_there() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 180);
    stage.receive(invite(), Hop::Tcp(2));
    let hops: Vec<Hop> = stage.sent.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(hops, [TCP, Hop::Tcp(2)]);
}
