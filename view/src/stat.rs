//! Where a file is and how healthy it is, as the ledger knows.

use serde::Serialize;
use symbolon_client::{
    self as client, SegmentView, ShardHealth, ShardHistory, ShardView, StatView,
};
use symbolon_protocol::ledger::rows;

use crate::plain::{Id, Money, Scheme};

/// Where a file is.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stat {
    /// Its name.
    pub name: String,
    /// Its object.
    pub object: Id,
    /// Bytes of the file.
    pub length: u64,
    /// How many of its shards are needed to read it.
    pub scheme: Scheme,
    /// Bytes of all shards.
    pub stored_bytes: u64,
    /// When it was stored.
    pub stored_ms: u64,
    /// What it cost in all.
    pub cost: Money,
    /// The root over all its cells.
    pub content_root: Id,
    /// The epoch it is now.
    pub epoch: u64,
    /// One for each segment, in their order.
    pub segments: Vec<Segment>,
    /// What happened to its shards; null unless it was asked for.
    pub history: Option<History>,
}

/// What happened to the shards of a file, as far as the ledger keeps its blocks.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct History {
    /// The oldest block that was read. What was before it is not known, unless it is 0.
    pub from_height: u64,
    /// What happened, oldest first.
    pub events: Vec<ShardEvent>,
}

/// One thing that happened to a shard.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShardEvent {
    /// The block.
    pub height: u64,
    /// When it was made.
    pub time_ms: u64,
    /// The segment.
    pub segment: u32,
    /// The shard's index in it.
    pub index: u8,
    /// What happened.
    pub what: ShardEventKind,
    /// The node that lost the shard, took it, or claimed to rebuild it.
    pub node: Id,
    /// Who gave the shard to the node; null where none did.
    pub by: Option<Id>,
}

/// What happened to a shard.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ShardEventKind {
    /// Its node said that it lost it, or lost all of its shards.
    Lost,
    /// The owner gave it to another node.
    PlacedByOwner,
    /// The node that kept it handed it on.
    HandedOn,
    /// A caretaker rebuilt it.
    Rebuilt,
    /// A caretaker claimed to rebuild it.
    Claimed,
}

impl From<&ShardHistory> for History {
    fn from(history: &ShardHistory) -> Self {
        let event = |event: &client::ShardEvent| ShardEvent {
            height: event.height,
            time_ms: event.time_ms.0,
            segment: event.segment,
            index: event.index,
            what: match event.kind {
                client::ShardEventKind::Lost => ShardEventKind::Lost,
                client::ShardEventKind::PlacedByOwner => ShardEventKind::PlacedByOwner,
                client::ShardEventKind::HandedOn => ShardEventKind::HandedOn,
                client::ShardEventKind::Rebuilt => ShardEventKind::Rebuilt,
                client::ShardEventKind::Claimed => ShardEventKind::Claimed,
            },
            node: event.node.into(),
            by: event.by.map(Id::from),
        };
        Self {
            from_height: history.from_height,
            events: history.events.iter().map(event).collect(),
        }
    }
}

impl Stat {
    /// Of a file, with the history of its shards if that was asked for.
    #[must_use]
    pub fn new(stat: &StatView, history: Option<&ShardHistory>) -> Self {
        let file = &stat.file;
        Self {
            name: file.name.to_string(),
            object: file.object.into(),
            length: file.length,
            scheme: file.scheme.into(),
            stored_bytes: file.stored_bytes,
            stored_ms: file.stored_ms,
            cost: file.cost.into(),
            content_root: stat.content_root.into(),
            epoch: stat.epoch,
            segments: stat.segments.iter().map(Segment::from).collect(),
            history: history.map(History::from),
        }
    }
}

