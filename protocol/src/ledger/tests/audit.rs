//! What must hold of all rows after every block, computed without the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    amount::Amount,
    codec::{Decode, Encode},
    id::{DealId, ListingId, NodeId, OrderId},
    ledger::{
        DEAL_KEPT_EPOCHS, kept_ms,
        rows::{
            Accounts, Answers, Ballots, Cares, Chains, Choice, Deal, DealState, Deals, DealsDue,
            DealsOf, Degraded, Delegations, Draws, DutiesTable, HoldKey, Holds, Joins, Kept,
            KeptUntil, Leaves, Listing, ListingState, Listings, ListingsOf, Mandates, MotionState,
            Motions, MotionsDue, Node, Nodes, Order, OrderState, Orders, OrdersDue, OrdersOf,
            PoolsTable, Ranks, Redemptions, Repairs, Revocations, Roots, Sales, SeenTable,
            SeenUntil, Slot, Slots, Table, Unbondings, ValidatorRow, ValidatorState,
            ValidatorsTable, Vaults, Voice, Voices, Windows,
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
    audit_repairs(state);
    audit_kept(state);
    audit_deposits(state);
    audit_collateral(state);
    audit_sales(state);
    audit_stake(state);
    audit_motions(state);
}

/// Slot tables are dense, agree with the deals, and add up to the node rows.
fn audit_tables(state: &MemoryState) {
    let deals: BTreeMap<DealId, Deal> = rows(state, Deals).into_iter().collect();
    let mut leaves: BTreeMap<_, _> = rows(state, Leaves).into_iter().collect();
    let mut slots: BTreeMap<NodeId, Vec<Slot>> = BTreeMap::new();
    for ((node, position), slot) in rows(state, Slots) {
        let table = slots.entry(node).or_default();
        assert_eq!(usize::try_from(position).unwrap(), table.len(), "dense");
        table.push(slot);
        let deal = &deals[&slot.deal];
        let place = deal.shards[usize::from(slot.index)].unwrap();
        let leave = leaves.remove(&(node, (slot.leaves, slot.deal)));
        assert_eq!(leave.unwrap().position, position);
        assert_eq!((place.root, deal.length), (slot.root, slot.length));
        let waits = state.get(Joins, &(node, (place.from, slot.deal))).is_some();
        let ended = deal.state == DealState::Cancelled;
        if place.node == node && place.is_kept() && !waits && !ended {
            assert_eq!(slot_rate(place.price, slot.length), Some(slot.rate));
            assert_eq!(slot.leaves, deal.end);
        } else {
            let epoch = state.get(Chains, &()).unwrap().epoch;
            assert!(slot.leaves <= epoch + 1, "what is kept no longer leaves soon");
        }
    }
    assert!(leaves.is_empty(), "shards that leave and are in no table: {leaves:?}");
    let mut waiting: BTreeMap<NodeId, (u64, u128)> = BTreeMap::new();
    for ((node, (start, id)), join) in rows(state, Joins) {
        let deal = &deals[&id];
        let shard = deal.shards[usize::from(join.index)].unwrap();
        assert_eq!((shard.node, shard.from, shard.lost), (node, start, None));
        let waits = waiting.entry(node).or_default();
        waits.0 += deal.length;
        waits.1 += slot_rate(shard.price, deal.length).unwrap().0;
    }
    for (id, node) in rows(state, Nodes) {
        let table = slots.remove(&id).unwrap_or_default();
        let (waits, waiting_rate) = waiting.remove(&id).unwrap_or_default();
        assert_eq!(node.slots as usize, table.len());
        assert_eq!(node.slot_bytes, table.iter().map(|slot| slot.length).sum::<u64>());
        assert_eq!(node.rate.0, table.iter().map(|slot| slot.rate.0).sum::<u128>());
        let longest = table.iter().map(|slot| slot.length).max().unwrap_or_default();
        assert!(longest <= node.longest() && node.longest() < 2 * longest.max(1), "weights fit");
        assert_eq!(node.used, node.slot_bytes + waits, "room is bound while shards are there");
        assert_eq!(node.bound_rate.0, node.rate.0 + waiting_rate, "and so is their pay");
        assert!(node.used <= node.capacity && node.misses < 1 << 30);
        assert!(node.used > 0 || !node.dead || node.backing() == Amount::ZERO, "it paid");
        assert!(node.window.is_none() || 0 < node.slots, "an empty table has no window");
        let limit = state.get(Chains, &()).unwrap().params.dead_after_epochs;
        assert!(node.dead || node.missed_in_row < limit, "dead in time");
        assert!(node.next_epoch.is_some() || waits + node.slot_bytes == 0, "no node is forgotten");
    }
    assert!(slots.is_empty() && waiting.is_empty(), "shards of nodes that are not there");
}

/// The first epoch of a node's table that is neither proven nor missed.
fn first_owed(node: &Node) -> u64 {
    match node.window {
        Some(window) if node.passed_epoch == Some(window.epoch) => window.epoch + 1,
        Some(window) => window.epoch,
        None => node.next_epoch.unwrap_or_default(),
    }
}

/// The storage pool holds exactly what nodes may still earn.
fn audit_storage_pool(state: &MemoryState) {
    let mut owed = 0;
    for ((id, (end, _)), leave) in rows(state, Leaves) {
        let node = state.get(Nodes, &id).unwrap();
        let slot = state.get(Slots, &(id, leave.position)).unwrap();
        owed += slot.rate.0 * u128::from(end.saturating_sub(first_owed(&node)));
    }
    for ((_, (start, id)), join) in rows(state, Joins) {
        let deal = state.get(Deals, &id).unwrap();
        let price = deal.shards[usize::from(join.index)].unwrap().price;
        owed += slot_rate(price, deal.length).unwrap().0 * u128::from(deal.end - start);
    }
    assert_eq!(state.get(PoolsTable, &()).unwrap().storage, Amount(owed));
}

/// A hold stands exactly as long as what it is for.
fn audit_holds(state: &MemoryState) {
    let mut holds: BTreeMap<_, _> =
        rows(state, Holds).into_iter().map(|(key, hold)| (Holds::key(&key), hold)).collect();
    for (id, deal) in rows(state, Deals) {
        let hold = holds.remove(&Holds::key(&HoldKey::Deal { deal: id }));
        assert_eq!(hold.is_some(), deal.state == DealState::Open);
    }
    for (id, repair) in rows(state, Repairs) {
        let deal = state.get(Deals, &id).unwrap();
        assert_eq!(deal.state, DealState::Open, "an end settles what caretakers do");
        let claimed = repair.claim.iter().map(|claim| claim.fee.0 * claim.rebuild.len() as u128);
        let earned = repair.rewards.iter().map(|reward| reward.fee.0);
        let hold = holds.remove(&Holds::key(&HoldKey::Repair { deal: id })).unwrap();
        assert_eq!(hold.amount.0, claimed.chain(earned).sum::<u128>(), "fees are locked");
        assert_eq!(hold.payer, deal.owner);
    }
    for (id, order) in rows(state, Orders) {
        let hold = holds.remove(&Holds::key(&HoldKey::Order { order: id }));
        assert_eq!(hold.map(|hold| hold.amount), open(&order).then_some(order.amount));
    }
    for (id, order) in rows(state, Orders) {
        let hold = holds.remove(&Holds::key(&HoldKey::Complaint { order: id }));
        assert_eq!(hold.is_some(), order.asked.is_some());
    }
    for (id, motion) in rows(state, Motions) {
        let hold = holds.remove(&Holds::key(&HoldKey::Motion { motion: id }));
        let is_open = motion.state == MotionState::Open;
        assert_eq!(hold.map(|hold| hold.amount), is_open.then_some(motion.deposit));
    }
    for (id, listing) in rows(state, Listings) {
        let hold = holds.remove(&Holds::key(&HoldKey::Listing { listing: id }));
        let bound = match listing.state {
            ListingState::Open => true,
            ListingState::Ended => 0 < listing.open,
            ListingState::Frozen => false,
        };
        assert_eq!(hold.map(|hold| hold.amount), bound.then_some(listing.terms.bond));
    }
    assert!(holds.is_empty(), "holds without an owner: {holds:?}");
}

fn open(order: &Order) -> bool {
    matches!(order.state, OrderState::Paid | OrderState::Delivered | OrderState::Asked)
}

/// What a sale binds is what its listings and orders say, and answers stand only while a cell is asked for.
fn audit_sales(state: &MemoryState) {
    let orders = rows(state, Orders);
    let listings: BTreeMap<ListingId, Listing> = rows(state, Listings).into_iter().collect();
    let mut mandates: BTreeSet<ListingId> =
        rows(state, Mandates).into_iter().map(|(_, listing)| listing).collect();
    let mut sales: BTreeMap<_, (u32, u64)> = BTreeMap::new();
    for (id, listing) in &listings {
        assert!(mandates.remove(id), "each has a mandate of its own");
        let its = orders.iter().filter(|(_, order)| order.listing == *id && open(order));
        assert_eq!(listing.open, its.count() as u64);
        let sale = sales.entry((listing.seller, listing.terms.manifest.object)).or_default();
        sale.0 += u32::from(listing.state == ListingState::Open);
        sale.1 += listing.open;
        let draw = state.get(Draws, &listing.terms.manifest.content_root);
        let seed = draw.map(|draw| draw.seed);
        assert!(listing.preview_seed.is_none() || listing.preview_seed == seed);
    }
    assert!(mandates.is_empty(), "of listings that are not there: {mandates:?}");
    for ((seller, object), sale) in rows(state, Sales) {
        assert_eq!(sales.remove(&(seller, object)), Some((sale.listings, sale.orders)));
        let of_sale =
            |listing: &Listing| (listing.seller, listing.terms.manifest.object) == (seller, object);
        let settled = orders.iter().filter(|(_, order)| {
            order.state == OrderState::Settled && of_sale(&listings[&order.listing])
        });
        let until_ms = settled.map(|(_, order)| order.access_until_ms).max();
        assert!(until_ms <= Some(sale.until_ms), "access that was paid for is bound");
    }
    assert!(sales.is_empty(), "sales that bind nothing: {sales:?}");
    let mut answers: BTreeSet<_> = rows(state, Answers).into_iter().map(|(key, _)| key).collect();
    for (id, order) in orders {
        assert_eq!(order.asked.is_some(), order.state == OrderState::Asked);
        assert_eq!(order.refund.is_some(), order.state == OrderState::Refunded);
        for index in order.asked.into_iter().flat_map(|asked| asked.answered) {
            assert!(answers.remove(&(id, index)), "an answer has a row");
        }
    }
    assert!(answers.is_empty(), "answers to no question: {answers:?}");
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
        rows(state, DealsDue).into_iter().map(|(key, _)| key).collect();
    let deals = rows(state, Deals);
    assert_eq!((ends.len(), rows(state, DealsOf).len()), (deals.len(), deals.len()));
    for (id, deal) in &deals {
        let kept = if deal.state == DealState::Open { 0 } else { DEAL_KEPT_EPOCHS };
        assert!(ends.range((deal.end + kept, *id)..).any(|(_, due)| due == id));
    }
    let mut degraded = BTreeSet::new();
    for (id, deal) in &deals {
        let shards = || deal.shards.iter().flatten();
        let kept = shards().filter(|shard| shard.lost.is_none());
        let rates = kept.clone().map(|shard| slot_rate(shard.price, deal.length).unwrap().0);
        assert_eq!(deal.rate.0, rates.sum::<u128>(), "the price of what is kept");
        let nodes: BTreeSet<_> = kept.clone().map(|shard| shard.node).collect();
        assert_eq!(nodes.len(), kept.clone().count(), "each node keeps one shard");
        if deal.state == DealState::Open && kept.clone().count() < shards().count() {
            let spare = kept.count().saturating_sub(usize::from(deal.required));
            degraded.insert((u8::try_from(spare).unwrap(), *id));
        }
    }
    let said = rows(state, Degraded).into_iter().map(|(key, _)| key);
    assert_eq!(said.collect::<BTreeSet<_>>(), degraded);
    let queued: BTreeSet<NodeId> =
        rows(state, Windows).into_iter().map(|((_, node), _)| node).collect();
    assert_eq!(queued.len(), rows(state, Windows).len(), "a node waits for one window");
    let waiting = rows(state, Nodes).into_iter().filter(|(_, node)| node.next_epoch.is_some());
    assert_eq!(queued, waiting.map(|(id, _)| id).collect());

    let until = rows(state, SeenUntil);
    assert_eq!(until.len(), rows(state, SeenTable).len());
    assert!(until.iter().all(|((height, _), _)| chain.height <= *height), "pruned");
}

/// Care is for deals that are there, and a shard is rebuilt once.
fn audit_repairs(state: &MemoryState) {
    for (id, care) in rows(state, Cares) {
        let deal = state.get(Deals, &id).unwrap();
        assert_eq!(care.pads.len(), deal.shards.len());
        assert_eq!(DealId::of(&deal.owner, &care.opening), id);
        assert_eq!(state.get(Vaults, &care.vault).unwrap().owner, deal.owner);
    }
    for (id, repair) in rows(state, Repairs) {
        // Its owner may have taken the care back meanwhile.
        assert!(state.get(Deals, &id).is_some(), "only what is stored is repaired");
        assert!(repair.claim.is_some() || !repair.rewards.is_empty(), "an empty row leaves");
        let indexes: BTreeSet<u8> = repair.rewards.iter().map(|reward| reward.index).collect();
        assert_eq!(indexes.len(), repair.rewards.len(), "one reward for each shard");
    }
}

/// What is over waits to leave the state, nothing else does, and nothing points at what has left.
fn audit_kept(state: &MemoryState) {
    let chain = state.get(Chains, &()).unwrap();
    let mut kept: BTreeMap<Vec<u8>, LedgerTime> = BTreeMap::new();
    for ((until_ms, what), _) in rows(state, KeptUntil) {
        assert_eq!(kept.insert(what.to_bytes(), until_ms), None, "it leaves once");
    }
    let mut until = |what: Kept| kept.remove(&what.to_bytes());
    let after = |end_ms: LedgerTime| end_ms.saturating_add(kept_ms(&chain.params));
    let listings: BTreeMap<ListingId, Listing> = rows(state, Listings).into_iter().collect();
    let mut counts: BTreeMap<ListingId, u64> = BTreeMap::new();
    let mut of_accounts = BTreeSet::new();
    for (order, row) in rows(state, Orders) {
        let listing = &listings[&row.listing];
        *counts.entry(row.listing).or_default() += 1;
        of_accounts.extend([row.buyer, listing.seller].map(|who| (who, (row.listing, order))));
        let until_ms = until(Kept::Order { order });
        assert_eq!(until_ms.is_none(), open(&row), "closed orders leave");
        assert!(until_ms.is_none_or(|until_ms| after(row.access_until_ms) <= until_ms));
    }
    let pairs = |rows: Vec<(_, _)>| rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
    assert_eq!(pairs(rows(state, OrdersOf)), of_accounts);
    for (listing, row) in &listings {
        assert_eq!(row.orders, counts.remove(listing).unwrap_or_default());
        let over = row.state != ListingState::Open && row.orders == 0;
        assert_eq!(until(Kept::Listing { listing: *listing }).is_some(), over);
    }
    let of_seller =
        |(id, row): (&ListingId, &Listing)| (row.seller, (row.terms.manifest.object, *id));
    let listed: BTreeSet<_> = rows(state, ListingsOf).into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, listings.iter().map(of_seller).collect());
    for ((link, by), row) in rows(state, Revocations) {
        let until_ms = until(Kept::Revocation { link, by });
        assert_eq!(until_ms.is_some(), row.until_ms.is_some());
        assert!(row.until_ms.map(after) <= until_ms);
    }
    for (once, row) in rows(state, Redemptions) {
        assert_eq!(until(Kept::Redemption { once }), Some(after(row.until_ms)));
    }
    let ballots: BTreeSet<u64> = rows(state, Ballots).into_iter().map(|(key, _)| key.0).collect();
    for (motion, row) in rows(state, Motions) {
        let runs =
            matches!(row.state, MotionState::Open | MotionState::Passed | MotionState::Pending);
        assert_eq!(until(Kept::Motion { motion }).is_none(), runs);
        let leaves = until(Kept::Ballots { motion }).is_some();
        assert_eq!(leaves, row.state != MotionState::Open && ballots.contains(&motion));
    }
    assert!(kept.is_empty(), "what is not there cannot leave: {kept:?}");
}

