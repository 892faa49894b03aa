//! A node that has lost shards and wants to be rid of them before it is asked: it says so too late and in time, hands one on
//! to another name of its operator, and tries to leave with its stake. What is said too late helps nothing; what is said in
//! time costs what the repair costs; and the other name is asked instead. The node beside it, which keeps everything, loses
//! nothing.

use symbolon_protocol::{
    Amount,
    id::{AccountId, DealId},
    ledger::{
        Params, Status, repair_cost,
        rows::{Chains, Deals, Nodes},
        transaction::{Acceptance, Action, DealTerms, LostShard},
    },
};
use symbolon_tests::{
    party::{Party, Proved, Prover, prove_until, terms},
    sim::{Trace, World, derive, params},
};
use tokio::time::{Duration, sleep};

const DEALS: u64 = 10;
const LENGTH: u64 = 40 << 10;
const PRICE: Amount = Amount(5_000_000_007);
const STAKE: Amount = Amount(500_000_000);

/// Milliseconds before its turn at which a node acts.
const BEFORE_MS: u64 = 300;

fn strangers() -> Params {
    let repair_price = Amount::credits(100);
    let (collateral_epochs, dead_after_epochs) = (3, 4);
    Params { collateral_epochs, repair_price, dead_after_epochs, ..params() }
}

/// The nodes, and the deals of which the first two keep a shard each.
struct Stage {
    honest: Prover,
    resigns: Prover,
    /// The other name.
    accomplice: Prover,
    deals: Vec<DealTerms>,
}

pub(super) async fn resigning(seed: u64) -> Trace {
    let mut world = World::found_with(seed, 0, strangers()).await;
    let mut stage = stage(&world).await;
    let begin = world.epoch().await + 2;
    pass(&mut world, &mut stage, begin).await;
    too_late(&mut world, &mut stage).await;
    in_time(&mut world, &mut stage).await;
    to_another_name(&mut world, &mut stage).await;
    to_and_fro(&mut world, &mut stage).await;
    leaves_with_its_stake(&mut world, &mut stage).await;
    let honest = stage.honest.row().await;
    assert_eq!((honest.missed, honest.backing(), honest.slots), (0, STAKE, 10));
    world.note(format!("the honest node has proven {}", honest.passed));
    world.audit().await;
    world.end()
}

async fn stage(world: &World) -> Stage {
    let owner = Party::new(world, derive(world.seed, "owner"));
    assert_eq!(owner.send(Action::Faucet).await, Status::Applied);
    let mut nodes = Vec::new();
    for name in ["honest", "resigns", "accomplice"] {
        let node = Prover::register(world, name, PRICE).await;
        let stake = Action::Stake { node: node.party.id(), amount: STAKE };
        assert_eq!(owner.send(stake).await, Status::Applied);
        nodes.push(node);
    }
    let [mut honest, mut resigns, accomplice] = <[Prover; 3]>::try_from(nodes).unwrap();
    let mut deals = Vec::new();
    for number in 0..DEALS {
        let terms = terms(owner.account(), number, (1, 2), LENGTH);
        let acceptances: Vec<Acceptance> = (0..)
            .zip([&mut honest, &mut resigns])
            .map(|(index, node)| node.take(&terms, index, PRICE, world.now_ms()))
            .collect();
        deals.push(terms.clone());
        let open = Action::OpenDeal { terms, acceptances, cost_max: Amount(u128::MAX) };
        assert_eq!(owner.send(open).await, Status::Applied);
    }
    Stage { honest, resigns, accomplice, deals }
}

/// Lets all of them prove until an epoch begins.
async fn pass(world: &mut World, stage: &mut Stage, epoch: u64) {
    let mut nodes = [&stage.honest, &stage.resigns, &stage.accomplice].map(Prover::clone);
    prove_until(world, &mut nodes, epoch).await;
    [stage.honest, stage.resigns, stage.accomplice] = nodes;
    world.audit().await;
}

