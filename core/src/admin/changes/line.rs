//! One change as a line of JSON, alone or as a server-sent event (HTML Living Standard §9.2).

use bytes::{BufMut, BytesMut};
use location::feed::Change;
use registrar::{Binding, BindingKey, UnixTime};
use serde::Serialize;
use sip::Aor;

use crate::contact::{Contact, shown};

/// What a reader wants to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-ndjson`
    Lines,
    /// `text/event-stream`
    Events,
}

impl Form {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    pub(super) fn change(self, to: &mut BytesMut, change: &Change) {
        let line = Line {
            event: change.change.event.as_str(),
            position: Some(change.position),
            at: Some(change.change.at.0),
            ..Line::of(&change.aor, change.version, &change.change.binding, change.change.at)
        };
        self.line(to, &line, Some(change.position));
    }

    /// A binding of the snapshot. It has no position: who is cut off begins again.
    pub(super) fn bound(self, to: &mut BytesMut, aor: &Aor, version: u64, binding: &Binding, now: UnixTime) {
        self.line(to, &Line::of(aor, version, binding, now), None);
    }

    /// From here on the changes after this position follow.
    pub(super) fn live(self, to: &mut BytesMut, position: u64) {
        let line = Line { event: "live", position: Some(position), ..Line::default() };
        self.line(to, &line, Some(position));
    }

    /// Nothing has happened.
    pub(super) fn heartbeat(self, to: &mut BytesMut, position: u64) {
        match self {
            Self::Lines => {
                let line = Line { event: "heartbeat", position: Some(position), ..Line::default() };
                self.line(to, &line, None);
            }
            Self::Events => to.put_slice(b":\n\n"),
        }
    }

    fn line(self, to: &mut BytesMut, line: &Line<'_>, id: Option<u64>) {
        if self == Self::Events {
            if let Some(id) = id {
                to.put_slice(format!("id: {id}\n").as_bytes());
            }
            to.put_slice(b"data: ");
        }
        // JSON escapes what would end the line.
        let json = serde_json::to_vec(line).expect("strings and numbers always have a JSON form");
        to.put_slice(&json);
        to.put_slice(if self == Self::Events { b"\n\n" } else { b"\n" });
    }
}

/// What stands in a line. Fields are only added.
#[derive(Serialize, Default)]
struct Line<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Of all bindings of the address: grows with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// In seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    /// What names the binding among those of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<Contact>,
}

impl Line<'_> {
    fn of(aor: &Aor, version: u64, binding: &Binding, now: UnixTime) -> Self {
        Self {
            event: "bound",
            address: Some(shown(aor)),
            version: Some(version),
            key: Some(match binding.key() {
                BindingKey::Instance { instance, reg_id } => format!("{instance};reg-id={reg_id}"),
                BindingKey::Contact { contact } => contact,
            }),
            contact: Some(Contact::of(binding, now)),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(what: impl FnOnce(&mut BytesMut)) -> String {
        let mut to = BytesMut::new();
        what(&mut to);
        String::from_utf8(to.to_vec()).unwrap()
    }

    #[test]
    fn a_line_ends_and_an_event_has_an_id_and_an_empty_line() {
        assert_eq!(text(|to| Form::Lines.live(to, 7)), "{\"event\":\"live\",\"position\":7}\n");
        assert_eq!(
            text(|to| Form::Events.live(to, 7)),
            "id: 7\ndata: {\"event\":\"live\",\"position\":7}\n\n"
        );
        assert_eq!(text(|to| Form::Lines.heartbeat(to, 7)), "{\"event\":\"heartbeat\",\"position\":7}\n");
        assert_eq!(text(|to| Form::Events.heartbeat(to, 7)), ":\n\n", "a comment is no event");
    }
}
