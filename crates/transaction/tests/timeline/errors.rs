//! §17.1.4, §17.2.4 and RFC 6026 §7.1: hops that fail.

use sip::Method;

use crate::support::{Hop, Stage, Told, answer, request};
use crate::{expect, expect_empty};

const UDP: Hop = Hop::Udp(1);
const TCP: Hop = Hop::Tcp(1);

#[test]
fn a_failed_hop_ends_what_waits_for_it_oldest_first() {
    let mut stage = Stage::new();
    let first = stage.request(request(&Method::Invite, "z9hG4bK1"), TCP);
    let second = stage.request(request(&Method::Options, "z9hG4bK2"), TCP);
    let other = stage.request(request(&Method::Options, "z9hG4bK3"), Hop::Tcp(2));
    assert_eq!(stage.layer.clients_of(TCP), [first, second]);
    stage.at(100).transport_error(TCP);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (0, "> OPTIONS"),
            (0, "> OPTIONS"),
            (100, "error"),
            (100, "client ended"),
            (100, "error"),
            (100, "client ended"),
        ],
    );
    let ends = [first, second].map(|id| [Told::Error(id), Told::ClientEnded(id)]);
    assert_eq!(stage.told, ends.as_flattened());
    assert_eq!(stage.layer.client_peer(first), None);
    assert_eq!(stage.layer.client_peer(other), Some(Hop::Tcp(2)));
}

#[test]
fn a_failed_hop_does_not_take_back_a_final() {
    // A 2xx of another branch may still come another way (RFC 6026 §7.2).
    let invite = request(&Method::Invite, "z9hG4bK1");
    let mut stage = Stage::new();
    stage.request(invite.clone(), TCP);
    stage.receive(answer(&invite, 200), TCP);
    stage.at(100).transport_error(TCP);
    stage.at(200).receive(answer(&invite, 200), Hop::Tcp(2));
    stage.at(100_000);
    expect(&stage, &[(0, "> INVITE"), (0, "response 200"), (200, "response 200"), (32_000, "client ended")]);
    expect_empty(&stage);
}

#[test]
fn a_failed_hop_ends_the_repetition_but_not_the_server_transaction() {
    // RFC 6026 §7.1: it stays, so that a repeated INVITE is no new call.
    let invite = request(&Method::Invite, "z9hG4bK1");
    let mut stage = Stage::new();
    stage.receive(invite.clone(), UDP).respond(0, 486);
    stage.at(100).transport_error(UDP);
    stage.at(5000).receive(invite, UDP);
    stage.at(100_000);
    expect(&stage, &[(0, "request INVITE"), (0, "> 486"), (5000, "> 486"), (32_000, "server ended")]);
    expect_empty(&stage);
}

#[test]
fn a_request_that_could_not_be_sent_is_lost_alone() {
    let lost = request(&Method::Options, "z9hG4bK1");
    let mut stage = Stage::new();
    stage.request(lost.clone(), TCP);
    stage.request(request(&Method::Options, "z9hG4bK2"), TCP);
    stage.layer.not_sent(&lost.encode(), stage.instant());
    stage.layer.not_sent(&answer(&lost, 200).encode(), stage.instant());
    stage.layer.not_sent(&"nonsense".into(), stage.instant());
    stage.drain();
    expect(&stage, &[(0, "> OPTIONS"), (0, "> OPTIONS"), (0, "error"), (0, "client ended")]);
}

#[test]
fn a_lost_cancel_is_the_layers_own_business() {
    // The INVITE is given up 64·T1 after it all the same (§9.1).
    let invite = request(&Method::Invite, "z9hG4bK1");
    let mut stage = Stage::new();
    let id = stage.request(invite.clone(), TCP);
    stage.receive(answer(&invite, 180), TCP);
    stage.cancel(id);
    stage.layer.not_sent(&request(&Method::Cancel, "z9hG4bK1").encode(), stage.instant());
    stage.drain().at(100_000);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (0, "response 180"),
            (0, "> CANCEL"),
            (32_000, "timeout"),
            (32_000, "client ended"),
        ],
    );
    expect_empty(&stage);
}

#[test]
fn a_redirected_client_sends_its_cancel_and_ack_the_new_way() {
    let invite = request(&Method::Invite, "z9hG4bK1");
    let mut stage = Stage::new();
    let id = stage.request(invite.clone(), TCP);
    stage.receive(answer(&invite, 180), TCP);
    assert!(stage.layer.is_proceeding(id));
    stage.layer.redirect_client(id, Hop::Tcp(2));
    stage.transport_error(TCP).cancel(id);
    stage.receive(answer(&invite, 487), Hop::Tcp(2));
    let hops: Vec<Hop> = stage.sent.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(hops, [TCP, Hop::Tcp(2), Hop::Tcp(2)]);
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (0, "response 180"),
            (0, "> CANCEL"),
            (0, "> ACK"),
            (0, "response 487"),
            (0, "client ended"),
        ],
    );
}

#[test]
fn a_cancel_that_was_lost_with_its_hop_is_sent_again() {
    let invite = request(&Method::Invite, "z9hG4bK1");
    let mut stage = Stage::new();
    let id = stage.request(invite.clone(), TCP);
    stage.layer.repeat_cancel(id, stage.instant());
    stage.receive(answer(&invite, 180), TCP);
    stage.layer.cancel_because(id, Some("SIP;cause=200".into()), stage.instant());
    stage.drain();
    stage.layer.redirect_client(id, Hop::Tcp(2));
    stage.layer.repeat_cancel(id, stage.instant());
    stage.drain().receive(answer(&invite, 487), Hop::Tcp(2));
    let hops: Vec<Hop> = stage.sent.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(hops, [TCP, TCP, Hop::Tcp(2), Hop::Tcp(2)]);
    assert_eq!(stage.sent[1].1.encode(), stage.sent[2].1.encode(), "the same CANCEL, Reason and all");
    expect(
        &stage,
        &[
            (0, "> INVITE"),
            (0, "response 180"),
            (0, "> CANCEL"),
            (0, "> CANCEL"),
            (0, "> ACK"),
            (0, "response 487"),
            (0, "client ended"),
        ],
    );
}
