//! An auditor that trusts no party: it reads blocks and keeps its own books.
//!
//! From a block's transactions and time alone it works out, by arithmetic of its own, every event the
//! block must report: who pays whom how much and why, which epoch begins, which deal ends, which order
//! is delivered, settled or refunded. A block that reports anything else is a [`Finding`]. The money
//! that moved is then added up place by place: nothing may go below zero, everything together must be
//! what was issued, and the storage pool must hold exactly what is promised for epochs not yet proven.
//!
//! It shares types and encodings with the rules, and not one line of what they compute. It knows what
//! the ledger is for, so that a rule that changes must be changed here too, on purpose.

mod care;
mod chance;
mod dispute;
mod fees;
mod market;
mod motion;
mod report;
mod stake;
mod storage;
mod witness;

use std::collections::{BTreeMap, BTreeSet};

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_protocol::{
    Encode,
    id::{
        AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, Opening, OrderId, PeerId,
        VaultId,
    },
    ledger::{
        Params,
        block::{Block, Event, Genesis, Header, Place, Reason, events_root, transactions_root},
        commit::Validators,
        last::check_last,
        rows::{
            Accounts, Degraded, Holds, Listings, Nodes, Orders, PoolsTable, Redemptions,
            Revocations, Roots, Table, ValidatorsTable,
        },
        transaction::{Action, Transaction},
    },
};
use thiserror::Error;

pub use report::Report;
pub use storage::Held;

/// Something that is not as it must be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("block {height}: {what}")]
pub struct Finding {
    /// In which block, or after which.
    pub height: u64,
    /// What.
    pub what: String,
}

/// The books.
#[derive(Debug)]
pub struct Auditor {
    params: Params,
    validators: Validators,
    next: u64,
    parent: Hash,
    /// The header of the last block, and the validators that committed it.
    last: Option<(Header, Validators)>,
    time_ms: u64,
    parent_ms: u64,
    chain: ChainId,
    /// Whether it was known which ledger this is before its first block.
    is_named: bool,
    epoch: u64,
    /// The time that counts for epochs, and how many gaps in a row did not.
    counted_ms: u64,
    late_blocks: u8,
    /// The last gap in which no custodian could post a release.
    gap: (u64, u64),
    /// The layers that chance comes from.
    chance: chance::Chance,
    /// Validators and what stands for them.
    stakes: stake::Stakes,
    /// What is voted on.
    motions: motion::Motions,
    /// Nodes that wait for a turn, by counted time.
    turns: BTreeSet<(u64, NodeId)>,
    /// What falls due of deals, by epoch.
    deals_due: BTreeSet<(u64, DealId)>,
    /// Money by place, the place's bytes being the key.
    money: BTreeMap<Vec<u8>, u128>,
    issued: u128,
    nodes: BTreeMap<NodeId, storage::NodeBook>,
    deals: BTreeMap<DealId, storage::DealBook>,
    cares: BTreeMap<DealId, care::CareBook>,
    repairs: BTreeMap<DealId, care::RepairBook>,
    vaults: BTreeMap<VaultId, market::VaultBook>,
    listings: BTreeMap<ListingId, market::ListingBook>,
    orders: BTreeMap<OrderId, market::OrderBook>,
    /// The seeds of previews, by content root.
    draws: BTreeMap<Hash, Hash>,
    /// How many orders were made, settled and refunded.
    made: (usize, usize, usize),
    /// Revoked links and who revoked them, and whether the link has an end.
    revocations: BTreeMap<(LinkId, AccountId), bool>,
    /// Redeemed vouchers, by one-time account: for which peer, and until when.
    redemptions: BTreeMap<AccountId, (PeerId, u64)>,
    /// What is over, by the time at which it is to be gone.
    over: BTreeSet<(u64, market::Over)>,
    /// How often each account has set its root record.
    roots: BTreeMap<AccountId, u64>,
    /// Accounts that have a row: those that money has reached.
    known: BTreeSet<AccountId>,
    /// The slot tables, and what was opened of them.
    tables: witness::Tables,
    /// How many transactions were in all blocks.
    transactions: u64,
    /// What the block at hand must report.
    expected: Vec<Event>,
}

/// `part` hundredths of a percent of an amount, rounded down.
fn hundredths(amount: u128, part: u16) -> u128 {
    amount * u128::from(part) / 10_000
}

