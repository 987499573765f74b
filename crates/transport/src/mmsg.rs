//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`, with the local address of each by `IP_PKTINFO`
//! (IPv6: RFC 3542 §6) on sockets that are bound to a wildcard.
//!
//! The header blocks that the kernel fills are kept per thread and per kind of socket: the kernel writes the lengths
//! that it used back into them, and they stay right only among sockets of one kind.

use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
};

use bytes::Bytes;
use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
        recvmmsg, sendmmsg,
    },
};
use tokio::net::UdpSocket;

use crate::flow::canonical;

/// Datagrams in one system call.
pub(crate) const BATCH: usize = 32;
/// Room for one datagram of any size.
const ROOM: usize = 65_536;

/// One datagram to send.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// The address it leaves from, on a socket that has several; None: the only one.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) destination: SocketAddr,
    pub(crate) bytes: Bytes,
}

/// Where datagrams are received into. Memory is used by as many and as long ones as ever came at once.
pub(crate) struct Room(Vec<u8>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(vec![0; BATCH * ROOM])
    }
}

/// The kind of a socket: address family, and whether it is bound to a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) v6: bool,
    pub(crate) wildcard: bool,
}

impl Kind {
    pub(crate) fn of(bound: SocketAddr) -> Self {
        Self { v6: bound.is_ipv6(), wildcard: bound.ip().is_unspecified() }
    }
}

/// Takes up to [`BATCH`] datagrams from the socket's queue and shows each to `sink` with its remote address and, on a
/// wildcard socket, the address it was sent to. Returns how many there were.
pub(crate) fn receive(
    socket: &UdpSocket,
    kind: Kind,
    room: &mut Room,
    sink: impl FnMut(&[u8], SocketAddr, Option<IpAddr>),
) -> io::Result<usize> {
    let fd = socket.as_raw_fd();
    let received = if kind.v6 {
        receive_as::<SockaddrIn6>(fd, kind, room, sink)
    } else {
        receive_as::<SockaddrIn>(fd, kind, room, sink)
    };
    received.map_err(io::Error::from)
}

/// Sends the first datagrams of `batch`: at most [`BATCH`], and only such as leave from the same address, since the
/// kernel wants to know it by call. Returns how many it took. An error is about the first one.
pub(crate) fn send(socket: &UdpSocket, kind: Kind, batch: &[Datagram]) -> io::Result<usize> {
    let fd = socket.as_raw_fd();
    let sent = if kind.v6 {
        send_as::<SockaddrIn6>(fd, kind, batch)
    } else {
        send_as::<SockaddrIn>(fd, kind, batch)
    };
    sent.map_err(io::Error::from)
}

fn receive_as<A: Address>(
    fd: RawFd,
    kind: Kind,
    room: &mut Room,
    mut sink: impl FnMut(&[u8], SocketAddr, Option<IpAddr>),
) -> Result<usize, Errno> {
    A::with(kind.wildcard, Direction::In, |headers| {
        let mut rooms = room.0.chunks_exact_mut(ROOM);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let mut count = 0;
        let mut whole = true;
        for datagram in recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
            count += 1;
            let Some(remote) = datagram.address else { continue };
            let local = match datagram.cmsgs() {
                Ok(mut messages) => messages.find_map(|message| A::local(&message)),
                Err(_) => None,
            };
            if kind.wildcard && local.is_none() {
                // Nobody knows where the answer should leave from: lost, as datagrams may be.
                whole = false;
                continue;
            }
            // An empty datagram has no slice; it is shown, so that it is counted.
            let bytes = datagram.iovs().next().unwrap_or_default();
            sink(bytes, canonical(remote.to_std()), local);
        }
        if whole { Ok(count) } else { Err(Errno::ENOBUFS) }
    })
}

