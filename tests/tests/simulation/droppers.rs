//! Nodes that keep less than they are paid for: they drop a hundredth, a tenth or all of their shards, keep only the leaves
//! that they were asked for, or answer under two names from one disk. Each is caught within the epochs that follow from the
//! number of challenges, and loses what the rules say. Those beside them who keep everything lose nothing.

use symbolon_protocol::{
    Amount,
    id::DealId,
    ledger::{
        Params, Status, repair_cost,
        rows::{DealState, Deals, HoldKey, Holds},
        slot_rate,
        transaction::{Acceptance, Action},
    },
    proof::challenge_counts,
};
use symbolon_tests::{
    party::{Party, Prover, prove_until, terms},
    sim::{Trace, World, derive, params},
};

/// Deals, of each of which every node keeps a shard.
const DEALS: u64 = 100;
const LENGTH: u64 = 24 << 10;
const PRICE: Amount = Amount(5_000_000_007);
/// Much more than is needed, so that no pay is withheld.
const STAKE: Amount = Amount::credits(50);
const DEAD_AFTER: u32 = 5;
const PENALTY_BP: u64 = 1_000;

/// Who keeps what. The number is what it drops of its shards.
const NODES: [(&str, usize); 7] = [
    ("all", 0),
    ("all, on one disk with the one before", 0),
    ("all but one", 1),
    ("nine of ten", 10),
    ("none", 100),
    ("what was asked", 0),
    ("only the shards of its other name", 0),
];

/// In so many epochs a node that lacks so many shards is noticed, but for one time in a million.
fn caught_within(dropped: usize) -> u64 {
    let (weighted, uniform) = challenge_counts(DEALS * LENGTH);
    let kept = 1.0 - dropped as f64 / DEALS as f64;
    let (mut unnoticed, mut epochs) = (1.0, 0);
    while 1e-6 < unnoticed {
        unnoticed *= kept.powf((weighted + uniform) as f64);
        epochs += 1;
    }
    epochs
}

fn strangers() -> Params {
    Params {
        collateral_epochs: 3,
        repair_price: Amount::credits(100),
        miss_penalty_bp: u16::try_from(PENALTY_BP).unwrap(),
        dead_after_epochs: DEAD_AFTER,
        ..params()
    }
}

pub(super) async fn droppers(seed: u64) -> Trace {
    let mut world = World::found_with(seed, 0, strangers()).await;
    let (mut nodes, deals) = keep_the_same(&world).await;
    world.note(format!("{} nodes keep {} shards each", nodes.len(), deals.len()));
    let begin = world.epoch().await + 2;
    prove_until(&world, &mut nodes, begin).await;
    world.audit().await;
    for node in &nodes {
        let row = node.row().await;
        assert_eq!((row.missed, row.slots), (0, 100), "all keep everything at first");
    }
    let before = nodes.clone();
    let earned: Vec<u128> = nodes.iter().map(|node| world.auditor.balance(&node.payout)).collect();
    cheat(&world, &mut nodes, &deals);

    let mut caught = [None; NODES.len()];
    let most = begin + caught_within(1);
    let mut epoch = begin;
    while caught.iter().filter(|epochs| epochs.is_some()).count() < NODES.len() - 2 {
        epoch += 1;
        assert!(epoch <= most, "caught so far: {caught:?}");
        prove_until(&world, &mut nodes, epoch).await;
        world.audit().await;
        for (at, node) in nodes.iter().enumerate() {
            let row = node.row().await;
            if caught[at].is_none() && 0 < row.missed {
                caught[at] = Some(epoch - begin);
            }
        }
    }
    world.note(format!("caught after so many epochs: {caught:?}"));
    for (at, epochs) in caught.into_iter().enumerate() {
        let (name, dropped) = NODES[at];
        // The first window after the cheat is judged when it is over.
        let limit = if dropped == 0 { 1 } else { caught_within(dropped) } + 2;
        match at {
            0 | 1 => assert_eq!(epochs, None, "{name}"),
            _ => assert!(epochs.unwrap() <= limit, "{name} after {epochs:?}, not {limit}"),
        }
    }
    prove_until(&world, &mut nodes, begin + u64::from(DEAD_AFTER) + 3).await;
    world.audit().await;
    loses_nothing(&world, &nodes[..2], &earned).await;
    some_missing(&world, &nodes[2], 1).await;
    some_missing(&world, &nodes[3], 10).await;
    for at in [4, 5, 6] {
        is_dead(&world, &nodes[at], earned[at], at).await;
    }
    forfeits(&world, &deals).await;
    // One that gets its bytes back proves again.
    nodes[2].share_disk(&before[2], true);
    let missed = nodes[2].row().await.missed;
    let next = world.epoch().await + 3;
    prove_until(&world, &mut nodes, next).await;
    assert_eq!(nodes[2].row().await.missed_in_row, 0);
    assert!(nodes[2].row().await.missed <= missed + 1);
    world.audit().await;
    world.end()
}

