//! Names in memory, for work on folders and patterns. A tree holds only the names that the work needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use symbolon_protocol::{
    Amount, LedgerTime,
    content::{Layout, Manifest, Scheme},
    grant::Grant,
    id::{AccountId, ObjectId},
};

use zeroize::Zeroizing;

use super::{Name, Pattern, VersionMark, glob::is_pattern, shown};
use crate::{
    catalog::{
        Content, FileKind, Folders, Moved, MovedEntry, MovedRange, NameEntry, Names, ObjectEntry,
        Objects, Version,
    },
    error::ClientError,
    library::{Library, Local, source::FileMetadata},
};

/// A file and the object that contains it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: Name,
    /// The object's row. The files of one pack share it.
    pub(crate) object: Arc<ObjectEntry>,
    pub(crate) stored_ms: u64,
    pub(crate) first: u64,
    pub(crate) length: u64,
    pub(crate) metadata: FileMetadata,
    /// By what right another identity's file is read. An own file needs none.
    pub(crate) right: Option<Arc<Right>>,
}

/// The right to read a file of another identity.
#[derive(Debug)]
pub(crate) struct Right {
    pub(crate) owner: AccountId,
    /// For the object of this file.
    pub(crate) grant: Grant,
}

impl Found {
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.object.manifest
    }

    /// The key of its object.
    pub(crate) fn key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.object.key.expose())
    }

    /// Whether the file is its whole object.
    pub(crate) fn is_whole(&self) -> bool {
        self.object.kind != FileKind::Pack
            && (self.first, self.length) == (0, self.manifest().length)
    }

    /// The file's share of its object, as `(part, whole)`, for dividing the object's costs.
    fn part(&self) -> (u64, u64) {
        if self.is_whole() { (1, 1) } else { (self.length, self.manifest().length.max(1)) }
    }

    fn layout(&self) -> Result<Layout, ClientError> {
        Layout::new(self.manifest().scheme, self.manifest().length)
            .map_err(|error| ClientError::Index(error.to_string()))
    }

    /// Bytes of its whole object on all nodes together.
    pub(crate) fn object_bytes(&self) -> Result<u64, ClientError> {
        Ok(self.layout()?.stored_bytes())
    }

    pub(crate) fn view(&self) -> Result<FileView, ClientError> {
        let (manifest, layout) = (self.manifest(), self.layout()?);
        let (part, whole) = self.part();
        let stored = u128::from(layout.stored_bytes()) * u128::from(part) / u128::from(whole);
        Ok(FileView {
            name: self.name.clone(),
            kind: match self.object.kind {
                FileKind::Pack => FileKind::Own,
                kind => kind,
            },
            packed: !self.is_whole(),
            object: manifest.object,
            length: self.length,
            scheme: manifest.scheme,
            segments: layout.segments(),
            stored_bytes: u64::try_from(stored).unwrap_or(u64::MAX),
            stored_ms: self.stored_ms,
            paid_until_ms: self.object.paid_until_ms,
            cost: self.object.cost.fraction(part, whole).unwrap_or(Amount::ZERO),
        })
    }
}

