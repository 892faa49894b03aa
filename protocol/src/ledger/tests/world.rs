//! A whole small ledger in memory: it makes keys, shards, proofs, capsules and blocks, and audits
//! itself after each block.

use std::{
    collections::BTreeMap,
    format,
    sync::{LazyLock, Mutex},
    vec,
    vec::Vec,
};

use ed25519_dalek::SigningKey;

use super::audit::{audit, rows};
use crate::{
    amount::Amount,
    custody::{
        self, CustodyAcceptance, CustodyTerms, DeliveryKey, DeliverySecret, Release,
        ReleaseRequest, VaultKey,
    },
    id::{
        AccountId, ChainId, DealId, Hash, ListingId, NodeId, ObjectId, Opening, OrderId, PeerId,
        TransactionId, VaultId,
    },
    ledger::{
        Params, Status,
        admission::{Signatures, judge},
        beacon::Onions,
        block::{BlockInputs, Event, Genesis},
        commit::{Validator, Validators},
        execute::{self, BlockBuilder, Executed, Pushed, next_due},
        last::{LastCommit, check_facts, needs_last},
        rows::{
            Access, Accounts, Chain, Chains, Deals, KeptUntil, Listings, Node, Nodes, Orders,
            PastSets, Slots, Unbondings, Vaults,
        },
        state::{MemoryState, StateExt},
        tests::{
            seller::{LICENCE, dealing, label_on, list_on, sharing, vault_id},
            stake::{founding, starts},
        },
        transaction::{Acceptance, Action, CaredDeal, DealTerms, Transaction},
        tree,
    },
    proof::{self, LeafProof, ShardHasher},
    time::{LedgerTime, Millis},
};

/// When the test ledgers begin.
pub(super) const START_MS: u64 = 1_000_000;

/// Price per GiB and epoch that makes a 1 KiB shard earn 3 units, rounded up from 2.9.
pub(super) const PRICE: Amount = Amount(3_000_000);

/// The key that stands under blocks.
pub(super) const AUTHORITY: u8 = 200;

/// Distinct parties: their keys are their numbers.
pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(super) fn account(number: u8) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from(account(number))
}

pub(super) fn params() -> Params {
    let mut params = Params::development();
    params.epoch_ms = Millis(10_000);
    params.delivery_ms = Millis(3000);
    params.window_ms_min = Millis(1000);
    params.faucet = Amount::credits(10);
    params.faucet_blocks = 3;
    params.deal_epochs_max = 50;
    params.validity_blocks_max = 20;
    params
}

/// A network on which transactions cost something.
pub(super) fn fees() -> Params {
    Params {
        fee_base: Amount(1_000),
        fee_byte: Amount(10),
        fee_check: Amount(500),
        duty_fee_bp: 2_500,
        deposit: Amount(100_000),
        ..params()
    }
}

/// A network among strangers: a shard of 1 KiB earns 3 units, its repair costs 10, and it needs 15 of collateral, which
/// two shards of a new node need not have. A MiB offered has a deposit of 1024 units.
pub(super) fn strangers() -> Params {
    Params {
        collateral_epochs: 5,
        repair_price: Amount(10 << 20),
        allowance: Amount(30),
        allowance_growth_bp: 200,
        miss_penalty_bp: 1_000,
        silence_penalty_bp: 1_000,
        capacity_deposit: Amount(1 << 20),
        dead_after_epochs: 5,
        ..params()
    }
}

/// The genesis of every test's ledger but for its parameters.
fn genesis(params: Params) -> Genesis {
    let mut onions = ONIONS.clone();
    let starts = vec![onions.start()];
    let (validators, time_ms) = (Validators::alone(account(AUTHORITY)), LedgerTime(START_MS));
    Genesis { params, validators, time_ms, onions: starts }
}

/// The onions of every test's ledger, of which the first two are unrolled.
static ONIONS: LazyLock<Onions> = LazyLock::new(|| {
    let mut onions = Onions::new(&[9; 32], [9; 32]);
    onions.outermost(0);
    onions.outermost(1);
    onions
});

