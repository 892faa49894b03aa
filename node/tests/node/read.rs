//! Which peer may read which shards, and how much.

use symbolon_node::Node;
use symbolon_protocol::{
    Millis,
    grant::{Caveat, Grant, ObjectSet, ability},
    id::{AccountId, ChainId, Hash, ObjectId, PeerId},
    identity::Identity,
    ledger::{rows::Access, transaction::Action},
    limits::{CELL_BYTES, READ_ROWS_OF_DAY, SLICE_BYTES},
    reads::{ReadBy, ReadLog, ReadRow, question},
    signature,
    wire::storage::{RefusalCode, Request, Response},
};

use crate::{
    life::damage,
    world::{PRICE, Peer, World, code, deal_id, named, now, shard, verify},
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
    world.pass(1_000).await;
    let now = now(&world.host);
    for (caveat, expected) in [
        (Caveat::NotBefore { time_ms: now.saturating_add(Millis(60_000)) }, RefusalCode::OutOfTime),
        (Caveat::NotAfter { time_ms: now }, RefusalCode::OutOfTime),
        (Caveat::Object { object: ObjectId([9; 16]) }, RefusalCode::NotAllowed),
        (Caveat::Abilities { set: ability::STORE | ability::VERIFY }, RefusalCode::NotAllowed),
        (Caveat::NodeReads { count: 0 }, RefusalCode::QuotaUsed),
        (Caveat::NodeBytes { bytes: SLICE_BYTES as u64 - 1 }, RefusalCode::QuotaUsed),
        (Caveat::Cells { first: 24, end: 30 }, RefusalCode::NotAllowed),
        (Caveat::Staleness { max_ms: Millis(0) }, RefusalCode::Stale),
    ] {
        let grant = world.grant(friend_id.peer(), vec![caveat.clone()]);
        assert_eq!(code(friend.read(&slice(0, 1, Some(&grant))).await), expected, "{caveat:?}");
    }
    // What holds allows it; no node can check a purpose.
    for caveat in [
        Caveat::NotBefore { time_ms: now },
        Caveat::NotAfter { time_ms: now.saturating_add(Millis(60_000)) },
        Caveat::NodeReads { count: 1 },
        Caveat::NodeBytes { bytes: SLICE_BYTES as u64 },
        Caveat::Cells { first: 0, end: 16 },
        Caveat::Purpose { hash: Hash([1; 32]) },
        Caveat::Depth { links: 0 },
        Caveat::Staleness { max_ms: Millis(60_000) },
    ] {
        let grant = world.grant(friend_id.peer(), vec![caveat.clone()]);
        let read = friend.read(&slice(0, 1, Some(&grant))).await;
        assert!(read.is_ok(), "{caveat:?}: {read:?}");
    }
    // A used-up quota says which link, and how much is left of it.
    let grant = world.grant(friend_id.peer(), vec![Caveat::NodeReads { count: 0 }]);
    let link = grant.verify(&world.ledger.chain()).unwrap().link_ids()[0];
    let refused = friend.read(&slice(0, 1, Some(&grant))).await.unwrap_err().message;
    assert!(refused.contains(&format!("link {link} of the grant allows 0 reads")), "{refused}");
    let grant = world.grant(friend_id.peer(), vec![Caveat::NodeBytes { bytes: 7 }]);
    let refused = friend.read(&slice(0, 1, Some(&grant))).await.unwrap_err().message;
    assert!(refused.contains("allows 7 bytes from this node; 0 are used"), "{refused}");
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

#[tokio::test(start_paused = true)]
async fn a_grant_for_several_objects_reads_those_and_no_other() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, LENGTH);
    owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let friend_id = Identity::from_seed(&[31; 64]);
    let friend = world.peer(&friend_id, &node).await;
    let (chain, other) = (world.ledger.chain(), ObjectId([6; 16]));
    let grant_for = |objects: &[ObjectId]| {
        let set = ObjectSet::new(objects.iter().copied()).unwrap();
        let caveats = vec![Caveat::Abilities { set: ability::READ }];
        let (key, to) = (world.owner.account_key(), friend_id.peer());
        let of = (&set, set.member(&objects[0]).unwrap());
        let grant = Grant::issue_for_several(&chain, &key, to, of, caveats, &[1; 32]).unwrap();
        (set, grant)
    };
    let (set, grant) = grant_for(&[terms.object, other]);
    friend.read(&slice(0, 1, Some(&grant))).await.unwrap();
    // With the path of another object, or a set without it, the shard stays closed.
    let wrong = grant.of_member(set.member(&other).unwrap());
    assert_eq!(code(friend.read(&slice(0, 1, Some(&wrong))).await), RefusalCode::NotAllowed);
    let (_, without) = grant_for(&[other]);
    assert_eq!(code(friend.read(&slice(0, 1, Some(&without))).await), RefusalCode::NotAllowed);
    // One revocation ends all of it.
    let link = grant.verify(&chain).unwrap().link_ids()[0];
    world.apply(&world.owner.account_key(), Action::Revoke { link, until_ms: None }).await;
    assert_eq!(code(friend.read(&slice(0, 1, Some(&grant))).await), RefusalCode::Revoked);
    node.stop().await;
}

