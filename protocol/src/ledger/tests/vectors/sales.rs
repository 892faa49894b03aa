//! Ledgers at the edges of vaults, listings, orders, and of what falls due.

use std::{vec, vec::Vec};

use super::{
    LICENCE, World, Writer, account, deal_id, goods, listing_id, opening, order_id, public_ref,
    register, status_block,
};
use crate::{
    amount::Amount,
    content::MaskMode,
    grant::{Caveat, ability, market_audience},
    id::{Hash, LinkId, ObjectId, PeerId, VaultId},
    ledger::{
        Params, Status,
        params::WINDOW_MS_MAX,
        rows::{Split, Terms},
        tests::{
            seller::{link, listing_terms},
            world::{chain_id, params},
        },
        transaction::Action,
    },
    time::Millis,
};

const NODES: [u8; 3] = [11, 12, 13];
const LISTING: u8 = 7;

pub(super) fn write(writer: &mut Writer) {
    market(writer, "a ledger for vaults", World::new());
    vaults(writer);
    market(writer, "a ledger for listings", World::new());
    in_range(writer);
    out_of_range(writer);
    previews(writer);
    revoked(writer);
    market(writer, "a ledger for orders", World::new());
    orders(writer);
    acknowledged(writer);
    end_of_time(writer);
    owned(writer);
}

/// Another account sends first what it saw: with the same openings it gets other ids.
fn owned(writer: &mut Writer) {
    writer.genesis("a ledger for ids", World::new());
    let mut first: Vec<_> = [1, 2].map(|who| writer.world.sign(who, Action::Faucet)).into();
    first.extend(NODES.map(|number| writer.world.sign(number, register(number, 1 << 20))));
    writer.ok("two accounts", "and three nodes", &first);
    let theirs = "account 2 has seen the opening";
    let own = "it is account 1's all the same";
    for (who, why) in [(2, theirs), (1, own)] {
        let vault = writer.world.vault_as((who, 1), 2, &NODES);
        writer.act("a vault with opening 1", why, who, vault.clone());
        writer.refuse(Status::Exists, "the same vault", "it is open", (who, vault));
    }
    for (who, why) in [(2, theirs), (1, own)] {
        let open = writer.world.deal(who, opening(4), &NODES, 3);
        writer.act("a deal with opening 4", why, who, open);
    }
    let end = Action::EndDeal { deal: deal_id(4) };
    writer.refuse(Status::NotYours, "end of account 1's deal", "its id is of account 1", (2, end));
    for (who, why) in [(2, theirs), (1, own)] {
        let mut terms = listing_terms(who, 0);
        if who == 2 {
            relabel(&mut terms, who, 1);
        }
        let list = Action::List { opening: opening(7), terms: terms.into() };
        writer.act("a listing with opening 7", why, who, list);
    }
    let end = Action::EndListing { listing: listing_id(7) };
    writer.refuse(
        Status::NotYours,
        "end of account 1's listing",
        "its id is of account 1",
        (2, end),
    );
    writer.store(50);
    writer.cover(7);
    for (who, why) in [(1, "account 1 has seen the opening"), (2, "it is account 2's all the same")]
    {
        let order = writer.world.order_by(who, 1, listing_id(7), 0);
        writer.act("an order with opening 1", why, who, order);
    }
    let done = acknowledge(1);
    writer.refuse(Status::NotYours, "account 2's order", "its id is of account 2", (1, done));
}

/// Seals the capsule to the seller's vault with opening `number`.
fn relabel(terms: &mut Terms, seller: u8, number: u8) {
    terms.vault = VaultId::of(&account(seller), &opening(number));
    let root = &terms.manifest.content_root;
    let label = crate::custody::label(&chain_id(), &account(seller), &terms.vault, root);
    let secret = crate::custody::VaultSecret::from_seed(&[seller; 32]);
    (terms.capsule, _) = crate::custody::Capsule::seal(&secret, &label, &[5; 32]);
}

