//! What it costs the ledger to settle orders that fall due together.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    custody::{Capsule, DeliveryKey, PostedRelease, VaultKey},
    grant,
    id::{AccountId, Hash, ListingId, NodeId, OrderId, PeerId, VaultId},
    ledger::{
        Params,
        beacon::Onions,
        block::Genesis,
        commit::Validators,
        execute,
        rows::{
            Cover, Hold, HoldKey, Holds, Listing, ListingState, Listings, Node, Nodes, Nothing,
            Order, OrderState, Orders, OrdersDue, OrdersOf, Pools, PoolsTable, PublicRef, Sales,
            Sold, Split, Terms, Vault, Vaults,
        },
        slots,
        state::{MemoryState, Overlay, StateExt},
        tree,
    },
};

const ORDERS: u64 = 1000;
const PRICE: Amount = Amount(1_000_000);
const CUSTODIANS: u8 = 5;
const START_MS: u64 = 1_000_000;
const DUE_MS: u64 = START_MS + 500;

fn account(number: u64) -> AccountId {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    AccountId(SigningKey::from_bytes(&seed).verifying_key().to_bytes())
}

fn order_id(number: u64) -> OrderId {
    OrderId(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap())
}

/// A listing with three splits. What no settlement looks at is made up.
fn listing(seller: AccountId) -> Listing {
    let key = FileKey::from_bytes([1; 32]);
    let layout = Layout::new(Scheme::for_nodes(8), 1 << 30).unwrap();
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, Hash([2; 32]));
    let public = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([0; 32]) };
    let chain = symbolon_protocol::id::ChainId([0; 32]);
    let signer = SigningKey::from_bytes(&[9; 32]);
    let split = |number| Split { account: account(number), share_bp: 1_000 };
    let terms = Terms {
        title: "weather".into(),
        price: PRICE,
        bond: PRICE,
        licence: Hash([0; 32]),
        access_ms: Millis::DAY,
        window_ms: Millis(60_000),
        splits: vec![split(20), split(21), split(22)],
        preview_cells: 0,
        document: public.clone(),
        cells: layout.cells(),
        leaves: public,
        masks_root: Hash([0; 32]),
        vault: VaultId([3; 16]),
        own_custodians: false,
        capsule: Capsule { r: [0; 32], r2: [0; 32], c: [0; 32], e: [0; 32], f: [0; 32] },
        pad: [0; 32],
        mandate: grant::mandate(&chain, &signer, manifest.object, &[1; 32]).unwrap(),
        manifest,
    };
    Listing {
        seller,
        terms,
        state: ListingState::Open,
        listed_ms: LedgerTime(START_MS),
        preview_seed: None,
        preview: None,
        cover: Cover { until: None, shown: 0, shown_until: u64::MAX },
        sold: 0,
        orders: ORDERS,
        open: ORDERS,
    }
}

/// A node that keeps no shard.
fn custodian(payout: AccountId) -> Node {
    Node {
        payout,
        operator: None,
        addresses: Vec::new(),
        custody_key: Some([1; 32]),
        caretaker: false,
        price: Amount::ZERO,
        agrees_until: 0,
        capacity: 0,
        leaving: false,
        deposit: Amount::ZERO,
        collateral: Amount::ZERO,
        withheld: Amount::ZERO,
        used: 0,
        bound_rate: Amount::ZERO,
        slots: 0,
        lengths: Vec::new(),
        slot_bytes: 0,
        table: slots::NEW,
        rate: Amount::ZERO,
        window: None,
        next_epoch: None,
        turn_ms: None,
        passed_epoch: None,
        passed: 0,
        missed: 0,
        missed_in_row: 0,
        misses: 0,
        clean: 0,
        record: Amount::ZERO,
        proven: 0,
        paused_until: 0,
        dead: false,
    }
}

