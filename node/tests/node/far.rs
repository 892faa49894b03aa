//! A node that is far from its ledger, and a node whose ledger's server lies.

use std::{path::Path, time::Duration};

use symbolon_net::{Endpoint, Host, Latency, MemoryNetwork};
use symbolon_node::{Limits, Node, NodeOptions};
use symbolon_protocol::{
    Amount, Encode as _, Millis,
    id::{AccountId, DealId, Hash, ObjectId, PeerId},
    identity::Identity,
    ledger::{
        Params,
        block::Event,
        rows::{
            Access, Deal, DealSlot, DealState, Deals, Node as NodeRow, Nodes, Pools, PoolsTable,
            Slot, Slots, Table as _, Window, Windows,
        },
        slot_rate,
        state::Update,
        transaction::{Acceptance, Action},
    },
    limits::SLICE_BYTES,
};
use symbolon_store::{ShardInfo, ShardState, Shards};

use crate::{
    counted::{Asked, Counted},
    world::{NODE_SECRET, PRICE, START_MS, World, now, shard},
};

const EPOCH_MS: u64 = 60_000;

/// A network with 150 ms of latency one way, a ledger that records requests, and an owner with
/// money.
struct Far {
    world: World,
    ledger: Counted,
    options: NodeOptions,
}

impl Far {
    async fn new(rows: Update) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::seeded(7, START_MS);
        let one_way = Duration::from_millis(150);
        let network = MemoryNetwork::with_latency(Latency { seed: 1, min: one_way, max: one_way });
        let ledger = Counted::found(&network, &host, Params::development(), rows);
        let owner = Identity::from_seed(&[21; 64]);
        let reached = ledger.reach(&network.endpoint([99; 32]));
        let world = World { dir, host, network, ledger: reached, owner };
        world.apply(&world.owner.account_key(), Action::Faucet).await;
        let options = NodeOptions {
            custody: false,
            caretaker: false,
            capacity: CAPACITY,
            limits: Limits {
                disk_reserve_bytes: 0,
                connection_idle_ms: 1 << 40,
                ..Limits::for_capacity(CAPACITY)
            },
            ..world.options("node")
        };
        Self { world, ledger, options }
    }

    fn endpoint(&self) -> Endpoint {
        self.world.network.endpoint(NODE_SECRET)
    }

    async fn node(&self) -> Node {
        let endpoint = self.endpoint();
        let (ledger, host) = (self.ledger.reach(&endpoint), self.world.host.clone());
        let options = self.options.clone();
        let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
        node.registered().await;
        node
    }

    /// Makes blocks when they are due, until the next epoch has begun and the node does not wait for
    /// its window of this epoch. The server adds `lies` to the events of the last block.
    async fn turn(&self, lies: Vec<Event>) {
        let epoch = self.ledger.chain().epoch + 1;
        let waits = || {
            let next = self.ledger.get(Nodes, &node_id()).and_then(|row| row.next_epoch);
            self.ledger.chain().epoch < epoch || next.is_some_and(|next| next <= epoch)
        };
        while waits() {
            let due = self.ledger.due();
            self.world.pass(due.saturating_since(now(&self.world.host)).0).await;
            self.ledger.block(&[]);
        }
        self.ledger.block_at(now(&self.world.host), &[], lies);
        assert_eq!(self.ledger.chain().epoch, epoch);
    }

    fn row(&self) -> NodeRow {
        self.ledger.get(Nodes, &node_id()).unwrap()
    }

    /// Checks that the node has proven its open window.
    fn has_proven(&self) {
        let row = self.row();
        assert_eq!(row.passed_epoch, Some(row.window.unwrap().epoch));
    }

    /// Begins an epoch. Returns the node's requests until it has proven the epoch.
    async fn proven_epoch(&self) -> Vec<Asked> {
        self.turn(Vec::new()).await;
        self.ledger.take_asked(node_id());
        self.world.pass(5_000).await;
        self.has_proven();
        self.ledger.take_asked(node_id())
    }
}

const CAPACITY: u64 = 1 << 40;

fn node_id() -> PeerId {
    PeerId(ed25519_dalek::SigningKey::from_bytes(&NODE_SECRET).verifying_key().to_bytes())
}

/// Checks that the node sent three requests, and moved only a few kilobytes besides the proof.
fn is_little(asked: &[Asked]) {
    // The look-up of deals before a deletion is not part of proving.
    let asked: Vec<_> = asked.iter().filter(|asked| asked.what != "deals").collect();
    let what: Vec<_> = asked.iter().map(|asked| asked.what).collect();
    assert_eq!(what, ["rows", "submit", "rows"], "{asked:?}");
    let around: usize = asked.iter().map(|asked| asked.answer).sum();
    let around = around + asked[0].question + asked[2].question;
    assert!(around < 8 * 1024, "{asked:?}");
}

