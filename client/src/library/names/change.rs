//! Changing names: adds versions, and removes objects that no name stands for any more.
//!
//! A change reads and writes rows under a lock, so that two commands of one identity do not undo each other. Which
//! objects are in use follows from the names, no matter which device wrote them. The sums over them change in the
//! transaction that writes the names. So neither a crash between two writes nor a second device can make a sum wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::Arc,
};

use symbolon_protocol::{
    Amount,
    id::{ListingId, ObjectId},
};

use super::Name;
use crate::{
    Deletion,
    catalog::{
        Batch, Content, Damaged, FileKind, Moved, MovedEntry, NameEntry, Names, ObjectEntry,
        Objects, Version, Watch,
    },
    error::ClientError,
    library::{Library, Local},
    progress::Progress,
};

/// Bytes of a file from which on its leaves are kept after it is stored.
const LEAVES_KEPT_FROM: u64 = 16 << 20;

/// The lock that is held while names are read and then written.
pub(crate) struct NamesLock(
    #[expect(dead_code, reason = "the lock lives as long as the open file")] File,
);

/// A new version of a name.
#[derive(Clone, Debug)]
pub(crate) struct NewVersion {
    pub(crate) name: Name,
    pub(crate) content: Content,
    pub(crate) mode: u32,
    pub(crate) modified_ns: i128,
    /// Number of older versions that stay. Without a value, the name keeps its setting.
    pub(crate) keep: Option<u32>,
    /// Whether it stores the newest version again, because that one ends too soon. It then replaces that version.
    pub(crate) renews: bool,
    /// The version that the name had when the change was decided.
    pub(crate) over: Option<VersionMark>,
}

/// A version's number and the time at which it was stored, which identify it.
pub(crate) type VersionMark = (u64, u64);

/// The result of a sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swept {
    pub(crate) objects: u32,
    pub(crate) deals: u32,
    pub(crate) refunded: Amount,
    pub(crate) deletion: Deletion,
    /// Listings that ended because their goods were removed.
    pub(crate) listings: Vec<ListingId>,
    /// Objects whose deals go on, because buyers may still read them. A later sweep ends those, or their term does.
    pub(crate) bound: u32,
}

/// Rows that a sweep removes.
#[derive(Default)]
struct Unused {
    objects: Vec<Arc<ObjectEntry>>,
    /// Keys of rows about moved ranges.
    moves: Vec<Vec<u8>>,
}

impl Unused {
    /// Leaves out objects that stay for now.
    fn leave(&mut self, bound: &BTreeSet<ObjectId>) {
        if !bound.is_empty() {
            self.objects.retain(|entry| !bound.contains(&entry.manifest.object));
            // Rows about moved ranges may lead to these objects. They go with the last of them.
            self.moves.clear();
        }
    }
}

impl Library {
    /// Ends the deals of all objects that no name stands for, and forgets their keys. First it publishes the names, if
    /// that costs nothing: another device may have given one of these objects a name.
    pub(crate) async fn sweep(&self, progress: &Progress) -> Result<Swept, ClientError> {
        let mut swept = Swept::default();
        if self.local(|local| local.unused()).await?.objects.is_empty() {
            return Ok(swept);
        }
        let published = Box::pin(self.publish_inline()).await;
        // If publishing fails, the sweep goes on, so that removed files give their money back.
        if let Err(error) = published {
            tracing::debug!(%error, "names could not be published before a sweep");
        }
        let mut unused = self.local(|local| local.unused()).await?;
        let ids: Vec<_> = unused.objects.iter().map(|entry| entry.manifest.object).collect();
        // This comes first, so that no buyer pays for a file that is about to be removed.
        swept.listings = self.end_promises(&ids, progress).await?;
        let bound = self.promised(&ids).await?;
        unused.leave(&bound);
        swept.bound = u32::try_from(bound.len()).unwrap_or(u32::MAX);
        let before = self.account().await?.balance;
        let mut batch = Batch::default();
        for entry in &unused.objects {
            swept.deals += self.end_deals(&entry.manifest, &entry.key).await?;
            swept.objects += 1;
            batch.remove(Objects, &entry.manifest.object.0);
            batch.remove(Damaged, &entry.manifest.object.0);
        }
        for key in &unused.moves {
            batch.remove(Moved, key);
        }
        for entry in &unused.objects {
            swept.deletion.extend(self.delete_shards(&entry.manifest, &entry.key).await?);
        }
        let write = move |local: &Local| {
            local.catalog().write(&batch)?;
            for entry in &unused.objects {
                local.forget_leaves(&entry.manifest.object);
            }
            Ok::<_, ClientError>(())
        };
        self.local(write).await?;
        let after = self.account().await?.balance;
        swept.refunded = after.checked_sub(before).unwrap_or(Amount::ZERO);
        Ok(swept)
    }
}

