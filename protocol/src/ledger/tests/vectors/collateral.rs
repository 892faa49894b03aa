//! What stands for the bytes of nodes, the price of faults, and how a node leaves.

use std::{string::ToString as _, vec, vec::Vec};

use serde_json::{Value, json};

use super::{World, Writer, lasting::prove};
use crate::{
    amount::Amount,
    codec::Encode as _,
    id::{DealId, Opening, hex},
    ledger::{
        Params, Status,
        collateral::{Fault, share_of},
        rows::Node,
        slot_rate,
        tests::world::{self, PRICE, account, node, register, strangers},
        transaction::{Action, LostShard},
    },
};

/// What makes a good case another one: parameters, the node, a shard's length and its price.
type Change = fn(&mut Params, &mut Node, &mut u64, &mut Amount);

const NODES: [u8; 3] = [11, 12, 13];
/// A node without a shard.
const SPARE: u8 = 14;

/// Deals with such openings have shards of one leaf.
fn opening(number: u8) -> Opening {
    world::opening(4 * number)
}

fn deal_id(number: u8) -> DealId {
    world::deal_id(4 * number)
}

fn stake(number: u8, amount: u128) -> Action {
    Action::Stake { node: node(number), amount: Amount(amount) }
}

fn unstake(amount: u128) -> Action {
    Action::Unstake { amount: Amount(amount) }
}

fn leaving(number: u8, leaving: bool) -> Action {
    let mut action = register(number, 1 << 20);
    if let Action::RegisterNode { leaving: of, operator, .. } = &mut action {
        (*of, *operator) = (leaving, Some(account(number)));
    }
    action
}

fn begin(writer: &mut Writer, why: &str, params: Params) {
    writer.genesis(why, World::with(params));
    for number in [1, 2, 11, 12, 13, 14] {
        writer.act("a gift", "of play money", number, Action::Faucet);
    }
}

fn open(writer: &mut Writer, name: &str, number: u8, epochs: u64) {
    let open = writer.world.deal(1, opening(number), &NODES, epochs);
    writer.act(name, "of three shards", 1, open);
}

