//! Sales that are disputed, with real processes: a buyer who was cheated has the money back while the seller's machine is
//! off, and a complaint that is not true costs its bond.

use std::fs;

use serde_json::Value;
use symbolon_client::{Client, Identity, Phrase, Progress};
use symbolon_ledger::LedgerTicket;
use symbolon_protocol::{
    content::seal::LeafParts,
    custody::{self, ShownKey},
    dispute::{Complaint, KeyFault},
    id::{Hash, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{OrderState, Orders},
        transaction::Action,
    },
    preview::{PreviewCell, cell_range},
};
use symbolon_transfer::{
    TransferError,
    download::{LeavesWanted, Reading},
    shard::ShardAt,
};
use tokio::runtime::Runtime;

use crate::common::{
    Network, bytes, fails,
    seller::{Goods, Said, Seller, parts_of},
    units, until,
};

/// A ledger on which deliveries take seconds. No epoch ends during a test.
const QUICK: &str = "1h --delivery 6s --window-min 2s";

/// Bytes of what is sold: five cells in stripes of two.
const LENGTH: usize = 300_000;

/// What the file costs, and the bond of its listing.
const PRICE: u128 = 8_000_000_000;

fn start() -> Network {
    let network = Network::start(5, QUICK);
    network.identity("buyer");
    network
}

fn out(network: &Network) -> String {
    network.folder.path().join("out").display().to_string()
}

fn adds_up(network: &Network) {
    assert_eq!(network.run("ledger status --as buyer").ok()["money"]["adds_up"], true);
}

/// A lie about a sale, what is found, and why the money is back.
type Lie = (&'static str, &'static str, fn(&mut Said, &Other));

/// What liars choose from.
struct Other {
    /// The parts of the leaves of other bytes under the same key.
    parts: Vec<LeafParts>,
}

const LIES: &[Lie] = &[
    ("key", "bad_key", |said, _| said.pad[7] = 1),
    ("key", "bad_key", |said, _| said.parts[3].key = Hash([9; 32])),
    ("cell", "bad_cell", |said, _| said.parts[2].plain = Hash([9; 32])),
    ("kept", "other_cell", |said, other| said.parts[4] = other.parts[4]),
    ("kept", "other_cell", |said, other| said.parts.clone_from(&other.parts)),
];

/// Lists a file as a liar does.
fn lie(seller: &Seller, tell: fn(&mut Said, &Other)) -> Goods {
    seller.list(bytes(LENGTH, 1), |key, layout, said| {
        tell(said, &Other { parts: parts_of(key, layout, &bytes(LENGTH, 2)) });
    })
}

#[test]
fn a_cheated_buyer_has_the_money_back_and_half_of_the_bond() {
    let network = start();
    let seller = Seller::start(&network, 1);
    let lies: Vec<_> = LIES.iter().map(|lie_of| (lie_of, lie(&seller, lie_of.2))).collect();
    seller.goes_off();
    for ((wrong, refund, _), goods) in lies {
        let before = network.balance("buyer");
        let line =
            format!("buy {} -o {} --as buyer --yes --auto-dispute", goods.listing, out(&network));
        let error = fails(network.run(&line), 8, "You have 8 credits back");
        let details = &error["details"];
        assert_eq!(details["outcome"], "refunded", "{error}");
        assert_eq!((&details["wrong"], &details["refund"]), (&(*wrong).into(), &(*refund).into()));
        assert!(!fs::exists(out(&network)).unwrap(), "nothing of it was written");
        // All of the price, and half of the seller's bond.
        let (now, whole) = (network.balance("buyer"), before + PRICE / 2);
        // Now and then the index is published, which costs next to nothing.
        assert!(
            now <= whole && whole - now < units("0.0001"),
            "{wrong} {refund}: {now} of {whole}"
        );
        let shown = network.run(&format!("market show {} --as buyer", goods.listing)).ok();
        assert_eq!(shown["state"], "frozen", "{shown}");
        let late = format!("buy {} --as buyer --yes", goods.listing);
        fails(network.run(&late), 10, "is frozen");
    }
    let orders = network.run("orders --as buyer").ok();
    assert_eq!(orders["orders"].as_array().unwrap().len(), LIES.len(), "{orders}");
    adds_up(&network);
}

