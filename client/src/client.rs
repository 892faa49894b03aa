//! The client: the three rooms as one type, as most programs use them.

use std::ops::Deref;

use symbolon_protocol::ledger::rows::Chain;

use crate::{
    NodeView,
    error::ClientError,
    library::Devices,
    market::Market,
    wallet::{Setup, Wallet},
};

/// A user's side of the network: the three rooms as one type. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    market: Market,
}

impl Deref for Client {
    type Target = Market;

    fn deref(&self) -> &Market {
        &self.market
    }
}

impl Client {
    /// Makes a client that keeps in step with other devices [by hand](Devices::ByHand). Blocks.
    pub fn new(setup: Setup) -> Result<Self, ClientError> {
        Self::assemble(setup, Devices::ByHand)
    }

    pub(crate) fn assemble(setup: Setup, devices: Devices) -> Result<Self, ClientError> {
        Ok(Self { market: Market::new(Wallet::new(setup)?, devices) })
    }

    /// The market, where its identity sells and buys.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// All nodes the ledger knows.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        Ok(self.network().nodes().await?)
    }

    /// The ledger's own row as it was a moment ago. Asks the ledger only when the copy is older than that.
    pub async fn recent_chain(&self) -> Result<Chain, ClientError> {
        Ok(self.network().recent_chain().await?)
    }

    /// Ends all connections.
    pub async fn close(self) {
        self.wallet().close().await;
    }
}
