//! What is asked of the network below, with the errors of this crate.

use symbolon_protocol::{
    grant::Grant,
    id::{DealId, ObjectId},
    ledger::{
        Params,
        rows::{Chain, Deal, Table},
    },
};
use symbolon_transfer::{Network, Owner, durability::Record, place::Candidate};

use crate::{Client, NodeView, error::ClientError};

impl Client {
    /// The ledger, the nodes and the machine, below all that knows names.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// In whose name things are stored.
    pub(crate) fn owner(&self) -> Owner {
        let identity = self.identity();
        Owner { account_key: identity.account_key(), peer: identity.peer() }
    }

    /// All nodes the ledger knows.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        Ok(self.network().nodes().await?)
    }

    /// The ledger's own row as it was a moment ago; asks only where that is longer past.
    pub async fn recent_chain(&self) -> Result<Chain, ClientError> {
        Ok(self.network().recent_chain().await?)
    }

    /// The ledger's own row as it is now.
    pub(crate) async fn chain_row(&self) -> Result<Chain, ClientError> {
        Ok(self.network().chain_row().await?)
    }

    /// The ledger's parameters: they never change.
    pub(crate) async fn params(&self) -> Result<Params, ClientError> {
        Ok(self.network().params().await?)
    }

    /// The nodes that answer now, cheapest first.
    pub(crate) async fn candidates(&self, salt: &[u8]) -> Result<Vec<Candidate>, ClientError> {
        Ok(self.network().candidates(salt).await?)
    }

    /// The same, with the records of all nodes there are or were.
    pub(crate) async fn candidates_and_records(
        &self,
        salt: &[u8],
    ) -> Result<(Vec<Candidate>, Vec<Record>), ClientError> {
        Ok(self.network().candidates_and_records(salt).await?)
    }

    /// A deal's row.
    pub(crate) async fn deal(&self, deal: &DealId) -> Result<Option<Deal>, ClientError> {
        Ok(self.network().deal(deal).await?)
    }

    /// All rows of a table whose keys begin with `prefix`, with their whole keys.
    pub(crate) async fn scan_all<T: Table + Copy>(
        &self,
        table: T,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, T::Row)>, ClientError> {
        Ok(self.network().scan_all(table, prefix).await?)
    }

    /// Rows by key, in the order of the keys, more of them than one answer holds.
    pub(crate) async fn rows_of<T: Table + Copy>(
        &self,
        table: T,
        keys: &[T::Key],
    ) -> Result<Vec<Option<T::Row>>, ClientError> {
        Ok(self.network().rows_of(table, keys).await?)
    }

    /// A grant of this identity's account to its own access key.
    pub(crate) fn own_grant(&self, object: ObjectId, abilities: u16) -> Result<Grant, ClientError> {
        Ok(self.network().own_grant(&self.owner(), object, abilities)?)
    }
}
