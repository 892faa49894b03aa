//! Committed blocks from peers, for a node that is behind.
//!
//! Votes rescue no node that is behind, even by one block: the others drop votes of a height that is over. So every node
//! tells its height now and then, and answers a message of an old height with it. A node that hears of a greater height than
//! its own asks for its next block: at once if it is behind by more than one, and after a moment if it is behind by one,
//! since then its own votes are mostly about to tell it.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::id::PeerId;

use super::{
    Node, Output, To,
    core::{Phase, Wait},
};
use crate::{ledger::Request, message::Message};

/// Peers whose heights are kept at most.
const PEERS_MAX: usize = 512;

/// How often a node that has started tells its height until it does not wait for what others say of theirs.
const SETTLED: u64 = 3;

/// Blocks that one peer gets at most between two of this node's tellings of its height.
const SERVED_MAX: u32 = 256;

/// What is known of the peers' heights.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The last block that each has said to have committed.
    tips: BTreeMap<PeerId, u64>,
    /// Blocks that each was sent lately.
    served: BTreeMap<PeerId, u32>,
    /// How often peers were asked: the next one is asked each time.
    turns: usize,
    /// How often this node has told its height.
    told: u64,
    /// What it has said last of whether it is behind.
    is_behind: Option<bool>,
}

impl Peers {
    /// A peer has committed this block.
    fn note(&mut self, peer: PeerId, tip: u64) {
        if self.tips.len() < PEERS_MAX || self.tips.contains_key(&peer) {
            let known = self.tips.entry(peer).or_default();
            *known = tip.max(*known);
        }
    }
}

impl Node {
    pub(super) fn send_status(&mut self, to: To) {
        let height = self.core.height.saturating_sub(1);
        self.core.outputs.push(Output::Send(to, Message::Status { height }));
    }

    pub(super) fn tell_status(&mut self) {
        self.peers.served.clear();
        self.peers.told = self.peers.told.saturating_add(1);
        self.note_behind();
        self.send_status(To::All);
        self.core.wait(Wait::Status, self.core.settings.status);
    }

    /// Those that are new hear this node's height at once.
    pub(super) fn connected(&mut self, peers: BTreeSet<PeerId>) {
        let before = self.core.connected.replace(peers.clone()).unwrap_or_default();
        for peer in peers.difference(&before) {
            self.send_status(To::Peer(*peer));
        }
    }

    pub(super) fn heard_status(&mut self, from: PeerId, height: u64) {
        if height < self.core.height.saturating_sub(1) {
            self.peers.note(from, height);
            self.send_status(To::Peer(from));
        } else {
            self.is_ahead(from, height);
        }
        self.note_behind();
    }

    /// A peer has committed this block.
    pub(super) fn is_ahead(&mut self, from: PeerId, tip: u64) {
        self.peers.note(from, tip);
        self.keep_asking();
    }

    /// Says whether this node is behind, if that has changed.
    pub(super) fn note_behind(&mut self) {
        let is_behind = self.is_behind();
        if self.peers.is_behind != Some(is_behind) {
            self.peers.is_behind = Some(is_behind);
            self.core.outputs.push(Output::Behind(is_behind));
        }
    }

    /// Whether this node's ledger is too old to judge by it. An honest validator says that it is further by more than the
    /// block that is just being committed, or this one's own key has signed for a later height. A node that has just started
    /// does not know before most others have told their heights, and waits for that for a moment.
    fn is_behind(&self) -> bool {
        let (height, set) = (self.core.height, self.core.members.set());
        let power = |counts: &dyn Fn(u64) -> bool| {
            let others = set.members.iter().filter(|member| member.key != self.core.id);
            let told = others.filter(|member| {
                let tip = self.peers.tips.get(&PeerId(member.key.0));
                tip.is_some_and(|tip| counts(*tip))
            });
            told.map(|member| u128::from(member.power)).sum::<u128>()
        };
        let (all, own) = (u128::from(set.power()), u128::from(set.power_of(&self.core.id)));
        let is_unheard = self.peers.told < SETTLED && (power(&|_| true) + own) * 3 <= all * 2;
        let has_signed_later = self.core.guard.is_some_and(|guard| height < guard.height);
        is_unheard || has_signed_later || all < power(&|tip| height < tip) * 3
    }

    /// Asks for the next block, now or in a moment, if a peer has it and none is asked yet.
    pub(super) fn keep_asking(&mut self) {
        let (height, settings) = (self.core.height, self.core.settings);
        if self.core.waits.contains_key(&Wait::Answer) || !self.can_ask() {
            return;
        }
        match self.peers.tips.values().max() {
            Some(tip) if height < *tip => self.ask(),
            Some(tip) if height == *tip && !self.core.waits.contains_key(&Wait::Behind) => {
                self.core.wait(Wait::Behind, settings.behind);
            }
            _ => {}
        }
    }

    fn can_ask(&self) -> bool {
        match self.core.phase {
            Phase::Resting | Phase::Deciding => true,
            Phase::Committing => self.core.headless.is_some(),
            Phase::Halted => false,
        }
    }

    /// Asks the next one of those that have the next block.
    pub(super) fn ask(&mut self) {
        if !self.can_ask() {
            return;
        }
        let height = self.core.height;
        let have = self.peers.tips.iter().filter(|(_, tip)| height <= **tip);
        let have: Vec<PeerId> = have.map(|(peer, _)| *peer).collect();
        if have.is_empty() {
            return;
        }
        let peer = have[self.peers.turns % have.len()];
        self.peers.turns += 1;
        self.core.outputs.push(Output::Send(To::Peer(peer), Message::Wanted { height }));
        self.core.wait(Wait::Answer, self.core.settings.answer);
    }

    /// A block has come that was asked for.
    pub(super) fn answered(&mut self) {
        self.core.waits.remove(&Wait::Answer);
        self.core.waits.remove(&Wait::Behind);
    }

    /// Gives a peer a committed block.
    pub(super) fn serve(&mut self, to: PeerId, height: u64) {
        let served = self.peers.served.entry(to).or_default();
        if height < self.core.height && *served < SERVED_MAX {
            *served += 1;
            self.core.outputs.push(Output::Ask(Request::Serve { to, height }));
        }
    }
}
