//! A sale whose custodians are gone: three of five open the vault, three are dead. The buyer gets the
//! money back at the deadline, without asking, and the grant of that order is worth nothing.

use symbolon_client::{Client, ClientError, Progress, Readable, SellOptions, Sink, Source};
use symbolon_protocol::{
    Amount, Millis,
    grant::{self, Grant, GrantToken},
    ledger::rows::{Listings, OrderState, Orders},
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::{Duration, sleep};

use super::{put_options, sell_options};

const PRICE: Amount = Amount(7_000_000_001);
const HOUR_MS: i64 = 60 * 60 * 1000;

pub(super) async fn refund(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    owner.faucet().await.unwrap();
    let before = buyer.faucet().await.unwrap();
    let data = world.bytes("goods", 300_000 + world.dice("length", 50_000));
    let source = Source::Bytes(data.into());
    owner.put(source, &called("goods"), &put_options(40), &Progress::silent()).await.unwrap();
    let options = SellOptions {
        access_ms: Some(Millis(300_000)),
        epochs: Some(40),
        ..sell_options("Goods", PRICE)
    };
    let sold = owner.sell(&called("goods"), &options, &Progress::silent()).await.unwrap();
    assert_eq!((sold.custodians.len(), sold.threshold), (5, 3));
    let spared = usize::try_from(world.dice("who survives", 3)).unwrap();
    for custodian in sold.custodians.iter().skip(spared).take(3) {
        let number = world.number_of(custodian);
        world.kill_node(number).await;
    }
    world.audit().await;

    // The buyer asks until the ledger has given the money back, by the ledger's clock: the own one is wrong.
    let by_ms = [-HOUR_MS, HOUR_MS][usize::try_from(world.dice("clock", 2)).unwrap()];
    world.set_clock("buyer", by_ms);
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await;
    world.note(format!("bought: {bought:?}"));
    assert!(matches!(bought, Err(ClientError::OrderRefunded(_))), "{bought:?}");
    sleep(Duration::from_secs(2)).await;
    world.audit().await;
    assert_eq!(world.auditor.orders(), (1, 0, 1), "refunded, not settled");
    assert_eq!(world.auditor.balance(&world.identity("buyer").account()), before.0);
    let orders = buyer.orders().await.unwrap();
    assert_eq!((orders.len(), orders[0].state), (1, OrderState::Refunded));
    let row = world.ledger().row(Orders, &orders[0].id).await.unwrap().unwrap();
    let listing = world.ledger().row(Listings, &row.listing).await.unwrap().unwrap();
    worth_nothing(&world, &owner, (&buyer, grant::bought(orders[0].id, &row, &listing))).await;

    // With one custodian back there are three, and a new order is delivered.
    let back = world.number_of(&sold.custodians[spared]);
    world.start_node(back).await;
    world.pass_epochs(1).await;
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    assert_ne!(bought.order, orders[0].id);
    let token = Readable::Token(bought.token.clone());
    let got = buyer.get(&token, Sink::Memory, &Default::default(), &Progress::silent()).await;
    assert_eq!(got.unwrap().acknowledged, Some(bought.order));
    world.audit().await;
    assert_eq!(world.auditor.orders(), (2, 1, 1));
    buyer.close().await;

    // Another device of the buyer has what is paid for, whatever became of the listing, and pays nothing.
    owner.end_listing(&sold.listing).await.unwrap();
    let desk = world.device("buyer", "desk");
    let money = desk.account().await.unwrap().balance;
    let again = desk.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    assert_eq!((again.order, again.paid), (bought.order, PRICE));
    assert_eq!(desk.account().await.unwrap().balance, money, "it was paid before");
    desk.close().await;
    let stranger = world.client("stranger");
    stranger.faucet().await.unwrap();
    let refused = stranger.buy(&sold.listing, PRICE, &Progress::silent()).await;
    assert!(matches!(refused, Err(ClientError::ListingEnded(_))), "{refused:?}");
    stranger.close().await;
    world.audit().await;
    assert_eq!(world.auditor.orders(), (2, 1, 1));
    owner.close().await;
    world.finish().await
}

/// No node takes the grant of a refunded order, even from a buyer who knows the file's key from elsewhere.
async fn worth_nothing(world: &World, owner: &Client, (buyer, grant): (&Client, Grant)) {
    let who = world.identity("buyer");
    let silent = Progress::silent();
    let shared = owner.share(&called("goods"), &who.recipient(), Vec::new(), None, &silent).await;
    let shared = shared.unwrap();
    let key = shared.open(&who.wrap_secret()).unwrap();
    let (file, entropy) = ((&shared.manifest, &*key), [7; 32]);
    let token = GrantToken::pack(shared.chain, grant, file, &who.wrap_key(), &entropy).unwrap();
    // The library asks nodes. The market would ask the ledger first.
    let token = Readable::Token(Box::new(token));
    let got = buyer.library().get(&token, Sink::Memory, &Default::default(), &silent).await;
    assert!(got.is_err(), "{got:?}");
    let shared = Readable::Token(Box::new(shared));
    let got = buyer.library().get(&shared, Sink::Memory, &Default::default(), &silent).await;
    got.unwrap();
}
