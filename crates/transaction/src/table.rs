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
