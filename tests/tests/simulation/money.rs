//! Answers that get lost while money is on its way: a transfer and a purchase, from one device and from
//! two. Whatever is asked for again, it is paid once.

use std::time::Duration;

use symbolon_client::{
    BuyOutcome, Client, GetOptions, Progress, Readable, SellOptions, Sink, Source,
};
use symbolon_protocol::{
    Amount, Millis,
    id::{AccountId, ListingId},
    ledger::rows::Orders,
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::{put_options, sell_options};

/// How many transfers are cut short.
const ROUNDS: u64 = 12;

/// Longest time before the cut, in milliseconds: a transfer takes about this long here.
const CUT_MS_MAX: u64 = 60;

/// Blocks after which the ledger has forgotten a transfer's id: a little more than they are valid for.
const BLOCKS: usize = 510;

const PRICE: Amount = Amount(2_000_000_000);

pub(super) async fn money(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let alice = world.client("alice");
    alice.faucet().await.unwrap();
    alice.close().await;
    send(&mut world).await;
    send_and_forget(&mut world).await;
    buy_on_two_devices(&mut world).await;
    // A shard that was sent and not paid for is swept when a block is later than its acceptance and the grace.
    sleep(Duration::from_secs(140)).await;
    world.finish().await
}

fn bob(world: &World) -> AccountId {
    world.identity("bob").account()
}

async fn got(world: &mut World) -> u128 {
    world.audit().await;
    let bob = bob(world);
    world.auditor.balance(&bob)
}

/// The ledger or the sender dies at any moment of a transfer, with an id and without.
async fn send(world: &mut World) {
    let to = bob(world);
    for round in 0..ROUNDS {
        let before = got(world).await;
        let (amount, id) = (Amount(1_000 + u128::from(round)), format!("round {round}"));
        let id = (round % 2 == 0).then_some(id);
        let (alice, word) = (world.client("alice"), id.clone());
        let first = tokio::spawn(async move { alice.transfer(to, amount, word.as_deref()).await });
        sleep(Duration::from_millis(world.dice(&format!("cut {round}"), CUT_MS_MAX))).await;
        let cut = !first.is_finished();
        match round % 3 {
            0 => {
                world.kill_ledger().await;
                world.start_ledger().await;
            }
            _ => world.kill_client("alice").await,
        }
        if round % 3 != 0 {
            first.abort();
        }
        let ended = first.await;
        let heard = matches!(&ended, Ok(Ok(_)));
        let alice = world.client("alice");
        // What ended well is another transfer, unless it has an id.
        if !heard || id.is_some() {
            let again = alice.transfer(to, amount, id.as_deref()).await.unwrap();
            world.note(format!("round {round}, cut {cut}: again {again:?}"));
            assert!(!heard || again.before);
        }
        if id.is_some() {
            assert!(alice.transfer(to, amount, id.as_deref()).await.unwrap().before);
            let other = Amount(amount.0 + 1);
            assert!(alice.transfer(to, other, id.as_deref()).await.is_err());
        }
        alice.close().await;
        let now = got(world).await;
        // A client that was killed may have been heard of before it was.
        assert_eq!(now - before, amount.0, "round {round}: sent once");
    }
    let alice = world.client("alice");
    for _ in 0..2 {
        let sent = alice.transfer(to, Amount(7), None).await.unwrap();
        assert!(!sent.before, "what has no id and ended well is another one each time");
    }
    alice.close().await;
}

/// The answer is lost, and the client asks only after the ledger has forgotten the id.
async fn send_and_forget(world: &mut World) {
    let (to, amount) = (bob(world), Amount(123_456));
    let before = got(world).await;
    let (alice, ledger) = (world.client("alice"), world.ledger());
    let height = ledger.head().await.unwrap().header.height;
    let sending = tokio::spawn(async move { alice.transfer(to, amount, None).await });
    while ledger.head().await.unwrap().header.height == height {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!sending.is_finished(), "the answer is on its way");
    sending.abort();
    world.kill_client("alice").await;
    assert_eq!(got(world).await - before, amount.0);
    let carol = world.client("carol");
    carol.faucet().await.unwrap();
    for _ in 0..BLOCKS {
        carol.transfer(world.validator(), Amount(1), None).await.unwrap();
    }
    carol.close().await;
    let alice = world.client("alice");
    let again = alice.transfer(to, amount, None).await.unwrap();
    assert!(again.before, "{again:?}");
    assert_eq!(got(world).await - before, amount.0, "sent once");
    alice.transfer(to, amount, None).await.unwrap();
    assert_eq!(got(world).await - before, 2 * amount.0, "and another one is another one");
    alice.close().await;
}

async fn offer(world: &mut World, data: &[u8]) -> ListingId {
    let seller = world.client("seller");
    seller.faucet().await.unwrap();
    let source = Source::Bytes(data.to_vec().into());
    seller.put(source, &called("goods"), &put_options(500), &Progress::silent()).await.unwrap();
    let options = SellOptions {
        licence_text: "As you like.".into(),
        access_ms: Some(Millis(3_600_000)),
        window_ms: Some(Millis(600_000)),
        epochs: Some(400),
        ..sell_options("Goods", PRICE)
    };
    let report = seller.sell(&called("goods"), &options, &Progress::silent()).await.unwrap();
    seller.close().await;
    report.listing
}

async fn fetch(client: &Client, token: &symbolon_protocol::grant::GrantToken) -> Vec<u8> {
    let (token, options) = (Readable::Token(Box::new(token.clone())), GetOptions::default());
    client.get(&token, Sink::Memory, &options, &Progress::silent()).await.unwrap().bytes.unwrap()
}

/// One device pays and dies before it has told anybody; the other buys the same.
async fn buy_on_two_devices(world: &mut World) {
    let data = world.bytes("goods", 90_000);
    let listing = offer(world, &data).await;
    let desk = world.device("buyer", "buyer's desk");
    let balance = desk.faucet().await.unwrap();
    let ledger = world.ledger();
    let buying = tokio::spawn(async move { desk.buy(&listing, PRICE, &Progress::silent()).await });
    while ledger.scan(Orders, &[], None, 10).await.unwrap().is_empty() {
        assert!(!buying.is_finished(), "the purchase is cut off before it ends");
        sleep(Duration::from_millis(1)).await;
    }
    buying.abort();
    world.kill_client("buyer").await;
    let phone = world.device("buyer", "buyer's phone");
    let bought = phone.buy(&listing, PRICE, &Progress::silent()).await.unwrap();
    assert_eq!((bought.outcome, bought.paid), (BuyOutcome::Resumed, PRICE));
    assert!(fetch(&phone, &bought.token).await == data);
    phone.close().await;
    let desk = world.device("buyer", "buyer's desk");
    let again = desk.buy(&listing, PRICE, &Progress::silent()).await.unwrap();
    assert_eq!(again.order, bought.order);
    assert!(fetch(&desk, &again.token).await == data);
    let left = desk.account().await.unwrap().balance;
    assert_eq!(balance.checked_sub(left), Some(PRICE), "paid once");
    desk.close().await;
    world.audit().await;
    world.note(format!("bought {} on two devices", bought.order));
}