/// Where a segment is.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Segment {
    /// Which, from 0.
    pub segment: u32,
    /// Its deal.
    pub deal: Id,
    /// The state of the deal.
    pub state: DealState,
    /// The deal's first epoch.
    pub start_epoch: u64,
    /// The first epoch that is not paid.
    pub end_epoch: u64,
    /// When that begins, reckoned from the current epoch.
    pub paid_until_ms: u64,
    /// How many shards are `proven` or `new`.
    pub healthy: usize,
    /// How many are needed.
    pub required: u8,
    /// Bytes of each shard.
    pub shard_length: u64,
    /// The shards that are placed.
    pub shards: Vec<Shard>,
    /// The indexes of those that no node took.
    pub absent: Vec<u8>,
    /// The nodes that rebuild lost shards while the owner is away.
    pub caretakers: Vec<Id>,
    /// The caretaker that rebuilds some now; null if none does.
    pub claimant: Option<Id>,
}

impl From<&SegmentView> for Segment {
    fn from(segment: &SegmentView) -> Self {
        Self {
            segment: segment.segment,
            deal: segment.deal.into(),
            state: DealState::of(segment),
            start_epoch: segment.start,
            end_epoch: segment.end,
            paid_until_ms: segment.paid_until_ms.0,
            healthy: segment.shards.iter().filter(|shard| shard.health.is_well()).count(),
            required: segment.required,
            shard_length: segment.shard_length,
            shards: segment.shards.iter().map(Shard::from).collect(),
            absent: segment.absent.clone(),
            caretakers: segment.caretakers.iter().map(Id::from).collect(),
            claimant: segment.claimant.map(Id::from),
        }
    }
}

/// The state of a deal.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum DealState {
    /// It waits for the epoch it starts with.
    Offered,
    /// Its nodes answer for its shards.
    Active,
    /// Over, all epochs done.
    Completed,
    /// Ended by its owner before that.
    Cancelled,
}

impl DealState {
    fn of(segment: &SegmentView) -> Self {
        match segment.state {
            rows::DealState::Open if segment.begun => Self::Active,
            rows::DealState::Open => Self::Offered,
            rows::DealState::Completed => Self::Completed,
            rows::DealState::Cancelled => Self::Cancelled,
        }
    }
}

/// The state of a shard.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shard {
    /// Which, from 0.
    pub index: u8,
    /// The node that keeps it.
    pub node: Id,
    /// Its root.
    pub root: Id,
    /// Its health.
    pub health: Health,
    /// The last epoch of the deal that its node proved in; null before the first.
    pub last_proof_epoch: Option<u64>,
    /// When that epoch began, reckoned from the current one.
    pub last_proof_ms: Option<u64>,
    /// How many epochs its node missed since.
    pub missed_in_row: u32,
    /// The epoch from which on its node keeps it.
    pub from_epoch: u64,
    /// Whether another node kept it when the deal began: it was repaired, or handed on.
    pub moved: bool,
    /// The epoch from which on no node keeps it; null while one does.
    pub lost_epoch: Option<u64>,
    /// The caretaker that rebuilt it, as long as it is still to be paid for that; null otherwise.
    pub rebuilt_by: Option<Id>,
}

impl From<&ShardView> for Shard {
    fn from(shard: &ShardView) -> Self {
        Self {
            index: shard.index,
            node: shard.node.into(),
            root: shard.root.into(),
            health: shard.health.into(),
            last_proof_epoch: shard.last_proof,
            last_proof_ms: shard.last_proof_ms.map(|time| time.0),
            missed_in_row: shard.missed_in_row,
            from_epoch: shard.from,
            moved: shard.moved,
            lost_epoch: shard.lost,
            rebuilt_by: shard.rebuilt_by.map(Id::from),
        }
    }
}

/// The health of a shard.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Health {
    /// Its node proved in its open window, or in the one before.
    Proven,
    /// Its node's first window with this shard is not over.
    New,
    /// Its node missed the last epoch.
    Missed,
    /// Its node missed ten epochs in a row, or the ledger does not know it.
    Gone,
    /// No node keeps it: its node said that it lost it, or the ledger took it away.
    Lost,
    /// The deal has ended.
    Over,
}

impl From<ShardHealth> for Health {
    fn from(health: ShardHealth) -> Self {
        match health {
            ShardHealth::Proven => Self::Proven,
            ShardHealth::New => Self::New,
            ShardHealth::Missed => Self::Missed,
            ShardHealth::Gone => Self::Gone,
            ShardHealth::Lost => Self::Lost,
            ShardHealth::Over => Self::Over,
        }
    }
}
