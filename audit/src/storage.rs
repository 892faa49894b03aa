//! The auditor's books of nodes and deals: what is promised, proven, missed and paid.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use symbolon_protocol::{
    id::{AccountId, DealId, Hash, NodeId, ObjectId, OrderId},
    ledger::{
        block::{Event, Place, Reason},
        rows::HoldKey,
        transaction::{Acceptance, Action, LostShard},
    },
    proof::LeafProof,
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

/// Which shard of its deal it is, what it earns per epoch, and its bytes.
type Earning = (u8, u128, u64);

#[derive(Debug)]
pub(super) struct NodeBook {
    payout: AccountId,
    operator: Option<AccountId>,
    caretaker: bool,
    /// The epoch of its open window, and the layer that picks its leaves.
    window: Option<u64>,
    pub(super) layer: Option<Hash>,
    /// The epoch of the window it waits for.
    next: Option<u64>,
    /// The last epoch it proved.
    proven: Option<u64>,
    table: BTreeMap<Shard, Earning>,
    joining: BTreeMap<Shard, Earning>,
    pub(super) passed: u64,
    pub(super) missed: u64,
    missed_in_row: u64,
    dead: bool,
    /// Whether it missed its last windows, up to 30, the last one first.
    past: VecDeque<bool>,
    pub(super) staked: u128,
    pub(super) withheld: u128,
    /// What it paid for the capacity that it offers.
    pub(super) capacity_paid: u128,
    leaving: bool,
    /// What it asks per epoch and GiB, and the first epoch for which it does not say that it will keep shards for that.
    asks: (u128, u64),
    /// The first epoch in which it may get shards again.
    paused_until: u64,
    /// Epochs proven without faults, their pay, and their bytes.
    clean: (u64, u128, u64),
}

impl Default for NodeBook {
    fn default() -> Self {
        Self {
            caretaker: false,
            payout: AccountId([0; 32]),
            operator: None,
            window: None,
            layer: None,
            next: None,
            proven: None,
            table: BTreeMap::new(),
            joining: BTreeMap::new(),
            passed: 0,
            missed: 0,
            missed_in_row: 0,
            dead: false,
            past: VecDeque::new(),
            staked: 0,
            withheld: 0,
            capacity_paid: 0,
            leaving: false,
            asks: (0, 0),
            paused_until: 0,
            clean: (0, 0, 0),
        }
    }
}

impl NodeBook {
    fn table_rate(&self) -> u128 {
        self.table.values().map(|(_, rate, _)| rate).sum()
    }

    /// The pay and the bytes of all that it keeps, with what waits.
    fn kept(&self) -> (u128, u64) {
        let shards = self.table.values().chain(self.joining.values());
        shards.fold((0, 0), |(rates, bytes), (_, rate, length)| (rates + rate, bytes + length))
    }

    pub(super) fn backing(&self) -> u128 {
        self.staked + self.withheld
    }

    /// Takes from what stands for its bytes: withheld pay first.
    fn take(&mut self, amount: u128) {
        let first = amount.min(self.withheld);
        self.withheld -= first;
        self.staked -= amount - first;
    }

    /// What its collateral gives for a shard of this length that it still keeps.
    fn share(&self, length: u64, cost: u128) -> u128 {
        let (_, bytes) = self.kept();
        cost.min(self.backing() * u128::from(length) / u128::from(bytes))
    }

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
    object: ObjectId,
    segment: u32,
    start: u64,
    end: u64,
    reserve: u128,
    /// What nodes have forfeited of the reserve.
    forfeited: u128,
    length: u64,
    /// How many shards were made of the segment.
    total: usize,
    required: usize,
    /// The shards that a node has ever kept, by index.
    shards: BTreeMap<u8, Stored>,
    stage: Stage,
}

/// A shard of a deal.
#[derive(Clone, Copy, Debug)]
struct Stored {
    root: Hash,
    /// Who keeps it; none if it is lost.
    keeper: Option<Keeper>,
}

#[derive(Clone, Copy, Debug)]
struct Keeper {
    node: NodeId,
    /// What it earns per epoch and GiB.
    price: u128,
    /// What it earns per epoch.
    rate: u128,
    /// The first epoch that it is paid for.
    from: u64,
    /// The first one for which it has not agreed.
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Completed,
    Cancelled,
    Removed,
}

impl DealBook {
    /// Who keeps which shard.
    fn keepers(&self) -> impl Iterator<Item = (u8, Keeper)> + '_ {
        self.shards.iter().filter_map(|(index, shard)| Some((*index, shard.keeper?)))
    }

    fn rate(&self) -> u128 {
        self.keepers().map(|(_, keeper)| keeper.rate).sum()
    }
}

