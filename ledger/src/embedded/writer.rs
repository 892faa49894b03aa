//! The writer task: the only one that makes and commits blocks.

use std::{future::pending, sync::Arc};

use redb::ReadableDatabase;
use symbolon_net::watch;
use symbolon_protocol::{
    ledger::{
        Status,
        block::{Block, Facts},
        execute::{self, BlockBuilder, Pushed},
    },
    limits::BLOCK_BYTES_MAX,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Core, GATHER, Position,
    onion::Onions,
    queue::Submission,
    rows::{self, Rows, disk},
    seal,
};
use crate::{error::LedgerError, port::Outcome};

pub(super) struct Writer {
    core: Arc<Core>,
    tip: watch::Sender<Arc<Block>>,
    queue: mpsc::Receiver<Submission>,
    // Did not fit into the block before.
    held_over: Vec<Submission>,
    // Travels to the blocking thread and back.
    onions: Option<Onions>,
    due_ms: Option<u64>,
}

/// What came of a batch.
struct Made {
    /// The block; `None` when nothing was applied and nothing was due.
    block: Option<Block>,
    /// Who is answered what. After the block is on disk.
    answers: Vec<(Submission, Outcome)>,
    /// Who waits for the next block.
    held_over: Vec<Submission>,
    due_ms: Option<u64>,
}

impl Writer {
    pub(super) fn new(
        core: Arc<Core>,
        onions: Onions,
        tip: watch::Sender<Arc<Block>>,
        queue: mpsc::Receiver<Submission>,
        due_ms: Option<u64>,
    ) -> Self {
        Self { core, tip, queue, held_over: Vec::new(), onions: Some(onions), due_ms }
    }

    /// Makes blocks until all handles are gone or the disk fails.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            if let Err(error) = self.advance(batch).await {
                tracing::error!(%error, "the ledger stops");
                return;
            }
        }
    }

    /// The next batch: empty when the rules have something due, `None` when the engine is to stop.
    async fn gather(&mut self) -> Option<Vec<Submission>> {
        let mut batch = std::mem::take(&mut self.held_over);
        let mut bytes: usize = batch.iter().map(|held| held.bytes).sum();
        if batch.is_empty() {
            let host = self.core.host.clone();
            let due_ms = self.due_ms;
            let due = async move {
                match due_ms {
                    Some(due_ms) => host.sleep_until_ms(due_ms).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                first = self.queue.recv() => {
                    let first = first?;
                    bytes += first.bytes;
                    batch.push(first);
                }
                () = due => return Some(batch),
            }
        }
        let until = Instant::now() + GATHER;
        while bytes < BLOCK_BYTES_MAX {
            match timeout_at(until, self.queue.recv()).await {
                Ok(Some(next)) => {
                    bytes += next.bytes;
                    batch.push(next);
                }
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    /// Makes and commits a block of the batch, then answers.
    async fn advance(&mut self, batch: Vec<Submission>) -> Result<(), LedgerError> {
        let mut onions = self.onions.take().expect("the writer has its onions between two blocks");
        let (core, parent) = (self.core.clone(), self.tip.borrow().clone());
        let work = move || {
            let made = make(&core, &mut onions, &parent, batch);
            (made, onions)
        };
        let host = self.core.host.clone();
        let (made, onions) = host.blocking(work).await;
        self.onions = Some(onions);
        let made = made?;
        self.held_over = made.held_over;
        self.due_ms = made.due_ms;
        if let Some(block) = made.block {
            self.tip.send_replace(Arc::new(block));
        }
        for (submission, outcome) in made.answers {
            // Whoever no longer waits asks again by the same id.
            drop(submission.answer.send(Ok(outcome)));
        }
        Ok(())
    }
}

/// Executes a batch on the tip and commits it. On an error nothing is written, and those who wait see
/// the ledger close.
fn make(
    core: &Core,
    onions: &mut Onions,
    parent: &Block,
    batch: Vec<Submission>,
) -> Result<Made, LedgerError> {
    let parent = &parent.header.header;
    let state = Rows::open(&core.database.begin_read().map_err(disk)?)?;
    let height = parent.height + 1;
    let (reveal, onion_next) = onions.reveal(height);
    let time_ms = core.host.now_ms().max(parent.facts.time_ms);
    let facts = Facts { time_ms, reveal, onion_next };
    let damaged = |error: execute::BlockError| LedgerError::Damaged(error.to_string());
    let mut builder = BlockBuilder::new(&state, &facts).map_err(damaged)?;
    let is_due = execute::next_due(&state).is_some_and(|due_ms| due_ms <= time_ms);

    let (mut applied, mut answers, mut held_over) = (Vec::new(), Vec::new(), Vec::new());
    for submission in batch {
        if !builder.fits(submission.bytes) {
            held_over.push(submission);
            continue;
        }
        let outcome = match builder.push(&submission.transaction) {
            Ok(Pushed::Applied) => {
                applied.push(submission.transaction.clone());
                Outcome { height, status: Status::Applied }
            }
            Ok(Pushed::Already { height }) => Outcome { height, status: Status::Applied },
            Err(status) => Outcome { height: parent.height, status },
        };
        answers.push((submission, outcome));
    }
    let block = match !applied.is_empty() || is_due {
        false => None,
        true => {
            let executed = builder.finish();
            state.checked(())?;
            let place = Position { chain: parent.chain, height, parent: parent.digest() };
            let (block, update) = seal(&core.key, place, facts, applied, executed);
            rows::commit(&core.database, &update, &block, &[])?;
            Some(block)
        }
    };
    state.checked(())?;
    let due_ms = super::next_due(&core.database)?;
    Ok(Made { block, answers, held_over, due_ms })
}
