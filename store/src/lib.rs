//! What lies on disk: a node's shard files with their redb index, and a client's catalog.
//!
//! Two rooms that share nothing but this crate's habits (files 0600, directories 0700, one durable
//! commit per change, everything blocking; callers run it where blocking is allowed) and how they open
//! their database, [`open_database`], which the embedded ledger opens its own with. All that is synced is
//! synced by [`durable`]:
//!
//! - [`Shards`]: a node's disk. Shards stream in through a [`ShardWriter`] and out through a
//!   [`ShardFile`]; beside them the small tables a node needs to remember. A shard is there whole or
//!   not at all, at whatever moment the machine stops.
//! - [`Catalog`]: a client's local index, rows of opaque bytes; it knows nothing of their encryption.
//!
//! See `spec/store.md`.

// The record macros name it.
extern crate alloc;

mod catalog;
mod database;
pub mod durable;
mod error;
mod files;
mod shards;

pub use catalog::{Catalog, CatalogChange, CatalogError, CatalogReader, CatalogRow};
pub use database::open_database;
pub use error::{Damage, StoreError, is_full};
pub use files::free_bytes;
pub use shards::{
    Change, Charge, Counter, CustodyLimits, CustodyWaits, Shard, ShardFile, ShardInfo, ShardState,
    ShardWriter, Shards, SlotsHead, SlotsView, Stored,
};
