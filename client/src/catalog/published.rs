//! The catalog's side of the names index: which rows changed here, and taking over what changed
//! elsewhere.
//!
//! A write to a published table marks the row dirty in the same transaction. The mark goes when the row
//! is on the network, unless the row has changed once more meanwhile.

use std::collections::BTreeSet;

use symbolon_protocol::{Encode, id::ChainId, names::Change};
use symbolon_store::{CatalogChange, CatalogReader};

use super::{
    Catalog, Dirty, DirtyEntry, Kind, Known, KnownEntry, LOCAL_FROM, Uploads, index_error, is_local,
};
use crate::error::ClientError;

/// Changes that go into one transaction: a great index is taken over in steps that fit into memory.
const CHANGES_AT_ONCE: usize = 8192;

type Place = (u8, [u8; 32]);

/// Rows that changed here: what is written down of each, and each as it is now, both in one order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpublished {
    pub(crate) marks: Vec<DirtyEntry>,
    pub(crate) changes: Vec<Change>,
}

impl Catalog {
    pub(super) fn mark_dirty(&self, table: u8, key: &[u8]) -> CatalogChange {
        let mark = u64::from_le_bytes(self.host.random());
        let entry = DirtyEntry { table, key: key.to_vec(), mark };
        self.change(Dirty::TABLE, &dirty_key(table, key), Some(&entry.to_bytes()))
    }

    fn dirty_entries(&self, rows: &CatalogReader) -> Result<Vec<DirtyEntry>, ClientError> {
        let sealed = rows.scan(Dirty::TABLE, &[], None, usize::MAX).map_err(index_error)?;
        sealed.iter().map(|(place, sealed)| self.unseal::<Dirty>(place, sealed)).collect()
    }

    fn value(
        &self,
        rows: &CatalogReader,
        table: u8,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let place = self.place(table, key);
        match rows.get(table, &place).map_err(index_error)? {
            None => Ok(None),
            Some(sealed) => {
                self.unseal_any(table, &place, &sealed).map(|(_, row)| Some(row.to_vec()))
            }
        }
    }

    /// How many rows changed here and are not on the network.
    pub(crate) fn dirty_count(&self) -> Result<usize, ClientError> {
        let rows = self.reader()?.scan(Dirty::TABLE, &[], None, usize::MAX);
        Ok(rows.map_err(index_error)?.len())
    }

    /// All rows that changed here, in the order of changes.
    pub(crate) fn unpublished(&self) -> Result<Unpublished, ClientError> {
        let rows = self.reader()?;
        let mut marks = self.dirty_entries(&rows)?;
        marks.sort_by(|one, other| (one.table, &one.key).cmp(&(other.table, &other.key)));
        let change = |mark: &DirtyEntry| {
            let value = self.value(&rows, mark.table, &mark.key)?;
            Ok(Change { table: mark.table, key: mark.key.clone(), value })
        };
        let changes = marks.iter().map(change).collect::<Result<_, ClientError>>()?;
        Ok(Unpublished { marks, changes })
    }

    /// Every row that belongs to the index, in the order of changes.
    pub(crate) fn published_rows(&self) -> Result<Vec<Change>, ClientError> {
        let rows = self.reader()?;
        let mut out = Vec::new();
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            for (place, sealed) in rows.scan(table, &[], None, usize::MAX).map_err(index_error)? {
                let (key, row) = self.unseal_any(table, &place, &sealed)?;
                out.push(Change { table, key, value: Some(row.to_vec()) });
            }
        }
        out.sort_by(|one, other| one.place().cmp(&other.place()));
        Ok(out)
    }

    /// Takes over what changed elsewhere, all but rows that changed here; gives how many rows that were.
    /// `whole` says that the changes are all rows there are: others that nobody changed here go.
    pub(crate) fn take_over(
        &self,
        changes: &[Change],
        whole: bool,
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<u64, ClientError> {
        let rows = self.open()?;
        let mut out = Vec::new();
        let mut taken = 0;
        let mut keep: BTreeSet<Place> = BTreeSet::new();
        for dirty in self.dirty_entries(&rows)? {
            let at = (dirty.table, dirty.key.as_slice());
            let found = changes.binary_search_by(|change| change.place().cmp(&at));
            let same = match found {
                Ok(place) => self.value(&rows, dirty.table, &dirty.key)? == changes[place].value,
                Err(_) => false,
            };
            // The network has the very row that was to be published: an earlier try came through.
            if same {
                out.push(self.change(Dirty::TABLE, &dirty_key(dirty.table, &dirty.key), None));
            }
            keep.insert((dirty.table, self.place(dirty.table, &dirty.key)));
        }
        for change in changes.iter().filter(|change| !is_local(change.table)) {
            let place = (change.table, self.place(change.table, &change.key));
            if keep.contains(&place) {
                continue;
            }
            if whole {
                keep.insert(place);
            }
            out.push(self.change(change.table, &change.key, change.value.as_deref()));
            taken += 1;
            if out.len() >= CHANGES_AT_ONCE {
                rows.write(std::mem::take(&mut out)).map_err(index_error)?;
            }
        }
        for table in (0..LOCAL_FROM).filter(|table| whole && !is_local(*table)) {
            for (place, _) in rows.scan(table, &[], None, usize::MAX).map_err(index_error)? {
                let known = <[u8; 32]>::try_from(place.as_slice());
                if !known.is_ok_and(|place| keep.contains(&(table, place))) {
                    out.push(CatalogChange::Remove { table, key: place });
                    taken += 1;
                }
            }
        }
        out.push(self.change(Known::TABLE, &chain.0, Some(&known.to_bytes())));
        rows.write(out).map_err(index_error)?;
        Ok(taken)
    }

    /// Writes down that rows are on the network as they were when they were looked at, and that the
    /// uploads of these names are part of it.
    pub(crate) fn settle(
        &self,
        published: &[DirtyEntry],
        uploads: &[Vec<u8>],
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<(), ClientError> {
        let rows = self.open()?;
        let mut out = vec![self.change(Known::TABLE, &chain.0, Some(&known.to_bytes()))];
        for mark in published {
            let key = dirty_key(mark.table, &mark.key);
            let now = self.value(&rows, Dirty::TABLE, &key)?;
            if now.as_deref() == Some(&mark.to_bytes()) {
                out.push(self.change(Dirty::TABLE, &key, None));
            }
        }
        for slot in uploads {
            out.push(self.change(Uploads::TABLE, slot, None));
        }
        rows.write(out).map_err(index_error)
    }
}

fn dirty_key(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key].concat()
}