pub(super) fn write(writer: &mut Writer) {
    begin(writer, "a ledger among strangers", Params { deposit: Amount(100), ..strangers() });
    let dear = register(11, u64::MAX);
    writer.refuse(Status::BalanceTooLow, "more than it can pay", "a deposit by bytes", (11, dear));
    for number in [11, 12, 13, SPARE] {
        writer.act("a gift", "a node of a MiB", number, register(number, 1 << 20));
    }
    writer.act("a larger node", "it pays for more", 11, register(11, (2 << 20) + 1));
    writer.act("a smaller one", "some comes back", 11, register(11, 1 << 20));
    open(writer, "a deal", 0, 4);
    open(writer, "a second deal", 1, 2);
    let third = writer.world.deal(1, opening(2), &NODES, 3);
    let why = "45 are needed, and 30 are allowed";
    writer.refuse(Status::CollateralTooLow, "a third deal", why, (1, third.clone()));
    writer.refuse(Status::BadField, "a stake of nothing", "one unit at least", (2, stake(11, 0)));
    writer.refuse(Status::UnknownNode, "a stake on no node", "it is not there", (2, stake(99, 1)));
    let much = stake(11, 1 << 40);
    writer.refuse(Status::BalanceTooLow, "a stake of too much", "the sender has less", (2, much));
    writer.refuse(Status::BadField, "back nothing", "one unit at least", (11, unstake(0)));
    writer.refuse(Status::UnknownNode, "back to whom", "not a node", (2, unstake(1)));
    writer.refuse(Status::CollateralTooLow, "back what is not", "no stake", (11, unstake(1)));
    for number in NODES {
        let less = if number == 13 { 14 } else { 15 };
        writer.act("a stake", "by anyone", 2, stake(number, less));
    }
    let why = "one node lacks a unit";
    writer.refuse(Status::CollateralTooLow, "the third deal again", why, (1, third.clone()));
    writer.act("a unit more", "now it is enough", 2, stake(13, 1));
    writer.act("the third deal", "all is covered", 1, third);
    let fourth = writer.world.deal(1, opening(3), &NODES, 3);
    writer.refuse(Status::CollateralTooLow, "a fourth deal", "60 are needed", (1, fourth));
    writer.refuse(Status::CollateralTooLow, "back a unit", "it is needed", (12, unstake(1)));
    writer.refuse(
        Status::NodeFull,
        "less than is bound",
        "3072 bytes are",
        (12, register(12, 3071)),
    );
    writer.refuse(Status::BalanceTooLow, "a stake by the poor", "no account", (99, stake(11, 1)));
    writer.refuse(
        Status::BadField,
        "a stake of nothing on none",
        "fields first",
        (2, stake(99, 0)),
    );
    let dear = writer.world.place((1, opening(0)), &[(0, SPARE)], (Amount(7_000_000), u64::MAX));
    let why = "at this price it needs 35";
    writer.refuse(Status::CollateralTooLow, "a shard on a dear node", why, (1, dear));
    let fair = writer.world.place((1, opening(0)), &[(0, SPARE)], (Amount(6_000_000), u64::MAX));
    writer.act("a shard on another node", "at this price it needs 30", 1, fair);
    writer.next_epoch("the deals begin", "all shards join their tables");
    prove(writer, &NODES);
    writer.act("a larger stake", "more than is needed", 2, stake(12, 50));
    writer.act("one unit back", "of what was withheld", 12, unstake(1));
    let row = writer.world.node(12);
    let spare = row.backing().0 - row.needs(&writer.world.genesis.params).0;
    let why = "one unit more than is free";
    writer.refuse(Status::CollateralTooLow, "back too much", why, (12, unstake(spare + 1)));
    writer.act("back all that is free", "withheld pay goes first", 12, unstake(spare));
    writer.next_epoch("one node has missed", "the others have not");
    leave(writer);
}

fn leave(writer: &mut Writer) {
    let retire = Action::RetireNode;
    writer.refuse(Status::UnknownNode, "retire who", "not a node", (2, retire.clone()));
    writer.refuse(Status::TooEarly, "retire with shards", "it keeps some", (12, retire.clone()));
    writer.act("a node wants to leave", "and says who runs it", SPARE, leaving(SPARE, true));
    let more = writer.world.deal(1, opening(5), &[SPARE], 2);
    writer.refuse(Status::NodeClosed, "a deal with it", "it takes nothing new", (1, more));
    let here = writer.world.place((1, opening(2)), &[(1, SPARE)], (PRICE, u64::MAX));
    writer.refuse(Status::NodeClosed, "a shard for it", "it takes nothing new", (1, here));
    let own = writer.world.place((1, opening(0)), &[(0, SPARE)], (PRICE, u64::MAX));
    writer.refuse(Status::NodeClosed, "its own on other terms", "not even this", (SPARE, own));
    let hand_on = writer.world.place((1, opening(0)), &[(0, 11)], (PRICE, u64::MAX));
    writer.act("it hands its shard on", "to one that is covered", SPARE, hand_on);
    writer.refuse(
        Status::TooEarly,
        "retire at once",
        "it proves once more",
        (SPARE, retire.clone()),
    );
    prove(writer, &[11, 12, 13, SPARE]);
    writer.next_epoch("the shard has moved", "a deal is over");
    writer.act("it retires", "all that is its own comes back", SPARE, retire.clone());
    writer.refuse(Status::UnknownNode, "retire twice", "it is no node", (SPARE, retire.clone()));
    writer.act("the same key again", "as a new node", SPARE, register(SPARE, 1 << 20));
    let opened = writer.world.deal(1, opening(6), &[SPARE], 2);
    writer.act("a deal with it", "it waits", 1, opened);
    let end = Action::EndDeal { deal: deal_id(6) };
    writer.act("the deal is ended", "the node keeps nothing", 1, end);
    writer.act("it retires while it waits", "its turn goes too", SPARE, retire);
    prove(writer, &NODES);
    writer.next_epoch("epochs go on", "without it");
}

