//! From one state to the next: genesis, the beginning of a block, and its transactions.
//!
//! ```text
//! BlockBuilder::new(state, facts)   time, tick, and what is due
//! .push(transaction)              validate, then apply; a refused one leaves no trace
//! .finish()                       rows, events, state root
//! ```

use alloc::{boxed::Box, vec::Vec};

use thiserror::Error;

use crate::{
    amount::Amount,
    codec::Encode,
    id::{AccountId, Hash, NodeId, TransactionId},
    ledger::{
        account,
        admission::Signatures,
        beacon::{self, Beacon},
        block::{BlockInputs, Event, Genesis},
        books::Books,
        closing,
        commit::Validators,
        dispute, epoch, extend,
        fees::{self, Bill},
        field::check_fields,
        kept,
        last::{self, LastError},
        listing, lost, motion, nodes, order, place, proving, redemption, revocation, root,
        rows::{
            AwaitBeacon, Chain, Chains, DealsDue, Nothing, OrdersDue, PastSets, Seen, SeenTable,
            SeenUntil, Table,
        },
        stake,
        state::{MemoryState, State, StateExt, Update},
        status::Status,
        storage,
        transaction::{Action, Transaction},
        tree, vault, window,
    },
    limits::{BLOCK_BYTES_MAX, SHARDS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_EVENT_BYTES_MAX},
    time::{LedgerTime, Millis},
};

/// The result of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The rows it changed, with those of the state tree.
    pub update: Update,
    /// Its events, in order.
    pub events: Vec<Event>,
    /// Root over all rows after it.
    pub state_root: Hash,
    /// The validators that commit the next block.
    pub next_validators: Validators,
}

/// Why no block can be made of these facts, or why a block does not belong to this ledger.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The state has no ledger in it.
    #[error("the state has no genesis")]
    NoGenesis,
    /// Time runs backwards.
    #[error("block time {time_ms} ms is before its parent's {parent_ms} ms")]
    TimeBackwards {
        /// The block's time.
        time_ms: LedgerTime,
        /// Its parent's time.
        parent_ms: LedgerTime,
    },
    /// The proposer is no validator.
    #[error("validator {proposer} proposes the block, and the set has none of that number")]
    NoProposer {
        /// Its place.
        proposer: u16,
    },
    /// What the block reveals is not the layer of its tick.
    #[error(
        "what the block reveals is not what its tick needs, or does not match the ledger's onions"
    )]
    WrongReveal,
    /// What the block says of the commit of its parent cannot be.
    #[error("{0}")]
    WrongLast(#[from] LastError),
    /// The transactions together are too large for one block.
    #[error("transactions of {bytes} bytes do not fit into a block")]
    TooLarge {
        /// Their bytes.
        bytes: usize,
    },
    /// The rules of this block are of a version that this software does not know.
    #[error(
        "the ledger's rules are of version {version} from this block on, and this software knows version {known}"
    )]
    UnknownRules {
        /// The version in force.
        version: u32,
        /// The newest one that the software knows.
        known: u32,
    },
    /// A transaction after the block was full.
    #[error("the block was full before transaction {index}")]
    Full {
        /// Its number, from 0.
        index: usize,
    },
    /// A transaction in a finished block that the rules refuse.
    #[error("transaction {index} of the block is refused: {status}")]
    NotApplied {
        /// Its number, from 0.
        index: usize,
        /// The reason.
        status: Status,
    },
}

/// The result of a transaction that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It goes into this block.
    Applied,
    /// The same transaction was applied before, and does not go into this block.
    Already {
        /// Height of the block it is in; it may be this one.
        height: u64,
    },
}

/// A validated transaction that can be applied to the same state.
#[derive(Debug)]
struct Checked {
    sender: AccountId,
    id: TransactionId,
    valid_until: u64,
    digest: Hash,
    bill: Bill,
    effect: Effect,
}

#[derive(Debug)]
enum Effect {
    Account(account::Effect),
    Prove(proving::Effect),
    Vault(vault::Dealt),
    Listing(listing::Effect),
    Order(order::Effect),
    Dispute(dispute::Effect),
    Revoke(revocation::Revoked),
    Redeem(redemption::Redeemed),
    Root(root::Effect),
    Node(nodes::Effect),
    Storage(storage::Effect),
    Stake(stake::Effect),
    Motion(motion::Effect),
}

