//! The sequencer: one task that decides which transactions the next block holds, in which order,
//! and with which time. It seals the result of the executor as a block.

use std::{future::pending, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use symbolon_net::Host;
use symbolon_protocol::{
    LedgerTime, MachineTime,
    id::AccountId,
    ledger::{
        Params,
        beacon::Onions,
        block::{Block, BlockInputs, Genesis, SignedHeader},
        commit::{Commit, Validators},
        execute::{self, Executed},
        last::{LastCommit, needs_last},
        state::Update,
    },
    limits::BLOCK_BYTES_MAX,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Turn,
    agreement::Company,
    queue::{Lanes, Submission},
};
use crate::{error::LedgerError, executor::Executor, figures::Counts, port::Outcome};

pub(super) struct Sequencer {
    host: Host,
    lanes: Lanes,
    // Submissions that did not fit into the block before.
    held_over: Vec<Submission>,
    // Moves to the blocking thread and back.
    maker: Option<Maker>,
    due_ms: Option<LedgerTime>,
    company: Option<Company>,
}

/// Everything that is needed to make a block.
pub(super) struct Maker {
    pub(super) executor: Executor,
    pub(super) onions: Onions,
    pub(super) counts: Arc<Counts>,
    key: Arc<SigningKey>,
}

/// The result of a batch.
struct Made {
    /// The block; `None` when no transaction was applied and no rule was due.
    block: Option<Block>,
    /// Answers to send once the block is on disk.
    answers: Vec<(Submission, Outcome)>,
    /// Submissions that wait for the next block.
    held_over: Vec<Submission>,
    due_ms: Option<LedgerTime>,
}

impl Sequencer {
    pub(super) fn begin(turn: Turn) -> Result<Self, LedgerError> {
        let Turn { host, lanes, maker, held_over, company } = turn;
        maker.counts.stands(0, 0);
        let due_ms = maker.executor.next_due()?;
        Ok(Self { host, lanes, held_over, maker: Some(maker), due_ms, company })
    }

    /// Makes blocks until all handles are dropped, or others order the ledger too.
    pub(super) async fn run(mut self) -> Result<Option<Turn>, LedgerError> {
        while let Some(batch) = self.gather().await {
            self.advance(batch).await?;
            let maker = self.maker.as_ref().expect("the maker is here between two blocks");
            if maker.has_turned() {
                let Self { host, lanes, held_over, company, .. } = self;
                let maker = self.maker.expect("the maker is here between two blocks");
                return Ok(Some(Turn { host, lanes, maker, held_over, company }));
            }
        }
        Ok(None)
    }

    /// The next batch. It is empty when a rule is due. `None` when the engine must stop.
    async fn gather(&mut self) -> Option<Vec<Submission>> {
        let mut batch = std::mem::take(&mut self.held_over);
        let mut bytes: usize = batch.iter().map(|held| held.bytes).sum();
        if batch.is_empty() {
            let host = self.host.clone();
            let due_ms = self.due_ms;
            let due = async move {
                match due_ms {
                    Some(due_ms) => host.sleep_until_ms(due_ms.on_ordering_clock()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                first = self.lanes.next() => {
                    let first = first?;
                    bytes += first.bytes;
                    batch.push(first);
                }
                () = due => return Some(batch),
            }
        }
        let until = Instant::now() + GATHER;
        while bytes < BLOCK_BYTES_MAX {
            match timeout_at(until, self.lanes.next()).await {
                Ok(Some(next)) => {
                    bytes += next.bytes;
                    batch.push(next);
                }
                Ok(None) | Err(_) => break,
            }
        }
        // Those with a deadline go before those that the last block had no room for.
        batch.sort_by_key(|submission| submission.urgent.is_none());
        Some(batch)
    }

    /// Makes and commits a block from the batch, then answers the submissions.
    async fn advance(&mut self, batch: Vec<Submission>) -> Result<(), LedgerError> {
        let mut maker = self.maker.take().expect("the maker is here between two blocks");
        let (now_ms, began) = (self.host.now_ms(), Instant::now());
        let work = move || (maker.make(batch, now_ms), maker);
        let (made, maker) = self.host.blocking(work).await;
        let maker = self.maker.insert(maker);
        let made = made?;
        self.held_over = made.held_over;
        self.due_ms = made.due_ms;
        let bytes = self.held_over.iter().map(|held| held.bytes).sum();
        maker.counts.waits(self.held_over.len(), bytes);
        if let Some(block) = made.block {
            maker.counts.decided.note(began.elapsed());
            maker.executor.announce(block);
        }
        for (submission, outcome) in made.answers {
            submission.answer(outcome);
        }
        Ok(())
    }
}

impl Maker {
    /// Whether the last block has changed who makes the next one.
    fn has_turned(&self) -> bool {
        let tip = self.executor.tip();
        let header = &tip.header.header;
        header.validators != header.next_validators
    }

    pub(super) fn new(executor: Executor, onions: Onions, key: Arc<SigningKey>) -> Self {
        Self { executor, onions, counts: Arc::default(), key }
    }

    /// Says in the facts of the next block how its parent was committed, if it has to, and gives the commit that shows it.
    pub(super) fn parents_commit(
        &self,
        facts: &mut BlockInputs,
    ) -> Result<Option<Commit>, LedgerError> {
        let tip = self.executor.tip();
        let is_needed = needs_last(tip.header.header.height, &self.executor.parents()?);
        let last = is_needed.then(|| tip.header.commit.clone());
        facts.last = last.as_ref().map(LastCommit::of);
        Ok(last)
    }

    /// The key with which it signs.
    pub(super) fn signing_key(&self) -> SigningKey {
        SigningKey::clone(&self.key)
    }

    /// The name of this key.
    pub(super) fn own(&self) -> AccountId {
        AccountId(self.key.verifying_key().to_bytes())
    }

    /// Executes a batch, seals the result as a block and commits it. On an error nothing is
    /// written, and the waiting callers see that the ledger has closed.
    fn make(&mut self, batch: Vec<Submission>, now_ms: MachineTime) -> Result<Made, LedgerError> {
        let tip = self.executor.tip();
        let parent = &tip.header.header;
        let time_ms = now_ms.within(parent.facts.time_ms, LedgerTime::NEVER);
        let mut facts = self.executor.inputs(&mut self.onions, 0, time_ms)?;
        let last = self.parents_commit(&mut facts)?;
        let transactions = batch.iter().map(|one| (&one.transaction, one.bytes, &one.signatures));
        let draft = self.executor.execute(&facts, transactions, false)?;
        let block = match draft.block {
            None => None,
            Some((applied, executed)) => {
                let header = parent.next(facts, &applied, &executed);
                let header = SignedHeader::build(header, &self.key);
                let Executed { update, events, .. } = executed;
                let block = Block { header, last, transactions: applied, events };
                self.executor.commit(&block, &update)?;
                Some(block)
            }
        };
        let (mut answers, mut held_over) = (Vec::new(), Vec::new());
        for (submission, outcome) in batch.into_iter().zip(draft.outcomes) {
            match outcome {
                Some(outcome) => answers.push((submission, outcome)),
                None => held_over.push(submission),
            }
        }
        Ok(Made { block, answers, held_over, due_ms: self.executor.next_due()? })
    }
}

/// Makes the genesis of a ledger that one machine founds.
pub(super) fn genesis(
    own: AccountId,
    onions: &mut Onions,
    params: Params,
    now_ms: MachineTime,
) -> Genesis {
    let time_ms = now_ms.within(LedgerTime::ZERO, LedgerTime::NEVER);
    Genesis { params, validators: Validators::alone(own), time_ms, onions: vec![onions.start()] }
}

/// Makes the first block. Its name is the ledger's, so it needs no commit; the only validator signs it all the same.
pub(super) fn first_block(
    genesis: &Genesis,
    signing: &SigningKey,
) -> Result<(Block, Update), LedgerError> {
    genesis.check().map_err(|error| LedgerError::Params(error.to_string()))?;
    let executed = execute::genesis(genesis);
    let header = genesis.header(&executed);
    let own = AccountId(signing.verifying_key().to_bytes());
    let commit = match genesis.validators.only() == Some(own) {
        true => Commit::alone(&header, signing),
        false => Commit { round: 0, signatures: Vec::new() },
    };
    let header = SignedHeader { header, commit };
    let block = Block { header, last: None, transactions: Vec::new(), events: executed.events };
    Ok((block, executed.update))
}

/// How long the sequencer waits for further transactions of a block.
pub(super) const GATHER: Duration = Duration::from_millis(5);
