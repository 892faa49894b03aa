//! Commands that change only names: moving, removing, versions. Also the totals of names.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Amount,
    id::{ListingId, ObjectId},
};

use super::compact::own_slot;
use crate::{
    Deletion,
    catalog::{Content, FileKind, Folders, NameEntry, Names, UploadEntry, Version},
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        names::{Name, NameView, Pattern, Tree, VersionView, below},
    },
    progress::Progress,
};

/// The names that a user means, and their totals.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The names.
    pub names: Vec<Name>,
    /// Number of files among them.
    pub files: u64,
    /// Number of bytes of the files.
    pub bytes: u64,
    /// Whether a folder is among them, or an entry that was selected through one.
    pub has_folder: bool,
    /// Number of unfinished uploads for any of the names.
    pub uploads: usize,
}

/// The result of removing names.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Number of names that are gone, or of which only versions are left.
    pub names: u64,
    /// Number of names of which versions are kept.
    pub kept: u64,
    /// Number of objects that were removed.
    pub objects: u32,
    /// Number of unfinished uploads that were ended.
    pub uploads: u32,
    /// Number of deals that were ended.
    pub deals: u32,
    /// The amount that came back at once.
    pub refunded: Amount,
    /// The answers of the nodes.
    pub deletion: Deletion,
    /// Listings that ended because their goods were removed.
    pub listings: Vec<ListingId>,
    /// Number of objects that stay stored, because buyers may still read them: their deals cannot end before.
    pub bound: u32,
}

/// The result of moving names.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The new name.
    pub to: Name,
    /// Number of names that changed.
    pub names: u64,
}

/// The totals of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of files.
    pub files: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Bytes of older versions and of removed names.
    pub older_bytes: u64,
    /// Bytes on all nodes for all of these.
    pub stored_bytes: u64,
    /// The amount that was paid for all of these.
    pub cost: Amount,
}

impl Usage {
    fn add(&mut self, tree: &Tree, name: &Name, entry: &NameEntry) -> Result<(), ClientError> {
        for (place, version) in entry.versions.iter().enumerate() {
            if !matches!(version.content, Content::File { .. }) || tree.is_lost(version) {
                continue;
            }
            let view = tree.found(name, version)?.view()?;
            if place == 0 && entry.deleted_ms.is_none() {
                self.files += 1;
                self.bytes += view.length;
            } else {
                self.older_bytes += view.length;
            }
            self.stored_bytes += view.stored_bytes;
            self.cost = self.cost.checked_add(view.cost).unwrap_or(self.cost);
        }
        Ok(())
    }
}

impl Library {
    /// The names that a name, folder or pattern stands for.
    pub async fn select(
        &self,
        what: &Pattern,
        also_deleted: bool,
    ) -> Result<Selection, ClientError> {
        let what = what.clone();
        self.read(move |local| local.select(&what, also_deleted)).await
    }

    /// All names with their present state, or those that `what` stands for.
    pub async fn names(
        &self,
        what: Option<&Pattern>,
        deleted: bool,
    ) -> Result<Vec<NameView>, ClientError> {
        let what = what.cloned();
        self.read(move |local| local.names(what.as_ref(), deleted)).await
    }

    /// The names at or below a name whose bytes are gone.
    pub async fn lost(&self, name: &Name) -> Result<Vec<Name>, ClientError> {
        let name = name.clone();
        self.read(move |local| local.lost(&name)).await
    }

    /// Whether a folder has that name.
    pub async fn is_folder(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.clone();
        self.read(move |local| local.is_folder(&name)).await
    }

    /// Removes names. A file with versions to keep keeps them, unless `forever` is set. Then ends the deals of objects
    /// that no name stands for any more, and the rest of their money comes back.
    pub async fn remove(
        &self,
        names: &[Name],
        forever: bool,
        progress: &Progress,
    ) -> Result<Removed, ClientError> {
        let removing = self.remove_here(names, forever, progress);
        self.changing(&Budget::default(), progress, removing).await
    }

