//! Asks early for the rows and connections that a purchase will need, while its first requests are on their way: see
//! `library::ahead`.

use symbolon_protocol::{
    id::{ListingId, OrderId},
    ledger::rows::{Listing, Listings, Orders, Vaults},
};

use crate::{
    library::{Readable, ahead::missed},
    market::Market,
};

impl Market {
    /// Asks early for what reading begins with: see [`Library::ahead_of_get`](crate::Library::ahead_of_get). For a
    /// bought file it also asks for the order, which shows whether the money went back.
    pub async fn ahead_of_get(&self, what: &Readable) {
        let Ok((deal, order)) = self.first_deal(what).await else { return };
        let order = async {
            match order {
                Some(order) => self.ledger().row_lately(Orders, &order).await.map(drop),
                None => Ok(()),
            }
        };
        let ((), order) = tokio::join!(self.ahead_of_reading(&deal), order);
        if let Err(error) = order {
            missed("get", &error.into());
        }
    }

    /// Asks early for what buying begins with: the listing, the first order for it, and the balance.
    pub async fn ahead_of_buy(&self, listing: &ListingId) {
        self.network().greet_latest();
        let ledger = self.ledger();
        let opening = self.identity().order_opening(&ledger.chain(), listing, 0);
        let order = OrderId::of(&self.me(), &opening);
        let (listing, order, balance) = tokio::join!(
            ledger.row_lately(Listings, listing),
            ledger.row_lately(Orders, &order),
            self.balance_lately(),
        );
        let failed = listing.err().or(order.err()).map(Into::into);
        if let Some(error) = failed.or(balance.err()) {
            missed("buy", &error);
        }
    }

    /// Asks early for what follows the payment: the listing's vault, and connections to its custodians.
    pub(super) async fn ahead_of_release(&self, listing: &Listing) {
        let vault = self.ledger().row_lately(Vaults, &listing.terms.vault).await;
        let custodians = match vault {
            Ok(vault) => vault.map_or(Vec::new(), |vault| vault.custodians),
            Err(error) => return missed("release", &error.into()),
        };
        match self.network().places(&custodians).await {
            Ok(places) => self.network().peers().greet(places.into_iter().flatten().collect()),
            Err(error) => missed("release", &error.into()),
        }
    }
}
