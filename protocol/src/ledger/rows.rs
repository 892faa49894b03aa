//! The tables of the ledger: one for each kind of thing. Each row is typed, each key ordered.
//!
//! Money lives in exactly three places: [`Account::balance`], [`Hold::amount`] and [`Pools`].

use alloc::{string::String, vec::Vec};

use crate::{
    amount::Amount,
    choice,
    codec::{Decode, Encode, Reader},
    content::Manifest,
    custody::{Capsule, DeliveryKey, PostedRelease, VaultKey},
    describe::TableDescription,
    grant::Link,
    id::{
        AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, ObjectId, Opening, OrderId,
        PeerId, TransactionId, VaultId,
    },
    ledger::{Params, beacon::Beacon, block::OnionStart, commit::Validators},
    limits::LEAF_BYTES,
    proof, record,
    time::{LedgerTime, Millis},
};

/// A kind of row: its tag in every key, its key and its value.
pub trait Table {
    /// The first byte of every key of the table.
    const TAG: u8;
    /// The key of a row.
    type Key: RowKey;
    /// The value of a row.
    type Row: Encode + Decode + Clone;

    /// The whole key of a row.
    fn key(key: &Self::Key) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(Self::TAG);
        key.append(&mut out);
        out
    }

    /// The key from its whole bytes; `None` if they are not a key of this table.
    fn parse(bytes: &[u8]) -> Option<Self::Key> {
        let mut rest = bytes.strip_prefix(&[Self::TAG])?;
        let key = Self::Key::read(&mut rest)?;
        rest.is_empty().then_some(key)
    }
}

/// A key whose bytes sort as the key does: big-endian numbers, fixed sizes.
pub trait RowKey: Sized {
    /// Appends the key's bytes.
    fn append(&self, out: &mut Vec<u8>);

