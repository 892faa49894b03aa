//! Caretakers: care, claims, what they place, and their pay.

use std::{vec, vec::Vec};

use super::{World, Writer, account, deal_id, opening, register};
use crate::{
    amount::Amount,
    id::{NodeId, Opening, VaultId},
    ledger::{
        Params, Status,
        rows::{Access, Deals, HoldKey, Holds},
        state::StateExt,
        tests::world::{PRICE, fees, key, node, params, root, terms},
        transaction::{Acceptance, Action, CaredDeal, LostShard},
    },
    time::LedgerTime,
};

const NODES: [u8; 3] = [11, 12, 13];
/// The node that gets rebuilt shards, two caretakers, and a node that is none of these.
const SPARE: u8 = 14;
const FIRST: u8 = 15;
const SECOND: u8 = 16;
const STRANGER: u8 = 17;

/// A ledger with a running deal of three shards, two of which are required, and a vault.
fn running(writer: &mut Writer, why: &str, world: World, epochs: u64) {
    writer.genesis(why, world);
    let gifts = [1, 2].map(|who| writer.world.sign(who, Action::Faucet));
    writer.ok("a gift", "of play money for two owners", &gifts);
    if writer.world.genesis.params.fee_base > Amount::ZERO {
        let gifts = [11, 12, 13, 14, 15, 16, 17].map(|who| writer.world.sign(who, Action::Faucet));
        writer.ok("a gift", "to nodes, which pay fees", &gifts);
    }
    let nodes =
        [11, 12, 13, 14, 15, 16, 17].map(|who| writer.world.sign(who, register(who, 1 << 20)));
    writer.ok("seven nodes", "each of them a caretaker", &nodes);
    let vault = writer.world.vault(1, 2, &[11, 12, FIRST]);
    writer.act("a vault", "two of three custodians open it", 1, vault);
    let open = writer.world.deal(1, opening(4), &NODES, epochs);
    writer.act("a deal", "of three shards", 1, open);
}

/// What a care has that a case changes.
type Parts<'a> = (&'a mut VaultId, &'a mut Vec<NodeId>, &'a mut Vec<CaredDeal>);

