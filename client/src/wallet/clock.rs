//! The time by which grants and terms are judged.

use symbolon_protocol::ledger::rows::Chain;

use crate::{error::ClientError, term::LedgerClock, wallet::Wallet};

impl Wallet {
    /// The time on the ledger.
    pub async fn clock(&self) -> Result<LedgerClock, ClientError> {
        Ok(self.clock_of(&self.network().chain_row().await?))
    }

    /// The time on the ledger, by its own row as it was a moment ago.
    pub async fn recent_clock(&self) -> Result<LedgerClock, ClientError> {
        Ok(self.clock_of(&self.network().recent_chain().await?))
    }

    pub(crate) fn clock_of(&self, chain: &Chain) -> LedgerClock {
        LedgerClock::read(chain, self.host().now_ms())
    }
}
