//! RFC 3261 §10.3 step by step, as a phone sees it.

use cluster_tests::cluster::DOMAIN;
use cluster_tests::phone::Transport::{Tcp, Udp};
use cluster_tests::phone::{Message, Phone, parameter, scenario};
use cluster_tests::ua::message::uri_of;

/// What is bound, by a REGISTER without Contact (§10.2.3).
async fn bound(phone: &mut Phone) -> Vec<String> {
    let query = phone.registration().without("Contact");
    let answer = phone.authorized(query).await;
    assert_eq!(answer.status(), Some(200), "{answer}");
    answer.list("Contact")
}

/// Registers with another Contact; gives the answer.
async fn with_contact(phone: &mut Phone, contact: &str) -> Message {
    let register = phone.registration().with("Contact", contact);
    phone.authorized(register).await
}

/// §10.2.1.1, §10.3 steps 7 and 8: what was granted, the shortest word first.
#[test]
fn an_interval_is_granted_and_shown() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let own = format!("<{}>", phone.contact());
        for (contact, expires, granted) in [
            (own.clone(), None, 3_600),
            (own.clone(), Some("600"), 600),
            (format!("{own};expires=300"), Some("600"), 300),
            (format!("{own};expires=999999"), None, 7_200),
        ] {
            let register = phone.registration().with("Contact", &contact);
            let register = expires.map_or(register.clone(), |expires| register.with("Expires", expires));
            let answer = phone.authorized(register).await;
            let listed = answer.list("Contact");
            assert_eq!(listed.len(), 1, "{answer}");
            assert_eq!(uri_of(&listed[0]), phone.contact());
            let left: u32 = parameter(&listed[0], "expires").expect("§10.3 step 8").parse().expect("seconds");
            assert!(left <= granted && left + 2 >= granted, "{left} of {granted}");
        }
    });
}

/// §10.3 step 8, RFC 3840: what a Contact says besides is kept.
#[test]
fn the_parameters_of_a_contact_are_kept() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let contact =
            format!("\"Desk, \\\"left\\\"\" <{}>;q=0.7;methods=\"INVITE,BYE\";+x.y;audio", phone.contact());
        let answer = with_contact(&mut phone, &contact).await;
        assert_eq!(answer.status(), Some(200), "{answer}");
        let listed = answer.list("Contact");
        assert_eq!(listed.len(), 1, "{answer}");
        assert_eq!(parameter(&listed[0], "q"), Some("0.7"));
        assert_eq!(parameter(&listed[0], "methods"), Some("INVITE,BYE"));
        assert!(
            parameter(&listed[0], "+x.y").is_some() && parameter(&listed[0], "audio").is_some(),
            "{answer}"
        );
    });
}

/// §10.3 step 7, §21.4.17.
#[test]
fn an_interval_that_is_too_brief_is_423() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let own = phone.contact();
        let answer = with_contact(&mut phone, &format!("<{own}>;expires=5")).await;
        assert_eq!((answer.status(), answer.get("Min-Expires")), (Some(423), "60".to_owned()));
        let register = phone.registration().with("Expires", "59");
        assert_eq!(phone.authorized(register).await.status(), Some(423));
        assert!(bound(&mut phone).await.is_empty());
        let enough = with_contact(&mut phone, &format!("<{own}>;expires=60")).await;
        assert_eq!(enough.status(), Some(200));
        assert_eq!(bound(&mut phone).await.len(), 1);
    });
}

/// §10.2.2, §10.3 steps 6 and 7.
#[test]
fn bindings_are_removed_one_by_one_and_all_at_once() {
    scenario(async |exchange| {
        let mut desk = exchange.registered(1, Udp).await;
        let mut mobile = exchange.another(&desk, 2, Tcp).await;
        let mut tablet = exchange.another(&desk, 2, Udp).await;
        mobile.register().await;
        tablet.register().await;
        assert_eq!(bound(&mut desk).await.len(), 3);

        let own = format!("<{}>;expires=0", mobile.contact());
        let answer = with_contact(&mut mobile, &own).await;
        assert_eq!(answer.list("Contact").len(), 2);
        assert!(!answer.list("Contact").iter().any(|contact| uri_of(contact) == mobile.contact()));

        for (contact, expires) in [("*", None), ("*", Some("600")), ("*, <sip:a@192.0.2.1>", Some("0"))] {
            let register = desk.registration().with("Contact", contact);
            let register = expires.map_or(register.clone(), |expires| register.with("Expires", expires));
            let refused = desk.authorized(register).await;
            assert_eq!(refused.status(), Some(400), "{contact} {expires:?}");
            assert_eq!(bound(&mut desk).await.len(), 2);
        }
        let all = desk.registration().with("Contact", "*").with("Expires", "0");
        let answer = desk.authorized(all).await;
        assert_eq!((answer.status(), answer.list("Contact").len()), (Some(200), 0));
        assert!(bound(&mut desk).await.is_empty());
    });
}

