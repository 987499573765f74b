//! SIP over UDP, RFC 3261 §18 with datagrams of any size (§18.1.1), and the STUN server of RFC 5626 §8.
//!
//! One socket per listener. Its reader takes what has arrived in one system call, copies each datagram to bytes of its
//! own size (a message may live for a transaction's lifetime and must not hold others in memory), and delivers
//! all messages at once. What is to be sent collects in the socket's queue until somebody flushes it; whoever does so sends
//! for everybody, in order, and without waiting: when the kernel takes no more, the socket's writer task goes on.

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use sip::parse::Limits;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{Notify, watch},
};

use crate::{
    Event, Flow, SendError, Sink, Stats, answer,
    mmsg::{self, BATCH, Datagram, Kind, Room},
    pong, stun,
};

/// RFC 768 over IPv4: what is left of 65 535 bytes after both headers.
const MAX_DATAGRAM: usize = 65_507;
/// Receive and send buffer in the kernel: a second of busy traffic while this process does something else.
const KERNEL_BUFFER: usize = 4 << 20;
/// Calls of one flush before it leaves the rest to the writer task: the caller has other things to do.
const FLUSH_CALLS: usize = 16;

/// One UDP listener.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UdpSocket,
    local: SocketAddr,
    kind: Kind,
    queue: Mutex<Queue>,
    queue_limit: usize,
    /// What our pings are known by.
    epoch: u32,
    /// Wakes the writer task, which then has the queue's `busy` mark.
    blocked: Notify,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Datagram>,
    /// An empty vector with room, so that taking what waits allocates nothing.
    spare: Vec<Datagram>,
    /// Somebody is sending; he takes what is queued meanwhile, too.
    busy: bool,
}

/// How far sending came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Everything is sent.
    Done,
    /// The kernel wants no more now.
    Blocked,
    /// The calls are used up.
    Paused,
}

impl Listener {
    /// Opens the socket.
    pub(crate) fn bind(
        addr: SocketAddr,
        queue_limit: usize,
        epoch: u32,
        stats: Arc<Stats>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Best effort: more than the system's limit needs a privilege.
        if setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
            let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        }
        if setsockopt(&socket, sockopt::SndBufForce, &KERNEL_BUFFER).is_err() {
            let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        }
        let kind = Kind::of(addr);
        if kind.wildcard {
            if kind.v6 {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            } else {
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            }
        }
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        let (queue, blocked) = (Mutex::default(), Notify::new());
        Ok(Self { socket, local, kind, queue, queue_limit, epoch, blocked, stats })
    }

    /// The bound address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// True when flows with this local address leave through this socket.
    pub(crate) fn serves(&self, local: SocketAddr) -> bool {
        if self.kind.wildcard {
            local.port() == self.local.port() && local.is_ipv6() == self.kind.v6
        } else {
            local == self.local
        }
    }

    /// Queues a datagram for the next flush.
    pub(crate) fn push(&self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(SendError::TooLarge);
        }
        if flow.remote.is_ipv6() != self.kind.v6 || flow.remote.port() == 0 {
            return Err(SendError::Gone);
        }
        let mut queue = self.queue();
        if queue.waiting.len() >= self.queue_limit {
            drop(queue);
            self.stats.datagrams_dropped.add(1);
            return Err(SendError::Full);
        }
        queue.waiting.push(Datagram {
            source: self.kind.wildcard.then_some(flow.local),
            destination: flow.remote,
            bytes,
        });
        Ok(())
    }

    /// Sends what waits, unless somebody is at it.
    pub(crate) fn flush(&self) {
        let mut queue = self.queue();
        if queue.busy || queue.waiting.is_empty() {
            return;
        }
        queue.busy = true;
        let batch = queue.take();
        drop(queue);
        if self.drain(batch) != Progress::Done {
            // `busy` stays set: the queue is the writer task's until it has emptied it.
            self.blocked.notify_one();
        }
    }

    /// Sends `batch` and what is queued meanwhile, with at most [`FLUSH_CALLS`] calls. When it could not send all, the rest is
    /// back in the queue, in order, and `busy` is still set.
    fn drain(&self, mut batch: Vec<Datagram>) -> Progress {
        let mut calls = FLUSH_CALLS;
        loop {
            let (sent, progress) = self.send(&batch, &mut calls);
            if progress != Progress::Done {
                batch.drain(..sent);
                let mut queue = self.queue();
                batch.append(&mut queue.waiting);
                queue.waiting = batch;
                return progress;
            }
            batch.clear();
            let mut queue = self.queue();
            queue.spare = batch;
            if queue.waiting.is_empty() {
                queue.busy = false;
                return Progress::Done;
            }
            batch = queue.take();
        }
    }

    /// Sends `batch` and says how many of it are dealt with.
    fn send(&self, batch: &[Datagram], calls: &mut usize) -> (usize, Progress) {
        let mut sent = 0;
        while let Some(rest @ [_, ..]) = batch.get(sent..) {
            if *calls == 0 {
                return (sent, Progress::Paused);
            }
            *calls -= 1;
            match mmsg::send(&self.socket, self.kind, rest) {
                Ok(count) => {
                    let bytes = rest.iter().take(count).map(|datagram| datagram.bytes.len()).sum();
                    self.stats.datagrams_out.add(count);
                    self.stats.bytes_out.add(bytes);
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Progress::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // No route, a firewall, a local address that has moved: it concerns the first datagram alone.
                    tracing::debug!(listener = %self.local, %error, "datagram refused");
                    self.stats.datagrams_dropped.add(1);
                    sent += 1;
                }
            }
        }
        (sent, Progress::Done)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Datagram> {
        let spare = mem::take(&mut self.spare);
        mem::replace(&mut self.waiting, spare)
    }
}

