//! What is stored where, how it does, and letting it go.

use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout, Scheme},
    id::{DealId, Hash, NodeId, ObjectId},
    ledger::rows::{Chain, Deal, DealState, Node, Nodes},
};

use crate::{
    Client,
    catalog::{Batch, FileEntry, FileKind, Files, Uploads},
    deletion::Deletion,
    error::ClientError,
};

/// A node that missed so many epochs in a row is taken to be gone.
const GONE_EPOCHS: u32 = 10;

/// A stored file.
#[derive(Clone, Debug)]
pub struct FileView {
    /// Its name.
    pub name: String,
    /// Why it is stored.
    pub kind: FileKind,
    /// Its object id.
    pub object: ObjectId,
    /// Its bytes.
    pub length: u64,
    /// Required and total shards.
    pub scheme: Scheme,
    /// Segments, each a deal.
    pub segments: u32,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// What was paid for it, all-in.
    pub cost: Amount,
}

/// A shard of a segment.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// Its index.
    pub index: u8,
    /// Who keeps it.
    pub node: NodeId,
    /// Its root.
    pub root: Hash,
    /// The last epoch in which its node has proven this shard among its others.
    pub last_proof: Option<u64>,
    /// When that epoch began, in milliseconds since the Unix epoch, reckoned back from the current one.
    pub last_proof_ms: Option<u64>,
    /// Epochs its node has missed in a row.
    pub missed_in_row: u32,
    /// How it does.
    pub health: ShardHealth,
}

/// How a shard does, by what the ledger saw of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardHealth {
    /// Proven in the last epoch that is over, or in the current one.
    Proven,
    /// Too new to have been proven.
    New,
    /// Its node missed the last epoch that is over.
    Missed,
    /// Its node missed so many epochs in a row that it will hardly come back, or is not on the ledger.
    Gone,
    /// Its deal is over: nobody proves it or is paid for it.
    Over,
}

impl ShardHealth {
    /// Whether the shard counts as one that can be read.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Proven | Self::New)
    }
}

/// A segment of a file.
#[derive(Clone, Debug)]
pub struct SegmentView {
    /// Its number.
    pub segment: u32,
    /// Its deal.
    pub deal: DealId,
    /// Where the deal stands.
    pub state: DealState,
    /// First epoch that is paid.
    pub start: u64,
    /// First epoch that is not.
    pub end: u64,
    /// Shards that give it back.
    pub required: u8,
    /// Bytes of each shard.
    pub shard_length: u64,
    /// Until when it is paid, in milliseconds since the Unix epoch, reckoned from the current epoch.
    pub paid_until_ms: u64,
    /// Its shards.
    pub shards: Vec<ShardView>,
    /// Shards that no node keeps: not placed when the file was stored.
    pub absent: Vec<u8>,
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
    /// Its segments.
    pub segments: Vec<SegmentView>,
}

/// What removing did.
#[derive(Clone, Debug)]
pub struct RemoveReport {
    /// Deals that were ended.
    pub deals: u32,
    /// What came back at once.
    pub refunded: Amount,
    /// What the nodes said.
    pub deletion: Deletion,
}

/// When an epoch began or will begin, by the length of epochs; the ledger may have stood still between.
fn epoch_ms(chain: &Chain, epoch: u64) -> u64 {
    let length = chain.params.epoch_ms;
    let now = chain.epoch_started_ms;
    match epoch.checked_sub(chain.epoch) {
        Some(ahead) => now.saturating_add(ahead.saturating_mul(length)),
        None => now.saturating_sub((chain.epoch - epoch).saturating_mul(length)),
    }
}

fn health(chain: &Chain, deal: &Deal, node: Option<&Node>, proof: Option<u64>) -> ShardHealth {
    if matches!(deal.state, DealState::Completed | DealState::Cancelled) {
        return ShardHealth::Over;
    }
    let Some(node) = node.filter(|node| node.missed_in_row < GONE_EPOCHS) else {
        return ShardHealth::Gone;
    };
    let last_over = chain.epoch.saturating_sub(1);
    if proof.is_some_and(|proof| last_over <= proof) {
        return ShardHealth::Proven;
    }
    // The deal's first epoch is not over, so nothing was missed for it.
    if chain.epoch <= deal.start {
        return if node.missed_in_row == 0 { ShardHealth::New } else { ShardHealth::Missed };
    }
    ShardHealth::Missed
}

