//! The STUN server that RFC 5626 §5.4 and §8 want on every SIP/UDP port: binding requests of RFC 8489, nothing else. Pure.
//!
//! A valid binding request is answered with XOR-MAPPED-ADDRESS, so that the user agent sees when its NAT has given it
//! another address. There is no authentication and no NAT behaviour discovery: the answer goes where the request came
//! from and is hardly larger, so it is of no use to an attacker.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

const HEADER: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH: a server that asks
/// for no credentials passes over them (RFC 8489 §9).
const CREDENTIALS: [u16; 7] = [0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E];
/// More unknown attributes than this are not listed: the answer must not outgrow the request.
const MAX_UNKNOWN: usize = 8;

/// True when a datagram is STUN and not SIP: its first two bits are zero and the magic cookie is there (RFC 8489 §5).
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER
        && datagram.first().is_some_and(|first| first & 0xC0 == 0)
        && u32_at(datagram, 4) == Some(MAGIC_COOKIE)
}

/// The answer to a binding request from `source`; None for what is no well-formed binding request (RFC 8489 §6.3:
/// discarded in silence).
pub(crate) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Bytes> {
    if !is_stun(datagram) || u16_at(datagram, 0)? != BINDING_REQUEST {
        return None;
    }
    let attributes = datagram.get(HEADER..)?;
    if usize::from(u16_at(datagram, 2)?) != attributes.len() || attributes.len() % 4 != 0 {
        return None;
    }
    let transaction = datagram.get(8..HEADER)?;
    let unknown = unknown_attributes(attributes)?;
    Some(if unknown.is_empty() { success(transaction, source) } else { unknown_error(transaction, &unknown) })
}

/// The comprehension-required attributes that are not understood (RFC 8489 §6.3.1); None when they do not fit their message.
fn unknown_attributes(mut rest: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    while !rest.is_empty() {
        let kind = u16_at(rest, 0)?;
        let length = usize::from(u16_at(rest, 2)?).next_multiple_of(4);
        rest = rest.get(4 + length..)?;
        if kind < 0x8000 && !CREDENTIALS.contains(&kind) && unknown.len() < MAX_UNKNOWN {
            unknown.push(kind);
        }
    }
    Some(unknown)
}

/// RFC 8489 §14.2: the port and an IPv4 address are XORed with the magic cookie, an IPv6 address with cookie and
/// transaction number, so that no meddling NAT recognises and rewrites them.
fn success(transaction: &[u8], source: SocketAddr) -> Bytes {
    let mut out = header(BINDING_SUCCESS, if source.is_ipv4() { 12 } else { 24 }, transaction);
    out.put_u16(XOR_MAPPED_ADDRESS);
    let [cookie_high, cookie_low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = source.port() ^ u16::from_be_bytes([cookie_high, cookie_low]);
    match source.ip() {
        IpAddr::V4(ip) => {
            out.put_u16(8);
            out.put_u16(1);
            out.put_u16(port);
            out.put_u32(ip.to_bits() ^ MAGIC_COOKIE);
        }
        IpAddr::V6(ip) => {
            out.put_u16(20);
            out.put_u16(2);
            out.put_u16(port);
            let cookie = MAGIC_COOKIE.to_be_bytes();
            let mask = cookie.iter().chain(transaction);
            out.extend(ip.octets().iter().zip(mask).map(|(octet, mask)| octet ^ mask));
        }
    }
    out.freeze()
}

/// RFC 8489 §6.3.1: 420 with the list of what was not understood.
fn unknown_error(transaction: &[u8], unknown: &[u16]) -> Bytes {
    let listed = (unknown.len() * 2).next_multiple_of(4);
    let mut out = header(BINDING_ERROR, 8 + 4 + listed, transaction);
    out.put_u16(ERROR_CODE);
    out.put_u16(4);
    out.put_u16(0);
    out.put_u8(4);
    out.put_u8(20);
    out.put_u16(UNKNOWN_ATTRIBUTES);
    out.put_u16(u16::try_from(unknown.len() * 2).unwrap_or(0));
    for kind in unknown {
        out.put_u16(*kind);
    }
    out.put_bytes(0, listed - unknown.len() * 2);
    out.freeze()
}

fn header(kind: u16, length: usize, transaction: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER + length);
    out.put_u16(kind);
    out.put_u16(u16::try_from(length).unwrap_or(0));
    out.put_u32(MAGIC_COOKIE);
    out.put_slice(transaction);
    out
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    field.try_into().ok().map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transaction number of the test vectors of RFC 5769 §2.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 1, 0, u8::try_from(attributes.len()).unwrap(), 0x21, 0x12, 0xa4, 0x42];
        out.extend(TRANSACTION);
        out.extend(attributes);
        out
    }

    #[test]
    fn ipv4_mapping_as_in_rfc_5769_section_2_2() {
        let answer = answer(&request(&[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(answer[..8], [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(answer[8..20], TRANSACTION);
        assert_eq!(answer[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    }

    #[test]
    fn ipv6_mapping_as_in_rfc_5769_section_2_3() {
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let answer = answer(&request(&[]), source).unwrap();
        assert_eq!(
            answer[20..],
            [
                0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
                0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9
            ]
        );
    }

    #[test]
    fn optional_attributes_and_credentials_are_passed_over() {
        let source = "192.0.2.1:1".parse().unwrap();
        // SOFTWARE "abc" with padding, USERNAME "u" with padding.
        let attributes = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0, 0, 6, 0, 1, b'u', 0, 0, 0];
        assert_eq!(answer(&request(&attributes), source).unwrap()[..2], [1, 1]);
    }

    #[test]
    fn unknown_required_attributes_are_listed_in_a_420() {
        let source = "192.0.2.1:1".parse().unwrap();
        let answer = answer(&request(&[0x7f, 1, 0, 0]), source).unwrap();
        assert_eq!(answer[..4], [1, 0x11, 0, 16]);
        assert_eq!(answer[20..], [0, 9, 0, 4, 0, 0, 4, 20, 0, 0x0a, 0, 2, 0x7f, 1, 0, 0]);
    }

    #[test]
    fn everything_else_is_discarded() {
        let source = "192.0.2.1:1".parse().unwrap();
        let whole = request(&[0x80, 0x22, 0, 4, 1, 2, 3, 4]);
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end], source), None);
        }
        for (at, value) in [(0, 1), (1, 0x11), (4, 0x22), (3, 4), (23, 200)] {
            let mut broken = whole.clone();
            broken[at] = value;
            assert_eq!(answer(&broken, source), None, "octet {at}");
        }
    }
}
