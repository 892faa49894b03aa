//! Lists names one after another, sorted for people. Of each open folder, the last parts of its names and some of its
//! rows are in memory.

use std::{cmp::Ordering, fmt, vec};

use symbolon_protocol::LedgerTime;

use super::{Name, NameView, Tree, shown};
use crate::{
    catalog::{Content, FolderSums, NameEntry, Names, Watch},
    error::ClientError,
    library::{Library, Local},
};

/// Number of rows that are read at once.
const ROWS_AT_ONCE: usize = 4096;

/// The next entry of a folder, with the last part of its name.
#[derive(Debug)]
struct Item {
    last: Box<[u8]>,
    kind: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ItemKind {
    /// A name that is not a folder.
    Name,
    /// The row of a folder itself.
    Own,
    /// A folder that contains something.
    Folder { files: u64, bytes: u64 },
}

/// An entry directly in a folder.
#[derive(Clone, Debug)]
pub enum Listed {
    /// A name that is not a folder.
    Name(NameView),
    /// A folder.
    Folder {
        /// Its name.
        name: Vec<u8>,
        /// Number of files in it and in all folders below.
        files: u64,
        /// Number of their bytes.
        bytes: u64,
        /// The folder's own row, if it has one.
        own: Option<NameView>,
    },
}

/// A folder that the walk is in.
struct Level {
    folder: Vec<u8>,
    items: vec::IntoIter<Item>,
    /// The rows of the next items.
    tree: Tree,
}

/// Names, one after another.
pub struct NameWalk {
    library: Library,
    /// The name to begin at, until the walk has begun.
    begin: Option<Option<Name>>,
    levels: Vec<Level>,
}

/// The entries directly in a folder, one after another.
pub struct FolderWalk {
    library: Library,
    /// The folder, until the walk has begun.
    begin: Option<Vec<u8>>,
    level: Option<Level>,
}

impl fmt::Debug for NameWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameWalk").field("depth", &self.levels.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for FolderWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderWalk").finish_non_exhaustive()
    }
}

impl NameWalk {
    /// The next name. Nothing after the last one, and after an error.
    pub async fn next(&mut self) -> Result<Option<NameView>, ClientError> {
        let next = self.step().await;
        if next.is_err() {
            self.levels.clear();
        }
        next
    }