/// Those of a second validator.
static SECOND: LazyLock<Onions> = LazyLock::new(|| Onions::new(&[10; 32], [9; 32]));

/// Numbers by the keys of their accounts.
static NUMBERS: LazyLock<BTreeMap<AccountId, u8>> =
    LazyLock::new(|| (0..=AUTHORITY).map(|number| (account(number), number)).collect());

/// The number of a validator's account.
pub(super) fn validator_number(key: &AccountId) -> u8 {
    NUMBERS[key]
}

/// The onions of a validator.
pub(super) fn maker(key: &AccountId) -> Onions {
    match validator_number(key) {
        AUTHORITY => ONIONS.clone(),
        number => {
            let mut makers = MAKERS.lock().unwrap();
            let made = makers.entry(number).or_insert_with(|| {
                let mut onions = Onions::new(&[number; 32], [9; 32]);
                onions.start();
                onions
            });
            made.clone()
        }
    }
}

/// Those that were made before: their first onions are unrolled.
static MAKERS: Mutex<BTreeMap<u8, Onions>> = Mutex::new(BTreeMap::new());

/// The ledger of [`World::new`].
pub(super) fn chain_id() -> ChainId {
    genesis(params()).chain()
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) state: MemoryState,
    pub(super) genesis: Genesis,
    pub(super) now: u64,
    pub(super) events: Vec<Event>,
    pub(super) blocks: Vec<(BlockInputs, Vec<Transaction>, Hash)>,
    pub(super) onions: Onions,
    /// The onions of the second validator, where there is one.
    pub(super) second: Onions,
    /// Who proposes the next block.
    pub(super) proposer: u16,
    /// How the last block was committed; by all at once if it is absent.
    pub(super) last: Option<LastCommit>,
    next_id: u64,
    is_of_two: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(params())
    }

    pub(super) fn with(params: Params) -> Self {
        Self::starting(params, START_MS)
    }

    /// A ledger that begins at another time.
    pub(super) fn starting(params: Params, time_ms: u64) -> Self {
        Self::begun(Genesis { time_ms: LedgerTime(time_ms), ..genesis(params) })
    }

    /// A ledger of two validators, of whom the first can commit alone.
    pub(super) fn of_two() -> Self {
        let first = account(AUTHORITY);
        let second = (1..).map(account).find(|key| first < *key).unwrap();
        let members = [(first, 3), (second, 1)].map(|(key, power)| Validator { key, power });
        let members = members.to_vec();
        let onions = vec![ONIONS.clone().start(), SECOND.clone().start()];
        let validators = Validators { members };
        let world = Self::begun(Genesis { validators, onions, ..genesis(params()) });
        Self { is_of_two: true, ..world }
    }

    /// A ledger that these validators begin, with these powers.
    pub(super) fn of(params: Params, members: &[(u8, u64)]) -> Self {
        let validators = founding(members);
        let onions = starts(&validators);
        Self::begun(Genesis { validators, onions, ..genesis(params) })
    }

    fn begun(genesis: Genesis) -> Self {
        let mut state = MemoryState::default();
        let first = execute::genesis(&genesis);
        state.commit(&first.update);
        assert_eq!(tree::root(&state), first.state_root);
        Self {
            state,
            now: genesis.time_ms.0,
            events: Vec::new(),
            blocks: Vec::new(),
            onions: ONIONS.clone(),
            genesis,
            second: SECOND.clone(),
            proposer: 0,
            last: None,
            next_id: 0,
            is_of_two: false,
        }
    }

    pub(super) fn chain(&self) -> Chain {
        self.state.get(Chains, &()).unwrap()
    }

    pub(super) fn id(&self) -> ChainId {
        self.genesis.chain()
    }

    pub(super) fn node(&self, number: u8) -> Node {
        self.state.get(Nodes, &node(number)).unwrap()
    }

    pub(super) fn balance(&self, number: u8) -> u128 {
        self.state.get(Accounts, &account(number)).map_or(0, |row| row.balance.0)
    }

    /// The facts of the next block.
    pub(super) fn facts(&self) -> BlockInputs {
        let set = self.chain().validators;
        let proposer = set.members[usize::from(self.proposer)].key;
        let mut onions = match self.genesis.validators.members.get(1) {
            _ if proposer == account(AUTHORITY) => self.onions.clone(),
            Some(second) if self.is_of_two && proposer == second.key => self.second.clone(),
            _ => maker(&proposer),
        };
        let facts = onions.inputs(&self.state, self.proposer, LedgerTime(self.now)).unwrap();
        BlockInputs { last: self.how_committed(), ..facts }
    }

    /// The set that committed the last block.
    pub(super) fn parents(&self) -> Validators {
        let chain = self.chain();
        let past = self.state.get(PastSets, &chain.height);
        past.map_or(chain.validators, |past| past.validators)
    }

    /// How the last block was committed, if the next one says it.
    fn how_committed(&self) -> Option<LastCommit> {
        let parents = self.parents();
        let mut signers = [0; 16];
        for place in 0..parents.members.len() {
            signers[place / 8] |= 1 << (place % 8);
        }
        let all = LastCommit { round: 0, signers };
        let height = self.chain().height;
        needs_last(height, &parents).then(|| self.last.unwrap_or(all))
    }

    /// The number of a validator's account.
    pub(super) fn number_of(&self, key: &AccountId) -> Option<u8> {
        NUMBERS.get(key).copied()
    }

    /// Whether those that are said to have signed could commit the last block.
    pub(super) fn last_suffices(&self) -> bool {
        let parents = self.parents();
        check_facts(self.chain().height, &parents, self.how_committed().as_ref()).is_ok()
    }

    /// The place of a validator in the set.
    pub(super) fn place_of(&self, number: u8) -> u16 {
        let set = self.chain().validators;
        let place = set.members.iter().position(|member| member.key == account(number));
        u16::try_from(place.unwrap()).unwrap()
    }

    /// Signs an action under a fresh id, valid for ten blocks.
    pub(super) fn sign(&mut self, who: u8, action: Action) -> Transaction {
        self.next_id += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_id.to_be_bytes());
        let valid_until = self.chain().height + 10;
        Transaction::build(self.id(), &key(who), TransactionId(id), valid_until, action)
    }

    /// Makes a block of what the rules accept of `transactions`, checks it, and commits it.
    pub(super) fn block(&mut self, transactions: &[Transaction]) -> Vec<Result<Pushed, Status>> {
        let facts = self.facts();
        let leaves = rows(&self.state, KeptUntil).first().map(|((until_ms, _), _)| *until_ms);
        let mut due = next_due(&self.state).into_iter().chain(leaves);
        // What a block does about several validators, it does always.
        let are_several = 1 < self.chain().validators.members.len();
        let unbonds = !rows(&self.state, Unbondings).is_empty();
        let is_due = due.any(|due_ms| due_ms <= facts.time_ms) || are_several || unbonds;
        let mut builder = BlockBuilder::new(&self.state, &facts).unwrap();
        let mut outcomes = Vec::new();
        let mut applied = Vec::new();
        for transaction in transactions {
            let expected = builder.check(transaction);
            let judged = (applied.is_empty() && !is_due).then(|| {
                // In a block that changed nothing yet, admission and the rules agree.
                let judged = judge(&self.state, facts.time_ms, transaction);
                assert_eq!(judged.0.is_ok(), expected.is_ok());
                judged.1
            });
            let signatures = judged.unwrap_or(Signatures::UNCHECKED);
            let outcome = builder.push_checked(transaction, &signatures);
            assert_eq!(outcome, expected);
            if outcome == Ok(Pushed::Applied) {
                applied.push(transaction.clone());
            }
            outcomes.push(outcome);
        }
        let executed = builder.finish();
        // What was refused left no trace: the block is what the accepted ones alone give.
        assert_eq!(execute::replay(&self.state, &facts, &applied), Ok(executed.clone()));
        self.commit(facts, applied, executed);
        outcomes
    }

    fn commit(&mut self, facts: BlockInputs, applied: Vec<Transaction>, executed: Executed) {
        self.state.commit(&executed.update);
        self.last = None;
        assert_eq!(self.chain().validators, executed.next_validators);
        let places = u16::try_from(executed.next_validators.members.len()).unwrap();
        self.proposer = if self.proposer < places { self.proposer } else { 0 };
        assert_eq!(tree::root(&self.state), executed.state_root);
        audit(&self.state);
        self.events = executed.events;
        self.blocks.push((facts, applied, executed.state_root));
    }

    /// A block with one action.
    pub(super) fn act(&mut self, who: u8, action: Action) -> Status {
        let transaction = self.sign(who, action);
        status(self.block(&[transaction])[0])
    }

    /// A block with one action that must be applied.
    #[track_caller]
    pub(super) fn must(&mut self, who: u8, action: Action) {
        assert_eq!(self.act(who, action), Status::Applied);
    }

    /// An empty block after a while.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.block(&[]);
    }

    /// Blocks for everything that is due, until every node's window of the next epoch is open. Keeps all their events.
    #[track_caller]
    pub(super) fn next_epoch(&mut self) {
        let epoch = self.chain().epoch + 1;
        let end = self.end_of(epoch);
        let mut events = Vec::new();
        while self.step_to(end) {
            self.block(&[]);
            events.append(&mut self.events);
        }
        self.events = events;
        assert_eq!(self.chain().epoch, epoch);
    }

    /// The last moment of an epoch, in counted time: every node has its window of this epoch.
    pub(super) fn end_of(&self, epoch: u64) -> u64 {
        (epoch + 1) * self.genesis.params.epoch_ms.0 - 1
    }

    /// Sets the time to the next block that is due before the ledger has counted so much time. Without one, to that
    /// moment. False when it is there.
    pub(super) fn step_to(&mut self, counted_ms: u64) -> bool {
        let chain = self.chain();
        let end = chain.time_ms.0 + counted_ms.saturating_sub(chain.counted_ms.0);
        let due = next_due(&self.state).unwrap().0;
        self.now = due.clamp(chain.time_ms.0, end);
        chain.counted_ms.0 < counted_ms || due <= chain.time_ms.0
    }

    /// Opens accounts with faucet money.
    pub(super) fn fund(&mut self, accounts: &[u8]) {
        let signed: Vec<_> =
            accounts.iter().map(|number| self.sign(*number, Action::Faucet)).collect();
        for outcome in self.block(&signed) {
            assert_eq!(outcome, Ok(Pushed::Applied));
        }
    }

    /// Registers nodes that keep custody too; each earns for the account 100 above it.
    pub(super) fn nodes(&mut self, numbers: &[u8]) {
        for number in numbers {
            self.must(*number, register(*number, 1 << 20));
        }
    }

    /// The proof of a node, if it is one.
    pub(super) fn prove_if(&self, number: u8) -> Option<Action> {
        self.state.get(Nodes, &node(number)).map(|_| self.prove(number))
    }

    pub(super) fn prove(&self, number: u8) -> Action {
        let epoch = self.node(number).window.map_or(0, |window| window.epoch);
        Action::Prove { epoch, leaves: self.leaves(number) }
    }

    /// The deals whose shards are asked for in a node's open window.
    pub(super) fn asked(&self, number: u8) -> Vec<DealId> {
        let (chain, id, node) = (self.chain(), node(number), self.node(number));
        let slot = |position| self.state.get(Slots, &(id, position)).unwrap();
        let Some(window) = node.window else { return Vec::new() };
        let seed = node.challenge_seed(&chain.id, &id, &window);
        let (slots, bytes) = (node.slots, node.slot_bytes);
        let asked = proof::challenges(&seed, slots, node.longest(), bytes, |at| slot(at).length);
        asked.iter().map(|challenge| slot(challenge.slot).deal).collect()
    }

    /// Answers the challenges of a node's open window.
    pub(super) fn leaves(&self, number: u8) -> Vec<LeafProof> {
        let (chain, id, node) = (self.chain(), node(number), self.node(number));
        let slot = |position| self.state.get(Slots, &(id, position)).unwrap();
        let Some(window) = node.window else { return Vec::new() };
        let seed = node.challenge_seed(&chain.id, &id, &window);
        let (slots, bytes) = (node.slots, node.slot_bytes);
        let asked = proof::challenges(&seed, slots, node.longest(), bytes, |at| slot(at).length);
        let answer = |challenge: &proof::Challenge| {
            let slot = slot(challenge.slot);
            let shard = shard(&slot.deal, slot.index, slot.length);
            let mut hasher = ShardHasher::new();
            hasher.update(&shard);
            let (_, outboard) = hasher.finish();
            let group = proof::group_range(slot.length, challenge.leaf).unwrap();
            let group = &shard[to_usize(group.start)..to_usize(group.end)];
            proof::leaf_proof(&outboard, slot.length, challenge.leaf, group).unwrap()
        };
        asked.iter().map(answer).collect()
    }

    /// Opens a deal of `owner`, shard `i` at `nodes[i]`, accepted by all of them.
    pub(super) fn deal(&self, owner: u8, opening: Opening, nodes: &[u8], epochs: u64) -> Action {
        self.deal_on(&terms(owner, opening, nodes.len(), epochs), nodes)
    }

    pub(super) fn deal_on(&self, terms: &DealTerms, nodes: &[u8]) -> Action {
        self.deal_at(terms, nodes, PRICE)
    }

    /// The same at another price.
    pub(super) fn deal_at(&self, terms: &DealTerms, nodes: &[u8], price: Amount) -> Action {
        let accept = |(index, number): (u8, &u8)| {
            let root = root(&terms.deal(), index, terms.length);
            let expires_ms = LedgerTime(self.now).saturating_add(Millis(60_000));
            let price = (price, u64::MAX);
            Acceptance::build(&self.id(), terms, &key(*number), (index, root), price, expires_ms)
        };
        let acceptances = (0..).zip(nodes).map(accept).collect();
        let cost_max = Amount(u128::MAX);
        Action::OpenDeal { terms: terms.clone(), acceptances, cost_max }
    }

    /// Gives shards of a deal to nodes that accept them at this price until this epoch.
    pub(super) fn place(
        &self,
        (owner, opening): (u8, Opening),
        shards: &[(u8, u8)],
        (price, until): (Amount, u64),
    ) -> Action {
        let deal = self.state.get(Deals, &DealId::of(&account(owner), &opening));
        let terms = terms(owner, opening, deal.map_or(3, |deal| deal.shards.len()), 1);
        let accept = |(index, number): &(u8, u8)| {
            let shard = (*index, root(&terms.deal(), *index, terms.length));
            let expires_ms = LedgerTime(self.now).saturating_add(Millis(60_000));
            Acceptance::build(&self.id(), &terms, &key(*number), shard, (price, until), expires_ms)
        };
        let acceptances = shards.iter().map(accept).collect();
        Action::PlaceShards { terms, acceptances, cost_max: Amount(u128::MAX) }
    }

    /// Care for deals of an owner, in the owner's vault of its own number.
    pub(super) fn care(&self, owner: u8, caretakers: &[u8], deals: &[u8]) -> Action {
        let cared = |number: &u8| {
            let row = self.state.get(Deals, &DealId::of(&account(owner), &opening(*number)));
            let pads = vec![[*number; 32]; row.map_or(3, |row| row.shards.len())];
            CaredDeal { opening: opening(*number), pads }
        };
        Action::SetCare {
            vault: VaultId::of(&account(owner), &opening(owner)),
            caretakers: caretakers.iter().map(|number| node(*number)).collect(),
            spare: 0,
            fee: Amount(2),
            price_max: PRICE,
            deals: deals.iter().map(cared).collect(),
        }
    }

    /// A claim of deal `deal` of account 1.
    pub(super) fn claim(&self, who: u8, deal: u8, rebuild: &[u8], read: &[u8]) -> Action {
        self.claim_of(who, deal_id(deal), (rebuild, read))
    }

    /// A claim of any deal.
    pub(super) fn claim_of(
        &self,
        who: u8,
        deal: DealId,
        (rebuild, read): (&[u8], &[u8]),
    ) -> Action {
        let context = custody::claim_context(&self.id(), &deal, &node(who));
        let secret = DeliverySecret::from_seed(&[who; 32]);
        let delivery = DeliveryKey::make(&secret, &context, &[3; 32]);
        Action::ClaimRepair { deal, rebuild: rebuild.to_vec(), read: read.to_vec(), delivery }
    }

    /// Opens a vault whose custodians are the given nodes, any `required` of which open a capsule.
    pub(super) fn vault(&self, owner: u8, required: u8, nodes: &[u8]) -> Action {
        self.vault_as((owner, owner), required, nodes)
    }

    /// The same with another opening than the owner's number.
    pub(super) fn vault_as(&self, as_of: (u8, u8), required: u8, nodes: &[u8]) -> Action {
        let (key, _) = sharing(as_of.0, required, nodes.len());
        let accept = |(index, number): (u8, &u8)| self.accept_share(as_of, &key, index, *number);
        let custodians = (1..).zip(nodes).map(accept).collect();
        Action::OpenVault { opening: opening(as_of.1), key, custodians }
    }

    pub(super) fn accept_share(
        &self,
        (owner, chosen): (u8, u8),
        vault_key: &VaultKey,
        index: u8,
        number: u8,
    ) -> CustodyAcceptance {
        let (chain, owner) = (&self.id(), &account(owner));
        let vault = &VaultId::of(owner, &opening(chosen));
        let terms =
            CustodyTerms { chain, vault, owner, key: vault_key, index, node: &node(number) };
        terms.accept(&key(number), LedgerTime(self.now.saturating_add(60_000)))
    }

    /// Deals the secret of an owner's vault anew, to these nodes.
    pub(super) fn rotate(&self, owner: u8, required: u8, nodes: &[u8]) -> Action {
        let vault = vault_id(owner);
        let number = self.state.get(Vaults, &vault).map_or(1, |row| row.dealing) + 1;
        let (key, _) = dealing(owner, (required, nodes.len()), number);
        let accept =
            |(index, number): (u8, &u8)| self.accept_share((owner, owner), &key, index, *number);
        let custodians = (1..).zip(nodes).map(accept).collect();
        Action::RotateVault { vault, key, custodians }
    }

    /// Lists something that deals keep, so that it can be ordered.
    #[track_caller]
    pub(super) fn sell(&mut self, seller: u8, number: u8, price: u128) {
        self.must(seller, list_on(&self.id(), seller, number, price));
        self.cover(seller, number);
    }

    /// Shows the ledger a deal that keeps what a listing sells.
    #[track_caller]
    pub(super) fn cover(&mut self, seller: u8, number: u8) {
        let deal = DealId::of(&account(seller), &GOODS);
        if self.state.get(Deals, &deal).is_none() {
            let there = |number: &u8| self.state.get(Nodes, &node(*number)).is_some();
            let nodes: Vec<u8> = [11, 12, 13].into_iter().filter(there).collect();
            let opened = self.deal_on(&terms(seller, GOODS, 4, 50), &nodes);
            self.must(seller, opened);
        }
        let listing = ListingId::of(&account(seller), &opening(number));
        self.must(seller, Action::CoverListing { listing, first: 0, deals: vec![deal] });
    }

    /// Order `number` of account 2, for a listing of account 1.
    pub(super) fn order(&self, number: u8, listing: u8, price: u128) -> Action {
        self.order_by(2, number, listing_id(listing), price)
    }

    pub(super) fn order_by(
        &self,
        buyer: u8,
        number: u8,
        listing: ListingId,
        price: u128,
    ) -> Action {
        let opening = opening(number);
        let order = OrderId::of(&account(buyer), &opening);
        let context = custody::release_context(&self.id(), &order, &listing);
        let delivery = DeliveryKey::make(&delivery_secret(&order), &context, &[3; 32]);
        let (holder, price, licence) = (PeerId([9; 32]), Amount(price), LICENCE);
        let row = self.state.get(Listings, &listing);
        let listed_ms = row.map_or(LedgerTime::ZERO, |row| row.listed_ms);
        Action::Order { opening, listing, holder, delivery, listed_ms, price, licence }
    }

    /// The release of custodian `index` of a vault with `required` of `total` shares, for an order of account 2.
    pub(super) fn release(&self, number: u8, of: (u8, usize), index: u8) -> Action {
        self.release_for(order_id(number), of, index)
    }

    pub(super) fn release_for(
        &self,
        order: OrderId,
        (required, total): (u8, usize),
        index: u8,
    ) -> Action {
        let row = self.state.get(Orders, &order).unwrap();
        let listing = self.state.get(Listings, &row.listing).unwrap();
        let seller = (1..=255).find(|number| account(*number) == listing.seller).unwrap();
        let number = self.state.get(Vaults, &listing.terms.vault).unwrap().dealing;
        let (vault, shares) = dealing(seller, (required, total), number);
        let request = ReleaseRequest {
            vault: &vault,
            capsule: &listing.terms.capsule,
            label: &label_on(&self.id(), seller, &listing.terms.manifest),
            delivery: &row.delivery,
            context: &custody::release_context(&self.id(), &order, &row.listing),
        };
        let share = &shares[usize::from(index) - 1];
        let release = Release::make(share, &request, &[index; 32]).unwrap();
        Action::PostRelease { order, release }
    }
}

