//! How much a source may ask for. Pure.
//!
//! A source is an IPv4 address, or an IPv6 /64, which is what one subscriber is given; an office behind one NAT is one source. For each
//! of the classes below it has so many new requests a second, and ten seconds' worth at once, so that an office that
//! has just got its power back is no attack. The rest is answered with 503 and a Retry-After that differs between calls
//! (RFC 3261 §21.5.4), without a transaction, so that it costs no memory.
//!
//! | class | requests |
//! |---|---|
//! | registrations | REGISTER |
//! | calls | INVITE; an ACK of a source that has used up its calls is dropped |
//! | others | all other methods |
//!
//! Let through in any case: trusted peers; next hops, where they are or with a token of ours; what repeats an earlier request; what stands in a dialog that came about
//! through this cluster, by the token in its Route (RFC 5626 §5.2), and CANCEL. Those who talk already go before those who want to begin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use proxy::stateless;
use sip::{Message, Method, Request, via};
use transport::Flow;

use crate::access;
use crate::engine::{Edge, Output};
use crate::hop::Hop;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Registrations,
    Calls,
    Others,
}

/// New requests a second from one source; 0: as many as it likes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// REGISTER.
    pub registrations: u32,
    /// INVITE.
    pub calls: u32,
    /// All other methods.
    pub others: u32,
}

impl Limits {
    fn of(self, class: Class) -> u32 {
        match class {
            Class::Registrations => self.registrations,
            Class::Calls => self.calls,
            Class::Others => self.others,
        }
    }
}

/// What sources have asked for of late.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: Limits,
    /// Shards that share the calls of a source.
    shards: u64,
    start: Option<Instant>,
    /// Until when, in nanoseconds, a source has used up what it has.
    used: HashMap<(u64, Class), u64, ahash::RandomState>,
    swept: u64,
}

/// What a source may ask for at once, in seconds of its rate.
const BURST: u64 = 10 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// Sources that are remembered. Whoever can send from more of them is not stopped by counting sources.
const MOST: usize = 65_536;
/// Seconds after which who was refused may come again.
const RETRY_AFTER: std::ops::Range<u64> = 2..10;

impl Rates {
    pub(crate) fn new(limits: Limits, shards: usize, hasher: ahash::RandomState) -> Self {
        let used = HashMap::with_hasher(hasher);
        Self { limits, shards: shards.max(1) as u64, start: None, used, swept: 0 }
    }

    /// True while a source has not used up what it has; `counts` takes one of it.
    fn admits(&mut self, class: Class, ip: IpAddr, counts: bool, now: Instant) -> bool {
        let rate = u64::from(self.limits.of(class));
        if rate == 0 {
            return true;
        }
        let start = *self.start.get_or_insert(now);
        // A moment before the start of time is one at it.
        let at = nanos(now.saturating_duration_since(start));
        let key = (source(ip), class);
        let used = self.used.get(&key).copied().unwrap_or(0).max(at);
        if used - at > BURST {
            return false;
        }
        if counts && self.has_room(&key, at) {
            self.used.insert(key, used + SECOND * self.shards / rate);
        }
        true
    }

