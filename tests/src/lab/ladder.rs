//! A call as a ladder: one column for every place, one row for every message.

use std::fmt::Write as _;
use std::time::Duration;

use super::wire::Hop;

/// The columns of a ladder, from left to right.
#[derive(Debug, Clone)]
pub struct Ladder {
    columns: Vec<Column>,
    colours: bool,
}

/// A place where messages come from and go to.
#[derive(Debug, Clone)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// A line below the title; empty: the names that have a part in what is drawn.
    pub detail: String,
    /// The names and addresses that mean this place, with what to call each of them.
    pub names: Vec<(String, String)>,
}

/// Characters before the first line of life.
const MARGIN: usize = 9;
/// From one line of life to the next.
const GAP: usize = 17;

impl Ladder {
    /// With these columns; `colours` for a terminal.
    pub fn new(columns: Vec<Column>, colours: bool) -> Self {
        Self { columns, colours }
    }

    /// Draws these messages in the order in which they were sent.
    pub fn draw(&self, hops: &[Hop]) -> String {
        let mut hops: Vec<&Hop> = hops.iter().collect();
        hops.sort_by_key(|hop| hop.at);
        let begin = hops.first().map_or(Duration::ZERO, |hop| hop.at);
        let mut text = String::new();
        let titles = self.columns.iter().map(|column| column.title.as_str());
        let details: Vec<String> = self.columns.iter().map(|column| column.detail(&hops)).collect();
        let _ = writeln!(text, "{}", centred(titles));
        let _ = writeln!(text, "{}", centred(details.iter().map(String::as_str)));
        for hop in hops {
            let (Some(from), Some(to)) = (self.column(&hop.from), self.column(&hop.to)) else { continue };
            let time = (hop.at - begin).as_secs_f64() * 1e3;
            let row = format!("{time:>6.1}ms {}  {}", self.row(from, to, &hop.start), self.note(hop));
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text
    }

    /// True when requests of this method went from each place to the next, from the first to the last.
    pub fn crosses(&self, hops: &[Hop], method: &str) -> bool {
        (1..self.columns.len()).all(|to| {
            hops.iter().any(|hop| {
                hop.start.split(' ').next() == Some(method)
                    && self.column(&hop.from) == Some(to - 1)
                    && self.column(&hop.to) == Some(to)
            })
        })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.names.iter().any(|(known, _)| known == name))
    }

    /// What a name or an address is called.
    fn call<'a>(&'a self, name: &'a str) -> &'a str {
        let mut names = self.columns.iter().flat_map(|column| &column.names);
        names.find(|(known, _)| known == name).map_or(name, |(_, called)| called)
    }

    /// The lines of life with one arrow between two of them.
    fn row(&self, from: usize, to: usize, start: &str) -> String {
        let (left, right) = (from.min(to), from.max(to));
        let mut row = String::new();
        for column in 0..self.columns.len() {
            row.push('│');
            if column == left && left < right {
                row.push_str(&self.arrow(start, (right - left) * GAP - 1, from < to));
            } else if column + 1 < self.columns.len() && !(left..right).contains(&column) {
                row.push_str(&" ".repeat(GAP - 1));
            }
        }
        row
    }

    fn arrow(&self, start: &str, width: usize, rightwards: bool) -> String {
        let label = label(start);
        let label = shortened(&label, width.saturating_sub(4));
        let dashes = width.saturating_sub(label.chars().count() + 3);
        let (before, after) = ("─".repeat(dashes / 2), "─".repeat(dashes - dashes / 2));
        let arrow = if rightwards {
            format!("{before} {label} {after}▶")
        } else {
            format!("◀{before} {label} {after}")
        };
        match (self.colours, colour(start)) {
            (true, colour) => format!("\x1b[{colour}m{arrow}\x1b[0m"),
            (false, _) => arrow,
        }
    }

    fn note(&self, hop: &Hop) -> String {
        let mut parts = Vec::new();
        let of_hop = [("via", &hop.via), ("route", &hop.route), ("path", &hop.path)];
        for (name, host) in of_hop {
            if let Some(host) = host {
                parts.push(format!("{name} {}", self.call(host)));
            }
        }
        parts.join(" ")
    }
}

impl Column {
    fn detail(&self, hops: &[&Hop]) -> String {
        if !self.detail.is_empty() {
            return self.detail.clone();
        }
        let takes_part = |name: &&str| hops.iter().any(|hop| hop.from == **name || hop.to == **name);
        let names: Vec<&str> = self.names.iter().map(|(name, _)| name.as_str()).filter(takes_part).collect();
        names.join(" ")
    }
}

/// A request is its method, a response its status and phrase.
fn label(start: &str) -> String {
    match start.split_once(' ') {
        Some((method, _)) if !start.starts_with(|c: char| c.is_ascii_digit()) => method.to_owned(),
        _ => start.to_owned(),
    }
}

/// Requests cyan, provisional answers grey, success green, the rest yellow.
fn colour(start: &str) -> &'static str {
    match start.as_bytes().first() {
        Some(b'1') => "90",
        Some(b'2') => "32",
        Some(b'3'..=b'6') => "33",
        _ => "36",
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Texts centred above the lines of life.
fn centred<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (at, text) in texts.enumerate() {
        let begin = (MARGIN + at * GAP).saturating_sub(text.chars().count() / 2);
        let fill = begin.saturating_sub(line.chars().count());
        line.push_str(&" ".repeat(fill));
        line.push_str(text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder {
        let column = |title: &str, name: &str| Column {
            title: title.into(),
            detail: String::new(),
            names: vec![(name.into(), title.to_lowercase())],
        };
        Ladder::new(
            vec![column("UA1", "192.0.2.1:5060"), column("EP1", "ep1"), column("core", "core1")],
            false,
        )
    }

    fn hop(at: u64, from: &str, to: &str, start: &str) -> Hop {
        Hop {
            at: Duration::from_millis(at),
            from: from.into(),
            to: to.into(),
            start: start.into(),
            cseq: "1 INVITE".into(),
            call_id: "c".into(),
            via: Some("192.0.2.1:5060".into()),
            route: None,
            path: None,
        }
    }

    #[test]
    fn every_message_is_an_arrow_between_its_places() {
        let hops = [
            hop(11, "ep1", "core1", "INVITE sip:***@x"),
            hop(10, "192.0.2.1:5060", "ep1", "INVITE sip:***@x"),
            hop(12, "core1", "ep1", "407 Proxy Authentication Required"),
        ];
        let drawn = ladder().draw(&hops);
        let rows: Vec<&str> = drawn.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "   0.0ms │─── INVITE ────▶│                │  via ua1",
                "   1.0ms │                │─── INVITE ────▶│  via ua1",
                "   2.0ms │                │◀ 407 Proxy A… ─│  via ua1",
            ]
        );
    }

    #[test]
    fn a_request_crosses_when_every_hop_was_seen() {
        let mut hops = vec![hop(1, "192.0.2.1:5060", "ep1", "BYE sip:***@x")];
        assert!(!ladder().crosses(&hops, "BYE"));
        hops.push(hop(2, "ep1", "core1", "BYE sip:***@x"));
        assert!(ladder().crosses(&hops, "BYE"));
        assert!(!ladder().crosses(&hops, "INVITE"));
    }
}
