//! Requests and bindings for the tests of this crate.

use bytes::Bytes;
use sip::parse::{self, Limits};
use sip::{Message, Request};

use crate::apply::{self, Change};
use crate::{Binding, Origin, Policy, Record, UnixTime, update};

pub(crate) const NOW: UnixTime = UnixTime(1_000_000);
pub(crate) const ORIGIN: Origin<'_> = Origin { edge: "edge-a", source: "udp:192.0.2.4:5060", core: "core-1" };

/// A REGISTER for alice with Call-ID `call`, CSeq 1, and these further header lines.
pub(crate) fn request(headers: &str) -> Request {
    register("call", 1, headers)
}

pub(crate) fn register(call_id: &str, cseq: u32, headers: &str) -> Request {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.com>;tag=f\r\nTo: <sip:alice@example.com>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    match parse::message(Bytes::from(text), &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("the test wrote no request: {other:?}"),
    }
}

/// Reads and applies one REGISTER.
pub(crate) fn apply(record: &Record, request: &Request, now: UnixTime) -> Result<Change, sip::Reject> {
    let policy = Policy::default();
    let update = update::read(request, &policy)?;
    apply::changes(record, &update, &policy, &ORIGIN, now)
}

/// A binding of this contact that was made at [`NOW`] for an hour.
pub(crate) fn binding(contact: &str) -> Binding {
    Binding {
        contact: contact.to_owned(),
        params: String::new(),
        q: 1000,
        expires_at: NOW.after(3600),
        call_id: "call".to_owned(),
        cseq: 1,
        path: Vec::new(),
        instance: None,
        reg_id: None,
        gruu_epoch: 0,
        user_agent: String::new(),
        edge: ORIGIN.edge.to_owned(),
        source: ORIGIN.source.to_owned(),
        registered_at: NOW,
        updated_at: NOW,
        written_by: ORIGIN.core.to_owned(),
    }
}