/// A status, a name, and what is changed.
type Case<'a> = (Status, &'a str, fn(Parts<'_>));

fn care(writer: &Writer, change: fn(Parts<'_>)) -> Action {
    let mut action = writer.world.care(1, &[FIRST, SECOND], &[4]);
    let Action::SetCare { vault, caretakers, deals, .. } = &mut action else { unreachable!() };
    change((vault, caretakers, deals));
    action
}

/// No caretaker is named, and nothing is sealed.
fn taken_back(deal: u8) -> Action {
    Action::SetCare {
        vault: VaultId::of(&account(1), &opening(1)),
        caretakers: Vec::new(),
        spare: 0,
        fee: Amount::ZERO,
        price_max: Amount::ZERO,
        deals: vec![CaredDeal { opening: opening(deal), pads: Vec::new() }],
    }
}

pub(super) fn care_and_sleep(writer: &mut Writer) {
    cared(writer);
    slept(writer);
}

pub(super) fn claims(writer: &mut Writer) {
    claimed(writer);
    ended(writer);
}

fn cared(writer: &mut Writer) {
    running(writer, "a ledger for care", World::with(params()), 20);
    let cases: [Case<'_>; 11] = [
        (Status::BadField, "no caretaker", |care| care.1.clear()),
        (Status::BadField, "nine caretakers", |care| *care.1 = (11..20).map(node).collect()),
        (Status::BadField, "one caretaker twice", |care| care.1.push(care.1[0])),
        (Status::BadField, "no deal", |care| care.2.clear()),
        (Status::BadField, "one deal twice", |care| care.2.push(care.2[0].clone())),
        (Status::BadField, "too few pads", |care| care.2[0].pads.truncate(2)),
        (Status::BadField, "no pads", |care| care.2[0].pads.clear()),
        (Status::UnknownNode, "a caretaker that is no node", |care| care.1.push(node(99))),
        (Status::UnknownDeal, "a deal that is not there", |care| care.2[0].opening.0[0] ^= 1),
        (Status::UnknownVault, "a vault that is not there", |care| care.0.0[0] ^= 1),
        (Status::BadField, "a deal too many pads", |care| care.2[0].pads.push([7; 32])),
    ];
    for (status, name, change) in cases {
        let action = care(writer, change);
        writer.refuse(status, name, "the care of one deal", (1, action));
    }
    let many = |count: u8, pads: usize| {
        let deal = |number| CaredDeal { opening: Opening([number; 32]), pads: vec![[0; 32]; pads] };
        // None of them is there.
        (100..100 + count).map(deal).collect::<Vec<_>>()
    };
    for (name, deals) in [("65 deals", many(65, 1)), ("513 pads", many(27, 19))] {
        let mut action = care(writer, |_| {});
        let Action::SetCare { deals: of, .. } = &mut action else { unreachable!() };
        *of = deals;
        writer.refuse(Status::BadField, name, "at most 64 and 512", (1, action));
    }
    let vault = writer.world.vault(2, 1, &[11]);
    writer.act("another's vault", "it has one custodian", 2, vault);
    let strange = care(writer, |care| *care.0 = VaultId::of(&account(2), &opening(2)));
    writer.refuse(Status::NotYours, "care in another's vault", "of account 2", (1, strange));
    let good = care(writer, |_| {});
    writer.refuse(
        Status::UnknownDeal,
        "care by another",
        "its deals are others",
        (2, good.clone()),
    );
    writer.act("a node that repairs no more", "it registers so", SECOND, opted_out());
    let why = "each must have said that it repairs";
    writer.refuse(Status::NotCaretaker, "a node that does not repair", why, (1, good.clone()));
    writer.act("it repairs again", "it registers so", SECOND, register(SECOND, 1 << 20));
    writer.act("care", "of two caretakers", 1, good);
    let again = writer.world.care(1, &[FIRST], &[4]);
    writer.act("other care", "in the place of the first", 1, again);
    let mut open = terms(1, opening(5), 3, 5);
    open.access = Access::Public;
    let open = writer.world.deal_on(&open, &NODES);
    writer.act("a public deal", "its shards have no masks", 1, open);
    let public = writer.world.care(1, &[FIRST], &[5]);
    writer.refuse(
        Status::BadField,
        "care of a public deal",
        "there is nothing to seal",
        (1, public),
    );
    writer.act("care of it taken back", "there was none", 1, taken_back(5));
    writer.act("the deal is ended", "by its owner", 1, Action::EndDeal { deal: deal_id(4) });
    let late = care(writer, |_| {});
    writer.refuse(Status::DealClosed, "care of a deal that is over", "it is too late", (1, late));
}

fn opted_out() -> Action {
    let mut action = register(SECOND, 1 << 20);
    let Action::RegisterNode { caretaker, .. } = &mut action else { unreachable!() };
    *caretaker = false;
    action
}

fn declare(index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(4), index }] }
}

fn placed(writer: &Writer, node: u8, price: Amount) -> Action {
    writer.world.place((1, opening(4)), &[(1, node)], (price, u64::MAX))
}

fn collect(shards: &[u8]) -> Action {
    Action::CollectRepair { deal: deal_id(4), shards: shards.to_vec() }
}

fn prove(writer: &mut Writer, nodes: &[u8]) {
    let mut proofs = Vec::new();
    for number in nodes {
        let proof = writer.world.prove(*number);
        proofs.push(writer.world.sign(*number, proof));
    }
    writer.ok("proofs", "of every node", &proofs);
}

/// The deal has care, runs, and has lost its second shard.
fn degraded(writer: &mut Writer) {
    let good = care(writer, |_| {});
    writer.act("care", "of two caretakers", 1, good);
    writer.next_epoch("the deal begins", "its shards join their tables");
    let early = writer.world.claim(FIRST, 4, &[1], &[0, 2]);
    writer.refuse(Status::WrongShards, "a claim before a loss", "all are kept", (FIRST, early));
    writer.act("a declared loss", "of the second shard", 12, declare(1));
    prove(writer, &NODES);
    writer.next_epoch("the shard leaves", "its node has no table");
}

