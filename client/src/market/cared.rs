//! What care stored objects have, what was repaired lately, and how care is taken back.
//!
//! All of it is from rows of the ledger. A row says since when a node keeps a shard, and whether a caretaker is still to be
//! paid for it. Who kept it before is in blocks only, which a ledger keeps for a while: see `Library::shard_events`.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Amount, Millis,
    id::{DealId, NodeId, ObjectId, TransactionId, VaultId},
    ledger::{
        CARED_DEALS_MAX,
        rows::{Cares, DealState, Deals, Repairs},
        transaction::{Action, CaredDeal},
    },
};

use crate::{
    error::ClientError,
    library::{
        budget::Budget,
        segments::{Segment, Stored},
    },
    market::Market,
};

/// What has happened within this time has happened lately.
pub const LATELY: Millis = Millis::DAY.saturating_mul(7);

/// The care that a stored object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CareView {
    /// The object. Small files share one.
    pub object: ObjectId,
    /// Whether it may have caretakers: care of it was not taken back on this machine.
    pub wanted: bool,
    /// Segments whose deals run.
    pub segments: u64,
    /// Segments that have caretakers.
    pub cared: u64,
    /// All of these.
    pub caretakers: BTreeSet<NodeId>,
    /// Shards that no node keeps.
    pub lost: u64,
    /// Lost shards that a caretaker rebuilds now: it has a claim on the ledger.
    pub claimed: u64,
    /// Shards that another node keeps since lately: they were repaired, or handed on.
    pub moved: u64,
    /// Those of them for which a caretaker is still to be paid.
    pub rebuilt: u64,
}

impl CareView {
    fn new(object: ObjectId, wanted: bool) -> Self {
        Self {
            object,
            wanted,
            segments: 0,
            cared: 0,
            caretakers: BTreeSet::new(),
            lost: 0,
            claimed: 0,
            moved: 0,
            rebuilt: 0,
        }
    }

    /// Whether every running segment has caretakers.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.cared == self.segments
    }
}

/// The care of all objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CareSums {
    /// Objects with a running deal.
    pub objects: u64,
    /// Those whose segments all have caretakers.
    pub cared: u64,
    /// Those of the others for which care was taken back on this machine.
    pub unwanted: u64,
    /// Shards that no node keeps.
    pub lost: u64,
    /// Lost shards that a caretaker rebuilds now.
    pub claimed: u64,
    /// Shards that another node keeps since lately.
    pub moved: u64,
    /// Whether these are all objects. Of very many, only the first ones are looked at.
    pub is_all: bool,
}

/// What taking care back did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UncareReport {
    /// Segments that had caretakers, and have none now.
    pub segments: u64,
    /// What was paid. Deposits that came back are not subtracted.
    pub cost: Amount,
}

impl Market {
    /// The care of these objects. Objects without a running deal are left out.
    pub async fn cared(&self, which: Stored) -> Result<Vec<CareView>, ClientError> {
        let segments = self.stored_segments(which).await?;
        self.views(segments).await
    }

    /// The care of everything that is stored, as sums.
    pub async fn care_sums(&self) -> Result<CareSums, ClientError> {
        let mut segments = self.stored_segments(Stored::All).await?;
        let is_all = segments.len() <= LOOKED_MAX;
        segments.truncate(LOOKED_MAX);
        let mut sums = CareSums { is_all, ..CareSums::default() };
        for view in self.views(segments).await? {
            sums.objects += 1;
            sums.cared += u64::from(view.is_whole());
            sums.unwanted += u64::from(!view.wanted && !view.is_whole());
            sums.lost += view.lost;
            sums.claimed += view.claimed;
            sums.moved += view.moved;
        }
        Ok(sums)
    }

    async fn views(&self, segments: Vec<Segment>) -> Result<Vec<CareView>, ClientError> {
        let refused = self.uncared().await?;
        let chain = self.network().recent_chain().await?;
        let epoch = chain.epoch;
        let since = epoch.saturating_sub(LATELY.steps_of(chain.params.epoch_ms));
        let ids: Vec<DealId> = segments.iter().map(|segment| segment.deal).collect();
        let (deals, cares, repairs) = tokio::try_join!(
            self.network().rows_of(Deals, &ids),
            self.network().rows_of(Cares, &ids),
            self.network().rows_of(Repairs, &ids),
        )?;
        let mut views: BTreeMap<ObjectId, CareView> = BTreeMap::new();
        let rows = deals.into_iter().zip(cares).zip(repairs);
        for (segment, ((deal, care), repair)) in segments.into_iter().zip(rows) {
            let Some(deal) = deal.filter(|deal| deal.state == DealState::Open) else { continue };
            let object = segment.object;
            let wanted = !refused.contains(&object);
            let view = views.entry(object).or_insert_with(|| CareView::new(object, wanted));
            view.segments += 1;
            if let Some(care) = care {
                view.cared += 1;
                view.caretakers.extend(care.caretakers);
            }
            view.lost += deal.lost().count() as u64;
            let moved = deal.kept().filter(|(_, shard)| deal.start.max(since) < shard.from);
            view.moved += moved.count() as u64;
            if let Some(repair) = repair {
                let claimed = repair.running(epoch).map_or(0, |claim| claim.rebuild.len());
                view.claimed += claimed as u64;
                let standing = repair.rewards.iter().filter(|reward| reward.stands(&deal));
                view.rebuilt += standing.count() as u64;
            }
        }
        Ok(views.into_values().collect())
    }

    /// Takes back the care of these objects. Notes on this machine that they are to have none.
    pub async fn uncare(
        &self,
        which: Stored,
        cost_max: Option<Amount>,
    ) -> Result<UncareReport, ClientError> {
        self.allow_care(&which, false).await?;
        let segments = self.stored_segments(which).await?;
        let ids: Vec<DealId> = segments.iter().map(|segment| segment.deal).collect();
        let (deals, cares) = tokio::try_join!(
            self.network().rows_of(Deals, &ids),
            self.network().rows_of(Cares, &ids),
        )?;
        let epoch = self.network().recent_chain().await?.epoch;
        let mut cared: BTreeMap<VaultId, Vec<CaredDeal>> = BTreeMap::new();
        for ((segment, deal), care) in segments.into_iter().zip(deals).zip(cares) {
            let Some((deal, care)) = deal.zip(care) else { continue };
            // The care of a deal that is over leaves with its row.
            if deal.state == DealState::Open && epoch < deal.end {
                let opening = segment.key.deal_opening(segment.segment);
                let deals = cared.entry(care.vault).or_default();
                deals.push(CaredDeal { opening, pads: Vec::new() });
            }
        }
        let (budget, mut report) = (Budget::of(cost_max), UncareReport::default());
        for (vault, deals) in cared {
            for part in deals.chunks(CARED_DEALS_MAX) {
                let action = Action::SetCare {
                    vault,
                    caretakers: Vec::new(),
                    spare: 0,
                    fee: Amount::ZERO,
                    price_max: Amount::ZERO,
                    deals: part.to_vec(),
                };
                let id = TransactionId(self.network().host().random());
                self.send_within(&budget, id, action).await?;
                report.segments += part.len() as u64;
            }
        }
        report.cost = budget.paid();
        Ok(report)
    }
}

/// Segments that are looked at for sums. A library may have a million.
const LOOKED_MAX: usize = 4_096;
