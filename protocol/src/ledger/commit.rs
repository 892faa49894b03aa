//! Who orders a ledger's blocks, and how they show that a block is one of them.
//!
//! A set of validators commits to every block. A commit holds when validators with more than two thirds of the power have
//! signed it. A ledger with one operator has a set of one. See `spec/ledger.md`, "Commits".

use alloc::{vec, vec::Vec};

use ed25519_dalek::SigningKey;
use thiserror::Error;

use crate::{
    codec::Encode,
    id::{AccountId, ChainId, Hash},
    ledger::{block::Header, signing},
    limits::VALIDATORS_MAX,
    record,
    signature::{self, SignatureError},
};

record! {
    /// One of those who commit blocks.
    #[derive(Copy)]
    pub struct Validator {
        /// The key that it signs with.
        pub key: AccountId,
        /// Its weight; at least 1.
        pub power: u64,
    }
}

record! {
    /// The validators that commit a block. A valid set has 1 to 128 members in ascending order of their keys.
    pub struct Validators {
        /// The members.
        pub members: Vec<Validator>,
    }
}

record! {
    /// A validator's signature under a commit.
    #[derive(Copy)]
    pub struct CommitSignature {
        /// The validator's place in its set, from 0.
        pub validator: u16,
        /// Its signature over the digest of the commit.
        pub signature: [u8; 64],
    }
}

record! {
    /// What makes a header final: signatures of the validators that its header names.
    pub struct Commit {
        /// The round of the height in which the validators agreed; 0 where one orders alone.
        pub round: u32,
        /// The signatures, in the order of the set.
        pub signatures: Vec<CommitSignature>,
    }
}

/// A set of validators that no ledger can have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValidatorsError {
    /// It has no member, or too many.
    #[error("a set of {count} validators, but it has 1 to {VALIDATORS_MAX}")]
    Count {
        /// How many members it has.
        count: usize,
    },
    /// Keys do not ascend, so a validator could be counted twice.
    #[error("validator {index} is not in the order of the keys")]
    Order {
        /// The validator's place.
        index: usize,
    },
    /// A member without power.
    #[error("validator {index} has no power")]
    NoPower {
        /// The validator's place.
        index: usize,
    },
    /// All power together is more than a number can hold.
    #[error("the power of all validators is above the largest number")]
    TooMuchPower,
}

/// Why a commit does not make a header final.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitError {
    /// The header names another set of validators.
    #[error("the header names other validators")]
    OtherValidators,
    /// Signatures are not in the order of the set, or name no member of it.
    #[error("signature {index} is out of order or of no validator")]
    Order {
        /// The signature's place.
        index: usize,
    },
    /// A signature does not hold.
    #[error("the signature of validator {validator} does not hold")]
    Signature {
        /// The validator's place in the set.
        validator: u16,
    },
    /// The validators that signed have two thirds of the power or less.
    #[error("the validators that signed have power {signed} of {total}, not more than two thirds")]
    TooLittlePower {
        /// The power that signed.
        signed: u64,
        /// The power of the set.
        total: u64,
    },
}

impl Validators {
    /// The set of a ledger that one key orders alone.
    #[must_use]
    pub fn alone(key: AccountId) -> Self {
        Self { members: vec![Validator { key, power: 1 }] }
    }

    /// Whether a ledger can have this set.
    pub fn check(&self) -> Result<(), ValidatorsError> {
        let count = self.members.len();
        if count == 0 || VALIDATORS_MAX < count {
            return Err(ValidatorsError::Count { count });
        }
        let mut total: u64 = 0;
        for (index, validator) in self.members.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| self.members[before].key);
            if before.is_some_and(|before| validator.key <= before) {
                return Err(ValidatorsError::Order { index });
            }
            if validator.power == 0 {
                return Err(ValidatorsError::NoPower { index });
            }
            total = total.checked_add(validator.power).ok_or(ValidatorsError::TooMuchPower)?;
        }
        Ok(())
    }

    /// The hash that headers name a set by.
    #[must_use]
    pub fn hash(&self) -> Hash {
        signing::hash("symbolon 2026 validators v2", &self.to_bytes())
    }

    /// The power of all members of a valid set.
    #[must_use]
    pub fn power(&self) -> u64 {
        self.members.iter().fold(0, |total, validator| total.saturating_add(validator.power))
    }

    /// The only member's key, if one orders the ledger alone.
    #[must_use]
    pub fn only(&self) -> Option<AccountId> {
        match self.members.as_slice() {
            [validator] => Some(validator.key),
            _ => None,
        }
    }

    /// The power that a key has in this set.
    #[must_use]
    pub fn power_of(&self, key: &AccountId) -> u64 {
        let place = self.members.binary_search_by_key(key, |validator| validator.key);
        place.map_or(0, |place| self.members[place].power)
    }
}

