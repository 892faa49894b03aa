//! The ledger port: everything that the other crates see of a ledger.

use std::time::Duration;

use symbolon_protocol::{
    LedgerTime, Millis,
    codec::Decode,
    id::{AccountId, ChainId},
    ledger::{
        Status,
        block::{Block, Genesis, SignedHeader},
        rows::{Chains, Table},
        transaction::Transaction,
    },
    wire::ledger::{HistoryLine, HistoryPlace, OldestBlock, Row},
};

use crate::{
    embedded::Embedded,
    error::LedgerError,
    executor::{Blocks, Replica, check_rules},
    remote::{Remote, RemoteBlocks},
    serve::Engine,
};

/// Most rows of one scan, and most keys of one request.
pub const ROWS_MAX: usize = 1_000;

/// How long an answer of the ledger counts as recent. The ledger makes far fewer blocks in that
/// time than a transaction may wait for.
pub const RECENT: Duration = Duration::from_secs(2);

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Height of the transaction's block, or of the last block if the transaction was refused.
    pub height: u64,
    /// Whether it was applied, or why not.
    pub status: Status,
}

/// A part of an account's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The lines, newest first.
    pub lines: Vec<HistoryLine>,
    /// The oldest block that the ledger keeps. Lines about the pay for storage proofs are complete
    /// from this block on, and all other lines from the ledger's first block on.
    pub oldest: OldestBlock,
}

/// Rows of one block, and the proof of all of them.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) header: SignedHeader,
    pub(crate) rows: Vec<Row>,
    pub(crate) proof: Vec<u8>,
    pub(crate) more: bool,
}

/// A ledger in this process or on another machine. Clones are the same ledger.
#[derive(Clone, Debug)]
pub enum Ledger {
    /// A ledger in this process.
    Embedded(Embedded),
    /// A ledger on another machine.
    Remote(Remote),
    /// The blocks and rows of a ledger in this process, to read: it takes no transactions.
    Replica(Replica),
}

