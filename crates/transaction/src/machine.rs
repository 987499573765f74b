//! The two machines of either side behind one name.

use std::time::Instant;

use sip::{Request, Response};

use crate::client_invite::ClientInvite;
use crate::client_request::ClientRequest;
use crate::output::{Hop, Outbox};
use crate::server_invite::ServerInvite;
use crate::server_request::ServerRequest;
use crate::{Peer, Timers};

/// A client transaction.
#[derive(Debug)]
pub(crate) enum Client<P> {
    Invite(ClientInvite<P>),
    Request(ClientRequest<P>),
}

/// A server transaction.
#[derive(Debug)]
pub(crate) enum Server<P> {
    Invite(ServerInvite<P>),
    Request(ServerRequest<P>),
}

impl<P: Peer> Client<P> {
    /// Gives the CANCEL that may go out now, if one has waited for this response.
    pub(crate) fn on_response(
        &mut self,
        response: Response,
        timers: &Timers,
        now: Instant,
        out: &mut Outbox<P>,
    ) -> Option<Request> {
        match self {
            Self::Invite(client) => client.on_response(response, timers, now, out),
            Self::Request(client) => {
                client.on_response(response, timers, now, out);
                None
            }
        }
    }

    pub(crate) fn on_timeout(&mut self, timers: &Timers, now: Instant, out: &mut Outbox<P>) {
        match self {
            Self::Invite(client) => client.on_timeout(timers, now, out),
            Self::Request(client) => client.on_timeout(timers, now, out),
        }
    }

    pub(crate) fn on_transport_error(&mut self, out: &mut Outbox<P>) {
        match self {
            Self::Invite(client) => client.on_transport_error(out),
            Self::Request(client) => client.on_transport_error(out),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite(client) => client.next_timeout(),
            Self::Request(client) => client.next_timeout(),
        }
    }

    pub(crate) fn hop(&self) -> &Hop<P> {
        match self {
            Self::Invite(client) => &client.hop,
            Self::Request(client) => &client.hop,
        }
    }

    pub(crate) fn hop_mut(&mut self) -> &mut Hop<P> {
        match self {
            Self::Invite(client) => &mut client.hop,
            Self::Request(client) => &mut client.hop,
        }
    }

    /// No final yet.
    pub(crate) fn is_in_flight(&self) -> bool {
        match self {
            Self::Invite(client) => client.is_in_flight(),
            Self::Request(client) => client.is_in_flight(),
        }
    }

    /// No response at all yet.
    pub(crate) fn is_unheard(&self) -> bool {
        self.is_in_flight() && !self.is_proceeding()
    }

    /// A provisional response and no final yet.
    pub(crate) fn is_proceeding(&self) -> bool {
        match self {
            Self::Invite(client) => client.is_proceeding(),
            Self::Request(client) => client.is_proceeding(),
        }
    }

    /// The TU does not know of it.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Invite(_) => false,
            Self::Request(client) => client.is_quiet,
        }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(client) => client.is_terminated(),
            Self::Request(client) => client.is_terminated(),
        }
    }
}

impl<P: Peer> Server<P> {
    /// The same request again.
    pub(crate) fn on_request(&mut self, now: Instant, out: &mut Outbox<P>) {
        match self {
            Self::Invite(server) => server.on_request(now, out),
            Self::Request(server) => server.on_request(out),
        }
    }

    pub(crate) fn on_timeout(&mut self, timers: &Timers, now: Instant, out: &mut Outbox<P>) {
        match self {
            Self::Invite(server) => server.on_timeout(timers, now, out),
            Self::Request(server) => server.on_timeout(now, out),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite(server) => server.next_timeout(),
            Self::Request(server) => server.next_timeout(),
        }
    }

    pub(crate) fn hop(&self) -> &Hop<P> {
        match self {
            Self::Invite(server) => &server.hop,
            Self::Request(server) => &server.hop,
        }
    }

    pub(crate) fn hop_mut(&mut self) -> &mut Hop<P> {
        match self {
            Self::Invite(server) => &mut server.hop,
            Self::Request(server) => &mut server.hop,
        }
    }

    /// The TU does not know of it.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Invite(_) => false,
            Self::Request(server) => server.is_quiet,
        }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(server) => server.is_terminated(),
            Self::Request(server) => server.is_terminated(),
        }
    }
}
