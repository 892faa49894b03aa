//! Sums over the names, so that no command has to read all names to work on one of them: the contents of a folder, how
//! much of an object is in use, until when objects are paid, and which objects need attention.
//!
//! All of them follow from the rows of names and objects, no matter which device wrote these rows, and change in the
//! same transaction. So neither a crash between two writes nor a second device can make them wrong.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{Decode, Encode, LedgerTime, id::ObjectId, record};
use symbolon_store::{CatalogChange, CatalogRows, CatalogWriter};

use super::{
    Catalog, Content, Editing, FileKind, Folders, ItemEntry, ItemPartEntry, ItemParts, ItemRange,
    Items, Kind, NameEntry, Names, ObjectEntry, Objects, Terms, Used, Watched, order::Orders,
    parent,
};
use crate::error::ClientError;

record! {
    /// The totals of a folder and all folders in it.
    pub(crate) struct FolderSums {
        pub(crate) path: Vec<u8>,
        /// Number of rows, including those of removed names.
        pub(crate) names: u64,
        /// Number of names that are not removed.
        pub(crate) live: u64,
        /// Number of those that are files.
        pub(crate) files: u64,
        /// Number of bytes of these files.
        pub(crate) bytes: u64,
    }
}

record! {
    /// How much of an object is in use.
    #[derive(Copy)]
    pub(crate) struct UsedEntry {
        pub(crate) object: ObjectId,
        /// Number of ranges that names and items have in any version. Each range counts once for a name, and once for
        /// a version of an item.
        pub(crate) ranges: u64,
        /// Number of their bytes.
        pub(crate) bytes: u64,
        /// Number of files that are in it now.
        pub(crate) files: u64,
        /// Number of their bytes.
        pub(crate) file_bytes: u64,
    }
}

record! {
    /// Objects that end at the same time.
    #[derive(Copy)]
    pub(crate) struct TermEntry {
        pub(crate) end: u64,
        pub(crate) paid_until_ms: LedgerTime,
        pub(crate) objects: u64,
        /// Number of files that are in them now.
        pub(crate) files: u64,
    }
}

record! {
    /// An object that may need attention: see [`Watch`].
    #[derive(Copy)]
    pub(crate) struct WatchedEntry {
        pub(crate) object: ObjectId,
    }
}

/// The reason why an object may need attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// No name stands for it.
    Unused(Box<ObjectEntry>),
    /// It is a pack that is mostly dead.
    Sparse(Box<ObjectEntry>),
    /// Names stand for it, but it has no row: it was stored again in another object, or it is gone.
    Gone(UsedEntry),
}

/// The change of a sum.
type Delta = i128;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FolderDelta([Delta; 4]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UsedDelta([Delta; 4]);

#[derive(Clone, Copy, Debug, Default)]
struct TermDelta([Delta; 2]);

/// The changes of all sums.
#[derive(Debug, Default)]
pub(super) struct Sums {
    folders: BTreeMap<Vec<u8>, FolderDelta>,
    used: BTreeMap<ObjectId, UsedDelta>,
    /// Objects whose rows change, each with its term before and after.
    objects: BTreeMap<ObjectId, [Option<Term>; 2]>,
    pub(super) orders: Orders,
}

/// The fields of an object's row that the sums need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    kind: FileKind,
    length: u64,
    end: u64,
    paid_until_ms: LedgerTime,
}

impl Term {
    fn of(entry: &ObjectEntry) -> Self {
        let ObjectEntry { kind, end, paid_until_ms, .. } = *entry;
        Self { kind, length: entry.manifest.length, end, paid_until_ms }
    }

    fn key(&self) -> (u64, LedgerTime) {
        (self.end, self.paid_until_ms)
    }
}

fn term_key((end, paid_until_ms): (u64, LedgerTime)) -> Vec<u8> {
    [end.to_le_bytes(), paid_until_ms.0.to_le_bytes()].concat()
}

fn add(sums: &mut [Delta], more: &[Delta], sign: Delta) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += sign * more;
    }
}