/// Where a ledger's rows are.
enum Place<'a> {
    /// In this process.
    Here(&'a Replica),
    /// On another machine.
    There(&'a Remote),
}

impl From<Embedded> for Ledger {
    fn from(embedded: Embedded) -> Self {
        Self::Embedded(embedded)
    }
}

impl From<Remote> for Ledger {
    fn from(remote: Remote) -> Self {
        Self::Remote(remote)
    }
}

impl Ledger {
    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        match self {
            Self::Embedded(ledger) => ledger.chain(),
            Self::Remote(ledger) => ledger.chain(),
            Self::Replica(replica) => replica.chain(),
        }
    }

    fn place(&self) -> Place<'_> {
        match self {
            Self::Embedded(ledger) => Place::Here(ledger.replica()),
            Self::Replica(replica) => Place::Here(replica),
            Self::Remote(ledger) => Place::There(ledger),
        }
    }

    /// How much later it is than a block was due, by this machine's clock: then the servers hold blocks back, the ledger stands
    /// still, or a clock is wrong. Known only of a remote ledger with a [`Keeping`](crate::Keeping), after an answer.
    #[must_use]
    pub fn overdue(&self) -> Option<Millis> {
        match self {
            Self::Embedded(_) | Self::Replica(_) => None,
            Self::Remote(ledger) => ledger.overdue(),
        }
    }

    /// Submits a transaction. Returns once it is on disk or refused. Submitting the same
    /// transaction again before its last valid height gives the same outcome.
    pub async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        match self {
            Self::Embedded(ledger) => ledger.submit(transaction).await,
            Self::Remote(ledger) => ledger.submit(transaction).await,
            Self::Replica(_) => Err(LedgerError::Closed),
        }
    }

    /// What the ledger began with; its hash is the ledger's id.
    pub async fn genesis(&self) -> Result<Genesis, LedgerError> {
        match self.place() {
            Place::Here(replica) => replica.genesis().await,
            Place::There(ledger) => ledger.ask_genesis().await,
        }
    }

    /// The header of the last block.
    pub async fn head(&self) -> Result<SignedHeader, LedgerError> {
        match self.place() {
            Place::Here(replica) => replica.head().await,
            Place::There(ledger) => ledger.head().await,
        }
    }

    /// A height that the ledger has reached recently. Asks the ledger only if it has not answered
    /// within [`RECENT`].
    pub async fn recent_height(&self) -> Result<u64, LedgerError> {
        Ok(self.recent_block().await?.0)
    }

    /// The time of a recent block, in milliseconds since the Unix epoch. Asks like
    /// [`Ledger::recent_height`].
    pub async fn recent_time_ms(&self) -> Result<LedgerTime, LedgerError> {
        Ok(self.recent_block().await?.1)
    }

    async fn recent_block(&self) -> Result<(u64, LedgerTime), LedgerError> {
        if let Self::Remote(ledger) = self
            && let Some(block) = ledger.recent_block()
        {
            return Ok(block);
        }
        let head = self.head().await?.header;
        Ok((head.height, head.facts.time_ms))
    }

    /// One row; `None` if it does not exist.
    pub async fn row<T: Table>(
        &self,
        _table: T,
        key: &T::Key,
    ) -> Result<Option<T::Row>, LedgerError> {
        let rows = self.values(vec![T::key(key)]).await?;
        rows.into_iter().next().flatten().map(|bytes| decode::<T>(&bytes)).transpose()
    }

    /// Rows by key, in the order of the keys.
    pub async fn rows<T: Table>(
        &self,
        _table: T,
        keys: &[T::Key],
    ) -> Result<Vec<Option<T::Row>>, LedgerError> {
        let values = self.values(keys.iter().map(T::key).collect()).await?;
        let rows = values.into_iter();
        rows.map(|value| value.map(|bytes| decode::<T>(&bytes)).transpose()).collect()
    }

    /// Rows by key that may be a moment old. A row is not requested again if it was read within
    /// [`RECENT`] and this program has not submitted a transaction since. Use it where the row may
    /// be outdated anyway by the time it is used.
    pub async fn rows_lately<T: Table>(
        &self,
        _table: T,
        keys: &[T::Key],
    ) -> Result<Vec<Option<T::Row>>, LedgerError> {
        let keys = keys.iter().map(T::key).collect();
        let values = match self.place() {
            Place::Here(replica) => replica.values(keys).await?,
            Place::There(ledger) => ledger.values_lately(keys).await?,
        };
        let rows = values.into_iter();
        rows.map(|value| value.map(|bytes| decode::<T>(&bytes)).transpose()).collect()
    }

    /// One row that may be a moment old: see [`Ledger::rows_lately`].
    pub async fn row_lately<T: Table>(
        &self,
        table: T,
        key: &T::Key,
    ) -> Result<Option<T::Row>, LedgerError> {
        let rows = self.rows_lately(table, std::slice::from_ref(key)).await?;
        Ok(rows.into_iter().next().flatten())
    }

    /// A row of each of two tables, both from one block.
    pub async fn pair<A: Table, B: Table>(
        &self,
        (_, first): (A, &A::Key),
        (_, second): (B, &B::Key),
    ) -> Result<(Option<A::Row>, Option<B::Row>), LedgerError> {
        let keys = vec![A::key(first), B::key(second)];
        let values = match self.place() {
            Place::Here(replica) => replica.values(keys).await?,
            Place::There(ledger) => ledger.values_of_one_block(keys).await?,
        };
        let [first, second] = <[_; 2]>::try_from(values)
            .map_err(|_| LedgerError::Forged { what: "the rows are not those of the request" })?;
        Ok((
            first.map(|bytes| decode::<A>(&bytes)).transpose()?,
            second.map(|bytes| decode::<B>(&bytes)).transpose()?,
        ))
    }

    /// Up to `limit` rows (at most [`ROWS_MAX`]), each with its whole key: see [`Table::parse`].
    /// The keys begin with the table's tag and `prefix`, and come after the whole key `after`. A
    /// remote ledger proves that it left no row out. If it needs several answers, each of them is
    /// complete, but they may be of different blocks.
    pub async fn scan<T: Table>(
        &self,
        _table: T,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T::Row)>, LedgerError> {
        let (prefix, after) = ([&[T::TAG], prefix].concat(), after.map(<[u8]>::to_vec));
        let limit = limit.min(ROWS_MAX);
        let rows = match self.place() {
            Place::Here(replica) => replica.scan(prefix, after, limit).await?,
            Place::There(ledger) => ledger.scan(prefix, after, limit).await?,
        };
        rows.into_iter().map(|(key, value)| Ok((key, decode::<T>(&value)?))).collect()
    }

    /// All rows of a table whose keys begin with `prefix`, with their whole keys. It may take
    /// several requests, and so the rows may be of different blocks: see [`Ledger::scan`].
    pub async fn scan_all<T: Table + Copy>(
        &self,
        table: T,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, T::Row)>, LedgerError> {
        let mut rows: Vec<(Vec<u8>, T::Row)> = Vec::new();
        loop {
            let after = rows.last().map(|(key, _)| key.clone());
            let page = self.scan(table, prefix, after.as_deref(), ROWS_MAX).await?;
            let full = page.len() == ROWS_MAX;
            rows.extend(page);
            if !full {
                return Ok(rows);
            }
        }
    }

    /// The movements of an account's money before a height or a [place](HistoryLine::place), newest
    /// first. `u64::MAX` starts with the last block. Returns up to `limit` lines, at most
    /// [`ROWS_MAX`]. For earlier lines, ask again with the place of the last line. A remote ledger
    /// does not prove its history.
    pub async fn history(
        &self,
        account: &AccountId,
        before: impl Into<HistoryPlace>,
        limit: usize,
    ) -> Result<History, LedgerError> {
        let (before, limit) = (before.into(), limit.min(ROWS_MAX));
        match self.place() {
            Place::Here(replica) => replica.history(*account, before, limit).await,
            Place::There(ledger) => ledger.history(*account, before, limit).await,
        }
    }

    /// All blocks from a height on, each once, as they are made. Block 0 is the genesis. A ledger
    /// keeps the blocks of the last epochs only: where it no longer has one, the next page is the
    /// error [`LedgerError::Pruned`]. A follower then reads the rows that it needs, and follows on
    /// from the block of a header that it read before them.
    #[must_use]
    pub fn follow(&self, from_height: u64) -> Follow {
        let kind = match self.place() {
            Place::Here(replica) => FollowKind::Embedded(replica.follow(from_height)),
            Place::There(ledger) => FollowKind::Remote(Box::new(ledger.follow(from_height))),
        };
        Follow { kind }
    }

    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        match self.place() {
            Place::Here(replica) => replica.values(keys).await,
            Place::There(ledger) => ledger.values(keys).await,
        }
    }
}

fn decode<T: Table>(bytes: &[u8]) -> Result<T::Row, LedgerError> {
    if T::TAG == Chains::TAG {
        // Other versions of the rules may write rows in other ways, but this number stays where it is.
        check_rules(bytes)?;
    }
    T::Row::from_bytes(bytes).map_err(|error| LedgerError::Damaged(format!("a row: {error}")))
}

/// Blocks as they are made. Holds a few, however slow its reader is; missed blocks are read later.
#[derive(Debug)]
pub struct Follow {
    kind: FollowKind,
}

enum FollowKind {
    Embedded(Blocks),
    Remote(Box<RemoteBlocks>),
}

impl std::fmt::Debug for FollowKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded(_) => "Embedded",
            Self::Remote(_) => "Remote",
        })
    }
}

impl Follow {
    /// Waits for the next block. For a remote ledger this checks that its validators have committed to the header, that
    /// the block follows the one before, and that the header covers its transactions and events.
    pub async fn next(&mut self) -> Result<Block, LedgerError> {
        match &mut self.kind {
            FollowKind::Embedded(blocks) => blocks.next().await,
            FollowKind::Remote(blocks) => blocks.next().await,
        }
    }
}
