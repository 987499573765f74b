//! What must hold in every simulation: it watches the wire, complains, and never looks into a node.
//!
//! | rule | source |
//! |---|---|
//! | a response goes only to who has sent the request, with the Vias that it was sent with | RFC 3261 §18.2.2, §16.7 step 3 |
//! | a branch stands for one request, which is repeated byte for byte | RFC 3261 §8.1.1.7, §17.1 |
//! | each hop takes one from Max-Forwards and leaves the Vias below as they are | RFC 3261 §16.6 steps 3 and 8 |
//! | a branch carries the Path vector of its own binding and of no other, or leaves the cluster | RFC 3327 §5.4 |
//! | a request reaches the UA that it names, without Route | RFC 3261 §16.4 |
//! | one branch for a UA instance at a time, unless a node has died | RFC 5626 §7 |
//! | a UA never gets a 430 | RFC 5626 §11.5 |
//! | one non-2xx final, or nothing but 2xx | RFC 3261 §16.7 step 5 |
//! | every 2xx of a callee reaches the caller | RFC 3261 §16.7 step 5 |
//! | an INVITE that an edge has taken gets a final, in bounded time | RFC 3261 §16.8 |
//! | the next call tries every binding that was acknowledged | RFC 3261 §10.3 step 8, §16.5 |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

mod bindings;
mod calls;
mod seen;

use bindings::Bindings;
use calls::Calls;
use seen::as_sent;

pub use seen::Seen;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A user agent.
    Ua(usize),
    /// An edge.
    Edge(usize),
    /// A core.
    Core(usize),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ua(n) => write!(f, "UA{n}"),
            Self::Edge(n) => write!(f, "EP{}", n + 1),
            Self::Core(n) => write!(f, "core{}", n + 1),
        }
    }
}

/// One message between two nodes.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Who sends it.
    pub from: Node,
    /// Whom it is for.
    pub to: Node,
    /// The message.
    pub bytes: Bytes,
    /// The message, read.
    pub seen: Rc<Seen>,
}

impl Wire {
    /// Reads the message.
    pub fn new(from: Node, to: Node, bytes: Bytes) -> Self {
        let seen = Rc::new(Seen::of(&bytes));
        Self { from, to, bytes, seen }
    }
}

/// A request as it was sent.
#[derive(Debug)]
struct Sent {
    from: Node,
    bytes: Bytes,
    seen: Rc<Seen>,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What was wrong.
    pub complaints: Vec<String>,
    is_lenient: bool,
    requests: BTreeMap<(String, String), Vec<Sent>>,
    /// Contact and Path vector of every binding that was ever stored.
    stored: BTreeSet<(String, Vec<String>)>,
    /// `host:port` in the Contact of each UA.
    hosts: Vec<String>,
    /// UAs that stand for a proxy of another domain.
    relays: BTreeSet<usize>,
    calls: Calls,
    bindings: Bindings,
    faults: Faults,
}

/// When something was broken.
#[derive(Debug, Default)]
struct Faults {
    /// The last one.
    last: Option<Duration>,
    /// When each edge last died.
    edges: BTreeMap<usize, Duration>,
    /// When each UA last lost a stream.
    streams: BTreeMap<usize, Duration>,
    /// How many cores have died, or lost a link.
    cores: usize,
    /// How much is broken now.
    broken: usize,
}

impl Faults {
    fn since(&self, start: Duration) -> bool {
        self.broken > 0 || self.last.is_some_and(|last| last + SETTLING >= start)
    }

    fn edge_died_since(&self, edge: usize, start: Duration) -> bool {
        self.edges.get(&edge).is_some_and(|died| *died >= start)
    }
}

/// After a fault or its repair, the cluster gets that long to find itself.
const SETTLING: Duration = Duration::from_secs(3);

impl Oracle {
    /// A UA takes part whose Contact names this host.
    pub fn add_ua(&mut self, host: &str) {
        self.hosts.push(host.to_owned());
    }

    /// A UA stands for a proxy of another domain, so that Routes and whatever URIs may reach it.
    pub fn set_relay(&mut self, ua: usize) {
        self.relays.insert(ua);
    }

    /// A record was stored with these bindings: contact and Path vector.
    pub fn stored(&mut self, bindings: impl IntoIterator<Item = (String, Vec<String>)>) {
        self.stored.extend(bindings);
    }

    /// Something broke: a node died, a link of a core was cut, or (None) the store is away.
    pub fn broke(&mut self, now: Duration, node: Option<Node>) {
        self.faults.last = Some(now);
        self.faults.broken += 1;
        match node {
            Some(Node::Edge(edge)) => {
                self.faults.edges.insert(edge, now);
            }
            Some(Node::Core(_)) => self.faults.cores += 1,
            Some(Node::Ua(_)) | None => {}
        }
    }

    /// It works again.
    pub fn mended(&mut self, now: Duration) {
        self.faults.last = Some(now);
        self.faults.broken = self.faults.broken.saturating_sub(1);
    }

