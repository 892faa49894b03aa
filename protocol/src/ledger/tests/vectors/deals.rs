//! Ledgers with several shards on each node: tables, challenges over them, what leaves and what moves.

use std::{string::String, vec, vec::Vec};

use super::{World, Writer, account, deal_id, opening, register, terms};
use crate::{
    amount::Amount,
    id::{AccountId, ChainId, Hash, NodeId},
    ledger::{
        Status,
        rows::Access,
        tests::world::{PRICE, key, params},
        transaction::{Acceptance, Action, DealTerms},
    },
    limits::SHARD_BYTES_MAX,
    time::LedgerTime,
};

/// What makes good terms others.
type Change = fn(&mut DealTerms);

const NODES: [u8; 3] = [11, 12, 13];
/// Prices at which a deal's fee and reserve are more than nothing.
const DEAR: Amount = Amount(3_000_000_000);

/// Deals that are opened.
pub(super) fn write(writer: &mut Writer) {
    acceptances_in_range(writer);
    money(writer);
}

/// Nodes, terms, and slot tables through several epochs.
pub(super) fn write_tables(writer: &mut Writer) {
    nodes(writer);
    terms_in_range(writer);
    tables(writer);
    ends(writer);
}

/// Blocks that come late, shards that wait for an empty table, and deals whose rows leave the state.
pub(super) fn write_late(writer: &mut Writer) {
    writer.genesis("a ledger that stands still", World::new());
    writer.act("money for three deals", "of account 1", 1, Action::Faucet);
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("nodes that wait", "three", &nodes);
    for number in [4, 6] {
        let open = writer.world.deal(1, opening(number), &NODES, 1);
        writer.act("a deal for one epoch", "it begins late", 1, open);
    }
    let end = Action::EndDeal { deal: deal_id(6) };
    writer.act("one is ended", "it never begins", 1, end);
    for number in 1..=9 {
        let nine = "the ninth in a row counts, up to what was due";
        let why = if number == 9 { nine } else { "none of this time counts" };
        writer.world.now = next_due(writer) + 2500;
        writer.empty("late by a quarter", why);
    }
    let of_another = Action::EndDeal { deal: deal_id(4) };
    writer.refuse(Status::NotYours, "end by a stranger", "not the owner", (2, of_another));
    let end = writer.world.end_of(1);
    while writer.world.step_to(end) {
        writer.empty("epoch 1, late", "the other deal joins");
    }
    writer.world.now = next_due(writer);
    writer.empty("epoch 2, late", "no node has had its turn");
    let early = Action::Prove { epoch: 2, leaves: vec![] };
    let why = "the node's window is still that of epoch 1";
    writer.refuse(Status::WrongEpoch, "proof before the turn", why, (11, early));
    let open = writer.world.deal(1, opening(5), &NODES, 1);
    writer.act("a deal before the turns", "its shards wait for epoch 3", 1, open);
    while writer.world.chain().epoch < 105 {
        if writer.world.chain().epoch == 100 {
            let end = Action::EndDeal { deal: deal_id(4) };
            let why = "its row is still there";
            writer.refuse(Status::DealClosed, "end of a deal that is over", why, (1, end));
        }
        let why = match writer.world.chain().epoch {
            2 => "tables are empty, and their nodes wait for epoch 3",
            101 => "the first deals have been over for 100 epochs",
            103 => "the last one too",
            _ => "nothing else happens",
        };
        boundary(writer, "time passes", why);
    }
    for number in [4, 5, 6] {
        let end = Action::EndDeal { deal: deal_id(number) };
        writer.refuse(Status::UnknownDeal, "end of a deal of long ago", "it is gone", (1, end));
    }
}

fn next_due(writer: &Writer) -> u64 {
    crate::ledger::execute::next_due(&writer.world.state).unwrap().0
}

fn registered(number: u8, capacity: u64, addresses: Vec<String>) -> Action {
    let Action::RegisterNode { payout, custody_key, caretaker, price, .. } = register(number, 0)
    else {
        unreachable!()
    };
    Action::RegisterNode {
        payout,
        operator: None,
        addresses,
        custody_key,
        caretaker,
        price,
        capacity,
        agrees_until: 0,
        leaving: false,
    }
}

