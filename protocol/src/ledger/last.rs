//! How a block's parent was committed, as the block says it.
//!
//! Validators that commit the same block may know different signatures under it. Rules that count who signed need one
//! answer. So a block carries a commit of its parent next to its transactions, and says in its facts what counts of it: the
//! round, and who signed. See `spec/ledger.md`, "Commits".

use thiserror::Error;

use crate::{
    ledger::{
        block::{BlockInputs, Header},
        commit::{Commit, CommitError, Validators, is_more},
    },
    limits::VALIDATORS_MAX,
    record,
};

record! {
    /// What counts of the commit of a block's parent.
    #[derive(Copy)]
    pub struct LastCommit {
        /// Its round: the proposers of the rounds before have missed their turns.
        pub round: u32,
        /// Who signed: bit `p % 8` of byte `p / 8` stands for place `p` of the set that committed the parent.
        pub signers: [u8; 16],
    }
}

/// A bit for each validator that a set may have.
const SIGNER_BYTES: usize = VALIDATORS_MAX / 8;

/// What a block says or shows of its parent's commit is not right.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastError {
    /// It is there, and the parent needs none, or the other way round.
    #[error(
        "the block says how its parent was committed where it must not, or does not where it must"
    )]
    Presence,
    /// The facts say something else than the commit shows.
    #[error("the block's facts say something else than the commit of its parent")]
    OtherFacts,
    /// The signers are no members of the set, or have two thirds of the power or less.
    #[error("those that signed the block's parent, by its facts, could not commit it")]
    Signers,
    /// The commit does not make the parent final.
    #[error("{0}")]
    Commit(#[from] CommitError),
}

/// Whether a block says how its parent was committed: not the first one, and not one whose parent has a single validator,
/// which can only have signed.
#[must_use]
pub fn needs_last(parent: u64, validators: &Validators) -> bool {
    0 < parent && 1 < validators.members.len()
}

impl LastCommit {
    /// What counts of a commit.
    #[must_use]
    pub fn of(commit: &Commit) -> Self {
        let mut signers = [0; SIGNER_BYTES];
        for one in &commit.signatures {
            if let Some(byte) = signers.get_mut(usize::from(one.validator / 8)) {
                *byte |= 1 << (one.validator % 8);
            }
        }
        Self { round: commit.round, signers }
    }

    /// Whether the member at this place has signed.
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        self.signers.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    }

    /// Whether such signers could commit a block.
    fn could_commit(&self, validators: &Validators) -> bool {
        let count = validators.members.len();
        let members = validators.members.iter().enumerate();
        let signed = members.filter(|(place, _)| self.has(*place));
        let signed = signed.fold(0_u64, |sum, (_, member)| sum.saturating_add(member.power));
        let are_members = (count..VALIDATORS_MAX).all(|place| !self.has(place));
        are_members && is_more(signed, validators.power(), 2, 3)
    }
}

/// Whether what a block's facts say of its parent's commit can be. The parent is the block of height `parent`, and
/// `validators` committed it.
pub(super) fn check_facts(
    parent: u64,
    validators: &Validators,
    last: Option<&LastCommit>,
) -> Result<(), LastError> {
    match (needs_last(parent, validators), last) {
        (false, None) => Ok(()),
        (true, Some(last)) if last.could_commit(validators) => Ok(()),
        (true, Some(_)) => Err(LastError::Signers),
        _ => Err(LastError::Presence),
    }
}

/// Whether a block with these facts shows how its parent was committed: `shown` is the commit that it carries. `validators`
/// are those that committed the parent. The work is at most one verification for each of them.
pub fn check_last(
    parent: &Header,
    validators: &Validators,
    facts: &BlockInputs,
    shown: Option<&Commit>,
) -> Result<(), LastError> {
    check_facts(parent.height, validators, facts.last.as_ref())?;
    match (facts.last, shown) {
        (None, None) => Ok(()),
        (Some(last), Some(commit)) => {
            if last != LastCommit::of(commit) {
                return Err(LastError::OtherFacts);
            }
            Ok(commit.verify(parent, validators)?)
        }
        _ => Err(LastError::Presence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::commit::tests::{commit, header, set},
        time::LedgerTime,
    };

    fn facts(last: Option<LastCommit>) -> BlockInputs {
        BlockInputs { time_ms: LedgerTime(9_000), proposer: 0, reveal: None, last }
    }

    #[test]
    fn a_block_shows_who_signed_its_parent() {
        let four = set(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let parent = header(7, &four, &four);
        let full = commit(&parent, &four, &[1, 2, 4]);
        let last = LastCommit::of(&full);
        let check = |last, shown| check_last(&parent, &four, &facts(last), shown);
        assert_eq!(check(Some(last), Some(&full)), Ok(()));
        assert_eq!(check(Some(last), None), Err(LastError::Presence));
        assert_eq!(check(None, Some(&full)), Err(LastError::Presence));
        assert_eq!(check(None, None), Err(LastError::Presence));
        // Another commit of the same block.
        let other = commit(&parent, &four, &[1, 2, 3]);
        assert_eq!(check(Some(last), Some(&other)), Err(LastError::OtherFacts));
        let round = LastCommit { round: 4, ..last };
        assert_eq!(check(Some(round), Some(&full)), Err(LastError::OtherFacts));
        let few = commit(&parent, &four, &[1, 2]);
        assert_eq!(check(Some(LastCommit::of(&few)), Some(&few)), Err(LastError::Signers));
        let mut strangers = last;
        strangers.signers[0] |= 1 << 4;
        assert_eq!(check(Some(strangers), Some(&full)), Err(LastError::Signers));
        let mut forged = full.clone();
        forged.signatures[1].signature[0] ^= 1;
        let validator = forged.signatures[1].validator;
        let broken = LastError::Commit(CommitError::Signature { validator });
        assert_eq!(check(Some(last), Some(&forged)), Err(broken));
        // Twice the same member gives the same facts.
        let mut twice = full.clone();
        twice.signatures[1] = twice.signatures[0];
        assert!(check(Some(last), Some(&twice)).is_err());
    }

    #[test]
    fn one_that_orders_alone_needs_none() {
        let one = set(&[(1, 1)]);
        let parent = header(7, &one, &one);
        let full = commit(&parent, &one, &[1]);
        assert_eq!(check_last(&parent, &one, &facts(None), None), Ok(()));
        let said = facts(Some(LastCommit::of(&full)));
        assert_eq!(check_last(&parent, &one, &said, Some(&full)), Err(LastError::Presence));
        let two = set(&[(1, 1), (2, 1)]);
        assert_eq!(check_last(&header(0, &two, &two), &two, &facts(None), None), Ok(()));
    }
}
