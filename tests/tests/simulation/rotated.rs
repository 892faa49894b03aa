//! Vaults that are dealt anew, and custodians who keep silent. A vault is rotated while an order runs and its custodians are
//! dead: the order is delivered, and no custodian pays. Custodians who keep their releases from the ledger for a buyer who does not
//! acknowledge: fewer than the threshold change nothing, and the seller is paid; more of them pay for the refund. The honest ones
//! beside them never do.

use std::sync::Arc;

use symbolon_client::{
    Client, ClientError, DealOutcome, Progress, Readable, Rotation, SellReport, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    id::{NodeId, TransactionId},
    ledger::{
        Params, Status,
        rows::{Nodes, Order, OrderState, Orders, Vault, Vaults},
        transaction::{Action, Transaction},
    },
    wire::ledger::{Request, Response},
};
use symbolon_tests::{
    between::Instead,
    sim::{Trace, World, called, params},
};
use tokio::time::{Duration, sleep};

use super::{put_options, sell_options};

const NODES: usize = 10;
const PRICE: Amount = Amount(3_000_000_007);
const STAKE: Amount = Amount::credits(10);
/// More than fewer than a threshold: with so many the others cannot deliver. Three of five open a vault.
const TOO_MANY: usize = 3;

pub(super) async fn rotated(seed: u64) -> Trace {
    let params = Params { silence_penalty_bp: 1_000, ..params() };
    let mut world = World::found_with(seed, NODES, params).await;
    let people = ["patron", "seller", "buyer", "another", "third", "fourth"];
    let clients: Vec<Client> = people.iter().map(|name| world.client(name)).collect();
    for client in &clients {
        client.faucet().await.unwrap();
    }
    stake(&world).await;
    let [_, seller, buyer, another, third, fourth] = &clients[..] else { unreachable!("six") };
    let sold = sell(&world, seller).await;
    dealt_anew(&mut world, seller, buyer, &sold).await;
    few_conspire(&mut world, (seller, another), &sold).await;
    many_conspire(&mut world, third, &sold).await;
    they_sleep(&mut world, fourth, &sold).await;
    for client in clients {
        client.close().await;
    }
    world.audit().await;
    world.end()
}

/// Every node has collateral, of another party's money.
async fn stake(world: &World) {
    let (ledger, key) = (world.ledger(), world.identity("patron").account_key());
    let until = ledger.head().await.unwrap().header.height + 100;
    for (number, station) in (0..).zip(&world.stations) {
        let action = Action::Stake { node: station.id, amount: STAKE };
        let id = TransactionId([number; 16]);
        let signed = Transaction::build(ledger.chain(), &key, id, until, action);
        assert_eq!(ledger.submit(signed).await.unwrap().status, Status::Applied);
    }
}

async fn sell(world: &World, seller: &Client) -> SellReport {
    let source = Source::Bytes(world.bytes("goods", 200_000).into());
    seller.put(source, &called("goods"), &put_options(500), &Progress::silent()).await.unwrap();
    let options = sell_options("goods", PRICE);
    seller.sell(&called("goods"), &options, &Progress::silent()).await.unwrap()
}

async fn vault(world: &World, sold: &SellReport) -> Vault {
    world.ledger().row(Vaults, &sold.vault).await.unwrap().unwrap()
}

async fn collateral(world: &World, nodes: &[NodeId]) -> Vec<Amount> {
    let rows = world.ledger().rows(Nodes, nodes).await.unwrap();
    rows.into_iter().map(|row| row.unwrap().collateral).collect()
}

async fn orders(world: &World) -> Vec<Order> {
    let all = world.ledger().scan(Orders, &[], None, 100).await.unwrap();
    all.into_iter().map(|(_, order)| order).collect()
}

