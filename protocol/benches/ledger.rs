//! What a ledger's rules cost, beside the signature checks no ledger can do without.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, Encode as _, LedgerTime, Millis,
    id::{AccountId, ChainId, DealId, Hash, NodeId, ObjectId, Opening, TransactionId},
    ledger::{
        Params,
        admission::judge,
        beacon::Onions,
        block::{BlockInputs, Event, Genesis, Reason},
        commit::Validators,
        execute::{self, BlockBuilder, Pushed},
        rows::{
            Access, Account, Accounts, Chains, Deal, DealSlot, DealState, Deals, DealsDue, DealsOf,
            Hold, HoldKey, Holds, Leave, Leaves, Node, Nodes, Nothing, Pools, PoolsTable, Slot,
            Slots, Window, Windows,
        },
        slots,
        state::{MemoryState, Overlay, StateExt},
        transaction::{Acceptance, Action, DealTerms, Transaction},
        tree, window_offset,
    },
    proof::{self, ShardHasher},
};

const TRANSFERS: u64 = 1000;
const NODES: u8 = 40;
const SHARD_BYTES: u64 = 1 << 20;

fn key(number: u64) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn account(number: u64) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

struct World {
    state: MemoryState,
    chain: ChainId,
    onions: Onions,
    time_ms: u64,
    next_id: u64,
}

impl World {
    fn new() -> Self {
        let mut onions = Onions::new(&[1; 32], [1; 32]);
        let starts = vec![onions.start()];
        let (time_ms, validators) = (1_000_000, Validators::alone(account(0)));
        let genesis = Genesis {
            params: Params::development(),
            validators,
            time_ms: LedgerTime(time_ms),
            onions: starts,
        };
        let mut state = MemoryState::default();
        state.commit(&execute::genesis(&genesis).update);
        Self { state, chain: genesis.chain(), onions, time_ms, next_id: 0 }
    }

    fn facts(&self) -> BlockInputs {
        self.onions.clone().inputs(&self.state, 0, LedgerTime(self.time_ms)).unwrap()
    }

    fn node(&self, number: u64) -> Node {
        self.state.get(Nodes, &NodeId::from(account(500 + number))).unwrap()
    }

    fn sign(&mut self, who: u64, action: Action) -> Transaction {
        self.next_id += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_id.to_le_bytes());
        Transaction::build(self.chain, &key(who), TransactionId(id), 1000, action)
    }

    fn block(&mut self, transactions: &[Transaction]) {
        let update = execute::replay(&self.state, &self.facts(), transactions).unwrap().update;
        self.state.commit(&update);
    }

    /// What is measured: the block on the same state, thrown away.
    fn try_block(&self, facts: &BlockInputs, transactions: &[Transaction]) -> Hash {
        let mut builder = BlockBuilder::new(&self.state, facts).unwrap();
        for transaction in transactions {
            assert_eq!(builder.push(transaction), Ok(Pushed::Applied));
        }
        builder.finish().state_root
    }
}

fn verify_all(transactions: &[Transaction]) {
    for transaction in transactions {
        black_box(transaction).verify().unwrap();
    }
}

fn transfers(criterion: &mut Criterion) {
    let mut world = World::new();
    let funded: Vec<_> = (1..=100).map(|who| world.sign(who, Action::Faucet)).collect();
    world.block(&funded);
    let transfer = |who| Action::Transfer { to: account(1000 + who), amount: Amount(1) };
    let signed: Vec<_> =
        (0..TRANSFERS).map(|number| world.sign(1 + number % 100, transfer(number))).collect();
    let facts = world.facts();

    let mut group = criterion.benchmark_group("transfers");
    group.throughput(Throughput::Elements(TRANSFERS)).measurement_time(Duration::from_secs(4));
    group.sample_size(20);
    group.bench_function("floor: verify_strict", |bencher| bencher.iter(|| verify_all(&signed)));
    group.bench_function("check only", |bencher| {
        let builder = BlockBuilder::new(&world.state, &facts).unwrap();
        bencher.iter(|| {
            for transaction in &signed {
                black_box(builder.check(transaction)).unwrap();
            }
        });
    });
    group.bench_function("block with state root", |bencher| {
        bencher.iter(|| world.try_block(&facts, &signed));
    });
    group.finish();
}

