//! Windows: the time in which a node proves an epoch, and the changes of its slot table before it.
//!
//! Every node has its own place in an epoch, so the windows of a network open one after another. A block gives a turn
//! to a bounded number of nodes, and changes a bounded number of their slots. What is left waits for the next block.

use alloc::vec::Vec;

use crate::{
    amount::Amount,
    codec::Encode,
    id::{ChainId, DealId, NodeId},
    ledger::{
        beacon::{self, Values},
        block::{Event, Place, Reason},
        books::Books,
        collateral, lost,
        rows::{
            Deals, Joins, Leave, Leaves, Node, Nodes, Nothing, Slot, Slots, Table, Window, Windows,
        },
        signing, slots,
        state::State,
    },
    time::Millis,
};

/// Nodes that get a turn in one block at most.
pub(super) const TURNS_MAX: usize = 128;

/// Slots that one block changes at most: three for each shard that its transactions may add. Each shard joins a table
/// and leaves it. A change of a slot changes up to four rows.
pub(super) const SLOT_CHANGES_MAX: usize = 384;

/// Of these, the changes of one table in one turn at most. So a node with many does not hold the others up.
pub(super) const TURN_CHANGES_MAX: usize = 128;

/// The windows whose misses are remembered, as bits: 30.
const REMEMBERED: u32 = (1 << 30) - 1;

/// Misses among these that cost only the pay of their epochs.
const MISSES_FORGIVEN: u32 = 2;

/// For how many epochs a node is given no new shards after a miss that is not forgiven.
const PAUSE_EPOCHS: u64 = 7;

/// A window lasts at least this part of an epoch, also when it opened late.
const SHORTEST_PARTS: u64 = 2;

/// How far into an epoch a node's windows open: with a tick that follows from its id.
#[must_use]
pub fn window_offset(chain: &ChainId, node: &NodeId, epoch_ms: Millis) -> Millis {
    let hash = signing::hash_parts("symbolon 2026 window offset v2", &[chain, node]);
    let (first, _) = hash.0.split_first_chunk().expect("a hash has more than eight bytes");
    beacon::begin_of(u64::from_le_bytes(*first) % beacon::EPOCH_TICKS, epoch_ms)
}

/// When a node's window of an epoch opens, in counted time.
fn opens_at<S: State + ?Sized>(books: &Books<'_, S>, id: &NodeId, epoch: u64) -> Millis {
    let length = books.chain.params.epoch_ms;
    let offset = window_offset(&books.chain.id, id, length);
    length.saturating_mul(epoch).saturating_add(offset)
}

/// Notes that a shard joins the node's table with its window of this epoch.
pub(super) fn wait_for<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    epoch: u64,
) {
    // A node in the queue gets a turn for every epoch, and none of them is later than the next.
    if node.next_epoch.is_none() {
        node.next_epoch = Some(epoch);
        let due = opens_at(books, id, epoch);
        wait_until(books, id, node, Some(due));
    }
}

/// Puts the node into the queue for its next turn.
fn wait_until<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    turn_ms: Option<Millis>,
) {
    node.turn_ms = turn_ms;
    if let Some(turn_ms) = turn_ms {
        books.put(Windows, &(turn_ms, *id), &Nothing {});
    }
}

/// Whether a node's turn has come, and could not be taken yet. The value that picks its leaves is known then, so its
/// table must not change.
pub(super) fn is_overdue<S: State + ?Sized>(books: &Books<'_, S>, node: &Node) -> bool {
    node.turn_ms.is_some_and(|turn_ms| turn_ms <= books.chain.counted_ms)
}

/// Gives a turn to the nodes that are due, earliest first. Returns how many slots changed.
pub(super) fn turn<S: State + ?Sized>(books: &mut Books<'_, S>, values: &Values) -> usize {
    let now = books.chain.counted_ms;
    let mut left = SLOT_CHANGES_MAX;
    for (key, _) in books.due(Windows, &[Windows::TAG], TURNS_MAX, |key| key.0 <= now) {
        if left == 0 {
            break;
        }
        books.remove(Windows, &key);
        left -= take_turn(books, key, values, left.min(TURN_CHANGES_MAX));
    }
    SLOT_CHANGES_MAX - left
}

