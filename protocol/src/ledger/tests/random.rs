//! Random histories: whatever is asked, in whatever order, the books add up after every block (the
//! audit in `World` sees to it), and a fresh replay gives the same rows.

use std::{collections::BTreeSet, format, string::String, vec, vec::Vec};

use proptest::prelude::*;

use super::{
    seller::list_on,
    world::{GOODS, World, account, opening, register, status, strangers, terms},
};
use crate::{
    amount::Amount,
    id::{DealId, LinkId, ListingId, Opening, OrderId, PeerId},
    ledger::{
        Params, Status,
        block::{Event, Reason},
        execute,
        rows::{
            Cares, DealState, Deals, Holds, Listing, ListingState, Listings, Nodes, Order,
            OrderState, Orders, Repairs, Roots, Vaults,
        },
        state::{MemoryState, StateExt},
        tests::{audit::rows, seller::vault_id, world::node},
        transaction::{Action, CaredDeal, LostShard, Transaction},
    },
    time::LedgerTime,
};

/// One random step; its numbers pick parties, ids and amounts.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u8,
    b: u8,
    amount: u16,
    /// Milliseconds to the next block; `None` when it goes into the same block.
    wait: Option<u16>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        3 => Just(None),
        5 => (0..3000_u16).prop_map(Some),
        1 => (9000..13_000_u16).prop_map(Some),
    ];
    // Proofs are by far the most frequent transactions of a living ledger.
    let kind = prop_oneof![3 => 0..20_u8, 1 => Just(4)];
    let step = (kind, 0..4_u8, 0..6_u8, any::<u16>(), wait)
        .prop_map(|(kind, a, b, amount, wait)| Step { kind, a, b, amount, wait });
    prop::collection::vec(step, 1..120)
}

/// What a step asks; `None` when it makes no sense yet.
fn action(world: &World, step: Step) -> Option<(u8, Action)> {
    let Step { kind, a, b, amount, .. } = step;
    let (user, storer) = (1 + a, 11 + a);
    let money = Amount(u128::from(amount) * 1_000_000);
    // Ids are few, so that steps meet, and new ones come with time.
    let age = u8::try_from(world.chain().height / 50).unwrap();
    let number = b + 6 * age;
    let chosen = opening(number);
    let of_deal = match kind {
        // Mostly one that is there.
        5 | 13..=15 => there(world, user, number, amount).unwrap_or(chosen),
        _ => chosen,
    };
    let deal = DealId::of(&account(user), &of_deal);
    Some(match kind {
        0 => (user, Action::Faucet),
        1 => (user, Action::Transfer { to: account(1 + b), amount: money }),
        2 => (storer, register(storer, 8192 * u64::from(b))),
        3 => {
            let nodes = [11, 12, 13, 14];
            let (_, some) = nodes.split_at(usize::from(b % 3));
            (user, world.deal(user, chosen, some, 1 + u64::from(amount % 9)))
        }
        4 => (storer, world.prove_if(storer)?),
        5 => (user, Action::EndDeal { deal }),
        6..=11 => return traded(world, step, (user, number)),
        12 => return Some((user, of_a_grant(world, step))),
        13..=15 => return lasting(world, step, (user, of_deal)),
        16 => (user, Action::Stake { node: node(11 + b % 4), amount: Amount(amount.into()) }),
        17 => (storer, Action::Unstake { amount: Amount(u128::from(amount) % 20) }),
        18 if amount % 5 == 0 => (storer, Action::RetireNode),
        18 => (storer, world.prove_if(storer)?),
        20..=22 => return cared(world, step, number),
        _ => {
            let version = world.state.get(Roots, &account(user)).map_or(0, |row| row.version);
            // Every third one was made from a record that is gone.
            let expected_version = if amount % 3 == 0 { u64::from(b) } else { version };
            (user, Action::SetRoot { expected_version, blob: vec![b; 512] })
        }
    })
}