fn declare(number: u8, index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(number), index }] }
}

/// What faults cost.
pub(super) fn faults(writer: &mut Writer) {
    begin(writer, "a ledger for faults", strangers());
    for number in [11, 12, 13, SPARE] {
        writer.act("a gift", "a node of a MiB", number, register(number, 1 << 20));
    }
    open(writer, "a deal", 0, 30);
    open(writer, "a second deal", 1, 30);
    for (number, amount) in [(11, 100), (12, 100), (13, 9), (SPARE, 300)] {
        writer.act("a stake", "of different size", 2, stake(number, amount));
    }
    writer.next_epoch("the deals begin", "all shards join their tables");
    writer.act("a loss with little collateral", "half of it for half", 13, declare(0, 2));
    writer.act("a loss with enough", "what its repair costs", 11, declare(1, 0));
    let dear = writer.world.place((1, opening(1)), &[(1, SPARE)], (Amount(60_000_000), u64::MAX));
    writer.act("a dearer node", "what was forfeited is not for this", 1, dear);
    let next = writer.world.place((1, opening(0)), &[(2, SPARE)], (PRICE, u64::MAX));
    writer.act("a node for a lost shard", "what was forfeited is for this", 1, next);
    prove(writer, &[11, 13]);
    for (name, why) in [
        ("a first miss", "it costs the pay"),
        ("a second miss", "it costs the pay"),
        ("a third miss", "it costs a tenth"),
    ] {
        writer.next_epoch(name, why);
        // Another node misses one epoch too.
        let proving: &[u8] = if name == "a first miss" { &[11, SPARE] } else { &[11, 13, SPARE] };
        prove(writer, proving);
    }
    let more = writer.world.deal(1, opening(2), &[12], 4);
    writer.refuse(
        Status::NodeClosed,
        "a deal in the pause",
        "seven epochs long",
        (1, more.clone()),
    );
    let end = Action::EndDeal { deal: deal_id(1) };
    writer.act("a deal is ended", "what was forfeited is for repair", 1, end);
    writer.next_epoch("a fourth miss", "it costs a tenth of the rest");
    prove(writer, &[11, SPARE]);
    writer.act("an empty node again", "its miss is not forgotten", 13, register(13, 1 << 20));
    writer.next_epoch("a fifth miss", "the node is dead, and pays for what it kept");
    writer.refuse(Status::NodeClosed, "a stake on the dead", "it would be lost", (2, stake(12, 1)));
    writer.refuse(Status::NodeClosed, "back from the dead", "it has lost it", (12, unstake(1)));
    writer.refuse(
        Status::NodeClosed,
        "a deal with the dead",
        "it takes nothing",
        (1, more.clone()),
    );
    writer.act("it begins again", "as a node without misses", 12, register(12, 1 << 20));
    writer.act("a deal with it", "within its allowance", 1, more);
    prove(writer, &[11, SPARE]);
    writer.next_epoch("the deal begins", "the living go on");
    prove(writer, &[11, 12, SPARE]);
}

