//! A ledger that several validators order: each with its own file and clock, connected in memory.

use std::{path::PathBuf, time::Duration};

use super::{key, transaction};
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, LedgerTicket, Options, Together, founder};
use symbolon_net::{Endpoint, Host, MemoryNetwork, PeerAddress};
use symbolon_protocol::{
    LedgerTime,
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
    time::{Instant, timeout},
};

/// The salt of a validator's onions.
const SALT: [u8; 32] = [9; 32];

/// Longer than anything here takes, in virtual time.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);

/// When all clocks begin.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;

/// Machines that have founded a ledger together.
pub(crate) struct Machines {
    folder: tempfile::TempDir,
    pub(crate) network: MemoryNetwork,
    pub(crate) genesis: Genesis,
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
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::from(self.embedded.clone())
    }
}

impl Machines {
    /// Founds a ledger with validators of these powers, and starts all of them.
    pub(crate) async fn new(powers: &[u64]) -> Self {
        Self::on(MemoryNetwork::new(), powers, Params::development()).await
    }

    /// The same on this network, with these parameters.
    pub(crate) async fn on(network: MemoryNetwork, powers: &[u64], params: Params) -> Self {
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
        let time_ms = LedgerTime(BEGIN_MS);
        let genesis = Genesis { params, validators: Validators { members }, time_ms, onions };
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

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn peer(&self, at: usize) -> PeerId {
        PeerId(key(self.numbers[at]).verifying_key().to_bytes())
    }

    /// Sets a machine's clock.
    pub(crate) fn set_clock(&self, at: usize, by_ms: i64) {
        self.running[at].as_ref().unwrap().host.set_clock(by_ms);
    }

    pub(crate) fn folder(&self, at: usize) -> PathBuf {
        self.folder.path().join(at.to_string())
    }

    async fn start_at(&mut self, at: usize, endpoint: Endpoint) {
        let key = key(self.numbers[at]).to_bytes();
        self.starts += 1;
        let host = Host::seeded(self.starts, BEGIN_MS + self.elapsed_ms());
        let params = self.genesis.params.clone();
        let options = Options { key, params, host: host.clone() };
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
    pub(crate) async fn start(&mut self, at: usize) {
        let endpoint = self.network.endpoint(key(self.numbers[at]).to_bytes());
        self.start_at(at, endpoint).await;
    }

    pub(crate) async fn stop(&mut self, at: usize) {
        let Machine { embedded, endpoint, server, .. } = self.running[at].take().unwrap();
        endpoint.close().await;
        server.abort();
        server.await.ok();
        timeout(LONGEST, embedded.close()).await.unwrap();
    }

    pub(crate) fn ledger(&self, at: usize) -> Ledger {
        self.running[at].as_ref().unwrap().ledger()
    }

    pub(crate) fn ledgers(&self) -> Vec<Ledger> {
        self.running.iter().flatten().map(Machine::ledger).collect()
    }

    /// Waits until all that run have this block, and returns the blocks up to it: the same with all.
    pub(crate) async fn agree_up_to(&self, height: u64) -> Vec<Block> {
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
    pub(crate) async fn faucet(&self, at: usize, from: u8) -> u64 {
        let ledger = self.ledger(at);
        let request = transaction(ledger.chain(), from, 1, Action::Faucet);
        let outcome = timeout(LONGEST, ledger.submit(request)).await.unwrap().unwrap();
        assert_eq!(outcome.status, Status::Applied);
        outcome.height
    }

    /// All machines as servers, this one first.
    pub(crate) fn ticket(&self, first: usize) -> LedgerTicket {
        let mut peers = self.addresses.clone();
        peers.rotate_left(first);
        LedgerTicket { chain: self.genesis.chain(), peers }
    }
}
