//! The SIP message and its grammar: RFC 3261 §7, §19, §20, §25 and the headers of the RFCs that a cluster needs.
//!
//! A [`Message`] keeps its header *lines* in order and as they were spelled; what nobody touches leaves byte for byte.
//! Typed views ([`Via`], [`Uri`], [`NameAddr`], …) borrow from the message and are read on demand.
//! Nothing here opens a socket, reads a clock or draws a random number.

mod addr;
mod aor;
pub mod digest;
mod error;
pub mod frame;
mod headers;
mod interop;
mod lex;
mod line;
mod message;
mod method;
mod params;
pub mod parse;
mod reject;
mod reply;
mod status;
mod summary;
mod typed;
mod uri;
pub mod via;
mod write;

pub use addr::NameAddr;
pub use aor::Aor;
pub use error::ParseError;
pub use headers::{Headers, Name};
pub use message::{Message, Request, Response};
pub use method::Method;
pub use params::Params;
pub use reject::Reject;
pub use status::StatusCode;
pub use summary::Summary;
pub use typed::{CSeq, Contact, Contacts};
pub use uri::{Host, Scheme, Uri};
pub use via::{Transport, Via};
