//! Blocks stay small, whatever falls due together: deals that end, nodes that register, nodes that miss.
//!
//! These ledgers are too large for the audit in `World`. What holds at the end is checked instead.

use std::{vec, vec::Vec};

use ed25519_dalek::SigningKey;

use super::{audit::rows, world::params};
use crate::{
    amount::Amount,
    codec::Encode,
    id::{AccountId, DealId, Hash, ListingId, NodeId, ObjectId, Opening, OrderId, TransactionId},
    ledger::{
        DEAL_KEPT_EPOCHS, DECLARED_SHARDS_MAX, EXTENDED_DEALS_MAX, PLACED_SHARDS_MAX, Params,
        REWARDS_MAX,
        beacon::Onions,
        block::{Event, Genesis, Place, Reason},
        closing,
        commit::Validators,
        execute::{self, BlockBuilder, Pushed},
        kept, listing, order,
        rows::{
            Access, Chain, Chains, Deals, DealsDue, HoldKey, Nodes, PoolsTable, SeenTable, Windows,
        },
        sheet,
        state::{MemoryState, Overlay, StateExt},
        transaction::{Acceptance, Action, DealTerms, Transaction},
        window,
    },
    limits::{
        BLOCK_BYTES_MAX, CUSTODIANS_MAX, LEAF_BYTES, MESSAGE_BYTES_MAX, SHARDS_MAX, SPLITS_MAX,
        TRANSACTION_BYTES_MAX, TRANSACTION_EVENT_BYTES_MAX,
    },
    time::LedgerTime,
};

/// Rows that a block may change, without those of the state tree: what is due, and what transactions change.
const ROWS_MAX: usize = 20_000;
/// Earns 3 units per leaf and epoch.
const PRICE: Amount = Amount(3_000_000);
const OWNER: u32 = 0;