/// What came of it, as a client is told.
pub(super) fn status(outcome: Result<Pushed, Status>) -> Status {
    outcome.map_or_else(|status| status, |_| Status::Applied)
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap()
}

/// The bytes of a shard.
pub(super) fn shard(deal: &DealId, index: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; to_usize(length)];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&deal.0).update(&[index]).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn root(deal: &DealId, index: u8, length: u64) -> Hash {
    Hash(*blake3::hash(&shard(deal, index, length)).as_bytes())
}

pub(super) fn register(number: u8, capacity: u64) -> Action {
    Action::RegisterNode {
        payout: account(number + 100),
        addresses: vec![format!("127.0.0.1:{}", 4000 + u16::from(number))],
        custody_key: Some([number; 32]),
        caretaker: true,
        price: PRICE,
        capacity,
        operator: None,
        agrees_until: 0,
        leaving: false,
    }
}

/// What a seller opens the deal of its goods with.
pub(super) const GOODS: Opening = Opening([252; 32]);

/// What any account opens its deal, vault, listing or order `number` with.
pub(super) fn opening(number: u8) -> Opening {
    Opening([number; 32])
}

/// Deal `number` of account 1.
pub(super) fn deal_id(number: u8) -> DealId {
    DealId::of(&account(1), &opening(number))
}

/// Listing `number` of account 1.
pub(super) fn listing_id(number: u8) -> ListingId {
    ListingId::of(&account(1), &opening(number))
}

/// Order `number` of account 2.
pub(super) fn order_id(number: u8) -> OrderId {
    OrderId::of(&account(2), &opening(number))
}

pub(super) fn terms(owner: u8, opening: Opening, total: usize, epochs: u64) -> DealTerms {
    let total = u8::try_from(total).unwrap();
    DealTerms {
        owner: account(owner),
        opening,
        object: ObjectId([if opening == GOODS { owner } else { owner + 128 }; 16]),
        segment: 0,
        required: total.div_ceil(2),
        total,
        // Of different lengths, from one leaf to four.
        length: 1024 * (1 + u64::from(opening.0[1] % 4)),
        access: Access::Granted,
        epochs,
    }
}

fn delivery_secret(order: &OrderId) -> DeliverySecret {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&order.0);
    DeliverySecret::from_seed(&seed)
}
