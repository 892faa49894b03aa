//! What a bought grant is worth. No party signs a sale, so any party can say that an order paid for a file.
//! Nodes believe it if the ledger's rows say so, of this listing and this holder. They go on serving the orders that
//! they know while the ledger is away.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use symbolon_client::{Client, GetOptions, Progress, Readable, Sink, Source};
use symbolon_protocol::{
    Amount,
    grant::{Grant, GrantToken, Sale},
    id::{ListingId, OrderId},
    identity::Identity,
    ledger::rows::{Orders, Table},
    wire::ledger::{Request, Response},
};
use symbolon_tests::{
    between::Instead,
    sim::{Trace, World, called},
};
use tokio::time::{Duration, sleep};

use super::{put_options, sell_options};

const NODES: usize = 8;
const DEAR: Amount = Amount(900_000_000_007);
const CHEAP: Amount = Amount(7);
const LENGTH: u64 = 200_000;

pub(super) async fn bought(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let away = Arc::<AtomicBool>::default();
    let ticket = world.silent_ledger("a ledger that goes away", shows_no_order(away.clone()));
    for number in 0..NODES {
        world.kill_node(number).await;
        world.start_node_told(number, ticket.clone()).await;
    }
    world.pass_epochs(1).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    owner.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    let dear = sell(&world, &owner, "dear", DEAR).await;
    let cheap = sell(&world, &owner, "cheap", CHEAP).await;
    let good = *buyer.buy(&dear, DEAR, &Progress::silent()).await.unwrap().token;
    whole(&world, &buyer, &good, "dear").await;
    for_another_file(&world, &buyer, &good, cheap).await;
    for_somebody_else(&mut world, (&owner, &buyer), &good).await;
    while_the_ledger_is_away(&world, (&owner, &buyer), &good, &away).await;
    owner.close().await;
    buyer.close().await;
    world.audit().await;
    world.finish().await
}

async fn sell(world: &World, owner: &Client, name: &str, price: Amount) -> ListingId {
    let source = Source::Bytes(world.bytes(name, LENGTH).into());
    owner.put(source, &called(name), &put_options(400), &Progress::silent()).await.unwrap();
    let options = sell_options(name, price);
    owner.sell(&called(name), &options, &Progress::silent()).await.unwrap().listing
}

/// Reads the whole file as anybody would who asks nodes only.
async fn read(client: &Client, token: &GrantToken) -> Result<Vec<u8>, String> {
    let (what, options) = (Readable::Token(Box::new(token.clone())), GetOptions::default());
    let got = client.library().get(&what, Sink::Memory, &options, &Progress::silent()).await;
    got.map(|got| got.bytes.unwrap().to_vec()).map_err(|error| error.to_string())
}

async fn whole(world: &World, client: &Client, token: &GrantToken, name: &str) {
    assert!(read(client, token).await.unwrap() == world.bytes(name, LENGTH), "{name}");
}

/// The token with another grant. Its maker knows the file's key: `from` can open the token.
fn with(token: &GrantToken, from: &Identity, to: &Identity, grant: Grant) -> GrantToken {
    let key = token.open(&from.wrap_secret()).unwrap();
    let file = (&token.manifest, &*key);
    GrantToken::pack(token.chain, grant, file, &to.wrap_key(), &[7; 32]).unwrap()
}

fn resold(token: &GrantToken, change: impl FnOnce(&mut Sale)) -> Grant {
    let mut grant = token.grant.clone();
    change(grant.sale.as_mut().unwrap());
    grant
}

/// A buyer pays for a cheap file and shows that order for a dear one. The buyer invents an order.
async fn for_another_file(world: &World, buyer: &Client, good: &GrantToken, cheap: ListingId) {
    let me = world.identity("buyer");
    let bought = buyer.buy(&cheap, CHEAP, &Progress::silent()).await.unwrap();
    let paid = bought.token.grant.sale.unwrap();
    let invented = OrderId([9; 16]);
    for (what, grant) in [
        ("the order of another listing", resold(good, |sale| *sale = paid)),
        ("an order that was not paid", resold(good, |sale| sale.order = invented)),
        ("a longer access", resold(good, |sale| sale.ends_ms.0 += 1)),
    ] {
        let refused = read(buyer, &with(good, &me, &me, grant)).await;
        assert!(refused.is_err(), "{what}");
        sleep(Duration::from_secs(2)).await;
    }
    whole(world, buyer, good, "dear").await;
    whole(world, buyer, &bought.token, "cheap").await;
}

/// An accomplice has the key of the file, and shows the buyer's order.
async fn for_somebody_else(
    world: &mut World,
    (owner, buyer): (&Client, &Client),
    good: &GrantToken,
) {
    let (me, thief) = (world.identity("buyer"), world.identity("thief"));
    let client = world.client("thief");
    let stolen = resold(good, |sale| sale.holder = thief.peer());
    assert!(read(&client, &with(good, &me, &thief, stolen)).await.is_err(), "another holder");
    // The same person with the buyer's signature.
    let passed = buyer.attenuate(good, &thief.recipient(), Vec::new()).unwrap();
    whole(world, &client, &passed, "dear").await;
    // The buyer takes that back, and its seller takes nothing back from one buyer.
    buyer.revoke(&passed).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(read(&client, &passed).await.is_err(), "revoked by the buyer");
    assert!(owner.revoke(good).await.is_err(), "it would end the access of all buyers");
    whole(world, buyer, good, "dear").await;
    client.close().await;
}

/// What a node knows of an order holds. A new order waits for the ledger.
async fn while_the_ledger_is_away(
    world: &World,
    (owner, buyer): (&Client, &Client),
    good: &GrantToken,
    away: &AtomicBool,
) {
    let listing = sell(world, owner, "new", CHEAP).await;
    let new = buyer.buy(&listing, CHEAP, &Progress::silent()).await.unwrap().token;
    away.store(true, Ordering::Relaxed);
    whole(world, buyer, good, "dear").await;
    let refused = read(buyer, &new).await;
    assert!(refused.is_err(), "no node knows it");
    whole(world, buyer, good, "dear").await;
    away.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    whole(world, buyer, &new, "new").await;
}

/// A ledger to the nodes that shows no order while it is away.
fn shows_no_order(away: Arc<AtomicBool>) -> Instead {
    Arc::new(move |request| {
        let Request::Rows { keys } = request else { return None };
        let asks = keys.iter().any(|key| key.first() == Some(&Orders::TAG));
        let message = "not now".into();
        (asks && away.load(Ordering::Relaxed)).then_some(Response::Refused { message })
    })
}