/// What rows of nodes need, cover and withhold.
pub(super) fn cover() -> Vec<Value> {
    let row = running_row();
    let mut out = Vec::new();
    let mut case = |name: &str, why: &str, change: Change| {
        let (mut params, mut row, mut length, mut price) = (strangers(), row.clone(), 1024, PRICE);
        change(&mut params, &mut row, &mut length, &mut price);
        out.push(covered(name, why, (&params, &row), (length, price)));
    };
    case("as it is", "two shards of one leaf, within the allowance", |_, _, _, _| {});
    case("more pay", "60 epochs of pay are more than repair", |params, _, _, _| {
        params.collateral_epochs = 60;
    });
    case("a higher cover", "repair is more than pay", |params, _, _, _| {
        params.repair_cover_bp = u16::MAX
    });
    case("nothing is needed", "as on a development network", |params, _, _, _| {
        (params.collateral_epochs, params.repair_price) = (0, Amount::ZERO);
    });
    case("just covered", "15 more are needed", |_, row, _, _| row.collateral = Amount(15));
    case("a unit less", "14 are there", |_, row, _, _| row.collateral = Amount(14));
    case("withheld counts too", "10 and 5", |_, row, _, _| {
        (row.collateral, row.withheld) = (Amount(10), Amount(5));
    });
    case("a record", "2 % of 750 are 15", |_, row, _, _| row.record = Amount(750));
    case("a smaller record", "2 % of 749 are 14", |_, row, _, _| row.record = Amount(749));
    case("a longer shard", "each leaf counts", |_, row, length, _| {
        (row.collateral, *length) = (Amount(15), 2048);
    });
    case("a dearer shard", "its pay counts", |_, row, _, price| {
        (row.collateral, *price) = (Amount(15), Amount(4_000_000));
    });
    case("a price beyond counting", "another rule refuses it", |_, _, _, price| {
        *price = Amount(u128::MAX)
    });
    case("a rate beyond counting", "it needs the largest amount", |_, row, _, _| {
        row.bound_rate = Amount(u128::MAX - 1);
    });
    case("a product beyond counting", "it needs the largest amount", |_, row, _, _| {
        row.bound_rate = Amount(u128::MAX / 5 + 1);
    });
    for (clean, name) in [
        (29, "29 epochs"),
        (30, "30 epochs"),
        (59, "59 epochs"),
        (60, "60 epochs"),
        (6_000, "many epochs"),
    ] {
        let (rate, bound_rate) = (Amount(10_000), Amount(10_000));
        let row = Node { clean, rate, bound_rate, ..row.clone() };
        let why = "three quarters, a half or a quarter are withheld";
        let params = Params { collateral_epochs: 1000, ..strangers() };
        out.push(covered(name, why, (&params, &row), (1024, PRICE)));
    }
    for (collateral, name, why) in [
        (29, "a unit is missing", "no more is withheld"),
        (30, "nothing is missing", "nothing is withheld"),
        (7, "less than repair costs", "a share by bytes"),
        (u128::MAX / 1024 + 1, "a backing beyond counting", "what the repair costs"),
    ] {
        let row = Node { collateral: Amount(collateral), ..row.clone() };
        out.push(covered(name, why, (&strangers(), &row), (1024, PRICE)));
    }
    out
}

/// A node that keeps two shards of one leaf.
fn running_row() -> Node {
    let mut world = World::with(strangers());
    for number in [1, 11, 12, 13] {
        world.must(number, Action::Faucet);
    }
    world.nodes(&NODES);
    for number in 0..2 {
        let open = world.deal(1, opening(number), &NODES, 4);
        world.must(1, open);
    }
    world.next_epoch();
    world.node(11)
}

fn covered(
    name: &str,
    why: &str,
    (params, row): (&Params, &Node),
    (length, price): (u64, Amount),
) -> Value {
    let amount = |amount: Amount| amount.0.to_string();
    json!({
        "name": name, "why": why, "params": hex(&params.to_bytes()), "node": hex(&row.to_bytes()),
        "length": length, "price": amount(price),
        "needs": amount(row.needs(params)), "allowance": amount(row.allowance(params)),
        "covers": slot_rate(price, length).map(|rate| row.covers(params, length, rate)),
        "withholds": amount(row.withholds(params, row.rate)),
        "declared": amount(share_of(params, row, 1024, Fault::Declared)),
        "dead": amount(share_of(params, row, 1024, Fault::Dead)),
    })
}
