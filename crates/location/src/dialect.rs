//! What every SQL dialect shares: rows and batches. What differs stands in one file per dialect.

use std::collections::BTreeSet;

use registrar::Record;
use registrar::change::BindingChange;
use sip::Aor;

use crate::stored::{self, changed_edges, decode, due_at, encode, next_version};
use crate::{Page, Save, Saved};

/// A row of `location` that is about to be written.
pub(crate) struct NewRow<'a> {
    /// Its place in the batch.
    pub(crate) index: usize,
    pub(crate) aor: &'a str,
    pub(crate) expected: i64,
    pub(crate) version: i64,
    pub(crate) due_at: i64,
    pub(crate) bindings: String,
    pub(crate) watchers: String,
    /// The edges to be noted, when they may have changed.
    pub(crate) edges: Option<Vec<&'a str>>,
    /// For the change feed.
    pub(crate) changes: &'a [BindingChange],
}

impl<'a> NewRow<'a> {
    fn of(index: usize, save: &'a Save) -> Self {
        let version = next_version(save.expected, &save.record);
        Self {
            index,
            aor: save.aor.as_str(),
            expected: bigint(save.expected),
            version: bigint(version),
            due_at: bigint(due_at(version, &save.record).0),
            bindings: encode(&save.record.bindings),
            watchers: stored::watcher::encode(&save.record.watchers),
            edges: changed_edges(&save.record),
            changes: &save.changes,
        }
    }

    pub(crate) fn saved(&self) -> Saved {
        Saved::Version(unsigned(self.version))
    }

    /// Whether a row with this content is this one. The version alone would not tell: two cores that start from the same
    /// record in the same second make the same version of it.
    pub(crate) fn is_stored(&self, version: i64, bindings: &str, watchers: &str) -> bool {
        self.version == version && self.bindings == bindings && self.watchers == watchers
    }
}

/// The rows that can be written by one statement: no address-of-record twice.
#[derive(Default)]
pub(crate) struct Round<'a> {
    /// Rows that must not be there yet.
    pub(crate) inserts: Vec<NewRow<'a>>,
    /// Rows that replace one of the expected version.
    pub(crate) updates: Vec<NewRow<'a>>,
}

impl Round<'_> {
    /// True if nothing but this one statement is needed.
    pub(crate) fn is_single_update(&self) -> bool {
        self.inserts.is_empty()
            && self.updates.iter().all(|row| row.edges.is_none() && row.changes.is_empty())
    }
}

/// Splits a batch so that its effect is that of its saves one after the other. Nearly always one round: a second one
/// is needed when one record is saved twice from different versions. Saves that repeat the version of an earlier one
/// are conflicts, whatever becomes of that one, and are in no round.
pub(crate) fn rounds(saves: &[Save]) -> Vec<Round<'_>> {
    let mut rounds = Vec::new();
    let mut seen = BTreeSet::new();
    let mut left: Vec<_> =
        saves.iter().enumerate().filter(|(_, save)| seen.insert((&save.aor, save.expected))).collect();
    while !left.is_empty() {
        let mut aors = BTreeSet::new();
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, save)| aors.insert(&save.aor));
        let rows = now.into_iter().map(|(index, save)| NewRow::of(index, save));
        let (inserts, updates) = rows.partition(|row| row.expected == 0);
        rounds.push(Round { inserts, updates });
        left = later;
    }
    rounds
}

/// The edges to be noted: an address-of-record with each.
pub(crate) fn edge_pairs<'r>(rows: &'r [NewRow<'_>]) -> impl Iterator<Item = (&'r str, &'r str)> {
    let edges = |row: &'r NewRow<'_>| row.edges.iter().flatten().map(|edge| (row.aor, *edge));
    rows.iter().flat_map(edges)
}

/// A batch as one parameter.
pub(crate) fn json<T: serde::Serialize>(values: &T) -> String {
    serde_json::to_string(values).expect("strings and numbers always have a JSON form")
}

/// The record of a row.
///
/// Bindings that cannot be read are bindings that nobody can be reached by: the record counts as empty, so the next
/// REGISTER repairs it, and one broken row does not fail the whole batch that it was asked for in. The same holds for
/// watchers: they subscribe again.
pub(crate) fn record(aor: &str, version: i64, bindings: &str, watchers: &str) -> Record {
    let watchers = stored::watcher::decode(watchers).unwrap_or_else(|error| {
        tracing::error!(aor, %error, "stored watchers cannot be read");
        Vec::new()
    });
    let bindings = decode(bindings).unwrap_or_else(|error| {
        tracing::error!(aor, %error, "stored bindings cannot be read");
        Vec::new()
    });
    Record { version: unsigned(version), bindings, watchers }
}

/// A row of `location`: key, version, bindings, watchers.
pub(crate) type StoredRow = (String, i64, String, String);

/// The records of rows, in their order. A key was an [`Aor`] when it was written; one that somebody else has written and
/// that is none does not fail the others.
pub(crate) fn records_of(rows: &[StoredRow]) -> Vec<(Aor, Record)> {
    let record_of = |(key, version, bindings, watchers): &StoredRow| match Aor::parse(key) {
        Ok(aor) => Some((aor, record(key, *version, bindings, watchers))),
        Err(error) => {
            tracing::error!(aor = key, %error, "a stored key is no address");
            None
        }
    };
    rows.iter().filter_map(record_of).collect()
}

/// The records of up to `limit` rows; as many as that are not the last ones.
pub(crate) fn page_of(rows: &[StoredRow], limit: u32) -> Page<(Aor, Record)> {
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let items = records_of(rows);
    let next = items.last().filter(|_| is_full).map(|(aor, _)| aor.clone());
    Page { items, next }
}

/// A value that does not fit is as good as the greatest one that does.
pub(crate) fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_where_one_record_is_saved_twice() {
        let save = |user: &str, expected| Save {
            aor: Aor::parse(&format!("{user}@example.com")).unwrap(),
            expected,
            record: Record::default(),
            changes: Vec::new(),
        };
        let saves = [save("a", 1), save("b", 0), save("a", 2), save("a", 1), save("b", 0), save("c", 3)];
        let rounds = rounds(&saves);
        let indices = |rows: &[NewRow<'_>]| rows.iter().map(|row| row.index).collect::<Vec<_>>();
        assert_eq!(rounds.len(), 2);
        assert_eq!((indices(&rounds[0].inserts), indices(&rounds[0].updates)), (vec![1], vec![0, 5]));
        assert_eq!((indices(&rounds[1].inserts), indices(&rounds[1].updates)), (vec![], vec![2]));
    }

    #[test]
    fn a_broken_row_is_an_empty_record_of_its_version() {
        let empty = Record { version: 7, ..Record::default() };
        assert_eq!(record("sip:a@b", 7, "nonsense", "[]"), empty);
        assert_eq!(record("sip:a@b", 7, "[]", "nonsense"), empty);
    }
}
