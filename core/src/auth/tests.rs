use sip::parse::{self, Limits};
use sip::{Message, Method};

use super::*;
use crate::keys::ClusterKeys;

const NOW: Moment = Moment { unix: 1_000, random: 7 };
const PASSWORD: &str = "wonderland";
const DOMAINS: [&str; 2] = ["example.com", "example.org"];

fn auth() -> Auth {
    let nonces = Nonces::new(ClusterKeys::random([1; 32]), 300, ahash::RandomState::with_seeds(1, 2, 3, 4));
    Auth::new(nonces, vec![Algorithm::Sha256, Algorithm::Md5], DOMAINS.map(str::to_owned).into())
}

/// What a client writes into its line.
#[derive(Clone)]
struct Shown {
    user: &'static str,
    realm: &'static str,
    password: &'static str,
    uri: &'static str,
    nonce: String,
    count: u32,
    algorithm: Algorithm,
}

impl Shown {
    fn alice(auth: &Auth) -> Self {
        Self {
            user: "alice",
            realm: "example.com",
            password: PASSWORD,
            uri: "sip:example.com",
            nonce: auth.nonces.make(NOW.unix, 1),
            count: 1,
            algorithm: Algorithm::Sha256,
        }
    }

    /// RFC 7616 §3.4.1 by [`digest::ha1`], which is H of three parts with colons.
    fn line(&self, method: &str) -> String {
        let Self { user, realm, password, uri, nonce, count, algorithm } = self;
        let ha1 = digest::ha1(*algorithm, user, realm, password);
        let (method, uri_head) = (method, uri.split_once(':').unwrap());
        let ha2 = digest::ha1(*algorithm, method, uri_head.0, uri_head.1);
        let response = digest::ha1(*algorithm, &ha1, &format!("{nonce}:{count:08x}:c:auth"), &ha2);
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={}, cnonce=\"c\", qop=auth, nc={count:08x}",
            algorithm.as_str()
        )
    }
}

fn request(start: &str, from: &str, to: &str, lines: &[String]) -> Request {
    let method = start.split(' ').next().unwrap();
    let name = if method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
    let lines: String = lines.iter().map(|line| format!("{name}: {line}\r\n")).collect();
    let text = format!(
        "{start} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nFrom: <{from}>;tag=f\r\nTo: <{to}>\r\n\
         Call-ID: c\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    match parse::message(text.into(), &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

const ALICE: &str = "sip:alice@example.com";

fn register(lines: &[String]) -> Request {
    request("REGISTER sip:example.com", ALICE, ALICE, lines)
}

fn known(user: &str) -> Credentials {
    let ha1 = |algorithm| digest::ha1(algorithm, user, "example.com", PASSWORD);
    Credentials { ha1_md5: ha1(Algorithm::Md5), ha1_sha256: ha1(Algorithm::Sha256) }
}

fn aor(text: &str) -> Aor {
    Aor::parse(text).unwrap()
}

/// Both halves, with a directory in which everybody's password is the same.
fn judge(auth: &mut Auth, request: &Request, at: Moment) -> Result<Proof, Reject> {
    let role = if request.method == Method::Register { Role::Registrar } else { Role::Proxy };
    let address = if role == Role::Registrar { request.to() } else { request.from() };
    let owner = Aor::of(&address.unwrap().parsed_uri().unwrap()).unwrap();
    let claim = auth.claim(request, role, &owner, at)?;
    let known = (claim.user.name != "nobody").then(|| known(&claim.user.name));
    auth.prove(request, role, &owner, &claim, known.as_ref(), at)
}

/// Status, and whether the challenge says that only the nonce is too old.
fn answer(auth: &mut Auth, request: &Request, at: Moment) -> (u16, bool) {
    match judge(auth, request, at) {
        Ok(_) => (200, false),
        Err(reject) => {
            let stale = |(_, value): &(Name, Bytes)| value.ends_with(b", stale=true");
            (reject.status.code(), !reject.headers.is_empty() && reject.headers.iter().all(stale))
        }
    }
}

fn status(request: &Request) -> u16 {
    answer(&mut auth(), request, NOW).0
}

#[test]
fn the_right_password_is_proof() {
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        let shown = Shown { algorithm, ..Shown::alice(&auth()) };
        assert_eq!(status(&register(&[shown.line("REGISTER")])), 200, "{algorithm:?}");
    }
}

/// RFC 3261 §22.1: "servers MUST NOT accept credentials using Basic, and MUST NOT challenge with it".
#[test]
fn what_is_not_offered_gets_another_challenge() {
    let line = Shown::alice(&auth()).line("REGISTER");
    for other in [
        "Basic YWxpY2U6d29uZGVybGFuZA==".to_owned(),
        line.replace("SHA-256", "SHA-256-sess"),
        line.replace("qop=auth", "qop=auth-int"),
        line.replace("username=\"alice\"", "username=\"alice\", userhash=true"),
        line.replace("username=", "username*="),
        line.replace("example.com\", nonce", "example.net\", nonce"),
    ] {
        let reject = judge(&mut auth(), &register(std::slice::from_ref(&other)), NOW).unwrap_err();
        assert_eq!(reject.status.code(), 401, "{other}");
        assert!(reject.headers.iter().all(|(_, value)| value.starts_with(b"Digest ")), "{other}");
    }
    let mut only_md5 = auth();
    only_md5.algorithms = vec![Algorithm::Md5];
    assert_eq!(answer(&mut only_md5, &register(&[line]), NOW).0, 401);
}

/// RFC 8760 §2.3: one line for each algorithm, the preferred one on top; §2.6 item 8: `qop` always.
#[test]
fn a_challenge_offers_every_algorithm_in_order() {
    for (role, status, name) in
        [(Role::Registrar, 401, Name::WwwAuthenticate), (Role::Proxy, 407, Name::ProxyAuthenticate)]
    {
        let reject = auth().challenge(role, "example.com", NOW, false);
        assert_eq!(reject.status.code(), status);
        let lines: Vec<_> = reject.headers.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        assert!(reject.headers.iter().all(|(its, _)| *its == name));
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("algorithm=SHA-256,") && lines[1].contains("algorithm=MD5,"), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("qop=\"auth\"")), "{lines:?}");
    }
}

