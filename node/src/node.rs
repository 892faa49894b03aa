//! A node for its operator: start it, read its status, stop it.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_net::{Endpoint, Host, watch};
use symbolon_protocol::{
    Amount,
    id::{AccountId, ChainId, NodeId},
    ledger::rows::{Chains, Node as NodeRow, Nodes},
};
use symbolon_store::{Shard, Shards, StoreError, durable};
use thiserror::Error;
use tokio::{sync::Notify, task::JoinSet};
use tracing::{error, info, warn};

use crate::{
    admission::{Admission, Paid},
    checkpoint,
    custodian::{self, Schedule},
    follow::{self, CannotFollow},
    key::NodeKey,
    options::NodeOptions,
    prove, register,
    serve::{self, GrantCache, KnownOrders},
    shared::{Shared, View},
    sweep,
};

/// Why a node does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The endpoint answers under another key than the node's.
    #[error("the endpoint has the key {endpoint}, but the node has the key {node}")]
    WrongEndpoint {
        /// The endpoint's key.
        endpoint: NodeId,
        /// The node's key.
        node: NodeId,
    },
    /// The folder belongs to another node or another ledger.
    #[error("{} belongs to another node or another ledger", path.display())]
    WrongFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has the node's key, but its store is gone.
    #[error(
        "{} has this node's key, but the store beside it is new: the ledger says that the node keeps {slots} \
         shards and has {bytes} bytes bound by deals", path.display()
    )]
    StoreGone {
        /// The folder.
        path: PathBuf,
        /// Rows of the node's slot table.
        slots: u32,
        /// Bytes bound by deals.
        bytes: u64,
    },
    /// The node would offer fewer bytes than it has accepted already.
    #[error("the node must offer at least the {bound} paid bytes that it stores, not {capacity}")]
    CapacityTooSmall {
        /// Bytes to offer.
        capacity: u64,
        /// Bytes that are bound by deals.
        bound: u64,
    },
    /// The ledger did not answer.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
    /// The ledger has no state.
    #[error("the ledger has no chain row")]
    EmptyLedger,
    /// The file that names the folder's owner cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
}

impl From<CannotFollow> for NodeError {
    fn from(error: CannotFollow) -> Self {
        match error {
            CannotFollow::Ledger(error) => Self::Ledger(error),
            CannotFollow::Store(error) => Self::Store(error),
        }
    }
}

impl NodeError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store(StoreError::Full(_)))
    }

    /// Whether shards or the whole store are gone.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::StoreGone { .. } | Self::Store(StoreError::ShardsGone { .. }))
    }

    /// Whether another process uses the folder.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreError::InUse { .. }))
    }
}

/// Why a running node cannot continue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this node cannot follow its ledger at block {height}: {why}")]
pub struct NodeFailure {
    /// The block that cannot be followed.
    pub height: u64,
    /// Why not.
    pub why: String,
}

/// The state of a node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node's key.
    pub id: NodeId,
    /// Bytes of shards on disk.
    pub used: u64,
    /// Bytes offered.
    pub capacity: u64,
    /// Shards on disk.
    pub shards: u64,
    /// Shards on disk whose deal is not open.
    pub unpaid_shards: u64,
    /// Bytes whose deal is not open, including uploads under way.
    pub unpaid_bytes: u64,
    /// Asking price per GiB and epoch.
    pub price: Amount,
    /// The account that receives the node's earnings.
    pub payout: AccountId,
    /// Whether the node's row on the ledger matches its options.
    pub registered: bool,
    /// The last block that the node has followed.
    pub height: u64,
    /// The current epoch.
    pub epoch: u64,
    /// Rows of its slot table on the ledger.
    pub slots: u32,
    /// The last epoch that it has proven.
    pub passed_epoch: Option<u64>,
    /// Number of proven epochs.
    pub passed: u64,
    /// Number of missed epochs.
    pub missed: u64,
    /// What all its slots together earn per proven epoch.
    pub rate: Amount,
    /// What it has earned since it was started, as seen in blocks.
    pub earned: Amount,
}