fn key(number: u32) -> SigningKey {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn account(number: u32) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

/// A ledger with many parties.
struct Large {
    state: MemoryState,
    genesis: Genesis,
    now: u64,
    onions: Onions,
    next_id: u64,
    /// Most events of one kind in a block, in the order of [`KINDS`].
    most: [usize; KINDS.len()],
    total: [usize; KINDS.len()],
}

/// A kind of event.
type Kind = fn(&Event) -> bool;

const KINDS: [Kind; 4] = [
    |event| matches!(event, Event::Moved { reason: Reason::Missed { .. }, .. }),
    |event| matches!(event, Event::WindowOpened { .. }),
    |event| matches!(event, Event::ShardJoined { .. } | Event::ShardLeft { .. }),
    |event| matches!(event, Event::DealEnded { .. }),
];

impl Large {
    fn new() -> Self {
        let mut onions = Onions::new(&[3; 32], [3; 32]);
        let starts = vec![onions.start()];
        let faucet = Amount::credits(1_000_000);
        let params = Params { faucet, validity_blocks_max: 10_000, ..params() };
        let (validators, time_ms) = (Validators::alone(account(1)), LedgerTime(1_000));
        let genesis = Genesis { params, validators, time_ms, onions: starts };
        let mut state = MemoryState::default();
        state.commit(&execute::genesis(&genesis).update);
        let (most, total) = ([0; KINDS.len()], [0; KINDS.len()]);
        Self { state, now: genesis.time_ms.0, genesis, onions, next_id: 0, most, total }
    }

    fn chain(&self) -> Chain {
        self.state.get(Chains, &()).unwrap()
    }

    fn sign(&mut self, who: u32, action: Action) -> Transaction {
        self.next_id += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_id.to_be_bytes());
        Transaction::build(self.genesis.chain(), &key(who), TransactionId(id), 2_000, action)
    }

    /// Applies all transactions, in as many blocks as they need. Returns how many blocks those are.
    fn apply(&mut self, transactions: &[Transaction]) -> usize {
        let (mut left, mut blocks) = (transactions, 0);
        loop {
            blocks += 1;
            let count = self.block(left);
            left = &left[count..];
            if left.is_empty() {
                return blocks;
            }
        }
    }

    /// One block with as many of the transactions as fit.
    fn block(&mut self, transactions: &[Transaction]) -> usize {
        let facts = self.onions.inputs(&self.state, 0, LedgerTime(self.now)).unwrap();
        let mut builder = BlockBuilder::new(&self.state, &facts).unwrap();
        let (mut applied, mut bytes) = (0, 0);
        for transaction in transactions {
            let size = transaction.to_bytes().len();
            if !builder.fits(transaction, size) {
                break;
            }
            assert_eq!(builder.push(transaction), Ok(Pushed::Applied));
            applied += 1;
            bytes += size;
        }
        let executed = builder.finish();
        bytes += executed.events.iter().map(|event| event.to_bytes().len()).sum::<usize>();
        assert!(bytes <= BLOCK_BYTES_MAX, "a block with its events has {bytes} bytes");
        let rows = executed.update.rows.keys().filter(|key| key[0] != 0).count();
        assert!(rows <= ROWS_MAX, "a block changes {rows} rows");
        for (kind, (most, total)) in KINDS.iter().zip(self.most.iter_mut().zip(&mut self.total)) {
            let count = executed.events.iter().filter(|event| kind(event)).count();
            *most = count.max(*most);
            *total += count;
        }
        self.state.commit(&executed.update);
        applied
    }

    /// Makes every block that is due, until an epoch begins.
    fn reach(&mut self, epoch: u64) {
        while self.chain().epoch < epoch {
            self.now = self.now.max(execute::next_due(&self.state).unwrap().0);
            self.block(&[]);
        }
    }

    /// Makes blocks at one moment for as long as one is due.
    fn settle(&mut self) -> usize {
        let mut blocks = 0;
        while execute::next_due(&self.state).unwrap().0 <= self.now {
            self.block(&[]);
            blocks += 1;
        }
        blocks
    }

    fn registrations(&mut self, nodes: std::ops::Range<u32>) -> Vec<Transaction> {
        let register = |number| Action::RegisterNode {
            payout: account(number),
            addresses: Vec::new(),
            custody_key: None,
            caretaker: false,
            price: PRICE,
            capacity: 1 << 40,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        nodes.map(|number| self.sign(number, register(number))).collect()
    }

    /// A deal of one leaf on each of these nodes.
    fn deal(&mut self, number: u32, nodes: std::ops::Range<u32>, epochs: u64) -> Transaction {
        let opening = Opening(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let total = u8::try_from(nodes.len()).unwrap();
        let terms = DealTerms {
            owner: account(OWNER),
            opening,
            object: ObjectId([5; 16]),
            segment: number,
            required: 1,
            total,
            length: LEAF_BYTES as u64,
            access: Access::Public,
            epochs,
        };
        let chain = self.genesis.chain();
        let accept = |(index, node): (u8, u32)| {
            let shard = (index, Hash([7; 32]));
            Acceptance::build(
                &chain,
                &terms,
                &key(node),
                shard,
                (PRICE, u64::MAX),
                LedgerTime::NEVER,
            )
        };
        let acceptances = (0..).zip(nodes).map(accept).collect();
        let cost_max = Amount::credits(1);
        self.sign(OWNER, Action::OpenDeal { terms, acceptances, cost_max })
    }

    fn funded() -> Self {
        let mut large = Self::new();
        let faucet = large.sign(OWNER, Action::Faucet);
        large.apply(&[faucet]);
        large
    }
}

/// What `spec/ledger.md` says under "What a block costs".
#[test]
fn the_events_of_what_is_due_leave_room_for_a_transaction() {
    let (account, deal, node) = (AccountId([1; 32]), DealId([2; 16]), NodeId::from(account(1)));
    let order = OrderId([3; 16]);
    let bytes = |event: Event| event.to_bytes().len();
    let paid = |from, to, reason| bytes(Event::Moved { from, to, amount: Amount(1), reason });
    let (to, sale) = (Place::Account { account }, Reason::Sale { order });
    let hold = Place::Hold { hold: HoldKey::Order { order } };
    let fee = paid(hold, Place::Treasury, Reason::Fee);
    let shares = CUSTODIANS_MAX + SPLITS_MAX + 1;
    let settled = fee + shares * paid(hold, to, sale) + bytes(Event::OrderSettled { order });
    let silent = paid(Place::Collateral, Place::Repair, Reason::Silent { node, order });
    let refunded =
        CUSTODIANS_MAX * silent + paid(hold, to, sale) + bytes(Event::OrderRefunded { order });
    assert!(refunded <= settled, "an order that is refunded reports no more");
    let reserve = Place::Hold { hold: HoldKey::Deal { deal } };
    let back = paid(reserve, to, Reason::Deal { deal });
    let completed = back + bytes(Event::DealEnded { deal });
    let returned = paid(Place::Deposits, to, Reason::Deposit);
    let left = bytes(Event::ShardLeft { node, deal });
    let missed = paid(Place::Storage, Place::Repair, Reason::Missed { node, epoch: 1 });
    let freed = paid(Place::Storage, reserve, Reason::Deal { deal });
    let lost = freed + bytes(Event::ShardLost { deal, index: 1, node });
    assert!(left + lost <= 2 * completed, "a shard of a dead node counts for two changes");
    let due = order::DUE_MAX * settled
        + listing::PREVIEWS_MAX * bytes(Event::PreviewPicked { listing: ListingId([4; 16]) })
        + bytes(Event::EpochBegan { epoch: 1 })
        + window::TURNS_MAX * (missed + bytes(Event::WindowOpened { node, epoch: 1 }))
        + window::TURNS_MAX * bytes(Event::NodeDied { node })
        + closing::STEPS_MAX * completed.max(left).max(bytes(Event::ShardJoined { node, deal }))
        + kept::LEAVING_MAX * returned;
    assert!(returned <= completed, "a deal that is removed reports no more");
    let locked = Place::Hold { hold: HoldKey::Repair { deal } };
    let rebuilt = paid(locked, to, Reason::Repaired { deal });
    assert!(rebuilt <= completed, "a caretaker that is paid counts for a step");
    assert_eq!(due, 702_293);
    let cancelled = paid(Place::Storage, to, Reason::Deal { deal })
        + back
        + usize::from(SHARDS_MAX) * (left + paid(Place::Storage, to, Reason::Deal { deal }))
        + (REWARDS_MAX + 1) * rebuilt
        + bytes(Event::DealEnded { deal });
    let placed = bytes(Event::ShardPlaced { deal, index: 1, node });
    let placed = 4 * freed
        + PLACED_SHARDS_MAX
            * (placed + left + rebuilt + paid(Place::Storage, to, Reason::Deal { deal }));
    let declared = DECLARED_SHARDS_MAX * (left + lost);
    let extended = paid(to, Place::Storage, Reason::Deal { deal })
        + paid(to, Place::Treasury, Reason::Fee)
        + paid(to, reserve, Reason::Deal { deal })
        + bytes(Event::DealExtended { deal, end: 1 });
    let extended = EXTENDED_DEALS_MAX * extended;
    let bill = paid(to, Place::Treasury, Reason::Fee) + paid(to, Place::Deposits, Reason::Deposit);
    let most = settled.max(cancelled).max(placed).max(declared).max(extended);
    assert!(bill + most <= TRANSACTION_EVENT_BYTES_MAX, "{most}");
    assert!(due + TRANSACTION_BYTES_MAX + TRANSACTION_EVENT_BYTES_MAX <= BLOCK_BYTES_MAX);
    // The block and what frames it are one message.
    const { assert!(BLOCK_BYTES_MAX + TRANSACTION_BYTES_MAX <= MESSAGE_BYTES_MAX) };
}

#[test]
fn deals_that_end_together_end_over_several_blocks() {
    const DEALS: u32 = 25_000;
    let mut large = Large::funded();
    let node = large.registrations(1..2);
    large.apply(&node);
    let deals: Vec<_> = (0..DEALS).map(|number| large.deal(number, 1..2, 1)).collect();
    assert_eq!(large.apply(&deals), DEALS.div_ceil(128) as usize, "128 shards a block");
    let node = |large: &Large| large.state.get(Nodes, &NodeId::from(account(1))).unwrap();
    let all = (LEAF_BYTES as u64) * u64::from(DEALS);
    assert_eq!((node(&large).used, node(&large).slots), (all, 0));
    large.reach(2);
    assert_eq!((node(&large).used, node(&large).slots), (all, DEALS));
    large.reach(3);
    assert_eq!((node(&large).used, node(&large).slots), (0, 0));
    assert_eq!(node(&large).next_epoch, None);
    large.settle();
    let [missed, opened, changed, ended] = large.total;
    assert_eq!((missed, opened, changed, ended), (1, 1, 50_000, 25_000));
    assert_eq!(large.most[2..], [128, 512], "one table, and all deals");
    let sums = sheet(&large.state).unwrap();
    assert!(sums.balanced());
    assert_eq!((sums.holds, sums.pools.storage), (Amount::ZERO, Amount::ZERO));
    assert_eq!(sums.pools.repair, Amount(3 * u128::from(DEALS)));

    assert_eq!(rows(&large.state, Deals).len(), DEALS as usize, "they may still be asked for");
    large.reach(2 + DEAL_KEPT_EPOCHS);
    assert!(large.settle() >= 12);
    assert_eq!(rows(&large.state, Deals).len() + rows(&large.state, DealsDue).len(), 0);
}

#[test]
fn tables_that_change_together_change_over_several_blocks() {
    const NODES: u32 = 40;
    const DEALS: u32 = 130;
    let mut large = Large::funded();
    let signed = large.registrations(1..1 + NODES);
    large.apply(&signed);
    let deals: Vec<_> = (0..DEALS).map(|number| large.deal(number, 1..1 + NODES, 1)).collect();
    assert_eq!(large.apply(&deals), DEALS.div_ceil(128 / NODES) as usize);
    large.reach(1);
    let all = (NODES * DEALS) as usize;
    while large.total[2] < 2 * all {
        // A block that is as late as it may be: a quarter of the nodes is due, with 130 changes each.
        large.now = large.now.max(execute::next_due(&large.state).unwrap().0 + 2_499);
        large.block(&[]);
        large.settle();
    }
    assert_eq!(large.total[2], 2 * all);
    assert_eq!(large.most[2], 384);
    let node = large.state.get(Nodes, &NodeId::from(account(NODES))).unwrap();
    assert_eq!((node.slots, node.missed, node.window), (0, 1, None));
    assert!(sheet(&large.state).unwrap().balanced());
}

#[test]
fn a_free_registration_costs_later_blocks_nothing() {
    let mut large = Large::new();
    let signed = large.registrations(0..35_000);
    assert_eq!(large.apply(&signed), 35_000_usize.div_ceil(1366), "4096 rows a block, three each");
    assert!(rows(&large.state, Windows).is_empty());
    let before = large.chain().height;
    large.reach(3);
    assert_eq!(large.chain().height - before, 3, "one block for each epoch");
    assert_eq!(large.total, [0; KINDS.len()]);
    // Their ids are forgotten bit by bit.
    let seen = |large: &Large| rows(&large.state, SeenTable).len();
    assert_eq!(seen(&large), 35_000);
    let mut chain = large.chain();
    chain.height = 2_000;
    let mut later = large.state.clone();
    let mut rows_after = Overlay::new(&large.state);
    rows_after.put(Chains, &(), &chain);
    later.commit(rows_after.update());
    large.state = later;
    for left in [35_000 - 2048, 35_000 - 4096] {
        large.block(&[]);
        assert_eq!(seen(&large), left);
    }
}

#[test]
fn nodes_that_miss_together_miss_over_several_blocks() {
    const NODES: u32 = 5_000;
    let mut large = Large::funded();
    let signed = large.registrations(1..1 + NODES);
    large.apply(&signed);
    let deals: Vec<_> = (0..NODES / 100)
        .map(|number| large.deal(number, 1 + 100 * number..1 + 100 * (number + 1), 2))
        .collect();
    large.apply(&deals);
    large.reach(1);
    // Blocks that are as late as they may be. In each of them a quarter of the nodes is due.
    let mut blocks = 0;
    while large.chain().epoch < 3
        || large.state.get(PoolsTable, &()).unwrap().storage > Amount::ZERO
    {
        large.now = large.now.max(execute::next_due(&large.state).unwrap().0 + 2_499);
        large.block(&[]);
        blocks += 1 + large.settle();
    }
    let [missed, opened, changed, ended] = large.total;
    assert_eq!((missed, opened, changed, ended), (10_000, 10_000, 10_000, 50));
    assert_eq!(large.most[..2], [128, 128]);
    assert!(blocks >= 3 * 5_000 / 128, "{blocks}");
    let sums = sheet(&large.state).unwrap();
    assert!(sums.balanced());
    assert_eq!(sums.pools.repair, Amount(30_000));
}