/// The answer of the node that resigns to its next window. The others prove meanwhile.
async fn answers(stage: &mut Stage) -> Proved {
    loop {
        stage.honest.prove().await;
        stage.accomplice.prove().await;
        match stage.resigns.prove().await {
            Proved::Nothing => sleep(Duration::from_millis(100)).await,
            proved => return proved,
        }
    }
}

/// Waits until shortly before the node's next turn: the last moment in which its table may still change.
async fn just_before(world: &World, stage: &mut Stage) {
    loop {
        let chain = world.ledger().row(Chains, &()).await.unwrap().unwrap();
        let turn = stage.resigns.row().await.turn_ms.unwrap();
        let counted = chain.counted_ms.0 + world.now_ms().saturating_sub(chain.time_ms.0);
        let left = turn.0.saturating_sub(counted);
        if left <= BEFORE_MS {
            return;
        }
        stage.honest.prove().await;
        stage.resigns.prove().await;
        stage.accomplice.prove().await;
        sleep(Duration::from_millis((left - BEFORE_MS).min(500))).await;
    }
}

impl Stage {
    fn deal(&self, at: usize) -> DealId {
        self.deals[at].deal()
    }

    async fn declares(&self, at: usize) -> Status {
        let shards = vec![LostShard { deal: self.deal(at), index: 1 }];
        self.resigns.party.send(Action::DeclareLost { shards }).await
    }
}

/// It is asked for a shard that it lacks, and declares it then: the window is missed all the same.
async fn too_late(world: &mut World, stage: &mut Stage) {
    stage.resigns.drop_shards(&[stage.deal(0)]);
    let mut asked = 0;
    while answers(stage).await != Proved::Lacks {
        asked += 1;
        assert!(asked < 40, "it is never asked for a tenth of what it is to keep");
    }
    let before = stage.resigns.row().await;
    assert_eq!(stage.declares(0).await, Status::Applied);
    let after = stage.resigns.row().await;
    assert_eq!((after.table, after.window), (before.table, before.window), "the snapshot stays");
    let cost = repair_cost(&strangers(), LENGTH);
    assert_eq!(after.backing(), STAKE.checked_sub(cost).unwrap(), "what the repair costs");
    world.audit().await;
    let paid = world.auditor.balance(&stage.resigns.payout);
    assert_eq!(answers(stage).await, Proved::All, "the next one does not ask for it");
    let row = stage.resigns.row().await;
    assert_eq!((row.missed, row.slots), (before.missed + 1, 9), "the window is missed");
    world.audit().await;
    let now = world.auditor.balance(&stage.resigns.payout);
    assert_eq!(now, paid + row.rate.0, "one of the two is paid");
}

/// It declares a shard at the last moment before the snapshot: it is not asked for it, and pays for its repair.
async fn in_time(world: &mut World, stage: &mut Stage) {
    stage.resigns.drop_shards(&[stage.deal(1)]);
    just_before(world, stage).await;
    let before = stage.resigns.row().await;
    assert_eq!(stage.declares(1).await, Status::Applied);
    assert_eq!(answers(stage).await, Proved::All);
    let row = stage.resigns.row().await;
    assert_eq!(row.slots, 8);
    assert!(row.missed <= before.missed + 1, "it may have missed the window before");
    let cost = repair_cost(&strangers(), LENGTH);
    assert_eq!(row.backing(), before.backing().checked_sub(cost).unwrap());
    let deal = world.ledger().row(Deals, &stage.deal(1)).await.unwrap().unwrap();
    assert_eq!(deal.lost().count(), 1, "others know that it needs repair");
    world.audit().await;
}

