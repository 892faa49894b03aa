//! Disputes: a true complaint always wins, a false one always loses and costs its bond, and no honest party pays.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::{
    evidence::{Evidence, KEEPERS, all_shards, goods_terms, sale_of, store_goods},
    motions::{self, propose, vote},
    world::{AUTHORITY, World, account, listing_id, node, opening, order_id, strangers},
};
use crate::{
    amount::Amount,
    content::seal::{LeafParts, sealed_hash},
    dispute::{Complaint, KeyFault, goods::Goods},
    id::{DealId, Hash, Opening},
    ledger::{
        Params, Status,
        block::Event,
        dispute::GIVEN_MAX,
        rows::{
            Answers, Choice, HoldKey, Holds, Listing, ListingState, Listings, Nodes, Order,
            OrderState, Orders, Refund,
        },
        sheet,
        state::StateExt,
        transaction::Action,
    },
    time::Millis,
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const OTHER: u8 = 3;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = KEEPERS;
const PRICE: u128 = 10_007;
const FAUCET: u128 = 10_000_000_000;
/// Two cells of 1 KiB.
const LENGTH: usize = 1_500;

/// A ledger with a listing of this file, its deal, and an order of it.
struct Case {
    world: World,
    goods: Goods,
    deal: DealId,
}

/// The deal of the goods: each node keeps the shard of its place.
fn store(world: &mut World, owner: u8, goods: &Goods, chosen: Opening) -> DealId {
    let terms = goods_terms(owner, goods, chosen, 50);
    let open = store_goods(world, &terms, goods, &all_shards());
    world.must(owner, open);
    terms.deal()
}

fn params() -> Params {
    Params { complaint_bond: Amount(1_000), ..super::world::params() }
}

impl Case {
    fn new(goods: Goods) -> Self {
        Self::with(goods, params(), [9; 32])
    }

    /// The seller lists this key.
    fn with(goods: Goods, params: Params, listed_key: [u8; 32]) -> Self {
        let mut world = World::with(params);
        world.fund(&[SELLER, BUYER, OTHER, 11, 12, 13]);
        world.nodes(&NODES);
        let vault = world.vault(SELLER, 2, &NODES);
        world.must(SELLER, vault);
        let deal = store(&mut world, SELLER, &goods, opening(1));
        let terms = sale_of(&world, (SELLER, LISTING), &goods, (PRICE, listed_key));
        world.must(SELLER, Action::List { opening: opening(LISTING), terms: terms.into() });
        let listing = listing_id(LISTING);
        world.must(SELLER, Action::CoverListing { listing, first: 0, deals: vec![deal] });
        // The shards join the tables of their nodes.
        world.next_epoch();
        let order = world.order(ORDER, LISTING, PRICE);
        world.must(BUYER, order);
        Self { world, goods, deal }
    }

    /// The order has its releases.
    fn delivered(mut self) -> Self {
        for (index, number) in [(1, 11), (2, 12)] {
            let release = self.world.release(ORDER, (2, 3), index);
            self.world.must(number, release);
        }
        self
    }

    fn order(&self) -> Order {
        self.world.state.get(Orders, &order_id(ORDER)).unwrap()
    }

    fn listing(&self) -> Listing {
        self.world.state.get(Listings, &listing_id(LISTING)).unwrap()
    }

    fn evidence(&self) -> Evidence<'_> {
        let Self { world, goods, deal } = self;
        Evidence { world, goods, deal: *deal, listing: LISTING, order: order_id(ORDER) }
    }

    fn bad_key(&self, fault: KeyFault) -> Complaint {
        self.evidence().bad_key(fault)
    }

    fn other_key_of(&self, cell: u64) -> Complaint {
        self.evidence().other_key_of(cell)
    }

    fn other_mask(&self) -> Complaint {
        self.evidence().other_mask()
    }

    fn bad_cell(&self, cell: u64) -> Complaint {
        self.evidence().bad_cell(cell)
    }

    fn other_cell(&self, cell: u64) -> Complaint {
        self.evidence().other_cell(cell)
    }

    fn unavailable(&self, cell: u64) -> Complaint {
        self.evidence().unavailable(cell)
    }

    fn complain(&mut self, complaint: Complaint) -> Status {
        let order = order_id(ORDER);
        self.world.act(BUYER, Action::Complain { order, complaint: complaint.into() })
    }

    fn answer_with(&self, index: u8) -> Action {
        self.evidence().answer(index, 0)
    }

    /// A node gives its cell.
    fn answer(&mut self, index: u8) -> Status {
        let answer = self.answer_with(index);
        self.world.act(NODES[usize::from(index)], answer)
    }

    /// The seller deals the vault's secret anew: each custodian has another share.
    fn rotate(&mut self) -> Status {
        let [first, second, third] = NODES;
        let rotate = self.world.rotate(SELLER, 2, &[second, third, first]);
        self.world.act(SELLER, rotate)
    }

    /// The complaint is upheld: the buyer has the money and half of the bond, and the listing sells no more.
    #[track_caller]
    fn wins(&mut self, complaint: Complaint, why: Refund) {
        let before = self.world.balance(BUYER);
        assert_eq!(self.complain(complaint), Status::Applied);
        self.has_won(why, before);
    }

    /// As [`Self::wins`], for a buyer who had so much.
    #[track_caller]
    fn has_won(&self, why: Refund, before: u128) {
        let order = self.order();
        assert_eq!((order.state, order.refund), (OrderState::Refunded, Some(why)));
        assert_eq!(self.world.balance(BUYER), before + PRICE + PRICE - PRICE / 2);
        assert_eq!(self.listing().state, ListingState::Frozen);
        let frozen = Event::ListingFrozen { listing: listing_id(LISTING) };
        assert!(self.world.events.contains(&frozen));
        let bond = HoldKey::Listing { listing: listing_id(LISTING) };
        assert!(self.world.state.get(Holds, &bond).is_none());
    }

    /// The complaint is dismissed: it costs its bond, and nothing else changes.
    #[track_caller]
    fn loses(&mut self, complaint: Complaint) {
        let (before, balance) = (self.order(), self.world.balance(BUYER));
        assert_eq!(self.complain(complaint), Status::Applied);
        assert_eq!(self.order(), before);
        let bond = self.world.genesis.params.complaint_bond.0;
        assert_eq!(self.world.balance(BUYER), balance - bond);
        assert!(self.world.events.contains(&Event::ComplaintDismissed { order: order_id(ORDER) }));
        assert_eq!(self.listing().state, ListingState::Open);
    }
}

