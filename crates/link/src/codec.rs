//! Frames on a stream: a length (32 bit, big-endian) and that many bytes of a protobuf `Frame`.
//!
//! A frame of length zero says nothing; the ends use it to make a stream visible to the other side.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use proto::{Frame, frame::Kind};

/// Largest frame. A SIP message fits twice; what claims to be larger is not from this cluster.
pub(crate) const MAX_FRAME: usize = 128 * 1024;

/// What a frame needs besides its message: more than all its other fields can take.
pub(crate) const MAX_MESSAGE: usize = MAX_FRAME - 32 * 1024;

/// A frame that says nothing.
pub(crate) const EMPTY: Bytes = Bytes::from_static(&[0; LENGTH]);

/// The peer does not speak the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a frame of {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends a frame to `buffer`; false when it is too large to be sent.
pub(crate) fn encode(kind: Kind, buffer: &mut BytesMut) -> bool {
    let start = buffer.len();
    buffer.put_bytes(0, LENGTH);
    Frame::from(kind).encode(buffer).expect("a BytesMut grows");
    let length = buffer.len() - start - LENGTH;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    match (prefix, buffer.get_mut(start..start + LENGTH)) {
        (Some(prefix), Some(place)) => {
            place.copy_from_slice(&prefix.to_be_bytes());
            true
        }
        _ => {
            buffer.truncate(start);
            false
        }
    }
}

/// Cuts the chunks of a stream into frames. A frame that lies in one chunk is decoded without a copy; only one
/// that spans chunks is put together first.
#[derive(Default)]
pub(crate) struct Decoder {
    chunk: Bytes,
    partial: BytesMut,
}

impl Decoder {
    /// Gives the next chunk of the stream. The former one has to be used up: [`Self::next`] has said none.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the former chunk is not used up");
        self.chunk = chunk;
    }

    /// The next frame; none when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, DecodeError> {
        if !self.partial.is_empty() {
            return self.complete();
        }
        if let Some(length) = length_of(&self.chunk)? {
            if self.chunk.len() >= LENGTH + length {
                self.chunk.advance(LENGTH);
                return Ok(Some(Frame::decode(self.chunk.split_to(length))?));
            }
            self.partial.reserve(LENGTH + length);
        }
        self.take(self.chunk.len());
        Ok(None)
    }

    /// Fills up a frame that began in an earlier chunk, and takes nothing of the one behind it.
    fn complete(&mut self) -> Result<Option<Frame>, DecodeError> {
        self.take(LENGTH.saturating_sub(self.partial.len()));
        let Some(length) = length_of(&self.partial)? else { return Ok(None) };
        self.take((LENGTH + length).saturating_sub(self.partial.len()));
        if self.partial.len() < LENGTH + length {
            return Ok(None);
        }
        let mut frame = self.partial.split().freeze();
        frame.advance(LENGTH);
        Ok(Some(Frame::decode(frame)?))
    }

    fn take(&mut self, wanted: usize) {
        let taken = wanted.min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(taken));
    }
}

fn length_of(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(prefix) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    if length > MAX_FRAME { Err(DecodeError::TooLarge(length)) } else { Ok(Some(length)) }
}

const LENGTH: usize = size_of::<u32>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::{Ping, Sip};

    use super::*;

    fn sip(length: usize) -> Kind {
        Kind::Sip(Sip { message: vec![b'x'; length].into(), ..Sip::default() })
    }

    fn frames(decoder: &mut Decoder) -> Vec<Option<Kind>> {
        std::iter::from_fn(|| decoder.next().expect("well-formed")).map(|frame| frame.kind).collect()
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            sizes in proptest::collection::vec(0_usize..3_000, 1..20),
            cuts in proptest::collection::vec(1_usize..1_500, 1..50),
        ) {
            let sent: Vec<Kind> = sizes.iter().map(|size| sip(*size)).collect();
            let mut buffer = BytesMut::new();
            for kind in &sent {
                prop_assert!(encode(kind.clone(), &mut buffer));
            }
            let mut bytes = buffer.freeze();
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for cut in cuts.iter().cycle() {
                decoder.push(bytes.split_to((*cut).min(bytes.len())));
                received.extend(frames(&mut decoder).into_iter().flatten());
                if bytes.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(sent, received);
        }

        #[test]
        fn nonsense_never_panics(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(chunk.into());
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
            }
        }
    }

    #[test]
    fn a_whole_frame_is_not_copied() {
        let mut buffer = BytesMut::new();
        encode(sip(700), &mut buffer);
        let bytes = buffer.freeze();
        let range = bytes.as_ptr_range();
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        let Some(Some(Kind::Sip(sip))) = frames(&mut decoder).pop() else { panic!("one SIP frame") };
        assert!(range.contains(&sip.message.as_ptr()));
    }

    #[test]
    fn an_empty_frame_says_nothing() {
        let mut decoder = Decoder::default();
        decoder.push(EMPTY);
        assert_eq!(frames(&mut decoder), [None]);
    }

    #[test]
    fn too_large_is_refused_on_both_sides() {
        let mut buffer = BytesMut::new();
        assert!(encode(Kind::Ping(Ping { id: 1 }), &mut buffer));
        let before = buffer.clone();
        assert!(!encode(sip(MAX_FRAME), &mut buffer));
        assert_eq!(buffer, before, "nothing of it is sent");

        let mut decoder = Decoder::default();
        decoder.push(Bytes::from_static(&[0, 2, 0, 1]));
        assert!(matches!(decoder.next(), Err(DecodeError::TooLarge(131_073))));
    }
}
