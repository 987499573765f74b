//! The same without a running core: what the database alone tells.
//!
//! Links and lost flows are known to nobody then. An engine of its own answers, to which every edge that a contact names has
//! a link.

use std::time::{Duration, Instant};

use link::PeerId;
use location::{Answer, Credentials, Query};
use node::Engine as _;
use registrar::{Record, UnixTime};
use sip::{Aor, NameAddr};
use transaction::Timers;

use super::{Flow, Question, Why};
use crate::engine::{Core, Input, Output};
use crate::settings::Settings;

/// What becomes of a call to `aor` by this record if every edge has its link and every flow carries messages. `exists`: whether
/// there is such a user. `unix` is the wall clock at `now`.
pub fn alone(
    settings: Settings,
    aor: Aor,
    record: &Record,
    exists: bool,
    now: Instant,
    unix: Duration,
) -> Option<Why> {
    let mut core = Core::new(settings, Timers::default(), [0; 32], now, unix);
    for link in links(record, UnixTime(unix.as_secs())) {
        core.handle(link, now);
    }
    core.handle(Input::Why(Question { id: 0, aor }), now);
    loop {
        match core.poll_output()? {
            Output::Why(_, why) => return Some(with_nothing_known_of_links(*why)),
            Output::Ask(id, Query::Lookup { .. }) => {
                let nothing = Credentials { ha1_md5: String::new(), ha1_sha256: String::new() };
                let answer = Answer::Loaded {
                    record: record.clone(),
                    credentials: Some(exists.then_some(nothing)),
                    is_last_known: false,
                };
                core.handle(Input::Answer(id, answer), now);
            }
            Output::Ask(..) | Output::ToEdge { .. } | Output::Notify(_) | Output::Report(_) => {}
        }
    }
}

/// A link for every edge of the record.
fn links(record: &Record, now: UnixTime) -> Vec<Input> {
    let mut edges: Vec<(&str, Vec<String>)> = Vec::new();
    for binding in record.live(now) {
        let Some(Ok(uri)) = binding.path.first().map(|top| NameAddr::parse(top.as_bytes())?.parsed_uri())
        else {
            continue;
        };
        let name = if binding.edge.is_empty() { uri.host_port() } else { &binding.edge };
        match edges.iter_mut().find(|(known, _)| *known == name) {
            Some((_, hosts)) => hosts.push(uri.host_port().to_owned()),
            None => edges.push((name, vec![uri.host_port().to_owned()])),
        }
    }
    let up = |(peer, (name, advertised)): (u32, (&str, Vec<String>))| Input::EdgeUp {
        edge: PeerId(peer),
        name: name.to_owned(),
        advertised,
    };
    (1..).zip(edges).map(up).collect()
}

fn with_nothing_known_of_links(mut why: Why) -> Why {
    why.core = None;
    for bound in &mut why.contacts {
        if bound.flow != Flow::NoPath {
            bound.flow = Flow::NotKnown;
        }
    }
    if let Some(exit) = &mut why.call.exit {
        exit.edges.clear();
        why.call.answer = None;
    }
    why
}
