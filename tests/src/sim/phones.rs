//! The phones of a simulation: every one behind a NAT of its own, with lines to edges; and what a script tells them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use edge_proxy::engine::Input;
use edge_proxy::keeper;
use location::{Credentials, User};
use transport::{Flow, Protocol};

use super::{DOMAIN, Event, Sim};
use crate::oracle::{Node, Wire};
use crate::ua::digest::Algorithm;
use crate::ua::{Call, CallOptions, Profile, Register, Registration, Ua};

/// A phone and its lines.
pub struct Phone {
    pub(super) ua: Ua,
    /// The address that its NAT shows to the world.
    public: SocketAddr,
    lines: Vec<Line>,
}

struct Line {
    edge: usize,
    flow: Flow,
    is_open: bool,
}

/// A call by phone and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRef {
    /// Who has placed it.
    pub phone: usize,
    /// Its number there.
    pub number: usize,
}

impl Sim {
    /// Alice behind the first edge, Bob behind the second, both registered over UDP.
    pub fn alice_and_bob(seed: u64) -> (Self, usize, usize) {
        let mut sim = Self::new(seed);
        let (alice, bob) = (sim.phone("alice", super::EP1), sim.phone("bob", super::EP2));
        sim.register(alice);
        sim.register(bob);
        (sim, alice, bob)
    }

