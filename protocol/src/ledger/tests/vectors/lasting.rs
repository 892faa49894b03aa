//! Terms that grow, shards that are lost, and nodes that take them or die.

use std::{vec, vec::Vec};

use super::{World, Writer, deal_id, opening, register, terms};
use crate::{
    amount::Amount,
    id::{DealId, Hash, Opening},
    ledger::{
        Params, Status,
        rows::Access,
        tests::world::{PRICE, fees, key, params, root},
        transaction::{Acceptance, Action, DealTerms, LostShard},
    },
    time::LedgerTime,
};

const NODES: [u8; 3] = [11, 12, 13];
/// A node without a shard.
const SPARE: u8 = 14;
const MOST: Amount = Amount(u128::MAX);

pub(super) fn write(writer: &mut Writer) {
    extended(writer);
    lost(writer);
}

pub(super) fn write_placed(writer: &mut Writer) {
    placed(writer);
    paid(writer);
}

/// A ledger with a running deal of three shards, two of which are required.
fn running(writer: &mut Writer, why: &str, params: Params, epochs: u64) {
    writer.genesis(why, World::with(params));
    for number in [1, 2, 11, 12, 13, 14, 15] {
        writer.act("a gift of play money", "of one account", number, Action::Faucet);
    }
    let nodes = [11, 12, 13, 14, 15].map(|node| writer.world.sign(node, register(node, 1 << 20)));
    writer.ok("a gift of five nodes", "three will keep a shard", &nodes);
    let open = writer.world.deal(1, opening(4), &NODES, epochs);
    writer.act("a deal", "of three shards", 1, open);
    writer.next_epoch("the deal begins", "its shards join their tables");
}

fn extend(deals: Vec<DealId>, epochs: u64, cost_max: Amount) -> Action {
    Action::ExtendDeals { deals, epochs, cost_max }
}

fn extended(writer: &mut Writer) {
    running(writer, "a ledger for longer terms", params(), 10);
    let deal = deal_id(4);
    let bad = [
        (Status::BadField, "no deal to extend", "one at least", vec![], 5),
        (Status::BadField, "one deal twice", "each once", vec![deal, deal], 5),
        (Status::BadField, "no epoch", "one at least", vec![deal], 0),
        (Status::BadField, "longer than any term", "51 epochs", vec![deal], 51),
        (Status::BadField, "too far ahead", "with the ten that are left", vec![deal], 42),
        (
            Status::UnknownDeal,
            "one that is not there",
            "and one that is",
            vec![deal, deal_id(9)],
            5,
        ),
    ];
    for (status, name, why, deals, epochs) in bad {
        writer.refuse(status, name, why, (2, extend(deals, epochs, MOST)));
    }
    let many = (0..65).map(deal_id).collect();
    writer.refuse(Status::BadField, "65 deals", "64 at most", (2, extend(many, 5, MOST)));
    let short = extend(vec![deal], 5, Amount(53));
    writer.refuse(Status::TermsChanged, "a limit of one less", "it costs 54", (2, short));
    let poor = extend(vec![deal], 5, MOST);
    writer.refuse(Status::BalanceTooLow, "by one without money", "no account", (99, poor));
    writer.act("a gift of five epochs", "by another account", 2, extend(vec![deal], 5, Amount(54)));
    let open = writer.world.deal(1, opening(5), &NODES, 3);
    writer.act("a second deal", "it waits", 1, open);
    let both = extend(vec![deal, deal_id(5)], 2, MOST);
    writer.act("two deals at once", "one runs and one waits", 1, both);
    prove(writer, &NODES);
    writer.next_epoch("the second one begins", "with its longer term");
    let agreed = writer.world.place((1, opening(5)), &[(0, 11)], (PRICE, 9));
    writer.act("the same node on other terms", "it agrees until epoch 9", 1, agreed);
    let beyond = extend(vec![deal_id(5)], 3, MOST);
    let why = "the deal ends in epoch 7";
    writer.refuse(Status::AcceptanceExpired, "beyond what was agreed", why, (1, beyond));
    writer.act("up to what was agreed", "two epochs", 1, extend(vec![deal_id(5)], 2, MOST));
    let more = || extend(vec![deal_id(5)], 1, MOST);
    writer.act(
        "a node asks for more",
        "it agrees until 10",
        11,
        agreeing(Amount(PRICE.0 + 1), 10, false),
    );
    writer.refuse(Status::AcceptanceExpired, "for less than it asks", "by one", (1, more()));
    writer.act(
        "a node leaves",
        "it asks for no more than it is paid",
        11,
        agreeing(PRICE, 10, true),
    );
    writer.refuse(
        Status::AcceptanceExpired,
        "with a node that leaves",
        "it agrees to nothing",
        (1, more()),
    );
    writer.act("a node agrees anew", "with its registration", 11, agreeing(PRICE, 10, false));
    let two = extend(vec![deal_id(5)], 2, MOST);
    writer.refuse(Status::AcceptanceExpired, "beyond that", "it agrees until 10", (1, two));
    writer.act("until then", "one epoch", 1, more());
    writer.act("the deal is ended", "by its owner", 1, Action::EndDeal { deal: deal_id(5) });
    let over = extend(vec![deal_id(5)], 1, MOST);
    writer.refuse(Status::DealClosed, "a deal that is over", "it cannot grow", (1, over));
}

