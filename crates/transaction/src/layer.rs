//! The transaction layer: matches messages to machines (RFC 3261 §17.1.3, §17.2.3, §9.2), carries out the TU's orders
//! and keeps the deadlines.

mod given_up;
mod known;

use std::time::Instant;

use ahash::RandomState;
use bytes::Bytes;
use sip::{Message, Method, Request, Response, StatusCode};

use crate::client_invite::ClientInvite;
use crate::client_request::ClientRequest;
use crate::deadline::{Heap, Slot};
use crate::machine::{Client, Server};
use crate::output::{Event, Hop, Outbox, Output, lane};
use crate::server_invite::{Ack, ServerInvite};
use crate::server_request::ServerRequest;
use crate::table::Table;
use crate::{ClientId, Ids, Peer, ServerId, Timers, ack, key};

/// All transactions of one shard. See the crate's head for the contract.
#[derive(Debug)]
pub struct Layer<P: Peer> {
    timers: Timers,
    ids: Ids,
    clients: Table<Client<P>>,
    servers: Table<Server<P>>,
    deadlines: Heap<Slot>,
    out: Outbox<P>,
    /// The number of the next transaction, of either side.
    next: u64,
    counts: Counts,
    /// Keys are made here.
    key: Vec<u8>,
}

/// How many transactions there are, and what was held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// INVITE client transactions alive.
    pub client_invite: usize,
    /// Non-INVITE client transactions alive.
    pub client_request: usize,
    /// INVITE server transactions alive.
    pub server_invite: usize,
    /// Non-INVITE server transactions alive.
    pub server_request: usize,
    /// Responses of the TU, since the start, that were not sent: forbidden by RFC 4320 (408 to a non-INVITE request, early
    /// or informative provisional ones), a second final, or the transaction had ended.
    pub withheld: u64,
}

impl Counts {
    /// Transactions alive.
    #[must_use]
    pub fn total(&self) -> usize {
        self.client_invite + self.client_request + self.server_invite + self.server_request
    }
}

impl<P: Peer> Layer<P> {
    /// An empty layer.
    #[must_use]
    pub fn new(timers: Timers, mut ids: Ids) -> Self {
        let hasher = RandomState::with_seeds(ids.u64(), ids.u64(), ids.u64(), ids.u64());
        Self {
            timers,
            ids,
            clients: Table::new(&hasher),
            servers: Table::new(&hasher),
            deadlines: Heap::new(),
            out: Outbox::new(),
            next: 0,
            counts: Counts::default(),
            key: Vec::new(),
        }
    }

