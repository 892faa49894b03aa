//! The catalog's side of the names index: which rows changed here, and taking over what changed
//! elsewhere.
//!
//! A write to a published table marks the row dirty in the same transaction. The mark goes when the row
//! is on the network, unless the row has changed once more meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Encode,
    id::{ChainId, Hash},
    names::Change,
};
use symbolon_store::{CatalogChange, CatalogReader};

use super::{
    Catalog, Dirty, DirtyEntry, Kind, Known, KnownEntry, LOCAL_FROM, Names, Sums, Uploads,
    index_error, is_local, merge::merge_rows,
};
use crate::error::ClientError;

/// Changes that go into one transaction: a great index is taken over in steps that fit into memory.
const CHANGES_AT_ONCE: usize = 8192;

/// From so many marks on that go at once, their room is given back: that takes as long as writing all rows, which
/// is what publishing so many takes anyway.
const MARKS_COMPACTED: usize = 4096;

type Place = (u8, [u8; 32]);

/// A row that was put on the network: its mark, and the digest of what was said of it.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    mark: DirtyEntry,
    digest: Option<Hash>,
}

/// Rows that changed here: what is written down of each, and each as it is now, both in one order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpublished {
    pub(crate) marks: Vec<Published>,
    pub(crate) changes: Vec<Change>,
}

/// What changes of the network are, beside the rows here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What became of some rows since the record that is known here.
    Some,
    /// All rows there are, in a record that was made from the one that is known here.
    Whole,
    /// All rows there are, in a record that was not: what is known here and not there was lost there.
    Branch,
}

/// What the network says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) changes: &'a [Change],
    pub(crate) extent: Extent,
    /// Whether this device has set the record itself.
    pub(crate) own: bool,
}

/// Changes that go into one transaction.
#[derive(Debug, Default)]
struct Step {
    out: Vec<CatalogChange>,
    sums: Sums,
}

/// What taking it over did.
#[derive(Clone, Debug, Default)]
pub(crate) struct TookOver {
    /// Rows that changed here.
    pub(crate) rows: u64,
    /// Names that two devices gave or changed without knowing of one another.
    pub(crate) merged: Vec<Vec<u8>>,
}

pub(super) fn digest(row: Option<&[u8]>) -> Option<Hash> {
    row.map(|row| Hash(*blake3::hash(row).as_bytes()))
}

fn dirty_key(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key].concat()
}

impl Catalog {
    /// What is written down of a row that changes here and is `before` until then.
    pub(super) fn dirty_entry(
        &self,
        rows: &CatalogReader,
        table: u8,
        key: &[u8],
        before: Option<&[u8]>,
    ) -> Result<DirtyEntry, ClientError> {
        let known = self.value(rows, Dirty::TABLE, &dirty_key(table, key))?;
        let base = match known {
            Some(known) => decode(&known)?.base,
            None => digest(before),
        };
        Ok(self.fresh_entry(table, key, base))
    }

    fn fresh_entry(&self, table: u8, key: &[u8], base: Option<Hash>) -> DirtyEntry {
        let mark = u64::from_le_bytes(self.host.random());
        DirtyEntry { table, key: key.to_vec(), mark, base }
    }

    pub(super) fn mark(&self, entry: &DirtyEntry) -> CatalogChange {
        self.change(Dirty::TABLE, &dirty_key(entry.table, &entry.key), Some(&entry.to_bytes()))
    }

    fn unmark(&self, entry: &DirtyEntry) -> CatalogChange {
        self.change(Dirty::TABLE, &dirty_key(entry.table, &entry.key), None)
    }

    fn dirty_entries(&self, rows: &CatalogReader) -> Result<Vec<DirtyEntry>, ClientError> {
        let sealed = rows.scan(Dirty::TABLE, &[], None, usize::MAX).map_err(index_error)?;
        sealed.iter().map(|(place, sealed)| self.unseal::<Dirty>(place, sealed)).collect()
    }

