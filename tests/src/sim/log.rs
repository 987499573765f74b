//! The record of what was on the wire, for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::oracle::Wire;

/// What has happened, in order.
#[derive(Debug)]
pub(super) struct Log {
    entries: Vec<Entry>,
    quiet: bool,
    whole: bool,
}

#[derive(Debug)]
enum Entry {
    Message { at: Duration, wire: Wire, arrivals: Vec<Duration> },
    Note { at: Duration, text: String },
}

impl Default for Log {
    /// `SIM_LOG=full` writes whole messages. Of many seeds only one that is replayed by `SIM_SEED` is shown.
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            quiet: false,
            whole: std::env::var("SIM_LOG").is_ok_and(|log| log == "full"),
        }
    }
}

impl Log {
    pub(super) fn message(&mut self, at: Duration, wire: &Wire, arrivals: &[Duration]) {
        self.entries.push(Entry::Message { at, wire: wire.clone(), arrivals: arrivals.to_vec() });
    }

    pub(super) fn note(&mut self, at: Duration, text: String) {
        self.entries.push(Entry::Note { at, text });
    }

    pub(super) fn set_quiet(&mut self) {
        self.quiet = true;
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn wires(&self) -> impl Iterator<Item = &Wire> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Message { wire, .. } => Some(wire),
            Entry::Note { .. } => None,
        })
    }

    /// One line for each entry.
    pub(super) fn ladder(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let _ = match entry {
                Entry::Note { at, text: note } => writeln!(text, "{:>9.3} *** {note}", at.as_secs_f64()),
                Entry::Message { at, wire, arrivals } => {
                    let _ = writeln!(text, "{:>9.3} {}", at.as_secs_f64(), line(wire, arrivals));
                    if self.whole {
                        writeln!(text, "{}", String::from_utf8_lossy(&wire.bytes))
                    } else {
                        Ok(())
                    }
                }
            };
        }
        text
    }
}

fn line(wire: &Wire, arrivals: &[Duration]) -> String {
    let seen = &*wire.seen;
    let what = if seen.is_request() {
        format!("{} {}", seen.method, seen.uri)
    } else {
        format!("{} ({})", seen.status, seen.method)
    };
    let fate = match arrivals.len() {
        0 => "  LOST",
        1 => "",
        _ => "  twice",
    };
    let (from, to) = (wire.from.to_string(), wire.to.to_string());
    let branch = seen.branch(0);
    format!("{from:>5} → {to:<5} {what}  [{} #{} {branch}]{fate}", seen.call_id, seen.cseq)
}