/// Every row that stays has its deposit, and no other money is among the deposits.
fn audit_deposits(state: &MemoryState) {
    let count = |rows: usize, weight: u128| rows as u128 * weight;
    let shards = |(_, deal): &(DealId, Deal)| 4 + deal.shards.len();
    let weight = count(rows(state, Nodes).len(), 4)
        + count(rows(state, Deals).iter().map(shards).sum(), 1)
        + count(rows(state, Vaults).len(), 4)
        + count(rows(state, Listings).len(), 8)
        + count(rows(state, Orders).len(), 4)
        + rows(state, Cares)
            .iter()
            .map(|(_, care)| 4 + care.pads.len().div_ceil(4) as u128)
            .sum::<u128>()
        + count(rows(state, Revocations).len() + rows(state, Redemptions).len(), 1)
        + count(rows(state, Roots).len(), 8)
        + count(rows(state, Delegations).len() + rows(state, Unbondings).len(), 1)
        + count(rows(state, Motions).len(), 4)
        + count(rows(state, Ballots).len(), 1)
        // Founding validators have paid for no row.
        + count(rows(state, ValidatorsTable).iter().filter(|(_, row)| row.joined > 0).count(), 4);
    let params = state.get(Chains, &()).unwrap().params;
    let offered = rows(state, Nodes).into_iter().map(|(_, node)| {
        let deposit = (params.capacity_deposit.0 * u128::from(node.capacity)).div_ceil(1 << 30);
        assert_eq!(node.deposit.0, deposit, "the deposit grows with the capacity");
        deposit
    });
    let due = weight * params.deposit.0 + offered.sum::<u128>();
    assert_eq!(state.get(PoolsTable, &()).unwrap().deposits, Amount(due));
    let bound = rows(state, Accounts).iter().map(|(_, account)| account.deposits.0).sum::<u128>();
    assert_eq!(bound, due, "each account knows its own");
}

