//! What agreement needs of a ledger, and nothing else: blocks are bytes with a name, and validators are a set.
//!
//! One height is in flight at a time. A block is executed on the tip, and the result is kept until it is committed or
//! dropped, so a ledger needs no fork of its state.

use symbolon_protocol::{
    LedgerTime, MachineTime,
    id::{AccountId, Hash, PeerId},
    ledger::commit::{Commit, Validators},
};

use crate::{
    message::{Body, Message},
    node::{Event, To},
};

/// The last committed block of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: u64,
    /// Its name.
    pub block: Hash,
    /// Its time.
    pub time_ms: LedgerTime,
    /// The validators of the next block.
    pub validators: Validators,
    /// Whether there is something for the next block to do.
    pub has_work: bool,
}

/// A block and what makes it final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its height.
    pub height: u64,
    /// Its name.
    pub block: Hash,
    /// The commit.
    pub commit: Commit,
    /// Its bytes.
    pub body: Body,
}

/// What a ledger says of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rules allow it on the tip.
    Valid,
    /// The rules forbid it. All validators must find the same: nothing here may depend on a clock.
    Invalid,
    /// The bytes are not those of the block that was named. The sender is at fault, and the block may still be valid.
    OtherBytes,
    /// Its time is too far ahead of this machine's clock: not now. Only a validator that is about to vote says this.
    Early,
}

/// A ledger, as agreement sees it. What it says must be deterministic, except for [`Ledger::build`] and
/// [`Verdict::Early`].
pub trait Ledger {
    /// Why it cannot go on, such as a disk that fails.
    type Error;

    /// The last committed block.
    fn tip(&self) -> Result<Tip, Self::Error>;

    /// Makes a block on the tip of the transactions that wait, with a time that is not before that of the tip. Gives its
    /// name and its bytes. It may be empty.
    fn build(&mut self, height: u64, now: MachineTime) -> Result<(Hash, Body), Self::Error>;

    /// Executes a block on the tip. `now` is there if this validator is about to vote for it, and absent if it is
    /// committed already: then its time is right whatever this machine's clock says. `maker` is the validator that says that
    /// it has made the block, where one does: a block that names another is invalid.
    fn check(
        &mut self,
        height: u64,
        block: &Hash,
        body: &Body,
        now: Option<MachineTime>,
        maker: Option<&AccountId>,
    ) -> Result<Verdict, Self::Error>;

    /// Commits a block with its commit, in one durable transaction, and gives the new tip. It was found valid, maybe before
    /// this machine's last start.
    fn commit(&mut self, decided: &Decided) -> Result<Tip, Self::Error>;

    /// A committed block, if it is still there.
    fn decided(&self, height: u64) -> Result<Option<Decided>, Self::Error>;
}

/// What a node asks of its ledger. The caller carries it out, on another thread if it likes, and tells the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make a block.
    Build {
        /// Its height.
        height: u64,
        /// The round for which it is.
        round: u32,
    },
    /// Judge a block.
    Check {
        /// Its height.
        height: u64,
        /// Its name.
        block: Hash,
        /// Its bytes.
        body: Body,
        /// Whether this validator is about to vote for it.
        is_vote: bool,
        /// The validator that has proposed it as a new one.
        maker: Option<AccountId>,
    },
    /// Commit a block.
    Commit {
        /// The block.
        decided: Decided,
    },
    /// Send a committed block to a peer.
    Serve {
        /// The peer.
        to: PeerId,
        /// The block's height.
        height: u64,
    },
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Tell the node.
    Tell(Event),
    /// Send this to a peer.
    Send(To, Message),
    /// Nothing.
    Nothing,
}

impl Request {
    /// Carries the request out.
    pub fn perform<L: Ledger>(self, ledger: &mut L, now: MachineTime) -> Result<Answer, L::Error> {
        Ok(match self {
            Self::Build { height, round } => {
                let (block, body) = ledger.build(height, now)?;
                Answer::Tell(Event::Built { height, round, block, body })
            }
            Self::Check { height, block, body, is_vote, maker } => {
                let now = is_vote.then_some(now);
                let verdict = ledger.check(height, &block, &body, now, maker.as_ref())?;
                Answer::Tell(Event::Checked { height, block, verdict })
            }
            Self::Commit { decided } => Answer::Tell(Event::Committed(ledger.commit(&decided)?)),
            Self::Serve { to, height } => match ledger.decided(height)? {
                None => Answer::Nothing,
                Some(Decided { height, block, commit, body }) => {
                    let message = Message::Committed { height, block, commit, body };
                    Answer::Send(To::Peer(to), message)
                }
            },
        })
    }
}