/// Bytes a BLAKE3 XOF gives for a shard's number.
fn shard(index: u8) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SHARD_BYTES).unwrap()];
    blake3::Hasher::new().update(&[index]).finalize_xof().fill(&mut bytes);
    bytes
}

fn open_deal(world: &World, number: u64) -> Action {
    let mut bytes = [0; Opening::BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let terms = DealTerms {
        owner: account(1),
        opening: Opening(bytes),
        object: ObjectId([1; 16]),
        segment: 0,
        required: NODES / 2,
        total: NODES,
        length: SHARD_BYTES,
        access: Access::Granted,
        epochs: 10,
    };
    let accept = |index: u8| {
        let root = Hash(*blake3::hash(&shard(index)).as_bytes());
        let node = key(500 + u64::from(index));
        let expires_ms = LedgerTime(world.time_ms + 1_000_000);
        Acceptance::build(
            &world.chain,
            &terms,
            &node,
            (index, root),
            (Amount(1000), u64::MAX),
            expires_ms,
        )
    };
    let acceptances = (0..NODES).map(accept).collect();
    Action::OpenDeal { terms, acceptances, cost_max: Amount(u128::MAX) }
}

fn storage_world() -> World {
    let mut world = World::new();
    let mut signed = vec![world.sign(1, Action::Faucet)];
    for index in 0..u64::from(NODES) {
        let register = Action::RegisterNode {
            payout: account(500 + index),
            addresses: vec!["127.0.0.1:4000".into()],
            custody_key: None,
            caretaker: false,
            price: Amount(1000),
            capacity: 1 << 40,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        signed.push(world.sign(500 + index, register));
    }
    world.block(&signed);
    world
}

fn deals(criterion: &mut Criterion) {
    let mut world = storage_world();
    let opening = open_deal(&world, 1);
    let signed = [world.sign(1, opening)];
    let facts = world.facts();
    let Action::OpenDeal { terms, acceptances, .. } = &signed[0].action else { unreachable!() };

    let mut group = criterion.benchmark_group("open a deal with 40 nodes");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor: verify_strict", |bencher| {
        bencher.iter(|| {
            verify_all(&signed);
            for acceptance in acceptances {
                acceptance.verify(&world.chain, terms).unwrap();
            }
        });
    });
    group.bench_function("block with state root", |bencher| {
        bencher.iter(|| world.try_block(&facts, &signed));
    });
    group.finish();
}

/// The answer of the node that keeps shard 0 of every deal.
fn prove(world: &mut World) -> Transaction {
    let (id, node) = (NodeId::from(account(500)), world.node(0));
    let window = node.window.expect("its window is open");
    let seed = node.challenge_seed(&world.chain, &id, &window);
    let length_of =
        |position| world.state.get(Slots, &(id, position)).map_or(0, |slot| slot.length);
    let (slots, longest) = (node.slots, node.longest());
    let asked = proof::challenges(&seed, slots, longest, node.slot_bytes, length_of);
    let bytes = shard(0);
    let mut hasher = ShardHasher::new();
    hasher.update(&bytes);
    let (_, outboard) = hasher.finish();
    let leaf = |challenge: &proof::Challenge| {
        let group = proof::group_range(SHARD_BYTES, challenge.leaf).unwrap();
        let group = usize::try_from(group.start).unwrap()..usize::try_from(group.end).unwrap();
        proof::leaf_proof(&outboard, SHARD_BYTES, challenge.leaf, &bytes[group]).unwrap()
    };
    let leaves = asked.iter().map(leaf).collect();
    world.sign(500, Action::Prove { epoch: window.epoch, leaves })
}

