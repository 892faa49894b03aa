//! An ordered batch of transactions and its results.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;
use thiserror::Error;

use crate::{
    amount::Amount,
    choice,
    codec::Encode,
    id::{AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, OrderId},
    ledger::{
        Params,
        commit::{Commit, Validators, ValidatorsError},
        execute::Executed,
        last::LastCommit,
        params::ParamsError,
        rows::{HoldKey, MotionState},
        signing,
        transaction::Transaction,
    },
    record,
    time::LedgerTime,
};

record! {
    /// The values that an engine adds to a block's transactions, because the rules cannot compute them.
    #[derive(Copy)]
    pub struct BlockInputs {
        /// The block's time, in milliseconds since the Unix epoch; never before its parent's.
        pub time_ms: LedgerTime,
        /// The place, in the set that commits the block, of the validator that proposes it.
        pub proposer: u16,
        /// The proposer's layer of the block's tick; absent if the tick has a value already.
        pub reveal: Option<Reveal>,
        /// How the parent was committed; absent for block 1, and where the parent has a single validator.
        pub last: Option<LastCommit>,
    }
}

record! {
    /// The layer of a tick, with all that shows that it is the one.
    #[derive(Copy)]
    pub struct Reveal {
        /// The layer.
        pub layer: Hash,
        /// The change to the next onion; absent unless the tick is the first one of an onion that has a block.
        pub change: Option<OnionChange>,
    }
}

record! {
    /// The end of one onion, and the one after the next.
    #[derive(Copy)]
    pub struct OnionChange {
        /// The innermost layer of the onion that has ended: that of its last tick.
        pub last: Hash,
        /// The outermost value of the onion after the one that begins.
        pub next: Hash,
    }
}

record! {
    /// The first state of a ledger.
    pub struct Genesis {
        /// Parameters.
        pub params: Params,
        /// The validators that commit its first blocks.
        pub validators: Validators,
        /// The time it begins, in milliseconds since the Unix epoch.
        pub time_ms: LedgerTime,
        /// The onions that the validators begin with, in the order of their set.
        pub onions: Vec<OnionStart>,
    }
}

record! {
    /// What a validator commits to before it reveals anything.
    #[derive(Copy)]
    pub struct OnionStart {
        /// The outermost value of its onion.
        pub outermost: Hash,
        /// The outermost value of the next one.
        pub next: Hash,
    }
}

record! {
    /// The summary of a block, whose digest names the block.
    pub struct Header {
        /// The ledger.
        pub chain: ChainId,
        /// Its number; the genesis is block 0.
        pub height: u64,
        /// Digest of the header before it; zeros for block 0.
        pub parent: Hash,
        /// The facts that the engine added.
        pub facts: BlockInputs,
        /// Hash over the transactions.
        pub transactions_root: Hash,
        /// Hash over the events.
        pub events_root: Hash,
        /// Root over all rows after the block.
        pub state_root: Hash,
        /// Hash of the validators that commit this block.
        pub validators: Hash,
        /// Hash of the validators that commit the next one.
        pub next_validators: Hash,
    }
}

record! {
    /// A header and the commit that makes it final. The commit is no part of the block's name.
    pub struct SignedHeader {
        /// The header.
        pub header: Header,
        /// The commit.
        pub commit: Commit,
    }
}

choice! {
    /// A place that has money.
    #[derive(Copy)]
    pub enum Place {
        /// Outside: the source of faucet money.
        Outside = 0,
        /// An account.
        Account = 1 {
            /// The account.
            account: AccountId,
        },
        /// A hold.
        Hold = 2 {
            /// The hold.
            hold: HoldKey,
        },
        /// The pool for epochs that are still to be proven.
        Storage = 3,
        /// The repair pool.
        Repair = 4,
        /// The treasury.
        Treasury = 5,
        /// The deposits.
        Deposits = 6,
        /// The collateral of all nodes, with the pay that is withheld.
        Collateral = 7,
        /// The stake of all validators.
        Stake = 8,
        /// Stake that was taken back, and is still bound.
        Unbonding = 9,
        /// The fees that validators share at the next epoch.
        Rewards = 10,
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
            /// The epoch.
            epoch: u64,
        },
        /// A node missed an epoch.
        Missed = 5 {
            /// Which node.
            node: NodeId,
            /// The epoch.
            epoch: u64,
        },
        /// A sale was paid, settled or refunded.
        Sale = 6 {
            /// Under which order.
            order: OrderId,
        },
        /// A fee.
        Fee = 7,
        /// A deposit for a row that stays was paid or given back.
        Deposit = 8,
        /// A caretaker has rebuilt shards that their new nodes have proven.
        Repaired = 9 {
            /// Of which deal.
            deal: DealId,
        },
        /// Collateral was staked, given back or forfeited.
        Collateral = 10 {
            /// Of which node.
            node: NodeId,
        },
        /// A listing's bond was placed, given back or forfeited.
        Bond = 11 {
            /// Of which listing.
            listing: ListingId,
        },
        /// The bond of a complaint was placed, given back or forfeited.
        Complaint = 12 {
            /// About which order.
            order: OrderId,
        },
        /// Stake was placed, taken back or paid out.
        Stake = 16 {
            /// On which validator.
            validator: AccountId,
        },
        /// A validator missed its turn to propose a block.
        MissedTurn = 17 {
            /// Which validator.
            validator: AccountId,
        },
        /// A validator signed two things that exclude each other.
        Equivocation = 18 {
            /// Which validator.
            validator: AccountId,
        },
        /// A validator's part of the fees.
        Reward = 19 {
            /// Which validator.
            validator: AccountId,
        },
        /// The deposit of a motion was placed, given back or forfeited, or the treasury paid what it says.
        Motion = 20 {
            /// Which motion.
            motion: u64,
        },
        /// A custodian kept silent about an order, and its buyer got nothing.
        Silent = 15 {
            /// Which custodian.
            node: NodeId,
            /// Which order.
            order: OrderId,
        },
    }
}

