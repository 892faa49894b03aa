//! What peers send.
//!
//! A message costs at most as many verifications as it has signatures, and none of it is believed before. Messages for the
//! height after the one that is decided wait, a few for each peer, so that no peer can crowd out another.

use arc_malachitebft_core_consensus as engine;
use arc_malachitebft_core_types as types;
use engine::Input;
use symbolon_protocol::{
    id::{Hash, PeerId},
    ledger::{
        commit::{Commit, CommitError},
        proposer::proposer,
    },
};
use types::ValueResponse;

use super::{
    Node, Output, Refusal, To,
    bodies::Held,
    core::{Phase, Synced},
    needed,
};
use crate::{
    convert,
    ledger::Request,
    message::{Body, Message, Polka, Proposal, RoundVotes, Vote},
    statement::Statement,
};

/// Messages of one peer that wait for the next height at most: its votes of a few rounds, and what goes with them.
const LATER_OF_PEER_MAX: usize = 24;

/// Blocks among all of them at most.
const LATER_BODIES_MAX: usize = 8;

/// Peers whose messages wait at most: as many as a set has validators, and twice as many followers.
const LATER_PEERS_MAX: usize = 384;

/// How many rounds ahead a statement may be. The core drops what is further ahead.
const ROUNDS_AHEAD_MAX: u32 = engine::MAX_FUTURE_ROUND_LOOKAHEAD;

impl Node {
    pub(super) fn receive(&mut self, from: PeerId, bytes: &[u8]) {
        self.core.from = Some(from);
        let message = match Message::read(bytes) {
            Ok(message) => message,
            Err(error) => return self.core.refuse(Refusal::Message(error)),
        };
        let (at, height) = (message.height(), self.core.height);
        match message {
            Message::Status { .. } => self.heard_status(from, at),
            Message::Wanted { .. } => self.serve(from, at),
            message if at < height => {
                // The sender is behind, even if only by one: the votes that it waits for are over.
                if !matches!(message, Message::Committed { .. }) {
                    self.send_status(To::Peer(from));
                }
            }
            message if height < at => self.keep_for_later(from, at, message),
            message => self.read(from, message),
        }
    }

    /// A message of a later height also says that its sender has committed the blocks before.
    fn keep_for_later(&mut self, from: PeerId, at: u64, message: Message) {
        if at == self.core.height.saturating_add(1) {
            let is_body = matches!(message, Message::Proposal { .. } | Message::Committed { .. });
            let has_room = self.later.contains_key(&from) || self.later.len() < LATER_PEERS_MAX;
            let has_room = has_room && (!is_body || self.later_bodies < LATER_BODIES_MAX);
            let waiting = self.later.get(&from).map_or(0, Vec::len);
            if has_room && waiting < LATER_OF_PEER_MAX {
                self.later.entry(from).or_default().push(message);
                self.later_bodies += usize::from(is_body);
            }
        }
        self.is_ahead(from, at.saturating_sub(1));
    }

    /// Reads what has waited for this height.
    pub(super) fn read_later(&mut self) {
        self.later_bodies = 0;
        let height = self.core.height;
        for (from, messages) in std::mem::take(&mut self.later) {
            for message in messages.into_iter().filter(|message| message.height() == height) {
                self.core.from = Some(from);
                self.read(from, message);
            }
        }
        self.core.from = None;
    }

    /// Reads a message of the height that is being decided.
    fn read(&mut self, from: PeerId, message: Message) {
        if self.core.phase == Phase::Committing {
            return self.read_headless(message);
        }
        match message {
            Message::Vote { vote } => self.read_vote(&vote),
            Message::Proposal { proposal, body } => self.read_proposal(from, &proposal, body),
            Message::Polka { polka } => self.read_polka(&polka),
            Message::RoundVotes { votes } => self.read_round_votes(&votes),
            Message::Committed { block, commit, body, .. } => {
                self.read_committed(from, block, &commit, body);
            }
            // Of no height.
            Message::Status { .. } | Message::Wanted { .. } => {}
        }
        self.drain();
    }

    fn is_too_far(&self, round: u32) -> bool {
        self.core.round.saturating_add(ROUNDS_AHEAD_MAX) < round
    }