/// A sum after its change. A sum below zero was wrong before, and nothing may be removed because of it.
fn summed(sum: u64, delta: Delta) -> Result<u64, ClientError> {
    u64::try_from(Delta::from(sum) + delta)
        .map_err(|_| ClientError::Internal(String::from("the sums of the local index are wrong")))
}

/// Whether an object needs attention, judged by its row and its use.
fn is_watched(object: Option<Term>, used: &UsedEntry) -> bool {
    match object.map(|term| (term.kind, term.length)) {
        None => used.ranges > 0,
        Some((FileKind::Own | FileKind::Item, _)) => used.ranges == 0,
        Some((FileKind::Pack | FileKind::ItemPack, length)) => {
            used.ranges == 0 || used.is_sparse(length)
        }
        Some(_) => false,
    }
}

impl UsedEntry {
    fn none(object: ObjectId) -> Self {
        Self { object, ranges: 0, bytes: 0, files: 0, file_bytes: 0 }
    }

    /// Whether less than half of an object is in use. Bytes of a range count for every name that has it, so an object
    /// may seem fuller than it is until these names are removed.
    fn is_sparse(&self, length: u64) -> bool {
        self.bytes < length.saturating_sub(self.bytes)
    }

    fn with(self, delta: UsedDelta) -> Result<Self, ClientError> {
        let [ranges, bytes, files, file_bytes] = delta.0;
        Ok(Self {
            object: self.object,
            ranges: summed(self.ranges, ranges)?,
            bytes: summed(self.bytes, bytes)?,
            files: summed(self.files, files)?,
            file_bytes: summed(self.file_bytes, file_bytes)?,
        })
    }
}

impl Sums {
    /// Notes a changed row. A row that this program cannot read, because another version of it wrote the row, counts as
    /// no row.
    pub(super) fn note(
        &mut self,
        table: u8,
        key: &[u8],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) {
        match table {
            Names::TABLE => {
                for (row, sign) in [(before, -1), (after, 1)] {
                    if let Some(row) = row.and_then(|row| NameEntry::from_bytes(row).ok()) {
                        self.name(key, &row, sign);
                    }
                }
            }
            Objects::TABLE => {
                let term = |row| ObjectEntry::from_bytes(row).ok().map(|entry| Term::of(&entry));
                let (before, after) = (before.and_then(term), after.and_then(term));
                if let Ok(object) = key.try_into().map(ObjectId) {
                    self.objects.entry(object).or_insert([before, None])[1] = after;
                }
            }
            Items::TABLE => {
                for (row, sign) in [(before, -1), (after, 1)] {
                    if let Some(row) = row.and_then(|row| ItemEntry::from_bytes(row).ok()) {
                        self.ranges(row.ranges(), sign);
                    }
                }
            }
            ItemParts::TABLE => {
                for (row, sign) in [(before, -1), (after, 1)] {
                    if let Some(row) = row.and_then(|row| ItemPartEntry::from_bytes(row).ok()) {
                        self.ranges(&row.ranges, sign);
                    }
                }
            }
            _ => {}
        }
        self.orders.note(table, key, before, after);
    }

    fn ranges(&mut self, ranges: &[ItemRange], sign: Delta) {
        let place = |range: &ItemRange| (range.object, range.first, range.length);
        let each: BTreeSet<_> = ranges.iter().map(place).collect();
        for (object, _, length) in each {
            add(&mut self.used.entry(object).or_default().0, &[1, length.into(), 0, 0], sign);
        }
    }

