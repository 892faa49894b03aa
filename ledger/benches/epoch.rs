//! What an epoch costs the embedded engine: processor time, bytes written and bytes kept, for many deals on a few nodes
//! that prove in each epoch. And what a deal costs in the ledger's file.
//!
//! `cargo bench -p symbolon-ledger --bench epoch`. Under `cargo test` it runs small, and only shows that it works.
//! Time is virtual: the engine's waits take none.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{collections::BTreeMap, fs, path::Path};

use ed25519_dalek::SigningKey;
use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableHandle as _,
};
use symbolon_ledger::{Embedded, Ledger, Options};
use symbolon_net::Host;
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, ChainId, Hash, NodeId, ObjectId, Opening, TransactionId},
    ledger::{
        Params, Status,
        block::Event,
        rows::{Access, Nodes},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    proof::{self, Outboard, ShardHasher},
};
use tokio::task::JoinSet;

/// All shards have the same bytes, so one of them stands for all when a leaf is opened.
const SHARD_BYTES: u64 = 64 << 10;
const SHARDS: u8 = 8;
const OWNER: u32 = 1;
const PRICE: Amount = Amount(1_000_000);
/// Epochs that are measured. Deals run longer.
const EPOCHS: u64 = 10;

struct Scale {
    deals: u32,
    nodes: u32,
}

fn key(number: u32) -> SigningKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn node_key(number: u32) -> SigningKey {
    key(1_000 + number)
}

/// A shard and its tree.
struct Shard {
    bytes: Vec<u8>,
    root: Hash,
    outboard: Outboard,
}

impl Shard {
    fn new() -> Self {
        let bytes = vec![9; usize::try_from(SHARD_BYTES).unwrap()];
        let mut hasher = ShardHasher::new();
        hasher.update(&bytes);
        let (root, outboard) = hasher.finish();
        Self { bytes, root, outboard }
    }
}

struct Bench {
    ledger: Ledger,
    chain: ChainId,
    shard: Shard,
    next_id: u64,
}

