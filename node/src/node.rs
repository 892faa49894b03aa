//! A node for its operator: start it, read its status, stop it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_net::{Endpoint, Host, watch};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, NodeId},
    ledger::rows::{Chains, Node as NodeRow, Nodes},
};
use symbolon_store::{DamagedShard, Scrub, Shards, StoreError};
use thiserror::Error;
use tokio::{
    sync::{Notify, broadcast},
    task::JoinSet,
};
use tracing::{error, info};

use crate::{
    admission::Admission,
    alert::{self, Alert, Alerts},
    answer,
    care::{self, Caring},
    checkpoint,
    custodian::{self, Schedule},
    declare,
    exit::{self, Exit, ExitStage},
    folder,
    follow::{self, CannotFollow},
    key::NodeKey,
    offline::{self, Sample},
    options::NodeOptions,
    pace::Pace,
    prove, reads,
    reads::Reads,
    register, scrub,
    serve::{self, GrantCache, KnownClaims, KnownFacts},
    settings::{self, Settings, SettingsError},
    shared::{LiveParams, Shared, View},
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
    /// The folder is the node's, but its store has none of the shards that the ledger asks for.
    #[error(
        "the store in {} has no shard, but the ledger says that the node keeps {slots} shards and has {bytes} bytes \
         bound by deals", path.display()
    )]
    NoShards {
        /// The folder.
        path: PathBuf,
        /// Rows of the node's slot table.
        slots: u32,
        /// Bytes bound by deals.
        bytes: u64,
    },
    /// The folder is not that of a node.
    #[error("no node is in {}", path.display())]
    NoNode {
        /// The folder.
        path: PathBuf,
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
    /// The settings in the folder cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
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
        matches!(
            self,
            Self::StoreGone { .. }
                | Self::NoShards { .. }
                | Self::Store(StoreError::ShardsGone { .. })
        )
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

/// What a node knows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// Shards on disk.
    pub shards: u64,
    /// Bytes of those.
    pub used: u64,
    /// Bytes that the file system has left.
    pub disk_free: u64,
    /// Bytes of those that stay free.
    pub disk_reserve: u64,
    /// Shards that are known to be damaged.
    pub damaged: u64,
    /// How far the scrub has come.
    pub scrub: Scrub,
    /// What the operator has set.
    pub settings: Settings,
    /// Bytes of shards that were sent to peers since the start.
    pub sent: u64,
    /// Bytes of shards that were received since the start.
    pub received: u64,
    /// The last block that the node has followed.
    pub height: u64,
    /// The current epoch.
    pub epoch: u64,
    /// The time of the newest block that the node has verified and followed; `None` before the first since its start.
    pub block_ms: Option<LedgerTime>,
    /// How old that block is by this machine's clock, in milliseconds; `None` before the first.
    pub block_age_ms: Option<u64>,
    /// For how many milliseconds the node has not known whether there are newer blocks; `None` before the first time.
    pub view_age_ms: Option<u64>,
    /// The last epoch that this process has proven.
    pub proven_epoch: Option<u64>,
    /// Epochs missed, when the node last read its row; `None` before.
    pub missed: Option<u64>,
    /// What the node has earned since the start, as seen in blocks.
    pub earned: Amount,
    /// Whether the node's row on the ledger matches its options.
    pub registered: bool,
    /// How far it has come with leaving.
    pub exit: Exit,
    /// What it does as a caretaker; `None` if it is none.
    pub care: Option<Caring>,
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
        let store = folder::open_store(&options, &host, key.id(), chain.id, row.as_ref()).await?;
        folder::check_holds(&options, &host, &ledger, (&chain, key.id(), row.as_ref()), &store)
            .await?;
        let dir = options.dir.clone();
        let settings = host.blocking(move || Settings::read(&dir)).await?;
        let height = checkpoint::first_height(&ledger, &host, &store, key.id()).await?;
        let shared = Shared {
            admission: Admission::new(options.capacity, options.limits.clone()),
            grants: Mutex::new(GrantCache::new(options.limits.grants_cached_max)),
            facts: KnownFacts::new(&options.limits),
            claims: KnownClaims::new(&options.limits),
            reads: Reads::default(),
            schedule: Schedule::default(),
            questions: Schedule::default(),
            view: View::new(height, chain.epoch),
            send: Arc::new(Pace::new(settings.send)),
            receive: Arc::new(Pace::new(settings.receive)),
            scrub: Pace::new(None),
            alerts: Alerts::new(),
            settings: watch::Sender::new(settings),
            exit: watch::Sender::new(Exit::default()),
            caring: watch::Sender::new(Caring::default()),
            stop: watch::Sender::new(false),
            endpoint_ended: Notify::new(),
            chain: chain.id,
            params: LiveParams::new(chain.params),
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
        let counts = shared.with_store(Shards::counts).await?;
        Ok(NodeStatus {
            id: self.id(),
            used: shared.admission.used(),
            capacity: shared.options.capacity,
            shards: counts.shards,
            unpaid_shards: counts.unpaid.iter().map(|(_, of_owner)| of_owner.shards).sum(),
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

    /// Waits until the node has retired, as its operator has told it to.
    pub async fn retired(&self) {
        let mut exit = self.shared.exit.subscribe();
        // The sender lives in `self`, so this cannot fail.
        if exit.wait_for(|exit| exit.stage == ExitStage::Retired).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the operator should hear of, from now on. A listener that is slow misses the oldest.
    #[must_use]
    pub fn alerts(&self) -> broadcast::Receiver<Alert> {
        self.shared.alerts.subscribe()
    }

    /// Up to `limit` shards that are known to be damaged: found by the scrub, by a reader, or by a proof. The node does
    /// not serve them, and cannot prove what is gone.
    pub async fn damaged(&self, limit: usize) -> Result<Vec<DamagedShard>, NodeError> {
        Ok(self.shared.with_store(move |store| store.damaged(limit)).await?)
    }

    /// Looks at up to `count` shards at random places.
    pub async fn sample(&self, count: usize) -> Result<Sample, NodeError> {
        Ok(offline::sample(&self.shared.store, &self.shared.host, count).await?)
    }

    /// The work of the node since its start, and the state of its disk. Asks no ledger.
    pub async fn health(&self) -> Result<NodeHealth, NodeError> {
        let shared = &self.shared;
        let read = shared.with_store(|store| {
            let (free, scrub) = (store.free_bytes()?, store.scrub()?);
            Ok::<_, StoreError>((free, scrub, store.damaged_count()?, store.counts()?))
        });
        let (disk_free, scrub, damaged, counts) = read.await?;
        let age_ms = shared.view.age_ms(shared.host.ticks_ms());
        let age = shared.block_age();
        Ok(NodeHealth {
            shards: counts.shards,
            used: counts.bytes,
            disk_free,
            disk_reserve: shared.options.limits.disk_reserve_bytes,
            damaged,
            scrub,
            settings: shared.settings(),
            sent: shared.send.moved(),
            received: shared.receive.moved(),
            height: shared.view.height(),
            epoch: shared.view.epoch(),
            block_ms: age.map(|(block_ms, _)| block_ms),
            block_age_ms: age.map(|(_, age_ms)| age_ms.0),
            view_age_ms: (age_ms != u64::MAX).then_some(age_ms),
            proven_epoch: *shared.view.proven.borrow(),
            missed: shared.view.proofs().map(|proofs| proofs.missed),
            earned: shared.view.earned(),
            registered: *shared.view.registered.borrow(),
            exit: shared.exit.borrow().clone(),
            care: shared.options.caretaker.then(|| shared.caring.borrow().clone()),
        })
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
    tasks.spawn(async move { reads::keep_noting(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { register::keep_registered(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { sweep::sweep_unpaid(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { settings::watch_file(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { scrub::scrub_shards(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { declare::declare_damaged(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { alert::watch_for_faults(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { exit::leave_when_wanted(&here).await });
    let here = Arc::clone(shared);
    tasks.spawn(async move { answer::answer_questions(&here).await });
    if shared.options.custody {
        let here = Arc::clone(shared);
        tasks.spawn(async move { custodian::post_releases(&here).await });
    }
    if shared.options.caretaker {
        let here = Arc::clone(shared);
        tasks.spawn(async move { care::repair_for_owners(&here).await });
    }
    tasks
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

/// Counts the shards that are on disk at the start. The store has the sums, so no shard is looked at.
async fn count_kept(shared: &Shared) -> Result<(), StoreError> {
    let counts = shared.with_store(Shards::counts).await?;
    shared.admission.count_kept(&counts);
    Ok(())
}