/// Asks a node who read the object of [`World::terms`], signed by the account of `signer` for this peer and node.
async fn ask_who_read(
    world: &World,
    node: &Node,
    (peer, peer_id): (&Peer, PeerId),
    signer: &Identity,
    owner: AccountId,
) -> Result<ReadLog, RefusalCode> {
    let object = ObjectId([5; 16]);
    let asked = question(&world.ledger.chain(), &node.id(), &peer_id, (&owner, &object));
    let signature = signature::sign(&signer.account_key(), &asked);
    let request = Request::ReadLog { owner, object, from_day: 0, signature };
    match peer.ask(&request).await {
        Ok(Response::ReadLog { log }) => Ok(log),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code),
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_and_no_other_peer_learns_who_read_what() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, own) = (world.terms(1, LENGTH), world.own_grant());
    owner.store(&terms, 0, PRICE, &own, &shard(LENGTH)).await.unwrap();
    let friend_id = Identity::from_seed(&[31; 64]);
    let friend = world.peer(&friend_id, &node).await;
    let grant = world.grant(friend_id.peer(), vec![]);
    let chain = world.ledger.chain();
    let given = grant.verify(&chain).unwrap().link_ids()[0];
    friend.read(&slice(0, 1, Some(&grant))).await.unwrap();
    friend.read(&cell(1, &grant)).await.unwrap();
    owner.read(&slice(0, 2, Some(&own))).await.unwrap();
    // What is refused is not a read.
    let none = world.grant(friend_id.peer(), vec![Caveat::NodeReads { count: 0 }]);
    assert!(friend.read(&slice(0, 1, Some(&none))).await.is_err());

    let account = world.owner.account();
    let as_owner = (&owner, world.owner.peer());
    let log = ask_who_read(&world, &node, as_owner, &world.owner, account).await.unwrap();
    assert_eq!(log.verify(&chain), Ok(()));
    let of = |log: &ReadLog, reader: PeerId| -> Vec<(ReadBy, u64, u64)> {
        let rows = log.rows.iter().filter(|row| row.reader == reader);
        rows.map(|row: &ReadRow| (row.by, row.reads, row.bytes)).collect()
    };
    let (slice_bytes, cell_bytes) = (SLICE_BYTES as u64, CELL_BYTES as u64);
    let by = ReadBy::Grant { given, link: given };
    assert_eq!(of(&log, friend_id.peer()), [(by, 2, slice_bytes + cell_bytes)]);
    assert_eq!(of(&log, world.owner.peer()).len(), 1);

    // A stranger gets nothing: not in the owner's name, not with words that the owner signed for itself.
    let as_friend = (&friend, friend_id.peer());
    let refused = Err(RefusalCode::NotAllowed);
    assert_eq!(ask_who_read(&world, &node, as_friend, &friend_id, account).await, refused);
    let replayed = (&friend, world.owner.peer());
    assert_eq!(ask_who_read(&world, &node, replayed, &world.owner, account).await, refused);
    // An account that owns nothing here learns that nothing of its own was read.
    let nothing = ask_who_read(&world, &node, as_friend, &friend_id, friend_id.account()).await;
    assert!(nothing.unwrap().rows.is_empty());

    // It outlives a restart.
    node.stop().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let as_owner = (&owner, world.owner.peer());
    let again = ask_who_read(&world, &node, as_owner, &world.owner, account).await.unwrap();
    assert_eq!(again.rows, log.rows);
    // A crowd of delegates makes no more rows than are listed, and hides no reads from the sum.
    let friend = world.peer(&friend_id, &node).await;
    for number in 0..u8::try_from(READ_ROWS_OF_DAY).unwrap() + 10 {
        let many = world.grant(friend_id.peer(), vec![Caveat::Depth { links: number }]);
        friend.read(&cell(0, &many)).await.unwrap();
    }
    let log = ask_who_read(&world, &node, as_owner, &world.owner, account).await.unwrap();
    assert_eq!(log.rows.len(), READ_ROWS_OF_DAY + 1);
    let others = log.rows.iter().find(|row| row.by == ReadBy::Others).unwrap();
    assert_eq!(others.reads, 12);
    let all: u64 = log.rows.iter().map(|row| row.reads).sum();
    assert_eq!(all, 3 + READ_ROWS_OF_DAY as u64 + 10);
    node.stop().await;
}
