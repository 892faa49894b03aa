//! Rows as the rules see them: a source to read from, and an overlay that collects the changes.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    codec::{Decode, Encode},
    ledger::rows::Table,
};

/// A row's key and value, as bytes.
pub type RowBytes = (Vec<u8>, Vec<u8>);

/// A source of rows. An implementation that cannot read (a disk error) answers `None`, remembers the error,
/// and lets its engine drop the block: the rules know no IO errors.
pub trait State {
    /// The value of a row.
    fn row(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Up to `limit` rows whose keys begin with `prefix` and come after `after`, in key order.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<RowBytes>;
}

/// Typed reads over any state.
pub trait StateExt: State {
    /// The row of `table` under `key`.
    fn get<T: Table>(&self, _table: T, key: &T::Key) -> Option<T::Row> {
        let bytes = self.row(&T::key(key))?;
        Some(T::Row::from_bytes(&bytes).expect("rows are written by these rules and decode"))
    }
}

impl<S: State + ?Sized> StateExt for S {}

/// Rows in memory: the simulator's and the tests' state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryState {
    /// Takes over the changes of a block.
    pub fn commit(&mut self, update: &Update) {
        for (key, value) in &update.rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }

    /// All rows, in key order.
    pub fn rows(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.rows.iter()
    }
}

impl State for MemoryState {
    fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(key).cloned()
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<RowBytes> {
        let from = after.unwrap_or(prefix).to_vec();
        self.rows
            .range(from..)
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// The rows a block changed; `None` where a row was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// By key.
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A state with changes on top. Dropping it drops them.
#[derive(Debug)]
pub struct Overlay<'a, S: State + ?Sized> {
    base: &'a S,
    update: Update,
}

impl<'a, S: State + ?Sized> Overlay<'a, S> {
    /// A state without changes.
    #[must_use]
    pub fn new(base: &'a S) -> Self {
        Self { base, update: Update::default() }
    }

    /// Writes a row.
    pub fn put<T: Table>(&mut self, _table: T, key: &T::Key, row: &T::Row) {
        self.update.rows.insert(T::key(key), Some(row.to_bytes()));
    }

    /// Removes a row.
    pub fn remove<T: Table>(&mut self, _table: T, key: &T::Key) {
        self.update.rows.insert(T::key(key), None);
    }

    /// The changes.
    #[must_use]
    pub fn into_update(self) -> Update {
        self.update
    }

    /// The changes so far.
    #[must_use]
    pub fn update(&self) -> &Update {
        &self.update
    }
}

impl<S: State + ?Sized> State for Overlay<'_, S> {
    fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.update.rows.get(key) {
            Some(changed) => changed.clone(),
            None => self.base.row(key),
        }
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<RowBytes> {
        let from = after.unwrap_or(prefix).to_vec();
        let changed: Vec<_> = self
            .update
            .rows
            .range(from..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
            .collect();
        // Removed rows take places in the base's answer, so the code asks for that many more.
        let removed = changed.iter().filter(|(_, value)| value.is_none()).count();
        let base = self.base.scan(prefix, after, limit.saturating_add(removed));
        let mut merged: BTreeMap<_, _> =
            base.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(changed.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        let rows = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        rows.take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{
        amount::Amount,
        id::AccountId,
        ledger::rows::{Account, Accounts},
    };

    fn account(byte: u8) -> (AccountId, Account) {
        let row =
            Account { balance: Amount(u128::from(byte)), deposits: Amount::ZERO, faucet_height: 0 };
        (AccountId([byte; 32]), row)
    }

    #[test]
    fn an_overlay_hides_and_shows() {
        let mut base = MemoryState::default();
        let mut first = Overlay::new(&base);
        for byte in [1, 2, 3] {
            let (id, row) = account(byte);
            first.put(Accounts, &id, &row);
        }
        let update = first.into_update();
        base.commit(&update);

        let mut over = Overlay::new(&base);
        over.remove(Accounts, &account(1).0);
        over.put(Accounts, &account(9).0, &account(9).1);
        assert_eq!(over.get(Accounts, &account(1).0), None);
        assert_eq!(over.get(Accounts, &account(2).0), Some(account(2).1));
        let seen = |limit| -> Vec<u8> {
            let rows = over.scan(&[Accounts::TAG], None, limit);
            rows.iter().map(|(key, _)| key[1]).collect()
        };
        assert_eq!(seen(10), vec![2, 3, 9]);
        assert_eq!(seen(2), vec![2, 3]);
        let after = Accounts::key(&account(2).0);
        assert_eq!(over.scan(&[Accounts::TAG], Some(&after), 10).len(), 2);
    }
}
