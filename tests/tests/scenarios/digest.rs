//! RFC 3261 §22, RFC 7616, RFC 8760: who proves what.

use std::time::Duration;

use cluster_tests::cluster::{DOMAIN, poll};
use cluster_tests::phone::Transport::Udp;
use cluster_tests::phone::{Message, PASSWORD, scenario};
use cluster_tests::ua::digest::Algorithm;

/// RFC 8760 §2.3, §2.4: both are offered, the stronger one first, and either is taken.
#[test]
fn either_algorithm_will_do() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration();
        phone.send(&register).await;
        let challenges = phone.gets(&register, 401).await.all("WWW-Authenticate");
        let algorithms: Vec<bool> =
            challenges.iter().map(|line| line.contains("algorithm=SHA-256")).collect();
        assert_eq!(algorithms, [true, false], "{challenges:?}");
        for line in &challenges {
            assert!(line.contains(&format!("realm=\"{DOMAIN}\"")) && line.contains("qop=\"auth"), "{line}");
        }
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let (register, user) = (phone.registration(), phone.user.clone());
            let answer = phone.proven(register, &user, PASSWORD, algorithm).await;
            assert_eq!(answer.status(), Some(200), "{algorithm:?}: {answer}");
        }
    });
}

/// RFC 7616 §3.3: an old nonce is refused with a new one and `stale=true`, so nobody is asked for the password.
#[test]
fn a_nonce_grows_stale() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration();
        phone.send(&register).await;
        let answer = phone.gets(&register, 401).await;
        let (mut challenge, stale) = phone.challenge(&answer, Algorithm::Sha256).expect("a challenge");
        assert!(!stale);
        let user = phone.user.clone();
        let grown_stale = poll(Duration::from_secs(60), async || {
            let register = phone.registration();
            let register = phone.prove(register, &mut challenge, &user, PASSWORD);
            phone.send(&register).await;
            let answer = phone.final_answer(&register).await;
            (answer.status() != Some(200)).then_some((register, answer))
        });
        let (register, answer) = grown_stale.await.expect("it is good for seconds only");
        assert_eq!(answer.status(), Some(401));
        let (mut next, stale) = phone.challenge(&answer, Algorithm::Sha256).expect("a challenge");
        assert!(stale && next.nonce != challenge.nonce, "{answer}");
        let register = phone.prove(register, &mut next, &user, PASSWORD);
        phone.send(&register).await;
        phone.gets(&register, 200).await;
    });
}

/// RFC 7616 §3.4, §5.12: what was used once proves nothing a second time.
#[test]
fn credentials_are_good_once() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let register = phone.registration();
        phone.send(&register).await;
        let answer = phone.gets(&register, 401).await;
        let (mut challenge, _) = phone.challenge(&answer, Algorithm::Sha256).expect("a challenge");
        let user = phone.user.clone();
        let register = phone.prove(register, &mut challenge, &user, PASSWORD);
        phone.send(&register).await;
        phone.gets(&register, 200).await;
        // Somebody has listened, and registers himself with what he has heard.
        let replayed = phone.once_more(register).with("Contact", "<sip:mallory@192.0.2.66>");
        phone.send(&replayed).await;
        phone.gets(&replayed, 401).await;
        let query = phone.registration().without("Contact");
        let bound = phone.authorized(query).await.list("Contact");
        assert!(bound.len() == 1 && bound[0].contains(&phone.contact()), "{bound:?}");
    });
}

/// RFC 7616 §3.4.6: what was computed for something else; §3.4: what is none.
#[test]
fn credentials_for_another_resource_are_refused() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        let (register, user) = (phone.registration(), phone.user.clone());
        phone.send(&register).await;
        let answer = phone.gets(&register, 401).await;
        let (mut challenge, _) = phone.challenge(&answer, Algorithm::Sha256).expect("a challenge");
        let elsewhere = challenge.answer(&user, PASSWORD, "REGISTER", "sip:elsewhere.test");
        let right = challenge.answer(&user, PASSWORD, "REGISTER", register.uri());
        for wrong in [elsewhere, right.replace("response=", "no-response=")] {
            let register = phone.once_more(register.clone()).with("Authorization", &wrong);
            phone.send(&register).await;
            let refused = phone.final_answer(&register).await;
            assert_eq!(refused.status(), Some(400), "{wrong}: {refused}");
        }
        let query = phone.registration().without("Contact");
        assert!(phone.authorized(query).await.list("Contact").is_empty());
    });
}

