//! The catalog's side of the names index: it knows which rows changed here, and takes over the changes of other
//! devices.
//!
//! A write to a published table marks the row dirty in the same transaction. The mark is removed when the row is on the
//! network, unless the row has changed again meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use symbolon_protocol::{
    Decode, Encode,
    id::{ChainId, Hash},
    names::Change,
};
use symbolon_store::{CatalogChange, CatalogReader, CatalogRows, CatalogWriter};

use super::{
    Catalog, Dirty, DirtyEntry, Folders, Kind, Known, KnownEntry, LOCAL_FROM, Names, Sums, Uploads,
    is_local, merge::merge_rows,
};
use crate::error::ClientError;

/// Number of removed marks from which on the file is compacted, if it has few other rows.
const MARKS_COMPACTED: usize = 4096;

/// The file is compacted if it has at most this many times as many names as it had marks. Compacting takes as long as
/// writing all rows, so it must not follow a change of a few of them. The room of a few marks is soon used again.
const NAMES_PER_MARK: u64 = 4;

type Place = (u8, [u8; 32]);

/// All rows as they were at one moment. While it exists, the file keeps them, whatever is written meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(pub(super) Arc<CatalogReader>);

/// Rows that changed here.
#[derive(Clone, Debug)]
pub(crate) struct Unpublished {
    /// The index at the moment in which they were read.
    pub(crate) at: Snapshot,
    /// Number of these rows.
    pub(crate) count: usize,
    /// The value of each row. Empty if the changes are larger than the caller wanted.
    pub(crate) changes: Vec<Change>,
    /// Bytes of all changes.
    pub(crate) bytes: u64,
}

impl Unpublished {
    /// Whether the changes are larger than the caller wanted.
    pub(crate) fn is_too_much(&self) -> bool {
        self.changes.len() < self.count
    }
}

/// How the changes from the network relate to the rows here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The changes of some rows since the record that is known here.
    Some,
    /// All rows of a record that was made from the one that is known here.
    Whole,
    /// All rows of a record that was not made from the one that is known here. Rows that are known here and missing
    /// there were lost there.
    Branch,
}

/// The changes from the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) changes: &'a [Change],
    pub(crate) extent: Extent,
    /// Whether this device has set the record itself.
    pub(crate) own: bool,
}

/// The result of taking changes over.
#[derive(Clone, Debug, Default)]
pub(crate) struct TookOver {
    /// Number of rows that changed here.
    pub(crate) rows: u64,
    /// Names that two devices gave or changed without knowing of each other.
    pub(crate) merged: Vec<Vec<u8>>,
}

/// The state of a takeover.
struct Taking<'a> {
    taken: Taken<'a>,
    /// The marks of the rows that changed here and are not published, as they were before the takeover.
    dirty: BTreeMap<(u8, Vec<u8>), DirtyEntry>,
    took: TookOver,
    sums: Sums,
}

pub(super) fn digest(row: Option<&[u8]>) -> Option<Hash> {
    row.map(|row| Hash(*blake3::hash(row).as_bytes()))
}

fn dirty_key(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key].concat()
}

impl Catalog {
    /// The mark for a row that changes here and has the value `before` until then.
    pub(super) fn dirty_entry(
        &self,
        rows: &impl CatalogRows,
        table: u8,
        key: &[u8],
        before: Option<&[u8]>,
    ) -> Result<DirtyEntry, ClientError> {
        let known = self.value(rows, Dirty::TABLE, &dirty_key(table, key))?;
        let base = match known {
            Some(known) => decode(&known)?.base,
            None => digest(before),
        };
        Ok(DirtyEntry { table, key: key.to_vec(), base })
    }

    pub(super) fn mark(&self, entry: &DirtyEntry) -> CatalogChange {
        self.change(Dirty::TABLE, &dirty_key(entry.table, &entry.key), Some(&entry.to_bytes()))
    }

    fn unmark(&self, entry: &DirtyEntry) -> CatalogChange {
        self.change(Dirty::TABLE, &dirty_key(entry.table, &entry.key), None)
    }

    pub(super) fn value(
        &self,
        rows: &impl CatalogRows,
        table: u8,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let place = self.place(table, key);
        match rows.get(table, &place)? {
            None => Ok(None),
            Some(sealed) => {
                self.unseal_any(table, &place, &sealed).map(|(_, row)| Some(row.to_vec()))
            }
        }
    }

    /// Number of rows that changed here and are not published.
    pub(crate) fn dirty_count(&self) -> Result<usize, ClientError> {
        let mut count = 0;
        self.reader()?.each(Dirty::TABLE, &[], None, |_, _| {
            count += 1;
            ControlFlow::<()>::Continue(())
        })?;
        Ok(count)
    }

