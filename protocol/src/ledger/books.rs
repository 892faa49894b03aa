//! The only place that moves money.
//!
//! Every movement takes from one place, gives to another and reports an [`Event::Moved`]. No other code can
//! write a row that holds money, since [`Books::put`] takes only tables without money. When the books are
//! closed, the changed rows must agree with the amount that was issued.

use alloc::vec::Vec;

use crate::{
    amount::Amount,
    codec::{Decode, Encode},
    id::{AccountId, ChainId},
    ledger::{
        block::{Event, Place, Reason},
        commit::Validators,
        rows::{
            Account, Accounts, Answers, AwaitBeacon, Ballots, Cares, Chain, Chains, Deals,
            DealsDue, DealsOf, Degraded, Delegations, Draws, DutiesTable, Hold, HoldKey, Holds,
            Joins, KeptUntil, Leaves, Listings, ListingsOf, Mandates, Motions, MotionsDue, Nodes,
            Orders, OrdersDue, OrdersOf, PastSet, PastSets, Pools, PoolsTable, Ranks, Redemptions,
            Repairs, Revocations, Roots, Sales, SeenTable, SeenUntil, Slots, Table, Unbondings,
            ValidatorsTable, Vaults, Voices, Windows,
        },
        state::{Overlay, State, StateExt, Update},
    },
    time::LedgerTime,
};

/// Rows read at a time during a walk over a whole table.
const SCAN_ROWS: usize = 256;

/// Rows of a queue that are read at a time.
const QUEUE_ROWS: usize = 64;

/// A table whose rows hold no money.
pub(super) trait NoMoney: Table {}

macro_rules! no_money {
    ($($table:ty),*) => {$(impl NoMoney for $table {})*};
}

no_money!(
    SeenTable,
    SeenUntil,
    Nodes,
    Slots,
    Windows,
    Joins,
    Leaves,
    Deals,
    DealsDue,
    DealsOf,
    Degraded,
    Vaults,
    Listings,
    AwaitBeacon,
    Orders,
    OrdersDue,
    Revocations,
    OrdersOf,
    Roots,
    ListingsOf,
    KeptUntil,
    Cares,
    Repairs,
    Sales,
    Mandates,
    Draws,
    Answers,
    Redemptions,
    ValidatorsTable,
    Ranks,
    Delegations,
    Unbondings,
    PastSets,
    DutiesTable,
    Motions,
    MotionsDue,
    Voices,
    Ballots
);

/// The ledger during a block: the rows before it, and the changes.
#[derive(Debug)]
pub(super) struct Books<'a, S: State + ?Sized> {
    base: &'a S,
    rows: Overlay<'a, S>,
    /// The ledger's own row, written when the books are closed.
    pub(super) chain: Chain,
    /// The validators that commit the block.
    validators: Validators,
    pools: Pools,
    pools_before: Pools,
    events: Vec<Event>,
    event_bytes: usize,
    shards: usize,
}

impl<'a, S: State + ?Sized> Books<'a, S> {
    /// Opens the books after the last block; `None` if there was no genesis.
    pub(super) fn open(base: &'a S) -> Option<Self> {
        let chain = base.get(Chains, &())?;
        let pools = base.get(PoolsTable, &())?;
        Some(Self::with(base, chain, pools))
    }

    /// Opens the books of a ledger without rows.
    pub(super) fn genesis(base: &'a S, chain: Chain) -> Self {
        let zero = Amount::ZERO;
        let pools = Pools {
            storage: zero,
            repair: zero,
            treasury: zero,
            deposits: zero,
            collateral: zero,
            stake: zero,
            unbonding: zero,
            rewards: zero,
            issued: zero,
        };
        Self::with(base, chain, pools)
    }

    fn with(base: &'a S, chain: Chain, pools: Pools) -> Self {
        Self {
            base,
            rows: Overlay::new(base),
            validators: chain.validators.clone(),
            chain,
            pools,
            pools_before: pools,
            events: Vec::new(),
            event_bytes: 0,
            shards: 0,
        }
    }

