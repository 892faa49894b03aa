//! Collateral: what a node stands for the bytes that it keeps with. It is staked, or withheld from its pay.

use crate::{
    amount::Amount,
    id::{DealId, NodeId, OrderId},
    ledger::{
        block::{Place, Reason},
        books::Books,
        params::{BP, Params},
        rows::{HoldKey, Node, Nodes},
        state::State,
        storage::{GIB, slot_rate},
    },
};

/// The part of its pay that a node without enough collateral does not get, in hundredths of a percent: until it has
/// proven the first number of epochs, until it has proven the second, and after that.
const WITHHELD_BP: [u16; 3] = [7500, 5000, 2500];
const WITHHELD_EPOCHS: [u64; 2] = [30, 60];

/// What a dead node's collateral gives for a shard, in hundredths of a percent of what its repair costs.
const DEAD_SHARE_BP: u64 = 11_000;

/// Why collateral pays for the repair of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Its node has said in time that it is lost.
    Declared,
    /// Its node is dead.
    Dead,
}

/// What the repair of so many bytes costs.
#[must_use]
pub fn repair_cost(params: &Params, bytes: u64) -> Amount {
    params.repair_price.fraction_up(bytes, GIB).unwrap_or(Amount(u128::MAX))
}

/// The collateral that a node needs which keeps so many bytes for so much pay per epoch.
#[must_use]
pub fn collateral_for(params: &Params, rate: Amount, bytes: u64) -> Amount {
    let most = Amount(u128::MAX);
    let pay = rate.checked_mul(u64::from(params.collateral_epochs)).unwrap_or(most);
    let repair = repair_cost(params, bytes).fraction(u64::from(params.repair_cover_bp), BP);
    pay.max(repair.unwrap_or(most))
}

/// The deposit for so much capacity.
#[must_use]
pub fn capacity_deposit(params: &Params, capacity: u64) -> Amount {
    params.capacity_deposit.fraction_up(capacity, GIB).unwrap_or(Amount(u128::MAX))
}

impl Node {
    /// Its collateral and the pay that is withheld.
    #[must_use]
    pub fn backing(&self) -> Amount {
        self.collateral.checked_add(self.withheld).unwrap_or(Amount(u128::MAX))
    }

    /// The collateral that it needs for what it keeps.
    #[must_use]
    pub fn needs(&self, params: &Params) -> Amount {
        collateral_for(params, self.bound_rate, self.used)
    }

    /// How much it may need beyond its collateral.
    #[must_use]
    pub fn allowance(&self, params: &Params) -> Amount {
        let grown = self.record.part(params.allowance_growth_bp);
        params.allowance.checked_add(grown).unwrap_or(Amount(u128::MAX))
    }

    /// Whether its collateral and its allowance cover so many bytes more, for so much more pay per epoch.
    #[must_use]
    pub fn covers(&self, params: &Params, length: u64, rate: Amount) -> bool {
        let rate = self.bound_rate.checked_add(rate).unwrap_or(Amount(u128::MAX));
        let needed = collateral_for(params, rate, self.used.saturating_add(length));
        let limit = self.backing().checked_add(self.allowance(params));
        needed <= limit.unwrap_or(Amount(u128::MAX))
    }

    /// How many bytes new shards at the price that it asks may take in this epoch.
    #[must_use]
    pub fn takes(&self, params: &Params, epoch: u64) -> u64 {
        if !self.is_open(epoch) {
            return 0;
        }
        let covered = |bytes: u64| {
            slot_rate(self.price, bytes).is_some_and(|rate| self.covers(params, bytes, rate))
        };
        let (mut least, mut most) = (0, self.free());
        if covered(most) {
            return most;
        }
        // What is needed grows with the bytes.
        while 1 < most - least {
            let middle = least + (most - least) / 2;
            if covered(middle) { least = middle } else { most = middle }
        }
        least
    }

    /// The part of this pay that is withheld.
    #[must_use]
    pub fn withholds(&self, params: &Params, pay: Amount) -> Amount {
        let lacks = self.needs(params).checked_sub(self.backing()).unwrap_or(Amount::ZERO);
        let stage = WITHHELD_EPOCHS.iter().filter(|epochs| **epochs <= self.clean).count();
        pay.part(WITHHELD_BP[stage]).min(lacks)
    }

