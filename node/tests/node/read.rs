//! Which peer may read which shards, and how much.

use symbolon_protocol::{
    Millis,
    grant::{Caveat, Grant, ability},
    id::{ChainId, ObjectId},
    identity::Identity,
    ledger::{rows::Access, transaction::Action},
    limits::{CELL_BYTES, SLICE_BYTES},
    wire::storage::{RefusalCode, Request},
};

use crate::{
    life::damage,
    world::{PRICE, World, code, deal_id, named, now, shard, verify},
};

const LENGTH: u64 = SLICE_BYTES as u64 + 8 * CELL_BYTES as u64;

fn slice(first: u32, count: u32, grant: Option<&Grant>) -> Request {
    let deal = deal_id(1);
    Request::Read { deal, index: 0, first, count, grant: grant.cloned() }
}

fn cell(cell: u32, grant: &Grant) -> Request {
    let deal = deal_id(1);
    Request::ReadCell { deal, index: 0, cell, grant: Some(grant.clone()) }
}

#[tokio::test(start_paused = true)]
async fn a_stolen_grant_opens_nothing() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let own = world.own_grant();
    let terms = world.terms(1, LENGTH);
    let accepted = owner.store(&terms, 0, PRICE, &own, &shard(LENGTH)).await.unwrap();

    let (friend_id, thief_id) = (Identity::from_seed(&[31; 64]), Identity::from_seed(&[32; 64]));
    let friend = world.peer(&friend_id, &node).await;
    let thief = world.peer(&thief_id, &node).await;
    let caveats =
        vec![Caveat::Abilities { set: ability::READ }, Caveat::Object { object: terms.object }];
    let grant = world.grant(friend_id.peer(), caveats);
    let pieces = friend.read(&slice(0, 2, Some(&grant))).await.unwrap();
    verify(&accepted, LENGTH, SLICE_BYTES, 0, &pieces);

    let stolen = thief.read(&slice(0, 1, Some(&grant))).await;
    assert_eq!(code(stolen), RefusalCode::NotYourGrant);
    assert_eq!(code(thief.read(&slice(0, 1, None)).await), RefusalCode::NotAllowed);
    // A grant that the thief signs itself comes from an account that owns nothing here.
    let chain = world.ledger.chain();
    let caveats = named(vec![]);
    let forged =
        Grant::issue(&chain, &thief_id.account_key(), thief_id.peer(), caveats, &[0; 32]).unwrap();
    assert_eq!(code(thief.read(&slice(0, 1, Some(&forged))).await), RefusalCode::NotAllowed);
    let mut renamed = forged.clone();
    renamed.root = world.owner.account();
    assert_eq!(code(thief.read(&slice(0, 1, Some(&renamed))).await), RefusalCode::NotAllowed);
    // The friend passes the grant on, and may revoke that link.
    let passed =
        grant.delegate(&chain, &friend_id.access_key(), thief_id.peer(), vec![], &[1; 32]).unwrap();
    assert!(thief.read(&slice(0, 1, Some(&passed))).await.is_ok());
    let link = passed.verify(&chain).unwrap().link_ids()[1];
    world.apply(&friend_id.access_key(), Action::Revoke { link, until_ms: None }).await;
    assert_eq!(code(thief.read(&slice(0, 1, Some(&passed))).await), RefusalCode::Revoked);
    assert!(friend.read(&slice(0, 1, Some(&grant))).await.is_ok());
    // A grant that names no object and no abilities allows nothing. A grant for another ledger has
    // no valid signature.
    let whole = named(vec![]);
    let nonce = [7; 32];
    let issue = |chain: &ChainId, caveats: &[Caveat]| {
        let owner = world.owner.account_key();
        Grant::issue(chain, &owner, friend_id.peer(), caveats.to_vec(), &nonce).unwrap()
    };
    for grant in [
        issue(&chain, &[]),
        issue(&chain, &whole[..1]),
        issue(&chain, &whole[1..]),
        issue(&ChainId([9; 32]), &whole),
    ] {
        let refused = friend.read(&slice(0, 1, Some(&grant))).await;
        assert_eq!(code(refused), RefusalCode::NotAllowed, "{grant:?}");
    }
    assert!(friend.read(&slice(0, 1, Some(&issue(&chain, &whole)))).await.is_ok());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_caveat_is_kept() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, LENGTH);
    owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let friend_id = Identity::from_seed(&[31; 64]);
    let friend = world.peer(&friend_id, &node).await;
    let now = now(&world.host);
    for (caveat, expected) in [
        (Caveat::NotBefore { time_ms: now.saturating_add(Millis(60_000)) }, RefusalCode::OutOfTime),
        (Caveat::NotAfter { time_ms: now }, RefusalCode::OutOfTime),
        (Caveat::Object { object: ObjectId([9; 16]) }, RefusalCode::NotAllowed),
        (Caveat::Abilities { set: ability::STORE | ability::VERIFY }, RefusalCode::NotAllowed),
        (Caveat::NodeReads { count: 0 }, RefusalCode::QuotaUsed),
        (Caveat::NodeBytes { bytes: SLICE_BYTES as u64 - 1 }, RefusalCode::QuotaUsed),
        (Caveat::Cells { first: 24, end: 30 }, RefusalCode::NotAllowed),
    ] {
        let grant = world.grant(friend_id.peer(), vec![caveat.clone()]);
        assert_eq!(code(friend.read(&slice(0, 1, Some(&grant))).await), expected, "{caveat:?}");
    }
    let read_only = world.grant(friend_id.peer(), vec![Caveat::Abilities { set: ability::READ }]);
    let check = Request::Check { deal: terms.deal(), index: 0, grant: Some(read_only) };
    assert_eq!(code(friend.ask(&check).await), RefusalCode::NotAllowed);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn quotas_are_shared_below_a_link_and_outlive_a_restart() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, LENGTH);
    owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let (friend_id, second_id) = (Identity::from_seed(&[31; 64]), Identity::from_seed(&[32; 64]));
    let friend = world.peer(&friend_id, &node).await;
    let second = world.peer(&second_id, &node).await;
    let caveats =
        vec![Caveat::NodeReads { count: 4 }, Caveat::NodeBytes { bytes: SLICE_BYTES as u64 * 2 }];
    let grant = world.grant(friend_id.peer(), caveats);
    let chain = world.ledger.chain();
    let passed = grant
        .delegate(&chain, &friend_id.access_key(), second_id.peer(), vec![], &[1; 32])
        .unwrap();
    friend.read(&slice(0, 1, Some(&grant))).await.unwrap();
    second.read(&cell(0, &passed)).await.unwrap();
    let refused = friend.read(&slice(0, 1, Some(&grant))).await;
    assert_eq!(code(refused), RefusalCode::QuotaUsed, "a slice and a cell are read already");
    node.stop().await;

    let node = world.node().await;
    let friend = world.peer(&friend_id, &node).await;
    let second = world.peer(&second_id, &node).await;
    let refused = friend.read(&slice(0, 1, Some(&grant))).await;
    assert_eq!(code(refused), RefusalCode::QuotaUsed);
    friend.read(&cell(0, &grant)).await.unwrap();
    second.read(&cell(1, &passed)).await.unwrap();
    assert_eq!(code(friend.read(&cell(2, &grant)).await), RefusalCode::QuotaUsed);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_range_opens_only_its_stripes() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    // With two data shards, stripe t holds data cells 2t and 2t + 1.
    let mut terms = world.terms(1, LENGTH);
    terms.required = 2;
    terms.segment = 3;
    let accepted = owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let friend_id = Identity::from_seed(&[31; 64]);
    let friend = world.peer(&friend_id, &node).await;
    let first_cell = 3 * 1024 * 2;
    let range = |first: u64, end: u64| {
        let cells = Caveat::Cells { first: first_cell + first, end: first_cell + end };
        world.grant(friend_id.peer(), vec![cells])
    };
    let narrow = range(7, 8);
    let pieces = friend.read(&cell(3, &narrow)).await.unwrap();
    verify(&accepted, LENGTH, CELL_BYTES, 3, &pieces);
    for outside in [0, 2, 4, 23] {
        let read = friend.read(&cell(outside, &narrow)).await;
        assert_eq!(code(read), RefusalCode::NotAllowed, "cell {outside}");
    }
    assert_eq!(code(friend.read(&slice(0, 1, Some(&narrow))).await), RefusalCode::NotAllowed);
    let first_slice = range(1, 31);
    assert!(friend.read(&slice(0, 1, Some(&first_slice))).await.is_ok());
    assert_eq!(code(friend.read(&slice(0, 2, Some(&first_slice))).await), RefusalCode::NotAllowed);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_public_shard_needs_no_grant() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let mut terms = world.terms(1, LENGTH);
    terms.access = Access::Public;
    let accepted = owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let stranger = world.peer(&Identity::from_seed(&[99; 64]), &node).await;
    let pieces = stranger.read(&slice(0, 2, None)).await.unwrap();
    verify(&accepted, LENGTH, SLICE_BYTES, 0, &pieces);
    let check = Request::Check { deal: terms.deal(), index: 0, grant: None };
    assert!(stranger.ask(&check).await.is_ok());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_never_sent() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let terms = world.terms(1, LENGTH);
    owner.store(&terms, 0, PRICE, &grant, &shard(LENGTH)).await.unwrap();
    damage(&world, SLICE_BYTES as u64 + 70_000);
    assert!(owner.read(&slice(0, 1, Some(&grant))).await.is_ok());
    assert!(owner.read(&cell(16, &grant)).await.is_ok());
    // The damage is found in the middle of an answer: the stream is reset before a wrong byte is
    // sent.
    let (_sender, mut receiver) = owner.open(&slice(0, 2, Some(&grant))).await;
    let mut seen = Vec::new();
    let error = loop {
        match receiver.read(SLICE_BYTES).await {
            Ok(Some(piece)) => seen.extend_from_slice(&piece),
            Ok(None) => panic!("half an answer ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, symbolon_net::NetError::Reset { code: 2 });
    assert!(seen.len() < SLICE_BYTES + 4096);
    // The damage is known now, so no part of the shard is sent.
    assert_eq!(code(owner.read(&slice(1, 1, Some(&grant))).await), RefusalCode::Damaged);
    assert_eq!(code(owner.read(&cell(17, &grant)).await), RefusalCode::Damaged);
    assert_eq!(code(owner.read(&cell(16, &grant)).await), RefusalCode::Damaged);
    node.stop().await;
}