    async fn step(&mut self) -> Result<Option<NameView>, ClientError> {
        if let Some(begin) = self.begin.take() {
            let first = self.library.read(move |local| local.first_level(begin.as_ref())).await?;
            self.levels.push(first);
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(Item { last, kind }) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            if let ItemKind::Folder { .. } = kind {
                let folder = joined(&level.folder, &last);
                let next = self.library.local(move |local| local.level(folder)).await?;
                self.levels.push(next);
            } else if let Some(view) = level.view(&self.library, &last).await? {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }
}

impl FolderWalk {
    /// The next entry. Nothing after the last one, and after an error.
    pub async fn next(&mut self) -> Result<Option<Listed>, ClientError> {
        let next = self.step().await;
        if next.is_err() {
            self.level = None;
        }
        next
    }

    async fn step(&mut self) -> Result<Option<Listed>, ClientError> {
        if let Some(folder) = self.begin.take() {
            self.level = Some(self.library.read(move |local| local.level(folder)).await?);
        }
        let Some(level) = &mut self.level else { return Ok(None) };
        while let Some(Item { last, kind }) = level.items.next() {
            let name = joined(&level.folder, &last);
            match kind {
                ItemKind::Name => {
                    if let Some(view) = level.view(&self.library, &last).await? {
                        return Ok(Some(Listed::Name(view)));
                    }
                }
                ItemKind::Folder { files, bytes } => {
                    return Ok(Some(Listed::Folder { name, files, bytes, own: None }));
                }
                ItemKind::Own => {
                    let own = level.view(&self.library, &last).await?;
                    let inside = level.items.as_slice().first().filter(|next| next.last == last);
                    let (mut files, mut bytes) = (0, 0);
                    if let Some(Item {
                        kind: ItemKind::Folder { files: in_it, bytes: of_it },
                        ..
                    }) = inside
                    {
                        (files, bytes) = (*in_it, *of_it);
                        level.items.next();
                    } else if own.is_none() {
                        continue;
                    }
                    return Ok(Some(Listed::Folder { name, files, bytes, own }));
                }
            }
        }
        Ok(None)
    }
}

fn joined(folder: &[u8], last: &[u8]) -> Vec<u8> {
    if folder.is_empty() { last.to_vec() } else { [folder, last].join(&b'/') }
}

impl Level {
    /// A name of this level, as a program shows it. Nothing if it was removed meanwhile.
    async fn view(
        &mut self,
        library: &Library,
        last: &[u8],
    ) -> Result<Option<NameView>, ClientError> {
        let name = Name::checked(&joined(&self.folder, last))?;
        if !self.tree.names.contains_key(&name) {
            let next = self.items.as_slice().iter();
            let next = next.filter(|item| matches!(item.kind, ItemKind::Name | ItemKind::Own));
            let next = next.take(ROWS_AT_ONCE - 1).map(|item| joined(&self.folder, &item.last));
            let names: Vec<_> = std::iter::once(name.as_bytes().to_vec()).chain(next).collect();
            self.tree = library.local(move |local| local.tree_at(&names)).await?;
        }
        match self.tree.names.get(&name).filter(|row| row.current().is_some()) {
            Some(row) => self.tree.view(&name, row).map(Some),
            None => Ok(None),
        }
    }
}

impl Item {
    fn new(name: &[u8], kind: ItemKind) -> Self {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        Self { last: last.into(), kind }
    }

    /// The key that sorts it among the entries of its folder: its last part, as messages show it.
    fn key(&self) -> String {
        let mut key = shown(&self.last);
        if self.kind != ItemKind::Name {
            key.push('/');
        }
        key
    }

    /// Whether messages show it unchanged.
    fn is_plain(&self) -> bool {
        self.last.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\')
    }

    fn order(&self, other: &Self) -> Ordering {
        let slash = |item: &Self| (item.kind != ItemKind::Name).then_some(&b'/');
        let keys = if self.is_plain() && other.is_plain() {
            let own = self.last.iter().chain(slash(self));
            own.cmp(other.last.iter().chain(slash(other)))
        } else {
            self.key().cmp(&other.key())
        };
        // A folder's own row comes before its entries.
        keys.then(self.kind.cmp(&other.kind))
    }
}

impl Library {
    /// Whether a name or anything below it is stored.
    pub async fn is_there(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.clone();
        self.read(move |local| local.is_there(&name)).await
    }

    /// The names at and below `name`, or all names, in the order in which messages show them. The walk does not hold
    /// the index. Names that change meanwhile may be missing.
    #[must_use]
    pub fn walk_names(&self, name: Option<&Name>) -> NameWalk {
        NameWalk { library: self.clone(), begin: Some(name.cloned()), levels: Vec::new() }
    }

    /// The entries directly in a folder, or at the top, in the order in which messages show them. Entries in deeper
    /// folders are only counted, lost files included.
    #[must_use]
    pub fn walk_folder(&self, folder: Option<&Name>) -> FolderWalk {
        let folder = folder.map_or(Vec::new(), |folder| folder.as_bytes().to_vec());
        FolderWalk { library: self.clone(), begin: Some(folder), level: None }
    }

    /// Whether no stored file is lost, and all are paid at time `now_ms`.
    pub async fn all_is_well(&self, now_ms: LedgerTime) -> Result<bool, ClientError> {
        self.read(move |local| local.all_is_well(now_ms)).await
    }
}

impl Local {
    fn all_is_well(&self, now_ms: LedgerTime) -> Result<bool, ClientError> {
        let lost = |watch: &Watch| matches!(watch, Watch::Gone(used) if used.files > 0);
        let catalog = self.catalog();
        Ok(catalog.files_over(now_ms)? == 0 && !catalog.watched()?.iter().any(lost))
    }

    pub(crate) fn is_there(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.as_bytes();
        if self.is_folder_now(name)? {
            return Ok(true);
        }
        let names = self.catalog().rows_at(Names, std::iter::once(name))?;
        Ok(names.iter().flatten().any(|row| row.current().is_some()))
    }

    /// Some names, with their objects.
    pub(crate) fn tree_at(&self, names: &[Vec<u8>]) -> Result<Tree, ClientError> {
        let keys = names.iter().map(Vec::as_slice);
        let rows = self.catalog().rows_at(Names, keys)?;
        self.tree_with(rows.into_iter().flatten().collect())
    }

    fn first_level(&self, name: Option<&Name>) -> Result<Level, ClientError> {
        let Some(name) = name else { return self.level(Vec::new()) };
        let bytes = name.as_bytes();
        let own = self.catalog().row(Names, bytes)?;
        let mut items = Vec::new();
        if own.as_ref().is_some_and(|row| row.current().is_some()) {
            items.push(Item::new(bytes, ItemKind::Name));
        }
        items.push(Item::new(bytes, ItemKind::Folder { files: 0, bytes: 0 }));
        let tree = self.tree_with(own.into_iter().collect())?;
        let folder = name.folders().next().map_or(Vec::new(), <[u8]>::to_vec);
        Ok(Level { folder, items: items.into_iter(), tree })
    }

    fn level(&self, folder: Vec<u8>) -> Result<Level, ClientError> {
        let (mut items, mut rows) = (Vec::new(), Vec::new());
        let name = |row: NameEntry| {
            let Some(now) = row.current() else { return };
            let is_folder = now.content == Content::Folder;
            let kind = if is_folder { ItemKind::Own } else { ItemKind::Name };
            items.push(Item::new(&row.path, kind));
            if items.len() <= ROWS_AT_ONCE {
                rows.push(row);
            }
        };
        let folders = self.catalog().directly_in(&folder, name)?;
        if rows.len() < items.len() {
            // They are read again in sorted order.
            rows = Vec::new();
        }
        for FolderSums { path, files, bytes, .. } in folders.iter().filter(|sums| sums.live > 0) {
            items.push(Item::new(path, ItemKind::Folder { files: *files, bytes: *bytes }));
        }
        items.sort_unstable_by(Item::order);
        Ok(Level { folder, items: items.into_iter(), tree: self.tree_with(rows)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(items: &[(&[u8], ItemKind)]) -> Vec<String> {
        let mut items: Vec<_> = items.iter().map(|(name, kind)| Item::new(name, *kind)).collect();
        items.sort_unstable_by(Item::order);
        items.iter().map(Item::key).collect()
    }

    #[test]
    fn a_folder_is_sorted_with_its_slash() {
        let folder = ItemKind::Folder { files: 0, bytes: 0 };
        let items: [(&[u8], _); 5] = [
            (b"x/a", folder),
            (b"x/a.b", ItemKind::Name),
            (b"a", ItemKind::Name),
            (b"\xff", ItemKind::Name),
            (b"x/a", ItemKind::Own),
        ];
        assert_eq!(sorted(&items), ["\\xff", "a", "a.b", "a/", "a/"]);
        let [own, inside] = [Item::new(b"a", ItemKind::Own), Item::new(b"a", folder)];
        assert_eq!(own.order(&inside), Ordering::Less);
    }

    #[test]
    fn names_are_sorted_as_they_are_shown() {
        let names: [&[u8]; 6] = [b"a\\", b"a\xfe", b"a]", b"a[", b"\xc3\xa9", b"z"];
        let items: Vec<_> = names.iter().map(|name| (*name, ItemKind::Name)).collect();
        let mut keys: Vec<_> = names.iter().map(|name| shown(name)).collect();
        keys.sort();
        assert_eq!(sorted(&items), keys);
    }
}
