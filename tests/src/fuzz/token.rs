//! A flow token from anybody: RFC 5626 §5.2.
//!
//! The bytes are read as a token, which is never genuine, and as a flow, whose token is genuine until one bit of it changes.

use std::net::{IpAddr, SocketAddr};

use arbitrary::{Result, Unstructured};
use transport::token::Keys;
use transport::{Flow, Protocol};

/// Verifies what cannot be genuine, then what is.
pub fn check(data: &[u8]) {
    assert!(keys(1).verify(data).is_err(), "nobody but the cluster can write a token");
    _ = round_trip(&mut Unstructured::new(data));
}

fn keys(seed: u8) -> Keys {
    Keys::random([seed; 32])
}

fn round_trip(data: &mut Unstructured<'_>) -> Result<()> {
    let flow = flow(data)?;
    let token = keys(2).mint(&flow);
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    let read = keys(2).verify(token.as_bytes()).expect("our own token");
    assert_eq!(read, flow);
    assert_eq!(keys(2).mint(&read), token);
    assert!(keys(1).verify(token.as_bytes()).is_err(), "the key of another cluster");

    let mut forged = token.into_bytes();
    let at = data.choose_index(forged.len())?;
    forged[at] ^= 1 << data.int_in_range(0..=7)?;
    assert!(keys(2).verify(&forged).is_err(), "every bit counts");
    Ok(())
}

fn flow(data: &mut Unstructured<'_>) -> Result<Flow> {
    let protocols = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];
    let protocol = *data.choose(&protocols)?;
    let (local, remote) = (address(data)?, address(data)?);
    let connection = if protocol.is_reliable() { data.arbitrary()? } else { 0 };
    Ok(Flow { protocol, local, remote, connection })
}

fn address(data: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip = if data.arbitrary()? {
        IpAddr::from(data.arbitrary::<[u8; 4]>()?)
    } else {
        IpAddr::from(data.arbitrary::<[u8; 16]>()?)
    };
    Ok(SocketAddr::new(ip, data.arbitrary()?))
}