/// A registration of node 11 that asks for this, and agrees until then.
fn agreeing(asked: Amount, until: u64, leaves: bool) -> Action {
    let mut action = register(11, 1 << 20);
    if let Action::RegisterNode { price, agrees_until, leaving, .. } = &mut action {
        (*price, *agrees_until, *leaving) = (asked, until, leaves);
    }
    action
}

fn declare(deal: u8, index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(deal), index }] }
}

fn lost(writer: &mut Writer) {
    running(writer, "a ledger for lost shards", params(), 10);
    let none = Action::DeclareLost { shards: vec![] };
    writer.refuse(Status::BadField, "nothing is lost", "one shard at least", (12, none));
    let one = LostShard { deal: deal_id(4), index: 1 };
    let twice = Action::DeclareLost { shards: vec![one, one] };
    writer.refuse(Status::BadField, "lost twice", "one shard of a deal", (12, twice));
    let many = (0..65).map(|number| LostShard { deal: deal_id(number), index: 0 }).collect();
    let many = Action::DeclareLost { shards: many };
    writer.refuse(Status::BadField, "65 lost shards", "64 at most", (12, many));
    writer.refuse(Status::UnknownNode, "lost by an owner", "not a node", (1, declare(4, 1)));
    writer.refuse(Status::UnknownDeal, "lost of no deal", "it is not there", (12, declare(9, 1)));
    writer.refuse(Status::NotYours, "lost by another", "it keeps shard 0", (11, declare(4, 1)));
    writer.refuse(Status::NotYours, "no such shard", "the deal has three", (11, declare(4, 3)));
    writer.act("a declared loss", "it costs this shard only", 12, declare(4, 1));
    writer.refuse(Status::NotYours, "lost again", "no node keeps it", (12, declare(4, 1)));
    prove(writer, &NODES);
    writer.next_epoch("the shard leaves", "its node has no table");
    let open = writer.world.deal(1, opening(5), &NODES, 3);
    writer.act("a second deal", "it waits", 1, open);
    writer.act("lost before it begins", "the node has room again", 13, declare(5, 2));
    writer.act("one more of the first", "one of three is left", 13, declare(4, 2));
    let end = Action::EndDeal { deal: deal_id(4) };
    writer.act("the deal is ended", "what the nodes are not paid comes back", 1, end);
    writer.refuse(Status::DealClosed, "lost after the end", "it is over", (11, declare(4, 0)));
    writer.next_epoch("the second one begins", "with two shards");
}

/// Acceptances of these shards under changed terms.
fn under(writer: &Writer, change: fn(&mut DealTerms), shards: &[(u8, u8, Hash)]) -> Action {
    let mut terms = terms(1, opening(4), 3, 1);
    change(&mut terms);
    let chain = writer.world.id();
    let accept = |(index, node, root): &(u8, u8, Hash)| {
        let price = (PRICE, u64::MAX);
        Acceptance::build(&chain, &terms, &key(*node), (*index, *root), price, LedgerTime::NEVER)
    };
    let acceptances = shards.iter().map(accept).collect();
    Action::PlaceShards { terms, acceptances, cost_max: MOST }
}

/// What makes good terms others.
type Change = fn(&mut DealTerms);

/// Index, node and root of each shard.
type Shards<'a> = &'a [(u8, u8, Hash)];

