//! The catalog's side of the names index: it knows which rows changed here, and takes over the changes of other
//! devices.
//!
//! A write to a published table marks the row dirty in the same transaction. The mark is removed when the row is on the
//! network, unless the row has changed again meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use symbolon_protocol::{
    Decode, Encode,
    id::{ChainId, Hash},
    names::Change,
};
use symbolon_store::{CatalogChange, CatalogRows, CatalogWriter};

use super::{
    Catalog, Dirty, DirtyEntry, Kind, Known, KnownEntry, LOCAL_FROM, Names, Sums, Uploads,
    is_local, merge::merge_rows,
};
use crate::error::ClientError;

/// Number of removed marks from which on the file is compacted. That takes as long as writing all rows, but publishing
/// so many rows takes that long anyway.
const MARKS_COMPACTED: usize = 4096;

type Place = (u8, [u8; 32]);

/// A row that was published: the place of its mark, the mark, and the digest of the published value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    place: [u8; 32],
    mark: u64,
    digest: Option<Hash>,
}

/// Rows that changed here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpublished {
    /// The mark of each row.
    pub(crate) marks: Vec<Published>,
    /// The present value of each row, in the same order. Empty if the changes are larger than the caller wanted.
    pub(crate) changes: Vec<Change>,
    /// Bytes of all changes.
    pub(crate) bytes: u64,
}

impl Unpublished {
    /// Whether the changes are larger than the caller wanted.
    pub(crate) fn is_too_much(&self) -> bool {
        self.changes.len() < self.marks.len()
    }
}

/// A row of the published index: its key, and the bytes of a change with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace {
    key: Box<[u8]>,
    pub(crate) bytes: u32,
    table: u8,
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

    /// All rows that changed here. Their values are included only if all changes have at most `most` bytes.
    pub(crate) fn unpublished(&self, most: u64) -> Result<Unpublished, ClientError> {
        let rows = self.reader()?;
        let mut out = Unpublished::default();
        let failed = rows.each(Dirty::TABLE, &[], None, |place, sealed| {
            match self.note_unpublished(&rows, (place, sealed), most, &mut out) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        })?;
        out.changes.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        failed.map_or(Ok(out), Err)
    }

    fn note_unpublished(
        &self,
        rows: &impl CatalogRows,
        (place, sealed): (&[u8], &[u8]),
        most: u64,
        out: &mut Unpublished,
    ) -> Result<(), ClientError> {
        let DirtyEntry { table, key, mark, .. } = self.unseal::<Dirty>(place, sealed)?;
        let place = place.try_into();
        let place = place.map_err(|_| ClientError::Index(String::from("a place is too short")))?;
        let value = self.value(rows, table, &key)?;
        out.marks.push(Published { place, mark, digest: digest(value.as_deref()) });
        let change = fitting(Change { table, key, value })?;
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

    /// The keys of all rows of the published index, in the order of changes.
    pub(crate) fn published_places(&self) -> Result<Vec<RowPlace>, ClientError> {
        let rows = self.reader()?;
        let mut out = Vec::new();
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            let failed = rows.each(table, &[], None, |place, sealed| {
                match self.unseal_any(table, place, sealed) {
                    Ok((key, row)) => {
                        let bytes = 1 + 4 + key.len() + 1 + 4 + row.len();
                        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                        out.push(RowPlace { key: key.into(), bytes, table });
                        ControlFlow::Continue(())
                    }
                    Err(error) => ControlFlow::Break(error),
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        out.sort_unstable_by(|one, other| (one.table, &one.key).cmp(&(other.table, &other.key)));
        Ok(out)
    }

    /// Passes the present rows at these places to `take`. A row that was removed meanwhile is left out; it has a mark.
    pub(crate) fn each_published(
        &self,
        places: &[RowPlace],
        mut take: impl FnMut(Change),
    ) -> Result<(), ClientError> {
        let rows = self.reader()?;
        for RowPlace { key, table, .. } in places {
            if let Some(value) = self.value(&rows, *table, key)? {
                let (table, key, value) = (*table, key.to_vec(), Some(value));
                take(fitting(Change { table, key, value })?);
            }
        }
        Ok(())
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
        Ok(rows.apply(self.mark(&self.fresh_entry(*table, key, base)))?)
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
                    rows.apply(self.mark(&self.fresh_entry(table, &key, None)))?;
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

    /// Records that rows are published with the values they had when they were read, and that the uploads with these
    /// journal keys belong to the record.
    pub(crate) fn settle(
        &self,
        published: &[Published],
        uploads: &[Vec<u8>],
        (chain, known): (&ChainId, &KnownEntry),
    ) -> Result<(), ClientError> {
        self.rows.change(|rows| {
            rows.apply(self.change(Known::TABLE, &chain.0, Some(&known.to_bytes())))?;
            for Published { place, mark, digest } in published {
                let Some(now) = rows.get(Dirty::TABLE, place)? else { continue };
                let now = self.unseal::<Dirty>(place, &now)?;
                if now.mark == *mark {
                    rows.apply(CatalogChange::Remove { table: Dirty::TABLE, key: place.to_vec() })?;
                } else {
                    // The row has changed again, based on the value that is on the network now.
                    rows.apply(self.mark(&DirtyEntry { base: *digest, ..now }))?;
                }
            }
            for slot in uploads {
                rows.apply(self.change(Uploads::TABLE, slot, None))?;
            }
            Ok::<_, ClientError>(())
        })?;
        // After publishing a large folder, the marks were half of the file.
        if MARKS_COMPACTED <= published.len()
            && let Err(error) = self.rows.compact()
        {
            tracing::debug!(%error, "the local index keeps room that it does not need");
        }
        Ok(())
    }
}

/// Checks that a change is small enough for every reader.
fn fitting(change: Change) -> Result<Change, ClientError> {
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
