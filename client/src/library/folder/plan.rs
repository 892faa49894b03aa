//! The plan for storing a folder: what is not stored yet, and what storing it takes. Making a plan reads no file unless
//! files are compared by content. It asks the ledger which stored objects are still paid for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use symbolon_protocol::{Amount, LedgerTime, content::Scheme, id::ObjectId, ledger::check_epochs};

use super::{
    FileFault, FolderOptions,
    pack::{Member, PACKED_BELOW, cut},
    same::Pair,
    walk::{Entry, Kind, NotKept, Walk, check_folder, walk},
};
use crate::{
    catalog::{Content, NameEntry, Version},
    durability::{Durability, Record, durability},
    error::ClientError,
    library::{
        Library, Local,
        index::Growth,
        names::{Found, Name, NewVersion, Tree, below, path_of},
        source::FileMetadata,
        upload::{PutOptions, PutTerms},
    },
    place::{choose_scheme, quote, with_room},
};

/// Files that become one object.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    Pack(Vec<Member>),
    File(Member),
}

impl Unit {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Pack(members) => members.iter().map(|member| member.length).sum(),
            Self::File(member) => member.length,
        }
    }
}

/// The work that storing a folder means, found before anything is done.
#[derive(Debug)]
pub struct FolderPlan {
    pub(super) root: PathBuf,
    /// The name that the folder gets. Empty when its files go to the top.
    pub(super) to: Vec<u8>,
    pub(super) keep: Option<u32>,
    pub(super) units: Vec<Unit>,
    /// Folders and links to record.
    pub(super) rows: Vec<NewVersion>,
    /// Files with only new permissions or a new time.
    pub(super) modes: Vec<(Name, FileMetadata)>,
    pub(super) removed: Vec<Name>,
    /// Number of files that are stored already, unchanged.
    pub unchanged: u64,
    /// Number of files that are stored already, unchanged, but not for long enough. They are stored anew.
    pub renewed: u64,
    /// Entries that are neither file, folder nor link. They are not stored.
    pub special: Vec<String>,
    /// Files that cannot be stored.
    pub faults: Vec<FileFault>,
    /// Properties of files that are not stored.
    pub not_kept: NotKept,
    /// Whether the folder holds no file or link.
    pub is_empty: bool,
}

/// The price of storing a folder.
#[derive(Clone, Debug)]
pub struct FolderQuote {
    /// The scheme of the largest object.
    pub scheme: Scheme,
    /// Number of nodes that answer.
    pub nodes: usize,
    /// Number of deals: one for each segment of each object.
    pub deals: u64,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// Number of epochs.
    pub epochs: u64,
    /// The whole price.
    pub total: Amount,
    /// The durability of the object with the lowest one. Nothing if there is no object.
    pub durability: Option<Durability>,
    /// A warning that the user should see first.
    pub warning: Option<String>,
    /// The price of each object.
    pub(super) each: Vec<Amount>,
}

impl FolderPlan {
    /// Number of files to store.
    #[must_use]
    pub fn files(&self) -> u64 {
        let count = |unit: &Unit| match unit {
            Unit::Pack(members) => members.len() as u64,
            Unit::File(_) => 1,
        };
        self.units.iter().map(count).sum()
    }

    /// Number of their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(Unit::length).sum()
    }

    /// Number of packs for small files.
    #[must_use]
    pub fn packs(&self) -> u64 {
        self.units.iter().filter(|unit| matches!(unit, Unit::Pack(_))).count() as u64
    }

    /// Number of folders and links that are new or changed, and of files with new metadata.
    #[must_use]
    pub fn others(&self) -> u64 {
        (self.rows.len() + self.modes.len()) as u64
    }

    /// Names to remove.
    #[must_use]
    pub fn removed(&self) -> &[Name] {
        &self.removed
    }

    /// The most that the plan adds to the names index.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let targets = self.rows.iter().map(|row| match &row.content {
            Content::Link { target } => target.len(),
            Content::File { .. } | Content::Folder => 0,
        });
        let others = self.rows.iter().map(|row| &row.name);
        let others = others.chain(self.modes.iter().map(|(name, _)| name)).chain(&self.removed);
        let all = self.names().chain(others);
        let bytes = all.map(|name| name.as_bytes().len()).chain(targets).sum::<usize>();
        let path = self.root.as_os_str().len() as u64;
        let objects = self.units.len() as u64;
        Growth {
            names: self.files() + self.others() + self.removed.len() as u64,
            name_bytes: bytes as u64 + path.saturating_mul(objects),
            objects,
        }
    }

    /// Names of the files to be stored.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.units
            .iter()
            .flat_map(|unit| match unit {
                Unit::Pack(members) => members.as_slice(),
                Unit::File(member) => std::slice::from_ref(member),
            })
            .map(|member| &member.name)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.units.is_empty()
            && self.rows.is_empty()
            && self.modes.is_empty()
            && self.removed.is_empty()
    }
}