fn placed(writer: &mut Writer) {
    running(writer, "a ledger for other nodes", params(), 10);
    let root = |index| root(&deal_id(4), index, 1024);
    let bad: [(&str, Change); 6] = [
        ("another object", |terms| terms.object.0[0] ^= 1),
        ("another segment", |terms| terms.segment += 1),
        ("fewer required", |terms| terms.required -= 1),
        ("more in all", |terms| terms.total += 1),
        ("longer shards", |terms| terms.length += 1024),
        ("for everybody", |terms| terms.access = Access::Public),
    ];
    for (name, change) in bad {
        let action = under(writer, change, &[(1, SPARE, root(1))]);
        writer.refuse(Status::BadAcceptance, name, "not the deal's terms", (1, action));
    }
    let other = under(writer, |_| {}, &[(1, SPARE, root(0))]);
    writer.refuse(Status::BadAcceptance, "another root", "a root is for life", (1, other));
    let no_deal = under(writer, |terms| terms.opening = Opening([9; 32]), &[(1, SPARE, root(1))]);
    writer.refuse(Status::UnknownDeal, "a deal that is not there", "another opening", (1, no_deal));
    let fields: [(&str, Shards<'_>); 4] = [
        ("no shard placed", &[]),
        ("beyond the last", &[(3, SPARE, root(1))]),
        ("one shard twice", &[(1, SPARE, root(1)), (1, 15, root(1))]),
        ("one node twice", &[(1, SPARE, root(1)), (2, SPARE, root(2))]),
    ];
    for (name, shards) in fields {
        let action = under(writer, |_| {}, shards);
        writer.refuse(Status::BadField, name, "fields of acceptances", (1, action));
    }
    let good = under(writer, |_| {}, &[(1, SPARE, root(1))]);
    writer.refuse(Status::NotYours, "by a stranger", "neither owner nor keeper", (2, good.clone()));
    writer.refuse(Status::NotYours, "by another keeper", "not its shard", (11, good.clone()));
    let taken = under(writer, |_| {}, &[(1, 11, root(1))]);
    writer.refuse(Status::Exists, "on a node of the deal", "it keeps another", (1, taken));
    let absent = under(writer, |_| {}, &[(1, 99, root(1))]);
    writer.refuse(Status::UnknownNode, "on no node", "it never registered", (1, absent));
    let Action::PlaceShards { terms, mut acceptances, .. } = good.clone() else { unreachable!() };
    acceptances[0].price = Amount(1);
    let forged = Action::PlaceShards { terms, acceptances, cost_max: MOST };
    writer.refuse(Status::BadAcceptance, "a forged price", "the node did not sign it", (1, forged));
    let early = writer.world.place((1, opening(4)), &[(1, SPARE)], (PRICE, 10));
    let why = "the deal ends in epoch 11";
    writer.refuse(Status::AcceptanceExpired, "a node that agrees for less", why, (1, early));
    writer.act("a small node", "a leaf but one byte", SPARE, register(SPARE, 1023));
    writer.refuse(Status::NodeFull, "on a full node", "it has no room", (1, good.clone()));
    writer.act("a leaf", "room for the shard", SPARE, register(SPARE, 1024));
    writer.act("a declared loss", "of the second shard", 12, declare(4, 1));
    writer.act("another node for it", "the owner pays nothing more", 1, good);
    prove(writer, &NODES);
    writer.next_epoch("the new node begins", "and the old one has left");
    prove(writer, &[11, 13, SPARE]);
}

fn paid(writer: &mut Writer) {
    running(writer, "who pays for another node", fees(), 10);
    let dear = (Amount(5_000_000), u64::MAX);
    let Action::PlaceShards { terms, acceptances, .. } =
        writer.world.place((1, opening(4)), &[(1, SPARE)], dear)
    else {
        unreachable!()
    };
    let limited = |cost_max| Action::PlaceShards {
        terms: terms.clone(),
        acceptances: acceptances.clone(),
        cost_max,
    };
    let fee = crate::ledger::fee(&writer.world.genesis.params, &limited(MOST));
    let short = limited(Amount(fee.0 + 17));
    writer.refuse(Status::TermsChanged, "a limit of one less", "18 and the fee", (12, short));
    writer.act("a node hands on", "and pays two for nine epochs", 12, limited(Amount(fee.0 + 18)));
    let cheap = writer.world.place((1, opening(4)), &[(2, 15)], (Amount(1_000_000), u64::MAX));
    writer.act("a cheaper node by the owner", "the rest is in the hold", 1, cheap);
    let again = writer.world.place((1, opening(4)), &[(2, 13)], dear);
    writer.act("the node before once more", "the other one is paid for an epoch", 1, again);
    let beyond = writer.world.place((1, opening(4)), &[(0, 12)], (Amount(1 << 127), u64::MAX));
    writer.refuse(Status::Overflow, "a price beyond counting", "nothing can pay it", (1, beyond));
    let rich = writer.world.place((1, opening(4)), &[(0, 12)], (Amount(1 << 80), u64::MAX));
    writer.refuse(Status::BalanceTooLow, "a price beyond means", "the owner has less", (1, rich));
    let extension = extend(vec![deal_id(4)], 3, Amount(1));
    writer.refuse(
        Status::TermsChanged,
        "less than the fee",
        "it is more than that",
        (1, extension),
    );
    writer.act("a longer term", "with a fee for its bytes", 1, extend(vec![deal_id(4)], 3, MOST));
    prove(writer, &NODES);
    for _ in 0..9 {
        writer.next_epoch("epochs without a proof", "pay goes to the repair pool");
    }
    let last = writer.world.place((1, opening(4)), &[(0, 12)], (PRICE, u64::MAX));
    writer.act("another node late", "four epochs are left", 1, last);
    for _ in 0..3 {
        writer.next_epoch("epochs without a proof", "pay goes to the repair pool");
    }
    let late = writer.world.place((1, opening(4)), &[(1, 15)], (PRICE, u64::MAX));
    let why = "no epoch is left to be paid for";
    writer.refuse(Status::DealClosed, "another node too late", why, (1, late));
    writer.next_epoch("the last epoch is over", "the reserve goes back");
}

/// Nodes that miss for too long.
pub(super) fn dead(writer: &mut Writer) {
    running(writer, "a ledger on which nodes die", Params { dead_after_epochs: 2, ..params() }, 20);
    for number in 5..8 {
        let open = writer.world.deal(1, opening(number), &NODES, 10);
        writer.act("one more deal", "on the same nodes", 1, open);
    }
    prove(writer, &NODES);
    writer.next_epoch("all deals run", "with four shards on each node");
    writer.act(
        "one is ended",
        "its shards leave with the next turn",
        1,
        Action::EndDeal { deal: deal_id(7) },
    );
    for why in ["one epoch is missed", "two epochs are missed, and it is dead"] {
        prove(writer, &[11, 13]);
        if why.starts_with("two") {
            let open = writer.world.deal(1, opening(8), &NODES, 5);
            writer.act("a deal that waits", "the dead node loses it too", 1, open);
        }
        writer.next_epoch("epochs go on", why);
    }
    let more = writer.world.deal(1, opening(9), &NODES, 5);
    writer.refuse(
        Status::NodeClosed,
        "a deal with a dead node",
        "it takes nothing",
        (1, more.clone()),
    );
    let here = writer.world.place((1, opening(4)), &[(1, 12)], (PRICE, u64::MAX));
    writer.refuse(Status::NodeClosed, "a shard for a dead node", "it takes nothing", (1, here));
    writer.refuse(Status::NotYours, "lost by a dead node", "it keeps nothing", (12, declare(4, 1)));
    let there = writer.world.place((1, opening(4)), &[(1, SPARE)], (PRICE, u64::MAX));
    writer.act("another node", "paid from what the dead one is not", 1, there);
    writer.act("the node begins again", "it registers anew", 12, register(12, 1 << 20));
    writer.act("a deal with it", "it has room again", 1, more);
    let end = Action::EndDeal { deal: deal_id(5) };
    writer.act("a degraded deal is ended", "all of its money comes back", 1, end);
    writer.next_epoch("shards join", "of the living");
    prove(writer, &[11, 12, 13, SPARE]);
}

pub(super) fn prove(writer: &mut Writer, nodes: &[u8]) {
    let mut proofs = Vec::new();
    for number in nodes {
        let proof = writer.world.prove(*number);
        proofs.push(writer.world.sign(*number, proof));
    }
    writer.ok("proofs", "of every node", &proofs);
}
