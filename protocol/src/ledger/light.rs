//! A light client's trust: from one header that is believed to a later one, without the blocks between.
//!
//! A client begins with the genesis that its ticket names, and keeps the newest header that it has verified. A later header
//! is believed when its commit holds and its validators are those that the trusted header names as the next ones. After
//! a change of the validators, more than a third of the power of the known set must have signed too: with less than a third
//! dishonest, one of them is honest. See `spec/ledger.md`, "Light clients".

use thiserror::Error;

use crate::{
    id::{ChainId, Hash},
    ledger::{
        block::{Genesis, Header, SignedHeader},
        commit::{CommitError, Validators, is_more},
        execute,
    },
    record,
    time::{LedgerTime, MachineTime, Millis},
};

record! {
    /// The newest header that a client has verified, and what it takes to verify a later one.
    pub struct Trusted {
        /// The ledger.
        pub chain: ChainId,
        /// The header's height.
        pub height: u64,
        /// The header's digest.
        pub digest: Hash,
        /// The header's time.
        pub time_ms: LedgerTime,
        /// The validators of the next block.
        pub validators: Validators,
        /// How long the header is trusted: `trusting_ms` of the ledger's parameters.
        pub trusting_ms: Millis,
    }
}

/// Why a header is not believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LightError {
    /// It is a header of another ledger.
    #[error("the header is of another ledger")]
    OtherLedger,
    /// It is older than the trusted header.
    #[error("the header of height {height} is older than the trusted one of height {trusted}")]
    Older {
        /// Its height.
        height: u64,
        /// Height of the trusted header.
        trusted: u64,
    },
    /// Its commit holds, and it is not the trusted header of the same height, or does not follow it. So validators have
    /// signed two chains: both headers together prove that.
    #[error("the header of height {height} is of another chain of blocks than the trusted one")]
    Forked {
        /// Its height.
        height: u64,
    },
    /// Its time is before that of the trusted header.
    #[error("the header is later than the trusted one, and its time is earlier")]
    TimeBackwards,
    /// It names validators that are not known: the sets were not given with it.
    #[error("the validators have changed, and the answer does not name them")]
    UnknownValidators,
    /// Too few of the known validators have signed.
    #[error(
        "the known validators that signed have power {signed} of {total}, not more than a third"
    )]
    TooFewKnown {
        /// The power that signed.
        signed: u64,
        /// The power of the known set.
        total: u64,
    },
    /// Its commit does not hold.
    #[error("{0}")]
    Commit(#[from] CommitError),
}

impl Trusted {
    /// The first trust: what a ticket names. The genesis must be checked.
    #[must_use]
    pub fn genesis(genesis: &Genesis) -> Self {
        let header = genesis.header(&execute::genesis(genesis));
        Self {
            chain: header.chain,
            height: 0,
            digest: header.digest(),
            time_ms: header.facts.time_ms,
            validators: genesis.validators.clone(),
            trusting_ms: genesis.params.trusting_ms,
        }
    }

    /// Whether the header may still be trusted at this time of the client's clock. Keys of validators that have left long
    /// ago cost nothing any more, so they could sign another chain from an old header on.
    #[must_use]
    pub fn holds_at(&self, now_ms: MachineTime) -> bool {
        now_ms.0.saturating_sub(self.time_ms.0) <= self.trusting_ms.0
    }

    /// Verifies a header, and returns the trust that it gives. `sets` are valid sets of validators that came with it;
    /// those of the trusted header are known already.
    pub fn follow(&self, signed: &SignedHeader, sets: &[Validators]) -> Result<Self, LightError> {
        let header = &signed.header;
        if header.chain != self.chain {
            return Err(LightError::OtherLedger);
        }
        if header.height < self.height {
            return Err(LightError::Older { height: header.height, trusted: self.height });
        }
        let mut known = [&self.validators].into_iter().chain(sets);
        let find = |hash: &Hash| known.clone().find(|set| set.hash() == *hash);
        if header.height == self.height {
            // The trusted header itself needs no signature. Another one proves a fork only with a commit that holds.
            if header.digest() == self.digest {
                return Ok(self.clone());
            }
            let set = find(&header.validators).ok_or(LightError::UnknownValidators)?;
            signed.commit.verify(header, set)?;
            return Err(LightError::Forked { height: header.height });
        }
        let set = find(&header.validators).ok_or(LightError::UnknownValidators)?;
        signed.commit.verify(header, set)?;
        let is_same = set == &self.validators;
        if header.height == self.height + 1 && (!is_same || header.parent != self.digest) {
            return Err(LightError::Forked { height: header.height });
        }
        if !is_same {
            let power = |signature: &u16| {
                let signer = &set.members[usize::from(*signature)];
                self.validators.power_of(&signer.key)
            };
            let signatures = signed.commit.signatures.iter().map(|one| one.validator);
            let signed = signatures.fold(0_u64, |sum, one| sum.saturating_add(power(&one)));
            let total = self.validators.power();
            if !is_more(signed, total, 1, 3) {
                return Err(LightError::TooFewKnown { signed, total });
            }
        }
        if header.facts.time_ms < self.time_ms {
            return Err(LightError::TimeBackwards);
        }
        let next = known.find(|set| set.hash() == header.next_validators);
        let validators = next.ok_or(LightError::UnknownValidators)?.clone();
        Ok(Self { validators, ..self.at(header) })
    }

