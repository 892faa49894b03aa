//! What of a folder is not stored yet, and what storing it takes. No bytes are read; the ledger is asked what of
//! it is still paid for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use symbolon_protocol::{Amount, content::Scheme, id::ObjectId, ledger::check_epochs};

use super::{
    FileFault, FolderOptions,
    pack::{Member, PACKED_BELOW, cut},
    same::Pair,
    walk::{Entry, Kind, NotKept, walk},
};
use crate::{
    catalog::{Content, NameEntry, Version},
    durability::{Durability, Record, durability},
    error::ClientError,
    library::{
        Library, Local,
        index::Growth,
        names::{Found, Name, NewVersion, Tree, below, path_of, shown},
        source::Dress,
        upload::{PutOptions, PutTerms},
    },
    place::{choose_scheme, quote, with_room},
};

/// Something that becomes one object.
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

/// What storing a folder means, found out before anything is done.
#[derive(Debug)]
pub struct FolderPlan {
    pub(super) root: PathBuf,
    /// The name the folder gets; nothing when its files go to the top.
    pub(super) to: Vec<u8>,
    pub(super) keep: Option<u32>,
    pub(super) units: Vec<Unit>,
    /// Folders and links.
    pub(super) rows: Vec<NewVersion>,
    /// Files of which only the permissions or the time changed.
    pub(super) modes: Vec<(Name, Dress)>,
    pub(super) removed: Vec<Name>,
    /// Files that are stored as they are.
    pub unchanged: u64,
    /// Files that are stored as they are, and not for as long as is asked for now: they are stored anew.
    pub renewed: u64,
    /// Neither file nor folder nor link: not stored.
    pub special: Vec<String>,
    /// What cannot be stored.
    pub faults: Vec<FileFault>,
    /// What files have that is not stored.
    pub not_kept: NotKept,
    /// Whether no file or link is in the folder.
    pub is_empty: bool,
}

/// What storing a folder would cost.
#[derive(Clone, Debug)]
pub struct FolderQuote {
    /// The scheme of the largest object.
    pub scheme: Scheme,
    /// How many nodes answer.
    pub nodes: usize,
    /// Deals: one for each segment of each object.
    pub deals: u64,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// For how many epochs.
    pub epochs: u64,
    /// All of it.
    pub total: Amount,
    /// How sure the least sure object would be; nothing when there are none.
    pub durability: Option<Durability>,
    /// What the user should know first.
    pub warning: Option<String>,
    /// The price of each object.
    pub(super) each: Vec<Amount>,
}

impl FolderPlan {
    /// Files to be stored.
    #[must_use]
    pub fn files(&self) -> u64 {
        let count = |unit: &Unit| match unit {
            Unit::Pack(members) => members.len() as u64,
            Unit::File(_) => 1,
        };
        self.units.iter().map(count).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(Unit::length).sum()
    }

    /// Packs that small files go into.
    #[must_use]
    pub fn packs(&self) -> u64 {
        self.units.iter().filter(|unit| matches!(unit, Unit::Pack(_))).count() as u64
    }

    /// Folders and links that are new or other than they were.
    #[must_use]
    pub fn others(&self) -> u64 {
        (self.rows.len() + self.modes.len()) as u64
    }

    /// Names that go.
    #[must_use]
    pub fn removed(&self) -> &[Name] {
        &self.removed
    }

    /// What it adds to the names index at most.
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

/// Sorts what was found into what has to be done.
struct Planner<'a> {
    tree: &'a Tree,
    /// Objects that nobody is paid for any more, or not for long enough, or that were found damaged, with when
    /// they end where that is to come: what lies in them is to be stored anew.
    ending: BTreeMap<ObjectId, Option<u64>>,
    /// Those of them that somebody was given a right to.
    held: BTreeSet<ObjectId>,
    plan: FolderPlan,
    options: &'a FolderOptions,
    changed: Vec<Member>,
    /// Files as long as what is stored, to be compared by content; and whether something beside it is other.
    doubtful: Vec<(Member, Found, bool)>,
    /// Folders that are left out, so what lies in them is too.
    left_out: Vec<Vec<u8>>,
}

