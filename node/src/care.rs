//! The caretaker's part: it rebuilds lost shards of owners that have named this node, while they are away. See
//! `spec/repair.md`.
//!
//! The node keeps nothing of this on its disk. What it has claimed, placed and is still to be paid stands in the ledger's
//! rows, and the secret of a claim follows from the node's key. So after a crash it goes on from the rows.
//!
//! It finds work in the ledger's list of degraded deals, the most urgent first, page by page. The list has only deals with
//! lost shards, so it is short. An index by caretaker would cost rows in just those blocks in which a node loses everything.

mod keys;
mod rows;

use std::{fmt::Display, sync::Arc};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Amount,
    custody::{self, CustodyError, DeliveryKey},
    id::{DealId, NodeId, TransactionId},
    ledger::{
        Status,
        rows::{Care, Cares, Claim, Deals, Degraded, Nodes, Repair, Repairs, Reward, Table},
        transaction::Action,
    },
};
use symbolon_transfer::{Network, TransferError, repair::Claimed};
use thiserror::Error;
use tracing::{debug, info, warn};

use self::rows::{Rows, held, read};
use crate::{
    lru::Lru,
    shared::{Backoff, Shared, Stopped},
    submit::{SubmitError, submit},
};

/// What a node does as a caretaker, as its last look at the ledger has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caring {
    /// Its claims that run.
    pub claims: Vec<OpenClaim>,
    /// Shards that it has rebuilt and whose new nodes have to prove them first.
    pub waiting: u64,
    /// What it is paid for those then.
    pub owed: Amount,
}

/// A claim that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenClaim {
    /// The deal.
    pub deal: DealId,
    /// Shards that are still to be rebuilt.
    pub shards: u64,
    /// What it is paid for each.
    pub fee: Amount,
    /// The first epoch in which the claim does not run.
    pub until: u64,
}

impl Caring {
    /// Adds what a row of the ledger says of a node in an epoch.
    fn add(&mut self, deal: DealId, repair: &Repair, (me, epoch): (&NodeId, u64)) {
        if let Some(claim) = repair.running(epoch).filter(|claim| claim.claimant == *me) {
            let (shards, fee, until) = (claim.rebuild.len() as u64, claim.fee, claim.until);
            self.claims.push(OpenClaim { deal, shards, fee, until });
        }
        for reward in repair.rewards.iter().filter(|reward| reward.caretaker == *me) {
            self.waiting += 1;
            self.owed = self.owed.checked_add(reward.fee).unwrap_or(self.owed);
        }
    }
}

