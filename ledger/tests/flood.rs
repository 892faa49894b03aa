//! Floods of transactions, from one peer and from a thousand connections. The proof of an honest node is applied within
//! two blocks, as it is without a flood.
//!
//! Each flood submits again and again, over real connections: transactions that another party signed in the names of an
//! honest node and an honest owner, transfers without money, and valid transactions that cost their sender nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{
    account, answer, key, open,
    shards::{leaves, shard_root},
    transaction, transfer,
};
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Ledger, LedgerTicket, Remote};
use symbolon_net::{Endpoint, Host, Latency, MemoryNetwork};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{ChainId, NodeId, ObjectId, Opening, PeerId, TransactionId},
    ledger::{
        Status,
        rows::{Access, Nodes, Slots},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::LEAF_BYTES,
};
use tokio::task::JoinSet;

const OWNER: u8 = 1;
const NODE: u8 = 9;
/// Blocks after the last one at its submission within which a proof is applied.
const BLOCKS_MAX: u64 = 2;
/// Blocks that the flood is in before the proof is submitted.
const BLOCKS_BEFORE: u64 = 2;

fn secret(number: u32) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    secret
}

fn node() -> NodeId {
    PeerId(account(NODE).0)
}

/// A node with one shard to prove.
async fn open_deal(ledger: &Ledger) {
    let chain = ledger.chain();
    let price = Amount::credits(1);
    let register = Action::RegisterNode {
        payout: account(8),
        addresses: Vec::new(),
        custody_key: None,
        price,
        capacity: 1 << 30,
    };
    let opening = Opening([4; 32]);
    let terms = DealTerms {
        owner: account(OWNER),
        opening,
        object: ObjectId([5; 16]),
        segment: 0,
        required: 1,
        total: 1,
        length: LEAF_BYTES as u64,
        access: Access::Public,
        epochs: 10,
    };
    let root = shard_root(&terms.deal(), 0, terms.length);
    let accepted =
        Acceptance::build(&chain, &terms, &key(NODE), (0, root), price, LedgerTime::NEVER);
    let acceptances = vec![accepted];
    let open = Action::OpenDeal { terms, acceptances, cost_max: Amount::credits(1) };
    for setup in [
        transaction(chain, OWNER, 1, Action::Faucet),
        transaction(chain, NODE, 1, register),
        transaction(chain, OWNER, 2, open),
    ] {
        assert_eq!(ledger.submit(setup).await.unwrap().status, Status::Applied);
    }
}

/// The proof of the node's window, which is open.
async fn prove(ledger: &Ledger) -> Transaction {
    let row = ledger.row(Nodes, &node()).await.unwrap().unwrap();
    let window = row.window.unwrap();
    let slot = ledger.row(Slots, &(node(), 0)).await.unwrap().unwrap();
    let leaves = leaves(&ledger.chain(), (&node(), &row), &window, &[slot]);
    let action = Action::Prove { epoch: window.epoch, leaves };
    Transaction::build(ledger.chain(), &key(NODE), TransactionId([7; 16]), 9_000, action)
}

/// What a flooder submits again and again.
#[derive(Clone, Copy)]
enum Kind {
    /// Proofs in the name of the honest node.
    Proof,
    /// Transfers in the name of the honest owner.
    Transfer,
    /// Transfers of money that the sender does not have.
    Poor,
    /// Valid, and free.
    Faucet,
}

/// What all flooders share.
struct Flood {
    chain: ChainId,
    /// The honest node's proof, which another party signs.
    proof: Action,
    made: AtomicU32,
    is_over: AtomicBool,
}

impl Flood {
    /// A fresh transaction, and what the ledger must say of it.
    fn next(&self, kind: Kind) -> (Transaction, Status) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let thief = SigningKey::from_bytes(&secret(number + 1_000_000));
        let sign =
            |action| Transaction::build(self.chain, &thief, TransactionId([9; 16]), 9_000, action);
        let pay = transfer(self.chain, OWNER, 0, 2, 1).action;
        match kind {
            Kind::Proof => {
                let proof = Transaction { sender: account(NODE), ..sign(self.proof.clone()) };
                (proof, Status::BadSignature)
            }
            Kind::Transfer => {
                (Transaction { sender: account(OWNER), ..sign(pay) }, Status::BadSignature)
            }
            Kind::Poor => (sign(pay), Status::BalanceTooLow),
            Kind::Faucet => (sign(Action::Faucet), Status::Applied),
        }
    }

    /// Submits one after another until the flood is over.
    async fn pour(self: Arc<Self>, ledger: Ledger, kind: Kind) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (transaction, expected) = self.next(kind);
            assert_eq!(ledger.submit(transaction).await.unwrap().status, expected);
        }
    }
}

