//! The plan for reading a folder back: files that are here already, files in the way, and files to remove.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    FileFault, FolderOptions,
    place::{Place, There, is_folder_or_nothing},
    same::Pair,
    walk::{Kind, walk},
};
use crate::{
    catalog::{Content, NameEntry, Names, Version},
    error::ClientError,
    library::{
        Library, Local,
        names::{Found, Name, Pattern, Tree, below, path_of, shown},
        source::FileMetadata,
    },
};

/// A file to be written.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) found: Found,
    /// The offset in its name at which its path, relative to the folder, begins.
    below: usize,
}

impl Item {
    /// The file that is written to a path relative to the folder. Its name ends with that path.
    pub(super) fn new(found: Found, relative: &[u8]) -> Self {
        let below = found.name.as_bytes().len() - relative.len();
        Self { found, below }
    }

    /// Its path, relative to the folder.
    pub(super) fn relative(&self) -> &[u8] {
        &self.found.name.as_bytes()[self.below..]
    }
}

/// The work that reading a folder back means, found before anything is written.
#[derive(Debug)]
pub struct GetPlan {
    pub(super) root: PathBuf,
    pub(super) items: Vec<Item>,
    /// Path and target of each link.
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Path and metadata of each folder.
    pub(super) folders: Vec<(Vec<u8>, FileMetadata)>,
    /// Local paths to remove, and whether each is a folder. The deepest path comes first.
    pub(super) removed: Vec<(Vec<u8>, bool)>,
    /// Files with the right content and the wrong metadata.
    pub(super) outdated: Vec<(Vec<u8>, FileMetadata)>,
    /// Paths at which something else lies.
    pub(super) in_the_way: Vec<Vec<u8>>,
    /// Files of the right length, whose content is compared before anything is written.
    pub(super) doubtful: Vec<Item>,
    /// Number of files that are already right.
    pub unchanged: u64,
    /// Whether the plan holds nothing but folders.
    pub is_empty: bool,
    /// Files that cannot be written.
    pub faults: Vec<FileFault>,
}

impl GetPlan {
    /// The local folder to write to.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Number of files to write.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.items.len() as u64
    }

    /// Number of their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.found.length).sum()
    }

    /// Local paths to remove, as messages show them.
    #[must_use]
    pub fn removed(&self) -> Vec<String> {
        self.removed.iter().map(|(path, _)| shown(path)).collect()
    }

    /// Paths that the plan creates, writes or removes.
    pub(super) fn changed<'a>(
        &'a self,
        items: &'a [Item],
        place: &'a Place,
    ) -> impl Iterator<Item = &'a [u8]> {
        let items = items.iter().map(Item::relative);
        let links = self.links.iter().map(|(path, _)| path.as_slice());
        let folders = self.folders.iter().map(|(path, _)| path.as_slice());
        let folders = folders.filter(|path| place.path(path).symlink_metadata().is_err());
        let removed = self.removed.iter().map(|(path, _)| path.as_slice());
        let outdated = self.outdated.iter().map(|(path, _)| path.as_slice());
        items.chain(links).chain(folders).chain(removed).chain(outdated)
    }

    /// Local paths of the files to write, as messages show them.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.items.iter().map(|item| shown(item.relative())).collect()
    }
}

impl Library {
    /// Plans to read back a folder, or the matches of a pattern, below `output`. Without `output`, below the folder's
    /// own name in the current folder. Gives nothing when `what` is a single file.
    pub async fn plan_get(
        &self,
        what: &Pattern,
        output: Option<&Path>,
        options: &FolderOptions,
    ) -> Result<Option<GetPlan>, ClientError> {
        let (what, output, options) = (what.clone(), output.map(Path::to_owned), options.clone());
        self.read(move |local| local.plan_get(&what, output.as_deref(), &options)).await
    }
}

