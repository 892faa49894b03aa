//! Buckets: tables of items under keys that are plain bytes, with versions, for a gateway that speaks the language of
//! object stores. No HTTP is here.
//!
//! - rows: buckets, versions, tombstones, attributes; each change compares what is there with what the caller expects;
//! - page: a stretch of a listing, in the order of keys;
//! - put: streams of unknown length, with sums over their bytes; small items may wait on this machine;
//! - copies and uploads in parts: an item's bytes are ranges of stored objects, so neither moves a byte;
//! - read: the bytes of an item, from its ranges;
//! - pack: small items that wait are stored together; compact: packs that are mostly dead are stored anew.
//!
//! A change is on this machine's disk when its call returns, and a later call for other devices publishes it: see
//! [`Devices`](crate::Devices). What items no longer use is ended by [`Library::tidy_buckets`].

mod compact;
mod copy;
mod pack;
mod page;
mod parts;
mod put;
mod read;
mod rows;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use tokio::sync::oneshot;

use crate::{
    catalog::{ID_BYTES, ItemContent, ItemEntry, ItemRange},
    error::ClientError,
    library::names::shown,
};

pub use crate::catalog::{Attribute, AttributeKind, Checksum, Etag, Setting, Sum, Versions};
pub use copy::CopyOptions;
pub use pack::{PackOptions, PackReport, TidyReport};
pub use page::{Page, PageEntry, PageOptions, PageToken, Start};
pub use parts::{PartView, PartedView};
pub use put::{Check, ItemOptions, PutItem};
pub use read::{ItemBytes, ItemReader};
pub use rows::{BucketView, RemovedItem};

/// The most bytes of a bucket's name.
const BUCKET_BYTES_MAX: usize = 63;

/// The most bytes of an item's key.
const KEY_BYTES_MAX: usize = 1024;

/// The most bytes of all attributes of an item, and of all settings of a bucket.
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;
const SETTINGS_BYTES_MAX: usize = 256 << 10;

/// The name of a bucket: 1 to 63 letters from `a` to `z`, digits, dots and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(String);

impl BucketName {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Self, ClientError> {
        let name = name.into();
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        match name.len() {
            1..=BUCKET_BYTES_MAX if name.bytes().all(is_plain) => Ok(Self(name)),
            _ => Err(ClientError::Usage(format!(
                "{name:?} is no name of a bucket: it has 1 to {BUCKET_BYTES_MAX} of a-z, 0-9, dots and hyphens"
            ))),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BucketName {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Self::new(text)
    }
}

/// The key of an item in its bucket: 1 to 1024 bytes. Slashes mean nothing in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey(Vec<u8>);

impl ItemKey {
    /// Checks a key.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ClientError> {
        let bytes = bytes.into();
        match bytes.len() {
            1..=KEY_BYTES_MAX => Ok(Self(bytes)),
            length => Err(ClientError::Usage(format!(
                "a key of {length} bytes is no key of an item: it has 1 to {KEY_BYTES_MAX}"
            ))),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemKey({self})")
    }
}

/// Sixteen bytes as text: hexadecimal digits.
fn write_id(id: &[u8; ID_BYTES], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The bytes that lower case hexadecimal digits stand for.
fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let each = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| each.collect::<Option<Vec<_>>>())?
}

/// The id of a version of an item. As text it is 32 hexadecimal digits, or `null`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId([u8; ID_BYTES]);

impl VersionId {
    /// The version of an item that was put while its bucket kept no versions.
    pub const NULL: Self = Self([0; ID_BYTES]);
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NULL { f.write_str("null") } else { write_id(&self.0, f) }
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

impl FromStr for VersionId {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        if text == "null" {
            return Ok(Self::NULL);
        }
        let id = read_hex(text).and_then(|bytes| bytes.try_into().ok());
        let id = id.filter(|id| *id != [0; ID_BYTES]);
        id.map(Self).ok_or_else(|| ClientError::Usage(format!("{text:?} is no id of a version")))
    }
}

/// The id of an upload in parts, as text 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartedId([u8; ID_BYTES]);

impl fmt::Display for PartedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(&self.0, f)
    }
}

impl fmt::Debug for PartedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartedId({self})")
    }
}

impl FromStr for PartedId {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let id = read_hex(text).and_then(|bytes| bytes.try_into().ok());
        id.map(Self).ok_or_else(|| ClientError::Usage(format!("{text:?} is no id of an upload")))
    }
}

/// The exact state of one version, by which a later change recognizes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemMark {
    version: VersionId,
    stamp: u64,
    revision: u64,
}

/// What a change of an item requires of its current version. A tombstone counts as no item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    #[default]
    Anything,
    /// That there is no item.
    Absent,
    /// That there is one.
    Present,
    /// That its bytes are these.
    Etag(Etag),
    /// That its bytes are not these.
    NotEtag(Etag),
    /// That it is in exactly this state.
    Exactly(ItemMark),
}