fn send_as<A: Address>(fd: RawFd, kind: Kind, batch: &[Datagram]) -> Result<usize, Errno> {
    let source = batch.first().and_then(|first| first.source).filter(|_| kind.wildcard);
    let together =
        batch.iter().take(BATCH).take_while(|datagram| !kind.wildcard || datagram.source == source);
    let mut addresses = [None; BATCH];
    let mut slices = [[IoSlice::new(&[])]; BATCH];
    let mut count = 0;
    for ((datagram, address), slice) in together.zip(&mut addresses).zip(&mut slices) {
        *address = A::from_std(datagram.destination);
        if address.is_none() {
            break;
        }
        *slice = [IoSlice::new(&datagram.bytes)];
        count += 1;
    }
    let (Some(slices), Some(addresses @ [_, ..])) = (slices.get(..count), addresses.get(..count)) else {
        return Err(Errno::EAFNOSUPPORT);
    };
    A::with_source(source, |control| {
        A::with(!control.is_empty(), Direction::Out, |headers| {
            sendmmsg(fd, headers, slices, addresses, control, MsgFlags::MSG_DONTWAIT).map(Iterator::count)
        })
    })
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// Header blocks of one address family on one thread.
struct Blocks<A> {
    incoming: RefCell<Option<MultiHeaders<A>>>,
    incoming_wildcard: RefCell<Option<MultiHeaders<A>>>,
    outgoing: RefCell<Option<MultiHeaders<A>>>,
    outgoing_wildcard: RefCell<Option<MultiHeaders<A>>>,
}

impl<A: Address> Blocks<A> {
    const fn new() -> Self {
        Self {
            incoming: RefCell::new(None),
            incoming_wildcard: RefCell::new(None),
            outgoing: RefCell::new(None),
            outgoing_wildcard: RefCell::new(None),
        }
    }

    fn with<R>(
        &self,
        control: bool,
        direction: Direction,
        call: impl FnOnce(&mut MultiHeaders<A>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let cell = match (direction, control) {
            (Direction::In, false) => &self.incoming,
            (Direction::In, true) => &self.incoming_wildcard,
            (Direction::Out, false) => &self.outgoing,
            (Direction::Out, true) => &self.outgoing_wildcard,
        };
        let mut block = cell.borrow_mut();
        let headers =
            block.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, control.then(A::control_space)));
        let result = call(headers);
        if matches!(result, Err(Errno::ENOBUFS)) {
            // The lengths in the block no longer fit what the kernel has to say: begin with a fresh one.
            *block = None;
        }
        result
    }
}

/// What differs between the address families.
trait Address: SockaddrLike + Copy + 'static {
    fn from_std(addr: SocketAddr) -> Option<Self>;
    fn to_std(self) -> SocketAddr;
    /// The address that a received datagram was sent to.
    fn local(message: &ControlMessageOwned) -> Option<IpAddr>;
    /// Calls with the control message that chooses the source address; with none for None.
    fn with_source<R>(source: Option<SocketAddr>, call: impl FnOnce(&[ControlMessage<'_>]) -> R) -> R;
    fn control_space() -> Vec<u8>;
    fn with<R>(
        control: bool,
        direction: Direction,
        call: impl FnOnce(&mut MultiHeaders<Self>) -> Result<R, Errno>,
    ) -> Result<R, Errno>;
}

thread_local! {
    static V4: Blocks<SockaddrIn> = const { Blocks::new() };
    static V6: Blocks<SockaddrIn6> = const { Blocks::new() };
}

impl Address for SockaddrIn {
    fn from_std(addr: SocketAddr) -> Option<Self> {
        match addr {
            SocketAddr::V4(addr) => Some(addr.into()),
            SocketAddr::V6(_) => None,
        }
    }

    fn to_std(self) -> SocketAddr {
        self.into()
    }

    fn local(message: &ControlMessageOwned) -> Option<IpAddr> {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = message {
            // The local address that the datagram is for; the header's destination may be a broadcast address.
            Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into())
        } else {
            None
        }
    }

    fn with_source<R>(source: Option<SocketAddr>, call: impl FnOnce(&[ControlMessage<'_>]) -> R) -> R {
        let Some(SocketAddr::V4(source)) = source else {
            return call(&[]);
        };
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.ip().octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        call(&[ControlMessage::Ipv4PacketInfo(&info)])
    }

    fn control_space() -> Vec<u8> {
        nix::cmsg_space!(libc::in_pktinfo)
    }

    fn with<R>(
        control: bool,
        direction: Direction,
        call: impl FnOnce(&mut MultiHeaders<Self>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        V4.with(|blocks| blocks.with(control, direction, call))
    }
}

impl Address for SockaddrIn6 {
    fn from_std(addr: SocketAddr) -> Option<Self> {
        match addr {
            SocketAddr::V6(addr) => Some(addr.into()),
            SocketAddr::V4(_) => None,
        }
    }

    fn to_std(self) -> SocketAddr {
        SocketAddrV6::from(self).into()
    }

    fn local(message: &ControlMessageOwned) -> Option<IpAddr> {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = message {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        } else {
            None
        }
    }

    fn with_source<R>(source: Option<SocketAddr>, call: impl FnOnce(&[ControlMessage<'_>]) -> R) -> R {
        let Some(SocketAddr::V6(source)) = source else {
            return call(&[]);
        };
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: source.ip().octets() },
            ipi6_ifindex: source.scope_id(),
        };
        call(&[ControlMessage::Ipv6PacketInfo(&info)])
    }

    fn control_space() -> Vec<u8> {
        nix::cmsg_space!(libc::in6_pktinfo)
    }

    fn with<R>(
        control: bool,
        direction: Direction,
        call: impl FnOnce(&mut MultiHeaders<Self>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        V6.with(|blocks| blocks.with(control, direction, call))
    }
}
