//! Pages of a listing: keys in the order of their bytes, and what they have in common up to a delimiter.
//!
//! What lies under a common prefix is left out by one step in the tree, however much it is. A page looks at a bounded number
//! of entries, so a long row of tombstones makes a page short, and not slow.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use super::{BucketName, ItemKey, ItemView, VersionId, read_hex, rows::Row};
use crate::{
    catalog::{Buckets, Entry, Items, Shelf, Snapshot, Spot, Waiting, Walk, item_row_key},
    error::ClientError,
    library::{Library, Local},
};

/// The most entries of the order that one page looks at.
const LOOKED_AT_MAX: usize = 100_000;

/// The most entries of one page.
const LIMIT_MAX: usize = 10_000;

/// Bytes of the sum that protects a token.
const SUM_BYTES: usize = 16;

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first key.
    #[default]
    First,
    /// After all versions of a key. If the key is a common prefix, after all keys that have it.
    After(Vec<u8>),
    /// After a version of a key, in a listing of versions.
    AfterVersion(ItemKey, VersionId),
    /// Where the page before ended.
    Token(PageToken),
}

/// What a page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageOptions {
    /// The bytes that all keys begin with.
    pub prefix: Vec<u8>,
    /// Keys that have these bytes behind the prefix are shown as one common prefix. Empty for none.
    pub delimiter: Vec<u8>,
    /// Whether all versions and tombstones are shown, or only current versions.
    pub versions: bool,
    /// Where the page begins.
    pub start: Start,
    /// The most entries of the page: at most 10,000, whatever is asked for.
    pub limit: usize,
}

/// Where the next page begins. As text it is opaque, and only good for a listing with the same options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(Vec<u8>);

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PageToken {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        read_hex(text).map(Self).ok_or_else(bad_token)
    }
}

fn bad_token() -> ClientError {
    ClientError::Usage(String::from("that is no token of a page of this listing"))
}

/// An entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageEntry {
    /// An item, or one version of it.
    Item(Box<ItemView>),
    /// What keys have in common, with the delimiter.
    Prefix(Vec<u8>),
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its entries, in the order of their bytes.
    pub entries: Vec<PageEntry>,
    /// Where the next page begins, if there may be more.
    pub next: Option<PageToken>,
}

/// What a walk has found.
enum Found {
    Version(Entry),
    Prefix(Vec<u8>),
}

/// A walk through the order of one bucket.
struct Listing<'a> {
    options: &'a PageOptions,
    /// What stands before an item's key in its spot: the shelf and the bucket.
    head: &'a [u8],
    limit: usize,
    looked_at: usize,
    found: Vec<Found>,
    /// Where the next page begins.
    next: Option<Spot>,
}

impl Listing<'_> {
    fn take(&mut self, entry: &Entry) -> Walk {
        let (options, spot) = (self.options, &entry.spot);
        let key = spot.key.strip_prefix(self.head);
        let Some(key) = key.filter(|key| key.starts_with(&options.prefix)) else {
            return Walk::Stop;
        };
        if self.looked_at == LOOKED_AT_MAX {
            self.next = Some(spot.clone());
            return Walk::Stop;
        }
        self.looked_at += 1;
        if !options.versions && entry.tombstone {
            return Walk::To(Spot::behind(spot.key.clone()));
        }
        if self.found.len() == self.limit {
            self.next = Some(spot.clone());
            return Walk::Stop;
        }
        if let Some(common) = common_prefix(key, options) {
            let all = spot.key[..self.head.len() + common.len()].to_vec();
            self.found.push(Found::Prefix(common.to_vec()));
            return Walk::To(Spot::behind_all(all));
        }
        self.found.push(Found::Version(entry.clone()));
        match options.versions {
            true => Walk::Next,
            false => Walk::To(Spot::behind(spot.key.clone())),
        }
    }
}

/// The bytes of a key up to the first delimiter behind the prefix.
fn common_prefix<'k>(key: &'k [u8], options: &PageOptions) -> Option<&'k [u8]> {
    let (prefix, delimiter) = (options.prefix.len(), options.delimiter.as_slice());
    if delimiter.is_empty() {
        return None;
    }
    let at = key.get(prefix..)?.windows(delimiter.len()).position(|part| part == delimiter)?;
    Some(&key[..prefix + at + delimiter.len()])
}

impl Library {
    /// A page of the items of a bucket.
    pub async fn page(
        &self,
        bucket: &BucketName,
        options: PageOptions,
    ) -> Result<Page, ClientError> {
        let bucket = bucket.clone();
        self.read(move |local| local.page(&bucket, &options)).await
    }
}

