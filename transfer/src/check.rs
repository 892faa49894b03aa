//! Whether a deal's shards are still there: read from their nodes and compared with the ledger's roots.
//!
//! A deep check reads every slice of every shard, which proves every leaf in it. A slice that is not
//! what it should be is looked at cell by cell, so that what is missing has a name.

use std::{collections::BTreeSet, sync::Arc};

use symbolon_protocol::{
    grant::Grant,
    id::{DealId, NodeId},
    ledger::rows::Deal,
    limits::{CELL_BYTES, SLICE_BYTES},
    session::NodeFault,
    wire::storage::RefusalCode,
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Network,
    error::TransferError,
    progress::{Awaited, Progress, Step, Wait},
    shard::{SLICE_STRIPES, ShardAt},
};

/// How long a node has to answer a check, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Shards that are checked at once: a slice of each is in memory.
const AT_ONCE: usize = 8;

/// How much of each shard is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One slice, chosen at random.
    Sample,
    /// Every slice.
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

impl Network {
    /// Checks every shard of a segment's deal, in the order of their indexes. Those whose nodes the ledger does not
    /// know count as faulty.
    pub async fn check_deal(
        &self,
        (segment, id, deal): (u32, DealId, &Deal),
        grant: Option<&Grant>,
        depth: Depth,
        progress: &Progress,
    ) -> Result<Vec<ShardCheck>, TransferError> {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut checks = JoinSet::new();
        for (index, address, root) in self.deal_nodes(deal).await? {
            let (grant, length) = (grant.cloned(), deal.length);
            let shard = ShardAt { address, deal: id, index, root, length, grant };
            let check = Check { network: self.clone(), shard, progress: progress.clone() };
            let room = room.clone();
            checks.spawn(async move {
                // The semaphore is never closed; without a permit there is only less order.
                let _permit = room.acquire_owned().await.ok();
                check.run(segment, depth).await
            });
        }
        let mut found = checks.join_all().await;
        found.extend(unknown(segment, deal, &found));
        found.sort_by_key(|check| check.index);
        Ok(found)
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

/// One shard that is being checked.
struct Check {
    network: Network,
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
                let draw = u32::from_le_bytes(self.network.host().random()) % slices;
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
            let read = self.in_time(self.shard.clone().slice(&self.network, slice)).await;
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
        let first = slice * SLICE_STRIPES;
        for cell in first..cells.min(first + SLICE_STRIPES) {
            match self.in_time(self.shard.cell(&self.network, cell)).await {
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
        let until_ms = self.network.host().ticks_ms() + PATIENCE_MS;
        tokio::select! {
            biased;
            read = read => read,
            () = self.network.host().sleep_until_tick(until_ms) => Err(NodeFault::Slow),
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
