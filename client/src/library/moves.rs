//! The history of a file's shards, from the blocks that the ledger keeps: which node lost one, which node has taken it over,
//! and who placed it there.

use std::collections::BTreeMap;

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    LedgerTime,
    id::{AccountId, DealId, NodeId},
    ledger::{
        block::{Block, Event},
        transaction::Action,
    },
};

use super::{Library, names::Name};
use crate::error::ClientError;

/// What happened to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One thing that happened to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardEvent {
    /// The height of the block.
    pub height: u64,
    /// Its time.
    pub time_ms: LedgerTime,
    /// The segment.
    pub segment: u32,
    /// The shard's index.
    pub index: u8,
    /// What happened.
    pub kind: ShardEventKind,
    /// The node that lost the shard, took it, or claimed to rebuild it.
    pub node: NodeId,
    /// Who placed the shard; nothing for the rest.
    pub by: Option<AccountId>,
}

/// What the blocks say of a file's shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHistory {
    /// The first block that was read: older ones are not kept.
    pub from_height: u64,
    /// What happened, oldest first.
    pub events: Vec<ShardEvent>,
}

impl Library {
    /// What happened to a file's shards, as far as the ledger keeps its blocks. Reads all of those, so it takes a while.
    pub async fn shard_events(&self, name: &Name) -> Result<ShardHistory, ClientError> {
        let entry = self.find(name).await?;
        let segments = entry.view()?.segments;
        let (me, key) = (self.me(), entry.object.key.file_key());
        let deals: BTreeMap<DealId, u32> =
            (0..segments).map(|segment| (key.deal(&me, segment), segment)).collect();
        let head = self.ledger().head().await?.header.height;
        let mut from_height = 0;
        let mut follow = self.ledger().follow(from_height);
        let mut events: Vec<ShardEvent> = Vec::new();
        let mut next = from_height;
        while next <= head {
            match follow.next().await {
                Ok(block) => {
                    of_block(&block, (&deals, me), &mut events);
                    next = next.max(block.header.header.height).saturating_add(1);
                }
                Err(LedgerError::Pruned { oldest, .. }) if next < oldest.height => {
                    // More blocks may be dropped while these are read.
                    (from_height, next) = (oldest.height, oldest.height);
                    events.clear();
                    follow = self.ledger().follow(next);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ShardHistory { from_height, events })
    }
}

/// Adds what a block says of the shards of these deals.
fn of_block(
    block: &Block,
    (deals, owner): (&BTreeMap<DealId, u32>, AccountId),
    events: &mut Vec<ShardEvent>,
) {
    let header = &block.header.header;
    let of = |deal: &DealId, index, kind, node, by| {
        let (height, time_ms) = (header.height, header.facts.time_ms);
        let segment = *deals.get(deal)?;
        Some(ShardEvent { height, time_ms, segment, index, kind, node, by })
    };
    for event in &block.events {
        if let Event::ShardLost { deal, index, node } = event {
            events.extend(of(deal, *index, ShardEventKind::Lost, *node, None));
        }
    }
    // All transactions of a block were applied. They say who placed a shard, which the events do not.
    for one in &block.transactions {
        match &one.action {
            Action::ClaimRepair { deal, rebuild, .. } => {
                let claimed =
                    |index: &u8| of(deal, *index, ShardEventKind::Claimed, one.sender.into(), None);
                events.extend(rebuild.iter().filter_map(claimed));
            }
            Action::PlaceShards { terms, acceptances, .. } => {
                for accepted in acceptances {
                    let index = accepted.index;
                    let kind = match one.sender == owner {
                        true => ShardEventKind::PlacedByOwner,
                        false => placed(events, (deals.get(&terms.deal()), index)),
                    };
                    let by = Some(one.sender);
                    events.extend(of(&terms.deal(), index, kind, accepted.node, by));
                }
            }
            _ => {}
        }
    }
}

/// What it was when a node placed a shard: a shard that was lost or claimed before is rebuilt, any other one is handed on.
fn placed(before: &[ShardEvent], (segment, index): (Option<&u32>, u8)) -> ShardEventKind {
    let of_shard = |event: &&ShardEvent| Some(&event.segment) == segment && event.index == index;
    match before.iter().rev().find(of_shard).map(|event| event.kind) {
        Some(ShardEventKind::Lost | ShardEventKind::Claimed) => ShardEventKind::Rebuilt,
        _ => ShardEventKind::HandedOn,
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    #[test]
    fn what_was_lost_is_rebuilt_and_the_rest_is_handed_on() {
        let event = |segment, index, kind| ShardEvent {
            height: 1,
            time_ms: LedgerTime(1),
            segment,
            index,
            kind,
            node: PeerId([1; 32]),
            by: None,
        };
        let before = [
            event(0, 1, ShardEventKind::Lost),
            event(0, 2, ShardEventKind::Lost),
            event(0, 1, ShardEventKind::Claimed),
            event(0, 2, ShardEventKind::PlacedByOwner),
        ];
        assert_eq!(placed(&before, (Some(&0), 1)), ShardEventKind::Rebuilt);
        assert_eq!(placed(&before, (Some(&0), 2)), ShardEventKind::HandedOn, "it has a node again");
        assert_eq!(placed(&before, (Some(&1), 1)), ShardEventKind::HandedOn, "of another segment");
    }
}