/// A stored file.
#[derive(Clone, Debug)]
pub struct FileView {
    /// Its name.
    pub name: Name,
    /// Whether it shares its object with other files.
    pub packed: bool,
    /// The purpose that it is stored for.
    pub kind: FileKind,
    /// The id of its object.
    pub object: ObjectId,
    /// Number of its bytes.
    pub length: u64,
    /// Numbers of required and total shards.
    pub scheme: Scheme,
    /// Number of segments. Each has one deal.
    pub segments: u32,
    /// Bytes on all nodes together. If it shares its object, its part of them.
    pub stored_bytes: u64,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// Until when it is paid, in milliseconds since the Unix epoch, estimated when it was stored.
    pub paid_until_ms: LedgerTime,
    /// The whole cost. If it shares its object, its part of it.
    pub cost: Amount,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum NameKind {
    /// A file. It is boxed because it is the largest variant.
    File(Box<FileView>),
    /// A file whose bytes are gone: another device removed them while this one gave them another name.
    Lost {
        /// Number of bytes that it had.
        length: u64,
    },
    /// A symbolic link.
    Link {
        /// The link's target.
        target: Vec<u8>,
    },
    /// A folder.
    Folder,
}

/// A name and what this machine knows of it.
#[derive(Clone, Debug)]
pub struct NameView {
    /// The name.
    pub name: Name,
    /// What it stands for.
    pub kind: NameKind,
    /// Its permissions.
    pub mode: u32,
    /// When it was modified before it was stored, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Number of versions, the current one included.
    pub versions: usize,
    /// When it was removed, in milliseconds since the Unix epoch, if only versions are left.
    pub deleted_ms: Option<u64>,
}

/// A version of a name.
#[derive(Clone, Debug)]
pub struct VersionView {
    /// The version's number.
    pub number: u64,
    /// Bytes of the file. Nothing for links and folders.
    pub length: Option<u64>,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// When it was modified before it was stored, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Whether it is the current version.
    pub current: bool,
}

/// A range of an object: the object, the offset, the length in bytes.
pub(crate) type Range = (ObjectId, u64, u64);

/// The most moves that are followed for one range. A pack is compacted a few times in its life. Only faulty rows lead
/// in a circle.
const MOVES_MAX: usize = 64;

/// Names, and the objects that contain their files.
#[derive(Default)]
pub(crate) struct Tree {
    /// The rows here have no path, because the map has it.
    pub(crate) names: BTreeMap<Name, NameEntry>,
    pub(crate) objects: BTreeMap<ObjectId, Arc<ObjectEntry>>,
    moved: BTreeMap<Range, Range>,
}

fn by_name(rows: Vec<NameEntry>) -> Result<BTreeMap<Name, NameEntry>, ClientError> {
    // This way the name is in memory only once.
    let name = |mut row: NameEntry| {
        let path = std::mem::take(&mut row.path);
        let name = Name::new(path.as_slice()).map_err(|error| bad_row(&path, error))?;
        Ok((name, row))
    };
    rows.into_iter().map(name).collect()
}

/// Old ranges and the new ones.
fn moves(rows: &[MovedEntry]) -> BTreeMap<Range, Range> {
    let each = rows.iter().flat_map(|row| {
        let new =
            |to: &MovedRange| ((row.from, to.first, to.length), (to.object, to.at, to.length));
        row.ranges.iter().map(new)
    });
    each.collect()
}

/// The present place of a range, after all its moves.
fn follow(
    mut range: Range,
    moved: &BTreeMap<Range, Range>,
    is_there: impl Fn(&ObjectId) -> bool,
) -> Option<Range> {
    for _ in 0..MOVES_MAX {
        if is_there(&range.0) {
            return Some(range);
        }
        range = *moved.get(&range)?;
    }
    None
}

impl Version {
    pub(crate) fn mark(&self) -> VersionMark {
        (self.number, self.stored_ms)
    }
}

fn bad_row(path: &[u8], why: impl std::fmt::Display) -> ClientError {
    ClientError::Index(format!("a row is named {:?}, which is no name: {why}", shown(path)))
}

impl Library {
    /// The file of a name.
    pub(crate) async fn find(&self, name: &Name) -> Result<Found, ClientError> {
        let name = name.clone();
        self.local(move |local| local.find(&name)).await
    }
}

impl Local {
    /// All names and objects.
    pub(crate) fn tree(&self) -> Result<Tree, ClientError> {
        let names = by_name(self.catalog().rows(Names)?)?;
        let objects = self.catalog().rows(Objects)?;
        let objects = objects.into_iter().map(|row| (row.manifest.object, Arc::new(row))).collect();
        Ok(Tree { names, objects, moved: moves(&self.catalog().rows(Moved)?) })
    }

    /// A name and everything below it, with the objects of these names.
    pub(crate) fn tree_below(&self, name: &[u8]) -> Result<Tree, ClientError> {
        if name.is_empty() {
            return self.tree();
        }
        self.tree_with(self.catalog().names_below(name)?)
    }

