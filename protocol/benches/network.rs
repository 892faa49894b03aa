//! What an epoch of a large network costs: 1,000 nodes with 1,000 shards each draw their challenges, open the leaves, sign
//! and send their proofs; one validator checks and orders them, block by block, and another one replays the blocks.
//!
//! `cargo bench -p symbolon-protocol --bench network`. Under `cargo test` it runs small, and only shows that it works.
//!
//! The rows of the ledger are all there, in memory. Of the shards' bytes only a few are different ones, since a million
//! would not fit: each opened leaf is hashed and has its whole path, but no disk is read. The engine's commits to its disk
//! and what travels are not in it either.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{collections::BTreeMap, fs, hint::black_box, time::Duration};

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, Encode as _, LedgerTime, Millis,
    id::{AccountId, ChainId, DealId, Hash, NodeId, ObjectId, TransactionId},
    ledger::{
        Params,
        beacon::Onions,
        block::{BlockInputs, Event, Genesis},
        commit::Validators,
        execute,
        rows::{
            Access, Chains, Deal, DealSlot, DealState, Deals, DealsDue, DealsOf, Hold, HoldKey,
            Holds, Leave, Leaves, Node, Nodes, Nothing, Pools, PoolsTable, Slot, Slots, Windows,
        },
        slots,
        state::{MemoryState, Overlay, StateExt},
        transaction::{Action, Transaction},
        tree, window_offset,
    },
    proof::{self, GROUP_BYTES, LeafProof, Outboard, ShardHasher},
};

const SHARD_BYTES: u64 = 1 << 20;
/// Shards of a deal.
const SHARDS: u32 = 10;
/// Different shards.
const SORTS: u32 = 16;
/// The pay of a shard per epoch.
const RATE: u128 = 3;
const END: u64 = 10;
/// The epoch that is measured.
const EPOCH: u64 = 2;

struct Scale {
    nodes: u32,
    /// Shards of each node.
    kept: u32,
}

impl Scale {
    fn deals(&self) -> u32 {
        self.nodes * self.kept / SHARDS
    }
}

fn key(number: u32) -> SigningKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn account(number: u32) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

/// The accounts before those of nodes.
const NODES_FROM: u32 = 1_000;

fn node_id(number: u32) -> NodeId {
    NodeId::from(account(NODES_FROM + number))
}

fn deal_id(number: u32) -> DealId {
    let hash = blake3::hash(&[&number.to_le_bytes()[..], b"deal"].concat());
    DealId(*hash.as_bytes().first_chunk().unwrap())
}

/// A shard and its tree.
struct Shard {
    bytes: Vec<u8>,
    root: Hash,
    outboard: Outboard,
}

impl Shard {
    fn new(sort: u32) -> Self {
        let mut bytes = vec![0; usize::try_from(SHARD_BYTES).unwrap()];
        blake3::Hasher::new().update(&sort.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let mut hasher = ShardHasher::new();
        hasher.update(&bytes);
        let (root, outboard) = hasher.finish();
        Self { bytes, root, outboard }
    }

    fn group(&self, leaf: u64) -> &[u8] {
        let group = proof::group_range(SHARD_BYTES, leaf).unwrap();
        &self.bytes[usize::try_from(group.start).unwrap()..usize::try_from(group.end).unwrap()]
    }

    fn open(&self, leaf: u64) -> LeafProof {
        proof::leaf_proof(&self.outboard, SHARD_BYTES, leaf, self.group(leaf)).unwrap()
    }
}

/// Which shard stands in a place of a deal.
fn sort_of(deal: u32, index: u32) -> u32 {
    (deal + index) % SORTS
}

struct World {
    state: MemoryState,
    chain: ChainId,
    onions: Onions,
    time_ms: u64,
    shards: Vec<Shard>,
    sorts: BTreeMap<Hash, usize>,
    keys: BTreeMap<NodeId, SigningKey>,
}

impl World {
    fn new(scale: &Scale) -> Self {
        let mut onions = Onions::new(&[1; 32], [1; 32]);
        let starts = vec![onions.start()];
        let (time_ms, validators) = (1_000_000, Validators::alone(account(0)));
        let params = Params { epoch_ms: Millis(3_600_000), ..Params::development() };
        let time = LedgerTime(time_ms);
        let genesis = Genesis { params, validators, time_ms: time, onions: starts };
        let mut state = MemoryState::default();
        state.commit(&execute::genesis(&genesis).update);
        let shards: Vec<Shard> = (0..SORTS).map(Shard::new).collect();
        let sorts = shards.iter().enumerate().map(|(at, shard)| (shard.root, at)).collect();
        let keys = (0..scale.nodes).map(|at| (node_id(at), key(NODES_FROM + at))).collect();
        let mut world =
            Self { state, chain: genesis.chain(), onions, time_ms, shards, sorts, keys };
        world.fill(scale);
        world
    }

