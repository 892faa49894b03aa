//! A network on which transactions cost something: everything works, everything is paid, and a flood ends with its money.

use ed25519_dalek::SigningKey;
use symbolon_client::{
    Client, ClientError, GetOptions, Progress, PutOptions, PutOutcome, Readable, SellOptions, Sink,
    Source, Stored,
};
use symbolon_protocol::{
    Amount,
    content::Scheme,
    id::{AccountId, TransactionId},
    ledger::{
        Params, Status, deposit, fee,
        rows::{Nodes, PoolsTable},
        transaction::{Action, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called, derive, params};

use super::{put_options, sell_options};

const NODES: usize = 8;

/// Registrations that the attacker tries in all.
const TRIED: u64 = 2_000;

pub(super) fn priced() -> Params {
    Params {
        fee_base: Amount(1_000_000),
        fee_byte: Amount(1_003),
        fee_check: Amount(100_007),
        duty_fee_bp: 333,
        deposit: Amount(10_000_019),
        ..params()
    }
}

pub(super) async fn fees(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, priced()).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    for client in [&owner, &buyer] {
        client.faucet().await.unwrap();
    }
    put(&mut world, &owner).await;
    sell_and_buy(&mut world, &owner, &buyer).await;
    revoke(&mut world, &owner, &buyer).await;
    care(&mut world, &owner).await;
    flood(&mut world, &owner).await;
    world.pass_epochs(3).await;
    for number in 0..NODES {
        let row = world.row(number).await;
        assert!(row.missed == 0 && 2 < row.passed, "node {number} proves what it keeps");
    }
    let bound = owner.account().await.unwrap().deposits;
    owner.remove(&[called("file")], true, &Progress::silent()).await.unwrap();
    // A deal's rows stay for a hundred epochs after its end.
    assert_eq!(owner.account().await.unwrap().deposits, bound);
    owner.close().await;
    buyer.close().await;
    world.finish().await
}

async fn balance(client: &Client) -> Amount {
    client.account().await.unwrap().balance
}

/// The price that is shown is all-in, and is what is paid.
async fn put(world: &mut World, owner: &Client) {
    let data = world.bytes("file", 400_000);
    let options = put_options(40);
    let quote = owner.quote(data.len() as u64, &options).await.unwrap().price;
    assert!(Amount::ZERO < quote.deposit && Amount::ZERO < quote.fee);
    let before = balance(owner).await;
    let source = Source::Bytes(data.into());
    let report = owner.put(source, &called("file"), &options, &Progress::silent()).await.unwrap();
    assert_eq!(report.outcome, PutOutcome::Stored);
    let paid = before.checked_sub(balance(owner).await).unwrap();
    assert_eq!((report.cost, paid), (quote.total, quote.total));
    let bound = owner.account().await.unwrap().deposits;
    assert_eq!(bound, quote.deposit);
    world.note(format!("put for {paid}, of which {bound} is bound"));
    world.audit().await;
    let index = owner.quote_index(&symbolon_client::Growth::default(), 40).await.unwrap();
    let before = balance(owner).await;
    let published = owner.publish_names(None, &Progress::silent()).await.unwrap().unwrap();
    let paid = before.checked_sub(balance(owner).await).unwrap();
    assert!(published.cost == paid && paid <= index, "{paid} of {index}");
}

/// Caretakers cost a deposit and a fee: nothing is paid beyond what was agreed, and the deposit comes back with the care.
async fn care(world: &mut World, owner: &Client) {
    for number in 0..NODES {
        world.offer_care(number).await;
    }
    let quiet = Progress::silent();
    let source = Source::Bytes(world.bytes("cared", 50_000).into());
    let options = PutOptions { scheme: Some(Scheme { required: 2, total: 4 }), ..put_options(40) };
    let stored = owner.put(source, &called("cared"), &options, &quiet).await.unwrap();
    let which = Stored::Object(stored.object);
    owner.allow_care(&Stored::All, false).await.unwrap();
    owner.allow_care(&which, true).await.unwrap();
    let refused = owner.care_agreed(None, &quiet).await;
    assert!(matches!(refused, Err(ClientError::CostTooHigh { .. })), "{refused:?}");
    assert_eq!(owner.agreement().await.unwrap().spent, Amount::ZERO);
    owner.agree(&[], 40, Some(Amount::credits(1))).await.unwrap();
    let (before, bound) = (balance(owner).await, owner.account().await.unwrap().deposits);
    let cared = owner.care_agreed(None, &quiet).await.unwrap();
    assert_eq!((cared.cared, cared.new), (1, 1));
    let paid = before.checked_sub(balance(owner).await).unwrap();
    assert!(Amount::ZERO < paid && paid == cared.cost, "{paid} of {}", cared.cost);
    assert_eq!(owner.agreement().await.unwrap().spent, paid);
    assert!(bound < owner.account().await.unwrap().deposits);
    let before = balance(owner).await;
    let back = owner.uncare(which, None).await.unwrap();
    let came = owner.account().await.unwrap();
    assert_eq!((back.segments, came.deposits), (1, bound));
    assert!(before < came.balance, "the deposit is more than the fee");
    world.audit().await;
}

async fn sell_and_buy(world: &mut World, owner: &Client, buyer: &Client) {
    let price = Amount(77_777_777);
    let options = SellOptions { preview_cells: 1, ..sell_options("priced", price) };
    let plan = owner.plan_sale(&called("file"), &options).await.unwrap();
    let less = plan.cost.checked_sub(Amount(1)).unwrap();
    let before = balance(owner).await;
    let limited = SellOptions { cost_max: Some(plan.cost), ..options };
    let sold = owner.sell(&called("file"), &limited, &Progress::silent()).await.unwrap();
    let paid = before.checked_sub(balance(owner).await).unwrap();
    // The bond comes back, so it is no cost.
    let cost = paid.checked_sub(sold.bond).unwrap();
    assert_eq!((sold.bond, plan.bond), (price, price));
    assert_eq!(sold.cost, cost);
    assert!(cost <= plan.cost, "{cost} of {}", plan.cost);
    world.note(format!("for sale at {cost} of {less} and one"));
    world.audit().await;

    let extra = buyer.price_of_order().await.unwrap();
    let all_in = price.checked_add(extra.total()).unwrap();
    let short = all_in.checked_sub(Amount(1)).unwrap();
    let refused = buyer.buy(&sold.listing, short, &Progress::silent()).await;
    assert!(matches!(refused, Err(ClientError::CostTooHigh { .. })), "{refused:?}");
    let before = balance(buyer).await;
    let bought = buyer.buy(&sold.listing, all_in, &Progress::silent()).await.unwrap();
    let token = Readable::Token(bought.token);
    let got = buyer.get(&token, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    assert!(got.unwrap().bytes.unwrap() == world.bytes("file", 400_000));
    let paid = before.checked_sub(balance(buyer).await).unwrap();
    assert!(price < paid && paid <= all_in, "{paid} of {all_in}");
    assert_eq!(buyer.account().await.unwrap().deposits, extra.deposit);
    world.note(format!("bought for {paid} of {all_in}"));
    world.audit().await;
    assert_eq!(world.auditor.orders(), (1, 1, 0));
}

async fn revoke(world: &mut World, owner: &Client, buyer: &Client) {
    let friend = world.identity("buyer").recipient();
    let name = called("file");
    let token = owner.share(&name, &friend, Vec::new(), None, &Progress::silent()).await.unwrap();
    let (before, price) = (balance(owner).await, owner.price_of_revocation().await.unwrap());
    owner.revoke(&token).await.unwrap();
    let paid = before.checked_sub(balance(owner).await).unwrap();
    // A grant without an end has a revocation without one, of eight bytes less.
    assert!(paid < price.total() && price.deposit < paid, "{paid} of {}", price.total());
    let what = Readable::Token(Box::new(token));
    let got = buyer.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    assert!(got.is_err());
    world.note(format!("revoked for {paid}"));
    world.audit().await;
}

/// An attacker with a credit registers nodes under fresh keys, and goes on when the money is gone.
async fn flood(world: &mut World, owner: &Client) {
    let attacker = SigningKey::from_bytes(&derive(world.seed, "attacker"));
    let purse = AccountId(attacker.verifying_key().to_bytes());
    owner.transfer(purse, Amount::credits(1), None).await.unwrap();
    let (ledger, params) = (world.ledger(), priced());
    let register = |payout| Action::RegisterNode {
        payout,
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price: Amount::ZERO,
        capacity: 0,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    let needed = fee(&params, &register(purse)).0 + deposit(&params, &register(purse)).0;
    let (known, mut registered) = (ledger.scan_all(Nodes, &[]).await.unwrap().len(), 0);
    for number in 0..TRIED {
        let key = SigningKey::from_bytes(&derive(world.seed, &format!("attacker {number}")));
        let to = AccountId(key.verifying_key().to_bytes());
        let until = ledger.head().await.unwrap().header.height + 100;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let send = async |key: &SigningKey, action| {
            let signed = Transaction::build(ledger.chain(), key, TransactionId(id), until, action);
            ledger.submit(signed).await.unwrap().status
        };
        let given = send(&attacker, Action::Transfer { to, amount: Amount(needed) }).await;
        let done = send(&key, register(purse)).await;
        match given {
            Status::Applied => registered += 1,
            Status::BalanceTooLow | Status::FeeNotCovered => {}
            status => panic!("{status}"),
        }
        let expected =
            if given == Status::Applied { Status::Applied } else { Status::FeeNotCovered };
        assert_eq!(done, expected);
    }
    // Each costs a registration, its deposit, the gift's fee, and the row of an account.
    let transfer = fee(&params, &Action::Transfer { to: purse, amount: Amount(needed) }).0;
    let each = needed + transfer + params.deposit.0;
    assert_eq!(registered as u128, Amount::credits(1).0 / each);
    assert_eq!(ledger.scan_all(Nodes, &[]).await.unwrap().len(), known + registered);
    let pools = ledger.row(PoolsTable, &()).await.unwrap().unwrap();
    world.note(format!("{registered} of {TRIED} registered, {} are bound", pools.deposits));
    world.audit().await;
}
