//! What the core of the agreement asks for, effect by effect.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    convert::Infallible,
};

use arc_malachitebft_core_consensus as engine;
use arc_malachitebft_core_types as types;
use ed25519_dalek::SigningKey;
use engine::{
    Effect, Input, LivenessMsg, MisbehaviorEvidence, Resumable as _, Resume, SignedConsensusMsg,
    VoteExtensionError,
};
use symbolon_protocol::{
    Encode as _, Millis,
    id::{AccountId, ChainId, Hash, PeerId},
    ledger::{commit::Commit, proposer::proposer},
    signature,
};
use types::{CommitCertificate, Round, SignedMessage, Timeout, TimeoutKind};

use super::{Output, Refusal, TimerId, To, bodies::Bodies, length, replay};
use crate::{
    context::{Agreement, CoreProposal, CoreVote, Members},
    convert,
    evidence::Evidence,
    guard::{Guard, GuardError},
    ledger::{Decided, Request},
    log::{Entry, What},
    message::{Body, Message, Proposal, Step, Vote},
    settings::Settings,
    signatures::Signatures,
    statement::Statement,
};

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for a reason to begin the next height.
    Resting,
    /// It decides a height.
    Deciding,
    /// The ledger commits what was decided.
    Committing,
    /// It has stopped.
    Halted,
}

/// What a node waits for. There is one wait of each kind at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    Core(CoreTimer),
    Pace,
    Heartbeat,
    Status,
    Behind,
    Answer,
}

/// A wait of the core, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CoreTimer {
    pub(super) kind: u8,
    round: u32,
}

/// A committed block from a peer, whose certificate holds.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) from: PeerId,
    pub(super) block: Hash,
    pub(super) round: u32,
    pub(super) body: Body,
}

/// A node without the core's own state: so the core can ask while it is at work.
pub(super) struct Core {
    pub(super) chain: ChainId,
    key: SigningKey,
    pub(super) id: AccountId,
    pub(super) settings: Settings,
    pub(super) signatures: Signatures,
    pub(super) members: Members,
    pub(super) height: u64,
    pub(super) round: u32,
    pub(super) phase: Phase,
    pub(super) is_paced: bool,
    pub(super) has_work: bool,
    pub(super) guard: Option<Guard>,
    /// The last height at which the log is not whole: the guard knows of a statement there that the log does not have.
    pub(super) lost_at: Option<u64>,
    /// Names of the entries that the log had at the start: they are not written again.
    pub(super) logged: HashSet<Hash>,
    is_dirty: bool,
    /// Whether the guard has changed since it was written.
    is_guard_new: bool,
    /// Whether the log has the statement that the guard names.
    is_guard_logged: bool,
    pub(super) inputs: VecDeque<Input<Agreement>>,
    pub(super) outputs: Vec<Output>,
    pub(super) waits: BTreeMap<Wait, TimerId>,
    next_timer: u64,
    pub(super) bodies: Bodies,
    /// The blocks that this node has built, by round.
    pub(super) built: BTreeMap<u32, Hash>,
    /// The round for which the core wants a block.
    pub(super) wanted: Option<u32>,
    /// The round for which the ledger was asked.
    pub(super) building: Option<u32>,
    /// The last proposal that was sent.
    proposed: Option<Proposal>,
    /// With whom this node is connected, if its caller has said that.
    pub(super) connected: Option<BTreeSet<PeerId>>,
    /// The peer whose message is being read.
    pub(super) from: Option<PeerId>,
    pub(super) synced: Option<Synced>,
    /// A decision whose block is not here any more: its name and its commit.
    pub(super) headless: Option<(Hash, Commit)>,
}

/// A signature that no key gives: it marks what the guard kept from being signed, and it never leaves the node.
pub(super) const WITHHELD: [u8; 64] = [0xff; 64];

impl CoreTimer {
    pub(super) const PROPOSE: u8 = 1;
    pub(super) const REBROADCAST: u8 = 4;

    fn new(timeout: Timeout) -> Option<Self> {
        let kind = match timeout.kind {
            TimeoutKind::Propose => Self::PROPOSE,
            TimeoutKind::Prevote => 2,
            TimeoutKind::Precommit => 3,
            TimeoutKind::Rebroadcast => Self::REBROADCAST,
            TimeoutKind::FinalizeHeight(_) => return None,
        };
        Some(Self { kind, round: timeout.round.as_u32()? })
    }

