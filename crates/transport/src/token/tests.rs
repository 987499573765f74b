use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const PROTOCOLS: [Protocol; 5] = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];

fn keys(fill: u8) -> Keys {
    Keys::new(&[fill; 32], None).unwrap()
}

fn flow(protocol: Protocol, local: &str, remote: &str) -> Flow {
    Flow {
        protocol,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: if protocol == Protocol::Udp { 0 } else { 0x1234_5678_0000_0001 },
    }
}

fn flows() -> Vec<Flow> {
    PROTOCOLS
        .into_iter()
        .flat_map(|protocol| {
            [
                flow(protocol, "192.0.2.1:5060", "198.51.100.7:40123"),
                flow(protocol, "[2001:db8::1]:5060", "[2001:db8:ffff::7]:40123"),
                flow(protocol, "[fe80::1%3]:5060", "[fe80::2%3]:5060"),
            ]
        })
        .collect()
}

#[test]
fn every_kind_of_flow_comes_back() {
    for flow in flows() {
        assert_eq!(keys(1).verify(keys(1).mint(&flow).as_bytes()), Ok(flow));
    }
}

#[test]
fn a_token_needs_no_escape_in_a_user_part_and_is_short() {
    for flow in flows() {
        let token = keys(1).mint(&flow);
        // RFC 3261 §25.1: alphanumeric and the mark `-` and `_` are unreserved.
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
    assert_eq!(keys(1).mint(&flows()[0]).len(), 35);
}

#[test]
fn every_changed_bit_is_noticed() {
    let keys = keys(1);
    for flow in flows() {
        let token = keys.mint(&flow);
        let decoded = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..decoded.len() * 8 {
            let mut forged = decoded.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify(URL_SAFE_NO_PAD.encode(forged).as_bytes()), Err(Forged), "bit {bit}");
        }
        // The text itself, too: no two texts are the same token.
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone().into_bytes();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify(&forged), Err(Forged), "text bit {bit}");
        }
    }
}

#[test]
fn shortened_lengthened_and_foreign_tokens_are_forged() {
    let keys = keys(1);
    let token = keys.mint(&flows()[0]);
    for end in 0..token.len() {
        assert_eq!(keys.verify(&token.as_bytes()[..end]), Err(Forged));
    }
    assert_eq!(keys.verify(format!("{token}A").as_bytes()), Err(Forged));
    assert_eq!(keys.verify(format!("{token}=").as_bytes()), Err(Forged));
    assert_eq!(keys.verify(&[b'A'; 4_000]), Err(Forged));
    assert_eq!(Keys::new(&[2; 32], None).unwrap().verify(token.as_bytes()), Err(Forged));
}

#[test]
fn rotation_accepts_the_previous_key_and_drops_the_one_before() {
    let [first, second, third] = [[1; 32], [2; 32], [3; 32]];
    let flow = flows()[0];
    let old = Keys::new(&first, None).unwrap().mint(&flow);
    let rotated = Keys::new(&second, Some(&first)).unwrap();
    assert_eq!(rotated.verify(old.as_bytes()), Ok(flow));
    assert_eq!(Keys::new(&second, None).unwrap().verify(rotated.mint(&flow).as_bytes()), Ok(flow));
    let twice = Keys::new(&third, Some(&second)).unwrap();
    assert_eq!(twice.verify(old.as_bytes()), Err(Forged));
    assert_eq!(twice.verify(rotated.mint(&flow).as_bytes()), Ok(flow));
}

#[test]
fn keys_are_read_in_any_base64() {
    let secret: Vec<u8> = (0..32).map(|n| n * 8 + 7).collect();
    let flow = flows()[0];
    let token = Keys::new(&secret, None).unwrap().mint(&flow);
    let list = format!("{}, {}", STANDARD.encode([9; 40]), URL_SAFE_NO_PAD.encode(&secret));
    for text in [STANDARD.encode(&secret), URL_SAFE_NO_PAD.encode(&secret), list] {
        assert_eq!(text.parse::<Keys>().unwrap().verify(token.as_bytes()), Ok(flow));
    }
}

#[test]
fn bad_keys_are_named_and_never_shown() {
    let good = STANDARD.encode([1; 32]);
    for (text, message) in [
        (String::new(), "flow key 1 has 0 bytes, at least 32 are needed"),
        ("s3cret!".to_owned(), "flow key 1 is not base64"),
        (format!("{good},{}", STANDARD.encode([1; 31])), "flow key 2 has 31 bytes, at least 32 are needed"),
        (format!("{good},{good},{good}"), "3 flow keys given, expected `current` or `current,previous`"),
    ] {
        assert_eq!(text.parse::<Keys>().unwrap_err().to_string(), message);
    }
    assert_eq!(format!("{:?}", keys(1)), r#"Keys { current: "***", previous: None }"#);
}

#[test]
fn random_keys_depend_on_their_seed() {
    let flow = flows()[0];
    let token = Keys::random([1; 32]).mint(&flow);
    assert_eq!(Keys::random([1; 32]).verify(token.as_bytes()), Ok(flow));
    assert_eq!(Keys::random([2; 32]).verify(token.as_bytes()), Err(Forged));
}

proptest! {
    #[test]
    fn nothing_makes_verify_panic_or_accept(token in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(keys(1).verify(&token), Err(Forged));
    }

    #[test]
    fn no_base64_makes_verify_panic_or_accept(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(keys(1).verify(URL_SAFE_NO_PAD.encode(bytes).as_bytes()), Err(Forged));
    }

    /// Octets with a genuine mac but of another layout: what a newer version may have minted.
    #[test]
    fn genuine_octets_of_any_layout_do_not_panic(mut body in proptest::collection::vec(any::<u8>(), 2..50)) {
        let keys = keys(1);
        body[1] = keys.current.id;
        let mac = keys.current.mac(&body);
        body.extend(mac);
        let _ = keys.verify(URL_SAFE_NO_PAD.encode(body).as_bytes());
    }

    #[test]
    fn any_address_comes_back(local: (IpAddr, u16), remote: (IpAddr, u16), connection: u64, which in 0..PROTOCOLS.len()) {
        let protocol = PROTOCOLS[which];
        let flow = Flow {
            protocol,
            local: local.into(),
            remote: remote.into(),
            connection: if protocol.is_reliable() { connection } else { 0 },
        };
        prop_assert_eq!(keys(1).verify(keys(1).mint(&flow).as_bytes()), Ok(flow));
    }
}