/// A running storage node. Dropping it ends it without waiting. [`Node::stop`] waits.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node: opens its store, catches up with the ledger, and begins to serve, follow,
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
        let (chain, row) = ledger.pair((Chains, &()), (Nodes, &key.id())).await?;
        let chain = chain.ok_or(NodeError::EmptyLedger)?;
        let store = open_store(&options, &host, key.id(), chain.id, row.as_ref()).await?;
        let height = checkpoint::first_height(&ledger, &host, &store, key.id()).await?;
        let shared = Shared {
            admission: Admission::new(options.capacity, options.limits.clone()),
            grants: Mutex::new(GrantCache::new(options.limits.grants_cached_max)),
            orders: KnownOrders::new(&options.limits),
            schedule: Schedule::default(),
            view: View::new(height, chain.epoch),
            stop: watch::Sender::new(false),
            endpoint_ended: Notify::new(),
            chain: chain.id,
            params: chain.params,
            options,
            key,
            endpoint,
            ledger,
            host,
            store,
        };
        count_kept(&shared).await?;
        check_capacity(&shared, row.as_ref())?;
        let shared = Arc::new(shared);
        info!(node = %shared.key.id(), height, "started");
        Ok(Self { tasks: spawn(&shared), shared })
    }

    /// The node's key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.key.id()
    }

    /// The current state of the node. Fails if the ledger does not answer.
    pub async fn status(&self) -> Result<NodeStatus, NodeError> {
        let shared = &self.shared;
        let row = shared.ledger.row(Nodes, &self.id()).await?;
        let counts = count_shards(shared).await?;
        Ok(NodeStatus {
            id: self.id(),
            used: shared.admission.used(),
            capacity: shared.options.capacity,
            shards: counts.0,
            unpaid_shards: counts.1,
            unpaid_bytes: shared.admission.unpaid(),
            price: shared.options.price,
            payout: shared.options.payout,
            registered: *shared.view.registered.borrow(),
            height: shared.view.height(),
            epoch: shared.view.epoch(),
            slots: row.as_ref().map_or(0, |row| row.slots),
            passed_epoch: row.as_ref().and_then(|row| row.passed_epoch),
            passed: row.as_ref().map_or(0, |row| row.passed),
            missed: row.as_ref().map_or(0, |row| row.missed),
            rate: row.as_ref().map_or(Amount::ZERO, |row| row.rate),
            earned: shared.view.earned(),
        })
    }

    /// Waits until the node's row on the ledger matches its options.
    pub async fn registered(&self) {
        let mut registered = self.shared.view.registered.subscribe();
        // The sender lives in `self`, so this cannot fail.
        if registered.wait_for(|registered| *registered).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the node cannot continue, which never happens with a correct ledger. The node
    /// still answers then, but is not paid: the operator should stop it and find the cause.
    pub async fn failed(&self) -> NodeFailure {
        let mut failed = self.shared.view.failed.subscribe();
        let failure = failed.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
        match failure {
            Some(failure) => failure,
            // The sender lives in `self`, so this cannot happen.
            None => std::future::pending().await,
        }
    }

    /// A handle with which other code can stop the node.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { shared: Arc::clone(&self.shared) }
    }

    /// Stops the node: takes no more requests, lets complete shards be stored, and closes the
    /// endpoint.
    pub async fn stop(mut self) {
        self.shared.stop.send_replace(true);
        self.finish().await;
    }

    /// Runs until a [`Stopper`] stops the node or its endpoint closes.
    pub async fn run_until_stopped(mut self) {
        tokio::select! {
            biased;
            () = self.shared.stopped() => {}
            () = self.shared.endpoint_ended.notified() => {}
        }
        self.shared.stop.send_replace(true);
        self.finish().await;
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a task of the node panicked");
            }
        }
        self.shared.admission.no_uploads().await;
        self.shared.endpoint.close().await;
        info!(node = %self.id(), "stopped");
    }
}

/// Stops a node from other code.
#[derive(Clone, Debug)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// Tells the node to stop. [`Node::run_until_stopped`] returns when it has.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }
}

