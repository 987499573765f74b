//! RFC 3261 §16.5 to §16.7: several phones of one user, RFC 5393 §5.

use cluster_tests::phone::Transport::Udp;
use cluster_tests::phone::{Exchange, Message, Phone, scenario};

/// Phones of one user with these preferences, behind the first and the second edge in turn.
async fn household<const N: usize>(exchange: &Exchange, preferences: [&str; N]) -> [Phone; N] {
    let mut phones = Vec::new();
    for (number, q) in preferences.iter().enumerate() {
        let edge = 1 + number % 2;
        let mut phone = match phones.first() {
            Some(first) => exchange.another(first, edge, Udp).await,
            None => exchange.phone(edge, Udp).await,
        };
        let register = phone.registration();
        let contact = format!("<{}>;q={q}", phone.contact());
        let answer = phone.authorized(register.with("Contact", &contact)).await;
        assert_eq!(answer.status(), Some(200), "{answer}");
        phones.push(phone);
    }
    phones.try_into().unwrap_or_else(|_| unreachable!("as many as preferences"))
}

/// Refuses a call and takes the ACK, which the edge sends (§17.1.1.3).
async fn refuses(phone: &mut Phone, invite: &Message, status: u16) {
    phone.reply(invite, status).await;
    phone.hears("ACK").await;
}

/// Alice calls; the answer that she gets in the end has been acknowledged.
async fn ends(alice: &mut Phone, invite: &Message) -> Message {
    let answer = alice.final_answer(invite).await;
    alice.send(&Phone::ack(invite, &answer)).await;
    answer
}

