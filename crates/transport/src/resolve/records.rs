//! The DNS as RFC 3263 needs it: four kinds of records, and three kinds of answers.

use std::net::IpAddr;
use std::sync::Arc;

/// One question to the DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lookup {
    /// The name in lower case, without the final dot; it is absolute all the same.
    pub name: String,
    /// What of it.
    pub kind: Kind,
}

/// A type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// RFC 3403 §4.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// Of [`Kind::Naptr`].
    Naptr(Naptr),
    /// Of [`Kind::Srv`].
    Srv(Srv),
    /// Of [`Kind::A`] and [`Kind::Aaaa`].
    Address(IpAddr),
}

/// Which transport a domain prefers, RFC 3263 §4.1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naptr {
    /// Lower first; records of another order do not count.
    pub order: u16,
    /// Lower first within an order.
    pub preference: u16,
    /// `s`: the replacement is the name of SRV records.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub service: String,
    /// Empty for SIP.
    pub regexp: String,
    /// Where the SRV records are.
    pub replacement: String,
}

/// A server of a service, RFC 2782.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Its share within a priority.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// Its name in lower case, without the final dot; empty when the service is "decidedly not available".
    pub target: String,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// At least one record.
    Found(Arc<[Record]>),
    /// The DNS says that there is none.
    Nothing,
    /// No answer, or one that says nothing (SERVFAIL): not the same as [`Self::Nothing`].
    Failed,
}

impl Answer {
    /// The records; none unless found.
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Found(records) => records,
            Self::Nothing | Self::Failed => &[],
        }
    }
}