fn nodes(writer: &mut Writer) {
    writer.genesis("a ledger for nodes", World::new());
    writer.act("money for deals", "of account 1", 1, Action::Faucet);
    let long = "a".repeat(256);
    let mut addresses = vec![long.clone(); 15];
    addresses.push("a".into());
    let most = registered(11, 4096, addresses);
    writer.act("node with 16 addresses", "the longest and the shortest there may be", 11, most);
    let too_many = registered(12, 4096, vec![String::from("a"); 17]);
    writer.refuse(Status::BadField, "17 addresses", "one more than 16", (12, too_many));
    let too_long = registered(12, 4096, vec![long + "a"]);
    writer.refuse(Status::BadField, "long address", "257 bytes", (12, too_long));
    let empty = registered(12, 4096, vec![String::new()]);
    writer.refuse(Status::BadField, "empty address", "it leads nowhere", (12, empty));
    let none = registered(12, 4096, Vec::new());
    writer.act("node without an address", "which is allowed", 12, none);
    let open = writer.world.deal(1, opening(4), &[11, 12], 3);
    writer.act("deal of two", "binds a leaf of each", 1, open);
    let small = register(11, 1023);
    writer.refuse(Status::NodeFull, "node below what is bound", "1024 are", (11, small));
    writer.act("node as small as can be", "what is bound and no more", 11, register(11, 1024));
    let full = writer.world.deal(1, opening(8), &[11, 12], 3);
    writer.refuse(Status::NodeFull, "full to the last byte", "no leaf is free", (1, full));
    writer.act("a leaf more", "room for one more shard", 11, register(11, 2048));
    let fits = writer.world.deal(1, opening(8), &[11, 12], 3);
    writer.act("deal that just fits", "and the node is full", 1, fits);
}

/// A deal with changed terms that the nodes have signed.
fn offer(writer: &Writer, number: u8, nodes: &[u8], change: fn(&mut DealTerms)) -> Action {
    let mut of = terms(1, opening(number), nodes.len(), 3);
    change(&mut of);
    writer.world.deal_on(&of, nodes)
}

/// Not as the nodes have signed: a deal that is in its range is refused with this.
fn unsigned(writer: &Writer, change: fn(&mut DealTerms)) -> Action {
    let Action::OpenDeal { terms, mut acceptances, cost_max } = offer(writer, 4, &NODES, change)
    else {
        unreachable!()
    };
    acceptances[0].signature[0] ^= 1;
    Action::OpenDeal { terms, acceptances, cost_max }
}

fn terms_in_range(writer: &mut Writer) {
    writer.genesis("a ledger for terms", World::new());
    let why = "in its range, so that something else is wrong with it";
    let good: [(&str, Change); 6] = [
        ("one of all is required", |of| of.required = 1),
        ("all are required", |of| of.required = 3),
        ("128 shards", |of| of.total = 128),
        ("one epoch", |of| of.epochs = 1),
        ("50 epochs", |of| of.epochs = 50),
        ("the shortest shard", |of| of.length = 1024),
    ];
    for (name, change) in good {
        let open = unsigned(writer, change);
        writer.refuse(Status::BadAcceptance, name, why, (1, open));
    }
    let bad: [(&str, &str, Change); 7] = [
        ("none required", "a deal needs shards", |of| of.required = 0),
        ("more required than made", "4 of 3", |of| of.required = 4),
        ("129 shards", "one more than 128", |of| of.total = 129),
        ("no epochs", "a deal is for some", |of| of.epochs = 0),
        ("51 epochs", "one more than this ledger allows", |of| of.epochs = 51),
        ("no length", "a shard has bytes", |of| of.length = 0),
        ("half a leaf more", "shards are whole leaves", |of| of.length = 1536),
    ];
    for (name, why, change) in bad {
        let open = unsigned(writer, change);
        writer.refuse(Status::BadField, name, why, (1, open));
    }
    // Bytes of this size need not be there for a refusal.
    let long = |length| {
        let of = DealTerms { length, ..terms(1, opening(4), 3, 3) };
        let accept = |(index, number): (u8, &u8)| {
            let (chain, signer) = (ChainId([0; 32]), key(*number));
            Acceptance::build(
                &chain,
                &of,
                &signer,
                (index, Hash([index; 32])),
                (PRICE, u64::MAX),
                LedgerTime::NEVER,
            )
        };
        let acceptances = (0..).zip(&NODES).map(accept).collect();
        let cost_max = Amount(u128::MAX);
        Action::OpenDeal { terms: of.clone(), acceptances, cost_max }
    };
    let (longest, longer) = (long(SHARD_BYTES_MAX), long(SHARD_BYTES_MAX + 1024));
    writer.refuse(Status::BadAcceptance, "the longest shard", why, (1, longest));
    writer.refuse(Status::BadField, "a longer shard", "over 64 MiB", (1, longer));
}