impl Effect {
    /// What leaves the sender's balance, besides fee and deposit.
    fn spends<S: State + ?Sized>(&self, books: &Books<'_, S>) -> Amount {
        match self {
            Self::Account(account::Effect::Transfer { amount, .. }) => *amount,
            Self::Node(effect) => effect.spends(),
            Self::Storage(effect) => effect.spends(),
            Self::Order(order::Effect::Order { order, .. }) => order.amount,
            Self::Listing(effect) => effect.spends(),
            Self::Dispute(effect) => effect.spends(books),
            Self::Stake(effect) => effect.spends(),
            Self::Motion(effect) => effect.spends(),
            _ => Amount::ZERO,
        }
    }
}

enum Verdict {
    Fresh(Box<Checked>),
    Already { height: u64 },
}

/// The first state of a ledger.
///
/// # Panics
/// If a parameter is out of its range, or the validators are no valid set: check an unknown genesis with
/// [`Genesis::check`].
#[must_use]
pub fn genesis(genesis: &Genesis) -> Executed {
    assert_eq!(genesis.check(), Ok(()), "a genesis is checked before it is used");
    let id = genesis.chain();
    let chain = Chain {
        id,
        params: genesis.params.clone(),
        validators: genesis.validators.clone(),
        genesis_ms: genesis.time_ms,
        time_ms: genesis.time_ms,
        height: 0,
        epoch: 0,
        counted_ms: Millis::ZERO,
        late_blocks: 0,
        gap_from_ms: genesis.time_ms,
        gap_until_ms: genesis.time_ms,
        beacon: Beacon::new(&genesis.onions),
        epoch_power: genesis.validators.power(),
        set_from: 0,
        rules: motion::FIRST_RULES,
        next_rules: None,
        motions: 0,
    };
    let empty = MemoryState::default();
    let mut books = Books::genesis(&empty, chain);
    for (member, onion) in genesis.validators.members.iter().zip(&genesis.onions) {
        let row = stake::founding(member.key, member.power, *onion);
        stake::put(&mut books, member.key, &row);
    }
    close(&empty, books)
}

/// The tick of a block at this time on top of a state; `None` before the genesis.
pub fn tick_of<S: State + ?Sized>(state: &S, time_ms: LedgerTime) -> Option<u64> {
    let chain = state.get(Chains, &())?;
    let (counted_ms, _) = epoch::counted(&chain, state, time_ms);
    Some(beacon::tick_at(counted_ms, chain.params.epoch_ms))
}

/// When a block without transactions would change something besides time and beacon, in milliseconds since
/// the Unix epoch; `None` before the genesis. A time in the past means now. Rows that leave the state wait for the next
/// block.
pub fn next_due<S: State + ?Sized>(state: &S) -> Option<LedgerTime> {
    let chain = state.get(Chains, &())?;
    let first = |tag| state.scan(&[tag], None, 1).into_iter().next();
    let closing = first(DealsDue::TAG).and_then(|(key, _)| DealsDue::parse(&key));
    if closing.is_some_and(|(epoch, _)| epoch <= chain.epoch) {
        return Some(chain.time_ms);
    }
    let preview = first(AwaitBeacon::TAG).and_then(|(key, _)| AwaitBeacon::parse(&key));
    let preview = preview.map(|(tick, _)| beacon::begin_of(tick, chain.params.epoch_ms));
    let due = epoch::due(&chain, state);
    let due = preview.map_or(due, |preview| preview.min(due));
    let left = due.saturating_sub(chain.counted_ms);
    let order = first(OrdersDue::TAG).and_then(|(key, _)| OrdersDue::parse(&key));
    let due = chain.time_ms.saturating_add(left);
    Some(order.map_or(due, |(order_ms, _)| order_ms.min(due)))
}

/// The newest version of the rules that this software knows.
pub const RULES_VERSION: u32 = 1;