    /// The rows of a network in which the first epoch is over: every node waits for its window of the second.
    fn fill(&mut self, scale: &Scale) {
        let mut rows = Overlay::new(&self.state);
        let tables = self.fill_deals(&mut rows, scale);
        for (number, (table, count)) in (0..).zip(tables) {
            self.fill_node(&mut rows, number, (table, count));
        }
        let slots = u128::from(scale.nodes) * u128::from(scale.kept);
        let (storage, held) = (slots * RATE * u128::from(END - EPOCH), u128::from(scale.deals()));
        let zero = Amount::ZERO;
        let pools = Pools {
            storage: Amount(storage),
            repair: zero,
            treasury: zero,
            deposits: zero,
            collateral: zero,
            stake: zero,
            unbonding: zero,
            rewards: zero,
            issued: Amount(storage + held),
        };
        rows.put(PoolsTable, &(), &pools);
        let mut chain = self.state.get(Chains, &()).unwrap();
        let begins = chain.params.epoch_ms.saturating_mul(EPOCH);
        (chain.epoch, chain.counted_ms) = (EPOCH - 1, begins.saturating_sub(Millis(1)));
        rows.put(Chains, &(), &chain);
        let mut update = rows.into_update();
        update.rows.extend(tree::update(&self.state, &update.rows).1);
        self.state.commit(&update);
    }

    fn fill_deals(&self, rows: &mut Overlay<'_, MemoryState>, scale: &Scale) -> Vec<(Hash, u32)> {
        let (rate, length, owner) = (Amount(RATE), SHARD_BYTES, account(1));
        let mut tables = vec![(slots::NEW, 0_u32); scale.nodes as usize];
        let ids: Vec<NodeId> = (0..scale.nodes).map(node_id).collect();
        for number in 0..scale.deals() {
            let deal = deal_id(number);
            let mut shards = Vec::new();
            for index in 0..SHARDS {
                let keeper = ((number * SHARDS + index) % scale.nodes) as usize;
                let root = self.shards[sort_of(number, index) as usize].root;
                let (node, index) = (ids[keeper], u8::try_from(index).unwrap());
                let slot = Slot { deal, index, root, length, rate, leaves: END };
                let (table, count) = &mut tables[keeper];
                rows.put(Slots, &(node, *count), &slot);
                rows.put(Leaves, &(node, (END, deal)), &Leave { position: *count });
                *table = slots::joined(table, *count, &slot);
                *count += 1;
                let (price, from, until) = (Amount(3000), 1, u64::MAX);
                shards.push(Some(DealSlot { node, root, price, from, until, lost: None }));
            }
            let row = Deal {
                owner,
                object: ObjectId([1; 16]),
                segment: number,
                required: 5,
                length,
                access: Access::Granted,
                start: 1,
                end: END,
                rate: Amount(RATE * u128::from(SHARDS)),
                shards,
                state: DealState::Open,
            };
            rows.put(Deals, &deal, &row);
            rows.put(DealsOf, &(owner, deal), &Nothing {});
            rows.put(DealsDue, &(END, deal), &Nothing {});
            let hold = Hold { payer: owner, amount: Amount(1), forfeited: Amount::ZERO };
            rows.put(Holds, &HoldKey::Deal { deal }, &hold);
        }
        tables
    }

    fn fill_node(
        &self,
        rows: &mut Overlay<'_, MemoryState>,
        number: u32,
        (table, count): (Hash, u32),
    ) {
        let epoch_ms = self.state.get(Chains, &()).unwrap().params.epoch_ms;
        let (id, bytes) = (node_id(number), u64::from(count) * SHARD_BYTES);
        let mut lengths = vec![0; 11];
        lengths[10] = count;
        let offset = window_offset(&self.chain, &id, epoch_ms);
        let turn_ms = epoch_ms.saturating_mul(EPOCH).saturating_add(offset);
        let rate = Amount(RATE * u128::from(count));
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
            bound_rate: rate,
            slots: count,
            lengths,
            slot_bytes: bytes,
            table,
            rate,
            window: None,
            next_epoch: Some(EPOCH),
            turn_ms: Some(turn_ms),
            passed_epoch: Some(EPOCH - 1),
            passed: 1,
            missed: 0,
            missed_in_row: 0,
            misses: 0,
            clean: 1,
            record: rate,
            proven: bytes,
            paused_until: 0,
            dead: false,
        };
        rows.put(Nodes, &id, &node);
        rows.put(Windows, &(turn_ms, id), &Nothing {});
    }

    fn facts(&mut self) -> BlockInputs {
        self.onions.inputs(&self.state, 0, LedgerTime(self.time_ms)).unwrap()
    }

