//! The requests to a ledger and its answers. One request per QUIC stream. Each message is framed by its
//! length as `u32`.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::{
    choice,
    id::AccountId,
    ledger::{
        Status,
        block::{Block, Event, SignedHeader},
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
        /// Rows whose keys begin with `prefix` and come after `after`. Answered by [`Response::Rows`].
        Scan = 4 {
            /// The prefix of the keys: at least the table's tag.
            prefix: Vec<u8>,
            /// The last key of the answer before.
            after: Option<Vec<u8>>,
            /// How many at most.
            limit: u32,
        },
        /// All blocks from a height on, as they come. Answered by one [`Response::Block`] after another,
        /// each followed by as many [`Response::Events`] as it takes. Answered by [`Response::Pruned`]
        /// where the ledger no longer keeps the next block.
        Follow = 5 {
            /// The first height.
            height: u64,
            /// How many of that block's events the client already knows. So a client that lost its
            /// connection in the middle of a large block continues there.
            events: u64,
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
    }
}

record! {
    /// A row and its proof.
    pub struct ProvenRow {
        /// Its key.
        pub key: Vec<u8>,
        /// Its value; absent if there is no such row.
        pub value: Option<Vec<u8>>,
        /// Its path in the state tree: see `ledger::tree`.
        pub path: Vec<u8>,
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
            /// The rows.
            rows: Vec<ProvenRow>,
            /// Whether a scan has more.
            more: bool,
        },
        /// A block with the first of its events: [`EVENTS_PAGE`] at most.
        ///
        /// [`EVENTS_PAGE`]: crate::limits::EVENTS_PAGE
        Block = 4 {
            /// The block. Its events follow those that the client already knew.
            block: Block,
            /// Whether more events follow.
            more: bool,
        },
        /// The next events of the followed block: `EVENTS_PAGE` at most.
        Events = 5 {
            /// The events.
            events: Vec<Event>,
            /// Whether more events follow.
            more: bool,
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
    }
}

impl HistoryLine {
    /// The line's place: a request for the lines before it uses this.
    #[must_use]
    pub fn place(&self) -> HistoryPlace {
        HistoryPlace { height: self.height, number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        amount::Amount,
        codec::Encode,
        id::PeerId,
        ledger::block::{Place, Reason},
        limits::{BLOCK_BYTES_MAX, EVENTS_PAGE, MESSAGE_BYTES_MAX},
    };

    #[test]
    fn the_largest_page_fits_into_a_message() {
        let account = Place::Account { account: AccountId([1; 32]) };
        let reason = Reason::Missed { node: PeerId([3; 32]), epoch: u64::MAX };
        let moved = Event::Moved { from: account, to: account, amount: Amount::ZERO, reason };
        // A block's transactions, its header and what frames them beside a page of the largest events.
        let rest = BLOCK_BYTES_MAX + 1024;
        assert!(rest + moved.to_bytes().len() * EVENTS_PAGE <= MESSAGE_BYTES_MAX);
    }
}
