//! What a caretaker may do at a node: with a claim on the ledger, and not without one.

use ed25519_dalek::SigningKey;
use symbolon_net::Alpn;
use symbolon_node::Node;
use symbolon_protocol::{
    Amount, LedgerTime,
    custody::{
        ClaimRequest, DeliveryKey, DeliverySecret, Release, care_point, claim_context, combine_care,
    },
    id::{AccountId, DealId, Hash, NodeId},
    ledger::{
        Status,
        transaction::{Acceptance, Action, CaredDeal, DealTerms, LostShard},
    },
    wire::storage::{Authority, Refusal, RefusalCode, Request, Response},
};

use crate::{
    custody::Market,
    world::{PRICE, Peer, World, code, deal_id, shard},
};

const LENGTH: u64 = 4096;
/// The node that loses shard 1, the caretaker, and one that is neither.
const LOSER: [u8; 32] = [71; 32];
const TAKER: [u8; 32] = [72; 32];
const STRANGER: [u8; 32] = [73; 32];
/// Longer than a node makes a peer wait whose claim did not run.
const PAUSE_MS: u64 = 1_100;

fn key(secret: [u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&secret)
}

fn id(secret: [u8; 32]) -> NodeId {
    NodeId::from(AccountId(key(secret).verifying_key().to_bytes()))
}

fn lost() -> Vec<u8> {
    let mut bytes = shard(LENGTH);
    bytes.reverse();
    bytes
}

async fn peer(world: &World, secret: [u8; 32], node: &Node) -> Peer {
    // One of several connections of this peer.
    let endpoint = world.network.endpoint_beside(secret);
    let address = symbolon_net::PeerAddress { id: node.id(), addresses: Vec::new() };
    let connection = endpoint.connect(&address, Alpn::Storage).await.unwrap();
    Peer { endpoint, connection }
}

/// A market whose owner has a deal of two shards: one at the first node, and one that is lost and has a caretaker.
async fn degraded() -> (Market, DealTerms) {
    let market = Market::new().await;
    market.open_vault().await;
    let (world, node) = (&market.world, &market.nodes[0]);
    for secret in [LOSER, TAKER, STRANGER] {
        let action = Action::RegisterNode {
            payout: AccountId(secret),
            addresses: Vec::new(),
            custody_key: None,
            caretaker: true,
            price: PRICE,
            capacity: 1 << 30,
            operator: None,
            agrees_until: 0,
            leaving: false,
        };
        world.apply(&key(secret), action).await;
    }
    let terms = world.terms(1, LENGTH);
    let owner = world.peer(&world.owner, node).await;
    let first = owner.store(&terms, 0, PRICE, &world.own_grant(), &shard(LENGTH)).await.unwrap();
    let root = Hash(*blake3::hash(&lost()).as_bytes());
    let (chain, price) = (world.ledger.chain(), (PRICE, u64::MAX));
    let second =
        Acceptance::build(&chain, &terms, &key(LOSER), (1, root), price, LedgerTime::NEVER);
    let open = Action::OpenDeal {
        terms: terms.clone(),
        acceptances: vec![first, second],
        cost_max: Amount::credits(1000),
    };
    let owner = world.owner.account_key();
    world.apply(&owner, open).await;
    let care = Action::SetCare {
        vault: market.vault(),
        caretakers: vec![id(TAKER)],
        spare: 0,
        fee: Amount(1),
        price_max: PRICE,
        deals: vec![CaredDeal { opening: terms.opening, pads: vec![[9; 32]; 3] }],
    };
    world.apply(&owner, care).await;
    let declared = Action::DeclareLost { shards: vec![LostShard { deal: terms.deal(), index: 1 }] };
    world.apply(&key(LOSER), declared).await;
    (market, terms)
}

fn secret() -> DeliverySecret {
    DeliverySecret::from_seed(&[8; 32])
}

fn delivery(world: &World, deal: DealId) -> (DeliveryKey, Hash) {
    let context = claim_context(&world.ledger.chain(), &deal, &id(TAKER));
    (DeliveryKey::make(&secret(), &context, &[9; 32]), context)
}

async fn claim(world: &World, deal: DealId) {
    let (delivery, _) = delivery(world, deal);
    let action = Action::ClaimRepair { deal, rebuild: vec![1], read: vec![0], delivery };
    world.apply(&key(TAKER), action).await;
}

fn slice() -> Request {
    Request::Read { deal: deal_id(1), index: 0, first: 0, count: 1, grant: None }
}

fn store(terms: &DealTerms, index: u8, price: Amount) -> Request {
    Request::Store { terms: terms.clone(), index, price, authority: Authority::Claim }
}

