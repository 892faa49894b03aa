//! A node as its operator holds it: start, look, stop.

use std::sync::{Arc, Mutex};

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_net::{Endpoint, Host};
use symbolon_protocol::{
    Amount,
    id::{AccountId, ChainId, NodeId},
    ledger::rows::{Chain, Chains, Nodes},
};
use symbolon_store::{Store, StoreError};
use thiserror::Error;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tracing::{error, info};

use crate::{
    admission::{Admission, Paid},
    custodian::{self, Schedule},
    follow,
    key::NodeKey,
    options::NodeOptions,
    prove, register,
    serve::{self, GrantCache},
    shared::{Shared, View},
    sweep,
};

/// Why a node does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The endpoint answers under another key than the node's.
    #[error("the endpoint answers as {endpoint}, the node is {node}")]
    WrongEndpoint {
        /// The endpoint's key.
        endpoint: NodeId,
        /// The node's key.
        node: NodeId,
    },
    /// The folder belongs to another node or another ledger.
    #[error("the folder belongs to node {node} of ledger {chain}")]
    WrongFolder {
        /// Whose it is.
        node: NodeId,
        /// Of which ledger.
        chain: ChainId,
    },
    /// The ledger did not answer.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
    /// The ledger has no state.
    #[error("the ledger has no chain row")]
    EmptyLedger,
    /// The folder cannot be used.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
}

/// What a node is and has, at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its identity.
    pub id: NodeId,
    /// Bytes of shards on disk.
    pub used: u64,
    /// Bytes offered.
    pub capacity: u64,
    /// Shards on disk.
    pub shards: u64,
    /// Shards on disk whose deal is not open.
    pub unpaid_shards: u64,
    /// Bytes whose deal is not open, uploads under way included.
    pub unpaid_bytes: u64,
    /// Vault shares kept.
    pub vault_shares: u64,
    /// Asking price per GiB and epoch.
    pub price: Amount,
    /// The account that earns.
    pub payout: AccountId,
    /// Whether its row on the ledger says what its options say.
    pub registered: bool,
    /// The last block it has followed.
    pub height: u64,
    /// The current epoch.
    pub epoch: u64,
    /// Slots in its table on the ledger.
    pub slots: u32,
    /// The last epoch it has proven.
    pub passed_epoch: Option<u64>,
    /// Epochs proven.
    pub passed: u64,
    /// Epochs missed.
    pub missed: u64,
    /// What its whole table earns per proven epoch.
    pub rate: Amount,
    /// What it was seen to earn since this store exists.
    pub earned: Amount,
}

/// A running storage node. Dropping it ends it without waiting; [`Node::stop`] waits.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node: opens its store, catches up on what it must know, and begins to serve, follow,
    /// prove and register.
    pub async fn start(
        options: NodeOptions,
        secret: [u8; 32],
        endpoint: Endpoint,
        ledger: Ledger,
        host: Host,
    ) -> Result<Self, NodeError> {
        let key = NodeKey::new(&secret);
        if endpoint.id() != key.id() {
            return Err(NodeError::WrongEndpoint { endpoint: endpoint.id(), node: key.id() });
        }
        let chain = ledger.row(Chains, &()).await?.ok_or(NodeError::EmptyLedger)?;
        let store = open_store(&options, &host, key.id(), chain.id).await?;
        let height = follow::first_height(&ledger, &host, &store).await?;
        let shared = Arc::new(assemble(options, key, endpoint, ledger, host, &chain, store, height));
        count_kept(&shared).await?;
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, &shared);
        info!(node = %shared.key.id(), height, "started");
        Ok(Self { shared, tasks })
    }
}
