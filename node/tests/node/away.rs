//! A node that was away for longer than its ledger keeps blocks: it learns from rows what the blocks
//! would have told it, and goes on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use symbolon_ledger::{LedgerError, Remote};
use symbolon_node::{Node, NodeOptions};
use symbolon_protocol::{
    LedgerTime, Millis,
    grant::Grant,
    ledger::{
        Params,
        block::{Event, Reason},
        rows::{DealState, Nodes},
        transaction::{Acceptance, Action, DealTerms},
        window_offset,
    },
    wire::storage::{RefusalCode, Request, Response},
};
use tokio::time::timeout;

use crate::{
    between::stand_between,
    follow::{LIAR, SERVER, Switches, answer, ticket},
    world::{NODE_SECRET, PRICE, Peer, START_MS, World, code, deal_id, shard},
};

const EPOCH_MS: u64 = 60_000;

/// A world whose ledger keeps the blocks of the current epoch and of the one before.
async fn world() -> World {
    World::keeping(Params::development(), 1).await
}

/// Checks that the ledger no longer has the block after a height.
async fn is_gone(world: &World, height: u64) {
    let next = world.ledger.follow(height + 1).next().await;
    assert!(matches!(next, Err(LedgerError::Pruned { .. })), "{next:?}");
}

/// Shards of deals that take every course while the node is away.
struct Course {
    short: DealTerms,
    cancelled: DealTerms,
    running: DealTerms,
    late: (DealTerms, Acceptance),
    never_paid: DealTerms,
}

impl Course {
    /// Stores all shards, and opens the deals that begin before.
    async fn begin(world: &World, owner: &Peer) -> Self {
        let grant = world.own_grant();
        let short = DealTerms { epochs: 3, ..world.terms(1, 4096) };
        let (cancelled, running) = (world.terms(2, 2048), world.terms(3, 1024));
        let (late, never_paid) = (world.terms(4, 8192), world.terms(5, 3072));
        let mut accepted = Vec::new();
        for terms in [&short, &cancelled, &running, &late, &never_paid] {
            let bytes = shard(terms.length);
            accepted.push(owner.store(terms, 0, PRICE, &grant, &bytes).await.unwrap());
        }
        for (terms, accepted) in [&short, &cancelled, &running].into_iter().zip(&accepted) {
            world.open_deal(terms, accepted.clone()).await;
        }
        Self { short, cancelled, running, late: (late, accepted[3].clone()), never_paid }
    }

    /// What happens while the node is away: longer than blocks are kept.
    async fn go_on(&self, world: &World, revoked: &Grant) {
        let key = world.owner.account_key();
        world.open_deal(&self.late.0, self.late.1.clone()).await;
        world.apply(&key, Action::EndDeal { deal: self.cancelled.deal() }).await;
        let link = revoked.verify(&world.ledger.chain()).unwrap().link_ids()[0];
        world.apply(&key, Action::Revoke { link, until_ms: None }).await;
        world.pass(5 * EPOCH_MS).await;
        assert_eq!(world.deal(&self.short.deal()).await.state, DealState::Completed);
        assert_eq!(world.deal(&self.late.0.deal()).await.state, DealState::Open);
    }

    /// Checks that a node knows all of it.
    async fn is_known(&self, world: &World, node: &Node, revoked: &Grant) {
        let status = node.status().await.unwrap();
        assert_eq!(status.height, world.ledger.head().await.unwrap().header.height);
        let paid = self.running.length + self.late.0.length;
        let all = paid + self.never_paid.length;
        assert_eq!((status.shards, status.unpaid_shards, status.used), (3, 1, all));
        assert_eq!(status.unpaid_bytes, self.never_paid.length);
        let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
        assert_eq!((row.slots, row.passed_epoch), (2, Some(row.window.unwrap().epoch)));
        let owner = world.peer(&world.owner, node).await;
        for terms in [&self.short, &self.cancelled] {
            let check = Request::Check { deal: terms.deal(), index: 0, grant: None };
            let gone = Response::Held { length: None, root: None };
            assert_eq!(owner.ask(&check).await.unwrap(), gone);
        }
        let read = |grant: &Grant| Request::Read {
            deal: self.running.deal(),
            index: 0,
            first: 0,
            count: 1,
            grant: Some(grant.clone()),
        };
        assert_eq!(code(owner.read(&read(revoked)).await), RefusalCode::Revoked);
        owner.read(&read(&world.own_grant())).await.unwrap();

        // From here on it follows blocks, and proves epoch after epoch.
        world.pass(2 * EPOCH_MS).await;
        let later = node.status().await.unwrap();
        assert_eq!((later.passed, later.missed), (status.passed + 2, status.missed));
        assert_eq!(later.height, world.ledger.head().await.unwrap().header.height);
    }
}

