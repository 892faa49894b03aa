//! What several validators cost: four engines in this process, each with its own file, over QUIC on loopback. Prints how long
//! a transfer takes from `submit` until it is durable, how many there are in a second, and how that stands beside the
//! signature checks that no ledger of four validators on this machine can do without. All of one run.
//!
//! `cargo bench -p symbolon-ledger --bench several`. Under `cargo test` it runs small, and only shows that it works.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    hint::black_box,
    path::Path,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, Options, Together, founder};
use symbolon_net::{Alpn, BindOptions, Endpoint, Host};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, ChainId, TransactionId},
    ledger::{
        Params, Status,
        block::Genesis,
        commit::{Validator, Validators},
        transaction::{Action, Transaction},
    },
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

const VALIDATORS: u32 = 4;
/// Callers that wait for an answer at the same time: few enough that the next transactions come with the answers, and so
/// many that they come while a full block is agreed on.
const CALLERS: [usize; 2] = [1_000, 4_000];
/// Accounts that pay.
const PAYERS: u32 = 100;

fn key(number: u32) -> SigningKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn sign(chain: ChainId, who: u32, id: u32, action: Action) -> Transaction {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&id.to_le_bytes());
    Transaction::build(chain, &key(who), TransactionId(bytes), 9_000, action)
}

fn pay() -> Action {
    let to = AccountId(key(200).verifying_key().to_bytes());
    Action::Transfer { to, amount: Amount(1) }
}

/// Validators with the keys from 1000 on, each with its folder.
async fn found(folder: &Path) -> Vec<(Embedded, JoinHandle<()>, Endpoint)> {
    let keys: Vec<[u8; 32]> = (0..VALIDATORS).map(|at| key(1_000 + at).to_bytes()).collect();
    let salt = [5; 32];
    let mut founders: Vec<_> = keys
        .iter()
        .map(|secret| {
            let (key, onion) = founder(secret, salt);
            (Validator { key, power: 1 }, onion)
        })
        .collect();
    founders.sort_unstable_by_key(|(validator, _)| validator.key);
    let (members, onions) = founders.into_iter().unzip();
    let host = Host::system();
    let time_ms = host.now_ms().within(LedgerTime::ZERO, LedgerTime::NEVER);
    let (params, validators) = (Params::development(), Validators { members });
    let genesis = Genesis { params, validators, time_ms, onions };
    let mut endpoints = Vec::new();
    for secret in &keys {
        let mut options = BindOptions::new(*secret);
        options.accept = vec![Alpn::Ledger, Alpn::Consensus];
        endpoints.push(Endpoint::iroh(options).await.unwrap());
    }
    let addresses: Vec<_> = endpoints.iter().map(Endpoint::address).collect();
    let mut running = Vec::new();
    for (key, endpoint) in keys.into_iter().zip(endpoints) {
        let options = Options { key, params: Params::development(), host: host.clone() };
        let (founding, salt) = (Some(genesis.clone()), Some(salt));
        let together = Together {
            endpoint: endpoint.clone(),
            addresses: addresses.clone(),
            salt,
            founding,
            is_copy: false,
        };
        let place = folder.join(running.len().to_string());
        let embedded =
            Embedded::open_together(&place, options, EPOCHS_KEPT, together).await.unwrap();
        let server = tokio::spawn(symbolon_ledger::answer(embedded.clone(), endpoint.clone()));
        running.push((embedded, server, endpoint));
    }
    while running.iter().any(|(one, ..)| one.connected().len() + 1 < running.len()) {
        sleep(Duration::from_millis(10)).await;
    }
    running
}

