//! Blocks on disk and for followers. The rules bound a block, so a reader holds a whole one.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use symbolon_net::watch;
use symbolon_protocol::{
    codec::{Decode, Encode, Reader as Bytes},
    ledger::{
        block::{Block, SignedHeader},
        commit::Validators,
    },
    wire::ledger::SetChange,
};

use super::{Replica, prune, rows::disk};
use crate::error::LedgerError;

/// Blocks by height, in canonical bytes. The genesis is block 0.
pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");

/// Blocks that changed the validators, by height, as [`SetChange`]. They are never removed: who comes back after years
/// follows them, and there are few.
pub(super) const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("set changes");

/// Writes what a block changed about the validators, if it did. `before` committed it, and `next` commits the one after it.
pub(super) fn put_change(
    write: &WriteTransaction,
    signed: &SignedHeader,
    before: Option<Validators>,
    next: &Validators,
) -> Result<(), LedgerError> {
    let header = &signed.header;
    let mut changes = write.open_table(CHANGES).map_err(disk)?;
    if header.validators == header.next_validators {
        return Ok(());
    }
    let validators =
        before.ok_or_else(|| LedgerError::Damaged("the last validators are missing".into()))?;
    let change = SetChange { header: signed.clone(), validators, next: next.clone() };
    changes.insert(header.height, change.to_bytes().as_slice()).map_err(disk)?;
    Ok(())
}

/// The first changes after a height, at most so many, and whether there are more.
pub(super) fn changes(
    read: &ReadTransaction,
    after: u64,
    count: usize,
) -> Result<(Vec<SetChange>, bool), LedgerError> {
    let table = read.open_table(CHANGES).map_err(disk)?;
    let mut found = Vec::new();
    for entry in ReadableTable::range(&table, after.saturating_add(1)..).map_err(disk)? {
        let (_, bytes) = entry.map_err(disk)?;
        if found.len() == count {
            return Ok((found, true));
        }
        found.push(SetChange::from_bytes(bytes.value()).map_err(|error| damaged(&error))?);
    }
    Ok((found, false))
}

/// Writes a block.
pub(super) fn put(write: &WriteTransaction, block: &Block) -> Result<(), LedgerError> {
    let mut blocks = write.open_table(BLOCKS).map_err(disk)?;
    blocks.insert(block.header.header.height, block.to_bytes().as_slice()).map_err(disk)?;
    Ok(())
}

/// The header of the last block. Every answer about rows carries it.
pub(super) fn last_header(read: &ReadTransaction) -> Result<SignedHeader, LedgerError> {
    let blocks = read.open_table(BLOCKS).map_err(disk)?;
    let last = ReadableTable::last(&blocks).map_err(disk)?;
    let (_, bytes) = last.ok_or_else(|| LedgerError::Damaged("it has no blocks".into()))?;
    SignedHeader::decode(&mut Bytes::new(bytes.value())).map_err(|error| damaged(&error))
}

/// The header of a block.
pub(super) fn header(read: &ReadTransaction, height: u64) -> Result<SignedHeader, LedgerError> {
    read_block(read, height, |bytes| SignedHeader::decode(&mut Bytes::new(bytes)))
}

/// The last block.
pub(super) fn last(read: &ReadTransaction) -> Result<Block, LedgerError> {
    block(read, last_header(read)?.header.height)
}

fn block(read: &ReadTransaction, height: u64) -> Result<Block, LedgerError> {
    read_block(read, height, Block::from_bytes)
}

fn read_block<T>(
    read: &ReadTransaction,
    height: u64,
    decode: impl FnOnce(&[u8]) -> Result<T, symbolon_protocol::codec::DecodeError>,
) -> Result<T, LedgerError> {
    let blocks = read.open_table(BLOCKS).map_err(disk)?;
    let bytes = ReadableTable::get(&blocks, height).map_err(disk)?;
    let bytes = bytes.ok_or_else(|| LedgerError::Damaged(format!("block {height} is missing")))?;
    decode(bytes.value()).map_err(|error| damaged(&error))
}

/// A block, unless it is no longer kept.
pub(super) fn kept(read: &ReadTransaction, height: u64) -> Result<Block, LedgerError> {
    let oldest = prune::oldest(read)?;
    match oldest.height <= height {
        true => block(read, height),
        false => Err(LedgerError::Pruned { height, oldest }),
    }
}

pub(super) fn damaged(error: &impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(format!("a block: {error}"))
}

/// Blocks in order of their commits. Reads from disk up to the tip, then waits for the next block.
/// Holds one block, however slow its reader is.
pub(crate) struct Blocks {
    height: u64,
    tip: watch::Receiver<Arc<Block>>,
    replica: Replica,
}

impl Blocks {
    pub(super) fn new(replica: Replica, height: u64) -> Self {
        Self { height, tip: replica.inner.tip.clone(), replica }
    }

    pub(crate) async fn next(&mut self) -> Result<Block, LedgerError> {
        let height = self.height;
        let reached = |tip: &Arc<Block>| height <= tip.header.header.height;
        let tip = self.tip.wait_for(reached).await.map_err(|_| LedgerError::Closed)?.clone();
        let block = match tip.header.header.height == height {
            true => Block::clone(&tip),
            false => self.replica.read(move |read| kept(read, height)).await?,
        };
        self.height += 1;
        Ok(block)
    }
}