fn spoilt(spoil: impl FnOnce(&mut Vec<LeafParts>)) -> Case {
    Case::new(Goods::spoilt(LENGTH, spoil)).delivered()
}

#[test]
fn an_honest_seller_wins_and_is_paid() {
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    case.loses(case.bad_key(KeyFault::File));
    case.loses(case.other_mask());
    for cell in [0, 1] {
        case.loses(case.other_key_of(cell));
        case.loses(case.bad_cell(cell));
        case.loses(case.other_cell(cell));
    }
    case.world.wait(2_000);
    assert_eq!(case.order().state, OrderState::Settled);
    let settled = case.complain(case.bad_cell(0));
    assert_eq!(settled, Status::OrderClosed);
}

#[test]
fn every_lie_about_a_key_is_convicted() {
    // The capsule holds another key.
    let mut case = Case::with(Goods::honest(LENGTH), params(), [8; 32]).delivered();
    case.wins(case.bad_key(KeyFault::File), Refund::BadKey);
    let mut case = spoilt(|parts| parts[1].key = Hash([1; 32]));
    case.loses(case.bad_key(KeyFault::File));
    case.loses(case.other_key_of(0));
    case.wins(case.other_key_of(1), Refund::BadKey);
    let mut case = Case::new(Goods::honest(LENGTH).with_other_mask()).delivered();
    case.wins(case.other_mask(), Refund::BadKey);
}

#[test]
fn every_lie_about_a_cell_is_convicted() {
    let mut case = spoilt(|parts| parts[1].plain = Hash([1; 32]));
    case.loses(case.bad_cell(0));
    case.wins(case.bad_cell(1), Refund::BadCell);
    let mut case = spoilt(|parts| parts[0].sealed = sealed_hash(&[b"junk"]));
    case.loses(case.other_cell(1));
    case.wins(case.other_cell(0), Refund::OtherCell);
}

#[test]
fn who_did_not_prove_it_has_the_money_back_too() {
    let mut case = spoilt(|parts| parts[1].plain = Hash([1; 32]));
    let order = case.world.order_by(OTHER, 8, listing_id(LISTING), PRICE);
    case.world.must(OTHER, order);
    case.wins(case.bad_cell(1), Refund::BadCell);
    let late = case.world.order_by(OTHER, 9, listing_id(LISTING), PRICE);
    assert_eq!(case.world.act(OTHER, late), Status::ListingEnded);
    let end = Action::EndListing { listing: listing_id(LISTING) };
    assert_eq!(case.world.act(SELLER, end), Status::ListingEnded);
    assert_eq!(case.world.balance(OTHER), FAUCET - PRICE);
    case.world.wait(3_000);
    assert_eq!(case.world.balance(OTHER), FAUCET);
    let other = crate::id::OrderId::of(&account(OTHER), &opening(8));
    let row = case.world.state.get(Orders, &other).unwrap();
    assert_eq!(row.refund, Some(Refund::Frozen));
}

