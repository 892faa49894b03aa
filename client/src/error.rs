//! What can go wrong on a user's side, and the kinds of these errors.

use std::{io, path::PathBuf};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    dispute::LeafListError,
    id::{ListingId, NodeId, OrderId},
    ledger::{FieldFault, OutOfRange, Status, rows::OrderState},
    session::NodeFault,
    wire::preview::NotOpened,
};
use symbolon_store::is_full;
use symbolon_transfer::{Reason, TransferError, faults_in_brackets};
use thiserror::Error;

/// The kind of an error, for a program to branch on. Exit codes follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request makes no sense as it is.
    Usage,
    /// A name, listing, order or file does not exist.
    NotFound,
    /// Something exists already, and the caller does not allow replacing it.
    Exists,
    /// A party that has the right to refuse has refused.
    NotAllowed,
    /// The ledger, or every node that is needed, cannot be reached.
    Unreachable,
    /// There are not enough nodes to store, or not enough shards to read.
    NotEnough,
    /// Bytes differ from what was promised.
    Corrupt,
    /// The account cannot pay.
    BalanceTooLow,
    /// The ledger refused a transaction.
    LedgerRefused,
    /// A local file could not be read or written.
    Io,
    /// The local disk is full.
    DiskFull,
    /// Another process is at work on the same thing.
    Locked,
    /// The ledger's rules are newer than this program.
    OldProgram,
    /// A bug, or damaged local state.
    Internal,
}

/// Why there is no fresh preview.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotFresh {
    /// The description names no address.
    #[error("its seller answers no viewers")]
    NoAddress,
    /// The seller does not answer.
    #[error("its seller is not online")]
    Offline,
    /// The seller refused.
    #[error("its seller does not open cells for you now: {}", words(*.0))]
    Refused(NotOpened),
}

fn words(why: NotOpened) -> &'static str {
    match why {
        NotOpened::Malformed => "the seller's program does not understand the request",
        NotOpened::NotHere => "the seller does not answer for this listing",
        NotOpened::Count => "these are more cells than one number may pick",
        NotOpened::Spent => "as many cells were opened for viewers as the seller allows",
        NotOpened::Later => "you have had as many cells as one viewer may have for now",
        NotOpened::Busy => "too many viewers ask at the same time",
        NotOpened::Unable => "the seller cannot read the file now",
    }
}

/// What of a purchase is not as it was listed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotListed {
    /// The key that the custodians released.
    #[error("the key is another one")]
    Key,
    /// A cell.
    #[error("cell {cell} is another one")]
    Cell {
        /// The cell's number, counted over the whole file.
        cell: u64,
    },
    /// The file as a whole.
    #[error("its content root is another one")]
    Root,
}

