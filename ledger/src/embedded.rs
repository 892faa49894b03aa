//! The embedded engine: one process orders, executes and stores the ledger in one redb file.
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
mod queue;
mod sequencer;

use std::{fmt, path::Path, sync::Arc};

use ed25519_dalek::SigningKey;
use symbolon_net::{Host, watch};
use symbolon_protocol::{
    codec::Encode,
    id::{AccountId, ChainId},
    ledger::{Params, Status, beacon::Onions, transaction::Transaction},
    limits::TRANSACTION_BYTES_MAX,
};
use zeroize::Zeroizing;

use crate::{
    error::LedgerError,
    executor::{EPOCHS_KEPT, Executor, File, Replica},
    port::Outcome,
    serve::Engine,
};
use admission::Admission;
use queue::Queue;
use sequencer::Sequencer;

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

/// A ledger in this process. Clones are the same ledger; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Embedded {
    chain: ChainId,
    replica: Replica,
    queue: Queue,
    // Closes when the sequencer, which holds the sender, has ended.
    stopped: watch::Receiver<()>,
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
        Self::start(file, options, epochs_kept).await
    }

    /// The same on a file that is open.
    pub(crate) async fn start(
        file: File,
        options: Options,
        epochs_kept: u64,
    ) -> Result<Self, LedgerError> {
        let Options { key, params, host } = options;
        let key = Zeroizing::new(key);
        let signing = Arc::new(SigningKey::from_bytes(&key));
        let (salt, now_ms) = (host.random(), host.now_ms());
        let (signer, executing) = (signing.clone(), host.clone());
        let opening = move || -> Result<_, LedgerError> {
            if !file.is_founded()? {
                let (genesis, block, update) =
                    sequencer::genesis(&signer, &key, params, salt, now_ms)?;
                file.write_genesis(&genesis, &block, &update, &salt)?;
            }
            let contents = file.check()?;
            let own = AccountId(signer.verifying_key().to_bytes());
            if contents.chain.validators.only() != Some(own) {
                let validators = contents.chain.validators.members;
                let validators = validators.iter().map(|validator| validator.key).collect();
                return Err(LedgerError::WrongKey { validators });
            }
            let executor = Executor::new(file, contents.tip, executing, epochs_kept);
            Ok((executor, Onions::new(&key, contents.salt), contents.chain))
        };
        let (executor, onions, chain) = host.blocking(opening).await?;
        let replica = executor.replica().clone();
        let (queue, lanes) = Queue::new(replica.clone());
        let lanes = Admission::start(&host, &replica, lanes);
        let (done, stopped) = watch::channel(());
        let sequencer = Sequencer::new(executor, onions, signing, host, lanes)?;
        tokio::spawn(async move {
            sequencer.run().await;
            drop(done);
        });
        Ok(Self { chain: chain.id, replica, queue, stopped })
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Finishes the submitted transactions and closes the file, once no other clone is left.
    pub async fn close(self) {
        let Self { replica, queue, mut stopped, .. } = self;
        drop((replica, queue));
        // The channel closes when the sequencer has ended.
        while stopped.changed().await.is_ok() {}
    }

    /// Waits until the engine has stopped by itself, which it does after a disk error.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
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