    /// What a node does: it draws its challenges, opens the leaves and signs.
    fn prove(&self, id: &NodeId) -> Transaction {
        let node = self.state.get(Nodes, id).unwrap();
        let window = node.window.expect("its window is open");
        let seed = node.challenge_seed(&self.chain, id, &window);
        let slot = |position| self.state.get(Slots, &(*id, position)).unwrap();
        let length_of = |position| slot(position).length;
        let (slots, longest) = (node.slots, node.longest());
        let asked = proof::challenges(&seed, slots, longest, node.slot_bytes, length_of);
        let leaves = asked
            .iter()
            .map(|asked| self.shards[self.sorts[&slot(asked.slot).root]].open(asked.leaf))
            .collect();
        let action = Action::Prove { epoch: window.epoch, leaves };
        let id_of_it = TransactionId(*id.0.first_chunk().unwrap());
        let valid_until = self.state.get(Chains, &()).unwrap().height + 1_000;
        Transaction::build(self.chain, &self.keys[id], id_of_it, valid_until, action)
    }
}

/// Processor time of this thread, as the kernel counts it.
fn processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = processor();
    let done = work();
    *sum += processor() - began;
    done
}

/// Processor time by what it is for.
#[derive(Default)]
struct Spent {
    making: Duration,
    ordering: Duration,
    replaying: Duration,
    floor_making: Duration,
    floor_checking: Duration,
}

/// What cannot be saved: to make a proof, the groups are hashed and one signature is made; to check it, its leaves are
/// hashed and one signature is checked.
fn floors(world: &World, signed: &Transaction, spent: &mut Spent) {
    let Action::Prove { leaves, .. } = &signed.action else { unreachable!() };
    let key = &world.keys[&NodeId::from(signed.sender)];
    timed(&mut spent.floor_making, || {
        for at in 0..leaves.len() {
            let at = at * GROUP_BYTES;
            black_box(blake3::hash(black_box(&world.shards[0].bytes[at..at + GROUP_BYTES])));
        }
        black_box(ed25519_dalek::Signer::sign(key, &signed.digest().0));
    });
    timed(&mut spent.floor_checking, || {
        for leaf in leaves {
            black_box(blake3::hash(black_box(&leaf.leaf)));
        }
        black_box(signed).verify().unwrap();
    });
}

fn main() {
    let is_whole = std::env::args().any(|arg| arg == "--bench");
    let scale =
        if is_whole { Scale { nodes: 1_000, kept: 1_000 } } else { Scale { nodes: 20, kept: 20 } };
    let mut world = World::new(&scale);
    let mut spent = Spent::default();
    let (mut proven, mut blocks, mut leaves, mut bytes) = (0, 0, 0, 0);
    let mut waiting: Vec<Transaction> = Vec::new();
    while proven < scale.nodes {
        // A proof comes a moment after its window has opened.
        world.time_ms = match waiting.is_empty() {
            true => execute::next_due(&world.state).unwrap().0.max(world.time_ms),
            false => world.time_ms + 20,
        };
        let facts = world.facts();
        let transactions = std::mem::take(&mut waiting);
        let ordered = timed(&mut spent.ordering, || {
            execute::replay(&world.state, &facts, &transactions).unwrap()
        });
        let replayed = timed(&mut spent.replaying, || {
            execute::replay(&world.state, &facts, &transactions).unwrap()
        });
        assert_eq!(ordered.state_root, replayed.state_root);
        timed(&mut spent.ordering, || world.state.commit(&ordered.update));
        blocks += 1;
        proven += u32::try_from(transactions.len()).unwrap();
        for signed in &transactions {
            floors(&world, signed, &mut spent);
        }
        for event in &ordered.events {
            if let Event::WindowOpened { node, .. } = event {
                let signed = timed(&mut spent.making, || world.prove(node));
                let Action::Prove { leaves: opened, .. } = &signed.action else { unreachable!() };
                leaves += opened.len();
                bytes += signed.to_bytes().len();
                waiting.push(signed);
            }
        }
    }
    tell(&scale, &spent, (blocks, leaves, bytes));
}

fn tell(scale: &Scale, spent: &Spent, (blocks, leaves, bytes): (u64, usize, usize)) {
    let Scale { nodes, kept } = scale;
    let seconds = |time: Duration| time.as_secs_f64();
    let all = spent.making + spent.ordering + spent.replaying;
    let floor = spent.floor_making + 2 * spent.floor_checking;
    println!(
        "an epoch of {nodes} nodes with {kept} shards of {SHARD_BYTES} bytes each: {blocks} blocks, {leaves} leaves, \
         {bytes} bytes of proofs"
    );
    println!(
        "processor time: all nodes make their proofs in {:.3} s (floor: {:.3} s), a validator checks and orders them in \
         {:.3} s, another one replays them in {:.3} s (floor of each: {:.3} s)",
        seconds(spent.making),
        seconds(spent.floor_making),
        seconds(spent.ordering),
        seconds(spent.replaying),
        seconds(spent.floor_checking),
    );
    println!(
        "together {:.3} s of at most 60 s; the hashing and the signatures alone are {:.3} s",
        seconds(all),
        seconds(floor)
    );
}
