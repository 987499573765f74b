//! The registrar, RFC 3261 §10.3, with Path (RFC 3327), Outbound (RFC 5626) and GRUUs (RFC 5627).
//!
//! A REGISTER is four pure steps, and between two of them stands whatever stores records:
//!
//! ```text
//! update::read      REGISTER            → Update     what it asks for, checked (§10.3 steps 2, 5, 6)
//! apply::changes    Record, Update, now → Change     the record as it would be (§10.3 step 7)
//!   …the caller stores Change::record by compare-and-set on Record::version; on a conflict it starts over…
//! answer::ok        Record, now         → 200        every current binding (§10.3 step 8)
//! select::candidates  Record, now       → Candidate  which bindings a request may be sent to (RFC 5626 §7)
//! ```
//!
//! Every step takes all of its input as arguments: no clock, no store, no randomness. A refusal is a
//! [`sip::Reject`], which already is a SIP answer. Authentication and authorisation (§10.3 steps 3 and 4) are not
//! done here: they come between [`update::address_of_record`] and [`apply::changes`].

pub mod answer;
pub mod apply;
mod binding;
pub mod gruu;
mod outbound;
mod policy;
pub mod select;
mod time;
pub mod update;
pub mod watcher;

pub use binding::{Binding, BindingKey, Record};
pub use policy::{Origin, Policy};
pub use time::UnixTime;
pub use watcher::Watcher;

#[cfg(test)]
mod fixture;