/// Every node keeps a shard of each deal, and has staked what it needs.
async fn keep_the_same(world: &World) -> (Vec<Prover>, Vec<DealId>) {
    let owner = Party::new(world, derive(world.seed, "owner"));
    assert_eq!(owner.send(Action::Faucet).await, Status::Applied);
    let mut nodes = Vec::new();
    for (name, _) in NODES {
        let node = Prover::register(world, name, PRICE).await;
        let stake = Action::Stake { node: node.party.id(), amount: STAKE };
        assert_eq!(owner.send(stake).await, Status::Applied);
        nodes.push(node);
    }
    let mut deals = Vec::new();
    let total = u8::try_from(NODES.len()).unwrap();
    for number in 0..DEALS {
        let terms = terms(owner.account(), number, (2, total), LENGTH);
        deals.push(terms.deal());
        let accept =
            |(index, node): (u8, &mut Prover)| node.take(&terms, index, PRICE, world.now_ms());
        let acceptances: Vec<Acceptance> = (0..).zip(&mut nodes).map(accept).collect();
        let cost_max = Amount(u128::MAX);
        let opened = owner.send(Action::OpenDeal { terms, acceptances, cost_max }).await;
        assert_eq!(opened, Status::Applied);
    }
    (nodes, deals)
}

fn cheat(world: &World, nodes: &mut [Prover], deals: &[DealId]) {
    for (at, (_, dropped)) in NODES.into_iter().enumerate() {
        let first = usize::try_from(world.dice(&format!("drops {at}"), DEALS)).unwrap();
        let gone: Vec<DealId> = deals.iter().cycle().skip(first).take(dropped).copied().collect();
        nodes[at].drop_shards(&gone);
    }
    nodes[5].keep_only_what_was_asked();
    // Masks make the two names' shards of one deal different bytes. One disk does for two names only if it has both.
    let other = nodes[0].clone();
    nodes[1].share_disk(&other, true);
    nodes[6].share_disk(&other, false);
}

/// What the node is paid for an epoch.
fn rate() -> u128 {
    slot_rate(PRICE, LENGTH).unwrap().0 * u128::from(DEALS)
}

/// Those who keep everything prove every window, are paid for each, and have their stake.
async fn loses_nothing(world: &World, nodes: &[Prover], earned: &[u128]) {
    for (node, earned) in nodes.iter().zip(earned) {
        let row = node.row().await;
        assert_eq!((row.missed, row.backing(), row.dead), (0, STAKE, false));
        let paid = world.auditor.balance(&node.payout);
        assert_eq!(paid, rate() * u128::from(row.passed));
        assert!(*earned < paid);
        assert_eq!(row.slots, 100);
    }
}

/// A node that lacks some is paid for the windows in which it was not asked for these, and loses a part of its stake with
/// its third miss and each later one.
async fn some_missing(world: &World, node: &Prover, dropped: usize) {
    let row = node.row().await;
    let paid = world.auditor.balance(&node.payout);
    assert_eq!(paid, rate() * u128::from(row.passed), "{dropped} dropped");
    if row.dead {
        assert_eq!(row.backing(), Amount::ZERO);
        return;
    }
    let mut left = STAKE;
    for _ in 2..row.missed {
        left = left.checked_sub(left.fraction(PENALTY_BP, 10_000).unwrap()).unwrap();
    }
    assert_eq!(row.backing(), left, "{dropped} dropped, {} missed", row.missed);
    assert_eq!(3 <= row.missed, 0 < row.paused_until, "it is given nothing new");
}

/// A node that proves nothing is dead after as many windows as the rules say, earns nothing and has no stake left.
async fn is_dead(world: &World, node: &Prover, earned: u128, at: usize) {
    let (row, name) = (node.row().await, NODES[at].0);
    assert!(row.dead, "{name}");
    assert_eq!((row.missed, row.used, row.slots), (u64::from(DEAD_AFTER), 0, 0), "{name}");
    assert_eq!(row.backing(), Amount::ZERO, "{name}");
    // A window that was proven before the cheat may have been paid after it was noted.
    let paid = world.auditor.balance(&node.payout);
    assert!(paid <= earned + rate(), "{name} is paid {paid}, not {earned}");
    assert_eq!(paid, rate() * u128::from(row.passed), "{name}");
}

/// The shards of the dead are lost, and what their repair costs, and a tenth more, is in each deal's hold.
async fn forfeits(world: &World, deals: &[DealId]) {
    let cost = repair_cost(&strangers(), LENGTH);
    let share = cost.fraction(11_000, 10_000).unwrap();
    for deal in deals {
        let row = world.ledger().row(Deals, deal).await.unwrap().unwrap();
        assert_eq!(row.state, DealState::Open);
        let lost = row.lost().count() as u64;
        assert!(3 <= lost, "{lost} are lost");
        let hold = world.ledger().row(Holds, &HoldKey::Deal { deal: *deal }).await.unwrap();
        assert_eq!(hold.unwrap().forfeited, share.checked_mul(lost).unwrap());
    }
}
