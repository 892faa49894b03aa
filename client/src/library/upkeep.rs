//! What is stored, where its shards are, and how they are doing.

use std::{collections::BTreeSet, sync::Arc};

use symbolon_protocol::{
    LedgerTime, Millis,
    id::{DealId, Hash, NodeId},
    ledger::{
        rows::{Cares, Chain, Deal, DealSlot, DealState, Node, Nodes, Repairs},
        window_offset,
    },
};
use symbolon_transfer::durability::LOST_EPOCHS;

use crate::{
    catalog::{Content, FileKind, Folders, Moved, ObjectEntry, Objects, Version, Watch},
    error::ClientError,
    library::{
        Library, Local,
        names::{FileView, Found, Name},
        source::{FileMetadata, PLAIN_MODE},
    },
    term::epoch_ms,
};

/// A shard of a segment.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// The shard's index in its segment.
    pub index: u8,
    /// The node that keeps it, or that was the last to keep it.
    pub node: NodeId,
    /// The shard's root.
    pub root: Hash,
    /// The last epoch in which its node has proven all its shards, this one included.
    pub last_proof: Option<u64>,
    /// When that epoch began, in milliseconds since the Unix epoch, estimated from the current epoch.
    pub last_proof_ms: Option<LedgerTime>,
    /// Until when its node has to prove it for the first time, estimated from the current epoch.
    pub first_proof_until_ms: LedgerTime,
    /// The epoch from which on its node keeps it.
    pub from: u64,
    /// Whether another node kept it when the deal began: it was repaired, or handed on.
    pub moved: bool,
    /// The epoch from which on no node keeps it.
    pub lost: Option<u64>,
    /// The caretaker that rebuilt it, as long as it is still to be paid for that.
    pub rebuilt_by: Option<NodeId>,
    /// Number of epochs in a row that its node has missed.
    pub missed_in_row: u32,
    /// The shard's health.
    pub health: ShardHealth,
}

/// The health of a shard, judged by what the ledger knows of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardHealth {
    /// The node proved it in its open window or in the one before.
    Proven,
    /// It is too new to have been proven.
    New,
    /// Its node missed its last complete window.
    Missed,
    /// Its node missed so many epochs in a row that it will hardly come back, or the ledger does not know the node.
    Gone,
    /// No node keeps it: its node has said that it lost it, or has missed so many epochs that the ledger took it away.
    Lost,
    /// Its deal is over: its node need not prove it and is not paid for it.
    Over,
}

impl ShardHealth {
    /// Whether the shard is likely to be readable.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Proven | Self::New)
    }
}

/// A segment of a file.
#[derive(Clone, Debug)]
pub struct SegmentView {
    /// The segment's number.
    pub segment: u32,
    /// The segment's deal.
    pub deal: DealId,
    /// The state of the deal.
    pub state: DealState,
    /// Whether the first epoch of the deal has begun.
    pub begun: bool,
    /// The first epoch that is paid.
    pub start: u64,
    /// The first epoch that is not paid.
    pub end: u64,
    /// Number of shards that restore the segment.
    pub required: u8,
    /// Bytes of each shard.
    pub shard_length: u64,
    /// Until when it is paid, in milliseconds since the Unix epoch, estimated from the current epoch.
    pub paid_until_ms: LedgerTime,
    /// The segment's shards.
    pub shards: Vec<ShardView>,
    /// Indexes of shards that no node keeps: they were not placed when the file was stored.
    pub absent: Vec<u8>,
    /// The nodes that rebuild lost shards while the owner is away.
    pub caretakers: Vec<NodeId>,
    /// The caretaker that rebuilds some now.
    pub claimant: Option<NodeId>,
}

/// Everything about a file.
#[derive(Clone, Debug)]
pub struct StatView {
    /// The file.
    pub file: FileView,
    /// The root over all its cells.
    pub content_root: Hash,
    /// The current epoch.
    pub epoch: u64,
    /// The file's segments.
    pub segments: Vec<SegmentView>,
}

fn health(deal: &Deal, shard: &DealSlot, node: Option<&Node>, proof: Option<u64>) -> ShardHealth {
    if deal.state != DealState::Open {
        return ShardHealth::Over;
    }
    if !shard.is_kept() {
        return ShardHealth::Lost;
    }
    let Some(node) = node.filter(|node| node.missed_in_row < LOST_EPOCHS) else {
        return ShardHealth::Gone;
    };
    match proof {
        _ if 0 < node.missed_in_row => ShardHealth::Missed,
        Some(_) => ShardHealth::Proven,
        // The node's first window with this shard has not ended, so the shard has missed no proof yet.
        None => ShardHealth::New,
    }
}