/// A ledger with two accounts that have money, three nodes, and a vault of account 1.
fn market(writer: &mut Writer, name: &str, world: World) {
    writer.genesis(name, world);
    let mut first: Vec<_> = [1, 2].map(|who| writer.world.sign(who, Action::Faucet)).into();
    first.extend(NODES.map(|number| writer.world.sign(number, register(number, 4096))));
    let vault = writer.world.vault(1, 2, &NODES);
    first.push(writer.world.sign(1, vault));
    writer.ok("a market", "two accounts, three nodes and a vault", &first);
}

fn vaults(writer: &mut Writer) {
    let again = writer.world.vault(1, 2, &NODES);
    writer.refuse(Status::Exists, "vault again", "its id is taken", (1, again));
    let strangers: Vec<u8> = (50..82).collect();
    let most = writer.world.vault(2, 16, &strangers);
    let why = "as many as can be, of which none is a node";
    writer.refuse(Status::UnknownNode, "32 custodians", why, (2, most.clone()));
    let Action::OpenVault { opening, key, custodians } = most else { unreachable!() };
    let mut more = custodians.clone();
    more.push(writer.world.accept_share((2, 2), &key, 33, 82));
    let more = Action::OpenVault { opening, key: key.clone(), custodians: more };
    writer.refuse(Status::BadField, "33 custodians", "one more than can be", (2, more));
    let of = |count: usize| {
        let (key, custodians) = (key.clone(), custodians[..count].to_vec());
        Action::OpenVault { opening, key, custodians }
    };
    let why = "16 commitments and 31 custodians";
    writer.refuse(Status::UnknownNode, "one more than half of them opens it", why, (2, of(31)));
    let why = "16 commitments and 30 custodians: 15 could keep the others from opening it";
    writer.refuse(Status::BadField, "more than half of them have to open it", why, (2, of(30)));
    let Action::OpenVault { opening, key, custodians } = writer.world.vault(2, 2, &NODES) else {
        unreachable!()
    };
    let twice = writer.world.accept_share((2, 2), &key, 2, 11);
    let twice = vec![custodians[0].clone(), twice, custodians[2].clone()];
    let twice = Action::OpenVault { opening, key, custodians: twice };
    writer.refuse(Status::BadField, "a custodian twice", "each has one share", (2, twice));
    let Action::RegisterNode { payout, addresses, price, capacity, .. } = register(14, 1) else {
        unreachable!()
    };
    let no_custody = Action::RegisterNode {
        payout,
        addresses,
        custody_key: None,
        operator: None,
        caretaker: false,
        price,
        capacity,
        agrees_until: 0,
        leaving: false,
    };
    writer.act("node without custody", "it has no key that shares are sealed to", 14, no_custody);
    let unkept = writer.world.vault(2, 1, &[14]);
    let why = "the node has no custody key";
    writer.refuse(Status::BadAcceptance, "custodian without custody", why, (2, unkept));
    let two = writer.world.vault(2, 2, &NODES);
    writer.act("vault that two open", "two of three", 2, two);
}

fn offer(change: impl FnOnce(&mut Terms)) -> Action {
    let mut terms = listing_terms(1, 10_007);
    change(&mut terms);
    Action::List { opening: opening(LISTING), terms: terms.into() }
}

/// With a mandate that does not verify: what is in its range is refused with this.
fn forged(change: impl FnOnce(&mut Terms)) -> Action {
    offer(|terms| {
        change(terms);
        terms.mandate.signature[0] ^= 1;
    })
}

/// A mandate of exactly so many bytes.
fn sized(bytes: usize) -> crate::grant::Link {
    let market = market_audience(&chain_id());
    let mut caveats = vec![
        Caveat::Object { object: ObjectId([1; 16]) },
        Caveat::Abilities { set: ability::READ },
    ];
    // 108 bytes of link, 17 and 3 of caveats, 33 for a purpose, 2 for each depth.
    if bytes % 2 == 1 {
        caveats.push(Caveat::Purpose { hash: Hash([1; 32]) });
    }
    let left = bytes - 108 - 20 - 33 * (bytes % 2);
    caveats.extend(vec![Caveat::Depth { links: 1 }; left / 2]);
    link(1, market, caveats)
}

