//! The embedded engine: this process orders, executes and stores the ledger in one redb file, alone or together with other
//! validators. Which of both is the ledger's own word, and can change at any block.
//!
//! Alone:
//!
//! ```text
//! submit ─▶ lane ─▶ admission ─▶ sequencer: gather ─▶ executor: run on the tip ─▶ seal ─▶ one durable commit ─▶ answers
//!                                    ▲ timer: the next time at which a rule is due                     └─▶ followers
//! ```
//!
//! The sequencer decides the order. It takes waiting transactions for up to
//! [`GATHER`](sequencer::GATHER) or until a block is full, and sets the block's time
//! layer. The executor runs them on the rows of the last committed block.
//!
//! Rows, block and history are on disk before the engine answers. So an acknowledged transaction
//! survives a crash, and any other leaves no trace. Readers see committed blocks only. The engine
//! makes a block without transactions only when `next_due` asks for one. After a disk error the
//! engine stops, because it must not acknowledge a transaction that it may lose.

mod admission;
mod agreement;
mod books;
mod mesh;
mod pool;
mod queue;
mod sequencer;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ed25519_dalek::SigningKey;
use symbolon_net::{Connection, Endpoint, Host, PeerAddress, watch};
use symbolon_protocol::{
    codec::Encode,
    id::{AccountId, ChainId, PeerId},
    ledger::{
        Params, Status,
        beacon::Onions,
        block::{Genesis, OnionStart},
        transaction::Transaction,
    },
    limits::TRANSACTION_BYTES_MAX,
};
use zeroize::Zeroizing;

use crate::{
    error::LedgerError,
    executor::{EPOCHS_KEPT, Executor, File, Replica, has_guard},
    figures::{Counts, Figures},
    port::Outcome,
    serve::Engine,
};
use admission::Admission;
use agreement::{Agreement, Company};
use mesh::Mesh;
use queue::{Lanes, Queue, Submission};
use sequencer::{Maker, Sequencer};

/// How to open an embedded ledger.
pub struct Options {
    /// The ed25519 secret of the ledger's only validator. It signs blocks and seeds the onions.
    pub key: [u8; 32],
    /// Parameters for a new ledger. An existing ledger keeps those of its genesis.
    pub params: Params,
    /// The clock, the randomness and the threads for blocking work.
    pub host: Host,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("params", &self.params).finish_non_exhaustive()
    }
}

/// What a machine needs to order a ledger together with others.
#[derive(Clone, Debug)]
pub struct Together {
    /// Where the others reach this machine, under the key with which it signs.
    pub endpoint: Endpoint,
    /// Where other validators are.
    pub addresses: Vec<PeerAddress>,
    /// The salt of this machine's onions, as in its [`founder`]; `None` for a new one, which is kept in the ledger's file.
    pub salt: Option<[u8; 32]>,
    /// How a ledger begins that several found; `None` if this machine founds a new one alone.
    pub founding: Option<Genesis>,
    /// Whether the folder is a copy of one with which this key may have signed more since. Then the machine does not vote.
    pub is_copy: bool,
}

/// What a machine with this key says of itself to those with whom it founds a ledger.
#[must_use]
pub fn founder(key: &[u8; 32], salt: [u8; 32]) -> (AccountId, OnionStart) {
    let own = AccountId(SigningKey::from_bytes(key).verifying_key().to_bytes());
    (own, Onions::new(key, salt).start())
}

/// What a validator with this key commits to that begins, or begins anew, with the onion of its own of this number.
#[must_use]
pub fn founder_at(key: &[u8; 32], salt: [u8; 32], own: u64) -> OnionStart {
    Onions::new(key, salt).start_at(own)
}

/// How the engine orders the ledger from a block on.
struct Turn {
    host: Host,
    lanes: Lanes,
    maker: Maker,
    /// Submissions that have no block yet.
    held_over: Vec<Submission>,
    company: Option<Company>,
}

