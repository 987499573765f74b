//! What holds for every message (RFC 3261 §7, §16.6, §19.1.4), on messages made by the grammar and on damaged ones.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};
use proptest::{prop_assert, prop_assert_eq};
use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader, UntypedHeader};
use sip::frame::{Decoder, Frame};
use sip::parse::{self, Limits};
use sip::{Aor, Headers, Message, Method, Name, Request, Response, StatusCode, Uri, digest, via};

/// Method, start line: the lines that depend on it.
fn start() -> impl Strategy<Value = (String, String)> {
    let method = prop_oneof![
        select(vec!["INVITE", "REGISTER", "OPTIONS", "ACK", "BYE", "NOTIFY"]).prop_map(str::to_owned),
        "[A-Z!%*_+`'~.-]{1,12}",
    ];
    let uri = select(vec![
        "sip:bob@example.com",
        "sips:bob:pw@[2001:db8::9]:5061;transport=tcp?subject=x",
        "sip:user;par=u%40example.net@example.com",
        "tel:+15551212;phone-context=x.com",
        "urn:service:sos",
    ]);
    let code = 100..=699_u16;
    prop_oneof![
        (method.clone(), uri).prop_map(|(method, uri)| (method.clone(), format!("{method} {uri} SIP/2.0"))),
        (method, code, "[ -~é]{0,20}")
            .prop_map(|(method, code, phrase)| (method, format!("SIP/2.0 {code} {phrase}"))),
    ]
}

/// One header line that any message may have; the last is no UTF-8 and stands for all bytes.
fn extra() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        &b"Via: SIP/2.0/UDP a;branch=z9hG4bK1, SIP / 2.0 / TCP [2001:db8::1]:5060 ; received=192.0.2.1\r\n"[..],
        b"v: SIP/2.0/WSS xyz.invalid\r\n\t;branch=z9hG4bK2\r\n",
        b"Route: <sip:p1;lr>,<sip:p2;lr>\r\n",
        b"route  :  <sip:p3;lr>\r\n",
        b"Record-Route: <sip:r1;lr>\r\n",
        b"m: \"A, B\" <sip:a@b>;q=0.5,sip:c@d\r\n",
        b"Subject: folded\r\n over\r\n\tthree lines\r\n",
        b"X-Empty:\r\n",
        b"k: path,outbound\r\n",
        b"Expires: 3600\r\n",
        b"X-Bytes: \xff\xfe\xe9 \"\r\n",
    ])
    .prop_map(<[u8]>::to_vec)
}

/// A valid message: its Via and mandatory lines among others, and a body of any bytes.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let body = vec(any::<u8>(), 0..40);
    (start(), vec(extra(), 0..8), body, any::<[Index; 5]>()).prop_map(
        |((method, start), mut lines, body, places)| {
            let mandatory = [
                "From: \"J. \\\"R\\\" <x>\" <sip:a@example.com>;tag=1\r\n".to_owned(),
                "t: sip:bob@example.com\r\n".to_owned(),
                "Call-ID: 0ha0isndaksdj@192.0.2.2\r\n".to_owned(),
                format!("CSeq: 0009 {method}\r\n"),
                format!("Content-Length: {}\r\n", body.len()),
            ];
            for (line, place) in mandatory.into_iter().zip(places) {
                let at = place.index(lines.len() + 1);
                lines.insert(at, line.into_bytes());
            }
            lines.insert(0, b"Via: SIP/2.0/UDP top.example.com;branch=z9hG4bK0\r\n".to_vec());
            [format!("{start}\r\n").into_bytes(), lines.concat(), b"\r\n".to_vec(), body].concat()
        },
    )
}

/// A valid message after a few changes at random places.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..4),
        select(vec![
            "\r\n", "\n", "\r", " ", ":", ",", ";", "\"", "<", ">", "[", "\r\n\r\n", "=", "@", "%", "?"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (valid(), vec((any::<Index>(), 0..6_usize, piece), 1..6)).prop_map(|(mut text, changes)| {
        for (place, cut, piece) in changes {
            let at = place.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece);
        }
        text
    })
}

fn read(text: &[u8]) -> Result<Message, parse::Malformed> {
    parse::message(Bytes::copy_from_slice(text), &Limits::default())
}