    async fn remove_here(
        &self,
        names: &[Name],
        forever: bool,
        progress: &Progress,
    ) -> Result<Removed, ClientError> {
        let dropped = names.to_vec();
        let drop_names = move |local: &Local| {
            let kept = local.drop_names(&dropped, forever)?.1;
            local.unmark_gone(&dropped)?;
            Ok::<_, ClientError>(kept)
        };
        let kept = self.local(drop_names).await?;
        let (uploads, ended, refunded) = self.end_uploads(names).await?;
        let swept = self.sweep(progress).await?;
        self.compact(progress).await?;
        Ok(Removed {
            names: names.len() as u64,
            kept,
            objects: swept.objects,
            uploads,
            deals: swept.deals + ended,
            refunded: swept.refunded.checked_add(refunded).unwrap_or(swept.refunded),
            deletion: swept.deletion,
            listings: swept.listings,
            bound: swept.bound,
        })
    }

    /// The objects that no name would stand for if these names were removed, judged by these names alone.
    pub(crate) async fn objects_going(
        &self,
        names: &[Name],
        forever: bool,
    ) -> Result<Vec<ObjectId>, ClientError> {
        let names = names.to_vec();
        let read = move |local: &Local| {
            let mut objects = BTreeSet::new();
            let keys = names.iter().map(Name::as_bytes);
            local.catalog().each_at(Names, keys, |row| {
                let kept = usize::try_from(row.keep).unwrap_or(usize::MAX);
                for version in row.versions.iter().skip(if forever { 0 } else { kept }) {
                    if let Content::File { object, first: 0, .. } = version.content {
                        objects.insert(object);
                    }
                }
            })?;
            Ok(objects)
        };
        let objects: BTreeSet<ObjectId> = self.read(read).await?;
        Ok(objects.into_iter().collect())
    }

    /// Completes an earlier removal that was interrupted.
    pub async fn tidy(&self) -> Result<(), ClientError> {
        self.sweep(&Progress::silent()).await.map(drop)
    }

    /// Ends unfinished uploads of removed names. Gives the number of uploads, the number of their deals, and the amount
    /// that came back.
    async fn end_uploads(&self, names: &[Name]) -> Result<(u32, u32, Amount), ClientError> {
        let names = names.to_vec();
        let all = self.local(move |local| local.uploads_of(&names)).await?;
        if all.is_empty() {
            return Ok((0, 0, Amount::ZERO));
        }
        let before = self.account().await?.balance;
        let (mut uploads, mut deals) = (0, 0);
        for entry in all {
            deals += self.end_upload(&entry).await?;
            uploads += 1;
        }
        let after = self.account().await?.balance;
        Ok((uploads, deals, after.checked_sub(before).unwrap_or(Amount::ZERO)))
    }

    /// Gives a file or folder another name. If the new name is a folder, the file or folder moves into it.
    pub async fn rename(&self, from: &Name, to: &Name) -> Result<Moved, ClientError> {
        let (from, to) = (from.clone(), to.clone());
        let renaming = self.local(move |local| {
            let moved = local.rename(&from, &to)?;
            local.move_marks(&from, &moved.to)?;
            Ok(moved)
        });
        self.changing(&Budget::default(), &Progress::silent(), renaming).await
    }

    /// The versions of a name, the newest first.
    pub async fn versions(&self, name: &Name) -> Result<Vec<VersionView>, ClientError> {
        let name = name.clone();
        self.read(move |local| local.versions(&name)).await
    }

    /// Restores a removed name, or makes an older version the newest one. Gives the version's number.
    pub async fn undelete(
        &self,
        name: &Name,
        number: Option<u64>,
        progress: &Progress,
    ) -> Result<u64, ClientError> {
        let name = name.clone();
        let bring = move |local: &Local| {
            local.check_place(&name)?;
            local.bring_back(&name, number)
        };
        let undeleting = async {
            let (number, dropped) = self.local(bring).await?;
            if dropped {
                self.sweep(progress).await?;
                self.compact(progress).await?;
            }
            Ok(number)
        };
        self.changing(&Budget::default(), progress, undeleting).await
    }

    /// The totals of the names below a name: one total for each entry directly in it, and one for all. A file is the
    /// only entry in itself.
    pub async fn usage(&self, what: &Pattern) -> Result<(Vec<(Name, Usage)>, Usage), ClientError> {
        let what = what.clone();
        self.read(move |local| local.usage(&what)).await
    }
}

