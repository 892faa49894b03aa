//! Floods of transactions, from one peer and from a thousand connections. What honest parties have to do in time is applied
//! within two blocks, as it is without a flood: the proof of a node, the releases of custodians, the acknowledgement of a
//! buyer.
//!
//! Each flood submits again and again, over real connections: transactions that another party signed in the names of the
//! honest parties, transfers without money, and valid transactions that cost their sender nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::common::{
    answer,
    duties::{self, NODE, OWNER, Sale, node_id},
    machines::Machines,
    open, transfer,
};
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Ledger, LedgerTicket, Remote};
use symbolon_net::{Endpoint, Host, Latency, MemoryNetwork};
use symbolon_protocol::{
    id::TransactionId,
    ledger::{
        Params, Status,
        rows::{Nodes, OrderState, Orders},
        transaction::{Action, Transaction},
    },
};
use tokio::task::JoinSet;

/// Blocks after the last one at its submission within which a duty is applied.
const BLOCKS_MAX: u64 = 2;
/// Blocks that the flood is in before the first duty is submitted.
const BLOCKS_BEFORE: u64 = 2;

fn secret(number: u32) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    secret
}

/// What a flooder submits again and again.
#[derive(Clone, Copy)]
enum Kind {
    /// What an honest party has to do, in the name of that party: a duty by its number.
    Duty(usize),
    /// Transfers in the name of the honest owner.
    Transfer,
    /// Transfers of money that the sender does not have.
    Poor,
    /// Valid, and free.
    Faucet,
}

/// What all flooders share.
struct Flood {
    /// What honest parties will submit, which another party signs.
    duties: Vec<Transaction>,
    pay: Transaction,
    made: AtomicU32,
    is_over: AtomicBool,
}

