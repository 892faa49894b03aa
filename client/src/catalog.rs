//! The identity's local index: names, unfinished uploads, own listings, purchases. Every row is sealed under a key that
//! only the identity has. The file shows the number of rows and nothing else.

mod edit;
mod items;
mod merge;
mod order;
mod places;
mod published;
mod sums;
#[cfg(test)]
mod tests;

use std::{ops::ControlFlow, path::Path, time::Duration};

use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{Aead, KeyInit, Payload},
};
use symbolon_net::Host;
use symbolon_protocol::{
    Amount, Decode, DecodeError, Encode, LedgerTime, choice,
    codec::Reader,
    content::{FileKey, Manifest, MaskMode, Scheme},
    deletion::DeletionReceipt,
    id::{Hash, ListingId, NodeId, ObjectId, OrderId},
    ledger::{rows::Access, transaction::Transaction},
    names::{Part, RootRecord},
    record,
};
use symbolon_store::{Catalog as Rows, CatalogChange, CatalogError, CatalogReader, CatalogRows};
use zeroize::Zeroizing;

use crate::error::ClientError;
pub(crate) use edit::Editing;
pub use items::{Attribute, AttributeKind, Checksum, Etag, Setting, Sum, Versions};
pub(crate) use items::{
    BucketEntry, ID_BYTES, ItemContent, ItemEntry, ItemPartEntry, ItemRange, PartedEntry,
    WaitingBytes, WaitingSum, item_row_key, part_row_key,
};
pub(crate) use order::{Entry, Shelf, Spot, Walk, split_bucket};
pub(crate) use places::Places;
pub(crate) use published::{Extent, Snapshot, Taken, Unpublished};
pub(crate) use sums::{FolderSums, Watch};
use sums::{Sums, TermEntry, UsedEntry, WatchedEntry};

/// How long a process waits while another one writes the index.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A file key in a row. Only [`KeyBytes::expose`] gives its bytes, and it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyBytes(Zeroizing<[u8; 32]>);

impl KeyBytes {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn expose(&self) -> [u8; 32] {
        *self.0
    }

    pub(crate) fn file_key(&self) -> FileKey {
        FileKey::from_bytes(self.expose())
    }
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

impl Encode for KeyBytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_slice());
    }
}

impl Decode for KeyBytes {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.array().map(Self::new)
    }
}

choice! {
    /// The mark by which a source is recognized without reading it.
    pub(crate) enum SourceMark {
        File = 1 { path: Vec<u8>, length: u64, inode: u64, modified_ns: [u8; 16] },
        Stream = 2,
        Bytes = 3 { hash: Hash },
    }
}

impl SourceMark {
    /// Whether two marks are of one source, no matter which device saw it. On another device the path or the inode may
    /// differ. Both differ if a program made two files of one length at one moment.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File { path, inode, .. },
                Self::File { path: other_path, inode: other_inode, .. },
            ) => self.is_alike(other) && (path == other_path || inode == other_inode),
            _ => self.is_alike(other),
        }
    }

    /// Whether two sources of one name count as the same: files by length and time, as in rsync.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File { length, modified_ns, .. },
                Self::File { length: other_length, modified_ns: other_ns, .. },
            ) => (length, modified_ns) == (other_length, other_ns),
            (Self::Stream, _) => false,
            _ => self == other,
        }
    }
}

choice! {
    /// The purpose that a file is stored for.
    #[derive(Copy)]
    pub enum FileKind {
        /// The user put it.
        Own = 1,
        /// The public description of a listing.
        Document = 2 {
            /// The listing.
            listing: ListingId,
        },
        /// The opened preview cells of a listing.
        Preview = 3 {
            /// The listing.
            listing: ListingId,
        },
        /// A part of the names index itself. It has no name, so no list of files shows it.
        Index = 4,
        /// Small files of the user, one after another.
        Pack = 5,
        /// What a listing says of every cell of its file and of every mask.
        Leaves = 6 {
            /// The listing.
            listing: ListingId,
        },
        /// Bytes that were put into a bucket.
        Item = 7,
        /// Small items of buckets, one after another.
        ItemPack = 8,
    }
}

