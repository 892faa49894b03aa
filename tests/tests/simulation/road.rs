//! The whole road: put, prove, lose two nodes, get, sell while offline, buy, a thief, the books.

use std::{collections::BTreeSet, time::Duration};

use symbolon_client::{
    BuyOutcome, BuyReport, Client, ClientError, GetOptions, ListingFilter, Progress, PutOutcome,
    Readable, SellOptions, Sink, Source,
};
use symbolon_protocol::{
    Amount, Millis,
    grant::{Grant, GrantToken},
    id::{AccountId, ListingId, NodeId, ObjectId, Opening},
    ledger::{
        rows::{Deals, Listings, Nodes, Orders, Split, Table},
        transaction::Action,
    },
    session::NodeFault,
    wire::storage::{RefusalCode, Request, Response},
};
use symbolon_tests::sim::{Trace, World, called, derive, short};
use tokio::task::JoinSet;

use super::put_options;

const NODES: usize = 8;

pub(super) async fn whole_road(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    let faucet = owner.faucet().await.unwrap();
    assert_eq!(buyer.faucet().await.unwrap(), faucet);

    let data = store(&mut world, &owner).await;
    world.pass_epochs(2).await;
    for number in 0..NODES {
        let row = world.row(number).await;
        // Each node is somewhere in an epoch of its own.
        let passed = row.passed;
        assert_eq!(row.passed_epoch, Some(passed), "node {number} proves what it keeps");
        assert!(row.window.is_some_and(|window| window.epoch - passed <= 1) && row.missed == 0);
        let paid = row.rate.0 * u128::from(passed);
        assert_eq!(world.auditor.balance(&world.stations[number].payout), paid);
    }
    let dead = lose_two(&mut world).await;
    read_back(&mut world, &owner, &data).await;

    let listing = offer(&mut world, &owner).await;
    owner.close().await;
    world.kill_client("owner").await;

    let bought = buy(&mut world, &buyer, listing, &data).await;
    steal(&mut world, &bought, &dead, &buyer).await;
    the_dead_earn_nothing(&mut world, &dead).await;
    settle_up(&mut world, &bought, faucet);
    buyer.close().await;
    world.finish().await
}

/// A file with a tail that fills no stripe.
async fn store(world: &mut World, owner: &Client) -> Vec<u8> {
    let length = 1_300_000 + world.dice("length", 100_000);
    let data = world.bytes("survey", length);
    let source = Source::Bytes(data.clone().into());
    let before = owner.account().await.unwrap().balance;
    let report = owner
        .put(source, &called("survey.bin"), &put_options(60), &Progress::silent())
        .await
        .unwrap();
    assert_eq!((report.outcome, report.shards, report.segments), (PutOutcome::Stored, 8, 1));
    let after = owner.account().await.unwrap().balance;
    assert_eq!(before.checked_sub(after), Some(report.cost));
    world.note(format!("put {report:?}"));
    world.audit().await;
    world.audit_disks();
    data
}

async fn lose_two(world: &mut World) -> BTreeSet<usize> {
    let first = usize::try_from(world.dice("first to die", 8)).unwrap();
    let step = usize::try_from(1 + world.dice("second to die", 7)).unwrap();
    let dead = BTreeSet::from([first, (first + step) % NODES]);
    for number in &dead {
        world.kill_node(*number).await;
    }
    dead
}

async fn read_back(world: &mut World, owner: &Client, data: &[u8]) {
    let (name, options) = (Readable::Name(called("survey.bin")), GetOptions::default());
    let report = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    let bytes = report.bytes.unwrap();
    assert!(bytes == data, "what was read is what was put");
    world.note(format!("read {} bytes: {}", bytes.len(), blake3::hash(&bytes)));
    // A part that begins and ends within cells.
    let range = GetOptions { range: Some((65_000, 400_001)), ..options };
    let report = owner.get(&name, Sink::Memory, &range, &Progress::silent()).await.unwrap();
    assert!(report.bytes.unwrap() == data[65_000..400_001], "a part is that part");
}

fn royalty() -> AccountId {
    AccountId(derive(0, "the one who has a share"))
}