fn proofs(criterion: &mut Criterion) {
    let mut world = storage_world();
    for number in 0..50 {
        let opening = open_deal(&world, number);
        let signed = world.sign(1, opening);
        world.block(&[signed]);
    }
    while world.node(0).window.is_none() {
        world.time_ms = execute::next_due(&world.state).unwrap().0;
        world.block(&[]);
    }
    let signed = [prove(&mut world)];
    let facts = world.facts();
    let Action::Prove { leaves, .. } = &signed[0].action else { unreachable!() };

    let mut group = criterion.benchmark_group("prove 10 leaves of 50 slots");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor: verify_strict and hash the leaves", |bencher| {
        bencher.iter(|| {
            verify_all(&signed);
            for leaf in leaves {
                black_box(blake3::hash(&leaf.leaf));
            }
        });
    });
    group.bench_function("block with state root", |bencher| {
        bencher.iter(|| world.try_block(&facts, &signed));
    });
    group.finish();
}

const CROWD: u32 = 10_000;
const ENDING: u32 = 100_000;
const SHARDS: u32 = 10;

fn crowd_node(number: u32) -> NodeId {
    NodeId::from(AccountId(*blake3::hash(&number.to_le_bytes()).as_bytes()))
}

fn crowd_deal(number: u32) -> DealId {
    let hash = blake3::hash(&[&number.to_le_bytes()[..], b"deal"].concat());
    DealId(*hash.as_bytes().first_chunk().unwrap())
}

/// The hash chain and the size of each node's slot table.
type Tables = Vec<(Hash, u32)>;

/// The deals that end, with their slots.
fn crowd_deals(rows: &mut Overlay<'_, MemoryState>) -> Tables {
    let (rate, length) = (Amount(3), SHARD_BYTES);
    let mut tables = vec![(slots::NEW, 0_u32); CROWD as usize];
    for number in 0..ENDING {
        let (deal, start) = (crowd_deal(number), number.wrapping_mul(7));
        let mut shards = Vec::new();
        for index in 0..SHARDS {
            let keeper = (start + index) % CROWD;
            let (node, index) = (crowd_node(keeper), u8::try_from(index).unwrap());
            let slot = Slot { deal, index, root: Hash([1; 32]), length, rate, leaves: 2 };
            let (table, count) = &mut tables[keeper as usize];
            rows.put(Slots, &(node, *count), &slot);
            rows.put(Leaves, &(node, (2, deal)), &Leave { position: *count });
            *table = slots::joined(table, *count, &slot);
            *count += 1;
            let (root, price) = (slot.root, Amount(3000));
            let (from, until) = (1, u64::MAX);
            shards.push(Some(DealSlot { node, root, price, from, until, lost: None }));
        }
        let (owner, rate) = (account(1), Amount(30));
        let row = Deal {
            owner,
            object: ObjectId([1; 16]),
            segment: number,
            required: 5,
            length,
            access: Access::Granted,
            start: 1,
            end: 2,
            rate,
            shards,
            state: DealState::Open,
        };
        rows.put(Deals, &deal, &row);
        rows.put(DealsOf, &(owner, deal), &Nothing {});
        rows.put(DealsDue, &(2, deal), &Nothing {});
        rows.put(
            Holds,
            &HoldKey::Deal { deal },
            &Hold { payer: owner, amount: Amount(6), forfeited: Amount::ZERO },
        );
    }
    tables
}

