use super::*;
use crate::parse;

const ONE: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\n\
    To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nl : \r\n 5\r\n\r\nhello";

fn frames(chunks: &[&[u8]]) -> Result<Vec<Frame>, ParseError> {
    let (mut decoder, mut buf, mut out) = (Decoder::default(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        while let Some(frame) = decoder.next(&mut buf, &Limits::default())? {
            out.push(frame);
        }
    }
    Ok(out)
}

fn message(text: &'static str) -> Frame {
    Frame::Message(Bytes::from_static(text.as_bytes()))
}

#[test]
fn messages_and_keep_alives_one_after_the_other() {
    let stream = [b"\r\n\r\n", ONE.as_bytes(), ONE.as_bytes(), b"\r\n", ONE.as_bytes()].concat();
    let found = frames(&[&stream]).unwrap();
    assert_eq!(found, [Frame::Ping, message(ONE), message(ONE), Frame::Pong, message(ONE)]);
}

#[test]
fn a_pong_waits_for_nothing() {
    assert_eq!(frames(&[b"\r\n"]), Ok(vec![Frame::Pong]));
    assert_eq!(frames(&[b"\r"]), Ok(vec![]));
    assert_eq!(frames(&[b"\r\n\r"]), Ok(vec![]));
    assert_eq!(frames(&[b"\r\n\r", b"\n"]), Ok(vec![Frame::Ping]));
}

#[test]
fn any_cut_gives_the_same_messages() {
    let stream = [ONE.as_bytes(), b"\r\n\r\n", ONE.as_bytes()].concat();
    for at in 0..=stream.len() {
        let (left, right) = stream.split_at(at);
        let mut found = frames(&[left, right]).unwrap();
        found.retain(|frame| matches!(frame, Frame::Message(_)));
        assert_eq!(found, [message(ONE), message(ONE)], "cut at {at}");
    }
    let bytes: Vec<&[u8]> = ONE.as_bytes().chunks(1).collect();
    assert_eq!(frames(&bytes), Ok(vec![message(ONE)]));
}

#[test]
fn a_frame_is_what_the_parser_reads() {
    let bare = "MESSAGE sip:a@b SIP/2.0\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\nFrom: <sip:c@d>;tag=1\n\
        To: <sip:a@b>\nCall-ID: 1\nCSeq: 1 MESSAGE\nContent-Length: 3\n\nx\ny";
    for text in [ONE, bare] {
        let stream = [text.as_bytes(), b"GARBAGE"].concat();
        let found = frames(&[&stream]).unwrap();
        let [Frame::Message(bytes)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(bytes, text);
        assert!(parse::message(bytes.clone(), &Limits::default()).is_ok());
    }
}

#[test]
fn a_stream_without_a_readable_length_ends() {
    for length in
        ["", "Content-Length: -1\r\n", "Content-Length: x\r\n", "Content-Length:\r\n", "l: 1\r\nl: 2\r\n"]
    {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\n{length}\r\n");
        assert_eq!(frames(&[text.as_bytes()]), Err(ParseError::new("Content-Length")), "{length}");
    }
}

#[test]
fn equal_lengths_are_one() {
    let text = "OPTIONS sip:a@b SIP/2.0\r\nl: 1\r\nContent-Length: 01\r\n\r\nx";
    assert_eq!(frames(&[text.as_bytes()]), Ok(vec![message(text)]));
}

#[test]
fn limits_end_the_stream() {
    let limits = Limits { message: 100, ..Limits::default() };
    let run = |text: &[u8]| Decoder::default().next(&mut BytesMut::from(text), &limits);
    let large = run(b"OPTIONS sip:a@b SIP/2.0\r\nl: 99\r\n\r\n").unwrap_err();
    assert_eq!(large.status.code(), 413);
    let overflow = run(b"OPTIONS sip:a@b SIP/2.0\r\nl: 99999999999999999999\r\n\r\n").unwrap_err();
    assert_eq!(overflow.status.code(), 413);
    let endless = run("A".repeat(101).as_bytes()).unwrap_err();
    assert_eq!(endless.status.code(), 413);
    assert_eq!(run("A".repeat(100).as_bytes()), Ok(None));
}

#[test]
fn what_is_no_sip_ends_the_stream() {
    assert!(frames(&[b"\x16\x03\x01\x02\x00"]).is_err());
    assert!(frames(&[b" OPTIONS"]).is_err());
    assert!(frames(&[b"\rOPTIONS"]).is_err());
}