/// Shards of many lengths that stand in for 100,000 shards: every slot names one of them.
const DISTINCT: u32 = 40;
const MANY: u32 = 100_000;

/// Stores shards in the node's folder and returns the slots that name them.
fn many_slots(dir: &Path, owner: AccountId) -> Vec<Slot> {
    let store = Shards::open(dir).unwrap();
    let distinct: Vec<_> = (0..DISTINCT)
        .map(|number| {
            let length = 1024 * (1 + u64::from(number * number));
            let mut deal = [200; 16];
            deal[0] = u8::try_from(number).unwrap();
            let (deal, index) = (DealId(deal), 0);
            let info = ShardInfo {
                deal,
                index,
                owner,
                object: ObjectId([5; 16]),
                access: Access::Granted,
                length,
                terms: Vec::new(),
            };
            let mut writer = store.begin(info).unwrap();
            writer.write(&shard(length)).unwrap();
            let root = writer.finish(ShardState::Active).unwrap().root;
            Slot {
                deal,
                index,
                root,
                length,
                rate: slot_rate(PRICE, length).unwrap(),
                leaves: u64::MAX,
            }
        })
        .collect();
    (0..MANY).map(|position| distinct[(position % DISTINCT) as usize]).collect()
}

/// The open deal of a slot.
fn deal_of(owner: AccountId, slot: &Slot) -> Deal {
    Deal {
        owner,
        object: ObjectId([5; 16]),
        segment: 0,
        required: 1,
        length: slot.length,
        access: Access::Granted,
        start: 0,
        end: 1000,
        rate: slot.rate,
        shards: vec![Some(DealSlot {
            node: node_id(),
            root: slot.root,
            price: PRICE,
            from: 1,
            until: u64::MAX,
            lost: None,
        })],
        state: DealState::Open,
    }
}

/// The rows of a ledger in which the node has these slots.
fn rows_of(owner: AccountId, slots: &[Slot]) -> Update {
    let mut update = Update::default();
    for slot in &slots[..DISTINCT as usize] {
        let deal = deal_of(owner, slot);
        update.rows.insert(Deals::key(&slot.deal), Some(deal.to_bytes()));
    }
    let mut node = NodeRow {
        payout: AccountId([77; 32]),
        operator: None,
        addresses: vec!["memory".into()],
        custody_key: None,
        caretaker: false,
        price: PRICE,
        agrees_until: 0,
        capacity: CAPACITY,
        leaving: false,
        deposit: Amount::ZERO,
        collateral: Amount::ZERO,
        withheld: Amount::ZERO,
        used: 0,
        bound_rate: Amount::ZERO,
        slots: u32::try_from(slots.len()).unwrap(),
        lengths: Vec::new(),
        slot_bytes: 0,
        table: Hash([3; 32]),
        rate: Amount::ZERO,
        window: Some(Window { epoch: 0, beacon: Hash([4; 32]) }),
        next_epoch: Some(1),
        turn_ms: Some(Millis(EPOCH_MS)),
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
    };
    for (position, slot) in (0..).zip(slots) {
        node.used += slot.length;
        node.bound_rate = node.bound_rate.checked_add(slot.rate).unwrap();
        node.slot_bytes += slot.length;
        let class = (slot.length / 1024).next_power_of_two().trailing_zeros() as usize;
        node.lengths.resize(node.lengths.len().max(class + 1), 0);
        node.lengths[class] += 1;
        node.rate = node.rate.checked_add(slot.rate).unwrap();
        update.rows.insert(Slots::key(&(node_id(), position)), Some(slot.to_bytes()));
    }
    update.rows.insert(Nodes::key(&node_id()), Some(node.to_bytes()));
    let due = Windows::key(&(Millis(EPOCH_MS), node_id()));
    update.rows.insert(due, Some(Vec::new()));
    let money = Amount::credits(1_000_000);
    let zero = Amount::ZERO;
    let pools = Pools {
        storage: money,
        repair: zero,
        treasury: zero,
        deposits: zero,
        collateral: zero,
        stake: zero,
        unbonding: zero,
        rewards: zero,
        issued: money,
    };
    update.rows.insert(PoolsTable::key(&()), Some(pools.to_bytes()));
    update
}

