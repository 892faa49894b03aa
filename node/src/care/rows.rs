//! What a caretaker reads from the rows of a deal: whether it may claim, which shards, and who may take them.

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Amount,
    id::DealId,
    ledger::{
        REWARDS_MAX,
        rows::{Care, Cares, Deal, Deals, HoldKey, Holds, Repair, Repairs},
        slot_rate,
    },
    limits::CELL_BYTES,
};
use symbolon_transfer::{Network, TransferError, place::OtherNodes};

use crate::{
    pace::BOUNDED_BYTES,
    settings::{Rate, Settings},
    shared::Shared,
};

/// The rows of a deal that has caretakers.
pub(super) struct Rows {
    pub(super) id: DealId,
    pub(super) deal: Deal,
    pub(super) care: Care,
    pub(super) repair: Option<Repair>,
}

pub(super) async fn read(shared: &Shared, id: DealId) -> Result<Option<Rows>, LedgerError> {
    let (deal, care) = shared.ledger.pair((Deals, &id), (Cares, &id)).await?;
    let repair = shared.ledger.row(Repairs, &id).await?;
    Ok(deal.zip(care).map(|(deal, care)| Rows { id, deal, care, repair }))
}

/// What a deal's hold has.
pub(super) async fn held(shared: &Shared, id: DealId) -> Result<Amount, LedgerError> {
    let hold = shared.ledger.row(Holds, &HoldKey::Deal { deal: id }).await?;
    Ok(hold.map_or(Amount::ZERO, |hold| hold.amount))
}

impl Rows {
    /// Whether this node may claim now, as far as the rows say. The ledger decides.
    pub(super) fn is_free(&self, shared: &Shared) -> bool {
        let (me, epoch) = (shared.key.id(), shared.view.epoch());
        let rests = u64::from(shared.params().claim_epochs);
        let claim = self.repair.as_ref().and_then(|repair| repair.claim.as_ref());
        let is_taken = claim.is_some_and(|claim| {
            claim.runs(epoch) || claim.claimant == me && epoch < claim.until.saturating_add(rests)
        });
        self.deal.kept_by(&me).is_none() && !is_taken && epoch.saturating_add(1) < self.deal.end
    }

    /// The nodes that may take a lost shard.
    pub(super) async fn others(
        &self,
        shared: &Shared,
        network: &Network,
    ) -> Result<OtherNodes, TransferError> {
        let mut candidates = network.candidates(&self.id.0).await?;
        let me = shared.key.id();
        candidates.retain(|node| node.price <= self.care.price_max && node.address.id != me);
        network.other_nodes(self.id, &self.deal, &candidates).await
    }

    /// Leaves the nodes that ask no more than there is for each of so many shards.
    pub(super) fn afford(
        &self,
        shared: &Shared,
        (held, shards): (Amount, usize),
        others: &mut OtherNodes,
    ) {
        let epochs = self.deal.end.saturating_sub(shared.view.epoch().saturating_add(1));
        let each = held.fraction(1, (shards as u64).max(1));
        others.retain(|node| {
            let pay =
                slot_rate(node.price, self.deal.length).and_then(|rate| rate.checked_mul(epochs));
            pay.is_some_and(|pay| Some(pay) <= each)
        });
    }

    /// As many lost shards as there are nodes and money for, whichever of these nodes are drawn.
    pub(super) fn affordable(&self, shared: &Shared, held: Amount, others: &OtherNodes) -> Vec<u8> {
        let waiting = self.repair.as_ref().map_or(0, |repair| repair.rewards.len());
        let most = REWARDS_MAX.saturating_sub(waiting);
        let mut lost: Vec<u8> = self.deal.lost().map(|(index, _)| index).take(most).collect();
        while !lost.is_empty() {
            let shards = lost.len();
            let fees = self.care.fee.checked_mul(shards as u64);
            let left = fees.filter(|_| self.is_quick_enough(shared, shards));
            if let Some(left) = left.and_then(|fees| held.checked_sub(fees)) {
                let mut others = others.clone();
                self.afford(shared, (left, shards), &mut others);
                if shards <= others.left() {
                    break;
                }
            }
            lost.pop();
        }
        lost
    }

    /// As many kept shards as are required, of nodes that answer, at random.
    pub(super) async fn readable(
        &self,
        shared: &Shared,
        network: &Network,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        let kept = network.deal_nodes(&self.deal).await?;
        let addresses = kept.iter().map(|(_, address, _)| address.clone()).collect();
        let answering = network.all_answering(addresses).await;
        let mut read: Vec<u8> = kept
            .into_iter()
            .filter(|(_, address, _)| answering.contains(&address.id))
            .map(|(index, ..)| index)
            .collect();
        let seed: [u8; 32] = shared.host.random();
        read.sort_by_cached_key(|index| *blake3::keyed_hash(&seed, &[*index]).as_bytes());
        let required = usize::from(self.deal.required);
        read.truncate(required);
        read.sort_unstable();
        Ok((read.len() == required).then_some(read))
    }

    /// Whether the operator's limits leave time to rebuild so many shards: they are done in half of the claim's time, and no
    /// new node waits for the next bytes until it gives up.
    fn is_quick_enough(&self, shared: &Shared, shards: usize) -> bool {
        let Settings { send, receive, .. } = shared.settings();
        let claim_ms =
            shared.params().epoch_ms.0.saturating_mul(shared.params().claim_epochs.into());
        let (read, sent) = (u64::from(self.deal.required), shards as u64);
        let length = self.deal.length;
        [(receive, read, CELL_BYTES as u64), (send, sent, BOUNDED_BYTES as u64)]
            .into_iter()
            .all(|bound| is_quick_enough(bound, length, claim_ms))
    }
}

/// Whether so many shards of a length move at a rate in half of a claim's time, and the next part of all of them in a moment.
fn is_quick_enough((rate, shards, part): (Rate, u64, u64), length: u64, claim_ms: u64) -> bool {
    let Some(rate) = rate else { return true };
    let takes_ms = |bytes: u64| bytes.saturating_mul(shards).saturating_mul(1_000) / rate.max(1);
    takes_ms(length) <= claim_ms / 2 && takes_ms(length.min(part)) <= SILENT_MS
}

/// The longest time without bytes for a new node, in milliseconds: it gives up on uploads that are slower than 16 KiB in 10
/// seconds.
const SILENT_MS: u64 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_leaves_time_or_the_claim_is_left_to_others() {
        let (mib, minute) = (1 << 20, 60_000);
        let quick = |rate, shards, claim_ms| {
            is_quick_enough((rate, shards, CELL_BYTES as u64), 64 * mib, claim_ms)
        };
        assert!(quick(None, 100, 1), "without a bound");
        // Twenty shards of 64 MiB at 1 MiB/s take more than 21 minutes.
        assert!(quick(Some(mib), 20, 43 * minute));
        assert!(!quick(Some(mib), 20, 42 * minute));
        // At 128 KiB/s, cells of twenty shards come every ten seconds: too late for the new nodes.
        assert!(!quick(Some(mib / 8), 20, u64::MAX));
        assert!(quick(Some(mib / 8), 16, u64::MAX), "every eight seconds");
        assert!(
            is_quick_enough((Some(mib / 8), 20, CELL_BYTES as u64), 4096, minute),
            "a small shard"
        );
    }
}