impl Auditor {
    /// What owners have paid for epochs that are neither proven nor missed yet.
    pub(super) fn promised(&self) -> u128 {
        let mut sum = 0;
        for book in self.nodes.values() {
            for ((end, _), (_, rate, _)) in &book.table {
                sum += rate * u128::from(end.saturating_sub(book.open_from()));
            }
            for ((start, deal), (_, rate, _)) in &book.joining {
                sum += rate * u128::from(self.deals[deal].end - start);
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
            for shard in deal.shards.values() {
                let Some(Keeper { node, .. }) = shard.keeper else { continue };
                let left = (deal.end, *id);
                let kept = match deal.stage {
                    Stage::Open => true,
                    Stage::Completed => self.nodes[&node].table.contains_key(&left),
                    Stage::Cancelled | Stage::Removed => false,
                };
                if kept {
                    held.push(Held { node, deal: *id, root: shard.root, length: deal.length });
                }
            }
        }
        held
    }

    /// How many shards were made for each deal that has its row.
    pub(super) fn deals_on_ledger(&self) -> impl Iterator<Item = usize> {
        let there = self.deals.values().filter(|deal| deal.stage != Stage::Removed);
        there.map(|deal| deal.total)
    }

    /// Open deals with a lost shard, by how many more they could lose.
    #[must_use]
    pub fn degraded(&self) -> BTreeSet<(u8, DealId)> {
        let open = self.deals.iter().filter(|(_, deal)| deal.stage == Stage::Open);
        let worse = open.filter(|(_, deal)| deal.keepers().count() < deal.shards.len());
        worse
            .map(|(id, deal)| {
                let spare = deal.keepers().count().saturating_sub(deal.required);
                (u8::try_from(spare).expect("at most 128 shards"), *id)
            })
            .collect()
    }

    /// What stands for the bytes of all nodes.
    pub(super) fn collateral(&self) -> u128 {
        self.nodes.values().map(NodeBook::backing).sum()
    }

    /// What repair of so many bytes costs.
    fn repair_cost(&self, bytes: u64) -> u128 {
        (self.params.repair_price.0 * u128::from(bytes)).div_ceil(GIB)
    }

    /// The collateral that a node needs which keeps so much.
    fn needed(&self, (rate, bytes): (u128, u64)) -> u128 {
        let repair = self.repair_cost(bytes) * u128::from(self.params.repair_cover_bp) / 10_000;
        repair.max(rate * u128::from(self.params.collateral_epochs))
    }

    /// Why a node may not keep one more shard.
    fn why_not(&self, node: &NodeId, rate: u128, length: u64) -> Option<String> {
        let Some(book) = self.nodes.get(node) else {
            return Some(format!("{node} is no node"));
        };
        if book.dead || book.leaving || self.epoch < book.paused_until {
            return Some(format!("node {node} takes no shards"));
        }
        let (rates, bytes) = book.kept();
        let needed = self.needed((rates + rate, bytes + length));
        let grown = hundredths(book.clean.1, self.params.allowance_growth_bp);
        let limit = book.backing() + self.params.allowance.0 + grown;
        (limit < needed).then(|| format!("node {node} needs {needed} and has {limit}"))
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
        let book = self.nodes.get_mut(&node).expect("it waits for a turn");
        let epoch = book.next.expect("it waits for a turn");
        let ended = book.window.take();
        book.layer = None;
        if let Some(ended) = ended {
            let missed = book.proven != Some(ended);
            book.past.push_front(missed);
            book.past.truncate(30);
            if missed {
                self.miss(node, ended);
            }
        }
        let dead = self.nodes[&node].dead;
        let (made, done) = match dead {
            true => self.take_all(node, epoch, most / 2),
            false => self.change_table(node, epoch, most),
        };
        self.open_window((due_ms, node), epoch, done);
        made
    }

    /// A window that was not proven.
    fn miss(&mut self, node: NodeId, epoch: u64) {
        let (now, params) = (self.epoch, &self.params);
        let book = self.nodes.get_mut(&node).expect("it has a turn");
        book.missed += 1;
        book.missed_in_row += 1;
        let rate = book.table_rate();
        let died = u64::from(params.dead_after_epochs) <= book.missed_in_row;
        let often = 3 <= book.past.iter().filter(|missed| **missed).count();
        let mut penalty = 0;
        if died {
            (book.dead, book.clean) = (true, (0, 0, 0));
        } else if often {
            penalty = hundredths(book.backing(), params.miss_penalty_bp);
            book.take(penalty);
            let (epochs, pay, bytes) = book.clean;
            book.clean = (epochs / 2, pay / 2, bytes / 2);
            book.paused_until = now + 7;
        }
        self.expect(Place::Storage, Place::Repair, rate, Reason::Missed { node, epoch });
        self.expect(Place::Collateral, Place::Repair, penalty, Reason::Collateral { node });
        self.expected.extend(died.then_some(Event::NodeDied { node }));
    }

    /// A living node's table: shards leave, then others join.
    fn change_table(&mut self, node: NodeId, epoch: u64, most: usize) -> (usize, bool) {
        let book = self.nodes.get_mut(&node).expect("it has a turn");
        let leaving = book.table.keys().take_while(|shard| shard.0 <= epoch).take(most);
        let left: Vec<Shard> = leaving.copied().collect();
        book.table.retain(|shard, _| !left.contains(shard));
        let joining = book.joining.iter().filter(|(shard, _)| shard.0 == epoch);
        let joining = joining.take(most - left.len());
        let joined: Vec<(Shard, Earning)> = joining.map(|(shard, of)| (*shard, *of)).collect();
        for (shard, earning) in &joined {
            book.joining.remove(shard);
            book.table.insert((self.deals[&shard.1].end, shard.1), *earning);
        }
        let made = left.len() + joined.len();
        let left = left.iter().map(|(_, deal)| Event::ShardLeft { node, deal: *deal });
        self.expected.extend(left);
        let joined = joined.iter().map(|((_, deal), _)| Event::ShardJoined { node, deal: *deal });
        self.expected.extend(joined);
        (made, made < most)
    }

    /// A dead node loses its shards: what they would have earned is for the nodes after it.
    fn take_all(&mut self, node: NodeId, epoch: u64, most: usize) -> (usize, bool) {
        let mut taken = 0;
        while taken < most {
            let book = &self.nodes[&node];
            let next = book.table.first_key_value().or(book.joining.first_key_value());
            let Some((_, (_, _, length))) = next else {
                let rest = book.backing();
                self.nodes.get_mut(&node).expect("it has a turn").take(rest);
                let reason = Reason::Collateral { node };
                self.expect(Place::Collateral, Place::Repair, rest, reason);
                return (2 * taken, true);
            };
            let most = self.repair_cost(*length) * 110 / 100;
            let share = book.share(*length, most);
            let book = self.nodes.get_mut(&node).expect("it has a turn");
            if let Some(((end, deal), (_, rate, _))) = book.table.pop_first() {
                self.expected.push(Event::ShardLeft { node, deal });
                self.lose(node, deal, (rate * u128::from(end.saturating_sub(epoch)), share));
            } else if let Some(((from, deal), (_, rate, _))) = book.joining.pop_first() {
                self.expected.push(Event::ShardSpared { node, deal });
                let left = self.deals[&deal].end - from;
                self.lose(node, deal, (rate * u128::from(left), share));
            }
            taken += 1;
        }
        (2 * taken, false)
    }

    /// A node keeps its shard of a deal no longer.
    fn lose(&mut self, node: NodeId, id: DealId, (freed, share): (u128, u128)) {
        let reason = Reason::Deal { deal: id };
        let deal = self.deals.get_mut(&id).expect("it was opened");
        let to = match deal.stage {
            Stage::Open => Place::Hold { hold: HoldKey::Deal { deal: id } },
            Stage::Completed | Stage::Cancelled => Place::Account { account: deal.owner },
            Stage::Removed => Place::Repair,
        };
        let mut lost = None;
        if deal.stage == Stage::Open {
            deal.reserve += freed;
            let mine = deal.keepers().find(|(_, keeper)| keeper.node == node);
            if let Some((index, _)) = mine {
                deal.shards.get_mut(&index).expect("it is kept").keeper = None;
                deal.reserve += share;
                deal.forfeited += share;
                lost = Some(Event::ShardLost { deal: id, index, node });
            }
        }
        self.expect(Place::Storage, to, freed, reason);
        if lost.is_some() {
            self.nodes.get_mut(&node).expect("it kept a shard").take(share);
            self.expect(Place::Collateral, to, share, Reason::Collateral { node });
        }
        self.expected.extend(lost);
    }

    /// The end of a turn: the node's window opens, or it waits again.
    fn open_window(&mut self, (due_ms, node): (u64, NodeId), epoch: u64, done: bool) {
        let length = self.params.epoch_ms.0;
        let layer = self.chance.at(tick(due_ms, length));
        let book = self.nodes.get_mut(&node).expect("it has a turn");
        let opened = done && !book.table.is_empty();
        if done {
            book.window = opened.then_some(epoch);
            book.layer = opened.then_some(layer);
            let first = book.joining.keys().next().map(|(start, _)| *start);
            book.next = if opened { Some(epoch + 1) } else { first };
        }
        let next = book.next;
        if opened {
            self.expected.push(Event::WindowOpened { node, epoch });
        }
        if !done {
            self.turns.insert((self.counted_ms, node));
        } else if let Some(next) = next {
            let least = begin_from(self.counted_ms + length / 2, length);
            self.turns.insert((self.due_ms(&node, next).max(least), node));
        }
    }

    /// Returns the reserves of deals that are over, and forgets those that were over long ago.
    pub(super) fn close_deals(&mut self, mut steps: usize) {
        let due = self.deals_due.iter().take_while(|(epoch, _)| *epoch <= self.epoch);
        let due: Vec<(u64, DealId)> = due.copied().collect();
        for key in due {
            let id = key.1;
            let deal = self.deals.get_mut(&id).expect("it was opened");
            let cost = match deal.stage {
                Stage::Open => 1 + self.repairs.get(&id).map_or(0, |book| 1 + book.waiting()),
                _ => 1 + deal.total / 16 + usize::from(self.cares.contains_key(&id)),
            };
            if steps < cost {
                return;
            }
            steps -= cost;
            self.deals_due.remove(&key);
            if deal.stage == Stage::Open {
                deal.stage = Stage::Completed;
                self.deals_due.insert((deal.end + 100, id));
                let (owner, reserve) = (deal.owner, (deal.reserve, deal.forfeited));
                self.expected.push(Event::DealEnded { deal: id });
                self.settle_care(id, owner, false);
                self.give_back(id, owner, reserve);
                continue;
            }
            let there = {
                let keepers = deal.keepers().filter_map(|(_, keeper)| self.nodes.get(&keeper.node));
                let mut rows =
                    keepers.flat_map(|book| book.table.keys().chain(book.joining.keys()));
                rows.any(|(_, deal)| *deal == id)
            };
            if there {
                self.deals_due.insert((self.epoch + 1, id));
            } else {
                deal.stage = Stage::Removed;
                let (owner, shards) = (deal.owner, deal.total);
                self.deal_returned(owner, shards);
                if self.cares.remove(&id).is_some() {
                    self.care_returned(owner, shards);
                }
            }
        }
    }

    /// What nodes have forfeited is for repair, and for no party that could gain by their faults.
    fn give_back(&mut self, deal: DealId, owner: AccountId, (all, forfeited): (u128, u128)) {
        let (hold, account) = (HoldKey::Deal { deal }, owner);
        let (from, to) = (Place::Hold { hold }, Place::Account { account });
        self.expect(from, to, all - forfeited, Reason::Deal { deal });
        self.expect(from, Place::Repair, forfeited, Reason::Deal { deal });
    }

    pub(super) fn apply_storage(
        &mut self,
        sender: AccountId,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::RegisterNode { .. } => {
                self.register(sender, action);
                Ok(())
            }
            Action::RetireNode => self.retire(sender),
            Action::Stake { node, amount } => self.stake(sender, *node, amount.0),
            Action::Unstake { amount } => self.unstake(NodeId::from(sender), amount.0),
            Action::OpenDeal { .. } => self.open(sender, action),
            Action::EndDeal { deal } => self.end(sender, *deal),
            Action::ExtendDeals { deals, epochs, cost_max } => {
                self.extend(sender, deals, *epochs, cost_max.0)
            }
            Action::PlaceShards { .. } => self.place_shards(sender, action),
            Action::DeclareLost { shards } => self.declare(NodeId::from(sender), shards),
            Action::Prove { epoch, leaves } => self.prove(NodeId::from(sender), *epoch, leaves),
            _ => unreachable!("only storage actions come here"),
        }
    }