    fn read_vote(&mut self, vote: &Vote) {
        if self.is_too_far(vote.round) {
            return;
        }
        if self.core.members.set().power_of(&vote.voter) == 0 {
            return self.core.refuse(Refusal::NotAMember);
        }
        let digest = Statement::of_vote(&self.core.chain, vote).digest;
        if self.core.signatures.verify(&vote.voter.0, &digest, &vote.signature).is_err() {
            return self.core.refuse(Refusal::Signature);
        }
        self.begin();
        self.core.inputs.push_back(Input::Vote(convert::to_vote(vote)));
    }

    fn read_proposal(&mut self, from: PeerId, proposal: &Proposal, body: Body) {
        let Proposal { height, round, block, .. } = *proposal;
        if self.is_too_far(round) {
            return;
        }
        let core = &mut self.core;
        let expected = proposer(&core.chain, core.members.set(), height, round);
        if proposal.proposer != expected {
            return core.refuse(Refusal::NotTheProposer);
        }
        let digest = Statement::of_proposal(&core.chain, proposal).digest;
        if core.signatures.verify(&expected.0, &digest, &proposal.signature).is_err() {
            return core.refuse(Refusal::Signature);
        }
        self.begin();
        self.core.inputs.push_back(Input::Proposal(convert::to_proposal(proposal)));
        self.drain();
        if self.core.phase != Phase::Deciding {
            return;
        }
        let mut held = Held::new(round, proposal.proposer, body, Some(from));
        held.is_new = proposal.locked_round.is_none();
        let request = held.question(height, block);
        if self.core.bodies.hold(block, held, &needed(&self.state)) {
            self.core.outputs.push(Output::Ask(request));
        }
    }

    fn read_polka(&mut self, polka: &Polka) {
        let Some(certificate) = convert::to_polka(&self.core.members, polka) else {
            return self.core.refuse(Refusal::Certificate(CommitError::Order { index: 0 }));
        };
        if self.core.verify_polka(&certificate).is_err() {
            return self.core.refuse(Refusal::Signature);
        }
        self.begin();
        self.core.inputs.push_back(Input::PolkaCertificate(certificate));
    }

    fn read_round_votes(&mut self, votes: &RoundVotes) {
        let certificate = convert::to_round_votes(&self.core.members, votes);
        let Some(certificate) = certificate.filter(|one| self.core.verify_round_votes(one).is_ok())
        else {
            return self.core.refuse(Refusal::RoundVotes);
        };
        self.begin();
        self.core.inputs.push_back(Input::RoundCertificate(certificate));
    }

    fn read_committed(&mut self, from: PeerId, block: Hash, commit: &Commit, body: Body) {
        let height = self.core.height;
        let statement = Commit::statement(&self.core.chain, height, commit.round, &block);
        if let Err(error) = self.core.is_certified(&statement, commit) {
            return self.core.refuse(Refusal::Certificate(error));
        }
        let Some(certificate) = convert::to_certificate(&self.core.members, height, &block, commit)
        else {
            return self.core.refuse(Refusal::Certificate(CommitError::Order { index: 0 }));
        };
        self.answered();
        self.begin();
        self.core.synced = Some(Synced { from, block, round: commit.round, body });
        // The core names its peers in its own way. It only hands the name back.
        let peer = engine::PeerId::from_bytes(&[0, 0]).expect("the hash of nothing is a name");
        let response = ValueResponse::new(peer, bytes::Bytes::new(), certificate);
        self.core.inputs.push_back(Input::SyncValueResponse(response));
        self.drain();
        self.hold_synced();
    }

    /// Holds the block of a certificate that holds, whatever was held under its name: the ledger is asked about these bytes.
    fn hold_synced(&mut self) {
        let core = &mut self.core;
        let Some(synced) = core.synced.as_ref().filter(|_| core.phase == Phase::Deciding) else {
            return;
        };
        let key = proposer(&core.chain, core.members.set(), core.height, synced.round);
        let held = Held::new(synced.round, key, synced.body.clone(), Some(synced.from));
        core.bodies.put(synced.block, held, &needed(&self.state));
    }

    /// A decision waits for its block.
    fn read_headless(&mut self, message: Message) {
        let core = &mut self.core;
        let (Message::Committed { height, block, body, .. }, Some((headless, _))) =
            (message, &core.headless)
        else {
            return;
        };
        if block == *headless {
            let held = Held::new(core.round, core.id, body.clone(), core.from);
            core.bodies.put(block, held, &[]);
            let request = Request::Check { height, block, body, is_vote: false, maker: None };
            core.outputs.push(Output::Ask(request));
        }
    }
}
