//! What can go wrong on a user's side, and of which kind it is.

use std::{io, path::PathBuf};

use symbolon_ledger::LedgerError;
use symbolon_net::NetError;
use symbolon_protocol::{
    Amount,
    content::Scheme,
    id::{DealId, ListingId, NodeId, OrderId},
    ledger::{OutOfRange, Status},
    session::NodeFault,
};
use symbolon_store::is_full;
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
        why: String,
    },
    /// What arrived is not what was listed.
    #[error(
        "the data is not what was listed: its content root is another one; do not acknowledge order {order}"
    )]
    NotAsListed {
        /// The order.
        order: OrderId,
    },
    /// The deal of a segment is not on the ledger.
    #[error(
        "the ledger knows no deal {deal} for segment {segment}: the file was removed, or its deals ended"
    )]
    DealGone {
        /// Which segment.
        segment: u32,
        /// Its deal.
        deal: DealId,
    },
    /// The deal of a segment has ended, and its nodes have deleted what they kept for it.
    #[error("the time this was stored for is over: its nodes have deleted segment {segment}")]
    DealOver {
        /// Which segment.
        segment: u32,
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: u64,
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
    Grant(String),
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
    /// Too few nodes to store on.
    #[error("{accepted} of the {needed} nodes needed took a shard{}", tell(faults))]
    NotEnoughNodes {
        /// How many took one.
        accepted: u8,
        /// How many are needed.
        needed: u8,
        /// What the others did.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// Enough nodes, but too few with room.
    #[error("{fitting} of the {needed} nodes needed have room for a shard of {bytes} bytes")]
    NoRoom {
        /// How many have room.
        fitting: usize,
        /// How many are needed.
        needed: u8,
        /// Bytes of a shard.
        bytes: u64,
    },
    /// No node at all.
    #[error("no storage node can be reached; the ledger knows {known}")]
    NoNodes {
        /// How many the ledger knows.
        known: usize,
    },
    /// The scheme asks for more nodes than there are.
    #[error("scheme {}/{} needs {} nodes, {reachable} can be reached", scheme.required, scheme.total, scheme.total)]
    SchemeTooWide {
        /// The scheme.
        scheme: Scheme,
        /// How many answer.
        reachable: usize,
    },
    /// Too few shards to read.
    #[error(
        "segment {segment} cannot be read: {usable} of the {required} shards needed answer{}",
        tell(faults)
    )]
    NotEnoughShards {
        /// Which segment.
        segment: u32,
        /// How many shards answer.
        usable: u8,
        /// How many are needed.
        required: u8,
        /// What the nodes of the others did.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// Too few custodians released.
    #[error("{released} of the {needed} custodians needed released the key{}", tell(faults))]
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
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
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
            | Self::NothingStored { .. }
            | Self::DealOver { .. }
            | Self::DealGone { .. } => ErrorKind::NotFound,
            Self::NotEnoughShards { faults, .. } if all_refused(faults) => ErrorKind::NotAllowed,
            Self::NotEnoughNodes { .. }
            | Self::NoRoom { .. }
            | Self::NotEnoughShards { .. }
            | Self::NotEnoughCustodians { .. }
            | Self::SchemeTooWide { .. } => ErrorKind::NotEnough,
            Self::Ledger(_) | Self::Net(_) | Self::NoNodes { .. } => ErrorKind::Unreachable,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Index(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

fn all_refused(faults: &[(NodeId, NodeFault)]) -> bool {
    use symbolon_protocol::wire::storage::RefusalCode as Code;
    let denied = |fault: &NodeFault| {
        matches!(
            fault,
            NodeFault::Refused {
                code: Code::NotAllowed
                    | Code::NotYourGrant
                    | Code::OutOfTime
                    | Code::Revoked
                    | Code::QuotaUsed
            }
        )
    };
    !faults.is_empty() && faults.iter().any(|(_, fault)| denied(fault))
}

fn list(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    if numbers.is_empty() { String::from("none") } else { numbers.join(", ") }
}

fn tell(faults: &[(NodeId, NodeFault)]) -> String {
    let each = faults.iter().map(|(node, fault)| {
        let name = node.to_string();
        format!("node {} {fault}", &name[..8])
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) }
}
