//! Writing rows: the marks and sums that follow from a change are written in the same transaction.

use std::collections::BTreeMap;

use symbolon_protocol::Encode as _;
use symbolon_store::{CatalogRows as _, CatalogWriter};

use super::{Batch, Catalog, Entry, Kind, Spot, Sums, Waiting, Walk, is_local};
use crate::error::ClientError;

/// An edit of the index. It sees the rows with the changes that were made so far.
pub(crate) struct Editing<'c, 'w> {
    catalog: &'c Catalog,
    pub(super) rows: &'c mut CatalogWriter<'w>,
    sums: Sums,
}

impl Editing<'_, '_> {
    /// One row, with the changes so far.
    pub(crate) fn row<K: Kind>(&self, _: K, key: &[u8]) -> Result<Option<K::Row>, ClientError> {
        let place = self.catalog.place(K::TABLE, key);
        let sealed = self.rows.get(K::TABLE, &place)?;
        sealed.map(|sealed| self.catalog.unseal::<K>(&place, &sealed)).transpose()
    }

    pub(crate) fn put<K: Kind>(
        &mut self,
        _: K,
        key: &[u8],
        row: &K::Row,
    ) -> Result<(), ClientError> {
        self.set(K::TABLE, key, Some(&row.to_bytes()))
    }

    pub(crate) fn remove<K: Kind>(&mut self, _: K, key: &[u8]) -> Result<(), ClientError> {
        self.set(K::TABLE, key, None)
    }

    fn set(&mut self, table: u8, key: &[u8], row: Option<&[u8]>) -> Result<(), ClientError> {
        let Self { catalog, rows, sums } = self;
        if table == Waiting::TABLE {
            let before = catalog.value(*rows, table, key)?;
            sums.note(table, key, before.as_deref(), row);
        }
        if is_local(table) {
            return Ok(rows.apply(catalog.change(table, key, row))?);
        }
        let before = catalog.value(*rows, table, key)?;
        // Removing a row that does not exist changes nothing for other devices.
        if row.is_some() || before.is_some() {
            let mark = catalog.dirty_entry(*rows, table, key, before.as_deref())?;
            sums.note(table, key, before.as_deref(), row);
            rows.apply(catalog.change(table, key, row))?;
            rows.apply(catalog.mark(&mark))?;
        }
        Ok(())
    }
}

impl Editing<'_, '_> {
    /// Makes the changes of a batch.
    pub(crate) fn apply(&mut self, batch: &Batch) -> Result<(), ClientError> {
        for ((table, key), row) in batch.last() {
            self.set(table, key, row)?;
        }
        Ok(())
    }

    /// Passes the entries of the order from `from` on to `take`, with the changes so far.
    pub(crate) fn walk(
        &mut self,
        from: Spot,
        take: impl FnMut(&Entry) -> Walk,
    ) -> Result<(), ClientError> {
        self.catalog.write_order(self.rows, std::mem::take(&mut self.sums.orders))?;
        self.catalog.walk(&*self.rows, from, take)
    }

    /// The first entry of the order at a spot or after it, with the changes so far.
    pub(crate) fn first_at(&mut self, from: Spot) -> Result<Option<Entry>, ClientError> {
        self.catalog.write_order(self.rows, std::mem::take(&mut self.sums.orders))?;
        self.catalog.first_at(&*self.rows, from)
    }
}

impl Batch {
    /// The last change of each row. It is the one that counts.
    fn last(&self) -> BTreeMap<(u8, &[u8]), Option<&[u8]>> {
        let each = self.0.iter();
        each.map(|(table, key, row)| ((*table, key.as_slice()), row.as_deref())).collect()
    }
}

impl Catalog {
    /// Writes one row.
    pub(crate) fn put<K: Kind>(
        &self,
        kind: K,
        key: &[u8],
        row: &K::Row,
    ) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        batch.put(kind, key, row);
        self.write(&batch)
    }

    /// Removes one row, if it exists.
    pub(crate) fn remove<K: Kind>(&self, kind: K, key: &[u8]) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        batch.remove(kind, key);
        self.write(&batch)
    }

    /// Writes a batch as a whole or not at all.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), ClientError> {
        self.edit(|rows| rows.apply(batch))
    }

    /// Changes rows one after another, all of them or none. No other process writes meanwhile, and only the present row
    /// is in memory.
    pub(crate) fn edit<T>(
        &self,
        work: impl FnOnce(&mut Editing<'_, '_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.rows.change(|rows| {
            let mut editing = Editing { catalog: self, rows, sums: Sums::default() };
            let done = work(&mut editing)?;
            let Editing { rows, sums, .. } = editing;
            self.write_sums(rows, sums)?;
            Ok(done)
        })
    }
}
