//! The registrar, RFC 3261 §10.3, with Path (RFC 3327), Outbound (RFC 5626), GRUUs (RFC 5627) and those who watch it (RFC 3680).
//!
//! A REGISTER is four pure steps, and between two of them stands whatever stores records:
//!
//! ```text
//! update::read      REGISTER            → Update     what it asks for, checked (§10.3 step 6)
//! apply::changes    Record, Update, now → Change     the record as it would be (§10.3 step 7)
//!   …the caller stores Change::record by compare-and-set on Record::version; on a conflict it starts over…
//! answer::ok        Record, now         → 200        every current binding (§10.3 step 8)
//! select::candidates  Record, now       → Candidate  which bindings a request may be sent to (RFC 5626 §7)
//! ```
//!
//! Those who watch an address-of-record stand in its record, too, so a change and the news of it are stored as one:
//!
//! ```text
//! subscribe::read   SUBSCRIBE           → Subscribe  what it asks for, checked (RFC 6665 §4.2.1)
//! subscribe::apply  Record, Subscribe   → Outcome    the record with the subscription, and the first NOTIFY
//! notify::follow    Record, Record      → News       what a REGISTER has to tell (RFC 3680 §4.7)
//! expire::expire    Record, now         → Expiry     the record without what is over, and what that has to tell
//! change::between   Record, Record      → BindingChange  every step from one to the other, for who follows from outside
//! ```
//!
//! Every step takes all of its input as arguments: no clock, no store, no randomness. A refusal is a
//! [`sip::Reject`], which already is a SIP answer. Authentication and authorisation (§10.3 steps 3 and 4) are not
//! done here: they come between [`update::address_of_record`] with [`update::check_require`] (steps 1, 2 and 5) and
//! [`update::read`].

pub mod answer;
pub mod apply;
mod binding;
pub mod change;
pub mod expire;
pub mod gruu;
pub mod notify;
mod outbound;
mod policy;
pub mod reginfo;
pub mod select;
pub mod subscribe;
mod time;
pub mod update;
pub mod watcher;

pub use binding::{Binding, BindingKey, Record};
pub use policy::{Origin, Policy};
pub use time::UnixTime;
pub use watcher::Watcher;

#[cfg(test)]
mod fixture;
