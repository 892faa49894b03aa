//! Storage nodes: how they are registered, what stands for them, and how they leave.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        collateral::capacity_deposit,
        fees,
        rows::{Node, Nodes, Windows},
        slots,
        state::State,
        status::Status,
        storage::slot_rate,
        transaction::{Acceptance, Action},
    },
};

/// A checked action on a node.
#[derive(Debug)]
pub(super) enum Effect {
    Register { id: NodeId, node: Box<Node>, before: Amount },
    Stake { sender: AccountId, id: NodeId, amount: Amount },
    Unstake { id: NodeId, amount: Amount },
    Retire { id: NodeId },
}

impl Effect {
    /// What leaves the sender's balance.
    pub(super) fn spends(&self) -> Amount {
        match self {
            Self::Register { node, before, .. } => {
                node.deposit.checked_sub(*before).unwrap_or(Amount::ZERO)
            }
            Self::Stake { amount, .. } => *amount,
            Self::Unstake { .. } | Self::Retire { .. } => Amount::ZERO,
        }
    }
}

/// Whether these nodes may each take a shard of this length, at the prices that they have accepted.
pub(super) fn check_taking<S: State + ?Sized>(
    books: &Books<'_, S>,
    nodes: &[Node],
    length: u64,
    acceptances: &[Acceptance],
) -> Result<(), Status> {
    if nodes.iter().any(|node| !node.is_open(books.chain.epoch)) {
        return Err(Status::NodeClosed);
    }
    let covered = |(node, accepted): (&Node, &Acceptance)| {
        // A price beyond counting is refused later.
        slot_rate(accepted.price, length)
            .is_none_or(|rate| node.covers(&books.chain.params, length, rate))
    };
    match nodes.iter().zip(acceptances).all(covered) {
        true => Ok(()),
        false => Err(Status::CollateralTooLow),
    }
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    match action {
        Action::RegisterNode { .. } => check_register(books, sender, action),
        Action::RetireNode => check_retire(books, sender),
        Action::Stake { node, amount } => check_stake(books, sender, *node, *amount),
        Action::Unstake { amount } => check_unstake(books, sender, *amount),
        _ => unreachable!("only actions on nodes come here"),
    }
}

fn check_register<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let Action::RegisterNode {
        payout,
        operator,
        addresses,
        custody_key,
        caretaker,
        price,
        capacity,
        agrees_until,
        leaving,
    } = action
    else {
        unreachable!("only registrations come here");
    };
    let id = NodeId::from(sender);
    let mut node = books.get(Nodes, &id).unwrap_or_else(|| new_node(*payout));
    if *capacity < node.used {
        return Err(Status::NodeFull);
    }
    if node.dead && node.used == 0 {
        // It has lost everything, and may begin again.
        (node.dead, node.missed_in_row, node.misses, node.paused_until) = (false, 0, 0, 0);
    }
    let before = node.deposit;
    node.payout = *payout;
    node.operator = *operator;
    node.addresses.clone_from(addresses);
    node.custody_key = *custody_key;
    node.caretaker = *caretaker;
    node.price = *price;
    node.agrees_until = *agrees_until;
    node.capacity = *capacity;
    node.leaving = *leaving;
    node.deposit = capacity_deposit(&books.chain.params, *capacity);
    Ok(Effect::Register { id, node: Box::new(node), before })
}

fn new_node(payout: AccountId) -> Node {
    Node {
        payout,
        operator: None,
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price: Amount::ZERO,
        agrees_until: 0,
        capacity: 0,
        leaving: false,
        deposit: Amount::ZERO,
        collateral: Amount::ZERO,
        withheld: Amount::ZERO,
        used: 0,
        bound_rate: Amount::ZERO,
        slots: 0,
        lengths: Vec::new(),
        slot_bytes: 0,
        table: slots::NEW,
        rate: Amount::ZERO,
        window: None,
        next_epoch: None,
        turn_ms: None,
        passed_epoch: None,
        passed: 0,
        missed: 0,
        missed_in_row: 0,
        misses: 0,
        clean: 0,
        record: Amount::ZERO,
        proven: 0,
        paused_until: 0,
        dead: false,
    }
}

fn check_stake<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: NodeId,
    amount: Amount,
) -> Result<Effect, Status> {
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    // What a dead node has is lost.
    match node.dead {
        true => Err(Status::NodeClosed),
        false => Ok(Effect::Stake { sender, id, amount }),
    }
}

fn check_unstake<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    amount: Amount,
) -> Result<Effect, Status> {
    let id = NodeId::from(sender);
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    if node.dead {
        return Err(Status::NodeClosed);
    }
    let left = node.backing().checked_sub(amount);
    match left.is_some_and(|left| node.needs(&books.chain.params) <= left) {
        true => Ok(Effect::Unstake { id, amount }),
        false => Err(Status::CollateralTooLow),
    }
}

fn check_retire<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
) -> Result<Effect, Status> {
    let id = NodeId::from(sender);
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    match node.used {
        0 => Ok(Effect::Retire { id }),
        _ => Err(Status::TooEarly),
    }
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Register { id, node, before } => {
            assert!(node.used <= node.capacity, "a node offers at least its bound bytes");
            let more = node.deposit.checked_sub(before).unwrap_or(Amount::ZERO);
            let less = before.checked_sub(node.deposit).unwrap_or(Amount::ZERO);
            books.bind(AccountId::from(id), more);
            books.unbind(AccountId::from(id), less);
            books.put(Nodes, &id, &node);
        }
        Effect::Stake { sender, id, amount } => {
            let mut node = books.get(Nodes, &id).expect("checked to be registered");
            node.collateral = node.collateral.checked_add(amount).expect("part of what was issued");
            books.put(Nodes, &id, &node);
            let from = Place::Account { account: sender };
            books.transfer(from, Place::Collateral, amount, Reason::Collateral { node: id });
        }
        Effect::Unstake { id, amount } => {
            let mut node = books.get(Nodes, &id).expect("checked to be registered");
            give_back(books, id, &mut node, amount);
            books.put(Nodes, &id, &node);
        }
        Effect::Retire { id } => retire(books, id),
    }
}

/// A part of a node's collateral goes to its payout account.
fn give_back<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: NodeId,
    node: &mut Node,
    amount: Amount,
) {
    node.take(amount);
    let to = Place::Account { account: node.payout };
    books.transfer(Place::Collateral, to, amount, Reason::Collateral { node: id });
}

fn retire<S: State + ?Sized>(books: &mut Books<'_, S>, id: NodeId) {
    let mut node = books.get(Nodes, &id).expect("checked to be registered");
    assert!(node.slots == 0 && node.window.is_none(), "a node that keeps nothing proves nothing");
    let rest = node.backing();
    give_back(books, id, &mut node, rest);
    books.unbind(AccountId::from(id), node.deposit);
    fees::give_back(books, AccountId::from(id), fees::NODE);
    // It may still wait for a shard that it does not get any more.
    if let Some(turn_ms) = node.turn_ms {
        books.remove(Windows, &(turn_ms, id));
    }
    books.remove(Nodes, &id);
    books.report(Event::NodeRetired { node: id });
}
