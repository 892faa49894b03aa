//! Sorts the entries of a local folder into the work of a plan, one folder after another. Of each folder, the entries and
//! the names that are stored in it are in memory.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{LedgerTime, id::ObjectId};

use super::{
    super::{
        FileFault, FolderOptions,
        pack::{Member, Members},
        walk::{Entry, Kind, Walk, own_entry, walk},
    },
    FolderPlan, Unit,
};
use crate::{
    catalog::{Content, NameEntry, Version},
    error::ClientError,
    library::{
        Local,
        names::{Found, Name, NewVersion, Tree, below},
        source::FileMetadata,
        stored::{Ends, Longer},
    },
};

/// What is stored directly in a folder.
#[derive(Default)]
struct Stored {
    /// The names.
    tree: Tree,
    /// The folders that contain names.
    folders: BTreeSet<Vec<u8>>,
}

/// A file with the same length as the stored one. The two are compared by content.
pub(super) struct Doubtful {
    pub(super) member: Member,
    pub(super) found: Found,
    /// Whether the metadata differs.
    pub(super) is_other: bool,
    /// Whether names are stored below its name.
    pub(super) covers: bool,
}

/// Sorts the entries of a walk into the work of a plan.
pub(super) struct Planner {
    /// What is stored in the folder that the walk is in.
    stored: Stored,
    /// Objects that are not paid for long enough or were found damaged, each with the time at which its deals end, if
    /// that is still to come. Their files are stored anew.
    ending: BTreeMap<ObjectId, Option<LedgerTime>>,
    /// Those of these objects to which another person has a right.
    held: BTreeSet<ObjectId>,
    /// Objects that are paid for longer if a file of the folder uses them.
    longer: Longer,
    pub(super) plan: FolderPlan,
    options: FolderOptions,
    changed: Members,
    pub(super) doubtful: Vec<Doubtful>,
    /// Folders that are left out, with everything in them.
    left_out: Vec<Vec<u8>>,
}

/// Puts small files into packs. A large file, and the only file of a pack, gets an object of its own.
fn units(changed: Members) -> Vec<Unit> {
    let (packs, large) = changed.cut();
    let small = packs.into_iter().map(|pack| {
        let only = pack.members().next().filter(|_| pack.len() == 1);
        only.map_or_else(|| Unit::Pack(pack), Unit::File)
    });
    small.chain(large.into_iter().map(Unit::File)).collect()
}

/// The bytes of the name that an entry gets.
fn joined(to: &[u8], relative: &[u8]) -> Vec<u8> {
    match (to, relative) {
        ([], relative) => relative.to_vec(),
        (to, []) => to.to_vec(),
        (to, relative) => [to, relative].join(&b'/'),
    }
}

impl Planner {
    pub(super) fn new(
        plan: FolderPlan,
        options: FolderOptions,
        Ends { anew: ending, held, longer, .. }: Ends,
    ) -> Self {
        let (stored, changed) = (Stored::default(), Members::default());
        let (doubtful, left_out) = (Vec::new(), Vec::new());
        Self { stored, ending, held, longer, plan, options, changed, doubtful, left_out }
    }

