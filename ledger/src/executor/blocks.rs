//! Blocks on disk and for followers, page by page. So a reader holds at most a page of a block,
//! even if the block has many events.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use symbolon_net::watch;
use symbolon_protocol::{
    codec::{Decode, Encode, Reader as Bytes},
    ledger::{
        block::{Block, Event, SignedHeader},
        transaction::Transaction,
    },
    limits::EVENTS_PAGE,
};

use super::{Replica, prune, rows::disk};
use crate::{error::LedgerError, port::BlockPage};

/// Blocks by height: header and transactions in canonical bytes, without events. The genesis is
/// block 0.
pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// Events by the height of their block and the number of their page.
pub(super) const EVENTS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("events");

/// Writes a block and its events.
pub(super) fn put(write: &WriteTransaction, block: &Block) -> Result<(), LedgerError> {
    let height = block.header.header.height;
    let mut bytes = block.header.to_bytes();
    block.transactions.encode(&mut bytes);
    let mut blocks = write.open_table(BLOCKS).map_err(disk)?;
    blocks.insert(height, bytes.as_slice()).map_err(disk)?;
    let mut events = write.open_table(EVENTS).map_err(disk)?;
    for (number, page) in (0_u64..).zip(block.events.chunks(EVENTS_PAGE)) {
        let bytes = page.to_vec().to_bytes();
        events.insert((height, number), bytes.as_slice()).map_err(disk)?;
    }
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
    let blocks = read.open_table(BLOCKS).map_err(disk)?;
    let bytes = ReadableTable::get(&blocks, height).map_err(disk)?;
    let bytes = bytes.ok_or_else(|| missing(height))?;
    SignedHeader::decode(&mut Bytes::new(bytes.value())).map_err(|error| damaged(&error))
}

/// The last block, with all its events.
pub(super) fn last(read: &ReadTransaction) -> Result<Block, LedgerError> {
    let height = last_header(read)?.header.height;
    let BlockPage { header, transactions, mut events, mut more, .. } = page(read, height, 0)?;
    while more {
        let next = page(read, height, events.len() as u64)?;
        events.extend(next.events);
        more = next.more;
    }
    Ok(Block { header, transactions, events })
}

/// The next page of a block after its first `known` events.
fn page(read: &ReadTransaction, height: u64, known: u64) -> Result<BlockPage, LedgerError> {
    let blocks = read.open_table(BLOCKS).map_err(disk)?;
    let block = ReadableTable::get(&blocks, height).map_err(disk)?;
    let bytes = block.ok_or_else(|| missing(height))?;
    let mut input = Bytes::new(bytes.value());
    let header = SignedHeader::decode(&mut input).map_err(|error| damaged(&error))?;
    let transactions = Vec::<Transaction>::decode(&mut input).map_err(|error| damaged(&error))?;

    let table = read.open_table(EVENTS).map_err(disk)?;
    let number = known / EVENTS_PAGE as u64;
    let mut events = match ReadableTable::get(&table, (height, number)).map_err(disk)? {
        Some(bytes) => Vec::<Event>::from_bytes(bytes.value()).map_err(|error| damaged(&error))?,
        None => Vec::new(),
    };
    events.drain(..skipped(known, events.len()));
    let next = ReadableTable::get(&table, (height, number.saturating_add(1))).map_err(disk)?;
    Ok(BlockPage { header, begins: true, transactions, events, more: next.is_some() })
}

/// The same page, cut from a block in memory.
fn cut(block: &Block, known: u64) -> BlockPage {
    let number = usize::try_from(known / EVENTS_PAGE as u64).unwrap_or(usize::MAX);
    let from = number.saturating_mul(EVENTS_PAGE).min(block.events.len());
    let to = from.saturating_add(EVENTS_PAGE).min(block.events.len());
    let page = &block.events[from..to];
    BlockPage {
        header: block.header.clone(),
        begins: true,
        transactions: block.transactions.clone(),
        events: page[skipped(known, page.len())..].to_vec(),
        more: to < block.events.len(),
    }
}