record! {
    /// A stored object: what a reader needs, and what it cost. The row does not say which names use the object. That
    /// follows from the names, so the two cannot contradict each other.
    pub(crate) struct ObjectEntry {
        pub(crate) kind: FileKind,
        pub(crate) key: KeyBytes,
        pub(crate) manifest: Manifest,
        pub(crate) stored_ms: u64,
        /// Until when it is paid, estimated from the epoch in which it was stored.
        pub(crate) paid_until_ms: LedgerTime,
        pub(crate) cost: Amount,
        /// The first epoch that is not paid for the whole object, or one a little earlier.
        pub(crate) end: u64,
        /// The source that it was made from.
        pub(crate) source: SourceMark,
        /// Whether the user chose the scheme. Else it fits the network, and may become a wider one when that grows.
        pub(crate) chosen: bool,
    }
}

choice! {
    /// What a name stands for.
    pub(crate) enum Content {
        /// Bytes: a range of an object.
        File = 1 { object: ObjectId, first: u64, length: u64 },
        /// A symbolic link.
        Link = 2 { target: Vec<u8> },
        /// A folder with a row of its own: for its permissions and time, or because it is empty.
        Folder = 3,
    }
}

record! {
    /// One version of a name.
    pub(crate) struct Version {
        pub(crate) number: u64,
        pub(crate) stored_ms: u64,
        pub(crate) mode: u32,
        pub(crate) modified_ns: [u8; 16],
        pub(crate) content: Content,
    }
}

/// A name and its versions, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameEntry {
    /// The row's key. The row's bytes do not repeat it.
    pub(crate) path: Vec<u8>,
    /// Number of versions that are kept besides the newest.
    pub(crate) keep: u32,
    /// When the name was removed, if only its versions are left.
    pub(crate) deleted_ms: Option<u64>,
    pub(crate) versions: Vec<Version>,
}

impl NameEntry {
    /// The current version, unless the name was removed.
    pub(crate) fn current(&self) -> Option<&Version> {
        self.versions.first().filter(|_| self.deleted_ms.is_none())
    }

    /// Drops the versions beyond those that are kept. Gives whether it dropped any.
    pub(crate) fn trim(&mut self) -> bool {
        let kept = usize::try_from(self.keep).unwrap_or(usize::MAX);
        let kept = kept.saturating_add(usize::from(self.deleted_ms.is_none()));
        let dropped = self.versions.len() > kept;
        self.versions.truncate(kept);
        dropped
    }
}

impl Encode for NameEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.keep.encode(out);
        self.deleted_ms.encode(out);
        self.versions.encode(out);
    }
}

impl Decode for NameEntry {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (keep, deleted_ms) = (Decode::decode(input)?, Decode::decode(input)?);
        Ok(Self { path: Vec::new(), keep, deleted_ms, versions: Decode::decode(input)? })
    }
}

record! {
    /// An unfinished upload. The row is written before the first byte leaves, and removed when the object has its row.
    pub(crate) struct UploadEntry {
        /// The row's key: the name, or a key that differs for every pack.
        pub(crate) slot: Vec<u8>,
        /// The name as messages show it. For a pack, the name of its folder.
        pub(crate) name: String,
        pub(crate) kind: FileKind,
        pub(crate) key: KeyBytes,
        pub(crate) scheme: Scheme,
        pub(crate) mask: MaskMode,
        pub(crate) access: Access,
        pub(crate) epochs: u64,
        pub(crate) source: SourceMark,
        /// Whether the user chose the scheme.
        pub(crate) chosen: bool,
    }
}

record! {
    /// The nodes that were asked to take the shards of a segment whose deal is not open yet.
    pub(crate) struct PlacementEntry {
        pub(crate) shards: Vec<Asked>,
    }
}

record! {
    #[derive(Copy)]
    pub(crate) struct Asked {
        pub(crate) index: u8,
        pub(crate) node: NodeId,
    }
}

