//! The address in a [`Source`], to and from the types of the standard library.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::Source;

impl Source {
    /// Describes a flow. `local` is the listener, for instance `udp:192.0.2.1:5060`.
    pub fn new(transport: &str, remote: SocketAddr, local: &str, trusted: bool) -> Self {
        let address = match remote.ip() {
            IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
        };
        Self {
            transport: transport.to_owned(),
            address,
            port: u32::from(remote.port()),
            local: local.to_owned(),
            trusted,
        }
    }

    /// Address of the peer; none when the sender wrote something that is not an address.
    pub fn remote(&self) -> Option<SocketAddr> {
        let ip = if let Ok(v4) = <[u8; 4]>::try_from(self.address.as_ref()) {
            IpAddr::from(v4)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(self.address.as_ref()).ok()?)
        };
        Some(SocketAddr::new(ip, u16::try_from(self.port).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive() {
        for text in ["192.0.2.7:5060", "[2001:db8::7]:5061"] {
            let remote: SocketAddr = text.parse().unwrap();
            assert_eq!(Source::new("udp", remote, "udp:192.0.2.1:5060", false).remote(), Some(remote));
        }
    }

    #[test]
    fn nonsense_is_no_address() {
        let short = Source { address: Bytes::from_static(b"abc"), port: 5060, ..Source::default() };
        assert_eq!(short.remote(), None);
        let port = Source { address: Bytes::from_static(b"abcd"), port: 70_000, ..Source::default() };
        assert_eq!(port.remote(), None);
    }
}
