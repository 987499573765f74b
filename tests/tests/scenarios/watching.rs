//! RFC 3680: a phone that watches its own registration, and an operator who ends it.

use cluster_tests::phone::Transport::{Tcp, Udp};
use cluster_tests::phone::{Dialog, Message, PASSWORD, Phone, scenario};
use cluster_tests::ua::digest::Algorithm;

/// Answers the challenge, which is that of a user agent and not of a proxy (RFC 6665 §4.2.1.3).
async fn accepted(phone: &mut Phone, request: Message) -> (Message, Message) {
    phone.send(&request).await;
    let challenged = phone.gets(&request, 401).await;
    let (mut challenge, _) = phone.challenge(&challenged, Algorithm::Sha256).expect("SHA-256 is offered");
    let credentials = challenge.answer(&phone.user, PASSWORD, request.method(), request.uri());
    let request = phone.once_more(request).with("Authorization", &credentials);
    phone.send(&request).await;
    let ok = phone.gets(&request, 200).await;
    (request, ok)
}

/// The next NOTIFY, which is answered; its document.
async fn told(phone: &mut Phone, dialog: &Dialog) -> (Message, String) {
    let notify = phone.hears("NOTIFY").await;
    assert_eq!((notify.get("Call-ID"), notify.tag("From")), (dialog.call_id.clone(), tag_of(&dialog.remote)));
    phone.reply(&notify, 200).await;
    let document = String::from_utf8_lossy(notify.content()).into_owned();
    (notify, document)
}

fn tag_of(value: &str) -> String {
    value.split_once(";tag=").map_or("", |(_, tag)| tag).to_owned()
}

#[test]
fn a_phone_is_told_what_becomes_of_its_registration() {
    scenario(async |exchange| {
        let mut desk = exchange.registered(1, Udp).await;
        let mut mobile = exchange.another(&desk, 2, Tcp).await;
        let aor = desk.aor();
        let subscribe = desk.request("SUBSCRIBE", &aor).with("Event", "reg").with("Expires", "600");
        let (asked, ok) = accepted(&mut desk, subscribe).await;
        assert_eq!(ok.get("Expires"), "600");
        let mut dialog = Dialog::of_caller(&asked, &ok);
        let (first, document) = told(&mut desk, &dialog).await;
        assert_eq!((first.get("Event"), first.number()), ("reg".to_owned(), 1));
        assert!(first.get("Subscription-State").starts_with("active;expires="), "{first}");
        assert!(document.contains("version=\"0\" state=\"full\"") && document.contains(&desk.contact()));

        mobile.register().await;
        let (_, document) = told(&mut desk, &dialog).await;
        assert!(document.contains("version=\"1\" state=\"partial\""), "{document}");
        assert!(document.contains("event=\"registered\"") && document.contains(&mobile.contact()));
        assert!(!document.contains(&desk.contact()));

        // A process that speaks no SIP removes them; a core tells.
        let removed = exchange.cluster.command(&["contacts", "remove", &aor], "").await.expect("it runs");
        assert!(removed.status.success(), "{removed:?}");
        let (_, document) = told(&mut desk, &dialog).await;
        assert!(document.contains("version=\"2\""), "{document}");
        assert_eq!(document.matches("event=\"deactivated\"").count(), 2, "{document}");

        let end = desk.within(&mut dialog, "SUBSCRIBE").with("Event", "reg").with("Expires", "0");
        accepted(&mut desk, end).await;
        let (last, _) = told(&mut desk, &dialog).await;
        assert_eq!(last.get("Subscription-State"), "terminated;reason=timeout");
        desk.hears_nothing_else(&last).await;
    });
}
