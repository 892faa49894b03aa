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

use super::{
    Auditor,
    chance::{begin_from, offset, tick},
    hundredths, id_of,
};

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

/// A shard in a node's table or on its way there: the epoch in which it leaves or joins, and its deal.
type Shard = (u64, DealId);

#[derive(Debug)]
pub(super) struct NodeBook {
    payout: AccountId,
    /// The epoch of its open window, and the layer that picks its leaves.
    window: Option<u64>,
    pub(super) layer: Option<Hash>,
    /// The epoch of the window it waits for.
    next: Option<u64>,
    /// The last epoch it proved.
    proven: Option<u64>,
    table: BTreeSet<Shard>,
    joining: BTreeSet<Shard>,
    pub(super) passed: u64,
    pub(super) missed: u64,
}

impl NodeBook {
    /// The first epoch that is neither proven nor missed.
    fn open_from(&self) -> u64 {
        match (self.window, self.next) {
            (Some(window), _) if self.proven == Some(window) => window + 1,
            (Some(window), _) => window,
            (None, next) => next.unwrap_or(0),
        }
    }
}

#[derive(Debug)]
pub(super) struct DealBook {
    owner: AccountId,
    start: u64,
    end: u64,
    reserve: u128,
    length: u64,
    /// How many shards were made of the segment.
    total: usize,
    /// Node, root, and what the shard earns per epoch; by index.
    shards: Vec<(NodeId, Hash, u128)>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Completed,
    Cancelled,
    Removed,
}

impl DealBook {
    fn earns(&self, node: &NodeId) -> u128 {
        let mine = self.shards.iter().filter(|(keeper, ..)| keeper == node);
        mine.map(|(_, _, rate)| rate).sum()
    }
}

impl Auditor {
    /// What a node's table earns in an epoch.
    fn due_to(&self, node: &NodeId) -> u128 {
        let table = self.nodes.get(node).map(|book| &book.table);
        table.into_iter().flatten().map(|(_, deal)| self.deals[deal].earns(node)).sum()
    }

    /// What owners have paid for epochs that are neither proven nor missed yet.
    pub(super) fn promised(&self) -> u128 {
        let mut sum = 0;
        for (node, book) in &self.nodes {
            for (end, deal) in &book.table {
                let epochs = end.saturating_sub(book.open_from());
                sum += self.deals[deal].earns(node) * u128::from(epochs);
            }
            for (start, deal) in &book.joining {
                let deal = &self.deals[deal];
                sum += deal.earns(node) * u128::from(deal.end - start);
            }
        }
        sum
    }

