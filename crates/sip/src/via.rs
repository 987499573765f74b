//! Via, RFC 3261 §20.42, and the way back of a response, §18.2.1 and RFC 3581.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;

use crate::{
    Host, Name, Params, ParseError, Request,
    lex::{Cursor, text, trim, trim_end},
};

/// The transport of a Via; compares ignoring case when read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS over TCP
    Tls,
    /// WebSocket, RFC 7118
    Ws,
    /// secure WebSocket, RFC 7118
    Wss,
    /// anything else, as written
    Other(&'a str),
}

/// One Via element.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// What carried the request to the next hop.
    pub transport: Transport<'a>,
    /// The host of sent-by.
    pub host: Host<'a>,
    /// `host[:port]` as written.
    pub sent_by: &'a str,
    /// The port of sent-by, if one is written.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` and the rest.
    pub params: Params<'a>,
}

impl<'a> Transport<'a> {
    /// Known tokens ignoring case, others as they are.
    pub fn parse(token: &'a str) -> Self {
        let is = |name: &str| token.eq_ignore_ascii_case(name);
        match token.len() {
            3 if is("UDP") => Self::Udp,
            3 if is("TCP") => Self::Tcp,
            3 if is("TLS") => Self::Tls,
            3 if is("WSS") => Self::Wss,
            2 if is("WS") => Self::Ws,
            _ => Self::Other(token),
        }
    }

    /// The token as Via writes it.
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Other(token) => token,
        }
    }
}

impl<'a> Via<'a> {
    /// One element. LWS may stand around the slashes, the colon, the semicolons and the equals signs.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(text(value, "Via")?);
        let protocol = cursor.token();
        let slash = cursor.separator(b'/');
        let version = cursor.token();
        let slash = cursor.separator(b'/') && slash;
        let transport = cursor.token();
        if !slash || protocol.is_empty() || version.is_empty() || transport.is_empty() {
            return Err(WRONG);
        }
        let before = cursor.rest().len();
        cursor.lws();
        if cursor.rest().len() == before {
            return Err(WRONG);
        }
        let sent_by = trim_end(cursor.take_while(|byte| byte != b';'));
        let (host, port) = Host::parse_with_port(sent_by).ok_or(WRONG)?;
        let params = Params::parse_in(cursor.rest(), "Via")?;
        Ok(Self { transport: Transport::parse(transport), host, sent_by, port, params })
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch")
    }

    /// The branch starts with the magic cookie `z9hG4bK` (§8.1.1.7) and identifies a transaction. The bare cookie
    /// identifies nothing, so it counts as a branch of RFC 2543 (RFC 4475 §3.2.1).
    pub fn is_rfc3261(&self) -> bool {
        let cookie =
            |branch: &str| branch.get(..COOKIE.len()).is_some_and(|it| it.eq_ignore_ascii_case(COOKIE));
        self.branch().is_some_and(|branch| branch.len() > COOKIE.len() && cookie(branch))
    }

    /// The address in `received`, with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        let bare = value.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(value);
        bare.parse().ok()
    }

    /// `None`: absent. `Some(None)`: asked for. `Some(Some(port))`: filled in (RFC 3581 §4).
    pub fn rport(&self) -> Option<Option<u16>> {
        Some(self.params.get("rport")?.and_then(|port| port.parse().ok()))
    }
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: puts `received` into the top Via of a request when its host is not the address
/// that the request came from, and `received` and `rport` when the latter was asked for, or always when
/// `force_rport`. What a sender claimed there itself is replaced. An unreadable Via is left alone.
pub fn stamp_received(request: &mut Request, source: SocketAddr, force_rport: bool) {
    let stamped = request.headers.top(Name::Via).and_then(|value| stamped(trim(value), source, force_rport));
    if let Some(value) = stamped {
        request.headers.replace_top(Name::Via, value);
    }
}

/// The top Via as it must read, or `None` when it already does.
fn stamped(value: &[u8], source: SocketAddr, force_rport: bool) -> Option<Bytes> {
    let via = Via::parse(value).ok()?;
    // A dual-stack socket shows IPv4 as ::ffff:0:0/96; the sender wrote, and a response needs, the plain address.
    let address = source.ip().to_canonical();
    let from_sent_by = match via.host {
        Host::Name(_) => false,
        Host::V4(host) => address == IpAddr::V4(host),
        Host::V6(host) => address == IpAddr::V6(host),
    };
    let rport = force_rport || via.params.has("rport");
    let received = rport || !from_sent_by;
    if !received && !via.params.has("received") {
        return None;
    }
    let head = value.len().checked_sub(via.params.as_str().len())?;
    let mut out = Vec::with_capacity(value.len() + ROOM);
    out.extend_from_slice(value.get(..head)?);
    let ours = |name: &str| name.eq_ignore_ascii_case("received") || name.eq_ignore_ascii_case("rport");
    for item in via.params.items().filter(|item| !ours(item.name)) {
        out.extend_from_slice(item.raw.as_bytes());
    }
    if received {
        write!(out, ";received={address}").ok()?;
    }
    if rport {
        write!(out, ";rport={}", source.port()).ok()?;
    }
    Some(out.into())
}

/// RFC 6223 §4.4: gives the `keep` in the top Via of a request its value, the seconds within which its sender is to be
/// heard. Nothing changes without a `keep`, or with one that has a value.
pub fn answer_keep(request: &mut Request, seconds: u32) {
    let kept = request.headers.top(Name::Via).and_then(|value| kept(trim(value), seconds));
    if let Some(value) = kept {
        request.headers.replace_top(Name::Via, value);
    }
}

fn kept(value: &[u8], seconds: u32) -> Option<Bytes> {
    let via = Via::parse(value).ok()?;
    if via.params.get(KEEP)?.is_some() {
        return None;
    }
    let head = value.len().checked_sub(via.params.as_str().len())?;
    let mut out = Vec::with_capacity(value.len() + "=4294967295".len());
    out.extend_from_slice(value.get(..head)?);
    for item in via.params.items() {
        out.extend_from_slice(item.raw.as_bytes());
        if item.name.eq_ignore_ascii_case(KEEP) {
            write!(out, "={seconds}").ok()?;
        }
    }
    Some(out.into())
}

/// `SIP/2.0/T sent-by;branch=…` for our own hop.
pub fn compose(transport: &str, sent_by: &str, branch: &str) -> Bytes {
    let parts = ["SIP/2.0/", transport, " ", sent_by, ";branch=", branch];
    let mut value = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    value.extend(parts);
    value.into()
}

/// RFC 6223 §4.1.
const KEEP: &str = "keep";

/// §8.1.1.7.
const COOKIE: &str = "z9hG4bK";

/// Longest `;received=` and `;rport=` that are ever added.
const ROOM: usize = ";received=".len() + 39 + ";rport=65535".len();

const WRONG: ParseError = ParseError::new("Via");

#[cfg(test)]
mod tests;