record! {
    /// A purchase. The row is written before the order is sent.
    pub(crate) struct PurchaseEntry {
        pub(crate) order: OrderId,
        pub(crate) listing: ListingId,
        pub(crate) title: String,
        pub(crate) price: Amount,
        pub(crate) token: Option<String>,
        pub(crate) custodians: Vec<u8>,
        /// When access ends by the ledger's clock, in milliseconds since the Unix epoch. Zero before access begins.
        pub(crate) until_ms: LedgerTime,
    }
}

record! {
    /// A transfer of money. The row is written before the ledger is asked, so that a lost answer does not lead to a
    /// second payment.
    pub(crate) struct TransferEntry {
        pub(crate) transaction: Transaction,
        /// Height of the last block before it.
        pub(crate) after: u64,
        /// Height of its block, once that is known.
        pub(crate) height: Option<u64>,
    }
}

record! {
    /// A grant that this identity received or gave.
    pub(crate) struct GrantEntry {
        pub(crate) label: String,
        pub(crate) token: String,
    }
}

record! {
    /// The new places of ranges of an object that were stored again in another object. A device that gave an old range
    /// a name, because it did not know that yet, finds the bytes with this row.
    pub(crate) struct MovedEntry {
        pub(crate) from: ObjectId,
        pub(crate) ranges: Vec<MovedRange>,
    }
}

record! {
    #[derive(Copy)]
    pub(crate) struct MovedRange {
        pub(crate) first: u64,
        pub(crate) length: u64,
        pub(crate) object: ObjectId,
        pub(crate) at: u64,
    }
}

impl MovedEntry {
    /// The row's key: the object and its first range, because an object can have several such rows.
    pub(crate) fn key(&self) -> Vec<u8> {
        let first = self.ranges.first().map_or((0, 0), |range| (range.first, range.length));
        [&self.from.0[..], &first.0.to_le_bytes(), &first.1.to_le_bytes()].concat()
    }
}

/// A mark on a row of the published index that changed here and is not published yet. When the row is published, it is
/// clean only if the mark was not written again meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirtyEntry {
    /// Table and key of the row are the mark's key. The mark's bytes do not repeat them.
    pub(crate) table: u8,
    pub(crate) key: Vec<u8>,
    /// The digest of the row's latest value on the network, as far as this machine knows. Nothing if the network
    /// had no such row. A pull compares it to see whether another device has changed the row too.
    pub(crate) base: Option<Hash>,
}

impl Encode for DirtyEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.base.encode(out);
    }
}

impl Decode for DirtyEntry {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { table: 0, key: Vec::new(), base: Decode::decode(input)? })
    }
}

record! {
    /// An object with damaged shards. A later put of the same source stores it anew.
    #[derive(Copy)]
    pub(crate) struct DamagedEntry {
        pub(crate) object: ObjectId,
        pub(crate) found_ms: u64,
    }
}

record! {
    /// An object whose owner wants no caretakers for it. No row on the ledger says that: it has none then.
    #[derive(Copy)]
    pub(crate) struct UncaredEntry {
        pub(crate) object: ObjectId,
    }
}

record! {
    /// What the user has agreed to in advance on this machine.
    #[derive(Default)]
    pub(crate) struct AgreedEntry {
        pub(crate) monthly_max: Amount,
        pub(crate) marks: Vec<Mark>,
        pub(crate) spent: Vec<Spent>,
    }
}

record! {
    /// A name that is renewed without a question, with everything below it.
    pub(crate) struct Mark {
        pub(crate) path: Vec<u8>,
        pub(crate) epochs: u64,
    }
}

record! {
    /// Money that was spent under an agreement.
    #[derive(Copy)]
    pub(crate) struct Spent {
        pub(crate) at_ms: LedgerTime,
        pub(crate) amount: Amount,
    }
}

record! {
    /// The state of one ledger's names index that this machine has.
    pub(crate) struct KnownEntry {
        /// The version of the root record whose rows are here.
        pub(crate) version: u64,
        /// The digest of its blob. After a ledger was set back, another record may have the same version.
        pub(crate) digest: Option<Hash>,
        /// The number that identifies this device.
        pub(crate) device: u64,
        /// When this device published last, as records say it.
        pub(crate) moment: u64,
        pub(crate) record: RootRecord,
        /// Parts that no root record names any more, and whose deals have to be ended.
        pub(crate) dropped: Vec<Part>,
    }
}

