//! What nodes send each other. Every message has one encoding, is bounded in size, and so in the work that it costs.

use std::{fmt, sync::Arc};

use symbolon_protocol::{
    choice,
    codec::{Decode, DecodeError, Encode, Reader},
    id::Hash,
    ledger::commit::{Commit, CommitSignature},
    limits::{BLOCK_BYTES_MAX, VALIDATORS_MAX},
    record,
};
use thiserror::Error;

pub use symbolon_protocol::ledger::statement::{Proposal, Step, Vote};

record! {
    /// Prevotes for one block with more than two thirds of the power.
    pub struct Polka {
        /// The height.
        pub height: u64,
        /// The round.
        pub round: u32,
        /// The block.
        pub block: Hash,
        /// The signatures, in the order of the set.
        pub signatures: Vec<CommitSignature>,
    }
}

choice! {
    /// Why a round is over, or a later one begins.
    #[derive(Copy)]
    pub enum RoundKind {
        /// More than a third of the power is in this round: enter it.
        Skip = 1,
        /// More than two thirds of the power have precommitted in this round, not all for one block: enter the next one.
        Over = 2,
    }
}

record! {
    /// One vote of a round's end.
    #[derive(Copy)]
    pub struct RoundVote {
        /// `Prevote` or `Precommit`.
        pub step: Step,
        /// The block; absent if the vote is for none.
        pub block: Option<Hash>,
        /// The validator's place in its set, from 0.
        pub validator: u16,
        /// Its signature over the statement.
        pub signature: [u8; 64],
    }
}

record! {
    /// Votes that let a node enter a round.
    pub struct RoundVotes {
        /// The height.
        pub height: u64,
        /// The round of the votes.
        pub round: u32,
        /// What they show.
        pub kind: RoundKind,
        /// The votes, in the order of the set.
        pub votes: Vec<RoundVote>,
    }
}

/// A block's bytes, as the ledger encodes it. Clones share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Arc<[u8]>);

choice! {
    /// What one node sends another.
    pub enum Message {
        /// A vote.
        Vote = 1 {
            /// The vote.
            vote: Vote,
        },
        /// A proposal, and the block that it names.
        Proposal = 2 {
            /// The proposal.
            proposal: Proposal,
            /// The block.
            body: Body,
        },
        /// Prevotes that more than two thirds gave.
        Polka = 3 {
            /// The prevotes.
            polka: Polka,
        },
        /// Votes that end a round.
        RoundVotes = 4 {
            /// The votes.
            votes: RoundVotes,
        },
        /// The last block that the sender has committed.
        Status = 5 {
            /// Its height.
            height: u64,
        },
        /// Asks for a committed block.
        Wanted = 6 {
            /// Its height.
            height: u64,
        },
        /// A committed block.
        Committed = 7 {
            /// Its height.
            height: u64,
            /// Its name.
            block: Hash,
            /// What makes it final.
            commit: Commit,
            /// The block.
            body: Body,
        },
    }
}

/// Why bytes are not a message. The sender is at fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// More bytes than a message of its kind may have.
    #[error("a message of {bytes} bytes, but its kind has at most {max}")]
    TooLong {
        /// How many bytes there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// More votes than a set has validators.
    #[error("{count} signatures, but a set has at most {VALIDATORS_MAX} validators")]
    TooManySignatures {
        /// How many signatures there are.
        count: usize,
    },
    /// A vote at a step that has none, or a round beyond what a ledger can reach.
    #[error("a vote for no step, or in no round, that a ledger can have")]
    NoSuchPlace,
    /// The bytes are not the one encoding of a message.
    #[error("{0}")]
    Decode(#[from] DecodeError),
}

impl Body {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Encode for Body {
    fn encode(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.0.len()).expect("a ledger makes no block above the limit");
        count.encode(out);
        out.extend_from_slice(&self.0);
    }
}

impl Decode for Body {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u32::decode(input)? as usize;
        if BODY_BYTES_MAX < count {
            let (count, max) = (count as u64, BODY_BYTES_MAX as u64);
            return Err(DecodeError::TooMany { what: "block", count, max });
        }
        Ok(Self::new(input.take(count)?))
    }
}

impl Message {
    /// The height that it is about.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote { vote } => vote.height,
            Self::Proposal { proposal, .. } => proposal.height,
            Self::Polka { polka } => polka.height,
            Self::RoundVotes { votes } => votes.height,
            Self::Status { height } | Self::Wanted { height } | Self::Committed { height, .. } => {
                *height
            }
        }
    }

    /// Reads a message from a peer.
    pub fn read(bytes: &[u8]) -> Result<Self, MessageError> {
        // Only these two carry a block.
        let max = match bytes.first() {
            Some(2 | 7) => SMALL_BYTES_MAX + BODY_BYTES_MAX,
            _ => SMALL_BYTES_MAX,
        };
        if max < bytes.len() {
            return Err(MessageError::TooLong { bytes: bytes.len(), max });
        }
        let message = Self::from_bytes(bytes)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        let (count, round, step) = match self {
            Self::Vote { vote } => (0, vote.round, vote.step),
            Self::Proposal { proposal, .. } => (0, proposal.round, Step::Prevote),
            Self::Polka { polka } => (polka.signatures.len(), polka.round, Step::Prevote),
            Self::RoundVotes { votes } => {
                let step = votes.votes.iter().map(|vote| vote.step).min();
                (votes.votes.len(), votes.round, step.unwrap_or(Step::Prevote))
            }
            Self::Committed { commit, .. } => {
                (commit.signatures.len(), commit.round, Step::Precommit)
            }
            Self::Status { .. } | Self::Wanted { .. } => (0, 0, Step::Prevote),
        };
        if VALIDATORS_MAX < count {
            return Err(MessageError::TooManySignatures { count });
        }
        if ROUND_MAX < round || step == Step::Proposal {
            return Err(MessageError::NoSuchPlace);
        }
        Ok(())
    }
}

