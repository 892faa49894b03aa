//! What can go wrong on a user's side, and of which kind it is.

use std::{io, path::PathBuf};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Amount,
    id::{ListingId, NodeId, OrderId},
    ledger::{OutOfRange, Status},
    session::NodeFault,
};
use symbolon_store::is_full;
use symbolon_transfer::{Reason, TransferError, told};
use thiserror::Error;

/// The kind of an error: what a program would branch on. Exit codes follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked makes no sense as it is.
    Usage,
    /// A name, listing, order or file that does not exist.
    NotFound,
    /// Something is already there and was not to be replaced.
    Exists,
    /// Somebody who may refuse did.
    NotAllowed,
    /// The ledger or every node needed cannot be reached.
    Unreachable,
    /// Not enough nodes to store, or not enough shards to read.
    NotEnough,
    /// Bytes are not what they were promised to be.
    Corrupt,
    /// The account cannot pay.
    BalanceTooLow,
    /// The ledger refused a transaction.
    LedgerRefused,
    /// A local file could not be read or written.
    Io,
    /// The local disk is full.
    DiskFull,
    /// Another process is at it.
    Locked,
    /// A bug or a broken local state.
    Internal,
}

/// Why a client operation did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The balance does not cover the price.
    #[error("this costs {needed} credits, the account has {balance}")]
    BalanceTooLow {
        /// What is needed, all-in.
        needed: Amount,
        /// What is there.
        balance: Amount,
    },
    /// The price is above what the user allowed.
    #[error("this costs {cost} credits, more than the {limit} allowed")]
    CostTooHigh {
        /// The price, all-in.
        cost: Amount,
        /// What was allowed.
        limit: Amount,
    },
    /// Stored bytes do not open under a key that was checked.
    #[error("segment {segment} of the file is corrupt: {why}")]
    Corrupt {
        /// Which segment.
        segment: u32,
        /// What failed.
        #[source]
        why: Reason,
    },
    /// What arrived is not what was listed.
    #[error(
        "the data is not what was listed: its content root is another one; do not acknowledge order {order}"
    )]
    NotAsListed {
        /// The order.
        order: OrderId,
    },
    /// The name is taken.
    #[error("{name:?} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// The source changed while it was read.
    #[error("{} changed while it was being stored", path.display())]
    SourceChanged {
        /// The file.
        path: PathBuf,
    },
    /// A reader gave another number of bytes than was said.
    #[error("{} did not give the {said} bytes that it was said to have", path.display())]
    SourceLength {
        /// What the reader is called.
        path: PathBuf,
        /// How many bytes were said.
        said: u64,
    },
    /// All of a folder here would go, because nothing is stored there.
    #[error("nothing is stored as {name:?}: that would delete all that is here")]
    NothingStored {
        /// The name.
        name: String,
    },
    /// A part of an upload that was begun before is no longer kept.
    #[error("the upload of {name:?} that was begun before is no longer kept by the nodes")]
    UploadLapsed {
        /// The name.
        name: String,
    },
    /// A grant that cannot be used here.
    #[error("the grant cannot be used: {0}")]
    Grant(#[source] Reason),
    /// A local file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger refused.
    #[error("the ledger refused: {0}")]
    LedgerRefused(Status),
    /// A listing that does not exist.
    #[error("no listing {0}")]
    NoListing(ListingId),
    /// A listing that no longer sells.
    #[error("listing {0} has ended")]
    ListingEnded(ListingId),
    /// A field of what was asked for that the ledger would not take.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A file whose time is over.
    #[error("the time {name:?} was stored for is over")]
    Over {
        /// The name.
        name: String,
        /// Since when, in milliseconds since the Unix epoch; nothing where the ledger never knew it.
        since_ms: Option<u64>,
    },
    /// A file that ends sooner than is asked for, and that others have a right to.
    #[error(
        "{name:?} ends sooner than asked, and it is shared or for sale: stored anew, that would end"
    )]
    Held {
        /// The name.
        name: String,
        /// Until when it is stored, in milliseconds since the Unix epoch.
        paid_until_ms: u64,
    },
    /// A file that is not stored for as long as was to be promised of it.
    #[error("{name:?} is not stored for so long")]
    EndsEarly {
        /// The name.
        name: String,
        /// Until when it is, in milliseconds since the Unix epoch.
        paid_until_ms: u64,
        /// Until when it would have to be.
        wanted_ms: u64,
    },
    /// What a listing sells is not stored any more.
    #[error("what listing {listing} sells is not stored any more")]
    GoodsOver {
        /// The listing.
        listing: ListingId,
        /// Since when, in milliseconds since the Unix epoch; nothing where it never was, or who knows.
        since_ms: Option<u64>,
    },
    /// What a listing sells is not stored for as long as access is sold.
    #[error("what listing {listing} sells is not stored for as long as access is sold")]
    GoodsEndEarly {
        /// The listing.
        listing: ListingId,
        /// Until when it is stored, in milliseconds since the Unix epoch.
        paid_until_ms: u64,
        /// Until when access would be bought.
        access_until_ms: u64,
    },
    /// A listing whose preview is still to come.
    #[error("the seller has not posted the preview of listing {0} yet")]
    NoPreview(ListingId),
    /// An order that does not exist.
    #[error("no order {0}")]
    NoOrder(OrderId),
    /// The money of an order went back.
    #[error("order {0} was refunded: its grant is no longer valid")]
    OrderRefunded(OrderId),
    /// A name the index does not have.
    #[error("no file named {name:?}")]
    NoName {
        /// The name.
        name: String,
    },
    /// A name of which the bytes are gone.
    #[error(
        "the bytes of {name:?} are gone: another device removed them while they got this name here"
    )]
    Lost {
        /// The name.
        name: String,
    },
    /// A name that stands for something, but not for a file.
    #[error("{name:?} is no file but a folder or a link")]
    NotAFile {
        /// The name.
        name: String,
    },
    /// A name that something was to lie in.
    #[error("{name:?} is a file; nothing can lie in it")]
    NotAFolder {
        /// The name.
        name: String,
    },
    /// A version that is not kept.
    #[error("{name:?} has no version {number}; there is {}", list(kept))]
    NoVersion {
        /// The name.
        name: String,
        /// The version.
        number: u64,
        /// Those there are.
        kept: Vec<u64>,
    },
    /// The ledger is silent.
    #[error("the ledger did not answer in {} seconds", after_ms / 1_000)]
    NoAnswer {
        /// How long it was waited for, in milliseconds.
        after_ms: u64,
    },
    /// Too few custodians released.
    #[error("{released} of the {needed} custodians needed released the key{}", told(faults))]
    NotEnoughCustodians {
        /// How many did.
        released: usize,
        /// How many are needed.
        needed: usize,
        /// What the others did.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// The local index or journal.
    #[error("the local index: {0}")]
    Index(String),
    /// Another process is at it.
    #[error("another symbolon process is already at work on {what}")]
    Locked {
        /// On what.
        what: String,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Between this machine and the nodes.
    #[error(transparent)]
    Transfer(TransferError),
    /// A rule of this program broke.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ClientError {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BalanceTooLow { .. } | Self::LedgerRefused(Status::BalanceTooLow) => {
                ErrorKind::BalanceTooLow
            }
            Self::CostTooHigh { .. }
            | Self::SourceLength { .. }
            | Self::Usage(_)
            | Self::OutOfRange(_)
            | Self::EndsEarly { .. }
            | Self::NotAFile { .. } => ErrorKind::Usage,
            Self::Corrupt { .. } | Self::NotAsListed { .. } | Self::SourceChanged { .. } => {
                ErrorKind::Corrupt
            }
            Self::Exists { .. } | Self::Held { .. } | Self::NotAFolder { .. } => ErrorKind::Exists,
            Self::Grant(_) | Self::OrderRefunded(_) => ErrorKind::NotAllowed,
            Self::Io { source, .. } if is_full(source) => ErrorKind::DiskFull,
            Self::Io { .. } => ErrorKind::Io,
            Self::LedgerRefused(_) | Self::ListingEnded(_) => ErrorKind::LedgerRefused,
            Self::NoListing(_)
            | Self::NoOrder(_)
            | Self::Over { .. }
            | Self::GoodsOver { .. }
            | Self::GoodsEndEarly { .. }
            | Self::NoPreview(_)
            | Self::NoName { .. }
            | Self::NoVersion { .. }
            | Self::Lost { .. }
            | Self::UploadLapsed { .. }
            | Self::NothingStored { .. } => ErrorKind::NotFound,
            Self::NotEnoughCustodians { .. } => ErrorKind::NotEnough,
            Self::Ledger(_) | Self::NoAnswer { .. } => ErrorKind::Unreachable,
            Self::Transfer(error) => kind_of(error),
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Index(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// What both crates can say has one name here, whichever of them found it out.
impl From<TransferError> for ClientError {
    fn from(error: TransferError) -> Self {
        use TransferError as Error;
        match error {
            Error::CostTooHigh { cost, limit } => Self::CostTooHigh { cost, limit },
            Error::Corrupt { segment, why } => Self::Corrupt { segment, why },
            Error::SourceChanged { path: Some(path) } => Self::SourceChanged { path },
            Error::Grant(why) => Self::Grant(why),
            Error::Io { path, source } => Self::Io { path, source },
            Error::OutOfRange(error) => Self::OutOfRange(error),
            Error::Ledger(error) => Self::Ledger(error),
            Error::LedgerRefused(status) => Self::LedgerRefused(status),
            Error::Internal(why) => Self::Internal(why),
            // What was to be remembered is this crate's own: see `upload::journal`.
            Error::Memory(error) => match error.downcast::<Self>() {
                Ok(own) => *own,
                Err(error) => Self::Transfer(Error::Memory(error)),
            },
            error => Self::Transfer(error),
        }
    }
}

fn kind_of(error: &TransferError) -> ErrorKind {
    use TransferError as Error;
    match error {
        error if error.is_denial() => ErrorKind::NotAllowed,
        Error::DealOver { .. } | Error::DealGone { .. } | Error::Lapsed { .. } => {
            ErrorKind::NotFound
        }
        Error::NotEnoughNodes { .. }
        | Error::NoRoom { .. }
        | Error::NotEnoughShards { .. }
        | Error::SchemeTooWide { .. } => ErrorKind::NotEnough,
        Error::Net(_) | Error::NoNodes { .. } => ErrorKind::Unreachable,
        Error::SourceChanged { .. } => ErrorKind::Corrupt,
        Error::PriceTooLarge | Error::Layout(_) => ErrorKind::Usage,
        _ => ErrorKind::Internal,
    }
}

fn list(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    if numbers.is_empty() { String::from("none") } else { numbers.join(", ") }
}