/// A kind of rows.
pub(crate) trait Kind {
    const TABLE: u8;
    /// Whether its rows belong to the published index, or to this machine alone.
    const PUBLISHED: bool;
    type Row: Encode + Decode;
    /// Gives a row its key, if the row's bytes do not hold it.
    fn keyed(_row: &mut Self::Row, _key: &[u8]) {}
}

macro_rules! kinds {
    ($($name:ident = $table:literal, $published:literal => $row:ty $(, { $($keyed:tt)* })?);* $(;)?) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Kind for $name {
            const TABLE: u8 = $table;
            const PUBLISHED: bool = $published;
            type Row = $row;
            $($($keyed)*)?
        }
    )*

        /// Whether the rows of a table stay on this machine.
        fn is_local(table: u8) -> bool {
            LOCAL_FROM <= table || [$(($name::TABLE, $name::PUBLISHED)),*].contains(&(table, false))
        }

        /// Whether a table belongs to another version of this program.
        fn is_unknown(table: u8) -> bool {
            table < LOCAL_FROM && ![$($name::TABLE),*].contains(&table)
        }
    };
}

/// All tables from this number on are local to this machine. An unknown table below it belongs to another version of
/// this program, and travels with the index.
const LOCAL_FROM: u8 = 200;

kinds! {
    Uploads = 2, false => UploadEntry;
    Purchases = 3, true => PurchaseEntry;
    Grants = 4, true => GrantEntry;
    Placements = 5, false => PlacementEntry;
    Names = 6, true => NameEntry, {
        fn keyed(row: &mut NameEntry, key: &[u8]) {
            row.path = key.to_vec();
        }
    };
    Objects = 7, true => ObjectEntry;
    Begun = 8, true => UploadEntry;
    Moved = 9, true => MovedEntry;
    Transfers = 10, false => TransferEntry;
    Buckets = 11, true => BucketEntry, {
        fn keyed(row: &mut BucketEntry, key: &[u8]) {
            row.name = key.to_vec();
        }
    };
    Items = 12, true => ItemEntry;
    Parted = 13, true => PartedEntry;
    ItemParts = 14, true => ItemPartEntry;
    Receipts = 16, false => DeletionReceipt;
    Dirty = 200, false => DirtyEntry, {
        fn keyed(row: &mut DirtyEntry, key: &[u8]) {
            if let Some((table, key)) = key.split_first() {
                (row.table, row.key) = (*table, key.to_vec());
            }
        }
    };
    Known = 201, false => KnownEntry;
    Folders = 202, false => FolderSums;
    Used = 203, false => UsedEntry;
    Terms = 204, false => TermEntry;
    Watched = 205, false => WatchedEntry;
    Pages = 206, false => order::Page;
    Waiting = 207, false => ItemEntry;
    Arrived = 208, false => WaitingBytes;
    WaitingTotal = 209, false => WaitingSum;
    Damaged = 210, false => DamagedEntry;
    Agreed = 211, false => AgreedEntry;
    Uncared = 212, false => UncaredEntry;
}

/// Number of bytes at the begin of a place that depend on the folder.
const NEAR_BYTES: usize = 16;

/// Whether the keys of a table are names, or end with one.
fn is_by_folder(table: u8) -> bool {
    [Names::TABLE, Folders::TABLE, Dirty::TABLE].contains(&table)
}

/// The folder that contains a name. Nothing for the top.
fn parent(name: &[u8]) -> Option<&[u8]> {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some(&name[..slash]),
        None if name.is_empty() => None,
        None => Some(b""),
    }
}

