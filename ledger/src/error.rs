//! Why a ledger gave no answer, or one that is not believed.

use symbolon_net::NetError;
use symbolon_protocol::id::{AccountId, OrderId};
use thiserror::Error;

/// Why an operation on a ledger failed. A transaction that is refused by the rules is no failure: its
/// outcome says so.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The engine was closed, or stopped after an error it reported then.
    #[error("the ledger is closed")]
    Closed,
    /// This machine's disk, or the database on it: ours to fix.
    #[error("the ledger's database failed: {0}")]
    Disk(String),
    /// The database holds what this program would not have written.
    #[error("the ledger's database is damaged: {0}")]
    Damaged(String),
    /// The database belongs to another authority key.
    #[error("this ledger belongs to the authority {authority}")]
    WrongKey {
        /// Whose it is.
        authority: AccountId,
    },
    /// The parameters of a new ledger are out of their range.
    #[error("{0}")]
    Params(String),
    /// The ledger could not be reached, however often it was tried.
    #[error("the ledger could not be reached in {attempts} attempts: {last}")]
    Unreachable {
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        last: NetError,
    },
    /// The one who was asked does not answer this.
    #[error("the ledger refused the request: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// An answer that does not verify: whoever sent it lies, or is not this ledger.
    #[error("an answer of the ledger does not verify: {what}")]
    Forged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// An answer from before what this program already knows.
    #[error("the ledger answered from height {height}, but height {known} is already known")]
    Stale {
        /// What the answer is from.
        height: u64,
        /// What was known when it was asked for.
        known: u64,
    },
    /// Two blocks of the same height, both signed: the authority itself is dishonest.
    #[error("the ledger's authority signed two blocks of height {height}")]
    Forked {
        /// The height.
        height: u64,
    },
    /// There is no such order.
    #[error("no order {order}")]
    UnknownOrder {
        /// Which.
        order: OrderId,
    },
    /// The buyer has the money back, so there is nothing to sign.
    #[error("order {order} was refunded")]
    OrderRefunded {
        /// Which.
        order: OrderId,
    },
}

impl LedgerError {
    /// Whether the one who answered is at fault, so that another server of the ledger should be asked.
    #[must_use]
    pub fn servers_fault(&self) -> bool {
        matches!(self, Self::Forged { .. } | Self::Stale { .. } | Self::Forked { .. })
    }
}
