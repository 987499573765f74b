//! What a message is matched by: RFC 3261 §17.1.3 for responses, §17.2.3 for requests, RFC 2543 clients included.
//!
//! A key is one byte string, made in the caller's buffer, so that a lookup allocates nothing.

use sip::{Method, Request, Response};

/// Stands first in a key of an RFC 2543 client; no sent-by starts with it.
const LEGACY: u8 = 0;

/// Between the parts of a key; no part contains it.
const END: u8 = 0;

/// Fills `key` with what identifies the server transaction of `request` as if its method were `method`:
/// its own, INVITE for an ACK (§17.2.3), the cancelled one's for a CANCEL (§9.2).
pub(crate) fn server(request: &Request, method: &Method, key: &mut Vec<u8>) {
    key.clear();
    let via = request.top_via().ok();
    match via.filter(sip::Via::is_rfc3261).and_then(|via| Some((via.sent_by, via.branch()?))) {
        Some((sent_by, branch)) => {
            // Host names and tokens compare ignoring case (§7.3.1), methods do not (§7.1).
            push_lower(key, sent_by);
            push_lower(key, branch);
            key.extend_from_slice(method.as_str().as_bytes());
        }
        None => legacy(request, method, request.to_tag().unwrap_or_default(), key),
    }
}

/// As [`server`] for an ACK: an RFC 2543 client's names the To tag of the response, which [`legacy_ack`] has registered
/// for a final other than 2xx only. So the ACK of an accepted INVITE matches nothing and is the TU's (RFC 6026 §6).
pub(crate) fn ack(request: &Request, key: &mut Vec<u8>) {
    server(request, &Method::Invite, key);
    if is_legacy(key) {
        legacy(request, &Method::Ack, request.to_tag().unwrap_or_default(), key);
    }
}

/// The key of the ACK that an RFC 2543 client sends for a final of the INVITE `key` belongs to; None for any other client.
pub(crate) fn legacy_ack(key: &[u8], to_tag: &str) -> Option<Vec<u8>> {
    let parts = key.strip_prefix(b"\0INVITE\0")?;
    let shared = parts.iter().rposition(|byte| *byte == END).and_then(|end| parts.get(..=end))?;
    Some([b"\0ACK\0".as_slice(), shared, to_tag.as_bytes()].concat())
}

/// Fills `key` with what identifies a client transaction (§17.1.3): the branch and the method.
pub(crate) fn client(branch: &str, method: &Method, key: &mut Vec<u8>) {
    key.clear();
    push_lower(key, branch);
    key.extend_from_slice(method.as_str().as_bytes());
}

/// Fills `key` for the client transaction that `request` opens.
pub(crate) fn of_request(request: &Request, key: &mut Vec<u8>) {
    let via = request.top_via().ok();
    client(via.and_then(|via| via.branch()).unwrap_or_default(), &request.method, key);
}

/// Fills `key` for the client transaction that `response` belongs to; false when it names none.
pub(crate) fn of_response(response: &Response, key: &mut Vec<u8>) -> bool {
    let Some(branch) = response.top_via().and_then(Result::ok).and_then(|via| via.branch()) else {
        return false;
    };
    let Ok(cseq) = response.cseq() else { return false };
    client(branch, &cseq.method, key);
    true
}

fn is_legacy(key: &[u8]) -> bool {
    key.first() == Some(&LEGACY)
}

fn push_lower(key: &mut Vec<u8>, part: &str) {
    key.extend(part.bytes().map(|byte| byte.to_ascii_lowercase()));
    key.push(END);
}

/// §17.2.3: Request-URI, From tag, Call-ID, CSeq, top Via and To tag. A repetition repeats them byte for byte.
fn legacy(request: &Request, method: &Method, to_tag: &str, key: &mut Vec<u8>) {
    key.clear();
    key.push(LEGACY);
    let number = request.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
    let via = request.headers.top(sip::Name::Via).unwrap_or_default();
    let parts = [
        method.as_str().as_bytes(),
        &request.uri,
        request.from_tag().unwrap_or_default().as_bytes(),
        request.call_id(),
        &number,
        via,
    ];
    for part in parts {
        key.extend_from_slice(part);
        key.push(END);
    }
    key.extend_from_slice(to_tag.as_bytes());
}
