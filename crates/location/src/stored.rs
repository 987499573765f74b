//! What is stored of a record: its version, when it is due, its bindings and its watchers as JSON.
//!
//! The JSON is read by other versions of this program and by operators: fields are only added, a missing one has a
//! default, an unknown one is ignored.

use std::borrow::Cow;

use registrar::{Binding, Record, UnixTime};
use serde::{Deserialize, Serialize};

pub(crate) mod watcher;

/// How long a record that is empty is kept, in seconds, counted from the newest registration that it has had. It only
/// has to be longer than the clocks of two cores are apart.
pub const SWEEP_GRACE: u32 = 600;

/// The version of `record` when it replaces the one at `expected`.
///
/// Greater than `expected`, and not below the milliseconds of the newest registration or subscription: an address-of-record that
/// comes back after its row was swept never meets a version that it once had.
pub fn next_version(expected: u64, record: &Record) -> u64 {
    let bindings = record.bindings.iter().map(|binding| binding.updated_at.0);
    let watchers = record.watchers.iter().map(|watcher| watcher.updated_at.0);
    let newest = bindings.chain(watchers).max().unwrap_or(0);
    newest.saturating_mul(1_000).max(expected.saturating_add(1)).min(MAX_BIGINT)
}

/// When a record of this version has to be looked at: something in it is over, or it is empty and may be swept.
///
/// An empty record has nothing to tell the time by but its version: that is the time of its newest registration.
pub(crate) fn due_at(version: u64, record: &Record) -> UnixTime {
    let due = record.due_at().unwrap_or_else(|| UnixTime(version / 1_000).after(SWEEP_GRACE + 1));
    UnixTime(due.0.min(MAX_BIGINT))
}

/// The edges that the bindings of `record` came through, if the last REGISTER may have changed them.
///
/// A binding that is new or has moved says so by its `registered_at`, which a refresh leaves behind.
pub(crate) fn changed_edges(record: &Record) -> Option<Vec<&str>> {
    if !record.bindings.iter().any(|binding| binding.registered_at == binding.updated_at) {
        return None;
    }
    let mut edges: Vec<_> = record.bindings.iter().map(|binding| binding.edge.as_str()).collect();
    edges.sort_unstable();
    edges.dedup();
    Some(edges)
}

/// The bindings as JSON text.
pub(crate) fn encode(bindings: &[Binding]) -> String {
    if bindings.is_empty() {
        return NOTHING.to_owned();
    }
    let stored: Vec<_> = bindings.iter().map(Stored::of).collect();
    serde_json::to_string(&stored).expect("strings and numbers always have a JSON form")
}

/// The bindings of JSON text.
pub(crate) fn decode(text: &str) -> Result<Vec<Binding>, serde_json::Error> {
    let stored: Vec<Stored<'_>> = serde_json::from_str(text)?;
    Ok(stored.into_iter().map(Stored::into_binding).collect())
}

/// One binding as JSON text.
pub(crate) fn encode_one(binding: &Binding) -> String {
    serde_json::to_string(&Stored::of(binding)).expect("strings and numbers always have a JSON form")
}

/// The binding of JSON text.
pub(crate) fn decode_one(text: &str) -> Result<Binding, serde_json::Error> {
    Ok(serde_json::from_str::<Stored<'_>>(text)?.into_binding())
}

/// A [`Binding`] in JSON.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored<'a> {
    #[serde(borrow)]
    contact: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    params: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<u16>,
    expires_at: u64,
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    cseq: u32,
    path: Cow<'a, [String]>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    instance: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reg_id: Option<u32>,
    #[serde(skip_serializing_if = "is_zero")]
    gruu_epoch: u64,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    user_agent: Cow<'a, str>,
    #[serde(borrow)]
    edge: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    registered_at: u64,
    updated_at: u64,
    #[serde(borrow)]
    written_by: Cow<'a, str>,
}

impl<'a> Stored<'a> {
    fn of(binding: &'a Binding) -> Self {
        Self {
            contact: Cow::Borrowed(&binding.contact),
            params: Cow::Borrowed(&binding.params),
            q: (binding.q != Q_DEFAULT).then_some(binding.q),
            expires_at: binding.expires_at.0,
            call_id: Cow::Borrowed(&binding.call_id),
            cseq: binding.cseq,
            path: Cow::Borrowed(&binding.path),
            instance: binding.instance.as_deref().map(Cow::Borrowed),
            reg_id: binding.reg_id,
            gruu_epoch: binding.gruu_epoch,
            user_agent: Cow::Borrowed(&binding.user_agent),
            edge: Cow::Borrowed(&binding.edge),
            source: Cow::Borrowed(&binding.source),
            registered_at: binding.registered_at.0,
            updated_at: binding.updated_at.0,
            written_by: Cow::Borrowed(&binding.written_by),
        }
    }

