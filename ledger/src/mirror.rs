//! A mirror: a machine that has the whole state of a ledger in a file of its own, and orders nothing.
//!
//! It joins the ledger from a checkpoint, then follows it. It executes every block and stores it only if the rules give the
//! same header. So it can serve rows, blocks and checkpoints like the ledger itself, and its readers check them in the same
//! way. Transactions go on to the ledger that it follows, and so do questions for history from before it joined.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use symbolon_net::{Connection, Host, NetError, watch};
use symbolon_protocol::{
    codec::Decode as _,
    id::{AccountId, ChainId},
    ledger::{
        rows::{Chain, Chains, Table as _},
        transaction::Transaction,
    },
    wire::ledger::HistoryPlace,
};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    error::LedgerError,
    executor::{Contents, Executor, File, Replica},
    join::{Joined, join},
    port::{History, Ledger, Outcome},
    remote::Remote,
    serve::Engine,
};

/// What happens to a mirror.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mirrored {
    /// It joins the ledger.
    Joins(Joined),
    /// It was away for so long that the ledger no longer has its next block. So it joins once more.
    WasAway {
        /// The height of its last block.
        height: u64,
    },
    /// The ledger that it follows does not answer: it waits.
    Waits {
        /// The error of the last attempt.
        error: LedgerError,
    },
    /// The ledger answers again.
    GoesOn {
        /// The height of the ledger.
        height: u64,
    },
}

/// Who is told.
type Told = Arc<dyn Fn(Mirrored) + Send + Sync>;

/// A mirror that runs. Clones are the same one; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Mirror {
    remote: Remote,
    replica: Replica,
    /// Why it has stopped.
    failed: watch::Receiver<Option<LedgerError>>,
    /// Ends its tasks when the last clone is dropped.
    _tasks: Arc<Tasks>,
}

struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Mirror {
    /// Opens the mirror in a folder, and joins the ledger first if there is none, or if it was away for too long.
    /// `epochs_kept` is the number of epochs before the current one whose blocks it keeps.
    pub async fn open(
        folder: &Path,
        remote: Remote,
        host: Host,
        epochs_kept: u64,
        told: impl Fn(Mirrored) + Send + Sync + 'static,
    ) -> Result<Self, LedgerError> {
        let told: Told = Arc::new(told);
        if !File::is_there(&host, folder).await? {
            join_waiting(&remote, folder, &host, &told).await?;
        }
        let (mut file, mut contents) = opened(folder, &remote, &host).await?;
        let height = contents.tip.header.header.height;
        if was_away(&remote, height).await {
            told(Mirrored::WasAway { height });
            // The old state is replaced when the new one is whole.
            join_waiting(&remote, folder, &host, &told).await?;
            drop(file);
            (file, contents) = opened(folder, &remote, &host).await?;
        }
        let executor = Executor::new(file, contents.tip, host.clone(), epochs_kept);
        let replica = executor.replica().clone();
        let (fails, failed) = watch::channel(None);
        let follows = tokio::spawn({
            let remote = remote.clone();
            async move {
                let error = follow(executor, &remote, &host).await;
                tracing::error!(%error, "the mirror stops");
                fails.send_replace(Some(error));
            }
        });
        let asks = tokio::spawn(ask(remote.clone(), told));
        let tasks = Arc::new(Tasks(vec![follows.abort_handle(), asks.abort_handle()]));
        Ok(Self { remote, replica, failed, _tasks: tasks })
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.remote.chain()
    }

    /// What it has of the ledger, to read.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::Replica(self.replica.clone())
    }

    /// The ledger's own row, of the last block that it has executed.
    pub async fn chain_row(&self) -> Result<Chain, LedgerError> {
        let rows = self.replica.values(vec![Chains::key(&())]).await?;
        let row = rows.into_iter().flatten().next();
        let chain = row.and_then(|row| Chain::from_bytes(&row).ok());
        chain.ok_or_else(|| LedgerError::Damaged("it has no chain row".into()))
    }

    /// Waits until it cannot go on, and says why: the servers lie, the validators signed two chains, its disk failed, or it
    /// was away for too long. It still serves the last block that it has executed.
    pub async fn failed(&self) -> LedgerError {
        let mut failed = self.failed.clone();
        let error = failed.wait_for(Option::is_some).await.map(|error| error.clone());
        error.ok().flatten().unwrap_or(LedgerError::Closed)
    }
}

