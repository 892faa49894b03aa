//! Epochs: storage proofs and their pay, and the boundary at which slot tables change.

use alloc::boxed::Box;

use crate::{
    amount::Amount,
    id::{AccountId, DealId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        rows::{
            Chain, Change, Changes, Deal, DealEnds, DealState, Deals, HoldKey, Node, Nodes, Slot,
            Slots, Table,
        },
        slots,
        state::State,
        status::Status,
        storage::{free, slot_rate},
    },
    proof::{self, LeafProof},
    time::LedgerTime,
};

/// If a boundary comes later than this part of an epoch after its time, no node missed the epoch: the
/// ledger stood still, and nodes could not prove.
const LATE_PARTS: u64 = 4;

/// A checked storage proof.
#[derive(Debug)]
pub(super) struct Effect {
    id: NodeId,
    node: Box<Node>,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    epoch: u64,
    leaves: &[LeafProof],
) -> Result<Effect, Status> {
    let id = NodeId::from(sender);
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    // A proof for another epoch answers other challenges: it cannot be checked at all.
    if epoch != books.chain.epoch {
        return Err(Status::WrongEpoch);
    }
    check_leaves(books, &id, &node, leaves)?;
    if node.passed_epoch == Some(epoch) {
        return Err(Status::AlreadyProven);
    }
    Ok(Effect { id, node: Box::new(node) })
}

fn check_leaves<S: State + ?Sized>(
    books: &Books<'_, S>,
    id: &NodeId,
    node: &Node,
    leaves: &[LeafProof],
) -> Result<(), Status> {
    // Drawing the challenges reads many rows, so the rules first refuse a count that cannot be right.
    let (weighted, uniform) = proof::challenge_counts(node.slot_bytes);
    if leaves.len() != weighted + uniform {
        return Err(Status::BadProof);
    }
    let chain = &books.chain;
    let slot = |position| {
        books.get(Slots, &(*id, position)).expect("slot tables are dense below their count")
    };
    let seed = proof::challenge_seed(&chain.id, chain.epoch, &chain.epoch_beacon, id, &node.table);
    let length_of = |position| slot(position).length;
    let challenges = proof::challenges(&seed, node.slots, node.longest, node.slot_bytes, length_of);
    if challenges.len() != leaves.len() {
        return Err(Status::BadProof);
    }
    for (challenge, leaf) in challenges.iter().zip(leaves) {
        let Slot { root, length, .. } = slot(challenge.slot);
        proof::verify_leaf(&root, length, challenge.leaf, leaf).map_err(|_| Status::BadProof)?;
    }
    Ok(())
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    let Effect { id, mut node } = effect;
    let epoch = books.chain.epoch;
    assert!(node.slots > 0, "only a node with slots has something to prove");
    assert!(node.passed_epoch < Some(epoch), "an epoch is paid once");
    node.passed_epoch = Some(epoch);
    node.passed += 1;
    node.missed_in_row = 0;
    books.put(Nodes, &id, &node);
    let payout = Place::Account { account: node.payout };
    books.transfer(Place::Storage, payout, node.rate, Reason::Proven { node: id, epoch });
}

/// When the current epoch ends.
pub(super) fn boundary(chain: &Chain) -> LedgerTime {
    chain.epoch_started_ms.saturating_add(chain.params.epoch_ms)
}

/// Ends the epoch if its time is over.
pub(super) fn turn<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let (now, length) = (books.now(), books.chain.params.epoch_ms);
    let boundary = boundary(&books.chain);
    if now < boundary {
        return;
    }
    books.chain.epoch_started_ms = now;
    if length / LATE_PARTS <= now.saturating_since(boundary) {
        // The ledger stood still: the same epoch gets its full length once more.
        return;
    }
    let epoch = books.chain.epoch;
    count_misses(books, epoch);
    complete(books, epoch);
    change_tables(books);
    books.chain.epoch += 1;
    books.chain.epoch_beacon = books.chain.beacon;
    books.report(Event::EpochBegan { epoch: books.chain.epoch });
}

/// The pay that nodes without a proof would have earned goes to the repair pool.
fn count_misses<S: State + ?Sized>(books: &mut Books<'_, S>, epoch: u64) {
    for (id, mut node) in books.all(Nodes, &[Nodes::TAG]) {
        if node.slots == 0 || node.passed_epoch == Some(epoch) {
            continue;
        }
        node.missed += 1;
        node.missed_in_row = node.missed_in_row.saturating_add(1);
        books.put(Nodes, &id, &node);
        let reason = Reason::Missed { node: id, epoch };
        books.transfer(Place::Storage, Place::Repair, node.rate, reason);
    }
}

