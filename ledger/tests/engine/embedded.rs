//! The embedded engine on a real disk: an acknowledged transaction is there exactly once, in every
//! case.

use std::time::Duration;

use crate::common::{account, balance, open, transaction, transfer, validator_id};
use symbolon_ledger::{Embedded, Ledger, LedgerError, Options, Outcome};
use symbolon_net::Host;
use symbolon_protocol::{
    Amount, Encode, Millis,
    id::TransactionId,
    ledger::{
        Params, Status,
        block::{Event, Place, Reason, transactions_root},
        commit::Validators,
        rows::{Accounts, Chains, PoolsTable, SeenTable, Table},
        transaction::{Action, Transaction},
    },
    limits::BLOCK_BYTES_MAX,
};
use tokio::time::timeout;

#[tokio::test]
async fn money_and_head_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::system()).await;
    let ledger = Ledger::from(embedded.clone());
    let chain = ledger.chain();
    assert_eq!(ledger.head().await.unwrap().header.height, 0);
    let faucet = transaction(chain, 1, 1, Action::Faucet);
    let outcome = ledger.submit(faucet).await.unwrap();
    assert_eq!(outcome, Outcome { height: 1, status: Status::Applied });
    let outcome = ledger.submit(transfer(chain, 1, 2, 2, 300)).await.unwrap();
    assert_eq!(outcome, Outcome { height: 2, status: Status::Applied });
    let refused = ledger.submit(transfer(chain, 2, 1, 1, 301)).await.unwrap();
    assert_eq!(refused, Outcome { height: 2, status: Status::BalanceTooLow });
    let head = ledger.head().await.unwrap();
    let validators = Validators::alone(validator_id());
    head.commit.verify(&head.header, &validators).unwrap();
    assert_eq!(head.header.height, 2);
    drop(ledger);
    embedded.close().await;

    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    assert_eq!(ledger.chain(), chain);
    assert_eq!(ledger.head().await.unwrap(), head);
    assert_eq!(balance(&ledger, 1).await, Amount::credits(700));
    assert_eq!(balance(&ledger, 2).await, Amount::credits(300));
    let outcome = ledger.submit(transfer(chain, 2, 2, 3, 300)).await.unwrap();
    assert_eq!(outcome, Outcome { height: 3, status: Status::Applied });
    let next = ledger.head().await.unwrap();
    assert_eq!(next.header.parent, head.header.digest());
}

#[tokio::test]
async fn what_was_acknowledged_survives_being_dropped() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5_u8 {
        // The engine is never closed: it is dropped right after an answer.
        let ledger = Ledger::from(open(folder.path(), Host::system()).await);
        let chain = ledger.chain();
        if round == 0 {
            ledger.submit(transaction(chain, 1, 99, Action::Faucet)).await.unwrap();
        }
        let given = Amount::credits(u64::from(round));
        assert_eq!(balance(&ledger, 2).await, given);
        let outcome = ledger.submit(transfer(chain, 1, round, 2, 1)).await.unwrap();
        assert_eq!(outcome, Outcome { height: u64::from(round) + 2, status: Status::Applied });
        // The caller drops this submission. It is applied as a whole or not at all.
        drop(timeout(Duration::ZERO, ledger.submit(transfer(chain, 9, round, 2, 1))).await);
    }
}

#[tokio::test]
async fn the_same_transaction_is_applied_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    ledger.submit(transaction(chain, 1, 1, Action::Faucet)).await.unwrap();
    let once = transfer(chain, 1, 2, 2, 10);
    // Twice in one block, and again in a later one.
    let (first, second) = tokio::join!(ledger.submit(once.clone()), ledger.submit(once.clone()));
    let first = first.unwrap();
    assert_eq!(first, Outcome { height: 2, status: Status::Applied });
    assert_eq!(second.unwrap(), first);
    ledger.submit(transfer(chain, 1, 3, 2, 5)).await.unwrap();
    assert_eq!(ledger.submit(once).await.unwrap(), first);
    assert_eq!(balance(&ledger, 2).await, Amount::credits(15));
    // The same id with another content is another transaction.
    let other = ledger.submit(transfer(chain, 1, 2, 2, 11)).await.unwrap();
    assert_eq!(other.status, Status::IdReused);
    assert_eq!(balance(&ledger, 2).await, Amount::credits(15));
}

