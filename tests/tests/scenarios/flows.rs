//! RFC 5626, RFC 3327 and RFC 5627: flows, paths and GRUUs.

use cluster_tests::phone::Transport::{Tcp, Udp};
use cluster_tests::phone::{Dialog, Exchange, Message, Phone, Transport, parameter, scenario};
use cluster_tests::ua::message::{host_of, uri_of, user_of};

/// Registers a flow of an instance.
async fn register(phone: &mut Phone, instance: &str, reg_id: Option<u32>, supported: &str) -> Message {
    let reg_id = reg_id.map_or(String::new(), |reg_id| format!(";reg-id={reg_id}"));
    let contact = format!("<{}>;+sip.instance=\"<{instance}>\"{reg_id}", phone.contact());
    let register = phone.registration().with("Contact", &contact).with("Supported", supported);
    phone.authorized(register).await
}

/// A phone with a flow to each of two edges.
async fn two_flows(exchange: &Exchange, transport: Transport) -> (Phone, Phone) {
    let mut first = exchange.phone(1, transport).await;
    let mut second = exchange.another(&first, 2, transport).await;
    let instance = instance(&first);
    for (reg_id, phone) in [(1, &mut first), (2, &mut second)] {
        let answer = register(phone, &instance, Some(reg_id), "path, outbound").await;
        assert_eq!(answer.status(), Some(200), "{answer}");
        assert!(answer.list("Require").contains(&"outbound".to_owned()), "RFC 5626 §6: {answer}");
        assert_eq!(answer.list("Path").len(), 1, "RFC 3327 §5.3: {answer}");
    }
    (first, second)
}

/// An instance-id that no other phone has.
fn instance(phone: &Phone) -> String {
    format!("urn:uuid:00000000-0000-1000-8000-{:012x}", phone.local.port())
}

/// RFC 5626 §6, §7: two flows are one phone, which rings once.
#[test]
fn two_flows_ring_once() {
    scenario(async |exchange| {
        let (mut first, mut second) = two_flows(exchange, Udp).await;
        let mut alice = exchange.outsider(1, Udp).await;
        let invite = alice.request("INVITE", &first.aor());
        alice.send(&invite).await;
        let (heard, used, spare) = tokio::select! {
            heard = first.hears("INVITE") => (heard, &mut first, &mut second),
            heard = second.hears("INVITE") => (heard, &mut second, &mut first),
        };
        used.reply(&heard, 180).await;
        alice.gets(&invite, 180).await;
        spare.hears_nothing_else(&invite).await;
        used.reply(&heard, 486).await;
        used.hears("ACK").await;
        alice.is_refused(&invite, 486).await;
        spare.hears_nothing_else(&invite).await;
    });
}

/// RFC 5626 §5.3.1, §7: a flow that is gone is not the end of the call.
#[test]
fn a_broken_flow_leads_to_the_other_one() {
    scenario(async |exchange| {
        let (mut first, second) = two_flows(exchange, Tcp).await;
        drop(second);
        let mut alice = exchange.outsider(2, Udp).await;
        let (mut dialog, _) = alice.calls(&mut first, |invite| invite).await;
        alice.hangs_up(&mut dialog, &mut first).await;
    });
}

/// RFC 5626 §11.5: without another flow the caller hears 480, and never 430.
#[test]
fn the_only_flow_gone_is_480() {
    scenario(async |exchange| {
        let phone = exchange.registered(2, Tcp).await;
        let aor = phone.aor();
        drop(phone);
        let mut alice = exchange.outsider(1, Udp).await;
        let invite = alice.request("INVITE", &aor);
        alice.send(&invite).await;
        alice.is_refused(&invite, 480).await;
    });
}

/// RFC 5626 §6: instance and reg-id are the binding, whatever Call-ID and Contact are.
#[test]
fn a_flow_replaces_its_predecessor() {
    scenario(async |exchange| {
        let (mut first, _second) = two_flows(exchange, Udp).await;
        let instance = instance(&first);
        let mut restarted = exchange.another(&first, 2, Tcp).await;
        let answer = register(&mut restarted, &instance, Some(1), "path, outbound").await;
        let contacts = answer.list("Contact");
        assert_eq!(contacts.len(), 2, "{answer}");
        assert!(contacts.iter().all(|contact| uri_of(contact) != first.contact()), "{answer}");
        let query = first.registration().without("Contact");
        assert_eq!(first.authorized(query).await.list("Contact").len(), 2);
    });
}