/// Rows after which a block takes no more transactions. Every transaction changes at least two.
const ROWS_FULL: usize = 4096;

/// Shards that the transactions of a block add at most: those of the largest deal. So no block adds more work than a
/// block can do.
const SHARDS_FULL: usize = SHARDS_MAX as usize;

/// Ids that a block forgets at most: as many as its transactions can add.
const FORGOTTEN_MAX: usize = ROWS_FULL / 2;

/// A block that is being made on top of a state.
#[derive(Debug)]
pub struct BlockBuilder<'a, S: State + ?Sized> {
    state: &'a S,
    books: Books<'a, S>,
    bytes: usize,
    /// Rows that changed before the first transaction.
    rows_before: usize,
}

impl<'a, S: State + ?Sized> BlockBuilder<'a, S> {
    /// Begins the next block: sets time and tick, then does everything that is due.
    pub fn new(state: &'a S, facts: &BlockInputs) -> Result<Self, BlockError> {
        Self::knowing(state, facts, RULES_VERSION)
    }

    /// The same for software that knows the rules up to this version.
    pub fn knowing(state: &'a S, facts: &BlockInputs, known: u32) -> Result<Self, BlockError> {
        let mut books = Books::open(state).ok_or(BlockError::NoGenesis)?;
        let chain = &mut books.chain;
        if facts.time_ms < chain.time_ms {
            let (time_ms, parent_ms) = (facts.time_ms, chain.time_ms);
            return Err(BlockError::TimeBackwards { time_ms, parent_ms });
        }
        let parent_ms = chain.time_ms;
        let past = state.get(PastSets, &chain.height).map(|past| past.validators);
        let parents = past.as_ref().unwrap_or(&chain.validators);
        last::check_facts(chain.height, parents, facts.last.as_ref())?;
        chain.height += 1;
        (chain.counted_ms, chain.late_blocks) = epoch::counted(chain, state, facts.time_ms);
        chain.time_ms = facts.time_ms;
        let tick = beacon::tick_at(chain.counted_ms, chain.params.epoch_ms);
        let values = chain.beacon.advance(tick, facts.proposer, facts.reveal.as_ref())?;
        let epoch_before = books.chain.epoch;
        epoch::begin(&mut books);
        let is_new_epoch = epoch_before < books.chain.epoch;
        motion::begin(&mut books, is_new_epoch);
        let version = books.chain.rules;
        if known < version {
            return Err(BlockError::UnknownRules { version, known });
        }
        stake::begin(&mut books, facts, is_new_epoch);
        order::overdue(&mut books, parent_ms);
        listing::pick_previews(&mut books, &values);
        forget_seen(&mut books);
        let slot_changes = window::turn(&mut books, &values);
        closing::close_due(&mut books, slot_changes);
        kept::remove_due(&mut books);
        let rows_before = books.changed();
        Ok(Self { state, books, bytes: 0, rows_before })
    }

    /// The block's height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.books.chain.height
    }

    /// Whether a transaction of this size still fits into the block. Transactions and events have a bound together. So
    /// have the rows that transactions change, and the shards that they add.
    #[must_use]
    pub fn fits(&self, transaction: &Transaction, bytes: usize) -> bool {
        let taken = self.bytes + self.books.event_bytes() + TRANSACTION_EVENT_BYTES_MAX;
        let shards = match &transaction.action {
            Action::OpenDeal { acceptances, .. } | Action::PlaceShards { acceptances, .. } => {
                acceptances.len()
            }
            _ => 0,
        };
        bytes.saturating_add(taken) <= BLOCK_BYTES_MAX
            && self.books.changed() - self.rows_before < ROWS_FULL
            && self.books.shards() + shards <= SHARDS_FULL
    }

    /// The result that a transaction would have, without applying it.
    pub fn check(&self, transaction: &Transaction) -> Result<Pushed, Status> {
        verdict(&self.books, transaction, &Signatures::UNCHECKED)
    }

    /// Validates a transaction and applies it. A refused transaction leaves no trace.
    ///
    /// # Panics
    /// If the transaction does not [fit](Self::fits).
    pub fn push(&mut self, transaction: &Transaction) -> Result<Pushed, Status> {
        self.push_checked(transaction, &Signatures::UNCHECKED)
    }

    /// As [`Self::push`], for a transaction whose signatures were checked before.
    ///
    /// # Panics
    /// If the transaction does not [fit](Self::fits).
    pub fn push_checked(
        &mut self,
        transaction: &Transaction,
        signatures: &Signatures,
    ) -> Result<Pushed, Status> {
        match validate(&self.books, transaction, signatures)? {
            Verdict::Already { height } => Ok(Pushed::Already { height }),
            Verdict::Fresh(checked) => {
                let bytes = transaction.to_bytes().len();
                assert!(
                    self.fits(transaction, bytes),
                    "a full block is finished before more is pushed"
                );
                self.bytes += bytes;
                apply(&mut self.books, *checked);
                Ok(Pushed::Applied)
            }
        }
    }

    /// Ends the block.
    #[must_use]
    pub fn finish(self) -> Executed {
        close(self.state, self.books)
    }
}

