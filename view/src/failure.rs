//! The errors of commands.

use serde::{Deserialize, Serialize};

use crate::{
    demo::Broken,
    folder::{FolderStored, FolderWritten},
    grant::Inspected,
    market::{Disputed, Purchase},
    operator::{Diagnosis, LedgerDiagnosis, Scrubbed},
    put::NotDurable,
    verify::{FileVerified, FolderVerified},
};

/// The kind of error. Each kind has its own exit code; neither ever changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Kind {
    /// A bug, or an error of no other kind. Exit code 1.
    Internal = 1,
    /// The command line does not say what to do. Exit code 2.
    Usage = 2,
    /// There is no such file, listing, order, identity or network. Exit code 3.
    NotFound = 3,
    /// The name or path is taken. Exit code 4.
    Exists = 4,
    /// The caller may not do this. Exit code 5.
    NotAllowed = 5,
    /// The ledger or all nodes are out of reach. Exit code 6.
    Unreachable = 6,
    /// Fewer nodes or shards than are needed. Exit code 7.
    NotEnough = 7,
    /// Bytes are not what they should be. Exit code 8.
    Corrupt = 8,
    /// The account's balance is too low. Exit code 9.
    BalanceTooLow = 9,
    /// The ledger refused. Exit code 10.
    LedgerRefused = 10,
    /// The operating system refused. Exit code 11.
    Io = 11,
    /// A disk is full. Exit code 12.
    DiskFull = 12,
    /// Another process uses the home or the port. Exit code 13.
    InUse = 13,
    /// Wrong passphrase, or a damaged or missing key. Exit code 14.
    Key = 14,
    /// Part of it was done. Exit code 15.
    Partial = 15,
    /// A node's disk is empty, incomplete or another node's. Exit code 16.
    WrongDisk = 16,
    /// The ledger's rules are newer than this program. Exit code 17.
    OldProgram = 17,
    /// A signal ended it. Exit code 130, which a shell reports for Ctrl-C.
    Interrupted = 130,
    /// The reader closed the pipe. Exit code 141, which a shell reports for it.
    ClosedPipe = 141,
}

impl Kind {
    /// All of them, by exit code.
    pub const ALL: [Self; 19] = [
        Self::Internal,
        Self::Usage,
        Self::NotFound,
        Self::Exists,
        Self::NotAllowed,
        Self::Unreachable,
        Self::NotEnough,
        Self::Corrupt,
        Self::BalanceTooLow,
        Self::LedgerRefused,
        Self::Io,
        Self::DiskFull,
        Self::InUse,
        Self::Key,
        Self::Partial,
        Self::WrongDisk,
        Self::OldProgram,
        Self::Interrupted,
        Self::ClosedPipe,
    ];
}

/// What a command prints when it fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// What went wrong.
    pub error: Problem,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// What kind of thing.
    pub kind: Kind,
    /// The exit code of that kind.
    pub exit_code: u8,
    /// What did not work, and on what, for people.
    pub message: String,
    /// What to try next, for people.
    pub hint: Option<String>,
    /// Further facts about the error; absent if there are none.
    // A program that runs another of its kind reads what went wrong, and no more.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Details"))]
    pub details: Option<Box<Details>>,
}

macro_rules! details {
    ($($(#[$meta:meta])* $view:ident as $variant:ident,)*) => {
        /// Further facts about the error of a command.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum Details {
            $($(#[$meta])* $variant($view),)*
        }

        $(impl From<$view> for Details {
            fn from(view: $view) -> Self {
                Self::$variant(view)
            }
        })*
    };
}

details! {
    /// `demo`: the steps that held.
    Broken as Demo,
    /// `put` and `sync` up: the expected durability, which is not enough.
    NotDurable as Durability,
    /// `put` of a folder and `sync` up: what was stored all the same.
    FolderStored as FolderStored,
    /// `get` of a folder and `sync` down: what was written all the same.
    FolderWritten as FolderWritten,
    /// `grant inspect`: the chain that does not hold.
    Inspected as Inspected,
    /// `buy`: what was bought and not fetched.
    Purchase as Purchase,
    /// `buy` and `get`: what became of a complaint about a bought file.
    Disputed as Disputed,
    /// `node doctor`: what was checked.
    Diagnosis as Diagnosis,
    /// `ledger doctor`: what was checked.
    LedgerDiagnosis as LedgerDiagnosis,
    /// `node scrub`: what was found.
    Scrubbed as Scrubbed,
    /// `verify` of a file: what was found.
    FileVerified as FileVerified,
    /// `verify` of a folder or pattern: what was found.
    FolderVerified as FolderVerified,
}