impl Bench {
    async fn sign(&mut self, key: &SigningKey, action: Action) -> Transaction {
        self.next_id += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_id.to_le_bytes());
        let height = self.ledger.head().await.unwrap().header.height;
        Transaction::build(self.chain, key, TransactionId(id), height + 1_000, action)
    }

    /// Submits all of them at once.
    async fn apply(&self, all: Vec<Transaction>) {
        let mut running = JoinSet::new();
        for transaction in all {
            let ledger = self.ledger.clone();
            running.spawn(async move { ledger.submit(transaction).await.unwrap().status });
        }
        let statuses = running.join_all().await;
        assert!(statuses.iter().all(|status| *status == Status::Applied), "{statuses:?}");
    }

    async fn register(&mut self, nodes: u32) {
        let mut all = vec![self.sign(&key(OWNER), Action::Faucet).await];
        for number in 0..nodes {
            let payout = AccountId(node_key(number).verifying_key().to_bytes());
            let register = Action::RegisterNode {
                payout,
                addresses: vec!["127.0.0.1:4000".into()],
                custody_key: None,
                caretaker: false,
                price: PRICE,
                capacity: 1 << 40,
                operator: None,
                agrees_until: 0,
                leaving: false,
            };
            all.push(self.sign(&node_key(number), register).await);
        }
        self.apply(all).await;
    }

    async fn open_deals(&mut self, scale: &Scale) {
        for first in (0..scale.deals).step_by(500) {
            let mut all = Vec::new();
            for number in first..scale.deals.min(first + 500) {
                let open = self.open_deal(number, scale.nodes);
                all.push(self.sign(&key(OWNER), open).await);
            }
            self.apply(all).await;
        }
    }

    /// A deal on `SHARDS` of the nodes, one after another.
    fn open_deal(&self, number: u32, nodes: u32) -> Action {
        let opening = Opening(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let terms = DealTerms {
            owner: AccountId(key(OWNER).verifying_key().to_bytes()),
            opening,
            object: ObjectId([5; 16]),
            segment: number,
            required: SHARDS / 2,
            total: SHARDS,
            length: SHARD_BYTES,
            access: Access::Granted,
            epochs: 100,
        };
        let accept = |index: u8| {
            let node = node_key((number * 7 + u32::from(index)) % nodes);
            let shard = (index, self.shard.root);
            Acceptance::build(
                &self.chain,
                &terms,
                &node,
                shard,
                (PRICE, u64::MAX),
                LedgerTime::NEVER,
            )
        };
        let acceptances = (0..SHARDS).map(accept).collect();
        Action::OpenDeal { terms, acceptances, cost_max: Amount::credits(1) }
    }

    /// The proof of a node's open window.
    async fn proof(&self, id: NodeId, epoch: u64) -> Action {
        let node = self.ledger.row(Nodes, &id).await.unwrap().unwrap();
        let window = node.window.filter(|window| window.epoch == epoch).unwrap();
        let seed = node.challenge_seed(&self.chain, &id, &window);
        let (slots, longest) = (node.slots, node.longest());
        let asked = proof::challenges(&seed, slots, longest, node.slot_bytes, |_| SHARD_BYTES);
        let leaf = |challenge: &proof::Challenge| {
            let group = proof::group_range(SHARD_BYTES, challenge.leaf).unwrap();
            let group = usize::try_from(group.start).unwrap()..usize::try_from(group.end).unwrap();
            let Shard { bytes, outboard, .. } = &self.shard;
            proof::leaf_proof(outboard, SHARD_BYTES, challenge.leaf, &bytes[group]).unwrap()
        };
        Action::Prove { epoch, leaves: asked.iter().map(leaf).collect() }
    }

    /// Proves every window that opens until an epoch begins. Returns the leaves that were proven.
    async fn prove_until(&mut self, until: u64, keys: &[(NodeId, SigningKey)]) -> usize {
        let head = self.ledger.head().await.unwrap().header.height;
        let mut blocks = self.ledger.follow(head + 1);
        let mut leaves = 0;
        loop {
            for event in blocks.next().await.unwrap().events {
                match event {
                    Event::EpochBegan { epoch } if until <= epoch => return leaves,
                    Event::WindowOpened { node, epoch } => {
                        let (_, key) = keys.iter().find(|(id, _)| *id == node).unwrap();
                        let action = self.proof(node, epoch).await;
                        let Action::Prove { leaves: proven, .. } = &action else { unreachable!() };
                        leaves += proven.len();
                        let signed = self.sign(key, action).await;
                        assert_eq!(
                            self.ledger.submit(signed).await.unwrap().status,
                            Status::Applied
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What the process has used: processor time in ms, and bytes written to disk.
fn used() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    // Linux counts a hundred ticks a second.
    (ticks.sum::<f64>() * 10.0, written.parse().unwrap())
}

/// Bytes that the ledger's files take on the disk.
fn kept(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap());
    files.map(|metadata| metadata.blocks() * 512).sum()
}

/// Prints what the tables of a closed ledger's file hold, for each deal: bytes of keys and values, and what redb has on top
/// of them.
fn tell_tables(folder: &Path, deals: u64) {
    let database = redb::Database::open(folder.join("ledger.redb")).unwrap();
    let read = database.begin_read().unwrap();
    for handle in read.list_tables().unwrap() {
        let name = handle.name().to_owned();
        let table = read.open_untyped_table(handle).unwrap();
        let stats = table.stats().unwrap();
        println!(
            "  {name:<8} {:>8.2} rows a deal, {:>7.0} bytes of keys and values, {:>6.0} of redb, {:>6.0} unused",
            per(table.len().unwrap(), deals),
            per(stats.stored_bytes(), deals),
            per(stats.metadata_bytes(), deals),
            per(stats.fragmented_bytes(), deals),
        );
    }
    let rows: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");
    let mut tags: BTreeMap<u8, (u64, u64, u64)> = BTreeMap::new();
    for row in read.open_table(rows).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        let sums = tags.entry(key.value()[0]).or_default();
        sums.0 += 1;
        sums.1 += key.value().len() as u64;
        sums.2 += value.value().len() as u64;
    }
    for (tag, (count, keys, values)) in tags {
        println!(
            "  rows of table {tag:<3} {:>8.2} a deal, {:>6.0} bytes of keys, {:>6.0} of values",
            per(count, deals),
            per(keys, deals),
            per(values, deals),
        );
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for a person")]
fn per(bytes: u64, count: u64) -> f64 {
    bytes as f64 / count as f64
}

async fn run(scale: &Scale) {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(7, 1_795_370_000_000);
    let options = Options { key: [42; 32], params: Params::development(), host };
    let embedded = Embedded::open(folder.path(), options).await.unwrap();
    let ledger = Ledger::from(embedded.clone());
    let chain = ledger.chain();
    let mut bench = Bench { ledger, chain, shard: Shard::new(), next_id: 0 };
    bench.register(scale.nodes).await;
    let (before, began) = (kept(folder.path()), used());
    bench.open_deals(scale).await;
    let (after, opened) = (kept(folder.path()), used());
    let deals = u64::from(scale.deals);
    println!(
        "{deals} deals of {SHARDS} shards on {} nodes: a deal takes {:.1} kB of the ledger's file, {:.1} kB written, \
         {:.2} ms of processor",
        scale.nodes,
        per(after.saturating_sub(before), deals) / 1e3,
        per(opened.1 - began.1, deals) / 1e3,
        (opened.0 - began.0) / per(deals, 1),
    );

    let keys: Vec<_> = (0..scale.nodes)
        .map(node_key)
        .map(|key| (NodeId::from(AccountId(key.verifying_key().to_bytes())), key))
        .collect();
    // Two epochs until all tables are full.
    bench.prove_until(3, &keys).await;
    let (began, before) = (used(), kept(folder.path()));
    let height = bench.ledger.head().await.unwrap().header.height;
    let leaves = bench.prove_until(3 + EPOCHS, &keys).await;
    let (ended, after) = (used(), kept(folder.path()));
    let blocks = bench.ledger.head().await.unwrap().header.height - height;
    let nodes = u64::from(scale.nodes);
    println!(
        "an epoch: {:.0} ms of processor, {:.2} MB written, {:.2} MB kept, {} blocks, {} leaves proven",
        (ended.0 - began.0) / per(EPOCHS, 1),
        per(ended.1 - began.1, EPOCHS) / 1e6,
        per(after.saturating_sub(before), EPOCHS) / 1e6,
        blocks / EPOCHS,
        leaves as u64 / EPOCHS,
    );
    println!(
        "for each node: {:.1} ms of processor, {:.0} kB written, {:.1} kB kept",
        (ended.0 - began.0) / per(EPOCHS * nodes, 1),
        per(ended.1 - began.1, EPOCHS * nodes) / 1e3,
        per(after.saturating_sub(before), EPOCHS * nodes) / 1e3,
    );
    drop(bench);
    embedded.close().await;
    println!("in the file, for each deal:");
    tell_tables(folder.path(), deals);
}

fn main() {
    let is_whole = std::env::args().any(|arg| arg == "--bench");
    let scale =
        if is_whole { Scale { deals: 3_000, nodes: 40 } } else { Scale { deals: 20, nodes: 8 } };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(run(&scale));
}