    /// Walks through the folder and plans the work. Gives the paths below which nothing is known.
    pub(super) fn plan_entries(&mut self, local: &Local) -> Result<Vec<Vec<u8>>, ClientError> {
        let (root, options) = (self.plan.root.clone(), self.options.clone());
        self.plan_own(local, own_entry(&root)?)?;
        let found =
            walk(&root, &options, |folder, entries| self.plan_folder(local, folder, entries))?;
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

    /// Plans the row of the folder itself.
    fn plan_own(&mut self, local: &Local, own: Entry) -> Result<(), ClientError> {
        let to = self.plan.to.clone();
        if to.is_empty() {
            return Ok(());
        }
        self.stored = Stored { tree: local.tree_at(&[to])?, folders: BTreeSet::new() };
        let mut rows = self.stored.tree.names.iter();
        if let Some((name, _)) = rows.find(|(_, row)| !may_give_way(row, &self.options)) {
            return Err(ClientError::Exists { name: name.to_string() });
        }
        self.plan_entry(own);
        Ok(())
    }

    /// Plans the entries of one folder. Only what is stored in that folder is in memory.
    fn plan_folder(
        &mut self,
        local: &Local,
        folder: &[u8],
        entries: Vec<Entry>,
    ) -> Result<(), ClientError> {
        let (tree, folders) = local.tree_in(&joined(&self.plan.to, folder))?;
        self.stored = Stored { tree, folders };
        if self.options.delete {
            self.note_missing(local, &entries)?;
        }
        entries.into_iter().for_each(|entry| self.plan_entry(entry));
        Ok(())
    }

    /// Notes the names in a folder that it has no entries for.
    fn note_missing(&mut self, local: &Local, entries: &[Entry]) -> Result<(), ClientError> {
        let to = self.plan.to.clone();
        let entry = |name: &[u8]| {
            let path = below(name, &to)?;
            let at = entries.binary_search_by(|entry| entry.relative.as_slice().cmp(path));
            at.ok().map(|at| &entries[at])
        };
        let live = self.stored.tree.live().map(|(name, _)| name);
        let mut missing: Vec<Name> =
            live.filter(|name| entry(name.as_bytes()).is_none()).cloned().collect();
        for folder in &self.stored.folders {
            // A folder that is here is walked through on its own.
            if entry(folder).is_some_and(|entry| entry.kind == Kind::Folder) {
                continue;
            }
            let rows = local.catalog().names_below(folder)?.into_iter();
            for row in rows.filter(|row| row.current().is_some() && row.path != *folder) {
                missing.push(Name::checked(&row.path)?);
            }
        }
        self.plan.removed.extend(missing);
        Ok(())
    }

    fn plan_entry(&mut self, entry: Entry) {
        self.plan.is_empty &= entry.kind == Kind::Folder;
        match Name::new(joined(&self.plan.to, &entry.relative)) {
            Ok(name) => self.entry(name, &entry),
            Err(error) => self.fault(&entry.relative, error),
        }
    }

    /// The plan. A name is not removed if nothing is known of its path.
    pub(super) fn finish(self, unread: &[Vec<u8>]) -> FolderPlan {
        let Self { mut plan, options, changed, .. } = self;
        let is_unread = |path: &[u8]| unread.iter().any(|at| below(path, at).is_some());
        let to = std::mem::take(&mut plan.to);
        plan.removed.retain(|name| {
            let path = below(name.as_bytes(), &to).unwrap_or_default();
            !is_unread(path) && !options.excludes(path)
        });
        plan.removed.sort_unstable();
        plan.to = to;
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
        let row = self.stored.tree.names.get(&name);
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
        let covers = self.stored.folders.contains(name.as_bytes());
        if content != Content::Folder && !self.may_cover(covers, &entry.relative) {
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
            Content::File { length: stored, .. } => {
                stored == length && !self.stored.tree.is_lost(version)
            }
            _ => false,
        });
        let (mode, modified_ns) = (entry.mode, entry.modified_ns);
        let below = name.as_bytes().len() - entry.relative.len();
        let is_at = |version: &Version| i128::from_le_bytes(version.modified_ns) == modified_ns;
        let ends_as_it_is = self.ends(stored).map(|held| (held, stored.is_some_and(is_at)));
        let renews = ends_as_it_is.is_some_and(|(_, same)| same);
        let over = current.map(Version::mark);
        let covers = self.stored.folders.contains(name.as_bytes());
        let member = Member { name, below, length, mode, modified_ns, renews, over };
        match (stored, ends_as_it_is) {
            (_, Some((true, true))) if !self.options.replace => {
                let why = "it ends sooner than asked, and is shared or for sale: put --replace stores it \
                           anew, which ends that";
                self.fault(member.relative(), why);
            }
            (_, Some(_)) => {
                self.plan.renewed += u64::from(renews);
                self.changed(member, covers);
            }
            (Some(version), None) if self.options.checksum => {
                match self.stored.tree.found(&member.name, version) {
                    Ok(found) => {
                        let is_other =
                            FileMetadata::of(version) != FileMetadata { mode, modified_ns };
                        self.doubtful.push(Doubtful { member, found, is_other, covers });
                    }
                    Err(error) => self.fault(member.relative(), error),
                }
            }
            (Some(version), None) if is_at(version) => {
                let object = self.object(version);
                self.unchanged(member, version.mode != mode, object);
            }
            _ => self.changed(member, covers),
        }
    }

    /// Whether a version's object ends too soon, and if so, whether another person has a right to it.
    fn ends(&self, version: Option<&Version>) -> Option<bool> {
        let object = self.object(version?)?;
        self.ending.get(&object).map(|_| self.held.contains(&object))
    }

    /// The object that a version's bytes lie in now.
    fn object(&self, version: &Version) -> Option<ObjectId> {
        let Content::File { object, first, length } = version.content else { return None };
        self.stored.tree.place_of((object, first, length)).map(|(object, ..)| object)
    }

    /// Plans to store a file.
    pub(super) fn changed(&mut self, member: Member, covers: bool) {
        if self.may_cover(covers, member.relative()) {
            self.changed.push(&member);
        }
    }

    /// Records that a file has the stored content.
    pub(super) fn unchanged(&mut self, member: Member, is_other: bool, object: Option<ObjectId>) {
        let short = object.and_then(|object| Some((object, self.longer.get(&object)?)));
        match short {
            Some((object, lacking)) => {
                self.plan.longer += 1;
                self.plan.extended.entry(object).or_insert_with(|| lacking.clone());
            }
            None => self.plan.unchanged += 1,
        }
        if is_other {
            let metadata = FileMetadata { mode: member.mode, modified_ns: member.modified_ns };
            self.plan.modes.push((member.name, metadata));
        }
    }

    /// Refuses a file or link if stored names lie in a folder of that name and have to stay.
    fn may_cover(&mut self, covers: bool, relative: &[u8]) -> bool {
        if covers && !self.options.delete {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::names::Pattern;

    #[test]
    fn a_name_stays_if_its_path_was_left_out_or_could_not_be_read() {
        let names = ["to/b", "to/a/x", "to/secret", "to/secret/x", "to/left/out/x", "to/left/in"];
        let planned = |exclude: &[&str], unread: &[&str]| {
            let exclude = exclude.iter().map(|text| Pattern::whole(text.as_bytes()));
            let options = FolderOptions { exclude: exclude.collect(), ..FolderOptions::default() };
            let plan = FolderPlan::new("/local".into(), b"to".to_vec(), None);
            let mut planner = Planner::new(plan, options, Default::default());
            planner.plan.removed = names.map(|name| Name::new(name).unwrap()).to_vec();
            let unread: Vec<_> = unread.iter().map(|path| path.as_bytes().to_vec()).collect();
            let plan = planner.finish(&unread);
            assert_eq!(plan.to, b"to");
            plan.removed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let mut all = names.to_vec();
        all.sort_unstable();
        assert_eq!(planned(&[], &[]), all);
        let left = ["to/a/x", "to/b", "to/left/in"];
        assert_eq!(planned(&["left/out"], &["secret"]), left);
        assert_eq!(planned(&["secret"], &["left/out"]), left);
        assert!(planned(&[], &[""]).is_empty(), "nothing at all was read");
    }
}
