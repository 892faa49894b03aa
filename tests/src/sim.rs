//! A whole network in one thread and in virtual time.
//!
//! Everything in a [`World`] is production code: nodes, the embedded ledger, which the others use over
//! the network, and clients, with real databases and shard files in a temporary folder. What is not
//! real is what a run must not depend on: bytes travel through memory with a latency drawn from the
//! seed, the clock is tokio's, paused, and every party draws its randomness from a seed of its own.
//! So the seed decides everything, and the same seed gives the same [`Trace`].
//!
//! One thing is the machine's: how many bytes its disk has left. The nodes of a world keep none of
//! them free, so it decides nothing unless the disk is full.

use std::{
    collections::BTreeMap,
    fmt::Write,
    future::Future,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ed25519_dalek::SigningKey;
use symbolon_client::{Client, Name, Progress, Setup, Step};
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, LedgerTicket, Options, Remote, answer};
use symbolon_net::{Endpoint, Host, Latency, MemoryNetwork, PeerAddress, peer_id};
use symbolon_node::{Limits, Node, NodeHealth, NodeOptions};
use symbolon_protocol::{
    Amount, Millis,
    id::{AccountId, Hash, NodeId, PeerId, TransactionId},
    identity::Identity,
    ledger::{
        Params, Status,
        block::Block,
        rows::{Chains, Node as NodeRow, Nodes},
        transaction::{Action, Transaction},
    },
    session::NodeFault,
};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Duration, sleep},
};

use crate::{
    auditor::{Auditor, check_disk},
    between::{self, Instead, LedgerTwist, Twist},
};

/// When worlds begin: 2026-01-01 in milliseconds.
const START_MS: u64 = 1_767_225_600_000;

/// Bytes a node offers.
const CAPACITY: u64 = 1 << 30;

/// Parameters of a world's ledger: epochs of twenty seconds, and sixteen to deliver.
#[must_use]
pub fn params() -> Params {
    Params {
        epoch_ms: Millis(20_000),
        delivery_ms: Millis(16_000),
        window_ms_min: Millis(10_000),
        ..Params::development()
    }
}

/// What happened in a run, line by line: equal for equal seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The lines.
    pub lines: Vec<String>,
}

impl Trace {
    /// One hash over all lines.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash(*blake3::hash(self.lines.join("\n").as_bytes()).as_bytes())
    }

    /// The first line in which another trace differs.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let longest = self.lines.len().max(other.lines.len());
        let differs = (0..longest).find(|at| self.lines.get(*at) != other.lines.get(*at))?;
        let (one, other) = (self.lines.get(differs), other.lines.get(differs));
        Some(format!("line {differs}:\n  {one:?}\n  {other:?}"))
    }
}

/// Runs a scenario in a runtime of its own: one thread, time paused.
pub fn run<F: Future>(scenario: impl FnOnce() -> F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread can be made").block_on(async { scenario().await })
}

/// A node of the world, running or not.
#[derive(Debug)]
pub struct Station {
    /// Its identity.
    pub id: NodeId,
    /// Its secret.
    pub secret: [u8; 32],
    /// Its folder.
    pub dir: PathBuf,
    /// Where its pay goes.
    pub payout: AccountId,
    /// Its price.
    pub price: Amount,
    /// For how many epochs it agrees to it.
    pub agreed_epochs: u64,
    /// Whether it rebuilds lost shards of owners that name it.
    pub caretaker: bool,
    node: Option<Node>,
    starts: u32,
}

impl Station {
    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.node.is_some()
    }
}

/// The ledger while it runs.
#[derive(Debug)]
struct RunningLedger {
    embedded: Embedded,
    server: JoinHandle<()>,
}

