//! A ledger's file that is not what this program left: each part of it alone is noticed before anything is made of
//! the rest.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash;

use std::path::Path;

use ed25519_dalek::SigningKey;
use redb::WriteTransaction;
use symbolon_protocol::{
    codec::{Decode as _, Reader},
    id::TransactionId,
    ledger::{Params, block::Header, transaction::Action},
};

use super::*;
use crate::{Embedded, Ledger, Options};

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
    Block { header, transactions: Vec::new(), events: Vec::new() }
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

#[tokio::test]
async fn rows_and_blocks_are_of_one_state() {
    let rows = "its rows do not match its last block";
    let why = changed(|write| {
        write.open_table(BLOCKS).unwrap().pop_last().unwrap();
    });
    assert_eq!(why.await, rows, "the last block is missing");
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
