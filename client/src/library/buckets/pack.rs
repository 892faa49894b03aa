//! Stores the small items that wait on this machine, many of them in one object, and gives up what no item uses.
//!
//! A pack is written to a nameless file and stored from there. Then one transaction gives all its items their ranges and
//! removes their bytes here. Until then they wait, so a crash loses none of them. The same items make the same pack, so a
//! pack that was cut short is continued.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use symbolon_protocol::{
    Amount,
    content::Scheme,
    id::{Hash, ObjectId},
};

use super::{BucketName, rows::forget_waiting};
use crate::{
    catalog::{
        Arrived, Editing, FileKind, ItemContent, ItemEntry, ItemParts, ItemRange, Items, Shelf,
        Spot, UploadEntry, Uploads, Waiting, WaitingTotal, Walk, split_bucket,
    },
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        source::{Opened, nameless},
        upload::{PutOptions, PutTerms, Replace, Request},
    },
    locks::NameLock,
    progress::Progress,
};

/// The lock and the journal key of packs. No name of a file has a zero byte.
pub(super) const PACKING: &[u8] = b"\0itempack";

/// The most bytes of a pack.
const PACK_BYTES_MAX: u64 = 64 << 20;

/// The most items of a pack. Their rows are written in one transaction.
const PACK_ITEMS_MAX: usize = 16_384;

/// The terms of a pack.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Only items of this bucket.
    pub bucket: Option<BucketName>,
    /// Number of epochs to pay for. Without a value, 30 days.
    pub epochs: Option<u64>,
    /// The limit for the cost.
    pub cost_max: Option<Amount>,
    /// The scheme. Without one, the client chooses the one that fits the network.
    pub scheme: Option<Scheme>,
}

/// What packing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackReport {
    /// Number of packs that were stored.
    pub packs: u64,
    /// Number of items in them.
    pub items: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// What was paid.
    pub cost: Amount,
}

/// What tidying did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TidyReport {
    /// Number of unfinished uploads that were given up.
    pub uploads: u64,
    /// Number of parts that were removed, since their upload has ended on another device.
    pub parts: u64,
    /// Number of packs that were stored anew, since items used less than half of them.
    pub packs: u64,
    /// Number of objects that no item and no name used.
    pub objects: u64,
    /// What came back for these objects.
    pub refunded: Amount,
}

/// An item that waits.
struct Waits {
    row_key: Vec<u8>,
    stamp: u64,
    length: u64,
}

/// A pack that is ready to be stored.
struct Built {
    opened: Opened,
    slot: Vec<u8>,
    /// Its items, with the offset of each.
    items: Vec<(Waits, u64)>,
    bytes: u64,
}

impl Library {
    /// Stores the small items that wait on this machine, the oldest first, until none waits.
    pub async fn pack_items(
        &self,
        options: &PackOptions,
        progress: &Progress,
    ) -> Result<PackReport, ClientError> {
        let budget = Budget::of(options.cost_max);
        let packing = self.pack_here(options, &budget, progress);
        self.changing(&budget, progress, Box::pin(packing)).await
    }

