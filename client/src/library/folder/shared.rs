//! Folders for other people: one grant for all files of a folder, and reading a folder with such a grant.
//!
//! The owner stores a list of the folder's files: their paths, the objects that hold them, and the keys of those. The
//! grant is for all of these objects and the list, and the token has the key of the list. A pack that also holds other
//! files would show them to the holder. So the folder's files in such a pack are stored again in a pack of their own
//! first. See `spec/grant.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use symbolon_protocol::{
    Amount, Decode, Encode, LedgerTime,
    content::Manifest,
    grant::{Caveat, GrantToken, ObjectSet},
    id::{Hash, ObjectId},
    identity::Recipient,
    ledger::rows::Chain,
    record,
};

use super::{
    get_plan::{GetPlan, Item},
    one_of_many,
    place::Place,
};
use crate::{
    catalog::{Content, FileKind, KeyBytes, NameEntry, ObjectEntry, Objects, SourceMark},
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        get::{GetOptions, Resolved, Sink},
        names::{Found, Name, Range, Right, below, shown},
        source::{FileMetadata, PLAIN_MODE},
        stored::Stored,
        upload::{PutTerms, Replace, price_of, usual_epochs},
    },
    progress::Progress,
    term::Kept,
};

record! {
    /// The list of a folder's files.
    struct SharedList {
        /// Version of this layout: 1.
        version: u8,
        /// What the folder is called: one part of a path.
        name: Vec<u8>,
        /// The objects that hold the files.
        objects: Vec<SharedObject>,
        /// The files and folders, by path.
        entries: Vec<SharedEntry>,
    }
}

record! {
    /// An object with its key.
    struct SharedObject {
        manifest: Manifest,
        key: KeyBytes,
    }
}

record! {
    /// A file or folder.
    struct SharedEntry {
        /// Its path, relative to the folder.
        path: Vec<u8>,
        /// When it was modified, in nanoseconds since the Unix epoch.
        modified_ns: [u8; 16],
        /// Whether it may be run as a program.
        runs: bool,
        /// The place of its object in the list. An empty file and a folder have none.
        object: Option<u32>,
        /// Where it begins in its object.
        first: u64,
        /// Number of its bytes.
        length: u64,
        /// Whether it is a folder.
        is_folder: bool,
    }
}

/// A folder as it is now, as far as it can be shared.
struct Gathered {
    entries: Vec<SharedEntry>,
    objects: Vec<Arc<ObjectEntry>>,
    /// The objects that hold other bytes too: their files have to be stored again.
    mixed: Vec<(Found, Vec<(Range, Name)>)>,
    /// Links and lost files, which are left out.
    left_out: Vec<String>,
}

/// What a share of a folder has done.
#[derive(Clone, Debug)]
pub struct FolderShared {
    /// The grant.
    pub token: GrantToken,
    /// Number of files that it opens.
    pub files: u64,
    /// Where the list of the files is stored.
    pub list: Name,
    /// Links, and files whose bytes are gone: they are not shared.
    pub left_out: Vec<String>,
}

