//! A dialog as one of its ends keeps it, RFC 3261 §12.

use super::message::Message;

/// State of a dialog, §12.1.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// Its Call-ID.
    pub call_id: String,
    /// From of the own requests.
    pub local: String,
    /// To of the own requests.
    pub remote: String,
    /// The remote target.
    pub target: String,
    /// The route set, the next hop first.
    pub routes: Vec<String>,
    /// Number of the last own request.
    pub number: u32,
}

impl Dialog {
    /// §12.1.2: of who has sent `request` and got `response`.
    pub fn of_caller(request: &Message, response: &Message) -> Self {
        let mut routes = response.list("Record-Route");
        routes.reverse();
        Self {
            call_id: request.get("Call-ID"),
            local: request.get("From"),
            remote: response.get("To"),
            target: response.contact(),
            routes,
            number: request.number(),
        }
    }

    /// §12.1.1: of who has got `request` and sent `response`.
    pub fn of_callee(request: &Message, response: &Message) -> Self {
        Self {
            call_id: request.get("Call-ID"),
            local: response.get("To"),
            remote: request.get("From"),
            target: request.contact(),
            routes: request.list("Record-Route"),
            number: 0,
        }
    }
}
