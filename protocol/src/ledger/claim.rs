//! A caretaker's repair of a deal: the claim, the shards that it places, and its pay. See `spec/repair.md`.
//!
//! The fees of a claim leave the deal's hold for a hold of their own. From there they go to the caretaker once the new
//! nodes have proven its shards, and back to the deal's hold if the claim ends or a shard is lost again before.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use crate::{
    amount::Amount,
    custody,
    id::{DealId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        params::Params,
        rows::{
            Care, Cares, Claim, Deal, DealState, Deals, Hold, HoldKey, Holds, Node, Nodes, Repair,
            Repairs, Reward, Vaults,
        },
        state::State,
        status::Status,
        transaction::Action,
    },
};

/// Rebuilt shards of a deal that wait for their proof at most, those of a claim included. So the end of a deal pays no more
/// caretakers than one transaction may.
pub const REWARDS_MAX: usize = 64;

/// What caretakers do for a deal now, and what is free of their hold: the fees of a claim that has ended, and of shards
/// that were lost again.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) repair: Repair,
    pub(super) free: Amount,
    /// Whether there is a row.
    exists: bool,
}

/// A checked claim.
#[derive(Debug)]
pub(super) struct Claimed {
    id: DealId,
    deal: Box<Deal>,
    claim: Claim,
}

/// Checked rewards.
#[derive(Debug)]
pub(super) struct Collected {
    id: DealId,
    deal: Box<Deal>,
    node: Box<Node>,
    shards: Vec<u8>,
    amount: Amount,
}

/// The hold of a deal's caretakers.
fn hold(id: DealId) -> Place {
    Place::Hold { hold: HoldKey::Repair { deal: id } }
}

fn total(fee: Amount, shards: usize) -> Option<Amount> {
    fee.checked_mul(shards as u64)
}

/// What caretakers do for a deal now.
pub(super) fn now<S: State + ?Sized>(books: &Books<'_, S>, id: DealId, deal: &Deal) -> Now {
    const LOCKED: &str = "no more than was locked";
    let row = books.get(Repairs, &id);
    let exists = row.is_some();
    let mut repair = row.unwrap_or(Repair { claim: None, rewards: Vec::new() });
    let mut free = Amount::ZERO;
    if let Some(claim) = repair.claim.as_mut().filter(|claim| !claim.runs(books.chain.epoch)) {
        free = total(claim.fee, claim.rebuild.len()).expect(LOCKED);
        claim.rebuild.clear();
    }
    let term = term(&books.chain.params);
    repair.rewards.retain_mut(|reward| {
        if reward.stands(deal) {
            return true;
        }
        free = free.checked_add(reward.fee).expect(LOCKED);
        reward.fee = Amount::ZERO;
        // It still says who is not to claim next.
        let lost = deal.shards[usize::from(reward.index)].and_then(|shard| shard.lost);
        lost.is_some_and(|lost| books.chain.epoch < lost.saturating_add(term))
    });
    Now { repair, free, exists }
}

/// Gives what is free back to the deal's hold. Gives the rest, for [`save`].
pub(super) fn tidy<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal) -> Now {
    let mut tidied = now(books, id, deal);
    let to = Place::Hold { hold: HoldKey::Deal { deal: id } };
    books.transfer(hold(id), to, tidied.free, Reason::Deal { deal: id });
    tidied.free = Amount::ZERO;
    tidied
}