/// Why an operation of the client failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The balance does not cover the price.
    #[error("this costs {needed} credits, the account has {balance}")]
    BalanceTooLow {
        /// The whole cost.
        needed: Amount,
        /// What the account has.
        balance: Amount,
    },
    /// The price is above what the user allowed.
    #[error("this costs {cost} credits, more than the {limit} allowed")]
    CostTooHigh {
        /// The whole cost.
        cost: Amount,
        /// The limit.
        limit: Amount,
    },
    /// Stored bytes do not open, although their key was checked.
    #[error("segment {segment} of the file is corrupt: {why}")]
    Corrupt {
        /// The segment's number.
        segment: u32,
        /// The check that failed.
        #[source]
        why: Reason,
    },
    /// What arrived is not what was listed.
    #[error("what was bought is not what was listed: {what}; do not acknowledge order {order}")]
    NotAsListed {
        /// The order.
        order: OrderId,
        /// What differs.
        what: NotListed,
    },
    /// An order on the ledger is not the one that this identity would have placed.
    #[error("order {order} is not as this identity places one: {what}")]
    NotOurOrder {
        /// The order.
        order: OrderId,
        /// What differs.
        what: &'static str,
    },
    /// The ledger does not know that the file of a listing is kept for as long as access is sold, so it takes no order.
    #[error(
        "listing {listing} takes no order now: its seller has not shown the ledger that the file is kept for as long as access is sold"
    )]
    NotCovered {
        /// The listing.
        listing: ListingId,
        /// Until when it is shown to be kept, in milliseconds since the Unix epoch. Nothing when it was never shown.
        covered_until_ms: Option<LedgerTime>,
        /// Until when a buyer would have access, in milliseconds since the Unix epoch.
        access_until_ms: LedgerTime,
    },
    /// A complaint about a listing was upheld, so it takes no more orders.
    #[error("listing {0} is frozen: a buyer has proven that it is not what it says")]
    ListingFrozen(ListingId),
    /// What a listing sells would end before a buyer could check it and complain.
    #[error(
        "listing {listing} sells access that is too short to check what it sells: {access_ms} ms, where this ledger asks for {least_ms}"
    )]
    AccessTooShort {
        /// The listing.
        listing: ListingId,
        /// The access that it sells, in milliseconds.
        access_ms: Millis,
        /// The least that the ledger asks for, in milliseconds.
        least_ms: Millis,
    },
    /// The leaf list of a listing is not the one of its file.
    #[error("the leaf list of listing {listing} is not right: {why}")]
    Leaves {
        /// The listing.
        listing: ListingId,
        /// What is wrong with it.
        #[source]
        why: LeafListError,
    },
    /// An order is closed, so nothing more can be said about it.
    #[error("order {order} is {state:?}: it is closed")]
    OrderClosed {
        /// The order.
        order: OrderId,
        /// Its state.
        state: OrderState,
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
    /// A reader gave more or fewer bytes than its caller had announced.
    #[error("{} did not give the {announced} bytes that were announced", path.display())]
    SourceLength {
        /// The reader's name.
        path: PathBuf,
        /// Number of bytes that were announced.
        announced: u64,
    },
    /// A sync would delete the whole local folder, because nothing is stored under the name.
    #[error("nothing is stored as {name:?}: that would delete all that is here")]
    NothingStored {
        /// The name.
        name: String,
    },
    /// Nodes no longer keep some of the shards of an upload that an earlier run began.
    #[error("the nodes no longer keep the upload of {name:?} that was begun before")]
    UploadLapsed {
        /// The name.
        name: String,
    },
    /// A grant cannot be used here.
    #[error("the grant cannot be used: {0}")]
    Grant(#[source] Reason),
    /// A voucher cannot be redeemed.
    #[error("the voucher cannot be redeemed: {0}")]
    Voucher(#[source] Reason),
    /// A local file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The client could not ask the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger refused a transaction.
    #[error("the ledger refused: {0}")]
    LedgerRefused(Status),
    /// The ledger refused a transaction because of a field.
    #[error("the ledger refused {action}: {fault}")]
    FieldRefused {
        /// The action of the transaction.
        action: &'static str,
        /// The field, its value and what the ledger allows.
        fault: FieldFault,
    },
    /// A listing does not exist.
    #[error("the ledger has no listing {0}: there was none, or it ended long ago")]
    NoListing(ListingId),
    /// A listing no longer takes orders.
    #[error("listing {0} has ended")]
    ListingEnded(ListingId),
    /// The ledger would not take a value of the request.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The time that a file was stored for is over.
    #[error("the time {name:?} was stored for is over")]
    Over {
        /// The name.
        name: String,
        /// When it ended, in milliseconds since the Unix epoch. Nothing when the ledger never had its deals.
        since_ms: Option<LedgerTime>,
    },
    /// A file ends sooner than the caller asks for, and other people have a right to it.
    #[error(
        "{name:?} ends sooner than asked, and it is shared or for sale: storing it anew would end that"
    )]
    Held {
        /// The name.
        name: String,
        /// Until when the file is stored, in milliseconds since the Unix epoch.
        paid_until_ms: LedgerTime,
    },
    /// A file is not stored for as long as the caller wants to promise.
    #[error("{name:?} is not stored for that long")]
    EndsEarly {
        /// The name.
        name: String,
        /// Until when it is stored, in milliseconds since the Unix epoch.
        paid_until_ms: LedgerTime,
        /// Until when it has to be stored, in milliseconds since the Unix epoch.
        wanted_ms: LedgerTime,
    },
    /// The data that a listing sells is no longer stored.
    #[error("what listing {listing} sells is not stored any more")]
    GoodsOver {
        /// The listing.
        listing: ListingId,
        /// When it ended, in milliseconds since the Unix epoch. Nothing when it was never stored, or when that is not
        /// known.
        since_ms: Option<LedgerTime>,
    },
    /// The data that a listing sells is not stored for as long as access is sold.
    #[error("what listing {listing} sells is not stored for as long as access is sold")]
    GoodsEndEarly {
        /// The listing.
        listing: ListingId,
        /// Until when it is stored, in milliseconds since the Unix epoch.
        paid_until_ms: LedgerTime,
        /// Until when the buyer would have access, in milliseconds since the Unix epoch.
        access_until_ms: LedgerTime,
    },
    /// The seller has not posted a listing's preview yet.
    #[error("the seller has not posted the preview of listing {0} yet")]
    NoPreview(ListingId),
    /// No cells were opened for this viewer.
    #[error("no cells of listing {listing} were opened for you: {why}")]
    NotFresh {
        /// The listing.
        listing: ListingId,
        /// Why.
        why: NotFresh,
    },
    /// An order does not exist.
    #[error("the ledger has no order {0}: there was none, or its access ended long ago")]
    NoOrder(OrderId),
    /// The money of an order went back to the buyer.
    #[error("order {0} was refunded: its grant is no longer valid")]
    OrderRefunded(OrderId),
    /// The index has no such name.
    #[error("no file named {name:?}")]
    NoName {
        /// The name.
        name: String,
    },
    /// The bytes of a name are gone.
    #[error(
        "the bytes of {name:?} are gone: another device removed them while they got this name here"
    )]
    Lost {
        /// The name.
        name: String,
    },
    /// A name stands for a folder or a link, not for a file.
    #[error("{name:?} is a folder or a link, not a file")]
    NotAFile {
        /// The name.
        name: String,
    },
    /// A name was to lie in another one that is a file.
    #[error("{name:?} is a file; nothing can lie in it")]
    NotAFolder {
        /// The name.
        name: String,
    },
    /// A version is not kept.
    #[error("{name:?} has no version {number}; its versions: {}", list(kept))]
    NoVersion {
        /// The name.
        name: String,
        /// The version.
        number: u64,
        /// Numbers of the versions that are kept.
        kept: Vec<u64>,
    },
    /// A bucket does not exist.
    #[error("there is no bucket {name}")]
    NoBucket {
        /// Its name.
        name: String,
    },
    /// A bucket has an item of that key in no version, or not in that one.
    #[error("there is no item {key:?}")]
    NoItem {
        /// The key.
        key: String,
    },
    /// An item, or a bucket, is not as the caller expects it.
    #[error("{key:?} is not as expected: it was changed")]
    NotAsExpected {
        /// The item's key, or the bucket's name.
        key: String,
    },
    /// A bucket was to be removed that is not empty.
    #[error("bucket {name} is not empty")]
    NotEmpty {
        /// Its name.
        name: String,
    },
    /// An upload in parts does not exist: it was completed or given up.
    #[error("there is no upload {id}")]
    NoUpload {
        /// Its id.
        id: String,
    },
    /// An upload has no such part.
    #[error("the upload has no part {number} with this mark")]
    NoPart {
        /// The part's number.
        number: u16,
    },
    /// The bytes that came are not those that were announced.
    #[error("what came is not what was announced: {why}")]
    WrongBytes {
        /// What differs.
        why: String,
    },
    /// The ledger did not answer.
    #[error("the ledger did not answer in {} seconds", after_ms / 1_000)]
    NoAnswer {
        /// How long the client waited, in milliseconds.
        after_ms: u64,
    },
    /// This identity has no vault.
    #[error("this identity has no vault")]
    NoVault,
    /// Too few custodians released their part of the key.
    #[error(
        "{released} of the {needed} custodians needed released the key{}",
        faults_in_brackets(faults)
    )]
    NotEnoughCustodians {
        /// How many custodians released theirs.
        released: usize,
        /// How many are needed.
        needed: usize,
        /// The faults of the others.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// The local index or journal could not be read or written.
    #[error("the local index: {0}")]
    Index(String),
    /// Another process is at work on the same thing.
    #[error("another symbolon process is already at work on {what}")]
    Locked {
        /// The thing that both work on.
        what: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A transfer between this machine and the nodes failed.
    #[error(transparent)]
    Transfer(TransferError),
    /// A rule of this program does not hold.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ClientError {
    /// Whether the ledger refused a transaction, so that it had no effect.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::LedgerRefused(_) | Self::FieldRefused { .. })
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BalanceTooLow { .. }
            | Self::LedgerRefused(Status::BalanceTooLow | Status::FeeNotCovered) => {
                ErrorKind::BalanceTooLow
            }
            Self::CostTooHigh { .. }
            | Self::SourceLength { .. }
            | Self::Usage(_)
            | Self::OutOfRange(_)
            | Self::EndsEarly { .. }
            | Self::NotAFile { .. } => ErrorKind::Usage,
            Self::Corrupt { .. }
            | Self::NotAsListed { .. }
            | Self::Leaves { .. }
            | Self::NotOurOrder { .. }
            | Self::WrongBytes { .. }
            | Self::SourceChanged { .. } => ErrorKind::Corrupt,
            Self::Exists { .. }
            | Self::Held { .. }
            | Self::NotAsExpected { .. }
            | Self::NotEmpty { .. }
            | Self::NotAFolder { .. } => ErrorKind::Exists,
            Self::Grant(_) | Self::Voucher(_) | Self::OrderRefunded(_) => ErrorKind::NotAllowed,
            Self::Io { source, .. } if is_full(source) => ErrorKind::DiskFull,
            Self::Io { .. } => ErrorKind::Io,
            Self::LedgerRefused(_)
            | Self::FieldRefused { .. }
            | Self::ListingEnded(_)
            | Self::ListingFrozen(_)
            | Self::NotCovered { .. }
            | Self::AccessTooShort { .. }
            | Self::OrderClosed { .. } => ErrorKind::LedgerRefused,
            Self::NoListing(_)
            | Self::NoVault
            | Self::NoOrder(_)
            | Self::Over { .. }
            | Self::GoodsOver { .. }
            | Self::GoodsEndEarly { .. }
            | Self::NoPreview(_)
            | Self::NoName { .. }
            | Self::NoBucket { .. }
            | Self::NoItem { .. }
            | Self::NoUpload { .. }
            | Self::NoPart { .. }
            | Self::NoVersion { .. }
            | Self::Lost { .. }
            | Self::UploadLapsed { .. }
            | Self::NothingStored { .. } => ErrorKind::NotFound,
            Self::NotFresh { why: NotFresh::NoAddress, .. } => ErrorKind::NotFound,
            Self::NotFresh { why: NotFresh::Offline, .. } => ErrorKind::Unreachable,
            Self::NotFresh { .. } => ErrorKind::NotAllowed,
            Self::NotEnoughCustodians { .. } => ErrorKind::NotEnough,
            Self::Ledger(LedgerError::UnknownRules { .. }) => ErrorKind::OldProgram,
            Self::Ledger(_) | Self::NoAnswer { .. } => ErrorKind::Unreachable,
            Self::Transfer(error) => kind_of(error),
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Index(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// Errors that both crates have become the same variant, so that callers need not ask which crate found them.
impl From<TransferError> for ClientError {
    fn from(error: TransferError) -> Self {
        use TransferError as Error;
        match error {
            Error::CostTooHigh { cost, limit } => Self::CostTooHigh { cost, limit },
            Error::Corrupt { segment, why } => Self::Corrupt { segment, why },
            Error::NotListed { order, cell } => {
                Self::NotAsListed { order, what: NotListed::Cell { cell } }
            }
            Error::SourceChanged { path: Some(path) } => Self::SourceChanged { path },
            Error::Grant(why) => Self::Grant(why),
            Error::Io { path, source } => Self::Io { path, source },
            Error::OutOfRange(error) => Self::OutOfRange(error),
            Error::Ledger(error) => Self::Ledger(error),
            Error::LedgerRefused(status) => Self::LedgerRefused(status),
            Error::FieldRefused { action, fault } => Self::FieldRefused { action, fault },
            Error::Internal(why) => Self::Internal(why),
            // The journal belongs to this crate, so its error does too: see `upload::journal`.
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
        Error::SourceChanged { .. } | Error::NotListed { .. } => ErrorKind::Corrupt,
        Error::PriceTooLarge | Error::Layout(_) => ErrorKind::Usage,
        _ => ErrorKind::Internal,
    }
}

fn list(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    if numbers.is_empty() { String::from("none") } else { numbers.join(", ") }
}
