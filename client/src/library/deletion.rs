//! Keeping what the nodes sign about deleting the shards of a file whose deals are over.
//!
//! Nobody depends on it: a node learns from the ledger that a deal has ended and deletes by itself. Asking
//! makes it happen now, and leaves a word that the node can be held to.

use symbolon_protocol::{
    content::{Layout, Manifest},
    grant::ability,
};
use symbolon_transfer::delete::Deletion;

use crate::{
    catalog::{Batch, KeyBytes, Receipts},
    error::ClientError,
    library::Library,
};

impl Library {
    /// Has the shards of a file deleted whose deals are over, and keeps the receipts.
    pub(crate) async fn delete_shards(
        &self,
        manifest: &Manifest,
        key: &KeyBytes,
    ) -> Result<Deletion, ClientError> {
        let layout = Layout::new(manifest.scheme, manifest.length)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        let key = key.file_key();
        let deals = (0..layout.segments()).map(|segment| key.deal(segment));
        let grant = self.own_grant(manifest.object, ability::DELETE)?;
        let deletion = self.network().delete_shards(deals, &grant).await?;
        let mut batch = Batch::default();
        for receipt in &deletion.receipts {
            let place = [receipt.deal.0.as_slice(), &[receipt.index]].concat();
            batch.put(Receipts, &place, receipt);
        }
        self.local(move |local| local.catalog().write(&batch)).await?;
        Ok(deletion)
    }
}