    fn register(&mut self, sender: AccountId, action: &Action) {
        let Action::RegisterNode {
            payout,
            operator,
            capacity,
            caretaker,
            leaving,
            price,
            agrees_until,
            ..
        } = action
        else {
            unreachable!("only registrations come here");
        };
        let due = (self.params.capacity_deposit.0 * u128::from(*capacity)).div_ceil(GIB);
        let book = self.nodes.entry(NodeId::from(sender)).or_default();
        (book.payout, book.caretaker, book.leaving) = (*payout, *caretaker, *leaving);
        book.operator = *operator;
        book.asks = (price.0, *agrees_until);
        if book.dead && book.table.is_empty() && book.joining.is_empty() {
            (book.dead, book.missed_in_row, book.paused_until) = (false, 0, 0);
            book.past.clear();
        }
        let paid = std::mem::replace(&mut book.capacity_paid, due);
        let account = Place::Account { account: sender };
        self.expect(account, Place::Deposits, due.saturating_sub(paid), Reason::Deposit);
        self.expect(Place::Deposits, account, paid.saturating_sub(due), Reason::Deposit);
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
        let start = self.epoch + 1;
        let end = start + terms.epochs;
        let shards = self.accepted(id, terms.length, (start, end), acceptances)?;
        let rate: u128 = shards.values().filter_map(|shard| Some(shard.keeper?.rate)).sum();
        let cost = self.cost(rate, terms.epochs);
        if cost.iter().sum::<u128>() > cost_max.0 {
            return Err(format!("deal {id} costs more than its owner allowed"));
        }
        self.pay_for(sender, id, cost);
        for (index, shard) in &shards {
            let keeper = shard.keeper.expect("it was accepted a moment ago");
            self.join(id, *index, keeper, terms.length);
        }
        self.deals_due.insert((end, id));
        let (total, stage, reserve) = (usize::from(terms.total), Stage::Open, cost[2]);
        let (length, required) = (terms.length, usize::from(terms.required));
        let (owner, forfeited) = (sender, 0);
        let (object, segment) = (terms.object, terms.segment);
        let book = DealBook {
            owner,
            object,
            segment,
            start,
            end,
            reserve,
            forfeited,
            length,
            total,
            required,
            shards,
            stage,
        };
        self.deals.insert(id, book);
        Ok(())
    }