impl Flood {
    /// A fresh transaction, and what the ledger must say of it.
    fn next(&self, kind: Kind) -> (Transaction, Status) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let thief = SigningKey::from_bytes(&secret(number + 1_000_000));
        let chain = self.pay.chain;
        let sign = |action: &Action| {
            Transaction::build(chain, &thief, TransactionId([9; 16]), 9_000, action.clone())
        };
        let forge = |honest: &Transaction| {
            let forged = Transaction { sender: honest.sender, ..sign(&honest.action) };
            (forged, Status::BadSignature)
        };
        match kind {
            Kind::Duty(number) => forge(&self.duties[number]),
            Kind::Transfer => forge(&self.pay),
            Kind::Poor => (sign(&self.pay.action), Status::BalanceTooLow),
            Kind::Faucet => (sign(&Action::Faucet), Status::Applied),
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
        tickets: &[LedgerTicket],
    ) -> JoinSet<()> {
        let mut pouring = JoinSet::new();
        for (peer, ticket) in (0..self.peers).zip(tickets.iter().cycle()) {
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

/// What was seen while honest parties did their duties.
struct Seen {
    /// How many blocks later each of them was applied.
    blocks: Vec<u64>,
    /// Transactions of the largest block.
    largest: usize,
}

/// A ledger with all that honest parties have to do: a proof, two releases, an acknowledgement.
struct World {
    network: MemoryNetwork,
    /// The servers as each of the flooders knows them.
    tickets: Vec<LedgerTicket>,
    home: Ledger,
    honest: Ledger,
    duties: Vec<Transaction>,
}

/// A network where each message takes a millisecond.
fn network() -> MemoryNetwork {
    let wait = Duration::from_millis(1);
    MemoryNetwork::with_latency(Latency { seed: 1, min: wait, max: wait })
}

impl World {
    /// One machine orders the ledger.
    async fn alone(folder: &tempfile::TempDir) -> Self {
        let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
        let network = network();
        let ticket = answer(embedded.clone(), network.endpoint([1; 32]));
        Self::with(network, vec![ticket], embedded.into()).await
    }

    /// Several do, and each of them is flooded.
    async fn several(machines: &Machines) -> Self {
        let servers = machines.ledgers().len();
        let tickets = (0..servers).map(|first| machines.ticket(first)).collect();
        Self::with(machines.network.clone(), tickets, machines.ledger(0)).await
    }

    async fn with(network: MemoryNetwork, tickets: Vec<LedgerTicket>, home: Ledger) -> Self {
        let honest = Ledger::from(Remote::new(network.endpoint([2; 32]), tickets[0].clone()));
        duties::open_deal(&honest).await;
        let proof = duties::proof(&honest).await;
        let sale = Sale::paid(&honest).await;
        let releases = [0, 1].map(|place| sale.release(&honest, place));
        let last = Sale::acknowledgement(&honest);
        let duties = [proof].into_iter().chain(releases).chain([last]).collect();
        Self { network, tickets, home, honest, duties }
    }

    async fn height(&self) -> u64 {
        self.home.head().await.unwrap().header.height
    }

    /// Submits all duties in the midst of a flood, one after another.
    async fn seen_in(&self, flooders: Flooders) -> Seen {
        let pay = transfer(self.home.chain(), OWNER, 0, 3, 1);
        let (made, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
        let flood = Arc::new(Flood { duties: self.duties.clone(), pay, made, is_over });
        let from = self.height().await + 1;
        let pouring = flooders.begin(&flood, &self.network, &self.tickets);
        if !pouring.is_empty() {
            self.home.follow(from + BLOCKS_BEFORE).next().await.unwrap();
        }
        let mut blocks = Vec::new();
        for duty in &self.duties {
            let before = self.height().await;
            let outcome = self.honest.submit(duty.clone()).await.unwrap();
            assert_eq!(outcome.status, Status::Applied, "{}", duty.action.name());
            blocks.push(outcome.height - before);
        }
        flood.is_over.store(true, Ordering::Relaxed);
        pouring.join_all().await;

        let row = self.honest.row(Nodes, &node_id(NODE)).await.unwrap().unwrap();
        assert_eq!((row.passed, row.missed), (1, 0));
        let orders = self.honest.scan(Orders, &[], None, 2).await.unwrap();
        let [(_, order)] = orders.as_slice() else { panic!("{orders:?}") };
        assert_eq!((order.state, order.releases.len()), (OrderState::Settled, 2));
        let (mut follow, mut largest) = (self.home.follow(from), 0);
        for _ in from..=self.height().await {
            largest = largest.max(follow.next().await.unwrap().transactions.len());
        }
        Seen { blocks, largest }
    }
}

async fn seen_in(flooders: Flooders) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    World::alone(&folder).await.seen_in(flooders).await
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_applied_at_once_without_a_flood() {
    let none = Flooders { peers: 0, connections: 0, at_once: Vec::new() };
    assert_eq!(seen_in(none).await.blocks, [1; 4]);
}

fn in_time(seen: &Seen, blocks_max: u64) {
    let is_late = seen.blocks.iter().any(|blocks| blocks_max < *blocks);
    assert!(!is_late, "applied {:?} blocks later", seen.blocks);
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_floods_has_a_part_of_a_block() {
    let one = Flooders { peers: 1, connections: 16, at_once: vec![Kind::Faucet; 64] };
    let seen = seen_in(one).await;
    in_time(&seen, BLOCKS_MAX);
    assert!((200..=257).contains(&seen.largest), "a block has {} transactions", seen.largest);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_that_flood_hold_up_nothing_that_is_due() {
    let mut at_once: Vec<_> = (0..4).map(Kind::Duty).collect();
    at_once.extend([Kind::Transfer, Kind::Poor]);
    // More than three blocks of them wait at any time: what has no lane of its own is late.
    at_once.resize(12, Kind::Faucet);
    let seen = seen_in(Flooders { peers: 1_000, connections: 1, at_once }).await;
    in_time(&seen, BLOCKS_MAX);
    assert!(1_000 < seen.largest, "the largest block has {} transactions", seen.largest);
}

#[tokio::test(start_paused = true)]
async fn a_flood_against_four_validators_holds_up_nothing_that_is_due() {
    let machines = Machines::on(network(), &[1, 1, 1, 1], Params::development()).await;
    let world = World::several(&machines).await;
    let mut at_once: Vec<_> = (0..4).map(Kind::Duty).collect();
    at_once.extend([Kind::Transfer, Kind::Poor]);
    at_once.resize(12, Kind::Faucet);
    let seen = world.seen_in(Flooders { peers: 400, connections: 1, at_once }).await;
    // The validator whose turn it is may have begun its block before it hears of a duty.
    in_time(&seen, BLOCKS_MAX + 1);
    assert!(1_000 < seen.largest, "the largest block has {} transactions", seen.largest);
}
