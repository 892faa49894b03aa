//! What is stored where, whether it is still there, and letting it go.

use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout, Scheme},
    grant::ability,
    id::{DealId, Hash, NodeId, ObjectId},
    ledger::rows::{Deal, DealState, Nodes},
    limits::SLICE_BYTES,
    session::NodeFault,
};

use crate::{
    Client,
    catalog::{Batch, FileEntry, FileKind, Files, Uploads},
    download::ShardAt,
    error::ClientError,
    progress::{Progress, Step},
};

/// How long a node has to answer a check, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

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
    /// The last epoch its node has proven.
    pub last_proof: Option<u64>,
    /// Epochs its node has missed in a row.
    pub missed_in_row: u32,
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
    /// Its shards.
    pub shards: Vec<ShardView>,
}

/// Everything about a file.
#[derive(Clone, Debug)]
pub struct StatView {
    /// The file.
    pub file: FileView,
    /// The current epoch.
    pub epoch: u64,
    /// Its segments.
    pub segments: Vec<SegmentView>,
}

/// What removing did.
#[derive(Clone, Copy, Debug)]
pub struct RemoveReport {
    /// Deals that were ended.
    pub deals: u32,
    /// What came back at once.
    pub refunded: Amount,
}

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
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
}

/// What checking a file found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// Slices read and compared with their roots.
    pub checked_slices: u64,
    /// Their bytes.
    pub checked_bytes: u64,
    /// Every shard.
    pub shards: Vec<ShardCheck>,
    /// Whether every segment has enough good shards.
    pub readable: bool,
}

fn view(entry: &FileEntry) -> Result<FileView, ClientError> {
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
        Ok(self.catalog().rows(Uploads)?.into_iter().map(|entry| entry.name).collect())
    }

    pub(crate) fn entry(&self, name: &str) -> Result<FileEntry, ClientError> {
        let entry = self.catalog().row(Files, name.as_bytes())?;
        entry.ok_or_else(|| ClientError::NoName { name: name.to_owned() })
    }

    /// Everything about a file, as the ledger has it now.
    pub async fn stat(&self, name: &str) -> Result<StatView, ClientError> {
        let entry = self.entry(name)?;
        let file = view(&entry)?;
        let epoch = self.chain_row().await?.epoch;
        let key = FileKey::from_bytes(entry.key.expose());
        let mut segments = Vec::new();
        for segment in 0..file.segments {
            let id = key.deal(segment);
            let deal = self.deal(&id).await?.ok_or(ClientError::DealGone { segment, deal: id })?;
            segments.push(self.segment_view(segment, id, &deal).await?);
        }
        Ok(StatView { file, epoch, segments })
    }

    async fn segment_view(
        &self,
        segment: u32,
        id: DealId,
        deal: &Deal,
    ) -> Result<SegmentView, ClientError> {
        let kept: Vec<_> =
            (0..).zip(&deal.shards).filter_map(|(i, shard)| Some((i, (*shard)?))).collect();
        let ids: Vec<NodeId> = kept.iter().map(|(_, shard)| shard.node).collect();
        let nodes = self.ledger().rows(Nodes, &ids).await?;
        let shards = kept.into_iter().zip(nodes).map(|((index, shard), node)| ShardView {
            index,
            node: shard.node,
            root: shard.root,
            last_proof: node.as_ref().and_then(|node| node.passed_epoch),
            missed_in_row: node.as_ref().map_or(0, |node| node.missed_in_row),
        });
        Ok(SegmentView {
            segment,
            deal: id,
            state: deal.state,
            start: deal.start,
            end: deal.end,
            required: deal.required,
            shard_length: deal.length,
            shards: shards.collect(),
        })
    }

    /// Ends a file's deals and forgets its name and key. What was paid for later epochs comes back.
    pub async fn remove(&self, name: &str) -> Result<RemoveReport, ClientError> {
        let entry = self.entry(name)?;
        let before = self.account().await?.balance;
        let deals = self.end_deals(&entry.manifest, &entry.key).await?;
        let after = self.account().await?.balance;
        let mut batch = Batch::default();
        batch.remove(Files, name.as_bytes());
        self.catalog().write(&batch)?;
        let leaves = self.inner.dir.join("leaves").join(entry.manifest.object.to_string());
        // Leaves can be computed again; a file that is not there is as good as removed.
        std::fs::remove_file(leaves).ok();
        Ok(RemoveReport { deals, refunded: after.checked_sub(before).unwrap_or(Amount::ZERO) })
    }

    /// Reads shards from their nodes and compares them with the roots on the ledger.
    pub async fn verify(
        &self,
        name: &str,
        depth: Depth,
        progress: &Progress,
    ) -> Result<VerifyReport, ClientError> {
        let entry = self.entry(name)?;
        let file = view(&entry)?;
        let key = FileKey::from_bytes(entry.key.expose());
        let grant = self.own_grant(file.object, ability::READ)?;
        let total_bytes = (depth == Depth::Deep).then_some(file.stored_bytes);
        progress.step(Step::Planned { total_bytes });
        let mut report = VerifyReport {
            checked_slices: 0,
            checked_bytes: 0,
            shards: Vec::new(),
            readable: true,
        };
        for segment in 0..file.segments {
            let id = key.deal(segment);
            let deal = self.deal(&id).await?.ok_or(ClientError::DealGone { segment, deal: id })?;
            let mut good = 0_u8;
            let kept = self.deal_nodes(&deal).await?;
            for (index, node, root) in kept {
                let (name, grant, length) = (node.id, Some(grant.clone()), deal.length);
                let shard = ShardAt { address: node, deal: id, index, root, length, grant };
                let (slices, bytes, fault) = self.check(shard, depth, progress).await;
                report.checked_slices += slices;
                report.checked_bytes += bytes;
                good += u8::from(fault.is_none());
                report.shards.push(ShardCheck { segment, index, node: name, fault });
            }
            report.readable &= good >= deal.required;
        }
        Ok(report)
    }

    async fn check(
        &self,
        shard: ShardAt,
        depth: Depth,
        progress: &Progress,
    ) -> (u64, u64, Option<String>) {
        let slices = shard.length.div_ceil(SLICE_BYTES as u64);
        let slices = u32::try_from(slices).expect("a shard has at most 64 slices");
        let chosen = match depth {
            Depth::Deep => 0..slices,
            Depth::Sample => {
                let draw = u32::from_le_bytes(self.host().random()) % slices;
                draw..draw + 1
            }
        };
        let (mut done, mut bytes) = (0, 0);
        for slice in chosen {
            let until_ms = self.host().now_ms() + PATIENCE_MS;
            let read = tokio::select! {
                biased;
                read = shard.clone().slice(self, slice) => read,
                () = self.host().sleep_until_ms(until_ms) => Err(NodeFault::Slow),
            };
            match read {
                Ok(good) => {
                    done += 1;
                    bytes += good.len() as u64;
                    progress.step(Step::Moved { bytes: good.len() as u64 });
                }
                Err(fault) => return (done, bytes, Some(format!("slice {slice}: {fault}"))),
            }
        }
        (done, bytes, None)
    }
}
