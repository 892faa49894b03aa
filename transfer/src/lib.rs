//! Segments to nodes and back: peers, placement, upload, download, ranged reads.
//!
//! - [`place`]: which nodes there are, which of them answer, what storing on them costs and promises;
//! - [`upload`]: a segment's shards go to nodes, and its deal is opened;
//! - [`download`]: whole groups of stripes, in order, from whoever is fastest;
//! - [`reader`]: anywhere in an object, one cell at a time;
//! - [`check`]: whether a deal's shards are still there; [`delete`]: having them deleted when it is over;
//! - [`shard`], [`peers`]: one shard at one node, and connections to all of them.
//!
//! All of it hangs on one small value, a [`Network`]: a ledger, an endpoint, a host. Nothing here knows a name, a
//! folder, a listing or a journal: whoever stores something gives a [`upload::Memory`], which keeps the little that
//! must outlive a crash. So a program that repairs, serves ranges or measures needs no folder of its own; `tests/`
//! stores and reads back with nothing but the nodes of an in-memory network.
//!
//! Decisions are taken by the pure sessions of `protocol::session`; this crate carries them out. It knows the
//! ledger only as a port.

mod buffers;
mod chain;
pub mod check;
mod deal;
pub mod delete;
pub mod download;
pub mod durability;
mod error;
pub mod met;
mod nodes;
mod owner;
pub mod peers;
pub mod place;
pub mod progress;
pub mod reader;
mod reading;
mod rows;
mod segment;
pub mod shard;
mod survey;
pub mod upload;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host};

pub use deal::{epoch_ms, keeps, runs};
pub use error::{Reason, TransferError, told};
pub use nodes::NodeView;
pub use owner::{Owner, VALID_BLOCKS, transaction_id};

use crate::{buffers::Buffers, chain::ChainSeen, met::Acquaintance, peers::Peers, survey::Survey};

/// Nodes that are listed at once to choose from: where the ledger has no more, these are all of them.
pub(crate) const NODES_PAGE: usize = 128;

/// What this crate keeps behind a lock is whole whatever happened to whoever held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ledger, the nodes and the machine, as one who transfers sees them. Cloning is cheap.
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
    /// Which nodes answered a moment ago.
    survey: tokio::sync::Mutex<Option<Survey>>,
    /// Which answered before.
    met: Mutex<Acquaintance>,
}

impl Network {
    /// Puts it together. `endpoint` answers with the key that grants are shown for; `met` is who is remembered from
    /// an earlier time, or nobody.
    #[must_use]
    pub fn new(ledger: Ledger, endpoint: Endpoint, host: Host, met: Acquaintance) -> Self {
        let peers = Arc::new(Peers::new(endpoint, host.clone()));
        let inner = Inner {
            ledger,
            host,
            peers,
            buffers: Buffers::default(),
            chain: Mutex::default(),
            survey: tokio::sync::Mutex::default(),
            met: Mutex::new(met),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Clock, randomness and blocking work.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Connections to nodes.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        &self.inner.peers
    }

    /// Lets go the memory that waits to be used again.
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