choice! {
    /// One thing that happened in a block, for followers. Every movement of money is one.
    pub enum Event {
        /// Money moved.
        Moved = 1 {
            /// The place it left.
            from: Place,
            /// The place it reached.
            to: Place,
            /// The amount.
            amount: Amount,
            /// The reason.
            reason: Reason,
        },
        /// An epoch began.
        EpochBegan = 2 {
            /// Its number.
            epoch: u64,
        },
        /// A deal ended: its owner has the reserve back.
        DealEnded = 3 {
            /// The deal.
            deal: DealId,
        },
        /// A listing's preview cells are picked.
        PreviewPicked = 4 {
            /// The listing.
            listing: ListingId,
        },
        /// An order was paid; its custodians may release.
        OrderPaid = 5 {
            /// The order.
            order: OrderId,
        },
        /// The ledger has enough releases of an order.
        OrderDelivered = 6 {
            /// The order.
            order: OrderId,
        },
        /// The seller was paid.
        OrderSettled = 7 {
            /// The order.
            order: OrderId,
        },
        /// The buyer has the money back; the order's grant is void.
        OrderRefunded = 8 {
            /// The order.
            order: OrderId,
        },
        /// A grant link was revoked.
        Revoked = 9 {
            /// The link.
            link: LinkId,
            /// The account that revoked it.
            by: AccountId,
        },
        /// A shard joined its node's table, as the last row.
        ShardJoined = 10 {
            /// The node.
            node: NodeId,
            /// The shard's deal.
            deal: DealId,
        },
        /// A shard left its node's table. The node may delete it, unless it waits to join once more.
        ShardLeft = 11 {
            /// The node.
            node: NodeId,
            /// The shard's deal.
            deal: DealId,
        },
        /// A node's window opened: its table stays as it is, and the challenges are known.
        WindowOpened = 12 {
            /// The node.
            node: NodeId,
            /// The epoch that it proves.
            epoch: u64,
        },
        /// A deal's term grew.
        DealExtended = 13 {
            /// The deal.
            deal: DealId,
            /// The first epoch that is not paid now.
            end: u64,
        },
        /// A shard has no node that keeps it.
        ShardLost = 14 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// The node that kept it.
            node: NodeId,
        },
        /// Another node keeps a shard, or the same one on other terms.
        ShardPlaced = 15 {
            /// The deal.
            deal: DealId,
            /// The shard's index.
            index: u8,
            /// The node that keeps it.
            node: NodeId,
        },
        /// A node missed so many epochs in a row that it loses all its shards.
        NodeDied = 16 {
            /// The node.
            node: NodeId,
        },
        /// A caretaker has claimed the repair of a deal's lost shards.
        RepairClaimed = 18 {
            /// The deal.
            deal: DealId,
            /// The caretaker.
            node: NodeId,
        },
        /// A shard that waited joins its node's table no more. The node may delete it, unless it is still in the table.
        ShardSpared = 17 {
            /// The node.
            node: NodeId,
            /// The shard's deal.
            deal: DealId,
        },
        /// A node is a node no longer.
        NodeRetired = 19 {
            /// The node.
            node: NodeId,
        },
        /// A complaint about a listing was upheld: it takes no more orders, and those that are open are refunded.
        ListingFrozen = 24 {
            /// The listing.
            listing: ListingId,
        },
        /// A complaint was dismissed.
        ComplaintDismissed = 25 {
            /// The order that it was about.
            order: OrderId,
        },
        /// A buyer asks nodes for a cell: they are to put it on the ledger.
        CellAsked = 26 {
            /// The order.
            order: OrderId,
            /// The deal whose nodes keep it.
            deal: DealId,
        },
        /// A validator missed so many turns that it is in the set no longer.
        ValidatorJailed = 27 {
            /// The validator.
            validator: AccountId,
        },
        /// A validator signed two things that exclude each other, and is one no longer.
        ValidatorBarred = 28 {
            /// The validator.
            validator: AccountId,
        },
        /// A motion was made: it is voted on now.
        MotionMade = 29 {
            /// Its number.
            motion: u64,
        },
        /// A motion is voted on no longer, or has taken effect, or cannot.
        MotionDecided = 30 {
            /// Its number.
            motion: u64,
            /// How it stands now.
            state: MotionState,
        },
    }
}

