//! The auditor's books of caretakers: who may repair, what is locked for it, and who is paid.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    id::{AccountId, DealId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        rows::HoldKey,
        transaction::{Acceptance, Action},
    },
};

use super::{Auditor, id_of};

#[derive(Debug)]
pub(super) struct CareBook {
    caretakers: Vec<NodeId>,
    spare: usize,
    fee: u128,
    dearest: u128,
}

/// What caretakers do for a deal, and the money for it.
#[derive(Debug, Default)]
pub(super) struct RepairBook {
    claim: Option<ClaimBook>,
    /// Rebuilt shards that are not paid yet, by index.
    due: BTreeMap<u8, Due>,
}

#[derive(Debug)]
struct ClaimBook {
    by: NodeId,
    until: u64,
    fee: u128,
    /// The shards that are still to be placed.
    open: BTreeSet<u8>,
}

#[derive(Debug)]
struct Due {
    caretaker: NodeId,
    node: NodeId,
    from: u64,
    fee: u128,
}

impl RepairBook {
    /// Rebuilt shards that are not paid yet.
    pub(super) fn waiting(&self) -> usize {
        self.due.len()
    }

    fn locked(&self) -> u128 {
        let claimed = self.claim.as_ref().map_or(0, |claim| claim.fee * claim.open.len() as u128);
        claimed + self.due.values().map(|due| due.fee).sum::<u128>()
    }
}

fn locked(deal: DealId) -> Place {
    Place::Hold { hold: HoldKey::Repair { deal } }
}

fn reserve(deal: DealId) -> Place {
    Place::Hold { hold: HoldKey::Deal { deal } }
}

impl Auditor {
    pub(super) fn apply_care(&mut self, sender: AccountId, action: &Action) -> Result<(), String> {
        match action {
            Action::SetCare { caretakers, spare, fee, price_max, deals, .. } => {
                for cared in deals {
                    let id = DealId(id_of("symbolon 2026 deal id v2", &sender, &cared.opening));
                    if self.open_deal_of(id)? != sender {
                        return Err(format!("deal {id} gets care from somebody else"));
                    }
                    if caretakers.is_empty() {
                        if self.cares.remove(&id).is_some() {
                            self.care_returned(sender, self.total(id));
                        }
                        continue;
                    }
                    if caretakers.iter().any(|node| !self.offers(node)) {
                        return Err(format!("deal {id} has a caretaker that does not repair"));
                    }
                    let book = CareBook {
                        caretakers: caretakers.clone(),
                        spare: usize::from(*spare),
                        fee: fee.0,
                        dearest: price_max.0,
                    };
                    self.cares.insert(id, book);
                }
                Ok(())
            }
            Action::ClaimRepair { deal, rebuild, read, .. } => {
                self.claim(NodeId::from(sender), *deal, (rebuild, read))
            }
            Action::CollectRepair { deal, shards } => {
                self.collect(NodeId::from(sender), *deal, shards)
            }
            _ => unreachable!("only care comes here"),
        }
    }

    fn claim(
        &mut self,
        by: NodeId,
        id: DealId,
        (rebuild, read): (&[u8], &[u8]),
    ) -> Result<(), String> {
        self.open_deal_of(id)?;
        self.tidy(id);
        let kept = self.kept_by(id);
        let required = self.required(id);
        let care = self.cares.get(&id).ok_or_else(|| format!("deal {id} has no care"))?;
        let (fee, spare) = (care.fee, care.spare);
        let may = care.caretakers.contains(&by) && self.offers(&by);
        let repairs = self.repairs.get(&id);
        let before = repairs.and_then(|book| book.claim.as_ref());
        let taken = before.is_some_and(|claim| {
            let rests = claim.until + u64::from(self.params.claim_epochs);
            !claim.open.is_empty() || claim.by == by && self.epoch < rests
        });
        let faults = [
            (!may, "is claimed by one that may not"),
            (kept.values().any(|node| *node == by), "is claimed by one that keeps a shard of it"),
            (rebuild.iter().any(|index| kept.contains_key(index)), "gets a kept shard rebuilt"),
            (read.iter().any(|index| !kept.contains_key(index)), "gives a lost shard to read"),
            (read.len() != required, "shows more or fewer shards than are needed"),
            (kept.len().saturating_sub(required) > spare, "is claimed too early"),
            (taken, "is claimed while it is another's turn"),
        ];
        if let Some((_, what)) = faults.iter().find(|(is_so, _)| *is_so) {
            return Err(format!("deal {id} {what}"));
        }
        let fees = fee * rebuild.len() as u128;
        self.take_reserve(id, fees)?;
        self.expect(reserve(id), locked(id), fees, Reason::Deal { deal: id });
        self.expected.push(Event::RepairClaimed { deal: id, node: by });
        let until = self.epoch + u64::from(self.params.claim_epochs);
        let open = rebuild.iter().copied().collect();
        self.repairs.entry(id).or_default().claim = Some(ClaimBook { by, until, fee, open });
        Ok(())
    }

    fn collect(&mut self, by: NodeId, id: DealId, shards: &[u8]) -> Result<(), String> {
        self.tidy(id);
        let mut sum = 0;
        for index in shards {
            let due = self.repairs.get_mut(&id).and_then(|book| book.due.remove(index));
            let due = due.filter(|due| due.caretaker == by);
            let Some(due) = due else {
                return Err(format!("node {by} is paid for a shard that it has not rebuilt"));
            };
            if self.proven(&due.node) < Some(due.from) {
                return Err(format!("node {by} is paid before the proof"));
            }
            sum += due.fee;
        }
        self.pay_caretaker(id, &by, sum);
        self.forget_if_done(id);
        Ok(())
    }