/// It hands a shard that it lacks on to its other name just before the snapshot. That one is asked for it, has nothing, and
/// loses its stake.
async fn to_another_name(world: &mut World, stage: &mut Stage) {
    let (terms, deal) = (stage.deals[2].clone(), stage.deal(2));
    let row = world.ledger().row(Deals, &deal).await.unwrap().unwrap();
    let root = row.shards[1].unwrap().root;
    stage.resigns.drop_shards(&[deal]);
    just_before(world, stage).await;
    let before = stage.resigns.row().await;
    let accepted = stage.accomplice.party.accept(&terms, (1, root), PRICE, world.now_ms());
    let (acceptances, cost_max) = (vec![accepted], Amount(u128::MAX));
    let place = Action::PlaceShards { terms, acceptances, cost_max };
    assert_eq!(stage.resigns.party.send(place).await, Status::Applied);
    // The shard leaves with the epoch in which the next one begins: until then it is the node's own to prove.
    let begins = world.epoch().await + 2;
    pass(world, stage, begins).await;
    let row = stage.resigns.row().await;
    assert_eq!((row.slots, row.backing()), (7, before.backing()), "it keeps its stake");
    let until = begins + 8;
    pass(world, stage, until).await;
    let other = stage.accomplice.row().await;
    assert_eq!((other.passed, other.missed, other.dead), (0, 4, true), "the other name pays");
    assert_eq!((other.backing(), other.used), (Amount::ZERO, 0));
    assert_eq!(world.auditor.balance(&stage.accomplice.payout), 0);
}

/// Two names would hand a shard that neither has to and fro, so that it is in no table when a window opens. The second one
/// cannot before its window has opened, and then it is asked.
async fn to_and_fro(world: &mut World, stage: &mut Stage) {
    let (terms, deal) = (stage.deals[3].clone(), stage.deal(3));
    let root = world.ledger().row(Deals, &deal).await.unwrap().unwrap().shards[1].unwrap().root;
    let other = Prover::register(world, "another name", PRICE).await.party;
    let stake = Action::Stake { node: other.id(), amount: STAKE };
    let owner = Party::new(world, derive(world.seed, "owner"));
    assert_eq!(owner.send(stake).await, Status::Applied);
    let hand = async |world: &World, from: &Party, to: &Party| {
        let accepted = to.accept(&terms, (1, root), PRICE, world.now_ms());
        let (acceptances, cost_max) = (vec![accepted], Amount(u128::MAX));
        from.send(Action::PlaceShards { terms: terms.clone(), acceptances, cost_max }).await
    };
    let party = stage.resigns.party.clone();
    assert_eq!(hand(world, &party, &other).await, Status::Applied);
    assert_eq!(hand(world, &other, &party).await, Status::TooEarly, "its shard waits");
    let next = world.epoch().await + 1;
    while world.epoch().await < next {
        stage.honest.prove().await;
        stage.resigns.prove().await;
        sleep(Duration::from_millis(5)).await;
    }
    stage.resigns.drop_shards(&[deal]);
    assert_eq!(hand(world, &other, &party).await, Status::TooEarly, "it waits for its window");
    pass(world, stage, next + 2).await;
    let row = world.ledger().row(Nodes, &other.id()).await.unwrap().unwrap();
    assert!(0 < row.missed && row.passed == 0, "it was asked, and has nothing");
    let account = AccountId(derive(world.seed, "payout of another name"));
    assert_eq!(world.auditor.balance(&account), 0);
}

/// It cannot take its stake away before it is asked, nor be no node any more; and one that leaves is asked until it has gone.
async fn leaves_with_its_stake(world: &mut World, stage: &mut Stage) {
    let dropped: Vec<DealId> = (4..10).map(|at| stage.deal(at)).collect();
    stage.resigns.drop_shards(&dropped);
    just_before(world, stage).await;
    let before = stage.resigns.row().await;
    let party = stage.resigns.party.clone();
    let amount = before.backing();
    assert_eq!(party.send(Action::Unstake { amount }).await, Status::CollateralTooLow);
    assert_eq!(party.send(Action::RetireNode).await, Status::TooEarly);
    let leaves = stage.resigns.registration(PRICE, true);
    assert_eq!(party.send(leaves).await, Status::Applied);
    assert_eq!(answers(stage).await, Proved::Lacks, "it is asked all the same");
    let until = world.epoch().await + 8;
    pass(world, stage, until).await;
    let row = stage.resigns.row().await;
    assert!(row.dead && row.used == 0, "it is dead");
    assert_eq!(row.backing(), Amount::ZERO, "and has lost its stake");
}
