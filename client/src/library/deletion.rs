//! Keeping the receipts that nodes sign when they delete the shards of a file whose deals are over.
//!
//! The deletion does not depend on them: a node learns from the ledger that a deal has ended, and deletes by itself.
//! Asking the node makes it delete now, and gives a signed receipt that the owner can hold the node to.

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
    /// Asks the nodes to delete the shards of a file whose deals are over, and keeps the receipts.
    pub(crate) async fn delete_shards(
        &self,
        manifest: &Manifest,
        key: &KeyBytes,
    ) -> Result<Deletion, ClientError> {
        let layout = Layout::new(manifest.scheme, manifest.length)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        let (me, key) = (self.me(), key.file_key());
        let deals = (0..layout.segments()).map(|segment| key.deal(&me, segment));
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