/// A network, its nodes, its ledger, and the auditor who watches it.
#[derive(Debug)]
pub struct World {
    /// What decides everything.
    pub seed: u64,
    /// Who can talk to whom.
    pub network: MemoryNetwork,
    /// The nodes.
    pub stations: Vec<Station>,
    /// The auditor.
    pub auditor: Auditor,
    /// The blocks the auditor has seen.
    pub blocks: Vec<Block>,
    folder: TempDir,
    clock: Host,
    running: Option<RunningLedger>,
    ticket: LedgerTicket,
    trace: Trace,
    /// The machines by their owner, so that a test can set a machine's clock.
    hosts: BTreeMap<String, Host>,
    incarnations: u32,
    epochs_kept: u64,
    params: Params,
}

/// A name, from text that is one.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn called(text: impl AsRef<[u8]>) -> Name {
    Name::new(text.as_ref()).expect("the text is a name")
}

impl World {
    /// Founds a ledger and starts nodes; returns once all are registered.
    pub async fn found(seed: u64, nodes: usize) -> Self {
        Self::found_apart(seed, nodes, 2..=40).await
    }

    /// The same on a network with other parameters. Each node's own account has what the faucet gives once.
    pub async fn found_with(seed: u64, nodes: usize, params: Params) -> Self {
        Self::found_at(seed, nodes, 2..=40, params).await
    }

    /// The same, with so many milliseconds for one way between any two.
    pub async fn found_apart(seed: u64, nodes: usize, apart_ms: RangeInclusive<u64>) -> Self {
        Self::found_at(seed, nodes, apart_ms, params()).await
    }

    async fn found_at(
        seed: u64,
        nodes: usize,
        apart_ms: RangeInclusive<u64>,
        params: Params,
    ) -> Self {
        let (min, max) = apart_ms.into_inner();
        let ms = Duration::from_millis;
        let network = MemoryNetwork::with_latency(Latency { seed, min: ms(min), max: ms(max) });
        let folder = folder();
        let clock = Host::seeded(sub_seed(seed, "clock"), START_MS);
        let key = derive(seed, "ledger key");
        let options = Options {
            key,
            params: params.clone(),
            host: Host::seeded(sub_seed(seed, "ledger 0"), START_MS),
        };
        let embedded = Embedded::open(&folder.path().join("ledger"), options).await;
        let embedded = embedded.expect("a ledger can be founded in an empty folder");
        let secret = derive(seed, "ledger endpoint");
        let ticket = LedgerTicket {
            chain: embedded.chain(),
            peers: vec![PeerAddress { id: peer_id(&secret), addresses: vec!["memory".into()] }],
        };
        let auditor = Auditor::new(params.clone(), AccountId::from(peer_id(&key)));
        let server = tokio::spawn(answer(embedded.clone(), network.endpoint(secret)));
        let running = Some(RunningLedger { embedded, server });
        let mut world = Self {
            seed,
            network,
            stations: Vec::new(),
            auditor,
            blocks: Vec::new(),
            folder,
            clock,
            running,
            ticket,
            trace: Trace::default(),
            hosts: BTreeMap::new(),
            incarnations: 0,
            epochs_kept: EPOCHS_KEPT,
            params,
        };
        for number in 0..nodes {
            let station = world.station(number);
            if world.has_fees() {
                world.ask_faucet(&station.secret).await;
            }
            world.stations.push(station);
            world.start_node(number).await;
        }
        for station in &world.stations {
            station.node.as_ref().expect("it was just started").registered().await;
        }
        world
    }

    fn has_fees(&self) -> bool {
        let Params { fee_base, fee_byte, fee_check, deposit, capacity_deposit, .. } = &self.params;
        [fee_base, fee_byte, fee_check, deposit, capacity_deposit]
            .iter()
            .any(|price| **price > Amount::ZERO)
    }

    async fn ask_faucet(&self, secret: &[u8; 32]) {
        let (ledger, key) = (self.ledger(), SigningKey::from_bytes(secret));
        let id = TransactionId([1; 16]);
        let asked = Transaction::build(ledger.chain(), &key, id, 100, Action::Faucet);
        let outcome = ledger.submit(asked).await.expect("the ledger answers");
        assert_eq!(outcome.status, Status::Applied);
    }

