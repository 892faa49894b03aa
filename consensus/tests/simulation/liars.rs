//! Dishonest validators: each takes what an honest one would send, and sends something else.

use ed25519_dalek::SigningKey;
use symbolon_consensus::{
    Message,
    message::{Body, Proposal, Vote},
    statement::Statement,
};
use symbolon_protocol::{Decode as _, Encode as _, id::Hash, signature};

use crate::{
    machine::{Block, name},
    random::Random,
    world::{CHAIN, id},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Proposes nothing.
    Withholds,
    /// Shows its proposals to every second machine.
    ShowsHalf,
    /// Shows one block to some, and another one to the others, or both to all.
    TwoBlocks,
    /// Says one thing to some, and another to the others.
    Equivocates,
    /// Proposes blocks from the future.
    Time,
    /// Sends bytes that were changed.
    Garbage,
    /// Sends other bytes than those of the blocks it names, and commits with signatures that do not hold.
    FalseBlocks,
    /// Says that it is far ahead, and never answers.
    Boasts,
}

pub(crate) const LIES: [Lie; 8] = [
    Lie::Withholds,
    Lie::ShowsHalf,
    Lie::TwoBlocks,
    Lie::Equivocates,
    Lie::Time,
    Lie::Garbage,
    Lie::FalseBlocks,
    Lie::Boasts,
];

impl Lie {
    /// The messages, as bytes, that one machine gets in place of this one.
    pub(crate) fn told(
        self,
        key: &SigningKey,
        to: usize,
        message: &Message,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        let own = id(key);
        let truth = || vec![message.to_bytes()];
        match (self, message) {
            (Self::Withholds, Message::Proposal { .. }) => Vec::new(),
            (Self::ShowsHalf, Message::Proposal { .. }) if to.is_multiple_of(2) => Vec::new(),
            (Self::TwoBlocks, Message::Proposal { proposal, body }) if proposal.proposer == own => {
                let second = other_block(key, proposal, body).to_bytes();
                match random.below(3) {
                    0 => truth(),
                    1 => vec![second],
                    _ => vec![message.to_bytes(), second],
                }
            }
            (Self::Equivocates, Message::Vote { vote }) if vote.voter == own => {
                let second = other_vote(key, vote).to_bytes();
                match to % 3 {
                    0 => truth(),
                    1 => vec![second],
                    _ => vec![message.to_bytes(), second],
                }
            }
            (Self::Garbage, _) => {
                let mut bytes = message.to_bytes();
                for _ in 0..random.below(3) {
                    let at = usize::try_from(random.below(bytes.len() as u64)).expect("small");
                    bytes[at] ^= 1 << random.below(8);
                }
                if random.chance(100) {
                    bytes.truncate(bytes.len() / 2);
                }
                vec![bytes]
            }
            (Self::FalseBlocks, Message::Committed { height, block, commit, body }) => {
                let (height, block) = (*height, *block);
                let (mut commit, mut bytes) = (commit.clone(), body.as_bytes().to_vec());
                if random.chance(500) {
                    bytes.push(0);
                } else {
                    commit.signatures[0].signature[3] ^= 1;
                }
                vec![
                    Message::Committed { height, block, commit, body: Body::new(bytes) }.to_bytes(),
                ]
            }
            (Self::Boasts, Message::Status { height }) => {
                vec![Message::Status { height: height + 1_000_000 }.to_bytes()]
            }
            (Self::Boasts, Message::Committed { .. }) => Vec::new(),
            _ => truth(),
        }
    }
}

fn other_block(key: &SigningKey, proposal: &Proposal, body: &Body) -> Message {
    let mut block = Block::from_bytes(body.as_bytes()).expect("it built it");
    block.salt ^= 1 << 63;
    let body = Body::new(block.to_bytes());
    let mut proposal = Proposal { block: name(&body), ..proposal.clone() };
    let digest = Statement::of_proposal(&CHAIN, &proposal).digest;
    proposal.signature = signature::sign(key, &digest);
    Message::Proposal { proposal, body }
}

fn other_vote(key: &SigningKey, vote: &Vote) -> Message {
    let block = match vote.block {
        Some(_) => None,
        None => Some(Hash([0xee; 32])),
    };
    let mut vote = Vote { block, ..vote.clone() };
    vote.signature = signature::sign(key, &Statement::of_vote(&CHAIN, &vote).digest);
    Message::Vote { vote }
}
