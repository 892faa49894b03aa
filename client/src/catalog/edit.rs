//! Writing rows: whatever a change makes of them, the marks and sums that follow from it are written with it.

use std::collections::BTreeMap;

use symbolon_protocol::Encode as _;
use symbolon_store::{CatalogRows as _, CatalogWriter};

use super::{Batch, Catalog, Kind, Sums, is_local};
use crate::error::ClientError;

/// Rows that are being changed, as they are by now.
pub(crate) struct Editing<'c, 'w> {
    catalog: &'c Catalog,
    pub(super) rows: &'c mut CatalogWriter<'w>,
    sums: Sums,
}

impl Editing<'_, '_> {
    /// One row.
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
        if is_local(table) {
            return Ok(rows.apply(catalog.change(table, key, row))?);
        }
        let before = catalog.value(*rows, table, key)?;
        // That a row is gone which never was is no news for other devices.
        if row.is_some() || before.is_some() {
            let mark = catalog.dirty_entry(*rows, table, key, before.as_deref())?;
            sums.note(table, key, before.as_deref(), row);
            rows.apply(catalog.change(table, key, row))?;
            rows.apply(catalog.mark(&mark))?;
        }
        Ok(())
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

    /// Removes one row, if it is there.
    pub(crate) fn remove<K: Kind>(&self, kind: K, key: &[u8]) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        batch.remove(kind, key);
        self.write(&batch)
    }

    /// Writes a batch, all of it or nothing.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), ClientError> {
        // What is said last of a row holds.
        let last: BTreeMap<(u8, &[u8]), Option<&[u8]>> = batch
            .0
            .iter()
            .map(|(table, key, row)| ((*table, key.as_slice()), row.as_deref()))
            .collect();
        self.edit(|rows| {
            last.into_iter().try_for_each(|((table, key), row)| rows.set(table, key, row))
        })
    }

    /// Changes rows one after another, all of them or none. Nobody else writes meanwhile, and only the row at hand
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