    fn station(&self, number: usize) -> Station {
        let secret = derive(self.seed, &format!("node {number}"));
        // Prices that divide nothing evenly, so that every rounding shows.
        let spread = self.dice(&format!("price {number}"), 1_000_000_007);
        Station {
            id: peer_id(&secret),
            secret,
            dir: self.folder.path().join(format!("node-{number}")),
            payout: AccountId(derive(self.seed, &format!("payout {number}"))),
            price: Amount(50_000_000_000 + u128::from(spread)),
            agreed_epochs: u64::MAX,
            caretaker: false,
            node: None,
            starts: 0,
        }
    }

    /// A number below `below` that only the seed and `what` decide.
    #[must_use]
    pub fn dice(&self, what: &str, below: u64) -> u64 {
        sub_seed(self.seed, what) % below
    }

    /// Bytes that only the seed and `what` decide.
    #[must_use]
    pub fn bytes(&self, what: &str, length: u64) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated file v1");
        hasher.update(&self.seed.to_le_bytes()).update(what.as_bytes());
        let mut bytes = vec![0; usize::try_from(length).expect("simulated files are small")];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Now, in milliseconds since the Unix epoch, by the simulator's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms().0
    }

    /// The world's clock, for a test that plays a party itself.
    #[must_use]
    pub fn clock(&self) -> Host {
        self.clock.clone()
    }

    /// A folder of the world, gone with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn host(&mut self, who: &str) -> Host {
        self.incarnations += 1;
        let what = format!("{who} {}", self.incarnations);
        let host = Host::seeded(sub_seed(self.seed, &what), self.now_ms());
        self.hosts.insert(who.to_owned(), host.clone());
        host
    }

    /// Sets the clock of somebody's machine forward or back: `node 3`, a client's device, `ledger`.
    pub fn set_clock(&mut self, who: &str, by_ms: i64) {
        self.hosts[who].set_clock(by_ms);
        self.note(format!("the clock of the {who} is set by {by_ms} ms"));
    }

    /// Writes a line into the trace.
    pub fn note(&mut self, line: impl Into<String>) {
        let now_ms = self.now_ms() - START_MS;
        self.trace.lines.push(format!("{now_ms:>8} ms  {}", line.into()));
    }

    /// Starts a node that does not run; on its own folder, as after a crash.
    pub async fn start_node(&mut self, number: usize) {
        let endpoint = self.network.endpoint(self.stations[number].secret);
        let ledger = Remote::new(endpoint.clone(), self.ticket.clone());
        self.start_node_at(number, endpoint, ledger).await;
    }

    /// The same for a node that is told of the ledger by a liar.
    pub async fn start_node_told(&mut self, number: usize, ticket: LedgerTicket) {
        let endpoint = self.network.endpoint(self.stations[number].secret);
        let ledger = Remote::new(endpoint.clone(), ticket);
        self.start_node_at(number, endpoint, ledger).await;
    }

    /// The same for a node that has a liar before it: what these people are answered is the liar's.
    pub async fn start_node_behind(&mut self, number: usize, people: &[&str], twist: Twist) {
        let secret = self.stations[number].secret;
        let asker = |name: &&str| self.identity(name).access_key().to_bytes();
        let askers = people.iter().map(asker).collect();
        let (front, home) = (self.network.endpoint(secret), MemoryNetwork::new());
        let endpoint = home.endpoint(secret);
        let ledger = Remote::new(self.network.endpoint_beside(secret), self.ticket.clone());
        between::node(front, home, askers, twist);
        self.start_node_at(number, endpoint, ledger).await;
    }

    /// The address of somebody who answers as the ledger, and lies.
    #[must_use]
    pub fn lying_ledger(&self, name: &str, twist: LedgerTwist) -> LedgerTicket {
        self.ledger_between(name, (Arc::new(|_| None), twist))
    }

    /// The same of somebody who keeps things from the ledger.
    #[must_use]
    pub fn silent_ledger(&self, name: &str, instead: Instead) -> LedgerTicket {
        self.ledger_between(name, (instead, Arc::new(|_, answer| answer)))
    }

    fn ledger_between(&self, name: &str, lies: (Instead, LedgerTwist)) -> LedgerTicket {
        let front = self.network.endpoint(derive(self.seed, name));
        let ticket = LedgerTicket { peers: vec![front.address()], ..self.ticket.clone() };
        between::ledger(front, self.ticket.peers[0].clone(), lies);
        ticket
    }

    async fn start_node_at(&mut self, number: usize, endpoint: Endpoint, ledger: Remote) {
        let host = self.host(&format!("node {number}"));
        let station = &mut self.stations[number];
        assert!(station.node.is_none(), "it runs already");
        let mut limits = Limits::for_capacity(CAPACITY);
        limits.disk_reserve_bytes = 0;
        // What is sent and never paid for goes within minutes instead of an hour.
        limits.acceptance_ms = 60_000;
        limits.unpaid_grace_ms = 20_000;
        limits.sweep_ms = 5_000;
        limits.agreed_epochs = station.agreed_epochs;
        let options = NodeOptions {
            dir: station.dir.clone(),
            capacity: CAPACITY,
            price: station.price,
            payout: station.payout,
            operator: None,
            custody: true,
            caretaker: station.caretaker,
            limits,
            // Only a ledger that was set back takes a disk away.
            accept_loss: 0 < station.starts && !station.dir.exists(),
        };
        let ledger = Ledger::Remote(ledger);
        let node = Node::start(options, station.secret, endpoint, ledger, host).await;
        station.node = Some(node.expect("a node starts on its own folder"));
        station.starts += 1;
        let line = format!("node {number} starts for the {}. time", station.starts);
        self.note(line);
    }

    /// Starts a node anew, as one that repairs for others.
    pub async fn offer_care(&mut self, number: usize) {
        self.stations[number].caretaker = true;
        self.restart(number).await;
    }

    /// Starts a node anew, as one that agrees to its price for so many epochs.
    pub async fn agree_for(&mut self, number: usize, epochs: u64) {
        self.stations[number].agreed_epochs = epochs;
        self.restart(number).await;
    }

    /// Starts a node anew, as one that asks for another price.
    pub async fn ask(&mut self, number: usize, price: Amount) {
        self.stations[number].price = price;
        self.restart(number).await;
    }

    async fn restart(&mut self, number: usize) {
        self.kill_node(number).await;
        self.start_node(number).await;
        self.stations[number].node.as_ref().expect("it was just started").registered().await;
    }

    /// What a node knows by itself; `None` if it does not run.
    pub async fn health(&self, number: usize) -> Option<NodeHealth> {
        let node = self.stations[number].node.as_ref()?;
        Some(node.health().await.expect("a running node knows itself"))
    }

    /// Ends a node as a power cut would: its connections are lost, and what it was at is not finished.
    pub async fn kill_node(&mut self, number: usize) {
        let station = &mut self.stations[number];
        self.network.kill(&station.id);
        drop(station.node.take());
        // Its tasks are dropped when they are scheduled next.
        settle().await;
        self.note(format!("node {number} is killed"));
    }

    /// The number of a node.
    #[must_use]
    pub fn number_of(&self, id: &NodeId) -> usize {
        let found = self.stations.iter().position(|station| station.id == *id);
        found.expect("the world knows its nodes")
    }

    /// The ledger's ticket.
    #[must_use]
    pub fn ticket(&self) -> &LedgerTicket {
        &self.ticket
    }

    /// The key whose signature stands under the blocks.
    #[must_use]
    pub fn validator(&self) -> AccountId {
        AccountId::from(peer_id(&self.ledger_key()))
    }

    /// The secret of the ledger's only validator.
    #[must_use]
    pub fn ledger_key(&self) -> [u8; 32] {
        derive(self.seed, "ledger key")
    }

    /// The ledger, asked at home.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let running = self.running.as_ref().expect("the ledger runs");
        Ledger::Embedded(running.embedded.clone())
    }

    /// Ends the ledger: everybody's connections are lost, and what waits is not answered.
    pub async fn kill_ledger(&mut self) {
        self.network.kill(&self.ticket.peers[0].id);
        let running = self.running.take().expect("the ledger runs");
        running.server.abort();
        drop(running);
        settle().await;
        self.note("the ledger is killed");
    }

    /// Opens the ledger again from its disk.
    pub async fn start_ledger(&mut self) {
        let options = Options {
            key: self.ledger_key(),
            params: self.params.clone(),
            host: self.host("ledger"),
        };
        let folder = self.folder.path().join("ledger");
        let opened = Embedded::open_keeping(&folder, options, self.epochs_kept).await;
        let embedded = opened.expect("a ledger opens again");
        let endpoint = self.network.endpoint(derive(self.seed, "ledger endpoint"));
        let server = tokio::spawn(answer(embedded.clone(), endpoint));
        self.running = Some(RunningLedger { embedded, server });
        self.note("the ledger is back");
    }

    /// Opens the ledger again, to keep the blocks of so many epochs before the current one. Audits must come at
    /// least as often.
    pub async fn keep_epochs(&mut self, count: u64) {
        self.kill_ledger().await;
        self.epochs_kept = count;
        self.start_ledger().await;
    }

    /// A copy of all the ledger has on its disk, as a backup would be.
    pub async fn back_up_ledger(&mut self) -> TempDir {
        self.kill_ledger().await;
        let copy = folder();
        copy_files(&self.folder.path().join("ledger"), copy.path());
        self.start_ledger().await;
        copy
    }

    /// Sets the ledger back to a backup. What came after it was never there: the auditor begins anew, and so do
    /// the nodes, whose disks are of a time that has not come.
    pub async fn set_ledger_back(&mut self, backup: &TempDir) {
        self.audit().await;
        let running: Vec<_> =
            (0..self.stations.len()).filter(|number| self.stations[*number].runs()).collect();
        for number in &running {
            self.kill_node(*number).await;
            std::fs::remove_dir_all(&self.stations[*number].dir).expect("the node has a folder");
        }
        self.kill_ledger().await;
        copy_files(backup.path(), &self.folder.path().join("ledger"));
        self.start_ledger().await;
        self.auditor = Auditor::new(self.params.clone(), self.validator());
        self.blocks.clear();
        self.note("the ledger is set back");
        for number in running {
            self.start_node(number).await;
        }
    }

    /// Somebody's client, on that one's own folder. A second one of the same name takes the place of
    /// the first, as a program that is started again does.
    pub fn client(&mut self, name: &str) -> Client {
        self.device(name, name)
    }

    /// The same on a device of its own folder: a second one of the same identity. It takes the place of
    /// the first too, since both answer with one key.
    pub fn device(&mut self, name: &str, device: &str) -> Client {
        let secret = self.identity(name).access_key().to_bytes();
        let endpoint = self.network.endpoint(secret);
        self.client_at(name, device, endpoint)
    }

    /// The same at the same time as another one, whose place it does not take.
    pub fn device_beside(&mut self, name: &str, device: &str) -> Client {
        let secret = self.identity(name).access_key().to_bytes();
        let endpoint = self.network.endpoint_beside(secret);
        self.client_at(name, device, endpoint)
    }

    /// The same as [`Self::device`], told of the ledger by a liar.
    pub fn device_told(&mut self, name: &str, device: &str, ticket: LedgerTicket) -> Client {
        let secret = self.identity(name).access_key().to_bytes();
        let endpoint = self.network.endpoint(secret);
        self.client_told(name, device, endpoint, ticket)
    }

    /// What a room of a client is made of, on a device as [`Self::device`] has it.
    pub fn setup(&mut self, name: &str, device: &str) -> Setup {
        let secret = self.identity(name).access_key().to_bytes();
        let (endpoint, ticket) = (self.network.endpoint(secret), self.ticket.clone());
        self.setup_told(name, device, endpoint, ticket)
    }

    fn setup_told(
        &mut self,
        name: &str,
        device: &str,
        endpoint: Endpoint,
        ticket: LedgerTicket,
    ) -> Setup {
        let identity = self.identity(name);
        let ledger = Ledger::Remote(Remote::new(endpoint.clone(), ticket));
        let (host, dir) = (self.host(device), self.folder.path().join(device));
        Setup { identity, ledger, endpoint, host, dir }
    }

    fn client_at(&mut self, name: &str, device: &str, endpoint: Endpoint) -> Client {
        let ticket = self.ticket.clone();
        self.client_told(name, device, endpoint, ticket)
    }

    fn client_told(
        &mut self,
        name: &str,
        device: &str,
        endpoint: Endpoint,
        ticket: LedgerTicket,
    ) -> Client {
        let client = Client::new(self.setup_told(name, device, endpoint, ticket));
        client.expect("a client can be made in an empty folder")
    }

    /// Somebody's identity.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        let mut seed = [0; 64];
        seed[..32].copy_from_slice(&derive(self.seed, name));
        seed[32..].copy_from_slice(&derive(self.seed, &format!("{name}, second half")));
        Identity::from_seed(&seed)
    }

    /// Ends a client's program at once.
    pub async fn kill_client(&mut self, name: &str) {
        let peer = self.identity(name).peer();
        self.network.kill(&peer);
        settle().await;
        self.note(format!("the client of the {name} is killed"));
    }

    /// The current epoch.
    pub async fn epoch(&self) -> u64 {
        let chain = self.ledger().row(Chains, &()).await.expect("the ledger answers");
        chain.expect("a ledger has its own row").epoch
    }

    /// Waits until so many more epochs have begun, and every node had time to prove the last of them. Audits them.
    pub async fn pass_epochs(&mut self, count: u64) {
        let until = self.proven_epoch().await + count;
        while self.epoch().await < until || self.waits_for(until).await {
            sleep(Duration::from_secs(1)).await;
        }
        // Nodes prove as soon as their windows open: a second is many round trips.
        sleep(Duration::from_secs(2)).await;
        self.audit().await;
    }

    /// The last epoch for which no node waits any more; the current one if no node waits at all.
    async fn proven_epoch(&self) -> u64 {
        let (waits, now) = (self.next_epochs().await, self.epoch().await);
        waits.into_iter().min().map_or(now, |next| next.saturating_sub(1).min(now))
    }

    /// Whether a node still waits for its window of this epoch or an earlier one.
    async fn waits_for(&self, epoch: u64) -> bool {
        self.next_epochs().await.into_iter().any(|next| next <= epoch)
    }

    /// The epochs of the windows that nodes wait for.
    async fn next_epochs(&self) -> Vec<u64> {
        let ids: Vec<_> = self.stations.iter().map(|station| station.id).collect();
        let rows = self.ledger().rows(Nodes, &ids).await.expect("the ledger answers");
        rows.into_iter().flatten().filter_map(|row| row.next_epoch).collect()
    }

    /// A node's row.
    pub async fn row(&self, number: usize) -> NodeRow {
        let id = self.stations[number].id;
        let row = self.ledger().row(Nodes, &id).await.expect("the ledger answers");
        row.expect("the node is registered")
    }

    /// Shows the auditor every block that was made since, writes them into the trace, and compares
    /// the auditor's books with the ledger's rows.
    pub async fn audit(&mut self) {
        let ledger = self.ledger();
        let head = ledger.head().await.expect("the ledger answers").header.height;
        let mut blocks = ledger.follow(self.auditor.next());
        while self.auditor.next() <= head {
            let block = blocks.next().await.expect("blocks are there");
            let header = &block.header.header;
            let mut line = format!("block {} {}", header.height, header.digest());
            let (root, count) = (header.state_root, block.transactions.len());
            let events = block.events.len();
            write!(line, " state {root} transactions {count} events {events}")
                .expect("a string takes what is written");
            if let Err(finding) = self.auditor.take(&block) {
                panic!("the auditor found: {finding}");
            }
            self.trace.lines.push(line);
            self.blocks.push(block);
        }
        if let Err(finding) = self.auditor.compare_rows(&ledger).await {
            panic!("the auditor found: {finding}");
        }
    }

    /// Compares the disks of the nodes that run with what they are paid for.
    pub fn audit_disks(&mut self) {
        let held = self.auditor.held();
        for station in self.stations.iter().filter(|station| station.runs()) {
            let mine: Vec<_> =
                held.iter().filter(|shard| shard.node == station.id).copied().collect();
            if let Err(why) = check_disk(&station.dir, &mine) {
                panic!("the auditor found: {why}");
            }
        }
        self.note(format!("{} shards are where they are paid for", held.len()));
    }

    /// The trace of a world whose nodes and disks are not looked at any more.
    #[must_use]
    pub fn end(mut self) -> Trace {
        std::mem::take(&mut self.trace)
    }

    /// A last audit, what every node and account has, and the trace.
    pub async fn finish(mut self) -> Trace {
        self.audit().await;
        self.audit_disks();
        for number in 0..self.stations.len() {
            let row = self.row(number).await;
            let earned = self.auditor.balance(&self.stations[number].payout);
            let (passed, missed) = (row.passed, row.missed);
            self.note(format!("node {number}: proven {passed}, missed {missed}, has {earned}"));
        }
        let running = (0..self.stations.len()).filter(|number| self.stations[*number].runs());
        for number in running.collect::<Vec<_>>() {
            let node = self.stations[number].node.take().expect("it runs");
            let status = node.status().await.expect("its ledger answers");
            assert_eq!((status.shards, status.unpaid_shards, status.unpaid_bytes), {
                let held = self.auditor.held();
                let mine = held.iter().filter(|shard| shard.node == status.id).count();
                (mine as u64, 0, 0)
            });
            self.note(format!("{status:?}"));
            node.stop().await;
        }
        std::mem::take(&mut self.trace)
    }
}