/// One turn of a node: its window ends, its table changes, and the next window opens. A table with more changes than
/// this turn may make has no window until a later turn has made the last of them. Returns how many it made.
fn take_turn<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (due, ref id): (Millis, NodeId),
    values: &Values,
    changes_max: usize,
) -> usize {
    let mut node = books.get(Nodes, id).expect("only registered nodes wait for a window");
    let epoch = node.next_epoch.expect("it waited for a window");
    if let Some(window) = node.window.take() {
        end(books, id, &mut node, window.epoch);
    }
    let (changes, is_done) = if node.dead {
        lost::evict(books, id, &mut node, epoch, changes_max)
    } else {
        let left = leave_all(books, id, &mut node, epoch, changes_max);
        let joined = join_all(books, id, &mut node, epoch, changes_max - left);
        (left + joined, left + joined < changes_max)
    };
    let next = if is_done {
        let tick = beacon::tick_at(due, books.chain.params.epoch_ms);
        open(books, id, &mut node, Window { epoch, beacon: values.at(tick) })
    } else {
        // There may be more. Nodes that are due already come before it.
        Some(books.chain.counted_ms)
    };
    wait_until(books, id, &mut node, next);
    books.put(Nodes, id, &node);
    changes
}

/// Ends a window. If the node has not proven it, its pay goes to the repair pool. By its third miss within 30 windows, and
/// each later one, it loses a part of its collateral too; by too many in a row, all its shards.
fn end<S: State + ?Sized>(books: &mut Books<'_, S>, id: &NodeId, node: &mut Node, epoch: u64) {
    let missed = node.passed_epoch != Some(epoch);
    node.misses = ((node.misses << 1) | u32::from(missed)) & REMEMBERED;
    if !missed {
        return;
    }
    node.missed += 1;
    node.missed_in_row = node.missed_in_row.saturating_add(1);
    let reason = Reason::Missed { node: *id, epoch };
    books.transfer(Place::Storage, Place::Repair, node.rate, reason);
    if books.chain.params.dead_after_epochs <= node.missed_in_row {
        node.dead = true;
        (node.clean, node.record, node.proven) = (0, Amount::ZERO, 0);
        books.report(Event::NodeDied { node: *id });
    } else if MISSES_FORGIVEN < node.misses.count_ones() {
        collateral::penalise(books, *id, node);
        node.paused_until = books.chain.epoch.saturating_add(PAUSE_EPOCHS);
    }
}

/// Opens the window of an epoch if the table has slots. Returns when the node's next turn is due.
///
/// The value of the tick in which the window was due picks the leaves. No block before that tick has shown it, and
/// from then on nothing changes what joins and leaves in this turn. So no party but the onion's maker could know the
/// value while it could still change the table.
fn open<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    window: Window,
) -> Option<Millis> {
    let epoch = window.epoch;
    assert!(epoch <= books.chain.epoch, "no window opens before its epoch");
    node.next_epoch = if 0 < node.slots {
        node.window = Some(window);
        books.report(Event::WindowOpened { node: *id, epoch });
        Some(epoch + 1)
    } else {
        let waits = books.next_key(Joins, &of_node(Joins::TAG, id), None);
        waits.map(|(_, (start, _))| start)
    };
    let due = opens_at(books, id, node.next_epoch?);
    let length = books.chain.params.epoch_ms;
    let earliest = books.chain.counted_ms.saturating_add(length / SHORTEST_PARTS);
    Some(due.max(beacon::begin_from(earliest, length)))
}

/// What the keys of a node's rows begin with.
pub(super) fn of_node(tag: u8, node: &NodeId) -> Vec<u8> {
    let mut prefix = alloc::vec![tag];
    node.encode(&mut prefix);
    prefix
}

