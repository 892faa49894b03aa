//! Orders: listing them, reading bought files, and telling the ledger that a file is the one that was listed.

use symbolon_protocol::{
    Amount, LedgerTime,
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
};

/// An order, as a program shows it.
#[derive(Clone, Debug)]
pub struct OrderView {
    /// The order's id.
    pub id: OrderId,
    /// The listing that is bought.
    pub listing: ListingId,
    /// The buyer's account.
    pub buyer: AccountId,
    /// The amount that is or was in escrow.
    pub amount: Amount,
    /// The state of the order.
    pub state: OrderState,
    /// When the order was placed, in milliseconds since the Unix epoch.
    pub ordered_ms: LedgerTime,
    /// Deadline of the current state, in milliseconds since the Unix epoch.
    pub due_ms: LedgerTime,
}

impl Market {
    /// The orders that this account made or received, newest first.
    pub async fn orders(&self) -> Result<Vec<OrderView>, ClientError> {
        let keys = self.network().scan_all(OrdersOf, &self.me().0).await?;
        let ids: Vec<OrderId> = keys
            .iter()
            .filter_map(|(key, _)| OrdersOf::parse(key).map(|(_, (_, order))| order))
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

    /// Reads a file. When a buyer first reads all of a bought file, the client compares it with the listing and
    /// acknowledges the order, and the seller is paid.
    pub async fn get(
        &self,
        what: &Readable,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let resolved = self.resolve_paid(what).await?;
        let order = resolved.order;
        let mut report = Box::pin(self.fetch(resolved, sink, options, progress)).await?;
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

    /// Resolves a name or grant. Refuses a bought file whose money went back to the buyer.
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

    /// Tells the ledger that the data is what was listed. The seller is paid now.
    pub async fn acknowledge(&self, order: &OrderId) -> Result<(), ClientError> {
        let bought = *order;
        let used = self.local(move |local| local.purchase_custodians(&bought)).await?;
        let action = Action::Acknowledge { order: *order, custodians: used };
        match self.send(TransactionId(self.host().random()), action).await {
            Ok(_) | Err(ClientError::LedgerRefused(Status::OrderClosed)) => Ok(()),
            Err(ClientError::LedgerRefused(Status::UnknownOrder)) => {
                Err(ClientError::NoOrder(*order))
            }
            Err(error) => Err(error),
        }
    }

    /// Acknowledges an order that is paid or delivered. Does nothing when the order is settled already.
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
    /// Numbers of the custodians whose releases made the key of an order.
    fn purchase_custodians(&self, order: &OrderId) -> Result<Vec<u8>, ClientError> {
        let purchases = self.catalog().rows(Purchases)?;
        let purchase = purchases.into_iter().find(|entry| entry.order == *order);
        Ok(purchase.map(|entry| entry.custodians).unwrap_or_default())
    }
}
