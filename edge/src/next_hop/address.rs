//! What stands behind an edge, as an operator writes it: cores, or registrars of others as SIP URIs.

use std::fmt;
use std::str::FromStr;

use sip::Uri;
use transport::resolve::{Place, Question};

/// One element of `EDGE_CORES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreAddress {
    /// A core, as the link dials it: `host:port`.
    Core(String),
    /// A registrar that speaks SIP.
    NextHop(NextHop),
}

/// A SIP URI that says where a registrar is and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    text: String,
    question: Question,
}

impl NextHop {
    /// What is asked of the DNS for it.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// True when all its addresses are alike: it is an address, or a name with a port, for which there are no SRV records
    /// that would put one before the other (RFC 3263 §4.2).
    pub fn is_level(&self) -> bool {
        self.question.port.is_some() || matches!(self.question.place, Place::Address(_))
    }
}

impl FromStr for CoreAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["sip:", "sips:"].iter().any(|scheme| text.starts_with(scheme)) {
            return text.parse().map(Self::NextHop);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        if crate::config::is_host_port(text) && !host.is_empty() && port.parse::<u16>().is_ok() {
            return Ok(Self::Core(text.to_owned()));
        }
        Err(format!("`{text}` is neither host:port nor sip:host:port"))
    }
}

impl FromStr for NextHop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| format!("`{text}`: {why}");
        let uri = Uri::parse(text.as_bytes()).map_err(|_| wrong("no SIP URI"))?;
        if uri.user.is_some() || text.contains('?') {
            return Err(wrong("a SIP URI without user and headers is expected"));
        }
        let question = Question::of(&uri).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { text: text.to_owned(), question })
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(address) => f.write_str(address),
            Self::NextHop(next_hop) => next_hop.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_next_hops_are_told_apart() {
        assert_eq!("core-1:7443".parse(), Ok(CoreAddress::Core("core-1:7443".to_owned())));
        assert_eq!("[2001:db8::1]:7443".parse(), Ok(CoreAddress::Core("[2001:db8::1]:7443".to_owned())));
        for (text, level) in [
            ("sip:192.0.2.1", true),
            ("sip:[2001:db8::1]:5070;transport=tcp", true),
            ("sip:registrar.example.com:5060;transport=tcp", true),
            ("sip:registrar.example.com", false),
            ("sips:registrar.example.com", false),
        ] {
            let Ok(CoreAddress::NextHop(next_hop)) = text.parse() else { panic!("{text}") };
            assert_eq!((next_hop.to_string().as_str(), next_hop.is_level()), (text, level));
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_text() {
        for text in [
            "core-1",
            ":7443",
            "core-1:sip",
            "sip:",
            "sip:bob@192.0.2.1",
            "sip:192.0.2.1?Subject=x",
            "sip:192.0.2.1;transport=sctp",
            "sip:192.0.2.1;transport=ws",
            "sips:192.0.2.1;transport=udp",
            "sip:192.0.2.1:0",
        ] {
            let error = text.parse::<CoreAddress>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
