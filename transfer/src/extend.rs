//! Makes the terms of deals longer, many deals in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Amount, Encode,
    id::{DealId, NodeId},
    ledger::{
        EXTENDED_DEALS_MAX, EXTENDED_SHARDS_MAX, Params, extension_cost, fee,
        rows::{Deal, DealSlot, Node, Nodes},
        transaction::Action,
    },
};

use crate::{
    Network,
    deal::runs,
    error::TransferError,
    owner::{Owner, transaction_id},
    upload::Paid,
};

/// More epochs for one deal.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The deal.
    pub deal: DealId,
    /// Its row.
    pub row: Deal,
    /// How many epochs it gets.
    pub epochs: u64,
}

/// The nodes that may agree to keep shards for longer than they said when they took them.
#[derive(Clone, Debug, Default)]
pub struct Agreements(BTreeMap<NodeId, Node>);

impl Agreements {
    /// The epoch until which all nodes of a deal agree to keep their shards at the present prices.
    #[must_use]
    pub fn until(&self, row: &Deal) -> u64 {
        row.kept().map(|(_, shard)| self.of_shard(shard)).min().unwrap_or(u64::MAX)
    }

    /// The shards of a deal whose nodes do not agree to keep them until an epoch.
    #[must_use]
    pub fn short_of(&self, row: &Deal, epoch: u64) -> BTreeSet<u8> {
        let short = row.kept().filter(|(_, shard)| self.of_shard(shard) < epoch);
        short.map(|(index, _)| index).collect()
    }

    /// What a deal needs to run until an epoch, as far as its nodes agree. `None` if it runs so long already, cannot run
    /// longer, or is over.
    #[must_use]
    pub fn extension(&self, deal: DealId, row: &Deal, epoch: u64) -> Option<Extension> {
        let epochs = epoch.min(self.until(row)).checked_sub(row.end).filter(|more| 0 < *more)?;
        runs(row).then(|| Extension { deal, row: row.clone(), epochs })
    }

    fn of_shard(&self, shard: &DealSlot) -> u64 {
        let agrees = self.0.get(&shard.node).map_or(0, |node| node.agrees(shard.price));
        shard.until.max(agrees)
    }
}

/// Deals that one transaction extends.
struct Batch<'a> {
    epochs: u64,
    deals: Vec<&'a Extension>,
}

impl Batch<'_> {
    fn action(&self, cost_max: Amount) -> Action {
        let deals = self.deals.iter().map(|one| one.deal).collect();
        Action::ExtendDeals { deals, epochs: self.epochs, cost_max }
    }

    fn price(&self, params: &Params) -> Result<Amount, TransferError> {
        let fee = fee(params, &self.action(Amount::ZERO));
        let costs = self.deals.iter().map(|one| extension_cost(params, one.row.rate, self.epochs));
        costs
            .map(|cost| cost.map(|cost| cost.total))
            .try_fold(fee, |sum, cost| sum.checked_add(cost?))
            .ok_or(TransferError::PriceTooLarge)
    }

    /// The same extension has the same id, also from another device: it is paid once.
    fn id(&self) -> Vec<u8> {
        let mut about = self.epochs.to_bytes();
        for one in &self.deals {
            one.deal.encode(&mut about);
            one.row.end.encode(&mut about);
        }
        about
    }
}

/// Divides extensions into transactions.
fn batches(extensions: &[Extension]) -> Vec<Batch<'_>> {
    let mut by_epochs: BTreeMap<u64, Vec<&Extension>> = BTreeMap::new();
    for extension in extensions {
        by_epochs.entry(extension.epochs).or_default().push(extension);
    }
    let mut batches = Vec::new();
    for (epochs, deals) in by_epochs {
        let (mut batch, mut shards) = (Vec::new(), 0);
        for extension in deals {
            let more = extension.row.shards.len();
            if batch.len() == EXTENDED_DEALS_MAX || EXTENDED_SHARDS_MAX < shards + more {
                batches.push(Batch { epochs, deals: std::mem::take(&mut batch) });
                shards = 0;
            }
            batch.push(extension);
            shards += more;
        }
        batches.push(Batch { epochs, deals: batch });
    }
    batches
}

/// The price of extensions, including the fees of their transactions.
pub fn extension_price(params: &Params, extensions: &[Extension]) -> Result<Amount, TransferError> {
    let prices = batches(extensions).iter().map(|batch| batch.price(params)).collect::<Vec<_>>();
    prices.into_iter().try_fold(Amount::ZERO, |sum, price| {
        sum.checked_add(price?).ok_or(TransferError::PriceTooLarge)
    })
}