#[test]
fn a_rotation_changes_nothing_of_what_can_be_proven() {
    let mut case = Case::with(Goods::honest(LENGTH), params(), [8; 32]).delivered();
    assert_eq!(case.rotate(), Status::Applied);
    case.wins(case.bad_key(KeyFault::File), Refund::BadKey);

    // Nodes are asked for a cell before it, and answer after it.
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    assert_eq!(case.complain(case.unavailable(0)), Status::Applied);
    assert_eq!(case.rotate(), Status::Applied);
    assert_eq!(case.order().state, OrderState::Asked);
    assert_eq!(case.answer(0), Status::Applied);
    assert_eq!(case.order().state, OrderState::Delivered);
    case.loses(case.bad_key(KeyFault::File));
}

#[test]
fn an_ended_listing_is_judged_as_well() {
    let mut case = spoilt(|parts| parts[1].plain = Hash([1; 32]));
    case.world.must(SELLER, Action::EndListing { listing: listing_id(LISTING) });
    case.wins(case.bad_cell(1), Refund::BadCell);
}

#[test]
fn the_cell_s_own_node_answers_for_all() {
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    let due_ms = case.order().due_ms;
    let bond = case.world.genesis.params.complaint_bond.0;
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    assert_eq!(case.order().state, OrderState::Asked);
    assert_eq!(case.world.balance(BUYER), FAUCET - PRICE - bond);
    let asked = Event::CellAsked { order: order_id(ORDER), deal: case.deal };
    assert!(case.world.events.contains(&asked));
    assert_eq!(case.answer(1), Status::Applied);
    let order = case.order();
    assert_eq!((order.state, order.given, order.asked), (OrderState::Delivered, 1, None));
    assert!(due_ms <= order.due_ms && case.world.now + 3_000 <= order.due_ms.0);
    // The bond pays the node.
    assert_eq!(case.world.balance(112), bond);
    assert_eq!(case.answer(2), Status::TooLate);
    case.world.wait(3_000);
    assert_eq!(case.order().state, OrderState::Settled);
    assert_eq!(case.answer(2), Status::OrderClosed);
}

#[test]
fn a_complaint_keeps_its_bond_when_a_motion_changes_it() {
    let slow = Params {
        delivery_ms: Millis(40_000),
        voting_epochs: 1,
        lock_epochs: 1,
        motion_deposit: Amount(1_000),
        ..params()
    };
    let mut case = Case::with(Goods::honest(LENGTH), slow, [9; 32]);
    let treasury = sheet(&case.world.state).unwrap().pools.treasury;
    case.world.must(OTHER, propose(motions::params(&[("complaint_bond", 5)])));
    case.world.must(AUTHORITY, vote(1, AUTHORITY, Choice::Yes));
    case.world.next_epoch();
    let mut case = case.delivered();
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    case.world.next_epoch();
    assert_eq!(case.world.chain().params.complaint_bond, Amount(5));
    assert_eq!(case.answer(1), Status::Applied);
    assert_eq!(case.world.balance(112), 1_000, "what was bound");
    assert_eq!(sheet(&case.world.state).unwrap().pools.treasury, treasury);
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    assert_eq!(case.answer(1), Status::Applied);
    assert_eq!(case.world.balance(112), 1_005);
}

#[test]
fn enough_other_nodes_answer_for_one_that_is_silent() {
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    let bond = case.world.genesis.params.complaint_bond.0;
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    assert_eq!(case.answer(0), Status::Applied);
    assert_eq!(case.order().state, OrderState::Asked);
    assert_eq!(case.answer(0), Status::Exists);
    let stranger = case.answer_with(2);
    assert_eq!(case.world.act(BUYER, stranger.clone()), Status::NotYours);
    // Another node's cell does not lead to the root of one's own.
    assert_eq!(case.world.act(12, stranger), Status::BadProof);
    assert_eq!(case.answer(2), Status::Applied);
    assert_eq!(case.order().state, OrderState::Delivered);
    assert_eq!([111, 112, 113].map(|of| case.world.balance(of)), [bond / 2, 0, bond / 2]);
    assert!(super::audit::rows(&case.world.state, Answers).is_empty());
}

