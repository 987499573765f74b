//! rsip as a view of a message, for diagnostics and tests.
//!
//! rsip refuses much that is valid (extension methods, IPv6, folded lines) and ignores Content-Length, so a refusal
//! says nothing about the message and nothing that is forwarded passes through here.

use crate::Message;

impl TryFrom<&Message> for rsip::SipMessage {
    type Error = rsip::Error;

    fn try_from(message: &Message) -> Result<Self, Self::Error> {
        Self::try_from(message.encode())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rsip::prelude::{HeadersExt, UntypedHeader};

    use crate::parse::{self, Limits};

    #[test]
    fn rsip_reads_what_it_can() {
        let text = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\n\
            From: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\n\
            Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        let message = parse::message(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        let theirs = rsip::SipMessage::try_from(&message).unwrap();
        assert_eq!(theirs.call_id_header().unwrap().value(), "c1");
    }
}