/// A ledger in this process. Clones are the same ledger; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Embedded {
    chain: ChainId,
    replica: Replica,
    queue: Queue,
    mesh: Option<Mesh>,
    is_behind: Arc<AtomicBool>,
    counts: Arc<Counts>,
    // Why the engine has stopped by itself. It closes when the engine, which holds the sender, has ended.
    stopped: watch::Receiver<Option<LedgerError>>,
}

impl Embedded {
    /// Opens the ledger in a folder, or creates it if there is none.
    pub async fn open(folder: &Path, options: Options) -> Result<Self, LedgerError> {
        Self::open_keeping(folder, options, EPOCHS_KEPT).await
    }

    /// The same for a ledger that keeps the blocks of another number of epochs before the current
    /// one.
    pub async fn open_keeping(
        folder: &Path,
        options: Options,
        epochs_kept: u64,
    ) -> Result<Self, LedgerError> {
        let file = File::open(&options.host, folder.to_path_buf()).await?;
        Self::start(file, options, epochs_kept, None).await
    }

    /// Opens a ledger that this machine orders alone or together with others, as its blocks say.
    pub async fn open_together(
        folder: &Path,
        options: Options,
        epochs_kept: u64,
        together: Together,
    ) -> Result<Self, LedgerError> {
        let file = File::open(&options.host, folder.to_path_buf()).await?;
        Self::start(file, options, epochs_kept, Some((folder.to_path_buf(), together))).await
    }

    /// The same on a file that is open.
    pub(crate) async fn start(
        file: File,
        options: Options,
        epochs_kept: u64,
        together: Option<(PathBuf, Together)>,
    ) -> Result<Self, LedgerError> {
        let Options { key, params, host } = options;
        let key = Zeroizing::new(key);
        let (random, now_ms) = (host.random(), host.now_ms());
        let founding = together.as_ref().and_then(|(_, together)| together.founding.clone());
        let own_salt = together.as_ref().and_then(|(_, together)| together.salt);
        let executing = host.clone();
        let journal = together.as_ref().map(|(folder, _)| folder.clone());
        let opening = move || -> Result<_, LedgerError> {
            let signing = SigningKey::from_bytes(&key);
            if !file.is_founded()? {
                let own = AccountId(signing.verifying_key().to_bytes());
                let salt = own_salt.unwrap_or(random);
                let genesis = founding.unwrap_or_else(|| {
                    sequencer::genesis(own, &mut Onions::new(&key, salt), params, now_ms)
                });
                let (block, update) = sequencer::first_block(&genesis, &signing)?;
                file.write_genesis(&genesis, &block, &update, &salt)?;
            }
            let contents = file.check()?;
            let own = AccountId(signing.verifying_key().to_bytes());
            let is_lost = match journal {
                Some(folder) => file.has_signed(&contents.chain, own)? && !has_guard(&folder)?,
                None => false,
            };
            let executor = Executor::new(file, contents.tip, executing, epochs_kept);
            let onions = Onions::new(&key, own_salt.unwrap_or(contents.salt));
            let maker = Maker::new(executor, onions, Arc::new(signing));
            Ok((maker, contents.chain, is_lost))
        };
        let (maker, chain, is_lost) = host.blocking(opening).await?;
        let is_copy = together.as_ref().is_some_and(|(_, together)| together.is_copy);
        // Without what it has signed last, it is no better than a copy.
        if (is_copy || is_lost) && chain.validators.only().is_none() {
            return Err(LedgerError::Copied);
        }
        let is_able = match together {
            Some(_) => chain.validators.power_of(&maker.own()) != 0,
            None => chain.validators.only() == Some(maker.own()),
        };
        if !is_able {
            return Err(LedgerError::wrong_key(&chain.validators));
        }
        let replica = maker.executor.replica().clone();
        let counts = maker.counts.clone();
        let (queue, lanes) = Queue::new(replica.clone(), counts.clone());
        let lanes = Admission::start(&host, &replica, lanes);
        let (done, stopped) = watch::channel(None);
        // Until it knows better: the first requests may be there before.
        let is_behind = Arc::new(AtomicBool::new(chain.validators.only().is_none()));
        let chain = chain.id;
        let together = together.map(|(folder, together)| {
            let (mesh, arriving) = Mesh::start(together.endpoint);
            let (addresses, queue) = (together.addresses, queue.downgrade());
            let is_behind = is_behind.clone();
            Company { chain, folder, mesh, arriving, addresses, queue, is_behind }
        });
        let mesh = together.as_ref().map(|company| company.mesh.clone());
        let turn = Turn { host, lanes, maker, held_over: Vec::new(), company: together };
        tokio::spawn(async move {
            if let Err(error) = order(turn).await {
                tracing::error!(%error, "the ledger stops after an error");
                done.send_replace(Some(error));
            }
            drop(done);
        });
        Ok(Self { chain, replica, queue, mesh, is_behind, counts, stopped })
    }

