//! Reads a folder back: reads missing files object by object, and writes them file by file.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
};

use symbolon_protocol::id::ObjectId;
use symbolon_store::is_full;

use super::{
    AT_ONCE, FileFault, Task,
    get_plan::{GetPlan, Item},
    io_why, one_of_many,
    pack::PACKED_BELOW,
    place::{Part, Place, TemporaryRights},
    ranges::{RangeSink, Wanted},
};
use crate::{
    error::{ClientError, ErrorKind},
    library::{
        Library,
        get::{GetOptions, Sink},
        names::path_of,
        source::FileMetadata,
        upload::Replace,
    },
    progress::{Progress, Step},
};

/// The result of reading a folder back.
#[derive(Clone, Debug, Default)]
pub struct FolderGot {
    /// Number of files that were written.
    pub files: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Number of links that were created.
    pub links: u64,
    /// Number of files that were already right.
    pub unchanged: u64,
    /// Number of local files, links and folders that were removed.
    pub removed: u64,
    /// Files that could not be written.
    pub faults: Vec<FileFault>,
}

impl FolderGot {
    fn fault(&mut self, path: &[u8], why: impl std::fmt::Display) {
        self.faults.push(FileFault::new(path, why));
    }
}

impl Library {
    /// Carries out a plan. Reports files that cannot be written, and writes the rest.
    pub async fn fetch_folder(
        &self,
        mut plan: GetPlan,
        replace: Replace,
        progress: &Progress,
    ) -> Result<FolderGot, ClientError> {
        self.compare(&mut plan).await?;
        let total_bytes = Some(plan.bytes());
        let mut got = FolderGot { unchanged: plan.unchanged, ..FolderGot::default() };
        got.faults.clone_from(&plan.faults);
        if replace == Replace::Refuse
            && let Some(first) = plan.in_the_way.first()
        {
            let more = match plan.in_the_way.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let path = plan.root.join(path_of(first));
            return Err(ClientError::Exists { name: format!("{}{more}", path.display()) });
        }
        progress.step(Step::Planned { total_bytes });
        let items = std::mem::take(&mut plan.items);
        let root = plan.root.clone();
        let beginning = move || Writing::begin(plan, &items, got).map(|writing| (writing, items));
        let at_root = |source| ClientError::Io { path: root.clone(), source };
        let (mut writing, items) = self.host().blocking(beginning).await.map_err(at_root)?;
        self.fetch_items(items, &root, &mut writing.got, progress).await?;
        self.host().blocking(move || writing.end()).await.map_err(at_root)
    }

    /// Reads files, two objects at once.
    async fn fetch_items(
        &self,
        items: Vec<Item>,
        root: &Path,
        got: &mut FolderGot,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let mut by_object: BTreeMap<ObjectId, Vec<Item>> = BTreeMap::new();
        for item in items {
            by_object.entry(item.found.manifest().object).or_default().push(item);
        }
        let mut objects = by_object.into_values();
        let mut running = VecDeque::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(items) = objects.next()
            {
                let (library, root) = (self.clone(), root.to_owned());
                let progress = one_of_many(progress);
                running.push_back(Task::spawn(async move {
                    match items.as_slice() {
                        [one] if one.found.is_whole() && one.found.length >= PACKED_BELOW => {
                            library.fetch_large(root, one, &progress).await
                        }
                        _ => library.fetch_small(root, items, &progress).await,
                    }
                }));
            }
            let Some(task) = running.pop_front() else { return Ok(()) };
            let part = task.join().await??;
            got.files += part.files;
            got.bytes += part.bytes;
            got.faults.extend(part.faults);
        }
    }

    /// Reads one file that has an object of its own. Continues where an earlier get stopped.
    async fn fetch_large(
        &self,
        root: PathBuf,
        item: &Item,
        progress: &Progress,
    ) -> Result<FolderGot, ClientError> {
        let mut got = FolderGot::default();
        let (mut place, relative) = (Place::new(root), item.relative().to_vec());
        let preparing = move || place.prepare(&relative).map(|()| place.path(&relative));
        let path = match self.host().blocking(preparing).await {
            Ok(path) => path,
            Err(error) => {
                got.fault(item.relative(), io_why(&error));
                return Ok(got);
            }
        };
        let sink = Sink::File(path);
        let options = GetOptions { range: None, replace: Replace::Overwrite };
        let resolved = self.resolve_own(&item.found)?;
        match self.fetch(resolved, sink, &options, progress).await {
            Ok(_) => (got.files, got.bytes) = (1, item.found.length),
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => got.fault(item.relative(), error),
        }
        Ok(got)
    }

    /// Reads files that share an object.
    async fn fetch_small(
        &self,
        root: PathBuf,
        items: Vec<Item>,
        progress: &Progress,
    ) -> Result<FolderGot, ClientError> {
        let wanted = items.iter().enumerate().map(|(number, item)| Wanted {
            number,
            first: item.found.first,
            length: item.found.length,
        });
        let wanted: Vec<_> = wanted.collect();
        let Some(any) = items.first().map(|item| item.found.clone()) else {
            return Ok(FolderGot::default());
        };
        let mut files = Files {
            place: Place::new(root),
            open: None,
            done: BTreeSet::new(),
            got: FolderGot::default(),
            items,
            full: None,
        };
        let empty = move || {
            for number in 0..files.items.len() {
                if files.items[number].found.length == 0 {
                    files.take(number, &[], true);
                }
            }
            files
        };
        let files = self.host().blocking(empty).await;
        let (mut files, read) = self.read_ranges(&any, wanted, files, progress).await;
        if let Some(source) = files.full.take() {
            return Err(ClientError::Io { path: files.place.path(b""), source });
        }
        let mut got = files.got;
        if let Some((_, part)) = files.open {
            self.host().blocking(move || part.discard()).await;
        }
        match read {
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => {
                let missing = files.items.iter().enumerate();
                for (_, item) in missing.filter(|(number, _)| !files.done.contains(number)) {
                    got.fault(item.relative(), &error);
                }
            }
            Ok(()) => {
                let missing = files.items.iter().enumerate();
                for (_, item) in missing.filter(|(number, _)| !files.done.contains(number)) {
                    got.fault(item.relative(), "its object ends before it does");
                }
            }
        }
        Ok(got)
    }
}

