//! What all parts of a running node share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host, watch};
use symbolon_protocol::{
    Amount,
    id::ChainId,
    ledger::{Params, transaction::Action},
    wire::storage::RefusalCode,
};
use symbolon_store::Shards;
use tokio::{sync::Notify, time::timeout};

use crate::{
    admission::Admission,
    custodian::Schedule,
    key::NodeKey,
    node::NodeFailure,
    options::NodeOptions,
    serve::{GrantCache, Stop},
};

/// A node's parts, made once at its start.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: NodeOptions,
    pub(crate) key: NodeKey,
    pub(crate) chain: ChainId,
    pub(crate) params: Params,
    pub(crate) endpoint: Endpoint,
    pub(crate) ledger: Ledger,
    pub(crate) host: Host,
    pub(crate) store: Shards,
    pub(crate) schedule: Schedule,
    pub(crate) admission: Arc<Admission>,
    pub(crate) grants: Mutex<GrantCache>,
    pub(crate) view: View,
    pub(crate) stop: watch::Sender<bool>,
    /// Told when the endpoint accepts no more.
    pub(crate) endpoint_ended: Notify,
}

/// How much of the ledger the node has seen.
#[derive(Debug)]
pub(crate) struct View {
    /// Height of the last block that is followed and kept.
    height: watch::Sender<u64>,
    /// The time of the last block that is followed and kept, which the ledger has signed; 0 before the first.
    block_ms: AtomicU64,
    /// The ledger's time at tick 0, as far as it is known from blocks: in milliseconds since the Unix epoch.
    ledger_start_ms: AtomicU64,
    /// The tick at which it was last certain that no later block existed; `u64::MAX` before the first.
    fresh_tick: AtomicU64,
    /// The current epoch, for the prover to wait on.
    pub(crate) epoch: watch::Sender<u64>,
    /// The last epoch this process has proven, for who waits for it.
    pub(crate) proven: watch::Sender<Option<u64>>,
    /// Tells a prover that waits for its turn to begin at once.
    pub(crate) prove_now: Notify,
    /// Whether the node's row says what its options say.
    pub(crate) registered: watch::Sender<bool>,
    /// Why the node cannot go on, when it cannot.
    pub(crate) failed: watch::Sender<Option<NodeFailure>>,
    /// Tells who deletes shards that deals are over.
    pub(crate) deals_ended: Notify,
    /// Tells who keeps the row true to look at it now.
    pub(crate) row_doubted: Notify,
    earned: Mutex<Amount>,
    /// What this process has announced of itself, newest last.
    announced: Mutex<Vec<Action>>,
}

impl View {
    pub(crate) fn new(height: u64, epoch: u64) -> Self {
        Self {
            height: watch::Sender::new(height),
            block_ms: AtomicU64::new(0),
            ledger_start_ms: AtomicU64::new(0),
            fresh_tick: AtomicU64::new(u64::MAX),
            epoch: watch::Sender::new(epoch),
            proven: watch::Sender::new(None),
            prove_now: Notify::new(),
            registered: watch::Sender::new(false),
            failed: watch::Sender::new(None),
            deals_ended: Notify::new(),
            row_doubted: Notify::new(),
            earned: Mutex::new(Amount::ZERO),
            announced: Mutex::default(),
        }
    }

    /// Height of the last block that is followed and kept.
    pub(crate) fn height(&self) -> u64 {
        *self.height.borrow()
    }