impl Drop for World {
    /// A run that fails shows how it came to that.
    #[expect(clippy::print_stderr, reason = "a person reads it when a test fails")]
    fn drop(&mut self) {
        const SHOWN: usize = 25;
        if std::thread::panicking() {
            let from = self.trace.lines.len().saturating_sub(SHOWN);
            eprintln!("the last of the trace:\n{}", self.trace.lines[from..].join("\n"));
        }
    }
}

/// Faults that a client was told of, as they came.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    told: Arc<Mutex<Vec<(NodeId, NodeFault)>>>,
}

impl Faults {
    /// A listener that writes down faults.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let told = self.told.clone();
        Progress::new(move |step| {
            if let Step::Fault { node, fault, .. } = step {
                told.lock().expect("no listener panics").push((node, fault));
            }
        })
    }

    /// What was told since it was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<(NodeId, NodeFault)> {
        std::mem::take(&mut *self.told.lock().expect("no listener panics"))
    }
}

/// A folder in memory where there is one with room: a world syncs a great many small files.
fn folder() -> TempDir {
    const ROOM: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let roomy = symbolon_store::free_bytes(memory).is_ok_and(|free| ROOM <= free);
    let made = if roomy { TempDir::new_in(memory) } else { TempDir::new() };
    made.or_else(|_| TempDir::new()).expect("there is room for temporary files")
}

/// Copies the files of a folder that has no other folders.
fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_file() {
            let name = path.file_name().expect("a file has a name");
            std::fs::copy(&path, to.join(name)).expect("there is room for a copy");
        }
    }
}

/// Lets everything that is ready run, and a moment pass.
pub async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// A secret that only the seed and `what` decide.
#[must_use]
pub fn derive(seed: u64, what: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated secret v1");
    hasher.update(&seed.to_le_bytes()).update(what.as_bytes());
    *hasher.finalize().as_bytes()
}

fn sub_seed(seed: u64, what: &str) -> u64 {
    let bytes = derive(seed, what);
    u64::from_le_bytes(*bytes.first_chunk().expect("a hash has more than eight bytes"))
}

/// A peer's short name.
#[must_use]
pub fn short(peer: &PeerId) -> String {
    peer.to_string()[..8].to_owned()
}
