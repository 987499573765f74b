use std::borrow::Cow;

use super::*;
use crate::Method;

const RFC_7616: &str = r#"Digest username="Mufasa",
    realm="http-auth@example.org",
    uri="/dir/index.html",
    algorithm=ALGORITHM,
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    nc=00000001,
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    qop=auth,
    response="RESPONSE",
    opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

const RFC_2617: &str = r#"Digest username="Mufasa", realm="testrealm@host.com",
    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001,
    cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;

fn get() -> Method {
    Method::parse(b"GET").unwrap()
}

fn parse(text: &str) -> Credentials<'_> {
    Credentials::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// A complete set of credentials in which one piece is replaced.
fn with(from: &str, to: &str) -> String {
    const WHOLE: &str = r#"Digest username="bob", realm="r", nonce="n", uri="sip:r", response="00", algorithm=MD5, cnonce="c", nc=00000001, qop=auth, opaque="o""#;
    assert!(WHOLE.contains(from), "{from}");
    WHOLE.replace(from, to)
}

fn accepts(text: &str) -> bool {
    Credentials::parse(text.as_bytes()).is_ok()
}

fn why(text: &str) -> Option<Why> {
    Credentials::parse(text.as_bytes()).err().map(|unusable| unusable.why)
}

#[test]
fn examples_of_rfc_7616_section_3_9_1() {
    for (algorithm, token, response) in [
        (Algorithm::Md5, "MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let text = RFC_7616.replace("ALGORITHM", token).replace("RESPONSE", response);
        let it = parse(&text);
        assert_eq!((it.algorithm, it.nc, &*it.username), (algorithm, Some(1), "Mufasa"));
        let right = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert!(it.verify(&right, &get()));
        assert!(!it.verify(&right, &Method::Register));
        assert!(!it.verify(&ha1(algorithm, "Mufasa", "http-auth@example.org", "circle of life"), &get()));
    }
}

/// A user without an HA1 by this algorithm: the answer can be computed by everybody, so it must not count.
#[test]
fn an_empty_ha1_proves_nothing() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let ha2 = algorithm.hash(&[b"GET", b"/dir/index.html"]);
        let nonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let response = algorithm.hash(&[b"", nonce, b"00000001", cnonce, b"auth", ha2.as_bytes()]);
        let response = std::str::from_utf8(response.as_bytes()).unwrap();
        let text = RFC_7616.replace("ALGORITHM", algorithm.as_str()).replace("RESPONSE", response);
        assert!(!parse(&text).verify("", &get()));
    }
}

#[test]
fn example_of_rfc_2617_section_3_5() {
    let it = parse(RFC_2617);
    assert_eq!(it.algorithm, Algorithm::Md5);
    let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
    assert!(it.verify(&ha1, &get()));
}

#[test]
fn without_qop_as_rfc_2069() {
    let ha1 = ha1(Algorithm::Md5, "bob", "biloxi.com", "zanzibar");
    // H(HA1:nonce:H(REGISTER:sip:biloxi.com)), worked out with md5sum.
    let text = r#"Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:biloxi.com", response="RESPONSE""#;
    let inner = Algorithm::Md5.hash(&[b"REGISTER", b"sip:biloxi.com"]);
    let response =
        Algorithm::Md5.hash(&[ha1.as_bytes(), b"dcd98b7102dd2f0e8b11d0f600bfb0c093", inner.as_bytes()]);
    let text = text.replace("RESPONSE", std::str::from_utf8(response.as_bytes()).unwrap());
    let it = parse(&text);
    assert_eq!((it.qop, it.nc), (None, None));
    assert!(it.verify(&ha1, &Method::Register));
    assert!(!it.verify(&ha1, &Method::Invite));
}

#[test]
fn response_may_be_upper_case_but_not_shorter_or_longer() {
    let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    let right = "6629fae49393a05397450978507c4ef1";
    let ok = |response: &str| parse(&RFC_2617.replace(right, response)).verify(&ha1, &get());
    assert!(ok(&right.to_uppercase()));
    assert!(!ok(""));
    assert!(!ok(&right[..31]));
    assert!(!ok(&format!("{right}0")));
    assert!(!ok(&right.repeat(9)));
    assert!(!ok("6629fae49393a05397450978507c4ef2"));
}

#[test]
fn white_space_quotes_and_case() {
    let text = "dIGEST  USERNAME = \"bob\" ,\r\n realm\t=\t\"r\",nonce=\"n\",, uri =\"sip:r\",response=\"00\", \
                algorithm=\"md5\", nc=\"0000000a\", qop=\"auth\", cnonce=\"\", x=y,";
    let it = parse(text);
    assert_eq!((&*it.username, &*it.realm, it.algorithm), ("bob", "r", Algorithm::Md5));
    assert_eq!(
        (it.nc, it.nc_text, it.qop, it.cnonce.as_deref()),
        (Some(10), Some("0000000a"), Some("auth"), Some(""))
    );
}