/// A folder that is being written: the steps before its files, and those after them.
struct Writing {
    plan: GetPlan,
    place: Place,
    rights: TemporaryRights,
    /// Folders that exist now, and the metadata that they get at the end.
    made: Vec<(Vec<u8>, FileMetadata)>,
    got: FolderGot,
}

impl Writing {
    /// Removes files that have to go, and creates the folders.
    fn begin(plan: GetPlan, items: &[Item], mut got: FolderGot) -> io::Result<Self> {
        let mut place = Place::new(plan.root.clone());
        place.folder(b"")?;
        let rights = place.allow_writing(plan.changed(items, &place));
        for (path, is_folder) in &plan.removed {
            match place.remove(path, *is_folder) {
                Ok(()) => got.removed += 1,
                Err(error) => got.fault(path, io_why(&error)),
            }
        }
        let mut made = Vec::new();
        for (path, metadata) in &plan.folders {
            if let Err(error) = place.folder(path) {
                got.fault(path, io_why(&error));
            } else {
                made.push((path.clone(), *metadata));
            }
        }
        Ok(Self { plan, place, rights, made, got })
    }

    /// Creates the links, sets permissions and times of folders, and syncs the changes.
    fn end(self) -> io::Result<FolderGot> {
        let Self { plan, mut place, mut rights, made, mut got } = self;
        for (path, target) in &plan.links {
            match place.link(path, target) {
                Ok(()) => got.links += 1,
                Err(error) => got.fault(path, io_why(&error)),
            }
        }
        for (path, metadata) in &plan.outdated {
            if let Err(error) = place.set_metadata(path, *metadata) {
                got.fault(path, io_why(&error));
            }
        }
        // The deepest folder comes first, because writing into a folder changes its time.
        for (path, metadata) in made.iter().rev() {
            if !place.has_metadata(path, *metadata)
                && let Err(error) = place.set_metadata(path, *metadata)
            {
                got.fault(path, io_why(&error));
            } else {
                rights.keep(&place.path(path));
            }
        }
        drop(rights);
        let changed = got.files + got.links + got.removed > 0;
        if changed {
            place.sync()?;
        }
        Ok(got)
    }
}

/// Whether the error would meet every other file too.
fn ends_all(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::DiskFull | ErrorKind::Internal | ErrorKind::Locked
    )
}

/// Writes files as their bytes arrive.
struct Files {
    place: Place,
    items: Vec<Item>,
    open: Option<(usize, Part)>,
    /// Numbers of the files that are written, or that cannot be written.
    done: BTreeSet<usize>,
    got: FolderGot,
    /// The error after which no file can be written.
    full: Option<io::Error>,
}

impl RangeSink for Files {
    fn take(&mut self, number: usize, bytes: &[u8], last: bool) {
        if self.full.is_some() || self.done.contains(&number) {
            return;
        }
        if let Err(error) = self.write(number, bytes, last) {
            self.done.insert(number);
            if let Some((_, part)) = self.open.take() {
                part.discard();
            }
            if is_full(&error) {
                self.full = Some(error);
                return;
            }
            self.got.fault(self.items[number].relative(), io_why(&error));
        }
    }
}

impl Files {
    fn write(&mut self, number: usize, bytes: &[u8], last: bool) -> io::Result<()> {
        let item = &self.items[number];
        let mut part = match self.open.take() {
            Some((open, part)) if open == number => part,
            _ => self.place.part(item.relative())?,
        };
        if let Err(error) = part.write(bytes) {
            part.discard();
            return Err(error);
        }
        if !last {
            self.open = Some((number, part));
            return Ok(());
        }
        self.place.finish(part, item.relative(), item.found.metadata)?;
        self.done.insert(number);
        self.got.files += 1;
        self.got.bytes += item.found.length;
        Ok(())
    }
}
