//! Every size the protocol bounds, in one place. Units are in the names; reasons beside the numbers.

/// Elements of one list or bytes of one text: far above any honest message, far below harm.
pub const LIST_MAX: u32 = 1 << 17;

/// Bytes of a BLAKE3 chunk: the leaf a storage proof opens. Fixed by BLAKE3.
pub const LEAF_BYTES: usize = 1024;

/// Bytes of a full sealed cell: 64 BLAKE3 chunks, and small enough to stay in a core's cache.
pub const CELL_BYTES: usize = 65_536;

/// Bytes of the Poly1305 tag that ends every sealed cell.
pub const TAG_BYTES: usize = 16;

/// Bytes of user data in a full cell.
pub const CELL_PLAIN_BYTES: usize = CELL_BYTES - TAG_BYTES;

/// Bytes of one shard at most: one minute at 1 MB/s, the slowest link worth paying for.
pub const SHARD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of one verified slice, the unit in which shards travel: 16 cells share one Merkle path.
pub const SLICE_BYTES: usize = 16 * CELL_BYTES;

/// Shards of a segment at most. GF(2^8) allows 256; nobody needs more than the largest scheme.
pub const SHARDS_MAX: u8 = 128;

/// Bytes of one transaction at most: a dispute carries one 64 KiB cell and its path.
pub const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// Bytes of one block's transactions at most.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one framed message at most: a block and its frame.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Links of a grant at most.
pub const GRANT_LINKS_MAX: usize = 8;

/// Bytes of a grant chain at most.
pub const GRANT_BYTES_MAX: usize = 2048;

/// Custodians of one vault at most.
pub const CUSTODIANS_MAX: usize = 32;

/// Leaves one storage proof opens at most, per node and epoch.
pub const CHALLENGES_MAX: usize = 40;

/// Bytes of a listing's title at most.
pub const TITLE_BYTES_MAX: usize = 120;

/// Entries of a listing's revenue split at most.
pub const SPLITS_MAX: usize = 32;

/// Addresses in a node's record at most, and bytes of each.
pub const ADDRESSES_MAX: usize = 16;

/// Bytes of one address text at most: a bracketed IPv6 socket address or a relay URL.
pub const ADDRESS_BYTES_MAX: usize = 256;