#[test]
fn escapes_in_user_and_realm() {
    let it = with(r#"username="bob""#, r#"username="b\"o\\b, x=\"y""#);
    assert_eq!(parse(&it).username, r#"b"o\b, x="y"#);
    let it = with(r#"realm="r""#, r#"realm="a\"b""#);
    assert_eq!(parse(&it).realm, "a\"b");
    assert!(matches!(parse(&with("o", "o")).username, Cow::Borrowed("bob")));
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut not_offered = vec![
        with("qop=auth", "qop=auth-int"),
        with("username=\"bob\"", "username*=UTF-8''bob"),
        with("username=\"bob\"", "username=\"bob\", userhash=true"),
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned(),
        "NoOneKnowsThisScheme opaque-data=here".to_owned(),
    ];
    for token in ["MD5-sess", "SHA-256-sess", "SHA-512-256", "SHA256", "AKAv1-MD5", ""] {
        not_offered.push(with("algorithm=MD5", &format!("algorithm={token}")));
    }
    for text in not_offered {
        assert_eq!(why(&text), Some(Why::NotOffered), "{text}");
    }
    assert!(accepts(&with("username=\"bob\"", "username=\"bob\", userhash=false")));
}

/// RFC 7616 §3.4.
#[test]
fn both_kinds_of_user_name_are_an_error() {
    let both = with("username=\"bob\"", "username=\"bob\", username*=UTF-8''bob");
    assert_eq!(why(&both), Some(Why::Improper));
}

#[test]
fn what_is_needed_must_be_there_once() {
    for piece in [
        r#"username="bob", "#,
        r#"realm="r", "#,
        r#"nonce="n", "#,
        r#"uri="sip:r", "#,
        r#"response="00", "#,
        r#"cnonce="c", "#,
        "nc=00000001, ",
    ] {
        assert_eq!(why(&with(piece, "")), Some(Why::Improper), "{piece}");
        assert_eq!(why(&with(piece, &piece.repeat(2))), Some(Why::Improper), "{piece}");
    }
    for piece in ["algorithm=MD5, ", r#", opaque="o""#] {
        assert!(accepts(&with(piece, "")), "{piece}");
    }
    for piece in ["algorithm=MD5", "qop=auth", "opaque=\"o\""] {
        assert_eq!(why(&with(piece, &format!("{piece}, {piece}"))), Some(Why::Improper), "{piece}");
    }
}

/// RFC 8760 §2.7: a client that was not challenged yet may write empty values.
#[test]
fn empty_values_can_be_read() {
    let text = r#"Digest username="bob", realm="r", nonce="", uri="sip:r", response="""#;
    let it = parse(text);
    assert_eq!((it.nonce, it.response), ("", ""));
    assert!(!it.verify(&ha1(Algorithm::Md5, "bob", "r", "x"), &get()));
}

#[test]
fn what_is_unusable_says_whose_it_is() {
    let realm = |text: &str| Credentials::parse(text.as_bytes()).unwrap_err().realm.map(Cow::into_owned);
    assert_eq!(realm(&with("qop=auth", "qop=auth-int")), Some("r".to_owned()));
    assert_eq!(realm(&with(r#"nonce="n", "#, "")), Some("r".to_owned()));
    assert_eq!(realm(&with("nc=00000001", "nc=x")), Some("r".to_owned()));
    assert_eq!(realm(&with(r#"realm="r", "#, "")), None);
    assert_eq!(realm("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), None);
}

/// RFC 8760 §2.6 item 8: without `qop` its value is `auth`.
#[test]
fn count_and_cnonce_without_qop_are_auth() {
    let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    let bare = RFC_2617.replace(" qop=auth,", "");
    let it = parse(&bare);
    assert_eq!(it.qop, None);
    assert!(it.verify(&ha1, &get()));
}

/// RFC 7616 §3.5, with the numbers of §3.9.1: A2 is `:/dir/index.html`.
#[test]
fn a_confirmation_proves_that_the_server_knows_the_password() {
    let algorithm = Algorithm::Sha256;
    let text = RFC_7616.replace("ALGORITHM", "SHA-256").replace("RESPONSE", "");
    let it = parse(&text);
    let right = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
    let a2 = algorithm.hash(&[b"", b"/dir/index.html"]);
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let rspauth =
        format!("{right}:{nonce}:00000001:{cnonce}:auth:{}", std::str::from_utf8(a2.as_bytes()).unwrap());
    let rspauth = algorithm.hash(&[rspauth.as_bytes()]);
    let expected = format!(
        "nextnonce=\"next\", qop=auth, rspauth=\"{}\", cnonce=\"{cnonce}\", nc=00000001",
        std::str::from_utf8(rspauth.as_bytes()).unwrap()
    );
    assert_eq!(it.confirmation(&right, "next").unwrap(), expected);
    // RFC 3261 §22.4: nothing for a client of RFC 2069.
    let old = r#"Digest username="bob", realm="r", nonce="n", uri="sip:r", response="00""#;
    assert_eq!(parse(old).confirmation(&right, "next"), None);
}

#[test]
fn garbage_is_refused() {
    for text in
        ["", "Digest", "Digest ", "Digest x", "Digest =", "Digestusername=\"bob\"", "Digest username=\"bob"]
    {
        assert!(!accepts(text), "{text}");
    }
    for nc in ["", "g", "000000001", "-1", "+1"] {
        assert!(!accepts(&with("nc=00000001", &format!("nc={nc}"))), "{nc}");
    }
    assert!(!accepts(&with("qop=auth", "qop=auth extra")));
}

#[test]
fn challenge_reads_as_the_rfc_writes_it() {
    assert_eq!(
        &challenge(Algorithm::Sha256, "atlanta.com", "84a4cc6f3082121f32b42a2187831a9e", true)[..],
        br#"Digest realm="atlanta.com", nonce="84a4cc6f3082121f32b42a2187831a9e", algorithm=SHA-256, qop="auth", stale=true"#
    );
    assert_eq!(
        &challenge(Algorithm::Md5, "a\"b\\c", "n", false)[..],
        br#"Digest realm="a\"b\\c", nonce="n", algorithm=MD5, qop="auth""#
    );
}
