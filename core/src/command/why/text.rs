//! For human eyes: what is asked for at night first, then the plan, each thing in one line with its name before it.

use std::fmt::Write;

use registrar::UnixTime;

use crate::command::plain;
use crate::why::{Bound, Branch, Call, Exit, Flow, Refusal, Skip, Store, Way, Why};

/// Width of the names before the lines.
const NAMES: usize = 13;

/// The page. `missing`: why no core was asked.
pub(super) fn of(why: &Why, missing: Option<&str>) -> String {
    let mut page = Page(String::new());
    page.line(0, "address", &plain(&why.address));
    let at = UnixTime(why.at).date();
    match (&why.core, missing) {
        (Some(core), _) => page.line(0, "answered by", &format!("{}, {at}", plain(core))),
        (None, missing) => {
            page.line(0, "answered by", &format!("the database alone, {at}"));
            page.line(0, "", &format!("no core was asked: {}", missing.unwrap_or("there is none")));
            page.line(0, "", "so links and lost flows are not known; the plan is that of a cluster in which all of them stand");
        }
    }
    let user = match (why.served, why.user) {
        (false, _) => "of somebody else: the domain is none of this cluster's",
        (true, Some(true)) => "exists",
        (true, Some(false)) => "there is no such user",
        (true, None) => "not known: the database is away",
    };
    page.line(0, "user", user);
    if let Some(contacts) = contacts(why) {
        page.line(0, "contacts", &contacts);
    }
    for bound in &why.contacts {
        page.contact(bound, why.at);
    }
    page.call(&why.call);
    page.0
}

fn contacts(why: &Why) -> Option<String> {
    let count = match why.contacts.len() {
        0 => "none is registered".to_owned(),
        count => count.to_string(),
    };
    match why.store {
        Store::Database => Some(count),
        Store::LastKnown => {
            Some(format!("{count} (the database is away: this is what the core has seen last)"))
        }
        Store::Away => Some("not known: the database is away".to_owned()),
        Store::NotAsked => None,
    }
}

struct Page(String);

