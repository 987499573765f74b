//! A frame of the link as its receiver decodes it.

use bytes::Bytes;
use prost::Message;
use proto::{Frame, frame::Kind};

/// Decodes a frame; what can be decoded survives another hop.
pub fn check(data: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) else { return };
    let bytes = frame.encode_to_vec();
    assert_eq!(bytes.len(), frame.encoded_len());
    assert_eq!(Frame::decode(Bytes::from(bytes)).as_ref(), Ok(&frame));
    if let Some(Kind::Sip(sip)) = frame.kind {
        _ = sip.source.and_then(|source| source.remote());
    }
}
