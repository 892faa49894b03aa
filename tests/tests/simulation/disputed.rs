//! Disputes about sales. A seller who lists what is not so is found out: before anyone pays, or by a complaint that gives
//! the buyer the money back with half of the bond, while the seller says nothing. Beside every liar is the honest seller,
//! who is paid and keeps the bond. A buyer who lies about an honest sale loses the bond of each complaint and nothing of
//! the sale moves. Nodes that keep silent pay, and the seller of their file does not.

use std::{collections::BTreeMap, fs};

use symbolon_client::{
    Client, ClientError, DisputeOutcome, Examined, GetOptions, Progress, Readable, Sink, Wrong,
};
use symbolon_protocol::{
    Amount, Millis,
    content::{FileKey, MaskMode, seal::LeafParts},
    custody::{self, DeliveryKey, ShownKey, VaultSecret},
    dispute::{Complaint, KeyFault, LeafListError},
    grant,
    id::{AccountId, DealId, Hash, ListingId, NodeId, Opening, OrderId},
    ledger::{
        Status, access_min,
        block::{Event, Place, Reason},
        rows::{
            Accounts, Deal, Deals, Listing, ListingState, Listings, Order, OrderState, Orders,
            Refund,
        },
        transaction::{Action, Transaction},
    },
    preview::{PreviewCell, cell_range},
};
use symbolon_tests::{
    party::Party,
    seller::{Draft, Goods, Said, Seller, parts_of},
    sim::{Trace, World, params},
};
use symbolon_transfer::{
    download::{LeavesWanted, Reading},
    shard::ShardAt,
};
use tokio::time::{Duration, sleep};

const NODES: usize = 7;
const PRICE: Amount = Amount(3_000_000_011);

/// Three stripes of two cells.
const LENGTH: u64 = 300_000;
const CELLS: u64 = 6;

/// What a buyer's index costs at most to publish meanwhile.
const INDEX: Amount = Amount(100_000);

/// What a listing says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// The pad hides another key.
    Key,
    /// The capsule is sealed to another vault.
    Capsule,
    /// The listed key of one cell is another one.
    CellKey,
    /// The masks are those of another key.
    Masks,
    /// One cell opens to something else.
    Junk,
    /// All cells do.
    AllJunk,
    /// Nodes keep another cell in the place of one.
    Kept,
    /// Nodes keep another file.
    AllKept,
}

const LIES: [Lie; 8] = [
    Lie::Key,
    Lie::Capsule,
    Lie::CellKey,
    Lie::Masks,
    Lie::Junk,
    Lie::AllJunk,
    Lie::Kept,
    Lie::AllKept,
];

impl Lie {
    fn tell(self, said: &mut Said, other: &[LeafParts]) {
        match self {
            Self::Key => said.sold[7] ^= 1,
            Self::Capsule => said.vault = VaultSecret::from_seed(&[9; 32]),
            Self::CellKey => said.parts[3].key = Hash([9; 32]),
            Self::Masks => said.masks = FileKey::from_bytes([9; 32]),
            Self::Junk => said.parts[2].plain = Hash([9; 32]),
            Self::AllJunk => {
                said.parts.iter_mut().for_each(|parts| parts.plain = Hash([9; 32]));
            }
            Self::Kept => said.parts[4] = other[4],
            Self::AllKept => said.parts = other.to_vec(),
        }
    }

    /// What the buyer finds, and why the money is back.
    fn found(self) -> (Wrong, Refund) {
        match self {
            Self::Key | Self::Capsule | Self::CellKey | Self::Masks => (Wrong::Key, Refund::BadKey),
            Self::Junk => (Wrong::Cell { cell: 2 }, Refund::BadCell),
            Self::AllJunk => (Wrong::Cell { cell: 0 }, Refund::BadCell),
            Self::Kept => (Wrong::Kept { cell: 4 }, Refund::OtherCell),
            Self::AllKept => (Wrong::Kept { cell: 0 }, Refund::OtherCell),
        }
    }
}

async fn order_row(world: &World, id: &OrderId) -> Order {
    world.ledger().row(Orders, id).await.unwrap().unwrap()
}

