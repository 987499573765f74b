//! One row per message, in the order of the RFCs.

use sip::Message;

use super::look;

/// A message and what becomes of it.
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
}

/// Checks what is read from an accepted message.
pub(crate) type Look = fn(&Message);

/// What becomes of a message on a datagram.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// It is well-formed, or what is wrong with it is nobody's business on the way.
    Accepted(Look),
    /// The parser refuses it; it can be answered with this status.
    Refused(u16),
    /// The parser refuses it and there is nobody to tell.
    Dropped,
    /// The parser accepts it; this layer refuses it, for the reason that is looked at, in the way that is named.
    RefusedAbove(Layer, Way, Look),
}

/// How a layer above the parser refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With this status.
    Answer(u16),
    /// In silence.
    Drop,
}

/// The layers above the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// RFC 3261 §16
    Proxy,
    /// RFC 3261 §10.3
    Registrar,
}

use Layer::{Proxy, Registrar};
use Verdict::{Accepted, Dropped, Refused, RefusedAbove};
use Way::{Answer, Drop};

const fn row(section: &'static str, name: &'static str, verdict: Verdict) -> Row {
    Row { section, name, verdict }
}

pub(crate) const RFC_4475: &[Row] = &[
    row("3.1.1.1", "wsinv", Accepted(look::wsinv)),
    row("3.1.1.2", "intmeth", Accepted(look::intmeth)),
    row("3.1.1.3", "esc01", Accepted(look::esc01)),
    row("3.1.1.4", "escnull", Accepted(look::escnull)),
    row("3.1.1.5", "esc02", Accepted(look::esc02)),
    row("3.1.1.6", "lwsdisp", Accepted(look::lwsdisp)),
    row("3.1.1.7", "longreq", Accepted(look::longreq)),
    row("3.1.1.8", "dblreq", Accepted(look::dblreq)),
    row("3.1.1.9", "semiuri", Accepted(look::semiuri)),
    row("3.1.1.10", "transports", Accepted(look::transports)),
    row("3.1.1.11", "mpart01", Accepted(look::mpart01)),
    row("3.1.1.12", "unreason", Accepted(look::unreason)),
    row("3.1.1.13", "noreason", Accepted(look::noreason)),
    row("3.1.2.1", "badinv01", Refused(400)),
    row("3.1.2.2", "clerr", Refused(400)),
    row("3.1.2.3", "ncl", Refused(400)),
    row("3.1.2.4", "scalar02", Refused(400)),
    row("3.1.2.5", "scalarlg", Dropped),
    row("3.1.2.6", "quotbal", Refused(400)),
    row("3.1.2.7", "ltgtruri", Refused(400)),
    row("3.1.2.8", "lwsruri", Refused(400)),
    row("3.1.2.9", "lwsstart", Refused(400)),
    row("3.1.2.10", "trws", Refused(400)),
    // "An element could choose to be liberal in what it accepts and ignore the escaped headers": no copy has them.
    row("3.1.2.11", "escruri", Accepted(look::escruri)),
    // Date is read by nobody on the way.
    row("3.1.2.12", "baddate", Accepted(look::baddate)),
    row("3.1.2.13", "regbadct", RefusedAbove(Registrar, Answer(400), look::regbadct)),
    row("3.1.2.14", "badaspec", Refused(400)),
    row("3.1.2.15", "baddn", Refused(400)),
    row("3.1.2.16", "badvers", Refused(505)),
    row("3.1.2.17", "mismatch01", Refused(400)),
    // 501 is said to be better by a hair; 400 is as legal, and needs no list of the methods that exist.
    row("3.1.2.18", "mismatch02", Refused(400)),
    row("3.1.2.19", "bigcode", Dropped),
    row("3.2.1", "badbranch", Accepted(look::badbranch)),
    row("3.3.1", "insuf", Refused(400)),
    row("3.3.2", "unkscm", RefusedAbove(Proxy, Answer(416), look::unknown_scheme)),
    row("3.3.3", "novelsc", RefusedAbove(Proxy, Answer(416), look::unknown_scheme)),
    row("3.3.4", "unksm2", RefusedAbove(Registrar, Answer(400), look::unksm2)),
    row("3.3.5", "bext01", RefusedAbove(Proxy, Answer(420), look::bext01)),
    row("3.3.6", "invut", Accepted(look::invut)),
    row("3.3.7", "regaut01", RefusedAbove(Registrar, Answer(401), look::regaut01)),
    row("3.3.8", "multi01", Refused(400)),
    row("3.3.9", "mcl01", Refused(400)),
    row("3.3.10", "bcast", RefusedAbove(Proxy, Drop, look::bcast)),
    row("3.3.11", "zeromf", RefusedAbove(Proxy, Answer(483), look::zeromf)),
    row("3.3.12", "cparam01", Accepted(look::cparam01)),
    row("3.3.13", "cparam02", Accepted(look::cparam02)),
    row("3.3.14", "regescrt", Accepted(look::regescrt)),
    row("3.3.15", "sdp01", Accepted(look::sdp01)),
    row("3.4.1", "inv2543", Accepted(look::inv2543)),
];

pub(crate) const RFC_5118: &[Row] = &[
    row("4.1", "ipv6-good", Accepted(look::ipv6_good)),
    row("4.2", "ipv6-bad", RefusedAbove(Proxy, Answer(400), look::ipv6_bad)),
    row("4.3", "port-ambiguous", Accepted(look::port_ambiguous)),
    row("4.4", "port-unambiguous", Accepted(look::port_unambiguous)),
    row("4.5", "via-received-param-with-delim", Accepted(look::via_received)),
    row("4.5", "via-received-param-no-delim", Accepted(look::via_received)),
    row("4.6", "ipv6-in-sdp", Accepted(look::ipv6_in_sdp)),
    row("4.7", "mult-ip-in-header", Accepted(look::mult_ip_in_header)),
    row("4.8", "mult-ip-in-sdp", Accepted(look::ipv6_in_sdp)),
    row("4.9", "ipv4-mapped-ipv6", Accepted(look::ipv4_mapped_ipv6)),
    row("4.10", "ipv6-bug-abnf-3-colons", Accepted(look::colons)),
    row("4.10", "ipv6-correct-abnf-2-colons", Accepted(look::colons)),
];
