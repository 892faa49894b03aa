//! The last statement that a validator has signed. It is one small row on the disk, apart from the log.
//!
//! A validator that signs two statements at one place can help to split the ledger, and loses its stake for it. It could
//! happen by accident: after a crash that took the end of the log, or with a log from a backup. So the row is on the disk
//! before a signature leaves the machine, and what stands before it, or contradicts it, is not signed.
//!
//! The row also shows whether the log is whole. A validator that has lost its log does not know which block it is bound to. It
//! could sign a later round without a contradiction, and still help to split the ledger. So if the last statement is not in
//! the log, the validator signs nothing more at its height, and takes part again from the next height on.
//!
//! The row cannot help if it comes from a backup itself: its caller must first let the ledger pass the heights at which the key
//! may have signed. Nothing helps if two machines run with one key.

use symbolon_protocol::{id::Hash, record};
use thiserror::Error;

use crate::{
    message::Step,
    statement::{Place, Statement},
};

record! {
    /// The last statement that this validator has signed.
    #[derive(Copy)]
    pub struct Guard {
        /// Its height.
        pub height: u64,
        /// Its round.
        pub round: u32,
        /// Its step.
        pub step: Step,
        /// Its digest.
        pub digest: Hash,
    }
}

/// Why a statement is not signed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardError {
    /// It stands before the last one that was signed.
    #[error("height {}, round {}: this key has signed a later statement already", .at.height, .at.round)]
    Earlier {
        /// Where it stands.
        at: Place,
    },
    /// The log does not have the last statement, so it does not say either what binds this validator at its height.
    #[error("height {}: the log does not have what this key has signed last", .at.height)]
    LogIsLost {
        /// Where the new one stands.
        at: Place,
    },
    /// Another statement was signed at the same place.
    #[error("height {}, round {}: this key has signed another statement there", .at.height, .at.round)]
    Conflicting {
        /// Where it stands.
        at: Place,
    },
}

impl Guard {
    /// The row after this statement, if it may be signed after what `last` says. The same statement may be signed again:
    /// its signature has the same bytes.
    pub fn advance(last: Option<&Self>, next: &Statement) -> Result<Self, GuardError> {
        let at = next.place;
        if let Some(last) = last {
            if at < last.place() {
                return Err(GuardError::Earlier { at });
            }
            if at == last.place() && next.digest != last.digest {
                return Err(GuardError::Conflicting { at });
            }
        }
        let Place { height, round, step } = at;
        Ok(Self { height, round, step, digest: next.digest })
    }

    /// Where the last statement stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { height: self.height, round: self.round, step: self.step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(height: u64, round: u32, step: Step, digest: u8) -> Statement {
        Statement { place: Place { height, round, step }, digest: Hash([digest; 32]) }
    }

    #[test]
    fn places_are_signed_in_their_order_and_once() {
        let last = Guard::advance(None, &at(5, 2, Step::Prevote, 1)).unwrap();
        for (next, allowed) in [
            (at(5, 2, Step::Prevote, 1), true),
            (at(5, 2, Step::Precommit, 2), true),
            (at(5, 3, Step::Proposal, 2), true),
            (at(6, 0, Step::Proposal, 2), true),
            (at(5, 2, Step::Prevote, 2), false),
            (at(5, 2, Step::Proposal, 1), false),
            (at(5, 1, Step::Precommit, 1), false),
            (at(4, 9, Step::Precommit, 1), false),
        ] {
            assert_eq!(Guard::advance(Some(&last), &next).is_ok(), allowed, "{next:?}");
        }
        let place = last.place();
        let other = Guard::advance(Some(&last), &at(5, 2, Step::Prevote, 2));
        assert_eq!(other, Err(GuardError::Conflicting { at: place }));
    }
}
