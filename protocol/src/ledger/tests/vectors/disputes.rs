//! Ledgers on which buyers complain: what is refused, what is dismissed, and every lie that is convicted.

use std::{vec, vec::Vec};

use super::{
    super::{
        evidence::{Evidence, KEEPERS, all_shards, goods_terms, sale_of, store_goods},
        world::params,
    },
    World, Writer, account, deal_id, listing_id, opening, order_id, register, transfer,
};
use crate::{
    amount::Amount,
    content::seal::{LeafParts, sealed_hash},
    custody::{Capsule, VaultSecret, listing_key, pad},
    dispute::{Complaint, KeyFault, goods::Goods},
    id::{DealId, Hash, OrderId},
    ledger::{
        Params, Status,
        rows::Terms,
        tests::seller::label_on,
        transaction::{Action, DealTerms, Transaction},
    },
};

pub(super) const PRICE: u128 = 10_007;
/// Two cells of 64 KiB, and two of 1 KiB behind them: the second one has nothing but padding.
const LENGTH: usize = 131_060;
pub(super) const KEY: [u8; 32] = [9; 32];
const NOTHING: Hash = Hash([1; 32]);

/// A complaint with a change to its fields.
macro_rules! but {
    ($complaint:expr, $kind:ident { $($field:ident),* }, $change:expr) => {{
        let mut complaint = $complaint;
        let Complaint::$kind { $($field,)* .. } = &mut complaint else { unreachable!() };
        $change;
        complaint
    }};
}
pub(super) use but;

/// Goods for sale, the deal that keeps them, and their listing.
pub(super) struct Sold {
    pub(super) goods: Goods,
    pub(super) deal: DealId,
    pub(super) listing: u8,
}

pub(super) fn write(writer: &mut Writer) {
    refused(writer);
    dismissed(writer);
    lies(writer);
}

pub(super) fn bonded(complaint_bond: u128) -> Params {
    Params { complaint_bond: Amount(complaint_bond), ..params() }
}

pub(super) fn honest() -> Goods {
    Goods::honest(LENGTH)
}

pub(super) fn spoilt(spoil: impl FnOnce(&mut Vec<LeafParts>)) -> Goods {
    Goods::spoilt(LENGTH, spoil)
}

/// A ledger with buyers, three nodes, and a vault of account 1.
pub(super) fn market(writer: &mut Writer, why: &str, params: Params) {
    market_on(writer, why, World::with(params));
}

pub(super) fn market_on(writer: &mut Writer, why: &str, world: World) {
    writer.genesis(why, world);
    let who = [1, 2, 3, 11, 12, 13];
    let mut first: Vec<_> = who.map(|who| writer.world.sign(who, Action::Faucet)).into();
    first.extend(KEEPERS.map(|number| writer.world.sign(number, register(number, 1 << 20))));
    let vault = writer.world.vault(1, 2, &KEEPERS);
    first.push(writer.world.sign(1, vault));
    writer.ok("a market", "three accounts, three nodes and a vault", &first);
}

/// Stores goods and lists them under a number.
pub(super) fn sell(writer: &mut Writer, why: &str, listing: u8, goods: Goods) -> Sold {
    sell_as(writer, why, listing, goods, |_, _| {})
}

/// The same, with a change to what is listed.
pub(super) fn sell_as(
    writer: &mut Writer,
    why: &str,
    listing: u8,
    goods: Goods,
    change: impl FnOnce(&World, &mut Terms),
) -> Sold {
    let world = &writer.world;
    let stored = goods_terms(1, &goods, opening(listing), 50);
    let deal = stored.deal();
    let mut terms = sale_of(world, (1, listing), &goods, (PRICE, KEY));
    change(world, &mut terms);
    let actions = [
        store_goods(world, &stored, &goods, &all_shards()),
        Action::List { opening: opening(listing), terms: terms.into() },
        Action::CoverListing { listing: listing_id(listing), first: 0, deals: vec![deal] },
    ];
    let signed = actions.map(|action| writer.world.sign(1, action));
    writer.ok("goods for sale", why, &signed);
    Sold { goods, deal, listing }
}