/// How many events of the page are known already.
fn skipped(known: u64, page: usize) -> usize {
    usize::try_from(known % EVENTS_PAGE as u64).map_or(page, |known| known.min(page))
}

/// The same, unless the block is no longer kept.
fn kept_page(read: &ReadTransaction, height: u64, known: u64) -> Result<BlockPage, LedgerError> {
    let oldest = prune::oldest(read)?;
    match oldest.height <= height {
        true => page(read, height, known),
        false => Err(LedgerError::Pruned { height, oldest }),
    }
}

fn missing(height: u64) -> LedgerError {
    LedgerError::Damaged(format!("block {height} is missing"))
}

pub(super) fn damaged(error: &impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(format!("a block: {error}"))
}

/// Blocks in order of their commits. Reads from disk up to the tip, then waits for the next block.
/// Holds one page, however slow its reader is.
pub(crate) struct Blocks {
    height: u64,
    /// Events of that block that the reader knows or was given.
    known: u64,
    /// Whether the reader was given a page of that block.
    begun: bool,
    tip: watch::Receiver<Arc<Block>>,
    replica: Replica,
}

impl Blocks {
    pub(super) fn new(replica: Replica, height: u64, known: u64) -> Self {
        Self { height, known, begun: false, tip: replica.inner.tip.clone(), replica }
    }

    pub(crate) async fn next(&mut self) -> Result<BlockPage, LedgerError> {
        let (height, known) = (self.height, self.known);
        let reached = |tip: &Arc<Block>| height <= tip.header.header.height;
        let tip = self.tip.wait_for(reached).await.map_err(|_| LedgerError::Closed)?.clone();
        let mut page = match tip.header.header.height == height {
            true => cut(&tip, known),
            false => self.replica.read(move |read| kept_page(read, height, known)).await?,
        };
        if self.begun {
            page.begins = false;
            page.transactions = Vec::new();
        }
        match page.more {
            true => {
                self.known = known.saturating_add(page.events.len() as u64);
                self.begun = true;
            }
            false => {
                self.height += 1;
                self.known = 0;
                self.begun = false;
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use ed25519_dalek::SigningKey;
    use redb::ReadableDatabase;
    use symbolon_protocol::{
        LedgerTime,
        id::{ChainId, Hash},
        ledger::block::{BlockInputs, Header},
        limits::LIST_MAX,
    };

    use super::*;

    fn block(events: u64) -> Block {
        let facts = BlockInputs { time_ms: LedgerTime(1), reveal: Hash([0; 32]), onion_next: None };
        let header = Header {
            chain: ChainId([1; 32]),
            height: 7,
            parent: Hash([2; 32]),
            facts,
            transactions_root: Hash([3; 32]),
            state_root: Hash([4; 32]),
            validators: Hash([5; 32]),
        };
        let header = SignedHeader::build(header, &SigningKey::from_bytes(&[6; 32]));
        let events = (0..events).map(|epoch| Event::EpochBegan { epoch }).collect();
        Block { header, transactions: Vec::new(), events }
    }

    #[test]
    fn a_block_with_more_events_than_a_list_may_have_is_kept_and_read() {
        let page_events = EVENTS_PAGE as u64;
        for count in [0, 1, page_events, page_events + 1, u64::from(LIST_MAX) + 3] {
            let block = block(count);
            let memory = redb::backends::InMemoryBackend::new();
            let database = redb::Database::builder().create_with_backend(memory).unwrap();
            let write = database.begin_write().unwrap();
            put(&write, &block).unwrap();
            write.commit().unwrap();
            let read = database.begin_read().unwrap();
            assert_eq!(last(&read).unwrap(), block);
            assert_eq!(last_header(&read).unwrap(), block.header);
            for known in [0, 1, page_events - 1, page_events, count, count + page_events, u64::MAX]
            {
                assert_eq!(page(&read, 7, known).unwrap(), cut(&block, known), "{count} {known}");
            }
        }
    }
}
