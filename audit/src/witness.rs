//! The auditor's copy of every slot table, and what proofs have to open: the leaves that chance has picked, each with its
//! path to the shard's root. Written from `spec/proof.md`, and not with the code of nodes and ledger.

use std::collections::BTreeMap;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use symbolon_protocol::{
    id::{ChainId, DealId, Hash, NodeId},
    ledger::block::Event,
    proof::LeafProof,
};

use crate::Auditor;

/// Bytes of a leaf.
const LEAF: u64 = 1_024;
const GIB: u64 = 1 << 30;

/// A shard in a table.
#[derive(Clone, Copy, Debug)]
struct Slot {
    deal: DealId,
    root: Hash,
    length: u64,
}

/// The shards that a node has to prove, in their order.
#[derive(Clone, Debug)]
struct Table {
    slots: Vec<Slot>,
    /// The chain over all changes of the table.
    chain: [u8; 32],
}

/// All tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    nodes: BTreeMap<NodeId, Table>,
    /// Leaves that were opened and verified.
    pub(crate) leaves: u64,
}

/// A leaf that has to be opened.
struct Pick {
    slot: usize,
    leaf: u64,
}

impl Auditor {
    /// Changes the tables as the turns of a block do. The order of its events is that of the changes: another order leads to
    /// other leaves, and no node can open them.
    pub(crate) fn change_tables(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match event {
                Event::ShardJoined { node, deal } => self.join_table(node, deal)?,
                Event::ShardLeft { node, deal } => self.tables.leave(node, deal)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn join_table(&mut self, node: &NodeId, deal: &DealId) -> Result<(), String> {
        let unknown = || format!("node {node} has no shard of deal {deal} that could join");
        let (index, rate) = self.earning(node, deal).ok_or_else(unknown)?;
        let (root, length) = self.shard(deal, index).ok_or_else(unknown)?;
        let new = Table { slots: Vec::new(), chain: [0; 32] };
        let table = self.tables.nodes.entry(*node).or_insert(new);
        let position = u32::try_from(table.slots.len()).map_err(|_| unknown())?;
        let slot = [&deal.0[..], &[index], &root.0, &length.to_le_bytes(), &rate.to_le_bytes()];
        table.change(1, position, &slot.concat());
        table.slots.push(Slot { deal: *deal, root, length });
        Ok(())
    }

    /// Verifies that a proof opens what the node's open window asks for.
    pub(crate) fn check_witness(
        &mut self,
        node: NodeId,
        (epoch, layer): (u64, Hash),
        leaves: &[LeafProof],
    ) -> Result<(), String> {
        let chain = self.chain;
        let table = self.tables.nodes.get(&node).ok_or("a node proves what it does not have")?;
        let picks = table.picks(&chain, epoch, &layer, &node);
        if picks.len() != leaves.len() {
            let (asked, opened) = (picks.len(), leaves.len());
            return Err(format!("node {node} opens {opened} leaves of {asked}"));
        }
        for (pick, proof) in picks.iter().zip(leaves) {
            let Slot { deal, root, length } = table.slots[pick.slot];
            if !opens(&root, length, pick.leaf, proof) {
                let leaf = pick.leaf;
                return Err(format!("node {node} does not open leaf {leaf} of deal {deal}"));
            }
        }
        self.tables.leaves += leaves.len() as u64;
        Ok(())
    }
}

impl Tables {
    fn leave(&mut self, node: &NodeId, deal: &DealId) -> Result<(), String> {
        let unknown = || format!("node {node} has no shard of deal {deal} in its table");
        let table = self.nodes.get_mut(node).ok_or_else(unknown)?;
        let place = table.slots.iter().position(|slot| slot.deal == *deal);
        let place = place.ok_or_else(unknown)?;
        table.slots.swap_remove(place);
        table.change(2, u32::try_from(place).map_err(|_| unknown())?, &[]);
        Ok(())
    }
}

impl Table {
    fn change(&mut self, kind: u8, position: u32, slot: &[u8]) {
        let bytes = [&self.chain[..], &[kind], &position.to_le_bytes(), slot].concat();
        self.chain = blake3::derive_key("symbolon 2026 slot table v1", &bytes);
    }

    fn picks(&self, chain: &ChainId, epoch: u64, layer: &Hash, node: &NodeId) -> Vec<Pick> {
        if self.slots.is_empty() {
            return Vec::new();
        }
        let asked = [&chain.0[..], &epoch.to_le_bytes(), &layer.0, &node.0, &self.chain].concat();
        let mut dice = Dice::new(&blake3::derive_key("symbolon 2026 challenge seed v1", &asked));
        let held: u64 = self.slots.iter().map(|slot| slot.length).sum();
        let (by_bytes, by_shard) = match held / GIB {
            0..64 => (8, 2),
            64..1_024 => (16, 4),
            _ => (32, 8),
        };
        let most = self.slots.iter().map(|slot| slot.length).max().unwrap_or(0);
        let longest = most.max(LEAF).next_power_of_two();
        let mut picks = Vec::new();
        for _ in 0..by_bytes {
            let slot = self.weighed(&mut dice, longest);
            picks.push(Pick { slot, leaf: self.leaf(&mut dice, slot) });
        }
        for _ in 0..by_shard {
            let slot = dice.below_len(self.slots.len());
            picks.push(Pick { slot, leaf: self.leaf(&mut dice, slot) });
        }
        picks
    }

    /// A slot, each as likely as its bytes are many.
    fn weighed(&self, dice: &mut Dice, longest: u64) -> usize {
        let mut best: Option<usize> = None;
        for _ in 0..256 {
            let slot = dice.below_len(self.slots.len());
            if dice.below(longest) < self.slots[slot].length {
                return slot;
            }
            let longer = |best: usize| self.slots[best].length < self.slots[slot].length;
            if best.is_none_or(longer) {
                best = Some(slot);
            }
        }
        best.unwrap_or(0)
    }

    fn leaf(&self, dice: &mut Dice, slot: usize) -> u64 {
        dice.below(self.slots[slot].length.div_ceil(LEAF))
    }
}

/// Numbers from a seed.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 challenge picks v1");
        Self(hasher.update(seed).finalize_xof())
    }