/// Goes on where a flush was stopped, until `stop` changes.
pub(crate) async fn write(listener: Arc<Listener>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = listener.blocked.notified() => {}
            _ = stop.changed() => return,
        }
        loop {
            if listener.socket.writable().await.is_err() {
                return;
            }
            let sending = listener.socket.try_io(Interest::WRITABLE, || {
                let batch = listener.queue().take();
                match listener.drain(batch) {
                    Progress::Blocked => Err(io::ErrorKind::WouldBlock.into()),
                    progress => Ok(progress),
                }
            });
            match sending {
                Ok(Progress::Done) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(_) => {}
            }
        }
    }
}

/// Receives until `stop` changes.
pub(crate) async fn read(
    listener: Arc<Listener>,
    limits: Limits,
    sink: Arc<dyn Sink>,
    mut stop: watch::Receiver<bool>,
) {
    let mut room = Room::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            ready = listener.socket.readable() => if let Err(error) = ready {
                tracing::error!(listener = %listener.local, %error, "the socket is lost");
                return;
            },
            _ = stop.changed() => return,
        }
        let full = listener.receive(&limits, &mut room, &mut batch);
        if !batch.is_empty() {
            sink.deliver(&mut batch);
            batch.clear();
        }
        listener.flush();
        if full {
            // There may be no end of them: let others run.
            tokio::task::yield_now().await;
        }
    }
}

impl Listener {
    /// One system call and what came of it; true when there may be more.
    fn receive(&self, limits: &Limits, room: &mut Room, batch: &mut Vec<Event>) -> bool {
        let mut full = false;
        let received = self.socket.try_io(Interest::READABLE, || {
            let (mut count, mut bytes) = (0, 0);
            let result = mmsg::receive(&self.socket, self.kind, room, |datagram, remote, local| {
                count += 1;
                bytes += datagram.len();
                self.on_datagram(datagram, remote, local, limits, batch);
            });
            self.stats.datagrams_in.add(count);
            self.stats.bytes_in.add(bytes);
            full = result? == BATCH;
            // Fewer than there was room for: the queue is empty, so wait for the next arrival without asking the kernel again.
            if full { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                tracing::debug!(listener = %self.local, %error, "receiving failed");
                true
            }
            Ok(()) | Err(_) => full,
        }
    }

    fn on_datagram(
        &self,
        datagram: &[u8],
        remote: SocketAddr,
        local: Option<IpAddr>,
        limits: &Limits,
        batch: &mut Vec<Event>,
    ) {
        if is_keepalive(datagram) {
            self.stats.keepalives.add(1);
            return;
        }
        let flow = Flow::udp(self.address(local, remote), remote);
        if datagram.first().is_some_and(|first| first & 0xC0 == 0 && stun::is_stun(datagram)) {
            if let Some(answer) = stun::answer(datagram, remote) {
                self.stats.stun.add(1);
                // A full queue drops it, as the network might.
                let _ = self.push(&flow, answer);
            } else {
                self.stats.malformed.add(1);
            }
            return;
        }
        if let Some(ping) = pong::answered(datagram, self.epoch) {
            self.stats.pongs.add(1);
            batch.push(Event::Pong { flow, ping });
            return;
        }
        match sip::parse::message(Bytes::copy_from_slice(datagram), limits) {
            Ok(message) => {
                self.stats.messages_in.add(1);
                batch.push(Event::Message { flow, message });
            }
            Err(malformed) => {
                self.stats.malformed.add(1);
                tracing::debug!(?flow, error = %malformed.error, "malformed datagram");
                if let Some(answer) = answer::to_malformed(malformed, remote)
                    && self.push(&flow, answer).is_ok()
                {
                    self.stats.malformed_answered.add(1);
                }
            }
        }
    }

    /// The local end of a flow: the address that the datagram came to, with the socket's port.
    fn address(&self, local: Option<IpAddr>, remote: SocketAddr) -> SocketAddr {
        let mut address = self.local;
        if let Some(ip) = local {
            address.set_ip(ip);
        }
        if let (SocketAddr::V6(local), SocketAddr::V6(remote)) = (&mut address, remote) {
            // Addresses of one link are ambiguous without it, and both ends are on the same.
            if local.ip().is_unicast_link_local() {
                local.set_scope_id(remote.scope_id());
            }
        }
        address
    }
}

/// What user agents send to keep a NAT's pinhole open without wanting an answer: nothing, line ends, or zeros. It is
/// shorter than any message.
fn is_keepalive(datagram: &[u8]) -> bool {
    datagram.len() <= 4 && datagram.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalives_are_told_from_messages() {
        for keepalive in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"\0"] {
            assert!(is_keepalive(keepalive));
        }
        for message in [&b"INFO"[..], b"\r\n\r\nINVITE", b"\0\x01\0\0\0", b"hi"] {
            assert!(!is_keepalive(message));
        }
    }
}
