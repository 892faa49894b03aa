//! The caretaker's part: it rebuilds lost shards of owners that have named this node, while they are away. See
//! `spec/repair.md`.
//!
//! The node keeps nothing of this on its disk. What it has claimed, placed and is still to be paid stands in the ledger's
//! rows, and the secret of a claim follows from the node's key. So after a crash it goes on from the rows.
//!
//! It finds work in the ledger's list of degraded deals, the most urgent first, page by page. The list has only deals with
//! lost shards, so it is short. An index by caretaker would cost rows in just those blocks in which a node loses everything.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Amount,
    content::mask::IndexKeys,
    custody::{self, ClaimRequest, CustodyError, DeliveryKey, Release},
    id::{DealId, Hash, NodeId, TransactionId},
    ledger::{
        REWARDS_MAX, Status,
        rows::{
            Care, Cares, Claim, Deal, Deals, Degraded, HoldKey, Holds, Nodes, Repair, Repairs,
            Reward, Table, Vault, Vaults,
        },
        slot_rate,
        transaction::Action,
    },
    wire::storage::{Request, Response},
};
use symbolon_transfer::{
    Network, TransferError, met::Acquaintance, place::OtherNodes, repair::Claimed,
};
use thiserror::Error;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::{
    custodian::{self, ReleaseError},
    lru::Lru,
    shared::{Backoff, Shared, Stopped},
    submit::{SubmitError, submit},
};

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

/// The rows of a deal that has caretakers.
struct Rows {
    id: DealId,
    deal: Deal,
    care: Care,
    repair: Option<Repair>,
}

