//! Shards of test deals and proofs of them. The unit tests of the executor use this file too.

use symbolon_protocol::{
    id::{ChainId, DealId, Hash, NodeId},
    ledger::rows::{Node, Slot, Window},
    proof::{self, Challenge, LeafProof, ShardHasher},
};

/// The bytes of a shard.
fn shard(deal: &DealId, index: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; place(length)];
    blake3::Hasher::new().update(&deal.0).update(&[index]).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn shard_root(deal: &DealId, index: u8, length: u64) -> Hash {
    Hash(*blake3::hash(&shard(deal, index, length)).as_bytes())
}

/// A node's answers to the challenges of its open window. `slots` are all slots of its table.
pub(crate) fn leaves(
    chain: &ChainId,
    (id, node): (&NodeId, &Node),
    window: &Window,
    slots: &[Slot],
) -> Vec<LeafProof> {
    let slot = |position: u32| &slots[place(position.into())];
    let length = |position| slot(position).length;
    let seed = node.challenge_seed(chain, id, window);
    let asked = proof::challenges(&seed, node.slots, node.longest(), node.slot_bytes, length);
    let answer = |asked: &Challenge| {
        let Slot { deal, index, length, .. } = slot(asked.slot);
        let shard = shard(deal, *index, *length);
        let mut hasher = ShardHasher::new();
        hasher.update(&shard);
        let (_, outboard) = hasher.finish();
        let group = proof::group_range(*length, asked.leaf).unwrap();
        let group = &shard[place(group.start)..place(group.end)];
        proof::leaf_proof(&outboard, *length, asked.leaf, group).unwrap()
    };
    asked.iter().map(answer).collect()
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap()
}
