//! The requests to a storage node and its answers. One request per QUIC stream. Each message is framed by
//! its length as `u32`.

use alloc::{string::String, vec::Vec};

use crate::{
    amount::Amount,
    choice,
    custody::{CustodyAcceptance, Release, VaultKey},
    deletion::DeletionReceipt,
    grant::Grant,
    id::{AccountId, ChainId, DealId, Hash, NodeId, ObjectId, Opening, OrderId},
    ledger::transaction::{Acceptance, DealTerms},
    reads::ReadLog,
    record,
};

choice! {
    /// The first message on a stream to a node.
    pub enum Request {
        /// The node's terms. Answered by [`Response::Info`].
        Info = 1,
        /// Keep this shard. If the node already has it, the answer is [`Response::Accepted`]. Otherwise it
        /// is [`Response::Ready`]. Then `length` bytes follow on the stream, and [`Response::Accepted`]
        /// once they are synced to disk.
        Store = 2 {
            /// The terms. The acceptance signs them back.
            terms: DealTerms,
            /// The shard's index.
            index: u8,
            /// The price that the owner expects; the node refuses if it asks for more.
            price: Amount,
            /// What allows the peer to store it.
            authority: Authority,
        },
        /// Send slices of a shard. Answered by [`Response::Slices`], then `count` slices, each a
        /// [`SliceHead`] message and that many raw bytes.
        Read = 3 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// First slice, from 0.
            first: u32,
            /// How many.
            count: u32,
            /// A grant bound to this peer; absent for public content, and for a peer that reads the shard for its claim.
            grant: Option<Grant>,
        },
        /// Send one cell of a shard: a read of 64 KiB or less. Answered by [`Response::Slices`] with one
        /// [`SliceHead`] and the cell's bytes.
        ReadCell = 4 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// The cell of the shard, from 0.
            cell: u32,
            /// A grant bound to this peer; absent for public content.
            grant: Option<Grant>,
        },
        /// Whether the node still holds this shard. Answered by [`Response::Held`].
        Check = 5 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// A grant bound to this peer with the verify ability; absent for public content.
            grant: Option<Grant>,
        },
        /// The deal is over: delete this shard now. Answered by [`Response::Deleted`].
        Delete = 6 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// A grant bound to this peer with the delete ability; public content needs one too.
            grant: Grant,
        },
        /// Keep this share of a vault's secret. Answered by [`Response::InCustody`].
        KeepShare = 10 {
            /// The owner of the secret.
            owner: AccountId,
            /// Chosen by the owner: the vault's id follows from both.
            opening: Opening,
            /// The public side.
            key: VaultKey,
            /// The index of the share, from 1.
            index: u8,
            /// The share, sealed to the node's custody key.
            share: Vec<u8>,
            /// By the owner, over chain, vault, owner, key, index and node: so no party can send a share to a
            /// custodian in another's name.
            signature: [u8; 64],
        },
        /// Release your part of a sold key. Answered by [`Response::Released`].
        Release = 11 {
            /// The order.
            order: OrderId,
        },
        /// Release your part of the keys of this peer's claim. Answered by [`Response::ReleasedClaim`].
        ReleaseClaim = 12 {
            /// The claimed deal.
            deal: DealId,
        },
        /// Who read an object from this node, for its owner. Answered by [`Response::ReadLog`].
        ReadLog = 13 {
            /// The object's owner.
            owner: AccountId,
            /// The object.
            object: ObjectId,
            /// The first day to tell of, counted from 1 January 1970.
            from_day: u32,
            /// By the owner's account key, over chain, node, this peer, owner and object.
            signature: [u8; 64],
        },
    }
}

choice! {
    /// What allows a peer to send a shard of an owner to a node.
    pub enum Authority {
        /// A grant of the owner to the peer with the store ability for the object.
        Grant = 1 {
            /// The grant.
            grant: Grant,
        },
        /// The peer's claim on the ledger to rebuild the shard.
        Claim = 2,
        /// The ledger's row of the deal: the peer keeps the shard, and hands it on.
        Keeper = 3,
    }
}

