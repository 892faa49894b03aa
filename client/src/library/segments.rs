//! The stored segments for which caretakers may be named.

use symbolon_protocol::{
    content::{FileKey, MaskMode},
    id::{DealId, ObjectId},
};

use super::{Library, stored::deals_of};
use crate::{catalog::Objects, error::ClientError};

/// A stored segment whose shards have masks.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// The object.
    pub(crate) object: ObjectId,
    /// The segment's number.
    pub(crate) segment: u32,
    /// The segment's deal.
    pub(crate) deal: DealId,
    /// The object's key.
    pub(crate) key: FileKey,
}

/// Which objects are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// All of them.
    All,
    /// One.
    Object(ObjectId),
    /// Those that were stored since this time of the machine, in milliseconds since the Unix epoch.
    Since(u64),
}

impl Library {
    /// All stored segments of these objects whose shards have masks.
    pub(crate) async fn stored_segments(&self, which: Stored) -> Result<Vec<Segment>, ClientError> {
        let mut entries = self.local(|local| local.catalog().rows(Objects)).await?;
        entries.retain(|entry| {
            let manifest = &entry.manifest;
            let is_meant = match which {
                Stored::All => true,
                Stored::Object(object) => manifest.object == object,
                Stored::Since(since_ms) => since_ms <= entry.stored_ms,
            };
            manifest.mask != MaskMode::None && is_meant
        });
        let mut segments = Vec::new();
        for entry in entries {
            let deals = deals_of(&self.me(), &entry)?;
            segments.extend((0..).zip(deals).map(|(segment, deal)| Segment {
                object: entry.manifest.object,
                segment,
                deal,
                key: entry.key.file_key(),
            }));
        }
        Ok(segments)
    }
}