/// Whether a part of the power is more than `parts` of `whole` parts of all.
pub(super) fn is_more(part: u64, total: u64, parts: u128, whole: u128) -> bool {
    u128::from(total) * parts < u128::from(part) * whole
}

impl Commit {
    /// The digest that validators sign.
    #[must_use]
    pub fn digest(header: &Header, round: u32) -> Hash {
        Self::statement(&header.chain, header.height, round, &header.digest())
    }

    /// The same, for a block that is known by its name alone.
    #[must_use]
    pub fn statement(chain: &ChainId, height: u64, round: u32, block: &Hash) -> Hash {
        signing::hash_parts("symbolon 2026 commit v1", &[chain, &height, &round, block])
    }

    /// The commit of a validator that orders alone.
    #[must_use]
    pub fn alone(header: &Header, key: &SigningKey) -> Self {
        let signature = signature::sign(key, &Self::digest(header, 0));
        Self { round: 0, signatures: vec![CommitSignature { validator: 0, signature }] }
    }

    /// Checks that it makes the header final: all its signatures hold, and they have more than two thirds of the power of
    /// the set that the header names. The set must be a valid one. The work is at most one verification for each member.
    pub fn verify(&self, header: &Header, validators: &Validators) -> Result<(), CommitError> {
        if validators.hash() != header.validators {
            return Err(CommitError::OtherValidators);
        }
        let digest = Self::digest(header, self.round);
        self.verify_statement(&digest, validators, signature::verify)
    }

