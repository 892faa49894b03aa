//! A storage node: it serves shards, proves them, earns, and keeps custody shares.
//!
//! A [`Node`] is a set of tasks around one store. They accept connections and answer
//! `wire::storage` requests, follow the ledger, prove the shards once per epoch, keep the node's
//! row on the ledger up to date, delete unpaid shards, and post releases of sold keys in time.
//! Clock, randomness and blocking work come from a `Host`, so the simulator runs this same code in
//! virtual time. See `spec/node.md`.
//!
//! This crate knows nothing of iroh, redb or the files of users, and holds no key that opens a
//! file.

extern crate alloc;

mod admission;
mod alert;
mod answer;
mod care;
mod checkpoint;
mod custodian;
mod declare;
mod exit;
mod folder;
mod follow;
mod key;
mod lru;
mod node;
mod offline;
mod options;
mod pace;
mod prove;
mod reads;
mod register;
mod scrub;
mod serve;
mod settings;
mod shared;
mod slots;
mod submit;
mod sweep;

pub use alert::Alert;
pub use care::{Caring, OpenClaim};
pub use exit::{Exit, ExitStage, HeldVault};
pub use key::OwnKey;
pub use node::{Node, NodeError, NodeFailure, NodeHealth, NodeStatus, Stopper};
pub use offline::{Folder, Sample};
pub use options::{Limits, NodeOptions};
pub use settings::{DayTimes, RATE_MIN, Rate, ScrubRate, Settings, SettingsError};
pub use symbolon_store::{DamagedShard, Scrub};
