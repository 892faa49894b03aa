//! How a node follows a ledger over the network: it follows blocks of many pages, and it gives up
//! on a block that it cannot follow.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ed25519_dalek::SigningKey;
use symbolon_ledger::{Embedded, Keeping, Ledger, LedgerTicket, Remote};
use symbolon_net::{Endpoint, PeerAddress};
use symbolon_node::Node;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    grant::{Caveat, Grant},
    id::{AccountId, Hash, Opening},
    ledger::{
        Status,
        rows::{Nodes, Orders, Redemptions, Table as _},
        transaction::{Acceptance, Action, DealTerms},
    },
    wire::{
        ledger::{OldestBlock, Request, Response},
        storage,
        storage::RefusalCode,
    },
};
use tokio::sync::watch;

use crate::{
    between::{Between, stand_between},
    world::{NODE_SECRET, PRICE, START_MS, World, code, deal_id, shard},
};

const EPOCH_MS: u64 = 60_000;
pub(crate) const SERVER: [u8; 32] = [71; 32];
pub(crate) const LIAR: [u8; 32] = [72; 32];

fn embedded(world: &World) -> Embedded {
    let Ledger::Embedded(embedded) = world.ledger.clone() else { panic!("the world has its own") };
    embedded
}

pub(crate) fn ticket(world: &World, address: PeerAddress) -> LedgerTicket {
    LedgerTicket { chain: world.ledger.chain(), peers: vec![address] }
}

/// Answers for the world's ledger.
pub(crate) fn answer(world: &World, endpoint: Endpoint) {
    tokio::spawn(symbolon_ledger::answer(embedded(world), endpoint));
}

/// A node that reaches its ledger at an address.
async fn far_node(world: &World, address: PeerAddress) -> Node {
    let endpoint = world.network.endpoint(NODE_SECRET);
    let ledger = Remote::new(endpoint.clone(), ticket(world, address)).into();
    let (options, host) = (world.options("node"), world.host.clone());
    let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
    node.registered().await;
    node
}

