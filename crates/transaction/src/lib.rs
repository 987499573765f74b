//! The four transaction machines of RFC 3261 §17 with RFC 6026 (Accepted) and RFC 4320 (non-INVITE answers).
//!
//! # The four figures in words
//!
//! - INVITE client (§17.1.1, figure 5): *Calling* → *Proceeding* → *Accepted* (2xx) or *Completed* (3xx–6xx) → ended.
//!   Repeats the INVITE while Calling on an unreliable peer (Timer A), gives up by Timer B while Calling only,
//!   acknowledges non-2xx finals itself, hands every 2xx up until Timer M.
//! - Non-INVITE client (§17.1.2, figure 6): *Trying* → *Proceeding* → *Completed* → ended. Repeats by Timer E, gives up by
//!   Timer F, hands one final up and swallows its repetitions until Timer K.
//! - INVITE server (§17.2.1, figure 7): *Proceeding* → *Accepted* (2xx) or *Completed* (3xx–6xx) → *Confirmed* (ACK) → ended.
//!   Sends 100 after 200 ms when the transaction user (TU) has sent nothing, repeats a non-2xx final by Timer G until the
//!   ACK or Timer H, absorbs repeated INVITEs; after a 2xx it passes further 2xx down and ACKs up until Timer L.
//! - Non-INVITE server (§17.2.2, figure 8): *Trying* → *Proceeding* → *Completed* → ended. Answers a repeated request with
//!   the last response until Timer J. Never sends 408 and no provisional but a late 100 (RFC 4320 §4).
//!
//! # Contract
//!
//! [`Layer`] is pure: it is fed with messages, orders of its TU and the time, and is drained by
//! [`Layer::poll_output`] after every call. `now` never goes backwards. The same inputs and the same seed of [`Ids`] give
//! the same outputs, byte for byte. Events come in the order in which their causes arrived.
//!
//! Messages enter [`Layer::receive`] as the transport has left them: `received` and `rport` of the top Via are in place
//! (RFC 3261 §18.2.1, RFC 3581 §4), because a 100 is made from that request.
//!
//! Every transaction that the TU has heard of ends with exactly one [`Event::ClientEnded`] or [`Event::ServerEnded`],
//! except those it has dropped itself by [`Layer::abandon`]; [`Event::Timeout`] and [`Event::TransportError`] are
//! followed by it. The transactions of a CANCEL that the layer answers or sends by itself are its own business and give no events.

mod ack;
mod client_invite;
mod client_request;
mod deadline;
mod ids;
mod key;
mod layer;
mod machine;
mod output;
mod server_invite;
mod server_request;
mod table;
mod timers;
mod trying;

pub use deadline::Deadlines;
pub use ids::Ids;
pub use layer::{Counts, Layer};
pub use output::{Event, Output, lane};
pub use timers::Timers;

/// The other end of one hop as the layer sees it: where to send, and whether the way there loses messages.
pub trait Peer: Copy + Eq + std::hash::Hash + std::fmt::Debug {
    /// False for UDP: only there anything is repeated (RFC 3261 §17).
    fn is_reliable(&self) -> bool;
}

/// Names a server transaction; never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ServerId(u64);

/// Names a client transaction; never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ClientId(u64);
