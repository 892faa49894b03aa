//! The state that all parts of a running node share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, Host, watch};
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    id::ChainId,
    ledger::{Params, rows::Chains, transaction::Action},
    wire::storage::RefusalCode,
};
use symbolon_store::Shards;
use tokio::{sync::Notify, time::timeout};
use tracing::debug;

use crate::{
    admission::Admission,
    alert::Alerts,
    care::Caring,
    custodian::Schedule,
    exit::Exit,
    key::NodeKey,
    node::NodeFailure,
    options::NodeOptions,
    pace::{Bandwidth, Pace},
    reads::Reads,
    serve::{GrantCache, KnownClaims, KnownFacts, Stop},
    settings::Settings,
};

/// The parts of a node, created at its start.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: NodeOptions,
    pub(crate) key: NodeKey,
    pub(crate) chain: ChainId,
    pub(crate) params: LiveParams,
    pub(crate) endpoint: Endpoint,
    pub(crate) ledger: Ledger,
    pub(crate) host: Host,
    pub(crate) store: Shards,
    pub(crate) schedule: Schedule,
    /// Orders whose buyers ask nodes for a cell.
    pub(crate) questions: Schedule,
    pub(crate) admission: Arc<Admission>,
    pub(crate) grants: Mutex<GrantCache>,
    pub(crate) facts: KnownFacts,
    pub(crate) claims: KnownClaims,
    /// Who reads what.
    pub(crate) reads: Reads,
    pub(crate) view: View,
    /// Bounds the bytes that are sent to peers.
    pub(crate) send: Arc<Pace>,
    /// Bounds the bytes of shards that are received.
    pub(crate) receive: Arc<Pace>,
    /// Bounds the bytes that the scrub reads.
    pub(crate) scrub: Pace,
    pub(crate) settings: watch::Sender<Settings>,
    pub(crate) alerts: Alerts,
    /// How far the node has come with leaving.
    pub(crate) exit: watch::Sender<Exit>,
    /// What the node does as a caretaker.
    pub(crate) caring: watch::Sender<Caring>,
    pub(crate) stop: watch::Sender<bool>,
    /// Notified when the endpoint has closed.
    pub(crate) endpoint_ended: Notify,
}

/// The node's view of the ledger.
#[derive(Debug)]
pub(crate) struct View {
    /// Height of the last block that was followed and stored.
    height: watch::Sender<u64>,
    /// The signed time of the last block that was followed and stored; 0 before the first.
    block_ms: AtomicU64,
    /// The tick at which that block was first seen to be the newest.
    block_tick: AtomicU64,
    /// The ledger's time at tick 0, estimated from blocks, in milliseconds since the Unix epoch.
    ledger_start_ms: AtomicU64,
    /// The latest tick at which no later block existed; `u64::MAX` before the first.
    fresh_tick: AtomicU64,
    /// The current epoch.
    epoch: AtomicU64,
    /// The epoch of this node's last window that was seen to open. The prover waits for it to change.
    pub(crate) window: watch::Sender<Option<u64>>,
    /// The last epoch that this process has proven.
    pub(crate) proven: watch::Sender<Option<u64>>,
    /// Whether the node's row on the ledger matches its options.
    pub(crate) registered: watch::Sender<bool>,
    /// Why the node cannot continue; `None` if it can.
    pub(crate) failed: watch::Sender<Option<NodeFailure>>,
    /// Tells the sweeper that shards have left the slot table.
    pub(crate) shards_left: Notify,
    /// Tells the caretaker that shards were lost.
    pub(crate) shards_lost: Notify,
    /// Tells the registering task that the node's row may be out of date.
    pub(crate) row_doubted: Notify,
    earned: Mutex<Amount>,
    /// What the node's row said about proofs when it was last read.
    proofs: Mutex<Option<Proofs>>,
    /// The registrations that this process has announced, newest last.
    announced: Mutex<Vec<Action>>,
    /// The first epoch for which the node does not agree to its price, as it last announced.
    agrees_until: AtomicU64,
}

/// Epochs of the node that were proven and missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proofs {
    pub(crate) missed: u64,
    pub(crate) in_row: u32,
    /// What stands for its bytes, and what it needs.
    pub(crate) backing: Amount,
    pub(crate) needs: Amount,
}

