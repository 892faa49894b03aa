//! One node: a validator, or a follower that is none.
//!
//! Its caller's contract:
//!
//! - The first event is [`Event::Start`]. Each call of [`Node::step`] gives outputs, and the caller carries them out in their
//!   order before the next call. A [`Output::Ask`] may take its time, and its answer comes as an event.
//! - After [`Output::Flush`] nothing is carried out until all that was logged before, and the last guard, are on the disk.
//!   The guard is there together with the entries that were logged before it, or after them, never without them.
//! - A node that was [`Output::Halted`] does nothing more.
//!
//! One height is decided at a time. Between two heights the node rests: until a transaction waits and the pace allows it,
//! until another validator has begun, or until the heartbeat. So an idle network makes few blocks, and a ledger with one
//! validator does not spin.

mod bodies;
mod core;
mod receive;
mod replay;
mod sync;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use arc_malachitebft_core_consensus as engine;
use arc_malachitebft_core_types as types;
use ed25519_dalek::SigningKey;
use engine::{Input, LocallyProposedValue, Params, ProposedValue, State};
use symbolon_protocol::{
    DecodeError, Millis,
    id::{AccountId, ChainId, Hash, PeerId},
    ledger::{
        commit::{CommitError, Validators, ValidatorsError},
        proposer::proposer,
    },
};
use thiserror::Error;
use types::{
    LinearTimeouts, Round, ThresholdParams, Timeout, TimeoutKind, Validity, ValueOrigin,
    ValuePayload, VoteExtensionPolicy,
};

use self::core::{Core, Phase, Wait};
use crate::{
    context::{Address, Agreement, Digest, Height, Members},
    evidence::Evidence,
    guard::{Guard, GuardError},
    ledger::{Request, Tip, Verdict},
    log::What,
    message::{Body, Message, MessageError},
    settings::Settings,
    signatures::Signatures,
};

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It may begin. Once, and first.
    Start,
    /// A peer sent this. The caller knows which peer it is.
    Received {
        /// The peer.
        from: PeerId,
        /// What it sent.
        bytes: Vec<u8>,
    },
    /// A wait is over.
    Elapsed(TimerId),
    /// A transaction waits, or a rule is due.
    Work,
    /// With whom this node is connected now: it waits less for the proposal of a validator that it is not connected with. A
    /// caller that never tells this has all validators' proposals waited for.
    Connected(BTreeSet<PeerId>),
    /// The ledger has built a block.
    Built {
        /// Its height.
        height: u64,
        /// The round for which it was asked.
        round: u32,
        /// Its name.
        block: Hash,
        /// Its bytes.
        body: Body,
    },
    /// The ledger has judged a block.
    Checked {
        /// Its height.
        height: u64,
        /// Its name.
        block: Hash,
        /// The verdict.
        verdict: Verdict,
    },
    /// The ledger has committed a block.
    Committed(Tip),
}

/// What a caller does for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Append this entry to the log.
    Log(Vec<u8>),
    /// Replace the guard's row.
    Guard(Guard),
    /// Wait until all entries and the guard are on the disk.
    Flush,
    /// Entries of heights below this one may be dropped.
    Forget {
        /// The height that is decided next.
        height: u64,
    },
    /// Send a message.
    Send(To, Message),
    /// Tell [`Event::Elapsed`] after so long. The one with the same id is the only answer: a node ignores waits that it has
    /// replaced.
    Wait {
        /// Its id.
        id: TimerId,
        /// How long.
        after: Millis,
    },
    /// Ask the ledger.
    Ask(Request),
    /// A validator has signed two things that exclude each other. It may be told more than once.
    Evidence(Evidence),
    /// A peer sent what no honest one sends.
    Refused {
        /// The peer.
        peer: PeerId,
        /// Why.
        refusal: Refusal,
    },
    /// Whether this node's ledger is behind that of the others, so that the caller should not judge by it. Told at the start,
    /// and when it changes.
    Behind(bool),
    /// The guard kept this validator from signing. It goes on with the next place that it may sign at.
    Withheld(GuardError),
    /// More than two thirds have committed a block that the rules of this program forbid. The ledger goes on without this
    /// node until it runs the version that the others run.
    OtherRules {
        /// The block's height.
        height: u64,
        /// Its name.
        block: Hash,
    },
    /// The node has stopped, rather than go on from a state that cannot be right.
    Halted(String),
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To all peers.
    All,
    /// To one.
    Peer(PeerId),
}