/// The deal with its acceptances changed, and signed again.
fn accepted(
    writer: &Writer,
    number: u8,
    nodes: &[u8],
    change: impl Fn(&mut DealTerms, &mut Vec<Acceptance>),
) -> Action {
    let open = writer.world.deal(1, opening(number), nodes, 3);
    let Action::OpenDeal { mut terms, mut acceptances, cost_max } = open else { unreachable!() };
    change(&mut terms, &mut acceptances);
    let signed = |one: &Acceptance| {
        let signer = (1..=255).map(key).find(|key| NodeId::from(of(key)) == one.node).unwrap();
        let place = (one.index, one.root);
        let terms_of = (one.price, one.until);
        Acceptance::build(&writer.world.id(), &terms, &signer, place, terms_of, one.expires_ms)
    };
    let acceptances = acceptances.iter().map(signed).collect();
    Action::OpenDeal { terms, acceptances, cost_max }
}

fn of(key: &ed25519_dalek::SigningKey) -> AccountId {
    AccountId(key.verifying_key().to_bytes())
}

fn acceptances_in_range(writer: &mut Writer) {
    writer.genesis("a ledger for acceptances", World::new());
    writer.act("more money", "of account 1", 1, Action::Faucet);
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("three nodes", "with room", &nodes);
    let few = accepted(writer, 4, &NODES, |_, all| all.truncate(1));
    let why = "two of three are required and one is there";
    writer.refuse(Status::BadField, "too few acceptances", why, (1, few));
    let beyond = accepted(writer, 4, &NODES, |_, all| all[2].index = 3);
    writer.refuse(Status::BadField, "no such shard", "shards are 0 to 2", (1, beyond));
    let twice = accepted(writer, 4, &NODES, |_, all| all[2].index = 1);
    writer.refuse(Status::BadField, "one shard twice", "each index once", (1, twice));
    let now = writer.world.now;
    let late = accepted(writer, 4, &NODES, |_, all| all[1].expires_ms = LedgerTime(now - 1));
    let why = "a millisecond after it was good";
    writer.refuse(Status::AcceptanceExpired, "acceptance over", why, (1, late));
    let just = accepted(writer, 4, &NODES, |_, all| all[1].expires_ms = LedgerTime(now));
    writer.act("acceptance at its end", "good up to that moment", 1, just);
    let sparse = accepted(writer, 5, &NODES, |terms, all| {
        terms.required = 1;
        terms.access = Access::Public;
        all.remove(1);
    });
    writer.act("deal without its middle shard", "two of three places are taken", 1, sparse);
    let dear = accepted(writer, 6, &NODES, |_, all| all[0].price = Amount(u128::MAX));
    let why = "a price whose cost exceeds the type";
    writer.refuse(Status::Overflow, "price past counting", why, (1, dear));
    boundary(writer, "two deals join", "one of them with a gap");
    let proof = writer.world.prove(12);
    writer.act("proof of one shard", "the node keeps no other", 12, proof.clone());
    writer.refuse(Status::AlreadyProven, "proven again", "one proof an epoch", (12, proof));
    for epoch in 2..=4 {
        let why = if epoch == 4 { "both deals leave, one of them with a gap" } else { "all miss" };
        boundary(writer, "another epoch", why);
    }
}

fn money(writer: &mut Writer) {
    // Three shards of a leaf at 2,862 for three epochs; a fifth in reserve, a fiftieth as fee.
    let total = 3 * 2862 * 3 + 5151 + 515;
    let params = crate::ledger::Params { faucet: Amount(total), ..params() };
    writer.genesis("a ledger for money", World::with(params));
    writer.act("as much as the deal costs", "to the unit", 1, Action::Faucet);
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("nodes with room", "at another price than they accept at", &nodes);
    let deal = |writer: &Writer, cost: u128| {
        let open = accepted(writer, 4, &NODES, |_, all| {
            all.iter_mut().for_each(|one| one.price = DEAR);
        });
        let Action::OpenDeal { terms, acceptances, .. } = open else { unreachable!() };
        Action::OpenDeal { terms, acceptances, cost_max: Amount(cost) }
    };
    let capped = deal(writer, total - 1);
    let why = "a unit more than was agreed to";
    writer.refuse(Status::TermsChanged, "a unit too dear", why, (1, capped));
    let poorer = writer.world.sign(1, transfer_one());
    let open = deal(writer, total);
    let signed = [poorer, writer.world.sign(1, open.clone())];
    let why = "a unit is missing after the transfer before it";
    super::status_block(writer, Status::BalanceTooLow, "a unit too little", why, &signed);
    writer.act("deal for everything", "fee and reserve are more than nothing", 1, open.clone());
    writer.refuse(Status::Exists, "the deal again", "its id is taken", (1, open));
    boundary(writer, "it joins", "epoch 1");
    let proof = writer.world.prove(11);
    writer.act("dear proof", "2,862 units", 11, proof);
}

fn transfer_one() -> Action {
    Action::Transfer { to: account(2), amount: Amount(1) }
}