fn claim(writer: &Writer, who: u8, rebuild: &[u8], read: &[u8]) -> Action {
    writer.world.claim(who, 4, rebuild, read)
}

fn claimed(writer: &mut Writer) {
    running(writer, "a ledger for claims", World::with(params()), 20);
    let bare = claim(writer, FIRST, &[1], &[0, 2]);
    writer.refuse(Status::NotCaretaker, "no care", "the owner named none", (FIRST, bare));
    degraded(writer);
    wrong_shards(writer);
    wrong_senders(writer);
    placing(writer);
    collecting(writer);
}

fn wrong_shards(writer: &mut Writer) {
    let fields: [(&str, &[u8], &[u8]); 6] = [
        ("nothing to rebuild", &[], &[0, 2]),
        ("nothing to read", &[1], &[]),
        ("a lost shard twice", &[1, 1], &[0, 2]),
        ("a kept shard twice", &[1], &[0, 0]),
        ("not in order", &[1], &[2, 0]),
        ("a lost shard to read", &[1], &[0, 1]),
    ];
    for (name, rebuild, read) in fields {
        let action = claim(writer, FIRST, rebuild, read);
        writer.refuse(Status::BadField, name, "fields of a claim", (FIRST, action));
    }
    let many: Vec<u8> = (3..68).collect();
    let action = claim(writer, FIRST, &many, &[0, 2]);
    writer.refuse(Status::BadField, "65 to rebuild", "64 at most", (FIRST, action));
    let wrong: [(&str, &[u8], &[u8]); 5] = [
        ("a kept shard to rebuild", &[0], &[1, 2]),
        ("too few to read", &[1], &[0]),
        ("too many to read", &[1], &[0, 2, 3]),
        ("no such shard to rebuild", &[1, 3], &[0, 2]),
        ("no such shard to read", &[1], &[0, 3]),
    ];
    for (name, rebuild, read) in wrong {
        let action = claim(writer, FIRST, rebuild, read);
        writer.refuse(Status::WrongShards, name, "shards of a claim", (FIRST, action));
    }
}

fn wrong_senders(writer: &mut Writer) {
    let others = claim(writer, SECOND, &[1], &[0, 2]);
    writer.refuse(
        Status::BadProof,
        "another's delivery key",
        "it is bound to its maker",
        (FIRST, others),
    );
    let owners = claim(writer, 1, &[1], &[0, 2]);
    writer.refuse(Status::UnknownNode, "a claim by the owner", "not a node", (1, owners));
    let strange = claim(writer, STRANGER, &[1], &[0, 2]);
    writer.refuse(Status::NotCaretaker, "a claim by a stranger", "not named", (STRANGER, strange));
    let good = claim(writer, FIRST, &[1], &[0, 2]);
    let Action::ClaimRepair { rebuild, read, delivery, .. } = good else { unreachable!() };
    let context = crate::custody::claim_context(&writer.world.id(), &deal_id(9), &node(FIRST));
    let secret = crate::custody::DeliverySecret::from_seed(&[1; 32]);
    let key_of_none = crate::custody::DeliveryKey::make(&secret, &context, &[3; 32]);
    let none = |delivery| Action::ClaimRepair {
        deal: deal_id(9),
        rebuild: rebuild.clone(),
        read: read.clone(),
        delivery,
    };
    writer.refuse(
        Status::BadProof,
        "the key of another claim",
        "another deal",
        (FIRST, none(delivery)),
    );
    let action = none(key_of_none);
    writer.refuse(Status::UnknownDeal, "a claim of no deal", "it is not there", (FIRST, action));
}