/// Takes the shards of deals that end with this epoch or before out of the table. Returns how many.
fn leave_all<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    epoch: u64,
    changes_max: usize,
) -> usize {
    let due =
        books.due(Leaves, &of_node(Leaves::TAG, id), changes_max, |(_, (end, _))| *end <= epoch);
    for ((_, key), _) in &due {
        leave(books, id, node, *key);
    }
    due.len()
}

/// Lets a shard in a table leave it with another epoch than it was to.
pub(super) fn move_leave<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (node, deal): (NodeId, DealId),
    from: u64,
    to: u64,
) {
    if from == to {
        return;
    }
    let leave = books.get(Leaves, &(node, (from, deal))).expect("a shard in a table leaves it");
    let place = (node, leave.position);
    let mut slot = books.get(Slots, &place).expect("tables are dense");
    assert!(slot.leaves == from && slot.deal == deal, "a slot knows when it leaves");
    slot.leaves = to;
    books.put(Slots, &place, &slot);
    books.remove(Leaves, &(node, (from, deal)));
    books.put(Leaves, &(node, (to, deal)), &leave);
}

/// Takes a shard out of the table: the last row fills the gap. Returns its row.
pub(super) fn leave<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    key: (u64, DealId),
) -> Slot {
    let key = (*id, key);
    // A shard that has left before may have moved this one.
    let Leave { position } = books.get(Leaves, &key).expect("it was read a moment ago");
    books.remove(Leaves, &key);
    let gone = books.get(Slots, &(*id, position)).expect("tables are dense");
    let (_, (_, deal)) = key;
    assert!(gone.deal == deal, "a shard leaves its own place");
    let last = node.slots.checked_sub(1).expect("the table has the row that leaves");
    if position != last {
        let moved = books.get(Slots, &(*id, last)).expect("tables are dense");
        books.put(Leaves, &(*id, (moved.leaves, moved.deal)), &Leave { position });
        books.put(Slots, &(*id, position), &moved);
    }
    books.remove(Slots, &(*id, last));
    node.slots = last;
    node.slot_bytes = node.slot_bytes.checked_sub(gone.length).expect("joined before");
    node.unbind(gone.length, gone.rate);
    node.rate = node.rate.checked_sub(gone.rate).expect("joined before");
    node.uncount(gone.length);
    node.table = slots::left(&node.table, position);
    if last == 0 {
        assert!(node.rate == Amount::ZERO, "an empty table earns nothing");
    }
    books.report(Event::ShardLeft { node: *id, deal });
    gone
}

/// Lets the shards of deals that begin with this epoch join the table. Returns how many.
fn join_all<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    epoch: u64,
    changes_max: usize,
) -> usize {
    let due =
        books.due(Joins, &of_node(Joins::TAG, id), changes_max, |(_, (start, _))| *start <= epoch);
    for (key, row) in &due {
        let (_, (start, deal)) = *key;
        assert!(start == epoch, "a node gets a turn for every epoch in which a shard joins");
        books.remove(Joins, key);
        join(books, id, node, deal, row.index);
    }
    due.len()
}

fn join<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    deal: DealId,
    index: u8,
) {
    let row = books.get(Deals, &deal).expect("a deal's row stays while its shards wait");
    let shard = row.shards.get(usize::from(index)).and_then(Option::as_ref);
    let shard = shard.expect("a shard that waits is one of its deal");
    assert!(shard.node == *id, "a shard joins the table of its node");
    let rate = shard.rate(row.length);
    let (root, length, leaves) = (shard.root, row.length, row.end);
    let slot = Slot { deal, index, root, length, rate, leaves };
    let position = node.slots;
    node.slots += 1;
    node.slot_bytes += slot.length;
    node.rate = node.rate.checked_add(rate).expect("part of what was issued");
    node.count(slot.length);
    node.table = slots::joined(&node.table, position, &slot);
    books.put(Slots, &(*id, position), &slot);
    books.put(Leaves, &(*id, (row.end, deal)), &Leave { position });
    books.report(Event::ShardJoined { node: *id, deal });
}
