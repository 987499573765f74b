//! What waits for an answer of the store.

use sip::Request;

use crate::calls::Call;
use crate::register::Register;

/// The continuation of one question.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A REGISTER.
    Register(Box<Register>),
    /// Any other request for a registered address.
    Call(Box<Call>),
    /// A CANCEL whose INVITE another core has forwarded.
    Cancel(Box<Request>),
}
