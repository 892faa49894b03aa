//! Reads an item from the ranges of stored objects that its bytes are, one after the other.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use symbolon_protocol::content::Layout;

use super::{BucketName, ItemKey, ItemView, VersionId, cut_ranges};
use crate::{
    catalog::{ItemRange, ObjectEntry},
    download::{Groups, spans},
    error::ClientError,
    library::{Library, Local},
    progress::Progress,
};

/// Ranges of at most this many bytes are read cell by cell, and not by whole groups.
const NEAR_BYTES: u64 = 512 * 1024;

/// An item that is open for reading: the version that was there when it was opened, whatever is put meanwhile.
#[derive(Clone, Debug)]
pub struct ItemReader {
    library: Library,
    item: ItemView,
    ranges: Vec<ItemRange>,
    /// The bytes of an item that waits on this machine.
    waiting: Option<Bytes>,
}

impl ItemReader {
    /// The item.
    #[must_use]
    pub fn item(&self) -> &ItemView {
        &self.item
    }

    /// The bytes from `first` on, `length` of them, or fewer at the item's end.
    #[must_use]
    pub fn bytes(&self, first: u64, length: u64, progress: &Progress) -> ItemBytes {
        let (library, progress) = (self.library.clone(), progress.clone());
        let (mut left, mut here) = (VecDeque::new(), None);
        match &self.waiting {
            Some(bytes) => {
                let whole = bytes.len() as u64;
                let end = first.saturating_add(length).min(whole);
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
                here = Some(bytes.slice(at(first.min(end))..at(end)));
            }
            None => left = cut_ranges(&self.ranges, first, length).into(),
        }
        ItemBytes { library, key: self.item.key.clone(), progress, here, left, now: None }
    }
}

/// The bytes of an item as they arrive.
pub struct ItemBytes {
    library: Library,
    key: ItemKey,
    progress: Progress,
    /// Bytes that need no reading.
    here: Option<Bytes>,
    /// The ranges that come next.
    left: VecDeque<ItemRange>,
    /// The range that is being read.
    now: Option<Now>,
}

/// A range that is being read by whole groups.
struct Now {
    groups: Groups,
    layout: Layout,
    range: ItemRange,
    /// Bytes of the range that have arrived.
    got: u64,
}

impl fmt::Debug for ItemBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemBytes").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Now {
    /// The next bytes of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(group) = self.groups.next().await {
            let group = group?;
            let segment = self.layout.segment(group.segment).ok();
            let stripe = segment.and_then(|segment| segment.stripe(group.first_stripe));
            let start = stripe.map(|stripe| stripe.plain_start);
            let start = start.ok_or_else(|| outside("a group"))?;
            let (end, wanted) = (start + group.plain.len() as u64, self.range);
            let from = wanted.first.max(start);
            let to = (wanted.first + wanted.length).min(end);
            if from < to {
                self.got += to - from;
                let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
                return Ok(Some(Bytes::from(group.plain).slice(at(from)..at(to))));
            }
        }
        match self.got == self.range.length {
            true => Ok(None),
            false => Err(ClientError::Internal(String::from("a range was not read to its end"))),
        }
    }
}

fn outside(what: &str) -> ClientError {
    ClientError::Internal(format!("{what} of an item lies outside its object"))
}

impl ItemBytes {
    /// The next bytes, or nothing after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(bytes) = self.here.take().filter(|bytes| !bytes.is_empty()) {
                return Ok(Some(bytes));
            }
            if let Some(now) = &mut self.now {
                match now.next().await? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.now = None,
                }
            }
            let Some(range) = self.left.pop_front() else { return Ok(None) };
            let entry = self.library.own_object(&range.object).await?;
            let lost = || ClientError::Lost { name: self.key.to_string() };
            let entry: ObjectEntry = entry.ok_or_else(lost)?;
            let end = range.first.checked_add(range.length);
            let end = end.filter(|end| *end <= entry.manifest.length);
            let end = end.ok_or_else(|| outside("a range"))?;
            let reading = self.library.own_reading(&entry)?;
            if range.length <= NEAR_BYTES {
                let place = (range.first, range.length);
                let reader = self.library.reader(reading, place, &self.progress)?;
                self.here = Some(reader.read_at(0, range.length).await?.into());
                if self.here.as_ref().map(|bytes| bytes.len() as u64) != Some(range.length) {
                    return Err(outside("a range"));
                }
                continue;
            }
            let layout = entry.manifest.layout();
            let layout = layout.map_err(|error| ClientError::Index(error.to_string()))?;
            let (wanted, _) = spans(&layout, range.first, end, 0);
            let groups = self.library.network().read(reading, wanted, &self.progress);
            self.now = Some(Now { groups, layout, range, got: 0 });
        }
    }

    /// All the bytes that are left.
    pub async fn all(mut self) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        while let Some(bytes) = self.next().await? {
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }
}

impl Library {
    /// Opens a version of an item for reading, or its current one.
    pub async fn open_item(
        &self,
        bucket: &BucketName,
        key: &ItemKey,
        version: Option<VersionId>,
    ) -> Result<ItemReader, ClientError> {
        let (bucket, key) = (bucket.clone(), key.clone());
        let open = move |local: &Local| local.open_item((&bucket, &key), version);
        let (item, ranges, waiting) = self.read(open).await?;
        Ok(ItemReader { library: self.clone(), item, ranges, waiting })
    }
}

type Opened = (ItemView, Vec<ItemRange>, Option<Bytes>);

impl Local {
    fn open_item(
        &self,
        place: (&BucketName, &ItemKey),
        version: Option<VersionId>,
    ) -> Result<Opened, ClientError> {
        let at = self.catalog().snapshot()?;
        let row = self.item_row(&at, place, version)?;
        if row.item.is_tombstone() {
            return Err(ClientError::NoItem { key: place.1.to_string() });
        }
        let waiting = match row.waiting {
            true => Some(Bytes::from(self.waiting_bytes(&at, place, row.version)?)),
            false => None,
        };
        let latest = self.newest_id(&at, place)? == Some(row.version);
        let ranges = row.item.ranges().to_vec();
        Ok((ItemView { latest, ..row.view(place.1) }, ranges, waiting))
    }
}
