//! Ledgers on which vaults are dealt anew, owners are custodians, buyers post releases, and custodians keep silent.

use std::{vec, vec::Vec};

use super::{GOODS, World, Writer, account, list_on, opening, order_id, register, terms};
use crate::{
    amount::Amount,
    ledger::{
        Params, Status,
        tests::world::{node, params},
        transaction::Action,
    },
    time::Millis,
};

const FIRST: [u8; 3] = [11, 12, 13];
const NEXT: [u8; 3] = [12, 14, 15];
const ALL: [u8; 5] = [11, 12, 13, 14, 15];
const LISTING: u8 = 7;
const DELIVERY_MS: u64 = 3000;

pub(super) fn write(writer: &mut Writer) {
    market(writer);
    rotations(writer);
    sales(writer);
    own(writer);
    silence(writer);
}

/// A ledger with five nodes that have collateral, a vault of account 1 at three of them, and a listing.
fn market(writer: &mut Writer) {
    let params = Params {
        epoch_ms: Millis(1_000_000_000),
        delivery_ms: Millis(DELIVERY_MS),
        silence_penalty_bp: 300,
        ..params()
    };
    writer.genesis("a ledger on which vaults are dealt anew", World::with(params));
    let mut first: Vec<_> = [1, 2, 3].map(|who| writer.world.sign(who, Action::Faucet)).into();
    first.extend(ALL.map(|number| writer.world.sign(number, register(number, 4096))));
    first.extend(ALL.map(|number| writer.world.sign(3, stake(number))));
    let vault = writer.world.vault(1, 2, &FIRST);
    first.push(writer.world.sign(1, vault));
    first.push(writer.world.sign(1, listing(writer, LISTING, false)));
    writer.ok("a market", "five nodes with collateral, a vault at three, a listing", &first);
    let store = writer.world.deal_on(&terms(1, GOODS, 4, 50), &[11, 12, 14]);
    writer.act("the goods are stored", "three of four shards, and two suffice", 1, store);
    writer.cover(LISTING);
}

fn stake(number: u8) -> Action {
    Action::Stake { node: node(number), amount: Amount(1_000 + u128::from(number)) }
}

fn listing(writer: &Writer, number: u8, own_custodians: bool) -> Action {
    let mut terms = writer.terms(number, 10_000);
    terms.own_custodians = own_custodians;
    terms.preview_cells = 0;
    Action::List { opening: opening(number), terms: terms.into() }
}

fn rotations(writer: &mut Writer) {
    let good = writer.world.rotate(1, 2, &NEXT);
    let Action::RotateVault { vault, key, custodians } = good.clone() else { unreachable!() };
    let with = |key: &_, custodians: &[_]| {
        let (key, custodians) = (Clone::clone(key), custodians.to_vec());
        Action::RotateVault { vault, key, custodians }
    };
    let mut other = key.clone();
    other.commitments[0] = other.commitments[1];
    let why = "what is sealed to the vault would open no more";
    let other = with(&other, &custodians);
    writer.refuse(Status::BadField, "another public key", why, (1, other));
    let why = "two of two: one could keep the other from opening it";
    writer.refuse(Status::BadField, "too few custodians", why, (1, with(&key, &custodians[..2])));
    let mut turned = custodians.clone();
    turned.swap(0, 1);
    let why = "share indexes count from 1";
    writer.refuse(Status::BadField, "out of order", why, (1, with(&key, &turned)));
    let mut twice = custodians.clone();
    twice[2] = writer.world.accept_share((1, 1), &key, 3, 12);
    let why = "each has one share";
    writer.refuse(Status::BadField, "a custodian twice", why, (1, with(&key, &twice)));
    let mut forged = custodians.clone();
    forged[1].signature[9] ^= 1;
    let why = "node 14 has not said so";
    writer.refuse(Status::BadAcceptance, "forged acceptance", why, (1, with(&key, &forged)));
    let mut longer = custodians.clone();
    longer[1].expires_ms.0 += 1;
    let why = "node 14 keeps its share for a millisecond less";
    writer.refuse(Status::BadAcceptance, "a later end", why, (1, with(&key, &longer)));
    let mut strange = custodians.clone();
    strange[2] = writer.world.accept_share((1, 1), &key, 3, 16);
    let why = "node 16 is none";
    writer.refuse(Status::UnknownNode, "a stranger", why, (1, with(&key, &strange)));
    let none = writer.world.rotate(2, 2, &NEXT);
    let why = "account 2 has no vault";
    writer.refuse(Status::UnknownVault, "rotation of no vault", why, (2, none));
    writer.refuse(
        Status::BadAcceptance,
        "rotation by another",
        "they have agreed to account 1",
        (2, good.clone()),
    );
    // They agree to account 2, for the vault of account 1.
    let accept = |(index, number): (u8, &u8)| foreign(writer, &key, (index, *number));
    let foreign: Vec<_> = (1..).zip(&NEXT).map(accept).collect();
    let why = "the vault is account 1's";
    writer.refuse(Status::NotYours, "another's vault", why, (2, with(&key, &foreign)));
    let before = writer.world.now;
    writer.world.now = before + 60_001;
    let why = "its custodians need not have their shares any more";
    writer.refuse(Status::AcceptanceExpired, "a millisecond late", why, (1, good.clone()));
    writer.world.now = before;
    let late = writer.world.vault(2, 2, &FIRST);
    writer.world.now = before + 60_001;
    let why = "nor may it open another vault";
    writer.refuse(Status::AcceptanceExpired, "opened a millisecond late", why, (2, late));
    writer.world.now = before + 60_000;
    writer.act("the last millisecond", "nodes 12, 14 and 15 are custodians now", 1, good);
}