/// RFC 7616 §3.4: "if a parameter or its value is improper, … the proper response is a 4xx".
#[test]
fn malformed_credentials_for_us_are_400() {
    let line = Shown::alice(&auth()).line("REGISTER");
    for wrong in [
        line.replace("nc=00000001", "nc=x"),
        line.replace(", cnonce=\"c\"", ""),
        format!("{line}, realm=\"example.com\""),
        line.replace("username=\"alice\"", "username=\"alice\", username*=UTF-8''alice"),
    ] {
        assert_eq!(status(&register(std::slice::from_ref(&wrong))), 400, "{wrong}");
        // They do not spoil good ones.
        assert_eq!(status(&register(&[wrong, line.clone()])), 200);
    }
    // Somebody else's are none of our business (RFC 3261 §22.3).
    let foreign = line.replace("example.com\", nonce", "example.net\", nonce").replace("nc=00000001", "nc=x");
    assert_eq!(status(&register(&[foreign])), 401);
}

/// RFC 8760 §2.7: empty values before the first challenge.
#[test]
fn an_empty_nonce_is_challenged() {
    let line =
        r#"Digest username="alice", realm="example.com", nonce="", uri="sip:example.com", response="""#;
    assert_eq!(answer(&mut auth(), &register(&[line.to_owned()]), NOW), (401, false));
}

/// RFC 7616 §3.4.6, RFC 8760 §2.6 item 6.
#[test]
fn credentials_are_for_the_resource_that_is_asked_for() {
    let call = |start: &str, uri: &'static str| {
        let shown = Shown { uri, ..Shown::alice(&auth()) };
        let method = start.split(' ').next().unwrap();
        status(&request(
            start,
            ALICE,
            if method == "REGISTER" { ALICE } else { "sip:bob@example.com" },
            &[shown.line(method)],
        ))
    };
    for (start, uri) in [
        ("REGISTER sip:example.com", "sip:EXAMPLE.com"),
        ("REGISTER sip:example.com", "sip:example.com:5060;transport=udp"),
        ("REGISTER sip:example.com", "sips:example.com"),
        ("REGISTER sip:example.com", "sip:example.org"), // both are ours
        ("INVITE sip:bob@example.com", "sip:%62ob@example.com;user=phone"),
        ("INVITE sip:bob@example.com;gr=1", "sip:bob@example.com;gr=1"),
        ("INVITE sip:bob@example.net", "sip:bob@example.net:5070"),
        ("INVITE tel:+1555", "tel:+1-555"),
        ("REGISTER sip:example.com", "sip:192.0.2.1:5060"), // the server that asked
        ("INVITE sip:bob@example.com", "sip:[2001:db8::1]"),
    ] {
        assert_eq!(call(start, uri), 200, "{start} {uri}");
    }
    for (start, uri) in [
        ("REGISTER sip:example.com", "sip:example.net"),
        ("REGISTER sip:example.com", "sip:alice@example.com"),
        ("INVITE sip:bob@example.com", "sip:carol@example.com"),
        ("INVITE sip:bob@example.com", "sip:Bob@example.com"),
        ("INVITE sip:bob@example.com", "sip:bob@example.net"),
        ("INVITE sip:bob@example.net", "sip:bob@example.com"),
        ("INVITE sip:bob@example.com", "sip:example.com"),
        ("INVITE sip:bob@example.com", "sip:carol@192.0.2.1"),
        ("INVITE sip:bob@example.com", "tel:bob"),
        ("INVITE tel:+1555", "tel:+1556"),
    ] {
        assert_eq!(call(start, uri), 400, "{start} {uri}");
    }
}