/// Sorts the entries of a walk into the work of a plan.
struct Planner {
    /// The names that are stored below the folder's name.
    tree: Tree,
    /// Objects that are not paid for long enough or were found damaged, each with the time at which its deals end, if
    /// that is still to come. Their files are stored anew.
    ending: BTreeMap<ObjectId, Option<LedgerTime>>,
    /// Those of these objects to which another person has a right.
    held: BTreeSet<ObjectId>,
    plan: FolderPlan,
    options: FolderOptions,
    changed: Vec<Member>,
    /// The names of all entries, if the plan removes the names of missing ones.
    seen: BTreeSet<Name>,
    /// Files with the same length as the stored ones. They are compared by content. The flag says whether the metadata
    /// differs.
    doubtful: Vec<(Member, Found, bool)>,
    /// Folders that are left out, with everything in them.
    left_out: Vec<Vec<u8>>,
}

impl Library {
    /// Compares a local folder with the names below `to`, or with all names if there is no `to`.
    pub async fn plan_folder(
        &self,
        root: &Path,
        to: Option<&Name>,
        options: &FolderOptions,
    ) -> Result<FolderPlan, ClientError> {
        let own = to.cloned();
        let check = move |local: &Local| own.as_ref().map_or(Ok(()), |to| local.check_place(to));
        self.read(check).await?;
        let (from, how) = (root.to_owned(), options.clone());
        let check = move || check_folder(&from).map(drop);
        self.host().blocking(check).await?;
        let (ending, held) = self.ending(options.least).await?;
        let below_to = to.map_or(Vec::new(), |to| to.as_bytes().to_vec());
        let tree = self.local(move |local| local.tree_below(&below_to)).await?;
        let own =
            to.filter(|own| tree.names.get(own).is_some_and(|row| !may_give_way(row, options)));
        if let Some(own) = own {
            return Err(ClientError::Exists { name: own.to_string() });
        }
        let to = to.map_or(Vec::new(), |to| to.as_bytes().to_vec());
        let plan = FolderPlan::new(root.to_owned(), to, options.keep);
        let (changed, doubtful, left_out) = (Vec::new(), Vec::new(), Vec::new());
        let seen = BTreeSet::new();
        let options = how;
        let mut planner =
            Planner { tree, ending, held, plan, options, changed, seen, doubtful, left_out };
        let looking = move || planner.plan_entries().map(|unread| (planner, unread));
        let (mut planner, unread) = self.host().blocking(looking).await?;
        self.compare_doubtful(&mut planner).await?;
        Ok(planner.finish(&unread))
    }

    /// Compares the doubtful files by content.
    async fn compare_doubtful(&self, planner: &mut Planner) -> Result<(), ClientError> {
        let doubtful = std::mem::take(&mut planner.doubtful);
        let pairs = doubtful.iter().map(|(member, found, _)| Pair {
            path: planner.plan.root.join(path_of(member.relative())),
            found: found.clone(),
        });
        let same = self.same_content(pairs.collect()).await?;
        for ((member, _, is_other), same) in doubtful.into_iter().zip(same) {
            planner.compared(member, is_other, same);
        }
        Ok(())
    }

    /// The price of carrying out a plan.
    pub async fn quote_folder(
        &self,
        plan: &FolderPlan,
        options: &PutOptions,
    ) -> Result<FolderQuote, ClientError> {
        let (candidates, network) = self.network().candidates_and_records(b"quote").await?;
        let params = self.network().params().await?;
        let options = PutTerms::new(options, &params);
        check_epochs(options.epochs, &params)?;
        let times = (params.epoch_ms, params.epoch_ms.saturating_mul(options.epochs));
        let too_much = || ClientError::Usage(String::from("the price exceeds every amount"));
        let mut all = FolderQuote {
            scheme: choose_scheme(options.scheme, candidates.len())?,
            nodes: candidates.len(),
            deals: 0,
            stored_bytes: 0,
            epochs: options.epochs,
            total: Amount::ZERO,
            durability: None,
            warning: None,
            each: Vec::with_capacity(plan.units.len()),
        };
        let mut longest = 0;
        for unit in &plan.units {
            let length = unit.length();
            let candidates = with_room(candidates.clone(), options.scheme, Some(length));
            let scheme = choose_scheme(options.scheme, candidates.len())?;
            let one = quote(&params, &candidates, scheme, length, options.epochs)?;
            all.total = all.total.checked_add(one.total).ok_or_else(too_much)?;
            all.deals += u64::from(one.segments);
            all.stored_bytes = all.stored_bytes.saturating_add(one.stored_bytes);
            all.each.push(one.total);
            all.warning = all.warning.or(one.warning);
            let records: Vec<Record> = candidates.iter().map(|node| node.record).collect();
            let sure = durability(scheme, &records, &network, one.segments, times);
            let worst = all.durability.map_or(0.0, |worst| worst.unavailable_at_repair);
            if all.durability.is_none() || worst < sure.unavailable_at_repair {
                all.durability = Some(sure);
            }
            if length >= longest {
                (longest, all.scheme) = (length, scheme);
            }
        }
        Ok(all)
    }
}

