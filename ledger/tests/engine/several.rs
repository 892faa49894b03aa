//! A ledger that several validators order: each with its own file, connected in memory.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crate::common::{account, balance, key, transaction, transfer};
use symbolon_ledger::{Embedded, Founding, Ledger, Options, Together, founder};
use symbolon_net::{Endpoint, Host, MemoryNetwork, PeerAddress};
use symbolon_protocol::{
    Amount, LedgerTime,
    ledger::{
        Params, Status,
        block::{Block, Genesis},
        commit::{Validator, Validators},
        transaction::Action,
    },
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

/// The salt of a validator's onions.
const SALT: [u8; 32] = [9; 32];

/// Longer than anything here takes.
const LONGEST: Duration = Duration::from_secs(60);

/// Machines that have founded a ledger together.
struct Machines {
    folder: tempfile::TempDir,
    network: MemoryNetwork,
    genesis: Genesis,
    addresses: Vec<PeerAddress>,
    numbers: Vec<u8>,
    running: Vec<Option<Machine>>,
}

struct Machine {
    embedded: Embedded,
    endpoint: Endpoint,
    server: JoinHandle<()>,
}

impl Machine {
    fn ledger(&self) -> Ledger {
        Ledger::from(self.embedded.clone())
    }
}

impl Machines {
    /// Founds a ledger with validators of these powers, and starts all of them.
    async fn new(powers: &[u64]) -> Self {
        let numbers: Vec<u8> =
            (0..powers.len()).map(|at| 101 + u8::try_from(at).unwrap()).collect();
        let mut founders: Vec<_> = numbers
            .iter()
            .zip(powers)
            .map(|(number, power)| {
                let (key, onion) = founder(&key(*number).to_bytes(), SALT);
                (Validator { key, power: *power }, onion)
            })
            .collect();
        founders.sort_unstable_by_key(|(validator, _)| validator.key);
        let (members, onions) = founders.into_iter().unzip();
        let (params, time_ms) = (Params::development(), LedgerTime(1_700_000_000_000));
        let genesis = Genesis { params, validators: Validators { members }, time_ms, onions };
        let network = MemoryNetwork::new();
        let mut machines = Self {
            folder: tempfile::tempdir().unwrap(),
            network,
            genesis,
            addresses: Vec::new(),
            running: numbers.iter().map(|_| None).collect(),
            numbers,
        };
        let endpoints: Vec<_> = machines
            .numbers
            .iter()
            .map(|number| machines.network.endpoint(key(*number).to_bytes()))
            .collect();
        machines.addresses = endpoints.iter().map(Endpoint::address).collect();
        for (at, endpoint) in endpoints.into_iter().enumerate() {
            machines.start_at(at, endpoint).await;
        }
        machines
    }

    fn folder(&self, at: usize) -> PathBuf {
        self.folder.path().join(at.to_string())
    }

    async fn start_at(&mut self, at: usize, endpoint: Endpoint) {
        let key = key(self.numbers[at]).to_bytes();
        let options = Options { key, params: Params::development(), host: Host::system() };
        let founding = Some(Founding { genesis: self.genesis.clone(), salt: SALT });
        let addresses = self.addresses.clone();
        let together = Together { endpoint: endpoint.clone(), addresses, founding };
        let embedded = Embedded::open_together(&self.folder(at), options, together).await.unwrap();
        let server = tokio::spawn(symbolon_ledger::answer(embedded.clone(), endpoint.clone()));
        self.running[at] = Some(Machine { embedded, endpoint, server });
    }

    /// Starts a machine again, with what is in its folder.
    async fn start(&mut self, at: usize) {
        let endpoint = self.network.endpoint(key(self.numbers[at]).to_bytes());
        self.start_at(at, endpoint).await;
    }

    async fn stop(&mut self, at: usize) {
        let Machine { embedded, endpoint, server } = self.running[at].take().unwrap();
        endpoint.close().await;
        server.abort();
        server.await.ok();
        timeout(LONGEST, embedded.close()).await.unwrap();
    }

    fn ledger(&self, at: usize) -> Ledger {
        self.running[at].as_ref().unwrap().ledger()
    }

    fn ledgers(&self) -> Vec<Ledger> {
        self.running.iter().flatten().map(Machine::ledger).collect()
    }

    /// Waits until all that run have this block, and returns the blocks up to it: the same with all.
    async fn agree_up_to(&self, height: u64) -> Vec<Block> {
        let mut all: Vec<Vec<Block>> = Vec::new();
        for ledger in self.ledgers() {
            let mut follow = ledger.follow(0);
            let mut blocks = Vec::new();
            for _ in 0..=height {
                blocks.push(timeout(LONGEST, follow.next()).await.unwrap().unwrap());
            }
            all.push(blocks);
        }
        for other in &all[1..] {
            for (one, other) in all[0].iter().zip(other) {
                // Certificates may have signatures of other validators.
                assert_eq!(one.header.header, other.header.header);
                assert_eq!((&one.transactions, &one.events), (&other.transactions, &other.events));
            }
        }
        all.swap_remove(0)
    }

    /// Submits a request for play money of an account, and says in which block it is.
    async fn faucet(&self, at: usize, from: u8) -> u64 {
        let ledger = self.ledger(at);
        let request = transaction(ledger.chain(), from, 1, Action::Faucet);
        let outcome = timeout(LONGEST, ledger.submit(request)).await.unwrap().unwrap();
        assert_eq!(outcome.status, Status::Applied);
        outcome.height
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_agree_on_every_block() {
    let machines = Machines::new(&[1, 1, 1, 1]).await;
    let mut last = 0;
    for round in 0..5_u8 {
        for at in 0..4 {
            last = machines.faucet(at, 1 + round * 4 + u8::try_from(at).unwrap()).await;
        }
    }
    let blocks = machines.agree_up_to(last).await;
    let proposers: BTreeSet<u16> =
        blocks[1..].iter().map(|block| block.header.header.facts.proposer).collect();
    assert!(1 < proposers.len(), "they take turns");
    for block in &blocks[1..] {
        let validators = &machines.genesis.validators;
        block.header.commit.verify(&block.header.header, validators).unwrap();
    }
    let ledger = machines.ledger(2);
    let chain = ledger.chain();
    let pay = transfer(chain, 1, 7, 30, 5);
    // The same transaction is given to two validators, and is applied once.
    let other = machines.ledger(3);
    let (one, two) = tokio::join!(ledger.submit(pay.clone()), other.submit(pay.clone()));
    assert_eq!(one.unwrap(), two.unwrap());
    for ledger in machines.ledgers() {
        timeout(LONGEST, async {
            while balance(&ledger, 30).await != Amount::credits(5) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        // What the rules refuse is refused by each.
        let poor = ledger.submit(transfer(chain, 40, 1, 41, 1)).await.unwrap();
        assert_eq!(poor.status, Status::BalanceTooLow);
    }
    assert_ne!(balance(&ledger, 1).await, Amount::ZERO);
    assert_eq!(account(1), account(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_four_may_fail_and_all_come_back() {
    let mut machines = Machines::new(&[1, 1, 1, 1]).await;
    machines.faucet(0, 1).await;
    for at in 0..4_usize {
        machines.stop(at).await;
        let number = 10 + 10 * u8::try_from(at).unwrap();
        let up = (at + 1) % 4;
        for more in 0..3 {
            machines.faucet(up, number + more).await;
        }
        machines.start(at).await;
        // It takes part in what comes now, or is told.
        let height = machines.faucet(at, number + 5).await;
        machines.agree_up_to(height).await;
    }
    for at in 0..4 {
        machines.stop(at).await;
    }
    for at in 0..4 {
        machines.start(at).await;
    }
    let height = machines.faucet(1, 90).await;
    let blocks = machines.agree_up_to(height).await;
    let ids: Vec<_> = blocks
        .iter()
        .flat_map(|block| &block.transactions)
        .map(|one| (one.sender, one.id))
        .collect();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), once.len()), (1 + 4 * 4 + 1, 1 + 4 * 4 + 1), "each once");
}