    /// Takes a key off the front of `bytes`.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn read_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

impl RowKey for () {
    fn append(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl RowKey for u8 {
    fn append(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        read_array(bytes).map(|[byte]| byte)
    }
}

impl RowKey for u32 {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        read_array(bytes).map(Self::from_be_bytes)
    }
}

impl RowKey for u64 {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        read_array(bytes).map(Self::from_be_bytes)
    }
}

impl RowKey for LedgerTime {
    fn append(&self, out: &mut Vec<u8>) {
        self.0.append(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(Self)
    }
}

impl RowKey for Millis {
    fn append(&self, out: &mut Vec<u8>) {
        self.0.append(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(Self)
    }
}

impl<A: RowKey, B: RowKey> RowKey for (A, B) {
    fn append(&self, out: &mut Vec<u8>) {
        self.0.append(out);
        self.1.append(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

macro_rules! id_keys {
    ($($id:ty),*) => {$(
        impl RowKey for $id {
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                read_array(bytes).map(Self)
            }
        }
    )*};
}

id_keys!(
    AccountId,
    PeerId,
    DealId,
    Hash,
    ListingId,
    ObjectId,
    OrderId,
    VaultId,
    LinkId,
    TransactionId
);

macro_rules! tables {
    ($($(#[$meta:meta])* $name:ident = $tag:literal, $key:ty => $row:ty;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Table for $name {
            const TAG: u8 = $tag;
            type Key = $key;
            type Row = $row;
        }
    )*
        /// All tables, by tag.
        pub const TABLES: &[TableDescription] = &[$(TableDescription {
            name: stringify!($name),
            tag: $tag,
            key: stringify!($key),
            row: stringify!($row),
            notes: &[$(stringify!($meta)),*],
        }),*];
    };
}

tables! {
    /// The ledger itself: one row.
    Chains = 1, () => Chain;
    /// Money that no one account holds: one row.
    PoolsTable = 2, () => Pools;
    /// Accounts.
    Accounts = 3, AccountId => Account;
    /// Transactions already applied, until their last valid height.
    SeenTable = 4, (AccountId, TransactionId) => Seen;
    /// Which seen transactions end at a height: `(height, (sender, id))`.
    SeenUntil = 5, (u64, (AccountId, TransactionId)) => Nothing;
    /// Reserved money.
    Holds = 6, HoldKey => Hold;
    /// Storage nodes.
    Nodes = 7, NodeId => Node;
    /// The shards that a node must prove in its window: `(node, position)`, dense.
    Slots = 8, (NodeId, u32) => Slot;
    /// Shards that wait to join their node's table: `(node, (first epoch, deal))`.
    Joins = 9, (NodeId, (u64, DealId)) => Join;
    /// Deals.
    Deals = 10, DealId => Deal;
    /// Deals by the epoch in which their reserve goes back or their rows leave the state: `(epoch, deal)`.
    DealsDue = 11, (u64, DealId) => Nothing;
    /// Deals by owner: `(owner, deal)`.
    DealsOf = 12, (AccountId, DealId) => Nothing;
    /// Vaults.
    Vaults = 13, VaultId => Vault;
    /// Listings.
    Listings = 14, ListingId => Listing;
    /// Listings that wait for the value that picks their preview: `(its tick, listing)`.
    AwaitBeacon = 15, (u64, ListingId) => Nothing;
    /// Orders.
    Orders = 16, OrderId => Order;
    /// Orders by due time: `(time in ms, order)`.
    OrdersDue = 17, (LedgerTime, OrderId) => Nothing;
    /// Revoked grant links: `(link, revoking account)`; it counts if that key stands above the link.
    Revocations = 18, (LinkId, AccountId) => Revocation;
    /// Orders by buyer or seller, and by listing: `(account, (listing, order))`.
    OrdersOf = 19, (AccountId, (ListingId, OrderId)) => Nothing;
    /// Sealed root records of names indexes, one per account.
    Roots = 20, AccountId => Root;
    /// Nodes that wait for a window: `(counted time in ms, node)`.
    Windows = 21, (Millis, NodeId) => Nothing;
    /// Shards in a node's table: `(node, (first epoch without it, deal))`.
    Leaves = 22, (NodeId, (u64, DealId)) => Leave;
    /// Listings by seller, and by what they sell: `(account, (object, listing))`.
    ListingsOf = 23, (AccountId, (ObjectId, ListingId)) => Nothing;
    /// What is over, by the time at which it leaves the state: `(time in ms, what)`.
    KeptUntil = 24, (LedgerTime, Kept) => Nothing;
    /// Open deals with a lost shard, by how many more of their shards they could lose: `(spare shards, deal)`.
    Degraded = 25, (u8, DealId) => Nothing;
    /// Deals whose lost shards caretakers may rebuild.
    Cares = 26, DealId => Care;
    /// What caretakers do for a deal, and are still to be paid.
    Repairs = 27, DealId => Repair;
    /// What is sold of an object, by its seller: `(account, object)`. While a sale binds it, its deals do not end.
    Sales = 28, (AccountId, ObjectId) => Sold;
    /// Mandates of listings: a seller cannot take one back while a sale binds it.
    Mandates = 29, LinkId => ListingId;
    /// The draws of previews, by content root. They stay, so a file that is listed again shows the same cells.
    Draws = 30, Hash => Draw;
    /// Cells that nodes have put on the ledger for an order: `(order, shard)`.
    Answers = 31, (OrderId, u8) => Answer;
    /// Redeemed vouchers of grants, by the one-time account of the voucher.
    Redemptions = 32, AccountId => Redemption;
    /// Validators, by the key that they sign with: those in the set, and all that were or want to be.
    ValidatorsTable = 33, AccountId => ValidatorRow;
    /// Validators that may be in the set, strongest first: `(2^64 - 1 less their power, validator)`.
    Ranks = 34, (u64, AccountId) => Nothing;
    /// Stake of others than the operator: `(validator, account)`.
    Delegations = 35, (AccountId, AccountId) => Delegation;
    /// Stake that was taken back, by the time at which it is paid out: `(time in ms, (validator, account))`.
    Unbondings = 36, (LedgerTime, (AccountId, AccountId)) => Unbonding;
    /// Sets of validators that were followed by another one, by the last height that they committed.
    PastSets = 37, u64 => PastSet;
    /// What the members of the set have done since the epoch began: one row. It is there while the set has several.
    DutiesTable = 38, () => Duties;
    /// Motions, by number.
    Motions = 39, u64 => Motion;
    /// Motions that are voted on or wait to take effect, by the epoch in which that ends: `(epoch, number)`.
    MotionsDue = 40, (u64, u64) => Nothing;
    /// What a motion has of a validator: `(number, validator)`.
    Voices = 41, (u64, AccountId) => Voice;
    /// Ballots: `(number, (validator, account))`.
    Ballots = 42, (u64, (AccountId, AccountId)) => Ballot;
}

record! {
    /// A row that is only a key.
    #[derive(Copy)]
    pub struct Nothing {}
}

record! {
    /// The ledger's own row.
    pub struct Chain {
        /// The version of the rules that is in force: the first field in every version, so that software of any version finds
        /// it.
        pub rules: u32,
        /// Its identity.
        pub id: ChainId,
        /// Its parameters.
        pub params: Params,
        /// The validators that commit the next block.
        pub validators: Validators,
        /// Time of the genesis block, in milliseconds since the Unix epoch: epoch 0 begins here.
        pub genesis_ms: LedgerTime,
        /// Time of the last block.
        pub time_ms: LedgerTime,
        /// Height of the last block.
        pub height: u64,
        /// The current epoch: how many whole epochs have counted.
        pub epoch: u64,
        /// How much of the time since the genesis counts: all of it but the gaps in which the ledger stood still.
        pub counted_ms: Millis,
        /// How many blocks in a row have ended such a gap.
        pub late_blocks: u8,
        /// Time of the block before the last gap that was long enough to keep custodians from a delivery.
        pub gap_from_ms: LedgerTime,
        /// Time of the block after that gap.
        pub gap_until_ms: LedgerTime,
        /// What it knows of its onions.
        pub beacon: Beacon,
        /// The power that the set had when the epoch began.
        pub epoch_power: u64,
        /// The first height that the set commits.
        pub set_from: u64,
        /// The version that follows, and from when on.
        pub next_rules: Option<NextRules>,
        /// How many motions there were: the number of the last one.
        pub motions: u64,
    }
}

impl Chain {
    /// The version of the rules that a chain row of any version says is in force.
    #[must_use]
    pub fn rules_of(row: &[u8]) -> Option<u32> {
        row.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// When the current epoch began. If the ledger has stood still since then, it is later by that time. So the epoch
    /// ends its whole length after this.
    #[must_use]
    pub fn epoch_started(&self) -> LedgerTime {
        let begin = self.params.epoch_ms.saturating_mul(self.epoch);
        self.time_ms.saturating_sub(self.counted_ms.saturating_sub(begin))
    }
}

record! {
    /// A version of the rules that is to be in force from a height on, if all validators know it then.
    #[derive(Copy)]
    pub struct NextRules {
        /// The version.
        pub version: u32,
        /// The first height.
        pub height: u64,
        /// The motion that says so.
        pub motion: u64,
    }
}

record! {
    /// Money that no one account holds.
    #[derive(Copy)]
    pub struct Pools {
        /// Money of owners for epochs that are still to be proven.
        pub storage: Amount,
        /// The pay for missed epochs. It is for repair, never for a party that could have caused the miss.
        pub repair: Amount,
        /// Fees.
        pub treasury: Amount,
        /// Deposits for rows that stay. Each goes back to who paid it when its row leaves.
        pub deposits: Amount,
        /// What nodes have staked, and pay of theirs that is withheld: the sum of both over all nodes.
        pub collateral: Amount,
        /// The stake of validators: the sum over all of them.
        pub stake: Amount,
        /// Stake that was taken back and is still bound: the sum over all validators.
        pub unbonding: Amount,
        /// The fees that validators share at the next epoch.
        pub rewards: Amount,
        /// All money ever issued: the sum of all places.
        pub issued: Amount,
    }
}

impl Pools {
    /// All of them, without what was issued.
    pub(super) fn places(&self) -> [Amount; 8] {
        let Self {
            storage, repair, treasury, deposits, collateral, stake, unbonding, rewards, ..
        } = *self;
        [storage, repair, treasury, deposits, collateral, stake, unbonding, rewards]
    }
}

record! {
    /// An account.
    #[derive(Copy)]
    pub struct Account {
        /// The amount it can spend.
        pub balance: Amount,
        /// What it has among the deposits: it gets back what was paid for a row that leaves.
        pub deposits: Amount,
        /// Height of its last faucet request.
        pub faucet_height: u64,
    }
}

record! {
    /// A transaction that the ledger has applied. A refused one leaves no trace.
    #[derive(Copy)]
    pub struct Seen {
        /// Hash of the signed content.
        pub digest: Hash,
        /// Height of the block that applied it.
        pub height: u64,
    }
}

choice! {
    /// The purpose of reserved money; also the hold's key.
    #[derive(Copy)]
    pub enum HoldKey {
        /// The repair reserve of a deal.
        Deal = 1 {
            /// The deal.
            deal: DealId,
        },
        /// The escrow of an order.
        Order = 2 {
            /// The order.
            order: OrderId,
        },
        /// The fees of a deal's caretakers.
        Repair = 3 {
            /// The deal.
            deal: DealId,
        },
        /// The bond of a listing.
        Listing = 4 {
            /// The listing.
            listing: ListingId,
        },
        /// The bond of a complaint that waits for cells.
        Complaint = 5 {
            /// The order.
            order: OrderId,
        },
        /// The deposit of a motion that is voted on.
        Motion = 6 {
            /// Its number.
            motion: u64,
        },
    }
}

choice! {
    /// What is over and stays in the state for a while.
    #[derive(Copy)]
    pub enum Kept {
        /// An order that is settled or refunded.
        Order = 1 {
            /// The order.
            order: OrderId,
        },
        /// A listing that has ended and has no order left.
        Listing = 2 {
            /// The listing.
            listing: ListingId,
        },
        /// The revocation of a link that has an end.
        Revocation = 3 {
            /// The link.
            link: LinkId,
            /// The account that revoked it.
            by: AccountId,
        },
        /// A redeemed voucher.
        Redemption = 4 {
            /// The one-time account of the voucher.
            once: AccountId,
        },
        /// A motion that was rejected, has taken effect, or cannot.
        Motion = 5 {
            /// Its number.
            motion: u64,
        },
        /// The ballots of a motion that is voted on no longer.
        Ballots = 6 {
            /// The number of the motion.
            motion: u64,
        },
    }
}

/// Keys of several kinds: their tags sort them.
macro_rules! choice_keys {
    ($($key:ty),*) => {$(
        impl RowKey for $key {
            fn append(&self, out: &mut Vec<u8>) {
                self.encode(out);
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let mut input = Reader::new(bytes);
                let key = Self::decode(&mut input).ok()?;
                *bytes = &bytes[bytes.len() - input.remaining()..];
                Some(key)
            }
        }
    )*};
}

choice_keys!(HoldKey, Kept);

record! {
    /// Reserved money: placed by one account, later released to others or given back.
    #[derive(Copy)]
    pub struct Hold {
        /// Who placed it.
        pub payer: AccountId,
        /// How much.
        pub amount: Amount,
        /// The part of it that nodes have forfeited. It pays for other nodes for lost shards, and never goes to the payer.
        pub forfeited: Amount,
    }
}

choice! {
    /// Whether a validator is in the set, or why not.
    #[derive(Copy)]
    pub enum ValidatorState {
        /// It waits for a place in the set.
        Waiting = 1,
        /// It is in the set.
        Member = 2,
        /// It is in the set until the next epoch, and has left.
        Leaving = 3,
        /// It has left, or others were stronger. It waits again once its operator brings new onions.
        Out = 4,
        /// It missed too many turns.
        Jailed = 5 {
            /// The first time at which its operator may bring it back.
            until_ms: LedgerTime,
        },
        /// It signed two things that exclude each other, and is out for ever.
        Barred = 6,
    }
}

record! {
    /// A validator.
    pub struct ValidatorRow {
        /// The account that commands it, and gets its commission.
        pub operator: AccountId,
        /// The peer that speaks for it.
        pub peer: PeerId,
        /// The peer's addresses: socket addresses or relay URLs.
        pub addresses: Vec<String>,
        /// The operator's part of its rewards, in hundredths of a percent.
        pub commission_bp: u16,
        /// The epoch in which the commission was last raised.
        pub raised_epoch: u64,
        /// The commission before that epoch.
        pub raised_from_bp: u16,
        /// Its stake.
        pub stake: Amount,
        /// The shares of its stake, of all who own a part.
        pub shares: u128,
        /// The operator's shares among them.
        pub own_shares: u128,
        /// What was taken back from its stake and is still bound.
        pub unbonding: Amount,
        /// The shares of that.
        pub unbonding_shares: u128,
        /// Power that the genesis gave it. It is no money, and is lost when it leaves.
        pub weight: u64,
        /// Whether it is in the set.
        pub state: ValidatorState,
        /// The first epoch in which it may be in the set.
        pub ready_epoch: u64,
        /// The onions with which it begins when it enters the set.
        pub onion: OnionStart,
        /// The number that it has given the first of them.
        pub own: u64,
        /// The height at which it joined.
        pub joined: u64,
        /// The turns that it has had, up to the present epoch.
        pub turns: u64,
        /// The turns that it has missed, up to the present epoch.
        pub missed: u64,
        /// The blocks that were made while it was in the set, up to the present epoch.
        pub blocks: u64,
        /// How many of them it has signed.
        pub signed: u64,
        /// The newest version of the rules that its software knows, as it says.
        pub rules: u32,
    }
}

record! {
    /// A part of a validator's stake.
    #[derive(Copy)]
    pub struct Delegation {
        /// Its shares.
        pub shares: u128,
    }
}

record! {
    /// A part of what was taken back from a validator's stake.
    #[derive(Copy)]
    pub struct Unbonding {
        /// Its shares.
        pub shares: u128,
    }
}

choice! {
    /// What a motion would change.
    pub enum Measure {
        /// Parameters.
        Params = 1 {
            /// Which, and their new values: ascending by number.
            changes: Vec<ParamChange>,
        },
        /// The treasury pays.
        Pay = 2 {
            /// Whom.
            to: AccountId,
            /// How much.
            amount: Amount,
        },
        /// Another version of the rules.
        Rules = 3 {
            /// Which.
            version: u32,
            /// The first height at which it is in force.
            height: u64,
        },
    }
}

record! {
    /// The new value of a parameter.
    #[derive(Copy)]
    pub struct ParamChange {
        /// The parameter's place among the fields of `Params`, from 0.
        pub param: u8,
        /// The value.
        pub value: u128,
    }
}

choice! {
    /// What a ballot says to a motion.
    #[derive(Copy)]
    pub enum Choice {
        /// For it.
        Yes = 1,
        /// Against it.
        No = 2,
        /// Neither: it only counts as a vote.
        Abstain = 3,
        /// Against it, and its deposit is not to come back.
        Veto = 4,
    }
}

choice! {
    /// Why a motion that was passed did not take effect.
    #[derive(Copy)]
    pub enum Failure {
        /// A parameter would be out of its range, or may not change like this any more.
        Params = 1,
        /// The treasury has less than it was to pay.
        Treasury = 2,
        /// The height from which the rules were to change had passed.
        Height = 3,
        /// A validator of the set does not say that its software knows the version.
        NotReady = 4,
        /// That version or a later one is in force, or another motion has a version that waits for its height.
        OtherRules = 5,
    }
}

choice! {
    /// How a motion stands.
    #[derive(Copy)]
    pub enum MotionState {
        /// It is voted on.
        Open = 1,
        /// It was passed, and waits until it takes effect.
        Passed = 2,
        /// It was passed, and its version of the rules waits for its height.
        Pending = 3,
        /// It has taken effect.
        Done = 4,
        /// Too few were for it.
        Rejected = 5,
        /// Too few have voted.
        NoQuorum = 6,
        /// Too many have said that it should never have been made.
        Vetoed = 7,
        /// It was passed, and could not take effect.
        Failed = 8 {
            /// Why.
            why: Failure,
        },
    }
}

record! {
    /// What was voted, in the smallest unit of money; a founding validator's weight counts as the stake that gives as much
    /// power.
    #[derive(Copy, Default)]
    pub struct Tally {
        /// For it.
        pub yes: u128,
        /// Against it.
        pub no: u128,
        /// Neither.
        pub abstain: u128,
        /// Against it, with a veto.
        pub veto: u128,
        /// All that might have voted.
        pub all: u128,
    }
}

record! {
    /// Something that validators, and those who stake on them, vote on.
    pub struct Motion {
        /// The account that made it.
        pub proposer: AccountId,
        /// What it would change.
        pub measure: Measure,
        /// Why, in its proposer's words.
        pub text: String,
        /// What was bound for it.
        pub deposit: Amount,
        /// The height at which it was made.
        pub height: u64,
        /// The epoch with which the vote ends.
        pub closes: u64,
        /// The epoch with which it takes effect, if it is passed.
        pub effective: u64,
        /// The quorum that it needs, as when it was made, in hundredths of a percent.
        pub quorum_bp: u16,
        /// The majority that it needs, likewise.
        pub majority_bp: u16,
        /// The veto that stops it, likewise.
        pub veto_bp: u16,
        /// How it stands.
        pub state: MotionState,
        /// What was voted, once the vote has ended.
        pub tally: Option<Tally>,
    }
}

record! {
    /// What a motion has of a validator: the choice of its operator, and the shares of those who voted on their own.
    #[derive(Copy, Default)]
    pub struct Voice {
        /// For the weight, the operator's stake, and the stake of all who did not vote.
        pub operator: Option<Choice>,
        /// Shares for the motion.
        pub yes: u128,
        /// Shares against it.
        pub no: u128,
        /// Shares that abstain.
        pub abstain: u128,
        /// Shares against it, with a veto.
        pub veto: u128,
    }
}

record! {
    /// What one account said to a motion, for its stake on one validator.
    #[derive(Copy)]
    pub struct Ballot {
        /// What it said.
        pub choice: Choice,
        /// Its shares that count; none of an operator, who speaks for the rest.
        pub shares: u128,
    }
}

record! {
    /// A set of validators that was followed by another one.
    pub struct PastSet {
        /// The set.
        pub validators: Validators,
        /// The first height that it committed.
        pub from: u64,
        /// The time of the last block that it committed.
        pub until_ms: LedgerTime,
    }
}

record! {
    /// What a member of the set has done since the epoch began, or since it entered the set.
    #[derive(Copy, Default)]
    pub struct Duty {
        /// Blocks that others can know the commit of.
        pub blocks: u32,
        /// How many of them it has signed.
        pub signed: u32,
        /// Its turns to propose.
        pub turns: u32,
        /// How many of them it has missed.
        pub missed: u32,
        /// How many of them in a row, up to now, and from before the epoch on.
        pub missed_in_row: u32,
    }
}

record! {
    /// What the members of the set have done.
    pub struct Duties {
        /// The place of the proposer of the last block, in the set that committed it.
        pub proposer: u16,
        /// One for each member of the set that commits the next block, in its order.
        pub members: Vec<Duty>,
    }
}

record! {
    /// A storage node.
    pub struct Node {
        /// The account that gets the node's pay.
        pub payout: AccountId,
        /// Who runs it, as it says itself. Nodes of one operator count as one where shards are spread.
        pub operator: Option<AccountId>,
        /// The node's addresses: socket addresses or relay URLs.
        pub addresses: Vec<String>,
        /// X25519 key that vault shares are sealed to; absent if the node keeps no custody.
        pub custody_key: Option<[u8; 32]>,
        /// Whether the node repairs what its owners name it for.
        pub caretaker: bool,
        /// Asking price per GiB and epoch.
        pub price: Amount,
        /// The first epoch for which it does not agree to keep what it has at this price.
        pub agrees_until: u64,
        /// Bytes the node offers.
        pub capacity: u64,
        /// Whether it takes no new shards, because it wants to leave.
        pub leaving: bool,
        /// What its account paid for the capacity that it offers.
        pub deposit: Amount,
        /// What was staked on it.
        pub collateral: Amount,
        /// Pay that is withheld until it has the collateral that it needs.
        pub withheld: Amount,
        /// Bytes bound by deals: their shards are in the table, or join it.
        pub used: u64,
        /// The pay of these per epoch.
        pub bound_rate: Amount,
        /// Rows in the node's slot table.
        pub slots: u32,
        /// How many shards in the table have up to 1 KiB, how many of the others up to 2 KiB, and so on. The last
        /// count is not zero.
        pub lengths: Vec<u32>,
        /// Bytes in the slot table.
        pub slot_bytes: u64,
        /// Hash chain over every change of the slot table.
        pub table: Hash,
        /// The pay of the whole table per proven epoch.
        pub rate: Amount,
        /// The open window; absent while the table changes, and while it has no slot.
        pub window: Option<Window>,
        /// The epoch of the window that the node waits for; absent if it waits for none.
        pub next_epoch: Option<u64>,
        /// The counted time of the turn that it waits for.
        pub turn_ms: Option<Millis>,
        /// The last epoch the node has proven.
        pub passed_epoch: Option<u64>,
        /// Epochs proven.
        pub passed: u64,
        /// Epochs missed.
        pub missed: u64,
        /// Epochs missed in a row.
        pub missed_in_row: u32,
        /// Which of its last 30 windows it missed: bit 0 is the last one.
        pub misses: u32,
        /// Epochs proven without faults: halved by a third miss within 30 windows and by each later one, and 0 after its
        /// death. The next two numbers follow the same rule.
        pub clean: u64,
        /// The pay of these.
        pub record: Amount,
        /// The bytes of these: for each epoch, those in the table.
        pub proven: u64,
        /// The first epoch in which it is given new shards again.
        pub paused_until: u64,
        /// Whether it has missed so many that it loses all its shards. It is given no new ones until it has lost the
        /// last one and registers again.
        pub dead: bool,
    }
}

impl Node {
    /// Bytes that it offers and that no deal binds. [`Self::takes`] says how many of them it may take.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// The first epoch for which it does not agree to keep a shard at this price, by its registration: 0 if it asks for
    /// more, or leaves.
    #[must_use]
    pub fn agrees(&self, price: Amount) -> u64 {
        match self.price <= price && !self.leaving {
            true => self.agrees_until,
            false => 0,
        }
    }

    /// Whether it is given new shards in this epoch: it is not dead, does not leave, and has not missed too often.
    #[must_use]
    pub fn is_open(&self, epoch: u64) -> bool {
        !self.dead && !self.leaving && self.paused_until <= epoch
    }

    /// A length that no shard in the table exceeds, and that is less than twice the longest one: what challenge picks
    /// are weighted by. 0 for an empty table.
    #[must_use]
    pub fn longest(&self) -> u64 {
        let class = self.lengths.len().checked_sub(1);
        class.map_or(0, |class| (LEAF_BYTES as u64) << class)
    }

    /// The seed of the node's challenges in a window.
    #[must_use]
    pub fn challenge_seed(&self, chain: &ChainId, id: &NodeId, window: &Window) -> Hash {
        proof::challenge_seed(chain, window.epoch, &window.beacon, id, &self.table)
    }

    /// What the node earns with the proof of its open window; nothing once it has proven that, or without one.
    #[must_use]
    pub fn due(&self) -> Amount {
        let open = self.window.filter(|window| self.passed_epoch != Some(window.epoch));
        open.map_or(Amount::ZERO, |_| self.rate)
    }

    /// Counts a shard of this length that joins the table.
    pub(super) fn count(&mut self, length: u64) {
        let class = length_class(length);
        if self.lengths.len() <= class {
            self.lengths.resize(class + 1, 0);
        }
        self.lengths[class] += 1;
    }

    /// Counts a shard of this length that leaves the table.
    pub(super) fn uncount(&mut self, length: u64) {
        let counted = self.lengths.get_mut(length_class(length)).expect("joined before");
        *counted = counted.checked_sub(1).expect("joined before");
        while self.lengths.last() == Some(&0) {
            self.lengths.pop();
        }
    }
}

/// The least number of doublings of a leaf that reach this length.
fn length_class(length: u64) -> usize {
    proof::leaf_count(length).next_power_of_two().trailing_zeros() as usize
}

record! {
    /// The time in which a node proves an epoch: from the block that opened it until its next turn.
    #[derive(Copy)]
    pub struct Window {
        /// The epoch.
        pub epoch: u64,
        /// The value that picks the leaves.
        pub beacon: Hash,
    }
}

record! {
    /// A shard that a node must prove.
    #[derive(Copy)]
    pub struct Slot {
        /// The deal.
        pub deal: DealId,
        /// The shard's index in its segment.
        pub index: u8,
        /// The shard's BLAKE3 root.
        pub root: Hash,
        /// The shard's bytes.
        pub length: u64,
        /// Its pay per proven epoch.
        pub rate: Amount,
        /// The first epoch that it is not paid for: its row of `Leaves` stands there.
        pub leaves: u64,
    }
}

record! {
    /// A shard that waits to join its node's table.
    #[derive(Copy)]
    pub struct Join {
        /// The shard's index in its segment.
        pub index: u8,
    }
}

record! {
    /// A shard that leaves its node's table: at the end of its deal, or before, when its node keeps it no longer.
    #[derive(Copy)]
    pub struct Leave {
        /// Its position in the table now.
        pub position: u32,
    }
}

choice! {
    /// Who may read a deal's shards.
    #[derive(Copy)]
    pub enum Access {
        /// Holders of a grant of the owner.
        Granted = 1,
        /// Anyone.
        Public = 2,
    }
}

choice! {
    /// The state of a deal.
    #[derive(Copy)]
    pub enum DealState {
        /// Neither completed nor cancelled. It waits until its first epoch begins, and runs until its last one ends.
        Open = 1,
        /// Over after all its epochs.
        Completed = 2,
        /// Ended early by its owner.
        Cancelled = 3,
    }
}

record! {
    /// One shard of a deal.
    #[derive(Copy)]
    pub struct DealSlot {
        /// The node that keeps it, or that was the last to keep it.
        pub node: NodeId,
        /// Its BLAKE3 root, fixed for life.
        pub root: Hash,
        /// Price per GiB and epoch.
        pub price: Amount,
        /// The first epoch that this node is paid for.
        pub from: u64,
        /// The first epoch for which the node has not agreed to this price with its acceptance. An extension goes beyond
        /// only if the node agrees to it now, by its row.
        pub until: u64,
        /// The first epoch in which no node keeps it; absent while the node does.
        pub lost: Option<u64>,
    }
}

record! {
    /// A storage agreement for one segment. `shards[i]` is shard `i`; a shard that no node has ever kept is absent.
    pub struct Deal {
        /// The account that pays.
        pub owner: AccountId,
        /// The stored file version it belongs to.
        pub object: ObjectId,
        /// Which segment of it, from 0.
        pub segment: u32,
        /// Shards that suffice to give the segment back.
        pub required: u8,
        /// Bytes of each shard.
        pub length: u64,
        /// Who may read.
        pub access: Access,
        /// First epoch that is proven and paid.
        pub start: u64,
        /// First epoch that is not proven and paid.
        pub end: u64,
        /// The price of all kept shards together per epoch.
        pub rate: Amount,
        /// The shards, by index.
        pub shards: Vec<Option<DealSlot>>,
        /// Its state.
        pub state: DealState,
    }
}

impl DealSlot {
    /// Whether its node keeps it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.lost.is_none()
    }
}

impl Deal {
    /// The shards that a node has ever kept, with their indexes.
    fn placed(&self) -> impl Iterator<Item = (u8, &DealSlot)> + Clone {
        let shards = (0..).zip(&self.shards);
        shards.filter_map(|(index, shard)| Some((index, shard.as_ref()?)))
    }

    /// The shards that nodes keep, with their indexes.
    pub fn kept(&self) -> impl Iterator<Item = (u8, &DealSlot)> + Clone {
        self.placed().filter(|(_, shard)| shard.is_kept())
    }

    /// The shard that this node keeps, with its index.
    #[must_use]
    pub fn kept_by(&self, node: &NodeId) -> Option<(u8, &DealSlot)> {
        self.kept().find(|(_, shard)| shard.node == *node)
    }

    /// The shards that their nodes have lost, with their indexes.
    pub fn lost(&self) -> impl Iterator<Item = (u8, &DealSlot)> + Clone {
        self.placed().filter(|(_, shard)| !shard.is_kept())
    }

    /// How many more shards it could lose.
    #[must_use]
    pub fn spare(&self) -> u8 {
        let kept = u8::try_from(self.kept().count()).expect("a deal has at most 128 shards");
        kept.saturating_sub(self.required)
    }

    /// The epoch with which its shards leave the table of a node that waits for its window of `next`: the shards of a
    /// deal that its owner has ended leave with the next turn.
    #[must_use]
    pub fn leaves_with(&self, next: u64) -> u64 {
        if self.state == DealState::Cancelled { next } else { self.end }
    }
}

record! {
    /// How a deal's lost shards are rebuilt while its owner is away.
    pub struct Care {
        /// The vault that the keys of the shards' masks are sealed to.
        pub vault: VaultId,
        /// The opening of the deal: acceptances of its shards name it.
        pub opening: Opening,
        /// The nodes that may claim a repair.
        pub caretakers: Vec<NodeId>,
        /// A repair may be claimed while the deal could lose at most so many more shards.
        pub spare: u8,
        /// What a caretaker is paid for a rebuilt shard.
        pub fee: Amount,
        /// The most that the new node of a rebuilt shard may ask per GiB and epoch.
        pub price_max: Amount,
        /// `care key XOR index key` of each shard, by index.
        pub pads: Vec<[u8; 32]>,
    }
}

record! {
    /// A caretaker's claim of a repair. Its fees are in the hold of the deal's repairs while it runs.
    pub struct Claim {
        /// The caretaker.
        pub claimant: NodeId,
        /// The one-time key that custodians release to.
        pub delivery: DeliveryKey,
        /// The kept shards that it reads, by index.
        pub read: Vec<u8>,
        /// The lost shards that it is still to place, by index. A claim without one has ended, and says who is not to
        /// claim next.
        pub rebuild: Vec<u8>,
        /// The first epoch in which it does not run any more.
        pub until: u64,
        /// The fee for each shard.
        pub fee: Amount,
    }
}

record! {
    /// A rebuilt shard whose caretaker is paid once the shard's new node has proven it.
    #[derive(Copy)]
    pub struct Reward {
        /// The shard's index.
        pub index: u8,
        /// The caretaker.
        pub caretaker: NodeId,
        /// The new node.
        pub node: NodeId,
        /// The first epoch that this node is paid for.
        pub from: u64,
        /// The fee.
        pub fee: Amount,
    }
}

record! {
    /// What caretakers do for a deal, and are still to be paid.
    pub struct Repair {
        /// The last claim; absent if all of it was placed.
        pub claim: Option<Claim>,
        /// The rebuilt shards that are still to be proven.
        pub rewards: Vec<Reward>,
    }
}

impl Care {
    /// Whether this node may be asked to repair.
    #[must_use]
    pub fn names(&self, node: &NodeId) -> bool {
        self.caretakers.contains(node)
    }
}

impl Claim {
    /// Whether it runs in this epoch.
    #[must_use]
    pub fn runs(&self, epoch: u64) -> bool {
        epoch < self.until && !self.rebuild.is_empty()
    }

    /// The shards whose keys its claimant gets.
    pub fn opened(&self) -> impl Iterator<Item = u8> + Clone {
        self.read.iter().chain(&self.rebuild).copied()
    }
}

impl Reward {
    /// Whether the shard is still where the caretaker had it placed.
    #[must_use]
    pub fn stands(&self, deal: &Deal) -> bool {
        let shard = deal.shards.get(usize::from(self.index)).and_then(Option::as_ref);
        shard.is_some_and(|shard| {
            shard.is_kept() && shard.node == self.node && shard.from == self.from
        })
    }
}

impl Repair {
    /// The claim that runs in this epoch.
    #[must_use]
    pub fn running(&self, epoch: u64) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| claim.runs(epoch))
    }
}

record! {
    /// A seller's secret, shared among custodians.
    pub struct Vault {
        /// The owner of the secret.
        pub owner: AccountId,
        /// Its public side. As many releases open a capsule as it has commitments.
        pub key: VaultKey,
        /// The custodians; the first has share index 1.
        pub custodians: Vec<NodeId>,
        /// Which dealing of the secret this is, from 1: each rotation is another one.
        pub dealing: u64,
        /// The time of this dealing.
        pub since_ms: LedgerTime,
        /// How many of the custodians were the owner's own nodes then.
        pub own: u8,
    }
}

record! {
    /// Public content on the network: everything to fetch and open it, and the hash it must have.
    pub struct PublicRef {
        /// Its manifest.
        pub manifest: Manifest,
        /// Its file key: public, since the content is.
        pub key: [u8; 32],
        /// BLAKE3 hash of the bytes.
        pub hash: Hash,
    }
}

choice! {
    /// Whether a listing takes orders.
    #[derive(Copy)]
    pub enum ListingState {
        /// Takes orders.
        Open = 1,
        /// Takes no more orders; earlier orders go on.
        Ended = 2,
        /// A complaint was upheld: it takes no more orders, and those that are open are refunded.
        Frozen = 3,
    }
}

record! {
    /// A share of a listing's income.
    #[derive(Copy)]
    pub struct Split {
        /// The account that gets it.
        pub account: AccountId,
        /// In hundredths of a percent of the rest after fees. The seller gets what remains.
        pub share_bp: u16,
    }
}

record! {
    /// The terms of a listing, signed as part of the listing action and kept whole.
    pub struct Terms {
        /// Its title.
        pub title: String,
        /// Price of one access.
        pub price: Amount,
        /// What the seller loses if a complaint about what is listed is upheld.
        pub bond: Amount,
        /// Hash of the licence text the buyer accepts.
        pub licence: Hash,
        /// How long a grant lives, in milliseconds from the order.
        pub access_ms: Millis,
        /// How long a buyer has to check a delivery, in milliseconds.
        pub window_ms: Millis,
        /// The further accounts that are paid.
        pub splits: Vec<Split>,
        /// The number of preview cells, which a beacon picks.
        pub preview_cells: u8,
        /// The description: a JSON document on the network.
        pub document: PublicRef,
        /// The manifest of the file for sale.
        pub manifest: Manifest,
        /// Number of cells under the content root.
        pub cells: u64,
        /// The leaf list: what is listed of every cell and every mask, on the network.
        pub leaves: PublicRef,
        /// Root over the masks of the file.
        pub masks_root: Hash,
        /// The vault that guards the key.
        pub vault: VaultId,
        /// Whether the seller says that custodians of the vault are the seller's own nodes.
        pub own_custodians: bool,
        /// The key, encrypted to the vault.
        pub capsule: Capsule,
        /// `file key XOR listing key`.
        pub pad: [u8; 32],
        /// The seller's permission for every buyer: link 0 of their grants.
        pub mandate: Link,
    }
}

record! {
    /// How far the deals of a listing's file were shown to the ledger, segment by segment.
    #[derive(Copy)]
    pub struct Cover {
        /// The first epoch in which a deal of the file may be over, as of the last time that all were shown; absent before.
        pub until: Option<u64>,
        /// The segments that were shown since.
        pub shown: u32,
        /// The first epoch in which one of these may be over.
        pub shown_until: u64,
    }
}

record! {
    /// What binds the deals and the mandates of an object that its owner sells.
    #[derive(Copy)]
    pub struct Sold {
        /// Its listings that take orders.
        pub listings: u32,
        /// Its orders that bind their money.
        pub orders: u64,
        /// When the last access ends that was paid for.
        pub until_ms: LedgerTime,
    }
}

record! {
    /// The draw of the preview of a content root.
    #[derive(Copy)]
    pub struct Draw {
        /// The seed that picks the cells.
        pub seed: Hash,
    }
}

record! {
    /// A cell that a node has put on the ledger.
    pub struct Answer {
        /// Its bytes, as the node keeps them.
        pub kept: Vec<u8>,
    }
}

record! {
    /// A listing.
    pub struct Listing {
        /// The account that sells.
        pub seller: AccountId,
        /// The listed terms.
        pub terms: Terms,
        /// Whether it takes orders.
        pub state: ListingState,
        /// The time of its listing.
        pub listed_ms: LedgerTime,
        /// The seed that picks the preview, once its beacon is known.
        pub preview_seed: Option<Hash>,
        /// The opened preview cells, once the seller has posted them.
        pub preview: Option<PublicRef>,
        /// How far its deals are shown to keep the file.
        pub cover: Cover,
        /// Orders that were settled.
        pub sold: u64,
        /// Its orders in the state, open and closed.
        pub orders: u64,
        /// Its orders that still bind their money.
        pub open: u64,
    }
}

choice! {
    /// The state of an order.
    #[derive(Copy)]
    pub enum OrderState {
        /// Paid into escrow; custodians may release.
        Paid = 1,
        /// The ledger has enough releases; the buyer's window runs.
        Delivered = 2,
        /// The seller is paid.
        Settled = 3,
        /// The buyer has the money back.
        Refunded = 4,
        /// Nodes are to put a cell on the ledger that the buyer did not get.
        Asked = 5,
    }
}

choice! {
    /// Why a buyer has the money back.
    #[derive(Copy)]
    pub enum Refund {
        /// Too few custodians released their parts in time.
        NotDelivered = 1,
        /// The releases open another key than the listed one.
        BadKey = 2,
        /// A listed cell does not open to what was listed.
        BadCell = 3,
        /// Nodes keep another cell than the listed one.
        OtherCell = 4,
        /// Too few nodes gave a cell, even to the ledger.
        Unavailable = 5,
        /// Another buyer's complaint about the listing was upheld.
        Frozen = 6,
    }
}

record! {
    /// A cell that nodes are to put on the ledger.
    pub struct Asked {
        /// The cell's number, counted over the whole file.
        pub cell: u64,
        /// The hash that the sealed cell must have.
        pub sealed: Hash,
        /// The deal of its segment.
        pub deal: DealId,
        /// The keys of the masks of its segment, by index.
        pub keys: Vec<[u8; 32]>,
        /// The shards that were answered for, in the order of their answers.
        pub answered: Vec<u8>,
        /// When the window of the order ends if the cell is given.
        pub window_until_ms: LedgerTime,
    }
}

record! {
    /// A purchase.
    pub struct Order {
        /// The listing.
        pub listing: ListingId,
        /// The account that pays.
        pub buyer: AccountId,
        /// The peer key that the grant is bound to.
        pub holder: PeerId,
        /// The one-time key the custodians release to.
        pub delivery: DeliveryKey,
        /// The amount in escrow.
        pub amount: Amount,
        /// The fee on the sale, as when it was ordered, in hundredths of a percent of the amount.
        pub sale_fee_bp: u16,
        /// The part of the custodians, likewise.
        pub custody_fee_bp: u16,
        /// Its state.
        pub state: OrderState,
        /// The time of the order.
        pub ordered_ms: LedgerTime,
        /// The time at which the grant ends.
        pub access_until_ms: LedgerTime,
        /// Deadline of the current state: of delivery if paid, of the window if delivered, of the answers if a cell is asked for.
        pub due_ms: LedgerTime,
        /// Which dealing of the vault's secret the custodians' indexes are of.
        pub dealing: u64,
        /// Releases on the ledger, all of one dealing.
        pub releases: Vec<PostedRelease>,
        /// The cell that nodes are asked for.
        pub asked: Option<Asked>,
        /// How often nodes were asked for a cell and gave it.
        pub given: u8,
        /// Why the buyer has the money back, if that is so.
        pub refund: Option<Refund>,
    }
}

record! {
    /// A revoked grant link.
    #[derive(Copy)]
    pub struct Revocation {
        /// Height of the block.
        pub height: u64,
        /// When the revoked link ends by itself, in milliseconds since the Unix epoch; absent if it never does.
        pub until_ms: Option<LedgerTime>,
    }
}

record! {
    /// A redeemed voucher: links below the one-time account's count only to this peer.
    #[derive(Copy)]
    pub struct Redemption {
        /// The peer that it was redeemed for.
        pub holder: PeerId,
        /// When the voucher ends, in milliseconds since the Unix epoch.
        pub until_ms: LedgerTime,
    }
}

record! {
    /// An account's sealed root record. It leads to the account's names, and only the account can read it.
    pub struct Root {
        /// How often the account has set it.
        pub version: u64,
        /// The sealed record.
        pub blob: Vec<u8>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_there_and_back() {
        let id = TransactionId([7; 16]);
        let hold = HoldKey::Order { order: OrderId([1; 16]) };
        assert_eq!(Holds::parse(&Holds::key(&hold)), Some(hold));
        let seen = (9, (AccountId([3; 32]), id));
        assert_eq!(SeenUntil::parse(&SeenUntil::key(&seen)), Some(seen));
        let slot = (PeerId([4; 32]), 258);
        assert_eq!(Slots::parse(&Slots::key(&slot)), Some(slot));
        assert_eq!(Chains::parse(&Chains::key(&())), Some(()));

        let mut long = Slots::key(&slot);
        long.push(0);
        assert_eq!(Slots::parse(&long), None);
        assert_eq!(Slots::parse(&long[..30]), None);
        assert_eq!(Slots::parse(&Nodes::key(&slot.0)), None);
    }

    #[test]
    fn keys_sort_as_numbers_do() {
        let deal = DealId([0xff; 16]);
        assert!(DealsDue::key(&(255, deal)) < DealsDue::key(&(256, DealId([0; 16]))));
        let (due, order) = (LedgerTime(258), OrderId([9; 16]));
        assert_eq!(OrdersDue::key(&(due, order))[1..9], 258_u64.to_be_bytes());
        assert_eq!(OrdersDue::parse(&OrdersDue::key(&(due, order))), Some((due, order)));
    }
}
