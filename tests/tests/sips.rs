//! Calls to SIPS addresses, RFC 5630 §5.3 and RFC 3261 §26.2.2: TLS to the phone, or no call.

use std::time::Duration;

use cluster_tests::sim::{DOMAIN, EP1, EP2, Sim};
use cluster_tests::ua::message::lines;
use cluster_tests::ua::{CallOptions, Contacts, Register};
use transport::Protocol;

const SECOND: Duration = Duration::from_secs(1);

/// Alice and Bob with a contact of this scheme over this transport.
fn alice_and_bob(seed: u64, scheme: &str, protocol: Protocol) -> (Sim, usize, usize) {
    let mut sim = Sim::new(seed);
    let alice = sim.phone_with("alice", EP1, Protocol::Tls, |_| {});
    let bob = sim.phone_with("bob", EP2, protocol, |_| {});
    sim.register(alice);
    let contact = sim.ua(bob).contact().replacen("sip", scheme, 1);
    let list = Contacts::List(vec![format!("<{contact}>")]);
    let registration = sim.register_as(bob, Register { contacts: list, ..Register::on(0) });
    assert_eq!(registration.status, Some(200));
    (sim, alice, bob)
}

#[test]
fn a_sips_contact_on_tls_is_called() {
    let (mut sim, alice, bob) = alice_and_bob(1, "sips", Protocol::Tls);
    let call = sim.call_as(alice, &format!("sips:bob@{DOMAIN}"), CallOptions::default());
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(200));
    let invite = sim.ua(bob).requests("INVITE")[0].clone();
    assert!(invite.uri.to_string().starts_with("sips:bob@"), "{}", invite.uri);
    let routes = lines(&invite.headers, "Record-Route");
    assert!(!routes.is_empty() && routes.iter().all(|route| route.starts_with("<sips:")), "{routes:?}");
    sim.run(SECOND);
    assert!(sim.ua(bob).dialogs[0].is_acknowledged);
    assert_eq!(sim.hang_up(call), Some(200));
}

#[test]
fn a_sip_contact_is_not_called() {
    let (mut sim, alice, bob) = alice_and_bob(2, "sip", Protocol::Tls);
    let call = sim.call_as(alice, &format!("sips:bob@{DOMAIN}"), CallOptions::default());
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(480));
    let refusal = sim.ua(alice).responses(480)[0].clone();
    assert!(refusal.headers.to_string().contains("\nWarning: 380 "), "{refusal}");
    assert!(sim.ua(bob).requests("INVITE").is_empty());
}

#[test]
fn a_call_to_a_sip_address_leaves_with_a_sip_uri() {
    let (mut sim, alice, bob) = alice_and_bob(4, "sips", Protocol::Tls);
    let call = sim.call(alice, "bob");
    assert_eq!(sim.final_of(call, 5 * SECOND), Some(200));
    let invite = sim.ua(bob).requests("INVITE")[0].clone();
    assert!(invite.uri.to_string().starts_with("sip:bob@"), "{}", invite.uri);
    sim.run(SECOND);
    assert_eq!(sim.hang_up(call), Some(200));
}
