//! The embedded engine: one process orders, executes and keeps the ledger in one redb file.
//!
//! ```text
//! submit ─▶ queue ─▶ sequencer: gather ─▶ executor: run on the tip ─▶ seal ─▶ one durable commit ─▶ answers
//!                        ▲ timer: the next time the rules have something due                └─▶ followers
//! ```
//!
//! The sequencer orders: it takes what is waiting, for up to [`GATHER`](sequencer::GATHER) or a full block,
//! and names the time and the beacon's layer. The executor runs that on the rows of the last committed
//! block. Rows, block and history are on disk before anyone is answered: what was acknowledged survives a
//! crash, and what was not leaves no trace. Readers see committed blocks only. A block without transactions
//! is made exactly when `next_due` asks for one. After an error of the disk the engine stops; nothing
//! is answered that might not be kept.

mod onion;
mod queue;
mod sale;
mod sequencer;

use std::{fmt, path::Path, sync::Arc};

use ed25519_dalek::SigningKey;
use symbolon_net::{Host, watch};
use symbolon_protocol::{
    codec::Encode,
    grant::Link,
    id::{AccountId, ChainId, Hash, OrderId},
    ledger::{Params, Status, transaction::Transaction},
    limits::TRANSACTION_BYTES_MAX,
};
use zeroize::Zeroizing;

use crate::{
    error::LedgerError,
    executor::{Executor, File, Replica, Rows},
    port::Outcome,
    serve::Engine,
};
use onion::Onions;
use queue::Queue;
use sequencer::Sequencer;

/// How to open an embedded ledger.
pub struct Options {
    /// The authority's ed25519 secret: signs blocks and sales, and seeds the onions.
    pub key: [u8; 32],
    /// Parameters of a new ledger. One that exists keeps those of its genesis.
    pub params: Params,
    /// The machine.
    pub host: Host,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("params", &self.params).finish_non_exhaustive()
    }
}

/// A ledger in this process. Clones are the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Embedded {
    chain: ChainId,
    key: Arc<SigningKey>,
    replica: Replica,
    queue: Queue,
    // Every clone holds one; the sequencer holds the other end and says when it is done.
    stopped: watch::Receiver<()>,
}

impl Embedded {
    /// Opens the ledger in a folder, or founds one when there is none.
    pub async fn open(folder: &Path, options: Options) -> Result<Self, LedgerError> {
        let Options { key, params, host } = options;
        let key = Zeroizing::new(key);
        let signing = Arc::new(SigningKey::from_bytes(&key));
        let file = File::open(&host, folder.to_path_buf()).await?;
        let (salt, now_ms) = (host.random(), host.now_ms());
        let (signer, executing) = (signing.clone(), host.clone());
        let opening = move || -> Result<_, LedgerError> {
            if !file.is_founded()? {
                let (genesis, update) = sequencer::found(&signer, &key, params, salt, now_ms)?;
                file.found(&genesis, &update, &salt)?;
            }
            let found = file.check()?;
            let authority = found.chain.authority;
            if authority.0 != signer.verifying_key().to_bytes() {
                return Err(LedgerError::WrongKey { authority });
            }
            let executor = Executor::new(file, found.tip, executing);
            Ok((executor, Onions::new(&key, found.salt), found.chain.id))
        };
        let (executor, onions, chain) = host.blocking(opening).await?;
        let replica = executor.replica().clone();
        let (queue, submissions) = Queue::new();
        let (done, stopped) = watch::channel(());
        let sequencer = Sequencer::new(executor, onions, signing.clone(), host, submissions)?;
        tokio::spawn(async move {
            sequencer.run().await;
            drop(done);
        });
        Ok(Self { chain, key: signing, replica, queue, stopped })
    }

    /// Which ledger it is.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Whose signature stands under its blocks.
    #[must_use]
    pub fn authority(&self) -> AccountId {
        AccountId(self.key.verifying_key().to_bytes())
    }

    /// Finishes what was submitted and lets go of the file, as soon as no other clone is left.
    pub async fn close(self) {
        let Self { replica, queue, mut stopped, .. } = self;
        drop((replica, queue));
        // Fails when the sequencer is gone, which is what is waited for.
        while stopped.changed().await.is_ok() {}
    }

    /// Waits until the engine has stopped by itself, which it does when its disk fails.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}

impl Engine for Embedded {
    async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let bytes = size(&transaction);
        if TRANSACTION_BYTES_MAX < bytes {
            // It would wait in the queue at its full size.
            let height = self.replica.head().await?.header.height;
            return Ok(Outcome { height, status: Status::TooLarge });
        }
        self.queue.submit(transaction, bytes).await
    }

    async fn sale(&self, order: OrderId) -> Result<(Link, Hash), LedgerError> {
        let (chain, key) = (self.chain, self.key.clone());
        let sign = move |rows: &Rows| sale::link(&chain, rows, &key, order);
        self.replica.with_rows(sign).await
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

/// Bytes of a transaction, as they count in a block.
fn size(transaction: &Transaction) -> usize {
    transaction.to_bytes().len()
}