/// Writes what caretakers do for a deal. What says nothing any more is not kept.
pub(super) fn save<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    deal: &Deal,
    now: &Now,
) {
    let Now { repair, exists, .. } = now;
    if repair.claim.is_some() || !repair.rewards.is_empty() {
        books.put(Repairs, &id, repair);
    } else if *exists {
        books.remove(Repairs, &id);
        let reason = Reason::Deal { deal: id };
        books.close_hold(HoldKey::Repair { deal: id }, deal.owner, reason);
    }
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    claimant: NodeId,
    action: &Action,
) -> Result<Claimed, Status> {
    let Action::ClaimRepair { deal: id, rebuild, read, delivery } = action else {
        unreachable!("only claims come here");
    };
    let context = custody::claim_context(books.id(), id, &claimant);
    delivery.verify(&context).map_err(|_| Status::BadProof)?;
    let node = books.get(Nodes, &claimant).ok_or(Status::UnknownNode)?;
    let deal = books.get(Deals, id).ok_or(Status::UnknownDeal)?;
    let care = books.get(Cares, id).filter(|care| node.caretaker && care.names(&claimant));
    let care = care.ok_or(Status::NotCaretaker)?;
    // With a shard of its own and the keys of the others it could answer for what it does not keep.
    if deal.kept_by(&claimant).is_some() || opens_alone(books, &care, &claimant) {
        return Err(Status::NotCaretaker);
    }
    let is_lost = |index: &u8| deal.lost().any(|(lost, _)| lost == *index);
    let is_kept = |index: &u8| deal.kept().any(|(kept, _)| kept == *index);
    let enough = read.len() == usize::from(deal.required);
    if !enough || !rebuild.iter().all(is_lost) || !read.iter().all(is_kept) {
        return Err(Status::WrongShards);
    }
    // The new nodes are paid from the next epoch on.
    if deal.state != DealState::Open || deal.end <= books.chain.epoch + 1 {
        return Err(Status::DealClosed);
    }
    let now = now(books, *id, &deal);
    let waits = REWARDS_MAX < now.repair.rewards.len() + rebuild.len();
    let rests = now.repair.rewards.iter().any(|reward| {
        // A shard that it placed was lost before its proof. Else it could place with one dying name after another.
        reward.caretaker == claimant && !reward.stands(&deal)
    });
    if care.spare < deal.spare() || waits || rests || is_taken(books, &now.repair, &claimant) {
        return Err(Status::TooEarly);
    }
    // What nodes have forfeited pays for new nodes, not for caretakers.
    let held = books.get(Holds, &HoldKey::Deal { deal: *id }).map_or(Amount::ZERO, |hold| {
        hold.amount.checked_sub(hold.forfeited).expect("it is a part of the hold")
    });
    let there = held.checked_add(now.free).expect("no more than was issued");
    if total(care.fee, rebuild.len()).is_none_or(|fees| there < fees) {
        return Err(Status::ReserveTooLow);
    }
    let claim = Claim {
        claimant,
        delivery: delivery.clone(),
        read: read.clone(),
        rebuild: rebuild.clone(),
        until: books.chain.epoch + term(&books.chain.params),
        fee: care.fee,
    };
    Ok(Claimed { id: *id, deal: Box::new(deal), claim })
}

/// For how many epochs a claim runs.
fn term(params: &Params) -> u64 {
    u64::from(params.claim_epochs)
}

/// Whether a custodian needs no other to open the vault.
fn opens_alone<S: State + ?Sized>(books: &Books<'_, S>, care: &Care, node: &NodeId) -> bool {
    let vault = books.get(Vaults, &care.vault).expect("vaults are never removed");
    vault.key.required() == 1 && vault.custodians.contains(node)
}

/// Whether a claim runs, or this claimant has let the last one end: then others come first for as long as a claim runs.
fn is_taken<S: State + ?Sized>(books: &Books<'_, S>, repair: &Repair, claimant: &NodeId) -> bool {
    let epoch = books.chain.epoch;
    repair.claim.as_ref().is_some_and(|claim| {
        let rests_until = claim.until.saturating_add(term(&books.chain.params));
        claim.runs(epoch) || claim.claimant == *claimant && epoch < rests_until
    })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, claimed: Claimed) {
    let Claimed { id, deal, claim } = claimed;
    let mut now = tidy(books, id, &deal);
    if !now.exists {
        let none = Hold { payer: deal.owner, amount: Amount::ZERO, forfeited: Amount::ZERO };
        books.place_hold(HoldKey::Repair { deal: id }, &none, Reason::Deal { deal: id });
        now.exists = true;
    }
    let fees = total(claim.fee, claim.rebuild.len()).expect("checked to be there");
    let from = Place::Hold { hold: HoldKey::Deal { deal: id } };
    books.transfer(from, hold(id), fees, Reason::Deal { deal: id });
    books.report(Event::RepairClaimed { deal: id, node: claim.claimant });
    now.repair.claim = Some(claim);
    save(books, id, &deal, &now);
}

/// Notes that the claimant has placed a shard of its claim.
pub(super) fn placed(now: &mut Now, index: u8, (node, from): (NodeId, u64)) {
    let claim = now.repair.claim.as_mut().expect("only the claimant comes here");
    claim.rebuild.retain(|wanted| *wanted != index);
    let (caretaker, fee) = (claim.claimant, claim.fee);
    // What an earlier one left behind when the shard was lost again.
    now.repair.rewards.retain(|reward| reward.index != index);
    now.repair.rewards.push(Reward { index, caretaker, node, from, fee });
    if claim.rebuild.is_empty() {
        now.repair.claim = None;
    }
}