impl Page {
    /// One line, indented, with its name in a column of its own.
    fn line(&mut self, indent: usize, name: &str, text: &str) {
        let width = NAMES - indent;
        writeln!(self.0, "{:indent$}{name:width$}{text}", "").expect("a string takes anything");
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn contact(&mut self, bound: &Bound, now: u64) {
        let it = &bound.contact;
        self.blank();
        self.line(0, &format!("contact {}", bound.number), &plain(&it.contact));
        let flow = match bound.flow {
            Flow::Open => "open: the edge has a link to this core",
            Flow::Lost => {
                "LOST, says the edge: the contact is suspended until it registers again or is heard of"
            }
            Flow::NoLink => "NO LINK: the edge had one to this core and lost it",
            Flow::UnknownEdge => "NO LINK: no edge of that name has had one since this core was started",
            Flow::NoPath => "NONE: the contact was registered without a Path",
            Flow::NotKnown => "not known: no core was asked",
        };
        self.line(2, "flow", flow);
        self.line(2, "edge", &format!("{}, from {}", or_dash(&it.edge), or_dash(&it.source)));
        for (at, hop) in it.path.iter().enumerate() {
            self.line(2, if at == 0 { "Path" } else { "" }, &plain(hop));
        }
        self.line(2, "q", &q(it.q));
        if let Some(instance) = &it.instance {
            let reg_id = it.reg_id.map_or_else(String::new, |reg_id| format!(", reg-id {reg_id}"));
            self.line(2, "instance", &format!("{}{reg_id}", plain(instance)));
        }
        if let Some(gruu) = &bound.gruu {
            self.line(2, "GRUU", &plain(gruu));
        }
        self.line(2, "expires", &format!("in {}", span(it.expires_in)));
        let ago = |at: u64| format!("{} ago", span(now.saturating_sub(at)));
        self.line(2, "written", &format!("{} by {}", ago(it.updated_at), or_dash(&it.written_by)));
        self.line(2, "", &format!("Call-ID {}, CSeq {}", plain(&it.call_id), it.cseq));
        self.line(2, "registered", &format!("{} with this Path", ago(it.registered_at)));
        if !it.user_agent.is_empty() {
            self.line(2, "User-Agent", &plain(&it.user_agent));
        }
    }

    fn call(&mut self, call: &Call) {
        self.blank();
        self.line(0, "a call now", &format!("INVITE {}", plain(&call.request_uri)));
        if let Some(answer) = &call.answer {
            self.line(2, "answer", &format!("{} at once", refusal(answer)));
            self.line(2, "", &format!("because {}", plain(&answer.why)));
        }
        if let Some(exit) = &call.exit {
            self.exit(exit, call.answer.is_some());
        }
        let mut is_first = true;
        for group in &call.groups {
            let when = if is_first { "at once" } else { "then" };
            is_first = false;
            let ways = if group.branches.len() == 1 { "one branch" } else { "branches at the same time" };
            let count =
                if group.branches.len() == 1 { String::new() } else { format!("{} ", group.branches.len()) };
            let when_not = if when == "then" { ", when all before have come to nothing" } else { "" };
            self.line(2, when, &format!("{count}{ways}, q {}{when_not}", q(group.q)));
            group.branches.iter().for_each(|branch| self.branch(branch));
        }
        for skipped in &call.passed_over {
            let why = match skipped.why {
                Skip::FlowLost => "its edge says that the flow is lost",
                Skip::SameWay => "another contact has the same URI and Path",
            };
            self.line(2, "not tried", &format!("contact {}: {why}", skipped.contact));
        }
        if let Some(strangers) = &call.strangers {
            self.line(2, "strangers", &format!("callers who are none of ours get {}", refusal(strangers)));
        }
    }

    fn branch(&mut self, branch: &Branch) {
        let mut name = "";
        for Way { contact, request_uri, route, edge } in &branch.ways {
            let by = match edge {
                Some(edge) => format!("by {}", plain(edge)),
                None => "FAILS AT ONCE, no edge with a link has it".to_owned(),
            };
            self.line(4, name, &format!("contact {contact} {by}: INVITE {}", plain(request_uri)));
            for hop in route {
                self.line(4, "", &format!("  Route: {}", plain(hop)));
            }
            name = "or else";
        }
    }

    fn exit(&mut self, exit: &Exit, is_refused: bool) {
        self.line(2, "leaves", &format!("INVITE {}", plain(&exit.request_uri)));
        match &exit.next_hop {
            Some(hop) => self.line(2, "next hop", &format!("{}, by CORE_ROUTES", plain(hop))),
            None => self.line(2, "next hop", "what the DNS says (RFC 3263)"),
        }
        let edges: Vec<_> = exit.edges.iter().map(|edge| plain(edge)).collect();
        match &edges[..] {
            [] if is_refused => {}
            [] => self.line(2, "edge", "any"),
            edges => self.line(2, "edge", &format!("{}, by the Call-ID", edges.join(" or "))),
        }
    }
}

fn refusal(it: &Refusal) -> String {
    format!("{} {}", it.status, plain(&it.reason))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { plain(text) }
}

/// `1.0`, `0.75`
fn q(thousandths: u16) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// The two largest units that count.
fn span(seconds: u64) -> String {
    let units = [("d", 86_400, u64::MAX), ("h", 3_600, 24), ("min", 60, 60), ("s", 1, 60)];
    let counts = units.map(|(name, size, most)| (seconds / size % most, name));
    let first = counts.iter().position(|(count, _)| *count > 0).unwrap_or(counts.len() - 1);
    let shown =
        counts.iter().skip(first).take(2).enumerate().filter(|(at, (count, _))| *at == 0 || *count > 0);
    shown.map(|(_, (count, name))| format!("{count} {name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
