//! The ledger's own row, cached for a short time.

use symbolon_ledger::RECENT;
use symbolon_protocol::ledger::{
    Params,
    rows::{Chain, Chains},
};

use crate::{Network, error::TransferError, lock};

/// Milliseconds for which the ledger's own row and the answers of nodes count as recent.
#[expect(clippy::cast_possible_truncation, reason = "it is seconds")]
pub(crate) const RECENT_MS: u64 = RECENT.as_millis() as u64;

/// Number of blocks in which a transaction can be applied.
pub const VALID_BLOCKS: u64 = 500;

/// The ledger's own row, and when it was read.
#[derive(Clone, Debug)]
pub(crate) struct ChainSeen {
    row: Chain,
    at_ms: u64,
}

impl Network {
    /// The ledger's parameters, as of a moment ago: motions may change them with an epoch. What is paid by older ones is
    /// bounded by the `cost_max` of an action, and a fee that has grown is refused with the balance or paid as the ledger says.
    pub async fn params(&self) -> Result<Params, TransferError> {
        Ok(self.recent_chain().await?.params)
    }

    /// The ledger's own row, at most [`RECENT`] old. Asks the ledger if the cached row is older.
    pub async fn recent_chain(&self) -> Result<Chain, TransferError> {
        let now_ms = self.host().ticks_ms();
        match self.chain_seen() {
            Some(seen) if now_ms < seen.at_ms + RECENT_MS => Ok(seen.row),
            _ => self.chain_row().await,
        }
    }

    /// The ledger's own row, read now.
    pub async fn chain_row(&self) -> Result<Chain, TransferError> {
        let row = self.ledger().row(Chains, &()).await?;
        let row =
            row.ok_or_else(|| TransferError::Internal("a ledger always has its own row".into()))?;
        let seen = ChainSeen { row: row.clone(), at_ms: self.host().ticks_ms() };
        *lock(&self.inner.chain) = Some(seen);
        Ok(row)
    }

    /// For how many blocks a transaction is valid, as far as it is known without asking.
    pub(crate) fn valid_blocks_known(&self) -> u64 {
        let known = self.chain_seen().map(|seen| seen.row.params.validity_blocks_max);
        known.map_or(VALID_BLOCKS, |most| most.min(VALID_BLOCKS))
    }

    /// For how many blocks a transaction is valid that is signed now.
    pub async fn valid_blocks(&self) -> Result<u64, TransferError> {
        Ok(self.params().await?.validity_blocks_max.min(VALID_BLOCKS))
    }

    fn chain_seen(&self) -> Option<ChainSeen> {
        lock(&self.inner.chain).clone()
    }
}
