//! Blocks that a validator proposes, and that another one judges and commits.

use redb::ReadableDatabase as _;
use symbolon_protocol::{
    codec::Decode as _,
    id::Hash,
    ledger::{
        admission::Signatures,
        block::{Block, Header, SignedHeader, transactions_root},
        commit::Commit,
        execute::{self, BlockError, Executed},
        last::check_last,
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
        /// The commit of its parent, if its facts say something of it.
        pub last: Option<Commit>,
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
        let Self { header, last, transactions } = self;
        let header = SignedHeader { header, commit };
        Block { header, last, transactions, events: executed.events.clone() }
    }
}

impl Executor {
    /// Executes a block on top of the last one. `known` says which signatures of its transactions were checked before. Writes
    /// nothing.
    ///
    /// A rule that breaks at it makes it invalid, and not the machine: all machines find the same.
    pub(crate) fn judge(
        &self,
        header: &Header,
        last: Option<&Commit>,
        transactions: &[Transaction],
        known: impl Fn(&Transaction) -> Signatures,
    ) -> Result<Judged, LedgerError> {
        let tip = self.tip();
        let parent = &tip.header.header;
        let rows = self.rows()?;
        let committed_by = self.parents()?;
        if check_last(parent, &committed_by, &header.facts, last).is_err() {
            return Ok(Judged::Invalid);
        }
        let block = (&header.facts, transactions);
        let replay = || execute::replay_known(&rows, block, known, self.known_rules);
        let replayed = guarded(replay);
        let executed = match rows.checked(replayed)? {
            Some(Ok(executed)) => executed,
            // It may be good or bad: who does not know the rules cannot say.
            Some(Err(error @ BlockError::UnknownRules { .. })) => {
                return Err(self.no_block(&error));
            }
            Some(Err(_)) | None => return Ok(Judged::Invalid),
        };
        let expected = parent.next(header.facts, transactions, &executed);
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
        let Block { header: SignedHeader { header, commit }, last, transactions, .. } = block;
        Ok(Some((Proposed { header, last, transactions }, commit)))
    }
}
