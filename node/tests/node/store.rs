//! Shards are stored and accepted once. An upload that fails leaves nothing.

use bytes::Bytes;
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    grant::{Caveat, Grant, ability},
    id::Hash,
    identity::Identity,
    ledger::transaction::{Action, DealTerms},
    limits::{CELL_BYTES, SLICE_BYTES},
    wire::storage::{RefusalCode, Request, Response},
};

use crate::world::{PRICE, START_MS, World, code, shard, verify};

#[tokio::test(start_paused = true)]
async fn a_stored_shard_can_be_read() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let length = 2 * SLICE_BYTES as u64 + 3 * CELL_BYTES as u64 + 1024;
    let (terms, grant, bytes) = (world.terms(1, length), world.own_grant(), shard(length));

    let acceptance = owner.store(&terms, 2, PRICE, &grant, &bytes).await.unwrap();
    acceptance.verify(&world.ledger.chain(), &terms).unwrap();
    assert_eq!(acceptance.node, node.id());
    assert_eq!((acceptance.index, acceptance.price), (2, PRICE));
    assert_eq!(acceptance.root, Hash(*blake3::hash(&bytes).as_bytes()));
    assert!(LedgerTime(START_MS + 3_600_000) <= acceptance.expires_ms);

    let deal = terms.deal();
    let read =
        |first, count| Request::Read { deal, index: 2, first, count, grant: Some(grant.clone()) };
    let pieces = owner.read(&read(0, 3)).await.unwrap();
    verify(&acceptance, length, SLICE_BYTES, 0, &pieces);
    assert_eq!(pieces.iter().flat_map(|piece| piece.0.clone()).collect::<Vec<_>>(), bytes);
    let middle = owner.read(&read(1, 1)).await.unwrap();
    verify(&acceptance, length, SLICE_BYTES, 1, &middle);

    for cell in [0_u32, 31, 35] {
        let grant = Some(grant.clone());
        let request = Request::ReadCell { deal, index: 2, cell, grant };
        let pieces = owner.read(&request).await.unwrap();
        verify(&acceptance, length, CELL_BYTES, u64::from(cell), &pieces);
        assert!(bytes[cell as usize * CELL_BYTES..].starts_with(&pieces[0].0));
    }

    let held = owner.ask(&Request::Check { deal, index: 2, grant: Some(grant) }).await.unwrap();
    assert_eq!(held, Response::Held { length: Some(length), root: Some(acceptance.root) });
    let held = owner.ask(&Request::Check { deal, index: 0, grant: None }).await.unwrap();
    assert_eq!(held, Response::Held { length: None, root: None });
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_reports_its_price_and_room() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let Response::Info { chain, node: id, price, free } = owner.ask(&Request::Info).await.unwrap()
    else {
        panic!("not the terms");
    };
    assert_eq!((chain, id, price), (world.ledger.chain(), node.id(), PRICE));
    let (terms, grant) = (world.terms(1, 4096), world.own_grant());
    owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    let Response::Info { free: after, .. } = owner.ask(&Request::Info).await.unwrap() else {
        panic!("not the terms");
    };
    assert_eq!(free - after, 4096);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_same_acceptance() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant, bytes) = (world.terms(1, 8192), world.own_grant(), shard(8192));
    let first = owner.store(&terms, 0, PRICE, &grant, &bytes).await.unwrap();
    // The node does not ask for the bytes: it answers at once.
    let request =
        Request::Store { terms: terms.clone(), index: 0, price: PRICE, authority: grant.into() };
    let again = owner.ask(&request).await.unwrap();
    assert_eq!(again, Response::Accepted { acceptance: first.clone() });

    // Another price that is high enough is signed over the same root.
    let grant = world.own_grant();
    let dearer = Amount(PRICE.0 + 1);
    let repriced = owner.store(&terms, 0, dearer, &grant, &[]).await.unwrap();
    assert_eq!((repriced.root, repriced.price), (first.root, dearer));
    repriced.verify(&world.ledger.chain(), &terms).unwrap();
    // A price that is too low is refused, also for a stored shard.
    let cheaper = Amount(PRICE.0 - 1);
    assert_eq!(code(owner.store(&terms, 0, cheaper, &grant, &[]).await), RefusalCode::PriceTooLow);

    // After half of its life the acceptance is renewed over the same root.
    world.pass(31 * 60 * 1000).await;
    let renewed = owner.store(&terms, 0, PRICE, &grant, &[]).await.unwrap();
    renewed.verify(&world.ledger.chain(), &terms).unwrap();
    assert_eq!(renewed.root, first.root);
    assert!(first.expires_ms.saturating_add(Millis(30 * 60 * 1000)) <= renewed.expires_ms);

    // Once the shard is paid, the acceptance stays as it is.
    world.open_deal(&terms, renewed.clone()).await;
    world.pass(40 * 60 * 1000).await;
    assert_eq!(owner.store(&terms, 0, dearer, &grant, &[]).await.unwrap(), renewed);

    // For other epochs the node agrees anew, at a price that it accepts: its owner places the shard with it again.
    let mut other = terms.clone();
    other.epochs += 1;
    let anew = owner.store(&other, 0, dearer, &grant, &[]).await.unwrap();
    anew.verify(&world.ledger.chain(), &other).unwrap();
    assert_eq!((anew.root, anew.price), (first.root, dearer));
    assert_eq!(code(owner.store(&other, 0, cheaper, &grant, &[]).await), RefusalCode::PriceTooLow);
    other.total += 1;
    assert_eq!(code(owner.store(&other, 0, PRICE, &grant, &[]).await), RefusalCode::Conflict);
    assert_eq!(code(owner.store(&terms, 1, PRICE, &grant, &[]).await), RefusalCode::Conflict);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let length = 3 * SLICE_BYTES as u64;
    let (terms, grant, bytes) = (world.terms(1, length), world.own_grant(), shard(length));
    let request =
        Request::Store { terms: terms.clone(), index: 0, price: PRICE, authority: grant.into() };

    // One client ends its stream early, one closes the connection, one falls silent.
    let (mut sender, mut receiver) = owner.open(&request).await;
    assert_eq!(receiver.receive::<Response>().await.unwrap(), Response::Ready);
    sender.write(Bytes::copy_from_slice(&bytes[..SLICE_BYTES + 5])).await.unwrap();
    sender.finish();
    assert!(receiver.receive::<Response>().await.is_err());

    let (mut sender, mut receiver) = owner.open(&request).await;
    assert_eq!(receiver.receive::<Response>().await.unwrap(), Response::Ready);
    sender.write(Bytes::copy_from_slice(&bytes[..2 * SLICE_BYTES])).await.unwrap();
    owner.connection.close("gone");
    world.pass(10).await;

    let owner = world.peer(&world.owner, &node).await;
    let (_sender, mut receiver) = owner.open(&request).await;
    assert_eq!(receiver.receive::<Response>().await.unwrap(), Response::Ready);
    assert_eq!(node.status().await.unwrap().unpaid_bytes, length);
    // The owner sends the shard again before the node notices: the silent upload gives way.
    let (_again, mut anew) = owner.open(&request).await;
    assert_eq!(anew.receive::<Response>().await.unwrap(), Response::Ready);
    assert!(receiver.receive::<Response>().await.is_err());
    assert_eq!(node.status().await.unwrap().unpaid_bytes, length);
    world.pass(31_000).await;
    assert!(anew.receive::<Response>().await.is_err());

    let status = node.status().await.unwrap();
    assert_eq!((status.used, status.shards, status.unpaid_bytes), (0, 0, 0));
    let temporary = world.dir.path().join("node/temporary");
    // Empty files wait for a shard.
    let begun =
        |file: std::io::Result<std::fs::DirEntry>| file.unwrap().metadata().unwrap().len() > 0;
    assert!(!std::fs::read_dir(temporary).unwrap().any(begun));
    // The place is free again.
    owner.store(&terms, 0, PRICE, &world.own_grant(), &bytes).await.unwrap();
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_not_disturbed_by_a_deal_of_another_owner() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, bytes) = (world.terms(1, 8192), shard(8192));
    let authority = world.own_grant().into();
    let request = Request::Store { terms: terms.clone(), index: 0, price: PRICE, authority };
    let (mut sender, mut receiver) = owner.open(&request).await;
    assert_eq!(receiver.receive::<Response>().await.unwrap(), Response::Ready);

    // A thief with money knows the deal's opening, and its owner is silent for a moment. The thief's deal with that opening is
    // another one.
    let thief = Identity::from_seed(&[34; 64]);
    world.apply(&thief.account_key(), Action::Faucet).await;
    let theirs = DealTerms { owner: thief.account(), ..terms.clone() };
    let caveats =
        vec![Caveat::Object { object: terms.object }, Caveat::Abilities { set: ability::STORE }];
    let chain = world.ledger.chain();
    let grant = Grant::issue(&chain, &thief.account_key(), thief.peer(), caveats, &[35; 32]);
    let stranger = world.peer(&thief, &node).await;
    assert_ne!(theirs.deal(), terms.deal());
    let kept = stranger.store(&theirs, 0, PRICE, &grant.unwrap(), &bytes).await.unwrap();
    kept.verify(&chain, &theirs).unwrap();

    sender.write(Bytes::from(bytes)).await.unwrap();
    sender.finish();
    let answer = receiver.receive::<Response>().await.unwrap();
    let Response::Accepted { acceptance } = answer else { panic!("not kept: {answer:?}") };
    acceptance.verify(&chain, &terms).unwrap();
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unpaid_shard_is_swept() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let (paid, unpaid) = (world.terms(1, 4096), world.terms(2, 8192));
    let accepted = owner.store(&paid, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    owner.store(&unpaid, 0, PRICE, &grant, &shard(8192)).await.unwrap();
    assert_eq!(node.status().await.unwrap().unpaid_shards, 2);
    world.open_deal(&paid, accepted).await;
    world.pass(1000).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.unpaid_shards, status.unpaid_bytes), (2, 1, 8192));

    world.pass(69 * 60 * 1000).await;
    assert_eq!(node.status().await.unwrap().shards, 2, "the grace period is not over");
    world.pass(3 * 60 * 1000).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.used, status.shards, status.unpaid_bytes), (4096, 1, 0));
    node.stop().await;
}