impl Library {
    /// Compares a local folder with the names below `to`. Without `to` it is compared with all names.
    pub async fn plan_folder(
        &self,
        root: &Path,
        to: Option<&Name>,
        options: &FolderOptions,
    ) -> Result<FolderPlan, ClientError> {
        let own = to.cloned();
        let check = move |local: &Local| own.as_ref().map_or(Ok(()), |to| local.check_place(to));
        self.read(check).await?;
        let (own, to) = (to, to.map_or(&b""[..], Name::as_bytes));
        let (from, how) = (root.to_owned(), options.clone());
        let mut walk = self.host().blocking(move || walk(&from, &how)).await?;
        for path in std::mem::take(&mut walk.parts) {
            let why = "it has the name of what an interrupted get leaves; rename it, remove it, or \
                       leave it out with --exclude";
            walk.faults.push(FileFault::new(&path, why));
            walk.unread.push(path);
        }
        let (ending, held) = self.ending(options.least).await?;
        let below_to = to.to_vec();
        let tree = self.local(move |local| local.tree_below(&below_to)).await?;
        let own = own.and_then(|own| tree.names.get(own));
        if let Some(row) = own.filter(|row| !may_give_way(row, options)) {
            return Err(ClientError::Exists { name: shown(&row.path) });
        }
        let plan = FolderPlan {
            root: root.to_owned(),
            to: to.to_vec(),
            keep: options.keep,
            units: Vec::new(),
            rows: Vec::new(),
            modes: Vec::new(),
            removed: Vec::new(),
            unchanged: 0,
            renewed: 0,
            special: walk.special,
            faults: walk.faults,
            not_kept: walk.not_kept,
            is_empty: !walk.entries.iter().any(|entry| entry.kind != Kind::Folder),
        };
        let (changed, doubtful, left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut planner =
            Planner { tree: &tree, ending, held, plan, options, changed, doubtful, left_out };
        let mut seen = BTreeSet::new();
        for entry in walk.entries {
            let name = match (to, entry.relative.as_slice()) {
                ([], []) => continue,
                (to, []) => Name::new(to),
                ([], relative) => Name::new(relative),
                (to, relative) => Name::new([to, relative].join(&b'/')),
            };
            match name {
                Ok(name) => {
                    planner.entry(name.clone(), entry);
                    seen.insert(name);
                }
                Err(error) => planner.fault(&entry.relative, error),
            }
        }
        self.compare_doubtful(&mut planner).await?;
        let Planner { mut plan, changed, .. } = planner;
        plan.units = units(changed);
        if options.delete {
            let unread = |path: &[u8]| walk.unread.iter().any(|at| below(path, at).is_some());
            for (name, _) in tree.live() {
                let Some(path) = below(name.as_bytes(), to).filter(|path| !path.is_empty()) else {
                    continue;
                };
                if !seen.contains(name) && !unread(path) && !options.excludes(path) {
                    plan.removed.push(name.clone());
                }
            }
        }
        Ok(plan)
    }

    /// Compares by content what is to be compared so.
    async fn compare_doubtful(&self, planner: &mut Planner<'_>) -> Result<(), ClientError> {
        let doubtful = std::mem::take(&mut planner.doubtful);
        let pairs = doubtful.iter().map(|(member, found, _)| Pair {
            path: planner.plan.root.join(path_of(&member.relative)),
            found: found.clone(),
        });
        let same = self.same_content(pairs.collect()).await?;
        for ((member, _, is_other), same) in doubtful.into_iter().zip(same) {
            planner.compared(member, is_other, same);
        }
        Ok(())
    }

    /// What carrying a plan out would cost.
    pub async fn quote_folder(
        &self,
        plan: &FolderPlan,
        options: &PutOptions,
    ) -> Result<FolderQuote, ClientError> {
        let (candidates, network) = self.network().candidates_and_records(b"quote").await?;
        let params = self.network().params().await?;
        let options = PutTerms::new(options, &params);
        check_epochs(options.epochs, &params)?;
        let times = (params.epoch_ms, options.epochs.saturating_mul(params.epoch_ms));
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

/// Small files in packs, large ones each by itself; a pack of one file is that file.
fn units(mut changed: Vec<Member>) -> Vec<Unit> {
    changed.sort_by(|one, other| one.name.cmp(&other.name));
    let (small, large): (Vec<_>, Vec<_>) =
        changed.into_iter().partition(|member| member.length < PACKED_BELOW);
    let packs = cut(small).into_iter().map(|mut pack| match pack.pop() {
        Some(only) if pack.is_empty() => Unit::File(only),
        last => {
            pack.extend(last);
            Unit::Pack(pack)
        }
    });
    packs.chain(large.into_iter().map(Unit::File)).collect()
}

impl Planner<'_> {
    fn fault(&mut self, path: &[u8], why: impl std::fmt::Display) {
        self.plan.faults.push(FileFault::new(path, why));
    }

    fn entry(&mut self, name: Name, entry: Entry) {
        if self.left_out.iter().any(|folder| below(&entry.relative, folder).is_some()) {
            return;
        }
        let row = self.tree.names.get(&name);
        let current = row.and_then(|row| row.current());
        let content = match entry.kind {
            Kind::File { length } => {
                return self.file(name, current, length, &entry);
            }
            Kind::Link { ref target } => Content::Link { target: target.clone() },
            Kind::Folder => Content::Folder,
        };
        if row.is_some_and(|row| !may_give_way(row, self.options)) {
            let why = "a file is stored under this name; put --replace takes its place";
            self.fault(&entry.relative, why);
            // What is stored there stays, also where names go that are not in the folder.
            self.left_out.push(entry.relative);
            return;
        }
        if content != Content::Folder && !self.may_cover(&name, &entry.relative) {
            return;
        }
        let (mode, modified_ns) = (entry.mode, entry.modified_ns);
        let same = current.is_some_and(|version| {
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
                over: current.map(Version::mark),
            });
        }
    }

    fn file(&mut self, name: Name, current: Option<&Version>, length: u64, entry: &Entry) {
        let stored = current.filter(|version| match version.content {
            Content::File { length: stored, .. } => stored == length && !self.tree.is_lost(version),
            _ => false,
        });
        let (relative, mode, modified_ns) = (entry.relative.clone(), entry.mode, entry.modified_ns);
        let is_at = |version: &Version| i128::from_le_bytes(version.modified_ns) == modified_ns;
        let ends_as_it_is = self.ends(stored).map(|held| (held, stored.is_some_and(is_at)));
        let renews = ends_as_it_is.is_some_and(|(_, same)| same);
        let over = current.map(Version::mark);
        let member = Member { name, relative, length, mode, modified_ns, renews, over };
        match (stored, ends_as_it_is) {
            (_, Some((true, true))) if !self.options.replace => {
                let why = "it ends sooner than asked, and is shared or for sale: put --replace stores it \
                           anew, which ends that";
                self.fault(&member.relative, why);
            }
            (_, Some(_)) => {
                self.plan.renewed += u64::from(renews);
                self.compared(member, true, false);
            }
            (Some(version), None) if self.options.checksum => {
                match self.tree.found(&member.name, version) {
                    Ok(found) => {
                        let is_other = Dress::of(version) != Dress { mode, modified_ns };
                        self.doubtful.push((member, found, is_other));
                    }
                    Err(error) => self.fault(&member.relative, error),
                }
            }
            (Some(version), None) if is_at(version) => {
                self.compared(member, version.mode != mode, true);
            }
            _ => self.compared(member, true, false),
        }
    }

    /// Whether what a version stands for ends too soon, and, where it does, whether somebody was given a right
    /// to it.
    fn ends(&self, version: Option<&Version>) -> Option<bool> {
        let Content::File { object, first, length } = version?.content else { return None };
        let (object, ..) = self.tree.place_of((object, first, length))?;
        self.ending.get(&object).map(|_| self.held.contains(&object))
    }

    /// A file has the stored content, or it has not.
    fn compared(&mut self, member: Member, is_other: bool, same: bool) {
        if !same {
            if self.may_cover(&member.name, &member.relative) {
                self.changed.push(member);
            }
            return;
        }
        self.plan.unchanged += 1;
        if is_other {
            let dress = Dress { mode: member.mode, modified_ns: member.modified_ns };
            self.plan.modes.push((member.name, dress));
        }
    }

    /// Refuses a file where stored names lie in a folder of that name and are to stay.
    fn may_cover(&mut self, name: &Name, relative: &[u8]) -> bool {
        let after = self.tree.names.range(name.clone()..).skip_while(|(at, _)| *at == name);
        // Names between `a` and `a/` sort in between, so look past them.
        let mut near = after.take_while(|(at, _)| at.as_bytes().starts_with(name.as_bytes()));
        let covered = near.any(|(at, row)| name_is_inside(at, name) && row.current().is_some());
        if covered && !self.options.delete {
            self.fault(relative, "names are stored below it; sync --delete removes them");
            return false;
        }
        true
    }
}

/// Whether a folder or link may have the name: no file has it, or one that is not lost with it.
fn may_give_way(row: &NameEntry, options: &FolderOptions) -> bool {
    let is_file = |version: &Version| matches!(version.content, Content::File { .. });
    let kept = options.keep.unwrap_or(row.keep) > 0;
    !row.current().is_some_and(is_file) || options.delete || options.replace || kept
}

fn name_is_inside(name: &Name, folder: &Name) -> bool {
    name != folder && name.is_at_or_below(folder.as_bytes())
}
