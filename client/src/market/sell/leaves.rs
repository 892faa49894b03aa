//! What a seller lists of every cell and every mask of a file: see `spec/market.md`, "Leaf list".

use symbolon_protocol::{dispute::LeafList, id::Hash};
use symbolon_transfer::shard::SLICE_STRIPES;

use super::layout;
use crate::{
    download::spans,
    error::ClientError,
    library::{get::parts_of, names::Found, upload::leaves::root_of},
    market::Market,
    progress::{Progress, Step},
};

impl Market {
    /// The leaf list of a file of this identity. It reads the file once, from the nodes that keep it: so it lists what
    /// buyers will get.
    pub(super) async fn leaf_list(
        &self,
        entry: &Found,
        progress: &Progress,
    ) -> Result<LeafList, ClientError> {
        progress.note("reading the file once, to list a hash of every cell");
        let manifest = entry.manifest().clone();
        let layout = layout(&manifest)?;
        let key = entry.object.key.file_key();
        let reading = self.own_reading(&entry.object)?;
        let (spans, _) = spans(&layout, 0, u64::MAX, 0);
        let mut groups = self.network().read(reading, spans, &Progress::silent());
        progress.step(Step::Planned { total_bytes: Some(manifest.length) });
        let mut parts = Vec::new();
        while let Some(group) = groups.next().await {
            let group = group?;
            let bytes = group.plain.len() as u64;
            let coder = manifest.coder(&key, group.segment);
            let coder = coder.map_err(|error| ClientError::Internal(error.to_string()))?;
            let number = group.first_stripe / SLICE_STRIPES;
            let of_group = move || parts_of(&coder, number, &group.plain);
            parts.extend(self.host().blocking(of_group).await?);
            progress.step(Step::Moved { bytes });
        }
        let list = LeafList::new(&key, &layout, parts);
        let leaves: Vec<Hash> = list.leaves().collect();
        if root_of(&leaves) != manifest.content_root {
            let why = "its cells do not lead to its content root".into();
            return Err(ClientError::Corrupt { segment: 0, why });
        }
        // The preview needs these next.
        let object = manifest.object;
        self.library.local(move |local| local.keep_leaves(&object, &leaves)).await?;
        Ok(list)
    }
}
