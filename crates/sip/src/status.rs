//! Status codes, RFC 3261 §21 and successors.

use std::fmt;

/// A status code, 100..=699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(u16);

impl StatusCode {
    /// 100 Trying
    pub const TRYING: Self = Self(100);
    /// 180 Ringing
    pub const RINGING: Self = Self(180);
    /// 200 OK
    pub const OK: Self = Self(200);
    /// 400 Bad Request
    pub const BAD_REQUEST: Self = Self(400);
    /// 413 Request Entity Too Large
    pub const ENTITY_TOO_LARGE: Self = Self(413);
    /// 414 Request-URI Too Long
    pub const URI_TOO_LONG: Self = Self(414);
    /// 505 Version Not Supported
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);

    /// A code that is known to be one when the program is written; panics outside 100..=699.
    pub const fn new(code: u16) -> Self {
        assert!(code >= 100 && code <= 699, "status codes are 100 to 699");
        Self(code)
    }

    /// A code that a peer sent; `None` outside 100..=699.
    pub fn from_wire(code: u16) -> Option<Self> {
        (100..=699).contains(&code).then_some(Self(code))
    }

    /// The three digits.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The first digit.
    pub const fn class(self) -> u16 {
        self.0 / 100
    }

    /// 1xx
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx to 6xx
    pub fn is_final(self) -> bool {
        self.0 >= 200
    }

    /// 2xx
    pub fn is_success(self) -> bool {
        self.class() == 2
    }

    /// The registered phrase, or the class's.
    pub fn reason(self) -> &'static str {
        REASONS
            .binary_search_by_key(&self.0, |&(code, _)| code)
            .ok()
            .and_then(|at| REASONS.get(at))
            .map_or_else(|| self.class_reason(), |&(_, reason)| reason)
    }

    /// RFC 3261 §8.1.3.2: an unknown code is read as the x00 of its class.
    fn class_reason(self) -> &'static str {
        match self.class() {
            1 => "Session Progress",
            2 => "OK",
            3 => "Multiple Choices",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Busy Everywhere",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The IANA registry "SIP response codes", in order.
const REASONS: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (199, "Early Dialog Terminated"),
    (200, "OK"),
    (202, "Accepted"),
    (204, "No Notification"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Moved Temporarily"),
    (305, "Use Proxy"),
    (380, "Alternative Service"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (410, "Gone"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (417, "Unknown Resource-Priority"),
    (420, "Bad Extension"),
    (421, "Extension Required"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (424, "Bad Location Information"),
    (425, "Bad Alert Message"),
    (428, "Use Identity Header"),
    (429, "Provide Referrer Identity"),
    (430, "Flow Failed"),
    (433, "Anonymity Disallowed"),
    (436, "Bad Identity Info"),
    (437, "Unsupported Credential"),
    (438, "Invalid Identity Header"),
    (439, "First Hop Lacks Outbound Support"),
    (440, "Max-Breadth Exceeded"),
    (469, "Bad Info Package"),
    (470, "Consent Needed"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (485, "Ambiguous"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (493, "Undecipherable"),
    (494, "Security Agreement Required"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (555, "Push Notification Service Not Supported"),
    (580, "Precondition Failure"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
    (607, "Unwanted"),
    (608, "Rejected"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(REASONS.is_sorted_by_key(|&(code, _)| code));
    }

    #[test]
    fn phrases() {
        assert_eq!(StatusCode::new(430).reason(), "Flow Failed");
        assert_eq!(StatusCode::new(404).reason(), "Not Found");
        assert_eq!(StatusCode::new(499).reason(), "Bad Request");
    }

    #[test]
    fn only_100_to_699_comes_from_the_wire() {
        assert_eq!(StatusCode::from_wire(99), None);
        assert_eq!(StatusCode::from_wire(700), None);
        assert_eq!(StatusCode::from_wire(100), Some(StatusCode::TRYING));
        assert_eq!(StatusCode::from_wire(699).map(StatusCode::class), Some(6));
    }
}
