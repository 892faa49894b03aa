//! The blocks of the height that is being decided, by their names.

use std::collections::BTreeMap;

use symbolon_protocol::id::{AccountId, Hash, PeerId};

use crate::{ledger::Request, message::Body};

/// Blocks of a height that are held at most. A round has at most two, so these are those of many rounds.
pub(super) const BODIES_MAX: usize = 16;

/// Blocks of one round at most: an honest proposer has one, and two show that it is dishonest.
const BODIES_OF_ROUND_MAX: usize = 2;

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The ledger was asked.
    Nothing,
    /// Its time is too far ahead.
    Early,
    /// The rules allow it, or forbid it.
    Verdict(bool),
}

/// A block.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) round: u32,
    pub(super) proposer: AccountId,
    pub(super) body: Body,
    /// Whether its proposer says that it has made it for this round. One that was locked on may be another's.
    pub(super) is_new: bool,
    /// The peer that sent it; absent for an own one, and for one from the log.
    pub(super) from: Option<PeerId>,
    found: Found,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    held: BTreeMap<Hash, Held>,
}

impl Held {
    pub(super) fn new(round: u32, proposer: AccountId, body: Body, from: Option<PeerId>) -> Self {
        Self { round, proposer, body, is_new: false, from, found: Found::Nothing }
    }

    /// Asks the ledger about it, for a vote.
    pub(super) fn question(&self, height: u64, block: Hash) -> Request {
        let maker = self.is_new.then_some(self.proposer);
        Request::Check { height, block, body: self.body.clone(), is_vote: true, maker }
    }

    pub(super) fn found(&mut self, is_valid: bool) {
        self.found = Found::Verdict(is_valid);
    }

    pub(super) fn found_early(&mut self) {
        if self.found == Found::Nothing {
            self.found = Found::Early;
        }
    }

    pub(super) fn is_judged(&self) -> bool {
        matches!(self.found, Found::Verdict(_))
    }
}

impl Bodies {
    pub(super) fn get(&self, block: &Hash) -> Option<&Held> {
        self.held.get(block)
    }

    pub(super) fn get_mut(&mut self, block: &Hash) -> Option<&mut Held> {
        self.held.get_mut(block)
    }

    pub(super) fn remove(&mut self, block: &Hash) {
        self.held.remove(block);
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// Holds a block that was proposed, unless it is held or its round has enough of them. Whether it is new.
    pub(super) fn hold(&mut self, block: Hash, held: Held, needed: &[Option<Hash>]) -> bool {
        let of_round = self.held.values().filter(|other| other.round == held.round).count();
        if self.held.contains_key(&block) || BODIES_OF_ROUND_MAX <= of_round {
            return false;
        }
        self.put(block, held, needed);
        true
    }

    /// Holds a block whatever its round has: its own validator built it, or it is certified.
    pub(super) fn put(&mut self, block: Hash, held: Held, needed: &[Option<Hash>]) {
        if BODIES_MAX <= self.held.len() {
            // The oldest one that this validator need not show. If it is decided after all, its bytes come with the commit.
            let spare = self.held.iter().filter(|(name, _)| !needed.contains(&Some(**name)));
            let spare = spare.min_by_key(|(_, other)| (other.is_judged(), other.round));
            if let Some(name) = spare.map(|(name, _)| *name) {
                self.held.remove(&name);
            }
        }
        self.held.insert(block, held);
    }

    pub(super) fn hold_own(
        &mut self,
        round: u32,
        proposer: AccountId,
        block: Hash,
        body: Body,
        needed: &[Option<Hash>],
    ) {
        let mut held = Held::new(round, proposer, body, None);
        held.found(true);
        self.put(block, held, needed);
    }

    /// Blocks whose time was too far ahead when they were looked at. They may be looked at once more.
    pub(super) fn ask_early(&mut self, height: u64) -> Vec<Request> {
        let early = self.held.iter_mut().filter(|(_, held)| held.found == Found::Early);
        early
            .map(|(block, held)| {
                held.found = Found::Nothing;
                held.question(height, *block)
            })
            .collect()
    }

    /// Blocks that the ledger has not judged.
    pub(super) fn unjudged(&self) -> impl Iterator<Item = (&Hash, &Held)> {
        self.held.iter().filter(|(_, held)| !held.is_judged())
    }
}
