//! The ledger as the agreement of validators sees it: the executor, and the validator's secret for its blocks.

use std::collections::VecDeque;

use symbolon_consensus::{Decided, Ledger, Tip, Verdict, message::Body};
use symbolon_protocol::{
    LedgerTime, MachineTime, Millis,
    codec::Encode as _,
    id::{AccountId, Hash},
    ledger::{Status, block::Block, execute::Executed, transaction::Transaction},
};

use super::{
    pool::{Candidate, Known},
    sequencer::Maker,
};
use crate::{
    error::LedgerError,
    executor::{Judged, Proposed},
    port::Outcome,
};

/// What is needed to build, judge and commit blocks.
pub(super) struct Books {
    pub(super) maker: Maker,
    own: AccountId,
    known: Known,
    /// What came of the last blocks that were built or judged. They are all of the next height.
    drafts: VecDeque<Draft>,
    /// The transactions for the next block that is built.
    pub(super) candidates: Vec<Candidate>,
    /// What came of those that the block that was built last does not have.
    pub(super) settled: Vec<(u64, Outcome)>,
    /// The block that was committed last.
    pub(super) committed: Option<Block>,
    idle: Idle,
}

/// Bounds how many blocks without a use a validator votes for: a few at once, and one a second after that. A validator whose
/// clock is wrong, or that means harm, could else fill the disks of all others with empty blocks.
struct Idle {
    left: u64,
    /// When one was added last.
    since: Option<MachineTime>,
}

impl Idle {
    fn has_one(&mut self, now: MachineTime) -> bool {
        let since = *self.since.get_or_insert(now);
        let more = now.saturating_since(since).0 / IDLE_EVERY.0;
        // A clock that was set back begins again.
        if 0 < more || now < since {
            self.since = Some(now);
            self.left = self.left.saturating_add(more).min(IDLE_MAX);
        }
        0 < self.left
    }
}

struct Draft {
    block: Hash,
    proposed: Proposed,
    executed: Executed,
}

impl Books {
    pub(super) fn new(maker: Maker, known: Known) -> Self {
        Self {
            own: maker.own(),
            maker,
            known,
            drafts: VecDeque::new(),
            candidates: Vec::new(),
            settled: Vec::new(),
            committed: None,
            idle: Idle { left: IDLE_MAX, since: None },
        }
    }

    fn keep(&mut self, block: Hash, proposed: Proposed, executed: Executed) {
        if DRAFTS_MAX <= self.drafts.len() {
            self.drafts.pop_front();
        }
        self.drafts.push_back(Draft { block, proposed, executed });
    }

    /// Whether a block has nothing to do.
    fn is_idle(&self, proposed: &Proposed) -> Result<bool, LedgerError> {
        if !proposed.transactions.is_empty() {
            return Ok(false);
        }
        let due_ms = self.maker.executor.next_due()?;
        Ok(due_ms.is_none_or(|due_ms| proposed.header.facts.time_ms < due_ms))
    }

    /// Whether a block names its maker as its proposer. Else a validator could put its block, or a turn that it missed, on
    /// another's account.
    fn names(&self, proposed: &Proposed, maker: Option<&AccountId>) -> Result<bool, LedgerError> {
        let Some(maker) = maker else { return Ok(true) };
        let validators = self.maker.executor.chain_row()?.validators;
        let named = validators.members.get(usize::from(proposed.header.facts.proposer));
        Ok(named.is_some_and(|named| named.key == *maker))
    }

    fn find(&self, block: &Hash) -> Option<usize> {
        self.drafts.iter().position(|draft| draft.block == *block)
    }
}

impl Ledger for Books {
    type Error = LedgerError;

    fn tip(&self) -> Result<Tip, LedgerError> {
        let executor = &self.maker.executor;
        let tip = executor.tip();
        let header = &tip.header.header;
        Ok(Tip {
            height: header.height,
            block: header.digest(),
            time_ms: header.facts.time_ms,
            validators: executor.chain_row()?.validators,
            has_work: false,
        })
    }

    fn build(&mut self, height: u64, now: MachineTime) -> Result<(Hash, Body), LedgerError> {
        let Self { maker, own, .. } = self;
        let tip = maker.executor.tip();
        let parent = &tip.header.header;
        let validators = maker.executor.chain_row()?.validators;
        let place = validators.members.iter().position(|member| member.key == *own);
        let place = place.and_then(|place| u16::try_from(place).ok());
        let (Some(place), true) = (place, height == parent.height + 1) else {
            return Err(LedgerError::Broken { height });
        };
        let time_ms = now.within(parent.facts.time_ms, LedgerTime::NEVER);
        let mut facts = maker.executor.inputs(&mut maker.onions, place, time_ms)?;
        let last = maker.parents_commit(&mut facts)?;
        let candidates = std::mem::take(&mut self.candidates);
        let batch = candidates.iter().map(|one| (&one.transaction, one.bytes, &one.signatures));
        let draft = self.maker.executor.execute(&facts, batch, true)?;
        for (candidate, outcome) in candidates.iter().zip(draft.outcomes) {
            let is_over = |outcome: &Outcome| {
                outcome.status != Status::Applied || outcome.height <= parent.height
            };
            self.settled.extend(outcome.filter(is_over).map(|outcome| (candidate.number, outcome)));
        }
        let (transactions, executed) = draft.block.ok_or(LedgerError::Broken { height })?;
        let header = parent.next(facts, &transactions, &executed);
        let proposed = Proposed { header, last, transactions };
        let (block, body) = (proposed.header.digest(), Body::new(proposed.to_bytes()));
        self.keep(block, proposed, executed);
        Ok((block, body))
    }

