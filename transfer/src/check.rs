//! Checks whether a deal's shards are still there: reads from the nodes and compares with the
//! ledger's roots.
//!
//! A deep check reads every slice of every shard, which proves every leaf. A bad slice is then read
//! cell by cell, so that the check can name the damaged cells.

use std::{collections::BTreeSet, sync::Arc};

use symbolon_protocol::{
    grant::Grant,
    id::{DealId, NodeId},
    ledger::rows::{Deal, DealSlot},
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

/// Milliseconds that a node has to answer one request of a check.
const PATIENCE_MS: u64 = 10_000;

/// Shards that are checked at once. A slice of each is in memory.
const AT_ONCE: usize = 8;

/// How much of each shard is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One slice, chosen at random.
    Sample,
    /// Every slice.
    Deep,
}

/// The result of checking one shard.
#[derive(Clone, Debug)]
pub struct ShardCheck {
    /// The segment of the shard.
    pub segment: u32,
    /// The index of the shard.
    pub index: u8,
    /// The node that keeps the shard.
    pub node: NodeId,
    /// Number of slices that were read and are correct.
    pub good_slices: u64,
    /// Number of cells that were read and are correct.
    pub good_cells: u64,
    /// Bytes of the correct slices and cells.
    pub good_bytes: u64,
    /// Cells that are damaged or missing, on a node that returned others.
    pub bad_cells: Vec<u32>,
    /// What is wrong with the shard, if anything.
    pub fault: Option<String>,
    /// Whether the node has lost what it is paid to keep. An unreachable node does not count: it
    /// may still have the shard.
    pub damaged: bool,
}

impl Network {
    /// Checks every shard of a segment's deal, in the order of their indexes. A shard whose node is
    /// not on the ledger counts as faulty.
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
                // The semaphore is never closed. Without a permit more shards would be checked at
                // once.
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

/// The shards of a deal that could not be checked: the ledger has no address of their nodes, or no
/// node keeps them.
fn unknown(segment: u32, deal: &Deal, found: &[ShardCheck]) -> Vec<ShardCheck> {
    let asked: BTreeSet<u8> = found.iter().map(|check| check.index).collect();
    let without = |why: &'static str| {
        move |(index, shard): (u8, &DealSlot)| ShardCheck {
            fault: Some(String::from(why)),
            ..ShardCheck::new(segment, index, shard.node)
        }
    };
    let kept = deal.kept().filter(|(index, _)| !asked.contains(index));
    let kept = kept.map(without("the ledger has no address of its node"));
    let lost = deal.lost().map(without("it is lost: no node keeps it any longer"));
    kept.chain(lost).collect()
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

/// The check of one shard.
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
                    // A node that is unreachable or refuses every request tells nothing about
                    // single cells. One that knows of damage serves no part of the shard.
                    if fault != NodeFault::Corrupt || !self.cells(slice, &mut found).await {
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

    /// Reads a bad slice cell by cell. Returns `false` when the node stops answering.
    async fn cells(&self, slice: u32, found: &mut ShardCheck) -> bool {
        let cells = self.shard.length.div_ceil(CELL_BYTES as u64);
        let cells = u32::try_from(cells).expect("a shard has at most 1024 cells");
        let first = slice * SLICE_STRIPES;
        for cell in first..cells.min(first + SLICE_STRIPES) {
            match self.in_time(self.shard.cell(&self.network, cell)).await {
                Ok(good) => self.good(found, good.len() as u64),
                Err(NodeFault::Corrupt) => found.bad_cells.push(cell),
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

/// Whether the node has lost what it is paid to keep. Waiting does not bring such a shard back.
fn is_damage(fault: NodeFault) -> bool {
    let gone = |code| matches!(code, RefusalCode::NotFound | RefusalCode::Damaged);
    match fault {
        NodeFault::Corrupt => true,
        NodeFault::Refused { code } => gone(code),
        _ => false,
    }
}