fn placing(writer: &mut Writer) {
    let good = claim(writer, FIRST, &[1], &[0, 2]);
    let early = placed(writer, SPARE, PRICE);
    writer.refuse(
        Status::NotYours,
        "placed before the claim",
        "nothing is claimed",
        (FIRST, early),
    );
    writer.act("a claim", "its fee is locked", FIRST, good.clone());
    let second = claim(writer, SECOND, &[1], &[0, 2]);
    writer.refuse(Status::TooEarly, "a second claim", "one runs", (SECOND, second));
    writer.refuse(Status::TooEarly, "the same claim again", "it runs", (FIRST, good));
    let action = placed(writer, SPARE, PRICE);
    writer.refuse(Status::NotYours, "placed by another", "not its claim", (SECOND, action));
    let kept = writer.world.place((1, opening(4)), &[(0, SPARE)], (PRICE, u64::MAX));
    writer.refuse(Status::NotYours, "another shard placed", "not in its claim", (FIRST, kept));
    let own = placed(writer, FIRST, PRICE);
    writer.refuse(Status::NotCaretaker, "placed on itself", "it has read the others", (FIRST, own));
    let dear = placed(writer, SPARE, Amount(PRICE.0 + 1));
    writer.refuse(
        Status::TermsChanged,
        "placed too dearly",
        "above the owner's limit",
        (FIRST, dear),
    );
    let garbage = garbage(writer);
    writer.refuse(Status::BadAcceptance, "garbage placed", "another root", (FIRST, garbage));
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "the reserve pays the new node", FIRST, action.clone());
    writer.refuse(Status::NotYours, "placed again", "the claim is done", (FIRST, action));
}

fn collecting(writer: &mut Writer) {
    writer.refuse(Status::BadField, "nothing to collect", "one at least", (FIRST, collect(&[])));
    writer.refuse(
        Status::BadField,
        "collected twice at once",
        "each once",
        (FIRST, collect(&[1, 1])),
    );
    writer.refuse(Status::UnknownNode, "collected by the owner", "not a node", (1, collect(&[1])));
    writer.refuse(
        Status::NotYours,
        "collected by another",
        "not its work",
        (SECOND, collect(&[1])),
    );
    writer.refuse(
        Status::NotYours,
        "collected for more",
        "shard 2 was kept",
        (FIRST, collect(&[1, 2])),
    );
    writer.refuse(
        Status::TooEarly,
        "collected before the proof",
        "placed now",
        (FIRST, collect(&[1])),
    );
    let none = Action::CollectRepair { deal: deal_id(9), shards: vec![1] };
    writer.refuse(Status::UnknownDeal, "collected of no deal", "it is not there", (FIRST, none));
    writer.next_epoch("the new node begins", "it has a window");
    writer.refuse(
        Status::TooEarly,
        "still not proven",
        "its window is open",
        (FIRST, collect(&[1])),
    );
    prove(writer, &[11, 13, SPARE]);
    writer.act("collected", "the new node has proven", FIRST, collect(&[1]));
    writer.refuse(Status::NotYours, "collected again", "it is paid", (FIRST, collect(&[1])));
}

fn garbage(writer: &Writer) -> Action {
    let terms = terms(1, opening(4), 3, 1);
    let shard = (1, root(&deal_id(4), 0, 1024));
    let price = (PRICE, u64::MAX);
    let chain = writer.world.id();
    let accepted = Acceptance::build(&chain, &terms, &key(SPARE), shard, price, LedgerTime::NEVER);
    Action::PlaceShards { terms, acceptances: vec![accepted], cost_max: Amount::ZERO }
}