pub(crate) fn view(entry: &FileEntry) -> Result<FileView, ClientError> {
    let manifest = &entry.manifest;
    let layout = Layout::new(manifest.scheme, manifest.length)
        .map_err(|error| ClientError::Index(error.to_string()))?;
    Ok(FileView {
        name: entry.name.clone(),
        kind: entry.kind,
        object: manifest.object,
        length: manifest.length,
        scheme: manifest.scheme,
        segments: layout.segments(),
        stored_bytes: layout.stored_bytes(),
        stored_ms: entry.stored_ms,
        cost: entry.cost,
    })
}

impl Client {
    /// All stored files by name, those that belong to listings included.
    pub fn list(&self) -> Result<Vec<FileView>, ClientError> {
        let mut views: Vec<_> =
            self.catalog().rows(Files)?.iter().map(view).collect::<Result<_, _>>()?;
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }

    /// Names of uploads that have begun and not ended.
    pub fn unfinished(&self) -> Result<Vec<String>, ClientError> {
        let uploads = self.catalog().rows(Uploads)?.into_iter();
        let named = uploads.filter(|entry| entry.kind != FileKind::Index);
        Ok(named.map(|entry| entry.name).collect())
    }

    pub(crate) fn entry(&self, name: &str) -> Result<FileEntry, ClientError> {
        let entry = self.catalog().row(Files, name.as_bytes())?;
        entry.ok_or_else(|| ClientError::NoName { name: name.to_owned() })
    }

    /// Everything about a file, as the ledger has it now.
    pub async fn stat(&self, name: &str) -> Result<StatView, ClientError> {
        let entry = self.entry(name)?;
        let file = view(&entry)?;
        let chain = self.chain_row().await?;
        let (epoch, content_root) = (chain.epoch, entry.manifest.content_root);
        let key = FileKey::from_bytes(entry.key.expose());
        let mut segments = Vec::new();
        for segment in 0..file.segments {
            let id = key.deal(segment);
            let deal = self.deal(&id).await?.ok_or(ClientError::DealGone { segment, deal: id })?;
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
        let shards = kept.into_iter().zip(nodes).map(|((index, shard), node)| {
            // What the node proved before the deal began or after it ended was not this shard.
            let in_deal = |epoch: &u64| deal.start <= *epoch && *epoch < deal.end;
            let last_proof = node.as_ref().and_then(|node| node.passed_epoch).filter(in_deal);
            ShardView {
                index,
                node: shard.node,
                root: shard.root,
                last_proof,
                last_proof_ms: last_proof.map(|epoch| epoch_ms(chain, epoch)),
                missed_in_row: node.as_ref().map_or(0, |node| node.missed_in_row),
                health: health(chain, deal, node.as_ref(), last_proof),
            }
        });
        let absent = (0..).zip(&deal.shards).filter(|(_, shard)| shard.is_none());
        Ok(SegmentView {
            segment,
            deal: id,
            state: deal.state,
            start: deal.start,
            end: deal.end,
            required: deal.required,
            shard_length: deal.length,
            paid_until_ms: epoch_ms(chain, deal.end),
            shards: shards.collect(),
            absent: absent.map(|(index, _)| index).collect(),
        })
    }

    /// Ends a file's deals, has its shards deleted, and forgets its name and key. What was paid for
    /// later epochs comes back. Nodes that are away delete by themselves when they are back.
    pub async fn remove(&self, name: &str) -> Result<RemoveReport, ClientError> {
        let entry = self.entry(name)?;
        let before = self.account().await?.balance;
        let deals = self.end_deals(&entry.manifest, &entry.key).await?;
        let after = self.account().await?.balance;
        let deletion = self.delete_shards(&entry.manifest, &entry.key).await?;
        let mut batch = Batch::default();
        batch.remove(Files, name.as_bytes());
        self.catalog().write(&batch)?;
        let leaves = self.inner.dir.join("leaves").join(entry.manifest.object.to_string());
        // Leaves can be computed again; a file that is not there is as good as removed.
        std::fs::remove_file(leaves).ok();
        let refunded = after.checked_sub(before).unwrap_or(Amount::ZERO);
        Ok(RemoveReport { deals, refunded, deletion })
    }
}
