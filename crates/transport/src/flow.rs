//! Flows, RFC 5626 §3.1 and §3.2: associations with user agents, and the table of those that are streams.
//!
//! A flow over UDP is nothing but its two addresses: it has no entry anywhere, so it costs no memory and is still
//! good after a restart. A flow over a stream lives and ends with its connection, which is why it carries the
//! connection's number: a later connection between the same addresses is another flow.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Protocol, outbox::Outbox};

/// An association with a user agent: everything that is needed to send to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Flow {
    /// The transport.
    pub protocol: Protocol,
    /// The address of this node that the user agent sends to. It is never a wildcard: on a socket that is bound to one,
    /// it is the address that the datagram came to.
    pub local: SocketAddr,
    /// The address that the user agent is seen at, which may be its NAT's.
    pub remote: SocketAddr,
    /// The number of the connection: 0 for UDP; for streams unique over all connections of this process and, because
    /// its upper half is drawn at start, of the processes before it.
    pub connection: u64,
}

impl Flow {
    /// The flow between two addresses over UDP.
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, local, remote, connection: 0 }
    }
}

/// The streams that are open, by connection number, and how many there are from each source.
#[derive(Debug)]
pub(crate) struct Table {
    open: RwLock<HashMap<u64, Arc<Outbox>>>,
    sources: Mutex<Sources>,
    epoch: u32,
    next: AtomicU32,
}

#[derive(Debug, Default)]
struct Sources {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// Room for one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    table: Arc<Table>,
    source: Source,
}

impl Table {
    pub(crate) fn new(epoch: u32) -> Self {
        Self { open: RwLock::default(), sources: Mutex::default(), epoch, next: AtomicU32::new(0) }
    }

    /// Takes room for a connection from `remote`, unless all or its source's share is taken.
    pub(crate) fn admit(
        self: &Arc<Self>,
        remote: IpAddr,
        max: usize,
        max_per_source: usize,
    ) -> Option<Admission> {
        let source = Source::of(remote);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.total >= max {
            return None;
        }
        let count = sources.by_source.entry(source).or_default();
        if *count >= max_per_source {
            return None;
        }
        *count += 1;
        sources.total += 1;
        drop(sources);
        Some(Admission { table: Arc::clone(self), source })
    }

    /// A number that no connection of this process had before.
    pub(crate) fn number(&self) -> u64 {
        // Wraps after four thousand million connections: by then the first is closed or the idle limit is switched off.
        // Number 0 is UDP's, also with an epoch of 0.
        loop {
            let low = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if low != 0 {
                return u64::from(self.epoch) << 32 | u64::from(low);
            }
        }
    }

    pub(crate) fn insert(&self, outbox: Arc<Outbox>) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(outbox.flow().connection, outbox);
    }

    pub(crate) fn remove(&self, connection: u64) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&connection);
    }

    /// The outbox of exactly this flow: a number alone is not enough, a flow may have been made from foreign text.
    pub(crate) fn get(&self, flow: &Flow) -> Option<Arc<Outbox>> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&flow.connection)
            .filter(|outbox| outbox.flow() == flow)
            .cloned()
    }

    /// Those for which `wanted` is true, in no particular order.
    pub(crate) fn select(&self, wanted: impl Fn(&Outbox) -> bool) -> Vec<Arc<Outbox>> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter(|outbox| wanted(outbox))
            .cloned()
            .collect()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut sources = self.table.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.total -= 1;
        if let Some(count) = sources.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.by_source.remove(&self.source);
            }
        }
    }
}

/// Who is limited: one IPv4 address, or one IPv6 /64, since every host of such a network has 2^64 addresses to choose from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Source(IpAddr);

impl Source {
    fn of(addr: IpAddr) -> Self {
        Self(match addr {
            IpAddr::V4(addr) => IpAddr::V4(addr),
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64)),
        })
    }
}

/// The address as flows carry it: an IPv6 flow label belongs to a packet and a zone to a link-local address only.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(mut v6) => {
            v6.set_flowinfo(0);
            if !v6.ip().is_unicast_link_local() {
                v6.set_scope_id(0);
            }
            SocketAddr::V6(v6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Arc<Table> {
        Arc::new(Table::new(7))
    }

    #[test]
    fn numbers_are_unique_and_carry_the_epoch() {
        let table = table();
        let (first, second) = (table.number(), table.number());
        assert_ne!(first, second);
        assert_eq!((first >> 32, second >> 32), (7, 7));
        assert_ne!(Table::new(0).number(), 0);
    }

    #[test]
    fn sources_have_shares_and_give_them_back() {
        let table = table();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let first = table.admit(one, 3, 2).unwrap();
        let _second = table.admit(one, 3, 2).unwrap();
        assert!(table.admit(one, 3, 2).is_none());
        let _other = table.admit("192.0.2.2".parse().unwrap(), 3, 2).unwrap();
        assert!(table.admit("192.0.2.3".parse().unwrap(), 3, 2).is_none());
        drop(first);
        assert!(table.admit(one, 3, 2).is_some());
    }

    #[test]
    fn an_ipv6_source_is_its_64_bit_network() {
        let table = table();
        let _first = table.admit("2001:db8::1".parse().unwrap(), 9, 1).unwrap();
        assert!(table.admit("2001:db8::ffff:1".parse().unwrap(), 9, 1).is_none());
        assert!(table.admit("2001:db8:0:1::1".parse().unwrap(), 9, 1).is_some());
    }
}