fn split(share_bp: u16) -> Split {
    Split { account: account(30), share_bp }
}

fn in_range(writer: &mut Writer) {
    let why = "in its range, so that something else is wrong with it";
    let good = [
        ("title of a letter", forged(|terms| terms.title = "x".into())),
        ("title of 120 bytes", forged(|terms| terms.title = "x".repeat(120))),
        (
            "title with a space that is no control character",
            forged(|terms| {
                terms.title = "a\u{a0}b c".into();
            }),
        ),
        ("32 splits", forged(|terms| terms.splits = vec![split(1); 32])),
        ("splits of all", forged(|terms| terms.splits = vec![split(4000), split(6000)])),
        ("the shortest window", forged(|terms| terms.window_ms = Millis(1000))),
        ("the longest window", forged(|terms| long(terms, WINDOW_MS_MAX))),
        ("the shortest access", forged(|terms| terms.access_ms = Millis(8000))),
        ("access without end", forged(|terms| terms.access_ms = Millis(u64::MAX))),
        ("a bond above the price", forged(|terms| terms.bond = Amount(10_008))),
        (
            "the largest price",
            forged(|terms| (terms.price, terms.bond) = (Amount(u128::MAX), Amount(u128::MAX))),
        ),
        ("64 preview cells", forged(|terms| many_previews(terms, 64))),
        ("no preview cells", forged(|terms| terms.preview_cells = 0)),
    ];
    for (name, action) in good {
        writer.refuse(Status::BadProof, name, why, (1, action));
    }
    let mut largest = sized(512);
    largest.signature[0] ^= 1;
    let largest = offer(|terms| terms.mandate = largest);
    writer.refuse(Status::BadProof, "mandate of 512 bytes", why, (1, largest));
    let larger = offer(|terms| terms.mandate = sized(513));
    writer.refuse(Status::BadField, "mandate of 513 bytes", "one too many", (1, larger));
}

/// So long a window, and access that is long enough for it.
fn long(terms: &mut Terms, window_ms: Millis) {
    terms.window_ms = window_ms;
    terms.access_ms = window_ms.saturating_add(Millis(6000));
}

/// So many preview cells, of a manifest with more.
fn many_previews(terms: &mut Terms, count: u8) {
    terms.manifest.length = 65_520 * 64;
    terms.cells = 66;
    terms.preview_cells = count;
}

