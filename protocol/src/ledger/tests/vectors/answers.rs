//! Ledgers on which buyers ask for cells that nodes do not give: the answers of nodes, and their silence.

use std::{vec, vec::Vec};

use super::{
    super::{
        evidence::{Evidence, KEEPERS, goods_terms, store_goods},
        world::{node, strangers},
    },
    World, Writer, deal_id,
    disputes::{Sold, bonded, but, honest, market, market_on, order_of, sell, sell_as, spoilt},
    opening, order_id,
};
use crate::{
    amount::Amount,
    dispute::Complaint,
    id::Hash,
    ledger::{
        Params, Status,
        dispute::GIVEN_MAX,
        rows::{OrderState, Orders},
        state::StateExt,
        transaction::{Action, LostShard},
    },
    time::Millis,
};

const ASKED: (&str, &str) = ("asked for a cell", "its nodes have as long as custodians");

pub(super) fn write(writer: &mut Writer) {
    given(writer);
    given_often(writer);
    given_late(writer);
    given_and_left(writer);
    convicted(writer);
    silent(writer);
    slept(writer);
    not_to_blame(writer);
    end_of_time(writer);
}

impl Sold {
    fn answer(&self, writer: &mut Writer, index: u8, cell: u64, why: &str) {
        let answer = self.of(writer, 2).answer(index, cell);
        writer.act("a node's cell", why, KEEPERS[usize::from(index)], answer);
    }

    fn ask(&self, writer: &mut Writer, cell: u64) {
        self.complain(writer, 2, ASKED, |of| of.unavailable(cell));
    }

    fn state(&self, writer: &Writer) -> OrderState {
        writer.world.state.get(Orders, &order_of(2, self.listing)).unwrap().state
    }
}

/// Nodes that give what they are asked for.
fn given(writer: &mut Writer) {
    market(writer, "a ledger on which nodes give cells", bonded(1_001));
    let sold = sell(writer, "by an honest seller", 7, honest());
    sold.deliver(writer, 2);
    sold.deliver(writer, 3);
    let no = sold.of(writer, 2).answer(1, 3);
    writer.refuse(Status::TooLate, "an answer to nothing", "no cell is asked for", (12, no));
    sold.ask(writer, 3);
    let again = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    let why = "one cell at a time";
    writer.refuse(Status::TooEarly, "another question", why, (2, again));
    let lost = ("dismissed", "the question goes on");
    sold.complain(writer, 2, lost, |of| of.bad_cell(2));
    refused_answers(writer, &sold);
    sold.answer(writer, 0, 3, "one of two: it waits on the ledger");
    let again = sold.of(writer, 2).answer(0, 3);
    writer.refuse(Status::Exists, "a cell again", "it is there", (11, again));
    let third = writer.world.release_for(order_of(2, 7), (2, 3), 3);
    writer.refuse(Status::TooLate, "a third release", "two were enough", (13, third));
    sold.answer(writer, 2, 3, "both give the cell: 500 for each, and a unit for the treasury");
    let late = sold.of(writer, 2).answer(1, 3);
    writer.refuse(Status::TooLate, "an answer too late", "the cell was given", (12, late));
    sold.ask(writer, 2);
    sold.answer(writer, 0, 2, "its own shard's answer is enough, and the whole bond is the node's");
    sold.ask(writer, 2);
    sold.answer(writer, 1, 2, "one of two");
    let ack = Action::Acknowledge { order: order_of(2, 7), custodians: vec![] };
    writer.act("acknowledged", "the bond of the question comes back", 2, ack);
    let late = sold.of(writer, 2).answer(2, 2);
    writer.refuse(Status::OrderClosed, "an answer for no one's order", "it is settled", (13, late));
    let late = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    writer.refuse(Status::OrderClosed, "asked too late", "it is settled", (2, late));
}

