//! What waits for an answer of the store.

use sip::Request;

use crate::callee::Callee;
use crate::calls::Call;
use crate::in_dialog::{Ack, Broken};
use crate::register::Register;

/// The continuation of one question.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A REGISTER.
    Register(Box<Register>),
    /// Any other request for a registered address.
    Call(Box<Call>),
    /// A CANCEL whose INVITE another core has forwarded.
    Cancel(Box<(Request, Callee)>),
    /// A request inside a dialog whose way was broken.
    Broken(Box<Broken>),
    /// An ACK to a 2xx whose Route leads nowhere.
    Ack(Box<Ack>),
}