impl Local {
    /// Takes the lock on names, and waits until no other command holds it. It is held only for reads and writes of
    /// local rows.
    pub(crate) fn lock_names(&self) -> Result<NamesLock, ClientError> {
        let folder = self.dir().join("locks");
        let path = folder.join("names");
        let locked = std::fs::create_dir_all(&folder).and_then(|()| {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        });
        locked.map(NamesLock).map_err(|source| ClientError::Io { path, source })
    }

    /// Adds versions to names, together with the other rows of `batch`. Gives whether an older version was dropped. A
    /// version that another device has added since the change was decided was reported as stored, so it stays.
    pub(crate) fn record(
        &self,
        new: Vec<NewVersion>,
        mut batch: Batch,
    ) -> Result<bool, ClientError> {
        let _lock = self.lock_names()?;
        let now_ms = self.host().now_ms().0;
        let keys = new.iter().map(|new| new.name.as_bytes());
        let rows = self.catalog().rows_at(Names, keys)?;
        let mut dropped = false;
        for (new, row) in new.into_iter().zip(rows) {
            let path = new.name.as_bytes().to_vec();
            let fresh = NameEntry { path, keep: 0, deleted_ms: None, versions: Vec::new() };
            let mut row = row.unwrap_or(fresh);
            row.keep = new.keep.unwrap_or(row.keep);
            let is_file = |version: &Version| matches!(version.content, Content::File { .. });
            let unseen = row.current().is_some_and(|now| {
                is_file(now) && new.over != Some(now.mark()) && now.content != new.content
            });
            row.keep = row.keep.saturating_add(u32::from(unseen));
            let number = row.versions.iter().map(|version| version.number).max().unwrap_or(0) + 1;
            let version = Version {
                number,
                stored_ms: now_ms,
                mode: new.mode,
                modified_ns: new.modified_ns.to_le_bytes(),
                content: new.content,
            };
            // Only files keep older versions. An older state of a folder or link is of no use.
            row.versions.retain(is_file);
            if new.renews && !unseen && row.deleted_ms.is_none() && !row.versions.is_empty() {
                row.versions.remove(0);
                dropped = true;
            }
            row.versions.insert(0, version);
            row.deleted_ms = None;
            dropped |= row.trim();
            batch.put(Names, new.name.as_bytes(), &row);
        }
        self.catalog().write(&batch)?;
        Ok(dropped)
    }

    /// The objects of the user's that no name stands for. They are still stored if buyers may read them.
    pub(crate) fn unused_objects(&self) -> Result<BTreeSet<ObjectId>, ClientError> {
        let unused = self.unused()?;
        Ok(unused.objects.iter().map(|entry| entry.manifest.object).collect())
    }

    /// Objects of the user's that no name stands for, and rows about moved ranges that lead nowhere without them.
    fn unused(&self) -> Result<Unused, ClientError> {
        let _lock = self.lock_names()?;
        let (mut objects, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for watched in self.catalog().watched()? {
            match watched {
                Watch::Unused(entry) => {
                    objects.insert(entry.manifest.object, Arc::from(entry));
                }
                Watch::Gone(used) => {
                    gone.insert(used.object);
                }
                Watch::Sparse(_) => {}
            }
        }
        if objects.is_empty() {
            return Ok(Unused::default());
        }
        let moves = self.catalog().rows(Moved)?;
        let mut tree = self.tree_of_moves(&moves)?;
        if moves.iter().any(|row| gone.contains(&row.from)) {
            // Another device gave a name to a range that has moved. The name stands for the moved range, so its object
            // is in use.
            tree = self.tree()?;
            let used = tree.used();
            objects.retain(|id, _| !used.contains_key(id));
        }
        let goes = |id: &ObjectId| objects.contains_key(id);
        let moves = moves.iter().filter(|row| !tree.leads_on(row, |id| !goes(id)));
        let moves = moves.map(MovedEntry::key).collect();
        Ok(Unused { objects: objects.into_values().collect(), moves })
    }

    /// Removes the leaves of a stored object that does not need them: a pack is never sold as such, and the leaves of a
    /// small file are computed quickly.
    pub(crate) fn settle_leaves(&self, entry: &ObjectEntry) {
        if entry.kind == FileKind::Pack || entry.manifest.length < LEAVES_KEPT_FROM {
            self.forget_leaves(&entry.manifest.object);
        }
    }
}