    /// All rows as they are now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ClientError> {
        Ok(Snapshot(Arc::new(self.reader()?)))
    }

    /// All rows that changed here. Their values are included only if all changes have at most `most` bytes.
    pub(crate) fn unpublished(&self, most: u64) -> Result<Unpublished, ClientError> {
        let at = self.snapshot()?;
        let mut out = Unpublished { at: at.clone(), count: 0, changes: Vec::new(), bytes: 0 };
        let failed = at.0.each(Dirty::TABLE, &[], None, |place, sealed| {
            match self.note_unpublished((place, sealed), most, &mut out) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        })?;
        out.changes.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        failed.map_or(Ok(out), Err)
    }

    fn note_unpublished(
        &self,
        (place, sealed): (&[u8], &[u8]),
        most: u64,
        out: &mut Unpublished,
    ) -> Result<(), ClientError> {
        let DirtyEntry { table, key, .. } = self.unseal::<Dirty>(place, sealed)?;
        let value = self.value(&*out.at.0, table, &key)?;
        let change = fitting(Change { table, key, value })?;
        out.count += 1;
        out.bytes = out.bytes.saturating_add(change.size() as u64);
        match out.bytes <= most {
            true => out.changes.push(change),
            false => out.changes = Vec::new(),
        }
        Ok(())
    }

    /// Whether the published index has any row here.
    pub(crate) fn has_published_rows(&self) -> Result<bool, ClientError> {
        let rows = self.reader()?;
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            if !rows.scan(table, &[], None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes over the changes of other devices. A row that changed here too is merged. No stored version is lost by
    /// that: see `merge`.
    pub(crate) fn take_over(
        &self,
        taken: Taken<'_>,
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<TookOver, ClientError> {
        self.rows.change(|rows| {
            let mut dirty = BTreeMap::new();
            self.each_row(rows, Dirty, &[], |entry: DirtyEntry| {
                dirty.insert((entry.table, entry.key.clone()), entry);
            })?;
            let mut taking =
                Taking { taken, dirty, took: TookOver::default(), sums: Sums::default() };
            let mut told: BTreeSet<Place> = BTreeSet::new();
            for change in taken.changes.iter().filter(|change| !is_local(change.table)) {
                if taken.extent != Extent::Some {
                    told.insert((change.table, self.place(change.table, &change.key)));
                }
                self.take_change(rows, change, &mut taking)?;
            }
            if taken.extent != Extent::Some {
                self.take_absent(rows, &told, &mut taking)?;
            }
            self.write_sums(rows, taking.sums)?;
            rows.apply(self.change(Known::TABLE, &chain.0, Some(&known.to_bytes())))?;
            Ok(taking.took)
        })
    }

    /// Writes a row that has the value `before` until then.
    fn take_row(
        &self,
        rows: &mut CatalogWriter<'_>,
        sums: &mut Sums,
        (table, key): (u8, &[u8]),
        [before, after]: [Option<&[u8]>; 2],
    ) -> Result<(), ClientError> {
        sums.note(table, key, before, after);
        Ok(rows.apply(self.change(table, key, after))?)
    }

    /// Takes over one change from the network.
    fn take_change(
        &self,
        rows: &mut CatalogWriter<'_>,
        change: &Change,
        taking: &mut Taking<'_>,
    ) -> Result<(), ClientError> {
        let Change { table, key, value: theirs } = change;
        let Taking { taken, dirty, took, sums } = taking;
        let mark = dirty.get(&(*table, key.clone()));
        let ours = self.value(rows, *table, key)?;
        if mark.is_none() && taken.extent != Extent::Branch {
            let change = [ours.as_deref(), theirs.as_deref()];
            self.take_row(rows, sums, (*table, key), change)?;
            took.rows += 1;
            return Ok(());
        }
        if ours == *theirs {
            // The network already has the row that was to be published, so an earlier attempt succeeded.
            return mark.map_or(Ok(()), |mark| Ok(rows.apply(self.unmark(mark))?));
        }
        let base = digest(theirs.as_deref());
        let merged = match mark {
            // No other device has changed the row, or this device has set the network's value itself.
            Some(mark) if taken.own || (taken.extent != Extent::Branch && mark.base == base) => {
                ours.clone()
            }
            // On another branch, a row that is missing here is new, and a row that is missing there was not removed.
            None if ours.is_none() => theirs.clone(),
            _ => merge_rows(*table, ours.as_deref(), theirs.as_deref()),
        };
        if merged != ours {
            let change = [ours.as_deref(), merged.as_deref()];
            self.take_row(rows, sums, (*table, key), change)?;
            took.rows += 1;
            if *table == Names::TABLE && mark.is_some() {
                took.merged.push(key.clone());
            }
        }
        if merged == *theirs {
            return mark.map_or(Ok(()), |mark| Ok(rows.apply(self.unmark(mark))?));
        }
        Ok(rows.apply(self.mark(&DirtyEntry { table: *table, key: key.clone(), base }))?)
    }

    /// Handles the rows here that the network does not have, when its changes are all rows.
    fn take_absent(
        &self,
        rows: &mut CatalogWriter<'_>,
        told: &BTreeSet<Place>,
        taking: &mut Taking<'_>,
    ) -> Result<(), ClientError> {
        let mut absent: Vec<Place> = Vec::new();
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            let damaged = rows.each(table, &[], None, |place, _| {
                let Ok(place) = place.try_into() else { return ControlFlow::Break(()) };
                if !told.contains(&(table, place)) {
                    absent.push((table, place));
                }
                ControlFlow::Continue(())
            })?;
            if damaged.is_some() {
                return Err(ClientError::Index(String::from("a place is too short")));
            }
        }
        for (table, place) in absent {
            let Some(sealed) = rows.get(table, &place)? else { continue };
            let (key, row) = self.unseal_any(table, &place, &sealed)?;
            match taking.dirty.get(&(table, key.clone())) {
                Some(mark) => {
                    rows.apply(self.mark(&DirtyEntry { base: None, ..mark.clone() }))?;
                }
                None if taking.taken.extent == Extent::Branch => {
                    rows.apply(self.mark(&DirtyEntry { table, key, base: None }))?;
                }
                None => {
                    let change = [Some(row.as_slice()), None];
                    self.take_row(rows, &mut taking.sums, (table, &key), change)?;
                    taking.took.rows += 1;
                }
            }
        }
        Ok(())
    }

    /// Records that the rows that were unpublished at one moment are published with the values they had then, and that
    /// the uploads with these journal keys belong to the record.
    pub(crate) fn settle(
        &self,
        published: Option<Snapshot>,
        uploads: &[Vec<u8>],
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<(), ClientError> {
        let removed = self.rows.change(|rows| {
            rows.apply(self.change(Known::TABLE, &chain.0, Some(&known.to_bytes())))?;
            for slot in uploads {
                rows.apply(self.change(Uploads::TABLE, slot, None))?;
            }
            published.as_ref().map_or(Ok(0), |at| self.unmark_published(rows, at))
        })?;
        // While a reader holds old rows, nothing is compacted.
        drop(published);
        if self.is_worth_compacting(removed)?
            && let Err(error) = self.rows.compact()
        {
            tracing::debug!(%error, "the local index keeps room that it does not need");
        }
        Ok(())
    }

    /// Removes the marks of rows that are published as they were at one moment. Gives the number of removed marks.
    fn unmark_published(
        &self,
        rows: &mut CatalogWriter<'_>,
        at: &Snapshot,
    ) -> Result<usize, ClientError> {
        let mut removed = 0;
        let failed = at.0.each(Dirty::TABLE, &[], None, |place, then| {
            match self.settle_mark(rows, at, (place, then)) {
                Ok(gone) => {
                    removed += usize::from(gone);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        })?;
        failed.map_or(Ok(removed), Err)
    }

    fn settle_mark(
        &self,
        rows: &mut CatalogWriter<'_>,
        at: &Snapshot,
        (place, then): (&[u8], &[u8]),
    ) -> Result<bool, ClientError> {
        let Some(now) = rows.get(Dirty::TABLE, place)? else { return Ok(false) };
        // Each change seals the mark anew, under another nonce.
        if now == then {
            rows.apply(CatalogChange::Remove { table: Dirty::TABLE, key: place.to_vec() })?;
            return Ok(true);
        }
        // The row has changed again, based on the value that is on the network now.
        let DirtyEntry { table, key, .. } = self.unseal::<Dirty>(place, &now)?;
        let base = digest(self.value(&*at.0, table, &key)?.as_deref());
        rows.apply(self.mark(&DirtyEntry { table, key, base }))?;
        Ok(false)
    }

    /// Whether the marks of many rows were a large part of the file.
    pub(super) fn is_worth_compacting(&self, marks: usize) -> Result<bool, ClientError> {
        if marks < MARKS_COMPACTED {
            return Ok(false);
        }
        let names = self.row(Folders, b"")?.map_or(0, |all| all.names);
        Ok(names <= NAMES_PER_MARK.saturating_mul(marks as u64))
    }
}

/// Checks that a change is small enough for every reader.
pub(super) fn fitting(change: Change) -> Result<Change, ClientError> {
    match change.fits() {
        true => Ok(change),
        false => Err(ClientError::Index(format!(
            "a row of table {} is too large for the names index",
            change.table
        ))),
    }
}

fn decode(bytes: &[u8]) -> Result<DirtyEntry, ClientError> {
    DirtyEntry::from_bytes(bytes).map_err(|error| ClientError::Index(error.to_string()))
}