/// Opens deals for one epoch with one small shard each. Their node exists only on the ledger.
async fn open_deals(world: &World, count: u32) {
    let (owner, other) = (world.owner.account_key(), SigningKey::from_bytes(&[33; 32]));
    let register = Action::RegisterNode {
        payout: AccountId([78; 32]),
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price: PRICE,
        capacity: 1 << 30,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    world.apply(&other, register).await;
    let opened = (0..count).map(|number| {
        let opening = Opening(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let (required, total) = (1, 1);
        let terms = DealTerms { opening, required, total, ..world.terms(0, 1024) };
        let terms = DealTerms { segment: number, epochs: 1, ..terms };
        let until_ms = LedgerTime(START_MS * 2);
        let shard = (0, Hash([7; 32]));
        let accepted = Acceptance::build(
            &world.ledger.chain(),
            &terms,
            &other,
            shard,
            (PRICE, u64::MAX),
            until_ms,
        );
        let (acceptances, cost_max) = (vec![accepted], Amount::credits(1));
        world.submit(&owner, Action::OpenDeal { terms, acceptances, cost_max })
    });
    for status in futures_join(opened).await {
        assert_eq!(status, Status::Applied);
    }
}

/// Runs all tasks at once, so that few blocks are made.
async fn futures_join<T>(tasks: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.map(|task| (Box::pin(task), None)).collect();
    std::future::poll_fn(|context| {
        for (task, done) in tasks.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = task.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        match tasks.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    tasks.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_through_a_block_of_many_events() {
    let world = World::new().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let node = far_node(&world, server.address()).await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    // Two deals end together with all the others: one early and one late in the order of their ids.
    // A third goes on.
    let first = (1..=u8::MAX).min_by_key(|number| deal_id(*number)).unwrap();
    let last = (1..=u8::MAX).max_by_key(|number| deal_id(*number)).unwrap();
    let other = (1..=u8::MAX).find(|number| ![first, last].contains(number)).unwrap();
    let ends = |number| DealTerms { epochs: 1, ..world.terms(number, 1024) };
    let (early, late) = (ends(first), ends(last));
    for terms in [&early, &late, &world.terms(other, 4096)] {
        let bytes = shard(terms.length);
        let accepted = owner.store(terms, 1, PRICE, &grant, &bytes).await.unwrap();
        world.open_deal(terms, accepted).await;
    }
    open_deals(&world, 3_000).await;
    let head = world.ledger.head().await.unwrap().header.height;
    world.pass(5 * EPOCH_MS).await;

    let mut follow = world.ledger.follow(head + 1);
    while follow.next().await.unwrap().events.len() <= 512 {}
    let status = node.status().await.unwrap();
    assert_eq!(status.height, world.ledger.head().await.unwrap().header.height);
    assert_eq!((status.shards, status.slots), (1, 1), "shards of ended deals are deleted");
    assert_eq!((status.epoch, status.missed), (5, 0));
    assert_eq!(Some(status.passed), status.passed_epoch, "all epochs from the first");
    let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
    assert_eq!(row.window.map(|window| window.epoch), status.passed_epoch);
    node.stop().await;
}

/// A server that passes everything on but refuses to send blocks.
fn liar(endpoint: Endpoint, truth: PeerAddress) {
    instead_of_blocks(
        endpoint,
        truth,
        Response::Refused { message: "a frame is too large".into() },
    );
}

/// A server that passes everything on, but says that it keeps blocks only from far away on.
pub(crate) fn keeps_nothing(endpoint: Endpoint, truth: PeerAddress) {
    let oldest = OldestBlock { height: 1_000_000, time_ms: LedgerTime(START_MS) };
    instead_of_blocks(endpoint, truth, Response::Pruned { oldest });
}

fn instead_of_blocks(endpoint: Endpoint, truth: PeerAddress, answer: Response) {
    stand_between(endpoint, truth, Arc::new(NoBlocks(answer)));
}

/// Answers this to those who follow.
struct NoBlocks(Response);

impl Between for NoBlocks {
    fn instead(&self, request: &Request) -> Option<Response> {
        matches!(request, Request::Follow { .. }).then(|| self.0.clone())
    }

    async fn pass(&self, _: &Request, answer: Response) -> Option<Response> {
        Some(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_follow_fails() {
    let world = World::new().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let between = world.network.endpoint(LIAR);
    liar(between.clone(), server.address());
    let node = far_node(&world, between.address()).await;
    let failure = node.failed().await;
    assert_eq!(failure.height, node.status().await.unwrap().height + 1);
    assert!(failure.to_string().contains("a frame is too large"), "{failure}");
    node.stop().await;
}

/// What the server between a node and its ledger does, as a test turns it on and off.
#[derive(Default)]
pub(crate) struct Switches {
    /// Answers registrations in the ledger's place.
    refuses: Mutex<Option<Status>>,
    /// Passes no block on.
    holds: watch::Sender<bool>,
    /// Says for ever what the head was when this was set.
    hides: AtomicBool,
    head: Mutex<Option<Response>>,
    /// Ends every stream of blocks.
    pub(crate) cuts: AtomicBool,
    /// Answers no question for rows.
    pub(crate) away: AtomicBool,
    /// How often an order's row was asked for.
    pub(crate) orders_asked: AtomicUsize,
    /// How often a redemption's row was asked for.
    pub(crate) redemptions_asked: AtomicUsize,
}

impl Between for Switches {
    fn instead(&self, request: &Request) -> Option<Response> {
        let Request::Submit { transaction } = request else { return None };
        let registers = matches!(transaction.action, Action::RegisterNode { .. });
        let status = (*self.refuses.lock().unwrap()).filter(|_| registers)?;
        Some(Response::Outcome { height: 1, status })
    }

    async fn pass(&self, request: &Request, answer: Response) -> Option<Response> {
        match request {
            Request::Rows { keys } => {
                if keys.iter().any(|key| key.first() == Some(&Orders::TAG)) {
                    self.orders_asked.fetch_add(1, Ordering::Relaxed);
                }
                if keys.iter().any(|key| key.first() == Some(&Redemptions::TAG)) {
                    self.redemptions_asked.fetch_add(1, Ordering::Relaxed);
                }
                (!self.away.load(Ordering::Relaxed)).then_some(answer)
            }
            Request::Follow { .. } if self.cuts.load(Ordering::Relaxed) => None,
            Request::Follow { .. } => {
                self.holds.subscribe().wait_for(|holds| !holds).await.unwrap();
                Some(answer)
            }
            _ => Some(self.head(answer)),
        }
    }
}

impl Switches {
    fn head(&self, answer: Response) -> Response {
        if !matches!(answer, Response::Head { .. }) {
            return answer;
        }
        let mut head = self.head.lock().unwrap();
        match self.hides.load(Ordering::Relaxed) {
            true => head.get_or_insert(answer).clone(),
            false => {
                *head = None;
                answer
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_the_ledger_refuses_is_not_registered() {
    let world = World::new().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let front = world.network.endpoint(LIAR);
    let how = Arc::new(Switches::default());
    *how.refuses.lock().unwrap() = Some(Status::BadSignature);
    stand_between(front.clone(), server.address(), how.clone());
    let endpoint = world.network.endpoint(NODE_SECRET);
    let ledger = Remote::new(endpoint.clone(), ticket(&world, front.address())).into();
    let (options, host) = (world.options("node"), world.host.clone());
    let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
    world.pass(20_000).await;
    assert!(!node.status().await.unwrap().registered, "the ledger has no row of it");
    *how.refuses.lock().unwrap() = None;
    node.registered().await;
    assert!(world.ledger.row(Nodes, &node.id()).await.unwrap().is_some());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_its_ledger_says_so() {
    let world = World::new().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let front = world.network.endpoint(LIAR);
    let how = Arc::new(Switches::default());
    stand_between(front.clone(), server.address(), how.clone());
    let node = far_node(&world, front.address()).await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant) = (world.terms(1, 4096), world.own_grant());
    owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    let max_ms = Millis(60_000);
    let fresh = world.grant(world.owner.peer(), vec![Caveat::Staleness { max_ms }]);
    let (deal, grant) = (terms.deal(), Some(fresh));
    let read = storage::Request::Read { deal, index: 0, first: 0, count: 1, grant };
    owner.read(&read).await.unwrap();
    // There is a block that it does not see, and it knows that there is one.
    how.holds.send_replace(true);
    world.pass(30_000).await;
    world.apply(&SigningKey::from_bytes(&[33; 32]), Action::Faucet).await;
    world.pass(35_000).await;
    assert_eq!(code(owner.read(&read).await), RefusalCode::Stale, "a grant may be dead by it");
    how.holds.send_replace(false);
    owner.read(&read).await.unwrap();
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_from_which_its_server_hides_blocks_serves_no_grant() {
    let world = World::new().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let front = world.network.endpoint(LIAR);
    let how = Arc::new(Switches::default());
    stand_between(front.clone(), server.address(), how.clone());
    let endpoint = world.network.endpoint(NODE_SECRET);
    let (options, host) = (world.options("node"), world.host.clone());
    let keeping = Keeping { host: host.clone(), folder: options.dir.clone() };
    let ticket = ticket(&world, front.address());
    let ledger = Remote::keeping(endpoint.clone(), ticket, keeping).into();
    let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
    node.registered().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant) = (world.terms(1, 4096), world.own_grant());
    owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    let read = |grant: &Grant| {
        let (deal, grant) = (terms.deal(), Some(grant.clone()));
        storage::Request::Read { deal, index: 0, first: 0, count: 1, grant }
    };
    let max_ms = Millis(100_000);
    let fresh = world.grant(world.owner.peer(), vec![Caveat::Staleness { max_ms }]);
    owner.read(&read(&fresh)).await.unwrap();
    // The node sees no block and no newer head, so nothing tells it that there is one. Its server says that there is none.
    world.apply(&SigningKey::from_bytes(&[33; 32]), Action::Faucet).await;
    world.pass(10).await;
    how.hides.store(true, Ordering::Relaxed);
    // The head of this moment is the one that it hears of from now on.
    let now = world.grant(world.owner.peer(), vec![Caveat::Staleness { max_ms: Millis(0) }]);
    assert_eq!(code(owner.read(&read(&now)).await), RefusalCode::Stale);
    how.holds.send_replace(true);
    world.pass(90_000).await;
    owner.read(&read(&fresh)).await.unwrap();
    world.pass(30_000).await;
    let refused = owner.read(&read(&fresh)).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::Stale, "a revocation may be hidden");
    // It says how old its view is, since when, and what the grant accepts.
    for said in ["2 min old", "2026-11-", "The grant accepts 100 s"] {
        assert!(refused.message.contains(said), "{}", refused.message);
    }
    owner.read(&read(&grant)).await.unwrap();
    // Then a block is overdue for long, and no grant is served.
    world.pass(11 * 60_000).await;
    assert_eq!(code(owner.read(&read(&grant)).await), RefusalCode::Stale, "none is served");
    how.hides.store(false, Ordering::Relaxed);
    how.holds.send_replace(false);
    owner.read(&read(&grant)).await.unwrap();
    node.stop().await;
}