    /// Shards that nodes are paid for, now or in a window that is still open. Of a deal that its owner has ended, a node
    /// may delete the shard as soon as its last window is proven.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for (id, deal) in &self.deals {
            for (node, root, _) in &deal.shards {
                let left = (deal.end, *id);
                let kept = match deal.stage {
                    Stage::Open => true,
                    Stage::Completed => self.nodes[node].table.contains(&left),
                    Stage::Cancelled | Stage::Removed => false,
                };
                if kept {
                    held.push(Held { node: *node, deal: *id, root: *root, length: deal.length });
                }
            }
        }
        held
    }

    /// The shards that nodes keep of each deal that has its row.
    pub(super) fn deals_on_ledger(&self) -> impl Iterator<Item = usize> {
        let there = self.deals.values().filter(|deal| deal.stage != Stage::Removed);
        there.map(|deal| deal.shards.len())
    }

    pub(super) fn has_node(&self, account: AccountId) -> bool {
        self.nodes.contains_key(&NodeId::from(account))
    }

    /// How many deals were opened.
    #[must_use]
    pub fn deals_opened(&self) -> usize {
        self.deals.len()
    }

    /// Counts the time since the block before, unless the ledger slept when it had something to do.
    pub(super) fn count_time(&mut self) {
        let length = self.params.epoch_ms.0;
        let boundary = (self.epoch + 1) * length;
        let turn = self.turns.first().map_or(u64::MAX, |(time, _)| *time);
        let due = boundary.min(turn).max(self.counted_ms);
        let reached = self.counted_ms + (self.time_ms - self.parent_ms);
        if reached < due + length / 4 {
            self.counted_ms = reached;
            self.late_blocks = 0;
        } else if self.late_blocks == 8 {
            self.counted_ms = due;
        } else {
            self.late_blocks += 1;
        }
        let epoch = self.counted_ms / length;
        if self.epoch < epoch {
            self.epoch = epoch;
            self.expected.push(Event::EpochBegan { epoch });
        }
    }

    /// When a node's window of an epoch is due.
    fn due_ms(&self, node: &NodeId, epoch: u64) -> u64 {
        let named = [self.chain.0, node.0].concat();
        let hash = blake3::derive_key("symbolon 2026 window offset v2", &named);
        let number = u64::from_le_bytes(hash[..8].try_into().expect("eight bytes"));
        epoch * self.params.epoch_ms.0 + offset(number, self.params.epoch_ms.0)
    }

    /// Gives the nodes whose time has come their turns. Returns how many slots changed.
    pub(super) fn take_turns(&mut self) -> usize {
        let due = self.turns.iter().take_while(|(time, _)| *time <= self.counted_ms).take(128);
        let due: Vec<(u64, NodeId)> = due.copied().collect();
        let mut changed = 0;
        for turn in &due {
            if changed < 384 {
                self.turns.remove(turn);
                changed += self.take_turn(*turn, (384 - changed).min(128));
            }
        }
        changed
    }

    /// Returns how many slots changed.
    fn take_turn(&mut self, (due_ms, node): (u64, NodeId), most: usize) -> usize {
        let rate = self.due_to(&node);
        let book = self.nodes.get_mut(&node).expect("it waits for a turn");
        let epoch = book.next.expect("it waits for a turn");
        let length = self.params.epoch_ms.0;
        let ended = book.window.take();
        book.layer = None;
        let missed = ended.filter(|ended| book.proven != Some(*ended));
        book.missed += u64::from(missed.is_some());
        let left: Vec<Shard> =
            book.table.iter().filter(|shard| shard.0 <= epoch).take(most).copied().collect();
        book.table.retain(|shard| !left.contains(shard));
        let joined = book.joining.iter().filter(|shard| shard.0 == epoch);
        let joined: Vec<Shard> = joined.take(most - left.len()).copied().collect();
        book.joining.retain(|shard| !joined.contains(shard));
        book.table.extend(joined.iter().map(|(_, deal)| (self.deals[deal].end, *deal)));
        let made = left.len() + joined.len();
        let done = made < most;
        let mut opened = false;
        if done {
            opened = !book.table.is_empty();
            book.window = opened.then_some(epoch);
            book.layer = opened.then(|| self.chance.at(tick(due_ms, length)));
            let first = book.joining.first().map(|(start, _)| *start);
            book.next = if opened { Some(epoch + 1) } else { first };
        }
        let next = book.next;
        if let Some(epoch) = missed {
            let reason = Reason::Missed { node, epoch };
            self.expect(Place::Storage, Place::Repair, rate, reason);
        }
        let left = left.iter().map(|(_, deal)| Event::ShardLeft { node, deal: *deal });
        self.expected.extend(left);
        let joined = joined.iter().map(|(_, deal)| Event::ShardJoined { node, deal: *deal });
        self.expected.extend(joined);
        if opened {
            self.expected.push(Event::WindowOpened { node, epoch });
        }
        if !done {
            self.turns.insert((self.counted_ms, node));
        } else if let Some(next) = next {
            let least = begin_from(self.counted_ms + length / 2, length);
            self.turns.insert((self.due_ms(&node, next).max(least), node));
        }
        made
    }

    /// Returns the reserves of deals that are over, and forgets those that were over long ago.
    pub(super) fn close_deals(&mut self, mut steps: usize) {
        let due = self.deals_due.iter().take_while(|(epoch, _)| *epoch <= self.epoch);
        let due: Vec<(u64, DealId)> = due.copied().collect();
        for key in due {
            let id = key.1;
            let deal = self.deals.get_mut(&id).expect("it was opened");
            let cost = if deal.stage == Stage::Open { 1 } else { 1 + deal.total / 16 };
            if steps < cost {
                return;
            }
            steps -= cost;
            self.deals_due.remove(&key);
            if deal.stage == Stage::Open {
                deal.stage = Stage::Completed;
                self.deals_due.insert((deal.end + 100, id));
                let (owner, reserve) = (deal.owner, deal.reserve);
                self.expected.push(Event::DealEnded { deal: id });
                self.give_back(id, owner, reserve);
                continue;
            }
            let shards = deal.shards.iter().filter_map(|(node, ..)| self.nodes.get(node));
            let mut rows = shards.flat_map(|book| book.table.iter().chain(&book.joining));
            if rows.any(|(_, deal)| *deal == id) {
                self.deals_due.insert((self.epoch + 1, id));
            } else {
                deal.stage = Stage::Removed;
                let (owner, shards) = (deal.owner, deal.shards.len());
                self.deal_returned(owner, shards);
            }
        }
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
                let new = NodeBook {
                    payout: *payout,
                    window: None,
                    layer: None,
                    next: None,
                    proven: None,
                    table: BTreeSet::new(),
                    joining: BTreeSet::new(),
                    passed: 0,
                    missed: 0,
                };
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
        let Action::OpenDeal { terms, acceptances, cost_max } = action else {
            unreachable!("only deals come here");
        };
        let id = DealId(id_of("symbolon 2026 deal id v2", &sender, &terms.opening));
        if self.deals.get(&id).is_some_and(|deal| deal.stage != Stage::Removed) {
            return Err(format!("deal {id} is opened and paid twice"));
        }
        if terms.owner != sender {
            return Err(format!("deal {id} is opened by somebody else than its owner"));
        }
        let mut acceptances = acceptances.clone();
        acceptances.sort_by_key(|accepted| accepted.index);
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
        for (node, ..) in &shards {
            let due = self.due_ms(node, start);
            let book = self.nodes.get_mut(node).expect("it is there");
            book.joining.insert((start, id));
            if book.next.is_none() {
                book.next = Some(start);
                self.turns.insert((due, *node));
            }
        }
        self.deals_due.insert((end, id));
        let (total, stage) = (usize::from(terms.total), Stage::Open);
        let book = DealBook { owner: sender, start, end, reserve, length, total, shards, stage };
        self.deals.insert(id, book);
        Ok(())
    }

    fn end(&mut self, sender: AccountId, id: DealId) -> Result<(), String> {
        let epoch = self.epoch;
        let deal = self.deals.get_mut(&id).ok_or_else(|| format!("no deal {id} to end"))?;
        if deal.owner != sender || deal.stage != Stage::Open || deal.end <= epoch {
            return Err(format!("deal {id} is not this sender's to end"));
        }
        let mut overdue = self.turns.iter().take_while(|(turn_ms, _)| *turn_ms <= self.counted_ms);
        if overdue.any(|(_, late)| deal.shards.iter().any(|(node, ..)| node == late)) {
            return Err(format!("deal {id} changes a table whose layer is known"));
        }
        let begun = deal.start <= epoch;
        let (before, after) = (deal.end, if begun { epoch + 1 } else { deal.start });
        (deal.stage, deal.end) = (Stage::Cancelled, after);
        let (reserve, start, shards) = (deal.reserve, deal.start, deal.shards.clone());
        self.deals_due.remove(&(before, id));
        self.deals_due.insert((after + 100, id));
        let (mut back, mut spared) = (0, Vec::new());
        for (node, _, rate) in shards {
            let book = self.nodes.get_mut(&node).expect("it keeps a shard");
            // What is in a table leaves it with the next turn. What waits is spared.
            let first_saved = if book.table.remove(&(before, id)) {
                let next = book.next.expect("it has shards to prove");
                book.table.insert((next, id));
                next
            } else {
                book.joining.remove(&(start, id));
                spared.push(Event::ShardLeft { node, deal: id });
                start
            };
            back += rate * u128::from(before - first_saved);
        }
        let owner = Place::Account { account: sender };
        self.expect(Place::Storage, owner, back, Reason::Deal { deal: id });
        self.give_back(id, sender, reserve);
        self.expected.append(&mut spared);
        self.expected.push(Event::DealEnded { deal: id });
        Ok(())
    }

    fn prove(&mut self, node: NodeId, epoch: u64) -> Result<(), String> {
        let due = self.due_to(&node);
        let book = self.nodes.get_mut(&node).ok_or_else(|| format!("no node {node}"))?;
        if book.window != Some(epoch) {
            let open = book.window;
            return Err(format!("node {node} is paid for epoch {epoch}, its window is {open:?}"));
        }
        if book.proven == Some(epoch) {
            return Err(format!("node {node} is paid twice for epoch {epoch}"));
        }
        book.proven = Some(epoch);
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