    /// The names directly in a folder, with their objects, and the folders in it that contain names.
    pub(crate) fn tree_in(&self, folder: &[u8]) -> Result<(Tree, BTreeSet<Vec<u8>>), ClientError> {
        let mut rows = Vec::new();
        let folders = self.catalog().directly_in(folder, |row| rows.push(row))?;
        let folders = folders.into_iter().filter(|sums| sums.live > 0).map(|sums| sums.path);
        Ok((self.tree_with(rows)?, folders.collect()))
    }

    /// Some names, with their objects.
    pub(super) fn tree_with(&self, rows: Vec<NameEntry>) -> Result<Tree, ClientError> {
        let names = by_name(rows)?;
        let versions = names.values().flat_map(|row| &row.versions);
        let object = |version: &Version| match version.content {
            Content::File { object, .. } => Some(object),
            Content::Link { .. } | Content::Folder => None,
        };
        let wanted: BTreeSet<ObjectId> = versions.filter_map(object).collect();
        let objects = self.objects(&wanted)?;
        if objects.len() == wanted.len() {
            return Ok(Tree { names, objects, moved: BTreeMap::new() });
        }
        // Some ranges have moved to another object, or are gone.
        let mut tree = self.tree_of_moves(&self.catalog().rows(Moved)?)?;
        (tree.names, tree.objects) = (names, tree.objects.into_iter().chain(objects).collect());
        Ok(tree)
    }

    /// A tree that contains the names of [`Tree::select`].
    pub(crate) fn tree_for(&self, what: &[u8], also_deleted: bool) -> Result<Tree, ClientError> {
        let what = what.strip_suffix(b"/").unwrap_or(what);
        let tree = self.tree_below(what)?;
        let there = |row: &NameEntry| also_deleted || row.current().is_some();
        if !is_pattern(what) || tree.names.values().any(there) {
            return Ok(tree);
        }
        self.tree_below(&Pattern::whole(what).base())
    }

    /// Moves, and the objects that they lead from and to.
    pub(super) fn tree_of_moves(&self, rows: &[MovedEntry]) -> Result<Tree, ClientError> {
        let from = rows.iter().map(|row| row.from);
        let to = rows.iter().flat_map(|row| &row.ranges).map(|range| range.object);
        let objects = self.objects(&from.chain(to).collect())?;
        Ok(Tree { names: BTreeMap::new(), objects, moved: moves(rows) })
    }

    fn objects(
        &self,
        wanted: &BTreeSet<ObjectId>,
    ) -> Result<BTreeMap<ObjectId, Arc<ObjectEntry>>, ClientError> {
        let rows = self.catalog().rows_at(Objects, wanted.iter().map(|object| &object.0[..]))?;
        let there = wanted.iter().zip(rows).filter_map(|(id, row)| Some((*id, Arc::new(row?))));
        Ok(there.collect())
    }

    /// Whether a folder has that name: one with a row of its own, or one that contains a name.
    pub(crate) fn is_folder_now(&self, name: &[u8]) -> Result<bool, ClientError> {
        if self.catalog().row(Folders, name)?.is_some_and(|sums| sums.live > 0) {
            return Ok(true);
        }
        let row = self.catalog().row(Names, name)?;
        let now = row.as_ref().and_then(NameEntry::current);
        Ok(now.is_some_and(|now| now.content == Content::Folder))
    }

    /// The file of a name.
    pub(crate) fn find(&self, name: &Name) -> Result<Found, ClientError> {
        let row = self.catalog().row(Names, name.as_bytes())?;
        let version = row.as_ref().and_then(NameEntry::current);
        let version = version.ok_or_else(|| ClientError::NoName { name: name.to_string() })?;
        self.found(name, version)
    }

    /// One version of a name.
    pub(crate) fn find_version(&self, name: &Name, number: u64) -> Result<Found, ClientError> {
        let row = self.catalog().row(Names, name.as_bytes())?;
        let row = row.ok_or_else(|| ClientError::NoName { name: name.to_string() })?;
        let version = row.versions.iter().find(|version| version.number == number);
        let version = version.ok_or_else(|| ClientError::NoVersion {
            name: name.to_string(),
            number,
            kept: row.versions.iter().map(|version| version.number).collect(),
        })?;
        self.found(name, version)
    }