impl Local {
    pub(crate) fn select(
        &self,
        what: &Pattern,
        also_deleted: bool,
    ) -> Result<Selection, ClientError> {
        let (whole, what) = (what, &*what.bytes());
        let tree = self.tree_for(what, also_deleted)?;
        let mut selection = Selection::default();
        let names = match tree.select(what, also_deleted) {
            Ok((_, names)) => names.into_iter().cloned().collect::<Vec<_>>(),
            // No file is stored under the name, but an upload may have begun.
            Err(error @ ClientError::NoName { .. }) => {
                let name = Name::checked(what)?;
                selection.uploads = self.uploads_of(core::slice::from_ref(&name))?.len();
                if selection.uploads == 0 {
                    return Err(error);
                }
                selection.names.push(name);
                return Ok(selection);
            }
            Err(error) => return Err(error),
        };
        selection.uploads = self.uploads_of(&names)?.len();
        for name in &names {
            let entry = &tree.names[name];
            match entry.versions.first().map(|version| &version.content) {
                Some(Content::File { length, .. }) => {
                    selection.files += 1;
                    selection.bytes += length;
                }
                Some(Content::Folder) => selection.has_folder = true,
                _ => {}
            }
        }
        let direct = |name: &Name| name.as_bytes() == what || whole.matches(name.as_bytes());
        selection.has_folder |= !names.iter().all(direct);
        selection.names = names;
        Ok(selection)
    }

    pub(crate) fn names(
        &self,
        what: Option<&Pattern>,
        deleted: bool,
    ) -> Result<Vec<NameView>, ClientError> {
        let what = what.map(Pattern::bytes);
        let tree = self.tree_for(what.as_deref().unwrap_or_default(), deleted)?;
        let chosen = match what {
            Some(what) => tree.select(&what, deleted)?.1,
            None => tree.names.keys().collect(),
        };
        let views = chosen.into_iter().map(|name| (name, &tree.names[name]));
        let views = views.filter(|(_, entry)| deleted == entry.deleted_ms.is_some());
        views.map(|(name, entry)| tree.view(name, entry)).collect()
    }

    pub(crate) fn lost(&self, name: &Name) -> Result<Vec<Name>, ClientError> {
        let tree = self.tree_below(name.as_bytes())?;
        let lost = tree.live().filter(|(_, version)| tree.is_lost(version));
        Ok(lost.map(|(name, _)| name.clone()).collect())
    }

    pub(crate) fn is_folder(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.as_bytes();
        let row = self.catalog().row(Names, name)?;
        match row.as_ref().and_then(NameEntry::current) {
            Some(version) => Ok(version.content == Content::Folder),
            None => self.is_folder_now(name),
        }
    }

    /// Unfinished uploads for any of these names and for names below them.
    fn uploads_of(&self, names: &[Name]) -> Result<Vec<UploadEntry>, ClientError> {
        let mut all = self.all_unfinished()?;
        all.retain(|entry| {
            let is_for = |name: &Name| match entry.kind {
                FileKind::Pack => name.to_string() == entry.name,
                _ => below(&entry.slot, name.as_bytes()).is_some() || entry.slot == own_slot(name),
            };
            names.iter().any(is_for)
        });
        Ok(all)
    }

    /// Removes names. Gives whether a version was dropped, and for how many names versions are left.
    pub(crate) fn drop_names(
        &self,
        names: &[Name],
        forever: bool,
    ) -> Result<(bool, u64), ClientError> {
        let _lock = self.lock_names()?;
        let now_ms = self.host().now_ms().0;
        let (mut dropped, mut kept) = (false, 0);
        self.catalog().edit(|rows| {
            for name in names {
                let Some(mut row) = rows.row(Names, name.as_bytes())? else { continue };
                let is_file = |version: &Version| matches!(version.content, Content::File { .. });
                row.versions.retain(is_file);
                row.deleted_ms = row.deleted_ms.or(Some(now_ms));
                if forever {
                    row.keep = 0;
                }
                dropped |= row.trim();
                if row.versions.is_empty() {
                    rows.remove(Names, name.as_bytes())?;
                } else {
                    rows.put(Names, name.as_bytes(), &row)?;
                    kept += 1;
                }
            }
            Ok((dropped, kept))
        })
    }

