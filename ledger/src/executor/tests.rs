//! A ledger's file that is not what this program left: each part of it alone is noticed before anything is made of
//! the rest.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash;
mod rules;

use std::path::Path;

use ed25519_dalek::SigningKey;
use redb::WriteTransaction;
use symbolon_protocol::{
    Amount, Millis,
    codec::{Decode as _, Reader},
    id::{AccountId, TransactionId},
    ledger::{
        Params,
        block::Header,
        rows::{Accounts, Windows},
        transaction::Action,
    },
};

use super::*;
use crate::{Embedded, Ledger, Options, serve::Engine as _};

const KEY: [u8; 32] = [42; 32];

async fn open(folder: &Path) -> Result<Embedded, LedgerError> {
    let (params, host) = (Params::development(), Host::system());
    Embedded::open(folder, Options { key: KEY, params, host }).await
}

/// A ledger of two blocks that is not open.
async fn founded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path()).await.unwrap();
    let ledger = Ledger::from(embedded.clone());
    let (chain, key) = (ledger.chain(), SigningKey::from_bytes(&[1; 32]));
    let faucet = Transaction::build(chain, &key, TransactionId([1; 16]), 100, Action::Faucet);
    assert_eq!(ledger.submit(faucet).await.unwrap().status, Status::Applied);
    drop(ledger);
    embedded.close().await;
    folder
}

/// The last block, as it is just now.
fn last_block(write: &WriteTransaction) -> Block {
    let blocks = write.open_table(BLOCKS).unwrap();
    let (_, bytes) = blocks.last().unwrap().unwrap();
    let header = SignedHeader::decode(&mut Reader::new(bytes.value())).unwrap();
    Block { header, last: None, transactions: Vec::new(), events: Vec::new() }
}

/// What opening says after the file was changed.
async fn refused(change: impl FnOnce(&WriteTransaction)) -> LedgerError {
    let folder = founded().await;
    let file = File::open(&Host::system(), folder.path().to_owned()).await.unwrap();
    file.check().unwrap();
    let write = file.0.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
    let Err(why) = file.check() else { panic!("it is opened") };
    drop(file);
    let opened = open(folder.path()).await.unwrap_err();
    assert_eq!(opened.to_string(), why.to_string());
    why
}

/// The same for a file that this program would not have written.
async fn changed(change: impl FnOnce(&WriteTransaction)) -> String {
    match refused(change).await {
        LedgerError::Damaged(why) => why,
        other => panic!("{other}"),
    }
}

fn set_version(write: &WriteTransaction, version: &[u8]) {
    write.open_table(META).unwrap().insert(Meta::VERSION, version).unwrap();
}

#[tokio::test]
async fn another_layout_is_not_read() {
    for version in [VERSION - 1, VERSION + 1] {
        let why = refused(|write| set_version(write, &[version])).await.to_string();
        let layouts = format!("layout {version}, and this program reads layout {VERSION} only");
        assert!(why.contains(&layouts), "{why}");
    }
    for version in [&[][..], &[VERSION, 0]] {
        assert!(changed(|write| set_version(write, version)).await.contains("layout"));
    }
    let why = changed(|write| {
        write.open_table(META).unwrap().remove(Meta::VERSION).unwrap();
    });
    assert!(why.await.contains("layout"));
    let why = changed(|write| {
        write.open_table(META).unwrap().remove(Meta::SALT).unwrap();
    });
    assert!(why.await.contains("salt"));
}

/// Where the pages say how rows and blocks are written: the marks of their tables.
const LAYOUTS: [(&str, &str); 9] = [
    ("content.md", "manifest"),
    ("grant.md", "grants"),
    ("ledger.md", "blocks"),
    ("ledger.md", "genesis"),
    ("ledger.md", "rows"),
    ("ledger.md", "tables"),
    ("ledger.md", "transactions"),
    ("market.md", "custody"),
    ("proof.md", "leaves"),
];