/// RFC 7616 §3.3 and §3.4 (`nc`).
#[test]
fn an_old_nonce_or_a_count_that_was_seen_is_stale() {
    let mut auth = auth();
    let shown = Shown::alice(&auth);
    let once = register(&[shown.line("REGISTER")]);
    assert_eq!(answer(&mut auth, &once, NOW), (200, false));
    assert_eq!(answer(&mut auth, &once, NOW), (401, true), "a replay");
    let twice = register(&[Shown { count: 2, ..shown }.line("REGISTER")]);
    assert_eq!(answer(&mut auth, &twice, Moment { unix: 1_301, ..NOW }), (401, true), "too old");
    assert_eq!(answer(&mut auth, &twice, NOW), (200, false));
    let foreign = Shown { nonce: "1234".to_owned(), ..Shown::alice(&auth) };
    assert_eq!(answer(&mut auth, &register(&[foreign.line("REGISTER")]), NOW), (401, false));
}

#[test]
fn a_wrong_password_uses_no_count_up() {
    let mut auth = auth();
    let shown = Shown::alice(&auth);
    let wrong = Shown { password: "guess", ..shown.clone() };
    assert_eq!(answer(&mut auth, &register(&[wrong.line("REGISTER")]), NOW), (401, false));
    assert_eq!(answer(&mut auth, &register(&[shown.line("REGISTER")]), NOW), (200, false));
}

/// Two copies may both have been claimed before the store has answered for the first.
#[test]
fn of_two_copies_on_their_way_one_is_believed() {
    let mut auth = auth();
    let request = register(&[Shown::alice(&auth).line("REGISTER")]);
    let owner = aor(ALICE);
    let claims = [0, 1].map(|_| auth.claim(&request, Role::Registrar, &owner, NOW).unwrap());
    let mut prove = |claim| auth.prove(&request, Role::Registrar, &owner, claim, Some(&known("alice")), NOW);
    assert!(prove(&claims[0]).is_ok());
    assert_eq!(prove(&claims[1]).unwrap_err().status.code(), 401);
}

/// RFC 3261 §22.3: several realms, and several credentials of one realm.
#[test]
fn of_several_credentials_the_freshest_of_our_realm_count() {
    let mut auth = auth();
    let good = Shown::alice(&auth);
    let other_realm = Shown { realm: "example.org", password: "other", ..good.clone() };
    let not_ours = Shown { realm: "gateway.example.net", nonce: "x".to_owned(), ..good };
    let stale = Shown { nonce: auth.nonces.make(1, 1), ..good };
    let foreign = Shown { nonce: "y".to_owned(), ..good };
    let lines = [&not_ours, &other_realm, &foreign, &stale, &good].map(|shown| shown.line("REGISTER"));
    assert_eq!(answer(&mut auth, &register(&lines), NOW), (200, false));
    assert_eq!(answer(&mut auth, &register(&lines[..4]), NOW), (401, true));
    assert_eq!(answer(&mut auth, &register(&lines[..3]), NOW), (401, false));
    // The same user of another domain of ours is another user.
    let there =
        request("REGISTER sip:example.org", "sip:alice@example.org", "sip:alice@example.org", &lines[4..]);
    assert_eq!(answer(&mut auth, &there, NOW), (401, false));
}

/// RFC 3261 §10.3 step 4.
#[test]
fn who_is_not_the_owner_is_403() {
    let shown = Shown::alice(&auth());
    let bobs = |from: &str| {
        request("REGISTER sip:example.com", from, "sip:bob@example.com", &[shown.line("REGISTER")])
    };
    assert_eq!(status(&bobs("sip:bob@example.com")), 403);
    assert_eq!(status(&bobs(ALICE)), 403, "alice as a third party");
    // Alice's credentials for Alice, but it is Bob who registers her (§10.2).
    let lines = [shown.line("REGISTER")];
    assert_eq!(status(&request("REGISTER sip:example.com", "sip:bob@example.com", ALICE, &lines)), 403);
    assert_eq!(status(&request("REGISTER sip:example.com", "sips:alice@EXAMPLE.com", ALICE, &lines)), 200);
    let call = Shown { uri: "sip:carol@example.com", ..Shown::alice(&auth()) };
    let from = |from: &str| {
        request("INVITE sip:carol@example.com", from, "sip:carol@example.com", &[call.line("INVITE")])
    };
    assert_eq!(status(&from(ALICE)), 200);
    assert_eq!(status(&from("sip:bob@example.com")), 403);
    // Whoever does not know a password is told nothing about whose address it is.
    let guess = Shown { password: "guess", ..shown };
    let guess = request("REGISTER sip:example.com", ALICE, "sip:bob@example.com", &[guess.line("REGISTER")]);
    assert_eq!(status(&guess), 401);
}