/// Puts small files into packs. A large file, and the only file of a pack, gets an object of its own.
fn units(mut changed: Vec<Member>) -> Vec<Unit> {
    changed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let large: Vec<Member> =
        changed.extract_if(.., |member| PACKED_BELOW <= member.length).collect();
    let packs = cut(changed).into_iter().map(|mut pack| match pack.pop() {
        Some(only) if pack.is_empty() => Unit::File(only),
        last => {
            pack.extend(last);
            Unit::Pack(pack)
        }
    });
    packs.chain(large.into_iter().map(Unit::File)).collect()
}

impl FolderPlan {
    /// A plan without any work.
    fn new(root: PathBuf, to: Vec<u8>, keep: Option<u32>) -> Self {
        Self {
            root,
            to,
            keep,
            units: Vec::new(),
            rows: Vec::new(),
            modes: Vec::new(),
            removed: Vec::new(),
            unchanged: 0,
            renewed: 0,
            special: Vec::new(),
            faults: Vec::new(),
            not_kept: NotKept::default(),
            is_empty: true,
        }
    }
}

impl Planner {
    /// Walks through the folder and plans the work. Gives the paths below which nothing is known.
    fn plan_entries(&mut self) -> Result<Vec<Vec<u8>>, ClientError> {
        let (root, options) = (self.plan.root.clone(), self.options.clone());
        let found = walk(&root, &options, |entry| self.plan_entry(entry))?;
        let Walk { faults, mut unread, special, not_kept, parts, .. } = found;
        // The faults of the walk come first.
        let planned = std::mem::replace(&mut self.plan.faults, faults);
        self.plan.special = special;
        self.plan.not_kept = not_kept;
        for path in parts {
            let why = "it has the name of what an interrupted get leaves; rename it, remove it, or \
                       leave it out with --exclude";
            self.fault(&path, why);
            unread.push(path);
        }
        self.plan.faults.extend(planned);
        Ok(unread)
    }

    fn plan_entry(&mut self, entry: Entry) {
        self.plan.is_empty &= entry.kind == Kind::Folder;
        let name = match (self.plan.to.as_slice(), entry.relative.as_slice()) {
            ([], []) => return,
            (to, []) => Name::new(to),
            ([], relative) => Name::new(relative),
            (to, relative) => Name::new([to, relative].join(&b'/')),
        };
        match name {
            Ok(name) => {
                if self.options.delete {
                    self.seen.insert(name.clone());
                }
                self.entry(name, &entry);
            }
            Err(error) => self.fault(&entry.relative, error),
        }
    }

    /// The plan, with the names to remove.
    fn finish(self, unread: &[Vec<u8>]) -> FolderPlan {
        let Self { tree, mut plan, options, changed, seen, .. } = self;
        if options.delete {
            let is_unread = |path: &[u8]| unread.iter().any(|at| below(path, at).is_some());
            for (name, _) in tree.live() {
                let path = below(name.as_bytes(), &plan.to).filter(|path| !path.is_empty());
                let Some(path) = path else { continue };
                if !seen.contains(name) && !is_unread(path) && !options.excludes(path) {
                    plan.removed.push(name.clone());
                }
            }
        }
        // The memory is freed before the list is divided, which does not need it.
        drop((tree, seen));
        plan.units = units(changed);
        plan
    }

    fn fault(&mut self, path: &[u8], why: impl std::fmt::Display) {
        self.plan.faults.push(FileFault::new(path, why));
    }