/// Those tables, without the words that only explain.
fn layouts() -> String {
    let mut layouts = String::new();
    for (page, block) in LAYOUTS {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec").join(page);
        let page = std::fs::read_to_string(page).unwrap();
        let (begin, end) = (format!("<!-- code: {block} -->"), format!("<!-- /code: {block} -->"));
        let (_, text) = page.split_once(&begin).unwrap();
        let (text, _) = text.split_once(&end).unwrap();
        for line in text.lines().filter(|line| line.starts_with(['|', '*'])) {
            // The last cell of a row, and what follows a name, are words.
            let layout = match line.starts_with('|') {
                true => line.rsplitn(3, '|').nth(2),
                false => line.split(':').next(),
            };
            layouts.push_str(layout.unwrap());
            layouts.push('\n');
        }
    }
    layouts
}

/// A file of another layout than the program's must be refused by its version, and not be read wrongly. The page is made
/// from the code (`protocol/tests/spec.rs`).
#[test]
fn a_changed_layout_has_another_version() {
    let layouts = layouts();
    assert!(layouts.lines().count() > 200, "the tables were found");
    let hash = blake3::hash(layouts.as_bytes()).to_hex();
    assert_eq!(
        (VERSION, &hash[..16]),
        (13, "c460f8d2f78ca6df"),
        "the layout has changed: give it another VERSION, and write that and its hash here"
    );
}

#[tokio::test]
async fn rows_and_blocks_are_of_one_state() {
    let rows = "its rows do not match its last block";
    let why = changed(|write| {
        write.open_table(BLOCKS).unwrap().pop_last().unwrap();
    });
    assert_eq!(why.await, rows, "the last block is missing");
    let why = changed(|write| {
        let row: &[u8] = &[1, 2, 3];
        write.open_table(rows::ROWS).unwrap().insert(Chains::key(&()).as_slice(), row).unwrap();
    });
    assert_eq!(why.await, "it has no chain row", "it does not decode");
    let twists: [fn(&mut Header); 3] = [
        |header| header.state_root.0[0] ^= 1,
        |header| header.chain.0[0] ^= 1,
        |header| header.height += 1,
    ];
    for twist in twists {
        let why = changed(|write| {
            let mut block = last_block(write);
            twist(&mut block.header.header);
            block.header = SignedHeader::build(block.header.header, &SigningKey::from_bytes(&KEY));
            blocks::put(write, &block).unwrap();
        });
        assert_eq!(why.await, rows, "the last block is of other rows");
    }
}

/// A ledger whose rows are not what the rules left, though its tree is.
async fn with_row(key: Vec<u8>, value: &[u8]) -> (tempfile::TempDir, Embedded) {
    let folder = founded().await;
    let file = File::open(&Host::system(), folder.path().to_owned()).await.unwrap();
    let write = file.0.begin_write().unwrap();
    write.open_table(rows::ROWS).unwrap().insert(key.as_slice(), value).unwrap();
    write.commit().unwrap();
    drop(file);
    let embedded = open(folder.path()).await.unwrap();
    (folder, embedded)
}

#[tokio::test]
async fn rules_that_break_before_a_block_begins_are_an_error_too() {
    let folder = founded().await;
    let host = Host::system();
    let file = File::open(&host, folder.path().to_owned()).await.unwrap();
    let Contents { chain, tip, salt } = file.check().unwrap();
    let executor = Executor::new(file, tip, host, EPOCHS_KEPT);
    let mut onions = Onions::new(&KEY, salt);
    assert!(executor.next_due().unwrap().is_some());
    let facts = executor.inputs(&mut onions, 0, chain.time_ms).unwrap();
    let write = executor.replica.inner.database.begin_write().unwrap();
    let row: &[u8] = &[1, 2, 3];
    write.open_table(rows::ROWS).unwrap().insert(Chains::key(&()).as_slice(), row).unwrap();
    write.commit().unwrap();
    let errors = [
        executor.next_due().map(drop).unwrap_err(),
        executor.inputs(&mut onions, 0, chain.time_ms).map(drop).unwrap_err(),
        executor.execute(&facts, [].into_iter(), false).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, LedgerError::Broken { height: 2 }), "{error:?}");
    }
}