    /// The validators with which this machine is connected.
    #[must_use]
    pub fn connected(&self) -> BTreeSet<PeerId> {
        self.mesh.as_ref().map(Mesh::connected).unwrap_or_default()
    }

    /// What the engine has counted since its start.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.counts.read()
    }

    /// Whether the others' blocks are known to be further than this machine's.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Finishes the submitted transactions and closes the file, once no other clone is left.
    pub async fn close(self) {
        let Self { replica, queue, mesh, mut stopped, .. } = self;
        drop((replica, queue, mesh));
        // The channel closes when the sequencer has ended.
        while stopped.changed().await.is_ok() {}
    }

    /// Waits until the engine has stopped by itself, and says why: after a disk error, or because the ledger's blocks say that
    /// others order it.
    pub async fn stopped(&self) -> LedgerError {
        let mut stopped = self.stopped.clone();
        let error = stopped.wait_for(Option::is_some).await.map(|error| error.clone());
        error.ok().flatten().unwrap_or(LedgerError::Closed)
    }
}

impl Engine for Embedded {
    async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let bytes = size(&transaction);
        if TRANSACTION_BYTES_MAX < bytes {
            // Refused here, because it would occupy the queue at its full size.
            let height = self.replica.head().await?.header.height;
            return Ok(Outcome { height, status: Status::TooLarge });
        }
        self.queue.submit(transaction, bytes).await
    }

    fn replica(&self) -> &Replica {
        &self.replica
    }

    fn is_behind(&self) -> bool {
        Self::is_behind(self)
    }

    fn meet(&self, connection: Connection) {
        match &self.mesh {
            Some(mesh) => mesh.meet(connection),
            None => connection.close("this ledger has no other validators"),
        }
    }
}

/// Orders the ledger, in the way that its last block says, until all handles are dropped.
async fn order(turn: Turn) -> Result<(), LedgerError> {
    let mut next = Some(turn);
    while let Some(turn) = next.take() {
        let (set, own) = (turn.maker.executor.chain_row()?.validators, turn.maker.own());
        next = match turn {
            turn if set.only() == Some(own) => {
                if let Some(company) = &turn.company {
                    company.is_behind.store(false, Ordering::Relaxed);
                }
                Sequencer::begin(turn)?.run().await?
            }
            Turn { host, lanes, maker, held_over, company: Some(company) }
                if set.power_of(&own) != 0 =>
            {
                Agreement::begin(host, lanes, maker, held_over, company).await?.run().await?
            }
            // The last block has made others validators, or this machine cannot reach them.
            _ => return Err(LedgerError::wrong_key(&set)),
        };
    }
    Ok(())
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Bytes that a transaction takes in a block.
fn size(transaction: &Transaction) -> usize {
    transaction.to_bytes().len()
}