impl Auditor {
    /// Books of the ledger that begins with this, before its first block.
    #[must_use]
    pub fn of(genesis: &Genesis) -> Self {
        let id = blake3::derive_key("symbolon 2026 genesis v1", &genesis.to_bytes());
        let chance = chance::Chance::of(&genesis.onions);
        let stakes = stake::Stakes::of(&genesis.validators, &genesis.onions);
        let books = Self::before(genesis.params.clone(), genesis.validators.clone(), chance);
        let books = Self { stakes, ..books };
        Self { chain: ChainId(id), is_named: true, ..books }
    }

    /// Books of a ledger with these parameters and this validator, before its first block, which has to be believed when it
    /// names the ledger.
    #[must_use]
    pub fn new(params: Params, validator: AccountId) -> Self {
        Self::before(params, Validators::alone(validator), chance::Chance::unknown())
    }

    fn before(params: Params, validators: Validators, chance: chance::Chance) -> Self {
        let stakes = stake::Stakes::of(&validators, &[]);
        Self {
            params,
            validators,
            next: 0,
            parent: Hash([0; 32]),
            last: None,
            time_ms: 0,
            parent_ms: 0,
            chain: ChainId([0; 32]),
            is_named: false,
            epoch: 0,
            counted_ms: 0,
            late_blocks: 0,
            gap: (0, 0),
            chance,
            stakes,
            motions: motion::Motions::default(),
            turns: BTreeSet::new(),
            deals_due: BTreeSet::new(),
            money: BTreeMap::new(),
            issued: 0,
            nodes: BTreeMap::new(),
            deals: BTreeMap::new(),
            cares: BTreeMap::new(),
            repairs: BTreeMap::new(),
            vaults: BTreeMap::new(),
            listings: BTreeMap::new(),
            orders: BTreeMap::new(),
            draws: BTreeMap::new(),
            made: (0, 0, 0),
            revocations: BTreeMap::new(),
            redemptions: BTreeMap::new(),
            over: BTreeSet::new(),
            roots: BTreeMap::new(),
            known: BTreeSet::new(),
            tables: witness::Tables::default(),
            transactions: 0,
            expected: Vec::new(),
        }
    }

    /// The height of the next block to audit.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The epoch after the last block.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What an account has, by these books.
    #[must_use]
    pub fn balance(&self, account: &AccountId) -> u128 {
        let place = Place::Account { account: *account };
        self.money.get(&place.to_bytes()).copied().unwrap_or(0)
    }

    fn finding(&self, what: impl Into<String>) -> Finding {
        Finding { height: self.next, what: what.into() }
    }

    /// Audits the next block.
    pub fn take(&mut self, block: &Block) -> Result<(), Finding> {
        self.check_header(block)?;
        self.expected.clear();
        if block.header.header.height > 0 {
            let epoch = self.epoch;
            self.count_time();
            let tick = chance::tick(self.counted_ms, self.params.epoch_ms.0);
            let facts = &block.header.header.facts;
            let taken = self.chance.take(tick, facts.proposer, facts.reveal.as_ref());
            taken.map_err(|what| self.finding(what))?;
            self.decide(epoch < self.epoch);
            self.begin_validators(facts, epoch < self.epoch);
            self.fall_due();
            let changed = self.take_turns();
            self.change_tables(&block.events).map_err(|what| self.finding(what))?;
            self.close_deals(512 - changed);
            self.leave();
        }
        for transaction in &block.transactions {
            self.charge(transaction);
            self.apply(transaction).map_err(|what| self.finding(what))?;
        }
        self.compare_events(&block.events)?;
        for event in &block.events {
            if let Event::Moved { from, to, amount, .. } = event {
                self.transfer(from, to, amount.0)?;
            }
        }
        self.check_sums()?;
        self.end_validators();
        if block.header.header.next_validators != self.validators.hash() {
            return Err(self.finding("other validators follow"));
        }
        self.transactions += block.transactions.len() as u64;
        self.next += 1;
        Ok(())
    }

    fn check_header(&mut self, block: &Block) -> Result<(), Finding> {
        let header = &block.header.header;
        let is_first = header.height == 0 && !self.is_named;
        let facts = [
            (is_first || header.chain == self.chain, "it is a block of another ledger"),
            (header.height == self.next, "it is not the next block"),
            (header.parent == self.parent, "its parent is another block"),
            (self.time_ms <= header.facts.time_ms.0, "its time is before its parent's"),
            (
                block.header.commit.verify(header, &self.validators).is_ok(),
                "the validator did not sign it",
            ),
            (self.shows_last(block), "it does not show how its parent was committed"),
            (header.events_root == events_root(&block.events), "its header is for other events"),
            (
                header.transactions_root == transactions_root(&block.transactions),
                "its header is for other transactions",
            ),
            (
                block.transactions.iter().all(|transaction| transaction.verify().is_ok()),
                "a sender did not sign",
            ),
        ];
        if let Some((_, what)) = facts.iter().find(|(holds, _)| !holds) {
            return Err(self.finding(*what));
        }
        self.parent = header.digest();
        self.last = Some((header.clone(), self.validators.clone()));
        self.parent_ms = std::mem::replace(&mut self.time_ms, header.facts.time_ms.0);
        if header.height == 0 {
            self.chain = header.chain;
            self.gap = (self.time_ms, self.time_ms);
        }
        Ok(())
    }

