//! The addresses of this host: what a listener on a wildcard address answers on.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Every address of every interface that is up; empty when the system does not say.
pub fn interfaces() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let mut found: Vec<IpAddr> = all.filter_map(|interface| address(interface.address?)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        assert!(interfaces().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
