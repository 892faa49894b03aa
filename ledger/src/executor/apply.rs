//! Blocks that others have made: a machine that follows a ledger executes each of them, and stores it only if the rules
//! say the same.

use symbolon_protocol::ledger::{block::Block, execute, rows::Chains, state::StateExt as _};

use super::{Executor, guarded};
use crate::error::LedgerError;

impl Executor {
    /// Executes a block on the last one, and stores it with its changes: they are on disk when this returns, and followers
    /// see the block. Nothing is written if the validators of the last block did not commit to it, or if the rules give
    /// another header.
    pub(crate) fn apply(&self, block: &Block) -> Result<(), LedgerError> {
        let forged = |what| LedgerError::Forged { what };
        let (tip, header) = (self.tip(), &block.header.header);
        let parent = &tip.header.header;
        if header.height != parent.height + 1 {
            return Err(forged("the block has another height"));
        }
        let rows = self.rows()?;
        let chain = rows.checked(rows.get(Chains, &()))?;
        let set =
            chain.ok_or_else(|| LedgerError::Damaged("it has no chain row".into()))?.validators;
        block.header.commit.verify(header, &set).map_err(|_| forged(NOT_COMMITTED))?;
        if header.parent != parent.digest() {
            return Err(LedgerError::Forked { height: parent.height, kept: None });
        }
        let replay = || execute::replay(&rows, &header.facts, &block.transactions);
        let executed = rows.checked(guarded(replay))?.ok_or_else(|| self.broken())?;
        let executed = executed.map_err(|_| forged("the rules refuse the block"))?;
        let expected =
            parent.next(header.facts, &block.transactions, &executed.events, executed.state_root);
        if expected != *header || executed.events != block.events {
            return Err(forged("the rules give another block"));
        }
        self.commit(block, &executed.update)?;
        self.announce(block.clone());
        Ok(())
    }
}

const NOT_COMMITTED: &str = "the ledger's validators did not commit to the block";
