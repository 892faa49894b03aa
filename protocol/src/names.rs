//! The names index on the network: a small log-structured merge tree under one record per account. See
//! `spec/names.md`.
//!
//! ```text
//! root record (sealed, on the ledger)    runs, oldest first | tail: the newest changes
//! run (an ordinary stored object)        changes in order of table and key, each key once
//! ```
//!
//! A row of an index is opaque here: a table's number, a key, a value. For each key the latest change
//! holds. A change without a value removes the row. Everything is bounded and in one order, so that two
//! programs with the same rows write the same bytes.

mod change;
mod merge;
mod record;
mod seal;

pub use change::{Change, RunWriter, decode_changes, decode_run, encode_changes, encode_run};
pub use merge::{cut, merge, runs_to_merge, without_removed};
pub use record::{Part, RootRecord, Run, Seen};
pub use seal::{Place, RootError, has_room, open, seal};

#[cfg(test)]
mod tests;
