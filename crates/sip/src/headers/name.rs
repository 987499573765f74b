//! Header field names, RFC 3261 §7.3.1 and §7.3.3.

/// The header fields that the cluster knows by name (compact forms included); every other one is [`Name::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the registered names")]
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Contact,
    Route,
    RecordRoute,
    Path,
    ServiceRoute,
    ContentLength,
    ContentType,
    Expires,
    MinExpires,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Allow,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    RetryAfter,
    Date,
    Event,
    SubscriptionState,
    FlowTimer,
    MaxBreadth,
    PAssertedIdentity,
    PPreferredIdentity,
    Privacy,
    Warning,
    Server,
    UserAgent,
    Reason,
    Accept,
    AllowEvents,
    /// None of these.
    Other,
}

impl Name {
    /// Reads a name as spelled in a message: case does not matter, compact forms are known.
    pub fn of(spelling: &[u8]) -> Self {
        let Some(first) = spelling.first() else { return Self::Other };
        let first = first.to_ascii_lowercase();
        if spelling.len() == 1 {
            return Self::of_compact(first);
        }
        // Length and first letter leave at most two candidates.
        let candidates: &[Self] = match (spelling.len(), first) {
            (2, b't') => &[Self::To],
            (3, b'v') => &[Self::Via],
            (4, b'f') => &[Self::From],
            (4, b'c') => &[Self::CSeq],
            (4, b'p') => &[Self::Path],
            (4, b'd') => &[Self::Date],
            (5, b'r') => &[Self::Route],
            (5, b'a') => &[Self::Allow],
            (5, b'e') => &[Self::Event],
            (6, b'r') => &[Self::Reason],
            (6, b's') => &[Self::Server],
            (6, b'a') => &[Self::Accept],
            (7, b'c') => &[Self::CallId, Self::Contact],
            (7, b'e') => &[Self::Expires],
            (7, b'r') => &[Self::Require],
            (7, b'p') => &[Self::Privacy],
            (7, b'w') => &[Self::Warning],
            (9, b's') => &[Self::Supported],
            (10, b'u') => &[Self::UserAgent],
            (10, b'f') => &[Self::FlowTimer],
            (11, b'm') => &[Self::MinExpires, Self::MaxBreadth],
            (11, b'u') => &[Self::Unsupported],
            (11, b'r') => &[Self::RetryAfter],
            (12, b'a') => &[Self::AllowEvents],
            (12, b'm') => &[Self::MaxForwards],
            (12, b'r') => &[Self::RecordRoute],
            (12, b'c') => &[Self::ContentType],
            (13, b's') => &[Self::ServiceRoute],
            (13, b'a') => &[Self::Authorization],
            (13, b'p') => &[Self::ProxyRequire],
            (14, b'c') => &[Self::ContentLength],
            (16, b'w') => &[Self::WwwAuthenticate],
            (18, b's') => &[Self::SubscriptionState],
            (18, b'p') => &[Self::ProxyAuthenticate],
            (19, b'p') => &[Self::ProxyAuthorization, Self::PAssertedIdentity],
            (20, b'p') => &[Self::PPreferredIdentity],
            _ => &[],
        };
        let same = |name: &&Self| spelling.eq_ignore_ascii_case(name.as_str().as_bytes());
        candidates.iter().find(same).copied().unwrap_or(Self::Other)
    }

    /// The name in full, as it is spelled when a line is added; empty for [`Name::Other`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::MaxForwards => "Max-Forwards",
            Self::Contact => "Contact",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Path => "Path",
            Self::ServiceRoute => "Service-Route",
            Self::ContentLength => "Content-Length",
            Self::ContentType => "Content-Type",
            Self::Expires => "Expires",
            Self::MinExpires => "Min-Expires",
            Self::Require => "Require",
            Self::ProxyRequire => "Proxy-Require",
            Self::Supported => "Supported",
            Self::Unsupported => "Unsupported",
            Self::Allow => "Allow",
            Self::Authorization => "Authorization",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::RetryAfter => "Retry-After",
            Self::Date => "Date",
            Self::Event => "Event",
            Self::SubscriptionState => "Subscription-State",
            Self::FlowTimer => "Flow-Timer",
            Self::MaxBreadth => "Max-Breadth",
            Self::PAssertedIdentity => "P-Asserted-Identity",
            Self::PPreferredIdentity => "P-Preferred-Identity",
            Self::Privacy => "Privacy",
            Self::Warning => "Warning",
            Self::Server => "Server",
            Self::UserAgent => "User-Agent",
            Self::Reason => "Reason",
            Self::Accept => "Accept",
            Self::AllowEvents => "Allow-Events",
            Self::Other => "",
        }
    }

    /// The header's value is a comma-separated list (RFC 3261 §7.3.1, §25.1).
    pub(crate) const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Via
                | Self::Contact
                | Self::Route
                | Self::RecordRoute
                | Self::Path
                | Self::ServiceRoute
                | Self::Require
                | Self::ProxyRequire
                | Self::Supported
                | Self::Unsupported
                | Self::Allow
                | Self::PAssertedIdentity
                | Self::PPreferredIdentity
                | Self::Warning
                | Self::Reason
                | Self::Accept
                | Self::AllowEvents
        )
    }

    fn of_compact(letter: u8) -> Self {
        match letter {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'i' => Self::CallId,
            b'm' => Self::Contact,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'k' => Self::Supported,
            b'o' => Self::Event,
            b'u' => Self::AllowEvents,
            _ => Self::Other,
        }
    }
}

/// True when a spelled name without a [`Name`] is `wanted`, given in full; RFC 3261 §7.3.3 and successors for the
/// compact forms.
pub(super) fn same(spelling: &[u8], wanted: &str) -> bool {
    let full: &[u8] = match spelling {
        [letter] => match letter.to_ascii_lowercase() {
            b'a' => b"Accept-Contact",
            b'b' => b"Referred-By",
            b'd' => b"Request-Disposition",
            b'e' => b"Content-Encoding",
            b'j' => b"Reject-Contact",
            b'n' => b"Identity-Info",
            b'r' => b"Refer-To",
            b's' => b"Subject",
            b'x' => b"Session-Expires",
            b'y' => b"Identity",
            _ => spelling,
        },
        _ => spelling,
    };
    full.eq_ignore_ascii_case(wanted.as_bytes()) || spelling.eq_ignore_ascii_case(wanted.as_bytes())
}