    pub(super) fn timeout(self) -> Timeout {
        let kind = match self.kind {
            Self::PROPOSE => TimeoutKind::Propose,
            2 => TimeoutKind::Prevote,
            3 => TimeoutKind::Precommit,
            _ => TimeoutKind::Rebroadcast,
        };
        Timeout::new(Round::new(self.round), kind)
    }
}

impl Core {
    pub(super) fn new(
        chain: ChainId,
        key: SigningKey,
        settings: Settings,
        signatures: Signatures,
        members: Members,
        height: u64,
    ) -> Self {
        let id = AccountId(key.verifying_key().to_bytes());
        Self {
            chain,
            key,
            id,
            settings,
            signatures,
            members,
            height,
            round: 0,
            phase: Phase::Resting,
            is_paced: false,
            has_work: false,
            guard: None,
            lost_at: None,
            connected: None,
            logged: HashSet::new(),
            is_dirty: false,
            is_guard_new: false,
            is_guard_logged: false,
            inputs: VecDeque::new(),
            outputs: Vec::new(),
            waits: BTreeMap::new(),
            next_timer: 0,
            bodies: Bodies::default(),
            built: BTreeMap::new(),
            wanted: None,
            building: None,
            proposed: None,
            from: None,
            synced: None,
            headless: None,
        }
    }

    /// Forgets the height that is over.
    pub(super) fn next_height(&mut self, height: u64, members: Members) {
        self.height = height;
        self.members = members;
        self.round = 0;
        self.logged.clear();
        self.inputs.clear();
        self.waits.retain(|wait, _| *wait == Wait::Status);
        self.bodies.clear();
        self.built.clear();
        self.wanted = None;
        self.building = None;
        self.proposed = None;
        self.synced = None;
        self.headless = None;
    }

    pub(super) fn wait(&mut self, wait: Wait, after: Millis) {
        let id = TimerId(self.next_timer);
        self.next_timer += 1;
        self.waits.insert(wait, id);
        self.outputs.push(Output::Wait { id, after });
    }

    /// Whether this node is not connected with the proposer of a round.
    fn is_away(&self, round: u32) -> bool {
        let proposer = proposer(&self.chain, self.members.set(), self.height, round);
        let is_connected = |with: &BTreeSet<PeerId>| with.contains(&PeerId(proposer.0));
        proposer != self.id && !self.connected.as_ref().is_none_or(is_connected)
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if let Some(peer) = self.from {
            self.outputs.push(Output::Refused { peer, refusal });
        }
    }

    pub(super) fn log(&mut self, what: What) {
        let statement = what.statement(&self.chain, &self.id);
        if statement.is_some_and(|digest| self.guard.is_some_and(|guard| guard.digest == digest)) {
            self.is_guard_logged = true;
        }
        if self.logged.contains(&replay::name(self.height, &what)) {
            return;
        }
        let entry = Entry { height: self.height, what };
        self.outputs.push(Output::Log(entry.to_bytes()));
        self.is_dirty = true;
    }

    /// What is sent or committed after this rests on what was logged before it.
    fn flush(&mut self) {
        // Behind the entry of the statement that it names: a guard without it would mean that the log is lost.
        if self.is_guard_new && self.is_guard_logged {
            self.outputs.extend(self.guard.map(Output::Guard));
            self.is_guard_new = false;
            self.is_dirty = true;
        }
        if std::mem::take(&mut self.is_dirty) {
            self.outputs.push(Output::Flush);
        }
    }

    /// Sends a statement of this node's own key, or passes one on. An own one that the log has no room for has its guard all
    /// the same.
    fn send_statement(&mut self, signer: AccountId, message: Message) {
        self.is_guard_logged |= signer == self.id;
        self.send(message);
    }

    fn send(&mut self, message: Message) {
        self.flush();
        self.outputs.push(Output::Send(To::All, message));
    }

