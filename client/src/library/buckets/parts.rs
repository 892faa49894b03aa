//! Uploads in parts: parts come in any order and are stored as they come; completing an upload joins their ranges.
//!
//! Their rows belong to the index, since every device must know what an object is in use for.

use symbolon_protocol::Amount;
use tokio::io::AsyncRead;

use super::{
    Attribute, BucketName, Checksum, Etag, Expected, ItemKey, ItemOptions, ItemView, PartedId,
    VersionId, cut_ranges, extend_ranges, ordered,
    put::Where,
    rows::{NewRow, check_bucket, newest, put_row, version_row, waiting_bytes},
};
use crate::{
    catalog::{
        Batch, Editing, Entry, ItemContent, ItemPartEntry, ItemParts, ItemRange, Parted,
        PartedEntry, Shelf, Snapshot, Spot, Walk, item_row_key, part_row_key,
    },
    error::ClientError,
    library::{Library, Local, budget::Budget, digests::etag_of_parts},
    progress::Progress,
};

/// The greatest number of a part. The least is one.
const PART_MAX: u16 = 10_000;

/// An upload in parts that is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartedView {
    /// The item's key.
    pub key: ItemKey,
    /// The upload's id.
    pub id: PartedId,
    /// When it began, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// The attributes that the item will have.
    pub attributes: Vec<Attribute>,
}

/// A part that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartView {
    /// Its number, from 1 to 10,000.
    pub number: u16,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// The MD5 of its bytes. Of a part that was copied from a range of an item, a hash of where its bytes lie: reading them
    /// would move them.
    pub etag: [u8; 16],
    /// The sums over its bytes.
    pub checksums: Vec<Checksum>,
    /// Number of its bytes.
    pub length: u64,
}

/// An upload in parts: where the item will be, and the upload's id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Upload {
    bucket: BucketName,
    key: ItemKey,
    id: PartedId,
}

impl Upload {
    fn new((bucket, key, id): (&BucketName, &ItemKey, PartedId)) -> Self {
        Self { bucket: bucket.clone(), key: key.clone(), id }
    }

    fn row_key(&self) -> Vec<u8> {
        item_row_key(self.bucket.as_bytes(), self.key.as_bytes(), &self.id.0)
    }

    fn none(&self) -> ClientError {
        ClientError::NoUpload { id: self.id.to_string() }
    }

    fn row(&self, rows: &Editing<'_, '_>) -> Result<PartedEntry, ClientError> {
        rows.row(Parted, &self.row_key())?.ok_or_else(|| self.none())
    }

    /// The numbers of its parts.
    fn numbers(&self, rows: &mut Editing<'_, '_>) -> Result<Vec<u16>, ClientError> {
        let (head, mut numbers) = (Shelf::of_upload(&self.id.0), Vec::new());
        rows.walk(Spot::before(head.clone()), |entry| match number_of(&head, entry) {
            Some(number) => {
                numbers.push(number);
                Walk::Next
            }
            None => Walk::Stop,
        })?;
        Ok(numbers)
    }

    /// Removes the rows of the upload and of its parts.
    fn forget(&self, rows: &mut Editing<'_, '_>) -> Result<(), ClientError> {
        for number in self.numbers(rows)? {
            rows.remove(ItemParts, &part_row_key(&self.id.0, number))?;
        }
        rows.remove(Parted, &self.row_key())
    }
}

/// The number of a part in the order, if it belongs to the upload whose parts lie at `head`.
fn number_of(head: &[u8], entry: &Entry) -> Option<u16> {
    let number = entry.spot.key.strip_prefix(head)?;
    number.try_into().ok().map(u16::from_be_bytes)
}

fn check_number(number: u16) -> Result<(), ClientError> {
    match number {
        1..=PART_MAX => Ok(()),
        _ => Err(ClientError::Usage(format!("a part has a number from 1 to {PART_MAX}"))),
    }
}