/// Joins the ledger as soon as it answers.
async fn join_waiting(
    remote: &Remote,
    folder: &Path,
    host: &Host,
    told: &Told,
) -> Result<(), LedgerError> {
    let telling = |joined| told(Mirrored::Joins(joined));
    let mut answers = true;
    loop {
        match join(remote, folder, host, &telling).await {
            Err(error @ LedgerError::Unreachable { .. }) => {
                if answers {
                    told(Mirrored::Waits { error });
                }
                answers = false;
                sleep(ASK_EVERY).await;
            }
            joined => return joined,
        }
    }
}

async fn opened(
    folder: &Path,
    remote: &Remote,
    host: &Host,
) -> Result<(File, Contents), LedgerError> {
    let file = File::open(host, folder.to_path_buf()).await?;
    let (contents, file) = host.blocking(move || (file.check(), file)).await;
    let contents = contents?;
    let (found, asked) = (contents.chain.id, remote.chain());
    match found == asked {
        true => Ok((file, contents)),
        false => Err(LedgerError::OtherLedger { found, asked }),
    }
}

/// Whether the ledger no longer has the block after this height. If it does not answer, that is seen later.
pub async fn was_away(remote: &Remote, height: u64) -> bool {
    let head = in_time(remote.head()).await;
    if head.is_ok_and(|head| height < head.header.height) {
        let mut blocks = remote.follow(height + 1);
        let next = timeout(NEXT, blocks.next()).await;
        return matches!(next, Ok(Err(LedgerError::Pruned { .. })));
    }
    false
}

/// What the ledger says, if it does so while a caller still waits.
async fn in_time<T>(asked: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    timeout(NEXT, asked).await.unwrap_or_else(|_| {
        let after_ms = u64::try_from(NEXT.as_millis()).unwrap_or(u64::MAX);
        Err(LedgerError::Unreachable { attempts: 1, last: NetError::TimedOut { after_ms } })
    })
}

/// Executes the blocks of a ledger, until that fails.
async fn follow(executor: Executor, remote: &Remote, host: &Host) -> LedgerError {
    let mut executor = executor;
    let mut blocks = remote.follow(executor.tip().header.header.height + 1);
    loop {
        let block = match blocks.next().await {
            Ok(block) => block,
            Err(error) => return error,
        };
        let work = move || (executor.apply(&block), executor);
        let (applied, back) = host.blocking(work).await;
        executor = back;
        if let Err(error) = applied {
            return error;
        }
    }
}

/// Asks for the head now and then, and tells when no server answers any more, and when one does again.
async fn ask(remote: Remote, told: Told) {
    let mut answers = true;
    loop {
        match in_time(remote.head()).await {
            Ok(head) if !answers => {
                answers = true;
                told(Mirrored::GoesOn { height: head.header.height });
            }
            Err(error @ LedgerError::Unreachable { .. }) if answers => {
                answers = false;
                told(Mirrored::Waits { error });
            }
            // Lies are for the task that follows.
            Ok(_) | Err(_) => {}
        }
        sleep(ASK_EVERY).await;
    }
}

impl Engine for Mirror {
    async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let outcome = in_time(self.remote.submit(transaction)).await?;
        // The sender asks this mirror for the row that proves the outcome.
        let mut blocks = self.replica.follow(outcome.height);
        match timeout(NEXT, blocks.next()).await {
            // If that block has gone by, so much the better.
            Ok(Ok(_) | Err(LedgerError::Pruned { .. })) => Ok(outcome),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LedgerError::Behind { height: outcome.height }),
        }
    }

    fn replica(&self) -> &Replica {
        &self.replica
    }

    fn meet(&self, connection: Connection) {
        connection.close("a mirror does not vote");
    }

    async fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> Result<History, LedgerError> {
        match self.replica.history(account, before, limit).await {
            Err(LedgerError::NoHistory { .. }) => {
                in_time(self.remote.history(account, before, limit)).await
            }
            own => own,
        }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("chain", &self.chain()).finish_non_exhaustive()
    }
}

/// How long the ledger may take for an answer, or for a block that is there: half of what a caller of the mirror waits for its
/// answer.
const NEXT: Duration = Duration::from_secs(10);
/// How often the ledger is asked whether it is there. Each question is a small message.
const ASK_EVERY: Duration = Duration::from_secs(10);