    /// The shards that nodes have accepted for these epochs.
    fn accepted(
        &self,
        id: DealId,
        length: u64,
        (from, end): (u64, u64),
        acceptances: &[Acceptance],
    ) -> Result<BTreeMap<u8, Stored>, String> {
        let mut shards = BTreeMap::new();
        let mut nodes = BTreeSet::new();
        for accepted in acceptances {
            let &Acceptance { node, index, root, price, until, .. } = accepted;
            if !nodes.insert(node) {
                return Err(format!("deal {id} names a node twice"));
            }
            if until < end {
                return Err(format!("node {node} has agreed until epoch {until} only"));
            }
            let rate = (price.0 * u128::from(length)).div_ceil(GIB);
            if let Some(why) = self.why_not(&node, rate, length) {
                return Err(format!("deal {id}: {why}"));
            }
            let keeper = Some(Keeper { node, price: price.0, rate, from, until });
            if shards.insert(index, Stored { root, keeper }).is_some() {
                return Err(format!("shard {index} of deal {id} is accepted twice"));
            }
        }
        Ok(shards)
    }

    /// What so many epochs at this rate cost: for storage, as fee, in reserve.
    fn cost(&self, rate: u128, epochs: u64) -> [u128; 3] {
        let storage = rate * u128::from(epochs);
        let fee = hundredths(storage, self.params.storage_fee_bp);
        [storage, fee, hundredths(storage, self.params.repair_reserve_bp)]
    }