    /// Carries out one effect.
    pub(super) fn effect(
        &mut self,
        effect: Effect<Agreement>,
    ) -> Result<Resume<Agreement>, Infallible> {
        Ok(match effect {
            Effect::CancelAllTimeouts(r) => {
                self.waits.retain(|wait, _| !matches!(wait, Wait::Core(_)));
                r.resume_with(())
            }
            Effect::CancelTimeout(timeout, r) => {
                if let Some(timer) = CoreTimer::new(timeout) {
                    self.waits.remove(&Wait::Core(timer));
                }
                r.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, r) => {
                if let Some(timer) = CoreTimer::new(timeout) {
                    let after = length(&self.settings, timeout);
                    let is_in_vain = timer.kind == CoreTimer::PROPOSE && self.is_away(timer.round);
                    let after = if is_in_vain { after.min(self.settings.away) } else { after };
                    self.wait(Wait::Core(timer), after);
                }
                r.resume_with(())
            }
            Effect::StartRound(_, round, _, _, r) => {
                self.start_round(convert::round(round));
                r.resume_with(())
            }
            Effect::GetValue(_, round, _, r) => {
                self.wanted = round.as_u32();
                r.resume_with(())
            }
            Effect::SignVote(vote, r) => r.resume_with(self.sign_vote(vote)),
            Effect::SignProposal(proposal, r) => r.resume_with(self.sign_proposal(proposal)),
            Effect::VerifySignature(said, key, r) => r.resume_with(self.holds(&said, &key)),
            Effect::VerifyCommitCertificate(certificate, _, _, r) => {
                r.resume_with(self.verify_commit(&certificate))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, _, _, _, r) => {
                r.resume_with(self.verify_extended(&certificate))
            }
            Effect::VerifyPolkaCertificate(certificate, _, _, r) => {
                r.resume_with(self.verify_polka(&certificate))
            }
            Effect::VerifyRoundCertificate(certificate, _, _, r) => {
                r.resume_with(self.verify_round_votes(&certificate))
            }
            Effect::WalAppend(_, input, r) => {
                self.log_input(input);
                r.resume_with(())
            }
            // Votes here have no extensions, so the core asks for none.
            Effect::ExtendVote(.., r) => r.resume_with(None),
            Effect::VerifyVoteExtension(.., r) => {
                r.resume_with(Err(VoteExtensionError::InvalidVoteExtension))
            }
            other => self.publish(other),
        })
    }