/// Applies a finished block's facts and transactions, as a follower, an auditor and a restart do. The rules
/// must apply every transaction of it.
pub fn replay<S: State + ?Sized>(
    state: &S,
    facts: &BlockInputs,
    transactions: &[Transaction],
) -> Result<Executed, BlockError> {
    replay_known(state, (facts, transactions), |_| Signatures::UNCHECKED, RULES_VERSION)
}

/// The same, for a validator that has checked signatures of some of the transactions before: `known` says of which. Its
/// software knows the rules up to `version`.
pub fn replay_known<S: State + ?Sized>(
    state: &S,
    (facts, transactions): (&BlockInputs, &[Transaction]),
    known: impl Fn(&Transaction) -> Signatures,
    version: u32,
) -> Result<Executed, BlockError> {
    let bytes = transactions.iter().map(|transaction| transaction.to_bytes().len()).sum();
    if BLOCK_BYTES_MAX < bytes {
        return Err(BlockError::TooLarge { bytes });
    }
    let mut builder = BlockBuilder::knowing(state, facts, version)?;
    for (index, transaction) in transactions.iter().enumerate() {
        if !builder.fits(transaction, transaction.to_bytes().len()) {
            return Err(BlockError::Full { index });
        }
        match builder.push_checked(transaction, &known(transaction)) {
            Ok(Pushed::Applied) => {}
            Ok(Pushed::Already { .. }) => {
                return Err(BlockError::NotApplied { index, status: Status::IdReused });
            }
            Err(status) => return Err(BlockError::NotApplied { index, status }),
        }
    }
    Ok(builder.finish())
}

fn close<S: State + ?Sized>(state: &S, books: Books<'_, S>) -> Executed {
    let next_validators = books.chain.validators.clone();
    let (mut update, events) = books.close();
    let (state_root, nodes) = tree::update(state, &update.rows);
    update.rows.extend(nodes);
    Executed { update, events, state_root, next_validators }
}

/// The rules forget ids of transactions that they can no longer apply.
fn forget_seen<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let height = books.chain.height;
    let over = |(until, _): &(u64, _)| *until < height;
    for (key, _) in books.due(SeenUntil, &[SeenUntil::TAG], FORGOTTEN_MAX, over) {
        books.remove(SeenUntil, &key);
        books.remove(SeenTable, &key.1);
    }
}

/// The result that a transaction would have, without applying it.
pub(super) fn verdict<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
    signatures: &Signatures,
) -> Result<Pushed, Status> {
    match validate(books, transaction, signatures)? {
        Verdict::Fresh(_) => Ok(Pushed::Applied),
        Verdict::Already { height } => Ok(Pushed::Already { height }),
    }
}

