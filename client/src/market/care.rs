//! Caretakers for what is stored: nodes that rebuild lost shards while no program of the owner runs.
//!
//! The keys of the shards' masks are sealed to the vault, so the caretakers of a deal get them from its custodians, and
//! only for a claim on the ledger. This needs the vault, so it belongs to the market.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Amount,
    content::Scheme,
    custody,
    id::{DealId, NodeId, ObjectId, TransactionId, VaultId},
    ledger::{
        CARED_DEALS_MAX, CARED_SHARDS_MAX, CARETAKERS_MAX,
        rows::{Care, Cares, Deal, DealState, Deals, HoldKey, Holds},
        transaction::{Action, CaredDeal},
    },
};

use super::vault::Custodians;
use crate::{
    NodeView,
    error::ClientError,
    library::{
        budget::Budget,
        segments::{Segment, Stored},
    },
    market::Market,
    progress::Progress,
};

/// What one look at the care of stored objects found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CareReport {
    /// Segments that have caretakers.
    pub cared: u64,
    /// Segments that have them since this look.
    pub new: u64,
    /// Segments that have none: the ledger has no node that offers to repair and keeps none of their shards.
    pub without: u64,
    /// What was paid, deposits included.
    pub cost: Amount,
}

/// What needs caretakers, by its object, and the nodes that offer to be some.
struct Needy {
    segments: BTreeMap<ObjectId, Vec<Uncared>>,
    offering: Vec<NodeView>,
}

/// A segment without caretakers.
struct Uncared {
    segment: Segment,
    deal: Deal,
    reserve: Amount,
}