/// Offers a shard, and sends these bytes if the node wants them.
async fn send(peer: &Peer, request: &Request, bytes: Vec<u8>) -> Result<Acceptance, Refusal> {
    let (mut sender, mut receiver) = peer.open(request).await;
    let mut answer = receiver.receive().await.unwrap();
    if answer == Response::Ready {
        sender.write(bytes.into()).await.unwrap();
        sender.finish();
        answer = receiver.receive().await.unwrap();
    }
    match answer {
        Response::Accepted { acceptance } => Ok(acceptance),
        Response::Refused { refusal } => Err(refusal),
        other => panic!("not an answer to a store: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_a_caretaker_is_a_stranger() {
    let (market, terms) = degraded().await;
    let (world, node, second) = (&market.world, &market.nodes[0], &market.nodes[1]);
    let (first, other) = (peer(world, TAKER, node).await, peer(world, TAKER, second).await);
    let release = Request::ReleaseClaim { deal: terms.deal() };
    assert_eq!(code(first.read(&slice()).await), RefusalCode::NotAllowed);
    assert_eq!(code(first.ask(&release).await), RefusalCode::Busy, "one question at a time");
    world.pass(PAUSE_MS).await;
    assert_eq!(code(first.ask(&release).await), RefusalCode::NoClaim);
    assert_eq!(code(send(&other, &store(&terms, 1, PRICE), lost()).await), RefusalCode::NoClaim);
    // The same with one.
    claim(world, terms.deal()).await;
    world.pass(PAUSE_MS).await;
    assert_eq!(first.read(&slice()).await.unwrap()[0].0, shard(LENGTH));
    send(&other, &store(&terms, 1, PRICE), lost()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_opens_what_it_names_to_its_claimant() {
    let (market, terms) = degraded().await;
    let (world, deal) = (&market.world, terms.deal());
    claim(world, deal).await;
    let (delivery, context) = delivery(world, deal);
    let release = Request::ReleaseClaim { deal };
    let mut given: Vec<Vec<Release>> = Vec::new();
    for node in &market.nodes {
        let stranger = peer(world, STRANGER, node).await;
        assert_eq!(code(stranger.ask(&release).await), RefusalCode::NoClaim);
        let taker = peer(world, TAKER, node).await;
        let Response::ReleasedClaim { releases } = taker.ask(&release).await.unwrap() else {
            panic!("not releases")
        };
        given.push(releases);
    }
    // One for the shard that is read, and one for the other.
    for (place, index) in [0, 1].into_iter().enumerate() {
        let point = care_point(&world.ledger.chain(), &world.owner.account(), &deal, index);
        let of_shard: Vec<Release> = given.iter().map(|releases| releases[place].clone()).collect();
        let request = ClaimRequest {
            vault: &market.key,
            point: &point,
            delivery: &delivery,
            context: &context,
        };
        assert!(of_shard.iter().all(|release| release.verify_claimed(&request).is_ok()));
        let key = combine_care(&of_shard, &secret(), &market.key).unwrap();
        assert_eq!(key, market.secret.care_key(&point).unwrap());
    }
    let node = &market.nodes[0];
    let stranger = peer(world, STRANGER, node).await;
    assert_eq!(code(stranger.read(&slice()).await), RefusalCode::NotAllowed);
    let taker = peer(world, TAKER, node).await;
    assert_eq!(taker.read(&slice()).await.unwrap()[0].0, shard(LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_the_shard_that_was_lost_and_no_other_bytes() {
    let (market, terms) = degraded().await;
    let (world, second) = (&market.world, &market.nodes[1]);
    claim(world, terms.deal()).await;
    let taker = peer(world, TAKER, second).await;
    let garbage = send(&taker, &store(&terms, 1, PRICE), shard(LENGTH)).await;
    assert_eq!(code(garbage), RefusalCode::NotAllowed);
    assert_eq!(second.status().await.unwrap().shards, 0, "nothing of it stays");
    for (request, why) in [
        (store(&terms, 2, PRICE), "not in the claim"),
        (store(&terms, 0, PRICE), "kept"),
        (store(&terms, 1, Amount(PRICE.0 + 1)), "dearer than the owner allows"),
        (store(&DealTerms { segment: 1, ..terms.clone() }, 1, PRICE), "another segment"),
    ] {
        assert_eq!(code(send(&taker, &request, lost()).await), RefusalCode::NotAllowed, "{why}");
    }
    let accepted = send(&taker, &store(&terms, 1, PRICE), lost()).await.unwrap();
    // The owner has signed nothing, and is not there.
    let action = Action::PlaceShards {
        terms: terms.clone(),
        acceptances: vec![accepted],
        cost_max: Amount::ZERO,
    };
    assert_eq!(world.submit(&key(STRANGER), action.clone()).await, Status::NotYours);
    world.apply(&key(TAKER), action).await;
    let row = world.deal(&terms.deal()).await;
    assert_eq!(row.kept_by(&second.id()).map(|(index, _)| index), Some(1));
    world.opened(second).await;
    assert_eq!(second.status().await.unwrap().slots, 1);
}
