//! Rows of buckets. A bucket is a table of items under keys that are plain bytes: `a` and `a/b` lie side by side. An item
//! has a row for each of its versions. The bytes of a version are ranges of stored objects, so a copy or a complete upload
//! in parts moves no bytes.

use std::fmt;

use symbolon_protocol::{
    Decode, DecodeError, Encode, choice, codec::Reader, id::ObjectId,
    limits::INDEX_VALUE_BYTES_MAX, record,
};

/// Bytes of a version's id, and of the id of an upload in parts.
pub(crate) const ID_BYTES: usize = 16;

/// The most bytes that one row of an item may have. A change of the index must have room for it.
const ROW_BYTES_MAX: usize = INDEX_VALUE_BYTES_MAX - 1024;

choice! {
    /// Whether a bucket keeps older versions of its items.
    #[derive(Copy)]
    pub enum Versions {
        /// It never did: each item has one version, the null version.
        Never = 1,
        /// Each put adds a version, and a removal adds a tombstone.
        Kept = 2,
        /// It did before. A put replaces the null version, and other versions stay.
        Paused = 3,
    }
}

record! {
    /// What a program keeps with a bucket: the client does not look into it.
    pub struct Setting {
        /// What it is.
        pub name: String,
        /// Its value.
        pub value: Vec<u8>,
    }
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketEntry {
    /// The row's key. The row's bytes do not repeat it.
    pub(crate) name: Vec<u8>,
    /// How often the row was changed.
    pub(crate) revision: u64,
    pub(crate) made_ms: u64,
    pub(crate) versions: Versions,
    pub(crate) settings: Vec<Setting>,
}

impl Encode for BucketEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.revision.encode(out);
        self.made_ms.encode(out);
        self.versions.encode(out);
        self.settings.encode(out);
    }
}

impl Decode for BucketEntry {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: Vec::new(),
            revision: Decode::decode(input)?,
            made_ms: Decode::decode(input)?,
            versions: Decode::decode(input)?,
            settings: Decode::decode(input)?,
        })
    }
}

record! {
    /// A range of a stored object.
    #[derive(Copy)]
    pub(crate) struct ItemRange {
        pub(crate) object: ObjectId,
        pub(crate) first: u64,
        pub(crate) length: u64,
    }
}

record! {
    /// The mark by which HTTP recognizes bytes.
    #[derive(Copy)]
    pub struct Etag {
        /// The MD5 of the bytes. Of an item in parts, the MD5 of the MD5s of its parts.
        pub md5: [u8; 16],
        /// Number of parts. Zero if the bytes were put as a whole.
        pub parts: u32,
    }
}

choice! {
    /// A sum over bytes. Sums of several bytes are in the order in which HTTP writes them.
    #[derive(Copy)]
    pub enum Sum {
        /// CRC-32, as in zip.
        Crc32 = 1 {
            /// The sum.
            sum: [u8; 4],
        },
        /// CRC-32C.
        Crc32c = 2 {
            /// The sum.
            sum: [u8; 4],
        },
        /// CRC-64/NVME.
        Crc64 = 3 {
            /// The sum.
            sum: [u8; 8],
        },
        /// SHA-1.
        Sha1 = 4 {
            /// The sum.
            sum: [u8; 20],
        },
        /// SHA-256.
        Sha256 = 5 {
            /// The sum.
            sum: [u8; 32],
        },
    }
}

record! {
    /// A sum over an item's bytes, or over the sums of its parts.
    #[derive(Copy)]
    pub struct Checksum {
        /// The sum.
        pub sum: Sum,
        /// Number of parts whose sums it is over. Zero if it is over the bytes.
        pub parts: u32,
    }
}

choice! {
    /// What an attribute is for.
    #[derive(Copy, PartialOrd, Ord)]
    pub enum AttributeKind {
        /// A header of HTTP that readers get back, such as the content type.
        Header = 1,
        /// The user's own metadata.
        Metadata = 2,
        /// A tag.
        Tag = 3,
        /// What the program keeps for itself.
        Own = 4,
    }
}