/// What sellers, buyers and custodians do.
fn traded(world: &World, step: Step, (user, number): (u8, u8)) -> Option<(u8, Action)> {
    let Step { kind, a, b, amount, .. } = step;
    // Orders are of the sender, listings of any of them.
    let order = OrderId::of(&account(user), &opening(number));
    let seller = 1 + u8::try_from(amount % 4).unwrap();
    let listing = ListingId::of(&account(seller), &opening(b % 3));
    let index = u8::try_from(1 + amount % 3).unwrap();
    Some(match kind {
        6 if amount % 2 == 1 && world.state.get(Vaults, &vault_id(user)).is_some() => {
            (user, world.rotate(user, 1 + b % 2, &[12, 13, 11 + 3 * (a % 2)]))
        }
        6 => (user, world.vault(user, 1 + b % 2, &[11, 12, 13])),
        7 => {
            world.state.get(Vaults, &vault_id(user))?;
            let own = ListingId::of(&account(user), &opening(b % 3));
            let deal = DealId::of(&account(user), &GOODS);
            if world.state.get(Listings, &own).is_none() {
                (user, list_on(&world.id(), user, b % 3, u128::from(amount)))
            } else if world.state.get(Deals, &deal).is_none() {
                (user, world.deal_on(&terms(user, GOODS, 4, 50), &[11, 12, 13]))
            } else {
                (user, Action::CoverListing { listing: own, first: 0, deals: vec![deal] })
            }
        }
        8 | 9 => {
            // Mostly one that sells.
            let sells = |(_, row): &(_, Listing)| {
                row.state == ListingState::Open && row.cover.until.is_some()
            };
            let mut all = rows(&world.state, Listings).into_iter().filter(sells);
            let sells = all.nth(usize::from(amount % 2)).filter(|_| b > 0);
            let listing = sells.map_or(listing, |(id, _)| id);
            let price = world.state.get(Listings, &listing)?.terms.price.0;
            (user, world.order_by(user, number, listing, price))
        }
        10 => {
            let order = of_user(world, user).filter(|_| amount % 8 > 0).unwrap_or(order);
            let row = world.state.get(Orders, &order)?;
            let sold = world.state.get(Listings, &row.listing)?;
            let vault = world.state.get(Vaults, &sold.terms.vault)?;
            let required = u8::try_from(vault.key.commitments.len()).ok()?;
            let released = world.release_for(order, (required, 3), index);
            // Some are posted by the buyer, and some by a node that is not the custodian.
            (if amount % 4 == 0 { user } else { 10 + index }, released)
        }
        _ => {
            let custodians = if amount % 7 < 3 { vec![index] } else { vec![] };
            let order = of_user(world, user).filter(|_| amount % 4 > 0).unwrap_or(order);
            (user, Action::Acknowledge { order, custodians })
        }
    })
}

/// What opens one of the open deals that a user has, among those up to a number.
fn there(world: &World, user: u8, newest: u8, amount: u16) -> Option<Opening> {
    let is_open = |chosen: &Opening| {
        let row = world.state.get(Deals, &DealId::of(&account(user), chosen));
        row.is_some_and(|row| row.state == DealState::Open)
    };
    let all: Vec<Opening> = (0..=newest).map(opening).chain([GOODS]).filter(is_open).collect();
    let of = usize::from(amount / 4).checked_rem(all.len())?;
    Some(all[of]).filter(|_| !amount.is_multiple_of(4))
}

/// An order of a user that is open.
fn of_user(world: &World, user: u8) -> Option<OrderId> {
    let is_open = |(_, row): &(_, Order)| {
        row.buyer == account(user) && matches!(row.state, OrderState::Paid | OrderState::Delivered)
    };
    rows(&world.state, Orders).into_iter().find(is_open).map(|(id, _)| id)
}

/// What ends a grant, or says for whom a voucher counts.
fn of_a_grant(world: &World, step: Step) -> Action {
    let Step { b, amount, .. } = step;
    if amount % 3 == 0 {
        let until_ms = LedgerTime(world.now + u64::from(amount) % 4);
        return Action::Redeem { holder: PeerId([b; 32]), until_ms };
    }
    let until_ms = (amount % 2 == 0).then_some(LedgerTime(world.now));
    Action::Revoke { link: LinkId([b; 16]), until_ms }
}