#[test]
fn a_complaint_can_wait_for_its_buyer_to_ask_for_it() {
    let network = start();
    let seller = Seller::start(&network, 1);
    let goods = lie(&seller, LIES[3].2);
    seller.goes_off();
    let before = network.balance("buyer");
    let line = format!("buy {} -o {} --as buyer --yes", goods.listing, out(&network));
    // Without consent nothing is published. The hint says what can be done.
    let error = fails(network.run(&line), 15, "bought");
    assert!(error["hint"].as_str().unwrap().contains("order"), "{error}");
    assert_eq!(network.balance("buyer"), before - PRICE);
    // A part of the file is compared too, as far as it is read.
    let grant = error["details"]["grant"].as_str().unwrap();
    let part = |range: &str| {
        network.run(&format!("get {grant} --range {range} -o {} --as buyer", out(&network)))
    };
    part("0..1000").ok();
    fs::remove_file(out(&network)).unwrap();
    fails(part("270000..271000"), 8, "cell 4");
    assert!(!fs::exists(out(&network)).unwrap(), "nothing of it was written");
    fails(network.run(&format!("order dispute {} --as buyer", goods.listing)), 2, "asks first");
    let done = network.run(&format!("order dispute {} --as buyer --yes", goods.listing)).ok();
    assert_eq!((&done["outcome"], &done["refund"]), (&"refunded".into(), &"other_cell".into()));
    assert_eq!((&done["refunded"], &done["from_bond"]), (&"8".into(), &"4".into()), "{done}");
    assert_eq!(network.balance("buyer"), before + PRICE / 2);
    let again = network.run(&format!("order dispute {} --as buyer --yes", goods.listing));
    fails(again, 10, "closed");
    adds_up(&network);
}

fn state(network: &Network, listing: &str) -> Value {
    network.run(&format!("order show {listing} --as buyer")).ok()["state"].clone()
}

#[test]
fn a_cell_that_too_few_nodes_give_costs_the_seller_the_sale_and_no_bond() {
    let mut network = start();
    let seller = Seller::start(&network, 1);
    let goods = seller.list(bytes(LENGTH, 1), |_, _, _| {});
    seller.goes_off();
    let before = network.balance("buyer");
    let listing = goods.listing.to_string();
    network.run(&format!("buy {listing} --as buyer --yes")).ok();
    until("custodians put their releases on the ledger", || {
        state(&network, &listing) == "delivered"
    });
    let kept = network.nodes.split_off(1);
    drop(kept);
    let done = network.run(&format!("order dispute {listing} --as buyer --yes")).ok();
    let (wrong, refund) = (&done["wrong"], &done["refund"]);
    assert_eq!((wrong, refund), (&"missing".into(), &"unavailable".into()), "{done}");
    assert_eq!((&done["refunded"], &done["from_bond"]), (&"8".into(), &"0".into()), "{done}");
    assert_eq!(network.balance("buyer"), before, "the bond of the complaint is back too");
    let shown = network.run("market list --ended --as buyer").ok();
    let open = shown["listings"].as_array().unwrap().iter();
    assert!(open.clone().any(|one| one["listing"] == listing.as_str() && one["state"] == "open"));
    adds_up(&network);
}

#[test]
fn nodes_that_were_down_when_a_cell_was_asked_for_give_it_when_they_are_back() {
    let mut network = Network::start(5, "1h --delivery 60s --window-min 2s");
    network.identity("buyer");
    let seller = Seller::start(&network, 1);
    let goods = seller.list(bytes(LENGTH, 1), |_, _, _| {});
    seller.goes_off();
    let listing = goods.listing.to_string();
    network.run(&format!("buy {listing} --as buyer --yes")).ok();
    until("custodians put their releases on the ledger", || {
        state(&network, &listing) == "delivered"
    });
    let before = network.balance("buyer");
    let home = network.home();
    network.nodes.iter_mut().skip(1).for_each(|node| node.kill());
    let asks = network.spawn(&format!("order dispute {listing} --as buyer --yes"));
    until("nodes are asked for a cell", || state(&network, &listing) == "asked");
    network.nodes.iter_mut().skip(1).for_each(|node| node.kill_and_restart(&home));
    let done = asks.finish().ok();
    assert_eq!((&done["wrong"], &done["outcome"]), (&"missing".into(), &"given".into()), "{done}");
    assert_eq!(before - network.balance("buyer"), units(done["lost"].as_str().unwrap()));
    // The order goes on: the file is there, and its seller is paid.
    let grant = network.run(&format!("buy {listing} -o {} --as buyer --yes", out(&network))).ok();
    assert!(grant["fetched"]["acknowledged"].is_string(), "{grant}");
    assert!(fs::read(out(&network)).unwrap() == goods.plain);
    adds_up(&network);
}