/// When a node's first window with its shard ends, estimated from the current epoch.
fn first_window_end(chain: &Chain, shard: &DealSlot) -> LedgerTime {
    let offset = window_offset(&chain.id, &shard.node, chain.params.epoch_ms);
    epoch_ms(chain, shard.from.saturating_add(1)).saturating_add(offset)
}

fn is_file(version: &Version) -> bool {
    matches!(version.content, Content::File { .. })
}

/// The name of an object that belongs to a listing.
pub(crate) fn public_name(kind: FileKind) -> Option<String> {
    match kind {
        FileKind::Document { listing } => Some(format!("listing {listing} description")),
        FileKind::Preview { listing } => Some(format!("listing {listing} preview")),
        FileKind::Leaves { listing } => Some(format!("listing {listing} leaf list")),
        FileKind::Own | FileKind::Pack | FileKind::Index | FileKind::Item | FileKind::ItemPack => {
            None
        }
    }
}

fn public(name: Name, object: &Arc<ObjectEntry>) -> Found {
    let (stored_ms, length) = (object.stored_ms, object.manifest.length);
    let metadata =
        FileMetadata { mode: PLAIN_MODE, modified_ns: i128::from(stored_ms) * 1_000_000 };
    Found { name, object: object.clone(), stored_ms, first: 0, length, metadata, right: None }
}

/// Files that end within this time are told of.
pub const SOON: Millis = Millis::DAY.saturating_mul(7);

/// Totals of an owner's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesView {
    /// Number of files.
    pub count: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Number of files whose time is over.
    pub over: u64,
    /// Number of the others that end within [`SOON`].
    pub soon: u64,
}

impl Library {
    /// Totals of all files that are stored under names, at time `now_ms`. Lost files do not count.
    pub async fn files(&self, now_ms: LedgerTime) -> Result<FilesView, ClientError> {
        self.read(move |local| local.files(now_ms)).await
    }

    /// Whether a file is stored under a name.
    pub async fn is_file(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.clone();
        self.read(move |local| local.is_file(&name)).await
    }

    /// The objects that are stored for listings: descriptions, leaf lists and previews.
    pub async fn public_files(&self) -> Result<Vec<FileView>, ClientError> {
        self.read(|local| local.public_files()).await
    }

    /// All stored files, sorted by name, including the objects of listings.
    pub async fn list(&self) -> Result<Vec<FileView>, ClientError> {
        self.read(|local| local.list()).await
    }

    /// Names of unfinished uploads on any device.
    pub async fn unfinished(&self) -> Result<Vec<String>, ClientError> {
        self.read(|local| local.unfinished()).await
    }

    /// Everything about a file, with its present state on the ledger.
    pub async fn stat(&self, name: &Name) -> Result<StatView, ClientError> {
        self.catch_up().await;
        let entry = self.find(name).await?;
        let file = entry.view()?;
        let chain = self.network().chain_row().await?;
        let (epoch, content_root) = (chain.epoch, entry.manifest().content_root);
        let key = entry.object.key.file_key();
        let mut segments = Vec::new();
        let deals = self.network().deals_of(&self.me(), &key, file.segments).await?;
        for (segment, (id, deal)) in (0..).zip(deals) {
            segments.push(self.segment_view(&chain, segment, id, &deal).await?);
        }
        Ok(StatView { file, content_root, epoch, segments })
    }

