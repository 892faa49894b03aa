//! The names index on the network, from an owner's side. Other devices see what one device stored, and 24 words restore
//! everything. See `spec/names.md`.
//!
//! - [`pull`](Library::pull_names): a newer root record on the ledger -> runs -> the local index;
//! - [`publish`](Library::publish_names): rows that changed here -> the tail or a new run -> the root record.
//!
//! The local index is always enough to work with. If publishing fails, its rows stay marked, and the next publication
//! takes them along.

mod cost;
mod publish;
mod pull;
mod runs;
#[cfg(test)]
pub(super) mod tests;

use std::time::Duration;

use symbolon_protocol::{
    Amount,
    id::{DealId, Hash},
};

use crate::{
    catalog::{Folders, Grants, Purchases},
    error::ClientError,
    library::{Library, Local},
    locks::NameLock,
};

/// The slot of the lock that a pull or publication holds. No name of a file begins with a zero byte.
const LOCK: &[u8] = b"\0index";

/// How long a command waits while another command of this identity works on the index.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds between two attempts to take the lock.
const LOCK_RETRY_MS: u64 = 20;

pub use cost::Growth;

/// A root record: its version and the digest of its blob.
pub(crate) type AtRoot = (u64, Option<Hash>);

/// The result of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullReport {
    /// The version that this device has now.
    pub version: u64,
    /// Number of rows that another device had changed.
    pub rows: u64,
    /// Names that two devices gave or changed at once. Both contents are kept, as versions.
    pub merged: Vec<String>,
    /// Whether the ledger's record was not made from the one known here. Then the ledger was set back, or it shows
    /// different devices different records. Nothing was removed here, and all rows will be published again.
    pub set_back: bool,
}

/// The result of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReport {
    /// The version that is on the ledger now.
    pub version: u64,
    /// Number of this device's rows that were published.
    pub rows: usize,
    /// The whole cost of storing runs. It is zero as long as the newest changes fit into the root record.
    pub cost: Amount,
    /// The changes of other devices, if there were any.
    pub pulled: Option<PullReport>,
}

/// Counts of the rows in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexView {
    /// Number of names: of files, links and folders.
    pub names: usize,
    /// Number of grants given and received.
    pub grants: usize,
    /// Number of purchases.
    pub purchases: usize,
    /// Number of objects that hold the index on the network. The newest changes are in the root record.
    pub runs: usize,
    /// The deals of these objects.
    pub deals: Vec<DealId>,
    /// Number of rows that changed on this machine and are not published yet.
    pub unpublished: usize,
}

impl Library {
    /// Counts the rows in the index.
    pub async fn index(&self) -> Result<IndexView, ClientError> {
        self.read(|local| local.index()).await
    }

    /// Waits until no other command of this identity works on the index, and takes the lock.
    async fn lock_index(&self) -> Result<NameLock, ClientError> {
        let patience = u64::try_from(LOCK_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.host().ticks_ms().saturating_add(patience);
        loop {
            match self.lock(LOCK.to_vec(), String::from("the names index")).await {
                Err(ClientError::Locked { .. }) if self.host().ticks_ms() < until_ms => {
                    self.host().sleep_ms(LOCK_RETRY_MS).await;
                }
                Err(ClientError::Locked { .. }) => {
                    return Err(ClientError::Locked { what: String::from("the names index") });
                }
                locked => return locked,
            }
        }
    }
}

impl Local {
    pub(crate) fn index(&self) -> Result<IndexView, ClientError> {
        let names = self.catalog().row(Folders, b"")?.map_or(0, |all| all.live);
        let runs = self.standing()?.known.record.runs;
        let parts: Vec<_> = runs.iter().flat_map(|run| &run.parts).collect();
        let (me, mut deals) = (self.me(), Vec::new());
        for part in &parts {
            let layout = part.manifest.layout();
            let layout = layout.map_err(|error| ClientError::Index(error.to_string()))?;
            deals.extend((0..layout.segments()).map(|segment| part.key.deal(&me, segment)));
        }
        Ok(IndexView {
            names: usize::try_from(names).unwrap_or(usize::MAX),
            grants: self.catalog().rows(Grants)?.len(),
            purchases: self.catalog().rows(Purchases)?.len(),
            runs: parts.len(),
            deals,
            unpublished: self.catalog().dirty_count()?,
        })
    }
}
