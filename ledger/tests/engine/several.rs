//! A ledger that several validators order: each with its own file and clock, connected in memory, in virtual time.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use crate::common::{balance, key, transaction, transfer};
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, Options, Together, founder};
use symbolon_net::{Endpoint, Host, MemoryNetwork, PeerAddress};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::PeerId,
    ledger::{
        Params, Status,
        block::{Block, Genesis},
        commit::{Validator, Validators},
        transaction::Action,
    },
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// The salt of a validator's onions.
const SALT: [u8; 32] = [9; 32];

/// Longer than anything here takes, in virtual time.
const LONGEST: Duration = Duration::from_secs(120);

/// When all clocks begin.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// Machines that have founded a ledger together.
struct Machines {
    folder: tempfile::TempDir,
    network: MemoryNetwork,
    genesis: Genesis,
    addresses: Vec<PeerAddress>,
    numbers: Vec<u8>,
    running: Vec<Option<Machine>>,
    began: Instant,
    starts: u64,
}

struct Machine {
    host: Host,
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
        let (params, time_ms) = (Params::development(), LedgerTime(BEGIN_MS));
        let genesis = Genesis { params, validators: Validators { members }, time_ms, onions };
        let network = MemoryNetwork::new();
        let mut machines = Self {
            folder: tempfile::tempdir().unwrap(),
            network,
            genesis,
            addresses: Vec::new(),
            running: numbers.iter().map(|_| None).collect(),
            numbers,
            began: Instant::now(),
            starts: 0,
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

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn peer(&self, at: usize) -> PeerId {
        PeerId(key(self.numbers[at]).verifying_key().to_bytes())
    }

    /// Sets a machine's clock.
    fn set_clock(&self, at: usize, by_ms: i64) {
        self.running[at].as_ref().unwrap().host.set_clock(by_ms);
    }

    fn folder(&self, at: usize) -> PathBuf {
        self.folder.path().join(at.to_string())
    }

    async fn start_at(&mut self, at: usize, endpoint: Endpoint) {
        let key = key(self.numbers[at]).to_bytes();
        self.starts += 1;
        let host = Host::seeded(self.starts, BEGIN_MS + self.elapsed_ms());
        let options = Options { key, params: Params::development(), host: host.clone() };
        let (founding, salt) = (Some(self.genesis.clone()), Some(SALT));
        let addresses = self.addresses.clone();
        let together =
            Together { endpoint: endpoint.clone(), addresses, salt, founding, is_copy: false };
        let embedded = Embedded::open_together(&self.folder(at), options, EPOCHS_KEPT, together)
            .await
            .unwrap();
        let server = tokio::spawn(symbolon_ledger::answer(embedded.clone(), endpoint.clone()));
        self.running[at] = Some(Machine { host, embedded, endpoint, server });
    }

    /// Starts a machine again, with what is in its folder.
    async fn start(&mut self, at: usize) {
        let endpoint = self.network.endpoint(key(self.numbers[at]).to_bytes());
        self.start_at(at, endpoint).await;
    }

    async fn stop(&mut self, at: usize) {
        let Machine { embedded, endpoint, server, .. } = self.running[at].take().unwrap();
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

#[tokio::test(start_paused = true)]
async fn four_validators_agree_on_every_block() {
    let machines = Machines::new(&[1, 1, 1, 1]).await;
    let mut last = 0;
    for round in 0..5_u8 {
        for at in 0..4 {
            last = machines.faucet(at, 1 + round * 4 + u8::try_from(at).unwrap()).await;
        }
    }
    let blocks = machines.agree_up_to(last).await;
    let headers = || blocks[1..].iter().map(|block| &block.header);
    let proposers: BTreeSet<u16> = headers().map(|one| one.header.facts.proposer).collect();
    assert_eq!(proposers.len(), 4, "they take turns");
    for signed in headers() {
        signed.commit.verify(&signed.header, &machines.genesis.validators).unwrap();
    }
    // The same transaction is given to two validators, and is applied once.
    let (ledger, other) = (machines.ledger(2), machines.ledger(3));
    let chain = ledger.chain();
    let pay = transfer(chain, 1, 7, 30, 5);
    let (one, two) = tokio::join!(ledger.submit(pay.clone()), other.submit(pay));
    let height = one.clone().unwrap().height;
    assert_eq!(one.unwrap(), two.unwrap());
    machines.agree_up_to(height).await;
    for ledger in machines.ledgers() {
        assert_eq!(balance(&ledger, 30).await, Amount::credits(5));
        // What the rules refuse is refused by each.
        let poor = ledger.submit(transfer(chain, 40, 1, 41, 1)).await.unwrap();
        assert_eq!(poor.status, Status::BalanceTooLow);
    }
}

#[tokio::test(start_paused = true)]
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
    let applied = blocks.iter().flat_map(|block| &block.transactions);
    let ids: Vec<_> = applied.map(|one| (one.sender, one.id)).collect();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), once.len()), (18, 18), "each that was acknowledged is there, once");
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_has_lost_its_ledger_gets_it_from_the_others() {
    let mut machines = Machines::new(&[1, 1, 1, 1]).await;
    for number in 1..=5 {
        machines.faucet(0, number).await;
    }
    machines.stop(2).await;
    fs::remove_file(machines.folder(2).join("ledger.redb")).unwrap();
    machines.start(2).await;
    for number in 6..=10 {
        let height = machines.faucet(1, number).await;
        machines.agree_up_to(height).await;
    }
    // It signs again.
    machines.stop(0).await;
    let height = machines.faucet(2, 11).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn without_more_than_two_thirds_nothing_is_applied_and_nothing_is_lost() {
    let machines = Machines::new(&[1, 1, 1, 1]).await;
    machines.faucet(0, 1).await;
    let (one, two) = (machines.peer(0), machines.peer(1));
    machines.network.part(&[one, two]);
    let ledgers = machines.ledgers();
    let submitted: Vec<_> = [(&ledgers[0], 2), (&ledgers[3], 3)]
        .map(|(ledger, number)| {
            let request = transaction(ledger.chain(), number, 1, Action::Faucet);
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.submit(request).await })
        })
        .into();
    sleep(Duration::from_secs(60)).await;
    assert!(submitted.iter().all(|submitted| !submitted.is_finished()));
    machines.network.heal();
    for submitted in submitted {
        let outcome = timeout(LONGEST, submitted).await.unwrap().unwrap().unwrap();
        assert_eq!(outcome.status, Status::Applied);
        machines.agree_up_to(outcome.height).await;
    }
    // One alone is not missed, and catches up.
    machines.network.part(&[machines.peer(2)]);
    for number in 4..=7 {
        machines.faucet(3, number).await;
    }
    machines.network.heal();
    let height = machines.faucet(2, 8).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn power_counts_and_not_heads() {
    let mut machines = Machines::new(&[5, 3, 1, 1]).await;
    machines.faucet(2, 1).await;
    machines.stop(2).await;
    machines.stop(3).await;
    for number in 2..=6 {
        machines.faucet(1, number).await;
    }
    machines.start(3).await;
    let height = machines.faucet(3, 7).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_does_not_move_the_time_of_the_ledger() {
    for by_ms in [3_600_000, -3_600_000] {
        let machines = Machines::new(&[1, 1, 1, 1]).await;
        machines.set_clock(1, by_ms);
        let mut last = 0;
        for number in 1..=12 {
            last = machines.faucet(usize::from(number % 4), number).await;
        }
        let now_ms = BEGIN_MS + machines.elapsed_ms();
        for block in &machines.agree_up_to(last).await[1..] {
            let time_ms = block.header.header.facts.time_ms.0;
            assert!(time_ms <= now_ms + 2_000, "{time_ms} is ahead of {now_ms}");
        }
    }
}