/// Bytes of a block in a message at most: what a ledger allows, and room for its header and the counts of its lists.
pub const BODY_BYTES_MAX: usize = BLOCK_BYTES_MAX + 16 * 1024;

/// Bytes of a message without its block at most: the votes of 128 validators that end a round have 12,814.
pub const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The last round of a height: at a millisecond each, far more than a height can ever have. So no count overflows.
pub const ROUND_MAX: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use symbolon_protocol::id::AccountId;

    use super::*;

    fn vote() -> Vote {
        let (block, voter) = (Some(Hash([3; 32])), AccountId([4; 32]));
        Vote { height: 1, round: 2, step: Step::Prevote, block, voter, signature: [5; 64] }
    }

    fn signatures(count: u16) -> Vec<CommitSignature> {
        (0..count).map(|validator| CommitSignature { validator, signature: [6; 64] }).collect()
    }

    fn all() -> Vec<Message> {
        let (height, round, block) = (7, 3, Hash([8; 32]));
        let (proposer, signature, locked_round) = (AccountId([9; 32]), [1; 64], Some(2));
        let body = Body::new(vec![1, 2, 3]);
        let of_round = |validator| RoundVote {
            step: Step::Precommit,
            block: Some(block),
            validator,
            signature,
        };
        vec![
            Message::Vote { vote: vote() },
            Message::Proposal {
                proposal: Proposal { height, round, block, locked_round, proposer, signature },
                body: body.clone(),
            },
            Message::Polka { polka: Polka { height, round, block, signatures: signatures(128) } },
            Message::RoundVotes {
                votes: RoundVotes {
                    height,
                    round,
                    kind: RoundKind::Over,
                    votes: (0..128).map(of_round).collect(),
                },
            },
            Message::Status { height },
            Message::Wanted { height },
            Message::Committed {
                height,
                block,
                commit: Commit { round, signatures: signatures(128) },
                body,
            },
        ]
    }

    #[test]
    fn every_message_of_the_largest_set_comes_back() {
        for message in all() {
            let bytes = message.to_bytes();
            assert!(bytes.len() <= SMALL_BYTES_MAX, "{} bytes", bytes.len());
            assert_eq!(Message::read(&bytes).as_ref(), Ok(&message));
            // Not one byte more, and not one less.
            assert!(Message::read(&bytes[..bytes.len() - 1]).is_err());
            assert!(Message::read(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_no_ledger_has_is_refused() {
        let read = |message: &Message| Message::read(&message.to_bytes());
        let far = Vote { round: ROUND_MAX + 1, ..vote() };
        assert_eq!(read(&Message::Vote { vote: far }), Err(MessageError::NoSuchPlace));
        let last = Vote { round: ROUND_MAX, ..vote() };
        assert!(read(&Message::Vote { vote: last }).is_ok());
        let proposal = Vote { step: Step::Proposal, ..vote() };
        assert_eq!(read(&Message::Vote { vote: proposal }), Err(MessageError::NoSuchPlace));
        let (height, round, block) = (1, 0, Hash([0; 32]));
        let polka = Polka { height, round, block, signatures: signatures(129) };
        let crowd = read(&Message::Polka { polka });
        assert_eq!(crowd, Err(MessageError::TooManySignatures { count: 129 }));
    }

    #[test]
    fn blocks_have_a_bound_that_costs_nothing_to_check() {
        let body = |count| Body::new(vec![0; count]).to_bytes();
        assert!(Body::from_bytes(&body(BODY_BYTES_MAX)).is_ok());
        let long = Body::from_bytes(&body(BODY_BYTES_MAX + 1));
        assert!(matches!(long, Err(DecodeError::TooMany { .. })));
        // A count that is only claimed.
        assert!(matches!(Body::from_bytes(&[255, 255, 15, 0]), Err(DecodeError::Short { .. })));
        let bytes = vec![1; SMALL_BYTES_MAX + 1];
        assert!(matches!(Message::read(&bytes), Err(MessageError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_has_one_encoding(
            which in 0_usize..7,
            changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..4),
            cut in 0_usize..400,
        ) {
            let mut bytes = all()[which].to_bytes();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut / 40));
            if let Ok(message) = Message::read(&bytes) {
                prop_assert_eq!(message.to_bytes(), bytes);
            }
        }
    }
}