record! {
    /// What is known of an item besides its bytes.
    pub struct Attribute {
        /// What it is for.
        pub kind: AttributeKind,
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: Vec<u8>,
    }
}

choice! {
    /// What a version stands for.
    pub(crate) enum ItemContent {
        /// The item was removed, and older versions stay.
        Tombstone = 1,
        /// Bytes.
        Bytes = 2 {
            etag: Option<Etag>,
            checksums: Vec<Checksum>,
            /// The lengths of the parts that it was put in.
            parts: Vec<u64>,
            length: u64,
            /// Where the bytes lie, in order. A version whose bytes wait on this machine has none.
            ranges: Vec<ItemRange>,
        },
    }
}

record! {
    /// One version of an item.
    pub(crate) struct ItemEntry {
        /// Of two versions, the one with the greater stamp is the newer one: the machine's time in milliseconds, or one more
        /// than the stamp of the version before.
        pub(crate) stamp: u64,
        /// How often its attributes were changed.
        pub(crate) revision: u64,
        pub(crate) stored_ms: u64,
        pub(crate) content: ItemContent,
        pub(crate) attributes: Vec<Attribute>,
    }
}

impl ItemEntry {
    pub(crate) fn is_tombstone(&self) -> bool {
        self.content == ItemContent::Tombstone
    }

    /// Where its bytes lie.
    pub(crate) fn ranges(&self) -> &[ItemRange] {
        match &self.content {
            ItemContent::Tombstone => &[],
            ItemContent::Bytes { ranges, .. } => ranges,
        }
    }

    /// Whether a change of the index has room for the row.
    pub(crate) fn fits(&self) -> bool {
        self.to_bytes().len() <= ROW_BYTES_MAX
    }
}

/// The bytes of a version that are on this machine only, until they are stored in a pack.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WaitingBytes(pub(crate) Vec<u8>);

impl fmt::Debug for WaitingBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitingBytes({})", self.0.len())
    }
}

impl Encode for WaitingBytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Decode for WaitingBytes {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(input.take(input.remaining())?.to_vec()))
    }
}

record! {
    /// How many versions wait on this machine, and their bytes.
    #[derive(Copy, Default)]
    pub(crate) struct WaitingSum {
        pub(crate) items: u64,
        pub(crate) bytes: u64,
    }
}

record! {
    /// An upload in parts that is not complete.
    pub(crate) struct PartedEntry {
        pub(crate) made_ms: u64,
        pub(crate) attributes: Vec<Attribute>,
    }
}

record! {
    /// A part of an upload in parts.
    pub(crate) struct ItemPartEntry {
        pub(crate) stored_ms: u64,
        pub(crate) etag: [u8; 16],
        pub(crate) checksums: Vec<Checksum>,
        pub(crate) length: u64,
        pub(crate) ranges: Vec<ItemRange>,
    }
}

/// The key of an item's row, or of the row of an upload in parts: bucket, zero byte, key, id. No bucket's name has a zero
/// byte, and all ids have one length, so the key says what it is made of.
pub(crate) fn item_row_key(bucket: &[u8], key: &[u8], id: &[u8; ID_BYTES]) -> Vec<u8> {
    [bucket, &[0], key, id].concat()
}

/// The key of the row of a part.
pub(crate) fn part_row_key(upload: &[u8; ID_BYTES], number: u16) -> Vec<u8> {
    [&upload[..], &number.to_be_bytes()].concat()
}

/// The row's key without the id, and the id.
pub(super) fn split_id(row_key: &[u8]) -> Option<(&[u8], [u8; ID_BYTES])> {
    let (item, id) = row_key.split_last_chunk::<ID_BYTES>()?;
    item.contains(&0).then_some((item, *id))
}
