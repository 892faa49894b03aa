//! Two statements of one validator at one place: it is dishonest, and anyone can see it.

use thiserror::Error;

use crate::{
    choice,
    id::{AccountId, ChainId},
    ledger::{
        commit::Validators,
        statement::{Proposal, Statement, Vote},
    },
    signature,
};

choice! {
    /// Two signed statements that exclude each other.
    pub enum Evidence {
        /// Two votes.
        Votes = 1 {
            /// One of them.
            first: Vote,
            /// The other.
            second: Vote,
        },
        /// Two proposals.
        Proposals = 2 {
            /// One of them.
            first: Proposal,
            /// The other.
            second: Proposal,
        },
    }
}

/// Why statements are no evidence.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceError {
    /// They are of two validators.
    #[error("the statements are of two validators")]
    TwoSigners,
    /// They stand at two places, so both may be said.
    #[error("the statements are of two places")]
    TwoPlaces,
    /// They say the same.
    #[error("the statements are the same")]
    Same,
    /// The signer is no validator of that height.
    #[error("the signer is no validator of that height")]
    NotAMember,
    /// A signature does not hold.
    #[error("a signature does not hold")]
    Signature,
}

impl Evidence {
    /// The height that it is about.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Votes { first, .. } => first.height,
            Self::Proposals { first, .. } => first.height,
        }
    }

    /// The validator that it convicts. `validators` are those of [`Evidence::height`].
    pub fn check(
        &self,
        chain: &ChainId,
        validators: &Validators,
    ) -> Result<AccountId, EvidenceError> {
        self.judge(chain, |signer| validators.power_of(signer) > 0)
    }

    /// The key that it convicts, whether or not it is one of a validator.
    pub fn signer(&self, chain: &ChainId) -> Result<AccountId, EvidenceError> {
        self.judge(chain, |_| true)
    }

    fn judge(
        &self,
        chain: &ChainId,
        is_member: impl Fn(&AccountId) -> bool,
    ) -> Result<AccountId, EvidenceError> {
        let vote = |vote: &Vote| (vote.voter, Statement::of_vote(chain, vote), vote.signature);
        let proposal =
            |one: &Proposal| (one.proposer, Statement::of_proposal(chain, one), one.signature);
        let both = match self {
            Self::Votes { first, second } => [vote(first), vote(second)],
            Self::Proposals { first, second } => [proposal(first), proposal(second)],
        };
        let [(signer, first, _), (other, second, _)] = &both;
        if signer != other {
            return Err(EvidenceError::TwoSigners);
        }
        if first.place != second.place {
            return Err(EvidenceError::TwoPlaces);
        }
        if first.digest == second.digest {
            return Err(EvidenceError::Same);
        }
        if !is_member(signer) {
            return Err(EvidenceError::NotAMember);
        }
        for (key, statement, given) in &both {
            signature::verify(&key.0, &statement.digest, given)
                .map_err(|_| EvidenceError::Signature)?;
        }
        Ok(*signer)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{id::Hash, ledger::statement::Step};

    const CHAIN: ChainId = ChainId([9; 32]);

    fn vote(key: &SigningKey, round: u32, block: Option<u8>) -> Vote {
        let block = block.map(|byte| Hash([byte; 32]));
        let voter = AccountId(key.verifying_key().to_bytes());
        let mut vote =
            Vote { height: 5, round, step: Step::Prevote, block, voter, signature: [0; 64] };
        vote.signature = signature::sign(key, &Statement::of_vote(&CHAIN, &vote).digest);
        vote
    }

    #[test]
    fn only_two_statements_of_one_validator_at_one_place_convict_it() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let id = AccountId(key.verifying_key().to_bytes());
        let set = Validators::alone(id);
        let check =
            |first: Vote, second: Vote| Evidence::Votes { first, second }.check(&CHAIN, &set);
        let first = vote(&key, 2, Some(7));
        assert_eq!(check(first.clone(), vote(&key, 2, None)), Ok(id));
        assert_eq!(check(first.clone(), vote(&key, 2, Some(8))), Ok(id));
        assert_eq!(check(first.clone(), first.clone()), Err(EvidenceError::Same));
        assert_eq!(check(first.clone(), vote(&key, 3, None)), Err(EvidenceError::TwoPlaces));
        let theirs = vote(&other, 2, None);
        assert_eq!(check(first.clone(), theirs.clone()), Err(EvidenceError::TwoSigners));
        let strangers = check(vote(&other, 2, Some(1)), theirs);
        assert_eq!(strangers, Err(EvidenceError::NotAMember));
        let forged = Vote { signature: [1; 64], ..vote(&key, 2, None) };
        assert_eq!(check(first.clone(), forged), Err(EvidenceError::Signature));
        let other_chain = Evidence::Votes { first, second: vote(&key, 2, None) };
        let elsewhere = other_chain.check(&ChainId([8; 32]), &set);
        assert_eq!(elsewhere, Err(EvidenceError::Signature));
    }
}
