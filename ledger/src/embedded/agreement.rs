//! The engine while several validators order the ledger: it runs a `symbolon_consensus::Node`, and does what that says.
//!
//! ```text
//! submit ─▶ lane ─▶ admission ─▶ pool ─▶ build a block when it is this validator's turn ─▶ node ─▶ mesh ─▶ the others
//!                                 └────▶ mesh: the others' pools        judge theirs, vote ◀── node ◀── mesh ◀──┘
//!                                                  commit block and certificate ◀── node: more than two thirds agree
//! ```
//!
//! One task runs the node. It carries out the node's outputs in their order: what the node logs is on the disk before what it
//! says leaves the machine. The ledger is asked on another thread, one request at a time, so votes are read meanwhile.

use std::{
    collections::{BTreeSet, VecDeque},
    future::pending,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::SigningKey;
use symbolon_consensus::{
    Event, Ledger as _, Node, Output, Refusal, Request, Settings, Signatures, TimerId,
    ledger::Answer,
};
use symbolon_net::{Host, PeerAddress};
use symbolon_protocol::{
    LedgerTime,
    codec::Encode as _,
    id::{AccountId, ChainId, PeerId, TransactionId},
    ledger::{
        block::Block,
        commit::{Validator, Validators},
        evidence::Evidence,
        transaction::{Action, Transaction},
    },
    limits::TRANSACTION_BYTES_MAX,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    Turn,
    books::Books,
    mesh::{Arriving, Mesh},
    pool::Pool,
    queue::{Lanes, Submission, Way, WeakQueue},
    sequencer::Maker,
};
use crate::{error::LedgerError, executor::Journal, figures::Counts};

/// What an engine needs for the time when it is not alone.
pub(super) struct Company {
    pub(super) chain: ChainId,
    pub(super) folder: PathBuf,
    pub(super) mesh: Mesh,
    pub(super) arriving: Arriving,
    /// Where the operator says that other validators are.
    pub(super) addresses: Vec<PeerAddress>,
    pub(super) queue: WeakQueue,
    /// Whether this machine's ledger is too old to answer by.
    pub(super) is_behind: Arc<AtomicBool>,
}

/// A request at work, which ends with its answer.
type Asking = Pin<Box<dyn Future<Output = (Result<Answer, LedgerError>, Books)> + Send>>;

pub(super) struct Agreement {
    host: Host,
    lanes: Lanes,
    company: Company,
    pool: Pool,
    node: Node,
    /// Moves to the blocking thread and back.
    journal: Option<Journal>,
    books: Option<Books>,
    asking: Option<Asking>,
    asks: VecDeque<Request>,
    waits: BTreeSet<(Instant, TimerId)>,
    due_ms: Option<LedgerTime>,
    /// Bounds how many transactions that others have told of are on their way to the pool.
    told: Arc<Semaphore>,
    /// When those in the pool that came before this number are told again.
    tell_again: (Instant, u64),
    validators: Validators,
    /// For how many blocks a report of this machine may wait.
    valid_blocks: u64,
    own: AccountId,
    key: SigningKey,
    counts: Arc<Counts>,
    /// When this machine began to build or to judge a block of the height.
    began: Option<Instant>,
    /// The place of this machine in the set that committed the last block, as far as it saw that.
    place: Option<usize>,
}

/// Why the engine goes on in another way, or not at all.
enum Pause {
    /// All handles are gone.
    Closed,
    /// The last block has changed who orders the ledger.
    Turned,
}

impl Agreement {
    /// Begins with what is on the disk.
    pub(super) async fn begin(
        host: Host,
        lanes: Lanes,
        maker: Maker,
        waiting: Vec<Submission>,
        company: Company,
    ) -> Result<Self, LedgerError> {
        let mut pool = Pool::default();
        for submission in waiting {
            pool.add(submission);
        }
        let (known, own, key) = (pool.known(), maker.own(), maker.signing_key());
        let counts = maker.counts.clone();
        let (folder, chain) = (company.folder.clone(), company.chain);
        let opening = move || {
            let books = Books::new(maker, known);
            let (mut tip, due_ms) = (books.tip()?, books.maker.executor.next_due()?);
            let (journal, restored) = Journal::open(&folder, tip.height + 1)?;
            tip.has_work = true;
            let valid_blocks = valid_blocks(&books)?;
            let (key, settings) = (books.maker.signing_key(), Settings::default());
            let started = Node::new(chain, key, settings, Signatures::default(), &tip, restored);
            let node = started.map_err(|error| LedgerError::Damaged(error.to_string()))?;
            Ok::<_, LedgerError>((journal, books, node, tip.validators, (due_ms, valid_blocks)))
        };
        let (journal, books, node, validators, (due_ms, valid_blocks)) =
            host.blocking(opening).await?;
        let agreement = Self {
            host,
            lanes,
            company,
            pool,
            node,
            journal: Some(journal),
            books: Some(books),
            asking: None,
            asks: VecDeque::new(),
            waits: BTreeSet::new(),
            due_ms,
            told: Arc::new(Semaphore::new(TOLD)),
            tell_again: (Instant::now(), 0),
            validators,
            valid_blocks,
            own,
            key,
            counts,
            began: None,
            place: None,
        };
        agreement.meet_validators()?;
        Ok(agreement)
    }

    /// Takes part until all handles are dropped, or another way of ordering begins.
    pub(super) async fn run(mut self) -> Result<Option<Turn>, LedgerError> {
        let mut paused = self.step(Event::Start).await?;
        while paused.is_none() {
            paused = self.next().await?;
        }
        // What is at work must end: it has the file.
        if let Some(asking) = self.asking.take() {
            let (_, books) = asking.await;
            self.books = Some(books);
        }
        let books = self.books.take().expect("the books are here when nothing is asked");
        Ok(match paused {
            Some(Pause::Turned) => Some(Turn {
                host: self.host,
                lanes: self.lanes,
                maker: books.maker,
                held_over: self.pool.into_waiting(),
                company: Some(self.company),
            }),
            _ => None,
        })
    }

    /// Waits for what happens next, and does what comes of it.
    async fn next(&mut self) -> Result<Option<Pause>, LedgerError> {
        let (host, due_ms) = (self.host.clone(), self.due_ms);
        let due = async move {
            match due_ms {
                Some(due_ms) => host.sleep_until_ms(due_ms.on_ordering_clock()).await,
                None => pending().await,
            }
        };
        let wait = self.waits.first().copied();
        let wait = async move {
            match wait {
                Some((at, id)) => {
                    sleep_until(at).await;
                    (at, id)
                }
                None => pending().await,
            }
        };
        let asked = async {
            match &mut self.asking {
                Some(asking) => asking.await,
                None => pending().await,
            }
        };
        tokio::select! {
            (answer, books) = asked => {
                self.asking = None;
                self.books = Some(books);
                self.answered(answer?).await
            }
            (at, id) = wait => {
                self.waits.remove(&(at, id));
                self.step(Event::Elapsed(id)).await
            }
            Some((from, bytes)) = self.company.arriving.messages.recv() => {
                self.step(Event::Received { from, bytes }).await
            }
            Some((_, transaction)) = self.company.arriving.transactions.recv() => {
                self.take_told(transaction);
                Ok(None)
            }
            submission = self.lanes.next() => match submission {
                None => Ok(Some(Pause::Closed)),
                Some(first) => {
                    self.take_in(first);
                    while let Some(next) = self.lanes.ready() {
                        self.take_in(next);
                    }
                    self.step(Event::Work).await
                }
            },
            () = sleep_until(self.tell_again.0), if !self.pool.is_empty() => {
                // A validator that was not connected when one came has not heard of it.
                for transaction in self.pool.untold(self.tell_again.1) {
                    self.company.mesh.tell(transaction);
                }
                self.tell_again = (Instant::now() + TELL_AGAIN, self.pool.next());
                Ok(None)
            }
            () = self.company.mesh.changed() => {
                let peers = self.company.mesh.connected();
                self.step(Event::Connected(peers)).await
            }
            () = due => {
                // Once: the next block says when it is due again.
                self.due_ms = None;
                self.step(Event::Work).await
            }
        }
    }

    /// Takes a transaction into the pool, and tells the others if they do not know it.
    fn take_in(&mut self, submission: Submission) {
        let is_new = submission.way == Way::Submitted;
        let transaction = is_new.then(|| submission.transaction.clone());
        let is_first = self.pool.add(submission);
        if let Some(transaction) = transaction.filter(|_| is_first) {
            self.company.mesh.tell(&transaction);
        }
    }

    /// Puts what another validator has told into the queue, where it is judged like any other.
    fn take_told(&self, transaction: Transaction) {
        let bytes = transaction.to_bytes().len();
        let Ok(permit) = self.told.clone().try_acquire_owned() else { return };
        if TRANSACTION_BYTES_MAX < bytes {
            return;
        }
        let queue = self.company.queue.clone();
        tokio::spawn(async move {
            // The outcome is of interest to the validator that was given it. It is no matter if there is no room.
            if let Ok(answer) = queue.tell(transaction, bytes).await {
                answer.outcome().await.ok();
            }
            drop(permit);
        });
    }

    /// Tells the node what has happened, and does what it says.
    async fn step(&mut self, event: Event) -> Result<Option<Pause>, LedgerError> {
        for output in self.node.step(event) {
            match output {
                Output::Log(entry) => self.journal().log(entry),
                Output::Guard(guard) => self.journal().guard(guard),
                Output::Flush => self.flush().await?,
                Output::Forget { height } => self.journal().forget(height),
                Output::Send(to, message) => self.company.mesh.send(to, &message),
                Output::Wait { id, after } => {
                    self.waits.insert((Instant::now() + Duration::from_millis(after.0), id));
                }
                Output::Ask(request) => {
                    if matches!(request, Request::Build { .. } | Request::Check { .. }) {
                        self.began.get_or_insert_with(Instant::now);
                    }
                    self.asks.push_back(request);
                }
                Output::Evidence(evidence) => self.report(evidence),
                Output::Refused { peer, refusal } => self.refused(peer, refusal),
                Output::Behind(is_behind) => {
                    tracing::debug!(is_behind, "whether this validator is behind the others");
                    self.company.is_behind.store(is_behind, Ordering::Relaxed);
                }
                Output::Withheld(error) => {
                    tracing::warn!(%error, "this validator does not sign at this place");
                }
                Output::OtherRules { height, block } => {
                    tracing::error!(
                        height, %block,
                        "the other validators follow other rules: this program is too old, or theirs is"
                    );
                }
                Output::Halted(why) => return Err(LedgerError::Damaged(why)),
            }
        }
        self.counts.stands(self.node.height(), self.node.round());
        let (waiting, bytes) = self.pool.size();
        self.counts.waits(waiting, bytes);
        self.ask();
        Ok(None)
    }

    /// Counts what a committed block says of this machine's part in the one before.
    fn count(&mut self, block: &Block) {
        if let Some(began) = self.began.take() {
            self.counts.decided.note(began.elapsed());
        }
        if let (Some(last), Some(place)) = (&block.header.header.facts.last, self.place) {
            self.counts.signed(last.has(place));
        }
        let own = |member: &Validator| member.key == self.own;
        self.place = self.validators.members.iter().position(own);
    }

    /// Shows the ledger what a validator has done. It costs this validator's own account the fee, and if that has none, others
    /// have seen it too.
    fn report(&self, evidence: Evidence) {
        tracing::warn!(?evidence, "a validator has signed two things that exclude each other");
        let valid_until = self.node.height().saturating_add(self.valid_blocks);
        let action = Action::ReportEquivocation { evidence: Box::new(evidence) };
        let id = TransactionId(self.host.random());
        let (chain, key) = (self.company.chain, &self.key);
        let transaction = Transaction::build(chain, key, id, valid_until, action);
        self.company.mesh.tell(&transaction);
        self.take_told(transaction);
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("the journal is here between two flushes")
    }

    async fn flush(&mut self) -> Result<(), LedgerError> {
        let mut journal = self.journal.take().expect("the journal is here between two flushes");
        let (flushed, journal) = self.host.blocking(move || (journal.flush(), journal)).await;
        self.journal = Some(journal);
        flushed
    }

    fn refused(&self, peer: PeerId, refusal: Refusal) {
        tracing::debug!(%peer, %refusal, "a peer sent what no honest one sends");
        self.company.mesh.fault(peer);
    }

    /// Begins the next request, if none is at work.
    fn ask(&mut self) {
        if self.asking.is_some() {
            return;
        }
        let mut books = self.books.take().expect("the books are here when nothing is asked");
        let next = books.maker.executor.tip().header.header.height + 1;
        // What was asked about a height that is over is of no use to the node.
        let is_over = |request: &Request| match request {
            Request::Build { height, .. } | Request::Check { height, .. } => *height != next,
            Request::Commit { .. } | Request::Serve { .. } => false,
        };
        while self.asks.front().is_some_and(is_over) {
            self.asks.pop_front();
        }
        let Some(request) = self.asks.pop_front() else {
            self.books = Some(books);
            return;
        };
        if matches!(request, Request::Build { .. }) {
            books.candidates = self.pool.candidates();
        }
        let host = self.host.clone();
        self.asking = Some(Box::pin(async move {
            let now = host.now_ms();
            host.blocking(move || (request.perform(&mut books, now), books)).await
        }));
    }

    /// Goes on with what the ledger has answered.
    async fn answered(&mut self, answer: Answer) -> Result<Option<Pause>, LedgerError> {
        let books = self.books.as_mut().expect("the books came with the answer");
        for (number, outcome) in std::mem::take(&mut books.settled) {
            self.pool.answer(number, outcome);
        }
        if let Some(block) = books.committed.take() {
            self.pool.settle(&block);
            self.count(&block);
        }
        let books = self.books.as_mut().expect("the books came with the answer");
        match answer {
            Answer::Nothing => {}
            Answer::Send(to, message) => self.company.mesh.send(to, &message),
            Answer::Tell(Event::Committed(mut tip)) => {
                let now_ms = self.host.now_ms();
                self.due_ms = books.maker.executor.next_due()?;
                let is_due = self.due_ms.is_some_and(|due| due.on_ordering_clock() <= now_ms);
                tip.has_work = is_due || !self.pool.is_empty();
                if is_due {
                    self.due_ms = None;
                }
                self.valid_blocks = valid_blocks(books)?;
                let is_changed = tip.validators != self.validators;
                if is_changed {
                    self.validators = tip.validators.clone();
                    self.meet_validators()?;
                }
                if is_changed && !self.takes_part() {
                    return Ok(Some(Pause::Turned));
                }
                return self.step(Event::Committed(tip)).await;
            }
            Answer::Tell(event) => return self.step(event).await,
        }
        self.ask();
        Ok(None)
    }

    /// Whether this machine is one of several validators.
    fn takes_part(&self) -> bool {
        self.validators.only().is_none() && self.validators.power_of(&self.own) != 0
    }

    /// Connects with those that order the ledger now.
    fn meet_validators(&self) -> Result<(), LedgerError> {
        let Company { mesh, addresses, .. } = &self.company;
        let members = self.validators.members.iter().map(|member| PeerId(member.key.0));
        let named = addresses.iter().map(|address| address.id);
        let books = self.books.as_ref().expect("the books are here when nothing is asked");
        // What the ledger says of where they are is newer than what the operator said.
        let said = books.maker.executor.addresses(&self.validators)?;
        let known = addresses.iter().cloned().chain(said);
        mesh.set_peers(members.chain(named), known);
        Ok(())
    }
}

/// Transactions that others have told of and that have no outcome yet, at most.
const TOLD: usize = 4_096;

/// How often a transaction that waits is told again: a block comes sooner, as long as nothing fails.
const TELL_AGAIN: Duration = Duration::from_secs(2);

/// For how many blocks a report may wait: no longer than the ledger allows now.
fn valid_blocks(books: &Books) -> Result<u64, LedgerError> {
    let most = books.maker.executor.chain_row()?.params.validity_blocks_max;
    Ok(EVIDENCE_BLOCKS.min(most))
}

/// For how many blocks a report may wait at most.
const EVIDENCE_BLOCKS: u64 = 100;
