//! What must hold of all rows after every block, computed without the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    amount::Amount,
    codec::Decode,
    id::{DealId, NodeId, OrderId},
    ledger::{
        rows::{
            Chains, Deal, DealEnds, DealState, Deals, HoldKey, Holds, Nodes, Order, OrderState,
            Orders, OrdersDue, PoolsTable, SeenTable, SeenUntil, Slot, Slots, Table,
        },
        sheet,
        state::{MemoryState, State, StateExt},
        storage::slot_rate,
    },
    time::LedgerTime,
};

/// All rows of a table.
pub(super) fn rows<T: Table>(state: &MemoryState, _table: T) -> Vec<(T::Key, T::Row)> {
    let rows = state.scan(&[T::TAG], None, usize::MAX);
    rows.iter()
        .map(|(key, row)| (T::parse(key).unwrap(), T::Row::from_bytes(row).unwrap()))
        .collect()
}

pub(super) fn audit(state: &MemoryState) {
    let sheet = sheet(state).unwrap();
    assert!(sheet.balanced(), "{sheet:?}");
    audit_tables(state);
    audit_storage_pool(state);
    audit_holds(state);
    audit_indexes(state);
}

/// Slot tables are dense, agree with the deals, and add up to the node rows.
fn audit_tables(state: &MemoryState) {
    let deals: BTreeMap<DealId, Deal> = rows(state, Deals).into_iter().collect();
    let mut slots: BTreeMap<NodeId, Vec<Slot>> = BTreeMap::new();
    for ((node, position), slot) in rows(state, Slots) {
        let table = slots.entry(node).or_default();
        assert_eq!(usize::try_from(position).unwrap(), table.len(), "dense");
        table.push(slot);
        let place = deals[&slot.deal].shards[usize::from(slot.index)].unwrap();
        assert_eq!((place.node, place.position), (node, Some(position)));
        assert_eq!((place.root, deals[&slot.deal].length), (slot.root, slot.length));
        assert_eq!(slot_rate(place.price, slot.length), Some(slot.rate));
    }
    for (id, node) in rows(state, Nodes) {
        let table = slots.remove(&id).unwrap_or_default();
        assert_eq!(node.slots as usize, table.len());
        assert_eq!(node.slot_bytes, table.iter().map(|slot| slot.length).sum::<u64>());
        assert_eq!(node.rate.0, table.iter().map(|slot| slot.rate.0).sum::<u128>());
        assert!(table.iter().all(|slot| slot.length <= node.longest));
        let bound = |deal: &&Deal| {
            let open = matches!(deal.state, DealState::Offered | DealState::Active);
            open && deal.shards.iter().flatten().any(|shard| shard.node == id)
        };
        let used: u64 = deals.values().filter(bound).map(|deal| deal.length).sum();
        assert_eq!(node.used, used, "room is bound while a deal is open");
        assert!(node.used <= node.capacity);
    }
    assert!(slots.is_empty(), "tables of nodes that are not there");
}

/// The storage pool holds exactly what nodes may still earn.
fn audit_storage_pool(state: &MemoryState) {
    let chain = state.get(Chains, &()).unwrap();
    let mut owed = 0;
    for (_, node) in rows(state, Nodes) {
        if node.passed_epoch != Some(chain.epoch) {
            owed += node.rate.0;
        }
    }
    for (_, deal) in rows(state, Deals) {
        let left = match deal.state {
            DealState::Offered => deal.end - deal.start,
            DealState::Active => deal.end - chain.epoch - 1,
            DealState::Completed | DealState::Cancelled => 0,
        };
        owed += deal.rate.0 * u128::from(left);
    }
    assert_eq!(state.get(PoolsTable, &()).unwrap().storage, Amount(owed));
}

/// A hold stands exactly as long as what it is for.
fn audit_holds(state: &MemoryState) {
    let mut holds: BTreeMap<_, _> =
        rows(state, Holds).into_iter().map(|(key, hold)| (Holds::key(&key), hold)).collect();
    for (id, deal) in rows(state, Deals) {
        let hold = holds.remove(&Holds::key(&HoldKey::Deal { deal: id }));
        let open = matches!(deal.state, DealState::Offered | DealState::Active);
        assert_eq!(hold.is_some(), open);
    }
    for (id, order) in rows(state, Orders) {
        let hold = holds.remove(&Holds::key(&HoldKey::Order { order: id }));
        assert_eq!(hold.map(|hold| hold.amount), open(&order).then_some(order.amount));
    }
    assert!(holds.is_empty(), "holds without an owner: {holds:?}");
}

fn open(order: &Order) -> bool {
    matches!(order.state, OrderState::Paid | OrderState::Delivered)
}

/// Rows that point at others say what those say.
fn audit_indexes(state: &MemoryState) {
    let chain = state.get(Chains, &()).unwrap();
    let due: BTreeSet<(LedgerTime, OrderId)> =
        rows(state, OrdersDue).into_iter().map(|(key, _)| key).collect();
    let orders = rows(state, Orders);
    let expected = orders.iter().filter(|(_, order)| open(order));
    assert_eq!(due, expected.map(|(id, order)| (order.due_ms, *id)).collect());
    // A block that leaves something overdue has closed as many as one block may.
    let closed = orders.iter().filter(|(_, order)| !open(order)).count();
    let overdue = due.iter().any(|(due_ms, _)| *due_ms <= chain.time_ms);
    assert!(!overdue || 100 <= closed, "nothing is overdue");

    let ends: BTreeSet<(u64, DealId)> =
        rows(state, DealEnds).into_iter().map(|(key, _)| key).collect();
    let deals = rows(state, Deals);
    let running = deals
        .iter()
        .filter(|(_, deal)| matches!(deal.state, DealState::Offered | DealState::Active));
    assert_eq!(ends, running.map(|(id, deal)| (deal.end - 1, *id)).collect());

    let until = rows(state, SeenUntil);
    assert_eq!(until.len(), rows(state, SeenTable).len());
    assert!(until.iter().all(|((height, _), _)| chain.height <= *height), "pruned");
}