impl Library {
    /// Begins an upload in parts.
    pub async fn begin_parts(
        &self,
        bucket: &BucketName,
        key: &ItemKey,
        attributes: Vec<Attribute>,
    ) -> Result<PartedId, ClientError> {
        let attributes = ordered(attributes)?;
        let id = PartedId(self.host().random());
        let upload = Upload::new((bucket, key, id));
        let begin = move |local: &Local| {
            local.catalog().edit(|rows| {
                check_bucket(rows, &upload.bucket)?;
                let made_ms = local.host().now_ms().0;
                rows.put(Parted, &upload.row_key(), &PartedEntry { made_ms, attributes })?;
                Ok(id)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(begin)).await
    }

    /// Stores a part. It replaces an earlier one with its number. Of the options, `expected`, `attributes` and `wait_max`
    /// say nothing here.
    pub async fn put_part(
        &self,
        upload: (&BucketName, &ItemKey, PartedId),
        number: u16,
        from: impl AsyncRead + Send + 'static,
        options: ItemOptions,
        progress: &Progress,
    ) -> Result<(PartView, Amount), ClientError> {
        check_number(number)?;
        let upload = Upload::new(upload);
        let budget = Budget::of(options.cost_max);
        let putting = async {
            let wanted = upload.clone();
            let look = move |local: &Local| local.catalog().edit(|rows| wanted.row(rows));
            self.local(look).await?;
            let label = format!("part {number} of {}", upload.key);
            let from = Box::pin(from);
            let came = self.take_bytes(label, from, (options, 0), &budget, progress);
            let came = Box::pin(came).await?;
            let (batch, ranges) = came.stored();
            let cost = came.cost();
            let part = ItemPartEntry {
                stored_ms: self.host().now_ms().0,
                etag: came.etag.md5,
                checksums: came.checksums.clone(),
                length: came.length,
                ranges,
            };
            let write = move |local: &Local| local.write_part(&upload, &batch, number, &part);
            let written = self.local(write).await;
            let view = match came.bytes {
                Where::Stored(uploaded, held) => self.settle(written, (*uploaded, held)).await?,
                Where::Here(_) => written?,
            };
            Ok((view, cost))
        };
        self.changing(&budget, progress, putting).await
    }

    /// Makes a part of `length` bytes of an item from byte `first` on. No byte moves, unless the item waits on this machine.
    pub async fn copy_part(
        &self,
        upload: (&BucketName, &ItemKey, PartedId),
        number: u16,
        (bucket, key, version): (&BucketName, &ItemKey, Option<VersionId>),
        (first, length): (u64, u64),
        source: Expected,
    ) -> Result<PartView, ClientError> {
        check_number(number)?;
        let (target, quiet) = (Upload::new(upload), Progress::silent());
        let from = (bucket.clone(), key.clone());
        let copy = move |local: &Local| {
            local.copy_part((&target, number), (&from.0, &from.1, version), (first, length), source)
        };
        let copied = self.changing(&Budget::default(), &quiet, self.local(copy)).await?;
        match copied {
            Copied::Part(view) => Ok(view),
            Copied::Waits(bytes) => {
                let (from, options) = (std::io::Cursor::new(bytes), ItemOptions::default());
                let put = self.put_part(upload, number, from, options, &quiet);
                Box::pin(put).await.map(|(view, _)| view)
            }
        }
    }

    /// Completes an upload: the item has the bytes of these parts, in this order. Each is named with its mark. All other
    /// parts are given up.
    pub async fn complete_parts(
        &self,
        upload: (&BucketName, &ItemKey, PartedId),
        parts: Vec<(u16, [u8; 16])>,
        expected: Expected,
        checksums: Vec<Checksum>,
    ) -> Result<ItemView, ClientError> {
        let upload = Upload::new(upload);
        let complete = move |local: &Local| {
            local.catalog().edit(|rows| {
                let PartedEntry { attributes, .. } = upload.row(rows)?;
                let content = joined(rows, &upload, &parts, checksums)?;
                upload.forget(rows)?;
                let Upload { bucket, key, .. } = upload;
                let waiting = None;
                let new = NewRow { bucket, key, expected, content, attributes, waiting };
                put_row(rows, local.host(), new)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(complete)).await
    }

    /// Gives an upload up, with all its parts.
    pub async fn abort_parts(
        &self,
        upload: (&BucketName, &ItemKey, PartedId),
    ) -> Result<(), ClientError> {
        let upload = Upload::new(upload);
        let abort = move |local: &Local| {
            local.catalog().edit(|rows| {
                upload.row(rows)?;
                upload.forget(rows)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(abort)).await
    }

    /// The parts of an upload with numbers above `after`, at most `limit`, in order.
    pub async fn parts(
        &self,
        upload: (&BucketName, &ItemKey, PartedId),
        (after, limit): (u16, usize),
    ) -> Result<(PartedView, Vec<PartView>), ClientError> {
        let upload = Upload::new(upload);
        self.read(move |local| local.parts(&upload, (after, limit))).await
    }

    /// The uploads in parts of a bucket whose keys begin with `prefix`, at most `limit`, by key and then by age. The page
    /// begins after the upload `after`.
    pub async fn parted(
        &self,
        bucket: &BucketName,
        prefix: &[u8],
        after: Option<(ItemKey, PartedId)>,
        limit: usize,
    ) -> Result<Vec<PartedView>, ClientError> {
        let (bucket, prefix) = (bucket.clone(), prefix.to_vec());
        self.read(move |local| local.parted((&bucket, &prefix), after, limit)).await
    }
}

/// What became of a copy of a part.
enum Copied {
    Part(PartView),
    /// The item waits on this machine, and these are the bytes.
    Waits(Vec<u8>),
}

/// The content of an item of these parts.
fn joined(
    rows: &Editing<'_, '_>,
    upload: &Upload,
    parts: &[(u16, [u8; 16])],
    checksums: Vec<Checksum>,
) -> Result<ItemContent, ClientError> {
    if parts.is_empty() || !parts.is_sorted_by(|one, next| one.0 < next.0) {
        return Err(ClientError::Usage(String::from(
            "an upload is completed with one part or more, in the order of their numbers",
        )));
    }
    let (mut ranges, mut lengths, mut length) = (Vec::new(), Vec::new(), 0_u64);
    for (number, etag) in parts {
        let row = rows.row(ItemParts, &part_row_key(&upload.id.0, *number))?;
        let row = row.filter(|row| row.etag == *etag);
        let row = row.ok_or(ClientError::NoPart { number: *number })?;
        extend_ranges(&mut ranges, row.ranges);
        lengths.push(row.length);
        length = length.saturating_add(row.length);
    }
    let etag: Etag = etag_of_parts(parts.iter().map(|(_, etag)| etag));
    Ok(ItemContent::Bytes { etag: Some(etag), checksums, parts: lengths, length, ranges })
}

/// The mark of a range that was copied: the one of the whole item if it is all of it.
fn etag_of_copy(whole: Option<Etag>, ranges: &[ItemRange]) -> [u8; 16] {
    if let Some(Etag { md5, parts: 0 }) = whole {
        return md5;
    }
    let mut hasher = blake3::Hasher::new();
    for range in ranges {
        hasher.update(&range.object.0);
        hasher.update(&range.first.to_le_bytes()).update(&range.length.to_le_bytes());
    }
    let mut etag = [0; 16];
    etag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    etag
}

fn part_view(number: u16, row: ItemPartEntry) -> PartView {
    let ItemPartEntry { stored_ms, etag, checksums, length, .. } = row;
    PartView { number, stored_ms, etag, checksums, length }
}

impl Local {
    /// Writes a part together with the rows of its object. Refuses one of an upload that has ended meanwhile.
    fn write_part(
        &self,
        upload: &Upload,
        batch: &Batch,
        number: u16,
        part: &ItemPartEntry,
    ) -> Result<PartView, ClientError> {
        self.catalog().edit(|rows| {
            upload.row(rows)?;
            rows.apply(batch)?;
            rows.put(ItemParts, &part_row_key(&upload.id.0, number), part)
        })?;
        Ok(part_view(number, part.clone()))
    }

    fn copy_part(
        &self,
        (upload, number): (&Upload, u16),
        (bucket, key, version): (&BucketName, &ItemKey, Option<VersionId>),
        (first, length): (u64, u64),
        source: Expected,
    ) -> Result<Copied, ClientError> {
        let stored_ms = self.host().now_ms().0;
        self.catalog().edit(|rows| {
            upload.row(rows)?;
            let place = (bucket, key);
            let row = match version {
                Some(version) => version_row(rows, place, version)?,
                None => newest(rows, place)?,
            };
            source.check(key, row.as_ref().map(|row| (row.version, &row.item)))?;
            let row = row.ok_or_else(|| ClientError::NoItem { key: key.to_string() })?;
            let ItemContent::Bytes { etag, length: whole, ref ranges, .. } = row.item.content
            else {
                return Err(ClientError::NoItem { key: key.to_string() });
            };
            let end = first.checked_add(length).filter(|end| *end <= whole);
            let end = end.ok_or_else(|| {
                ClientError::Usage(format!(
                    "{key} has {whole} bytes, and the range is outside them"
                ))
            })?;
            if row.waiting {
                let bytes = waiting_bytes(rows, place, row.version)?;
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                return Ok(Copied::Waits(bytes[at(first)..at(end)].to_vec()));
            }
            let ranges = cut_ranges(ranges, first, length);
            let etag = etag_of_copy(etag.filter(|_| length == whole), &ranges);
            let part = ItemPartEntry { stored_ms, etag, checksums: Vec::new(), length, ranges };
            rows.put(ItemParts, &part_row_key(&upload.id.0, number), &part)?;
            Ok(Copied::Part(part_view(number, part)))
        })
    }

    fn parts(
        &self,
        upload: &Upload,
        (after, limit): (u16, usize),
    ) -> Result<(PartedView, Vec<PartView>), ClientError> {
        let at = self.catalog().snapshot()?;
        let row = self.catalog().row_of(&at, Parted, &upload.row_key())?;
        let PartedEntry { made_ms, attributes } = row.ok_or_else(|| upload.none())?;
        let view = PartedView { key: upload.key.clone(), id: upload.id, made_ms, attributes };
        let (head, mut numbers) = (Shelf::of_upload(&upload.id.0), Vec::new());
        let from = Spot::behind([&head[..], &after.to_be_bytes()].concat());
        if 0 < limit {
            self.catalog().walk_of(&at, from, |entry| {
                numbers.extend(number_of(&head, entry));
                let more = entry.spot.key.starts_with(&head) && numbers.len() < limit;
                if more { Walk::Next } else { Walk::Stop }
            })?;
        }
        let part = |number: u16| {
            let row = self.catalog().row_of(&at, ItemParts, &part_row_key(&upload.id.0, number))?;
            Ok(row.map(|row| part_view(number, row)))
        };
        let parts: Result<Vec<_>, ClientError> = numbers.into_iter().map(part).collect();
        Ok((view, parts?.into_iter().flatten().collect()))
    }

    fn parted(
        &self,
        (bucket, prefix): (&BucketName, &[u8]),
        after: Option<(ItemKey, PartedId)>,
        limit: usize,
    ) -> Result<Vec<PartedView>, ClientError> {
        let at = self.catalog().snapshot()?;
        let head = Shelf::Parted.at(bucket.as_bytes(), prefix);
        let bare = Shelf::Parted.at(bucket.as_bytes(), b"").len();
        let first = Spot::before(head.clone());
        let from = match after {
            None => first,
            Some((key, id)) => self.behind_parted(&at, bucket, (key, id))?.max(first),
        };
        let mut found: Vec<Spot> = Vec::new();
        if 0 < limit {
            self.catalog().walk_of(&at, from, |entry| {
                if !entry.spot.key.starts_with(&head) {
                    return Walk::Stop;
                }
                found.push(entry.spot.clone());
                if found.len() < limit { Walk::Next } else { Walk::Stop }
            })?;
        }
        let mut views = Vec::with_capacity(found.len());
        for spot in found {
            let (key, id) = (ItemKey::new(&spot.key[bare..])?, PartedId(spot.id));
            let upload = Upload { bucket: bucket.clone(), key, id };
            if let Some(row) = self.catalog().row_of(&at, Parted, &upload.row_key())? {
                let PartedEntry { made_ms, attributes } = row;
                views.push(PartedView { key: upload.key, id, made_ms, attributes });
            }
        }
        Ok(views)
    }

    /// The spot behind an upload. If it is gone, the spot behind all uploads of its key.
    fn behind_parted(
        &self,
        at: &Snapshot,
        bucket: &BucketName,
        (key, id): (ItemKey, PartedId),
    ) -> Result<Spot, ClientError> {
        let upload = Upload { bucket: bucket.clone(), key, id };
        let place = Shelf::Parted.at(bucket.as_bytes(), upload.key.as_bytes());
        let row = self.catalog().row_of(at, Parted, &upload.row_key())?;
        Ok(match row {
            Some(row) => Spot { key: place, age: row.made_ms, id: id.0 }.next(),
            None => Spot::behind(place),
        })
    }
}