async fn offer(world: &mut World, owner: &Client) -> ListingId {
    let options = SellOptions {
        title: "Survey 2025".into(),
        description: "What was \"measured\".".into(),
        // Divides by nothing that it is divided by.
        price: Amount(3_333_333_337),
        licence_text: "For study.".into(),
        access_ms: Some(Millis(600_000)),
        window_ms: Some(Millis(30_000)),
        splits: vec![Split { account: royalty(), share_bp: 1_234 }],
        preview_cells: 3,
        show_first: 1,
        epochs: Some(50),
        ..SellOptions::default()
    };
    let report = owner.sell(&called("survey.bin"), &options, &Progress::silent()).await.unwrap();
    assert_eq!((report.custodians.len(), report.threshold, report.preview_cells.len()), (5, 3, 3));
    world.note(format!("listed {report:?}"));
    world.audit().await;
    report.listing
}

async fn buy(world: &mut World, buyer: &Client, listing: ListingId, data: &[u8]) -> BuyReport {
    let filter = ListingFilter { words: vec!["survey".into()], ..ListingFilter::default() };
    let shown = buyer.listings(&filter).await.unwrap();
    assert_eq!(shown.iter().map(|view| view.id).collect::<Vec<_>>(), [listing]);
    let detail = buyer.listing(&listing).await.unwrap();
    assert!(detail.document.contains("What was \\\"measured\\\"."), "{}", detail.document);
    let preview = buyer.preview(&listing).await.unwrap().cells;
    assert_eq!((preview.drawn.len(), preview.chosen.len(), preview.chosen[0].cell), (3, 1, 0));
    for cell in preview.drawn.iter().chain(&preview.chosen) {
        // A cell of the padding begins beyond the file's end and shows nothing.
        let from = usize::try_from(cell.offset).unwrap().min(data.len());
        assert!(cell.plain == data[from..from + cell.plain.len()], "a preview shows the file");
        world.note(format!("preview of cell {}: {}", cell.cell, blake3::hash(&cell.plain)));
    }
    let price = Amount(3_333_333_337);
    let cheap = buyer.buy(&listing, Amount(3_333_333_336), &Progress::silent()).await;
    assert!(matches!(cheap, Err(ClientError::CostTooHigh { .. })), "{cheap:?}");
    let bought = buyer.buy(&listing, price, &Progress::silent()).await.unwrap();
    assert_eq!((bought.outcome, bought.paid), (BuyOutcome::Bought, price));
    world.audit().await;
    assert_eq!(world.auditor.orders(), (1, 0, 0));

    let token = Readable::Token(bought.token.clone());
    let options = GetOptions::default();
    let report = buyer.get(&token, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(report.bytes.unwrap() == data, "what was bought is what was put");
    assert_eq!((report.checked_root, report.acknowledged), (true, Some(bought.order)));
    let again = buyer.buy(&listing, price, &Progress::silent()).await.unwrap();
    assert_eq!((again.outcome, again.order), (BuyOutcome::Already, bought.order));
    world.audit().await;
    assert_eq!(world.auditor.orders(), (1, 1, 0), "sold once, settled once");
    world.note(format!("bought {} by {:?}", bought.order, bought.custodians));
    fields(buyer, &bought).await;
    bought
}

/// A field that the ledger refuses is named by its rows, as far as they are asked for.
async fn fields(buyer: &Client, bought: &BuyReport) {
    let (network, me) = (buyer.network(), buyer.identity().account());
    let chain = network.recent_chain().await.unwrap();
    let row = network.ledger().row(Orders, &bought.order).await.unwrap().unwrap();
    let listing = network.ledger().row(Listings, &row.listing).await.unwrap().unwrap();
    let order = Action::Order {
        opening: Opening([1; 32]),
        listing: row.listing,
        holder: listing.seller.into(),
        delivery: row.delivery,
        listed_ms: listing.listed_ms,
        price: row.amount,
        licence: listing.terms.licence,
    };
    let acknowledge = |index| Action::Acknowledge { order: bought.order, custodians: vec![index] };
    let (node, row) = network.ledger().scan(Nodes, &[], None, 1).await.unwrap().remove(0);
    let node = AccountId::from(Nodes::parse(&node).unwrap());
    let epoch = row.window.map_or(0, |window| window.epoch);
    let proof = Action::Prove { epoch, leaves: Vec::new() };
    for (who, action, field) in [
        (me, order, Some("holder")),
        (me, acknowledge(6), Some("custodian")),
        (me, acknowledge(5), None),
        // What is wrong with a proof is no field, where there is something to prove.
        (node, proof, None),
    ] {
        let fault = network.ledger().field_fault(&chain, &who, &action).await.unwrap();
        assert_eq!(fault.map(|fault| fault.field()), field, "{action:?}");
    }
}

/// Shows a grant to the nodes that keep an object, as a thief would: the grant may be bound to another key. Returns
/// what each node answered, `None` where it served.
async fn knock(who: &Client, grant: &Grant, object: ObjectId) -> Vec<(NodeId, Option<NodeFault>)> {
    let mut asks = JoinSet::new();
    let deals = who.network().scan_all(Deals, &[]).await.unwrap();
    for (key, deal) in deals.into_iter().filter(|(_, deal)| deal.object == object) {
        let id = Deals::parse(&key).unwrap();
        for (index, address, _) in who.network().deal_nodes(&deal).await.unwrap() {
            let grant = Some(grant.clone());
            let request = Request::Read { deal: id, index, first: 0, count: 1, grant };
            let peers = who.network().peers().clone();
            asks.spawn(async move {
                let fault = match peers.ask(&address, &request, Duration::from_secs(3)).await {
                    Ok(Response::Slices { .. }) => None,
                    Ok(_) => Some(NodeFault::Confused),
                    Err(error) => Some(error.fault()),
                };
                (address.id, fault)
            });
        }
    }
    let mut answers = asks.join_all().await;
    answers.sort_by_key(|(node, _)| *node);
    answers
}

/// Somebody has the text of the grant, and no more.
async fn steal(world: &mut World, bought: &BuyReport, dead: &BTreeSet<usize>, buyer: &Client) {
    let thief = world.client("thief");
    let stolen = GrantToken::parse(&bought.token.to_text()).unwrap();
    let object = stolen.manifest.object;
    let mut refused = BTreeSet::new();
    for (node, fault) in knock(&thief, &stolen.grant, object).await {
        let number = world.number_of(&node);
        let due = match dead.contains(&number) {
            true => NodeFault::Offline,
            false => NodeFault::Refused { code: RefusalCode::NotYourGrant },
        };
        assert_eq!(fault, Some(due), "node {number}");
        refused.insert(number);
        world.note(format!("the thief at {}: {due}", short(&node)));
    }
    assert_eq!(refused.len(), NODES, "the thief has tried every node");
    assert!(stolen.open(&thief.identity().wrap_secret()).is_err());
    let (token, options) = (Readable::Token(Box::new(stolen.clone())), GetOptions::default());
    let read = thief.get(&token, Sink::Memory, &options, &Progress::silent()).await;
    assert!(matches!(read, Err(ClientError::Grant(_))), "{read:?}");
    thief.close().await;
    // The same grant at the same nodes, in the right hands.
    for (node, fault) in knock(buyer, &stolen.grant, object).await {
        assert_eq!(fault.is_none(), !dead.contains(&world.number_of(&node)), "{fault:?}");
    }
}

async fn the_dead_earn_nothing(world: &mut World, dead: &BTreeSet<usize>) {
    world.audit().await;
    let earned =
        |world: &World, number: usize| world.auditor.balance(&world.stations[number].payout);
    let before: Vec<u128> = (0..NODES).map(|number| earned(world, number)).collect();
    world.pass_epochs(3).await;
    for (number, before) in before.into_iter().enumerate() {
        let row = world.row(number).await;
        let gained = earned(world, number) - before;
        match dead.contains(&number) {
            // What a node had proven of the epoch it died in was paid before.
            true => {
                assert!(gained == 0 && row.missed_in_row >= 2);
                let before = row.passed + row.missed;
                assert_eq!(row.window.map(|window| window.epoch), Some(before + 1));
                assert_eq!(row.missed, u64::from(row.missed_in_row), "it proved all until it died");
            }
            false => assert!(row.missed == 0 && gained > 0, "node {number} goes on"),
        }
    }
}

/// The sale, in figures worked out by hand from 3.333333337 credits.
fn settle_up(world: &mut World, bought: &BuyReport, faucet: Amount) {
    let price = bought.paid.0;
    assert_eq!(price, 3_333_333_337);
    let books = &world.auditor;
    let buyer = books.balance(&world.identity("buyer").account());
    assert_eq!(buyer, faucet.0 - price);
    // 2 % fee is 66666666, 1 % for three custodians 3 × 11111111; of the rest 12.34 % are a share.
    let rest = price - 66_666_666 - 3 * 11_111_111;
    assert_eq!(books.balance(&royalty()), rest * 1_234 / 10_000);
    assert_eq!(rest * 1_234 / 10_000, 398_993_333);
}
