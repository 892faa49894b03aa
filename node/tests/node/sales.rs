//! A bought grant counts because the ledger's rows say that its order is paid.

use std::sync::{Arc, atomic::Ordering};

use symbolon_protocol::{
    Millis,
    grant::{Grant, Sale},
    id::{ChainId, ObjectId, Opening, OrderId, PeerId},
    identity::Identity,
    wire::storage::{Fault, RefusalCode, Request},
};

use crate::{
    away::far_node,
    custody::{LISTING, Market, ORDER},
    follow::Switches,
    world::{PRICE, Peer, World, code, deal_id, shard},
};

const LENGTH: u64 = 4096;

fn read(grant: &Grant) -> Request {
    Request::Read { deal: deal_id(1), index: 0, first: 0, count: 1, grant: Some(grant.clone()) }
}

/// The grant with another sale.
fn with(grant: &Grant, change: impl FnOnce(&mut Sale)) -> Grant {
    let mut grant = grant.clone();
    change(grant.sale.as_mut().unwrap());
    grant
}

/// A listing of an object that the first node has a shard of.
async fn listed(market: &Market) {
    market.open_vault().await;
    market.list().await;
    let (terms, grant) = (market.world.terms(1, LENGTH), market.world.own_grant());
    let seller = market.seller(0).await;
    seller.store(&terms, 0, PRICE, &grant, &shard(LENGTH)).await.unwrap();
}

/// The same with a node that is far from its ledger.
async fn far_market() -> (Market, Arc<Switches>) {
    let world = World::new().await;
    let (node, how) = far_node(&world, world.options("node")).await;
    let market = Market::of(world, node).await;
    listed(&market).await;
    (market, how)
}

/// Counts from here on. The node is a custodian too, and reads each order when it is paid.
async fn count_from_now(market: &Market, how: &Switches) {
    market.world.pass(1_000).await;
    how.orders_asked.store(0, Ordering::Relaxed);
}

async fn peer(market: &Market, who: &Identity) -> Peer {
    market.world.peer(who, &market.nodes[0]).await
}

#[tokio::test(start_paused = true)]
async fn a_bought_grant_reads_and_is_passed_on() {
    let market = Market::new().await;
    listed(&market).await;
    market.buy().await;
    let (grant, buyer) = (market.grant(ORDER).await, peer(&market, &market.buyer).await);
    let pieces = buyer.read(&read(&grant)).await.unwrap();
    assert_eq!(pieces[0].0, shard(LENGTH));
    let colleague = Identity::from_seed(&[70; 64]);
    let (chain, key) = (market.world.ledger.chain(), market.buyer.access_key());
    let passed = grant.delegate(&chain, &key, colleague.peer(), vec![], &[1; 32]).unwrap();
    let colleague = peer(&market, &colleague).await;
    colleague.read(&read(&passed)).await.unwrap();
    assert_eq!(code(colleague.read(&read(&grant)).await), RefusalCode::NotYourGrant);
    // A mandate lets buyers read, and nothing else.
    let check = Request::Check { deal: deal_id(1), index: 0, grant: Some(grant.clone()) };
    assert_eq!(code(buyer.ask(&check).await), RefusalCode::NotAllowed);
    let delete = Request::Delete { deal: deal_id(1), index: 0, grant: grant.clone() };
    assert_ne!(code(buyer.ask(&delete).await), RefusalCode::Internal);
    // Access ends when the order says so.
    market.world.pass(3_600_000).await;
    assert_eq!(code(buyer.read(&read(&grant)).await), RefusalCode::OutOfTime);
}