#[tokio::test]
async fn a_state_is_given_up_when_many_rows_have_changed() {
    let folder = founded().await;
    let embedded = open(folder.path()).await.unwrap();
    let replica = embedded.replica().clone();
    let page = async |height| replica.checkpoint(height, (None, None), 1_000).await.unwrap();
    let height = page(None).await.unwrap().header.header.height;
    let most = usize::try_from(checkpoints::CHANGES_MAX).unwrap();
    replica.inner.checkpoints.changed(most - 1);
    assert!(page(Some(height)).await.is_some());
    // A block changes one row more.
    let (chain, key) = (embedded.chain(), SigningKey::from_bytes(&[3; 32]));
    let faucet = Transaction::build(chain, &key, TransactionId([2; 16]), 100, Action::Faucet);
    assert_eq!(embedded.submit(faucet).await.unwrap().status, Status::Applied);
    assert!(page(Some(height)).await.is_none());
    assert!(height < page(None).await.unwrap().header.header.height, "the next one is newer");
}

#[tokio::test]
async fn a_state_that_is_asked_for_by_its_height_is_the_last_one() {
    let folder = founded().await;
    let embedded = open(folder.path()).await.unwrap();
    let replica = embedded.replica().clone();
    let last = replica.head().await.unwrap().header.height;
    let page = async |height| replica.checkpoint(height, (None, None), 1_000).await.unwrap();
    for other in [0, last - 1, last + 1] {
        assert!(page(Some(other)).await.is_none(), "{other}");
    }
    assert_eq!(page(Some(last)).await.unwrap().header.header.height, last);
    // It is kept like one that the server has chosen, and no other one is while it is young.
    let (chain, key) = (embedded.chain(), SigningKey::from_bytes(&[3; 32]));
    let faucet = Transaction::build(chain, &key, TransactionId([2; 16]), 100, Action::Faucet);
    assert_eq!(embedded.submit(faucet).await.unwrap().status, Status::Applied);
    assert!(page(Some(last + 1)).await.is_none());
    assert_eq!(page(None).await.unwrap().header.header.height, last);
}

fn account(number: u8) -> AccountId {
    AccountId(SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes())
}

#[tokio::test]
async fn a_transaction_at_which_the_rules_break_is_refused_and_the_ledger_goes_on() {
    let (_folder, embedded) = with_row(Accounts::key(&account(5)), &[1, 2, 3]).await;
    let ledger = Ledger::from(embedded);
    let (chain, key) = (ledger.chain(), SigningKey::from_bytes(&[1; 32]));
    let mut sent = tokio::task::JoinSet::new();
    for number in 2..20_u8 {
        let to = account(if number == 9 { 5 } else { 6 });
        let transfer = Action::Transfer { to, amount: Amount(1) };
        let transfer = Transaction::build(chain, &key, TransactionId([number; 16]), 100, transfer);
        let ledger = ledger.clone();
        sent.spawn(async move { (number, ledger.submit(transfer).await.unwrap().status) });
    }
    for (number, status) in sent.join_all().await {
        let expected = if number == 9 { Status::RuleBroken } else { Status::Applied };
        assert_eq!(status, expected, "{number}");
    }
    assert_eq!(ledger.row(Accounts, &account(6)).await.unwrap().unwrap().balance, Amount(17));
}

#[tokio::test]
async fn a_ledger_whose_due_rules_break_stops_and_writes_nothing() {
    let nowhere = Windows::key(&(Millis::ZERO, account(9).into()));
    let (folder, embedded) = with_row(nowhere, &[]).await;
    let key = SigningKey::from_bytes(&[3; 32]);
    let chain = embedded.chain();
    let faucet = Transaction::build(chain, &key, TransactionId([2; 16]), 100, Action::Faucet);
    let ledger = Ledger::from(embedded.clone());
    let answer = ledger.submit(faucet).await;
    assert!(matches!(answer, Err(LedgerError::Closed)), "{answer:?}");
    embedded.stopped().await;
    drop((ledger, embedded));
    let again = open(folder.path()).await.unwrap();
    assert_eq!(Ledger::from(again).head().await.unwrap().header.height, 1);
}