    fn pay_caretaker(&mut self, id: DealId, node: &NodeId, amount: u128) {
        // One that is a node no longer is paid on the account of its key.
        let account = self.payout(node).unwrap_or((*node).into());
        let to = Place::Account { account };
        self.expect(locked(id), to, amount, Reason::Repaired { deal: id });
    }

    /// Gives back what is locked for a claim that has ended, and for shards that are not where they were placed.
    pub(super) fn tidy(&mut self, id: DealId) {
        let (keepers, epoch) = (self.keepers_of(id), self.epoch);
        let Some(book) = self.repairs.get_mut(&id) else { return };
        let before = book.locked();
        if let Some(claim) = book.claim.as_mut().filter(|claim| claim.until <= epoch) {
            claim.open.clear();
        }
        book.due.retain(|index, due| keepers.get(index) == Some(&(due.node, due.from)));
        let free = before - book.locked();
        self.add_reserve(id, free);
        self.expect(locked(id), reserve(id), free, Reason::Deal { deal: id });
        self.forget_if_done(id);
    }

    pub(super) fn forget_if_done(&mut self, id: DealId) {
        if self.repairs.get(&id).is_some_and(|book| book.claim.is_none() && book.due.is_empty()) {
            self.repairs.remove(&id);
        }
    }

    /// Whether a node has claimed these shards, at no more than the owner allows.
    pub(super) fn has_claimed(
        &self,
        by: NodeId,
        id: DealId,
        shards: &[Acceptance],
    ) -> Result<bool, String> {
        let claim = self.repairs.get(&id).and_then(|book| book.claim.as_ref());
        let care = self.cares.get(&id);
        let claimed = claim.zip(care).is_some_and(|(claim, care)| {
            let is_claimed =
                |one: &Acceptance| claim.open.contains(&one.index) && one.price.0 <= care.dearest;
            claim.by == by && shards.iter().all(is_claimed)
        });
        match claimed && shards.iter().any(|one| one.node == by) {
            true => Err(format!("deal {id} has its caretaker as a node")),
            false => Ok(claimed),
        }
    }

    /// Notes a placed shard: by its owner, by a claimant, or by the node that kept it.
    pub(super) fn shard_placed(
        &mut self,
        id: DealId,
        (owner, by): (AccountId, AccountId),
        (index, node, from): (u8, NodeId, u64),
    ) {
        let Some(book) = self.repairs.get_mut(&id) else { return };
        let mut back = 0;
        let claim = book.claim.as_mut();
        let claimed = claim.and_then(|claim| Some((claim.open.take(&index)?, claim.by, claim.fee)));
        let claimed = claimed.map(|(_, by, fee)| (by, fee));
        if book.claim.as_ref().is_some_and(|claim| claim.open.is_empty()) && claimed.is_some() {
            book.claim = None;
        }
        let mut paid = None;
        match claimed {
            Some((_, fee)) if by == owner => back = fee,
            Some((caretaker, fee)) => {
                book.due.insert(index, Due { caretaker, node, from, fee });
            }
            None if by == owner => paid = book.due.remove(&index),
            None => {
                if let Some(due) = book.due.get_mut(&index) {
                    (due.node, due.from) = (node, from);
                }
            }
        }
        self.add_reserve(id, back);
        self.expect(locked(id), reserve(id), back, Reason::Deal { deal: id });
        if let Some(due) = paid {
            self.pay_caretaker(id, &due.caretaker, due.fee);
        }
    }

    /// A deal ends: what its caretakers are still to get, and the rest for its owner.
    pub(super) fn settle_care(&mut self, id: DealId, owner: AccountId, by_owner: bool) {
        let keepers = self.keepers_of(id);
        let Some(book) = self.repairs.remove(&id) else { return };
        let mut rest = book.locked();
        let mut sums: BTreeMap<NodeId, u128> = BTreeMap::new();
        for (index, due) in &book.due {
            let stands = keepers.get(index) == Some(&(due.node, due.from));
            if stands && (by_owner || self.proven(&due.node) >= Some(due.from)) {
                *sums.entry(due.caretaker).or_default() += due.fee;
                rest -= due.fee;
            }
        }
        for (caretaker, sum) in sums {
            self.pay_caretaker(id, &caretaker, sum);
        }
        let to = Place::Account { account: owner };
        self.expect(locked(id), to, rest, Reason::Deal { deal: id });
    }

    /// The weights of what is said of care on the ledger.
    pub(super) fn care_weights(&self) -> usize {
        self.cares.keys().map(|id| care_weight(self.total(*id))).sum()
    }

    /// Whether the locked money of each deal is what its books say.
    pub(super) fn check_locked(&self) -> Result<(), String> {
        for (id, book) in &self.repairs {
            let (held, due) = (self.place(&locked(*id)), book.locked());
            if held != due {
                return Err(format!("{held} are locked for the repair of deal {id}, not {due}"));
            }
        }
        Ok(())
    }
}

/// The weight of the care of a deal with so many shards.
pub(super) fn care_weight(shards: usize) -> usize {
    4 + shards.div_ceil(4)
}