    pub(super) fn value(
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
        let mut entries = self.dirty_entries(&rows)?;
        entries.sort_by(|one, other| (one.table, &one.key).cmp(&(other.table, &other.key)));
        let mut out = Unpublished::default();
        for mark in entries {
            let value = self.value(&rows, mark.table, &mark.key)?;
            let digest = digest(value.as_deref());
            out.changes.push(Change { table: mark.table, key: mark.key.clone(), value });
            out.marks.push(Published { mark, digest });
        }
        Ok(out)
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

    /// Takes over what changed elsewhere. A row that changed here too is made of both; nothing that is
    /// stored is lost by that, see `merge`.
    pub(crate) fn take_over(
        &self,
        taken: Taken<'_>,
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<TookOver, ClientError> {
        let rows = self.open()?;
        let dirty = self.dirty_entries(&rows)?.into_iter();
        let dirty = dirty.map(|entry| ((entry.table, entry.key.clone()), entry)).collect();
        let mut took = TookOver::default();
        let mut told: BTreeSet<Place> = BTreeSet::new();
        let mut step = Step::default();
        for change in taken.changes.iter().filter(|change| !is_local(change.table)) {
            if taken.extent != Extent::Some {
                told.insert((change.table, self.place(change.table, &change.key)));
            }
            self.take_change(&rows, &dirty, taken, change, &mut took, &mut step)?;
            if step.out.len() >= CHANGES_AT_ONCE {
                let out = self.finish(&rows, std::mem::take(&mut step))?;
                rows.write(out).map_err(index_error)?;
            }
        }
        if taken.extent != Extent::Some {
            self.take_absent(&rows, &dirty, taken.extent, &told, &mut took, &mut step)?;
        }
        let mut out = self.finish(&rows, step)?;
        out.push(self.change(Known::TABLE, &chain.0, Some(&known.to_bytes())));
        rows.write_and_close(out).map_err(index_error)?;
        Ok(took)
    }

    /// The changes of a step, with what follows from them.
    fn finish(&self, rows: &CatalogReader, step: Step) -> Result<Vec<CatalogChange>, ClientError> {
        let Step { mut out, sums } = step;
        out.extend(self.sum_changes(rows, sums)?);
        Ok(out)
    }

    /// Has a row written that is `before` until then.
    fn take_row(
        &self,
        step: &mut Step,
        (table, key): (u8, &[u8]),
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) {
        step.sums.note(table, key, before, after);
        step.out.push(self.change(table, key, after));
    }

    /// Takes over what the network says of one row.
    fn take_change(
        &self,
        rows: &CatalogReader,
        dirty: &BTreeMap<(u8, Vec<u8>), DirtyEntry>,
        taken: Taken<'_>,
        change: &Change,
        took: &mut TookOver,
        step: &mut Step,
    ) -> Result<(), ClientError> {
        let Change { table, key, value: theirs } = change;
        let mark = dirty.get(&(*table, key.clone()));
        let ours = self.value(rows, *table, key)?;
        if mark.is_none() && taken.extent != Extent::Branch {
            self.take_row(step, (*table, key), ours.as_deref(), theirs.as_deref());
            took.rows += 1;
            return Ok(());
        }
        if ours == *theirs {
            // The network has the very row that was to be published: an earlier try came through.
            step.out.extend(mark.map(|mark| self.unmark(mark)));
            return Ok(());
        }
        let base = digest(theirs.as_deref());
        let merged = match mark {
            // Nobody else has changed it, or this device has set what is there.
            Some(mark) if taken.own || (taken.extent != Extent::Branch && mark.base == base) => {
                ours.clone()
            }
            // On another branch a row that is not here is news, and one that is here is not gone.
            None if ours.is_none() => theirs.clone(),
            _ => merge_rows(*table, ours.as_deref(), theirs.as_deref()),
        };
        if merged != ours {
            self.take_row(step, (*table, key), ours.as_deref(), merged.as_deref());
            took.rows += 1;
            if *table == Names::TABLE && mark.is_some() {
                took.merged.push(key.clone());
            }
        }
        if merged == *theirs {
            step.out.extend(mark.map(|mark| self.unmark(mark)));
        } else {
            step.out.push(self.mark(&self.fresh_entry(*table, key, base)));
        }
        Ok(())
    }

    /// Looks at the rows here of which the network says nothing, though it says all there is.
    fn take_absent(
        &self,
        rows: &CatalogReader,
        dirty: &BTreeMap<(u8, Vec<u8>), DirtyEntry>,
        extent: Extent,
        told: &BTreeSet<Place>,
        took: &mut TookOver,
        step: &mut Step,
    ) -> Result<(), ClientError> {
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            for (place, sealed) in rows.scan(table, &[], None, usize::MAX).map_err(index_error)? {
                let known = <[u8; 32]>::try_from(place.as_slice());
                if known.is_ok_and(|place| told.contains(&(table, place))) {
                    continue;
                }
                let (key, row) = self.unseal_any(table, &place, &sealed)?;
                match dirty.get(&(table, key.clone())) {
                    Some(mark) => {
                        step.out.push(self.mark(&DirtyEntry { base: None, ..mark.clone() }));
                    }
                    None if extent == Extent::Branch => {
                        step.out.push(self.mark(&self.fresh_entry(table, &key, None)));
                    }
                    None => {
                        self.take_row(step, (table, &key), Some(&row), None);
                        took.rows += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes down that rows are on the network as they were when they were looked at, and that the
    /// uploads of these names are part of it.
    pub(crate) fn settle(
        &self,
        published: &[Published],
        uploads: &[Vec<u8>],
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<(), ClientError> {
        let mut rows = self.open()?;
        let mut out = vec![self.change(Known::TABLE, &chain.0, Some(&known.to_bytes()))];
        for Published { mark, digest } in published {
            let Some(now) = self.value(&rows, Dirty::TABLE, &dirty_key(mark.table, &mark.key))?
            else {
                continue;
            };
            let now = decode(&now)?;
            if now.mark == mark.mark {
                out.push(self.unmark(mark));
            } else {
                // It has changed once more, from what is on the network now.
                out.push(self.mark(&DirtyEntry { base: *digest, ..now }));
            }
        }
        for slot in uploads {
            out.push(self.change(Uploads::TABLE, slot, None));
        }
        if published.len() < MARKS_COMPACTED {
            return rows.write_and_close(out).map_err(index_error);
        }
        // The marks of a great folder were half of the file.
        rows.write(out).map_err(index_error)?;
        if let Err(error) = rows.compact() {
            tracing::debug!(%error, "the local index keeps room that it does not need");
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<DirtyEntry, ClientError> {
    use symbolon_protocol::Decode;
    DirtyEntry::from_bytes(bytes).map_err(|error| ClientError::Index(error.to_string()))
}