#[test]
fn names_are_compared_without_escapes() {
    let bjorn = |uri: &str| {
        request(
            "REGISTER sip:example.com",
            uri,
            uri,
            &[Shown { user: "bj\u{f8}rn", ..Shown::alice(&auth()) }.line("REGISTER")],
        )
    };
    assert_eq!(status(&bjorn("sip:bj%C3%B8rn@example.com")), 200);
    assert_eq!(status(&bjorn("sip:bj%C3%B9rn@example.com")), 403);
}

/// Same answer, same headers, same work: a guess at a password is not even a guess at a name.
#[test]
fn an_unknown_user_is_a_wrong_password() {
    let mut looks = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        for (user, address) in [("alice", ALICE), ("nobody", "sip:nobody@example.com"), ("nobody", ALICE)] {
            let mut auth = auth();
            let shown = Shown { user, password: "guess", algorithm, ..Shown::alice(&auth) };
            let request = request("REGISTER sip:example.com", address, address, &[shown.line("REGISTER")]);
            let reject = judge(&mut auth, &request, NOW).unwrap_err();
            assert_eq!(auth.verifications(), 1, "one digest is compared for {user}");
            looks.push((reject.status, reject.reason, reject.headers));
        }
    }
    assert!(looks.iter().all(|look| *look == looks[0]), "{looks:?}");
}

/// Even he who finds the password behind the place-holder is nobody.
#[test]
fn the_place_holder_is_nobodys_password() {
    let mut auth = auth();
    let shown = Shown { user: "nobody", ..Shown::alice(&auth) };
    let (nonce, uri) = (&shown.nonce, shown.uri.split_once(':').unwrap());
    let ha2 = digest::ha1(shown.algorithm, "REGISTER", uri.0, uri.1);
    let response = digest::ha1(shown.algorithm, NOBODY_SHA256, &format!("{nonce}:00000001:c:auth"), &ha2);
    let line = shown.line("REGISTER");
    let start = line.find("response=\"").unwrap() + 10;
    let line = format!("{}{response}{}", &line[..start], &line[start + 64..]);
    let nobody = "sip:nobody@example.com";
    let request = request("REGISTER sip:example.com", nobody, nobody, &[line]);
    assert_eq!(answer(&mut auth, &request, NOW), (401, false));
}

/// RFC 7616 §3.5.
#[test]
fn an_ageing_nonce_brings_the_next_one() {
    let mut auth = auth();
    let shown = Shown::alice(&auth);
    let info = |auth: &mut Auth, count, unix| {
        let request = register(&[Shown { count, ..shown.clone() }.line("REGISTER")]);
        judge(auth, &request, Moment { unix, random: 9 }).unwrap().info
    };
    assert_eq!(info(&mut auth, 1, 1_150), None, "it is young");
    let value = info(&mut auth, 2, 1_151).expect("it has less than half of its life");
    let value = std::str::from_utf8(&value).unwrap().to_owned();
    let next = value.strip_prefix("nextnonce=\"").and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(auth.nonces.judge(next, Some(1), 1_400), Freshness::Fresh);
    assert!(
        value.contains("qop=auth, rspauth=\"") && value.ends_with("cnonce=\"c\", nc=00000002"),
        "{value}"
    );
}

#[test]
fn only_our_own_proof_is_taken_out() {
    let shown = Shown { uri: "sip:bob@example.com", ..Shown::alice(&auth()) };
    let foreign = Shown { realm: "example.net", ..shown.clone() };
    let (ours, theirs) = (shown.line("INVITE"), foreign.line("INVITE"));
    let unreadable = ours.replace("qop=auth", "qop=auth-int");
    for (lines, left) in [
        (vec![ours.clone()], 0),
        (vec![unreadable, ours.clone()], 0),
        (vec![theirs.clone()], 1),
        (vec![ours, theirs], 2),
        (vec!["Other x=y".to_owned()], 1),
    ] {
        let mut copy = request("INVITE sip:bob@example.com", ALICE, "sip:bob@example.com", &lines);
        forget(&mut copy, |realm| DOMAINS.contains(&realm));
        assert_eq!(copy.headers.lines(Name::ProxyAuthorization).count(), left, "{lines:?}");
    }
}