/// A node behind a server that can cut its blocks off.
pub(crate) async fn far_node(world: &World, options: NodeOptions) -> (Node, Arc<Switches>) {
    let server = world.network.endpoint(SERVER);
    answer(world, server.clone());
    let front = world.network.endpoint(LIAR);
    let how = Arc::new(Switches::default());
    stand_between(front.clone(), server.address(), how.clone());
    let endpoint = world.network.endpoint(NODE_SECRET);
    let ledger = Remote::new(endpoint.clone(), ticket(world, front.address())).into();
    let host = world.host.clone();
    let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
    node.registered().await;
    (node, how)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_off_learns_from_rows_what_it_missed() {
    let world = world().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let course = Course::begin(&world, &owner).await;
    world.opened(&node).await;
    let before = node.status().await.unwrap();
    assert_eq!((before.slots, before.passed), (3, 1));
    node.stop().await;
    let revoked = world.own_grant();
    course.go_on(&world, &revoked).await;
    is_gone(&world, before.height).await;
    let node = world.node().await;
    world.pass(1_000).await;
    course.is_known(&world, &node, &revoked).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_node_that_saw_no_blocks_learns_from_rows_what_it_missed() {
    let world = world().await;
    let (node, how) = far_node(&world, world.options("node")).await;
    let owner = world.peer(&world.owner, &node).await;
    let course = Course::begin(&world, &owner).await;
    world.opened(&node).await;
    let before = node.status().await.unwrap();
    assert_eq!((before.slots, before.passed), (3, 1));
    how.cuts.store(true, Ordering::Relaxed);
    let revoked = world.own_grant();
    course.go_on(&world, &revoked).await;
    is_gone(&world, before.height).await;
    let behind = node.status().await.unwrap();
    assert_eq!((behind.height, behind.epoch), (before.height, before.epoch), "it saw nothing");
    how.cuts.store(false, Ordering::Relaxed);
    world.pass(30_000).await;
    course.is_known(&world, &node, &revoked).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_node_says_from_when_its_pay_is_listed() {
    let world = world().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 1024);
    let accepted = owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(1024)).await.unwrap();
    world.open_deal(&terms, accepted).await;
    world.opened(&node).await;
    world.pass(5 * EPOCH_MS).await;
    let payout = node.status().await.unwrap().payout;
    let history = world.ledger.history(&payout, u64::MAX, 100).await.unwrap();
    let proven = history.lines.iter().filter_map(|line| match line.event {
        Event::Moved { reason: Reason::Proven { epoch, .. }, .. } => Some(epoch),
        _ => None,
    });
    // An epoch is listed if the block with its proof is kept. The proof follows its window within a second.
    let (chain, start) = (world.ledger.chain(), LedgerTime(START_MS));
    let offset = window_offset(&chain, &node.id(), Millis(EPOCH_MS));
    let opened = |epoch: u64| start.saturating_add(offset).saturating_add(Millis(epoch * EPOCH_MS));
    let kept = (1..=6).rev().filter(|epoch| history.oldest.time_ms <= opened(*epoch));
    let (proven, kept): (Vec<_>, Vec<_>) = (proven.collect(), kept.collect());
    assert_eq!(proven, kept);
    assert!((1..6).contains(&proven.len()), "some are kept, and some are not: {proven:?}");
    let first = history.lines.last().unwrap();
    assert!(history.oldest.height <= first.height && 0 < history.oldest.height);
    // The owner's payment is older, and stays.
    let paid = world.ledger.history(&world.owner.account(), u64::MAX, 100).await.unwrap().lines;
    assert!(paid.iter().any(|line| matches!(line.event,
        Event::Moved { reason: Reason::Deal { deal }, .. } if deal == deal_id(1))));
    assert!(paid.iter().all(|line| line.height < history.oldest.height));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_keeps_nothing_it_has_is_not_followed() {
    // The server says that it keeps blocks only after the last one: no checkpoint can reach them.
    let world = world().await;
    let server = world.network.endpoint(SERVER);
    answer(&world, server.clone());
    let front = world.network.endpoint(LIAR);
    crate::follow::keeps_nothing(front.clone(), server.address());
    let endpoint = world.network.endpoint(NODE_SECRET);
    let ledger = Remote::new(endpoint.clone(), ticket(&world, front.address())).into();
    let (options, host) = (world.options("node"), world.host.clone());
    let node = Node::start(options, NODE_SECRET, endpoint, ledger, host).await.unwrap();
    world.apply(&SigningKey::from_bytes(&[33; 32]), Action::Faucet).await;
    // A node that took the server's word would ask for ever.
    let failure = timeout(Duration::from_secs(3_600), node.failed()).await.unwrap();
    assert!(failure.to_string().contains("after its last"), "{failure}");
    node.stop().await;
}