/// The nodes of a deal that did not agree to their prices until an epoch when they took their shards. They may have since.
pub fn asked_anew(row: &Deal, epoch: u64) -> impl Iterator<Item = NodeId> {
    let short = row.kept().filter(move |(_, shard)| shard.until < epoch);
    short.map(|(_, shard)| shard.node)
}

impl Network {
    /// Until when these nodes agree to their prices: those that [`asked_anew`] gives for the deals in question.
    pub async fn agreements(&self, nodes: BTreeSet<NodeId>) -> Result<Agreements, TransferError> {
        let ids: Vec<NodeId> = nodes.into_iter().collect();
        let rows = self.rows_of(Nodes, &ids).await?;
        let known = ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?)));
        Ok(Agreements(known.collect()))
    }

    /// Extends deals and pays for them. What was paid before an error stays paid, and `paid` says how much it was.
    pub async fn extend(
        &self,
        owner: &Owner,
        extensions: &[Extension],
        paid: &Paid,
    ) -> Result<(), TransferError> {
        let params = self.params().await?;
        for batch in batches(extensions) {
            let price = batch.price(&params)?;
            let id = transaction_id("extend deals", &batch.id());
            paid.add(price);
            self.send(&owner.account_key, id, batch.action(price)).await.inspect_err(|error| {
                if error.is_refusal() {
                    paid.take_back(price);
                }
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        id::{AccountId, Hash, ObjectId, PeerId},
        ledger::rows::{Access, DealSlot, DealState},
    };

    use super::*;

    fn deal(shards: usize, end: u64, until: u64) -> Deal {
        let slot = DealSlot {
            node: PeerId([1; 32]),
            root: Hash([2; 32]),
            price: Amount(3),
            from: 1,
            until,
            lost: None,
        };
        Deal {
            owner: AccountId([4; 32]),
            object: ObjectId([5; 16]),
            segment: 0,
            required: 1,
            length: 1024,
            access: Access::Granted,
            start: 1,
            end,
            rate: Amount(10),
            shards: vec![Some(slot); shards],
            state: DealState::Open,
        }
    }

    fn extension(number: u8, shards: usize, end: u64) -> Extension {
        let row = deal(shards, end, u64::MAX);
        Agreements::default().extension(DealId([number; 16]), &row, 100).unwrap()
    }

    #[test]
    fn a_deal_gets_what_it_lacks_and_its_nodes_agree_to() {
        let id = DealId([1; 16]);
        let none = Agreements::default();
        let epochs = |row: &Deal| none.extension(id, row, 100).map(|one| one.epochs);
        assert_eq!(epochs(&deal(3, 40, u64::MAX)), Some(60));
        assert_eq!(epochs(&deal(3, 40, 90)), Some(50));
        assert_eq!(epochs(&deal(3, 40, 40)), None);
        assert_eq!(epochs(&deal(3, 100, u64::MAX)), None);
        let over = Deal { state: DealState::Completed, ..deal(3, 40, u64::MAX) };
        assert_eq!(epochs(&over), None);
        // A lost shard does not count.
        let mut lost = deal(3, 40, 40);
        for shard in lost.shards.iter_mut().flatten().skip(1) {
            shard.until = u64::MAX;
        }
        lost.shards[0].as_mut().unwrap().lost = Some(20);
        assert_eq!(epochs(&lost), Some(60));
    }

    #[test]
    fn transactions_keep_to_the_limits_of_the_ledger() {
        let many: Vec<_> = (0..200).map(|number| extension(number, 20, 40)).collect();
        let other = extension(200, 20, 50);
        let all: Vec<_> = many.into_iter().chain([other]).collect();
        let batches = batches(&all);
        let counts: Vec<_> = batches.iter().map(|batch| batch.deals.len()).collect();
        // Those that need 50 epochs come first; nineteen deals have 380 shards.
        assert_eq!(counts[..2], [1, 19]);
        assert_eq!(counts.iter().sum::<usize>(), 201);
        let small: Vec<_> = (0..100).map(|number| extension(number, 1, 40)).collect();
        let counts: Vec<_> = super::batches(&small).iter().map(|batch| batch.deals.len()).collect();
        assert_eq!(counts, [64, 36]);
        let params = Params::development();
        let price = extension_price(&params, &all).unwrap();
        // 10 an epoch, a fifth in reserve and a fiftieth as fee: of 600, and of 500 once.
        assert_eq!(price, Amount(200 * (600 + 120 + 12) + 500 + 100 + 10));
    }
}
