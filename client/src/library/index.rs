//! The names index on the network, from an owner's side: what one device stored, the others see, and 24
//! words bring everything back. See `spec/names.md`.
//!
//! - [`pull`](Library::pull_names): a newer root record on the ledger -> runs -> the local index;
//! - [`publish`](Library::publish_names): rows that changed here -> tail or a new run -> root record.
//!
//! The local index is always enough to work with. Publishing that fails leaves its rows marked, and the
//! next one takes them along.

mod cost;
mod publish;
mod pull;
mod runs;

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

/// What is locked while the index is pulled or published: no name of a file begins like that.
const LOCK: &[u8] = b"\0index";

/// How long to wait for another command of this identity that is at the index.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait between two tries of the lock, in milliseconds.
const LOCK_RETRY_MS: u64 = 20;

pub use cost::Growth;

/// A root record by its version and its blob's digest.
pub(crate) type AtRoot = (u64, Option<Hash>);

/// What pulling the index did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullReport {
    /// The version that is here now.
    pub version: u64,
    /// Rows that another device had changed.
    pub rows: u64,
    /// Names that were given or changed on two devices at once. Both contents are there, as versions.
    pub merged: Vec<String>,
    /// Whether the ledger had a record that was not made from the one known here: it was set back, or shows
    /// different devices different things. All that was here still is, and is to be published again.
    pub set_back: bool,
}

/// What publishing the index did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReport {
    /// The version that is on the ledger now.
    pub version: u64,
    /// Rows of this device that went there.
    pub rows: usize,
    /// What storing runs cost, all-in: nothing as long as the newest changes fit into the root record.
    pub cost: Amount,
    /// What other devices had changed, when there was something.
    pub pulled: Option<PullReport>,
}

/// What is in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexView {
    /// Names: of files, links and folders.
    pub names: usize,
    /// Grants given and received.
    pub grants: usize,
    /// Purchases.
    pub purchases: usize,
    /// Objects that hold the index on the network, besides the newest changes.
    pub runs: usize,
    /// The deals of these.
    pub deals: Vec<DealId>,
    /// Rows that changed on this machine and are not on the network yet.
    pub unpublished: usize,
}

impl Library {
    /// Counts what is in the index.
    pub async fn index(&self) -> Result<IndexView, ClientError> {
        self.read(|local| local.index()).await
    }

    /// Waits until no other command of this identity is at the index.
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
        let mut deals = Vec::new();
        for part in &parts {
            let layout = part.manifest.layout();
            let layout = layout.map_err(|error| ClientError::Index(error.to_string()))?;
            deals.extend((0..layout.segments()).map(|segment| part.key.deal(segment)));
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