    /// Binds room for a shard.
    pub(super) fn bind(&mut self, length: u64, rate: Amount) {
        self.used += length;
        self.bound_rate = self.bound_rate.checked_add(rate).expect("part of what was issued");
    }

    /// Gives the room of a shard back.
    pub(super) fn unbind(&mut self, length: u64, rate: Amount) {
        const BOUND: &str = "bound when the shard was placed";
        self.used = self.used.checked_sub(length).expect(BOUND);
        self.bound_rate = self.bound_rate.checked_sub(rate).expect(BOUND);
    }

    /// Takes so much of its collateral: withheld pay first.
    pub(super) fn take(&mut self, amount: Amount) {
        const THERE: &str = "checked to be there";
        let withheld = amount.min(self.withheld);
        self.withheld = self.withheld.checked_sub(withheld).expect(THERE);
        let rest = amount.checked_sub(withheld).expect(THERE);
        self.collateral = self.collateral.checked_sub(rest).expect(THERE);
    }
}

/// What a node's collateral gives for a shard that it keeps no longer: what the repair costs, with a part more if the node
/// is dead, but no more than the shard's share of the collateral by its bytes. The room of the shard is still bound.
pub(super) fn share<S: State + ?Sized>(
    books: &Books<'_, S>,
    node: &Node,
    length: u64,
    fault: Fault,
) -> Amount {
    share_of(&books.chain.params, node, length, fault)
}

pub(super) fn share_of(params: &Params, node: &Node, length: u64, fault: Fault) -> Amount {
    let cost = repair_cost(params, length);
    let most = match fault {
        Fault::Declared => Some(cost),
        Fault::Dead => cost.fraction(DEAD_SHARE_BP, BP),
    };
    let backing = node.backing();
    let part = backing.fraction(length, node.used).unwrap_or(backing);
    most.map_or(part, |most| most.min(part))
}

/// A part of a node's collateral pays for the repair of a deal's shard.
pub(super) fn forfeit<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: NodeId,
    node: &mut Node,
    deal: DealId,
    share: Amount,
) {
    node.take(share);
    let hold = HoldKey::Deal { deal };
    let reason = Reason::Collateral { node: id };
    books.transfer(Place::Collateral, Place::Hold { hold }, share, reason);
    books.note_forfeited(hold, |forfeited| forfeited.checked_add(share));
}

/// A dead node that keeps nothing loses what is left: to the repair pool, since any party could have caused its death.
pub(super) fn forfeit_rest<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: NodeId,
    node: &mut Node,
) {
    let rest = node.backing();
    node.take(rest);
    books.transfer(Place::Collateral, Place::Repair, rest, Reason::Collateral { node: id });
}

/// A miss that is not forgiven: a part of the collateral goes to the repair pool, and half of the node's record counts no
/// longer.
pub(super) fn penalise<S: State + ?Sized>(books: &mut Books<'_, S>, id: NodeId, node: &mut Node) {
    let part = node.backing().part(books.chain.params.miss_penalty_bp);
    node.take(part);
    (node.clean, node.record, node.proven) =
        (node.clean / 2, Amount(node.record.0 / 2), node.proven / 2);
    books.transfer(Place::Collateral, Place::Repair, part, Reason::Collateral { node: id });
}

/// A custodian whose silence has cost a buyer the goods loses a part of its collateral to the repair pool: any party could
/// have caused it. Its record of storage stays.
pub(super) fn penalise_silence<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: NodeId,
    order: OrderId,
) {
    // One that is a node no longer has no collateral.
    let Some(mut node) = books.get(Nodes, &id) else { return };
    let part = node.backing().part(books.chain.params.silence_penalty_bp);
    if part == Amount::ZERO {
        return;
    }
    node.take(part);
    books.put(Nodes, &id, &node);
    let reason = Reason::Silent { node: id, order };
    books.transfer(Place::Collateral, Place::Repair, part, reason);
}