    /// A UA has lost a stream: its bindings may be unreachable until it registers again.
    pub fn unreachable(&mut self, now: Duration, ua: usize) {
        self.bindings.forget(ua);
        self.faults.streams.insert(ua, now);
    }

    /// The next message of a UA may break the rules: the test means it.
    pub fn ignore_next(&mut self) {
        self.is_lenient = true;
    }

    /// A message is put on the wire.
    pub fn sent(&mut self, now: Duration, wire: &Wire) {
        let is_excused = matches!(wire.from, Node::Ua(_)) && std::mem::take(&mut self.is_lenient);
        let found = if wire.seen.is_request() { self.check_request(wire) } else { self.check_response(wire) };
        if let Err(complaint) = found
            && !is_excused
        {
            self.complain(now, wire, &complaint);
        }
        if let Err(complaint) = self.calls.sent(now, wire, &self.faults) {
            self.complain(now, wire, &complaint);
        }
        self.bindings.sent(now, wire);
        if wire.seen.is_request() {
            let key = (wire.seen.branch(0).to_owned(), wire.seen.method.clone());
            let variants = self.requests.entry(key).or_default();
            if variants.iter().all(|sent| sent.bytes != wire.bytes) {
                let (bytes, seen) = (wire.bytes.clone(), Rc::clone(&wire.seen));
                variants.push(Sent { from: wire.from, bytes, seen });
            }
        }
    }

    /// A message has arrived at a node that is alive.
    pub fn arrived(&mut self, now: Duration, wire: &Wire) {
        if let Node::Ua(ua) = wire.to
            && wire.seen.is_request()
            && let Err(complaint) = self.check_delivery(ua, &wire.seen)
        {
            self.complain(now, wire, &complaint);
        }
        if let Err(complaint) = self.calls.arrived(now, wire, &self.faults) {
            self.complain(now, wire, &complaint);
        }
        if let Err(complaint) = self.bindings.arrived(now, wire, &self.faults) {
            self.complain(now, wire, &complaint);
        }
    }

    /// The end: everything has had its time.
    pub fn finish(&mut self) {
        self.complaints.extend(self.calls.finish(&self.faults));
    }

    fn complain(&mut self, now: Duration, wire: &Wire, complaint: &str) {
        let (from, to) = (wire.from, wire.to);
        let text = String::from_utf8_lossy(&wire.bytes);
        self.complaints.push(format!("{:.3}s {from} → {to}: {complaint}\n{text}", now.as_secs_f64()));
    }

    fn check_request(&self, wire: &Wire) -> Result<(), String> {
        let seen = &*wire.seen;
        let branch = seen.branch(0);
        if branch.is_empty() {
            return Err("a request without branch".to_owned());
        }
        if let Some(before) = self.variants(seen, 0).first() {
            check_repetition(before, wire)?;
        }
        self.check_method(wire)?;
        if matches!(wire.from, Node::Ua(_)) {
            return Ok(());
        }
        self.check_hop(seen)?;
        let is_initial = seen.to_tag.is_empty() && !matches!(&*seen.method, "ACK" | "CANCEL" | "REGISTER");
        if matches!(wire.from, Node::Core(_)) && is_initial {
            self.check_route(seen)?;
        }
        Ok(())
    }

