//! What one commit removes, on a database in memory.

#![allow(clippy::unwrap_used, reason = "a test")]

use ed25519_dalek::SigningKey;
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};
use symbolon_protocol::{
    Amount, Encode as _, LedgerTime,
    id::{AccountId, ChainId, Hash, PeerId},
    ledger::{
        Params,
        block::{BlockInputs, Event, Genesis, Header, OnionStart, Place, Reason, SignedHeader},
        commit::Validators,
        execute,
        rows::{Chains, Table as _},
        state::Update,
    },
    wire::ledger::HistoryPlace,
};

use super::*;
use crate::executor::rows::ROWS;

const ACCOUNT: AccountId = AccountId([7; 32]);

fn moved(reason: Reason) -> Event {
    let to = Place::Account { account: ACCOUNT };
    Event::Moved { from: Place::Storage, to, amount: Amount(1), reason }
}

/// A block in which an account is paid for so many proofs, and once for something else.
fn block(height: u64, proofs: usize) -> Block {
    let facts = BlockInputs { time_ms: LedgerTime(height), proposer: 0, reveal: None, last: None };
    let header = Header {
        chain: ChainId([1; 32]),
        height,
        parent: Hash([2; 32]),
        facts,
        transactions_root: Hash([3; 32]),
        events_root: Hash([4; 32]),
        state_root: Hash([5; 32]),
        validators: Hash([6; 32]),
        next_validators: Hash([6; 32]),
    };
    let header = SignedHeader::build(header, &SigningKey::from_bytes(&[6; 32]));
    let mut events = vec![moved(Reason::Faucet)];
    events.resize(1 + proofs, moved(Reason::Proven { node: PeerId([8; 32]), epoch: 1 }));
    Block { header, last: None, transactions: Vec::new(), events }
}

/// The chain's row at a height of an epoch.
fn chain(height: u64, epoch: u64) -> Chain {
    let genesis = Genesis {
        params: Params::development(),
        validators: Validators::alone(ACCOUNT),
        time_ms: LedgerTime(1),
        onions: vec![OnionStart { outermost: Hash([0; 32]), next: Hash([0; 32]) }],
    };
    let rows = execute::genesis(&genesis).update.rows;
    let row = rows[&Chains::key(&())].clone().unwrap();
    Chain { height, epoch, ..Chain::from_bytes(&row).unwrap() }
}

struct File {
    database: Database,
    kept: u64,
}

impl File {
    fn new(kept: u64) -> Self {
        let memory = redb::backends::InMemoryBackend::new();
        Self { database: Database::builder().create_with_backend(memory).unwrap(), kept }
    }

    fn put(&self, block: &Block, epoch: u64) {
        let chain = chain(block.header.header.height, epoch);
        let update = Update { rows: [(Chains::key(&()), Some(chain.to_bytes()))].into() };
        rows::commit(&self.database, &update, block, &[], self.kept).unwrap();
    }

    /// The number of blocks, and of lines of history.
    fn counts(&self) -> [u64; 2] {
        let read = self.database.begin_read().unwrap();
        assert_eq!(read.open_table(ROWS).unwrap().len().unwrap(), 1);
        let blocks = read.open_table(BLOCKS).unwrap();
        let history = read.open_table(HISTORY).unwrap();
        [blocks.len().unwrap(), history.len().unwrap()]
    }

    fn oldest(&self) -> u64 {
        oldest(&self.database.begin_read().unwrap()).unwrap().height
    }
}

#[test]
fn a_commit_removes_a_bounded_part() {
    let file = File::new(0);
    for height in 0..100 {
        file.put(&block(height, 1), 0);
    }
    assert_eq!((file.counts(), file.oldest()), ([100, 200], 0));
    // Each old block is two removals: the line for the proof, and the block itself.
    file.put(&block(100, 0), 1);
    assert_eq!(file.oldest(), 100, "followers are told at once");
    assert_eq!(file.counts(), [69, 169], "32 of them are gone");
    let mut height = 101;
    while file.counts()[0] > height - 99 {
        file.put(&block(height, 0), 1);
        height += 1;
    }
    assert_eq!(height, 104);
    // The lines about anything but proofs stay.
    assert_eq!(file.counts(), [4, 104]);
}

#[test]
fn a_block_of_many_events_goes_at_once() {
    let file = File::new(1);
    let proofs = 1_500;
    file.put(&block(0, proofs), 0);
    file.put(&block(1, 0), 1);
    assert_eq!(file.counts(), [2, proofs as u64 + 2]);
    file.put(&block(2, 0), 2);
    assert_eq!(file.counts(), [2, 3]);
    let read = file.database.begin_read().unwrap();
    let lines = rows::history(&read, &ACCOUNT, HistoryPlace::from(u64::MAX), 100).unwrap();
    assert_eq!(lines.len(), 3, "one for each block");
    assert!(lines.iter().all(|line| line.event == moved(Reason::Faucet)));
}

#[test]
fn old_blocks_go_faster_than_new_ones_come() {
    let file = File::new(1);
    let mut most = 0;
    for height in 0..120 {
        // Six blocks an epoch, each with more proofs than an idle commit removes.
        file.put(&block(height, 200), height / 6);
        most = most.max(file.counts()[0]);
    }
    assert_eq!(most, 12, "two epochs: the blocks of a third are gone before its end");
}

#[test]
fn a_ledger_that_is_to_keep_less_gives_up_epochs_step_by_step() {
    let mut file = File::new(u64::MAX);
    for height in 0..40 {
        file.put(&block(height, 0), height);
    }
    assert_eq!(file.oldest(), 0);
    file.kept = 2;
    file.put(&block(40, 0), 40);
    assert_eq!(file.oldest(), EPOCHS_AT_ONCE as u64);
    file.put(&block(41, 0), 40);
    file.put(&block(42, 0), 40);
    assert_eq!(file.oldest(), 38);
    assert_eq!(file.counts()[0], 5, "their blocks are gone");
}
