//! A map of bounded size. The least recently used entry is dropped first.

use std::collections::BTreeMap;

/// The map.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    max: usize,
    clock: u64,
    entries: BTreeMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Ord + Copy, V: Clone> Lru<K, V> {
    /// An empty map for so many entries.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, clock: 0, entries: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    /// The value of a key. The entry counts as used now.
    pub(crate) fn find(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, *key);
        Some(value.clone())
    }

    /// Keeps a value, which replaces an earlier one of the same key.
    pub(crate) fn keep(&mut self, key: K, value: V) {
        self.clock += 1;
        if let Some((used, _)) = self.entries.insert(key, (self.clock, value)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.clock, key);
        while self.entries.len() > self.max {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_least_recently_used() {
        let mut map = Lru::new(2);
        map.keep(1, "one");
        map.keep(2, "two");
        assert_eq!(map.find(&1), Some("one"));
        map.keep(3, "three");
        assert_eq!(map.find(&2), None);
        assert_eq!(map.find(&1), Some("one"));
        map.keep(3, "again");
        assert_eq!(map.find(&3), Some("again"));
        assert_eq!(map.by_use.len(), 2);
    }
}
