//! An ordered batch of transactions and what came of it.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use crate::{
    amount::Amount,
    choice,
    codec::Encode,
    id::{AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, OrderId},
    ledger::{Params, rows::HoldKey, signing, transaction::Transaction},
    record,
    signature::{self, SignatureError},
};

record! {
    /// What an engine adds to a block's transactions: everything the rules cannot know by themselves.
    #[derive(Copy)]
    pub struct Facts {
        /// The block's time, in milliseconds since the Unix epoch; never before its parent's.
        pub time_ms: u64,
        /// Preimage of the chain's `onion` value: what the beacon is fed with.
        pub reveal: Hash,
        /// Outermost value of a fresh onion, when `reveal` was the innermost of the old one.
        pub onion_next: Option<Hash>,
    }
}

record! {
    /// The first state of a ledger.
    pub struct Genesis {
        /// Parameters.
        pub params: Params,
        /// Whose signature stands under blocks and sale grants.
        pub authority: AccountId,
        /// When it begins, in milliseconds since the Unix epoch.
        pub time_ms: u64,
        /// Outermost value of the first onion.
        pub onion: Hash,
    }
}

record! {
    /// What a block is referred to by.
    pub struct Header {
        /// The ledger.
        pub chain: ChainId,
        /// Its number; the genesis is block 0.
        pub height: u64,
        /// Digest of the header before it; zeros for block 0.
        pub parent: Hash,
        /// What the engine added.
        pub facts: Facts,
        /// Hash over the transactions.
        pub transactions_root: Hash,
        /// Root over all rows after the block.
        pub state_root: Hash,
        /// Hash over the keys that may sign blocks.
        pub validators: Hash,
    }
}

record! {
    /// A header and the authority's signature over its digest.
    pub struct SignedHeader {
        /// The header.
        pub header: Header,
        /// The signature.
        pub signature: [u8; 64],
    }
}

choice! {
    /// A place where money is.
    #[derive(Copy)]
    pub enum Place {
        /// Outside: where deposits and faucet money come from.
        Outside = 0,
        /// An account.
        Account = 1 {
            /// Whose.
            account: AccountId,
        },
        /// A hold.
        Hold = 2 {
            /// Which.
            hold: HoldKey,
        },
        /// The pool for epochs still to be proven.
        Storage = 3,
        /// The repair pool.
        Repair = 4,
        /// The treasury.
        Treasury = 5,
    }
}

choice! {
    /// Why money moved.
    #[derive(Copy)]
    pub enum Reason {
        /// Faucet request.
        Faucet = 1,
        /// Transfer.
        Transfer = 2,
        /// Storage was paid for, refunded or its reserve returned.
        Deal = 3 {
            /// Which deal.
            deal: DealId,
        },
        /// A node proved an epoch.
        Proven = 4 {
            /// Which node.
            node: NodeId,
            /// Which epoch.
            epoch: u64,
        },
        /// A node missed an epoch.
        Missed = 5 {
            /// Which node.
            node: NodeId,
            /// Which epoch.
            epoch: u64,
        },
        /// A sale was paid, settled or refunded.
        Sale = 6 {
            /// Under which order.
            order: OrderId,
        },
        /// A fee.
        Fee = 7,
    }
}

choice! {
    /// What happened in a block, for those who follow it. Every movement of money is one.
    pub enum Event {
        /// Money moved.
        Moved = 1 {
            /// From where.
            from: Place,
            /// To where.
            to: Place,
            /// How much.
            amount: Amount,
            /// Why.
            reason: Reason,
        },
        /// An epoch began: its challenges are known.
        EpochBegan = 2 {
            /// Its number.
            epoch: u64,
        },
        /// A deal ended; its nodes may delete the shards.
        DealEnded = 3 {
            /// Which.
            deal: DealId,
        },
        /// A listing's preview cells are picked.
        PreviewPicked = 4 {
            /// Which listing.
            listing: ListingId,
        },
        /// An order was paid; its custodians may release.
        OrderPaid = 5 {
            /// Which.
            order: OrderId,
        },
        /// Enough releases stand on the ledger.
        OrderDelivered = 6 {
            /// Which.
            order: OrderId,
        },
        /// The seller was paid.
        OrderSettled = 7 {
            /// Which.
            order: OrderId,
        },
        /// The buyer has the money back; the order's grant is dead.
        OrderRefunded = 8 {
            /// Which.
            order: OrderId,
        },
        /// A grant link was revoked.
        Revoked = 9 {
            /// Which link.
            link: LinkId,
            /// By whom.
            by: AccountId,
        },
    }
}

record! {
    /// A block as it is kept and followed.
    pub struct Block {
        /// Its header.
        pub header: SignedHeader,
        /// Its transactions, all of them applied.
        pub transactions: Vec<Transaction>,
        /// What happened. Derived from the rest; anyone can check it by applying the rules.
        pub events: Vec<Event>,
    }
}

impl Genesis {
    /// The ledger's identity: every signature made for it is bound to this hash.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        ChainId(signing::hash("symbolon 2026 genesis v1", &self.to_bytes()).0)
    }
}

impl Header {
    /// What the block is referred to by, and what is signed.
    #[must_use]
    pub fn digest(&self) -> Hash {
        signing::hash("symbolon 2026 header v1", &self.to_bytes())
    }
}

impl SignedHeader {
    /// Signs a header.
    #[must_use]
    pub fn build(header: Header, key: &SigningKey) -> Self {
        let signature = signature::sign(key, &header.digest());
        Self { header, signature }
    }

    /// Checks the authority's signature.
    pub fn verify(&self, authority: &AccountId) -> Result<(), SignatureError> {
        signature::verify(&authority.0, &self.header.digest(), &self.signature)
    }
}

/// Hash over a block's transactions, signatures included, in their order.
#[must_use]
pub fn transactions_root<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Hash {
    let mut bytes = Vec::new();
    for transaction in transactions {
        let leaf = signing::hash("symbolon 2026 block transaction v1", &transaction.to_bytes());
        bytes.extend_from_slice(leaf.as_bytes());
    }
    signing::hash("symbolon 2026 block transactions v1", &bytes)
}

/// Hash over the keys that may sign blocks, in ascending order.
#[must_use]
pub fn validators_hash(keys: &[AccountId]) -> Hash {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    signing::hash("symbolon 2026 validators v1", &sorted.to_bytes())
}