    fn into_binding(self) -> Binding {
        Binding {
            contact: self.contact.into_owned(),
            params: self.params.into_owned(),
            q: self.q.unwrap_or(Q_DEFAULT),
            expires_at: UnixTime(self.expires_at),
            call_id: self.call_id.into_owned(),
            cseq: self.cseq,
            path: self.path.into_owned(),
            instance: self.instance.map(Cow::into_owned),
            reg_id: self.reg_id,
            gruu_epoch: self.gruu_epoch,
            user_agent: self.user_agent.into_owned(),
            edge: self.edge.into_owned(),
            source: self.source.into_owned(),
            registered_at: UnixTime(self.registered_at),
            updated_at: UnixTime(self.updated_at),
            written_by: self.written_by.into_owned(),
        }
    }
}

/// An empty list. The sweeper knows empty records by this text.
pub(crate) const NOTHING: &str = "[]";

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// RFC 3261 §20.10: a contact without q.
const Q_DEFAULT: u16 = 1000;
/// The greatest value of a BIGINT column.
const MAX_BIGINT: u64 = i64::MAX as u64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use registrar::Watcher;

    pub(crate) fn binding(edge: &str, registered_at: u64, updated_at: u64) -> Binding {
        Binding {
            contact: "sip:a@[2001:db8::1];x=\"\u{e9}\\\"".to_owned(),
            params: ";+sip.instance=\"<urn:uuid:1>\"".to_owned(),
            q: 500,
            expires_at: UnixTime(updated_at + 60),
            call_id: "c".to_owned(),
            cseq: u32::MAX,
            path: vec!["<sip:2@b;lr>".to_owned(), "<sip:1@a;lr;ob>".to_owned()],
            instance: Some("urn:uuid:1".to_owned()),
            reg_id: Some(1),
            gruu_epoch: (1 << 48) - 1,
            user_agent: "Phone\t1".to_owned(),
            edge: edge.to_owned(),
            source: "udp:192.0.2.1:5060".to_owned(),
            registered_at: UnixTime(registered_at),
            updated_at: UnixTime(updated_at),
            written_by: "core-1".to_owned(),
        }
    }

    fn record(bindings: Vec<Binding>) -> Record {
        Record { bindings, ..Record::default() }
    }

    #[test]
    fn json_brings_back_every_field() {
        let plain = Binding { q: 1000, instance: None, reg_id: None, path: vec![], ..binding("a", 1, 2) };
        let bindings = vec![binding("a", 1, 2), plain];
        assert_eq!(decode(&encode(&bindings)).unwrap(), bindings);
        assert_eq!(decode_one(&encode_one(&bindings[0])).unwrap(), bindings[0]);
        assert_eq!(decode(&encode(&[])).unwrap(), []);
    }

    #[test]
    fn json_of_other_versions_is_read() {
        let found = decode(r#"[{"contact":"sip:a@b","expires_at":9,"later":{"x":[1]}}]"#).unwrap();
        assert_eq!(
            (found[0].contact.as_str(), found[0].q, found[0].expires_at),
            ("sip:a@b", 1000, UnixTime(9))
        );
        assert!(decode("{").is_err());
    }

    #[test]
    fn versions_grow_and_keep_up_with_time() {
        let now = 1_700_000_000;
        assert_eq!(next_version(0, &record(vec![binding("a", now, now)])), now * 1_000);
        assert_eq!(next_version(now * 1_000, &record(vec![binding("a", now, now)])), now * 1_000 + 1);
        assert_eq!(next_version(7, &record(vec![])), 8);
        let watcher = Watcher { updated_at: UnixTime(now), ..Watcher::default() };
        let watched = Record { watchers: vec![watcher], ..Record::default() };
        assert_eq!(next_version(7, &watched), now * 1_000);
        assert_eq!(next_version(u64::MAX, &record(vec![])), MAX_BIGINT);
    }

    #[test]
    fn an_emptied_record_is_kept_for_the_time_in_its_version() {
        assert_eq!(due_at(5_000, &record(vec![])), UnixTime(5 + 600 + 1));
        assert_eq!(due_at(u64::MAX, &record(vec![])), UnixTime(u64::MAX / 1_000 + 601));
    }

    #[test]
    fn a_record_is_due_when_the_first_of_its_parts_is() {
        let mut record = record(vec![binding("a", 1, 2), binding("a", 1, 50)]);
        assert_eq!(due_at(5_000, &record), UnixTime(62));
        record.watchers.push(Watcher { expires_at: UnixTime(30), ..Watcher::default() });
        assert_eq!(due_at(5_000, &record), UnixTime(30));
    }

    #[test]
    fn only_new_and_moved_bindings_change_edges() {
        let moved = [binding("b", 9, 9), binding("a", 1, 8), binding("b", 1, 7)];
        assert_eq!(changed_edges(&record(moved.to_vec())), Some(vec!["a", "b"]));
        assert_eq!(changed_edges(&record(vec![binding("b", 1, 9), binding("a", 8, 10)])), None);
        assert_eq!(changed_edges(&record(vec![])), None);
    }
}