/// RFC 5626 §6, §11.6: there is an element before the edge that knows nothing of flows.
#[test]
fn a_first_hop_without_outbound_is_439() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let instance = instance(&phone);
        let contact = format!("<{}>;+sip.instance=\"<{instance}>\";reg-id=1", phone.contact());
        for (supported, status) in [("path, outbound", 439), ("path", 200)] {
            let register = phone.registration().with("Contact", &contact).with("Supported", supported);
            let register = register.line("Via: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKold");
            let answer = phone.authorized(register).await;
            assert_eq!(answer.status(), Some(status), "{answer}");
            assert!(answer.list("Require").is_empty(), "{answer}");
        }
    });
}

/// RFC 3327 §5: the path of a chain of proxies, in its order, stored and followed; shown to who knows what it is.
#[test]
fn a_path_vector_keeps_its_order() {
    scenario(async |exchange| {
        // The third edge believes who sends to it.
        let mut phone = exchange.phone(3, Udp).await;
        let beyond = ["<sip:p2.elsewhere.test;lr;x=a%2Cb>", "<sip:tok%2Fen@p1.elsewhere.test:5070;lr>"];
        for supported in ["path", "timer"] {
            let register = phone.registration().with("Supported", supported).with("Path", &beyond.join(","));
            let answer = phone.authorized(register).await;
            assert_eq!(answer.status(), Some(200), "{answer}");
            let path = answer.list("Path");
            if supported == "path" {
                assert_eq!(path.len(), 3, "{answer}");
                assert_eq!((host_of(uri_of(&path[0])), &path[1..]), ("ep3", &beyond.map(str::to_owned)[..]));
            } else {
                assert!(path.is_empty(), "{answer}");
            }
            let mut alice = exchange.outsider(1, Udp).await;
            let (message, heard) = alice.reaches(&mut phone, "MESSAGE").await;
            assert_eq!(heard.list("Route"), beyond, "RFC 3327 §5.4");
            assert_eq!(heard.uri(), phone.contact());
            phone.reply(&heard, 200).await;
            alice.gets(&message, 200).await;
        }
    });
}

/// RFC 3327 §6: an outsider's Path is not believed.
#[test]
fn the_path_of_an_outsider_is_removed() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register =
            phone.registration().with("Supported", "path").with("Path", "<sip:evil.elsewhere.test;lr>");
        let answer = phone.authorized(register).await;
        let path = answer.list("Path");
        assert_eq!((path.len(), host_of(uri_of(&path[0]))), (1, "ep1"), "{answer}");
    });
}

/// RFC 5627 §5.2, §6.1: each of two phones has its own GRUUs, and they ring nobody else.
#[test]
fn a_gruu_rings_one_phone() {
    scenario(async |exchange| {
        let mut desk = exchange.phone(1, Udp).await;
        let mut mobile = exchange.another(&desk, 2, Tcp).await;
        let mut gruus = Vec::new();
        for phone in [&mut desk, &mut mobile] {
            let own = instance(phone);
            let answer = register(phone, &own, None, "gruu").await;
            let contacts = answer.list("Contact");
            let own =
                contacts.iter().find(|contact| uri_of(contact) == phone.contact()).expect("it is listed");
            gruus.push(
                ["pub-gruu", "temp-gruu"].map(|name| parameter(own, name).expect("RFC 5627 §5.2").to_owned()),
            );
        }
        let mut alice = exchange.outsider(1, Udp).await;
        for gruu in &gruus[1] {
            let message = alice.request("MESSAGE", gruu);
            alice.send(&message).await;
            let heard = mobile.hears("MESSAGE").await;
            assert_eq!(heard.uri(), mobile.contact());
            mobile.reply(&heard, 200).await;
            alice.gets(&message, 200).await;
            desk.hears_nothing_else(&message).await;
        }
        let [public, temporary] = &gruus[0];
        assert!(public.starts_with(&format!("{};gr=", desk.aor())), "RFC 5627 §5.4: {public}");
        assert!(!temporary.contains(&user_of(&desk.aor()).to_owned()), "RFC 5627 §3.1.2: {temporary}");

        // RFC 5627 §5.1: another Call-ID ends the temporary ones.
        let own = instance(&desk);
        let contact = format!("<{}>;+sip.instance=\"<{own}>\"", desk.contact());
        let again = desk.registration().with("Contact", &contact).with("Call-ID", &desk.fresh());
        assert_eq!(desk.authorized(again).await.status(), Some(200));
        let message = alice.request("MESSAGE", temporary);
        alice.send(&message).await;
        alice.gets(&message, 404).await;
    });
}

