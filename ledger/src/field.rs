//! Which field of an action a ledger refuses. The ledger answers every sender with one status only. The rows that judge
//! the action say more, and they are proven.

use symbolon_protocol::{
    id::{AccountId, NodeId},
    ledger::{
        FieldFault, check_fields,
        rows::{Chain, Listings, Nodes, Orders, Table, Vaults},
        state::{MemoryState, Overlay},
        transaction::Action,
    },
};

use crate::{error::LedgerError, port::Ledger};

impl Ledger {
    /// Which field of a sender's action the rules refuse with `BadField`, by the rows as they are now; `None` when
    /// they take all of them.
    pub async fn field_fault(
        &self,
        chain: &Chain,
        sender: &AccountId,
        action: &Action,
    ) -> Result<Option<FieldFault>, LedgerError> {
        let mut rows = MemoryState::default();
        match action {
            Action::Prove { .. } => {
                self.copy(&mut rows, Nodes, &NodeId::from(*sender)).await?;
            }
            Action::Preview { listing, .. } | Action::Order { listing, .. } => {
                self.copy(&mut rows, Listings, listing).await?;
            }
            Action::Acknowledge { order, .. } => {
                if let Some(order) = self.copy(&mut rows, Orders, order).await?
                    && let Some(listing) = self.copy(&mut rows, Listings, &order.listing).await?
                {
                    self.copy(&mut rows, Vaults, &listing.terms.vault).await?;
                }
            }
            _ => {}
        }
        Ok(check_fields(&rows, chain, sender, action).err())
    }

    async fn copy<T: Table + Copy>(
        &self,
        rows: &mut MemoryState,
        table: T,
        key: &T::Key,
    ) -> Result<Option<T::Row>, LedgerError> {
        let row = self.row(table, key).await?;
        if let Some(row) = &row {
            let nothing = MemoryState::default();
            let mut copied = Overlay::new(&nothing);
            copied.put(table, key, row);
            rows.commit(copied.update());
        }
        Ok(row)
    }
}
