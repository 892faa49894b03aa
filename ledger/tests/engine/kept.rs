//! Which blocks a ledger keeps: those of the last epochs. What is older goes from the file, and a
//! follower is told so. Rows and the history of money stay.

use std::time::Duration;

use crate::common::{account, answer, balance, key, open_keeping, transfer};
use symbolon_ledger::{Ledger, LedgerError, Remote};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::TransactionId,
    ledger::{
        Status,
        block::Event,
        rows::Chains,
        transaction::{Action, Transaction},
    },
};
use tokio::time::sleep;

/// When the ledgers begin.
const START_MS: u64 = 1_000_000;
/// Epochs before the current one that they keep.
const KEPT: u64 = 2;

/// Waits until an epoch has begun.
async fn reach(ledger: &Ledger, epoch: u64) {
    while ledger.row(Chains, &()).await.unwrap().unwrap().epoch < epoch {
        sleep(Duration::from_secs(5)).await;
    }
}

/// The oldest block, as a follower of an earlier one is told.
async fn oldest(ledger: &Ledger, height: u64) -> u64 {
    match ledger.follow(height).next().await {
        Err(LedgerError::Pruned { height: asked, oldest }) if asked == height => oldest.height,
        other => panic!("block {height} is answered with {other:?}"),
    }
}

/// Checks that a ledger keeps the blocks of exactly its last epochs, and says so.
async fn keeps_the_last_epochs(ledger: &Ledger) {
    let chain = ledger.row(Chains, &()).await.unwrap().unwrap();
    let from = oldest(ledger, 0).await;
    assert_eq!(oldest(ledger, from - 1).await, from);
    let mut follow = ledger.follow(from);
    let mut began = Vec::new();
    for height in from..=chain.height {
        let block = follow.next().await.unwrap();
        assert_eq!(block.header.header.height, height);
        began.extend(block.events.iter().filter_map(|event| match event {
            Event::EpochBegan { epoch } => Some((*epoch, height)),
            _ => None,
        }));
    }
    let epochs: Vec<_> = began.iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs, ((chain.epoch - KEPT)..=chain.epoch).collect::<Vec<_>>());
    assert_eq!(began[0].1, from, "the first block that is kept began its epoch");

    let history = ledger.history(&account(1), u64::MAX, 10).await.unwrap();
    assert_eq!(history.oldest.height, from);
    assert_eq!(history.oldest.time_ms, time_of(ledger, from).await);
    assert_eq!(history.lines.len(), 2, "what moved money stays in the history");
    assert_eq!(balance(ledger, 2).await, Amount::credits(7));
}

async fn time_of(ledger: &Ledger, height: u64) -> LedgerTime {
    ledger.follow(height).next().await.unwrap().header.header.facts.time_ms
}

#[tokio::test(start_paused = true)]
async fn old_blocks_go_and_followers_are_told_from_which_on_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(1, START_MS);
    let embedded = open_keeping(folder.path(), host.clone(), KEPT).await;
    let ledger = Ledger::from(embedded.clone());
    let chain = ledger.chain();
    ledger.submit(crate::common::transaction(chain, 1, 1, Action::Faucet)).await.unwrap();
    ledger.submit(transfer(chain, 1, 2, 2, 7)).await.unwrap();
    reach(&ledger, KEPT).await;
    ledger.follow(0).next().await.unwrap();
    // A follower that stops reading while its blocks go.
    let mut slow = ledger.follow(0);
    slow.next().await.unwrap();
    reach(&ledger, 9).await;
    keeps_the_last_epochs(&ledger).await;
    assert!(matches!(slow.next().await, Err(LedgerError::Pruned { height: 1, .. })));

    let network = MemoryNetwork::new();
    let server = network.endpoint([1; 32]);
    let ticket = answer(embedded.clone(), server.clone());
    let far = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket));
    keeps_the_last_epochs(&far).await;

    drop((ledger, slow));
    server.close().await;
    embedded.close().await;
    let ledger = Ledger::from(open_keeping(folder.path(), host, KEPT).await);
    reach(&ledger, 12).await;
    keeps_the_last_epochs(&ledger).await;
}

#[tokio::test(start_paused = true)]
async fn an_archive_keeps_all_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(1, START_MS);
    let ledger = Ledger::from(open_keeping(folder.path(), host, u64::MAX).await);
    reach(&ledger, 9).await;
    let last = ledger.head().await.unwrap().header.height;
    let mut follow = ledger.follow(0);
    for height in 0..=last {
        assert_eq!(follow.next().await.unwrap().header.header.height, height);
    }
}

/// Makes a block with a transaction of about 4 KiB.
async fn grow(ledger: &Ledger, number: u64) {
    let action = Action::RegisterNode {
        payout: account(1),
        addresses: vec!["x".repeat(250); 16],
        custody_key: None,
        caretaker: false,
        price: Amount(u128::from(number)),
        capacity: 1,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    let id = TransactionId(u128::from(number).to_le_bytes());
    let until = ledger.head().await.unwrap().header.height + 10;
    let transaction = Transaction::build(ledger.chain(), &key(1), id, until, action);
    assert_eq!(ledger.submit(transaction).await.unwrap().status, Status::Applied);
}

#[tokio::test(start_paused = true)]
async fn the_file_stops_growing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_keeping(folder.path(), Host::seeded(1, START_MS), KEPT).await.into();
    let mut sizes = Vec::new();
    for epoch in 1..=40 {
        for number in 0..8 {
            grow(&ledger, epoch * 8 + number).await;
        }
        reach(&ledger, epoch).await;
        sizes.push(std::fs::metadata(folder.path().join("ledger.redb")).unwrap().len());
    }
    assert_eq!(sizes[14], sizes[39], "the pages of old blocks are used again: {sizes:?}");
}
