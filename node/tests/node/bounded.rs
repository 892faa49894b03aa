//! What an operator sets while a node runs: bandwidth, and a pause for new shards.

use symbolon_net::Host;
use symbolon_node::{Node, NodeError, RATE_MIN, Settings};
use symbolon_protocol::{
    grant::Grant,
    identity::Identity,
    ledger::transaction::{Action, DealTerms},
    wire::storage::{RefusalCode, Request},
};

use crate::world::{NODE_SECRET, PRICE, Peer, World, code, named, shard};

/// Bytes of each upload: at the smallest rate, four of them take over a minute.
const LENGTH: u64 = 256 * 1024;
/// Bytes of the slice that is read: at the smallest rate it takes half a minute.
const SENT: u64 = 512 * 1024;

impl World {
    fn set(&self, settings: &str) {
        let dir = self.dir.path().join("node");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(Settings::FILE), settings).unwrap();
    }

    /// Another owner with money, connected to the node.
    async fn other(&self, number: u8, node: &Node) -> (Identity, Peer, Grant) {
        let other = Identity::from_seed(&[100 + number; 64]);
        self.apply(&other.account_key(), Action::Faucet).await;
        let peer = self.peer(&other, node).await;
        let (chain, key) = (self.ledger.chain(), other.account_key());
        let entropy = self.host.random();
        let grant = Grant::issue(&chain, &key, other.peer(), named(vec![]), &entropy).unwrap();
        (other, peer, grant)
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_on_what_is_received_holds_and_makes_no_peer_look_slow() {
    let world = World::new().await;
    world.set(&format!("receive {RATE_MIN}\n"));
    let mut options = world.options("node");
    options.limits.stores_max = 4;
    let node = world.node_with(options, NODE_SECRET).await;
    let began_ms = world.host.ticks_ms();
    let mut uploads = Vec::new();
    for number in 0..4 {
        let (who, peer, grant) = world.other(number, &node).await;
        let terms = DealTerms { owner: who.account(), ..world.terms(number, LENGTH) };
        uploads.push(async move { peer.store(&terms, 0, PRICE, &grant, &shard(LENGTH)).await });
    }
    let newcomer = async {
        // All are as slow as the node makes them, and none of them gives way for that.
        world.pass(40_000).await;
        let (who, peer, grant) = world.other(9, &node).await;
        let terms = DealTerms { owner: who.account(), ..world.terms(9, 1024) };
        code(peer.store(&terms, 0, PRICE, &grant, &shard(1024)).await)
    };
    let [a, b, c, d] = <[_; 4]>::try_from(uploads).ok().unwrap();
    let (a, b, c, d, refused) = tokio::join!(a, b, c, d, newcomer);
    assert_eq!(refused, RefusalCode::Busy);
    for stored in [a, b, c, d] {
        stored.unwrap();
    }
    let took_ms = world.host.ticks_ms() - began_ms;
    let least_ms = 4 * LENGTH * 1_000 / RATE_MIN;
    assert!((least_ms - 500..least_ms + 2_000).contains(&took_ms), "{took_ms} of {least_ms} ms");
    assert_eq!(node.health().await.unwrap().received, 4 * LENGTH);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_on_what_is_sent_holds_until_it_is_lifted() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant) = (world.terms(1, SENT), world.own_grant());
    owner.store(&terms, 0, PRICE, &grant, &shard(SENT)).await.unwrap();
    world.set(&format!("send {RATE_MIN}\n"));
    // The node looks at the file now and then.
    world.pass(11_000).await;
    let request = || Request::Read {
        deal: terms.deal(),
        index: 0,
        first: 0,
        count: 1,
        grant: Some(grant.clone()),
    };
    let ticks = || world.host.ticks_ms();
    let began_ms = ticks();
    assert_eq!(owner.read(&request()).await.unwrap()[0].0, shard(SENT));
    let (took_ms, least_ms) = (ticks() - began_ms, SENT * 1_000 / RATE_MIN);
    assert!((least_ms - 500..least_ms + 2_000).contains(&took_ms), "{took_ms} of {least_ms} ms");

    // It is lifted in the middle of a read.
    let began_ms = ticks();
    let lift = async {
        world.pass(5_000).await;
        world.set("");
    };
    let asked = request();
    let (read, ()) = tokio::join!(owner.read(&asked), lift);
    read.unwrap();
    assert!(ticks() - began_ms < 15_500);

    // Settings that make no sense change nothing while it runs, and it does not start with them.
    world.set(&format!("send {RATE_MIN}\n"));
    world.pass(11_000).await;
    world.set("send 1\n");
    world.pass(11_000).await;
    assert_eq!(node.health().await.unwrap().settings.send, Some(RATE_MIN));
    node.stop().await;
    let endpoint = world.network.endpoint(NODE_SECRET);
    let (ledger, host): (_, Host) = (world.ledger.clone(), world.host.clone());
    let started = Node::start(world.options("node"), NODE_SECRET, endpoint, ledger, host).await;
    assert!(matches!(started.err().unwrap(), NodeError::Settings(_)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_refuses_new_shards_and_nothing_else() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let old = world.terms(1, 1024);
    let accepted = owner.store(&old, 0, PRICE, &grant, &shard(1024)).await.unwrap();
    // The world begins at 17:53 UTC.
    world.set("pause 17:00-18:00\n");
    world.pass(11_000).await;
    let new = world.terms(2, 1024);
    assert_eq!(code(owner.store(&new, 0, PRICE, &grant, &[]).await), RefusalCode::Busy);
    let again = owner.store(&old, 0, PRICE, &grant, &[]).await.unwrap();
    assert_eq!(again, accepted, "what is here is accepted again");
    let (deal, grant_to_read) = (old.deal(), Some(grant.clone()));
    let read = Request::Read { deal, index: 0, first: 0, count: 1, grant: grant_to_read };
    owner.read(&read).await.unwrap();
    world.pass(8 * 60_000).await;
    owner.store(&new, 0, PRICE, &grant, &shard(1024)).await.unwrap();
    node.stop().await;
}
