//! The nodes that take over shards of a deal: drawn beside those that keep the others.
//!
//! Each round is a draw of its own. So a node that did not take its shard gives its place to one that stands as far apart
//! from the rest.

use std::collections::BTreeSet;

use symbolon_protocol::{
    id::{DealId, NodeId},
    ledger::rows::Deal,
};

use super::{Candidate, draw_beside};

/// The nodes that may take over shards of a deal, and which of them did.
#[derive(Clone, Debug)]
pub struct OtherNodes {
    deal: DealId,
    length: u64,
    /// Those that keep shards of the deal.
    keepers: Vec<Candidate>,
    /// Those that have lost one, and come last.
    losers: BTreeSet<NodeId>,
    left: Vec<Candidate>,
    asked: Vec<Candidate>,
}

impl OtherNodes {
    /// All candidates that keep no shard of the deal. `keepers` are those that keep one and go on keeping it.
    #[must_use]
    pub fn new(
        deal: DealId,
        row: &Deal,
        keepers: Vec<Candidate>,
        candidates: &[Candidate],
    ) -> Self {
        let fits =
            |node: &&Candidate| row.length <= node.free && row.kept_by(&node.address.id).is_none();
        Self {
            deal,
            length: row.length,
            keepers,
            losers: row.lost().map(|(_, shard)| shard.node).collect(),
            left: candidates.iter().filter(fits).cloned().collect(),
            asked: Vec::new(),
        }
    }

    /// How many nodes were not asked yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Leaves those that were not asked yet and fit.
    pub fn retain(&mut self, fits: impl Fn(&Candidate) -> bool) {
        self.left.retain(fits);
    }

    /// The next nodes to ask, for one shard each. None of them comes again.
    pub fn next(&mut self, needed: usize) -> Vec<Candidate> {
        let (again, fresh): (Vec<_>, Vec<_>) =
            self.left.iter().cloned().partition(|node| self.losers.contains(&node.address.id));
        let mut drawn = Vec::new();
        for candidates in [fresh, again] {
            let beside = [&*self.keepers, &*drawn].concat();
            let wanted = (needed - drawn.len(), self.length);
            let more = draw_beside(&beside, &candidates, &self.deal.0, wanted);
            drawn.extend(more.into_iter().take(wanted.0));
        }
        self.left.retain(|node| drawn.iter().all(|taken| taken.address.id != node.address.id));
        self.asked.extend(drawn.iter().cloned());
        drawn
    }

    /// Notes that a node that was asked took its shard.
    pub fn took(&mut self, node: &NodeId) {
        self.keepers.extend(self.asked.iter().find(|asked| asked.address.id == *node).cloned());
    }
}

#[cfg(test)]
mod tests {
    use symbolon_net::PeerAddress;
    use symbolon_protocol::{
        Amount,
        id::{AccountId, Hash, ObjectId, PeerId},
        ledger::rows::{Access, DealSlot, DealState},
    };

    use super::*;
    use crate::{durability::Record, met::Experience};

    const LENGTH: u64 = 4096;

    /// A node on a machine of its own, of an operator.
    fn node(number: u8, operator: u8) -> Candidate {
        Candidate {
            address: PeerAddress {
                id: PeerId([number; 32]),
                addresses: vec![format!("10.0.{number}.1:4000")],
            },
            price: Amount(100),
            free: 1 << 30,
            record: Record { passed: 100, missed: 0, missed_in_row: 0, dead: false },
            operator: AccountId([operator; 32]),
            clean: 100,
            proven: 1 << 40,
            experience: Experience::Good,
        }
    }

    /// A deal of which these nodes keep shards and those have lost theirs.
    fn deal(kept: &[u8], lost: &[u8]) -> Deal {
        let slot = |number: &u8, lost| {
            let root = Hash([0; 32]);
            let (node, price) = (PeerId([*number; 32]), Amount(100));
            Some(DealSlot { node, root, price, from: 1, until: 100, lost })
        };
        let shards = kept.iter().map(|number| slot(number, None));
        let shards = shards.chain(lost.iter().map(|number| slot(number, Some(2)))).collect();
        Deal {
            rate: Amount::ZERO,
            owner: AccountId([1; 32]),
            object: ObjectId([2; 16]),
            segment: 0,
            required: 1,
            length: LENGTH,
            access: Access::Granted,
            start: 1,
            end: 100,
            state: DealState::Open,
            shards,
        }
    }

    fn others(
        seed: u8,
        keepers: &[Candidate],
        candidates: &[Candidate],
        lost: &[u8],
    ) -> OtherNodes {
        let kept: Vec<u8> = keepers.iter().map(|node| node.address.id.0[0]).collect();
        let row = deal(&kept, lost);
        OtherNodes::new(DealId([seed; 16]), &row, keepers.to_vec(), candidates)
    }

    fn numbers(nodes: &[Candidate]) -> Vec<u8> {
        nodes.iter().map(|node| node.address.id.0[0]).collect()
    }

    #[test]
    fn who_keeps_a_shard_already_counts() {
        let keepers = [node(1, 1), node(2, 2)];
        // Two names of the first operator, one on the machine of the second, and one apart from all.
        let mut near = node(12, 12);
        near.address.addresses = vec![String::from("10.0.2.99:4000")];
        let candidates = [node(10, 1), node(11, 1), near, node(13, 13)];
        for seed in 0..20 {
            let mut others = others(seed, &keepers, &candidates, &[]);
            assert_eq!(numbers(&others.next(1)), [13], "the one that is apart");
            assert_eq!(numbers(&others.next(1)), [12], "another operator is further apart");
            assert_eq!((others.next(5).len(), others.left()), (2, 0), "too few: all are taken");
        }
    }

    #[test]
    fn who_took_a_shard_counts_and_who_did_not_gives_its_place() {
        let candidates = [node(10, 5), node(11, 5), node(12, 6)];
        for seed in 0..20 {
            let mut others = others(seed, &[node(1, 1)], &candidates, &[]);
            let first = others.next(1).remove(0);
            let operator = first.operator;
            let mut refused = others.clone();
            others.took(&first.address.id);
            assert_ne!(others.next(1)[0].operator, operator, "it has one already");
            let names = candidates.iter().filter(|node| node.operator == operator).count();
            let again = refused.next(2).iter().filter(|node| node.operator == operator).count();
            assert_eq!(again, names - 1, "a node that took nothing takes no place");
        }
    }

    #[test]
    fn a_low_price_gets_no_more_repairs_and_losers_come_last() {
        let keepers = [node(1, 1), node(2, 2), node(3, 3)];
        let mut cheap = node(10, 10);
        cheap.price = Amount(50);
        let candidates = [cheap, node(11, 11), node(12, 12), node(13, 13)];
        let first = |seed| others(seed, &keepers, &candidates, &[13]).next(1)[0].address.id.0[0];
        let drawn: BTreeSet<u8> = (0..60).map(first).collect();
        assert_eq!(
            drawn,
            BTreeSet::from([10, 11, 12]),
            "the price that the deal's nodes ask is acceptable"
        );
        let mut all = others(0, &keepers, &candidates, &[13]);
        assert_eq!(numbers(&all.next(4))[3], 13, "who lost one is asked when there is no other");
    }
}
