//! Which blocks the file keeps, and the removal of the others.
//!
//! Blocks are kept by epochs: those of the current epoch, and of so many before it. Each commit
//! removes a part of what is no longer kept, in the same transaction as its block. So an idle
//! ledger does not grow: redb uses the free pages again for the next blocks.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use symbolon_protocol::{
    codec::Decode,
    ledger::{block::Block, rows::Chain},
    wire::ledger::OldestBlock,
};

use super::{
    blocks::{self, BLOCKS},
    rows::{self, HISTORY, disk},
};
use crate::error::LedgerError;

/// The first height of each epoch whose blocks are kept.
pub(super) const EPOCHS: TableDefinition<'_, u64, u64> = TableDefinition::new("epochs");

/// Epochs before the current one whose blocks a ledger keeps: two days of epochs of an hour.
/// Eight nodes with some shards each fill about 150 kB an epoch with their proofs.
pub const EPOCHS_KEPT: u64 = 48;

/// Removals of one commit at least: so an idle ledger catches up within an epoch.
const REMOVALS_MIN: usize = 64;

/// Epochs that one commit gives up at most. It is more than one only after the ledger was opened to
/// keep fewer epochs than before.
const EPOCHS_AT_ONCE: usize = 16;

/// Notes the epoch of a new block, and removes some of what is no longer kept: at most twice as
/// much as the block adds, or [`REMOVALS_MIN`]. So old blocks go faster than new ones come, and no
/// commit takes much longer than its own block.
pub(super) fn step(
    write: &WriteTransaction,
    chain: &Chain,
    block: &Block,
    epochs_kept: u64,
) -> Result<(), LedgerError> {
    let oldest = note_epoch(write, chain, epochs_kept)?;
    let most = REMOVALS_MIN.max(block.events.len().saturating_add(1).saturating_mul(2));
    let mut removals = 0_usize;
    while removals < most {
        match remove_next(write, oldest)? {
            Some(more) => removals = removals.saturating_add(more),
            None => break,
        }
    }
    Ok(())
}

/// Notes where the blocks begin of a machine that has joined the ledger.
pub(super) fn begin(write: &WriteTransaction, chain: &Chain) -> Result<(), LedgerError> {
    let mut epochs = write.open_table(EPOCHS).map_err(disk)?;
    epochs.insert(chain.epoch, chain.height).map_err(disk)?;
    Ok(())
}

/// Returns the height from which blocks are kept.
fn note_epoch(
    write: &WriteTransaction,
    chain: &Chain,
    epochs_kept: u64,
) -> Result<u64, LedgerError> {
    let mut epochs = write.open_table(EPOCHS).map_err(disk)?;
    let is_new = epochs.get(chain.epoch).map_err(disk)?.is_none();
    if is_new {
        epochs.insert(chain.epoch, chain.height).map_err(disk)?;
    }
    let first_kept = chain.epoch.saturating_sub(epochs_kept);
    for _ in 0..EPOCHS_AT_ONCE {
        let first = epochs.first().map_err(disk)?.map(|(epoch, _)| epoch.value());
        if first.is_none_or(|first| first_kept <= first) {
            break;
        }
        epochs.pop_first().map_err(disk)?;
    }
    let first = epochs.first().map_err(disk)?;
    Ok(first.map_or(chain.height, |(_, height)| height.value()))
}

/// Removes the oldest block with the lines of history that go with it. Returns the number of removals, or `None` if the
/// oldest block is kept.
fn remove_next(write: &WriteTransaction, oldest: u64) -> Result<Option<usize>, LedgerError> {
    let mut blocks = write.open_table(BLOCKS).map_err(disk)?;
    let first = {
        let first = blocks.first().map_err(disk)?.filter(|(height, _)| height.value() < oldest);
        first.map(|(height, bytes)| (height.value(), Block::from_bytes(bytes.value())))
    };
    let Some((height, block)) = first else { return Ok(None) };
    let events = block.map_err(|error| blocks::damaged(&error))?.events;
    blocks.remove(height).map_err(disk)?;
    let mut history = write.open_table(HISTORY).map_err(disk)?;
    let mut removals = 1;
    for (number, event) in (0_u32..).zip(&events).filter(|(_, event)| rows::is_of_proofs(event)) {
        for account in rows::concerned(event).into_iter().flatten() {
            let key = rows::history_key(&account, height, number);
            history.remove(key.as_slice()).map_err(disk)?;
            removals += 1;
        }
    }
    Ok(Some(removals))
}

/// The oldest block that is kept. The file may still have parts of earlier ones.
pub(super) fn oldest(read: &ReadTransaction) -> Result<OldestBlock, LedgerError> {
    let epochs = read.open_table(EPOCHS).map_err(disk)?;
    let first = epochs.first().map_err(disk)?;
    let (_, height) = first.ok_or_else(|| LedgerError::Damaged("it has no epochs".into()))?;
    let header = blocks::header(read, height.value())?;
    Ok(OldestBlock { height: header.header.height, time_ms: header.header.facts.time_ms })
}

#[cfg(test)]
mod tests;