/// Claims that end without their shards, and shards that are lost again.
fn slept(writer: &mut Writer) {
    running(writer, "a ledger for claims that end", World::with(fees()), 20);
    degraded(writer);
    let first = writer.world.claim(FIRST, 4, &[1], &[0, 2]);
    writer.act("a claim", "nothing follows", FIRST, first.clone());
    writer.act("care taken back", "its deposit comes back", 1, taken_back(4));
    writer.act("taken back twice", "there is nothing left", 1, taken_back(4));
    let without = placed(writer, SPARE, PRICE);
    writer.refuse(Status::NotYours, "placed without care", "it was taken back", (FIRST, without));
    let no_care = writer.world.claim(SECOND, 4, &[1], &[0, 2]);
    let why = "a claim without care";
    writer.refuse(Status::NotCaretaker, why, "it was taken back", (SECOND, no_care));
    let again = writer.world.care(1, &[FIRST, SECOND], &[4]);
    writer.act("care once more", "with a deposit", 1, again);
    let other = |writer: &Writer| writer.world.claim(SECOND, 4, &[1], &[0, 2]);
    for _ in 0..3 {
        let second = other(writer);
        writer.refuse(Status::TooEarly, "another's claim", "one runs", (SECOND, second));
        writer.next_epoch("epochs pass", "the claim ends with the third");
    }
    let late = placed(writer, SPARE, PRICE);
    writer.refuse(Status::NotYours, "placed too late", "the claim has ended", (FIRST, late));
    writer.refuse(
        Status::TooEarly,
        "the same node again",
        "others come first",
        (FIRST, first.clone()),
    );
    let second = writer.world.claim(SECOND, 4, &[1], &[0, 2]);
    writer.act("another claims", "the fee of the first is free", SECOND, second);
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "by the second", SECOND, action.clone());
    writer.refuse(Status::NotYours, "placed twice", "the claim is done", (SECOND, action));
    let again = other(writer);
    writer.refuse(Status::WrongShards, "a claim of what is kept", "it is placed", (SECOND, again));
    writer.refuse(Status::TooEarly, "collected too early", "not proven", (SECOND, collect(&[1])));
    writer.refuse(Status::NotYours, "collected by the first", "it slept", (FIRST, collect(&[1])));
    writer.act("lost again", "before it was proven", SPARE, declare(1));
    writer.refuse(
        Status::NotYours,
        "collected for what is lost",
        "no node has it",
        (SECOND, collect(&[1])),
    );
    let second = writer.world.claim(SECOND, 4, &[1], &[0, 2]);
    let why = "a shard that it placed was lost before its proof";
    writer.refuse(Status::TooEarly, "claimed once more", why, (SECOND, second));
    let first = writer.world.claim(FIRST, 4, &[1], &[0, 2]);
    writer.act("the first claims once more", "it is its turn", FIRST, first);
    let action = placed(writer, STRANGER, PRICE);
    writer.act("placed by the owner", "the fee is free again", 1, action);
    writer.refuse(
        Status::NotYours,
        "collected for the owner's",
        "no work of its own",
        (FIRST, collect(&[1])),
    );
    poor(writer);
}

fn poor(writer: &mut Writer) {
    // Neither the fee nor a node beyond what the reserve has.
    let mut poor = writer.world.care(1, &[FIRST, SECOND], &[4]);
    let Action::SetCare { fee, price_max, .. } = &mut poor else { unreachable!() };
    (*fee, *price_max) = (Amount(1 << 60), Amount(u128::MAX));
    writer.act("a fee beyond the reserve", "and any price", 1, poor);
    writer.act("lost once more", "it waited", STRANGER, declare(1));
    let claim = writer.world.claim(SECOND, 4, &[1], &[0, 2]);
    let why = "it does not have the fee";
    writer.refuse(Status::ReserveTooLow, "a reserve that is too low", why, (SECOND, claim.clone()));
    let mut fair = writer.world.care(1, &[FIRST, SECOND], &[4]);
    let Action::SetCare { price_max, .. } = &mut fair else { unreachable!() };
    *price_max = Amount(u128::MAX);
    writer.act("a fair fee", "and any price", 1, fair);
    writer.act("a claim", "the reserve has its fee", SECOND, claim);
    let rich = placed(writer, SPARE, Amount(1 << 60));
    let why = "it cannot pay this node";
    writer.refuse(Status::ReserveTooLow, "a node beyond the reserve", why, (SECOND, rich));
    let beyond = placed(writer, SPARE, Amount(1 << 127));
    writer.refuse(
        Status::Overflow,
        "a price beyond counting",
        "nothing can pay it",
        (SECOND, beyond),
    );
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "at a fair price", SECOND, action);
    writer.refuse(Status::NotYours, "for another's work", "not its own", (FIRST, collect(&[1])));
    let on =
        |writer: &Writer| writer.world.place((1, opening(4)), &[(1, STRANGER)], (PRICE, u64::MAX));
    let early = on(writer);
    writer.refuse(Status::TooEarly, "handed on too early", "its shard waits", (SPARE, early));
    writer.next_epoch("the new node begins", "with the shard");
    let action = on(writer);
    writer.act("handed on", "by the new node", SPARE, action);
    writer.next_epoch("the next node begins", "with the shard");
    writer.refuse(Status::TooEarly, "before its proof", "the next node's", (SECOND, collect(&[1])));
    prove(writer, &[11, 13, STRANGER]);
    writer.act("collected", "for the next node's proof", SECOND, collect(&[1]));
}