/// A buyer in this process, who has bought something and says what is not so.
struct Liar {
    runtime: Runtime,
    client: Client,
    order: OrderId,
    reading: Reading,
}

impl Liar {
    fn buys(network: &Network, goods: &Goods) -> Self {
        let runtime = Runtime::new().unwrap();
        let (client, order, reading) = runtime.block_on(async {
            let ticket: LedgerTicket = network.ticket.parse().unwrap();
            let identity = Identity::from_phrase(&Phrase::from_entropy(&[99; 32]));
            let dir = network.folder.path().join("liar");
            let client = Client::connect(&ticket, identity, dir).await.unwrap();
            let balance = client.faucet().await.unwrap();
            let bought = client.buy(&goods.listing, balance, &Progress::silent()).await.unwrap();
            let reading = Reading {
                owner: bought.token.grant.root,
                manifest: goods.manifest.clone(),
                key: goods.key.clone(),
                grant: Some(bought.token.grant.clone()),
                leaves: LeavesWanted::No,
                only: None,
            };
            (client, bought.order, reading)
        });
        Self { runtime, client, order, reading }
    }

    /// Waits until the custodians' releases are on the ledger.
    fn waits(&self) {
        self.runtime.block_on(async {
            while self.row().await.state != OrderState::Delivered {
                self.client.network().host().sleep_ms(50).await;
            }
        });
    }

    async fn row(&self) -> symbolon_protocol::ledger::rows::Order {
        self.client.ledger().row(Orders, &self.order).await.unwrap().unwrap()
    }

    /// Complains; gives the balance that it cost.
    fn complains(&self, complaint: Complaint) -> Result<u128, Status> {
        self.runtime.block_on(async {
            let before = self.client.account().await.unwrap().balance.0;
            let key = self.client.identity().account_key();
            let id = TransactionId(self.client.network().host().random());
            let action = Action::Complain { order: self.order, complaint: Box::new(complaint) };
            match self.client.network().send(&key, id, action).await {
                Ok(_) => Ok(before - self.client.account().await.unwrap().balance.0),
                Err(TransferError::LedgerRefused(status)) => Err(status),
                Err(error) => panic!("{error}"),
            }
        })
    }

    fn shown(&self) -> ShownKey {
        self.runtime.block_on(async {
            let row = self.row().await;
            let chain = self.client.ledger().chain();
            let context = custody::release_context(&chain, &self.order, &row.listing);
            let secret = self.client.identity().delivery_secret(&chain, &self.order);
            ShownKey::make(&row.releases, row.releases.len(), &secret, &context, &[5; 32]).unwrap()
        })
    }

    /// The cell of a shard, as its node gives it.
    fn kept(&self, index: u8, stripe: u32) -> (Vec<u8>, Vec<Hash>) {
        self.runtime.block_on(async {
            let network = self.client.network();
            let (deal, row) = network.deal_of(&self.reading, 0).await.unwrap();
            let nodes = network.deal_nodes(&row).await.unwrap();
            let (index, address, root) = nodes.into_iter().find(|(at, ..)| *at == index).unwrap();
            let (length, grant) = (row.length, self.reading.grant.clone());
            let shard = ShardAt { address, deal, index, root, length, grant };
            shard.cell_and_path(network, stripe).await.unwrap()
        })
    }
}

