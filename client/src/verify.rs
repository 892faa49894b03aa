//! Whether a file's shards are still there: read from their nodes and compared with the ledger's roots.
//!
//! A deep check reads every slice of every shard, which proves every leaf in it. A slice that is not
//! what it should be is looked at cell by cell, so that what is missing has a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use symbolon_protocol::{
    grant::ability,
    id::{NodeId, ObjectId},
    ledger::rows::Deal,
    limits::{CELL_BYTES, SLICE_BYTES},
    session::NodeFault,
    wire::storage::RefusalCode,
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Client,
    catalog::{Content, Damaged, DamagedEntry, NameEntry, Names},
    download::ShardAt,
    error::{ClientError, ErrorKind},
    names::Found,
    progress::{Awaited, Progress, Step, Wait},
    term::{Kept, epoch_ms, runs},
};

/// How long a node has to answer a check, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Shards that are checked at once: a slice of each is in memory.
const AT_ONCE: usize = 8;

/// Cells of a slice.
const SLICE_CELLS: u32 = 16;

const _: () = assert!(SLICE_CELLS as usize * CELL_BYTES == SLICE_BYTES);

/// How much of a file is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One slice of every shard, chosen at random.
    Sample,
    /// Every slice of every shard.
    Deep,
}

/// What checking one shard found.
#[derive(Clone, Debug)]
pub struct ShardCheck {
    /// Its segment.
    pub segment: u32,
    /// Its index.
    pub index: u8,
    /// Who keeps it.
    pub node: NodeId,
    /// Slices that were read and are what they should be.
    pub good_slices: u64,
    /// Cells that were read and are what they should be.
    pub good_cells: u64,
    /// Bytes of those.
    pub good_bytes: u64,
    /// Cells that are damaged or missing on a node that gave others.
    pub bad_cells: Vec<u32>,
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
    /// Whether its node has not what it is paid to keep; one that is away may have.
    pub damaged: bool,
}

/// What checking a file found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// Slices read and compared with their roots.
    pub checked_slices: u64,
    /// Cells that were compared, well or not.
    pub checked_cells: u64,
    /// Bytes that are what they should be.
    pub checked_bytes: u64,
    /// Every shard.
    pub shards: Vec<ShardCheck>,
    /// Whether every segment has enough good shards.
    pub readable: bool,
    /// Whether any shard is not what its node is paid to keep. It is written down on this machine: the same
    /// file put again is stored anew.
    pub damaged: bool,
}

/// What checking one object of several files found.
#[derive(Debug)]
pub struct VerifiedObject {
    /// Which.
    pub object: ObjectId,
    /// The names of which bytes lie in it, as they are shown.
    pub names: Vec<String>,
    /// What was found, or why nothing could be.
    pub found: Result<VerifyReport, ClientError>,
}

impl Client {
    /// Checks all that a folder or pattern stands for, each object once. Nothing when `what` is a single file.
    pub async fn verify_all(
        &self,
        what: &[u8],
        depth: Depth,
        progress: &Progress,
    ) -> Result<Option<Vec<VerifiedObject>>, ClientError> {
        let what = what.strip_suffix(b"/").unwrap_or(what);
        let row = self.catalog().row(Names, what)?;
        let now = row.as_ref().and_then(NameEntry::current);
        if now.is_some_and(|now| !matches!(now.content, Content::Folder)) {
            return Ok(None);
        }
        let tree = self.tree_for(what, false)?;
        let mut objects: BTreeMap<ObjectId, (Vec<String>, Result<Found, ClientError>)> =
            BTreeMap::new();
        for name in tree.select(what, false)?.1 {
            let Some(version) = tree.names[&name].current() else { continue };
            let Content::File { object, .. } = version.content else { continue };
            let found = tree.found(&name, version);
            // What became of it: a file that moved to another pack lies there.
            let object = found.as_ref().map_or(object, |found| found.manifest().object);
            let entry = objects.entry(object).or_insert_with(|| (Vec::new(), found));
            entry.0.push(name.to_string());
        }
        let mut total = Some(0_u64);
        for (_, found) in objects.values() {
            let bytes = found.as_ref().ok().and_then(|found| found.object_bytes().ok());
            total = total.and_then(|total| total.checked_add(bytes.unwrap_or(0)));
        }
        progress.step(Step::Planned { total_bytes: total.filter(|_| depth == Depth::Deep) });
        let mut checked = Vec::new();
        for (object, (names, found)) in objects {
            let found = match found {
                Ok(found) => match self.verify_found(&found, depth, progress).await {
                    Err(error) if !is_about_one(&error) => return Err(error),
                    found => found,
                },
                Err(error) => Err(error),
            };
            checked.push(VerifiedObject { object, names, found });
        }
        Ok(Some(checked))
    }

