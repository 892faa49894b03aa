//! Every refusal that a node can give, each for its reason. Also bytes that are no request.

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Ledger, LedgerTicket, Remote};
use symbolon_net::{Alpn, Connection, Endpoint, NetError, PeerAddress};
use symbolon_node::{Limits, Node};
use symbolon_protocol::{
    Amount, Encode, Millis,
    grant::{Caveat, Grant, ability},
    identity::Identity,
    ledger::transaction::{Action, DealTerms},
    limits::SHARD_BYTES_MAX,
    wire::storage::{Fault, RefusalCode, Request, Response},
};
use tokio::task::JoinHandle;

use crate::world::{NODE_SECRET, PRICE, World, code, named, shard};

#[tokio::test(start_paused = true)]
async fn impossible_terms_are_malformed() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let good = world.terms(1, 4096);
    let bad = |change: fn(&mut DealTerms)| {
        let mut terms = good.clone();
        change(&mut terms);
        terms
    };
    for terms in [
        bad(|terms| terms.length = 0),
        bad(|terms| terms.length = 1023),
        bad(|terms| terms.length = 4097),
        bad(|terms| terms.length = SHARD_BYTES_MAX + 1024),
        bad(|terms| terms.length = u64::MAX),
        bad(|terms| terms.required = 0),
        bad(|terms| terms.required = 4),
        bad(|terms| terms.total = 129),
        bad(|terms| terms.epochs = 0),
        bad(|terms| terms.epochs = u64::MAX),
    ] {
        let refused = owner.store(&terms, 0, PRICE, &grant, &[]).await;
        assert_eq!(code(refused), RefusalCode::Malformed, "{terms:?}");
    }
    assert_eq!(code(owner.store(&good, 3, PRICE, &grant, &[]).await), RefusalCode::Malformed);

    owner.store(&good, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    for (first, count) in [(0, 0), (0, 2), (1, 1), (u32::MAX, u32::MAX)] {
        let grant = Some(grant.clone());
        let request = Request::Read { deal: good.deal(), index: 0, first, count, grant };
        assert_eq!(code(owner.read(&request).await), RefusalCode::Malformed);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_request_cost_one_stream() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let store = Request::Store {
        terms: world.terms(1, 4096),
        index: 0,
        price: PRICE,
        authority: grant.clone().into(),
    };
    let whole = store.to_bytes();
    let framed = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_le_bytes()[..], body].concat()
    };
    let mut bad = vec![
        framed(&[]),
        framed(&[0]),
        framed(&[9]),
        framed(&[1, 0]),
        framed(&[255; 300]),
        framed(&whole[..whole.len() - 1]),
        framed(&[&whole[..], &[0]].concat()),
        // The header of a frame of four gigabytes, without its bytes.
        vec![255; 4],
    ];
    for at in [20, 79, whole.len() - 10] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&[255; 4]);
        bad.push(framed(&bytes));
    }
    for bytes in bad {
        let (mut sender, mut receiver) = owner.connection.open().await.unwrap();
        sender.write(Bytes::from(bytes.clone())).await.unwrap();
        let answer: Response = receiver.receive().await.unwrap();
        let Response::Refused { refusal } = answer else {
            panic!("not refused: {answer:?}");
        };
        assert_ne!(refusal.code, RefusalCode::Internal);
        assert_eq!(refusal.fault, Fault::Yours, "{bytes:?}");
        assert_eq!(receiver.read(1).await.unwrap(), None);
        // The peer is asked to send no more.
        let mut result = Ok(());
        for _ in 0..1000 {
            result = sender.write(Bytes::from_static(&[0; 1024])).await;
        }
        assert_eq!(result, Err(NetError::Reset { code: 1 }));
    }
    assert!(owner.store(&world.terms(1, 4096), 0, PRICE, &grant, &shard(4096)).await.is_ok());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_is_refused_for_each_reason() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let terms = world.terms(1, 4096);

    let cheap = Amount(PRICE.0 - 1);
    assert_eq!(code(owner.store(&terms, 0, cheap, &grant, &[]).await), RefusalCode::PriceTooLow);
    let rich = Amount::credits(1_000_000_000);
    assert_eq!(code(owner.store(&terms, 0, rich, &grant, &[]).await), RefusalCode::CannotPay);
    let overflow = Amount(u128::MAX);
    assert_eq!(code(owner.store(&terms, 0, overflow, &grant, &[]).await), RefusalCode::CannotPay);

    let reader = world.grant(world.owner.peer(), vec![Caveat::Abilities { set: ability::READ }]);
    assert_eq!(code(owner.store(&terms, 0, PRICE, &reader, &[]).await), RefusalCode::NotAllowed);
    let other = world.grant(node.id(), vec![]);
    assert_eq!(code(owner.store(&terms, 0, PRICE, &other, &[]).await), RefusalCode::NotYourGrant);

    // An owner with a valid key and no money.
    let poor_id = Identity::from_seed(&[33; 64]);
    let poor = world.peer(&poor_id, &node).await;
    let (chain, caveats) = (world.ledger.chain(), named(vec![]));
    let own =
        Grant::issue(&chain, &poor_id.account_key(), poor_id.peer(), caveats, &[0; 32]).unwrap();
    let mut theirs = world.terms(2, 4096);
    theirs.owner = poor_id.account();
    assert_eq!(code(poor.store(&theirs, 0, PRICE, &own, &[]).await), RefusalCode::CannotPay);
    assert_eq!(code(poor.store(&terms, 0, PRICE, &own, &[]).await), RefusalCode::NotAllowed);

    let missing = Request::Read { deal: terms.deal(), index: 0, first: 0, count: 1, grant: None };
    assert_eq!(code(owner.read(&missing).await), RefusalCode::NotFound);
    assert_eq!(node.status().await.unwrap().shards, 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_node_refuses_and_accepts_again_what_fits() {
    let world = World::new().await;
    let mut options = world.options("node");
    options.capacity = 10 * 1024;
    options.limits = Limits { unpaid_bytes_max: u64::MAX, ..options.limits };
    let node = world.node_with(options, [11; 32]).await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let store = async |deal: u8, length: u64| {
        owner.store(&world.terms(deal, length), 0, PRICE, &grant, &shard(length)).await
    };
    store(1, 6 * 1024).await.unwrap();
    assert_eq!(code(store(2, 5 * 1024).await), RefusalCode::Full);
    // Bytes that an upload under way will need are taken too.
    let terms = world.terms(3, 3 * 1024);
    let authority = grant.clone().into();
    let request = Request::Store { terms, index: 0, price: PRICE, authority };
    let (sender, mut receiver) = owner.open(&request).await;
    assert_eq!(receiver.receive::<Response>().await.unwrap(), Response::Ready);
    assert_eq!(code(store(4, 2 * 1024).await), RefusalCode::Full);
    drop((sender, receiver));
    world.pass(100).await;
    store(4, 4 * 1024).await.unwrap();
    assert_eq!(node.status().await.unwrap().used, 10 * 1024);
    assert_eq!(code(store(5, 1024).await), RefusalCode::Full);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_at_its_reserve_is_full() {
    let world = World::new().await;
    let mut options = world.options("node");
    options.limits = Limits { disk_reserve_bytes: u64::MAX / 2, ..options.limits };
    let node = world.node_with(options, [11; 32]).await;
    let owner = world.peer(&world.owner, &node).await;
    let stored = owner.store(&world.terms(1, 1024), 0, PRICE, &world.own_grant(), &[]).await;
    assert_eq!(code(stored), RefusalCode::Full);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_at_once_are_busy() {
    let world = World::new().await;
    let mut options = world.options("node");
    options.limits = Limits {
        streams_per_peer_max: 2,
        stores_max: 1,
        unpaid_bytes_per_owner_max: 6 * 1024,
        ..options.limits
    };
    let node = world.node_with(options, [11; 32]).await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let request = |deal: u8, index: u8| Request::Store {
        terms: world.terms(deal, 4096),
        index,
        price: PRICE,
        authority: grant.clone().into(),
    };
    let (mut first, mut ready) = owner.open(&request(1, 0)).await;
    assert_eq!(ready.receive::<Response>().await.unwrap(), Response::Ready);
    // An upload that still receives bytes does not give way.
    let mut while_it_comes = async |request: Request| {
        let trickle = async {
            loop {
                first.write(Bytes::from_static(&[7; 16])).await.unwrap();
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        };
        tokio::select! {
            answer = owner.ask(&request) => code(answer),
            () = trickle => unreachable!("it trickles for ever"),
        }
    };
    let (same_shard, same_deal) = (request(1, 0), request(1, 1));
    assert_eq!(while_it_comes(same_shard).await, RefusalCode::Busy, "the same shard");
    assert_eq!(while_it_comes(same_deal).await, RefusalCode::Conflict, "the same deal");
    assert_eq!(code(owner.ask(&request(2, 0)).await), RefusalCode::Busy, "one store at a time");
    // The peer has a limit of two streams, and this is the second one.
    let second = owner.connection.open().await.unwrap();
    let mut second_sender = second.0;
    second_sender.write(Bytes::from_static(&[9, 0, 0, 0])).await.unwrap();
    world.pass(10).await;
    assert_eq!(code(owner.ask(&Request::Info).await), RefusalCode::Busy);
    drop((first, ready, second_sender, second.1));
    world.pass(100).await;
    let stored = owner.store(&world.terms(1, 4096), 0, PRICE, &grant, &shard(4096)).await;
    stored.unwrap();
    assert_eq!(code(owner.ask(&request(2, 0)).await), RefusalCode::Busy, "too much unpaid");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_grant_is_void_even_for_a_node_that_starts_later() {
    let world = World::new().await;
    let friend_id = Identity::from_seed(&[31; 64]);
    let before = world.grant(friend_id.peer(), vec![]);
    let after = world.grant(friend_id.peer(), vec![]);
    let link = |grant: &Grant| grant.verify(&world.ledger.chain()).unwrap().link_ids()[0];
    let revoke = async |key: &SigningKey, grant: &Grant| {
        world.apply(key, Action::Revoke { link: link(grant), until_ms: None }).await;
    };
    revoke(&world.owner.account_key(), &before).await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 4096);
    owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(4096)).await.unwrap();
    let friend = world.peer(&friend_id, &node).await;
    let read = |grant: &Grant| Request::Read {
        deal: terms.deal(),
        index: 0,
        first: 0,
        count: 1,
        grant: Some(grant.clone()),
    };
    assert_eq!(code(friend.read(&read(&before)).await), RefusalCode::Revoked);
    // A revocation by an account that is not above the link has no effect.
    revoke(&friend_id.account_key(), &after).await;
    assert!(friend.read(&read(&after)).await.is_ok());
    revoke(&world.owner.account_key(), &after).await;
    world.pass(1).await;
    assert_eq!(code(friend.read(&read(&after)).await), RefusalCode::Revoked);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_its_ledger_is_stale() {
    let world = World::new().await;
    let server = world.network.endpoint([1; 32]);
    let serving = tokio::spawn(serve_ledger(world.ledger.clone(), server.clone()));
    let endpoint = world.network.endpoint([11; 32]);
    let caller = world.network.endpoint([12; 32]);
    let ticket = LedgerTicket { chain: world.ledger.chain(), peers: vec![server.address()] };
    let remote = Remote::new(caller, ticket);
    let options = world.options("node");
    let host = world.host.clone();
    let node = Node::start(options, [11; 32], endpoint, remote.into(), host).await.unwrap();
    node.registered().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 4096);
    let grant = world.own_grant();
    owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    let strict =
        world.grant(world.owner.peer(), vec![Caveat::Staleness { max_ms: Millis(60_000) }]);
    let read = |grant: &Grant| Request::Read {
        deal: terms.deal(),
        index: 0,
        first: 0,
        count: 1,
        grant: Some(grant.clone()),
    };
    owner.read(&read(&strict)).await.unwrap();

    serving.abort();
    server.close().await;
    owner.read(&read(&grant)).await.unwrap();
    world.pass(2 * 60_000).await;
    assert_eq!(code(owner.read(&read(&strict)).await), RefusalCode::Stale);
    owner.read(&read(&grant)).await.unwrap();
    let stored = owner.store(&world.terms(2, 1024), 0, PRICE, &grant, &shard(1024)).await;
    assert_eq!(code(stored), RefusalCode::Stale);
    world.pass(10 * 60_000).await;
    assert_eq!(code(owner.read(&read(&grant)).await), RefusalCode::Stale);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_request_gets_a_place_from_idle_strangers() {
    let world = World::new().await;
    let node = world.node().await;
    let address = PeerAddress { id: node.id(), addresses: Vec::new() };
    let mut strangers = Vec::new();
    for number in 0..1_024_u16 {
        let mut secret = [3; 32];
        secret[..2].copy_from_slice(&number.to_le_bytes());
        let stranger = world.network.endpoint(secret);
        let connection = stranger.connect(&address, Alpn::Storage).await.unwrap();
        strangers.push((stranger, connection));
        world.pass(1).await;
    }
    let open = |(_, connection): &&(_, Connection)| connection.close_reason().is_none();
    assert_eq!(strangers.iter().filter(open).count(), 512);
    world.pass(6_000).await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 4096);
    owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(4096)).await.unwrap();
    assert_eq!(strangers.iter().filter(open).count(), 511);
    node.stop().await;
}

/// Starts uploads of several peers, `of_each` for each, that send a byte a second. Each task
/// returns for how many seconds its upload went on.
async fn trickles(world: &World, node: &Node, peers: u8, of_each: u8) -> Vec<JoinHandle<u32>> {
    let mut uploads = Vec::new();
    for number in 0..peers {
        let thief = Identity::from_seed(&[100 + number; 64]);
        world.apply(&thief.account_key(), Action::Faucet).await;
        let slow = world.peer(&thief, node).await;
        let set = ability::STORE;
        let caveats = named(vec![Caveat::Abilities { set }]);
        let (chain, entropy) = (world.ledger.chain(), world.host.random());
        let key = thief.account_key();
        let grant = Grant::issue(&chain, &key, thief.peer(), caveats, &entropy).unwrap();
        for deal in 0..of_each {
            let terms = world.terms(100 + 10 * number + deal, 4096);
            let terms = DealTerms { owner: thief.account(), ..terms };
            let authority = grant.clone().into();
            let request = Request::Store { terms, index: 0, price: PRICE, authority };
            let (mut sender, mut ready) = slow.open(&request).await;
            assert_eq!(ready.receive::<Response>().await.unwrap(), Response::Ready);
            uploads.push(tokio::spawn(async move {
                let mut seconds = 0;
                while sender.write(Bytes::from_static(&[7])).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    seconds += 1;
                }
                seconds
            }));
        }
    }
    uploads
}

fn ended(uploads: &[JoinHandle<u32>]) -> usize {
    uploads.iter().filter(|upload| upload.is_finished()).count()
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_does_not_keep_a_place_that_another_peer_needs() {
    for (peers, of_each) in [(1, 4), (4, 1)] {
        let world = World::new().await;
        let mut options = world.options("node");
        options.limits = Limits { stores_max: 4, stores_per_peer_max: 4, ..options.limits };
        let node = world.node_with(options, NODE_SECRET).await;
        let uploads = trickles(&world, &node, peers, of_each).await;
        let owner = world.peer(&world.owner, &node).await;
        let (grant, terms) = (world.own_grant(), world.terms(1, 4096));
        let stored = owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await;
        if peers == 1 {
            stored.expect("the peer with all places gives one up at once");
        } else {
            assert_eq!(code(stored), RefusalCode::Busy, "no upload is slow at its start");
            world.pass(11_000).await;
            owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
        }
        // The sender notices when it sends its next byte.
        world.pass(2_500).await;
        assert_eq!(ended(&uploads), 1, "one gave way");
        // The other uploads end soon, too.
        for upload in uploads {
            assert!(upload.await.unwrap() < 30);
        }
        node.stop().await;
    }
}

/// Answers the ledger's requests on an endpoint.
async fn serve_ledger(ledger: Ledger, endpoint: Endpoint) {
    let Ledger::Embedded(embedded) = ledger else {
        panic!("the world's ledger is embedded");
    };
    symbolon_ledger::answer(embedded, endpoint).await;
}
