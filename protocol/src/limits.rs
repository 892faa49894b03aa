//! All sizes that the protocol bounds, in one place. Units are in the names, reasons beside the numbers.

/// Elements of one list, or bytes of one text, at most: far above any honest message, far below harm.
pub const LIST_MAX: u32 = 1 << 17;

/// Bytes of a BLAKE3 chunk: the leaf a storage proof opens. Fixed by BLAKE3.
pub const LEAF_BYTES: usize = 1024;

/// Bytes of a full sealed cell: 64 BLAKE3 chunks, and small enough to stay in a core's cache.
pub const CELL_BYTES: usize = 65_536;

/// Bytes of the Poly1305 tag that ends every sealed cell.
pub const TAG_BYTES: usize = 16;

/// Bytes of user data in a full cell.
pub const CELL_PLAIN_BYTES: usize = CELL_BYTES - TAG_BYTES;

/// Cells at most that a seller chooses for the preview of a listing: 2 MiB, beside 64 that a beacon picks.
pub const CHOSEN_CELLS_MAX: usize = 32;

/// Cells that a viewer gets for one number of its own at most: they fit into one message, four times over.
pub const FRESH_CELLS_MAX: u8 = 8;

/// Bytes of one shard at most: one minute at 1 MB/s, the slowest link worth paying for.
pub const SHARD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of one verified slice, the unit in which shards travel: 16 cells share one Merkle path.
pub const SLICE_BYTES: usize = 16 * CELL_BYTES;

/// Shards of a segment at most. GF(2^8) allows 256, but the largest scheme needs no more.
pub const SHARDS_MAX: u8 = 128;

/// Bytes of one transaction at most: a dispute carries one 64 KiB cell and its path.
pub const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// Bytes of one block's transactions and events together at most.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the events of one transaction at most. The largest are those of a deal with 128 shards that ends before it
/// begins: each of its nodes is paid for an epoch.
pub const TRANSACTION_EVENT_BYTES_MAX: usize = 24 * 1024;

/// Validators of a ledger at most: a commit by all of them has about 8 KiB.
pub const VALIDATORS_MAX: usize = 128;

/// Bytes of one framed message at most: the largest block, with its events.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Links of a grant at most.
pub const GRANT_LINKS_MAX: usize = 8;

/// Bytes of a grant chain at most.
pub const GRANT_BYTES_MAX: usize = 2048;

/// Objects that one grant opens at most.
pub const GRANT_OBJECTS_MAX: usize = 1 << 16;

/// Readers and rights of one object that a node lists for one day. The rest is one row more.
pub const READ_ROWS_OF_DAY: usize = 64;

/// Days for which a node keeps who read what.
pub const READ_DAYS_KEPT: u32 = 31;

/// Rows of one answer about who read an object at most: fifteen days that are full, in about 100 KB.
pub const READ_ROWS_MAX: usize = 15 * (READ_ROWS_OF_DAY + 1);

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

/// Bytes of an account's sealed root record at most: it is one row among many on the ledger.
pub const ROOT_BYTES_MAX: usize = 4096;

/// A root record's size is a multiple of this, so that it reveals little of its content.
pub const ROOT_STEP_BYTES: usize = 512;

/// Devices in a root record at most: each takes 16 of its bytes, and few people have more.
pub const INDEX_DEVICES_MAX: usize = 16;

/// Runs of a names index at most: a reader that knows none of them fetches all of them.
pub const INDEX_RUNS_MAX: usize = 6;

/// Parts of all runs of a names index at most: each takes 125 bytes of the root record, and half of the
/// record stays free for the newest changes.
pub const INDEX_PARTS_MAX: usize = 16;

/// Bytes of one part of a run at most: a reader holds a whole part in memory.
pub const INDEX_PART_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Changes in one list of a names index at most: as many as fit into a part, with at least 16 bytes each.
pub const INDEX_CHANGES_MAX: u32 = 1 << 22;

/// Bytes of a row's key in a names index at most: twice the longest name.
pub const INDEX_KEY_BYTES_MAX: usize = 8192;

/// Bytes of a row in a names index at most: thousands of versions of one name.
pub const INDEX_VALUE_BYTES_MAX: usize = 1 << 20;