fn refused_answers(writer: &mut Writer, sold: &Sold) {
    let of = sold.of(writer, 2);
    let own = || of.answer(0, 3);
    let changed = |change: fn(&mut Vec<u8>, &mut Vec<Hash>)| {
        let mut action = own();
        let Action::AnswerCell { kept, path, .. } = &mut action else { unreachable!() };
        change(kept, path);
        action
    };
    let bad = [
        ("another cell", changed(|kept, _| kept[0] ^= 1)),
        ("a byte left out", changed(|kept, _| kept.truncate(1023))),
        ("another path", changed(|_, path| path[0] = Hash([1; 32]))),
        ("a path that is too long", changed(|_, path| path.push(Hash([1; 32])))),
        ("another node's cell", of.answer(1, 3)),
    ];
    let other = Evidence { order: order_of(3, 7), ..of }.answer(0, 3);
    let none = Evidence { order: order_id(9), ..of }.answer(0, 3);
    let own = own();
    for (name, action) in bad {
        let why = "it is not under the root of the node's shard";
        writer.refuse(Status::BadProof, name, why, (11, action));
    }
    let why = "it keeps no shard of the deal";
    writer.refuse(Status::NotYours, "a stranger's answer", why, (2, own));
    let why = "nothing is asked for this order";
    writer.refuse(Status::TooLate, "an answer for another order", why, (11, other));
    let why = "there is no such order";
    writer.refuse(Status::UnknownOrder, "an answer for no order", why, (11, none));
}

/// As many questions as there may be, and one more.
fn given_often(writer: &mut Writer) {
    market(writer, "a ledger on which complaints cost nothing", bonded(0));
    let sold = sell(writer, "by an honest seller", 7, honest());
    sold.deliver(writer, 2);
    for _ in 0..GIVEN_MAX {
        let question = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
        let answer = sold.of(writer, 2).answer(0, 2);
        let both = [writer.world.sign(2, question), writer.world.sign(11, answer)];
        writer.ok("asked and given", "in one block", &both);
    }
    let question = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    let why = "sixteen were given";
    writer.refuse(Status::TooLate, "one more question", why, (2, question));
}

/// Questions until the access ends.
fn given_late(writer: &mut Writer) {
    market(writer, "a ledger with the shortest access", bonded(10));
    let shortest = Millis(8_000);
    let sold = sell_as(writer, "by an honest seller", 7, honest(), |_, terms| {
        terms.access_ms = shortest;
    });
    sold.deliver(writer, 2);
    let until = writer.world.now + shortest.0;
    writer.world.now += 1_999;
    sold.ask(writer, 2);
    writer.world.now += 2;
    sold.answer(writer, 0, 2, "there are three seconds more to check it");
    writer.world.now = until - 3_000;
    let question = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    let answer = sold.of(writer, 2).answer(0, 2);
    let both = [writer.world.sign(2, question), writer.world.sign(11, answer)];
    writer.ok("asked and given", "nodes have to keep it until then, and not for longer", &both);
    writer.world.now += 1;
    let question = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    let why = "the access would be over before the answers";
    writer.refuse(Status::TooLate, "a question a millisecond later", why, (2, question));
    let answer = sold.of(writer, 2).answer(0, 2);
    writer.refuse(Status::TooLate, "an answer to nothing", "it was given", (11, answer));
    writer.world.now += 2_999;
    writer.empty("settled", "the window was longer by the last answer");
    let late = sold.of(writer, 2).answer(0, 2);
    writer.refuse(Status::OrderClosed, "an answer too late", "it is settled", (11, late));
}

/// A node that has answered, lost its shard and left.
fn given_and_left(writer: &mut Writer) {
    let params = Params { delivery_ms: Millis(25_000), ..bonded(1_000) };
    market(writer, "a ledger on which a node leaves", params);
    let sold = sell(writer, "by an honest seller", 7, honest());
    writer.next_epoch("epoch 1", "the shards join the tables of their nodes");
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.answer(writer, 0, 3, "one of two");
    let lost = Action::DeclareLost { shards: vec![LostShard { deal: sold.deal, index: 0 }] };
    writer.act("its shard is lost", "it leaves with the node's next turn", 11, lost);
    let again = sold.of(writer, 2).answer(0, 3);
    let why = "it keeps no shard of the deal any more";
    writer.refuse(Status::NotYours, "a lost shard's cell", why, (11, again));
    writer.next_epoch("epoch 2", "the shard leaves");
    writer.act("the node leaves", "it keeps nothing", 11, Action::RetireNode);
    assert_eq!(sold.state(writer), OrderState::Asked);
    sold.answer(
        writer,
        1,
        3,
        "500 for its node, and 500 of the node that has left go to the treasury",
    );
    assert_eq!(sold.state(writer), OrderState::Delivered);
}