/// Open motions are due once, and what they count is what the ballots say, whose shares their owners have.
fn audit_motions(state: &MemoryState) {
    let chain = state.get(Chains, &()).unwrap();
    let mut due: BTreeSet<_> = rows(state, MotionsDue).into_iter().map(|(key, _)| key).collect();
    assert!(due.len() <= 16);
    let mut voices: BTreeMap<_, Voice> = BTreeMap::new();
    for ((motion, (validator, account)), ballot) in rows(state, Ballots) {
        let row = state.get(ValidatorsTable, &validator).unwrap();
        let voice = voices.entry((motion, validator)).or_default();
        if account == row.operator {
            assert_eq!(ballot.shares, 0, "an operator speaks for the rest");
            voice.operator = Some(ballot.choice);
        }
        let own = state.get(Delegations, &(validator, account)).map_or(0, |part| part.shares);
        let is_open = state.get(Motions, &motion).unwrap().state == MotionState::Open;
        assert!(ballot.shares <= own || account == row.operator || !is_open);
        *match ballot.choice {
            Choice::Yes => &mut voice.yes,
            Choice::No => &mut voice.no,
            Choice::Abstain => &mut voice.abstain,
            Choice::Veto => &mut voice.veto,
        } += ballot.shares;
    }
    let counted: BTreeMap<_, Voice> = rows(state, Voices).into_iter().collect();
    for (number, row) in rows(state, Motions) {
        assert!(number <= chain.motions);
        let until = match row.state {
            MotionState::Open => Some(row.closes),
            MotionState::Passed => Some(row.effective),
            _ => None,
        };
        assert!(until.is_none_or(|until| due.remove(&(until, number))));
        assert_eq!(row.tally.is_some(), row.state != MotionState::Open);
        let waits = chain.next_rules.is_some_and(|next| next.motion == number);
        assert_eq!(waits, row.state == MotionState::Pending);
        if row.state == MotionState::Open {
            let of = |all: &BTreeMap<(u64, _), Voice>| -> Vec<_> {
                all.iter().filter(|one| one.0.0 == number).map(|(key, one)| (*key, *one)).collect()
            };
            assert_eq!(of(&counted), of(&voices));
        }
    }
    assert!(due.is_empty(), "motions that are due and not there: {due:?}");
}