fn out_of_range(writer: &mut Writer) {
    let bad = [
        ("no title", offer(|terms| terms.title.clear())),
        ("title of 121 bytes", offer(|terms| terms.title = "x".repeat(121))),
        ("title with an escape", offer(|terms| terms.title = "a\u{1b}b".into())),
        ("title with a last low control", offer(|terms| terms.title = "a\u{1f}b".into())),
        ("title with a delete", offer(|terms| terms.title = "a\u{7f}b".into())),
        ("title with a last high control", offer(|terms| terms.title = "a\u{9f}b".into())),
        ("33 splits", offer(|terms| terms.splits = vec![split(1); 33])),
        ("split of nothing", offer(|terms| terms.splits.push(split(0)))),
        ("splits of more than all", offer(|terms| terms.splits = vec![split(4001), split(6000)])),
        ("a longer window", offer(|terms| long(terms, Millis(WINDOW_MS_MAX.0 + 1)))),
        ("no access", offer(|terms| terms.access_ms = Millis(0))),
        ("access a millisecond too short", offer(|terms| terms.access_ms = Millis(7999))),
        ("no bond", offer(|terms| terms.bond = Amount(0))),
        ("a bond below the price", offer(|terms| terms.bond = Amount(10_006))),
        (
            "a price whose bond cannot be computed",
            offer(|terms| {
                (terms.price, terms.bond) = (Amount(u128::MAX / 2), Amount(u128::MAX / 2));
            }),
        ),
        ("public content", offer(|terms| terms.manifest.mask = MaskMode::None)),
        ("other cells than the manifest's", offer(|terms| terms.cells = 3)),
        ("more preview cells than cells", offer(|terms| terms.preview_cells = 3)),
        ("65 preview cells", offer(|terms| many_previews(terms, 65))),
    ];
    for (name, action) in bad {
        writer.refuse(Status::BadField, name, "out of its range", (1, action));
    }
    let vault = writer.world.vault(2, 2, &NODES);
    writer.act("another's vault", "of account 2", 2, vault);
    let mut terms = listing_terms(1, 5);
    terms.vault = crate::ledger::tests::seller::vault_id(2);
    let label =
        crate::custody::label(&chain_id(), &account(1), &terms.vault, &terms.manifest.content_root);
    let secret = crate::custody::VaultSecret::from_seed(&[2; 32]);
    (terms.capsule, _) = crate::custody::Capsule::seal(&secret, &label, &[5; 32]);
    let theirs = Action::List { opening: opening(LISTING), terms: terms.into() };
    let why = "whose custodians would open it for others";
    writer.refuse(Status::NotYours, "under another's vault", why, (1, theirs));
}

fn previews(writer: &mut Writer) {
    let preview = |number| Action::Preview { listing: listing_id(number), preview: public_ref() };
    let both = [
        writer.world.sign(1, writer.list(LISTING, 10_007)),
        writer.world.sign(1, preview(LISTING)),
    ];
    let why = "the layer of the next tick picks the cells";
    status_block(writer, Status::TooEarly, "preview in the listing's block", why, &both);
    writer.ok("a listing", "its preview waits for the next tick", &both[..1]);
    let why = "its id is taken";
    writer.refuse(Status::Exists, "listed again", why, (1, writer.list(LISTING, 10_007)));
    let plain = 8;
    let mut terms = writer.terms(plain, 5);
    terms.preview_cells = 0;
    let action = Action::List { opening: opening(plain), terms: terms.into() };
    writer.act("a listing without preview", "it waits for nothing", 1, action);
    let why = "it has none";
    writer.refuse(Status::BadField, "preview of none", why, (1, preview(plain)));
    let unknown = 9;
    let why = "there is no such listing";
    writer.refuse(Status::UnknownListing, "preview of no listing", why, (1, preview(unknown)));
    let end = |number| Action::EndListing { listing: listing_id(number) };
    writer.refuse(Status::UnknownListing, "end of no listing", why, (1, end(unknown)));
    writer.refuse(Status::NotYours, "end by a stranger", "only its seller may", (2, end(plain)));
    writer.act("ended", "by its seller", 1, end(plain));
    writer.refuse(Status::ListingEnded, "ended again", "it has ended", (1, end(plain)));
    let waits = 10;
    let second = writer.list(waits, 5);
    writer.act("the file once more", "both wait for a draw", 1, second);
    writer.world.now += 10;
    writer.empty("one draw for both", "both show the same cells");
    let posted = preview(waits);
    writer.refuse(Status::NotYours, "another's preview", "only its seller may", (2, posted));
    writer.act("ended as well", "the bond comes back", 1, end(waits));
    writer.act("the file a third time", "its cells are drawn at once", 1, writer.list(11, 5));
    writer.act("and ended", "the bond comes back", 1, end(11));
    let mut terms = writer.terms(12, 5);
    terms.preview_cells = 0;
    let action = Action::List { opening: opening(12), terms: terms.into() };
    writer.act("a drawn file without preview", "no cells are shown", 1, action);
    let terms = writer.terms(13, 5);
    let action = Action::List { opening: opening(12), terms: terms.into() };
    let why = "under a mandate of its own, but its id is taken";
    writer.refuse(Status::Exists, "listed under a known id", why, (1, action));
    writer.act("ended, too", "the bond comes back", 1, end(12));
}