    fn at(&self, header: &Header) -> Self {
        Self {
            height: header.height,
            digest: header.digest(),
            time_ms: header.facts.time_ms,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::commit::tests::{commit, header, set};

    fn trust(height: u64, set: &Validators) -> (Trusted, Header) {
        let header = header(height, set, set);
        let trusted = Trusted {
            chain: header.chain,
            height,
            digest: header.digest(),
            time_ms: header.facts.time_ms,
            validators: set.clone(),
            trusting_ms: Millis(5_000),
        };
        (trusted, header)
    }

    fn signed(header: Header, set: &Validators, signers: &[u8]) -> SignedHeader {
        SignedHeader { commit: commit(&header, set, signers), header }
    }

    #[test]
    fn a_later_header_of_the_same_validators_is_believed() {
        let four = set(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let (trusted, here) = trust(5, &four);
        let later = signed(header(9, &four, &four), &four, &[1, 2, 3]);
        let after = trusted.follow(&later, &[]).unwrap();
        assert_eq!((after.height, after.digest), (9, later.header.digest()));
        assert_eq!(after.time_ms, later.header.facts.time_ms);
        assert_eq!(after.validators, four);
        // The same header, and one before it.
        let same = SignedHeader { commit: commit(&here, &four, &[]), header: here };
        assert_eq!(trusted.follow(&same, &[]), Ok(trusted.clone()));
        let early = signed(header(4, &four, &four), &four, &[1, 2, 3]);
        let older = LightError::Older { height: 4, trusted: 5 };
        assert_eq!(trusted.follow(&early, &[]), Err(older));
        let weak = signed(header(9, &four, &four), &four, &[1, 2]);
        let little = CommitError::TooLittlePower { signed: 2, total: 4 };
        assert_eq!(trusted.follow(&weak, &[]), Err(little.into()));
        let mut other = header(9, &four, &four);
        other.chain = ChainId([9; 32]);
        let other = signed(other, &four, &[1, 2, 3]);
        assert_eq!(trusted.follow(&other, &[]), Err(LightError::OtherLedger));
        let mut hasty = header(9, &four, &four);
        hasty.facts.time_ms = LedgerTime(4_999);
        let hasty = signed(hasty, &four, &[1, 2, 3]);
        assert_eq!(trusted.follow(&hasty, &[]), Err(LightError::TimeBackwards));
    }

    #[test]
    fn two_chains_are_noticed_if_validators_signed_them() {
        let four = set(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let (trusted, here) = trust(5, &four);
        let mut twin = here.clone();
        twin.state_root = Hash([9; 32]);
        let twin = signed(twin, &four, &[1, 2, 3]);
        assert_eq!(trusted.follow(&twin, &[]), Err(LightError::Forked { height: 5 }));
        let mut next = header(6, &four, &four);
        let orphan = signed(next.clone(), &four, &[1, 2, 3]);
        assert_eq!(trusted.follow(&orphan, &[]), Err(LightError::Forked { height: 6 }));
        next.parent = here.digest();
        let child = signed(next, &four, &[1, 2, 3]);
        assert_eq!(trusted.follow(&child, &[]).unwrap().height, 6);
        // Without the power it proves nothing.
        let forged =
            SignedHeader { commit: commit(&twin.header, &four, &[1]), header: twin.header };
        assert!(matches!(trusted.follow(&forged, &[]), Err(LightError::Commit(_))));
    }

    #[test]
    fn a_change_of_validators_needs_a_third_of_the_known_ones() {
        let old = set(&[(1, 2), (2, 1), (3, 1), (4, 1)]);
        let new = set(&[(1, 1), (5, 1), (6, 1), (7, 1)]);
        let (trusted, here) = trust(5, &old);
        let later = header(9, &new, &old);
        let alone = signed(later.clone(), &new, &[5, 6, 7]);
        assert_eq!(trusted.follow(&alone, &[]), Err(LightError::UnknownValidators));
        let few = LightError::TooFewKnown { signed: 0, total: 5 };
        assert_eq!(trusted.follow(&alone, std::slice::from_ref(&new)), Err(few));
        let known = signed(later, &new, &[1, 5, 6]);
        let after = trusted.follow(&known, std::slice::from_ref(&new)).unwrap();
        assert_eq!(after.validators, old);
        // Exactly a third is too little.
        let thirds = set(&[(1, 1), (2, 1), (3, 1)]);
        let (trusted_thirds, _) = trust(5, &thirds);
        let few = LightError::TooFewKnown { signed: 1, total: 3 };
        assert_eq!(trusted_thirds.follow(&known, &[new.clone(), old.clone()]), Err(few));
        // The next set must be known as well, and the very next block has no other set than the named one.
        let unnamed = signed(header(9, &new, &thirds), &new, &[1, 5, 6]);
        let unknown = trusted.follow(&unnamed, std::slice::from_ref(&new));
        assert_eq!(unknown, Err(LightError::UnknownValidators));
        let mut next = header(6, &new, &new);
        next.parent = here.digest();
        let next = signed(next, &new, &[1, 5, 6, 7]);
        assert_eq!(
            trusted.follow(&next, std::slice::from_ref(&new)),
            Err(LightError::Forked { height: 6 })
        );
    }

    #[test]
    fn trust_ends() {
        let (trusted, _) = trust(5, &set(&[(1, 1)]));
        assert!(trusted.holds_at(MachineTime(0)));
        assert!(trusted.holds_at(MachineTime(10_000)));
        assert!(!trusted.holds_at(MachineTime(10_001)));
    }
}