/// What stands for the bytes of nodes is in its pool, and what was forfeited is in holds.
fn audit_collateral(state: &MemoryState) {
    let of_node = |(_, node): &(NodeId, Node)| node.collateral.0 + node.withheld.0;
    let sum = rows(state, Nodes).iter().map(of_node).sum::<u128>();
    assert_eq!(state.get(PoolsTable, &()).unwrap().collateral, Amount(sum));
    for (key, hold) in rows(state, Holds) {
        assert!(hold.forfeited <= hold.amount);
        assert!(hold.forfeited == Amount::ZERO || matches!(key, HoldKey::Deal { .. }));
    }
}

/// Stake is where the rows of validators say, shares add up, ranks are those of the rows, and the set is what the state of
/// each says.
fn audit_stake(state: &MemoryState) {
    let chain = state.get(Chains, &()).unwrap();
    let pools = state.get(PoolsTable, &()).unwrap();
    let all = rows(state, ValidatorsTable);
    let sum = |of: fn(&ValidatorRow) -> Amount| all.iter().map(|(_, row)| of(row).0).sum::<u128>();
    assert_eq!(pools.stake.0, sum(|row| row.stake));
    assert_eq!(pools.unbonding.0, sum(|row| row.unbonding));
    let mut ranks = Vec::new();
    for (id, row) in &all {
        let others = rows(state, Delegations).into_iter().filter(|((of, _), _)| of == id);
        let others: Vec<_> = others.collect();
        assert!(others.iter().all(|((_, by), part)| part.shares > 0 && *by != row.operator));
        let shares = others.iter().map(|(_, part)| part.shares).sum::<u128>();
        assert_eq!(row.shares, shares + row.own_shares);
        let bound = rows(state, Unbondings).into_iter().filter(|((_, (of, _)), _)| of == id);
        assert_eq!(row.unbonding_shares, bound.map(|(_, part)| part.shares).sum::<u128>());
        assert!(row.shares > 0 || row.stake == Amount::ZERO);
        assert!(row.unbonding_shares > 0 || row.unbonding == Amount::ZERO);
        let is_member = chain.validators.power_of(id) > 0;
        let says = matches!(row.state, ValidatorState::Member | ValidatorState::Leaving);
        assert_eq!(is_member, says, "{:?}", row.state);
        let power = row.weight.min(1 << 55)
            + u64::try_from(row.stake.0 / chain.params.stake_unit.0).unwrap();
        let own = (row.stake.0 * row.own_shares).checked_div(row.shares).unwrap_or(0);
        let backed = row.weight > 0 || chain.params.stake_min.0 <= own;
        let stands = matches!(row.state, ValidatorState::Member | ValidatorState::Waiting);
        if stands && backed && power > 0 {
            ranks.push((u64::MAX - power.min(1 << 55), *id));
        }
    }
    ranks.sort_unstable();
    assert_eq!(rows(state, Ranks).into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ranks);
    assert_eq!(chain.validators.check(), Ok(()));
    assert_eq!(chain.validators.members.len(), chain.beacon.onions.len());
    let duties = state.get(DutiesTable, &());
    let count = duties.map_or(1, |duties| duties.members.len());
    assert!(count == chain.validators.members.len() || chain.height == 0 || count == 1);
    assert!(chain.validators.power() <= u64::MAX / 3 || chain.epoch == 0);
}