    fn pay_for(&mut self, sender: AccountId, id: DealId, [storage, fee, reserve]: [u128; 3]) {
        let (from, reason) = (Place::Account { account: sender }, Reason::Deal { deal: id });
        let hold = HoldKey::Deal { deal: id };
        self.expect(from, Place::Storage, storage, reason);
        self.expect(from, Place::Treasury, fee, Reason::Fee);
        self.expect(from, Place::Hold { hold }, reserve, reason);
    }

    /// A shard waits for its node's table.
    fn join(&mut self, id: DealId, index: u8, keeper: Keeper, length: u64) {
        let due = self.due_ms(&keeper.node, keeper.from);
        let book = self.nodes.get_mut(&keeper.node).expect("it has accepted");
        book.joining.insert((keeper.from, id), (index, keeper.rate, length));
        if book.next.is_none() {
            book.next = Some(keeper.from);
            self.turns.insert((due, keeper.node));
        }
    }

    fn is_late(&self, node: &NodeId) -> bool {
        let mut overdue = self.turns.iter().take_while(|(turn_ms, _)| *turn_ms <= self.counted_ms);
        overdue.any(|(_, late)| late == node)
    }

    fn open_deal(&self, id: DealId) -> Result<&DealBook, String> {
        let deal = self.deals.get(&id).ok_or_else(|| format!("there is no deal {id}"))?;
        match deal.stage == Stage::Open && self.epoch < deal.end {
            true => Ok(deal),
            false => Err(format!("deal {id} is over")),
        }
    }

    /// Whether a node keeps its shard until an epoch for what it is paid: as it said when it took the shard, or says now.
    fn goes_on(&self, keeper: &Keeper, end: u64) -> bool {
        let book = &self.nodes[&keeper.node];
        let (asks, until) = book.asks;
        end <= keeper.until || !book.leaving && asks <= keeper.price && end <= until
    }

    fn extend(
        &mut self,
        sender: AccountId,
        deals: &[DealId],
        epochs: u64,
        cost_max: u128,
    ) -> Result<(), String> {
        let mut sum = 0;
        for id in deals {
            let deal = self.open_deal(*id)?;
            let end = deal.end + epochs;
            if deal.keepers().any(|(_, keeper)| !self.goes_on(&keeper, end)) {
                return Err(format!("deal {id} goes on without its nodes"));
            }
            let cost = self.cost(deal.rate(), epochs);
            sum += cost.iter().sum::<u128>();
            self.pay_for(sender, *id, cost);
            let deal = self.deals.get_mut(id).expect("it is open");
            let before = deal.end;
            deal.end = end;
            deal.reserve += cost[2];
            for (_, keeper) in deal.keepers() {
                let book = self.nodes.get_mut(&keeper.node).expect("it keeps a shard");
                if let Some(earning) = book.table.remove(&(before, *id)) {
                    book.table.insert((end, *id), earning);
                }
            }
            self.deals_due.remove(&(before, *id));
            self.deals_due.insert((end, *id));
            self.expected.push(Event::DealExtended { deal: *id, end });
        }
        match sum <= cost_max {
            true => Ok(()),
            false => Err(format!("longer terms cost {sum} instead of {cost_max}")),
        }
    }

    fn declare(&mut self, node: NodeId, shards: &[LostShard]) -> Result<(), String> {
        if self.is_late(&node) {
            return Err(format!("node {node} has seen its challenges, and loses shards"));
        }
        for LostShard { deal: id, index } in shards {
            let deal = self.open_deal(*id)?;
            let mine = deal.keepers().find(|(kept, keeper)| kept == index && keeper.node == node);
            let Some((_, keeper)) = mine else {
                return Err(format!(
                    "node {node} loses a shard of deal {id} that it does not keep"
                ));
            };
            let (end, length) = (deal.end, deal.length);
            let share = self.nodes[&node].share(length, self.repair_cost(length));
            let book = self.nodes.get_mut(&node).expect("it keeps a shard");
            let first = match book.table.remove(&(end, *id)) {
                Some(earning) => {
                    let next = book.next.expect("it has shards to prove");
                    book.table.insert((next, *id), earning);
                    next
                }
                None => {
                    book.joining.remove(&(keeper.from, *id));
                    self.expected.push(Event::ShardSpared { node, deal: *id });
                    keeper.from
                }
            };
            self.lose(node, *id, (keeper.rate * u128::from(end - first), share));
        }
        Ok(())
    }