fn revoked(writer: &mut Writer) {
    let terms = writer.terms(LISTING, 10_007);
    let link = crate::grant::mandate_id(&chain_id(), &account(1), &terms.mandate);
    let bound = |writer: &mut Writer, why: &str| {
        let name = "a mandate taken back";
        writer.refuse(Status::SaleBinds, name, why, (1, revoke(link)));
        let end = Action::EndDeal { deal: goods() };
        writer.refuse(Status::SaleBinds, "a sold deal ended", why, (1, end));
    };
    writer.act("revoked by a stranger", "who is not above the link", 2, revoke(link));
    writer.store(50);
    writer.cover(LISTING);
    let order = writer.world.order(1, LISTING, 10_007);
    writer.act("order all the same", "the revocation does not count", 2, order);
    bound(writer, "the listing takes orders");
    let end = Action::EndListing { listing: listing_id(LISTING) };
    writer.act("no more orders", "the bond stays: an order is open", 1, end);
    bound(writer, "an order is open");
    let until = writer.world.now + 300_000;
    writer.act("acknowledged", "the bond comes back", 2, acknowledge(1));
    bound(writer, "the access of the buyer runs");
    writer.world.now = until - 1;
    bound(writer, "it runs for a millisecond more");
    writer.world.now += 1;
    writer.act("mandate revoked", "no sale needs it any more", 1, revoke(link));
    let end = Action::EndDeal { deal: goods() };
    writer.act("the deal ended", "nothing binds it", 1, end);
    let again = Action::List { opening: opening(9), terms: terms.into() };
    let why = "the mandate is dead";
    writer.refuse(Status::BadProof, "listed under a dead mandate", why, (1, again));
}

/// A mandate has no end.
fn revoke(link: LinkId) -> Action {
    Action::Revoke { link, until_ms: None }
}

fn orders(writer: &mut Writer) {
    writer.act("for sale", "at 10,007 units", 1, writer.list(LISTING, 10_007));
    writer.store(50);
    writer.cover(LISTING);
    let held = |writer: &Writer, holder: PeerId| {
        let Action::Order { opening, listing, delivery, listed_ms, price, licence, .. } =
            writer.world.order(1, LISTING, 10_007)
        else {
            unreachable!()
        };
        Action::Order { opening, listing, holder, delivery, listed_ms, price, licence }
    };
    let market = market_audience(&chain_id());
    let seller = PeerId::from(account(1));
    for (name, holder) in [("holder is the seller", seller), ("holder is no buyer", market)] {
        let order = held(writer, holder);
        let why = "no key stands twice in a grant";
        writer.refuse(Status::BadField, name, why, (2, order));
    }
    let unknown = writer.world.order(1, 9, 10_007);
    writer.refuse(
        Status::UnknownListing,
        "order of nothing",
        "no such listing",
        (2, unknown.clone()),
    );
    let Action::Order { opening, listing, delivery, listed_ms, price, licence, .. } = unknown
    else {
        unreachable!()
    };
    let for_none =
        Action::Order { opening, listing, holder: market, delivery, listed_ms, price, licence };
    let why = "whose holder is the audience of mandates: that is not looked at";
    writer.refuse(Status::UnknownListing, "order of nothing for no buyer", why, (2, for_none));
    let mut other = writer.world.order(1, LISTING, 10_007);
    if let Action::Order { licence, .. } = &mut other {
        *licence = Hash([LICENCE.0[0] ^ 1; 32]);
    }
    writer.refuse(Status::TermsChanged, "another licence", "the listing's differs", (2, other));
    let dear = 8;
    let why = "its bond is more than the seller has";
    let listed = writer.list(dear, 10_000_000_000);
    writer.refuse(Status::BalanceTooLow, "a bond too dear", why, (1, listed));
    writer.act("more money", "for the bond", 1, Action::Faucet);
    writer.act("dear", "as dear as a whole balance", 1, writer.list(dear, 10_000_000_000));
    writer.cover(dear);
    let order = writer.world.order(1, dear, 10_000_000_000);
    let one = Action::Transfer { to: account(1), amount: Amount(1) };
    let signed = [writer.world.sign(2, one), writer.world.sign(2, order.clone())];
    let why = "a unit is missing after the transfer before it";
    status_block(writer, Status::BalanceTooLow, "a unit short", why, &signed);
    writer.act("order for everything", "a whole balance", 2, order);
}