/// What makes deals last, or changes their nodes.
fn lasting(world: &World, step: Step, (user, chosen): (u8, Opening)) -> Option<(u8, Action)> {
    let Step { kind, b, amount, .. } = step;
    let deal = DealId::of(&account(user), &chosen);
    if kind == 13 {
        let other = DealId::of(&account(user), &opening(b));
        let mut deals = vec![deal];
        deals.extend((amount % 2 == 0 && other != deal).then_some(other));
        let epochs = 1 + u64::from(amount % 4);
        return Some((11, Action::ExtendDeals { deals, epochs, cost_max: Amount(u128::MAX) }));
    }
    let index = u8::try_from(amount % 3).unwrap();
    let row = world.state.get(Deals, &deal)?;
    let keeper = row.shards.get(usize::from(index))?.as_ref()?.node;
    let number = (11..15).find(|number| node(*number) == keeper)?;
    if kind == 14 {
        return Some((number, Action::DeclareLost { shards: vec![LostShard { deal, index }] }));
    }
    let price = (Amount(1_000_000 * u128::from(1 + amount % 5)), u64::MAX);
    // A node without a shard of the deal, or the same one on other terms.
    let is_free = |number: &u8| row.kept_by(&node(*number)).is_none();
    let other = (11..15).find(is_free).unwrap_or(11 + index);
    let place = world.place((user, chosen), &[(index, other)], price);
    // Every second one is the node's own.
    Some((if amount % 2 == 0 { user } else { number }, place))
}

/// What caretakers do, and what owners say of them.
fn cared(world: &World, step: Step, newest: u8) -> Option<(u8, Action)> {
    let Step { kind, a, b, amount, .. } = step;
    let of = |user: u8| (0..=newest).map(move |number| (user, opening(number)));
    let open = |(user, chosen): &(u8, Opening)| {
        let row = world.state.get(Deals, &DealId::of(&account(*user), chosen));
        row.is_some_and(|row| row.state == DealState::Open)
    };
    let mut deals: Vec<(u8, Opening)> = (1..5).flat_map(of).filter(open).collect();
    if kind != 20 {
        // What was claimed is placed before the claim ends; then what is lost is claimed.
        let pressing = deals.iter().filter_map(|of| Some((pressing(world, of)?, *of)));
        let pressing: Vec<_> = pressing.collect();
        let first = pressing.iter().map(|(order, _)| *order).min();
        deals = pressing
            .into_iter()
            .filter(|(order, _)| Some(*order) == first)
            .map(|(_, of)| of)
            .collect();
    }
    let (user, chosen) = *deals.get(usize::from(amount) % deals.len().max(1))?;
    let deal = DealId::of(&account(user), &chosen);
    let row = world.state.get(Deals, &deal)?;
    if kind == 20 {
        if world.state.get(Vaults, &vault_id(user)).is_none() {
            return Some((user, world.vault(user, 2, &[11, 12, 13])));
        }
        let deals = vec![CaredDeal { opening: chosen, pads: vec![[b; 32]; row.shards.len()] }];
        let caretakers = vec![node(15), node(16)];
        let (fee, price_max) = (Amount(u128::from(1 + amount % 7)), Amount(4_000_000));
        let vault = vault_id(user);
        return Some((
            user,
            Action::SetCare { vault, caretakers, spare: 2, fee, price_max, deals },
        ));
    }
    let repair = world.state.get(Repairs, &deal);
    let number_of = |id| (15..17).find(|number| node(*number) == id);
    if let Some(reward) = repair.as_ref().and_then(|repair| repair.rewards.first())
        && kind == 22
    {
        let shards = vec![reward.index];
        return Some((number_of(reward.caretaker)?, Action::CollectRepair { deal, shards }));
    }
    let lost: Vec<u8> = row.lost().map(|(index, _)| index).collect();
    let claim = repair.and_then(|repair| repair.claim);
    if let Some(claim) = claim.filter(|claim| claim.runs(world.chain().epoch))
        && amount % 8 > 0
    {
        let price = (Amount(1_000_000 * u128::from(1 + amount % 3)), u64::MAX);
        let fits = |number: &u8| {
            row.kept_by(&node(*number)).is_none() && row.length <= world.node(*number).free()
        };
        let other = (11..15).find(fits)?;
        let place = world.place((user, chosen), &[(claim.rebuild[0], other)], price);
        return Some((number_of(claim.claimant)?, place));
    }
    let who = 15 + a % 2;
    let read: Vec<u8> = row.kept().map(|(index, _)| index).take(row.required.into()).collect();
    Some((who, world.claim_of(who, deal, (&lost, &read))))
}

