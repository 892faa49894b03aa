//! Rows of buckets: what is read and written in one transaction.

use symbolon_net::Host;

use super::{
    BucketName, Expected, ItemKey, ItemMark, ItemView, SETTINGS_BYTES_MAX, Setting, VersionId,
    Versions, ordered,
};
use crate::{
    catalog::{
        Arrived, Attribute, Batch, BucketEntry, Buckets, Editing, Entry, ItemContent, ItemEntry,
        Items, Shelf, Snapshot, Spot, Waiting, WaitingBytes, WaitingSum, WaitingTotal,
        item_row_key,
    },
    error::ClientError,
    library::{Library, Local, budget::Budget},
    progress::Progress,
};

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketView {
    /// Its name.
    pub name: BucketName,
    /// How often it was changed. A change names the number that it has seen.
    pub revision: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// Whether it keeps versions.
    pub versions: Versions,
    /// What a program keeps with it.
    pub settings: Vec<Setting>,
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedItem {
    /// The version that is gone, or the tombstone that was added. Nothing if there was nothing to remove.
    pub version: Option<VersionId>,
    /// Whether that version is a tombstone.
    pub tombstone: bool,
}

/// A version of an item that is to be written.
#[derive(Clone, Debug)]
pub(super) struct NewRow {
    pub(super) bucket: BucketName,
    pub(super) key: ItemKey,
    pub(super) expected: Expected,
    pub(super) content: ItemContent,
    pub(super) attributes: Vec<Attribute>,
    /// The bytes, if they wait on this machine.
    pub(super) waiting: Option<Vec<u8>>,
}

/// A version as its rows have it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) version: VersionId,
    pub(super) item: ItemEntry,
    /// Whether its bytes wait on this machine.
    pub(super) waiting: bool,
}

impl Row {
    /// Of a version that waits and a stored one with the same id, the newer one. The id is the null version's: another
    /// device may have put that meanwhile.
    pub(super) fn newer(
        version: VersionId,
        waiting: Option<ItemEntry>,
        stored: Option<ItemEntry>,
    ) -> Option<Self> {
        let stamp = stored.as_ref().map_or(0, |item| item.stamp);
        match waiting.filter(|item| stamp <= item.stamp) {
            Some(item) => Some(Self { version, item, waiting: true }),
            None => stored.map(|item| Self { version, item, waiting: false }),
        }
    }

    pub(super) fn view(self, key: &ItemKey) -> ItemView {
        ItemView::new((key.clone(), self.version), self.item, self.waiting)
    }
}

fn no_bucket(bucket: &BucketName) -> ClientError {
    ClientError::NoBucket { name: bucket.to_string() }
}

fn no_item(key: &ItemKey) -> ClientError {
    ClientError::NoItem { key: key.to_string() }
}

/// Refuses a bucket that does not exist.
pub(super) fn check_bucket(
    rows: &Editing<'_, '_>,
    bucket: &BucketName,
) -> Result<BucketEntry, ClientError> {
    rows.row(Buckets, bucket.as_bytes())?.ok_or_else(|| no_bucket(bucket))
}

/// One version of an item.
pub(super) fn version_row(
    rows: &Editing<'_, '_>,
    (bucket, key): (&BucketName, &ItemKey),
    version: VersionId,
) -> Result<Option<Row>, ClientError> {
    let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
    let (waiting, stored) = (rows.row(Waiting, &row_key)?, rows.row(Items, &row_key)?);
    Ok(Row::newer(version, waiting, stored))
}

/// The newest version of an item, which may be a tombstone.
pub(super) fn newest(
    rows: &mut Editing<'_, '_>,
    (bucket, key): (&BucketName, &ItemKey),
) -> Result<Option<Row>, ClientError> {
    let place = Shelf::Items.at(bucket.as_bytes(), key.as_bytes());
    let entry: Option<Entry> = rows.first_at(Spot::before(place.clone()))?;
    let Some(entry) = entry.filter(|entry| entry.spot.key == place) else { return Ok(None) };
    version_row(rows, (bucket, key), VersionId(entry.spot.id))
}

