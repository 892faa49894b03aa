//! A ledger on which transactions cost something: each action with what it costs, and at the last unit.

use std::{vec, vec::Vec};

use super::{
    DEAL, LISTING, NODES, ORDER, World, Writer, account, covering, deal_id, listing_id, opening,
    public_ref, register, status_block, transfer,
};
use crate::{
    amount::Amount,
    id::{LinkId, OrderId, PeerId},
    ledger::{Params, Status, fee, kept_ms, tests::world::fees, transaction::Action},
    time::{LedgerTime, Millis},
};

const UNIT: u128 = 100_000;

pub(super) fn write(writer: &mut Writer) {
    let params = Params { epoch_ms: Millis(1_000_000), ..fees() };
    writer.genesis("a ledger on which transactions cost something", World::with(params));
    let who = [1, 2, 11, 12, 13];
    let first: Vec<_> = who.iter().map(|who| writer.world.sign(*who, Action::Faucet)).collect();
    writer.ok("faucet", "is free, also for accounts without money", &first);
    money(writer);
    storage(writer);
    market(writer);
    others(writer);
    leave(writer);
}

/// Brings an account to this balance, by a gift of account 2 or to it.
fn balance(writer: &mut Writer, who: u8, units: u128) {
    let cost = fee(&writer.world.genesis.params, &transfer(2, 1)).0;
    let mut has = writer.world.balance(who);
    if units < has && has <= units + cost {
        writer.act("a gift", "so that it can send some", 2, transfer(who, 2 * cost));
        has += 2 * cost;
    }
    if has < units {
        let gift = transfer(who, units - has);
        writer.act("a gift", "so that it has just this much", 2, gift);
    } else if units < has {
        let spent = transfer(2, has - units - cost);
        writer.act("money spent", "so that it has just this much", who, spent);
    }
}

/// An action that the account can pay for to the last unit, and not with one less.
fn to_the_unit(writer: &mut Writer, name: &str, who: u8, action: Action, more: u128) {
    let cost = fee(&writer.world.genesis.params, &action).0;
    balance(writer, who, cost - 1);
    let why = "one unit less than the fee";
    writer.refuse(Status::FeeNotCovered, name, why, (who, action.clone()));
    if 0 < more {
        balance(writer, who, cost + more - 1);
        let why = "one unit less than fee, deposit and what it moves";
        writer.refuse(Status::BalanceTooLow, name, why, (who, action.clone()));
    }
    balance(writer, who, cost + more);
    writer.act(name, "everything that it has", who, action);
    assert_eq!(writer.world.balance(who), 0, "{name}");
    balance(writer, who, 1_000_000_000);
}

fn money(writer: &mut Writer) {
    to_the_unit(writer, "transfer", 1, transfer(2, 5), 5);
    to_the_unit(writer, "transfer to a new account", 1, transfer(60, 5), 5 + UNIT);
    let forged = {
        let mut forged = writer.world.sign(61, transfer(2, 1));
        forged.signature = [0; 64];
        forged
    };
    let why = "before the fee, in the order of a block's rules";
    writer.no(Status::BadSignature, "forged and without a fee", why, &forged);
    let why = "before its fields";
    writer.refuse(Status::FeeNotCovered, "nothing from nothing", why, (61, transfer(2, 0)));
}

fn storage(writer: &mut Writer) {
    to_the_unit(writer, "a new node", 11, register(11, 4096), 5 * UNIT);
    to_the_unit(writer, "a node again", 11, register(11, 4097), UNIT);
    writer.act("its payout account", "gets its row", 2, transfer(111, 1));
    to_the_unit(writer, "a node once more", 11, register(11, 4098), 0);
    for number in [12, 13] {
        writer.act(
            "another node",
            "whose payout account has no row",
            number,
            register(number, 4096),
        );
    }
    let Action::OpenDeal { terms, acceptances, .. } =
        writer.world.deal(1, opening(DEAL), &NODES, 3)
    else {
        unreachable!()
    };
    let limited = |cost_max| Action::OpenDeal {
        terms: terms.clone(),
        acceptances: acceptances.clone(),
        cost_max: Amount(cost_max),
    };
    let all = fee(&writer.world.genesis.params, &limited(0)).0 + 7 * UNIT + 32;
    let why =
        "rate 9, storage 27, reserve 5, a fee, and a deposit of 7 units: one unit more than this";
    writer.refuse(Status::TermsChanged, "dearer than accepted", why, (1, limited(all - 1)));
    to_the_unit(writer, "a deal", 1, limited(all), 7 * UNIT + 32);
    writer.next_epoch("epoch 1", "the windows open");
    let proof = writer.world.prove(12);
    to_the_unit(writer, "a proof", 12, proof, 0);
    let end = Action::EndDeal { deal: deal_id(DEAL) };
    let cost = fee(&writer.world.genesis.params, &end).0;
    balance(writer, 1, cost - 1);
    let why = "one unit less than the fee";
    writer.refuse(Status::FeeNotCovered, "end of a deal", why, (1, end.clone()));
    writer.act("a gift", "of a unit", 2, transfer(1, 1));
    writer.act("end of a deal", "everything that it has", 1, end);
    balance(writer, 1, 1_000_000_000);
}