/// Finds every reason to refuse, in the order of [`Status`].
fn validate<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
    signatures: &Signatures,
) -> Result<Verdict, Status> {
    let chain = &books.chain;
    if transaction.chain != chain.id {
        return Err(Status::WrongChain);
    }
    if TRANSACTION_BYTES_MAX < transaction.to_bytes().len() {
        return Err(Status::TooLarge);
    }
    if !signatures.sender(transaction) {
        return Err(Status::BadSignature);
    }
    check_age(books, transaction)?;
    let Transaction { sender, id, valid_until, .. } = *transaction;
    let digest = transaction.digest();
    if let Some(height) = applied_at(books, transaction, &digest)? {
        return Ok(Verdict::Already { height });
    }
    fees::check_covered(books, transaction)?;
    check_fields(books.rows(), chain, &sender, &transaction.action)
        .map_err(|_| Status::BadField)?;
    let bill = fees::bill(books, &sender, &transaction.action);
    let effect = validate_action(books, transaction, &bill, signatures)?;
    if bill.with(effect.spends(books)).is_none_or(|total| books.account(&sender).balance < total) {
        return Err(Status::BalanceTooLow);
    }
    let checked = Checked { sender, id, valid_until, digest, bill, effect };
    Ok(Verdict::Fresh(Box::new(checked)))
}

/// Whether a block may still, and may already, have this transaction.
pub(super) fn check_age<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
) -> Result<(), Status> {
    let Chain { height, ref params, .. } = books.chain;
    match transaction.valid_until.checked_sub(height) {
        None => Err(Status::Expired),
        Some(left) if params.validity_blocks_max < left => Err(Status::TooFarAhead),
        Some(_) => Ok(()),
    }
}

/// The height of the block that applied this transaction, if one did.
pub(super) fn applied_at<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
    digest: &Hash,
) -> Result<Option<u64>, Status> {
    match books.get(SeenTable, &(transaction.sender, transaction.id)) {
        Some(seen) if seen.digest == *digest => Ok(Some(seen.height)),
        Some(_) => Err(Status::IdReused),
        None => Ok(None),
    }
}

fn validate_action<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
    bill: &Bill,
    signatures: &Signatures,
) -> Result<Effect, Status> {
    let sender = transaction.sender;
    let action = &transaction.action;
    match action {
        Action::Faucet => account::check_faucet(books, sender).map(Effect::Account),
        Action::Transfer { to, amount } => {
            let (from, to, amount) = (sender, *to, *amount);
            Ok(Effect::Account(account::Effect::Transfer { from, to, amount }))
        }
        Action::RegisterNode { .. }
        | Action::RetireNode
        | Action::Stake { .. }
        | Action::Unstake { .. } => nodes::check(books, sender, action).map(Effect::Node),
        Action::OpenDeal { terms, acceptances, cost_max } => {
            let accepted = (acceptances.as_slice(), bill.rest_of(*cost_max));
            storage::check_open(books, sender, terms, accepted, signatures).map(Effect::Storage)
        }
        Action::EndDeal { deal } => storage::check_end(books, sender, *deal).map(Effect::Storage),
        Action::ExtendDeals { deals, epochs, cost_max } => {
            let cost_max = bill.rest_of(*cost_max);
            let extended = extend::check(books, sender, deals, *epochs, cost_max)?;
            Ok(Effect::Storage(storage::Effect::Extend(extended)))
        }
        Action::PlaceShards { terms, acceptances, cost_max } => {
            let accepted = (acceptances.as_slice(), bill.rest_of(*cost_max));
            let placed = place::check(books, sender, terms, accepted, signatures)?;
            Ok(Effect::Storage(storage::Effect::Place(placed)))
        }
        Action::DeclareLost { shards } => {
            let declared = lost::check(books, NodeId::from(sender), shards)?;
            Ok(Effect::Storage(storage::Effect::Lost(declared)))
        }
        Action::SetCare { .. } | Action::ClaimRepair { .. } | Action::CollectRepair { .. } => {
            storage::check_care(books, sender, action).map(Effect::Storage)
        }
        Action::Prove { epoch, leaves } => {
            proving::check(books, sender, *epoch, leaves).map(Effect::Prove)
        }
        Action::Revoke { link, until_ms } => {
            revocation::check(books, sender, *link, *until_ms).map(Effect::Revoke)
        }
        Action::Redeem { holder, until_ms } => {
            redemption::check(books, sender, *holder, *until_ms).map(Effect::Redeem)
        }
        Action::SetRoot { expected_version, blob } => {
            root::check(books, sender, *expected_version, blob).map(Effect::Root)
        }
        Action::JoinValidators { .. }
        | Action::ChangeValidator { .. }
        | Action::LeaveValidators { .. }
        | Action::RejoinValidators { .. }
        | Action::Delegate { .. }
        | Action::Undelegate { .. }
        | Action::ReportEquivocation { .. } => {
            stake::check(books, sender, action).map(Effect::Stake)
        }
        Action::ProposeMotion { .. } | Action::CastBallot { .. } | Action::DeclareRules { .. } => {
            motion::check(books, sender, action).map(Effect::Motion)
        }
        Action::OpenVault { .. }
        | Action::RotateVault { .. }
        | Action::List { .. }
        | Action::CoverListing { .. }
        | Action::Preview { .. }
        | Action::EndListing { .. }
        | Action::Order { .. }
        | Action::PostRelease { .. }
        | Action::Acknowledge { .. }
        | Action::Complain { .. }
        | Action::AnswerCell { .. } => validate_market(books, sender, action),
    }
}

