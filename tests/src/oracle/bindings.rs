//! The rule about bindings: what was acknowledged is tried by the next call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::seen::inner;
use super::{Faults, Node, Seen, Wire};

/// What UAs were promised and what calls have tried.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// By address-of-record and contact: until when, and whose.
    acknowledged: BTreeMap<String, BTreeMap<Key, (Duration, usize)>>,
    /// REGISTERs by Call-ID and CSeq: when they were sent, and their contacts.
    asked: BTreeMap<(String, u32), (Duration, Vec<String>)>,
    /// Until when a `*` may have been at work on an address-of-record.
    stars: BTreeMap<String, Duration>,
    /// When an address-of-record was last in motion: a REGISTER sent, or answered.
    moved: BTreeMap<String, Duration>,
    /// REGISTERs without an answer yet, by address-of-record: Call-ID, CSeq and when they were sent.
    open: BTreeMap<String, BTreeMap<(String, u32), Duration>>,
    /// Calls by branch of the INVITE.
    calls: BTreeMap<String, Call>,
    cancelled: BTreeSet<String>,
}

#[derive(Debug)]
struct Call {
    aor: String,
    sent: Duration,
    expected: Vec<(String, Duration)>,
    tried: BTreeSet<String>,
    call_id: String,
    cseq: u32,
    judged: bool,
}

/// Longest life of a REGISTER transaction.
const LIFETIME: Duration = Duration::from_secs(40);

impl Bindings {
    pub(super) fn forget(&mut self, ua: usize) {
        for contacts in self.acknowledged.values_mut() {
            contacts.retain(|_, (_, owner)| *owner != ua);
        }
    }

    pub(super) fn sent(&mut self, now: Duration, wire: &Wire) {
        let seen = &*wire.seen;
        match (wire.from, wire.to, &*seen.method) {
            (Node::Ua(_), _, "REGISTER") if seen.is_request() => {
                let aor = aor(&seen.to);
                let key = (seen.call_id.clone(), seen.cseq);
                self.moved.insert(aor.clone(), now);
                self.doubt(now, &aor, &seen.contacts);
                self.open.entry(aor).or_default().entry(key.clone()).or_insert(now);
                self.asked.entry(key).or_insert_with(|| (now, seen.contacts.clone()));
            }
            (Node::Ua(_), _, "CANCEL") if seen.is_request() => {
                self.cancelled.insert(seen.call_id.clone());
            }
            (Node::Ua(_), _, "INVITE") if seen.is_request() && seen.to_tag.is_empty() => {
                self.placed(now, seen);
            }
            (Node::Edge(_), Node::Ua(_), "INVITE") if seen.is_request() && seen.to_tag.is_empty() => {
                let same = |call: &&mut Call| call.call_id == seen.call_id && call.cseq == seen.cseq;
                for call in self.calls.values_mut().filter(same) {
                    call.tried.insert(seen.uri.clone());
                }
            }
            _ => {}
        }
    }

    fn placed(&mut self, now: Duration, seen: &Seen) {
        let aor = aor(&seen.uri);
        let known = self.acknowledged.get(&aor).into_iter().flatten();
        let expected = known
            .filter_map(|((contact, _), (until, _))| Some((fitting(contact, &seen.uri)?, *until)))
            .collect();
        self.calls.entry(seen.branch(0).to_owned()).or_insert_with(|| Call {
            aor,
            sent: now,
            expected,
            tried: BTreeSet::new(),
            call_id: seen.call_id.clone(),
            cseq: seen.cseq,
            judged: false,
        });
    }

    pub(super) fn arrived(&mut self, now: Duration, wire: &Wire, faults: &Faults) -> Result<(), String> {
        let seen = &*wire.seen;
        let Node::Ua(ua) = wire.to else { return Ok(()) };
        if !seen.is_final() {
            return Ok(());
        }
        match &*seen.method {
            "REGISTER" => self.registered(now, ua, seen),
            "INVITE" => return self.judge(now, seen, faults),
            _ => {}
        }
        Ok(())
    }