/// §16.6: all of one preference at once, the next preference when they have all refused.
#[test]
fn phones_ring_by_falling_preference() {
    scenario(async |exchange| {
        let [mut desk, mut mobile, mut attic] = household(exchange, ["0.9", "0.9", "0.5"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        let invite = alice.request("INVITE", &desk.aor());
        alice.send(&invite).await;
        let (at_desk, on_mobile) = (desk.hears("INVITE").await, mobile.hears("INVITE").await);
        assert_eq!((at_desk.uri(), on_mobile.uri()), (&*desk.contact(), &*mobile.contact()));
        attic.hears_nothing_else(&invite).await;
        refuses(&mut desk, &at_desk, 486).await;
        mobile.reply(&on_mobile, 180).await;
        alice.gets(&invite, 180).await;
        attic.hears_nothing_else(&invite).await;
        refuses(&mut mobile, &on_mobile, 480).await;
        let in_attic = attic.hears("INVITE").await;
        assert_eq!(in_attic.uri(), attic.contact());
        attic.reply(&in_attic, 200).await;
        let ok = alice.gets(&invite, 200).await;
        let mut dialog = alice.acknowledges(&invite, &ok, &mut attic).await;
        alice.hangs_up(&mut dialog, &mut attic).await;
        for phone in [&mut desk, &mut mobile] {
            phone.hears_nothing_else(&invite).await;
        }
    });
}

/// §16.7 step 5: a 6xx ends the search, but only after every phone that rings was told.
#[test]
fn a_6xx_ends_all() {
    scenario(async |exchange| {
        let [mut desk, mut mobile, mut attic] = household(exchange, ["1", "1", "0.1"]).await;
        let mut alice = exchange.outsider(2, Udp).await;
        let invite = alice.request("INVITE", &desk.aor());
        alice.send(&invite).await;
        let (at_desk, on_mobile) = (desk.hears("INVITE").await, mobile.hears("INVITE").await);
        mobile.reply(&on_mobile, 180).await;
        alice.gets(&invite, 180).await;
        refuses(&mut desk, &at_desk, 603).await;
        let cancel = mobile.hears("CANCEL").await;
        alice.hears_nothing_else(&invite).await;
        mobile.reply(&cancel, 200).await;
        refuses(&mut mobile, &on_mobile, 487).await;
        assert_eq!(ends(&mut alice, &invite).await.status(), Some(603));
        attic.hears_nothing_else(&invite).await;
    });
}

/// §16.7 step 6.
#[test]
fn the_best_answer_is_given() {
    scenario(async |exchange| {
        let [mut desk, mut mobile] = household(exchange, ["1", "1"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        for (one, other, best) in [
            (486, 500, 486),
            (302, 486, 302),
            (404, 415, 415),
            (480, 484, 484),
            (420, 404, 420),
            (404, 407, 407),
            (501, 603, 603),
            (503, 503, 500),
            (503, 486, 486),
        ] {
            for turned in [false, true] {
                let (one, other) = if turned { (other, one) } else { (one, other) };
                let invite = alice.request("INVITE", &desk.aor());
                alice.send(&invite).await;
                let (at_desk, on_mobile) = (desk.hears("INVITE").await, mobile.hears("INVITE").await);
                refuses(&mut desk, &at_desk, one).await;
                if one == 603 {
                    // The CANCEL may meet the answer.
                    mobile.reply(&on_mobile, other).await;
                    let next = mobile.hears_either("ACK", "CANCEL").await;
                    if next.method() == "CANCEL" {
                        mobile.reply(&next, 481).await;
                        mobile.hears("ACK").await;
                    }
                } else {
                    refuses(&mut mobile, &on_mobile, other).await;
                }
                assert_eq!(ends(&mut alice, &invite).await.status(), Some(best), "{one} and {other}");
            }
        }
    });
}

/// §16.7 step 4: a 3xx is for the caller, and its Contact, too.
#[test]
fn a_redirection_reaches_the_caller() {
    scenario(async |exchange| {
        let [mut desk] = household(exchange, ["1"]).await;
        let mut alice = exchange.outsider(2, Udp).await;
        let (invite, heard) = alice.reaches(&mut desk, "INVITE").await;
        let moved =
            desk.response(&heard, 302).line("Contact: <sip:bob@elsewhere.test>;q=0.7, <tel:+1-201-555-0123>");
        desk.send(&moved).await;
        desk.hears("ACK").await;
        let answer = ends(&mut alice, &invite).await;
        assert_eq!(answer.status(), Some(302));
        assert_eq!(answer.list("Contact"), moved.list("Contact"));
    });
}

/// §16.7 step 7: every challenge of every phone, so that the caller can answer all of them.
#[test]
fn all_challenges_arrive() {
    scenario(async |exchange| {
        let [mut desk, mut mobile, mut tablet] = household(exchange, ["1", "1", "1"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        for method in ["INVITE", "MESSAGE"] {
            let request = alice.request(method, &desk.aor());
            alice.send(&request).await;
            let challenge = |realm: &str| format!("Digest realm=\"{realm}\",  nonce=\"n\" , algorithm=MD5");
            let challenges = [
                (&mut desk, 401, "WWW-Authenticate", "desk"),
                (&mut mobile, 407, "Proxy-Authenticate", "mobile"),
                (&mut tablet, 401, "WWW-Authenticate", "tablet"),
            ];
            for (phone, status, name, realm) in challenges {
                let heard = phone.hears(method).await;
                let answer = phone.response(&heard, status).line(format!("{name}: {}", challenge(realm)));
                phone.send(&answer).await;
                if method == "INVITE" {
                    phone.hears("ACK").await;
                }
            }
            let answer = alice.final_answer(&request).await;
            assert!(matches!(answer.status(), Some(401 | 407)), "{answer}");
            if method == "INVITE" {
                alice.send(&Phone::ack(&request, &answer)).await;
            }
            let mut www = answer.all("WWW-Authenticate");
            www.sort();
            assert_eq!(www, [challenge("desk"), challenge("tablet")]);
            assert_eq!(answer.all("Proxy-Authenticate"), [challenge("mobile")]);
        }
    });
}

/// §16.7 step 5 and §13.2.2.4: every phone that has answered is told to the caller, even one that was cancelled too late.
#[test]
fn every_2xx_is_forwarded() {
    scenario(async |exchange| {
        let [mut desk, mut mobile] = household(exchange, ["1", "1"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        let invite = alice.request("INVITE", &desk.aor());
        alice.send(&invite).await;
        let (at_desk, on_mobile) = (desk.hears("INVITE").await, mobile.hears("INVITE").await);
        desk.reply(&at_desk, 180).await;
        let first = alice.gets(&invite, 180).await;
        mobile.reply(&on_mobile, 183).await;
        let second = alice.gets(&invite, 183).await;
        assert_ne!(first.tag("To"), second.tag("To"), "§16.7 step 5: each 1xx");

        desk.reply(&at_desk, 200).await;
        let one = alice.gets(&invite, 200).await;
        let cancel = mobile.hears("CANCEL").await;
        mobile.reply(&on_mobile, 200).await;
        mobile.reply(&cancel, 200).await;
        let other = alice.gets(&invite, 200).await;
        assert_eq!((one.tag("To"), other.tag("To")), (first.tag("To"), second.tag("To")));
        for (answer, phone) in [(one, &mut desk), (other, &mut mobile)] {
            let mut dialog = alice.acknowledges(&invite, &answer, phone).await;
            alice.hangs_up(&mut dialog, phone).await;
        }
    });
}

/// §16.7: only the first final answer of a request that is no INVITE is worth anything.
#[test]
fn a_message_to_two_phones_has_one_answer() {
    scenario(async |exchange| {
        let [mut desk, mut mobile] = household(exchange, ["1", "1"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        let message = alice.request("MESSAGE", &desk.aor()).body("one");
        alice.send(&message).await;
        let (at_desk, on_mobile) = (desk.hears("MESSAGE").await, mobile.hears("MESSAGE").await);
        desk.reply(&at_desk, 202).await;
        alice.gets(&message, 202).await;
        mobile.reply(&on_mobile, 200).await;
        mobile.hears_nothing_else(&message).await;
        alice.hears_nothing_else(&message).await;
    });
}

/// RFC 5393 §5.3.3: what a request allows is shared by those that ring at once, and no more of them ring.
#[test]
fn breadth_is_shared() {
    scenario(async |exchange| {
        let [mut desk, mut mobile] = household(exchange, ["1", "1"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        for (given, most) in [(None, 60), (Some("7"), 7), (Some("2"), 2), (Some("1000"), 60)] {
            let message = alice.request("MESSAGE", &desk.aor());
            let message = given.map_or(message.clone(), |given| message.with("Max-Breadth", given));
            alice.send(&message).await;
            let mut sum = 0;
            for phone in [&mut desk, &mut mobile] {
                let heard = phone.hears("MESSAGE").await;
                let values = heard.all("Max-Breadth");
                assert_eq!(values.len(), 1, "a single value: {heard}");
                let share: u32 = values[0].parse().expect("a number");
                assert!(share > 0);
                sum += share;
                phone.reply(&heard, 480).await;
            }
            assert_eq!(sum, most, "{given:?}: not more, and nothing is lost");
            alice.gets(&message, 480).await;
        }
        let message = alice.request("MESSAGE", &desk.aor()).with("Max-Breadth", "0");
        alice.send(&message).await;
        alice.gets(&message, 440).await;
        for phone in [&mut desk, &mut mobile] {
            phone.hears_nothing_else(&message).await;
        }
    });
}

/// RFC 5393 §5.3.3: one at a time is not more than one.
#[test]
fn a_breadth_of_one_never_rings_two() {
    scenario(async |exchange| {
        let [mut desk, mut mobile] = household(exchange, ["1", "0.5"]).await;
        let mut alice = exchange.outsider(1, Udp).await;
        let message = alice.request("MESSAGE", &desk.aor()).with("Max-Breadth", "1");
        alice.send(&message).await;
        let heard = desk.hears("MESSAGE").await;
        assert_eq!(heard.all("Max-Breadth"), ["1"]);
        desk.reply(&heard, 480).await;
        let heard = mobile.hears("MESSAGE").await;
        assert_eq!(heard.all("Max-Breadth"), ["1"], "§5.3.3.1: it has come back");
        mobile.reply(&heard, 200).await;
        alice.gets(&message, 200).await;
    });
}
