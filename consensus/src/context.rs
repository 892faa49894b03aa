//! This ledger's types, as Malachite's core wants them. They stay in this crate.

use std::{fmt, sync::Arc};

use arc_malachitebft_core_types as core;
use bytes::Bytes;
use core::{LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType, VotingPower};
use symbolon_protocol::{
    id::{AccountId, ChainId, Hash},
    ledger::{commit::Validators, proposer::proposer},
};

/// The ledger that is agreed about.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) chain: ChainId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) AccountId);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Height(pub(crate) u64);

/// A block's name: it is the value that is agreed about, and its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Digest(pub(crate) Hash);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    address: Address,
    power: u64,
}

/// A set of validators. Their places are those of the ledger's own set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    members: Arc<Vec<Member>>,
    set: Arc<Validators>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreProposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Digest,
    pub(crate) locked_round: Round,
    pub(crate) proposer: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreVote {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Digest>,
    pub(crate) kind: VoteType,
    pub(crate) voter: Address,
}

/// A block travels with its proposal, so there are no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPart {}

/// Ed25519 by the rules of `symbolon_protocol::signature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl Members {
    /// The members of a valid set.
    pub(crate) fn new(set: Validators) -> Self {
        let members = set.members.iter();
        let members = members
            .map(|member| Member { address: Address(member.key), power: member.power })
            .collect();
        Self { members: Arc::new(members), set: Arc::new(set) }
    }

    pub(crate) fn set(&self) -> &Validators {
        &self.set
    }

    /// The place of a validator.
    pub(crate) fn place(&self, key: &AccountId) -> Option<usize> {
        self.set.members.binary_search_by_key(key, |member| member.key).ok()
    }
}

impl core::Context for Agreement {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = CoreProposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = LinearTimeouts;
    type Value = Digest;
    type Vote = CoreVote;
    type Extension = Bytes;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        members: &'a Members,
        height: Height,
        round: Round,
    ) -> &'a Member {
        let round = round.as_u32().unwrap_or_default();
        let key = proposer(&self.chain, &members.set, height.0, round);
        let place = members.place(&key).expect("the proposer is drawn from this set");
        &members.members[place]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Digest,
        locked_round: Round,
        proposer: Address,
    ) -> CoreProposal {
        CoreProposal { height, round, value, locked_round, proposer }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Digest>,
        voter: Address,
    ) -> CoreVote {
        CoreVote { height, round, value, kind: VoteType::Prevote, voter }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Digest>,
        voter: Address,
    ) -> CoreVote {
        CoreVote { height, round, value, kind: VoteType::Precommit, voter }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Address for Address {}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, more: u64) -> Self {
        Self(self.0.saturating_add(more))
    }

    fn decrement_by(&self, less: u64) -> Option<Self> {
        self.0.checked_sub(less).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Value for Digest {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

impl core::Validator<Agreement> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &AccountId {
        &self.address.0
    }

    fn voting_power(&self) -> VotingPower {
        self.power
    }
}

impl core::ValidatorSet<Agreement> for Members {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.set.power()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.members.get(self.place(&address.0)?)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }
}

impl core::Proposal<Agreement> for CoreProposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Digest {
        &self.value
    }

    fn take_value(self) -> Digest {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.locked_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

impl core::Vote<Agreement> for CoreVote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Digest> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Digest> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.voter
    }

    // Votes here say nothing beside their vote.
    fn extension(&self) -> Option<&SignedExtension<Agreement>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Agreement>> {
        None
    }

    fn extend(self, _: SignedExtension<Agreement>) -> Self {
        self
    }
}

impl core::ProposalPart<Agreement> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

impl core::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = [u8; 64];
    type PublicKey = AccountId;
    // The core never holds a key: it asks for signatures.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<[u8; 64], &'static str> {
        bytes.try_into().map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &[u8; 64]) -> Vec<u8> {
        signature.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<AccountId, &'static str> {
        bytes.try_into().map(AccountId).map_err(|_| "a key has 32 bytes")
    }

    fn encode_public_key(key: &AccountId) -> Vec<u8> {
        key.0.to_vec()
    }
}