    fn found(&self, name: &Name, version: &Version) -> Result<Found, ClientError> {
        let Content::File { object, first, length } = version.content else {
            return Err(ClientError::NotAFile { name: name.to_string() });
        };
        if let Some(entry) = self.catalog().row(Objects, &object.0)? {
            return place(name, &Arc::new(entry), version, (first, length));
        }
        // The range has moved to another object, or is gone.
        self.tree_of_moves(&self.catalog().rows(Moved)?)?.found(name, version)
    }
}

/// A file in its object. Refuses a range that the object does not have.
fn place(
    name: &Name,
    object: &Arc<ObjectEntry>,
    version: &Version,
    (first, length): (u64, u64),
) -> Result<Found, ClientError> {
    if first.checked_add(length).is_none_or(|end| end > object.manifest.length) {
        let why = format!("the range of {:?} lies outside its object", name.to_string());
        return Err(ClientError::Index(why));
    }
    Ok(Found {
        name: name.clone(),
        object: object.clone(),
        stored_ms: version.stored_ms,
        first,
        length,
        metadata: FileMetadata::of(version),
        right: None,
    })
}

impl Tree {
    /// The file of one version.
    pub(crate) fn found(&self, name: &Name, version: &Version) -> Result<Found, ClientError> {
        let Content::File { object, first, length } = version.content else {
            return Err(ClientError::NotAFile { name: name.to_string() });
        };
        let lost = || ClientError::Lost { name: name.to_string() };
        let (object, first, length) = self.place_of((object, first, length)).ok_or_else(lost)?;
        place(name, &self.objects[&object], version, (first, length))
    }

    /// The present place of a range: where it was stored, or where it moved since.
    pub(crate) fn place_of(&self, range: Range) -> Option<Range> {
        follow(range, &self.moved, |object| self.objects.contains_key(object))
    }

    /// The ranges of an object that names stand for, older versions included, each with the first version that does.
    pub(crate) fn ranges_of(&self, wanted: &ObjectId) -> BTreeMap<Range, (&Name, &Version)> {
        let mut ranges = BTreeMap::new();
        for (name, row) in &self.names {
            for version in &row.versions {
                if let Content::File { object, first, length } = version.content
                    && let Some(range) = self.place_of((object, first, length))
                    && range.0 == *wanted
                {
                    ranges.entry(range).or_insert((name, version));
                }
            }
        }
        ranges
    }

    /// Whether the bytes of a version are gone.
    pub(crate) fn is_lost(&self, version: &Version) -> bool {
        match version.content {
            Content::File { object, first, length } => {
                self.place_of((object, first, length)).is_none()
            }
            Content::Link { .. } | Content::Folder => false,
        }
    }

    /// Whether any of the moves would still lead to bytes if only the objects remained for which `stays` holds.
    pub(crate) fn leads_on(&self, row: &MovedEntry, stays: impl Fn(&ObjectId) -> bool) -> bool {
        let there = |object: &ObjectId| self.objects.contains_key(object) && stays(object);
        let mut old = row.ranges.iter().map(|range| (row.from, range.first, range.length));
        old.any(|range| follow(range, &self.moved, there).is_some())
    }

    /// Names that are not removed, with their current versions.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Name, &Version)> {
        self.names.iter().filter_map(|(name, entry)| Some((name, entry.current()?)))
    }

    /// Whether a folder has that name: one with a row of its own, or one that contains a name.
    pub(crate) fn is_folder(&self, folder: &[u8]) -> bool {
        let mut inside = self.live().filter(|(name, _)| name.is_at_or_below(folder));
        inside
            .any(|(name, version)| name.as_bytes() != folder || version.content == Content::Folder)
    }