impl Local {
    pub(crate) fn plan_get(
        &self,
        what: &Pattern,
        output: Option<&Path>,
        options: &FolderOptions,
    ) -> Result<Option<GetPlan>, ClientError> {
        let what = &*what.bytes();
        let row = self.catalog().row(Names, what)?;
        let now = row.as_ref().and_then(NameEntry::current);
        if now.is_some_and(|now| matches!(now.content, Content::File { .. })) {
            return Ok(None);
        }
        let tree = self.tree_for(what, false)?;
        let is_folder = what.is_empty() || tree.is_folder(what);
        let (base, names) = match tree.select(what, false) {
            Ok((_, names)) if is_folder => (what.to_vec(), names),
            Ok(chosen) => chosen,
            Err(error) => return Err(error),
        };
        let own = match base.as_slice() {
            folder if is_folder => {
                path_of(folder.rsplit(|byte| *byte == b'/').next().unwrap_or(folder))
            }
            _ => PathBuf::from("."),
        };
        let mut plan = GetPlan::new(output.map_or(own, Path::to_owned))?;
        let place = Place::new(plan.root.clone());
        let mut wanted = BTreeMap::new();
        for name in names.iter().copied() {
            let Some(version) = tree.names[name].current() else { continue };
            let relative = below(name.as_bytes(), &base).unwrap_or(name.as_bytes());
            if options.excludes(relative) {
                continue;
            }
            if options.delete {
                wanted.insert(relative.to_vec(), version.content == Content::Folder);
            }
            plan.is_empty &= version.content == Content::Folder;
            plan.add(&tree, &place, name, version, relative, options.checksum)?;
        }
        if options.delete && names.is_empty() {
            // A mistyped name or an index that is not here yet is more likely than the wish to delete everything.
            let name = String::from_utf8_lossy(what).into_owned();
            return Err(ClientError::NothingStored { name });
        }
        if options.delete && plan.root.is_dir() {
            plan.find_removed(&wanted, options)?;
        }
        Ok(Some(plan))
    }
}

impl Library {
    /// Compares files by content, if the plan asks for it.
    pub async fn compare(&self, plan: &mut GetPlan) -> Result<(), ClientError> {
        let place = Place::new(plan.root.clone());
        let doubtful = std::mem::take(&mut plan.doubtful);
        let pairs = doubtful
            .iter()
            .map(|item| Pair { path: place.path(item.relative()), found: item.found.clone() });
        let same = self.same_content(pairs.collect()).await?;
        let up_to_date = move || {
            let look = |(item, same): (Item, bool)| {
                let up_to_date = same && place.has_metadata(item.relative(), item.found.metadata);
                (item, same, up_to_date)
            };
            doubtful.into_iter().zip(same).map(look).collect::<Vec<_>>()
        };
        for (item, same, up_to_date) in self.host().blocking(up_to_date).await {
            if !same {
                plan.in_the_way.push(item.relative().to_vec());
                plan.items.push(item);
                continue;
            }
            plan.unchanged += 1;
            if !up_to_date {
                plan.outdated.push((item.relative().to_vec(), item.found.metadata));
            }
        }
        Ok(())
    }
}

impl GetPlan {
    pub(super) fn new(root: PathBuf) -> Result<Self, ClientError> {
        if root.as_os_str().is_empty() || !is_folder_or_nothing(&root) {
            let why = format!("{} is a file; a folder is needed", root.display());
            return Err(ClientError::Usage(why));
        }
        Ok(Self {
            root,
            items: Vec::new(),
            links: Vec::new(),
            folders: Vec::new(),
            removed: Vec::new(),
            outdated: Vec::new(),
            in_the_way: Vec::new(),
            doubtful: Vec::new(),
            unchanged: 0,
            is_empty: true,
            faults: Vec::new(),
        })
    }

