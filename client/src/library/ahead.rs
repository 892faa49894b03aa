//! Requests that are sent early. A command asks for answers that it will surely need while its first requests are on
//! their way. A client that is far from the ledger then waits for one round trip instead of one for each request.
//!
//! Nothing is decided here, and no failure here fails a command. The code that needs an answer finds it known as of a
//! moment ago, or asks again and gets the error.

use symbolon_protocol::{
    content::Layout,
    id::{DealId, OrderId},
};

use crate::{
    error::ClientError,
    library::{
        Library,
        get::{Readable, Resolved},
    },
};

/// Logs that a request could not be sent early.
pub(crate) fn missed(what: &str, error: &ClientError) {
    tracing::debug!(what, %error, "an early request failed");
}

impl Library {
    /// Asks early for what storing begins with: the nodes that answer, and the balance.
    pub async fn ahead_of_put(&self) {
        self.network().greet_latest();
        let survey = self.network().ahead_of_upload();
        let (survey, balance) = tokio::join!(survey, self.balance_lately());
        if let Some(error) = survey.err().map(Into::into).or(balance.err()) {
            missed("put", &error);
        }
    }

    /// Asks early for what reading begins with: the deal of the first segment, and connections to nodes that may keep
    /// it.
    pub async fn ahead_of_get(&self, what: &Readable) {
        if let Ok((deal, _)) = self.first_deal(what).await {
            self.ahead_of_reading(&deal).await;
        }
    }

    /// Does the same for a known deal.
    pub(crate) async fn ahead_of_reading(&self, deal: &DealId) {
        self.network().greet_likely_for(deal);
        if let Err(error) = self.network().deal_lately(deal).await {
            missed("get", &error.into());
        }
    }

    /// The deal of the first segment that a read needs, and the order that a bought file came from, as far as this
    /// machine knows them.
    pub(crate) async fn first_deal(
        &self,
        what: &Readable,
    ) -> Result<(DealId, Option<OrderId>), ClientError> {
        let Resolved { reading, bought, place: (first, _), .. } = self.resolve(what).await?;
        let full = Layout::full_segment(reading.manifest.scheme, 0);
        let full = full.map_err(|error| ClientError::Internal(error.to_string()))?;
        let segment = u32::try_from(first / full.plain_length).unwrap_or(u32::MAX);
        Ok((reading.deal(segment), bought))
    }
}