/// Reads everything that can be read.
fn look(headers: &Headers, request: Option<&Request>) {
    for (name, _, value) in headers.iter() {
        _ = sip::Via::parse(value);
        _ = sip::NameAddr::parse(value)
            .map(|addr| (addr.tag(), addr.parsed_uri().is_ok(), addr.params.iter().count()));
        _ = Uri::parse(value).map(|uri| (uri.equivalent(&uri), uri.host_port(), Aor::of(&uri).is_ok()));
        _ = digest::Credentials::parse(value).map(|it| it.verify("", &Method::Invite));
        _ = headers.values(name).count();
    }
    if let Some(request) = request {
        _ = request.request_uri();
        _ = (
            request.top_via().is_ok(),
            request.contacts().is_ok(),
            request.expires(),
            request.max_forwards().is_ok(),
        );
        _ = Response::to(request, StatusCode::BAD_REQUEST, Some("t")).encode();
    }
}

proptest! {
    /// An untouched message leaves byte for byte.
    #[test]
    fn untouched_is_identical(text in valid()) {
        let message = read(&text).expect("made by the grammar");
        prop_assert_eq!(message.encode(), &text);
    }

    /// A hop that puts its Via on and takes it off again leaves no trace; nor does one that does so with Route.
    #[test]
    fn push_and_pop_leave_no_trace(text in valid()) {
        let mut message = read(&text).expect("made by the grammar");
        message.headers_mut().push_top(Name::Via, via::compose("TLS", "[2001:db8::1]:5061", "z9hG4bKx"));
        message.headers_mut().push_top(Name::Route, "<sip:here;lr>");
        let outer = read(&message.encode()).expect("one Via and one Route more");
        prop_assert_eq!(outer.headers().values(Name::Via).count(), read(&text).unwrap().headers().values(Name::Via).count() + 1);
        for mut message in [message, outer] {
            prop_assert!(message.headers_mut().pop_top(Name::Via));
            prop_assert!(message.headers_mut().pop_top(Name::Route));
            prop_assert_eq!(message.encode(), &text);
        }
    }

    /// Popping takes exactly one element, wherever the commas stand.
    #[test]
    fn pop_takes_the_first_element(text in valid(), name in select(vec![Name::Via, Name::Route, Name::Contact])) {
        let mut message = read(&text).expect("made by the grammar");
        let mut expected: Vec<Vec<u8>> = message.headers().values(name).map(<[u8]>::to_vec).collect();
        while !expected.is_empty() {
            prop_assert!(message.headers_mut().pop_top(name));
            expected.remove(0);
            let left: Vec<_> = message.headers().values(name).collect();
            prop_assert_eq!(&left, &expected);
        }
        prop_assert!(!message.headers_mut().pop_top(name));
    }

    /// Whatever bytes come: no panic, and what is accepted is accepted by the next hop as the same lines.
    #[test]
    fn damage_is_survived(text in damaged()) {
        match read(&text) {
            Ok(message) => {
                look(message.headers(), if let Message::Request(it) = &message { Some(it) } else { None });
                let again = read(&message.encode()).expect("accepted once");
                let ours: Vec<_> = message.headers().iter().filter(|(name, ..)| *name != Name::ContentLength).collect();
                let theirs: Vec<_> = again.headers().iter().filter(|(name, ..)| *name != Name::ContentLength).collect();
                prop_assert_eq!(ours, theirs);
                prop_assert_eq!(again.encode(), message.encode());
            }
            Err(malformed) => if let Some(request) = &malformed.request {
                prop_assert!(request.method != Method::Ack);
                look(&request.headers, Some(request));
            },
        }
    }

    /// Noise is no message and no panic.
    #[test]
    fn noise_is_survived(noise in vec(any::<u8>(), 0..300)) {
        if let Ok(message) = read(&noise) {
            look(message.headers(), None);
        }
        let mut buf = noise.as_slice().into();
        let mut decoder = Decoder::default();
        while let Ok(Some(_)) = decoder.next(&mut buf, &Limits::default()) {}
    }

    /// The framer cuts a stream where the parser sees the end, however the network cut it.
    #[test]
    fn frames_are_messages(texts in vec(valid(), 1..4), cuts in vec(any::<Index>(), 0..6)) {
        let stream = texts.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let (mut decoder, mut buf, mut found) = (Decoder::default(), bytes::BytesMut::new(), Vec::new());
        for pair in cuts.windows(2) {
            buf.extend_from_slice(&stream[pair[0]..pair[1]]);
            while let Some(frame) = decoder.next(&mut buf, &Limits::default()).expect("every message has a length") {
                match frame {
                    Frame::Message(bytes) => found.push(bytes),
                    Frame::Ping | Frame::Pong => {}
                }
            }
        }
        prop_assert_eq!(found, texts);
    }

    /// RFC 3261 §19.1.4: reflexive and symmetric. (It is not transitive.)
    #[test]
    fn uri_comparison(one in uri(), two in uri()) {
        let (one, two) = (Uri::parse(one.as_bytes()).unwrap(), Uri::parse(two.as_bytes()).unwrap());
        prop_assert!(one.equivalent(&one));
        prop_assert_eq!(one.equivalent(&two), two.equivalent(&one));
    }

    /// An independent parser reads the same from what it accepts.
    #[test]
    fn rsip_agrees(text in plain()) {
        let message = read(&text).expect("made by the grammar");
        let theirs = rsip::SipMessage::try_from(&message).expect("plain enough for rsip");
        prop_assert_eq!(message.call_id(), theirs.call_id_header().unwrap().value().as_bytes());
        prop_assert_eq!(message.headers().iter().count(), theirs.headers().iter().count());
        let from = theirs.from_header().unwrap().tag().unwrap().map(|tag| tag.to_string());
        let via = theirs.via_header().unwrap().typed().unwrap();
        let cseq = theirs.cseq_header().unwrap();
        match (&message, &theirs) {
            (Message::Request(ours), rsip::SipMessage::Request(theirs)) => {
                prop_assert_eq!(ours.method.as_str(), theirs.method.to_string());
                prop_assert_eq!(&ours.uri, &theirs.uri.to_string());
                prop_assert_eq!(&ours.body, &theirs.body);
                prop_assert_eq!(ours.cseq().unwrap().number, cseq.seq().unwrap());
                prop_assert_eq!(ours.from_tag(), from.as_deref());
                prop_assert_eq!(ours.top_via().unwrap().branch(), via.branch().map(rsip::common::uri::param::Branch::value));
            }
            (Message::Response(ours), rsip::SipMessage::Response(theirs)) => {
                prop_assert_eq!(ours.status.code(), theirs.status_code.code());
                prop_assert_eq!(&ours.body, &theirs.body);
                prop_assert_eq!(ours.cseq().unwrap().number, cseq.seq().unwrap());
                prop_assert_eq!(ours.top_via().unwrap().unwrap().branch(), via.branch().map(rsip::common::uri::param::Branch::value));
            }
            _ => panic!("request or response"),
        }
    }
}