    /// Compares a stored name with the entry at its local path.
    fn add(
        &mut self,
        tree: &Tree,
        place: &Place,
        name: &Name,
        version: &Version,
        relative: &[u8],
        checksum: bool,
    ) -> Result<(), ClientError> {
        let metadata = FileMetadata::of(version);
        let there = match &version.content {
            Content::Folder => {
                self.folders.push((relative.to_vec(), metadata));
                return Ok(());
            }
            Content::Link { target } => place.link_there(relative, target),
            Content::File { length, .. } => {
                place.file_there(relative, *length, metadata.modified_ns)
            }
        };
        if there == There::Special {
            self.faults.push(FileFault::new(relative, "a pipe, socket or device is there"));
            return Ok(());
        }
        if let Content::File { length, .. } = &version.content
            && checksum
            && place.is_file_of(relative, *length)
            && let Ok(found) = tree.found(name, version)
        {
            self.doubtful.push(Item::new(found, relative));
            return Ok(());
        }
        if there == There::Other {
            self.in_the_way.push(relative.to_vec());
        }
        match &version.content {
            Content::File { .. } if there == There::Same => {
                self.unchanged += 1;
                if !place.has_metadata(relative, metadata) {
                    self.outdated.push((relative.to_vec(), metadata));
                }
            }
            Content::File { .. } => match tree.found(name, version) {
                Ok(found) => self.items.push(Item::new(found, relative)),
                Err(error @ ClientError::Lost { .. }) => {
                    self.faults.push(FileFault::new(relative, error));
                }
                Err(error) => return Err(error),
            },
            Content::Link { target } if there != There::Same => {
                self.links.push((relative.to_vec(), target.clone()));
            }
            Content::Link { .. } | Content::Folder => {}
        }
        Ok(())
    }

    /// Compares a file with the entry at its local path.
    pub(super) fn add_file(&mut self, place: &Place, item: Item) {
        let (relative, metadata) = (item.relative().to_vec(), item.found.metadata);
        match place.file_there(&relative, item.found.length, metadata.modified_ns) {
            There::Special => {
                self.faults.push(FileFault::new(&relative, "a pipe, socket or device is there"));
            }
            There::Same => {
                self.unchanged += 1;
                if !place.has_metadata(&relative, metadata) {
                    self.outdated.push((relative, metadata));
                }
            }
            There::Other => {
                self.in_the_way.push(relative);
                self.items.push(item);
            }
            There::Nothing => self.items.push(item),
        }
    }

    /// Finds local entries that are not wanted.
    fn find_removed(
        &mut self,
        wanted: &BTreeMap<Vec<u8>, bool>,
        options: &FolderOptions,
    ) -> Result<(), ClientError> {
        let mut entries = Vec::new();
        let walk = walk(&self.root, options, |_, inside| {
            entries.extend(inside);
            Ok(())
        })?;
        entries.sort_unstable_by(|one, other| one.relative.cmp(&other.relative));
        self.faults.extend(walk.faults);
        // Entries at the path of a wanted file are reported already.
        let is_named = |path: &String| wanted.keys().any(|one| shown(one) == *path);
        for path in walk.special.into_iter().filter(|path| !is_named(path)) {
            let why = String::from("neither file, folder nor link: it is not removed");
            self.faults.push(FileFault { path, why });
        }
        // A folder that contains a wanted entry stays.
        let mut folders: BTreeSet<&[u8]> = BTreeSet::new();
        for path in wanted.keys() {
            let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
            folders.extend(slashes.map(|at| &path[..at]));
        }
        for entry in entries.into_iter().rev() {
            let is_folder = entry.kind == Kind::Folder;
            let stays = match wanted.get(&entry.relative) {
                Some(wanted_folder) => {
                    *wanted_folder == is_folder || (!is_folder && !*wanted_folder)
                }
                None => is_folder && folders.contains(entry.relative.as_slice()),
            };
            if !stays {
                self.removed.push((entry.relative, is_folder));
            }
        }
        let gone: BTreeSet<_> = self.removed.iter().map(|(path, _)| path).collect();
        self.in_the_way.retain(|path| !gone.contains(path));
        Ok(())
    }
}
