//! What a validator signs: each statement as a digest, and its place in the order in which validators sign.

use crate::{
    choice,
    codec::Encode,
    id::{AccountId, ChainId, Hash},
    ledger::{commit::Commit, signing},
    record,
};

choice! {
    /// The steps of a round in which validators sign, in their order.
    #[derive(Copy, PartialOrd, Ord)]
    pub enum Step {
        /// One validator proposes a block.
        Proposal = 1,
        /// All say whether they would accept it.
        Prevote = 2,
        /// All say whether more than two thirds would.
        Precommit = 3,
    }
}

record! {
    /// A validator's word in a round.
    pub struct Vote {
        /// The height.
        pub height: u64,
        /// The round.
        pub round: u32,
        /// `Prevote` or `Precommit`.
        pub step: Step,
        /// The block; absent if the vote is for none.
        pub block: Option<Hash>,
        /// The key of the validator.
        pub voter: AccountId,
        /// Its signature over the statement.
        pub signature: [u8; 64],
    }
}

record! {
    /// A proposer's word for one block in a round.
    pub struct Proposal {
        /// The height.
        pub height: u64,
        /// The round.
        pub round: u32,
        /// The block.
        pub block: Hash,
        /// The earlier round in which more than two thirds have accepted the block; absent if it is new.
        pub locked_round: Option<u32>,
        /// The key of the proposer.
        pub proposer: AccountId,
        /// Its signature over the statement.
        pub signature: [u8; 64],
    }
}

/// A place at which a validator signs at most one statement. An honest validator goes through its places in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The height.
    pub height: u64,
    /// The round of the height.
    pub round: u32,
    /// The step of the round.
    pub step: Step,
}

/// A statement: where it stands, and the digest that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its place.
    pub place: Place,
    /// Its digest.
    pub digest: Hash,
}

impl Statement {
    /// What a proposal says. The signature covers the block's name, so it is also the proposer's signature under the block.
    #[must_use]
    pub fn of_proposal(chain: &ChainId, proposal: &Proposal) -> Self {
        let Proposal { height, round, block, locked_round, .. } = proposal;
        let mut bytes = chain.to_bytes();
        height.encode(&mut bytes);
        round.encode(&mut bytes);
        block.encode(&mut bytes);
        locked_round.encode(&mut bytes);
        let place = Place { height: *height, round: *round, step: Step::Proposal };
        Self { place, digest: signing::hash(PROPOSAL, &bytes) }
    }

    /// What a vote says. A precommit for a block is the statement of a commit: certificates are made of precommits.
    #[must_use]
    pub fn of_vote(chain: &ChainId, vote: &Vote) -> Self {
        let Vote { height, round, step, block, .. } = vote;
        let digest = match (step, block) {
            (Step::Precommit, Some(block)) => Commit::statement(chain, *height, *round, block),
            (step, block) => {
                let mut bytes = chain.to_bytes();
                height.encode(&mut bytes);
                round.encode(&mut bytes);
                step.encode(&mut bytes);
                block.encode(&mut bytes);
                signing::hash(VOTE, &bytes)
            }
        };
        Self { place: Place { height: *height, round: *round, step: *step }, digest }
    }
}

const PROPOSAL: &str = "symbolon 2026 consensus proposal v1";
const VOTE: &str = "symbolon 2026 consensus vote v1";

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn vote(step: Step, block: Option<Hash>) -> Vote {
        let voter = AccountId([1; 32]);
        Vote { height: 5, round: 2, step, block, voter, signature: [0; 64] }
    }

    #[test]
    fn every_field_changes_the_statement() {
        let (chain, block) = (ChainId([9; 32]), Hash([3; 32]));
        let of = |vote: &Vote| Statement::of_vote(&chain, vote).digest;
        let mut all = vec![
            of(&vote(Step::Prevote, Some(block))),
            of(&vote(Step::Prevote, None)),
            of(&vote(Step::Precommit, Some(block))),
            of(&vote(Step::Precommit, None)),
            of(&Vote { height: 6, ..vote(Step::Prevote, Some(block)) }),
            of(&Vote { round: 3, ..vote(Step::Prevote, Some(block)) }),
            Statement::of_vote(&ChainId([8; 32]), &vote(Step::Prevote, None)).digest,
        ];
        let proposer = AccountId([1; 32]);
        let proposal = Proposal {
            height: 5,
            round: 2,
            block,
            locked_round: None,
            proposer,
            signature: [0; 64],
        };
        let of = |proposal: &Proposal| Statement::of_proposal(&chain, proposal).digest;
        all.push(of(&proposal));
        all.push(of(&Proposal { locked_round: Some(0), ..proposal.clone() }));
        all.push(of(&Proposal { block: Hash([4; 32]), ..proposal.clone() }));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        // The name of who signs is the key of the signature.
        let other = Vote { voter: AccountId([2; 32]), ..vote(Step::Prevote, None) };
        assert_eq!(
            Statement::of_vote(&chain, &other),
            Statement::of_vote(&chain, &vote(Step::Prevote, None))
        );
    }

    #[test]
    fn a_precommit_for_a_block_is_what_a_commit_is_made_of() {
        let (chain, block) = (ChainId([9; 32]), Hash([3; 32]));
        let said = Statement::of_vote(&chain, &vote(Step::Precommit, Some(block)));
        assert_eq!(said.digest, Commit::statement(&chain, 5, 2, &block));
    }
}
