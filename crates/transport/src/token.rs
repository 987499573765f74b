//! Flow tokens, RFC 5626 §5.1 and §5.2: a flow as text that only this cluster can have written. Pure.
//!
//! An edge puts a token into the user part of its Path and Record-Route URIs; when the token comes back, in a Route
//! header from anybody, it says which flow the request must leave on. The flow is *in* the token, so the edge keeps no
//! table, and the token is authenticated, so that nobody can make the edge send to an address of his choice.
//!
//! ```text
//! token = base64url( head  key  local  remote  [zone]  [connection]  mac )        without padding
//! head  = version (2 bits = 01) | zone present | remote is IPv6 | local is IPv6 | protocol (3 bits)
//! key   = which key made the mac: the first octet of its hash
//! local, remote = 4 or 16 octets of address, 2 of port;  zone = 4;  connection = 8, for streams only
//! mac   = the first 12 octets of HMAC-SHA-256 over everything before it
//! ```
//!
//! A UDP flow over IPv4 makes 35 characters, over IPv6 67; a stream 11 more. The alphabet needs no escape in a SIP user part.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    str::FromStr,
};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Flow, Protocol};

/// The keys of the cluster: tokens are made with the current one and accepted from both.
#[derive(Clone)]
pub struct Keys {
    current: Key,
    previous: Option<Key>,
}

/// A token that was not made with one of our keys, or no token at all. It says no more, so that nobody learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("forged flow token")]
pub struct Forged;

/// Text that is no list of keys. It never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// Not base64.
    #[error("flow key {0} is not base64")]
    NotBase64(usize),
    /// Less than 32 bytes.
    #[error("flow key {0} has {1} bytes, at least 32 are needed")]
    TooShort(usize, usize),
    /// More than two.
    #[error("{0} flow keys given, expected `current` or `current,previous`")]
    TooMany(usize),
}

impl Keys {
    /// Keys from raw bytes; ones shorter than 32 bytes are refused.
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> Result<Self, InvalidKeys> {
        Ok(Self {
            current: Key::new(current, 1)?,
            previous: previous.map(|key| Key::new(key, 2)).transpose()?,
        })
    }

    /// A key for this process alone: its tokens die with it and no sibling understands them.
    pub fn random(seed: [u8; 32]) -> Self {
        Self { current: Key::from_secret(&seed), previous: None }
    }

    /// The token of a flow.
    pub fn mint(&self, flow: &Flow) -> String {
        mint(&self.current, flow)
    }

    /// Its tokens by every key: all that it may be known by while a key is being replaced.
    pub fn mint_all(&self, flow: Flow) -> impl Iterator<Item = String> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().map(move |key| mint(key, &flow))
    }

    /// The flow of a token that was minted with one of these keys. It says nothing about whether the flow is still there.
    pub fn verify(&self, token: &[u8]) -> Result<Flow, Forged> {
        let mut decoded = [0; MAX_TOKEN];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut decoded).map_err(|_| Forged)?;
        let (body, mac) = decoded
            .get(..length)
            .and_then(|token| token.split_at_checked(token.len().checked_sub(MAC)?))
            .ok_or(Forged)?;
        let id = *body.get(1).ok_or(Forged)?;
        // Two keys have the same id once in 256 rotations; then both are tried.
        let genuine = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .any(|key| key.id == id && bool::from(key.mac(body).ct_eq(mac)));
        if genuine { decode(body).ok_or(Forged) } else { Err(Forged) }
    }
}

impl FromStr for Keys {
    type Err = InvalidKeys;

    /// `current[,previous]` in base64 of either alphabet, with or without padding.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys = Vec::new();
        for (index, part) in text.split(',').enumerate() {
            let part = part.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
            let secret = LENIENT.decode(part).map_err(|_| InvalidKeys::NotBase64(index + 1))?;
            keys.push(Key::new(&secret, index + 1)?);
        }
        let count = keys.len();
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next(), keys.next()) {
            (Some(current), previous, None) => Ok(Self { current, previous }),
            _ => Err(InvalidKeys::TooMany(count)),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("current", &"***")
            .field("previous", &self.previous.as_ref().map(|_| "***"))
            .finish()
    }
}

fn mint(key: &Key, flow: &Flow) -> String {
    let mut token = Buffer::default();
    encode(flow, key.id, &mut token);
    let mac = key.mac(token.filled());
    token.put(&mac);
    URL_SAFE_NO_PAD.encode(token.filled())
}

/// One secret, ready for use, and the octet that tokens name it by.
#[derive(Clone)]
struct Key {
    id: u8,
    hmac: Hmac<Sha256>,
}

impl Key {
    fn new(secret: &[u8], index: usize) -> Result<Self, InvalidKeys> {
        if secret.len() < 32 {
            return Err(InvalidKeys::TooShort(index, secret.len()));
        }
        Ok(Self::from_secret(secret))
    }