impl Expected {
    /// Refuses what is not expected.
    fn check(
        &self,
        key: &ItemKey,
        now: Option<(VersionId, &ItemEntry)>,
    ) -> Result<(), ClientError> {
        let now = now.filter(|(_, item)| !item.is_tombstone());
        let etag = |item: &ItemEntry| match item.content {
            ItemContent::Bytes { etag, .. } => etag,
            ItemContent::Tombstone => None,
        };
        let fine = match (self, now) {
            (Self::Anything, _) | (Self::Absent | Self::NotEtag(_), None) => true,
            (Self::Present | Self::Etag(_) | Self::Exactly(_), None) => {
                return Err(ClientError::NoItem { key: key.to_string() });
            }
            (Self::Absent, Some(_)) => false,
            (Self::Present, Some(_)) => true,
            (Self::Etag(wanted), Some((_, item))) => etag(item) == Some(*wanted),
            (Self::NotEtag(unwanted), Some((_, item))) => etag(item) != Some(*unwanted),
            (Self::Exactly(mark), Some((version, item))) => {
                *mark == ItemMark { version, stamp: item.stamp, revision: item.revision }
            }
        };
        if fine { Ok(()) } else { Err(ClientError::NotAsExpected { key: key.to_string() }) }
    }
}

/// One version of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemView {
    /// Its key.
    pub key: ItemKey,
    /// Its id.
    pub version: VersionId,
    /// Whether it is the current version.
    pub latest: bool,
    /// When it was put, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// Whether it says that the item was removed. It has no bytes then.
    pub tombstone: bool,
    /// Number of its bytes.
    pub length: u64,
    /// The mark by which HTTP recognizes its bytes. Nothing if these came with none.
    pub etag: Option<Etag>,
    /// The sums over its bytes that were asked for.
    pub checksums: Vec<Checksum>,
    /// The lengths of the parts that it was put in. Empty if it was put as a whole.
    pub parts: Vec<u64>,
    /// What else is known of it, by kind and name.
    pub attributes: Vec<Attribute>,
    /// Whether its bytes are on this machine only, until they are stored in a pack.
    pub waiting: bool,
    stamp: u64,
    revision: u64,
}

impl ItemView {
    fn new((key, version): (ItemKey, VersionId), item: ItemEntry, waiting: bool) -> Self {
        let ItemEntry { stamp, revision, stored_ms, content, attributes } = item;
        let tombstone = content == ItemContent::Tombstone;
        let (etag, checksums, parts, length) = match content {
            ItemContent::Tombstone => (None, Vec::new(), Vec::new(), 0),
            ItemContent::Bytes { etag, checksums, parts, length, .. } => {
                (etag, checksums, parts, length)
            }
        };
        Self {
            key,
            version,
            latest: true,
            stored_ms,
            tombstone,
            length,
            etag,
            checksums,
            parts,
            attributes,
            waiting,
            stamp,
            revision,
        }
    }

    /// Its exact state.
    #[must_use]
    pub fn mark(&self) -> ItemMark {
        ItemMark { version: self.version, stamp: self.stamp, revision: self.revision }
    }
}

/// Brings attributes into their order. Refuses two of one kind and name, and too many bytes.
fn ordered(mut attributes: Vec<Attribute>) -> Result<Vec<Attribute>, ClientError> {
    let place = |one: &Attribute| (one.kind, one.name.clone());
    attributes.sort_by_key(place);
    if attributes.windows(2).any(|pair| place(&pair[0]) == place(&pair[1])) {
        return Err(ClientError::Usage(String::from("an item has two attributes of one name")));
    }
    let bytes: usize = attributes.iter().map(|one| one.name.len() + one.value.len()).sum();
    if ATTRIBUTES_BYTES_MAX < bytes {
        return Err(ClientError::Usage(format!(
            "the attributes of an item have {bytes} bytes, at most {ATTRIBUTES_BYTES_MAX} are allowed"
        )));
    }
    Ok(attributes)
}

/// Adds ranges, joined with the last one where they go on from it.
fn extend_ranges(ranges: &mut Vec<ItemRange>, more: impl IntoIterator<Item = ItemRange>) {
    for range in more {
        match ranges.last_mut() {
            Some(last)
                if last.object == range.object && last.first + last.length == range.first =>
            {
                last.length += range.length;
            }
            _ => ranges.push(range),
        }
    }
}

/// The part of an item's ranges that begins at byte `first` and has `length` bytes, or fewer at the item's end.
fn cut_ranges(ranges: &[ItemRange], mut first: u64, mut length: u64) -> Vec<ItemRange> {
    let mut out = Vec::new();
    for range in ranges {
        let skipped = first.min(range.length);
        let taken = (range.length - skipped).min(length);
        if 0 < taken {
            out.push(ItemRange { first: range.first + skipped, length: taken, ..*range });
        }
        (first, length) = (first - skipped, length - taken);
    }
    out
}

/// What a caller waits for while another one writes its row together with others.
type Written = Result<ItemView, ClientError>;

/// Small items that are about to be written to this machine's disk, all those together that come at once.
#[derive(Debug, Default)]
pub(super) struct Arriving(Vec<(rows::NewRow, oneshot::Sender<Written>)>);