/// Writes a version of an item, if what is there is as expected.
pub(super) fn put_row(
    rows: &mut Editing<'_, '_>,
    host: &Host,
    new: NewRow,
) -> Result<ItemView, ClientError> {
    let NewRow { bucket, key, expected, content, attributes, waiting } = new;
    let place = (&bucket, &key);
    let versions = check_bucket(rows, &bucket)?.versions;
    let now = newest(rows, place)?;
    expected.check(&key, now.as_ref().map(|row| (row.version, &row.item)))?;
    let stored_ms = host.now_ms().0;
    // A clock that was set back makes no version older than one that was there before it.
    let stamp = now.map_or(0, |row| row.item.stamp.saturating_add(1)).max(stored_ms);
    let version = match versions {
        Versions::Never | Versions::Paused => VersionId::NULL,
        Versions::Kept => fresh_id(stamp, host),
    };
    let item = ItemEntry { stamp, revision: 0, stored_ms, content, attributes };
    if !item.fits() {
        return Err(ClientError::Usage(String::from(
            "an item of so many parts has no room in a row",
        )));
    }
    let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
    let is_waiting = waiting.is_some();
    match waiting {
        // The null version before it stays on the network until this one is there too.
        Some(bytes) => {
            forget_waiting(rows, &row_key)?;
            count_waiting(rows, |sum| {
                (sum.items, sum.bytes) = (sum.items + 1, sum.bytes + bytes.len() as u64);
            })?;
            rows.put(Waiting, &row_key, &item)?;
            rows.put(Arrived, &row_key, &WaitingBytes(bytes))?;
        }
        None => {
            forget_waiting(rows, &row_key)?;
            rows.put(Items, &row_key, &item)?;
        }
    }
    Ok(ItemView::new((key, version), item, is_waiting))
}

/// The bytes of a version that waits.
pub(super) fn waiting_bytes(
    rows: &Editing<'_, '_>,
    (bucket, key): (&BucketName, &ItemKey),
    version: VersionId,
) -> Result<Vec<u8>, ClientError> {
    let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
    let bytes = rows.row(Arrived, &row_key)?;
    bytes.map(|bytes| bytes.0).ok_or_else(|| no_bytes(key))
}

fn no_bytes(key: &ItemKey) -> ClientError {
    ClientError::Index(format!("the bytes of item {key} are missing"))
}

/// Removes the rows of a version that waits, if it does.
pub(super) fn forget_waiting(
    rows: &mut Editing<'_, '_>,
    row_key: &[u8],
) -> Result<(), ClientError> {
    if let Some(item) = rows.row(Waiting, row_key)? {
        rows.remove(Waiting, row_key)?;
        rows.remove(Arrived, row_key)?;
        let length = match item.content {
            ItemContent::Bytes { length, .. } => length,
            ItemContent::Tombstone => 0,
        };
        count_waiting(rows, |sum| {
            sum.items = sum.items.saturating_sub(1);
            sum.bytes = sum.bytes.saturating_sub(length);
        })?;
    }
    Ok(())
}

fn count_waiting(
    rows: &mut Editing<'_, '_>,
    change: impl FnOnce(&mut WaitingSum),
) -> Result<(), ClientError> {
    let mut sum = rows.row(WaitingTotal, b"")?.unwrap_or_default();
    change(&mut sum);
    rows.put(WaitingTotal, b"", &sum)
}

/// A version's id: its stamp, so that later ids are greater, and a number that was drawn.
fn fresh_id(stamp: u64, host: &Host) -> VersionId {
    let (stamp, drawn): (_, [u8; 8]) = (stamp.to_be_bytes(), host.random());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&stamp);
    id[8..].copy_from_slice(&drawn);
    VersionId(id)
}

/// Removes the rows of one version.
fn remove_rows(
    rows: &mut Editing<'_, '_>,
    (bucket, key): (&BucketName, &ItemKey),
    version: VersionId,
) -> Result<Option<Row>, ClientError> {
    let row = version_row(rows, (bucket, key), version)?;
    let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
    forget_waiting(rows, &row_key)?;
    rows.remove(Items, &row_key)?;
    Ok(row)
}