    /// Reads shards from their nodes and compares them with the roots on the ledger.
    pub async fn verify(
        &self,
        name: &(impl AsRef<[u8]> + Sync + ?Sized),
        depth: Depth,
        progress: &Progress,
    ) -> Result<VerifyReport, ClientError> {
        let entry = self.find(&Self::name(name.as_ref())?)?;
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
        let chain = self.chain_row().await?;
        let over = |since_ms| ClientError::Over { name: entry.name.to_string(), since_ms };
        // What is there still may be gone at any moment: nobody is paid to keep it.
        if let Kept::Over { since_ms: since_ms @ Some(_) } =
            self.kept(&chain, &entry.object).await?
        {
            return Err(over(since_ms));
        }
        let key = entry.object.key.file_key();
        let grant = self.own_grant(file.object, ability::READ)?;
        let mut shards = Vec::new();
        let mut readable = true;
        for segment in 0..file.segments {
            let id = key.deal(segment);
            let deal = self.deal(&id).await?.ok_or(ClientError::DealGone { segment, deal: id })?;
            if !runs(&deal) {
                return Err(over(Some(epoch_ms(&chain, deal.end))));
            }
            let room = Arc::new(Semaphore::new(AT_ONCE));
            let mut checks = JoinSet::new();
            for (index, address, root) in self.deal_nodes(&deal).await? {
                let (grant, length) = (Some(grant.clone()), deal.length);
                let shard = ShardAt { address, deal: id, index, root, length, grant };
                let check = Check { client: self.clone(), shard, progress: progress.clone() };
                let room = room.clone();
                checks.spawn(async move {
                    // The semaphore is never closed; without a permit there is only less order.
                    let _permit = room.acquire_owned().await.ok();
                    check.run(segment, depth).await
                });
            }
            let mut found = checks.join_all().await;
            found.extend(unknown(segment, &deal, &found));
            found.sort_by_key(|check| check.index);
            let good = found.iter().filter(|check| check.fault.is_none()).count();
            readable &= good >= usize::from(deal.required);
            shards.extend(found);
        }
        let damaged = shards.iter().any(|shard| shard.damaged);
        let well = depth == Depth::Deep && shards.iter().all(|shard| shard.fault.is_none());
        self.note_damage(file.object, damaged, well)?;
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

    /// Writes down that an object is damaged, or that all of it is well.
    fn note_damage(&self, object: ObjectId, damaged: bool, well: bool) -> Result<(), ClientError> {
        let known = self.catalog().row(Damaged, &object.0)?.is_some();
        if damaged && !known {
            let found_ms = self.host().now_ms();
            self.catalog().put(Damaged, &object.0, &DamagedEntry { object, found_ms })?;
        } else if well && known {
            self.catalog().remove(Damaged, &object.0)?;
        }
        Ok(())
    }
}

/// Shards of a deal that could not be asked for: the ledger says nothing of where their nodes are.
fn unknown(segment: u32, deal: &Deal, found: &[ShardCheck]) -> Vec<ShardCheck> {
    let asked: BTreeSet<u8> = found.iter().map(|check| check.index).collect();
    let kept = (0..).zip(&deal.shards).filter_map(|(index, shard)| Some((index, (*shard)?.node)));
    kept.filter(|(index, _)| !asked.contains(index))
        .map(|(index, node)| ShardCheck {
            fault: Some(String::from("the ledger knows no address of its node")),
            ..ShardCheck::new(segment, index, node)
        })
        .collect()
}

impl ShardCheck {
    fn new(segment: u32, index: u8, node: NodeId) -> Self {
        Self {
            segment,
            index,
            node,
            good_slices: 0,
            good_cells: 0,
            good_bytes: 0,
            bad_cells: Vec::new(),
            fault: None,
            damaged: false,
        }
    }
}

/// Whether an error says something about one object, and not about the way to all of them.
fn is_about_one(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotEnough | ErrorKind::Corrupt)
}