fn market(writer: &mut Writer) {
    let vault = writer.world.vault(1, 2, &NODES);
    to_the_unit(writer, "a vault", 1, vault, 4 * UNIT);
    let list = writer.list(LISTING, 10_007);
    let more = 8 * UNIT + 3 * UNIT + 10_007;
    let name = "a listing: its bond, the row of its draw, two new accounts in its split";
    to_the_unit(writer, name, 1, list, more);
    writer.store(2);
    to_the_unit(writer, "a cover", 1, covering(LISTING), 0);
    writer.world.now += 10;
    writer.empty("its cells are picked", "the tick of its preview comes");
    let preview = Action::Preview { listing: listing_id(LISTING), preview: public_ref() };
    to_the_unit(writer, "a preview", 1, preview, 0);
    let order = writer.world.order_by(12, ORDER, listing_id(LISTING), 10_007);
    let order_of_node = OrderId::of(&account(12), &opening(ORDER));
    balance(writer, 11, 1_000_000_000);
    to_the_unit(writer, "an order", 12, order, 4 * UNIT + 10_007);
    let release = writer.world.release_for(order_of_node, (2, 3), 1);
    to_the_unit(writer, "a release", 11, release, 0);
    let acknowledge = Action::Acknowledge { order: order_of_node, custodians: vec![1] };
    to_the_unit(writer, "an acknowledgement", 12, acknowledge, 0);
    writer.act("a gift", "to one of the split", 2, transfer(30, 1));
    let second = writer.list(8, 1);
    let name = "a second listing: its draw and the accounts of its split have rows";
    to_the_unit(writer, name, 1, second, 8 * UNIT + 1);
    end_listing(writer);
}

/// Its bond comes back, so that something is left.
fn end_listing(writer: &mut Writer) {
    let end = Action::EndListing { listing: listing_id(LISTING) };
    let cost = fee(&writer.world.genesis.params, &end).0;
    balance(writer, 1, cost - 1);
    let why = "one unit less than the fee";
    writer.refuse(Status::FeeNotCovered, "end of a listing", why, (1, end.clone()));
    balance(writer, 1, cost);
    writer.act("end of a listing", "everything that it has, and its bond comes back", 1, end);
    assert_eq!(writer.world.balance(1), 10_007);
    balance(writer, 1, 1_000_000_000);
}

fn others(writer: &mut Writer) {
    let until_ms = Some(LedgerTime(writer.world.now));
    let revoke = |number, until_ms| Action::Revoke { link: LinkId([number; 16]), until_ms };
    to_the_unit(writer, "a revocation", 1, revoke(1, until_ms), UNIT);
    writer.act("a revocation without an end", "its deposit stays", 1, revoke(2, None));
    let root = |expected_version| Action::SetRoot { expected_version, blob: vec![0; 4096] };
    to_the_unit(writer, "a first root record", 1, root(0), 8 * UNIT);
    to_the_unit(writer, "a second root record", 1, root(1), 0);
    to_the_unit(writer, "a revocation beside it", 1, revoke(3, None), UNIT);
    let until_ms = LedgerTime(writer.world.now + 10_000);
    let redeem = Action::Redeem { holder: PeerId([7; 32]), until_ms };
    to_the_unit(writer, "a redemption", 1, redeem, UNIT);
    // Two transactions of which only one can be paid.
    let cost = fee(&writer.world.genesis.params, &transfer(2, 1)).0;
    balance(writer, 13, 2 * cost + 1);
    let both = [1, 2].map(|units| writer.world.sign(13, transfer(2, units)));
    let why = "the first has left a unit too few for the second";
    status_block(writer, Status::BalanceTooLow, "two transfers", why, &both);
}

/// Everything that leaves gives its deposit back.
fn leave(writer: &mut Writer) {
    let kept = kept_ms(&writer.world.genesis.params).0;
    writer.world.now += kept + 1;
    writer.empty("the revocation leaves", "and gives a unit back");
    writer.world.now += kept;
    writer.empty("the order leaves", "and gives four units back to its buyer");
    writer.world.now += kept;
    writer.empty("the listing leaves", "and gives eight units back to its seller");
    while writer.world.chain().epoch < 105 {
        let due = crate::ledger::execute::next_due(&writer.world.state).unwrap();
        writer.world.now = due.0.max(writer.world.now);
        writer.empty("an epoch", "of a hundred after the end of the deal");
    }
    let bound = crate::ledger::sheet(&writer.world.state).unwrap().pools.deposits.0;
    // Three nodes, a vault, a listing, two revocations without an end, a root record.
    assert_eq!(bound, (12 + 4 + 8 + 2 + 8) * UNIT);
    assert_eq!(account(1), account(1));
}