/// The id of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(pub u64);

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It sent bytes that are no message.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// It sent a statement of a key that is no validator's at this height.
    #[error("it sent a statement of a key that is no validator at this height")]
    NotAMember,
    /// It sent a proposal of a validator whose turn it is not.
    #[error("it sent a proposal of a validator whose turn it is not")]
    NotTheProposer,
    /// It sent a signature that does not hold.
    #[error("it sent a signature that does not hold")]
    Signature,
    /// It sent a block whose bytes are not those of the name that it gave.
    #[error("it sent other bytes than those of the block that it named")]
    OtherBytes,
    /// It sent a certificate that shows nothing.
    #[error("it sent a certificate that shows nothing: {0}")]
    Certificate(CommitError),
    /// It sent votes that do not end a round.
    #[error("it sent votes that do not end a round")]
    RoundVotes,
}

/// Why a node cannot start. The disk, or who restored it, is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The ledger's validators are no set that can agree.
    #[error("the ledger's validators cannot agree: {0}")]
    Validators(#[from] SetError),
    /// The log has something else than entries.
    #[error("the log is damaged: {0}")]
    Log(#[from] DecodeError),
    /// The log is of a later height than the ledger: the ledger is older than the log.
    #[error("the log is of height {log}, and the ledger waits for block {ledger}: it was restored")]
    Ahead {
        /// The log's height.
        log: u64,
        /// The ledger's next height.
        ledger: u64,
    },
}

/// Why a set of validators cannot agree.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// It is no valid set.
    #[error("{0}")]
    Invalid(#[from] ValidatorsError),
    /// Three times its power is above the largest number, and thirds are what is counted.
    #[error("the power of all validators is above a third of the largest number")]
    TooMuchPower,
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The guard's row.
    pub guard: Option<Guard>,
    /// The log, in order.
    pub log: Vec<Vec<u8>>,
}

/// One node.
pub struct Node {
    state: State<Agreement>,
    core: Core,
    restored: Vec<What>,
    // Messages for the height after this one, for as long as this one is being decided.
    later: BTreeMap<PeerId, Vec<Message>>,
    later_bodies: usize,
    peers: sync::Peers,
}

impl Node {
    /// A node of a ledger that stands at `tip`.
    pub fn new(
        chain: ChainId,
        key: SigningKey,
        settings: Settings,
        signatures: Signatures,
        tip: &Tip,
        restored: Restored,
    ) -> Result<Self, StartError> {
        let height = tip.height.saturating_add(1);
        let members = members(&tip.validators)?;
        let id = AccountId(key.verifying_key().to_bytes());
        let params = Params {
            address: Address(id),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let agreement = Agreement { chain };
        // Messages of later heights do not reach the core, so its queue is for none.
        let state = State::new(agreement, Height(height), members.clone(), params, 1, 1);
        let log = replay::read(&restored.log, height)?;
        let mut core = Core::new(chain, key, settings, signatures, members, height);
        core.guard = restored.guard;
        let is_lost = |guard: &Guard| !replay::has_statement(&chain, &id, &log, guard);
        core.lost_at = restored.guard.filter(is_lost).map(|guard| guard.height);
        core.logged = log.iter().map(|entry| replay::name(height, entry)).collect();
        core.has_work = tip.has_work;
        let (later, peers) = (BTreeMap::new(), sync::Peers::default());
        Ok(Self { state, core, restored: log, later, later_bodies: 0, peers })
    }

    /// The height that is being decided, or that is next.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.core.height
    }

    /// The round of the height.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.core.round
    }

    /// The validators of the height.
    #[must_use]
    pub fn validators(&self) -> &Validators {
        self.core.members.set()
    }

    /// Takes in what happened, and says what to do.
    pub fn step(&mut self, event: Event) -> Vec<Output> {
        if self.core.phase == Phase::Halted {
            return Vec::new();
        }
        match event {
            Event::Start => self.start(),
            Event::Received { from, bytes } => self.receive(from, &bytes),
            Event::Elapsed(id) => self.elapsed(id),
            Event::Work => {
                self.core.has_work = true;
                self.begin_if_due();
            }
            Event::Connected(peers) => self.connected(peers),
            Event::Built { height, round, block, body } => self.built(height, round, block, body),
            Event::Checked { height, block, verdict } => self.checked(height, block, verdict),
            Event::Committed(tip) => self.advance(&tip),
        }
        self.drain();
        self.core.from = None;
        std::mem::take(&mut self.core.outputs)
    }

    /// Gives the core what is queued, and what comes of it, until nothing is left.
    fn drain(&mut self) {
        loop {
            while let Some(input) = self.core.inputs.pop_front() {
                let core = &mut self.core;
                let done: Result<(), engine::Error<Agreement>> = engine::process!(
                    input: input,
                    state: &mut self.state,
                    metrics: &(),
                    with: effect => core.effect(effect)
                );
                if let Err(error) = done {
                    return self.halt(error.to_string());
                }
            }
            if !self.propose() {
                return;
            }
        }
    }

    fn halt(&mut self, why: String) {
        self.core.phase = Phase::Halted;
        self.core.inputs.clear();
        self.core.outputs.push(Output::Halted(why));
    }

    /// Rests until the next height may begin.
    fn rest(&mut self) {
        self.core.phase = Phase::Resting;
        self.core.is_paced = false;
        let Settings { pace, heartbeat, .. } = self.core.settings;
        self.core.wait(Wait::Pace, pace);
        self.core.wait(Wait::Heartbeat, heartbeat);
    }

    fn begin_if_due(&mut self) {
        if self.core.is_paced && self.core.has_work {
            self.begin();
        }
    }

    /// Begins the next height, unless it has begun.
    fn begin(&mut self) {
        if self.core.phase != Phase::Resting {
            return;
        }
        self.start_height(false);
        self.drain();
    }

    fn start_height(&mut self, is_restart: bool) {
        let Core { height, .. } = self.core;
        self.core.phase = Phase::Deciding;
        self.core.has_work = false;
        self.core.waits.remove(&Wait::Pace);
        self.core.waits.remove(&Wait::Heartbeat);
        self.core.inputs.push_back(Input::StartHeight(
            Height(height),
            self.core.members.clone(),
            is_restart,
            None,
            VoteExtensionPolicy::Disabled,
        ));
    }

    /// Goes on with the height after a committed block.
    fn advance(&mut self, tip: &Tip) {
        if tip.height < self.core.height {
            return;
        }
        match members(&tip.validators) {
            Err(error) => return self.halt(error.to_string()),
            Ok(members) => self.core.next_height(tip.height.saturating_add(1), members),
        }
        self.core.has_work = tip.has_work;
        self.core.outputs.push(Output::Forget { height: self.core.height });
        self.rest();
        self.keep_asking();
        self.note_behind();
        self.read_later();
    }

    fn elapsed(&mut self, id: TimerId) {
        let found = self.core.waits.iter().find(|(_, running)| **running == id);
        let Some(wait) = found.map(|(wait, _)| *wait) else {
            return;
        };
        self.core.waits.remove(&wait);
        match wait {
            Wait::Core(timer) => {
                self.core.inputs.push_back(Input::TimeoutElapsed(timer.timeout()));
                if timer.kind == core::CoreTimer::REBROADCAST {
                    self.core.propose_again();
                }
            }
            Wait::Pace => {
                self.core.is_paced = true;
                self.begin_if_due();
            }
            Wait::Heartbeat => self.begin(),
            Wait::Status => self.tell_status(),
            Wait::Behind | Wait::Answer => self.ask(),
        }
    }

    /// Hands the core the block that it wants to propose, or asks the ledger for one. Whether the core has something to do.
    fn propose(&mut self) -> bool {
        let Some(round) = self.core.wanted else {
            return false;
        };
        let in_round = self.state.round() == Round::new(round);
        if self.core.phase != Phase::Deciding || !in_round || !self.state.driver.step_is_propose() {
            self.core.wanted = None;
            return false;
        }
        let height = self.core.height;
        match self.core.built.get(&round) {
            Some(block) => {
                self.core.wanted = None;
                let value =
                    LocallyProposedValue::new(Height(height), Round::new(round), Digest(*block));
                self.core.inputs.push_back(Input::Propose(value));
                true
            }
            None => {
                if self.core.building != Some(round) {
                    self.core.building = Some(round);
                    self.core.outputs.push(Output::Ask(Request::Build { height, round }));
                }
                false
            }
        }
    }

    fn built(&mut self, height: u64, round: u32, block: Hash, body: Body) {
        let core = &mut self.core;
        let is_asked = core.building == Some(round) && core.phase == Phase::Deciding;
        if height != core.height || !is_asked || core.built.contains_key(&round) {
            return;
        }
        let proposer = core.id;
        core.log(What::Block { round, proposer, block, body: body.clone() });
        core.log(What::Built { round, block });
        core.built.insert(round, block);
        let needed = needed(&self.state);
        core.bodies.hold_own(round, proposer, block, body, &needed);
    }

    fn checked(&mut self, height: u64, block: Hash, verdict: Verdict) {
        let core = &mut self.core;
        if height != core.height {
            return;
        }
        if core.headless.as_ref().is_some_and(|(headless, _)| *headless == block) {
            match verdict {
                Verdict::Valid => core.commit_headless(),
                _ => self.keep_asking(),
            }
            return;
        }
        if core.phase != Phase::Deciding {
            return;
        }
        let certified = core.synced.as_ref().filter(|synced| synced.block == block);
        let certified = certified.map(|synced| synced.round);
        let Some(held) = core.bodies.get_mut(&block) else {
            return;
        };
        let is_valid = match verdict {
            Verdict::Valid => true,
            Verdict::Invalid => false,
            Verdict::Early => return held.found_early(),
            Verdict::OtherBytes => {
                if let Some(peer) = held.from {
                    core.outputs.push(Output::Refused { peer, refusal: Refusal::OtherBytes });
                }
                core.bodies.remove(&block);
                if certified.is_some() {
                    core.synced = None;
                    self.ask();
                }
                return;
            }
        };
        held.found(is_valid);
        let (round, proposer) = match certified {
            Some(round) => (round, proposer(&core.chain, core.members.set(), height, round)),
            None => (held.round, held.proposer),
        };
        if is_valid {
            let body = held.body.clone();
            core.log(What::Block { round, proposer, block, body });
        } else if certified.is_some() {
            core.outputs.push(Output::OtherRules { height, block });
        }
        let value = ProposedValue {
            height: Height(height),
            round: Round::new(round),
            valid_round: Round::Nil,
            proposer: Address(proposer),
            value: Digest(block),
            validity: Validity::from_bool(is_valid),
        };
        let is_certified = certified.is_some();
        let origin = if is_certified { ValueOrigin::Sync } else { ValueOrigin::Consensus };
        core.inputs.push_back(Input::ProposedValue(value, origin));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (height, round) = (self.core.height, self.core.round);
        f.debug_struct("Node").field("height", &height).field("round", &round).finish()
    }
}