impl Market {
    /// Names caretakers for the running segments that have none, or none that is still there. Objects for which care was
    /// taken back are left out. `cost_max` limits what is paid.
    pub async fn care(
        &self,
        which: Stored,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<CareReport, ClientError> {
        let (mut report, needy) = self.needy(which).await?;
        let budget = Budget::of(cost_max);
        self.name_all(needy, &mut report, &budget, progress).await?;
        Ok(report)
    }

    /// The same for everything that is stored, within what was agreed for thirty days: see [`Library::agree`].
    ///
    /// [`Library::agree`]: crate::Library::agree
    pub async fn care_agreed(
        &self,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<CareReport, ClientError> {
        let (mut report, needy) = self.needy(Stored::All).await?;
        if needy.segments.is_empty() {
            return Ok(report);
        }
        let at_ms = self.clock().await?.now_ms;
        let taken = self.take_left(at_ms, cost_max).await?;
        let budget = Budget::of(Some(taken));
        let named = self.name_all(needy, &mut report, &budget, progress).await;
        if Amount::ZERO < taken {
            self.settle_spending(at_ms, (taken, budget.paid())).await?;
        }
        named.map(|()| report)
    }

    /// The segments that need caretakers, and a report about all others.
    async fn needy(&self, which: Stored) -> Result<(CareReport, Needy), ClientError> {
        let mut report = CareReport::default();
        let refused = self.uncared().await?;
        let mut segments = self.stored_segments(which).await?;
        segments.retain(|segment| !refused.contains(&segment.object));
        let ids: Vec<DealId> = segments.iter().map(|segment| segment.deal).collect();
        let (deals, cares) = tokio::try_join!(
            self.network().rows_of(Deals, &ids),
            self.network().rows_of(Cares, &ids),
        )?;
        let offering = self.offering(&deals).await?;
        let mut needy: BTreeMap<ObjectId, Vec<Uncared>> = BTreeMap::new();
        for ((segment, deal), care) in segments.into_iter().zip(deals).zip(cares) {
            let Some(deal) = deal.filter(|deal| deal.state == DealState::Open) else { continue };
            if care.is_some_and(|care| has_one(&care, &deal, &offering)) {
                report.cared += 1;
            } else if offering.iter().all(|node| deal.kept_by(&node.id).is_some()) {
                report.without += 1;
            } else {
                let hold = HoldKey::Deal { deal: segment.deal };
                let reserve = self.ledger().row(Holds, &hold).await?;
                let reserve = reserve.map_or(Amount::ZERO, |hold| hold.amount);
                needy.entry(segment.object).or_default().push(Uncared { segment, deal, reserve });
            }
        }
        Ok((report, Needy { segments: needy, offering }))
    }

    async fn name_all(
        &self,
        needy: Needy,
        report: &mut CareReport,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        if needy.segments.is_empty() {
            return Ok(());
        }
        let (vault, _) = Box::pin(self.vault(&Custodians::default(), budget, progress)).await?;
        progress.note("naming caretakers");
        for segments in needy.segments.into_values() {
            for part in parts(&segments) {
                self.set_care(vault, part, &needy.offering, budget).await?;
                report.new += part.len() as u64;
                report.cared += part.len() as u64;
            }
        }
        report.cost = budget.paid();
        Ok(())
    }

    /// The nodes that offer to repair and answer now. Without a deal that runs, none is looked for.
    async fn offering(&self, deals: &[Option<Deal>]) -> Result<Vec<NodeView>, ClientError> {
        if !deals.iter().flatten().any(|deal| deal.state == DealState::Open) {
            return Ok(Vec::new());
        }
        let offers = |node: &NodeView| node.row.caretaker && !node.row.dead;
        Ok(self.network().find_some_nodes(offers).await?)
    }

    async fn set_care(
        &self,
        vault: VaultId,
        segments: &[Uncared],
        offering: &[NodeView],
        budget: &Budget,
    ) -> Result<(), ClientError> {
        let chain = self.ledger().chain();
        let secret = self.identity().vault_secret(&chain, &vault);
        let me = self.me();
        let sealed = |of: &Uncared| {
            let Segment { deal, segment, key, .. } = &of.segment;
            let pad = |index: u8| {
                let point = custody::care_point(&chain, &me, deal, index);
                let care_key = secret.care_key(&point)?;
                Ok(custody::pad(&key.shard_mask_key(*segment, index), &care_key))
            };
            let pads = (0..total(&of.deal)).map(pad).collect::<Result<Vec<_>, _>>();
            let pads = pads
                .map_err(|error: custody::CustodyError| ClientError::Internal(error.to_string()))?;
            Ok(CaredDeal { opening: key.deal_opening(*segment), pads })
        };
        let deals = segments.iter().map(sealed).collect::<Result<Vec<_>, ClientError>>()?;
        let required = |of: &Uncared| (of.deal.required, total(&of.deal));
        let spare = segments.iter().map(required).map(|(required, total)| {
            Scheme { required, total }.repair_at().saturating_sub(required)
        });
        let action = Action::SetCare {
            vault,
            caretakers: choose(segments, offering),
            spare: spare.min().unwrap_or(0),
            fee: segments.iter().map(fee).min().unwrap_or(Amount::ZERO),
            price_max: segments.iter().map(price_max).max().unwrap_or(Amount::ZERO),
            deals,
        };
        // An id that follows from the action would be the one of the time before, if the care was taken back meanwhile.
        let id = TransactionId(self.network().host().random());
        self.send_within(budget, id, action).await
    }
}

/// Whether one of the caretakers may still claim.
fn has_one(care: &Care, deal: &Deal, offering: &[NodeView]) -> bool {
    // Those that do not answer now may answer when they are needed: they count as long as they keep no shard.
    let keeps = |node: &NodeId| deal.kept_by(node).is_some();
    let answers = |node: &NodeId| offering.iter().any(|offering| offering.id == *node);
    care.caretakers.iter().any(|node| !keeps(node) && answers(node))
}

fn total(deal: &Deal) -> u8 {
    u8::try_from(deal.shards.len()).expect("a deal has at most 128 shards")
}

/// Cuts an object's segments into as many as one transaction may name.
fn parts(segments: &[Uncared]) -> impl Iterator<Item = &[Uncared]> {
    let shards = segments.iter().map(|of| of.deal.shards.len()).max().unwrap_or(1).max(1);
    segments.chunks(CARED_DEALS_MAX.min(CARED_SHARDS_MAX / shards).max(1))
}

/// Up to eight nodes. Those that keep the fewest of the segments' shards come first: a caretaker keeps none.
fn choose(segments: &[Uncared], offering: &[NodeView]) -> Vec<NodeId> {
    let deals: BTreeSet<DealId> = segments.iter().map(|of| of.segment.deal).collect();
    let salt = deals.first().map_or([0; 16], |deal| deal.0);
    let mut nodes: Vec<NodeId> = offering.iter().map(|node| node.id).collect();
    nodes.sort_by_cached_key(|node| {
        let kept = segments.iter().filter(|of| of.deal.kept_by(node).is_some()).count();
        (kept, *blake3::Hasher::new().update(&salt).update(&node.0).finalize().as_bytes())
    });
    nodes.truncate(CARETAKERS_MAX);
    nodes
}

/// Half of what the reserve has for each shard. The other half pays a new node that asks more than the one before.
fn fee(of: &Uncared) -> Amount {
    of.reserve.fraction(1, 2 * u64::from(total(&of.deal)).max(1)).unwrap_or(Amount::ZERO)
}

/// Twice what the dearest node of the segment asks.
fn price_max(of: &Uncared) -> Amount {
    let prices = of.deal.shards.iter().flatten().map(|shard| shard.price);
    let dearest = prices.max().unwrap_or(Amount::ZERO);
    dearest.checked_mul(2).unwrap_or(dearest)
}
