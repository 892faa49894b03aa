//! The stored segments for which caretakers may be named.

use std::collections::BTreeSet;

use symbolon_protocol::{
    content::{FileKey, MaskMode},
    id::{DealId, ObjectId},
};

use super::{Library, names::Name, stored::deals_of};
use crate::{
    catalog::{Batch, ObjectEntry, Objects, Uncared, UncaredEntry},
    error::ClientError,
};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// All of them.
    All,
    /// One.
    Object(ObjectId),
    /// Those that were stored since this time of the machine, in milliseconds since the Unix epoch.
    Since(u64),
    /// These.
    These(BTreeSet<ObjectId>),
}

impl Stored {
    fn has(&self, entry: &ObjectEntry) -> bool {
        match self {
            Self::All => true,
            Self::Object(object) => entry.manifest.object == *object,
            Self::Since(since_ms) => *since_ms <= entry.stored_ms,
            Self::These(objects) => objects.contains(&entry.manifest.object),
        }
    }
}

impl Library {
    /// The objects of the files with these names. Small files share one. Names of folders and links count for nothing.
    pub async fn objects_under(&self, names: &[Name]) -> Result<BTreeSet<ObjectId>, ClientError> {
        let names = names.to_vec();
        self.local(move |local| {
            let mut objects = BTreeSet::new();
            for name in &names {
                match local.find(name) {
                    Ok(found) => drop(objects.insert(found.object.manifest.object)),
                    Err(ClientError::NotAFile { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(objects)
        })
        .await
    }

    /// Notes on this machine whether objects may have caretakers. Without that note, the next look would name them again.
    pub async fn allow_care(&self, which: &Stored, allowed: bool) -> Result<(), ClientError> {
        let which = which.clone();
        self.local(move |local| {
            let entries = local.catalog().rows(Objects)?;
            let known: BTreeSet<ObjectId> =
                entries.iter().map(|entry| entry.manifest.object).collect();
            let mut batch = Batch::default();
            for entry in entries.iter().filter(|entry| which.has(entry)) {
                let object = entry.manifest.object;
                match allowed {
                    true => batch.remove(Uncared, &object.0),
                    false => batch.put(Uncared, &object.0, &UncaredEntry { object }),
                }
            }
            // What is stored no longer needs no note.
            let gone = local.catalog().rows(Uncared)?.into_iter().map(|row| row.object);
            for object in gone.filter(|object| !known.contains(object)) {
                batch.remove(Uncared, &object.0);
            }
            local.catalog().write(&batch)
        })
        .await
    }

    /// The objects that are to have no caretakers.
    pub(crate) async fn uncared(&self) -> Result<BTreeSet<ObjectId>, ClientError> {
        let rows = self.local(|local| local.catalog().rows(Uncared)).await?;
        Ok(rows.into_iter().map(|row| row.object).collect())
    }

    /// All stored segments of these objects whose shards have masks.
    pub(crate) async fn stored_segments(&self, which: Stored) -> Result<Vec<Segment>, ClientError> {
        let mut entries = self.local(|local| local.catalog().rows(Objects)).await?;
        entries.retain(|entry| entry.manifest.mask != MaskMode::None && which.has(entry));
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