/// Nodes keep another cell than was listed.
fn convicted(writer: &mut Writer) {
    market(writer, "a ledger on which answers convict sellers", bonded(1_000));
    let mut parity = honest();
    parity.shards[2][65_536] ^= 1;
    let sold = sell(writer, "with parity that gives another cell", 7, parity);
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.answer(writer, 0, 3, "one of two");
    sold.answer(
        writer,
        2,
        3,
        "upheld: both bonds and the price are the buyer's, but half of the listing's",
    );
    let late = sold.of(writer, 2).answer(1, 3);
    writer.refuse(Status::OrderClosed, "an answer too late", "it was upheld", (12, late));
    let mut other = honest();
    other.shards[1][65_536] ^= 1;
    let sold = sell(writer, "with another cell at its own node", 8, other);
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.answer(writer, 2, 3, "one of two: it is kept until the order is closed");
    sold.answer(writer, 1, 3, "upheld by the cell's own node");
    let late = sold.of(writer, 2).answer(0, 3);
    writer.refuse(Status::OrderClosed, "an answer too late", "it was upheld", (11, late));
    // Another buyer convicts the seller while the first one waits for a cell.
    let liar = spoilt(|of| of[2].plain = Hash([1; 32]));
    let sold = sell(writer, "with other plain bytes", 9, liar);
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.deliver(writer, 3);
    sold.complain(writer, 3, ("upheld", "the listing is frozen"), |of| of.bad_cell(2));
    sold.answer(writer, 0, 3, "one of two");
    sold.answer(writer, 2, 3, "it is given: the bond is the nodes'");
    writer.world.now += 3_000;
    writer.empty("due", "the order of a frozen listing is refunded, whatever was given");
    let ack = Action::Acknowledge { order: order_of(2, 9), custodians: vec![] };
    writer.refuse(Status::OrderClosed, "acknowledged", "it was refunded", (2, ack));
}

/// Blocks for all that is due until a moment.
fn until(writer: &mut Writer, moment: u64, why: &str) {
    while writer.world.now < moment {
        let next = crate::ledger::execute::next_due(&writer.world.state).unwrap().0;
        writer.world.now = next.clamp(writer.world.now, moment);
        writer.empty("time passes", why);
    }
}

fn stake(writer: &mut Writer, units: u128) {
    let stake = |number| Action::Stake { node: node(number), amount: Amount(units) };
    let stakes = KEEPERS.map(stake).map(|stake| writer.world.sign(1, stake));
    writer.ok("collateral", "as much for each node", &stakes);
}

/// Too few nodes answer: the buyer has the money back, and the silent ones pay.
fn silent(writer: &mut Writer) {
    let params = Params { complaint_bond: Amount(1_000), ..strangers() };
    market(writer, "a ledger on which nodes are silent", params);
    stake(writer, 1_000);
    let sold = sell(writer, "by an honest seller", 7, honest());
    writer.next_epoch("epoch 1", "the shards join the tables of their nodes");
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.answer(writer, 0, 3, "one of two");
    let due = writer.world.now + 3_000;
    let why = "two nodes are silent: each loses a tenth of what it has, and the listing goes on";
    until(writer, due, why);
    assert_eq!(sold.state(writer), OrderState::Refunded);
    let late = sold.of(writer, 2).answer(1, 3);
    writer.refuse(Status::OrderClosed, "an answer too late", "it was refunded", (12, late));
    let ack = Action::Acknowledge { order: order_of(2, 7), custodians: vec![] };
    writer.refuse(Status::OrderClosed, "acknowledged", "it was refunded", (2, ack));
    // A lost shard is not kept, so that its node cannot be silent about it.
    let lost = Action::DeclareLost { shards: vec![LostShard { deal: sold.deal, index: 0 }] };
    writer.act("a shard is lost", "its node has given up a part of its collateral", 11, lost);
    sold.deliver(writer, 3);
    sold.complain(writer, 3, ASKED, |of| of.unavailable(2));
    let due = writer.world.now + 3_000;
    until(writer, due, "two nodes of three keep a shard, and are silent");
    let lost = Action::DeclareLost { shards: vec![LostShard { deal: sold.deal, index: 1 }] };
    writer.act("a second shard is lost", "one of three is left", 12, lost);
    sold.deliver(writer, 11);
    sold.complain(writer, 11, ASKED, |of| of.unavailable(2));
    let due = writer.world.now + 3_000;
    until(writer, due, "the file is gone: the buyer has the money back, and one node was silent");
}