/// Starts each part of a node as a task of its own, so that a failing part does not delay the
/// others.
fn spawn(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(serve::accept_connections(Arc::clone(shared)));
    let here = Arc::clone(shared);
    tasks.spawn(async move { follow::follow_ledger(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { follow::keep_fresh(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { prove::prove_windows(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { register::keep_registered(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { sweep::sweep_unpaid(&here).await });
    if shared.options.custody {
        let here = Arc::clone(shared);
        tasks.spawn(async move { custodian::post_releases(&here).await });
    }
    tasks
}

/// Opens the folder's store. First checks that the folder belongs to this node and that the store
/// is not a new one in place of a lost one. Folder and store both carry a marker, and the ledger
/// knows whether there was a store.
async fn open_store(
    options: &NodeOptions,
    host: &Host,
    node: NodeId,
    chain: ChainId,
    row: Option<&NodeRow>,
) -> Result<Shards, NodeError> {
    let (dir, accept_loss) = (options.dir.clone(), options.accept_loss);
    let (slots, bytes) = row.map_or((0, 0), |row| (row.slots, row.used));
    host.blocking(move || {
        let path = dir.join("node");
        let ours = format!("{node} {chain}\n");
        let failed = |source| NodeError::Folder { path: path.clone(), source };
        let in_folder = match std::fs::read_to_string(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if in_folder.as_ref().is_some_and(|found| *found != ours) {
            return Err(NodeError::WrongFolder { path: dir });
        }
        let store = open_shards(&dir, accept_loss)?;
        match store.marker()? {
            Some(found) if found != ours.as_bytes() => {
                return Err(NodeError::WrongFolder { path: dir });
            }
            Some(_) => {}
            None if !store.is_new()? && in_folder.is_none() => {
                return Err(NodeError::WrongFolder { path: dir });
            }
            None => {
                let was_there = in_folder.is_some() || slots != 0 || bytes != 0;
                if store.is_new()? && was_there && !accept_loss {
                    return Err(NodeError::StoreGone { path: dir, slots, bytes });
                }
                store.set_marker(ours.as_bytes())?;
            }
        }
        if in_folder.is_none() {
            write_whole(&path, &ours).map_err(failed)?;
        }
        Ok(store)
    })
    .await
}

fn open_shards(dir: &Path, accept_loss: bool) -> Result<Shards, StoreError> {
    if !accept_loss {
        return Shards::open(dir);
    }
    let (store, lost) = Shards::open_without_lost(dir)?;
    if lost > 0 {
        warn!(lost, "removed shards whose files are gone");
    }
    Ok(store)
}

/// Checks that the node offers at least what it has accepted, because it cannot give that back.
fn check_capacity(shared: &Shared, row: Option<&NodeRow>) -> Result<(), NodeError> {
    let capacity = shared.options.capacity;
    let kept = shared.admission.used().saturating_sub(shared.admission.unpaid());
    let bound = row.map_or(0, |row| row.used).max(kept);
    if capacity < bound {
        return Err(NodeError::CapacityTooSmall { capacity, bound });
    }
    Ok(())
}

/// Writes a small file. If the machine stops, it exists whole or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    durable::sync_all(&file)?;
    std::fs::rename(&fresh, path)?;
    durable::sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Counts the shards that are on disk at the start.
async fn count_kept(shared: &Shared) -> Result<(), StoreError> {
    for_each_shard(shared, |shard| {
        shared.admission.count_kept(shard.info.owner, shard.info.length, follow::paid(shard));
    })
    .await
}

/// Number of shards on disk, and of unpaid ones among them.
async fn count_shards(shared: &Shared) -> Result<(u64, u64), StoreError> {
    let mut counts = (0, 0);
    for_each_shard(shared, |shard| {
        counts.0 += 1;
        counts.1 += u64::from(follow::paid(shard) == Paid::No);
    })
    .await?;
    Ok(counts)
}

async fn for_each_shard(shared: &Shared, mut visit: impl FnMut(&Shard)) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = shared.with_store(move |store| store.list(after, PAGE)).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some((last.info.deal, last.info.index));
        page.iter().for_each(&mut visit);
    }
}

/// Shards of one page of a listing.
const PAGE: usize = 4096;