/// What a node says to account 2 of the vault of account 1.
fn foreign(
    writer: &Writer,
    key: &crate::custody::VaultKey,
    (index, number): (u8, u8),
) -> crate::custody::CustodyAcceptance {
    let vault = &crate::ledger::tests::seller::vault_id(1);
    let (chain, owner, of) = (&writer.world.id(), &account(2), &node(number));
    let terms = crate::custody::CustodyTerms { chain, vault, owner, key, index, node: of };
    let expires_ms = crate::time::LedgerTime(writer.world.now + 60_000);
    terms.accept(&crate::ledger::tests::world::key(number), expires_ms)
}

fn order(writer: &mut Writer, number: u8) {
    let order = writer.world.order(number, LISTING, 10_000);
    writer.act("an order", "its indexes are of the present dealing", 2, order);
}

fn post(writer: &mut Writer, name: &str, why: &str, (who, number, index): (u8, u8, u8)) {
    let release = writer.world.release(number, (2, 3), index);
    writer.act(name, why, who, release);
}

fn rotate(writer: &mut Writer, why: &str, nodes: &[u8]) {
    let rotation = writer.world.rotate(1, 2, nodes);
    writer.act("dealt anew", why, 1, rotation);
}

fn sales(writer: &mut Writer) {
    order(writer, 1);
    let stranger = writer.world.release(1, (2, 3), 1);
    let why = "neither the custodian nor the buyer";
    writer.refuse(Status::NotYours, "a release by the seller", why, (1, stranger.clone()));
    writer.refuse(Status::NotYours, "a release by a former custodian", why, (11, stranger));
    post(writer, "a release by its buyer", "it proves itself", (2, 1, 3));
    let again = writer.world.release(1, (2, 3), 3);
    let why = "the buyer has posted it";
    writer.refuse(Status::Exists, "the same by its custodian", why, (15, again));
    let old = writer.world.release(1, (2, 3), 1);
    rotate(writer, "while the order runs", &FIRST);
    let why = "its share is of another dealing";
    writer.refuse(Status::BadProof, "a release of before", why, (12, old));
    post(writer, "the first of the new dealing", "that of before is dropped", (11, 1, 1));
    post(writer, "the second one", "the order is delivered", (13, 1, 3));
    rotate(writer, "while the window runs", &NEXT);
    let late = writer.world.release(1, (2, 3), 2);
    writer.refuse(Status::TooLate, "a release after delivery", "two were enough", (14, late));
    let taken = writer.world.release(1, (2, 3), 3);
    let why = "one stands under this index";
    writer.refuse(Status::Exists, "under an index that has released", why, (15, taken));
    writer.world.now += 2000;
    writer.empty("settled", "nodes 11 and 13 have delivered it");
    acknowledged(writer);
}

fn acknowledged(writer: &mut Writer) {
    let named = |number, custodians| Action::Acknowledge { order: order_id(number), custodians };
    order(writer, 2);
    let why = "there are three";
    writer.refuse(Status::BadField, "custodian 4", why, (2, named(2, vec![4])));
    post(writer, "one of two releases", "by node 14", (14, 2, 2));
    rotate(writer, "to one custodian who stays alone", &[11, 12, 13]);
    let why = "no vault has 33";
    writer.refuse(Status::BadField, "custodian 33", why, (2, named(2, vec![2, 33])));
    writer.act(
        "named after a rotation",
        "only the one that has posted is known: node 14",
        2,
        named(2, vec![1, 2, 32]),
    );
    order(writer, 3);
    rotate(writer, "before a release", &NEXT);
    let why = "no custodian is known for the index: there is no custody fee";
    writer.act("named after a rotation", why, 2, named(3, vec![1]));
    order(writer, 4);
    let why = "nodes 12 and 15 are the present ones";
    writer.act("named without a rotation", why, 2, named(4, vec![1, 3]));
}