    /// The source of branches and tags.
    pub fn ids(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// A message that came over the hop `from`.
    pub fn receive(&mut self, message: Message, from: P, now: Instant) {
        match message {
            Message::Request(request) if request.method == Method::Ack => {
                self.receive_ack(request, from, now);
            }
            Message::Request(request) => self.receive_request(request, from, now),
            Message::Response(response) => self.receive_response(response, from, now),
        }
    }

    /// Sends a request over the hop `to` in a new transaction. Its top Via carries our sent-by and a fresh branch.
    ///
    /// An ACK has no transaction (§17.1): use [`Self::send`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is sent is the layer's: the TU changes it no more"
    )]
    pub fn request(&mut self, request: Request, to: P, now: Instant) -> ClientId {
        debug_assert!(request.method != Method::Ack, "§17.1: there is no client transaction for ACK");
        let id = ClientId(self.fresh());
        let hop = Hop { peer: to, lane: lane(request.call_id()) };
        key::of_request(&request, &mut self.key);
        let machine = if request.method == Method::Invite {
            self.counts.client_invite += 1;
            Client::Invite(ClientInvite::start(id, hop, &request, &self.timers, now, &mut self.out))
        } else {
            self.counts.client_request += 1;
            Client::Request(ClientRequest::start(id, hop, &request, &self.timers, now, &mut self.out))
        };
        self.clients.insert(id.0, &self.key, machine);
        self.settle_client(id.0);
        id
    }

    /// Sends a message that has no transaction: the ACK for a 2xx (§13.2.2.4), a stateless answer (§16.11).
    pub fn send(&mut self, bytes: Bytes, to: P, lane: u64) {
        self.out.send(Hop { peer: to, lane }, bytes);
    }

    /// Answers a request. Ignored when the transaction has ended (RFC 6026 §8.3) or may not send it ([`Counts::withheld`]).
    ///
    /// A 408 to a non-INVITE request is not sent but ends the TU's part all the same (RFC 4320 §4.2).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is sent is the layer's: the TU changes it no more"
    )]
    pub fn respond(&mut self, id: ServerId, response: Response, now: Instant) {
        let is_sent = match self.servers.get_mut(id.0).map(|entry| (&mut entry.machine, &entry.key)) {
            None => false,
            Some((Server::Request(server), _)) => server.respond(&response, &self.timers, now, &mut self.out),
            Some((Server::Invite(server), key)) => {
                let is_sent = server.respond(&response, &self.timers, now, &mut self.out);
                // §17.2.3: the ACK of an RFC 2543 client is known by the To tag of the response.
                let tag = response.to_tag().filter(|_| is_sent && response.status.code() >= 300);
                if let Some(alias) = tag.and_then(|tag| key::legacy_ack(key, tag)) {
                    self.servers.alias(id.0, &alias);
                }
                is_sent
            }
        };
        self.counts.withheld += u64::from(!is_sent);
        self.settle_server(id.0);
    }

    /// Cancels an INVITE (§9.1): at once when a provisional response has come, else when the first one comes; not at all
    /// after a final. When no final follows within 64·T1 of the CANCEL, the transaction ends with [`Event::Timeout`].
    pub fn cancel(&mut self, id: ClientId, now: Instant) {
        self.cancel_because(id, None, now);
    }

    /// As [`Self::cancel`], with the values of a Reason header (RFC 3326), e.g. `SIP;cause=200;text="Call completed elsewhere"`.
    pub fn cancel_because(&mut self, id: ClientId, reason: Option<Bytes>, now: Instant) {
        let Some(entry) = self.clients.get_mut(id.0) else { return };
        let Client::Invite(invite) = &mut entry.machine else { return };
        let hop = invite.hop;
        let cancel = invite.cancel(reason, &self.timers, now);
        self.settle_client(id.0);
        if let Some(cancel) = cancel {
            self.send_cancel(&cancel, hop, now);
        }
    }

    /// Drops a client transaction without an event: nobody waits for it any more.
    pub fn abandon(&mut self, id: ClientId) {
        self.remove_client(id.0);
    }

    /// The hop has failed. Its client transactions without a final end with [`Event::TransportError`] (§17.1.4); server
    /// transactions keep their state but stop retransmitting over it (RFC 6026 §7.1). Looks at every transaction.
    pub fn transport_error(&mut self, peer: P, now: Instant) {
        // What has timed out before its hop failed has timed out.
        self.handle_timeout(now);
        for id in self.clients.select(|client| client.hop().peer == peer && client.is_in_flight()) {
            self.fail_client(id);
        }
        for id in self.servers.select(|server| server.hop().peer == peer) {
            if let Some(Server::Invite(server)) = self.servers.get_mut(id).map(|entry| &mut entry.machine) {
                server.on_transport_error();
            }
            self.settle_server(id);
        }
    }

    /// This message of ours could not be sent, though its hop may be sound (a full queue): its client transaction ends
    /// with [`Event::TransportError`]. A response is lost as on any network; its transaction goes on (RFC 6026 §7.1).
    pub fn not_sent(&mut self, bytes: &Bytes, now: Instant) {
        self.handle_timeout(now);
        let Some(Message::Request(request)) = ack::reread(bytes) else { return };
        key::of_request(&request, &mut self.key);
        if let Some(id) = self.clients.find(&self.key) {
            self.fail_client(id);
        }
    }

    /// The client transactions of the TU over this hop that have no final yet, oldest first. Looks at every transaction.
    #[must_use]
    pub fn clients_of(&self, peer: P) -> Vec<ClientId> {
        let wanted =
            |client: &Client<P>| client.hop().peer == peer && client.is_in_flight() && !client.is_quiet();
        self.clients.select(wanted).into_iter().map(ClientId).collect()
    }

    /// Responses leave over another hop from now on.
    pub fn redirect_server(&mut self, id: ServerId, to: P) {
        if let Some(entry) = self.servers.get_mut(id.0) {
            entry.machine.hop_mut().peer = to;
        }
    }

    /// Responses that would leave over the failed hop `from` leave over another one, chosen by lane. A final of an INVITE
    /// that has no ACK may be lost with the hop, and on a reliable one nobody else would repeat it: it is sent again.
    pub fn redirect_servers(&mut self, from: P, mut to: impl FnMut(u64) -> Option<P>) {
        for id in self.servers.select(|server| server.hop().peer == from) {
            let Some(machine) = self.servers.get_mut(id).map(|entry| &mut entry.machine) else { continue };
            let Some(peer) = to(machine.hop().lane) else { continue };
            machine.hop_mut().peer = peer;
            if let Server::Invite(invite) = machine {
                invite.repeat_final(&mut self.out);
            }
        }
    }

    /// What follows the request (its repetition, CANCEL, ACK) leaves over another hop from now on.
    pub fn redirect_client(&mut self, id: ClientId, to: P) {
        if let Some(entry) = self.clients.get_mut(id.0) {
            entry.machine.hop_mut().peer = to;
        }
    }

    /// Sends the CANCEL of an INVITE again that has gone out and had no effect yet: it may be lost with the hop that the
    /// INVITE had before [`Self::redirect_client`].
    pub fn repeat_cancel(&mut self, id: ClientId, now: Instant) {
        let Some(Client::Invite(invite)) = self.clients.get(id.0).map(|entry| &entry.machine) else { return };
        let hop = invite.hop;
        if let Some(cancel) = invite.cancel_sent() {
            self.send_cancel(&cancel, hop, now);
        }
    }

    /// The hop that responses of this transaction take; None when it has ended.
    #[must_use]
    pub fn peer_of(&self, id: ServerId) -> Option<P> {
        self.servers.get(id.0).map(|entry| entry.machine.hop().peer)
    }

    /// The hop of a client transaction; None when it has ended.
    #[must_use]
    pub fn client_peer(&self, id: ClientId) -> Option<P> {
        self.clients.get(id.0).map(|entry| entry.machine.hop().peer)
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, slot)) = self.deadlines.pop(now) {
            match slot {
                Slot::Client(id) => self.on_client_deadline(id, at, now),
                Slot::Server(id) => self.on_server_deadline(id, at, now),
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called: not later than the first timer, sometimes earlier.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.out.pop()
    }

    /// How many transactions there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn receive_ack(&mut self, request: Request, from: P, now: Instant) {
        key::ack(&request, &mut self.key);
        let found = self.servers.find(&self.key);
        let machine = found.and_then(|id| self.servers.get_mut(id)).map(|entry| &mut entry.machine);
        let fate = match machine {
            Some(Server::Invite(server)) => server.on_ack(&self.timers, now),
            Some(Server::Request(_)) | None => Ack::Passed,
        };
        if fate == Ack::Passed {
            self.out.event(Event::Ack { request, from });
        }
        if let Some(id) = found {
            self.settle_server(id);
        }
    }

    fn receive_request(&mut self, request: Request, from: P, now: Instant) {
        key::server(&request, &request.method, &mut self.key);
        if let Some(id) = self.servers.find(&self.key) {
            if let Some(entry) = self.servers.get_mut(id) {
                // Nobody repeats a request on a reliable hop, unless that was lost and this is another one.
                if from.is_reliable() && entry.machine.hop().is_reliable() {
                    entry.machine.hop_mut().peer = from;
                }
                entry.machine.on_request(now, &mut self.out);
            }
            return self.settle_server(id);
        }
        let hop = Hop { peer: from, lane: lane(request.call_id()) };
        if request.method == Method::Cancel
            && let Some(cancelled) = self.find_cancelled(&request)
        {
            return self.receive_cancel(&request, cancelled, hop, now);
        }
        let machine = if request.method == Method::Invite {
            Server::Invite(ServerInvite::start(hop, &request, now))
        } else {
            Server::Request(ServerRequest::start(hop, &request, &self.timers, now))
        };
        let id = self.insert_server(machine);
        self.out.event(Event::Request { id: ServerId(id), request, from });
    }

    /// §9.2, §16.10: a CANCEL that matches is answered with 200 whatever becomes of it; only an INVITE without a final is cancelled.
    fn receive_cancel(&mut self, request: &Request, cancelled: u64, hop: Hop<P>, now: Instant) {
        let invite = match self.servers.get(cancelled).map(|entry| &entry.machine) {
            Some(Server::Invite(invite)) => Some(invite),
            Some(Server::Request(_)) | None => None,
        };
        // §9.2: the To tag should be that of the answers to the INVITE.
        let tag = invite.and_then(ServerInvite::last).and_then(to_tag).unwrap_or_else(|| self.ids.tag());
        let is_effective = invite.is_some_and(ServerInvite::is_proceeding);
        let ok = Response::to(request, StatusCode::OK, Some(&tag));
        let answered = ServerRequest::answered(hop, &ok, &self.timers, now, &mut self.out);
        self.insert_server(Server::Request(answered));
        if is_effective {
            let reason = ack::reason(&request.headers);
            self.out.event(Event::Cancel { invite: ServerId(cancelled), reason });
        }
    }

    /// §9.2: matched as if its method were that of the transaction. Leaves the CANCEL's own key behind.
    fn find_cancelled(&mut self, cancel: &Request) -> Option<u64> {
        const METHODS: [Method; 12] = [
            Method::Invite,
            Method::Register,
            Method::Options,
            Method::Bye,
            Method::Message,
            Method::Subscribe,
            Method::Notify,
            Method::Publish,
            Method::Refer,
            Method::Info,
            Method::Update,
            Method::Prack,
        ];
        let found = METHODS.iter().find_map(|method| {
            key::server(cancel, method, &mut self.key);
            self.servers.find(&self.key)
        });
        key::server(cancel, &cancel.method, &mut self.key);
        found
    }

    /// §18.1.2; RFC 6026 §6, §7.3: what matches no transaction is told as such, and as nothing else.
    fn receive_response(&mut self, response: Response, from: P, now: Instant) {
        let found =
            key::of_response(&response, &mut self.key).then(|| self.clients.find(&self.key)).flatten();
        let Some((id, entry)) = found.and_then(|id| Some((id, self.clients.get_mut(id)?))) else {
            return self.out.event(Event::StrayResponse { response, from });
        };
        let hop = *entry.machine.hop();
        let cancel = entry.machine.on_response(response, &self.timers, now, &mut self.out);
        self.settle_client(id);
        if let Some(cancel) = cancel {
            self.send_cancel(&cancel, hop, now);
        }
    }

    /// §9.1: in a transaction of its own, over the hop of the INVITE.
    fn send_cancel(&mut self, cancel: &Request, hop: Hop<P>, now: Instant) {
        let id = self.fresh();
        key::of_request(cancel, &mut self.key);
        let mut machine = ClientRequest::start(ClientId(id), hop, cancel, &self.timers, now, &mut self.out);
        machine.is_quiet = true;
        self.counts.client_request += 1;
        self.clients.insert(id, &self.key, Client::Request(machine));
        self.settle_client(id);
    }

    fn on_client_deadline(&mut self, id: u64, at: Instant, now: Instant) {
        let Some(entry) = self.clients.get_mut(id).filter(|entry| entry.armed == Some(at)) else { return };
        entry.armed = None;
        entry.machine.on_timeout(&self.timers, now, &mut self.out);
        self.settle_client(id);
    }

    fn on_server_deadline(&mut self, id: u64, at: Instant, now: Instant) {
        let Some(entry) = self.servers.get_mut(id).filter(|entry| entry.armed == Some(at)) else { return };
        entry.armed = None;
        entry.machine.on_timeout(&self.timers, now, &mut self.out);
        self.settle_server(id);
    }

    fn fail_client(&mut self, id: u64) {
        if let Some(entry) = self.clients.get_mut(id) {
            entry.machine.on_transport_error(&mut self.out);
        }
        self.settle_client(id);
    }

    /// After each touch: ends the transaction or renews its deadline.
    fn settle_client(&mut self, id: u64) {
        let Some(entry) = self.clients.get_mut(id) else { return };
        if entry.machine.is_terminated() {
            let is_quiet = entry.machine.is_quiet();
            self.remove_client(id);
            if !is_quiet {
                self.out.event(Event::ClientEnded { id: ClientId(id) });
            }
        } else if let Some(at) = entry.machine.next_timeout() {
            self.deadlines.arm(Slot::Client(id), at, &mut entry.armed);
        }
    }

    /// As [`Self::settle_client`].
    fn settle_server(&mut self, id: u64) {
        let Some(entry) = self.servers.get_mut(id) else { return };
        if entry.machine.is_terminated() {
            let is_quiet = entry.machine.is_quiet();
            match self.servers.remove(id) {
                Some(Server::Invite(_)) => self.counts.server_invite -= 1,
                Some(Server::Request(_)) => self.counts.server_request -= 1,
                None => {}
            }
            self.sweep();
            if !is_quiet {
                self.out.event(Event::ServerEnded { id: ServerId(id) });
            }
        } else if let Some(at) = entry.machine.next_timeout() {
            self.deadlines.arm(Slot::Server(id), at, &mut entry.armed);
        }
    }

    /// Files a server transaction under the key just made.
    fn insert_server(&mut self, machine: Server<P>) -> u64 {
        let id = self.fresh();
        match &machine {
            Server::Invite(_) => self.counts.server_invite += 1,
            Server::Request(_) => self.counts.server_request += 1,
        }
        self.servers.insert(id, &self.key, machine);
        self.settle_server(id);
        id
    }

    fn remove_client(&mut self, id: u64) {
        match self.clients.remove(id) {
            Some(Client::Invite(_)) => self.counts.client_invite -= 1,
            Some(Client::Request(_)) => self.counts.client_request -= 1,
            None => return,
        }
        self.sweep();
    }

    /// No deadline outlives the transactions for long.
    fn sweep(&mut self) {
        let (clients, servers) = (&self.clients, &self.servers);
        self.deadlines.sweep(clients.len() + servers.len(), |at, slot| match slot {
            Slot::Client(id) => clients.get(id).is_some_and(|entry| entry.armed == Some(at)),
            Slot::Server(id) => servers.get(id).is_some_and(|entry| entry.armed == Some(at)),
        });
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The To tag of a response that has been sent.
fn to_tag(response: &Bytes) -> Option<String> {
    match ack::reread(response)? {
        Message::Response(response) => response.to_tag().map(str::to_owned),
        Message::Request(_) => None,
    }
}