    /// The height, for who waits for it.
    pub(crate) fn height_watch(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    /// The time of the last block that is followed and kept: no later block has an earlier one, and what the
    /// blocks up to it say is known. 0 while none was followed since the start.
    pub(crate) fn block_ms(&self) -> u64 {
        self.block_ms.load(Ordering::Acquire)
    }

    /// A block of this time is followed and kept.
    pub(crate) fn reached(&self, height: u64, time_ms: u64, tick_ms: u64) {
        // It was made before it came, some time before: the latest guess is the best.
        self.ledger_start_ms.fetch_max(time_ms.saturating_sub(tick_ms), Ordering::AcqRel);
        self.block_ms.fetch_max(time_ms, Ordering::AcqRel);
        self.height.send_if_modified(|reached| {
            let further = *reached < height;
            *reached = height.max(*reached);
            further
        });
    }

    /// An epoch has begun.
    pub(crate) fn epoch_began(&self, epoch: u64) {
        self.epoch.send_if_modified(|current| {
            let later = *current < epoch;
            *current = epoch.max(*current);
            later
        });
    }

    /// The node says this of itself from now on.
    pub(crate) fn announce(&self, action: &Action) {
        let mut announced = self.announced.lock().expect("no code that holds the list panics");
        announced.retain(|said| said != action);
        announced.push(action.clone());
        let old = announced.len().saturating_sub(ANNOUNCED_MAX);
        announced.drain(..old);
    }

    /// Whether the node has said this of itself.
    pub(crate) fn has_announced(&self, action: &Action) -> bool {
        let announced = self.announced.lock().expect("no code that holds the list panics");
        announced.contains(action)
    }

    /// The node was seen to earn more.
    pub(crate) fn earn(&self, more: Amount) {
        let mut earned = self.earned.lock().expect("no code that holds the sum panics");
        *earned = earned.checked_add(more).unwrap_or(*earned);
    }

    /// What the node was seen to earn for proven epochs since it was started.
    pub(crate) fn earned(&self) -> Amount {
        *self.earned.lock().expect("no code that holds the sum panics")
    }

    /// At this tick there was no block after the last one followed.
    pub(crate) fn is_fresh(&self, tick_ms: u64) {
        self.fresh_tick.store(tick_ms, Ordering::Release);
    }

    /// How old the view may be, in milliseconds: an upper bound.
    pub(crate) fn age_ms(&self, tick_ms: u64) -> u64 {
        tick_ms.checked_sub(self.fresh_tick.load(Ordering::Acquire)).unwrap_or(u64::MAX)
    }
}

impl Shared {
    /// Waits until the node is told to stop.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail before it has succeeded.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits, but no longer than until the node is told to stop: then `Err`.
    pub(crate) async fn sleep_ms(&self, wait_ms: u64) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(Stopped),
            () = self.host.sleep_ms(wait_ms) => Ok(()),
        }
    }

    /// Milliseconds since the Unix epoch, for whatever the ledger judges too: this machine's clock, which is
    /// not believed when it is behind the ledger's, nor when it is ahead of it by more than an epoch, in which
    /// the ledger makes one block at least.
    pub(crate) fn now_ms(&self) -> u64 {
        let tick_ms = self.host.ticks_ms();
        let ledger_ms = self.view.ledger_start_ms.load(Ordering::Acquire) + tick_ms;
        let now_ms = self.host.now_ms().max(ledger_ms);
        // What the ledger's time is can only be told while its last block is known.
        let is_known = self.view.age_ms(tick_ms) <= self.options.limits.stale_ms;
        match self.view.block_ms() {
            0 => now_ms,
            _ if !is_known => now_ms,
            _ => now_ms.min(ledger_ms.saturating_add(self.params.epoch_ms)),
        }
    }

    /// Runs work on the store where blocking is allowed.
    pub(crate) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shards) -> T + Send + 'static,
    ) -> T {
        let store = self.store.clone();
        self.host.blocking(move || work(&store)).await
    }

    /// Makes sure that the view is at most `max_ms` old, by asking the ledger when it is not.
    pub(crate) async fn freshen(&self, max_ms: u64) -> Result<(), Stop> {
        if self.view.age_ms(self.host.ticks_ms()) <= max_ms {
            return Ok(());
        }
        let asked_ms = self.host.ticks_ms();
        let head = match self.ledger.head().await {
            Ok(head) => head,
            Err(error) => {
                let message = format!("this node cannot reach its ledger: {error}");
                return Err(Stop::refused(RefusalCode::Stale, message));
            }
        };
        let mut height = self.view.height.subscribe();
        let caught_up = height.wait_for(|height| head.header.height <= *height);
        if timeout(CATCH_UP, caught_up).await.is_err() {
            return Err(Stop::refused(RefusalCode::Stale, "this node has blocks to catch up with"));
        }
        self.view.is_fresh(asked_ms);
        Ok(())
    }

    pub(crate) fn grants(&self) -> MutexGuard<'_, GrantCache> {
        self.grants.lock().expect("no code that holds the cache panics")
    }
}

/// Announcements that are remembered: more are not on their way at once.
const ANNOUNCED_MAX: usize = 16;

/// How long a peer waits for the node to see blocks that are there already.
const CATCH_UP: Duration = Duration::from_secs(3);

/// The node was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Waits between attempts: doubling, with a bound, and never in step with other nodes.
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
    max_ms: u64,
}

impl Backoff {
    pub(crate) fn new(first_ms: u64, max_ms: u64) -> Self {
        Self { next_ms: first_ms, max_ms }
    }

    /// Waits between half and the whole of the current step, then doubles it.
    pub(crate) async fn wait(&mut self, shared: &Shared) -> Result<(), Stopped> {
        let step = self.next_ms;
        self.next_ms = step.saturating_mul(2).min(self.max_ms);
        let random = u64::from_le_bytes(shared.host.random());
        let wait = step / 2 + random % (step / 2 + 1);
        shared.sleep_ms(wait).await
    }
}