/// Nobody learns who is a user: an unknown one and a wrong password are told the same, word for word.
#[test]
fn an_unknown_user_looks_like_a_wrong_password() {
    scenario(async |exchange| {
        let mut phone = exchange.phone(1, Udp).await;
        for method in ["REGISTER", "INVITE"] {
            let mut looks = Vec::new();
            for user in [phone.user.clone(), "nobody-of-that-name".to_owned()] {
                let aor = format!("<sip:{user}@{DOMAIN}>");
                let request = if method == "REGISTER" {
                    phone.registration().with("To", &aor)
                } else {
                    phone.request(method, &format!("sip:somebody@{DOMAIN}"))
                };
                let request = request.with("From", &format!("{aor};tag=1")).with("Call-ID", &phone.fresh());
                let answer = phone.proven(request, &user, "a guess", Algorithm::Sha256).await;
                looks.push(look(&answer));
            }
            assert_eq!(looks[0], looks[1], "{method}");
        }
    });
}

/// An answer without what differs between any two.
fn look(answer: &Message) -> Vec<String> {
    let copied = ["via", "from", "to", "call-id", "cseq"];
    let lines = answer
        .untouched()
        .into_iter()
        .filter(|line| !copied.contains(&&*line.split(':').next().unwrap_or_default().to_ascii_lowercase()));
    let masked = lines.map(|line| match line.split_once("nonce=\\\"") {
        Some((head, tail)) => format!("{head}{}", tail.split_once("\\\"").map_or("", |(_, rest)| rest)),
        None => line,
    });
    [answer.start().to_owned()].into_iter().chain(masked).collect()
}

/// RFC 3261 §10.3 step 4, §22.1: a password is good for its own address only.
#[test]
fn nobody_speaks_for_somebody_else() {
    scenario(async |exchange| {
        let mut mallory = exchange.phone(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let (user, victim) = (mallory.user.clone(), bob.aor());
        let register = mallory.registration().with("To", &format!("<{victim}>"));
        let refused = mallory.proven(register, &user, PASSWORD, Algorithm::Sha256).await;
        assert_eq!(refused.status(), Some(403), "§10.3 step 4: {refused}");
        let query = bob.registration().without("Contact");
        let bound = bob.authorized(query).await.list("Contact");
        assert!(bound.len() == 1 && bound[0].contains(&bob.contact()), "{bound:?}");

        let carol = exchange.phone(1, Udp).await;
        let message = mallory.request("MESSAGE", &victim).with("From", &format!("<{}>;tag=1", carol.aor()));
        let refused = mallory.proven(message.clone(), &user, PASSWORD, Algorithm::Sha256).await;
        assert_eq!(refused.status(), Some(403), "{refused}");
        bob.hears_nothing_else(&message).await;
    });
}

/// §22.3: a user of the cluster proves who he is, once for the INVITE; ACK and CANCEL belong to it (§22.1).
#[test]
fn a_user_calls() {
    scenario(async |exchange| {
        let mut alice = exchange.phone(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let invite = alice.request("INVITE", &bob.aor());
        alice.send(&invite).await;
        let answer = alice.is_refused(&invite, 407).await;
        bob.hears_nothing_else(&invite).await;
        let (mut challenge, _) = alice.challenge(&answer, Algorithm::Sha256).expect("a challenge");
        let user = alice.user.clone();
        let invite = alice.prove(invite, &mut challenge, &user, PASSWORD);
        alice.send(&invite).await;
        let heard = bob.hears("INVITE").await;
        bob.reply(&heard, 180).await;
        alice.gets(&invite, 180).await;
        alice.gives_up(&invite).await;
        let cancelled = bob.hears("CANCEL").await;
        bob.reply(&cancelled, 200).await;
        bob.reply(&heard, 487).await;
        bob.hears("ACK").await;
        alice.is_refused(&invite, 487).await;
    });
}

/// §22.3: credentials for another realm are for somebody further on.
#[test]
fn the_proof_for_somebody_else_passes() {
    scenario(async |exchange| {
        let mut alice = exchange.outsider(1, Udp).await;
        let mut bob = exchange.registered(2, Udp).await;
        let proof =
            "Digest username=\"a\", realm=\"elsewhere.test\",nonce=\"n\" , uri=\"sip:x\", response=\"0\"";
        let message = alice.request("MESSAGE", &bob.aor());
        let message =
            message.line(format!("Proxy-Authorization: {proof}")).line(format!("Authorization: {proof}"));
        alice.send(&message).await;
        let heard = bob.hears("MESSAGE").await;
        assert_eq!(
            (heard.all("Proxy-Authorization"), heard.all("Authorization")),
            (vec![proof.to_owned()], vec![proof.to_owned()])
        );
        bob.reply(&heard, 200).await;
        alice.gets(&message, 200).await;
    });
}