    fn below(&mut self, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        // 2^64 modulo n.
        let rest = (u64::MAX % n + 1) % n;
        let mut number = 0;
        for _ in 0..64 {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            number = u64::from_le_bytes(bytes);
            if rest == 0 || number < 0_u64.wrapping_sub(rest) {
                break;
            }
        }
        number % n
    }

    fn below_len(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }
}

/// Whether bytes are a leaf of the shard with this root and length.
fn opens(root: &Hash, length: u64, leaf: u64, proof: &LeafProof) -> bool {
    let count = length.div_ceil(LEAF);
    let bytes = (length - leaf * LEAF).min(LEAF);
    if count <= leaf || proof.leaf.len() as u64 != bytes {
        return false;
    }
    if count == 1 {
        return proof.path.is_empty() && *blake3::hash(&proof.leaf).as_bytes() == root.0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(leaf * LEAF).update(&proof.leaf);
    let (mut node, mut place, mut width) = (hasher.finalize_non_root(), leaf, count);
    let mut path = proof.path.iter();
    while width > 1 {
        let is_last = width == 2;
        let sides = if place % 2 == 1 {
            path.next().map(|left| (left.0, node))
        } else if place + 1 < width {
            path.next().map(|right| (node, right.0))
        } else {
            // It moves up as it is.
            (place, width) = (place / 2, width.div_ceil(2));
            continue;
        };
        let Some((left, right)) = sides else { return false };
        if is_last {
            let found = merge_subtrees_root(&left, &right, Mode::Hash);
            return path.next().is_none() && *found.as_bytes() == root.0;
        }
        node = merge_subtrees_non_root(&left, &right, Mode::Hash);
        (place, width) = (place / 2, width.div_ceil(2));
    }
    false
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::proof::{ShardHasher, group_range, leaf_proof};

    use super::*;

    fn proof(bytes: &[u8], leaf: u64) -> LeafProof {
        let mut hasher = ShardHasher::new();
        hasher.update(bytes);
        let (_, outboard) = hasher.finish();
        let length = bytes.len() as u64;
        let group = group_range(length, leaf).unwrap();
        let group =
            &bytes[usize::try_from(group.start).unwrap()..usize::try_from(group.end).unwrap()];
        leaf_proof(&outboard, length, leaf, group).unwrap()
    }

    #[test]
    fn only_the_right_leaf_at_its_place_opens_a_shard() {
        for length in [1_u64, 1_024, 1_025, 3_072, 16_385, 100_000] {
            let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let root = Hash(*blake3::hash(&bytes).as_bytes());
            let count = length.div_ceil(LEAF);
            for leaf in 0..count {
                let proof = proof(&bytes, leaf);
                assert!(opens(&root, length, leaf, &proof), "leaf {leaf} of {length} bytes");
                assert!(!opens(&root, length, (leaf + 1) % count, &proof) || count == 1);
                let mut other = proof.clone();
                other.leaf[0] ^= 1;
                assert!(!opens(&root, length, leaf, &other));
                let mut longer = proof.clone();
                longer.path.push(root);
                assert!(!opens(&root, length, leaf, &longer));
                if let Some(last) = proof.path.len().checked_sub(1) {
                    let mut shorter = proof;
                    shorter.path.truncate(last);
                    assert!(!opens(&root, length, leaf, &shorter));
                }
            }
        }
    }
}