    /// Alice behind the first edge, and Bob with a flow to each edge (RFC 5626 §4.2), the one to the second edge newer.
    pub fn bob_with_two_flows(seed: u64, protocol: Protocol) -> (Self, usize, usize) {
        let mut sim = Self::new(seed);
        let alice = sim.phone("alice", super::EP1);
        let bob = sim.phone_with("bob", super::EP1, protocol, |profile| {
            profile.instance = Some("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned());
            profile.supports_path = true;
        });
        sim.add_line(bob, super::EP2, protocol);
        sim.register(alice);
        for (line, reg_id) in [(0, 1), (1, 2)] {
            let registration = sim.register_as(bob, Register { reg_id: Some(reg_id), ..Register::on(line) });
            assert_eq!(registration.status, Some(200), "line {line} registers");
            // The newer one is told by whole seconds.
            sim.run(Duration::from_secs(2));
        }
        (sim, alice, bob)
    }

    /// A phone of a user with a UDP line to an edge; gives its number.
    pub fn phone(&mut self, user: &str, edge: usize) -> usize {
        self.phone_with(user, edge, Protocol::Udp, |_| {})
    }

    /// A phone with whatever profile; the user becomes known to the cluster.
    pub fn phone_with(
        &mut self,
        user: &str,
        edge: usize,
        protocol: Protocol,
        change: impl FnOnce(&mut Profile),
    ) -> usize {
        let number = self.phones.len();
        let octet = u8::try_from(number + 1).expect("a simulation has few phones");
        let mut profile = Profile {
            user: user.to_owned(),
            domain: DOMAIN.to_owned(),
            password: format!("secret of {user}"),
            algorithm: if number.is_multiple_of(2) { Algorithm::Sha256 } else { Algorithm::Md5 },
            host: format!("172.16.0.{octet}:5060"),
            instance: None,
            supports_path: false,
            follows_service_route: false,
        };
        change(&mut profile);
        self.add_user(user, &profile.password);
        self.oracle.add_ua(&profile.host);
        let public =
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, octet)), 40_000 + u16::from(octet));
        self.phones.push(Phone { ua: Ua::new(profile), public, lines: Vec::new() });
        self.add_line(number, edge, protocol);
        number
    }

    /// Makes a user known.
    pub fn add_user(&self, user: &str, password: &str) {
        let name = User { name: user.to_owned(), realm: DOMAIN.to_owned() };
        let credentials = Credentials {
            ha1_md5: Algorithm::Md5.ha1(user, DOMAIN, password),
            ha1_sha256: Algorithm::Sha256.ha1(user, DOMAIN, password),
        };
        self.store.put_user(name, credentials);
    }

    /// One more line of a phone; gives its number.
    pub fn add_line(&mut self, phone: usize, edge: usize, protocol: Protocol) -> usize {
        let local = self.edge_address(edge);
        let flow = self.new_flow(phone, edge, local, protocol);
        let Some(phone_) = self.phones.get_mut(phone) else { return 0 };
        phone_.lines.push(Line { edge, flow, is_open: true });
        let line = phone_.ua.add_line(local.to_string(), protocol.is_reliable());
        self.flow_opens(edge, flow);
        line
    }

    /// Opens the stream of a line again, to the same edge.
    pub fn reconnect(&mut self, phone: usize, line: usize) {
        let Some((edge, protocol)) = self
            .phones
            .get(phone)
            .and_then(|phone| phone.lines.get(line))
            .map(|line| (line.edge, line.flow.protocol))
        else {
            return;
        };
        let flow = self.new_flow(phone, edge, self.edge_address(edge), protocol);
        if let Some(line) = self.phones.get_mut(phone).and_then(|phone| phone.lines.get_mut(line)) {
            (line.flow, line.is_open) = (flow, true);
        }
        self.flow_opens(edge, flow);
    }

    /// The NAT in front of a phone gives it another port; its line goes on through that, a stream as a new one.
    pub fn rebind(&mut self, phone: usize, line: usize) {
        if self.phones.get(phone).and_then(|phone| phone.lines.get(line)).is_some_and(|it| it.is_open) {
            self.close_line(phone, line);
        }
        if let Some(phone) = self.phones.get_mut(phone) {
            phone.public.set_port(phone.public.port() + 1_000);
        }
        self.reconnect(phone, line);
    }

    /// As [`Self::reconnect`], if the line is a stream that has ended.
    pub fn reconnect_if_closed(&mut self, phone: usize, line: usize) {
        if self.phones.get(phone).and_then(|phone| phone.lines.get(line)).is_some_and(|line| !line.is_open) {
            self.reconnect(phone, line);
        }
    }

    fn new_flow(&mut self, phone: usize, edge: usize, local: SocketAddr, protocol: Protocol) -> Flow {
        let remote = self.phones.get(phone).expect("the script has made it").public;
        if !protocol.is_reliable() {
            return Flow::udp(local, remote);
        }
        self.connections += 1;
        let connection = u64::from(self.epoch(edge)) << 32 | self.connections;
        Flow { protocol, local, remote, connection }
    }

    fn flow_opens(&mut self, edge: usize, flow: Flow) {
        if flow.protocol.is_reliable() {
            self.tell_edge(edge, Input::FlowUp(flow));
        }
    }

    /// A phone closes the stream of a line, or loses it.
    pub fn close_line(&mut self, phone: usize, line: usize) {
        let Some(at) = self.phones.get_mut(phone).and_then(|phone| phone.lines.get_mut(line)) else { return };
        if !at.flow.protocol.is_reliable() || !at.is_open {
            return;
        }
        at.is_open = false;
        let (edge, flow) = (at.edge, at.flow);
        let life = self.edges.get(edge).map_or(0, |node| node.life);
        self.log.note(self.now, format!("UA{phone} closes its stream to EP{}", edge + 1));
        self.oracle.unreachable(self.now, phone);
        self.order(phone, |ua| ua.line_lost(line));
        self.schedule(self.now + Duration::from_millis(10), Event::FlowLost { edge, life, flow });
    }

    pub(super) fn flow_lost(&mut self, edge: usize, life: u64, flow: Flow) {
        if self.edges.get(edge).is_some_and(|node| node.life == life) {
            self.tell_both(edge, Input::FlowDown(flow), keeper::Input::FlowDown(flow));
        }
    }

    /// Every stream to an edge ends with it.
    pub(super) fn streams_die(&mut self, edge: usize) {
        let mut lost = Vec::new();
        for (phone, at) in self.phones.iter_mut().enumerate() {
            let streams = at.lines.iter_mut().enumerate().filter(|(_, line)| line.edge == edge);
            for (number, line) in streams.filter(|(_, line)| line.flow.protocol.is_reliable() && line.is_open)
            {
                line.is_open = false;
                lost.push((phone, number, line.flow.connection));
            }
        }
        for (phone, line, connection) in lost {
            self.oracle.unreachable(self.now, phone);
            self.schedule(self.now + Duration::from_millis(50), Event::LineLost { phone, line, connection });
        }
    }

    pub(super) fn line_lost(&mut self, phone: usize, line: usize, connection: u64) {
        let is_it = |line: &Line| line.flow.connection == connection && !line.is_open;
        if self.phones.get(phone).and_then(|phone| phone.lines.get(line)).is_some_and(is_it) {
            self.order(phone, |ua| ua.line_lost(line));
        }
    }

    pub(super) fn line_of(&self, edge: usize, flow: &Flow) -> Option<(usize, usize)> {
        let phone = self.phones.iter().position(|phone| phone.public == flow.remote)?;
        let lines = &self.phones.get(phone)?.lines;
        let same_stream = lines.iter().position(|line| line.flow == *flow);
        let same_edge = || lines.iter().position(|line| line.edge == edge);
        Some((phone, same_stream.or_else(same_edge)?))
    }

    /// A phone outside of the cluster, whom its users call at `host`; it has a line to every edge and registers nowhere.
    pub fn gateway(&mut self, user: &str, host: &str, protocol: Protocol) -> usize {
        let number = self.phone_with(user, super::EP1, protocol, |profile| {
            profile.domain = host.to_owned();
            profile.host = host.to_owned();
        });
        for edge in 1..self.edges.len() {
            self.add_line(number, edge, protocol);
        }
        number
    }

    /// The address of a phone as the world sees it.
    pub fn public_address(&self, phone: usize) -> SocketAddr {
        self.phones.get(phone).expect("the script has made it").public
    }

    /// The stream between an edge and a phone that is seen at an address.
    pub(super) fn stream_to(&self, edge: usize, address: SocketAddr) -> Option<Flow> {
        let phone = self.phones.iter().find(|phone| phone.public == address)?;
        let line = |line: &&Line| line.edge == edge && line.is_open && line.flow.protocol.is_reliable();
        phone.lines.iter().find(line).map(|line| line.flow)
    }

    /// Nobody is at the other end of a flow: what is sent there is lost.
    pub(super) fn is_nowhere(&self, flow: &Flow) -> bool {
        !flow.protocol.is_reliable() && self.phones.iter().all(|phone| phone.public != flow.remote)
    }

    /// A datagram always finds the hole in the NAT; a stream must be open.
    pub(super) fn is_open(&self, flow: &Flow) -> bool {
        let open = || {
            self.phones.iter().flat_map(|phone| &phone.lines).any(|line| line.flow == *flow && line.is_open)
        };
        !flow.protocol.is_reliable() || open()
    }

    pub(super) fn phone_receives(&mut self, phone: usize, line: usize, wire: &Wire, flow: Flow) {
        if !self.is_open(&flow) || self.phones.get(phone).is_none_or(|phone| !phone.ua.is_on) {
            return;
        }
        self.oracle.arrived(self.now, wire);
        self.order(phone, |ua| ua.receive(line, &wire.bytes));
    }

    /// Gives a UA an order and sends what it has to say.
    pub fn order<R>(&mut self, phone: usize, order: impl FnOnce(&mut Ua) -> R) -> R {
        let now = self.now;
        let ua = &mut self.phones.get_mut(phone).expect("the script has made it").ua;
        ua.tick(now);
        let result = order(ua);
        let mut packets = Vec::new();
        while let Some(packet) = ua.poll_packet() {
            packets.push(packet);
        }
        for packet in packets {
            let Some(line) = self.phones.get(phone).and_then(|phone| phone.lines.get(packet.line)) else {
                continue;
            };
            let (edge, flow, is_open) = (line.edge, line.flow, line.is_open);
            if is_open {
                let wire = Wire::new(Node::Ua(phone), Node::Edge(edge), Bytes::from(packet.text));
                self.transmit(&wire, None, flow);
            }
        }
        result
    }

    /// A UA, to be looked at.
    pub fn ua(&self, phone: usize) -> &Ua {
        &self.phones.get(phone).expect("the script has made it").ua
    }

    /// How many phones there are.
    pub fn phones(&self) -> usize {
        self.phones.len()
    }

    /// Registers a phone on its first line and waits for the answer.
    ///
    /// # Panics
    ///
    /// When that is no 200.
    pub fn register(&mut self, phone: usize) {
        let registration = self.register_as(phone, Register::on(0));
        assert_eq!(registration.status, Some(200), "UA{phone} registers");
    }

    /// Registers in whatever way and waits for the answer.
    pub fn register_as(&mut self, phone: usize, wanted: Register) -> Registration {
        let number = self.order(phone, |ua| ua.register(wanted));
        let done = |sim: &Self| sim.ua(phone).registrations.get(number).is_some_and(|it| !it.is_pending());
        self.run_until(Duration::from_secs(40), done);
        self.ua(phone).registrations.get(number).expect("it was just made").clone()
    }

    /// A phone calls a user; nothing is waited for.
    pub fn call(&mut self, phone: usize, callee: &str) -> CallRef {
        self.call_as(phone, &format!("sip:{callee}@{DOMAIN}"), CallOptions::default())
    }

    /// A phone sends an INVITE in whatever way; nothing is waited for.
    pub fn call_as(&mut self, phone: usize, target: &str, options: CallOptions) -> CallRef {
        let number = self.order(phone, |ua| ua.call(0, target, options));
        CallRef { phone, number }
    }

    /// What became of a call.
    pub fn call_of(&self, call: CallRef) -> &Call {
        self.ua(call.phone).calls.get(call.number).expect("the script has placed it")
    }

    /// The responses to a call, 100 and answered challenges left out.
    pub fn statuses(&self, call: CallRef) -> Vec<u16> {
        self.call_of(call).statuses.clone()
    }

    /// Waits until a call has its final, at most that long; gives it.
    pub fn final_of(&mut self, call: CallRef, most: Duration) -> Option<u16> {
        self.run_until(most, |sim| sim.call_of(call).last.is_some());
        self.call_of(call).last
    }

    /// Cancels a call.
    pub fn cancel(&mut self, call: CallRef) {
        self.order(call.phone, |ua| ua.cancel(call.number));
    }

    /// The caller hangs up and waits for the answer; gives it.
    pub fn hang_up(&mut self, call: CallRef) -> Option<u16> {
        let dialog = self.call_of(call).dialog.expect("the call was answered");
        self.hang_up_dialog(call.phone, dialog)
    }

    /// One side of a dialog hangs up and waits for the answer; gives it.
    pub fn hang_up_dialog(&mut self, phone: usize, dialog: usize) -> Option<u16> {
        self.order(phone, |ua| ua.hang_up(dialog));
        let answer = move |sim: &Self| sim.ua(phone).dialogs.get(dialog).and_then(|dialog| dialog.bye);
        self.run_until(Duration::from_secs(40), |sim| answer(sim).is_some());
        answer(self)
    }

    /// Only a seed that is replayed is shown.
    pub fn quiet(&mut self) {
        self.log.set_quiet();
    }
}
