//! Blocks with more events than a page holds: they are stored, followed and read like any other.

use crate::common::{account, answer, key, open, transaction};
use symbolon_ledger::{Ledger, Remote};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_protocol::{
    Amount, Encode, LedgerTime,
    id::{Hash, ObjectId, Opening, TransactionId},
    ledger::{
        Status,
        block::{Block, Event},
        rows::{Access, Chains},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::{BLOCK_BYTES_MAX, LEAF_BYTES},
};
use tokio::task::JoinSet;

const DEALS: u32 = 25_000;

/// Opens deals of one small shard for one epoch. All of them end together.
async fn open_deals(ledger: &Ledger, until_ms: LedgerTime) {
    let chain = ledger.chain();
    let price = Amount::credits(100);
    let register = Action::RegisterNode {
        payout: account(2),
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price,
        capacity: 1 << 40,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    for setup in [transaction(chain, 1, 1, Action::Faucet), transaction(chain, 9, 1, register)] {
        assert_eq!(ledger.submit(setup).await.unwrap().status, Status::Applied);
    }
    let (owner, node) = (key(1), key(9));
    let mut opened = JoinSet::new();
    for number in 0..DEALS {
        let opening = Opening(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let terms = DealTerms {
            owner: account(1),
            opening,
            object: ObjectId([5; 16]),
            segment: number,
            required: 1,
            total: 1,
            length: LEAF_BYTES as u64,
            access: Access::Public,
            epochs: 1,
        };
        let accepted = Acceptance::build(
            &chain,
            &terms,
            &node,
            (0, Hash([7; 32])),
            (price, u64::MAX),
            until_ms,
        );
        let acceptances = vec![accepted];
        let cost_max = Amount::credits(1);
        let open = Action::OpenDeal { terms, acceptances, cost_max };
        let mut id = [2; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let (ledger, id) = (ledger.clone(), TransactionId(id));
        let open = Transaction::build(chain, &owner, id, 500, open);
        opened.spawn(async move { ledger.submit(open).await.unwrap().status });
    }
    assert!(opened.join_all().await.iter().all(|status| *status == Status::Applied));
}

fn ended(block: &Block) -> usize {
    block.events.iter().filter(|event| matches!(event, Event::DealEnded { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn deals_that_end_together_are_followed_even_if_there_are_many() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(1, 1_000_000);
    let embedded = open(folder.path(), host.clone()).await;
    let home = Ledger::from(embedded.clone());
    open_deals(&home, LedgerTime::NEVER).await;
    let head = home.head().await.unwrap().header.height;

    let network = MemoryNetwork::new();
    let (server, client) = (network.endpoint([1; 32]), network.endpoint([2; 32]));
    let ticket = answer(embedded.clone(), server.clone());
    let far = Ledger::from(Remote::new(client.clone(), ticket));
    let (mut here, mut there) = (home.follow(head + 1), far.follow(head + 1));
    let (mut over, mut large) = (0, None);
    while over < DEALS as usize {
        let block = here.next().await.unwrap();
        assert!(block.events.to_bytes().len() <= BLOCK_BYTES_MAX);
        assert_eq!(there.next().await.unwrap(), block);
        // The follower goes on after a lost connection.
        network.cut(&server.id(), &client.id());
        assert!(ended(&block) <= 512, "a block ends a part of them");
        over += ended(&block);
        if large.as_ref().is_none_or(|large: &Block| large.events.len() < block.events.len()) {
            large = Some(block);
        }
    }
    assert_eq!(over, DEALS as usize);
    let large = large.expect("a block in which deals end");
    let height = large.header.header.height;

    // The owner's history has all of the block's lines.
    let mut lines = far.history(&account(1), u64::MAX, 1_000).await.unwrap().lines;
    while let Some(last) = lines.last().filter(|last| height <= last.height) {
        lines.extend(far.history(&account(1), last.place(), 1_000).await.unwrap().lines);
    }
    let of_large = lines.iter().filter(|line| line.height == height).count();
    assert_eq!(of_large, ended(&large), "each deal returns its reserve");

    // A follower that comes later gets the same block, also after the ledger was opened again.
    assert_eq!(far.follow(height).next().await.unwrap(), large);
    drop((home, here));
    server.close().await;
    embedded.close().await;
    let home = Ledger::from(open(folder.path(), host).await);
    assert_eq!(home.follow(height).next().await.unwrap(), large);
    let height = home.row(Chains, &()).await.unwrap().unwrap().height;
    assert_eq!(height, home.head().await.unwrap().header.height);
}
