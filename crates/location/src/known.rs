//! What was known last, for the calls that go on while the store is away.
//!
//! Bounded in number and in age. Two generations: what is asked for or stored goes into the young one, and when that is
//! full it becomes the old one, and what was old is forgotten. Only what exists is kept: nobody is told that a user
//! is not there, or not registered, without the store.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use registrar::Record;
use sip::Aor;

use crate::{Credentials, User};

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Remember {
    /// Addresses-of-record, and as many users. 0: none.
    pub size: usize,
    /// How long after it was last seen in the store.
    pub age: Duration,
}

impl Default for Remember {
    fn default() -> Self {
        Self { size: 100_000, age: Duration::from_secs(3_600) }
    }
}

/// Records and credentials as they were when the store last spoke of them.
pub(crate) struct Known {
    age: Duration,
    tables: Mutex<Tables>,
}

struct Tables {
    records: Table<Aor, Record>,
    users: Table<User, Credentials>,
}

impl Known {
    pub(crate) fn new(limits: Remember) -> Self {
        let tables = Tables { records: Table::new(limits.size), users: Table::new(limits.size) };
        Self { age: limits.age, tables: Mutex::new(tables) }
    }

    /// The store has shown or taken this record.
    pub(crate) fn note_record(&self, aor: &Aor, record: &Record, now: Instant) {
        let mut tables = self.tables();
        if record.bindings.is_empty() {
            tables.records.forget(aor);
        } else if !tables.records.touch(aor, now, |known| known.version == record.version) {
            tables.records.put(aor.clone(), record.clone(), now);
        }
    }

    /// The store has shown these credentials.
    pub(crate) fn note_user(&self, user: &User, credentials: Option<&Credentials>, now: Instant) {
        let mut tables = self.tables();
        match credentials {
            None => tables.users.forget(user),
            Some(proof) => {
                if !tables.users.touch(user, now, |known| known == proof) {
                    tables.users.put(user.clone(), proof.clone(), now);
                }
            }
        }
    }

    pub(crate) fn record(&self, aor: &Aor, now: Instant) -> Option<Record> {
        self.tables().records.get(aor, now, self.age).cloned()
    }

    pub(crate) fn credentials(&self, user: &User, now: Instant) -> Option<Credentials> {
        self.tables().users.get(user, now, self.age).cloned()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Table<K, V> {
    /// Of one generation.
    size: usize,
    young: HashMap<K, (V, Instant)>,
    old: HashMap<K, (V, Instant)>,
}

impl<K: Hash + Eq, V> Table<K, V> {
    fn new(size: usize) -> Self {
        Self { size: size / 2, young: HashMap::new(), old: HashMap::new() }
    }

    /// Makes a value young again if it is still the same; false if it is not there, or another one.
    fn touch(&mut self, key: &K, now: Instant, is_same: impl Fn(&V) -> bool) -> bool {
        if let Some((value, at)) = self.young.get_mut(key) {
            let is_same = is_same(value);
            if is_same {
                *at = now;
            }
            return is_same;
        }
        match self.old.remove_entry(key) {
            Some((key, (value, _))) if is_same(&value) => {
                self.put(key, value, now);
                true
            }
            Some(_) | None => false,
        }
    }

    fn put(&mut self, key: K, value: V, now: Instant) {
        if self.size == 0 {
            return;
        }
        if self.young.len() >= self.size && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, (value, now));
    }

    fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    fn get(&self, key: &K, now: Instant, age: Duration) -> Option<&V> {
        let (value, at) = self.young.get(key).or_else(|| self.old.get(key))?;
        (now.saturating_duration_since(*at) <= age).then_some(value)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let (mut table, now) = (Table::new(4), Instant::now());
        for key in 0..100 {
            table.put(key, key, now);
            table.touch(&0, now, |_| true);
            assert!(table.young.len() + table.old.len() <= 4, "{key}");
        }
        assert_eq!(table.get(&0, now, AGE), Some(&0));
        assert_eq!(table.get(&99, now, AGE), Some(&99));
        assert_eq!(table.get(&50, now, AGE), None);
    }

    #[test]
    fn what_is_too_old_is_not_known() {
        let (mut table, now) = (Table::new(4), Instant::now());
        table.put(1, "a", now);
        assert_eq!(table.get(&1, now + AGE, AGE), Some(&"a"));
        assert_eq!(table.get(&1, now + AGE + Duration::from_millis(1), AGE), None);
        assert!(table.touch(&1, now + AGE, |_| true));
        assert_eq!(table.get(&1, now + AGE * 2, AGE), Some(&"a"));
        // Another value is not the same one seen again.
        assert!(!table.touch(&1, now + AGE * 9, |known| *known == "b"));
        assert_eq!(table.get(&1, now + AGE * 9, AGE), None);
    }

    #[test]
    fn a_change_replaces_what_was_known_in_either_generation() {
        let (mut table, now) = (Table::new(4), Instant::now());
        for key in 1..=3 {
            table.put(key, "a", now);
        }
        table.put(1, "b", now);
        assert_eq!(table.get(&1, now, AGE), Some(&"b"));
        table.forget(&1);
        assert_eq!(table.get(&1, now, AGE), None);
    }

    #[test]
    fn nothing_is_kept_without_a_size() {
        let (mut table, now) = (Table::new(0), Instant::now());
        table.put(1, 1, now);
        assert_eq!(table.get(&1, now, AGE), None);
    }
}