/// Why a repair does not go on now.
#[derive(Debug, Error)]
enum CareError {
    #[error("the ledger cannot be read: {0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("only {given} of the {needed} custodians needed gave their releases")]
    Custodians { given: usize, needed: usize },
    #[error("the releases do not give the keys: {0}")]
    Custody(#[from] CustodyError),
    #[error("no node took a shard")]
    NoNode,
    #[error("{0}")]
    Submit(#[from] SubmitError),
    #[error("the ledger refused {what}: {status}")]
    Refused { what: &'static str, status: Status },
}

/// Looks for work until the node stops: at intervals, and when a block says that a shard was lost.
pub(crate) async fn repair_for_owners(shared: &Shared) {
    let (ledger, endpoint) = (shared.ledger.clone(), shared.endpoint.clone());
    let pace = Arc::new(shared.bandwidth());
    let network = Network::paced(ledger, endpoint, shared.host.clone(), pace);
    let every_ms = (shared.params().epoch_ms.0 / LOOKS_PER_EPOCH).clamp(MIN_LOOK_MS, MAX_LOOK_MS);
    let mut avoided = Avoided { deals: Lru::new(AVOIDED_MAX) };
    loop {
        let waited = tokio::select! {
            biased;
            slept = shared.sleep_ms(every_ms / 2 + random_below(shared, every_ms)) => slept,
            () = shared.view.shards_lost.notified() => {
                shared.sleep_ms(random_below(shared, every_ms)).await
            }
        };
        if waited == Err(Stopped) {
            return;
        }
        let looked = async {
            note(
                go_on(shared, &network, &mut avoided).await,
                "what was claimed could not be looked at",
            );
            note(
                find_work(shared, &network, &mut avoided).await,
                "degraded deals could not be looked at",
            );
        };
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            () = looked => {}
        }
    }
}

fn note<E: Display>(done: Result<(), E>, what: &'static str) {
    if let Err(error) = done {
        debug!(%error, what);
    }
}

fn random_below(shared: &Shared, bound: u64) -> u64 {
    u64::from_le_bytes(shared.host.random()) % bound.max(1)
}

/// Goes on with this node's claims, and collects what it is owed.
async fn go_on(
    shared: &Shared,
    network: &Network,
    avoided: &mut Avoided,
) -> Result<(), LedgerError> {
    let me = shared.key.id();
    let (mut caring, mut after) = (Caring::default(), None::<Vec<u8>>);
    loop {
        let page = shared.ledger.scan(Repairs, &[], after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else {
            shared.caring.send_replace(caring);
            return Ok(());
        };
        after = Some(last.clone());
        for (key, repair) in page {
            let Some(id) = Repairs::parse(&key) else { continue };
            caring.add(id, &repair, (&me, shared.view.epoch()));
            if repair.rewards.iter().any(|reward| reward.caretaker == me) {
                avoided.report(shared, id, collect(shared, id, &repair).await);
            }
            if own_claim(shared, &repair).is_some() && !avoided.has(shared, &id) {
                avoided.report(shared, id, rebuild(shared, network, id).await);
            }
        }
    }
}

fn own_claim<'a>(shared: &Shared, repair: &'a Repair) -> Option<&'a Claim> {
    repair.running(shared.view.epoch()).filter(|claim| claim.claimant == shared.key.id())
}

/// Deals that are left alone for a while: what their owner has sealed is not the keys of their masks. Otherwise an owner
/// could have caretakers read the same shards over and over for nothing.
struct Avoided {
    deals: Lru<DealId, u64>,
}

impl Avoided {
    fn has(&mut self, shared: &Shared, deal: &DealId) -> bool {
        self.deals.find(deal).is_some_and(|until_tick| shared.host.ticks_ms() < until_tick)
    }