    fn name(&mut self, name: &[u8], row: &NameEntry, sign: Delta) {
        let now = row.current();
        let file = now.and_then(|now| match now.content {
            Content::File { object, first, length } => Some((object, first, length)),
            Content::Link { .. } | Content::Folder => None,
        });
        let bytes = file.map_or(0, |(.., length)| length);
        let own = [1, Delta::from(now.is_some()), Delta::from(file.is_some()), bytes.into()];
        let mut folder = parent(name);
        while let Some(path) = folder {
            add(&mut self.folders.entry(path.to_vec()).or_default().0, &own, sign);
            folder = parent(path);
        }
        let mut ranges = BTreeSet::new();
        for version in &row.versions {
            if let Content::File { object, first, length } = version.content {
                ranges.insert((object, first, length));
            }
        }
        for (object, _, length) in ranges {
            add(&mut self.used.entry(object).or_default().0, &[1, length.into(), 0, 0], sign);
        }
        if let Some((object, _, length)) = file {
            add(&mut self.used.entry(object).or_default().0, &[0, 0, 1, length.into()], sign);
        }
    }
}

impl Catalog {
    /// Writes the sums that follow from the noted changes. The changed rows may be written before or after.
    pub(super) fn write_sums(
        &self,
        rows: &mut CatalogWriter<'_>,
        mut sums: Sums,
    ) -> Result<(), ClientError> {
        self.write_order(rows, std::mem::take(&mut sums.orders))?;
        for change in self.sum_changes(rows, sums)? {
            rows.apply(change)?;
        }
        Ok(())
    }

    fn sum_changes(
        &self,
        rows: &impl CatalogRows,
        sums: Sums,
    ) -> Result<Vec<CatalogChange>, ClientError> {
        let Sums { folders, used, objects, .. } = sums;
        let mut out = Vec::new();
        for (path, delta) in
            folders.into_iter().filter(|(_, delta)| *delta != FolderDelta::default())
        {
            let now = self.kept(rows, Folders, &path)?;
            let [names, live, files, bytes] = delta.0;
            let sums = FolderSums {
                names: summed(now.as_ref().map_or(0, |now| now.names), names)?,
                live: summed(now.as_ref().map_or(0, |now| now.live), live)?,
                files: summed(now.as_ref().map_or(0, |now| now.files), files)?,
                bytes: summed(now.as_ref().map_or(0, |now| now.bytes), bytes)?,
                path,
            };
            let row = (sums.names > 0).then(|| sums.to_bytes());
            out.push(self.change(Folders::TABLE, &sums.path, row.as_deref()));
        }
        let touched: BTreeSet<ObjectId> = used.keys().chain(objects.keys()).copied().collect();
        let mut terms: BTreeMap<(u64, LedgerTime), TermDelta> = BTreeMap::new();
        for object in touched {
            let before = self.kept(rows, Used, &object.0)?.unwrap_or(UsedEntry::none(object));
            let after = before.with(used.get(&object).copied().unwrap_or_default())?;
            let [old, new] = match objects.get(&object) {
                Some(terms) => *terms,
                None => {
                    let row = self.kept(rows, Objects, &object.0)?;
                    [row.as_ref().map(Term::of); 2]
                }
            };
            for (term, files, sign) in [(old, before.files, -1), (new, after.files, 1)] {
                if let Some(term) = term {
                    add(&mut terms.entry(term.key()).or_default().0, &[1, files.into()], sign);
                }
            }
            if before != after {
                let row = (after != UsedEntry::none(object)).then(|| after.to_bytes());
                out.push(self.change(Used::TABLE, &object.0, row.as_deref()));
            }
            let watched = is_watched(new, &after);
            if watched != is_watched(old, &before) {
                let row = watched.then(|| WatchedEntry { object }.to_bytes());
                out.push(self.change(Watched::TABLE, &object.0, row.as_deref()));
            }
        }
        for (key, TermDelta([objects, files])) in
            terms.into_iter().filter(|(_, TermDelta(delta))| *delta != [0, 0])
        {
            let now = self.kept(rows, Terms, &term_key(key))?;
            let entry = TermEntry {
                end: key.0,
                paid_until_ms: key.1,
                objects: summed(now.map_or(0, |now| now.objects), objects)?,
                files: summed(now.map_or(0, |now| now.files), files)?,
            };
            let row = (entry.objects > 0).then(|| entry.to_bytes());
            out.push(self.change(Terms::TABLE, &term_key(key), row.as_deref()));
        }
        Ok(out)
    }