/// How soon a caretaker has to see to a deal: its claim runs, or it waits for a claim; none if nothing of it is lost.
fn pressing(world: &World, (user, chosen): &(u8, Opening)) -> Option<u8> {
    let deal = DealId::of(&account(*user), chosen);
    let repair = world.state.get(Repairs, &deal);
    let runs = repair.is_some_and(|repair| repair.running(world.chain().epoch).is_some());
    let lost = world.state.get(Deals, &deal)?.lost().count() > 0;
    let cared = world.state.get(Cares, &deal).is_some();
    if runs { Some(0) } else { (lost && cared).then_some(1) }
}

/// Runs a history, and sends everything that was sent in the last blocks once more with each block.
fn run(steps: &[Step]) -> (World, usize, BTreeSet<String>) {
    // Half of the histories are among strangers, where nodes need collateral.
    let mut world = match steps.len() % 2 {
        0 => World::with(Params { allowance: Amount(400), ..strangers() }),
        _ => World::new(),
    };
    world.fund(&[1, 2, 3, 4, 11, 12, 13, 14, 15, 16]);
    world.nodes(&[11, 12, 13, 14, 15, 16]);
    let (mut applied, mut reached) = (0, BTreeSet::new());
    let mut waiting: Vec<Transaction> = Vec::new();
    let mut sent: Vec<Transaction> = Vec::new();
    for step in steps {
        if let Some((who, action)) = action(&world, *step) {
            waiting.push(world.sign(who, action));
        }
        let Some(wait) = step.wait else { continue };
        world.now += u64::from(wait);
        for number in honest(&world) {
            let proof = world.prove(number);
            waiting.push(world.sign(number, proof));
        }
        let fresh = world.block(&waiting);
        let retired = world.events.iter().any(|event| matches!(event, Event::NodeRetired { .. }));
        reached.extend(retired.then(|| String::from("node retired")));
        let silent =
            |event: &Event| matches!(event, Event::Moved { reason: Reason::Silent { .. }, .. });
        let silent = world.events.iter().any(silent);
        reached.extend(silent.then(|| String::from("custodian silent")));
        applied += fresh.iter().filter(|outcome| outcome.is_ok()).count();
        // Sent again in the next block: what was applied stays as it was.
        let before = world.blocks.len();
        let again = world.block(&sent);
        let repeated = world.blocks[before].1.len();
        let accepted = again.iter().filter(|outcome| status(**outcome) == Status::Applied).count();
        assert!(repeated <= accepted, "what counts as applied is in this block or in an old one");
        sent.append(&mut waiting);
        reached.extend(states(&world));
        sent.truncate(20);
    }
    (world, applied, reached)
}

/// The nodes that prove now, as honest ones do: all but the first, except in an epoch now and then. If all nodes missed
/// as a rule, none would ever be given a shard.
fn honest(world: &World) -> Vec<u8> {
    let proves = |number: &u8| {
        let row = world.state.get(Nodes, &node(*number));
        let open = row.and_then(|row| row.window.filter(|_| row.due() > Amount::ZERO));
        open.is_some_and(|window| (window.epoch + 5 * u64::from(*number)) % 16 != 0)
    };
    (12..15).filter(proves).collect()
}