/// Submits all, each to the next validator, so many at a time, and returns how long that took.
async fn submit(
    ledgers: &[Ledger],
    all: Vec<Transaction>,
    callers: usize,
    expected: Status,
) -> Duration {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for (transaction, ledger) in all.into_iter().zip(ledgers.iter().cycle()) {
        if callers <= running.len() {
            running.join_next().await.unwrap().unwrap();
        }
        let ledger = ledger.clone();
        running.spawn(async move {
            assert_eq!(ledger.submit(transaction).await.unwrap().status, expected);
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    began.elapsed()
}

/// How long each of some transfers takes, one every so often.
async fn latencies(ledgers: &[Ledger], all: Vec<Transaction>, every: Duration) -> Vec<Duration> {
    let mut running = JoinSet::new();
    for (transaction, ledger) in all.into_iter().zip(ledgers.iter().cycle()) {
        let ledger = ledger.clone();
        running.spawn(async move {
            let began = Instant::now();
            assert_eq!(ledger.submit(transaction).await.unwrap().status, Status::Applied);
            began.elapsed()
        });
        sleep(every).await;
    }
    let mut took = running.join_all().await;
    took.sort_unstable();
    took
}

/// What this process has worked until now.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after) = text.rsplit_once(") ").unwrap();
    let ticks: f64 =
        after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    // Linux has counted a hundred of them a second on all its machines for long.
    ticks / 100.0
}

#[tokio::main]
async fn main() {
    let is_whole = std::env::args().any(|arg| arg == "--bench");
    let (count, paced) = if is_whole { (20_000, 400) } else { (200, 10) };
    let folder = tempfile::tempdir().unwrap();
    let running = found(folder.path()).await;
    let ledgers: Vec<Ledger> = running.iter().map(|(one, ..)| one.clone().into()).collect();
    let chain = ledgers[0].chain();
    let faucets = (0..PAYERS).map(|who| sign(chain, who, 0, Action::Faucet)).collect();
    submit(&ledgers, faucets, CALLERS[0], Status::Applied).await;
    let transfers = |count: u32, from: u32| -> Vec<Transaction> {
        (0..count).map(|number| sign(chain, number % PAYERS, from + number, pay())).collect()
    };

    let took = latencies(&ledgers, transfers(paced, 1_000_000), Duration::from_millis(25)).await;
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1_000.0;
    println!("from submit to durable, 40 a second  p50 {:.0} ms, p95 {:.0} ms", at(50), at(95));

    let cores =
        f64::from(available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap()));
    for (from, callers) in (2_000_000..).step_by(1_000_000).zip(CALLERS) {
        let good = transfers(count, from);
        let began = Instant::now();
        for transaction in &good {
            black_box(transaction).verify().unwrap();
        }
        // Each validator checks each signature once.
        let checks = f64::from(count) / began.elapsed().as_secs_f64();
        let floor = checks * cores / f64::from(VALIDATORS);
        let before = ledgers[0].head().await.unwrap().header.height;
        let worked = processor_seconds();
        let took = submit(&ledgers, good, callers, Status::Applied).await.as_secs_f64();
        let worked = processor_seconds() - worked;
        let blocks = ledgers[0].head().await.unwrap().header.height - before;
        let rate = f64::from(count) / took;
        println!("floor: verify_strict, {cores} cores for four  {floor:.0} a second");
        println!(
            "{callers} callers: transfers          {rate:.0} a second, {:.2} of the floor",
            rate / floor
        );
        println!(
            "  in {blocks} blocks; {:.0} µs of processor for a transaction and validator, {:.0} % of the cores",
            worked * 1e6 / f64::from(count * VALIDATORS),
            worked / took / cores * 100.0
        );
    }

    let before = ledgers[0].head().await.unwrap().header.height;
    sleep(Duration::from_secs(if is_whole { 60 } else { 1 })).await;
    let blocks = ledgers[0].head().await.unwrap().header.height - before;
    println!("idle: {blocks} blocks");
    println!("held: all statuses as expected");
    drop(ledgers);
    for (embedded, server, endpoint) in running {
        endpoint.close().await;
        server.await.unwrap();
        embedded.close().await;
    }
}
