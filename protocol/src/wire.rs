//! The messages between parties. See `spec/wire.md`.

pub mod ledger;
pub mod storage;
