//! Why a ledger did not answer, or why its answer is not accepted.

use std::path::PathBuf;

use symbolon_net::NetError;
use symbolon_protocol::{
    id::{AccountId, ChainId},
    ledger::commit::Validators,
    wire::ledger::OldestBlock,
};
use thiserror::Error;

/// Why an operation on a ledger failed. A transaction that the rules refuse is not an error: its
/// outcome says so.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The engine was closed, or it stopped after an error that it reported then.
    #[error("the ledger is closed")]
    Closed,
    /// The disk of this machine or the database on it failed.
    #[error("the ledger's database failed: {0}")]
    Disk(String),
    /// The database holds data that this program would not have written.
    #[error("the ledger's database is damaged: {0}")]
    Damaged(String),
    /// Another version of this program has written the database.
    #[error("the ledger's database has layout {found}, and this program reads layout {known} only")]
    OtherLayout {
        /// The layout of the database.
        found: u8,
        /// The layout that this program reads.
        known: u8,
    },
    /// The ledger's rules are of a version that this program does not know. Nothing of theirs was written.
    #[error("the ledger's rules are of version {version}{}, and this program knows version {known}", from_block(*height))]
    UnknownRules {
        /// The height of the first block that this program cannot judge, if it is known.
        height: Option<u64>,
        /// The version in force there.
        version: u32,
        /// The newest one that the program knows.
        known: u32,
    },
    /// A rule found itself broken while it did what is due, so no block can be made. Nothing was written.
    #[error("the ledger's rules have a fault: block {height} cannot be made. Please report it")]
    Broken {
        /// The height of the block.
        height: u64,
    },
    /// The database belongs to a ledger that other validators order.
    #[error("this key does not order the ledger: its validators are {}", listed(validators))]
    WrongKey {
        /// The validators of the database's ledger.
        validators: Vec<AccountId>,
    },
    /// The folder holds another ledger than the one that is asked for.
    #[error("the folder holds ledger {found}, not {asked}")]
    OtherLedger {
        /// The ledger in the folder.
        found: ChainId,
        /// The one that is asked for.
        asked: ChainId,
    },
    /// The folder has a ledger that a machine has begun to join.
    #[error("the ledger in {} is not whole: a machine has begun to join it and has not fetched all rows", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is a copy, or lacks its `validator.redb`: it does not say what this validator has signed last.
    #[error(
        "the folder of this validator does not say what it has signed last: it is a copy, or a part of it is lost"
    )]
    Copied,
    /// A mirror has passed a transaction on, and has not reached the block of its outcome in time.
    #[error("the mirror has not reached block {height} yet, where the outcome is")]
    Behind {
        /// The height of the block.
        height: u64,
    },
    /// The server has joined the ledger late, and has no history from before.
    #[error("this server has joined the ledger at block {height}, and has no history from before")]
    NoHistory {
        /// The height from which on it has history.
        height: u64,
    },
    /// A parameter of a new ledger is out of its range.
    #[error("{0}")]
    Params(String),
    /// The ledger could not be reached in any attempt.
    #[error("the ledger could not be reached in {}: {last}", times(*attempts))]
    Unreachable {
        /// The number of attempts.
        attempts: u32,
        /// The error of the last attempt.
        last: NetError,
    },
    /// The server refused the request.
    #[error("the ledger refused the request: {message}")]
    Refused {
        /// The server's reason.
        message: String,
    },
    /// An answer does not verify. The server lies, or it is not this ledger.
    #[error("an answer of the ledger does not verify: {what}")]
    Forged {
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// The header of an answer names validators that this program does not know, and the server does not show how they came
    /// to be.
    #[error(
        "block {height} names validators that are not known, and the server does not show how they came to be"
    )]
    NewValidators {
        /// The block's height.
        height: u64,
    },
    /// An answer is older than what this program already knows.
    #[error("the ledger answered from height {height}, but height {known} is already known")]
    Stale {
        /// The height of the answer.
        height: u64,
        /// The height that was known when the question was sent.
        known: u64,
    },
    /// The validators signed two chains: another block of a height that this program has seen before. They are dishonest, or
    /// the ledger goes on from a copy that is older.
    #[error("the ledger's validators signed two chains from height {height} on{}", kept_in(kept))]
    Forked {
        /// The height.
        height: u64,
        /// The file with both headers, if they are kept.
        kept: Option<PathBuf>,
    },
    /// What this program has kept of the ledger cannot be used.
    #[error("the trusted header in {} cannot be used: {why}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The ledger no longer keeps the state of a checkpoint: fetch another one.
    #[error("the ledger no longer keeps the state of this checkpoint")]
    CheckpointGone,
    /// The ledger no longer keeps this block.
    #[error("the ledger no longer has block {height}: it keeps blocks from {} on", oldest.height)]
    Pruned {
        /// The height of the block.
        height: u64,
        /// The oldest block that it keeps.
        oldest: OldestBlock,
    },
}

impl LedgerError {
    /// The error of a machine whose key is not one of these.
    pub(crate) fn wrong_key(set: &Validators) -> Self {
        Self::WrongKey { validators: set.members.iter().map(|member| member.key).collect() }
    }

    /// Whether the server that answered is at fault. Another server of the ledger should then be
    /// asked.
    #[must_use]
    pub fn servers_fault(&self) -> bool {
        matches!(
            self,
            Self::Forged { .. }
                | Self::Stale { .. }
                | Self::Forked { .. }
                | Self::NewValidators { .. }
        )
    }
}

fn from_block(height: Option<u64>) -> String {
    height.map_or(String::new(), |height| format!(" from block {height} on"))
}

fn times(attempts: u32) -> String {
    match attempts {
        1 => "one attempt".into(),
        attempts => format!("{attempts} attempts"),
    }
}

fn listed(validators: &[AccountId]) -> String {
    validators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn kept_in(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or(String::new(), |path| format!("; both headers are in {}", path.display()))
}
