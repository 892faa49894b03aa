//! What a node writes down, so that it goes on after a crash as if there had been none.
//!
//! The log has the inputs of the height that is being decided, in order. A node that starts again takes them in again, and
//! comes to the same statements: those that are in the log keep their signature, and those that are not were never sent.
//! What a caller must do: keep the entries in order, have them on the disk when [`crate::Output::Flush`] is done, and drop
//! those of heights that are committed.

use symbolon_protocol::{
    choice,
    codec::{Decode, DecodeError, Reader},
    id::{AccountId, ChainId, Hash},
    record,
};

use crate::{
    message::{Body, Polka, Proposal, Step, Vote},
    statement::Statement,
};

record! {
    /// One entry.
    pub struct Entry {
        /// The height that is being decided.
        pub height: u64,
        /// What happened.
        pub what: What,
    }
}

choice! {
    /// What an entry says.
    pub enum What {
        /// A vote arrived, or was cast.
        Vote = 1 {
            /// The vote.
            vote: Vote,
        },
        /// A proposal arrived, or was made.
        Proposal = 2 {
            /// The proposal.
            proposal: Proposal,
        },
        /// More than two thirds have accepted a block.
        Polka = 3 {
            /// The prevotes.
            polka: Polka,
        },
        /// A wait was over.
        Elapsed = 4 {
            /// The step that waited.
            step: Step,
            /// The round.
            round: u32,
        },
        /// The ledger has judged a proposed block.
        Judged = 5 {
            /// The round in which it was proposed.
            round: u32,
            /// The earlier round that it comes from.
            locked_round: Option<u32>,
            /// Who proposed it.
            proposer: AccountId,
            /// The block.
            block: Hash,
            /// Whether it is valid.
            is_valid: bool,
        },
        /// The bytes of a valid block. After a crash it must be shown again, with the same bytes.
        Block = 6 {
            /// The round in which it came.
            round: u32,
            /// Who proposed it.
            proposer: AccountId,
            /// The block.
            block: Hash,
            /// Its bytes.
            body: Body,
        },
        /// This node built a block for a round. In this round it proposes no other.
        Built = 7 {
            /// The round.
            round: u32,
            /// The block.
            block: Hash,
        },
    }
}

impl What {
    /// The digest of the statement that it is, if this key has signed it.
    #[must_use]
    pub fn statement(&self, chain: &ChainId, key: &AccountId) -> Option<Hash> {
        match self {
            Self::Vote { vote } if vote.voter == *key => {
                Some(Statement::of_vote(chain, vote).digest)
            }
            Self::Proposal { proposal } if proposal.proposer == *key => {
                Some(Statement::of_proposal(chain, proposal).digest)
            }
            _ => None,
        }
    }
}

impl Entry {
    /// Reads one entry. The disk is at fault if it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let entry = Self::decode(&mut input)?;
        input.finish()?;
        Ok(entry)
    }
}
