//! Blocks that a validator proposes, and that another one judges and commits.

use redb::ReadableDatabase as _;
use symbolon_protocol::{
    codec::Decode as _,
    id::Hash,
    ledger::{
        admission::Signatures,
        block::{Block, Header, SignedHeader, transactions_root},
        commit::Commit,
        execute::{self, Executed},
        transaction::Transaction,
    },
    record,
};

use super::{Executor, blocks, guarded, rows::disk};
use crate::error::LedgerError;

record! {
    /// A block without its commit and its events: all that it takes to execute it.
    pub(crate) struct Proposed {
        /// Its header.
        pub header: Header,
        /// Its transactions.
        pub transactions: Vec<Transaction>,
    }
}

/// What a machine finds of a proposed block.
pub(crate) enum Judged {
    /// The rules allow it, and this comes of it.
    Valid(Executed),
    /// The rules forbid it.
    Invalid,
}

impl Proposed {
    /// The block of this name, if these are its bytes.
    pub(crate) fn read(name: &Hash, bytes: &[u8]) -> Option<Self> {
        let proposed = Self::from_bytes(bytes).ok()?;
        let header = &proposed.header;
        let root = transactions_root(&proposed.transactions);
        (header.digest() == *name && header.transactions_root == root).then_some(proposed)
    }

    /// A block that has its commit, with the events that came of it.
    pub(crate) fn committed(self, commit: Commit, executed: &Executed) -> Block {
        let Self { header, transactions } = self;
        let header = SignedHeader { header, commit };
        Block { header, transactions, events: executed.events.clone() }
    }
}

impl Executor {
    /// Executes a proposed block on top of the last one. `known` says which signatures of its transactions were checked
    /// before. Writes nothing.
    ///
    /// A rule that breaks at it makes it invalid, and not the machine: all machines find the same.
    pub(crate) fn judge(
        &self,
        proposed: &Proposed,
        known: impl Fn(&Transaction) -> Signatures,
    ) -> Result<Judged, LedgerError> {
        let Proposed { header, transactions } = proposed;
        let rows = self.rows()?;
        let replay = || execute::replay_known(&rows, &header.facts, transactions, known);
        let replayed = guarded(replay);
        let Some(Ok(executed)) = rows.checked(replayed)? else {
            return Ok(Judged::Invalid);
        };
        let parent = &self.tip().header.header;
        let expected =
            parent.next(header.facts, transactions, &executed.events, executed.state_root);
        Ok(if expected == *header { Judged::Valid(executed) } else { Judged::Invalid })
    }

    /// A committed block as validators send it to each other, with its commit; `None` if it is not kept.
    pub(crate) fn decided(&self, height: u64) -> Result<Option<(Proposed, Commit)>, LedgerError> {
        let database = &self.replica.inner.database;
        let read = database.begin_read().map_err(disk)?;
        let block = match blocks::kept(&read, height) {
            Ok(block) => block,
            Err(LedgerError::Pruned { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Block { header: SignedHeader { header, commit }, transactions, .. } = block;
        Ok(Some((Proposed { header, transactions }, commit)))
    }
}
