//! What a command is going to ask for anyway, asked for while its first questions are on their way: who is far
//! away waits for a round trip once instead of once for each question.
//!
//! Nothing is decided here, and nothing that fails here fails a command: whoever needs an answer finds it known
//! as of a moment ago, or asks again and gets the error.

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

/// Says for whom looks that something could not be asked ahead.
pub(crate) fn missed(what: &str, error: &ClientError) {
    tracing::debug!(what, %error, "nothing could be asked ahead");
}

impl Library {
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
        if let Ok((deal, _)) = self.first_deal(what).await {
            self.ahead_of_reading(&deal).await;
        }
    }

    /// The same, once it is known which deal that is.
    pub(crate) async fn ahead_of_reading(&self, deal: &DealId) {
        self.network().greet_likely_for(deal);
        if let Err(error) = self.network().deal_lately(deal).await {
            missed("get", &error.into());
        }
    }

    /// The first deal that is read of a file, as far as this machine knows it, and the order it was bought with.
    pub(crate) async fn first_deal(
        &self,
        what: &Readable,
    ) -> Result<(DealId, Option<OrderId>), ClientError> {
        let Resolved { reading, order, place: (first, _), .. } = self.resolve(what).await?;
        let full = Layout::full_segment(reading.manifest.scheme, 0);
        let full = full.map_err(|error| ClientError::Internal(error.to_string()))?;
        let segment = u32::try_from(first / full.plain_length).unwrap_or(u32::MAX);
        Ok((reading.key.deal(segment), order))
    }
}