    pub(crate) fn rename(&self, from: &Name, to: &Name) -> Result<Moved, ClientError> {
        let mut to = to.clone();
        let _lock = self.lock_names()?;
        if self.is_folder_now(to.as_bytes())? {
            to = to.join(from.last()).map_err(|error| ClientError::Usage(error.to_string()))?;
        }
        if to == *from {
            return Ok(Moved { to, names: 0 });
        }
        if to.is_at_or_below(from.as_bytes()) {
            return Err(ClientError::Usage(format!("{from} cannot move into itself")));
        }
        let taken = self.catalog().row(Names, to.as_bytes())?.is_some()
            || self.catalog().row(Folders, to.as_bytes())?.is_some();
        if taken {
            return Err(ClientError::Exists { name: to.to_string() });
        }
        self.check_place(&to)?;
        let names = self.catalog().edit(|rows| {
            let (mut names, mut live) = (0, false);
            self.catalog().edit_below(rows, from.as_bytes(), |rows, row| {
                let name = Name::checked(&row.path)?;
                let Some(rest) = below(name.as_bytes(), from.as_bytes()) else { return Ok(()) };
                let new = if rest.is_empty() { Ok(to.clone()) } else { to.join(rest) };
                let new = new.map_err(|error| ClientError::Usage(format!("{name}: {error}")))?;
                live |= row.current().is_some();
                names += 1;
                rows.remove(Names, name.as_bytes())?;
                rows.put(Names, new.as_bytes(), &row)
            })?;
            match live {
                true => Ok(names),
                false => Err(ClientError::NoName { name: from.to_string() }),
            }
        })?;
        Ok(Moved { to, names })
    }

    pub(crate) fn versions(&self, name: &Name) -> Result<Vec<VersionView>, ClientError> {
        let row = self.catalog().row(Names, name.as_bytes())?;
        let row = row.ok_or_else(|| ClientError::NoName { name: name.to_string() })?;
        let views = row.versions.iter().enumerate().map(|(place, version)| VersionView {
            number: version.number,
            length: match version.content {
                Content::File { length, .. } => Some(length),
                _ => None,
            },
            stored_ms: version.stored_ms,
            modified_ns: i128::from_le_bytes(version.modified_ns),
            current: place == 0 && row.deleted_ms.is_none(),
        });
        Ok(views.collect())
    }

    fn bring_back(&self, name: &Name, number: Option<u64>) -> Result<(u64, bool), ClientError> {
        let _lock = self.lock_names()?;
        let row = self.catalog().row(Names, name.as_bytes())?;
        let mut row = row.ok_or_else(|| ClientError::NoName { name: name.to_string() })?;
        let newest = row.versions.first().map_or(0, |version| version.number);
        let number = match number {
            Some(number) => number,
            None if row.deleted_ms.is_some() => newest,
            None => return Err(ClientError::Exists { name: name.to_string() }),
        };
        let kept = row.versions.iter().map(|version| version.number).collect();
        let version = row.versions.iter().find(|version| version.number == number).cloned();
        let version =
            version.ok_or(ClientError::NoVersion { name: name.to_string(), number, kept })?;
        if number != newest {
            let stored_ms = self.host().now_ms().0;
            let version = Version { number: newest + 1, stored_ms, ..version };
            row.versions.insert(0, version);
        }
        row.deleted_ms = None;
        let dropped = row.trim();
        self.catalog().put(Names, name.as_bytes(), &row)?;
        Ok((row.versions.first().map_or(0, |version| version.number), dropped))
    }

    pub(crate) fn usage(&self, what: &Pattern) -> Result<(Vec<(Name, Usage)>, Usage), ClientError> {
        let what = &*what.bytes();
        let tree = self.tree_for(what, true)?;
        let (_, names) = tree.select(what, true)?;
        let (mut each, mut all) = (BTreeMap::<Name, Usage>::new(), Usage::default());
        for name in names {
            let entry = &tree.names[name];
            all.add(&tree, name, entry)?;
            let first = match below(name.as_bytes(), what) {
                None => name.clone(),
                Some([]) if matches!(entry.current(), Some(now) if now.content == Content::Folder) =>
                {
                    continue;
                }
                Some([]) => name.clone(),
                Some(rest) => {
                    let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                    let end = name.as_bytes().len() - rest.len() + length;
                    Name::checked(&name.as_bytes()[..end])?
                }
            };
            each.entry(first).or_default().add(&tree, name, entry)?;
        }
        Ok((each.into_iter().collect(), all))
    }
}