    /// The rows as they are now.
    pub(super) fn rows(&self) -> &Overlay<'a, S> {
        &self.rows
    }

    /// The row of `table` under `key`.
    pub(super) fn get<T: Table>(&self, table: T, key: &T::Key) -> Option<T::Row> {
        self.rows.get(table, key)
    }

    /// Whether this row exists.
    pub(super) fn has<T: Table>(&self, _table: T, key: &T::Key) -> bool {
        self.rows.row(&T::key(key)).is_some()
    }

    /// The keys that begin with `prefix` (the table's tag included), in order, one after another.
    pub(super) fn next_key<T: Table>(
        &self,
        _table: T,
        prefix: &[u8],
        after: Option<&T::Key>,
    ) -> Option<T::Key> {
        let after = after.map(T::key);
        let rows = self.rows.scan(prefix, after.as_deref(), 1);
        rows.first().map(|(key, _)| T::parse(key).expect("keys are written by these rules"))
    }

    /// The first rows of a queue: those that are due, `max` at most. The keys of `prefix` (the table's tag included)
    /// have the due ones first.
    pub(super) fn due<T: Table>(
        &self,
        _table: T,
        prefix: &[u8],
        max: usize,
        is_due: impl Fn(&T::Key) -> bool,
    ) -> Vec<(T::Key, T::Row)> {
        const OURS: &str = "rows are written by these rules";
        let mut due = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        while due.len() < max {
            let limit = QUEUE_ROWS.min(max - due.len());
            let rows = self.rows.scan(prefix, after.as_deref(), limit);
            for (key, row) in &rows {
                let key = T::parse(key).expect(OURS);
                if !is_due(&key) {
                    return due;
                }
                due.push((key, T::Row::from_bytes(row).expect(OURS)));
            }
            if rows.len() < limit {
                return due;
            }
            after = rows.into_iter().next_back().map(|(key, _)| key);
        }
        due
    }

    /// Writes a row that holds no money.
    pub(super) fn put<T: NoMoney>(&mut self, table: T, key: &T::Key, row: &T::Row) {
        self.rows.put(table, key, row);
    }

    /// Removes a row that holds no money.
    pub(super) fn remove<T: NoMoney>(&mut self, table: T, key: &T::Key) {
        self.rows.remove(table, key);
    }

    /// Reports an event.
    pub(super) fn report(&mut self, event: Event) {
        self.event_bytes += event.to_bytes().len();
        self.events.push(event);
    }

    /// Bytes of the events that were reported.
    pub(super) fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// Notes that a shard will join a slot table.
    pub(super) fn add_shard(&mut self) {
        self.shards += 1;
    }

    /// How many shards were added.
    pub(super) fn shards(&self) -> usize {
        self.shards
    }

    /// How many rows have changed.
    pub(super) fn changed(&self) -> usize {
        self.rows.update().rows.len()
    }

    /// An account. An account that has never received money is empty.
    pub(super) fn account(&self, id: &AccountId) -> Account {
        let none = Account { balance: Amount::ZERO, deposits: Amount::ZERO, faucet_height: 0 };
        self.get(Accounts, id).unwrap_or(none)
    }

    /// Whether `amount` more can be issued without exceeding the type.
    pub(super) fn can_issue(&self, amount: Amount) -> bool {
        self.pools.issued.checked_add(amount).is_some()
    }

    /// Notes that the faucet gave to an account in this block.
    pub(super) fn mark_faucet(&mut self, id: &AccountId) {
        let mut account = self.account(id);
        assert!(account.faucet_height < self.chain.height, "one faucet request per block");
        account.faucet_height = self.chain.height;
        self.rows.put(Accounts, id, &account);
    }

    /// Moves money. The caller has checked that it is there.
    ///
    /// # Panics
    /// If it is not there: a rule is wrong, and the engine must keep nothing of the block.
    pub(super) fn transfer(&mut self, from: Place, to: Place, amount: Amount, reason: Reason) {
        assert!(from != to, "money moves between two places");
        if amount == Amount::ZERO {
            return;
        }
        self.debit(&from, amount);
        self.credit(&to, amount);
        self.report(Event::Moved { from, to, amount, reason });
    }

    /// Moves money of an account to the deposits.
    pub(super) fn bind(&mut self, id: AccountId, amount: Amount) {
        let from = Place::Account { account: id };
        self.transfer(from, Place::Deposits, amount, Reason::Deposit);
        self.note_deposits(&id, |bound| bound.checked_add(amount));
    }

    /// Gives money among the deposits back to the account that it came from.
    pub(super) fn unbind(&mut self, id: AccountId, amount: Amount) {
        self.note_deposits(&id, |bound| bound.checked_sub(amount));
        let to = Place::Account { account: id };
        self.transfer(Place::Deposits, to, amount, Reason::Deposit);
    }

    fn note_deposits(&mut self, id: &AccountId, change: impl Fn(Amount) -> Option<Amount>) {
        let mut account = self.account(id);
        let bound = change(account.deposits).expect("no more goes back than was paid");
        if bound != account.deposits {
            account.deposits = bound;
            self.rows.put(Accounts, id, &account);
        }
    }

    /// Places a hold: reserves `amount` of the payer's balance.
    pub(super) fn place_hold(&mut self, key: HoldKey, hold: &Hold, reason: Reason) {
        assert!(!self.has(Holds, &key), "a hold is placed once");
        assert!(hold.forfeited == Amount::ZERO, "what is placed is the payer's");
        let from = Place::Account { account: hold.payer };
        self.rows.put(Holds, &key, &Hold { amount: Amount::ZERO, ..*hold });
        self.transfer(from, Place::Hold { hold: key }, hold.amount, reason);
        let placed = self.get(Holds, &key).expect("it was placed above");
        assert!(placed.amount == hold.amount, "a hold holds what was placed");
    }

    /// Changes how much of a hold nodes have forfeited.
    pub(super) fn note_forfeited(
        &mut self,
        key: HoldKey,
        change: impl Fn(Amount) -> Option<Amount>,
    ) {
        let mut hold = self.get(Holds, &key).expect("only placed holds are changed");
        let before = hold.forfeited;
        hold.forfeited = change(hold.forfeited).expect("no more is spent than was forfeited");
        assert!(hold.forfeited <= hold.amount, "what was forfeited is a part of the hold");
        if hold.forfeited != before {
            self.rows.put(Holds, &key, &hold);
        }
    }

    /// Gives the rest of a hold to an account, and removes the hold. What nodes have forfeited goes to the repair pool: no
    /// party gains from what another one lost.
    pub(super) fn close_hold(&mut self, key: HoldKey, to: AccountId, reason: Reason) {
        let hold = self.get(Holds, &key).expect("only placed holds are closed");
        let from = Place::Hold { hold: key };
        let own = hold.amount.checked_sub(hold.forfeited).expect("it is a part of the hold");
        self.transfer(from, Place::Account { account: to }, own, reason);
        self.transfer(from, Place::Repair, hold.forfeited, reason);
        let left = self.get(Holds, &key).expect("moving money removes no row");
        assert!(left.amount == Amount::ZERO, "a hold is empty when it is removed");
        self.rows.remove(Holds, &key);
    }

    fn debit(&mut self, place: &Place, amount: Amount) {
        const THERE: &str = "money is checked before it moves";
        match place {
            Place::Outside => {
                self.pools.issued = self.pools.issued.checked_add(amount).expect(THERE);
            }
            Place::Account { account: id } => {
                let mut account = self.account(id);
                account.balance = account.balance.checked_sub(amount).expect(THERE);
                self.rows.put(Accounts, id, &account);
            }
            Place::Hold { hold: key } => {
                let mut hold = self.get(Holds, key).expect("only placed holds are debited");
                hold.amount = hold.amount.checked_sub(amount).expect(THERE);
                self.rows.put(Holds, key, &hold);
            }
            Place::Storage
            | Place::Repair
            | Place::Treasury
            | Place::Deposits
            | Place::Collateral
            | Place::Stake
            | Place::Unbonding
            | Place::Rewards => {
                let pool = self.pool(place);
                *pool = pool.checked_sub(amount).expect(THERE);
            }
        }
    }

    fn credit(&mut self, place: &Place, amount: Amount) {
        const FITS: &str = "no place holds more than was issued, and that is counted";
        match place {
            Place::Outside => {
                self.pools.issued = self.pools.issued.checked_sub(amount).expect(FITS);
            }
            Place::Account { account: id } => {
                let mut account = self.account(id);
                account.balance = account.balance.checked_add(amount).expect(FITS);
                self.rows.put(Accounts, id, &account);
            }
            Place::Hold { hold: key } => {
                let mut hold = self.get(Holds, key).expect("only placed holds are credited");
                hold.amount = hold.amount.checked_add(amount).expect(FITS);
                self.rows.put(Holds, key, &hold);
            }
            Place::Storage
            | Place::Repair
            | Place::Treasury
            | Place::Deposits
            | Place::Collateral
            | Place::Stake
            | Place::Unbonding
            | Place::Rewards => {
                let pool = self.pool(place);
                *pool = pool.checked_add(amount).expect(FITS);
            }
        }
    }

    fn pool(&mut self, place: &Place) -> &mut Amount {
        match place {
            Place::Storage => &mut self.pools.storage,
            Place::Repair => &mut self.pools.repair,
            Place::Treasury => &mut self.pools.treasury,
            Place::Deposits => &mut self.pools.deposits,
            Place::Collateral => &mut self.pools.collateral,
            Place::Stake => &mut self.pools.stake,
            Place::Unbonding => &mut self.pools.unbonding,
            Place::Rewards => &mut self.pools.rewards,
            Place::Outside | Place::Account { .. } | Place::Hold { .. } => {
                unreachable!("only pools are asked for")
            }
        }
    }

    /// Closes the books: the changes and the events.
    ///
    /// # Panics
    /// If the changed rows do not agree with the change of the issued amount.
    pub(super) fn close(mut self) -> (Update, Vec<Event>) {
        if self.chain.validators != self.validators {
            let validators = self.validators.clone();
            let (from, until_ms) = (self.chain.set_from, self.chain.time_ms);
            let set = PastSet { validators, from, until_ms };
            self.rows.put(PastSets, &self.chain.height, &set);
            self.chain.set_from = self.chain.height + 1;
        }
        self.rows.put(Chains, &(), &self.chain);
        self.rows.put(PoolsTable, &(), &self.pools);
        let (mut before, mut after) = (Sum::of(&self.pools_before), Sum::of(&self.pools));
        for (key, new) in &self.rows.update().rows {
            if matches!(key.first(), Some(&(Accounts::TAG | Holds::TAG))) {
                before.add(key, self.base.row(key).as_deref());
                after.add(key, new.as_deref());
            }
        }
        // Only changed rows count, so both differences are what the unchanged rows hold.
        let rest_before = self.pools_before.issued.checked_sub(before.0);
        let rest_after = self.pools.issued.checked_sub(after.0);
        assert!(rest_after.is_some(), "no more money than was issued");
        assert!(rest_before == rest_after, "a block creates and destroys no money");
        (self.rows.into_update(), self.events)
    }

    /// The ledger's identity.
    pub(super) fn id(&self) -> &ChainId {
        &self.chain.id
    }

    /// The validators that commit the block.
    pub(super) fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The fees that wait for the validators.
    pub(super) fn rewards(&self) -> Amount {
        self.pools.rewards
    }

    /// What the treasury has.
    pub(super) fn treasury(&self) -> Amount {
        self.pools.treasury
    }

    /// Time of the block.
    pub(super) fn now(&self) -> LedgerTime {
        self.chain.time_ms
    }
}

