//! Thirty-five thousand nodes that register for nothing. Every block with its events stays small enough for those who follow
//! over the network, and an honest node goes on proving.

use crate::common::{
    account, answer,
    duties::{self, NODE, node_id},
    open,
};
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Embedded, Follow, Ledger, Remote};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_protocol::{
    Amount,
    codec::Encode as _,
    id::TransactionId,
    ledger::{
        Status,
        rows::Nodes,
        transaction::{Action, Transaction},
    },
    limits::BLOCK_BYTES_MAX,
};
use tokio::task::JoinSet;

const REGISTRATIONS: u32 = 35_000;
/// Submissions that wait at the same time.
const AT_ONCE: usize = 4_000;
/// Epochs that the honest node proves after the registrations.
const EPOCHS: u64 = 2;

/// Registers so many nodes, as many at once as their owner likes.
async fn register(ledger: Embedded) {
    let (ledger, mut running) = (Ledger::from(ledger), JoinSet::new());
    for number in 0..REGISTRATIONS {
        if AT_ONCE <= running.len() {
            assert_eq!(running.join_next().await.unwrap().unwrap(), Status::Applied);
        }
        let mut seed = [5; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let action = Action::RegisterNode {
            payout: account(8),
            addresses: vec!["203.0.113.7:4160".into()],
            custody_key: None,
            caretaker: false,
            price: Amount::credits(1),
            capacity: 1 << 40,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        let (key, id) = (SigningKey::from_bytes(&seed), TransactionId([1; 16]));
        let signed = Transaction::build(ledger.chain(), &key, id, 9_000, action);
        let ledger = ledger.clone();
        running.spawn(async move { ledger.submit(signed).await.unwrap().status });
    }
    let rest = running.join_all().await;
    assert!(rest.iter().all(|status| *status == Status::Applied));
}

/// Reads block after block over the network.
struct Reader {
    follow: Follow,
    height: u64,
    /// Bytes of the largest block.
    largest: usize,
    registered: usize,
}

impl Reader {
    async fn next(&mut self) {
        let block = self.follow.next().await.unwrap();
        assert_eq!(block.header.header.height, self.height);
        self.height += 1;
        self.largest = self.largest.max(block.to_bytes().len());
        let registers =
            |signed: &&Transaction| matches!(signed.action, Action::RegisterNode { .. });
        self.registered += block.transactions.iter().filter(registers).count();
    }
}

#[tokio::test(start_paused = true)]
async fn registrations_make_no_block_that_a_follower_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(home.clone(), network.endpoint([1; 32]));
    let remote = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket));
    duties::open_deal(&remote).await;
    let registering = tokio::spawn(register(home));
    let mut reader = Reader { follow: remote.follow(0), height: 0, largest: 0, registered: 0 };
    // The custodians of the honest parties are nodes too.
    let all = usize::try_from(REGISTRATIONS).unwrap() + duties::CUSTODIANS.len();
    while reader.registered < all {
        reader.next().await;
    }
    registering.await.unwrap();
    for _ in 0..EPOCHS {
        let proof = duties::proof(&remote).await;
        assert_eq!(remote.submit(proof).await.unwrap().status, Status::Applied);
    }
    while reader.height <= remote.head().await.unwrap().header.height {
        reader.next().await;
    }
    // The header and the commit come on top of what a block has room for.
    let largest = reader.largest;
    assert!(largest <= BLOCK_BYTES_MAX + 1_024, "the largest block has {largest} bytes");
    let row = remote.row(Nodes, &node_id(NODE)).await.unwrap().unwrap();
    assert_eq!((row.passed, row.missed), (EPOCHS, 0));
}