/// RFC 5627 §6.1: a GRUU as the remote target of a dialog.
#[test]
fn a_dialog_with_a_gruu_finds_its_phone() {
    scenario(async |exchange| {
        let mut bob = exchange.phone(2, Udp).await;
        let own = instance(&bob);
        let answer = register(&mut bob, &own, None, "gruu").await;
        let gruu = parameter(&answer.list("Contact")[0], "pub-gruu").expect("RFC 5627 §5.2").to_owned();
        let mut alice = exchange.outsider(1, Tcp).await;
        let (invite, heard) = alice.reaches(&mut bob, "INVITE").await;
        let ok = bob.response(&heard, 200).with("Contact", &format!("<{gruu}>"));
        bob.send(&ok).await;
        let ok = alice.gets(&invite, 200).await;
        let mut dialog = Dialog::of_caller(&invite, &ok);
        assert_eq!(dialog.target, gruu);
        let ack = alice.within(&mut dialog, "ACK");
        alice.send(&ack).await;
        assert_eq!(bob.hears("ACK").await.uri(), bob.contact());
        let bye = alice.within(&mut dialog, "BYE");
        alice.send(&bye).await;
        let heard = bob.hears("BYE").await;
        assert_eq!(heard.uri(), bob.contact());
        bob.reply(&heard, 200).await;
        alice.gets(&bye, 200).await;
    });
}

/// RFC 5626 §5.3: a request is outgoing on the flow that its token names, and incoming for it on any other. Alice is nobody's
/// user, so only the token leads to her.
#[test]
fn the_flow_of_the_token_says_the_direction() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut hers, mut his) = alice.calls(&mut bob, |invite| invite).await;
        let info = alice.within(&mut hers, "INFO");
        alice.send(&info).await;
        let heard = bob.hears("INFO").await;
        bob.reply(&heard, 200).await;
        alice.gets(&info, 200).await;
        alice.hears_nothing_else(&info).await;
        // Bob from somewhere else, right to Alice's edge.
        let mut moved = exchange.another(&bob, 1, Tcp).await;
        let routes = std::mem::take(&mut his.routes);
        his.routes.extend(routes.last().cloned());
        let info = moved.within(&mut his, "INFO");
        moved.send(&info).await;
        let heard = alice.hears("INFO").await;
        assert_eq!((heard.uri(), heard.list("Route")), (alice.contact().as_str(), Vec::new()));
        alice.reply(&heard, 200).await;
        moved.gets(&info, 200).await;
        moved.hears_nothing_else(&info).await;
        alice.hangs_up(&mut hers, &mut bob).await;
    });
}

/// RFC 5626 §5.3.1: nobody chooses a flow but the cluster.
#[test]
fn a_forged_flow_token_goes_nowhere() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (mut dialog, _) = alice.calls(&mut bob, |invite| invite).await;
        let genuine = dialog.routes.clone();
        for at in 0..2 {
            dialog.routes.clone_from(&genuine);
            let token = user_of(uri_of(&genuine[at])).to_owned();
            let forged: String = token.chars().rev().collect();
            dialog.routes[at] = dialog.routes[at].replace(&token, &forged);
            let info = alice.within(&mut dialog, "INFO");
            alice.send(&info).await;
            alice.gets(&info, 403).await;
            bob.hears_nothing_else(&info).await;
        }
        dialog.routes = genuine;
        alice.hangs_up(&mut dialog, &mut bob).await;
    });
}
