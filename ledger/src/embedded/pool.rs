//! Transactions that wait for a block, while several validators order the ledger.
//!
//! Each validator has its own pool, and puts what it holds into the blocks that it proposes. A transaction leaves the pool
//! when it is in a block, when the rules refuse it on the last one, or when it is too old for the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use symbolon_protocol::{
    id::Hash,
    ledger::{Status, admission::Signatures, block::Block, transaction::Transaction},
    limits::BLOCK_BYTES_MAX,
};

use super::{
    admission::name,
    queue::{Submission, Way},
};
use crate::port::Outcome;

/// The transactions that wait.
#[derive(Default)]
pub(super) struct Pool {
    /// In the order in which they came.
    waiting: BTreeMap<u64, Submission>,
    /// The numbers of each transaction: a caller may submit one twice.
    names: HashMap<Hash, Vec<u64>>,
    known: Known,
    next: u64,
    /// Bytes of those that wait.
    bytes: usize,
}

/// Which signatures were checked of the transactions that wait. Clones are the same memory.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<HashMap<Hash, Signatures>>>);

impl Known {
    /// What is known of a transaction's signatures.
    pub(super) fn of(&self, transaction: &Transaction) -> Signatures {
        self.lock().get(&name(transaction)).copied().unwrap_or(Signatures::UNCHECKED)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Signatures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction for the next block.
pub(super) struct Candidate {
    /// Its number in the pool.
    pub(super) number: u64,
    pub(super) transaction: Transaction,
    pub(super) bytes: usize,
    pub(super) signatures: Signatures,
}

impl Pool {
    /// What is known of the signatures of those that wait.
    pub(super) fn known(&self) -> Known {
        self.known.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait, and how many bytes they have.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// Takes one in. Whether it is the first of its kind here.
    pub(super) fn add(&mut self, submission: Submission) -> bool {
        let name = name(&submission.transaction);
        self.known.lock().insert(name, submission.signatures);
        let numbers = self.names.entry(name).or_default();
        numbers.push(self.next);
        let is_first = numbers.len() == 1;
        self.bytes += submission.bytes;
        self.waiting.insert(self.next, submission);
        self.next += 1;
        is_first
    }

    /// Those for the next block: first those with a deadline, then the others, each in their order. Twice as much as a block
    /// has room for, since the rules may refuse some.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let (urgent, ordinary): (Vec<_>, Vec<_>) =
            self.waiting.iter().partition(|(_, submission)| submission.urgent.is_some());
        let mut bytes = 0;
        let all = urgent.into_iter().chain(ordinary);
        let fits = all.take_while(|(_, submission)| {
            bytes += submission.bytes;
            bytes <= 2 * BLOCK_BYTES_MAX
        });
        let candidate = |(number, submission): (&u64, &Submission)| Candidate {
            number: *number,
            transaction: submission.transaction.clone(),
            bytes: submission.bytes,
            signatures: submission.signatures,
        };
        fits.map(candidate).collect()
    }

    /// Answers one, if it still waits.
    pub(super) fn answer(&mut self, number: u64, outcome: Outcome) {
        let Some(submission) = self.waiting.remove(&number) else { return };
        self.bytes -= submission.bytes;
        let name = name(&submission.transaction);
        if let Some(numbers) = self.names.get_mut(&name) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.names.remove(&name);
                self.known.lock().remove(&name);
            }
        }
        submission.answer(outcome);
    }

    /// Answers those that a committed block has, and those that no later one can have.
    pub(super) fn settle(&mut self, block: &Block) {
        let height = block.header.header.height;
        for transaction in &block.transactions {
            let numbers = self.names.get(&name(transaction)).cloned();
            for number in numbers.into_iter().flatten() {
                self.answer(number, Outcome { height, status: Status::Applied });
            }
        }
        let is_over = |submission: &Submission| submission.transaction.valid_until <= height;
        let over = self.waiting.iter().filter(|(_, submission)| is_over(submission));
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        for number in over {
            self.answer(number, Outcome { height, status: Status::Expired });
        }
    }

    /// Those that were given to this machine, have waited since `before` and so may not have reached the others: some of the
    /// oldest ones.
    pub(super) fn untold(&self, before: u64) -> impl Iterator<Item = &Transaction> {
        let old = self.waiting.range(..before).map(|(_, submission)| submission);
        let own = old.filter(|submission| submission.way == Way::Submitted);
        own.take(UNTOLD_MAX).map(|submission| &submission.transaction)
    }

    /// The number of the next one.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// All that wait, for an engine that goes on with them.
    pub(super) fn into_waiting(self) -> Vec<Submission> {
        self.waiting.into_values().collect()
    }
}

/// Transactions that are told again at once.
const UNTOLD_MAX: usize = 256;