async fn listing_row(world: &World, id: &ListingId) -> Listing {
    world.ledger().row(Listings, id).await.unwrap().unwrap()
}

async fn balance(world: &World, account: &AccountId) -> Amount {
    let row = world.ledger().row(Accounts, account).await.unwrap();
    row.map_or(Amount::ZERO, |row| row.balance)
}

/// Waits until an order is in a state.
async fn until(world: &World, id: &OrderId, state: OrderState) {
    for _ in 0..3_000 {
        if order_row(world, id).await.state == state {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("order {id} does not become {state:?}: {:?}", order_row(world, id).await);
}

/// Sellers who lie, and the honest one between them.
pub(super) async fn cheated(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let seller = Seller::start(&mut world, "seller", PRICE).await;
    let (buyer, late) = (world.client("buyer"), world.client("late"));
    buyer.faucet().await.unwrap();
    late.faucet().await.unwrap();
    let goods = seller.store(world.bytes("goods", LENGTH)).await;
    never_paid(&mut world, &seller, &buyer, &goods).await;
    let other = parts_of(&goods.key, &goods.layout, &world.bytes("other", LENGTH));
    let truth = seller.draft(&goods, |_| {}).await;
    let honest = seller.offer(&truth, &goods).await;
    for lie in LIES {
        let draft = seller.draft(&goods, |said| lie.tell(said, &other)).await;
        let listing = seller.offer(&draft, &goods).await;
        // Another buyer of the same lie says nothing.
        let silent = match lie {
            Lie::AllKept => {
                Some(late.buy(&listing, PRICE, &Progress::silent()).await.unwrap().order)
            }
            _ => None,
        };
        cheat(&mut world, &buyer, listing, lie).await;
        if let Some(order) = silent {
            until(&world, &order, OrderState::Refunded).await;
            assert_eq!(order_row(&world, &order).await.refund, Some(Refund::Frozen));
        }
        world.audit().await;
    }
    is_paid(&mut world, &seller, &buyer, &goods, honest).await;
    for client in [seller.client, buyer, late] {
        client.close().await;
    }
    world.finish().await
}

/// Lies that the ledger does not take, and those that a buyer's client sees before it pays.
async fn never_paid(world: &mut World, seller: &Seller, buyer: &Client, goods: &Goods) {
    let (quiet, least_ms) = (Progress::silent(), access_min(&params(), Millis(60_000)));
    let honest = seller.draft(goods, |_| {}).await;
    let small = seller.store(world.bytes("small", 1_000)).await;
    let other = seller.store(world.bytes("other", LENGTH)).await;
    let other_list = seller.draft(&other, |_| {}).await.terms.leaves;
    let small_list = seller.draft(&small, |_| {}).await.terms.leaves;
    let with = |change: &dyn Fn(&mut Draft)| {
        let mut draft = honest.clone();
        change(&mut draft);
        draft
    };
    // A bond below the price, access that ends before a dispute about it can, a file without masks.
    for draft in [
        with(&|draft| draft.terms.bond = Amount(PRICE.0 - 1)),
        with(&|draft| draft.terms.access_ms = Millis(least_ms.0 - 1)),
        with(&|draft| draft.terms.manifest.mask = MaskMode::None),
    ] {
        assert_eq!(seller.list(&draft).await, Err(Status::BadField));
    }
    // Deals that are not shown, or are not those of the file.
    let listing = seller.list(&honest).await.unwrap();
    let error = buyer.buy(&listing, PRICE, &quiet).await.unwrap_err();
    assert!(matches!(error, ClientError::NotCovered { .. }), "{error:?}");
    assert_eq!(seller.cover(listing, &other.deals).await, Status::NotCovered);
    assert_eq!(seller.cover(listing, &[DealId([9; 16])]).await, Status::UnknownDeal);
    let party = Party::new(world, buyer.identity().account_key().to_bytes());
    let hasty = order(world, buyer, listing).await;
    assert_eq!(party.send(hasty).await, Status::NotCovered);
    assert_eq!(seller.list(&honest).await, Err(Status::Exists), "its mandate is for one listing");
    // Leaf lists of another file, of a file of two cells, under other masks.
    for (why, change) in [
        (LeafListError::Cells, Some(&other_list)),
        (LeafListError::Length { found: 352, expected: 736 }, Some(&small_list)),
        (LeafListError::Masks, None),
    ] {
        let mut draft = seller.draft(goods, |_| {}).await;
        match change {
            Some(list) => draft.terms.leaves = list.clone(),
            None => draft.terms.masks_root = Hash([9; 32]),
        }
        let listing = seller.offer(&draft, goods).await;
        let error = buyer.buy(&listing, PRICE, &quiet).await.unwrap_err();
        world.note(format!("not bought: {error}"));
        assert!(
            matches!(&error, ClientError::Leaves { why: said, .. } if *said == why),
            "{error:?}"
        );
    }
    world.audit().await;
    assert_eq!(world.auditor.orders(), (0, 0, 0));
}

/// An order as a buyer's client makes it, without its checks.
async fn order(world: &World, buyer: &Client, listing: ListingId) -> Action {
    let (chain, who) = (world.ledger().chain(), buyer.identity());
    let terms = listing_row(world, &listing).await;
    let opening = Opening([7; 32]);
    let id = OrderId::of(&who.account(), &opening);
    let context = custody::release_context(&chain, &id, &listing);
    let delivery = DeliveryKey::make(&who.delivery_secret(&chain, &id), &context, &[7; 32]);
    let (listed_ms, price, licence) = (terms.listed_ms, terms.terms.price, terms.terms.licence);
    Action::Order { opening, listing, holder: who.peer(), delivery, listed_ms, price, licence }
}

/// A buyer of a lie has nothing of it, then the money back, and half of the bond.
async fn cheat(world: &mut World, buyer: &Client, listing: ListingId, lie: Lie) {
    let (quiet, me) = (Progress::silent(), buyer.identity().account());
    let (wrong, refund) = lie.found();
    let before = balance(world, &me).await;
    let bought = buyer.buy(&listing, PRICE, &quiet).await;
    assert_eq!(bought.is_err(), wrong == Wrong::Key, "{lie:?}: {bought:?}");
    if let Ok(bought) = &bought {
        let target = world.folder().join(format!("bought {lie:?}"));
        let (token, whole) = (Readable::Token(bought.token.clone()), GetOptions::default());
        let got = buyer.get(&token, Sink::File(target.clone()), &whole, &quiet).await;
        assert!(matches!(got, Err(ClientError::NotAsListed { .. })), "{lie:?}: {got:?}");
        assert!(!target.exists(), "{lie:?}");
        if lie == Lie::AllKept {
            // Nor is what is stored taken for what was listed where that lies there already.
            fs::write(&target, world.bytes("goods", LENGTH)).unwrap();
            let got = buyer.get(&token, Sink::File(target), &whole, &quiet).await;
            assert!(matches!(got, Err(ClientError::Exists { .. })), "{got:?}");
        }
    }
    let orders = buyer.orders().await.unwrap();
    let order = orders.iter().find(|order| order.listing == listing).unwrap().id;
    let Examined::Wrong(found) = buyer.examine(&order, &quiet).await.unwrap() else {
        panic!("{lie:?} is not found");
    };
    assert_eq!(found.wrong, wrong, "{lie:?}");
    let done = buyer.dispute(&found, &quiet).await.unwrap();
    let half = Amount(PRICE.0 - PRICE.0 / 2);
    assert_eq!(done.outcome, DisputeOutcome::Refunded(refund), "{lie:?}");
    assert_eq!((done.refunded, done.from_bond, done.lost), (PRICE, half, Amount::ZERO), "{lie:?}");
    let (now, whole) = (balance(world, &me).await, before.checked_add(half).unwrap());
    assert!(now <= whole && whole.0 - now.0 < INDEX.0, "{lie:?}: {now:?} of {whole:?}");
    assert_eq!(listing_row(world, &listing).await.state, ListingState::Frozen);
    world.note(format!("{lie:?}: {wrong:?}, {refund:?}"));
    world.audit().await;
}

/// The honest seller beside them is paid, cannot take back what was sold, and has the bond back.
async fn is_paid(
    world: &mut World,
    seller: &Seller,
    buyer: &Client,
    goods: &Goods,
    listing: ListingId,
) {
    let (quiet, me) = (Progress::silent(), seller.party.account());
    let before = balance(world, &me).await;
    let bought = buyer.buy(&listing, PRICE, &quiet).await.unwrap();
    let examined = buyer.examine(&bought.order, &quiet).await.unwrap();
    assert!(matches!(examined, Examined::AsListed { cells: CELLS }), "{examined:?}");
    let token = Readable::Token(bought.token.clone());
    let got = buyer.get(&token, Sink::Memory, &GetOptions::default(), &quiet).await.unwrap();
    assert!(got.bytes.unwrap() == goods.plain);
    assert_eq!(got.acknowledged, Some(bought.order));
    assert_eq!(order_row(world, &bought.order).await.state, OrderState::Settled);
    let bond = listing_row(world, &listing).await.terms.bond;
    assert_eq!(seller.party.send(Action::EndListing { listing }).await, Status::Applied);
    // What was sold stays for its buyer: neither the deals nor the mandate can be taken back.
    let deal = goods.deals[0];
    assert_eq!(seller.party.send(Action::EndDeal { deal }).await, Status::SaleBinds);
    let mandate = listing_row(world, &listing).await.terms.mandate;
    let link = grant::mandate_id(&world.ledger().chain(), &me, &mandate);
    let revoke = Action::Revoke { link, until_ms: None };
    assert_eq!(seller.party.send(revoke).await, Status::SaleBinds);
    let params = params();
    let (fee, custody) = (PRICE.part(params.sale_fee_bp), PRICE.part(params.custody_fee_bp));
    let paid_custodians = custody.0 / 3 * 3;
    let gained = balance(world, &me).await.0 - before.0;
    assert_eq!(gained, PRICE.0 - fee.0 - paid_custodians + bond.0);
    world.audit().await;
}

/// A buyer who says what is not so.
struct Complainer {
    client: Client,
    party: Party,
    order: OrderId,
    reading: Reading,
}

impl Complainer {
    async fn buys(world: &mut World, name: &str, listing: ListingId, goods: &Goods) -> Self {
        let client = world.client(name);
        client.faucet().await.unwrap();
        let bought = client.buy(&listing, PRICE, &Progress::silent()).await.unwrap();
        let party = Party::new(world, client.identity().account_key().to_bytes());
        let reading = Reading {
            owner: bought.token.grant.root,
            manifest: listing_row(world, &listing).await.terms.manifest,
            key: goods.key.clone(),
            grant: Some(bought.token.grant.clone()),
            leaves: LeavesWanted::No,
            only: None,
        };
        Self { client, party, order: bought.order, reading }
    }

    /// Complains; gives what it cost.
    async fn complains(&self, world: &World, complaint: &Complaint) -> Result<Amount, Status> {
        let (order, complaint) = (self.order, Box::new(complaint.clone()));
        let before = balance(world, &self.party.account()).await;
        match self.party.send(Action::Complain { order, complaint }).await {
            Status::Applied => Ok(Amount(before.0 - balance(world, &self.party.account()).await.0)),
            status => Err(status),
        }
    }

    async fn shown(&self, world: &World) -> ShownKey {
        let (row, chain) = (order_row(world, &self.order).await, world.ledger().chain());
        let context = custody::release_context(&chain, &self.order, &row.listing);
        let secret = self.client.identity().delivery_secret(&chain, &self.order);
        ShownKey::make(&row.releases, row.releases.len(), &secret, &context, &[5; 32]).unwrap()
    }

    /// The cell of a shard, as its node gives it.
    async fn kept(&self, index: u8, stripe: u32) -> (Vec<u8>, Vec<Hash>) {
        let network = self.client.network();
        let (deal, row) = network.deal_of(&self.reading, 0).await.unwrap();
        let nodes = network.deal_nodes(&row).await.unwrap();
        let (index, address, root) = nodes.into_iter().find(|(at, ..)| *at == index).unwrap();
        let (length, grant) = (row.length, self.reading.grant.clone());
        let shard = ShardAt { address, deal, index, root, length, grant };
        shard.cell_and_path(network, stripe).await.unwrap()
    }

    /// Every complaint that carries its whole proof, about a sale that has no fault.
    async fn whole(&self, world: &World, goods: &Goods, draft: &Draft) -> Vec<Complaint> {
        let (list, layout, key) = (&draft.list, &goods.layout, &goods.key);
        let (leaf, masks) = (list.open(1).unwrap(), list.open_masks(0).unwrap());
        let (leaves, place) = (list.leaves().collect::<Vec<_>>(), layout.cell(1).unwrap());
        let (start, length) = cell_range(layout, 1).unwrap();
        let start = usize::try_from(start).unwrap();
        let plain = &goods.plain[start..start + length];
        let opened = PreviewCell::make(layout, key, 1, plain, &leaves).unwrap();
        let shown = self.shown(world).await;
        let (kept, path) = self.kept(place.shard, place.stripe).await;
        let of_key = |fault| Complaint::BadKey { shown: shown.clone(), fault };
        vec![
            of_key(KeyFault::File),
            of_key(KeyFault::Cell { leaf: leaf.clone() }),
            of_key(KeyFault::Mask { masks: masks.clone() }),
            Complaint::BadCell { leaf: leaf.clone(), key: opened.key, sealed: opened.sealed },
            Complaint::OtherCell {
                leaf,
                masks,
                key: key.shard_mask_key(0, place.shard),
                deal: goods.deals[0],
                kept,
                path,
            },
        ]
    }
}

fn unavailable(goods: &Goods, draft: &Draft) -> Complaint {
    let total = goods.layout.scheme().total;
    Complaint::Unavailable {
        leaf: draft.list.open(1).unwrap(),
        keys: (0..total).map(|index| goods.key.shard_mask_key(0, index)).collect(),
        path: draft.list.open_masks(0).unwrap().path,
        deal: goods.deals[0],
    }
}

/// Buyers who lie about an honest sale, nodes that keep silent about one, and all of it again.
pub(super) async fn wronged(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let patron = world.client("patron");
    patron.faucet().await.unwrap();
    stake(&world, &patron).await;
    let seller = Seller::start(&mut world, "seller", PRICE).await;
    let goods = seller.store(world.bytes("goods", LENGTH)).await;
    let draft = seller.draft(&goods, |_| {}).await;
    let listing = seller.offer(&draft, &goods).await;
    let liar = Complainer::buys(&mut world, "liar", listing, &goods).await;
    false_complaints(&mut world, &liar, &goods, &draft).await;
    let victim = Complainer::buys(&mut world, "victim", listing, &goods).await;
    silent_nodes(&mut world, &victim, &goods, &draft).await;
    until(&world, &liar.order, OrderState::Settled).await;
    let late = unavailable(&goods, &draft);
    assert_eq!(liar.complains(&world, &late).await, Err(Status::OrderClosed));
    again(&mut world, &seller, [&liar, &victim]).await;
    // The seller has the price of the one sale that stood, and the bond.
    let row = listing_row(&world, &listing).await;
    assert_eq!((row.state, row.sold, row.open), (ListingState::Open, 1, 0));
    let before = balance(&world, &seller.party.account()).await;
    assert_eq!(seller.party.send(Action::EndListing { listing }).await, Status::Applied);
    let gained = balance(&world, &seller.party.account()).await.0 - before.0;
    assert_eq!(gained, row.terms.bond.0);
    for client in [patron, seller.client, liar.client, victim.client] {
        client.close().await;
    }
    world.finish().await
}

/// Every node has collateral.
async fn stake(world: &World, patron: &Client) {
    let party = Party::new(world, patron.identity().account_key().to_bytes());
    for station in &world.stations {
        let action = Action::Stake { node: station.id, amount: Amount::credits(10) };
        assert_eq!(party.send(action).await, Status::Applied);
    }
}

async fn false_complaints(world: &mut World, liar: &Complainer, goods: &Goods, draft: &Draft) {
    let bond = params().complaint_bond;
    let asked = unavailable(goods, draft);
    // Before the key is on the ledger there is nothing to complain about, and no question to answer.
    assert_eq!(order_row(world, &liar.order).await.state, OrderState::Paid);
    assert_eq!(liar.complains(world, &asked).await, Err(Status::TooEarly));
    until(world, &liar.order, OrderState::Delivered).await;
    let whole = liar.whole(world, goods, draft).await;
    let stranger = Party::of_node(world, 0);
    for complaint in &whole {
        assert_eq!(liar.complains(world, complaint).await, Ok(bond), "{complaint:?}");
        let stolen = Action::Complain { order: liar.order, complaint: Box::new(complaint.clone()) };
        assert_eq!(stranger.send(stolen).await, Status::NotYours);
    }
    // The same again, in the other order, costs the same again.
    for complaint in whole.iter().rev().take(2) {
        assert_eq!(liar.complains(world, complaint).await, Ok(bond));
    }
    // What does not prove what it says costs nothing.
    let mut forged = whole[3].clone();
    if let Complaint::BadCell { sealed, .. } = &mut forged {
        sealed[0] ^= 1;
    }
    assert_eq!(liar.complains(world, &forged).await, Err(Status::BadProof));
    let mut elsewhere = asked.clone();
    if let Complaint::Unavailable { deal, .. } = &mut elsewhere {
        *deal = DealId([9; 16]);
    }
    assert_eq!(liar.complains(world, &elsewhere).await, Err(Status::UnknownDeal));
    // Nodes put the cell on the ledger, and have the bond.
    assert_eq!(liar.complains(world, &asked).await, Ok(bond));
    while order_row(world, &liar.order).await.state == OrderState::Asked {
        sleep(Duration::from_millis(100)).await;
    }
    let row = order_row(world, &liar.order).await;
    assert_eq!((row.state, row.given, row.refund), (OrderState::Delivered, 1, None));
    world.note(format!("{} complaints that are not true", whole.len() + 3));
    world.audit().await;
    let given = answers(world, &liar.order);
    assert!(!given.is_empty());
    for (node, answer) in given {
        let party = Party::of_node(world, world.number_of(&node));
        assert_eq!(party.send(answer).await, Status::TooLate, "nothing is asked any more");
    }
}

/// The nodes that have answered about an order, and what they have sent.
fn answers(world: &World, about: &OrderId) -> Vec<(NodeId, Action)> {
    let all = world.blocks.iter().flat_map(|block| &block.transactions);
    let of_order =
        |action: &Action| matches!(action, Action::AnswerCell { order, .. } if order == about);
    all.filter(|transaction| of_order(&transaction.action))
        .map(|transaction| (NodeId::from(transaction.sender), transaction.action.clone()))
        .collect()
}

/// All nodes of a file but one keep silent about a cell. They pay a part of their collateral; the one that answers and
/// the seller do not.
async fn silent_nodes(world: &mut World, victim: &Complainer, goods: &Goods, draft: &Draft) {
    until(world, &victim.order, OrderState::Delivered).await;
    let deal: Deal = world.ledger().row(Deals, &goods.deals[0]).await.unwrap().unwrap();
    let own = goods.layout.cell(1).unwrap().shard;
    let keepers: Vec<(u8, NodeId)> =
        deal.kept().map(|(index, shard)| (index, shard.node)).collect();
    let (_, honest) = *keepers.iter().find(|(index, _)| *index != own).unwrap();
    let mut silent: Vec<NodeId> =
        keepers.iter().map(|(_, node)| *node).filter(|node| *node != honest).collect();
    let whole = victim.whole(world, goods, draft).await;
    for node in &silent {
        let number = world.number_of(node);
        world.kill_node(number).await;
    }
    let (me, bond) = (victim.party.account(), params().complaint_bond);
    let asked = unavailable(goods, draft);
    let before = balance(world, &me).await;
    assert_eq!(victim.complains(world, &asked).await, Ok(bond));
    assert_eq!(victim.complains(world, &asked).await, Err(Status::TooEarly), "one at a time");
    assert_eq!(victim.complains(world, &whole[3]).await, Ok(bond), "what is not true costs");
    // The answer of the honest node counts once, and for no other node.
    while order_row(world, &victim.order).await.asked.unwrap().answered.is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    world.audit().await;
    let [(by, answer)] = &answers(world, &victim.order)[..] else { panic!("one answers") };
    assert_eq!(*by, honest);
    let keeps = |number: usize| keepers.iter().any(|(_, node)| world.number_of(node) == number);
    let stranger = (0..NODES).find(|number| !keeps(*number)).unwrap();
    for (number, status) in [(world.number_of(by), Status::Exists), (stranger, Status::NotYours)] {
        assert_eq!(Party::of_node(world, number).send(answer.clone()).await, status);
    }
    let report = victim.client.await_dispute(&victim.order, &Progress::silent()).await.unwrap();
    assert_eq!(report.outcome, DisputeOutcome::Refunded(Refund::Unavailable));
    assert_eq!((report.refunded, report.from_bond), (PRICE, Amount::ZERO));
    let back = before.0 + PRICE.0 - bond.0;
    let now = balance(world, &me).await.0;
    assert!(now <= back && back - now < INDEX.0, "{now} of {back}");
    world.audit().await;
    assert_eq!(answers(world, &victim.order).len(), 1);
    let mut paid = penalised(world, &victim.order);
    silent.sort();
    paid.sort();
    assert_eq!(paid, silent, "the silent ones pay, and no others");
    for node in silent {
        let number = world.number_of(&node);
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
}

/// The nodes that have paid in the block in which an order was refunded.
fn penalised(world: &World, id: &OrderId) -> Vec<NodeId> {
    let refunded = |event: &Event| matches!(event, Event::OrderRefunded { order } if order == id);
    let block = world.blocks.iter().find(|block| block.events.iter().any(refunded)).unwrap();
    let paid = |event: &Event| match event {
        Event::Moved {
            from: Place::Collateral,
            to: Place::Repair,
            reason: Reason::Collateral { node },
            ..
        } => Some(*node),
        _ => None,
    };
    block.events.iter().filter_map(paid).collect()
}

/// Every message about the disputes once more, the last first: as it was sent, and signed anew. Nothing moves. Nor do
/// orders and listings of others help one who copies them.
async fn again(world: &mut World, seller: &Seller, buyers: [&Complainer; 2]) {
    world.audit().await;
    let ledger = world.ledger();
    let (thief, mut parties) = (Party::of_node(world, 0), BTreeMap::new());
    for party in [&seller.party, &buyers[0].party, &buyers[1].party] {
        parties.insert(party.account(), party.clone());
    }
    for number in 0..NODES {
        let party = Party::of_node(world, number);
        parties.insert(party.account(), party);
    }
    let is_of_dispute = |transaction: &&Transaction| {
        matches!(
            transaction.action,
            Action::Complain { .. } | Action::AnswerCell { .. } | Action::PostRelease { .. }
        )
    };
    let all: Vec<Transaction> =
        world.blocks.iter().flat_map(|block| &block.transactions).cloned().collect();
    let mut money = BTreeMap::new();
    for account in parties.keys() {
        money.insert(*account, balance(world, account).await);
    }
    let mut sorts = BTreeMap::new();
    for sent in all.iter().filter(is_of_dispute).rev() {
        ledger.submit(sent.clone()).await.unwrap();
        let refused = match sent.action {
            Action::PostRelease { .. } => Status::Exists,
            _ => Status::OrderClosed,
        };
        let status = parties[&sent.sender].send(sent.action.clone()).await;
        assert_eq!(status, refused, "{:?}", sent.action);
        *sorts.entry(sent.action.name()).or_insert(0) += 1;
    }
    assert_eq!(sorts.len(), 3, "{sorts:?}");
    let mut copied = 0;
    for sent in &all {
        if matches!(sent.action, Action::Order { .. } | Action::List { .. }) {
            assert_eq!(thief.send(sent.action.clone()).await, Status::BadProof);
            copied += 1;
        }
    }
    assert!(3 < copied);
    for (account, before) in money {
        let of_buyer = buyers.iter().any(|buyer| buyer.party.account() == account);
        let now = balance(world, &account).await;
        // The index of a buyer may have been published meanwhile.
        let moved = before.0.abs_diff(now.0);
        assert!(moved < if of_buyer { INDEX.0 } else { 1 }, "{account}: {moved}");
    }
    world.note(format!("again: {sorts:?}, {copied} copied"));
    world.audit().await;
}