/// Checks what is about vaults, listings and orders.
fn validate_market<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    match action {
        Action::OpenVault { opening, key, custodians } => {
            vault::check_open(books, sender, opening, (key, custodians)).map(Effect::Vault)
        }
        Action::RotateVault { vault, key, custodians } => {
            vault::check_rotate(books, sender, *vault, (key, custodians)).map(Effect::Vault)
        }
        Action::List { opening, terms } => {
            listing::check_list(books, sender, opening, terms).map(Effect::Listing)
        }
        Action::Preview { listing, preview } => {
            listing::check_preview(books, sender, *listing, preview).map(Effect::Listing)
        }
        Action::EndListing { listing } => {
            listing::check_end_listing(books, sender, *listing).map(Effect::Listing)
        }
        Action::Order { .. } => order::check_order(books, sender, action).map(Effect::Order),
        Action::PostRelease { order, release } => {
            order::check_release(books, sender, *order, release).map(Effect::Order)
        }
        Action::Acknowledge { order, custodians } => {
            order::check_acknowledge(books, sender, *order, custodians).map(Effect::Order)
        }
        Action::CoverListing { listing, first, deals } => {
            listing::check_cover(books, sender, *listing, *first, deals).map(Effect::Listing)
        }
        Action::Complain { order, complaint } => {
            dispute::check_complaint(books, sender, *order, complaint).map(Effect::Dispute)
        }
        Action::AnswerCell { order, kept, path } => {
            dispute::check_answer(books, sender, *order, kept, path).map(Effect::Dispute)
        }
        _ => unreachable!("only the market's actions come here"),
    }
}

/// Cannot fail: validation has found every possible fault.
fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, checked: Checked) {
    let Checked { sender, id, valid_until, digest, bill, effect } = checked;
    let height = books.chain.height;
    assert!(height <= valid_until, "expired transactions are refused");
    assert!(!books.has(SeenTable, &(sender, id)), "a transaction is applied once");
    books.put(SeenTable, &(sender, id), &Seen { digest, height });
    books.put(SeenUntil, &(valid_until, (sender, id)), &Nothing {});
    fees::pay(books, sender, &bill);
    match effect {
        Effect::Account(effect) => account::apply(books, effect),
        Effect::Prove(effect) => proving::apply(books, effect),
        Effect::Vault(dealt) => vault::apply(books, dealt),
        Effect::Listing(effect) => listing::apply(books, effect),
        Effect::Order(effect) => order::apply(books, effect),
        Effect::Dispute(effect) => dispute::apply(books, effect),
        Effect::Revoke(revoked) => revocation::apply(books, revoked),
        Effect::Redeem(redeemed) => redemption::apply(books, redeemed),
        Effect::Root(effect) => root::apply(books, effect),
        Effect::Node(effect) => nodes::apply(books, effect),
        Effect::Storage(effect) => storage::apply(books, effect),
        Effect::Stake(effect) => stake::apply(books, sender, effect),
        Effect::Motion(effect) => motion::apply(books, sender, effect),
    }
}