/// The states in which deals, shards and orders are.
fn states(world: &World) -> Vec<String> {
    let mut states = Vec::new();
    for (_, deal) in rows(&world.state, Deals) {
        states.push(format!("deal {:?}", deal.state));
        for shard in deal.shards.iter().flatten() {
            let moved = if shard.from == deal.start { "first" } else { "next" };
            let kept = if shard.lost.is_none() { "kept" } else { "lost" };
            states.push(format!("shard {kept} by the {moved} node"));
        }
    }
    for (_, order) in rows(&world.state, Orders) {
        states.push(format!("order {:?}", order.state));
    }
    for (_, node) in rows(&world.state, Nodes) {
        states.extend(node.dead.then(|| String::from("node dead")));
        states.extend((0 < node.passed).then(|| String::from("epoch proven")));
        states.extend((0 < node.missed).then(|| String::from("epoch missed")));
        states.extend((0 < node.withheld.0).then(|| String::from("pay withheld")));
        states.extend((0 < node.paused_until).then(|| String::from("node paused")));
    }
    for (_, vault) in rows(&world.state, Vaults) {
        states.extend((1 < vault.dealing).then(|| String::from("vault rotated")));
    }
    for (_, repair) in rows(&world.state, Repairs) {
        states.extend(repair.claim.map(|_| String::from("repair claimed")));
        states.extend(repair.rewards.first().map(|_| String::from("repair placed")));
    }
    for (_, hold) in rows(&world.state, Holds) {
        states.extend((0 < hold.forfeited.0).then(|| String::from("money forfeited")));
    }
    states
}

fn replayed(world: &World) -> MemoryState {
    let mut state = MemoryState::default();
    state.commit(&execute::genesis(&world.genesis).update);
    for (facts, transactions, state_root) in &world.blocks {
        let executed = execute::replay(&state, facts, transactions).unwrap();
        assert_eq!(executed.state_root, *state_root);
        state.commit(&executed.update);
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn money_is_neither_made_nor_lost(steps in steps()) {
        let (world, _, _) = run(&steps);
        prop_assert_eq!(replayed(&world), world.state);
    }
}

/// The states that histories have to reach.
const STATES: [&str; 17] = [
    "deal Completed",
    "deal Cancelled",
    "shard lost by the first node",
    "shard kept by the next node",
    "order Settled",
    "order Refunded",
    "node dead",
    "repair claimed",
    "repair placed",
    "epoch proven",
    "epoch missed",
    "node retired",
    "node paused",
    "pay withheld",
    "money forfeited",
    "vault rotated",
    "custodian silent",
];

/// A long history, always the same for a number.
fn history(number: u8) -> Vec<Step> {
    let mut seed = blake3::Hasher::new().update(b"history").update(&[number]).finalize_xof();
    let mut byte = || {
        let mut one = [0];
        seed.fill(&mut one);
        one[0]
    };
    let steps = (0..if number.is_multiple_of(2) { 900 } else { 1200 }).map(|_| Step {
        // Many faucets, for nothing else happens without money, and many proofs, or all nodes die.
        kind: match (number % 2, byte()) {
            (0, byte) if byte % 26 <= 22 => (byte % 26).saturating_sub(3),
            (1, byte) if byte % 30 <= 18 => (byte % 30).saturating_sub(3),
            (1, byte) if byte % 30 <= 24 => 20 + byte % 3,
            _ => 4,
        },
        a: byte() % 4,
        b: byte() % 6,
        amount: u16::from(byte()),
        wait: (byte() % 3 > 0).then(|| u16::from(byte()) * 12),
    });
    let steps: Vec<Step> = steps.collect();
    let roots = (0..9 + number % 2).map(|n| Step {
        kind: 19,
        a: n % 2,
        b: n,
        amount: n.into(),
        wait: Some(9),
    });
    steps.into_iter().chain(roots).collect()
}

/// The random test is worth nothing when nothing in it succeeds: these fixed histories reach every state of deals, shards
/// and orders.
#[test]
fn long_histories_reach_everything() {
    let mut all = BTreeSet::new();
    for number in 0..24 {
        let (world, applied, reached) = run(&history(number));
        assert_eq!(replayed(&world), world.state);
        assert!(applied > 200, "{applied}");
        assert!(rows(&world.state, Roots).iter().any(|(_, root)| root.version > 1));
        assert!(world.chain().epoch > 3);
        all.extend(reached);
        if STATES.iter().all(|state| all.contains(*state)) {
            return;
        }
    }
    panic!("not all of {STATES:?} were reached: {all:?}");
}
