//! Two neighbouring versions work together: what the newer one adds is ignored by the older one.

use bytes::Bytes;
use prost::Message;
use proto::{Frame, Hello, frame::Kind};

/// `Hello` of a later version: two fields more.
#[derive(Clone, PartialEq, Message)]
struct NewerHello {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "5")]
    role: String,
    #[prost(string, tag = "200")]
    zone: String,
    #[prost(message, optional, tag = "201")]
    limits: Option<NewerLimits>,
}

#[derive(Clone, PartialEq, Message)]
struct NewerLimits {
    #[prost(uint64, tag = "1")]
    calls: u64,
}

/// `Frame` of a later version: a kind more.
#[derive(Clone, PartialEq, Message)]
struct NewerFrame {
    #[prost(message, optional, tag = "1")]
    hello: Option<NewerHello>,
    #[prost(message, optional, tag = "99")]
    gossip: Option<NewerLimits>,
}

/// `Hello` of an earlier version: only a name.
#[derive(Clone, PartialEq, Message)]
struct OlderHello {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn unknown_fields_are_ignored() {
    let newer = NewerFrame {
        hello: Some(NewerHello {
            name: "edge-a".into(),
            role: "edge".into(),
            zone: "north".into(),
            limits: Some(NewerLimits { calls: 7 }),
        }),
        gossip: None,
    };
    let frame = Frame::decode(Bytes::from(newer.encode_to_vec())).expect("decodes");
    let expected = Hello { name: "edge-a".into(), role: "edge".into(), ..Hello::default() };
    assert_eq!(frame.kind, Some(Kind::Hello(expected)));
}

#[test]
fn an_unknown_kind_is_none() {
    let newer = NewerFrame { hello: None, gossip: Some(NewerLimits { calls: 1 }) };
    let frame = Frame::decode(Bytes::from(newer.encode_to_vec())).expect("decodes");
    assert_eq!(frame.kind, None);
}

#[test]
fn absent_fields_have_defaults() {
    let older = OlderHello { name: "core-1".into() };
    let hello = Hello::decode(Bytes::from(older.encode_to_vec())).expect("decodes");
    assert_eq!(hello, Hello { name: "core-1".into(), ..Hello::default() });
}

#[test]
fn a_message_is_a_slice_of_the_buffer() {
    let sip =
        proto::Sip { message: Bytes::from_static(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"), ..Default::default() };
    let buffer = Bytes::from(Frame::from(Kind::Sip(sip)).encode_to_vec());
    let range = buffer.as_ptr_range();
    let frame = Frame::decode(buffer).expect("decodes");
    let Some(Kind::Sip(sip)) = frame.kind else { panic!("a SIP frame") };
    assert!(range.contains(&sip.message.as_ptr()), "the message was copied");
}
