//! The requests to a ledger and its answers. One request per QUIC stream. Each message is framed by its
//! length as `u32`.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::{
    choice,
    id::AccountId,
    ledger::{
        Status,
        block::{Block, Event, Genesis, SignedHeader},
        commit::Validators,
        transaction::Transaction,
    },
    record,
    time::LedgerTime,
};

choice! {
    /// The first message on a stream to a ledger.
    pub enum Request {
        /// Apply this transaction. Answered by [`Response::Outcome`] once the block is on disk.
        Submit = 1 {
            /// The transaction.
            transaction: Box<Transaction>,
        },
        /// The last block. Answered by [`Response::Head`].
        Head = 2,
        /// Rows by key, with their proof. Answered by [`Response::Rows`].
        Rows = 3 {
            /// Their keys.
            keys: Vec<Vec<u8>>,
        },
        /// The first rows whose keys begin with `prefix` and come after `after`, all of them up to the last of the
        /// answer. Answered by [`Response::Rows`].
        Scan = 4 {
            /// The prefix of the keys: at least the table's tag.
            prefix: Vec<u8>,
            /// The last key of the answer before.
            after: Option<Vec<u8>>,
            /// How many at most.
            limit: u32,
        },
        /// All blocks from a height on, as they come. Answered by one [`Response::Block`] after another.
        /// Answered by [`Response::Pruned`] where the ledger no longer keeps the next block.
        Follow = 5 {
            /// The first height.
            height: u64,
        },
        /// The events that moved an account's money, newest first. Answered by [`Response::History`].
        History = 6 {
            /// The account.
            account: AccountId,
            /// Only lines before this place.
            before: HistoryPlace,
            /// How many at most.
            limit: u32,
        },
        /// The ledger's genesis, whose hash is the ledger's id. Answered by [`Response::Genesis`].
        Genesis = 7,
        /// The next rows of all tables, all of them up to the last of the answer: a scan over the whole state of one
        /// block. Answered by [`Response::Rows`], or by [`Response::Gone`] where the ledger no longer keeps that state.
        Checkpoint = 8 {
            /// The height of the block, from the answer before. Without it the ledger chooses a block.
            height: Option<u64>,
            /// What the keys come after: the last key of the answer before, or where a part begins.
            after: Option<Vec<u8>>,
            /// The last key that is asked for, where a part of the state ends. Without it the state is asked for to its end.
            until: Option<Vec<u8>>,
        },
        /// The changes of the validators after a height, in their order. Answered by [`Response::Sets`].
        Sets = 9 {
            /// The height.
            after: u64,
        },
    }
}

record! {
    /// A block that changed the validators.
    pub struct SetChange {
        /// Its header, with its commit.
        pub header: SignedHeader,
        /// The validators that committed it.
        pub validators: Validators,
        /// The validators of the block after it.
        pub next: Validators,
    }
}

record! {
    /// A row of an answer.
    pub struct Row {
        /// Its key.
        pub key: Vec<u8>,
        /// Its value; absent if there is no such row.
        pub value: Option<Vec<u8>>,
    }
}

record! {
    /// A place in the history of all accounts.
    #[derive(Copy, PartialOrd, Ord)]
    pub struct HistoryPlace {
        /// Height of a block.
        pub height: u64,
        /// Number of an event in it.
        pub number: u32,
    }
}

impl From<u64> for HistoryPlace {
    /// The place before all events of the block of this height.
    fn from(height: u64) -> Self {
        Self { height, number: 0 }
    }
}

record! {
    /// A line of an account's history.
    pub struct HistoryLine {
        /// Height of the block.
        pub height: u64,
        /// Number of the event in the block.
        pub number: u32,
        /// Time of the block.
        pub time_ms: LedgerTime,
        /// The event.
        pub event: Event,
    }
}

record! {
    /// The oldest block that a ledger keeps.
    #[derive(Copy)]
    pub struct OldestBlock {
        /// Its height.
        pub height: u64,
        /// Its time.
        pub time_ms: LedgerTime,
    }
}

choice! {
    /// A ledger's answer.
    pub enum Response {
        /// The ledger does not answer, for this reason.
        Refused = 0 {
            /// The reason in words.
            message: String,
        },
        /// The outcome of a transaction.
        Outcome = 1 {
            /// Height of the block it is in, or of the last block if it was refused.
            height: u64,
            /// The outcome.
            status: Status,
        },
        /// The last block.
        Head = 2 {
            /// Its header.
            header: SignedHeader,
        },
        /// Rows under the state root of `header`.
        Rows = 3 {
            /// The block they are from.
            header: SignedHeader,
            /// The rows: of a question by key the first ones in its order, of a scan all from its beginning on.
            rows: Vec<Row>,
            /// Their proof, and that of a scan that none is left out: see `ledger::tree`.
            proof: Vec<u8>,
            /// Whether the answer ends before the question does.
            more: bool,
        },
        /// A block.
        Block = 4 {
            /// The block.
            block: Block,
        },
        /// The genesis.
        Genesis = 5 {
            /// The genesis.
            genesis: Box<Genesis>,
        },
        /// History lines.
        History = 6 {
            /// Newest first.
            lines: Vec<HistoryLine>,
            /// The oldest block that the ledger keeps. Lines for [`Proven`] are complete from it on, and
            /// all other lines from block 0 on.
            ///
            /// [`Proven`]: crate::ledger::block::Reason::Proven
            oldest: OldestBlock,
        },
        /// The ledger no longer keeps the next block that was asked for. Ends a follow.
        Pruned = 7 {
            /// The oldest block that it keeps.
            oldest: OldestBlock,
        },
        /// The ledger no longer keeps the state that the request for a checkpoint names.
        Gone = 8,
        /// Changes of the validators: answer to [`Request::Sets`].
        Sets = 9 {
            /// The changes.
            changes: Vec<SetChange>,
            /// Whether there are more after them.
            more: bool,
        },
    }
}

impl HistoryLine {
    /// The line's place: a request for the lines before it uses this.
    #[must_use]
    pub fn place(&self) -> HistoryPlace {
        HistoryPlace { height: self.height, number: self.number }
    }
}
