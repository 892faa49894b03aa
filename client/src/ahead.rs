//! What a command is going to ask for anyway, asked for while its first questions are on their way: who is far
//! away waits for a round trip once instead of once for each question.
//!
//! Nothing is decided here, and nothing that fails here fails a command: whoever needs an answer finds it known
//! as of a moment ago, or asks again and gets the error.

use symbolon_protocol::{
    content::Layout,
    id::{DealId, ListingId, OrderId},
    ledger::rows::{Listing, Listings, Orders, Vaults},
};

use crate::{
    Client, Local,
    error::ClientError,
    get::{Readable, Resolved},
};

fn missed(what: &str, error: &ClientError) {
    tracing::debug!(what, %error, "nothing could be asked ahead");
}

impl Client {
    /// What storing begins with: which nodes answer, and the balance.
    pub async fn ahead_of_put(&self) {
        self.network().greet_latest();
        let survey = self.network().ahead_of_upload();
        let (survey, balance) = tokio::join!(survey, self.balance_lately());
        if let Some(error) = survey.err().map(Into::into).or(balance.err()) {
            missed("put", &error);
        }
    }

    /// What reading begins with: the deal of the first segment that is read, and connections to nodes that may
    /// keep it.
    pub async fn ahead_of_get(&self, what: &Readable) {
        let what = what.clone();
        let first = self.local(move |local| local.first_deal(&what)).await;
        let Ok((deal, order)) = first else { return };
        self.network().greet_likely_for(&deal);
        let order = async {
            match order {
                Some(order) => self.ledger().row_lately(Orders, &order).await.map(drop),
                None => Ok(()),
            }
        };
        let (deal, order) = tokio::join!(self.network().deal_lately(&deal), order);
        if let Some(error) = deal.err().map(Into::into).or(order.err().map(Into::into)) {
            missed("get", &error);
        }
    }

    /// What buying begins with: the listing, whether it was bought before, and the balance.
    pub async fn ahead_of_buy(&self, listing: &ListingId) {
        self.network().greet_latest();
        let ledger = self.ledger();
        let order = self.identity().order_id(&ledger.chain(), listing, 0);
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

    /// What comes after paying: the listing's vault, and connections to its custodians.
    pub(crate) async fn ahead_of_release(&self, listing: &Listing) {
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

impl Local {
    /// The first deal that is read of a file, as far as this machine knows it, and the order it was bought with.
    fn first_deal(&self, what: &Readable) -> Result<(DealId, Option<OrderId>), ClientError> {
        let Resolved { reading, order, place: (first, _), .. } = self.resolve_here(what)?;
        let full = Layout::full_segment(reading.manifest.scheme, 0);
        let full = full.map_err(|error| ClientError::Internal(error.to_string()))?;
        let segment = u32::try_from(first / full.plain_length).unwrap_or(u32::MAX);
        Ok((reading.key.deal(segment), order))
    }
}