impl View {
    pub(crate) fn new(height: u64, epoch: u64) -> Self {
        Self {
            height: watch::Sender::new(height),
            block_ms: AtomicU64::new(0),
            block_tick: AtomicU64::new(0),
            ledger_start_ms: AtomicU64::new(0),
            fresh_tick: AtomicU64::new(u64::MAX),
            epoch: AtomicU64::new(epoch),
            window: watch::Sender::new(None),
            proven: watch::Sender::new(None),
            registered: watch::Sender::new(false),
            failed: watch::Sender::new(None),
            shards_left: Notify::new(),
            shards_lost: Notify::new(),
            row_doubted: Notify::new(),
            earned: Mutex::new(Amount::ZERO),
            proofs: Mutex::new(None),
            announced: Mutex::default(),
            agrees_until: AtomicU64::new(0),
        }
    }

    /// Height of the last block that was followed and stored.
    pub(crate) fn height(&self) -> u64 {
        *self.height.borrow()
    }

    /// The height, to wait on.
    pub(crate) fn height_watch(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    /// The time of the last block that was followed and stored. No later block has an earlier time,
    /// and the node knows all events until then. 0 while no block was followed since the start.
    pub(crate) fn block_ms(&self) -> LedgerTime {
        LedgerTime(self.block_ms.load(Ordering::Acquire))
    }

    /// Records that a block was followed and stored.
    pub(crate) fn reached(&self, height: u64, time_ms: LedgerTime, tick_ms: u64) {
        // A block arrives some time after it was made, so the largest estimate is the best.
        let start = time_ms.saturating_sub(Millis(tick_ms));
        self.ledger_start_ms.fetch_max(start.0, Ordering::AcqRel);
        if self.block_ms.fetch_max(time_ms.0, Ordering::AcqRel) < time_ms.0 {
            self.block_tick.store(tick_ms, Ordering::Release);
        }
        self.height.send_if_modified(|reached| {
            let further = *reached < height;
            *reached = height.max(*reached);
            further
        });
    }

    /// The current epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Records that an epoch has begun.
    pub(crate) fn epoch_began(&self, epoch: u64) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Records that this node's window of an epoch has opened.
    pub(crate) fn window_opened(&self, epoch: u64) {
        self.window.send_if_modified(|current| {
            let later = *current < Some(epoch);
            *current = Some(epoch).max(*current);
            later
        });
    }

    /// Records the node's current registration.
    pub(crate) fn announce(&self, action: &Action) {
        let mut announced = self.announced.lock().expect("no code that holds the list panics");
        announced.retain(|known| known != action);
        announced.push(action.clone());
        let old = announced.len().saturating_sub(ANNOUNCED_MAX);
        announced.drain(..old);
    }

    /// Whether this process has announced this registration.
    pub(crate) fn has_announced(&self, action: &Action) -> bool {
        let announced = self.announced.lock().expect("no code that holds the list panics");
        announced.contains(action)
    }

    /// Takes over what an earlier run has announced.
    pub(crate) fn note_agreed(&self, until: u64) {
        self.agrees_until.store(until, Ordering::Relaxed);
    }

    /// The first epoch for which the node does not agree to its price, if it agrees for so many. It stays the same until a
    /// twelfth of them is over, so that the node does not register anew in every epoch.
    pub(crate) fn agrees_until(&self, epochs: u64) -> u64 {
        let (now, before) = (self.epoch(), self.agrees_until.load(Ordering::Relaxed));
        let until = now.saturating_add(epochs);
        if before <= until && until <= before.saturating_add(epochs / 12) {
            return before;
        }
        self.note_agreed(until);
        until
    }

    /// Records that the node has earned more.
    pub(crate) fn earn(&self, more: Amount) {
        let mut earned = self.earned.lock().expect("no code that holds the sum panics");
        *earned = earned.checked_add(more).unwrap_or(*earned);
    }

    /// The amount that the node has earned for proven epochs since it was started, as seen in
    /// blocks.
    pub(crate) fn earned(&self) -> Amount {
        *self.earned.lock().expect("no code that holds the sum panics")
    }

    /// Records what the node's row says about proofs.
    pub(crate) fn note_proofs(&self, proofs: Proofs) {
        *self.proofs.lock().expect("no code that holds the counts panics") = Some(proofs);
    }

    /// What the node's row said about proofs when it was last read; `None` before.
    pub(crate) fn proofs(&self) -> Option<Proofs> {
        *self.proofs.lock().expect("no code that holds the counts panics")
    }

    /// Records that at this tick no block existed after the last one followed.
    pub(crate) fn is_fresh(&self, tick_ms: u64) {
        self.fresh_tick.store(tick_ms, Ordering::Release);
    }

    /// The largest possible age of the view in milliseconds.
    pub(crate) fn age_ms(&self, tick_ms: u64) -> u64 {
        tick_ms.checked_sub(self.fresh_tick.load(Ordering::Acquire)).unwrap_or(u64::MAX)
    }
}

/// The ledger's parameters. Motions change them, with an epoch.
#[derive(Debug)]
pub(crate) struct LiveParams {
    now: Mutex<Arc<Params>>,
    /// Whether they may have changed since they were read.
    is_old: AtomicBool,
}

impl LiveParams {
    pub(crate) fn new(params: Params) -> Self {
        Self { now: Mutex::new(Arc::new(params)), is_old: AtomicBool::new(false) }
    }
}

impl Shared {
    /// The ledger's parameters, as of the last block that was followed.
    pub(crate) fn params(&self) -> Arc<Params> {
        self.params.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the ledger's own row says.
    pub(crate) fn set_params(&self, params: Params) {
        *self.params.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(params);
        self.params.is_old.store(false, Ordering::Release);
    }

    /// Notes that the parameters may have changed, and reads them. If the ledger does not answer now, the next block tries
    /// again: until then the node offers and pays what was right before.
    pub(crate) async fn read_params(&self, have_changed: bool) {
        if !self.params.is_old.fetch_or(have_changed, Ordering::AcqRel) && !have_changed {
            return;
        }
        match self.ledger.row(Chains, &()).await {
            Ok(Some(chain)) => self.set_params(chain.params),
            Ok(None) => {}
            Err(error) => debug!(%error, "the ledger does not say its parameters"),
        }
    }

    /// Waits until the node has to stop.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for `wait_ms` milliseconds. Returns `Err` as soon as the node has to stop.
    pub(crate) async fn sleep_ms(&self, wait_ms: u64) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(Stopped),
            () = self.host.sleep_ms(wait_ms) => Ok(()),
        }
    }