impl Library {
    /// Grants another identity the right to read all files that a folder has now, restricted by `caveats`. What is put
    /// into the folder later is not in the grant.
    pub async fn share_folder(
        &self,
        folder: &Name,
        to: &Recipient,
        caveats: Vec<Caveat>,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<FolderShared, ClientError> {
        let budget = Budget::of(cost_max);
        let sharing = self.share_folder_now(folder, to, caveats, &budget, progress);
        self.changing(&budget, progress, sharing).await
    }

    /// The most that sharing a folder costs: its list, and files that have to be stored again. Nothing if it was shared
    /// as it is.
    pub async fn price_of_folder_share(
        &self,
        folder: &Name,
    ) -> Result<Option<Amount>, ClientError> {
        self.catch_up().await;
        let gathered = self.gather(folder).await?;
        let chain = self.network().chain_row().await?;
        let stored = self.stored_objects(&gathered).await?;
        let (_, epochs) = terms(&chain, folder, &stored)?;
        let list = SharedList::of(folder, &gathered);
        if gathered.mixed.is_empty() {
            let name = list_name(folder, &list.to_bytes())?;
            if self.find(&name).await.is_ok() {
                return Ok(None);
            }
        }
        let lengths = gathered
            .mixed
            .iter()
            .map(|(_, ranges)| ranges.iter().map(|((_, _, length), _)| *length).sum::<u64>());
        // A file that is stored again gets an object in the list, which is not there yet.
        let room = gathered.mixed.len() as u64 * OBJECT_BYTES;
        let lengths: Vec<_> = lengths.chain([list.to_bytes().len() as u64 + room]).collect();
        let candidates = self.network().candidates(b"quote").await?;
        let mut sum = Amount::ZERO;
        for length in lengths {
            let price = price_of(&candidates, &chain.params, length, epochs)?;
            sum = sum.checked_add(price).ok_or_else(|| {
                ClientError::Usage(String::from("the price is larger than any amount can be"))
            })?;
        }
        Ok(Some(sum))
    }

    async fn share_folder_now(
        &self,
        folder: &Name,
        to: &Recipient,
        caveats: Vec<Caveat>,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<FolderShared, ClientError> {
        let mut gathered = self.gather(folder).await?;
        let chain = self.network().chain_row().await?;
        let stored = self.stored_objects(&gathered).await?;
        let (ends_ms, epochs) = terms(&chain, folder, &stored)?;
        let wanted = caveats.iter().filter_map(|caveat| match caveat {
            Caveat::NotAfter { time_ms } | Caveat::Once { until_ms: time_ms } => Some(*time_ms),
            _ => None,
        });
        if let Some(wanted_ms) = wanted.min().filter(|wanted| ends_ms < *wanted) {
            let name = folder.to_string();
            return Err(ClientError::EndsEarly { name, paid_until_ms: ends_ms, wanted_ms });
        }
        if !gathered.mixed.is_empty() {
            progress.note(format!(
                "storing files of {folder} in packs of their own first: other files were in their packs"
            ));
            for (any, ranges) in std::mem::take(&mut gathered.mixed) {
                let label = format!("pack {}", any.manifest().object);
                let rest = self.rest_of(folder, &any.object).await?;
                let terms = PutTerms { cost_max: budget.left(), ..rest };
                let paid = budget.counter();
                self.rebuild((&any, ranges), &label, (terms, paid), &one_of_many(progress)).await?;
            }
            gathered = self.gather(folder).await?;
        }
        if !gathered.mixed.is_empty() {
            let why = format!("{folder} changes while it is shared: share it again");
            return Err(ClientError::Usage(why));
        }
        let (left_out, files) = (gathered.left_out.clone(), gathered.files());
        let list = SharedList::of(folder, &gathered);
        let bytes = list.to_bytes();
        if LIST_BYTES_MAX < bytes.len() as u64 {
            let why = format!("{folder} has too many files for one grant: share the folders in it");
            return Err(ClientError::Usage(why));
        }
        let name = list_name(folder, &bytes)?;
        let least = epochs - epochs / 10;
        let options = PutTerms { least, ..PutTerms::plain(epochs, budget.left(), Replace::Refuse) };
        self.put_here(bytes.into(), &name, &options, budget, &one_of_many(progress)).await?;
        let found = self.find(&name).await?;
        let set = list.set(found.manifest().object)?;
        let token = self.grant_for_folder((found.manifest(), &found.key()), &set, to, caveats)?;
        let (label, given) = (format!("given: {folder}/"), token.clone());
        self.local(move |local| local.remember_grant(&label, &given)).await?;
        Ok(FolderShared { token, files, list: name, left_out })
    }

    async fn gather(&self, folder: &Name) -> Result<Gathered, ClientError> {
        let folder = folder.clone();
        self.local(move |local| local.gather(&folder)).await
    }

    async fn stored_objects(&self, gathered: &Gathered) -> Result<Vec<Stored>, ClientError> {
        let mixed = gathered.mixed.iter().map(|(any, _)| &any.object);
        let entries = gathered.objects.iter().chain(mixed).map(|entry| (**entry).clone());
        self.stored(entries.collect()).await
    }

    /// Plans to read the folder of a grant, below `output`. Without `output`, below the folder's own name in the current
    /// folder.
    pub async fn plan_get_shared(
        &self,
        token: &GrantToken,
        output: Option<&Path>,
    ) -> Result<GetPlan, ClientError> {
        let given = token.clone();
        let resolved = self.local(move |local| local.resolve_here(&given.into())).await?;
        let list = self.read_list(resolved).await?;
        let set = list.set(token.manifest.object)?;
        let mut caveats = token.grant.links.iter().flat_map(|link| &link.caveats);
        if !caveats.any(|one| *one == Caveat::Objects { root: set.root() }) {
            return Err(bad("its files are not those that it was made for"));
        }
        let root = output.map(Path::to_owned);
        let (token, output) = (token.clone(), root);
        self.host().blocking(move || list.plan(&token, &set, output.as_deref())).await
    }

    /// The objects that a grant opens, for the owner who gave it. None if the list of a folder is not stored any longer:
    /// then no one can read by it what they have not found out before.
    pub(crate) async fn objects_of_grant(
        &self,
        token: &GrantToken,
    ) -> Result<Vec<ObjectId>, ClientError> {
        let object = token.manifest.object;
        if !token.is_folder() {
            return Ok(vec![object]);
        }
        let entry = self.local(move |local| local.catalog().row(Objects, &object.0)).await?;
        let Some(entry) = entry else { return Ok(Vec::new()) };
        let (reading, place) = (self.own_reading(&entry)?, (0, entry.manifest.length));
        let list =
            self.read_list(Resolved { reading, bought: None, place, metadata: None }).await?;
        Ok(list.objects.iter().map(|one| one.manifest.object).chain([object]).collect())
    }

    async fn read_list(&self, resolved: Resolved) -> Result<SharedList, ClientError> {
        if LIST_BYTES_MAX < resolved.place.1 {
            return Err(bad("the list of its files is longer than any"));
        }
        let (options, quiet) = (GetOptions::default(), Progress::silent());
        let read = Box::pin(self.fetch(resolved, Sink::Memory, &options, &quiet)).await?;
        SharedList::read(&read.bytes.unwrap_or_default())
    }
}

/// When the first object of a folder ends, and for how many epochs the last one is paid.
fn terms(
    chain: &Chain,
    folder: &Name,
    stored: &[Stored],
) -> Result<(LedgerTime, u64), ClientError> {
    // A folder without bytes lasts as long as a file that is put without a term.
    let (usual, _) = usual_epochs(None, chain.params.epoch_ms);
    let (mut first_ms, mut epochs) = (LedgerTime::NEVER, if stored.is_empty() { usual } else { 1 });
    for one in stored {
        match one.kept(chain) {
            Kept::Until { time_ms, epoch } => {
                first_ms = first_ms.min(time_ms);
                epochs = epochs.max(epoch.saturating_sub(chain.epoch));
            }
            Kept::Over { since_ms } => {
                return Err(ClientError::Over { name: folder.to_string(), since_ms });
            }
        }
    }
    Ok((first_ms, epochs))
}

/// Where the list of a folder is stored. The name follows from the list, so that a changed folder has another list, and
/// the grants of before keep theirs.
fn list_name(folder: &Name, list: &[u8]) -> Result<Name, ClientError> {
    let digits = Hash(*blake3::hash(list).as_bytes()).to_string();
    let below = [folder.as_bytes(), b"/", &digits.as_bytes()[..16]].concat();
    let parent = Name::checked(LISTS)?;
    parent.join(&below).map_err(|error| {
        ClientError::Usage(format!("the name of {folder} is too long to be shared: {error}"))
    })
}

fn bad(why: &'static str) -> ClientError {
    ClientError::Grant(why.into())
}

impl Gathered {
    fn files(&self) -> u64 {
        self.entries.iter().filter(|entry| !entry.is_folder).count() as u64
    }
}

impl Local {
    fn gather(&self, folder: &Name) -> Result<Gathered, ClientError> {
        let what = folder.as_bytes();
        let tree = self.tree_for(what, false)?;
        if !tree.is_folder(what) {
            return Err(ClientError::NotAFolder { name: folder.to_string() });
        }
        let mut files: Vec<(Vec<u8>, Found)> = Vec::new();
        let mut entries = Vec::new();
        let mut left_out = Vec::new();
        for name in tree.select(what, false)?.1 {
            let Some(version) = tree.names.get(name).and_then(NameEntry::current) else { continue };
            let path = below(name.as_bytes(), what).unwrap_or_default().to_vec();
            match version.content {
                Content::Folder if path.is_empty() => {}
                Content::Folder => entries.push(SharedEntry::folder(path, version.modified_ns)),
                Content::Link { .. } => left_out.push(shown(&path)),
                Content::File { .. } => match tree.found(name, version) {
                    Ok(found) => files.push((path, found)),
                    Err(ClientError::Lost { .. }) => left_out.push(shown(&path)),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(Gathered::new(files, entries, left_out))
    }
}

impl Gathered {
    fn new(
        files: Vec<(Vec<u8>, Found)>,
        mut entries: Vec<SharedEntry>,
        left_out: Vec<String>,
    ) -> Self {
        let mut by_object: BTreeMap<ObjectId, Vec<&Found>> = BTreeMap::new();
        for (_, found) in files.iter().filter(|(_, found)| 0 < found.length) {
            by_object.entry(found.manifest().object).or_default().push(found);
        }
        let (mut objects, mut places, mut mixed) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (object, inside) in by_object {
            if covers(&inside) {
                places.insert(object, u32::try_from(objects.len()).unwrap_or(u32::MAX));
                objects.push(inside[0].object.clone());
            } else {
                let ranges: BTreeMap<Range, Name> = inside
                    .iter()
                    .map(|found| ((object, found.first, found.length), found.name.clone()))
                    .collect();
                mixed.push((inside[0].clone(), ranges.into_iter().collect()));
            }
        }
        entries.extend(files.iter().map(|(path, found)| SharedEntry {
            path: path.clone(),
            modified_ns: found.metadata.modified_ns.to_le_bytes(),
            runs: found.metadata.mode & RUNS != 0,
            object: places.get(&found.manifest().object).copied().filter(|_| 0 < found.length),
            first: if found.length == 0 { 0 } else { found.first },
            length: found.length,
            is_folder: false,
        }));
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Self { entries, objects, mixed, left_out }
    }
}

/// Whether files of one object are all that the object holds.
fn covers(files: &[&Found]) -> bool {
    let mut ranges: Vec<_> =
        files.iter().map(|found| (found.first, found.first + found.length)).collect();
    ranges.sort_unstable();
    let mut end = 0;
    for (from, to) in ranges {
        if end < from {
            return false;
        }
        end = end.max(to);
    }
    files.first().is_some_and(|found| found.manifest().length <= end)
}

impl SharedEntry {
    fn folder(path: Vec<u8>, modified_ns: [u8; 16]) -> Self {
        let (object, first, length) = (None, 0, 0);
        Self { path, modified_ns, runs: true, object, first, length, is_folder: true }
    }

    fn metadata(&self) -> FileMetadata {
        let mode = if self.runs { FOLDER_MODE } else { PLAIN_MODE };
        FileMetadata { mode, modified_ns: i128::from_le_bytes(self.modified_ns) }
    }
}

impl SharedList {
    fn of(folder: &Name, gathered: &Gathered) -> Self {
        let objects = gathered
            .objects
            .iter()
            .map(|entry| SharedObject { manifest: entry.manifest.clone(), key: entry.key.clone() });
        Self {
            version: 1,
            name: folder.last().to_vec(),
            objects: objects.collect(),
            entries: gathered.entries.clone(),
        }
    }

    /// Reads a list that another person may have made.
    fn read(bytes: &[u8]) -> Result<Self, ClientError> {
        let list = Self::from_bytes(bytes);
        let list = list.map_err(|error| ClientError::Grant(Box::new(error)))?;
        if list.version != 1 {
            return Err(bad("the list of its files has a layout that a newer program knows"));
        }
        let is_part = Name::new(list.name.as_slice()).is_ok_and(|name| name.last() == list.name);
        if !is_part {
            return Err(bad("its folder has no name that a folder may have"));
        }
        let ids: BTreeSet<_> = list.objects.iter().map(|one| one.manifest.object).collect();
        if ids.len() != list.objects.len() {
            return Err(bad("the list of its files names an object twice"));
        }
        let sorted = list.entries.is_sorted_by(|one, next| one.path < next.path);
        if !sorted || !list.entries.iter().all(|entry| list.fits(entry)) {
            return Err(bad("the list of its files makes no sense"));
        }
        Ok(list)
    }

    /// Whether an entry has a path inside of the folder, and a place inside of its object.
    fn fits(&self, entry: &SharedEntry) -> bool {
        let inside = match entry.object {
            None => entry.length == 0,
            Some(place) => self.objects.get(place as usize).is_some_and(|one| {
                let end = entry.first.checked_add(entry.length);
                0 < entry.length && end.is_some_and(|end| end <= one.manifest.length)
            }),
        };
        inside
            && Name::new(entry.path.as_slice()).is_ok()
            && !(entry.is_folder && entry.object.is_some())
    }

    /// All objects of the grant: those of the files, and the list itself.
    fn set(&self, list: ObjectId) -> Result<ObjectSet, ClientError> {
        let objects = self.objects.iter().map(|one| one.manifest.object).chain([list]);
        ObjectSet::new(objects).ok_or_else(|| {
            ClientError::Usage(String::from(
                "the folder has too many objects for one grant: share the folders in it",
            ))
        })
    }

    /// What is to be written. Blocks.
    fn plan(
        &self,
        token: &GrantToken,
        set: &ObjectSet,
        output: Option<&Path>,
    ) -> Result<GetPlan, ClientError> {
        let own = crate::library::names::path_of(&self.name);
        let mut plan = GetPlan::new(output.map_or(own, Path::to_owned))?;
        let place = Place::new(plan.root.clone());
        let rights = |object: &ObjectId| {
            let member = set.member(object).ok_or_else(|| bad("an object is not in it"))?;
            let (owner, grant) = (token.grant.root, token.grant.of_member(member));
            Ok::<_, ClientError>(Arc::new(Right { owner, grant }))
        };
        let objects = self.objects.iter().map(|one| {
            let entry = entry_of(&one.manifest, one.key.clone());
            Ok::<_, ClientError>((Arc::new(entry), rights(&one.manifest.object)?))
        });
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        // Nothing is read for an empty file.
        let nothing = entry_of(&token.manifest, KeyBytes::new([0; 32]));
        let nothing = (Arc::new(nothing), rights(&token.manifest.object)?);
        for entry in &self.entries {
            let metadata = entry.metadata();
            if entry.is_folder {
                plan.folders.push((entry.path.clone(), metadata));
                continue;
            }
            let of = entry.object.and_then(|place| objects.get(place as usize));
            let (object, right) = of.unwrap_or(&nothing).clone();
            let found = Found {
                name: Name::checked(&entry.path)?,
                object,
                stored_ms: 0,
                first: entry.first,
                length: entry.length,
                metadata,
                right: Some(right),
            };
            plan.is_empty = false;
            plan.add_file(&place, Item::new(found, &entry.path));
        }
        Ok(plan)
    }
}

/// The row that an object of another identity would have.
fn entry_of(manifest: &Manifest, key: KeyBytes) -> ObjectEntry {
    ObjectEntry {
        kind: FileKind::Own,
        key,
        manifest: manifest.clone(),
        stored_ms: 0,
        paid_until_ms: LedgerTime::ZERO,
        cost: Amount::ZERO,
        end: 0,
        source: SourceMark::Stream,
        chosen: false,
    }
}

/// The folder of the lists, among the owner's names.
const LISTS: &[u8] = b".shared";
/// Bytes of a list at most.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of an object in a list.
const OBJECT_BYTES: u64 = 160;
/// The permission to run a file.
const RUNS: u32 = 0o100;
/// Permissions of folders and programs.
const FOLDER_MODE: u32 = 0o755;

#[cfg(test)]
mod tests {
    use symbolon_protocol::content::{FileKey, Layout, MaskMode, Scheme};

    use super::*;

    fn object(number: u8, length: u64) -> SharedObject {
        let key = [number; 32];
        let layout = Layout::new(Scheme { required: 1, total: 2 }, length).unwrap();
        let manifest =
            Manifest::new(&FileKey::from_bytes(key), MaskMode::ChaCha20, &layout, Hash([0; 32]));
        SharedObject { manifest, key: KeyBytes::new(key) }
    }

    fn file(path: &str, object: Option<u32>, first: u64, length: u64) -> SharedEntry {
        let (path, modified_ns) = (path.into(), [0; 16]);
        SharedEntry { path, modified_ns, runs: false, object, first, length, is_folder: false }
    }

    fn list() -> SharedList {
        let folder = SharedEntry::folder(b"inner".to_vec(), [0; 16]);
        let entries = vec![
            file("a", Some(0), 0, 10),
            file("empty", None, 0, 0),
            folder,
            file("inner/b", Some(0), 10, 90),
            file("inner/c", Some(1), 0, 5),
        ];
        let objects = vec![object(1, 100), object(2, 5)];
        SharedList { version: 1, name: b"photos".to_vec(), objects, entries }
    }

    #[test]
    fn a_list_is_read_as_it_was_made_and_a_false_one_is_refused() {
        let good = list();
        assert_eq!(SharedList::read(&good.to_bytes()).unwrap().to_bytes(), good.to_bytes());
        let with = |change: &dyn Fn(&mut SharedList)| {
            let mut bad = list();
            change(&mut bad);
            SharedList::read(&bad.to_bytes()).is_err()
        };
        assert!(with(&|list| list.version = 2));
        for name in ["", "..", "a/b", "/etc"] {
            assert!(with(&|list| list.name = name.into()), "{name}");
        }
        for path in ["", "..", "../up", "/etc/passwd", "a/../../b", "a//b"] {
            assert!(with(&|list| list.entries = vec![file(path, None, 0, 0)]), "{path}");
        }
        assert!(with(&|list| list.entries.swap(0, 1)), "out of order");
        assert!(with(&|list| list.entries[0].path = b"empty".to_vec()), "twice");
        assert!(with(&|list| list.entries[0].object = Some(2)), "no such object");
        assert!(with(&|list| list.entries[0].object = None), "bytes of nowhere");
        assert!(with(&|list| list.entries[0].length = 101), "past the end");
        assert!(with(&|list| list.entries[0].first = u64::MAX), "past every end");
        assert!(with(&|list| list.entries[0].length = 0), "no bytes of an object");
        assert!(with(&|list| list.entries[0].is_folder = true), "a folder with bytes");
        assert!(with(&|list| list.objects[1] = object(1, 100)), "an object twice");
        let bytes = good.to_bytes();
        assert!(SharedList::read(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn only_files_that_fill_their_object_share_it() {
        let of = |number: u8, length: u64| {
            let SharedObject { manifest, key } = object(number, length);
            Arc::new(entry_of(&manifest, key))
        };
        let pack = of(1, 100);
        let found = |path: &str, object: &Arc<ObjectEntry>, first, length| {
            let found = Found {
                name: Name::new(path).unwrap(),
                object: object.clone(),
                stored_ms: 0,
                first,
                length,
                metadata: FileMetadata { mode: 0o700, modified_ns: -5 },
                right: None,
            };
            (path.as_bytes().to_vec(), found)
        };
        let whole = of(2, 7);
        let all = vec![
            found("b", &pack, 40, 60),
            found("a", &pack, 0, 40),
            found("twin", &pack, 0, 40),
            found("empty", &pack, 100, 0),
            found("own", &whole, 0, 7),
        ];
        let gathered = Gathered::new(all.clone(), Vec::new(), Vec::new());
        assert_eq!((gathered.objects.len(), gathered.mixed.len(), gathered.files()), (2, 0, 5));
        let list = SharedList::of(&Name::new("x/photos").unwrap(), &gathered);
        let read = SharedList::read(&list.to_bytes()).unwrap();
        assert_eq!((read.name.as_slice(), read.entries[2].object), (&b"photos"[..], None));
        assert!(read.entries.iter().all(|entry| entry.runs));

        // Without one of its files, the holder would see another file's bytes.
        let gathered = Gathered::new(all[1..].to_vec(), Vec::new(), Vec::new());
        let [(_, ranges)] = &gathered.mixed[..] else { panic!("one pack is mixed") };
        assert_eq!(ranges.len(), 1, "the same bytes once");
        assert_eq!(gathered.objects.len(), 1);
        let gap = vec![found("a", &pack, 0, 40), found("b", &pack, 41, 59)];
        assert_eq!(Gathered::new(gap, Vec::new(), Vec::new()).mixed.len(), 1);
    }
}