/// A ledger that stands still while nodes are asked.
fn slept(writer: &mut Writer) {
    let params = Params { epoch_ms: Millis(1_000_000), ..bonded(1_000) };
    market(writer, "a ledger that stands still while nodes are asked", params);
    let sold = sell_as(writer, "by an honest seller", 7, honest(), |_, terms| {
        terms.access_ms = Millis(8_000);
    });
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    writer.world.now += 9_000;
    let why = "no block was made when it was due: nodes have their time once more, though the access is over";
    writer.empty("late", why);
    assert_eq!(sold.state(writer), OrderState::Asked);
    let question = sold.of(writer, 2).complaint(sold.of(writer, 2).unavailable(2));
    writer.refuse(Status::TooEarly, "another question", "one at a time", (2, question));
    writer.world.now += 2_999;
    sold.answer(writer, 0, 3, "one of two, in time");
    writer.world.now += 1;
    writer.empty("due", "one is too few");
    assert_eq!(sold.state(writer), OrderState::Refunded);
    let late = sold.of(writer, 2).answer(1, 3);
    writer.refuse(Status::OrderClosed, "an answer too late", "it was refunded", (12, late));
}

/// Sums of times stop at the largest one.
fn end_of_time(writer: &mut Writer) {
    let world = World::starting(bonded(1_000), u64::MAX - 2_000);
    market_on(writer, "a ledger at the end of time", world);
    let sold = sell(writer, "by an honest seller", 7, honest());
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    sold.answer(writer, 1, 3, "the window ends with time");
    writer.world.now = u64::MAX;
    writer.empty("the last moment", "the order is settled");
}

/// Silence that costs nothing: shards that were just placed, and deals that are over.
fn not_to_blame(writer: &mut Writer) {
    let params = Params { complaint_bond: Amount(1_000), ..strangers() };
    market(writer, "a ledger on which silence costs nothing", params);
    stake(writer, 10_000);
    let sold = sell(writer, "by an honest seller", 7, honest());
    let short = goods_terms(1, &sold.goods, opening(60), 1);
    let open = store_goods(&writer.world, &short, &sold.goods, &[(0, 11), (1, 12), (2, 13)]);
    writer.act("a short deal", "for one epoch", 1, open);
    sold.deliver(writer, 2);
    sold.ask(writer, 3);
    let due = writer.world.now + 3_000;
    until(writer, due, "the shards count from the next epoch on: their nodes may have missed it");
    assert_eq!(sold.state(writer), OrderState::Refunded);
    let over = Sold { deal: short.deal(), listing: 7, goods: sold.goods };
    let chain = writer.world.chain();
    let end = chain.epoch_started().0 + (2 - chain.epoch) * 10_000;
    until(writer, end - 3_000, "the short deal is nearly over");
    for buyer in [3, 11] {
        over.deliver(writer, buyer);
    }
    let none = over.of(writer, 3);
    let none = none.complaint(but!(none.unavailable(2), Unavailable { deal }, *deal = deal_id(99)));
    writer.refuse(Status::UnknownDeal, "a cell of no deal", "there is none", (3, none));
    over.complain(writer, 3, ASKED, |of| of.unavailable(2));
    writer.world.now += 1;
    let late = over.of(writer, 11);
    let late = late.complaint(late.unavailable(2));
    let why = "the deal may be over before the answers";
    writer.refuse(Status::DealClosed, "a question a millisecond later", why, (11, late));
    until(writer, end, "the deal that was named is over, so that no node of it pays");
}