    pub(super) fn kept<K: Kind>(
        &self,
        rows: &impl CatalogRows,
        _: K,
        key: &[u8],
    ) -> Result<Option<K::Row>, ClientError> {
        let place = self.place(K::TABLE, key);
        let sealed = rows.get(K::TABLE, &place)?;
        sealed.map(|sealed| self.unseal::<K>(&place, &sealed)).transpose()
    }

    /// The rows of a name and of everything below it. For an empty name, all names.
    pub(crate) fn names_below(&self, name: &[u8]) -> Result<Vec<NameEntry>, ClientError> {
        let rows = self.reader()?;
        let mut out = Vec::new();
        if name.is_empty() {
            self.each_row(&rows, Names, &[], |row| out.push(row))?;
            return Ok(out);
        }
        out.extend(self.kept(&rows, Names, name)?);
        let mut folders: Vec<_> = self.kept(&rows, Folders, name)?.into_iter().collect();
        while let Some(FolderSums { path, .. }) = folders.pop() {
            let near = self.near(Names::TABLE, Some(&path));
            self.each_row(&rows, Names, &near, |row| out.push(row))?;
            let near = self.near(Folders::TABLE, Some(&path));
            self.each_row(&rows, Folders, &near, |row| folders.push(row))?;
        }
        Ok(out)
    }

    /// Passes the row of a name and all rows below it to `edit`, one folder at a time.
    pub(crate) fn edit_below(
        &self,
        rows: &mut Editing<'_, '_>,
        name: &[u8],
        mut edit: impl FnMut(&mut Editing<'_, '_>, NameEntry) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        if let Some(row) = rows.row(Names, name)? {
            edit(rows, row)?;
        }
        let mut folders: Vec<_> = rows.row(Folders, name)?.into_iter().collect();
        while let Some(FolderSums { path, .. }) = folders.pop() {
            let near = self.near(Folders::TABLE, Some(&path));
            self.each_row(rows.rows, Folders, &near, |row| folders.push(row))?;
            let (near, mut names) = (self.near(Names::TABLE, Some(&path)), Vec::new());
            self.each_row(rows.rows, Names, &near, |row| names.push(row))?;
            names.into_iter().try_for_each(|row| edit(rows, row))?;
        }
        Ok(())
    }

    /// Passes the names directly in a folder to `take`. Gives the folders directly in it that contain something.
    pub(crate) fn directly_in(
        &self,
        folder: &[u8],
        name: impl FnMut(NameEntry),
    ) -> Result<Vec<FolderSums>, ClientError> {
        let rows = self.reader()?;
        let near = self.near(Names::TABLE, Some(folder));
        self.each_row(&rows, Names, &near, name)?;
        let (near, mut folders) = (self.near(Folders::TABLE, Some(folder)), Vec::new());
        self.each_row(&rows, Folders, &near, |row| folders.push(row))?;
        Ok(folders)
    }

    /// Number of files whose objects are not paid any more at time `now_ms`.
    pub(crate) fn files_over(&self, now_ms: LedgerTime) -> Result<u64, ClientError> {
        let over = self.rows(Terms)?.into_iter().filter(|term| term.paid_until_ms <= now_ms);
        Ok(over.map(|term| term.files).sum())
    }

    /// Objects that may need attention.
    pub(crate) fn watched(&self) -> Result<Vec<Watch>, ClientError> {
        let rows = self.reader()?;
        let mut watched = Vec::new();
        self.each_row(&rows, Watched, &[], |row| watched.push(row.object))?;
        let mut out = Vec::new();
        for object in watched {
            let used = self.kept(&rows, Used, &object.0)?.unwrap_or(UsedEntry::none(object));
            out.push(match self.kept(&rows, Objects, &object.0)?.map(Box::new) {
                None => Watch::Gone(used),
                Some(entry) if used.ranges == 0 => Watch::Unused(entry),
                Some(entry) => Watch::Sparse(entry),
            });
        }
        Ok(out)
    }
}

#[cfg(test)]
pub(super) mod tests;