    /// The ledger's time, for times that the ledger judges too. It is this machine's clock within two
    /// bounds: it is not behind the ledger's time, and not ahead of it by more than an epoch, because
    /// the ledger makes at least one block in an epoch.
    pub(crate) fn now_ms(&self) -> LedgerTime {
        let tick_ms = self.host.ticks_ms();
        let start = LedgerTime(self.view.ledger_start_ms.load(Ordering::Acquire));
        let earliest = start.saturating_add(Millis(tick_ms));
        // The ledger's time is only known while the node has seen its last block recently.
        let is_known = self.view.age_ms(tick_ms) <= self.options.limits.stale_ms;
        let latest = match self.view.block_ms() != LedgerTime::ZERO && is_known {
            true => earliest.saturating_add(self.params().epoch_ms),
            false => LedgerTime::NEVER,
        };
        self.host.now_ms().within(earliest, latest)
    }

    /// Runs work on the store, on a thread that may block.
    pub(crate) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shards) -> T + Send + 'static,
    ) -> T {
        let store = self.store.clone();
        self.host.blocking(move || work(&store)).await
    }

    /// The time of the newest block that the node has verified and followed, and how old that is by the node's own
    /// clocks. The machine's clock may be set back, but the one that counts from the start goes on. `None` before the
    /// first block since the start.
    pub(crate) fn block_age(&self) -> Option<(LedgerTime, Millis)> {
        let block_ms = self.view.block_ms();
        let seen_tick = self.view.block_tick.load(Ordering::Acquire);
        let since_seen = Millis(self.host.ticks_ms().saturating_sub(seen_tick));
        let age = self.host.now_ms().ahead_of(block_ms).max(since_seen);
        (block_ms != LedgerTime::ZERO).then_some((block_ms, age))
    }

    /// Makes sure that the newest block that the node has verified is at most `max` old, by the node's own clock. A
    /// server may keep blocks back, so its word that there is none does not count. Asks the ledger for a newer one.
    pub(crate) async fn has_recent_block(&self, max: Millis) -> Result<(), Stop> {
        let is_recent = |age: Option<(LedgerTime, Millis)>| age.is_some_and(|(_, age)| age <= max);
        if is_recent(self.block_age()) {
            return Ok(());
        }
        // A peer that asks again and again does not make the node ask its ledger as often.
        self.freshen(ASK_AGAIN_MS).await?;
        match self.block_age() {
            Some((_, age)) if age <= max => Ok(()),
            Some((block_ms, age)) => Err(Stop::refused(
                RefusalCode::Stale,
                format!(
                    "this node's view of the ledger is {} old: its newest block is of {}. The grant accepts {}",
                    age.words(),
                    block_ms.utc(),
                    max.words()
                ),
            )),
            None => Err(Stop::refused(
                RefusalCode::Stale,
                "this node has not verified a block of its ledger since its start",
            )),
        }
    }

    /// Makes sure that the view is at most `max_ms` old. Asks the ledger if it is older.
    pub(crate) async fn freshen(&self, max_ms: u64) -> Result<(), Stop> {
        if self.view.age_ms(self.host.ticks_ms()) <= max_ms {
            return Ok(());
        }
        let asked_ms = self.host.ticks_ms();
        let head = match self.ledger.head().await {
            Ok(head) => head,
            Err(error) => {
                let view = self.view_words();
                let message = format!("this node cannot reach its ledger: {error}; {view}");
                return Err(Stop::refused(RefusalCode::Stale, message));
            }
        };
        if let Some(late) = self.ledger.overdue() {
            let message = format!(
                "this node's view of the ledger may be old: a block is {} s late. The ledger stands still, its server holds \
                 blocks back, or this machine's clock is wrong; {}",
                late.0 / 1_000,
                self.view_words()
            );
            return Err(Stop::refused(RefusalCode::Stale, message));
        }
        let mut height = self.view.height.subscribe();
        let caught_up = height.wait_for(|height| head.header.height <= *height);
        if timeout(CATCH_UP, caught_up).await.is_err() {
            return Err(Stop::refused(
                RefusalCode::Stale,
                format!("this node has not followed the newest blocks yet: {}", self.view_words()),
            ));
        }
        // The head is verified, and all up to it is followed.
        self.view.reached(head.header.height, head.header.facts.time_ms, asked_ms);
        self.view.is_fresh(asked_ms);
        Ok(())
    }

    /// How old the view is and since when, for a person.
    fn view_words(&self) -> String {
        match self.block_age() {
            Some((block_ms, age)) => {
                format!("its newest block is of {}, {} ago", block_ms.utc(), age.words())
            }
            None => String::from("it has verified no block since its start"),
        }
    }

    /// Takes over settings. Returns whether they are new.
    pub(crate) fn set_settings(&self, settings: Settings) -> bool {
        self.send.set(settings.send);
        self.receive.set(settings.receive);
        self.settings.send_if_modified(|now| std::mem::replace(now, settings) != settings)
    }

    /// The bounds on bandwidth, for what the node itself moves.
    pub(crate) fn bandwidth(&self) -> Bandwidth {
        let (send, receive) = (Arc::clone(&self.send), Arc::clone(&self.receive));
        Bandwidth { send, receive, host: self.host.clone() }
    }

    /// The settings as they are.
    pub(crate) fn settings(&self) -> Settings {
        *self.settings.borrow()
    }

    pub(crate) fn grants(&self) -> MutexGuard<'_, GrantCache> {
        self.grants.lock().expect("no code that holds the cache panics")
    }
}

/// Registrations that are remembered. Fewer than this are under way at once.
const ANNOUNCED_MAX: usize = 16;

/// How long an answer of the ledger counts as new for a node that looks for a newer block, in milliseconds.
const ASK_AGAIN_MS: u64 = 1_000;

/// How long a peer waits for the node to follow the newest blocks.
const CATCH_UP: Duration = Duration::from_secs(3);

/// The node has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Pauses between attempts. They double up to a bound, and are random so that nodes do not act in
/// step.
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