#[test]
fn too_few_answers_give_the_money_back_and_cost_the_silent() {
    let mut case = Case::with(Goods::honest(LENGTH), strangers(), [9; 32]);
    for number in NODES {
        let stake = Action::Stake { node: node(number), amount: Amount(1_000) };
        case.world.must(SELLER, stake);
    }
    let mut case = case.delivered();
    case.world.now += 1_900;
    case.world.block(&[]);
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    let due_ms = case.order().due_ms.0;
    assert_eq!(case.answer(0), Status::Applied);
    let before = NODES.map(|number| case.world.node(number).backing().0);
    while case.world.now < due_ms {
        let next = crate::ledger::execute::next_due(&case.world.state).unwrap().0;
        case.world.now = next.clamp(case.world.now, due_ms);
        case.world.block(&[]);
    }
    let order = case.order();
    assert_eq!((order.state, order.refund), (OrderState::Refunded, Some(Refund::Unavailable)));
    assert_eq!(case.world.balance(BUYER), FAUCET, "with the bond of the complaint");
    assert_eq!(case.listing().state, ListingState::Open, "the seller is not to blame");
    let bond = HoldKey::Listing { listing: listing_id(LISTING) };
    assert_eq!(case.world.state.get(Holds, &bond).map(|hold| hold.amount.0), Some(PRICE));
    let after = NODES.map(|number| case.world.state.get(Nodes, &node(number)).unwrap().backing().0);
    let lost = [0, 1, 2].map(|place| before[place] - after[place]);
    assert_eq!(lost, [0, 100, 100], "a tenth");
}

#[test]
fn parity_that_gives_another_cell_convicts() {
    let mut goods = Goods::honest(LENGTH);
    goods.shards[2][5] ^= 1;
    let mut case = Case::new(goods).delivered();
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    assert_eq!(case.answer(0), Status::Applied);
    assert_eq!(case.answer(2), Status::Applied);
    case.has_won(Refund::OtherCell, FAUCET - PRICE);
}

#[test]
fn a_kept_cell_that_is_not_the_listed_one_convicts_by_its_answer() {
    let mut goods = Goods::honest(LENGTH);
    goods.shards[1][5] ^= 1;
    let mut case = Case::new(goods).delivered();
    assert_eq!(case.complain(case.unavailable(1)), Status::Applied);
    assert_eq!(case.answer(1), Status::Applied);
    case.has_won(Refund::OtherCell, FAUCET - PRICE);
}

#[test]
fn only_the_buyer_complains_and_only_in_time() {
    let mut case = Case::new(Goods::honest(LENGTH));
    let order = order_id(ORDER);
    let complain = |complaint: Complaint| Action::Complain { order, complaint: complaint.into() };
    let early = complain(case.bad_cell(0));
    assert_eq!(case.world.act(BUYER, early.clone()), Status::TooEarly);
    assert_eq!(case.world.act(OTHER, early), Status::NotYours);
    let unknown = Action::Complain { order: order_id(9), complaint: case.bad_cell(0).into() };
    assert_eq!(case.world.act(BUYER, unknown), Status::UnknownOrder);
    let mut case = case.delivered();
    // What does not fit the listing proves nothing, and is refused.
    let Complaint::BadCell { leaf, key, sealed } = case.bad_cell(0) else { unreachable!() };
    let moved = Complaint::BadCell { leaf: case.goods.list.open(1).unwrap(), key, sealed };
    assert_eq!(case.complain(moved), Status::BadProof);
    let other = Complaint::BadCell { leaf, key: [0; 32], sealed: case.goods.sealed(0) };
    assert_eq!(case.complain(other), Status::BadProof);
    let Complaint::BadKey { mut shown, fault } = case.bad_key(KeyFault::File) else {
        unreachable!()
    };
    shown.z[0] ^= 1;
    assert_eq!(case.complain(Complaint::BadKey { shown, fault }), Status::BadProof);
    // A deal that is not the seller's, or not of this file.
    let theirs = store(&mut case.world, OTHER, &case.goods, opening(1));
    let mut other_file = case.goods.clone();
    other_file.manifest.object.0[0] ^= 1;
    let not_it = store(&mut case.world, SELLER, &other_file, opening(2));
    for (deal, expected) in [
        (theirs, Status::BadProof),
        (not_it, Status::BadProof),
        (DealId([1; 16]), Status::UnknownDeal),
    ] {
        let Complaint::OtherCell { leaf, masks, key, kept, path, .. } = case.other_cell(0) else {
            unreachable!()
        };
        let named = Complaint::OtherCell { leaf, masks, key, deal, kept, path };
        assert_eq!(case.complain(named), expected);
    }
    let Complaint::Unavailable { leaf, mut keys, path, deal } = case.unavailable(0) else {
        unreachable!()
    };
    keys[2] = [0; 32];
    let false_key = Complaint::Unavailable { leaf, keys, path, deal };
    assert_eq!(case.complain(false_key), Status::BadProof);
    // One cell at a time.
    assert_eq!(case.complain(case.unavailable(0)), Status::Applied);
    assert_eq!(case.complain(case.unavailable(1)), Status::TooEarly);
    case.loses(case.bad_cell(0));
}