/// A sum of money that is certainly no more than the issued amount.
struct Sum(Amount);

impl Sum {
    fn of(pools: &Pools) -> Self {
        let mut sum = Self(Amount::ZERO);
        for amount in pools.places() {
            sum.put(amount);
        }
        sum
    }

    fn put(&mut self, amount: Amount) {
        self.0 = self.0.checked_add(amount).expect("never more than was issued");
    }

    fn add(&mut self, key: &[u8], row: Option<&[u8]>) {
        const DECODES: &str = "rows are written by these rules and decode";
        let Some(row) = row else { return };
        if key.first() == Some(&Accounts::TAG) {
            self.put(Account::from_bytes(row).expect(DECODES).balance);
        } else {
            self.put(Hold::from_bytes(row).expect(DECODES).amount);
        }
    }
}

/// All money, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// On accounts.
    pub accounts: Amount,
    /// In holds.
    pub holds: Amount,
    /// In pools, and the issued amount.
    pub pools: Pools,
}

impl Sheet {
    /// Whether all places together hold the issued amount.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let mut places = self.pools.places().into_iter().chain([self.holds]);
        let total = places.try_fold(self.accounts, |sum, pool| sum.checked_add(pool));
        total == Some(self.pools.issued)
    }
}

/// Adds up every row that holds money, as an auditor does. `None` if there is no ledger, or if the sum
/// exceeds its type.
pub fn sheet<S: State + ?Sized>(state: &S) -> Option<Sheet> {
    let pools = state.get(PoolsTable, &())?;
    let accounts = walk::<Accounts, _>(state, &[Accounts::TAG]);
    let holds = walk::<Holds, _>(state, &[Holds::TAG]);
    let zero = Some(Amount::ZERO);
    Some(Sheet {
        accounts: accounts.iter().fold(zero, |sum, (_, row)| sum?.checked_add(row.balance))?,
        holds: holds.iter().fold(zero, |sum, (_, row)| sum?.checked_add(row.amount))?,
        pools,
    })
}

fn walk<T: Table, S: State + ?Sized>(state: &S, prefix: &[u8]) -> Vec<(T::Key, T::Row)> {
    const OURS: &str = "rows are written by these rules";
    let mut out = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = state.scan(prefix, after.as_deref(), SCAN_ROWS);
        let Some((last, _)) = rows.last() else { return out };
        after = Some(last.clone());
        for (key, row) in &rows {
            out.push((T::parse(key).expect(OURS), T::Row::from_bytes(row).expect(OURS)));
        }
    }
}