/// One shard that is being checked.
struct Check {
    client: Client,
    shard: ShardAt,
    progress: Progress,
}

impl Check {
    async fn run(self, segment: u32, depth: Depth) -> ShardCheck {
        let (index, node) = (self.shard.index, self.shard.address.id);
        let mut found = ShardCheck::new(segment, index, node);
        let slices = self.shard.length.div_ceil(SLICE_BYTES as u64);
        let slices = u32::try_from(slices).expect("a shard has at most 64 slices");
        let chosen = match depth {
            Depth::Deep => 0..slices,
            Depth::Sample => {
                let draw = u32::from_le_bytes(self.client.host().random()) % slices;
                draw..draw + 1
            }
        };
        self.progress.step(Step::Waiting(Wait {
            what: Awaited::Bytes,
            nodes: vec![node],
            done: 0,
            of: 1,
        }));
        for slice in chosen {
            let read = self.in_time(self.shard.clone().slice(&self.client, slice)).await;
            match read {
                Ok(good) => {
                    found.good_slices += 1;
                    self.good(&mut found, good.len() as u64);
                }
                Err(fault) => {
                    found.fault = Some(format!("slice {slice}: {fault}"));
                    found.damaged |= is_damage(fault);
                    // A node that is away, or that refuses altogether, says nothing about bytes.
                    if !is_of_bytes(fault) || !self.cells(slice, &mut found).await {
                        return found;
                    }
                }
            }
        }
        if !found.bad_cells.is_empty() {
            let cells: Vec<_> = found.bad_cells.iter().map(ToString::to_string).collect();
            let plural = if cells.len() == 1 { "" } else { "s" };
            found.fault = Some(format!("cell{plural} {} damaged", cells.join(", ")));
        }
        found
    }

    /// Looks at a bad slice cell by cell; `false` when the node gives nothing of it.
    async fn cells(&self, slice: u32, found: &mut ShardCheck) -> bool {
        let cells = self.shard.length.div_ceil(CELL_BYTES as u64);
        let cells = u32::try_from(cells).expect("a shard has at most 1024 cells");
        let first = slice * SLICE_CELLS;
        for cell in first..cells.min(first + SLICE_CELLS) {
            match self.in_time(self.shard.cell(&self.client, cell)).await {
                Ok(good) => self.good(found, good.len() as u64),
                Err(fault) if is_of_bytes(fault) => found.bad_cells.push(cell),
                Err(_) => return false,
            }
        }
        true
    }

    fn good(&self, found: &mut ShardCheck, bytes: u64) {
        found.good_bytes += bytes;
        found.good_cells += bytes.div_ceil(CELL_BYTES as u64);
        self.progress.step(Step::Moved { bytes });
    }

    async fn in_time<T>(
        &self,
        read: impl Future<Output = Result<T, NodeFault>>,
    ) -> Result<T, NodeFault> {
        let until_ms = self.client.host().ticks_ms() + PATIENCE_MS;
        tokio::select! {
            biased;
            read = read => read,
            () = self.client.host().sleep_until_tick(until_ms) => Err(NodeFault::Slow),
        }
    }
}

/// Whether a node has not what it is paid to keep: then the shard does not come back by waiting.
fn is_damage(fault: NodeFault) -> bool {
    is_of_bytes(fault) || fault == NodeFault::Refused { code: RefusalCode::NotFound }
}

/// Whether a fault is about the bytes that were asked for, and others may be well.
fn is_of_bytes(fault: NodeFault) -> bool {
    matches!(fault, NodeFault::Corrupt | NodeFault::Refused { code: RefusalCode::Damaged })
}
