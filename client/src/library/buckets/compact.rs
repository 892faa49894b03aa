//! Stores packs of items anew that are mostly dead: the ranges that are in use go into a new pack, and one transaction gives
//! all rows the new ranges. Then no row uses the old pack, and it is given up.

use std::{collections::BTreeMap, sync::Arc};

use symbolon_protocol::id::ObjectId;

use super::pack::{Builder, PACKING};
use crate::{
    catalog::{
        FileKind, ItemContent, ItemEntry, ItemPartEntry, ItemParts, ItemRange, Items, ObjectEntry,
        Watch,
    },
    error::{ClientError, ErrorKind},
    library::{
        Library, Local,
        folder::ranges::{RangeSink, Wanted},
        names::{Found, Name},
        source::{FileMetadata, PLAIN_MODE},
        upload::{PutTerms, Request},
    },
    progress::Progress,
};

/// The least number of dead bytes for which a pack is stored anew: a new deal costs something too.
const DEAD_BYTES_MIN: u64 = 256 * 1024;

/// The ranges of a pack that are in use, and the keys of the rows that use them.
#[derive(Default)]
struct Used {
    ranges: BTreeMap<(u64, u64), u64>,
    items: Vec<Vec<u8>>,
    parts: Vec<Vec<u8>>,
}

impl Used {
    /// Whether any of these ranges is of the pack. Notes those that are.
    fn note(&mut self, pack: &ObjectId, ranges: &[ItemRange]) -> bool {
        let mut any = false;
        for range in ranges.iter().filter(|range| range.object == *pack) {
            self.ranges.insert((range.first, range.length), 0);
            any = true;
        }
        any
    }
}

/// Writes ranges into a new pack as their bytes arrive.
struct Rebuild {
    builder: Builder,
    /// The offset of each range in the new pack.
    placed: BTreeMap<usize, u64>,
    bytes: Vec<u8>,
    error: Option<ClientError>,
}

impl RangeSink for Rebuild {
    fn take(&mut self, number: usize, bytes: &[u8], last: bool) {
        self.bytes.extend_from_slice(bytes);
        if last {
            match self.builder.append(&self.bytes) {
                Ok(first) => drop(self.placed.insert(number, first)),
                Err(error) => self.error = Some(error),
            }
            self.bytes.clear();
        }
    }
}

impl Library {
    /// Stores mostly dead packs anew. Gives their number. A failure is only noted: the next call tries again.
    pub(super) async fn compact_items(&self, progress: &Progress) -> Result<u64, ClientError> {
        let watched = self.local(|local| local.catalog().watched()).await?;
        let mut done = 0;
        for watch in watched {
            let Watch::Sparse(entry) = watch else { continue };
            if entry.kind != FileKind::ItemPack || entry.manifest.length < DEAD_BYTES_MIN {
                continue;
            }
            match Box::pin(self.compact_pack_of_items(*entry, progress)).await {
                Ok(()) => done += 1,
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => progress.note(format!("a pack could not be compacted: {error}")),
            }
        }
        Ok(done)
    }

    async fn compact_pack_of_items(
        &self,
        entry: ObjectEntry,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let _lock = self.lock(PACKING.to_vec(), String::from("small items")).await?;
        progress.note("compacting a pack of which less than half is in use");
        let pack = entry.manifest.object;
        let mut used = self.local(move |local| local.used_of(&pack)).await?;
        let (spool, label) = (self.spool(), format!("pack {pack}"));
        let builder = self.host().blocking(move || Builder::new(&spool)).await?;
        let each = used.ranges.keys().enumerate();
        let wanted =
            each.map(|(number, (first, length))| Wanted { number, first: *first, length: *length });
        let wanted = wanted.collect();
        // The account has not agreed to a cost. So the new pack may cost at most what comes back for the old one.
        let cost_max = Some(self.refund_of(&entry).await?);
        let options = PutTerms { cost_max, ..self.rest_of(&label, &entry).await? };
        let whole = Found {
            name: Name::new(label.as_bytes())?,
            stored_ms: entry.stored_ms,
            first: 0,
            length: entry.manifest.length,
            metadata: FileMetadata { mode: PLAIN_MODE, modified_ns: 0 },
            right: None,
            object: Arc::new(entry),
        };
        let (placed, bytes, error) = (BTreeMap::new(), Vec::new(), None);
        let rebuild = Rebuild { builder, placed, bytes, error };
        let (rebuild, read) = self.read_ranges(&whole, wanted, rebuild, progress).await;
        read?;
        let Rebuild { builder, placed, error, .. } = rebuild;
        error.map_or(Ok(()), Err)?;
        for (number, new) in used.ranges.values_mut().enumerate() {
            let place = placed.get(&number).copied();
            let lacks = || ClientError::Internal(String::from("a pack was not read to its end"));
            *new = place.ok_or_else(lacks)?;
        }
        let (opened, slot) = builder.finish();
        self.end_other_packs(&slot).await?;
        let request = Request::own(&slot, label, FileKind::ItemPack, &options);
        let uploaded = Box::pin(self.upload(&request, opened, progress)).await?;
        let settle = move |local: &Local| {
            let new = uploaded.entry.manifest.object;
            local.catalog().edit(|rows| {
                rows.apply(&uploaded.batch())?;
                for key in &used.items {
                    let Some(mut item): Option<ItemEntry> = rows.row(Items, key)? else { continue };
                    if let ItemContent::Bytes { ranges, .. } = &mut item.content {
                        relocate(ranges, (pack, new), &used.ranges);
                    }
                    rows.put(Items, key, &item)?;
                }
                for key in &used.parts {
                    let part: Option<ItemPartEntry> = rows.row(ItemParts, key)?;
                    let Some(mut part) = part else { continue };
                    relocate(&mut part.ranges, (pack, new), &used.ranges);
                    rows.put(ItemParts, key, &part)?;
                }
                Ok(())
            })?;
            local.forget_leaves(&new);
            Ok::<_, ClientError>(())
        };
        self.local(settle).await
    }
}

/// Replaces ranges of the old pack by those of the new one. A range that is not known stays: then the old pack stays too.
fn relocate(
    ranges: &mut [ItemRange],
    (old, new): (ObjectId, ObjectId),
    placed: &BTreeMap<(u64, u64), u64>,
) {
    for range in ranges.iter_mut().filter(|range| range.object == old) {
        if let Some(first) = placed.get(&(range.first, range.length)) {
            (range.object, range.first) = (new, *first);
        }
    }
}

impl Local {
    /// Reads all rows of items and parts, and gives what they use of a pack.
    fn used_of(&self, pack: &ObjectId) -> Result<Used, ClientError> {
        let mut used = Used::default();
        self.catalog().each_keyed(Items, |key, item: ItemEntry| {
            if used.note(pack, item.ranges()) {
                used.items.push(key.to_vec());
            }
            true
        })?;
        self.catalog().each_keyed(ItemParts, |key, part: ItemPartEntry| {
            if used.note(pack, &part.ranges) {
                used.parts.push(key.to_vec());
            }
            true
        })?;
        Ok(used)
    }
}