    fn place_shards(&mut self, sender: AccountId, action: &Action) -> Result<(), String> {
        let Action::PlaceShards { terms, acceptances, cost_max } = action else {
            unreachable!("only placements come here");
        };
        let id = DealId(id_of("symbolon 2026 deal id v2", &terms.owner, &terms.opening));
        self.open_deal(id)?;
        self.tidy(id);
        let deal = self.open_deal(id)?;
        let (from, end, owner) = (self.epoch + 1, deal.end, deal.owner);
        let by_owner = owner == sender;
        let mine = NodeId::from(sender);
        let claimed = !by_owner && self.has_claimed(mine, id, acceptances)?;
        let new = self.accepted(id, deal.length, (from, end), acceptances)?;
        let before: BTreeMap<u8, Keeper> = deal.keepers().collect();
        let (mut cost, mut freed, mut of_lost) = (0, 0, 0);
        let (own, forfeited, length) = (deal.reserve - deal.forfeited, deal.forfeited, deal.length);
        for (index, shard) in &new {
            let keeper = shard.keeper.expect("it was accepted a moment ago");
            let known = deal.shards.get(index);
            if known.is_some_and(|known| known.root != shard.root) {
                return Err(format!("shard {index} of deal {id} gets another root"));
            }
            let old = before.get(index);
            if !by_owner && !claimed && old.is_none_or(|old| old.node != mine) {
                return Err(format!("shard {index} of deal {id} is not the sender's to place"));
            }
            let elsewhere = before.iter().any(|(at, old)| at != index && old.node == keeper.node);
            if elsewhere || old.is_some_and(|old| self.is_late(&old.node)) {
                return Err(format!("shard {index} of deal {id} cannot be placed now"));
            }
            let pay = keeper.rate * u128::from(end - from);
            cost += pay;
            of_lost += if known.is_some_and(|known| known.keeper.is_none()) { pay } else { 0 };
            if let Some(old) = old {
                freed += self.spared(id, old, (from, end), by_owner);
            }
        }
        let has_hold = by_owner || claimed;
        let spent = if has_hold { forfeited.min(of_lost) } else { 0 };
        let held = if has_hold { cost.min(freed + own + spent) } else { cost.min(freed) };
        if claimed && held < cost {
            return Err(format!("deal {id} has not the money for its caretaker's nodes"));
        }
        if cost - held > cost_max.0 {
            return Err(format!("a placement costs {} instead of {cost_max}", cost - held));
        }
        let (hold, reason) =
            (Place::Hold { hold: HoldKey::Deal { deal: id } }, Reason::Deal { deal: id });
        self.expect(Place::Storage, hold, freed, reason);
        self.expect(hold, Place::Storage, held, reason);
        self.expect(Place::Account { account: sender }, Place::Storage, cost - held, reason);
        let deal = self.deals.get_mut(&id).expect("it is open");
        deal.reserve = own + forfeited + freed - held;
        deal.forfeited = forfeited - spent;
        for accepted in acceptances {
            let index = accepted.index;
            if let Some(old) = before.get(&index) {
                self.replace(id, *old, (from, end), by_owner);
            }
            let shard = new[&index];
            let deal = self.deals.get_mut(&id).expect("it is open");
            deal.shards.insert(index, shard);
            let keeper = shard.keeper.expect("it was accepted a moment ago");
            self.join(id, index, keeper, length);
            self.shard_placed(id, (owner, sender), (index, keeper.node, keeper.from));
            self.expected.push(Event::ShardPlaced { deal: id, index, node: keeper.node });
        }
        self.forget_if_done(id);
        Ok(())
    }

    /// What a node is not paid any more if another one keeps its shard from an epoch on.
    fn spared(&self, id: DealId, old: &Keeper, (from, end): (u64, u64), by_owner: bool) -> u128 {
        let first = match self.nodes[&old.node].table.contains_key(&(end, id)) {
            true => from,
            false => old.from + u64::from(by_owner),
        };
        old.rate * u128::from(end - first)
    }

    /// A node keeps its shard until another one begins; if it waited, it waits no longer.
    fn replace(&mut self, id: DealId, old: Keeper, (from, end): (u64, u64), by_owner: bool) {
        let book = self.nodes.get_mut(&old.node).expect("it keeps a shard");
        if let Some(earning) = book.table.remove(&(end, id)) {
            book.table.insert((from, id), earning);
            return;
        }
        book.joining.remove(&(old.from, id));
        let account = book.payout;
        self.expected.push(Event::ShardSpared { node: old.node, deal: id });
        let pay = if by_owner { old.rate } else { 0 };
        let reason = Reason::Deal { deal: id };
        self.expect(Place::Storage, Place::Account { account }, pay, reason);
    }

