//! Motions while people store, read and pay: parameters change under them, and all of them go on.

use ed25519_dalek::SigningKey;
use symbolon_client::{Client, GetOptions, Progress, PutOutcome, Readable, Sink, Source};
use symbolon_protocol::{
    Amount,
    id::{AccountId, TransactionId},
    ledger::{
        Params, Status,
        changes::Param,
        rows::{Accounts, Chain, Chains, Choice, Measure, MotionState, Motions, ParamChange},
        transaction::{Action, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called};

use super::{fees::priced, put_options};

const NODES: usize = 8;

const DEPOSIT: Amount = Amount(1_000_000_003);

fn rules() -> Params {
    Params { voting_epochs: 2, lock_epochs: 1, motion_deposit: DEPOSIT, ..priced() }
}

fn params(changes: &[(&str, u128)]) -> Measure {
    let change = |(name, value): &(&str, u128)| {
        let (param, _) = Param::named(name).unwrap();
        ParamChange { param, value: *value }
    };
    Measure::Params { changes: changes.iter().map(change).collect() }
}

async fn chain(world: &World) -> Chain {
    world.ledger().row(Chains, &()).await.unwrap().unwrap()
}

/// What the ledger's only validator signs.
async fn operator(world: &World, number: u8, action: Action) {
    let (ledger, key) = (world.ledger(), SigningKey::from_bytes(&world.ledger_key()));
    let until = chain(world).await.height + 40;
    let id = TransactionId([number; 16]);
    let signed = Transaction::build(ledger.chain(), &key, id, until, action);
    assert_eq!(ledger.submit(signed).await.unwrap().status, Status::Applied);
}

/// The operator votes on a motion, and some epochs pass.
async fn decided(world: &mut World, motion: u64, choice: Choice) -> MotionState {
    let key = SigningKey::from_bytes(&world.ledger_key());
    let validator = AccountId(key.verifying_key().to_bytes());
    let number = 100 + u8::try_from(motion).unwrap();
    operator(world, number, Action::CastBallot { motion, validator, choice }).await;
    world.pass_epochs(4).await;
    let row = world.ledger().row(Motions, &motion).await.unwrap().unwrap();
    world.note(format!("motion {motion} is {:?}", row.state));
    row.state
}

async fn store(world: &mut World, owner: &Client, name: &str) {
    let data = world.bytes(name, 200_000);
    let options = put_options(40);
    let quote = owner.quote(data.len() as u64, &options).await.unwrap().price;
    let before = owner.account().await.unwrap().balance;
    let source = Source::Bytes(data.clone().into());
    let report = owner.put(source, &called(name), &options, &Progress::silent()).await.unwrap();
    assert_eq!(report.outcome, PutOutcome::Stored);
    let paid = before.checked_sub(owner.account().await.unwrap().balance).unwrap();
    assert_eq!(paid, quote.total, "the price of {name} is by the parameters of now");
    world.note(format!("{name} is stored for {paid}"));
    let readable = Readable::Name(called(name));
    let (whole, quiet) = (GetOptions::default(), Progress::silent());
    let read = owner.get(&readable, Sink::Memory, &whole, &quiet).await.unwrap();
    assert_eq!(read.bytes.unwrap(), data);
}

pub(super) async fn motions(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, rules()).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    operator(&world, 1, Action::Faucet).await;
    store(&mut world, &owner, "before").await;

    // Transactions that are valid for longer are refused from then on: nodes must know it to prove.
    let dear = params(&[
        ("validity_blocks_max", 60),
        ("storage_fee_bp", 700),
        ("repair_reserve_bp", 100),
        ("fee_base", 7_000_003),
        ("duty_fee_bp", 0),
        ("miss_penalty_bp", 0),
    ]);
    owner.propose(dear, "dearer".into(), DEPOSIT).await.unwrap();
    assert_eq!(decided(&mut world, 1, Choice::Yes).await, MotionState::Done);
    let now = chain(&world).await.params;
    assert_eq!((now.validity_blocks_max, now.fee_base), (60, Amount(7_000_003)));
    store(&mut world, &owner, "after").await;

    let payee = AccountId([77; 32]);
    let pay = Measure::Pay { to: payee, amount: Amount(5_000_011) };
    owner.propose(pay, "for the audit".into(), DEPOSIT).await.unwrap();
    assert_eq!(decided(&mut world, 2, Choice::Yes).await, MotionState::Done);
    let has = world.ledger().row(Accounts, &payee).await.unwrap().unwrap();
    assert_eq!(has.balance, Amount(5_000_011));

    let before = owner.account().await.unwrap().balance;
    owner.propose(params(&[("fee_base", 1)]), "cheap".into(), DEPOSIT).await.unwrap();
    assert_eq!(decided(&mut world, 3, Choice::Veto).await, MotionState::Vetoed);
    let lost = before.checked_sub(owner.account().await.unwrap().balance).unwrap();
    assert!(DEPOSIT < lost, "the deposit is lost, with a fee");

    let height = chain(&world).await.height + 10_000;
    let next = Measure::Rules { version: 2, height };
    owner.propose(next, "new rules".into(), DEPOSIT).await.unwrap();
    assert_eq!(decided(&mut world, 4, Choice::Yes).await, MotionState::Pending);
    world.pass_epochs(2).await;
    for number in 0..NODES {
        let row = world.row(number).await;
        assert!(row.missed == 0 && 5 < row.passed, "node {number} proves under all parameters");
    }
    owner.close().await;
    world.finish().await
}
