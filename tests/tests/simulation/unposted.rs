//! Keys that never reach the ledger. Custodians give a buyer the key and post no release: the money comes back at
//! the deadline, and the right to read goes with it. Custodians who are gone while the ledger's time stands still:
//! no buyer waits for a refund that does not come.

use std::sync::Arc;

use symbolon_client::{
    BuyOutcome, Client, ClientError, ErrorKind, GetOptions, Progress, Readable, SellReport, Sink,
    Source,
};
use symbolon_protocol::{
    Amount,
    ledger::{
        rows::{OrderState, Orders},
        transaction::Action,
    },
    wire::ledger::{Request, Response},
};
use symbolon_tests::{
    between::Instead,
    sim::{Trace, World, called},
};
use tokio::time::{Duration, sleep};

use super::{put_options, sell_options};

const NODES: usize = 8;
const PRICE: Amount = Amount(3_000_000_007);
const HOUR_MS: i64 = 60 * 60 * 1000;

pub(super) async fn unposted(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    owner.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    refunded_with_the_key(&mut world, &owner, &buyer).await;
    the_ledgers_time_stands_still(&mut world, &owner, &buyer).await;
    owner.close().await;
    buyer.close().await;
    world.audit().await;
    world.end()
}

async fn sell(world: &World, owner: &Client, name: &str) -> SellReport {
    let source = Source::Bytes(world.bytes(name, 200_000).into());
    owner.put(source, &called(name), &put_options(200), &Progress::silent()).await.unwrap();
    let options = sell_options(name, PRICE);
    owner.sell(&called(name), &options, &Progress::silent()).await.unwrap()
}

/// A ledger to the nodes that takes everything of them but releases.
fn takes_no_release() -> Instead {
    Arc::new(|request| match request {
        Request::Submit { transaction }
            if matches!(transaction.action, Action::PostRelease { .. }) =>
        {
            Some(Response::Refused { message: "not today".into() })
        }
        _ => None,
    })
}

async fn refunded_with_the_key(world: &mut World, owner: &Client, buyer: &Client) {
    let sold = sell(world, owner, "goods").await;
    let ticket = world.silent_ledger("a ledger that takes no release", takes_no_release());
    for number in 0..NODES {
        world.kill_node(number).await;
        world.start_node_told(number, ticket.clone()).await;
    }
    world.pass_epochs(1).await;
    let before = buyer.account().await.unwrap().balance;
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    let row = world.ledger().row(Orders, &bought.order).await.unwrap().unwrap();
    assert_eq!((row.state, row.releases.len()), (OrderState::Paid, 0), "the key came directly");
    world.pass_epochs(2).await;
    let row = world.ledger().row(Orders, &bought.order).await.unwrap().unwrap();
    assert_eq!(row.state, OrderState::Refunded);
    assert_eq!(buyer.account().await.unwrap().balance, before);

    let token = Readable::Token(bought.token.clone());
    let (all, quiet) = (GetOptions::default(), Progress::silent());
    let got = buyer.get(&token, Sink::Memory, &all, &quiet).await.map(|got| got.length);
    let opened = buyer.open(&token, &quiet).await.map(drop);
    for error in [got.unwrap_err(), opened.unwrap_err()] {
        world.note(format!("refunded: {error}"));
        assert!(matches!(error, ClientError::OrderRefunded(id) if id == bought.order), "{error:?}");
    }
    for number in 0..NODES {
        world.kill_node(number).await;
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
    // It is bought anew, and that order is delivered.
    let again = buyer.buy(&sold.listing, PRICE, &quiet).await.unwrap();
    assert_ne!(again.order, bought.order);
    let token = Readable::Token(again.token.clone());
    let got = buyer.get(&token, Sink::Memory, &all, &quiet).await.unwrap();
    assert!(got.bytes.unwrap() == world.bytes("goods", 200_000));
    assert_eq!(got.acknowledged, Some(again.order));
}

async fn the_ledgers_time_stands_still(world: &mut World, owner: &Client, buyer: &Client) {
    let sold = sell(world, owner, "still").await;
    let gone: Vec<_> = sold.custodians.iter().take(3).map(|id| world.number_of(id)).collect();
    for number in &gone {
        world.kill_node(*number).await;
    }
    world.kill_ledger().await;
    world.start_ledger().await;
    world.set_clock("ledger", -HOUR_MS);
    let before = buyer.account().await.unwrap().balance;
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await;
    let error = bought.map(|bought| bought.order).unwrap_err();
    world.note(format!("while the ledger's time stands still: {error}"));
    let ClientError::NotEnoughCustodians { released, needed, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((*released, *needed, error.kind()), (2, 3, ErrorKind::NotEnough));
    let paid = before.checked_sub(PRICE).unwrap();
    assert_eq!(buyer.account().await.unwrap().balance, paid, "the money is still in escrow");
    // When custodians are back, the same order is gone on with.
    for number in gone {
        world.start_node(number).await;
    }
    sleep(Duration::from_secs(30)).await;
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    assert_eq!((bought.outcome, bought.paid), (BuyOutcome::Resumed, PRICE));
    assert_eq!(buyer.account().await.unwrap().balance, paid, "it was paid once");
}