    /// Whether a block shows of its parent's commit what its facts say, or both nothing.
    fn shows_last(&self, block: &Block) -> bool {
        let (facts, shown) = (&block.header.header.facts, block.last.as_ref());
        match &self.last {
            None => facts.last.is_none() && shown.is_none(),
            Some((parent, set)) => check_last(parent, set, facts, shown).is_ok(),
        }
    }

    /// Notes a movement that the block must report. No movement is reported when nothing moves.
    fn expect(&mut self, from: Place, to: Place, amount: u128, reason: Reason) {
        if amount > 0 {
            if let Place::Account { account } = to {
                self.known.insert(account);
            }
            let amount = symbolon_protocol::Amount(amount);
            self.expected.push(Event::Moved { from, to, amount, reason });
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<(), String> {
        let sender = transaction.sender;
        let mine = Place::Account { account: sender };
        match &transaction.action {
            Action::Faucet => {
                self.expect(Place::Outside, mine, self.params.faucet.0, Reason::Faucet);
                Ok(())
            }
            Action::Transfer { to, amount } => {
                self.expect(mine, Place::Account { account: *to }, amount.0, Reason::Transfer);
                Ok(())
            }
            Action::RegisterNode { .. }
            | Action::OpenDeal { .. }
            | Action::EndDeal { .. }
            | Action::ExtendDeals { .. }
            | Action::PlaceShards { .. }
            | Action::DeclareLost { .. }
            | Action::RetireNode
            | Action::Stake { .. }
            | Action::Unstake { .. }
            | Action::Prove { .. } => self.apply_storage(sender, &transaction.action),
            Action::SetCare { .. } | Action::ClaimRepair { .. } | Action::CollectRepair { .. } => {
                self.apply_care(sender, &transaction.action)
            }
            Action::SetRoot { expected_version, .. } => {
                let version = self.roots.entry(sender).or_default();
                if version != expected_version {
                    return Err(format!("{sender} replaces root {expected_version} of {version}"));
                }
                *version += 1;
                Ok(())
            }
            Action::JoinValidators { .. }
            | Action::ChangeValidator { .. }
            | Action::LeaveValidators { .. }
            | Action::RejoinValidators { .. }
            | Action::Delegate { .. }
            | Action::Undelegate { .. }
            | Action::ReportEquivocation { .. } => self.apply_stake(sender, &transaction.action),
            Action::ProposeMotion { .. }
            | Action::CastBallot { .. }
            | Action::DeclareRules { .. } => self.apply_motion(sender, &transaction.action),
            action => self.apply_market(sender, action),
        }
    }

    fn compare_events(&self, reported: &[Event]) -> Result<(), Finding> {
        let sorted = |events: &[Event]| {
            let mut keyed: Vec<_> =
                events.iter().map(|event| (event.to_bytes(), format!("{event:?}"))).collect();
            keyed.sort();
            keyed
        };
        let (mut due, mut said) = (sorted(&self.expected), sorted(reported));
        let both = due.clone();
        for event in both {
            if let Ok(place) = said.binary_search(&event) {
                said.remove(place);
                let place = due.binary_search(&event).expect("it was taken from there");
                due.remove(place);
            }
        }
        match (due.first(), said.first()) {
            (None, None) => Ok(()),
            (Some((_, event)), None) => Err(self.finding(format!("it must report {event}"))),
            (None, Some((_, event))) => Err(self.finding(format!("nothing explains {event}"))),
            (Some((_, due)), Some((_, said))) => {
                Err(self.finding(format!("it reports {said}, these books say {due}")))
            }
        }
    }

    fn transfer(&mut self, from: &Place, to: &Place, amount: u128) -> Result<(), Finding> {
        match from {
            Place::Outside => self.issued += amount,
            place => {
                let there = self.money.entry(place.to_bytes()).or_default();
                let Some(left) = there.checked_sub(amount) else {
                    let what = format!("{amount} leave {place:?}, which has {there}");
                    return Err(self.finding(what));
                };
                *there = left;
            }
        }
        if *to == Place::Outside {
            return Err(self.finding("money leaves circulation"));
        }
        *self.money.entry(to.to_bytes()).or_default() += amount;
        Ok(())
    }

    fn check_sums(&self) -> Result<(), Finding> {
        let total: u128 = self.money.values().sum();
        if total != self.issued {
            let issued = self.issued;
            return Err(self.finding(format!("{issued} were issued, all places hold {total}")));
        }
        let (pool, promised) = (self.place(&Place::Storage), self.promised());
        if pool != promised {
            let what = format!("the storage pool holds {pool}, {promised} are promised to nodes");
            return Err(self.finding(what));
        }
        let (bound, due) = (self.place(&Place::Deposits), self.deposits());
        if bound != due {
            return Err(self.finding(format!("{bound} are bound as deposits, not {due}")));
        }
        self.check_locked().map_err(|what| self.finding(what))?;
        self.check_stake().map_err(|what| self.finding(what))?;
        let (staked, due) = (self.place(&Place::Collateral), self.collateral());
        if staked != due {
            return Err(self.finding(format!("{staked} stand for nodes, not {due}")));
        }
        for (id, order) in &self.orders {
            let hold = symbolon_protocol::ledger::rows::HoldKey::Order { order: *id };
            let held = self.place(&Place::Hold { hold });
            let due = if order.open() { order.amount } else { 0 };
            if held != due {
                return Err(self.finding(format!("order {id} has {held} in escrow, not {due}")));
            }
        }
        Ok(())
    }

    fn place(&self, place: &Place) -> u128 {
        self.money.get(&place.to_bytes()).copied().unwrap_or(0)
    }

    /// Compares the books with every row of the ledger that holds money, and with what it says of
    /// its nodes. The ledger must be at the last audited block.
    pub async fn compare_rows(&self, ledger: &Ledger) -> Result<(), Finding> {
        self.compare_money(ledger).await?;
        self.compare_things(ledger).await?;
        self.compare_degraded(ledger).await?;
        self.compare_validators(ledger).await?;
        self.compare_nodes(ledger).await
    }

    async fn compare_validators(&self, ledger: &Ledger) -> Result<(), Finding> {
        let rows = all(ledger, ValidatorsTable).await.map_err(|error| self.unread(error))?;
        let rows = rows.iter().map(|(key, row)| {
            let state = stake::standing(row.state);
            Some((ValidatorsTable::parse(key)?, row.stake.0, row.unbonding.0, state))
        });
        let ours = self.stakes.books.iter();
        let ours = ours.map(|(key, book)| Some((*key, book.stake, book.unbonding, book.standing)));
        match rows.eq(ours) {
            true => Ok(()),
            false => Err(self.finding("the ledger has other validators than these books")),
        }
    }

    async fn compare_degraded(&self, ledger: &Ledger) -> Result<(), Finding> {
        let rows = all(ledger, Degraded).await.map_err(|error| self.unread(error))?;
        let rows: BTreeSet<_> = rows.iter().filter_map(|(key, _)| Degraded::parse(key)).collect();
        let ours = self.degraded();
        if rows != ours {
            return Err(self.finding(format!("degraded deals are {rows:?}, not {ours:?}")));
        }
        Ok(())
    }

    fn unread(&self, error: LedgerError) -> Finding {
        self.finding(format!("the ledger cannot be read: {error}"))
    }

    async fn compare_money(&self, ledger: &Ledger) -> Result<(), Finding> {
        let asked = |error| self.unread(error);
        let mut rows: BTreeMap<Vec<u8>, u128> = BTreeMap::new();
        for (key, row) in all(ledger, Accounts).await.map_err(asked)? {
            let account = Accounts::parse(&key).ok_or_else(|| self.finding("an account's key"))?;
            rows.insert(Place::Account { account }.to_bytes(), row.balance.0);
        }
        for (key, row) in all(ledger, Holds).await.map_err(asked)? {
            let hold = Holds::parse(&key).ok_or_else(|| self.finding("a hold's key"))?;
            rows.insert(Place::Hold { hold }.to_bytes(), row.amount.0);
        }
        let pools = ledger.row(PoolsTable, &()).await.map_err(asked)?;
        let pools = pools.ok_or_else(|| self.finding("there is no row of pools"))?;
        for (place, amount) in [
            (Place::Storage, pools.storage),
            (Place::Repair, pools.repair),
            (Place::Treasury, pools.treasury),
            (Place::Deposits, pools.deposits),
            (Place::Collateral, pools.collateral),
            (Place::Stake, pools.stake),
            (Place::Unbonding, pools.unbonding),
            (Place::Rewards, pools.rewards),
        ] {
            rows.insert(place.to_bytes(), amount.0);
        }
        if pools.issued.0 != self.issued {
            return Err(self.finding("the row says that something else was issued"));
        }
        rows.retain(|_, amount| *amount > 0);
        let ours: BTreeMap<_, _> = self
            .money
            .iter()
            .filter(|(_, amount)| **amount > 0)
            .map(|(k, v)| (k.clone(), *v))
            .collect();
        if rows != ours {
            return Err(self.finding("the rows that hold money are not these books"));
        }
        Ok(())
    }

    async fn compare_things(&self, ledger: &Ledger) -> Result<(), Finding> {
        let asked = |error| self.unread(error);
        for (key, row) in all(ledger, Roots).await.map_err(asked)? {
            let id = Roots::parse(&key).ok_or_else(|| self.finding("a root's key"))?;
            if self.roots.get(&id) != Some(&row.version) {
                return Err(self.finding(format!("the root of {id} is at {}", row.version)));
            }
        }
        let orders = all(ledger, Orders).await.map_err(asked)?.into_iter();
        if !orders.map(|(key, _)| Orders::parse(&key)).eq(self.orders.keys().copied().map(Some)) {
            return Err(self.finding("the ledger has other orders than these books"));
        }
        let listings = all(ledger, Listings).await.map_err(asked)?.into_iter();
        let listings = listings.map(|(key, row)| Some((Listings::parse(&key)?, row.orders)));
        if !listings.eq(self.listings.iter().map(|(id, book)| Some((*id, book.orders)))) {
            return Err(self.finding("the ledger has other listings than these books"));
        }
        let revocations = all(ledger, Revocations).await.map_err(asked)?.into_iter();
        let revocations =
            revocations.map(|(key, row)| Some((Revocations::parse(&key)?, row.until_ms.is_some())));
        if !revocations.eq(self.revocations.iter().map(|(key, ends)| Some((*key, *ends)))) {
            return Err(self.finding("the ledger has other revocations than these books"));
        }
        let redemptions = all(ledger, Redemptions).await.map_err(asked)?.into_iter();
        let redemptions = redemptions
            .map(|(key, row)| Some((Redemptions::parse(&key)?, (row.holder, row.until_ms.0))));
        if !redemptions.eq(self.redemptions.iter().map(|(once, row)| Some((*once, *row)))) {
            return Err(self.finding("the ledger has other redemptions than these books"));
        }
        for (key, row) in all(ledger, Listings).await.map_err(asked)? {
            let id = Listings::parse(&key).ok_or_else(|| self.finding("a listing's key"))?;
            if self.listings.get(&id).and_then(|book| book.seed) != row.preview_seed {
                return Err(self.finding(format!("the preview of listing {id} has another seed")));
            }
        }
        Ok(())
    }

    async fn compare_nodes(&self, ledger: &Ledger) -> Result<(), Finding> {
        let asked = |error| self.unread(error);
        let nodes = all(ledger, Nodes).await.map_err(asked)?;
        if nodes.len() != self.nodes.len() {
            return Err(self.finding("the ledger has other nodes than these books"));
        }
        for (key, row) in nodes {
            let id = Nodes::parse(&key).ok_or_else(|| self.finding("a node's key"))?;
            let book = self
                .nodes
                .get(&id)
                .ok_or_else(|| self.finding("a node that was not registered"))?;
            if (row.passed, row.missed) != (book.passed, book.missed) {
                return Err(self.finding(format!("node {id} has proven and missed other epochs")));
            }
            if (row.collateral.0, row.withheld.0) != (book.staked, book.withheld) {
                return Err(self.finding(format!("the collateral of node {id} is another")));
            }
            if row.window.map(|window| window.beacon) != book.layer {
                return Err(self.finding(format!("the window of node {id} has another layer")));
            }
        }
        Ok(())
    }
}

/// The id that a sender gets with an opening, for this kind.
fn id_of(kind: &str, sender: &AccountId, opening: &Opening) -> [u8; 16] {
    let both = [sender.0, opening.0].concat();
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::derive_key(kind, &both)[..16]);
    id
}

/// All rows of a table.
async fn all<T: Table + Copy>(
    ledger: &Ledger,
    table: T,
) -> Result<Vec<(Vec<u8>, T::Row)>, LedgerError> {
    let mut rows: Vec<(Vec<u8>, T::Row)> = Vec::new();
    loop {
        let after = rows.last().map(|(key, _)| key.clone());
        let page = ledger.scan(table, &[], after.as_deref(), 500).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}