/// Deals that end with a claim, or with work that is not paid yet.
fn ended(writer: &mut Writer) {
    running(writer, "a ledger for deals that end", World::with(params()), 20);
    degraded(writer);
    let claim = writer.world.claim(FIRST, 4, &[1], &[0, 2]);
    writer.act("a claim", "of the second shard", FIRST, claim);
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "and not proven", FIRST, action);
    writer.refuse(Status::TooEarly, "not proven yet", "it waits", (FIRST, collect(&[1])));
    let moved = placed(writer, STRANGER, PRICE);
    writer.act("moved by the owner", "the caretaker is paid", 1, moved);
    writer.refuse(Status::NotYours, "paid already", "when it was moved", (FIRST, collect(&[1])));
    writer.act("one more is lost", "the third", 13, declare(2));
    let claim = writer.world.claim(FIRST, 4, &[2], &[0, 1]);
    writer.act("a claim", "of the third shard", FIRST, claim);
    let third = writer.world.place((1, opening(4)), &[(2, SPARE)], (PRICE, u64::MAX));
    writer.act("placed", "and not proven", FIRST, third);
    writer.act("one more is lost", "the first", 11, declare(0));
    let claim = writer.world.claim(SECOND, 4, &[0], &[1, 2]);
    writer.act("a claim", "while another waits for its pay", SECOND, claim);
    writer.act("the deal is ended", "by its owner", 1, Action::EndDeal { deal: deal_id(4) });
    writer.refuse(
        Status::NotYours,
        "collected after the end",
        "it is settled",
        (FIRST, collect(&[2])),
    );
    let claim = writer.world.claim(FIRST, 4, &[0], &[1, 2]);
    writer.refuse(Status::DealClosed, "claimed after the end", "it is over", (FIRST, claim));

    // No node dies of what is not proven here.
    let patient = Params { dead_after_epochs: 100, ..params() };
    running(writer, "a ledger for terms that end", World::with(patient), 6);
    degraded(writer);
    let claim = writer.world.claim(FIRST, 4, &[1], &[0, 2]);
    writer.act("a claim", "of the second shard", FIRST, claim);
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "its node will prove", FIRST, action);
    writer.next_epoch("the new node begins", "it has a window");
    prove(writer, &[11, 13, SPARE]);
    writer.act("one more is lost", "the first", 11, declare(0));
    let claim = writer.world.claim(SECOND, 4, &[0], &[1, 2]);
    writer.act("a claim", "nothing follows", SECOND, claim);
    let end = writer.world.state.get(Deals, &deal_id(4)).unwrap().end;
    while writer.world.chain().epoch < end {
        writer.next_epoch("epochs pass", "until the term is over");
    }
    let claim = writer.world.claim(FIRST, 4, &[0], &[1, 2]);
    writer.refuse(Status::DealClosed, "claimed too late", "the term is over", (FIRST, claim));
}