/// A URI in which everything that §19.1.4 speaks of varies.
fn uri() -> impl Strategy<Value = String> {
    let user = select(vec!["", "alice@", "ALICE@", "%61lice@", "alice:pw@"]);
    let host = select(vec!["example.com", "EXAMPLE.com", "example.com:5060", "[::1]", "[0:0::1]"]);
    let param = select(vec![
        ";transport=udp",
        ";transport=TCP",
        ";user=phone",
        ";lr",
        ";ttl=15",
        ";method=INVITE",
        ";maddr=192.0.2.1",
        ";x=1",
        ";X=1",
        ";x=2",
        "",
    ]);
    let headers = select(vec!["", "?a=b", "?a=b&c=d", "?c=d&a=b", "?A=b"]);
    (select(vec!["sip:", "SIP:", "sips:"]), user, host, vec(param, 0..3), headers).prop_map(
        |(scheme, user, host, params, headers)| format!("{scheme}{user}{host}{}{headers}", params.concat()),
    )
}

/// A message without anything that rsip is known to misread: full names, one element and one line each, IPv4.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["INVITE", "REGISTER", "OPTIONS", "BYE", "SUBSCRIBE", "MESSAGE"]);
    let start = prop_oneof![
        (Just(0), "[a-z]{1,8}").prop_map(|(_, user)| (None, user)),
        (select(vec![100_u16, 180, 200, 404, 486, 603]), "[a-z]{1,8}")
            .prop_map(|(code, user)| (Some(code), user)),
    ];
    (method, start, 1..2_147_483_647_u32, "[a-zA-Z0-9.-]{1,20}", "[a-z0-9]{1,10}", "[ -~]{0,30}").prop_map(
        |(method, (code, user), cseq, call_id, tag, body)| {
            let start = match code {
                None => format!("{method} sip:{user}@192.0.2.4:5070 SIP/2.0"),
                Some(code) => format!("SIP/2.0 {code} {}", StatusCode::new(code).reason()),
            };
            format!(
                "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{tag}\r\nMax-Forwards: 70\r\n\
                 From: <sip:{user}@example.com>;tag={tag}\r\nTo: <sip:{user}@example.com>\r\nCall-ID: {call_id}\r\n\
                 CSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        },
    )
}
