//! The auditor's books of nodes and deals: what is promised, proven, missed and paid.

use std::collections::BTreeSet;

use symbolon_protocol::{
    id::{AccountId, DealId, Hash, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        rows::HoldKey,
        transaction::Action,
    },
};

use super::{Auditor, hundredths};

/// Bytes that prices are for.
const GIB: u128 = 1_073_741_824;

/// A shard that a node must have on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which node.
    pub node: NodeId,
    /// Of which deal.
    pub deal: DealId,
    /// The hash of its bytes.
    pub root: Hash,
    /// How many those are.
    pub length: u64,
}

#[derive(Debug)]
pub(super) struct NodeBook {
    payout: AccountId,
    proven: BTreeSet<u64>,
    pub(super) passed: u64,
    pub(super) missed: u64,
}

#[derive(Debug)]
pub(super) struct DealBook {
    owner: AccountId,
    start: u64,
    end: u64,
    reserve: u128,
    length: u64,
    /// Node, root, and what the shard earns per epoch.
    shards: Vec<(NodeId, Hash, u128)>,
    cancelled: bool,
    over: bool,
}

impl DealBook {
    fn runs_in(&self, epoch: u64) -> bool {
        self.start <= epoch && epoch < self.end
    }

    fn rate(&self) -> u128 {
        self.shards.iter().map(|(_, _, rate)| rate).sum()
    }
}

impl Auditor {
    /// What a node's shards earn in an epoch, all together; `None` when it keeps none.
    fn due_to(&self, node: &NodeId, epoch: u64) -> Option<u128> {
        let running = self.deals.values().filter(|deal| deal.runs_in(epoch));
        let shards = running.flat_map(|deal| &deal.shards);
        let rates: Vec<u128> =
            shards.filter(|(keeper, ..)| keeper == node).map(|(_, _, rate)| *rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    }

    /// What owners have paid for epochs that are neither proven nor missed yet.
    pub(super) fn promised(&self) -> u128 {
        let mut sum = 0;
        for deal in self.deals.values().filter(|deal| !deal.over) {
            let ahead = deal.end.saturating_sub(deal.start.max(self.epoch + 1));
            sum += deal.rate() * u128::from(ahead);
            if deal.runs_in(self.epoch) {
                let open = deal.shards.iter().filter(|(node, ..)| {
                    self.nodes.get(node).is_none_or(|node| !node.proven.contains(&self.epoch))
                });
                sum += open.map(|(_, _, rate)| rate).sum::<u128>();
            }
        }
        sum
    }

    /// Shards that nodes are paid for now.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let deals = self.deals.iter().filter(|(_, deal)| !deal.over && !deal.cancelled);
        let shards = deals.flat_map(|(id, deal)| {
            let length = deal.length;
            deal.shards.iter().map(move |(node, root, _)| Held {
                node: *node,
                deal: *id,
                root: *root,
                length,
            })
        });
        shards.collect()
    }

    /// How many deals were opened.
    #[must_use]
    pub fn deals_opened(&self) -> usize {
        self.deals.len()
    }

    /// Ends the epoch when its time is over, unless the ledger itself slept through the boundary.
    pub(super) fn turn_epoch(&mut self) {
        let boundary = self.epoch_started_ms + self.params.epoch_ms.0;
        if self.time_ms < boundary {
            return;
        }
        self.epoch_started_ms = self.time_ms;
        if self.time_ms - boundary >= self.params.epoch_ms.0 / 4 {
            return;
        }
        let epoch = self.epoch;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in ids {
            let Some(due) = self.due_to(&node, epoch) else { continue };
            let book = self.nodes.get_mut(&node).expect("its key was just there");
            if !book.proven.contains(&epoch) {
                book.missed += 1;
                let reason = Reason::Missed { node, epoch };
                self.expect(Place::Storage, Place::Repair, due, reason);
            }
        }
        let mut ended = Vec::new();
        for (id, deal) in &mut self.deals {
            if !deal.over && deal.end == epoch + 1 {
                deal.over = true;
                ended.push((*id, deal.owner, deal.reserve, deal.cancelled));
            }
        }
        for (deal, owner, reserve, cancelled) in ended {
            self.expected.push(Event::DealEnded { deal });
            if !cancelled {
                self.give_back(deal, owner, reserve);
            }
        }
        self.epoch += 1;
        self.expected.push(Event::EpochBegan { epoch: self.epoch });
    }

    fn give_back(&mut self, deal: DealId, owner: AccountId, reserve: u128) {
        let (hold, account) = (HoldKey::Deal { deal }, owner);
        let (from, to) = (Place::Hold { hold }, Place::Account { account });
        self.expect(from, to, reserve, Reason::Deal { deal });
    }