/// Who floods: how many peers, over how many connections each, and what they submit at the same time on each of them.
struct Flooders {
    peers: u32,
    connections: u32,
    at_once: Vec<Kind>,
}

impl Flooders {
    fn begin(
        &self,
        flood: &Arc<Flood>,
        network: &MemoryNetwork,
        ticket: &LedgerTicket,
    ) -> JoinSet<()> {
        let mut pouring = JoinSet::new();
        for peer in 0..self.peers {
            let endpoint: Endpoint = network.endpoint(secret(peer));
            for _ in 0..self.connections {
                let ledger = Ledger::from(Remote::new(endpoint.clone(), ticket.clone()));
                for kind in &self.at_once {
                    pouring.spawn(flood.clone().pour(ledger.clone(), *kind));
                }
            }
        }
        pouring
    }
}

/// What was seen while an honest node submitted a proof.
struct Seen {
    /// How many blocks later it was applied.
    blocks: u64,
    /// Transactions of the largest block.
    largest: usize,
}

async fn proof_in(flooders: Flooders) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let wait = Duration::from_millis(1);
    let network = MemoryNetwork::with_latency(Latency { seed: 1, min: wait, max: wait });
    let ticket = answer(embedded.clone(), network.endpoint([1; 32]));
    let honest = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket.clone()));
    open_deal(&honest).await;
    let mut follow = honest.follow(4);
    while honest.row(Nodes, &node()).await.unwrap().unwrap().window.is_none() {
        follow.next().await.unwrap();
    }

    let proof = prove(&honest).await;
    let (chain, action) = (honest.chain(), proof.action.clone());
    let (made, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let flood = Arc::new(Flood { chain, proof: action, made, is_over });
    let home = Ledger::from(embedded);
    let from = home.head().await.unwrap().header.height + 1;
    let pouring = flooders.begin(&flood, &network, &ticket);
    if !pouring.is_empty() {
        home.follow(from + BLOCKS_BEFORE).next().await.unwrap();
    }
    let before = home.head().await.unwrap().header.height;
    let outcome = honest.submit(proof).await.unwrap();
    flood.is_over.store(true, Ordering::Relaxed);
    pouring.join_all().await;

    assert_eq!(outcome.status, Status::Applied);
    let row = honest.row(Nodes, &node()).await.unwrap().unwrap();
    assert_eq!((row.passed, row.missed), (1, 0));
    let (mut follow, mut largest) = (home.follow(from), 0);
    for _ in from..=home.head().await.unwrap().header.height {
        largest = largest.max(follow.next().await.unwrap().transactions.len());
    }
    Seen { blocks: outcome.height - before, largest }
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_applied_at_once_without_a_flood() {
    let none = Flooders { peers: 0, connections: 0, at_once: Vec::new() };
    assert_eq!(proof_in(none).await.blocks, 1);
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_floods_has_a_part_of_a_block() {
    let one = Flooders { peers: 1, connections: 16, at_once: vec![Kind::Faucet; 64] };
    let seen = proof_in(one).await;
    assert!(seen.blocks <= BLOCKS_MAX, "applied {} blocks later", seen.blocks);
    assert!((200..=257).contains(&seen.largest), "a block has {} transactions", seen.largest);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_that_flood_do_not_hold_up_a_proof() {
    let mut at_once = vec![Kind::Proof, Kind::Transfer, Kind::Poor];
    at_once.resize(9, Kind::Faucet);
    let seen = proof_in(Flooders { peers: 1_000, connections: 1, at_once }).await;
    assert!(seen.blocks <= BLOCKS_MAX, "applied {} blocks later", seen.blocks);
    assert!(1_000 < seen.largest, "the largest block has {} transactions", seen.largest);
}
