//! Properties of the typed views: what holds for every value, readable or not.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};
use sip::{
    Aor, CSeq, Contact, Method, Name, NameAddr, Params, Request, Uri, Via,
    digest::{self, Algorithm, Credentials},
    via,
};

/// Pieces of the grammar, put together in ways that it knows and in ways that it does not.
const PIECES: &[&str] = &[
    "sip:",
    "sips:",
    "tel:",
    "urn:x",
    "alice",
    "%61lice",
    "%40",
    "%",
    "%0",
    "@",
    ":",
    ";",
    "?",
    "=",
    "&",
    ",",
    "<",
    ">",
    "*",
    "\"",
    "\\",
    "\"a\\\"b\"",
    " ",
    "\r\n ",
    "\t",
    "example.com",
    "EXAMPLE.com",
    "192.0.2.1",
    "[2001:db8::1]",
    "[",
    "]",
    "5060",
    "65536",
    "lr",
    "transport=tcp",
    "maddr=a",
    "x=1",
    "x=2",
    "tag=1",
    "q=0.5",
    "expires=60",
    "branch=",
    "z9hG4bK1",
    "SIP/2.0/UDP ",
    "SIP / 2.0 / TLS ",
    "received=192.0.2.9",
    "rport",
    "Digest ",
    "username=\"u\"",
    "é",
    "\0",
];

fn text() -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..14).prop_map(|pieces| pieces.concat())
}

fn uri() -> impl Strategy<Value = String> {
    let user = select(vec![
        "", "alice@", "%61lice@", "Alice@", "a:b@", "a;b@", "a%3bb@", "a%3Bb@", "%00@", "#1@", "é@",
    ]);
    let host = select(vec![
        "example.com",
        "Example.COM",
        "example.com.",
        "192.0.2.1",
        "[2001:db8::1]",
        "[2001:DB8:0::1]",
    ]);
    let port = select(vec!["", ":5060", ":5061"]);
    let param = select(vec![
        ";lr",
        ";%6cr",
        ";lr=on",
        ";x=1",
        ";X=2",
        ";transport=tcp",
        ";transport=TCP",
        ";user=phone",
    ]);
    let header = select(vec!["", "?a=b", "?A=b&c=d", "?c=d&a=b", "?a=B"]);
    (select(vec!["sip:", "SIP:", "sips:"]), user, host, port, vec(param, 0..4), header).prop_map(
        |(scheme, user, host, port, params, header)| {
            [scheme, user, host, port, &params.concat(), header].concat()
        },
    )
}

fn read(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).expect("made to be read")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_a_view_fail(bytes in prop_oneof![text().prop_map(String::into_bytes), vec(any::<u8>(), 0..80)]) {
        let _ = CSeq::parse(&bytes);
        let _ = Contact::parse(&bytes).map(|it| (it.q(), it.expires(), it.instance(), it.reg_id()));
        let _ = NameAddr::parse(&bytes).map(|it| it.parsed_uri().map(|uri| uri.is_loose_router()));
        let _ = Via::parse(&bytes).map(|it| (it.is_rfc3261(), it.received(), it.rport()));
        let _ = Uri::parse(&bytes).map(|it| (it.equivalent(&it), Aor::of(&it).is_ok()));
        let _ = Credentials::parse(&bytes).map(|it| it.verify("", &Method::Register));
        if let Ok(text) = str::from_utf8(&bytes) {
            let _ = (Params::parse(text), Aor::parse(text));
        }
    }

    #[test]
    fn what_is_read_is_part_of_what_was_written(text in text()) {
        if let Ok(addr) = NameAddr::parse(text.as_bytes()) {
            prop_assert!(text.contains(addr.uri) && text.contains(addr.params.as_str()));
        }
        if let Ok(via) = Via::parse(text.as_bytes()) {
            prop_assert!(text.contains(via.sent_by) && text.contains(via.params.as_str()));
        }
        if let Ok(uri) = Uri::parse(text.as_bytes()) && uri.is_sip() {
            let parts = [uri.user, uri.password, Some(uri.host_port()), Some(uri.params.as_str()), Some(uri.headers)];
            // Only the scheme, its colon, and the marks between the parts are left over.
            let read: usize = parts.iter().flatten().map(|part| part.len()).sum();
            prop_assert!(text.len() - read <= "sips:".len() + ":@?".len());
        }
    }

    #[test]
    fn comparison_is_reflexive_and_symmetric(a in uri(), b in uri()) {
        prop_assert!(read(&a).equivalent(&read(&a)));
        prop_assert_eq!(read(&a).equivalent(&read(&b)), read(&b).equivalent(&read(&a)));
    }

    #[test]
    fn equivalent_uris_name_one_user(a in uri(), b in uri()) {
        let (a, b) = (read(&a), read(&b));
        if a.equivalent(&b) {
            prop_assert_eq!(Aor::of(&a), Aor::of(&b));
        }
    }

    #[test]
    fn an_aor_is_its_own_canonical_form(text in uri()) {
        if let Ok(aor) = Aor::of(&read(&text)) {
            prop_assert_eq!(&Aor::parse(aor.as_str()).expect("canonical"), &aor);
            prop_assert_eq!(format!("sip:{}@{}", aor.user(), aor.domain()), aor.as_str());
        }
    }

    #[test]
    fn stamping_twice_is_stamping_once(value in text(), port in 1_u16.., force in any::<bool>()) {
        let source = ([192, 0, 2, 7], port).into();
        let mut request = Request::new(Method::Options, "sip:a@b");
        request.headers.push_top(Name::Via, Bytes::from(format!("SIP/2.0/UDP a{}", value.replace(',', ""))));
        let readable = request.top_via().is_ok();
        via::stamp_received(&mut request, source, force);
        let once = request.headers.get(Name::Via).map(<[u8]>::to_vec);
        via::stamp_received(&mut request, source, force);
        prop_assert_eq!(once.as_deref(), request.headers.get(Name::Via));
        if readable {
            let via = request.top_via().expect("stamped, it can still be read");
            prop_assert_eq!(via.received(), Some([192, 0, 2, 7].into()));
            prop_assert!(!force || via.rport() == Some(Some(port)));
        }
    }

    #[test]
    fn credentials_made_from_ha1_verify(
        user in "[a-z]{1,8}", nonce in "[0-9a-f]{8}", cnonce in "[0-9a-f]{1,8}", nc in any::<u32>(), sha in any::<bool>(),
    ) {
        // H(method:uri) and the response are of the same form as HA1: three parts with colons between.
        let algorithm = if sha { Algorithm::Sha256 } else { Algorithm::Md5 };
        let ha1 = digest::ha1(algorithm, &user, "example.com", "secret");
        let bare = digest::ha1(algorithm, "REGISTER", "sip", "example.com");
        let response = digest::ha1(algorithm, &ha1, &format!("{nonce}:{nc:08x}:{cnonce}:auth"), &bare);
        let text = format!(
            "Digest username=\"{user}\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:example.com\", \
             response=\"{response}\", algorithm={}, cnonce=\"{cnonce}\", qop=auth, nc={nc:08x}",
            algorithm.as_str(),
        );
        let credentials = Credentials::parse(text.as_bytes()).expect("made to be read");
        prop_assert_eq!(credentials.nc, Some(nc));
        prop_assert!(credentials.verify(&ha1, &Method::Register));
        prop_assert!(!credentials.verify(&ha1, &Method::Invite));
        prop_assert!(!credentials.verify(&bare, &Method::Register));
    }
}