    fn end(&mut self, sender: AccountId, id: DealId) -> Result<(), String> {
        let epoch = self.epoch;
        let deal = self.open_deal(id)?;
        if deal.owner != sender {
            return Err(format!("deal {id} is not this sender's to end"));
        }
        if deal.keepers().any(|(_, keeper)| self.is_late(&keeper.node)) {
            return Err(format!("deal {id} changes a table whose layer is known"));
        }
        if self.is_sold(sender, deal.object) {
            return Err(format!("deal {id} ends while a sale binds it"));
        }
        let deal = self.deals.get_mut(&id).expect("it is open");
        let begun = deal.start <= epoch;
        let (before, after) = (deal.end, if begun { epoch + 1 } else { deal.start });
        (deal.stage, deal.end) = (Stage::Cancelled, after);
        let reserve = (deal.reserve, deal.forfeited);
        let keepers = deal.keepers().collect::<Vec<_>>();
        self.deals_due.remove(&(before, id));
        self.deals_due.insert((after + 100, id));
        let (mut back, mut spared) = (0, Vec::new());
        for (_, keeper) in keepers {
            let book = self.nodes.get_mut(&keeper.node).expect("it keeps a shard");
            // What is in a table leaves it with the next turn. What waits is spared, and its node gets one epoch.
            let first_saved = if let Some(earning) = book.table.remove(&(before, id)) {
                let next = book.next.expect("it has shards to prove");
                book.table.insert((next, id), earning);
                next
            } else {
                book.joining.remove(&(keeper.from, id));
                spared.push((keeper, book.payout));
                keeper.from + 1
            };
            back += keeper.rate * u128::from(before - first_saved);
        }
        let (owner, reason) = (Place::Account { account: sender }, Reason::Deal { deal: id });
        self.expect(Place::Storage, owner, back, reason);
        self.settle_care(id, sender, true);
        self.give_back(id, sender, reserve);
        for (Keeper { node, rate, .. }, account) in spared {
            self.expected.push(Event::ShardSpared { node, deal: id });
            self.expect(Place::Storage, Place::Account { account }, rate, reason);
        }
        self.expected.push(Event::DealEnded { deal: id });
        Ok(())
    }

    fn prove(&mut self, node: NodeId, epoch: u64, leaves: &[LeafProof]) -> Result<(), String> {
        let book = self.nodes.get_mut(&node).ok_or_else(|| format!("no node {node}"))?;
        let due = book.table_rate();
        if book.window != Some(epoch) {
            let open = book.window;
            return Err(format!("node {node} is paid for epoch {epoch}, its window is {open:?}"));
        }
        if book.proven == Some(epoch) {
            return Err(format!("node {node} is paid twice for epoch {epoch}"));
        }
        book.proven = Some(epoch);
        book.passed += 1;
        book.missed_in_row = 0;
        let (account, layer) = (book.payout, book.layer);
        let layer = layer.ok_or_else(|| format!("the window of node {node} has no layer"))?;
        let part = match book.clean.0 {
            ..30 => 7_500,
            30..60 => 5_000,
            _ => 2_500,
        };
        let bytes: u64 = book.table.values().map(|(_, _, length)| length).sum();
        let (epochs, pay, proven) = book.clean;
        book.clean = (epochs + 1, pay + due, proven.saturating_add(bytes));
        let (kept, backing) = (book.kept(), book.backing());
        let lacks = self.needed(kept).saturating_sub(backing);
        let withheld = hundredths(due, part).min(lacks);
        self.nodes.get_mut(&node).expect("it proves").withheld += withheld;
        self.check_witness(node, (epoch, layer), leaves)?;
        let reason = Reason::Proven { node, epoch };
        self.expect(Place::Storage, Place::Collateral, withheld, reason);
        self.expect(Place::Storage, Place::Account { account }, due - withheld, reason);
        Ok(())
    }

    fn stake(&mut self, sender: AccountId, node: NodeId, amount: u128) -> Result<(), String> {
        let book = self.nodes.get_mut(&node).filter(|book| !book.dead && 0 < amount);
        book.ok_or_else(|| format!("nothing can be staked on {node}"))?.staked += amount;
        let from = Place::Account { account: sender };
        self.expect(from, Place::Collateral, amount, Reason::Collateral { node });
        Ok(())
    }

    fn unstake(&mut self, node: NodeId, amount: u128) -> Result<(), String> {
        let book = self.nodes.get(&node).filter(|book| !book.dead && 0 < amount);
        let book = book.ok_or_else(|| format!("{node} has no stake to take back"))?;
        let (account, needed) = (book.payout, self.needed(book.kept()));
        if book.backing() < needed + amount {
            return Err(format!("node {node} takes back what it needs"));
        }
        self.nodes.get_mut(&node).expect("it was there").take(amount);
        let to = Place::Account { account };
        self.expect(Place::Collateral, to, amount, Reason::Collateral { node });
        Ok(())
    }

    fn retire(&mut self, sender: AccountId) -> Result<(), String> {
        let node = NodeId::from(sender);
        let book = self.nodes.get(&node).ok_or_else(|| format!("{node} is no node"))?;
        if book.kept().1 > 0 || !book.table.is_empty() {
            return Err(format!("node {node} retires with shards"));
        }
        let book = self.nodes.remove(&node).expect("it was there");
        self.turns.retain(|(_, waits)| *waits != node);
        let (account, back) = (book.payout, book.backing());
        let to = Place::Account { account };
        self.expect(Place::Collateral, to, back, Reason::Collateral { node });
        let to = Place::Account { account: sender };
        self.expect(Place::Deposits, to, book.capacity_paid, Reason::Deposit);
        self.node_returned(sender);
        self.expected.push(Event::NodeRetired { node });
        Ok(())
    }