impl Far {
    /// Starts the node with a copy of the slot table that differs from the ledger's. The node must
    /// read the table once, in pages, and prove the epoch.
    async fn reads_anew(&self, dir: &Path, head: symbolon_store::SlotsHead, copy: &[Slot]) -> Node {
        let height = self.ledger.chain().height;
        Shards::open(dir).unwrap().set_slots(height, head, copy).unwrap();
        self.turn(Vec::new()).await;
        self.ledger.take_asked(node_id());
        let node = self.node().await;
        self.world.pass(EPOCH_MS / 2).await;
        let asked = self.ledger.take_asked(node_id());
        assert_eq!(asked.iter().filter(|asked| asked.what == "slots").count(), 100);
        self.has_proven();
        node
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_shards_are_proven_over_a_slow_line_in_three_questions() {
    // The ledger's rows name shards that are in the folder already.
    let there = tempfile::tempdir().unwrap();
    let owner = Identity::from_seed(&[21; 64]).account();
    let slots = many_slots(there.path(), owner);
    let mut far = Far::new(rows_of(owner, &slots)).await;
    far.options.dir = there.path().to_owned();
    let marker = format!("{} {}\n", node_id(), far.world.ledger.chain());
    Shards::open(there.path()).unwrap().set_marker(marker.as_bytes()).unwrap();
    let node = far.node().await;
    far.world.pass(EPOCH_MS / 2).await;
    let first = far.ledger.take_asked(node_id());
    let scans = first.iter().filter(|asked| asked.what == "slots").count();
    let bytes: usize = first.iter().map(|asked| asked.answer).sum();
    println!("the table once: {scans} scans, {bytes} bytes");
    assert_eq!(scans, 100, "the table is read once, in pages");
    assert_eq!(far.row().passed_epoch, Some(0));
    is_little(&far.proven_epoch().await);

    // A deal joins.
    let peer = far.world.peer(&far.world.owner, &node).await;
    let (terms, grant) = (far.world.terms(1, 4096), far.world.own_grant());
    let accepted = peer.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    far.world.open_deal(&terms, accepted).await;
    is_little(&far.proven_epoch().await);
    assert_eq!(far.row().slots, MANY + 1);

    // After a restart the node still has its copy.
    far.world.pass(EPOCH_MS / 2).await;
    node.stop().await;
    let node = far.node().await;
    is_little(&far.proven_epoch().await);
    // The deal leaves.
    far.world.apply(&far.world.owner.account_key(), Action::EndDeal { deal: terms.deal() }).await;
    is_little(&far.proven_epoch().await);
    assert_eq!(far.row().slots, MANY);
    node.stop().await;

    // A copy with a wrong hash is read again, and the epoch is proven all the same.
    let head = head_of(there.path());
    let forged = symbolon_store::SlotsHead { table: Hash([4; 32]), ..head };
    let node = far.reads_anew(there.path(), forged, &slots).await;
    is_little(&far.proven_epoch().await);
    // Each window since that of epoch 0 was proven, however many the node's place in an epoch made of them.
    let row = far.row();
    assert_eq!((row.passed_epoch.map(|last| last + 1), row.missed), (Some(row.passed), 0));
    node.stop().await;

    // A copy with the right hash and wrong rows is read again after its proof is refused.
    let head = head_of(there.path());
    let other: Vec<_> = slots.iter().rev().copied().collect();
    far.reads_anew(there.path(), head, &other).await.stop().await;
}

fn head_of(dir: &Path) -> symbolon_store::SlotsHead {
    Shards::open(dir).unwrap().view_slots(|view| Ok(view.head())).unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_nodes_copy_equals_the_ledgers_table_after_many_changes() {
    let far = Far::new(Update::default()).await;
    let node = far.node().await;
    let peer = far.world.peer(&far.world.owner, &node).await;
    let grant = far.world.own_grant();
    let end = |deal| Action::EndDeal { deal };
    let mut number = 0_u8;
    let mut alive: Vec<DealId> = Vec::new();
    let draw =
        |bound: usize| usize::from(u16::from_le_bytes(far.world.host.random())) % bound.max(1);
    for epoch in 0..10 {
        for _ in 0..3 + draw(3) {
            number += 1;
            let mut terms = far.world.terms(number, 1024 * (1 + draw(40) as u64));
            terms.epochs = 1 + draw(4) as u64;
            let bytes = shard(terms.length);
            let accepted = peer.store(&terms, 1, PRICE, &grant, &bytes).await.unwrap();
            far.world.open_deal(&terms, accepted).await;
            alive.push(terms.deal());
            if draw(4) == 0 {
                // This deal is ended before it begins.
                far.world.apply(&far.world.owner.account_key(), end(alive.pop().unwrap())).await;
            }
        }
        for _ in 0..draw(3) {
            // These deals are ended while they run, or are over already.
            if alive.is_empty() {
                break;
            }
            let deal = alive.swap_remove(draw(alive.len()));
            far.world.submit(&far.world.owner.account_key(), end(deal)).await;
        }
        is_little(&far.proven_epoch().await);
        let row = far.row();
        println!("epoch {epoch}: {} slots", row.slots);
        // Every window there was. An epoch in which the table is empty has none, and where the node's place is late in an
        // epoch, two may be behind this turn.
        assert_eq!(row.missed, 0);
        assert!(epoch < row.passed && row.passed_epoch.is_some_and(|last| row.passed <= last + 1));
    }
    node.stop().await;
    let store = Shards::open(&far.options.dir).unwrap();
    let row = far.row();
    let same = store.view_slots(|view| {
        assert_eq!((view.head().slots, view.head().table), (row.slots, row.table));
        for position in 0..row.slots {
            let slot = far.ledger.get(Slots, &(node_id(), position)).unwrap();
            // When a shard leaves, only the ledger knows.
            let slot = Slot { leaves: u64::MAX, ..slot };
            assert_eq!(view.slot(position)?, Some(slot), "{position}");
        }
        view.slot(row.slots)
    });
    assert_eq!(same.unwrap(), Some(None), "no slot beyond the end");
}

/// Stores a shard, and opens its deal if it is to be paid.
async fn kept(far: &Far, node: &Node, number: u8, paid: bool) -> (DealId, Acceptance) {
    let peer = far.world.peer(&far.world.owner, node).await;
    let (terms, grant) = (far.world.terms(number, SLICE_BYTES as u64), far.world.own_grant());
    let bytes = shard(terms.length);
    let accepted = peer.store(&terms, 0, PRICE, &grant, &bytes).await.unwrap();
    if paid {
        far.world.open_deal(&terms, accepted.clone()).await;
    }
    (terms.deal(), accepted)
}

#[tokio::test(start_paused = true)]
async fn false_events_delete_nothing() {
    let far = Far::new(Update::default()).await;
    let node = far.node().await;
    let (paid, _) = kept(&far, &node, 1, true).await;
    let (unpaid, accepted) = kept(&far, &node, 2, false).await;
    is_little(&far.proven_epoch().await);
    let lies = [paid, unpaid].map(|deal| Event::ShardLeft { node: node_id(), deal });
    far.turn(lies.to_vec()).await;
    // Time for several sweeps.
    far.world.pass(5_000).await;
    assert_eq!(node.status().await.unwrap().shards, 2, "neither is deleted");
    far.ledger.block_at(now(&far.world.host), &[], lies.to_vec());
    far.world.pass(EPOCH_MS / 2).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.unpaid_shards), (2, 1));
    assert_eq!(status.unpaid_bytes, SLICE_BYTES as u64);
    assert_eq!((status.passed, status.missed), (2, 0), "the lie costs a look-up, not the epoch");
    // The accepted shard may still be paid, and is there when its deal opens.
    far.world.open_deal(&far.world.terms(2, SLICE_BYTES as u64), accepted).await;
    far.turn(Vec::new()).await;
    far.world.pass(5_000).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.slots, status.missed), (2, 0));
    let window = far.row().window.unwrap();
    assert_eq!(status.passed, window.epoch, "every epoch from the first is proven");
    assert_eq!(status.unpaid_bytes, 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_kept_until_no_block_can_open_its_deal() {
    let mut far = Far::new(Update::default()).await;
    // Without a grace period the ledger's time alone decides.
    far.options.limits.unpaid_grace_ms = 0;
    far.options.limits.sweep_ms = 1_000;
    let node = far.node().await;
    let (first, accepted) = kept(&far, &node, 1, false).await;
    let (_, later) = kept(&far, &node, 2, false).await;
    // The machine's clock does not matter: the ledger makes no block for hours.
    far.world.pass(3 * 60 * 60 * 1000).await;
    assert_eq!(node.status().await.unwrap().shards, 2);
    // A block with exactly the time of the acceptance's expiry may still open the deal.
    let expires_ms = accepted.expires_ms;
    assert!(expires_ms < later.expires_ms);
    far.ledger.block_at(expires_ms, &[], Vec::new());
    far.world.pass(10_000).await;
    assert_eq!(node.status().await.unwrap().shards, 2);
    far.ledger.block_at(expires_ms.saturating_add(Millis(1)), &[], Vec::new());
    far.world.pass(10_000).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.unpaid_bytes), (1, SLICE_BYTES as u64));
    let store = far.world.peer(&far.world.owner, &node).await;
    let check = symbolon_protocol::wire::storage::Request::Check {
        deal: first,
        index: 0,
        grant: Some(far.world.own_grant()),
    };
    let answer = store.ask(&check).await.unwrap();
    let gone = symbolon_protocol::wire::storage::Response::Held { length: None, root: None };
    assert_eq!(answer, gone);
    node.stop().await;
}