impl Library {
    /// Makes a bucket.
    pub async fn make_bucket(
        &self,
        name: &BucketName,
        versions: Versions,
        settings: Vec<Setting>,
    ) -> Result<BucketView, ClientError> {
        let bucket = name.clone();
        let make = move |local: &Local| {
            local.catalog().edit(|rows| {
                if rows.row(Buckets, bucket.as_bytes())?.is_some() {
                    return Err(ClientError::Exists { name: bucket.to_string() });
                }
                let made_ms = local.host().now_ms().0;
                let name = bucket.as_bytes().to_vec();
                let row = BucketEntry { name, revision: 0, made_ms, versions, settings };
                put_bucket(rows, &row)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(make)).await
    }

    /// Changes what a bucket is set to, if it has not changed since it had `revision`. A bucket that keeps versions can
    /// pause that, and never becomes one that never did.
    pub async fn change_bucket(
        &self,
        name: &BucketName,
        revision: u64,
        (versions, settings): (Versions, Vec<Setting>),
    ) -> Result<BucketView, ClientError> {
        let bucket = name.clone();
        let change = move |local: &Local| {
            local.catalog().edit(|rows| {
                let mut row = check_bucket(rows, &bucket)?;
                if row.revision != revision {
                    return Err(ClientError::NotAsExpected { key: bucket.to_string() });
                }
                if versions == Versions::Never && row.versions != Versions::Never {
                    return Err(ClientError::Usage(String::from(
                        "a bucket that has kept versions can only pause that",
                    )));
                }
                (row.revision, row.versions, row.settings) = (revision + 1, versions, settings);
                put_bucket(rows, &row)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(change)).await
    }

    /// Removes a bucket. Refuses one that has items, versions of removed items, or uploads in parts.
    pub async fn remove_bucket(&self, name: &BucketName) -> Result<(), ClientError> {
        let bucket = name.clone();
        let remove = move |local: &Local| {
            local.catalog().edit(|rows| {
                check_bucket(rows, &bucket)?;
                for shelf in [Shelf::Items, Shelf::Parted] {
                    let first = shelf.at(bucket.as_bytes(), b"");
                    let entry = rows.first_at(Spot::before(first.clone()))?;
                    if entry.is_some_and(|entry| entry.spot.key.starts_with(&first)) {
                        return Err(ClientError::NotEmpty { name: bucket.to_string() });
                    }
                }
                rows.remove(Buckets, bucket.as_bytes())
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(remove)).await
    }

    /// All buckets, by name.
    pub async fn buckets(&self) -> Result<Vec<BucketView>, ClientError> {
        let read = |local: &Local| {
            let rows = local.catalog().rows(Buckets)?;
            let mut views = rows.iter().map(bucket_view).collect::<Result<Vec<_>, _>>()?;
            views.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(views)
        };
        self.read(read).await
    }

    /// One bucket.
    pub async fn bucket(&self, name: &BucketName) -> Result<BucketView, ClientError> {
        let bucket = name.clone();
        let read = move |local: &Local| {
            let row = local.catalog().row(Buckets, bucket.as_bytes())?;
            row.as_ref().map_or_else(|| Err(no_bucket(&bucket)), bucket_view)
        };
        self.read(read).await
    }

    /// A version of an item, or its current one. A current tombstone counts as no item.
    pub async fn item(
        &self,
        bucket: &BucketName,
        key: &ItemKey,
        version: Option<VersionId>,
    ) -> Result<ItemView, ClientError> {
        let (bucket, key) = (bucket.clone(), key.clone());
        self.read(move |local| {
            let (at, place) = (local.catalog().snapshot()?, (&bucket, &key));
            let row = local.item_row(&at, place, version)?;
            let latest = local.newest_id(&at, place)? == Some(row.version);
            Ok(ItemView { latest, ..row.view(&key) })
        })
        .await
    }

    /// Removes an item, or one version of it. Without a version, a bucket that keeps versions gets a tombstone. It is no
    /// error if there is nothing to remove.
    pub async fn remove_item(
        &self,
        bucket: &BucketName,
        key: &ItemKey,
        version: Option<VersionId>,
        expected: Expected,
    ) -> Result<RemovedItem, ClientError> {
        let (bucket, key) = (bucket.clone(), key.clone());
        let remove = move |local: &Local| {
            let catalog = local.catalog();
            catalog.edit(|rows| remove(rows, local.host(), (&bucket, &key), version, &expected))
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(remove)).await
    }

    /// Gives a version of an item, or the current one, other attributes. With a mark, only if the version is in that state.
    /// The version keeps its id and its place among the others.
    pub async fn set_attributes(
        &self,
        (bucket, key, version): (&BucketName, &ItemKey, Option<VersionId>),
        mark: Option<ItemMark>,
        attributes: Vec<Attribute>,
    ) -> Result<ItemView, ClientError> {
        let (bucket, key, attributes) = (bucket.clone(), key.clone(), ordered(attributes)?);
        let set = move |local: &Local| {
            local.catalog().edit(|rows| {
                check_bucket(rows, &bucket)?;
                let place = (&bucket, &key);
                let row = match version {
                    Some(version) => version_row(rows, place, version)?,
                    None => newest(rows, place)?,
                };
                let row =
                    row.filter(|row| !row.item.is_tombstone()).ok_or_else(|| no_item(&key))?;
                let Row { version, mut item, waiting } = row;
                let now = ItemMark { version, stamp: item.stamp, revision: item.revision };
                if mark.is_some_and(|mark| mark != now) {
                    return Err(ClientError::NotAsExpected { key: key.to_string() });
                }
                item.attributes = attributes;
                item.revision += 1;
                let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
                match waiting {
                    true => rows.put(Waiting, &row_key, &item)?,
                    false => rows.put(Items, &row_key, &item)?,
                }
                Ok(ItemView::new((key.clone(), version), item, waiting))
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(set)).await
    }
}

fn put_bucket(rows: &mut Editing<'_, '_>, row: &BucketEntry) -> Result<BucketView, ClientError> {
    let settings = row.settings.iter();
    let bytes: usize = settings.map(|one| one.name.len() + one.value.len()).sum();
    if SETTINGS_BYTES_MAX < bytes {
        return Err(ClientError::Usage(format!(
            "the settings of a bucket have {bytes} bytes, at most {SETTINGS_BYTES_MAX} are allowed"
        )));
    }
    rows.put(Buckets, &row.name, row)?;
    bucket_view(row)
}

fn bucket_view(row: &BucketEntry) -> Result<BucketView, ClientError> {
    let name = String::from_utf8(row.name.clone());
    let name = name.map_err(|error| ClientError::Index(error.to_string()))?;
    Ok(BucketView {
        name: BucketName::new(name)?,
        revision: row.revision,
        made_ms: row.made_ms,
        versions: row.versions,
        settings: row.settings.clone(),
    })
}

pub(super) fn remove(
    rows: &mut Editing<'_, '_>,
    host: &Host,
    (bucket, key): (&BucketName, &ItemKey),
    version: Option<VersionId>,
    expected: &Expected,
) -> Result<RemovedItem, ClientError> {
    let versions = check_bucket(rows, bucket)?.versions;
    let now = newest(rows, (bucket, key))?;
    expected.check(key, now.as_ref().map(|row| (row.version, &row.item)))?;
    let version = version.or((versions == Versions::Never).then_some(VersionId::NULL));
    if let Some(version) = version {
        let gone = remove_rows(rows, (bucket, key), version)?;
        let tombstone = gone.as_ref().is_some_and(|row| row.item.is_tombstone());
        return Ok(RemovedItem { version: gone.map(|row| row.version), tombstone });
    }
    let (bucket, key) = (bucket.clone(), key.clone());
    let content = ItemContent::Tombstone;
    let (expected, attributes, waiting) = (Expected::Anything, Vec::new(), None);
    let new = NewRow { bucket, key, expected, content, attributes, waiting };
    let view = put_row(rows, host, new)?;
    Ok(RemovedItem { version: Some(view.version), tombstone: true })
}

impl Local {
    /// A version of an item, or its current one. A current tombstone counts as no item.
    pub(super) fn item_row(
        &self,
        at: &Snapshot,
        place: (&BucketName, &ItemKey),
        version: Option<VersionId>,
    ) -> Result<Row, ClientError> {
        let ((bucket, key), catalog) = (place, self.catalog());
        if catalog.row_of(at, Buckets, bucket.as_bytes())?.is_none() {
            return Err(no_bucket(bucket));
        }
        let id = match version {
            Some(version) => version,
            None => self.newest_id(at, place)?.ok_or_else(|| no_item(key))?,
        };
        let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &id.0);
        let waiting = catalog.row_of(at, Waiting, &row_key)?;
        let row = Row::newer(id, waiting, catalog.row_of(at, Items, &row_key)?);
        let there = |row: &Row| version.is_some() || !row.item.is_tombstone();
        row.filter(there).ok_or_else(|| no_item(key))
    }

    /// The id of an item's newest version, which may be a tombstone.
    pub(super) fn newest_id(
        &self,
        at: &Snapshot,
        (bucket, key): (&BucketName, &ItemKey),
    ) -> Result<Option<VersionId>, ClientError> {
        let place = Shelf::Items.at(bucket.as_bytes(), key.as_bytes());
        let entry = self.catalog().first_of(at, Spot::before(place.clone()))?;
        Ok(entry.filter(|entry| entry.spot.key == place).map(|entry| VersionId(entry.spot.id)))
    }

    /// The bytes of a version that waits.
    pub(super) fn waiting_bytes(
        &self,
        at: &Snapshot,
        (bucket, key): (&BucketName, &ItemKey),
        version: VersionId,
    ) -> Result<Vec<u8>, ClientError> {
        let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
        let bytes = self.catalog().row_of(at, Arrived, &row_key)?;
        bytes.map(|bytes| bytes.0).ok_or_else(|| no_bytes(key))
    }

    /// Writes a version together with the rows of `batch`.
    pub(super) fn write_item(&self, batch: &Batch, new: NewRow) -> Result<ItemView, ClientError> {
        self.catalog().edit(|rows| {
            rows.apply(batch)?;
            put_row(rows, self.host(), new)
        })
    }
}