/// The owner has given a shard to a node: nothing of a claim is left to do there, and a caretaker whose shard it was is paid
/// now.
pub(super) fn placed_by_owner<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (id, index): (DealId, u8),
    now: &mut Now,
) {
    if let Some(claim) = &mut now.repair.claim
        && claim.rebuild.contains(&index)
    {
        claim.rebuild.retain(|wanted| *wanted != index);
        let to = Place::Hold { hold: HoldKey::Deal { deal: id } };
        books.transfer(hold(id), to, claim.fee, Reason::Deal { deal: id });
        if claim.rebuild.is_empty() {
            now.repair.claim = None;
        }
    }
    let at = now.repair.rewards.iter().position(|reward| reward.index == index);
    if let Some(at) = at {
        let reward = now.repair.rewards.remove(at);
        pay(books, id, &reward.caretaker, reward.fee);
    }
}

/// The node of a rebuilt shard has handed it on: the caretaker is paid when the next one has proven it.
pub(super) fn handed_on(now: &mut Now, index: u8, (node, from): (NodeId, u64)) {
    if let Some(reward) = now.repair.rewards.iter_mut().find(|reward| reward.index == index) {
        (reward.node, reward.from) = (node, from);
    }
}

pub(super) fn check_collect<S: State + ?Sized>(
    books: &Books<'_, S>,
    caretaker: NodeId,
    id: DealId,
    shards: &[u8],
) -> Result<Collected, Status> {
    let node = books.get(Nodes, &caretaker).ok_or(Status::UnknownNode)?;
    let deal = books.get(Deals, &id).ok_or(Status::UnknownDeal)?;
    let repair = now(books, id, &deal).repair;
    let of = |index: &u8| {
        let own = |reward: &&Reward| {
            reward.index == *index && reward.caretaker == caretaker && reward.stands(&deal)
        };
        repair.rewards.iter().find(own)
    };
    let rewards: Option<Vec<&Reward>> = shards.iter().map(of).collect();
    let rewards = rewards.ok_or(Status::NotYours)?;
    if !rewards.iter().all(|reward| is_proven(books, reward)) {
        return Err(Status::TooEarly);
    }
    let amount = rewards
        .iter()
        .try_fold(Amount::ZERO, |sum, reward| sum.checked_add(reward.fee))
        .expect("no more than was locked");
    let (deal, node, shards) = (Box::new(deal), Box::new(node), shards.to_vec());
    Ok(Collected { id, deal, node, shards, amount })
}

/// Whether the new node has proven an epoch with the shard in its table: it is there from its first epoch on.
fn is_proven<S: State + ?Sized>(books: &Books<'_, S>, reward: &Reward) -> bool {
    // A node that keeps a shard has its row.
    books.get(Nodes, &reward.node).is_some_and(|node| node.passed_epoch >= Some(reward.from))
}

pub(super) fn collect<S: State + ?Sized>(books: &mut Books<'_, S>, collected: Collected) {
    let Collected { id, deal, node, shards, amount } = collected;
    let mut now = tidy(books, id, &deal);
    now.repair.rewards.retain(|reward| !shards.contains(&reward.index));
    let to = Place::Account { account: node.payout };
    books.transfer(hold(id), to, amount, Reason::Repaired { deal: id });
    save(books, id, &deal, &now);
}

fn pay<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    caretaker: &NodeId,
    amount: Amount,
) {
    // A caretaker that is a node no longer is paid on the account of its key.
    let account = books.get(Nodes, caretaker).map_or((*caretaker).into(), |node| node.payout);
    let to = Place::Account { account };
    books.transfer(hold(id), to, amount, Reason::Repaired { deal: id });
}

/// Movements that the end of a deal makes at most for its caretakers: one for each, and the rest.
pub(super) fn payments<S: State + ?Sized>(books: &Books<'_, S>, id: DealId) -> usize {
    books.get(Repairs, &id).map_or(0, |repair| repair.rewards.len() + 1)
}

/// The deal ends. Caretakers are paid for what is proven; if the owner ends it, for all that still stands. The rest is the
/// owner's.
pub(super) fn settle<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    deal: &Deal,
    by_owner: bool,
) {
    if !books.has(Repairs, &id) {
        return;
    }
    let rewards = now(books, id, deal).repair.rewards;
    let mut due = BTreeMap::new();
    for reward in rewards.iter().filter(|reward| by_owner || is_proven(books, reward)) {
        let sum: &mut Amount = due.entry(reward.caretaker).or_insert(Amount::ZERO);
        *sum = sum.checked_add(reward.fee).expect("no more than was locked");
    }
    for (caretaker, amount) in due {
        pay(books, id, &caretaker, amount);
    }
    books.remove(Repairs, &id);
    books.close_hold(HoldKey::Repair { deal: id }, deal.owner, Reason::Deal { deal: id });
}
