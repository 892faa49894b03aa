//! The file of a ledger that does not run, opened to look at it. Nothing is written.

use std::{fmt, path::Path};

use redb::Database;
use symbolon_net::Host;
use symbolon_protocol::ledger::{
    block::{Block, events_root, transactions_root},
    commit::Validators,
    rows::Chain,
    tree::{self, Range},
};

use super::{
    CACHE_BYTES, Executor, File, NAME, Replica, Rows, blocks, joining,
    journal::{self, Signed},
    proven_page, prune,
    rows::disk,
};
use crate::{error::LedgerError, port::Ledger};

/// A ledger's file. It is read only, also where a crash has to be repaired first.
pub struct Opened {
    executor: Executor,
    chain: Chain,
    host: Host,
}

/// Blocks that were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedBlocks {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

impl Opened {
    /// Opens the file in a folder: it has a ledger of this version, whose genesis, chain row and last block fit each other.
    pub async fn open(host: &Host, folder: &Path) -> Result<Self, LedgerError> {
        let (folder, executing) = (folder.to_path_buf(), host.clone());
        let opening = move || -> Result<_, LedgerError> {
            if joining::is_unfinished(&folder).map_err(disk)? {
                return Err(LedgerError::Unfinished { folder });
            }
            let file = File(looked_at(&folder.join(NAME), CACHE_BYTES)?);
            if !file.is_founded()? {
                return Err(LedgerError::Damaged("it has no ledger".into()));
            }
            let contents = file.check()?;
            Ok((Executor::new(file, contents.tip, executing, u64::MAX), contents.chain))
        };
        let (executor, chain) = host.blocking(opening).await?;
        Ok(Self { executor, chain, host: host.clone() })
    }

    /// The ledger's row about itself.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The ledger, to read.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::Replica(self.executor.replica().clone())
    }

    /// Computes the state root from all rows, and compares it with that of the last block. `told` hears how many rows were
    /// read so far. Gives how many there are.
    pub async fn check_rows(
        &self,
        told: impl Fn(u64) + Send + 'static,
    ) -> Result<u64, LedgerError> {
        let reading = |read: &redb::ReadTransaction| Rows::open(read);
        let replica = self.executor.replica().clone();
        replica.read(move |read| check_rows(&reading(read)?, read, told)).await
    }

    /// Checks the last blocks that are kept, at most so many: each has a commit of those that were its validators, follows
    /// the one before, and covers what it holds.
    pub async fn check_blocks(&self, most: u64) -> Result<CheckedBlocks, LedgerError> {
        let now = self.chain.validators.clone();
        let replica: Replica = self.executor.replica().clone();
        replica.read(move |read| check_blocks(read, &now, most)).await
    }

    /// What the validator of a folder has signed last, as its journal says; `None` if it has none.
    pub async fn signed(&self, folder: &Path) -> Result<Option<Signed>, LedgerError> {
        let folder = folder.to_path_buf();
        self.host.blocking(move || journal::look(&folder)).await
    }
}

/// Opens a database to look at it.
pub(super) fn looked_at(path: &Path, cache_bytes: usize) -> Result<Database, LedgerError> {
    symbolon_store::look_at_database(path, cache_bytes).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            LedgerError::Disk("another process has this ledger open".into())
        }
        error => disk(error),
    })
}

fn damaged(what: String) -> LedgerError {
    LedgerError::Damaged(what)
}

fn check_rows(
    rows: &Rows,
    read: &redb::ReadTransaction,
    told: impl Fn(u64),
) -> Result<u64, LedgerError> {
    let root = blocks::last_header(read)?.header.state_root;
    let (mut after, mut count): (Option<Vec<u8>>, u64) = (None, 0);
    loop {
        let range = Range { prefix: &[], after: after.as_deref(), until: None };
        let (found, proof, more) = proven_page(rows, &range, ROWS_AT_ONCE, BYTES_AT_ONCE);
        rows.checked(())?;
        let pairs: Vec<(&[u8], &[u8])> = found
            .iter()
            .filter_map(|row| Some((row.key.as_slice(), row.value.as_deref()?)))
            .collect();
        let until = pairs.last().map(|(key, _)| *key).filter(|_| more);
        let shown = tree::verify_range(&root, &Range { until, ..range }, &pairs, &proof);
        shown.map_err(|error| {
            damaged(format!("its rows are not those of its last block: {error}"))
        })?;
        count = count.saturating_add(pairs.len() as u64);
        told(count);
        let last = found.into_iter().next_back().map(|row| row.key);
        match last.filter(|_| more) {
            Some(last) => after = Some(last),
            None => return Ok(count),
        }
    }
}

fn check_blocks(
    read: &redb::ReadTransaction,
    now: &Validators,
    most: u64,
) -> Result<CheckedBlocks, LedgerError> {
    let last = blocks::last_header(read)?.header.height;
    let oldest = prune::oldest(read)?.height;
    // The genesis has no commit: its hash is the ledger's id.
    let first = oldest.max(1).max(last.saturating_add(1).saturating_sub(most));
    let (changes, _) = blocks::changes(read, first.saturating_sub(1), usize::MAX)?;
    let mut before: Option<Block> = None;
    for height in first..=last {
        let block = blocks::kept(read, height)?;
        let header = &block.header.header;
        let at = changes.partition_point(|change| change.header.header.height < height);
        let set = changes.get(at).map_or(now, |change| &change.validators);
        let fault = |what: &str| damaged(format!("block {height}: {what}"));
        if let Some(before) = &before
            && (header.parent != before.header.header.digest() || header.height != height)
        {
            return Err(fault("it does not follow the one before"));
        }
        let commit = block.header.commit.verify(header, set);
        commit.map_err(|error| fault(&format!("its commit does not hold: {error}")))?;
        let covered = header.transactions_root == transactions_root(&block.transactions)
            && header.events_root == events_root(&block.events);
        if !covered {
            return Err(fault("its header does not cover what it holds"));
        }
        before = Some(block);
    }
    Ok(CheckedBlocks { first, last })
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("chain", &self.chain.id).finish_non_exhaustive()
    }
}

/// Rows, and bytes of rows, that are checked at once.
const ROWS_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 8 << 20;
