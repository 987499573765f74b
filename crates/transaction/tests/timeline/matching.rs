//! §17.1.3 and §17.2.3: what belongs to which transaction.

use sip::{Message, Method, Request};

use crate::support::{Hop, Stage, answer, read, request};
use crate::{expect, expect_empty};

const UDP: Hop = Hop::Udp(1);
const TCP: Hop = Hop::Tcp(1);

/// `request` with a part of its text exchanged.
fn edited(request: &Request, from: &str, to: &str) -> Request {
    let text = String::from_utf8(request.encode().to_vec()).expect("ASCII");
    assert!(text.contains(from), "{text}");
    match read(text.replace(from, to)) {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("still a request"),
    }
}

fn invite() -> Request {
    request(&Method::Invite, "z9hG4bKkjshdyff")
}

#[test]
fn sent_by_is_part_of_the_match() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP);
    stage.receive(edited(&invite(), "pc33.atlanta.com:5062", "pc34.atlanta.com:5062"), TCP);
    stage.receive(edited(&invite(), "pc33.atlanta.com:5062", "pc33.atlanta.com:5064"), TCP);
    expect(&stage, &[(0, "request INVITE"); 3]);
}

#[test]
fn hosts_and_branches_match_ignoring_case() {
    // §7.3.1: tokens and parameter values are case-insensitive.
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 180);
    stage.receive(edited(&invite(), "pc33.atlanta.com", "PC33.Atlanta.COM"), TCP);
    stage.receive(edited(&invite(), "z9hG4bKkjshdyff", "Z9HG4BKkjshDYFF"), TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 180"), (0, "> 180"), (0, "> 180")]);
}

#[test]
fn the_method_is_part_of_the_match() {
    let mut stage = Stage::new();
    stage.receive(request(&Method::Options, "z9hG4bK1"), TCP);
    stage.receive(request(&Method::Message, "z9hG4bK1"), TCP);
    expect(&stage, &[(0, "request OPTIONS"), (0, "request MESSAGE")]);
}

#[test]
fn the_ack_of_a_2xx_has_a_branch_of_its_own_and_goes_up() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 200);
    stage.at(10).receive(request(&Method::Ack, "z9hG4bKother"), TCP);
    stage.at(20).receive(request(&Method::Ack, "z9hG4bKunknown"), UDP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 200"), (10, "ack"), (20, "ack")]);
}

#[test]
fn responses_match_by_branch_and_method_of_cseq() {
    let mut stage = Stage::new();
    stage.request(invite(), TCP);
    stage.receive(answer(&request(&Method::Cancel, "z9hG4bKkjshdyff"), 200), TCP);
    stage.receive(answer(&request(&Method::Invite, "z9hG4bKother"), 200), TCP);
    stage.receive(answer(&invite(), 180), Hop::Udp(7));
    expect(&stage, &[(0, "> INVITE"), (0, "stray 200"), (0, "stray 200"), (0, "response 180")]);
}

#[test]
fn an_invite_of_rfc_2543_matches_without_a_cookie() {
    // §17.2.3: Request-URI, To tag, From tag, Call-ID, CSeq and top Via.
    let old = request(&Method::Invite, "1");
    let mut stage = Stage::new();
    stage.receive(old.clone(), UDP).respond(0, 180);
    stage.at(100).receive(old.clone(), UDP);
    let others = [
        edited(&old, "sip:bob@biloxi.com SIP", "sip:carol@biloxi.com SIP"),
        edited(&old, "tag=88sja8x", "tag=other"),
        edited(&old, "987asjd97y7atg", "other"),
        edited(&old, "986759", "986760"),
        edited(&old, "To: Bob <sip:bob@biloxi.com>", "To: Bob <sip:bob@biloxi.com>;tag=x"),
        edited(&old, ";branch=1", ";branch=2"),
        edited(&old, ";branch=1", ""),
    ];
    for other in &others {
        stage.receive(other.clone(), UDP);
    }
    let mut lines = vec![(0, "request INVITE"), (0, "> 180"), (100, "> 180")];
    lines.extend([(100, "request INVITE"); 7]);
    expect(&stage, &lines);
}

#[test]
fn the_bare_cookie_is_no_branch() {
    // RFC 4475 §3.2.1: two calls with it are two calls.
    let one = request(&Method::Invite, "z9hG4bK");
    let mut stage = Stage::new();
    stage.receive(one.clone(), UDP);
    stage.receive(edited(&one, "987asjd97y7atg", "another"), UDP);
    expect(&stage, &[(0, "request INVITE"); 2]);
}

#[test]
fn an_ack_of_rfc_2543_matches_by_the_to_tag_of_the_response() {
    // §17.2.3: and only by that; the other ACK may belong to a 2xx of another branch.
    let old = request(&Method::Invite, "1");
    let ack = edited(
        &request(&Method::Ack, "1"),
        "To: Bob <sip:bob@biloxi.com>",
        "To: Bob <sip:bob@biloxi.com>;tag=uas",
    );
    let mut stage = Stage::new();
    stage.receive(old, TCP).respond(0, 486);
    stage.at(50).receive(edited(&ack, "tag=uas", "tag=elsewhere"), TCP);
    stage.at(100).receive(ack.clone(), TCP);
    stage.at(150).receive(ack, TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 486"), (50, "ack"), (100, "server ended"), (150, "ack")]);
    expect_empty(&stage);
}

#[test]
fn an_ack_of_rfc_2543_for_a_2xx_goes_up() {
    // RFC 6026 §6: its transaction ID is that of the INVITE, whose state has to be looked at.
    let ack = edited(
        &request(&Method::Ack, "1"),
        "To: Bob <sip:bob@biloxi.com>",
        "To: Bob <sip:bob@biloxi.com>;tag=uas",
    );
    let mut stage = Stage::new();
    stage.receive(request(&Method::Invite, "1"), UDP).respond(0, 200);
    stage.at(50).receive(ack.clone(), UDP);
    stage.at(100).receive(ack, UDP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 200"), (50, "ack"), (100, "ack")]);
}

#[test]
fn a_cancel_of_rfc_2543_matches() {
    let mut stage = Stage::new();
    stage.receive(request(&Method::Invite, "1"), TCP).receive(request(&Method::Cancel, "1"), TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 200"), (0, "cancel")]);
}

#[test]
fn an_ack_of_a_pending_invite_is_dropped() {
    let mut stage = Stage::new();
    stage.receive(invite(), TCP).respond(0, 180);
    stage.receive(request(&Method::Ack, "z9hG4bKkjshdyff"), TCP);
    expect(&stage, &[(0, "request INVITE"), (0, "> 180")]);
}

#[test]
fn after_its_end_the_same_request_is_a_new_one() {
    // §17.2.2: a transaction that is over absorbs nothing.
    let options = request(&Method::Options, "z9hG4bK1");
    let mut stage = Stage::new();
    stage.receive(options.clone(), UDP).respond(0, 200);
    stage.at(31_999).receive(options.clone(), UDP);
    stage.at(32_001).receive(options, UDP);
    expect(
        &stage,
        &[
            (0, "request OPTIONS"),
            (0, "> 200"),
            (31_999, "> 200"),
            (32_000, "server ended"),
            (32_001, "request OPTIONS"),
        ],
    );
}
