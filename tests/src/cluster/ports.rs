//! Ports for nodes that are started, killed and started again.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::Problem;

/// Where ports are looked for: below those that the system gives to outgoing connections, so that nothing takes the
/// port of a node while it is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Ports given away by this process.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that is free for UDP and for TCP, and that this process gives only once.
///
/// # Errors
///
/// There is none.
pub fn free_port() -> Result<u16, Problem> {
    let width = RANGE.end - RANGE.start;
    // Processes side by side begin at different places.
    let first = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(width)).unwrap_or(0);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        if given >= width {
            return Err(Problem::new("no free port"));
        }
        let port = RANGE.start + (first + given) % width;
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
}