    pub(super) fn apply_storage(
        &mut self,
        sender: AccountId,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::RegisterNode { payout, .. } => {
                let new =
                    NodeBook { payout: *payout, proven: BTreeSet::new(), passed: 0, missed: 0 };
                self.nodes.entry(NodeId::from(sender)).or_insert(new).payout = *payout;
                Ok(())
            }
            Action::OpenDeal { .. } => self.open(sender, action),
            Action::EndDeal { deal } => self.end(sender, *deal),
            Action::Prove { epoch, .. } => self.prove(NodeId::from(sender), *epoch),
            _ => unreachable!("only storage actions come here"),
        }
    }

    fn open(&mut self, sender: AccountId, action: &Action) -> Result<(), String> {
        let Action::OpenDeal { opening, terms, acceptances, cost_max } = action else {
            unreachable!("only deals come here");
        };
        let id = terms.deal;
        if self.deals.contains_key(&id) {
            return Err(format!("deal {id} is opened and paid twice"));
        }
        let named = blake3::derive_key("symbolon 2026 deal id v1", &opening.0);
        if named[..16] != id.0 {
            return Err(format!("deal {id} is opened by who does not know its opening"));
        }
        if terms.owner != sender {
            return Err(format!("deal {id} is opened by somebody else than its owner"));
        }
        let shards: Vec<_> = acceptances
            .iter()
            .map(|accepted| {
                let product = accepted.price.0 * u128::from(terms.length);
                (accepted.node, accepted.root, product.div_ceil(GIB))
            })
            .collect();
        let keepers: BTreeSet<_> = shards.iter().map(|(node, ..)| node).collect();
        if keepers.len() != shards.len()
            || keepers.iter().any(|node| !self.nodes.contains_key(node))
        {
            return Err(format!("deal {id} names a node twice, or one that is not there"));
        }
        let rate: u128 = shards.iter().map(|(_, _, rate)| rate).sum();
        let storage = rate * u128::from(terms.epochs);
        let reserve = hundredths(storage, self.params.repair_reserve_bp);
        let fee = hundredths(storage, self.params.storage_fee_bp);
        if storage + reserve + fee > cost_max.0 {
            return Err(format!("deal {id} costs more than its owner allowed"));
        }
        let (owner, reason) = (Place::Account { account: sender }, Reason::Deal { deal: id });
        let hold = HoldKey::Deal { deal: id };
        self.expect(owner, Place::Storage, storage, reason);
        self.expect(owner, Place::Treasury, fee, Reason::Fee);
        self.expect(owner, Place::Hold { hold }, reserve, reason);
        let (start, length) = (self.epoch + 1, terms.length);
        let end = start + terms.epochs;
        let (cancelled, over) = (false, false);
        let book = DealBook { owner: sender, start, end, reserve, length, shards, cancelled, over };
        self.deals.insert(id, book);
        Ok(())
    }

    fn end(&mut self, sender: AccountId, id: DealId) -> Result<(), String> {
        let epoch = self.epoch;
        let deal = self.deals.get_mut(&id).ok_or_else(|| format!("no deal {id} to end"))?;
        if deal.owner != sender || deal.cancelled || deal.over {
            return Err(format!("deal {id} is not this sender's to end"));
        }
        let begun = deal.start <= epoch;
        let first_saved = if begun { epoch + 1 } else { deal.start };
        let back = deal.rate() * u128::from(deal.end - first_saved);
        deal.cancelled = true;
        deal.end = first_saved;
        deal.over = !begun;
        let reserve = deal.reserve;
        let owner = Place::Account { account: sender };
        self.expect(Place::Storage, owner, back, Reason::Deal { deal: id });
        self.give_back(id, sender, reserve);
        if !begun {
            self.expected.push(Event::DealEnded { deal: id });
        }
        Ok(())
    }

    fn prove(&mut self, node: NodeId, epoch: u64) -> Result<(), String> {
        if epoch != self.epoch {
            return Err(format!("node {node} is paid for epoch {epoch} in epoch {}", self.epoch));
        }
        let due = self.due_to(&node, epoch);
        let due = due.ok_or_else(|| format!("node {node} proves and keeps nothing"))?;
        let book = self.nodes.get_mut(&node).ok_or_else(|| format!("no node {node}"))?;
        if !book.proven.insert(epoch) {
            return Err(format!("node {node} is paid twice for epoch {epoch}"));
        }
        book.passed += 1;
        let account = book.payout;
        let reason = Reason::Proven { node, epoch };
        self.expect(Place::Storage, Place::Account { account }, due, reason);
        Ok(())
    }

    /// Where a node's pay goes.
    pub(super) fn payout(&self, node: &NodeId) -> Option<AccountId> {
        self.nodes.get(node).map(|book| book.payout)
    }
}