    /// The names that a user means: one name, a folder with everything in it, or the matches of a pattern with
    /// everything in them. Also gives the folder that contains them.
    pub(crate) fn select(
        &self,
        what: &[u8],
        also_deleted: bool,
    ) -> Result<(Vec<u8>, Vec<&Name>), ClientError> {
        let what = what.strip_suffix(b"/").unwrap_or(what);
        let there = |entry: &NameEntry| also_deleted || entry.current().is_some();
        let names = || self.names.iter().filter(|(_, entry)| there(entry)).map(|(name, _)| name);
        let plain: Vec<&Name> = names().filter(|name| name.is_at_or_below(what)).collect();
        let (base, selected) = if !plain.is_empty() || !is_pattern(what) {
            if what.is_empty() {
                return Ok((Vec::new(), plain));
            }
            let name = Name::checked(what)?;
            let base = name.folders().next().map(<[u8]>::to_vec).unwrap_or_default();
            (base, plain)
        } else {
            let pattern = Pattern::whole(what);
            let mut folders: BTreeMap<&[u8], bool> = BTreeMap::new();
            let mut chosen = Vec::new();
            for name in names() {
                let by_folder = name.folders().any(|folder| {
                    *folders.entry(folder).or_insert_with(|| pattern.matches(folder))
                });
                if by_folder || pattern.matches(name.as_bytes()) {
                    chosen.push(name);
                }
            }
            (pattern.base(), chosen)
        };
        if selected.is_empty() {
            return Err(ClientError::NoName { name: shown(what) });
        }
        Ok((base, selected))
    }

    /// The objects that versions of any name use, and how many bytes of each.
    pub(crate) fn used(&self) -> BTreeMap<ObjectId, u64> {
        // A range counts once, even if several versions stand for it.
        let mut ranges = BTreeSet::new();
        for version in self.names.values().flat_map(|entry| &entry.versions) {
            if let Content::File { object, first, length } = version.content {
                ranges.extend(self.place_of((object, first, length)));
            }
        }
        let mut used = BTreeMap::new();
        for (object, _, length) in ranges {
            *used.entry(object).or_insert(0) += length;
        }
        used
    }

    /// A name, as a program shows it.
    pub(crate) fn view(&self, name: &Name, entry: &NameEntry) -> Result<NameView, ClientError> {
        let version = entry.versions.first();
        let version = version.ok_or_else(|| bad_row(name.as_bytes(), "it has no version"))?;
        let kind = match &version.content {
            Content::File { length, .. } if self.is_lost(version) => {
                NameKind::Lost { length: *length }
            }
            Content::File { .. } => NameKind::File(Box::new(self.found(name, version)?.view()?)),
            Content::Link { target } => NameKind::Link { target: target.clone() },
            Content::Folder => NameKind::Folder,
        };
        Ok(NameView {
            name: name.clone(),
            kind,
            mode: version.mode,
            modified_ns: i128::from_le_bytes(version.modified_ns),
            versions: entry.versions.len(),
            deleted_ms: entry.deleted_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(number: u8) -> ObjectId {
        ObjectId([number; 16])
    }

    #[test]
    fn a_range_is_followed_to_its_place_and_not_in_circles() {
        let row = |from, to, at| MovedEntry {
            from: object(from),
            ranges: vec![MovedRange { first: 5, length: 7, object: object(to), at }],
        };
        let there = |wanted: u8| move |found: &ObjectId| *found == object(wanted);
        let (old, moved) = ((object(1), 5, 7), moves(&[row(1, 2, 5), row(2, 3, 9)]));
        assert_eq!(follow(old, &moved, there(1)), Some(old));
        assert_eq!(follow(old, &moved, there(2)), Some((object(2), 5, 7)));
        assert_eq!(follow(old, &moved, there(3)), Some((object(3), 9, 7)));
        assert_eq!(follow(old, &moved, there(4)), None);
        assert_eq!(follow((object(1), 5, 6), &moved, there(3)), None, "another range");
        let circle = moves(&[row(1, 2, 5), row(2, 1, 5)]);
        assert_eq!(follow(old, &circle, there(3)), None);
    }
}