/// The next epoch, until every node has its window of it.
fn boundary(writer: &mut Writer, name: &str, why: &str) {
    writer.next_epoch(name, why);
}

fn prove_all(writer: &mut Writer, name: &str, nodes: &[u8]) {
    let proofs: Vec<_> = nodes
        .iter()
        .map(|number| {
            let proof = writer.world.prove(*number);
            writer.world.sign(*number, proof)
        })
        .collect();
    writer.ok(name, "leaves of several shards, of several lengths", &proofs);
}

fn tables(writer: &mut Writer) {
    writer.genesis("a ledger for tables", World::new());
    writer.act("money for tables", "of account 1", 1, Action::Faucet);
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("roomy nodes", "for many shards", &nodes);
    let deals: Vec<_> = [(7, 2), (4, 9), (5, 9), (6, 2), (8, 9)]
        .map(|(number, epochs)| {
            let open = writer.world.deal(1, opening(number), &NODES, epochs);
            writer.world.sign(1, open)
        })
        .into();
    writer.ok("five deals", "of one to four leaves, for two and for nine epochs", &deals);
    boundary(writer, "all five join", "in the order of their ids");
    let good = writer.world.leaves(12);
    let mut swapped = good.clone();
    let other = good.iter().position(|leaf| *leaf != good[0]).unwrap();
    swapped.swap(0, other);
    let swapped = Action::Prove { epoch: 1, leaves: swapped };
    let why = "challenges have an order";
    writer.refuse(Status::BadProof, "answers swapped", why, (12, swapped));
    let more = good.iter().chain(&good[..1]).cloned().collect();
    let more = Action::Prove { epoch: 1, leaves: more };
    writer.refuse(Status::BadProof, "an answer too many", "ten are asked", (12, more));
    prove_all(writer, "two prove", &[11, 13]);
    let end = Action::EndDeal { deal: deal_id(4) };
    writer.act("the second deal is ended", "its rows are filled by the last ones", 1, end);
    boundary(writer, "rows move", "the last row of each table fills the gap");
    prove_all(writer, "all prove", &NODES);
    let end = Action::EndDeal { deal: deal_id(8) };
    writer.act("the moved deal is ended", "at its new place", 1, end);
    boundary(writer, "two are complete", "the longest shard is gone, and its weight with it");
    prove_all(writer, "the last shard", &NODES);
    let why = "what was ended or completed has left, and one deal is there";
    boundary(writer, "one deal is left", why);
    let end = Action::EndDeal { deal: deal_id(5) };
    writer.act("the last deal is ended", "nothing will be there", 1, end);
    boundary(writer, "tables are empty", "and so are the counts of lengths");
    let short = writer.world.deal(1, opening(12), &NODES, 2);
    writer.act("a short shard", "after long ones", 1, short);
    boundary(writer, "it joins an empty table", "and is the longest");
}

fn ends(writer: &mut Writer) {
    writer.genesis("a ledger for ends", World::new());
    writer.act("money for ends", "of account 1", 1, Action::Faucet);
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("nodes again", "three", &nodes);
    for number in [4, 5] {
        let open = writer.world.deal(1, opening(number), &NODES, 1);
        writer.act("a deal", "for one epoch", 1, open);
    }
    let end = Action::EndDeal { deal: deal_id(4) };
    let why = "only its owner may";
    writer.refuse(Status::NotYours, "ended by a stranger", why, (2, end.clone()));
    let none = Action::EndDeal { deal: deal_id(12) };
    writer.refuse(Status::UnknownDeal, "end of no deal", "no owner opened it", (1, none));
    writer.act("ended before it began", "all but the fee comes back", 1, end.clone());
    writer.refuse(Status::DealClosed, "ended twice", "it has ended", (1, end));
    boundary(writer, "only the other joins", "one that was ended does not");
    prove_all(writer, "one proof each", &NODES);
    let due_ms = writer.world.chain().time_ms.0 + 1;
    writer.world.now = due_ms + 2499;
    writer.empty("late, but not by a quarter", "the epoch ends: the deal is completed");
    let end = Action::EndDeal { deal: deal_id(5) };
    writer.refuse(Status::DealClosed, "end of a completed deal", "it is over", (1, end));
    writer.world.now = next_due(writer) + 2500;
    writer.empty("late by a quarter", "this time does not count");
    let open = writer.world.deal(1, opening(9), &NODES, 2);
    writer.act("a deal that is missed", "for two epochs", 1, open);
    boundary(writer, "it joins", "no node will prove");
    boundary(writer, "missed once", "its pay goes to repair");
    prove_all(writer, "proven after a miss", &[11]);
    boundary(writer, "missed again by two", "whose misses in a row are two");
}
