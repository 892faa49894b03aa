//! Hundreds of registered addresses without a node, and a few live nodes: a client that stores asks some, and soon
//! those that are there.

use std::{collections::BTreeSet, time::Duration};

use ed25519_dalek::SigningKey;
use symbolon_client::{Client, Progress, PutOptions, PutReport, Source};
use symbolon_net::peer_id;
use symbolon_protocol::{
    Amount,
    id::{AccountId, NodeId, TransactionId},
    ledger::{
        Status,
        transaction::{Action, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called, derive};
use tokio::{task::JoinSet, time::sleep};

use super::put_options;

const LIVE: usize = 8;
const DEAD: u64 = 492;

/// At once, and besides where few of these answered.
const ASKED: usize = 64;
const SEARCHED: usize = 192;

pub(super) async fn strangers(seed: u64) -> Trace {
    let mut world = World::found(seed, LIVE).await;
    register_dead(&world, seed).await;
    let live: BTreeSet<NodeId> = world.stations.iter().map(|station| station.id).collect();
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let me = world.identity("owner").peer();
    let ledger = peer_id(&derive(seed, "ledger endpoint"));
    let mut last = 0;
    for round in 0..6 {
        drop(world.network.called_by(&me));
        let stored = put(&world, &owner, round).await;
        let called = world.network.called_by(&me);
        let nodes = called.iter().filter(|peer| **peer != ledger).count();
        world.note(format!("round {round}: {nodes} called, {} keep shards", stored.nodes.len()));
        assert!(stored.nodes.is_subset(&live));
        let most = if round == 0 { ASKED + SEARCHED } else { ASKED };
        assert!(nodes <= most, "round {round}: {nodes} were called");
        // Who answered once is asked again, and of the strangers now and then one answers.
        assert!(last <= stored.nodes.len(), "round {round}");
        last = stored.nodes.len();
        // What was known a moment ago would be known still.
        sleep(Duration::from_secs(5)).await;
        world.audit().await;
    }
    // Another run of the program knows whom it met.
    owner.close().await;
    let owner = world.client("owner");
    drop(world.network.called_by(&me));
    let stored = put(&world, &owner, 99).await;
    let nodes = world.network.called_by(&me).len();
    assert!(nodes <= ASKED + 1 && last <= stored.nodes.len(), "{nodes} were called");
    world.note(format!("again: {} keep shards", stored.nodes.len()));
    for number in 0..LIVE {
        let row = world.row(number).await;
        world.note(format!("node {number} uses {} bytes", row.used));
    }
    world.finish().await
}

async fn put(world: &World, owner: &Client, round: u64) -> PutReport {
    let name = format!("file {round}");
    let source = Source::Bytes(world.bytes(&name, 100_000).into());
    let options = PutOptions { scheme: None, ..put_options(500) };
    owner.put(source, &called(&name), &options, &Progress::silent()).await.unwrap()
}

/// Registers nodes that do not run.
async fn register_dead(world: &World, seed: u64) {
    let ledger = world.ledger();
    let valid_until = ledger.head().await.unwrap().header.height + 500;
    let mut registering = JoinSet::new();
    for number in 0..DEAD {
        let key = SigningKey::from_bytes(&derive(seed, &format!("dead {number}")));
        let action = Action::RegisterNode {
            payout: AccountId([7; 32]),
            addresses: vec!["nowhere".into()],
            custody_key: None,
            caretaker: false,
            price: Amount(1),
            capacity: 1 << 40,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        let id = TransactionId([1; 16]);
        let transaction = Transaction::build(ledger.chain(), &key, id, valid_until, action);
        let ledger = ledger.clone();
        registering.spawn(async move { ledger.submit(transaction).await.unwrap().status });
    }
    for status in registering.join_all().await {
        assert_eq!(status, Status::Applied);
    }
}