impl Local {
    pub(super) fn page(
        &self,
        bucket: &BucketName,
        options: &PageOptions,
    ) -> Result<Page, ClientError> {
        let (catalog, at) = (self.catalog(), self.catalog().snapshot()?);
        if catalog.row_of(&at, Buckets, bucket.as_bytes())?.is_none() {
            return Err(ClientError::NoBucket { name: bucket.to_string() });
        }
        let (head, limit) = (Shelf::Items.at(bucket.as_bytes(), b""), options.limit.min(LIMIT_MAX));
        if limit == 0 {
            return Ok(Page::default());
        }
        let from = self.start(&at, bucket, options)?;
        let (found, next) = (Vec::new(), None);
        let mut listing = Listing { options, head: &head, limit, looked_at: 0, found, next };
        catalog.walk_of(&at, from, |entry| listing.take(entry))?;
        let Listing { found, next, .. } = listing;
        let mut page = Page { entries: Vec::with_capacity(found.len()), next: None };
        let mut before: Option<Vec<u8>> = None;
        for found in found {
            page.entries.push(match found {
                Found::Prefix(prefix) => PageEntry::Prefix(prefix),
                Found::Version(entry) => {
                    let first = before.as_ref() != Some(&entry.spot.key);
                    let latest = match before {
                        // A page may begin in the middle of a key's versions.
                        None if options.versions => self.is_newest(&at, &entry)?,
                        _ => first,
                    };
                    let key = ItemKey::new(&entry.spot.key[head.len()..])?;
                    let view = self.shown_row(&at, (bucket, &key), &entry)?.view(&key);
                    before = Some(entry.spot.key);
                    PageEntry::Item(Box::new(ItemView { latest, ..view }))
                }
            });
        }
        page.next = next.map(|spot| self.token(bucket, options, &spot));
        Ok(page)
    }

    fn is_newest(&self, at: &Snapshot, entry: &Entry) -> Result<bool, ClientError> {
        let first = self.catalog().first_of(at, Spot::before(entry.spot.key.clone()))?;
        Ok(first.is_some_and(|first| first.spot == entry.spot))
    }

    fn shown_row(
        &self,
        at: &Snapshot,
        (bucket, key): (&BucketName, &ItemKey),
        entry: &Entry,
    ) -> Result<Row, ClientError> {
        let version = VersionId(entry.spot.id);
        let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
        let item = match entry.waiting {
            true => self.catalog().row_of(at, Waiting, &row_key)?,
            false => self.catalog().row_of(at, Items, &row_key)?,
        };
        let missing = || ClientError::Index(format!("the row of item {key} is missing"));
        Ok(Row { version, item: item.ok_or_else(missing)?, waiting: entry.waiting })
    }

    /// The first spot that a page may show.
    fn start(
        &self,
        at: &Snapshot,
        bucket: &BucketName,
        options: &PageOptions,
    ) -> Result<Spot, ClientError> {
        let place = |key: &[u8]| Shelf::Items.at(bucket.as_bytes(), key);
        let after = match &options.start {
            Start::First => return Ok(Spot::before(place(&options.prefix))),
            Start::Token(token) => self.spot_of(bucket, options, token)?,
            Start::After(key) => match common_prefix(key, options) {
                Some(common) if common == key => Spot::behind_all(place(key)),
                _ => Spot::behind(place(key)),
            },
            Start::AfterVersion(key, version) => {
                let row_key = item_row_key(bucket.as_bytes(), key.as_bytes(), &version.0);
                let waiting = self.catalog().row_of(at, Waiting, &row_key)?;
                let stored = self.catalog().row_of(at, Items, &row_key)?;
                let item = Row::newer(*version, waiting, stored).map(|row| row.item);
                let stamp = match item {
                    Some(item) => Some(item.stamp),
                    // The id of a version that was removed still says where it was.
                    None if *version != VersionId::NULL => {
                        version.0.first_chunk().map(|stamp| u64::from_be_bytes(*stamp))
                    }
                    None => None,
                };
                let key = place(key.as_bytes());
                match stamp {
                    Some(stamp) => Spot { key, age: u64::MAX - stamp, id: version.0 }.next(),
                    None => Spot::behind(key),
                }
            }
        };
        Ok(after.max(Spot::before(place(&options.prefix))))
    }

    /// A token. Its sum covers the options, so that it is good for no other listing.
    fn token(&self, bucket: &BucketName, options: &PageOptions, spot: &Spot) -> PageToken {
        let head = Shelf::Items.at(bucket.as_bytes(), b"").len();
        let mut bytes = [&spot.age.to_be_bytes()[..], &spot.id].concat();
        // A page ends before an entry of its bucket.
        bytes.extend_from_slice(spot.key.get(head..).unwrap_or_default());
        let sum = self.token_sum(bucket, options, &bytes);
        PageToken([&sum[..], &bytes].concat())
    }

    fn spot_of(
        &self,
        bucket: &BucketName,
        options: &PageOptions,
        PageToken(token): &PageToken,
    ) -> Result<Spot, ClientError> {
        let (sum, bytes) = token.split_first_chunk::<SUM_BYTES>().ok_or_else(bad_token)?;
        if *sum != self.token_sum(bucket, options, bytes) {
            return Err(bad_token());
        }
        let (age, rest) = bytes.split_first_chunk().ok_or_else(bad_token)?;
        let (id, key) = rest.split_first_chunk().ok_or_else(bad_token)?;
        let key = Shelf::Items.at(bucket.as_bytes(), key);
        Ok(Spot { key, age: u64::from_be_bytes(*age), id: *id })
    }

    fn token_sum(
        &self,
        bucket: &BucketName,
        options: &PageOptions,
        bytes: &[u8],
    ) -> [u8; SUM_BYTES] {
        let names_key = self.identity().names_key();
        let key = Zeroizing::new(blake3::derive_key("symbolon 2026 page token v1", &*names_key));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in [bucket.as_bytes(), &options.prefix, &options.delimiter] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.update(&[u8::from(options.versions)]).update(bytes);
        let mut sum = [0; SUM_BYTES];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
        sum
    }
}