    fn report(&mut self, shared: &Shared, deal: DealId, done: Result<(), CareError>) {
        match done {
            Ok(()) | Err(CareError::Submit(SubmitError::Stopped)) => {}
            Err(error) => {
                warn!(%deal, %error, "a repair does not go on now");
                if matches!(error, CareError::Transfer(TransferError::Corrupt { .. })) {
                    self.deals.keep(deal, shared.host.ticks_ms().saturating_add(AVOID_MS));
                }
            }
        }
    }
}

/// Claims what owners have named this node for, and repairs it: always the most urgent of all. Whatever was lost while a
/// deal was repaired may be more urgent than the rest of the list, so the list is read anew then.
async fn find_work(
    shared: &Shared,
    network: &Network,
    avoided: &mut Avoided,
) -> Result<(), LedgerError> {
    while repair_one(shared, network, avoided).await? {}
    Ok(())
}

/// Repairs the first deal that can be claimed. Returns whether there was one.
async fn repair_one(
    shared: &Shared,
    network: &Network,
    avoided: &mut Avoided,
) -> Result<bool, LedgerError> {
    let (seed, me): ([u8; 32], _) = (shared.host.random(), shared.key.id());
    let fee_min = shared.options.limits.repair_fee_min;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = shared.ledger.scan(Degraded, &[], after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = Some(last.clone());
        let deals = page.iter().filter_map(|(key, _)| Degraded::parse(key)).collect();
        let deals = urgent_first(deals, &seed);
        let ids: Vec<DealId> = deals.iter().map(|(_, id)| *id).collect();
        let cares = shared.ledger.rows(Cares, &ids).await?;
        for ((spare, id), care) in deals.into_iter().zip(cares) {
            let is_wanted = care.is_some_and(|care| is_wanted(&care, (&me, spare), fee_min));
            if !is_wanted || avoided.has(shared, &id) {
                continue;
            }
            match claim(shared, network, id).await {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(error) => avoided.report(shared, id, Err(error)),
            }
        }
    }
}

/// Those with the fewest spare shards first. Those of the same need are in a random order, so that caretakers do not meet.
fn urgent_first(mut deals: Vec<(u8, DealId)>, seed: &[u8; 32]) -> Vec<(u8, DealId)> {
    deals.sort_by_cached_key(|(spare, deal)| {
        (*spare, *blake3::keyed_hash(seed, &deal.0).as_bytes())
    });
    deals
}

/// Whether an owner wants this node to repair a deal with so many spare shards, and pays enough for it.
fn is_wanted(care: &Care, (me, spare): (&NodeId, u8), fee_min: Amount) -> bool {
    care.names(me) && spare <= care.spare && fee_min <= care.fee
}

/// Claims the repair of a deal, if no other caretaker has, and goes on with it. Returns whether it did.
async fn claim(shared: &Shared, network: &Network, id: DealId) -> Result<bool, CareError> {
    let Some(rows) = read(shared, id).await?.filter(|rows| rows.is_free(shared)) else {
        return Ok(false);
    };
    let held = held(shared, id).await?;
    let others = rows.others(shared, network).await?;
    let rebuild_shards = rows.affordable(shared, held, &others);
    if rebuild_shards.is_empty() {
        debug!(deal = %id, nodes = others.left(), %held, "there is no node, no money or no time for a lost shard");
        return Ok(false);
    }
    let Some(read_shards) = rows.readable(shared, network).await? else {
        debug!(deal = %id, "too few of the nodes that keep the deal's shards answer");
        return Ok(false);
    };
    // Several caretakers may have seen the same loss.
    shared.sleep_ms(random_below(shared, PAUSE_MS)).await.map_err(SubmitError::from)?;
    let repair = shared.ledger.row(Repairs, &id).await?;
    if !(Rows { repair, ..rows }).is_free(shared) {
        return Ok(false);
    }
    let me = shared.key.id();
    let context = custody::claim_context(&shared.chain, &id, &me);
    let secret = shared.key.claim_secret(&shared.chain, &id);
    let delivery = DeliveryKey::make(&secret, &context, &shared.host.random());
    let (rebuild_list, read_list) = (rebuild_shards.clone(), read_shards);
    let action = Action::ClaimRepair { deal: id, rebuild: rebuild_list, read: read_list, delivery };
    match send(shared, action, 0).await {
        Ok(Status::Applied) => {}
        // Another one was faster, or something has changed.
        Ok(status) => {
            debug!(deal = %id, %status, "a claim was refused");
            return Ok(false);
        }
        Err(SubmitError::OutOfTime(why)) => {
            debug!(deal = %id, why, "a claim was refused");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    info!(deal = %id, shards = ?rebuild_shards, "claimed a repair");
    note_claim(shared, id).await;
    let rebuilt = rebuild(shared, network, id).await;
    note_claim(shared, id).await;
    rebuilt.map(|()| true)
}

/// Looks again at what the ledger says of one deal, so that the operator sees a claim while it runs.
async fn note_claim(shared: &Shared, id: DealId) {
    let Ok(repair) = shared.ledger.row(Repairs, &id).await else { return };
    let (me, epoch) = (shared.key.id(), shared.view.epoch());
    shared.caring.send_if_modified(|caring| {
        caring.claims.retain(|claim| claim.deal != id);
        let mut of_deal = Caring::default();
        if let Some(repair) = repair {
            of_deal.add(id, &repair, (&me, epoch));
        }
        caring.claims.append(&mut of_deal.claims);
        true
    });
}

async fn send(shared: &Shared, action: Action, patience_ms: u64) -> Result<Status, SubmitError> {
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(patience_ms);
    submit(shared, id, action, until_tick, Backoff::new(200, 5_000)).await
}

/// Rebuilds the shards of this node's claim, and has the ledger note their new nodes.
async fn rebuild(shared: &Shared, network: &Network, id: DealId) -> Result<(), CareError> {
    let Some(rows) = read(shared, id).await? else { return Ok(()) };
    let Some(claim) = rows.repair.as_ref().and_then(|repair| own_claim(shared, repair)).cloned()
    else {
        return Ok(());
    };
    let keys = keys::keys(shared, network, &rows, &claim).await?;
    let mut others = rows.others(shared, network).await?;
    let shards = claim.rebuild.len();
    rows.afford(shared, (held(shared, id).await?, shards), &mut others);
    let Rows { deal, care, .. } = rows;
    let epochs_max = shared.params().deal_epochs_max;
    let claimed = Claimed { deal: id, row: deal, care, claim, keys, epochs_max };
    let (terms, acceptances) = network.rebuild_claimed(&claimed, others).await?;
    if acceptances.is_empty() {
        return Err(CareError::NoNode);
    }
    let placed: Vec<(u8, NodeId)> =
        acceptances.iter().map(|accepted| (accepted.index, accepted.node)).collect();
    let action = Action::PlaceShards { terms, acceptances, cost_max: Amount::ZERO };
    match send(shared, action, PATIENCE_MS).await? {
        Status::Applied => {
            info!(deal = %id, ?placed, "placed rebuilt shards");
            Ok(())
        }
        status => Err(CareError::Refused { what: "rebuilt shards", status }),
    }
}

/// Collects the pay for rebuilt shards that their new nodes have proven.
async fn collect(shared: &Shared, id: DealId, repair: &Repair) -> Result<(), CareError> {
    let Some(deal) = shared.ledger.row(Deals, &id).await? else { return Ok(()) };
    let me = shared.key.id();
    let own = |reward: &&Reward| reward.caretaker == me && reward.stands(&deal);
    let own: Vec<_> = repair.rewards.iter().filter(own).collect();
    let nodes: Vec<NodeId> = own.iter().map(|reward| reward.node).collect();
    let rows = shared.ledger.rows(Nodes, &nodes).await?;
    let proven = own.iter().zip(rows).filter(|(reward, row)| {
        row.as_ref().is_some_and(|row| row.passed_epoch >= Some(reward.from))
    });
    let mut shards: Vec<u8> = proven.map(|(reward, _)| reward.index).collect();
    shards.sort_unstable();
    if shards.is_empty() {
        return Ok(());
    }
    let action = Action::CollectRepair { deal: id, shards: shards.clone() };
    match send(shared, action, PATIENCE_MS).await? {
        Status::Applied => {
            info!(deal = %id, ?shards, "was paid for rebuilt shards");
            Ok(())
        }
        status => Err(CareError::Refused { what: "the pay for rebuilt shards", status }),
    }
}

/// Looks for work in an epoch.
const LOOKS_PER_EPOCH: u64 = 4;
/// The shortest time between two looks, in milliseconds.
const MIN_LOOK_MS: u64 = 1_000;
/// The longest time between two looks, in milliseconds.
const MAX_LOOK_MS: u64 = 10 * 60 * 1000;
/// The longest pause before a claim, in milliseconds.
const PAUSE_MS: u64 = 1_500;
/// How long one transaction is tried, in milliseconds.
const PATIENCE_MS: u64 = 60_000;
/// Milliseconds for which a deal is left alone whose shards cannot be rebuilt from what its owner has sealed.
const AVOID_MS: u64 = 24 * 60 * 60 * 1000;
/// Deals that are left alone at most.
const AVOIDED_MAX: usize = 1024;
/// Rows of one page of a scan.
const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::{Opening, PeerId, VaultId};

    use super::*;

    const ME: NodeId = PeerId([1; 32]);

    fn care() -> Care {
        Care {
            vault: VaultId([0; 16]),
            opening: Opening([0; 32]),
            caretakers: vec![PeerId([2; 32]), ME],
            spare: 3,
            fee: Amount(100),
            price_max: Amount(1),
            pads: Vec::new(),
        }
    }

    #[test]
    fn a_repair_is_wanted_when_it_is_due_and_pays_enough() {
        assert!(is_wanted(&care(), (&ME, 3), Amount(100)));
        assert!(!is_wanted(&care(), (&ME, 4), Amount(100)), "its owner wants none yet");
        assert!(!is_wanted(&care(), (&ME, 3), Amount(101)), "the fee is too low");
        assert!(!is_wanted(&care(), (&PeerId([3; 32]), 3), Amount::ZERO), "another node is named");
    }

    #[test]
    fn the_fewest_spare_shards_come_first_and_equals_in_another_order_for_each_node() {
        let deals: Vec<_> = (0..40).map(|number| (number % 4, DealId([number; 16]))).collect();
        let order = |seed| urgent_first(deals.clone(), &[seed; 32]);
        let spare: Vec<u8> = order(1).iter().map(|(spare, _)| *spare).collect();
        assert!(spare.is_sorted() && spare[0] == 0);
        assert_ne!(order(1), order(2));
    }
}
