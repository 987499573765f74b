//! The rules about INVITEs: one branch for an instance, one final, no 2xx lost, no call without an end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Faults, Node, Seen, Wire};

/// What is remembered of every INVITE.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// INVITEs that UAs have sent, by branch.
    placed: BTreeMap<String, Placed>,
    /// INVITEs that reached a UA: the last branch, by UA, Call-ID, From tag and CSeq.
    ringing: BTreeMap<(usize, String, String, u32), Ringing>,
    /// 2xx that a UA has sent and an edge has got, by Call-ID, CSeq and To tag; true once an edge has passed it to the caller.
    successes: BTreeMap<(String, u32, String), Success>,
}

#[derive(Debug)]
struct Placed {
    name: String,
    call_id: String,
    cseq: u32,
    sent: Duration,
    /// The edge that has got it, and when.
    taken: Option<(usize, Duration)>,
    /// The final that the edge has sent, whole; of several 2xx the first.
    last: Option<(u16, Duration)>,
    refusal: Option<bytes::Bytes>,
}

#[derive(Debug)]
struct Ringing {
    branch: String,
    since: Duration,
    pending: bool,
}

#[derive(Debug)]
struct Success {
    at: Duration,
    ua: usize,
    passed: bool,
}

/// 64·T1.
const LIFETIME: Duration = Duration::from_secs(32);
/// Timer C of the product, for up to three groups of targets tried one after another.
const LONGEST: Duration = Duration::from_secs(3 * 190 + 32 + 10);

impl Calls {
    pub(super) fn sent(&mut self, now: Duration, wire: &Wire, faults: &Faults) -> Result<(), String> {
        let seen = &*wire.seen;
        if seen.method != "INVITE" {
            return Ok(());
        }
        match (wire.from, wire.to) {
            (Node::Ua(_), Node::Edge(_)) if seen.is_request() => {
                self.placed.entry(seen.branch(0).to_owned()).or_insert_with(|| Placed {
                    name: format!("{} of call {}", seen.branch(0), seen.call_id),
                    call_id: seen.call_id.clone(),
                    cseq: seen.cseq,
                    sent: now,
                    taken: None,
                    last: None,
                    refusal: None,
                });
            }
            (Node::Ua(ua), Node::Edge(_)) if seen.is_final() => self.ended(ua, seen),
            (Node::Edge(edge), Node::Ua(_)) if seen.is_final() => {
                return self.answered(now, wire, edge, faults);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn arrived(&mut self, now: Duration, wire: &Wire, faults: &Faults) -> Result<(), String> {
        let seen = &*wire.seen;
        if seen.method != "INVITE" {
            return Ok(());
        }
        match (wire.from, wire.to) {
            (Node::Ua(_), Node::Edge(edge)) if seen.is_request() => {
                if let Some(placed) = self.placed.get_mut(seen.branch(0)) {
                    placed.taken.get_or_insert((edge, now));
                }
            }
            (Node::Ua(ua), Node::Edge(_)) if seen.is_final() && seen.status < 300 => {
                let key = (seen.call_id.clone(), seen.cseq, seen.to_tag.clone());
                self.successes.entry(key).or_insert(Success { at: now, ua, passed: false });
            }
            (Node::Edge(_), Node::Ua(ua)) if seen.is_request() && seen.to_tag.is_empty() => {
                return self.reached(now, ua, seen, faults);
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 5626 §7: one way to an instance at a time. A node that dies leaves the cluster no choice.
    fn reached(&mut self, now: Duration, ua: usize, seen: &Seen, faults: &Faults) -> Result<(), String> {
        let key = (ua, seen.call_id.clone(), seen.from_tag.clone(), seen.cseq);
        let new = || Ringing { branch: seen.branch(0).to_owned(), since: now, pending: true };
        let ringing = self.ringing.entry(key).or_insert_with(new);
        if ringing.branch == seen.branch(0) {
            return Ok(());
        }
        let lost_its_flow = faults.streams.get(&ua).is_some_and(|lost| *lost >= ringing.since);
        let excused = lost_its_flow || faults.since(ringing.since) || now >= ringing.since + LIFETIME;
        let second = ringing.pending && !excused;
        let before = std::mem::replace(ringing, new()).branch;
        if second { Err(format!("UA{ua} is rung by branch {before} at the same time")) } else { Ok(()) }
    }

    fn ended(&mut self, ua: usize, seen: &Seen) {
        let key = (ua, seen.call_id.clone(), seen.from_tag.clone(), seen.cseq);
        if let Some(ringing) = self.ringing.get_mut(&key).filter(|ringing| ringing.branch == seen.branch(0)) {
            ringing.pending = false;
        }
    }

    /// An edge gives a final to the caller.
    fn answered(&mut self, now: Duration, wire: &Wire, edge: usize, faults: &Faults) -> Result<(), String> {
        let seen = &*wire.seen;
        if seen.status < 300 {
            let key = (seen.call_id.clone(), seen.cseq, seen.to_tag.clone());
            if let Some(success) = self.successes.get_mut(&key) {
                success.passed = true;
            }
        }
        let Some(placed) = self.placed.get_mut(seen.branch(0)) else { return Ok(()) };
        let first = placed.last.get_or_insert((seen.status, now)).0;
        if faults.edge_died_since(edge, placed.sent) {
            // It has forgotten what it said.
            return Ok(());
        }
        if seen.status < 300 {
            return if first < 300 { Ok(()) } else { Err(format!("a 2xx after {first}")) };
        }
        if first < 300 {
            return Err(format!("a refusal after {first}"));
        }
        let same = *placed.refusal.get_or_insert_with(|| wire.bytes.clone()) == wire.bytes;
        if same { Ok(()) } else { Err("a second refusal that differs from the first".to_owned()) }
    }

    pub(super) fn finish(&mut self, faults: &Faults) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut refused = std::collections::BTreeSet::new();
        for placed in self.placed.values() {
            if placed.last.is_some_and(|(status, _)| status >= 300) {
                refused.insert((&placed.call_id, placed.cseq));
            }
            let Some((edge, taken)) = placed.taken else { continue };
            match placed.last {
                None if !faults.edge_died_since(edge, taken) => {
                    complaints.push(format!("INVITE {} never got a final", placed.name));
                }
                Some((status, at)) if at > placed.sent + LONGEST => {
                    complaints.push(format!(
                        "INVITE {} got its {status} after {:?}",
                        placed.name,
                        at - placed.sent
                    ));
                }
                None | Some(_) => {}
            }
        }
        for ((call_id, cseq, tag), success) in &self.successes {
            let same = |placed: &&Placed| placed.call_id == *call_id;
            let start =
                self.placed.values().filter(same).map(|placed| placed.sent).min().unwrap_or(success.at);
            let excused = refused.contains(&(call_id, *cseq))
                // Its flow had failed before it answered over a new one: the cluster had given it up.
                || faults.streams.get(&success.ua).is_some_and(|lost| *lost >= start)
                || faults.edges.values().any(|died| *died >= start);
            if !success.passed && !excused {
                complaints.push(format!("the 2xx {tag} of call {call_id}, CSeq {cseq}, was lost"));
            }
        }
        complaints
    }
}