fn acknowledged(writer: &mut Writer) {
    let id = 1;
    let ack = |number, custodians| Action::Acknowledge { order: order_id(number), custodians };
    for (name, why, custodians) in [
        ("custodian 0", "they count from 1", vec![0]),
        ("custodian 4 of 3", "there are three", vec![1, 4]),
        ("custodian twice", "each is paid once", vec![2, 2]),
    ] {
        writer.refuse(Status::BadField, name, why, (2, ack(id, custodians)));
    }
    let none = 9;
    let why = "there is no such order";
    writer.refuse(Status::UnknownOrder, "no such order", why, (2, ack(none, vec![1])));
    let release = writer.world.release(id, (2, 3), 1);
    let Action::PostRelease { release: made, .. } = release.clone() else { unreachable!() };
    let lost = Action::PostRelease { order: order_id(none), release: made };
    writer.refuse(Status::UnknownOrder, "release for no order", why, (11, lost));
    writer.act("a release", "one of two", 11, release);
    let why = "custodians 2 and 3 are paid, though only 1 has posted";
    writer.act("acknowledged", why, 2, ack(id, vec![3, 2]));
    let late = writer.world.release(id, (2, 3), 2);
    writer.refuse(Status::OrderClosed, "release after it was settled", "it is over", (12, late));
}

/// A ledger whose time ends: sums of times stop at the largest one.
fn end_of_time(writer: &mut Writer) {
    let world = World::starting(params(), u64::MAX - 2000);
    market(writer, "a ledger at the end of time", world);
    let mut terms = writer.terms(LISTING, 0);
    terms.window_ms = Millis(5000);
    let action = Action::List { opening: opening(LISTING), terms: terms.into() };
    writer.act("listed late", "free", 1, action);
    writer.store(50);
    writer.cover(LISTING);
    for number in [1, 2] {
        let order = writer.world.order(number, LISTING, 0);
        writer.act("ordered late", "due at the end, and access for as long", 2, order);
    }
    for (index, number) in [(1, 11), (2, 12)] {
        let release = writer.world.release(1, (2, 3), index);
        writer.act("released late", "its window ends with time", number, release);
    }
    writer.world.now = u64::MAX;
    let why = "one order is settled and one refunded; an epoch ends";
    writer.empty("the last moment", why);
}

/// A ledger on which orders fall due.
pub(super) fn due(writer: &mut Writer) {
    standstill(writer, 3000, 1000);
    standstill(writer, 128_000, 2000);
    many(writer);
}