/// Deals whose last epoch this was leave, and their reserve goes back.
fn complete<S: State + ?Sized>(books: &mut Books<'_, S>, epoch: u64) {
    let mut prefix = alloc::vec![DealEnds::TAG];
    prefix.extend_from_slice(&epoch.to_be_bytes());
    for (key, _) in books.all(DealEnds, &prefix) {
        let (last, id) = key;
        assert!(last == epoch, "deals complete with the epoch they end with");
        books.remove(DealEnds, &key);
        let mut deal = books.get(Deals, &id).expect("what ends was opened");
        assert!(deal.state == DealState::Active, "only active deals complete");
        leave(books, id, &mut deal);
        free(books, &deal);
        deal.state = DealState::Completed;
        books.put(Deals, &id, &deal);
        let reason = Reason::Deal { deal: id };
        books.close_hold(HoldKey::Deal { deal: id }, deal.owner, reason);
    }
}

fn change_tables<S: State + ?Sized>(books: &mut Books<'_, S>) {
    for (sequence, change) in books.all(Changes, &[Changes::TAG]) {
        assert!(sequence < books.chain.change_next, "changes are numbered");
        books.remove(Changes, &sequence);
        let (Change::Join { deal: id } | Change::Leave { deal: id }) = change;
        let mut deal = books.get(Deals, &id).expect("what changes was opened");
        match (change, deal.state) {
            (Change::Join { .. }, DealState::Offered) => {
                join(books, id, &mut deal);
                deal.state = DealState::Active;
            }
            // Its owner ended it before it began.
            (Change::Join { .. }, DealState::Cancelled) => continue,
            (Change::Leave { .. }, DealState::Cancelled) => leave(books, id, &mut deal),
            (_, state) => unreachable!("a deal that is {state:?} does not wait for this"),
        }
        books.put(Deals, &id, &deal);
    }
}

fn join<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &mut Deal) {
    assert!(deal.start == books.chain.epoch + 1, "a deal starts with the epoch after its opening");
    let length = deal.length;
    for (index, shard) in (0..).zip(&mut deal.shards) {
        let Some(shard) = shard else { continue };
        assert!(shard.position.is_none(), "a shard joins once");
        let rate = slot_rate(shard.price, length).expect("computed when the deal was opened");
        let slot = Slot { deal: id, index, root: shard.root, length, rate };
        let mut node = books.get(Nodes, &shard.node).expect("nodes are never removed");
        let position = node.slots;
        shard.position = Some(position);
        node.slots += 1;
        node.slot_bytes += length;
        node.longest = node.longest.max(length);
        node.rate = node.rate.checked_add(rate).expect("part of what was issued");
        node.table = slots::joined(&node.table, position, &slot);
        books.put(Slots, &(shard.node, position), &slot);
        books.put(Nodes, &shard.node, &node);
    }
}

/// Takes a deal's shards out of their nodes' tables: the last row fills the gap.
fn leave<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &mut Deal) {
    for shard in deal.shards.iter_mut().flatten() {
        let position = shard.position.take().expect("an active deal's shards are in the tables");
        let mut node = books.get(Nodes, &shard.node).expect("nodes are never removed");
        let last = node.slots.checked_sub(1).expect("the table has the row that leaves");
        let gone = books.get(Slots, &(shard.node, position)).expect("tables are dense");
        assert!(gone.deal == id, "a shard leaves its own place");
        if position != last {
            // A node keeps at most one shard of a deal, so the row that moves is another deal's.
            let moved = books.get(Slots, &(shard.node, last)).expect("tables are dense");
            let mut other = books.get(Deals, &moved.deal).expect("what has slots was opened");
            let place = other.shards.get_mut(usize::from(moved.index));
            let place = place.and_then(Option::as_mut).expect("a slot names its shard");
            place.position = Some(position);
            books.put(Deals, &moved.deal, &other);
            books.put(Slots, &(shard.node, position), &moved);
        }
        books.remove(Slots, &(shard.node, last));
        node.slots = last;
        node.slot_bytes = node.slot_bytes.checked_sub(deal.length).expect("joined before");
        node.rate = node.rate.checked_sub(gone.rate).expect("joined before");
        node.table = slots::left(&node.table, position);
        if last == 0 {
            // The table has no shard left, so no longest one.
            node.longest = 0;
            assert!(node.rate == Amount::ZERO, "an empty table earns nothing");
        }
        books.put(Nodes, &shard.node, &node);
    }
    books.report(Event::DealEnded { deal: id });
}