fn own(writer: &mut Writer) {
    let paid = |number, to: u8| {
        let mut action = register(number, 4096);
        let Action::RegisterNode { payout, .. } = &mut action else { unreachable!() };
        *payout = account(to);
        action
    };
    let mut run = register(14, 4096);
    let Action::RegisterNode { operator, .. } = &mut run else { unreachable!() };
    *operator = Some(account(1));
    let nodes = [
        writer.world.sign(14, run),
        writer.world.sign(15, paid(15, 1)),
        writer.world.sign(1, register(1, 4096)),
        writer.world.sign(2, register(2, 4096)),
    ];
    writer.ok("own nodes", "14 and 15 are run by account 1, which is a node too", &nodes);
    for (name, number) in [("as operator", 14), ("as its payout", 15), ("as its key", 1)] {
        let rotation = writer.world.rotate(1, 2, &[11, 12, number]);
        let why = "listings say that no custodian is the seller's own";
        writer.refuse(Status::BadField, name, why, (1, rotation));
    }
    let open = writer.world.vault(2, 2, &[11, 12, 2]);
    writer.act("an own custodian", "of account 2", 2, open);
    let said = |own_custodians| {
        let mut terms = crate::ledger::tests::seller::listing_terms_on(&writer.world.id(), 2, 5);
        (terms.own_custodians, terms.preview_cells) = (own_custodians, 0);
        Action::List { opening: opening(9), terms: terms.into() }
    };
    let [hidden, told] = [false, true].map(said);
    let why = "its buyers have to know";
    writer.refuse(Status::BadField, "listed without a word", why, (2, hidden.clone()));
    writer.act("listed in plain words", "the seller is one of three custodians", 2, told);
    for (name, nodes, ok) in [
        ("dealt to the same", [2, 11, 12], true),
        ("dealt to others", [11, 12, 13], true),
        ("dealt back", [2, 11, 12], false),
    ] {
        let rotation = writer.world.rotate(2, 2, &nodes);
        let why = "a vault without own custodians gets none any more";
        match ok {
            true => writer.act(name, "it had one before", 2, rotation),
            false => writer.refuse(Status::BadField, name, why, (2, rotation)),
        }
    }
    let Action::List { mut terms, .. } = hidden else { unreachable!() };
    let Action::List { terms: own, .. } = list_on(&writer.world.id(), 2, 10, 5) else {
        unreachable!()
    };
    terms.mandate = own.mandate;
    let later = Action::List { opening: opening(10), terms };
    writer.act("listed without a word", "and it is true now", 2, later);
    let more = listing(writer, 8, true);
    writer.act("listed with a word too many", "this is allowed", 1, more);
}

fn silence(writer: &mut Writer) {
    order(writer, 5);
    post(writer, "one of two releases", "by node 12", (12, 5, 1));
    writer.world.now += DELIVERY_MS;
    let why = "nodes 14 and 15 have kept silent, and lose three hundredths";
    writer.empty("refunded", why);
    order(writer, 6);
    let rotation = writer.world.rotate(1, 2, &[12, 14, 13]);
    let why = "the vault has no own custodian, and node 14 is one now";
    writer.refuse(Status::BadField, "an own custodian", why, (1, rotation));
    writer.world.now += 1;
    rotate(writer, "a millisecond after the order", &FIRST);
    post(writer, "one of two releases", "by node 11", (11, 6, 1));
    writer.world.now += DELIVERY_MS - 1;
    writer.empty("refunded", "no custodian had the whole time, so none pays");
    rotate(writer, "in the block of the next order", &FIRST);
    order(writer, 7);
    writer.world.now += DELIVERY_MS + 1000;
    let why = "the ledger stood still: custodians have the whole time once more";
    writer.empty("late", why);
    post(writer, "a release by the buyer", "it speaks for node 12", (2, 7, 2));
    let retire = writer.world.sign(13, Action::RetireNode);
    writer.ok("node 13 retires", "its collateral goes back", &[retire]);
    writer.world.now += DELIVERY_MS;
    writer.empty("refunded", "node 11 pays; node 13 has nothing left");
}