    fn has_room(&mut self, key: &(u64, Class), at: u64) -> bool {
        if self.used.len() < MOST || self.used.contains_key(key) {
            return true;
        }
        if at >= self.swept + SECOND {
            self.swept = at;
            self.used.retain(|_, used| *used > at);
        }
        self.used.len() < MOST
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn source(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        // No /64 in use begins with 32 zero bits.
        IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}

impl Edge {
    /// A message on a flow, RFC 3261 §18.2.1 and §18.1.2.
    pub(crate) fn on_message(&mut self, flow: Flow, mut message: Message, now: Instant) {
        self.heard(flow);
        if let Message::Request(request) = &mut message {
            via::stamp_received(request, flow.remote, true);
            if self.is_too_much(request, &flow, now) {
                return self.refuse(flow, &message);
            }
        }
        self.layer.receive(message, Hop::Ua(flow), now);
    }

    fn is_too_much(&mut self, request: &Request, flow: &Flow, now: Instant) -> bool {
        let class = match request.method {
            Method::Cancel => return false,
            Method::Register => Class::Registrations,
            Method::Invite | Method::Ack => Class::Calls,
            _ => Class::Others,
        };
        let ip = flow.remote.ip();
        if self.rates.limits.of(class) == 0 || self.settings.trusts(ip) || self.is_next_hop(request, flow) {
            return false;
        }
        if self.rates.admits(class, ip, request.method != Method::Ack, now) || self.layer.knows(request) {
            return false;
        }
        request.to_tag().is_none() || !access::has_token(&request.headers, &self.settings)
    }

    /// An address alone is no proof: there may be a NAT with phones, or a forged datagram.
    fn is_next_hop(&self, request: &Request, flow: &Flow) -> bool {
        self.next_hops.is_from(flow.remote.ip())
            && (self.next_hops.is_at(flow) || access::has_token(&request.headers, &self.settings))
    }

    fn refuse(&mut self, flow: Flow, message: &Message) {
        self.counters.limited += 1;
        if let Some(answer) = stateless::overloaded(message, RETRY_AFTER) {
            self.counters.response(answer.status);
            self.out.push_back(Output::ToUa { flow, bytes: answer.encode() });
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the start")]
mod tests {
    use super::*;

    fn rates(registrations: u32, shards: usize) -> Rates {
        let limits = Limits { registrations, ..Limits::default() };
        Rates::new(limits, shards, ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn admitted(rates: &mut Rates, ip: &str, now: Instant) -> usize {
        let ip = ip.parse().unwrap();
        (0..100_000).take_while(|_| rates.admits(Class::Registrations, ip, true, now)).count()
    }

    #[test]
    fn ten_seconds_at_once_and_then_so_many_a_second() {
        let (mut rates, now) = (rates(20, 1), Instant::now());
        assert_eq!(admitted(&mut rates, "192.0.2.1", now), 201);
        assert_eq!(admitted(&mut rates, "192.0.2.1", now + Duration::from_secs(1)), 20);
        assert_eq!(admitted(&mut rates, "192.0.2.1", now + Duration::from_secs(100)), 201);
        assert!(rates.admits(Class::Calls, "192.0.2.1".parse().unwrap(), true, now), "another class");
    }

    #[test]
    fn shards_share_what_a_source_has() {
        let (mut rates, now) = (rates(20, 4), Instant::now());
        assert_eq!(admitted(&mut rates, "192.0.2.1", now), 51);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_source() {
        let (mut rates, now) = (rates(1, 1), Instant::now());
        assert_eq!(admitted(&mut rates, "2001:db8:0:1::1", now), 11);
        assert_eq!(admitted(&mut rates, "2001:db8:0:1:ffff::9", now), 0);
        assert_eq!(admitted(&mut rates, "2001:db8:0:2::1", now), 11);
        assert_eq!(admitted(&mut rates, "192.0.2.1", now), 11);
        assert_eq!(admitted(&mut rates, "::ffff:192.0.2.1", now), 0);
    }

    #[test]
    fn the_memory_is_bounded_and_forgets() {
        let (mut rates, now) = (rates(1, 1), Instant::now());
        let ask = |rates: &mut Rates, from: u32, now| {
            for number in from..from + 70_000 {
                assert!(rates.admits(Class::Registrations, IpAddr::V4(number.into()), true, now));
            }
        };
        ask(&mut rates, 1, now);
        assert_eq!(rates.used.len(), MOST);
        ask(&mut rates, 1 << 20, now + Duration::from_secs(60));
        assert_eq!(rates.used.len(), MOST, "those of before have gone");
        assert!(rates.used.contains_key(&(1 << 20, Class::Registrations)));
    }
}