choice! {
    /// A node's answer.
    pub enum Response {
        /// The node does not do it, for this reason.
        Refused = 0 {
            /// The reason.
            refusal: Refusal,
        },
        /// The node's terms.
        Info = 1 {
            /// The ledger it serves.
            chain: ChainId,
            /// Its identity.
            node: NodeId,
            /// Asking price per GiB and epoch.
            price: Amount,
            /// Bytes that it still has room for.
            free: u64,
        },
        /// Send the bytes.
        Ready = 2,
        /// The shard is on disk and the node keeps it.
        Accepted = 3 {
            /// The node's signed statement.
            acceptance: Acceptance,
        },
        /// Slices follow.
        Slices = 4 {
            /// How many.
            count: u32,
        },
        /// Whether the node has the shard.
        Held = 5 {
            /// Bytes held; absent if there is no such shard.
            length: Option<u64>,
            /// The root of the bytes when they were stored.
            root: Option<Hash>,
        },
        /// The shard is gone from the node's disk.
        Deleted = 6 {
            /// The node's signed statement.
            receipt: DeletionReceipt,
        },
        /// The node keeps the share.
        InCustody = 10 {
            /// The node's signed statement.
            acceptance: CustodyAcceptance,
        },
        /// The node's part of the key.
        Released = 11 {
            /// The release.
            release: Release,
        },
        /// The node's part of the keys of a claim.
        ReleasedClaim = 12 {
            /// One release for each shard that is read, then for each that is rebuilt.
            releases: Vec<Release>,
        },
        /// Who read the object, for as many whole days as fit.
        ReadLog = 13 {
            /// The node's signed statement.
            log: ReadLog,
        },
    }
}

record! {
    /// The message before the raw bytes of a slice: the siblings that lead from it to the shard's root.
    pub struct SliceHead {
        /// Bytes that follow.
        pub length: u32,
        /// Chaining values of the siblings, from the slice's level upward.
        pub path: Vec<Hash>,
    }
}

choice! {
    /// Whose fault a refusal is: this says whether another attempt can help.
    #[derive(Copy)]
    pub enum Fault {
        /// The refusing node's: try another node, or try later.
        Ours = 1,
        /// The asking peer's: the node will refuse the same request again.
        Yours = 2,
        /// No party's: the state of things, which may change.
        Transient = 3,
    }
}

choice! {
    /// Why a node refuses a request.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub enum RefusalCode {
        /// The node does not understand the message.
        Malformed = 1,
        /// The request is for another ledger.
        WrongChain = 2,
        /// The grant does not allow it.
        NotAllowed = 3,
        /// The grant's holder is another peer.
        NotYourGrant = 4,
        /// The grant has ended or not begun.
        OutOfTime = 5,
        /// The grant was revoked or its order refunded.
        Revoked = 6,
        /// The grant's quota on this node is used up.
        QuotaUsed = 7,
        /// There is no such shard, vault or order here.
        NotFound = 8,
        /// The disk is full, or the offered room is taken.
        Full = 9,
        /// The price is below the node's.
        PriceTooLow = 10,
        /// Too many requests at once.
        Busy = 11,
        /// The owner's account cannot pay for the storage it requests.
        CannotPay = 12,
        /// The shard's bytes are damaged on this node's disk.
        Damaged = 13,
        /// The node cannot reach its ledger, or its view is older than the grant accepts.
        Stale = 14,
        /// The node failed.
        Internal = 15,
        /// The node has the same deal and shard index with other terms.
        Conflict = 16,
        /// The order is not paid, or not one for which the node may release.
        NotPaid = 17,
        /// The shard's deal is open, or may still be opened: the node does not delete the shard.
        Bound = 18,
        /// No claim of the peer that allows it runs, as far as the node knows.
        NoClaim = 19,
        /// The grant's voucher is not redeemed, as far as the node knows.
        NotRedeemed = 20,
        /// The grant's voucher was redeemed by another peer.
        RedeemedElsewhere = 21,
    }
}

record! {
    /// A refusal.
    pub struct Refusal {
        /// The reason.
        pub code: RefusalCode,
        /// Whose fault it is.
        pub fault: Fault,
        /// The reason in words, for a person.
        pub message: String,
    }
}

impl From<Grant> for Authority {
    fn from(grant: Grant) -> Self {
        Self::Grant { grant }
    }
}

impl RefusalCode {
    /// Whose fault a refusal of this kind is.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::Damaged | Self::Internal | Self::Stale => Fault::Ours,
            Self::Bound
            | Self::Busy
            | Self::Full
            | Self::NoClaim
            | Self::NotFound
            | Self::NotPaid
            | Self::NotRedeemed => Fault::Transient,
            _ => Fault::Yours,
        }
    }
}

impl Refusal {
    /// A refusal with its usual fault.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, fault: code.fault(), message: message.into() }
    }
}