    fn check(
        &mut self,
        height: u64,
        block: &Hash,
        body: &Body,
        now: Option<MachineTime>,
        maker: Option<&AccountId>,
    ) -> Result<Verdict, LedgerError> {
        let Some(proposed) = Proposed::read(block, body.as_bytes()) else {
            return Ok(Verdict::OtherBytes);
        };
        let time_ms = proposed.header.facts.time_ms;
        if let Some(now) = now {
            let is_ahead = now.saturating_add(AHEAD_MAX).0 < time_ms.0;
            if is_ahead || (!self.idle.has_one(now) && self.is_idle(&proposed)?) {
                return Ok(Verdict::Early);
            }
        }
        if self.find(block).is_some() {
            return Ok(Verdict::Valid);
        }
        if proposed.header.height != height || !self.names(&proposed, maker)? {
            return Ok(Verdict::Invalid);
        }
        let known = self.known.clone();
        let Proposed { header, last, transactions } = &proposed;
        let known = |transaction: &Transaction| known.of(transaction);
        let judged = self.maker.executor.judge(header, last.as_ref(), transactions, known)?;
        Ok(match judged {
            Judged::Invalid => Verdict::Invalid,
            Judged::Valid(executed) => {
                self.keep(*block, proposed, executed);
                Verdict::Valid
            }
        })
    }

    fn commit(&mut self, decided: &Decided) -> Result<Tip, LedgerError> {
        let Decided { height, block, commit, body } = decided;
        if self.find(block).is_none() {
            // It was judged before the last start, or too many others were judged since.
            let verdict = self.check(*height, block, body, None, None)?;
            if verdict != Verdict::Valid {
                return Err(LedgerError::Broken { height: *height });
            }
        }
        let place = self.find(block).ok_or(LedgerError::Broken { height: *height })?;
        let draft = self.drafts.remove(place).ok_or(LedgerError::Broken { height: *height })?;
        self.drafts.clear();
        let Draft { proposed, executed, .. } = draft;
        if self.is_idle(&proposed)? {
            self.idle.left = self.idle.left.saturating_sub(1);
        }
        let block = proposed.committed(commit.clone(), &executed);
        self.maker.executor.commit(&block, &executed.update)?;
        self.maker.executor.announce(block.clone());
        self.committed = Some(block);
        self.tip()
    }

    fn decided(&self, height: u64) -> Result<Option<Decided>, LedgerError> {
        let found = self.maker.executor.decided(height)?;
        Ok(found.map(|(proposed, commit)| Decided {
            height,
            block: proposed.header.digest(),
            commit,
            body: Body::new(proposed.to_bytes()),
        }))
    }
}

/// Drafts that are kept at most: a few rounds of one height. Each may have a few megabytes.
const DRAFTS_MAX: usize = 3;

/// Blocks without a use that may follow each other at once.
const IDLE_MAX: u64 = 8;
/// How long until there may be one more.
const IDLE_EVERY: Millis = Millis(1_000);

/// How far a block's time may be ahead of the clock of a validator that votes for it. Clocks that are set over the network
/// differ by far less; a validator with another one does not get its blocks through.
const AHEAD_MAX: Millis = Millis(2_000);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ed25519_dalek::SigningKey;
    use symbolon_net::Host;
    use symbolon_protocol::ledger::{
        Params,
        beacon::Onions,
        block::Genesis,
        commit::{Validator, Validators},
    };

    use super::{
        super::{founder, sequencer},
        *,
    };
    use crate::executor::{EPOCHS_KEPT, Executor, File};

    #[tokio::test]
    async fn a_block_that_names_another_maker_is_invalid() {
        let (keys, salt) = ([[1; 32], [2; 32]], [3; 32]);
        let mut founders = keys.map(|secret| {
            let (key, onion) = founder(&secret, salt);
            (Validator { key, power: 1 }, onion)
        });
        founders.sort_unstable_by_key(|(validator, _)| validator.key);
        let (members, onions) = founders.into_iter().unzip();
        let (params, time_ms) = (Params::development(), LedgerTime(1_000));
        let genesis = Genesis { params, validators: Validators { members }, time_ms, onions };
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::seeded(1, 2_000));
        let file = File::open(&host, folder.path().to_path_buf()).await.unwrap();
        let signing = SigningKey::from_bytes(&keys[0]);
        let (first, update) = sequencer::first_block(&genesis, &signing).unwrap();
        file.write_genesis(&genesis, &first, &update, &salt).unwrap();
        let tip = file.check().unwrap().tip;
        let executor = Executor::new(file, tip, host, EPOCHS_KEPT);
        let maker = Maker::new(executor, Onions::new(&keys[0], salt), Arc::new(signing));
        let mut books = Books::new(maker, Known::default());
        let now = MachineTime(2_000);
        let (block, body) = books.build(1, now).unwrap();
        let [own, other] = keys.map(|secret| founder(&secret, salt).0);
        for (maker, verdict) in [
            (Some(&own), Verdict::Valid),
            (Some(&other), Verdict::Invalid),
            // Locked on before: it may be of an earlier round.
            (None, Verdict::Valid),
        ] {
            books.drafts.clear();
            assert_eq!(books.check(1, &block, &body, Some(now), maker).unwrap(), verdict);
        }
    }
}
