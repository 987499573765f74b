//! A stream: RFC 3261 §18.3 and RFC 5626 §3.5.1, however the network cuts it.
//!
//! The first byte says how many of the next ones are lengths of pieces; the rest is the stream.

use bytes::{Bytes, BytesMut};
use sip::frame::{Decoder, Frame};
use sip::parse::{self, Limits};

/// Cuts a stream in two ways and compares.
pub fn check(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(count % 32)));
    let whole = frames([stream]);
    assert_eq!(frames(pieces(stream, cuts)), whole, "every cut gives the same frames");
    for message in whole.0.iter().flatten() {
        ends_where_the_parser_sees_the_end(message);
    }
}

/// What a stream holds up to its end, or up to the point where it cannot be framed. A ping stands as the two CRLF that it
/// is, because one that the network cuts in its middle is read so; and so does one whose last byte never comes.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Option<Bytes>>, bool) {
    let (mut decoder, mut buffer, mut found) = (Decoder::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer, &LIMITS) {
                Ok(Some(Frame::Message(message))) => found.push(Some(message)),
                Ok(Some(Frame::Ping)) => found.extend([None, None]),
                Ok(Some(Frame::Pong)) => found.push(None),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    found.extend(buffer.starts_with(b"\r\n").then_some(None));
    (found, true)
}

/// Pieces of the lengths that `cuts` says, over and over; without cuts every byte is a piece.
fn pieces<'a>(mut stream: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(1, |length| usize::from(*length)).clamp(1, stream.len().max(1));
        let (piece, rest) = stream.split_at_checked(length)?;
        stream = rest;
        Some(piece)
    })
}

fn ends_where_the_parser_sees_the_end(frame: &Bytes) {
    assert!(frame.len() <= LIMITS.message);
    let body = match parse::message(frame.clone(), &LIMITS) {
        Ok(sip::Message::Request(request)) => request.body,
        Ok(sip::Message::Response(response)) => response.body,
        Err(_) => return,
    };
    let head = &frame[..frame.len() - body.len()];
    assert!(frame.ends_with(&body) && (head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n")));
}

/// Small enough to be met.
const LIMITS: Limits = Limits { message: 2_000, headers: 64, line: 500 };
