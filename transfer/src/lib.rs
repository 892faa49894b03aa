//! Moves segments to nodes and back: connections, placement, upload, download, ranged reads.
//!
//! - [`place`] finds nodes that answer, and estimates the price and durability of storing on them.
//! - [`upload`] sends a segment's shards to nodes and opens its deal.
//! - [`download`] reads whole groups of stripes in order, from the fastest nodes.
//! - [`reader`] reads anywhere in an object, cell by cell.
//! - [`check`] checks a deal's shards. [`delete`] deletes the shards of ended deals.
//! - [`shard`] reads one shard at one node. [`peers`] keeps connections to nodes.
//!
//! All operations belong to one small value, a [`Network`] of a ledger, an endpoint and a host.
//! This crate knows no names, folders, listings or journals. The caller passes an
//! [`upload::Memory`], which stores the little that must survive a crash. So a program that
//! repairs, serves ranges or measures needs no home folder: `tests/` stores and reads with only the
//! nodes of an in-memory network.
//!
//! The pure sessions of `protocol::session` make the decisions, and this crate carries them out. It
//! knows the ledger only as a port.

mod buffers;
mod chain;
pub mod check;
mod deal;
pub mod delete;
pub mod download;
pub mod draw;
pub mod durability;
mod error;
pub mod extend;
pub mod met;
mod nodes;
mod owner;
pub mod pace;
pub mod peers;
pub mod place;
pub mod progress;
pub mod reader;
mod reading;
pub mod reads;
pub mod repair;
mod rows;
mod segment;
pub mod shard;
mod survey;
pub mod upload;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host};

pub use chain::VALID_BLOCKS;
pub use deal::{epoch_ms, keeps, runs};
pub use error::{Reason, TransferError, faults_in_brackets};
pub use nodes::NodeView;
pub use owner::{Owner, transaction_id};

use crate::{
    buffers::Buffers, chain::ChainSeen, met::Acquaintance, pace::Pace, peers::Peers, survey::Survey,
};

/// Nodes that are listed at once. If the ledger has no more, these are all of them.
pub(crate) const NODES_PAGE: usize = 128;

/// Locks a mutex. Values behind a lock in this crate are always whole, also after a thread panicked
/// with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ledger, the nodes and the machine, for transfers. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    host: Host,
    peers: Arc<Peers>,
    buffers: Buffers,
    chain: Mutex<Option<ChainSeen>>,
    /// The nodes that answered recently.
    survey: tokio::sync::Mutex<Option<Survey>>,
    /// The nodes that answered earlier, also in earlier runs.
    met: Mutex<Acquaintance>,
    /// What bounds the bandwidth, if something does.
    pace: Option<Arc<dyn Pace>>,
}

impl Network {
    /// Combines the parts. `endpoint` answers with the key that grants are bound to. `met` holds
    /// the nodes from earlier runs and may be empty.
    #[must_use]
    pub fn new(ledger: Ledger, endpoint: Endpoint, host: Host, met: Acquaintance) -> Self {
        Self::with(ledger, endpoint, host, (met, None))
    }

    /// The same with bounded bandwidth.
    #[must_use]
    pub fn paced(ledger: Ledger, endpoint: Endpoint, host: Host, pace: Arc<dyn Pace>) -> Self {
        Self::with(ledger, endpoint, host, (Acquaintance::default(), Some(pace)))
    }

    fn with(
        ledger: Ledger,
        endpoint: Endpoint,
        host: Host,
        (met, pace): (Acquaintance, Option<Arc<dyn Pace>>),
    ) -> Self {
        let peers = Arc::new(Peers::new(endpoint, host.clone()));
        let inner = Inner {
            ledger,
            host,
            peers,
            buffers: Buffers::default(),
            chain: Mutex::default(),
            survey: tokio::sync::Mutex::default(),
            met: Mutex::new(met),
            pace,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Clock, randomness and threads for blocking work.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Connections to nodes.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        &self.inner.peers
    }

    /// Frees the buffers that wait to be reused.
    pub fn free_buffers(&self) {
        self.buffers().clear();
    }

    fn buffers(&self) -> &Buffers {
        &self.inner.buffers
    }

    async fn sleep_until(&self, deadline_ms: Option<u64>) {
        match deadline_ms {
            Some(deadline_ms) => self.host().sleep_until_tick(deadline_ms).await,
            None => std::future::pending().await,
        }
    }
}