    /// The owner of a deal that is open.
    pub(super) fn open_deal_of(&self, id: DealId) -> Result<AccountId, String> {
        Ok(self.open_deal(id)?.owner)
    }

    /// Whether a node repairs for others.
    pub(super) fn offers(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|book| book.caretaker)
    }

    /// Whether a deal is one of this account for this segment of an object.
    pub(super) fn is_deal_of(
        &self,
        id: &DealId,
        owner: AccountId,
        object: ObjectId,
        segment: u32,
    ) -> bool {
        self.deals.get(id).is_some_and(|deal| {
            let of = (deal.owner, deal.object, deal.segment);
            let stands = matches!(deal.stage, Stage::Open | Stage::Completed);
            of == (owner, object, segment) && stands
        })
    }

    /// The first epoch in which an open deal is over.
    pub(super) fn end_of(&self, id: &DealId) -> Option<u64> {
        let deal = self.deals.get(id).filter(|deal| deal.stage == Stage::Open)?;
        (self.epoch < deal.end).then_some(deal.end)
    }

    /// Whether the term of a deal has not ended.
    pub(super) fn has_term(&self, id: &DealId) -> bool {
        self.deals.get(id).is_some_and(|deal| self.epoch < deal.end)
    }

    /// A node loses a part of its collateral, and half of what its proofs have earned it.
    pub(super) fn fine(&mut self, node: &NodeId, part: u128) {
        let book = self.nodes.get_mut(node).expect("it keeps a shard");
        book.take(part);
        let (epochs, pay, bytes) = book.clean;
        book.clean = (epochs / 2, pay / 2, bytes / 2);
    }

    /// Who keeps the shards of a deal, by index.
    pub(super) fn kept_by(&self, id: DealId) -> BTreeMap<u8, NodeId> {
        let keepers = self.deals.get(&id).into_iter().flat_map(DealBook::keepers);
        keepers.map(|(index, keeper)| (index, keeper.node)).collect()
    }

    /// The same with the first epoch of each.
    pub(super) fn keepers_of(&self, id: DealId) -> BTreeMap<u8, (NodeId, u64)> {
        let keepers = self.deals.get(&id).into_iter().flat_map(DealBook::keepers);
        keepers.map(|(index, keeper)| (index, (keeper.node, keeper.from))).collect()
    }

    pub(super) fn required(&self, id: DealId) -> usize {
        self.deals.get(&id).map_or(0, |deal| deal.required)
    }

    pub(super) fn total(&self, id: DealId) -> usize {
        self.deals.get(&id).map_or(0, |deal| deal.total)
    }

    /// The last epoch that a node has proven.
    pub(super) fn proven(&self, node: &NodeId) -> Option<u64> {
        self.nodes.get(node).and_then(|book| book.proven)
    }

    pub(super) fn add_reserve(&mut self, id: DealId, amount: u128) {
        self.deals.get_mut(&id).expect("it was opened").reserve += amount;
    }

    pub(super) fn take_reserve(&mut self, id: DealId, amount: u128) -> Result<(), String> {
        let deal = self.deals.get_mut(&id).expect("it was opened");
        let left = deal.reserve.checked_sub(amount);
        deal.reserve = left.ok_or_else(|| format!("deal {id} has not the money for {amount}"))?;
        Ok(())
    }

    /// Which shard of a deal is in a node's table, and what it earns in an epoch.
    pub(crate) fn earning(&self, node: &NodeId, deal: &DealId) -> Option<(u8, u128)> {
        let mut table = self.nodes.get(node)?.table.iter();
        table.find(|((_, of), _)| of == deal).map(|(_, (index, rate, _))| (*index, *rate))
    }

    /// The root and length of a shard.
    pub(crate) fn shard(&self, deal: &DealId, index: u8) -> Option<(Hash, u64)> {
        let deal = self.deals.get(deal)?;
        Some((deal.shards.get(&index)?.root, deal.length))
    }

    /// How many epochs nodes have proven, and how many they have missed.
    pub(crate) fn passed_and_missed(&self) -> (u64, u64) {
        let nodes = self.nodes.values();
        nodes.fold((0, 0), |(passed, missed), book| (passed + book.passed, missed + book.missed))
    }

    /// Whether a node is an account's own: as its key, as its operator, or by whom it is paid for.
    pub(super) fn runs(&self, account: AccountId, node: &NodeId) -> bool {
        *node == NodeId::from(account)
            || self
                .nodes
                .get(node)
                .is_some_and(|book| book.payout == account || book.operator == Some(account))
    }

    /// A custodian that kept silent loses a part of what stands for it.
    pub(super) fn pays_for_silence(&mut self, node: NodeId, order: OrderId) {
        let Some(book) = self.nodes.get_mut(&node) else { return };
        let penalty = hundredths(book.backing(), self.params.silence_penalty_bp);
        book.take(penalty);
        let reason = Reason::Silent { node, order };
        self.expect(Place::Collateral, Place::Repair, penalty, reason);
    }

    /// Where a node's pay goes.
    pub(super) fn payout(&self, node: &NodeId) -> Option<AccountId> {
        self.nodes.get(node).map(|book| book.payout)
    }
}