#[tokio::test]
async fn many_submissions_share_few_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 1..=100 {
        let (ledger, faucet) = (ledger.clone(), transaction(chain, number, 1, Action::Faucet));
        waiting.spawn(async move { ledger.submit(faucet).await.unwrap() });
    }
    for outcome in waiting.join_all().await {
        assert_eq!(outcome.status, Status::Applied);
    }
    let head = ledger.head().await.unwrap().header;
    assert!(head.height < 20, "{} blocks", head.height);
    let pools = ledger.row(PoolsTable, &()).await.unwrap().unwrap();
    assert_eq!(pools.issued, Amount::credits(100_000));
    let rows = ledger.scan(Accounts, &[], None, 60).await.unwrap();
    let rest = ledger.scan(Accounts, &[], Some(&rows[59].0), 60).await.unwrap();
    assert_eq!((rows.len(), rest.len()), (60, 40));
    assert!(rows.iter().chain(&rest).is_sorted_by(|one, next| one.0 < next.0));
    let prefix = account(7).0;
    let one = ledger.scan(Accounts, &prefix[..5], None, 9).await.unwrap();
    assert_eq!(Accounts::parse(&one[0].0), Some(account(7)));
}

#[tokio::test]
async fn a_full_block_holds_the_rest_over() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    let mut waiting = tokio::task::JoinSet::new();
    // 4 KiB each, together a third more than one block holds.
    for number in 0..340_u16 {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&number.to_le_bytes());
        let key = ed25519_dalek::SigningKey::from_bytes(&secret);
        let action = Action::RegisterNode {
            payout: account(1),
            addresses: vec!["x".repeat(250); 16],
            custody_key: None,
            caretaker: false,
            price: Amount::ZERO,
            capacity: 1,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        let id = TransactionId([1; 16]);
        let (ledger, large) = (ledger.clone(), Transaction::build(chain, &key, id, 500, action));
        waiting.spawn(async move { ledger.submit(large).await.unwrap() });
    }
    let outcomes = waiting.join_all().await;
    assert!(outcomes.iter().all(|outcome| outcome.status == Status::Applied), "{outcomes:?}");
    let head = ledger.head().await.unwrap().header.height;
    assert!((2..40).contains(&head), "{head}");
    let mut follow = ledger.follow(1);
    let mut count = 0;
    for _ in 1..=head {
        let block = follow.next().await.unwrap();
        count += block.transactions.len();
        let bytes: usize = block.transactions.iter().map(|one| one.to_bytes().len()).sum();
        assert!(bytes <= BLOCK_BYTES_MAX);
    }
    assert_eq!(count, 340);
    let action = Action::RegisterNode {
        payout: account(1),
        addresses: vec!["x".repeat(131_000)],
        custody_key: None,
        caretaker: false,
        price: Amount::ZERO,
        capacity: 1,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    let too_large = ledger.submit(transaction(chain, 1, 2, action)).await.unwrap();
    assert_eq!(too_large, Outcome { height: head, status: Status::TooLarge });
}