    fn entry(&mut self, name: Name, entry: &Entry) {
        if self.left_out.iter().any(|folder| below(&entry.relative, folder).is_some()) {
            return;
        }
        let row = self.tree.names.get(&name);
        let current = row.and_then(|row| row.current());
        let content = match entry.kind {
            Kind::File { length } => {
                let current = current.cloned();
                return self.file(name, current.as_ref(), length, entry);
            }
            Kind::Link { ref target } => Content::Link { target: target.clone() },
            Kind::Folder => Content::Folder,
        };
        if row.is_some_and(|row| !may_give_way(row, &self.options)) {
            let why = "a file is stored under this name; put --replace takes its place";
            self.fault(&entry.relative, why);
            // The names stored there stay, even if names that are missing in the folder are removed.
            self.left_out.push(entry.relative.clone());
            return;
        }
        let current = current.cloned();
        if content != Content::Folder && !self.may_cover(&name, &entry.relative) {
            return;
        }
        let (mode, modified_ns) = (entry.mode, entry.modified_ns);
        let same = current.as_ref().is_some_and(|version| {
            version.content == content
                && (version.mode, i128::from_le_bytes(version.modified_ns)) == (mode, modified_ns)
        });
        if !same {
            self.plan.rows.push(NewVersion {
                name,
                content,
                mode,
                modified_ns,
                keep: None,
                renews: false,
                over: current.as_ref().map(Version::mark),
            });
        }
    }

    fn file(&mut self, name: Name, current: Option<&Version>, length: u64, entry: &Entry) {
        let stored = current.filter(|version| match version.content {
            Content::File { length: stored, .. } => stored == length && !self.tree.is_lost(version),
            _ => false,
        });
        let (mode, modified_ns) = (entry.mode, entry.modified_ns);
        let below = name.as_bytes().len() - entry.relative.len();
        let is_at = |version: &Version| i128::from_le_bytes(version.modified_ns) == modified_ns;
        let ends_as_it_is = self.ends(stored).map(|held| (held, stored.is_some_and(is_at)));
        let renews = ends_as_it_is.is_some_and(|(_, same)| same);
        let over = current.map(Version::mark);
        let member = Member { name, below, length, mode, modified_ns, renews, over };
        match (stored, ends_as_it_is) {
            (_, Some((true, true))) if !self.options.replace => {
                let why = "it ends sooner than asked, and is shared or for sale: put --replace stores it \
                           anew, which ends that";
                self.fault(member.relative(), why);
            }
            (_, Some(_)) => {
                self.plan.renewed += u64::from(renews);
                self.compared(member, true, false);
            }
            (Some(version), None) if self.options.checksum => {
                match self.tree.found(&member.name, version) {
                    Ok(found) => {
                        let is_other =
                            FileMetadata::of(version) != FileMetadata { mode, modified_ns };
                        self.doubtful.push((member, found, is_other));
                    }
                    Err(error) => self.fault(member.relative(), error),
                }
            }
            (Some(version), None) if is_at(version) => {
                self.compared(member, version.mode != mode, true);
            }
            _ => self.compared(member, true, false),
        }
    }

    /// Whether a version's object ends too soon, and if so, whether another person has a right to it.
    fn ends(&self, version: Option<&Version>) -> Option<bool> {
        let Content::File { object, first, length } = version?.content else { return None };
        let (object, ..) = self.tree.place_of((object, first, length))?;
        self.ending.get(&object).map(|_| self.held.contains(&object))
    }

    /// Records whether a file has the stored content.
    fn compared(&mut self, member: Member, is_other: bool, same: bool) {
        if !same {
            if self.may_cover(&member.name, member.relative()) {
                self.changed.push(member);
            }
            return;
        }
        self.plan.unchanged += 1;
        if is_other {
            let metadata = FileMetadata { mode: member.mode, modified_ns: member.modified_ns };
            self.plan.modes.push((member.name, metadata));
        }
    }

    /// Refuses a file if stored names lie in a folder of that name and have to stay.
    fn may_cover(&mut self, name: &Name, relative: &[u8]) -> bool {
        let after = self.tree.names.range(name.clone()..).skip_while(|(at, _)| *at == name);
        // Names between `a` and `a/` sort in between, so the search skips them.
        let mut near = after.take_while(|(at, _)| at.as_bytes().starts_with(name.as_bytes()));
        let covered = near.any(|(at, row)| name_is_inside(at, name) && row.current().is_some());
        if covered && !self.options.delete {
            self.fault(relative, "names are stored below it; sync --delete removes them");
            return false;
        }
        true
    }
}

/// Whether a folder or link may take the name: no file has it, or the file may be removed or is kept as a version.
fn may_give_way(row: &NameEntry, options: &FolderOptions) -> bool {
    let is_file = |version: &Version| matches!(version.content, Content::File { .. });
    let kept = options.keep.unwrap_or(row.keep) > 0;
    !row.current().is_some_and(is_file) || options.delete || options.replace || kept
}

fn name_is_inside(name: &Name, folder: &Name) -> bool {
    name != folder && name.is_at_or_below(folder.as_bytes())
}