/// Three custodians are dead when the order is paid. The seller replaces them before it is due.
async fn dealt_anew(world: &mut World, seller: &Client, buyer: &Client, sold: &SellReport) {
    let before = vault(world, sold).await;
    assert_eq!((before.custodians.len(), before.key.required()), (5, 3));
    let dead: Vec<usize> = before.custodians[..3].iter().map(|id| world.number_of(id)).collect();
    for number in &dead {
        world.kill_node(*number).await;
    }
    let rotation = async {
        while orders(world).await.is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
        seller.rotate_vault(&Rotation::default(), None, &Progress::silent()).await.unwrap()
    };
    let quiet = Progress::silent();
    let (bought, dealt) = tokio::join!(buyer.buy(&sold.listing, PRICE, &quiet), rotation);
    let bought = bought.unwrap();
    let after = vault(world, sold).await;
    world.note(format!("dealt anew: {:?}, bought with {:?}", dealt.outcome, bought.custodians));
    assert_eq!(
        (dealt.outcome, after.dealing, after.custodians.len()),
        (DealOutcome::Rotated, 2, 5)
    );
    assert_eq!(after.key.commitments[0], before.key.commitments[0]);
    assert!(before.custodians[..3].iter().all(|node| !after.custodians.contains(node)));
    assert!(before.custodians[3..].iter().all(|node| after.custodians.contains(node)));
    let token = Readable::Token(bought.token.clone());
    let got = buyer.get(&token, Sink::Memory, &Default::default(), &quiet).await.unwrap();
    assert!(got.bytes.unwrap() == world.bytes("goods", 200_000));
    assert_eq!(got.acknowledged, Some(bought.order));
    for number in dead {
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
    assert!(collateral(world, &before.custodians).await.iter().all(|amount| *amount == STAKE));
    let again = seller.rotate_vault(&Rotation::default(), None, &quiet).await.unwrap();
    assert_eq!(again.outcome, DealOutcome::Kept, "all are there");
}

/// A ledger to accomplices that takes no release of theirs: they post nothing.
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

/// Makes the first custodians accomplices of the buyer, or honest again.
async fn conspire(world: &mut World, nodes: &[NodeId], are: bool) {
    let ticket =
        world.silent_ledger(&format!("accomplices of {}", nodes.len()), takes_no_release());
    for id in nodes {
        let number = world.number_of(id);
        world.kill_node(number).await;
        match are {
            true => world.start_node_told(number, ticket.clone()).await,
            false => world.start_node(number).await,
        }
    }
    world.pass_epochs(1).await;
}

/// Two custodians help a buyer who has the key and says nothing. The other three are enough: the seller is paid.
async fn few_conspire(world: &mut World, (seller, buyer): (&Client, &Client), sold: &SellReport) {
    let custodians = vault(world, sold).await.custodians;
    let accomplices = &custodians[..TOO_MANY - 1];
    conspire(world, accomplices, true).await;
    let (had, stakes) =
        (seller.account().await.unwrap().balance, collateral(world, &custodians).await);
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    world.pass_epochs(3).await;
    let order = world.ledger().row(Orders, &bought.order).await.unwrap().unwrap();
    assert_eq!((order.state, order.releases.len()), (OrderState::Settled, 3));
    assert!(order.releases.iter().all(|one| !accomplices.contains(&one.node)));
    assert!(had < seller.account().await.unwrap().balance);
    assert_eq!(collateral(world, &custodians).await, stakes, "the buyer is not refunded");
    world.note("two accomplices of five change nothing");
    conspire(world, accomplices, false).await;
}

/// A node's collateral after it has kept silent.
fn punished(before: &[Amount], silent: usize) -> Vec<Amount> {
    let after = |(number, amount): (usize, &Amount)| match number < silent {
        true => Amount(amount.0 - amount.0 / 10),
        false => *amount,
    };
    before.iter().enumerate().map(after).collect()
}

/// With a third one the others cannot deliver. The buyer has the key and the money, and the three pay for it; the two who have
/// posted do not.
async fn many_conspire(world: &mut World, buyer: &Client, sold: &SellReport) {
    let custodians = vault(world, sold).await.custodians;
    conspire(world, &custodians[..TOO_MANY], true).await;
    let stakes = collateral(world, &custodians).await;
    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    world.pass_epochs(3).await;
    let order = world.ledger().row(Orders, &bought.order).await.unwrap().unwrap();
    assert_eq!((order.state, order.releases.len()), (OrderState::Refunded, 2));
    assert_eq!(collateral(world, &custodians).await, punished(&stakes, TOO_MANY));
    world.note("three accomplices of five pay for the refund");
    conspire(world, &custodians[..TOO_MANY], false).await;
}

/// Three are dead, and no seller replaces them: the money comes back by itself.
async fn they_sleep(world: &mut World, buyer: &Client, sold: &SellReport) {
    let custodians = vault(world, sold).await.custodians;
    let stakes = collateral(world, &custodians).await;
    for id in &custodians[..TOO_MANY] {
        let number = world.number_of(id);
        world.kill_node(number).await;
    }
    let before = buyer.account().await.unwrap().balance;
    let error = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap_err();
    assert!(matches!(error, ClientError::OrderRefunded(_)), "{error:?}");
    assert_eq!(buyer.account().await.unwrap().balance, before);
    world.audit().await;
    assert_eq!(collateral(world, &custodians).await, punished(&stakes, TOO_MANY));
    world.note("three sleepers of five pay for the refund");
}