#[tokio::test]
async fn history_is_newest_first_and_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    ledger.submit(transaction(chain, 1, 1, Action::Faucet)).await.unwrap();
    for id in 2..=5 {
        ledger.submit(transfer(chain, 1, id, 2, u64::from(id))).await.unwrap();
    }
    let history = ledger.history(&account(2), u64::MAX, 3).await.unwrap().lines;
    let heights: Vec<_> = history.iter().map(|line| line.height).collect();
    assert_eq!(heights, [5, 4, 3]);
    let expected = Event::Moved {
        from: Place::Account { account: account(1) },
        to: Place::Account { account: account(2) },
        amount: Amount::credits(5),
        reason: Reason::Transfer,
    };
    assert_eq!(history[0].event, expected);
    let earlier = ledger.history(&account(2), history[2].place(), 3).await.unwrap().lines;
    assert_eq!(earlier.len(), 1);
    let other = ledger.history(&account(1), u64::MAX, 100).await.unwrap().lines;
    assert_eq!(other.len(), 5);
    assert!(ledger.history(&account(3), u64::MAX, 100).await.unwrap().lines.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_head_is_never_behind_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    ledger.submit(transaction(chain, 1, 255, Action::Faucet)).await.unwrap();
    let asking = |ledger: Ledger| async move {
        let mut height = 0;
        while height <= 200 {
            height = ledger.row(Chains, &()).await.unwrap().unwrap().height;
            let head = ledger.head().await.unwrap().header.height;
            assert!(height <= head, "a row of block {height}, and then a head of block {head}");
        }
    };
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        askers.spawn(asking(ledger.clone()));
    }
    for id in 0..=200 {
        ledger.submit(transfer(chain, 1, id, 2, 1)).await.unwrap();
    }
    askers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_block_is_made_exactly_when_something_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(1, 1_000_000);
    let ledger = Ledger::from(open(folder.path(), host.clone()).await);
    let mut follow = ledger.follow(1);
    let epoch_ms = Params::development().epoch_ms.0;
    for epoch in 1..=3 {
        let block = follow.next().await.unwrap();
        assert_eq!(block.header.header.height, epoch);
        assert!(block.transactions.is_empty());
        let began = Event::EpochBegan { epoch };
        assert!(block.events.contains(&began), "{:?}", block.events);
        let due_ms = 1_000_000 + epoch * epoch_ms;
        assert!((due_ms..due_ms + 50).contains(&block.header.header.facts.time_ms.0));
    }
    // Between two epochs no block is made.
    let quiet = Duration::from_millis(epoch_ms / 2);
    assert!(timeout(quiet, follow.next()).await.is_err());
}

#[tokio::test]
async fn a_follower_sees_each_block_once_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    let mut next = 0;
    for round in 0..3_u8 {
        let embedded = open(folder.path(), Host::system()).await;
        let ledger = Ledger::from(embedded.clone());
        let chain = ledger.chain();
        let mut follow = ledger.follow(next);
        if round == 0 {
            ledger.submit(transaction(chain, 1, 99, Action::Faucet)).await.unwrap();
        }
        for id in 0..4 {
            let id = round * 4 + id;
            ledger.submit(transfer(chain, 1, id, 2, 1)).await.unwrap();
        }
        let head = ledger.head().await.unwrap().header.height;
        while next <= head {
            let block = follow.next().await.unwrap();
            assert_eq!(
                transactions_root(&block.transactions),
                block.header.header.transactions_root
            );
            seen.push(block.header.header);
            next += 1;
        }
        drop(ledger);
        embedded.close().await;
        // A follower learns that the ledger has closed.
        assert!(matches!(follow.next().await, Err(LedgerError::Closed)));
    }
    let heights: Vec<_> = seen.iter().map(|header| header.height).collect();
    assert_eq!(heights, (0..=13).collect::<Vec<_>>());
    assert!(seen.windows(2).all(|pair| pair[1].parent == pair[0].digest()));
}

#[tokio::test]
async fn another_key_and_bad_parameters_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::system()).await;
    embedded.close().await;
    let options = Options { key: [1; 32], params: Params::development(), host: Host::system() };
    let refused = Embedded::open(folder.path(), options).await.unwrap_err();
    let ours = validator_id();
    assert!(matches!(refused, LedgerError::WrongKey { validators } if validators == [ours]));

    let empty = tempfile::tempdir().unwrap();
    let params = Params { epoch_ms: Millis(1), ..Params::development() };
    let options = Options { key: [1; 32], params, host: Host::system() };
    let refused = Embedded::open(empty.path(), options).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Params(_)));
}

#[tokio::test]
async fn rows_of_several_keys_come_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::from(open(folder.path(), Host::system()).await);
    let chain = ledger.chain();
    let faucet = transaction(chain, 1, 1, Action::Faucet);
    let (id, digest) = (faucet.id, faucet.digest());
    ledger.submit(faucet).await.unwrap();
    let rows = ledger.rows(Accounts, &[account(5), account(1)]).await.unwrap();
    assert_eq!(rows[0], None);
    assert_eq!(rows[1].unwrap().balance, Amount::credits(1_000));
    let seen = ledger.row(SeenTable, &(account(1), id)).await.unwrap().unwrap();
    assert_eq!((seen.digest, seen.height), (digest, 1));
    let row = ledger.row(Chains, &()).await.unwrap().unwrap();
    let only = row.validators.only();
    assert_eq!((row.id, row.height), (chain, 1));
    assert_eq!(only, Some(validator_id()));
}
