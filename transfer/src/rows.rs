//! Reads any number of rows from the ledger, page by page, with as many rows per page as it
//! returns.

use symbolon_ledger::ROWS_MAX;
use symbolon_protocol::ledger::rows::Table;

use crate::{Network, error::TransferError};

impl Network {
    /// All rows of a table whose keys begin with `prefix`, with their whole keys.
    pub async fn scan_all<T: Table + Copy>(
        &self,
        table: T,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, T::Row)>, TransferError> {
        Ok(self.ledger().scan_all(table, prefix).await?)
    }

    /// Rows by key, in the order of the keys. There may be more keys than one request may have.
    pub async fn rows_of<T: Table + Copy>(
        &self,
        table: T,
        keys: &[T::Key],
    ) -> Result<Vec<Option<T::Row>>, TransferError> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(ROWS_MAX) {
            rows.extend(self.ledger().rows(table, keys).await?);
        }
        Ok(rows)
    }
}
