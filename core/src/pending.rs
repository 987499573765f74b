//! What waits for an answer of the store.

use sip::Request;

use crate::callee::Callee;
use crate::calls::Call;
use crate::due::Saving;
use crate::egress::Leaving;
use crate::in_dialog::{Ack, Broken};
use crate::notify::{Notification, Unsubscribe};
use crate::register::Register;
use crate::subscribe::Subscription;
use crate::why::Asked;

/// The continuation of one question.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A REGISTER.
    Register(Box<Register>),
    /// Any other request for a registered address.
    Call(Box<Call>),
    /// A SUBSCRIBE to the registration state.
    Subscribe(Box<Subscription>),
    /// A NOTIFY whose Route leads nowhere.
    Notify(Box<(Notification, Callee)>),
    /// A subscription that has to go.
    Unsubscribe(Box<Unsubscribe>),
    /// A record without what was over.
    Expire(Box<Saving>),
    /// A request for another domain.
    Leaving(Box<Leaving>),
    /// A CANCEL whose INVITE another core has forwarded.
    Cancel(Box<(Request, Callee)>),
    /// A request inside a dialog whose way was broken.
    Broken(Box<Broken>),
    /// An ACK to a 2xx whose Route leads nowhere.
    Ack(Box<Ack>),
    /// An operator's question.
    Why(Box<Asked>),
}