/// Caretakers whose rebuilt shards are lost before their proof, and when they may claim again.
pub(super) fn resting(writer: &mut Writer) {
    let patient = || World::with(Params { dead_after_epochs: 100, ..params() });
    let claim = |writer: &Writer, who, rebuild: u8, read: [u8; 2]| {
        writer.world.claim(who, 4, &[rebuild], &read)
    };
    let begin = |writer: &mut Writer, why: &str| {
        running(writer, why, patient(), 30);
        degraded(writer);
        let first = claim(writer, FIRST, 1, [0, 2]);
        writer.act("a claim", "of the second shard", FIRST, first);
        let action = placed(writer, SPARE, PRICE);
        writer.act("placed", "it waits for its proof", FIRST, action);
        writer.act("one more is lost", "the third", 13, declare(2));
        let third = claim(writer, FIRST, 2, [0, 1]);
        writer.act("a claim", "what it placed before still stands", FIRST, third);
        let third = writer.world.place((1, opening(4)), &[(2, STRANGER)], (PRICE, u64::MAX));
        writer.act("placed", "the third", FIRST, third);
        writer.act("lost again", "before its proof", SPARE, declare(1));
    };
    begin(writer, "a ledger for a caretaker that rests");
    for epochs in ["the epoch of the loss", "one epoch later", "two epochs later"] {
        let again = claim(writer, FIRST, 1, [0, 2]);
        writer.refuse(Status::TooEarly, "it claims again", epochs, (FIRST, again));
        writer.next_epoch("epochs pass", "it rests for as many as a claim runs");
    }
    let again = claim(writer, FIRST, 1, [0, 2]);
    let told = writer.world.clone().act(FIRST, again.clone());
    if told == Status::TooEarly {
        // A shard that waits is lost with the epoch from which it was to be kept.
        writer.refuse(Status::TooEarly, "it claims again", "three epochs later", (FIRST, again));
        writer.next_epoch("epochs pass", "it rests for as many as a claim runs");
    }
    let again = claim(writer, FIRST, 1, [0, 2]);
    writer.act("it claims again", "it has rested", FIRST, again);

    begin(writer, "a ledger for a shard that has a node again");
    let second = claim(writer, SECOND, 1, [0, 2]);
    writer.act("another claims", "it is its turn", SECOND, second);
    writer.next_epoch("an epoch passes", "the claim runs");
    let action = placed(writer, SPARE, PRICE);
    writer.act("placed", "by the other one", SECOND, action);
    writer.act("one more is lost", "the first", 11, declare(0));
    let first = claim(writer, FIRST, 0, [1, 2]);
    writer.act("the first claims again", "the shard has a node", FIRST, first);
}

/// A deal of five shards, of which three are required, with a caretaker that keeps one of them.
pub(super) fn edges(writer: &mut Writer) {
    let patient = Params { dead_after_epochs: 100, ..params() };
    writer.genesis("a ledger for who may claim, and when", World::with(patient));
    writer.act("a gift", "of play money", 1, Action::Faucet);
    let nodes: Vec<_> =
        (11..20).map(|who| writer.world.sign(who, register(who, 1 << 20))).collect();
    writer.ok("a gift", "of nine nodes", &nodes);
    let both =
        [writer.world.vault(1, 2, &[11, 12, FIRST]), writer.world.vault_as((1, 2), 1, &[17])];
    for vault in both {
        writer.act("a gift", "of a vault", 1, vault);
    }
    let open = writer.world.deal(1, opening(4), &[11, 12, 13, 14, 18], 12);
    writer.act("a deal", "of five shards", 1, open);
    let care = caring(writer, 0, 2, 1);
    writer.act("care", "of three caretakers", 1, care);
    writer.next_epoch("the deal begins", "its shards join their tables");
    writer.act("a declared loss", "of the second shard", 12, declare(1));
    let early = claim(writer, SECOND, &[1], &[0, 2, 3]);
    let why = "one more may be lost";
    writer.refuse(Status::TooEarly, "a shard to spare", why, (SECOND, early.clone()));
    let care = caring(writer, 1, 2, 1);
    writer.act("earlier care", "with one shard to spare", 1, care);
    let own = claim(writer, 11, &[1], &[0, 2, 3]);
    writer.refuse(Status::NotCaretaker, "one that keeps a shard", "of this deal", (11, own));
    let care = caring(writer, 1, 2, 2);
    writer.act("care in another vault", "it has one custodian", 1, care);
    let alone = claim(writer, 17, &[1], &[0, 2, 3]);
    writer.refuse(Status::NotCaretaker, "one that opens the vault", "alone", (17, alone));
    writer.act("it repairs no more", "it registers so", SECOND, opted_out());
    let why = "it said that it does not";
    writer.refuse(Status::NotCaretaker, "one that does not repair", why, (SECOND, early.clone()));
    writer.act("it repairs again", "it registers so", SECOND, register(SECOND, 1 << 20));
    two_at_once(writer);
    rests(writer);
}

