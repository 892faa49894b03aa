//! An ordered batch of transactions and what came of it.

use alloc::vec::Vec;

use crate::{
    amount::Amount,
    choice,
    id::{AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, OrderId},
    ledger::{Params, rows::HoldKey, transaction::Transaction},
    record,
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
        /// Its number, from 1.
        pub height: u64,
        /// Digest of the header before it; zero for the first.
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
        Account = 1 { account: AccountId },
        /// A hold.
        Hold = 2 { hold: HoldKey },
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
        /// A hold was placed, released or voided.
        Hold = 3,
        /// Storage was paid for, refunded or its reserve returned.
        Deal = 4 { deal: DealId },
        /// A node proved an epoch.
        Proven = 5 { node: NodeId, epoch: u64 },
        /// A node missed an epoch.
        Missed = 6 { node: NodeId, epoch: u64 },
        /// A sale was paid, settled or refunded.
        Sale = 7 { order: OrderId },
        /// A fee.
        Fee = 8,
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