#[test]
fn a_complaint_that_is_not_true_costs_its_bond_and_nothing_else() {
    let network = start();
    let seller = Seller::start(&network, 1);
    let goods = seller.list(bytes(LENGTH, 1), |_, _, _| {});
    seller.goes_off();
    let liar = Liar::buys(&network, &goods);
    let (list, layout, key) = (&goods.list, &goods.layout, &goods.key);
    let place = layout.cell(1).unwrap();
    let leaf = list.open(1).unwrap();
    let masks = list.open_masks(0).unwrap();
    let deal = key.deal(&liar.reading.owner, 0);
    let leaves: Vec<Hash> = list.leaves().collect();
    let (start, length) = cell_range(layout, 1).unwrap();
    let start = usize::try_from(start).unwrap();
    let plain = &goods.plain[start..start + length];
    let opened = PreviewCell::make(layout, key, 1, plain, &leaves).unwrap();
    let bad_cell =
        Complaint::BadCell { leaf: leaf.clone(), key: opened.key, sealed: opened.sealed };
    // Before the key is on the ledger there is nothing to complain about.
    assert_eq!(liar.complains(bad_cell.clone()), Err(Status::TooEarly));
    liar.waits();
    let one = units("1");
    let shown = liar.shown();
    for fault in [
        KeyFault::File,
        KeyFault::Cell { leaf: leaf.clone() },
        KeyFault::Mask { masks: masks.clone() },
    ] {
        let complaint = Complaint::BadKey { shown: shown.clone(), fault };
        assert_eq!(liar.complains(complaint), Ok(one));
    }
    assert_eq!(liar.complains(bad_cell), Ok(one));
    let (kept, path) = liar.kept(place.shard, place.stripe);
    let index_key = key.shard_mask_key(0, place.shard);
    let other_cell = Complaint::OtherCell {
        leaf: leaf.clone(),
        masks: masks.clone(),
        key: index_key,
        deal,
        kept: kept.clone(),
        path: path.clone(),
    };
    assert_eq!(liar.complains(other_cell), Ok(one));
    // Nodes put the cell on the ledger: what they are asked for is there.
    let keys = (0..layout.scheme().total).map(|index| key.shard_mask_key(0, index)).collect();
    let unavailable =
        Complaint::Unavailable { leaf: leaf.clone(), keys, path: masks.path.clone(), deal };
    assert_eq!(liar.complains(unavailable), Ok(one));
    until("nodes have put the cell on the ledger", || {
        let row = liar.runtime.block_on(liar.row());
        (row.state, row.given) == (OrderState::Delivered, 1)
    });
    // The seller is paid all the same, and the listing goes on.
    liar.runtime.block_on(liar.client.acknowledge(&liar.order)).unwrap();
    assert_eq!(liar.runtime.block_on(liar.row()).state, OrderState::Settled);
    let line = format!("buy {} -o {} --as buyer --yes", goods.listing, out(&network));
    let bought = network.run(&line).ok();
    assert!(bought["fetched"]["acknowledged"].is_string(), "{bought}");
    assert!(fs::read(out(&network)).unwrap() == goods.plain);
    adds_up(&network);
}

#[test]
fn an_honest_file_is_found_to_be_one() {
    let network = start();
    network.identity("seller");
    let path = network.file("data", LENGTH, 1);
    network.run(&format!("put {} --as seller --yes", path.display())).ok();
    let sale = network.run("sell data --price 8 --as seller --yes").ok();
    let listing = sale["listing"].as_str().unwrap();
    assert_eq!(sale["bond"], "8", "{sale}");
    let bought = network.run(&format!("buy {listing} --as buyer --yes")).ok();
    assert_eq!(bought["checks"]["preview_cells"], 1, "{bought}");
    let line = format!("order dispute {listing} --as buyer --yes");
    assert_eq!(network.run(&line).ok()["outcome"], "nothing_wrong");
    let order = bought["order"].as_str().unwrap();
    network.run(&format!("order ack {} --as buyer", &order[..8])).ok();
    assert_eq!(state(&network, listing), "settled");
    let ended = network.run(&format!("market end {listing} --as seller")).ok();
    assert_eq!((&ended["bond"], &ended["due_ms"]), (&"8".into(), &Value::Null), "{ended}");
    // What was sold stays for its buyer: the ledger does not end its deals before.
    let gone = network.run("rm data --as seller --yes").ok();
    assert_eq!((&gone["deals"], &gone["bound"]), (&0.into(), &1.into()), "{gone}");
    assert!(gone["access_until_ms"].is_u64(), "{gone}");
    network.run(&format!("buy {listing} -o {} --as buyer --yes", out(&network))).ok();
    assert!(fs::read(out(&network)).unwrap() == bytes(LENGTH, 1));
    adds_up(&network);
}