    fn from_secret(secret: &[u8]) -> Self {
        let [id, ..] =
            <[u8; 32]>::from(Sha256::new().chain_update(b"flow token key").chain_update(secret).finalize());
        let hmac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Self { id, hmac }
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC] {
        let full = self.hmac.clone().chain_update(body).finalize().into_bytes();
        let mut mac = [0; MAC];
        mac.copy_from_slice(full.split_at(MAC).0);
        mac
    }
}

const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const ZONE: u8 = 0b0010_0000;
const REMOTE_V6: u8 = 0b0001_0000;
const LOCAL_V6: u8 = 0b0000_1000;
const PROTOCOL_MASK: u8 = 0b0000_0111;

/// 96 bits: RFC 5626 §5.2 asks for 80.
const MAC: usize = 12;
/// A stream over IPv6 within one link.
const MAX_TOKEN: usize = 2 + 18 + 18 + 4 + 8 + MAC;

/// A token in the making, on the stack.
struct Buffer {
    bytes: [u8; MAX_TOKEN],
    length: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: [0; MAX_TOKEN], length: 0 }
    }
}

impl Buffer {
    fn put(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        self.bytes[self.length..end].copy_from_slice(part);
        self.length = end;
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn encode(flow: &Flow, key: u8, out: &mut Buffer) {
    let protocol = match flow.protocol {
        Protocol::Udp => 0,
        Protocol::Tcp => 1,
        Protocol::Tls => 2,
        Protocol::Ws => 3,
        Protocol::Wss => 4,
    };
    let zone = zone(flow);
    let mut head = VERSION | protocol;
    if flow.local.is_ipv6() {
        head |= LOCAL_V6;
    }
    if flow.remote.is_ipv6() {
        head |= REMOTE_V6;
    }
    if zone != 0 {
        head |= ZONE;
    }
    out.put(&[head, key]);
    for addr in [flow.local, flow.remote] {
        match addr.ip() {
            IpAddr::V4(ip) => out.put(&ip.octets()),
            IpAddr::V6(ip) => out.put(&ip.octets()),
        }
        out.put(&addr.port().to_be_bytes());
    }
    if zone != 0 {
        out.put(&zone.to_be_bytes());
    }
    if flow.protocol.is_reliable() {
        out.put(&flow.connection.to_be_bytes());
    }
}

/// The link of link-local addresses; both ends of a flow are on the same.
fn zone(flow: &Flow) -> u32 {
    match flow.remote {
        SocketAddr::V6(addr) if addr.ip().is_unicast_link_local() => addr.scope_id(),
        SocketAddr::V6(_) | SocketAddr::V4(_) => 0,
    }
}

/// The reverse of [`encode`], for authenticated octets: None only for what another version of this software has written.
fn decode(body: &[u8]) -> Option<Flow> {
    let (&head, rest) = body.split_first()?;
    let (_key, rest) = rest.split_first()?;
    if head & VERSION_MASK != VERSION {
        return None;
    }
    let protocol = match head & PROTOCOL_MASK {
        0 => Protocol::Udp,
        1 => Protocol::Tcp,
        2 => Protocol::Tls,
        3 => Protocol::Ws,
        4 => Protocol::Wss,
        _ => return None,
    };
    let (local, rest) = address(rest, head & LOCAL_V6 != 0)?;
    let (remote, rest) = address(rest, head & REMOTE_V6 != 0)?;
    let (zone, rest) = if head & ZONE == 0 {
        (0, rest)
    } else {
        let (zone, rest) = rest.split_first_chunk()?;
        (u32::from_be_bytes(*zone), rest)
    };
    let (connection, rest) = if protocol.is_reliable() {
        let (connection, rest) = rest.split_first_chunk()?;
        (u64::from_be_bytes(*connection), rest)
    } else {
        (0, rest)
    };
    rest.is_empty().then_some(Flow {
        protocol,
        local: zoned(local, zone),
        remote: zoned(remote, zone),
        connection,
    })
}

fn address(bytes: &[u8], v6: bool) -> Option<(SocketAddr, &[u8])> {
    let (ip, rest) = if v6 {
        let (octets, rest) = bytes.split_first_chunk::<16>()?;
        (IpAddr::V6(Ipv6Addr::from(*octets)), rest)
    } else {
        let (octets, rest) = bytes.split_first_chunk::<4>()?;
        (IpAddr::V4(Ipv4Addr::from(*octets)), rest)
    };
    let (port, rest) = rest.split_first_chunk()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest))
}

fn zoned(addr: SocketAddr, zone: u32) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, zone).into()
        }
        SocketAddr::V6(_) | SocketAddr::V4(_) => addr,
    }
}

/// Keys come from people and their tools: `openssl rand -base64 32` pads and leaves whatever bits it likes.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests;
