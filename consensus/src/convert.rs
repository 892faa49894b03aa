//! From the core's types to those of messages and back.

use arc_malachitebft_core_types as core;
use core::{
    CommitCertificate, ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal,
    PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType,
    RoundSignature, SignedProposal, SignedVote, ValidatorSet as _, VoteType,
};
use symbolon_protocol::{
    id::Hash,
    ledger::commit::{Commit, CommitSignature},
};

use crate::{
    context::{Address, Agreement, CoreProposal, CoreVote, Digest, Height, Members},
    message::{Polka, Proposal, RoundKind, RoundVote, RoundVotes, Step, Vote},
};

pub(crate) fn round(round: Round) -> u32 {
    round.as_u32().unwrap_or_default()
}

fn block(value: &NilOrVal<Digest>) -> Option<Hash> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(digest) => Some(digest.0),
    }
}

fn value(block: Option<Hash>) -> NilOrVal<Digest> {
    block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(Digest(block)))
}

fn step(kind: VoteType) -> Step {
    match kind {
        VoteType::Prevote => Step::Prevote,
        VoteType::Precommit => Step::Precommit,
    }
}

// A message with another step is refused when it is read.
fn kind(step: Step) -> VoteType {
    if step == Step::Precommit { VoteType::Precommit } else { VoteType::Prevote }
}

pub(crate) fn to_round(round: Option<u32>) -> Round {
    round.map_or(Round::Nil, Round::new)
}

pub(crate) fn vote(vote: &CoreVote, signature: [u8; 64]) -> Vote {
    Vote {
        height: vote.height.0,
        round: round(vote.round),
        step: step(vote.kind),
        block: block(&vote.value),
        voter: vote.voter.0,
        signature,
    }
}

pub(crate) fn to_vote(vote: &Vote) -> SignedVote<Agreement> {
    let core = CoreVote {
        height: Height(vote.height),
        round: Round::new(vote.round),
        value: value(vote.block),
        kind: kind(vote.step),
        voter: Address(vote.voter),
    };
    SignedVote::new(core, vote.signature)
}

pub(crate) fn proposal(proposal: &CoreProposal, signature: [u8; 64]) -> Proposal {
    Proposal {
        height: proposal.height.0,
        round: round(proposal.round),
        block: proposal.value.0,
        locked_round: proposal.locked_round.as_u32(),
        proposer: proposal.proposer.0,
        signature,
    }
}

pub(crate) fn to_proposal(proposal: &Proposal) -> SignedProposal<Agreement> {
    let core = CoreProposal {
        height: Height(proposal.height),
        round: Round::new(proposal.round),
        value: Digest(proposal.block),
        locked_round: to_round(proposal.locked_round),
        proposer: Address(proposal.proposer),
    };
    SignedProposal::new(core, proposal.signature)
}

/// Signatures by address, as places in the order of the set. Those of no member are left out.
fn places<'a>(
    members: &Members,
    signatures: impl Iterator<Item = (&'a Address, &'a [u8; 64])>,
) -> Vec<CommitSignature> {
    let mut placed: Vec<_> = signatures
        .filter_map(|(address, signature)| {
            let validator = u16::try_from(members.place(&address.0)?).ok()?;
            Some(CommitSignature { validator, signature: *signature })
        })
        .collect();
    placed.sort_unstable_by_key(|one| one.validator);
    placed
}

fn address(members: &Members, place: u16) -> Option<Address> {
    members.get_by_index(usize::from(place)).map(|member| *core::Validator::address(member))
}

pub(crate) fn commit(members: &Members, certificate: &CommitCertificate<Agreement>) -> Commit {
    let signatures = certificate.commit_signatures.iter();
    let signatures = signatures.map(|one| (&one.address, &one.signature));
    Commit { round: round(certificate.round), signatures: places(members, signatures) }
}

/// A commit as the core takes it, or `None` if it names a place that the set does not have.
pub(crate) fn to_certificate(
    members: &Members,
    height: u64,
    block: &Hash,
    commit: &Commit,
) -> Option<ExtendedCommitCertificate<Agreement>> {
    let signature = |one: &CommitSignature| {
        let address = address(members, one.validator)?;
        Some(ExtendedCommitSignature::new(address, one.signature, None))
    };
    Some(ExtendedCommitCertificate {
        height: Height(height),
        round: Round::new(commit.round),
        value_id: Digest(*block),
        commit_signatures: commit.signatures.iter().map(signature).collect::<Option<_>>()?,
    })
}

pub(crate) fn certificate_commit(
    members: &Members,
    certificate: &ExtendedCommitCertificate<Agreement>,
) -> Commit {
    let signatures = certificate.commit_signatures.iter();
    let signatures = signatures.map(|one| (&one.address, &one.signature));
    Commit { round: round(certificate.round), signatures: places(members, signatures) }
}

pub(crate) fn polka(members: &Members, certificate: &PolkaCertificate<Agreement>) -> Polka {
    let signatures = certificate.polka_signatures.iter();
    let signatures = signatures.map(|one| (&one.address, &one.signature));
    Polka {
        height: certificate.height.0,
        round: round(certificate.round),
        block: certificate.value_id.0,
        signatures: places(members, signatures),
    }
}

pub(crate) fn to_polka(members: &Members, polka: &Polka) -> Option<PolkaCertificate<Agreement>> {
    let signature = |one: &CommitSignature| {
        Some(PolkaSignature::new(address(members, one.validator)?, one.signature))
    };
    Some(PolkaCertificate {
        height: Height(polka.height),
        round: Round::new(polka.round),
        value_id: Digest(polka.block),
        polka_signatures: polka.signatures.iter().map(signature).collect::<Option<_>>()?,
    })
}

pub(crate) fn round_votes(
    members: &Members,
    certificate: &RoundCertificate<Agreement>,
) -> RoundVotes {
    let mut votes: Vec<_> = certificate
        .round_signatures
        .iter()
        .filter_map(|one| {
            let validator = u16::try_from(members.place(&one.address.0)?).ok()?;
            let (step, block) = (step(one.vote_type), block(&one.value_id));
            Some(RoundVote { step, block, validator, signature: one.signature })
        })
        .collect();
    votes.sort_unstable_by_key(|vote| vote.validator);
    let kind = match certificate.cert_type {
        RoundCertificateType::Skip => RoundKind::Skip,
        RoundCertificateType::Precommit => RoundKind::Over,
    };
    RoundVotes { height: certificate.height.0, round: round(certificate.round), kind, votes }
}

pub(crate) fn to_round_votes(
    members: &Members,
    votes: &RoundVotes,
) -> Option<RoundCertificate<Agreement>> {
    let signature = |one: &RoundVote| {
        let address = address(members, one.validator)?;
        Some(RoundSignature::new(kind(one.step), value(one.block), address, one.signature))
    };
    Some(RoundCertificate {
        height: Height(votes.height),
        round: Round::new(votes.round),
        cert_type: match votes.kind {
            RoundKind::Skip => RoundCertificateType::Skip,
            RoundKind::Over => RoundCertificateType::Precommit,
        },
        round_signatures: votes.votes.iter().map(signature).collect::<Option<_>>()?,
    })
}

/// One vote of a round's end, as the vote that was signed.
pub(crate) fn vote_of(one: &RoundSignature<Agreement>, height: u64, in_round: Round) -> Vote {
    Vote {
        height,
        round: round(in_round),
        step: step(one.vote_type),
        block: block(&one.value_id),
        voter: one.address.0,
        signature: one.signature,
    }
}
