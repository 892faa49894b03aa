//! Orders: listing them, reading bought files, and telling the ledger that a file is the one that was listed.

use std::sync::Arc;

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    id::{AccountId, ListingId, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{ListingState, Order, OrderState, Orders, OrdersOf, Refund, Table, Vaults},
        transaction::Action,
    },
};

use crate::{
    catalog::Purchases,
    download::{LeavesWanted, Listed},
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
    /// Until when the buyer has access, in milliseconds since the Unix epoch.
    pub access_until_ms: LedgerTime,
    /// Why the buyer has the money back, if that is so.
    pub refund: Option<Refund>,
}

/// Everything about an order.
#[derive(Clone, Debug)]
pub struct OrderDetail {
    /// The order.
    pub view: OrderView,
    /// What is bought.
    pub title: String,
    /// The seller's account.
    pub seller: AccountId,
    /// The state of the listing.
    pub listing_state: ListingState,
    /// Releases of custodians on the ledger.
    pub releases: usize,
    /// How many of them open the key.
    pub required: usize,
    /// How long the buyer has to check a delivery, in milliseconds.
    pub window_ms: Millis,
    /// What the seller loses if the buyer proves that it is not what was listed.
    pub bond: Amount,
    /// The cell that nodes are asked for, and how many of its shards were answered for.
    pub asked: Option<(u64, usize)>,
    /// How often nodes were asked for a cell and gave it.
    pub given: u8,
}

fn view(id: OrderId, row: &Order) -> OrderView {
    OrderView {
        id,
        listing: row.listing,
        buyer: row.buyer,
        amount: row.amount,
        state: row.state,
        ordered_ms: row.ordered_ms,
        due_ms: row.due_ms,
        access_until_ms: row.access_until_ms,
        refund: row.refund,
    }
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
        let mut views: Vec<_> =
            ids.into_iter().zip(rows).filter_map(|(id, row)| Some(view(id, &row?))).collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.ordered_ms, view.id)));
        Ok(views)
    }

    /// Everything about one order.
    pub async fn order(&self, id: &OrderId) -> Result<OrderDetail, ClientError> {
        let row = self.ledger().row(Orders, id).await?.ok_or(ClientError::NoOrder(*id))?;
        let listing = self.own.row(&row.listing).await?;
        let vault = self.ledger().row_lately(Vaults, &listing.terms.vault).await?;
        Ok(OrderDetail {
            view: view(*id, &row),
            title: listing.terms.title,
            seller: listing.seller,
            listing_state: listing.state,
            releases: row.releases.len(),
            required: vault.map_or(0, |vault| vault.key.required()),
            window_ms: listing.terms.window_ms,
            bond: listing.terms.bond,
            asked: row.asked.map(|asked| (asked.cell, asked.answered.len())),
            given: row.given,
        })
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
        let order = resolved.bought;
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
        let mut resolved = self.resolve_now(what).await?;
        if let Some(order) = resolved.bought {
            let row = self.ledger().row_lately(Orders, &order).await?;
            match row {
                Some(row) if row.state == OrderState::Refunded => {
                    return Err(ClientError::OrderRefunded(order));
                }
                // Every cell can be disputed as long as the order is open.
                Some(row) if is_open(row.state) && row.buyer == self.me() => {
                    let listing = self.listing_lately(&row.listing).await?;
                    if let Ok(list) = self.leaves_of_purchase(&row.listing, &listing).await {
                        let listed = Arc::new(Listed { order, list });
                        resolved.reading.leaves = LeavesWanted::Listed(listed);
                    }
                }
                _ => {}
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

    /// Acknowledges an order that is open. Does nothing when the order is settled already.
    async fn acknowledge_checked(&self, order: &OrderId) -> Result<Option<OrderId>, ClientError> {
        let row = self.ledger().row_lately(Orders, order).await?;
        let open = row.filter(|row| row.buyer == self.me() && is_open(row.state));
        let Some(row) = open else { return Ok(None) };
        self.acknowledge(order).await?;
        self.local(move |local| local.forget_listed(&row.listing)).await;
        Ok(Some(*order))
    }
}

/// Whether an order binds its money.
pub(super) fn is_open(state: OrderState) -> bool {
    match state {
        OrderState::Paid | OrderState::Delivered | OrderState::Asked => true,
        OrderState::Settled | OrderState::Refunded => false,
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