/// The nodes. Every second one has proven epoch 1.
fn crowd_nodes(rows: &mut Overlay<'_, MemoryState>, chain: &ChainId, tables: Tables) {
    let (length, epoch_ms) = (SHARD_BYTES, Params::development().epoch_ms);
    for (number, (table, count)) in (0..).zip(tables) {
        let (id, bytes) = (crowd_node(number), u64::from(count) * length);
        let mut lengths = vec![0; 11];
        lengths[10] = count;
        let window = Some(Window { epoch: 1, beacon: Hash([1; 32]) });
        let offset = window_offset(chain, &id, epoch_ms);
        let turn_ms = epoch_ms.saturating_mul(2).saturating_add(offset);
        let node = Node {
            payout: account(2),
            operator: None,
            addresses: vec!["127.0.0.1:4000".into()],
            custody_key: None,
            caretaker: false,
            price: Amount(3000),
            agrees_until: 0,
            capacity: 1 << 40,
            leaving: false,
            deposit: Amount::ZERO,
            collateral: Amount::ZERO,
            withheld: Amount::ZERO,
            used: bytes,
            bound_rate: Amount(3 * u128::from(count)),
            slots: count,
            lengths,
            slot_bytes: bytes,
            table,
            rate: Amount(3 * u128::from(count)),
            window,
            next_epoch: Some(2),
            turn_ms: Some(turn_ms),
            passed_epoch: (number % 2 == 0).then_some(1),
            passed: 0,
            missed: 0,
            missed_in_row: 0,
            misses: 0,
            clean: 0,
            record: Amount::ZERO,
            proven: 0,
            paused_until: 0,
            dead: false,
        };
        rows.put(Nodes, &id, &node);
        rows.put(Windows, &(turn_ms, id), &Nothing {});
    }
}

/// A ledger in which 100,000 deals, a million slots on 10,000 nodes, end with epoch 2.
fn crowded() -> World {
    let mut world = World::new();
    let mut rows = Overlay::new(&world.state);
    let epoch_ms = Params::development().epoch_ms;
    let tables = crowd_deals(&mut rows);
    crowd_nodes(&mut rows, &world.chain, tables);
    let owed = Amount(3 * u128::from(SHARDS * ENDING));
    let held = u128::from(ENDING) * 6;
    let issued = Amount(owed.0 + held);
    let zero = Amount::ZERO;
    let pools = Pools {
        storage: owed,
        repair: zero,
        treasury: zero,
        deposits: zero,
        collateral: zero,
        stake: zero,
        unbonding: zero,
        rewards: zero,
        issued,
    };
    rows.put(PoolsTable, &(), &pools);
    let mut chain = world.state.get(Chains, &()).unwrap();
    (chain.epoch, chain.counted_ms) = (1, epoch_ms.saturating_mul(2).saturating_sub(Millis(1)));
    rows.put(Chains, &(), &chain);
    let mut update = rows.into_update();
    update.rows.extend(tree::update(&world.state, &update.rows).1);
    world.state.commit(&update);
    world
}

/// Prints the slowest and the largest of the blocks that end a million slots. Every block is as late as it may be.
fn an_end_of_many(_: &mut Criterion) {
    let mut world = crowded();
    let late = Params::development().epoch_ms.0 / 4 - 1;
    let (mut blocks, mut slowest, mut largest, mut rows) = (0, Duration::ZERO, 0, 0);
    let [mut missed, mut ended, mut left] = [0; 3];
    // The set-up has freed millions of rows. What the allocator does with them first is not part of a block.
    world.time_ms = execute::next_due(&world.state).unwrap().0 + late;
    execute::replay(&world.state, &world.facts(), &[]).unwrap();
    while missed < CROWD / 2 || ended < ENDING || left < ENDING * SHARDS {
        world.time_ms = world.time_ms.max(execute::next_due(&world.state).unwrap().0 + late);
        loop {
            let facts = world.facts();
            let began = Instant::now();
            let executed = execute::replay(&world.state, &facts, &[]).unwrap();
            slowest = slowest.max(began.elapsed());
            let bytes: usize = executed.events.iter().map(|event| event.to_bytes().len()).sum();
            (largest, rows) = (largest.max(bytes), rows.max(executed.update.rows.len()));
            for event in &executed.events {
                match event {
                    Event::Moved { reason: Reason::Missed { .. }, .. } => missed += 1,
                    Event::DealEnded { .. } => ended += 1,
                    Event::ShardLeft { .. } => left += 1,
                    _ => {}
                }
            }
            world.state.commit(&executed.update);
            blocks += 1;
            if world.time_ms < execute::next_due(&world.state).unwrap().0 {
                break;
            }
        }
    }
    println!(
        "1,000,000 slots of 100,000 deals leave 10,000 nodes, 5,000 of them miss: {blocks} blocks, \
         the slowest takes {slowest:?}, the largest has {largest} bytes of events, \
         no block changes more than {rows} rows"
    );
}