/// `late_ms` after an order was due, and no block between: the ledger stood still.
fn standstill(writer: &mut Writer, delivery_ms: u64, late_ms: u64) {
    let params =
        Params { delivery_ms: Millis(delivery_ms), epoch_ms: Millis(1_000_000_000), ..params() };
    market(writer, "a ledger that stands still", World::with(params));
    // From the order on: until it is due, late, and due once more.
    let access_ms = delivery_ms + late_ms + delivery_ms;
    writer.store(50);
    for (number, access_ms) in [(1, access_ms), (2, access_ms + 1)] {
        let mut terms = writer.terms(number, 3);
        terms.access_ms = Millis(access_ms);
        terms.window_ms = Millis(1000);
        terms.preview_cells = 0;
        let listing = number;
        writer.act(
            "listed",
            "with access for so long",
            1,
            Action::List { opening: opening(listing), terms: terms.into() },
        );
        writer.cover(listing);
    }
    let buy = |writer: &Writer, order: u8, listing: u8| writer.world.order(order, listing, 3);
    let both = [buy(writer, 1, 1), buy(writer, 2, 2)];
    let both = both.map(|order| writer.world.sign(2, order));
    writer.ok("two orders", "of one time, with access a millisecond apart", &both);
    writer.world.now += delivery_ms + late_ms;
    let why = "only the one whose access outlives it waits once more";
    writer.empty("late enough", why);
    closed(writer, 1);
    let again = buy(writer, 1, 1);
    let why = "its id is taken";
    writer.refuse(Status::Exists, "the refunded order again", why, (2, again));
    let release = writer.world.release(1, (2, 3), 1);
    let why = "its price has gone back";
    writer.refuse(Status::OrderClosed, "release after the refund", why, (11, release));
    let why = "it is open, and its buyer is account 2";
    writer.refuse(Status::NotYours, "the other order by its seller", why, (1, acknowledge(2)));
    writer.world.now += delivery_ms;
    writer.empty("late once more", "it was due now, and the ledger ran");
    closed(writer, 2);

    let order = buy(writer, 3, 2);
    writer.act("a third order", "for the next time", 2, order);
    writer.world.now += delivery_ms + late_ms - 1;
    writer.empty("not late enough", "it is refunded");
    closed(writer, 3);
    let order = buy(writer, 4, 2);
    writer.act("a fourth order", "released in time", 2, order);
    released(writer, 4);
    writer.world.now += 1000 + late_ms;
    writer.empty("a window over", "a standstill makes no window longer");
    closed(writer, 4);
}

/// Two of three custodians release; a release twice and a third one are refused.
fn released(writer: &mut Writer, order: u8) {
    for (index, number) in [(1, 11), (2, 12)] {
        let release = writer.world.release(order, (2, 3), index);
        writer.act("its release", "in time", number, release);
        if index == 1 {
            let again = writer.world.release(order, (2, 3), index);
            writer.refuse(Status::Exists, "its release again", "it stands", (number, again));
        }
    }
    let third = writer.world.release(order, (2, 3), 3);
    writer.refuse(Status::TooLate, "a third release", "two were enough", (13, third));
}

fn acknowledge(number: u8) -> Action {
    Action::Acknowledge { order: order_id(number), custodians: vec![] }
}

/// Shows that an order of account 2 is over.
fn closed(writer: &mut Writer, number: u8) {
    let why = "the block before closed the order";
    writer.refuse(Status::OrderClosed, "nothing to acknowledge", why, (2, acknowledge(number)));
}

/// More orders than a block closes.
fn many(writer: &mut Writer) {
    let params = Params { epoch_ms: Millis(1_000_000_000), ..params() };
    market(writer, "a ledger with many orders", World::with(params));
    let mut terms = writer.terms(LISTING, 0);
    terms.preview_cells = 0;
    terms.access_ms = Millis(1_000_000_000);
    let action = Action::List { opening: opening(LISTING), terms: terms.into() };
    writer.act("free for all", "nothing is paid", 1, action);
    writer.store(50);
    writer.cover(LISTING);
    let orders: Vec<_> = (0..102)
        .map(|number| {
            let order = writer.world.order(number, LISTING, 0);
            writer.world.sign(2, order)
        })
        .collect();
    writer.ok("102 orders", "all due at one time", &orders);
    writer.world.now += 3000;
    writer.empty("a hundred are closed", "two stay due");
    closed(writer, 99);
    let why = "it is open still, and its buyer is account 2";
    writer.refuse(Status::NotYours, "order 101 by its seller", why, (1, acknowledge(100)));
    writer.world.now += 5000;
    let why = "they were due at the block before: the ledger did not stand still";
    writer.empty("the other two", why);
    closed(writer, 100);
    closed(writer, 101);
}
