//! What a storage node is asked and answers. One request per QUIC stream; each message is framed by
//! its length as `u32`.

use alloc::{string::String, vec::Vec};

use crate::{
    amount::Amount,
    choice,
    custody::{CustodyAcceptance, Release, VaultKey},
    deletion::DeletionReceipt,
    grant::Grant,
    id::{AccountId, ChainId, DealId, Hash, NodeId, OrderId, VaultId},
    ledger::transaction::{Acceptance, DealTerms},
    record,
};

choice! {
    /// The first message on a stream to a node.
    pub enum Request {
        /// What are your terms? Answered by [`Response::Info`].
        Info = 1,
        /// Keep this shard. Answered by [`Response::Accepted`] when the node already has it, else by
        /// [`Response::Ready`]; then `length` bytes follow on the stream, and [`Response::Accepted`]
        /// once they are synced to disk.
        Store = 2 {
            /// The terms, signed back in the acceptance.
            terms: DealTerms,
            /// Which shard.
            index: u8,
            /// The price the owner expects; the node refuses when it asks more.
            price: Amount,
            /// A grant of the owner to this peer with the store ability for the object.
            grant: Grant,
        },
        /// Send slices of a shard. Answered by [`Response::Slices`], then `count` slices, each a
        /// [`SliceHead`] message and that many raw bytes.
        Read = 3 {
            /// Which deal.
            deal: DealId,
            /// Which shard.
            index: u8,
            /// First slice, from 0.
            first: u32,
            /// How many.
            count: u32,
            /// A grant bound to this peer; absent for public content.
            grant: Option<Grant>,
        },
        /// Send one cell of a shard: a read of 64 KiB or less. Answered by [`Response::Slices`] with
        /// one [`SliceHead`] and the cell's bytes.
        ReadCell = 4 {
            /// Which deal.
            deal: DealId,
            /// Which shard.
            index: u8,
            /// Which cell of the shard, from 0.
            cell: u32,
            /// A grant bound to this peer; absent for public content.
            grant: Option<Grant>,
        },
        /// Do you still hold this shard? Answered by [`Response::Held`].
        Check = 5 {
            /// Which deal.
            deal: DealId,
            /// Which shard.
            index: u8,
            /// A grant bound to this peer with the verify ability; absent for public content.
            grant: Option<Grant>,
        },
        /// The deal is over: delete this shard now. Answered by [`Response::Deleted`].
        Delete = 6 {
            /// Which deal.
            deal: DealId,
            /// Which shard.
            index: u8,
            /// A grant bound to this peer with the delete ability; public content needs one too.
            grant: Grant,
        },
        /// Keep this share of a vault's secret. Answered by [`Response::InCustody`].
        KeepShare = 10 {
            /// Chosen by the owner.
            vault: VaultId,
            /// Whose secret.
            owner: AccountId,
            /// The public side.
            key: VaultKey,
            /// Which share, from 1.
            index: u8,
            /// The share, sealed to the node's custody key.
            share: Vec<u8>,
            /// By the owner, over chain, vault, key, index and node: nobody fills a custodian in another's name.
            signature: [u8; 64],
        },
        /// Release your part of a sold key. Answered by [`Response::Released`].
        Release = 11 {
            /// For which order.
            order: OrderId,
        },
    }
}

choice! {
    /// A node's answer.
    pub enum Response {
        /// Not done, and why.
        Refused = 0 {
            /// Why.
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
            /// Bytes it would still take.
            free: u64,
        },
        /// Send the bytes.
        Ready = 2,
        /// The shard is on disk and the node keeps it.
        Accepted = 3 {
            /// The node's word.
            acceptance: Acceptance,
        },
        /// Slices follow.
        Slices = 4 {
            /// How many.
            count: u32,
        },
        /// Whether the shard is there.
        Held = 5 {
            /// Bytes held; absent when there is no such shard.
            length: Option<u64>,
            /// The root they had when they were stored.
            root: Option<Hash>,
        },
        /// The shard is gone from the node's disk.
        Deleted = 6 {
            /// The node's word.
            receipt: DeletionReceipt,
        },
        /// The share is kept.
        InCustody = 10 {
            /// The node's word.
            acceptance: CustodyAcceptance,
        },
        /// The node's part of the key.
        Released = 11 {
            /// The release.
            release: Release,
        },
    }
}

record! {
    /// What precedes the raw bytes of a slice: the siblings that lead from it to the shard's root.
    pub struct SliceHead {
        /// Bytes that follow.
        pub length: u32,
        /// Chaining values of the siblings, from the slice's level upward.
        pub path: Vec<Hash>,
    }
}

choice! {
    /// Whose fault a refusal is.
    #[derive(Copy)]
    pub enum Fault {
        /// The one who refuses: try another node, or later.
        Ours = 1,
        /// The one who asked: the same request will be refused again.
        Yours = 2,
        /// Nobody's: the state of things, which may change.
        Nobodys = 3,
    }
}

choice! {
    /// Why a request is refused.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub enum RefusalCode {
        /// The message is not one this node understands.
        Malformed = 1,
        /// It is for another ledger.
        WrongChain = 2,
        /// The grant does not allow it.
        NotAllowed = 3,
        /// The grant's holder is somebody else.
        NotYourGrant = 4,
        /// The grant has ended or not begun.
        OutOfTime = 5,
        /// The grant was revoked or its order refunded.
        Revoked = 6,
        /// The grant's quota on this node is used up.
        QuotaUsed = 7,
        /// There is no such shard, vault or order here.
        NotFound = 8,
        /// The disk is full, or what was offered is taken.
        Full = 9,
        /// The price is below what the node asks.
        PriceTooLow = 10,
        /// Too many requests at once.
        Busy = 11,
        /// The owner's account cannot pay for what it wants stored.
        CannotPay = 12,
        /// The shard's bytes are damaged on this node's disk.
        Damaged = 13,
        /// The node cannot reach its ledger, or its view is older than the grant accepts.
        Stale = 14,
        /// The node failed.
        Internal = 15,
        /// The same deal and shard index were stored with other terms.
        Conflict = 16,
        /// The order is not one that may be released.
        NotPaid = 17,
        /// The shard's deal is open, or may still be opened: the shard is not deleted.
        Bound = 18,
    }
}

record! {
    /// A refusal.
    pub struct Refusal {
        /// Why.
        pub code: RefusalCode,
        /// Whose fault.
        pub fault: Fault,
        /// In words, for a person.
        pub message: String,
    }
}

impl RefusalCode {
    /// Whose fault a refusal of this kind is.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::Damaged | Self::Internal | Self::Stale => Fault::Ours,
            Self::Bound | Self::Busy | Self::Full | Self::NotFound | Self::NotPaid => {
                Fault::Nobodys
            }
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