    /// What a REGISTER may change counts again when it is answered; perhaps only the answer is lost.
    fn doubt(&mut self, now: Duration, aor: &str, asked: &[String]) {
        if is_star(asked) {
            self.stars.insert(aor.to_owned(), now + LINGERING);
        }
        let Some(contacts) = self.acknowledged.get_mut(aor) else { return };
        if is_star(asked) {
            contacts.clear();
        }
        for own in asked {
            contacts.remove(&key(own));
        }
    }

    fn registered(&mut self, now: Duration, ua: usize, seen: &Seen) {
        let aor = aor(&seen.to);
        let transaction = (seen.call_id.clone(), seen.cseq);
        if let Some(open) = self.open.get_mut(&aor) {
            open.remove(&transaction);
        }
        self.moved.insert(aor.clone(), now);
        let Some((sent, asked)) = self.asked.remove(&transaction) else { return };
        self.doubt(now, &aor, &asked);
        // In which order the two were processed cannot be told from outside.
        let may_be_gone = self.stars.get(&aor).is_some_and(|star| *star >= sent);
        if seen.status != 200 || may_be_gone {
            return;
        }
        let contacts = self.acknowledged.entry(aor).or_default();
        for own in &asked {
            let listed = seen.contacts.iter().find(|contact| key(contact) == key(own));
            let expires = listed
                .and_then(|contact| contact.rsplit_once("expires="))
                .and_then(|(_, seconds)| seconds.parse().ok());
            if let Some(seconds) = expires {
                contacts.insert(key(own), (now + Duration::from_secs(seconds), ua));
            }
        }
    }

    /// A final that says how the search went must come from a search that looked everywhere.
    fn judge(&mut self, now: Duration, seen: &Seen, faults: &Faults) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(seen.branch(0)).filter(|call| !call.judged) else {
            return Ok(());
        };
        call.judged = true;
        let uncertain = faults.since(call.sent)
            || self.cancelled.contains(&call.call_id)
            || self.moved.get(&call.aor).is_some_and(|moved| *moved >= call.sent)
            || self
                .open
                .get(&call.aor)
                .is_some_and(|open| open.values().any(|sent| *sent + LIFETIME >= call.sent));
        if uncertain || !matches!(seen.status, 200 | 404 | 408 | 480 | 486 | 600 | 603) {
            return Ok(());
        }
        let live: Vec<_> =
            call.expected.iter().filter(|(_, until)| *until > now + Duration::from_secs(2)).collect();
        let missed: Vec<_> = live.iter().filter(|(contact, _)| !call.tried.contains(contact)).collect();
        let enough = match seen.status {
            200 | 600 | 603 => live.is_empty() || missed.len() < live.len(),
            _ => missed.is_empty(),
        };
        if enough {
            Ok(())
        } else {
            Err(format!("acknowledged, but not tried: {missed:?}; tried: {:?}", call.tried))
        }
    }
}

/// How long a request may be on its way.
const LINGERING: Duration = Duration::from_secs(3);

fn is_star(contacts: &[String]) -> bool {
    contacts.iter().any(|contact| contact == "*")
}

/// The URI by which a request for `asked` goes to a contact, if it may (RFC 5630 §5.3): a SIPS request to SIPS contacts
/// only, and a SIPS contact stands for a SIP one.
fn fitting(contact: &str, asked: &str) -> Option<String> {
    match (contact.strip_prefix("sips:"), asked.starts_with("sips:")) {
        (Some(rest), false) => Some(format!("sip:{rest}")),
        (None, true) => None,
        (Some(_), true) | (None, false) => Some(contact.to_owned()),
    }
}

/// Contact URI and reg-id: the flows of one UA have the same URI (RFC 5626 §4.2).
type Key = (String, Option<String>);

fn key(contact: &str) -> Key {
    let reg_id = contact.split(';').find_map(|param| param.trim().strip_prefix("reg-id="));
    (inner(contact), reg_id.map(str::to_owned))
}

/// `user@domain` of a URI.
fn aor(uri: &str) -> String {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split(';').next().unwrap_or(rest).to_ascii_lowercase()
}