    async fn segment_view(
        &self,
        chain: &Chain,
        segment: u32,
        id: DealId,
        deal: &Deal,
    ) -> Result<SegmentView, ClientError> {
        let kept: Vec<_> =
            (0..).zip(&deal.shards).filter_map(|(i, shard)| Some((i, (*shard)?))).collect();
        let ids: Vec<NodeId> = kept.iter().map(|(_, shard)| shard.node).collect();
        let nodes = self.ledger().rows(Nodes, &ids).await?;
        let (care, repair) = self.ledger().pair((Cares, &id), (Repairs, &id)).await?;
        let rewards = repair.iter().flat_map(|repair| &repair.rewards);
        let rewards = rewards.filter(|reward| reward.stands(deal));
        let rewards: Vec<_> = rewards.map(|reward| (reward.index, reward.caretaker)).collect();
        let claim = repair.as_ref().and_then(|repair| repair.running(chain.epoch));
        let shards = kept.into_iter().zip(nodes).map(|((index, shard), node)| {
            // A proof before the node kept the shard or after that does not cover it.
            let end = shard.lost.unwrap_or(deal.end);
            let in_deal = |epoch: &u64| shard.from <= *epoch && *epoch < end;
            let last_proof = node.as_ref().and_then(|node| node.passed_epoch).filter(in_deal);
            ShardView {
                index,
                node: shard.node,
                root: shard.root,
                last_proof,
                last_proof_ms: last_proof.map(|epoch| epoch_ms(chain, epoch)),
                first_proof_until_ms: first_window_end(chain, &shard),
                from: shard.from,
                moved: deal.start < shard.from,
                lost: shard.lost,
                rebuilt_by: rewards
                    .iter()
                    .find(|(rebuilt, _)| *rebuilt == index)
                    .map(|(_, by)| *by),
                missed_in_row: node.as_ref().map_or(0, |node| node.missed_in_row),
                health: health(deal, &shard, node.as_ref(), last_proof),
            }
        });
        let absent = (0..).zip(&deal.shards).filter(|(_, shard)| shard.is_none());
        Ok(SegmentView {
            segment,
            deal: id,
            state: deal.state,
            begun: deal.start <= chain.epoch,
            start: deal.start,
            end: deal.end,
            required: deal.required,
            shard_length: deal.length,
            paid_until_ms: epoch_ms(chain, deal.end),
            shards: shards.collect(),
            absent: absent.map(|(index, _)| index).collect(),
            caretakers: care.map_or_else(Vec::new, |care| care.caretakers),
            claimant: claim.map(|claim| claim.claimant),
        })
    }
}

impl Local {
    pub(crate) fn files(&self, now_ms: LedgerTime) -> Result<FilesView, ClientError> {
        let moved: BTreeSet<_> =
            self.catalog().rows(Moved)?.into_iter().map(|row| row.from).collect();
        let mut lost = (0, 0);
        for watched in self.catalog().watched()? {
            let Watch::Gone(used) = watched else { continue };
            if moved.contains(&used.object) {
                // Some of its files may have moved to another object, so each name has to be looked up.
                return self.files_one_by_one(now_ms);
            }
            lost = (lost.0 + used.files, lost.1 + used.file_bytes);
        }
        let (over, soon_ms) = (self.catalog().files_over(now_ms)?, now_ms.saturating_add(SOON));
        let all = self.catalog().row(Folders, b"")?;
        let (count, bytes) = all.map_or((0, 0), |all| (all.files, all.bytes));
        Ok(FilesView {
            count: count.saturating_sub(lost.0),
            bytes: bytes.saturating_sub(lost.1),
            over,
            soon: self.catalog().files_over(soon_ms)?.saturating_sub(over),
        })
    }

    fn files_one_by_one(&self, now_ms: LedgerTime) -> Result<FilesView, ClientError> {
        let mut files = FilesView::default();
        for file in self.list()?.into_iter().filter(|file| file.kind == FileKind::Own) {
            files.count += 1;
            files.bytes = files.bytes.saturating_add(file.length);
            files.over += u64::from(file.paid_until_ms <= now_ms);
            let soon =
                now_ms < file.paid_until_ms && file.paid_until_ms <= now_ms.saturating_add(SOON);
            files.soon += u64::from(soon);
        }
        Ok(files)
    }

    pub(crate) fn is_file(&self, name: &Name) -> Result<bool, ClientError> {
        match self.find(name) {
            Ok(_) => Ok(true),
            Err(
                ClientError::NoName { .. }
                | ClientError::NotAFile { .. }
                | ClientError::Lost { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn public_files(&self) -> Result<Vec<FileView>, ClientError> {
        let mut views = Vec::new();
        for entry in self.catalog().rows(Objects)? {
            if let Some(name) = public_name(entry.kind) {
                views.push(public(Name::checked(name.as_bytes())?, &Arc::new(entry)).view()?);
            }
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }

    pub(crate) fn list(&self) -> Result<Vec<FileView>, ClientError> {
        let tree = self.tree()?;
        let files = tree.live().filter(|(_, version)| is_file(version) && !tree.is_lost(version));
        let files = files.map(|(name, version)| tree.found(name, version)?.view());
        let mut views = files.collect::<Result<Vec<_>, _>>()?;
        for entry in tree.objects.values() {
            if let Some(name) = public_name(entry.kind) {
                views.push(public(Name::checked(name.as_bytes())?, entry).view()?);
            }
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }

    pub(crate) fn unfinished(&self) -> Result<Vec<String>, ClientError> {
        let mut names: Vec<_> =
            self.all_unfinished()?.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}