#[test]
fn who_acknowledges_takes_the_question_back() {
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    assert_eq!(case.complain(case.unavailable(0)), Status::Applied);
    assert_eq!(case.answer(1), Status::Applied);
    let ack = Action::Acknowledge { order: order_id(ORDER), custodians: vec![] };
    case.world.must(BUYER, ack);
    assert_eq!(case.order().state, OrderState::Settled);
    assert_eq!(case.world.balance(BUYER), FAUCET - PRICE, "with the bond of the complaint");
}

#[test]
fn questions_end() {
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    for _ in 0..GIVEN_MAX {
        assert_eq!(case.complain(case.unavailable(0)), Status::Applied);
        assert_eq!(case.answer(0), Status::Applied);
    }
    assert_eq!(case.complain(case.unavailable(0)), Status::TooLate);
}

#[test]
fn a_complaint_needs_its_bond_unless_it_is_true() {
    let poor = |case: &mut Case| {
        let all = case.world.balance(BUYER);
        let to = account(OTHER);
        case.world.must(BUYER, Action::Transfer { to, amount: Amount(all) });
    };
    let mut case = Case::new(Goods::honest(LENGTH)).delivered();
    poor(&mut case);
    assert_eq!(case.complain(case.bad_cell(0)), Status::BalanceTooLow);
    assert_eq!(case.complain(case.unavailable(0)), Status::BalanceTooLow);
    let mut case = spoilt(|parts| parts[1].plain = Hash([1; 32]));
    poor(&mut case);
    assert_eq!(case.complain(case.bad_cell(1)), Status::Applied);
    assert_eq!(case.order().refund, Some(Refund::BadCell));
}

#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    which: u8,
    wait: u16,
}

/// What a buyer, nodes and the seller do after a delivery, at random.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..9_u8, 0..3_u8, 0..1_500_u16).prop_map(|(kind, which, wait)| Step { kind, which, wait });
    prop::collection::vec(step, 1..12)
}

fn step(case: &mut Case, Step { kind, which, wait }: Step) {
    case.world.wait(u64::from(wait));
    let cell = u64::from(which % 2);
    let complaint = match kind {
        0 => case.bad_key(KeyFault::File),
        1 => case.other_key_of(cell),
        2 => case.other_mask(),
        3 => case.bad_cell(cell),
        4 => case.other_cell(cell),
        5 => case.unavailable(cell),
        6 => {
            case.rotate();
            return;
        }
        _ => {
            case.answer(which);
            return;
        }
    };
    case.complain(complaint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is complained of, an honest seller's listing stays and its bond too.
    #[test]
    fn an_honest_seller_is_never_punished(steps in steps()) {
        let mut case = Case::new(Goods::honest(LENGTH)).delivered();
        for one in steps {
            step(&mut case, one);
        }
        prop_assert_eq!(case.listing().state, ListingState::Open);
        // Nodes that were silent may have cost the sale, and nothing else.
        let refund = case.order().refund;
        prop_assert!(refund.is_none_or(|why| why == Refund::Unavailable));
    }

    /// Whatever came before, the one true complaint wins while the window is open.
    #[test]
    fn a_true_complaint_wins_at_any_time(steps in steps()) {
        let mut case = spoilt(|parts| parts[1].plain = Hash([1; 32]));
        for one in steps {
            step(&mut case, one);
        }
        let before = case.order();
        let status = case.complain(case.bad_cell(1));
        let refunded = case.order().state == OrderState::Refunded;
        match before.state {
            OrderState::Settled | OrderState::Refunded => prop_assert_eq!(status, Status::OrderClosed),
            _ => prop_assert!(status == Status::Applied && refunded),
        }
    }
}