    /// CANCEL and the ACK to a non-2xx final belong to an INVITE of the same sender (RFC 3261 §9.1, §17.1.1.3).
    fn check_method(&self, wire: &Wire) -> Result<(), String> {
        let seen = &*wire.seen;
        let invite = self
            .requests
            .get(&(seen.branch(0).to_owned(), "INVITE".to_owned()))
            .and_then(|sent| sent.first());
        match (&*seen.method, invite) {
            // A core cancels what a dead one has begun; it looks up what that may have been.
            ("CANCEL", None) if matches!(wire.from, Node::Core(_)) && self.faults.cores > 0 => Ok(()),
            ("CANCEL", None) => Err("a CANCEL for nothing".to_owned()),
            ("CANCEL" | "ACK", Some(invite)) => {
                let own = (&seen.call_id, seen.cseq, &seen.from_tag);
                if !is_same_element(invite.from, wire.from)
                    || own != (&invite.seen.call_id, invite.seen.cseq, &invite.seen.from_tag)
                {
                    return Err("it does not belong to the INVITE of its branch".to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a hop may change: one Via more, one hop less.
    fn check_hop(&self, seen: &Seen) -> Result<(), String> {
        if seen.vias.len() < 2 {
            return Ok(());
        }
        let variants = self.variants(seen, 1);
        if variants.is_empty() {
            return Err(format!("nobody has sent it with branch {}", seen.branch(1)));
        }
        let below = seen.vias.get(1..).unwrap_or_default();
        let Some(before) = variants.iter().map(|sent| &sent.seen).find(|sent| same_vias(below, &sent.vias))
        else {
            return Err(format!("the Vias below are not as they were: {variants:?}"));
        };
        let (hops, before) = (seen.max_forwards, before.max_forwards);
        match (before, hops) {
            (Some(before), Some(hops)) if hops + 1 == before => Ok(()),
            (None, Some(70)) => Ok(()),
            _ => Err(format!("Max-Forwards was {before:?} and is {hops:?}")),
        }
    }

    /// RFC 3327 §5.4, and nothing of another binding.
    fn check_route(&self, seen: &Seen) -> Result<(), String> {
        // RFC 5630 §5.3: a SIPS contact stands for a SIP one, too.
        let secure = seen.uri.strip_prefix("sip:").map(|rest| format!("sips:{rest}"));
        let contacts = [Some(seen.uri.clone()), secure].into_iter().flatten();
        let leaves = seen.routes.first().is_some_and(|route| route.starts_with("<sip:out."));
        if leaves || contacts.into_iter().any(|contact| self.stored.contains(&(contact, seen.routes.clone())))
        {
            return Ok(());
        }
        let own: Vec<_> = self.stored.iter().filter(|(contact, _)| *contact == seen.uri).collect();
        Err(format!("no binding of {} has the Path vector {:?}; there are {own:?}", seen.uri, seen.routes))
    }

    fn check_response(&self, wire: &Wire) -> Result<(), String> {
        let seen = &*wire.seen;
        let variants = self.variants(seen, 0);
        let Some(first) = variants.first() else {
            return Err(format!("a response to nobody: branch {}", seen.branch(0)));
        };
        if !is_same_element(first.from, wire.to) {
            return Err(format!("the request was sent by {}", first.from));
        }
        let Some(request) = variants.iter().find(|sent| same_vias(&seen.vias, &sent.seen.vias)) else {
            return Err(format!("the Vias are not restored: {variants:?}"));
        };
        if seen.status == 430 && matches!(wire.to, Node::Ua(_)) {
            return Err("a UA gets a 430".to_owned());
        }
        let before = &request.seen;
        if (&seen.call_id, seen.cseq, &seen.from_tag) != (&before.call_id, before.cseq, &before.from_tag) {
            return Err("Call-ID, CSeq or From tag differ from the request".to_owned());
        }
        Ok(())
    }

    /// The requests that were sent with the branch of the Via at this depth: more than one only from cores.
    fn variants(&self, seen: &Seen, depth: usize) -> &[Sent] {
        let key = (seen.branch(depth).to_owned(), seen.method.clone());
        self.requests.get(&key).map_or(&[], Vec::as_slice)
    }

    fn check_delivery(&self, ua: usize, seen: &Seen) -> Result<(), String> {
        if self.relays.contains(&ua) {
            return Ok(());
        }
        if !seen.routes.is_empty() {
            return Err("a UA gets a Route".to_owned());
        }
        let host = self.hosts.get(ua).map_or("", String::as_str);
        let named = seen.uri.rsplit_once('@').map_or(&*seen.uri, |(_, host)| host);
        if named.split(';').next() != Some(host) {
            return Err(format!("it is not meant for {host}"));
        }
        Ok(())
    }
}

/// A branch that is used again stands for the same request, byte for byte. The cores are one element: when an edge asks
/// another one instead of a dead one, that sends the request on with the same branch, and only the edge's Via below differs.
fn check_repetition(before: &Sent, wire: &Wire) -> Result<(), String> {
    let (seen, first) = (&*wire.seen, &*before.seen);
    if !is_same_element(before.from, wire.from) {
        return Err(format!("its branch is also used by {}", before.from));
    }
    let same = match wire.from {
        Node::Ua(_) | Node::Edge(_) => before.bytes == wire.bytes,
        Node::Core(_) => {
            let identity = |seen: &Seen| {
                // The second INVITE may be refused in other words than the first: the ACKs differ so far (§17.1.1.3).
                let to_tag = if seen.method == "ACK" { "" } else { &seen.to_tag };
                let ids = (seen.call_id.clone(), seen.cseq, seen.from_tag.clone(), to_tag.to_owned());
                (ids, seen.uri.clone(), seen.routes.clone(), seen.vias.first().cloned())
            };
            // A CANCEL for the call of a dead core goes on as it came, with the edge's Via (§16.10).
            let below = seen.method == "CANCEL" || seen.vias.get(2..) == first.vias.get(2..);
            below && identity(seen) == identity(first)
        }
    };
    if same { Ok(()) } else { Err(format!("its branch stood for {before:?}")) }
}

/// All cores are one element.
fn is_same_element(one: Node, other: Node) -> bool {
    one == other || matches!((one, other), (Node::Core(_), Node::Core(_)))
}

/// Equal, but for what the receiver adds to the top one.
fn same_vias(now: &[String], before: &[String]) -> bool {
    let top = |vias: &[String]| vias.first().map(|via| as_sent(via));
    now.len() == before.len() && top(now) == top(before) && now.get(1..) == before.get(1..)
}

#[cfg(test)]
mod tests;
