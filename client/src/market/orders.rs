//! Orders: those there are, reading what was bought, and telling the ledger that it is what was listed.

use symbolon_protocol::{
    Amount,
    id::{AccountId, ListingId, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{OrderState, Orders, OrdersOf, Table},
        transaction::Action,
    },
};

use crate::{
    catalog::Purchases,
    error::ClientError,
    library::{
        GetOptions, GetReport, Sink,
        get::{Readable, Resolved},
    },
    market::{Local, Market},
    progress::Progress,
    reader::Reader,
    wallet::account::transaction_id,
};

/// An order as it is shown.
#[derive(Clone, Debug)]
pub struct OrderView {
    /// Its id.
    pub id: OrderId,
    /// What is bought.
    pub listing: ListingId,
    /// Who buys.
    pub buyer: AccountId,
    /// What is or was in escrow.
    pub amount: Amount,
    /// Where it stands.
    pub state: OrderState,
    /// When it was made, in milliseconds since the Unix epoch.
    pub ordered_ms: u64,
    /// Deadline of the current state, in milliseconds since the Unix epoch.
    pub due_ms: u64,
}

impl Market {
    /// Orders this account made or received, newest first.
    pub async fn orders(&self) -> Result<Vec<OrderView>, ClientError> {
        let keys = self.network().scan_all(OrdersOf, &self.me().0).await?;
        let ids: Vec<OrderId> = keys
            .iter()
            .filter_map(|(key, _)| OrdersOf::parse(key).map(|(_, order)| order))
            .collect();
        let rows = self.network().rows_of(Orders, &ids).await?;
        let mut views: Vec<_> = ids
            .into_iter()
            .zip(rows)
            .filter_map(|(id, row)| {
                let row = row?;
                Some(OrderView {
                    id,
                    listing: row.listing,
                    buyer: row.buyer,
                    amount: row.amount,
                    state: row.state,
                    ordered_ms: row.ordered_ms,
                    due_ms: row.due_ms,
                })
            })
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.ordered_ms, view.id)));
        Ok(views)
    }

    /// Reads a file. What was bought is compared with what was listed, the first time all of it is read, and the
    /// seller is paid then.
    pub async fn get(
        &self,
        what: &Readable,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let resolved = self.resolve_paid(what).await?;
        let order = resolved.order;
        let mut report = self.fetch(resolved, sink, options, progress).await?;
        if let Some(order) = order.filter(|_| report.checked_root) {
            report.acknowledged = self.acknowledge_checked(&order).await?;
        }
        Ok(report)
    }

    /// Opens a file for reading, by its name or with a grant: see [`Library::open`](crate::Library::open).
    pub async fn open(&self, what: &Readable, progress: &Progress) -> Result<Reader, ClientError> {
        let resolved = self.resolve_paid(what).await?;
        self.reader(resolved.reading, resolved.place, progress)
    }

    /// What a name or grant stands for; refuses what was bought and of which the money is back.
    async fn resolve_paid(&self, what: &Readable) -> Result<Resolved, ClientError> {
        let resolved = self.resolve_now(what).await?;
        if let Some(order) = &resolved.order {
            let row = self.ledger().row_lately(Orders, order).await?;
            if row.is_some_and(|row| row.state == OrderState::Refunded) {
                return Err(ClientError::OrderRefunded(*order));
            }
        }
        Ok(resolved)
    }

    /// Tells the ledger that the data is what was listed: the seller is paid now.
    pub async fn acknowledge(&self, order: &OrderId) -> Result<(), ClientError> {
        let bought = *order;
        let used = self.local(move |local| local.purchase_custodians(&bought)).await?;
        let action = Action::Acknowledge { order: *order, custodians: used };
        let id = transaction_id("acknowledge", &order.0);
        match self.send(TransactionId(id.0), action).await {
            Ok(_) | Err(ClientError::LedgerRefused(Status::OrderClosed | Status::IdReused)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the ledger that the data is what was listed, unless that is settled already.
    async fn acknowledge_checked(&self, order: &OrderId) -> Result<Option<OrderId>, ClientError> {
        let row = self.ledger().row_lately(Orders, order).await?;
        let open = row.as_ref().is_some_and(|row| {
            row.buyer == self.me() && matches!(row.state, OrderState::Paid | OrderState::Delivered)
        });
        if !open {
            return Ok(None);
        }
        self.acknowledge(order).await?;
        Ok(Some(*order))
    }
}

impl Local {
    /// The custodians whose releases made the key of an order.
    fn purchase_custodians(&self, order: &OrderId) -> Result<Vec<u8>, ClientError> {
        let purchases = self.catalog().rows(Purchases)?;
        let found = purchases.into_iter().find(|entry| entry.order == *order);
        Ok(found.map(|entry| entry.custodians).unwrap_or_default())
    }
}
