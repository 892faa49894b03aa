//! What a ledger's rules cost, beside the signature checks no ledger can do without.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, ChainId, DealId, Hash, NodeId, ObjectId, TransactionId},
    ledger::{
        Params, beacon,
        block::{BlockInputs, Genesis},
        execute::{self, BlockBuilder, Pushed},
        rows::{Access, Chains, Nodes, Slots},
        state::{MemoryState, StateExt},
        transaction::{Acceptance, Action, DealTerms, Transaction},
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
    core: Hash,
    depth: u64,
    time_ms: u64,
    next_id: u64,
}

impl World {
    fn new() -> Self {
        let core = Hash([1; 32]);
        let (depth, time_ms) = (1000, 1_000_000);
        let params = Params::development();
        let onion = beacon::layer(&core, depth);
        let genesis =
            Genesis { params, authority: account(0), time_ms: LedgerTime(time_ms), onion };
        let mut state = MemoryState::default();
        state.commit(&execute::genesis(&genesis).update);
        Self { state, chain: genesis.chain(), core, depth, time_ms, next_id: 0 }
    }

    fn facts(&self) -> BlockInputs {
        let reveal = beacon::layer(&self.core, self.depth - 1);
        BlockInputs { time_ms: LedgerTime(self.time_ms), reveal, onion_next: None }
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
        self.depth -= 1;
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
    let mut bytes = [0; Hash::BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let opening = Hash(bytes);
    let terms = DealTerms {
        deal: DealId::of(&opening),
        owner: account(1),
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
        Acceptance::build(&world.chain, &terms, &node, (index, root), Amount(1000), expires_ms)
    };
    let acceptances = (0..NODES).map(accept).collect();
    Action::OpenDeal { opening, terms, acceptances, cost_max: Amount(u128::MAX) }
}

fn storage_world() -> World {
    let mut world = World::new();
    let mut signed = vec![world.sign(1, Action::Faucet)];
    for index in 0..u64::from(NODES) {
        let register = Action::RegisterNode {
            payout: account(500 + index),
            addresses: vec!["127.0.0.1:4000".into()],
            custody_key: None,
            price: Amount(1000),
            capacity: 1 << 40,
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
    let chain = world.state.get(Chains, &()).unwrap();
    let id = NodeId::from(account(500));
    let node = world.state.get(Nodes, &id).unwrap();
    let seed = proof::challenge_seed(&chain.id, chain.epoch, &chain.epoch_beacon, &id, &node.table);
    let length_of =
        |position| world.state.get(Slots, &(id, position)).map_or(0, |slot| slot.length);
    let asked = proof::challenges(&seed, node.slots, node.longest, node.slot_bytes, length_of);
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
    world.sign(500, Action::Prove { epoch: chain.epoch, leaves })
}

fn proofs(criterion: &mut Criterion) {
    let mut world = storage_world();
    for number in 0..50 {
        let opening = open_deal(&world, number);
        let signed = world.sign(1, opening);
        world.block(&[signed]);
    }
    world.time_ms += 60_000;
    world.block(&[]);
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

criterion_group!(benches, transfers, deals, proofs);
criterion_main!(benches);
