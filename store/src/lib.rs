//! A node's shard files with their redb index, and a client's catalog.
//!
//! The two parts are independent:
//!
//! - [`Shards`] is a node's disk. Shards are written through a [`ShardWriter`] and read through a
//!   [`ShardFile`]. Beside them are the small tables of a node. A shard is stored whole or not at
//!   all, even if the machine stops at any moment.
//! - [`Catalog`] is a client's local index of opaque rows. It knows nothing of their encryption.
//!
//! Both follow the same rules. Files have mode 0600 and directories 0700. Each change is one
//! durable commit. All calls block, so callers run them where blocking is allowed. Both open their
//! database with [`open_database`], which the embedded ledger uses too. [`durable`] does all syncs.
//!
//! See `spec/store.md`.

// The record macros name `alloc`.
extern crate alloc;

mod catalog;
mod database;
pub mod durable;
mod error;
mod files;
mod overlay;
mod shards;

pub use catalog::{
    Catalog, CatalogChange, CatalogError, CatalogReader, CatalogRow, CatalogRows, CatalogWriter,
};
pub use database::open_database;
pub use error::{Damage, StoreError, is_full};
pub use files::free_bytes;
pub use overlay::look_at_database;
pub use shards::{
    Change, Charge, Checking, Counter, Counts, Custody, CustodyLimits, CustodyWaits, DamagedShard,
    ReadKey, ReadLimits, Scrub, Shard, ShardFile, ShardInfo, ShardState, ShardWriter, Shards,
    SlotsHead, SlotsView, Stored, Unpaid,
};