/// Rows of a large state.
const MANY: u32 = 1_000_000;
/// More transactions than a block has room for.
const TOO_MANY: u64 = 3_000;

/// A state of a million accounts. A hundred of them can pay.
fn of_a_million() -> World {
    let mut world = World::new();
    let funded: Vec<_> = (1..=100).map(|who| world.sign(who, Action::Faucet)).collect();
    world.block(&funded);
    let mut rows = Overlay::new(&world.state);
    let empty = Account { balance: Amount::ZERO, deposits: Amount::ZERO, faucet_height: 0 };
    for number in 0..MANY {
        rows.put(Accounts, &AccountId::from(crowd_node(number)), &empty);
    }
    let mut update = rows.into_update();
    update.rows.extend(tree::update(&world.state, &update.rows).1);
    world.state.commit(&update);
    world
}

/// Makes a block of as many of these as fit, whose signatures were checked before, and prints what it takes.
fn tell_full(world: &World, name: &str, signed: &[Transaction]) {
    let facts = world.facts();
    let now = LedgerTime(world.time_ms);
    let mut best = [Duration::MAX; 2];
    let (mut count, mut bytes, mut rows) = (0, 0, 0);
    for _ in 0..5 {
        let mut fit = Vec::new();
        let mut builder = BlockBuilder::new(&world.state, &facts).unwrap();
        for transaction in signed {
            if !builder.fits(transaction, transaction.to_bytes().len()) {
                break;
            }
            assert_eq!(builder.push(transaction), Ok(Pushed::Applied));
            fit.push(transaction);
        }
        drop(builder);
        let began = Instant::now();
        let known: Vec<_> =
            fit.iter().map(|signed| (*signed, judge(&world.state, now, signed).1)).collect();
        best[0] = best[0].min(began.elapsed());
        let began = Instant::now();
        let mut builder = BlockBuilder::new(&world.state, &facts).unwrap();
        for (transaction, signatures) in &known {
            assert_eq!(builder.push_checked(transaction, signatures), Ok(Pushed::Applied));
        }
        let executed = builder.finish();
        best[1] = best[1].min(began.elapsed());
        (count, rows) = (fit.len(), executed.update.rows.len());
        bytes = executed.events.iter().map(|event| event.to_bytes().len()).sum::<usize>()
            + fit.iter().map(|signed| signed.to_bytes().len()).sum::<usize>();
    }
    let [judging, block] = best;
    println!(
        "a full block on a state of 1,000,000 accounts, {name}: {count} transactions, {bytes} bytes with events, {rows} \
         rows; admission judges them in {judging:?} of processor, the block takes {block:?}"
    );
}

/// Prints what the largest blocks cost on a state of a million rows.
fn full_blocks(_: &mut Criterion) {
    let mut world = of_a_million();
    let transfer = |number: u64| {
        let to = u32::try_from(number * 331 % u64::from(MANY)).unwrap();
        Action::Transfer { to: AccountId::from(crowd_node(to)), amount: Amount(1) }
    };
    let transfers: Vec<_> =
        (0..TOO_MANY).map(|number| world.sign(1 + number % 100, transfer(number))).collect();
    tell_full(&world, "transfers", &transfers);
    let root = || Action::SetRoot { expected_version: 0, blob: vec![7; 4096] };
    let roots: Vec<_> =
        (0..TOO_MANY / 10).map(|number| world.sign(10_000 + number, root())).collect();
    tell_full(&world, "root records", &roots);
}

criterion_group!(benches, transfers, deals, proofs, an_end_of_many, full_blocks);
criterion_main!(benches);