    async fn pack_here(
        &self,
        options: &PackOptions,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<PackReport, ClientError> {
        let _lock = self.lock(PACKING.to_vec(), String::from("small items")).await?;
        let mut report = PackReport::default();
        loop {
            let (bucket, spool) = (options.bucket.clone(), self.spool());
            let build = move |local: &Local| local.build_pack(bucket.as_ref(), &spool);
            let Some(built) = self.local(build).await? else { return Ok(report) };
            let PackOptions { epochs, scheme, .. } = *options;
            let plain = PutOptions { epochs, scheme, ..PutOptions::default() };
            let cost_max = budget.left();
            let plain = PutOptions { replace: Replace::Overwrite, cost_max, ..plain };
            let terms = PutTerms::new(&plain, &self.network().params().await?);
            self.end_other_packs(&built.slot).await?;
            let label = format!("{} small items", built.items.len());
            let request = Request::own(&built.slot, label, FileKind::ItemPack, &terms);
            let request = request.counting(budget.counter());
            let (items, bytes) = (built.items.len() as u64, built.bytes);
            let uploaded = Box::pin(self.upload(&request, built.opened, progress)).await?;
            let cost = uploaded.entry.cost;
            let settle = move |local: &Local| {
                let object = uploaded.entry.manifest.object;
                local.catalog().edit(|rows| {
                    rows.apply(&uploaded.batch())?;
                    built
                        .items
                        .iter()
                        .try_for_each(|(item, first)| place_item(rows, item, (object, *first)))
                })?;
                local.forget_leaves(&object);
                Ok::<_, ClientError>(())
            };
            self.local(settle).await?;
            report.packs += 1;
            report.items += items;
            report.bytes += bytes;
            report.cost = report.cost.checked_add(cost).unwrap_or(report.cost);
        }
    }

    /// Ends packs that were cut short and would hold other items.
    pub(super) async fn end_other_packs(&self, slot: &[u8]) -> Result<(), ClientError> {
        let uploads = self.local(|local| local.catalog().rows(Uploads)).await?;
        let is_other =
            |entry: &&UploadEntry| entry.kind == FileKind::ItemPack && entry.slot != slot;
        for entry in uploads.iter().filter(is_other) {
            Box::pin(self.end_upload(entry)).await?;
        }
        Ok(())
    }

    /// How many items wait on this machine, and how many bytes they have.
    pub async fn waiting_items(&self) -> Result<(u64, u64), ClientError> {
        let sum = self.local(|local| local.catalog().row(WaitingTotal, b"")).await?;
        Ok(sum.map_or((0, 0), |sum| (sum.items, sum.bytes)))
    }

    /// Gives up what no item uses: uploads that a crash or an error has cut short, parts of uploads that another device has
    /// ended, and objects without an item or a name. A gateway calls it now and then.
    pub async fn tidy_buckets(&self, progress: &Progress) -> Result<TidyReport, ClientError> {
        let budget = Budget::default();
        let tidying = async {
            let mut report = TidyReport::default();
            let uploads = self.local(|local| local.catalog().rows(Uploads)).await?;
            for entry in uploads.into_iter().filter(|entry| entry.kind == FileKind::Item) {
                // The lock of an upload that is under way is taken.
                let held: NameLock = match self.lock(entry.slot.clone(), entry.name.clone()).await {
                    Ok(held) => held,
                    Err(ClientError::Locked { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let slot = entry.slot.clone();
                let read = move |local: &Local| local.catalog().row(Uploads, &slot);
                // It may have been completed before the lock was free.
                if self.local(read).await?.is_some_and(|now| now.key == entry.key) {
                    Box::pin(self.end_upload(&entry)).await?;
                    report.uploads += 1;
                }
                drop(held);
            }
            report.parts = self.local(Local::drop_stray_parts).await?;
            report.packs = self.compact_items(progress).await?;
            let swept = Box::pin(self.sweep(progress)).await?;
            (report.objects, report.refunded) = (swept.objects.into(), swept.refunded);
            Ok(report)
        };
        self.changing(&budget, progress, tidying).await
    }
}

/// Gives an item that waited its range in a pack. An item that was removed or replaced meanwhile gets none, here or on another
/// device.
fn place_item(
    rows: &mut Editing<'_, '_>,
    waits: &Waits,
    (object, first): (ObjectId, u64),
) -> Result<(), ClientError> {
    let Some(mut item) = rows.row(Waiting, &waits.row_key)? else { return Ok(()) };
    // Attributes may have changed meanwhile. A version with another stamp has other bytes.
    let ItemContent::Bytes { ranges, .. } = &mut item.content else { return Ok(()) };
    if item.stamp != waits.stamp {
        return Ok(());
    }
    *ranges = vec![ItemRange { object, first, length: waits.length }];
    forget_waiting(rows, &waits.row_key)?;
    let stored = rows.row(Items, &waits.row_key)?;
    match stored.is_none_or(|stored| stored.stamp <= item.stamp) {
        true => rows.put(Items, &waits.row_key, &item),
        false => Ok(()),
    }
}

/// Writes bytes into a nameless file, one after another.
pub(super) struct Builder {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Builder {
    pub(super) fn new(spool: &Path) -> Result<Self, ClientError> {
        let file = nameless(spool, "items")?;
        Ok(Self { file, path: spool.to_owned(), hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Gives the offset of the bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64, ClientError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| ClientError::Io { path: self.path.clone(), source })?;
        self.hasher.update(bytes);
        let first = self.bytes;
        self.bytes += bytes.len() as u64;
        Ok(first)
    }

    /// The pack, and its journal key, which follows from its bytes.
    pub(super) fn finish(self) -> (Opened, Vec<u8>) {
        let (hash, length) = (Hash(*self.hasher.finalize().as_bytes()), self.bytes);
        let (file, path) = (Arc::new(self.file), self.path);
        (Opened::Spooled { file, path, hash, length }, [PACKING, &hash.0].concat())
    }
}

impl Local {
    /// Writes the next pack. Gives nothing if no item waits.
    fn build_pack(
        &self,
        bucket: Option<&BucketName>,
        spool: &Path,
    ) -> Result<Option<Built>, ClientError> {
        let at = self.catalog().snapshot()?;
        let mut waiting = self.waiting(bucket)?;
        waiting.sort_unstable_by(|one, other| {
            (one.stamp, &one.row_key).cmp(&(other.stamp, &other.row_key))
        });
        let (mut builder, mut items) = (Builder::new(spool)?, Vec::new());
        for item in waiting.into_iter().take(PACK_ITEMS_MAX) {
            if 0 < builder.bytes && PACK_BYTES_MAX < builder.bytes.saturating_add(item.length) {
                break;
            }
            let Some(bytes) = self.catalog().row_of(&at, Arrived, &item.row_key)? else { continue };
            if bytes.0.len() as u64 == item.length {
                let first = builder.append(&bytes.0)?;
                items.push((item, first));
            }
        }
        if items.is_empty() {
            return Ok(None);
        }
        let bytes = builder.bytes;
        let (opened, slot) = builder.finish();
        Ok(Some(Built { opened, slot, items, bytes }))
    }

    /// The items that wait, of one bucket or of all, in no order. There may be more: then these are packed first.
    fn waiting(&self, bucket: Option<&BucketName>) -> Result<Vec<Waits>, ClientError> {
        let mut out = Vec::new();
        self.catalog().each_keyed(Waiting, |row_key, item: ItemEntry| {
            let of_bucket = split_bucket(row_key).is_some_and(|(name, _)| {
                bucket.is_none_or(|bucket| bucket.as_str().as_bytes() == name)
            });
            if let ItemContent::Bytes { length, .. } = item.content
                && of_bucket
            {
                out.push(Waits { row_key: row_key.to_vec(), stamp: item.stamp, length });
            }
            out.len() < 4 * PACK_ITEMS_MAX
        })?;
        Ok(out)
    }

    /// Removes parts whose upload has no row.
    fn drop_stray_parts(&self) -> Result<u64, ClientError> {
        self.catalog().edit(|rows| {
            let (mut known, mut parts) = (BTreeSet::new(), Vec::new());
            rows.walk(Spot::before(vec![Shelf::Parted as u8]), |entry| {
                let key = entry.spot.key.as_slice();
                if key.starts_with(&[Shelf::Parted as u8]) {
                    known.insert(entry.spot.id);
                } else if let Some(part) = key.strip_prefix(&[Shelf::Parts as u8]) {
                    parts.push(part.to_vec());
                }
                Walk::Next
            })?;
            let is_stray = |part: &&Vec<u8>| {
                part.first_chunk::<16>().is_some_and(|upload| !known.contains(upload))
            };
            let stray: Vec<_> = parts.iter().filter(is_stray).collect();
            for part in &stray {
                rows.remove(ItemParts, part)?;
            }
            Ok(stray.len() as u64)
        })
    }
}
