//! The transactions of one side, found by key (messages) or by number (the TU, deadlines).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;

/// One transaction and what the layer keeps beside it.
#[derive(Debug)]
pub(crate) struct Entry<M> {
    pub(crate) machine: M,
    pub(crate) key: Arc<[u8]>,
    /// A second key that finds it: the ACK of an RFC 2543 client.
    alias: Option<Arc<[u8]>>,
    /// The time of its entry in [`crate::deadline::Heap`].
    pub(crate) armed: Option<Instant>,
}

/// Nothing iterates here except to make a sorted list: hash order never reaches behaviour.
#[derive(Debug)]
pub(crate) struct Table<M> {
    index: HashMap<Arc<[u8]>, u64, RandomState>,
    entries: HashMap<u64, Entry<M>, RandomState>,
}

impl<M> Table<M> {
    pub(crate) fn new(hasher: &RandomState) -> Self {
        Self { index: HashMap::with_hasher(hasher.clone()), entries: HashMap::with_hasher(hasher.clone()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<u64> {
        self.index.get(key).copied()
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Entry<M>> {
        self.entries.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Entry<M>> {
        self.entries.get_mut(&id)
    }

    /// From now on `key` finds this transaction.
    pub(crate) fn insert(&mut self, id: u64, key: &[u8], machine: M) {
        let key: Arc<[u8]> = Arc::from(key);
        self.index.insert(Arc::clone(&key), id);
        self.entries.insert(id, Entry { machine, key, alias: None, armed: None });
    }

    /// `key` finds it too.
    pub(crate) fn alias(&mut self, id: u64, key: &[u8]) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let key: Arc<[u8]> = Arc::from(key);
            self.index.insert(Arc::clone(&key), id);
            entry.alias = Some(key);
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<M> {
        let Entry { machine, key, alias, .. } = self.entries.remove(&id)?;
        self.unlink(&key, id);
        if let Some(alias) = alias {
            self.unlink(&alias, id);
        }
        Some(machine)
    }

    /// The numbers of the transactions that `wanted` selects, oldest first.
    pub(crate) fn select(&self, wanted: impl Fn(&M) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| wanted(&entry.machine)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// A key that a younger transaction has taken over stays with that one.
    fn unlink(&mut self, key: &[u8], id: u64) {
        if self.index.get(key) == Some(&id) {
            self.index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<char> {
        Table::new(&RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn what_is_removed_leaves_no_key_behind() {
        let mut table = table();
        table.insert(1, b"one", 'a');
        table.alias(1, b"uno");
        assert_eq!((table.find(b"one"), table.find(b"uno")), (Some(1), Some(1)));
        assert_eq!(table.remove(1), Some('a'));
        assert!(table.index.is_empty() && table.entries.is_empty());
    }

    #[test]
    fn a_key_that_was_taken_over_stays() {
        let mut table = table();
        table.insert(1, b"one", 'a');
        table.insert(2, b"one", 'b');
        table.remove(1);
        assert_eq!(table.find(b"one"), Some(2));
        table.remove(2);
        assert!(table.index.is_empty());
    }

    #[test]
    fn a_selection_is_in_order_of_age() {
        let mut table = table();
        for id in [5, 3, 9, 1, 7] {
            table.insert(id, &[u8::try_from(id).unwrap()], 'a');
        }
        assert_eq!(table.select(|_| true), [1, 3, 5, 7, 9]);
    }
}