/// Order `number` of an account.
pub(super) fn order_of(who: u8, number: u8) -> OrderId {
    OrderId::of(&account(who), &opening(number))
}

impl Sold {
    pub(super) fn of<'a>(&'a self, writer: &'a Writer, who: u8) -> Evidence<'a> {
        let Self { goods, deal, listing } = self;
        let order = order_of(who, *listing);
        Evidence { world: &writer.world, goods, deal: *deal, listing: *listing, order }
    }

    pub(super) fn order(&self, writer: &mut Writer, who: u8) {
        let listing = listing_id(self.listing);
        let order = writer.world.order_by(who, self.listing, listing, PRICE);
        writer.act("ordered", "the price goes into escrow", who, order);
    }

    fn releases(&self, writer: &mut Writer, who: u8) -> Vec<Transaction> {
        let order = order_of(who, self.listing);
        let mut release = |(index, number)| {
            let release = writer.world.release_for(order, (2, 3), index);
            writer.world.sign(number, release)
        };
        [(1, 11), (2, 12)].map(&mut release).into()
    }

    /// Orders, and has the releases.
    pub(super) fn deliver(&self, writer: &mut Writer, who: u8) {
        self.order(writer, who);
        let both = self.releases(writer, who);
        writer.ok("delivered", "two custodians are enough", &both);
    }

    fn refuse(
        &self,
        writer: &mut Writer,
        expected: Status,
        (name, why): (&str, &str),
        complaint: Complaint,
    ) {
        let action = self.of(writer, 2).complaint(complaint);
        writer.refuse(expected, name, why, (2, action));
    }