/// Care by account 1 in its vault of this opening.
fn caring(writer: &Writer, spare_shards: u8, price: u128, chosen: u8) -> Action {
    let mut action = writer.world.care(1, &[11, SECOND, 17], &[4]);
    let Action::SetCare { vault, spare, fee, .. } = &mut action else { unreachable!() };
    *vault = VaultId::of(&account(1), &opening(chosen));
    (*spare, *fee) = (spare_shards, Amount(price));
    action
}

/// Two shards of one claim: the owner moves one of them, and places one that is not claimed.
fn two_at_once(writer: &mut Writer) {
    writer.act("one more is lost", "the third", 13, declare(2));
    let both = claim(writer, SECOND, &[1, 2], &[0, 3, 4]);
    writer.act("a claim of two", "two fees are locked", SECOND, both);
    let kept = writer.world.place((1, opening(4)), &[(3, 14)], (PRICE, u64::MAX));
    writer.act("other terms", "of a shard that is not claimed", 1, kept);
    let placed =
        writer.world.place((1, opening(4)), &[(1, SPARE_TWO), (2, FIRST)], (PRICE, u64::MAX));
    writer.act("both are placed", "in one transaction", SECOND, placed);
    let two = (SECOND, collect(&[1, 2]));
    writer.refuse(Status::TooEarly, "collected too early", "for both", two);
    let moved = writer.world.place((1, opening(4)), &[(2, 12)], (PRICE, u64::MAX));
    writer.act("one is moved", "it is paid now", 1, moved);
    let two = (SECOND, collect(&[1, 2]));
    writer.refuse(Status::NotYours, "collected for both", "one is paid", two);
    writer.next_epoch("the new nodes begin", "they have windows");
    prove(writer, &[SPARE_TWO]);
    writer.act("collected", "for the other", SECOND, collect(&[1]));
}

/// The node that takes the second shard.
const SPARE_TWO: u8 = 19;

/// A claim that takes the whole reserve, ends, and may be made again only some time later.
fn rests(writer: &mut Writer) {
    writer.act("one is lost", "the second", SPARE_TWO, declare(1));
    let deal = HoldKey::Deal { deal: deal_id(4) };
    let held = writer.world.state.get(Holds, &deal).unwrap().amount.0;
    let care = caring(writer, 1, held + 1, 1);
    writer.act("a fee beyond the reserve", "by one", 1, care);
    let again = |writer: &Writer| claim(writer, SECOND, &[1], &[0, 2, 4]);
    let action = again(writer);
    writer.refuse(Status::ReserveTooLow, "one too few", "for the fee", (SECOND, action));
    let care = caring(writer, 1, held, 1);
    writer.act("a fee as high as the reserve", "no less", 1, care);
    let action = again(writer);
    writer.act("a claim", "for the whole reserve", SECOND, action);
    for _ in 0..6 {
        let action = again(writer);
        writer.refuse(Status::TooEarly, "the same node again", "too soon", (SECOND, action));
        let other = claim(writer, 18, &[1], &[0, 2, 4]);
        writer.refuse(Status::NotCaretaker, "one that is not named", "ever", (18, other));
        writer.next_epoch("epochs pass", "three of them are another's");
    }
    let action = again(writer);
    writer.act("claimed again", "no other came", SECOND, action);
    let end = writer.world.state.get(Deals, &deal_id(4)).unwrap().end;
    while writer.world.chain().epoch + 1 < end {
        writer.next_epoch("epochs pass", "until one is left");
    }
    let late = claim(writer, 17, &[1], &[0, 2, 4]);
    let why = "no epoch is left to be paid for";
    writer.refuse(Status::DealClosed, "claimed too late", why, (17, late));
}