    /// The effects that others see.
    fn publish(&mut self, effect: Effect<Agreement>) -> Resume<Agreement> {
        match effect {
            Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), _)
            | Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), _)
            | Effect::RepublishVote(vote, _) => {
                self.send_vote(convert::vote(&vote.message, vote.signature));
            }
            Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), _) => {
                self.send_proposal(convert::proposal(&proposal.message, proposal.signature));
            }
            Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(certificate), _) => {
                let polka = convert::polka(&self.members, &certificate);
                self.send(Message::Polka { polka });
            }
            Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(certificate), _)
            | Effect::RepublishRoundCertificate(certificate, _) => {
                let votes = convert::round_votes(&self.members, &certificate);
                self.send(Message::RoundVotes { votes });
            }
            Effect::CertVerifiedSyncValue(..) => self.check_synced(),
            Effect::CertRejectedSyncValue(..) => self.synced = None,
            Effect::Decide(certificate, ..) => self.decide(&certificate),
            Effect::Finalize(_, _, evidence, _) => self.tell_evidence(evidence),
            // A proposal is always sent with its block.
            _ => {}
        }
        Resume::Continue
    }

    fn start_round(&mut self, round: u32) {
        self.flush();
        self.round = round;
        let height = self.height;
        let again = self.bodies.ask_early(height);
        self.outputs.extend(again.into_iter().map(Output::Ask));
    }

    fn send_vote(&mut self, vote: Vote) {
        if vote.signature != WITHHELD {
            self.send_statement(vote.voter, Message::Vote { vote });
        }
    }

    fn send_proposal(&mut self, proposal: Proposal) {
        if proposal.signature == WITHHELD {
            return;
        }
        let Some(held) = self.bodies.get(&proposal.block) else {
            return;
        };
        let body = held.body.clone();
        self.has_proposed(&proposal);
        self.send_statement(proposal.proposer, Message::Proposal { proposal, body });
    }

    /// Remembers a proposal, if it is an own one.
    pub(super) fn has_proposed(&mut self, proposal: &Proposal) {
        if proposal.proposer == self.id {
            self.proposed = Some(proposal.clone());
        }
    }

    /// Sends this round's own proposal once more: some may not have got it, and they wait for it.
    pub(super) fn propose_again(&mut self) {
        let round = self.round;
        if let Some(proposal) = self.proposed.clone().filter(|one| one.round == round) {
            self.send_proposal(proposal);
        }
    }

    fn check_synced(&mut self) {
        let Some(synced) = &self.synced else {
            return;
        };
        let (height, block, body) = (self.height, synced.block, synced.body.clone());
        let request = Request::Check { height, block, body, is_vote: false, maker: None };
        self.outputs.push(Output::Ask(request));
    }

    fn decide(&mut self, certificate: &CommitCertificate<Agreement>) {
        self.flush();
        let commit = convert::commit(&self.members, certificate);
        let block = certificate.value_id.0;
        self.phase = Phase::Committing;
        match self.bodies.get(&block) {
            Some(held) => {
                let body = held.body.clone();
                self.commit(block, commit, body);
            }
            None => self.headless = Some((block, commit)),
        }
    }

    fn commit(&mut self, block: Hash, commit: Commit, body: Body) {
        let decided = Decided { height: self.height, block, commit, body };
        self.outputs.push(Output::Ask(Request::Commit { decided }));
    }

    /// Commits a decision whose block has come back.
    pub(super) fn commit_headless(&mut self) {
        let Some((block, commit)) = self.headless.take() else {
            return;
        };
        let Some(body) = self.bodies.get(&block).map(|held| held.body.clone()) else {
            self.headless = Some((block, commit));
            return;
        };
        self.commit(block, commit, body);
    }

    fn tell_evidence(&mut self, evidence: MisbehaviorEvidence<Agreement>) {
        let votes = evidence.votes.into_iter().flat_map(|(_, pairs)| pairs);
        let votes = votes.map(|(first, second)| {
            let [first, second] =
                [first, second].map(|vote| convert::vote(&vote.message, vote.signature));
            Evidence::Votes { first, second }
        });
        let proposals = evidence.proposals.into_iter().flat_map(|(_, pairs)| pairs);
        let proposals = proposals.map(|(first, second)| {
            let [first, second] =
                [first, second].map(|one| convert::proposal(&one.message, one.signature));
            Evidence::Proposals { first, second }
        });
        self.outputs.extend(votes.chain(proposals).map(Output::Evidence));
    }

    fn log_input(&mut self, input: Input<Agreement>) {
        let what = match input {
            Input::Vote(vote) => What::Vote { vote: convert::vote(&vote.message, vote.signature) },
            Input::Proposal(one) => {
                What::Proposal { proposal: convert::proposal(&one.message, one.signature) }
            }
            Input::PolkaCertificate(certificate) => {
                What::Polka { polka: convert::polka(&self.members, &certificate) }
            }
            Input::TimeoutElapsed(timeout) => {
                let step = match timeout.kind {
                    TimeoutKind::Propose => Step::Proposal,
                    TimeoutKind::Prevote => Step::Prevote,
                    TimeoutKind::Precommit => Step::Precommit,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return,
                };
                What::Elapsed { step, round: convert::round(timeout.round) }
            }
            Input::ProposedValue(value, _) => What::Judged {
                round: convert::round(value.round),
                locked_round: value.valid_round.as_u32(),
                proposer: value.proposer.0,
                block: value.value.0,
                is_valid: value.validity.is_valid(),
            },
            // The core logs no other input.
            Input::StartHeight(..)
            | Input::Propose(_)
            | Input::RoundCertificate(_)
            | Input::SyncValueResponse(_) => return,
        };
        self.log(what);
    }

    /// Signs a statement if the guard allows it.
    fn sign(&mut self, statement: &Statement) -> [u8; 64] {
        let at = statement.place;
        let next = match self.lost_at.filter(|lost| at.height <= *lost) {
            Some(_) => Err(GuardError::LogIsLost { at }),
            None => Guard::advance(self.guard.as_ref(), statement),
        };
        match next {
            Ok(guard) => {
                if self.guard != Some(guard) {
                    self.guard = Some(guard);
                    self.is_guard_new = true;
                    self.is_guard_logged = false;
                }
                signature::sign(&self.key, &statement.digest)
            }
            Err(error) => {
                self.outputs.push(Output::Withheld(error));
                WITHHELD
            }
        }
    }

    fn sign_vote(&mut self, vote: CoreVote) -> SignedMessage<Agreement, CoreVote> {
        let statement = Statement::of_vote(&self.chain, &convert::vote(&vote, WITHHELD));
        SignedMessage::new(vote, self.sign(&statement))
    }

    fn sign_proposal(&mut self, proposal: CoreProposal) -> SignedMessage<Agreement, CoreProposal> {
        let unsigned = convert::proposal(&proposal, WITHHELD);
        let statement = Statement::of_proposal(&self.chain, &unsigned);
        SignedMessage::new(proposal, self.sign(&statement))
    }
}