/// A set as the core takes it. It counts thirds of the power in 64 bits.
fn members(set: &Validators) -> Result<Members, SetError> {
    set.check()?;
    if u64::MAX / 3 < set.power() {
        return Err(SetError::TooMuchPower);
    }
    Ok(Members::new(set.clone()))
}

/// The blocks that a validator must be able to show: the one it is bound to, and the one that more than two thirds accepted.
fn needed(state: &State<Agreement>) -> [Option<Hash>; 2] {
    let round = state.driver.round_state();
    [&round.locked, &round.valid].map(|value| value.as_ref().map(|value| value.value.0))
}

/// The waits of the core's steps.
fn timeouts(settings: &Settings) -> LinearTimeouts {
    let length = |millis: Millis| std::time::Duration::from_millis(millis.0);
    let Settings { propose, vote, wait_max, .. } = settings;
    LinearTimeouts {
        propose: length(propose.0),
        propose_delta: length(propose.1),
        prevote: length(vote.0),
        prevote_delta: length(vote.1),
        precommit: length(vote.0),
        precommit_delta: length(vote.1),
        // As long as a round with nothing in it.
        rebroadcast: length(propose.0.saturating_add(vote.0).saturating_add(vote.0)),
        max_timeout: length(*wait_max),
    }
}

/// How long the core waits for this.
fn length(settings: &Settings, timeout: Timeout) -> Millis {
    let length = match timeout.kind {
        // Never asked for: no height here has a target time.
        TimeoutKind::FinalizeHeight(length) => length,
        _ => timeouts(settings).duration_for(timeout),
    };
    Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}
