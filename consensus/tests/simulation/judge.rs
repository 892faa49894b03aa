//! What must hold in every run, seen from outside.

use std::collections::BTreeMap;

use symbolon_consensus::{
    Decided, Message,
    statement::{Place, Statement},
};
use symbolon_protocol::{
    id::{AccountId, Hash},
    ledger::commit::Validators,
};

use crate::{machine::Books, world::CHAIN};

pub(crate) struct Judge {
    /// The one block of each height.
    blocks: Vec<Hash>,
    /// The validators of each height, from height 1.
    sets: Vec<Validators>,
    /// What honest keys have signed.
    said: BTreeMap<(AccountId, Place), Hash>,
    last_block_ms: u64,
    disturbed_ms: u64,
    quorum_since_ms: Option<u64>,
    pub(crate) rounds_max: u32,
    pub(crate) evidence: u64,
    pub(crate) refusals: u64,
    pub(crate) withheld: u64,
    pub(crate) stall_ms: u64,
    pub(crate) recovery_ms: u64,
}

impl Judge {
    pub(crate) fn new(first: Validators, now_ms: u64) -> Self {
        Self {
            blocks: Vec::new(),
            sets: vec![first],
            said: BTreeMap::new(),
            last_block_ms: now_ms,
            disturbed_ms: now_ms,
            quorum_since_ms: None,
            rounds_max: 0,
            evidence: 0,
            refusals: 0,
            withheld: 0,
            stall_ms: 0,
            recovery_ms: 0,
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The validators of a height, as far as it is known.
    pub(crate) fn set_of(&self, height: u64) -> &Validators {
        let index = usize::try_from(height.saturating_sub(1)).expect("small");
        self.sets.get(index).or(self.sets.last()).expect("it begins with one")
    }

    /// All machines commit the same block at each height.
    pub(crate) fn committed(&mut self, now_ms: u64, decided: &Decided, next: &Validators) {
        let index = usize::try_from(decided.height - 1).expect("small");
        assert!(index <= self.blocks.len(), "block {} came before its parent", decided.height);
        if index == self.blocks.len() {
            self.blocks.push(decided.block);
            self.sets.push(next.clone());
            self.last_block_ms = now_ms;
            self.rounds_max = self.rounds_max.max(decided.commit.round);
        }
        assert_eq!(self.blocks[index], decided.block, "A FORK at height {}", decided.height);
    }

    /// No honest key signs two statements at one place.
    pub(crate) fn said(&mut self, key: &AccountId, message: &Message) {
        let statement = match message {
            Message::Vote { vote } if vote.voter == *key => Statement::of_vote(&CHAIN, vote),
            Message::Proposal { proposal, .. } if proposal.proposer == *key => {
                Statement::of_proposal(&CHAIN, proposal)
            }
            _ => return,
        };
        let before = self.said.entry((*key, statement.place)).or_insert(statement.digest);
        assert_eq!(
            *before, statement.digest,
            "AN HONEST KEY SIGNED TWICE at {:?}",
            statement.place
        );
    }

    pub(crate) fn disturbed(&mut self, now_ms: u64) {
        self.disturbed_ms = now_ms;
    }

    /// While a quorum is up and undisturbed, blocks come.
    pub(crate) fn second(&mut self, now_ms: u64, has_quorum: bool, stall_max_ms: u64) {
        match has_quorum {
            false => self.quorum_since_ms = None,
            true => {
                let since_ms = *self.quorum_since_ms.get_or_insert(now_ms);
                let from_ms = since_ms.max(self.disturbed_ms).max(self.last_block_ms);
                let stall_ms = now_ms.saturating_sub(from_ms);
                self.stall_ms = self.stall_ms.max(stall_ms);
                assert!(stall_ms <= stall_max_ms, "an unexplained stall of {stall_ms} ms");
            }
        }
    }

    /// What any machine has committed is in the one chain of all, in its place.
    pub(crate) fn compare<'a>(&self, all: impl Iterator<Item = &'a Books>) {
        for books in all {
            for (index, decided) in books.blocks.iter().enumerate() {
                assert_eq!(decided.block, self.blocks[index]);
            }
        }
    }
}