#[tokio::test(start_paused = true)]
async fn an_order_gives_what_it_was_paid_for_and_no_more() {
    let market = Market::new().await;
    listed(&market).await;
    let (other, cheap) = (Opening([82; 32]), Opening([83; 32]));
    market.list_as(other, ObjectId([6; 16])).await;
    market.buy().await;
    market.buy_as(cheap, other).await;
    let (good, buyer) = (market.grant(ORDER).await, peer(&market, &market.buyer).await);
    buyer.read(&read(&good)).await.unwrap();

    // The order of another listing, under the mandate of this one, and as it is.
    let moved = with(&good, |sale| sale.order = market.order_id(&cheap));
    let refused = buyer.read(&read(&moved)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::NotAllowed, Fault::Yours));
    assert!(refused.message.contains("listing"), "{}", refused.message);
    assert_eq!(code(buyer.read(&read(&market.grant(cheap).await)).await), RefusalCode::NotAllowed);
    // For longer than was paid for.
    let longer = with(&good, |sale| sale.ends_ms = sale.ends_ms.saturating_add(Millis(1)));
    assert_eq!(code(buyer.read(&read(&longer)).await), RefusalCode::NotAllowed);
    // Somebody else's order.
    let thief_id = Identity::from_seed(&[71; 64]);
    let thief = peer(&market, &thief_id).await;
    let stolen = with(&good, |sale| sale.holder = thief_id.peer());
    let refused = thief.read(&read(&stolen)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::NotAllowed, Fault::Yours));
    assert!(refused.message.contains("holder"), "{}", refused.message);
    // A grant that its buyer would have to have passed on.
    let key = thief_id.access_key();
    let chain = market.world.ledger.chain();
    let accomplice = Identity::from_seed(&[72; 64]);
    let passed = stolen.delegate(&chain, &key, accomplice.peer(), vec![], &[1; 32]).unwrap();
    let passed = with(&passed, |sale| sale.holder = market.buyer.peer());
    let accomplice = peer(&market, &accomplice).await;
    assert_eq!(code(accomplice.read(&read(&passed)).await), RefusalCode::NotAllowed);
    // The same people's order on another ledger.
    let elsewhere = ChainId([9; 32]);
    let signer = market.world.owner.account_key();
    let object = ObjectId([5; 16]);
    let foreign =
        symbolon_protocol::grant::mandate(&elsewhere, &signer, object, &[50; 32]).unwrap();
    let foreign = Grant { links: vec![foreign], ..good.clone() };
    assert_eq!(code(buyer.read(&read(&foreign)).await), RefusalCode::NotAllowed);
    buyer.read(&read(&good)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_order_counts_from_its_payment_on() {
    let market = Market::new().await;
    listed(&market).await;
    let second = Opening([84; 32]);
    market.buy_as(second, LISTING).await;
    let buyer = peer(&market, &market.buyer).await;
    let template = market.grant(second).await;
    let early = with(&template, |sale| sale.order = market.order_id(&ORDER));
    let refused = buyer.read(&read(&early)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::NotPaid, Fault::Transient));
    market.buy().await;
    // The answer is remembered for a moment.
    let paid = market.grant(ORDER).await;
    assert_eq!(code(buyer.read(&read(&paid)).await), RefusalCode::NotPaid);
    market.world.pass(1_000).await;
    buyer.read(&read(&paid)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_known_order_needs_no_ledger_and_a_new_one_waits_for_it() {
    let (market, how) = far_market().await;
    let second = Opening([84; 32]);
    market.buy().await;
    market.buy_as(second, LISTING).await;
    count_from_now(&market, &how).await;
    let (known, new) = (market.grant(ORDER).await, market.grant(second).await);
    let buyer = peer(&market, &market.buyer).await;
    buyer.read(&read(&known)).await.unwrap();
    how.away.store(true, Ordering::Relaxed);
    buyer.read(&read(&known)).await.unwrap();
    let refused = buyer.read(&read(&new)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::Stale, Fault::Ours));
    buyer.read(&read(&known)).await.unwrap();
    how.away.store(false, Ordering::Relaxed);
    market.world.pass(1_000).await;
    buyer.read(&read(&new)).await.unwrap();
    let asked = how.orders_asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2 + 7, "one for each, and seven attempts while it was away");
}

#[tokio::test(start_paused = true)]
async fn an_order_is_looked_up_once() {
    let (market, how) = far_market().await;
    market.buy().await;
    count_from_now(&market, &how).await;
    let (good, buyer) = (market.grant(ORDER).await, peer(&market, &market.buyer).await);
    let request = read(&good);
    let reads = tokio::join!(buyer.read(&request), buyer.read(&request), buyer.read(&request));
    assert!(reads.0.is_ok() && reads.1.is_ok() && reads.2.is_ok());
    buyer.read(&request).await.unwrap();
    assert_eq!(how.orders_asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_make_a_node_ask_without_end() {
    let (market, how) = far_market().await;
    market.buy().await;
    count_from_now(&market, &how).await;
    let asked = || how.orders_asked.load(Ordering::Relaxed);
    let good = market.grant(ORDER).await;
    let who = Identity::from_seed(&[73; 64]);
    let stranger = peer(&market, &who).await;
    let invented = |number: u8| {
        let sale = with(&good, |sale| {
            sale.holder = who.peer();
            sale.order = OrderId([number; 16]);
        });
        read(&sale)
    };
    // What is refused anyway needs no order.
    let other = with(&good, |sale| sale.holder = PeerId([1; 32]));
    assert_eq!(code(stranger.read(&read(&other)).await), RefusalCode::NotYourGrant);
    assert_eq!(asked(), 0);
    let [first, second, third] = [1, 2, 3].map(invented);
    let reads = tokio::join!(stranger.read(&first), stranger.read(&second), stranger.read(&third));
    assert_eq!(code(reads.0), RefusalCode::NotPaid);
    for later in [reads.1, reads.2] {
        let later = later.unwrap_err();
        assert_eq!((later.code, later.fault), (RefusalCode::Busy, Fault::Transient));
    }
    assert_eq!(asked(), 1);
    assert_eq!(code(stranger.read(&first).await), RefusalCode::NotPaid, "still so");
    assert_eq!(asked(), 1);
    peer(&market, &market.buyer).await.read(&read(&good)).await.unwrap();
    assert_eq!(asked(), 2, "others are not held up");
    market.world.pass(1_000).await;
    assert_eq!(code(stranger.read(&invented(4)).await), RefusalCode::NotPaid);
    assert_eq!(code(stranger.read(&invented(5)).await), RefusalCode::Busy);
    assert_eq!(asked(), 3, "one in a while");
}