#[allow(clippy::too_many_lines, reason = "a table of rows")]
/// A ledger with so many delivered orders of different buyers, whose windows end together.
fn delivered() -> (MemoryState, Onions) {
    let mut onions = Onions::new(&[1; 32], [1; 32]);
    let starts = vec![onions.start()];
    let (time_ms, validators) = (LedgerTime(START_MS), Validators::alone(account(0)));
    let genesis = Genesis { params: Params::development(), validators, time_ms, onions: starts };
    let mut state = MemoryState::default();
    state.commit(&execute::genesis(&genesis).update);
    let mut rows = Overlay::new(&state);
    let (seller, of) = (account(1), ListingId([4; 16]));
    let listing = listing(seller);
    let custodians: Vec<NodeId> = (0..CUSTODIANS).map(|one| PeerId([one; 32])).collect();
    let vault = Vault {
        owner: seller,
        key: VaultKey { commitments: vec![[1; 32]; 3] },
        custodians: custodians.clone(),
        dealing: 1,
        since_ms: time_ms,
        own: 0,
    };
    rows.put(Vaults, &listing.terms.vault, &vault);
    for (node, number) in custodians.iter().zip(30..) {
        rows.put(Nodes, node, &custodian(account(number)));
    }
    rows.put(Listings, &of, &listing);
    let sold = Sold { listings: 1, orders: ORDERS, until_ms: LedgerTime::ZERO };
    rows.put(Sales, &(seller, listing.terms.manifest.object), &sold);
    let posted = |index: u8| PostedRelease {
        index: index + 1,
        node: custodians[usize::from(index)],
        u: [1; 32],
        v: [2; 32],
    };
    for number in 0..ORDERS {
        let (id, buyer) = (order_id(number), account(100 + number));
        let order = Order {
            listing: of,
            buyer,
            holder: PeerId([9; 32]),
            delivery: DeliveryKey { point: [0; 32], e: [0; 32], z: [0; 32] },
            amount: PRICE,
            sale_fee_bp: 200,
            custody_fee_bp: 100,
            state: OrderState::Delivered,
            ordered_ms: time_ms,
            access_until_ms: time_ms.saturating_add(Millis::DAY),
            due_ms: LedgerTime(DUE_MS),
            dealing: 1,
            releases: (0..3).map(posted).collect(),
            asked: None,
            given: 0,
            refund: None,
        };
        rows.put(Orders, &id, &order);
        rows.put(OrdersDue, &(order.due_ms, id), &Nothing {});
        for who in [buyer, seller] {
            rows.put(OrdersOf, &(who, (of, id)), &Nothing {});
        }
        let hold = Hold { payer: buyer, amount: PRICE, forfeited: Amount::ZERO };
        rows.put(Holds, &HoldKey::Order { order: id }, &hold);
    }
    let zero = Amount::ZERO;
    let issued = PRICE.checked_mul(ORDERS).unwrap();
    let pools = Pools {
        storage: zero,
        repair: zero,
        treasury: zero,
        deposits: zero,
        collateral: zero,
        stake: zero,
        unbonding: zero,
        rewards: zero,
        issued,
    };
    rows.put(PoolsTable, &(), &pools);
    let mut update = rows.into_update();
    update.rows.extend(tree::update(&state, &update.rows).1);
    state.commit(&update);
    (state, onions)
}

fn main() {
    let (mut state, onions) = delivered();
    let (mut blocks, mut taken, mut slowest) = (0, Duration::ZERO, Duration::ZERO);
    let is_open = |state: &MemoryState, number| {
        let order = state.get(Orders, &order_id(number)).unwrap();
        order.state == OrderState::Delivered
    };
    let mut time_ms = DUE_MS;
    while (0..ORDERS).any(|number| is_open(&state, number)) {
        let inputs = onions.clone().inputs(&state, 0, LedgerTime(time_ms)).unwrap();
        let began = Instant::now();
        let executed = execute::replay(&state, &inputs, &[]).unwrap();
        let block = began.elapsed();
        (taken, slowest, blocks) = (taken + block, slowest.max(block), blocks + 1);
        state.commit(&executed.update);
        time_ms += 1;
    }
    println!(
        "{ORDERS} orders settle in {blocks} blocks and {taken:?}; the slowest takes {slowest:?}"
    );
}
