//! The messages between parties. See `spec/wire.md`.

pub mod ledger;
pub mod preview;
pub mod storage;