    /// A complaint that is upheld: the listing cannot even be ended any more.
    fn convict(&self, writer: &mut Writer, complaint: impl FnOnce(&Evidence<'_>) -> Complaint) {
        let won =
            ("upheld", "the price comes back with half of the bond, and the listing is frozen");
        self.complain(writer, 2, won, complaint);
        let end = Action::EndListing { listing: listing_id(self.listing) };
        writer.refuse(Status::ListingEnded, "a frozen listing ended", "it is frozen", (1, end));
    }

    /// A complaint that is judged at once, or begins to wait for nodes.
    pub(super) fn complain(
        &self,
        writer: &mut Writer,
        who: u8,
        (name, why): (&str, &str),
        complaint: impl FnOnce(&Evidence<'_>) -> Complaint,
    ) {
        let evidence = self.of(writer, who);
        let action = evidence.complaint(complaint(&evidence));
        writer.act(name, why, who, action);
    }
}

/// Complaints that prove nothing, and those that come from another or at the wrong time.
fn refused(writer: &mut Writer) {
    market(writer, "a ledger for complaints that are refused", bonded(1_000));
    let deals = other_deals(writer);
    let sold = sell(writer, "by an honest seller", 7, honest());
    sold.order(writer, 2);
    let early = sold.of(writer, 2).bad_cell(2);
    sold.refuse(writer, Status::TooEarly, ("not delivered", "the buyer may wait"), early);
    let both = sold.releases(writer, 2);
    writer.ok("delivered", "two custodians are enough", &both);
    sold.deliver(writer, 3);
    let theirs = sold.of(writer, 3).complaint(sold.of(writer, 2).bad_cell(2));
    writer.refuse(Status::NotYours, "another's order", "only its buyer may", (2, theirs));
    let none = Evidence { order: order_id(9), ..sold.of(writer, 2) };
    let none = none.complaint(none.bad_cell(2));
    writer.refuse(Status::UnknownOrder, "no order", "there is no such order", (2, none));
    bad_keys(writer, &sold);
    bad_cells(writer, &sold);
    other_cells(writer, &sold, &deals);
    unavailable(writer, &sold, &deals);
    poor(writer, &sold);
    writer.world.now += 2_000;
    writer.empty("settled", "no complaint was upheld");
    let late = sold.of(writer, 2).bad_cell(2);
    sold.refuse(writer, Status::OrderClosed, ("too late", "the order is settled"), late);
}

fn bad_keys(writer: &mut Writer, sold: &Sold) {
    let of = sold.of(writer, 2);
    let file = || of.bad_key(KeyFault::File);
    let cell = |number| of.other_key_of(number);
    let mask = || of.other_mask();
    let leaf = |change: fn(&mut crate::dispute::LeafOpening)| {
        but!(cell(2), BadKey { fault }, {
            let KeyFault::Cell { leaf } = fault else { unreachable!() };
            change(leaf);
        })
    };
    let masks = |change: fn(&mut crate::dispute::MaskOpening)| {
        but!(mask(), BadKey { fault }, {
            let KeyFault::Mask { masks } = fault else { unreachable!() };
            change(masks);
        })
    };
    let shown_to_another = sold.of(writer, 3).bad_key(KeyFault::File);
    let bad = [
        ("another response", but!(file(), BadKey { shown }, shown.z[0] ^= 1)),
        ("another challenge", but!(file(), BadKey { shown }, shown.e[0] ^= 1)),
        ("another point", but!(file(), BadKey { shown }, shown.shared = [0; 32])),
        ("no point", but!(file(), BadKey { shown }, shown.shared = [0xff; 32])),
        ("a challenge that is not reduced", but!(file(), BadKey { shown }, shown.e = [0xff; 32])),
        ("a response that is not reduced", but!(file(), BadKey { shown }, shown.z = [0xff; 32])),
        ("shown for another order", shown_to_another),
        ("another leaf", leaf(|leaf| leaf.parts.key = NOTHING)),
        ("a leaf at another place", leaf(|leaf| leaf.cell = 3)),
        ("a leaf beyond the file", leaf(|leaf| leaf.cell = 4)),
        ("a path that is too short", leaf(|leaf| leaf.path.truncate(1))),
        ("a path that is too long", leaf(|leaf| leaf.path.push(NOTHING))),
        ("another mask", masks(|masks| masks.masks[0] = NOTHING)),
        ("a mask left out", masks(|masks| masks.masks.truncate(2))),
        ("masks of another segment", masks(|masks| masks.segment = 1)),
        ("masks and a path that is too long", masks(|masks| masks.path.push(NOTHING))),
    ];
    for (name, complaint) in bad {
        let why = "it says nothing about what was listed or delivered";
        sold.refuse(writer, Status::BadProof, (name, why), complaint);
    }
}

fn bad_cells(writer: &mut Writer, sold: &Sold) {
    let of = sold.of(writer, 2);
    let cell = || of.bad_cell(2);
    let sealed_elsewhere = of.goods.sealed(3);
    let bad = [
        ("another key", but!(cell(), BadCell { key }, key[0] ^= 1)),
        ("another sealed cell", but!(cell(), BadCell { sealed }, sealed[0] ^= 1)),
        ("the cell beside it", but!(cell(), BadCell { sealed }, *sealed = sealed_elsewhere)),
        ("a byte left out", but!(cell(), BadCell { sealed }, sealed.truncate(1023))),
        ("another leaf", but!(cell(), BadCell { leaf }, leaf.parts.plain = NOTHING)),
        ("another path", but!(cell(), BadCell { leaf }, leaf.path[1] = NOTHING)),
    ];
    for (name, complaint) in bad {
        let why = "it is not what was listed";
        sold.refuse(writer, Status::BadProof, (name, why), complaint);
    }
}

/// Deals that a complaint about this file cannot be about.
struct OtherDeals {
    bad: Vec<(&'static str, DealId)>,
    ended: DealId,
}

fn other_deals(writer: &mut Writer) -> OtherDeals {
    let goods = honest();
    let terms = |owner, number| goods_terms(owner, &goods, opening(number), 50);
    let mut object = terms(1, 52);
    object.object.0[0] ^= 1;
    let few: [(u8, u8); 2] = [(1, 12), (2, 13)];
    let four = [(0, 11), (1, 12), (2, 13)];
    let all = all_shards();
    type Row<'a> = (&'static str, DealTerms, &'a [(u8, u8)]);
    let rows: [Row<'_>; 6] = [
        ("another's deal", terms(3, 51), &all),
        ("a deal of another object", object, &all),
        ("a deal of another segment", DealTerms { segment: 1, ..terms(1, 53) }, &all),
        ("a deal of which one shard is enough", DealTerms { required: 1, ..terms(1, 54) }, &all),
        ("a deal of more shards", DealTerms { total: 4, ..terms(1, 55) }, &four),
        ("a deal without the cell's shard", terms(1, 56), &few),
    ];
    let mut signed = Vec::new();
    for (_, terms, shards) in &rows {
        let open = store_goods(&writer.world, terms, &goods, shards);
        let owner = if terms.owner == account(3) { 3 } else { 1 };
        signed.push(writer.world.sign(owner, open));
    }
    let ended = terms(1, 57);
    let open = store_goods(&writer.world, &ended, &goods, &all);
    signed.push(writer.world.sign(1, open));
    signed.push(writer.world.sign(1, Action::EndDeal { deal: ended.deal() }));
    writer.ok("other deals", "of which no complaint can be", &signed);
    let bad = rows.iter().map(|(name, terms, _)| (*name, terms.deal())).collect();
    OtherDeals { bad, ended: ended.deal() }
}

fn other_cells(writer: &mut Writer, sold: &Sold, deals: &OtherDeals) {
    let of = sold.of(writer, 2);
    let cell = || of.other_cell(2);
    let (_, elsewhere, _) = of.goods.kept(1, 1);
    let mask_of_another = of.goods.key.shard_mask_key(0, 1);
    let mut bad: Vec<_> = vec![
        ("another leaf", but!(cell(), OtherCell { leaf }, leaf.parts.sealed = NOTHING)),
        ("another mask", but!(cell(), OtherCell { masks }, masks.masks[0] = NOTHING)),
        ("a mask left out", but!(cell(), OtherCell { masks }, masks.masks.truncate(2))),
        ("masks of another segment", but!(cell(), OtherCell { masks }, masks.segment = 1)),
        ("another key of the mask", but!(cell(), OtherCell { key }, key[0] ^= 1)),
        ("the mask of another shard", but!(cell(), OtherCell { key }, *key = mask_of_another)),
        ("another kept cell", but!(cell(), OtherCell { kept }, kept[0] ^= 1)),
        ("a byte left out", but!(cell(), OtherCell { kept }, kept.truncate(1023))),
        ("the cell of another shard", but!(cell(), OtherCell { kept }, *kept = elsewhere)),
        ("another path", but!(cell(), OtherCell { path }, path[0] = NOTHING)),
        ("a path that is too long", but!(cell(), OtherCell { path }, path.push(NOTHING))),
    ];
    for (name, id) in &deals.bad {
        bad.push((name, but!(cell(), OtherCell { deal }, *deal = *id)));
    }
    let ended = but!(cell(), OtherCell { deal }, *deal = deals.ended);
    let none = but!(cell(), OtherCell { deal }, *deal = deal_id(99));
    for (name, complaint) in bad {
        let why = "it says nothing about what is kept of the file";
        sold.refuse(writer, Status::BadProof, (name, why), complaint);
    }
    let why = "its nodes need not keep anything";
    sold.refuse(writer, Status::DealClosed, ("an ended deal", why), ended);
    sold.refuse(writer, Status::UnknownDeal, ("no deal", "there is no such deal"), none);
}

fn unavailable(writer: &mut Writer, sold: &Sold, deals: &OtherDeals) {
    let of = sold.of(writer, 2);
    let cell = || of.unavailable(2);
    let mut bad: Vec<_> = vec![
        ("a cell and another leaf", but!(cell(), Unavailable { leaf }, leaf.parts.key = NOTHING)),
        ("a cell beyond the file", but!(cell(), Unavailable { leaf }, leaf.cell = 4)),
        (
            "a key that is not the listed mask's",
            but!(cell(), Unavailable { keys }, keys[2][0] ^= 1),
        ),
        ("a key left out", but!(cell(), Unavailable { keys }, keys.truncate(2))),
        (
            "keys and a path that is too long",
            but!(cell(), Unavailable { path }, path.push(NOTHING)),
        ),
    ];
    // Whether a deal has the cell's own shard makes no difference to this question.
    for (name, id) in &deals.bad[..5] {
        bad.push((name, but!(cell(), Unavailable { deal }, *deal = *id)));
    }
    let ended = but!(cell(), Unavailable { deal }, *deal = deals.ended);
    let none = but!(cell(), Unavailable { deal }, *deal = deal_id(99));
    for (name, complaint) in bad {
        let why = "no node can be asked for this";
        sold.refuse(writer, Status::BadProof, (name, why), complaint);
    }
    let why = "its nodes need not give anything";
    sold.refuse(writer, Status::DealClosed, ("a cell of an ended deal", why), ended);
    sold.refuse(writer, Status::UnknownDeal, ("a cell of no deal", "there is none"), none);
}

/// A buyer without the bond.
fn poor(writer: &mut Writer, sold: &Sold) {
    let left = writer.world.balance(3) - 999;
    writer.act("money spent", "a unit less than the bond is left", 3, transfer(2, left));
    let of = sold.of(writer, 3);
    let false_one = of.complaint(of.bad_cell(3));
    let question = of.complaint(of.unavailable(3));
    for (name, action) in [("a false complaint", false_one.clone()), ("a question", question)] {
        let why = "its bond is 1000";
        writer.refuse(Status::BalanceTooLow, name, why, (3, action));
    }
    writer.act("a unit more", "from another", 2, transfer(3, 1));
    writer.act("dismissed", "it costs all that the buyer has", 3, false_one);
}

/// What is so cannot be complained of.
fn dismissed(writer: &mut Writer) {
    market(writer, "a ledger for complaints that are dismissed", bonded(1_000));
    let sold = sell(writer, "by an honest seller", 7, honest());
    sold.deliver(writer, 2);
    let lost = ("dismissed", "it is as it was listed: the bond goes to the treasury");
    sold.complain(writer, 2, lost, |of| of.bad_key(KeyFault::File));
    sold.complain(writer, 2, lost, |of| of.other_mask());
    for cell in [2, 3] {
        sold.complain(writer, 2, lost, |of| of.other_key_of(cell));
        sold.complain(writer, 2, lost, |of| of.bad_cell(cell));
        sold.complain(writer, 2, lost, |of| of.other_cell(cell));
    }
    let ack = Action::Acknowledge { order: order_of(2, 7), custodians: vec![] };
    writer.act("acknowledged", "after all of that", 2, ack);
    let late = sold.of(writer, 2).bad_cell(2);
    sold.refuse(writer, Status::OrderClosed, ("too late", "the order is settled"), late);
}

/// Every lie of a seller, each convicted by the buyer alone.
fn lies(writer: &mut Writer) {
    market(writer, "a ledger for complaints that are upheld", bonded(1_000));
    frozen(writer);
    let lost = ("dismissed", "this part is as it was listed");
    let wrong_object = {
        let mut goods = honest();
        goods.manifest.object.0[0] ^= 1;
        goods
    };
    let sold = sell(writer, "under another object than the key's", 8, wrong_object);
    sold.deliver(writer, 2);
    sold.convict(writer, |of| of.bad_key(KeyFault::File));
    let mut wrong_commitment = honest();
    wrong_commitment.manifest.commitment = NOTHING;
    let sold = sell(writer, "under another commitment than the key's", 9, wrong_commitment);
    sold.deliver(writer, 2);
    sold.convict(writer, |of| of.bad_key(KeyFault::File));
    let sold = sell(writer, "with another key of a cell", 10, spoilt(|of| of[3].key = NOTHING));
    sold.deliver(writer, 2);
    sold.complain(writer, 2, lost, |of| of.bad_key(KeyFault::File));
    sold.complain(writer, 2, lost, |of| of.other_key_of(2));
    sold.convict(writer, |of| of.other_key_of(3));
    let sold = sell(writer, "with another mask", 11, honest().with_other_mask());
    sold.deliver(writer, 2);
    sold.convict(writer, |of| of.other_mask());
    let sold = sell(writer, "with a mask less than there are", 17, honest().with_a_mask_less());
    sold.deliver(writer, 2);
    let of = sold.of(writer, 2);
    let less = [
        of.other_mask(),
        of.other_cell(2),
        but!(of.unavailable(2), Unavailable { keys }, keys.truncate(2)),
        of.unavailable(2),
    ];
    for complaint in less {
        let why = "such a list is no list: its buyer could see it before paying";
        sold.refuse(writer, Status::BadProof, ("two masks of three", why), complaint);
    }
    let sold = sell(writer, "with other plain bytes", 12, spoilt(|of| of[3].plain = NOTHING));
    sold.deliver(writer, 2);
    let end = Action::EndListing { listing: listing_id(12) };
    writer.act("the listing ended", "its bond stays: an order is open", 1, end);
    sold.complain(writer, 2, lost, |of| of.bad_cell(2));
    sold.convict(writer, |of| of.bad_cell(3));
    for (listing, why, junk) in [
        (13, "with a cell of another size", vec![7; 1008]),
        (14, "with a cell that does not open", vec![7; 1024]),
    ] {
        let hash = sealed_hash(&[&junk]);
        let sold = sell(writer, why, listing, spoilt(|of| of[2].sealed = hash));
        sold.deliver(writer, 2);
        sold.convict(writer, |of| but!(of.bad_cell(2), BadCell { sealed }, *sealed = junk));
    }
    let sold =
        sell(writer, "with another cell than is kept", 15, spoilt(|of| of[2].sealed = NOTHING));
    sold.deliver(writer, 2);
    sold.complain(writer, 2, lost, |of| of.other_cell(3));
    sold.convict(writer, |of| of.other_cell(2));
    let nothing = |world: &World, terms: &mut Terms| {
        let label = label_on(&world.id(), 1, &terms.manifest);
        let secret = VaultSecret::from_seed(&[1; 32]);
        terms.capsule = Capsule::seal_nothing(&secret, &label, &[5; 32]);
        terms.pad = pad(&KEY, &listing_key(&[0; 32]));
    };
    let sold = sell_as(writer, "whose capsule holds no key", 16, honest(), nothing);
    sold.deliver(writer, 2);
    sold.convict(writer, |of| of.bad_key(KeyFault::File));
    let late = sold.of(writer, 2).bad_key(KeyFault::File);
    sold.refuse(writer, Status::OrderClosed, ("complained again", "it was upheld"), late);
}

/// A listing that was convicted, and its other buyers.
fn frozen(writer: &mut Writer) {
    let other_key = |world: &World, terms: &mut Terms| {
        terms.pad = sale_of(world, (1, 7), &honest(), (PRICE, [8; 32])).pad;
    };
    let sold = sell_as(writer, "whose capsule holds another key", 7, honest(), other_key);
    sold.deliver(writer, 2);
    sold.deliver(writer, 3);
    let waiting = writer.world.order_by(3, 8, listing_id(7), PRICE);
    writer.act("ordered once more", "it is not delivered yet", 3, waiting);
    let won = ("upheld", "the price comes back with half of the bond, and the listing is frozen");
    sold.complain(writer, 2, won, |of| of.bad_key(KeyFault::File));
    let again = sold.of(writer, 2).bad_key(KeyFault::File);
    sold.refuse(writer, Status::OrderClosed, ("upheld again", "the buyer has the money"), again);
    let late = writer.world.order_by(3, 9, listing_id(7), PRICE);
    writer.refuse(Status::ListingEnded, "a frozen listing ordered", "it is frozen", (3, late));
    let listing = listing_id(7);
    let end = Action::EndListing { listing };
    writer.refuse(Status::ListingEnded, "a frozen listing ended", "it is frozen", (1, end));
    let cover = Action::CoverListing { listing, first: 0, deals: vec![sold.deal] };
    writer.refuse(Status::ListingEnded, "a frozen listing covered", "it is frozen", (1, cover));
    let end = Action::EndDeal { deal: sold.deal };
    writer.refuse(Status::SaleBinds, "its deal ended", "orders are open", (1, end.clone()));
    let why = "the bond has gone to the first; the price comes back";
    sold.complain(writer, 3, ("upheld as well", why), |of| of.other_key_of(2));
    writer.world.now += 3_000;
    writer.empty("due", "the order that was not delivered is refunded too");
    let unread = Action::Acknowledge { order: order_of(3, 8), custodians: vec![] };
    writer.refuse(Status::OrderClosed, "acknowledged", "it was refunded", (3, unread));
    writer.act("its deal ended", "no order is open, and no access was paid for", 1, end);
}