/// Looks for work until the node stops: at intervals, and when a block says that a shard was lost.
pub(crate) async fn repair_for_owners(shared: &Shared) {
    let (ledger, endpoint) = (shared.ledger.clone(), shared.endpoint.clone());
    let network = Network::new(ledger, endpoint, shared.host.clone(), Acquaintance::default());
    let every_ms = (shared.params.epoch_ms.0 / LOOKS_PER_EPOCH).clamp(MIN_LOOK_MS, MAX_LOOK_MS);
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
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = shared.ledger.scan(Repairs, &[], after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, repair) in page {
            let Some(id) = Repairs::parse(&key) else { continue };
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

/// Claims what owners have named this node for, and repairs it.
async fn find_work(
    shared: &Shared,
    network: &Network,
    avoided: &mut Avoided,
) -> Result<(), LedgerError> {
    let seed: [u8; 32] = shared.host.random();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = shared.ledger.scan(Degraded, &[], after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let mut deals: Vec<(u8, DealId)> =
            page.iter().filter_map(|(key, _)| Degraded::parse(key)).collect();
        // The most urgent first. Those of the same need are in a random order, so that caretakers do not meet.
        deals.sort_by_cached_key(|(spare, deal)| {
            (*spare, *blake3::keyed_hash(&seed, &deal.0).as_bytes())
        });
        let ids: Vec<DealId> = deals.iter().map(|(_, id)| *id).collect();
        let cares = shared.ledger.rows(Cares, &ids).await?;
        for ((spare, id), care) in deals.into_iter().zip(cares) {
            let is_named =
                care.is_some_and(|care| care.names(&shared.key.id()) && spare <= care.spare);
            if is_named && !avoided.has(shared, &id) {
                avoided.report(shared, id, claim(shared, network, id).await);
            }
        }
    }
}

async fn read(shared: &Shared, id: DealId) -> Result<Option<Rows>, LedgerError> {
    let (deal, care) = shared.ledger.pair((Deals, &id), (Cares, &id)).await?;
    let repair = shared.ledger.row(Repairs, &id).await?;
    Ok(deal.zip(care).map(|(deal, care)| Rows { id, deal, care, repair }))
}

impl Rows {
    /// Whether this node may claim now, as far as the rows say. The ledger decides.
    fn is_free(&self, shared: &Shared) -> bool {
        let (me, epoch) = (shared.key.id(), shared.view.epoch());
        let rests = u64::from(shared.params.claim_epochs);
        let claim = self.repair.as_ref().and_then(|repair| repair.claim.as_ref());
        let is_taken = claim.is_some_and(|claim| {
            claim.runs(epoch) || claim.claimant == me && epoch < claim.until.saturating_add(rests)
        });
        self.deal.kept_by(&me).is_none() && !is_taken && epoch.saturating_add(1) < self.deal.end
    }

    /// The nodes that may take a lost shard.
    async fn others(
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
    fn afford(&self, shared: &Shared, (held, shards): (Amount, usize), others: &mut OtherNodes) {
        let epochs = self.deal.end.saturating_sub(shared.view.epoch().saturating_add(1));
        let each = held.fraction(1, (shards as u64).max(1));
        others.retain(|node| {
            let pay =
                slot_rate(node.price, self.deal.length).and_then(|rate| rate.checked_mul(epochs));
            pay.is_some_and(|pay| Some(pay) <= each)
        });
    }

    /// As many lost shards as there are nodes and money for, whichever of these nodes are drawn.
    fn affordable(&self, shared: &Shared, held: Amount, others: &OtherNodes) -> Vec<u8> {
        let waiting = self.repair.as_ref().map_or(0, |repair| repair.rewards.len());
        let most = REWARDS_MAX.saturating_sub(waiting);
        let mut lost: Vec<u8> = self.deal.lost().map(|(index, _)| index).take(most).collect();
        while !lost.is_empty() {
            let shards = lost.len();
            let fees = self.care.fee.checked_mul(shards as u64);
            if let Some(left) = fees.and_then(|fees| held.checked_sub(fees)) {
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
    async fn readable(
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
}

/// Claims the repair of a deal, if no other caretaker has, and goes on with it.
async fn claim(shared: &Shared, network: &Network, id: DealId) -> Result<(), CareError> {
    let Some(rows) = read(shared, id).await?.filter(|rows| rows.is_free(shared)) else {
        return Ok(());
    };
    let held = held(shared, id).await?;
    let others = rows.others(shared, network).await?;
    let rebuild_shards = rows.affordable(shared, held, &others);
    if rebuild_shards.is_empty() {
        debug!(deal = %id, nodes = others.left(), %held, "there is no node or no money for a lost shard");
        return Ok(());
    }
    let Some(read_shards) = rows.readable(shared, network).await? else {
        debug!(deal = %id, "too few of the nodes that keep the deal's shards answer");
        return Ok(());
    };
    // Several caretakers may have seen the same loss.
    shared.sleep_ms(random_below(shared, PAUSE_MS)).await.map_err(SubmitError::from)?;
    let repair = shared.ledger.row(Repairs, &id).await?;
    if !(Rows { repair, ..rows }).is_free(shared) {
        return Ok(());
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
            return Ok(());
        }
        Err(SubmitError::OutOfTime(why)) => {
            debug!(deal = %id, why, "a claim was refused");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    info!(deal = %id, shards = ?rebuild_shards, "claimed a repair");
    rebuild(shared, network, id).await
}

/// What a deal's hold has.
async fn held(shared: &Shared, id: DealId) -> Result<Amount, LedgerError> {
    let hold = shared.ledger.row(Holds, &HoldKey::Deal { deal: id }).await?;
    Ok(hold.map_or(Amount::ZERO, |hold| hold.amount))
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
    let keys = keys(shared, network, &rows, &claim).await?;
    let mut others = rows.others(shared, network).await?;
    let shards = claim.rebuild.len();
    rows.afford(shared, (held(shared, id).await?, shards), &mut others);
    let Rows { deal, care, .. } = rows;
    let epochs_max = shared.params.deal_epochs_max;
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

/// The keys of the masks of the shards of a claim, from the releases of enough custodians.
async fn keys(
    shared: &Shared,
    network: &Network,
    rows: &Rows,
    claim: &Claim,
) -> Result<IndexKeys, CareError> {
    let (id, owner) = (rows.id, rows.deal.owner);
    let vault = shared.ledger.row(Vaults, &rows.care.vault).await?;
    let Some(vault) = vault else {
        return Err(CareError::Custodians { given: 0, needed: 1 });
    };
    let given = releases(shared, network, (id, claim), &vault).await?;
    let context = custody::claim_context(&shared.chain, &id, &claim.claimant);
    let points: Vec<_> = claim
        .opened()
        .map(|index| (index, custody::care_point(&shared.chain, &owner, &id, index)))
        .collect();
    let secret = shared.key.claim_secret(&shared.chain, &id);
    let (pads, delivery) = (rows.care.pads.clone(), claim.delivery.clone());
    let needed = vault.key.required();
    let opened = shared.host.blocking(move || {
        let good = verified(&given, &points, (&vault, &delivery, &context), needed);
        if good.len() < needed {
            return Err(CareError::Custodians { given: good.len(), needed });
        }
        let mut keys = IndexKeys::default();
        for (place, (index, _)) in points.iter().enumerate() {
            let of_shard: Vec<Release> = good.iter().map(|given| given[place].clone()).collect();
            let care_key = custody::combine_care(&of_shard, &secret, &vault.key)?;
            let pad = pads.get(usize::from(*index)).copied().unwrap_or_default();
            keys.insert(*index, Zeroizing::new(std::array::from_fn(|at| pad[at] ^ care_key[at])));
        }
        Ok(keys)
    });
    opened.await
}

/// The answers of custodians that are all true, as many as are needed. A custodian answers with its own releases alone.
fn verified<'a>(
    given: &'a BTreeMap<u8, Vec<Release>>,
    points: &[(u8, custody::Point)],
    (vault, delivery, context): (&Vault, &DeliveryKey, &Hash),
    needed: usize,
) -> Vec<&'a Vec<Release>> {
    let is_true = |(index, releases): &(&u8, &Vec<Release>)| {
        releases.len() == points.len()
            && releases.iter().zip(points).all(|(release, (_, point))| {
                let request = ClaimRequest { vault: &vault.key, point, delivery, context };
                release.index == **index && release.verify_claimed(&request).is_ok()
            })
    };
    given.iter().filter(is_true).take(needed).map(|(_, releases)| releases).collect()
}

/// What custodians answer, by their share index.
async fn releases(
    shared: &Shared,
    network: &Network,
    (id, claim): (DealId, &Claim),
    vault: &Vault,
) -> Result<BTreeMap<u8, Vec<Release>>, CareError> {
    let mut given = BTreeMap::new();
    let places = network.places(&vault.custodians).await?;
    let mut asks = JoinSet::new();
    for (index, (node, address)) in (1_u8..).zip(vault.custodians.iter().zip(places)) {
        if *node == shared.key.id() {
            match custodian::release_claim(shared, id, claim).await {
                Ok(own) => drop(given.insert(index, own)),
                Err(ReleaseError::Custody(error)) => return Err(error.into()),
                Err(error) => debug!(%error, "this node cannot give its own release"),
            }
            continue;
        }
        let Some(address) = address else { continue };
        let peers = network.peers().clone();
        asks.spawn(async move {
            let request = Request::ReleaseClaim { deal: id };
            (index, peers.ask(&address, &request, CUSTODIAN_PATIENCE).await)
        });
    }
    // One more than needed: one of them may lie.
    while given.len() <= vault.key.required()
        && let Some(answer) = asks.join_next().await
    {
        match answer {
            Ok((index, Ok(Response::ReleasedClaim { releases }))) => {
                given.insert(index, releases);
            }
            Ok((index, answer)) => debug!(index, ?answer, "a custodian gave no releases"),
            Err(error) => debug!(%error, "a question to a custodian failed"),
        }
    }
    Ok(given)
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
/// How long a custodian may take for its releases.
const CUSTODIAN_PATIENCE: Duration = Duration::from_secs(15);
/// Milliseconds for which a deal is left alone whose shards cannot be rebuilt from what its owner has sealed.
const AVOID_MS: u64 = 24 * 60 * 60 * 1000;
/// Deals that are left alone at most.
const AVOIDED_MAX: usize = 1024;
/// Rows of one page of a scan.
const PAGE: usize = 256;