    /// Whether these signatures under `digest` are of members with more than two thirds of the power, in the order of the
    /// set, and all hold. `verify` checks one of them: a caller may remember those that it has checked before.
    pub fn verify_statement(
        &self,
        digest: &Hash,
        validators: &Validators,
        verify: impl Fn(&[u8; 32], &Hash, &[u8; 64]) -> Result<(), SignatureError>,
    ) -> Result<(), CommitError> {
        let mut signers = Vec::with_capacity(self.signatures.len().min(VALIDATORS_MAX));
        let mut next = 0;
        for (index, one) in self.signatures.iter().enumerate() {
            let member = validators.members.get(usize::from(one.validator));
            let member = member.filter(|_| next <= usize::from(one.validator));
            signers.push(member.ok_or(CommitError::Order { index })?);
            next = usize::from(one.validator) + 1;
        }
        let signed = signers.iter().fold(0_u64, |sum, signer| sum.saturating_add(signer.power));
        let total = validators.power();
        if !is_more(signed, total, 2, 3) {
            return Err(CommitError::TooLittlePower { signed, total });
        }
        for (signer, one) in signers.into_iter().zip(&self.signatures) {
            verify(&signer.key.0, digest, &one.signature)
                .map_err(|SignatureError| CommitError::Signature { validator: one.validator })?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{ledger::block::BlockInputs, time::LedgerTime};

    pub(crate) fn key(number: u8) -> SigningKey {
        SigningKey::from_bytes(&[number; 32])
    }

    /// A set of these keys with these powers.
    pub(crate) fn set(members: &[(u8, u64)]) -> Validators {
        let mut members: Vec<_> = members
            .iter()
            .map(|(number, power)| Validator {
                key: AccountId(key(*number).verifying_key().to_bytes()),
                power: *power,
            })
            .collect();
        members.sort_unstable_by_key(|validator| validator.key);
        Validators { members }
    }

    /// A commit of a header by these keys, which are all in the set.
    pub(crate) fn commit(header: &Header, set: &Validators, signers: &[u8]) -> Commit {
        let mut signatures: Vec<_> = signers
            .iter()
            .map(|number| {
                let key = key(*number);
                let id = AccountId(key.verifying_key().to_bytes());
                let place = set.members.iter().position(|member| member.key == id).unwrap();
                let signature = signature::sign(&key, &Commit::digest(header, 3));
                CommitSignature { validator: u16::try_from(place).unwrap(), signature }
            })
            .collect();
        signatures.sort_unstable_by_key(|one| one.validator);
        Commit { round: 3, signatures }
    }

    pub(crate) fn header(height: u64, set: &Validators, next: &Validators) -> Header {
        let time_ms = LedgerTime(1_000 * height);
        let facts = BlockInputs { time_ms, proposer: 0, reveal: None, last: None };
        Header {
            chain: ChainId([1; 32]),
            height,
            parent: Hash([2; 32]),
            facts,
            transactions_root: Hash([3; 32]),
            events_root: Hash([4; 32]),
            state_root: Hash([5; 32]),
            validators: set.hash(),
            next_validators: next.hash(),
        }
    }

    #[test]
    fn a_commit_holds_with_more_than_two_thirds_of_the_power() {
        let four = set(&[(1, 5), (2, 3), (3, 1), (4, 1)]);
        let header = header(7, &four, &four);
        assert_eq!(commit(&header, &four, &[1, 2]).verify(&header, &four), Ok(()));
        assert_eq!(commit(&header, &four, &[1, 2, 3, 4]).verify(&header, &four), Ok(()));
        // Two thirds of ten is less than seven.
        assert_eq!(commit(&header, &four, &[1, 3, 4]).verify(&header, &four), Ok(()));
        let little = commit(&header, &four, &[1, 3]).verify(&header, &four);
        assert_eq!(little, Err(CommitError::TooLittlePower { signed: 6, total: 10 }));
        let three = set(&[(1, 1), (2, 1), (3, 1)]);
        let other = Header { validators: three.hash(), ..header.clone() };
        let exactly = commit(&other, &three, &[1, 2]).verify(&other, &three);
        assert_eq!(exactly, Err(CommitError::TooLittlePower { signed: 2, total: 3 }));
        assert_eq!(
            commit(&header, &four, &[1, 2]).verify(&header, &three),
            Err(CommitError::OtherValidators)
        );
    }

    #[test]
    fn a_validator_counts_once_and_all_signatures_hold() {
        let two = set(&[(1, 1), (2, 1)]);
        let header = header(7, &two, &two);
        let mut twice = commit(&header, &two, &[1, 2]);
        twice.signatures[1] = twice.signatures[0];
        assert_eq!(twice.verify(&header, &two), Err(CommitError::Order { index: 1 }));
        let mut swapped = commit(&header, &two, &[1, 2]);
        swapped.signatures.swap(0, 1);
        assert_eq!(swapped.verify(&header, &two), Err(CommitError::Order { index: 1 }));
        let mut stranger = commit(&header, &two, &[1, 2]);
        stranger.signatures[1].validator = 2;
        assert_eq!(stranger.verify(&header, &two), Err(CommitError::Order { index: 1 }));
        // Another round is another statement.
        let mut later = commit(&header, &two, &[1, 2]);
        later.round += 1;
        assert_eq!(later.verify(&header, &two), Err(CommitError::Signature { validator: 0 }));
        // A signature too many that does not hold spoils the commit, so it has one form.
        let three = set(&[(1, 5), (2, 5), (3, 1)]);
        let header = Header { validators: three.hash(), ..header };
        let mut padded = commit(&header, &three, &[1, 2, 3]);
        let spare = three.members.iter().position(|member| member.power == 1).unwrap();
        padded.signatures[spare].signature[0] ^= 1;
        let validator = u16::try_from(spare).unwrap();
        assert_eq!(padded.verify(&header, &three), Err(CommitError::Signature { validator }));
    }

    #[test]
    fn a_set_has_an_order_and_power() {
        let good = set(&[(1, 1), (2, u64::MAX - 1)]);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.power(), u64::MAX);
        let empty = Validators { members: Vec::new() };
        assert_eq!(empty.check(), Err(ValidatorsError::Count { count: 0 }));
        let member = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
            Validator { key: AccountId(bytes), power: 1 }
        };
        let crowd = |count| Validators { members: (0..count).map(member).collect() };
        assert_eq!(crowd(VALIDATORS_MAX).check(), Ok(()));
        let count = VALIDATORS_MAX + 1;
        assert_eq!(crowd(count).check(), Err(ValidatorsError::Count { count }));
        let mut twice = crowd(3);
        twice.members[2] = twice.members[1];
        assert_eq!(twice.check(), Err(ValidatorsError::Order { index: 2 }));
        let mut weak = crowd(3);
        weak.members[1].power = 0;
        assert_eq!(weak.check(), Err(ValidatorsError::NoPower { index: 1 }));
        let mut strong = crowd(3);
        strong.members[0].power = u64::MAX;
        assert_eq!(strong.check(), Err(ValidatorsError::TooMuchPower));
    }
}
