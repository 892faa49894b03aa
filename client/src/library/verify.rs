//! Checks whether all shards of a name are still there.

use std::collections::BTreeMap;

use symbolon_protocol::{grant::ability, id::ObjectId};
use symbolon_transfer::check::{Depth, ShardCheck};

use crate::{
    catalog::{Content, Damaged, DamagedEntry, NameEntry, Names},
    error::{ClientError, ErrorKind},
    library::{
        Library, Local,
        names::{Found, Name, Pattern},
    },
    progress::{Progress, Step},
    term::{Kept, epoch_ms, runs},
};

/// The result of checking a file.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// Number of slices that were read and match their roots.
    pub checked_slices: u64,
    /// Number of cells that were compared, good or bad.
    pub checked_cells: u64,
    /// Number of bytes that are correct.
    pub checked_bytes: u64,
    /// The check of every shard.
    pub shards: Vec<ShardCheck>,
    /// Whether every segment has enough good shards.
    pub readable: bool,
    /// Whether any shard differs from what its node is paid to keep. The client writes that down on this machine. A
    /// later put of the same file then stores it anew.
    pub damaged: bool,
}

/// The result of checking one object, which may hold several files.
#[derive(Debug)]
pub struct VerifiedObject {
    /// The object.
    pub object: ObjectId,
    /// The names of the files in it.
    pub names: Vec<Name>,
    /// The report, or why the object could not be checked.
    pub found: Result<VerifyReport, ClientError>,
}

/// Objects, each with the names of its files, and the first of these files.
type Objects = BTreeMap<ObjectId, (Vec<Name>, Result<Found, ClientError>)>;

impl Library {
    /// Checks each object of a folder or pattern once. Gives nothing when `what` is a single file.
    pub async fn verify_all(
        &self,
        what: &Pattern,
        depth: Depth,
        progress: &Progress,
    ) -> Result<Option<Vec<VerifiedObject>>, ClientError> {
        let what = what.bytes();
        let objects = self.read(move |local| local.objects_named(&what)).await?;
        let Some(objects) = objects else { return Ok(None) };
        let mut total = Some(0_u64);
        for (_, file) in objects.values() {
            let bytes = file.as_ref().ok().and_then(|file| file.object_bytes().ok());
            total = total.and_then(|total| total.checked_add(bytes.unwrap_or(0)));
        }
        progress.step(Step::Planned { total_bytes: total.filter(|_| depth == Depth::Deep) });
        let mut checked = Vec::new();
        for (object, (names, file)) in objects {
            let report = match file {
                Ok(file) => match self.verify_found(&file, depth, progress).await {
                    Err(error) if !is_about_one(&error) => return Err(error),
                    report => report,
                },
                Err(error) => Err(error),
            };
            checked.push(VerifiedObject { object, names, found: report });
        }
        Ok(Some(checked))
    }

    /// Reads shards from their nodes and compares them with the roots on the ledger.
    pub async fn verify(
        &self,
        name: &Name,
        depth: Depth,
        progress: &Progress,
    ) -> Result<VerifyReport, ClientError> {
        self.catch_up().await;
        let entry = self.find(name).await?;
        let total_bytes = (depth == Depth::Deep).then_some(entry.object_bytes()?);
        progress.step(Step::Planned { total_bytes });
        self.verify_found(&entry, depth, progress).await
    }

    async fn verify_found(
        &self,
        entry: &Found,
        depth: Depth,
        progress: &Progress,
    ) -> Result<VerifyReport, ClientError> {
        let file = entry.view()?;
        let chain = self.network().chain_row().await?;
        let over = |since_ms| ClientError::Over { name: entry.name.to_string(), since_ms };
        // Shards of an ended deal may disappear at any moment, because no node is paid to keep them.
        if let Kept::Over { since_ms: since_ms @ Some(_) } =
            self.kept(&chain, &entry.object).await?
        {
            return Err(over(since_ms));
        }
        let key = entry.object.key.file_key();
        let grant = self.own_grant(file.object, ability::READ)?;
        let mut shards = Vec::new();
        let mut readable = true;
        let deals = self.network().deals_of(&self.me(), &key, file.segments).await?;
        for (segment, (id, deal)) in (0..).zip(deals) {
            if !runs(&deal) {
                return Err(over(Some(epoch_ms(&chain, deal.end))));
            }
            let of = (segment, id, &deal);
            let checks = self.network().check_deal(of, Some(&grant), depth, progress).await?;
            let good = checks.iter().filter(|check| check.fault.is_none()).count();
            readable &= good >= usize::from(deal.required);
            shards.extend(checks);
        }
        let damaged = shards.iter().any(|shard| shard.damaged);
        let well = depth == Depth::Deep && shards.iter().all(|shard| shard.fault.is_none());
        let object = file.object;
        self.local(move |local| local.note_damage(object, damaged, well)).await?;
        Ok(VerifyReport {
            checked_slices: shards.iter().map(|shard| shard.good_slices).sum(),
            checked_cells: shards
                .iter()
                .map(|shard| shard.good_cells + shard.bad_cells.len() as u64)
                .sum(),
            checked_bytes: shards.iter().map(|shard| shard.good_bytes).sum(),
            shards,
            readable,
            damaged,
        })
    }
}

impl Local {
    /// The objects of a folder or pattern. Gives nothing when `what` is a single file.
    pub(super) fn objects_named(&self, what: &[u8]) -> Result<Option<Objects>, ClientError> {
        let row = self.catalog().row(Names, what)?;
        let now = row.as_ref().and_then(NameEntry::current);
        if now.is_some_and(|now| !matches!(now.content, Content::Folder)) {
            return Ok(None);
        }
        let tree = self.tree_for(what, false)?;
        let mut objects = Objects::new();
        for name in tree.select(what, false)?.1 {
            let Some(version) = tree.names[name].current() else { continue };
            let Content::File { object, .. } = version.content else { continue };
            let found = tree.found(name, version);
            // A file that moved to another pack lies in that pack's object now.
            let object = found.as_ref().map_or(object, |found| found.manifest().object);
            let entry = objects.entry(object).or_insert_with(|| (Vec::new(), found));
            entry.0.push(name.clone());
        }
        Ok(Some(objects))
    }

    /// Writes down that an object is damaged, or removes that note when all of it is well.
    fn note_damage(&self, object: ObjectId, damaged: bool, well: bool) -> Result<(), ClientError> {
        let known = self.catalog().row(Damaged, &object.0)?.is_some();
        if damaged && !known {
            let found_ms = self.host().now_ms().0;
            self.catalog().put(Damaged, &object.0, &DamagedEntry { object, found_ms })?;
        } else if well && known {
            self.catalog().remove(Damaged, &object.0)?;
        }
        Ok(())
    }
}

/// Whether an error is about one object, and not about the connection that all of them need.
fn is_about_one(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotEnough | ErrorKind::Corrupt)
}