/// §10.3 step 7: a request that is older than what is bound fails and changes nothing.
#[test]
fn what_comes_too_late_changes_nothing() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        for _ in 0..3 {
            phone.register().await;
        }
        let before = bound(&mut phone).await;
        let own = phone.contact();
        let late =
            phone.registration().with("CSeq", "1 REGISTER").with("Contact", &format!("<{own}>;expires=0"));
        let refused = phone.authorized(late).await;
        assert!(refused.status() >= Some(400) && refused.status() != Some(401), "{refused}");
        assert_eq!(uri_of(&bound(&mut phone).await[0]), uri_of(&before[0]));
        // Another Call-ID is another story: the phone has restarted.
        let restarted = phone.registration().with("CSeq", "1 REGISTER").with("Call-ID", &phone.fresh());
        assert_eq!(phone.authorized(restarted).await.status(), Some(200));
        assert_eq!(bound(&mut phone).await.len(), 1);
    });
}

/// §19.1.4: equal URIs are one binding, whatever they look like; §10.3 step 7.
#[test]
fn contacts_are_compared_as_uris() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let equal = [
            "<sip:%61b@Phone.Elsewhere.TEST:5070;Transport=UDP;x=1>",
            "<sip:ab@phone.elsewhere.test:5070;x=1;transport=udp>",
        ];
        for contact in equal {
            assert_eq!(with_contact(&mut phone, contact).await.list("Contact").len(), 1, "{contact}");
        }
        let others = [
            "<sip:AB@phone.elsewhere.test:5070;x=1;transport=udp>",
            "<sip:ab@phone.elsewhere.test;x=1;transport=udp>",
            "<sip:ab@phone.elsewhere.test:5070;x=2;transport=udp>",
            "<sips:ab@phone.elsewhere.test:5070;x=1;transport=udp>",
        ];
        for (number, contact) in others.iter().enumerate() {
            assert_eq!(
                with_contact(&mut phone, contact).await.list("Contact").len(),
                2 + number,
                "{contact}"
            );
        }
        // Several in one request, in one line and in more.
        let all = phone.registration().with("Contact", "*").with("Expires", "0");
        phone.authorized(all).await;
        let several =
            phone.registration().with("Contact", "<sip:a@192.0.2.1>, <sip:b@192.0.2.1>;expires=600");
        let several = phone.authorized(several.line("m: <sip:c@192.0.2.1>")).await;
        assert_eq!(several.list("Contact").len(), 3, "{several}");
    });
}

/// The largest number of contacts: all of a request or none.
#[test]
fn an_address_has_no_more_contacts_than_allowed() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Tcp).await;
        let list =
            |count: u32| (1..=count).map(|n| format!("<sip:a@192.0.2.{n}>")).collect::<Vec<_>>().join(", ");
        assert_eq!(with_contact(&mut phone, &list(11)).await.status(), Some(403));
        assert!(bound(&mut phone).await.is_empty());
        assert_eq!(with_contact(&mut phone, &list(10)).await.list("Contact").len(), 10);
        assert_eq!(with_contact(&mut phone, "<sip:b@192.0.2.1>").await.status(), Some(403));
        // Refreshing is not adding.
        assert_eq!(with_contact(&mut phone, &list(10)).await.status(), Some(200));
    });
}

/// §10.3 step 2 (§8.2.2.3), RFC 3327 §5.3: what is required is understood, or named.
#[test]
fn an_unknown_require_is_420() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration().with("Require", "path, frobnicate").line("Require: gruu, x-y");
        let refused = phone.authorized(register).await;
        assert_eq!(refused.status(), Some(420), "{refused}");
        assert_eq!(refused.list("Unsupported"), ["frobnicate", "x-y"]);
        assert!(bound(&mut phone).await.is_empty());
        let register = phone.registration().with("Require", "path").with("Supported", "path");
        assert_eq!(phone.authorized(register).await.status(), Some(200));
    });
}

/// §10.3 step 5.
#[test]
fn an_address_of_another_domain_is_404() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration().with("To", "<sip:somebody@elsewhere.test>");
        assert_eq!(phone.authorized(register).await.status(), Some(404));
    });
}

/// §10.3: one address behind both edges, and what each core of the cluster says is the same.
#[test]
fn every_core_knows_what_is_bound() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let mut other = exchange.another(&phone, 2, Tcp).await;
        phone.register().await;
        other.register().await;
        for _ in 0..8 {
            // Another Call-ID has another home.
            let query = phone.registration().without("Contact").with("Call-ID", &phone.fresh());
            let answer = phone.authorized(query).await;
            let mut contacts: Vec<_> =
                answer.list("Contact").iter().map(|contact| uri_of(contact).to_owned()).collect();
            contacts.sort();
            let mut expected = [phone.contact(), other.contact()];
            expected.sort();
            assert_eq!(contacts, expected);
        }
    });
}

/// §11.2.
#[test]
fn the_domain_tells_what_it_can() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Tcp).await;
        let options = alice.request("OPTIONS", &format!("sip:{DOMAIN}"));
        alice.send(&options).await;
        let answer = alice.gets(&options, 200).await;
        for name in ["Allow", "Accept", "Supported"] {
            assert!(!answer.get(name).is_empty(), "{name}: {answer}");
        }
    });
}
