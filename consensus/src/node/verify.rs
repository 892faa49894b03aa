//! Whether what validators have signed holds. Every check costs at most one verification for each signature.

#![allow(clippy::result_large_err, reason = "the engine names the type of these errors")]

use std::collections::HashSet;

use arc_malachitebft_core_consensus as engine;
use arc_malachitebft_core_types as types;
use engine::ConsensusMsg;
use symbolon_protocol::{
    id::{AccountId, Hash},
    ledger::commit::{Commit, CommitError},
};
use types::{
    BoxError, CertificateError, CommitCertificate, ExtendedCommitCertificate, PolkaCertificate,
    RoundCertificate, RoundCertificateType, SignedMessage,
};

use super::core::{Core, WITHHELD};
use crate::{
    context::Agreement,
    convert,
    message::{Polka, Step, Vote},
    statement::Statement,
};

impl Core {
    pub(super) fn holds(
        &self,
        said: &SignedMessage<Agreement, ConsensusMsg<Agreement>>,
        key: &AccountId,
    ) -> bool {
        let statement = match &said.message {
            ConsensusMsg::Vote(vote) => {
                Statement::of_vote(&self.chain, &convert::vote(vote, said.signature))
            }
            ConsensusMsg::Proposal(proposal) => {
                let proposal = convert::proposal(proposal, said.signature);
                Statement::of_proposal(&self.chain, &proposal)
            }
        };
        self.signatures.verify(&key.0, &statement.digest, &said.signature).is_ok()
    }

    /// Whether these signatures under a statement have more than two thirds of the power.
    pub(super) fn is_certified(
        &self,
        statement: &Hash,
        commit: &Commit,
    ) -> Result<(), CommitError> {
        let verify = |key: &_, digest: &_, given: &_| self.signatures.verify(key, digest, given);
        commit.verify_statement(statement, self.members.set(), verify)
    }

    pub(super) fn verify_commit(
        &self,
        certificate: &CommitCertificate<Agreement>,
    ) -> Result<(), CertificateError<Agreement>> {
        let commit = convert::commit(&self.members, certificate);
        let is_whole = commit.signatures.len() == certificate.commit_signatures.len();
        self.verify_whole(certificate.height.0, &certificate.value_id.0, &commit, is_whole)
    }

    pub(super) fn verify_extended(
        &self,
        certificate: &ExtendedCommitCertificate<Agreement>,
    ) -> Result<(), CertificateError<Agreement>> {
        let commit = convert::certificate_commit(&self.members, certificate);
        let is_whole = commit.signatures.len() == certificate.commit_signatures.len();
        self.verify_whole(certificate.height.0, &certificate.value_id.0, &commit, is_whole)
    }

    fn verify_whole(
        &self,
        height: u64,
        block: &Hash,
        commit: &Commit,
        is_whole: bool,
    ) -> Result<(), CertificateError<Agreement>> {
        let statement = Commit::statement(&self.chain, height, commit.round, block);
        match self.is_certified(&statement, commit) {
            Ok(()) if is_whole => Ok(()),
            Ok(()) => Err(CertificateError::VerificationError(None)),
            Err(error) => {
                Err(CertificateError::VerificationError(Some(BoxError::new(Box::new(error)))))
            }
        }
    }

    pub(super) fn verify_polka(
        &self,
        certificate: &PolkaCertificate<Agreement>,
    ) -> Result<(), CertificateError<Agreement>> {
        let Polka { height, round, block, signatures } = convert::polka(&self.members, certificate);
        if signatures.len() != certificate.polka_signatures.len() {
            return Err(CertificateError::VerificationError(None));
        }
        let (step, voter) = (Step::Prevote, self.id);
        let prevote = Vote { height, round, step, block: Some(block), voter, signature: WITHHELD };
        let statement = Statement::of_vote(&self.chain, &prevote).digest;
        self.is_certified(&statement, &Commit { round, signatures }).map_err(|error| {
            CertificateError::VerificationError(Some(BoxError::new(Box::new(error))))
        })
    }

    /// Whether votes let a node enter a round: of more than a third of the power to enter theirs, of more than two thirds,
    /// all precommits, to enter the next one. Each member counts once, and each of its votes may be for another block.
    pub(super) fn verify_round_votes(
        &self,
        certificate: &RoundCertificate<Agreement>,
    ) -> Result<(), CertificateError<Agreement>> {
        let is_over = certificate.cert_type == RoundCertificateType::Precommit;
        let mut signed: u64 = 0;
        let mut seen = HashSet::new();
        for one in &certificate.round_signatures {
            let vote = convert::vote_of(one, certificate.height.0, certificate.round);
            if !seen.insert(vote.voter) {
                return Err(CertificateError::DuplicateVote(one.address));
            }
            if is_over && vote.step != Step::Precommit {
                return Err(CertificateError::InvalidVoteType(one.address));
            }
            let power = self.members.set().power_of(&vote.voter);
            let digest = Statement::of_vote(&self.chain, &vote).digest;
            let holds = self.signatures.verify(&vote.voter.0, &digest, &vote.signature).is_ok();
            if power == 0 || !holds {
                return Err(CertificateError::InvalidRoundSignature(one.clone()));
            }
            signed = signed.saturating_add(power);
        }
        let total = self.members.set().power();
        let parts = if is_over { 2 } else { 1 };
        if u128::from(total) * parts < u128::from(signed) * 3 {
            return Ok(());
        }
        let expected = total;
        Err(CertificateError::NotEnoughVotingPower { signed, total, expected })
    }
}
