//! What a flood costs the embedded engine, and what honest transactions cost beside the signature checks that no ledger
//! can do without. Prints rates and ratios of one run.
//!
//! `cargo bench -p symbolon-ledger --bench admission`. Under `cargo test` it runs small, and only shows that it works.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use symbolon_ledger::{Embedded, Ledger, Options};
use symbolon_net::Host;
use symbolon_protocol::{
    Amount,
    id::{AccountId, ChainId, TransactionId},
    ledger::{
        Params, Status,
        transaction::{Action, Transaction},
    },
};
use tokio::task::JoinSet;

/// Callers that wait for an answer at the same time.
const CALLERS: usize = 1_000;

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

/// Submits all, so many at a time, and returns how long that took.
async fn submit(ledger: &Ledger, all: Vec<Transaction>, expected: Status) -> Duration {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for transaction in all {
        if CALLERS <= running.len() {
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

#[tokio::main]
async fn main() {
    let is_whole = std::env::args().any(|arg| arg == "--bench");
    let count: u32 = if is_whole { 20_000 } else { 300 };
    let folder = tempfile::tempdir().unwrap();
    let options = Options { key: [42; 32], params: Params::development(), host: Host::system() };
    let embedded = Embedded::open(folder.path(), options).await.unwrap();
    let ledger = Ledger::from(embedded.clone());
    let chain = ledger.chain();
    let faucets = (0..100).map(|who| sign(chain, who, 0, Action::Faucet)).collect();
    submit(&ledger, faucets, Status::Applied).await;

    let all = |make: &dyn Fn(u32) -> Transaction| (0..count).map(make).collect::<Vec<_>>();
    let of_many = |number: u32, id: u32| sign(chain, number % 100, id + number, pay());
    let forged = all(&|number| {
        let mut transaction = of_many(number, 1_000_000);
        transaction.signature[3] ^= 1;
        transaction
    });
    let old = all(&|number| {
        let mut transaction = of_many(number, 2_000_000);
        transaction.valid_until = 0;
        transaction
    });
    let poor = all(&|number| sign(chain, 1_000 + number, 1, pay()));
    let good = all(&|number| of_many(number, 3_000_000));

    let rate = |took: Duration| f64::from(count) / took.as_secs_f64();
    let began = Instant::now();
    for transaction in &good {
        black_box(transaction).verify().unwrap();
    }
    let floor = began.elapsed();
    println!("{:<36} {:>8.0} a second", "floor: verify_strict, one core", rate(floor));
    let again = forged.clone();
    for (name, flood, status) in [
        ("refused: another signature", forged, Status::BadSignature),
        ("refused: the same bytes again", again, Status::BadSignature),
        ("refused: too old", old, Status::Expired),
        ("refused: no money", poor, Status::BalanceTooLow),
        ("applied: transfers", good, Status::Applied),
    ] {
        let took = submit(&ledger, flood, status).await;
        let ratio = rate(took) / rate(floor);
        println!("{name:<36} {:>8.0} a second, {ratio:.2} of the floor", rate(took));
    }
    let height = ledger.head().await.unwrap().header.height;
    println!("held: {height} blocks, all statuses as expected");
    drop(ledger);
    embedded.close().await;
}
