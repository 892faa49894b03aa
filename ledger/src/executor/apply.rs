//! Blocks that others have made: a machine that follows a ledger executes each of them, and stores it only if the rules
//! say the same.

use symbolon_protocol::ledger::{admission::Signatures, block::Block, transaction::Transaction};

use super::{Executor, Judged};
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
        let set = self.chain_row()?.validators;
        block.header.commit.verify(header, &set).map_err(|_| forged(NOT_COMMITTED))?;
        if header.parent != parent.digest() {
            return Err(LedgerError::Forked { height: parent.height, kept: None });
        }
        let unchecked = |_: &Transaction| Signatures::UNCHECKED;
        let judged = self.judge(header, block.last.as_ref(), &block.transactions, unchecked)?;
        let Judged::Valid(executed) = judged else {
            return Err(forged("the rules give another block, or none"));
        };
        if executed.events != block.events {
            return Err(forged("the rules give other events"));
        }
        self.commit(block, &executed.update)?;
        self.announce(block.clone());
        Ok(())
    }
}

const NOT_COMMITTED: &str = "the ledger's validators did not commit to the block";