/// Changes that take effect together.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<(u8, Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    pub(crate) fn put<K: Kind>(&mut self, _: K, key: &[u8], row: &K::Row) {
        self.0.push((K::TABLE, key.to_vec(), Some(row.to_bytes())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn remove<K: Kind>(&mut self, _: K, key: &[u8]) {
        self.0.push((K::TABLE, key.to_vec(), None));
    }
}

/// A row's key and bytes.
type KeyAndRow = (Vec<u8>, Zeroizing<Vec<u8>>);

/// The index. The first use opens the file, and it stays open. Other processes of the identity may have it open at the
/// same time. Each waits at most for another one to write one change.
pub(crate) struct Catalog {
    rows: Rows,
    /// The key that places are hashed with.
    key: Zeroizing<[u8; 32]>,
    /// The cipher that rows are sealed with.
    cipher: XChaCha20Poly1305,
    host: Host,
    /// Number of rows that were unsealed. Tests measure with it how much is read.
    #[cfg(test)]
    unsealed: std::sync::atomic::AtomicU64,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Catalog {
    pub(crate) fn new(path: &Path, key: Zeroizing<[u8; 32]>, host: Host) -> Self {
        let sealing =
            Zeroizing::new(blake3::derive_key("symbolon 2026 local index v4", key.as_slice()));
        Self {
            rows: Rows::new(path, LOCK_WAIT),
            key,
            cipher: XChaCha20Poly1305::new((&*sealing).into()),
            host,
            #[cfg(test)]
            unsealed: Default::default(),
        }
    }

    /// All rows as they are now.
    fn reader(&self) -> Result<CatalogReader, ClientError> {
        Ok(self.rows.read()?)
    }

    /// The place of a row in the file. Keys are hashed, so that the file shows no name. Entries of one folder lie side
    /// by side, so that a folder can be read without the rest.
    fn place(&self, table: u8, key: &[u8]) -> [u8; 32] {
        let own = self.hash(table, key, b"");
        if !is_by_folder(table) {
            return own;
        }
        let (mut place, near) = (own, self.near(table, parent(key)));
        place[..NEAR_BYTES].copy_from_slice(&near);
        place
    }

    /// The begin of the places of all entries directly in a folder. The top has no folder.
    fn near(&self, table: u8, folder: Option<&[u8]>) -> [u8; NEAR_BYTES] {
        let mut near = [0; NEAR_BYTES];
        if let Some(folder) = folder {
            // No name ends with a slash, so this hash is never that of a folder's own row.
            near.copy_from_slice(&self.hash(table, folder, b"/")[..NEAR_BYTES]);
        }
        near
    }

    fn hash(&self, table: u8, key: &[u8], end: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[table]).update(key).update(end);
        *hasher.finalize().as_bytes()
    }

    /// A row as it lies on the disk. It contains its key, because the place does not show it.
    fn seal(&self, table: u8, place: &[u8; 32], key: &[u8], row: &[u8]) -> Vec<u8> {
        let nonce: [u8; 24] = self.host.random();
        let aad = [&[table], place.as_slice()].concat();
        let length = u32::try_from(key.len()).expect("keys are far below 4 GiB");
        let plain = Zeroizing::new([&length.to_le_bytes(), key, row].concat());
        let sealed = self.cipher.encrypt((&nonce).into(), Payload { msg: &plain, aad: &aad });
        [nonce.as_slice(), &sealed.expect("rows are far below the cipher's limit")].concat()
    }

    fn unseal<K: Kind>(&self, place: &[u8], sealed: &[u8]) -> Result<K::Row, ClientError> {
        let (key, row) = self.unseal_any(K::TABLE, place, sealed)?;
        let row = K::Row::from_bytes(&row);
        let mut row = row.map_err(|error| ClientError::Index(error.to_string()))?;
        K::keyed(&mut row, &key);
        Ok(row)
    }

    /// The key and bytes of a row of any table.
    fn unseal_any(&self, table: u8, place: &[u8], sealed: &[u8]) -> Result<KeyAndRow, ClientError> {
        #[cfg(test)]
        self.unsealed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let damaged =
            || ClientError::Index(String::from("a row is damaged or belongs to another identity"));
        let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or_else(damaged)?;
        let aad = [&[table], place].concat();
        let row = self.cipher.decrypt(nonce.into(), Payload { msg: sealed, aad: &aad });
        let plain = Zeroizing::new(row.map_err(|_| damaged())?);
        let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (key, row) = rest.split_at_checked(length).ok_or_else(damaged)?;
        Ok((key.to_vec(), Zeroizing::new(row.to_vec())))
    }

    /// One row.
    pub(crate) fn row<K: Kind>(&self, _: K, key: &[u8]) -> Result<Option<K::Row>, ClientError> {
        let place = self.place(K::TABLE, key);
        match self.reader()?.get(K::TABLE, &place)? {
            None => Ok(None),
            Some(sealed) => self.unseal::<K>(&place, &sealed).map(Some),
        }
    }

    /// Several rows of a kind, in the order of `keys`.
    pub(crate) fn rows_at<'a, K: Kind>(
        &self,
        _: K,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<Option<K::Row>>, ClientError> {
        let rows = self.reader()?;
        let row = |key| {
            let place = self.place(K::TABLE, key);
            let sealed = rows.get(K::TABLE, &place)?;
            sealed.map(|sealed| self.unseal::<K>(&place, &sealed)).transpose()
        };
        keys.map(row).collect()
    }

    /// Passes those rows of a kind that exist for these keys to `take`, one at a time.
    pub(crate) fn each_at<'a, K: Kind>(
        &self,
        _: K,
        keys: impl Iterator<Item = &'a [u8]>,
        mut take: impl FnMut(K::Row),
    ) -> Result<(), ClientError> {
        let rows = self.reader()?;
        for key in keys {
            let place = self.place(K::TABLE, key);
            if let Some(sealed) = rows.get(K::TABLE, &place)? {
                take(self.unseal::<K>(&place, &sealed)?);
            }
        }
        Ok(())
    }

    /// All rows of a kind.
    pub(crate) fn rows<K: Kind>(&self, kind: K) -> Result<Vec<K::Row>, ClientError> {
        let mut out = Vec::new();
        self.each_row(&self.reader()?, kind, &[], |row| out.push(row))?;
        Ok(out)
    }

    /// Passes the rows of a kind with their keys to `take`, in no order, until it gives `false`.
    pub(crate) fn each_keyed<K: Kind>(
        &self,
        _: K,
        mut take: impl FnMut(&[u8], K::Row) -> bool,
    ) -> Result<(), ClientError> {
        let failed = self.reader()?.each(K::TABLE, &[], None, |place, sealed| {
            let row = self.unseal_any(K::TABLE, place, sealed).and_then(|(key, row)| {
                let row = K::Row::from_bytes(&row);
                Ok((key, row.map_err(|error| ClientError::Index(error.to_string()))?))
            });
            match row.map(|(key, row)| take(&key, row)) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(Ok(())),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        })?;
        failed.unwrap_or(Ok(()))
    }

    /// Passes the rows of a kind whose places begin with `prefix` to `take`.
    fn each_row<K: Kind>(
        &self,
        rows: &impl CatalogRows,
        _: K,
        prefix: &[u8],
        mut take: impl FnMut(K::Row),
    ) -> Result<(), ClientError> {
        let failed = rows.each(K::TABLE, prefix, None, |place, sealed| {
            match self.unseal::<K>(place, sealed) {
                Ok(row) => {
                    take(row);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
        failed?.map_or(Ok(()), Err)
    }

    /// Whether rows of another version of this program exist.
    pub(crate) fn has_unknown_rows(&self) -> Result<bool, ClientError> {
        let rows = self.reader()?;
        for table in (0..LOCAL_FROM).filter(|table| is_unknown(*table)) {
            if !rows.scan(table, &[], None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn change(&self, table: u8, key: &[u8], row: Option<&[u8]>) -> CatalogChange {
        let place = self.place(table, key);
        match row {
            Some(row) => {
                let value = self.seal(table, &place, key, row);
                CatalogChange::Put { table, key: place.to_vec(), value }
            }
            None => CatalogChange::Remove { table, key: place.to_vec() },
        }
    }
}

impl From<CatalogError> for ClientError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::InUse { .. } => Self::Locked { what: String::from("the local index") },
            CatalogError::Full(source) => Self::Io { path: "the local index".into(), source },
            error => Self::Index(error.to_string()),
        }
    }
}