record! {
    /// A block, as engines keep it and followers read it.
    pub struct Block {
        /// Its header.
        pub header: SignedHeader,
        /// The commit of its parent, of which its facts say what counts; absent where they do not.
        pub last: Option<Commit>,
        /// Its transactions, all of them applied.
        pub transactions: Vec<Transaction>,
        /// The events, in order. The header covers them.
        pub events: Vec<Event>,
    }
}

/// A genesis that no ledger can begin with.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenesisError {
    /// A parameter is out of its range.
    #[error("{0}")]
    Params(#[from] ParamsError),
    /// Its validators are no valid set.
    #[error("{0}")]
    Validators(#[from] ValidatorsError),
    /// Not each validator has an onion.
    #[error("{onions} onions for {validators} validators")]
    Onions {
        /// How many onions there are.
        onions: usize,
        /// How many validators.
        validators: usize,
    },
}

impl Genesis {
    /// Whether a ledger can begin with it.
    pub fn check(&self) -> Result<(), GenesisError> {
        self.params.check()?;
        self.validators.check()?;
        let (onions, validators) = (self.onions.len(), self.validators.members.len());
        if onions == validators { Ok(()) } else { Err(GenesisError::Onions { onions, validators }) }
    }

    /// The ledger's identity: every signature made for it is bound to this hash.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        ChainId(signing::hash("symbolon 2026 genesis v1", &self.to_bytes()).0)
    }

    /// The facts of block 0.
    #[must_use]
    pub fn facts(&self) -> BlockInputs {
        BlockInputs { time_ms: self.time_ms, proposer: 0, reveal: None, last: None }
    }

    /// The header of block 0, with what `execute::genesis` gives for this genesis.
    #[must_use]
    pub fn header(&self, executed: &Executed) -> Header {
        let validators = self.validators.hash();
        Header {
            chain: self.chain(),
            height: 0,
            parent: Hash([0; 32]),
            facts: self.facts(),
            transactions_root: transactions_root(&[]),
            events_root: events_root(&executed.events),
            state_root: executed.state_root,
            validators,
            next_validators: validators,
        }
    }
}

impl Header {
    /// The header of the block after this one, with what the rules give for it.
    #[must_use]
    pub fn next(
        &self,
        facts: BlockInputs,
        transactions: &[Transaction],
        executed: &Executed,
    ) -> Self {
        Self {
            chain: self.chain,
            height: self.height + 1,
            parent: self.digest(),
            facts,
            transactions_root: transactions_root(transactions),
            events_root: events_root(&executed.events),
            state_root: executed.state_root,
            validators: self.next_validators,
            next_validators: executed.next_validators.hash(),
        }
    }

    /// The digest that names the block.
    #[must_use]
    pub fn digest(&self) -> Hash {
        signing::hash("symbolon 2026 header v2", &self.to_bytes())
    }
}

impl SignedHeader {
    /// The header with the commit of a validator that orders alone.
    #[must_use]
    pub fn build(header: Header, key: &SigningKey) -> Self {
        Self { commit: Commit::alone(&header, key), header }
    }
}

/// Hash over a block's transactions, signatures included, in their order.
#[must_use]
pub fn transactions_root(transactions: &[Transaction]) -> Hash {
    list_root(
        "symbolon 2026 block transaction v1",
        "symbolon 2026 block transactions v1",
        transactions,
    )
}

/// Hash over a block's events, in their order.
#[must_use]
pub fn events_root(events: &[Event]) -> Hash {
    list_root("symbolon 2026 block event v1", "symbolon 2026 block events v1", events)
}

fn list_root<T: Encode>(one: &'static str, all: &'static str, list: &[T]) -> Hash {
    let mut bytes = Vec::with_capacity(list.len() * Hash::BYTES);
    for item in list {
        bytes.extend_from_slice(signing::hash(one, &item.to_bytes()).as_bytes());
    }
    signing::hash(all, &bytes)
}
